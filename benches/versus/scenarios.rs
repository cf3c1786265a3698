//! What is compared, as data.

use std::net::{IpAddr, Ipv6Addr};

use super::plan::{Block, Plan};
use super::tools::{Setting, Tool};

/// The network that is scanned; [`super::world`] builds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Behind one gateway, every host answers, port 80 open.
    Sweep,
    /// Behind one gateway, every host answers on every port; some are open.
    Ports,
    /// The same as `Sweep`, in each of 4094 VLANs behind a gateway of its own.
    Trunk,
    /// As `Sweep`; each direction loses this share of all frames.
    Lossy(f64),
    /// As `Sweep`; frames above this rate are lost.
    Policed(u64),
    /// IPv6 hosts behind one gateway.
    Six,
    /// Takes everything, answers nothing but ARP.
    Dark,
    /// A host with the kernel's own TCP, on link.
    Host,
}

/// How a scanner's setting is found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Choice {
    /// As told.
    Fixed(Setting),
    /// Each is tried once, on the whole plan or on this part of it; the fastest that finds enough is taken.
    Tried(Vec<Setting>, Option<Plan>),
}

/// One scanner in a scenario.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) tool: Tool,
    /// What sets it apart from another entry of the same scanner; may be empty.
    pub(crate) label: String,
    pub(crate) world: Kind,
    pub(crate) plan: Plan,
    pub(crate) choice: Choice,
    /// Options for Sonde alone.
    pub(crate) sonde: &'static [&'static str],
    /// Ends a command that is not meant to finish, and is a success then.
    pub(crate) cut_short: bool,
}

/// What is concluded from the entries of a scenario.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Judge {
    /// How many times faster the whole command is than the best other that finds enough.
    Speed { goal: f64 },
    /// Tagged against untagged; the first two entries.
    Tags,
    /// What is found in spite of losses, and what that took.
    Loss { share: f64 },
    /// Every entry's rate against what was asked.
    Rate,
    /// What is found, and the rate that was settled for, against what the policer lets through.
    Policer { rate: u64 },
    /// Frames a second of sending, and the processor's time a frame.
    Sending,
    /// The most memory held.
    Memory,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scenario {
    /// For `--only`.
    pub(crate) name: &'static str,
    pub(crate) title: String,
    pub(crate) entries: Vec<Entry>,
    pub(crate) judge: Judge,
}

/// VLANs of a whole trunk.
pub(crate) const VLANS: u16 = 4094;
/// Frames a second that the policer of the policed world lets through.
pub(crate) const POLICED: u64 = 200_000;
/// The share of frames that the lossy world loses, each way.
pub(crate) const LOSS: f64 = 0.05;

/// All scenarios, whole or `quick`: the same on worlds that take a moment.
pub(crate) fn all(quick: bool) -> Vec<Scenario> {
    let size = |whole: u32, small: u32| if quick { small } else { whole };
    let mut all = vec![
        sweep(size(1 << 20, 1 << 12)),
        ports(size(256, 4), if quick { 1024 } else { u16::MAX }),
        host(if quick { 2048 } else { u16::MAX }),
        trunk(if quick { 16 } else { VLANS }, size(256, 16)),
        lossy(size(1 << 20, 1 << 12)),
        rates(quick),
        six(size(1 << 16, 1 << 8)),
        policed(size(1 << 22, 1 << 17)),
        sending(size(1 << 23, 1 << 14)),
        memory(quick),
    ];
    if quick {
        for scenario in &mut all {
            // Each of the others once, without trying: that takes some seconds as it is.
            let entries = &mut scenario.entries;
            entries.retain(|entry| scenario.name == "sweep" || entry.tool == Tool::Sonde);
            for entry in entries {
                if let Choice::Tried(settings, _) = &entry.choice {
                    entry.choice = Choice::Fixed(settings[1]);
                }
            }
        }
    }
    all
}

fn entry(tool: Tool, world: Kind, plan: &Plan, choice: Choice) -> Entry {
    Entry {
        tool,
        label: String::new(),
        world,
        plan: plan.clone(),
        choice,
        sonde: &[],
        cut_short: false,
    }
}

fn fast(tool: Tool, world: Kind, plan: &Plan) -> Entry {
    entry(tool, world, plan, Choice::Fixed(Setting::MAX))
}

/// zmap's settings that were worth trying, from the slowest.
fn zmap(world: Kind, plan: &Plan) -> Entry {
    let two = Setting {
        threads: 2,
        ..Setting::MAX
    };
    let rates = [200_000, 260_000, 350_000, 500_000].map(Setting::rate);
    let tried = rates.into_iter().chain([Setting::MAX, two]).collect();
    entry(Tool::Zmap, world, plan, Choice::Tried(tried, None))
}

