//! One engine worker from asking for it to its end: a thread that reads its lines into the spool.
//!
//! The worker is whatever answers on the supervisor's socket: one line of request goes there, lines of
//! observations come back, half-closing cancels. Not reading is how the scan is slowed down: the spool
//! makes this thread wait, the socket's buffers fill, the worker waits in its write.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sonde_core::observation::{Observation, Progress};
use sonde_core::request::ScanRequest;
use time::OffsetDateTime;

use crate::lines::{Line, Sorter};
use crate::machines::job::WorkerEnd;
use crate::spool::entry::{Kind, PAYLOAD_MAX_BYTES};
use crate::spool::{ReadError, SpoolError, Stream};

/// Longest line read: the header repeats a request, which may name a million targets.
const LINE_MAX_BYTES: u64 = 64 << 20;
/// A worker says something every second; one silent for so long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// A worker that was asked to end has so long.
const STOP_MAX: Duration = Duration::from_secs(30);

/// What a worker's thread tells.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// It scans.
    Started,
    /// A checkpoint is spooled.
    Checkpoint,
    /// Where it is.
    Progress(Progress),
    /// It is gone; the last news.
    Ended(WorkerEnd),
}

/// Stops a worker from another thread. Clones stop the same worker.
#[derive(Clone, Default)]
pub struct Stopper {
    asked: Arc<AtomicU8>,
    socket: Arc<Mutex<Option<UnixStream>>>,
    /// Where its results go: the thread that reads them may wait there for room.
    stream: Arc<Mutex<Option<Stream>>>,
}

const RUNNING: u8 = 0;
const PAUSING: u8 = 1;
const STOPPING: u8 = 2;

impl Stopper {
    /// Asks the worker to end. `pausing`: the summary of the part it did is not kept.
    pub fn stop(&self, pausing: bool) {
        self.asked
            .store(if pausing { PAUSING } else { STOPPING }, Ordering::SeqCst);
        self.half_close();
        let stream = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = stream.as_ref() {
            stream.wake();
        }
    }

    fn half_close(&self) {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(socket) = socket.as_ref() {
            // Already gone is as good.
            let _gone = socket.shutdown(Shutdown::Write);
            let _unset = socket.set_read_timeout(Some(STOP_MAX));
        }
    }

    fn asked(&self) -> u8 {
        self.asked.load(Ordering::SeqCst)
    }
}

/// What a worker is to do, and where its results go.
pub struct Run {
    /// Where workers are had.
    pub socket: PathBuf,
    /// The job's request; a checkpoint from the spool is put into it.
    pub request: ScanRequest,
    /// Where results go.
    pub stream: Stream,
    /// Stops it.
    pub stopper: Stopper,
}

