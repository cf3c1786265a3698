//! Frames by template: one prepared per kind and family, patched per probe.
//!
//! What never changes is written and summed once; a frame is that copied, the route's addresses and tag
//! put before it, and the few fields that differ written over it with the checksum added up from the prepared sum.
//! The 802.1Q tag is outside every checksum.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_wire::checksum::Sum;
use sonde_wire::{arp, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndisc, tcp, udp};

use crate::payload;
use crate::plan::{Plan, Route};
use crate::probe::{Probe, ProbeKind};

/// Length of the longest frame [`Templates::fill`] writes.
pub const FRAME_MAX: usize = 512;

/// The prepared frames of one plan.
#[derive(Clone, Debug)]
pub struct Templates {
    routes: Vec<Head>,
    arp: Template,
    ndp: Template,
    four: Family,
    six: Family,
}

/// What a route puts before every frame.
#[derive(Clone, Copy, Debug)]
struct Head {
    /// Source address, tag if there is one, EtherType.
    ethernet: [u8; 12],
    /// How much of that: 8 or 12.
    length: usize,
    source: IpAddr,
    source_sum: Sum,
    mac: [u8; 6],
    mac_sum: Sum,
}

/// The templates of IPv4 or IPv6.
#[derive(Clone, Debug)]
struct Family {
    echo: Template,
    syn: Template,
    rst: Template,
    udp: Vec<Template>,
}

/// A packet without addresses, ports it goes to, cookie and checksums.
#[derive(Clone, Debug)]
struct Template {
    packet: Vec<u8>,
    /// Of the IPv4 header.
    header_sum: Sum,
    /// Of the transport header, its payload, and what of the pseudo header is known.
    sum: Sum,
}

impl Templates {
    /// Prepares the frames of `plan`; TCP and UDP leave from `source_port`.
    pub fn new(plan: &Plan, source_port: u16) -> Self {
        Self::of_routes(plan.routes(), source_port)
    }

    fn of_routes(routes: &[Route], source_port: u16) -> Self {
        Self {
            routes: routes.iter().map(Head::new).collect(),
            arp: arp_template(),
            ndp: ndp_template(),
            four: Family::new(source_port, false),
            six: Family::new(source_port, true),
        }
    }

    /// Writes the probe's frame at the start of `frame`, tag in where its route has one, and returns its
    /// length, which is at most [`FRAME_MAX`]. Short frames are not padded.
    ///
    /// # Panics
    /// If it does not fit, or the probe is not of the plan: no such route, or another family than its route's.
    #[inline]
    pub fn fill(&self, probe: &Probe, frame: &mut [u8]) -> usize {
        let head = &self.routes[probe.route as usize];
        let start = 6 + head.length;
        frame[..6].copy_from_slice(&probe.next_hop.0);
        // Both lengths are copied at once: what follows an untagged header is overwritten.
        frame[6..18].copy_from_slice(&head.ethernet);
        match (probe.dst, head.source) {
            (IpAddr::V4(dst), IpAddr::V4(src)) => {
                let pseudo = head.source_sum.double(dst.to_bits());
                let template = match probe.kind {
                    ProbeKind::Arp => {
                        frame[start - 2..start].copy_from_slice(&ethernet::ARP.to_be_bytes());
                        return start + self.fill_arp(head, src, dst, &mut frame[start..]);
                    }
                    kind => self.four.of(kind),
                };
                let packet = template.copy_to(&mut frame[start..]);
                put(packet, ipv4::SRC, &src.octets());
                put(packet, ipv4::DST, &dst.octets());
                let header_sum = template.header_sum + pseudo;
                put(packet, ipv4::CHECKSUM, &header_sum.finish().to_be_bytes());
                let of_icmp = probe.kind == ProbeKind::Echo;
                let pseudo = if of_icmp { Sum::ZERO } else { pseudo };
                patch_transport(probe, template.sum + pseudo, &mut packet[ipv4::HEADER..]);
                start + template.packet.len()
            }
            (IpAddr::V6(dst), IpAddr::V6(src)) => {
                let mut pseudo = head.source_sum;
                let template = match probe.kind {
                    ProbeKind::Ndp => {
                        let unicast = !probe.next_hop.is_group();
                        return start + self.fill_ndp(head, src, dst, unicast, &mut frame[start..]);
                    }
                    kind => self.six.of(kind),
                };
                let packet = template.copy_to(&mut frame[start..]);
                put(packet, ipv6::SRC, &src.octets());
                put(packet, ipv6::DST, &dst.octets());
                pseudo = pseudo.address6(dst);
                patch_transport(probe, template.sum + pseudo, &mut packet[ipv6::HEADER..]);
                start + template.packet.len()
            }
            _ => panic!("a probe for {} on a route from {}", probe.dst, head.source),
        }
    }

