//! The one place where this machine's clocks become the engine's.

use std::time::Duration;

use sonde_core::time::Instant;
use time::OffsetDateTime;

/// The monotonic clock, counted from the start of the scan, and what the wall clock said then. A wall
/// clock that jumps moves nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    epoch: std::time::Instant,
    started: OffsetDateTime,
}

impl Clock {
    /// A clock whose zero is now.
    pub(crate) fn start() -> Self {
        Self {
            epoch: std::time::Instant::now(),
            started: OffsetDateTime::now_utc(),
        }
    }

    /// Now.
    pub(crate) fn now(&self) -> Instant {
        // 584 years of scanning fit.
        Instant::from_nanos(self.epoch.elapsed().as_nanos() as u64)
    }

    /// The wall clock's time of an instant.
    pub(crate) fn wall(&self, at: Instant) -> OffsetDateTime {
        self.started + Duration::from_nanos(at.as_nanos())
    }

    /// The same in nanoseconds since 1970.
    pub(crate) fn unix_nanos(&self, at: Instant) -> u64 {
        u64::try_from(self.wall(at).unix_timestamp_nanos()).unwrap_or(0)
    }
}
