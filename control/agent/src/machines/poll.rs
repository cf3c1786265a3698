//! When to ask the cloud for work: held polls, plain ones where something in between cuts them.

use std::time::Duration;

use sonde_core::time::Instant;
use sonde_protocol::device::POLL_HOLD_S;

use super::backoff::{Backoff, Jitter};

/// Shortest and longest wait between plain polls.
const PLAIN: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(180));
/// Held polls cut in a row before plain ones are used.
const CUTS_MAX: u32 = 2;
/// Beyond the time a poll is held, before the driver gives the request up.
pub const PATIENCE: Duration = Duration::from_secs(15);

/// What became of a poll that was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection stood and was cut, or the answer never came.
    Cut,
    /// There was no connection, or the answer was an error.
    Unreachable,
}

/// Decides when to poll and how long the cloud may hold it.
pub struct Polling {
    in_flight: bool,
    /// The poll on its way is to be held.
    held: bool,
    at: Instant,
    cuts: u32,
    /// Holding has been given up until an answer comes.
    plain: bool,
    /// Nothing was answered since the start, or since the last failure.
    silent: bool,
    backoff: Backoff,
    jitter: Jitter,
}

impl Polling {
    /// Polls at once.
    pub fn new(now: Instant, seed: u64) -> Self {
        Self {
            in_flight: false,
            held: false,
            at: now,
            cuts: 0,
            plain: false,
            silent: true,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60), seed),
            jitter: Jitter::new(!seed),
        }
    }

    /// Seconds to hold the poll that is due now; `None`: none is.
    pub fn poll_action(&mut self, now: Instant) -> Option<u32> {
        if self.in_flight || now < self.at {
            return None;
        }
        self.in_flight = true;
        // After a start or a failure the first answer is wanted at once: somebody waits for it at the panel.
        self.held = !self.plain && !self.silent;
        Some(if self.held { POLL_HOLD_S } else { 0 })
    }

    /// When to ask [`Self::poll_action`] again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.in_flight).then_some(self.at)
    }

    /// The poll was answered.
    pub fn handle_answer(&mut self, now: Instant) {
        self.in_flight = false;
        self.silent = false;
        self.plain = false;
        if self.held {
            self.cuts = 0;
        }
        self.backoff.reset();
        self.at = now;
    }

    /// The poll was not answered. Only a held one that was cut speaks against holding; a short one that was cut had bad
    /// luck on a bad line and is tried again as soon as if there had been no connection.
    pub fn handle_failure(&mut self, now: Instant, failure: Failure) {
        self.in_flight = false;
        self.silent = true;
        let held_and_cut = self.held && failure == Failure::Cut;
        self.cuts += u32::from(held_and_cut);
        let wait = self.backoff.fail();
        self.plain |= held_and_cut && self.cuts >= CUTS_MAX;
        self.at = now
            + if self.plain && held_and_cut {
                self.jitter.between(PLAIN.0, PLAIN.1)
            } else {
                wait
            };
    }

    /// Another request got through: do not wait longer than until `at`.
    pub fn hurry(&mut self, at: Instant) {
        self.at = self.at.min(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn polls_follow_one_another_and_are_held() {
        let mut polling = Polling::new(at(0), 1);
        assert_eq!(polling.poll_action(at(0)), Some(0), "the first is not");
        polling.handle_answer(at(1));
        assert_eq!(polling.poll_action(at(1)), Some(POLL_HOLD_S));
        assert_eq!(
            (polling.poll_action(at(9)), polling.poll_timeout()),
            (None, None)
        );
        polling.handle_answer(at(50));
        assert_eq!(polling.poll_action(at(50)), Some(POLL_HOLD_S));
    }

    #[test]
    fn two_held_polls_cut_make_it_poll_plainly_until_an_answer() {
        let mut polling = Polling::new(at(0), 1);
        polling.poll_action(at(0));
        polling.handle_answer(at(0));
        assert_eq!(polling.poll_action(at(0)), Some(POLL_HOLD_S));
        polling.handle_failure(at(30), Failure::Cut);
        let second = polling.poll_timeout().unwrap();
        assert!(second <= at(31), "the first is tried again soon");
        assert_eq!(polling.poll_action(second), Some(0));
        polling.handle_answer(second);
        assert_eq!(polling.poll_action(second), Some(POLL_HOLD_S));
        polling.handle_failure(at(60), Failure::Cut);
        let plain = polling.poll_timeout().unwrap();
        assert!(plain >= at(90) && plain <= at(240), "{plain:?}");
        assert_eq!(polling.poll_action(plain), Some(0));
        polling.handle_answer(plain);
        assert_eq!(
            polling.poll_action(plain),
            Some(POLL_HOLD_S),
            "held again after success"
        );
        polling.handle_failure(plain + Duration::from_secs(30), Failure::Cut);
        let again = polling.poll_timeout().unwrap();
        assert!(
            again >= plain + Duration::from_secs(60),
            "it has not held one since: plain at once"
        );
    }

    #[test]
    fn short_polls_that_are_cut_are_tried_again_soon() {
        let mut polling = Polling::new(at(0), 1);
        let mut now = at(0);
        for _ in 0..6 {
            assert_eq!(polling.poll_action(now), Some(0));
            polling.handle_failure(now, Failure::Cut);
            now = polling.poll_timeout().unwrap();
        }
        assert!(now <= at(63), "1 + 2 + 4 + ... at most: {now:?}");
    }

    #[test]
    fn a_cloud_that_is_away_is_asked_soon_then_rarely() {
        let mut polling = Polling::new(at(0), 1);
        let (mut now, mut polls) = (at(0), 0);
        while now < at(600) {
            assert!(polling.poll_action(now).is_some());
            polling.handle_failure(now, Failure::Unreachable);
            polls += 1;
            now = polling.poll_timeout().unwrap();
        }
        assert!((10..30).contains(&polls), "{polls} in ten minutes");
        polling.hurry(at(600));
        assert_eq!(
            polling.poll_action(at(600)),
            Some(0),
            "another request got through"
        );
    }
}
