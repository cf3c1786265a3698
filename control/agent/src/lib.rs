//! The appliance: identity, activation, jobs, spool, upload, local API.

pub mod cloud_client;
pub mod config;
pub mod identity;
pub mod ledger;
pub mod lines;
pub mod machines;
pub mod spool;
pub mod store;
pub mod tls;
pub mod worker;
