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
mod tests {
    use std::net::Ipv4Addr;

    use sonde_wire::Quoted;
    use sonde_wire::frame::Ends;
    use sonde_wire::ndisc::{AdvertisementFlags, NeighborAdvertisement};

    use super::*;
    use crate::time::Instant;

    const PORT: u16 = 54_321;
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
    const US: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
    /// Ours in VLAN 2 only.
    const US_TOO: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
    const THEM: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));
    const ROUTER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 254));

    struct Court {
        judge: Judge,
        cookies: Cookies,
        unproven: Unproven,
    }

    fn vlan(id: u16) -> Option<VlanId> {
        VlanId::new(id)
    }

    impl Court {
        /// We are 10.0.0.1 in VLANs 1 and 2, and have asked port 9999 by UDP in VLAN 1.
        fn new() -> Self {
            let source = |id, ip| Source {
                vlan: vlan(id),
                ip,
                mac: MacAddr([2, 0, 0, 0, 0, 1]),
                kernel_owned: false,
            };
            let sources = [source(1, US), source(2, US), source(2, US_TOO)];
            let mut court = Self {
                judge: Judge::new(&sources, PORT),
                cookies: Cookies::new([3; 16], [1, 2].map(vlan)),
                unproven: Unproven::new(1024),
            };
            for port in [69, 9999] {
                let hash = court.cookies.hash(THEM, Question::Udp(port));
                let key = court.cookies.key(vlan(1), hash);
                court.unproven.insert(key, Instant::ZERO);
            }
            court
        }

        fn cookie(&self, id: u16, question: Question) -> u32 {
            let hash = self.cookies.hash(THEM, question);
            self.cookies.cookie(vlan(id), hash)
        }

        /// Judges what came in on VLAN 1.
        fn judge<'a>(&self, body: Body<'a>) -> Judged<'a> {
            let packet = Packet {
                eth_src: MAC,
                eth_dst: MAC,
                body,
            };
            self.judge
                .judge(&self.cookies, &self.unproven, vlan(1), &packet)
        }

        fn answer(&self, body: Body<'_>) -> Result<Answer, RxDrop> {
            match self.judge(body) {
                Judged::Reply(reply, _) => {
                    assert_eq!(
                        (reply.vlan, reply.ip, reply.mac),
                        (vlan(1), THEM, Some(MAC))
                    );
                    Ok(reply.answer)
                }
                Judged::Drop(reason) => Err(reason),
                other => panic!("{other:?}"),
            }
        }
    }

    fn ends(src: IpAddr, dst: IpAddr) -> Ends {
        Ends { src, dst, ttl: 60 }
    }

    fn segment(dst: IpAddr, dst_port: u16, cookie: u32, flags: u8) -> Body<'static> {
        Body::Tcp(Tcp {
            ip: ends(THEM, dst),
            src_port: 80,
            dst_port,
            seq: 1,
            ack: cookie.wrapping_add(1),
            flags,
            window: 0,
            options: &[],
            payload: &[],
        })
    }

    #[test]
    fn segments_prove_themselves_by_what_they_acknowledge() {
        let court = Court::new();
        let cookie = court.cookie(1, Question::Tcp(80));
        let syn_ack = tcp::SYN | tcp::ACK;
        let judged = court.judge(segment(US, PORT, cookie, syn_ack));
        assert!(matches!(
            judged,
            Judged::Reply(Reply { answer: Answer::TcpOpen(80), ttl: Some(60), .. }, Some(reset))
                if reset == cookie.wrapping_add(1)
        ));
        let answer = |dst, port, cookie, flags| court.answer(segment(dst, port, cookie, flags));
        assert_eq!(
            answer(US, PORT, cookie, tcp::RST | tcp::ACK),
            Ok(Answer::TcpClosed(80))
        );
        assert_eq!(
            answer(US, PORT, cookie ^ 1, syn_ack),
            Err(RxDrop::BadCookie)
        );
        assert_eq!(answer(US, PORT, cookie, tcp::ACK), Err(RxDrop::Unasked));
        assert_eq!(answer(US, PORT + 1, cookie, syn_ack), Err(RxDrop::Unasked));
        assert_eq!(answer(THEM, PORT, cookie, syn_ack), Err(RxDrop::NotForUs));
        assert_eq!(
            answer(THEM, PORT + 1, cookie, syn_ack),
            Err(RxDrop::NotForUs)
        );
        assert_eq!(answer(US_TOO, PORT, cookie, syn_ack), Err(RxDrop::NotForUs));
    }

    #[test]
    fn a_cookie_of_another_vlan_is_a_leak_if_we_asked_from_there() {
        let court = Court::new();
        let cookie = court.cookie(2, Question::Tcp(80));
        for us in [US, US_TOO] {
            let judged = court.judge(segment(us, PORT, cookie, tcp::SYN | tcp::ACK));
            assert_eq!(
                judged,
                Judged::Leak {
                    vlan: vlan(2),
                    ip: THEM
                }
            );
        }
        let nowhere = court.cookie(3, Question::Tcp(80));
        let judged = court.answer(segment(US, PORT, nowhere, tcp::SYN | tcp::ACK));
        assert_eq!(judged, Err(RxDrop::BadCookie));
    }

    #[test]
    fn echoes_prove_themselves_and_requests_are_handed_on() {
        let court = Court::new();
        let cookie = court.cookie(1, Question::Echo);
        let echo = |dst, request, cookie: u32| {
            let (id, seq) = ((cookie >> 16) as u16, cookie as u16);
            let payload = &[][..];
            Body::Echo(Echo {
                ip: ends(THEM, dst),
                request,
                id,
                seq,
                payload,
            })
        };
        assert_eq!(court.answer(echo(US, false, cookie)), Ok(Answer::Echo));
        assert_eq!(
            court.answer(echo(US, false, cookie ^ 1 << 31)),
            Err(RxDrop::BadCookie)
        );
        assert!(matches!(court.judge(echo(US, true, 5)), Judged::Echo(..)));
        assert_eq!(court.answer(echo(US_TOO, true, 5)), Err(RxDrop::NotForUs));
    }

    #[test]
    fn datagrams_prove_themselves_by_their_id_or_by_having_been_asked() {
        let court = Court::new();
        let datagram = |dst, src_port, dst_port, payload| {
            court.answer(Body::Udp(Udp {
                ip: ends(THEM, dst),
                src_port,
                dst_port,
                payload,
            }))
        };
        let id = court.cookie(1, Question::Udp(53)) as u16;
        let dns = |id: u16| [&id.to_be_bytes()[..], &[0; 10]].concat();
        let (right, wrong) = (dns(id), dns(id ^ 1));
        assert_eq!(datagram(US, 53, PORT, &right), Ok(Answer::UdpReply(53)));
        assert_eq!(datagram(US, 53, PORT, &wrong), Err(RxDrop::BadCookie));
        assert_eq!(datagram(US, 53, PORT, b""), Err(RxDrop::BadCookie));
        assert_eq!(datagram(US, 9999, PORT, b"?"), Ok(Answer::UdpReply(9999)));
        assert_eq!(datagram(US, 9998, PORT, b"?"), Err(RxDrop::Unasked));
        assert_eq!(datagram(US, 9999, 53, b"?"), Err(RxDrop::Unasked));
        assert_eq!(datagram(THEM, 9999, PORT, b"?"), Err(RxDrop::NotForUs));
        // A TFTP server answers from a port of its own.
        assert_eq!(
            datagram(US, 40_000, PORT, b"\0\x05\0\x01no\0"),
            Ok(Answer::UdpReply(69))
        );
    }

    #[test]
    fn errors_prove_themselves_by_what_they_quote() {
        let court = Court::new();
        let error = |from, kind, transport| {
            let quoted = Quoted {
                src: US,
                dst: THEM,
                transport,
            };
            court.answer(Body::IcmpError(IcmpError {
                ip: ends(from, US),
                kind,
                quoted,
            }))
        };
        let seq = court.cookie(1, Question::Tcp(80));
        let tcp = |src_port, seq| QuotedTransport::Tcp {
            src_port,
            dst_port: 80,
            seq,
        };
        let filtered = Ok(Answer::Filtered(Proto::Tcp, 80));
        use IcmpErrorKind::{HostUnreachable, Other, PortUnreachable, Prohibited, TimeExceeded};
        for kind in [HostUnreachable, PortUnreachable, Prohibited] {
            assert_eq!(error(ROUTER, kind, tcp(PORT, seq)), filtered);
        }
        assert_eq!(error(THEM, PortUnreachable, tcp(PORT, seq)), filtered);
        assert_eq!(
            error(ROUTER, Prohibited, tcp(PORT, seq ^ 1)),
            Err(RxDrop::BadCookie)
        );
        assert_eq!(
            error(ROUTER, Prohibited, tcp(99, seq)),
            Err(RxDrop::Unasked)
        );
        for kind in [TimeExceeded, Other] {
            assert_eq!(
                error(ROUTER, kind, tcp(PORT, seq)),
                Err(RxDrop::UnknownIcmp)
            );
        }
        let udp = |dst_port, payload| QuotedTransport::Udp {
            src_port: PORT,
            dst_port,
            payload,
        };
        let closed = Ok(Answer::UdpClosed(9999));
        assert_eq!(error(THEM, PortUnreachable, udp(9999, b"")), closed);
        let filtered = Ok(Answer::Filtered(Proto::Udp, 9999));
        assert_eq!(error(ROUTER, PortUnreachable, udp(9999, b"")), filtered);
        assert_eq!(
            error(THEM, PortUnreachable, udp(9998, b"")),
            Err(RxDrop::BadCookie)
        );
        let id = (court.cookie(1, Question::Udp(53)) as u16).to_be_bytes();
        let other = [id[0], !id[1]];
        assert_eq!(
            error(THEM, PortUnreachable, udp(53, &id)),
            Ok(Answer::UdpClosed(53))
        );
        let wrong = error(THEM, PortUnreachable, udp(53, &other));
        assert_eq!(wrong, Err(RxDrop::BadCookie));
        let echo = QuotedTransport::Echo { id: 1, seq: 2 };
        assert_eq!(
            error(ROUTER, HostUnreachable, echo),
            Err(RxDrop::UnknownIcmp)
        );
    }

    #[test]
    fn neighbors_are_heard_when_they_speak_to_us() {
        let court = Court::new();
        let (IpAddr::V4(us), IpAddr::V4(us_too), IpAddr::V4(them)) = (US, US_TOO, THEM) else {
            unreachable!("they are written above")
        };
        let request = Arp::request(MAC, them, us);
        assert!(matches!(court.judge(Body::Arp(request)), Judged::Arp(..)));
        let other = Arp::request(MAC, them, us_too);
        assert_eq!(court.answer(Body::Arp(other)), Err(RxDrop::NotForUs));
        let reply = Arp::request(MAC, us, them).reply(MAC);
        assert_eq!(court.answer(Body::Arp(reply)), Ok(Answer::Link));
        let from_group = Arp {
            sender_mac: MacAddr::BROADCAST,
            ..reply
        };
        assert_eq!(court.answer(Body::Arp(from_group)), Err(RxDrop::BadArp));
        let to_other = Arp {
            target_ip: us_too,
            ..reply
        };
        assert_eq!(court.answer(Body::Arp(to_other)), Err(RxDrop::NotForUs));

        let nobody = std::net::Ipv6Addr::UNSPECIFIED;
        let advert = NeighborAdvertisement {
            src: nobody,
            dst: nobody,
            flags: AdvertisementFlags::default(),
            target: nobody,
            target_mac: None,
        };
        assert_eq!(
            court.answer(Body::NeighborAdvertisement(advert)),
            Err(RxDrop::NotForUs)
        );
        let asked = NeighborSolicitation {
            src: nobody,
            dst: nobody,
            target: nobody,
            source_mac: None,
        };
        assert_eq!(
            court.answer(Body::NeighborSolicitation(asked)),
            Err(RxDrop::NotForUs)
        );
    }
}
