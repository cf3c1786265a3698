//! Crashes, cancels, neighbors that ask for us, and the link that needs no frames.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sonde_core::judge::{Answer, Reply};
use sonde_core::observation::{HostReason, Proto};
use sonde_core::plan::{Environment, Plan};
use sonde_core::policy::Policy;
use sonde_core::probe::{ProbeKind, Transmit};
use sonde_core::request::{PortState, ScanRequest};
use sonde_core::sweep::{Event, ResumeError, Sweep};
use sonde_core::time::Instant;
use sonde_wire::arp::Operation;
use sonde_wire::{Checksums, MacAddr, VlanId};

use crate::driver::{Driver, assert_same, config, most_in};
use crate::network::{Host, Refuses, Way, arp_of, arp_request};
use crate::random::{Random, with_seeds};
use crate::world::{Size, World};

const FAIR: Way = Way {
    loss_percent: 0,
    duplicate_percent: 5,
    delay_us: 40_000,
    forged_percent: 0,
    leak_percent: 0,
};

#[test]
fn killed_at_any_moment_and_resumed_everything_is_found_and_little_sent_again() {
    with_seeds(30, |seed| {
        let discovery = if seed % 2 == 0 {
            "none"
        } else {
            "echo,tcp:80,443"
        };
        let size = Size {
            vlans: 4,
            passes: 1 + seed as u32 % 2,
            rate_pps: Some(10_000),
            discovery,
            ..Size::default()
        };
        let mut undisturbed = World::new(seed, size, FAIR);
        let mut driver = Driver::new(&undisturbed.plan(), config(9));
        driver.run(&mut undisturbed.network);
        let (all, length) = (driver.sweep.counters().probes(), driver.now);

        let mut world = World::new(seed, size, FAIR);
        let plan = world.plan();
        let mut random = Random::new(seed);
        let (mut hosts, mut open) = (BTreeSet::new(), BTreeSet::new());
        let mut driver = Driver::new(&plan, config(1));
        let mut kills = 0;
        loop {
            // A checkpoint every 100 ms, with which what was told is safe; killed somewhere after one.
            let killed_at = match kills < 6 {
                true => driver.now + random.below(length / 2),
                false => u64::MAX,
            };
            let mut checkpoint = driver.sweep.checkpoint();
            let mut told = driver.events.len();
            while !driver.sweep.is_done() && driver.now < killed_at {
                let until = driver.now + 100_000_000;
                driver.run_until(&mut world.network, until.min(killed_at));
                if driver.now >= until || driver.sweep.is_done() {
                    checkpoint = driver.sweep.checkpoint();
                    told = driver.events.len();
                }
            }
            // Every other time the last checkpoint is the last thing it does.
            if random.chance(50) && !driver.sweep.is_done() {
                checkpoint = driver.sweep.checkpoint();
                told = driver.events.len();
            }
            // What was told after the checkpoint may or may not have reached the disk.
            if random.chance(50) && !driver.sweep.is_done() {
                driver.events.truncate(told);
            }
            hosts.append(&mut driver.hosts_up());
            open.append(&mut driver.open());
            if driver.sweep.is_done() {
                break;
            }
            kills += 1;
            world.network.cut();
            driver = Driver::resume(&plan, config(1 + kills), &checkpoint, driver.now + 1);
        }
        assert_same(&hosts, &world.hosts_up);
        assert_same(&open, &world.open);
        // Again is sent what left in the 100 ms since the checkpoint, and in two timeouts before it.
        let again = 10_000 * (100 + 2 * 1_000) / 1_000 * u64::from(kills);
        let sent = world
            .network
            .asked
            .values()
            .map(|n| u64::from(*n))
            .sum::<u64>();
        assert!(
            sent <= all + again,
            "{sent} probes instead of {all}, {kills} kills"
        );
    });
}

#[test]
fn a_checkpoint_is_for_its_own_plan_and_damage_is_noticed() {
    let world = World::new(1, Size::default(), FAIR);
    let plan = world.plan();
    let good = Driver::new(&plan, config(1)).sweep.checkpoint();
    let resume = |checkpoint: &_| {
        Sweep::resume(plan.clone(), config(2), checkpoint, Instant::ZERO).map(|_| ())
    };
    assert_eq!(resume(&good), Ok(()));
    let mut other = good.clone();
    other.plan ^= 1;
    assert_eq!(resume(&other), Err(ResumeError::OtherPlan));
    let mut other = good.clone();
    other.version = 99;
    assert_eq!(resume(&other), Err(ResumeError::Version { found: 99 }));
    let mut random = Random::new(1);
    for _ in 0..2000 {
        let mut damaged = good.clone();
        let mut state = damaged.state.into_bytes();
        let at = random.below(state.len() as u64) as usize;
        match random.below(3) {
            0 => state.truncate(at),
            1 => state[at] = b"ABCD+/=z9"[random.below(9) as usize],
            _ => state.insert(at, b'A'),
        }
        damaged.state = String::from_utf8(state).unwrap();
        // It may by chance still be a state; it must not panic.
        let _ = resume(&damaged);
    }
}