/// masscan's.
fn masscan(world: Kind, plan: &Plan, part: Option<Plan>) -> Entry {
    let rates = [60_000, 90_000, 130_000, 200_000, 300_000].map(Setting::rate);
    let tried = rates.into_iter().chain([Setting::MAX]).collect();
    entry(Tool::Masscan, world, plan, Choice::Tried(tried, part))
}

fn sweep(hosts: u32) -> Scenario {
    let plan = Plan::network(FIRST, hosts, 80..=80);
    // It would take minutes for all of them.
    let part = Plan::network(FIRST, hosts.min(1 << 14), 80..=80);
    Scenario {
        name: "sweep",
        title: format!("{hosts} hosts, one port, every host answers"),
        entries: vec![
            fast(Tool::Sonde, Kind::Sweep, &plan),
            zmap(Kind::Sweep, &plan),
            masscan(Kind::Sweep, &plan, None),
            fast(Tool::Nmap, Kind::Sweep, &part),
        ],
        judge: Judge::Speed { goal: 8.0 },
    }
}

fn ports(hosts: u32, last: u16) -> Scenario {
    let plan = Plan::network(FIRST, hosts, 1..=last);
    let part = Plan::network(FIRST, hosts.min(16), 1..=last);
    Scenario {
        name: "slash24",
        title: format!("{hosts} hosts, ports 1 to {last}, every port answers"),
        entries: vec![
            fast(Tool::Sonde, Kind::Ports, &plan),
            zmap(Kind::Ports, &plan),
            masscan(Kind::Ports, &plan, Some(part)),
        ],
        judge: Judge::Speed { goal: 15.0 },
    }
}

fn host(last: u16) -> Scenario {
    let plan = Plan::network(HOST, 1, 1..=last);
    Scenario {
        name: "host",
        title: format!("one host with the kernel's own TCP, ports 1 to {last}"),
        entries: vec![
            fast(Tool::Sonde, Kind::Host, &plan),
            entry(
                Tool::Masscan,
                Kind::Host,
                &plan,
                Choice::Tried([20_000, 60_000, 130_000].map(Setting::rate).to_vec(), None),
            ),
            fast(Tool::Nmap, Kind::Host, &plan),
        ],
        judge: Judge::Speed { goal: 1.0 },
    }
}

fn trunk(vlans: u16, hosts: u32) -> Scenario {
    let blocks = (1..=vlans).map(|vlan| Block {
        vlan,
        first: vlan_network(vlan),
        hosts,
    });
    let tagged = Plan::new(blocks.collect(), 80..=80);
    let untagged: Vec<_> = (1..=vlans)
        .map(|vlan| Block {
            vlan: 0,
            first: vlan_network(vlan),
            hosts,
        })
        .collect();
    let untagged = Plan::new(untagged, 80..=80);
    let one = Plan::network(FIRST, hosts, 80..=80);
    let named = |entry: Entry, label: &str| Entry {
        label: label.to_owned(),
        ..entry
    };
    let at = |tool, rate| entry(tool, Kind::Sweep, &one, Choice::Fixed(Setting::rate(rate)));
    Scenario {
        name: "trunk",
        title: format!("{vlans} VLANs of {hosts} hosts, one port, every host answers"),
        entries: vec![
            named(fast(Tool::Sonde, Kind::Trunk, &tagged), "tagged"),
            named(
                fast(Tool::Sonde, Kind::Sweep, &untagged),
                "the same hosts, untagged",
            ),
            named(at(Tool::Zmap, 260_000), "one VLAN, untagged"),
            named(at(Tool::Masscan, 90_000), "one VLAN, untagged"),
        ],
        judge: Judge::Tags,
    }
}

fn lossy(hosts: u32) -> Scenario {
    let plan = Plan::network(FIRST, hosts, 80..=80);
    let world = Kind::Lossy(LOSS);
    let rate = |tool, rate| entry(tool, world, &plan, Choice::Fixed(Setting::rate(rate)));
    Scenario {
        name: "loss",
        title: format!(
            "{hosts} hosts, one port; {} % of the frames lost each way",
            LOSS * 100.0
        ),
        entries: vec![
            fast(Tool::Sonde, world, &plan),
            rate(Tool::Zmap, 260_000),
            rate(Tool::Masscan, 90_000),
        ],
        judge: Judge::Loss { share: LOSS },
    }
}

fn rates(quick: bool) -> Scenario {
    // Some seconds of each.
    let rates: &[(u64, u32)] = if quick {
        &[(10_000, 1 << 13)]
    } else {
        &[
            (1_000, 1 << 13),
            (10_000, 1 << 15),
            (100_000, 1 << 19),
            (1_000_000, 1 << 22),
        ]
    };
    let mut entries = Vec::new();
    for &(rate, hosts) in rates {
        let plan = Plan::network(FIRST, hosts, 80..=80);
        for tool in [Tool::Sonde, Tool::Zmap, Tool::Masscan] {
            let choice = Choice::Fixed(Setting::rate(rate));
            entries.push(Entry {
                label: format!("{rate}/s"),
                sonde: &["--passes", "1"],
                ..entry(tool, Kind::Dark, &plan, choice)
            });
        }
    }
    Scenario {
        name: "rate",
        title: "the rate that was asked for".to_owned(),
        entries,
        judge: Judge::Rate,
    }
}

