//! The IPv6 header (RFC 8200 §3).

use std::net::Ipv6Addr;

use crate::octets::put;

/// Length of the fixed header.
pub const HEADER: usize = 40;
/// Offset of the payload length, extension headers included.
pub const PAYLOAD_LENGTH: usize = 4;
/// Offset of the next header's number.
pub const NEXT_HEADER: usize = 6;
/// Offset of the hop limit.
pub const HOP_LIMIT: usize = 7;
/// Offset of the source address.
pub const SRC: usize = 8;
/// Offset of the destination address.
pub const DST: usize = 24;

/// Next header number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Next header number of TCP.
pub const TCP: u8 = 6;
/// Next header number of UDP.
pub const UDP: u8 = 17;

/// Hop limit that operating systems send with, and so do we.
pub const HOP_LIMIT_DEFAULT: u8 = 64;

/// A header to send: traffic class and flow label 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// [`ICMPV6`], [`TCP`], [`UDP`].
    pub next_header: u8,
    /// Hops it may take; neighbor discovery demands 255.
    pub hop_limit: u8,
    /// Octets after the header.
    pub payload_length: u16,
}

impl Ipv6 {
    /// The header of a message as operating systems send it: [`HOP_LIMIT_DEFAULT`].
    pub const fn new(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, payload_length: u16) -> Self {
        Self {
            src,
            dst,
            next_header,
            hop_limit: HOP_LIMIT_DEFAULT,
            payload_length,
        }
    }

    /// Writes the header at the start of `packet` and returns its length, [`HEADER`].
    ///
    /// # Panics
    /// If it does not fit.
    pub fn emit(&self, packet: &mut [u8]) -> usize {
        put(packet, 0, &[0x60, 0, 0, 0]);
        put(packet, PAYLOAD_LENGTH, &self.payload_length.to_be_bytes());
        put(packet, NEXT_HEADER, &[self.next_header, self.hop_limit]);
        put(packet, SRC, &self.src.octets());
        put(packet, DST, &self.dst.octets());
        HEADER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut packet = [0xa5; 42];
        let src = "2001:db8::1".parse().unwrap();
        let dst = "ff02::1:ff00:9".parse().unwrap();
        let header = Ipv6 {
            hop_limit: 255,
            ..Ipv6::new(src, dst, ICMPV6, 32)
        };
        assert_eq!(header.emit(&mut packet), HEADER);
        let golden = [
            0x60, 0, 0, 0, 0, 32, 58, 255, // version to hop limit
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, // source
            0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 9, // destination
            0xa5, 0xa5,
        ];
        assert_eq!(packet, golden);
    }
}
