//! The IPv4 header without options, as we send it (RFC 791 §3.1).

use std::net::Ipv4Addr;

use crate::checksum::Sum;
use crate::octets::put;

/// Length of a header without options.
pub const HEADER: usize = 20;
/// Offset of the total length, header included.
pub const TOTAL_LENGTH: usize = 2;
/// Offset of the identification.
pub const ID: usize = 4;
/// Offset of flags (3 bits) and fragment offset (13 bits).
pub const FRAGMENT: usize = 6;
/// Offset of the time to live.
pub const TTL: usize = 8;
/// Offset of the protocol.
pub const PROTOCOL: usize = 9;
/// Offset of the header checksum.
pub const CHECKSUM: usize = 10;
/// Offset of the source address.
pub const SRC: usize = 12;
/// Offset of the destination address.
pub const DST: usize = 16;

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// Time to live that operating systems send with, and so do we.
pub const TTL_DEFAULT: u8 = 64;

/// The "do not fragment" flag in the word at [`FRAGMENT`].
pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
/// The "more fragments" flag in the word at [`FRAGMENT`].
pub(crate) const MORE_FRAGMENTS: u16 = 0x2000;
/// The fragment offset, in units of eight octets, in the word at [`FRAGMENT`].
pub(crate) const FRAGMENT_OFFSET: u16 = 0x1fff;

/// A header to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Source.
    pub src: Ipv4Addr,
    /// Destination.
    pub dst: Ipv4Addr,
    /// [`ICMP`], [`TCP`], [`UDP`].
    pub protocol: u8,
    /// Hops it may take.
    pub ttl: u8,
    /// Identification; without meaning, and so 0 on Linux, when `dont_fragment` is set (RFC 6864).
    pub id: u16,
    /// Routers may not cut it.
    pub dont_fragment: bool,
    /// Octets after the header.
    pub payload_length: u16,
}

impl Ipv4 {
    /// The header of a message as operating systems send it: [`TTL_DEFAULT`], not to be fragmented.
    pub const fn new(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload_length: u16) -> Self {
        Self {
            src,
            dst,
            protocol,
            ttl: TTL_DEFAULT,
            id: 0,
            dont_fragment: true,
            payload_length,
        }
    }

    /// Writes the header with its checksum at the start of `packet` and returns its length, [`HEADER`].
    ///
    /// # Panics
    /// If it does not fit, or header and payload are longer than 65,535 octets together.
    pub fn emit(&self, packet: &mut [u8]) -> usize {
        let header = &mut packet[..HEADER];
        let total = self.payload_length.checked_add(HEADER as u16);
        let total = total.expect("an IPv4 payload is at most 65,515 octets");
        let fragment = if self.dont_fragment { DONT_FRAGMENT } else { 0 };
        put(header, 0, &[0x45, 0]);
        put(header, TOTAL_LENGTH, &total.to_be_bytes());
        put(header, ID, &self.id.to_be_bytes());
        put(header, FRAGMENT, &fragment.to_be_bytes());
        put(header, TTL, &[self.ttl, self.protocol, 0, 0]);
        put(header, SRC, &self.src.octets());
        put(header, DST, &self.dst.octets());
        let checksum = Sum::ZERO.bytes(header).finish();
        put(header, CHECKSUM, &checksum.to_be_bytes());
        HEADER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        // The example header that circulates with RFC 1071's arithmetic: 172.16.10.99 to 172.16.10.12.
        let header = Ipv4 {
            src: Ipv4Addr::new(172, 16, 10, 99),
            dst: Ipv4Addr::new(172, 16, 10, 12),
            protocol: TCP,
            ttl: 64,
            id: 0x1c46,
            dont_fragment: true,
            payload_length: 40,
        };
        let mut packet = [0xa5; 24];
        assert_eq!(header.emit(&mut packet), HEADER);
        let golden = [
            0x45, 0x00, 0x00, 0x3c, 0x1c, 0x46, 0x40, 0x00, 0x40, 0x06, 0xb1, 0xe6, 0xac, 0x10,
            0x0a, 0x63, 0xac, 0x10, 0x0a, 0x0c, 0xa5, 0xa5, 0xa5, 0xa5,
        ];
        assert_eq!(packet, golden);
        assert_eq!(Sum::ZERO.bytes(&packet[..HEADER]).finish(), 0);
    }
}
