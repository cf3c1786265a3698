//! Every drop reason reached, round trips, and two parsers of other makers as oracles.

use std::collections::HashSet;

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use pnet::packet::Packet as _;
use pnet::packet::ethernet::EthernetPacket;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::tcp::TcpPacket;
use proptest::prelude::*;

use super::*;
use crate::VlanId;
use crate::ipv4::Ipv4;
use crate::ipv6::Ipv6;
use crate::ndisc::AdvertisementFlags;
use crate::quoted::QuotedTransport;
use crate::tcp::Segment;

const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEM: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const US4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const THEM4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);
const US6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const THEM6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);

/// A frame from them to us: Ethernet header, then what `payload` writes into a poisoned buffer.
fn frame(ethertype: u16, payload: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut bytes = vec![0xa5; 2048];
    let at = ethernet::emit(&mut bytes, US, THEM, None, ethertype);
    let length = payload(&mut bytes[at..]);
    bytes.truncate(at + length);
    bytes
}

fn frame4(protocol: u8, transport: &[u8]) -> Vec<u8> {
    frame(ethernet::IPV4, |bytes| {
        let at = Ipv4::new(THEM4, US4, protocol, transport.len() as u16).emit(bytes);
        bytes[at..at + transport.len()].copy_from_slice(transport);
        at + transport.len()
    })
}

fn frame6(next_header: u8, hop_limit: u8, payload: &[u8]) -> Vec<u8> {
    frame(ethernet::IPV6, |bytes| {
        let header = Ipv6::new(THEM6, US6, next_header, payload.len() as u16);
        let at = Ipv6 {
            hop_limit,
            ..header
        }
        .emit(bytes);
        bytes[at..at + payload.len()].copy_from_slice(payload);
        at + payload.len()
    })
}

const SYN_ACK: Segment<'_> = Segment {
    src_port: 80,
    dst_port: 40_000,
    seq: 7,
    ack: 0xdead_bef0,
    flags: tcp::SYN | tcp::ACK,
    window: 65_160,
    options: &[2, 4, 5, 0xb4],
};

fn syn_ack4() -> Vec<u8> {
    let mut segment = [0xa5; 24];
    SYN_ACK.emit(&mut segment, Sum::ZERO.pseudo4(THEM4, US4, ipv4::TCP, 24));
    frame4(ipv4::TCP, &segment)
}

fn udp6(payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0xa5; 8 + payload.len()];
    let pseudo = Sum::ZERO.pseudo6(THEM6, US6, ipv6::UDP, datagram.len() as u32);
    udp::emit(&mut datagram, pseudo, 53, 40_000, payload);
    datagram
}

fn echo4(kind: u8) -> Vec<u8> {
    let mut message = [0xa5; 12];
    icmpv4::emit_echo(&mut message, kind, 3, 4, b"sond");
    frame4(ipv4::ICMP, &message)
}

/// An ICMP message of any type around `rest`, checksum right.
fn icmp4(kind: u8, code: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0], rest].concat();
    let checksum = Sum::ZERO.bytes(&message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    frame4(ipv4::ICMP, &message)
}

fn icmp6(kind: u8, code: u8, hop_limit: u8, rest: &[u8]) -> Vec<u8> {
    let mut message = [&[kind, code, 0, 0, 0, 0, 0, 0], rest].concat();
    icmpv6::seal(&mut message, THEM6, US6);
    frame6(ipv6::ICMPV6, hop_limit, &message)
}

/// The probe that the errors below are about, from us to them.
fn probe4() -> Vec<u8> {
    let mut packet = vec![0; 28];
    Ipv4::new(US4, THEM4, ipv4::UDP, 8).emit(&mut packet);
    udp::emit(&mut packet[20..], Sum::ZERO, 40_000, 161, &[]);
    packet
}

fn probe6() -> Vec<u8> {
    let mut packet = vec![0; 48];
    Ipv6::new(US6, THEM6, ipv6::UDP, 8).emit(&mut packet);
    udp::emit(&mut packet[40..], Sum::ZERO, 40_000, 161, &[]);
    packet
}

