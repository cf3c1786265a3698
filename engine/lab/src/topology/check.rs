//! Whether a described lab can be: each rule one function, each refusal names the place.

use std::collections::HashMap;
use std::net::IpAddr;

use super::{Behaviour, Description, MACHINES_MAX, Network};
use crate::prefix::Prefix;
use crate::services::Service;

/// Why a described lab can not be.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// Not TOML, or not of this shape.
    #[error("the lab file cannot be read")]
    Syntax(#[from] toml::de::Error),
    /// A name that can not be one.
    #[error("`{0}` cannot be a name; use 1 to 32 letters, digits and hyphens")]
    Name(String),
    /// Two of one name.
    #[error("two {kind}s are called `{name}`; rename one")]
    Twice {
        /// `network` or `machine`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Both untagged and tagged.
    #[error("network `{0}` is both untagged and a VLAN; remove one of the two keys")]
    UntaggedVlan(String),
    /// Two networks in one place on the trunk.
    #[error("networks `{first}` and `{second}` are both {place} on the trunk; change one")]
    OnePlace {
        /// The earlier network.
        first: String,
        /// The later one.
        second: String,
        /// `untagged` or `VLAN 100`.
        place: String,
    },
    /// Not one prefix of a family.
    #[error(
        "network `{0}` needs one prefix, or one of each family, as prefixes = [\"10.1.0.0/24\"]"
    )]
    Prefixes(String),
    /// Two addresses of one family where one is the limit.
    #[error("network `{network}` has two {key} addresses of one family; keep one")]
    TwoOfFamily {
        /// The network.
        network: String,
        /// `scanner` or `gateways`.
        key: &'static str,
    },
    /// An address that no host can have there.
    #[error(
        "`{owner}` cannot have {address} in network `{network}` ({prefixes}); use an address of a host there"
    )]
    Address {
        /// Machine, or `the scanner`.
        owner: String,
        /// The address.
        address: IpAddr,
        /// The network.
        network: String,
        /// Its prefixes.
        prefixes: String,
    },
    /// Two owners of one address.
    #[error(
        "{address} in network `{network}` belongs to both `{first}` and `{second}`; change one"
    )]
    TwoOwners {
        /// The address.
        address: IpAddr,
        /// The network.
        network: String,
        /// The earlier owner.
        first: String,
        /// The later one.
        second: String,
    },
    /// A network that is not there.
    #[error(
        "`{machine}` is on network `{network}`, which is not described; add a [[network]] of that name"
    )]
    NoNetwork {
        /// Who names it.
        machine: String,
        /// The name.
        network: String,
    },
    /// No place at all.
    #[error("`{0}` has no address; give it at least one")]
    NoAddress(String),
    /// One router, one network, two interfaces.
    #[error(
        "router `{router}` is on network `{network}` twice; put all addresses into one interface"
    )]
    TwoInterfaces {
        /// The router.
        router: String,
        /// The network.
        network: String,
    },
    /// A gateway nobody is.
    #[error(
        "gateway {gateway} of network `{network}` is no router's address there; give it to a router"
    )]
    Gateway {
        /// The gateway.
        gateway: IpAddr,
        /// The network.
        network: String,
    },
    /// A next hop that is not a neighbour.
    #[error(
        "router `{router}` has a route via {via}, which is on none of its networks; use a neighbour's address"
    )]
    NextHop {
        /// The router.
        router: String,
        /// The next hop.
        via: IpAddr,
    },
    /// Two services on one port.
    #[error("`{machine}` has two services on port {service}; change one")]
    TwoServices {
        /// The machine.
        machine: String,
        /// The second of them.
        service: Service,
    },
    /// A service nobody could reach.
    #[error("`{0}` answers nothing and so cannot have services; remove them or its behaviour")]
    MuteServices(String),
    /// More machines than a lab holds.
    #[error("{0} machines are more than a lab holds; describe at most {MACHINES_MAX}")]
    TooMany(usize),
    /// Nothing on the trunk.
    #[error("no network is on the trunk; make one untagged = true or give it a vlan")]
    NoTrunk,
}

