//! The box's own settings: what the panel shows and changes, and the agent keeps.
//!
//! A [`Settings`] is always whole, and a [`Change`] is one thing a person confirmed: it is made whole or
//! not at all ([`Settings::with`]). Nothing here looks at the machine.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};
pub use sonde_core::trunk::VlanId;

pub use change::{Change, ChangeError, NewPassword, ProxyChange, is_host};

mod change;

/// Most name servers of a kind, and most WINS servers.
pub const SERVERS_MAX: usize = 2;
/// Longest DNS name (RFC 1035 §2.3.4), in its written form.
pub const HOST_MAX: usize = 253;
/// Longest Windows domain and longest proxy user, in characters.
pub const NAME_MAX: usize = 32;
/// Longest proxy password, in characters.
pub const PASSWORD_MAX: usize = 16;

/// Every network setting of a box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Which protocols the box speaks at all.
    pub mode: Mode,
    /// IPv4 on the LAN; means nothing in [`Mode::Ipv6Only`].
    pub lan: Lan,
    /// IPv6 on the LAN.
    pub lan_ipv6: LanIpv6,
    /// Tag of the LAN's default network, set at the box; `None`: untagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
    /// The interface for the cloud alone, when the network is split.
    pub wan: Wan,
    /// The proxy on the way to the cloud.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<Proxy>,
    /// What the LAN port is held to.
    pub lan_link: Link,
    /// What the WAN port is held to.
    pub wan_link: Link,
}

/// Which protocols the box speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// IPv4 to the cloud, both for scanning.
    #[default]
    Ipv4Ipv6,
    /// IPv6 for everything; there is no WAN.
    Ipv6Only,
}

/// IPv4 on the LAN.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lan {
    /// By DHCP.
    #[default]
    Dhcp,
    /// By hand.
    Static(LanStatic),
}

/// IPv4 on the LAN, by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanStatic {
    /// Address and way out.
    pub ipv4: Ipv4,
    /// WINS servers, at most [`SERVERS_MAX`]: for information.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wins: Vec<Ipv4Addr>,
    /// Windows domain: upper case, digits, `_` and `.`, at most [`NAME_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

/// Address and way out of one interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ipv4 {
    /// The box's address.
    pub address: Ipv4Addr,
    /// Prefix length, 1 to 30.
    pub prefix_len: u8,
    /// Default gateway.
    pub gateway: Ipv4Addr,
    /// Name servers, one to [`SERVERS_MAX`], the first asked first.
    pub dns: Vec<Ipv4Addr>,
}

/// IPv6 on the LAN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LanIpv6 {
    /// By router advertisement.
    Auto(LanIpv6Auto),
    /// By hand.
    Static(LanIpv6Static),
}

impl Default for LanIpv6 {
    fn default() -> LanIpv6 {
        LanIpv6::Auto(LanIpv6Auto::default())
    }
}

/// IPv6 by router advertisement, and what a person puts in its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanIpv6Auto {
    /// Instead of the router that advertises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv6Addr>,
    /// Asked before the servers that were advertised; at most [`SERVERS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Ipv6Addr>,
}

/// IPv6 by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanIpv6Static {
    /// The box's address.
    pub address: Ipv6Addr,
    /// Prefix length, 1 to 128.
    pub prefix_len: u8,
    /// Default gateway.
    pub gateway: Ipv6Addr,
    /// Name servers, one to [`SERVERS_MAX`].
    pub dns: Vec<Ipv6Addr>,
}

/// The WAN interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Wan {
    /// Not used: the LAN carries everything.
    #[default]
    Off,
    /// By DHCP.
    Dhcp,
    /// By hand.
    Static(Ipv4),
}

/// The proxy on the way to the cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proxy {
    /// Name or address, at most [`HOST_MAX`] characters.
    pub host: String,
    /// Port.
    pub port: NonZeroU16,
    /// `user` or `domain\user`, at most [`NAME_MAX`] characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// At most [`PASSWORD_MAX`] characters. Settings that left the agent have an empty one in place
    /// of what is stored ([`Settings::redacted`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
}

impl Proxy {
    /// Domain and user: what stands before and after the first backslash.
    pub fn login(&self) -> Option<(Option<&str>, &str)> {
        let user = self.user.as_deref()?;
        Some(match user.split_once('\\') {
            Some((domain, user)) => (Some(domain), user),
            None => (None, user),
        })
    }
}

/// What no log and no debug output shows.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret.
    pub fn new(secret: String) -> Secret {
        Secret(secret)
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What an Ethernet port is held to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// Whatever both ends agree on.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// 1 Gbit/s, both ways at once.
    #[serde(rename = "1000-full")]
    Full1000,
    /// 100 Mbit/s, both ways at once.
    #[serde(rename = "100-full")]
    Full100,
    /// 100 Mbit/s, one way at a time.
    #[serde(rename = "100-half")]
    Half100,
    /// 10 Mbit/s, both ways at once.
    #[serde(rename = "10-full")]
    Full10,
    /// 10 Mbit/s, one way at a time.
    #[serde(rename = "10-half")]
    Half10,
}

