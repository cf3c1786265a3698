//! The trunk, checked: every address parsed, every gateway and route where it can be reached.

use std::net::IpAddr;

use sonde_wire::VlanId;

use super::family::Family;
use super::table::{Piece, find};
use super::ways::{Via, Way, Ways};
use super::{NetworkConfig, TrunkConfig, VlanConfig};
use crate::interval::{Address, Interval};
use crate::plan::Lan;
use crate::target::parse_address_with_prefix;

/// All networks we have a place in, and the ways out of them.
#[derive(Clone, Debug)]
pub struct Trunk {
    /// Sorted by VLAN, untagged first.
    networks: Vec<Network>,
    pub(super) v4: Ways<u32>,
    pub(super) v6: Ways<u128>,
}

/// One VLAN, or the untagged LAN, with our place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The VLAN; `None` is untagged.
    pub vlan: Option<VlanId>,
    /// For people.
    pub name: Option<String>,
    /// Our IPv4 place.
    pub v4: Option<Place<u32>>,
    /// Our IPv6 place.
    pub v6: Option<Place<u128>>,
}

/// Our place in one network, one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<P> {
    /// Our address.
    pub address: P,
    /// Length of the network's prefix.
    pub prefix: u8,
    /// The gateway.
    pub gateway: Option<P>,
    /// True when the kernel itself owns the address: see [`Lan::kernel_owned`].
    pub kernel_owned: bool,
}

impl<P: Address> Place<P> {
    /// The addresses of the network's prefix.
    pub fn on_link(&self) -> Interval<P> {
        self.address.prefix(self.prefix)
    }
}

/// What the longest prefix says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is reached in this VLAN through this next hop; the host itself when it is on link.
    Found {
        /// The VLAN; `None` is untagged.
        vlan: Option<VlanId>,
        /// Who frames go to.
        next_hop: IpAddr,
    },
    /// Two VLANs have the same claim to it.
    Ambiguous([Option<VlanId>; 2]),
    /// No network, route or gateway leads to it.
    Unreachable,
}

/// Why a trunk can not be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its variant means")]
pub enum TrunkError {
    #[error("VLAN {0} is written twice; make one [[vlan]] of the two")]
    VlanTwice(VlanId),
    #[error("{network} has no address of ours; write ipv4 or ipv6, or leave it out")]
    NoAddress { network: String },
    #[error(
        "{network}: `{written}` is no {family} address with prefix length that a host can have; write {key} = \"{example}\""
    )]
    Address {
        network: String,
        key: &'static str,
        written: String,
        family: &'static str,
        example: &'static str,
    },
    #[error(
        "{network}: ipv6 = \"auto\" is not understood by this version; write our address there, as ipv6 = \"2001:db8:100::2/64\""
    )]
    Auto { network: String },
    #[error("{network}: {key} {gateway} is no {family} address; write one of {on_link}")]
    GatewayFamily {
        network: String,
        key: &'static str,
        gateway: IpAddr,
        family: &'static str,
        on_link: String,
    },
    #[error(
        "{network}: {key} {gateway} is not on its network {on_link}; correct the one or the other"
    )]
    GatewayOffLink {
        network: String,
        key: &'static str,
        gateway: IpAddr,
        on_link: String,
    },
    #[error("{network}: {key} {gateway} is our own address there; write the router's")]
    GatewayIsOurs {
        network: String,
        key: &'static str,
        gateway: IpAddr,
    },
    #[error(
        "{network}: {key} {gateway} can't be used without an address of ours; write {address} as well"
    )]
    GatewayAlone {
        network: String,
        key: &'static str,
        gateway: IpAddr,
        address: &'static str,
    },
    #[error("route {to} via {via}: `{to}` is no prefix; write it as 10.200.0.0/16")]
    RouteTo { to: String, via: IpAddr },
    #[error("route {to} via {via}: one is IPv4, the other IPv6; write both of one family")]
    RouteFamily { to: String, via: IpAddr },
    #[error(
        "route {to} via {via}: no network above holds {via}; correct via, or add the network it is on"
    )]
    RouteNowhere { to: String, via: IpAddr },
    #[error(
        "route {to} via {via}: both {first} and {second} hold {via}; give that router to one of them as gateway, or scan them one at a time"
    )]
    RouteAmbiguous {
        to: String,
        via: IpAddr,
        first: String,
        second: String,
    },
    #[error("route {to} via {via}: {via} is our own address; write the router's")]
    RouteIsOurs { to: String, via: IpAddr },
    #[error("route {to} is written twice for {network}; leave one out")]
    RouteTwice { to: String, network: String },
}