fn verify(bytes: &[u8]) -> Result<Body<'_>, RxDrop> {
    parse(bytes, Checksums::Verify).map(|packet| packet.body)
}

#[test]
fn a_syn_ack_is_read_whole_and_padding_is_ignored() {
    let mut bytes = syn_ack4();
    bytes.resize(ethernet::MIN_FRAME, 0xff);
    let packet = parse(&bytes, Checksums::Verify).unwrap();
    assert_eq!((packet.eth_src, packet.eth_dst), (THEM, US));
    let Body::Tcp(segment) = packet.body else {
        panic!("{packet:?}")
    };
    assert_eq!(
        segment.ip,
        Ends {
            src: THEM4.into(),
            dst: US4.into(),
            ttl: 64
        }
    );
    assert_eq!((segment.src_port, segment.dst_port), (80, 40_000));
    assert_eq!(
        (segment.seq, segment.ack, segment.window),
        (7, 0xdead_bef0, 65_160)
    );
    assert_eq!(segment.flags, tcp::SYN | tcp::ACK);
    assert_eq!(
        (segment.options, segment.payload),
        (SYN_ACK.options, &[][..])
    );
}

#[test]
fn every_reason_of_the_parser_is_reached() {
    let with = |mut bytes: Vec<u8>, at: usize, value: u8| {
        bytes[at] = value;
        bytes
    };
    // An IPv4 header changed on purpose keeps a right checksum, so that only the change is refused.
    let with4 = |bytes: Vec<u8>, at: usize, value: u8| {
        let mut bytes = with(bytes, 14 + at, value);
        bytes[24..26].fill(0);
        let checksum = Sum::ZERO.bytes(&bytes[14..34]).finish();
        bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
        bytes
    };
    let arp = frame(ethernet::ARP, |b| Arp::request(THEM, THEM4, US4).emit(b));
    let cases = [
        (RxDrop::Truncated, syn_ack4()[..13].to_vec()),
        (RxDrop::Truncated, syn_ack4()[..40].to_vec()),
        (RxDrop::UnknownEtherType, with(syn_ack4(), 12, 0x88)),
        (RxDrop::NestedTag, with(syn_ack4(), 12, 0x81)),
        (RxDrop::BadArp, with(arp, 21, 3)),
        (RxDrop::BadIpHeader, with(syn_ack4(), 14, 0x44)),
        (RxDrop::BadIpHeader, with(syn_ack4(), 14, 0x65)),
        (RxDrop::BadIpHeader, with(udp_frame6(), 14, 0x40)),
        (RxDrop::BadIpHeader, frame6(43, 64, &[6, 9, 0, 0])),
        (RxDrop::Fragment, with4(syn_ack4(), 7, 1)),
        (
            RxDrop::Fragment,
            frame6(44, 64, &[17, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0]),
        ),
        (RxDrop::UnknownProtocol, frame4(47, &[0; 20])),
        (RxDrop::UnknownProtocol, frame6(59, 64, &[])),
        (RxDrop::BadTcpHeader, with(syn_ack4(), 46, 0x40)),
        (RxDrop::BadTcpHeader, with(syn_ack4(), 46, 0x70)),
        (RxDrop::BadUdpLength, with(udp_frame6(), 59, 7)),
        (RxDrop::BadUdpLength, with(udp_frame6(), 59, 99)),
        (RxDrop::BadChecksum, with(syn_ack4(), 25, 0)),
        (RxDrop::BadChecksum, with(syn_ack4(), 40, 1)),
        (RxDrop::BadChecksum, with(udp_frame6(), 63, b'!')),
        (RxDrop::BadChecksum, with(echo4(0), 40, 1)),
        (RxDrop::UnknownIcmp, icmp4(13, 0, &[])),
        (RxDrop::UnknownIcmp, icmp6(133, 0, 255, &[])),
        (RxDrop::BadQuote, icmp4(3, 3, &[0x45])),
        (RxDrop::BadNdisc, icmp6(135, 0, 254, &THEM6.octets())),
        (RxDrop::BadNdisc, icmp6(135, 1, 255, &THEM6.octets())),
    ];
    let mut reached = HashSet::new();
    for (reason, bytes) in cases {
        assert_eq!(verify(&bytes), Err(reason), "{bytes:02x?}");
        reached.insert(reason);
    }
    let all = RxDrop::ALL
        .into_iter()
        .filter(|reason| reason.is_of_parser());
    assert_eq!(reached, all.collect());
}

