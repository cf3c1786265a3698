//! Frames that hosts may send: answers made of the very probes they answer, and questions to us.

use sonde_wire::arp::{self, Arp};
use sonde_wire::{MacAddr, VlanId, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndisc, tcp};

use crate::choices::Choices;
use crate::network::{Sent, Vlan, ours};

/// ICMPv6 types (RFC 4861 §4.3, §4.4).
const NEIGHBOR_SOLICITATION: u8 = 135;
const NEIGHBOR_ADVERTISEMENT: u8 = 136;

/// An answer to `sent` as a host would give it, but for transport checksums. An answer of ours is only
/// turned around.
pub fn to(sent: &Sent, choices: &mut Choices<'_>) -> Vec<u8> {
    let mut frame = sent.bytes.clone();
    let them = MacAddr([2, 0, 0, 0, 1, choices.byte()]);
    frame.copy_within(6..12, 0);
    frame[6..12].copy_from_slice(&them.0);
    let packet = &mut frame[ethernet::HEADER..];
    match u16::from_be_bytes([sent.bytes[12], sent.bytes[13]]) {
        ethernet::ARP => {
            if let Ok(request) = Arp::parse(packet) {
                request.reply(them).emit(packet);
            }
        }
        ethernet::IPV4 => {
            swap(packet, ipv4::SRC, ipv4::DST, 4);
            let protocol = packet[ipv4::PROTOCOL];
            if choices.byte() % 8 == 7 {
                return unreachable4(&frame, sent, choices);
            }
            answer(protocol, &mut packet[ipv4::HEADER..], choices);
        }
        _ => {
            swap(packet, ipv6::SRC, ipv6::DST, 16);
            let protocol = packet[ipv6::NEXT_HEADER];
            let (header, payload) = packet.split_at_mut(ipv6::HEADER);
            if protocol == ipv6::ICMPV6 && payload[0] == NEIGHBOR_SOLICITATION {
                header[ipv6::SRC..ipv6::DST].copy_from_slice(&payload[ndisc::TARGET..][..16]);
                payload[0] = NEIGHBOR_ADVERTISEMENT;
                payload[4] = 0x60; // solicited, overrides
                payload[ndisc::OPTION_MAC - 2] = 2;
                payload[ndisc::OPTION_MAC..][..6].copy_from_slice(&them.0);
            } else {
                answer(protocol, payload, choices);
            }
        }
    }
    frame
}

/// Turns a question around; addresses are turned already.
fn answer(protocol: u8, packet: &mut [u8], choices: &mut Choices<'_>) {
    match protocol {
        ipv4::TCP => {
            swap(packet, tcp::SRC_PORT, tcp::DST_PORT, 2);
            let seq = [4, 5, 6, 7].map(|at| packet[at]);
            let ack = u32::from_be_bytes(seq).wrapping_add(1);
            packet[tcp::ACK_NUMBER..][..4].copy_from_slice(&ack.to_be_bytes());
            packet[tcp::FLAGS] = *choices.of(&[tcp::SYN | tcp::ACK, tcp::RST | tcp::ACK, tcp::SYN]);
        }
        ipv4::UDP => swap(packet, 0, 2, 2),
        ipv4::ICMP => packet[0] = icmpv4::ECHO_REPLY,
        _ => packet[0] = icmpv6::ECHO_REPLY,
    }
}

/// What a router or the host itself says of a probe that it did not like (RFC 792).
fn unreachable4(turned: &[u8], sent: &Sent, choices: &mut Choices<'_>) -> Vec<u8> {
    let quoted = &sent.bytes[ethernet::HEADER..];
    let length = icmpv4::HEADER + quoted.len();
    let mut frame = vec![0; ethernet::HEADER + ipv4::HEADER + length];
    frame[..ethernet::HEADER].copy_from_slice(&turned[..ethernet::HEADER]);
    let address = |at: usize| {
        let octets: [u8; 4] = std::array::from_fn(|n| turned[ethernet::HEADER + at + n]);
        octets.into()
    };
    let ip = ipv4::Ipv4::new(
        address(ipv4::SRC),
        address(ipv4::DST),
        ipv4::ICMP,
        length as u16,
    );
    let packet = &mut frame[ethernet::HEADER..];
    let at = ip.emit(packet);
    packet[at] = 3;
    packet[at + 1] = choices.byte() % 16;
    packet[at + icmpv4::HEADER..].copy_from_slice(quoted);
    frame
}

/// Somebody asks for an address of ours, or whether it is there.
pub fn question(choices: &mut Choices<'_>) -> (Vlan, Vec<u8>) {
    let (vlan, ip) = *choices.of(ours());
    let them = MacAddr([2, 0, 0, 0, 2, choices.byte()]);
    let mut frame = vec![0; 128];
    let kind = if ip.is_ipv4() {
        ethernet::IPV4
    } else {
        ethernet::IPV6
    };
    let low = choices.byte();
    let at = |kind, frame: &mut [u8]| ethernet::emit(frame, MacAddr::BROADCAST, them, None, kind);
    let length = match ip {
        std::net::IpAddr::V4(ip) if choices.byte() % 2 == 0 => {
            let start = at(ethernet::ARP, &mut frame);
            let asker = *choices.of(&[ip.octets(), [10, 1, 0, 5], [172, 16, 0, 3], [0; 4]]);
            let asker = [asker[0], asker[1], asker[2], asker[3] ^ low];
            let request = Arp::request(them, asker.into(), ip);
            start + request.emit(&mut frame[start..][..arp::LENGTH])
        }
        std::net::IpAddr::V4(ip) => {
            let start = at(kind, &mut frame);
            let asker = *choices.of(&[ip.octets(), [10, 1, 0, 5], [172, 16, 0, 3], [255; 4]]);
            let asker = [asker[0], asker[1], asker[2], asker[3] ^ low];
            let length = icmpv4::HEADER + 16;
            let header = ipv4::Ipv4::new(asker.into(), ip, ipv4::ICMP, length as u16);
            let start = start + header.emit(&mut frame[start..]);
            let echo = icmpv4::ECHO_REQUEST;
            start + icmpv4::emit_echo(&mut frame[start..], echo, 1, 2, &[low; 16])
        }
        std::net::IpAddr::V6(ip) => {
            let start = at(kind, &mut frame);
            let asker = (ip.to_bits() ^ u128::from(low)) * u128::from(choices.byte() % 4 != 3);
            let (src, dst) = (asker.into(), ndisc::solicited_node(ip));
            let length = ndisc::NEIGHBOR_LENGTH as u16;
            let mut header = ipv6::Ipv6::new(src, dst, ipv6::ICMPV6, length);
            header.hop_limit = ndisc::HOP_LIMIT;
            let start = start + header.emit(&mut frame[start..]);
            start + ndisc::emit_neighbor_solicitation(&mut frame[start..], (src, dst), ip, them)
        }
    };
    frame.truncate(length);
    (VlanId::new(vlan), frame)
}

fn swap(packet: &mut [u8], a: usize, b: usize, length: usize) {
    for n in 0..length {
        packet.swap(a + n, b + n);
    }
}
