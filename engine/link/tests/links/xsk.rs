//! What the AF_XDP link promises beyond the others: what is the scan's, and what stays the kernel's.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use nix::net::if_::if_nametoindex;
use sonde_link::{
    AttachError, FrameBatch, FrameLink, OpenError, PacketLink, PacketOptions, RxBatch, XdpFeatures,
    XskError, XskLink, XskOptions, offload, xdp_features,
};

use crate::conformance::{expect_answers, for_root, wait_until_free};
use crate::frames::{Answer, OUR_IPV4, PATIENCE, PORT, carry, is_ours, write_answer};
use crate::namespace::{in_namespace, ip, veth_pair};

fn open(options: XskOptions) -> (XskLink, PacketLink) {
    let mut near = XskLink::open("near", options).expect("a namespace of our own");
    expect_answers(&mut near);
    let far = PacketLink::open("far", PacketOptions::default()).expect("the same namespace");
    (near, far)
}

/// Sends one UDP frame to `port` of our address.
fn send_to(far: &mut PacketLink, port: u16) {
    let mut out = FrameBatch::new(1);
    assert!(out.push_with(|slot| write_answer(slot, Answer::Udp4, &[], port, 0, 60)));
    assert_eq!(far.transmit(&out, 0).expect("the link is there"), 1);
}

/// Receives until a frame is as `wanted` says; all others are ours.
fn receive_one(link: &mut impl FrameLink, wanted: impl Fn(&[u8]) -> bool) {
    let begun = Instant::now();
    let mut got = RxBatch::new(16);
    loop {
        link.receive(&mut got, Duration::from_millis(10))
            .expect("the link is there");
        if got.iter().any(|frame| wanted(frame.bytes)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "no such frame");
    }
}