#[test]
fn a_checkpoint_that_claims_more_hosts_than_it_has_bytes_for_is_refused() {
    let world = World::new(1, Size::default(), FAIR);
    let plan = world.plan();
    let good = Driver::new(&plan, config(1)).sweep.checkpoint();
    let packed = STANDARD.decode(&good.state).unwrap();
    let mut state = zstd::bulk::decompress(&packed, 1 << 20).unwrap();
    let words = u32::from_le_bytes(state[28..32].try_into().unwrap()) as usize;
    let hosts = 32 + 8 * words;
    for claimed in [1, 1000, 0x3fff_ffff, u32::MAX] {
        state[hosts..hosts + 4].copy_from_slice(&claimed.to_le_bytes());
        let mut bent = good.clone();
        bent.state = STANDARD.encode(zstd::bulk::compress(&state, 1).unwrap());
        let outcome = Sweep::resume(plan.clone(), config(2), &bent, Instant::ZERO);
        assert_eq!(
            outcome.map(|_| ()),
            Err(ResumeError::Damaged),
            "{claimed} hosts"
        );
    }
}

#[test]
fn a_stopped_scan_sends_no_more_hears_what_is_on_its_way_and_ends() {
    with_seeds(3, |seed| {
        let mut world = World::new(seed, Size::default(), FAIR);
        let mut driver = Driver::new(&world.plan(), config(1));
        while driver.sweep.counters().probes() < 1_000 || world.network.next_at().is_none() {
            driver.step(&mut world.network);
        }
        let counters = *driver.sweep.counters();
        driver.sweep.stop();
        let stopped = driver.now;
        driver.run(&mut world.network);
        assert_eq!(driver.sweep.counters().probes(), counters.probes());
        assert!(driver.sweep.counters().received > counters.received);
        assert!(driver.now - stopped < 2_000_000_000);
        assert!(driver.hosts_up().is_subset(&world.hosts_up));
    });
}

#[test]
fn our_addresses_are_answered_for_in_their_own_vlan_alone() {
    for kernel_owned in [false, true] {
        let mut world = World::new(1, Size::default(), FAIR);
        world.env.lan.kernel_owned = kernel_owned;
        let plan = world.plan();
        let mut driver = Driver::new(&plan, config(1));
        let them = MacAddr([2, 0, 0, 0, 9, 9]);
        let asker = Ipv4Addr::new(10, 102, 2, 9);
        let lan = Ipv4Addr::new(192, 0, 2, 250);
        let ours = Ipv4Addr::new(10, 100, 2, 250);
        let (right, wrong) = (VlanId::new(102), VlanId::new(103));
        for (vlan, target) in [
            (right, ours),
            (wrong, ours),
            (None, ours),
            (None, lan),
            (right, lan),
        ] {
            world
                .network
                .inject(1, vlan, arp_request(them, asker, target));
        }
        driver.run(&mut world.network);
        let replies = world.network.answers.iter().filter_map(|(vlan, bytes)| {
            let arp = arp_of(bytes).filter(|arp| arp.operation == Operation::Reply)?;
            Some((*vlan, arp.sender_ip, arp.target_mac))
        });
        let mut due = vec![(right, ours, them)];
        if !kernel_owned {
            due.push((None, lan, them));
        }
        assert_eq!(replies.collect::<Vec<_>>(), due);
        // The kernel resets what arrives at its own address; the rest is ours to reset.
        let resets = driver.sweep.counters().sent_rst;
        let open = driver.open().into_iter().filter(|(vlan, _, proto, _)| {
            *proto == Proto::Tcp && !(kernel_owned && vlan.is_none())
        });
        assert!(resets >= open.count() as u64);
        assert_eq!(u64::from(world.network.resets), resets);
    }
}

