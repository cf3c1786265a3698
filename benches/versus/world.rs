//! The networks that are scanned: worlds of the lab in the kernel, and one host with the kernel's own TCP.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sonde_lab::Namespace;
use sonde_lab::world::{
    Limit, NEAR, Network4, Network6, PortAnswer, WorldDescription, WorldSpec, XdpWorld,
};
use sonde_link::offload::{turn_off_offloads, turn_on_receive_coalescing};
use sonde_wire::{MacAddr, VlanId};

use super::scenarios::{HOST, Kind};
use super::truth::{Endpoint, State};

/// Ports open on the host with the kernel's own TCP.
const LISTENING: [u16; 8] = [22, 25, 80, 443, 993, 5432, 8080, 65_000];
/// Its MAC address.
const HOST_MAC: MacAddr = MacAddr([2, b'S', b'V', 0, 0, 9]);
/// Our end's. The host knows it without asking, for an address that our kernel does not have and so says
/// nothing for.
const OUR_MAC: MacAddr = MacAddr([2, b'S', b'V', 0, 0, 2]);

/// What a network counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Probes received, but for those lost on the way.
    pub(crate) frames: u64,
    /// IP packets that came to the policer.
    pub(crate) offered: u64,
    /// Those that it let through; all where there is none.
    pub(crate) let_through: u64,
    /// MAC addresses that were asked for and told.
    pub(crate) resolved: u64,
}

/// A network that is up until it is dropped.
pub(crate) enum World {
    Lab(Box<WorldSpec>, Box<XdpWorld>, Chatter),
    Host(Host, Chatter),
}

impl World {
    /// Builds it, with as many queues between the ends as told.
    ///
    /// # Errors
    /// When something is missing, or this process may not.
    pub(crate) fn start(kind: Kind, queues: u32) -> anyhow::Result<Self> {
        if kind == Kind::Host {
            let host = Host::start()?;
            let chatter = Chatter::start(&host.far, Ipv4Addr::from(HOST), "host0")?;
            return Ok(Self::Host(host, chatter));
        }
        let spec = Box::new(spec(kind)?);
        let world = XdpWorld::start_with_queues(&spec, queues)?;
        let chatter = Chatter::start(world.far(), Ipv4Addr::new(203, 0, 113, 1), "far0")?;
        Ok(Self::Lab(spec, Box::new(world), chatter))
    }

    /// The scanners' interface.
    pub(crate) const fn interface(&self) -> &'static str {
        NEAR
    }

    /// An address for the scanners that is not the kernel's: it answers no SYN-ACK with a RST.
    pub(crate) fn source(&self, six: bool) -> IpAddr {
        match self {
            Self::Lab(..) if six => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 3]),
            Self::Lab(..) => IpAddr::from([172, 16, 0, 3]),
            Self::Host(..) => IpAddr::from([198, 51, 100, 3]),
        }
    }

    /// Where frames to the untagged targets go.
    pub(crate) fn next_hop(&self, six: bool) -> MacAddr {
        match self {
            Self::Lab(spec, ..) => spec.gateway_mac(None, six).unwrap_or(MacAddr([0; 6])),
            Self::Host(..) => HOST_MAC,
        }
    }

    /// Writes the file that tells Sonde of the VLANs; nothing where there are none.
    ///
    /// # Errors
    /// When it can't be written.
    pub(crate) fn trunk_file(&self, folder: &Path) -> io::Result<Option<PathBuf>> {
        let Self::Lab(spec, ..) = self else {
            return Ok(None);
        };
        let text: String = spec
            .vlans()
            .filter_map(|vlan| vlan_table(spec, vlan))
            .collect();
        if text.is_empty() {
            return Ok(None);
        }
        let path = folder.join("trunk.toml");
        fs::write(&path, text)?;
        Ok(Some(path))
    }

    /// Runs `work` where the scanners are to stand. Programs it starts stay there.
    ///
    /// # Errors
    /// When the namespace can't be entered.
    pub(crate) fn visit<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        match self {
            Self::Lab(_, world, _) => world.visit(work),
            Self::Host(host, _) => host.near.visit(work),
        }
    }

    /// What it counted so far; call it where the scanners stand.
    pub(crate) fn counts(&self) -> Counts {
        match self {
            Self::Lab(_, world, _) => {
                let counted = world.counters().unwrap_or_default();
                Counts {
                    // What was policed was not looked at.
                    frames: counted.received_syn + counted.policed,
                    offered: counted.let_through + counted.policed,
                    let_through: counted.let_through,
                    resolved: counted.answered_arp + counted.answered_ndp,
                }
            }
            Self::Host(..) => {
                let sent = fs::read_to_string("/proc/thread-self/net/dev")
                    .ok()
                    .and_then(|text| transmitted(&text, NEAR))
                    .unwrap_or_default();
                Counts {
                    frames: sent,
                    offered: sent,
                    let_through: sent,
                    resolved: 0,
                }
            }
        }
    }
}

