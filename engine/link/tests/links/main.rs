//! What every link promises, held against the real kernel: one executable, a module each.

#[path = "../conformance/mod.rs"]
mod conformance;
mod connect;
mod frames;
mod namespace;
mod packet;
mod xdp;
mod xsk;
