//! What a sweep needs to know besides the plan.

use std::fmt;

use super::broadcast;

/// What a sweep needs to know besides the plan. [`Default`] leaves only `key` and `source_port` to fill in.
#[derive(Clone, Copy)]
pub struct SweepConfig {
    /// Secret of this run, drawn anew for each, also when resuming; all zeros is refused.
    pub key: [u8; 16],
    /// Where TCP and UDP probes come from; nothing else on this machine may use it.
    pub source_port: u16,
    /// Units of a window, one bit each. A resumed sweep keeps its checkpoint's. At the default a checkpoint takes 5 ms of
    /// the sending thread and at most 0.7 MB, and the wait at a window's end one part in a hundred even
    /// at a million frames a second; with 2^26 units it takes 180 ms, far more than the pace can catch up.
    pub window_units: u64,
    /// Hosts whose ports are asked at the same time.
    pub hosts_max: usize,
    /// Bits for the ports of those hosts: fewer hosts at a time if they have many.
    pub host_bits: u64,
    /// Hosts that may wait for a place before no more are looked for.
    pub queue_max: usize,
    /// Probes a second to one host in the deep lane: all ports of one host in a third of a second and a pass, and no more
    /// than an eighth of what a gigabit carries.
    pub host_pps: u64,
    /// Broadcasts a second and VLAN.
    pub broadcast_pps: u64,
    /// Probes whose time of sending is remembered.
    pub outstanding: usize,
    /// Hosts remembered when they have no bit of their own, and leaks.
    pub listed_max: usize,
    /// Whether a scan without a given rate asks known responders again and slows down when their answers thin out.
    pub closed_loop: bool,
}

impl Default for SweepConfig {
    fn default() -> Self {
        Self {
            key: [0; 16],
            source_port: 0,
            window_units: 1 << 22,
            hosts_max: 4096,
            host_bits: 8 * (4 << 20),
            queue_max: 1 << 16,
            host_pps: 200_000,
            broadcast_pps: broadcast::RATE,
            outstanding: 1 << 17,
            listed_max: 1 << 20,
            closed_loop: false,
        }
    }
}

impl fmt::Debug for SweepConfig {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SweepConfig")
            .field("source_port", &self.source_port)
            .field("window_units", &self.window_units)
            .field("hosts_max", &self.hosts_max)
            .finish_non_exhaustive()
    }
}
