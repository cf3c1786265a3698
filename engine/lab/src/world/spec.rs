//! What a world is made of, as written in a file or in code, and checked.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use sonde_core::observation::Proto;
use sonde_core::ports::{Ports, PortsError};
use sonde_core::target::{Target, TargetError, VlanSet};
use sonde_wire::{MacAddr, VlanId};

use super::mac_of;
use crate::prefix::Prefix;

/// Networks of a family that a world may have behind the gateway.
pub const BEHIND_MAX: usize = 4;

/// Number of the gateway in its network: the first address after the network's own.
pub(super) const GATEWAY_ID: u32 = 1;
/// Number of the scanner in each network: no host of the world has it.
pub(super) const SCANNER_ID: u32 = 2;

/// A world as written: same keys as the file, unknown ones refused.
///
/// Shares are from 0 to 1. Who is up and which ports are open is decided by a keyed hash of VLAN, address
/// and port, so that a share of one in a thousand is about that, and the same in every run of the same `seed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorldDescription {
    /// Another seed, another choice of hosts and ports.
    pub seed: u32,
    /// Which VLANs there are: `lan` (untagged), `1-4094`, `lan,100,200-210`.
    pub vlans: String,
    /// The IPv4 network on link; a /8 to a /29. Its gateway has its first address, the scanner the second.
    pub link4: Option<Network4>,
    /// The IPv6 network on link. Its gateway is `::1` in it, and `fe80::1`; the scanner is `::2`.
    pub link6: Option<Network6>,
    /// IPv4 networks behind the gateway. All their addresses are hosts', the first and last too.
    pub behind4: Vec<Network4>,
    /// IPv6 networks behind the gateway.
    pub behind6: Vec<Network6>,
    /// Share of the addresses that are up. A gateway always is.
    pub hosts_up: f64,
    /// Share of the hosts that answer every TCP port with a SYN-ACK.
    pub answers_all: f64,
    /// Ports open on every host that is up: `80,443`, `T:22,U:53`.
    pub ports: String,
    /// Share of the other ports that are open.
    pub open: f64,
    /// Share of the ports not open that say so: by RST, or by ICMP port unreachable. The rest is silent.
    pub closed: f64,
    /// Share of frames lost on their way to the world.
    pub loss_in: f64,
    /// Share of answers lost on their way back.
    pub loss_out: f64,
    /// What drops IP packets above a rate, before the world sees them; ARP and neighbor discovery pass.
    pub policer: Option<Limit>,
    /// How many ICMP port unreachable messages the whole world sends; `None`: closed UDP ports are silent.
    pub unreachable: Option<Limit>,
}

/// One IPv4 network in each VLAN.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network4 {
    /// The network of the untagged LAN.
    pub network: Prefix,
    /// VLAN `v` has the network `v` times its own size further up, instead of the same everywhere.
    #[serde(default)]
    pub per_vlan: bool,
}

/// One IPv6 network in each VLAN, and how far the hosts go in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network6 {
    /// The network of the untagged LAN; always a /64.
    pub network: Prefix,
    /// Interface identifiers 1 to this one exist.
    pub hosts: u32,
    /// VLAN `v` has the network `v` further up, instead of the same everywhere.
    #[serde(default)]
    pub per_vlan: bool,
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Tokens a second, 1 to 1,000,000,000.
    pub rate: u32,
    /// Tokens that a full bucket holds, 1 to 1,000,000.
    pub depth: u32,
}

impl Default for WorldDescription {
    /// An untagged LAN without networks: all hosts up, all ports closed, nothing lost.
    fn default() -> Self {
        Self {
            seed: 1,
            vlans: "lan".to_owned(),
            link4: None,
            link6: None,
            behind4: Vec::new(),
            behind6: Vec::new(),
            hosts_up: 1.0,
            answers_all: 0.0,
            ports: String::new(),
            open: 0.0,
            closed: 1.0,
            loss_in: 0.0,
            loss_out: 0.0,
            policer: None,
            unreachable: None,
        }
    }
}

