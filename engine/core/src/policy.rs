//! The box's local policy: what no request can widen.

use serde::{Deserialize, Serialize};

/// The table `[policy]` of the appliance's own configuration file. Empty allows everything.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    /// What never gets a frame, in target syntax; `@100` alone is a whole VLAN. Addresses only: a
    /// name could come to mean something else.
    pub never_scan: Vec<String>,
    /// Highest rate in packets a second; a request for more is refused, one for "as fast as loses
    /// nothing" gets this.
    pub rate_ceiling_pps: Option<u64>,
    /// Where scans may go, in target syntax; empty: anywhere. A target outside is refused.
    pub allowed_networks: Vec<String>,
}
