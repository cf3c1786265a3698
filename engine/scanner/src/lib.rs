//! Threads, stages, reports, checkpoints and the engine worker.

pub mod report;
