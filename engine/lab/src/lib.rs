//! Networks to scan that fit in one machine: namespaces, a VLAN switch, real small services.
//!
//! ```text
//!   scanner's namespace      switch's namespace          one namespace a machine
//!       trunk0 ====tagged==== port0 [switch] port1 -------- eth0  web    the kernel's TCP/IP,
//!                                            port2 -------- eth0  mail   small real services
//!                                            port3, 4 ----- eth0, eth1  edge (a router)
//! ```
//!
//! [`enter_namespaces`] takes the process out of the machine's own network, as root or as an ordinary user;
//! [`Lab::up`] builds what a [`Topology`] describes; the topology knows the truth that a scan should find.
//! Each namespace is held by a thread, none has a path: when the process ends, however it ends, all is gone.
//! Nothing here touches the network it was started in, and nothing needs another program.

mod fabric;
mod holder;
mod lab;
mod machine;
mod namespace;
mod netlink;
mod prefix;
mod services;
mod switch;
mod topology;
pub mod world;

pub use fabric::{FabricCounters, FabricError};
pub use holder::{Holder, HolderError, LabFolder};
pub use lab::{Lab, LabError, TRUNK, TrunkError};
pub use machine::MachineError;
pub use namespace::{EnterError, Namespace, SysctlError, enter_namespaces};
pub use netlink::NetlinkError;
pub use prefix::{InvalidPrefix, Prefix};
pub use services::{InvalidService, Kind, Service};
pub use switch::{Exit, Port, PortId, Segment, Switch, SwitchCounters, SwitchDrop, TABLE_MAX};
pub use topology::{
    Behaviour, Description, Host, Interface, MACHINES_MAX, Machine, Network, OpenPort, Router,
    StaticRoute, Topology, TopologyError, UpHost,
};
