//! What a crash left: the longest prefix of entries that can be believed.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use super::{Segment, entry};

/// A stream as found on disk.
pub(super) struct Recovered {
    pub(super) segments: Vec<Segment>,
    /// Bytes in the last segment.
    pub(super) tail: u64,
    /// Number of the next record.
    pub(super) next: u64,
    /// Bytes cut off.
    pub(super) cut_bytes: u64,
}

/// Reads a stream's folder, cuts the torn tail off its last segment and deletes what comes after.
/// Makes the folder if it is not there.
pub(super) fn recover(dir: &Path) -> io::Result<Recovered> {
    std::fs::create_dir_all(dir)?;
    let mut found = Recovered {
        segments: Vec::new(),
        tail: 0,
        next: 0,
        cut_bytes: 0,
    };
    let mut torn = false;
    for index in 0.. {
        let segment = Segment {
            index,
            first: found.next,
        };
        let path = segment.path(dir);
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            bytes => bytes?,
        };
        if torn {
            found.cut_bytes += bytes.len() as u64;
            std::fs::remove_file(&path)?;
            continue;
        }
        let mut whole = 0;
        for entry in entry::entries(&bytes, found.next) {
            whole += entry.encoded_len();
            found.next = entry.next_sequence();
        }
        if whole < bytes.len() {
            torn = true;
            found.cut_bytes += (bytes.len() - whole) as u64;
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(whole as u64)?;
            file.sync_all()?;
        }
        found.segments.push(segment);
        found.tail = whole as u64;
    }
    if found.cut_bytes > 0 {
        tracing::info!(dir = %dir.display(), bytes = found.cut_bytes, "cut off what was not yet durable");
    }
    File::open(dir)?.sync_all()?;
    if let Some(parent) = dir.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(found)
}
