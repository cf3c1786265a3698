//! The loop against a network in memory, behind a cable that is nearly always full.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use sonde_core::observation::OBSERVATION_VERSION;
use sonde_core::plan::{Environment, Lan, Plan};
use sonde_core::policy::Policy;
use sonde_core::request::ScanRequest;
use sonde_core::sweep::SweepConfig;
use sonde_link::{FrameBatch, FrameLink, MemoryLink, RxBatch, memory_pair};
use sonde_wire::arp::Operation;
use sonde_wire::checksum::Sum;
use sonde_wire::ipv4::{self, Ipv4};
use sonde_wire::tcp::{self, Segment};
use sonde_wire::{Body, Checksums, MacAddr, Packet, ethernet, parse};

use super::*;
use crate::exchange::FrameExchange;
use crate::sink::LineSink;
use crate::sink::lines::Lines;

const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEM: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const SOURCE_PORT: u16 = 61_000;

/// Hosts 10.0.0.2 to 10.0.0.7 are there; their ports that are multiples of ten are open.
#[derive(Default)]
struct World {
    over: AtomicBool,
    frames: AtomicU64,
}

impl World {
    fn answer(&self, link: &mut MemoryLink) {
        let mut received = RxBatch::new(64);
        let mut answers = FrameBatch::new(64);
        while !self.over.load(Ordering::Relaxed) {
            received.clear();
            answers.clear();
            if link
                .receive(&mut received, Duration::from_millis(5))
                .is_err()
            {
                return; // the other end is gone
            }
            for frame in received.iter() {
                self.frames.fetch_add(1, Ordering::Relaxed);
                let packet = parse(frame.bytes, Checksums::Verify).expect("what we send parses");
                answers.push_with(|frame| answer(&packet, frame));
            }
            let mut from = 0;
            while from < answers.len() && !self.over.load(Ordering::Relaxed) {
                match link.transmit(&answers, from) {
                    Ok(0) => std::thread::yield_now(),
                    Ok(taken) => from += taken,
                    Err(_) => return,
                }
            }
        }
    }
}

/// Writes the answer to `packet`, or nothing.
fn answer(packet: &Packet<'_>, frame: &mut [u8]) -> usize {
    match packet.body {
        Body::Arp(arp) if arp.operation == Operation::Request => {
            if !(2..=7).contains(&arp.target_ip.octets()[3]) {
                return 0;
            }
            let at = ethernet::emit(frame, packet.eth_src, THEM, None, ethernet::ARP);
            at + arp.reply(THEM).emit(&mut frame[at..])
        }
        Body::Tcp(syn) if syn.flags == tcp::SYN => {
            let open = syn.dst_port % 10 == 0;
            let segment = Segment {
                src_port: syn.dst_port,
                dst_port: syn.src_port,
                seq: 7,
                ack: syn.seq.wrapping_add(1),
                flags: if open {
                    tcp::SYN | tcp::ACK
                } else {
                    tcp::RST | tcp::ACK
                },
                window: 0,
                options: &[],
            };
            let (std::net::IpAddr::V4(src), std::net::IpAddr::V4(dst)) = (syn.ip.dst, syn.ip.src)
            else {
                return 0;
            };
            let mut at = ethernet::emit(frame, packet.eth_src, THEM, None, ethernet::IPV4);
            at += Ipv4::new(src, dst, ipv4::TCP, 20).emit(&mut frame[at..]);
            at + segment.emit(&mut frame[at..], Sum::ZERO.pseudo4(src, dst, ipv4::TCP, 20))
        }
        _ => 0,
    }
}

fn plan(request: ScanRequest) -> Arc<Plan> {
    let environment = Environment {
        mac: US,
        lan: Lan {
            ipv4: Some((Ipv4Addr::new(10, 0, 0, 1), 24)),
            kernel_owned: true,
            ..Lan::default()
        },
        ..Environment::default()
    };
    let request = ScanRequest {
        seed: Some(1),
        ..request
    };
    Arc::new(Plan::new(&request, &environment, &Policy::default()).unwrap())
}

