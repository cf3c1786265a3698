//! Turning off what an interface puts off to hardware.
//!
//! A virtual interface claims to offload check sums and segmentation, because frames that stay in the
//! machine need neither: TCP and UDP leave with half a check sum, in frames above the MTU. Whoever reads
//! such a frame with a packet socket and sends the bytes on sends rubbish. With the offloads off, the
//! bytes that are read are the bytes a wire would carry. Kernel: `Documentation/networking/checksum-offloads.rst`,
//! `include/uapi/linux/ethtool.h`.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// What is turned off, in this order: segmentation needs the check sums, so it goes first.
const SWITCHES: [(u32, &str); 4] = [
    (0x1f, "TCP segmentation"),     // ETHTOOL_STSO
    (0x24, "generic segmentation"), // ETHTOOL_SGSO
    GENERIC_RECEIVE,
    (0x17, "transmit check sums"), // ETHTOOL_STXCSUM
];

/// `ETHTOOL_SGRO`.
const GENERIC_RECEIVE: (u32, &str) = (0x2c, "generic receive");

/// An offload that could not be turned off, or on.
#[derive(Debug, thiserror::Error)]
#[error("cannot turn {switch} the {offload} offload of `{interface}`")]
pub struct OffloadError {
    /// The interface as named by the caller.
    pub interface: String,
    /// `off` or `on`.
    pub switch: &'static str,
    /// The offload.
    pub offload: &'static str,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// Turns off transmit check sums, segmentation and receive coalescing of `interface`, in the calling
/// thread's network namespace. Needs CAP_NET_ADMIN there.
///
/// # Errors
/// When the interface is not there, the caller may not, or its driver can not do without one of them.
pub fn turn_off_offloads(interface: &str) -> Result<(), OffloadError> {
    let failed = |offload, source| OffloadError {
        interface: interface.to_owned(),
        switch: "off",
        offload,
        source,
    };
    let name = interface_name(interface).map_err(|source| failed(SWITCHES[0].1, source))?;
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| failed(SWITCHES[0].1, errno.into()))?;
    for (command, offload) in SWITCHES {
        pass_value(&socket, name, command, 0).map_err(|source| failed(offload, source))?;
    }
    Ok(())
}

/// Turns on receive coalescing of `interface`, in the calling thread's network namespace. A veth interface
/// then polls its queues, as it must to take frames that a program at its other end sends. Needs CAP_NET_ADMIN there.
///
/// # Errors
/// When the interface is not there, the caller may not, or its driver has no such thing.
pub fn turn_on_receive_coalescing(interface: &str) -> Result<(), OffloadError> {
    let (command, offload) = GENERIC_RECEIVE;
    let failed = |source| OffloadError {
        interface: interface.to_owned(),
        switch: "on",
        offload,
        source,
    };
    let name = interface_name(interface).map_err(failed)?;
    let socket = socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|errno| failed(errno.into()))?;
    pass_value(&socket, name, command, 1).map_err(failed)?;
    Ok(())
}

/// Keeps an interface from taking the outer tag out of the frames it receives: a program before the stack sees only
/// what is in the frame. Dropped, the interface does again what it did before; a killed process leaves it off, which
/// costs some speed and nothing else.
#[derive(Debug)]
pub(crate) struct TagsInFrames {
    /// What to restore it through, and its name, if it was changed.
    changed: Option<(OwnedFd, [libc::c_char; libc::IFNAMSIZ])>,
}

impl TagsInFrames {
    /// Turns the taking out off where it is on.
    pub(crate) fn keep(interface: &str) -> Result<Self, OffloadError> {
        let failed = |source| OffloadError {
            interface: interface.to_owned(),
            switch: "off",
            offload: "receive VLAN",
            source,
        };
        let name = interface_name(interface).map_err(failed)?;
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .map_err(|errno| failed(errno.into()))?;
        let flags = match pass_value(&socket, name, ETHTOOL_GFLAGS, 0) {
            Ok(flags) => flags,
            // A driver that knows no flags takes nothing out.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => 0,
            Err(error) => return Err(failed(error)),
        };
        if flags & ETH_FLAG_RXVLAN == 0 {
            return Ok(Self { changed: None });
        }
        pass_value(&socket, name, ETHTOOL_SFLAGS, flags & !ETH_FLAG_RXVLAN).map_err(failed)?;
        let changed = Some((socket, name));
        Ok(Self { changed })
    }
}

