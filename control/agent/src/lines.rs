//! Sorts a worker's lines: what is a result, what is said twice after a resume, what is only news.

use std::collections::HashSet;
use std::net::IpAddr;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use sonde_core::checkpoint::Checkpoint;
use sonde_core::observation::{Observation, Progress, ScanHeader, Summary, WorkerError};

use time::OffsetDateTime;

use crate::spool::entry::Kind;
use crate::spool::{ReadError, Stream};

/// What a line is.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The first line: spool it. Its seed is the attempt's from now on.
    Header(Box<ScanHeader>),
    /// A result: spool it as it is.
    Result,
    /// A result that is spooled already.
    Repeated,
    /// Spool it as a checkpoint.
    Checkpoint,
    /// Where the scan is.
    Progress(Progress),
    /// The end, as the worker sees it.
    Summary(Summary),
    /// The end, without a summary.
    Error(WorkerError),
}

/// Why a line is none of these: the worker is broken.
#[derive(Debug, thiserror::Error)]
#[error("the worker wrote a line that is no observation")]
pub struct LineError(#[source] serde_json::Error);

/// Sorts the lines of one attempt, over as many workers as it takes.
#[derive(Debug, Default)]
pub struct Sorter {
    /// Digests of the results spooled by earlier workers: 16 bytes a result, and only after a resume.
    spooled: HashSet<[u8; 16]>,
    /// The first line spooled.
    header: Option<Box<ScanHeader>>,
    /// The last checkpoint spooled.
    checkpoint: Option<Checkpoint>,
    summary: bool,
    /// When the first worker began, if this is not the first.
    began: Option<OffsetDateTime>,
    hosts_up: u64,
    open: u64,
    progress: Progress,
}

/// As much of a line as tells what it is.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    vlan: Option<u16>,
    seen_vlan: Option<u16>,
    ip: Option<IpAddr>,
    #[serde(borrow)]
    proto: Option<&'a str>,
    port: Option<u16>,
    #[serde(borrow)]
    state: Option<&'a str>,
}

impl Head<'_> {
    /// What must not be said twice: kind, VLANs, address, protocol and port, whatever the state.
    fn digest(&self) -> [u8; 16] {
        let key = (
            self.kind,
            self.vlan,
            self.seen_vlan,
            self.ip,
            self.proto,
            self.port,
        );
        let full: [u8; 32] = Sha256::digest(format!("{key:?}")).into();
        let mut half = [0; 16];
        half.copy_from_slice(&full[..16]);
        half
    }

    fn count(&self, sorter: &mut Sorter) {
        sorter.hosts_up += u64::from(self.kind == "host");
        sorter.open += u64::from(self.kind == "port" && self.state == Some("open"));
    }
}

