//! Simulated networks: what a stated function says is there, answered frame by frame.
//!
//! Namespaces give a dozen hosts of the kernel's own; a world gives as many VLANs and hosts as a function
//! can describe, so a whole trunk can be checked against a truth that is computed, not listed. It
//! answers as a kernel would to what a scanner sends, and nothing else: it is for tests and benches.
//!
//! A [`WorldSpec`] says what is there in a few lines; it is a [`World`] for [`answer`], which runs anywhere, and
//! [`XdpWorld`] runs the same function in the kernel, at millions of frames a second. Differences: the kernel's
//! answer has the length of its question, the rest of it behind the packet as padding; it comes from the MAC
//! address that was asked (the gateway's, for a host behind it); and loss, the policer and ICMP port unreachable are the
//! kernel's alone. Neither sends an answer twice, or late.

mod config;
mod counters;
mod presets;
mod scan;
mod spec;
mod truth;
mod xdp;

pub use counters::WorldCounters;
pub use presets::Preset;
pub use spec::{BEHIND_MAX, Limit, Network4, Network6, WorldDescription, WorldError, WorldSpec};
pub use truth::{Place, Truth};
pub use xdp::{CountersError, NEAR, NEAR_MAC, XdpWorld, XdpWorldError};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_wire::arp::{self, Operation};
use sonde_wire::checksum::Sum;
use sonde_wire::frame::{Echo, Ends, Tcp, Udp};
use sonde_wire::{
    Body, Checksums, MacAddr, VlanId, ethernet, icmpv4, icmpv6, ipv4, ipv6, ndisc, parse, tcp, udp,
};

