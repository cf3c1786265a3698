//! How fast is as fast as loses nothing: the law of the closed loop, without the sweep around it.
//!
//! # Model
//!
//! At `r` frames a second the share of known responders that answer when they are asked again is
//!
//! ```text
//!     d(r) = (1 - l) * min(1, R / r)
//! ```
//!
//! where `l` is lost whatever the rate, and `R` is what the narrowest place of the path lets through. Neither is
//! known. One measurement can't tell them apart, two at different rates can: below `R` a slower rate changes
//! nothing, above it what comes through, `r * d(r)`, stays the same.
//!
//! # Law
//!
//! Answers are counted in *verdicts*: so many questions, due and decided, all asked at one limit.
//!
//! - *Cruising*, a verdict with as many answers as `l` leads to expect raises the limit by a small step, or leaves it
//!   off. One with fewer begins a descent: the limit becomes `r * d / (1 - l)`, which is `R` if the path is full.
//! - *Descending*, the share has come back: the path was full, `R` is known, the limit is just below it. Or it is no better than it
//!   was at the higher rate: that is no full path but loss, `l` is learnt, and the limit goes back up to where answers stopped
//!   thinning out, which is where the descent began if it has not helped at all. Or it is better and not yet
//!   good: one step more. A verdict takes as many questions as tell the two apart at three standard deviations.
//! - Heavy loss is doubted now and then, by a descent to half the rate.
//! - Answers that come after they were given up take back the descent that they led to.
//!
//! No step is deeper than to a [`DEEPEST`]th, and none goes below [`RATE_MIN`].

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Instant;

/// The lowest limit, in frames a second.
pub(super) const RATE_MIN: f64 = 500.0;
/// The fewest and the most questions a verdict takes.
const VERDICT: (f64, f64) = (64.0, 1024.0);
/// The most a verdict takes while nothing is wrong.
const VERDICT_CRUISING: f64 = 512.0;
/// One step down goes to this part of the rate, at most: few answers say little about how few come through.
const DEEPEST: f64 = 64.0;
/// One step down goes to this part of the rate, at least: a difference that can be seen.
const SHALLOWEST: f64 = 0.9;
/// Kept below what the path was seen to let through.
const SAFE: f64 = 0.98;
/// By how much the limit is raised after a good verdict: the first time, and at most, near where answers thinned out and far
/// from it.
const STEP: (f64, f64, f64) = (0.01, 0.04, 0.25);
/// Answers on which an estimate of `R` can be built.
const ESTIMATE: u32 = 32;
/// Answers at two rates with which nothing can be said of either.
const DARK: u32 = 8;
/// Loss that is checked now and then by going slower: it might be a full path after all.
const HEAVY: f64 = 0.15;
/// After so many verdicts, the first time and later, as long as it does not help.
const CHECK: (u32, u32) = (2, 16);
/// Loss that differs by so much from what was known was not known.
const NEWS: f64 = 0.05;
/// Loss that is always allowed for.
const LOSS_MIN: f64 = 0.005;
/// Of a question that says nothing.
pub(super) const OF_NONE: u32 = u32::MAX;
/// A pause longer than this is no part of a rate.
const PAUSE: Duration = Duration::from_millis(5);

/// What the closed loop saw and did. Rates are frames a second, shares 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GovernorReport {
    /// Known responders asked again.
    pub asked: u64,
    /// Share of them that answered, in the last verdict.
    pub share_answering: f64,
    /// The rate above which answers thinned out; `None` if they never did.
    pub thinned_above: Option<f64>,
    /// The limit at last; `None`: none was needed.
    pub settled_rate: Option<f64>,
    /// The lowest limit there was.
    pub lowest_rate: Option<f64>,
    /// How often the limit was lowered.
    pub lowered: u32,
    /// Lost whatever the rate.
    pub loss: f64,
}