fn udp_frame6() -> Vec<u8> {
    frame6(ipv6::UDP, 64, &udp6(b"pong"))
}

#[test]
fn ip_options_and_extension_headers_are_stepped_over() {
    let segment = syn_ack4()[34..].to_vec();
    let bytes = frame(ethernet::IPV4, |bytes| {
        Ipv4::new(THEM4, US4, ipv4::TCP, 4 + 24).emit(bytes);
        bytes[0] = 0x46;
        bytes[20..24].copy_from_slice(&[148, 4, 0, 0]); // router alert
        bytes[10..12].fill(0);
        let checksum = Sum::ZERO.bytes(&bytes[..24]).finish();
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        bytes[24..48].copy_from_slice(&segment);
        48
    });
    assert!(matches!(verify(&bytes), Ok(Body::Tcp(t)) if t.src_port == 80));

    let hop_by_hop = [60, 0, 1, 4, 0, 0, 0, 0];
    let destination = [17, 0, 1, 4, 0, 0, 0, 0];
    let payload = [&hop_by_hop[..], &destination, &udp6(b"pong")].concat();
    let bytes = frame6(0, 64, &payload);
    assert!(matches!(verify(&bytes), Ok(Body::Udp(u)) if u.payload == b"pong"));
}

#[test]
fn the_first_fragment_names_its_ports() {
    let datagram = udp6(&[7; 64]);
    let payload = [&[17, 0, 0, 1, 0, 0, 0, 1], &datagram[..16]].concat();
    let bytes = frame6(44, 64, &payload);
    assert!(matches!(verify(&bytes), Ok(Body::Udp(u)) if u.src_port == 53 && u.payload == [7; 8]));
}

#[test]
fn checksums_left_to_an_interface_are_trusted_when_told_so() {
    let mut bytes = syn_ack4();
    bytes[50..52].copy_from_slice(&[0x12, 0x34]);
    assert_eq!(verify(&bytes), Err(RxDrop::BadChecksum));
    assert!(parse(&bytes, Checksums::Trust).is_ok());
    let mut bytes = udp_frame6();
    bytes[60..62].fill(0);
    assert_eq!(verify(&bytes), Err(RxDrop::BadChecksum));
    assert!(parse(&bytes, Checksums::Trust).is_ok());
    // Over IPv4 a datagram may come without.
    let datagram = [0, 53, 0x9c, 0x40, 0, 8, 0, 0];
    assert!(matches!(verify(&frame4(ipv4::UDP, &datagram)), Ok(Body::Udp(u)) if u.src_port == 53));
}

#[test]
fn echoes_of_both_families() {
    let bytes = echo4(icmpv4::ECHO_REPLY);
    let expected = Echo {
        ip: Ends {
            src: THEM4.into(),
            dst: US4.into(),
            ttl: 64,
        },
        request: false,
        id: 3,
        seq: 4,
        payload: b"sond",
    };
    assert_eq!(verify(&bytes), Ok(Body::Echo(expected)));
    let mut message = [0xa5; 8];
    icmpv6::emit_echo(&mut message, (THEM6, US6), icmpv6::ECHO_REQUEST, 5, 6, &[]);
    let bytes = frame6(ipv6::ICMPV6, 3, &message);
    assert!(
        matches!(verify(&bytes), Ok(Body::Echo(e)) if e.request && (e.id, e.seq, e.ip.ttl) == (5, 6, 3))
    );
}

