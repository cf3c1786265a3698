//! What runs: a [`Plan`] is a request checked against itself, the trunk and the local policy.
//!
//! Per VLAN and family it holds sorted address intervals less the exclusions ([`Segment`]s), each
//! with one [`Route`] and a running count of *units*. A unit is what the wide lane visits: a host,
//! or a (host, port) behind a gateway when there is no discovery. Memory follows what was written,
//! never the number of addresses.

use std::collections::HashMap;
use std::hash::Hasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use siphasher::sip::SipHasher13;
use sonde_wire::{MacAddr, VlanId};

pub use error::PlanError;

use guard::Guard;

use crate::observation::Proto;
use crate::order::Order;
use crate::policy::Policy;
use crate::ports::Ports;
use crate::request::{ScanRequest, Shard};

mod build;
mod checks;
mod discovery;
mod error;
mod guard;
mod lan;
pub mod written;

/// The most segments a plan may have: what is written, times the VLANs it is written for.
const SEGMENTS_MAX: usize = 1 << 24;

/// What the driver found out about the machine: the plan never looks itself.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Source MAC address of every frame, unless the request gives one.
    pub mac: MacAddr,
    /// The untagged LAN as the interface has it.
    pub lan: Lan,
    /// Addresses of the names in targets and exclusions, as [`crate::target::names`] lists them.
    pub names: HashMap<String, Vec<IpAddr>>,
    /// True for the `connect` link: the kernel routes, loopback is allowed, every hop is
    /// [`Hop::Kernel`].
    pub kernel_routes: bool,
}

/// Our place on the untagged LAN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lan {
    /// Our IPv4 address and its prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// IPv4 gateway.
    pub gateway4: Option<Ipv4Addr>,
    /// Our IPv6 address and its prefix length.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// IPv6 gateway.
    pub gateway6: Option<Ipv6Addr>,
    /// True when the kernel itself owns the addresses: it answers ARP, NDP and echo for them and
    /// resets connections it does not know; we must not. False for addresses that only we use.
    pub kernel_owned: bool,
}

/// One way out: which VLAN, from which address, to which next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// VLAN of every frame that goes this way; `None` is untagged.
    pub vlan: Option<VlanId>,
    /// Our address there; unspecified when the kernel routes.
    pub source: IpAddr,
    /// Our MAC address.
    pub source_mac: MacAddr,
    /// Who the frames go to.
    pub hop: Hop,
    /// MAC address of the gateway when the request gives it; otherwise it is asked for.
    pub hop_mac: Option<MacAddr>,
    /// True when the kernel owns `source`: see [`Lan::kernel_owned`].
    pub kernel_owned: bool,
}

/// The next hop of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hop {
    /// The host itself.
    OnLink,
    /// A gateway on link; same family as the hosts behind it.
    Gateway(IpAddr),
    /// Whatever the kernel says.
    Kernel,
}

/// An interval of hosts in one VLAN that share a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Index into [`Plan::routes`].
    pub route: u32,
    /// Lowest address.
    pub first: IpAddr,
    /// How many addresses, counted from `first`.
    pub hosts: u64,
    /// Index of its first unit.
    pub first_unit: u64,
    /// What a unit is here.
    pub kind: UnitKind,
}

/// What one unit of a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// A host, to be discovered: by ARP or NDP on link, by [`Plan::discovery`] otherwise.
    Host,
    /// A host's port, asked at once.
    HostPort,
}

/// One unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Index into [`Plan::segments`].
    pub segment: u32,
    /// The host's address.
    pub ip: IpAddr,
    /// Index into [`Plan::ports`] for [`UnitKind::HostPort`], else `None`.
    pub port: Option<u32>,
}

/// One of the questions that find a host that is not on link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DiscoveryProbe {
    /// ICMP or ICMPv6 echo.
    Echo,
    /// TCP SYN to this port.
    Tcp(u16),
    /// UDP payload to this port.
    Udp(u16),
}

