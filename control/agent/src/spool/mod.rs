//! What was learnt, on this box's disk until the cloud has committed it.
//!
//! One folder an attempt, append-only segments in it ([`entry`] has the bytes):
//!
//! ```text
//! worker's lines -> Stream::append -> pending -> writer thread -> segment -> fdatasync -> durable
//!                                                                                   |
//!                                                  cloud <- upload <- Reader <------'
//! ```
//!
//! - A batch is at most [`BATCH_BYTES`] or [`BATCH_TIME`] old when it is written; one data sync a batch.
//!   Only what is durable is ever uploaded.
//! - A write or sync that fails is done again, whole, until it succeeds: producers wait, nothing is
//!   dropped. [`Health`] says what is wrong.
//! - At [`PAUSE_PERCENT`] of the budget [`Stream::append`] waits, so the worker's pipe fills and the scan
//!   pauses. What is left above is for the last lines of scans that end.
//! - Opening an attempt cuts a torn tail off. A folder goes only by [`Spool::remove`], which is
//!   called after the cloud's 200 to the commit.

pub mod disk;
pub mod entry;
mod reader;
mod recover;
mod writer;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sonde_protocol::ids::JobId;
use tokio::sync::watch;

use self::entry::{Entry, Kind};
pub use self::reader::{Batch, ReadError, Reader};

/// A batch is written when it holds this much,
pub const BATCH_BYTES: usize = 1 << 20;
/// or when its first entry is this old.
pub const BATCH_TIME: Duration = Duration::from_secs(1);
/// A segment that has grown to this is followed by a new one.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// Share of the budget at which producers pause.
pub const PAUSE_PERCENT: u64 = 80;
/// A producer this far ahead of the disk waits for it.
const PENDING_MAX_BYTES: usize = 4 << 20;

/// Names one attempt's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.job, self.attempt)
    }
}

/// How the spool is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes it may hold.
    pub budget: u64,
    /// A producer waits for room in the budget.
    pub paused: bool,
    /// The writer is gone: nothing becomes durable any more, start anew.
    pub ended: bool,
    /// What the disk answers now, if writing fails: text for people.
    pub error: Option<String>,
}

/// Why a stream takes nothing more.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// [`Stream::close`] was called, or the spool is gone.
    #[error("the spool of {0} is closed")]
    Closed(Key),
    /// The line is longer than an upload may be.
    #[error(
        "a record of {bytes} bytes is longer than the {} that fit into one upload",
        entry::PAYLOAD_MAX_BYTES
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// All attempts' streams and the thread that writes them.
pub struct Spool {
    shared: Arc<Shared>,
    root: PathBuf,
    writer: Option<JoinHandle<()>>,
}

/// One attempt's stream. Clones are the same stream.
#[derive(Clone)]
pub struct Stream {
    shared: Arc<Shared>,
    key: Key,
    dir: PathBuf,
    durable: watch::Receiver<u64>,
}

/// What producers, the writer and readers share.
struct Shared {
    state: Mutex<State>,
    /// Wakes the writer.
    work: Condvar,
    /// Wakes producers.
    room: Condvar,
    health: watch::Sender<Health>,
}

#[derive(Default)]
struct State {
    streams: HashMap<Key, StreamState>,
    stopping: bool,
    /// Producers waiting for the budget.
    waiting: usize,
}

struct StreamState {
    dir: PathBuf,
    /// Encoded entries not yet given to the writer.
    pending: Vec<u8>,
    /// When the first of them came.
    since: Option<Instant>,
    /// Write what there is now.
    flush: bool,
    /// Number of the next record appended.
    next: u64,
    /// All entries before the writer's batch are on disk; this counts entries, for `sync`.
    appended: u64,
    written: u64,
    durable: watch::Sender<u64>,
    segments: Vec<Segment>,
    /// Bytes in the last segment.
    tail: u64,
    closed: bool,
}

/// One file of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    index: u32,
    /// Number of the first record in it, or of the next if it has none.
    first: u64,
}

impl Segment {
    fn path(self, dir: &Path) -> PathBuf {
        dir.join(format!("{:06}.seg", self.index))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while holding it can't leave it half changed: every critical section is a few
        // assignments.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pressed(&self) -> bool {
        let health = self.health.borrow();
        health.bytes >= health.budget / 100 * PAUSE_PERCENT
    }
}

