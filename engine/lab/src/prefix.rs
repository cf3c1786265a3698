//! An address with the length of its prefix, as people write it: `10.1.0.0/24`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A network: its first address and how many bits of it are the network's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    first: IpAddr,
    length: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrefix {
    /// Not `ADDRESS/LENGTH`.
    #[error("`{0}` is no network; write its first address and length, as 10.1.0.0/24")]
    Syntax(String),
    /// Bits of the host are set.
    #[error("`{text}` names a host inside a network; the network is {network}")]
    HostBits {
        /// As written.
        text: String,
        /// What was meant, probably.
        network: Prefix,
    },
}

impl Prefix {
    /// The network of `length` bits that `address` is in; a length beyond the family's is cut to it.
    pub fn around(address: IpAddr, length: u8) -> Self {
        match address {
            IpAddr::V4(v4) => {
                let length = length.min(32);
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                Self {
                    first: Ipv4Addr::from_bits(v4.to_bits() & mask).into(),
                    length,
                }
            }
            IpAddr::V6(v6) => {
                let length = length.min(128);
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                Self {
                    first: Ipv6Addr::from_bits(v6.to_bits() & mask).into(),
                    length,
                }
            }
        }
    }

    /// The first address: all bits of the host are zero.
    pub const fn first(self) -> IpAddr {
        self.first
    }

    /// The last address: all bits of the host are one.
    pub fn last(self) -> IpAddr {
        let length = u32::from(self.length);
        match self.first {
            IpAddr::V4(first) => {
                let host = u32::MAX.checked_shr(length).unwrap_or(0);
                Ipv4Addr::from_bits(first.to_bits() | host).into()
            }
            IpAddr::V6(first) => {
                let host = u128::MAX.checked_shr(length).unwrap_or(0);
                Ipv6Addr::from_bits(first.to_bits() | host).into()
            }
        }
    }

    /// How many bits are the network's.
    pub const fn length(self) -> u8 {
        self.length
    }

    /// True if `address` is in this network.
    pub fn contains(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && Self::around(address, self.length) == self
    }

    /// True if some address is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// True if a host can have `address` here: in the network and neither its first nor, in IPv4, its
    /// last address (RFC 1122 §3.2.1.3; RFC 4291 §2.6.1), as far as the network is large enough to have them.
    pub fn has_host(self, address: IpAddr) -> bool {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let is_broadcast = address.is_ipv4() && address == self.last();
        let is_edge = address == self.first || is_broadcast;
        self.contains(address) && (self.length + 1 >= bits || !is_edge)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.length)
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || InvalidPrefix::Syntax(text.to_owned());
        let (address, length) = text.split_once('/').ok_or_else(syntax)?;
        let address: IpAddr = address.parse().map_err(|_| syntax())?;
        let length: u8 = length.parse().map_err(|_| syntax())?;
        if length > if address.is_ipv4() { 32 } else { 128 } {
            return Err(syntax());
        }
        let network = Self::around(address, length);
        if network.first == address {
            Ok(network)
        } else {
            Err(InvalidPrefix::HostBits {
                text: text.to_owned(),
                network,
            })
        }
    }
}

impl Serialize for Prefix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn round_trips_and_refuses_nonsense() {
        for good in [
            "0.0.0.0/0",
            "10.1.0.0/24",
            "10.1.0.9/32",
            "::/0",
            "2001:db8::/32",
            "::1/128",
        ] {
            assert_eq!(prefix(good).to_string(), good);
        }
        for bad in [
            "",
            "10.1.0.0",
            "10.1.0.0/33",
            "::/129",
            "10.1.0/24",
            "10.1.0.0/x",
        ] {
            assert_eq!(
                bad.parse::<Prefix>(),
                Err(InvalidPrefix::Syntax(bad.to_owned()))
            );
        }
        let error = "10.1.0.9/24".parse::<Prefix>().unwrap_err();
        assert!(
            error.to_string().ends_with("the network is 10.1.0.0/24"),
            "{error}"
        );
    }

    #[test]
    fn contains_by_family_and_bits() {
        assert!(prefix("10.1.0.0/24").contains(ip("10.1.0.255")));
        assert!(!prefix("10.1.0.0/24").contains(ip("10.1.1.0")));
        assert!(!prefix("0.0.0.0/0").contains(ip("::")));
        assert!(prefix("0.0.0.0/0").contains(ip("255.255.255.255")));
        assert!(prefix("::/0").contains(ip("2001:db8::1")));
        assert!(prefix("10.1.0.0/24").overlaps(prefix("10.0.0.0/8")));
        assert!(prefix("10.0.0.0/8").overlaps(prefix("10.1.0.0/24")));
        assert!(!prefix("10.1.0.0/24").overlaps(prefix("10.1.1.0/24")));
    }

    #[test]
    fn the_edges_of_a_network_are_no_hosts() {
        let net = prefix("10.1.0.0/24");
        assert!(!net.has_host(ip("10.1.0.0")) && !net.has_host(ip("10.1.0.255")));
        assert!(net.has_host(ip("10.1.0.1")) && net.has_host(ip("10.1.0.254")));
        assert_eq!(prefix("0.0.0.0/0").last(), ip("255.255.255.255"));
        assert_eq!(prefix("10.1.0.7/32").last(), ip("10.1.0.7"));
        assert_eq!(prefix("2001:db8::/120").last(), ip("2001:db8::ff"));
        assert!(prefix("10.1.0.0/31").has_host(ip("10.1.0.0")));
        assert!(prefix("10.1.0.7/32").has_host(ip("10.1.0.7")));
        assert!(!prefix("2001:db8::/64").has_host(ip("2001:db8::")));
        assert!(prefix("2001:db8::/64").has_host(ip("2001:db8::ffff:ffff:ffff:ffff")));
    }
}