/// What is there. Every question is about one VLAN; `None` is the untagged LAN.
pub trait World {
    /// True for an address that answers ARP or neighbor solicitations: hosts on link, and gateways.
    fn is_neighbor(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool;

    /// True for an address that answers an echo request, here or behind a gateway.
    fn answers_echo(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool;

    /// How a TCP port takes a SYN.
    fn tcp(&self, vlan: Option<VlanId>, ip: IpAddr, port: u16) -> PortAnswer;

    /// How a UDP port takes a datagram; an open one sends it back.
    fn udp(&self, vlan: Option<VlanId>, ip: IpAddr, port: u16) -> PortAnswer;
}

/// How a port answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortAnswer {
    /// With a SYN-ACK, or the datagram itself.
    Open,
    /// With a RST. UDP: as [`PortAnswer::Silent`].
    Closed,
    /// Not at all.
    Silent,
}

/// The MAC address of whatever is at `ip`: locally administered, made of the VLAN and the last three
/// octets of the address.
pub fn mac_of(vlan: Option<VlanId>, ip: IpAddr) -> MacAddr {
    let [high, low] = vlan.map_or(0, VlanId::id).to_be_bytes();
    let [a, b, c] = match ip {
        IpAddr::V4(ip) => [ip.octets()[1], ip.octets()[2], ip.octets()[3]],
        IpAddr::V6(ip) => [ip.octets()[13], ip.octets()[14], ip.octets()[15]],
    };
    // The top nibble of `high` is free (a VLAN has 12 bits): it tells the families apart.
    MacAddr([0x02, high | u8::from(ip.is_ipv6()) << 4, low, a, b, c])
}

/// Answers one frame. `bytes` is the frame with its tag out and `vlan` that tag; the answer, tag in, is
/// written into `out`, and its length returned: 0 for no answer.
///
/// # Panics
/// If `out` is shorter than the answer; an answer is at most 74 bytes longer than the question.
pub fn answer(world: &impl World, vlan: Option<VlanId>, bytes: &[u8], out: &mut [u8]) -> usize {
    let Ok(packet) = parse(bytes, Checksums::Trust) else {
        return 0;
    };
    let back = Back {
        vlan,
        dst: packet.eth_src,
    };
    match packet.body {
        Body::Arp(question)
            if question.operation == Operation::Request
                && world.is_neighbor(vlan, question.target_ip.into()) =>
        {
            let mac = mac_of(vlan, question.target_ip.into());
            let at = ethernet::emit(out, back.dst, mac, vlan, ethernet::ARP);
            question.reply(mac).emit(&mut out[at..]);
            at + arp::LENGTH
        }
        Body::NeighborSolicitation(question) if world.is_neighbor(vlan, question.target.into()) => {
            let mac = mac_of(vlan, question.target.into());
            let ends = (question.target, question.src);
            let flags = ndisc::AdvertisementFlags {
                solicited: true,
                overrides: true,
                router: false,
            };
            let at = ethernet::emit(out, back.dst, mac, vlan, ethernet::IPV6);
            let length = ndisc::NEIGHBOR_LENGTH as u16;
            let header = ipv6::Ipv6 {
                hop_limit: ndisc::HOP_LIMIT,
                ..ipv6::Ipv6::new(ends.0, ends.1, ipv6::ICMPV6, length)
            };
            let at = at + header.emit(&mut out[at..]);
            at + ndisc::emit_neighbor_advertisement(&mut out[at..], ends, flags, ends.0, mac)
        }
        Body::Echo(question) if question.request && world.answers_echo(vlan, question.ip.dst) => {
            back.echo(&question, out)
        }
        Body::Tcp(question) if question.flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN => {
            match world.tcp(vlan, question.ip.dst, question.dst_port) {
                PortAnswer::Open => back.segment(&question, tcp::SYN | tcp::ACK, out),
                PortAnswer::Closed => back.segment(&question, tcp::RST | tcp::ACK, out),
                PortAnswer::Silent => 0,
            }
        }
        Body::Udp(question) => match world.udp(vlan, question.ip.dst, question.dst_port) {
            PortAnswer::Open => back.datagram(&question, out),
            PortAnswer::Closed | PortAnswer::Silent => 0,
        },
        _ => 0,
    }
}

/// Where answers go: to whoever asked, in its VLAN.
struct Back {
    vlan: Option<VlanId>,
    dst: MacAddr,
}

impl Back {
    /// Ethernet and IP headers of an answer to `ends`; returns where its payload starts and the answer's
    /// pseudo header.
    fn headers(&self, ends: Ends, protocol: u8, length: u16, out: &mut [u8]) -> (usize, Sum) {
        let mac = mac_of(self.vlan, ends.dst);
        match (ends.dst, ends.src) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let at = ethernet::emit(out, self.dst, mac, self.vlan, ethernet::IPV4);
                let header = ipv4::Ipv4::new(src, dst, protocol, length);
                let pseudo = Sum::ZERO.pseudo4(src, dst, protocol, length);
                (at + header.emit(&mut out[at..]), pseudo)
            }
            (src, dst) => {
                let (src, dst) = (six(src), six(dst));
                let at = ethernet::emit(out, self.dst, mac, self.vlan, ethernet::IPV6);
                let header = ipv6::Ipv6::new(src, dst, protocol, length);
                let pseudo = Sum::ZERO.pseudo6(src, dst, protocol, length.into());
                (at + header.emit(&mut out[at..]), pseudo)
            }
        }
    }

    fn segment(&self, question: &Tcp<'_>, flags: u8, out: &mut [u8]) -> usize {
        let segment = tcp::Segment {
            src_port: question.dst_port,
            dst_port: question.src_port,
            // Any number does: nothing is kept.
            seq: question.seq.rotate_left(16),
            ack: question.seq.wrapping_add(1),
            flags,
            window: if flags & tcp::SYN == 0 { 0 } else { 65_535 },
            options: &[],
        };
        let (at, pseudo) = self.headers(question.ip, ipv4::TCP, segment.length() as u16, out);
        at + segment.emit(&mut out[at..], pseudo)
    }

    fn datagram(&self, question: &Udp<'_>, out: &mut [u8]) -> usize {
        let length = (udp::HEADER + question.payload.len()) as u16;
        let (at, pseudo) = self.headers(question.ip, ipv4::UDP, length, out);
        let (src_port, dst_port) = (question.dst_port, question.src_port);
        at + udp::emit(&mut out[at..], pseudo, src_port, dst_port, question.payload)
    }

    fn echo(&self, question: &Echo<'_>, out: &mut [u8]) -> usize {
        let length = (icmpv4::HEADER + question.payload.len()) as u16;
        let Echo {
            id,
            seq,
            payload,
            ip,
            ..
        } = *question;
        match (ip.dst, ip.src) {
            (IpAddr::V4(_), _) => {
                let (at, _) = self.headers(ip, ipv4::ICMP, length, out);
                at + icmpv4::emit_echo(&mut out[at..], icmpv4::ECHO_REPLY, id, seq, payload)
            }
            (IpAddr::V6(src), dst) => {
                let (at, _) = self.headers(ip, ipv6::ICMPV6, length, out);
                let ends = (src, six(dst));
                let reply = icmpv6::ECHO_REPLY;
                at + icmpv6::emit_echo(&mut out[at..], ends, reply, id, seq, payload)
            }
        }
    }
}

