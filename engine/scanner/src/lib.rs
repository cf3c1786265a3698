//! Threads, stages, reports, checkpoints and the engine worker.

pub mod checkpoint;
pub mod environment;
pub mod links;
pub mod output;
pub mod report;
pub mod stop;