impl Spool {
    /// Opens the spool in `root`, which is made if it is not there, and starts its writer. `disk` is
    /// called on the writer's thread.
    ///
    /// # Errors
    /// If `root` can't be made or read, or no thread be started.
    pub fn open(
        root: &Path,
        budget: u64,
        disk: impl FnOnce() -> Box<dyn disk::Disk> + Send + 'static,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let health = Health {
            bytes: bytes_under(root)?,
            budget,
            ..Health::default()
        };
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            health: watch::Sender::new(health),
        });
        let theirs = shared.clone();
        let writer = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || {
                // However the writer ends, nobody may wait for it any more.
                let _ended = Ended(&theirs);
                writer::run(&theirs, disk().as_mut());
            })?;
        Ok(Self {
            shared,
            root: root.to_owned(),
            writer: Some(writer),
        })
    }

    /// Opens an attempt's stream, cutting off what a crash tore. Asked again, the same stream: one
    /// that was closed stays closed until it is removed.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn stream(&self, key: Key) -> io::Result<Stream> {
        let dir = self.root.join(key.to_string());
        let mut state = self.shared.lock();
        if let Some(open) = state.streams.get(&key) {
            let durable = open.durable.subscribe();
            return Ok(Stream {
                shared: self.shared.clone(),
                key,
                dir,
                durable,
            });
        }
        let recovered = recover::recover(&dir)?;
        self.shared.health.send_modify(|health| {
            health.bytes = health.bytes.saturating_sub(recovered.cut_bytes);
        });
        let (sender, durable) = watch::channel(recovered.next);
        state.streams.insert(
            key,
            StreamState {
                dir: dir.clone(),
                pending: Vec::new(),
                since: None,
                flush: false,
                next: recovered.next,
                appended: 0,
                written: 0,
                durable: sender,
                segments: recovered.segments,
                tail: recovered.tail,
                closed: false,
            },
        );
        Ok(Stream {
            shared: self.shared.clone(),
            key,
            dir,
            durable,
        })
    }

    /// Attempts that have a folder.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn keys(&self) -> io::Result<Vec<Key>> {
        let mut keys = Vec::new();
        for entry in std::fs::read_dir(&self.root)? {
            let name = entry?.file_name();
            let parsed = name.to_str().and_then(|name| name.rsplit_once('.'));
            if let Some((job, attempt)) = parsed
                && let (Ok(job), Ok(attempt)) = (job.parse(), attempt.parse())
            {
                keys.push(Key { job, attempt });
            }
        }
        Ok(keys)
    }

    /// Deletes an attempt's stream: the cloud has committed it, or does not want it any more.
    ///
    /// # Errors
    /// Those of the disk; nothing there is not one.
    pub fn remove(&self, key: Key) -> io::Result<()> {
        let dir = self.root.join(key.to_string());
        let mut state = self.shared.lock();
        if let Some(stream) = state.streams.get_mut(&key) {
            stream.closed = true;
        }
        state.streams.remove(&key);
        drop(state);
        let bytes = match bytes_under(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            bytes => bytes?,
        };
        std::fs::remove_dir_all(&dir)?;
        self.shared
            .health
            .send_modify(|health| health.bytes = health.bytes.saturating_sub(bytes));
        self.shared.room.notify_all();
        self.shared.work.notify_all();
        Ok(())
    }

    /// How it is, now and whenever that changes.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }
}

/// Frees whoever waits for the writer when it ends, by a panic too.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.lock().stopping = true;
        self.0.room.notify_all();
        self.0.health.send_modify(|health| health.ended = true);
    }
}

impl Drop for Spool {
    /// Writes what is pending, unless the disk refuses it, and ends the writer.
    fn drop(&mut self) {
        self.shared.lock().stopping = true;
        self.shared.work.notify_all();
        self.shared.room.notify_all();
        if let Some(writer) = self.writer.take() {
            let _ended = writer.join();
        }
    }
}

impl Stream {
    /// Appends one entry and tells the number of the next record. Waits while the disk is behind and,
    /// unless `ending`, while the spool is at its limit.
    ///
    /// # Errors
    /// [`SpoolError`]: nothing was appended.
    pub fn append(&self, kind: Kind, payload: &[u8], ending: bool) -> Result<u64, SpoolError> {
        self.append_unless(kind, payload, || ending)
    }

