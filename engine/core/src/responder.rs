//! Answers for our own addresses: ARP, neighbor discovery and echo, each in the VLAN of its address.
//!
//! Without it nobody on a VLAN could answer a probe: a host asks who we are before it sends to us. What the kernel owns it
//! answers itself (see [`crate::plan::Source::kernel_owned`]).

use std::collections::VecDeque;
use std::net::IpAddr;

use sonde_wire::arp::Arp;
use sonde_wire::frame::Echo;
use sonde_wire::ndisc::{self, AdvertisementFlags, NeighborSolicitation};
use sonde_wire::{MacAddr, ethernet, icmpv4, icmpv6, ipv4, ipv6};

use crate::plan::Source;

/// Answers waiting to be sent; more are dropped, and asked for again by whoever wants them.
pub const QUEUE: usize = 256;
/// Longest answer, tag and all; a longer echo stays unanswered.
pub const ANSWER_MAX: usize = 512;

/// Answers that are ready to go.
#[derive(Clone, Debug, Default)]
pub struct Responder {
    queue: VecDeque<Box<[u8]>>,
    dropped: u64,
}

impl Responder {
    /// Somebody asks by ARP for the address of `source`.
    pub fn handle_arp(&mut self, source: &Source, request: &Arp) {
        let reply = request.reply(source.mac);
        self.answer(source, request.sender_mac, ethernet::ARP, |payload| {
            reply.emit(payload)
        });
    }

    /// Somebody asks by neighbor solicitation, from `eth_src`, for the address of `source`.
    pub fn handle_solicitation(
        &mut self,
        source: &Source,
        eth_src: MacAddr,
        solicitation: &NeighborSolicitation,
    ) {
        // Duplicate address detection asks from no address: the answer goes to all (RFC 4861 §7.2.4).
        let anonymous = solicitation.src.is_unspecified();
        let (dst, mac) = if anonymous {
            (ndisc::ALL_NODES, ndisc::multicast_mac(ndisc::ALL_NODES))
        } else {
            (solicitation.src, solicitation.source_mac.unwrap_or(eth_src))
        };
        let flags = AdvertisementFlags {
            router: false,
            solicited: !anonymous,
            overrides: true,
        };
        let target = solicitation.target;
        self.answer(source, mac, ethernet::IPV6, |packet| {
            let length = ndisc::NEIGHBOR_LENGTH as u16;
            let header = ipv6::Ipv6 {
                hop_limit: ndisc::HOP_LIMIT,
                ..ipv6::Ipv6::new(target, dst, ipv6::ICMPV6, length)
            };
            let at = header.emit(packet);
            at + ndisc::emit_neighbor_advertisement(
                &mut packet[at..],
                (target, dst),
                flags,
                target,
                source.mac,
            )
        });
    }

