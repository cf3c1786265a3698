//! A trunk with hosts on it, drawn from a seed, and the truth about it.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use sonde_core::observation::Proto;
use sonde_core::plan::{Environment, Lan, Plan};
use sonde_core::policy::Policy;
use sonde_core::request::{PortState, ScanRequest};
use sonde_core::trunk::{RouteConfig, TrunkConfig, VlanConfig};
use sonde_wire::{MacAddr, VlanId};

use crate::network::{Host, Key, Network, Refuses, Vlan, Way};
use crate::random::Random;

/// An open port.
pub(crate) type Open = (Vlan, IpAddr, Proto, u16);

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) request: ScanRequest,
    pub(crate) env: Environment,
    pub(crate) network: Network,
    /// Hosts that a scan must find, and their open ports among those asked.
    pub(crate) hosts_up: BTreeSet<Key>,
    pub(crate) open: BTreeSet<Open>,
    pub(crate) tcp: Vec<u16>,
    pub(crate) udp: Vec<u16>,
}

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) vlans: u16,
    /// Addresses a network, at most 128.
    pub(crate) addresses: u32,
    pub(crate) passes: u32,
    pub(crate) rate_pps: Option<u64>,
    pub(crate) discovery: &'static str,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            vlans: 8,
            addresses: 64,
            passes: 2,
            rate_pps: Some(50_000),
            discovery: "echo,tcp:80,443",
        }
    }
}

impl World {
    /// The untagged LAN and `vlans` VLANs, each with an IPv4 network on link, one behind its gateway, and
    /// an IPv6 network on link. The first two VLANs use the same addresses.
    pub(crate) fn new(seed: u64, size: Size, way: Way) -> Self {
        let mut world = Self {
            request: ScanRequest {
                ports: "22,80,443,8000-8019,U:53,161,9999".to_owned(),
                rate_pps: size.rate_pps,
                passes: size.passes,
                discovery: size.discovery.to_owned(),
                seed: Some(seed),
                ..ScanRequest::default()
            },
            env: Environment {
                mac: MacAddr([2, 0, 0, 0, 0, 1]),
                lan: Lan {
                    ipv4: Some(("192.0.2.250".parse().unwrap(), 24)),
                    gateway4: Some("192.0.2.1".parse().unwrap()),
                    ..Lan::default()
                },
                ..Environment::default()
            },
            network: Network::new(seed, way),
            hosts_up: BTreeSet::new(),
            open: BTreeSet::new(),
            tcp: [22, 80, 443].into_iter().chain(8000..=8019).collect(),
            udp: vec![53, 161, 9999],
        };
        let mut random = Random::new(seed ^ 0xabcd);
        let mut trunk = TrunkConfig::default();
        world.add_network(&mut random, None, "192.0.2.", None, size.addresses);
        world
            .request
            .targets
            .push(format!("192.0.2.2-192.0.2.{}@lan", size.addresses - 1));
        world.add_gateway(None, "192.0.2.1");
        for n in 0..size.vlans {
            let id = VlanId::new(100 + n).unwrap();
            let vlan = Some(id);
            // The second VLAN has the addresses of the first.
            let net = if n == 1 { 0 } else { n };
            let (a, b) = (100 + net / 250, net % 250);
            let last = size.addresses - 1;
            trunk.vlan.push(VlanConfig {
                id,
                name: None,
                ipv4: Some(format!("10.{a}.{b}.250/24")),
                gateway: Some(format!("10.{a}.{b}.254").parse().unwrap()),
                ipv6: Some(format!("2001:db8:{n:x}::250/64")),
                gateway6: None,
            });
            world.add_gateway(vlan, &format!("10.{a}.{b}.254"));
            world.add_network(
                &mut random,
                vlan,
                &format!("10.{a}.{b}."),
                None,
                size.addresses,
            );
            world
                .request
                .targets
                .push(format!("10.{a}.{b}.0-10.{a}.{b}.{last}@{id}"));
            world.add_network(
                &mut random,
                vlan,
                &format!("2001:db8:{n:x}::"),
                None,
                size.addresses,
            );
            let first = format!("2001:db8:{n:x}::");
            world
                .request
                .targets
                .push(format!("{first}-{first}{last:x}@{id}"));
            if n != 1 {
                trunk.route.push(RouteConfig {
                    to: format!("172.{}.{b}.0/24", 16 + net / 250),
                    via: format!("10.{a}.{b}.254").parse().unwrap(),
                });
                if n == 0 {
                    continue; // two VLANs have its gateway's address: no route can name it
                }
                let net = format!("172.{}.{b}.", 16 + net / 250);
                let gateway = format!("10.{a}.{b}.254").parse().unwrap();
                world.add_network(&mut random, vlan, &net, Some(gateway), size.addresses);
                world
                    .request
                    .targets
                    .push(format!("{net}0-{net}{last}@{id}"));
            }
        }
        trunk
            .route
            .retain(|route| route.via != "10.100.0.254".parse::<IpAddr>().unwrap());
        world.request.trunk = Some(trunk);
        world.network.vlans = [None]
            .into_iter()
            .chain((0..size.vlans).map(|n| VlanId::new(100 + n)))
            .collect();
        world
    }

