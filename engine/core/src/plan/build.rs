//! From a request to a plan: parse, route, take out, count.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use sonde_wire::{MacAddr, VlanId};

use super::guard::Guard;
use super::{Environment, Hop, PlanError, Route, SEGMENTS_MAX, Segment, Source, UnitKind};
use super::{checks, discovery, lan};
use crate::exclusion::{Names, Scope};
use crate::interval::{Address, Interval, IntervalSet};
use crate::policy::Policy;
use crate::ports::Ports;
use crate::request::ScanRequest;
use crate::target::{Hosts, Target, octet_intervals};
use crate::trunk::{Family, Network, Piece, Place, Trunk, Via, Way};

/// The parts of a plan that come of the request; [`super::Plan::new`] counts and orders them.
pub(super) struct Built {
    pub(super) request: ScanRequest,
    pub(super) guard: Guard,
    pub(super) ports: Ports,
    pub(super) discovery: Vec<super::DiscoveryProbe>,
    pub(super) routes: Vec<Route>,
    pub(super) segments: Vec<Segment>,
    pub(super) sources: Vec<Source>,
    /// Units of all segments together; [`Segment::first_unit`] is right when this fits 64 bits.
    pub(super) units: u128,
}

/// Checks the request and works out segments, routes and sources.
pub(super) fn build(
    request: &ScanRequest,
    env: &Environment,
    policy: &Policy,
) -> Result<Built, PlanError> {
    let request = checks::effective(request, policy)?;
    let names = Names::Resolved(&env.names);
    let targets =
        Scope::parse(&request.targets, names).map_err(|error| PlanError::Target { error })?;
    checks::refuse_targets_without_hosts(&request, targets.holds_any_whole())?;
    let guard = Guard {
        exclude: Scope::parse(&request.exclude, names)
            .map_err(|error| PlanError::Exclude { error })?,
        never_scan: checks::policy_scope("never_scan", &policy.never_scan)?,
        loopback: env.kernel_routes,
    };
    let allowed = checks::policy_scope("allowed_networks", &policy.allowed_networks)?;
    let (ports, never) = checks::ports(&request)?;
    let discovery = discovery::parse(&request.discovery, env.kernel_routes, &never)?;
    let trunk = lan::trunk(&request, env)?;

    let mut builder = Builder {
        kind: if discovery.is_some() {
            UnitKind::Host
        } else {
            UnitKind::HostPort
        },
        discovery: discovery.unwrap_or_default(),
        request: &request,
        env,
        policy,
        targets: &targets,
        guard: &guard,
        allowed: &allowed,
        trunk: &trunk,
        ports: ports.len(),
        routes: Vec::new(),
        segments: Vec::new(),
        units: 0,
    };
    builder.check_vlans()?;
    builder.networks()?;
    let Builder {
        discovery,
        routes,
        segments,
        units,
        ..
    } = builder;
    if segments.is_empty() {
        let by = match (guard.exclude.is_empty(), guard.never_scan.is_empty()) {
            (false, true) => "the exclusions and our own addresses",
            (true, false) => "the local policy's never_scan and our own addresses",
            (false, false) => "the exclusions, the local policy's never_scan and our own addresses",
            (true, true) => "our own, broadcast, multicast and loopback addresses",
        };
        return Err(PlanError::NothingLeft { by });
    }
    let sources = sources(&trunk, &guard, request.source_mac.unwrap_or(env.mac));
    Ok(Built {
        request,
        guard,
        ports,
        discovery,
        routes,
        segments,
        sources,
        units,
    })
}

/// Our own addresses, but for VLANs that get no frame at all.
fn sources(trunk: &Trunk, guard: &Guard, mac: MacAddr) -> Vec<Source> {
    let usable = trunk
        .networks()
        .iter()
        .filter(|n| !guard.forbids_whole(n.vlan));
    usable
        .flat_map(|network| {
            let vlan = network.vlan;
            let v4 = network
                .v4
                .map(|place| (place.address.ip(), place.kernel_owned));
            let v6 = network
                .v6
                .map(|place| (place.address.ip(), place.kernel_owned));
            [v4, v6]
                .into_iter()
                .flatten()
                .map(move |(ip, kernel_owned)| Source {
                    vlan,
                    ip,
                    mac,
                    kernel_owned,
                })
        })
        .collect()
}

/// Addresses that named no VLAN, by network, one family.
type Assigned<P> = HashMap<u32, Vec<Interval<P>>>;

