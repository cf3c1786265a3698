//! A batch of results: zstd of JSON lines, to records. Pure.

use serde::Deserialize;
use sonde_protocol::device::RESULTS_MAX_BYTES;
use sonde_protocol::observation::Observation;

use crate::storage::{Batch, RecordLine};

/// Why a batch is not one. Nothing of it is stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BatchError {
    /// Not zstd, or more than it may hold.
    #[error("the batch is not zstd of at most {RESULTS_MAX_BYTES} bytes")]
    Compression,
    /// Not text.
    #[error("the batch is not UTF-8")]
    Text,
    /// Not a record.
    #[error("record {seq} is not a JSON object with a type")]
    Record {
        /// Its sequence number.
        seq: u64,
    },
    /// The sequence numbers do not fit.
    #[error("records can not be numbered from {first}")]
    Sequence {
        /// Where the batch begins.
        first: u64,
    },
}

/// All that a record of a kind this version does not know has to have.
#[derive(Deserialize)]
struct Kind {
    #[serde(rename = "type")]
    _kind: String,
}

/// Reads a batch that begins at `first`. Never holds more than [`RESULTS_MAX_BYTES`] of it, whatever it claims.
pub(super) fn decode(body: &[u8], first: u64) -> Result<Batch, BatchError> {
    if first > i64::MAX as u64 - RESULTS_MAX_BYTES as u64 {
        return Err(BatchError::Sequence { first });
    }
    let bytes =
        zstd::bulk::decompress(body, RESULTS_MAX_BYTES).map_err(|_| BatchError::Compression)?;
    let text = String::from_utf8(bytes).map_err(|_| BatchError::Text)?;
    let lines = (first..)
        .zip(text.split_terminator('\n'))
        .map(|(seq, line)| {
            let observation = serde_json::from_str::<Observation>(line).ok();
            if observation.is_none() && serde_json::from_str::<Kind>(line).is_err() {
                return Err(BatchError::Record { seq });
            }
            Ok(RecordLine {
                text: line.to_owned(),
                observation,
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Batch { first, lines })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: &str = r#"{"type":"port","vlan":100,"ip":"10.1.0.9","proto":"tcp","port":80,"state":"open","reason":"syn-ack","time":"2027-01-15T08:00:00Z"}"#;

    fn packed(text: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(text, 3).unwrap()
    }

    #[test]
    fn lines_become_records() {
        let text = format!("{PORT}\n{{\"type\":\"service\",\"name\":\"http\"}}\n");
        let batch = decode(&packed(text.as_bytes()), 7).unwrap();
        assert_eq!(batch.first, 7);
        assert_eq!(batch.lines.len(), 2);
        assert_eq!(batch.lines[0].text, PORT);
        assert!(matches!(
            batch.lines[0].observation,
            Some(Observation::Port(_))
        ));
        assert_eq!(
            batch.lines[1].observation, None,
            "a later version's kind is kept as it is"
        );
        let without_last_feed = decode(&packed(text.trim_end().as_bytes()), 7).unwrap();
        assert_eq!(without_last_feed, batch);
    }

    #[test]
    fn what_is_not_a_record_is_named() {
        for bad in ["nonsense", "{}", "[1]", "", "{\"type\":1}"] {
            let text = format!("{PORT}\n{bad}\n");
            assert_eq!(
                decode(&packed(text.as_bytes()), 7),
                Err(BatchError::Record { seq: 8 }),
                "{bad}"
            );
        }
        assert_eq!(decode(&packed(&[0xff, 0xfe]), 0), Err(BatchError::Text));
        assert_eq!(
            decode(&packed(b""), u64::MAX),
            Err(BatchError::Sequence { first: u64::MAX })
        );
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = packed(&vec![b' '; RESULTS_MAX_BYTES + 1]);
        assert!(bomb.len() < 1_000);
        assert_eq!(decode(&bomb, 0), Err(BatchError::Compression));
        assert_eq!(decode(b"not zstd", 0), Err(BatchError::Compression));
        let cut = packed(PORT.as_bytes());
        assert_eq!(
            decode(&cut[..cut.len() - 1], 0),
            Err(BatchError::Compression)
        );
    }

    #[test]
    fn an_empty_batch_is_one() {
        assert_eq!(
            decode(&packed(b""), 3),
            Ok(Batch {
                first: 3,
                lines: Vec::new()
            })
        );
    }
}