/// A kernel that connects: port 80 of every even address is open, of every odd one closed; addresses
/// above 200 are silent.
fn kernel_answer(ip: IpAddr, kind: ProbeKind) -> Option<Answer> {
    let IpAddr::V4(ip) = ip else { return None };
    let last = ip.octets()[3];
    match kind {
        ProbeKind::TcpSyn { port } if last <= 200 => Some(match last % 2 == 0 && port == 80 {
            true => Answer::TcpOpen(port),
            false => Answer::TcpClosed(port),
        }),
        _ => None,
    }
}

#[test]
fn the_kernels_own_connections_find_the_same() {
    for discovery in ["none", "tcp:80"] {
        let request = ScanRequest {
            targets: vec!["127.0.1.1-127.0.1.250".to_owned()],
            ports: "80,81".to_owned(),
            discovery: discovery.to_owned(),
            show: vec![PortState::Open, PortState::Closed, PortState::Filtered],
            rate_pps: None,
            seed: Some(1),
            ..ScanRequest::default()
        };
        let env = Environment {
            kernel_routes: true,
            ..Environment::default()
        };
        let plan = Arc::new(Plan::new(&request, &env, &Policy::default()).unwrap());
        let mut sweep = Sweep::new(plan, config(1), Instant::ZERO);
        let (mut now, mut out, mut events) = (Instant::ZERO, Vec::new(), Vec::new());
        let mut asked = 0;
        while !sweep.is_done() {
            sweep.poll_transmit(now, 32, &mut out);
            sweep.handle_transmitted(now, out.len());
            asked += out.len();
            for transmit in &out {
                let Transmit::Probe(probe) = transmit else {
                    panic!("frames are not for the kernel")
                };
                if let Some(answer) = kernel_answer(probe.dst, probe.kind) {
                    let rtt = Some(Duration::from_micros(50));
                    let (vlan, ip) = (None, probe.dst);
                    sweep.handle_reply(
                        now,
                        Reply {
                            vlan,
                            ip,
                            answer,
                            mac: None,
                            ttl: None,
                            rtt,
                        },
                    );
                }
            }
            events.extend(std::iter::from_fn(|| sweep.poll_event()));
            now = sweep
                .poll_timeout()
                .unwrap_or(now)
                .max(now + Duration::from_micros(10));
        }
        let hosts = events.iter().filter(|event| match event {
            Event::Host { reason, rtt, .. } => {
                assert!(matches!(reason, HostReason::SynAck | HostReason::Rst));
                assert_eq!(*rtt, Some(Duration::from_micros(50)));
                true
            }
            _ => false,
        });
        assert_eq!(hosts.count(), 200);
        let count = |wanted| {
            let of_state = |e: &&Event| matches!(e, Event::Port { state, .. } if *state == wanted);
            events.iter().filter(of_state).count()
        };
        assert_eq!(
            (count(PortState::Open), count(PortState::Closed)),
            (100, 300)
        );
        let silent = if discovery == "none" { 100 } else { 0 };
        assert_eq!(count(PortState::Filtered), silent);
        let passes = 3;
        let due = if discovery == "none" {
            400 + 100 * passes
        } else {
            400 + 50 * passes
        };
        assert_eq!(asked, due);
    }
}

#[test]
fn who_is_excluded_gets_no_answer_either() {
    let mut world = World::new(1, Size::default(), FAIR);
    let asker = Ipv4Addr::new(10, 102, 2, 9);
    let vlan = VlanId::new(102);
    world.request.exclude.push("10.100.2.9@102".to_owned());
    let ours = Ipv4Addr::new(10, 100, 2, 250);
    let excluded = Ipv4Addr::new(10, 100, 2, 9);
    let them = MacAddr([2, 0, 0, 0, 9, 9]);
    for from in [excluded, asker] {
        world.network.inject(1, vlan, arp_request(them, from, ours));
    }
    let mut driver = Driver::new(&world.plan(), config(1));
    driver.run(&mut world.network);
    let told: Vec<_> = world
        .network
        .answers
        .iter()
        .filter_map(|(_, bytes)| arp_of(bytes))
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].target_ip, asker);
    assert_eq!(driver.sweep.counters().suppressed, 1);
}

/// A plan over the untagged LAN without a rate.
fn lan(targets: &str, ports: &str, passes: u32) -> World {
    let mut world = World::new(
        1,
        Size {
            vlans: 0,
            rate_pps: None,
            ..Size::default()
        },
        FAIR,
    );
    world.request.targets = vec![targets.to_owned()];
    world.request.ports = ports.to_owned();
    world.request.passes = passes;
    world.network.hosts.clear();
    world.network.gateways.clear();
    world
}

