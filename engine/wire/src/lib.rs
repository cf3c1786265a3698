//! Bytes to meaning and back: the frames Sonde sends and reads.
//!
//! ```text
//!   emit:   ethernet::emit ─ ipv4/ipv6 ─ tcp/udp/icmp*/ndisc/arp  ─▶ &mut [u8], offsets public to patch
//!   parse:  &[u8] ─▶ frame::parse ─▶ Packet, or an RxDrop that is counted
//! ```
//!
//! Each protocol is a file: public offsets into its header for templates to patch, and functions that write
//! whole headers. Numbers are in host order in every type and in network order in every buffer. Nothing here
//! panics on what was received; the emitters panic when the caller's buffer is too short.
//!
//! It refuses frames with a second tag, fragments after the first, and whatever carries a wrong checksum.

mod address;
pub mod arp;
pub mod checksum;
mod drop;
pub mod ethernet;
pub mod frame;
pub mod icmpv4;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
pub mod ndisc;
mod octets;
mod quoted;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use address::{InvalidMacAddr, InvalidVlanId, MacAddr, VlanId};
pub use drop::RxDrop;
pub use frame::{Body, Checksums, Packet, parse};
pub use quoted::{Quoted, QuotedTransport};
