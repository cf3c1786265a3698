//! How to scan a world: the trunk file and the targets that cover it.

use std::net::IpAddr;

use sonde_core::trunk::{NetworkConfig, RouteConfig, TrunkConfig, VlanConfig};
use sonde_wire::VlanId;

use super::spec::WorldSpec;
use crate::prefix::Prefix;

impl WorldSpec {
    /// The trunk file: the scanner's addresses and gateways in every VLAN, and routes to networks that only
    /// one VLAN has.
    pub fn trunk(&self) -> TrunkConfig {
        let mut trunk = TrunkConfig::default();
        for vlan in self.vlans() {
            let address = |ipv6, network: Option<Prefix>| {
                let own = self.scanner(vlan, ipv6)?;
                Some(format!("{own}/{}", network?.length()))
            };
            let ipv4 = address(false, self.link4(vlan));
            let ipv6 = address(true, self.link6(vlan));
            let (gateway, gateway6) = (self.gateway(vlan, false), self.gateway(vlan, true));
            match vlan {
                None => {
                    trunk.lan = Some(NetworkConfig {
                        ipv4,
                        gateway,
                        ipv6,
                        gateway6,
                    });
                }
                Some(id) => trunk.vlan.push(VlanConfig {
                    id,
                    name: None,
                    ipv4,
                    gateway,
                    ipv6,
                    gateway6,
                }),
            }
            for to in self.behind_here_only(vlan) {
                if let Some(via) = self.gateway(vlan, to.first().is_ipv6()) {
                    let to = to.to_string();
                    trunk.route.push(RouteConfig { to, via });
                }
            }
        }
        trunk
    }

    /// Targets that cover everything behind the gateways, once each: networks, and ranges where only a part
    /// of a network exists. With `@VLANS` unless there is the untagged LAN alone.
    pub fn targets(&self) -> Vec<String> {
        let written = self.description();
        let lan_only = self.vlans().eq([None]);
        let four = written.behind4.iter().map(|net| (net.per_vlan, None));
        let six = written.behind6.iter();
        let six = six.map(|net| (net.per_vlan, Some(net.hosts)));
        let shapes: Vec<(bool, Option<u32>)> = four.chain(six).collect();
        let mut targets = Vec::new();
        for (at, vlan) in self.vlans().enumerate() {
            for (network, &(per_vlan, hosts)) in self.behind(vlan).into_iter().zip(&shapes) {
                if !per_vlan && at > 0 {
                    continue;
                }
                let text = match (network.first(), hosts) {
                    (IpAddr::V6(first), Some(hosts)) => {
                        let id = |id: u32| {
                            std::net::Ipv6Addr::from_bits(first.to_bits() + u128::from(id))
                        };
                        format!("{}-{}", id(1), id(hosts))
                    }
                    _ => network.to_string(),
                };
                targets.push(match (lan_only, per_vlan, vlan) {
                    (true, ..) => text,
                    (false, false, _) => format!("{text}@{}", written.vlans),
                    (false, true, None) => format!("{text}@lan"),
                    (false, true, Some(vlan)) => format!("{text}@{vlan}"),
                });
            }
        }
        targets
    }

    fn behind_here_only(&self, vlan: Option<VlanId>) -> Vec<Prefix> {
        let written = self.description();
        let four = written.behind4.iter().map(|net| net.per_vlan);
        let own = four.chain(written.behind6.iter().map(|net| net.per_vlan));
        let behind = self.behind(vlan).into_iter().zip(own);
        behind.filter(|(_, own)| *own).map(|(net, _)| net).collect()
    }
}

#[cfg(test)]
mod tests {
    use sonde_core::target::parse_all;

    use super::*;
    use crate::world::Preset;

    #[test]
    fn targets_are_written_as_scanners_read_them() {
        assert_eq!(Preset::Sweep.spec().targets(), ["10.64.0.0/12"]);
        assert_eq!(
            Preset::Ipv6.spec().targets(),
            ["2001:db8:100::1-2001:db8:100::1:0"]
        );
        let trunk = Preset::Trunk.spec().targets();
        assert_eq!(trunk.len(), 4094);
        assert_eq!(trunk[0], "172.16.1.0/24@1");
        assert_eq!(trunk[4093], "172.31.254.0/24@4094");
        for preset in Preset::ALL {
            parse_all(&preset.spec().targets()).unwrap();
        }
    }

    #[test]
    fn the_trunk_file_has_every_vlan_its_gateway_and_its_route() {
        let trunk = Preset::Trunk.spec().trunk();
        assert!(trunk.lan.is_none());
        assert_eq!((trunk.vlan.len(), trunk.route.len()), (4094, 4094));
        let last = &trunk.vlan[4093];
        assert_eq!(last.ipv4.as_deref(), Some("10.15.254.2/24"));
        assert_eq!(last.gateway, Some(IpAddr::from([10, 15, 254, 1])));
        assert_eq!(trunk.route[4093].to, "172.31.254.0/24");
        let lan = Preset::Ipv6.spec().trunk().lan.unwrap();
        assert_eq!(lan.ipv6.as_deref(), Some("2001:db8::2/64"));
        assert_eq!(lan.gateway6, Some("2001:db8::1".parse().unwrap()));
    }
}
