//! The gateways of 4094 VLANs, of both families: absent ones, slow ones, and those that come late or go.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use sonde_core::judge::Answer;
use sonde_core::neighbor::{START_MAX, TRIES};
use sonde_core::plan::{Environment, Plan};
use sonde_core::policy::Policy;
use sonde_core::probe::{Probe, ProbeKind};
use sonde_core::request::ScanRequest;
use sonde_core::sweep::Event;
use sonde_core::trunk::{TrunkConfig, VlanConfig};
use sonde_wire::{MacAddr, VlanId};

use crate::direct::{Direct, THERE};
use crate::driver::config;
use crate::network::Vlan;
use crate::random::{Random, with_seeds};

const VLANS: u16 = 4094;
/// Hosts behind each gateway.
const HOSTS: u64 = 4;

/// VLANs with a gateway of each family, and hosts behind each.
fn plan(vlans: u16, passes: u32, ports: &str, discovery: &str, rate: Option<u64>) -> Arc<Plan> {
    let mut trunk = TrunkConfig::default();
    for id in 1..=vlans {
        let (a, b) = (id / 256, id % 256);
        trunk.vlan.push(VlanConfig {
            id: VlanId::new(id).unwrap(),
            name: None,
            ipv4: Some(format!("10.{a}.{b}.2/24")),
            gateway: Some(format!("10.{a}.{b}.1").parse().unwrap()),
            ipv6: Some(format!("2001:db8:{id:x}::2/64")),
            gateway6: Some(format!("2001:db8:{id:x}::1").parse().unwrap()),
        });
    }
    let request = ScanRequest {
        targets: vec![
            format!("172.16.0.0/30@1-{vlans}"),
            format!("2001:db8:ffff::/126@1-{vlans}"),
        ],
        ports: ports.to_owned(),
        discovery: discovery.to_owned(),
        rate_pps: rate,
        passes,
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

fn is_gateway(probe: &Probe) -> bool {
    matches!(probe.kind, ProbeKind::Arp | ProbeKind::Ndp)
}

fn resolved(events: &[Event]) -> BTreeSet<(Vlan, IpAddr)> {
    let mut found = BTreeSet::new();
    for event in events {
        if let Event::NextHop { vlan, ip, resolved } = *event {
            match resolved {
                true => found.insert((vlan, ip)),
                false => found.remove(&(vlan, ip)),
            };
        }
    }
    found
}

#[test]
fn all_are_found_at_once_each_vlan_having_its_first_question_before_any_has_a_second() {
    let plan = plan(VLANS, 1, "80", "none", None);
    let mut scan = Direct::new(&plan, config(1));
    let (mut asked, mut all_at) = (Vec::new(), None);
    while !scan.sweep.is_done() {
        scan.step(&mut |_, probe| {
            if is_gateway(probe) {
                asked.push((plan.routes()[probe.route as usize].vlan, probe.dst));
                return Some(Answer::Link);
            }
            Some(Answer::TcpOpen(80))
        });
        if all_at.is_none() && resolved(&scan.events).len() == 2 * usize::from(VLANS) {
            all_at = Some(scan.now);
        }
    }
    let distinct: BTreeSet<_> = asked.iter().collect();
    assert_eq!((asked.len(), distinct.len()), (2 * 4094, 2 * 4094));
    // 8,188 questions at 200 ns each, and a round trip.
    assert!(all_at.unwrap() < 3_000_000, "{all_at:?} ns");
    assert_eq!(scan.sweep.counters().open, 2 * HOSTS * u64::from(VLANS));
    assert!(scan.now < 20_000_000, "{} ns", scan.now);
}

#[test]
fn absent_and_slow_ones_and_loss_hold_up_nobody_and_nobody_is_taken_for_silent() {
    with_seeds(4, |seed| {
        for discovery in ["none", "echo,tcp:80"] {
            let plan = plan(VLANS, 3, "80", discovery, None);
            let mut random = Random::new(seed);
            // From which question on a gateway answers.
            let mut answers_from = BTreeMap::new();
            for route in plan.routes() {
                let from = match random.below(100) {
                    0 => u32::MAX,
                    1..=2 => 3,
                    _ => 1,
                };
                if let sonde_core::plan::Hop::Gateway(ip) = route.hop {
                    answers_from.insert((route.vlan, ip), from);
                }
            }
            assert_eq!(answers_from.len(), 2 * usize::from(VLANS));
            let mut times: BTreeMap<(Vlan, IpAddr), u32> = BTreeMap::new();
            let mut began = None;
            let mut scan = Direct::new(&plan, config(1));
            scan.run(|now, probe| {
                let to = (plan.routes()[probe.route as usize].vlan, probe.dst);
                // 5 % each way.
                let (there, back) = (random.chance(5), random.chance(5));
                let times = times.entry(to).or_default();
                *times += u32::from(!there);
                if is_gateway(probe) {
                    return (!there && !back && *times >= answers_from[&to])
                        .then_some(Answer::Link);
                }
                *times += u32::from(there);
                began.get_or_insert(now);
                let answer = match probe.kind {
                    ProbeKind::Echo => Answer::Echo,
                    _ => Answer::TcpOpen(80),
                };
                (!there && !back).then_some(answer)
            });
            let latest = START_MAX.as_nanos() as u64 + 10_000_000;
            assert!(began.unwrap() < latest, "{began:?}");
            // Five passes at most, and a wait after each.
            assert!(scan.now < 1_500_000_000, "{} ns in all", scan.now);
            let found = resolved(&scan.events);
            let there = answers_from.values().filter(|from| **from < u32::MAX);
            // Six questions and more, one in ten lost.
            assert!(found.len() + 5 >= there.count(), "{} found", found.len());
            let absent = 2 * u64::from(VLANS) - found.len() as u64;
            assert!((40..130).contains(&absent), "{absent} absent");
            assert_eq!(scan.sweep.counters().unreachable, absent * HOSTS);
            // Whoever is behind a gateway that was found was asked, and nobody else.
            for route in plan.routes() {
                let sonde_core::plan::Hop::Gateway(ip) = route.hop else {
                    continue;
                };
                let found = found.contains(&(route.vlan, ip));
                for n in 0..HOSTS as u8 {
                    let host: IpAddr = match ip {
                        IpAddr::V4(_) => [172, 16, 0, n].into(),
                        IpAddr::V6(_) => format!("2001:db8:ffff::{n}").parse().unwrap(),
                    };
                    let times = times.get(&(route.vlan, host)).copied().unwrap_or(0);
                    assert_eq!(times > 0, found, "{host} in {:?}: {times}", route.vlan);
                }
            }
            let told = scan.events.iter().filter(|event| {
                matches!(
                    event,
                    Event::NextHop {
                        resolved: false,
                        ..
                    }
                )
            });
            assert!(told.count() as u64 >= absent);
        }
    });
}

#[test]
fn one_that_is_found_after_the_last_pass_gets_a_pass_of_its_own() {
    for (discovery, questions) in [("none", 1u32), ("echo,tcp:80", 2)] {
        for passes in [1, 2] {
            // All tries at the start, and, as the rounds have nobody to ask and end at once, one more.
            let last = TRIES + 1;
            for answers_from in [last - 1, last, last + 1] {
                let plan = plan(1, passes, "80", discovery, Some(1_000));
                let mut scan = Direct::new(&plan, config(1));
                scan.round_trip = 5_000_000;
                let mut times: BTreeMap<_, u32> = BTreeMap::new();
                scan.run(|_, probe| {
                    let times = times.entry(probe.dst).or_default();
                    *times += 1;
                    let there = is_gateway(probe) && *times == answers_from;
                    there.then_some(Answer::Link)
                });
                let counters = scan.sweep.counters();
                let asked = 2 * HOSTS * u64::from(answers_from <= last);
                assert_eq!(
                    counters.unreachable,
                    2 * HOSTS - asked,
                    "from {answers_from}"
                );
                assert_eq!(times.len() as u64, 2 + asked, "{discovery} {passes}");
                if answers_from == last {
                    // No more than a pass: it was the last one.
                    assert_eq!(
                        counters.probes() - counters.sent_link,
                        asked * u64::from(questions)
                    );
                }
                assert_eq!(counters.probes_done, counters.probes_due);
            }
        }
    }
}

#[test]
fn a_long_scan_notices_a_gateway_that_moves_and_one_that_goes() {
    // 8 x 6 (host, port) in three passes at one a second.
    let plan = plan(1, 3, "1-6", "none", Some(1));
    let moved = MacAddr([2, 0, 0, 0, 0, 8]);
    let mut scan = Direct::new(&plan, config(1));
    let second = 1_000_000_000;
    let mut sent = Vec::new();
    let mut asks = Vec::new();
    while !scan.sweep.is_done() {
        scan.mac = if scan.now < 30 * second { THERE } else { moved };
        let mac = scan.mac;
        scan.step(&mut |now, probe| {
            match is_gateway(probe) {
                true => asks.push(now),
                false => sent.push((now, probe.next_hop)),
            }
            // Answers whoever is asked where it is, until it is gone.
            let heard = probe.next_hop == mac || probe.next_hop.is_group();
            (is_gateway(probe) && heard && now < 90 * second).then_some(Answer::Link)
        });
    }
    // Found anew within a minute and the checks of the old place, at one frame a second.
    let stale = sent
        .iter()
        .filter(|(at, mac)| *at > 80 * second && *mac == THERE);
    assert_eq!(stale.count(), 0);
    assert!(
        sent.iter()
            .any(|(at, mac)| *at < 120 * second && *mac == moved)
    );
    // Gone: known after the next check, then nothing is sent to where it was, and it is told of.
    assert!(sent.iter().all(|(at, _)| *at < 160 * second));
    let told = scan.events.iter().filter(|event| {
        matches!(
            event,
            Event::NextHop {
                resolved: false,
                ..
            }
        )
    });
    assert_eq!(told.count(), 2);
    let unreachable = scan.sweep.counters().unreachable;
    assert!((1..2 * HOSTS).contains(&unreachable), "{unreachable}");
    assert!(asks.last() > sent.last().map(|(at, _)| at));
}
