//! The thread that writes: everything a scan says goes through one bounded channel to one [`Sink`].
//!
//! The thread that owns the sweep never touches a file. When the sink is slower than the scan the channel
//! fills and the scan waits; when the sink fails the scan ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use sonde_core::observation::Observation;
use sonde_core::sweep::Event;
use sonde_core::time::Instant;

use crate::clock::Clock;
use crate::observe;

/// Findings handed over at once, at most: a millisecond or two at full speed.
pub(crate) const FINDINGS_MAX: usize = 4096;
/// Lines and lots of findings that may wait to be written; some 12 MB at most.
const QUEUE_MAX: usize = 32;
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
    /// What was learnt at this time, still to be put into lines: that work is the writer's.
    Findings(Instant, Vec<Event>),
    Capture(Vec<u8>),
}

/// The sweep's end of the channel.
pub(crate) struct Writer {
    lines: Sender<Line>,
    empty: Receiver<Vec<u8>>,
    read: Receiver<Vec<Event>>,
    thread: JoinHandle<io::Result<()>>,
    checkpoint_nanos: Arc<AtomicU64>,
}

/// The writing thread has ended early; [`Writer::finish`] says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(sink: Box<dyn Sink>, clock: Clock) -> io::Result<Self> {
        let (lines, received) = bounded(QUEUE_MAX);
        let (give_back, empty) = bounded(8);
        let (give_back_read, read) = bounded(QUEUE_MAX);
        let checkpoint_nanos = Arc::new(AtomicU64::new(0));
        let pen = Pen {
            sink,
            clock,
            give_back,
            give_back_read,
            checkpoint_nanos: Arc::clone(&checkpoint_nanos),
        };
        let thread = std::thread::Builder::new()
            .name("reports".to_owned())
            .spawn(move || pen.write_all(&received))?;
        Ok(Self {
            lines,
            empty,
            read,
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

    /// Hands over what was learnt at `now`, and leaves an empty buffer; waits while the channel is full.
    pub(crate) fn send_findings(
        &self,
        now: Instant,
        findings: &mut Vec<Event>,
    ) -> Result<(), Gone> {
        if findings.is_empty() {
            return Ok(());
        }
        let empty = self
            .read
            .try_recv()
            .unwrap_or_else(|_| Vec::with_capacity(findings.len()));
        self.lines
            .send(Line::Findings(now, std::mem::replace(findings, empty)))
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

/// What the thread writes with.
struct Pen {
    sink: Box<dyn Sink>,
    clock: Clock,
    give_back: Sender<Vec<u8>>,
    give_back_read: Sender<Vec<Event>>,
    checkpoint_nanos: Arc<AtomicU64>,
}

impl Pen {
    fn write_all(mut self, lines: &Receiver<Line>) -> io::Result<()> {
        let mut flushed = std::time::Instant::now();
        let mut unflushed = false;
        loop {
            match lines.recv_timeout(FLUSH_INTERVAL) {
                Ok(line) => {
                    unflushed |= !matches!(line, Line::Capture(_));
                    self.write(line)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.sink.finish(),
            }
            if unflushed && flushed.elapsed() >= FLUSH_INTERVAL {
                self.sink.flush()?;
                flushed = std::time::Instant::now();
                unflushed = false;
            }
        }
    }

    fn write(&mut self, line: Line) -> io::Result<()> {
        match line {
            Line::Observation(observation) => {
                let begun = std::time::Instant::now();
                self.sink.observation(&observation)?;
                if matches!(*observation, Observation::Checkpoint(_)) {
                    let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
                    self.checkpoint_nanos.store(nanos, Ordering::Relaxed);
                }
            }
            Line::Findings(at, mut findings) => {
                let time = self.clock.wall(at);
                for event in findings.drain(..) {
                    if let Some(observation) = observe::observation(time, event) {
                        self.sink.observation(&observation)?;
                    }
                }
                // Full means that enough buffers are on their way back.
                let _ = self.give_back_read.try_send(findings);
            }
            Line::Capture(mut blocks) => {
                self.sink.capture(&blocks)?;
                blocks.clear();
                let _ = self.give_back.try_send(blocks);
            }
        }
        Ok(())
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
        let writer = Writer::start(
            Box::new(Collect(Arc::clone(&collected), usize::MAX)),
            Clock::start(),
        )
        .unwrap();
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
        let writer = Writer::start(Box::new(Collect(collected, 2)), Clock::start()).unwrap();
        // The channel has room for the lines sent before the thread has seen the failure.
        let gone =
            (0..2 * QUEUE_MAX).any(|_| writer.send(samples::host(None, "10.0.0.9")).is_err());
        assert!(gone);
        let error = writer.finish().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
