//! Threads, stages, reports, checkpoints and the engine worker.
