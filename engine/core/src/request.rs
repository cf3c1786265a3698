//! What was asked for: [`ScanRequest`] mirrors what a person or the cloud wrote, defaults filled in.
//!
//! It is plain data: nothing here has been checked against the machine or against itself. A
//! [`crate::plan::Plan`] is what runs. The JSON form is what the engine worker reads on stdin, what
//! the first line of every result file repeats, and what the cloud stores; unknown keys are refused.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sonde_wire::MacAddr;

use crate::trunk::TrunkConfig;

/// The version of the JSON form written by this build.
pub const REQUEST_VERSION: u32 = 1;

/// A scan as asked for. Field names and meanings are those of `sonde scan`'s options.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScanRequest {
    /// Form of this document; readers refuse what they do not know.
    pub version: u32,
    /// What to scan, in target syntax (`10.0.0.0/24@100`, `2001:db8::1-2001:db8::ff`, a name).
    pub targets: Vec<String>,
    /// What never to send a frame to, same syntax; `@100` alone is a whole VLAN. Wins over targets.
    pub exclude: Vec<String>,
    /// Ports to ask, in port syntax (`22,80`, `T:1-1024,U:53`, `-`, `top:100`).
    pub ports: String,
    /// Ports never to ask, same syntax. Wins over `ports`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_ports: Option<String>,
    /// Interface to scan from; absent: the one that routes to the first target.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// How frames leave.
    pub link: LinkKind,
    /// VLANs and routes; absent: the untagged LAN of the interface alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trunk: Option<TrunkConfig>,
    /// Source address on the untagged LAN; absent: the interface's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_ip: Option<IpAddr>,
    /// Source MAC address; absent: the interface's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_mac: Option<MacAddr>,
    /// Gateway of the untagged LAN; absent: the kernel's default route through the interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// MAC address of that gateway; absent: asked by ARP or NDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_mac: Option<MacAddr>,
    /// Ceiling in packets a second; `None`: as fast as loses nothing.
    pub rate_pps: Option<u64>,
    /// Ceiling in bits a second on the wire (preamble, gap, tag and check sum counted).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth_bps: Option<u64>,
    /// Frames sent to what stays silent; what answers gets one.
    pub passes: u32,
    /// How hosts are found before their ports are asked: `auto`, `none`, or a list
    /// (`arp,ndp,echo,tcp:80,443,udp:161`).
    pub discovery: String,
    /// Identify what answers on open ports.
    pub services: bool,
    /// Port states to report: `open`, `closed`, `filtered`, `unconfirmed`.
    pub show: Vec<PortState>,
    /// Same seed, same order; absent: drawn when the scan starts, and reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// This scan's share of the whole.
    pub shard: Shard,
    /// End early, with partial results, after this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_time_s: Option<u64>,
    /// Where an earlier run of this request stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<crate::checkpoint::Checkpoint>,
}

impl Default for ScanRequest {
    fn default() -> Self {
        Self {
            version: REQUEST_VERSION,
            targets: Vec::new(),
            exclude: Vec::new(),
            ports: "top:1000".to_owned(),
            exclude_ports: None,
            interface: None,
            link: LinkKind::Auto,
            trunk: None,
            source_ip: None,
            source_mac: None,
            gateway: None,
            gateway_mac: None,
            rate_pps: Some(10_000),
            bandwidth_bps: None,
            passes: 3,
            discovery: "auto".to_owned(),
            services: false,
            show: vec![PortState::Open],
            seed: None,
            shard: Shard::default(),
            max_time_s: None,
            resume: None,
        }
    }
}

/// How frames leave and arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// The best that works here.
    #[default]
    Auto,
    /// A program in the kernel sends the frames and judges the answers.
    Xdp,
    /// AF_XDP.
    Xsk,
    /// AF_PACKET.
    Packet,
    /// The kernel's own sockets: needs no privileges, may scan loopback.
    Connect,
}

/// What is known of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortState {
    /// Something listens and answered.
    Open,
    /// The host said nothing listens.
    Closed,
    /// Silence, or a router or firewall said no.
    Filtered,
    /// UDP without an answer: open or filtered.
    Unconfirmed,
}

/// One of `count` disjoint shares that are together the whole scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// 1 to `count`.
    pub index: u32,
    /// How many shares there are.
    pub count: u32,
}

impl Default for Shard {
    fn default() -> Self {
        Self { index: 1, count: 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_document_is_the_default() {
        let read: ScanRequest = serde_json::from_str("{}").unwrap();
        assert_eq!(read, ScanRequest::default());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let trunk = "vlan = [{ id = 100, name = \"servers\", ipv4 = \"10.1.0.2/24\" }]";
        let full = ScanRequest {
            targets: vec!["10.0.0.0/24@100".into()],
            exclude: vec!["@300".into()],
            exclude_ports: Some("9100".into()),
            interface: Some("eth0".into()),
            link: LinkKind::Packet,
            trunk: Some(TrunkConfig::from_toml(trunk).unwrap()),
            source_ip: Some("2001:db8::1".parse().unwrap()),
            source_mac: Some(MacAddr([2, 0, 0, 0, 0, 1])),
            rate_pps: None,
            show: vec![PortState::Open, PortState::Closed],
            seed: Some(u64::MAX),
            shard: Shard { index: 2, count: 3 },
            ..ScanRequest::default()
        };
        for request in [full, ScanRequest::default()] {
            let text = serde_json::to_string(&request).unwrap();
            assert_eq!(
                serde_json::from_str::<ScanRequest>(&text).unwrap(),
                request,
                "{text}"
            );
        }
    }

    #[test]
    fn the_default_is_written_as_it_always_was() {
        let text = serde_json::to_string(&ScanRequest::default()).unwrap();
        assert_eq!(
            text,
            concat!(
                r#"{"version":1,"targets":[],"exclude":[],"ports":"top:1000","link":"auto","#,
                r#""rate_pps":10000,"passes":3,"discovery":"auto","services":false,"#,
                r#""show":["open"],"shard":{"index":1,"count":1}}"#
            )
        );
    }

    #[test]
    fn unknown_keys_and_values_are_refused_by_name() {
        for (text, named) in [
            (r#"{"target":["10.0.0.1"]}"#, "target"),
            (r#"{"link":"carrier-pigeon"}"#, "carrier-pigeon"),
            (r#"{"shard":{"index":1,"count":2,"of":3}}"#, "of"),
            (r#"{"trunk":{"vlan":[{"id":4095}]}}"#, "4095 is no VLAN"),
            (r#"{"trunk":{"vlan":[{"id":5,"ipv9":"x"}]}}"#, "ipv9"),
        ] {
            let error = serde_json::from_str::<ScanRequest>(text)
                .unwrap_err()
                .to_string();
            assert!(error.contains(named), "{text}: {error}");
        }
    }
}
