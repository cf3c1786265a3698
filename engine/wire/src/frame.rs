//! A received frame as what it means, or the reason it is dropped.
//!
//! The way of a TCP answer without options in its IP header is fixed offsets only; extension headers and
//! the packets quoted in ICMP errors go through etherparse. IP's own lengths decide where a packet ends: a
//! padded frame parses as the packet in it. Link-layer padding, other people's traffic and nonsense cost a
//! counter, never a panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::{IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice};

use crate::arp::Arp;
use crate::checksum::Sum;
use crate::ndisc::{self, NeighborAdvertisement, NeighborSolicitation, RouterAdvertisement};
use crate::octets::{array_at, u16_at, u32_at};
use crate::quoted::Quoted;
use crate::{MacAddr, RxDrop, ethernet, icmpv4, icmpv6, ipv4, ipv6, tcp, udp, vlan};

/// Whether transport checksums can be wrong for a good reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksums {
    /// They must be right.
    Verify,
    /// They are not looked at: the frame comes from this machine's own kernel, which leaves them to a
    /// network interface it never reached (AF_PACKET says so by `TP_STATUS_CSUMNOTREADY`). The IPv4
    /// header's is verified all the same.
    Trust,
}

/// A frame that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Source MAC address.
    pub eth_src: MacAddr,
    /// Destination MAC address.
    pub eth_dst: MacAddr,
    /// What is inside.
    pub body: Body<'a>,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// ARP.
    Arp(Arp),
    /// A TCP segment.
    Tcp(Tcp<'a>),
    /// A UDP datagram.
    Udp(Udp<'a>),
    /// An echo request or reply.
    Echo(Echo<'a>),
    /// An ICMP or ICMPv6 error.
    IcmpError(IcmpError<'a>),
    /// Somebody asks who has an IPv6 address.
    NeighborSolicitation(NeighborSolicitation),
    /// Somebody says who has an IPv6 address.
    NeighborAdvertisement(NeighborAdvertisement),
    /// A router says that it is one.
    RouterAdvertisement(RouterAdvertisement<'a>),
}

/// The ends of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// Source.
    pub src: IpAddr,
    /// Destination, of the same family.
    pub dst: IpAddr,
    /// Time to live or hop limit left.
    pub ttl: u8,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tcp<'a> {
    /// Addresses.
    pub ip: Ends,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgment number; counts with [`tcp::ACK`] set.
    pub ack: u32,
    /// [`tcp::SYN`], [`tcp::ACK`], …
    pub flags: u8,
    /// Window, unscaled.
    pub window: u16,
    /// Options as sent.
    pub options: &'a [u8],
    /// What follows the header.
    pub payload: &'a [u8],
}

/// A UDP datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    /// Addresses.
    pub ip: Ends,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// What follows the header; the first piece of it if the packet was fragmented.
    pub payload: &'a [u8],
}

/// An echo request or reply, ICMP or ICMPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo<'a> {
    /// Addresses.
    pub ip: Ends,
    /// A request; otherwise a reply.
    pub request: bool,
    /// Identifier.
    pub id: u16,
    /// Sequence number.
    pub seq: u16,
    /// What follows the header.
    pub payload: &'a [u8],
}

/// An ICMP or ICMPv6 error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError<'a> {
    /// Addresses; the source is who reports.
    pub ip: Ends,
    /// What it reports.
    pub kind: IcmpErrorKind,
    /// The packet it is about.
    pub quoted: Quoted<'a>,
}

/// What an ICMP error says (RFC 792 and RFC 1812 §5.2.7.1; RFC 4443 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpErrorKind {
    /// No route to the network.
    NetUnreachable,
    /// The last router gets no answer from the host.
    HostUnreachable,
    /// Nothing listens on the port.
    PortUnreachable,
    /// A rule forbids it.
    Prohibited,
    /// It went around in a circle, or too far.
    TimeExceeded,
    /// Another one: too big, a parameter problem, an unknown protocol.
    Other,
}

