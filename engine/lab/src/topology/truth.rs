//! What a complete and correct scan of a lab finds, and how to ask for it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use sonde_core::observation::Proto;
use sonde_core::trunk::{NetworkConfig, RouteConfig, TrunkConfig, VlanConfig};
use sonde_wire::VlanId;

use super::{Behaviour, Network, Topology};
use crate::prefix::Prefix;

/// A port that answers: the VLAN its frames have on the trunk (`None`: untagged), address, protocol, port.
pub type OpenPort = (Option<VlanId>, IpAddr, Proto, u16);

/// A host that answers: VLAN and address.
pub type UpHost = (Option<VlanId>, IpAddr);

impl Topology {
    /// Every open port that can be reached from the trunk, sorted, each once.
    pub fn open_ports(&self) -> Vec<OpenPort> {
        let mut ports = BTreeSet::new();
        for machine in self.machines() {
            for (network, addresses) in &machine.interfaces {
                let Some(vlan) = self.seen_in(network) else {
                    continue;
                };
                for &address in *addresses {
                    for service in machine.services {
                        ports.insert((vlan, address, service.kind.proto(), service.port));
                    }
                }
            }
        }
        ports.into_iter().collect()
    }

    /// Every host that can be found up from the trunk, sorted: all but the silent ones and, behind a
    /// router, the filtered ones, whose ARP nobody out here can ask.
    pub fn hosts_up(&self) -> Vec<UpHost> {
        let mut hosts = BTreeSet::new();
        for machine in self.machines() {
            for (network, addresses) in &machine.interfaces {
                let answers = match machine.behaviour {
                    Behaviour::Normal => true,
                    Behaviour::Filtered => network.is_on_trunk(),
                    Behaviour::Silent => false,
                };
                if let Some(vlan) = self.seen_in(network).filter(|_| answers) {
                    hosts.extend(addresses.iter().map(|&address| (vlan, address)));
                }
            }
        }
        hosts.into_iter().collect()
    }

    /// The trunk file for this lab: the scanner's addresses in every network on the trunk, and routes to
    /// whatever is behind a router there.
    pub fn trunk(&self) -> TrunkConfig {
        let mut trunk = TrunkConfig::default();
        for network in &self.description().network {
            let address = |v4| {
                let own = network.scanner.iter().find(|a| a.is_ipv4() == v4)?;
                Some(format!("{own}/{}", network.prefix_of(*own)?.length()))
            };
            let gateway = |v4| network.gateways.iter().copied().find(|a| a.is_ipv4() == v4);
            let (ipv4, ipv6) = (address(true), address(false));
            // A gateway is of no use, and refused by the reader, where we have no address of its family.
            let gateway4 = gateway(true).filter(|_| ipv4.is_some());
            let gateway6 = gateway(false).filter(|_| ipv6.is_some());
            if network.untagged {
                trunk.lan = Some(NetworkConfig {
                    ipv4,
                    gateway: gateway4,
                    ipv6,
                    gateway6,
                });
            } else if let Some(id) = network.vlan {
                let name = Some(network.name.clone());
                trunk.vlan.push(VlanConfig {
                    id,
                    name,
                    ipv4,
                    gateway: gateway4,
                    ipv6,
                    gateway6,
                });
            }
        }
        trunk.route = self
            .routed()
            .into_iter()
            .map(|routed| routed.route())
            .collect();
        trunk
    }

    /// Targets that cover every machine reachable from the trunk, each with its VLAN: whole IPv4 networks up to
    /// a /20, else the /24 around each address; of an IPv6 network, the /120 around each address. Left out is the
    /// first address of an IPv6 network, which belongs to whichever router answers first (RFC 4291 §2.6.1).
    pub fn targets(&self) -> Vec<String> {
        let mut targets = BTreeSet::new();
        for machine in self.machines() {
            for (network, addresses) in &machine.interfaces {
                let Some(vlan) = self.seen_in(network) else {
                    continue;
                };
                for &address in *addresses {
                    let around = neighbourhood(network, address);
                    let anycast = address.is_ipv6()
                        && network
                            .prefix_of(around.first())
                            .is_some_and(|prefix| prefix.first() == around.first());
                    targets.insert((vlan, around, anycast));
                }
            }
        }
        for routed in self.routed().into_iter().filter(|routed| routed.prohibited) {
            targets.insert((routed.vlan, routed.to, false));
        }
        targets.into_iter().map(target).collect()
    }

    /// What can be reached from the trunk through one router.
    fn routed(&self) -> Vec<Routed> {
        let mut routed = Vec::new();
        for machine in self.machines().filter(|machine| machine.forwards) {
            let mut behind: Vec<(Prefix, bool)> = Vec::new();
            for (network, _) in machine.interfaces.iter().filter(|(n, _)| !n.is_on_trunk()) {
                behind.extend(network.prefixes.iter().map(|&prefix| (prefix, false)));
            }
            behind.extend(machine.routes.iter().map(|route| (route.to, false)));
            behind.extend(machine.prohibit.iter().map(|&prefix| (prefix, true)));
            for (to, prohibited) in behind {
                let v4 = to.first().is_ipv4();
                let near = machine.interfaces.iter().find_map(|(network, addresses)| {
                    let ours = network.scanner.iter().any(|own| own.is_ipv4() == v4);
                    let via = addresses.iter().copied().find(|a| a.is_ipv4() == v4);
                    via.filter(|_| ours && network.is_on_trunk())
                        .map(|via| (network.vlan, via))
                });
                if let Some((vlan, via)) = near {
                    routed.push(Routed {
                        to,
                        via,
                        vlan,
                        prohibited,
                    });
                }
            }
        }
        routed
    }

