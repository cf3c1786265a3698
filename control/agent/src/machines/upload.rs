//! Brings one attempt's records to the cloud, in order, each at least once: the cloud keeps each once.

use std::time::Duration;

use sonde_core::time::Instant;

use super::backoff::Backoff;

/// Batches follow one another at least this far apart, unless more than one batch is waiting or the
/// scan is over.
const BATCH_TIME: Duration = Duration::from_secs(1);

/// What the driver sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Durable records from this number on, as many as fit.
    Send {
        /// Number of the first.
        first: u64,
    },
    /// Count, digest and outcome.
    Commit,
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All is in the cloud's database and counted.
    Committed,
    /// The cloud does not want this attempt any more.
    Superseded,
    /// This disk has lost records that are durable, or that the cloud has.
    Damaged,
}

/// One attempt's upload.
pub struct Upload {
    /// All before are in the cloud's database.
    acked: u64,
    /// All before are on this disk.
    durable: u64,
    /// Number of records, once it is known.
    count: Option<u64>,
    in_flight: Option<Flight>,
    at: Instant,
    /// More was waiting than went into the last batch.
    more: bool,
    end: Option<End>,
    backoff: Backoff,
}

struct Flight {
    sent: Instant,
    durable: u64,
}

impl Upload {
    /// An upload that begins, or goes on after a restart: the cloud's first answer tells where.
    pub fn new(now: Instant, seed: u64) -> Self {
        Self {
            acked: 0,
            durable: 0,
            count: None,
            in_flight: None,
            at: now,
            more: false,
            end: None,
            backoff: Backoff::new(Duration::from_millis(500), Duration::from_secs(30), seed),
        }
    }

    /// Records before this are durable here.
    pub fn handle_durable(&mut self, durable: u64) {
        self.durable = self.durable.max(durable);
    }

    /// The scan is over and `count` records are durable.
    pub fn handle_drained(&mut self, now: Instant, count: u64) {
        self.handle_durable(count);
        self.count = Some(count);
        if self.backoff.failures() == 0 {
            self.at = self.at.min(now);
        }
    }

