//! The agent as a process of its own, against a cloud and workers that live in the test.

#![expect(clippy::unwrap_used, reason = "a test's fixtures fail with the test")]

mod appliance;
mod cloud;
mod jobs;
mod settings;
mod tls;
mod worker;
