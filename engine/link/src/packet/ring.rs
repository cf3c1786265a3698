//! The receive ring of packet_mmap(7): the kernel writes frames into memory it shares with us.
//!
//! Version 2 of the ring, not 3: it wakes us for every frame. Version 3 wakes when a block is full or its
//! timer runs out, and with few frames about that timer is what a round-trip time would measure. One way over
//! veth, waiting: version 2 takes 1 µs (median; 99 %: 6 µs), version 3 with its shortest timer 535 µs (1 ms).
#![allow(unsafe_code)]
// JUSTIFICATION: frames come without a call a frame: 26 ns each, our copy included. The memory is written by the
// kernel while we look at it, which no safe type describes; this file is the whole of that contact.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::Socket;

use super::socket::set_option;
use crate::batch::RxBatch;
use crate::mapping::Mapping;
use crate::tag::MetadataTag;

/// Bytes of a slot: the kernel's header with its padding, then as much of the frame as a batch keeps. The
/// kernel cuts what does not fit, so frames of 64 KiB (GRO) do no harm.
const SLOT: usize = RxBatch::SNAP + 128;
/// Where the kernel puts an Ethernet frame in its slot: `tpacket_rcv` in net/packet/af_packet.c aligns
/// header and a link-layer header of at least 16 bytes, and ends the 14 real ones there.
const FRAME_OFFSET: usize = (libc::TPACKET2_HDRLEN + 16).next_multiple_of(16) - 14;
/// Bytes of a block; slots do not cross blocks. A multiple of every page size Linux has.
const BLOCK: usize = 64 * 1024;
const SLOTS_PER_BLOCK: usize = BLOCK / SLOT;

const _: () = assert!(
    FRAME_OFFSET + RxBatch::SNAP <= SLOT,
    "a slot holds what a batch keeps"
);
const _: () = assert!(
    SLOT.is_multiple_of(libc::TPACKET_ALIGNMENT),
    "the kernel demands it"
);
const _: () = assert!(SLOT.is_multiple_of(align_of::<libc::tpacket2_hdr>()));

/// A received frame where the kernel put it, ours until it is given back.
pub(super) struct RingFrame<'a> {
    /// From the destination address on, cut to the slot.
    pub(super) bytes: &'a [u8],
    /// Length before the cut, without a tag in the metadata.
    pub(super) wire_length: u32,
    pub(super) tag: Option<MetadataTag>,
    pub(super) checksum_ready: bool,
    /// When the kernel received it, since the epoch of CLOCK_REALTIME.
    pub(super) received: Duration,
}

/// A receive ring, its mapping and its socket.
///
/// Drop order is field order, and matters: the mapping goes first. It holds a reference to the socket of its
/// own, so closing the socket first would not end it: the kernel would go on filling the ring, and the
/// interface would stay promiscuous, until the memory is unmapped.
pub(super) struct RxRing {
    mapping: Mapping,
    /// Slot that the kernel fills next.
    next: usize,
    slots: usize,
    socket: Socket,
}

