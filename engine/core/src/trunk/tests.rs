use super::*;
use crate::plan::Lan;

const TRUNK: &str = r#"
[lan]
ipv4 = "192.0.2.10/24"
gateway = "192.0.2.1"
[[vlan]]
id = 100
name = "servers"
ipv4 = "10.1.0.2/24"
gateway = "10.1.0.1"
ipv6 = "2001:db8:100::2/64"
gateway6 = "fe80::1"
[[vlan]]
id = 200
ipv4 = "10.1.0.130/25"
[[route]]
to = "10.200.0.0/16"
via = "10.1.0.1"
[[route]]
to = "10.200.7.0/24"
via = "10.1.0.200"
"#;

fn trunk(toml: &str) -> Result<Trunk, TrunkError> {
    Trunk::new(&TrunkConfig::from_toml(toml).unwrap(), &Lan::default())
}

fn refusal(toml: &str) -> String {
    trunk(toml).unwrap_err().to_string()
}

fn vlan(id: u16) -> Option<VlanId> {
    VlanId::new(id)
}

fn found(trunk: &Trunk, ip: &str) -> (Option<VlanId>, String) {
    match trunk.lookup(ip.parse().unwrap()) {
        Lookup::Found { vlan, next_hop } => (vlan, next_hop.to_string()),
        other => panic!("{ip}: {other:?}"),
    }
}

#[test]
fn the_longest_prefix_decides_vlan_and_next_hop() {
    let trunk = trunk(TRUNK).unwrap();
    for (ip, id, hop) in [
        ("192.0.2.77", None, "192.0.2.77"),
        ("10.1.0.9", vlan(100), "10.1.0.9"),
        ("10.1.0.140", vlan(200), "10.1.0.140"),
        ("10.200.1.1", vlan(100), "10.1.0.1"),
        ("10.200.7.1", vlan(200), "10.1.0.200"),
        ("8.8.8.8", None, "192.0.2.1"),
        ("2001:db8:100::9", vlan(100), "2001:db8:100::9"),
        ("2001:db8:ffff::9", vlan(100), "fe80::1"),
        ("fe80::9", vlan(100), "fe80::9"),
    ] {
        assert_eq!(found(&trunk, ip), (id, hop.to_owned()), "{ip}");
    }
    assert_eq!(trunk.networks().len(), 3);
    assert_eq!(
        trunk.network(vlan(100)).unwrap().name.as_deref(),
        Some("servers")
    );
    assert_eq!(trunk.network(vlan(300)), None);
}

#[test]
fn equal_claims_are_ambiguous_and_no_claim_is_unreachable() {
    let trunk = trunk(
        r#"
        vlan = [{ id = 7, ipv4 = "10.0.0.2/24" }, { id = 3, ipv4 = "10.0.0.3/24" }]
        "#,
    )
    .unwrap();
    let lookup = |ip: &str| trunk.lookup(ip.parse().unwrap());
    assert_eq!(lookup("10.0.0.9"), Lookup::Ambiguous([vlan(3), vlan(7)]));
    assert_eq!(lookup("10.0.1.9"), Lookup::Unreachable);
    assert_eq!(lookup("::1:2"), Lookup::Unreachable);
}

#[test]
fn what_the_file_does_not_say_of_the_lan_comes_from_the_interface() {
    let interface = Lan {
        ipv4: Some(("192.0.2.10".parse().unwrap(), 24)),
        gateway4: Some("192.0.2.1".parse().unwrap()),
        ipv6: Some(("2001:db8::10".parse().unwrap(), 64)),
        gateway6: Some("fe80::1".parse().unwrap()),
        kernel_owned: true,
    };
    let with = |toml: &str| {
        let config = TrunkConfig::from_toml(toml).unwrap();
        Trunk::new(&config, &interface)
            .unwrap()
            .network(None)
            .unwrap()
            .clone()
    };
    let plain = with("");
    assert!(plain.v4.unwrap().kernel_owned && plain.v6.unwrap().gateway.is_some());
    let other = with("[lan]\nipv4 = \"192.0.2.99/24\"\nipv6 = \"2001:db8::99/64\"");
    assert!(!other.v4.unwrap().kernel_owned && !other.v6.unwrap().kernel_owned);
    assert!(other.v4.unwrap().gateway.is_some() && other.v6.unwrap().gateway.is_some());
    let elsewhere = with("[lan]\nipv4 = \"198.51.100.9/24\"");
    assert_eq!(elsewhere.v4.unwrap().gateway, None);
}

