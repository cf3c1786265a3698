//! A result grouped by (VLAN, address), for the reports that are sorted. Memory follows what was found.

use std::collections::BTreeMap;
use std::net::IpAddr;

use sonde_core::observation::{
    HostObservation, LeakObservation, Observation, PortObservation, Proto, ScanHeader, Summary,
};
use sonde_wire::VlanId;

/// A result, sorted: untagged first, then by VLAN; IPv4 first, then by address; by protocol and port.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    pub(super) header: Option<ScanHeader>,
    pub(super) hosts: BTreeMap<(Option<VlanId>, IpAddr), Host>,
    pub(super) leaks: Vec<LeakObservation>,
    pub(super) summary: Option<Summary>,
}

/// What was learnt of one host.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Absent when only ports of it were seen.
    pub(super) host: Option<HostObservation>,
    pub(super) ports: BTreeMap<(Proto, u16), PortObservation>,
}

impl Grouped {
    /// Takes one line of the result.
    pub(super) fn add(&mut self, observation: &Observation) {
        match observation {
            Observation::Scan(header) => self.header = Some(header.clone()),
            Observation::Host(host) => {
                self.hosts.entry((host.vlan, host.ip)).or_default().host = Some(host.clone());
            }
            Observation::Port(port) => {
                let host = self.hosts.entry((port.vlan, port.ip)).or_default();
                host.ports.insert((port.proto, port.port), port.clone());
            }
            Observation::Leak(leak) => self.leaks.push(leak.clone()),
            Observation::Summary(summary) => self.summary = Some(summary.clone()),
            Observation::Progress(_) | Observation::Checkpoint(_) | Observation::Error(_) => {}
        }
    }

    /// The name the request's trunk gives a VLAN.
    pub(super) fn vlan_name(&self, vlan: VlanId) -> Option<&str> {
        let trunk = self.header.as_ref()?.request.trunk.as_ref()?;
        trunk.vlan.iter().find(|v| v.id == vlan)?.name.as_deref()
    }
}
