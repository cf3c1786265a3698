//! The appliance: identity, activation, jobs, spool, upload, local API.
//!
//! ```text
//!  sonde appliance (supervisor) --starts--> sonde agent (agent)
//!        |  worker.sock                        |
//!        '--starts--> sonde engine-worker <----' request down, observations up
//!                                              |
//!   panel <--agent.sock-- local                |-- worker -> lines -> spool -> job_task -> cloud_client -> cloud
//!                                              '-- lease_keeper ------------------------------------------^
//! ```
//!
//! What is decided is decided in [`machines`], on arguments alone; everything else does as told. It refuses
//! to open a network port, to print its key, and to forget a result before the cloud has committed it.

pub mod agent;
pub mod clock;
pub mod cloud_client;
pub mod config;
pub mod desk;
pub mod identity;
pub mod job_task;
pub mod lease_keeper;
pub mod ledger;
pub mod lines;
pub mod local;
pub mod machines;
pub mod privileges;
pub mod settings;
pub mod spool;
pub mod status;
pub mod store;
pub mod supervisor;
pub mod worker;
