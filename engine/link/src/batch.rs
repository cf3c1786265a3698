//! The two shapes every link speaks: frames out, frames in. Both keep their memory for the whole scan.

use std::time::Duration;

use sonde_wire::VlanId;

use crate::expected::Proven;

/// Frames to send, in fixed-size slots of one allocation.
#[derive(Debug)]
pub struct FrameBatch {
    bytes: Box<[u8]>,
    lengths: Vec<u16>,
    slot: usize,
    capacity: usize,
}

impl FrameBatch {
    /// Bytes a slot holds: every probe and every answer we give fits.
    pub const SLOT: usize = 512;

    /// An empty batch with room for `capacity` frames.
    pub fn new(capacity: usize) -> Self {
        Self::with_slot(capacity, Self::SLOT)
    }

    /// An empty batch with room for `capacity` frames of up to `slot` bytes each, for whoever passes
    /// on frames that others built.
    ///
    /// # Panics
    /// If `slot` is above 65,535, more than any link carries.
    pub fn with_slot(capacity: usize, slot: usize) -> Self {
        assert!(
            slot <= usize::from(u16::MAX),
            "a slot of {slot} bytes is more than a frame can have"
        );
        Self {
            bytes: vec![0; capacity * slot].into_boxed_slice(),
            lengths: Vec::with_capacity(capacity),
            slot,
            capacity,
        }
    }

    /// Adds a frame: `write` gets the slot, with whatever an earlier frame left in it, and returns the
    /// frame's length in bytes. Returns false, without calling `write`, when the batch is full.
    ///
    /// # Panics
    /// If `write` claims more bytes than the slot has.
    pub fn push_with(&mut self, write: impl FnOnce(&mut [u8]) -> usize) -> bool {
        if self.is_full() {
            return false;
        }
        let start = self.lengths.len() * self.slot;
        let length = write(&mut self.bytes[start..start + self.slot]);
        assert!(
            length <= self.slot,
            "a frame of {length} bytes does not fit its slot"
        );
        self.lengths.push(length as u16);
        true
    }

    /// The frame at `index`, without its frame check sequence.
    ///
    /// # Panics
    /// If there are no more than `index` frames.
    pub fn frame(&self, index: usize) -> &[u8] {
        let start = index * self.slot;
        &self.bytes[start..start + usize::from(self.lengths[index])]
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.lengths.len()
    }

    /// True without frames.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// True when no more fits.
    pub fn is_full(&self) -> bool {
        self.lengths.len() == self.capacity
    }

    /// Forgets the frames, keeps the memory.
    pub fn clear(&mut self) {
        self.lengths.clear();
    }
}

/// What is known of a received frame besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RxMeta {
    /// The VLAN of the outer 802.1Q tag; `None`: untagged, or priority-tagged (identifier 0).
    pub vlan: Option<VlanId>,
    /// Length on the wire in bytes, tag not counted; more than the bytes handed up if they were cut.
    pub wire_length: u32,
    /// False when the transport checksum in the bytes is not filled in: the frame never left this
    /// machine (veth, loopback) and the kernel left that work to a card that is not there. Such a frame is
    /// to be judged without its TCP or UDP checksum, and whoever forwards it has to fill it in.
    pub checksum_ready: bool,
    /// How long before [`FrameLink::receive`](crate::FrameLink::receive) returned the kernel had received
    /// the frame; zero when the link can't tell. "Now" less this is the time of arrival, free of the
    /// time that the frame waited for us.
    pub age: Duration,
}

impl RxMeta {
    /// A whole frame of `wire_length` bytes with all its checksums, received just now.
    pub const fn new(vlan: Option<VlanId>, wire_length: u32) -> Self {
        Self {
            vlan,
            wire_length,
            checksum_ready: true,
            age: Duration::ZERO,
        }
    }
}

/// A received frame.
#[derive(Clone, Copy, Debug)]
pub struct RxFrame<'a> {
    /// From the destination address on, the outer tag taken out, without frame check sequence.
    pub bytes: &'a [u8],
    /// The rest.
    pub meta: RxMeta,
}

/// Received frames, copied into one allocation.
#[derive(Debug)]
pub struct RxBatch {
    bytes: Vec<u8>,
    frames: Vec<(u32, u32, RxMeta)>,
    proven: Vec<Proven>,
    capacity: usize,
}

impl RxBatch {
    /// Bytes kept of a frame; the rest is cut.
    pub const SNAP: usize = 2048;

    /// An empty batch with room for `capacity` frames.
    pub fn new(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity * 128),
            frames: Vec::with_capacity(capacity),
            proven: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// Adds an answer that the link has judged. Returns false when the batch is full of them.
    pub fn push_proven(&mut self, proven: Proven) -> bool {
        let fits = !self.is_full_of_proven();
        if fits {
            self.proven.push(proven);
        }
        fits
    }

    /// The answers that the link has judged, in order of arrival; they come besides the frames.
    pub fn proven(&self) -> &[Proven] {
        &self.proven
    }

    /// True when no more judged answers fit; as many do as frames.
    pub fn is_full_of_proven(&self) -> bool {
        self.proven.len() == self.capacity
    }

    /// Adds a frame whose tag is already out. Returns false when the batch is full.
    pub fn push(&mut self, bytes: &[u8], meta: RxMeta) -> bool {
        if self.is_full() {
            return false;
        }
        let kept = &bytes[..bytes.len().min(Self::SNAP)];
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(kept);
        self.frames.push((start, kept.len() as u32, meta));
        true
    }

    /// The frames in order of arrival.
    pub fn iter(&self) -> impl Iterator<Item = RxFrame<'_>> {
        self.frames.iter().map(|&(start, length, meta)| RxFrame {
            bytes: &self.bytes[start as usize..(start + length) as usize],
            meta,
        })
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// True without frames and judged answers.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.proven.is_empty()
    }

    /// True when no more fits.
    pub fn is_full(&self) -> bool {
        self.frames.len() == self.capacity
    }

    /// Forgets the frames, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.proven.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_batch_takes_no_more_and_keeps_what_it_has() {
        let mut batch = FrameBatch::new(2);
        assert!(batch.push_with(|slot| {
            slot.fill(1);
            FrameBatch::SLOT
        }));
        assert!(batch.push_with(|_| 0));
        assert!(!batch.push_with(|_| panic!("a full batch does not ask for a frame")));
        assert!(batch.is_full());
        assert_eq!(
            (batch.frame(0), batch.frame(1)),
            (&[1; FrameBatch::SLOT][..], &[][..])
        );
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    #[should_panic(expected = "does not fit")]
    fn a_frame_longer_than_its_slot_is_a_defect() {
        FrameBatch::new(1).push_with(|slot| slot.len() + 1);
    }

    #[test]
    fn received_frames_are_cut_at_the_snap_and_stay_apart() {
        let mut batch = RxBatch::new(3);
        let vlan = VlanId::new(7);
        for (byte, length) in [(1, RxBatch::SNAP + 1), (2, 0), (3, 60)] {
            assert!(batch.push(&vec![byte; length], RxMeta::new(vlan, length as u32)));
        }
        assert!(!batch.push(&[4], RxMeta::new(None, 1)));
        let kept: Vec<Vec<u8>> = batch.iter().map(|frame| frame.bytes.to_vec()).collect();
        assert_eq!(kept, [vec![1; RxBatch::SNAP], vec![], vec![3; 60]]);
        let lengths: Vec<u32> = batch.iter().map(|frame| frame.meta.wire_length).collect();
        assert_eq!(lengths, [2049, 0, 60]);
        batch.clear();
        assert!(batch.is_empty() && !batch.is_full());
    }
}
