//! What screens say, letter by letter.

use sonde_protocol::settings::{Link, Port};

/// First message after power on.
pub const WELCOME: &str = "Welcome to Sonde";
/// The agent can not be heard yet, or not any more.
pub const STARTING_UP: &str = "Sonde is starting up...";
/// The agent looks through its state folder.
pub const FILESYSTEM_CHECK: &str = "Filesystem check in progress...";
/// The agent is about to ask its cloud.
pub const COMING_UP: &str = "Sonde is coming up...";
/// First question to the cloud since start.
pub const CONTACTING: &str = "CONTACTING CLOUD";
/// Above the code that a manager types into the cloud.
pub const ACTIVATION_CODE: &str = "ACTIVATION CODE";
/// Polls fail and no scan runs.
pub const COMMUNICATION_FAILURE: &str = "COMMUNICATION FAILURE";
/// A confirmed change of settings stops a scan; its partial results are kept.
pub const CANCELING: &str = "CANCELING THE ONGOING SCAN";
/// The agent is asked to start the machine anew, and does.
pub const REBOOTING: &str = "REBOOTING SYSTEM";
/// The machine has ended.
pub const SAFE_TO_UNPLUG: &str = "It's now safe to unplug the box";
/// A proxy was confirmed.
pub const ENABLING_PROXY: &str = "ENABLING PROXY SUPPORT";

/// Main menu.
pub const SETUP_NETWORK: &str = "SETUP NETWORK";
/// Main menu.
pub const SYSTEM_SHUTDOWN: &str = "SYSTEM SHUTDOWN";
/// Main menu.
pub const SYSTEM_REBOOT: &str = "SYSTEM REBOOT";
/// Last entry of both menus.
pub const EXIT_THIS_MENU: &str = "EXIT THIS MENU";

/// LAN uses DHCP.
pub const RENEW_DHCP_LAN: &str = "RENEW DHCP ON LAN";
/// LAN is static and has no tag.
pub const ENABLE_DHCP_LAN: &str = "ENABLE DHCP ON LAN";
/// LAN has no tag.
pub const ENABLE_VLAN: &str = "ENABLE VLAN ON LAN";
/// LAN has a tag.
pub const CHANGE_VLAN: &str = "CHANGE VLAN ON LAN";
/// LAN uses DHCP.
pub const ENABLE_STATIC_LAN: &str = "ENABLE STATIC IP ON LAN";
/// LAN is static.
pub const CHANGE_STATIC_LAN: &str = "CHANGE STATIC IP ON LAN";
/// There is no WAN.
pub const ENABLE_WAN: &str = "ENABLE WAN INTERFACE";
/// There is a WAN.
pub const DISABLE_WAN: &str = "DISABLE WAN INTERFACE";
/// WAN is not by DHCP.
pub const ENABLE_DHCP_WAN: &str = "ENABLE DHCP ON WAN";
/// WAN is by DHCP.
pub const RENEW_DHCP_WAN: &str = "RENEW DHCP ON WAN";
/// WAN is not static.
pub const ENABLE_STATIC_WAN: &str = "ENABLE STATIC IP ON WAN";
/// WAN is static.
pub const CHANGE_STATIC_WAN: &str = "CHANGE STATIC IP ON WAN";
/// There is no proxy.
pub const ENABLE_PROXY: &str = "ENABLE PROXY";
/// There is a proxy.
pub const CHANGE_PROXY: &str = "CHANGE PROXY PARAMS";
/// There is a proxy.
pub const DISABLE_PROXY: &str = "DISABLE PROXY";
/// What the ports are held to.
pub const ETHERNET_PORTS: &str = "ETHERNET PORT SETTINGS";
/// Factory defaults.
pub const RESET_NETWORK: &str = "RESET NETWORK SETTINGS";
/// IPv6-only mode: by router advertisement.
pub const RENEW_AUTO_IPV6: &str = "RENEW AUTO IPv6 ON LAN?";
/// IPv6-only mode: by hand.
pub const ENABLE_STATIC_IPV6: &str = "ENABLE STATIC IPv6 ON LAN?";

