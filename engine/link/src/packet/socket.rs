//! The AF_PACKET socket: its options, its interface, its statistics.
#![allow(unsafe_code)] // get/setsockopt(2) and bind(2) with structures that socket2 does not know.

use std::io;
use std::os::fd::AsRawFd;

use socket2::Socket;

/// What getsockopt(PACKET_STATISTICS) counted since it was last asked.
pub(super) struct KernelDrops(pub(super) u32);

/// Sets an option of level SOL_PACKET.
pub(super) fn set_option<T: Copy>(socket: &Socket, name: libc::c_int, value: &T) -> io::Result<()> {
    set(socket, libc::SOL_PACKET, name, value)
}

/// Makes room for `bytes` of frames on their way out, beyond the system's limit where we may.
pub(super) fn enlarge_send_buffer(socket: &Socket, bytes: libc::c_int) {
    // Without CAP_NET_ADMIN the system's limit holds; with a small buffer all works, in more calls.
    if set(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes).is_err() {
        let _ = socket.set_send_buffer_size(bytes.unsigned_abs() as usize);
    }
}

/// Binds `socket` to the interface numbered `index` and to its frames of `protocol`; 0 is none.
pub(super) fn bind(socket: &Socket, index: u32, protocol: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: index.cast_signed(),
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: `address` is a whole `sockaddr_ll`, its length is given, and it lives through the call, which
    // only reads it. The fd is open: `socket` owns it.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Asks for all frames that pass the interface, for as long as `socket` is open: the kernel counts who asks.
pub(super) fn join_promiscuous(socket: &Socket, index: u32) -> io::Result<()> {
    let membership = libc::packet_mreq {
        mr_ifindex: index.cast_signed(),
        mr_type: libc::PACKET_MR_PROMISC as u16,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    set_option(socket, libc::PACKET_ADD_MEMBERSHIP, &membership)
}

/// Reads, and thereby resets, the kernel's count of frames that found the ring full.
pub(super) fn take_drops(socket: &Socket) -> io::Result<KernelDrops> {
    let mut statistics = libc::tpacket_stats {
        tp_packets: 0,
        tp_drops: 0,
    };
    let mut length = size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes into `statistics`, whose size that is, and the length
    // it wrote into `length`; both live through the call. Two integers have no invalid values. The fd is open:
    // `socket` owns it.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(KernelDrops(statistics.tp_drops))
}

fn set<T: Copy>(
    socket: &Socket,
    level: libc::c_int,
    name: libc::c_int,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the kernel reads at most the given length, that of `value`, which lives through the call. What
    // it reads are plain C structs of integers, without padding, at every caller (this file, `ring`,
    // `packet`). The fd is open: `socket` owns it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