#[test]
fn one_host_is_asked_all_its_ports_fast_and_never_in_floods() {
    let mut world = lan("192.0.2.9@lan", "1-65535", 1);
    let host = Host {
        mac: MacAddr([2, 0, 0, 0, 0, 9]),
        gateway: None,
        echo: true,
        tcp: BTreeSet::from([65_535]),
        udp: BTreeSet::new(),
        refuses: Refuses::Silently,
    };
    world
        .network
        .hosts
        .insert((None, "192.0.2.9".parse().unwrap()), host);
    let mut driver = Driver::new(&world.plan(), config(1));
    driver.run(&mut world.network);
    assert_eq!(driver.open().len(), 1);
    let capture = &world.network.capture;
    let asking = capture[capture.len() - 1] - capture[1];
    assert!(asking < 500_000_000, "{asking} ns for all ports");
    let in_a_millisecond = most_in(capture, 1_000_000);
    assert!(
        in_a_millisecond <= 200 + 64 + 1,
        "{in_a_millisecond} in a millisecond"
    );
}

#[test]
fn no_segment_sees_a_storm_of_broadcasts() {
    let mut world = lan("192.0.0.0/22@lan", "80", 2);
    world.env.lan.ipv4 = Some(("192.0.2.250".parse().unwrap(), 22));
    let mut driver = Driver::new(&world.plan(), config(1));
    driver.run(&mut world.network);
    let capture = &world.network.capture;
    // All but the network's address, broadcast and our own.
    assert_eq!(capture.len(), 2 * (1024 - 3));
    assert!(most_in(capture, 100_000_000) <= 100 + 16 + 1);
    assert!(driver.now < 4_500_000_000, "at a thousand a second");
}

#[test]
fn nothing_that_arrives_and_no_clock_makes_it_panic() {
    with_seeds(20, |seed| {
        let mut world = World::new(
            seed,
            Size {
                vlans: 3,
                addresses: 16,
                ..Size::default()
            },
            FAIR,
        );
        world.network.spoofed = true;
        let mut random = Random::new(seed);
        // Real frames to cut and bend.
        let mut donor = World::new(
            seed,
            Size {
                vlans: 3,
                addresses: 16,
                ..Size::default()
            },
            FAIR,
        );
        Driver::new(&donor.plan(), config(1)).run(&mut donor.network);
        let frames = std::mem::take(&mut donor.network.log);
        let mut driver = Driver::new(&world.plan(), config(1));
        for _ in 0..3_000 {
            let mut bytes = random.pick_ref(&frames).bytes.clone();
            for _ in 0..random.below(4) {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next() as u8;
            }
            if random.chance(10) {
                bytes.truncate(random.below(bytes.len() as u64) as usize);
            }
            let vlan = random.pick(&world.network.vlans);
            let now = Instant::from_nanos(driver.now.saturating_sub(random.below(2_000_000)));
            driver.sweep.handle_frame_with(
                now,
                vlan,
                &bytes,
                random.pick(&[Checksums::Verify, Checksums::Trust]),
            );
            match random.below(20) {
                0 => driver.now += random.below(3_000_000_000),
                1..10 => driver.step(&mut world.network),
                10 => driver.sweep.handle_timeout(now),
                _ => {}
            }
            if random.chance(1) {
                let checkpoint = driver.sweep.checkpoint();
                driver = Driver::resume(&world.plan(), config(1), &checkpoint, driver.now);
            }
        }
        driver.run(&mut world.network);
    });
}

#[test]
fn a_scan_keeps_to_its_rate_within_half_a_percent() {
    let mut world = lan("192.0.2.9@lan", "1-65535", 2);
    world.request.rate_pps = Some(50_000);
    let host = Host {
        mac: MacAddr([2, 0, 0, 0, 0, 9]),
        gateway: None,
        echo: true,
        tcp: BTreeSet::new(),
        udp: BTreeSet::new(),
        refuses: Refuses::Silently,
    };
    world
        .network
        .hosts
        .insert((None, "192.0.2.9".parse().unwrap()), host);
    let mut driver = Driver::new(&world.plan(), config(1));
    driver.late = 100_000;
    driver.run(&mut world.network);
    let capture = &world.network.capture;
    assert_eq!(capture.len(), 1 + 2 * 65_535);
    assert!(most_in(capture, 100_000_000) <= 5_000);
    // The first pass, from its first port on: nothing is waited for in it.
    let seconds = (capture[65_535] - capture[1]) as f64 / 1e9;
    let rate = 65_534.0 / seconds;
    assert!((49_750.0..=50_250.0).contains(&rate), "{rate} a second");
}
