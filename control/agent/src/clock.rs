//! The one place that asks what time it is and rolls dice, for the machines that don't.

use std::time::Duration;

use rand::Rng as _;
use sonde_core::time::Instant;

/// Time since the agent started. Goes on while the wall clock jumps.
#[derive(Clone, Copy, Debug)]
pub struct Clock(std::time::Instant);

impl Clock {
    /// Starts at zero.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// Now.
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.0.elapsed()
    }

    /// Sleeps until then; without a time, until woken otherwise.
    pub async fn sleep_until(&self, at: Option<Instant>) {
        match at {
            Some(at) => tokio::time::sleep(at - self.now()).await,
            None => std::future::pending().await,
        }
    }

    /// When `after` from now will be.
    pub fn after(&self, after: Duration) -> Instant {
        self.now() + after
    }
}

/// A seed for a machine.
pub fn seed() -> u64 {
    rand::rng().next_u64()
}
