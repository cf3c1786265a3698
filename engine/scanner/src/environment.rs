//! What the machine has that a plan needs: the interface, its addresses and gateways, the addresses of names.
//!
//! Only looks; opens no raw socket, so a dry run needs no privileges.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};

use sonde_core::plan::{Environment, Lan};
use sonde_core::request::ScanRequest;
use sonde_core::target::{self, NthTargetError};
use sonde_link::interfaces::{self, Interface, Route};

/// Why the machine does not have what the request needs.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// A target or exclusion is none.
    #[error(transparent)]
    Target(#[from] NthTargetError),
    /// A name does not resolve.
    #[error("the name `{name}` does not resolve; check it, or write the address")]
    Name {
        /// As written.
        name: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// The interface asked for is not there.
    #[error("no interface `{name}` here; there are: {there}")]
    NoSuchInterface {
        /// As written.
        name: String,
        /// Those there are.
        there: String,
    },
    /// None was asked for and none routes to the first target.
    #[error("no interface routes to {target}; name one by --interface; there are: {there}")]
    NoRoute {
        /// The first target, or what stands for it.
        target: String,
        /// Those there are.
        there: String,
    },
    /// It has no Ethernet address to send from.
    #[error(
        "interface `{0}` has no Ethernet address; give one by --source-mac, or use --link connect"
    )]
    NoMac(String),
    /// Frames on loopback reach nobody but the kernel they came from.
    #[error("`{0}` is the loopback interface; scan what is on it by --link connect")]
    Loopback(String),
    /// The kernel's routes can't be read.
    #[error("the routes of this machine can't be read; is /proc mounted?")]
    Routes(#[source] io::Error),
}

impl EnvironmentError {
    /// True when asking again would end the same.
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::Routes(_))
    }

    /// True when frames can't be had for the targets, but the kernel's own sockets may reach them.
    pub fn leaves_connect(&self) -> bool {
        matches!(self, Self::Loopback(_) | Self::NoMac(_))
    }
}

/// What was found out.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The interface to scan from.
    pub interface: Interface,
    /// What the plan needs to know of it.
    pub environment: Environment,
}

/// The addresses of every name in the request's targets and exclusions.
///
/// # Errors
/// [`EnvironmentError::Target`], [`EnvironmentError::Name`].
pub fn resolve(request: &ScanRequest) -> Result<HashMap<String, Vec<IpAddr>>, EnvironmentError> {
    let mut addresses = HashMap::new();
    for name in target::names(request)? {
        match (name.as_str(), 0).to_socket_addrs() {
            Ok(found) => addresses.insert(name, found.map(|address| address.ip()).collect()),
            Err(source) => return Err(EnvironmentError::Name { name, source }),
        };
    }
    Ok(addresses)
}

/// What a plan for the `connect` link needs: names alone, the kernel knows the rest.
pub fn of_kernel(names: HashMap<String, Vec<IpAddr>>) -> Environment {
    Environment {
        names,
        kernel_routes: true,
        ..Environment::default()
    }
}

/// What a plan for frames needs: the interface asked for or found, its MAC address, addresses and gateways.
///
/// # Errors
/// One sentence that lists the interfaces there are, when the right one is not among them.
pub fn of_interface(
    request: &ScanRequest,
    names: HashMap<String, Vec<IpAddr>>,
) -> Result<Machine, EnvironmentError> {
    let all = interfaces::interfaces();
    let routes = interfaces::routes().map_err(EnvironmentError::Routes)?;
    let first = first_address(request, &names);
    let source = first.and_then(source_towards);
    let interface = choose(request, &all, &routes, first, source)?.clone();
    if interface.loopback {
        return Err(EnvironmentError::Loopback(interface.name));
    }
    let mac = request.source_mac.or(interface.mac);
    let mac = mac.ok_or_else(|| EnvironmentError::NoMac(interface.name.clone()))?;
    let lan = lan_of(&interface, &routes, &wanted_addresses(request, source));
    let environment = Environment {
        mac,
        lan,
        names,
        kernel_routes: false,
    };
    Ok(Machine {
        interface,
        environment,
    })
}

