//! Requests that become no plan, and the sentence each is answered by.

use super::*;

#[test]
fn targets_that_lead_nowhere_are_named_with_the_way_out() {
    let sentence = |targets: &[&str]| refusal(&trunked(targets)).to_string();
    assert_eq!(
        sentence(&["10.1.0.0/24"]),
        "`10.1.0.0/24`: VLAN 100 and VLAN 200 both lead to 10.1.0.0; say which, as 10.1.0.0/24@100"
    );
    assert_eq!(
        sentence(&["192.0.2.0/24", "10.1.0.9@100,101"]),
        "`10.1.0.9@100,101`: VLAN 101 is not in the trunk; add it as [[vlan]] id = 101, or leave it out of the target"
    );
    assert_eq!(
        sentence(&["10.0.0.0/8@300"]),
        "`10.0.0.0/8@300`: 10.0.0.0 can't be reached from VLAN 300: it is off its network, and no gateway or route \
         leads there; add one, or leave it out"
    );
    assert_eq!(
        sentence(&["2001:db8::1@300"]),
        "`2001:db8::1@300`: 2001:db8::1 can't be reached from VLAN 300, which has no IPv6 address of ours; \
         add one, or leave it out"
    );
    assert_eq!(
        sentence(&["2001:db9::/64"]),
        "`2001:db9::/64`: no network, route or gateway leads to 2001:db9::; add one to the trunk, or leave it out"
    );
    assert_eq!(
        sentence(&["@100"]),
        "`@100` names VLANs and no hosts; write the hosts before the @, as 10.0.0.0/24@100"
    );
    let nowhere = format!("{TRUNK}route = [{{ to = \"10.200.0.0/16\", via = \"10.1.0.200\" }}]");
    let nowhere = ScanRequest {
        trunk: Some(trunk(&nowhere)),
        ..request(&["10.3.0.9"])
    };
    let error = refusal(&nowhere).to_string();
    assert!(
        error.starts_with("trunk: route 10.200.0.0/16 via 10.1.0.200: both VLAN 100"),
        "{error}"
    );
}

#[test]
fn a_wrong_target_is_named_with_its_place() {
    let error = refusal(&request(&["192.0.2.1", "10.0.0.0/33"]));
    let PlanError::Target { error: at } = &error else {
        panic!("{error}")
    };
    assert_eq!(at.index, 1);
    assert!(
        error
            .to_string()
            .starts_with("`10.0.0.0/33` is no target: ")
    );
}

#[test]
fn numbers_that_send_nothing_or_do_not_exist_are_refused() {
    let with = |change: fn(&mut ScanRequest)| {
        let mut request = request(&["192.0.2.5"]);
        change(&mut request);
        refusal(&request)
    };
    assert_eq!(with(|r| r.seed = None), PlanError::SeedMissing);
    assert_eq!(with(|r| r.version = 9), PlanError::Version(9));
    assert_eq!(with(|r| r.targets.clear()), PlanError::NoTargets);
    assert_eq!(with(|r| r.passes = 0), PlanError::Passes);
    assert_eq!(
        with(|r| r.rate_pps = Some(0)),
        PlanError::RateZero { what: "rate_pps" }
    );
    assert_eq!(with(|r| r.services = true), PlanError::Services);
    assert!(matches!(with(|r| r.ports.clear()), PlanError::Ports { .. }));
    assert!(matches!(
        with(|r| r.exclude_ports = Some("x".into())),
        PlanError::ExcludePorts { .. }
    ));
    assert!(matches!(
        with(|r| r.exclude_ports = Some("1-100".into())),
        PlanError::NoPorts { .. }
    ));
    assert!(matches!(
        with(|r| r.discovery = "ping".into()),
        PlanError::Discovery { .. }
    ));
    assert!(matches!(
        with(|r| r.exclude = vec!["x!".into()]),
        PlanError::Exclude { .. }
    ));
    assert!(matches!(
        with(|r| r.source_mac = Some(MacAddr::BROADCAST)),
        PlanError::GroupMac { .. }
    ));
    assert_eq!(
        with(|r| r.shard = Shard { index: 4, count: 3 }).to_string(),
        "shard 4 of 3 does not exist; shards are 1/3 to 3/3"
    );
    assert!(matches!(
        with(|r| r.shard = Shard { index: 0, count: 0 }),
        PlanError::Shard { .. }
    ));
    assert_eq!(
        with(|r| r.exclude = vec!["192.0.2.0/24".into()]).to_string(),
        "no target is left after the exclusions and our own addresses; exclude less, or name other targets"
    );
    assert!(matches!(
        with(|r| r.targets = vec!["192.0.2.10".into()]),
        PlanError::NothingLeft { .. }
    ));
    let arp = with(|r| (r.discovery, r.targets) = ("arp".into(), vec!["8.8.8.8".into()]));
    assert!(matches!(arp, PlanError::DiscoveryEmpty { .. }), "{arp}");
    let names = with(|r| r.targets = vec!["web.example.org".into()]);
    assert!(
        names.to_string().contains("the name has no address"),
        "{names}"
    );
}

