use proptest::prelude::*;

use super::*;
use crate::exclusion::{Names, Scope};
use crate::trunk::TrunkConfig;

mod refusals;
mod size;
mod written;

fn lan() -> Lan {
    Lan {
        ipv4: Some(("192.0.2.10".parse().unwrap(), 24)),
        gateway4: Some("192.0.2.1".parse().unwrap()),
        ipv6: Some(("2001:db8::10".parse().unwrap(), 64)),
        gateway6: None,
        kernel_owned: true,
    }
}

fn env() -> Environment {
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    Environment {
        mac,
        lan: lan(),
        ..Environment::default()
    }
}

fn request(targets: &[&str]) -> ScanRequest {
    ScanRequest {
        targets: targets.iter().map(|t| (*t).to_owned()).collect(),
        ports: "22,80".to_owned(),
        seed: Some(7),
        ..ScanRequest::default()
    }
}

fn trunk(toml: &str) -> TrunkConfig {
    TrunkConfig::from_toml(toml).unwrap()
}

/// VLANs 100 and 200 overlap; only 100 has a gateway and IPv6.
const TRUNK: &str = r#"
vlan = [
    { id = 100, ipv4 = "10.1.0.2/24", gateway = "10.1.0.1", ipv6 = "2001:db8:100::2/64" },
    { id = 200, ipv4 = "10.1.0.3/24" },
    { id = 300, ipv4 = "10.3.0.2/24" },
]
"#;

fn trunked(targets: &[&str]) -> ScanRequest {
    ScanRequest {
        trunk: Some(trunk(TRUNK)),
        ..request(targets)
    }
}

fn plan(request: &ScanRequest) -> Plan {
    Plan::new(request, &env(), &Policy::default()).unwrap()
}

fn refusal(request: &ScanRequest) -> PlanError {
    Plan::new(request, &env(), &Policy::default()).unwrap_err()
}