/// Entries of the menus: a test holds them to the display.
pub const ENTRIES: [&str; 23] = [
    SETUP_NETWORK,
    SYSTEM_SHUTDOWN,
    SYSTEM_REBOOT,
    EXIT_THIS_MENU,
    RENEW_DHCP_LAN,
    ENABLE_DHCP_LAN,
    ENABLE_VLAN,
    CHANGE_VLAN,
    ENABLE_STATIC_LAN,
    CHANGE_STATIC_LAN,
    ENABLE_WAN,
    DISABLE_WAN,
    ENABLE_DHCP_WAN,
    RENEW_DHCP_WAN,
    ENABLE_STATIC_WAN,
    CHANGE_STATIC_WAN,
    ENABLE_PROXY,
    CHANGE_PROXY,
    DISABLE_PROXY,
    ETHERNET_PORTS,
    RESET_NETWORK,
    RENEW_AUTO_IPV6,
    ENABLE_STATIC_IPV6,
];

/// Asks before the machine starts anew.
pub const REALLY_REBOOT: &str = "REALLY REBOOT SYSTEM?";
/// Asks before the machine ends.
pub const REALLY_SHUTDOWN: &str = "REALLY SHUTDOWN SYSTEM?";
/// Asks before LAN by DHCP.
pub const REALLY_DHCP_LAN: &str = "REALLY ENABLE DHCP ON LAN?";
/// Leads to the fields of a static LAN.
pub const CFG_LAN: &str = "CFG LAN STATIC NETWORK PARAMS?";
/// Asks before a static LAN.
pub const REALLY_STATIC_LAN: &str = "REALLY SET LAN STATIC NETWORK?";
/// Asks before WAN by DHCP.
pub const REALLY_DHCP_WAN: &str = "REALLY ENABLE DHCP ON WAN?";
/// Leads to the fields of a static WAN.
pub const CFG_WAN: &str = "CFG WAN STATIC NETWORK PARAMS?";
/// Asks before a static WAN.
pub const REALLY_STATIC_WAN: &str = "REALLY SET WAN STATIC NETWORK?";
/// Asks before there is no WAN.
pub const REALLY_DISABLE_WAN: &str = "REALLY DISABLE WAN?";
/// Leads to the fields of a proxy.
pub const CONFIG_PROXY: &str = "CONFIG PROXY PARAMETERS";
/// Asks before a proxy.
pub const REALLY_ENABLE_PROXY: &str = "REALLY ENABLE PROXY?";
/// Asks before there is no proxy.
pub const REALLY_DISABLE_PROXY: &str = "REALLY DISABLE PROXY?";
/// Asks before factory defaults of the same mode.
pub const REALLY_RESET: &str = "REALLY RESET ALL SETTINGS?";
/// Asks before factory defaults of the other mode.
pub const RESET_TO_IPV6_ONLY: &str = "RESET TO IPv6 ONLY MODE?";
/// Asks before factory defaults of the other mode.
pub const RESET_TO_IPV4_IPV6: &str = "RESET TO IPv4+v6 MODE?";
/// Asks before IPv6 by router advertisement.
pub const REALLY_AUTO_IPV6: &str = "REALLY SETUP AUTO LAN IPV6?";
/// Asks before IPv6 by hand.
pub const REALLY_STATIC_IPV6: &str = "REALLY SETUP STATIC LAN IPV6?";

