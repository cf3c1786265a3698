//! Brings one attempt's records to the cloud, in order, each at least once: the cloud keeps each once.

use std::time::Duration;

use sonde_core::time::Instant;

use super::backoff::Backoff;

/// Batches follow one another at least this far apart, unless more than one batch is waiting or the
/// scan is over.
const BATCH_TIME: Duration = Duration::from_secs(1);

/// One record alone, or the commit, is given up after it was refused so often in a row. With the waits between
/// them that is half a minute: a body that was cut on its way is refused, too, and gets through the next time.
const REFUSALS_MAX: u32 = 7;

/// What the driver sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Durable records from this number on, as many as fit.
    Send {
        /// Number of the first.
        first: u64,
        /// Not more than so many.
        most: u64,
    },
    /// Count, digest and outcome.
    Commit {
        /// How many records: all, or those before the one the cloud does not take.
        count: u64,
    },
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
    /// The cloud does not take the commit, however often it is asked.
    Refused,
}

/// One attempt's upload.
pub struct Upload {
    /// All before are in the cloud's database.
    acked: u64,
    /// All before are on this disk.
    durable: u64,
    /// Number of records, once it is known.
    count: Option<u64>,
    /// Most records of a batch; less than there is room for while a refused record is looked for.
    most: u64,
    /// A batch that was refused went up to here.
    doubt: u64,
    /// Refusals of one and the same request in a row.
    strikes: u32,
    /// The record that the cloud does not take: nothing from it on is sent.
    given_up: Option<u64>,
    /// Why, until somebody has asked.
    why: Option<String>,
    in_flight: Option<Flight>,
    at: Instant,
    /// More was waiting than went into the last batch.
    more: bool,
    end: Option<End>,
    backoff: Backoff,
}

