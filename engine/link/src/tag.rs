//! One shape for the 802.1Q tag, wherever the kernel left it.
//!
//! Most kernels and cards move the outer tag into the packet's metadata, some leave it in the frame. Here
//! both become the same: identifier beside the bytes, tag out of them. Only customer tags
//! (IEEE 802.1Q-2022 §9.6, type 0x8100) name our VLANs; a service tag (0x88a8) stays, or is put back, in the
//! bytes, so that whoever parses them sees a type it does not know instead of an untagged frame.

use sonde_wire::VlanId;

/// Bytes of an Ethernet header without tag, and of the two addresses in it.
pub(crate) const ETHERNET_HEADER: usize = 14;
const ADDRESSES: usize = 12;
/// Bytes a tag takes: its type and its control information.
const TAG: usize = 4;
const CUSTOMER_TAG: u16 = 0x8100;

/// A tag that the kernel took out of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MetadataTag {
    /// Type of the tag, host order.
    pub(crate) tpid: u16,
    /// Priority, drop eligibility and identifier, host order.
    pub(crate) tci: u16,
}

/// Where the bytes without the outer tag are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Untagged {
    /// The frame as it lies there.
    AsIs {
        /// VLAN of the tag in the metadata.
        vlan: Option<VlanId>,
    },
    /// The frame less the four bytes behind its addresses.
    TagInFrame {
        /// VLAN of the tag in the frame.
        vlan: Option<VlanId>,
    },
    /// The frame with this foreign tag put back behind its addresses.
    ForeignTag(MetadataTag),
    /// Shorter than its header, or tagged with the reserved identifier.
    Malformed,
}

/// Says what to do with a received frame to have its outer tag beside it.
pub(crate) fn untag(frame: &[u8], metadata: Option<MetadataTag>) -> Untagged {
    if frame.len() < ETHERNET_HEADER {
        return Untagged::Malformed;
    }
    if let Some(tag) = metadata {
        return match vlan_of(tag.tci) {
            _ if tag.tpid != CUSTOMER_TAG => Untagged::ForeignTag(tag),
            Some(vlan) => Untagged::AsIs { vlan },
            None => Untagged::Malformed,
        };
    }
    if u16::from_be_bytes([frame[12], frame[13]]) != CUSTOMER_TAG {
        return Untagged::AsIs { vlan: None };
    }
    if frame.len() < ETHERNET_HEADER + TAG {
        return Untagged::Malformed;
    }
    match vlan_of(u16::from_be_bytes([frame[14], frame[15]])) {
        Some(vlan) => Untagged::TagInFrame { vlan },
        None => Untagged::Malformed,
    }
}

/// Writes into `out` the frame as `untagged` says and returns it with its VLAN and with the number of bytes
/// by which it is now longer (negative: shorter) than `frame`; `None` for a malformed one.
///
/// What does not fit `out` is cut. A frame that can stay where it is, is not copied.
pub(crate) fn without_tag<'a>(
    frame: &'a [u8],
    metadata: Option<MetadataTag>,
    out: &'a mut [u8],
) -> Option<(&'a [u8], Option<VlanId>, i32)> {
    match untag(frame, metadata) {
        Untagged::AsIs { vlan } => Some((frame, vlan, 0)),
        Untagged::TagInFrame { vlan } => {
            let rest = &frame[ADDRESSES + TAG..];
            let kept = join(out, [&frame[..ADDRESSES], &[], rest]);
            Some((kept, vlan, -(TAG as i32)))
        }
        Untagged::ForeignTag(tag) => {
            let mut bytes = [0; TAG];
            bytes[..2].copy_from_slice(&tag.tpid.to_be_bytes());
            bytes[2..].copy_from_slice(&tag.tci.to_be_bytes());
            let kept = join(out, [&frame[..ADDRESSES], &bytes, &frame[ADDRESSES..]]);
            Some((kept, None, TAG as i32))
        }
        Untagged::Malformed => None,
    }
}

