//! The thread that makes batches durable.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::disk::{Disk, DiskFile};
use super::{BATCH_BYTES, BATCH_TIME, Health, Key, SEGMENT_BYTES, Segment, Shared, State};

/// Between two tries at a disk that refuses.
const RETRY_TIME: Duration = Duration::from_millis(500);

/// What is taken from a stream at once.
struct Batch {
    key: Key,
    bytes: Vec<u8>,
    /// Where it goes.
    place: Place,
    /// State of the stream once it is durable.
    next: u64,
    appended: u64,
}

struct Place {
    dir: PathBuf,
    segment: Segment,
    /// The segment is not there yet.
    fresh: bool,
    offset: u64,
}

/// Writes batches until the spool is dropped.
pub(super) fn run(shared: &Shared, disk: &mut dyn Disk) {
    let mut files: HashMap<Key, (u32, Box<dyn DiskFile>)> = HashMap::new();
    let mut spare = Vec::with_capacity(BATCH_BYTES);
    while let Some(mut batch) = next_batch(shared, std::mem::take(&mut spare)) {
        let mut written = false;
        while !written {
            match write(disk, &mut files, &mut batch) {
                Ok(()) => written = true,
                Err(error) => {
                    // A file whose sync failed may have lost pages: open and write it anew.
                    files.remove(&batch.key);
                    if !retry(shared, &batch, &error) {
                        break;
                    }
                }
            }
        }
        if written {
            acknowledge(shared, &batch);
        }
        files.retain(|key, _| shared.lock().streams.contains_key(key));
        spare = std::mem::take(&mut batch.bytes);
        spare.clear();
    }
}

/// Waits for a batch that is full, old enough or asked for; `None` when the spool is stopping and
/// nothing is left.
fn next_batch(shared: &Shared, spare: Vec<u8>) -> Option<Batch> {
    let mut state = shared.lock();
    loop {
        let now = Instant::now();
        if let Some(key) = due(&state, now) {
            return take(&mut state, key, spare);
        }
        if state.stopping {
            return None;
        }
        let oldest = state
            .streams
            .values()
            .filter_map(|stream| stream.since)
            .min();
        let wait = oldest.map_or(Duration::from_secs(3600), |since| {
            (since + BATCH_TIME).saturating_duration_since(now)
        });
        state = shared
            .work
            .wait_timeout(state, wait)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

fn due(state: &State, now: Instant) -> Option<Key> {
    let ready = state.streams.iter().filter(|(_, stream)| {
        let old = stream
            .since
            .is_some_and(|since| now.duration_since(since) >= BATCH_TIME);
        let full = stream.pending.len() >= BATCH_BYTES;
        !stream.closed
            && !stream.pending.is_empty()
            && (old || full || stream.flush || state.stopping)
    });
    // The oldest first, so that no stream starves another.
    ready
        .min_by_key(|(_, stream)| stream.since)
        .map(|(key, _)| *key)
}

fn take(state: &mut State, key: Key, spare: Vec<u8>) -> Option<Batch> {
    let stream = state.streams.get_mut(&key)?;
    let bytes = std::mem::replace(&mut stream.pending, spare);
    stream.since = None;
    stream.flush = false;
    let fresh = stream.segments.is_empty() || stream.tail >= SEGMENT_BYTES;
    if fresh {
        let index = stream.segments.last().map_or(0, |last| last.index + 1);
        let first = *stream.durable.borrow();
        stream.segments.push(Segment { index, first });
        stream.tail = 0;
    }
    let segment = *stream.segments.last()?;
    let place = Place {
        dir: stream.dir.clone(),
        segment,
        fresh,
        offset: stream.tail,
    };
    Some(Batch {
        key,
        bytes,
        place,
        next: stream.next,
        appended: stream.appended,
    })
}

/// Writes the whole batch at its place and syncs. Doing it again is harmless.
fn write(
    disk: &mut dyn Disk,
    files: &mut HashMap<Key, (u32, Box<dyn DiskFile>)>,
    batch: &mut Batch,
) -> io::Result<()> {
    let Batch {
        key, bytes, place, ..
    } = batch;
    if files
        .get(key)
        .is_none_or(|(index, _)| *index != place.segment.index)
    {
        let file = disk.open(&place.segment.path(&place.dir))?;
        files.insert(*key, (place.segment.index, file));
    }
    let Some((_, file)) = files.get_mut(key) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    write_all(file.as_mut(), bytes, place.offset)?;
    file.sync()?;
    if place.fresh {
        File::open(&place.dir)?.sync_all()?;
    }
    Ok(())
}

/// Writes all of `bytes`, which are lent to the disk and come back whole.
fn write_all(file: &mut dyn DiskFile, bytes: &mut Vec<u8>, offset: u64) -> io::Result<()> {
    let (mut outcome, buffer) = file.write_at(std::mem::take(bytes), offset);
    *bytes = buffer;
    let mut done = 0;
    loop {
        done += outcome?;
        if done >= bytes.len() {
            return Ok(());
        }
        // A short write is rare: its rest goes out as a buffer of its own.
        let (next, _) = file.write_at(bytes[done..].to_vec(), offset + done as u64);
        outcome = match next {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            next => next,
        };
    }
}

/// Says what is wrong and waits a little; false when trying again is pointless.
fn retry(shared: &Shared, batch: &Batch, error: &io::Error) -> bool {
    let text = format!("{}: {error}", batch.place.dir.display());
    let news = shared.health.send_if_modified(|health: &mut Health| {
        health.error.replace(text.clone()).as_ref() != Some(&text)
    });
    if news {
        tracing::error!(error = %text, "can not write the spool; trying again, nothing is dropped");
    }
    let deadline = Instant::now() + RETRY_TIME;
    let mut state = shared.lock();
    loop {
        let wanted = state
            .streams
            .get(&batch.key)
            .is_some_and(|stream| !stream.closed);
        if state.stopping || !wanted {
            return false;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        state = shared
            .work
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
}

fn acknowledge(shared: &Shared, batch: &Batch) {
    let bytes = batch.bytes.len() as u64;
    let mut state = shared.lock();
    if let Some(stream) = state.streams.get_mut(&batch.key) {
        stream.tail += bytes;
        stream.written = batch.appended;
        stream.durable.send_replace(batch.next);
    }
    drop(state);
    shared.health.send_modify(|health| {
        health.bytes += bytes;
        health.error = None;
    });
    shared.room.notify_all();
}
