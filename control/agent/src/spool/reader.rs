//! Reads records back: for upload, for the digest, and for a worker that takes over.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;

use super::entry::{self, HEADER_BYTES, Kind};
use super::{Segment, Stream};

/// Reads one stream's durable entries in order.
pub struct Reader {
    stream: Stream,
    open: Option<Open>,
    /// Number of the record wanted next.
    next: u64,
}

/// Position between two entries.
struct Open {
    segment: Segment,
    file: BufReader<File>,
    offset: u64,
    /// Sequence number expected at `offset`.
    sequence: u64,
}

/// Why durable entries can't be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system says so.
    #[error("can not read {path}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The disk gave back other bytes than were written.
    #[error("{path} is damaged at byte {offset}: record {sequence} is gone, check the disk")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// The first record that can't be read.
        sequence: u64,
    },
}

/// Records of one upload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Number of the first record.
    pub first: u64,
    /// How many.
    pub count: u64,
    /// The records, each followed by a line feed.
    pub lines: Vec<u8>,
}

impl Reader {
    pub(super) fn new(stream: Stream, first: u64) -> Self {
        Self {
            stream,
            open: None,
            next: first,
        }
    }

    /// Goes to record `first`.
    pub fn seek(&mut self, first: u64) {
        if first != self.next {
            self.next = first;
            self.open = None;
        }
    }

    /// The next durable records, as many as fit into `max_bytes` and at least one; empty at the end.
    ///
    /// # Errors
    /// [`ReadError`]: the disk has lost something.
    pub fn batch(&mut self, max_bytes: usize) -> Result<Batch, ReadError> {
        self.batch_of(u64::MAX, max_bytes)
    }

    /// As [`Self::batch`], but not more than `most` records.
    ///
    /// # Errors
    /// [`ReadError`]: the disk has lost something.
    pub fn batch_of(&mut self, most: u64, max_bytes: usize) -> Result<Batch, ReadError> {
        let mut batch = Batch {
            first: self.next,
            ..Batch::default()
        };
        let durable = *self.stream.durable.borrow();
        while self.next < durable && batch.count < most {
            let Some((kind, payload)) = self.entry()? else {
                break;
            };
            if kind == Kind::Checkpoint {
                continue;
            }
            if batch.count > 0 && batch.lines.len() + payload.len() + 1 > max_bytes {
                self.step_back(payload.len());
                break;
            }
            batch.lines.extend_from_slice(&payload);
            batch.lines.push(b'\n');
            batch.count += 1;
            self.next += 1;
        }
        Ok(batch)
    }

    /// Calls `visit` with every entry, checkpoints too, from the beginning to what is durable now.
    /// Call it while nothing is being appended.
    ///
    /// # Errors
    /// [`ReadError`]: the disk has lost something.
    pub fn visit(mut self, mut visit: impl FnMut(Kind, &[u8])) -> Result<(), ReadError> {
        while let Some((kind, payload)) = self.entry()? {
            self.next += u64::from(kind == Kind::Record);
            visit(kind, &payload);
        }
        Ok(())
    }

    /// The entry at the position, which moves past it; `None` at the end of what is durable.
    fn entry(&mut self) -> Result<Option<(Kind, Vec<u8>)>, ReadError> {
        loop {
            let durable = *self.stream.durable.borrow();
            if self.open.is_none() && !self.enter(durable)? {
                return Ok(None);
            }
            let Some(open) = &mut self.open else {
                return Ok(None);
            };
            let path = open.segment.path(&self.stream.dir);
            let read = open.read().map_err(|source| ReadError::Io {
                path: path.clone(),
                source,
            })?;
            match read {
                // Written, perhaps not yet synced: not to be told to anybody.
                Some((Kind::Record, sequence, payload)) if sequence >= durable => {
                    self.step_back(payload.len());
                    return Ok(None);
                }
                Some((Kind::Record, sequence, _)) if sequence < self.next => {}
                Some((kind, _, payload)) => return Ok(Some((kind, payload))),
                None => {
                    let (segment, offset, sequence) = (open.segment, open.offset, open.sequence);
                    if !self.follow(segment, sequence)? {
                        let damaged = ReadError::Damaged {
                            path,
                            offset,
                            sequence,
                        };
                        return if sequence < durable {
                            Err(damaged)
                        } else {
                            Ok(None)
                        };
                    }
                }
            }
        }
    }