fn vlan(id: u16) -> Option<VlanId> {
    VlanId::new(id)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// What segments are, for comparison: VLAN, first address, hosts.
fn shape(plan: &Plan) -> Vec<(u16, String, u64)> {
    let id = |s: &Segment| plan.routes[s.route as usize].vlan.map_or(0, VlanId::id);
    plan.segments
        .iter()
        .map(|s| (id(s), s.first.to_string(), s.hosts))
        .collect()
}

#[test]
fn the_lan_without_its_ends_and_ourselves() {
    let plan = plan(&request(&["192.0.2.0/24"]));
    assert_eq!(
        shape(&plan),
        [(0, "192.0.2.1".into(), 9), (0, "192.0.2.11".into(), 244)]
    );
    assert_eq!(plan.units(), 253);
    let route = plan.routes()[0];
    assert_eq!((route.hop, route.source), (Hop::OnLink, ip("192.0.2.10")));
    assert!(route.kernel_owned && route.vlan.is_none());
    assert_eq!(plan.vlans().collect::<Vec<_>>(), [None]);
    assert_eq!(plan.sources().len(), 2);
    assert_eq!(plan.frames_max(), 253 * 3 * 3);
}

#[test]
fn hosts_behind_a_gateway_are_hosts_or_ports() {
    let with = |discovery: &str| {
        let discovery = discovery.to_owned();
        plan(&ScanRequest {
            discovery,
            ..request(&["198.51.100.0/24"])
        })
    };
    let found = with("auto");
    assert_eq!(
        (found.units(), found.segments()[0].kind),
        (256, UnitKind::Host)
    );
    assert_eq!(found.discovery()[0], DiscoveryProbe::Echo);
    assert_eq!(found.routes()[0].hop, Hop::Gateway(ip("192.0.2.1")));
    assert_eq!(found.frames_max(), 256 * 5 * 3);
    let at_once = with("none");
    assert_eq!(
        (at_once.units(), at_once.segments()[0].kind),
        (512, UnitKind::HostPort)
    );
    assert_eq!(
        at_once.unit(3),
        Unit {
            segment: 0,
            ip: ip("198.51.100.1"),
            port: Some(1)
        }
    );
    assert_eq!(at_once.frames_max(), 512 * 3);
}

#[test]
fn the_longest_prefix_names_the_vlan_of_a_target_that_does_not() {
    let plan = plan(&trunked(&[
        "10.3.0.0/30",
        "192.0.2.0/30",
        "2001:db8:100::/126",
        "8.8.8.8",
    ]));
    assert_eq!(
        shape(&plan),
        [
            (0, "8.8.8.8".into(), 1),
            (0, "192.0.2.1".into(), 3),
            (100, "2001:db8:100::".into(), 2),
            (100, "2001:db8:100::3".into(), 1),
            (300, "10.3.0.1".into(), 1),
            (300, "10.3.0.3".into(), 1),
        ]
    );
}

#[test]
fn the_same_address_in_two_vlans_is_two_hosts() {
    let plan = plan(&trunked(&["10.1.0.9@100,200"]));
    assert_eq!(
        shape(&plan),
        [(100, "10.1.0.9".into(), 1), (200, "10.1.0.9".into(), 1)]
    );
    assert_eq!(
        plan.segment_of(vlan(200), ip("10.1.0.9"))
            .unwrap()
            .first_unit,
        1
    );
    assert_eq!(plan.segment_of(None, ip("10.1.0.9")), None);
}

#[test]
fn routes_and_gateways_split_a_target() {
    let toml = r#"
        vlan = [{ id = 5, ipv4 = "10.5.0.2/16", gateway = "10.5.0.1" }]
        route = [{ to = "10.4.0.0/16", via = "10.5.0.7" }, { to = "10.6.0.0/16", via = "10.5.0.1" }]
    "#;
    let plan = plan(&ScanRequest {
        trunk: Some(trunk(toml)),
        ..request(&["10.4.0.0-10.7.255.255@5"])
    });
    let hops: Vec<_> = plan
        .segments()
        .iter()
        .map(|s| plan.routes()[s.route as usize].hop)
        .collect();
    let gateway = |text: &str| Hop::Gateway(ip(text));
    assert_eq!(plan.routes().len(), 3);
    assert_eq!(hops[0], gateway("10.5.0.7"));
    assert_eq!(hops[1..3], [Hop::OnLink, Hop::OnLink]);
    assert_eq!(*hops.last().unwrap(), gateway("10.5.0.1"));
    assert_eq!(
        plan.segment_of(vlan(5), ip("10.5.255.255")),
        None,
        "broadcast"
    );
}

#[test]
fn exclusions_win_over_targets_everywhere_or_in_their_vlan() {
    let mut request = trunked(&["10.1.0.0/29@100,200", "10.3.0.0/24"]);
    request.exclude = vec![
        "10.1.0.4".into(),
        "10.1.0.5-10.1.0.6@200".into(),
        "@300".into(),
    ];
    let plan = plan(&request);
    assert_eq!(
        shape(&plan),
        [
            (100, "10.1.0.1".into(), 1),
            (100, "10.1.0.3".into(), 1),
            (100, "10.1.0.5".into(), 3),
            (200, "10.1.0.1".into(), 2),
            (200, "10.1.0.7".into(), 1),
        ]
    );
    assert!(plan.excluded(vlan(100), ip("10.1.0.4")) && plan.excluded(vlan(200), ip("10.1.0.5")));
    assert!(!plan.excluded(vlan(100), ip("10.1.0.5")) && plan.excluded(vlan(300), ip("10.3.0.9")));
    for never in [
        "0.0.0.0",
        "127.0.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
    ] {
        assert!(plan.excluded(None, ip(never)), "{never}");
    }
    assert_eq!(
        plan.vlans().collect::<Vec<_>>(),
        [None, vlan(100), vlan(200)]
    );
}

#[test]
fn options_complete_the_untagged_lan() {
    let given = ScanRequest {
        source_ip: Some(ip("192.0.2.77")),
        gateway: Some(ip("192.0.2.2")),
        gateway_mac: Some(MacAddr([2, 0, 0, 0, 0, 9])),
        source_mac: Some(MacAddr([2, 0, 0, 0, 0, 8])),
        ..request(&["192.0.2.70-192.0.2.79", "192.0.2.10", "198.51.100.1"])
    };
    let plan = plan(&given);
    assert_eq!(plan.units(), 9 + 1);
    let [on_link, away] = plan.routes() else {
        panic!("{:?}", plan.routes())
    };
    assert_eq!(
        (on_link.source, on_link.kernel_owned),
        (ip("192.0.2.77"), false)
    );
    assert_eq!(
        (away.hop, away.hop_mac),
        (Hop::Gateway(ip("192.0.2.2")), given.gateway_mac)
    );
    assert_eq!(
        (on_link.hop_mac, on_link.source_mac),
        (None, MacAddr([2, 0, 0, 0, 0, 8]))
    );
    let wrong = ScanRequest {
        source_ip: Some(ip("10.9.9.9")),
        ..request(&["192.0.2.1"])
    };
    assert_eq!(
        refusal(&wrong).to_string(),
        "source_ip 10.9.9.9 is on no network of the interface, which has 192.0.2.0/24; \
         write it with its prefix in a trunk file, as [lan] ipv4 = \"10.9.9.9/24\""
    );
    let twice = ScanRequest {
        trunk: Some(trunk("[lan]\nipv4 = \"192.0.2.5/24\"")),
        ..given
    };
    assert!(matches!(
        refusal(&twice),
        PlanError::LanTwice {
            key: "source_ip",
            ..
        }
    ));
}

#[test]
fn where_the_kernel_routes_loopback_is_allowed_and_tags_are_not() {
    let kernel = Environment {
        kernel_routes: true,
        lan: lan(),
        ..Environment::default()
    };
    let new = |request: &ScanRequest| Plan::new(request, &kernel, &Policy::default());
    let plan = new(&request(&[
        "127.0.0.0/30",
        "::1",
        "192.0.2.10",
        "198.51.100.7@lan",
    ]))
    .unwrap();
    assert_eq!(plan.units(), 4 + 1 + 1);
    assert!(plan.routes().iter().all(|route| route.hop == Hop::Kernel));
    assert!(!plan.excluded(None, ip("127.0.0.1")) && plan.excluded(None, ip("224.0.0.1")));
    assert!(!plan.discovery().is_empty() && !plan.discovery().contains(&DiscoveryProbe::Echo));
    let tagged = new(&request(&["10.1.0.1@5"])).unwrap_err();
    assert_eq!(
        tagged.to_string(),
        "`10.1.0.1@5`: the connect link can't send into VLAN 5; leave the VLANs out, or use another link"
    );
    assert_eq!(
        new(&trunked(&["10.3.0.9"])).unwrap_err(),
        PlanError::TrunkOverConnect
    );
    let source = ScanRequest {
        source_ip: Some(ip("192.0.2.9")),
        ..request(&["127.0.0.1"])
    };
    assert_eq!(
        new(&source).unwrap_err(),
        PlanError::OptionOverConnect { what: "source_ip" }
    );
}

#[test]
fn the_digest_follows_what_decides_units_and_order() {
    let base = request(&["192.0.2.0/28"]);
    let digest = |request: &ScanRequest| plan(request).digest();
    let same = ScanRequest {
        rate_pps: None,
        targets: vec!["192.0.2.0-192.0.2.15".into()],
        ..base.clone()
    };
    assert_eq!(digest(&base), digest(&same));
    let changes: [fn(&mut ScanRequest); 6] = [
        |r| r.seed = Some(8),
        |r| r.ports = "22,81".into(),
        |r| r.targets = vec!["192.0.2.0/27".into()],
        |r| r.exclude = vec!["192.0.2.3".into()],
        |r| r.shard = Shard { index: 1, count: 2 },
        |r| r.discovery = "tcp:1".into(),
    ];
    for (nth, change) in changes.iter().enumerate() {
        let mut other = base.clone();
        change(&mut other);
        assert_ne!(digest(&base), digest(&other), "change {nth}");
    }
    // Written down so that a change of the form is noticed: checkpoints of older builds refer to
    // it.
    assert_eq!(digest(&base), 2_817_578_834_769_344_877);
}

proptest! {
    #[test]
    fn shards_are_disjoint_and_together_everything(units: u64, count in 1_u32..2000) {
        let mut next = 0;
        for index in 1..=count {
            let arc = arc(units, Shard { index, count });
            prop_assert_eq!(arc.start, next);
            prop_assert!(arc.end - arc.start <= units / u64::from(count) + 1);
            next = arc.end;
        }
        prop_assert_eq!(next, units);
        let last = arc(units, Shard { index: u32::MAX, count: u32::MAX });
        prop_assert_eq!(last.end, units);
    }

    #[test]
    fn the_plan_holds_what_is_asked_for_and_not_excluded_and_nothing_else(
        targets in prop::collection::vec(stretch(&["@5", "@6", "@5,6"]), 1..12),
        exclude in prop::collection::vec(stretch(&["", "@5", "@6"]), 0..8),
        ports in prop::sample::select(vec!["22", "22,80,U:53"]),
    ) {
        let toml = r#"vlan = [{ id = 5, ipv4 = "10.0.0.9/22" }, { id = 6, ipv4 = "10.0.0.8/22" }]"#;
        let request = ScanRequest {
            targets,
            exclude,
            trunk: Some(trunk(toml)),
            ports: ports.to_owned(),
            ..request(&[])
        };
        let scope = |texts: &[String]| Scope::parse(texts, Names::Refused).unwrap();
        let (wanted, cut) = (scope(&request.targets), scope(&request.exclude));
        let mut due = 0;
        let plan = match Plan::new(&request, &env(), &Policy::default()) {
            Err(PlanError::NothingLeft { .. }) => return Ok(()),
            other => other.unwrap(),
        };
        for (vlan, own) in [(vlan(5), 9), (vlan(6), 8)] {
            for low in 0..1024 {
                let ip = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + low));
                let ends = low == 0 || low == 1023;
                let expected = wanted.contains(vlan, ip) && !cut.contains(vlan, ip) && !ends && low != own;
                prop_assert_eq!(plan.segment_of(vlan, ip).is_some(), expected);
                due += u64::from(expected);
            }
        }
        prop_assert_eq!(plan.units(), due);
        for index in 0..plan.units() {
            let unit = plan.unit(index);
            let segment = &plan.segments()[unit.segment as usize];
            let vlan = plan.routes()[segment.route as usize].vlan;
            prop_assert_eq!(plan.unit_index(segment, unit.ip, unit.port), index);
            prop_assert_eq!(plan.segment_of(vlan, unit.ip), Some(segment));
            prop_assert!(!plan.excluded(vlan, unit.ip));
        }
    }
}

