//! What the agent decides, without doing any of it: no clock, no socket, no file. `now` and seeds
//! are arguments, so everything here replays on a virtual clock.
//!
//! All machines are driven alike: `handle_*` tells what happened, then `poll_action` is asked until
//! it has nothing, then the driver waits for the next event or until `poll_timeout`.

pub mod activation;
pub mod backoff;
pub mod job;
pub mod lease;
pub mod poll;
pub mod upload;

#[cfg(test)]
mod simulation;