fn six(hosts: u32) -> Scenario {
    // Every 257th address: a list, not a range.
    let blocks = (0..hosts).map(|host| Block {
        vlan: 0,
        first: Ipv6Addr::from(u128::from(SIX) + 1 + u128::from(host) * 257).into(),
        hosts: 1,
    });
    let plan = Plan::new(blocks.collect(), 80..=80);
    Scenario {
        name: "ipv6",
        title: format!("a list of {hosts} IPv6 hosts, one port"),
        entries: vec![
            fast(Tool::Sonde, Kind::Six, &plan),
            masscan(Kind::Six, &plan, None),
        ],
        judge: Judge::Speed { goal: 1.0 },
    }
}

fn policed(hosts: u32) -> Scenario {
    let plan = Plan::network(FIRST, hosts, 80..=80);
    let world = Kind::Policed(POLICED);
    Scenario {
        name: "policed",
        title: format!(
            "{hosts} hosts behind a policer of {POLICED} frames a second, no ceiling asked"
        ),
        entries: [Tool::Sonde, Tool::Zmap, Tool::Masscan]
            .map(|tool| fast(tool, world, &plan))
            .to_vec(),
        judge: Judge::Policer { rate: POLICED },
    }
}

fn sending(hosts: u32) -> Scenario {
    let plan = Plan::network(FIRST, hosts, 80..=80);
    let entries = [Tool::Sonde, Tool::Zmap, Tool::Masscan].map(|tool| Entry {
        sonde: &["--passes", "1"],
        ..fast(tool, Kind::Dark, &plan)
    });
    Scenario {
        name: "sending",
        title: format!("sending alone: {hosts} probes that nobody answers, one sending thread"),
        entries: entries.to_vec(),
        judge: Judge::Sending,
    }
}

fn memory(quick: bool) -> Scenario {
    // 2^24 addresses times 2^8 ports.
    let plan = Plan::network(FIRST, 1 << 24, 1..=256);
    let (with, without): (&[_], &[_]) = if quick {
        (
            &["--max-time", "1s"],
            &["--max-time", "1s", "--passes", "1"],
        )
    } else {
        (
            &["--max-time", "5s"],
            &["--max-time", "5s", "--passes", "1"],
        )
    };
    let one = |label: &str, sonde| Entry {
        label: label.to_owned(),
        sonde,
        cut_short: true,
        ..fast(Tool::Sonde, Kind::Dark, &plan)
    };
    Scenario {
        name: "memory",
        title: "a plan of 2^32 targets".to_owned(),
        entries: vec![
            one("one pass, no answered map", without),
            one("three passes", with),
        ],
        judge: Judge::Memory,
    }
}

/// Where the networks of all IPv4 worlds begin.
pub(crate) const FIRST: [u8; 4] = [10, 0, 0, 0];
/// The host with the kernel's own TCP.
pub(crate) const HOST: [u8; 4] = [198, 51, 100, 9];
/// Where the IPv6 hosts begin.
pub(crate) const SIX: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, 0);

/// The network scanned in a VLAN: 10.0.0.0/12 cut into 4096.
pub(crate) fn vlan_network(vlan: u16) -> IpAddr {
    let [high, low] = vlan.to_be_bytes();
    IpAddr::from([10, high, low, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_scenario_has_sonde_first() {
        for quick in [true, false] {
            let all = all(quick);
            let mut names: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
            names.dedup();
            assert_eq!(names.len(), all.len());
            for scenario in &all {
                assert_eq!(scenario.entries[0].tool, Tool::Sonde, "{}", scenario.name);
            }
        }
    }

    #[test]
    fn the_sizes_are_those_that_the_report_speaks_of() {
        let whole = all(false);
        let probes = |name: &str| {
            let found = whole.iter().find(|scenario| scenario.name == name).unwrap();
            found.entries[0].plan.probes()
        };
        assert_eq!(probes("sweep"), 1 << 20);
        assert_eq!(probes("slash24"), 256 * 65_535);
        assert_eq!(probes("trunk"), 4094 * 256);
        assert_eq!(probes("memory"), 1 << 32);
    }

    #[test]
    fn quick_worlds_are_quick() {
        for scenario in all(true)
            .iter()
            .filter(|scenario| scenario.name != "memory")
        {
            for entry in &scenario.entries {
                assert!(entry.plan.probes() <= 1 << 17, "{}", scenario.name);
                assert!(
                    matches!(entry.choice, Choice::Fixed(_)),
                    "{}",
                    scenario.name
                );
            }
        }
    }
}
