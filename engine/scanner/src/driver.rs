//! The loop that owns the sweep: what it wants sent goes to the link, what arrives goes to the sweep, what
//! it learns goes to the writer. Nothing is allocated per frame, and the clock is read a few times a turn.
//!
//! ```text
//!   poll_transmit ─▶ Exchange::transmit ─▶ handle_transmitted
//!   Exchange::receive ─▶ handle_frame / handle_reply
//!   poll_event ─▶ Writer ─▶ Observation           ticks: progress, checkpoint
//! ```

use std::io;
use std::time::Duration;

use sonde_core::checkpoint::Checkpoint;
use sonde_core::observation::{Observation, Progress, ScanHeader, Summary};
use sonde_core::sweep::{Event, Sweep};
use sonde_core::time::Instant;

use crate::clock::Clock;
use crate::exchange::{Exchange, Next};
use crate::observe;
use crate::stop::{Stop, Urgency};
use crate::writer::{FINDINGS_MAX, Gone, Writer};

/// Between two progress lines.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);
/// Between two checkpoints, unless they are dear. What is on its way then, a quarter of a second's worth or so, is asked
/// again, too: together less than a second.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(600);
/// A checkpoint may take this part of the time.
const CHECKPOINT_SHARE: u32 = 10;
/// Longest wait for answers: how late a signal may be seen.
const WAIT_MAX: Duration = Duration::from_millis(50);
/// Shortest wait when there is nothing to do: what one more turn of the loop may cost at most.
const WAIT_MIN: Duration = Duration::from_micros(250);

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Every probe due was sent and waited for.
    Complete,
    /// The time limit.
    TimeLimit,
    /// Somebody asked for it.
    Stopped,
}

/// Why the loop broke.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The link.
    Link(io::Error),
    /// The writer.
    Writer,
}

impl From<Gone> for Broken {
    fn from(_: Gone) -> Self {
        Self::Writer
    }
}

/// One scan under way.
pub(crate) struct Driver<'a> {
    pub(crate) clock: Clock,
    pub(crate) stop: &'a Stop,
    pub(crate) time_limit: Option<Duration>,
    pub(crate) checkpoints: bool,
    pub(crate) writer: &'a Writer,
}

