//! The memory that frames of an AF_XDP socket lie in, in chunks of one size (kernel Documentation/networking/af_xdp.rst).
//!
//! At any time a chunk belongs to the kernel or to us. It is the kernel's from when its address is put on the fill or the
//! transmit ring to when it comes back on the receive or the completion ring; nothing else is known of it, so whoever
//! asks for its bytes says that it is ours.
#![allow(unsafe_code)] // mmap(2); and memory that the kernel writes while we hold other parts of it.

use std::io;
use std::ptr::NonNull;

/// Bytes of a chunk. The kernel takes 256 of them as headroom on receive; the rest holds a frame of the usual MTU.
pub(super) const CHUNK: usize = 2048;

/// The chunks.
pub(super) struct Umem {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is process-wide memory that belongs to this struct alone; nothing in it is bound to a thread.
// It is not Sync: chunks are written through `&mut self`.
unsafe impl Send for Umem {}

impl Umem {
    /// Memory for `chunks` chunks.
    pub(super) fn new(chunks: u32) -> io::Result<Self> {
        let length = chunks as usize * CHUNK;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no memory that we have.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, length })
    }

    /// What XDP_UMEM_REG is told.
    pub(super) fn registration(&self) -> libc::xdp_umem_reg {
        libc::xdp_umem_reg {
            addr: self.base.as_ptr() as u64,
            len: self.length as u64,
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
        if start.checked_add(length)? > self.length {
            return None;
        }
        // SAFETY: `start + length` was just held against the mapping's length, so the bytes lie in it; it lives
        // as long as `self`. Nobody writes them: the caller says that they are ours, and `chunk` takes `&mut self`.
        Some(unsafe { std::slice::from_raw_parts(self.base.add(start).as_ptr(), length) })
    }

    /// The chunk that begins at `address`, to be written; `None` if none does.
    ///
    /// # Safety
    /// The chunk is ours and stays so while the slice lives.
    pub(super) unsafe fn chunk(&mut self, address: u64) -> Option<&mut [u8]> {
        let start = usize::try_from(address).ok()?;
        if !start.is_multiple_of(CHUNK) || start >= self.length {
            return None;
        }
        // SAFETY: the memory is a whole number of chunks and `start` begins one of them, so all of it lies in the
        // mapping, which lives as long as `self`. Nobody else has it: the caller says it is ours, and we are
        // borrowed mutably.
        Some(unsafe { std::slice::from_raw_parts_mut(self.base.add(start).as_ptr(), CHUNK) })
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        // SAFETY: address and length are those of the mapping made in `new`, unmapped once, here. Slices of it borrow
        // `self`. A socket that is still open has its own hold on the pages and never uses our address.
        let result = unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
        debug_assert_eq!(result, 0, "a mapping of our own can be unmapped");
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
