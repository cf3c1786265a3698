//! Whether what stays silent after the last pass is asked once more.
//!
//! Answers that came only when asked again tell the loss `p` of a question and its answer: of `n` that answer, `n(1 - p)p^k` do
//! so in pass `k`, and `p^passes` of them in none. When that is more than [`MISSED_MAX`] another pass is due, unless the last
//! one has brought so little that the loss is over: a path that was full and no longer is.
//!
//! Without loss nothing comes late, and silence gets the passes that were asked for.

use serde::{Deserialize, Serialize};

/// Passes beyond those asked for, at most.
const AGAIN_MAX: u32 = 3;
/// Share of what answers that may stay unfound.
const MISSED_MAX: f64 = 5e-5;
/// First answers on which an estimate can be built.
const ANSWERS_MIN: u32 = 64;
/// Late ones among them.
const LATE_MIN: u32 = 3;
/// Loss that more passes do little against.
const LOSS_MAX: f64 = 0.9;
/// Answers after which older ones weigh half, where passes of many hosts are counted together.
const RECENT: u32 = 8192;

/// First answers by the pass they came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Tally {
    all: u32,
    /// In a later pass than the first.
    late: u32,
    /// The latest pass in which some came, and how many.
    last: (u32, u32),
}

impl Tally {
    /// A first answer came in `pass`.
    #[inline]
    pub(super) fn count(&mut self, pass: u32) {
        self.all = self.all.saturating_add(1);
        if pass == 0 {
            return;
        }
        self.late += 1;
        if pass > self.last.0 {
            self.last = (pass, 0);
        }
        self.last.1 += u32::from(pass == self.last.0);
    }

    /// As [`Tally::count`]; what came long ago is forgotten.
    #[inline]
    pub(super) fn count_recent(&mut self, pass: u32) {
        if self.all >= RECENT {
            (self.all, self.late) = (self.all / 2, self.late / 2);
            self.last.1 /= 2;
        }
        self.count(pass);
    }

    /// What is read back from a checkpoint, so that counting on can't overflow.
    #[must_use]
    pub(super) fn within_reason(self) -> Self {
        let late = self.late.min(1 << 30);
        Self {
            all: self.all.clamp(late, 1 << 31),
            late,
            last: (self.last.0.min(1 << 30), self.last.1.min(late)),
        }
    }

    /// Whether another pass is due over what was silent `passes` times, `again` of them beyond those asked for.
    /// Who asks for one pass wants one.
    pub(super) fn wants_more(&self, passes: u32, again: u32) -> bool {
        self.loss().is_some_and(|loss| {
            let last = match self.last {
                (pass, answers) if pass + 1 == passes => answers,
                _ => 0,
            };
            let odds = loss / (1.0 - loss);
            let brought = f64::from(last + 1) / f64::from(self.all) * odds;
            is_due(loss, passes, again) && brought > MISSED_MAX
        })
    }

    /// As [`Tally::wants_more`], where what was counted is of many hosts in different passes.
    pub(super) fn wants_more_of_each(&self, passes: u32, again: u32) -> bool {
        self.loss().is_some_and(|loss| is_due(loss, passes, again))
    }

    /// Of a question and its answer; `None` without evidence of any.
    fn loss(&self) -> Option<f64> {
        if self.all < ANSWERS_MIN || self.late < LATE_MIN {
            return None;
        }
        // n(p - p^k) of n(1 - p^(k-1)): exactly p, however many passes there were.
        let asked_again = f64::from((self.all - self.last.1).max(1));
        Some((f64::from(self.late) / asked_again).min(LOSS_MAX))
    }
}

fn is_due(loss: f64, passes: u32, again: u32) -> bool {
    passes > 1 && again < AGAIN_MAX && loss.powi(passes as i32) > MISSED_MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(answers: &[u32]) -> Tally {
        let mut tally = Tally::default();
        for (pass, answers) in answers.iter().enumerate() {
            (0..*answers).for_each(|_| tally.count(pass as u32));
        }
        tally
    }

    #[test]
    fn constant_loss_is_told_exactly_and_gets_the_passes_it_takes() {
        // A tenth is lost each time.
        let answers = [900_000, 90_000, 9_000, 900, 90];
        for passes in 2..=5 {
            let seen = tally(&answers[..passes]);
            assert!((seen.loss().unwrap() - 0.1).abs() < 1e-6);
            let wants = seen.wants_more(passes as u32, passes as u32 - 2);
            assert_eq!(wants, passes < 5, "{passes} passes leave 10^-{passes}");
            assert_eq!(seen.wants_more_of_each(passes as u32, 0), passes < 5);
        }
        assert!(!tally(&[100, 900]).wants_more(2, AGAIN_MAX));
    }

    #[test]
    fn without_evidence_of_loss_there_is_no_other_pass() {
        for seen in [
            &[1_000_000, 0, 0][..],
            &[63, 0, 0],
            &[30, 20, 10],
            &[10_000, 1, 1],
            &[],
        ] {
            let seen = tally(seen);
            assert!(
                !seen.wants_more(3, 0) && !seen.wants_more_of_each(3, 0),
                "{seen:?}"
            );
        }
        assert!(tally(&[61, 3]).wants_more(2, 0));
        // One pass is one.
        assert!(!tally(&[1_000, 500]).wants_more(1, 0));
    }

    #[test]
    fn a_path_that_was_full_and_is_no_longer_is_not_loss() {
        assert!(!tally(&[20_000, 240_000]).wants_more(3, 0));
        assert!(tally(&[20_000, 200_000, 40_000]).wants_more(3, 0));
    }

    #[test]
    fn loss_that_is_over_is_forgotten_where_hosts_are_counted_together() {
        let mut seen = Tally::default();
        (0..4_000).for_each(|n| seen.count_recent(n % 2));
        assert!(seen.wants_more_of_each(3, 0));
        (0..100_000).for_each(|_| seen.count_recent(0));
        assert!(!seen.wants_more_of_each(3, 0));
    }
}
