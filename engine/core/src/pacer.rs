//! How many frames may go now.
//!
//! Two ceilings, packets and bits a second, whichever is lower. What was sent is kept for 100 ms, under the
//! time read *after* the link took it; what may go is asked with the time read *before* sending. A frame
//! on the wire lies between the two, so a 100 ms of any capture that holds a frame of this batch
//! holds no frame that is not in the window: no 100 ms of any capture can hold more than a tenth of a
//! second's worth, rounded up to a whole frame. However late the driver comes, only the average suffers.
//!
//! Within the window a credit keeps frames apart: it fills at the rate, and holds a stall's worth, so that
//! time lost to a stall is caught up: at twice the rate or more, and never with more than [`BURST`] frames, or half a
//! millisecond's worth, in a quarter of a millisecond. What is not caught up soon is lost for good, as the
//! window has no slack.

use std::collections::VecDeque;
use std::time::Duration;

use crate::time::Instant;

/// The time in which the ceilings hold exactly.
pub const WINDOW: Duration = Duration::from_millis(100);
/// Frames that may follow each other at once whatever the rate: what a switch port's queue always holds.
pub const BURST: u64 = 64;

/// The longest stall that is caught up.
const STALL: u64 = 20_000_000;
/// In which a burst is measured.
const BURST_TIME: Duration = Duration::from_micros(250);
/// What was sent within this is one entry of the window.
const GRAIN: Duration = Duration::from_micros(25);
/// Entries a window can hold: one a grain, and one that is about to go.
const ENTRIES: usize = (WINDOW.as_nanos() / GRAIN.as_nanos()) as usize + 2;
/// A frame, or an octet, as credit: rates are per second and times in nanoseconds.
const UNIT: u64 = 1_000_000_000;
/// So many small batches are a second's worth of frames that the link answers.
const SMALL_BATCHES: u64 = 24_000;
/// Octets on the wire of the longest frame we send.
const LONGEST: u64 = crate::probe::wire_octets(crate::template::FRAME_MAX, true) as u64;
/// Octets on the wire of a short frame.
const SHORTEST: u64 = crate::probe::wire_octets(0, false) as u64;

/// Holds a scan below its ceilings.
///
/// Call order: [`Pacer::ask`], any number of [`Pacer::take`], send, [`Pacer::sent`].
#[derive(Clone, Debug)]
pub struct Pacer {
    frames: Option<Ceiling>,
    octets: Option<Ceiling>,
    /// What the closed loop allows.
    governed: Option<Governed>,
    /// Taken, not yet sent: frames and their octets.
    pending: (u64, u64),
}

impl Pacer {
    /// A pacer for these ceilings; `None` is none.
    pub fn new(packets_per_second: Option<u64>, bits_per_second: Option<u64>) -> Self {
        Self {
            frames: packets_per_second.map(|rate| Ceiling::new(rate, 1, BURST, 1)),
            octets: bits_per_second
                .map(|rate| Ceiling::new(rate / 8, LONGEST, BURST * SHORTEST, SHORTEST)),
            governed: None,
            pending: (0, 0),
        }
    }

    /// From now on no more than this many frames a second, below the ceilings; `None` is no such limit. Unlike a ceiling
    /// it may change at any time, and what was sent before does not count.
    pub fn govern(&mut self, packets_per_second: Option<u64>) {
        self.governed = packets_per_second.map(|rate| match self.governed {
            Some(before) => Governed {
                rate: rate.max(1),
                ..before
            },
            None => Governed::new(rate),
        });
    }

    /// The link has sent one frame by itself: it counts where the closed loop allows so many. With ceilings no link does.
    #[inline]
    pub fn sent_by_link(&mut self) {
        if let Some(governed) = &mut self.governed {
            governed.spend();
            governed.by_link += 1;
        }
    }

    /// Works out what may go at `now`, read before sending.
    pub fn ask(&mut self, now: Instant) {
        if let Some(frames) = &mut self.frames {
            frames.ask(now, self.pending.0);
        }
        if let Some(octets) = &mut self.octets {
            octets.ask(now, self.pending.1);
        }
        if let Some(governed) = &mut self.governed {
            governed.ask(now);
        }
    }

