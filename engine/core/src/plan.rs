//! What runs: a [`Plan`] is a request checked against itself, the trunk and the local policy.
//!
//! Per VLAN and family it holds sorted address intervals less the exclusions ([`Segment`]s), each with
//! one [`Route`] and a running count of *units*. A unit is what the wide lane visits: a host, or a
//! (host, port) behind a gateway when there is no discovery. Memory follows what was written, never
//! the number of addresses.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use sonde_wire::{MacAddr, VlanId};

use crate::order::Order;
use crate::policy::Policy;
use crate::ports::Ports;
use crate::request::ScanRequest;

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

/// Why a request does not become a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The driver draws a seed before it plans.
    #[error("the request has no seed; draw one before planning")]
    SeedMissing,
}

/// A scan that can run: immutable, complete, the same for the same request and environment.
#[derive(Clone, Debug)]
pub struct Plan {
    request: ScanRequest,
    routes: Vec<Route>,
    segments: Vec<Segment>,
    sources: Vec<Source>,
    ports: Ports,
    discovery: Vec<DiscoveryProbe>,
    units: u64,
    shard: Range<u64>,
    order: Order,
    digest: u64,
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
        let _ = (env, policy);
        let seed = request.seed.ok_or(PlanError::SeedMissing)?;
        Ok(Self {
            request: request.clone(),
            routes: Vec::new(),
            segments: Vec::new(),
            sources: Vec::new(),
            ports: Ports::default(),
            discovery: Vec::new(),
            units: 0,
            shard: 0..0,
            order: Order::new(0, seed),
            digest: 0,
        })
    }

    /// The effective request: defaults and seed filled in, rate held to the policy's ceiling.
    pub fn request(&self) -> &ScanRequest {
        &self.request
    }

    /// Digest of what decides units and order: targets after exclusion, ports, discovery, passes, seed, shard.
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
        let segment = self.segments.partition_point(|s| s.first_unit <= index) - 1;
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

    /// All segments, sorted by VLAN (untagged first), family (IPv4 first) and address; no address is in two segments
    /// of one VLAN.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The segment that holds a host, or `None` when the host is not part of the plan.
    pub fn segment_of(&self, vlan: Option<VlanId>, ip: IpAddr) -> Option<&Segment> {
        let key = |s: &Segment| (self.routes[s.route as usize].vlan, s.first);
        let at = self
            .segments
            .partition_point(|s| key(s) <= (vlan, ip))
            .checked_sub(1)?;
        let segment = &self.segments[at];
        let same = self.routes[segment.route as usize].vlan == vlan;
        (same && distance(segment.first, ip)? < segment.hosts).then_some(segment)
    }

    /// The index of a unit: the inverse of [`Plan::unit`]. `ip` must be in `segment`; `port` is an index into
    /// [`Plan::ports`], looked at when the segment's units are ports.
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

    /// What finds hosts that are not on link (behind a gateway, or routed by the kernel). Not empty when some segment
    /// of [`UnitKind::Host`] is not on link.
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

    /// True when no frame may go to this address in this VLAN: the last guard before a frame leaves, whatever
    /// made it.
    pub fn excluded(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        let _ = (vlan, ip);
        false
    }

    /// Upper bound of probes of this shard over all passes, every host taken as up and every port as silent.
    pub fn frames_max(&self) -> u128 {
        0
    }
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
