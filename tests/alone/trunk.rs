//! What a scan puts on a trunk, held against a capture by tcpdump: the right tag on every frame, nothing
//! to what is excluded, exactly the frames that the passes allow.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;

use etherparse::{LaxLinkExtSlice, LaxNetSlice, LaxSlicedPacket, TransportSlice};
use sonde_lab::world::{PortAnswer, World};
use sonde_wire::VlanId;

use crate::capture::{Capture, Captured};
use crate::capturing;
use crate::harness::{json_lines, sonde, succeed};
use crate::peer::{Peer, lost_on_the_way};

/// Every VLAN `v` has 10.x.y.0/24 and 2001:db8:v::/64 with a gateway at 1, a host at 9 and nothing at 10;
/// behind its gateway are 203.0.113.7 and 2001:db8:ffff::7. Port 80 is open, 81 closed, 82 silent.
struct FullTrunk;

fn four(vlan: u16, host: u8) -> Ipv4Addr {
    let [high, low] = vlan.to_be_bytes();
    Ipv4Addr::new(10, high, low, host)
}

fn six(vlan: u16, host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, vlan, 0, 0, 0, 0, host)
}

const BEHIND_FOUR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);
const BEHIND_SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7);

impl World for FullTrunk {
    fn is_neighbor(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        let vlan = vlan.map_or(0, VlanId::id);
        vlan > 0
            && [1, 9]
                .iter()
                .any(|&host| ip == four(vlan, host as u8) || ip == six(vlan, host))
    }

    fn answers_echo(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        self.is_neighbor(vlan, ip) || ip == BEHIND_FOUR || ip == BEHIND_SIX
    }

    fn tcp(&self, vlan: Option<VlanId>, ip: IpAddr, port: u16) -> PortAnswer {
        match port {
            80 if self.answers_echo(vlan, ip) => PortAnswer::Open,
            81 if self.answers_echo(vlan, ip) => PortAnswer::Closed,
            _ => PortAnswer::Silent,
        }
    }

    fn udp(&self, _: Option<VlanId>, _: IpAddr, _: u16) -> PortAnswer {
        PortAnswer::Silent
    }
}

/// What a captured frame is, by etherparse.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Kind {
    Arp,
    Solicitation,
    Echo,
    Syn(u16),
    Rst(u16),
    Other,
}

/// VLAN, destination (the address asked for, with ARP and solicitations), kind.
fn read(frame: &Captured) -> (Option<u16>, IpAddr, Kind) {
    let packet = LaxSlicedPacket::from_ethernet(&frame.bytes).unwrap();
    let vlan = packet
        .link_exts
        .iter()
        .find_map(|extension| match extension {
            LaxLinkExtSlice::Vlan(tag) => Some(tag.vlan_identifier().value()),
            _ => None,
        });
    let payload_at = if vlan.is_some() { 18 } else { 14 };
    let octets = |at: usize| &frame.bytes[payload_at + at..];
    match packet.net {
        Some(LaxNetSlice::Arp(_)) => {
            let target: [u8; 4] = octets(24)[..4].try_into().unwrap();
            (vlan, Ipv4Addr::from(target).into(), Kind::Arp)
        }
        Some(LaxNetSlice::Ipv4(header)) => {
            let dst = header.header().destination_addr().into();
            (vlan, dst, kind_of(packet.transport.as_ref()))
        }
        Some(LaxNetSlice::Ipv6(header)) => {
            let dst = header.header().destination_addr();
            if dst.is_multicast() {
                let target: [u8; 16] = octets(48)[..16].try_into().unwrap();
                return (vlan, Ipv6Addr::from(target).into(), Kind::Solicitation);
            }
            (vlan, dst.into(), kind_of(packet.transport.as_ref()))
        }
        None => panic!("neither ARP nor IP: {:02x?}", frame.bytes),
    }
}

fn kind_of(transport: Option<&TransportSlice<'_>>) -> Kind {
    match transport {
        Some(TransportSlice::Tcp(tcp)) if tcp.syn() => Kind::Syn(tcp.destination_port()),
        Some(TransportSlice::Tcp(tcp)) if tcp.rst() => Kind::Rst(tcp.destination_port()),
        Some(TransportSlice::Icmpv4(_) | TransportSlice::Icmpv6(_)) => Kind::Echo,
        _ => Kind::Other,
    }
}

