//! End-to-end tests that need the machine to themselves: they hold every frame, or its time, against a
//! capture. Test programs run one after the other, so nothing else runs beside these.

#![expect(
    clippy::unwrap_used,
    reason = "whatever a test did not expect is its failure"
)]

mod capture;
#[expect(dead_code, reason = "the other test program uses the rest of it")]
#[path = "../harness/mod.rs"]
mod harness;
mod peer;
mod rate;
mod trunk;