    /// An echo request arrived from `eth_src` for the address of `source`.
    pub fn handle_echo(&mut self, source: &Source, eth_src: MacAddr, echo: &Echo<'_>) {
        let (id, seq, data) = (echo.id, echo.seq, echo.payload);
        let headers = ethernet::TAGGED_HEADER + ipv6::HEADER + icmpv6::HEADER;
        if headers + data.len() > ANSWER_MAX {
            self.dropped += 1;
            return;
        }
        let length = (icmpv4::HEADER + data.len()) as u16;
        match (source.ip, echo.ip.src) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                self.answer(source, eth_src, ethernet::IPV4, |packet| {
                    let at = ipv4::Ipv4::new(src, dst, ipv4::ICMP, length).emit(packet);
                    let packet = &mut packet[at..];
                    at + icmpv4::emit_echo(packet, icmpv4::ECHO_REPLY, id, seq, data)
                });
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                self.answer(source, eth_src, ethernet::IPV6, |packet| {
                    let at = ipv6::Ipv6::new(src, dst, ipv6::ICMPV6, length).emit(packet);
                    let packet = &mut packet[at..];
                    at + icmpv6::emit_echo(packet, (src, dst), icmpv6::ECHO_REPLY, id, seq, data)
                });
            }
            _ => self.dropped += 1,
        }
    }

    /// The answer to send next, and its length.
    pub fn peek(&self) -> Option<&[u8]> {
        self.queue.front().map(|frame| &**frame)
    }

    /// Takes the answer that [`Responder::peek`] shows.
    pub fn pop(&mut self) -> Option<Box<[u8]>> {
        self.queue.pop_front()
    }

    /// Questions left unanswered: too many at once, or too long.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn answer(
        &mut self,
        source: &Source,
        to: MacAddr,
        ethertype: u16,
        emit: impl FnOnce(&mut [u8]) -> usize,
    ) {
        // A question from a group address comes from nobody; its answer would go to everybody.
        let from_nobody = to.is_group() && to != ndisc::multicast_mac(ndisc::ALL_NODES);
        if self.queue.len() >= QUEUE || from_nobody {
            self.dropped += 1;
            return;
        }
        let mut frame = [0; ANSWER_MAX];
        let at = ethernet::emit(&mut frame, to, source.mac, source.vlan, ethertype);
        let length = at + emit(&mut frame[at..]);
        self.queue.push_back(frame[..length].into());
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use sonde_wire::frame::{Body, Ends};
    use sonde_wire::{Checksums, VlanId, parse, vlan};

    use super::*;

    const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const THEM: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

    fn source(ip: &str) -> Source {
        Source {
            vlan: VlanId::new(100),
            ip: ip.parse().unwrap(),
            mac: US,
            kernel_owned: false,
        }
    }

    /// The answer with its tag checked and taken out.
    fn untagged(responder: &mut Responder) -> Vec<u8> {
        let frame = responder.pop().unwrap();
        assert_eq!(frame[12..16], vlan::tag(VlanId::new(100).unwrap()));
        [&frame[..12], &frame[16..]].concat()
    }

    #[test]
    fn arp_is_answered_to_who_asks() {
        let mut responder = Responder::default();
        let request = Arp::request(THEM, Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 1));
        responder.handle_arp(&source("10.0.0.1"), &request);
        let frame = untagged(&mut responder);
        let packet = parse(&frame, Checksums::Verify).unwrap();
        assert_eq!((packet.eth_dst, packet.eth_src), (THEM, US));
        assert_eq!(packet.body, Body::Arp(request.reply(US)));
    }

    #[test]
    fn solicitations_are_answered_to_who_asks_or_to_all() {
        let ours: Ipv6Addr = "2001:db8::1".parse().unwrap();
        for (src, dst) in [("2001:db8::9", "2001:db8::9"), ("::", "ff02::1")] {
            let mut responder = Responder::default();
            let solicitation = NeighborSolicitation {
                src: src.parse().unwrap(),
                dst: ndisc::solicited_node(ours),
                target: ours,
                source_mac: None,
            };
            responder.handle_solicitation(&source("2001:db8::1"), THEM, &solicitation);
            let frame = untagged(&mut responder);
            let packet = parse(&frame, Checksums::Verify).unwrap();
            let Body::NeighborAdvertisement(answer) = packet.body else {
                panic!("{packet:?}")
            };
            assert_eq!(answer.dst, dst.parse::<Ipv6Addr>().unwrap());
            assert_eq!((answer.target, answer.target_mac), (ours, Some(US)));
            assert_eq!(answer.flags.solicited, src != "::");
        }
    }

    #[test]
    fn echoes_come_back_as_they_were_unless_too_long() {
        for (ours, theirs) in [("10.0.0.1", "10.0.0.9"), ("2001:db8::1", "2001:db8::9")] {
            let mut responder = Responder::default();
            let data = [0x5a; 600];
            let ip = Ends {
                src: theirs.parse().unwrap(),
                dst: ours.parse().unwrap(),
                ttl: 64,
            };
            let echo = Echo {
                ip,
                request: true,
                id: 7,
                seq: 9,
                payload: &data[..56],
            };
            responder.handle_echo(&source(ours), THEM, &echo);
            responder.handle_echo(
                &source(ours),
                THEM,
                &Echo {
                    payload: &data,
                    ..echo
                },
            );
            assert_eq!(responder.dropped(), 1);
            let frame = untagged(&mut responder);
            let packet = parse(&frame, Checksums::Verify).unwrap();
            let Body::Echo(answer) = packet.body else {
                panic!("{packet:?}")
            };
            assert_eq!((answer.request, answer.id, answer.seq), (false, 7, 9));
            assert_eq!((answer.payload, answer.ip.src), (echo.payload, ip.dst));
            assert_eq!(responder.peek(), None);
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let mut responder = Responder::default();
        let request = Arp::request(THEM, Ipv4Addr::new(10, 0, 0, 9), Ipv4Addr::new(10, 0, 0, 1));
        for _ in 0..QUEUE + 5 {
            responder.handle_arp(&source("10.0.0.1"), &request);
        }
        assert_eq!(responder.dropped(), 5);
        let from_all = Arp::request(MacAddr::BROADCAST, request.sender_ip, request.target_ip);
        responder.handle_arp(&source("10.0.0.1"), &from_all);
        assert_eq!((responder.queue.len(), responder.dropped()), (QUEUE, 6));
    }
}
