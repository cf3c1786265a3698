//! A network that lives in memory: hosts and gateways in VLANs, and what happens to frames on the way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use sonde_core::cookie::Question;
use sonde_wire::arp::{Arp, Operation};
use sonde_wire::checksum::Sum;
use sonde_wire::ndisc::{self, AdvertisementFlags};
use sonde_wire::{
    Body, Checksums, MacAddr, Packet, VlanId, ethernet, icmpv4, icmpv6, ipv4, ipv6, parse, tcp,
    udp, vlan,
};

use crate::random::Random;

pub(crate) type Vlan = Option<VlanId>;
pub(crate) type Key = (Vlan, IpAddr);

/// What a host does with what it does not offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refuses {
    /// RST, or ICMP port unreachable from the host.
    Plainly,
    Silently,
    /// ICMP prohibited from its gateway, or from itself on link.
    ByRule,
}

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) mac: MacAddr,
    /// `None`: on link.
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) echo: bool,
    pub(crate) tcp: BTreeSet<u16>,
    pub(crate) udp: BTreeSet<u16>,
    pub(crate) refuses: Refuses,
}

/// What the way does to frames, each way.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Way {
    pub(crate) loss_percent: u64,
    pub(crate) duplicate_percent: u64,
    /// Longest delay in microseconds; frames overtake each other.
    pub(crate) delay_us: u64,
    /// Forged answers for each true one, in percent.
    pub(crate) forged_percent: u64,
    /// Answers that also come out on another VLAN, in percent.
    pub(crate) leak_percent: u64,
}

/// A frame that arrives at the scanner.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Arrival {
    pub(crate) at: u64,
    number: u64,
    pub(crate) vlan: Vlan,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) hosts: HashMap<Key, Host>,
    pub(crate) gateways: HashMap<Key, MacAddr>,
    pub(crate) way: Way,
    pub(crate) random: Random,
    /// What was asked how often, resets not counted.
    pub(crate) asked: BTreeMap<(Vlan, IpAddr, String), u32>,
    pub(crate) resets: u32,
    /// When frames left, in nanoseconds.
    pub(crate) capture: Vec<u64>,
    /// Frames of the scanner's that answer others.
    pub(crate) answers: Vec<(Vlan, Vec<u8>)>,
    /// By vlan: who leaks and where to.
    pub(crate) leaked: BTreeSet<(Vlan, Vlan, IpAddr)>,
    pub(crate) vlans: Vec<Vlan>,
    /// Forged ARP answers are about: frames may go astray.
    pub(crate) spoofed: bool,
    /// Nobody may ever be sent anything here.
    pub(crate) forbidden: BTreeSet<Key>,
    /// All that ever arrived or was on its way.
    pub(crate) log: Vec<Arrival>,
    arrivals: BinaryHeap<Reverse<Arrival>>,
    number: u64,
}

impl Network {
    pub(crate) fn new(seed: u64, way: Way) -> Self {
        Self {
            hosts: HashMap::new(),
            gateways: HashMap::new(),
            way,
            random: Random::new(seed),
            asked: BTreeMap::new(),
            resets: 0,
            capture: Vec::new(),
            answers: Vec::new(),
            leaked: BTreeSet::new(),
            vlans: Vec::new(),
            spoofed: false,
            forbidden: BTreeSet::new(),
            log: Vec::new(),
            arrivals: BinaryHeap::new(),
            number: 0,
        }
    }

