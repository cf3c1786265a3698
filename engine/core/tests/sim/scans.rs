//! What must be true of every scan.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use sonde_core::observation::Proto;
use sonde_core::request::{PortState, Shard};
use sonde_core::sweep::{Event, SweepConfig};
use sonde_wire::{RxDrop, VlanId};

use crate::driver::{Driver, assert_same, config, most_in_a_window};
use crate::network::{Refuses, Way};
use crate::random::with_seeds;
use crate::world::{Size, World};

/// Nothing is lost; frames overtake each other within what a first wait allows.
const FAIR: Way = Way {
    loss_percent: 0,
    duplicate_percent: 0,
    delay_us: 20_000,
    forged_percent: 0,
    leak_percent: 0,
};

/// Everything that can happen to a frame.
const ROUGH: Way = Way {
    loss_percent: 5,
    duplicate_percent: 10,
    delay_us: 60_000,
    forged_percent: 20,
    leak_percent: 2,
};

fn scan(world: &mut World, config: SweepConfig) -> Driver {
    let mut driver = Driver::new(&world.plan(), config);
    driver.run(&mut world.network);
    assert_eq!(driver.sweep.counters().suppressed, 0);
    driver
}

fn assert_truth(driver: &Driver, world: &World) {
    assert_same(&driver.hosts_up(), &world.hosts_up);
    assert_same(&driver.open(), &world.open);
}

#[test]
fn everything_is_found_and_nothing_else() {
    with_seeds(10, |seed| {
        let mut world = World::new(seed, Size::default(), FAIR);
        world.exclude_some();
        let driver = scan(&mut world, config(1));
        assert_truth(&driver, &world);
        let counters = driver.sweep.counters();
        assert_eq!(counters.open, world.open.len() as u64);
        assert_eq!(counters.hosts_up, world.hosts_up.len() as u64);
        assert_eq!(counters.probes_done, counters.probes_due);
        assert_eq!(counters.sent(), world.network.capture.len() as u64);
    });
}

#[test]
fn without_discovery_every_port_behind_a_gateway_is_asked_and_the_same_is_found() {
    with_seeds(10, |seed| {
        let size = Size {
            discovery: "none",
            addresses: 32,
            ..Size::default()
        };
        let mut world = World::new(seed, size, FAIR);
        world.exclude_some();
        let driver = scan(&mut world, config(1));
        assert_truth(&driver, &world);
    });
}

#[test]
fn enough_passes_find_everything_on_a_rough_way() {
    with_seeds(6, |seed| {
        for discovery in ["echo,tcp:80,443", "none"] {
            let size = Size {
                passes: 9,
                vlans: 5,
                addresses: 48,
                discovery,
                ..Size::default()
            };
            let mut world = World::new(seed, size, ROUGH);
            world.exclude_some();
            let driver = scan(&mut world, config(1));
            assert_truth(&driver, &world);
            let drops = driver.sweep.drops();
            assert!(drops.of(RxDrop::BadCookie) > 0 && drops.of(RxDrop::Duplicate) > 0);
            let loss = driver.sweep.counters().loss().unwrap();
            assert!(
                (0.02..0.25).contains(&loss),
                "about a tenth is lost, not {loss}"
            );
        }
    });
}

