//! Bytes to meaning and back: the frames Sonde sends and reads.

mod address;

pub use address::{InvalidMacAddr, InvalidVlanId, MacAddr, VlanId};