/// Reads a frame whose outer tag is already out.
///
/// `bytes` starts at the destination address and ends before the check sum; padding may follow the packet.
///
/// # Errors
/// The reason to drop it; never one of the judge's (see [`RxDrop::is_of_parser`]).
pub fn parse(bytes: &[u8], checksums: Checksums) -> Result<Packet<'_>, RxDrop> {
    let (header, payload) = bytes.split_first_chunk().ok_or(RxDrop::Truncated)?;
    let header: &[u8; ethernet::HEADER] = header;
    let body = match u16_at(header, ethernet::ETHERTYPE) {
        ethernet::IPV4 => parse_ipv4(payload, checksums)?,
        ethernet::IPV6 => parse_ipv6(payload, checksums)?,
        ethernet::ARP => Body::Arp(Arp::parse(payload)?),
        vlan::TPID | vlan::TPID_SERVICE => return Err(RxDrop::NestedTag),
        _ => return Err(RxDrop::UnknownEtherType),
    };
    Ok(Packet {
        eth_src: MacAddr(array_at(header, ethernet::SRC)),
        eth_dst: MacAddr(array_at(header, ethernet::DST)),
        body,
    })
}

/// An IP payload on its way to its protocol.
#[derive(Clone, Copy)]
struct Payload<'a> {
    ip: Ends,
    /// The pseudo header without its length; `None` when checksums are not to be looked at.
    pseudo: Option<Sum>,
    /// Only the first fragment is here: the checksum over all of it can't be verified.
    partial: bool,
    bytes: &'a [u8],
}

impl<'a> Payload<'a> {
    fn verify(&self, bytes: &[u8]) -> Result<(), RxDrop> {
        match self.pseudo {
            Some(pseudo) if !self.partial => {
                // The length is at most 16 bits here, so both pseudo headers add it alike.
                let sum = pseudo.word(bytes.len() as u16).bytes(bytes).finish();
                if sum == 0 {
                    Ok(())
                } else {
                    Err(RxDrop::BadChecksum)
                }
            }
            _ => Ok(()),
        }
    }

    fn head<const N: usize>(&self) -> Result<(&'a [u8; N], &'a [u8]), RxDrop> {
        self.bytes.split_first_chunk().ok_or(RxDrop::Truncated)
    }
}

fn parse_ipv4(bytes: &[u8], checksums: Checksums) -> Result<Body<'_>, RxDrop> {
    let header: &[u8; ipv4::HEADER] = bytes.first_chunk().ok_or(RxDrop::Truncated)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(u16_at(header, ipv4::TOTAL_LENGTH));
    if header[0] >> 4 != 4 || header_length < ipv4::HEADER || total < header_length {
        return Err(RxDrop::BadIpHeader);
    }
    let packet = bytes.get(..total).ok_or(RxDrop::Truncated)?;
    let (with_options, payload) = packet.split_at(header_length);
    if Sum::ZERO.bytes(with_options).finish() != 0 {
        return Err(RxDrop::BadChecksum);
    }
    let fragment = u16_at(header, ipv4::FRAGMENT);
    if fragment & ipv4::FRAGMENT_OFFSET != 0 {
        return Err(RxDrop::Fragment);
    }
    let src = Ipv4Addr::from(array_at::<4>(header, ipv4::SRC));
    let dst = Ipv4Addr::from(array_at::<4>(header, ipv4::DST));
    let protocol = header[ipv4::PROTOCOL];
    let verify = checksums == Checksums::Verify;
    let payload = Payload {
        ip: Ends {
            src: src.into(),
            dst: dst.into(),
            ttl: header[ipv4::TTL],
        },
        pseudo: verify.then(|| Sum::ZERO.pseudo4(src, dst, protocol, 0)),
        partial: fragment & ipv4::MORE_FRAGMENTS != 0,
        bytes: payload,
    };
    match protocol {
        ipv4::TCP => parse_tcp(payload),
        ipv4::UDP => parse_udp(payload, true),
        ipv4::ICMP => parse_icmpv4(payload),
        _ => Err(RxDrop::UnknownProtocol),
    }
}