/// Why a description is no world.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// Not TOML, or not these keys.
    #[error("the world file is not understood; `sonde lab world --print` writes one that is")]
    Toml(#[source] Box<toml::de::Error>),
    /// The VLANs are not written right.
    #[error("`vlans` is not understood; write lan, 1-4094 or lan,100,200-210")]
    Vlans(#[source] TargetError),
    /// The ports are not written right.
    #[error("`ports` is not understood; write 80,443 or T:22,U:53")]
    Ports(#[source] PortsError),
    /// A share below 0 or above 1.
    #[error("`{key}` is {value}; a share is from 0 to 1")]
    Share {
        /// The key.
        key: &'static str,
        /// As written.
        value: f64,
    },
    /// A rate or depth out of range.
    #[error("`{0}` has a rate of 1 to 1,000,000,000 a second and a depth of 1 to 1,000,000")]
    Limit(&'static str),
    /// A network of the wrong family or size.
    #[error("`{key}` has {network}; it takes {takes}")]
    Network {
        /// The key.
        key: &'static str,
        /// As written.
        network: Prefix,
        /// What would do.
        takes: &'static str,
    },
    /// Networks behind no gateway.
    #[error("`{0}` needs a gateway; write `{1}`, the network it is on")]
    NoGateway(&'static str, &'static str),
    /// More networks than the program has room for.
    #[error("`{0}` has more than {BEHIND_MAX} networks")]
    TooMany(&'static str),
    /// The networks of the last VLANs would be beyond the last address.
    #[error("`{key}` moves {network} up for each VLAN, beyond the last address; write a lower one")]
    Beyond {
        /// The key.
        key: &'static str,
        /// As written.
        network: Prefix,
    },
    /// Two networks share addresses in some VLAN.
    #[error("{one} and {other} share addresses; an address has one place in a VLAN")]
    Overlap {
        /// One network, in the first VLAN where it happens.
        one: Prefix,
        /// The other.
        other: Prefix,
    },
}

/// A checked world: what is up and open is a stated function of it (see `truth.rs`).
#[derive(Clone, Debug)]
pub struct WorldSpec {
    description: WorldDescription,
    pub(super) vlans: VlanSet,
    /// A bit a port open on every host.
    pub(super) tcp: Box<[u64; 1024]>,
    pub(super) udp: Box<[u64; 1024]>,
    pub(super) shares: Shares,
}

/// Shares as the program compares them: of 2^32.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shares {
    pub(super) hosts_up: u64,
    pub(super) answers_all: u64,
    pub(super) open: u64,
    pub(super) closed: u64,
    pub(super) loss_in: u64,
    pub(super) loss_out: u64,
}

impl WorldSpec {
    /// Checks a description.
    ///
    /// # Errors
    /// See [`WorldError`].
    pub fn new(description: WorldDescription) -> Result<Self, WorldError> {
        let vlans: Target = format!("@{}", description.vlans)
            .parse()
            .map_err(WorldError::Vlans)?;
        let vlans = vlans.vlans.unwrap_or_default();
        let (mut tcp, mut udp) = (Box::new([0; 1024]), Box::new([0; 1024]));
        if !description.ports.is_empty() {
            let ports: Ports = description.ports.parse().map_err(WorldError::Ports)?;
            for (proto, port) in ports.iter() {
                let bits: &mut [u64; 1024] = match proto {
                    Proto::Tcp => &mut tcp,
                    Proto::Udp => &mut udp,
                };
                bits[usize::from(port >> 6)] |= 1 << (port & 63);
            }
        }
        let shares = Shares {
            hosts_up: share("hosts_up", description.hosts_up)?,
            answers_all: share("answers_all", description.answers_all)?,
            open: share("open", description.open)?,
            closed: share("closed", description.closed)?,
            loss_in: share("loss_in", description.loss_in)?,
            loss_out: share("loss_out", description.loss_out)?,
        };
        for (key, limit) in [
            ("policer", description.policer),
            ("unreachable", description.unreachable),
        ] {
            let fits = |limit: &Limit| {
                (1..=1_000_000_000).contains(&limit.rate) && (1..=1_000_000).contains(&limit.depth)
            };
            if !limit.as_ref().is_none_or(fits) {
                return Err(WorldError::Limit(key));
            }
        }
        let spec = Self {
            description,
            vlans,
            tcp,
            udp,
            shares,
        };
        spec.check_networks()?;
        Ok(spec)
    }

    /// Reads a world file.
    ///
    /// # Errors
    /// See [`WorldError`].
    pub fn parse(text: &str) -> Result<Self, WorldError> {
        let toml = |error| WorldError::Toml(Box::new(error));
        Self::new(toml::from_str(text).map_err(toml)?)
    }

    /// The world as a file that [`WorldSpec::parse`] reads.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.description).expect("a description has no maps but with string keys")
    }

    /// As written.
    pub const fn description(&self) -> &WorldDescription {
        &self.description
    }

    /// Its VLANs in ascending order, the untagged LAN (`None`) first.
    pub fn vlans(&self) -> impl Iterator<Item = Option<VlanId>> {
        self.vlans.iter()
    }

    /// The IPv4 network on link in a VLAN.
    pub fn link4(&self, vlan: Option<VlanId>) -> Option<Prefix> {
        Some(self.description.link4.as_ref()?.in_vlan(number(vlan)))
    }

    /// The IPv6 network on link in a VLAN.
    pub fn link6(&self, vlan: Option<VlanId>) -> Option<Prefix> {
        Some(self.description.link6.as_ref()?.in_vlan(number(vlan)))
    }

    /// The gateway's address in a VLAN, IPv4 or IPv6.
    pub fn gateway(&self, vlan: Option<VlanId>, ipv6: bool) -> Option<IpAddr> {
        self.numbered(vlan, ipv6, GATEWAY_ID)
    }

    /// The address that a scanner is to have in a VLAN, IPv4 or IPv6.
    pub fn scanner(&self, vlan: Option<VlanId>, ipv6: bool) -> Option<IpAddr> {
        self.numbered(vlan, ipv6, SCANNER_ID)
    }

    /// The gateway's MAC address in a VLAN for packets of a family; what is sent to another does not arrive.
    pub fn gateway_mac(&self, vlan: Option<VlanId>, ipv6: bool) -> Option<MacAddr> {
        Some(mac_of(vlan, self.gateway(vlan, ipv6)?))
    }

    /// The networks behind the gateway in a VLAN. Of an IPv6 network only the first addresses exist:
    /// see [`Network6::hosts`].
    pub fn behind(&self, vlan: Option<VlanId>) -> Vec<Prefix> {
        let v = number(vlan);
        let four = self.description.behind4.iter().map(|net| net.in_vlan(v));
        let six = self.description.behind6.iter().map(|net| net.in_vlan(v));
        four.chain(six).collect()
    }

    fn numbered(&self, vlan: Option<VlanId>, ipv6: bool, id: u32) -> Option<IpAddr> {
        let network = if ipv6 {
            self.link6(vlan)?
        } else {
            self.link4(vlan)?
        };
        Some(match network.first() {
            IpAddr::V4(first) => Ipv4Addr::from_bits(first.to_bits() + id).into(),
            IpAddr::V6(first) => Ipv6Addr::from_bits(first.to_bits() + u128::from(id)).into(),
        })
    }

    fn check_networks(&self) -> Result<(), WorldError> {
        let written = &self.description;
        let all4 = |key, length: std::ops::RangeInclusive<u8>, takes| {
            move |net: &Network4| net.check(key, length.clone(), takes)
        };
        let link = "an IPv4 network, a /8 to a /29";
        written
            .link4
            .iter()
            .try_for_each(all4("link4", 8..=29, link))?;
        let behind = "an IPv4 network, a /1 to a /32";
        written
            .behind4
            .iter()
            .try_for_each(all4("behind4", 1..=32, behind))?;
        written
            .link6
            .iter()
            .try_for_each(|net| net.check("link6"))?;
        written
            .behind6
            .iter()
            .try_for_each(|net| net.check("behind6"))?;
        if written.behind4.len() > BEHIND_MAX {
            return Err(WorldError::TooMany("behind4"));
        }
        if written.behind6.len() > BEHIND_MAX {
            return Err(WorldError::TooMany("behind6"));
        }
        if !written.behind4.is_empty() && written.link4.is_none() {
            return Err(WorldError::NoGateway("behind4", "link4"));
        }
        if !written.behind6.is_empty() && written.link6.is_none() {
            return Err(WorldError::NoGateway("behind6", "link6"));
        }
        for vlan in self.vlans() {
            let mut networks = self.behind(vlan);
            networks.extend(self.link4(vlan));
            networks.extend(self.link6(vlan));
            for (at, &one) in networks.iter().enumerate() {
                if let Some(&other) = networks[at + 1..]
                    .iter()
                    .find(|other| one.overlaps(**other))
                {
                    return Err(WorldError::Overlap { one, other });
                }
            }
        }
        Ok(())
    }
}

impl Network4 {
    /// The same network in every VLAN.
    pub const fn everywhere(network: Prefix) -> Self {
        Self {
            network,
            per_vlan: false,
        }
    }

    /// How many bits of an address are the host's.
    pub(super) const fn host_bits(&self) -> u32 {
        32 - self.network.length() as u32
    }

    /// First address of the untagged LAN's network.
    pub(super) fn first(&self) -> u32 {
        match self.network.first() {
            IpAddr::V4(first) => first.to_bits(),
            IpAddr::V6(_) => 0,
        }
    }

    /// How far an address is above the first of VLAN `v`'s network; below it, far above.
    pub(super) fn offset(&self, v: u32, ip: u32) -> u32 {
        let up = (u64::from(v) << self.host_bits()) * u64::from(self.per_vlan);
        ip.wrapping_sub(self.first().wrapping_add(up as u32))
    }

    fn in_vlan(&self, v: u32) -> Prefix {
        let up = (u64::from(v) << self.host_bits()) * u64::from(self.per_vlan);
        let first = Ipv4Addr::from_bits(self.first().wrapping_add(up as u32));
        Prefix::around(first.into(), self.network.length())
    }

    fn check(
        &self,
        key: &'static str,
        length: std::ops::RangeInclusive<u8>,
        takes: &'static str,
    ) -> Result<(), WorldError> {
        let network = self.network;
        if !network.first().is_ipv4() || !length.contains(&network.length()) {
            return Err(WorldError::Network {
                key,
                network,
                takes,
            });
        }
        let last = u64::from(self.first()) + (4095 << self.host_bits()) - 1;
        if self.per_vlan && last > u64::from(u32::MAX) {
            return Err(WorldError::Beyond { key, network });
        }
        Ok(())
    }
}

impl Network6 {
    /// High half of the first address of the untagged LAN's network.
    pub(super) fn first(&self) -> u64 {
        match self.network.first() {
            IpAddr::V4(_) => 0,
            IpAddr::V6(first) => (first.to_bits() >> 64) as u64,
        }
    }

    /// True if `high` is the high half of an address in VLAN `v`'s network.
    pub(super) fn has(&self, v: u32, high: u64) -> bool {
        high == self.first() + u64::from(v) * u64::from(self.per_vlan)
    }

    fn in_vlan(&self, v: u32) -> Prefix {
        let high = self.first() + u64::from(v) * u64::from(self.per_vlan);
        let first = Ipv6Addr::from_bits(u128::from(high) << 64);
        Prefix::around(first.into(), 64)
    }

    fn check(&self, key: &'static str) -> Result<(), WorldError> {
        let network = self.network;
        if network.first().is_ipv4() || network.length() != 64 {
            let takes = "an IPv6 network, a /64";
            return Err(WorldError::Network {
                key,
                network,
                takes,
            });
        }
        if self.per_vlan && self.first().checked_add(4094).is_none() {
            return Err(WorldError::Beyond { key, network });
        }
        Ok(())
    }
}

/// 0 for the untagged LAN.
pub(super) fn number(vlan: Option<VlanId>) -> u32 {
    vlan.map_or(0, |vlan| u32::from(vlan.id()))
}

fn share(key: &'static str, value: f64) -> Result<u64, WorldError> {
    if !(0.0..=1.0).contains(&value) {
        return Err(WorldError::Share { key, value });
    }
    // At most 2^32: exact in both types.
    Ok((value * 4_294_967_296.0).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> WorldError {
        WorldSpec::parse(text).unwrap_err()
    }

    #[test]
    fn what_is_no_world_is_refused_with_the_place() {
        assert!(matches!(refused("vlan = 'lan'"), WorldError::Toml(_)));
        assert!(matches!(refused("vlans = '4095'"), WorldError::Vlans(_)));
        assert!(matches!(refused("ports = '80-'"), WorldError::Ports(_)));
        for value in ["-0.1", "1.1", "nan"] {
            let error = refused(&format!("open = {value}"));
            assert!(matches!(error, WorldError::Share { key: "open", .. }));
        }
        let none = refused("[policer]\nrate = 0\ndepth = 1");
        assert!(matches!(none, WorldError::Limit("policer")));
    }

    #[test]
    fn networks_must_fit_and_have_a_gateway() {
        let link = "link4 = { network = '10.0.0.0/24' }\n";
        let behind = |network: &str| refused(&format!("{link}behind4 = [{{ {network} }}]"));
        assert!(matches!(
            refused("behind4 = [{ network = '10.0.0.0/24' }]"),
            WorldError::NoGateway("behind4", "link4")
        ));
        assert!(matches!(
            behind("network = '2001:db8::/64'"),
            WorldError::Network { key: "behind4", .. }
        ));
        assert!(matches!(
            behind("network = '255.0.0.0/16', per_vlan = true"),
            WorldError::Beyond { key: "behind4", .. }
        ));
        assert!(matches!(
            behind("network = '10.0.0.128/25'"),
            WorldError::Overlap { .. }
        ));
        let many = format!(
            "{link}behind4 = [{}]",
            "{ network = '10.1.0.0/24' },".repeat(5)
        );
        assert!(matches!(refused(&many), WorldError::TooMany("behind4")));
        let short = refused("link6 = { network = '2001:db8::/48', hosts = 9 }");
        assert!(matches!(short, WorldError::Network { key: "link6", .. }));
    }
}