    /// Takes one frame of `octets` on the wire out of what may go; false if it may not.
    #[inline]
    pub fn take(&mut self, octets: usize) -> bool {
        let octets = octets as u64;
        if self.frames.as_ref().is_some_and(|f| f.granted < 1)
            || self.octets.as_ref().is_some_and(|o| o.granted < octets)
            || self.governed.as_ref().is_some_and(|g| !g.may_go())
        {
            return false;
        }
        if let Some(frames) = &mut self.frames {
            frames.take(1);
        }
        if let Some(ceiling) = &mut self.octets {
            ceiling.take(octets);
        }
        if let Some(governed) = &mut self.governed {
            governed.spend();
            governed.taken += 1;
        }
        self.pending.0 += 1;
        self.pending.1 += octets;
        true
    }

    /// `frames` of those taken have left; `now` is read after.
    pub fn sent(&mut self, now: Instant, frames: usize) {
        let frames = (frames as u64).min(self.pending.0);
        if frames == 0 {
            return;
        }
        // Rounded up: the window never holds less than what left.
        let octets = (self.pending.1 * frames).div_ceil(self.pending.0);
        self.pending.0 -= frames;
        self.pending.1 -= octets;
        if let Some(ceiling) = &mut self.frames {
            ceiling.sent(now, frames);
        }
        if let Some(ceiling) = &mut self.octets {
            ceiling.sent(now, octets);
        }
    }

    /// When it is worth asking again: not before half a millisecond's worth, or one frame, may go.
    pub fn ready_at(&self, now: Instant) -> Instant {
        let frames = self.frames.as_ref().map(|f| f.ready_at(now));
        let octets = self.octets.as_ref().map(|o| o.ready_at(now));
        let governed = self.governed.as_ref().map(Governed::ready_at);
        frames.max(octets).max(governed).unwrap_or(now).max(now)
    }
}

/// A limit that is no promise: a bucket that holds a burst.
///
/// The link's own frames follow each batch of ours. In a path that is full the first ones of a burst, ours, would find room, and
/// the last ones, the link's, none, which nobody would see. While there are as many of them, a burst is made
/// of small batches, so that ours are among the last ones too.
#[derive(Clone, Copy, Debug)]
struct Governed {
    rate: u64,
    /// In units of [`UNIT`]; below zero when the link sent.
    credit: i64,
    /// Frames that may go at once, and that went, since it was asked last.
    batch: u64,
    taken: u64,
    /// Frames that the link sent since then.
    by_link: u64,
    /// The link sends nearly as many frames as we do.
    shared: bool,
    at: Instant,
}

impl Governed {
    fn new(rate: u64) -> Self {
        Self {
            rate: rate.max(1),
            credit: 0,
            batch: u64::MAX,
            taken: 0,
            by_link: 0,
            shared: false,
            at: Instant::ZERO,
        }
    }

    fn ask(&mut self, now: Instant) {
        if self.taken > 0 {
            self.shared = self.by_link * 2 >= self.taken;
        }
        (self.taken, self.by_link) = (0, 0);
        self.batch = match self.shared {
            true => (self.rate / SMALL_BATCHES).max(4),
            false => u64::MAX,
        };
        let passed = now.saturating_since(self.at).as_nanos() as u64;
        let earned = i64::try_from(passed.saturating_mul(self.rate)).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_add(earned).min(self.most());
        self.at = self.at.max(now);
    }

    /// One frame is gone. What is owed is bounded: a flood of answers must not hold up the scan.
    #[inline]
    fn spend(&mut self) {
        self.credit = (self.credit - UNIT as i64).max(-4 * self.most());
    }

    #[inline]
    fn may_go(&self) -> bool {
        self.credit >= UNIT as i64 && self.taken < self.batch
    }

    /// A burst.
    fn most(&self) -> i64 {
        (BURST.max(self.rate / 1000) * UNIT) as i64
    }

    fn ready_at(&self) -> Instant {
        if self.taken == self.batch && self.credit >= UNIT as i64 {
            return self.at; // the rest of a burst
        }
        let portion = match self.shared {
            true => (self.rate / 2000).max(1),
            false => (self.rate / 4000).clamp(1, BURST / 2),
        };
        let lacking = ((portion * UNIT) as i64).saturating_sub(self.credit).max(0) as u64;
        self.at + Duration::from_nanos(lacking.div_ceil(self.rate))
    }
}