/// Says what is at an endpoint.
pub(crate) type StateOf = Box<dyn Fn(&Endpoint) -> State>;

/// What is there, for the truth.
pub(crate) fn state(kind: Kind) -> anyhow::Result<StateOf> {
    if kind == Kind::Host {
        return Ok(Box::new(|at| match at.port {
            _ if at.ip != IpAddr::from(HOST) => State::Silent,
            port if LISTENING.contains(&port) => State::Open,
            _ => State::Closed,
        }));
    }
    let spec = spec(kind)?;
    Ok(Box::new(move |at| {
        match spec.tcp(VlanId::new(at.vlan), at.ip, at.port) {
            PortAnswer::Open => State::Open,
            PortAnswer::Closed => State::Closed,
            PortAnswer::Silent => State::Silent,
        }
    }))
}

/// The lab's world of a kind.
fn spec(kind: Kind) -> anyhow::Result<WorldSpec> {
    let four =
        |network: &str| -> anyhow::Result<Network4> { Ok(Network4::everywhere(network.parse()?)) };
    let every = |network: &str| -> anyhow::Result<Network4> {
        Ok(Network4 {
            per_vlan: true,
            ..four(network)?
        })
    };
    let six = |network: &str, hosts| -> anyhow::Result<Network6> {
        Ok(Network6 {
            network: network.parse()?,
            hosts,
            per_vlan: false,
        })
    };
    let sweep = WorldDescription {
        link4: Some(four("172.16.0.0/24")?),
        behind4: vec![four("10.0.0.0/8")?],
        ports: "80".to_owned(),
        ..WorldDescription::default()
    };
    let description = match kind {
        Kind::Sweep | Kind::Host => sweep,
        Kind::Ports => WorldDescription {
            ports: String::new(),
            open: 1.0 / 256.0,
            ..sweep
        },
        Kind::Trunk => WorldDescription {
            vlans: "1-4094".to_owned(),
            link4: Some(every("172.16.0.0/28")?),
            behind4: vec![every("10.0.0.0/24")?],
            ..sweep
        },
        Kind::Lossy(share) => WorldDescription {
            loss_in: share,
            loss_out: share,
            ..sweep
        },
        Kind::Policed(rate) => WorldDescription {
            // A millisecond's worth.
            policer: Some(Limit {
                rate: u32::try_from(rate)?,
                depth: u32::try_from(rate / 1000)?.max(1),
            }),
            ..sweep
        },
        Kind::Six => WorldDescription {
            link6: Some(six("2001:db8::/64", 0)?),
            behind4: Vec::new(),
            behind6: vec![six("2001:db8:51::/64", 1 << 25)?],
            ..sweep
        },
        Kind::Dark => WorldDescription {
            hosts_up: 0.0,
            ..sweep
        },
    };
    Ok(WorldSpec::new(description)?)
}

fn vlan_table(spec: &WorldSpec, vlan: Option<VlanId>) -> Option<String> {
    let (id, network) = (vlan?.id(), spec.link4(vlan)?);
    let (own, gateway) = (spec.scanner(vlan, false)?, spec.gateway(vlan, false)?);
    let length = network.length();
    Some(format!(
        "[[vlan]]\nid = {id}\nipv4 = \"{own}/{length}\"\ngateway = \"{gateway}\"\n"
    ))
}

/// Frames sent by an interface, of proc_pid_net(5) `dev`: nine columns are of what was received.
fn transmitted(text: &str, interface: &str) -> Option<u64> {
    let counters = text.lines().find_map(|line| {
        let (name, counters) = line.split_once(':')?;
        (name.trim() == interface).then_some(counters)
    })?;
    counters.split_whitespace().nth(9)?.parse().ok()
}

