//! Ethernet II (IEEE 802.3-2022 §3): destination, source, EtherType; no check sum here.

use crate::octets::put;
use crate::vlan::{self, TAG_LENGTH};
use crate::{MacAddr, VlanId};

/// Offset of the destination address, six octets.
pub const DST: usize = 0;
/// Offset of the source address, six octets.
pub const SRC: usize = 6;
/// Offset of the EtherType of an untagged frame, two octets.
pub const ETHERTYPE: usize = 12;
/// Length of an untagged header: where the payload starts.
pub const HEADER: usize = 14;
/// Length of a header with one 802.1Q tag: where the payload starts.
pub const TAGGED_HEADER: usize = HEADER + TAG_LENGTH;
/// Shortest frame without check sum; the interface pads what is shorter.
pub const MIN_FRAME: usize = 60;

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;

/// Where the payload of a frame on `vlan` starts: [`HEADER`] or [`TAGGED_HEADER`].
pub const fn header_length(vlan: Option<VlanId>) -> usize {
    if vlan.is_some() {
        TAGGED_HEADER
    } else {
        HEADER
    }
}

/// Writes a header, with a tag where `vlan` names one, and returns where the payload starts.
///
/// # Panics
/// If `frame` is shorter than the header.
#[inline]
pub fn emit(
    frame: &mut [u8],
    dst: MacAddr,
    src: MacAddr,
    vlan: Option<VlanId>,
    ethertype: u16,
) -> usize {
    put(frame, DST, &dst.0);
    put(frame, SRC, &src.0);
    let mut at = ETHERTYPE;
    if let Some(vlan) = vlan {
        put(frame, at, &vlan::tag(vlan));
        at += TAG_LENGTH;
    }
    put(frame, at, &ethertype.to_be_bytes());
    at + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const DST_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const SRC_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);

    #[test]
    fn untagged_headers_are_fourteen_octets() {
        let mut frame = [0xa5; 16];
        assert_eq!(emit(&mut frame, DST_MAC, SRC_MAC, None, IPV4), HEADER);
        assert_eq!(
            frame,
            [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0xa5, 0xa5]
        );
    }

    #[test]
    fn tagged_headers_are_eighteen_octets() {
        let mut frame = [0xa5; 20];
        let vlan = VlanId::new(4094);
        assert_eq!(
            emit(&mut frame, DST_MAC, SRC_MAC, vlan, IPV6),
            TAGGED_HEADER
        );
        assert_eq!(header_length(vlan), TAGGED_HEADER);
        assert_eq!(
            frame[12..],
            [0x81, 0x00, 0x0f, 0xfe, 0x86, 0xdd, 0xa5, 0xa5]
        );
    }
}
