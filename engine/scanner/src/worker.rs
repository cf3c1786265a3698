//! The engine worker: one request as a line of JSON, the result as lines of JSON.
//!
//! It is the same code as `sonde scan`. What it is not told over its input it reads itself: the local policy,
//! so that no request can widen it. The end of its input cancels the scan; results found so far, a checkpoint
//! and a summary with `complete: false` still come. Checkpoints come more than once a second, each after the observations
//! it covers. A worker that can't, or can't go on, says so in a last line of type `error`.

use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sonde_core::observation::{Observation, WorkerError};
use sonde_core::policy::Policy;
use sonde_core::request::ScanRequest;

use crate::report::LineWriter;
use crate::scan::{End, Options, Scan, ScanError};
use crate::sink::LineSink;
use crate::stop::Stop;

/// Longest request read: a million targets by name fit.
const REQUEST_MAX: u64 = 64 << 20;

/// Why a worker did not do its scan.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The policy can't be read: nothing is scanned without it.
    #[error("the local policy in {} can't be read", path.display())]
    Policy {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The policy is none.
    #[error("the local policy in {} is none: {reason}", path.display())]
    PolicyForm {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// There is no request.
    #[error("the request can't be read from stdin")]
    Read(#[source] io::Error),
    /// The line is no request.
    #[error("the first line of stdin is no scan request")]
    Request(#[source] serde_json::Error),
    /// Signals or threads.
    #[error("the machine gives no signals or threads to work with")]
    Start(#[source] io::Error),
    /// The scan.
    #[error(transparent)]
    Scan(#[from] ScanError),
}

impl WorkError {
    /// True when asking again would end the same.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Request(_) => true,
            Self::Scan(error) => error.is_refusal(),
            Self::Policy { .. } | Self::PolicyForm { .. } | Self::Read(_) | Self::Start(_) => false,
        }
    }
}

/// The table of the appliance's configuration that is the worker's; the others belong to others.
#[derive(Deserialize)]
struct PolicyFile {
    #[serde(default)]
    policy: Policy,
}

/// Reads `[policy]` from the appliance's configuration file.
///
/// # Errors
/// When the file is not there, is no TOML, or its policy has unknown keys.
pub fn read_policy(path: &Path) -> Result<Policy, WorkError> {
    let text = std::fs::read_to_string(path).map_err(|source| WorkError::Policy {
        path: path.to_path_buf(),
        source,
    })?;
    let file: PolicyFile = toml::from_str(&text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        let reason = format!("line {line}, {}", error.message().replace('\n', ", "));
        WorkError::PolicyForm {
            path: path.to_path_buf(),
            reason,
        }
    })?;
    Ok(file.policy)
}

/// Does one scan: request from `input`, lines to what `output` opens.
///
/// # Errors
/// What also stands in the last line of the output.
pub fn work<W: Write + Send + 'static>(
    config: Option<&Path>,
    mut input: impl BufRead + Send + 'static,
    output: impl Fn() -> W,
) -> Result<End, WorkError> {
    let outcome = prepare(config, &mut input).and_then(|scan| {
        let stop = Stop::on_signals().map_err(WorkError::Start)?;
        cancel_at_end(input, stop.clone())?;
        let sink = Box::new(LineSink::new(output()));
        Ok(scan.run(sink, &stop, Options { checkpoints: true })?.end)
    });
    if let Err(error) = &outcome {
        last_line(error, error.is_refusal(), output());
    }
    outcome
}

/// Says in a last line why there is no scan, though another worker might do it.
pub fn tell(error: &dyn std::error::Error, output: impl Write) {
    last_line(error, false, output);
}

fn last_line(error: &dyn std::error::Error, refused: bool, mut output: impl Write) {
    let message = chain(error);
    let line = Observation::Error(WorkerError { message, refused });
    // Whoever would have read it may be gone: then nobody is left to be told.
    let _ = LineWriter::default()
        .write(&mut output, &line)
        .and_then(|()| output.flush());
}

fn prepare(config: Option<&Path>, input: &mut impl BufRead) -> Result<Scan, WorkError> {
    // First of all: without a policy that can be read nothing is done.
    let policy = config.map(read_policy).transpose()?.unwrap_or_default();
    let mut line = Vec::new();
    input
        .take(REQUEST_MAX)
        .read_until(b'\n', &mut line)
        .map_err(WorkError::Read)?;
    let request: ScanRequest = serde_json::from_slice(&line).map_err(WorkError::Request)?;
    Ok(Scan::prepare(&request, &policy)?)
}

/// Asks to stop when the input ends; what comes before its end says nothing.
fn cancel_at_end(mut input: impl BufRead + Send + 'static, stop: Stop) -> Result<(), WorkError> {
    let wait = move || {
        // A broken input is an ended one.
        let _ = io::copy(&mut input, &mut io::sink());
        stop.ask();
    };
    let thread = std::thread::Builder::new()
        .name("cancel".to_owned())
        .spawn(wait);
    thread.map(drop).map_err(WorkError::Start)
}

/// An error and its causes in one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::sink::lines::Lines;

    /// An input that ends only when the other end is dropped.
    fn held_open(line: &str) -> (impl BufRead + Send + 'static, impl Drop) {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(line.as_bytes()).unwrap();
        (
            io::BufReader::new(reader),
            std::os::fd::OwnedFd::from(writer),
        )
    }

    #[test]
    fn the_policy_is_one_table_of_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("appliance.toml");
        let text = "[system]\nmanage = false\n[policy]\nnever_scan = [\"10.0.0.1\"]\n";
        std::fs::write(&path, text).unwrap();
        assert_eq!(read_policy(&path).unwrap().never_scan, ["10.0.0.1"]);
        std::fs::write(&path, "[system]\nmanage = false\n").unwrap();
        assert_eq!(read_policy(&path).unwrap(), Policy::default());
        std::fs::write(&path, "\n[policy]\nnever_skan = []\n").unwrap();
        let error = read_policy(&path).unwrap_err();
        assert!(
            matches!(&error, WorkError::PolicyForm { reason, .. } if reason.contains("line 3") && reason.contains("never_skan")),
            "{error}"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(read_policy(&path), Err(WorkError::Policy { .. })));
    }

    #[test]
    fn what_is_no_request_is_refused_in_a_line_of_its_own() {
        let lines = Lines::default();
        let (input, _open) = held_open("{\"targets\":[],\"nonsense\":1}\n");
        let error = work(None, input, || lines.clone()).unwrap_err();
        assert!(matches!(error, WorkError::Request(_)));
        let read = lines.read();
        let [Observation::Error(line)] = &read[..] else {
            panic!("{read:?}")
        };
        assert!(
            line.refused && line.message.contains("nonsense"),
            "{line:?}"
        );
    }

    #[test]
    fn without_a_readable_policy_nothing_is_scanned() {
        let lines = Lines::default();
        let (input, _open) = held_open("{\"targets\":[\"127.0.0.1\"],\"link\":\"connect\"}\n");
        let error = work(Some(Path::new("/nowhere/a.toml")), input, || lines.clone()).unwrap_err();
        assert!(matches!(error, WorkError::Policy { .. }));
        assert!(matches!(&lines.read()[..], [Observation::Error(line)] if !line.refused));
    }

    #[test]
    fn a_request_on_stdin_is_a_result_on_stdout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let lines = Lines::default();
        let request = format!(
            "{{\"targets\":[\"127.0.0.1\"],\"ports\":\"{port}\",\"link\":\"connect\",\"discovery\":\"none\"}}\n"
        );
        let (input, _open) = held_open(&request);
        let end = work(None, input, || lines.clone()).unwrap();
        assert_eq!(end, End::Complete);
        let read = lines.read();
        assert!(
            matches!(read.first(), Some(Observation::Scan(_))),
            "{read:?}"
        );
        let open = read
            .iter()
            .filter(|o| matches!(o, Observation::Port(p) if p.port == port));
        assert_eq!(open.count(), 1, "{read:?}");
        assert!(
            matches!(read.last(), Some(Observation::Summary(s)) if s.complete),
            "{read:?}"
        );
    }

    #[test]
    fn the_end_of_stdin_cancels_and_partial_results_come() {
        let lines = Lines::default();
        // Two hours at one packet a second.
        let request = "{\"targets\":[\"127.0.0.0/20\"],\"ports\":\"1,2\",\"link\":\"connect\",\
                       \"discovery\":\"none\",\"rate_pps\":1}\n";
        let (input, open) = held_open(request);
        drop(open);
        let end = work(None, input, || lines.clone()).unwrap();
        assert_eq!(end, End::Stopped);
        let read = lines.read();
        let [
            ..,
            Observation::Checkpoint(_),
            Observation::Summary(summary),
        ] = &read[..]
        else {
            panic!("{read:?}")
        };
        assert!(!summary.complete);
    }
}