/// What every network has: somebody who broadcasts now and then. masscan does not notice that its time is up until
/// it receives something.
pub(crate) struct Chatter {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Between two broadcasts.
const CHATTER_INTERVAL: Duration = Duration::from_millis(100);

impl Chatter {
    /// Broadcasts from the far end, which gets this address if it has none.
    fn start(far: &Namespace, address: Ipv4Addr, interface: &str) -> anyhow::Result<Self> {
        let [a, b, c, _] = address.octets();
        let socket = far.visit(|| -> anyhow::Result<UdpSocket> {
            if address != Ipv4Addr::from(HOST) {
                ip(&format!("address add {address}/24 dev {interface}"))?;
            }
            let socket = UdpSocket::bind((address, 0))?;
            socket.set_broadcast(true)?;
            // The discard service (RFC 863).
            socket.connect((Ipv4Addr::new(a, b, c, 255), 9))?;
            Ok(socket)
        })??;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new().name("chatter".into());
        let thread = thread.spawn(move || {
            while stopped.recv_timeout(CHATTER_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                // One that is lost is followed by the next.
                let _ = socket.send(b".");
            }
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A host with the kernel's own TCP, on link, with some listening ports.
pub(crate) struct Host {
    near: Namespace,
    far: Namespace,
    /// Closing it ends the thread, which holds the host's namespace and its listeners.
    alive: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    fn start() -> anyhow::Result<Self> {
        let (up_tx, up_rx) = mpsc::channel();
        let (alive, ended) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("host".into());
        let thread = thread.spawn(move || {
            let (namespaces, listeners) = match bring_up() {
                Ok((near, far, listeners)) => (Ok((near, far)), listeners),
                Err(error) => (Err(error), Vec::new()),
            };
            // When nobody waits for it, nobody needs it.
            let _ = up_tx.send(namespaces);
            let _ = ended.recv();
            drop(listeners);
        })?;
        let up = up_rx.recv().context("the host's thread ended")?;
        let (near, far) = up.context("the host with the kernel's own TCP did not start")?;
        Ok(Self {
            near,
            far,
            alive: Some(alive),
            thread: Some(thread),
        })
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(thread) = self.thread.take() {
            // It has nothing that could fail any more.
            let _ = thread.join();
        }
    }
}

/// On a thread of its own: ends in the host's namespace, with everything up.
fn bring_up() -> anyhow::Result<(Namespace, Namespace, Vec<TcpListener>)> {
    let near = Namespace::unshare()?;
    // Frames are counted by the interface: the kernel must send none of its own.
    fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
    let our = OUR_MAC;
    ip(&format!(
        "link add {NEAR} address {our} type veth peer name host0 address {HOST_MAC}"
    ))?;
    ip(&format!("address add 198.51.100.2/24 dev {NEAR}"))?;
    turn_off_offloads(NEAR)?;
    let far = Namespace::unshare()?;
    // This thread is in the host's namespace; ip(8) takes a process or a thread for the namespace it is in.
    let tid = rustix::thread::gettid().as_raw_nonzero();
    near.visit(|| -> anyhow::Result<()> {
        ip(&format!("link set host0 netns {tid}"))?;
        ip(&format!("link set {NEAR} up"))
    })??;
    turn_off_offloads("host0")?;
    // Without it this end takes no frames that are sent by XDP (kernel drivers/net/veth.c, `veth_xdp_xmit`).
    turn_on_receive_coalescing("host0")?;
    let host = IpAddr::from(HOST);
    ip(&format!("address add {host}/24 dev host0"))?;
    ip("link set host0 up")?;
    ip(&format!(
        "neighbor replace 198.51.100.3 lladdr {our} nud permanent dev host0"
    ))?;
    let listeners = LISTENING.map(|port| TcpListener::bind((host, port)));
    let listeners = listeners.into_iter().collect::<Result<_, _>>()?;
    Ok((near, far, listeners))
}

fn ip(arguments: &str) -> anyhow::Result<()> {
    let said = Command::new("ip")
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .context("ip is not installed; tests/setup.sh installs it")?;
    let why = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "ip {arguments}: {}", why.trim());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scenarios::{self, Judge};
    use super::super::truth::Truth;
    use super::*;

    #[test]
    fn every_kind_of_world_is_one_and_has_what_its_scenario_looks_for() {
        for scenario in scenarios::all(true) {
            for entry in &scenario.entries {
                if scenario.judge == Judge::Memory {
                    continue;
                }
                let state = state(entry.world).unwrap();
                let truth = Truth::of(entry.plan.endpoints(), &state);
                let name = scenario.name;
                match entry.world {
                    Kind::Dark => assert_eq!(truth.answering, 0, "{name}"),
                    Kind::Ports | Kind::Host => {
                        assert_eq!(truth.answering, truth.all, "{name}");
                        assert!(
                            0 < truth.open && truth.open < truth.all,
                            "{name}: {truth:?}"
                        );
                    }
                    _ => assert_eq!(truth.open, truth.all, "{name}"),
                }
            }
        }
    }

    #[test]
    fn what_was_sent_is_read() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11\nworld0: 1 2 3 4 5 6 7 8 9 42 11\n";
        assert_eq!(transmitted(text, "world0"), Some(42));
        assert_eq!(transmitted(text, "world1"), None);
    }
}
