//! No wait that isn't owed: a scan ends with its last answer, and waits only for what is missing.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sonde_core::judge::Answer;
use sonde_core::plan::{Environment, Lan, Plan};
use sonde_core::policy::Policy;
use sonde_core::probe::{Probe, ProbeKind};
use sonde_core::request::ScanRequest;
use sonde_core::rtt::{TIMEOUT_MIN_KNOWN, TIMEOUT_MIN_LAST};

use crate::direct::Direct;
use crate::driver::config;

/// Hosts behind the LAN's gateway, or on it.
pub(crate) fn plan(target: &str, ports: &str, discovery: &str, rate: Option<u64>) -> Arc<Plan> {
    let request = ScanRequest {
        targets: vec![target.to_owned()],
        ports: ports.to_owned(),
        discovery: discovery.to_owned(),
        rate_pps: rate,
        seed: Some(3),
        ..ScanRequest::default()
    };
    let env = Environment {
        mac: sonde_wire::MacAddr([2, 0, 0, 0, 0, 1]),
        lan: Lan {
            ipv4: Some(("192.0.2.250".parse().unwrap(), 24)),
            gateway4: Some("192.0.2.1".parse().unwrap()),
            ..Lan::default()
        },
        ..Environment::default()
    };
    Arc::new(Plan::new(&request, &env, &Policy::default()).unwrap())
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "one of several functions that say who answers"
)]
/// Everybody answers, ports are closed.
fn closed(_: u64, probe: &Probe) -> Option<Answer> {
    Some(match probe.kind {
        ProbeKind::Arp | ProbeKind::Ndp => Answer::Link,
        ProbeKind::Echo => Answer::Echo,
        ProbeKind::TcpSyn { port } | ProbeKind::TcpRst { port, .. } => Answer::TcpClosed(port),
        ProbeKind::Udp { port } => Answer::UdpClosed(port),
    })
}

#[test]
fn a_scan_is_done_with_its_last_answer_in_either_lane() {
    for (target, ports, discovery, probes) in [
        ("10.0.0.0/18", "80", "none", 1 << 14),
        ("10.0.0.0/20", "80", "tcp:80", 1 << 12),
        ("10.0.0.0/20", "80", "echo", 2 << 12),
        ("192.0.2.8@lan", "1-65535", "none", 65_536),
    ] {
        for rate in [None, Some(500_000), Some(10_000)] {
            let plan = plan(target, ports, discovery, rate);
            // Many windows, each of which ends with its last answer too.
            let config = sonde_core::sweep::SweepConfig {
                window_units: 1 << 10,
                ..config(1)
            };
            let mut scan = Direct::new(&plan, config);
            scan.run(closed);
            // Nothing more has to be asked of the sweep.
            assert_eq!(scan.idle(), Duration::ZERO);
            let counters = scan.sweep.counters();
            assert_eq!(counters.probes_done, counters.probes_due);
            // The gateway is asked too.
            let gateway = u64::from(!target.contains("@lan"));
            assert_eq!(scan.sent, probes + gateway, "{target} {discovery}");
            if rate.is_none() {
                let windows = probes >> 10;
                let owed = probes * scan.frame + (windows + 3) * 2 * scan.round_trip;
                // All ports of one host: at its own pace.
                let owed = owed.max(probes * 5_000 * u64::from(target.contains("@lan")));
                assert!(scan.now < owed + owed / 10, "{} of {owed} ns", scan.now);
            }
        }
    }
}

#[test]
fn a_few_that_are_missing_are_waited_for_once_a_pass() {
    let silent: IpAddr = "10.0.3.7".parse().unwrap();
    for (discovery, asked) in [("none", 3), ("echo", 3)] {
        let plan = plan("10.0.0.0/18", "80", discovery, None);
        let mut scan = Direct::new(&plan, config(1));
        let mut times = 0;
        scan.run(|now, probe| {
            times += u32::from(probe.dst == silent);
            closed(now, probe).filter(|_| probe.dst != silent)
        });
        assert_eq!(times, asked);
        let owed = 2 * TIMEOUT_MIN_KNOWN + TIMEOUT_MIN_LAST;
        let busy = Duration::from_nanos(scan.sent * scan.frame * 2);
        let took = Duration::from_nanos(scan.now);
        assert!(took >= owed && took < owed + busy, "{took:?}");
    }
}

#[test]
fn a_host_far_beyond_the_others_is_found_by_however_many_passes() {
    // Everybody else answers in 100 us; it takes nearly as long as all waits together.
    let far: IpAddr = "10.0.3.7".parse().unwrap();
    let plan = plan("10.0.0.0/20", "80", "none", None);
    let mut scan = Direct::new(&plan, config(1));
    let mut first = None;
    while !scan.sweep.is_done() {
        let mut answer = |now, probe: &Probe| {
            if probe.dst == far {
                first.get_or_insert(now);
                return None;
            }
            closed(now, probe)
        };
        scan.step(&mut answer);
        if first.is_some_and(|at| scan.now > at + 290_000_000) {
            first = Some(u64::MAX / 2);
            scan.reply(far, Answer::TcpOpen(80));
        }
    }
    assert_eq!(scan.sweep.counters().open, 1);
}

#[test]
fn a_driver_that_was_kept_from_listening_takes_nobody_for_silent() {
    // All answers have come, but are read only long after every wait would have been over.
    for (target, ports, probes) in [
        ("10.0.0.0/18", "80", 1 << 14),
        ("192.0.2.8@lan", "1-1000", 1_001),
    ] {
        let plan = plan(target, ports, "none", None);
        let mut scan = Direct::new(&plan, config(1));
        scan.round_trip = 1_000_000;
        let mut stalled = false;
        while !scan.sweep.is_done() {
            scan.step(&mut |now, probe: &Probe| closed(now, probe));
            let sent = scan.sweep.counters().sent_tcp + u64::from(target.contains("@lan"));
            if sent == probes && !stalled {
                scan.now += 1_500_000_000;
                stalled = true;
            }
        }
        assert!(stalled);
        let counters = scan.sweep.counters();
        assert_eq!(counters.received, probes, "{target}");
        assert_eq!(
            counters.probes(),
            counters.received + u64::from(!target.contains("@lan"))
        );
    }
}
