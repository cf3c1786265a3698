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
    (0x2c, "generic receive"),      // ETHTOOL_SGRO
    (0x17, "transmit check sums"),  // ETHTOOL_STXCSUM
];

/// An offload that could not be turned off.
#[derive(Debug, thiserror::Error)]
#[error("cannot turn off the {offload} offload of `{interface}`")]
pub struct OffloadError {
    /// The interface as named by the caller.
    pub interface: String,
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
        set_value(&socket, name, command, 0).map_err(|source| failed(offload, source))?;
    }
    Ok(())
}

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

fn set_value(
    socket: &OwnedFd,
    name: [libc::c_char; libc::IFNAMSIZ],
    cmd: u32,
    data: u32,
) -> io::Result<()> {
    let mut value = EthtoolValue { cmd, data };
    let mut request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_data: (&raw mut value).cast(),
        },
    };
    // JUSTIFICATION: neither std nor rustix wraps SIOCETHTOOL.
    // SAFETY: SIOCETHTOOL reads a `struct ifreq` and, through `ifru_data`, for the commands in SWITCHES,
    // one `struct ethtool_value` (kernel net/ethtool/ioctl.c, `ethtool_set_one_feature`). `request` has the C
    // layout by libc's definition, `value` by `repr(C)`; both are locals that live until the call has
    // returned, nothing else refers to them meanwhile, and the kernel keeps neither address. `ifr_name`
    // ends in a zero byte: `interface_name` fills at most IFNAMSIZ - 1. `socket` is open: it is borrowed.
    let status =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if status < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
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
}