proptest! {
    #[test]
    fn no_request_panics_and_every_plan_holds_together(
        targets in prop::collection::vec(prop::sample::select(TARGETS), 0..4),
        exclude in prop::collection::vec(prop::sample::select(TARGETS), 0..3),
        policy in prop::collection::vec(prop::sample::select(TARGETS), 0..2),
        ports in prop::sample::select(vec!["-", "22", "top:10,U:53", "0", ""]),
        discovery in prop::sample::select(vec!["auto", "none", "arp", "tcp:22", "x"]),
        shard in (0_u32..4, 0_u32..4),
        with_lan in any::<bool>(),
        with_trunk in any::<bool>(),
        kernel_routes in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let texts = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let request = ScanRequest {
            targets: texts(targets),
            exclude: texts(exclude),
            trunk: with_trunk.then(|| trunk(TRUNK)),
            ports: ports.to_owned(),
            discovery: discovery.to_owned(),
            shard: Shard { index: shard.0, count: shard.1 },
            seed: Some(seed),
            ..ScanRequest::default()
        };
        let lan = Lan { gateway6: Some("fe80::1".parse().unwrap()), ..lan() };
        let lan = if with_lan { lan } else { Lan::default() };
        let env = Environment { lan, kernel_routes, ..env() };
        let policy = Policy { never_scan: texts(policy), ..Policy::default() };
        match Plan::new(&request, &env, &policy) {
            Err(error) => prop_assert!(!error.to_string().is_empty()),
            Ok(plan) => {
                prop_assert!(plan.units() > 0 && plan.frames_max() >= u128::from(plan.shard().end - plan.shard().start));
                for index in [0, plan.units() / 2, plan.units() - 1, seed % plan.units()] {
                    let unit = plan.unit(index);
                    let segment = &plan.segments()[unit.segment as usize];
                    let vlan = plan.routes()[segment.route as usize].vlan;
                    prop_assert_eq!(plan.unit_index(segment, unit.ip, unit.port), index);
                    prop_assert_eq!(plan.segment_of(vlan, unit.ip), Some(segment));
                    prop_assert!(!plan.excluded(vlan, unit.ip));
                }
            }
        }
    }
}