/// One of our own addresses, for whoever answers ARP, NDP and echo for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// VLAN it is in.
    pub vlan: Option<VlanId>,
    /// The address.
    pub ip: IpAddr,
    /// Its MAC address.
    pub mac: MacAddr,
    /// True when the kernel answers for it: see [`Lan::kernel_owned`].
    pub kernel_owned: bool,
}

/// A scan that can run: immutable, complete, the same for the same request and environment.
#[derive(Clone, Debug)]
pub struct Plan {
    request: ScanRequest,
    guard: Guard,
    routes: Vec<Route>,
    segments: Vec<Segment>,
    /// Per VLAN identifier (0 for untagged) and family: where its segments are in `segments`.
    spans: Vec<[Range<u32>; 2]>,
    /// Per block of `1 << hint_bits` units: the segment its first unit is in.
    hints: Vec<u32>,
    hint_bits: u32,
    sources: Vec<Source>,
    ports: Ports,
    discovery: Vec<DiscoveryProbe>,
    units: u64,
    shard: Range<u64>,
    order: Order,
    digest: u64,
    loses_nothing: bool,
}

impl Plan {
    /// Checks `request` against itself, `env` and `policy`, and makes a plan of it.
    ///
    /// # Errors
    ///
    /// One sentence that names the input and the way out, for whatever can't run.
    pub fn new(
        request: &ScanRequest,
        env: &Environment,
        policy: &Policy,
    ) -> Result<Self, PlanError> {
        let built = build::build(request, env, policy)?;
        let seed = built.request.seed.ok_or(PlanError::SeedMissing)?;
        let units = u64::try_from(built.units)
            .map_err(|_| PlanError::TooManyUnits { units: built.units })?;
        let spans = spans(&built.segments, &built.routes);
        let (hints, hint_bits) = hints(&built.segments, units);
        let mut plan = Self {
            shard: arc(units, built.request.shard),
            order: Order::new(units, seed),
            request: built.request,
            guard: built.guard,
            routes: built.routes,
            segments: built.segments,
            spans,
            hints,
            hint_bits,
            sources: built.sources,
            ports: built.ports,
            discovery: built.discovery,
            units,
            digest: 0,
            loses_nothing: request.rate_pps.is_none()
                && request.bandwidth_bps.is_none()
                && !env.kernel_routes,
        };
        plan.digest = plan.work_out_digest();
        Ok(plan)
    }

    /// The effective request: defaults and seed filled in, rate held to the policy's ceiling.
    pub fn request(&self) -> &ScanRequest {
        &self.request
    }

    /// True when it is to go as fast as loses nothing: no rate was asked for. A ceiling of the policy's is in
    /// [`Plan::request`] and holds all the same. Never where the kernel sends, and repeats what is lost.
    pub fn loses_nothing(&self) -> bool {
        self.loses_nothing
    }

    /// Digest of what decides units and order: targets after exclusion, ports, discovery, passes,
    /// seed, shard.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Units of the whole plan, all shards.
    pub fn units(&self) -> u64 {
        self.units
    }

    /// This shard's arc of order positions.
    pub fn shard(&self) -> Range<u64> {
        self.shard.clone()
    }

    /// The permutation of `0..units`.
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// The unit of this index (a value of [`Plan::order`]), which must be below [`Plan::units`].
    pub fn unit(&self, index: u64) -> Unit {
        let block = (index >> self.hint_bits) as usize;
        let from = self.hints[block] as usize;
        let to = self
            .hints
            .get(block + 1)
            .map_or(self.segments.len(), |next| *next as usize + 1);
        let segment = from + self.segments[from..to].partition_point(|s| s.first_unit <= index) - 1;
        let at = &self.segments[segment];
        let offset = index - at.first_unit;
        let (host, port) = match at.kind {
            UnitKind::Host => (offset, None),
            UnitKind::HostPort => {
                let ports = u64::from(self.ports.len());
                (offset / ports, Some((offset % ports) as u32))
            }
        };
        Unit {
            segment: segment as u32,
            ip: address_after(at.first, host),
            port,
        }
    }

