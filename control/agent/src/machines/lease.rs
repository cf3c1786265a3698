//! Keeps one attempt's lease, and says when contact is lost.

use std::time::Duration;

use sonde_core::time::Instant;
use sonde_protocol::device::{LEASE_RENEW_S, LEASE_S, LeaseReply};

use super::backoff::Backoff;

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
            lost: false,
            over: false,
            news: Vec::new(),
            backoff: Backoff::new(Duration::from_secs(2), Duration::from_secs(30), seed),
        }
    }

    /// True when a renewal is to be sent now.
    pub fn poll_action(&mut self, now: Instant) -> bool {
        if !self.lost && !self.over && now >= self.until {
            self.lost = true;
            self.news.push(News::Lost);
        }
        let due = !self.in_flight && !self.over && now >= self.renew_at;
        if due {
            self.in_flight = true;
            self.sent = now;
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

    const KEPT: LeaseReply = LeaseReply {
        valid_s: 600,
        cancel: false,
    };

    #[test]
    fn it_is_renewed_every_minute_from_when_it_was_asked() {
        let mut lease = Lease::new(at(0), 1);
        assert!(lease.poll_action(at(0)));
        assert!(!lease.poll_action(at(1)), "one at a time");
        lease.handle_renewed(at(20), &KEPT);
        assert_eq!(lease.poll_timeout(), Some(at(60)));
        assert!(lease.poll_action(at(60)));
        assert_eq!(lease.poll_timeout(), Some(at(600)));
        assert_eq!(lease.poll_news(), None);
    }

    #[test]
    fn lost_once_and_regained_once() {
        let mut lease = Lease::new(at(0), 1);
        let mut now = at(0);
        let mut tries = 0;
        while now < at(900) {
            if lease.poll_action(now) {
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
        while !lease.poll_action(now) {
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
        lease.poll_action(at(0));
        lease.handle_renewed(
            at(0),
            &LeaseReply {
                valid_s: 600,
                cancel: true,
            },
        );
        assert_eq!(lease.poll_news(), Some(News::Cancel));
        lease.poll_action(at(60));
        lease.handle_refused();
        assert_eq!(lease.poll_news(), Some(News::Superseded));
        assert!(!lease.poll_action(at(9999)));
        assert_eq!((lease.poll_timeout(), lease.poll_news()), (None, None));
    }
}
