//! The four rings that an AF_XDP socket shares with the kernel: one side writes entries and moves the producer, the other
//! reads them and moves the consumer (kernel net/xdp/xsk_queue.h).
//!
//! Positions count up and wrap at 2^32; an entry's place is its position modulo the ring's size, a power of two. Ours
//! is moved in here and shown to the kernel once a batch: its cache line travels once, too.
#![allow(unsafe_code)]
// JUSTIFICATION: frames come and go without a call a frame. The memory is written by the kernel while we look at it,
// which no safe type describes; this file is the whole of that contact.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::mapping::Mapping;

/// What rings hold: plain integers, of which every bit pattern is a value.
pub(super) trait Entry: Copy {}
/// Addresses: fill and completion.
impl Entry for u64 {}
/// Frames: receive and transmit.
impl Entry for libc::xdp_desc {}

/// A ring that we write.
pub(super) struct Producer<T>(Ring<T>);
/// A ring that we read.
pub(super) struct Consumer<T>(Ring<T>);

struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
    /// Our position: producer or consumer, shown to the kernel or not yet.
    ours: u32,
    /// Holds what the pointers point into.
    _memory: Mapping,
}

// SAFETY: the pointers go into memory that is process-wide and, on our side, this struct's alone; nothing in it or in
// the kernel's use of it is bound to a thread. It is not Sync: positions move through `&mut self`.
unsafe impl<T: Entry> Send for Ring<T> {}

