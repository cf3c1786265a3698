//! What a scanner sees at the trunk port: frames made by hand, tags and all.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sonde_lab::{Behaviour, Kind, SwitchDrop, TRUNK, Topology};
use sonde_link::{FrameBatch, FrameLink, PacketLink, PacketOptions, RxBatch};
use sonde_wire::arp::Operation;
use sonde_wire::{Body, Checksums, MacAddr, VlanId, parse, tcp};

use crate::wire::{LINK_LOCAL, datagram, question, syn, who_has};
use crate::{up, wait_for};

/// A VLAN that the lab does not have.
const UNUSED: u16 = 999;

/// Who said where that it has which address.
type Answer = (Option<VlanId>, IpAddr, MacAddr);

struct Trunk {
    link: PacketLink,
    batch: RxBatch,
}

impl Trunk {
    fn open() -> Self {
        let options = PacketOptions {
            promiscuous: true,
            ..PacketOptions::default()
        };
        Self {
            link: PacketLink::open(TRUNK, options).unwrap(),
            batch: RxBatch::new(256),
        }
    }

    fn send(&mut self, frames: &[Vec<u8>]) {
        for frames in frames.chunks(256) {
            let mut batch = FrameBatch::new(frames.len());
            for frame in frames {
                batch.push_with(|slot| {
                    slot[..frame.len()].copy_from_slice(frame);
                    frame.len()
                });
            }
            let mut sent = 0;
            wait_for("room to send", || {
                sent += self.link.transmit(&batch, sent).unwrap();
                sent == batch.len()
            });
        }
    }

    /// Hands every frame that arrives to `look` until it has returned true; ten seconds at most.
    fn receive(&mut self, what: &str, mut look: impl FnMut(Option<VlanId>, &Body<'_>) -> bool) {
        let begun = Instant::now();
        loop {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "waited in vain for {what}"
            );
            self.link
                .receive(&mut self.batch, Duration::from_millis(100))
                .unwrap();
            let mut enough = false;
            for frame in self.batch.iter() {
                // Check sums must be whole: what the switch sends on is what a wire would carry.
                assert!(frame.meta.checksum_ready);
                if let Ok(packet) = parse(frame.bytes, Checksums::Verify) {
                    enough |= look(frame.meta.vlan, &packet.body);
                }
            }
            if enough {
                return;
            }
        }
    }

    /// The MAC address of a host.
    fn resolve(&mut self, vlan: Option<VlanId>, source: IpAddr, target: IpAddr) -> MacAddr {
        self.send(&[who_has(vlan, source, target)]);
        let mut found = None;
        self.receive(&format!("{target}"), |seen_in, body| {
            found = answer(seen_in, body)
                .filter(|a| (a.0, a.1) == (vlan, target))
                .map(|a| a.2);
            found.is_some()
        });
        found.unwrap()
    }
}

fn answer(vlan: Option<VlanId>, body: &Body<'_>) -> Option<Answer> {
    match body {
        Body::Arp(arp) if arp.operation == Operation::Reply => {
            Some((vlan, arp.sender_ip.into(), arp.sender_mac))
        }
        Body::NeighborAdvertisement(advertisement) => {
            Some((vlan, advertisement.target.into(), advertisement.target_mac?))
        }
        _ => None,
    }
}

/// Our address in a VLAN of the lab; in others the first one that could be anybody's.
fn source(topology: &Topology, vlan: Option<VlanId>, target: IpAddr) -> IpAddr {
    let networks = &topology.description().network;
    let network = networks
        .iter()
        .find(|network| network.is_on_trunk() && network.vlan == vlan);
    let own = network.and_then(|n| {
        n.scanner
            .iter()
            .find(|own| own.is_ipv4() == target.is_ipv4())
    });
    own.copied().unwrap_or(if target.is_ipv4() {
        "10.9.9.9".parse().unwrap()
    } else {
        LINK_LOCAL.into()
    })
}

/// Every address of the lab is asked for in every VLAN, one it does not have included: exactly the hosts of
/// each VLAN answer, each in its own, whatever the addresses are that they share.
pub(crate) fn hosts_answer_in_their_vlan_and_no_other() {
    let (topology, lab) = up();
    let mut trunk = Trunk::open();
    let vlans = [
        None,
        VlanId::new(100),
        VlanId::new(200),
        VlanId::new(300),
        VlanId::new(UNUSED),
    ];
    let addresses: BTreeSet<IpAddr> = topology
        .machines()
        .flat_map(|m| m.interfaces.into_iter().flat_map(|(_, a)| a))
        .copied()
        .collect();
    let mut expected = BTreeSet::new();
    for machine in topology
        .machines()
        .filter(|m| m.behaviour != Behaviour::Silent)
    {
        for (network, addresses) in machine.interfaces {
            if network.is_on_trunk() {
                expected.extend(addresses.iter().map(|&address| (network.vlan, address)));
            }
            // A router answers for all its addresses on each of its networks, as Linux does.
        }
    }
    let office = VlanId::new(200);
    expected.insert((office, "10.200.0.1".parse().unwrap()));
    let questions: Vec<_> = vlans
        .iter()
        .flat_map(|&vlan| addresses.iter().map(move |&to| (vlan, to)))
        .map(|(vlan, to)| who_has(vlan, source(&topology, vlan, to), to))
        .collect();
    trunk.send(&questions);
    let mut answers = BTreeSet::new();
    trunk.receive("every host's answer", |vlan, body| {
        answers.extend(answer(vlan, body).map(|(vlan, ip, _)| (vlan, ip)));
        expected.is_subset(&answers)
    });
    // What is asked last is answered last: whoever had anything else to say has said it by then.
    for vlan in &vlans[..4] {
        let (_, last) = *expected
            .iter()
            .find(|(in_vlan, ip)| in_vlan == vlan && ip.is_ipv4())
            .unwrap();
        for _ in 0..2 {
            trunk.send(&[who_has(*vlan, source(&topology, *vlan, last), last)]);
            trunk.receive("a last answer", |vlan_seen, body| {
                let seen = answer(vlan_seen, body).map(|(vlan, ip, _)| (vlan, ip));
                answers.extend(seen);
                seen == Some((*vlan, last))
            });
        }
    }
    assert_eq!(answers, expected);
    let counters = lab.counters();
    assert_eq!(
        (
            counters.unfit,
            counters.lost_receiving,
            counters.lost_sending
        ),
        (0, 0, 0)
    );
}

