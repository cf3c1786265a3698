//! Comma-separated values (RFC 4180): one row a host, port or leak, the same columns in all.

use std::io::{self, Write};

use serde::Serialize;
use sonde_core::observation::Observation;

use super::Report;

/// The columns, in order. What a row does not know is empty; the untagged LAN is an empty `vlan`.
const COLUMNS: [&str; 13] = [
    "type",
    "vlan",
    "ip",
    "proto",
    "port",
    "state",
    "reason",
    "mac",
    "vendor",
    "ttl",
    "rtt_us",
    "seen_vlan",
    "time",
];

/// Writes observations as rows.
pub struct CsvReport<W: Write> {
    out: ::csv::Writer<W>,
    begun: bool,
}

impl<W: Write> CsvReport<W> {
    /// A report that writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self {
            out: ::csv::Writer::from_writer(writer),
            begun: false,
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        if !self.begun {
            self.begun = true;
            self.out.write_record(COLUMNS)?;
        }
        Ok(())
    }
}

impl<W: Write + Send> Report for CsvReport<W> {
    fn observation(&mut self, observation: &Observation) -> io::Result<()> {
        self.begin()?;
        let row: [String; COLUMNS.len()] = match observation {
            Observation::Host(host) => [
                "host".to_owned(),
                text(&host.vlan),
                host.ip.to_string(),
                String::new(),
                String::new(),
                text(&host.state),
                text(&host.reason),
                text(&host.mac),
                text(&host.vendor),
                text(&host.ttl),
                text(&host.rtt_us),
                String::new(),
                time(host.time),
            ],
            Observation::Port(port) => [
                "port".to_owned(),
                text(&port.vlan),
                port.ip.to_string(),
                text(&port.proto),
                port.port.to_string(),
                text(&port.state),
                text(&port.reason),
                String::new(),
                String::new(),
                text(&port.ttl),
                text(&port.rtt_us),
                String::new(),
                time(port.time),
            ],
            Observation::Leak(leak) => [
                "leak".to_owned(),
                text(&leak.vlan),
                leak.ip.to_string(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
                leak.mac.to_string(),
                String::new(),
                String::new(),
                String::new(),
                text(&leak.seen_vlan),
                time(leak.time),
            ],
            Observation::Scan(_)
            | Observation::Progress(_)
            | Observation::Checkpoint(_)
            | Observation::Error(_)
            | Observation::Summary(_) => return Ok(()),
        };
        self.out.write_record(row)?;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn finish(&mut self) -> io::Result<()> {
        self.begin()?;
        self.out.flush()
    }
}

/// A value as the word its JSON form has, without quotes; absent is empty.
pub(super) fn text<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(serde_json::Value::Null) | Err(_) => String::new(),
        Ok(other) => other.to_string(),
    }
}

fn time(time: time::OffsetDateTime) -> String {
    time.format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Format, samples};

    #[test]
    fn one_row_a_finding() {
        let text = samples::converted(Format::Csv);
        let rows: Vec<_> = text.lines().collect();
        assert_eq!(rows.len(), 1 + 8);
        assert_eq!(
            rows[1],
            "host,200,10.1.0.9,,,up,arp-reply,02:00:00:00:00:09,,,210,,2026-09-21T14:13:21Z"
        );
        assert_eq!(
            rows[2],
            "port,200,10.1.0.9,tcp,443,open,syn-ack,,,64,1230,,2026-09-21T14:13:22Z"
        );
        assert_eq!(
            rows[7],
            "port,,2001:db8::9,tcp,22,open,syn-ack,,,64,1230,,2026-09-21T14:13:22Z"
        );
        assert_eq!(
            rows[8],
            "leak,100,10.1.0.9,,,,,02:00:00:00:00:09,,,,200,2026-09-21T14:13:23Z"
        );
    }

    #[test]
    fn an_empty_result_still_has_its_columns() {
        let mut out = Vec::new();
        super::super::convert(&b""[..], Format::Csv, &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap().trim(),
            super::COLUMNS.join(",")
        );
    }
}
