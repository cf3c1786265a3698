//! How fast the links are here: `cargo run --release -p sonde-link --example rates`.
//!
//! In a network namespace of its own (as root, or under `unshare -Urn`), over a veth pair and loopback. The
//! sender's rate on veth contains the receiver's work on the same core, so compare, don't quote.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sonde_link::{
    ConnectLink, ConnectOptions, ConnectResult, FrameBatch, FrameLink, PacketLink, PacketOptions,
    RxBatch,
};

/// How long each measurement takes.
const SPAN: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)?;
    for words in [
        "link set lo up",
        "link add near type veth peer name far",
        "link set near addrgenmode none",
        "link set far addrgenmode none",
        "link set near up",
        "link set far up",
    ] {
        let done = Command::new("ip").args(words.split(' ')).status()?;
        assert!(done.success(), "ip {words}");
    }
    for (batch, bypass) in [(1, true), (64, true), (256, true), (256, false)] {
        let rate = transmit_rate(batch, bypass)?;
        eprintln!(
            "transmit, batches of {batch:3}, queueing discipline bypassed: {bypass:5}  {rate:9.0} frames/s"
        );
    }
    let (sent, received, dropped) = receive_rate()?;
    eprintln!(
        "both at once, a thread each: {sent:9.0} sent/s, {received:9.0} received/s, {dropped} dropped"
    );
    eprintln!("emptying a full ring: {:.0} ns a frame", ring_cost()?);
    let mut trips = round_trips()?;
    trips.sort_unstable();
    let at = |share: f64| trips[(trips.len() as f64 * share) as usize];
    eprintln!(
        "there and back, both waiting: median {:?}, 99 % {:?}",
        at(0.5),
        at(0.99)
    );
    for in_flight_max in [64, 1024, 4096] {
        let (rate, median) = connect_rate(in_flight_max)?;
        eprintln!(
            "connect to closed ports, {in_flight_max:4} at once: {rate:9.0} a second, median answer {median:?}"
        );
    }
    Ok(())
}

fn frames(count: usize) -> FrameBatch {
    let mut batch = FrameBatch::new(count);
    for _ in 0..count {
        batch.push_with(|slot| {
            slot[..12].fill(2);
            slot[12..14].copy_from_slice(&[0x88, 0xb5]);
            slot[14..60].fill(0);
            60
        });
    }
    batch
}

fn open(name: &str) -> Result<PacketLink, sonde_link::OpenError> {
    PacketLink::open(name, PacketOptions::default())
}

fn transmit_rate(batch: usize, qdisc_bypass: bool) -> Result<f64, Box<dyn std::error::Error>> {
    let options = PacketOptions {
        qdisc_bypass,
        ..PacketOptions::default()
    };
    let mut near = PacketLink::open("near", options)?;
    let out = frames(batch);
    let begun = Instant::now();
    while begun.elapsed() < SPAN {
        let mut sent = 0;
        while sent < out.len() {
            sent += near.transmit(&out, sent)?;
        }
    }
    Ok(near.counters().tx_frames as f64 / begun.elapsed().as_secs_f64())
}

fn receive_rate() -> Result<(f64, f64, u64), Box<dyn std::error::Error>> {
    let (mut near, mut far) = (open("near")?, open("far")?);
    let over = AtomicBool::new(false);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut got = RxBatch::new(256);
            while !over.load(Ordering::Relaxed) {
                far.receive(&mut got, Duration::from_millis(1))
                    .expect("the link is there");
            }
        });
        let out = frames(256);
        while begun.elapsed() < SPAN {
            near.transmit(&out, 0).expect("the link is there");
        }
        over.store(true, Ordering::Relaxed);
    });
    let span = begun.elapsed().as_secs_f64();
    let (sent, received) = (near.counters().tx_frames, far.counters());
    Ok((
        sent as f64 / span,
        received.rx_frames as f64 / span,
        received.rx_dropped,
    ))
}

/// Time to take one frame out of the ring, copy included.
fn ring_cost() -> Result<f64, Box<dyn std::error::Error>> {
    let (mut near, mut far) = (open("near")?, open("far")?);
    let out = frames(4096);
    let mut got = RxBatch::new(4096);
    let (mut spent, mut count) = (Duration::ZERO, 0);
    for _ in 0..100 {
        near.transmit(&out, 0)?;
        let begun = Instant::now();
        far.receive(&mut got, Duration::from_millis(10))?;
        spent += begun.elapsed();
        count += got.len();
    }
    Ok(spent.as_nanos() as f64 / count as f64)
}

fn round_trips() -> Result<Vec<Duration>, Box<dyn std::error::Error>> {
    let (mut near, mut far) = (open("near")?, open("far")?);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut got, out) = (RxBatch::new(16), frames(1));
            while !over.load(Ordering::Relaxed) {
                far.receive(&mut got, Duration::from_millis(10))
                    .expect("the link is there");
                if !got.is_empty() {
                    far.transmit(&out, 0).expect("the link is there");
                }
            }
        });
        let (mut got, out) = (RxBatch::new(16), frames(1));
        let mut trips = Vec::new();
        for _ in 0..10_000 {
            let begun = Instant::now();
            near.transmit(&out, 0)?;
            got.clear();
            while got.is_empty() {
                near.receive(&mut got, Duration::from_secs(1))?;
            }
            trips.push(begun.elapsed());
        }
        over.store(true, Ordering::Relaxed);
        Ok(trips)
    })
}

fn connect_rate(in_flight_max: u32) -> Result<(f64, Duration), Box<dyn std::error::Error>> {
    let mut link = ConnectLink::open(ConnectOptions {
        in_flight_max,
        ..Default::default()
    })?;
    let (mut next, mut done) = (0_u64, 0_u64);
    let mut out = Vec::new();
    let mut rtts = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < SPAN {
        let port = |number: u64| (number % 30_000) as u16 + 1;
        while link.submit(
            next,
            SocketAddr::from((IpAddr::V4(Ipv4Addr::LOCALHOST), port(next))),
        ) {
            next += 1;
        }
        link.poll(Duration::from_millis(10), &mut out)?;
        done += out.len() as u64;
        for outcome in out.drain(..) {
            assert_eq!(outcome.result, ConnectResult::Refused);
            rtts.push(outcome.rtt);
        }
    }
    rtts.sort_unstable();
    Ok((
        done as f64 / begun.elapsed().as_secs_f64(),
        rtts[rtts.len() / 2],
    ))
}
