//! Worlds in the kernel, held against the Rust function that says what is there.
//!
//! Only root may bring a program into the kernel, so as an ordinary user these tests say so and are done: that
//! is the way of the kernel, not a lack of the machine.

#![allow(
    clippy::unwrap_used,
    reason = "a test; clippy knows only its functions marked as tests"
)]

mod questions;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sonde_lab::world::{
    Limit, NEAR, Network4, Network6, PortAnswer, Preset, WorldCounters, WorldDescription,
    WorldSpec, XdpWorld, XdpWorldError, answer,
};
use sonde_link::packet::{PacketLink, PacketOptions};
use sonde_link::{FrameBatch, FrameLink as _, RxBatch};
use sonde_wire::{Body, Checksums, QuotedTransport, VlanId, parse, tcp};

use questions::{Asked, Questions, syn};

/// What came back: the VLAN, and what it says.
type Answers = BTreeSet<(Option<VlanId>, String)>;

/// Frames sent before their answers are taken in: less than the rings between the two ends hold.
const BURST: usize = 64;

/// Starts a world, or says why that is not for this user.
fn start(test: &str, spec: &WorldSpec) -> Option<XdpWorld> {
    if !rustix::process::geteuid().is_root() {
        let refused = XdpWorld::start(spec).err();
        assert!(
            matches!(refused, Some(XdpWorldError::NotPermitted)),
            "{refused:?}"
        );
        eprintln!("{test} is for root: nobody else may bring a program into the kernel");
        return None;
    }
    Some(XdpWorld::start(spec).unwrap())
}

/// Sends every frame, in bursts, and hands over whatever comes back until the world has accounted for them all.
fn ask(world: &XdpWorld, frames: &[Vec<u8>], mut take: impl FnMut(Option<VlanId>, &[u8]) + Send) {
    let ask = || {
        let options = PacketOptions {
            promiscuous: true,
            ..PacketOptions::default()
        };
        let mut link = PacketLink::open(NEAR, options).unwrap();
        let mut answers = RxBatch::new(256);
        for frames in frames.chunks(BURST) {
            let before = world.counters().unwrap();
            let mut batch = FrameBatch::new(frames.len());
            for frame in frames {
                batch.push_with(|slot| {
                    slot[..frame.len()].copy_from_slice(frame);
                    frame.len()
                });
            }
            let mut sent = 0;
            while sent < batch.len() {
                sent += link.transmit(&batch, sent).unwrap();
            }
            let begun = Instant::now();
            let mut quiet = false;
            // Answered, and the answers taken in: nothing more comes once the world is done with the burst.
            while !quiet {
                assert!(
                    begun.elapsed() < Duration::from_secs(10),
                    "no account of a burst"
                );
                let done = settled(world, &before, frames.len() as u64);
                link.receive(&mut answers, Duration::from_millis(5))
                    .unwrap();
                let mut any = false;
                for frame in answers.iter() {
                    any = true;
                    take(frame.meta.vlan, frame.bytes);
                }
                quiet = done && !any;
            }
        }
        assert_eq!(link.counters().rx_dropped, 0);
    };
    world.visit(ask).unwrap();
}

fn settled(world: &XdpWorld, before: &WorldCounters, sent: u64) -> bool {
    let now = world.counters().unwrap();
    now.received >= before.received + sent && now.accounted() == now.received
}

/// A bit of everything that a world can have.
fn varied() -> WorldSpec {
    let per_vlan = |network: &str| Network4 {
        network: network.parse().unwrap(),
        per_vlan: true,
    };
    let six = |network: &str, hosts, per_vlan| Network6 {
        network: network.parse().unwrap(),
        hosts,
        per_vlan,
    };
    WorldSpec::new(WorldDescription {
        seed: 4711,
        vlans: "lan,1-300,4094".to_owned(),
        link4: Some(per_vlan("10.0.0.0/24")),
        link6: Some(six("2001:db8::/64", 50, true)),
        behind4: vec![
            per_vlan("172.16.0.0/24"),
            Network4::everywhere("192.168.0.0/16".parse().unwrap()),
        ],
        behind6: vec![six("2001:db8:8000::/64", 300, false)],
        hosts_up: 0.6,
        answers_all: 0.1,
        ports: "T:80,U:53".to_owned(),
        open: 0.2,
        closed: 0.5,
        unreachable: Some(Limit {
            rate: 1_000_000_000,
            depth: 1_000_000,
        }),
        ..WorldDescription::default()
    })
    .unwrap()
}

