//! Why a request does not become a plan: one sentence each, naming the input and the way out.

use std::net::IpAddr;

use sonde_wire::VlanId;

use super::SEGMENTS_MAX;
use crate::exclusion::ScopeError;
use crate::ports::PortsError;
use crate::request::REQUEST_VERSION;
use crate::trunk::{TrunkError, name};

/// Why a request does not become a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each message says what its variant means")]
#[non_exhaustive]
pub enum PlanError {
    #[error("the request has version {0}; this program reads version {REQUEST_VERSION}")]
    Version(u32),
    #[error("the request has no seed; whoever runs it draws one before planning")]
    SeedMissing,
    #[error("there are no targets; name some, as 10.0.0.0/24")]
    NoTargets,
    /// `error.index` is the target's place in the request.
    #[error("{error}")]
    Target { error: ScopeError },
    #[error(
        "`{text}` names VLANs and no hosts; write the hosts before the @, as 10.0.0.0/24{text}"
    )]
    TargetWithoutHosts { index: usize, text: String },
    /// `error.index` is the exclusion's place in the request.
    #[error("exclude: {error}")]
    Exclude { error: ScopeError },
    #[error("the local policy's {rule}: {error}; correct it before anything is scanned")]
    Policy {
        rule: &'static str,
        error: ScopeError,
    },
    #[error("ports: {error}")]
    Ports { error: PortsError },
    #[error("exclude_ports: {error}")]
    ExcludePorts { error: PortsError },
    #[error("no port is left of `{ports}` after exclude_ports `{excluded}`; exclude fewer")]
    NoPorts { ports: String, excluded: String },
    #[error(
        "discovery `{text}`: `{piece}` is none of arp, ndp, echo, tcp:PORT, udp:PORT; write auto, none, or echo,tcp:80,443"
    )]
    Discovery { text: String, piece: String },
    #[error(
        "discovery `{text}` finds no host behind {hop}, as {ip} is; add echo or tcp:443, or write none to ask its ports at once"
    )]
    DiscoveryEmpty {
        text: String,
        hop: String,
        ip: IpAddr,
    },
    #[error("passes is 0, which sends nothing; write 1 or more")]
    Passes,
    #[error("{what} is 0, which sends nothing; write 1 or more, or leave it out")]
    RateZero { what: &'static str },
    #[error(
        "{asked} packets a second is above the local policy's rate_ceiling_pps of {ceiling}; ask for {ceiling} or less"
    )]
    RateAbovePolicy { asked: u64, ceiling: u64 },
    #[error("shard {index} of {count} does not exist; shards are 1/{count} to {count}/{count}", count = .count.max(&1))]
    Shard { index: u32, count: u32 },
    #[error("services are not identified by this version; leave `services` out")]
    Services,
    #[error("{what} {mac} is a group address, which no interface has; write the interface's own")]
    GroupMac {
        what: &'static str,
        mac: sonde_wire::MacAddr,
    },
    #[error("trunk: {0}")]
    Trunk(TrunkError),
    #[error(
        "the connect link lets the kernel route and can't tag frames; leave out the trunk, or use another link"
    )]
    TrunkOverConnect,
    #[error(
        "over the connect link the kernel decides on {what}; leave it out, or use another link"
    )]
    OptionOverConnect { what: &'static str },
    #[error("{key} {written} is given and the trunk's [lan] says {trunk}; leave one out")]
    LanTwice {
        key: &'static str,
        written: IpAddr,
        trunk: String,
    },
    #[error("source_ip {ip} is on no network of the interface{}; write it with its prefix in a trunk file, as [lan] {key} = \"{ip}/24\"", on_link.as_ref().map_or_else(String::new, |n| format!(", which has {n}")), key = if ip.is_ipv4() { "ipv4" } else { "ipv6" })]
    SourceOffLink { ip: IpAddr, on_link: Option<String> },
    #[error("gateway {gateway} can't be used: the interface has no {family} address; add source_ip or a trunk's [lan]", family = if gateway.is_ipv4() { "IPv4" } else { "IPv6" })]
    GatewayAlone { gateway: IpAddr },
    #[error("`{target}`: {} is not in the trunk; add it as [[vlan]] id = {vlan}, or leave it out of the target", name(Some(*vlan)))]
    VlanUnknown { target: String, vlan: VlanId },
    #[error(
        "`{target}`: the interface has no address on the untagged LAN; write [lan] in a trunk file, or name a VLAN"
    )]
    LanUnknown { target: String },
    #[error("`{target}`: the connect link can't send into {}; leave the VLANs out, or use another link", name(*vlan))]
    VlanOverConnect {
        target: String,
        vlan: Option<VlanId>,
    },
    #[error("`{target}`: {ip} can't be reached from {}, which has no {family} address of ours; add one, or leave it out", name(*vlan), family = if ip.is_ipv4() { "IPv4" } else { "IPv6" })]
    NoFamily {
        target: String,
        vlan: Option<VlanId>,
        ip: IpAddr,
    },
    #[error("`{target}`: {ip} can't be reached from {}: it is off its network, and no gateway or route leads there; add one, or leave it out", name(*vlan))]
    OffLink {
        target: String,
        vlan: Option<VlanId>,
        ip: IpAddr,
    },
    #[error(
        "`{target}`: no network, route or gateway leads to {ip}; add one to the trunk, or leave it out"
    )]
    Unreachable { target: String, ip: IpAddr },
    #[error("`{target}`: {} and {} both lead to {ip}; say which, as {target}@{}", name(*first), name(*second), first.map_or_else(|| "lan".to_owned(), |v| v.to_string()))]
    Ambiguous {
        target: String,
        ip: IpAddr,
        first: Option<VlanId>,
        second: Option<VlanId>,
    },
    #[error("gateway {gateway} of {} is excluded, and {ip} is behind it; let it be used, or leave those targets out", name(*vlan))]
    GatewayExcluded {
        gateway: IpAddr,
        vlan: Option<VlanId>,
        ip: IpAddr,
    },
    #[error("`{target}`: {ip} in {} is outside the local policy's allowed_networks ({allowed}); leave it out", name(*vlan))]
    NotAllowed {
        target: String,
        vlan: Option<VlanId>,
        ip: IpAddr,
        allowed: String,
    },
    #[error("no target is left after {by}; exclude less, or name other targets")]
    NothingLeft { by: &'static str },
    #[error(
        "the targets are more than {SEGMENTS_MAX} separate ranges of addresses; scan fewer VLANs or ranges at a time"
    )]
    TooManySegments,
    #[error(
        "the targets are {units} probes to order, more than {} can be; scan less of them at a time",
        u64::MAX
    )]
    TooManyUnits { units: u128 },
}
