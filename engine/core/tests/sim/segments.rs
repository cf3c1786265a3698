//! Hosts on link in 4094 VLANs: every segment gets its share of broadcasts, none waits for another's.

use std::net::IpAddr;
use std::sync::Arc;

use sonde_core::judge::Answer;
use sonde_core::plan::{Environment, Plan};
use sonde_core::policy::Policy;
use sonde_core::probe::ProbeKind;
use sonde_core::request::ScanRequest;
use sonde_core::trunk::{TrunkConfig, VlanConfig};
use sonde_wire::{MacAddr, VlanId};

use crate::direct::Direct;
use crate::driver::{config, most_in};

/// VLANs with a /20 on link each, whose first `hosts` are targets, and of the first `large` VLANs all.
fn plan(vlans: u16, hosts: u32, large: u16, rate: Option<u64>) -> Arc<Plan> {
    let mut trunk = TrunkConfig::default();
    let mut targets = Vec::new();
    for id in 1..=vlans {
        let net = 0x0a00_0000 + (u32::from(id) << 12);
        let ip = |host: u32| IpAddr::from((net + host).to_be_bytes());
        trunk.vlan.push(VlanConfig {
            id: VlanId::new(id).unwrap(),
            name: None,
            ipv4: Some(format!("{}/20", ip(0xffe))),
            gateway: None,
            ipv6: None,
            gateway6: None,
        });
        let last = if id <= large { 4093 } else { hosts };
        targets.push(format!("{}-{}@{id}", ip(1), ip(last)));
    }
    let request = ScanRequest {
        targets,
        ports: "80".into(),
        rate_pps: rate,
        trunk: Some(trunk),
        seed: Some(5),
        ..ScanRequest::default()
    };
    let env = Environment {
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        ..Environment::default()
    };
    Arc::new(Plan::new(&request, &env, &Policy::default()).unwrap())
}

#[test]
fn all_segments_are_discovered_in_the_time_of_one() {
    for (vlans, hosts, large) in [
        (4094, 254, 0),
        (4094, 254, 1),
        (64, 254, 8),
        (500, 1_000, 0),
        (100, 4_093, 0),
    ] {
        let plan = plan(vlans, hosts, large, None);
        let mut scan = Direct::new(&plan, config(1));
        scan.frame = 90;
        let mut first = Vec::new();
        scan.run(|now, probe| {
            if probe.kind != ProbeKind::Arp {
                return Some(Answer::TcpClosed(80));
            }
            if plan.routes()[probe.route as usize].vlan == VlanId::new(1) {
                first.push(now);
            }
            Some(Answer::Link)
        });
        // A burst of 16 at once, then a thousand a second; all frames one after the other.
        let most = if large > 0 { 4_093 } else { u64::from(hosts) };
        let ideal = ((most - 16) * 1_000_000).max(scan.sent * scan.frame);
        let share = scan.now as f64 / ideal as f64;
        eprintln!(
            "{vlans} VLANs, {large} large: {} ms, {share:.2} of ideal",
            scan.now / 1_000_000
        );
        assert_eq!(scan.sweep.counters().hosts_up, plan.units());
        assert_eq!(scan.sent, 2 * plan.units());
        assert!(share < 1.15, "{share}");
        // None gets more than its share, in a burst or over time.
        assert!(most_in(&first, 1_000) <= 16);
        assert!(most_in(&first, 100_000_000) <= 100 + 16);
    }
}
