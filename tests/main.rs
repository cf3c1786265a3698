//! End-to-end tests of the built `sonde`: one binary, a file a subject.

#![expect(
    clippy::unwrap_used,
    reason = "whatever a test did not expect is its failure"
)]

mod harness;
mod memory;
mod panel;
mod peers;
mod privileges;
mod refusals;
mod trunk_kernel;
// Of the comparison its own tests alone.
#[path = "../benches/versus/main.rs"]
mod versus;
