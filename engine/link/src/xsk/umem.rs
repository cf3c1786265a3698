//! The memory that frames of an AF_XDP socket lie in, in chunks of one size (kernel Documentation/networking/af_xdp.rst).
//!
//! At any time a chunk belongs to the kernel or to us. It is the kernel's from when its address is put on the fill or the
//! transmit ring to when it comes back on the receive or the completion ring; nothing else is known of it, so whoever
//! asks for its bytes says that it is ours.
#![allow(unsafe_code)] // Memory that the kernel writes while we hold other parts of it.

use std::io;

use crate::mapping::Mapping;

/// Bytes of a chunk. The kernel takes 256 of them as headroom on receive; the rest holds a frame of the usual MTU.
pub(super) const CHUNK: usize = 2048;

/// The chunks.
pub(super) struct Umem(Mapping);

impl Umem {
    /// Memory for `chunks` chunks.
    pub(super) fn new(chunks: u32) -> io::Result<Self> {
        Mapping::private(chunks as usize * CHUNK).map(Self)
    }

    /// What XDP_UMEM_REG is told.
    pub(super) fn registration(&self) -> libc::xdp_umem_reg {
        libc::xdp_umem_reg {
            addr: self.0.base().as_ptr() as u64,
            len: self.0.length() as u64,
            chunk_size: CHUNK as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        }
    }

    /// The `length` bytes at `address`; `None` if they are not all in the memory.
    ///
    /// # Safety
    /// The chunk or chunks at `address` are ours and stay so while the slice lives.
    pub(super) unsafe fn bytes(&self, address: u64, length: u32) -> Option<&[u8]> {
        let start = usize::try_from(address).ok()?;
        let length = length as usize;
        if start.checked_add(length)? > self.0.length() {
            return None;
        }
        // SAFETY: `start + length` was just held against the mapping's length, so the bytes lie in it; it lives
        // as long as `self`. Nobody writes them: the caller says that they are ours, and `chunk` takes `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(self.0.base().add(start).as_ptr(), length) })
    }

    /// The chunk that begins at `address`, to be written; `None` if none does.
    ///
    /// # Safety
    /// The chunk is ours and stays so while the slice lives.
    pub(super) unsafe fn chunk(&mut self, address: u64) -> Option<&mut [u8]> {
        let start = usize::try_from(address).ok()?;
        if !start.is_multiple_of(CHUNK) || start >= self.0.length() {
            return None;
        }
        // SAFETY: the memory is a whole number of chunks and `start` begins one of them, so all of it lies in the
        // mapping, which lives as long as `self`. Nobody else has it: the caller says it is ours, and we are
        // borrowed mutably.
        Some(unsafe { std::slice::from_raw_parts_mut(self.0.base().add(start).as_ptr(), CHUNK) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_memory_is_given() {
        let mut umem = Umem::new(2).unwrap();
        let end = 2 * CHUNK as u64;
        // SAFETY: no kernel knows of this memory; every chunk is ours.
        let chunk = |umem: &mut Umem, at| unsafe { umem.chunk(at) }.map(|bytes| bytes.len());
        assert_eq!(chunk(&mut umem, 0), Some(CHUNK));
        assert_eq!(chunk(&mut umem, CHUNK as u64), Some(CHUNK));
        for at in [1, end, end + CHUNK as u64, u64::MAX] {
            assert_eq!(chunk(&mut umem, at), None, "{at}");
        }
        // SAFETY: as above.
        let bytes = |at, length| unsafe { umem.bytes(at, length) }.map(<[u8]>::len);
        assert_eq!(bytes(end - 60, 60), Some(60));
        assert_eq!(bytes(256, 0), Some(0));
        for (at, length) in [(end - 60, 61), (end + 1, 0), (u64::MAX, 1), (0, u32::MAX)] {
            assert_eq!(bytes(at, length), None, "{at} {length}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut umem = Umem::new(2).unwrap();
        // SAFETY: no kernel knows of this memory; every chunk is ours.
        unsafe { umem.chunk(CHUNK as u64) }.unwrap().fill(7);
        // SAFETY: as above.
        let read = unsafe { umem.bytes(CHUNK as u64 - 1, 3) }.unwrap();
        assert_eq!(read, [0, 7, 7]);
    }
}
