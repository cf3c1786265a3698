//! The UDP header (RFC 768).

use crate::checksum::Sum;
use crate::octets::put;

/// Length of the header.
pub const HEADER: usize = 8;
/// Offset of the source port.
pub const SRC_PORT: usize = 0;
/// Offset of the destination port.
pub const DST_PORT: usize = 2;
/// Offset of the length, header included.
pub const LENGTH: usize = 4;
/// Offset of the checksum, over pseudo header, header and payload.
pub const CHECKSUM: usize = 6;

/// Writes a datagram with its checksum at the start of `packet` and returns its length. `pseudo` is the
/// pseudo header of the packet around it.
///
/// # Panics
/// If it does not fit, or is longer than 65,535 octets.
pub fn emit(packet: &mut [u8], pseudo: Sum, src_port: u16, dst_port: u16, payload: &[u8]) -> usize {
    let datagram = &mut packet[..HEADER + payload.len()];
    let length = u16::try_from(datagram.len()).expect("a UDP datagram is at most 65,535 octets");
    put(datagram, SRC_PORT, &src_port.to_be_bytes());
    put(datagram, DST_PORT, &dst_port.to_be_bytes());
    put(datagram, LENGTH, &length.to_be_bytes());
    put(datagram, CHECKSUM, &[0; 2]);
    put(datagram, HEADER, payload);
    let checksum = pseudo.bytes(datagram).finish_udp();
    put(datagram, CHECKSUM, &checksum.to_be_bytes());
    datagram.len()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn golden_bytes() {
        let ends = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 9));
        let pseudo = Sum::ZERO.pseudo4(ends.0, ends.1, 17, 11);
        let mut packet = [0xa5; 12];
        assert_eq!(emit(&mut packet, pseudo, 40_000, 53, b"abc"), 11);
        assert_eq!(
            packet,
            [
                0x9c, 0x40, 0, 0x35, 0, 11, 0x8a, 0xf6, b'a', b'b', b'c', 0xa5
            ]
        );
        assert_eq!(pseudo.bytes(&packet[..11]).finish(), 0);
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones() {
        let mut packet = [0; 8];
        // Ports, twice the length and the pseudo header add up to all ones.
        emit(&mut packet, Sum::ZERO.word(0xffff - 8), 0, 0, &[]);
        assert_eq!(packet[CHECKSUM..], [0xff, 0xff]);
    }
}