/// `Some(None)`: priority tag, of no VLAN; `None`: the reserved identifier.
fn vlan_of(tci: u16) -> Option<Option<VlanId>> {
    match tci & 0xfff {
        0 => Some(None),
        id => VlanId::new(id).map(Some),
    }
}

fn join<'a>(out: &'a mut [u8], parts: [&[u8]; 3]) -> &'a [u8] {
    let mut filled = 0;
    for part in parts {
        let count = part.len().min(out.len() - filled);
        out[filled..filled + count].copy_from_slice(&part[..count]);
        filled += count;
    }
    &out[..filled]
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 18] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0xde, 0xad, 0xbe, 0xef,
    ];

    fn tagged(tpid: u16, tci: u16) -> Vec<u8> {
        let mut frame = PLAIN[..12].to_vec();
        frame.extend(tpid.to_be_bytes());
        frame.extend(tci.to_be_bytes());
        frame.extend(&PLAIN[12..]);
        frame
    }

    fn outcome(frame: &[u8], tag: Option<MetadataTag>) -> Option<(Vec<u8>, Option<VlanId>, i32)> {
        let mut out = [0xaa; 2048];
        without_tag(frame, tag, &mut out).map(|(bytes, vlan, grown)| (bytes.to_vec(), vlan, grown))
    }

    /// All 65,536 values of the control information, in the frame and beside it: the same VLAN and bytes.
    #[test]
    fn tag_in_frame_and_tag_in_metadata_are_one() {
        for tci in 0..=u16::MAX {
            let in_frame = outcome(&tagged(0x8100, tci), None);
            let beside = outcome(&PLAIN, Some(MetadataTag { tpid: 0x8100, tci }));
            let id = tci & 0xfff;
            if id == 4095 {
                assert_eq!((in_frame, beside), (None, None), "{tci:#x}");
                continue;
            }
            let vlan = VlanId::new(id);
            assert_eq!(in_frame, Some((PLAIN.to_vec(), vlan, -4)), "{tci:#x}");
            assert_eq!(beside, Some((PLAIN.to_vec(), vlan, 0)), "{tci:#x}");
        }
    }

    #[test]
    fn an_untagged_frame_stays_as_it_is() {
        assert_eq!(outcome(&PLAIN, None), Some((PLAIN.to_vec(), None, 0)));
    }

    /// A service tag must never look like "untagged": it is seen as a type of its own either way.
    #[test]
    fn a_service_tag_is_kept_in_the_bytes() {
        let frame = tagged(0x88a8, 100);
        assert_eq!(outcome(&frame, None), Some((frame.clone(), None, 0)));
        let beside = outcome(
            &PLAIN,
            Some(MetadataTag {
                tpid: 0x88a8,
                tci: 100,
            }),
        );
        assert_eq!(beside, Some((frame, None, 4)));
    }

    #[test]
    fn an_inner_tag_stays_in_the_bytes() {
        let inner = tagged(0x8100, 7);
        let outer = Some(MetadataTag {
            tpid: 0x8100,
            tci: 9,
        });
        assert_eq!(
            outcome(&inner, outer),
            Some((inner.clone(), VlanId::new(9), 0))
        );
    }

    #[test]
    fn every_short_frame_is_malformed_and_none_panics() {
        for length in 0..14 {
            assert_eq!(outcome(&PLAIN[..length], None), None);
            let tag = Some(MetadataTag {
                tpid: 0x8100,
                tci: 1,
            });
            assert_eq!(outcome(&PLAIN[..length], tag), None);
        }
        let cut = tagged(0x8100, 1);
        for length in 14..18 {
            assert_eq!(outcome(&cut[..length], None), None);
        }
        assert_eq!(
            outcome(&cut[..18], None).map(|(bytes, ..)| bytes.len()),
            Some(14)
        );
    }

    #[test]
    fn what_does_not_fit_is_cut() {
        let tag = Some(MetadataTag {
            tpid: 0x88a8,
            tci: 1,
        });
        let mut out = [0; 18];
        let (bytes, ..) = without_tag(&PLAIN, tag, &mut out).unwrap();
        assert_eq!(bytes, &tagged(0x88a8, 1)[..18]);
    }
}