#[test]
fn icmp_errors_by_type_and_code() {
    use IcmpErrorKind::*;
    let table4 = [
        (3, 0, NetUnreachable),
        (3, 1, HostUnreachable),
        (3, 2, Other),
        (3, 3, PortUnreachable),
        (3, 4, Other),
        (3, 6, NetUnreachable),
        (3, 7, HostUnreachable),
        (3, 9, Prohibited),
        (3, 10, Prohibited),
        (3, 13, Prohibited),
        (11, 0, TimeExceeded),
        (12, 0, Other),
    ];
    let transport = QuotedTransport::Udp {
        src_port: 40_000,
        dst_port: 161,
        payload: &[],
    };
    for (kind, code, expected) in table4 {
        let bytes = icmp4(kind, code, &probe4());
        let Ok(Body::IcmpError(error)) = verify(&bytes) else {
            panic!("{kind} {code}")
        };
        let quoted = Quoted {
            src: US4.into(),
            dst: THEM4.into(),
            transport,
        };
        assert_eq!((error.kind, error.quoted), (expected, quoted));
    }
    let table6 = [
        (1, 0, NetUnreachable),
        (1, 1, Prohibited),
        (1, 2, NetUnreachable),
        (1, 3, HostUnreachable),
        (1, 4, PortUnreachable),
        (1, 5, Prohibited),
        (1, 6, Prohibited),
        (1, 7, Other),
        (2, 0, Other),
        (3, 0, TimeExceeded),
        (4, 1, Other),
    ];
    for (kind, code, expected) in table6 {
        let bytes = icmp6(kind, code, 64, &probe6());
        let Ok(Body::IcmpError(error)) = verify(&bytes) else {
            panic!("{kind} {code}")
        };
        let quoted = Quoted {
            src: US6.into(),
            dst: THEM6.into(),
            transport,
        };
        assert_eq!((error.kind, error.quoted), (expected, quoted));
    }
}

#[test]
fn neighbor_discovery_comes_through_with_hop_limit_255() {
    let flags = AdvertisementFlags {
        solicited: true,
        overrides: true,
        router: false,
    };
    let mut message = [0xa5; 32];
    ndisc::emit_neighbor_advertisement(&mut message, (THEM6, US6), flags, THEM6, THEM);
    let bytes = frame6(ipv6::ICMPV6, 255, &message);
    let Ok(Body::NeighborAdvertisement(read)) = verify(&bytes) else {
        panic!("{bytes:02x?}")
    };
    assert_eq!((read.target, read.target_mac), (THEM6, Some(THEM)));
    let bytes = frame6(ipv6::ICMPV6, 64, &message);
    assert_eq!(verify(&bytes), Err(RxDrop::BadNdisc));
}

