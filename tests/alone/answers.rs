//! While it scans, Sonde answers ARP, neighbor solicitations and echoes for its own address in each VLAN, in
//! that VLAN alone: the frames are sent and read by the far end of the trunk.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sonde_link::packet::{PacketLink, PacketOptions};
use sonde_link::{FrameBatch, FrameLink as _, RxBatch};
use sonde_wire::arp::{Arp, Operation};
use sonde_wire::{Body, Checksums, MacAddr, VlanId, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndisc};

use crate::alone;
use crate::harness::{ip, sonde};

const THEM: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x77]);
const FOUR: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::new(10, 0, 5, 77), Ipv4Addr::new(10, 0, 5, 2));

/// The far end of the trunk.
struct FarEnd {
    link: PacketLink,
    received: RxBatch,
}

impl FarEnd {
    /// Sends a frame into `vlan` until something `wanted` comes back from there, at most for `patience`.
    fn ask(
        &mut self,
        vlan: u16,
        patience: Duration,
        write: impl Fn(&mut [u8], Option<VlanId>) -> usize,
        wanted: impl Fn(&Body<'_>) -> bool,
    ) -> bool {
        let vlan = VlanId::new(vlan);
        let start = Instant::now();
        while start.elapsed() < patience {
            let mut question = FrameBatch::new(1);
            question.push_with(|frame| write(frame, vlan));
            assert_eq!(self.link.transmit(&question, 0).unwrap(), 1);
            let asked = Instant::now();
            while asked.elapsed() < Duration::from_millis(200) {
                let wait = Duration::from_millis(50);
                self.link.receive(&mut self.received, wait).unwrap();
                for frame in self.received.iter().filter(|frame| frame.meta.vlan == vlan) {
                    let packet = sonde_wire::parse(frame.bytes, Checksums::Verify);
                    if packet.is_ok_and(|packet| packet.eth_dst == THEM && wanted(&packet.body)) {
                        return true;
                    }
                }
            }
        }
        false
    }
}

fn arp(frame: &mut [u8], vlan: Option<VlanId>) -> usize {
    let at = ethernet::emit(frame, MacAddr::BROADCAST, THEM, vlan, ethernet::ARP);
    at + Arp::request(THEM, FOUR.0, FOUR.1).emit(&mut frame[at..])
}

fn echo4(to: MacAddr) -> impl Fn(&mut [u8], Option<VlanId>) -> usize {
    move |frame, vlan| {
        let at = ethernet::emit(frame, to, THEM, vlan, ethernet::IPV4);
        let header = ipv4::Ipv4::new(FOUR.0, FOUR.1, ipv4::ICMP, 12);
        let at = at + header.emit(&mut frame[at..]);
        at + icmpv4::emit_echo(&mut frame[at..], icmpv4::ECHO_REQUEST, 7, 9, b"ping")
    }
}

fn solicitation(six: (Ipv6Addr, Ipv6Addr)) -> impl Fn(&mut [u8], Option<VlanId>) -> usize {
    move |frame, vlan| {
        let group = ndisc::solicited_node(six.1);
        let to = ndisc::multicast_mac(group);
        let at = ethernet::emit(frame, to, THEM, vlan, ethernet::IPV6);
        let header = ipv6::Ipv6 {
            hop_limit: ndisc::HOP_LIMIT,
            ..ipv6::Ipv6::new(six.0, group, ipv6::ICMPV6, ndisc::NEIGHBOR_LENGTH as u16)
        };
        let at = at + header.emit(&mut frame[at..]);
        at + ndisc::emit_neighbor_solicitation(&mut frame[at..], (six.0, group), six.1, THEM)
    }
}

fn echo6(six: (Ipv6Addr, Ipv6Addr), to: MacAddr) -> impl Fn(&mut [u8], Option<VlanId>) -> usize {
    move |frame, vlan| {
        let at = ethernet::emit(frame, to, THEM, vlan, ethernet::IPV6);
        let header = ipv6::Ipv6::new(six.0, six.1, ipv6::ICMPV6, 12);
        let at = at + header.emit(&mut frame[at..]);
        at + icmpv6::emit_echo(&mut frame[at..], six, icmpv6::ECHO_REQUEST, 7, 9, b"ping")
    }
}

#[test]
fn our_addresses_answer_in_their_vlan() {
    alone("answers::our_addresses_answer_in_their_vlan", || {
        ip("link add trunk0 type veth peer name world0");
        for end in ["trunk0", "world0"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1").unwrap();
            ip(&format!("link set {end} up"));
        }
        let folder = tempfile::tempdir().unwrap();
        let trunk = folder.path().join("trunk.toml");
        let vlans = "[[vlan]]\nid = 5\nipv4 = \"10.0.5.2/24\"\nipv6 = \"2001:db8:5::2/64\"\n\
             [[vlan]]\nid = 6\nipv4 = \"10.0.6.2/24\"\n";
        fs::write(&trunk, vlans).unwrap();
        let ours: MacAddr = "02:00:00:00:00:02".parse().unwrap();
        // A scan of nobody that takes its time.
        let mut scan = sonde(["scan", "-i", "trunk0", "--link", "packet", "--rate", "20"]);
        scan.args([
            "--source-mac",
            "02:00:00:00:00:02",
            "10.0.5.0/24",
            "10.0.6.0/24",
            "--trunk",
        ]);
        let mut scan = scan.arg(&trunk).stdout(Stdio::null()).spawn().unwrap();
        let options = PacketOptions {
            promiscuous: true,
            ..PacketOptions::default()
        };
        let link = PacketLink::open("world0", options).unwrap();
        let mut far_end = FarEnd {
            link,
            received: RxBatch::new(256),
        };
        let six = (
            "2001:db8:5::77".parse().unwrap(),
            "2001:db8:5::2".parse().unwrap(),
        );
        let (long, short) = (Duration::from_secs(20), Duration::from_millis(600));

        let is_arp_reply = |body: &Body<'_>| {
            matches!(body, Body::Arp(arp) if arp.operation == Operation::Reply
                && arp.sender_mac == ours && arp.sender_ip == FOUR.1)
        };
        let is_echo_reply = |body: &Body<'_>| matches!(body, Body::Echo(echo) if !echo.request && (echo.id, echo.seq, echo.payload) == (7, 9, b"ping"));
        let is_advertisement = |body: &Body<'_>| matches!(body, Body::NeighborAdvertisement(it) if it.target == six.1 && it.target_mac == Some(ours));
        assert!(far_end.ask(5, long, arp, is_arp_reply), "ARP in its VLAN");
        assert!(
            far_end.ask(5, long, echo4(ours), is_echo_reply),
            "echo in its VLAN"
        );
        assert!(
            far_end.ask(5, long, solicitation(six), is_advertisement),
            "NDP in its VLAN"
        );
        assert!(
            far_end.ask(5, long, echo6(six, ours), is_echo_reply),
            "IPv6 echo in its VLAN"
        );
        assert!(
            !far_end.ask(6, short, arp, is_arp_reply),
            "ARP in another VLAN of ours"
        );
        assert!(
            !far_end.ask(6, short, echo4(ours), is_echo_reply),
            "echo in another VLAN of ours"
        );
        assert!(
            !far_end.ask(7, short, arp, is_arp_reply),
            "ARP in a VLAN that is not ours"
        );
        assert!(
            far_end.ask(5, long, arp, is_arp_reply),
            "the scan was there all the time"
        );
        scan.kill().unwrap();
        scan.wait().unwrap();
    });
}