#[test]
fn a_scan_of_4094_vlans() {
    const TEST: &str = "trunk::a_scan_of_4094_vlans";
    capturing(TEST, || {
        let _peer = Peer::start(FullTrunk);
        let folder = tempfile::tempdir().unwrap();
        let (mut trunk, mut targets, mut exclude) = (String::new(), String::new(), String::new());
        for vlan in 1..=4094 {
            write!(
                trunk,
                "[[vlan]]\nid = {vlan}\nipv4 = \"{}/24\"\ngateway = \"{}\"\nipv6 = \"{}/64\"\ngateway6 = \"{}\"\n",
                four(vlan, 2), four(vlan, 1), six(vlan, 2), six(vlan, 1),
            )
            .unwrap();
            writeln!(targets, "{}-{}", four(vlan, 9), four(vlan, 11)).unwrap();
            writeln!(targets, "{}-{}", six(vlan, 9), six(vlan, 11)).unwrap();
            writeln!(exclude, "{}\n{}", four(vlan, 11), six(vlan, 11)).unwrap();
        }
        writeln!(targets, "{BEHIND_FOUR}@1-4094\n{BEHIND_SIX}@1-4094").unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            fs::write(&file, text).unwrap();
            file
        };
        let mut scan = sonde([
            "scan", "-i", "trunk0", "--link", "packet", "-p", "80-82", "--passes", "2",
        ]);
        scan.args(["--rate", "20k", "-o", "-", "--trunk"])
            .arg(write("trunk.toml", &trunk));
        scan.arg("-f").arg(write("targets", &targets));
        scan.arg("--exclude-file").arg(write("exclude", &exclude));
        let (found, frames) = scan_and_capture(&mut scan);

        // Each open port once, in its own VLAN.
        let mut open = HashMap::new();
        for port in found.iter().filter(|line| line["type"] == "port") {
            assert_eq!(
                (&port["state"], &port["port"]),
                (&"open".into(), &80.into()),
                "{port}"
            );
            let ip: IpAddr = port["ip"].as_str().unwrap().parse().unwrap();
            *open
                .entry((port["vlan"].as_u64().unwrap() as u16, ip))
                .or_insert(0) += 1;
        }
        assert_eq!(open.len(), 4 * 4094);
        assert!(open.values().all(|&times| times == 1));

        let mut sent: HashMap<(u16, IpAddr, Kind), u32> = HashMap::new();
        for frame in &frames {
            let (vlan, dst, kind) = read(frame);
            let vlan = vlan.unwrap_or_else(|| panic!("untagged: {:02x?}", frame.bytes));
            *sent.entry((vlan, dst, kind)).or_insert(0) += 1;
        }
        // Silence is asked `passes` times, what answers once, what is excluded never; an open port is
        // reset once, politely.
        let mut due = HashMap::new();
        for vlan in 1..=4094 {
            let mut ask = |ip: IpAddr, kind, times| due.insert((vlan, ip, kind), times);
            for (host, times) in [(1, 1), (9, 1), (10, 2)] {
                ask(four(vlan, host as u8).into(), Kind::Arp, times);
                ask(six(vlan, host).into(), Kind::Solicitation, times);
            }
            for behind in [BEHIND_FOUR.into(), BEHIND_SIX.into()] {
                ask(behind, Kind::Echo, 1);
            }
            for host in [
                four(vlan, 9).into(),
                six(vlan, 9).into(),
                BEHIND_FOUR.into(),
                BEHIND_SIX.into(),
            ] {
                ask(host, Kind::Syn(80), 1);
                ask(host, Kind::Rst(80), 1);
                ask(host, Kind::Syn(81), 1);
                ask(host, Kind::Syn(82), 2);
            }
        }
        let unlike: Vec<_> = due
            .keys()
            .chain(sent.keys())
            .filter(|probe| due.get(probe) != sent.get(probe))
            .map(|probe| (probe, due.get(probe), sent.get(probe)))
            .collect();
        assert!(
            unlike.is_empty(),
            "probe, times due, times sent: {unlike:?}; {} frames captured; {}",
            frames.len(),
            found[found.len() - 1]
        );
        let summary = found.last().unwrap();
        assert_eq!(summary["sent"], frames.len(), "{summary}");
    });
}

/// Runs a scan under a capture, again while the machine was too busy to carry every frame.
fn scan_and_capture(scan: &mut Command) -> (Vec<serde_json::Value>, Vec<Captured>) {
    for _ in 0..8 {
        let lost_before = lost_on_the_way();
        let capture = Capture::start("world0");
        let found = json_lines(&succeed(scan));
        let frames = capture.stop("trunk0");
        let lost = lost_on_the_way() - lost_before;
        if lost == 0 {
            return (found, frames);
        }
        eprintln!("{lost} frames were lost between trunk0 and world0: once more");
    }
    panic!("this machine is too busy to carry 20,000 frames a second over a veth pair");
}