struct Builder<'a> {
    request: &'a ScanRequest,
    env: &'a Environment,
    policy: &'a Policy,
    targets: &'a Scope,
    guard: &'a Guard,
    allowed: &'a Scope,
    trunk: &'a Trunk,
    discovery: Vec<super::DiscoveryProbe>,
    /// Of segments that are not on link.
    kind: UnitKind,
    ports: u32,
    routes: Vec<Route>,
    segments: Vec<Segment>,
    units: u128,
}

impl Builder<'_> {
    /// Every VLAN a target names is one we can send into.
    fn check_vlans(&self) -> Result<(), PlanError> {
        for (vlans, addresses) in self.targets.groups() {
            let lowest = |vlan| {
                let (v4, v6) = (
                    addresses.v4.intervals().first(),
                    addresses.v6.intervals().first(),
                );
                let ip = v4.map(|i| i.first.ip()).or(v6.map(|i| i.first.ip()));
                self.blame(
                    Some(vlan),
                    ip.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into()),
                )
            };
            for vlan in vlans.iter().filter(|vlan| !self.guard.forbids_whole(*vlan)) {
                match vlan {
                    Some(_) if self.env.kernel_routes => {
                        return Err(PlanError::VlanOverConnect {
                            target: lowest(vlan),
                            vlan,
                        });
                    }
                    _ if self.env.kernel_routes || self.trunk.index(vlan).is_some() => {}
                    Some(id) => {
                        return Err(PlanError::VlanUnknown {
                            target: lowest(vlan),
                            vlan: id,
                        });
                    }
                    None => {
                        return Err(PlanError::LanUnknown {
                            target: lowest(vlan),
                        });
                    }
                }
            }
        }
        Ok(())
    }

    fn networks(&mut self) -> Result<(), PlanError> {
        if self.env.kernel_routes {
            self.kernel::<u32>()?;
            return self.kernel::<u128>();
        }
        let mut v4 = self.assign::<u32>()?;
        let mut v6 = self.assign::<u128>()?;
        for at in 0..self.trunk.networks().len() as u32 {
            self.network(at, v4.remove(&at).unwrap_or_default())?;
            self.network(at, v6.remove(&at).unwrap_or_default())?;
        }
        Ok(())
    }

    /// One family where the kernel routes: all of it goes one way.
    fn kernel<P: Family>(&mut self) -> Result<(), PlanError> {
        let set = self.targets.in_vlan::<P>(None);
        let own = self
            .trunk
            .network(None)
            .map_or_else(IntervalSet::default, |n| self.reserved(n));
        let everywhere = Interval {
            first: P::ZERO,
            last: P::MAX,
        };
        let table = [Piece {
            interval: everywhere,
            value: Hop::Kernel,
            rival: None,
        }];
        self.segments_of(None, &set.subtract(&own), &table, None)
    }

    /// Gives each address whose VLAN nobody named to the network its longest prefix names.
    fn assign<P: Family>(&self) -> Result<Assigned<P>, PlanError> {
        let set = self.guard.allowed_somewhere(P::of(self.targets.anywhere()));
        let mut assigned = Assigned::new();
        let unreachable = |address: P| {
            let ip = address.ip();
            PlanError::Unreachable {
                target: self.blame(None, ip),
                ip,
            }
        };
        let vlan = |way: &Way<P>| self.trunk.networks()[way.network as usize].vlan;
        walk(
            &set,
            self.trunk.table::<P>(),
            |interval, piece| match piece {
                None => Err(unreachable(interval.first)),
                Some(Piece {
                    value,
                    rival: Some(rival),
                    ..
                }) => {
                    let ip = interval.first.ip();
                    let (first, second) = (vlan(value), vlan(rival));
                    Err(PlanError::Ambiguous {
                        target: self.blame(None, ip),
                        ip,
                        first,
                        second,
                    })
                }
                Some(piece) => {
                    assigned
                        .entry(piece.value.network)
                        .or_default()
                        .push(interval);
                    Ok(())
                }
            },
        )?;
        Ok(assigned)
    }

    /// One network, one family: what of it is asked, and by which ways.
    fn network<P: Family>(&mut self, at: u32, assigned: Vec<Interval<P>>) -> Result<(), PlanError> {
        let network = &self.trunk.networks()[at as usize];
        let mut set = self.targets.named::<P>(network.vlan);
        if !assigned.is_empty() {
            set = Cow::Owned(set.union(&IntervalSet::new(assigned)));
        }
        if set.is_empty() {
            return Ok(());
        }
        let ways = self.trunk.table_of::<P>(at).into_iter();
        let table: Vec<_> = ways
            .map(
                |Piece {
                     interval, value, ..
                 }| Piece {
                    interval,
                    value: hop(value),
                    rival: None,
                },
            )
            .collect();
        let left = set.subtract(&self.reserved(network));
        self.segments_of(network.vlan, &left, &table, P::place(network))
    }

    /// Turns addresses of one VLAN and family into segments. `place` is ours there, unless the
    /// kernel routes.
    fn segments_of<P: Family>(
        &mut self,
        vlan: Option<VlanId>,
        set: &IntervalSet<P>,
        table: &[Piece<P, Hop>],
        place: Option<&Place<P>>,
    ) -> Result<(), PlanError> {
        let left = self.guard.allowed(vlan, set);
        self.check_allowed(vlan, &left)?;
        let mut known: HashMap<Hop, u32> = HashMap::new();
        walk(&left, table, |interval, piece| {
            let ip = interval.first.ip();
            let Some(piece) = piece else {
                let target = self.blame(Some(vlan), ip);
                return Err(match table.is_empty() {
                    true => PlanError::NoFamily { target, vlan, ip },
                    false => PlanError::OffLink { target, vlan, ip },
                });
            };
            let route = match known.get(&piece.value) {
                Some(route) => *route,
                None => {
                    let route = self.add_route(vlan, piece.value, place, ip)?;
                    known.insert(piece.value, route);
                    route
                }
            };
            self.add_segment(route, interval)
        })
    }

    fn check_allowed<P: Family>(
        &self,
        vlan: Option<VlanId>,
        set: &IntervalSet<P>,
    ) -> Result<(), PlanError> {
        if self.policy.allowed_networks.is_empty() || self.allowed.holds_whole(vlan) {
            return Ok(());
        }
        let outside = set.subtract(&self.allowed.in_vlan(vlan));
        outside.intervals().first().map_or(Ok(()), |interval| {
            let ip = interval.first.ip();
            Err(PlanError::NotAllowed {
                target: self.blame(Some(vlan), ip),
                vlan,
                ip,
                allowed: self.policy.allowed_networks.join(", "),
            })
        })
    }

    fn add_route<P: Family>(
        &mut self,
        vlan: Option<VlanId>,
        hop: Hop,
        place: Option<&Place<P>>,
        ip: IpAddr,
    ) -> Result<u32, PlanError> {
        let mut hop_mac = None;
        if let Hop::Gateway(gateway) = hop {
            if self.guard.forbids(vlan, gateway) {
                return Err(PlanError::GatewayExcluded { gateway, vlan, ip });
            }
            let the_lans = match self.request.gateway {
                Some(given) => given == gateway,
                None => place.and_then(|place| place.gateway).map(P::ip) == Some(gateway),
            };
            hop_mac = self
                .request
                .gateway_mac
                .filter(|_| vlan.is_none() && the_lans);
        }
        if hop != Hop::OnLink && self.kind == UnitKind::Host && self.discovery.is_empty() {
            let hop = match hop {
                Hop::Gateway(gateway) => format!("gateway {gateway}"),
                Hop::Kernel | Hop::OnLink => "the kernel's routes".to_owned(),
            };
            let text = self.request.discovery.clone();
            return Err(PlanError::DiscoveryEmpty { text, hop, ip });
        }
        self.routes.push(Route {
            vlan,
            source: place.map_or(P::ZERO, |place| place.address).ip(),
            source_mac: self.request.source_mac.unwrap_or(self.env.mac),
            hop,
            hop_mac,
            kernel_owned: place.is_none_or(|place| place.kernel_owned),
        });
        Ok(self.routes.len() as u32 - 1)
    }

    fn add_segment<P: Family>(
        &mut self,
        route: u32,
        interval: Interval<P>,
    ) -> Result<(), PlanError> {
        let kind = match self.routes[route as usize].hop {
            Hop::OnLink => UnitKind::Host,
            Hop::Gateway(_) | Hop::Kernel => self.kind,
        };
        let each = if kind == UnitKind::HostPort {
            u128::from(self.ports)
        } else {
            1
        };
        let first_unit = self.units as u64;
        self.units = self
            .units
            .saturating_add(interval.count().saturating_mul(each));
        if self.segments.len() == SEGMENTS_MAX {
            return Err(PlanError::TooManySegments);
        }
        // Counts beyond 64 bits are refused once all are known, to name the whole count.
        let hosts = u64::try_from(interval.count()).unwrap_or(u64::MAX);
        self.segments.push(Segment {
            route,
            first: interval.first.ip(),
            hosts,
            first_unit,
            kind,
        });
        Ok(())
    }

    /// What is never probed in a network because it is ours or nobody's: our own addresses, and of
    /// IPv4 networks the first and last address (RFC 919; not of /31 and /32: RFC 3021).
    fn reserved<P: Family>(&self, network: &Network) -> IntervalSet<P> {
        let place = P::place(network).map(|place| (place.address, place.prefix));
        let interface = if network.vlan.is_none() {
            P::lan(&self.env.lan).0
        } else {
            None
        };
        let mut reserved = Vec::with_capacity(6);
        for (address, prefix) in place.into_iter().chain(interface) {
            reserved.push(Interval::one(address));
            if P::BITS == 32 && prefix <= 30 {
                let on_link = address.prefix(prefix);
                reserved.push(Interval::one(on_link.first));
                reserved.push(Interval::one(on_link.last));
            }
        }
        IntervalSet::new(reserved)
    }

    /// The target as written that asks for `ip`: in a VLAN it names, or, for `None`, without one. A
    /// VLAN's address may also be there by longest prefix, so a target without VLANs is second
    /// choice.
    fn blame(&self, vlan: Option<Option<VlanId>>, ip: IpAddr) -> String {
        let holding = |named: bool| {
            self.request.targets.iter().find(|text| {
                text.parse::<Target>().is_ok_and(|target| {
                    let in_vlans = match (&target.vlans, vlan) {
                        (Some(vlans), Some(vlan)) => named && vlans.contains(vlan),
                        (vlans, _) => !named && vlans.is_none(),
                    };
                    in_vlans && self.holds(&target.hosts, ip)
                })
            })
        };
        let text = holding(true).or_else(|| holding(false));
        text.map_or_else(|| ip.to_string(), |text| text.trim().to_owned())
    }

    fn holds(&self, hosts: &Hosts, ip: IpAddr) -> bool {
        match (hosts, ip) {
            (Hosts::V4(interval), IpAddr::V4(ip)) => interval.contains(ip.to_bits()),
            (Hosts::V6(interval), IpAddr::V6(ip)) => interval.contains(ip.to_bits()),
            (Hosts::Octets(octets), IpAddr::V4(ip)) => {
                octet_intervals(*octets).any(|interval| interval.contains(ip.to_bits()))
            }
            (Hosts::Name(name), ip) => self.env.names.get(name).is_some_and(|n| n.contains(&ip)),
            _ => false,
        }
    }
}

