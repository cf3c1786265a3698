//! End-to-end tests of the built `sonde`: one binary, a file a subject.

mod harness;
mod memory;
mod panel;
mod peers;
mod refusals;
mod trunk;
mod trunk_kernel;