    /// Excludes every fifth host that is up.
    pub(crate) fn exclude_some(&mut self) {
        let excluded: Vec<Key> = self.hosts_up.iter().copied().step_by(5).collect();
        for (vlan, ip) in excluded {
            let at = vlan.map_or("lan".to_owned(), |v| v.to_string());
            self.request.exclude.push(format!("{ip}@{at}"));
            self.network.forbidden.insert((vlan, ip));
            self.hosts_up.remove(&(vlan, ip));
            self.open.retain(|(v, i, ..)| (*v, *i) != (vlan, ip));
        }
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        match Plan::new(&self.request, &self.env, &Policy::default()) {
            Ok(plan) => Arc::new(plan),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn show_all(&mut self) {
        self.request.show = vec![
            PortState::Open,
            PortState::Closed,
            PortState::Filtered,
            PortState::Unconfirmed,
        ];
    }

    fn add_gateway(&mut self, vlan: Vlan, ip: &str) {
        let ip: IpAddr = ip.parse().unwrap();
        self.network
            .gateways
            .insert((vlan, ip), MacAddr([2, 0, 0, 0, 1, 0xfe]));
    }

    fn add_network(
        &mut self,
        random: &mut Random,
        vlan: Vlan,
        net: &str,
        gateway: Option<IpAddr>,
        addresses: u32,
    ) {
        for n in 2..addresses {
            if !random.chance(40) {
                continue;
            }
            let v6 = net.contains(':');
            let ip: IpAddr = if v6 {
                format!("{net}{n:x}")
            } else {
                format!("{net}{n}")
            }
            .parse()
            .unwrap();
            let mut host = Host {
                mac: MacAddr([2, 0, 0, 1, (random.next() % 256) as u8, n as u8]),
                gateway,
                echo: random.chance(50),
                tcp: BTreeSet::new(),
                udp: BTreeSet::new(),
                refuses: random.pick(&[Refuses::Plainly, Refuses::Silently, Refuses::ByRule]),
            };
            host.tcp
                .extend(self.tcp.iter().filter(|_| random.chance(10)));
            host.udp
                .extend(self.udp.iter().filter(|_| random.chance(30)));
            let found = gateway.is_none() || self.is_found(&host);
            if found {
                self.hosts_up.insert((vlan, ip));
                self.open
                    .extend(host.tcp.iter().map(|port| (vlan, ip, Proto::Tcp, *port)));
                self.open
                    .extend(host.udp.iter().map(|port| (vlan, ip, Proto::Udp, *port)));
            }
            self.network.hosts.insert((vlan, ip), host);
        }
    }

    /// Whether discovery, or with `none` any port asked, gets an answer that proves a host behind a gateway up.
    fn is_found(&self, host: &Host) -> bool {
        if self.request.discovery == "none" {
            return host.refuses == Refuses::Plainly
                || !host.tcp.is_empty()
                || !host.udp.is_empty();
        }
        let asked = [80, 443];
        host.echo || host.refuses == Refuses::Plainly || asked.iter().any(|p| host.tcp.contains(p))
    }
}
