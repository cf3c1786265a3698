//! The appliance: identity, activation, jobs, spool, upload, local API.

pub mod config;
pub mod identity;
pub mod ledger;
pub mod machines;
pub mod spool;
pub mod store;
