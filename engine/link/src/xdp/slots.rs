//! The frames of a run, in memory that the program reads: a slot a frame, and whose turn it is.
#![allow(unsafe_code)] // Access to memory that the kernel reads and writes.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::FrameBatch;
use crate::mapping::Mapping;
use crate::tag::ETHERNET_HEADER;

/// Frames of one run, whose own cost they share: 4 us, the time of some twelve frames.
pub(super) const SLOTS: usize = 1024;
/// `struct slot` of bpf/sonde.bpf.c: length (4 bytes), padding (4), the frame.
const SLOT: usize = HEADER + FrameBatch::SLOT;
const HEADER: usize = 8;

/// Both maps, mapped.
pub(super) struct Slots {
    slots: Mapping,
    turn: Mapping,
}

impl Slots {
    /// Maps the map of slots and the map of the turn.
    pub(super) fn new(slots: &impl AsFd, turn: &impl AsFd) -> io::Result<Self> {
        Ok(Self {
            slots: values(slots, SLOTS * SLOT)?,
            turn: values(turn, 2 * size_of::<u32>())?,
        })
    }

    /// Writes `frame` into the slot at `index`. False, and nothing written, if it is longer than a slot or shorter
    /// than an Ethernet header, which the kernel would not send.
    ///
    /// # Panics
    /// If there is no slot `index`.
    pub(super) fn write(&mut self, index: usize, frame: &[u8]) -> bool {
        assert!(index < SLOTS, "slot {index} of {SLOTS}");
        if !(ETHERNET_HEADER..=FrameBatch::SLOT).contains(&frame.len()) {
            return false;
        }
        // SAFETY: index < SLOTS, so the slot's SLOT bytes lie in the mapping of SLOTS * SLOT bytes.
        let slot = unsafe { self.slots.base().add(index * SLOT) };
        // SAFETY: SLOT is a multiple of 4 and the mapping is page-aligned: `slot` is aligned for a u32, and the
        // frame's bytes follow the header within the slot (checked above). `frame` can't overlap: nobody else
        // has a pointer into the mapping. The program reads slots during a run only, and `&mut self` is
        // not lent out across one.
        unsafe {
            slot.cast::<u32>().write(frame.len() as u32);
            let bytes = slot.add(HEADER).as_ptr();
            std::ptr::copy_nonoverlapping(frame.as_ptr(), bytes, frame.len());
        }
        true
    }

    /// The next run takes the first `count` slots.
    pub(super) fn begin(&mut self, count: usize) {
        self.turn_word(0).store(0, Ordering::Relaxed);
        // The system call that starts the run orders these stores before what the program reads.
        self.turn_word(1).store(count as u32, Ordering::Release);
    }

    /// How many slots the run has taken.
    pub(super) fn taken(&self) -> usize {
        self.turn_word(0).load(Ordering::Acquire) as usize
    }

    /// `struct turn` of bpf/sonde.bpf.c: 0 is `next`, 1 is `count`.
    fn turn_word(&self, index: usize) -> &AtomicU32 {
        debug_assert!(index < 2);
        // SAFETY: the mapping holds two aligned u32 and lives as long as the reference, which borrows `self`.
        // We access them atomically only; the program does between the system calls of this thread.
        unsafe { AtomicU32::from_ptr(self.turn.base().cast::<u32>().add(index & 1).as_ptr()) }
    }
}

/// The first `length` bytes of a map's values: whole pages (kernel/bpf/arraymap.c, array_map_mmap).
fn values(map: &impl AsFd, length: usize) -> io::Result<Mapping> {
    let pages = length.next_multiple_of(rustix::param::page_size());
    Mapping::shared(map.as_fd(), pages, 0)
}
