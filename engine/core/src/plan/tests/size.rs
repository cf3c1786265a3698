//! Memory follows what was written: plans of very many probes, held by counts; times are printed.

use std::time::Instant;

use super::*;
use crate::trunk::{Lookup, RouteConfig, Trunk, VlanConfig};

#[test]
fn all_of_ipv4_on_all_ports_is_a_handful_of_segments() {
    let all = ScanRequest {
        ports: "-".to_owned(),
        discovery: "none".to_owned(),
        ..request(&["0.0.0.0/0"])
    };
    let started = Instant::now();
    let plan = plan(&all);
    eprintln!("0.0.0.0/0 on all ports: planned in {:?}", started.elapsed());
    assert!(plan.segments().len() <= 8, "{}", plan.segments().len());
    assert!(plan.hints.len() <= 2 * plan.segments().len() + 2);
    // All but 0.0.0.0, 127/8, 224/4, broadcast, and of the LAN its ends and us; its hosts count as
    // one unit each.
    let hosts = (1_u64 << 32) - 1 - (1 << 24) - (1 << 28) - 1 - 256;
    assert_eq!(plan.units(), hosts * 65_535 + 253);
    let last = plan.unit(plan.units() - 1);
    assert_eq!(last.ip, ip("255.255.255.254"));
}

#[test]
fn one_network_in_4094_vlans_is_one_segment_in_each() {
    let config = TrunkConfig {
        vlan: (1..=VlanId::MAX)
            .map(|id| VlanConfig {
                id: VlanId::new(id).unwrap(),
                name: None,
                ipv4: Some("192.168.0.2/24".to_owned()),
                gateway: Some(ip("192.168.0.1")),
                ipv6: None,
                gateway6: None,
            })
            .collect(),
        ..TrunkConfig::default()
    };
    let request = ScanRequest {
        trunk: Some(config),
        ports: "-".to_owned(),
        discovery: "none".to_owned(),
        exclude: vec!["10.7.0.0/16".to_owned(), "@4094".to_owned()],
        ..request(&["10.0.0.0/8@1-4094"])
    };
    let plan = plan(&request);
    assert_eq!(
        (plan.segments().len(), plan.routes().len()),
        (2 * 4093, 4093)
    );
    assert_eq!(plan.units(), 4093 * ((1 << 24) - (1 << 16)) * 65_535);
    assert_eq!(plan.vlans().count(), 1 + 4093);
    for index in [0, 1, plan.units() / 3, plan.units() - 1] {
        let unit = plan.unit(index);
        let segment = &plan.segments()[unit.segment as usize];
        assert_eq!(plan.unit_index(segment, unit.ip, unit.port), index);
        let vlan = plan.routes()[segment.route as usize].vlan;
        assert_eq!(plan.segment_of(vlan, unit.ip), Some(segment));
        assert_eq!(plan.segment_of(None, unit.ip), None);
    }
}

#[test]
fn four_thousand_vlans_and_routes_are_one_table_per_family() {
    let id = |n: u16| VlanId::new(n).unwrap();
    let config = TrunkConfig {
        lan: None,
        vlan: (1..=VlanId::MAX)
            .map(|n| VlanConfig {
                id: id(n),
                name: None,
                ipv4: Some(format!("10.{}.{}.2/24", n >> 8, n & 255)),
                gateway: Some(format!("10.{}.{}.1", n >> 8, n & 255).parse().unwrap()),
                ipv6: Some(format!("2001:db8:{n:x}::2/64")),
                gateway6: None,
            })
            .collect(),
        route: (0..4096_u16)
            .map(|n| RouteConfig {
                to: format!("172.{}.{}.0/24", 16 + (n >> 8), n & 255),
                via: format!("10.{}.{}.1", (n % 4094 + 1) >> 8, (n % 4094 + 1) & 255)
                    .parse()
                    .unwrap(),
            })
            .collect(),
    };
    let started = Instant::now();
    let trunk = Trunk::new(&config, &Lan::default()).unwrap();
    eprintln!(
        "4094 VLANs, both families, 4096 routes: {:?}",
        started.elapsed()
    );
    assert_eq!(trunk.networks().len(), 4094);
    for n in [1, 255, 256, 4094] {
        let (a, b) = (n >> 8, n & 255);
        assert_eq!(found(&trunk, &format!("10.{a}.{b}.77")), VlanId::new(n));
        assert_eq!(
            found(&trunk, &format!("2001:db8:{n:x}::77")),
            VlanId::new(n)
        );
    }
    let routed = Lookup::Found {
        vlan: VlanId::new(5),
        next_hop: ip("10.0.5.1"),
    };
    assert_eq!(trunk.lookup(ip("172.16.4.9")), routed);
    // One piece a prefix, and what is around them; nothing grows with products.
    assert!(trunk.table::<u32>().len() <= 2 * (4094 + 4096) + 1);
}

fn found(trunk: &Trunk, text: &str) -> Option<VlanId> {
    match trunk.lookup(ip(text)) {
        Lookup::Found { vlan, .. } => vlan,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn a_million_lines_are_a_million_segments_of_a_few_words() {
    const LINES: u32 = 1_000_000;
    let line = |nth: u32| Ipv4Addr::from_bits((10 << 24) + 2 * nth).to_string();
    let request = ScanRequest {
        targets: (0..LINES).map(line).collect(),
        ..request(&[])
    };
    let started = Instant::now();
    let plan = plan(&request);
    eprintln!("a million lines: planned in {:?}", started.elapsed());
    assert_eq!(
        (plan.units(), plan.segments().len()),
        (u64::from(LINES), LINES as usize)
    );
    assert!(size_of::<Segment>() <= 48, "{}", size_of::<Segment>());
    assert!(plan.hints.len() <= 2 * LINES as usize + 2);
    for index in (0..plan.units()).step_by(1009) {
        let unit = plan.unit(index);
        assert_eq!(unit.ip, ip(&line(index as u32)));
        assert_eq!(plan.segment_of(None, unit.ip).unwrap().first_unit, index);
    }
}