/// Questions: a test holds them to the display. [`really_link`] makes twelve more.
pub const QUESTIONS: [&str; 17] = [
    REALLY_REBOOT,
    REALLY_SHUTDOWN,
    REALLY_DHCP_LAN,
    CFG_LAN,
    REALLY_STATIC_LAN,
    REALLY_DHCP_WAN,
    CFG_WAN,
    REALLY_STATIC_WAN,
    REALLY_DISABLE_WAN,
    CONFIG_PROXY,
    REALLY_ENABLE_PROXY,
    REALLY_DISABLE_PROXY,
    REALLY_RESET,
    RESET_TO_IPV6_ONLY,
    RESET_TO_IPV4_IPV6,
    REALLY_AUTO_IPV6,
    REALLY_STATIC_IPV6,
];

/// Values of a port's link, in the order in which RIGHT walks through them.
pub const LINKS: [(Link, &str); 6] = [
    (Link::Auto, "AUTO"),
    (Link::Full1000, "1GbaseT/Full"),
    (Link::Full100, "100baseT/Full"),
    (Link::Half100, "100baseT/Half"),
    (Link::Full10, "10baseT/Full"),
    (Link::Half10, "10baseT/Half"),
];

/// Asks before a port is held to `value`.
pub fn really_link(port: Port, value: &str) -> String {
    let port = match port {
        Port::Lan => "LAN",
        Port::Wan => "WAN",
    };
    format!("REALLY SET {port} TO {value}")
}

/// Titles of fields; a row each, beside the indicators.
pub const TITLES: [&str; 30] = [
    "VLAN 0-4094",
    "LAN IP ADDR",
    "LAN NETMASK",
    "LAN GATEWAY",
    "LAN DNS1",
    "LAN DNS2",
    "LAN WINS1",
    "LAN WINS2",
    "DOMAIN NAME",
    "WAN IP ADDR",
    "WAN NETMASK",
    "WAN GATEWAY",
    "WAN DNS1",
    "WAN DNS2",
    "PROXY HOST",
    "PROXY PORT:",
    "PROXY USER:",
    "PROXY PASSW",
    "LAN PORT LINK",
    "WAN PORT LINK",
    "Auto v6 ADDR",
    "Auto PREFLEN",
    "Auto GATEWAY",
    "Manual DNS1",
    "Manual DNS2",
    "IPv6 ADDR",
    "IPv6 PREFLEN",
    "IPv6 GW",
    "IPv6 DNS1",
    "IPv6 DNS2",
];

/// Insert/delete mode.
pub const DELETE_PREVIOUS: &str = "Delete Previous?";
/// Insert/delete mode.
pub const INSERT_CHARACTER: &str = "Insert Character?";
/// Insert/delete mode.
pub const DONE_EDITING: &str = "Done editing?";

// What the guide has no words for.

/// Input came faster than a person types and was dropped.
pub const TYPED_TOO_FAST: &str = "Too fast: nothing changed";
/// Another front has the keys.
pub const IN_USE: &str = "IN USE";
/// Asks before the keys are taken from another front.
pub const TAKE_OVER: &str = "TAKE OVER?";
/// After the first of two UPs that quit.
pub const UP_AGAIN: &str = "UP AGAIN TO QUIT";
/// LEFT at the first character of a field.
pub const LEAVE: &str = "QUIT AND CHANGE NOTHING?";
/// The agent was asked.
pub const PLEASE_WAIT: &str = "PLEASE WAIT";
/// The agent was asked and says nothing.
pub const NO_ANSWER: &str = "NO ANSWER YET: CHECK LATER";
/// A change is stored and in effect.
pub const SAVED: &str = "SETTINGS SAVED";
/// A change is stored on a box that is not managed.
pub const STORED: &str = "STORED, NOT APPLIED HERE";
/// Nothing was done on a box that is not managed.
pub const NOT_MANAGED: &str = "NOT MANAGED: NOTHING DONE";
/// The connection went before the answer, and the change was not stored.
pub const NOT_SAVED: &str = "LOST: NOTHING WAS SAVED";
/// A new lease is asked for.
pub const RENEWING: &str = "RENEWING DHCP LEASE";
/// The machine is ending.
pub const SHUTTING_DOWN: &str = "SHUTTING DOWN";
/// The machine did not end.
pub const STILL_RUNNING: &str = "SYSTEM IS STILL RUNNING";
/// An octet of an address is over 255.
pub const OCTET_TOO_BIG: &str = "OCTET IS OVER 255";
/// An address that no host can have.
pub const NO_HOST_ADDRESS: &str = "NOT AN ADDRESS OF A HOST";
/// Not an IPv6 address.
pub const NO_IPV6_ADDRESS: &str = "NOT AN IPv6 ADDRESS";
/// Neither name nor address.
pub const NO_HOST_NAME: &str = "NOT A NAME OR AN ADDRESS";
/// No such tag.
pub const VLAN_TOO_BIG: &str = "VLAN IS OVER 4094";
/// No such port.
pub const NO_PORT: &str = "PORT MUST BE 1 TO 65535";
/// A space inside an entry.
pub const SPACE_INSIDE: &str = "NO SPACE INSIDE AN ENTRY";