impl Driver<'_> {
    /// Runs the sweep to its end, or until it is asked to stop; the header goes first, the summary last. With
    /// an early end comes where it was.
    pub(crate) fn run(
        &self,
        header: ScanHeader,
        sweep: &mut Sweep,
        exchange: &mut dyn Exchange,
    ) -> Result<(End, Summary, Option<Checkpoint>), Broken> {
        self.writer.send(Observation::Scan(header))?;
        let end = self.turn(sweep, exchange)?;
        let early = end != End::Complete;
        let checkpoint = early.then(|| sweep.checkpoint());
        if let Some(checkpoint) = checkpoint.clone().filter(|_| self.checkpoints) {
            self.writer.send(Observation::Checkpoint(checkpoint))?;
        }
        let duration = self.clock.now().saturating_since(Instant::ZERO);
        let summary = observe::summary(sweep, !early, duration);
        self.writer.send(Observation::Summary(summary.clone()))?;
        Ok((end, summary, checkpoint))
    }

    fn turn(&self, sweep: &mut Sweep, exchange: &mut dyn Exchange) -> Result<End, Broken> {
        let mut end = End::Complete;
        let mut ticks = Ticks::new(self.clock.now());
        let mut findings = Findings::default();
        loop {
            let now = self.clock.now();
            if sweep.poll_timeout().is_some_and(|due| due <= now) {
                sweep.handle_timeout(now);
            }
            let wait = match exchange
                .transmit(&self.clock, sweep)
                .map_err(Broken::Link)?
            {
                Next::More => Duration::ZERO,
                Next::Full => WAIT_MIN,
                Next::Idle => self.wait(sweep, ticks.next),
            };
            exchange
                .receive(&self.clock, sweep, wait)
                .map_err(Broken::Link)?;
            let now = self.clock.now();
            let due = now >= ticks.next;
            self.hand_over(sweep, &mut findings, due || !wait.is_zero())?;
            self.writer.send_capture(exchange.captured(), false)?;
            if sweep.is_done() {
                break;
            }
            if due {
                self.tick(now, sweep, &mut ticks)?;
                let asked = self.asked(now);
                if asked != End::Complete && end == End::Complete {
                    end = asked;
                    sweep.stop();
                }
                if self.stop.urgency() == Urgency::AtOnce {
                    end = End::Stopped;
                    break;
                }
            }
        }
        self.hand_over(sweep, &mut findings, true)?;
        self.writer.send_capture(exchange.captured(), true)?;
        Ok(end)
    }

    /// How the scan is asked to end by now, if it is.
    fn asked(&self, now: Instant) -> End {
        let over = |limit| now.saturating_since(Instant::ZERO) >= limit;
        if self.stop.urgency() > Urgency::None {
            End::Stopped
        } else if self.time_limit.is_some_and(over) {
            End::TimeLimit
        } else {
            End::Complete
        }
    }

    /// Until the sweep wants something again, or the next tick.
    fn wait(&self, sweep: &Sweep, tick: Instant) -> Duration {
        if sweep.is_done() {
            return Duration::ZERO;
        }
        let now = self.clock.now();
        let due = sweep.poll_timeout().map_or(tick, |due| due.min(tick));
        due.saturating_since(now).clamp(WAIT_MIN, WAIT_MAX)
    }

    /// Collects what the sweep has learnt and hands it over once it is a lot, or at once if `all`: each time may wake
    /// the writing thread.
    fn hand_over(
        &self,
        sweep: &mut Sweep,
        findings: &mut Findings,
        all: bool,
    ) -> Result<(), Broken> {
        while let Some(event) = sweep.poll_event() {
            if findings.events.is_empty() {
                findings.at = self.clock.now();
            }
            findings.events.push(event);
            if findings.events.len() == FINDINGS_MAX {
                self.writer
                    .send_findings(findings.at, &mut findings.events)?;
            }
        }
        if all {
            self.writer
                .send_findings(findings.at, &mut findings.events)?;
        }
        Ok(())
    }

    fn tick(&self, now: Instant, sweep: &Sweep, ticks: &mut Ticks) -> Result<(), Broken> {
        if now >= ticks.progress {
            ticks.progress = now + PROGRESS_INTERVAL;
            let progress = ticks.meter.progress(now, sweep);
            self.writer.send(Observation::Progress(progress))?;
        }
        if self.checkpoints && now >= ticks.checkpoint {
            let checkpoint = sweep.checkpoint();
            self.writer.send(Observation::Checkpoint(checkpoint))?;
            let made = self.clock.now();
            let cost = made.saturating_since(now) + self.writer.checkpoint_cost();
            ticks.checkpoint = made + CHECKPOINT_INTERVAL.max(cost * CHECKPOINT_SHARE);
        }
        ticks.next = (now + WAIT_MAX).min(ticks.progress);
        Ok(())
    }
}

/// What was learnt and not yet handed over.
#[derive(Default)]
struct Findings {
    events: Vec<Event>,
    /// When the first of them was.
    at: Instant,
}

/// When something beside the sweep is due.
struct Ticks {
    /// The earliest.
    next: Instant,
    progress: Instant,
    checkpoint: Instant,
    meter: Meter,
}

impl Ticks {
    fn new(now: Instant) -> Self {
        Self {
            next: now,
            progress: now + PROGRESS_INTERVAL,
            checkpoint: now + CHECKPOINT_INTERVAL,
            meter: Meter::default(),
        }
    }
}

/// Rates from counters.
#[derive(Default)]
struct Meter {
    at: Instant,
    sent: u64,
    rate: f64,
}

impl Meter {
    fn progress(&mut self, now: Instant, sweep: &Sweep) -> Progress {
        let mut progress = observe::progress(sweep);
        let seconds = now.saturating_since(self.at).as_secs_f64();
        let rate = (progress.sent - self.sent) as f64 / seconds.max(1e-9);
        // The mean of the last two intervals: about a second.
        progress.rate_pps = if self.sent == 0 {
            rate
        } else {
            (rate + self.rate) / 2.0
        };
        (self.at, self.sent, self.rate) = (now, progress.sent, rate);
        let elapsed = now.saturating_since(Instant::ZERO).as_secs_f64();
        // Before that an estimate is a guess.
        if progress.fraction > 0.001 && elapsed > 2.0 {
            progress.left_s =
                Some((elapsed * (1.0 - progress.fraction) / progress.fraction) as u64);
        }
        progress
    }
}

#[cfg(test)]
mod tests;
