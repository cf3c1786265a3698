//! What the `packet` link promises beyond the others: what only a real interface can do.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use sonde_link::{
    FrameBatch, FrameLink, OpenError, PacketLink, PacketOptions, RxBatch, RxMeta, interfaces,
};

use crate::frames::{PATIENCE, carry, is_ours, write_frame};
use crate::namespace::{in_namespace, ip, ip_says, veth_pair};

fn open(name: &str) -> PacketLink {
    PacketLink::open(name, PacketOptions::default()).expect("a namespace of our own")
}

/// Receives until a frame is as `wanted` says, and returns it.
fn receive_one(link: &mut PacketLink, wanted: impl Fn(&[u8]) -> bool) -> (RxMeta, Vec<u8>) {
    let begun = Instant::now();
    let mut got = RxBatch::new(16);
    loop {
        link.receive(&mut got, Duration::from_millis(10))
            .expect("the link is there");
        if let Some(frame) = got.iter().find(|frame| wanted(frame.bytes)) {
            return (frame.meta, frame.bytes.to_vec());
        }
        assert!(begun.elapsed() < PATIENCE, "no such frame");
    }
}

fn is_udp(bytes: &[u8]) -> bool {
    bytes.get(12..14) == Some(&[8, 0]) && bytes.get(23) == Some(&17)
}

/// `near` has an address and speaks through the kernel to a neighbour that `far` listens for.
fn kernel_speaker() -> UdpSocket {
    veth_pair();
    ip("addr add 192.0.2.1/24 dev near");
    ip("neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev near");
    UdpSocket::bind("192.0.2.1:4000").expect("the address is there")
}

#[test]
fn a_frame_is_cut_at_the_snap_and_its_length_told() {
    in_namespace(
        "packet::a_frame_is_cut_at_the_snap_and_its_length_told",
        || {
            veth_pair();
            ip("link set near mtu 9000");
            ip("link set far mtu 9000");
            let (mut near, mut far) = (open("near"), open("far"));
            for (length, tci) in [
                (2047, None),
                (2048, None),
                (2049, None),
                (9000, None),
                (9000, Some(7)),
            ] {
                let mut out = FrameBatch::with_slot(1, 9014);
                assert!(out.push_with(|slot| write_frame(slot, tci, 0, length)));
                carry(&mut near, &mut far, &out, |meta, bytes| {
                    let tag = if tci.is_some() { 4 } else { 0 };
                    assert_eq!(meta.vlan.map(u16::from), tci);
                    assert_eq!(meta.wire_length as usize, length - tag);
                    let mut whole = out.frame(0).to_vec();
                    whole.drain(12..12 + tag);
                    whole.truncate(RxBatch::SNAP);
                    assert_eq!(bytes, whole);
                });
            }
        },
    );
}

#[test]
fn frames_beyond_the_mtu_are_refused_one_by_one() {
    in_namespace(
        "packet::frames_beyond_the_mtu_are_refused_one_by_one",
        || {
            veth_pair();
            ip("link set near mtu 100");
            let mut near = open("near");
            let mut out = FrameBatch::new(300);
            for number in 0..300 {
                let length = if number % 3 == 0 { 200 } else { 100 };
                assert!(out.push_with(|slot| write_frame(slot, None, number, length)));
            }
            assert_eq!(near.transmit(&out, 0).unwrap(), 300);
            let counters = near.counters();
            assert_eq!((counters.tx_frames, counters.tx_refused), (200, 100));
        },
    );
}

/// A packet between ends of one machine leaves without its checksum, and large ones in one piece.
#[test]
fn an_unfinished_checksum_is_told() {
    in_namespace("packet::an_unfinished_checksum_is_told", || {
        let speaker = kernel_speaker();
        let mut far = open("far");
        speaker.send_to(b"unfinished", "192.0.2.2:9").unwrap();
        let (meta, bytes) = receive_one(&mut far, is_udp);
        assert!(!meta.checksum_ready);
        assert_eq!(
            (meta.wire_length as usize, &bytes[..6]),
            (bytes.len(), &[2, 0, 0, 0, 0, 2][..])
        );
        sonde_link::offload::turn_off_offloads("near").unwrap();
        speaker.send_to(b"finished", "192.0.2.2:9").unwrap();
        assert!(receive_one(&mut far, is_udp).0.checksum_ready);
    });
}

#[test]
fn what_the_kernel_sends_from_here_is_not_received_here() {
    in_namespace(
        "packet::what_the_kernel_sends_from_here_is_not_received_here",
        || {
            let speaker = kernel_speaker();
            let (mut near, mut far) = (open("near"), open("far"));
            speaker.send_to(b"away", "192.0.2.2:9").unwrap();
            receive_one(&mut far, is_udp);
            let mut got = RxBatch::new(16);
            near.receive(&mut got, Duration::ZERO).unwrap();
            assert_eq!(got.iter().filter(|frame| is_udp(frame.bytes)).count(), 0);
        },
    );
}

