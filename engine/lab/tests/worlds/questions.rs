//! Questions of every kind to hosts in every place, as a scanner asks them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_lab::world::{Place, WorldSpec, mac_of};
use sonde_wire::arp::Arp;
use sonde_wire::checksum::Sum;
use sonde_wire::{MacAddr, VlanId, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndisc, tcp, udp, vlan};

/// The scanner: addresses that the kernel of the near namespace does not have, so that it does not meddle.
const OURS: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x77]);
const OURS4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const OURS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7);

/// One question.
pub(crate) struct Asked {
    pub(crate) vlan: Option<VlanId>,
    /// As it goes out, tag in.
    pub(crate) frame: Vec<u8>,
    pub(crate) untagged: Vec<u8>,
    /// Sent to a MAC address that nobody has, though the IP address is somebody's.
    pub(crate) misdirected: bool,
    /// The UDP port asked, if it was one.
    pub(crate) udp: Option<(IpAddr, u16)>,
    /// Source port or identifier.
    pub(crate) id: u16,
}

/// Random questions to a world, the same for the same seed.
pub(crate) struct Questions<'a> {
    spec: &'a WorldSpec,
    random: u64,
    id: u16,
}

impl<'a> Questions<'a> {
    pub(crate) const fn new(spec: &'a WorldSpec, seed: u64) -> Self {
        Self {
            spec,
            random: seed,
            id: 10_000,
        }
    }

    /// A number below `end`: Knuth's linear congruential generator (TAOCP 2, §3.3.4), high bits.
    fn below(&mut self, end: u32) -> u32 {
        let next = self.random.wrapping_mul(6_364_136_223_846_793_005);
        self.random = next.wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % u64::from(end)) as u32
    }

    fn vlan(&mut self) -> Option<VlanId> {
        match self.below(10) {
            0 | 1 => None,
            2 => VlanId::new(4094),
            // Some of them do not exist.
            _ => VlanId::new(1 + self.below(310) as u16),
        }
    }

    fn address(&mut self, vlan: Option<VlanId>) -> IpAddr {
        let v = vlan.map_or(0, |vlan| u32::from(vlan.id()));
        // Now and then the network of the VLAN next door.
        let v = v + u32::from(self.below(20) == 0);
        match self.below(6) {
            0 => Ipv4Addr::from_bits(0x0a00_0000 + v * 256 + self.below(256)).into(),
            1 => Ipv4Addr::from_bits(0x0a00_0000 + v * 256 + self.below(4)).into(),
            2 => Ipv4Addr::from_bits(0xac10_0000 + v * 256 + self.below(256)).into(),
            3 => Ipv4Addr::from_bits(0xc0a8_0000 + self.below(0x1_0100)).into(),
            4 => Ipv6Addr::new(0x2001, 0xdb8, 0, v as u16, 0, 0, 0, self.below(60) as u16).into(),
            _ => match self.below(8) {
                0 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, self.below(3) as u16).into(),
                _ => {
                    let id = self.below(320) as u16;
                    Ipv6Addr::new(0x2001, 0xdb8, 0x8000, 0, 0, 0, 0, id).into()
                }
            },
        }
    }
}

impl Iterator for Questions<'_> {
    type Item = Asked;

    fn next(&mut self) -> Option<Asked> {
        self.id += 1;
        let (id, vlan) = (self.id, self.vlan());
        let ip = self.address(vlan);
        let mut port = self.below(1000) as u16;
        if self.below(8) == 0 {
            port = if self.below(2) == 0 { 80 } else { 53 };
        }
        let kind = self.below(8);
        let place = self.spec.place(vlan, ip);
        let astray = kind > 0 && place != Place::Nowhere && self.below(20) == 0;
        let to = match astray {
            true => MacAddr([2, 0xee, 0, 0, 0, 1]),
            false => next_hop(self.spec, vlan, ip),
        };
        let (packet, udp) = match kind {
            0 => (who_has(ip), None),
            1 | 2 => (echo(ip, id, to), None),
            3 | 4 => (datagram(ip, id, port, to), Some((ip, port))),
            _ => (segment(ip, id, port, to), None),
        };
        let mut frame = vec![0; packet.len() + vlan::TAG_LENGTH];
        let length = vlan::insert(&mut frame, &packet, vlan);
        frame.truncate(length);
        Some(Asked {
            vlan,
            frame,
            untagged: packet,
            misdirected: astray,
            udp: udp.filter(|_| !astray),
            id,
        })
    }
}

