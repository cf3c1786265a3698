//! A LAN and two VLANs, two gateways and few hosts, with what may be asked there written down by hand:
//! the plan under test does not judge itself.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, LazyLock};

use sonde_core::plan::{Environment, Lan, Plan};
use sonde_core::policy::Policy;
use sonde_core::probe::Transmit;
use sonde_core::request::{PortState, ScanRequest};
use sonde_core::sweep::SweepConfig;
use sonde_core::template::{FRAME_MAX, Templates};
use sonde_core::trunk::TrunkConfig;
use sonde_wire::arp::Operation;
use sonde_wire::{Body, Checksums, MacAddr, VlanId, parse, vlan};

use crate::choices::Choices;

/// A VLAN; `None` is the untagged LAN.
pub type Vlan = Option<VlanId>;

/// Where probes come from.
pub const PORT: u16 = 54_321;
/// Packets a second.
pub const RATE: u64 = 1000;
/// Frames sent to what stays silent.
pub const PASSES: u32 = 2;
/// Our MAC address.
pub const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

const TRUNK: &str = r#"
route = [{ to = "172.16.0.0/24", via = "10.1.0.254" }]
[[vlan]]
id = 100
ipv4 = "10.1.0.2/24"
gateway = "10.1.0.254"
ipv6 = "2001:db8:1::2/64"
gateway6 = "2001:db8:1::fe"
[[vlan]]
id = 101
ipv4 = "10.2.0.2/24"
"#;

const TARGETS: [&str; 6] = [
    "192.0.2.8/29@lan",
    "10.1.0.0/28@100",
    "10.2.0.8/30@101",
    "172.16.0.0/29@100",
    "2001:db8:1::10/125@100",
    "2001:db8:9::/126@100",
];

const EXCLUDED: [&str; 2] = ["10.1.0.5@100", "172.16.0.3"];

/// One plan with discovery behind the gateways, one without.
static PLANS: LazyLock<[Arc<Plan>; 2]> = LazyLock::new(|| ["echo,tcp:80", "none"].map(plan));

/// The plans.
pub fn plans() -> &'static [Arc<Plan>] {
    &*PLANS
}

fn plan(discovery: &str) -> Arc<Plan> {
    let request = ScanRequest {
        targets: TARGETS.map(str::to_owned).into(),
        exclude: EXCLUDED.map(str::to_owned).into(),
        ports: "22,80,U:53,161,9999".to_owned(),
        trunk: Some(TrunkConfig::from_toml(TRUNK).expect("the trunk is good")),
        rate_pps: Some(RATE),
        passes: PASSES,
        discovery: discovery.to_owned(),
        seed: Some(7),
        show: vec![
            PortState::Open,
            PortState::Closed,
            PortState::Filtered,
            PortState::Unconfirmed,
        ],
        ..ScanRequest::default()
    };
    let env = Environment {
        mac: MAC,
        lan: Lan {
            ipv4: Some((Ipv4Addr::new(192, 0, 2, 250), 24)),
            gateway4: Some(Ipv4Addr::new(192, 0, 2, 1)),
            ..Lan::default()
        },
        ..Environment::default()
    };
    match Plan::new(&request, &env, &Policy::default()) {
        Ok(plan) => Arc::new(plan),
        Err(error) => panic!("{error}"),
    }
}

/// A sweep's configuration, its bounds small enough to be met.
pub fn config(choices: &mut Choices<'_>) -> SweepConfig {
    SweepConfig {
        key: [choices.byte() | 1; 16],
        source_port: PORT,
        window_units: *choices.of(&[1 << 22, 1, 5, 16, 64]),
        hosts_max: *choices.of(&[64, 1, 3]),
        queue_max: *choices.of(&[64, 1, 3]),
        outstanding: *choices.of(&[1024, 1, 16]),
        listed_max: *choices.of(&[64, 0, 2]),
        ..SweepConfig::default()
    }
}

/// A frame on its way out, checked.
pub struct Sent {
    /// Where it goes.
    pub vlan: Vlan,
    /// The frame without its tag.
    pub bytes: Vec<u8>,
}

