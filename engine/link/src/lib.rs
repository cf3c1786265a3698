//! How frames leave and arrive: the only unsafe code in Sonde.
//!
//! Every link that carries frames stands behind [`FrameLink`]: batches out, batches in. Whether the
//! 802.1Q tag was in the frame or the kernel moved it to the packet's metadata ends here: what
//! [`RxBatch`] hands up always has the tag in [`RxMeta`] and never in the bytes.

mod batch;
mod bpf;
pub mod connect;
mod expected;
pub mod faults;
mod ifreq;
pub mod interfaces;
mod mapping;
pub mod memory;
mod netlink;
pub mod offload;
pub mod packet;
mod tag;
mod watch;
pub mod xdp;
mod xdp_features;
pub mod xsk;

use std::io;
use std::time::Duration;

pub use batch::{FrameBatch, RxBatch, RxFrame, RxMeta};
pub use bpf::attach::AttachError;
pub use connect::{
    ConnectLink, ConnectOpenError, ConnectOptions, ConnectOutcome, ConnectResult, Unreachable,
};
pub use expected::{Expected, ExpectedSource, Proof, Proven, ProvenAnswer};
pub use faults::{FaultCounters, Faults, FaultyLink};
pub use memory::{MemoryLink, memory_pair};
pub use packet::{OpenError, PacketLink, PacketOptions};
pub use xdp::{XdpError, XdpLink};
pub use xdp_features::{XdpFeatures, xdp_features};
pub use xsk::{XskError, XskLink, XskOptions};

/// A way for Ethernet frames to leave and arrive.
pub trait FrameLink {
    /// Says what answers look like, for links that tell them from the rest of the traffic; to be said before the first
    /// frame is sent. True if the link judges them from now on: what proves itself comes as
    /// [`RxBatch::proven`] and never as a frame, what fails to prove itself is counted and dropped.
    ///
    /// # Errors
    /// When the kernel does not take it; the link is of no use then.
    fn expect(&mut self, expected: &Expected<'_>) -> io::Result<bool> {
        let _ = expected;
        Ok(false)
    }

    /// Frames that are best offered at once.
    fn batch(&self) -> usize {
        256
    }

    /// Sends the frames of `batch` from index `from` on, tag in the frame where there is one.
    ///
    /// Returns how many the kernel took, counted from `from`; fewer than all means its queue is full
    /// and the caller offers the rest again. Never blocks.
    ///
    /// # Errors
    /// When the interface is gone or refuses frames altogether; a single refused frame is counted in
    /// [`LinkCounters::tx_refused`] and skipped.
    fn transmit(&mut self, batch: &FrameBatch, from: usize) -> io::Result<usize>;

    /// Fills `batch` with what has arrived, waiting up to `wait` if nothing has.
    ///
    /// An interrupted or timed-out wait leaves `batch` empty.
    ///
    /// # Errors
    /// When the interface is gone.
    fn receive(&mut self, batch: &mut RxBatch, wait: Duration) -> io::Result<()>;

    /// What the link counted since it was opened.
    fn counters(&mut self) -> LinkCounters;
}

impl<L: FrameLink + ?Sized> FrameLink for Box<L> {
    fn expect(&mut self, expected: &Expected<'_>) -> io::Result<bool> {
        (**self).expect(expected)
    }

    fn batch(&self) -> usize {
        (**self).batch()
    }

    fn transmit(&mut self, batch: &FrameBatch, from: usize) -> io::Result<usize> {
        (**self).transmit(batch, from)
    }

    fn receive(&mut self, batch: &mut RxBatch, wait: Duration) -> io::Result<()> {
        (**self).receive(batch, wait)
    }

    fn counters(&mut self) -> LinkCounters {
        (**self).counters()
    }
}

/// What a link counts by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Frames the kernel took.
    pub tx_frames: u64,
    /// Frames the kernel refused one by one (too long, no buffer after retries).
    pub tx_refused: u64,
    /// Frames handed up.
    pub rx_frames: u64,
    /// Frames the kernel dropped because its ring to us was full.
    pub rx_dropped: u64,
    /// Frames not handed up because they can't be placed: shorter than an Ethernet header, or tagged
    /// with the reserved identifier 4095.
    pub rx_malformed: u64,
    /// Answers that failed to prove themselves, dropped by a link that judges.
    pub rx_forged: u64,
    /// Connections that were accepted and reset by a link that judges; not in [`LinkCounters::tx_frames`].
    pub tx_resets: u64,
}

#[cfg(test)]
mod tests {
    /// The scanner opens links in one thread and drives them in another.
    #[test]
    fn links_may_move_to_another_thread() {
        fn may_move<T: Send>() {}
        may_move::<super::PacketLink>();
        may_move::<super::ConnectLink>();
        may_move::<super::MemoryLink>();
        may_move::<super::XskLink>();
    }
}
