//! The trunk port: VLANs with our own addresses in them, gateways, and static routes.
//!
//! [`TrunkConfig`] is what a person wrote; [`Trunk`] is the same, checked, with the longest-prefix
//! lookup from an address to its VLAN and next hop.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
pub use sonde_wire::VlanId;

pub(crate) use checked::name;
pub use checked::{Lookup, Network, Place, Trunk, TrunkError};
pub(crate) use family::Family;
pub(crate) use table::Piece;
pub(crate) use ways::{Via, Way};

mod checked;
mod family;
mod table;
mod ways;

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

/// A text that is no trunk file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}{}: {message}", if key.is_empty() { String::new() } else { format!(", `{key}`") })]
pub struct TrunkTomlError {
    /// Line in the text, from 1.
    pub line: usize,
    /// The key or table the line holds; empty when it holds none.
    pub key: String,
    /// What is wrong.
    pub message: String,
}

impl TrunkConfig {
    /// Reads a trunk file.
    ///
    /// # Errors
    ///
    /// The line and key at fault: text that is no TOML, an unknown key, a value of the wrong kind,
    /// a VLAN that is none.
    pub fn from_toml(text: &str) -> Result<Self, TrunkTomlError> {
        toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start).min(text.len());
            let before = text.get(..at).unwrap_or_default();
            let line = before.matches('\n').count();
            let written = text.lines().nth(line).unwrap_or_default().trim();
            TrunkTomlError {
                line: line + 1,
                key: written
                    .split('=')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
                message: error.message().replace('\n', ", "),
            }
        })
    }
}

#[cfg(test)]
mod tests;