/// A ceiling on frames or on octets.
#[derive(Clone, Debug)]
struct Ceiling {
    /// A second.
    rate: u64,
    /// In any [`WINDOW`].
    per_window: u64,
    /// In any [`BURST_TIME`].
    per_burst: u64,
    /// Worth waking up for.
    portion: u64,
    window: VecDeque<Entry>,
    in_window: u64,
    /// In units of [`UNIT`].
    credit: u64,
    credit_max: u64,
    credit_at: Instant,
    granted: u64,
}

/// What was sent from `first` to `last`.
#[derive(Clone, Copy, Debug)]
struct Entry {
    first: Instant,
    last: Instant,
    amount: u64,
}

impl Ceiling {
    /// `largest` is the most that is sent at once; below that nothing could ever go. `small` is worth
    /// sending by itself.
    fn new(rate: u64, largest: u64, burst: u64, small: u64) -> Self {
        let rate = rate.max(1);
        let credit_max = rate.saturating_mul(STALL).max(largest * UNIT);
        Self {
            rate,
            per_window: rate.div_ceil(10).max(largest),
            per_burst: burst.max(rate / 2000),
            portion: (rate / 2000).clamp(small, burst / 2),
            window: VecDeque::with_capacity(ENTRIES),
            in_window: 0,
            credit: largest * UNIT,
            credit_max,
            credit_at: Instant::ZERO,
            // Nothing was wanted before the first asks.
            granted: largest,
        }
    }

    fn ask(&mut self, now: Instant, pending: u64) {
        while let Some(oldest) = self.window.front()
            && oldest.last + WINDOW <= now
        {
            self.in_window -= oldest.amount;
            self.window.pop_front();
        }
        let passed = now.saturating_since(self.credit_at).as_nanos() as u64;
        let earned = passed.saturating_mul(self.rate);
        // What was granted and not taken was not wanted: that time was idle, not a stall to be caught up.
        let most = match self.granted {
            0 => self.credit_max,
            _ => self.credit_max.min(self.per_burst.saturating_mul(UNIT)),
        };
        self.credit = self.credit.saturating_add(earned).min(most);
        self.credit_at = self.credit_at.max(now);
        let lately = self.since(now, BURST_TIME);
        let lately: u64 = lately.map(|entry| entry.amount).sum();
        self.granted = (self.credit / UNIT)
            .min(self.per_window.saturating_sub(self.in_window + pending))
            .min(self.per_burst.saturating_sub(lately + pending));
    }

    #[inline]
    fn take(&mut self, amount: u64) {
        self.granted -= amount;
        self.credit -= amount * UNIT;
    }

    fn sent(&mut self, now: Instant, amount: u64) {
        self.in_window += amount;
        let full = self.window.len() == ENTRIES;
        match self.window.back_mut() {
            Some(back) if full || now <= back.first + GRAIN => {
                back.last = back.last.max(now);
                back.amount += amount;
            }
            _ => self.window.push_back(Entry {
                first: now,
                last: now,
                amount,
            }),
        }
    }

    fn ready_at(&self, now: Instant) -> Instant {
        let lacking = (self.portion * UNIT).saturating_sub(self.credit);
        let by_credit = self.credit_at + Duration::from_nanos(lacking.div_ceil(self.rate));
        let room = self.per_window.saturating_sub(self.portion);
        let mut held = self.in_window;
        let mut by_window = now;
        for entry in &self.window {
            if held <= room {
                break;
            }
            held -= entry.amount;
            by_window = entry.last + WINDOW;
        }
        let lately: u64 = self.since(now, BURST_TIME).map(|e| e.amount).sum();
        let by_burst = match self.since(now, BURST_TIME).last() {
            Some(oldest) if lately + self.portion > self.per_burst => oldest.last + BURST_TIME,
            _ => now,
        };
        by_credit.max(by_window).max(by_burst)
    }

