//! Frames as a scanner sends them, and one question for each service over UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_lab::Kind;
use sonde_wire::arp::Arp;
use sonde_wire::checksum::Sum;
use sonde_wire::ipv4::Ipv4;
use sonde_wire::ipv6::Ipv6;
use sonde_wire::tcp::{self, Segment};
use sonde_wire::{MacAddr, VlanId, ethernet, ipv4, ipv6, ndisc, udp};

/// The scanner's own MAC address.
pub(crate) const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x77]);

/// "Who has `target`?": an ARP request or a neighbor solicitation, broadcast or multicast.
pub(crate) fn who_has(vlan: Option<VlanId>, source: IpAddr, target: IpAddr) -> Vec<u8> {
    let mut frame = vec![0; 128];
    let length = match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            let at = ethernet::emit(&mut frame, MacAddr::BROADCAST, OURS, vlan, ethernet::ARP);
            at + Arp::request(OURS, source, target).emit(&mut frame[at..])
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let group = ndisc::solicited_node(target);
            let to = ndisc::multicast_mac(group);
            let mut at = ethernet::emit(&mut frame, to, OURS, vlan, ethernet::IPV6);
            let length = ndisc::NEIGHBOR_LENGTH as u16;
            let header = Ipv6 {
                hop_limit: ndisc::HOP_LIMIT,
                ..Ipv6::new(source, group, ipv6::ICMPV6, length)
            };
            at += header.emit(&mut frame[at..]);
            at + ndisc::emit_neighbor_solicitation(&mut frame[at..], (source, group), target, OURS)
        }
        _ => panic!("{source} and {target} are of two families"),
    };
    frame.truncate(length);
    frame
}

/// A SYN from port 40,000.
pub(crate) fn syn(
    vlan: Option<VlanId>,
    to: MacAddr,
    source: Ipv4Addr,
    target: Ipv4Addr,
    port: u16,
) -> Vec<u8> {
    let segment = Segment {
        src_port: 40_000,
        dst_port: port,
        seq: 1,
        ack: 0,
        flags: tcp::SYN,
        window: 1024,
        options: &[],
    };
    let length = segment.length() as u16;
    let mut frame = vec![0; 128];
    let mut at = ethernet::emit(&mut frame, to, OURS, vlan, ethernet::IPV4);
    at += Ipv4::new(source, target, ipv4::TCP, length).emit(&mut frame[at..]);
    let pseudo = Sum::default().pseudo4(source, target, ipv4::TCP, length);
    at += segment.emit(&mut frame[at..], pseudo);
    frame.truncate(at);
    frame
}

/// A datagram from port 40,000.
pub(crate) fn datagram(
    vlan: Option<VlanId>,
    to: MacAddr,
    (source, target): (Ipv4Addr, Ipv4Addr),
    port: u16,
    payload: &[u8],
) -> Vec<u8> {
    let length = (udp::HEADER + payload.len()) as u16;
    let mut frame = vec![0; 128 + payload.len()];
    let mut at = ethernet::emit(&mut frame, to, OURS, vlan, ethernet::IPV4);
    at += Ipv4::new(source, target, ipv4::UDP, length).emit(&mut frame[at..]);
    let pseudo = Sum::default().pseudo4(source, target, ipv4::UDP, length);
    at += udp::emit(&mut frame[at..], pseudo, 40_000, port, payload);
    frame.truncate(at);
    frame
}

/// What a service over UDP is asked.
pub(crate) fn question(kind: Kind) -> &'static [u8] {
    match kind {
        Kind::Dns => b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\x03lab\0\0\x01\0\x01",
        Kind::Ntp => b"\x230000000000000000000000000000000000000000000000\0",
        Kind::Snmp => {
            b"\x30\x29\x02\x01\x01\x04\x06public\xa0\x1c\x02\x04\x01\x02\x03\x04\
              \x02\x01\0\x02\x01\0\x30\x0e\x30\x0c\x06\x08\x2b\x06\x01\x02\x01\x01\x01\0\x05\0"
        }
        tcp => panic!("{tcp:?} is not asked over UDP"),
    }
}

/// The link-local address that a scanner without one of its own in a network asks from.
pub(crate) const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x77);