    fn fill_arp(&self, head: &Head, src: Ipv4Addr, dst: Ipv4Addr, frame: &mut [u8]) -> usize {
        let packet = self.arp.copy_to(frame);
        put(packet, arp::SENDER_MAC, &head.mac);
        put(packet, arp::SENDER_IP, &src.octets());
        put(packet, arp::TARGET_IP, &dst.octets());
        packet.len()
    }

    fn fill_ndp(
        &self,
        head: &Head,
        src: Ipv6Addr,
        target: Ipv6Addr,
        unicast: bool,
        frame: &mut [u8],
    ) -> usize {
        let dst = match unicast {
            true => target,
            false => ndisc::solicited_node(target),
        };
        let packet = self.ndp.copy_to(frame);
        put(packet, ipv6::SRC, &src.octets());
        put(packet, ipv6::DST, &dst.octets());
        let length = packet.len();
        let message = &mut packet[ipv6::HEADER..];
        put(message, ndisc::TARGET, &target.octets());
        put(message, ndisc::OPTION_MAC, &head.mac);
        let sum = self.ndp.sum + head.source_sum + head.mac_sum;
        let sum = sum.address6(dst).address6(target);
        put(message, icmpv6::CHECKSUM, &sum.finish().to_be_bytes());
        length
    }
}

/// Length of the frame of a probe of this kind, without check sum.
pub fn frame_length(kind: ProbeKind, v6: bool, tagged: bool) -> usize {
    let header = if tagged {
        ethernet::TAGGED_HEADER
    } else {
        ethernet::HEADER
    };
    let ip = if v6 { ipv6::HEADER } else { ipv4::HEADER };
    header
        + match kind {
            ProbeKind::Arp => arp::LENGTH,
            ProbeKind::Ndp => ip + ndisc::NEIGHBOR_LENGTH,
            ProbeKind::Echo => ip + icmpv4::HEADER,
            ProbeKind::TcpSyn { .. } => ip + tcp::SYN_LENGTH,
            ProbeKind::TcpRst { .. } => ip + tcp::HEADER,
            ProbeKind::Udp { port } => {
                ip + udp::HEADER + payload::at(payload::index(port)).bytes.len()
            }
        }
}

/// Writes what differs of the transport header. `sum` is of everything else.
#[inline]
fn patch_transport(probe: &Probe, sum: Sum, transport: &mut [u8]) {
    match probe.kind {
        ProbeKind::Echo => {
            put(transport, icmpv4::ECHO_ID, &probe.cookie.to_be_bytes());
            let checksum = sum.double(probe.cookie).finish();
            put(transport, icmpv4::CHECKSUM, &checksum.to_be_bytes());
        }
        ProbeKind::TcpSyn { port } => patch_tcp(transport, sum, port, probe.cookie),
        ProbeKind::TcpRst { port, seq } => patch_tcp(transport, sum, port, seq),
        ProbeKind::Udp { port } => {
            put(transport, udp::DST_PORT, &port.to_be_bytes());
            let mut sum = sum.word(port);
            if let Some(at) = payload::at(payload::index(port)).id_at {
                let id = probe.cookie as u16;
                put(transport, udp::HEADER + at, &id.to_be_bytes());
                // On an odd offset the two octets are halves of two words.
                sum = sum.word(if at % 2 == 0 { id } else { id.swap_bytes() });
            }
            put(transport, udp::CHECKSUM, &sum.finish_udp().to_be_bytes());
        }
        ProbeKind::Arp | ProbeKind::Ndp => unreachable!("link probes have no transport header"),
    }
}

