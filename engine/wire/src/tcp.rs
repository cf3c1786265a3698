//! The TCP header (RFC 9293 §3.1) of the segments we send: SYNs that look like an operating system's, and
//! resets.

use crate::checksum::Sum;
use crate::octets::put;

/// Length of a header without options.
pub const HEADER: usize = 20;
/// Length of what [`syn_options`] makes.
pub const SYN_OPTIONS_LENGTH: usize = 20;
/// Length of a SYN as we send it: header and options.
pub const SYN_LENGTH: usize = HEADER + SYN_OPTIONS_LENGTH;
/// Offset of the source port.
pub const SRC_PORT: usize = 0;
/// Offset of the destination port.
pub const DST_PORT: usize = 2;
/// Offset of the sequence number.
pub const SEQ: usize = 4;
/// Offset of the acknowledgment number.
pub const ACK_NUMBER: usize = 8;
/// Offset of the header length, in the upper four bits, in words of four octets.
pub const DATA_OFFSET: usize = 12;
/// Offset of the flags.
pub const FLAGS: usize = 13;
/// Offset of the window.
pub const WINDOW: usize = 14;
/// Offset of the checksum, over pseudo header, header and payload.
pub const CHECKSUM: usize = 16;

/// Flag: no more data from the sender.
pub const FIN: u8 = 0x01;
/// Flag: synchronize sequence numbers.
pub const SYN: u8 = 0x02;
/// Flag: reset the connection.
pub const RST: u8 = 0x04;
/// Flag: push.
pub const PSH: u8 = 0x08;
/// Flag: the acknowledgment number counts.
pub const ACK: u8 = 0x10;

/// Maximum segment size of a host on Ethernet, over IPv4: 1500 less two headers of 20.
pub const MSS_IPV4: u16 = 1460;
/// Maximum segment size of a host on Ethernet, over IPv6.
pub const MSS_IPV6: u16 = 1440;

/// The window Linux offers in a SYN with maximum segment size `mss`: the whole segments in 65,535 less
/// a half, 64,240 over IPv4 and 64,800 over IPv6.
pub const fn syn_window(mss: u16) -> u16 {
    if mss == MSS_IPV6 { 64_800 } else { 64_240 }
}

/// The options of a SYN in the order Linux sends them: maximum segment size, selective acknowledgment
/// permitted, timestamps, no-operation, window scale 7. `timestamp` is the sender's clock.
///
/// A bare SYN finds two in a hundred hosts fewer: some drop what no operating system would send.
pub const fn syn_options(mss: u16, timestamp: u32) -> [u8; SYN_OPTIONS_LENGTH] {
    let [a, b] = mss.to_be_bytes();
    let [t, u, v, w] = timestamp.to_be_bytes();
    [2, 4, a, b, 4, 2, 8, 10, t, u, v, w, 0, 0, 0, 0, 1, 3, 3, 7]
}

/// A segment without payload to send. Numbers in host order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; counts with [`ACK`] set.
    pub ack: u32,
    /// [`SYN`], [`RST`], …
    pub flags: u8,
    /// Window offered.
    pub window: u16,
    /// Options, a multiple of four octets, at most 40.
    pub options: &'a [u8],
}

impl Segment<'_> {
    /// Length of the segment: header and options.
    pub const fn length(&self) -> usize {
        HEADER + self.options.len()
    }

    /// Writes the segment at the start of `packet` and returns its length. `pseudo` is the pseudo header
    /// of the packet around it.
    ///
    /// # Panics
    /// If it does not fit, or `options` is not as it says.
    pub fn emit(&self, packet: &mut [u8], pseudo: Sum) -> usize {
        assert!(
            self.options.len() <= 40 && self.options.len().is_multiple_of(4),
            "TCP options"
        );
        let segment = &mut packet[..self.length()];
        put(segment, SRC_PORT, &self.src_port.to_be_bytes());
        put(segment, DST_PORT, &self.dst_port.to_be_bytes());
        put(segment, SEQ, &self.seq.to_be_bytes());
        put(segment, ACK_NUMBER, &self.ack.to_be_bytes());
        put(
            segment,
            DATA_OFFSET,
            &[(self.length() as u8 / 4) << 4, self.flags],
        );
        put(segment, WINDOW, &self.window.to_be_bytes());
        put(segment, CHECKSUM, &[0; 4]); // and the urgent pointer
        put(segment, HEADER, self.options);
        let checksum = pseudo.bytes(segment).finish();
        put(segment, CHECKSUM, &checksum.to_be_bytes());
        segment.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn syn_golden_bytes() {
        let (src, dst) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 9));
        let options = syn_options(MSS_IPV4, 0x0102_0304);
        let syn = Segment {
            src_port: 54_321,
            dst_port: 443,
            seq: 0xdead_beef,
            ack: 0,
            flags: SYN,
            window: syn_window(MSS_IPV4),
            options: &options,
        };
        let mut packet = [0xa5; 42];
        let pseudo = Sum::ZERO.pseudo4(src, dst, 6, SYN_LENGTH as u16);
        assert_eq!(syn.emit(&mut packet, pseudo), SYN_LENGTH);
        assert_eq!(pseudo.bytes(&packet[..SYN_LENGTH]).finish(), 0);
        packet[CHECKSUM..CHECKSUM + 2].fill(0);
        let golden = [
            0xd4, 0x31, 0x01, 0xbb, 0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0, 0,
            0, 0, 0, // header
            2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7, // options
            0xa5, 0xa5,
        ];
        assert_eq!(packet, golden);
    }
}
