//! The thread that writes: everything a scan says goes through one bounded channel to one [`Sink`].
//!
//! The thread that owns the sweep never touches a file. When the sink is slower than the scan the channel
//! fills and the scan waits; when the sink fails the scan ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use sonde_core::observation::Observation;

/// Observations that may wait to be written; a few MB at most.
const QUEUE_MAX: usize = 16_384;
/// Longest that an observation stays in our buffers.
const FLUSH_INTERVAL: Duration = Duration::from_millis(200);
/// Octets of capture collected before they are handed over.
const CAPTURE_CHUNK: usize = 256 << 10;

/// Where a scan's lines go.
pub trait Sink: Send {
    /// Takes the next line: results, progress, checkpoints, in order.
    ///
    /// # Errors
    /// When it can't be written; the scan ends.
    fn observation(&mut self, observation: &Observation) -> io::Result<()>;

    /// True when frames are wanted.
    fn captures(&self) -> bool;

    /// Takes blocks of a capture.
    ///
    /// # Errors
    /// When they can't be written; the scan ends.
    fn capture(&mut self, blocks: &[u8]) -> io::Result<()>;

    /// Hands everything taken so far to the operating system.
    ///
    /// # Errors
    /// When it can't be written; the scan ends.
    fn flush(&mut self) -> io::Result<()>;

    /// Nothing comes after this.
    ///
    /// # Errors
    /// When it can't be written.
    fn finish(&mut self) -> io::Result<()>;
}

enum Line {
    Observation(Box<Observation>),
    Capture(Vec<u8>),
}

/// The sweep's end of the channel.
pub(crate) struct Writer {
    lines: Sender<Line>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<io::Result<()>>,
    checkpoint_nanos: Arc<AtomicU64>,
}

/// The writing thread has ended early; [`Writer::finish`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(sink: Box<dyn Sink>) -> io::Result<Self> {
        let (lines, received) = bounded(QUEUE_MAX);
        let (give_back, empty) = bounded(8);
        let checkpoint_nanos = Arc::new(AtomicU64::new(0));
        let took = Arc::clone(&checkpoint_nanos);
        let thread = std::thread::Builder::new()
            .name("reports".to_owned())
            .spawn(move || write_all(sink, &received, &give_back, &took))?;
        Ok(Self {
            lines,
            empty,
            thread,
            checkpoint_nanos,
        })
    }

    /// Hands over one line; waits while the channel is full.
    pub(crate) fn send(&self, observation: Observation) -> Result<(), Gone> {
        self.lines
            .send(Line::Observation(Box::new(observation)))
            .map_err(|_| Gone)
    }

    /// Hands over `blocks` once they are a chunk, or at once if `all`, and leaves an empty buffer.
    pub(crate) fn send_capture(&self, blocks: &mut Vec<u8>, all: bool) -> Result<(), Gone> {
        if blocks.is_empty() || (blocks.len() < CAPTURE_CHUNK && !all) {
            return Ok(());
        }
        let empty = self
            .empty
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(2 * CAPTURE_CHUNK));
        self.lines
            .send(Line::Capture(std::mem::replace(blocks, empty)))
            .map_err(|_| Gone)
    }

    /// How long the last checkpoint took to write.
    pub(crate) fn checkpoint_cost(&self) -> Duration {
        Duration::from_nanos(self.checkpoint_nanos.load(Ordering::Relaxed))
    }

    /// Waits until everything is written and the sink is finished.
    ///
    /// # Errors
    /// What the sink failed with.
    pub(crate) fn finish(self) -> io::Result<()> {
        drop(self.lines);
        match self.thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn write_all(
    mut sink: Box<dyn Sink>,
    lines: &Receiver<Line>,
    give_back: &Sender<Vec<u8>>,
    took: &AtomicU64,
) -> io::Result<()> {
    let mut flushed = Instant::now();
    let mut unflushed = false;
    loop {
        match lines.recv_timeout(FLUSH_INTERVAL) {
            Ok(Line::Observation(observation)) => {
                let begun = Instant::now();
                sink.observation(&observation)?;
                if matches!(*observation, Observation::Checkpoint(_)) {
                    let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    took.store(nanos, Ordering::Relaxed);
                }
                unflushed = true;
            }
            Ok(Line::Capture(mut blocks)) => {
                sink.capture(&blocks)?;
                blocks.clear();
                // Full means that enough buffers are on their way back.
                let _ = give_back.try_send(blocks);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return sink.finish(),
        }
        if unflushed && flushed.elapsed() >= FLUSH_INTERVAL {
            sink.flush()?;
            flushed = Instant::now();
            unflushed = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::report::samples;

    #[derive(Default)]
    struct Collected {
        lines: Vec<Observation>,
        blocks: Vec<u8>,
        finished: bool,
    }

    struct Collect(Arc<Mutex<Collected>>, usize);

    impl Sink for Collect {
        fn observation(&mut self, observation: &Observation) -> io::Result<()> {
            let mut collected = self.0.lock().unwrap();
            if collected.lines.len() == self.1 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            collected.lines.push(observation.clone());
            Ok(())
        }

        fn captures(&self) -> bool {
            true
        }

        fn capture(&mut self, blocks: &[u8]) -> io::Result<()> {
            self.0.lock().unwrap().blocks.extend(blocks);
            Ok(())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn finish(&mut self) -> io::Result<()> {
            self.0.lock().unwrap().finished = true;
            Ok(())
        }
    }

    #[test]
    fn everything_arrives_in_order_before_the_end() {
        let collected = Arc::new(Mutex::new(Collected::default()));
        let writer = Writer::start(Box::new(Collect(Arc::clone(&collected), usize::MAX))).unwrap();
        for line in samples::result() {
            writer.send(line).unwrap();
        }
        let mut blocks = vec![1, 2, 3];
        writer.send_capture(&mut blocks, false).unwrap();
        assert_eq!(blocks, [1, 2, 3]);
        writer.send_capture(&mut blocks, true).unwrap();
        assert!(blocks.is_empty());
        writer.finish().unwrap();
        let collected = collected.lock().unwrap();
        assert_eq!(collected.lines, samples::result());
        assert_eq!(collected.blocks, [1, 2, 3]);
        assert!(collected.finished);
    }

    #[test]
    fn a_sink_that_fails_ends_the_scan_and_says_why() {
        let collected = Arc::new(Mutex::new(Collected::default()));
        let writer = Writer::start(Box::new(Collect(collected, 2))).unwrap();
        // The channel has room for the lines sent before the thread has seen the failure.
        let gone =
            (0..2 * QUEUE_MAX).any(|_| writer.send(samples::host(None, "10.0.0.9")).is_err());
        assert!(gone);
        let error = writer.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
