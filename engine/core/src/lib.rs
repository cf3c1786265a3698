//! What to probe, in which order, how fast, and what an answer means: pure, no I/O, no clock.

pub mod answered;
pub mod checkpoint;
pub mod cookie;
pub mod drops;
pub mod dryrun;
pub mod exclusion;
pub mod hosts;
pub mod interval;
pub mod judge;
pub mod neighbor;
pub mod observation;
pub mod order;
pub mod pacer;
pub mod payload;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod probe;
pub mod request;
pub mod responder;
pub mod rtt;
pub mod sweep;
pub mod target;
pub mod template;
pub mod time;
pub mod trunk;