#[inline]
fn patch_tcp(segment: &mut [u8], sum: Sum, port: u16, seq: u32) {
    put(segment, tcp::DST_PORT, &port.to_be_bytes());
    put(segment, tcp::SEQ, &seq.to_be_bytes());
    let checksum = sum.word(port).double(seq).finish();
    put(segment, tcp::CHECKSUM, &checksum.to_be_bytes());
}

#[inline]
fn put(bytes: &mut [u8], at: usize, octets: &[u8]) {
    bytes[at..at + octets.len()].copy_from_slice(octets);
}

impl Head {
    fn new(route: &Route) -> Self {
        let ethertype = match route.source {
            IpAddr::V4(_) => ethernet::IPV4,
            IpAddr::V6(_) => ethernet::IPV6,
        };
        let mut header = [0; ethernet::TAGGED_HEADER];
        let mac = route.source_mac;
        let end = ethernet::emit(&mut header, mac, mac, route.vlan, ethertype);
        let mut ethernet = [0; 12];
        ethernet.copy_from_slice(&header[6..]);
        Self {
            ethernet,
            length: end - 6,
            source: route.source,
            source_sum: match route.source {
                IpAddr::V4(ip) => Sum::ZERO.double(ip.to_bits()),
                IpAddr::V6(ip) => Sum::ZERO.address6(ip),
            },
            mac: mac.0,
            mac_sum: Sum::ZERO.bytes(&mac.0),
        }
    }
}

impl Family {
    fn new(source_port: u16, v6: bool) -> Self {
        let mss = if v6 { tcp::MSS_IPV6 } else { tcp::MSS_IPV4 };
        // Any clock: its beginning differs from machine to machine.
        let options = tcp::syn_options(mss, u32::from(source_port) * 0x9e37);
        let syn = tcp::Segment {
            src_port: source_port,
            dst_port: 0,
            seq: 0,
            ack: 0,
            flags: tcp::SYN,
            window: tcp::syn_window(mss),
            options: &options,
        };
        let rst = tcp::Segment {
            flags: tcp::RST,
            window: 0,
            options: &[],
            ..syn
        };
        let segment = |segment: tcp::Segment<'_>| {
            ip_template(v6, ipv4::TCP, tcp::CHECKSUM, &|bytes| {
                segment.emit(bytes, Sum::ZERO)
            })
        };
        let datagram = |index| {
            let payload = payload::at(index).bytes;
            ip_template(v6, ipv4::UDP, udp::CHECKSUM, &|bytes| {
                udp::emit(bytes, Sum::ZERO, source_port, 0, payload)
            })
        };
        let icmp = if v6 { ipv6::ICMPV6 } else { ipv4::ICMP };
        let mut echo = ip_template(v6, icmp, icmpv4::CHECKSUM, &|bytes| {
            let kind = if v6 {
                icmpv6::ECHO_REQUEST
            } else {
                icmpv4::ECHO_REQUEST
            };
            icmpv4::emit_echo(bytes, kind, 0, 0, &[])
        });
        if !v6 {
            // ICMP for IPv4 alone has no pseudo header.
            echo.sum = Sum::ZERO.bytes(&echo.packet[ipv4::HEADER..]);
        }
        Self {
            echo,
            syn: segment(syn),
            rst: segment(rst),
            udp: (0..payload::COUNT).map(datagram).collect(),
        }
    }

    #[inline]
    fn of(&self, kind: ProbeKind) -> &Template {
        match kind {
            ProbeKind::Echo => &self.echo,
            ProbeKind::TcpSyn { .. } => &self.syn,
            ProbeKind::TcpRst { .. } => &self.rst,
            ProbeKind::Udp { port } => &self.udp[payload::index(port)],
            ProbeKind::Arp | ProbeKind::Ndp => {
                unreachable!("ARP is for IPv4 and neighbor discovery for IPv6 alone")
            }
        }
    }
}

impl Template {
    #[inline]
    fn copy_to<'a>(&self, frame: &'a mut [u8]) -> &'a mut [u8] {
        let packet = &mut frame[..self.packet.len()];
        packet.copy_from_slice(&self.packet);
        packet
    }
}

