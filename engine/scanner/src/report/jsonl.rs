//! One JSON object a line: the form every other one can be made from.

use std::io::{self, BufWriter, Write};

use sonde_core::observation::Observation;

use super::Report;
use super::line::LineWriter;

/// A file system gets its pages by the large: a third less work than in pieces of 64 KiB.
const BUFFER: usize = 1 << 20;

/// Writes observations as JSON lines.
#[derive(Debug)]
pub struct JsonlReport<W: Write> {
    out: BufWriter<W>,
    line: LineWriter,
}

impl<W: Write> JsonlReport<W> {
    /// A report that writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self {
            out: BufWriter::with_capacity(BUFFER, writer),
            line: LineWriter::default(),
        }
    }
}

impl<W: Write + Send> Report for JsonlReport<W> {
    fn observation(&mut self, observation: &Observation) -> io::Result<()> {
        match observation {
            Observation::Progress(_) | Observation::Checkpoint(_) | Observation::Error(_) => Ok(()),
            result => self.line.write(&mut self.out, result),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, samples};
    use super::*;

    #[test]
    fn lines_read_back_as_they_were_and_progress_is_no_result() {
        let text = samples::converted(Format::Jsonl);
        let read: Vec<Observation> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let mut written = samples::result();
        written.retain(|o| !matches!(o, Observation::Progress(_)));
        assert_eq!(read, written);
    }

    #[test]
    fn a_port_looks_as_documented() {
        let text = samples::converted(Format::Jsonl);
        let line = text.lines().find(|l| l.contains("\"port\":80")).unwrap();
        let expected = r#"{"type":"port","vlan":100,"ip":"10.1.0.9","proto":"tcp","port":80,"state":"open","reason":"syn-ack","ttl":64,"rtt_us":1230,"time":"2026-09-21T14:13:22Z"}"#;
        assert_eq!(line, expected);
    }
}