#[test]
fn silence_gets_exactly_the_passes_and_an_answer_exactly_one() {
    with_seeds(6, |seed| {
        let passes = 1 + seed as u32 % 3;
        let size = Size {
            passes,
            discovery: "echo,tcp:80,443",
            ..Size::default()
        };
        let mut world = World::new(seed, size, FAIR);
        world.exclude_some();
        let driver = scan(&mut world, config(1));
        assert_truth(&driver, &world);
        let mut probes = 0;
        for ((vlan, ip, question), times) in &world.network.asked {
            probes += u64::from(*times);
            let host = world.network.hosts.get(&(*vlan, *ip));
            let Some(host) = host else {
                let gateway = world.network.gateways.contains_key(&(*vlan, *ip));
                let due = if gateway { 1 } else { passes };
                assert_eq!(*times, due, "{question} of nobody at {ip} in {vlan:?}");
                continue;
            };
            let up = world.hosts_up.contains(&(*vlan, *ip));
            let port: Option<u16> = question
                .trim_matches(|c: char| !c.is_numeric())
                .parse()
                .ok();
            let answers = match port {
                _ if question == "Link" => true,
                _ if question == "Echo" => host.echo,
                Some(port) if question.starts_with("Tcp") && host.tcp.contains(&port) => true,
                Some(port) if question.starts_with("Udp") && host.udp.contains(&port) => true,
                _ => host.refuses == Refuses::Plainly || (up && host.refuses == Refuses::ByRule),
            };
            if question == "Echo" && up && host.gateway.is_some() {
                assert_eq!(*times, 1, "found in the first pass by another question");
                continue;
            }
            // A discovery question that stayed silent is a port's question again once the host is up.
            let again =
                up && host.gateway.is_some() && ["Tcp(80)", "Tcp(443)"].contains(&&**question);
            let due = if answers { 1 } else { passes };
            let most = if again { due + 1 } else { due };
            assert!(
                (due..=most).contains(times),
                "{question} of {ip} in {vlan:?}: {times}"
            );
        }
        assert_eq!(driver.sweep.counters().probes(), probes);
    });
}

#[test]
fn every_state_is_reported_when_asked_for() {
    with_seeds(6, |seed| {
        for discovery in ["echo,tcp:80,443", "none"] {
            let size = Size {
                vlans: 3,
                addresses: 32,
                discovery,
                ..Size::default()
            };
            let mut world = World::new(seed, size, FAIR);
            world.show_all();
            let driver = scan(&mut world, config(1));
            assert_truth(&driver, &world);
            let states: BTreeMap<_, _> = driver.ports().into_iter().collect();
            for (vlan, ip) in &world.hosts_up {
                let host = &world.network.hosts[&(*vlan, *ip)];
                let tcp = world.tcp.iter().map(|port| (Proto::Tcp, *port));
                for (proto, port) in tcp.chain(world.udp.iter().map(|port| (Proto::Udp, *port))) {
                    let open = match proto {
                        Proto::Tcp => host.tcp.contains(&port),
                        Proto::Udp => host.udp.contains(&port),
                    };
                    let state = match (open, host.refuses, proto) {
                        (true, ..) => PortState::Open,
                        (_, Refuses::Plainly, _) => PortState::Closed,
                        (_, Refuses::Silently, Proto::Udp) => PortState::Unconfirmed,
                        _ => PortState::Filtered,
                    };
                    let found = states.get(&(*vlan, *ip, proto, port));
                    assert_eq!(found, Some(&state), "{ip} {proto:?} {port} in {vlan:?}");
                }
            }
            let nobody = |ip: &IpAddr| ip.to_string().starts_with("172.");
            if discovery != "none" {
                assert_eq!(
                    states.len(),
                    world.hosts_up.len() * (world.tcp.len() + world.udp.len())
                );
            } else {
                assert!(states.keys().any(|(_, ip, ..)| nobody(ip)));
            }
        }
    });
}

#[test]
fn answers_on_another_vlan_are_leaks_and_never_results() {
    with_seeds(6, |seed| {
        let way = Way {
            leak_percent: 10,
            ..FAIR
        };
        // One address for us in every VLAN, else the strayed answer is not even for us.
        let mut world = World::new(
            seed,
            Size {
                vlans: 6,
                ..Size::default()
            },
            way,
        );
        let driver = scan(&mut world, config(1));
        assert_truth(&driver, &world);
        let mut told = BTreeSet::new();
        for event in &driver.events {
            if let Event::Leak {
                vlan,
                seen_vlan,
                ip,
                ..
            } = *event
            {
                assert!(told.insert((vlan, seen_vlan, ip)), "told twice");
            }
        }
        assert!(!told.is_empty());
        assert_same(&told, &world.network.leaked);
        assert!(driver.sweep.counters().leaks >= told.len() as u64);
    });
}