/// A SYN from port 10,000, to the right next hop.
pub(crate) fn syn(spec: &WorldSpec, vlan: Option<VlanId>, ip: Ipv4Addr, port: u16) -> Vec<u8> {
    let packet = segment(ip.into(), 10_000, port, next_hop(spec, vlan, ip.into()));
    let mut frame = vec![0; packet.len() + vlan::TAG_LENGTH];
    let length = vlan::insert(&mut frame, &packet, vlan);
    frame.truncate(length);
    frame
}

fn next_hop(spec: &WorldSpec, vlan: Option<VlanId>, ip: IpAddr) -> MacAddr {
    match spec.place(vlan, ip) {
        Place::Behind => spec.gateway_mac(vlan, ip.is_ipv6()).unwrap(),
        _ => mac_of(vlan, ip),
    }
}

/// Ethernet and IP headers, then what `body` writes, given the pseudo header's sum.
fn packet(
    to: MacAddr,
    ip: IpAddr,
    protocols: (u8, u8),
    length: usize,
    body: impl FnOnce(&mut [u8], Sum),
) -> Vec<u8> {
    let mut frame = vec![0; 14 + 40 + length];
    let (four, six) = protocols;
    let size = length as u16;
    let (at, pseudo) = match ip {
        IpAddr::V4(ip) => {
            let at = ethernet::emit(&mut frame, to, OURS, None, ethernet::IPV4);
            let at = at + ipv4::Ipv4::new(OURS4, ip, four, size).emit(&mut frame[at..]);
            (at, Sum::ZERO.pseudo4(OURS4, ip, four, size))
        }
        IpAddr::V6(ip) => {
            let at = ethernet::emit(&mut frame, to, OURS, None, ethernet::IPV6);
            let at = at + ipv6::Ipv6::new(OURS6, ip, six, size).emit(&mut frame[at..]);
            (at, Sum::ZERO.pseudo6(OURS6, ip, six, size.into()))
        }
    };
    body(&mut frame[at..], pseudo);
    frame.truncate(at + length);
    frame
}

fn segment(ip: IpAddr, id: u16, port: u16, to: MacAddr) -> Vec<u8> {
    let segment = tcp::Segment {
        src_port: id,
        dst_port: port,
        seq: 0xfffe_0000 | u32::from(id),
        ack: 0,
        flags: tcp::SYN,
        window: 1024,
        // MSS, as all of them say it; and of a length that varies.
        options: if id.is_multiple_of(2) {
            &[2, 4, 5, 0xb4]
        } else {
            &[]
        },
    };
    packet(
        to,
        ip,
        (ipv4::TCP, ipv6::TCP),
        segment.length(),
        |out, pseudo| {
            segment.emit(out, pseudo);
        },
    )
}

fn datagram(ip: IpAddr, id: u16, port: u16, to: MacAddr) -> Vec<u8> {
    let payload = &b"odd or even"[..usize::from(id % 12)];
    let length = udp::HEADER + payload.len();
    packet(to, ip, (ipv4::UDP, ipv6::UDP), length, |out, pseudo| {
        udp::emit(out, pseudo, id, port, payload);
    })
}

fn echo(ip: IpAddr, id: u16, to: MacAddr) -> Vec<u8> {
    let payload = &b"odd or even"[..usize::from(id % 12)];
    let length = icmpv4::HEADER + payload.len();
    packet(
        to,
        ip,
        (ipv4::ICMP, ipv6::ICMPV6),
        length,
        |out, _| match ip {
            IpAddr::V4(_) => {
                icmpv4::emit_echo(out, icmpv4::ECHO_REQUEST, id, 7, payload);
            }
            IpAddr::V6(ip) => {
                icmpv6::emit_echo(out, (OURS6, ip), icmpv6::ECHO_REQUEST, id, 7, payload);
            }
        },
    )
}

/// ARP, or a neighbor solicitation.
fn who_has(ip: IpAddr) -> Vec<u8> {
    let mut frame = vec![0; 128];
    let length = match ip {
        IpAddr::V4(ip) => {
            let at = ethernet::emit(&mut frame, MacAddr::BROADCAST, OURS, None, ethernet::ARP);
            at + Arp::request(OURS, OURS4, ip).emit(&mut frame[at..])
        }
        IpAddr::V6(ip) => {
            let group = ndisc::solicited_node(ip);
            let to = ndisc::multicast_mac(group);
            let at = ethernet::emit(&mut frame, to, OURS, None, ethernet::IPV6);
            let header = ipv6::Ipv6 {
                hop_limit: ndisc::HOP_LIMIT,
                ..ipv6::Ipv6::new(OURS6, group, ipv6::ICMPV6, ndisc::NEIGHBOR_LENGTH as u16)
            };
            let at = at + header.emit(&mut frame[at..]);
            at + ndisc::emit_neighbor_solicitation(&mut frame[at..], (OURS6, group), ip, OURS)
        }
    };
    frame.truncate(length);
    frame
}