    /// When the next frame arrives.
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.arrivals.peek().map(|Reverse(a)| a.at)
    }

    /// The next frame that has arrived by `now`.
    pub(crate) fn arrival(&mut self, now: u64) -> Option<Arrival> {
        self.next_at().filter(|at| *at <= now)?;
        self.arrivals.pop().map(|Reverse(arrival)| arrival)
    }

    /// Everything on its way is lost.
    pub(crate) fn cut(&mut self) {
        self.arrivals.clear();
    }

    /// The scanner sends a frame at `now`.
    pub(crate) fn transmit(&mut self, now: u64, frame: &[u8]) {
        self.capture.push(now);
        let (vlan, bytes) = untag(frame);
        let packet = parse(&bytes, Checksums::Verify).expect("every frame of ours parses");
        let (dst, question) = match packet.body {
            Body::Arp(arp) if arp.operation == Operation::Request => {
                (arp.target_ip.into(), Question::Link)
            }
            Body::NeighborSolicitation(n) => (n.target.into(), Question::Link),
            Body::Echo(echo) if echo.request => (echo.ip.dst, Question::Echo),
            Body::Tcp(t) if t.flags == tcp::SYN => (t.ip.dst, Question::Tcp(t.dst_port)),
            Body::Udp(u) => (u.ip.dst, Question::Udp(u.dst_port)),
            Body::Tcp(t) if t.flags == tcp::RST => {
                assert!(!self.forbidden.contains(&(vlan, t.ip.dst)));
                self.resets += 1;
                return;
            }
            _ => {
                self.answers.push((vlan, bytes));
                return;
            }
        };
        assert!(
            !self.forbidden.contains(&(vlan, dst)),
            "a frame to {dst} in {vlan:?}"
        );
        assert!(
            self.vlans.contains(&vlan),
            "a frame in {vlan:?}, which is none of ours"
        );
        *self
            .asked
            .entry((vlan, dst, format!("{question:?}")))
            .or_default() += 1;
        if self.random.chance(self.way.loss_percent) {
            return;
        }
        if let Some(answer) = self.answer(vlan, dst, question, &packet) {
            self.send_back(now, vlan, dst, &answer);
        }
    }

    /// A frame comes to the scanner that nobody asked for.
    pub(crate) fn inject(&mut self, at: u64, vlan: Vlan, bytes: Vec<u8>) {
        self.number += 1;
        let number = self.number;
        let arrival = Arrival {
            at,
            number,
            vlan,
            bytes,
        };
        self.log.push(arrival.clone());
        self.arrivals.push(Reverse(arrival));
    }

    fn send_back(&mut self, now: u64, vlan: Vlan, from: IpAddr, answer: &[u8]) {
        let way = self.way;
        if self.random.chance(way.forged_percent) {
            let forged = self.forge(answer);
            let at = now + 1000 + self.random.below(way.delay_us * 1000);
            self.inject(at, vlan, forged);
        }
        if self.random.chance(way.leak_percent) && carries_cookie(answer) {
            let other = self.random.pick(&self.vlans);
            if other != vlan {
                self.leaked.insert((vlan, other, from));
                self.inject(now + 1000, other, answer.to_vec());
            }
        }
        let copies = 1 + u64::from(self.random.chance(way.duplicate_percent));
        for _ in 0..copies {
            if !self.random.chance(way.loss_percent) {
                let at = now + 1000 + self.random.below(way.delay_us * 1000);
                self.inject(at, vlan, answer.to_vec());
            }
        }
    }

    /// The answer with another cookie, or any bytes at all.
    fn forge(&mut self, answer: &[u8]) -> Vec<u8> {
        let mut forged = answer.to_vec();
        match parse(answer, Checksums::Verify).map(|p| p.body) {
            Ok(Body::Tcp(segment)) => {
                let ack = segment.ack ^ (1 + self.random.next() as u32 % 1000);
                tcp_frame(
                    segment.ip.src,
                    segment.ip.dst,
                    segment.src_port,
                    segment.dst_port,
                    ack,
                    tcp::SYN | tcp::ACK,
                )
            }
            _ => {
                for _ in 0..3 {
                    let at = self.random.below(forged.len() as u64) as usize;
                    forged[at] ^= 1 << self.random.below(8);
                }
                let length = self.random.below(forged.len() as u64) as usize;
                forged.truncate(length);
                forged
            }
        }
    }

    fn answer(
        &self,
        vlan: Vlan,
        dst: IpAddr,
        question: Question,
        packet: &Packet<'_>,
    ) -> Option<Vec<u8>> {
        let host = self.hosts.get(&(vlan, dst));
        if question == Question::Link {
            let on_link = host.filter(|h| h.gateway.is_none()).map(|h| h.mac);
            let mac = on_link.or_else(|| self.gateways.get(&(vlan, dst)).copied())?;
            assert!(self.spoofed || packet.eth_dst.is_group() || packet.eth_dst == mac);
            return Some(link_answer(mac, packet));
        }
        let host = host?;
        let next_hop = match host.gateway {
            Some(gateway) => *self.gateways.get(&(vlan, gateway))?,
            None => host.mac,
        };
        if packet.eth_dst != next_hop {
            assert!(self.spoofed, "{dst} in {vlan:?} is not there");
            return None;
        }
        let reporter = host.gateway.unwrap_or(dst);
        match packet.body {
            Body::Echo(echo) => host.echo.then(|| {
                ip_frame(
                    dst,
                    echo.ip.src,
                    ipv4::ICMP,
                    ipv6::ICMPV6,
                    |bytes, (src, dst)| match (src, dst) {
                        (IpAddr::V4(_), _) => {
                            icmpv4::emit_echo(bytes, icmpv4::ECHO_REPLY, echo.id, echo.seq, &[])
                        }
                        (IpAddr::V6(src), IpAddr::V6(dst)) => icmpv6::emit_echo(
                            bytes,
                            (src, dst),
                            icmpv6::ECHO_REPLY,
                            echo.id,
                            echo.seq,
                            &[],
                        ),
                        _ => unreachable!("one family"),
                    },
                )
            }),
            Body::Tcp(syn) => {
                let ack = syn.seq.wrapping_add(1);
                let flags = match (host.tcp.contains(&syn.dst_port), host.refuses) {
                    (true, _) => tcp::SYN | tcp::ACK,
                    (false, Refuses::Plainly) => tcp::RST | tcp::ACK,
                    (false, Refuses::Silently) => return None,
                    (false, Refuses::ByRule) => return Some(icmp_error(reporter, 13, packet)),
                };
                Some(tcp_frame(
                    dst,
                    syn.ip.src,
                    syn.dst_port,
                    syn.src_port,
                    ack,
                    flags,
                ))
            }
            Body::Udp(asked) => match (host.udp.contains(&asked.dst_port), host.refuses) {
                (true, _) => {
                    let payload = udp_answer(asked.dst_port, asked.payload);
                    Some(ip_frame(
                        dst,
                        asked.ip.src,
                        ipv4::UDP,
                        ipv6::UDP,
                        |bytes, (src, dst)| {
                            let length = udp::HEADER + payload.len();
                            udp::emit(
                                bytes,
                                pseudo(src, dst, 17, length),
                                asked.dst_port,
                                asked.src_port,
                                &payload,
                            )
                        },
                    ))
                }
                (false, Refuses::Plainly) => Some(icmp_error(dst, 3, packet)),
                (false, Refuses::Silently) => None,
                (false, Refuses::ByRule) => Some(icmp_error(reporter, 13, packet)),
            },
            _ => None,
        }
    }
}