impl Trunk {
    /// Checks what was written; `lan` is the untagged LAN as the interface has it, used for what
    /// the configuration does not say of it.
    ///
    /// # Errors
    ///
    /// The first thing that can't be, by VLAN and key or by route.
    pub fn new(config: &TrunkConfig, lan: &Lan) -> Result<Self, TrunkError> {
        let mut networks = Vec::with_capacity(config.vlan.len() + 1);
        let untagged = config.lan.clone().unwrap_or_default();
        let network = network(None, None, &untagged, lan)?;
        if network.v4.is_some() || network.v6.is_some() {
            networks.push(network);
        } else if config.lan.is_some() {
            return Err(TrunkError::NoAddress {
                network: name(None),
            });
        }
        for vlan in &config.vlan {
            networks.push(tagged(vlan)?);
        }
        networks.sort_by_key(|network| network.vlan);
        for pair in networks.windows(2) {
            if let (Some(first), Some(second)) = (pair[0].vlan, pair[1].vlan)
                && first == second
            {
                return Err(TrunkError::VlanTwice(first));
            }
        }
        let v4 = Ways::new(&networks, &config.route)?;
        let v6 = Ways::new(&networks, &config.route)?;
        Ok(Self { networks, v4, v6 })
    }

    /// Every network we have an address in, sorted by VLAN, untagged first.
    pub fn networks(&self) -> &[Network] {
        &self.networks
    }

    /// The network of a VLAN.
    pub fn network(&self, vlan: Option<VlanId>) -> Option<&Network> {
        self.index(vlan).map(|at| &self.networks[at as usize])
    }

    /// Where an address goes whose VLAN nobody named: the longest prefix over networks, static
    /// routes and gateways.
    pub fn lookup(&self, ip: IpAddr) -> Lookup {
        match ip {
            IpAddr::V4(ip) => self.lookup_in(ip.to_bits()),
            IpAddr::V6(ip) => self.lookup_in(ip.to_bits()),
        }
    }

    pub(crate) fn index(&self, vlan: Option<VlanId>) -> Option<u32> {
        self.networks
            .binary_search_by_key(&vlan, |n| n.vlan)
            .ok()
            .map(|at| at as u32)
    }

    /// Where the addresses of one family go whose VLAN nobody named.
    pub(crate) fn table<P: Family>(&self) -> &[Piece<P, Way<P>>] {
        P::ways(self).table()
    }

    /// Where addresses go within one network; empty when we have no address of the family there.
    pub(crate) fn table_of<P: Family>(&self, network: u32) -> Vec<Piece<P, Way<P>>> {
        P::ways(self).table_of(&self.networks[network as usize], network)
    }

    fn lookup_in<P: Family>(&self, address: P) -> Lookup {
        let vlan = |way: Way<P>| self.networks[way.network as usize].vlan;
        match find(self.table::<P>(), address) {
            None => Lookup::Unreachable,
            Some(Piece {
                value,
                rival: Some(rival),
                ..
            }) => Lookup::Ambiguous([vlan(*value), vlan(*rival)]),
            Some(Piece {
                value, rival: None, ..
            }) => Lookup::Found {
                vlan: vlan(*value),
                next_hop: match value.via {
                    Via::OnLink => address.ip(),
                    Via::Gateway(gateway) => gateway.ip(),
                },
            },
        }
    }
}

/// `VLAN 100`, or `the untagged LAN`.
pub(crate) fn name(vlan: Option<VlanId>) -> String {
    vlan.map_or_else(
        || "the untagged LAN".to_owned(),
        |vlan| format!("VLAN {vlan}"),
    )
}