#[test]
fn a_refusal_names_the_culprit_and_the_way_out() {
    let vlan = |rest: &str| refusal(&format!("[[vlan]]\nid = 5\n{rest}"));
    assert_eq!(
        refusal("[[route]]\nto = \"10.200.0.0/16\"\nvia = \"10.9.9.9\""),
        "route 10.200.0.0/16 via 10.9.9.9: no network above holds 10.9.9.9; correct via, or add the network it is on"
    );
    assert_eq!(
        vlan("ipv4 = \"10.1.0.2\""),
        "VLAN 5: `10.1.0.2` is no IPv4 address with prefix length that a host can have; write ipv4 = \"10.1.0.2/24\""
    );
    for bad in [
        "10.1.0.0/24",
        "10.1.0.255/24",
        "10.1.0.2/33",
        "127.0.0.1/8",
        "2001:db8::1/64",
        "0.0.0.0/0",
    ] {
        assert!(vlan(&format!("ipv4 = \"{bad}\"")).contains(bad), "{bad}");
    }
    assert!(vlan("ipv6 = \"auto\"").contains("not understood by this version"));
    assert!(vlan("ipv4 = \"auto\"").contains("`auto` is no IPv4 address"));
    assert!(
        vlan("ipv4 = \"10.1.0.2/24\"\ngateway = \"10.2.0.1\"")
            .contains("not on its network 10.1.0.0/24")
    );
    assert!(vlan("ipv4 = \"10.1.0.2/24\"\ngateway = \"10.1.0.2\"").contains("is our own address"));
    assert!(
        vlan("ipv4 = \"10.1.0.2/24\"\ngateway = \"2001:db8::1\"").contains("is no IPv4 address")
    );
    assert!(vlan("gateway = \"10.1.0.1\"").contains("write ipv4 as well"));
    assert!(vlan("name = \"empty\"").contains("has no address of ours"));
    let twice = "[[vlan]]\nid = 5\nipv4 = \"10.1.0.2/24\"\n";
    assert_eq!(
        refusal(&twice.repeat(2)),
        "VLAN 5 is written twice; make one [[vlan]] of the two"
    );
}

#[test]
fn routes_that_can_not_be_are_refused() {
    let route = |to: &str, via: &str| {
        let overlap =
            "[[vlan]]\nid = 8\nipv4 = \"10.7.0.2/24\"\n[[vlan]]\nid = 9\nipv4 = \"10.7.0.3/24\"\n";
        trunk(&format!(
            "{TRUNK}{overlap}[[route]]\nto = \"{to}\"\nvia = \"{via}\""
        ))
        .unwrap_err()
    };
    assert!(matches!(
        route("10.3.0.0", "10.1.0.1"),
        TrunkError::RouteTo { .. }
    ));
    assert!(matches!(
        route("2001:db8::/32", "10.1.0.1"),
        TrunkError::RouteFamily { .. }
    ));
    assert!(matches!(
        route("10.3.0.0/16", "10.1.0.2"),
        TrunkError::RouteIsOurs { .. }
    ));
    assert!(matches!(
        route("10.3.0.0/16", "8.8.8.8"),
        TrunkError::RouteNowhere { .. }
    ));
    assert!(matches!(
        route("10.200.0.0/16", "10.1.0.3"),
        TrunkError::RouteTwice { .. }
    ));
    let TrunkError::RouteAmbiguous { first, second, .. } = route("10.3.0.0/16", "10.7.0.1") else {
        panic!("two VLANs hold 10.7.0.1");
    };
    assert_eq!((first.as_str(), second.as_str()), ("VLAN 8", "VLAN 9"));
}

#[test]
fn a_file_that_is_none_is_refused_by_line_and_key() {
    let error = |text: &str| TrunkConfig::from_toml(text).unwrap_err();
    let unknown = error("[[vlan]]\nid = 7\nipv9 = \"x\"\n");
    assert_eq!((unknown.line, unknown.key.as_str()), (3, "ipv9"));
    assert!(
        unknown
            .to_string()
            .starts_with("line 3, `ipv9`: unknown field `ipv9`"),
        "{unknown}"
    );
    let reserved = error("[[vlan]]\nid = 7\n[[vlan]]\nid = 4095\n");
    assert_eq!(
        reserved.to_string(),
        "line 4, `id`: 4095 is no VLAN; the identifiers are 1 to 4094"
    );
    assert_eq!(error("[lan]\ngateway = \"10.0.0\"\n").line, 2);
    assert_eq!(error("[lan]\n\nipv4 = \n").line, 3);
}
