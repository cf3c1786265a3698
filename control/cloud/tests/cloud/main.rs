//! A whole cloud on a loopback port, simulated boxes and a virtual clock.

#![allow(
    clippy::unwrap_used,
    reason = "a test says what went wrong by failing there"
)]
#![allow(clippy::print_stdout, reason = "a process under test says where it is")]

mod contract;
mod crash;
mod delivery;
mod enrolment;
mod house;
mod leases;
mod lifecycle;
mod people;
mod requests;
