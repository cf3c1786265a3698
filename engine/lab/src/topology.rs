//! What a lab is made of: networks, hosts, routers, as written in a file or built in.
//!
//! A [`Topology`] can only be had checked: every name resolves, every address fits its network and
//! belongs to one machine there, so [`Lab::up`](crate::Lab::up) has nothing left to refuse.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sonde_wire::VlanId;

use crate::prefix::Prefix;
use crate::services::Service;

mod check;
mod truth;

pub use check::TopologyError;
pub use truth::{OpenPort, UpHost};

/// Machines a lab may have: each is a thread, a namespace and a switch port.
pub const MACHINES_MAX: usize = 256;

/// A checked description of a lab.
#[derive(Clone, Debug, PartialEq)]
pub struct Topology(Description);

/// A lab as written: same keys as the file, unknown ones refused.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The networks.
    #[serde(default)]
    pub network: Vec<Network>,
    /// The hosts.
    #[serde(default)]
    pub host: Vec<Host>,
    /// The routers.
    #[serde(default)]
    pub router: Vec<Router>,
}

/// One broadcast domain. Untagged on the trunk, a VLAN of the trunk, or neither: then it is reached
/// through a router only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// What hosts and routers call it.
    pub name: String,
    /// The trunk's untagged LAN. One network at most.
    #[serde(default)]
    pub untagged: bool,
    /// The VLAN on the trunk.
    #[serde(default)]
    pub vlan: Option<VlanId>,
    /// One IPv4 network, one IPv6 network, or both.
    pub prefixes: Vec<Prefix>,
    /// The scanner's own addresses, one of a family at most. No machine of the lab has them.
    #[serde(default)]
    pub scanner: Vec<IpAddr>,
    /// Where hosts send what is not for this network, one of a family at most; a router's addresses.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
}

/// One host, on one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Unique in the lab.
    pub name: String,
    /// Name of its network.
    pub network: String,
    /// Its addresses there; the prefix length is the network's.
    pub addresses: Vec<IpAddr>,
    /// What listens, on every address.
    #[serde(default)]
    pub services: Vec<Service>,
    /// How it treats what nothing listens for.
    #[serde(default)]
    pub behaviour: Behaviour,
}

/// How a host treats what comes in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behaviour {
    /// As the kernel does: echo answered, closed TCP ports reset, closed UDP ports unreachable.
    #[default]
    Normal,
    /// As behind a firewall that drops: ARP and neighbor solicitations are answered, nothing else is.
    Filtered,
    /// Answers nothing at all, not even ARP.
    Silent,
}

/// A machine on several networks that forwards between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Unique in the lab.
    pub name: String,
    /// Its place in each network.
    pub interfaces: Vec<Interface>,
    /// What listens, on every address.
    #[serde(default)]
    pub services: Vec<Service>,
    /// Static routes of its own.
    #[serde(default)]
    pub routes: Vec<StaticRoute>,
    /// Destinations it answers with "administratively prohibited" (RFC 1812 §5.2.7.1, RFC 4443 §3.1).
    #[serde(default)]
    pub prohibit: Vec<Prefix>,
}

/// A machine's place in one network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interface {
    /// Name of the network.
    pub network: String,
    /// The addresses there.
    pub addresses: Vec<IpAddr>,
}

/// A route of a router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaticRoute {
    /// Destination.
    pub to: Prefix,
    /// Next hop, on one of the router's networks.
    pub via: IpAddr,
}

impl Topology {
    /// The built-in lab: an untagged LAN, three VLANs (two of them with the same IPv4 network), a branch
    /// behind a router, dual-stack and IPv6-only hosts, filtered, closed and silent ones.
    ///
    /// # Panics
    /// Never: a test reads the built-in file.
    pub fn builtin() -> Self {
        Self::parse(BUILTIN).expect("the built-in file is read by a test")
    }

