//! What the xdp link judges itself: which answers it believes, what it does about them, and what it hands up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use sonde_core::cookie::{Cookies, Question};
use sonde_link::{
    Expected, ExpectedSource, FrameBatch, FrameLink, PacketLink, PacketOptions, Proof, Proven,
    ProvenAnswer, RxBatch, XdpLink, offload,
};
use sonde_wire::checksum::Sum;
use sonde_wire::{
    Body, Checksums, MacAddr, VlanId, ethernet, icmpv4, icmpv6, ipv4, ipv6, parse, tcp,
};

use crate::conformance::for_root;
use crate::frames::{OUR_IPV4, OUR_IPV6, PATIENCE, PORT};
use crate::namespace::veth_pair;

const KEY: [u8; 16] = *b"of this run only";
const THEM: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
const THEM4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 77));
const THEM6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77));

/// VLANs with an address of ours: none, and two.
fn vlans() -> [Option<VlanId>; 3] {
    [None, VlanId::new(100), VlanId::new(4094)]
}

fn cookies() -> Cookies {
    Cookies::new(KEY, vlans())
}

/// The two ends of a cable: a link that judges, and a packet link.
struct Cable {
    near: XdpLink,
    far: PacketLink,
    cookies: Cookies,
}

impl Cable {
    fn new(kernel_owned: bool, resets: bool) -> Self {
        veth_pair();
        offload::turn_on_receive_coalescing("far").expect("a veth");
        let mut near = XdpLink::open("near", false).expect("a namespace of our own");
        let far = PacketLink::open("far", PacketOptions::default()).expect("the same namespace");
        let cookies = cookies();
        let sources: Vec<_> = vlans()
            .into_iter()
            .flat_map(|vlan| {
                [IpAddr::from(OUR_IPV4), IpAddr::from(OUR_IPV6)].map(|ip| ExpectedSource {
                    vlan,
                    ip,
                    kernel_owned,
                })
            })
            .collect();
        let expected = Expected {
            port: PORT,
            sources: &sources,
            proof: Some(Proof {
                key: KEY,
                words: cookies.words(),
                resets,
            }),
        };
        assert!(near.expect(&expected).expect("the kernel takes it"));
        Self { near, far, cookies }
    }

    fn cookie(&self, vlan: Option<VlanId>, ip: IpAddr, question: Question) -> u32 {
        self.cookies.cookie(vlan, self.cookies.hash(ip, question))
    }

    fn send(&mut self, frames: &FrameBatch) {
        let mut sent = 0;
        while sent < frames.len() {
            sent += self.far.transmit(frames, sent).expect("the link is there");
        }
    }

    /// What the near end has judged, once there are `count`, and the frames that came beside them.
    fn judged(&mut self, count: usize) -> (Vec<Proven>, Vec<Vec<u8>>) {
        let begun = Instant::now();
        let mut got = RxBatch::new(4096);
        let (mut proven, mut frames) = (Vec::new(), Vec::new());
        while proven.len() < count {
            let link = &mut self.near;
            link.receive(&mut got, Duration::from_millis(10))
                .expect("the link is there");
            proven.extend(got.proven());
            frames.extend(got.iter().map(|frame| frame.bytes.to_vec()));
            assert!(begun.elapsed() < PATIENCE, "{} of {count}", proven.len());
        }
        (proven, frames)
    }
}

/// An IP packet of `protocol` to us whose payload of `length` bytes `emit` writes.
fn packet(
    slot: &mut [u8],
    vlan: Option<VlanId>,
    them: IpAddr,
    protocols: (u8, u8),
    length: usize,
    emit: impl FnOnce(&mut [u8]),
) -> usize {
    let ethertype = match them {
        IpAddr::V4(_) => ethernet::IPV4,
        IpAddr::V6(_) => ethernet::IPV6,
    };
    let mut at = ethernet::emit(slot, US, THEM, vlan, ethertype);
    at += match them {
        IpAddr::V4(them) => ipv4::Ipv4 {
            ttl: 61,
            ..ipv4::Ipv4::new(them, OUR_IPV4.into(), protocols.0, length as u16)
        }
        .emit(&mut slot[at..]),
        IpAddr::V6(them) => ipv6::Ipv6 {
            hop_limit: 61,
            ..ipv6::Ipv6::new(them, OUR_IPV6.into(), protocols.1, length as u16)
        }
        .emit(&mut slot[at..]),
    };
    emit(&mut slot[at..at + length]);
    at + length
}

