//! What an interface's driver can do for programs, by its own word: the kernel's generic netlink family `netdev`
//! (Documentation/netlink/specs/netdev.yaml), Linux 6.3 or later.

use std::io;

use crate::netlink::{ask_family, attribute, attribute_u32, push_attribute};

/// What a driver can do for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures {
    /// It runs programs itself, before the kernel makes a packet of what arrived.
    pub programs: bool,
    /// Its programs may redirect frames elsewhere.
    pub redirect: bool,
    /// It sends frames that programs, its own or others', redirect to it. A veth does while its other end polls:
    /// with a program of its own or with receive coalescing (GRO).
    pub transmit: bool,
    /// Its card reads and writes the memory of AF_XDP sockets itself.
    pub zero_copy: bool,
}

impl XdpFeatures {
    /// Reads `enum netdev_xdp_act` of `include/uapi/linux/netdev.h`.
    const fn of_bits(bits: u64) -> Self {
        Self {
            programs: bits & 1 != 0,
            redirect: bits & 2 != 0,
            transmit: bits & 4 != 0,
            zero_copy: bits & 8 != 0,
        }
    }
}

/// What the driver of the interface numbered `ifindex` can do now, in the calling thread's network namespace. `None`: this
/// kernel has no word for it.
///
/// # Errors
/// `ENODEV` without such an interface.
pub fn xdp_features(ifindex: u32) -> io::Result<Option<XdpFeatures>> {
    /// `NETDEV_CMD_DEV_GET`, `NETDEV_A_DEV_IFINDEX`, `NETDEV_A_DEV_XDP_FEATURES`.
    const GET: u8 = 1;
    const IFINDEX: u16 = 1;
    const FEATURES: u16 = 3;
    let mut request = Vec::new();
    push_attribute(&mut request, IFINDEX, &ifindex.to_ne_bytes());
    let Some(attributes) = ask_family("netdev", GET, &request)? else {
        return Ok(None);
    };
    // Another interface's word is nobody's.
    if attribute_u32(&attributes, IFINDEX) != Some(ifindex) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let bits = attribute(&attributes, FEATURES).and_then(|value| value.try_into().ok());
    Ok(bits.map(|bits| XdpFeatures::of_bits(u64::from_ne_bytes(bits))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interface_is_told() {
        // Kernels without the family say nothing about any interface.
        match xdp_features(i32::MAX as u32) {
            Ok(None) => {}
            Ok(said) => panic!("{said:?} of no interface"),
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "{error}"),
        }
    }

    #[test]
    fn bits_are_the_kernels() {
        let veth = XdpFeatures {
            programs: true,
            redirect: true,
            transmit: true,
            zero_copy: false,
        };
        assert_eq!(XdpFeatures::of_bits(0x67), veth);
        assert_eq!(XdpFeatures::of_bits(0), XdpFeatures::default());
    }
}