/// The bytes of `transmit`, which must be right and go where something may go.
pub fn sent(templates: &Templates, transmit: &Transmit) -> Sent {
    let mut frame = [0; FRAME_MAX];
    let tagged = match transmit {
        Transmit::Probe(probe) => {
            let length = templates.fill(probe, &mut frame);
            &frame[..length]
        }
        Transmit::Frame(bytes) => bytes,
    };
    let (vlan, bytes) = match tagged[12..14] == vlan::TPID.to_be_bytes() {
        true => {
            let vlan = vlan::of_tci(u16::from_be_bytes([tagged[14], tagged[15]]));
            assert!(vlan.is_some(), "a tag without VLAN: {tagged:02x?}");
            (vlan, [&tagged[..12], &tagged[16..]].concat())
        }
        false => (None, tagged.to_vec()),
    };
    let packet = parse(&bytes, Checksums::Verify)
        .unwrap_or_else(|reason| panic!("{reason:?} in what we send: {bytes:02x?}"));
    assert_eq!(packet.eth_src, MAC);
    // A question to a host, or an answer of ours to whoever asked.
    let (to, from, asks) = match packet.body {
        Body::Arp(arp) => {
            let asks = arp.operation == Operation::Request;
            (arp.target_ip.into(), arp.sender_ip.into(), asks)
        }
        Body::NeighborSolicitation(ask) => (ask.target.into(), ask.src.into(), true),
        Body::NeighborAdvertisement(answer) => (answer.dst.into(), answer.src.into(), false),
        Body::Echo(echo) => (echo.ip.dst, echo.ip.src, echo.request),
        Body::Tcp(segment) => (segment.ip.dst, segment.ip.src, true),
        Body::Udp(datagram) => (datagram.ip.dst, datagram.ip.src, true),
        body => panic!("nobody asked for {body:?}"),
    };
    let link = matches!(packet.body, Body::Arp(_) | Body::NeighborSolicitation(_));
    assert!(is_ours(vlan, from), "from {from} in {vlan:?}: {transmit:?}");
    assert!(
        !is_excluded(vlan, to),
        "to {to} in {vlan:?}, excluded: {transmit:?}"
    );
    assert_eq!(asks, matches!(transmit, Transmit::Probe(_)), "{transmit:?}");
    if let Transmit::Probe(probe) = transmit {
        assert_eq!(to, probe.dst);
        let may = is_target(vlan, to) || link && is_gateway(vlan, to);
        assert!(
            may,
            "to {to} in {vlan:?}, not part of the scan: {transmit:?}"
        );
    }
    Sent { vlan, bytes }
}

fn number(vlan: Vlan) -> u16 {
    vlan.map_or(0, VlanId::id)
}

/// Whether `ip` is an address of ours in `vlan`.
fn is_ours(vlan: Vlan, ip: IpAddr) -> bool {
    ours().iter().any(|(v, i)| (*v, *i) == (number(vlan), ip))
}

/// Our addresses, with their VLANs' numbers.
pub fn ours() -> &'static [(u16, IpAddr)] {
    static OURS: LazyLock<Vec<(u16, IpAddr)>> = LazyLock::new(|| {
        let ours = [
            (0, "192.0.2.250"),
            (100, "10.1.0.2"),
            (100, "2001:db8:1::2"),
            (101, "10.2.0.2"),
        ];
        ours.map(|(vlan, ip)| (vlan, ip.parse().expect("an address")))
            .into()
    });
    &OURS
}

/// Whether `ip` is a host to be asked: a target, and neither excluded nor ours nor a network's own.
pub fn is_target(vlan: Vlan, ip: IpAddr) -> bool {
    match (number(vlan), ip) {
        (0, IpAddr::V4(ip)) => matches!(ip.octets(), [192, 0, 2, 8..=15]),
        (100, IpAddr::V4(ip)) => matches!(
            ip.octets(),
            [10, 1, 0, 1 | 3 | 4 | 6..=15] | [172, 16, 0, 0..=2 | 4..=7]
        ),
        (101, IpAddr::V4(ip)) => matches!(ip.octets(), [10, 2, 0, 8..=11]),
        (100, IpAddr::V6(ip)) => matches!(
            ip.segments(),
            [0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x10..=0x17] | [0x2001, 0xdb8, 9, 0, 0, 0, 0, 0..=3]
        ),
        _ => false,
    }
}

fn is_gateway(vlan: Vlan, ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => number(vlan) == 100 && ip.octets() == [10, 1, 0, 254],
        IpAddr::V6(ip) => {
            number(vlan) == 100 && ip.segments() == [0x2001, 0xdb8, 1, 0, 0, 0, 0, 0xfe]
        }
    }
}

fn is_excluded(vlan: Vlan, ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.octets() == [172, 16, 0, 3]
                || number(vlan) == 100 && ip.octets() == [10, 1, 0, 5]
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.is_loopback()
        }
        IpAddr::V6(ip) => ip.is_loopback(),
    }
}
