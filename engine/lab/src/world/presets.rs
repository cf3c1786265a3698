//! Worlds by name, each made to ask one thing of a scanner.

use super::spec::{Limit, Network4, Network6, WorldDescription, WorldError, WorldSpec};
use crate::prefix::{InvalidPrefix, Prefix};

/// A world by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// 2^20 hosts behind one gateway, all with port 80 open: speed.
    Sweep,
    /// A /24 behind the gateway, one port in a thousand open, the rest closed: all ports.
    Slash24,
    /// 4094 VLANs, each with a /24 on link, a gateway, and 256 hosts behind it.
    Trunk,
    /// The sweep with 5 % loss each way: retries.
    Lossy,
    /// 2^18 hosts behind a policer of 200,000 packets a second: finding the rate.
    Policed,
    /// 2^16 IPv6 hosts behind a gateway, port 80 open on half of the addresses: lists.
    Ipv6,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Sweep,
        Self::Slash24,
        Self::Trunk,
        Self::Lossy,
        Self::Policed,
        Self::Ipv6,
    ];

    /// What people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sweep => "sweep",
            Self::Slash24 => "slash24",
            Self::Trunk => "trunk",
            Self::Lossy => "lossy",
            Self::Policed => "policed",
            Self::Ipv6 => "ipv6",
        }
    }

    /// The world of that name.
    pub fn spec(self) -> WorldSpec {
        self.description()
            .and_then(|description| WorldSpec::new(description).map_err(Into::into))
            .expect("every preset is made by a test")
    }

    fn description(self) -> Result<WorldDescription, Fault> {
        let sweep = WorldDescription {
            link4: Some(everywhere("10.0.0.0/24")?),
            behind4: vec![everywhere("10.64.0.0/12")?],
            ports: "80".to_owned(),
            ..WorldDescription::default()
        };
        Ok(match self {
            Self::Sweep => sweep,
            Self::Slash24 => WorldDescription {
                behind4: vec![everywhere("10.64.0.0/24")?],
                ports: String::new(),
                open: 0.001,
                ..sweep
            },
            Self::Trunk => WorldDescription {
                vlans: "1-4094".to_owned(),
                link4: Some(per_vlan("10.0.0.0/24")?),
                behind4: vec![per_vlan("172.16.0.0/24")?],
                ..sweep
            },
            Self::Lossy => WorldDescription {
                loss_in: 0.05,
                loss_out: 0.05,
                ..sweep
            },
            Self::Policed => WorldDescription {
                behind4: vec![everywhere("10.64.0.0/14")?],
                policer: Some(Limit {
                    rate: 200_000,
                    depth: 200,
                }),
                ..sweep
            },
            Self::Ipv6 => WorldDescription {
                link6: Some(network6("2001:db8::/64", 0)?),
                behind4: Vec::new(),
                behind6: vec![network6("2001:db8:100::/64", 0x1_0000)?],
                hosts_up: 0.5,
                ..sweep
            },
        })
    }
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Prefix(#[from] InvalidPrefix),
    #[error(transparent)]
    World(#[from] WorldError),
}

fn everywhere(network: &str) -> Result<Network4, Fault> {
    Ok(Network4::everywhere(network.parse::<Prefix>()?))
}

fn per_vlan(network: &str) -> Result<Network4, Fault> {
    Ok(Network4 {
        per_vlan: true,
        ..everywhere(network)?
    })
}

fn network6(network: &str, hosts: u32) -> Result<Network6, Fault> {
    Ok(Network6 {
        network: network.parse()?,
        hosts,
        per_vlan: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::Truth;

    #[test]
    fn presets_hold_what_their_names_say() {
        let truth = |preset: Preset, ports: &[u16]| preset.spec().truth(ports);
        let all = |count| Truth {
            hosts: count,
            up: count,
            open: count,
        };
        assert_eq!(truth(Preset::Sweep, &[80]), all(1 << 20));
        assert_eq!(truth(Preset::Lossy, &[80]), all(1 << 20));
        assert_eq!(truth(Preset::Policed, &[80]), all(1 << 18));
        assert_eq!(truth(Preset::Trunk, &[80]), all(4094 * 256));
        let ports: Vec<u16> = (0..=u16::MAX).collect();
        let slash24 = truth(Preset::Slash24, &ports);
        assert_eq!((slash24.hosts, slash24.up), (256, 256));
        // A thousandth of 2^24, give or take five standard deviations.
        assert!((16_130..17_430).contains(&slash24.open), "{slash24:?}");
        let ipv6 = truth(Preset::Ipv6, &[80]);
        assert_eq!(ipv6.hosts, 1 << 16);
        assert!(
            (32_000..33_500).contains(&ipv6.up) && ipv6.open == ipv6.up,
            "{ipv6:?}"
        );
    }

    #[test]
    fn presets_round_trip_as_files() {
        for preset in Preset::ALL {
            let spec = preset.spec();
            let again = WorldSpec::parse(&spec.to_toml()).unwrap();
            assert_eq!(again.description(), spec.description(), "{}", preset.name());
        }
    }
}
