//! What every link promises, held against the real kernel: one executable, a module each.

mod conformance;
mod connect;
mod namespace;
mod packet;
