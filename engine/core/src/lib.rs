//! What to probe, in which order, how fast, and what an answer means: pure, no I/O, no clock.

pub mod checkpoint;
pub mod exclusion;
pub mod interval;
pub mod observation;
pub mod order;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod request;
pub mod target;
pub mod time;
pub mod trunk;