#[test]
fn promiscuous_as_long_as_the_link_is_open() {
    in_namespace("packet::promiscuous_as_long_as_the_link_is_open", || {
        veth_pair();
        let promiscuity = || {
            let said = ip_says("-details link show near");
            let (_, rest) = said.split_once("promiscuity ").expect("`ip` tells it");
            rest.split(' ').next().expect("a number").to_owned()
        };
        assert_eq!(promiscuity(), "0");
        let options = PacketOptions {
            promiscuous: true,
            ..PacketOptions::default()
        };
        let link = PacketLink::open("near", options).unwrap();
        assert_eq!(promiscuity(), "1");
        drop(link);
        assert_eq!(promiscuity(), "0");
    });
}

#[test]
fn a_full_ring_drops_and_counts_and_goes_on() {
    in_namespace("packet::a_full_ring_drops_and_counts_and_goes_on", || {
        veth_pair();
        let mut near = open("near");
        let options = PacketOptions {
            ring_frames: 1,
            ..PacketOptions::default()
        };
        let mut far = PacketLink::open("far", options).unwrap();
        let mut out = FrameBatch::new(100);
        for number in 0..100 {
            assert!(out.push_with(|slot| write_frame(slot, None, number, 60)));
        }
        assert_eq!(near.transmit(&out, 0).unwrap(), 100);
        let mut got = RxBatch::new(1000);
        let mut received = 0;
        let begun = Instant::now();
        while received + far.counters().rx_dropped < 100 {
            far.receive(&mut got, Duration::from_millis(10)).unwrap();
            received += got.iter().filter(|frame| is_ours(frame.bytes)).count() as u64;
            assert!(begun.elapsed() < PATIENCE);
        }
        assert!(
            far.counters().rx_dropped > 0 && received > 0,
            "{received} received"
        );
        // Asked twice, told once: the kernel forgets its count, we do not.
        assert_eq!(received + far.counters().rx_dropped, 100);
        let mut one = FrameBatch::new(1);
        assert!(one.push_with(|slot| write_frame(slot, None, 7, 60)));
        carry(&mut near, &mut far, &one, |_, bytes| {
            assert_eq!(bytes, one.frame(0))
        });
    });
}

#[test]
fn what_can_not_be_opened_is_told_apart() {
    in_namespace("packet::what_can_not_be_opened_is_told_apart", || {
        let refusal = |name: &str| {
            let error = PacketLink::open(name, PacketOptions::default())
                .err()
                .expect("refused");
            assert!(error.to_string().contains(name), "{error}");
            error
        };
        assert!(matches!(refusal("nowhere"), OpenError::NoSuchInterface(_)));
        ip("link add near type veth peer name far");
        assert!(matches!(refusal("near"), OpenError::Down(_)));
        let thread = std::thread::spawn(|| {
            // This thread alone gives up its right to raw packets.
            drop_raw_capability();
            PacketLink::open("lo", PacketOptions::default()).err()
        });
        assert!(matches!(
            thread.join().unwrap(),
            Some(OpenError::NotPermitted(_))
        ));
    });
}

/// Capabilities are a thread's: the others keep theirs.
fn drop_raw_capability() {
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
    let held = capabilities(None).expect("a thread may ask for its own");
    let kept = held.effective - CapabilitySet::NET_RAW;
    let sets = CapabilitySets {
        effective: kept,
        ..held
    };
    set_capabilities(None, sets).expect("a thread may give up its own");
}

/// A queue that lets through 8 Mbit/s and holds 50 frames: the kernel refuses most of what is offered, and
/// each frame still arrives once, in order.
#[test]
fn a_full_queue_takes_some_and_the_rest_later() {
    in_namespace("packet::a_full_queue_takes_some_and_the_rest_later", || {
        veth_pair();
        let shaped = Command::new("tc")
            .args("qdisc add dev near root tbf rate 8mbit burst 1600 limit 3000".split(' '))
            .output();
        if !shaped.is_ok_and(|output| output.status.success()) {
            eprintln!(
                "SKIPPED a_full_queue_takes_some_and_the_rest_later: no `tc` or no tbf in this kernel"
            );
            return;
        }
        let options = PacketOptions {
            qdisc_bypass: false,
            ..PacketOptions::default()
        };
        let mut near = PacketLink::open("near", options).unwrap();
        let mut far = open("far");
        let mut out = FrameBatch::new(300);
        for number in 0..300 {
            assert!(out.push_with(|slot| write_frame(slot, None, number, 60)));
        }
        let at_once = near.transmit(&out, 0).unwrap();
        assert!((1..300).contains(&at_once), "{at_once} taken at once");
        let mut arrived = Vec::new();
        let begun = Instant::now();
        let (mut sent, mut got) = (at_once, RxBatch::new(64));
        while arrived.len() < 300 {
            sent += near.transmit(&out, sent).unwrap();
            far.receive(&mut got, Duration::from_millis(1)).unwrap();
            arrived.extend(got.iter().map(|frame| frame.bytes.to_vec()));
            assert!(begun.elapsed() < PATIENCE, "{} arrived", arrived.len());
        }
        assert!(
            arrived
                .iter()
                .enumerate()
                .all(|(number, bytes)| bytes == out.frame(number))
        );
        assert_eq!(
            (near.counters().tx_frames, near.counters().tx_refused),
            (300, 0)
        );
    });
}