fn hop<P: Family>(way: Way<P>) -> Hop {
    match way.via {
        Via::OnLink => Hop::OnLink,
        Via::Gateway(gateway) => Hop::Gateway(gateway.ip()),
    }
}

/// Visits `set` cut at the borders of `pieces`, ascending, each part with the piece that holds it.
/// Pieces far from `set` cost nothing.
fn walk<P: Family, V, E>(
    set: &IntervalSet<P>,
    pieces: &[Piece<P, V>],
    mut visit: impl FnMut(Interval<P>, Option<&Piece<P, V>>) -> Result<(), E>,
) -> Result<(), E> {
    let mut rest = pieces;
    for interval in set.intervals() {
        if rest
            .first()
            .is_some_and(|piece| piece.interval.last < interval.first)
        {
            rest = &rest[rest.partition_point(|piece| piece.interval.last < interval.first)..];
        }
        let mut cursor = Some(interval.first);
        for piece in rest
            .iter()
            .take_while(|piece| piece.interval.first <= interval.last)
        {
            let Some(first) = cursor else { break };
            if let Some(last) = piece.interval.first.prev().filter(|last| first <= *last) {
                visit(Interval { first, last }, None)?;
            }
            if let Some(part) = interval.intersection(&piece.interval) {
                visit(part, Some(piece))?;
            }
            cursor = piece.interval.last.next();
        }
        if let Some(first) = cursor.filter(|first| *first <= interval.last) {
            visit(
                Interval {
                    first,
                    last: interval.last,
                },
                None,
            )?;
        }
    }
    Ok(())
}