/// The closed loop's law; the module says which.
#[derive(Clone, Debug)]
pub(super) struct Governor {
    limit: Option<f64>,
    state: State,
    /// Changes with the limit: answers count for the limit they were asked at.
    epoch: u32,
    due: u32,
    came: u32,
    frames: u64,
    active: Duration,
    last_at: Instant,
    /// The fastest that was measured.
    fastest: f64,
    /// `R`, if it is known.
    lets_through: Option<f64>,
    step: f64,
    /// Verdicts since the last descent.
    since_check: u32,
    check_after: u32,
    /// The descent's first verdict: its epoch, what was missing then, and what of that has come late.
    doubted: (u32, u32, u32),
    report: GovernorReport,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    Cruising,
    Descending {
        /// The limit before.
        top: Option<f64>,
        /// At the rate before this one.
        before: Verdict,
        /// Some step has helped.
        helped: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Verdict {
    rate: f64,
    due: u32,
    came: u32,
}

impl Verdict {
    /// None at all is as good as one.
    fn share(self) -> f64 {
        f64::from(self.came.max(1)) / f64::from(self.due)
    }

    /// Frames a second that came through, and back.
    fn goodput(self) -> f64 {
        self.rate * self.share()
    }
}

impl Governor {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            limit: None,
            state: State::Cruising,
            epoch: 0,
            due: 0,
            came: 0,
            frames: 0,
            active: Duration::ZERO,
            last_at: now,
            fastest: 0.0,
            lets_through: None,
            step: STEP.0,
            since_check: 0,
            check_after: CHECK.0,
            doubted: (OF_NONE, 0, 0),
            report: GovernorReport::default(),
        }
    }

