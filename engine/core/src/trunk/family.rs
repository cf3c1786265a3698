//! What IPv4 and IPv6 do not share, so that the rest of the plan is written once for both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::NetworkConfig;
use super::checked::{Network, Place, Trunk};
use super::ways::Ways;
use crate::interval::{Address, AddressSet, Interval, IntervalSet};
use crate::plan::Lan;

/// An address family, as far as code for both needs to tell them apart: `u32` is IPv4, `u128` IPv6.
pub(crate) trait Family: Address {
    /// `IPv4` or `IPv6`.
    const NAME: &'static str;
    /// What the address and the gateway are called in a trunk file.
    const KEYS: [&'static str; 2];
    /// How an address with prefix length looks.
    const EXAMPLE: &'static str;
    /// On link wherever we have an address of this family.
    const LINK_LOCAL: Option<(Self, u8)>;
    /// This family's half of a set.
    fn of(set: &AddressSet) -> &IntervalSet<Self>;
    /// Our place of this family in a network.
    fn place(network: &Network) -> Option<&Place<Self>>;
    /// This family's ways out of a trunk.
    fn ways(trunk: &Trunk) -> &Ways<Self>;
    /// What a trunk file says of this family in a network: address, gateway.
    fn written(network: &NetworkConfig) -> (Option<&str>, Option<IpAddr>);
    /// The interface's own address, prefix length and gateway of this family.
    fn lan(lan: &Lan) -> (Option<(Self, u8)>, Option<Self>);
    /// The number of an address of this family.
    fn from_ip(ip: IpAddr) -> Option<Self>;
    /// Addresses that no host can have: unspecified, loopback, multicast, broadcast.
    const NEVER_A_HOST: &'static [Interval<Self>];
    /// True for one of [`Family::NEVER_A_HOST`].
    fn never_a_host(self) -> bool {
        Self::NEVER_A_HOST
            .iter()
            .any(|interval| interval.contains(self))
    }
}

impl Family for u32 {
    const NAME: &'static str = "IPv4";
    const KEYS: [&'static str; 2] = ["ipv4", "gateway"];
    const EXAMPLE: &'static str = "10.1.0.2/24";
    const LINK_LOCAL: Option<(Self, u8)> = None;
    /// RFC 6890 §2.2.2, RFC 1112 §4.
    const NEVER_A_HOST: &'static [Interval<Self>] = &[
        Interval { first: 0, last: 0 },
        Interval {
            first: 127 << 24,
            last: (128 << 24) - 1,
        },
        Interval {
            first: 224 << 24,
            last: (240 << 24) - 1,
        },
        Interval {
            first: u32::MAX,
            last: u32::MAX,
        },
    ];

    fn of(set: &AddressSet) -> &IntervalSet<Self> {
        &set.v4
    }

    fn place(network: &Network) -> Option<&Place<Self>> {
        network.v4.as_ref()
    }

    fn ways(trunk: &Trunk) -> &Ways<Self> {
        &trunk.v4
    }

    fn written(network: &NetworkConfig) -> (Option<&str>, Option<IpAddr>) {
        (network.ipv4.as_deref(), network.gateway)
    }

    fn lan(lan: &Lan) -> (Option<(Self, u8)>, Option<Self>) {
        (
            lan.ipv4.map(|(ip, len)| (ip.to_bits(), len)),
            lan.gateway4.map(Ipv4Addr::to_bits),
        )
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(ip) => Some(ip.to_bits()),
            IpAddr::V6(_) => None,
        }
    }
}

impl Family for u128 {
    const NAME: &'static str = "IPv6";
    const KEYS: [&'static str; 2] = ["ipv6", "gateway6"];
    const EXAMPLE: &'static str = "2001:db8:100::2/64";
    /// RFC 4291 §2.5.6.
    const LINK_LOCAL: Option<(Self, u8)> = Some((0xfe80 << 112, 10));
    /// RFC 4291 §2.5.2, §2.5.3, §2.7. The unspecified and the loopback address are kept apart,
    /// as the kernel may scan the latter.
    const NEVER_A_HOST: &'static [Interval<Self>] = &[
        Interval { first: 0, last: 0 },
        Interval { first: 1, last: 1 },
        Interval {
            first: 0xff << 120,
            last: u128::MAX,
        },
    ];

    fn of(set: &AddressSet) -> &IntervalSet<Self> {
        &set.v6
    }

    fn place(network: &Network) -> Option<&Place<Self>> {
        network.v6.as_ref()
    }

    fn ways(trunk: &Trunk) -> &Ways<Self> {
        &trunk.v6
    }

    fn written(network: &NetworkConfig) -> (Option<&str>, Option<IpAddr>) {
        (network.ipv6.as_deref(), network.gateway6)
    }

    fn lan(lan: &Lan) -> (Option<(Self, u8)>, Option<Self>) {
        (
            lan.ipv6.map(|(ip, len)| (ip.to_bits(), len)),
            lan.gateway6.map(Ipv6Addr::to_bits),
        )
    }

    fn from_ip(ip: IpAddr) -> Option<Self> {
        match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(ip.to_bits()),
        }
    }
}
