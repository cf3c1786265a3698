//! What an interface's driver can do for programs, by its own word: the kernel's generic netlink family `netdev`
//! (Documentation/netlink/specs/netdev.yaml), Linux 6.3 or later.

use std::io;

use crate::netlink::{GENERIC, ask, attribute, attribute_u32, push_attribute};

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
    let Some(family) = family("netdev")? else {
        return Ok(None);
    };
    let mut request = header(GET);
    push_attribute(&mut request, IFINDEX, &ifindex.to_ne_bytes());
    let answer = ask(GENERIC, family, &request)?;
    let attributes = answer.get(HEADER..).unwrap_or_default();
    // Another interface's word is nobody's.
    if attribute_u32(attributes, IFINDEX) != Some(ifindex) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let bits = attribute(attributes, FEATURES).and_then(|value| value.try_into().ok());
    Ok(bits.map(|bits| XdpFeatures::of_bits(u64::from_ne_bytes(bits))))
}

/// Command, version and a reserved word: `struct genlmsghdr`.
const HEADER: usize = 4;

fn header(command: u8) -> Vec<u8> {
    vec![command, 1, 0, 0]
}

/// The number under which the kernel has a family; `None` when it has not (`include/uapi/linux/genetlink.h`).
fn family(name: &str) -> io::Result<Option<u16>> {
    /// `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY`, `CTRL_ATTR_FAMILY_ID`, `CTRL_ATTR_FAMILY_NAME`.
    const CONTROLLER: u16 = 16;
    const GET: u8 = 3;
    const ID: u16 = 1;
    const NAME: u16 = 2;
    let mut request = header(GET);
    push_attribute(&mut request, NAME, &[name.as_bytes(), &[0]].concat());
    match ask(GENERIC, CONTROLLER, &request) {
        Ok(answer) => {
            let id = attribute(answer.get(HEADER..).unwrap_or_default(), ID);
            let id = id.and_then(|value| value.try_into().ok());
            id.map(|id| Some(u16::from_ne_bytes(id)))
                .ok_or_else(|| io::ErrorKind::InvalidData.into())
        }
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_nobody_has_is_none() {
        assert_eq!(family("sonde-no-such").unwrap(), None);
    }

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