fn parse_ipv6(bytes: &[u8], checksums: Checksums) -> Result<Body<'_>, RxDrop> {
    let (header, rest) = bytes.split_first_chunk().ok_or(RxDrop::Truncated)?;
    let header: &[u8; ipv6::HEADER] = header;
    if header[0] >> 4 != 6 {
        return Err(RxDrop::BadIpHeader);
    }
    let length = usize::from(u16_at(header, ipv6::PAYLOAD_LENGTH));
    let rest = rest.get(..length).ok_or(RxDrop::Truncated)?;
    let src = Ipv6Addr::from(array_at::<16>(header, ipv6::SRC));
    let dst = Ipv6Addr::from(array_at::<16>(header, ipv6::DST));
    let (protocol, partial, payload) = match header[ipv6::NEXT_HEADER] {
        plain @ (ipv6::TCP | ipv6::UDP | ipv6::ICMPV6) => (plain, false, rest),
        extension => skip_extensions(extension, rest)?,
    };
    let verify = checksums == Checksums::Verify;
    let payload = Payload {
        ip: Ends {
            src: src.into(),
            dst: dst.into(),
            ttl: header[ipv6::HOP_LIMIT],
        },
        pseudo: verify.then(|| Sum::ZERO.pseudo6(src, dst, protocol, 0)),
        partial,
        bytes: payload,
    };
    match protocol {
        ipv6::TCP => parse_tcp(payload),
        ipv6::UDP => parse_udp(payload, false),
        ipv6::ICMPV6 => parse_icmpv6(payload, src, dst),
        _ => Err(RxDrop::UnknownProtocol),
    }
}

/// Past hop-by-hop, routing, destination, fragment and authentication headers: the protocol after them,
/// whether only its first fragment is here, and its bytes.
fn skip_extensions(first: u8, rest: &[u8]) -> Result<(u8, bool, &[u8]), RxDrop> {
    let (extensions, protocol, payload) =
        Ipv6ExtensionsSlice::from_slice(IpNumber(first), rest).map_err(|_| RxDrop::BadIpHeader)?;
    let partial = extensions.is_fragmenting_payload();
    for extension in extensions {
        if let Ipv6ExtensionSlice::Fragment(fragment) = extension
            && fragment.fragment_offset().value() != 0
        {
            return Err(RxDrop::Fragment);
        }
    }
    Ok((protocol.0, partial, payload))
}