pub(super) fn check(lab: &Description) -> Result<(), TopologyError> {
    let machines = lab.host.len() + lab.router.len();
    if machines > MACHINES_MAX {
        return Err(TopologyError::TooMany(machines));
    }
    check_names(lab)?;
    check_trunk(&lab.network)?;
    lab.network.iter().try_for_each(check_network)?;
    check_interfaces(lab)?;
    check_owners(lab)?;
    check_routes(lab)?;
    check_services(lab)
}

fn check_names(lab: &Description) -> Result<(), TopologyError> {
    let networks = lab.network.iter().map(|network| &network.name);
    let hosts = lab.host.iter().map(|host| &host.name);
    let machines = hosts.chain(lab.router.iter().map(|router| &router.name));
    unique("network", networks)?;
    unique("machine", machines)
}

fn unique<'a>(
    kind: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), TopologyError> {
    let mut seen = std::collections::HashSet::new();
    for name in names {
        let fits = (1..=32).contains(&name.len());
        if !fits || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Err(TopologyError::Name(name.clone()));
        }
        if !seen.insert(name) {
            return Err(TopologyError::Twice {
                kind,
                name: name.clone(),
            });
        }
    }
    Ok(())
}

fn check_trunk(networks: &[Network]) -> Result<(), TopologyError> {
    let mut places: HashMap<String, &str> = HashMap::new();
    for network in networks {
        let place = match (network.untagged, network.vlan) {
            (true, Some(_)) => return Err(TopologyError::UntaggedVlan(network.name.clone())),
            (true, None) => "untagged".to_owned(),
            (false, Some(vlan)) => format!("VLAN {vlan}"),
            (false, None) => continue,
        };
        if let Some(first) = places.insert(place.clone(), &network.name) {
            let (first, second) = (first.to_owned(), network.name.clone());
            return Err(TopologyError::OnePlace {
                first,
                second,
                place,
            });
        }
    }
    if places.is_empty() {
        Err(TopologyError::NoTrunk)
    } else {
        Ok(())
    }
}

fn check_network(network: &Network) -> Result<(), TopologyError> {
    let families = |v4| {
        network
            .prefixes
            .iter()
            .filter(|p| p.first().is_ipv4() == v4)
            .count()
    };
    if network.prefixes.is_empty() || families(true) > 1 || families(false) > 1 {
        return Err(TopologyError::Prefixes(network.name.clone()));
    }
    for (key, addresses) in [
        ("scanner", &network.scanner),
        ("gateways", &network.gateways),
    ] {
        let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
        if v4 > 1 || addresses.len() - v4 > 1 {
            return Err(TopologyError::TwoOfFamily {
                network: network.name.clone(),
                key,
            });
        }
    }
    network
        .scanner
        .iter()
        .try_for_each(|&address| fits(network, "the scanner", address))
}

fn fits(network: &Network, owner: &str, address: IpAddr) -> Result<(), TopologyError> {
    if network
        .prefix_of(address)
        .is_some_and(|prefix| prefix.has_host(address))
    {
        return Ok(());
    }
    let prefixes: Vec<String> = network.prefixes.iter().map(Prefix::to_string).collect();
    Err(TopologyError::Address {
        owner: owner.to_owned(),
        address,
        network: network.name.clone(),
        prefixes: prefixes.join(", "),
    })
}

/// Every (machine, network, addresses), hosts first.
fn places(lab: &Description) -> impl Iterator<Item = (&str, &str, &[IpAddr])> {
    let hosts = lab
        .host
        .iter()
        .map(|h| (&*h.name, &*h.network, &h.addresses[..]));
    let routers = lab.router.iter().flat_map(|router| {
        router
            .interfaces
            .iter()
            .map(|i| (&*router.name, &*i.network, &i.addresses[..]))
    });
    hosts.chain(routers)
}

