//! Frames that tests know again, and their way from one link to another.

use std::time::{Duration, Instant};

use sonde_link::{FrameBatch, FrameLink, RxBatch, RxMeta};

/// No test waits longer for a frame; reached, it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Sends all of `out` while receiving, and shows what arrives, until all has.
pub(crate) fn carry(
    near: &mut (impl FrameLink + ?Sized),
    far: &mut (impl FrameLink + ?Sized),
    out: &FrameBatch,
    show: impl FnMut(RxMeta, &[u8]),
) {
    carry_some(near, far, out, out.len(), show);
}

/// The same until `count` frames have arrived; then no more may.
pub(crate) fn carry_some(
    near: &mut (impl FrameLink + ?Sized),
    far: &mut (impl FrameLink + ?Sized),
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

/// Where the tests' frames come from; nobody else's do.
const FROM: [u8; 6] = [2, 0, 0, 0, 0, 9];
/// IEEE 802.1 "local experimental 1".
const EXPERIMENTAL: u16 = 0x88b5;
const TAG: u16 = 0x8100;

/// A broadcast frame with a number and a pattern of its own, as long as asked, tag included.
pub(crate) fn write_frame(slot: &mut [u8], tci: Option<u16>, number: u32, length: usize) -> usize {
    let tags = tci.map(|tci| [tci]);
    let tags = tags.as_ref().map_or(&[][..], |tags| &tags[..]);
    let at = write_header(slot, tags, EXPERIMENTAL);
    fill(slot, at, number, length);
    length
}

/// The port that answers go to.
pub(crate) const PORT: u16 = 40_000;
/// The address they go to.
pub(crate) const OUR_IPV4: [u8; 4] = [192, 0, 2, 1];
/// The other one.
pub(crate) const OUR_IPV6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// What a scan waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Tcp4,
    Tcp6,
    Udp4,
    Udp6,
    Icmp4,
    Icmp6,
    Arp,
}

impl Answer {
    pub(crate) const ALL: [Self; 7] = [
        Self::Tcp4,
        Self::Tcp6,
        Self::Udp4,
        Self::Udp6,
        Self::Icmp4,
        Self::Icmp6,
        Self::Arp,
    ];

    /// Bytes without tags, up to and with what names the port.
    pub(crate) fn length_min(self) -> usize {
        match self {
            Self::Tcp4 => 54,
            Self::Udp4 | Self::Icmp4 | Self::Arp => 42,
            Self::Tcp6 => 74,
            Self::Udp6 | Self::Icmp6 => 62,
        }
    }
}

/// A frame such as a scan waits for, tagged with `tags` from the outermost on, as long as asked; returns its length.
pub(crate) fn write_answer(
    slot: &mut [u8],
    answer: Answer,
    tags: &[u16],
    port: u16,
    number: u32,
    length: usize,
) -> usize {
    let bare = length - 4 * tags.len();
    assert!(
        bare >= answer.length_min(),
        "{answer:?} does not fit {length} bytes"
    );
    let (kind, protocol) = match answer {
        Answer::Tcp4 => (0x0800, 6),
        Answer::Udp4 => (0x0800, 17),
        Answer::Icmp4 => (0x0800, 1),
        Answer::Tcp6 => (0x86dd, 6),
        Answer::Udp6 => (0x86dd, 17),
        Answer::Icmp6 => (0x86dd, 58),
        Answer::Arp => (0x0806, 0),
    };
    let at = write_header(slot, tags, kind);
    fill(slot, at, number, length);
    let packet = &mut slot[at..length];
    let transport = match kind {
        0x0800 => {
            packet[..20].fill(0);
            packet[0] = 0x45;
            packet[2..4].copy_from_slice(&(bare as u16 - 14).to_be_bytes());
            (packet[8], packet[9]) = (64, protocol);
            packet[12..16].copy_from_slice(&[192, 0, 2, 9]);
            packet[16..20].copy_from_slice(&OUR_IPV4);
            let sum = packet[..20]
                .chunks(2)
                .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
            let sum: u32 = sum.sum();
            packet[10..12].copy_from_slice(&(!((sum >> 16) + sum) as u16).to_be_bytes());
            20
        }
        0x86dd => {
            packet[..40].fill(0);
            packet[0] = 0x60;
            packet[4..6].copy_from_slice(&(bare as u16 - 54).to_be_bytes());
            (packet[6], packet[7]) = (protocol, 64);
            packet[8..24].copy_from_slice(&OUR_IPV6);
            packet[23] = 9;
            packet[24..40].copy_from_slice(&OUR_IPV6);
            40
        }
        _ => {
            packet[..8].copy_from_slice(&[0, 1, 8, 0, 6, 4, 0, 2]);
            packet[8..14].copy_from_slice(&FROM);
            packet[14..18].copy_from_slice(&[192, 0, 2, 9]);
            packet[24..28].copy_from_slice(&OUR_IPV4);
            return length;
        }
    };
    let segment = &mut packet[transport..];
    match protocol {
        6 => {
            segment[2..4].copy_from_slice(&port.to_be_bytes());
            // SYN and ACK, without options.
            (segment[12], segment[13]) = (0x50, 0x12);
        }
        17 => {
            segment[2..4].copy_from_slice(&port.to_be_bytes());
            let length = segment.len() as u16;
            segment[4..6].copy_from_slice(&length.to_be_bytes());
            segment[6..8].fill(0);
        }
        // Unreachable, by port.
        _ => (segment[0], segment[1]) = if kind == 0x0800 { (3, 3) } else { (1, 4) },
    }
    length
}

pub(crate) fn is_ours(untagged: &[u8]) -> bool {
    untagged.get(6..12) == Some(&FROM[..])
}

fn write_header(slot: &mut [u8], tags: &[u16], kind: u16) -> usize {
    slot[..6].fill(0xff);
    slot[6..12].copy_from_slice(&FROM);
    let mut at = 12;
    for tci in tags {
        slot[at..at + 2].copy_from_slice(&TAG.to_be_bytes());
        slot[at + 2..at + 4].copy_from_slice(&tci.to_be_bytes());
        at += 4;
    }
    slot[at..at + 2].copy_from_slice(&kind.to_be_bytes());
    at + 2
}

/// The number, as far as there is room, then the pattern.
fn fill(slot: &mut [u8], at: usize, number: u32, length: usize) {
    for (place, byte) in slot[at..length].iter_mut().enumerate() {
        *byte = match number.to_be_bytes().get(place) {
            Some(byte) => *byte,
            None => (number as usize * 31 + place) as u8,
        };
    }
}
