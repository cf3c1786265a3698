//! Bytes of a segment: entries one after the other, each able to prove itself whole.
//!
//! | offset | length | meaning |
//! |---|---|---|
//! | 0 | 4 | payload length, little-endian |
//! | 4 | 4 | CRC-32C (RFC 3720 §B.4) of everything after it, little-endian |
//! | 8 | 1 | kind: 1 record, 2 checkpoint |
//! | 9 | 8 | sequence number, little-endian |
//! | 17 | n | payload |
//!
//! A record's sequence number counts records from 0; a checkpoint carries the number of the next
//! record, so an entry out of place is as visible as a broken one.

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 17;

/// Largest payload. A result line longer than one upload could never leave the box.
pub const PAYLOAD_MAX_BYTES: usize = sonde_protocol::device::RESULTS_MAX_BYTES - 1;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Uploaded; has a sequence number of its own.
    Record,
    /// Where a new worker goes on; never uploaded.
    Checkpoint,
}

/// One entry, borrowed from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its number (record), or that of the next record (checkpoint).
    pub sequence: u64,
    /// What was appended.
    pub payload: &'a [u8],
}

impl Entry<'_> {
    /// Length on disk.
    pub fn encoded_len(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }

    /// The sequence number expected after this entry.
    pub fn next_sequence(&self) -> u64 {
        self.sequence + u64::from(self.kind == Kind::Record)
    }
}

/// Appends one entry to `out`.
pub fn encode(out: &mut Vec<u8>, entry: Entry<'_>) {
    let length = u32::try_from(entry.payload.len()).unwrap_or(u32::MAX);
    let start = out.len();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(match entry.kind {
        Kind::Record => 1,
        Kind::Checkpoint => 2,
    });
    out.extend_from_slice(&entry.sequence.to_le_bytes());
    out.extend_from_slice(entry.payload);
    let sum = crc32c(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

/// The first entry in `bytes` if it is whole, proves itself and follows `expected`; `None` is the
/// end of what can be believed.
pub fn decode(bytes: &[u8], expected: u64) -> Option<Entry<'_>> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let sum = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let end = HEADER_BYTES.checked_add(length)?;
    if length > PAYLOAD_MAX_BYTES || crc32c(bytes.get(8..end)?) != sum {
        return None;
    }
    let kind = match header[8] {
        1 => Kind::Record,
        2 => Kind::Checkpoint,
        _ => return None,
    };
    let sequence = u64::from_le_bytes(*header[9..].first_chunk()?);
    (sequence == expected).then(|| Entry {
        kind,
        sequence,
        payload: &bytes[HEADER_BYTES..end],
    })
}

/// All entries at the start of `bytes` that can be believed, in order.
pub fn entries(bytes: &[u8], first: u64) -> impl Iterator<Item = Entry<'_>> {
    let (mut rest, mut expected) = (bytes, first);
    std::iter::from_fn(move || {
        let entry = decode(rest, expected)?;
        rest = &rest[entry.encoded_len()..];
        expected = entry.next_sequence();
        Some(entry)
    })
}

/// CRC-32C, reflected, by eight tables of 256: eight bytes a step.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    let mut chunks = bytes.chunks_exact(8);
    for c in &mut chunks {
        let low = crc ^ u32::from_le_bytes([c[0], c[1], c[2], c[3]]);
        crc = TABLES[7][(low & 0xff) as usize]
            ^ TABLES[6][(low >> 8 & 0xff) as usize]
            ^ TABLES[5][(low >> 16 & 0xff) as usize]
            ^ TABLES[4][(low >> 24) as usize]
            ^ TABLES[3][c[4] as usize]
            ^ TABLES[2][c[5] as usize]
            ^ TABLES[1][c[6] as usize]
            ^ TABLES[0][c[7] as usize];
    }
    for &byte in chunks.remainder() {
        crc = (crc >> 8) ^ TABLES[0][((crc ^ u32::from(byte)) & 0xff) as usize];
    }
    !crc
}

/// `TABLES[k][b]`: what byte `b` adds `k` bytes later.
static TABLES: [[u32; 256]; 8] = {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut later = 1;
    while later < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[later - 1][byte];
            tables[later][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        later += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(payloads: &[(bool, Vec<u8>)]) -> Vec<u8> {
        let (mut out, mut sequence) = (Vec::new(), 0);
        for (record, payload) in payloads {
            let kind = if *record {
                Kind::Record
            } else {
                Kind::Checkpoint
            };
            let entry = Entry {
                kind,
                sequence,
                payload,
            };
            encode(&mut out, entry);
            sequence = entry.next_sequence();
        }
        out
    }

    #[test]
    fn check_sum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn an_entry_has_the_bytes_of_the_table() {
        let mut out = Vec::new();
        encode(
            &mut out,
            Entry {
                kind: Kind::Record,
                sequence: 0x0102,
                payload: b"{}",
            },
        );
        assert_eq!(out[..4], [2, 0, 0, 0]);
        assert_eq!(out[8..17], [1, 2, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&out[17..], b"{}");
    }

    #[test]
    fn an_entry_out_of_place_is_not_believed() {
        let bytes = segment(&[(true, b"a".to_vec())]);
        assert!(decode(&bytes, 0).is_some());
        assert_eq!(decode(&bytes, 1), None);
    }

    proptest! {
        #[test]
        fn any_cut_leaves_a_prefix(
            payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let bytes = segment(&payloads);
            let cut = cut.index(bytes.len() + 1);
            let read: Vec<_> = entries(&bytes[..cut], 0).map(|e| e.payload.to_vec()).collect();
            let whole = payloads.iter().scan(0, |end, (_, p)| {
                *end += HEADER_BYTES + p.len();
                Some(*end)
            }).take_while(|end| *end <= cut).count();
            prop_assert_eq!(read.len(), whole);
            prop_assert!(read.iter().zip(&payloads).all(|(read, (_, written))| read == written));
        }

        #[test]
        fn any_flipped_bit_ends_what_is_believed_there(
            payloads in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)), 1..20),
            at in any::<prop::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut bytes = segment(&payloads);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let mut end = 0;
            let whole = payloads.iter().take_while(|(_, p)| { end += HEADER_BYTES + p.len(); end <= at }).count();
            prop_assert_eq!(entries(&bytes, 0).count(), whole);
        }

        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(entries(&bytes, 0).count(), 0);
        }
    }
}
