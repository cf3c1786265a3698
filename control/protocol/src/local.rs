//! The local API of the box: what the panel (and `sonde diagnose`) says to the agent over
//! `/run/sonde/agent.sock`. One JSON document a line, both ways; the first line from the agent is a
//! [`Status`], and another follows whenever it changes.

use serde::{Deserialize, Serialize};

/// What the panel shows. Whole state each time: a front that reconnects needs nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Where the box is with its cloud.
    pub phase: Phase,
    /// Name on the idle screen.
    pub name: String,
    /// LAN address on the idle screen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lan_address: Option<String>,
    /// MAC address of the LAN interface, shown on the serial console.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lan_mac: Option<String>,
    /// Texts of the error catalogue that hold now, most pressing first.
    pub errors: Vec<String>,
    /// Lights S1: scans in progress.
    pub scans_running: u32,
    /// Lights S2: an update in progress.
    pub updating: bool,
}

/// Where the box is with its cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Phase {
    /// The agent is starting.
    Starting,
    /// Asking the cloud for the first time since start.
    Contacting,
    /// Waiting for a person to type this code into the cloud.
    Activation {
        /// Ten letters.
        code: String,
        /// Four digits.
        check_number: String,
    },
    /// The last poll was answered.
    Ready,
    /// Polls fail and no scan runs, or the running ones have timed out.
    CommunicationFailure,
}
