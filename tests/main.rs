//! End-to-end tests of the built `sonde`: one binary, a file a subject.

mod harness;
mod refusals;