impl Sorter {
    /// From what is spooled, for a worker that goes on.
    ///
    /// # Errors
    /// [`ReadError`]: the disk has lost something.
    pub fn from_spool(stream: &Stream) -> Result<Self, ReadError> {
        let mut sorter = Self::default();
        stream.reader(0).visit(|kind, payload| {
            // Whatever does not parse was written by another version: it stands, and is not compared.
            if kind == Kind::Checkpoint {
                if let Ok(Observation::Checkpoint(checkpoint)) = serde_json::from_slice(payload) {
                    sorter.checkpoint = Some(checkpoint);
                }
                return;
            }
            let Ok(head) = serde_json::from_slice::<Head<'_>>(payload) else {
                return;
            };
            match head.kind {
                "scan" => {
                    if let Ok(Observation::Scan(header)) = serde_json::from_slice(payload) {
                        sorter.began = Some(header.started);
                        sorter.header = Some(Box::new(header));
                    }
                }
                "summary" => sorter.summary = true,
                _ => {
                    sorter.spooled.insert(head.digest());
                    head.count(&mut sorter);
                }
            }
        })?;
        Ok(sorter)
    }

    /// Says what a line (without its line feed) is, and remembers it as spooled.
    ///
    /// # Errors
    /// [`LineError`].
    pub fn sort(&mut self, line: &[u8]) -> Result<Line, LineError> {
        let head: Head<'_> = serde_json::from_slice(line).map_err(LineError)?;
        if !matches!(
            head.kind,
            "scan" | "progress" | "checkpoint" | "summary" | "error"
        ) {
            if !self.spooled.is_empty() && self.spooled.contains(&head.digest()) {
                return Ok(Line::Repeated);
            }
            head.count(self);
            return Ok(Line::Result);
        }
        Ok(match serde_json::from_slice(line).map_err(LineError)? {
            Observation::Scan(_) if self.header.is_some() => Line::Repeated,
            Observation::Scan(header) => {
                self.header = Some(Box::new(header.clone()));
                Line::Header(Box::new(header))
            }
            Observation::Progress(progress) => {
                self.progress = progress.clone();
                Line::Progress(progress)
            }
            Observation::Checkpoint(checkpoint) => {
                self.checkpoint = Some(checkpoint);
                Line::Checkpoint
            }
            Observation::Summary(summary) => Line::Summary(summary),
            Observation::Error(error) => Line::Error(error),
            Observation::Host(_) | Observation::Port(_) | Observation::Leak(_) => Line::Result,
        })
    }

    /// The summary to spool for the worker's own. Hosts and open ports are what is spooled, and after a resume
    /// the time is that since the first worker began, by the wall clock: so they are right whatever number of
    /// workers it took. The rest is the last worker's word, which counts on across a resume.
    pub fn summary(&self, last: Summary, now: OffsetDateTime) -> Summary {
        let since = self
            .began
            .map_or(0, |began| (now - began).whole_milliseconds());
        let duration_ms = last.duration_ms.max(u64::try_from(since).unwrap_or(0));
        Summary {
            hosts_up: self.hosts_up,
            open: self.open,
            duration_ms,
            ..last
        }
    }

    /// A summary for a scan whose worker left none.
    pub fn summary_of_a_part(&self, now: OffsetDateTime) -> Summary {
        let Progress { sent, received, .. } = self.progress;
        self.summary(
            Summary {
                sent,
                received,
                ..Summary::default()
            },
            now,
        )
    }

    /// The first line, if it is spooled.
    pub fn header(&self) -> Option<&ScanHeader> {
        self.header.as_deref()
    }

    /// Where to go on.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// The last line is spooled.
    pub fn has_summary(&self) -> bool {
        self.summary
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::{Key, Spool, disk};

    const HEADER: &str = r#"{"type":"scan","version":1,"id":"x","started":"2026-01-01T00:00:00Z","request":{"seed":7}}"#;
    const HOST: &str = r#"{"type":"host","vlan":100,"ip":"10.1.0.9","state":"up","reason":"arp-reply","mac":"02:00:00:00:00:09","rtt_us":210,"time":"2026-01-01T00:00:00Z"}"#;
    const CHECKPOINT: &str =
        r#"{"type":"checkpoint","version":1,"plan":5,"seed":7,"state":"AA=="}"#;

    fn port(vlan: &str, state: &str) -> String {
        format!(
            r#"{{"type":"port","vlan":{vlan},"ip":"10.1.0.9","proto":"tcp","port":80,"state":"{state}","reason":"syn-ack","time":"2026-01-01T00:00:00Z"}}"#
        )
    }

    #[test]
    fn lines_are_told_apart() {
        let mut sorter = Sorter::default();
        assert!(matches!(
            sorter.sort(HEADER.as_bytes()).unwrap(),
            Line::Header(_)
        ));
        assert_eq!(sorter.header().unwrap().request.seed, Some(7));
        assert_eq!(sorter.sort(HOST.as_bytes()).unwrap(), Line::Result);
        assert_eq!(
            sorter
                .sort(br#"{"type":"service","vlan":null,"ip":"::1","name":"http"}"#)
                .unwrap(),
            Line::Result
        );
        assert_eq!(
            sorter.sort(CHECKPOINT.as_bytes()).unwrap(),
            Line::Checkpoint
        );
        assert_eq!(sorter.checkpoint().unwrap().plan, 5);
        let error = br#"{"type":"error","message":"no","refused":true}"#;
        assert!(matches!(sorter.sort(error).unwrap(), Line::Error(e) if e.refused));
        for bad in [
            "",
            "{",
            "[]",
            "{\"a\":1}",
            r#"{"type":"progress"}"#,
            "\u{fffd}",
        ] {
            assert!(sorter.sort(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn after_a_resume_nothing_is_said_twice() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), 1 << 30, || disk::best().0).unwrap();
        let key = Key {
            job: sonde_protocol::ids::JobId::generate(),
            attempt: 1,
        };
        let stream = spool.stream(key).unwrap();
        for line in [HEADER, HOST, &port("100", "open"), &port("null", "closed")] {
            stream.append(Kind::Record, line.as_bytes(), false).unwrap();
        }
        stream
            .append(Kind::Checkpoint, CHECKPOINT.as_bytes(), false)
            .unwrap();
        stream.sync().unwrap();
        let mut sorter = Sorter::from_spool(&stream).unwrap();
        assert_eq!(sorter.checkpoint().unwrap().seed, 7);
        assert!(!sorter.has_summary());
        assert_eq!(sorter.sort(HEADER.as_bytes()).unwrap(), Line::Repeated);
        assert_eq!(sorter.sort(HOST.as_bytes()).unwrap(), Line::Repeated);
        let again = port("100", "open").replace("00:00:00Z", "00:00:05Z");
        assert_eq!(sorter.sort(again.as_bytes()).unwrap(), Line::Repeated);
        assert_eq!(
            sorter.sort(port("200", "open").as_bytes()).unwrap(),
            Line::Result
        );
        let now = OffsetDateTime::from_unix_timestamp(1_767_225_600 + 90).unwrap();
        let last = Summary {
            sent: 9,
            open: 1,
            duration_ms: 7,
            ..Summary::default()
        };
        let summary = sorter.summary(last, now);
        assert_eq!((summary.sent, summary.open, summary.hosts_up), (9, 2, 1));
        assert_eq!(summary.duration_ms, 90_000, "since the first worker began");
    }
}