/// 10.1.0.9 is one host in VLAN 100 and another in VLAN 300: different MAC addresses, different ports.
pub(crate) fn the_two_hosts_of_one_address_are_told_apart() {
    let (topology, _lab) = up();
    let mut trunk = Trunk::open();
    let (IpAddr::V4(ours), IpAddr::V4(nine)) =
        ("10.1.0.2".parse().unwrap(), "10.1.0.9".parse().unwrap())
    else {
        panic!("both are IPv4")
    };
    let mut macs = BTreeSet::new();
    for vlan in [100, 300].map(VlanId::new) {
        let mac = trunk.resolve(vlan, ours.into(), nine.into());
        macs.insert(mac);
        let ports: BTreeSet<u16> = [22, 80, 502, 8080].into();
        let expected: BTreeSet<u16> = topology
            .open_ports()
            .into_iter()
            .filter(|port| (port.0, port.1) == (vlan, nine.into()) && ports.contains(&port.3))
            .map(|port| port.3)
            .collect();
        let probes: Vec<_> = ports
            .iter()
            .map(|&port| syn(vlan, mac, ours, nine, port))
            .collect();
        trunk.send(&probes);
        let (mut open, mut said) = (BTreeSet::new(), BTreeSet::new());
        trunk.receive("an answer of every port", |seen_in, body| {
            if let Body::Tcp(segment) = body {
                assert_eq!((seen_in, segment.ip.src), (vlan, nine.into()));
                said.insert(segment.src_port);
                if segment.flags & (tcp::SYN | tcp::RST) == tcp::SYN {
                    open.insert(segment.src_port);
                }
            }
            said == ports
        });
        assert_eq!(open, expected, "VLAN {vlan:?}");
    }
    assert_eq!(macs.len(), 2);
    let plant = VlanId::new(300);
    let mac = trunk.resolve(plant, ours.into(), nine.into());
    trunk.send(&[datagram(
        plant,
        mac,
        (ours, nine),
        161,
        question(Kind::Snmp),
    )]);
    trunk.receive("the management agent's answer", |seen_in, body| {
        matches!(body, Body::Udp(datagram) if datagram.src_port == 161
            && seen_in == plant && datagram.payload.ends_with(b"plc, a machine of this lab"))
    });
}

/// As fast as one thread can send, each frame answered: all of them come back.
pub(crate) fn the_switch_loses_no_frame() {
    const FRAMES: usize = 20_000;
    let (_, lab) = up();
    let mut trunk = Trunk::open();
    let (vlan, ours, web) = (
        VlanId::new(100),
        "10.1.0.2".parse().unwrap(),
        "10.1.0.9".parse().unwrap(),
    );
    let question = who_has(vlan, ours, web);
    let begun = Instant::now();
    let (mut sent, mut received) = (0, 0);
    let burst = vec![question; 500];
    while received < FRAMES {
        if sent < FRAMES {
            trunk.send(&burst);
            sent += burst.len();
        }
        trunk.receive("an answer", |seen_in, body| {
            received +=
                usize::from(answer(seen_in, body).is_some_and(|a| (a.0, a.1) == (vlan, web)));
            // All that has arrived, or a burst's worth: the next burst is on its way meanwhile.
            received + burst.len() >= sent || received == FRAMES
        });
    }
    let counters = lab.counters();
    let rate = counters.received as f64 / begun.elapsed().as_secs_f64();
    eprintln!(
        "{} frames in, {rate:.0} a second: {counters:?}",
        counters.received
    );
    assert_eq!(
        (
            counters.unfit,
            counters.lost_receiving,
            counters.lost_sending
        ),
        (0, 0, 0)
    );
    assert_eq!(trunk.link.counters().rx_dropped, 0);
}

/// More than the switch can take, for a VLAN it does not have: each frame is counted, as dropped for that
/// reason or as lost before the switch saw it.
pub(crate) fn no_frame_is_lost_silently() {
    const FRAMES: usize = 200_000;
    let (_, lab) = up();
    let mut trunk = Trunk::open();
    let target = "10.1.0.9".parse().unwrap();
    let stray = who_has(VlanId::new(UNUSED), "10.1.0.2".parse().unwrap(), target);
    trunk.send(&vec![stray; FRAMES]);
    let unknown = SwitchDrop::ALL
        .iter()
        .position(|drop| *drop == SwitchDrop::UnknownVlan)
        .unwrap();
    let count = || {
        let counters = lab.counters();
        (counters.switch.dropped[unknown] + counters.lost_receiving) as usize
    };
    wait_for("every frame to be counted", || count() >= FRAMES);
    assert_eq!(count(), FRAMES);
    eprintln!(
        "of {FRAMES} frames {} found the ring full",
        lab.counters().lost_receiving
    );
}