impl RxRing {
    /// Gives `socket`, an AF_PACKET socket not yet bound, a ring of at least `frames` slots.
    pub(super) fn new(socket: Socket, frames: u32) -> io::Result<Self> {
        let blocks = (frames.max(1) as usize).div_ceil(SLOTS_PER_BLOCK);
        let slots = blocks * SLOTS_PER_BLOCK;
        let too_large = || io::Error::from(io::ErrorKind::InvalidInput);
        let length = blocks.checked_mul(BLOCK).ok_or_else(too_large)?;
        let request = libc::tpacket_req {
            tp_block_size: BLOCK as u32,
            tp_block_nr: u32::try_from(blocks).map_err(|_| too_large())?,
            tp_frame_size: SLOT as u32,
            tp_frame_nr: u32::try_from(slots).map_err(|_| too_large())?,
        };
        let version = libc::tpacket_versions::TPACKET_V2 as libc::c_int;
        set_option(&socket, libc::PACKET_VERSION, &version)?;
        set_option(&socket, libc::PACKET_RX_RING, &request)?;
        let mapping = Mapping::shared(socket.as_fd(), length, 0)?;
        Ok(Self {
            mapping,
            next: 0,
            slots,
            socket,
        })
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// Shows the oldest frame to `look` and gives its slot back. `None` when nothing has arrived.
    pub(super) fn take<T>(&mut self, look: impl FnOnce(RingFrame<'_>) -> T) -> Option<T> {
        let offset = slot_offset(self.next);
        debug_assert!(offset + SLOT <= self.mapping.length());
        // SAFETY: `next` is below `slots`, and every offset of a slot below `slots` lies, with all its SLOT
        // bytes, inside the mapping (tested for all of them in `every_slot_lies_in_its_block`); `new` sized
        // both alike. The mapping lives as long as `self`.
        let slot = unsafe { self.mapping.base().add(offset) };
        // SAFETY: the header begins the slot; BLOCK is a multiple of the page size and SLOT of the header's
        // alignment, so the status word is aligned. Both sides access it atomically only: we here and below,
        // the kernel by its ordered store in `__packet_set_status`.
        let status = unsafe { AtomicU32::from_ptr(slot.cast::<u32>().as_ptr()) };
        // Acquire pairs with the kernel's barrier before it sets the word: what we read next is what it wrote
        // before.
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the status word says that the slot is ours: the kernel writes nothing in it until we give
        // it back. Aligned as above; a header of integers has no invalid values.
        let header = unsafe { slot.cast::<libc::tpacket2_hdr>().read() };
        let start = usize::from(header.tp_mac).min(SLOT);
        let length = (header.tp_snaplen as usize).min(SLOT - start);
        // SAFETY: start + length <= SLOT by the two `min`s, whatever the kernel wrote, so the bytes lie in
        // the slot. Nobody writes them while `bytes` lives: the kernel not before the store below, and
        // `bytes` can't outlive `look`, whose argument's lifetime is its own.
        let bytes = unsafe { std::slice::from_raw_parts(slot.add(start).as_ptr(), length) };
        let result = look(RingFrame {
            bytes,
            wire_length: header.tp_len,
            tag: tag_of(&header),
            checksum_ready: header.tp_status & libc::TP_STATUS_CSUMNOTREADY == 0,
            received: Duration::new(header.tp_sec.into(), header.tp_nsec.min(999_999_999)),
        });
        // Release: our reads of the slot are over before the kernel may write it again.
        status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = if self.next + 1 == self.slots {
            0
        } else {
            self.next + 1
        };
        Some(result)
    }
}

/// Where slot `index` begins.
const fn slot_offset(index: usize) -> usize {
    index / SLOTS_PER_BLOCK * BLOCK + index % SLOTS_PER_BLOCK * SLOT
}

fn tag_of(header: &libc::tpacket2_hdr) -> Option<MetadataTag> {
    if header.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    // Kernels before 3.14 did not say the type; they knew one only.
    let said = header.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
    let tpid = if said {
        header.tp_vlan_tpid
    } else {
        libc::ETH_P_8021Q as u16
    };
    Some(MetadataTag {
        tpid,
        tci: header.tp_vlan_tci,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every index of the largest ring anybody would ask for.
    #[test]
    fn every_slot_lies_in_its_block_and_none_overlap() {
        let blocks = 4096;
        let mut end_of_last = 0;
        for index in 0..blocks * SLOTS_PER_BLOCK {
            let start = slot_offset(index);
            assert!(start >= end_of_last, "slot {index} overlaps the one before");
            assert_eq!(
                start / BLOCK,
                (start + SLOT - 1) / BLOCK,
                "slot {index} crosses blocks"
            );
            assert!(
                start + SLOT <= blocks * BLOCK,
                "slot {index} ends outside the ring"
            );
            assert!(start.is_multiple_of(libc::TPACKET_ALIGNMENT));
            end_of_last = start + SLOT;
        }
    }
}
