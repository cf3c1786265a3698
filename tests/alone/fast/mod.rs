//! Whole scans by the programs in the kernel, in front of a world that is a program in the kernel as well.

mod ladder;
mod resume;
mod truth;

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sonde_lab::Prefix;
use sonde_lab::world::{
    NEAR, Network4, Network6, PortAnswer, WorldCounters, WorldDescription, WorldSpec, XdpWorld,
};
use sonde_wire::VlanId;

use crate::alone;
use crate::harness::{Said, json_lines, run, sonde, succeed};

/// As [`alone`], for root only.
fn for_root(test: &str, body: impl FnOnce()) {
    if takes_programs(test) {
        alone(test, body);
    }
}

/// True if the kernel lets us bring programs into it. Root of a user namespace it does not: such tests are root's,
/// and an ordinary user has no part in them.
pub(crate) fn takes_programs(test: &str) -> bool {
    let everybody = fs::read_to_string("/proc/self/uid_map")
        .is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    let root = rustix::process::geteuid().is_root() && everybody;
    if !root {
        eprintln!("{test} is for root: the kernel takes programs from nobody else");
    }
    root
}

/// A port that is open, in its VLAN.
type Open = (Option<VlanId>, IpAddr, u16);

/// A world, and the folder of those who scan it.
struct Front {
    spec: WorldSpec,
    world: XdpWorld,
    folder: tempfile::TempDir,
}

impl Front {
    fn start(description: WorldDescription) -> Self {
        let spec = WorldSpec::new(description).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let trunk = toml::to_string(&spec.trunk()).unwrap();
        fs::write(folder.path().join("trunk.toml"), trunk).unwrap();
        let world = XdpWorld::start(&spec).unwrap();
        Self {
            spec,
            world,
            folder,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A scan of `targets` by that link that reports into a file; it ends by itself.
    fn scan(&self, link: &str, output: &Path, targets: &[String]) -> Command {
        let list = output.with_extension("targets");
        fs::write(&list, targets.join("\n")).unwrap();
        let mut scan = sonde(["scan", "-i", NEAR, "--link", link, "--max-time", "2m"]);
        scan.arg("-f").arg(list).arg("-o").arg(output);
        scan
    }

    /// Tells a scan of the VLANs.
    fn by_trunk(&self, scan: &mut Command) {
        scan.arg("--trunk").arg(self.file("trunk.toml"));
    }

    fn visit<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.world.visit(work).unwrap()
    }

    /// Runs a command in front of the world.
    fn run(&self, command: &mut Command) -> Said {
        self.visit(|| run(command))
    }

    /// Runs a command in front of the world, which must end with status 0.
    fn succeed(&self, command: &mut Command) {
        self.visit(|| succeed(command));
    }

    fn counters(&self) -> WorldCounters {
        self.world.counters().unwrap()
    }

    /// The program on the scanner's interface, as ip(8) tells it.
    fn program(&self) -> Option<Value> {
        let said = self
            .visit(|| succeed(Command::new("ip").args(["-j", "-d", "link", "show", "dev", NEAR])));
        let told: Value = serde_json::from_str(&said).unwrap();
        told[0].get("xdp").cloned()
    }

    /// All open ports among `ports` of all targets that are written as networks or ranges: on link and behind.
    fn truth(&self, addresses: impl Fn(Option<VlanId>) -> Vec<IpAddr>, ports: &[u16]) -> Found {
        let spec = &self.spec;
        let open = spec.vlans().flat_map(|vlan| {
            let addresses = addresses(vlan).into_iter();
            addresses.flat_map(move |ip| {
                let open = move |&port: &u16| spec.tcp(vlan, ip, port) == PortAnswer::Open;
                let ports = ports.iter().copied().filter(open);
                ports.map(move |port| (vlan, ip, port))
            })
        });
        open.collect()
    }

    /// As [`Front::truth`], of everything behind the gateways.
    fn truth_behind(&self, ports: &[u16]) -> Found {
        self.truth(|vlan| self.spec.addresses_behind(vlan).collect(), ports)
    }
}

type Found = BTreeSet<Open>;

/// What a report says is open; nothing may be there twice.
#[track_caller]
fn found(output: &Path) -> Found {
    let lines = json_lines(&fs::read_to_string(output).unwrap());
    let is_open = |line: &&Value| line["type"] == "port" && line["state"] == "open";
    let all: Vec<Open> = lines.iter().filter(is_open).map(open_of).collect();
    let once: Found = all.iter().copied().collect();
    assert_eq!(once.len(), all.len(), "a port is there twice");
    once
}

fn open_of(line: &Value) -> Open {
    assert_eq!(line["proto"], "tcp", "{line}");
    let vlan = line["vlan"].as_u64().map(|id| id as u16);
    let port = line["port"].as_u64().unwrap();
    let ip = line["ip"].as_str().unwrap().parse().unwrap();
    (
        vlan.map(|id| VlanId::new(id).unwrap()),
        ip,
        port.try_into().unwrap(),
    )
}

/// Fails with what is missing and what is too much, a few of each.
#[track_caller]
fn check(found: &Found, truth: &Found) {
    assert!(truth.len() > 10, "there is next to nothing to find");
    let missing: Vec<_> = truth.difference(found).collect();
    let invented: Vec<_> = found.difference(truth).collect();
    assert!(
        missing.is_empty() && invented.is_empty(),
        "of {}, {} missing: {:?}; {} invented: {:?}",
        truth.len(),
        missing.len(),
        &missing[..missing.len().min(5)],
        invented.len(),
        &invented[..invented.len().min(5)],
    );
}

/// 2^16 addresses behind the gateway of the LAN; half are up, and their ports are open, closed or silent about as
/// often.
fn sweep() -> WorldDescription {
    WorldDescription {
        seed: 7,
        link4: Some(network4("10.0.0.0/24", false)),
        behind4: vec![network4("10.64.0.0/16", false)],
        hosts_up: 0.5,
        open: 0.3,
        closed: 0.5,
        ..WorldDescription::default()
    }
}

fn network4(network: &str, per_vlan: bool) -> Network4 {
    Network4 {
        network: prefix(network),
        per_vlan,
    }
}

fn network6(network: &str, hosts: u32, per_vlan: bool) -> Network6 {
    Network6 {
        network: prefix(network),
        hosts,
        per_vlan,
    }
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}
