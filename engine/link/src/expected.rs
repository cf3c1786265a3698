//! What answers of a scan look like, for links that tell them from the rest of the traffic.

use std::net::IpAddr;

use sonde_wire::{MacAddr, VlanId};

/// What a scan's answers look like.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// TCP and UDP port that probes come from and answers go to.
    pub port: u16,
    /// Our addresses.
    pub sources: &'a [ExpectedSource],
    /// How answers prove themselves; `None`: hand up all there are, whole.
    pub proof: Option<Proof<'a>>,
}

/// One of our addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedSource {
    /// Its VLAN.
    pub vlan: Option<VlanId>,
    /// The address.
    pub ip: IpAddr,
    /// The kernel owns it, too.
    pub kernel_owned: bool,
}

/// How answers prove themselves: by the low 32 bits of SipHash-1-3 over what was asked, xor the word of
/// the VLAN it was asked in. A TCP answer brings them back as acknowledgment number less one, an echo reply as
/// identifier and sequence number.
///
/// The bytes hashed are, for IPv4, `address, 4, protocol, port` and for IPv6 `address, 6, protocol, port`, in network order; the
/// protocol is 6 for TCP and 1, with port 0, for an echo in both families.
#[derive(Clone, Copy)]
pub struct Proof<'a> {
    /// The secret key.
    pub key: [u8; 16],
    /// By VLAN; 0 is the untagged LAN.
    pub words: &'a [u32; 4096],
    /// Also reset what accepted a connection where the kernel doesn't own our address. Where it does, a link that
    /// judges always resets, as the kernel never sees the answer.
    pub resets: bool,
}

impl std::fmt::Debug for Proof<'_> {
    /// Without the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proof").finish_non_exhaustive()
    }
}

/// An answer that has proven itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proven {
    /// The VLAN it came in on, which is that of the question.
    pub vlan: Option<VlanId>,
    /// Who answers.
    pub ip: IpAddr,
    /// What.
    pub answer: ProvenAnswer,
    /// Time to live or hop limit left.
    pub ttl: u8,
    /// Source address of the frame.
    pub mac: MacAddr,
}

/// What a proven answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvenAnswer {
    /// The TCP port accepted. `reset` is the sequence number to reset it by, if that is still to be done.
    TcpOpen {
        /// The port.
        port: u16,
        /// What the port expects next.
        reset: Option<u32>,
    },
    /// The TCP port refused.
    TcpClosed {
        /// The port.
        port: u16,
    },
    /// An echo came back.
    Echo,
}
