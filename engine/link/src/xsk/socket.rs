//! The AF_XDP socket: its options, its queue, its calls.
#![allow(unsafe_code)] // socket options, an address and calls without data, none of which rustix or socket2 knows.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// An AF_XDP socket.
pub(super) struct XskSocket(OwnedFd);

impl XskSocket {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: socket(2) takes integers only.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so this is an open fd that nobody else knows of.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Tells the kernel of the memory.
    pub(super) fn register(&self, memory: &libc::xdp_umem_reg) -> io::Result<()> {
        self.set(libc::XDP_UMEM_REG, memory)
    }

    /// Makes one of the four rings, named by its option, `size` entries large.
    pub(super) fn make_ring(&self, ring: libc::c_int, size: u32) -> io::Result<()> {
        self.set(ring, &size)
    }

    /// Where in their mappings the rings' parts are.
    pub(super) fn offsets(&self) -> io::Result<libc::xdp_mmap_offsets> {
        let none = libc::xdp_ring_offset {
            producer: 0,
            consumer: 0,
            desc: 0,
            flags: 0,
        };
        let mut offsets = libc::xdp_mmap_offsets {
            rx: none,
            tx: none,
            fr: none,
            cr: none,
        };
        self.get(libc::XDP_MMAP_OFFSETS, &mut offsets)?;
        Ok(offsets)
    }

    /// Binds to a queue of the interface numbered `index`: zero-copy where the driver can, else by copying.
    pub(super) fn bind(&self, index: u32, queue: u32) -> io::Result<()> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            // Neither copy nor zero-copy demanded: the kernel tries the second, then the first (net/xdp/xsk_buff_pool.c).
            sxdp_flags: libc::XDP_USE_NEED_WAKEUP,
            sxdp_ifindex: index,
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        // SAFETY: `address` is a whole `sockaddr_xdp`, its length is given, and it lives through the call, which
        // only reads it. The fd is open: `self` owns it.
        let result = unsafe {
            libc::bind(
                self.0.as_raw_fd(),
                (&raw const address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        outcome(result)
    }

    /// True when the card reads and writes our memory itself.
    pub(super) fn is_zero_copy(&self) -> io::Result<bool> {
        let mut options = libc::xdp_options { flags: 0 };
        self.get(libc::XDP_OPTIONS, &mut options)?;
        Ok(options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0)
    }

    /// What the kernel counted since the socket was made.
    pub(super) fn statistics(&self) -> io::Result<libc::xdp_statistics> {
        let mut statistics = libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        };
        self.get(libc::XDP_STATISTICS, &mut statistics)?;
        Ok(statistics)
    }

    /// Has the kernel take entries of the transmit ring; when it copies, 32 at most (`TX_BATCH_SIZE`, net/xdp/xsk.c).
    ///
    /// # Errors
    /// `ENETDOWN` or `ENXIO` when the interface is down or gone; `EAGAIN` when there is more to take or no room;
    /// `EBUSY` when the driver dropped a frame.
    pub(super) fn kick_transmit(&self) -> io::Result<()> {
        // SAFETY: no data, no address: nothing is pointed to. The fd is open: `self` owns it.
        let result = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        outcome(result.min(0) as libc::c_int)
    }

    /// Has the driver look at the fill ring again.
    pub(super) fn kick_receive(&self) -> io::Result<()> {
        // SAFETY: no data, no address: nothing is pointed to. The fd is open: `self` owns it.
        let result = unsafe {
            libc::recvfrom(
                self.0.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
        outcome(result.min(0) as libc::c_int)
    }

    fn set<T: Copy>(&self, name: libc::c_int, value: &T) -> io::Result<()> {
        // SAFETY: the kernel reads at most the given length, that of `value`, which lives through the call. What it
        // reads are C structs of integers (`register`, `make_ring`); padding behind the last one is not read:
        // net/xdp/xsk.c copies a struct of the same definition. The fd is open: `self` owns it.
        let result = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_XDP,
                name,
                (&raw const *value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        outcome(result)
    }

    /// Only for structs of integers.
    fn get<T: Copy>(&self, name: libc::c_int, value: &mut T) -> io::Result<()> {
        let wanted = size_of::<T>() as libc::socklen_t;
        let mut length = wanted;
        // SAFETY: the kernel writes at most `length` bytes into `value`, whose size that is, and the length it wrote
        // into `length`; both live through the call. At every caller (this file) `T` is a struct of integers,
        // which have no invalid values. The fd is open: `self` owns it.
        let result = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_XDP,
                name,
                (&raw mut *value).cast(),
                &raw mut length,
            )
        };
        outcome(result)?;
        // Before Linux 5.4 offsets had no flags; their layout was another.
        if name == libc::XDP_MMAP_OFFSETS && length != wanted {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Ok(())
    }
}

impl AsFd for XskSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn outcome(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
