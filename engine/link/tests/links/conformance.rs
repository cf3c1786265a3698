//! What every frame link promises, asked of each through the same code.

use std::time::{Duration, Instant};

use sonde_link::{
    Faults, FaultyLink, FrameBatch, FrameLink, PacketLink, PacketOptions, RxBatch, RxMeta,
    memory_pair,
};
use sonde_wire::VlanId;

use crate::namespace::{in_namespace, veth_pair};

/// No test waits longer for a frame; reached, it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn memory() {
    conforms(&|| memory_pair(64));
}

#[test]
fn faults_none() {
    conforms(&|| {
        let (near, far) = memory_pair(64);
        let perfect = Faults::default();
        (
            FaultyLink::new(near, perfect),
            FaultyLink::new(far, perfect),
        )
    });
}

#[test]
fn packet() {
    in_namespace("conformance::packet", || {
        veth_pair();
        conforms(&|| {
            let open = |name: &str| {
                PacketLink::open(name, PacketOptions::default()).expect("a namespace of our own")
            };
            (open("near"), open("far"))
        });
    });
}

/// `pair` gives two fresh ends that reach each other and nobody else.
fn conforms<A: FrameLink, B: FrameLink>(pair: &dyn Fn() -> (A, B)) {
    every_frame_arrives_once_in_order_with_its_bytes(pair());
    every_vlan_comes_out_beside_the_bytes(pair());
    what_the_queue_does_not_take_can_be_offered_again(pair());
    nothing_arrives_of_what_was_sent_from_here(pair());
    a_refused_frame_is_counted_and_skipped(pair());
    waiting_ends_with_time(pair());
}

fn every_frame_arrives_once_in_order_with_its_bytes<A: FrameLink, B: FrameLink>(
    (mut near, mut far): (A, B),
) {
    let lengths: Vec<usize> = (60..=FrameBatch::SLOT).collect();
    let mut out = FrameBatch::new(lengths.len());
    for (number, &length) in lengths.iter().enumerate() {
        assert!(out.push_with(|slot| write_frame(slot, None, number as u32, length)));
    }
    let mut expected = 0;
    carry(&mut near, &mut far, &out, |meta, bytes| {
        assert_eq!(bytes, out.frame(expected), "frame {expected}");
        let length = lengths[expected] as u32;
        assert_eq!(
            (meta.vlan, meta.wire_length, meta.checksum_ready),
            (None, length, true)
        );
        assert!(meta.age < PATIENCE);
        expected += 1;
    });
    assert_eq!(expected, lengths.len());
    let (sent, received) = (near.counters(), far.counters());
    assert_eq!((sent.tx_frames, sent.tx_refused), (expected as u64, 0));
    assert_eq!(
        (received.rx_frames, received.rx_dropped),
        (expected as u64, 0)
    );
}

fn every_vlan_comes_out_beside_the_bytes<A: FrameLink, B: FrameLink>((mut near, mut far): (A, B)) {
    let tags = || (0..=VlanId::MAX).map(|id| id | if id % 2 == 0 { 0 } else { 0xa000 });
    let mut out = FrameBatch::new(usize::from(VlanId::MAX) + 1);
    for (number, tci) in tags().enumerate() {
        assert!(out.push_with(|slot| write_frame(slot, Some(tci), number as u32, 64)));
    }
    let mut id = 0;
    carry(&mut near, &mut far, &out, |meta, bytes| {
        assert_eq!(
            meta.vlan,
            VlanId::new(id),
            "tag {id}: 0 is a priority tag, of no VLAN"
        );
        assert_eq!(meta.wire_length, 60);
        let sent = out.frame(usize::from(id));
        assert_eq!((&bytes[..12], &bytes[12..]), (&sent[..12], &sent[16..]));
        id += 1;
    });
    assert_eq!(id, VlanId::MAX + 1);
    // The reserved identifier is no VLAN and not untagged either: nobody may see such a frame as one.
    let mut out = FrameBatch::new(2);
    assert!(out.push_with(|slot| write_frame(slot, Some(4095), 0, 64)));
    assert!(out.push_with(|slot| write_frame(slot, Some(1), 1, 64)));
    let mut seen = Vec::new();
    carry_some(&mut near, &mut far, &out, 1, |meta, _| seen.push(meta.vlan));
    assert_eq!(seen, [VlanId::new(1)]);
    assert_eq!(far.counters().rx_malformed, 1);
}

