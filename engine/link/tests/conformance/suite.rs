//! What a link does with frames, whatever carries them.

use std::time::{Duration, Instant};

use sonde_link::{FrameBatch, RxBatch};
use sonde_wire::VlanId;

use super::{AnyLink, expect_answers};
use crate::frames::{
    Answer, PATIENCE, PORT, carry, carry_some, is_ours, write_answer, write_frame,
};

/// How late a waiting reader may be: far above what a busy machine needs, far below any wait here.
const AT_ONCE: Duration = Duration::from_secs(2);

/// `pair` gives a fresh link and the far end that it reaches, and nobody else.
pub(super) fn conforms(pair: &dyn Fn() -> (AnyLink, AnyLink)) {
    let pair = || {
        let (mut near, far) = pair();
        expect_answers(&mut *near);
        (near, far)
    };
    frames_of_every_length_leave_as_they_are(pair());
    every_tag_leaves_and_comes_out_beside_the_bytes(pair());
    what_the_queue_does_not_take_can_be_offered_again(pair());
    a_refused_frame_is_counted_and_skipped(pair());
    answers_arrive_once_in_order_with_their_bytes(pair());
    every_vlan_of_an_answer_comes_out_beside_its_bytes(pair());
    an_inner_tag_stays_in_the_bytes(pair());
    nothing_arrives_of_what_was_sent_from_here(pair());
    waiting_ends_with_time(pair());
    waiting_ends_with_a_frame(pair());
}

/// Of 14 to 512 bytes, untagged and tagged, in full batches: no more, no less, none padded.
fn frames_of_every_length_leave_as_they_are((mut near, mut far): (AnyLink, AnyLink)) {
    let mut sent = 0;
    for tci in [None, Some(0x6123)] {
        // A kernel takes a tag out only if two bytes follow the type behind it.
        let shortest = if tci.is_some() { 20 } else { 14 };
        let lengths: Vec<usize> = (shortest..=FrameBatch::SLOT).collect();
        for lengths in lengths.chunks(256) {
            let mut out = FrameBatch::new(256);
            for (number, &length) in lengths.iter().enumerate() {
                assert!(out.push_with(|slot| write_frame(slot, tci, number as u32, length)));
            }
            let mut expected = 0;
            carry(&mut *near, &mut *far, &out, |meta, bytes| {
                let frame = out.frame(expected);
                let tag = frame.len() - bytes.len();
                assert_eq!(tag, if tci.is_some() { 4 } else { 0 }, "frame {expected}");
                assert_eq!(meta.vlan, tci.and_then(|tci| VlanId::new(tci & 0xfff)));
                assert_eq!(meta.wire_length as usize, bytes.len());
                assert_eq!(
                    (&bytes[..12], &bytes[12..]),
                    (&frame[..12], &frame[12 + tag..]),
                    "frame {expected}"
                );
                assert!(meta.age < PATIENCE);
                expected += 1;
            });
            assert_eq!(expected, lengths.len());
            sent += expected as u64;
        }
    }
    let (near, far) = (near.counters(), far.counters());
    assert_eq!((near.tx_frames, near.tx_refused), (sent, 0));
    assert_eq!(
        (far.rx_frames, far.rx_dropped, far.rx_malformed),
        (sent, 0, 0)
    );
}

fn every_tag_leaves_and_comes_out_beside_the_bytes((mut near, mut far): (AnyLink, AnyLink)) {
    let mut out = FrameBatch::new(usize::from(VlanId::MAX) + 1);
    for tci in all_tags() {
        assert!(out.push_with(|slot| write_frame(slot, Some(tci), u32::from(tci), 64)));
    }
    let mut id = 0;
    carry(&mut *near, &mut *far, &out, |meta, bytes| {
        assert_eq!(meta.vlan, VlanId::new(id), "tag {id}");
        assert_eq!(bytes.len(), 60);
        id += 1;
    });
    assert_eq!(id, VlanId::MAX + 1);
}

fn what_the_queue_does_not_take_can_be_offered_again((mut near, mut far): (AnyLink, AnyLink)) {
    // More than any of the queues holds at once.
    let mut out = FrameBatch::new(2000);
    for number in 0..2000 {
        assert!(out.push_with(|slot| write_frame(slot, None, number, 60)));
    }
    let mut expected = 0;
    carry(&mut *near, &mut *far, &out, |_, bytes| {
        assert_eq!(bytes, out.frame(expected), "frame {expected}");
        expected += 1;
    });
    assert_eq!(near.counters().tx_frames, 2000);
    assert_eq!(near.transmit(&out, 2000).expect("nothing is offered"), 0);
}

fn a_refused_frame_is_counted_and_skipped((mut near, mut far): (AnyLink, AnyLink)) {
    let mut out = FrameBatch::new(3);
    assert!(out.push_with(|slot| write_frame(slot, None, 0, 60)));
    // Shorter than an Ethernet header.
    assert!(out.push_with(|_| 10));
    assert!(out.push_with(|slot| write_frame(slot, None, 2, 60)));
    let mut expected = [0, 2].into_iter();
    carry_some(&mut *near, &mut *far, &out, 2, |_, bytes| {
        let number = expected.next().expect("two frames");
        assert_eq!(bytes, out.frame(number));
    });
    let counters = near.counters();
    assert_eq!((counters.tx_frames, counters.tx_refused), (2, 1));
}

