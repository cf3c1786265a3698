//! From an unknown box to one the cloud knows: enrol, show the code, ask until a person typed it.

use std::time::Duration;

use sonde_core::time::Instant;
use sonde_protocol::activation::check_number;
use sonde_protocol::device::{EnrollReply, EnrollStatus};
use sonde_protocol::ids::ApplianceId;

use super::backoff::Backoff;

/// What the driver does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Ask for a code.
    Enroll,
    /// Ask whether the code was typed.
    Ask,
}

/// Where activation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// No code yet.
    Enrolling,
    /// Show this.
    Showing {
        /// Ten letters.
        code: String,
        /// Four digits.
        check_number: String,
    },
    /// Done.
    Active {
        /// What the cloud calls the box.
        appliance: ApplianceId,
        /// What people call it.
        name: String,
    },
}

/// The activation of one box.
pub struct Activation {
    public_key: [u8; 32],
    stage: Stage,
    in_flight: bool,
    /// Do the next thing then.
    at: Instant,
    /// The code is good until then.
    until: Instant,
    interval: Duration,
    backoff: Backoff,
}

impl Activation {
    /// A box with this key that the cloud does not know.
    pub fn new(public_key: [u8; 32], now: Instant, seed: u64) -> Self {
        Self {
            public_key,
            stage: Stage::Enrolling,
            in_flight: false,
            at: now,
            until: now,
            interval: Duration::ZERO,
            backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60), seed),
        }
    }

    /// What to show.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The cloud gave a code. `pinned` is the certificate the box trusts, if no authority vouches for it.
    pub fn handle_enrolled(&mut self, now: Instant, reply: EnrollReply, pinned: Option<&[u8; 32]>) {
        self.in_flight = false;
        self.backoff.reset();
        self.interval = Duration::from_secs(reply.interval_s.clamp(1, 60));
        self.until = now + Duration::from_secs(reply.valid_s);
        self.at = now + self.interval;
        let check_number = check_number(&self.public_key, &reply.code, pinned);
        self.stage = Stage::Showing {
            code: reply.code,
            check_number,
        };
    }

    /// The cloud told where the enrolment is.
    pub fn handle_status(&mut self, now: Instant, status: EnrollStatus) {
        self.in_flight = false;
        self.backoff.reset();
        match status {
            EnrollStatus::Pending => self.at = now + self.interval,
            EnrollStatus::Active { appliance, name } => {
                self.stage = Stage::Active { appliance, name }
            }
            EnrollStatus::Expired => self.start_over(now),
        }
    }

    /// The request did not get through; the code stays on the panel while it is good.
    pub fn handle_failed(&mut self, now: Instant) {
        self.in_flight = false;
        self.at = now + self.backoff.fail().max(self.interval);
    }

    /// The cloud does not know the key: enrol anew.
    pub fn handle_unknown(&mut self, now: Instant) {
        self.in_flight = false;
        // At once the first time, then ever slower: a cloud that forgets at once is asked rarely.
        let first = self.backoff.failures() == 0;
        let wait = self.backoff.fail().max(self.interval);
        self.start_over(if first { now } else { now + wait });
    }

    /// What to do now.
    pub fn poll_action(&mut self, now: Instant) -> Option<Action> {
        if self.in_flight || matches!(self.stage, Stage::Active { .. }) {
            return None;
        }
        if matches!(self.stage, Stage::Showing { .. }) && now >= self.until {
            self.start_over(now);
        }
        if now < self.at {
            return None;
        }
        self.in_flight = true;
        match self.stage {
            Stage::Enrolling => Some(Action::Enroll),
            _ => Some(Action::Ask),
        }
    }

    /// When to ask [`Self::poll_action`] again.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            _ if self.in_flight => None,
            Stage::Active { .. } => None,
            Stage::Enrolling => Some(self.at),
            Stage::Showing { .. } => Some(self.at.min(self.until)),
        }
    }

    fn start_over(&mut self, at: Instant) {
        self.stage = Stage::Enrolling;
        self.at = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(seconds)
    }

    fn reply() -> EnrollReply {
        EnrollReply {
            code: "BCDFGHJKLM".to_owned(),
            valid_s: 1800,
            interval_s: 5,
        }
    }

    fn showing() -> Activation {
        let mut activation = Activation::new([1; 32], at(0), 1);
        assert_eq!(activation.poll_action(at(0)), Some(Action::Enroll));
        assert_eq!(activation.poll_action(at(0)), None, "one request at a time");
        activation.handle_enrolled(at(0), reply(), Some(&[2; 32]));
        activation
    }

    #[test]
    fn a_code_is_shown_until_it_is_typed() {
        let mut activation = showing();
        let Stage::Showing {
            code,
            check_number: shown,
        } = activation.stage()
        else {
            panic!()
        };
        assert_eq!(code, "BCDFGHJKLM");
        assert_eq!(*shown, check_number(&[1; 32], code, Some(&[2; 32])));
        assert_eq!(activation.poll_action(at(4)), None);
        assert_eq!(activation.poll_timeout(), Some(at(5)));
        assert_eq!(activation.poll_action(at(5)), Some(Action::Ask));
        activation.handle_status(at(5), EnrollStatus::Pending);
        assert_eq!(activation.poll_action(at(10)), Some(Action::Ask));
        let appliance = ApplianceId::generate();
        activation.handle_status(
            at(10),
            EnrollStatus::Active {
                appliance,
                name: "n".to_owned(),
            },
        );
        assert_eq!(
            *activation.stage(),
            Stage::Active {
                appliance,
                name: "n".to_owned()
            }
        );
        assert_eq!(
            (activation.poll_action(at(99)), activation.poll_timeout()),
            (None, None)
        );
    }

    #[test]
    fn an_expired_code_is_replaced() {
        let mut activation = showing();
        assert_eq!(
            activation.poll_action(at(1800)),
            Some(Action::Enroll),
            "by our own clock"
        );
        activation.handle_enrolled(at(1800), reply(), None);
        assert_eq!(activation.poll_action(at(1805)), Some(Action::Ask));
        activation.handle_status(at(1805), EnrollStatus::Expired);
        assert_eq!(
            activation.poll_action(at(1805)),
            Some(Action::Enroll),
            "by the cloud's"
        );
    }

    #[test]
    fn a_lost_cloud_leaves_the_code_on_the_panel() {
        let mut activation = showing();
        activation.poll_action(at(5));
        activation.handle_failed(at(6));
        assert!(matches!(activation.stage(), Stage::Showing { .. }));
        let again = activation.poll_timeout().unwrap();
        assert!(again >= at(11));
        assert_eq!(activation.poll_action(again), Some(Action::Ask));
    }

    #[test]
    fn a_cloud_that_forgot_is_asked_anew_but_not_without_end() {
        let mut activation = showing();
        let mut now = activation.poll_timeout().unwrap();
        let mut asked = 0;
        while now < at(600) {
            if activation.poll_action(now).is_some() {
                asked += 1;
                activation.handle_unknown(now);
            }
            now = activation.poll_timeout().unwrap();
        }
        assert!((3..150).contains(&asked), "{asked} requests in ten minutes");
    }
}
