//! One confirmed change, and what can be said against it before anything is stored.

use std::net::IpAddr;
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

use super::{
    HOST_MAX, Ipv4, LanIpv6Auto, LanIpv6Static, LanStatic, Link, Mode, NAME_MAX, PASSWORD_MAX,
    Port, SERVERS_MAX, Secret, VlanId,
};

/// One change a person confirmed. It carries everything it sets, so it can be made whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Change {
    /// LAN by DHCP.
    LanDhcp,
    /// LAN by hand.
    LanStatic(LanStatic),
    /// LAN IPv6 by router advertisement.
    LanIpv6Auto(LanIpv6Auto),
    /// LAN IPv6 by hand.
    LanIpv6Static(LanIpv6Static),
    /// The default network's tag, or none.
    Vlan(Option<VlanId>),
    /// No WAN.
    WanOff,
    /// WAN by DHCP.
    WanDhcp,
    /// WAN by hand.
    WanStatic(Ipv4),
    /// A proxy.
    Proxy(ProxyChange),
    /// No proxy.
    ProxyOff,
    /// What a port is held to.
    Link {
        /// Which port.
        port: Port,
        /// To what.
        link: Link,
    },
    /// Factory defaults of this mode.
    Reset(Mode),
}

/// A proxy as it was entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyChange {
    /// As in [`Proxy`](super::Proxy).
    pub host: String,
    /// As in [`Proxy`](super::Proxy).
    pub port: NonZeroU16,
    /// As in [`Proxy`](super::Proxy).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What becomes of the password.
    pub password: NewPassword,
}

/// What becomes of a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NewPassword {
    /// It stays what it is; none, if there is none.
    Keep,
    /// It is taken away.
    Clear,
    /// It becomes this one.
    Set(Secret),
}

/// Why a change can not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No such prefix length.
    #[error("{family} has no prefix length {prefix_len} for a host: give one between 1 and {max}")]
    PrefixLength {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// What was asked for.
        prefix_len: u8,
        /// The longest.
        max: u8,
    },
    /// An address that no host has.
    #[error("{address} is no address of a host: give the {what}'s own")]
    NoHost {
        /// What was asked for.
        address: IpAddr,
        /// Whose it would be.
        what: &'static str,
    },
    /// Too many servers, or none.
    #[error("{count} {what} servers: give between {min} and {SERVERS_MAX}")]
    Servers {
        /// How many were given.
        count: usize,
        /// The fewest.
        min: usize,
        /// `DNS` or `WINS`.
        what: &'static str,
    },
    /// Letters a text may not have, too many of them, or none.
    #[error("the {what} may have {max} characters of {letters}, and at least one")]
    Text {
        /// Which text.
        what: &'static str,
        /// How long it may be.
        max: usize,
        /// Which letters it may have.
        letters: &'static str,
    },
    /// Split networks need IPv4.
    #[error("there is no WAN in IPv6-only mode: reset to IPv4+v6 mode first")]
    NoWan,
}

impl Change {
    /// Whether the change can be made at all, whatever the settings are.
    ///
    /// # Errors
    /// [`ChangeError`], the first that holds.
    pub fn check(&self) -> Result<(), ChangeError> {
        match self {
            Change::LanStatic(lan) => {
                check_ipv4(&lan.ipv4)?;
                check_servers("WINS", 0, &lan.wins)?;
                match &lan.domain {
                    Some(domain) => check_text(
                        "domain name",
                        domain,
                        NAME_MAX,
                        "upper case, digits, _ and .",
                        |c| matches!(c, 'A'..='Z' | '0'..='9' | '_' | '.'),
                    ),
                    None => Ok(()),
                }
            }
            Change::LanIpv6Auto(auto) => {
                if let Some(gateway) = auto.gateway {
                    check_host("gateway", gateway.into())?;
                }
                check_servers("DNS", 0, &auto.dns)
            }
            Change::LanIpv6Static(hand) => {
                check_prefix("IPv6", hand.prefix_len, 128)?;
                check_host("box", hand.address.into())?;
                check_host("gateway", hand.gateway.into())?;
                check_servers("DNS", 1, &hand.dns)
            }
            Change::WanStatic(ipv4) => check_ipv4(ipv4),
            Change::Proxy(proxy) => check_proxy(proxy),
            Change::LanDhcp
            | Change::Vlan(_)
            | Change::WanOff
            | Change::WanDhcp
            | Change::ProxyOff
            | Change::Link { .. }
            | Change::Reset(_) => Ok(()),
        }
    }
}

