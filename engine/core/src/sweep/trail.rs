//! Where a lane was, long enough ago that every answer to what it had sent by then has come.

use std::time::Duration;

use crate::time::Instant;

/// Follows a lane's place at the distance of a timeout or two.
///
/// A checkpoint must not say that something was asked whose answer may still be on its way: killed
/// then, it would never be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trail<T> {
    settled: T,
    next: T,
    next_at: Instant,
}

impl<T: Copy> Trail<T> {
    /// A lane that is at `place`, where nothing is on its way.
    pub fn new(place: T, now: Instant) -> Self {
        Self {
            settled: place,
            next: place,
            next_at: now,
        }
    }

    /// The lane is at `place` at `now`: all before it has been sent.
    #[inline]
    pub fn follow(&mut self, now: Instant, timeout: Duration, place: T) {
        self.follow_with(now, timeout, || place);
    }

    /// As [`Trail::follow`], where the place takes some finding out.
    #[inline]
    pub fn follow_with(&mut self, now: Instant, timeout: Duration, place: impl FnOnce() -> T) {
        if now >= self.next_at + timeout {
            *self = Self {
                settled: self.next,
                next: place(),
                next_at: now,
            };
        }
    }

    /// The place before which nothing is on its way any more.
    pub fn settled(&self, now: Instant, timeout: Duration) -> T {
        if now >= self.next_at + timeout {
            self.next
        } else {
            self.settled
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_settled_a_timeout_after_it_was_passed() {
        let timeout = Duration::from_millis(100);
        let mut trail = Trail::new(0u32, Instant::ZERO);
        for ms in 0..1000u32 {
            let now = Instant::ZERO + Duration::from_millis(ms.into());
            trail.follow(now, timeout, ms);
            let settled = trail.settled(now, timeout);
            assert!(
                settled <= ms.saturating_sub(100) && settled + 200 >= ms,
                "{settled} at {ms}"
            );
        }
    }
}
