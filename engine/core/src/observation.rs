//! What was learnt: one [`Observation`] a JSON line, the same in files, from the engine worker, in the
//! spool and in the cloud.
//!
//! `vlan` is null on the untagged LAN. Times are RFC 3339 UTC. Absent means not known.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sonde_wire::{MacAddr, VlanId};
use time::OffsetDateTime;

use crate::checkpoint::Checkpoint;
use crate::request::{PortState, ScanRequest};

/// The version of the JSON-lines form written by this build.
pub const OBSERVATION_VERSION: u32 = 1;

/// One line of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Observation {
    /// First line: what runs.
    Scan(ScanHeader),
    /// A host, learnt to be up.
    Host(HostObservation),
    /// A port's state.
    Port(PortObservation),
    /// An answer that proves itself ours but came in on another VLAN than its question left on.
    Leak(LeakObservation),
    /// Where the scan is; for progress displays, never stored as a result.
    Progress(Progress),
    /// Everything up to here is in the lines above; a worker killed now resumes from it. Never
    /// stored as a result.
    Checkpoint(Checkpoint),
    /// Why the worker could not do it, or not go on; for whoever reads its lines, never stored as a
    /// result. The engine worker writes it last, with no `summary` after it, and exits nonzero.
    Error(WorkerError),
    /// Last line: how it ended.
    Summary(Summary),
}

/// The effective request, defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScanHeader {
    /// Version of this form.
    pub version: u32,
    /// Identifies this scan.
    pub id: String,
    /// When it started.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// What runs.
    pub request: Box<ScanRequest>,
}

/// A host is up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostObservation {
    /// VLAN the host was found in; null on the untagged LAN.
    pub vlan: Option<VlanId>,
    /// Its address.
    pub ip: IpAddr,
    /// Always `up`: what is down is not reported.
    pub state: HostState,
    /// What proved it.
    pub reason: HostReason,
    /// Its MAC address, for hosts on link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<MacAddr>,
    /// Who made its network interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Round trip in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// Time to live or hop limit of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// When the answer came.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
}

/// Whether a host is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// It answered.
    Up,
}

/// What proved a host up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostReason {
    /// It answered an ARP request.
    ArpReply,
    /// It answered a neighbor solicitation.
    NdpAdvertisement,
    /// It answered an echo request.
    EchoReply,
    /// A TCP port answered open.
    SynAck,
    /// A TCP port answered closed.
    Rst,
    /// A UDP service answered.
    UdpReply,
    /// The host itself said a UDP port is closed.
    PortUnreachable,
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// What a port said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PortObservation {
    /// VLAN of the host; null on the untagged LAN.
    pub vlan: Option<VlanId>,
    /// Address of the host.
    pub ip: IpAddr,
    /// Protocol.
    pub proto: Proto,
    /// Port number.
    pub port: u16,
    /// What is known.
    pub state: PortState,
    /// Why.
    pub reason: PortReason,
    /// Time to live or hop limit of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Round trip in microseconds. Above [`crate::rtt::RATE_ALL`] probes a second most have none: see
    /// [`crate::rtt::Sampling`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// When it was learnt.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
}

/// Why a port is said to be in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PortReason {
    /// TCP: accepted.
    SynAck,
    /// TCP: refused.
    Rst,
    /// UDP: a datagram came back.
    UdpReply,
    /// ICMP port unreachable from the host itself.
    PortUnreachable,
    /// ICMP from a router or firewall: prohibited or otherwise unreachable.
    Prohibited,
    /// Silence after all passes.
    NoAnswer,
}

/// A reply crossed from one VLAN into another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeakObservation {
    /// VLAN the question left on.
    pub vlan: Option<VlanId>,
    /// VLAN the answer came in on.
    pub seen_vlan: Option<VlanId>,
    /// Address that answered.
    pub ip: IpAddr,
    /// MAC address the answer came from.
    pub mac: MacAddr,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
}

/// Where a scan is.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Frames sent, all kinds.
    pub sent: u64,
    /// Answers believed.
    pub received: u64,
    /// Share of the scan done, 0 to 1, by probes due.
    pub fraction: f64,
    /// Hosts up so far.
    pub hosts_up: u64,
    /// Open ports so far.
    pub open: u64,
    /// Frames a second over the last second.
    pub rate_pps: f64,
    /// Estimated loss, 0 to 1: share of first answers that only came in a later pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Seconds left, estimated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
}

/// Why an engine worker ended without a summary.
///
/// The worker's standard error goes to the box's log; this line goes to whoever asked for the scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerError {
    /// One sentence for people: what was wrong, and the way out.
    pub message: String,
    /// True: request, plan or local policy said no, and asking again would end the same. False: it
    /// broke on the way, and another worker may go on from the last checkpoint.
    pub refused: bool,
}

/// How a scan ended.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// True when every probe due was sent and waited for.
    pub complete: bool,
    /// Frames sent, all kinds.
    pub sent: u64,
    /// Answers believed.
    pub received: u64,
    /// Hosts up.
    pub hosts_up: u64,
    /// Open ports.
    pub open: u64,
    /// Frames not believed, by reason.
    pub drops: BTreeMap<String, u64>,
    /// Passes begun.
    pub passes: u32,
    /// Hosts that could not be asked because their next hop never answered.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unreachable: u64,
    /// Wall time.
    pub duration_ms: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}