fn addresses4() -> impl Strategy<Value = (Ipv4Addr, Ipv4Addr)> {
    any::<(u32, u32)>().prop_map(|(a, b)| (a.into(), b.into()))
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = parse(&bytes, Checksums::Verify);
        let _ = parse(&bytes, Checksums::Trust);
    }

    /// Random bytes rarely get past the first header; changed frames do.
    #[test]
    fn changed_frames_never_panic(
        which in 0_usize..6,
        changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 0..6),
        length in any::<usize>(),
    ) {
        let mut bytes = match which {
            0 => syn_ack4(),
            1 => udp_frame6(),
            2 => icmp4(3, 3, &probe4()),
            3 => icmp6(1, 4, 64, &probe6()),
            4 => icmp6(134, 0, 255, &[&[0; 8][..], &[3, 4, 64, 0xc0], &[0; 28]].concat()),
            _ => frame6(0, 64, &[&[17, 0, 1, 4, 0, 0, 0, 0], &udp6(b"pong")[..]].concat()),
        };
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(length % (bytes.len() + 1));
        for checksums in [Checksums::Verify, Checksums::Trust] {
            if let Ok(Packet { body: Body::RouterAdvertisement(read), .. }) = parse(&bytes, checksums) {
                prop_assert!(read.prefixes().count() <= bytes.len() / 8);
            }
        }
    }

    #[test]
    fn segments_round_trip_and_pnet_agrees(
        (src, dst) in addresses4(), ports: (u16, u16), numbers: (u32, u32), flags: u8, window: u16,
        timestamp: u32, ttl: u8,
    ) {
        let options = tcp::syn_options(tcp::MSS_IPV4, timestamp);
        let sent = Segment {
            src_port: ports.0, dst_port: ports.1, seq: numbers.0, ack: numbers.1, flags, window,
            options: &options,
        };
        let bytes = frame(ethernet::IPV4, |bytes| {
            let header = Ipv4 { ttl, ..Ipv4::new(src, dst, ipv4::TCP, 40) };
            let at = header.emit(bytes);
            at + sent.emit(&mut bytes[at..], Sum::ZERO.pseudo4(src, dst, ipv4::TCP, 40))
        });
        let Ok(Body::Tcp(read)) = verify(&bytes) else { panic!("{bytes:02x?}") };
        prop_assert_eq!(read.ip, Ends { src: src.into(), dst: dst.into(), ttl });
        prop_assert_eq!((read.src_port, read.dst_port), ports);
        prop_assert_eq!((read.seq, read.ack), numbers);
        prop_assert_eq!((read.flags, read.window, read.options), (flags, window, &options[..]));

        let eth = EthernetPacket::new(&bytes).unwrap();
        let ip = Ipv4Packet::new(eth.payload()).unwrap();
        prop_assert_eq!(ip.get_checksum(), pnet::packet::ipv4::checksum(&ip));
        let segment = TcpPacket::new(ip.payload()).unwrap();
        let checksum = pnet::packet::tcp::ipv4_checksum(&segment, &src, &dst);
        prop_assert_eq!(segment.get_checksum(), checksum);
        prop_assert_eq!(segment.get_sequence(), numbers.0);
    }

    #[test]
    fn datagrams_of_etherparse_are_read_and_ours_are_its(
        src: [u8; 16], dst: [u8; 16], ports: (u16, u16), hop_limit: u8,
        payload in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let builder = PacketBuilder::ethernet2(THEM.0, US.0)
            .ipv6(src, dst, hop_limit)
            .udp(ports.0, ports.1);
        let mut theirs = Vec::new();
        builder.write(&mut theirs, &payload).unwrap();
        let Ok(Body::Udp(read)) = verify(&theirs) else { panic!("{theirs:02x?}") };
        let ip = Ends { src: IpAddr::from(src), dst: IpAddr::from(dst), ttl: hop_limit };
        prop_assert_eq!((read.ip, read.src_port, read.dst_port), (ip, ports.0, ports.1));
        prop_assert_eq!(read.payload, &payload[..]);

        let mut ours = vec![0xa5; 14 + 40 + 8 + payload.len()];
        ethernet::emit(&mut ours, US, THEM, None, ethernet::IPV6);
        let length = 8 + payload.len() as u16;
        let header = Ipv6::new(src.into(), dst.into(), ipv6::UDP, length);
        Ipv6 { hop_limit, ..header }.emit(&mut ours[14..]);
        let pseudo = Sum::ZERO.pseudo6(src.into(), dst.into(), ipv6::UDP, length.into());
        udp::emit(&mut ours[54..], pseudo, ports.0, ports.1, &payload);
        prop_assert_eq!(ours, theirs);
    }

    /// What we read as TCP or UDP, etherparse reads as the same.
    #[test]
    fn etherparse_agrees_on_tagged_frames(vlan in 1_u16..=4094, ports: (u16, u16), seq: u32) {
        let mut untagged = syn_ack4();
        untagged[34..36].copy_from_slice(&ports.0.to_be_bytes());
        untagged[38..42].copy_from_slice(&seq.to_be_bytes());
        let mut tagged = vec![0xa5; untagged.len() + vlan::TAG_LENGTH];
        vlan::insert(&mut tagged, &untagged, VlanId::new(vlan));
        let sliced = SlicedPacket::from_ethernet(&tagged).unwrap();
        let ids: Vec<u16> = sliced.vlan_ids().iter().map(|id| id.value()).collect();
        prop_assert_eq!(ids, [vlan]);
        let Some(TransportSlice::Tcp(theirs)) = sliced.transport else { panic!("no TCP") };
        let Ok(Packet { body: Body::Tcp(ours), .. }) = parse(&untagged, Checksums::Trust) else {
            panic!("no TCP")
        };
        prop_assert_eq!((theirs.source_port(), theirs.sequence_number()), (ours.src_port, ours.seq));
        prop_assert_eq!((ports.0, seq), (ours.src_port, ours.seq));
    }
}