struct Flight {
    action: Action,
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
            most: u64::MAX,
            doubt: 0,
            strikes: 0,
            given_up: None,
            why: None,
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
        let (first, end) = (self.acked, self.end_of_records());
        let drained = self
            .count
            .is_some_and(|count| count == first || self.given_up.is_some());
        let action = if first < end {
            let most = self
                .given_up
                .map_or(self.most, |at| self.most.min(at - first));
            Action::Send { first, most }
        } else if drained {
            Action::Commit { count: first }
        } else {
            return None;
        };
        self.in_flight = Some(Flight {
            action,
            sent: now,
            durable: self.durable,
        });
        Some(action)
    }

    /// When to ask [`Self::poll_action`] again, if nothing happens before.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.acked < self.end_of_records() || self.count.is_some();
        (waiting && self.in_flight.is_none() && self.end.is_none()).then_some(self.at)
    }

    /// Records before this are to be sent.
    fn end_of_records(&self) -> u64 {
        self.given_up.unwrap_or(self.durable)
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
            self.strikes = 0;
            if next >= self.doubt {
                self.most = self.most.saturating_mul(2);
            }
            self.more = next < flight.durable;
            let hurry = self.more || self.count.is_some();
            self.at = if hurry { now } else { flight.sent + BATCH_TIME };
        }
        self.acked = next;
        self.given_up = self.given_up.map(|at| at.max(next));
    }

    /// The cloud can not take what it was sent, and would not if it came again: `records` records, or the commit.
    ///
    /// Half of them are sent next, and so on, until all before the one it does not take are stored and that one is
    /// alone. Refused alone again and again it is given up with all that follow ([`Self::poll_given_up`]); the
    /// commit then counts what is stored.
    pub fn handle_malformed(&mut self, now: Instant, records: u64, why: &str) {
        let Some(flight) = self.in_flight.take() else {
            return;
        };
        if let (Action::Send { first, .. }, 2..) = (flight.action, records) {
            self.most = records / 2;
            self.doubt = self.doubt.max(first + records);
            self.at = now;
            return;
        }
        self.strikes += 1;
        if self.strikes < REFUSALS_MAX {
            self.at = now + self.backoff.fail();
            return;
        }
        self.strikes = 0;
        self.backoff.reset();
        self.at = now;
        match flight.action {
            Action::Send { first, .. } => {
                self.given_up = Some(first);
                self.why = Some(format!("result {first} is refused: {why}"));
            }
            Action::Commit { .. } => self.end = Some(End::Refused),
        }
    }

    /// Tells once, and why, that the cloud does not take all records: the scan can end, its rest is lost.
    pub fn poll_given_up(&mut self) -> Option<String> {
        self.why.take()
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

    fn send(first: u64) -> Action {
        let most = u64::MAX;
        Action::Send { first, most }
    }

    fn commit(count: u64) -> Action {
        Action::Commit { count }
    }

    #[test]
    fn batches_go_once_a_second_or_at_once_if_more_waits() {
        let mut upload = Upload::new(at(0), 1);
        assert_eq!(
            (upload.poll_action(at(0)), upload.poll_timeout()),
            (None, None)
        );
        upload.handle_durable(10);
        assert_eq!(upload.poll_action(at(0)), Some(send(0)));
        upload.handle_durable(20);
        assert_eq!(upload.poll_action(at(0)), None, "one at a time");
        upload.handle_next(at(50), 5);
        assert_eq!(upload.poll_action(at(50)), Some(send(5)), "more waits");
        upload.handle_next(at(90), 20);
        upload.handle_durable(25);
        assert_eq!(upload.poll_action(at(90)), None);
        assert_eq!(upload.poll_timeout(), Some(at(1050)));
        assert_eq!(upload.poll_action(at(1050)), Some(send(20)));
    }

    #[test]
    fn commit_follows_the_last_record() {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_drained(at(0), 3);
        assert_eq!(upload.poll_action(at(0)), Some(send(0)));
        upload.handle_next(at(1), 3);
        assert_eq!(upload.poll_action(at(1)), Some(commit(3)));
        upload.handle_not_yet(at(2));
        assert_eq!(upload.poll_action(at(2)), None);
        let again = upload.poll_timeout().unwrap();
        assert_eq!(upload.poll_action(again), Some(commit(3)));
        upload.handle_next(again, 1);
        assert_eq!(upload.poll_action(again), Some(send(1)), "412 rewinds");
        upload.handle_next(again, 3);
        assert_eq!(upload.poll_action(again), Some(commit(3)));
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
        assert_eq!(upload.poll_action(at(0)), Some(commit(0)));
    }

    #[test]
    fn a_cloud_restored_from_a_backup_rewinds() {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_durable(100);
        upload.poll_action(at(0));
        upload.handle_next(at(0), 100);
        upload.handle_durable(110);
        assert_eq!(upload.poll_action(at(1000)), Some(send(100)));
        upload.handle_next(at(1000), 40);
        let again = upload.poll_timeout().unwrap();
        assert_eq!(upload.poll_action(again), Some(send(40)));
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

    /// Sends all of `durable` records in batches of at most `room` to a cloud that does not take `bad`; gives
    /// the requests it took, and what was stored.
    fn against(bad: u64, durable: u64, room: u64) -> (Upload, Instant, u32, u64) {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_drained(at(0), durable);
        let (mut now, mut requests, mut stored) = (at(0), 0, 0);
        loop {
            match upload.poll_action(now) {
                Some(Action::Send { first, most }) => {
                    requests += 1;
                    let count = most.min(room).min(durable - first);
                    if (first..first + count).contains(&bad) {
                        upload.handle_malformed(now, count, "no vlan 5000");
                    } else {
                        stored = stored.max(first + count);
                        upload.handle_next(now, stored);
                    }
                }
                Some(Action::Commit { .. }) => {
                    // As if it had not been asked yet.
                    upload.in_flight = None;
                    return (upload, now, requests, stored);
                }
                None => now = upload.poll_timeout().unwrap(),
            }
        }
    }

    #[test]
    fn all_before_a_refused_record_are_stored_and_committed() {
        for room in [1, 7, 100, 5000] {
            for bad in [0, 1, 2, 3, 50, 998, 999] {
                let (mut upload, now, requests, stored) = against(bad, 1000, room);
                assert_eq!(stored, bad, "room {room}");
                let most = 1000 / room + 30 + u64::from(REFUSALS_MAX);
                assert!(u64::from(requests) <= most, "{requests} of {most}");
                assert!(now < at(60_000), "{now:?}");
                let why = upload.poll_given_up().unwrap();
                assert!(why.contains(&format!("result {bad} ")) && why.contains("vlan 5000"));
                assert_eq!(upload.poll_given_up(), None, "once");
                assert_eq!(upload.poll_action(now), Some(commit(bad)));
                upload.handle_committed();
                assert_eq!(upload.end(), Some(End::Committed));
            }
        }
    }

    #[test]
    fn nothing_is_given_up_when_the_cloud_takes_all() {
        let (mut upload, now, requests, stored) = against(u64::MAX, 1000, 100);
        assert_eq!((requests, stored, now), (10, 1000, at(0)));
        assert_eq!(upload.poll_given_up(), None);
    }

    #[test]
    fn what_was_only_cut_on_its_way_gets_through() {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_drained(at(0), 8);
        upload.poll_action(at(0));
        upload.handle_malformed(at(0), 8, "cut off");
        let Some(Action::Send { first: 0, most: 4 }) = upload.poll_action(at(0)) else {
            panic!("half of them, at once")
        };
        upload.handle_next(at(0), 4);
        assert!(matches!(
            upload.poll_action(at(0)),
            Some(Action::Send { first: 4, most: 4 })
        ));
        upload.handle_next(at(0), 8);
        assert_eq!(upload.poll_action(at(0)), Some(commit(8)));
        assert_eq!(upload.most, 8, "batches grow again");
        assert_eq!(upload.poll_given_up(), None);
    }

    #[test]
    fn a_record_given_up_while_the_scan_runs_ends_it() {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_durable(1);
        let mut now = at(0);
        while upload.poll_given_up().is_none() {
            if upload.poll_action(now).is_some() {
                upload.handle_malformed(now, 1, "no");
            }
            now = upload.poll_timeout().unwrap_or(now);
        }
        upload.handle_durable(900);
        assert_eq!(upload.poll_action(now), None, "not before the scan is over");
        assert_eq!(upload.poll_timeout(), None);
        upload.handle_drained(now, 901);
        assert_eq!(upload.poll_action(now), Some(commit(0)));
        // It wants what it has had: only that goes again.
        upload.handle_next(now, 0);
        let again = upload.poll_timeout().unwrap();
        assert_eq!(upload.poll_action(again), Some(commit(0)));
    }

    #[test]
    fn a_commit_refused_again_and_again_is_the_end() {
        let mut upload = Upload::new(at(0), 1);
        upload.handle_drained(at(0), 0);
        let mut now = at(0);
        for _ in 0..REFUSALS_MAX {
            assert_eq!(upload.end(), None);
            now = upload.poll_timeout().unwrap();
            assert_eq!(upload.poll_action(now), Some(commit(0)));
            upload.handle_malformed(now, 0, "no");
        }
        assert_eq!(upload.end(), Some(End::Refused));
        assert_eq!(
            (upload.poll_action(now), upload.poll_timeout()),
            (None, None)
        );
    }
}
