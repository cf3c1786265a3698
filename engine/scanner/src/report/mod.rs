//! Observations as files: JSON lines, CSV, nmap XML, a table for people; frames as pcapng.
//!
//! Every report is fed the same stream, in order: a `scan` header, findings, a `summary`. A stream that was
//! cut anywhere still gives a well-formed file. JSON lines and CSV write as they go; nmap XML and the table
//! are grouped by host and sorted, so they hold what was found (never what was asked) until the end.

mod csv;
mod grouped;
mod jsonl;
mod line;
mod nmap_xml;
pub mod pcapng;
mod table;

use std::io::{self, BufRead, Write};
use std::path::Path;

use sonde_core::observation::Observation;

pub use self::csv::CsvReport;
pub use self::jsonl::JsonlReport;
pub(crate) use self::line::LineWriter;
pub use self::nmap_xml::NmapXmlReport;
pub use self::table::TableReport;

/// Something that takes a scan's observations and writes a file of them.
pub trait Report: Send {
    /// Takes the next line of the result. What is not a result (progress, checkpoints) is passed over.
    ///
    /// # Errors
    /// When it can't be written.
    fn observation(&mut self, observation: &Observation) -> io::Result<()>;

    /// Hands everything written so far to the operating system.
    ///
    /// # Errors
    /// When it can't be written.
    fn flush(&mut self) -> io::Result<()>;

    /// Ends the file; nothing comes after it.
    ///
    /// # Errors
    /// When it can't be written.
    fn finish(&mut self) -> io::Result<()>;
}

/// The form of a file of observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values, one row a host, port or leak.
    Csv,
    /// What nmap's `-oX` writes, as far as python-libnmap and Metasploit read it.
    NmapXml,
    /// For people.
    Table,
}

impl Format {
    /// The format that a path's ending names: `.jsonl`, `.csv`, `.xml`.
    pub fn of_path(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "jsonl" => Some(Self::Jsonl),
            "csv" => Some(Self::Csv),
            "xml" => Some(Self::NmapXml),
            _ => None,
        }
    }

    /// A report in this format. The table comes without colour.
    pub fn report<'w>(self, writer: impl Write + Send + 'w) -> Box<dyn Report + 'w> {
        match self {
            Self::Jsonl => Box::new(JsonlReport::new(writer)),
            Self::Csv => Box::new(CsvReport::new(writer)),
            Self::NmapXml => Box::new(NmapXmlReport::new(writer)),
            Self::Table => Box::new(TableReport::new(writer, false)),
        }
    }
}