    /// As [`Self::append`], for who may come to be `ending` while this waits: whoever makes it so calls
    /// [`Self::wake`].
    ///
    /// # Errors
    /// [`SpoolError`]: nothing was appended.
    pub fn append_unless(
        &self,
        kind: Kind,
        payload: &[u8],
        ending: impl Fn() -> bool,
    ) -> Result<u64, SpoolError> {
        if payload.len() > entry::PAYLOAD_MAX_BYTES {
            return Err(SpoolError::TooLong {
                bytes: payload.len(),
            });
        }
        let mut state = self.shared.lock();
        loop {
            let pressed = !ending() && self.shared.pressed();
            let stopping = state.stopping;
            let stream = state
                .streams
                .get_mut(&self.key)
                .filter(|s| !s.closed && !stopping);
            let stream = stream.ok_or(SpoolError::Closed(self.key))?;
            if !pressed && stream.pending.len() < PENDING_MAX_BYTES {
                entry::encode(
                    &mut stream.pending,
                    Entry {
                        kind,
                        sequence: stream.next,
                        payload,
                    },
                );
                stream.next += u64::from(kind == Kind::Record);
                stream.appended += 1;
                let due = stream.pending.len() >= BATCH_BYTES;
                let first = stream.since.is_none();
                stream.since.get_or_insert_with(Instant::now);
                let next = stream.next;
                drop(state);
                if due || first {
                    self.shared.work.notify_all();
                }
                return Ok(next);
            }
            state = self.wait(state, pressed);
        }
    }

    /// Has whoever waits in [`Self::append_unless`] look again whether it is ending.
    pub fn wake(&self) {
        // With the lock nobody is between looking and waiting.
        let state = self.shared.lock();
        self.shared.room.notify_all();
        drop(state);
    }

    /// Waits for room; says in the health that a producer waits for the budget.
    fn wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        pressed: bool,
    ) -> MutexGuard<'a, State> {
        state.waiting += usize::from(pressed);
        let paused = state.waiting > 0;
        set_paused(&self.shared.health, paused);
        let mut state = self
            .shared
            .room
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= usize::from(pressed);
        if state.waiting == 0 {
            set_paused(&self.shared.health, false);
        }
        state
    }

    /// Returns once everything appended so far is durable.
    ///
    /// # Errors
    /// [`SpoolError::Closed`] if that will not happen any more.
    pub fn sync(&self) -> Result<(), SpoolError> {
        let mut state = self.shared.lock();
        let Some(stream) = state.streams.get_mut(&self.key) else {
            return Err(SpoolError::Closed(self.key));
        };
        let target = stream.appended;
        loop {
            let stopping = state.stopping;
            let stream = state
                .streams
                .get_mut(&self.key)
                .filter(|s| !s.closed && !stopping);
            let stream = stream.ok_or(SpoolError::Closed(self.key))?;
            if stream.written >= target {
                return Ok(());
            }
            stream.flush = !stream.pending.is_empty();
            self.shared.work.notify_all();
            state = self
                .shared
                .room
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Refuses further entries and frees whoever waits; what is pending is given up.
    pub fn close(&self) {
        if let Some(stream) = self.shared.lock().streams.get_mut(&self.key) {
            stream.closed = true;
        }
        self.shared.room.notify_all();
        self.shared.work.notify_all();
    }

    /// Number of the next record to be appended.
    pub fn next(&self) -> u64 {
        self.shared
            .lock()
            .streams
            .get(&self.key)
            .map_or(0, |stream| stream.next)
    }

    /// Number of the next record to become durable, now and whenever that changes.
    pub fn durable(&self) -> watch::Receiver<u64> {
        self.durable.clone()
    }

    /// Reads records from number `first` on.
    pub fn reader(&self, first: u64) -> Reader {
        Reader::new(self.clone(), first)
    }

    /// Whose it is.
    pub fn key(&self) -> Key {
        self.key
    }

    fn segments(&self) -> Vec<Segment> {
        self.shared
            .lock()
            .streams
            .get(&self.key)
            .map(|s| s.segments.clone())
            .unwrap_or_default()
    }
}

fn set_paused(health: &watch::Sender<Health>, paused: bool) {
    health.send_if_modified(|health| std::mem::replace(&mut health.paused, paused) != paused);
}

/// Sum of the lengths of the files under `path`.
fn bytes_under(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() {
            bytes_under(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
