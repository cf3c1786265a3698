//! What a scan at full speed finds is what is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_lab::world::WorldDescription;
use sonde_wire::VlanId;

use super::{Front, check, for_root, found, network4, network6, sweep};

#[test]
fn a_sweep_by_each_link() {
    for_root("fast::truth::a_sweep_by_each_link", || {
        let front = Front::start(sweep());
        let truth = front.truth_behind(&[80]);
        for link in ["xdp", "xsk", "packet"] {
            let output = front.file(&format!("{link}.jsonl"));
            let mut scan = front.scan(link, &output, &front.spec.targets());
            scan.args(["-p", "80", "--discovery", "none", "--rate", "max"]);
            front.succeed(&mut scan);
            eprintln!("{link}: {} open", found(&output).len());
            check(&found(&output), &truth);
        }
        let counted = front.counters();
        assert_eq!(counted.misdirected, 0, "{counted}");
    });
}

#[test]
fn all_ports_of_a_few_hosts() {
    for_root("fast::truth::all_ports_of_a_few_hosts", || {
        let front = Front::start(WorldDescription {
            behind4: vec![network4("10.64.0.0/28", false)],
            hosts_up: 1.0,
            open: 0.001,
            closed: 1.0,
            ..sweep()
        });
        let output = front.file("all.jsonl");
        let mut scan = front.scan("xdp", &output, &front.spec.targets());
        scan.args(["-p", "1-65535", "--rate", "max"]);
        front.succeed(&mut scan);
        let ports: Vec<u16> = (1..=u16::MAX).collect();
        let truth = front.truth_behind(&ports);
        eprintln!("{} open; {}", truth.len(), front.counters());
        check(&found(&output), &truth);
    });
}

/// The same addresses are in every VLAN, and somebody else has each: a frame or a finding in the wrong one shows.
#[test]
fn every_vlan_of_a_trunk() {
    for_root("fast::truth::every_vlan_of_a_trunk", || {
        whole_trunk(WorldDescription {
            vlans: "1-4094".to_owned(),
            link4: Some(network4("10.0.0.0/29", false)),
            behind4: vec![network4("10.64.0.0/29", false)],
            ..sweep()
        });
    });
}

/// The untagged LAN and a few VLANs, on link and behind, networks of their own and one that all have.
#[test]
fn both_families() {
    for_root("fast::truth::both_families", || {
        whole_trunk(WorldDescription {
            vlans: "lan,1,100-115,4094".to_owned(),
            link4: Some(network4("10.0.0.0/28", true)),
            link6: Some(network6("2001:db8::/64", 16, true)),
            behind4: vec![network4("10.64.0.0/26", false)],
            behind6: vec![
                network6("fd00:100::/64", 64, false),
                network6("fd00:200::/64", 64, true),
            ],
            ..sweep()
        });
    });
}

/// Scans all of a world with VLANs and holds it against the truth.
fn whole_trunk(description: WorldDescription) {
    let front = Front::start(description);
    let output = front.file("trunk.jsonl");
    let mut targets = front.spec.targets();
    for vlan in front.spec.vlans() {
        let on_link = on_link(&front, vlan);
        let at = vlan.map_or("lan".to_owned(), |vlan| vlan.to_string());
        targets.extend(on_link.iter().map(|ip| format!("{ip}@{at}")));
    }
    let mut scan = front.scan("xdp", &output, &targets);
    front.by_trunk(&mut scan);
    scan.args(["-p", "80,443", "--rate", "max"]);
    front.succeed(&mut scan);
    let everywhere = |vlan: Option<VlanId>| {
        let behind = front.spec.addresses_behind(vlan);
        behind.chain(on_link(&front, vlan)).collect()
    };
    let truth = front.truth(everywhere, &[80, 443]);
    let counted = front.counters();
    eprintln!("{} open; {counted}", truth.len());
    check(&found(&output), &truth);
    assert_eq!(counted.misdirected, 0, "{counted}");
    // Of VLANs and networks that are not there; the kernel's own multicast reports count here, too.
    assert!(counted.foreign < 50, "{counted}");
}

/// What may be a host's or the gateway's on link in a VLAN: the first 16 addresses at most.
fn on_link(front: &Front, vlan: Option<VlanId>) -> Vec<IpAddr> {
    let networks = [front.spec.link4(vlan), front.spec.link6(vlan)];
    let addresses = networks.into_iter().flatten().flat_map(|network| {
        (1..=16)
            .map(move |host| match network.first() {
                IpAddr::V4(first) => IpAddr::from(Ipv4Addr::from_bits(first.to_bits() + host)),
                IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + u128::from(host)).into(),
            })
            .filter(move |&ip| network.has_host(ip))
    });
    addresses.collect()
}