/// Why a stored stream was not converted.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// The stream could not be read.
    #[error("the observations could not be read")]
    Read(#[source] io::Error),
    /// A line is no observation.
    #[error("line {line} is no observation")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The report could not be written.
    #[error("the report could not be written")]
    Write(#[source] io::Error),
}

/// Reads JSON lines from `reader` and writes them to `writer` in another format. Empty lines are passed
/// over.
///
/// # Errors
/// At the first line that is no observation; what came before it is written.
pub fn convert(
    reader: impl BufRead,
    format: Format,
    writer: impl Write + Send,
) -> Result<(), ConvertError> {
    let mut report = format.report(writer);
    let mut outcome = Ok(());
    for (index, line) in reader.lines().enumerate() {
        let line = line.map_err(ConvertError::Read)?;
        if line.is_empty() {
            continue;
        }
        match serde_json::from_str(&line) {
            Ok(observation) => report
                .observation(&observation)
                .map_err(ConvertError::Write)?,
            Err(source) => {
                outcome = Err(ConvertError::Line {
                    line: index as u64 + 1,
                    source,
                });
                break;
            }
        }
    }
    report.finish().map_err(ConvertError::Write)?;
    outcome
}

#[cfg(test)]
pub(crate) mod samples {
    //! A small result that every report is tested with.

    use std::net::IpAddr;

    use sonde_core::observation::{
        HostObservation, HostReason, HostState, LeakObservation, Observation, PortObservation,
        PortReason, Progress, Proto, ScanHeader, Summary,
    };
    use sonde_core::request::{PortState, ScanRequest};
    use sonde_core::trunk::{TrunkConfig, VlanConfig};
    use sonde_wire::{MacAddr, VlanId};
    use time::OffsetDateTime;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_790_000_000 + second).unwrap()
    }

    pub(crate) fn host(vlan: Option<u16>, ip: &str) -> Observation {
        Observation::Host(HostObservation {
            vlan: vlan.and_then(VlanId::new),
            ip: ip.parse().unwrap(),
            state: HostState::Up,
            reason: HostReason::ArpReply,
            mac: Some(MacAddr([2, 0, 0, 0, 0, 9])),
            vendor: None,
            rtt_us: Some(210),
            ttl: None,
            time: at(1),
        })
    }

    pub(crate) fn port(vlan: Option<u16>, ip: &str, proto: Proto, port: u16) -> Observation {
        Observation::Port(PortObservation {
            vlan: vlan.and_then(VlanId::new),
            ip: ip.parse().unwrap(),
            proto,
            port,
            state: PortState::Open,
            reason: if proto == Proto::Tcp {
                PortReason::SynAck
            } else {
                PortReason::UdpReply
            },
            ttl: Some(64),
            rtt_us: Some(1_230),
            time: at(2),
        })
    }

    /// One address in two VLANs, an IPv6 host on the LAN found by a port alone, a leak; in no order.
    pub(crate) fn result() -> Vec<Observation> {
        let vlan = VlanConfig {
            id: VlanId::new(100).unwrap(),
            name: Some("servers".to_owned()),
            ipv4: Some("10.1.0.2/24".to_owned()),
            gateway: None,
            ipv6: None,
            gateway6: None,
        };
        let request = ScanRequest {
            targets: vec!["10.1.0.0/24".to_owned(), "<odd>".to_owned()],
            ports: "T:22,80,U:53".to_owned(),
            seed: Some(1),
            trunk: Some(TrunkConfig {
                vlan: vec![vlan],
                ..TrunkConfig::default()
            }),
            ..ScanRequest::default()
        };
        let header = ScanHeader {
            version: 1,
            id: "0198c0de-0000-7000-8000-000000000001".to_owned(),
            started: at(0),
            request: Box::new(request),
        };
        vec![
            Observation::Scan(header),
            host(Some(200), "10.1.0.9"),
            port(Some(200), "10.1.0.9", Proto::Tcp, 443),
            Observation::Progress(Progress::default()),
            host(Some(100), "10.1.0.9"),
            port(Some(100), "10.1.0.9", Proto::Tcp, 80),
            port(Some(100), "10.1.0.9", Proto::Tcp, 22),
            port(Some(100), "10.1.0.9", Proto::Udp, 53),
            port(None, "2001:db8::9", Proto::Tcp, 22),
            Observation::Leak(LeakObservation {
                vlan: VlanId::new(100),
                seen_vlan: VlanId::new(200),
                ip: IpAddr::from([10, 1, 0, 9]),
                mac: MacAddr([2, 0, 0, 0, 0, 9]),
                time: at(3),
            }),
            Observation::Summary(Summary {
                complete: true,
                sent: 65_536,
                received: 12,
                hosts_up: 3,
                open: 5,
                drops: [("bad-cookie".to_owned(), 3)].into(),
                passes: 2,
                unreachable: 0,
                duration_ms: 8_120,
            }),
        ]
    }

    /// What `report` makes of [`result`], through [`super::convert`].
    pub(crate) fn converted(format: super::Format) -> String {
        let lines: Vec<String> = result()
            .iter()
            .map(|line| serde_json::to_string(line).unwrap())
            .collect();
        let mut out = Vec::new();
        super::convert(lines.join("\n").as_bytes(), format, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_and_what_came_before_is_written() {
        let first = serde_json::to_string(&samples::host(None, "10.0.0.9")).unwrap();
        let mut out = Vec::new();
        let text = format!("{first}\n\nnonsense\n");
        let error = convert(text.as_bytes(), Format::Csv, &mut out).unwrap_err();
        assert!(matches!(error, ConvertError::Line { line: 3, .. }));
        assert!(String::from_utf8(out).unwrap().contains("10.0.0.9"));
    }

    #[test]
    fn endings_name_formats() {
        assert_eq!(Format::of_path(Path::new("a/b.jsonl")), Some(Format::Jsonl));
        assert_eq!(Format::of_path(Path::new("b.xml")), Some(Format::NmapXml));
        assert_eq!(Format::of_path(Path::new("b.txt")), None);
        assert_eq!(Format::of_path(Path::new("csv")), None);
    }
}
