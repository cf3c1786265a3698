//! The lab itself: all threads of it, up together, down together.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::IpAddr;

use sonde_link::offload::{OffloadError, turn_off_offloads};
use sonde_wire::MacAddr;

use crate::fabric::{Fabric, FabricCounters, FabricError, Wire};
use crate::machine::{Blueprint, MachineError, Running, interface_name};
use crate::namespace::{Namespace, SysctlError, set_sysctl};
use crate::netlink::{self, NetlinkError};
use crate::services::Zone;
use crate::switch::{Port, Segment};
use crate::topology::{Network, Topology};

/// Name of the trunk's interface on the scanner's side.
pub const TRUNK: &str = "trunk0";

/// Why a lab did not come up. Nothing of it is left then.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// The calling thread's namespace can not be told.
    #[error("cannot open this thread's network namespace; /proc must be mounted")]
    Current(#[source] io::Error),
    /// Somebody else's trunk.
    #[error(
        "an interface {TRUNK} exists here already; take the other lab down or use a new network namespace"
    )]
    TrunkExists,
    /// The switch did not start.
    #[error("the lab's switch did not start")]
    Fabric(#[source] FabricError),
    /// A machine did not start.
    #[error("the lab's machine `{name}` did not start")]
    Machine {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: MachineError,
    },
    /// The trunk's interface could not be set up.
    #[error("cannot set up {TRUNK}")]
    Trunk(#[source] TrunkError),
    /// A machine that the lab does not have.
    #[error("the lab has no machine `{0}`")]
    NoMachine(String),
    /// A machine's namespace could not be entered.
    #[error("cannot enter the namespace of `{name}`")]
    Visit {
        /// Its name.
        name: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What was refused of the trunk's interface.
#[derive(Debug, thiserror::Error)]
pub enum TrunkError {
    /// A setting.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// An offload.
    #[error(transparent)]
    Offload(#[from] OffloadError),
    /// The link.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

/// A running lab. Dropping it takes it down, trunk and all.
///
/// It also goes when the process does, by whatever signal: nothing of it has a name outside.
pub struct Lab {
    // Drop order: the switch first, so that no frame is offered to a machine that is going away.
    fabric: Fabric,
    machines: Vec<Running>,
}

impl Lab {
    /// Builds the lab. [`TRUNK`] appears, up and without addresses, in the network namespace of the
    /// calling thread; every service answers when this returns.
    ///
    /// Needs CAP_SYS_ADMIN and CAP_NET_ADMIN there, as after [`enter_namespaces`](crate::enter_namespaces).
    ///
    /// # Errors
    /// See [`LabError`].
    pub fn up(topology: &Topology) -> Result<Self, LabError> {
        let outside = Namespace::current().map_err(LabError::Current)?;
        let zone = zone(topology);
        let mut machines = Vec::new();
        for machine in topology.machines() {
            let running = Running::spawn(Blueprint::new(&machine, zone.clone()));
            machines.push(running.map_err(|source| {
                let name = machine.name.to_owned();
                LabError::Machine { name, source }
            })?);
        }
        let fabric = Fabric::start(&wires(topology, &outside, &machines)).map_err(fabric_error)?;
        let mut lab = Self { fabric, machines };
        for machine in &mut lab.machines {
            machine.configure();
        }
        set_up_trunk().map_err(LabError::Trunk)?;
        for machine in &lab.machines {
            machine.wait_started().map_err(|source| {
                let name = machine.name.clone();
                LabError::Machine { name, source }
            })?;
        }
        lab.fabric.begin();
        Ok(lab)
    }

    /// Runs `visit` on a thread inside a machine's namespace: what it sees is that machine's network.
    ///
    /// # Errors
    /// When there is no such machine, or it can not be entered.
    ///
    /// # Panics
    /// When `visit` panics.
    pub fn visit<T: Send>(
        &self,
        machine: &str,
        visit: impl FnOnce() -> T + Send,
    ) -> Result<T, LabError> {
        let found = self.machines.iter().find(|running| running.name == machine);
        let running = found.ok_or_else(|| LabError::NoMachine(machine.to_owned()))?;
        running.namespace.visit(visit).map_err(|source| {
            let name = machine.to_owned();
            LabError::Visit { name, source }
        })
    }

    /// What the switch counted so far.
    pub fn counters(&self) -> FabricCounters {
        self.fabric.counters()
    }

    /// What has stopped working, of which nothing should: `switch`, or a machine's name.
    pub fn broken(&self) -> Vec<&str> {
        let dead = self.machines.iter().filter(|machine| !machine.is_alive());
        let dead = dead.map(|machine| machine.name.as_str());
        (!self.fabric.is_alive())
            .then_some("switch")
            .into_iter()
            .chain(dead)
            .collect()
    }
}

/// Port 0 is the trunk; then machine by machine, interface by interface.
fn wires<'a>(
    topology: &Topology,
    outside: &'a Namespace,
    machines: &'a [Running],
) -> Vec<Wire<'a>> {
    let networks = &topology.description().network;
    let vlans: BTreeSet<_> = networks.iter().filter_map(|network| network.vlan).collect();
    let untagged = networks.iter().any(|network| network.untagged);
    let mut wires = vec![Wire {
        port: Port::Trunk { untagged, vlans },
        far: TRUNK.to_owned(),
        mac: mac(u16::MAX, u8::MAX),
        namespace: outside,
    }];
    for (at, (machine, running)) in topology.machines().zip(machines).enumerate() {
        for (index, (network, _)) in machine.interfaces.iter().enumerate() {
            wires.push(Wire {
                port: Port::Access(segment(network, networks)),
                far: interface_name(index),
                mac: mac(at as u16, index as u8),
                namespace: &running.namespace,
            });
        }
    }
    wires
}

fn segment(network: &Network, networks: &[Network]) -> Segment {
    match network.vlan {
        Some(vlan) => Segment::Vlan(vlan),
        None if network.untagged => Segment::Untagged,
        None => {
            let at = networks.iter().position(|other| other.name == network.name);
            Segment::Inner(at.unwrap_or(usize::MAX) as u16)
        }
    }
}

/// A locally administered address (IEEE 802-2014 §8.4) that shows whose it is: machine, interface.
const fn mac(machine: u16, interface: u8) -> MacAddr {
    let [high, low] = machine.to_be_bytes();
    MacAddr([0x02, b'S', b'L', high, low, interface])
}

fn zone(topology: &Topology) -> Zone {
    let mut names: HashMap<String, Vec<IpAddr>> = HashMap::new();
    for machine in topology.machines() {
        let addresses = machine
            .interfaces
            .iter()
            .flat_map(|(_, addresses)| *addresses)
            .copied();
        names.insert(
            format!("{}.lab", machine.name.to_ascii_lowercase()),
            addresses.collect(),
        );
    }
    Zone(names)
}

/// The kernel on the scanner's side has no address on the trunk and says nothing there.
fn set_up_trunk() -> Result<(), TrunkError> {
    set_sysctl(&format!("ipv6/conf/{TRUNK}/disable_ipv6"), "1")?;
    turn_off_offloads(TRUNK)?;
    // On a thread of its own, which shares the caller's namespace: the caller may have a runtime already.
    std::thread::scope(|scope| {
        let up = scope.spawn(|| netlink::run(async |links| links.bring_up(TRUNK).await));
        up.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    Ok(())
}

fn fabric_error(error: FabricError) -> LabError {
    match error {
        FabricError::Netlink(e) if e.source.kind() == io::ErrorKind::AlreadyExists => {
            LabError::TrunkExists
        }
        error => LabError::Fabric(error),
    }
}
