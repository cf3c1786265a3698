//! One question to one host, and what else leaves during a scan.

use std::net::IpAddr;

use sonde_wire::MacAddr;

/// A frame to be built from its template, or by the kernel. 44 bytes; the link never needs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Index into [`crate::plan::Plan::routes`]: VLAN, source, and how it gets there.
    pub route: u32,
    /// Who is asked.
    pub dst: IpAddr,
    /// Where the frame goes on link: the host, its gateway, or a group address.
    pub next_hop: MacAddr,
    /// What is asked.
    pub kind: ProbeKind,
    /// What the answer must bring back (see [`crate::cookie`]).
    pub cookie: u32,
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeKind {
    /// Who has this IPv4 address?
    Arp,
    /// Who has this IPv6 address?
    Ndp,
    /// ICMP or ICMPv6 echo.
    Echo,
    /// Is this TCP port open?
    TcpSyn {
        /// The port.
        port: u16,
    },
    /// No question: the connection that a port has just accepted is not wanted.
    TcpRst {
        /// The port.
        port: u16,
        /// What the port expects next.
        seq: u32,
    },
    /// Is this UDP port open?
    Udp {
        /// The port.
        port: u16,
    },
}

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// Build it by [`crate::template::Templates::fill`].
    Probe(Probe),
    /// Ready as it is, tag in: an answer of ours to somebody's question.
    Frame(Box<[u8]>),
}

/// Shortest frame without tag and check sum; shorter ones are padded on the wire.
const MIN_FRAME: usize = sonde_wire::ethernet::MIN_FRAME;
/// Preamble and start (8), frame check sequence (4), gap between packets (12).
const AROUND: usize = 8 + 4 + 12;

/// Octets a frame takes on the wire: padding, preamble, check sum and gap counted
/// (IEEE 802.3-2022 §3, §4.4.2). `length` is without check sum but with its tag, if it is `tagged`.
pub const fn wire_octets(length: usize, tagged: bool) -> usize {
    let tag = if tagged {
        sonde_wire::vlan::TAG_LENGTH
    } else {
        0
    };
    let shortest = MIN_FRAME + tag;
    AROUND + if length < shortest { shortest } else { length }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_frames_take_84_and_88_octets() {
        assert_eq!(wire_octets(42, false), 84);
        assert_eq!(wire_octets(46, true), 88);
        assert_eq!(wire_octets(74, false), 98);
        assert_eq!(wire_octets(78, true), 102);
    }
}
