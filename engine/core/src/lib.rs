//! What to probe, in which order, how fast, and what an answer means: pure, no I/O, no clock.

pub mod checkpoint;
pub mod observation;
pub mod plan;
pub mod request;
pub mod time;
pub mod trunk;