impl Drop for TagsInFrames {
    fn drop(&mut self) {
        if let Some((socket, name)) = &self.changed {
            // Others may have changed other flags meanwhile. A failure means that the interface is gone.
            let _ = pass_value(socket, *name, ETHTOOL_GFLAGS, 0).and_then(|flags| {
                pass_value(socket, *name, ETHTOOL_SFLAGS, flags | ETH_FLAG_RXVLAN)
            });
        }
    }
}

const ETHTOOL_GFLAGS: u32 = 0x25;
const ETHTOOL_SFLAGS: u32 = 0x26;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// The name as `struct ifreq` holds it: bytes, at least one zero behind.
fn interface_name(interface: &str) -> io::Result<[libc::c_char; libc::IFNAMSIZ]> {
    let bytes = interface.as_bytes();
    if bytes.is_empty() || bytes.len() >= libc::IFNAMSIZ || bytes.contains(&0) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "an interface name has 1 to 15 bytes",
        ));
    }
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    Ok(name)
}

/// `struct ethtool_value` of `include/uapi/linux/ethtool.h`.
#[repr(C)]
struct EthtoolValue {
    cmd: u32,
    data: u32,
}

/// Passes `data` with the command `cmd` and returns what the kernel left there.
fn pass_value(
    socket: &OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
    cmd: u32,
    data: u32,
) -> io::Result<u32> {
    let mut value = EthtoolValue { cmd, data };
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: (&raw mut value).cast(),
        },
    };
    // JUSTIFICATION: neither std nor rustix wraps SIOCETHTOOL.
    // SAFETY: SIOCETHTOOL reads a `struct ifreq` and, through `ifru_data`, for the commands in SWITCHES and for
    // the flags, reads or writes one `struct ethtool_value` (kernel net/ethtool/ioctl.c,
    // `ethtool_set_one_feature`, `ethtool_get_value`). `request` has the C
    // layout by libc's definition, `value` by `repr(C)`; both are locals that live until the call has
    // returned, nothing else refers to them meanwhile, and the kernel keeps neither address. `ifr_name`
    // ends in a zero byte: `interface_name` fills at most IFNAMSIZ - 1. `socket` is open: it is borrowed.
    let status =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if status < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interface_is_named() {
        let error = turn_off_offloads("no-such-link0").unwrap_err();
        assert_eq!(error.interface, "no-such-link0");
        assert_eq!(error.source.raw_os_error(), Some(libc::ENODEV), "{error:?}");
    }

    #[test]
    fn names_that_no_interface_has_are_refused_before_the_kernel_sees_them() {
        for name in ["", "sixteen-bytes-ab", "nul\0"] {
            let error = turn_off_offloads(name).unwrap_err();
            assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }

    /// As root; in a user namespace nobody may make interfaces from here.
    #[test]
    fn the_taking_out_of_tags_is_off_while_kept_and_then_as_before() {
        let thread = std::thread::spawn(|| {
            if nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).is_err() {
                eprintln!("a network namespace takes root");
                return;
            }
            let made = std::process::Command::new("ip")
                .args(["link", "add", "near", "type", "veth"])
                .status();
            assert!(made.unwrap().success());
            let name = interface_name("near").unwrap();
            let socket = socket_with(
                AddressFamily::INET,
                SocketType::DGRAM,
                SocketFlags::CLOEXEC,
                None,
            );
            let socket = socket.unwrap();
            let taken_out = || {
                let flags = pass_value(&socket, name, ETHTOOL_GFLAGS, 0).unwrap();
                flags & ETH_FLAG_RXVLAN != 0
            };
            assert!(taken_out(), "a veth says it does");
            let kept = TagsInFrames::keep("near").unwrap();
            assert!(!taken_out());
            // Whoever comes second restores nothing: it is not his.
            drop(TagsInFrames::keep("near").unwrap());
            assert!(!taken_out());
            drop(kept);
            assert!(taken_out());
        });
        thread.join().unwrap();
    }
}