/// Why a worker can't be had, or was lost.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("no engine worker answers on {}: is `sonde appliance` running?", .path.display())]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the worker's connection broke")]
    Broken(#[source] io::Error),
    #[error("the worker ended without a summary")]
    Gone,
    #[error("the worker wrote a line longer than {LINE_MAX_BYTES} bytes")]
    Endless,
    #[error(transparent)]
    Line(#[from] crate::lines::LineError),
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{0}")]
    Said(String),
}

/// Runs a worker to its end, on this thread; the last of the news is [`News::Ended`].
pub fn run(run: Run, tell: impl Fn(News)) {
    let end = follow(run, &tell).unwrap_or_else(|error| WorkerEnd::Died(chain(&error)));
    tell(News::Ended(end));
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn follow(run: Run, tell: &impl Fn(News)) -> Result<WorkerEnd, RunError> {
    let Run {
        socket: path,
        mut request,
        stream,
        stopper,
    } = run;
    stream.sync()?;
    let mut sorter = Sorter::from_spool(&stream)?;
    if sorter.has_summary() {
        return Ok(WorkerEnd::Finished);
    }
    if let Some(header) = sorter.header() {
        request.seed = header.request.seed;
    }
    request.resume = sorter.checkpoint().cloned();
    let time_limit = request
        .max_time_s
        .map(|limit| time_left(limit, &sorter, OffsetDateTime::now_utc()));
    if time_limit == Some(Duration::ZERO) && sorter.header().is_some() {
        // As a worker ends at its limit.
        append_summary(&stream, sorter.summary_of_a_part(OffsetDateTime::now_utc()))?;
        stream.sync()?;
        return Ok(WorkerEnd::Finished);
    }
    // The request counts whole seconds.
    request.max_time_s = time_limit.map(|left| left.as_secs_f64().ceil() as u64);
    let time_limit = request.max_time_s.map(Duration::from_secs);
    *stopper
        .stream
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(stream.clone());
    let socket = connect(&path, &request, &stopper)?;
    tell(News::Started);
    let started = Instant::now();
    let mut reader = BufReader::with_capacity(1 << 16, socket);
    let mut line = Vec::new();
    while read_line(&mut reader, &mut line)? {
        let ending = || stopper.asked() != RUNNING;
        match sorter.sort(&line)? {
            Line::Header(header) => {
                stream.append_unless(Kind::Record, &fitted(&line, *header), ending)?;
            }
            Line::Result => {
                stream.append_unless(Kind::Record, &line, ending)?;
            }
            Line::Repeated => {}
            Line::Checkpoint => {
                stream.append_unless(Kind::Checkpoint, &line, ending)?;
                tell(News::Checkpoint);
            }
            Line::Progress(progress) => tell(News::Progress(progress)),
            Line::Error(error) if error.refused => return Ok(WorkerEnd::Refused(error.message)),
            Line::Error(error) => return Err(RunError::Said(error.message)),
            Line::Summary(summary) => {
                let limit = time_limit.is_some_and(|limit| started.elapsed() >= limit);
                let end = match stopper.asked() {
                    _ if summary.complete || limit => WorkerEnd::Finished,
                    RUNNING => return Err(RunError::Gone),
                    PAUSING => return Ok(WorkerEnd::Stopped),
                    _ => WorkerEnd::Stopped,
                };
                // The last line is the end, whether or not the worker goes: hanging up ends it.
                append_summary(&stream, sorter.summary(summary, OffsetDateTime::now_utc()))?;
                stream.sync()?;
                return Ok(end);
            }
        }
    }
    Err(RunError::Gone)
}

/// What is left of `limit` seconds since the first worker began, by the wall clock; all of it if that is yet to
/// come, or if the clock was set back behind its beginning.
fn time_left(limit: u64, sorter: &Sorter, now: OffsetDateTime) -> Duration {
    let since = sorter.header().map_or(Duration::ZERO, |header| {
        (now - header.started).try_into().unwrap_or(Duration::ZERO)
    });
    Duration::from_secs(limit).saturating_sub(since)
}

/// Why a spool can't be completed.
#[derive(Debug, thiserror::Error)]
pub enum ConcludeError {
    /// The spool takes nothing more, or the disk does not answer: ask again.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// What is spooled can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Completes a spool whose worker left no summary, and counts its records. Call it when no worker runs. A
/// spool without a header stays empty: nothing was begun.
///
/// # Errors
/// [`ConcludeError`].
pub fn conclude(stream: &Stream) -> Result<u64, ConcludeError> {
    stream.sync()?;
    let sorter = Sorter::from_spool(stream)?;
    if sorter.header().is_some() && !sorter.has_summary() {
        append_summary(stream, sorter.summary_of_a_part(OffsetDateTime::now_utc()))?;
        stream.sync()?;
    }
    Ok(stream.next())
}

fn append_summary(
    stream: &Stream,
    summary: sonde_core::observation::Summary,
) -> Result<(), SpoolError> {
    let line = serde_json::to_vec(&Observation::Summary(summary)).unwrap_or_default();
    stream.append(Kind::Record, &line, true).map(drop)
}

fn connect(path: &Path, request: &ScanRequest, stopper: &Stopper) -> Result<UnixStream, RunError> {
    let failed = |source| RunError::Connect {
        path: path.to_owned(),
        source,
    };
    let socket = UnixStream::connect(path).map_err(failed)?;
    socket.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
    let mut line = serde_json::to_vec(request).map_err(|error| failed(error.into()))?;
    line.push(b'\n');
    (&socket).write_all(&line).map_err(RunError::Broken)?;
    let theirs = socket.try_clone().map_err(failed)?;
    *stopper
        .socket
        .lock()
        .unwrap_or_else(PoisonError::into_inner) = Some(theirs);
    if stopper.asked() != RUNNING {
        stopper.half_close();
    }
    Ok(socket)
}

/// Reads a line into `line`, without its line feed; false at the end. What comes before the end
/// without a line feed was cut off, and is nothing.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> Result<bool, RunError> {
    line.clear();
    let mut limited = reader.take(LINE_MAX_BYTES);
    match limited.read_until(b'\n', line) {
        // A worker that is killed with input unread resets its socket: that is an end, too.
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(false),
        outcome => outcome.map_err(RunError::Broken)?,
    };
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(true);
    }
    if line.len() as u64 >= LINE_MAX_BYTES {
        Err(RunError::Endless)
    } else {
        Ok(false)
    }
}

/// The header as it can be uploaded: one that repeats more targets than fit into an upload goes
/// without them. The cloud has the request.
fn fitted(line: &[u8], mut header: sonde_core::observation::ScanHeader) -> Vec<u8> {
    if line.len() <= PAYLOAD_MAX_BYTES {
        return line.to_vec();
    }
    header.request.targets.clear();
    header.request.exclude.clear();
    serde_json::to_vec(&Observation::Scan(header)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
