//! The 802.1Q tag (IEEE 802.1Q-2022 §9.5): four octets between source address and EtherType.
//!
//! [`crate::VlanId`] is a VLAN; the 12-bit field on the wire, which can also say 0 (priority only) and
//! 4095 (reserved), stays in this file.

use crate::VlanId;
use crate::ethernet;
use crate::octets::put;

/// Octets a tag adds to a frame.
pub const TAG_LENGTH: usize = 4;
/// Offset of the tag protocol identifier in a tagged frame.
pub const TPID_OFFSET: usize = ethernet::ETHERTYPE;
/// Offset of the tag control information: priority (3 bits), drop eligible (1), identifier (12).
pub const TCI_OFFSET: usize = TPID_OFFSET + 2;
/// Tag protocol identifier of a customer VLAN tag.
pub const TPID: u16 = 0x8100;
/// Tag protocol identifier of a service VLAN tag (802.1ad, "QinQ").
pub const TPID_SERVICE: u16 = 0x88a8;

/// The VLAN in a tag's control information; `None` for 0 (priority only) and the reserved 4095.
pub const fn of_tci(tci: u16) -> Option<VlanId> {
    VlanId::new(tci & 0x0fff)
}

/// The tag's four octets: identifier with priority 0, not drop eligible.
pub const fn tag(vlan: VlanId) -> [u8; TAG_LENGTH] {
    let [a, b] = TPID.to_be_bytes();
    let [c, d] = vlan.id().to_be_bytes();
    [a, b, c, d]
}

/// Copies `untagged` into `frame` with `vlan`'s tag put in and returns the frame's length, or copies it
/// as it is when `vlan` is `None`.
///
/// # Panics
/// If `untagged` is shorter than an Ethernet header, or `frame` than the result.
pub fn insert(frame: &mut [u8], untagged: &[u8], vlan: Option<VlanId>) -> usize {
    let (addresses, rest) = untagged.split_at(TPID_OFFSET);
    put(frame, 0, addresses);
    let mut at = TPID_OFFSET;
    if let Some(vlan) = vlan {
        put(frame, at, &tag(vlan));
        at += TAG_LENGTH;
    }
    put(frame, at, rest);
    at + rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_goes_between_the_addresses_and_the_ethertype() {
        let untagged: Vec<u8> = (0..14).collect();
        let mut frame = [0xa5; 20];
        assert_eq!(insert(&mut frame, &untagged, VlanId::new(0xffe)), 18);
        assert_eq!(frame[..12], untagged[..12]);
        assert_eq!(frame[12..], [0x81, 0x00, 0x0f, 0xfe, 12, 13, 0xa5, 0xa5]);
        assert_eq!(insert(&mut frame, &untagged, None), 14);
        assert_eq!(frame[..14], untagged);
    }

    #[test]
    fn priority_and_drop_bits_name_no_vlan() {
        assert_eq!(of_tci(0xe000), None);
        assert_eq!(of_tci(0xffff), None);
        assert_eq!(of_tci(0xf064), VlanId::new(100));
    }
}