    /// All ways out.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// All segments, sorted by VLAN (untagged first), family (IPv4 first) and address; no address
    /// is in two segments of one VLAN.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment that holds a host, or `None` when the host is not part of the plan.
    pub fn segment_of(&self, vlan: Option<VlanId>, ip: IpAddr) -> Option<&Segment> {
        let spans = self.spans.get(vlan.map_or(0, VlanId::id) as usize)?;
        let span = &spans[usize::from(ip.is_ipv6())];
        let segments = &self.segments[span.start as usize..span.end as usize];
        let at = segments
            .partition_point(|segment| segment.first <= ip)
            .checked_sub(1)?;
        let segment = &segments[at];
        (distance(segment.first, ip)? < segment.hosts).then_some(segment)
    }

    /// The index of a unit: the inverse of [`Plan::unit`]. `ip` must be in `segment`; `port` is an
    /// index into [`Plan::ports`], looked at when the segment's units are ports.
    pub fn unit_index(&self, segment: &Segment, ip: IpAddr, port: Option<u32>) -> u64 {
        let host = distance(segment.first, ip).unwrap_or(0);
        segment.first_unit
            + match segment.kind {
                UnitKind::Host => host,
                UnitKind::HostPort => {
                    host * u64::from(self.ports.len()) + u64::from(port.unwrap_or(0))
                }
            }
    }

    /// What is asked of each host that is up, exclusions taken out.
    pub fn ports(&self) -> &Ports {
        &self.ports
    }

    /// What finds hosts that are not on link (behind a gateway, or routed by the kernel). Not empty
    /// when some segment of [`UnitKind::Host`] is not on link.
    pub fn discovery(&self) -> &[DiscoveryProbe] {
        &self.discovery
    }

    /// Frames sent to what stays silent; at least 1.
    pub fn passes(&self) -> u32 {
        self.request.passes
    }

    /// All VLANs we have an address in, ascending, untagged first.
    pub fn vlans(&self) -> impl Iterator<Item = Option<VlanId>> {
        let mut last = None;
        self.sources.iter().filter_map(move |source| {
            (last.replace(source.vlan) != Some(source.vlan)).then_some(source.vlan)
        })
    }

    /// Our own addresses, sorted by VLAN; none in a VLAN that is excluded whole.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// True when no frame may go to this address in this VLAN: the last guard before a frame
    /// leaves, whatever made it.
    pub fn excluded(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        self.guard.forbids(vlan, ip)
    }

    /// Upper bound of probes of this shard over all passes, every host taken as up and every port as
    /// silent. Questions for the MAC addresses of gateways are not counted.
    pub fn frames_max(&self) -> u128 {
        let ports = u128::from(self.ports.len());
        let asked =
            |segment: &Segment| match (segment.kind, self.routes[segment.route as usize].hop) {
                (UnitKind::HostPort, _) => 1,
                (UnitKind::Host, Hop::OnLink) => 1 + ports,
                (UnitKind::Host, _) => self.discovery.len() as u128 + ports,
            };
        let units = |segment: &Segment| match segment.kind {
            UnitKind::Host => u128::from(segment.hosts),
            UnitKind::HostPort => u128::from(segment.hosts) * ports,
        };
        let whole: u128 = self.segments.iter().map(|s| units(s) * asked(s)).sum();
        // Which units a shard has is up to the order: it may have the dearest ones.
        let dearest = self.segments.iter().map(asked).max().unwrap_or(0);
        let shard = u128::from(self.shard.end - self.shard.start);
        whole.min(shard * dearest) * u128::from(self.request.passes)
    }