fn segment(
    slot: &mut [u8],
    vlan: Option<VlanId>,
    (them, port): (IpAddr, u16),
    flags: u8,
    ack: u32,
) -> usize {
    let options = [2, 4, 5, 180];
    let segment = tcp::Segment {
        src_port: port,
        dst_port: PORT,
        seq: 0x0102_0304,
        ack,
        flags,
        window: 64_000,
        options: &options,
    };
    let length = segment.length();
    packet(slot, vlan, them, (ipv4::TCP, ipv6::TCP), length, |bytes| {
        let pseudo = match them {
            IpAddr::V4(them) => Sum::ZERO.pseudo4(them, OUR_IPV4.into(), ipv4::TCP, 24),
            IpAddr::V6(them) => Sum::ZERO.pseudo6(them, OUR_IPV6.into(), ipv6::TCP, 24),
        };
        segment.emit(bytes, pseudo);
    })
}

fn echo_reply(slot: &mut [u8], vlan: Option<VlanId>, them: IpAddr, value: u32) -> usize {
    let (id, seq) = ((value >> 16) as u16, value as u16);
    packet(slot, vlan, them, (ipv4::ICMP, ipv6::ICMPV6), 8, |bytes| {
        match them {
            IpAddr::V4(_) => icmpv4::emit_echo(bytes, 0, id, seq, &[]),
            IpAddr::V6(them) => {
                icmpv6::emit_echo(bytes, (them, OUR_IPV6.into()), 129, id, seq, &[])
            }
        };
    })
}

#[test]
fn answers_are_believed_where_they_were_asked_and_connections_reset() {
    for_root(
        "xdp::answers_are_believed_where_they_were_asked_and_connections_reset",
        || {
            let mut cable = Cable::new(true, false);
            let mut out = FrameBatch::new(64);
            let mut due = Vec::new();
            for vlan in vlans() {
                for ip in [THEM4, THEM6] {
                    let tcp_ack = |cable: &Cable, port| {
                        cable.cookie(vlan, ip, Question::Tcp(port)).wrapping_add(1)
                    };
                    let ack = tcp_ack(&cable, 443);
                    out.push_with(|slot| segment(slot, vlan, (ip, 443), tcp::SYN | tcp::ACK, ack));
                    let ack = tcp_ack(&cable, 80);
                    out.push_with(|slot| segment(slot, vlan, (ip, 80), tcp::RST | tcp::ACK, ack));
                    let echo = cable.cookie(vlan, ip, Question::Echo);
                    out.push_with(|slot| echo_reply(slot, vlan, ip, echo));
                    let answers = [
                        ProvenAnswer::TcpOpen {
                            port: 443,
                            reset: None,
                        },
                        ProvenAnswer::TcpClosed { port: 80 },
                        ProvenAnswer::Echo,
                    ];
                    due.extend(answers.map(|answer| Proven {
                        vlan,
                        ip,
                        answer,
                        ttl: 61,
                        mac: THEM,
                    }));
                }
            }
            cable.send(&out);
            let (proven, frames) = cable.judged(due.len());
            assert_eq!(proven, due);
            assert!(frames.is_empty(), "{frames:?}");
            resets_come_back(&mut cable);
            let counters = cable.near.counters();
            assert_eq!((counters.rx_forged, counters.tx_resets), (0, 6));
        },
    );
}

/// One for each VLAN and family, in order, every byte of it right.
fn resets_come_back(cable: &mut Cable) {
    let begun = Instant::now();
    let mut got = RxBatch::new(64);
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let link = &mut cable.far;
        link.receive(&mut got, Duration::from_millis(10))
            .expect("the link is there");
        for frame in got.iter() {
            // The kernel of the near end says things of its own.
            let Ok(packet) = parse(frame.bytes, Checksums::Verify) else {
                continue;
            };
            if let Body::Tcp(tcp) = packet.body {
                assert_eq!((packet.eth_src, packet.eth_dst), (US, THEM));
                assert_eq!(
                    (tcp.src_port, tcp.dst_port, tcp.flags),
                    (PORT, 443, tcp::RST)
                );
                let ours = cable.cookies.hash(tcp.ip.dst, Question::Tcp(443));
                let cookie = cable.cookies.cookie(frame.meta.vlan, ours);
                assert_eq!(tcp.seq, cookie.wrapping_add(1));
                seen.push((frame.meta.vlan, tcp.ip.dst));
            }
        }
        assert!(begun.elapsed() < PATIENCE, "{seen:?}");
    }
    let due: Vec<_> = vlans()
        .into_iter()
        .flat_map(|vlan| [(vlan, THEM4), (vlan, THEM6)])
        .collect();
    assert_eq!(seen, due);
}

