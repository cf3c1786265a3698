//! As fast as loses nothing: through a policer, and where frames are lost whatever the rate. Loss alone gets more passes.

use std::collections::HashSet;
use std::net::IpAddr;

use sonde_core::judge::Answer;
use sonde_core::probe::ProbeKind;
use sonde_core::sweep::{Event, GovernorReport, SweepConfig};

use crate::direct::Direct;
use crate::driver::config;
use crate::random::{Random, with_seeds};
use crate::waits::plan;

/// What the way does to frames.
#[derive(Clone, Copy)]
struct Way {
    /// Frames a second that the policer lets through, if there is one; its bucket holds a millisecond, or 100.
    policed: Option<f64>,
    /// Lost in thousand, there and back.
    loss: u64,
}

struct Seen {
    found: f64,
    /// Frames a second over the second half of the run, pauses not counted.
    rate: f64,
    report: GovernorReport,
}

/// Scans a port of `target`, where everybody answers, at two million probes a second at most.
fn scan(seed: u64, target: &str, way: Way) -> Seen {
    let config = SweepConfig {
        closed_loop: true,
        ..config(1)
    };
    let mut scan = Direct::new(&plan(target, "80", "none", None), config);
    (scan.frame, scan.batch, scan.round_trip) = (492, 64, 300_000);
    let mut random = Random::new(seed);
    let (mut tokens, mut at, mut left) = (100.0, 0, Vec::new());
    scan.run(|now, probe| {
        left.push(now);
        if let Some(rate) = way.policed {
            let most = f64::max(100.0, rate / 1000.0);
            tokens = f64::min(most, tokens + (now - at) as f64 * rate / 1e9);
            at = now;
            if tokens < 1.0 {
                return None;
            }
            tokens -= 1.0;
        }
        let lost = (0..2).any(|_| random.below(1000) < way.loss);
        match probe.kind {
            _ if lost => None,
            ProbeKind::TcpSyn { port } => Some(Answer::TcpClosed(port)),
            _ => Some(Answer::Link),
        }
    });
    let hosts = scan.events.iter().filter_map(|event| match event {
        Event::Host { ip, .. } => Some(*ip),
        _ => None,
    });
    let hosts: Vec<_> = hosts.collect();
    let distinct: HashSet<_> = hosts.iter().collect();
    assert_eq!(distinct.len(), hosts.len(), "somebody was told twice");
    let active = |left: &[u64]| {
        let gaps = left
            .windows(2)
            .map(|w| w[1] - w[0])
            .filter(|gap| *gap < 5_000_000);
        left.len() as f64 / (gaps.sum::<u64>() as f64 / 1e9)
    };
    let bits: u32 = target.rsplit('/').next().unwrap().parse().unwrap();
    Seen {
        found: hosts.len() as f64 / f64::from(1u32 << (32 - bits)),
        rate: active(&left[left.len() / 2..]),
        report: scan.sweep.governor().unwrap(),
    }
}

#[test]
fn through_a_policer_nearly_all_is_found_at_its_rate() {
    with_seeds(3, |seed| {
        for (target, rate) in [
            ("10.0.0.0/14", 20e3),
            ("10.0.0.0/13", 200e3),
            ("10.0.0.0/12", 1e6),
        ] {
            for loss in [0, 50] {
                let way = Way {
                    policed: Some(rate),
                    loss,
                };
                let seen = scan(seed, target, way);
                let (found, settled) = (seen.found, seen.rate / rate);
                eprintln!(
                    "{rate} {loss}: {found:.6} found, {settled:.3} of it, {:?}",
                    seen.report
                );
                assert!(
                    found >= 0.999,
                    "{found} at {rate}, {loss}: {:?}",
                    seen.report
                );
                // With loss the search for the rate takes longer, from either side.
                let (least, most) = if loss == 0 { (0.9, 1.1) } else { (0.5, 1.3) };
                assert!(
                    (least..most).contains(&settled),
                    "{settled} at {rate}, {loss}: {:?}",
                    seen.report
                );
            }
        }
    });
}

#[test]
fn loss_alone_leaves_no_limit_and_is_made_up_for() {
    with_seeds(3, |seed| {
        let free = scan(
            seed,
            "10.0.0.0/13",
            Way {
                policed: None,
                loss: 0,
            },
        );
        assert_eq!((free.found, free.report.lowered), (1.0, 0));
        let lossy = scan(
            seed,
            "10.0.0.0/13",
            Way {
                policed: None,
                loss: 50,
            },
        );
        let (found, report) = (lossy.found, lossy.report);
        assert!(found >= 0.9999, "{found}: {report:?}");
        // The limit is taken off again, as it did not help.
        assert_eq!(
            (report.lowered, report.settled_rate),
            (0, None),
            "{report:?}"
        );
    });
}