fn check_interfaces(lab: &Description) -> Result<(), TopologyError> {
    for router in &lab.router {
        if router.interfaces.is_empty() {
            return Err(TopologyError::NoAddress(router.name.clone()));
        }
    }
    let mut seen = std::collections::HashSet::new();
    for (machine, network, addresses) in places(lab) {
        if addresses.is_empty() {
            return Err(TopologyError::NoAddress(machine.to_owned()));
        }
        if !seen.insert((machine, network)) {
            let (router, network) = (machine.to_owned(), network.to_owned());
            return Err(TopologyError::TwoInterfaces { router, network });
        }
        let Some(network) = lab.network.iter().find(|n| n.name == network) else {
            let (machine, network) = (machine.to_owned(), network.to_owned());
            return Err(TopologyError::NoNetwork { machine, network });
        };
        addresses
            .iter()
            .try_for_each(|&address| fits(network, machine, address))?;
    }
    Ok(())
}

fn check_owners(lab: &Description) -> Result<(), TopologyError> {
    let mut owners: HashMap<(&str, IpAddr), &str> = HashMap::new();
    let scanners = lab
        .network
        .iter()
        .map(|n| ("the scanner", &*n.name, &n.scanner[..]));
    for (owner, network, addresses) in scanners.chain(places(lab)) {
        for &address in addresses {
            if let Some(first) = owners.insert((network, address), owner) {
                return Err(TopologyError::TwoOwners {
                    address,
                    network: network.to_owned(),
                    first: first.to_owned(),
                    second: owner.to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn check_routes(lab: &Description) -> Result<(), TopologyError> {
    for network in &lab.network {
        for &gateway in &network.gateways {
            let is_router = lab
                .router
                .iter()
                .flat_map(|router| &router.interfaces)
                .any(|i| i.network == network.name && i.addresses.contains(&gateway));
            if !is_router {
                let network = network.name.clone();
                return Err(TopologyError::Gateway { gateway, network });
            }
        }
    }
    for router in &lab.router {
        let networks = || {
            let names = router.interfaces.iter().map(|i| &i.network);
            names.filter_map(|name| lab.network.iter().find(|n| n.name == *name))
        };
        for route in &router.routes {
            let same_family = route.to.first().is_ipv4() == route.via.is_ipv4();
            if !same_family || !networks().any(|n| n.prefix_of(route.via).is_some()) {
                return Err(TopologyError::NextHop {
                    router: router.name.clone(),
                    via: route.via,
                });
            }
        }
    }
    Ok(())
}

fn check_services(lab: &Description) -> Result<(), TopologyError> {
    for host in &lab.host {
        if host.behaviour != Behaviour::Normal && !host.services.is_empty() {
            return Err(TopologyError::MuteServices(host.name.clone()));
        }
    }
    let hosts = lab.host.iter().map(|host| (&host.name, &host.services));
    let routers = lab
        .router
        .iter()
        .map(|router| (&router.name, &router.services));
    for (machine, services) in hosts.chain(routers) {
        let mut seen = std::collections::HashSet::new();
        for &service in services {
            if !seen.insert((service.kind.proto(), service.port)) {
                return Err(TopologyError::TwoServices {
                    machine: machine.clone(),
                    service,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Topology;
    use super::*;

    const GOOD: &str = r#"
        [[network]]
        name = "a"
        vlan = 7
        prefixes = ["10.0.0.0/24", "2001:db8::/64"]
        scanner = ["10.0.0.2"]
        gateways = ["10.0.0.1"]
        [[network]]
        name = "b"
        prefixes = ["10.9.0.0/24"]
        [[host]]
        name = "h"
        network = "a"
        addresses = ["10.0.0.9"]
        services = ["http:80"]
        [[router]]
        name = "r"
        interfaces = [{ network = "a", addresses = ["10.0.0.1"] }, { network = "b", addresses = ["10.9.0.1"] }]
        routes = [{ to = "10.10.0.0/16", via = "10.9.0.7" }]
    "#;

    /// The error of the good file with one passage changed.
    fn refused(from: &str, to: &str) -> TopologyError {
        assert!(GOOD.contains(from), "{from}");
        Topology::parse(&GOOD.replacen(from, to, 1)).unwrap_err()
    }

    #[test]
    fn the_good_file_is_taken() {
        Topology::parse(GOOD).unwrap();
    }

    #[test]
    fn every_rule_refuses_what_breaks_it() {
        use TopologyError as E;
        let address = r#"addresses = ["10.0.0.9"]"#;
        assert!(matches!(refused("vlan = 7", "vlan = 4095"), E::Syntax(_)));
        assert!(matches!(
            refused("vlan = 7", "vlan = 7\ncolour = 1"),
            E::Syntax(_)
        ));
        assert!(matches!(refused("http:80", "gopher:70"), E::Syntax(_)));
        assert!(matches!(
            refused("10.9.0.0/24", "10.9.0.1/24"),
            E::Syntax(_)
        ));
        assert!(matches!(refused("name = \"h\"", "name = \"h h\""), E::Name(n) if n == "h h"));
        assert!(matches!(
            refused("name = \"h\"", "name = \"r\""),
            E::Twice {
                kind: "machine",
                ..
            }
        ));
        assert!(matches!(
            refused("name = \"b\"", "name = \"a\""),
            E::Twice {
                kind: "network",
                ..
            }
        ));
        assert!(matches!(
            refused("vlan = 7", "vlan = 7\nuntagged = true"),
            E::UntaggedVlan(_)
        ));
        assert!(matches!(
            refused("name = \"b\"", "name = \"b\"\nvlan = 7"),
            E::OnePlace { .. }
        ));
        assert!(matches!(
            refused("2001:db8::/64", "10.3.0.0/24"),
            E::Prefixes(_)
        ));
        assert!(matches!(
            refused("[\"10.0.0.2\"]", "[\"10.0.0.2\", \"10.0.0.3\"]"),
            E::TwoOfFamily { key: "scanner", .. }
        ));
        assert!(matches!(
            refused("[\"10.0.0.2\"]", "[\"10.0.0.0\"]"),
            E::Address { .. }
        ));
        assert!(matches!(
            refused(address, "addresses = [\"10.0.0.255\"]"),
            E::Address { .. }
        ));
        assert!(matches!(
            refused(address, "addresses = [\"10.0.0.2\"]"),
            E::TwoOwners { .. }
        ));
        assert!(matches!(
            refused(address, "addresses = [\"10.0.0.1\"]"),
            E::TwoOwners { .. }
        ));
        assert!(matches!(
            refused("network = \"a\"", "network = \"c\""),
            E::NoNetwork { .. }
        ));
        assert!(matches!(refused(address, "addresses = []"), E::NoAddress(n) if n == "h"));
        assert!(matches!(
            refused(
                "{ network = \"b\", addresses = [\"10.9.0.1\"] }",
                "{ network = \"a\", addresses = [\"10.0.0.5\"] }"
            ),
            E::TwoInterfaces { .. }
        ));
        assert!(matches!(
            refused("[\"10.0.0.1\"]", "[\"10.0.0.3\"]"),
            E::Gateway { .. }
        ));
        assert!(matches!(refused("10.9.0.7", "10.8.0.7"), E::NextHop { .. }));
        assert!(matches!(
            refused("\"http:80\"", "\"http:80\", \"ssh:80\""),
            E::TwoServices { .. }
        ));
        assert!(matches!(
            refused(
                address,
                "addresses = [\"10.0.0.9\"]\nbehaviour = \"silent\""
            ),
            E::MuteServices(_)
        ));
        assert!(matches!(refused("vlan = 7", ""), E::NoTrunk));
    }

    #[test]
    fn a_lab_is_bounded() {
        let mut lab: Description = toml::from_str(GOOD).unwrap();
        lab.host = vec![lab.host[0].clone(); MACHINES_MAX];
        assert!(matches!(check(&lab), Err(TopologyError::TooMany(n)) if n == MACHINES_MAX + 1));
    }
}
