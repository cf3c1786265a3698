//! What a received packet means for this scan: an answer that proves itself, a leak, a question to us, or
//! nothing.

use std::net::IpAddr;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use sonde_wire::arp::{Arp, Operation};
use sonde_wire::frame::{Echo, IcmpError, IcmpErrorKind, Tcp, Udp};
use sonde_wire::ndisc::NeighborSolicitation;
use sonde_wire::{Body, MacAddr, Packet, QuotedTransport, RxDrop, VlanId, tcp};

use crate::cookie::{Cookies, Question, Verdict};
use crate::observation::Proto;
use crate::payload;
use crate::plan::Source;
use crate::rtt::Outstanding;

/// The UDP probes without a transaction id: many ways, as what is lost here is an answer.
pub type Unproven = Outstanding<8>;

/// An answer to a probe, as [`crate::sweep::Sweep::handle_reply`] takes it. From the `connect` link it comes made; from frames the
/// judge makes it, proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// VLAN of the host.
    pub vlan: Option<VlanId>,
    /// Who was asked.
    pub ip: IpAddr,
    /// What it says.
    pub answer: Answer,
    /// MAC address the answer came from.
    pub mac: Option<MacAddr>,
    /// Time to live or hop limit left.
    pub ttl: Option<u8>,
    /// Round trip, when who made the reply measured it; else the sweep looks when it asked.
    pub rtt: Option<Duration>,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Where the host is on link: at [`Reply::mac`].
    Link,
    /// An echo came back.
    Echo,
    /// The TCP port is open.
    TcpOpen(u16),
    /// The TCP port is closed.
    TcpClosed(u16),
    /// The UDP port answered.
    UdpReply(u16),
    /// The host itself says that nothing listens on the UDP port.
    UdpClosed(u16),
    /// Somebody says that the port can't or may not be reached.
    Filtered(Proto, u16),
}

impl Answer {
    /// What was asked.
    pub fn question(self) -> Question {
        match self {
            Self::Link => Question::Link,
            Self::Echo => Question::Echo,
            Self::TcpOpen(port) | Self::TcpClosed(port) | Self::Filtered(Proto::Tcp, port) => {
                Question::Tcp(port)
            }
            Self::UdpReply(port) | Self::UdpClosed(port) | Self::Filtered(Proto::Udp, port) => {
                Question::Udp(port)
            }
        }
    }
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged<'a> {
    /// A proven answer; for an accepted connection with the sequence number to reset it by.
    Reply(Reply, Option<u32>),
    /// A proven answer to a question asked in another VLAN.
    Leak {
        /// VLAN the question left on.
        vlan: Option<VlanId>,
        /// Who answered.
        ip: IpAddr,
    },
    /// ARP for our address.
    Arp(Source, Arp),
    /// Neighbor solicitation for our address.
    Solicitation(Source, NeighborSolicitation),
    /// An echo request to our address.
    Echo(Source, Echo<'a>),
    /// Nothing.
    Drop(RxDrop),
}

/// Judges packets.
#[derive(Clone, Debug)]
pub struct Judge {
    sources: HashMap<(Option<VlanId>, IpAddr), Source>,
    addresses: HashSet<IpAddr>,
    source_port: u16,
}

impl Judge {
    /// A judge for a scan from these addresses and this TCP and UDP port.
    pub fn new(sources: &[Source], source_port: u16) -> Self {
        Self {
            sources: sources.iter().map(|s| ((s.vlan, s.ip), *s)).collect(),
            addresses: sources.iter().map(|s| s.ip).collect(),
            source_port,
        }
    }

    /// Judges a packet that came in on `vlan`.
    pub fn judge<'a>(
        &self,
        cookies: &Cookies,
        unproven: &Unproven,
        vlan: Option<VlanId>,
        packet: &Packet<'a>,
    ) -> Judged<'a> {
        let case = Case {
            judge: self,
            cookies,
            unproven,
            vlan,
            mac: packet.eth_src,
        };
        match packet.body {
            Body::Tcp(tcp) => case.tcp(&tcp),
            Body::Udp(udp) => case.udp(&udp),
            Body::Echo(echo) => case.echo(echo),
            Body::IcmpError(error) => case.icmp_error(&error),
            Body::Arp(arp) => case.arp(arp),
            Body::NeighborSolicitation(solicitation) => {
                match case.source(solicitation.target.into()) {
                    Some(source) => Judged::Solicitation(*source, solicitation),
                    None => Judged::Drop(RxDrop::NotForUs),
                }
            }
            Body::NeighborAdvertisement(advert) => {
                let mac = advert.target_mac.unwrap_or(packet.eth_src);
                let for_us = case.source(advert.dst.into()).is_some();
                case.link(for_us && advert.flags.solicited, advert.target.into(), mac)
            }
            Body::RouterAdvertisement(_) => Judged::Drop(RxDrop::Unasked),
        }
    }
}