    /// The VLAN a network's hosts answer in: its own, or that of the router in front of it. Outer
    /// `None`: it can not be reached from the trunk.
    fn seen_in(&self, network: &Network) -> Option<Option<VlanId>> {
        if network.is_on_trunk() {
            return Some(network.vlan);
        }
        let routed = self.routed();
        let way = routed
            .iter()
            .find(|routed| network.prefixes.contains(&routed.to));
        way.map(|routed| routed.vlan)
    }
}

struct Routed {
    to: Prefix,
    via: IpAddr,
    vlan: Option<VlanId>,
    prohibited: bool,
}

impl Routed {
    fn route(&self) -> RouteConfig {
        RouteConfig {
            to: self.to.to_string(),
            via: self.via,
        }
    }
}

fn neighbourhood(network: &Network, address: IpAddr) -> Prefix {
    let whole = network
        .prefix_of(address)
        .unwrap_or_else(|| Prefix::around(address, 128));
    let (widest, part) = if address.is_ipv4() {
        (20, 24)
    } else {
        (120, 120)
    };
    if whole.length() >= widest {
        whole
    } else {
        Prefix::around(address, part)
    }
}

/// A prefix, or with `anycast` the range of it without its first address, with its VLAN.
fn target((vlan, prefix, anycast): (Option<VlanId>, Prefix, bool)) -> String {
    let addresses = match prefix.first() {
        IpAddr::V6(first) if anycast && prefix.length() < 128 => {
            let second = Ipv6Addr::from_bits(first.to_bits() | 1);
            format!("{second}-{}", prefix.last())
        }
        _ => prefix.to_string(),
    };
    match vlan {
        Some(vlan) => format!("{addresses}@{vlan}"),
        None => format!("{addresses}@lan"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_that_share_an_address_have_ports_of_their_own() {
        let ports = Topology::builtin().open_ports();
        let of = |vlan| {
            let at = |p: &&OpenPort| p.0 == VlanId::new(vlan) && p.1 == ip("10.1.0.9");
            ports
                .iter()
                .filter(at)
                .map(|p| (p.2, p.3))
                .collect::<Vec<_>>()
        };
        assert_eq!(of(100), [(Proto::Tcp, 22), (Proto::Tcp, 80)]);
        assert_eq!(
            of(300),
            [(Proto::Tcp, 502), (Proto::Tcp, 8080), (Proto::Udp, 161)]
        );
    }

    #[test]
    fn what_is_behind_a_router_is_seen_in_the_routers_vlan() {
        let topology = Topology::builtin();
        let (office, till) = (VlanId::new(200), ip("10.200.0.20"));
        assert!(
            topology
                .open_ports()
                .contains(&(office, till, Proto::Tcp, 80))
        );
        let route = RouteConfig {
            to: "10.200.0.0/24".into(),
            via: ip("10.2.0.1"),
        };
        assert!(topology.trunk().route.contains(&route));
    }

    #[test]
    fn silent_hosts_are_not_up_and_filtered_ones_are() {
        let hosts = Topology::builtin().hosts_up();
        assert!(!hosts.iter().any(|host| host.1 == ip("10.2.0.40")));
        assert!(hosts.contains(&(VlanId::new(100), ip("10.1.0.77"))));
        assert!(hosts.contains(&(VlanId::new(200), ip("10.2.0.30"))));
    }

    #[test]
    fn the_trunk_and_the_targets_of_the_builtin_lab() {
        let topology = Topology::builtin();
        let trunk = topology.trunk();
        let text = toml::to_string(&trunk).unwrap();
        assert_eq!(toml::from_str::<TrunkConfig>(&text).unwrap(), trunk);
        assert_eq!(trunk.lan.unwrap().ipv4.as_deref(), Some("192.0.2.2/24"));
        assert_eq!(
            trunk.vlan.iter().map(|v| v.id.id()).collect::<Vec<_>>(),
            [100, 200, 300]
        );
        let targets = topology.targets();
        for expected in [
            "192.0.2.0/24@lan",
            "10.1.0.0/24@100",
            "10.1.0.0/24@300",
            "10.200.0.0/24@200",
            "10.201.0.0/28@200",
            "2001:db8:300::1-2001:db8:300::ff@300",
            "2001:db8:2000::1-2001:db8:2000::ff@200",
        ] {
            assert!(
                targets.iter().any(|target| target == expected),
                "{expected} in {targets:?}"
            );
        }
    }

    #[test]
    fn every_open_port_is_on_a_host_that_is_up() {
        let topology = Topology::builtin();
        let up = topology.hosts_up();
        assert!(
            topology
                .open_ports()
                .iter()
                .all(|port| up.contains(&(port.0, port.1)))
        );
    }
}