/// A service of the machine goes on, whatever port a scan uses; the scan's answers are the scan's alone.
#[test]
fn only_the_scans_port_is_kept_from_the_kernel() {
    for_root("xsk::only_the_scans_port_is_kept_from_the_kernel", || {
        veth_pair();
        ip("addr add 192.0.2.1/24 dev near");
        let socket = |port| {
            let socket = UdpSocket::bind((Ipv4Addr::from(OUR_IPV4), port)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket
        };
        let (service, same_port) = (socket(7), socket(PORT));
        for native in [true, false] {
            let options = XskOptions {
                native,
                ..XskOptions::default()
            };
            wait_until_free("near");
            let mut near = XskLink::open("near", options).unwrap();
            let mut far = PacketLink::open("far", PacketOptions::default()).unwrap();
            let mut bytes = [0; 64];
            // Before the scan has said its port, nothing is the scan's.
            send_to(&mut far, PORT);
            same_port.recv(&mut bytes).expect("it is the kernel's");
            near.set_source_port(PORT).unwrap();
            send_to(&mut far, PORT);
            send_to(&mut far, 7);
            service.recv(&mut bytes).expect("it is the kernel's");
            // The frame before it has been through; had the kernel got it, it would be there by now.
            same_port.set_nonblocking(true).unwrap();
            let nothing = same_port.recv(&mut bytes).unwrap_err();
            assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
            same_port.set_nonblocking(false).unwrap();
            let mut got = RxBatch::new(8);
            near.receive(&mut got, PATIENCE).unwrap();
            let ports: Vec<_> = got
                .iter()
                .filter(|frame| is_ours(frame.bytes))
                .map(|frame| u16::from_be_bytes([frame.bytes[36], frame.bytes[37]]))
                .collect();
            assert_eq!(ports, [PORT], "{}", near.describe());
        }
    });
}

#[test]
fn the_kernel_answers_arp_that_the_scan_sees() {
    for_root("xsk::the_kernel_answers_arp_that_the_scan_sees", || {
        veth_pair();
        ip("addr add 192.0.2.1/24 dev near");
        let (mut near, mut far) = open(XskOptions::default());
        let mut out = FrameBatch::new(1);
        assert!(out.push_with(|slot| {
            let length = write_answer(slot, Answer::Arp, &[], PORT, 0, 60);
            // Who has it?
            slot[21] = 1;
            length
        }));
        assert_eq!(far.transmit(&out, 0).unwrap(), 1);
        receive_one(&mut near, |bytes| bytes == out.frame(0));
        // The kernel's answer: ARP, reply, from our address.
        receive_one(&mut far, |bytes| {
            bytes[12..14] == [8, 6] && bytes[20..22] == [0, 2] && bytes[28..32] == OUR_IPV4
        });
    });
}

/// A card spreads what arrives over its queues; none may be without a socket.
#[test]
fn every_receive_queue_has_a_socket() {
    for_root("xsk::every_receive_queue_has_a_socket", || {
        ip(
            "link add near numrxqueues 4 numtxqueues 4 type veth peer name far numrxqueues 4 numtxqueues 4",
        );
        for end in ["near", "far"] {
            ip(&format!("link set {end} addrgenmode none"));
            ip(&format!("link set {end} up"));
        }
        let (mut near, _) = open(XskOptions::default());
        assert!(
            near.describe().ends_with("queues: 4"),
            "{}",
            near.describe()
        );
        // By the discipline, the kernel chooses a queue by hash, among others of the source port.
        let options = PacketOptions {
            qdisc_bypass: false,
            ..PacketOptions::default()
        };
        let mut far = PacketLink::open("far", options).unwrap();
        let mut out = FrameBatch::new(256);
        for number in 0..256_u16 {
            assert!(out.push_with(|slot| {
                let length = write_answer(slot, Answer::Udp4, &[], PORT, number.into(), 60);
                slot[34..36].copy_from_slice(&number.to_be_bytes());
                length
            }));
        }
        let mut seen = vec![false; 256];
        carry(&mut far, &mut near, &out, |_, bytes| {
            let number = usize::from(u16::from_be_bytes([bytes[34], bytes[35]]));
            assert!(!std::mem::replace(&mut seen[number], true), "{number}");
        });
        assert!(seen.iter().all(|&seen| seen));
    });
}

/// Nobody reads; what finds no room is counted, once, and reading goes on.
#[test]
fn full_rings_drop_and_count_and_go_on() {
    for_root("xsk::full_rings_drop_and_count_and_go_on", || {
        veth_pair();
        let options = XskOptions {
            ring_frames: 16,
            ..XskOptions::default()
        };
        let (mut near, mut far) = open(options);
        // The ring buffer for copies has 2 MiB.
        for (answer, count) in [(Answer::Udp4, 100_u64), (Answer::Arp, 20_000)] {
            let before = near.counters();
            let mut out = FrameBatch::new(100);
            for number in 0..100 {
                assert!(out.push_with(|slot| write_answer(slot, answer, &[], PORT, number, 60)));
            }
            for _ in 0..count / 100 {
                let mut sent = 0;
                while sent < out.len() {
                    sent += far.transmit(&out, sent).unwrap();
                }
            }
            let mut got = RxBatch::new(1000);
            let mut received = 0;
            let dropped = |near: &mut XskLink| near.counters().rx_dropped - before.rx_dropped;
            let begun = Instant::now();
            while received + dropped(&mut near) < count {
                near.receive(&mut got, Duration::from_millis(10)).unwrap();
                received += got.iter().filter(|frame| is_ours(frame.bytes)).count() as u64;
                assert!(begun.elapsed() < PATIENCE, "{answer:?}: {received}");
            }
            assert!(
                received > 0 && dropped(&mut near) > 0,
                "{answer:?}: {received}"
            );
            assert_eq!(received + dropped(&mut near), count, "{answer:?}");
            assert_eq!(near.counters().rx_frames - before.rx_frames, received);
            let mut one = FrameBatch::new(1);
            assert!(one.push_with(|slot| write_answer(slot, answer, &[], PORT, 7, 60)));
            carry(&mut far, &mut near, &one, |_, bytes| {
                assert_eq!(bytes, one.frame(0));
            });
        }
    });
}

#[test]
fn frames_beyond_the_mtu_are_refused_one_by_one() {
    for_root("xsk::frames_beyond_the_mtu_are_refused_one_by_one", || {
        veth_pair();
        ip("link set near mtu 100");
        let (mut near, mut far) = open(XskOptions::default());
        let mut out = FrameBatch::new(300);
        for number in 0..300 {
            let length = if number % 3 == 0 { 115 } else { 114 };
            assert!(out.push_with(|slot| write_answer(
                slot,
                Answer::Udp4,
                &[],
                PORT,
                number,
                length
            )));
        }
        assert_eq!(near.transmit(&out, 0).unwrap(), 300);
        let counters = near.counters();
        assert_eq!((counters.tx_frames, counters.tx_refused), (200, 100));
        let mut got = RxBatch::new(300);
        let (mut arrived, begun) = (0, Instant::now());
        while arrived < 200 {
            far.receive(&mut got, Duration::from_millis(10)).unwrap();
            arrived += got.iter().filter(|frame| is_ours(frame.bytes)).count();
            assert!(begun.elapsed() < PATIENCE, "{arrived}");
        }
    });
}

#[test]
fn what_can_not_be_opened_is_told_apart() {
    for_root("xsk::what_can_not_be_opened_is_told_apart", || {
        let refusal = |name: &str| {
            let error = XskLink::open(name, XskOptions::default()).err();
            let error = error.expect("refused");
            assert!(error.to_string().contains(name), "{error}");
            error
        };
        let interface = |error| match error {
            XskError::Interface(error) => error,
            error => panic!("{error}"),
        };
        assert!(matches!(
            interface(refusal("nowhere")),
            OpenError::NoSuchInterface(_)
        ));
        ip("link add near type veth peer name far");
        assert!(matches!(interface(refusal("near")), OpenError::Down(_)));
        ip("link set near up");
        std::thread::scope(|scope| {
            let without = scope.spawn(|| {
                // This thread alone gives up its right to bring programs into the kernel.
                drop_capabilities_for_programs();
                let refused = refusal("near");
                let not_permitted = XskError::Attach(AttachError::NotPermitted("near".into()));
                assert_eq!(refused.to_string(), not_permitted.to_string());
            });
            without.join().expect("it is refused");
        });
        drop(XskLink::open("near", XskOptions::default()).expect("this thread may"));
    });
}

/// Capabilities are a thread's: the others keep theirs.
fn drop_capabilities_for_programs() {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    let held = capabilities(None).expect("a thread may ask for its own");
    let given_up = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN | CapabilitySet::NET_ADMIN;
    let sets = CapabilitySets {
        effective: held.effective - given_up,
        ..held
    };
    set_capabilities(None, sets).expect("a thread may give up its own");
}

/// On a veth, frames of programs are taken only while the other end polls.
#[test]
fn a_driver_says_what_it_can_do() {
    in_namespace("xsk::a_driver_says_what_it_can_do", || {
        veth_pair();
        let Some(features) = features("near") else {
            eprintln!(
                "SKIPPED a_driver_says_what_it_can_do: this kernel has no word for it (6.3 has)"
            );
            return;
        };
        assert!(features.programs && features.redirect && !features.zero_copy);
        offload::turn_on_receive_coalescing("far").unwrap();
        assert!(transmits("near"));
        offload::turn_off_offloads("far").unwrap();
        assert!(!transmits("near"));
    });
}

#[test]
fn a_program_at_the_other_end_makes_a_veth_transmit() {
    for_root(
        "xsk::a_program_at_the_other_end_makes_a_veth_transmit",
        || {
            veth_pair();
            offload::turn_off_offloads("far").unwrap();
            assert!(!transmits("near"));
            let link = XskLink::open("far", XskOptions::default()).unwrap();
            assert!(link.describe().starts_with("program in the driver"));
            assert!(transmits("near"));
            drop(link);
            wait_until_free("far");
            assert!(!transmits("near"));
        },
    );
}

fn features(interface: &str) -> Option<XdpFeatures> {
    let index = if_nametoindex(interface).expect("it is there");
    xdp_features(index).expect("the kernel answers")
}

fn transmits(interface: &str) -> bool {
    features(interface).expect("it had a word for it").transmit
}
