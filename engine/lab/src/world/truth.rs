//! What a world says is there: the functions that the program in `bpf/world.bpf.c` computes, once more.
//!
//! ```text
//! host = mix(seed ^ (VLAN << 32 | address))                               IPv4
//! host = mix(mix(seed ^ address.high ^ VLAN << 48) ^ address.low)         IPv6
//! port = mix(host ^ (protocol << 16 | port))
//!
//! up            host.high < hosts_up                         always: the gateway
//! answers all   host.low < answers_all                       TCP
//! open          in `ports`, or port.high < open
//! closed        port.low < closed                            of what is not open; else silent
//! ```
//!
//! VLAN 0 is the untagged LAN; `high` and `low` are halves of 64 bits (of 128 for an address), shares are of 2^32.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use sonde_core::observation::Proto;
use sonde_wire::{VlanId, ipv4};

use super::spec::{GATEWAY_ID, SCANNER_ID, WorldSpec, number};
use super::{PortAnswer, World};

/// Where an address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In none of the world's networks, or never given to anybody there.
    Nowhere,
    /// The gateway of the VLAN.
    Gateway,
    /// A host's, reached by ARP or NDP.
    OnLink,
    /// A host's, reached through the gateway.
    Behind,
}

/// How much of a world there is to find: behind the gateways, in all VLANs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    /// Addresses.
    pub hosts: u64,
    /// Those that are up.
    pub up: u64,
    /// Open TCP ports among those asked for.
    pub open: u64,
}

impl WorldSpec {
    /// Where an address is in a VLAN.
    pub fn place(&self, vlan: Option<VlanId>, ip: IpAddr) -> Place {
        if !self.vlans.contains(vlan) {
            return Place::Nowhere;
        }
        let v = number(vlan);
        match ip {
            IpAddr::V4(ip) => self.place4(v, ip.to_bits()),
            IpAddr::V6(ip) => {
                let (high, low) = halves(ip);
                self.place6(v, high, low)
            }
        }
    }

    /// True if somebody is there and up.
    pub fn is_up(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        match self.place(vlan, ip) {
            Place::Nowhere => false,
            Place::Gateway => true,
            Place::OnLink | Place::Behind => self.host(vlan, ip) >> 32 < self.shares.hosts_up,
        }
    }

    /// How a TCP port takes a SYN.
    pub fn tcp(&self, vlan: Option<VlanId>, ip: IpAddr, port: u16) -> PortAnswer {
        if !self.is_up(vlan, ip) {
            return PortAnswer::Silent;
        }
        let host = self.host(vlan, ip);
        if has(&self.tcp, port) || host & 0xffff_ffff < self.shares.answers_all {
            return PortAnswer::Open;
        }
        self.by_chance(host, ipv4::TCP, port)
    }

    /// How a UDP port takes a datagram: open ports send it back, closed ones may say so by ICMP.
    pub fn udp(&self, vlan: Option<VlanId>, ip: IpAddr, port: u16) -> PortAnswer {
        if !self.is_up(vlan, ip) {
            return PortAnswer::Silent;
        }
        if has(&self.udp, port) {
            return PortAnswer::Open;
        }
        self.by_chance(self.host(vlan, ip), ipv4::UDP, port)
    }

    /// Every address behind the gateway of a VLAN, up or not.
    pub fn addresses_behind(&self, vlan: Option<VlanId>) -> impl Iterator<Item = IpAddr> {
        let written = self.description();
        let networks = self.behind(vlan);
        let hosts = written.behind6.iter().map(|net| net.hosts);
        let lasts = written.behind4.iter().map(|_| None).chain(hosts.map(Some));
        networks.into_iter().zip(lasts).flat_map(
            |(network, last)| -> Box<dyn Iterator<Item = IpAddr>> {
                match (network.first(), network.last()) {
                    (IpAddr::V4(first), IpAddr::V4(last)) => Box::new(
                        (first.to_bits()..=last.to_bits()).map(|ip| Ipv4Addr::from_bits(ip).into()),
                    ),
                    (IpAddr::V6(first), _) => Box::new((1..=last.unwrap_or(0)).map(move |id| {
                        Ipv6Addr::from_bits(first.to_bits() | u128::from(id)).into()
                    })),
                    (IpAddr::V4(_), IpAddr::V6(_)) => Box::new(std::iter::empty()),
                }
            },
        )
    }