/// What only stands for itself on the display: a test holds it there.
pub const MESSAGES: [&str; 35] = [
    WELCOME,
    STARTING_UP,
    FILESYSTEM_CHECK,
    COMING_UP,
    CONTACTING,
    ACTIVATION_CODE,
    COMMUNICATION_FAILURE,
    CANCELING,
    REBOOTING,
    SAFE_TO_UNPLUG,
    ENABLING_PROXY,
    DELETE_PREVIOUS,
    INSERT_CHARACTER,
    DONE_EDITING,
    TYPED_TOO_FAST,
    IN_USE,
    TAKE_OVER,
    UP_AGAIN,
    LEAVE,
    PLEASE_WAIT,
    NO_ANSWER,
    SAVED,
    STORED,
    NOT_MANAGED,
    NOT_SAVED,
    RENEWING,
    SHUTTING_DOWN,
    STILL_RUNNING,
    OCTET_TOO_BIG,
    NO_HOST_ADDRESS,
    NO_IPV6_ADDRESS,
    NO_HOST_NAME,
    VLAN_TOO_BIG,
    NO_PORT,
    SPACE_INSIDE,
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::screen::INDICATORS_MAX;
    use crate::wrap::wrap;

    /// These fit two rows only where no key acts, and that is how they are shown.
    const NO_INDICATOR: [&str; 2] = [FILESYSTEM_CHECK, SAFE_TO_UNPLUG];

    #[test]
    fn every_text_fits_two_rows_of_sixteen_beside_two_indicators() {
        let links = LINKS.map(|(_, value)| value);
        let links = links
            .iter()
            .flat_map(|value| [Port::Lan, Port::Wan].map(|port| really_link(port, value)));
        let texts = MESSAGES
            .into_iter()
            .chain(ENTRIES)
            .chain(QUESTIONS)
            .map(str::to_owned);
        for text in texts.chain(links) {
            let rows = |indicators| wrap(&text, 16 - indicators, 16).len();
            let beside = if NO_INDICATOR.contains(&text.as_str()) {
                0
            } else {
                INDICATORS_MAX
            };
            assert!(rows(beside) <= 2, "{text}");
            assert!(
                rows(INDICATORS_MAX) <= 2 || beside == 0,
                "{text} needs no exception"
            );
        }
    }

    #[test]
    fn every_title_fits_one_row_beside_two_indicators() {
        assert!(
            TITLES
                .iter()
                .all(|title| title.len() + INDICATORS_MAX <= 16)
        );
        assert!(LINKS.iter().all(|(_, value)| value.len() <= 16));
    }

    #[test]
    fn every_text_is_there_once_and_printable() {
        let all: Vec<&str> = [&MESSAGES[..], &ENTRIES, &QUESTIONS, &TITLES].concat();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        assert!(
            all.iter()
                .all(|text| text.bytes().all(|b| matches!(b, b' '..=b'~')))
        );
    }
}
