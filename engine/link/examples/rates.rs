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
    RxBatch, XskLink, XskOptions,
};

/// Where the frames go; what AF_XDP receives.
const PORT: u16 = 40_000;
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
        let options = PacketOptions {
            qdisc_bypass: bypass,
            ..PacketOptions::default()
        };
        let rate = transmit_rate(&mut PacketLink::open("near", options)?, batch)?;
        eprintln!(
            "transmit, batches of {batch:3}, queueing discipline bypassed: {bypass:5}  {rate:9.0} frames/s"
        );
    }
    for native in [true, false] {
        match open_xsk(native) {
            Ok(mut link) => {
                let how = link.describe();
                for batch in [1, 64, 256] {
                    let rate = transmit_rate(&mut link, batch)?;
                    eprintln!(
                        "transmit, batches of {batch:3}, AF_XDP ({how})  {rate:9.0} frames/s"
                    );
                }
            }
            // As an ordinary user, say.
            Err(error) => eprintln!("no AF_XDP here: {error}"),
        }
    }
    receive_row("packet", &mut open("near")?)?;
    for native in [true, false] {
        if let Ok(mut link) = open_xsk(native) {
            let how = format!("AF_XDP ({})", link.describe());
            receive_row(&how, &mut link)?;
        }
    }
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
            slot[..60].fill(0);
            slot[..12].fill(2);
            // UDP over IPv4.
            slot[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
            slot[16..18].copy_from_slice(&46_u16.to_be_bytes());
            (slot[22], slot[23]) = (64, 17);
            slot[36..38].copy_from_slice(&PORT.to_be_bytes());
            60
        });
    }
    batch
}

fn open(name: &str) -> Result<PacketLink, sonde_link::OpenError> {
    PacketLink::open(name, PacketOptions::default())
}

fn open_xsk(native: bool) -> Result<XskLink, Box<dyn std::error::Error>> {
    let options = XskOptions {
        native,
        ..XskOptions::default()
    };
    let mut link = XskLink::open("near", options)?;
    link.set_source_port(PORT)?;
    Ok(link)
}

fn transmit_rate(
    near: &mut impl FrameLink,
    batch: usize,
) -> Result<f64, Box<dyn std::error::Error>> {
    let out = frames(batch);
    let before = near.counters().tx_frames;
    let begun = Instant::now();
    while begun.elapsed() < SPAN {
        let mut sent = 0;
        while sent < out.len() {
            sent += near.transmit(&out, sent)?;
        }
    }
    Ok((near.counters().tx_frames - before) as f64 / begun.elapsed().as_secs_f64())
}

/// The far end sends as fast as it can, `near` receives, a thread each.
fn receive_row(
    name: &str,
    near: &mut (impl FrameLink + Send),
) -> Result<(), Box<dyn std::error::Error>> {
    let mut far = open("far")?;
    let over = AtomicBool::new(false);
    let before = near.counters();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let near = &mut *near;
        let over = &over;
        scope.spawn(move || {
            let mut got = RxBatch::new(256);
            while !over.load(Ordering::Relaxed) {
                near.receive(&mut got, Duration::from_millis(1))
                    .expect("the link is there");
            }
        });
        let out = frames(256);
        while begun.elapsed() < SPAN {
            far.transmit(&out, 0).expect("the link is there");
        }
        over.store(true, Ordering::Relaxed);
    });
    let span = begun.elapsed().as_secs_f64();
    let (sent, after) = (far.counters().tx_frames, near.counters());
    eprintln!(
        "both at once, a thread each: {:9.0} sent/s, {:9.0} received/s, {} dropped, {name}",
        sent as f64 / span,
        (after.rx_frames - before.rx_frames) as f64 / span,
        after.rx_dropped - before.rx_dropped
    );
    Ok(())
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
