//! What is asked in a scenario: blocks of addresses times a range of ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use super::truth::Endpoint;

/// Neighbouring addresses of one VLAN; 0 is the untagged LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block {
    pub(crate) vlan: u16,
    pub(crate) first: IpAddr,
    /// A power of two that `first` is a multiple of.
    pub(crate) hosts: u32,
}

/// Every port of every address of every block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// In ascending order, none overlapping.
    blocks: Vec<Block>,
    pub(crate) ports: RangeInclusive<u16>,
}

impl Plan {
    pub(crate) fn new(mut blocks: Vec<Block>, ports: RangeInclusive<u16>) -> Self {
        blocks.sort_unstable();
        Self { blocks, ports }
    }

    /// One untagged network.
    pub(crate) fn network(
        first: impl Into<IpAddr>,
        hosts: u32,
        ports: RangeInclusive<u16>,
    ) -> Self {
        let first = first.into();
        let block = Block {
            vlan: 0,
            first,
            hosts,
        };
        Self::new(vec![block], ports)
    }

    /// How many endpoints there are.
    pub(crate) fn probes(&self) -> u64 {
        let hosts: u64 = self.blocks.iter().map(|block| u64::from(block.hosts)).sum();
        hosts * self.ports.clone().count() as u64
    }

    /// All of them.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = Endpoint> {
        self.blocks.iter().flat_map(|block| {
            (0..block.hosts).flat_map(|host| {
                let ip = after(block.first, host);
                let vlan = block.vlan;
                self.ports
                    .clone()
                    .map(move |port| Endpoint { vlan, ip, port })
            })
        })
    }

    /// Whether an endpoint is one of them.
    pub(crate) fn contains(&self, at: &Endpoint) -> bool {
        let behind = self
            .blocks
            .partition_point(|block| (block.vlan, block.first) <= (at.vlan, at.ip));
        let Some(block) = behind
            .checked_sub(1)
            .and_then(|index| self.blocks.get(index))
        else {
            return false;
        };
        block.vlan == at.vlan
            && at.ip < after(block.first, block.hosts)
            && at.ip.is_ipv4() == block.first.is_ipv4()
            && self.ports.contains(&at.port)
    }

    /// True if any block is of IPv6.
    pub(crate) fn is_six(&self) -> bool {
        self.blocks.iter().any(|block| block.first.is_ipv6())
    }

    /// The blocks as scanners take them: `10.0.0.0/12`, `10.1.0.0/24@7`, a single address without its length.
    pub(crate) fn targets(&self) -> Vec<String> {
        let words = self.blocks.iter().map(|block| {
            let bits = if block.first.is_ipv4() { 32 } else { 128 };
            let length = bits - block.hosts.trailing_zeros();
            let network = if length == bits {
                block.first.to_string()
            } else {
                format!("{}/{length}", block.first)
            };
            match block.vlan {
                0 => network,
                vlan => format!("{network}@{vlan}"),
            }
        });
        words.collect()
    }
}

/// The address `steps` after `ip`; the last one if there is none.
fn after(ip: IpAddr, steps: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip).saturating_add(steps)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip).saturating_add(steps.into())).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks() -> Plan {
        let block = |vlan, first: &str, hosts| Block {
            vlan,
            first: first.parse().unwrap(),
            hosts,
        };
        let blocks = vec![
            block(7, "10.1.0.0", 4),
            block(0, "10.1.0.0", 2),
            block(0, "2001:db8::9", 1),
        ];
        Plan::new(blocks, 80..=81)
    }

    #[test]
    fn all_endpoints_are_there_once_and_known() {
        let plan = blocks();
        let mut all: Vec<_> = plan.endpoints().collect();
        assert_eq!(all.len(), 14);
        assert_eq!(plan.probes(), 14);
        assert!(all.iter().all(|at| plan.contains(at)));
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 14);
    }

    #[test]
    fn what_is_beside_is_not_in_it() {
        let plan = blocks();
        let at = |vlan, ip: &str, port| Endpoint {
            vlan,
            ip: ip.parse().unwrap(),
            port,
        };
        for other in [
            at(7, "10.1.0.4", 80),
            at(7, "10.0.255.255", 80),
            at(6, "10.1.0.0", 80),
            at(0, "10.1.0.2", 80),
            at(0, "10.1.0.0", 82),
            at(0, "2001:db8::8", 80),
            at(0, "2001:db8::a", 80),
        ] {
            assert!(!plan.contains(&other), "{other:?}");
        }
    }

    #[test]
    fn blocks_are_written_as_targets() {
        let expected = ["10.1.0.0/31", "2001:db8::9", "10.1.0.0/30@7"];
        assert_eq!(blocks().targets(), expected);
        let one = Plan::network([10, 0, 0, 0], 1 << 20, 80..=80);
        assert_eq!(one.targets(), ["10.0.0.0/12"]);
        assert!(!one.is_six() && blocks().is_six());
    }
}
