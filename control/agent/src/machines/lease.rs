//! Keeps one attempt's lease, and says when contact is lost.

use std::time::Duration;

use sonde_core::time::Instant;
use sonde_protocol::device::{JobState, LEASE_RENEW_S, LEASE_S, LeaseReply};

use super::backoff::Backoff;

/// Progress is told at least this far apart,
const PROGRESS_TIME: Duration = Duration::from_secs(5);
/// and only if it is this much.
const PROGRESS_MIN: f64 = 0.01;

/// What the job has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The lease has run out and the cloud was not reached.
    Lost,
    /// The cloud answers again, and the attempt is still ours.
    Regained,
    /// Stop and commit what there is.
    Cancel,
    /// Somebody else has the job now.
    Superseded,
}

/// One attempt's lease.
pub struct Lease {
    /// Good until then, by the latest word of the cloud.
    until: Instant,
    renew_at: Instant,
    in_flight: bool,
    sent: Instant,
    /// State and share done as the cloud was last told.
    told: (JobState, f64),
    lost: bool,
    over: bool,
    news: Vec<News>,
    backoff: Backoff,
}

impl Lease {
    /// The lease of an attempt that was accepted, or is taken up again after a restart.
    pub fn new(now: Instant, seed: u64) -> Self {
        Self {
            until: now + Duration::from_secs(LEASE_S),
            renew_at: now,
            in_flight: false,
            sent: now,
            told: (JobState::Accepted, 0.0),
            lost: false,
            over: false,
            news: Vec::new(),
            backoff: Backoff::new(Duration::from_secs(2), Duration::from_secs(30), seed),
        }
    }

    /// Where the job is: a renewal tells the cloud, too. A new state is told at once, progress now and then.
    pub fn handle_progress(&mut self, now: Instant, state: JobState, fraction: f64) {
        if state != self.told.0 {
            self.renew_at = self.renew_at.min(now);
        } else if (fraction - self.told.1).abs() >= PROGRESS_MIN && self.backoff.failures() == 0 {
            self.renew_at = self.renew_at.min(self.sent + PROGRESS_TIME);
        }
    }

    /// True when a renewal that tells this state and share done is to be sent now.
    pub fn poll_action(&mut self, now: Instant, state: JobState, fraction: f64) -> bool {
        if !self.lost && !self.over && now >= self.until {
            self.lost = true;
            self.news.push(News::Lost);
        }
        let due = !self.in_flight && !self.over && now >= self.renew_at;
        if due {
            self.in_flight = true;
            self.sent = now;
            self.told = (state, fraction);
        }
        due
    }

    /// When to ask [`Self::poll_action`] again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let renew = (!self.in_flight).then_some(self.renew_at);
        let end = (!self.lost).then_some(self.until);
        if self.over {
            None
        } else {
            renew.into_iter().chain(end).min()
        }
    }

    /// What happened, once each.
    pub fn poll_news(&mut self) -> Option<News> {
        (!self.news.is_empty()).then(|| self.news.remove(0))
    }

    /// The cloud renewed it. The time runs from when it was asked: the answer may have been long on its way.
    pub fn handle_renewed(&mut self, _now: Instant, reply: &LeaseReply) {
        self.in_flight = false;
        self.backoff.reset();
        self.until = self.sent + Duration::from_secs(reply.valid_s);
        let next = Duration::from_secs(LEASE_RENEW_S.min(reply.valid_s / 3).max(1));
        self.renew_at = self.sent + next;
        if std::mem::take(&mut self.lost) {
            self.news.push(News::Regained);
        }
        if reply.cancel {
            self.news.push(News::Cancel);
        }
    }

    /// The cloud was not reached.
    pub fn handle_failed(&mut self, now: Instant) {
        self.in_flight = false;
        self.renew_at = now + self.backoff.fail();
    }

    /// The cloud says that the lease is not the current one, or that there is no such job.
    pub fn handle_refused(&mut self) {
        self.in_flight = false;
        self.over = true;
        self.news.push(News::Superseded);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn poll(lease: &mut Lease, now: Instant) -> bool {
        lease.poll_action(now, JobState::Accepted, 0.0)
    }

    const KEPT: LeaseReply = LeaseReply {
        valid_s: 600,
        cancel: false,
    };

    #[test]
    fn it_is_renewed_every_minute_from_when_it_was_asked() {
        let mut lease = Lease::new(at(0), 1);
        assert!(poll(&mut lease, at(0)));
        assert!(!poll(&mut lease, at(1)), "one at a time");
        lease.handle_renewed(at(20), &KEPT);
        assert_eq!(lease.poll_timeout(), Some(at(60)));
        assert!(poll(&mut lease, at(60)));
        assert_eq!(lease.poll_timeout(), Some(at(600)));
        assert_eq!(lease.poll_news(), None);
    }

    #[test]
    fn lost_once_and_regained_once() {
        let mut lease = Lease::new(at(0), 1);
        let mut now = at(0);
        let mut tries = 0;
        while now < at(900) {
            if poll(&mut lease, now) {
                tries += 1;
                lease.handle_failed(now);
            }
            now = lease.poll_timeout().unwrap();
        }
        assert!(tries > 30, "{tries}");
        assert_eq!(
            (lease.poll_news(), lease.poll_news()),
            (Some(News::Lost), None)
        );
        while !poll(&mut lease, now) {
            now = lease.poll_timeout().unwrap();
        }
        lease.handle_renewed(now, &KEPT);
        assert_eq!(
            (lease.poll_news(), lease.poll_news()),
            (Some(News::Regained), None)
        );
    }

    #[test]
    fn cancel_and_refusal_are_told() {
        let mut lease = Lease::new(at(0), 1);
        poll(&mut lease, at(0));
        lease.handle_renewed(
            at(0),
            &LeaseReply {
                valid_s: 600,
                cancel: true,
            },
        );
        assert_eq!(lease.poll_news(), Some(News::Cancel));
        poll(&mut lease, at(60));
        lease.handle_refused();
        assert_eq!(lease.poll_news(), Some(News::Superseded));
        assert!(!poll(&mut lease, at(9999)));
        assert_eq!((lease.poll_timeout(), lease.poll_news()), (None, None));
    }

    #[test]
    fn a_new_state_is_told_at_once_and_progress_now_and_then() {
        let mut lease = Lease::new(at(0), 1);
        poll(&mut lease, at(0));
        lease.handle_renewed(at(0), &KEPT);
        lease.handle_progress(at(1), JobState::Accepted, 0.0);
        assert_eq!(lease.poll_timeout(), Some(at(60)));
        lease.handle_progress(at(1), JobState::Running, 0.0);
        assert!(lease.poll_action(at(1), JobState::Running, 0.0));
        lease.handle_renewed(at(1), &KEPT);
        lease.handle_progress(at(2), JobState::Running, 0.009);
        assert_eq!(lease.poll_timeout(), Some(at(61)));
        lease.handle_progress(at(2), JobState::Running, 0.3);
        assert!(!lease.poll_action(at(5), JobState::Running, 0.3));
        assert!(lease.poll_action(at(6), JobState::Running, 0.4));
        lease.handle_failed(at(6));
        let retry = lease.poll_timeout();
        lease.handle_progress(at(6), JobState::Running, 0.9);
        assert_eq!(
            lease.poll_timeout(),
            retry,
            "a cloud that is away is not asked more often"
        );
    }
}
