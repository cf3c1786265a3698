//! Any bytes as a request: what is read is written alike, planning returns, and every unit of a plan is one
//! host's, in the plan, not excluded, and found again.

#![no_main]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use sonde_core::dryrun::DryRun;
use sonde_core::plan::{Environment, Lan, Plan};
use sonde_core::policy::Policy;
use sonde_core::request::ScanRequest;
use sonde_core::target;
use sonde_wire::{MacAddr, VlanId};

/// Units looked at.
const UNITS: u64 = 16;
/// Of the local policy.
const CEILING: u64 = 1_000_000;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut request) = serde_json::from_slice::<ScanRequest>(bytes) else {
        return;
    };
    let json = serde_json::to_vec(&request).expect("a request is JSON");
    assert_eq!(
        serde_json::from_slice::<ScanRequest>(&json).ok(),
        Some(request.clone())
    );
    let _names = target::names(&request);
    request.seed.get_or_insert(1);
    for kernel_routes in [false, true] {
        match Plan::new(&request, &environment(kernel_routes), &policy()) {
            Ok(plan) => look_at(&plan),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
});

fn environment(kernel_routes: bool) -> Environment {
    let host = ["192.0.2.77", "10.0.0.7", "2001:db8::7"];
    let host = host.map(|ip| ip.parse().expect("an address"));
    Environment {
        mac: MacAddr([2, 0, 0, 0, 0, 1]),
        lan: Lan {
            ipv4: Some((Ipv4Addr::new(192, 0, 2, 250), 24)),
            gateway4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            ..Lan::default()
        },
        names: HashMap::from([("host.example".to_owned(), host.to_vec())]),
        kernel_routes,
    }
}

fn policy() -> Policy {
    Policy {
        never_scan: vec!["10.0.0.0/24".to_owned(), "@300".to_owned()],
        rate_ceiling_pps: Some(CEILING),
        allowed_networks: Vec::new(),
    }
}

fn look_at(plan: &Plan) {
    let (units, shard, order) = (plan.units(), plan.shard(), plan.order());
    assert!(units > 0 && order.len() == units && shard.start <= shard.end && shard.end <= units);
    assert!(
        plan.request()
            .rate_pps
            .is_some_and(|rate| (1..=CEILING).contains(&rate))
    );
    assert!(plan.passes() > 0 && !plan.ports().is_empty());
    let _most = plan.frames_max();
    for n in 0..UNITS {
        // The first, the last, and some between.
        let position = (u128::from(units - 1) * u128::from(n) / u128::from(UNITS - 1)) as u64;
        let index = order.at(position);
        assert!(index < units);
        assert_eq!(order.position(index), position);
        let unit = plan.unit(index);
        let segment = &plan.segments()[unit.segment as usize];
        let route = &plan.routes()[segment.route as usize];
        let found = plan.segment_of(route.vlan, unit.ip);
        assert_eq!(found, Some(segment), "{unit:?}");
        assert_eq!(plan.unit_index(segment, unit.ip, unit.port), index);
        assert!(unit.port.is_none_or(|port| port < plan.ports().len()));
        assert!(!plan.excluded(route.vlan, unit.ip));
        assert!(
            !is_forbidden(route.vlan, unit.ip),
            "{} in {:?}",
            unit.ip,
            route.vlan
        );
    }
    for probe in DryRun::new(plan).take(50) {
        assert!(!is_forbidden(probe.vlan, probe.ip), "{probe}");
    }
}

/// What the policy never scans, and what is nobody's.
fn is_forbidden(vlan: Option<VlanId>, ip: IpAddr) -> bool {
    let forbidden = match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [10, 0, 0] || ip.is_multicast() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_multicast(),
    };
    forbidden || vlan.is_some_and(|vlan| vlan.id() == 300)
}
