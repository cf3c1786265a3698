//! A host or router: one thread, one namespace, the kernel's own TCP/IP stack, a few services.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use sonde_link::offload::{OffloadError, turn_off_offloads};
use tokio::sync::oneshot;

use crate::namespace::{Namespace, SysctlError, set_sysctl};
use crate::netlink::{Links, NetlinkError};
use crate::prefix::Prefix;
use crate::services::{self, Identity, Service, Zone};
use crate::topology::{Behaviour, Machine};

/// Why a machine did not start.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// No namespace, no thread, no runtime.
    #[error("no {0} to be had; the system's limits are too low for this lab")]
    Resource(&'static str, #[source] io::Error),
    /// A setting was refused.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A link, address or route was refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// An offload stays on.
    #[error(transparent)]
    Offload(#[from] OffloadError),
    /// A service does not listen.
    #[error("its services do not listen; the process may be out of descriptors (ulimit -n)")]
    Services(#[source] io::Error),
    /// An address that nobody can find.
    #[error(
        "{0} of its IPv6 addresses are not ready after 5 seconds; the machine may be overloaded"
    )]
    Unfindable(usize),
    /// Its thread ended without a word.
    #[error("its thread ended early; the log has its panic")]
    Died,
}

/// Everything a machine's thread needs to know.
pub(crate) struct Blueprint {
    name: String,
    /// Addresses with prefix length, interface by interface: `eth0`, `eth1`, ...
    interfaces: Vec<Vec<(IpAddr, u8)>>,
    routes: Vec<(Prefix, IpAddr)>,
    prohibit: Vec<Prefix>,
    services: Vec<Service>,
    behaviour: Behaviour,
    forwards: bool,
    zone: Zone,
}

impl Blueprint {
    pub(crate) fn new(machine: &Machine<'_>, zone: Zone) -> Self {
        let with_length = |(network, addresses): &(&crate::topology::Network, &[IpAddr])| {
            let length = |ip| network.prefix_of(ip).map_or(128, Prefix::length);
            addresses.iter().map(|&ip| (ip, length(ip))).collect()
        };
        let mut routes: Vec<_> = machine
            .routes
            .iter()
            .map(|route| (route.to, route.via))
            .collect();
        for (network, addresses) in &machine.interfaces {
            for &gateway in &network.gateways {
                let same_family = addresses.iter().any(|ip| ip.is_ipv4() == gateway.is_ipv4());
                if same_family && !machine.forwards {
                    routes.push((default_of(gateway), gateway));
                }
            }
        }
        Self {
            name: machine.name.to_owned(),
            interfaces: machine.interfaces.iter().map(with_length).collect(),
            routes,
            prohibit: machine.prohibit.to_vec(),
            services: machine.services.to_vec(),
            behaviour: machine.behaviour,
            forwards: machine.forwards,
            zone,
        }
    }
}

/// A machine's thread, waiting for its links or running.
pub(crate) struct Running {
    pub(crate) name: String,
    pub(crate) namespace: Namespace,
    thread: Option<std::thread::JoinHandle<()>>,
    links_ready: Option<oneshot::Sender<()>>,
    started: mpsc::Receiver<Result<(), MachineError>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Running {
    /// Starts the thread and, in it, the namespace. Its links are to be made next.
    pub(crate) fn spawn(blueprint: Blueprint) -> Result<Self, MachineError> {
        let name = blueprint.name.clone();
        let (links_ready, links) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = mpsc::channel();
        let (tell_started, started) = mpsc::channel();
        let thread = std::thread::Builder::new().name(format!("lab-{name:.11}"));
        let body = move || {
            let prepared = prepare(blueprint.forwards);
            let going_on = prepared.is_ok();
            // The starter may have given up already; then `links` and `stopped` say so below.
            let _heard = tell.send(prepared);
            if going_on && links.blocking_recv().is_ok() {
                live(&blueprint, &tell_started, stopped);
            }
        };
        let thread = thread
            .spawn(body)
            .map_err(|e| MachineError::Resource("thread", e))?;
        let namespace = told.recv().unwrap_or(Err(MachineError::Died))?;
        Ok(Self {
            name,
            namespace,
            thread: Some(thread),
            links_ready: Some(links_ready),
            started,
            stop: Some(stop),
        })
    }

    /// Tells the thread that its links are there; it configures them and starts its services.
    pub(crate) fn configure(&mut self) {
        if let Some(links_ready) = self.links_ready.take() {
            // If the thread is gone, `wait_started` says so.
            let _heard = links_ready.send(());
        }
    }

    /// Waits until all services answer.
    pub(crate) fn wait_started(&self) -> Result<(), MachineError> {
        self.started.recv().unwrap_or(Err(MachineError::Died))
    }

    /// True as long as the thread runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.links_ready.take();
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported where it happened.
            let _ended = thread.join();
        }
    }
}

/// Interface number `index` of a machine.
pub(crate) fn interface_name(index: usize) -> String {
    format!("eth{index}")
}