/// One of the two Ethernet ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Port {
    /// Scans, and everything else unless the network is split.
    Lan,
    /// The cloud alone.
    Wan,
}

impl Settings {
    /// Factory defaults of `mode`.
    pub fn factory(mode: Mode) -> Settings {
        Settings {
            mode,
            ..Settings::default()
        }
    }

    /// The settings after `change`.
    ///
    /// # Errors
    /// [`ChangeError`]: then nothing is changed.
    pub fn with(&self, change: &Change) -> Result<Settings, ChangeError> {
        change.check()?;
        let mut next = self.clone();
        match change {
            Change::LanDhcp => next.lan = Lan::Dhcp,
            Change::LanStatic(lan) => next.lan = Lan::Static(lan.clone()),
            Change::LanIpv6Auto(auto) => next.lan_ipv6 = LanIpv6::Auto(auto.clone()),
            Change::LanIpv6Static(hand) => next.lan_ipv6 = LanIpv6::Static(hand.clone()),
            Change::Vlan(vlan) => next.vlan = *vlan,
            Change::WanOff => next.wan = Wan::Off,
            Change::WanDhcp | Change::WanStatic(_) if self.mode == Mode::Ipv6Only => {
                return Err(ChangeError::NoWan);
            }
            Change::WanDhcp => next.wan = Wan::Dhcp,
            Change::WanStatic(ipv4) => next.wan = Wan::Static(ipv4.clone()),
            Change::Proxy(proxy) => {
                let old = next.proxy.take().and_then(|old| old.password);
                next.proxy = Some(Proxy {
                    host: proxy.host.clone(),
                    port: proxy.port,
                    user: proxy.user.clone(),
                    password: match &proxy.password {
                        NewPassword::Keep => old,
                        NewPassword::Clear => None,
                        NewPassword::Set(password) => Some(password.clone()),
                    },
                });
            }
            Change::ProxyOff => next.proxy = None,
            Change::Link { port, link } => match port {
                Port::Lan => next.lan_link = *link,
                Port::Wan => next.wan_link = *link,
            },
            Change::Reset(mode) => next = Settings::factory(*mode),
        }
        Ok(next)
    }

    /// The same with no secret in it: a password that is set is an empty one.
    #[must_use]
    pub fn redacted(mut self) -> Settings {
        if let Some(password) = self
            .proxy
            .as_mut()
            .and_then(|proxy| proxy.password.as_mut())
        {
            *password = Secret::new(String::new());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4() -> Ipv4 {
        Ipv4 {
            address: [10, 0, 0, 5].into(),
            prefix_len: 24,
            gateway: [10, 0, 0, 1].into(),
            dns: vec![[10, 0, 0, 2].into()],
        }
    }

    fn proxy(password: NewPassword) -> Change {
        Change::Proxy(ProxyChange {
            host: "PROXY.EXAMPLE".into(),
            port: NonZeroU16::new(3128).unwrap(),
            user: Some("OFFICE\\scanner".into()),
            password,
        })
    }

    #[test]
    fn a_change_is_made_whole_and_the_rest_stays() {
        let before = Settings {
            lan_link: Link::Half10,
            ..Settings::default()
        };
        let lan = LanStatic {
            ipv4: ipv4(),
            wins: vec![],
            domain: Some("EXAMPLE.ORG".into()),
        };
        let after = before.with(&Change::LanStatic(lan.clone())).unwrap();
        assert_eq!(
            after,
            Settings {
                lan: Lan::Static(lan),
                ..before
            }
        );
        let reset = after.with(&Change::Reset(Mode::Ipv6Only)).unwrap();
        assert_eq!(reset, Settings::factory(Mode::Ipv6Only));
        assert_eq!(reset.with(&Change::WanDhcp), Err(ChangeError::NoWan));
    }

    #[test]
    fn a_password_is_kept_replaced_taken_away_and_never_shown() {
        let secret = Secret::new("s3cret".into());
        let set = Settings::default()
            .with(&proxy(NewPassword::Set(secret)))
            .unwrap();
        assert!(!format!("{set:?}").contains("s3cret"));
        let kept = set.with(&proxy(NewPassword::Keep)).unwrap();
        assert_eq!(kept, set);
        let cleared = set.with(&proxy(NewPassword::Clear)).unwrap();
        assert_eq!(cleared.proxy.unwrap().password, None);
        let redacted = set.redacted().proxy.unwrap();
        assert_eq!(redacted.password.as_ref().map(Secret::reveal), Some(""));
        assert_eq!(redacted.login(), Some((Some("OFFICE"), "scanner")));
    }

    #[test]
    fn a_settings_file_reads_back_and_unknown_keys_are_refused() {
        let settings = Settings {
            lan: Lan::Static(LanStatic {
                ipv4: ipv4(),
                wins: vec![],
                domain: None,
            }),
            vlan: VlanId::new(100),
            wan: Wan::Dhcp,
            ..Settings::default()
        };
        let text = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&text).unwrap(), settings);
        let more = text.replacen('{', "{\"more\":1,", 1);
        assert!(serde_json::from_str::<Settings>(&more).is_err());
    }
}