/// VLAN and bytes without tag.
pub(crate) fn untag(frame: &[u8]) -> (Vlan, Vec<u8>) {
    if frame[12..14] != vlan::TPID.to_be_bytes() {
        return (None, frame.to_vec());
    }
    let tci = u16::from_be_bytes([frame[14], frame[15]]);
    let vlan = vlan::of_tci(tci).expect("a tag of ours names a VLAN");
    (Some(vlan), [&frame[..12], &frame[16..]].concat())
}

/// Whether this kind of answer proves itself by a whole cookie.
fn carries_cookie(answer: &[u8]) -> bool {
    matches!(
        parse(answer, Checksums::Verify).map(|p| p.body),
        Ok(Body::Tcp(_) | Body::Echo(_))
    )
}

const THEIR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x77]);
const OUR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

fn link_answer(mac: MacAddr, packet: &Packet<'_>) -> Vec<u8> {
    let mut frame = vec![0; 128];
    let length = match packet.body {
        Body::Arp(arp) => {
            let at = ethernet::emit(&mut frame, arp.sender_mac, mac, None, ethernet::ARP);
            at + arp.reply(mac).emit(&mut frame[at..])
        }
        Body::NeighborSolicitation(asked) => {
            let at = ethernet::emit(&mut frame, packet.eth_src, mac, None, ethernet::IPV6);
            let header = ipv6::Ipv6 {
                hop_limit: ndisc::HOP_LIMIT,
                ..ipv6::Ipv6::new(
                    asked.target,
                    asked.src,
                    ipv6::ICMPV6,
                    ndisc::NEIGHBOR_LENGTH as u16,
                )
            };
            let at = at + header.emit(&mut frame[at..]);
            let flags = AdvertisementFlags {
                router: false,
                solicited: true,
                overrides: true,
            };
            let ends = (asked.target, asked.src);
            at + ndisc::emit_neighbor_advertisement(
                &mut frame[at..],
                ends,
                flags,
                asked.target,
                mac,
            )
        }
        _ => unreachable!("only link questions"),
    };
    frame.truncate(length);
    frame
}

pub(crate) fn arp_request(mac: MacAddr, from: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = vec![0; 42];
    let at = ethernet::emit(&mut frame, MacAddr::BROADCAST, mac, None, ethernet::ARP);
    Arp::request(mac, from, target).emit(&mut frame[at..]);
    frame
}

/// A segment to us; `ack` as it stands in the header.
pub(crate) fn tcp_frame(
    src: IpAddr,
    dst: IpAddr,
    src_port: u16,
    dst_port: u16,
    ack: u32,
    flags: u8,
) -> Vec<u8> {
    ip_frame(src, dst, ipv4::TCP, ipv6::TCP, |bytes, (src, dst)| {
        let options = &[][..];
        let segment = tcp::Segment {
            src_port,
            dst_port,
            seq: 1,
            ack,
            flags,
            window: 512,
            options,
        };
        segment.emit(bytes, pseudo(src, dst, 6, tcp::HEADER))
    })
}

