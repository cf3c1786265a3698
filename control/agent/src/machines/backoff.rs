//! How long to wait before asking again.

use std::time::Duration;

/// Random numbers from a seed: SplitMix64, enough to keep ten thousand boxes from asking at once.
#[derive(Clone, Debug)]
pub struct Jitter(u64);

impl Jitter {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Between `low` and `high`.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = u64::try_from(high.saturating_sub(low).as_millis()).unwrap_or(u64::MAX);
        low + Duration::from_millis(self.bits() % span.saturating_add(1).max(1))
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Doubles from `first` to `max`, of which the second half is random.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    failures: u32,
    jitter: Jitter,
}

impl Backoff {
    /// Waits `first` after the first failure, at most `max` after many.
    pub fn new(first: Duration, max: Duration, seed: u64) -> Self {
        Self {
            first,
            max,
            failures: 0,
            jitter: Jitter::new(seed),
        }
    }

    /// Counts a failure and tells how long to wait.
    pub fn fail(&mut self) -> Duration {
        let full = self
            .first
            .saturating_mul(1 << self.failures.min(20))
            .min(self.max);
        self.failures = self.failures.saturating_add(1);
        self.jitter.between(full / 2, full)
    }

    /// It worked.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since it last worked.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), 7);
        for full in [1, 2, 4, 8, 16, 30, 30] {
            let wait = backoff.fail();
            let full = Duration::from_secs(full);
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
        }
        backoff.reset();
        assert!(backoff.fail() <= Duration::from_secs(1));
        for _ in 0..100 {
            assert!(backoff.fail() <= Duration::from_secs(30));
        }
    }

    #[test]
    fn seeds_spread() {
        let wait = |seed| Jitter::new(seed).between(Duration::ZERO, Duration::from_secs(100));
        let first: std::collections::HashSet<_> = (0..100).map(wait).collect();
        assert!(first.len() > 95);
    }
}