/// One packet before the judge.
struct Case<'c> {
    judge: &'c Judge,
    cookies: &'c Cookies,
    unproven: &'c Unproven,
    vlan: Option<VlanId>,
    mac: MacAddr,
}

impl Case<'_> {
    /// Our address `ip`, if it is ours in this VLAN.
    fn source(&self, ip: IpAddr) -> Option<&Source> {
        self.judge.sources.get(&(self.vlan, ip))
    }

    fn tcp(&self, segment: &Tcp<'_>) -> Judged<'static> {
        if segment.dst_port != self.judge.source_port {
            return self.drop_from(segment.ip.dst, RxDrop::Unasked);
        }
        let port = segment.src_port;
        let flags = segment.flags & (tcp::SYN | tcp::RST | tcp::ACK);
        let (answer, reset) = if flags == tcp::SYN | tcp::ACK {
            (Answer::TcpOpen(port), Some(segment.ack))
        } else if flags == tcp::RST | tcp::ACK {
            (Answer::TcpClosed(port), None)
        } else {
            return self.drop_from(segment.ip.dst, RxDrop::Unasked);
        };
        let value = segment.ack.wrapping_sub(1);
        self.by_cookie(
            segment.ip.dst,
            segment.ip.src,
            answer,
            value,
            Some(segment.ip.ttl),
            reset,
        )
    }

    fn echo<'a>(&self, echo: Echo<'a>) -> Judged<'a> {
        if echo.request {
            return match self.source(echo.ip.dst) {
                Some(source) => Judged::Echo(*source, echo),
                None => Judged::Drop(RxDrop::NotForUs),
            };
        }
        let value = u32::from(echo.id) << 16 | u32::from(echo.seq);
        self.by_cookie(
            echo.ip.dst,
            echo.ip.src,
            Answer::Echo,
            value,
            Some(echo.ip.ttl),
            None,
        )
    }

    fn udp(&self, datagram: &Udp<'_>) -> Judged<'static> {
        let (us, them, port) = (datagram.ip.dst, datagram.ip.src, datagram.src_port);
        if self.source(us).is_none() {
            return Judged::Drop(RxDrop::NotForUs);
        }
        if datagram.dst_port != self.judge.source_port {
            return Judged::Drop(RxDrop::Unasked);
        }
        let ours = match payload::answer_id(port, datagram.payload) {
            Some(Some(id)) => id == self.cookie(them, Question::Udp(port)) as u16,
            Some(None) => false,
            None if self.is_outstanding(them, Question::Udp(port)) => true,
            None if payload::is_tftp_answer(datagram.payload)
                && self.is_outstanding(them, Question::Udp(69)) =>
            {
                let reply = self.reply(them, Answer::UdpReply(69), Some(datagram.ip.ttl));
                return Judged::Reply(reply, None);
            }
            None => return Judged::Drop(RxDrop::Unasked),
        };
        match ours {
            true => {
                let reply = self.reply(them, Answer::UdpReply(port), Some(datagram.ip.ttl));
                Judged::Reply(reply, None)
            }
            false => Judged::Drop(RxDrop::BadCookie),
        }
    }

    fn icmp_error(&self, error: &IcmpError<'_>) -> Judged<'static> {
        let (us, them) = (error.quoted.src, error.quoted.dst);
        match error.kind {
            IcmpErrorKind::TimeExceeded | IcmpErrorKind::Other => {
                return self.drop_from(us, RxDrop::UnknownIcmp);
            }
            IcmpErrorKind::NetUnreachable
            | IcmpErrorKind::HostUnreachable
            | IcmpErrorKind::PortUnreachable
            | IcmpErrorKind::Prohibited => {}
        }
        let of_host = error.ip.src == them;
        // Its ttl says how far the reporter is, not the host.
        let ttl = of_host.then_some(error.ip.ttl);
        match error.quoted.transport {
            QuotedTransport::Tcp {
                src_port,
                dst_port,
                seq,
            } => {
                if src_port != self.judge.source_port {
                    return self.drop_from(us, RxDrop::Unasked);
                }
                let answer = Answer::Filtered(Proto::Tcp, dst_port);
                self.by_cookie(us, them, answer, seq, ttl, None)
            }
            QuotedTransport::Udp {
                src_port,
                dst_port,
                payload,
            } => {
                let question = Question::Udp(dst_port);
                if self.source(us).is_none() {
                    return Judged::Drop(RxDrop::NotForUs);
                }
                let proven = match payload::quoted_id(dst_port, payload) {
                    Some(id) => id == self.cookie(them, question) as u16,
                    None => self.is_outstanding(them, question),
                };
                if src_port != self.judge.source_port || !proven {
                    return Judged::Drop(RxDrop::BadCookie);
                }
                let closed = of_host && error.kind == IcmpErrorKind::PortUnreachable;
                let answer = match closed {
                    true => Answer::UdpClosed(dst_port),
                    false => Answer::Filtered(Proto::Udp, dst_port),
                };
                Judged::Reply(self.reply(them, answer, ttl), None)
            }
            // That an echo could not be delivered says nothing: the host may answer something else.
            QuotedTransport::Echo { .. } => self.drop_from(us, RxDrop::UnknownIcmp),
        }
    }

    fn arp(&self, arp: Arp) -> Judged<'static> {
        let source = self.source(arp.target_ip.into());
        match (arp.operation, source) {
            (Operation::Request, Some(source)) => Judged::Arp(*source, arp),
            (Operation::Request, None) => Judged::Drop(RxDrop::NotForUs),
            (Operation::Reply, to) => self.link(to.is_some(), arp.sender_ip.into(), arp.sender_mac),
        }
    }

    fn link(&self, for_us: bool, ip: IpAddr, mac: MacAddr) -> Judged<'static> {
        if !for_us {
            return Judged::Drop(RxDrop::NotForUs);
        }
        if mac.is_group() {
            return Judged::Drop(RxDrop::BadArp);
        }
        let reply = Reply {
            mac: Some(mac),
            ..self.reply(ip, Answer::Link, None)
        };
        Judged::Reply(reply, None)
    }

    /// An answer with a whole cookie in it.
    fn by_cookie(
        &self,
        us: IpAddr,
        them: IpAddr,
        answer: Answer,
        value: u32,
        ttl: Option<u8>,
        reset: Option<u32>,
    ) -> Judged<'static> {
        let here = self.source(us).is_some();
        if !here && !self.judge.addresses.contains(&us) {
            return Judged::Drop(RxDrop::NotForUs);
        }
        let hash = self.cookies.hash(them, answer.question());
        match self.cookies.judge(self.vlan, hash, value) {
            Verdict::Ours if here => Judged::Reply(self.reply(them, answer, ttl), reset),
            Verdict::Leak(vlan) if self.judge.sources.contains_key(&(vlan, us)) => {
                Judged::Leak { vlan, ip: them }
            }
            Verdict::Ours => Judged::Drop(RxDrop::NotForUs),
            Verdict::Leak(_) | Verdict::Forged => Judged::Drop(RxDrop::BadCookie),
        }
    }

    fn reply(&self, ip: IpAddr, answer: Answer, ttl: Option<u8>) -> Reply {
        Reply {
            vlan: self.vlan,
            ip,
            answer,
            mac: Some(self.mac),
            ttl,
            rtt: None,
        }
    }

    fn cookie(&self, ip: IpAddr, question: Question) -> u32 {
        self.cookies
            .cookie(self.vlan, self.cookies.hash(ip, question))
    }

    fn is_outstanding(&self, ip: IpAddr, question: Question) -> bool {
        let hash = self.cookies.hash(ip, question);
        let key = self.cookies.key(self.vlan, hash);
        self.unproven.get(key).is_some()
    }

    /// `reason`, if it was sent to us at all.
    fn drop_from(&self, us: IpAddr, reason: RxDrop) -> Judged<'static> {
        match self.source(us) {
            Some(_) => Judged::Drop(reason),
            None => Judged::Drop(RxDrop::NotForUs),
        }
    }
}

#[cfg(test)]
mod tests;
