//! The exchange as a packet capture (draft-ietf-opsawg-pcapng): every frame as it is on the wire, the VLAN
//! tag back in its place, nanosecond timestamps, direction in each packet's flags.
//!
//! Blocks are built in a caller's buffer, so that the thread that owns the link never writes a file.

use sonde_wire::{VlanId, vlan};

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We received it.
    In,
    /// We sent it.
    Out,
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// LINKTYPE_ETHERNET of the tcpdump registry.
const LINK_TYPE: u16 = 1;
const OPTION_END: u16 = 0;
const OPTION_NAME: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;
const OPTION_FLAGS: u16 = 2;

/// Appends what a file starts with: one section, one Ethernet interface of this name.
pub fn begin(out: &mut Vec<u8>, interface: &str) {
    block(out, SECTION_HEADER, |out| {
        out.extend(0x1a2b_3c4d_u32.to_le_bytes()); // byte order
        out.extend([1, 0, 0, 0]); // version 1.0
        out.extend(u64::MAX.to_le_bytes()); // section length not given
    });
    block(out, INTERFACE_DESCRIPTION, |out| {
        out.extend(LINK_TYPE.to_le_bytes());
        out.extend([0; 2]);
        out.extend(0_u32.to_le_bytes()); // no snap length
        option(out, OPTION_NAME, interface.as_bytes());
        option(out, OPTION_RESOLUTION, &[9]); // 10^-9 s
        option(out, OPTION_END, &[]);
    });
}

/// Appends one frame.
///
/// `unix_nanos` is its time. `bytes` is the frame without check sum; `vlan` is the tag to put back, `None` when
/// there is none or it is in `bytes` already. `wire_length` is the frame's length without that tag, more than
/// `bytes` has if it was cut.
pub fn frame(
    out: &mut Vec<u8>,
    unix_nanos: u64,
    direction: Direction,
    vlan: Option<VlanId>,
    bytes: &[u8],
    wire_length: u32,
) {
    let vlan = vlan.filter(|_| bytes.len() >= vlan::TPID_OFFSET);
    let tag = if vlan.is_some() { vlan::TAG_LENGTH } else { 0 };
    let original = wire_length.max(bytes.len() as u32) + tag as u32;
    block(out, ENHANCED_PACKET, |out| {
        out.extend(0_u32.to_le_bytes()); // interface
        out.extend(((unix_nanos >> 32) as u32).to_le_bytes());
        out.extend((unix_nanos as u32).to_le_bytes());
        out.extend(((bytes.len() + tag) as u32).to_le_bytes());
        out.extend(original.to_le_bytes());
        let start = out.len();
        match vlan {
            Some(id) => {
                let (addresses, rest) = bytes.split_at(vlan::TPID_OFFSET);
                out.extend(addresses);
                out.extend(vlan::tag(id));
                out.extend(rest);
            }
            None => out.extend(bytes),
        }
        pad(out, start);
        let direction: u32 = if direction == Direction::In { 1 } else { 2 };
        option(out, OPTION_FLAGS, &direction.to_le_bytes());
        option(out, OPTION_END, &[]);
    });
}

/// A block around what `body` appends: type and length before, length after, all in multiples of four.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let length = (out.len() - start + 4) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out.extend(length.to_le_bytes());
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend(code.to_le_bytes());
    out.extend((value.len() as u16).to_le_bytes());
    let start = out.len();
    out.extend(value);
    pad(out, start);
}

fn pad(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    out.resize(start + length.next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut out = Vec::new();
        begin(&mut out, "eth0");
        let golden = [
            0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 0xff, 0xff,
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 28, 0, 0, 0, // section header
            1, 0, 0, 0, 40, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 4, 0, b'e', b't', b'h', b'0', 9,
            0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0, 40, 0, 0, 0, // interface description
        ];
        assert_eq!(out, golden);

        out.clear();
        let bytes: Vec<u8> = (0..15).collect();
        frame(
            &mut out,
            0x1_0000_0002,
            Direction::Out,
            VlanId::new(100),
            &bytes,
            15,
        );
        let golden = [
            6, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 19, 0, 0, 0, 19, 0, 0, 0,
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x81, 0x00, 0, 100, 12, 13, 14, 0, 2, 0, 4, 0, 2,
            0, 0, 0, 0, 0, 0, 0, 64, 0, 0, 0,
        ];
        assert_eq!(out, golden);
    }

    #[test]
    fn a_cut_frame_keeps_its_length_on_the_wire() {
        let mut out = Vec::new();
        frame(&mut out, 0, Direction::In, None, &[7; 16], 1500);
        assert_eq!(out[20..28], [16, 0, 0, 0, 0xdc, 0x05, 0, 0]);
        // Every block is a multiple of four and says its length at both ends.
        assert_eq!(out.len() % 4, 0);
        assert_eq!(out[4..8], out[out.len() - 4..]);
    }
}
