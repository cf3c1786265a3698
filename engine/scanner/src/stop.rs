//! Asking a scan to end: by a signal, or by whoever started it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};

/// A request to end that any thread or signal handler may make: first gently, then at once.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Set by the handler, which can't count; taken by whoever looks next.
    signalled: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

/// How urgent it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Go on.
    None,
    /// Send no more, wait for the answers on their way, write everything.
    Gently,
    /// Write what is known and end.
    AtOnce,
}

impl Stop {
    /// A request that SIGINT and SIGTERM make: the first gently, the second at once.
    ///
    /// # Errors
    /// When the signals can't be caught.
    pub fn on_signals() -> io::Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop.signalled))?;
        }
        Ok(stop)
    }

    /// Asks once more: the first time gently, from then on at once.
    pub fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// What has been asked.
    pub fn urgency(&self) -> Urgency {
        if self.signalled.swap(false, Ordering::Relaxed) {
            self.ask();
        }
        match self.asked.load(Ordering::Relaxed) {
            0 => Urgency::None,
            1 => Urgency::Gently,
            _ => Urgency::AtOnce,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgency_grows_with_each_asking_from_wherever() {
        let stop = Stop::default();
        assert_eq!(stop.urgency(), Urgency::None);
        stop.signalled.store(true, Ordering::Relaxed);
        assert_eq!(stop.urgency(), Urgency::Gently);
        assert_eq!(stop.urgency(), Urgency::Gently);
        stop.ask();
        assert_eq!(stop.urgency(), Urgency::AtOnce);
    }
}