/// Scans a port of 2^19 addresses at a given rate, of which one in `answers` answers. Found, of those; frames sent.
fn scan_at_a_rate(seed: u64, discovery: &str, answers: u32, loss: u64) -> (f64, u64, u64) {
    let plan = plan("10.0.0.0/13", "80", discovery, Some(1_000_000));
    let mut scan = Direct::new(&plan, config(1));
    let mut random = Random::new(seed);
    scan.run(|_, probe| {
        let lost = (0..2).any(|_| random.below(1000) < loss);
        let IpAddr::V4(ip) = probe.dst else {
            return None;
        };
        match probe.kind {
            ProbeKind::Arp => Some(Answer::Link),
            _ if lost || u32::from(ip) % answers > 0 => None,
            ProbeKind::TcpSyn { port } => Some(Answer::TcpOpen(port)),
            _ => Some(Answer::Echo),
        }
    });
    let counters = scan.sweep.counters();
    assert_eq!(counters.probes_done, counters.probes_due);
    let there = (1 << 19) / u64::from(answers);
    let found = counters.open as f64 / there as f64;
    (
        found,
        counters.sent_tcp + counters.sent_echo,
        counters.extra_passes,
    )
}

#[test]
fn at_a_given_rate_loss_gets_the_passes_it_takes_and_silence_alone_none() {
    with_seeds(3, |seed| {
        let all = f64::from(1 << 19);
        // Everybody answers: 1 + p + p^2 + p^3 + p^4 frames each, of which p = 0.0975 are not answered.
        let (found, sent, more) = scan_at_a_rate(seed, "none", 1, 50);
        assert!(found >= 0.9999, "{found}");
        assert!((sent as f64 / all - 1.108).abs() < 0.002, "{sent} frames");
        assert_eq!(more, 2);
        // One in sixteen answers: the others get the same passes.
        let (found, sent, more) = scan_at_a_rate(seed, "none", 16, 50);
        assert!(found >= 0.9998, "{found}");
        assert!(
            (sent as f64 / all - 4.757).abs() < 0.002,
            "{sent} frames, {more} more"
        );
        // Hosts that were found by another question have their ports asked as often as it takes.
        let (found, _, more) = scan_at_a_rate(seed, "echo", 1, 50);
        assert!(found >= 0.9999 && more > 2, "{found} in {more} more passes");
        // Nothing is lost.
        for answers in [1, 16] {
            let (found, sent, more) = scan_at_a_rate(seed, "none", answers, 0);
            let silent = all - all / f64::from(answers);
            assert_eq!((found, sent as f64, more), (1.0, all + 2.0 * silent, 0));
        }
    });
}

#[test]
fn a_driver_that_stalls_is_not_taken_for_a_path_that_is_full() {
    with_seeds(3, |seed| {
        let config = SweepConfig {
            closed_loop: true,
            ..config(1)
        };
        let mut scan = Direct::new(&plan("10.0.0.0/13", "80", "none", None), config);
        (scan.frame, scan.batch, scan.round_trip) = (300, 1024, 5_000_000);
        let mut random = Random::new(seed);
        let (mut asked, mut again) = (HashSet::new(), 0u64);
        while !scan.sweep.is_done() {
            scan.step(&mut |_, probe| match probe.kind {
                ProbeKind::TcpSyn { port } => {
                    again += u64::from(!asked.insert(probe.dst));
                    Some(Answer::TcpOpen(port))
                }
                _ => Some(Answer::Link),
            });
            if random.chance(5) {
                scan.now += random.below(50_000_000);
            }
        }
        let report = scan.sweep.governor().unwrap();
        assert_eq!(
            (report.lowered, report.lowest_rate),
            (0, None),
            "{report:?}"
        );
        // A question in a hundred was for the loop; none was told or counted again.
        assert!((100..6_000).contains(&again), "{again} asked again");
        let counters = scan.sweep.counters();
        assert_eq!((counters.open, counters.hosts_up), (1 << 19, 1 << 19));
        assert_eq!(scan.events.len(), 1 + (2 << 19));
    });
}
