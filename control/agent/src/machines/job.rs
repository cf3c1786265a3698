//! One attempt at a job on this box:
//! `offered -> accepted -> running <-> paused -> draining -> committed`, or another end.
//!
//! Whatever ends a scan, its way out is one: the ending is written down, the worker (if one runs)
//! ends, [`Action::Conclude`] completes the spool with a summary and counts it, the rest is uploaded,
//! the commit says how it ended.

use std::time::Duration;

use sonde_core::time::Instant;
use sonde_protocol::device::{JobState, OnLostContact, Outcome};

use super::backoff::Backoff;
use super::lease::News;
use super::upload::{self, Upload};
use crate::ledger::Ending;

/// Workers that may die one after the other without a checkpoint in between.
pub const DEATHS_MAX: u32 = 10;

/// What the driver does next. Every one but [`Action::Upload`] is done before the next is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write [`Job::state`] and [`Job::ending`] into the ledger; nothing else is done before.
    Persist,
    /// Tell the cloud that the job is taken.
    Accept,
    /// Start a worker that goes on from the spool's last checkpoint.
    Start,
    /// Ask the worker to end. `pausing`: its summary of a part is not kept.
    Stop {
        /// It will be started again.
        pausing: bool,
    },
    /// Complete the spool with a summary if it has a header and none, and count it:
    /// [`Job::handle_concluded`].
    Conclude,
    /// Send, or commit.
    Upload(upload::Action),
    /// Delete the spool, then the ledger's entry: the job is over for this box.
    Forget,
}

/// How a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    /// It did everything due, or reached the request's own time limit; its summary is spooled.
    Finished,
    /// It was asked to end and did; its summary is spooled unless it was to pause.
    Stopped,
    /// It was gone without a summary nobody asked for, or could not be had.
    Died(String),
    /// Request, plan or policy said no.
    Refused(String),
}

/// What the spool of an attempt holds after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spooled {
    /// The last line is there: the scan was over.
    pub summary: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worker {
    /// None runs; one is to be started then, if at all.
    None(Option<Instant>),
    Running,
    /// Asked to end.
    Stopping {
        pausing: bool,
    },
}

/// One attempt.
pub struct Job {
    state: JobState,
    ending: Option<Ending>,
    on_lost_contact: OnLostContact,
    /// False while the lease has run out.
    contact: bool,
    worker: Worker,
    /// The request on its way, or when to send the next.
    accept: Option<Instant>,
    accepting: bool,
    unwritten: bool,
    conclude: bool,
    forget: bool,
    over: bool,
    suspended: bool,
    backoff: Backoff,
    deaths: Backoff,
    upload: Upload,
}

