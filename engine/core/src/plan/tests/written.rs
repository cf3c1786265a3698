//! What is refused without a machine is what the planner refuses, in its words; what a machine may add is not.

use super::*;
use crate::plan::written::{check_request, check_trunk};
use crate::request::LinkKind;
use crate::trunk::{NetworkConfig, RouteConfig, Trunk, TrunkError, VlanConfig};

#[test]
fn what_no_machine_could_do_is_refused_as_the_planner_does() {
    type Change = fn(&mut ScanRequest);
    let changes: [Change; 22] = [
        |r| r.version = 2,
        |r| r.targets.clear(),
        |r| r.targets.push("10.0.0.0/33".into()),
        |r| r.targets.push(" ".into()),
        |r| r.targets.push("10.0.0.0/24@4095".into()),
        |r| r.targets.push("@100".into()),
        |r| r.exclude.push("10.0.0.9-10.0.0.1".into()),
        |r| r.exclude.push("@lan,0".into()),
        |r| r.ports = "22,99999".into(),
        |r| r.ports = String::new(),
        |r| r.exclude_ports = Some("X:1".into()),
        |r| r.exclude_ports = Some("-".into()),
        |r| r.discovery = "ping".into(),
        |r| r.passes = 0,
        |r| r.rate_pps = Some(0),
        |r| r.bandwidth_bps = Some(0),
        |r| r.shard.index = 2,
        |r| r.services = true,
        |r| r.source_mac = Some(MacAddr([1, 0, 0, 0, 0, 1])),
        |r| r.trunk = Some(trunk("vlan = [{ id = 100 }]")),
        |r| r.trunk = Some(trunk("[lan]\nipv4 = \"10.0.0.0/24\"")),
        |r| r.trunk = Some(trunk("[[route]]\nto = \"10.9/16\"\nvia = \"192.0.2.1\"")),
    ];
    for change in changes {
        let mut asked = request(&["10.0.0.0/24"]);
        assert_eq!(check_request(&asked), Ok(()));
        change(&mut asked);
        let planner = Plan::new(&asked, &env(), &Policy::default()).unwrap_err();
        assert_eq!(check_request(&asked), Err(planner));
    }
}

#[test]
fn over_the_connect_link_there_is_no_trunk() {
    let asked = ScanRequest {
        link: LinkKind::Connect,
        ..trunked(&["10.1.0.9"])
    };
    assert_eq!(check_request(&asked), Err(PlanError::TrunkOverConnect));
}

#[test]
fn a_seed_names_and_addresses_of_the_interface_may_be_missing() {
    let lan_alone = [
        "[lan]\ngateway = \"192.0.2.1\"",
        "[lan]\nipv6 = \"2001:db8::2/64\"\ngateway = \"192.0.2.1\"",
        "[lan]",
        "[[route]]\nto = \"10.200.0.0/16\"\nvia = \"192.0.2.7\"",
    ];
    for toml in lan_alone {
        let asked = ScanRequest {
            seed: None,
            trunk: Some(trunk(toml)),
            exclude: vec!["db.example.org@300".into()],
            ..request(&["web.example.org", "192.0.2.0/24"])
        };
        assert_eq!(check_request(&asked), Ok(()), "{toml}");
    }
}

#[test]
fn a_route_is_judged_by_the_networks_written() {
    let vlan = "[[vlan]]\nid = 100\nipv4 = \"10.1.0.2/24\"\n";
    let route = |to: &str, via: &str| format!("[[route]]\nto = \"{to}\"\nvia = \"{via}\"\n");
    let lan = "[lan]\nipv4 = \"192.0.2.10/24\"\n";
    let (good, nowhere) = (
        route("10.9.0.0/16", "10.1.0.1"),
        route("10.9.0.0/16", "10.8.0.1"),
    );
    let check = |parts: &[&str]| check_trunk(&trunk(&parts.concat()));
    assert_eq!(check(&[vlan, &good]), Ok(()));
    // The interface may be on 10.8.0.0 as long as nobody wrote that it is elsewhere.
    assert_eq!(check(&[vlan, &nowhere]), Ok(()));
    let refused = check(&[lan, vlan, &nowhere]);
    assert!(matches!(refused, Err(TrunkError::RouteNowhere { .. })));
    let refused = check(&[vlan, &good, &good]);
    assert!(matches!(refused, Err(TrunkError::RouteTwice { .. })));
    let refused = check(&[vlan, &route("10.9.0.0/16", "10.1.0.2")]);
    assert!(matches!(refused, Err(TrunkError::RouteIsOurs { .. })));
    let refused = check(&[vlan, &route("10.9.0.0/16", "2001:db8::1")]);
    assert!(matches!(refused, Err(TrunkError::RouteFamily { .. })));
    let refused = check(&[vlan, vlan]);
    assert!(matches!(refused, Err(TrunkError::VlanTwice(_))));
}

/// One of few texts, or none: so few that they meet often.
fn text(of: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(of).prop_map(str::to_owned))
}

fn address(of: &'static [&'static str]) -> impl Strategy<Value = Option<IpAddr>> {
    text(of).prop_map(|text| text.map(|text| text.parse().unwrap()))
}

prop_compose! {
    fn network(v4: &'static [&'static str], v6: &'static [&'static str])(
        ipv4 in text(v4), ipv6 in text(v6),
        gateway in address(&["10.1.0.1", "10.2.0.1", "192.0.2.1"]), gateway6 in address(&["fe80::1", "2001:db8:1::1"]),
    ) -> NetworkConfig {
        NetworkConfig { ipv4, gateway, ipv6, gateway6 }
    }
}

prop_compose! {
    fn any_trunk()(
        lan in prop::option::of(network(&["192.0.2.9/24", "10.7.0.2/16"], &["2001:db8:7::2/64"])),
        vlans in prop::collection::vec(
            (100..104_u16, network(&["10.1.0.2/24", "10.2.0.2/24"], &["2001:db8:1::2/64", "2001:db8:2::2/64"])), 0..4),
        routes in prop::collection::vec((
            prop::sample::select(&["10.9.0.0/16", "10.8.0.0/16", "2001:db8:9::/48", "10.9"][..]),
            address(&["10.1.0.1", "10.1.0.2", "10.2.0.1", "192.0.2.7", "fe80::1", "2001:db8:1::1", "2001:db8::5"])), 0..3),
    ) -> TrunkConfig {
        let vlan = vlans.into_iter().map(|(id, n)| VlanConfig {
            id: VlanId::new(id).unwrap(), name: None,
            ipv4: n.ipv4, gateway: n.gateway, ipv6: n.ipv6, gateway6: n.gateway6,
        });
        let route = routes.into_iter().filter_map(|(to, via)| Some(RouteConfig { to: to.into(), via: via? }));
        TrunkConfig { lan, vlan: vlan.collect(), route: route.collect() }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// A trunk that some interface could have is not refused without it.
    #[test]
    fn what_a_machine_takes_is_never_refused_without_it(config in any_trunk(), has_lan: [bool; 2]) {
        let whole = lan();
        let lan = Lan {
            ipv4: whole.ipv4.filter(|_| has_lan[0]),
            gateway4: whole.gateway4.filter(|_| has_lan[0]),
            ipv6: whole.ipv6.filter(|_| has_lan[1]),
            ..whole
        };
        if Trunk::new(&config, &lan).is_ok() {
            prop_assert_eq!(check_trunk(&config), Ok(()));
        }
    }
}
