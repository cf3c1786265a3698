//! The appliance: identity, activation, jobs, spool, upload, local API.

pub mod spool;
