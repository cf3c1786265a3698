//! A whole cloud on a loopback port, simulated boxes and a virtual clock.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what went wrong by failing there"
)]

mod contract;
mod crash;
mod delivery;
mod enrolment;
mod house;
mod leases;
mod lifecycle;
mod people;