impl<T: Entry> Ring<T> {
    /// Maps the ring of `size` entries at `page_offset` of the socket.
    fn map(
        socket: BorrowedFd<'_>,
        page_offset: libc::off_t,
        layout: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<Self> {
        let end = layout.desc + u64::from(size) * size_of::<T>() as u64;
        let memory = Mapping::shared(socket, end as usize, page_offset)?;
        Self::inside(memory, layout, size)
    }

    fn inside(memory: Mapping, layout: &libc::xdp_ring_offset, size: u32) -> io::Result<Self> {
        let fits = |offset: u64, length: u64, align: usize| {
            offset.is_multiple_of(align as u64)
                && offset
                    .checked_add(length)
                    .is_some_and(|end| end <= memory.length() as u64)
        };
        let words = [layout.producer, layout.consumer, layout.flags];
        if !size.is_power_of_two()
            || !words.into_iter().all(|word| fits(word, 4, 4))
            || !fits(
                layout.desc,
                u64::from(size) * size_of::<T>() as u64,
                align_of::<T>(),
            )
        {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: each offset, with the bytes it leads to, was just found to lie in the mapping.
        let at = |offset: u64| unsafe { memory.base().add(offset as usize) };
        Ok(Self {
            producer: at(layout.producer).cast(),
            consumer: at(layout.consumer).cast(),
            flags: at(layout.flags).cast(),
            entries: at(layout.desc).cast(),
            size,
            ours: 0,
            _memory: memory,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: aligned and inside the mapping (`inside`), which lives as long as `self`; both sides access it
        // atomically only.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as `producer`.
        let flags = unsafe { self.flags.as_ref() };
        flags.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn entry(&self, position: u32) -> NonNull<T> {
        // SAFETY: the mask keeps the index below `size`, and `size` entries lie in the mapping (`inside`).
        unsafe { self.entries.add((position & (self.size - 1)) as usize) }
    }
}

impl<T: Entry> Producer<T> {
    /// See [`Ring::map`].
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page_offset: libc::off_t,
        layout: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<Self> {
        Ring::map(socket, page_offset, layout, size).map(Self)
    }

    /// Writes an entry; false when the ring is full. The kernel sees it after [`Producer::submit`].
    pub(super) fn push(&mut self, value: T) -> bool {
        if self.pending() == self.0.size {
            return false;
        }
        // SAFETY: the place lies in the ring (`entry`) and is aligned (`inside`). It is ours: the consumer's position,
        // loaded with Acquire in `pending`, has left it, and the kernel reads no entry that is not submitted.
        unsafe { self.0.entry(self.0.ours).write(value) };
        self.0.ours = self.0.ours.wrapping_add(1);
        true
    }

    /// Shows the kernel what was pushed.
    pub(super) fn submit(&mut self) {
        // Release: the entries are written before the position says so.
        self.0.producer().store(self.0.ours, Ordering::Release);
    }

    /// Entries that the kernel has not taken yet.
    pub(super) fn pending(&self) -> u32 {
        // Acquire: the kernel's reads of the entries it has left are over.
        let taken = self.0.consumer().load(Ordering::Acquire);
        self.0.ours.wrapping_sub(taken).min(self.0.size)
    }

    /// True when the kernel takes entries only after a call.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.0.needs_wakeup()
    }
}

impl<T: Entry> Consumer<T> {
    /// See [`Ring::map`].
    pub(super) fn map(
        socket: BorrowedFd<'_>,
        page_offset: libc::off_t,
        layout: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<Self> {
        Ring::map(socket, page_offset, layout, size).map(Self)
    }

    /// Reads the oldest entry. Its place is the kernel's again after [`Consumer::release`].
    pub(super) fn pop(&mut self) -> Option<T> {
        // Acquire pairs with the kernel's release of its position: what lies before it is written.
        if self.0.producer().load(Ordering::Acquire) == self.0.ours {
            return None;
        }
        // SAFETY: the place lies in the ring (`entry`) and is aligned (`inside`); the kernel has written it, and
        // writes it again only when the consumer's position has left it. Integers have no invalid values.
        let value = unsafe { self.0.entry(self.0.ours).read() };
        self.0.ours = self.0.ours.wrapping_add(1);
        Some(value)
    }

    /// Gives the places of what was read back to the kernel.
    pub(super) fn release(&mut self) {
        // Release: our reads are over before the kernel may write there.
        self.0.consumer().store(self.0.ours, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const LAYOUT: libc::xdp_ring_offset = libc::xdp_ring_offset {
        producer: 0,
        consumer: 64,
        desc: 192,
        flags: 128,
    };

    /// Both ends of one ring in a file of memory, its positions at `start`.
    fn both_ends(size: u32, start: u32) -> (Producer<u64>, Consumer<u64>) {
        let file = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 4096).unwrap();
        let mut producer = Producer::map(file.as_fd(), 0, &LAYOUT, size).unwrap();
        let mut consumer = Consumer::map(file.as_fd(), 0, &LAYOUT, size).unwrap();
        producer.0.ours = start;
        consumer.0.ours = start;
        producer.submit();
        consumer.release();
        (producer, consumer)
    }

    /// Across the wrap of positions, with every fill level.
    #[test]
    fn what_goes_in_comes_out_once_in_order() {
        for size in [1, 2, 8, 256] {
            let (mut producer, mut consumer) = both_ends(size, u32::MAX - 300);
            let (mut put, mut got) = (0_u64, 0_u64);
            for round in 0..700 {
                for _ in 0..round % (size + 2) {
                    let room = put - got < u64::from(size);
                    assert_eq!(producer.push(put), room);
                    put += u64::from(room);
                }
                producer.submit();
                assert_eq!(u64::from(producer.pending()), put - got);
                for _ in 0..(round * 7) % (size + 3) {
                    let next = (got < put).then_some(got);
                    assert_eq!(consumer.pop(), next);
                    got += u64::from(next.is_some());
                }
                consumer.release();
            }
            assert!(put > 300, "the positions wrapped");
        }
    }

    #[test]
    fn nothing_is_seen_before_it_is_submitted_nor_free_before_it_is_released() {
        let (mut producer, mut consumer) = both_ends(2, 0);
        assert!(producer.push(1) && producer.push(2) && !producer.push(3));
        assert_eq!(consumer.pop(), None);
        producer.submit();
        assert_eq!((consumer.pop(), consumer.pop()), (Some(1), Some(2)));
        assert!(!producer.push(3));
        consumer.release();
        assert!(producer.push(3));
    }

    #[test]
    fn a_layout_that_leads_out_of_the_mapping_is_refused() {
        let file = rustix::fs::memfd_create("ring", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&file, 4096).unwrap();
        for (layout, size) in [
            (LAYOUT, 3),
            (LAYOUT, 0),
            (
                libc::xdp_ring_offset {
                    producer: u64::MAX - 3,
                    ..LAYOUT
                },
                8,
            ),
            (
                libc::xdp_ring_offset {
                    consumer: 4096,
                    ..LAYOUT
                },
                8,
            ),
            (libc::xdp_ring_offset { flags: 1, ..LAYOUT }, 8),
        ] {
            let refused = Producer::<u64>::map(file.as_fd(), 0, &layout, size).err();
            assert!(refused.is_some(), "{size}");
        }
    }
}