#[test]
fn more_units_than_64_bits_count_are_refused_with_the_count() {
    let of = |target: &str| {
        let request = ScanRequest {
            ports: "22,80".into(),
            discovery: "none".into(),
            ..request(&[target])
        };
        Plan::new(&request, &env(), &Policy::default())
    };
    // The network's 2^64 addresses less our own fit exactly.
    let fits = of("2001:db8::/64").unwrap();
    assert_eq!(fits.units(), u64::MAX);
    assert_eq!(
        fits.unit(u64::MAX - 1).ip,
        ip("2001:db8::ffff:ffff:ffff:ffff")
    );
    let with_gateway = Environment {
        lan: Lan {
            gateway6: Some("fe80::1".parse().unwrap()),
            ..lan()
        },
        ..env()
    };
    let request = ScanRequest {
        discovery: "none".into(),
        ..request(&["2001:db9::/65"])
    };
    let error = Plan::new(&request, &with_gateway, &Policy::default()).unwrap_err();
    assert_eq!(error, PlanError::TooManyUnits { units: 1 << 64 });
    assert!(error.to_string().contains("18446744073709551616"));
}

#[test]
fn an_excluded_gateway_makes_what_is_behind_it_unreachable() {
    let behind = ScanRequest {
        exclude: vec!["192.0.2.1".into()],
        ..request(&["198.51.100.0/24"])
    };
    assert_eq!(
        refusal(&behind).to_string(),
        "gateway 192.0.2.1 of the untagged LAN is excluded, and 198.51.100.0 is behind it; \
         let it be used, or leave those targets out"
    );
    let on_link = ScanRequest {
        targets: vec!["192.0.2.5".into()],
        ..behind
    };
    assert_eq!(plan(&on_link).units(), 1);
}

#[test]
fn the_local_policy_can_not_be_widened() {
    let new = |request: &ScanRequest, policy: &Policy| Plan::new(request, &env(), policy);
    let policy = Policy {
        never_scan: vec!["192.0.2.128/25".into(), "@300".into()],
        rate_ceiling_pps: Some(5_000),
        allowed_networks: vec!["192.0.2.0/24".into(), "@100".into()],
    };
    let slow = |targets: &[&str]| ScanRequest {
        rate_pps: Some(5_000),
        ..trunked(targets)
    };
    assert_eq!(
        new(&slow(&["192.0.2.120-192.0.2.200"]), &policy)
            .unwrap()
            .units(),
        8
    );
    assert_eq!(new(&slow(&["10.1.0.9@100"]), &policy).unwrap().units(), 1);
    assert_eq!(
        new(&slow(&["192.0.2.1", "198.51.100.0/24"]), &policy)
            .unwrap_err()
            .to_string(),
        "`198.51.100.0/24`: 198.51.100.0 in the untagged LAN is outside the local policy's allowed_networks \
         (192.0.2.0/24, @100); leave it out"
    );
    assert_eq!(
        new(&slow(&["10.3.0.0/24"]), &policy)
            .unwrap_err()
            .to_string(),
        "no target is left after the local policy's never_scan and our own addresses; \
         exclude less, or name other targets"
    );
    let plan = new(
        &ScanRequest {
            rate_pps: None,
            ..slow(&["192.0.2.1"])
        },
        &policy,
    )
    .unwrap();
    assert_eq!(plan.request().rate_pps, Some(5_000));
    assert_eq!(
        new(&trunked(&["192.0.2.1"]), &policy)
            .unwrap_err()
            .to_string(),
        "10000 packets a second is above the local policy's rate_ceiling_pps of 5000; ask for 5000 or less"
    );
    let broken = Policy {
        never_scan: vec!["printer.example.org".into()],
        ..Policy::default()
    };
    let error = new(&slow(&["192.0.2.1"]), &broken).unwrap_err();
    assert!(
        matches!(
            error,
            PlanError::Policy {
                rule: "never_scan",
                ..
            }
        ),
        "{error}"
    );
}