    /// What to send now.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.in_flight.is_some() || self.end.is_some() || now < self.at {
            return None;
        }
        let action = if self.acked < self.durable {
            Action::Send { first: self.acked }
        } else if self.count == Some(self.acked) {
            Action::Commit
        } else {
            return None;
        };
        self.in_flight = Some(Flight {
            sent: now,
            durable: self.durable,
        });
        Some(action)
    }

    /// When to ask [`Self::poll_action`] again, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.acked < self.durable || self.count.is_some();
        (waiting && self.in_flight.is_none() && self.end.is_none()).then_some(self.at)
    }

    /// How it ended.
    pub fn end(&self) -> Option<End> {
        self.end
    }

    /// Records the cloud has.
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// The cloud has everything before `next` (200), or wants to go on there (416, 412). Tell
    /// [`Self::handle_durable`] the latest before: a batch may hold what became durable after it was due.
    pub fn handle_next(&mut self, now: Instant, next: u64) {
        let Some(flight) = self.in_flight.take() else {
            return;
        };
        if next > self.durable {
            self.end = Some(End::Damaged);
            return;
        }
        if next <= self.acked && self.acked < self.durable {
            // No step forward: whatever the reason, not at full speed.
            self.at = now + self.backoff.fail();
        } else {
            self.backoff.reset();
            self.more = next < flight.durable;
            let hurry = self.more || self.count.is_some();
            self.at = if hurry { now } else { flight.sent + BATCH_TIME };
        }
        self.acked = next;
    }

    /// The request did not get through, or the cloud is busy.
    pub fn handle_failed(&mut self, now: Instant) {
        self.in_flight = None;
        self.at = now + self.backoff.fail();
    }

    /// The cloud is still counting (202).
    pub fn handle_not_yet(&mut self, now: Instant) {
        self.handle_failed(now);
    }

    /// The commit is done (200).
    pub fn handle_committed(&mut self) {
        self.in_flight = None;
        self.end = Some(End::Committed);
    }

    /// A durable record can't be read back.
    pub fn handle_damaged(&mut self) {
        self.in_flight = None;
        self.end = Some(End::Damaged);
    }

    /// Lease or job are not known to the cloud any more.
    pub fn handle_refused(&mut self) {
        self.in_flight = None;
        self.end = Some(End::Superseded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn batches_go_once_a_second_or_at_once_if_more_waits() {
        let mut upload = Upload::new(at(0), 1);
        assert_eq!(
            (upload.poll_action(at(0)), upload.poll_timeout()),
            (None, None)
        );
        upload.handle_durable(10);
        assert_eq!(upload.poll_action(at(0)), Some(Action::Send { first: 0 }));
        upload.handle_durable(20);
        assert_eq!(upload.poll_action(at(0)), None, "one at a time");
        upload.handle_next(at(50), 5);
        assert_eq!(
            upload.poll_action(at(50)),
            Some(Action::Send { first: 5 }),
            "more waits"
        );
        upload.handle_next(at(90), 20);
        upload.handle_durable(25);
        assert_eq!(upload.poll_action(at(90)), None);
        assert_eq!(upload.poll_timeout(), Some(at(1050)));
        assert_eq!(
            upload.poll_action(at(1050)),
            Some(Action::Send { first: 20 })
        );
    }

    #[test]
    fn commit_follows_the_last_record() {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_drained(at(0), 3);
        assert_eq!(upload.poll_action(at(0)), Some(Action::Send { first: 0 }));
        upload.handle_next(at(1), 3);
        assert_eq!(upload.poll_action(at(1)), Some(Action::Commit));
        upload.handle_not_yet(at(2));
        assert_eq!(upload.poll_action(at(2)), None);
        let again = upload.poll_timeout().unwrap();
        assert_eq!(upload.poll_action(again), Some(Action::Commit));
        upload.handle_next(again, 1);
        assert_eq!(
            upload.poll_action(again),
            Some(Action::Send { first: 1 }),
            "412 rewinds"
        );
        upload.handle_next(again, 3);
        assert_eq!(upload.poll_action(again), Some(Action::Commit));
        upload.handle_committed();
        assert_eq!(upload.end(), Some(End::Committed));
        assert_eq!(
            (upload.poll_action(at(99_999)), upload.poll_timeout()),
            (None, None)
        );
    }

    #[test]
    fn an_empty_attempt_is_committed_too() {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_drained(at(0), 0);
        assert_eq!(upload.poll_action(at(0)), Some(Action::Commit));
    }

    #[test]
    fn a_cloud_restored_from_a_backup_rewinds() {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_durable(100);
        upload.poll_action(at(0));
        upload.handle_next(at(0), 100);
        upload.handle_durable(110);
        assert_eq!(
            upload.poll_action(at(1000)),
            Some(Action::Send { first: 100 })
        );
        upload.handle_next(at(1000), 40);
        let again = upload.poll_timeout().unwrap();
        assert_eq!(upload.poll_action(again), Some(Action::Send { first: 40 }));
    }

    #[test]
    fn failures_wait_longer_and_longer_and_are_forgotten() {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_durable(1);
        let mut now = at(0);
        for _ in 0..8 {
            assert!(upload.poll_action(now).is_some());
            upload.handle_failed(now);
            now = upload.poll_timeout().unwrap();
        }
        assert!(now > at(20_000), "{now:?}");
        upload.poll_action(now);
        upload.handle_next(now, 1);
        upload.handle_durable(2);
        assert!(upload.poll_timeout().unwrap() <= now + BATCH_TIME);
    }

    #[test]
    fn ends_are_told() {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_durable(1);
        upload.poll_action(at(0));
        upload.handle_next(at(0), 2);
        assert_eq!(
            upload.end(),
            Some(End::Damaged),
            "the cloud has what we have not"
        );
        let mut upload = Upload::new(at(0), 1);
        upload.handle_refused();
        assert_eq!(upload.end(), Some(End::Superseded));
    }
}
