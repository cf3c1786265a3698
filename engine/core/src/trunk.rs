//! The trunk port: VLANs with our own addresses in them, gateways, and static routes.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sonde_wire::VlanId;

/// A trunk as written in a trunk file (TOML) or a request (JSON): same keys, unknown ones refused.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    /// The untagged LAN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lan: Option<NetworkConfig>,
    /// The tagged VLANs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlan: Vec<VlanConfig>,
    /// Static routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<RouteConfig>,
}

/// Our place in one network: addresses with prefix length, gateways.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkConfig {
    /// Our IPv4 address with prefix length (`10.1.0.2/24`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// IPv4 gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Our IPv6 address with prefix length, or `auto`: by router advertisement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
    /// IPv6 gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway6: Option<IpAddr>,
}

/// One tagged VLAN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VlanConfig {
    /// 1 to 4094.
    pub id: VlanId,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Our IPv4 address with prefix length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<String>,
    /// IPv4 gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Our IPv6 address with prefix length, or `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<String>,
    /// IPv6 gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway6: Option<IpAddr>,
}

/// A static route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// Destination prefix (`10.200.0.0/16`).
    pub to: String,
    /// Next hop; it must be on a network above and so decides the VLAN.
    pub via: IpAddr,
}
