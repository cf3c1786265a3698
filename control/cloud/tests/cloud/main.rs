//! A whole cloud on a loopback port, simulated boxes and a virtual clock.

mod contract;
mod delivery;
mod enrolment;
mod house;
mod leases;
mod lifecycle;
mod people;