    /// Goes to the segment after `segment`, which ends before record `sequence`; false if that is
    /// not where another one begins.
    fn follow(&mut self, segment: Segment, sequence: u64) -> Result<bool, ReadError> {
        let segments = self.stream.segments();
        let after = segments
            .iter()
            .find(|s| s.index == segment.index + 1 && s.first == sequence);
        let Some(after) = after.filter(|after| after.path(&self.stream.dir).exists()) else {
            return Ok(false);
        };
        self.open = Some(Open::new(*after, &self.stream)?);
        Ok(true)
    }

    /// Opens the segment that has the record wanted; false if there is none.
    fn enter(&mut self, durable: u64) -> Result<bool, ReadError> {
        let segments = self.stream.segments();
        let after = segments.partition_point(|segment| segment.first <= self.next);
        // Checkpoints may make several segments begin with one number: the first of them.
        let Some(found) = after.checked_sub(1).map(|i| segments[i]) else {
            return Ok(false);
        };
        let found = *segments
            .iter()
            .find(|s| s.first == found.first)
            .unwrap_or(&found);
        if durable <= found.first && !found.path(&self.stream.dir).exists() {
            return Ok(false);
        }
        self.open = Some(Open::new(found, &self.stream)?);
        Ok(true)
    }

    /// Puts the entry just read, a record with a payload of `length` bytes, back.
    fn step_back(&mut self, length: usize) {
        if let Some(open) = &mut self.open {
            open.offset -= (HEADER_BYTES + length) as u64;
            open.sequence -= 1;
        }
    }
}

impl Open {
    fn new(segment: Segment, stream: &Stream) -> Result<Self, ReadError> {
        let path = segment.path(&stream.dir);
        let file = File::open(&path).map_err(|source| ReadError::Io { path, source })?;
        let file = BufReader::with_capacity(1 << 17, file);
        Ok(Self {
            segment,
            file,
            offset: 0,
            sequence: segment.first,
        })
    }

    /// One entry with its number, or `None` at the end of what can be believed.
    fn read(&mut self) -> io::Result<Option<(Kind, u64, Vec<u8>)>> {
        let position = i64::try_from(self.file.stream_position()?).unwrap_or(i64::MAX);
        self.file
            .seek_relative(i64::try_from(self.offset).unwrap_or(i64::MAX) - position)?;
        let bytes = self.bytes()?;
        let Some(found) = entry::decode(&bytes, self.sequence) else {
            // What is buffered may be half of something still being written: forget it.
            self.file.seek(SeekFrom::Start(self.offset))?;
            return Ok(None);
        };
        let (kind, sequence) = (found.kind, found.sequence);
        self.offset += bytes.len() as u64;
        self.sequence = found.next_sequence();
        Ok(Some((kind, sequence, bytes[HEADER_BYTES..].to_vec())))
    }

    /// Header and payload as the header tells; shorter if the file is.
    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; HEADER_BYTES];
        if !filled(&mut self.file, &mut bytes)? {
            return Ok(Vec::new());
        }
        let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if length <= entry::PAYLOAD_MAX_BYTES {
            bytes.resize(HEADER_BYTES + length, 0);
            if !filled(&mut self.file, &mut bytes[HEADER_BYTES..])? {
                return Ok(Vec::new());
            }
        }
        Ok(bytes)
    }
}

/// Fills `out`; false if the file ends before.
fn filled(file: &mut impl Read, out: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(out) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        outcome => outcome.map(|()| true),
    }
}
