//! Memory shared with the kernel, unmapped when dropped: rings of sockets, values of maps, frames on their way.
#![allow(unsafe_code)] // mmap(2), munmap(2).

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;

/// A mapping. Who made it argues each access to it.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is process-wide and belongs to this struct alone; nothing in it or in the kernel's use of it is bound to
// a thread. Handing out its address changes nothing: every access through it is argued where it stands.
unsafe impl Send for Mapping {}

impl Mapping {
    /// The first `length` bytes behind `offset` of what `fd` has to map, read and written by both sides.
    pub(crate) fn shared(
        fd: BorrowedFd<'_>,
        length: usize,
        offset: libc::off_t,
    ) -> io::Result<Self> {
        Self::new(length, libc::MAP_SHARED, fd.as_raw_fd(), offset)
    }

    /// `length` bytes of this process's own, in memory from the start.
    pub(crate) fn private(length: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        Self::new(length, flags, -1, 0)
    }

    fn new(
        length: usize,
        flags: libc::c_int,
        fd: libc::c_int,
        offset: libc::off_t,
    ) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that we have. The fd is open while
        // it is borrowed, or is none.
        let address = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), length, protection, flags, fd, offset)
        };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(address.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, length })
    }

    /// Its first byte, page-aligned. Valid for [`Mapping::length`] bytes while the mapping lives.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Its bytes.
    pub(crate) fn length(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: address and length are those of the mapping made in `new`, unmapped once, here; pointers into it are of the
        // structs that hold it, and are dropped with it.
        let result = unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
        debug_assert_eq!(result, 0, "a mapping of our own can be unmapped");
    }
}
