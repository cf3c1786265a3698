//! Threads, stages, reports, checkpoints and the engine worker.
//!
//! ```text
//!   ScanRequest ─▶ Scan::prepare ─▶ Scan::run
//!     environment, links,            driver (owns sweep and exchange) ─▶ writer thread ─▶ Sink
//!     core's plan                                                        outputs, checkpoint file, progress
//! ```
//!
//! Everything that touches the machine around a scan is here: interfaces and names, files, signals, clocks,
//! threads. What to send and what an answer means is core's; how a frame leaves is the link's. It refuses what
//! this build can not do, and never starts what it could not report.

pub mod checkpoint;
mod clock;
mod driver;
pub mod environment;
mod exchange;
pub mod links;
mod observe;
pub mod output;
pub mod report;
pub mod scan;
pub mod sink;
pub mod stop;
pub mod worker;
mod writer;

/// The address type of a request's `source_mac`, for who builds requests from words.
pub use sonde_wire::MacAddr;