    fn work_out_digest(&self) -> u64 {
        // Fixed keys: the digest names a plan in checkpoints, it keeps no secret.
        let mut hasher = SipHasher13::new_with_keys(0, 0);
        let mut word = |word: u64| hasher.write(&word.to_le_bytes());
        for segment in &self.segments {
            let route = &self.routes[segment.route as usize];
            let (low, high, family) = match segment.first {
                IpAddr::V4(ip) => (u64::from(ip.to_bits()), 0, 4),
                IpAddr::V6(ip) => (ip.to_bits() as u64, (ip.to_bits() >> 64) as u64, 6),
            };
            let vlan = route.vlan.map_or(0, VlanId::id);
            let kind = u64::from(segment.kind == UnitKind::HostPort);
            let on_link = u64::from(route.hop == Hop::OnLink);
            for value in [low, high, family, vlan.into(), segment.hosts, kind, on_link] {
                word(value);
            }
        }
        for (proto, port) in self.ports.iter() {
            word(u64::from(port) | u64::from(proto == Proto::Udp) << 16);
        }
        for probe in &self.discovery {
            word(match probe {
                DiscoveryProbe::Echo => 1 << 32,
                DiscoveryProbe::Tcp(port) => 1 << 33 | u64::from(*port),
                DiscoveryProbe::Udp(port) => 1 << 34 | u64::from(*port),
            });
        }
        let Shard { index, count } = self.request.shard;
        let seed = self.request.seed.unwrap_or_default();
        for value in [seed, self.request.passes.into(), index.into(), count.into()] {
            word(value);
        }
        hasher.finish()
    }
}

/// The arc of positions of one shard: arcs are disjoint, together everything, and differ in length
/// by one at most.
fn arc(units: u64, shard: Shard) -> Range<u64> {
    let border = |nth: u32| (u128::from(units) * u128::from(nth) / u128::from(shard.count)) as u64;
    border(shard.index - 1)..border(shard.index)
}

/// Where the segments of each VLAN and family are.
fn spans(segments: &[Segment], routes: &[Route]) -> Vec<[Range<u32>; 2]> {
    let vlan = |segment: &Segment| routes[segment.route as usize].vlan.map_or(0, VlanId::id);
    let highest = segments.last().map_or(0, vlan);
    let mut spans = vec![[0..0, 0..0]; usize::from(highest) + 1];
    let mut at = 0;
    for group in
        segments.chunk_by(|a, b| (vlan(a), a.first.is_ipv6()) == (vlan(b), b.first.is_ipv6()))
    {
        let end = at + group.len() as u32;
        spans[usize::from(vlan(&group[0]))][usize::from(group[0].first.is_ipv6())] = at..end;
        at = end;
    }
    spans
}

/// Short cuts from a unit to its segment: with one block a segment on average, the search that is
/// left is short.
fn hints(segments: &[Segment], units: u64) -> (Vec<u32>, u32) {
    let blocks = (segments.len() as u64).next_power_of_two();
    let bits = (u64::BITS - (units / blocks).leading_zeros()).min(u64::BITS - 1);
    let count = (units >> bits) + 1;
    let mut segment = 0;
    let hints = (0..count).map(|block| {
        let first = block << bits;
        while segments
            .get(segment + 1)
            .is_some_and(|next| next.first_unit <= first)
        {
            segment += 1;
        }
        segment as u32
    });
    (hints.collect(), bits)
}

/// `first` moved up by `by` addresses; never leaves a segment's own interval.
#[inline]
fn address_after(first: IpAddr, by: u64) -> IpAddr {
    match first {
        IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits().wrapping_add(by as u32)).into(),
        IpAddr::V6(first) => {
            Ipv6Addr::from_bits(first.to_bits().wrapping_add(u128::from(by))).into()
        }
    }
}

/// How far `ip` is above `first`; `None` below it, in the other family, or beyond 64 bits.
#[inline]
fn distance(first: IpAddr, ip: IpAddr) -> Option<u64> {
    match (first, ip) {
        (IpAddr::V4(first), IpAddr::V4(ip)) => {
            ip.to_bits().checked_sub(first.to_bits()).map(u64::from)
        }
        (IpAddr::V6(first), IpAddr::V6(ip)) => ip
            .to_bits()
            .checked_sub(first.to_bits())
            .and_then(|by| by.try_into().ok()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