fn parse_tcp(payload: Payload<'_>) -> Result<Body<'_>, RxDrop> {
    let (header, _) = payload.head::<{ tcp::HEADER }>()?;
    let header_length = usize::from(header[tcp::DATA_OFFSET] >> 4) * 4;
    if header_length < tcp::HEADER || header_length > payload.bytes.len() {
        return Err(RxDrop::BadTcpHeader);
    }
    payload.verify(payload.bytes)?;
    let (with_options, data) = payload.bytes.split_at(header_length);
    Ok(Body::Tcp(Tcp {
        ip: payload.ip,
        src_port: u16_at(header, tcp::SRC_PORT),
        dst_port: u16_at(header, tcp::DST_PORT),
        seq: u32_at(header, tcp::SEQ),
        ack: u32_at(header, tcp::ACK_NUMBER),
        flags: header[tcp::FLAGS],
        window: u16_at(header, tcp::WINDOW),
        options: &with_options[tcp::HEADER..],
        payload: data,
    }))
}

/// `may_lack_checksum`: zero means none over IPv4 (RFC 768), and is forbidden over IPv6 (RFC 8200 §8.1).
fn parse_udp(payload: Payload<'_>, may_lack_checksum: bool) -> Result<Body<'_>, RxDrop> {
    let (header, _) = payload.head::<{ udp::HEADER }>()?;
    let length = usize::from(u16_at(header, udp::LENGTH));
    if length < udp::HEADER || (length > payload.bytes.len() && !payload.partial) {
        return Err(RxDrop::BadUdpLength);
    }
    let datagram = &payload.bytes[..length.min(payload.bytes.len())];
    if u16_at(header, udp::CHECKSUM) != 0 {
        payload.verify(datagram)?;
    } else if !may_lack_checksum && payload.pseudo.is_some() {
        return Err(RxDrop::BadChecksum);
    }
    Ok(Body::Udp(Udp {
        ip: payload.ip,
        src_port: u16_at(header, udp::SRC_PORT),
        dst_port: u16_at(header, udp::DST_PORT),
        payload: &datagram[udp::HEADER..],
    }))
}

fn parse_icmpv4(payload: Payload<'_>) -> Result<Body<'_>, RxDrop> {
    let (header, rest) = payload.head::<{ icmpv4::HEADER }>()?;
    if payload.pseudo.is_some() && !payload.partial {
        // ICMP for IPv4 alone is summed without a pseudo header.
        let sum = Sum::ZERO.bytes(payload.bytes).finish();
        if sum != 0 {
            return Err(RxDrop::BadChecksum);
        }
    }
    match header[icmpv4::TYPE] {
        kind @ (icmpv4::ECHO_REQUEST | icmpv4::ECHO_REPLY) => {
            Ok(echo(payload.ip, header, rest, kind == icmpv4::ECHO_REQUEST))
        }
        icmpv4::UNREACHABLE => {
            let kind = match header[icmpv4::CODE] {
                0 | 6 | 11 => IcmpErrorKind::NetUnreachable,
                1 | 7 | 12 => IcmpErrorKind::HostUnreachable,
                3 => IcmpErrorKind::PortUnreachable,
                9 | 10 | 13 | 14 | 15 => IcmpErrorKind::Prohibited,
                _ => IcmpErrorKind::Other,
            };
            icmp_error(payload.ip, kind, rest)
        }
        icmpv4::TIME_EXCEEDED => icmp_error(payload.ip, IcmpErrorKind::TimeExceeded, rest),
        icmpv4::PARAMETER_PROBLEM => icmp_error(payload.ip, IcmpErrorKind::Other, rest),
        _ => Err(RxDrop::UnknownIcmp),
    }
}

fn parse_icmpv6(payload: Payload<'_>, src: Ipv6Addr, dst: Ipv6Addr) -> Result<Body<'_>, RxDrop> {
    let (header, rest) = payload.head::<{ icmpv6::HEADER }>()?;
    payload.verify(payload.bytes)?;
    match header[icmpv6::TYPE] {
        kind @ (icmpv6::ECHO_REQUEST | icmpv6::ECHO_REPLY) => {
            Ok(echo(payload.ip, header, rest, kind == icmpv6::ECHO_REQUEST))
        }
        icmpv6::UNREACHABLE => {
            let kind = match header[icmpv6::CODE] {
                0 | 2 => IcmpErrorKind::NetUnreachable,
                3 => IcmpErrorKind::HostUnreachable,
                4 => IcmpErrorKind::PortUnreachable,
                1 | 5 | 6 => IcmpErrorKind::Prohibited,
                _ => IcmpErrorKind::Other,
            };
            icmp_error(payload.ip, kind, rest)
        }
        icmpv6::TIME_EXCEEDED => icmp_error(payload.ip, IcmpErrorKind::TimeExceeded, rest),
        icmpv6::PACKET_TOO_BIG | icmpv6::PARAMETER_PROBLEM => {
            icmp_error(payload.ip, IcmpErrorKind::Other, rest)
        }
        kind @ (icmpv6::ROUTER_ADVERTISEMENT
        | icmpv6::NEIGHBOR_SOLICITATION
        | icmpv6::NEIGHBOR_ADVERTISEMENT) => {
            if payload.ip.ttl != ndisc::HOP_LIMIT || header[icmpv6::CODE] != 0 {
                return Err(RxDrop::BadNdisc);
            }
            Ok(match kind {
                icmpv6::ROUTER_ADVERTISEMENT => {
                    Body::RouterAdvertisement(ndisc::parse_router(payload.bytes, src)?)
                }
                icmpv6::NEIGHBOR_SOLICITATION => {
                    Body::NeighborSolicitation(ndisc::parse_solicitation(payload.bytes, src, dst)?)
                }
                _ => Body::NeighborAdvertisement(ndisc::parse_advertisement(
                    payload.bytes,
                    src,
                    dst,
                )?),
            })
        }
        _ => Err(RxDrop::UnknownIcmp),
    }
}

/// The header of an echo is the same in ICMP and ICMPv6.
fn echo<'a>(ip: Ends, header: &[u8; 8], payload: &'a [u8], request: bool) -> Body<'a> {
    let id = u16_at(header, icmpv4::ECHO_ID);
    let seq = u16_at(header, icmpv4::ECHO_SEQ);
    Body::Echo(Echo {
        ip,
        request,
        id,
        seq,
        payload,
    })
}

fn icmp_error(ip: Ends, kind: IcmpErrorKind, quoted: &[u8]) -> Result<Body<'_>, RxDrop> {
    Ok(Body::IcmpError(IcmpError {
        ip,
        kind,
        quoted: Quoted::parse(quoted)?,
    }))
}

#[cfg(test)]
mod tests;
