//! A time server's answer (RFC 5905 §7.3): client mode in, server mode out.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds from 1900, where NTP counts from, to 1970 (RFC 5905 §6).
const UNIX_EPOCH_IN_NTP: u64 = 2_208_988_800;

/// Octets of a packet without extensions.
const PACKET: usize = 48;

const MODE_CLIENT: u8 = 3;
const MODE_SERVER: u8 = 4;

/// The answer to a client's request, or none to anything else.
pub(super) fn answer(request: &[u8], now: SystemTime) -> Option<Vec<u8>> {
    let version = request.first()? >> 3 & 0b111;
    if request.len() < PACKET || request[0] & 0b111 != MODE_CLIENT || !(1..=4).contains(&version) {
        return None;
    }
    let now = timestamp(now);
    let mut packet = vec![0; PACKET];
    packet[0] = version << 3 | MODE_SERVER;
    packet[1] = 2; // stratum: gets its time from a primary server
    packet[2] = request[2]; // poll interval, as asked
    packet[3] = 0xec; // precision: 2^-20 s
    packet[12..16].copy_from_slice(b"LAB\0");
    packet[16..24].copy_from_slice(&now); // reference
    packet[24..32].copy_from_slice(&request[40..48]); // origin: the client's transmit time
    packet[32..40].copy_from_slice(&now); // receive
    packet[40..48].copy_from_slice(&now); // transmit
    Some(packet)
}

/// Seconds since 1900 and their binary fraction, 32 bits each; era 0 (RFC 5905 §6).
fn timestamp(time: SystemTime) -> [u8; 8] {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (since.as_secs() + UNIX_EPOCH_IN_NTP) as u32;
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&seconds.to_be_bytes());
    bytes[4..].copy_from_slice(&(fraction as u32).to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_clients_time_comes_back_as_origin() {
        let mut request = [0; PACKET];
        request[0] = 0x23;
        request[40..].copy_from_slice(b"whenever");
        let now = UNIX_EPOCH + Duration::from_millis(1500);
        let answer = answer(&request, now).unwrap();
        assert_eq!((answer.len(), answer[0]), (PACKET, 0x24));
        assert_eq!(&answer[24..32], b"whenever");
        assert_eq!(answer[40..48], [0x83, 0xaa, 0x7e, 0x81, 0x80, 0, 0, 0]);
    }

    #[test]
    fn anything_else_gets_no_answer() {
        assert_eq!(answer(&[], UNIX_EPOCH), None);
        assert_eq!(answer(&[0x23; PACKET - 1], UNIX_EPOCH), None);
        for first in (0..=255u8).filter(|b| b & 7 != 3 || !(1..=4).contains(&(b >> 3 & 7))) {
            assert_eq!(answer(&[first; PACKET], UNIX_EPOCH), None, "{first:#x}");
        }
    }
}