#[test]
fn an_address_of_ours_alone_is_reset_by_who_asked_unless_told() {
    for_root(
        "xdp::an_address_of_ours_alone_is_reset_by_who_asked_unless_told",
        || {
            for resets in [false, true] {
                let mut cable = Cable::new(false, resets);
                let ack = cable.cookie(None, THEM4, Question::Tcp(22)).wrapping_add(1);
                let mut out = FrameBatch::new(1);
                out.push_with(|slot| segment(slot, None, (THEM4, 22), tcp::SYN | tcp::ACK, ack));
                cable.send(&out);
                let (proven, _) = cable.judged(1);
                let reset = (!resets).then_some(ack);
                assert_eq!(proven[0].answer, ProvenAnswer::TcpOpen { port: 22, reset });
                assert_eq!(cable.near.counters().tx_resets, u64::from(resets));
                crate::namespace::ip("link del near");
            }
        },
    );
}

/// A leak is for user space to look at; what is asked nowhere is nobody's.
#[test]
fn an_answer_of_another_vlan_is_handed_up_whole() {
    for_root("xdp::an_answer_of_another_vlan_is_handed_up_whole", || {
        let mut cable = Cable::new(false, false);
        let [_, asked, seen] = vlans();
        let leaked = cable
            .cookie(asked, THEM4, Question::Tcp(22))
            .wrapping_add(1);
        let right = cable.cookie(seen, THEM4, Question::Tcp(23)).wrapping_add(1);
        let mut out = FrameBatch::new(2);
        out.push_with(|slot| segment(slot, seen, (THEM4, 22), tcp::SYN | tcp::ACK, leaked));
        out.push_with(|slot| segment(slot, seen, (THEM4, 23), tcp::RST | tcp::ACK, right));
        cable.send(&out);
        let (proven, frames) = cable.judged(1);
        assert_eq!(proven[0].answer, ProvenAnswer::TcpClosed { port: 23 });
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0][..12], out.frame(0)[..12]);
        assert_eq!(frames[0][12..], out.frame(0)[16..]);
        assert_eq!(cable.near.counters().rx_forged, 0);
    });
}

#[test]
fn a_flood_of_forged_answers_costs_no_true_one() {
    for_root("xdp::a_flood_of_forged_answers_costs_no_true_one", || {
        const ROUNDS: u16 = 400;
        const FORGED: u32 = 500;
        let mut cable = Cable::new(false, false);
        let mut out = FrameBatch::new(FORGED as usize + 1);
        let mut found = Vec::new();
        for port in 0..ROUNDS {
            out.clear();
            for noise in 0..FORGED {
                let ack = noise.wrapping_mul(0x9e37_79b9) ^ u32::from(port) << 7;
                out.push_with(|slot| segment(slot, None, (THEM4, 443), tcp::SYN | tcp::ACK, ack));
            }
            let ack = cable
                .cookie(None, THEM4, Question::Tcp(port))
                .wrapping_add(1);
            out.push_with(|slot| segment(slot, None, (THEM4, port), tcp::SYN | tcp::ACK, ack));
            cable.send(&out);
            let (proven, frames) = cable.judged(1);
            assert!(frames.is_empty());
            found.extend(proven.iter().map(|proven| proven.answer));
        }
        let due: Vec<_> = (0..ROUNDS)
            .map(|port| {
                let ack = cable
                    .cookie(None, THEM4, Question::Tcp(port))
                    .wrapping_add(1);
                ProvenAnswer::TcpOpen {
                    port,
                    reset: Some(ack),
                }
            })
            .collect();
        assert_eq!(found, due);
        let forged = u64::from(ROUNDS) * u64::from(FORGED);
        let counters = cable.near.counters();
        assert_eq!((counters.rx_forged, counters.rx_dropped), (forged, 0));
    });
}