/// Runs a scan in the world; what it said, and how many frames the world saw.
fn run(request: ScanRequest, stop: &Stop) -> (End, Vec<Observation>, u64) {
    let plan = plan(request);
    // Eight frames fit into the cable, a batch is thirty-two times that.
    let (ours, mut theirs) = memory_pair(8);
    let world = Arc::new(World::default());
    let there = Arc::clone(&world);
    let thread = std::thread::spawn(move || there.answer(&mut theirs));
    let clock = Clock::start();
    let config = SweepConfig {
        key: [7; 16],
        source_port: SOURCE_PORT,
        ..SweepConfig::default()
    };
    let mut sweep = Sweep::new(Arc::clone(&plan), config, clock.now());
    let mut exchange = FrameExchange::new(ours, &plan, SOURCE_PORT, None);
    let lines = Lines::default();
    let writer = Writer::start(Box::new(LineSink::new(lines.clone())), clock).unwrap();
    let header = ScanHeader {
        version: OBSERVATION_VERSION,
        id: "test".to_owned(),
        started: clock.wall(Instant::ZERO),
        request: Box::new(plan.request().clone()),
    };
    let time_limit = plan.request().max_time_s.map(Duration::from_secs);
    let driver = Driver {
        clock,
        stop,
        time_limit,
        checkpoints: true,
        writer: &writer,
    };
    let (end, ..) = driver.run(header, &mut sweep, &mut exchange).unwrap();
    writer.finish().unwrap();
    world.over.store(true, Ordering::Relaxed);
    thread.join().unwrap();
    (end, lines.read(), world.frames.load(Ordering::Relaxed))
}

#[test]
fn every_open_port_is_found_once_through_a_cable_that_is_always_full() {
    let request = ScanRequest {
        targets: vec!["10.0.0.2-10.0.0.9".to_owned()],
        ports: "1-2000".to_owned(),
        rate_pps: Some(1_000_000),
        passes: 2,
        ..ScanRequest::default()
    };
    let (end, lines, frames) = run(request, &Stop::default());
    assert_eq!(end, End::Complete);
    let mut open = BTreeSet::new();
    for line in &lines {
        if let Observation::Port(port) = line {
            assert!(open.insert((port.ip, port.port)), "{port:?} came twice");
        }
    }
    assert_eq!(open.len(), 6 * 200);
    let Some(Observation::Summary(summary)) = lines.last() else {
        panic!("{:?}", lines.last())
    };
    assert!(
        summary.complete && summary.hosts_up == 6 && summary.open == 1200,
        "{summary:?}"
    );
    // ARP: six hosts answer the first time, two never. SYN: every port answers the first time.
    assert_eq!(summary.sent, 6 + 2 * 2 + 6 * 2000);
    assert_eq!(frames, summary.sent, "each frame reached the cable once");
}

#[test]
fn a_stopped_scan_says_so_with_a_checkpoint_and_a_summary() {
    let request = ScanRequest {
        targets: vec!["10.0.0.2-10.0.0.7".to_owned()],
        ports: "1-2000".to_owned(),
        // Two minutes.
        rate_pps: Some(100),
        ..ScanRequest::default()
    };
    let stop = Stop::default();
    stop.ask();
    let (end, lines, _) = run(request.clone(), &stop);
    assert_eq!(end, End::Stopped);
    let [
        ..,
        Observation::Checkpoint(_),
        Observation::Summary(summary),
    ] = &lines[..]
    else {
        panic!("{lines:?}")
    };
    assert!(!summary.complete);

    let request = ScanRequest {
        max_time_s: Some(1),
        ..request
    };
    let (end, lines, frames) = run(request, &Stop::default());
    assert_eq!(end, End::TimeLimit);
    assert!(frames < 300, "{frames} frames in a second and a round trip");
    assert!(
        lines
            .iter()
            .any(|line| matches!(line, Observation::Progress(p) if p.sent > 0))
    );
}