/// The address the kernel would send from towards `target`; nothing is sent.
fn source_towards(target: IpAddr) -> Option<IpAddr> {
    let any: IpAddr = match target {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.connect(SocketAddr::new(target, 9)).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The lowest address of the first target.
fn first_address(request: &ScanRequest, names: &HashMap<String, Vec<IpAddr>>) -> Option<IpAddr> {
    let first: target::Target = request.targets.first()?.parse().ok()?;
    match first.hosts {
        target::Hosts::Name(name) => names.get(&name)?.first().copied(),
        target::Hosts::V4(interval) => Some(Ipv4Addr::from_bits(interval.first).into()),
        target::Hosts::V6(interval) => Some(Ipv6Addr::from_bits(interval.first).into()),
        target::Hosts::Octets(octets) => Some(octets.map(|(low, _)| low).into()),
        target::Hosts::All => None,
    }
}

/// Our addresses that the request names for the untagged LAN, and the one the kernel would use.
fn wanted_addresses(request: &ScanRequest, source: Option<IpAddr>) -> Vec<IpAddr> {
    let lan = request.trunk.as_ref().and_then(|trunk| trunk.lan.as_ref());
    let written = lan
        .into_iter()
        .flat_map(|lan| [&lan.ipv4, &lan.ipv6])
        .flatten();
    let written = written.filter_map(|text| text.split('/').next()?.parse().ok());
    request
        .source_ip
        .into_iter()
        .chain(written)
        .chain(source)
        .collect()
}

fn choose<'a>(
    request: &ScanRequest,
    all: &'a [Interface],
    routes: &[Route],
    first: Option<IpAddr>,
    source: Option<IpAddr>,
) -> Result<&'a Interface, EnvironmentError> {
    let by_name = |name: &str| all.iter().find(|interface| interface.name == name);
    if let Some(name) = &request.interface {
        return by_name(name).ok_or_else(|| EnvironmentError::NoSuchInterface {
            name: name.clone(),
            there: listed(all),
        });
    }
    let routed = first.and_then(|first| interfaces::route_to(routes, first));
    // An address of our own that the kernel would use says it even where rules choose among tables.
    let owner = all
        .iter()
        .find(|i| i.addresses.iter().any(|(ip, _)| Some(*ip) == source));
    let chosen = owner.or_else(|| by_name(&routed?.interface));
    // Behind a trunk the kernel has no route at all: then the one interface that can carry frames is meant.
    let mut carriers = all
        .iter()
        .filter(|i| i.up && !i.loopback && i.mac.is_some());
    let only = carriers.next().filter(|_| carriers.next().is_none());
    chosen.or(only).ok_or_else(|| EnvironmentError::NoRoute {
        target: request
            .targets
            .first()
            .cloned()
            .unwrap_or_else(|| "the targets".to_owned()),
        there: listed(all),
    })
}

/// The interface's place on the untagged LAN: of several addresses one that is wanted, otherwise the first
/// that is not link-local.
fn lan_of(interface: &Interface, routes: &[Route], wanted: &[IpAddr]) -> Lan {
    let best = |usable: fn(&IpAddr) -> bool| {
        let mut of_family = interface.addresses.iter().filter(|(ip, _)| usable(ip));
        let preferred = of_family.clone().find(|(ip, _)| wanted.contains(ip));
        preferred.or_else(|| of_family.next()).copied()
    };
    let gateway = |v4: bool| {
        let mut defaults: Vec<_> = routes
            .iter()
            .filter(|r| r.interface == interface.name && r.prefix == 0)
            .filter(|r| r.destination.is_ipv4() == v4)
            .collect();
        defaults.sort_by_key(|route| route.metric);
        defaults.first().and_then(|route| route.gateway)
    };
    let ipv4 = best(|ip| ip.is_ipv4()).and_then(|(ip, prefix)| match ip {
        IpAddr::V4(ip) => Some((ip, prefix)),
        IpAddr::V6(_) => None,
    });
    let ipv6 = best(|ip| matches!(ip, IpAddr::V6(ip) if !ip.is_unicast_link_local()));
    let ipv6 = ipv6.and_then(|(ip, prefix)| match ip {
        IpAddr::V6(ip) => Some((ip, prefix)),
        IpAddr::V4(_) => None,
    });
    let gateway4 = gateway(true).and_then(|ip| match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    });
    let gateway6 = gateway(false).and_then(|ip| match ip {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    });
    Lan {
        ipv4,
        gateway4,
        ipv6,
        gateway6,
        kernel_owned: true,
    }
}