    /// What a question asked now counts for.
    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Frames a second that may go; `None` is no limit.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit.map(|limit| limit as u64)
    }

    /// So many frames have left by `now`.
    pub(super) fn sent(&mut self, now: Instant, frames: usize) {
        self.frames += frames as u64;
        self.active += now.saturating_since(self.last_at).min(PAUSE);
        self.last_at = self.last_at.max(now);
    }

    /// A question asked in `epoch` was answered in time, or was not.
    pub(super) fn answered(&mut self, epoch: u32, came: bool) {
        self.report.asked += 1;
        if epoch == self.epoch {
            self.due += 1;
            self.came += u32::from(came);
        }
    }

    /// A question asked in `epoch`, given up since, was answered after all. True if that changes the limit.
    pub(super) fn answered_late(&mut self, epoch: u32) -> bool {
        let (doubted, missing, late) = &mut self.doubted;
        if epoch != *doubted || epoch == OF_NONE {
            return false;
        }
        *late += 1;
        let State::Descending { top, .. } = self.state else {
            return false;
        };
        if *late * 2 <= *missing {
            return false;
        }
        self.doubted.0 = OF_NONE;
        self.state = State::Cruising;
        self.report.lowered -= 1;
        self.set(top);
        true
    }

    /// Decides if there is enough to decide on. True if that changes the limit.
    pub(super) fn decide(&mut self) -> bool {
        if f64::from(self.due) < self.wanted() || self.active.is_zero() {
            return false;
        }
        let verdict = Verdict {
            rate: self.frames as f64 / self.active.as_secs_f64(),
            due: self.due,
            came: self.came,
        };
        let limit = self.limit;
        self.report.share_answering = verdict.share();
        match self.state {
            State::Cruising => self.cruise(verdict),
            State::Descending {
                top,
                before,
                helped,
            } => self.descend(verdict, top, before, helped),
        }
        (self.due, self.came, self.frames, self.active) = (0, 0, 0, Duration::ZERO);
        self.limit != limit
    }

    pub(super) fn report(&self) -> GovernorReport {
        GovernorReport {
            settled_rate: self.limit,
            thinned_above: self.lets_through,
            ..self.report
        }
    }

    fn expected(&self) -> f64 {
        1.0 - self.report.loss
    }

    /// What the share of so many questions may be below what is expected by chance.
    fn margin(&self, due: u32) -> f64 {
        let loss = self.report.loss.max(LOSS_MIN);
        0.01 + 3.0 * (loss * (1.0 - loss) / f64::from(due)).sqrt()
    }

    /// Questions the next verdict takes.
    fn wanted(&self) -> f64 {
        match self.state {
            State::Cruising => {
                let loss = self.report.loss;
                (3600.0 * loss * (1.0 - loss)).clamp(VERDICT.0, VERDICT_CRUISING)
            }
            State::Descending { before, .. } => {
                let share = before.share();
                let gap = if_full(before, self.limit.unwrap_or(before.rate)) - share;
                let deviation = share * (1.0 - share);
                (36.0 * deviation / (gap * gap).max(1e-9)).clamp(VERDICT.0, VERDICT.1)
            }
        }
    }

    fn cruise(&mut self, verdict: Verdict) {
        self.fastest = self.fastest.max(verdict.rate);
        let short = self.expected() - verdict.share();
        if short > self.margin(verdict.due) {
            self.doubted = (self.epoch, verdict.due - verdict.came, 0);
            return self.lower(verdict, self.limit, false);
        }
        self.since_check += 1;
        if self.since_check >= self.check_after && self.report.loss > HEAVY {
            self.since_check = 0;
            self.check_after = (self.check_after * 2).min(CHECK.1);
            return self.lower_to(0.5, verdict, self.limit, false);
        }
        self.report.loss = (self.report.loss + 0.05 * short).clamp(0.0, 0.9);
        let Some(limit) = self.limit.filter(|limit| verdict.rate > 0.75 * limit) else {
            return; // whatever holds the scan, it is not this
        };
        let near = self.lets_through.is_some_and(|r| limit < 1.1 * r);
        self.step = (self.step * 2.0).min(if near { STEP.1 } else { STEP.2 });
        let raised = limit * (1.0 + self.step);
        let free = raised > 1.1 * self.fastest && !near;
        self.set((!free).then_some(raised));
    }

    fn descend(&mut self, verdict: Verdict, top: Option<f64>, before: Verdict, helped: bool) {
        let full = if_full(before, verdict.rate);
        // Far from what is expected, any gain is one.
        let part = if before.share() > 0.5 { 0.5 } else { 0.25 };
        let better = verdict.share() > before.share() + part * (full - before.share());
        if verdict.share() >= self.expected() - self.margin(verdict.due) && better {
            self.report.loss = self.report.loss.min(1.0 - verdict.share());
            let known = before.came >= ESTIMATE;
            let best = if known {
                before.goodput()
            } else {
                verdict.goodput()
            };
            return self.settle(best, known);
        }
        // So few that it is not known whether it is better.
        let dark = before.came + verdict.came < DARK && verdict.rate > 2.0 * RATE_MIN;
        if better || dark {
            return self.lower(verdict, top, true);
        }
        let (due, came) = (before.due + verdict.due, before.came + verdict.came);
        let loss = (1.0 - f64::from(came) / f64::from(due)).clamp(0.0, 0.9);
        if (loss - self.report.loss).abs() > NEWS {
            self.lets_through = None;
        }
        self.report.loss = loss;
        if helped {
            return self.settle(before.goodput().max(verdict.goodput()), true);
        }
        self.report.lowered -= 1;
        self.state = State::Cruising;
        self.set(top);
    }

    /// One step down from `verdict`.
    fn lower(&mut self, verdict: Verdict, top: Option<f64>, helped: bool) {
        let part = verdict.share() / self.expected();
        self.lower_to(part.clamp(1.0 / DEEPEST, SHALLOWEST), verdict, top, helped);
    }

    fn lower_to(&mut self, part: f64, verdict: Verdict, top: Option<f64>, helped: bool) {
        self.report.lowered += u32::from(!helped);
        self.state = State::Descending {
            top,
            before: verdict,
            helped,
        };
        self.set(Some((verdict.rate * part).max(RATE_MIN)));
    }

    /// What comes through, and back, is known, or at least so much.
    fn settle(&mut self, goodput: f64, known: bool) {
        let lets_through = (goodput / self.expected()).max(RATE_MIN);
        self.state = State::Cruising;
        self.check_after = CHECK.0;
        self.lets_through = known.then_some(lets_through);
        self.step = STEP.0;
        self.set(Some((lets_through * SAFE).max(RATE_MIN)));
    }

    fn set(&mut self, limit: Option<f64>) {
        if limit == self.limit {
            return;
        }
        self.limit = limit;
        self.epoch += 1;
        (self.due, self.came, self.frames, self.active) = (0, 0, 0, Duration::ZERO);
        if let Some(limit) = limit {
            let lowest = self.report.lowest_rate.unwrap_or(f64::MAX);
            self.report.lowest_rate = Some(lowest.min(limit));
        }
    }
}