#[test]
fn the_kernel_and_rust_answer_alike() {
    const QUESTIONS: usize = 6000;
    let spec = varied();
    let Some(world) = start("the_kernel_and_rust_answer_alike", &spec) else {
        return;
    };
    let asked: Vec<Asked> = Questions::new(&spec, 1).take(QUESTIONS).collect();
    let (mut expected, mut refused) = (Answers::new(), BTreeSet::new());
    let mut misdirected = 0;
    for question in &asked {
        if question.misdirected {
            misdirected += 1;
            continue;
        }
        let mut out = [0; 512];
        let length = answer(&spec, question.vlan, &question.untagged, &mut out);
        if length > 0 {
            // The answer's tag is behind its addresses, as on a wire.
            let tag = if question.vlan.is_some() { 4 } else { 0 };
            let untagged = [&out[..12], &out[12 + tag..length]].concat();
            expected.insert((question.vlan, said(&untagged)));
        }
        if let Some((ip, port)) = question.udp
            && spec.udp(question.vlan, ip, port) == PortAnswer::Closed
        {
            refused.insert((question.vlan, ip, port, question.id));
        }
    }
    assert!(expected.len() > QUESTIONS / 10 && refused.len() > 100 && misdirected > 100);
    let (mut answers, mut refusals) = (Answers::new(), BTreeSet::new());
    let frames: Vec<Vec<u8>> = asked
        .iter()
        .map(|question| question.frame.clone())
        .collect();
    ask(&world, &frames, |vlan, bytes| {
        let packet = parse(bytes, Checksums::Verify).unwrap();
        let Body::IcmpError(error) = packet.body else {
            answers.insert((vlan, said(bytes)));
            return;
        };
        assert_eq!(
            error.kind,
            sonde_wire::frame::IcmpErrorKind::PortUnreachable
        );
        assert_eq!(error.ip.src, error.quoted.dst);
        let QuotedTransport::Udp {
            src_port, dst_port, ..
        } = error.quoted.transport
        else {
            panic!("{error:?}")
        };
        refusals.insert((vlan, error.quoted.dst, dst_port, src_port));
    });
    let missing: Vec<_> = expected.difference(&answers).take(5).collect();
    let extra: Vec<_> = answers.difference(&expected).take(5).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing {missing:?}, extra {extra:?}"
    );
    assert_eq!(refusals, refused);
    let counters = world.counters().unwrap();
    assert_eq!(counters.misdirected, misdirected, "{counters}");
    assert_eq!(counters.accounted(), counters.received);
}

fn said(untagged: &[u8]) -> String {
    format!("{:?}", parse(untagged, Checksums::Verify).unwrap().body)
}

#[test]
fn a_sweep_finds_every_host() {
    let spec = Preset::Sweep.spec();
    let Some(world) = start("a_sweep_finds_every_host", &spec) else {
        return;
    };
    // 4096 of the million hosts, from all over the network.
    let targets: Vec<u32> = (0..4096).map(|n| 0x0a40_0000 + n * 256 + n % 251).collect();
    let frames: Vec<_> = targets
        .iter()
        .map(|&ip| syn(&spec, None, ip.into(), 80))
        .collect();
    let mut found = BTreeSet::new();
    ask(&world, &frames, |_, bytes| {
        if let Body::Tcp(segment) = parse(bytes, Checksums::Verify).unwrap().body {
            assert_eq!(segment.flags, tcp::SYN | tcp::ACK);
            assert!(found.insert(segment.ip.src), "answered twice");
        }
    });
    assert_eq!(found.len(), targets.len());
}

#[test]
fn the_policer_lets_through_its_rate_and_counts_the_rest() {
    const FRAMES: usize = 4096;
    let limit = Limit {
        rate: 2000,
        depth: 100,
    };
    let spec = WorldSpec::new(WorldDescription {
        policer: Some(limit),
        ..Preset::Policed.spec().description().clone()
    })
    .unwrap();
    let test = "the_policer_lets_through_its_rate_and_counts_the_rest";
    let Some(world) = start(test, &spec) else {
        return;
    };
    let frames = vec![syn(&spec, None, 0x0a40_0001.into(), 80); FRAMES];
    let (begun, mut answers) = (Instant::now(), 0);
    ask(&world, &frames, |_, _| answers += 1);
    let elapsed = begun.elapsed().as_secs_f64();
    let counters = world.counters().unwrap();
    let most = f64::from(limit.depth) + elapsed * f64::from(limit.rate) + 1.0;
    assert!(counters.let_through >= u64::from(limit.depth), "{counters}");
    assert!(
        (counters.let_through as f64) <= most,
        "{counters}, at most {most}"
    );
    assert!(
        counters.let_through + counters.policed >= FRAMES as u64,
        "{counters}"
    );
    assert_eq!(answers, counters.answered_syn_ack, "{counters}");
    assert!(counters.policed > 0, "{counters}");
}

#[test]
fn losses_are_about_as_many_as_written() {
    const FRAMES: usize = 4096;
    let spec = WorldSpec::new(WorldDescription {
        loss_in: 0.25,
        loss_out: 0.5,
        ..Preset::Sweep.spec().description().clone()
    })
    .unwrap();
    let Some(world) = start("losses_are_about_as_many_as_written", &spec) else {
        return;
    };
    let frames = vec![syn(&spec, None, 0x0a40_0001.into(), 80); FRAMES];
    let mut answers = 0;
    ask(&world, &frames, |_, _| answers += 1);
    let counters = world.counters().unwrap();
    // Six standard deviations either way.
    assert!((858..1190).contains(&counters.lost_in), "{counters}");
    assert!((1330..1740).contains(&counters.lost_out), "{counters}");
    assert_eq!(answers, counters.answered_syn_ack, "{counters}");
}
