//! Any text as targets, ports and a trunk: no panic, and what is read means one thing.

#![no_main]

use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use sonde_core::plan::Lan;
use sonde_core::ports::Ports;
use sonde_core::target::{Hosts, Target, octet_intervals, split_list};
use sonde_core::trunk::{Trunk, TrunkConfig};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    target(&text);
    ports(&text);
    trunk(&text);
    for piece in split_list(&text) {
        assert!(!piece.is_empty() && piece == piece.trim());
        target(piece);
    }
});

fn target(text: &str) {
    let target = match text.parse::<Target>() {
        Ok(target) => target,
        Err(error) => return assert!(error.to_string().contains(text)),
    };
    assert_eq!(text.trim().parse(), Ok(target.clone()));
    match &target.hosts {
        Hosts::V4(interval) => assert!(interval.first <= interval.last),
        Hosts::V6(interval) => assert!(interval.first <= interval.last),
        Hosts::Octets(octets) => {
            let intervals: Vec<_> = octet_intervals(*octets).take(1000).collect();
            assert!(!intervals.is_empty());
            assert!(
                intervals
                    .iter()
                    .all(|interval| interval.first <= interval.last)
            );
            assert!(
                intervals
                    .windows(2)
                    .all(|pair| pair[0].last < pair[1].first)
            );
        }
        Hosts::Name(name) => assert!(!name.is_empty()),
        Hosts::All => assert!(target.vlans.is_some()),
    }
    if let Some(vlans) = target.vlans {
        assert!(!vlans.is_empty() && vlans.iter().all(|vlan| vlans.contains(vlan)));
        assert!(vlans.iter().is_sorted());
    }
}

fn ports(text: &str) {
    let ports = match text.parse::<Ports>() {
        Ok(ports) => ports,
        Err(error) => return assert!(error.to_string().contains(text)),
    };
    assert!(!ports.is_empty());
    assert!(
        ports
            .iter()
            .is_sorted_by(|a, b| (a.0 as u8, a.1) < (b.0 as u8, b.1))
    );
    for index in (0..ports.len()).step_by(1 + ports.len() as usize / 64) {
        let (proto, port) = ports.at(index);
        assert_eq!(ports.index(proto, port), Some(index));
        assert_ne!(port, 0);
    }
    assert!(ports.subtract(&ports).is_empty());
}

fn trunk(text: &str) {
    let config = match TrunkConfig::from_toml(text) {
        Ok(config) => config,
        Err(error) => return assert!((1..=text.lines().count() + 1).contains(&error.line)),
    };
    let json = serde_json::to_string(&config).expect("a trunk is JSON");
    assert_eq!(
        serde_json::from_str::<TrunkConfig>(&json).ok(),
        Some(config.clone())
    );
    let lan = Lan {
        ipv4: Some((Ipv4Addr::new(192, 0, 2, 250), 24)),
        gateway4: Some(Ipv4Addr::new(192, 0, 2, 1)),
        ..Lan::default()
    };
    match Trunk::new(&config, &lan) {
        Ok(trunk) => {
            for network in trunk.networks() {
                assert!(trunk.network(network.vlan).is_some());
            }
            for ip in [
                "0.0.0.0",
                "10.1.0.9",
                "255.255.255.255",
                "::",
                "2001:db8::9",
            ] {
                let _way = trunk.lookup(ip.parse().expect("an address"));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
