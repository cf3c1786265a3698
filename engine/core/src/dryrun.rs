//! What a scan would send, without sending it: the probes of a plan, in its order.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;

use sonde_wire::VlanId;

use crate::observation::Proto;
use crate::plan::{DiscoveryProbe, Hop, Plan, UnitKind};

/// One probe that would be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DryProbe {
    /// VLAN it would go into; `None` is untagged.
    pub vlan: Option<VlanId>,
    /// Host it would ask.
    pub ip: IpAddr,
    /// What it would ask.
    pub question: Question,
}

/// What a probe asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// ARP: who has this IPv4 address?
    Arp,
    /// Neighbor solicitation: who has this IPv6 address?
    Ndp,
    /// One of the plan's discovery probes.
    Discovery(DiscoveryProbe),
    /// Is this port open?
    Port(Proto, u16),
}

/// The probes of a plan's shard in its first pass, in order: a unit's own probes, and for a host
/// also all of its ports, as if it were up.
///
/// The real scan asks the ports of hosts that are up alone, in an order of their own, and asks next
/// hops for their MAC addresses.
#[derive(Clone, Debug)]
pub struct DryRun<'a> {
    plan: &'a Plan,
    /// Positions whose units have not been begun.
    positions: Range<u64>,
    /// The unit at hand: its host, first question and the numbers of its questions still to come.
    unit: Option<(DryProbe, Range<u32>)>,
}

impl<'a> DryRun<'a> {
    /// Everything the plan's shard would send in its first pass.
    pub fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            positions: plan.shard(),
            unit: None,
        }
    }

    /// The next unit: its host with the first question, and how many follow.
    fn begin(&mut self) -> Option<(DryProbe, Range<u32>)> {
        let plan = self.plan;
        let unit = plan.unit(plan.order().at(self.positions.next()?));
        let segment = &plan.segments()[unit.segment as usize];
        let route = &plan.routes()[segment.route as usize];
        let ports = plan.ports().len();
        let (question, more) = match (segment.kind, route.hop, unit.port) {
            (UnitKind::HostPort, _, port) => {
                let (proto, port) = plan.ports().at(port.unwrap_or(0));
                (Question::Port(proto, port), 0..0)
            }
            (UnitKind::Host, Hop::OnLink, _) if unit.ip.is_ipv4() => (Question::Arp, 1..1 + ports),
            (UnitKind::Host, Hop::OnLink, _) => (Question::Ndp, 1..1 + ports),
            (UnitKind::Host, Hop::Gateway(_) | Hop::Kernel, _) => {
                let first = Question::Discovery(*plan.discovery().first()?);
                (first, 1..plan.discovery().len() as u32 + ports)
            }
        };
        Some((
            DryProbe {
                vlan: route.vlan,
                ip: unit.ip,
                question,
            },
            more,
        ))
    }

    /// The question of this number of a host whose first question is `first`.
    fn question(&self, first: Question, number: u32) -> Question {
        let before_ports = match first {
            Question::Discovery(_) => self.plan.discovery(),
            Question::Arp | Question::Ndp | Question::Port(..) => &[],
        };
        match before_ports.get(number as usize) {
            Some(probe) => Question::Discovery(*probe),
            None => {
                let before = before_ports.len().max(1) as u32;
                let (proto, port) = self.plan.ports().at(number - before);
                Question::Port(proto, port)
            }
        }
    }
}

impl Iterator for DryRun<'_> {
    type Item = DryProbe;

    fn next(&mut self) -> Option<DryProbe> {
        if let Some((probe, numbers)) = &mut self.unit
            && let Some(number) = numbers.next()
        {
            let probe = *probe;
            return Some(DryProbe {
                question: self.question(probe.question, number),
                ..probe
            });
        }
        self.unit = self.begin();
        self.unit.as_ref().map(|(probe, _)| *probe)
    }
}

