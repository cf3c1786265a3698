//! The local API of the box: what the panel (and `sonde diagnose`) says to the agent over
//! `/run/sonde/agent.sock`. One JSON document a line, both ways.
//!
//! The agent sends [`Message`]s: status, setup and keys first, each again whenever it changes, and an
//! answer to every [`Request`], in their order. Whole state each time: a client that reconnects needs
//! nothing else.

use std::net::{IpAddr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::settings::{Change, Port, Settings};

/// A line from the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Message {
    /// How the box is.
    Status(Status),
    /// How the box is set up.
    Setup(Setup),
    /// Who has the keys.
    Keys(Keys),
    /// What became of a request of this client.
    Answer(Answer),
}

/// A line from a client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Chosen by the client; the answer has the same.
    pub id: u64,
    /// What is asked.
    pub ask: Ask,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ask {
    /// The setup, now.
    Setup,
    /// Make this change: whole, or not at all. Stored before it is answered. Scans in progress are
    /// cancelled; their partial results are kept.
    Apply(Change),
    /// Do this.
    Run(Command),
    /// This client's person works the menus now: all others lose the keys. No answer but
    /// [`Message::Keys`] to everybody.
    TakeKeys,
    /// This client's person is done. A client that goes away gives the keys back.
    ReleaseKeys,
}

/// What is done rather than set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Command {
    /// A new lease on this port.
    RenewDhcp(Port),
    /// Start the machine anew.
    Reboot,
    /// Shut the machine down.
    Shutdown,
    /// End the scans in progress; their partial results are kept.
    CancelScans,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The request's.
    pub id: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "there is one at a time")]
pub enum Outcome {
    /// The setup asked for.
    Setup(Setup),
    /// It is done: a change is stored and in effect, a command begun.
    Done {
        /// Scans that were ended by it.
        canceled_scans: u32,
    },
    /// The change is stored; this box does not put it into effect (`[system] manage = false`).
    Stored {
        /// Scans that were ended by it.
        canceled_scans: u32,
    },
    /// Nothing was done: this box does not do such things (`[system] manage = false`).
    NotManaged,
    /// Nothing was done, for this reason: one sentence.
    Refused(String),
}

/// How the box is set up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The stored settings, without secrets ([`Settings::redacted`]).
    pub settings: Settings,
    /// What the network gave the box, where it is not set by hand.
    pub in_effect: InEffect,
}

/// What the network gave the box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InEffect {
    /// The LAN's default gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lan_gateway: Option<IpAddr>,
    /// The LAN's IPv6 address by router advertisement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_ipv6: Option<AutoIpv6>,
}

/// An IPv6 address by router advertisement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoIpv6 {
    /// The address.
    pub address: Ipv6Addr,
    /// Its prefix length.
    pub prefix_len: u8,
    /// The router that advertised it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv6Addr>,
}

/// Who has the keys: one person works the menus at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keys {
    /// Whoever opens the menu first.
    #[default]
    Free,
    /// The client this is said to.
    Yours,
    /// Another client.
    Taken,
}

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
