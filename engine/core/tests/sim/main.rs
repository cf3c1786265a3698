//! Whole scans of networks that live in memory, on a clock that jumps: loss, duplicates, overtaking, forgery, leaks,
//! crashes. SONDE_SIM_SEED repeats one run.

#![allow(
    clippy::unwrap_used,
    reason = "all of this is tests, in functions clippy does not know for such"
)]

mod direct;
mod driver;
mod driving;
mod gateways;
mod network;
mod policed;
mod random;
mod scans;
mod segments;
mod steady;
mod waits;
mod world;