impl fmt::Display for DryProbe {
    /// `vlan 100 10.1.0.9 tcp/80`; the VLAN is `untagged` on the LAN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.vlan {
            Some(vlan) => write!(f, "vlan {vlan} {} {}", self.ip, self.question),
            None => write!(f, "untagged {} {}", self.ip, self.question),
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arp => f.write_str("arp"),
            Self::Ndp => f.write_str("ndp"),
            Self::Discovery(DiscoveryProbe::Echo) => f.write_str("echo"),
            Self::Discovery(DiscoveryProbe::Tcp(port)) => write!(f, "discovery tcp/{port}"),
            Self::Discovery(DiscoveryProbe::Udp(port)) => write!(f, "discovery udp/{port}"),
            Self::Port(Proto::Tcp, port) => write!(f, "tcp/{port}"),
            Self::Port(Proto::Udp, port) => write!(f, "udp/{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::plan::{Environment, Lan};
    use crate::policy::Policy;
    use crate::request::{ScanRequest, Shard};
    use crate::trunk::TrunkConfig;

    fn plan(request: &ScanRequest) -> Plan {
        let lan = Lan {
            ipv4: Some(("192.0.2.10".parse().unwrap(), 24)),
            ..Lan::default()
        };
        let env = Environment {
            lan,
            ..Environment::default()
        };
        Plan::new(request, &env, &Policy::default()).unwrap()
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    /// One bit a probe.
    struct Bitmap(Vec<u64>);

    impl Bitmap {
        fn new(bits: usize) -> Self {
            Self(vec![0; bits.div_ceil(64)])
        }

        /// Sets a bit; true when it was clear.
        fn set(&mut self, bit: usize) -> bool {
            let (word, mask) = (&mut self.0[bit / 64], 1 << (bit % 64));
            let clear = *word & mask == 0;
            *word |= mask;
            clear
        }

        fn has(&self, bit: usize) -> bool {
            self.0[bit / 64] & 1 << (bit % 64) != 0
        }
    }

    /// Visits every probe of 172.16.0.0/12 asked for, over all shards, and holds the bitmap against
    /// the definition.
    fn cover_a_slash_12(discovery: &str, toml: &str, questions: &[Question], shards: u32) {
        const HOSTS: usize = 1 << 20;
        let mut request = ScanRequest {
            targets: texts(&["172.16.0.0/12@5"]),
            exclude: texts(&[
                "172.17.0.0/16",
                "172.20.3.4",
                "172.31.255.0-172.31.255.9@5",
                "172.24-25.0-255.77",
            ]),
            ports: "22,U:53".to_owned(),
            discovery: discovery.to_owned(),
            trunk: Some(TrunkConfig::from_toml(toml).unwrap()),
            seed: Some(99),
            ..ScanRequest::default()
        };
        let mut seen = Bitmap::new(HOSTS * questions.len());
        let mut probes = 0;
        for index in 1..=shards {
            request.shard = Shard {
                index,
                count: shards,
            };
            for probe in DryRun::new(&plan(&request)) {
                let IpAddr::V4(ip) = probe.ip else {
                    panic!("{probe}")
                };
                assert_eq!(probe.vlan, VlanId::new(5));
                let host = (ip.to_bits() - 0xac10_0000) as usize;
                let question = questions.iter().position(|q| *q == probe.question).unwrap();
                assert!(seen.set(host * questions.len() + question), "{probe} twice");
                probes += 1;
            }
        }
        let excluded = |ip: Ipv4Addr| match ip.octets() {
            [172, 17, ..] | [172, 20, 3, 4] | [172, 24..=25, _, 77] => true,
            [172, 31, 255, last] => last <= 9,
            _ => false,
        };
        let mut due = 0;
        for host in 0..HOSTS {
            let ip = Ipv4Addr::from_bits(0xac10_0000 + host as u32);
            let own = toml.contains(&format!("\"{ip}/12\""));
            let ends = toml.contains("/12\"") && (host == 0 || host == HOSTS - 1);
            let wanted = !excluded(ip) && !own && !ends;
            for question in 0..questions.len() {
                assert_eq!(seen.has(host * questions.len() + question), wanted, "{ip}");
            }
            due += if wanted { questions.len() } else { 0 };
        }
        assert_eq!(probes, due);
    }

    #[test]
    fn a_slash_12_behind_a_gateway_is_visited_once_for_any_number_of_shards() {
        let toml = r#"vlan = [{ id = 5, ipv4 = "10.5.0.2/24", gateway = "10.5.0.1" }]"#;
        let ports = [
            Question::Port(Proto::Tcp, 22),
            Question::Port(Proto::Udp, 53),
        ];
        for shards in [1, 2, 3, 7, 64, 1000] {
            cover_a_slash_12("none", toml, &ports, shards);
        }
    }

    #[test]
    fn a_slash_12_with_discovery_is_visited_once() {
        let toml = r#"vlan = [{ id = 5, ipv4 = "10.5.0.2/24", gateway = "10.5.0.1" }]"#;
        let questions = [
            Question::Discovery(DiscoveryProbe::Echo),
            Question::Discovery(DiscoveryProbe::Tcp(443)),
            Question::Port(Proto::Tcp, 22),
            Question::Port(Proto::Udp, 53),
        ];
        for shards in [1, 5] {
            cover_a_slash_12("echo,tcp:443", toml, &questions, shards);
        }
    }

    #[test]
    fn a_slash_12_on_link_is_visited_once() {
        let toml = r#"vlan = [{ id = 5, ipv4 = "172.30.7.7/12" }]"#;
        let questions = [
            Question::Arp,
            Question::Port(Proto::Tcp, 22),
            Question::Port(Proto::Udp, 53),
        ];
        for shards in [1, 12] {
            cover_a_slash_12("none", toml, &questions, shards);
        }
    }

    #[test]
    fn probes_read_as_what_they_are() {
        let toml = r#"vlan = [{ id = 7, ipv4 = "10.7.0.2/24", ipv6 = "2001:db8::2/64" }]"#;
        let request = ScanRequest {
            targets: texts(&["10.7.0.9", "2001:db8::9", "192.0.2.1"]),
            ports: "80".to_owned(),
            trunk: Some(TrunkConfig::from_toml(toml).unwrap()),
            seed: Some(1),
            ..ScanRequest::default()
        };
        let plan = plan(&request);
        let mut lines: Vec<_> = DryRun::new(&plan).map(|probe| probe.to_string()).collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "untagged 192.0.2.1 arp",
                "untagged 192.0.2.1 tcp/80",
                "vlan 7 10.7.0.9 arp",
                "vlan 7 10.7.0.9 tcp/80",
                "vlan 7 2001:db8::9 ndp",
                "vlan 7 2001:db8::9 tcp/80",
            ]
        );
    }

    #[test]
    fn every_host_is_in_the_order_of_the_plan() {
        let request = ScanRequest {
            targets: texts(&["192.0.2.0/24"]),
            ports: "1-3".to_owned(),
            seed: Some(3),
            ..ScanRequest::default()
        };
        let plan = plan(&request);
        let asked: Vec<_> = DryRun::new(&plan)
            .filter(|p| p.question == Question::Arp)
            .map(|p| p.ip)
            .collect();
        let ordered: Vec<_> = (0..plan.units())
            .map(|position| plan.unit(plan.order().at(position)).ip)
            .collect();
        assert_eq!(asked, ordered);
        assert_eq!(DryRun::new(&plan).count() as u128, plan.frames_max() / 3);
    }
}