fn listed(all: &[Interface]) -> String {
    let names: Vec<_> = all
        .iter()
        .map(|interface| interface.name.as_str())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use sonde_wire::MacAddr;

    use super::*;

    fn interface(name: &str, addresses: &[&str]) -> Interface {
        let split = |text: &&str| {
            let (ip, prefix) = text.split_once('/').unwrap();
            (ip.parse().unwrap(), prefix.parse().unwrap())
        };
        Interface {
            name: name.to_owned(),
            index: 1,
            mac: (name != "lo").then_some(MacAddr([2, 0, 0, 0, 0, 1])),
            addresses: addresses.iter().map(split).collect(),
            mtu: Some(1500),
            up: true,
            running: true,
            loopback: name == "lo",
        }
    }

    fn default_route(interface: &str, gateway: &str, metric: u32) -> Route {
        let gateway: IpAddr = gateway.parse().unwrap();
        let destination: IpAddr = if gateway.is_ipv4() {
            [0, 0, 0, 0].into()
        } else {
            [0_u16; 8].into()
        };
        let interface = interface.to_owned();
        Route {
            destination,
            prefix: 0,
            gateway: Some(gateway),
            interface,
            metric,
        }
    }

    #[test]
    fn the_lan_is_the_interfaces_own() {
        let eth0 = interface(
            "eth0",
            &[
                "192.0.2.10/24",
                "192.0.2.11/24",
                "fe80::1/64",
                "2001:db8::10/64",
            ],
        );
        let routes = [
            default_route("eth0", "192.0.2.2", 200),
            default_route("eth0", "192.0.2.1", 100),
            default_route("eth1", "198.51.100.1", 1),
            default_route("eth0", "fe80::9", 1),
        ];
        let lan = lan_of(&eth0, &routes, &[]);
        let expected = Lan {
            ipv4: Some(("192.0.2.10".parse().unwrap(), 24)),
            gateway4: Some("192.0.2.1".parse().unwrap()),
            ipv6: Some(("2001:db8::10".parse().unwrap(), 64)),
            gateway6: Some("fe80::9".parse().unwrap()),
            kernel_owned: true,
        };
        assert_eq!(lan, expected);
        let second = "192.0.2.11".parse().unwrap();
        assert_eq!(lan_of(&eth0, &routes, &[second]).ipv4.unwrap().0, second);
    }

    #[test]
    fn the_interface_is_the_one_named_or_routed_or_the_only_one() {
        let all = [
            interface("lo", &["127.0.0.1/8"]),
            interface("eth0", &["192.0.2.10/24"]),
            interface("eth1", &[]),
        ];
        let routes = [default_route("eth1", "198.51.100.1", 1)];
        let pick = |request: &ScanRequest, all: &[Interface], first: Option<&str>| {
            let first = first.map(|text| text.parse().unwrap());
            choose(request, all, &routes, first, None).map(|i| i.name.clone())
        };
        let mut request = ScanRequest::default();
        assert_eq!(pick(&request, &all, Some("203.0.113.9")).unwrap(), "eth1");
        assert_eq!(pick(&request, &all[..2], None).unwrap(), "eth0");
        assert!(matches!(
            pick(&request, &all, None),
            Err(EnvironmentError::NoRoute { there, .. }) if there == "lo, eth0, eth1"
        ));
        request.interface = Some("eth9".to_owned());
        assert!(matches!(
            pick(&request, &all, None),
            Err(EnvironmentError::NoSuchInterface { name, .. }) if name == "eth9"
        ));
    }
}
