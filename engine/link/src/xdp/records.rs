//! What the program writes into its two ring buffers.

use std::net::IpAddr;

use sonde_wire::{MacAddr, VlanId};

use crate::expected::{Proven, ProvenAnswer};

/// `struct hit` of bpf/sonde.bpf.c; integers are this machine's.
const HIT: usize = 40;
/// Length on the wire and bytes kept, before the bytes of a frame.
const FRAME_HEADER: usize = 8;

/// The answer of a record; `None` for what no program of ours writes.
pub(super) fn hit(record: &[u8]) -> Option<Proven> {
    let record: &[u8; HIT] = record.first_chunk()?;
    let u16_at = |at: usize| u16::from_ne_bytes([record[at], record[at + 1]]);
    let octets: [u8; 16] = *record.first_chunk()?;
    let [a, b, c, d, ..] = octets;
    let ip = match record[25] {
        0 => IpAddr::from([a, b, c, d]),
        _ => IpAddr::from(octets),
    };
    let ack = u32::from_ne_bytes([record[16], record[17], record[18], record[19]]);
    let port = u16_at(20);
    let answer = match record[24] {
        0 => ProvenAnswer::TcpOpen {
            port,
            reset: (record[27] == 0).then_some(ack),
        },
        1 => ProvenAnswer::TcpClosed { port },
        2 => ProvenAnswer::Echo,
        _ => return None,
    };
    let mac = record[28..34].try_into().ok()?;
    Some(Proven {
        vlan: VlanId::new(u16_at(22)),
        ip,
        answer,
        ttl: record[26],
        mac: MacAddr(mac),
    })
}

/// A frame's bytes, its tag in, and its length on the wire.
pub(super) fn frame(record: &[u8]) -> Option<(&[u8], u32)> {
    let (header, bytes) = record.split_first_chunk::<FRAME_HEADER>()?;
    let u32_at = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
    let kept = u32::from_ne_bytes(u32_at(4)) as usize;
    Some((bytes.get(..kept)?, u32::from_ne_bytes(u32_at(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_is_read_as_the_program_lays_it_out() {
        let mut record = [0; HIT];
        record[..4].copy_from_slice(&[10, 1, 2, 3]);
        record[16..20].copy_from_slice(&7_u32.to_ne_bytes());
        record[20..22].copy_from_slice(&443_u16.to_ne_bytes());
        record[22..24].copy_from_slice(&4094_u16.to_ne_bytes());
        record[26] = 61;
        record[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        let mut expected = Proven {
            vlan: VlanId::new(4094),
            ip: IpAddr::from([10, 1, 2, 3]),
            answer: ProvenAnswer::TcpOpen {
                port: 443,
                reset: Some(7),
            },
            ttl: 61,
            mac: MacAddr([2, 0, 0, 0, 0, 9]),
        };
        assert_eq!(hit(&record), Some(expected));
        record[27] = 1;
        expected.answer = ProvenAnswer::TcpOpen {
            port: 443,
            reset: None,
        };
        assert_eq!(hit(&record), Some(expected));
        record[24] = 3;
        assert_eq!(hit(&record), None);
        assert_eq!(hit(&record[..HIT - 1]), None);
    }

    #[test]
    fn a_frame_that_claims_more_than_its_record_is_none() {
        let mut record = vec![0; FRAME_HEADER + 60];
        record[..4].copy_from_slice(&1514_u32.to_ne_bytes());
        record[4..8].copy_from_slice(&60_u32.to_ne_bytes());
        assert_eq!(frame(&record), Some((&[0; 60][..], 1514)));
        record[4] = 61;
        assert_eq!(frame(&record), None);
    }
}