/// A packet between unspecified addresses whose transport part `emit` writes, with its checksums zeroed.
fn ip_template(
    v6: bool,
    protocol: u8,
    checksum_at: usize,
    emit: &dyn Fn(&mut [u8]) -> usize,
) -> Template {
    let mut packet = vec![0; FRAME_MAX];
    let header = if v6 { ipv6::HEADER } else { ipv4::HEADER };
    let length = emit(&mut packet[header..]);
    packet.truncate(header + length);
    packet[header + checksum_at..][..2].fill(0);
    let (src4, src6) = (Ipv4Addr::UNSPECIFIED, Ipv6Addr::UNSPECIFIED);
    let pseudo = if v6 {
        ipv6::Ipv6::new(src6, src6, protocol, length as u16).emit(&mut packet);
        Sum::ZERO.pseudo6(src6, src6, protocol, length as u32)
    } else {
        ipv4::Ipv4::new(src4, src4, protocol, length as u16).emit(&mut packet);
        packet[ipv4::CHECKSUM..][..2].fill(0);
        Sum::ZERO.pseudo4(src4, src4, protocol, length as u16)
    };
    Template {
        header_sum: Sum::ZERO.bytes(&packet[..header]),
        sum: pseudo.bytes(&packet[header..]),
        packet,
    }
}

fn arp_template() -> Template {
    let nobody = Ipv4Addr::UNSPECIFIED;
    let mut packet = vec![0; arp::LENGTH];
    arp::Arp::request(sonde_wire::MacAddr([0; 6]), nobody, nobody).emit(&mut packet);
    Template {
        packet,
        header_sum: Sum::ZERO,
        sum: Sum::ZERO,
    }
}

fn ndp_template() -> Template {
    let nobody = Ipv6Addr::UNSPECIFIED;
    let mut template = ip_template(true, ipv6::ICMPV6, icmpv6::CHECKSUM, &|bytes| {
        let mac = sonde_wire::MacAddr([0; 6]);
        ndisc::emit_neighbor_solicitation(bytes, (nobody, nobody), nobody, mac)
    });
    template.packet[ipv6::HOP_LIMIT] = ndisc::HOP_LIMIT;
    template
}

#[cfg(test)]
mod tests {
    use etherparse::SlicedPacket;
    use proptest::prelude::*;
    use sonde_wire::{Body, Checksums, MacAddr, VlanId, parse, vlan};

    use super::*;
    use crate::plan::Hop;

    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const PORT: u16 = 54_321;

    fn route(vlan: u16, source: IpAddr) -> Route {
        Route {
            vlan: VlanId::new(vlan),
            source,
            source_mac: MAC,
            hop: Hop::OnLink,
            hop_mac: None,
            kernel_owned: false,
        }
    }

    /// The frame with its tag checked and taken out, and what etherparse thinks of it.
    fn fill(route: Route, probe: Probe) -> Vec<u8> {
        let templates = Templates::of_routes(&[route], PORT);
        let mut frame = [0xa5; FRAME_MAX + 2];
        let length = templates.fill(&probe, &mut frame);
        let tagged = route.vlan.is_some();
        assert_eq!(
            length,
            frame_length(probe.kind, probe.dst.is_ipv6(), tagged)
        );
        // An untagged header is written as long as a tagged one: nothing behind the frame may change.
        assert_eq!(frame[length..], [0xa5; FRAME_MAX + 2][length..]);
        let oracle = SlicedPacket::from_ethernet(&frame[..length]).unwrap();
        let id = oracle.vlan_ids().first().map(|id| id.value());
        assert_eq!(id, route.vlan.map(|vlan| vlan.id()));
        match route.vlan {
            None => frame[..length].to_vec(),
            Some(id) => {
                assert_eq!(frame[12..16], vlan::tag(id));
                [&frame[..12], &frame[16..length]].concat()
            }
        }
    }