#[test]
fn the_answers_to_another_scan_are_not_believed() {
    with_seeds(3, |seed| {
        let size = Size {
            vlans: 2,
            ..Size::default()
        };
        let mut other = World::new(seed, size, FAIR);
        scan(&mut other, config(1));
        // The same scan with another key, of a network in which nothing listens, hears all that the first heard.
        let mut world = World::new(seed, size, FAIR);
        world.network.hosts.values_mut().for_each(|host| {
            host.tcp.clear();
            host.udp.clear();
        });
        for arrival in other.network.log {
            let is_tcp = [6, 20]
                .iter()
                .any(|at| arrival.bytes.get(14 + at) == Some(&6));
            let is_tcp = is_tcp || arrival.bytes.get(23) == Some(&6);
            if is_tcp {
                world
                    .network
                    .inject(arrival.at, arrival.vlan, arrival.bytes);
            }
        }
        let driver = scan(&mut world, config(2));
        assert_eq!(driver.open().len(), 0);
        assert!(driver.sweep.drops().of(RxDrop::BadCookie) > 50);
    });
}

#[test]
fn no_100_ms_hold_more_than_the_rate_allows_however_late_the_driver_comes() {
    with_seeds(4, |seed| {
        for rate in [500, 20_000, 200_000] {
            let size = Size {
                vlans: 4,
                passes: 1,
                rate_pps: Some(rate),
                ..Size::default()
            };
            let mut world = World::new(seed, size, FAIR);
            let mut driver = Driver::new(&world.plan(), config(1));
            driver.late = 2_000_000;
            driver.run(&mut world.network);
            assert_truth(&driver, &world);
            assert!(most_in_a_window(&world.network.capture) <= rate.div_ceil(10));
        }
    });
}

#[test]
fn small_tables_cost_time_and_lose_nothing() {
    with_seeds(6, |seed| {
        let size = Size {
            vlans: 4,
            passes: 6,
            ..Size::default()
        };
        let mut world = World::new(
            seed,
            size,
            Way {
                loss_percent: 3,
                ..FAIR
            },
        );
        let config = SweepConfig {
            window_units: 64,
            hosts_max: 2,
            queue_max: 3,
            broadcast_pps: 200,
            ..config(1)
        };
        let driver = scan(&mut world, config);
        assert_truth(&driver, &world);
    });
}

#[test]
fn shards_are_disjoint_and_together_complete() {
    with_seeds(3, |seed| {
        let (mut hosts, mut open) = (BTreeSet::new(), BTreeSet::new());
        let mut world = World::new(seed, Size::default(), FAIR);
        for index in 1..=3 {
            world.request.shard = Shard { index, count: 3 };
            let driver = scan(&mut world, config(1));
            let (mut more_hosts, mut more_open) = (driver.hosts_up(), driver.open());
            assert!(hosts.is_disjoint(&more_hosts) && open.is_disjoint(&more_open));
            hosts.append(&mut more_hosts);
            open.append(&mut more_open);
        }
        assert_same(&hosts, &world.hosts_up);
        assert_same(&open, &world.open);
    });
}

#[test]
fn an_absent_gateway_is_told_counted_and_does_not_hold_up_the_rest() {
    with_seeds(3, |seed| {
        let mut world = World::new(
            seed,
            Size {
                vlans: 3,
                ..Size::default()
            },
            FAIR,
        );
        let vlan = VlanId::new(102);
        world.network.gateways.retain(|(v, _), _| *v != vlan);
        let behind =
            |(v, ip): &(Option<VlanId>, IpAddr)| *v == vlan && ip.to_string().starts_with("172.");
        world.hosts_up.retain(|key| !behind(key));
        world.open.retain(|(v, ip, ..)| !behind(&(*v, *ip)));
        let driver = scan(&mut world, config(1));
        assert_truth(&driver, &world);
        let gone = driver.events.iter().filter(
            |event| matches!(event, Event::NextHop { vlan: v, resolved: false, .. } if *v == vlan),
        );
        assert_eq!(gone.count(), 1);
        assert_eq!(driver.sweep.counters().unreachable, 64);
    });
}

#[test]
fn four_thousand_vlans_are_one_scan() {
    let size = Size {
        vlans: 3_990,
        addresses: 4,
        passes: 1,
        rate_pps: Some(1_000_000),
        ..Size::default()
    };
    let mut world = World::new(7, size, FAIR);
    world.exclude_some();
    let driver = scan(&mut world, config(1));
    assert_truth(&driver, &world);
}