fn default_of(gateway: IpAddr) -> Prefix {
    match gateway {
        IpAddr::V4(_) => Prefix::around(Ipv4Addr::UNSPECIFIED.into(), 0),
        IpAddr::V6(_) => Prefix::around(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

/// A new namespace with its settings, before any link is in it: links take the defaults over.
fn prepare(forwards: bool) -> Result<Namespace, MachineError> {
    let namespace = Namespace::unshare().map_err(|e| MachineError::Resource("namespace", e))?;
    let forwarding = if forwards { "1" } else { "0" };
    // First: it resets the others to what a host or a router has.
    set_sysctl("ipv4/ip_forward", forwarding)?;
    for conf in ["all", "default"] {
        // A new namespace takes IPv4 settings over from the system; these decide who answers ARP.
        for (name, value) in [("rp_filter", "0"), ("arp_ignore", "0"), ("arp_filter", "0")] {
            set_sysctl(&format!("ipv4/conf/{conf}/{name}"), value)?;
        }
        let ipv6 = [
            ("disable_ipv6", "0"),
            ("forwarding", forwarding),
            // Addresses answer at once, without the second of waiting for a twin (RFC 4862 §5.4).
            ("accept_dad", "0"),
            ("dad_transmits", "0"),
            ("accept_ra", "0"),
            ("router_solicitations", "0"),
        ];
        for (name, value) in ipv6 {
            set_sysctl(&format!("ipv6/conf/{conf}/{name}"), value)?;
        }
    }
    Ok(namespace)
}

fn live(
    blueprint: &Blueprint,
    started: &mpsc::Sender<Result<(), MachineError>>,
    stop: oneshot::Receiver<()>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            let _heard = started.send(Err(MachineError::Resource("event queue", error)));
            return;
        }
    };
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let begun = begin(blueprint).await;
        let (outcome, services) = match begun {
            Ok(services) => (Ok(()), Some(services)),
            Err(error) => (Err(error), None),
        };
        let _heard = started.send(outcome);
        if services.is_some() {
            // Either side of the channel that goes away means stop.
            let _stopped = stop.await;
        }
    });
}

/// Configures the links, then starts the services.
async fn begin(blueprint: &Blueprint) -> Result<tokio::task::JoinSet<()>, MachineError> {
    let links = Links::connect().map_err(|e| MachineError::Resource("rtnetlink socket", e))?;
    links.bring_up("lo").await?;
    for (index, addresses) in blueprint.interfaces.iter().enumerate() {
        let name = interface_name(index);
        turn_off_offloads(&name)?;
        if blueprint.behaviour == Behaviour::Silent {
            set_sysctl(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
        }
        links.bring_up(&name).await?;
        for &(address, length) in addresses {
            match blueprint.behaviour {
                Behaviour::Normal => links.add_address(&name, address, length).await?,
                // An address without a network: ARP and neighbor solicitations are answered to whoever
                // asked, but there is no route by which anything else could go back.
                Behaviour::Filtered => {
                    let whole = if address.is_ipv4() { 32 } else { 128 };
                    links.add_address(&name, address, whole).await?;
                }
                // On the wire, a host that answers nothing is one that has no address.
                Behaviour::Silent => {}
            }
        }
    }
    if blueprint.behaviour == Behaviour::Normal {
        for &(to, via) in &blueprint.routes {
            links.add_route(to, via).await?;
        }
    }
    for &to in &blueprint.prohibit {
        links.add_prohibit(to).await?;
    }
    wait_for_groups(blueprint).await?;
    let identity = Identity {
        name: blueprint.name.clone(),
        zone: blueprint.zone.clone(),
    };
    let addresses: Vec<IpAddr> = blueprint
        .interfaces
        .iter()
        .flatten()
        .map(|(address, _)| *address)
        .collect();
    let started = services::start(&blueprint.services, &addresses, Rc::new(identity)).await;
    started.map_err(MachineError::Services)
}

/// Waits until every IPv6 address has joined its solicited-node group (RFC 4861 §7.2.1): the kernel does
/// that a moment after the address was added, and until then nobody can find it.
async fn wait_for_groups(blueprint: &Blueprint) -> Result<(), MachineError> {
    if blueprint.behaviour == Behaviour::Silent {
        return Ok(());
    }
    let addresses = blueprint.interfaces.iter().flatten();
    let mut missing: Vec<String> = addresses
        .filter_map(|(ip, _)| solicited_node(*ip))
        .collect();
    for _ in 0..GROUP_CHECKS_MAX {
        let joined = std::fs::read_to_string("/proc/thread-self/net/igmp6")
            .map_err(|e| MachineError::Resource("list of multicast groups", e))?;
        missing.retain(|group| !joined.contains(group.as_str()));
        if missing.is_empty() {
            return Ok(());
        }
        tokio::time::sleep(GROUP_CHECK_PAUSE).await;
    }
    Err(MachineError::Unfindable(missing.len()))
}

/// Time between two looks at the groups, and how many looks: 5 s in all.
const GROUP_CHECK_PAUSE: Duration = Duration::from_millis(2);
const GROUP_CHECKS_MAX: u32 = 2500;

/// The group of an IPv6 address as `/proc/net/igmp6` writes it.
fn solicited_node(address: IpAddr) -> Option<String> {
    let IpAddr::V6(address) = address else {
        return None;
    };
    let group = sonde_wire::ndisc::solicited_node(address);
    Some(
        group
            .octets()
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_written_as_the_kernel_lists_them() {
        let group = solicited_node("2001:db8::12:3456".parse().unwrap());
        assert_eq!(group.as_deref(), Some("ff0200000000000000000001ff123456"));
        assert_eq!(solicited_node("10.1.0.9".parse().unwrap()), None);
    }
}