    fn kinds() -> impl Strategy<Value = ProbeKind> {
        let services = (0..=u16::MAX).filter(|port| payload::index(*port) > 0);
        let services = proptest::sample::select(services.collect::<Vec<_>>());
        prop_oneof![
            Just(ProbeKind::Arp),
            Just(ProbeKind::Echo),
            any::<u16>().prop_map(|port| ProbeKind::TcpSyn { port }),
            any::<(u16, u32)>().prop_map(|(port, seq)| ProbeKind::TcpRst { port, seq }),
            any::<u16>().prop_map(|port| ProbeKind::Udp { port }),
            services.prop_map(|port| ProbeKind::Udp { port }),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn every_frame_says_what_its_probe_asks(
            vlan in 0..=4094u16, ends: (u128, u128), v6: bool, kind in kinds(), cookie: u32, hop: [u8; 6],
        ) {
            let address = |bits: u128| match v6 {
                true => IpAddr::V6(Ipv6Addr::from_bits(bits)),
                false => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
            };
            let (src, dst) = (address(ends.0), address(ends.1));
            let kind = if v6 && kind == ProbeKind::Arp { ProbeKind::Ndp } else { kind };
            let next_hop = MacAddr(hop);
            let probe = Probe { route: 0, dst, next_hop, kind, cookie };
            let frame = fill(route(vlan, src), probe);
            let packet = parse(&frame, Checksums::Verify);
            if let (ProbeKind::Ndp, IpAddr::V6(target)) = (kind, dst)
                && (target.is_multicast() || src.is_unspecified())
            {
                return Ok(()); // no such probe is ever planned
            }
            let packet = packet.unwrap();
            prop_assert_eq!((packet.eth_src, packet.eth_dst), (MAC, next_hop));
            match (kind, packet.body) {
                (ProbeKind::Arp, Body::Arp(arp)) => {
                    prop_assert_eq!(arp.operation, arp::Operation::Request);
                    prop_assert_eq!((arp.sender_mac, arp.target_mac), (MAC, MacAddr([0; 6])));
                    prop_assert_eq!((IpAddr::V4(arp.sender_ip), IpAddr::V4(arp.target_ip)), (src, dst));
                }
                (ProbeKind::Ndp, Body::NeighborSolicitation(asked)) => {
                    prop_assert_eq!((IpAddr::V6(asked.src), IpAddr::V6(asked.target)), (src, dst));
                    prop_assert_eq!(asked.source_mac, Some(MAC));
                    let group = ndisc::solicited_node(asked.target);
                    prop_assert_eq!(asked.dst, if next_hop.is_group() { group } else { asked.target });
                }
                (ProbeKind::Echo, Body::Echo(echo)) => {
                    prop_assert_eq!((echo.ip.src, echo.ip.dst, echo.request), (src, dst, true));
                    prop_assert_eq!(u32::from(echo.id) << 16 | u32::from(echo.seq), cookie);
                }
                (ProbeKind::TcpSyn { port }, Body::Tcp(syn)) => {
                    prop_assert_eq!((syn.ip.src, syn.ip.dst), (src, dst));
                    prop_assert_eq!((syn.src_port, syn.dst_port, syn.seq), (PORT, port, cookie));
                    prop_assert_eq!((syn.flags, syn.options.len()), (tcp::SYN, 20));
                }
                (ProbeKind::TcpRst { port, seq }, Body::Tcp(rst)) => {
                    prop_assert_eq!((rst.ip.src, rst.ip.dst), (src, dst));
                    prop_assert_eq!((rst.src_port, rst.dst_port, rst.seq), (PORT, port, seq));
                    prop_assert_eq!((rst.flags, rst.options.len()), (tcp::RST, 0));
                }
                (ProbeKind::Udp { port }, Body::Udp(datagram)) => {
                    prop_assert_eq!((datagram.ip.src, datagram.ip.dst), (src, dst));
                    prop_assert_eq!((datagram.src_port, datagram.dst_port), (PORT, port));
                    let payload = payload::at(payload::index(port));
                    prop_assert_eq!(datagram.payload.len(), payload.bytes.len());
                    let id = payload.id_at.map(|_| cookie as u16);
                    prop_assert_eq!(payload::quoted_id(port, datagram.payload), id);
                }
                (kind, body) => prop_assert!(false, "{kind:?} came out as {body:?}"),
            }
        }
    }
}