    /// Every open port among `ports` behind the gateway of a VLAN, host by host.
    pub fn open_behind<'a>(
        &'a self,
        vlan: Option<VlanId>,
        ports: &'a [u16],
    ) -> impl Iterator<Item = (IpAddr, u16)> + 'a {
        self.addresses_behind(vlan)
            .filter(move |&ip| self.is_up(vlan, ip))
            .flat_map(move |ip| ports.iter().map(move |&port| (ip, port)))
            .filter(move |&(ip, port)| self.tcp(vlan, ip, port) == PortAnswer::Open)
    }

    /// Counts what is behind the gateways of all VLANs. Takes time for hosts times ports: some
    /// 50 million of them a second.
    pub fn truth(&self, ports: &[u16]) -> Truth {
        let mut truth = Truth::default();
        for vlan in self.vlans() {
            for ip in self.addresses_behind(vlan) {
                truth.hosts += 1;
                if self.is_up(vlan, ip) {
                    truth.up += 1;
                    let open = |port: &&u16| self.tcp(vlan, ip, **port) == PortAnswer::Open;
                    truth.open += ports.iter().filter(open).count() as u64;
                }
            }
        }
        truth
    }

    /// The ports that are open on every host.
    pub fn ports(&self, proto: Proto) -> Vec<u16> {
        let bits = match proto {
            Proto::Tcp => &self.tcp,
            Proto::Udp => &self.udp,
        };
        (0..=u16::MAX).filter(|&port| has(bits, port)).collect()
    }

    fn place4(&self, v: u32, ip: u32) -> Place {
        let written = self.description();
        let behind = written.behind4.iter();
        if behind
            .map(|net| u64::from(net.offset(v, ip)) >> net.host_bits())
            .any(|above| above == 0)
        {
            return Place::Behind;
        }
        let Some(link) = &written.link4 else {
            return Place::Nowhere;
        };
        let offset = link.offset(v, ip);
        if u64::from(offset) + 1 >= 1 << link.host_bits() {
            return Place::Nowhere;
        }
        match offset {
            GATEWAY_ID => Place::Gateway,
            0 | SCANNER_ID => Place::Nowhere,
            _ => Place::OnLink,
        }
    }

    fn place6(&self, v: u32, high: u64, low: u64) -> Place {
        let written = self.description();
        if let Some(net) = written.behind6.iter().find(|net| net.has(v, high)) {
            let exists = (1..=u64::from(net.hosts)).contains(&low);
            return if exists {
                Place::Behind
            } else {
                Place::Nowhere
            };
        }
        let Some(link) = &written.link6 else {
            return Place::Nowhere;
        };
        let is_gateway = low == u64::from(GATEWAY_ID);
        if high == LINK_LOCAL {
            return if is_gateway {
                Place::Gateway
            } else {
                Place::Nowhere
            };
        }
        if !link.has(v, high) {
            return Place::Nowhere;
        }
        if is_gateway {
            Place::Gateway
        } else if low > u64::from(SCANNER_ID) && low <= u64::from(link.hosts) {
            Place::OnLink
        } else {
            Place::Nowhere
        }
    }

    fn host(&self, vlan: Option<VlanId>, ip: IpAddr) -> u64 {
        let (seed, v) = (u64::from(self.description().seed), u64::from(number(vlan)));
        match ip {
            IpAddr::V4(ip) => mix(seed ^ (v << 32 | u64::from(ip.to_bits()))),
            IpAddr::V6(ip) => {
                let (high, low) = halves(ip);
                mix(mix(seed ^ high ^ v << 48) ^ low)
            }
        }
    }

    fn by_chance(&self, host: u64, protocol: u8, port: u16) -> PortAnswer {
        let chance = mix(host ^ (u64::from(protocol) << 16 | u64::from(port)));
        if chance >> 32 < self.shares.open {
            PortAnswer::Open
        } else if chance & 0xffff_ffff < self.shares.closed {
            PortAnswer::Closed
        } else {
            PortAnswer::Silent
        }
    }
}