/// The share at `rate` if the path was full `before`.
fn if_full(before: Verdict, rate: f64) -> f64 {
    (before.goodput() / rate.max(1.0)).clamp(before.share(), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The model itself, sampled.
    struct Path {
        loss: f64,
        lets_through: f64,
        fastest: f64,
        random: u64,
        now: Instant,
        frames: f64,
    }

    impl Path {
        fn chance(&mut self) -> f64 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            (self.random >> 11) as f64 / (1u64 << 53) as f64
        }

        /// Hundred frames and one question at the governor's rate. The rate.
        fn step(&mut self, governor: &mut Governor) -> f64 {
            let rate = governor.limit.unwrap_or(self.fastest).min(self.fastest);
            for _ in 0..10 {
                self.now += Duration::from_secs_f64(10.0 / rate);
                governor.sent(self.now, 10);
            }
            self.frames += 100.0;
            let share = (1.0 - self.loss) * (self.lets_through / rate).min(1.0);
            let came = self.chance() < share;
            governor.answered(governor.epoch(), came);
            governor.decide();
            rate
        }
    }

    fn path(seed: u64, loss: f64, lets_through: f64) -> Path {
        Path {
            loss,
            lets_through,
            fastest: 2e6,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: Instant::ZERO,
            frames: 0.0,
        }
    }

    /// Mean rate over so many questions.
    fn mean(path: &mut Path, governor: &mut Governor, questions: usize) -> f64 {
        let (frames, from) = (path.frames, path.now);
        for _ in 0..questions {
            path.step(governor);
        }
        (path.frames - frames) / (path.now - from).as_secs_f64()
    }

    #[test]
    fn a_full_path_is_filled_and_not_overfilled() {
        for seed in 1..=20 {
            for lets_through in [20e3, 200e3, 1e6] {
                for loss in [0.0, 0.05, 0.1] {
                    let mut path = path(seed, loss, lets_through);
                    let mut governor = Governor::new(Instant::ZERO);
                    mean(&mut path, &mut governor, 6_000);
                    let settled = mean(&mut path, &mut governor, 20_000) / lets_through;
                    let report = governor.report();
                    assert!(
                        (0.9..1.1).contains(&settled),
                        "seed {seed}, {loss}, {lets_through}: {settled}, {report:?}"
                    );
                    assert!(
                        (report.loss - loss).abs() < 0.06,
                        "seed {seed}, {loss}, {lets_through}: {report:?}"
                    );
                    assert!(report.lowered > 0 && report.lowest_rate.is_some());
                }
            }
        }
    }

    #[test]
    fn loss_that_no_rate_helps_does_not_slow_the_scan() {
        for seed in 1..=20 {
            for loss in [0.0, 0.01, 0.05, 0.0975, 0.3] {
                let mut path = path(seed, loss, 1e12);
                let mut governor = Governor::new(Instant::ZERO);
                let rate = mean(&mut path, &mut governor, 10_000) / path.fastest;
                assert!(
                    rate > 0.9,
                    "seed {seed}, {loss}: {rate}, {:?}",
                    governor.report()
                );
                let learnt = governor.report().loss;
                assert!(
                    (learnt - loss).abs() < 0.06,
                    "seed {seed}, {loss}: {learnt}"
                );
            }
        }
    }

    #[test]
    fn heavy_loss_is_seen_in_one_verdict_and_the_rate_comes_back_when_the_path_widens() {
        let mut path = path(7, 0.0, 20e3);
        let mut governor = Governor::new(Instant::ZERO);
        (0..64).for_each(|_| {
            path.step(&mut governor);
        });
        assert!(governor.limit.is_some_and(|limit| limit < 200e3));
        mean(&mut path, &mut governor, 5_000);
        path.lets_through = 1e12;
        mean(&mut path, &mut governor, 20_000);
        assert_eq!(governor.limit(), None);
    }

    #[test]
    fn answers_that_were_only_late_take_the_descent_back() {
        let mut governor = Governor::new(Instant::ZERO);
        governor.sent(Instant::ZERO + Duration::from_millis(1), 6_400);
        let epoch = governor.epoch();
        (0..64).for_each(|n| governor.answered(epoch, n < 10));
        assert!(governor.decide() && governor.limit().is_some());
        let back = (0..54).position(|_| governor.answered_late(epoch));
        assert_eq!((back, governor.limit()), (Some(27), None));
        assert_eq!(governor.report().lowered, 0);
    }
}