/// The ends of one packet are of one family; a mapped address stands for what can't be.
fn six(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V6(ip) => ip,
        IpAddr::V4(ip) => Ipv4Addr::to_ipv6_mapped(&ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hosts end in an even octet; even ports are open, port 7 is silent.
    struct Even;

    impl World for Even {
        fn is_neighbor(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
            self.answers_echo(vlan, ip)
        }

        fn answers_echo(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
            vlan == VlanId::new(5)
                && matches!(ip, IpAddr::V4(ip) if ip.octets()[3].is_multiple_of(2))
        }

        fn tcp(&self, vlan: Option<VlanId>, ip: IpAddr, port: u16) -> PortAnswer {
            match port {
                7 => PortAnswer::Silent,
                _ if !self.answers_echo(vlan, ip) => PortAnswer::Silent,
                even if even.is_multiple_of(2) => PortAnswer::Open,
                _ => PortAnswer::Closed,
            }
        }

        fn udp(&self, vlan: Option<VlanId>, ip: IpAddr, port: u16) -> PortAnswer {
            self.tcp(vlan, ip, port)
        }
    }

    const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const US_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

    fn ask_tcp(host: u8, port: u16) -> Option<u8> {
        let dst = Ipv4Addr::new(10, 0, 0, host);
        let mut question = [0; 128];
        let at = ethernet::emit(&mut question, US, US, None, ethernet::IPV4);
        let at = at + ipv4::Ipv4::new(US_IP, dst, ipv4::TCP, 20).emit(&mut question[at..]);
        let segment = tcp::Segment {
            src_port: 40_000,
            dst_port: port,
            seq: 0xffff_ffff,
            ack: 0,
            flags: tcp::SYN,
            window: 1024,
            options: &[],
        };
        let pseudo = Sum::ZERO.pseudo4(US_IP, dst, ipv4::TCP, 20);
        let end = at + segment.emit(&mut question[at..], pseudo);
        let mut out = [0xa5; 256];
        let length = answer(&Even, VlanId::new(5), &question[..end], &mut out);
        if length == 0 {
            return None;
        }
        assert_eq!(
            out[12..16],
            [0x81, 0, 0, 5],
            "the answer is in the question's VLAN"
        );
        let untagged = [&out[..12], &out[16..length]].concat();
        let packet = parse(&untagged, Checksums::Verify).unwrap();
        let Body::Tcp(reply) = packet.body else {
            panic!("{packet:?}")
        };
        assert_eq!(
            (reply.ack, reply.src_port, reply.dst_port),
            (0, port, 40_000)
        );
        assert_eq!(packet.eth_src, mac_of(VlanId::new(5), dst.into()));
        Some(reply.flags)
    }

    #[test]
    fn ports_answer_as_the_function_says() {
        assert_eq!(ask_tcp(2, 80), Some(tcp::SYN | tcp::ACK));
        assert_eq!(ask_tcp(2, 81), Some(tcp::RST | tcp::ACK));
        assert_eq!(ask_tcp(2, 7), None);
        assert_eq!(ask_tcp(3, 80), None);
    }

    #[test]
    fn arp_answers_for_hosts_of_the_vlan_only() {
        for (vlan, host, expected) in [(5, 2, true), (5, 3, false), (6, 2, false)] {
            let question = arp::Arp::request(US, US_IP, Ipv4Addr::new(10, 0, 0, host));
            let mut bytes = [0; 64];
            let at = ethernet::emit(&mut bytes, MacAddr::BROADCAST, US, None, ethernet::ARP);
            let end = at + question.emit(&mut bytes[at..]);
            let mut out = [0; 128];
            let length = answer(&Even, VlanId::new(vlan), &bytes[..end], &mut out);
            assert_eq!(length > 0, expected, "VLAN {vlan}, host {host}");
        }
    }
}
