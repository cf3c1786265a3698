//! How probes leave and answers arrive.

mod attempts;
mod frames;

use std::io;
use std::time::Duration;

use sonde_core::sweep::Sweep;
use sonde_link::LinkCounters;

pub(crate) use self::attempts::AttemptExchange;
pub(crate) use self::frames::FrameExchange;
use crate::clock::Clock;

/// Frames over a link, or attempts by the kernel's own sockets.
pub(crate) trait Exchange {
    /// Sends what the sweep wants sent, as far as the link takes it.
    fn transmit(&mut self, clock: &Clock, sweep: &mut Sweep) -> io::Result<Next>;

    /// Hands the sweep what has arrived, waiting up to `wait` for the first.
    fn receive(&mut self, clock: &Clock, sweep: &mut Sweep, wait: Duration) -> io::Result<()>;

    /// What the link counted.
    fn counters(&mut self) -> LinkCounters;

    /// Blocks of a capture of what went both ways; left empty by whoever captures nothing.
    fn captured(&mut self) -> &mut Vec<u8>;
}

/// What is to be done after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing more may be sent now.
    Idle,
    /// There may be more to send at once.
    More,
    /// The link is full and has to be offered the rest again soon.
    Full,
}
