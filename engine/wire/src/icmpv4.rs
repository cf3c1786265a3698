//! ICMP echo for IPv4 (RFC 792), and the message types the parser tells apart.

use crate::checksum::Sum;
use crate::octets::put;

/// Length of the header before the payload.
pub const HEADER: usize = 8;
/// Offset of the type.
pub const TYPE: usize = 0;
/// Offset of the code.
pub const CODE: usize = 1;
/// Offset of the checksum, over header and payload.
pub const CHECKSUM: usize = 2;
/// Offset of an echo's identifier.
pub const ECHO_ID: usize = 4;
/// Offset of an echo's sequence number.
pub const ECHO_SEQ: usize = 6;

/// Type of an echo reply.
pub const ECHO_REPLY: u8 = 0;
/// Type of an echo request.
pub const ECHO_REQUEST: u8 = 8;
pub(crate) const UNREACHABLE: u8 = 3;
pub(crate) const TIME_EXCEEDED: u8 = 11;
pub(crate) const PARAMETER_PROBLEM: u8 = 12;

/// Writes an echo message of `kind` ([`ECHO_REQUEST`] or [`ECHO_REPLY`]) with its checksum at the start of
/// `packet` and returns its length.
///
/// # Panics
/// If it does not fit.
pub fn emit_echo(packet: &mut [u8], kind: u8, id: u16, seq: u16, payload: &[u8]) -> usize {
    let message = &mut packet[..HEADER + payload.len()];
    put(message, TYPE, &[kind, 0, 0, 0]);
    put(message, ECHO_ID, &id.to_be_bytes());
    put(message, ECHO_SEQ, &seq.to_be_bytes());
    put(message, HEADER, payload);
    let checksum = Sum::ZERO.bytes(message).finish();
    put(message, CHECKSUM, &checksum.to_be_bytes());
    message.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let mut packet = [0xa5; 12];
        assert_eq!(emit_echo(&mut packet, ECHO_REQUEST, 0x1234, 7, b"abc"), 11);
        let golden = [8, 0, 0x21, 0x62, 0x12, 0x34, 0, 7, b'a', b'b', b'c', 0xa5];
        assert_eq!(packet, golden);
        assert_eq!(Sum::ZERO.bytes(&packet[..11]).finish(), 0);
    }
}
