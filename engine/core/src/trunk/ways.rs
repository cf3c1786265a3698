//! The ways out of a trunk, one family: what is on link, static routes, gateways.

use super::RouteConfig;
use super::checked::{Network, TrunkError, name};
use super::family::Family;
use super::table::{Entry, Piece, find, flatten};
use crate::interval::{Address, Interval};
use crate::target::parse_address_with_prefix;

/// Of two claims to one prefix: being on the network beats a route to it, that beats a gateway, and
/// the untagged LAN's gateway beats those of VLANs.
const RANK_ON_LINK: u8 = 3;
const RANK_STATIC: u8 = 2;
const RANK_GATEWAY_LAN: u8 = 1;
const RANK_GATEWAY: u8 = 0;

/// How an address is reached from a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Via<P> {
    /// It is on the network.
    OnLink,
    /// Through this next hop on the network.
    Gateway(P),
}

/// How an address is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Way<P> {
    /// Index into [`super::Trunk::networks`].
    pub(crate) network: u32,
    /// How from there.
    pub(crate) via: Via<P>,
}

/// Where a prefix goes.
type StaticRoute<P> = (Interval<P>, Way<P>);

/// All ways out, one family.
#[derive(Clone, Debug)]
pub(crate) struct Ways<P> {
    /// Static routes, sorted by network.
    routes: Vec<StaticRoute<P>>,
    /// Where addresses go whose VLAN nobody named.
    table: Vec<Piece<P, Way<P>>>,
}

impl<P: Family> Ways<P> {
    /// Of checked networks, sorted by VLAN, and routes as written; those of the other family
    /// are passed over.
    pub(crate) fn new(networks: &[Network], written: &[RouteConfig]) -> Result<Self, TrunkError> {
        let mut entries = Vec::new();
        for (at, network) in networks.iter().enumerate() {
            entries.extend(own_entries(network, at as u32));
        }
        let on_link = flatten(
            entries
                .iter()
                .copied()
                .filter(|e| e.rank == RANK_ON_LINK)
                .collect(),
        );
        let mut routes = Vec::new();
        for route in written {
            routes.extend(static_route(route, networks, &on_link)?);
        }
        routes.sort_by_key(|(to, way)| (way.network, *to));
        for pair in routes.windows(2) {
            if (pair[0].0, pair[0].1.network) == (pair[1].0, pair[1].1.network) {
                return Err(TrunkError::RouteTwice {
                    to: shown(pair[0].0),
                    network: name(networks[pair[0].1.network as usize].vlan),
                });
            }
        }
        entries.extend(routes.iter().map(static_entry));
        Ok(Self {
            routes,
            table: flatten(entries),
        })
    }

    /// Where addresses go whose VLAN nobody named.
    pub(crate) fn table(&self) -> &[Piece<P, Way<P>>] {
        &self.table
    }

    /// Where addresses go within one network, which has the index `at`.
    pub(crate) fn table_of(&self, network: &Network, at: u32) -> Vec<Piece<P, Way<P>>> {
        let from = self.routes.partition_point(|(_, way)| way.network < at);
        let to = self.routes.partition_point(|(_, way)| way.network <= at);
        let mut entries = own_entries(network, at);
        entries.extend(self.routes[from..to].iter().map(static_entry));
        flatten(entries)
    }
}

/// A route of this family, or `None` when it is of the other.
fn static_route<P: Family>(
    route: &RouteConfig,
    networks: &[Network],
    on_link: &[Piece<P, Way<P>>],
) -> Result<Option<StaticRoute<P>>, TrunkError> {
    let (to, via) = (route.to.clone(), route.via);
    let Some((base, prefix)) = parse_address_with_prefix(&to) else {
        return Err(TrunkError::RouteTo { to, via });
    };
    if base.is_ipv4() != via.is_ipv4() {
        return Err(TrunkError::RouteFamily { to, via });
    }
    let (Some(base), Some(gateway)) = (P::from_ip(base), P::from_ip(via)) else {
        return Ok(None);
    };
    let network = match find(on_link, gateway) {
        _ if gateway.never_a_host() => return Err(TrunkError::RouteNowhere { to, via }),
        None => return Err(TrunkError::RouteNowhere { to, via }),
        Some(Piece {
            value,
            rival: Some(rival),
            ..
        }) => {
            let name_of = |way: &Way<P>| name(networks[way.network as usize].vlan);
            let (first, second) = (name_of(value), name_of(rival));
            return Err(TrunkError::RouteAmbiguous {
                to,
                via,
                first,
                second,
            });
        }
        Some(piece) => piece.value.network,
    };
    if P::place(&networks[network as usize]).is_some_and(|place| place.address == gateway) {
        return Err(TrunkError::RouteIsOurs { to, via });
    }
    Ok(Some((
        base.prefix(prefix),
        Way {
            network,
            via: Via::Gateway(gateway),
        },
    )))
}

/// What a network says of itself: what is on link, and its gateway for all else.
fn own_entries<P: Family>(network: &Network, at: u32) -> Vec<Entry<P, Way<P>>> {
    let Some(place) = P::place(network) else {
        return Vec::new();
    };
    let entry = |interval, rank, via| Entry {
        interval,
        rank,
        value: Way { network: at, via },
    };
    let mut entries = vec![entry(place.on_link(), RANK_ON_LINK, Via::OnLink)];
    if let Some((base, len)) = P::LINK_LOCAL {
        entries.push(entry(base.prefix(len), RANK_ON_LINK, Via::OnLink));
    }
    if let Some(gateway) = place.gateway {
        let rank = if network.vlan.is_none() {
            RANK_GATEWAY_LAN
        } else {
            RANK_GATEWAY
        };
        entries.push(entry(gateway.prefix(0), rank, Via::Gateway(gateway)));
    }
    entries
}

fn static_entry<P: Family>((to, way): &StaticRoute<P>) -> Entry<P, Way<P>> {
    Entry {
        interval: *to,
        rank: RANK_STATIC,
        value: *way,
    }
}

/// A prefix's interval as `first/length`.
fn shown<P: Address>(prefix: Interval<P>) -> String {
    let len = (0..=P::BITS)
        .find(|len| prefix.first.prefix(*len) == prefix)
        .unwrap_or(P::BITS);
    format!("{}/{len}", prefix.first.ip())
}