/// From the least to all there is, in and out of the networks of [`TRUNK`], and some that are none.
const TARGETS: &[&str] = &[
    "0.0.0.0/0",
    "::/0",
    "0.0.0.0/0@100",
    "::/0@100",
    "::/1@lan",
    "::/66",
    "128.0.0.0/1@1-4094",
    "10.1.0.0/24",
    "10.1.0.0/24@100,200",
    "10.3.0.0/16",
    "10.3.0.0/24@300",
    "192.0.2.0/24",
    "192.0.2.10",
    "127.0.0.0/8",
    "::1",
    "fe80::/10@100",
    "ff02::1",
    "224.0.0.0/4",
    "255.255.255.255",
    "10.0-255.0-255.1-254",
    "@100",
    "@lan",
    "@1-4094",
    "web.example.org",
    "10.0.0.0/33",
    "10.0.0.1@4095",
    "",
];

/// Targets of up to 90 addresses in 10.0.0.0/22, with one of these VLAN texts.
fn stretch(vlans: &'static [&'static str]) -> impl Strategy<Value = String> {
    (0_u32..940, 0_u32..84, prop::sample::select(vlans)).prop_map(|(first, more, vlans)| {
        let ip = |low| Ipv4Addr::from_bits(0x0a00_0000 + low);
        format!("{}-{}{vlans}", ip(first), ip(first + more))
    })
}
