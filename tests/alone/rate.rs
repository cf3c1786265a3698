//! The rate, held against a capture by tcpdump.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use sonde_lab::world::{PortAnswer, World};
use sonde_link::offload::turn_on_receive_coalescing;
use sonde_wire::VlanId;

use crate::capture::Capture;
use crate::capturing;
use crate::fast::takes_programs;
use crate::harness::{sonde, succeed};
use crate::peer::Peer;

/// The gateway of VLAN 7.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 7, 1);

/// A gateway for every VLAN and nobody else.
struct OnlyGateways;

impl World for OnlyGateways {
    fn is_neighbor(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        vlan == VlanId::new(7) && ip == GATEWAY
    }

    fn answers_echo(&self, _: Option<VlanId>, _: IpAddr) -> bool {
        false
    }

    fn tcp(&self, _: Option<VlanId>, _: IpAddr, _: u16) -> PortAnswer {
        PortAnswer::Silent
    }

    fn udp(&self, _: Option<VlanId>, _: IpAddr, _: u16) -> PortAnswer {
        PortAnswer::Silent
    }
}

#[test]
fn the_rate_is_kept_and_never_exceeded() {
    let test = "rate::the_rate_is_kept_and_never_exceeded";
    capturing(test, || check_rate_by("packet"));
}

#[test]
fn the_rate_is_kept_by_the_xdp_link() {
    let test = "rate::the_rate_is_kept_by_the_xdp_link";
    if takes_programs(test) {
        capturing(test, || check_rate_by("xdp"));
    }
}

fn check_rate_by(link: &str) {
    let _peer = Peer::start(OnlyGateways);
    if link == "xdp" {
        // What makes the far end of a veth take frames of programs.
        turn_on_receive_coalescing("world0").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let trunk = folder.path().join("trunk.toml");
    let vlan = format!(
        "[[vlan]]
id = 7
ipv4 = \"10.0.7.2/24\"
gateway = \"{GATEWAY}\"
"
    );
    fs::write(&trunk, vlan).unwrap();
    let capture = Capture::start("world0");
    // 262,144 probes: five seconds.
    let mut scan = sonde([
        "scan",
        "100.64.0.0/14@7",
        "-p",
        "80",
        "--discovery",
        "none",
        "--passes",
        "1",
    ]);
    scan.args([
        "-i", "trunk0", "--link", link, "--rate", "50k", "-o", "-", "--trunk",
    ])
    .arg(&trunk);
    succeed(&mut scan);
    let times: Vec<u64> = capture
        .stop("trunk0")
        .iter()
        .map(|frame| frame.time_ns)
        .collect();

    let mut most = 0;
    let mut from = 0;
    for (to, &time) in times.iter().enumerate() {
        while time - times[from] >= 100_000_000 {
            from += 1;
        }
        most = most.max(to - from + 1);
    }
    // The gateway is asked first and waited for: the rate is that of the probes.
    let probes = &times[1..];
    let seconds = (probes[probes.len() - 1] - probes[0]) as f64 / 1e9;
    let rate = (probes.len() - 1) as f64 / seconds;
    eprintln!("{rate:.0} a second on average, at most {most} in 100 ms by {link}");
    assert!(most <= 5_000, "{most} frames within 100 ms");
    assert!(
        (rate / 50_000.0 - 1.0).abs() <= 0.005,
        "{rate} a second on average"
    );
}