fn tagged(vlan: &VlanConfig) -> Result<Network, TrunkError> {
    let written = NetworkConfig {
        ipv4: vlan.ipv4.clone(),
        gateway: vlan.gateway,
        ipv6: vlan.ipv6.clone(),
        gateway6: vlan.gateway6,
    };
    let network = network(Some(vlan.id), vlan.name.clone(), &written, &Lan::default())?;
    if network.v4.is_none() && network.v6.is_none() {
        return Err(TrunkError::NoAddress {
            network: name(Some(vlan.id)),
        });
    }
    Ok(network)
}

fn network(
    vlan: Option<VlanId>,
    label: Option<String>,
    written: &NetworkConfig,
    lan: &Lan,
) -> Result<Network, TrunkError> {
    let (v4, v6) = (place(vlan, written, lan)?, place(vlan, written, lan)?);
    Ok(Network {
        vlan,
        name: label,
        v4,
        v6,
    })
}

fn place<P: Family>(
    vlan: Option<VlanId>,
    written: &NetworkConfig,
    lan: &Lan,
) -> Result<Option<Place<P>>, TrunkError> {
    let (address, gateway) = P::written(written);
    let (own, own_gateway) = P::lan(lan);
    let [address_key, key] = P::KEYS;
    let place = match address {
        Some("auto") if P::BITS == 128 => {
            return Err(TrunkError::Auto {
                network: name(vlan),
            });
        }
        Some(text) => {
            let (address, prefix) = host_with_prefix(text).ok_or_else(|| TrunkError::Address {
                network: name(vlan),
                key: address_key,
                written: text.to_owned(),
                family: P::NAME,
                example: P::EXAMPLE,
            })?;
            let kernel_owned = lan.kernel_owned && own.is_some_and(|(own, _)| own == address);
            let place = Place {
                address,
                prefix,
                gateway: None,
                kernel_owned,
            };
            // The interface's gateway still holds when the address written is on its network.
            let gateway = own_gateway.filter(|g| reaches(&place, *g) && *g != address);
            Some(Place { gateway, ..place })
        }
        None => own.map(|(address, prefix)| Place {
            address,
            prefix,
            gateway: own_gateway.filter(|gateway| *gateway != address),
            kernel_owned: lan.kernel_owned,
        }),
    };
    match (place, gateway) {
        (Some(place), Some(gateway)) => {
            let gateway = check_gateway(vlan, &place, gateway)?;
            Ok(Some(Place {
                gateway: Some(gateway),
                ..place
            }))
        }
        (None, Some(gateway)) => Err(TrunkError::GatewayAlone {
            network: name(vlan),
            key,
            gateway,
            address: address_key,
        }),
        (place, None) => Ok(place),
    }
}

fn check_gateway<P: Family>(
    vlan: Option<VlanId>,
    place: &Place<P>,
    gateway: IpAddr,
) -> Result<P, TrunkError> {
    let (network, key) = (name(vlan), P::KEYS[1]);
    let on_link = format!("{}/{}", place.on_link().first.ip(), place.prefix);
    let Some(address) = P::from_ip(gateway) else {
        return Err(TrunkError::GatewayFamily {
            network,
            key,
            gateway,
            family: P::NAME,
            on_link,
        });
    };
    if address == place.address {
        return Err(TrunkError::GatewayIsOurs {
            network,
            key,
            gateway,
        });
    }
    if !reaches(place, address) || address.never_a_host() {
        return Err(TrunkError::GatewayOffLink {
            network,
            key,
            gateway,
            on_link,
        });
    }
    Ok(address)
}

/// True for what is on link: of the network's prefix, or link-local.
fn reaches<P: Family>(place: &Place<P>, address: P) -> bool {
    let link_local = P::LINK_LOCAL.map(|(base, len)| base.prefix(len));
    place.on_link().contains(address) || link_local.is_some_and(|l| l.contains(address))
}

/// An address that a host on its network can have: not the network's own, not its broadcast.
fn host_with_prefix<P: Family>(text: &str) -> Option<(P, u8)> {
    let (ip, prefix) = parse_address_with_prefix(text)?;
    let address = P::from_ip(ip).filter(|address| !address.never_a_host())?;
    let ends = address.prefix(prefix);
    let reserved = P::BITS == 32 && prefix <= 30 && (address == ends.first || address == ends.last);
    (prefix > 0 && !reserved).then_some((address, prefix))
}
