//! What `ioctl` tells of an interface (netdevice(7)) beyond what `getifaddrs` lists.
//!
//! All of it goes through a socket, so it speaks of the network namespace of the calling thread; `/sys`
//! would speak of the namespace it was mounted in.
#![allow(unsafe_code)] // ioctl(2) passes a union by pointer; the one call below is all there is.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use sonde_wire::MacAddr;

/// A socket to ask about interfaces through.
pub(crate) struct Interrogator {
    socket: OwnedFd,
}

/// The link-layer address of an interface, with the kernel's number for its kind (`ARPHRD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HardwareAddress {
    pub(crate) kind: u16,
    pub(crate) mac: MacAddr,
}

impl HardwareAddress {
    /// True for interfaces whose frames begin with an Ethernet header.
    pub(crate) fn is_ethernet(self) -> bool {
        matches!(self.kind, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK)
    }
}

impl Interrogator {
    pub(crate) fn new() -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::INET,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok(Self { socket })
    }

    /// `ENODEV` when there is no such interface.
    pub(crate) fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.socket, name)?)
    }

    pub(crate) fn hardware_address(&self, name: &str) -> io::Result<HardwareAddress> {
        let answer = self.ask(name, libc::SIOCGIFHWADDR)?;
        // SAFETY: SIOCGIFHWADDR succeeded, so the kernel filled in `ifru_hwaddr`; every bit pattern is a
        // valid `sockaddr` of integers, so reading it could not be wrong even if it had not.
        let address = unsafe { answer.ifr_ifru.ifru_hwaddr };
        let mut octets = [0; 6];
        for (octet, &byte) in octets.iter_mut().zip(&address.sa_data) {
            *octet = byte as u8;
        }
        Ok(HardwareAddress {
            kind: address.sa_family,
            mac: MacAddr(octets),
        })
    }

    pub(crate) fn is_up(&self, name: &str) -> io::Result<bool> {
        let answer = self.ask(name, libc::SIOCGIFFLAGS)?;
        // SAFETY: as above; `ifru_flags` is an integer.
        let flags = unsafe { answer.ifr_ifru.ifru_flags };
        Ok(i32::from(flags) & libc::IFF_UP != 0)
    }

    pub(crate) fn mtu(&self, name: &str) -> io::Result<u32> {
        let answer = self.ask(name, libc::SIOCGIFMTU)?;
        // SAFETY: as above; `ifru_mtu` is an integer.
        let mtu = unsafe { answer.ifr_ifru.ifru_mtu };
        Ok(mtu.unsigned_abs())
    }

    /// Only for the `SIOCGIF*` calls that fill in the request itself.
    fn ask(&self, name: &str, call: libc::c_ulong) -> io::Result<libc::ifreq> {
        let mut request = request_of(name)?;
        // SAFETY: `request` is a whole `ifreq` with a terminated name, zero elsewhere, and lives through
        // the call; the callers in this file pass only SIOCGIF calls that read the name and write inside
        // the `ifreq`. The fd is open: `self` owns it.
        let result = unsafe { libc::ioctl(self.socket.as_raw_fd(), call as _, &raw mut request) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(request)
        }
    }
}

/// A request that names `name`; one that can not be a name is of no device.
fn request_of(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: `ifreq` is a C struct of integers, arrays and a union of such and of pointers: all zero
    // bytes are a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (slot, &byte) in request.ifr_name.iter_mut().zip(name.as_bytes()) {
        *slot = byte as libc::c_char;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_described() {
        let ask = Interrogator::new().unwrap();
        assert!(ask.index("lo").unwrap() > 0);
        assert!(ask.hardware_address("lo").unwrap().is_ethernet());
        assert!(ask.mtu("lo").unwrap() >= 1280);
    }

    #[test]
    fn tunnels_are_not_ethernet() {
        for kind in [
            libc::ARPHRD_NONE,
            libc::ARPHRD_PPP,
            libc::ARPHRD_SIT,
            libc::ARPHRD_IPGRE,
        ] {
            assert!(
                !HardwareAddress {
                    kind,
                    mac: MacAddr::default()
                }
                .is_ethernet()
            );
        }
    }

    #[test]
    fn no_such_interface_is_enodev() {
        let ask = Interrogator::new().unwrap();
        for name in [
            "",
            "none-of-these",
            "a-name-longer-than-any-interface",
            "l\0o",
        ] {
            let refused = ask.hardware_address(name).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::ENODEV), "{name:?}");
        }
        assert_eq!(
            ask.index("none-of-these").unwrap_err().raw_os_error(),
            Some(libc::ENODEV)
        );
    }
}