impl Job {
    /// A job the cloud offers.
    pub fn offered(on_lost_contact: OnLostContact, now: Instant, seed: u64) -> Self {
        Self {
            state: JobState::Offered,
            ending: None,
            on_lost_contact,
            contact: true,
            worker: Worker::None(None),
            accept: Some(now),
            accepting: false,
            unwritten: true,
            conclude: false,
            forget: false,
            over: false,
            suspended: false,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30), seed),
            deaths: Backoff::new(Duration::from_millis(100), Duration::from_secs(10), !seed),
            upload: Upload::new(now, seed.rotate_left(32)),
        }
    }

    /// A job found in the ledger at start.
    pub fn restored(
        state: JobState,
        ending: Option<Ending>,
        on_lost_contact: OnLostContact,
        spooled: Spooled,
        now: Instant,
        seed: u64,
    ) -> Self {
        let mut job = Self::offered(on_lost_contact, now, seed);
        (job.state, job.ending, job.unwritten) = (state, ending, false);
        if state == JobState::Offered {
            return job;
        }
        job.accept = None;
        if state.is_end() {
            job.forget = true;
        } else if job.ending.is_some() {
            job.conclude = true;
        } else if spooled.summary {
            job.end(Outcome::Finished, None);
        } else {
            job.worker = Worker::None(Some(now));
        }
        job
    }

    /// Where it is.
    pub fn state(&self) -> JobState {
        self.state
    }

    /// How the scan ended, or is about to.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Nothing is left to do.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Suspended, and nothing is under way any more that the next start would miss.
    pub fn is_quiet(&self) -> bool {
        self.suspended && !self.unwritten && matches!(self.worker, Worker::None(_))
    }

    /// A worker is scanning, or soon will be.
    pub fn is_scanning(&self) -> bool {
        !self.forget && matches!(self.state, JobState::Accepted | JobState::Running)
    }

    /// True while the box waits for the cloud longer than the lease allows.
    pub fn is_out_of_contact(&self) -> bool {
        !self.contact
    }

    /// What to do now.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.over {
            return None;
        }
        if self.unwritten {
            self.unwritten = false;
            return Some(Action::Persist);
        }
        if self.suspended {
            return self.poll_suspended();
        }
        if self.forget {
            return self.poll_forget();
        }
        if self.state == JobState::Offered && self.ending.is_none() {
            let due = !self.accepting && self.accept.is_some_and(|at| now >= at);
            self.accepting |= due;
            return due.then_some(Action::Accept);
        }
        if let Some(action) = self.poll_worker(now) {
            return Some(action);
        }
        if self.conclude && matches!(self.worker, Worker::None(_)) {
            self.conclude = false;
            return Some(Action::Conclude);
        }
        self.upload.poll_action(now).map(Action::Upload)
    }

    fn poll_forget(&mut self) -> Option<Action> {
        match self.worker {
            Worker::None(_) => {
                self.over = true;
                Some(Action::Forget)
            }
            Worker::Running | Worker::Stopping { pausing: true } => {
                self.worker = Worker::Stopping { pausing: false };
                Some(Action::Stop { pausing: false })
            }
            Worker::Stopping { pausing: false } => None,
        }
    }

    fn poll_suspended(&mut self) -> Option<Action> {
        if self.worker != Worker::Running {
            return None;
        }
        let pausing = self.ending.is_none() && !self.forget;
        self.worker = Worker::Stopping { pausing };
        Some(Action::Stop { pausing })
    }

    fn poll_worker(&mut self, now: Instant) -> Option<Action> {
        let pause = !self.contact && self.on_lost_contact == OnLostContact::Pause;
        match self.worker {
            Worker::None(Some(at)) if now >= at && !pause && self.ending.is_none() => {
                self.worker = Worker::Running;
                Some(Action::Start)
            }
            Worker::Running if self.ending.is_some() => {
                self.worker = Worker::Stopping { pausing: false };
                Some(Action::Stop { pausing: false })
            }
            Worker::Stopping { pausing: true } if self.ending.is_some() => {
                self.worker = Worker::Stopping { pausing: false };
                Some(Action::Stop { pausing: false })
            }
            Worker::Running if pause => {
                self.worker = Worker::Stopping { pausing: true };
                Some(Action::Stop { pausing: true })
            }
            _ => None,
        }
    }

    /// When to ask [`Self::poll_action`] again, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.suspended {
            return None;
        }
        let accept = self.accept.filter(|_| !self.accepting);
        let start = match self.worker {
            Worker::None(at) if self.contact || self.on_lost_contact != OnLostContact::Pause => at,
            _ => None,
        };
        accept
            .into_iter()
            .chain(start)
            .chain(self.upload.poll_timeout())
            .min()
    }

    /// The cloud knows that the job is taken.
    pub fn handle_accepted(&mut self, now: Instant, cancel: bool) {
        (self.accepting, self.accept) = (false, None);
        if self.state != JobState::Offered {
            return;
        }
        self.enter(JobState::Accepted);
        if cancel {
            self.cancel();
        } else {
            self.worker = Worker::None(Some(now));
        }
    }

    /// Acceptance did not get through.
    pub fn handle_accept_failed(&mut self, now: Instant) {
        self.accepting = false;
        self.accept = Some(now + self.backoff.fail());
    }

    /// The cloud says that lease or job are not current.
    pub fn handle_refused(&mut self) {
        if !self.forget {
            self.enter(JobState::Superseded);
            self.forget = true;
        }
    }

    /// What is spooled can't be read: this box gives the job back by not keeping its lease.
    pub fn handle_damaged(&mut self) {
        self.handle_refused();
    }

    /// A person wants it stopped.
    pub fn cancel(&mut self) {
        if self.ending.is_none() && !self.forget {
            self.end(Outcome::Cancelled, None);
        }
    }

    /// The box is about to be switched off: the worker pauses, and nothing else is begun. [`Job::is_quiet`] tells
    /// when that is done; the next start goes on from the ledger and the spool.
    pub fn suspend(&mut self) {
        self.suspended = true;
    }

    /// It can not go on.
    pub fn fail(&mut self, why: String) {
        if self.ending.is_none() && !self.forget {
            self.end(Outcome::Failed, Some(why));
        }
    }

    /// The lease has news.
    pub fn handle_lease(&mut self, now: Instant, news: News) {
        match news {
            News::Lost => {
                self.contact = false;
                if self.on_lost_contact == OnLostContact::Stop && self.ending.is_none() {
                    let why = "the cloud was out of reach for longer than the lease";
                    self.end(Outcome::Cancelled, Some(why.to_owned()));
                }
            }
            News::Regained => {
                self.contact = true;
                if self.state == JobState::Paused && self.worker == Worker::None(None) {
                    self.worker = Worker::None(Some(now));
                }
            }
            News::Cancel => self.cancel(),
            News::Superseded => self.handle_refused(),
        }
    }

    /// The worker scans.
    pub fn handle_worker_started(&mut self) {
        if matches!(self.state, JobState::Accepted | JobState::Paused) {
            self.enter(JobState::Running);
        }
    }

    /// The worker got somewhere: a checkpoint is spooled.
    pub fn handle_checkpoint(&mut self) {
        self.deaths.reset();
    }

    /// The worker ended.
    pub fn handle_worker_ended(&mut self, now: Instant, end: WorkerEnd) {
        let before = std::mem::replace(&mut self.worker, Worker::None(None));
        if self.ending.is_some() || self.forget {
            return;
        }
        match end {
            WorkerEnd::Finished => self.end(Outcome::Finished, None),
            WorkerEnd::Refused(why) => self.end(Outcome::Failed, Some(why)),
            // Its state stays what the next start is to go on with.
            _ if self.suspended => {}
            _ if before == (Worker::Stopping { pausing: true }) => {
                self.enter(JobState::Paused);
                self.worker = Worker::None(self.contact.then_some(now));
            }
            // It ended as if asked, though nobody did: go on like after a death.
            WorkerEnd::Stopped => self.start_again(now, "the worker stopped unasked"),
            WorkerEnd::Died(why) => self.start_again(now, &why),
        }
    }

    fn start_again(&mut self, now: Instant, why: &str) {
        let wait = self.deaths.fail();
        if self.deaths.failures() >= DEATHS_MAX {
            self.end(
                Outcome::Failed,
                Some(format!("{why}, {DEATHS_MAX} times in a row")),
            );
        } else {
            self.worker = Worker::None(Some(now + wait));
        }
    }

    /// The spool is complete and durable: `count` records.
    pub fn handle_concluded(&mut self, now: Instant, count: u64) {
        if self.state != JobState::Draining && !self.forget {
            self.enter(JobState::Draining);
        }
        self.upload.handle_drained(now, count);
    }

    /// The upload's answers; see [`Upload`].
    pub fn upload(&mut self) -> &mut Upload {
        &mut self.upload
    }

    /// Looks at what the upload has come to. Call it after every answer given to [`Self::upload`].
    pub fn handle_uploaded(&mut self) {
        if self.forget {
            return;
        }
        if let Some(why) = self.upload.poll_given_up() {
            // Whatever ending there was: the cloud does not have all of it.
            self.end(Outcome::Failed, Some(why));
        }
        let state = match self.upload.end() {
            None => return,
            Some(upload::End::Committed) => match self.ending.as_ref().map(|ending| ending.outcome)
            {
                Some(Outcome::Cancelled) => JobState::Cancelled,
                Some(Outcome::Failed) => JobState::Failed,
                _ => JobState::Committed,
            },
            Some(upload::End::Superseded | upload::End::Damaged) => JobState::Superseded,
            Some(upload::End::Refused) => JobState::Failed,
        };
        self.enter(state);
        self.forget = true;
    }

    fn end(&mut self, outcome: Outcome, error: Option<String>) {
        self.ending = Some(Ending { outcome, error });
        self.conclude = true;
        self.unwritten = true;
    }

    fn enter(&mut self, state: JobState) {
        self.state = state;
        self.unwritten = true;
    }
}

#[cfg(test)]
mod tests;
