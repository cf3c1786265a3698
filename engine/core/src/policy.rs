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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        policy: Policy,
    }

    #[test]
    fn the_table_is_read_and_unknown_keys_are_refused() {
        let text = r#"
            [policy]
            never_scan = ["10.0.0.0/24", "@300"]
            rate_ceiling_pps = 5000
        "#;
        let policy = toml::from_str::<File>(text).unwrap().policy;
        assert_eq!(policy.never_scan, ["10.0.0.0/24", "@300"]);
        assert_eq!(
            (policy.rate_ceiling_pps, policy.allowed_networks.len()),
            (Some(5000), 0)
        );
        let empty = toml::from_str::<File>("[policy]").unwrap().policy;
        assert_eq!(empty, Policy::default());
        let typo = toml::from_str::<File>("[policy]\nnever_scann = []").unwrap_err();
        assert!(typo.message().contains("never_scann"), "{typo}");
    }
}