fn pseudo(src: IpAddr, dst: IpAddr, protocol: u8, length: usize) -> Sum {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Sum::ZERO.pseudo4(src, dst, protocol, length as u16),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Sum::ZERO.pseudo6(src, dst, protocol, length as u32),
        _ => unreachable!("one family"),
    }
}

fn ip_frame(
    src: IpAddr,
    dst: IpAddr,
    protocol4: u8,
    protocol6: u8,
    emit: impl Fn(&mut [u8], (IpAddr, IpAddr)) -> usize,
) -> Vec<u8> {
    let mut body = vec![0; 1024];
    let length = emit(&mut body, (src, dst));
    let mut frame = vec![0; 80];
    let ethertype = if src.is_ipv4() {
        ethernet::IPV4
    } else {
        ethernet::IPV6
    };
    let mut at = ethernet::emit(&mut frame, OUR_MAC, THEIR_MAC, None, ethertype);
    at += match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Ipv4::new(src, dst, protocol4, length as u16).emit(&mut frame[at..])
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ipv6::Ipv6::new(src, dst, protocol6, length as u16).emit(&mut frame[at..])
        }
        _ => unreachable!("one family"),
    };
    frame.truncate(at);
    frame.extend_from_slice(&body[..length]);
    frame
}

/// ICMP unreachable from `reporter` about `packet`, `code` in IPv4's numbers: 3 (port) or 13 (prohibited).
fn icmp_error(reporter: IpAddr, code: u8, packet: &Packet<'_>) -> Vec<u8> {
    let (us, quoted) = quote(packet);
    ip_frame(
        reporter,
        us,
        ipv4::ICMP,
        ipv6::ICMPV6,
        |bytes, (src, dst)| {
            let (kind, code) = match (src, code) {
                (IpAddr::V4(_), code) => (3, code),
                (IpAddr::V6(_), 3) => (1, 4),
                (IpAddr::V6(_), _) => (1, 1),
            };
            let length = 8 + quoted.len();
            bytes[..2].copy_from_slice(&[kind, code]);
            bytes[8..length].copy_from_slice(&quoted);
            let sum = match src {
                IpAddr::V4(_) => Sum::ZERO,
                IpAddr::V6(_) => pseudo(src, dst, ipv6::ICMPV6, length),
            };
            let checksum = sum.bytes(&bytes[..length]).finish();
            bytes[2..4].copy_from_slice(&checksum.to_be_bytes());
            length
        },
    )
}

/// The IP header and the beginning of the transport header, with as much of a UDP payload as Linux quotes.
fn quote(packet: &Packet<'_>) -> (IpAddr, Vec<u8>) {
    let (ip, protocol, mut transport) = match packet.body {
        Body::Tcp(t) => {
            let ports = [t.src_port.to_be_bytes(), t.dst_port.to_be_bytes()].concat();
            (t.ip, 6, [ports, t.seq.to_be_bytes().to_vec()].concat())
        }
        Body::Udp(u) => {
            let ports = [u.src_port.to_be_bytes(), u.dst_port.to_be_bytes()].concat();
            (
                u.ip,
                17,
                [
                    ports,
                    vec![0, 8 + u.payload.len() as u8, 0, 0],
                    u.payload.to_vec(),
                ]
                .concat(),
            )
        }
        _ => unreachable!("only TCP and UDP are refused"),
    };
    let mut quoted = vec![0; 40];
    let length = match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Ipv4::new(src, dst, protocol, transport.len() as u16).emit(&mut quoted)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ipv6::Ipv6::new(src, dst, protocol, transport.len() as u16).emit(&mut quoted)
        }
        _ => unreachable!("one family"),
    };
    quoted.truncate(length);
    quoted.append(&mut transport);
    (ip.src, quoted)
}

/// What the service on `port` answers.
fn udp_answer(port: u16, asked: &[u8]) -> Vec<u8> {
    match port {
        53 => [&asked[..2], &[0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0]].concat(),
        123 => [&[0x24; 24][..], &asked[40..48], &[0; 16]].concat(),
        161 => {
            let pdu = [&asked[15..21], &[2, 1, 0, 2, 1, 0, 0x30, 0]].concat();
            let body = [&asked[2..13], &[0xa2, pdu.len() as u8], &pdu].concat();
            [&[0x30, body.len() as u8], &body[..]].concat()
        }
        _ => b"here".to_vec(),
    }
}

/// Our address that `packet` goes to in `answers`.
pub(crate) fn arp_of(bytes: &[u8]) -> Option<Arp> {
    match parse(bytes, Checksums::Verify).ok()?.body {
        Body::Arp(arp) => Some(arp),
        _ => None,
    }
}