fn what_the_queue_does_not_take_can_be_offered_again<A: FrameLink, B: FrameLink>(
    (mut near, mut far): (A, B),
) {
    // More than any of the queues holds at once.
    let mut out = FrameBatch::new(2000);
    for number in 0..2000 {
        assert!(out.push_with(|slot| write_frame(slot, None, number, 60)));
    }
    let mut expected = 0;
    carry(&mut near, &mut far, &out, |_, bytes| {
        assert_eq!(bytes, out.frame(expected), "frame {expected}");
        expected += 1;
    });
    assert_eq!(near.counters().tx_frames, 2000);
    assert_eq!(near.transmit(&out, 2000).expect("nothing is offered"), 0);
}

fn nothing_arrives_of_what_was_sent_from_here<A: FrameLink, B: FrameLink>(
    (mut near, mut far): (A, B),
) {
    let mut out = FrameBatch::new(1);
    assert!(out.push_with(|slot| write_frame(slot, None, 0, 60)));
    carry(&mut near, &mut far, &out, |_, _| {});
    // It has been through; had the sender seen it, it would be there by now.
    let mut got = RxBatch::new(8);
    near.receive(&mut got, Duration::ZERO)
        .expect("the link is there");
    assert_eq!(got.iter().filter(|frame| is_ours(frame.bytes)).count(), 0);
}

fn a_refused_frame_is_counted_and_skipped<A: FrameLink, B: FrameLink>((mut near, mut far): (A, B)) {
    let mut out = FrameBatch::new(3);
    assert!(out.push_with(|slot| write_frame(slot, None, 0, 60)));
    // Shorter than an Ethernet header.
    assert!(out.push_with(|_| 10));
    assert!(out.push_with(|slot| write_frame(slot, None, 2, 60)));
    let mut numbers = Vec::new();
    carry_some(&mut near, &mut far, &out, 2, |_, bytes| {
        numbers.push(number_of(bytes))
    });
    assert_eq!(numbers, [0, 2]);
    let counters = near.counters();
    assert_eq!((counters.tx_frames, counters.tx_refused), (2, 1));
}

fn waiting_ends_with_time<A: FrameLink, B: FrameLink>((mut near, _far): (A, B)) {
    let mut got = RxBatch::new(8);
    let begun = Instant::now();
    let wait = Duration::from_micros(300);
    near.receive(&mut got, wait).expect("the link is there");
    assert!(got.is_empty() && begun.elapsed() >= wait && begun.elapsed() < PATIENCE);
}

/// Sends all of `out` while receiving, and shows what arrives, until all has.
pub(crate) fn carry(
    near: &mut impl FrameLink,
    far: &mut impl FrameLink,
    out: &FrameBatch,
    show: impl FnMut(RxMeta, &[u8]),
) {
    carry_some(near, far, out, out.len(), show);
}

/// The same until `count` frames have arrived; then no more may.
fn carry_some(
    near: &mut impl FrameLink,
    far: &mut impl FrameLink,
    out: &FrameBatch,
    count: usize,
    mut show: impl FnMut(RxMeta, &[u8]),
) {
    let begun = Instant::now();
    let mut got = RxBatch::new(50);
    let (mut sent, mut arrived) = (0, 0);
    while sent < out.len() || arrived < count {
        sent += near.transmit(out, sent).expect("the link is there");
        far.receive(&mut got, Duration::from_millis(10))
            .expect("the link is there");
        for frame in got.iter().filter(|frame| is_ours(frame.bytes)) {
            show(frame.meta, frame.bytes);
            arrived += 1;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{sent} sent, {arrived} of {count} arrived"
        );
    }
    far.receive(&mut got, Duration::ZERO)
        .expect("the link is there");
    assert_eq!(
        arrived + got.iter().filter(|frame| is_ours(frame.bytes)).count(),
        count
    );
}

/// Type of the test's frames: IEEE 802.1 "local experimental 1".
const OURS: [u8; 2] = [0x88, 0xb5];

/// A broadcast frame with a number and a pattern of its own, as long as asked, tag included.
pub(crate) fn write_frame(slot: &mut [u8], tci: Option<u16>, number: u32, length: usize) -> usize {
    slot[..6].fill(0xff);
    slot[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    let mut at = 12;
    if let Some(tci) = tci {
        slot[12..14].copy_from_slice(&[0x81, 0]);
        slot[14..16].copy_from_slice(&tci.to_be_bytes());
        at = 16;
    }
    slot[at..at + 2].copy_from_slice(&OURS);
    slot[at + 2..at + 6].copy_from_slice(&number.to_be_bytes());
    for (place, byte) in slot[at + 6..length].iter_mut().enumerate() {
        *byte = (number as usize * 31 + place) as u8;
    }
    length
}

pub(crate) fn is_ours(untagged: &[u8]) -> bool {
    untagged.get(12..14) == Some(&OURS[..])
}

fn number_of(untagged: &[u8]) -> u32 {
    u32::from_be_bytes(untagged[14..18].try_into().expect("four bytes"))
}