fn check_ipv4(ipv4: &Ipv4) -> Result<(), ChangeError> {
    check_prefix("IPv4", ipv4.prefix_len, 30)?;
    check_host("box", ipv4.address.into())?;
    check_host("gateway", ipv4.gateway.into())?;
    check_servers("DNS", 1, &ipv4.dns)
}

fn check_prefix(family: &'static str, prefix_len: u8, max: u8) -> Result<(), ChangeError> {
    if (1..=max).contains(&prefix_len) {
        return Ok(());
    }
    Err(ChangeError::PrefixLength {
        family,
        prefix_len,
        max,
    })
}

/// What a host on a network can have: not unspecified, loopback, multicast or broadcast.
pub fn is_host(address: IpAddr) -> bool {
    let broadcast =
        matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 0 || v4.octets()[0] >= 240);
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || broadcast)
}

fn check_host(what: &'static str, address: IpAddr) -> Result<(), ChangeError> {
    if is_host(address) {
        Ok(())
    } else {
        Err(ChangeError::NoHost { address, what })
    }
}

fn check_servers<A: Copy + Into<IpAddr>>(
    what: &'static str,
    min: usize,
    servers: &[A],
) -> Result<(), ChangeError> {
    if !(min..=SERVERS_MAX).contains(&servers.len()) {
        return Err(ChangeError::Servers {
            count: servers.len(),
            min,
            what,
        });
    }
    servers
        .iter()
        .try_for_each(|server| check_host("server", (*server).into()))
}

fn check_proxy(proxy: &ProxyChange) -> Result<(), ChangeError> {
    check_text(
        "proxy host",
        &proxy.host,
        HOST_MAX,
        "letters, digits, . - and :",
        |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':'),
    )?;
    if let Some(user) = &proxy.user {
        check_text(
            "proxy user",
            user,
            NAME_MAX,
            "letters, digits, _ - \\ . and @",
            |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '\\' | '.' | '@'),
        )?;
    }
    match &proxy.password {
        NewPassword::Set(password) => check_text(
            "proxy password",
            password.reveal(),
            PASSWORD_MAX,
            "printable ASCII without blanks",
            |c| c.is_ascii_graphic(),
        ),
        NewPassword::Keep | NewPassword::Clear => Ok(()),
    }
}

fn check_text(
    what: &'static str,
    text: &str,
    max: usize,
    letters: &'static str,
    allowed: fn(char) -> bool,
) -> Result<(), ChangeError> {
    if !text.is_empty() && text.len() <= max && text.chars().all(allowed) {
        Ok(())
    } else {
        Err(ChangeError::Text { what, max, letters })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn what_no_box_can_have_is_refused_by_name() {
        let wan = |change: fn(&mut Ipv4)| {
            let mut ipv4 = Ipv4 {
                address: [10, 0, 0, 5].into(),
                prefix_len: 24,
                gateway: [10, 0, 0, 1].into(),
                dns: vec![[10, 0, 0, 2].into()],
            };
            change(&mut ipv4);
            Change::WanStatic(ipv4).check()
        };
        assert!(matches!(
            wan(|ipv4| ipv4.prefix_len = 31),
            Err(ChangeError::PrefixLength { prefix_len: 31, .. })
        ));
        assert!(matches!(
            wan(|ipv4| ipv4.gateway = Ipv4Addr::LOCALHOST),
            Err(ChangeError::NoHost {
                what: "gateway",
                ..
            })
        ));
        assert!(matches!(
            wan(|ipv4| ipv4.dns.clear()),
            Err(ChangeError::Servers {
                count: 0,
                min: 1,
                ..
            })
        ));
        let blank = Change::Proxy(ProxyChange {
            host: "PROXY.EXAMPLE".into(),
            port: NonZeroU16::MIN,
            user: None,
            password: NewPassword::Set(Secret::new("a b".into())),
        });
        assert!(matches!(blank.check(), Err(ChangeError::Text { .. })));
    }
}