#[test]
fn an_interface_that_goes_down_is_an_error_and_comes_back() {
    in_namespace(
        "packet::an_interface_that_goes_down_is_an_error_and_comes_back",
        || {
            veth_pair();
            let (mut near, mut far) = (open("near"), open("far"));
            let mut out = FrameBatch::new(1);
            assert!(out.push_with(|slot| write_frame(slot, None, 1, 60)));
            ip("link set near down");
            let mut got = RxBatch::new(4);
            let told = near
                .receive(&mut got, Duration::from_secs(5))
                .expect_err("down");
            assert_eq!(told.kind(), std::io::ErrorKind::NetworkDown);
            near.transmit(&out, 0).expect_err("down");
            ip("link set near up");
            carry(&mut near, &mut far, &out, |_, bytes| {
                assert_eq!(bytes, out.frame(0))
            });
        },
    );
}

#[test]
fn an_interface_that_goes_away_is_an_error() {
    in_namespace("packet::an_interface_that_goes_away_is_an_error", || {
        veth_pair();
        let mut near = open("near");
        ip("link del near");
        let mut got = RxBatch::new(4);
        near.receive(&mut got, Duration::from_secs(5))
            .expect_err("gone");
        let mut out = FrameBatch::new(1);
        assert!(out.push_with(|slot| write_frame(slot, None, 0, 60)));
        near.transmit(&out, 0).expect_err("gone");
    });
}

/// The interfaces listed are those of the thread's namespace, not of the process's.
#[test]
fn interfaces_and_routes_are_the_namespaces() {
    in_namespace("packet::interfaces_and_routes_are_the_namespaces", || {
        veth_pair();
        ip("link set near address 02:00:00:00:00:01");
        ip("link set near mtu 1400");
        ip("addr add 192.0.2.1/24 dev near");
        ip("route add default via 192.0.2.254");
        ip("addr add 2001:db8::1/64 dev near nodad");
        ip("route add 2001:db8:1::/48 via 2001:db8::2");
        let all = interfaces::interfaces();
        let mut names: Vec<&str> = all
            .iter()
            .map(|interface| interface.name.as_str())
            .collect();
        names.retain(|name| ["lo", "near", "far"].contains(name));
        assert_eq!(names.len(), 3, "{all:?}");
        let near = all
            .iter()
            .find(|interface| interface.name == "near")
            .unwrap();
        assert_eq!(near.mac.unwrap().to_string(), "02:00:00:00:00:01");
        assert_eq!(
            (near.mtu, near.up, near.running, near.loopback),
            (Some(1400), true, true, false)
        );
        assert!(near.addresses.contains(&("192.0.2.1".parse().unwrap(), 24)));
        assert!(
            near.addresses
                .contains(&("2001:db8::1".parse().unwrap(), 64))
        );
        let routes = interfaces::routes().unwrap();
        let to = |address: &str| {
            let route = interfaces::route_to(&routes, address.parse().unwrap());
            let route = route.unwrap_or_else(|| panic!("{address}: {routes:?}"));
            (
                route.interface.as_str(),
                route.gateway.map(|gateway| gateway.to_string()),
            )
        };
        assert_eq!(to("192.0.2.9"), ("near", None));
        assert_eq!(to("203.0.113.9"), ("near", Some("192.0.2.254".into())));
        assert_eq!(to("2001:db8::9"), ("near", None));
        assert_eq!(to("2001:db8:1::9"), ("near", Some("2001:db8::2".into())));
    });
}

/// Our socket next to another of the same kind: what we send is on the wire, whatever we do not see ourselves.
#[test]
fn a_plain_packet_socket_sees_what_we_send() {
    in_namespace("packet::a_plain_packet_socket_sees_what_we_send", || {
        veth_pair();
        let mut near = open("near");
        let everything = Protocol::from(i32::from(0x0003_u16.to_be()));
        let mut plain = Socket::new(Domain::PACKET, Type::RAW, Some(everything)).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut out = FrameBatch::new(1);
        assert!(out.push_with(|slot| write_frame(slot, None, 0x5eed, 60)));
        assert_eq!(near.transmit(&out, 0).unwrap(), 1);
        let mut bytes = [0; 2048];
        loop {
            let length = std::io::Read::read(&mut plain, &mut bytes).unwrap();
            if is_ours(&bytes[..length]) {
                assert_eq!(&bytes[..length], out.frame(0));
                break;
            }
        }
    });
}