    /// Reads a lab file (TOML).
    ///
    /// # Errors
    /// When it is not TOML of the right shape, or says something that can not be: the error names the
    /// place and the way out.
    pub fn parse(text: &str) -> Result<Self, TopologyError> {
        Self::new(toml::from_str(text)?)
    }

    /// Checks a description.
    ///
    /// # Errors
    /// As [`Topology::parse`].
    pub fn new(description: Description) -> Result<Self, TopologyError> {
        check::check(&description)?;
        Ok(Self(description))
    }

    /// What was written.
    pub const fn description(&self) -> &Description {
        &self.0
    }

    /// The lab as a file that [`Topology::parse`] reads back.
    ///
    /// # Panics
    /// Never: everything in a description has a TOML form.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.0).expect("every field of a description has a TOML form")
    }

    /// Every machine, hosts first, in the order written.
    pub fn machines(&self) -> impl Iterator<Item = Machine<'_>> {
        let hosts = self.0.host.iter().map(|host| Machine {
            name: &host.name,
            interfaces: vec![(self.network(&host.network), &host.addresses[..])],
            services: &host.services,
            behaviour: host.behaviour,
            forwards: false,
            routes: &[],
            prohibit: &[],
        });
        let routers = self.0.router.iter().map(|router| Machine {
            name: &router.name,
            interfaces: router
                .interfaces
                .iter()
                .map(|i| (self.network(&i.network), &i.addresses[..]))
                .collect(),
            services: &router.services,
            behaviour: Behaviour::Normal,
            forwards: true,
            routes: &router.routes,
            prohibit: &router.prohibit,
        });
        hosts.chain(routers)
    }

    fn network(&self, name: &str) -> &Network {
        let found = self.0.network.iter().find(|network| network.name == name);
        found.expect("a checked topology names only networks it has")
    }
}

const BUILTIN: &str = include_str!("builtin.toml");

/// A host or a router, names resolved.
#[derive(Clone, Debug)]
pub struct Machine<'a> {
    /// Unique in the lab.
    pub name: &'a str,
    /// Networks with the addresses there, at least one.
    pub interfaces: Vec<(&'a Network, &'a [IpAddr])>,
    /// What listens, on every address.
    pub services: &'a [Service],
    /// How it treats what nothing listens for.
    pub behaviour: Behaviour,
    /// True for routers.
    pub forwards: bool,
    /// Static routes.
    pub routes: &'a [StaticRoute],
    /// Prohibited destinations.
    pub prohibit: &'a [Prefix],
}

impl Network {
    /// The network's prefix of the address's family that the address is in.
    pub fn prefix_of(&self, address: IpAddr) -> Option<Prefix> {
        self.prefixes
            .iter()
            .copied()
            .find(|prefix| prefix.contains(address))
    }

    /// True if its frames are on the trunk, tagged or not.
    pub const fn is_on_trunk(&self) -> bool {
        self.untagged || self.vlan.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_builtin_lab_survives_a_round_trip() {
        let topology = Topology::builtin();
        assert_eq!(Topology::parse(&topology.to_toml()).unwrap(), topology);
    }

    #[test]
    fn the_builtin_lab_has_what_a_scanner_must_tell_apart() {
        let topology = Topology::builtin();
        let machines: Vec<_> = topology.machines().collect();
        assert!(machines.len() >= 14);
        let nines = machines.iter().filter(|machine| {
            machine
                .interfaces
                .iter()
                .any(|(_, a)| a.contains(&"10.1.0.9".parse().unwrap()))
        });
        assert_eq!(nines.count(), 2, "one address in two VLANs");
        for behaviour in [Behaviour::Filtered, Behaviour::Silent] {
            assert!(
                machines
                    .iter()
                    .any(|machine| machine.behaviour == behaviour)
            );
        }
        assert!(machines.iter().any(|machine| {
            machine
                .interfaces
                .iter()
                .all(|(_, a)| a.iter().all(IpAddr::is_ipv6))
        }));
        assert!(
            machines
                .iter()
                .any(|machine| machine.forwards && !machine.prohibit.is_empty())
        );
    }
}