    /// What was sent less than `time` before `now`, newest first.
    fn since(&self, now: Instant, time: Duration) -> impl Iterator<Item = &Entry> {
        self.window
            .iter()
            .rev()
            .take_while(move |entry| entry.last + time > now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A driver that comes late, stalls and sends slowly, and a capture of what it sends.
    struct Driver {
        now: u64,
        random: u64,
        /// Longest time between being due and coming.
        late: u64,
        /// Chance in 1,000 of a stall, a turn, and its longest.
        stalls: (u64, u64),
        capture: Vec<u64>,
    }

    impl Driver {
        fn new(seed: u64) -> Self {
            Self {
                now: 0,
                random: seed | 1,
                late: 20_000,
                stalls: (0, 0),
                capture: Vec::new(),
            }
        }

        fn below(&mut self, n: u64) -> u64 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            if n == 0 { 0 } else { self.random % n }
        }

        fn run(&mut self, pacer: &mut Pacer, octets: usize, nanos: u64) {
            while self.now < nanos {
                pacer.ask(Instant::from_nanos(self.now));
                let mut frames = 0;
                while frames < 1024 && pacer.take(octets) {
                    frames += 1;
                }
                for _ in 0..frames {
                    self.now += self.below(100);
                    self.capture.push(self.now);
                }
                self.now += self.below(5_000);
                pacer.sent(Instant::from_nanos(self.now), frames);
                let due = pacer.ready_at(Instant::from_nanos(self.now)).as_nanos();
                self.now = due.max(self.now) + self.below(self.late);
                if self.below(1000) < self.stalls.0 {
                    self.now += self.below(self.stalls.1);
                }
            }
        }

        /// Most frames in any `nanos` of the capture.
        fn most_in(&self, nanos: u64) -> usize {
            let mut first = 0;
            let mut most = 0;
            for (at, time) in self.capture.iter().enumerate() {
                while self.capture[first] + nanos <= *time {
                    first += 1;
                }
                most = most.max(at - first + 1);
            }
            most
        }
    }

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn every_rate_is_met_and_never_exceeded() {
        for rate in [
            1, 7, 10, 15, 99, 1_000, 12_345, 50_000, 100_000, 300_000, 1_000_000, 5_000_000,
            10_000_000,
        ] {
            let mut driver = Driver::new(rate);
            let nanos = (20_000 * SECOND / rate).clamp(SECOND, 60 * SECOND);
            driver.run(&mut Pacer::new(Some(rate), None), 88, nanos);
            assert!(
                driver.most_in(SECOND / 10) as u64 <= rate.div_ceil(10),
                "rate {rate}"
            );
            // Back to back: 64 frames, or a millisecond of the rate.
            let burst = BURST.max(rate / 1000);
            assert!(
                driver.most_in(BURST_TIME.as_nanos() as u64 / 10) as u64 <= burst,
                "rate {rate}"
            );
            let due = (u128::from(rate) * u128::from(driver.now) / u128::from(SECOND)) as f64;
            let met = driver.capture.len() as f64 / due;
            // A frame at the start is due at once, which a few frames in all notice.
            assert!(
                (0.995..=1.005 + 2.0 / due).contains(&met),
                "rate {rate}: {met}"
            );
        }
    }

    #[test]
    fn a_governed_rate_is_met_in_bursts_of_a_millisecond() {
        for rate in [10, 1_000, 10_000, 100_000, 1_000_000, 5_000_000] {
            let mut pacer = Pacer::new(None, None);
            pacer.govern(Some(rate));
            let mut driver = Driver::new(rate);
            let nanos = (20_000 * SECOND / rate).clamp(SECOND, 60 * SECOND);
            driver.run(&mut pacer, 88, nanos);
            let due = rate as f64 * driver.now as f64 / 1e9;
            let met = driver.capture.len() as f64 / due;
            assert!(
                (0.995..=1.005 + 64.0 / due).contains(&met),
                "rate {rate}: {met}"
            );
            assert!(
                driver.most_in(25_000) as u64 <= BURST.max(rate / 1000),
                "rate {rate}"
            );
        }
    }

    #[test]
    fn frames_of_the_link_take_room_and_come_between_ours() {
        let rate = 200_000;
        let mut pacer = Pacer::new(None, None);
        pacer.govern(Some(rate));
        let (mut now, mut ours, mut largest) = (Instant::ZERO, 0, 0);
        while now < Instant::ZERO + Duration::from_secs(1) {
            pacer.ask(now);
            let batch = std::iter::from_fn(|| pacer.take(88).then_some(())).count();
            (0..batch).for_each(|_| pacer.sent_by_link());
            pacer.sent(now, batch);
            ours += batch;
            if now > Instant::ZERO + Duration::from_millis(10) {
                largest = largest.max(batch);
            }
            now = pacer.ready_at(now).max(now + Duration::from_micros(5));
        }
        assert!((99_000..=100_500).contains(&ours), "{ours}");
        assert!((4..=8).contains(&largest), "{largest}");
    }

    #[test]
    fn stalls_of_a_few_milliseconds_are_caught_up_gently() {
        for rate in [2_000, 50_000, 1_000_000] {
            let mut driver = Driver::new(rate);
            driver.stalls = (10, 5_000_000);
            driver.run(&mut Pacer::new(Some(rate), None), 88, 3 * SECOND);
            let met = driver.capture.len() as f64 / (rate as f64 * driver.now as f64 / 1e9);
            assert!((0.995..=1.001).contains(&met), "rate {rate}: {met}");
            assert!(driver.most_in(SECOND / 10) as u64 <= rate.div_ceil(10));
            // Two bursts can touch in a capture only if their batches took as long to send.
            let burst = BURST.max(rate / 2000) as usize;
            assert!(driver.most_in(225_000) <= burst + burst / 2, "rate {rate}");
        }
    }

    #[test]
    fn bits_are_counted_as_on_the_wire() {
        // A tagged SYN of 78 octets takes 102 with preamble, check sum and gap.
        let octets = crate::probe::wire_octets(78, true);
        let mut driver = Driver::new(5);
        driver.run(&mut Pacer::new(None, Some(100_000_000)), octets, 2 * SECOND);
        let bits = driver.capture.len() as f64 * octets as f64 * 8.0;
        let met = bits / (driver.now as f64 / 1e9) / 100e6;
        assert!((0.995..=1.0).contains(&met), "{met}");
        assert!(driver.most_in(SECOND / 10) * octets * 8 <= 10_000_000);
    }

    #[test]
    fn the_lower_ceiling_holds() {
        let mut pacer = Pacer::new(Some(1_000_000), Some(8 * 1_000 * 1_000));
        let mut driver = Driver::new(5);
        driver.run(&mut pacer, 1_000, SECOND);
        assert!(
            (990..=1000).contains(&driver.capture.len()),
            "{}",
            driver.capture.len()
        );
    }

    #[test]
    fn without_a_ceiling_everything_goes_at_once() {
        let mut pacer = Pacer::new(None, None);
        let now = Instant::from_nanos(5);
        pacer.ask(now);
        assert!((0..10_000).all(|_| pacer.take(88)));
        assert_eq!(pacer.ready_at(now), now);
    }

    #[test]
    fn frames_taken_and_not_yet_sent_count() {
        let mut pacer = Pacer::new(Some(1_000), None);
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        pacer.ask(at(1_000));
        let taken = (0..1000).take_while(|_| pacer.take(88)).count();
        assert_eq!(taken, 20); // a stall's worth
        // The link is stuck: nothing is ever sent, and no more than a window's worth is taken.
        let more: usize = (1_001..3_000)
            .map(|ms| {
                pacer.ask(at(ms));
                (0..1000).take_while(|_| pacer.take(88)).count()
            })
            .sum();
        assert!(taken + more <= 64);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_driver_can_make_it_exceed_the_ceiling(
            seed: u64, rate in 1..200_000u64, late in 0..3_000_000u64,
            stalls in (0..100u64, 0..300_000_000u64),
        ) {
            let mut driver = Driver::new(seed);
            (driver.late, driver.stalls) = (late, stalls);
            driver.run(&mut Pacer::new(Some(rate), None), 88, SECOND);
            prop_assert!(driver.most_in(SECOND / 10) as u64 <= rate.div_ceil(10));
        }
    }
}
