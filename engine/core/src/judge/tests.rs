//! Every way a packet can be taken.

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
