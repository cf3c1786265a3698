//! ICMPv6 echo (RFC 4443 §4), the message types the parser tells apart, and the checksum over them.

use std::net::Ipv6Addr;

use crate::checksum::Sum;
use crate::ipv6;
use crate::octets::put;

/// Length of the header before the payload.
pub const HEADER: usize = 8;
/// Offset of the type.
pub const TYPE: usize = 0;
/// Offset of the code.
pub const CODE: usize = 1;
/// Offset of the checksum, over pseudo header, header and payload.
pub const CHECKSUM: usize = 2;
/// Offset of an echo's identifier.
pub const ECHO_ID: usize = 4;
/// Offset of an echo's sequence number.
pub const ECHO_SEQ: usize = 6;

/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 128;
/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 129;
pub(crate) const UNREACHABLE: u8 = 1;
pub(crate) const PACKET_TOO_BIG: u8 = 2;
pub(crate) const TIME_EXCEEDED: u8 = 3;
pub(crate) const PARAMETER_PROBLEM: u8 = 4;
pub(crate) const ROUTER_SOLICITATION: u8 = 133;
pub(crate) const ROUTER_ADVERTISEMENT: u8 = 134;
pub(crate) const NEIGHBOR_SOLICITATION: u8 = 135;
pub(crate) const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// Writes an echo message of `kind` ([`ECHO_REQUEST`] or [`ECHO_REPLY`]) with its checksum at the start of
/// `packet` and returns its length. `src` and `dst` are those of the IPv6 header.
///
/// # Panics
/// If it does not fit.
pub fn emit_echo(
    packet: &mut [u8],
    (src, dst): (Ipv6Addr, Ipv6Addr),
    kind: u8,
    id: u16,
    seq: u16,
    payload: &[u8],
) -> usize {
    let message = &mut packet[..HEADER + payload.len()];
    put(message, TYPE, &[kind, 0, 0, 0]);
    put(message, ECHO_ID, &id.to_be_bytes());
    put(message, ECHO_SEQ, &seq.to_be_bytes());
    put(message, HEADER, payload);
    seal(message, src, dst);
    message.len()
}

/// Writes the checksum of the whole `message`, whose checksum field must be zero.
pub(crate) fn seal(message: &mut [u8], src: Ipv6Addr, dst: Ipv6Addr) {
    let sum = Sum::ZERO.pseudo6(src, dst, ipv6::ICMPV6, message.len() as u32);
    let checksum = sum.bytes(message).finish();
    put(message, CHECKSUM, &checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut packet = [0xa5; 12];
        let ends = (
            "2001:db8::1".parse().unwrap(),
            "2001:db8::9".parse().unwrap(),
        );
        assert_eq!(
            emit_echo(&mut packet, ends, ECHO_REPLY, 0x1234, 7, b"ab"),
            10
        );
        assert_eq!(
            packet,
            [129, 0, 0xaf, 0xa1, 0x12, 0x34, 0, 7, b'a', b'b', 0xa5, 0xa5]
        );
    }
}