impl World for WorldSpec {
    fn is_neighbor(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        self.place(vlan, ip) != Place::Behind && self.is_up(vlan, ip)
    }

    fn answers_echo(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        self.is_up(vlan, ip)
    }

    fn tcp(&self, vlan: Option<VlanId>, ip: IpAddr, port: u16) -> PortAnswer {
        self.tcp(vlan, ip, port)
    }

    fn udp(&self, vlan: Option<VlanId>, ip: IpAddr, port: u16) -> PortAnswer {
        self.udp(vlan, ip, port)
    }
}

/// High half of the link-local network `fe80::/64` (RFC 4291 §2.5.6).
const LINK_LOCAL: u64 = 0xfe80 << 48;

/// The finalizer of MurmurHash3's 128-bit variant (Austin Appleby, public domain).
const fn mix(mut x: u64) -> u64 {
    x ^= x >> 33;
    x = x.wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^= x >> 33;
    x = x.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

fn halves(ip: Ipv6Addr) -> (u64, u64) {
    let bits = ip.to_bits();
    ((bits >> 64) as u64, bits as u64)
}

fn has(bits: &[u64; 1024], port: u16) -> bool {
    bits[usize::from(port >> 6)] >> (port & 63) & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Network4, WorldDescription};

    /// The program has the same function; these values are of the reference implementation.
    #[test]
    fn the_mix_is_murmurs() {
        assert_eq!(mix(0), 0);
        assert_eq!(mix(1), 0xb456_bcfc_34c2_cb2c);
        assert_eq!(mix(2), 0x3abf_2a20_6506_83e7);
    }

    #[test]
    fn a_network_on_link_has_a_gateway_hosts_and_free_addresses() {
        let spec = WorldSpec::new(WorldDescription {
            vlans: "lan,7".to_owned(),
            link4: Some(Network4 {
                network: "10.0.0.0/24".parse().unwrap(),
                per_vlan: true,
            }),
            ..WorldDescription::default()
        })
        .unwrap();
        let place = |vlan, last| spec.place(VlanId::new(vlan), IpAddr::from([10, 0, 7, last]));
        let places = [0, 1, 2, 3, 254, 255].map(|last| place(7, last));
        let (free, host) = (Place::Nowhere, Place::OnLink);
        assert_eq!(places, [free, Place::Gateway, free, host, host, free]);
        // Elsewhere the network is another, and a VLAN that is not there has none.
        assert_eq!((place(0, 3), place(8, 3)), (free, free));
        assert!(spec.is_neighbor(VlanId::new(7), IpAddr::from([10, 0, 7, 3])));
    }

    #[test]
    fn shares_come_out_about_as_written() {
        let spec = WorldSpec::new(WorldDescription {
            link4: Some(Network4::everywhere("10.0.0.0/24".parse().unwrap())),
            behind4: vec![Network4::everywhere("10.64.0.0/16".parse().unwrap())],
            hosts_up: 0.25,
            answers_all: 0.1,
            ..WorldDescription::default()
        })
        .unwrap();
        let truth = spec.truth(&[22]);
        assert_eq!(truth.hosts, 65_536);
        // Six standard deviations either way.
        assert!((15_720..17_050).contains(&truth.up), "{truth:?}");
        assert!((1_400..1_880).contains(&truth.open), "{truth:?}");
        let listed = spec.open_behind(None, &[22]).count() as u64;
        assert_eq!(listed, truth.open);
    }
}