/// Each kind of answer in each length that it has.
fn answers_arrive_once_in_order_with_their_bytes((mut near, mut far): (AnyLink, AnyLink)) {
    let mut received = 0;
    for answer in Answer::ALL {
        let lengths: Vec<usize> = (answer.length_min()..=FrameBatch::SLOT).collect();
        let mut out = FrameBatch::new(lengths.len());
        for (number, &length) in lengths.iter().enumerate() {
            assert!(out.push_with(|slot| {
                write_answer(slot, answer, &[], PORT, number as u32, length)
            }));
        }
        let mut expected = 0;
        carry(&mut *far, &mut *near, &out, |meta, bytes| {
            assert_eq!(bytes, out.frame(expected), "{answer:?} {expected}");
            let length = lengths[expected] as u32;
            assert_eq!((meta.vlan, meta.wire_length), (None, length));
            expected += 1;
        });
        assert_eq!(expected, lengths.len(), "{answer:?}");
        received += expected as u64;
    }
    let counters = near.counters();
    assert_eq!(
        (
            counters.rx_frames,
            counters.rx_dropped,
            counters.rx_malformed
        ),
        (received, 0, 0)
    );
}

fn every_vlan_of_an_answer_comes_out_beside_its_bytes((mut near, mut far): (AnyLink, AnyLink)) {
    for answer in Answer::ALL {
        let length = answer.length_min() + 4;
        let mut out = FrameBatch::new(usize::from(VlanId::MAX) + 1);
        for tci in all_tags() {
            let number = u32::from(tci);
            assert!(
                out.push_with(|slot| { write_answer(slot, answer, &[tci], PORT, number, length) })
            );
        }
        let mut id = 0;
        carry(&mut *far, &mut *near, &out, |meta, bytes| {
            assert_eq!(meta.vlan, VlanId::new(id), "{answer:?} {id}: 0 is no VLAN");
            assert_eq!(meta.wire_length as usize, length - 4);
            let sent = out.frame(usize::from(id));
            assert_eq!((&bytes[..12], &bytes[12..]), (&sent[..12], &sent[16..]));
            id += 1;
        });
        assert_eq!(id, VlanId::MAX + 1, "{answer:?}");
    }
    // The reserved identifier is no VLAN and not untagged either: nobody may see such a frame as one. Whether a link
    // looks at it at all is its own affair.
    let mut out = FrameBatch::new(2);
    for (number, tci) in [4095, 1].into_iter().enumerate() {
        assert!(out.push_with(|slot| {
            write_answer(slot, Answer::Udp4, &[tci], PORT, number as u32, 64)
        }));
    }
    let mut seen = Vec::new();
    carry_some(&mut *far, &mut *near, &out, 1, |meta, _| {
        seen.push(meta.vlan)
    });
    assert_eq!(seen, [VlanId::new(1)]);
    assert!(near.counters().rx_malformed <= 1);
}

fn an_inner_tag_stays_in_the_bytes((mut near, mut far): (AnyLink, AnyLink)) {
    let mut out = FrameBatch::new(1);
    assert!(out.push_with(|slot| write_answer(slot, Answer::Arp, &[7, 8], PORT, 0, 64)));
    carry(&mut *far, &mut *near, &out, |meta, bytes| {
        assert_eq!((meta.vlan, meta.wire_length), (VlanId::new(7), 60));
        assert_eq!(bytes[12..16], [0x81, 0, 0, 8]);
        assert_eq!(bytes[16..], out.frame(0)[20..]);
    });
}

fn nothing_arrives_of_what_was_sent_from_here((mut near, mut far): (AnyLink, AnyLink)) {
    let mut out = FrameBatch::new(1);
    assert!(out.push_with(|slot| write_answer(slot, Answer::Udp4, &[], PORT, 0, 60)));
    carry(&mut *near, &mut *far, &out, |_, _| {});
    // It has been through; had the sender seen it, it would be there by now.
    let mut got = RxBatch::new(8);
    near.receive(&mut got, Duration::ZERO)
        .expect("the link is there");
    assert_eq!(got.iter().filter(|frame| is_ours(frame.bytes)).count(), 0);
}

fn waiting_ends_with_time((mut near, _far): (AnyLink, AnyLink)) {
    let mut got = RxBatch::new(8);
    for wait in [Duration::ZERO, Duration::from_micros(300)] {
        let begun = Instant::now();
        near.receive(&mut got, wait).expect("the link is there");
        let took = begun.elapsed();
        assert!(got.is_empty() && took >= wait && took < AT_ONCE, "{took:?}");
    }
}

fn waiting_ends_with_a_frame((mut near, mut far): (AnyLink, AnyLink)) {
    for answer in Answer::ALL {
        let mut out = FrameBatch::new(1);
        assert!(out.push_with(|slot| write_answer(slot, answer, &[5], PORT, 0, 90)));
        let near = &mut near;
        let took = std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut got = RxBatch::new(8);
                near.receive(&mut got, PATIENCE).expect("the link is there");
                assert_eq!(got.iter().filter(|frame| is_ours(frame.bytes)).count(), 1);
                Instant::now()
            });
            // Long enough for the reader to be waiting, and nothing comes meanwhile.
            let mut got = RxBatch::new(8);
            far.receive(&mut got, Duration::from_millis(20))
                .expect("the link is there");
            let sent = Instant::now();
            assert_eq!(far.transmit(&out, 0).expect("the link is there"), 1);
            reader.join().expect("the reader got it") - sent
        });
        assert!(took < AT_ONCE, "{answer:?}: {took:?}");
    }
}

/// Every identifier but the reserved one, with changing priorities.
fn all_tags() -> impl Iterator<Item = u16> {
    (0..=VlanId::MAX).map(|id| id | if id % 2 == 0 { 0 } else { 0xa000 })
}
