//! A world in the kernel: the program of `bpf/world.bpf.c` at the far end of a veth pair, answering at line rate.
//!
//! ```text
//!   near namespace                         far namespace
//!     world0, addresses, default route ======== far0, the world's program
//! ```
//!
//! Both namespaces, the program and what it counts are held by descriptors of this process and by nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use aya::maps::{MapError, PerCpuArray};
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader};
use sonde_link::interfaces::{Interface, interfaces};
use sonde_link::offload::{OffloadError, turn_off_offloads, turn_on_receive_coalescing};
use sonde_wire::MacAddr;

use super::config::{WORDS, words};
use super::counters::{COUNTERS, WorldCounters};
use super::spec::WorldSpec;
use crate::namespace::{Namespace, SysctlError, set_sysctl};
use crate::netlink::{self, End, Links, NetlinkError};
use crate::prefix::Prefix;

/// Name of the interface that scanners use, in the near namespace.
pub const NEAR: &str = "world0";

/// Name of the other end, in the far namespace.
const FAR: &str = "far0";

/// MAC address of [`NEAR`].
pub const NEAR_MAC: MacAddr = MacAddr([0x02, b'S', b'W', 0, 0, 1]);

/// Why a world did not start. Nothing of it is left then.
#[derive(Debug, thiserror::Error)]
pub enum XdpWorldError {
    /// The kernel takes programs of privileged users only.
    #[error(
        "a world is a program in the kernel; run as root, or with CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_BPF"
    )]
    NotPermitted,
    /// No namespace, no thread.
    #[error("no {0} to be had; the system's limits are too low for this world")]
    Resource(&'static str, #[source] io::Error),
    /// A setting was refused.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A link, address or route was refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// An offload stays as it is.
    #[error(transparent)]
    Offload(#[from] OffloadError),
    /// The kernel does not take the program's object.
    #[error("the kernel does not take the world's program; Linux 5.15 or later with BPF does")]
    Load(#[source] Box<EbpfError>),
    /// The kernel does not take the program, or not at this interface.
    #[error("the world's program does not run at a veth interface; Linux 5.15 or later lets it")]
    Program(#[source] Box<ProgramError>),
    /// The interface stays without a carrier.
    #[error("{NEAR} has no carrier after 5 seconds; the machine may be overloaded")]
    NoCarrier,
    /// The object has not the parts it should have.
    #[error("the world's program has no `{0}`; it is not the one that belongs to this build")]
    Part(&'static str),
}

/// A counter could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read what the world counted")]
pub struct CountersError(#[source] Box<MapError>);

/// A running world. Dropping it takes it down; it also goes when the process does, by whatever signal.
pub struct XdpWorld {
    // Drop order: first the program, then the pair it is attached to.
    program: Ebpf,
    near: Namespace,
    far: Namespace,
}

impl XdpWorld {
    /// Starts a world with one queue between the ends.
    ///
    /// # Errors
    /// See [`XdpWorldError`].
    pub fn start(spec: &WorldSpec) -> Result<Self, XdpWorldError> {
        Self::start_with_queues(spec, 1)
    }

    /// Starts a world whose two ends have that many queues in each direction: as many CPUs can send,
    /// answer and receive side by side.
    ///
    /// # Errors
    /// See [`XdpWorldError`].
    pub fn start_with_queues(spec: &WorldSpec, queues: u32) -> Result<Self, XdpWorldError> {
        let near = fresh_namespace()?;
        let far = fresh_namespace()?;
        let mut program = load(spec)?;
        visit(&far, || make_pair(&near, queues))?;
        // Before the program is there: with it the other end can not change its segmentation any more.
        visit(&near, || Ok(turn_off_offloads(NEAR)?))?;
        visit(&far, || make_far_end(&mut program))?;
        visit(&near, || make_near_end(spec))?;
        Ok(Self { program, near, far })
    }

    /// The namespace that scanners run in: [`NEAR`] is there.
    pub const fn near(&self) -> &Namespace {
        &self.near
    }

    /// The namespace that the world's end is in.
    pub const fn far(&self) -> &Namespace {
        &self.far
    }

    /// Runs `work` on a thread of its own in the near namespace. Programs it starts stay there.
    ///
    /// # Errors
    /// When the thread can not be started or may not enter.
    ///
    /// # Panics
    /// When `work` panics.
    pub fn visit<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        self.near.visit(work)
    }

    /// What the world counted so far.
    ///
    /// # Errors
    /// When the kernel does not give it out.
    pub fn counters(&self) -> Result<WorldCounters, CountersError> {
        let failed = |error| CountersError(Box::new(error));
        let missing = || MapError::InvalidName {
            name: "counters".to_owned(),
        };
        let map = self
            .program
            .map("counters")
            .ok_or_else(|| failed(missing()))?;
        let counters = PerCpuArray::<_, [u64; COUNTERS]>::try_from(map).map_err(failed)?;
        let mut sum = [0; COUNTERS];
        for of_cpu in counters.get(&0, 0).map_err(failed)?.iter() {
            for (sum, count) in sum.iter_mut().zip(of_cpu) {
                *sum += count;
            }
        }
        Ok(WorldCounters::from_words(sum))
    }
}

/// A namespace with loopback up, in which addresses answer at once and the kernel asks for nothing.
fn fresh_namespace() -> Result<Namespace, XdpWorldError> {
    let resource = |what| move |error| XdpWorldError::Resource(what, error);
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("world-setup".into());
        let thread = thread.spawn_scoped(scope, || {
            let namespace = Namespace::unshare().map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => XdpWorldError::NotPermitted,
                _ => XdpWorldError::Resource("namespace", error),
            })?;
            for conf in ["all", "default"] {
                set_sysctl(&format!("ipv4/conf/{conf}/rp_filter"), "0")?;
                for name in [
                    "accept_dad",
                    "dad_transmits",
                    "accept_ra",
                    "router_solicitations",
                ] {
                    set_sysctl(&format!("ipv6/conf/{conf}/{name}"), "0")?;
                }
            }
            netlink::run(async |links| links.bring_up("lo").await)?;
            Ok(namespace)
        });
        let thread = thread.map_err(resource("thread"))?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn visit(
    namespace: &Namespace,
    work: impl FnOnce() -> Result<(), XdpWorldError> + Send,
) -> Result<(), XdpWorldError> {
    let failed = |error| XdpWorldError::Resource("thread in a namespace", error);
    namespace.visit(work).map_err(failed)?
}

fn load(spec: &WorldSpec) -> Result<Ebpf, XdpWorldError> {
    let object =
        aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/bpf/world.bpf.o"));
    let words: Box<[u64; WORDS]> = words(spec);
    let loaded = EbpfLoader::new()
        .override_global("config", &*words, true)
        .load(object)
        .map_err(|error| match refusal(&error) {
            Some(io::ErrorKind::PermissionDenied) => XdpWorldError::NotPermitted,
            _ => XdpWorldError::Load(Box::new(error)),
        });
    let mut program = loaded?;
    xdp(&mut program)?.load().map_err(program_error)?;
    Ok(program)
}

/// What the kernel said about a map, if it was the kernel that refused.
fn refusal(error: &EbpfError) -> Option<io::ErrorKind> {
    match error {
        EbpfError::MapError(MapError::CreateError { io_error, .. }) => Some(io_error.kind()),
        EbpfError::MapError(MapError::SyscallError(error)) => Some(error.io_error.kind()),
        _ => None,
    }
}

fn program_error(error: ProgramError) -> XdpWorldError {
    XdpWorldError::Program(Box::new(error))
}

fn xdp(program: &mut Ebpf) -> Result<&mut Xdp, XdpWorldError> {
    let found = program
        .program_mut("world")
        .ok_or(XdpWorldError::Part("world"))?;
    found.try_into().map_err(program_error)
}

fn make_pair(near: &Namespace, queues: u32) -> Result<(), XdpWorldError> {
    // The kernel at this end has nothing to say.
    set_sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    Ok(netlink::run(async |links| {
        let far = End {
            name: FAR,
            mac: None,
            namespace: None,
        };
        let near = End {
            name: NEAR,
            mac: Some(NEAR_MAC),
            namespace: Some(near),
        };
        links.add_veth_with_queues(far, near, queues).await
    })?)
}

/// Attaches the program before anything can be sent.
fn make_far_end(program: &mut Ebpf) -> Result<(), XdpWorldError> {
    let index = nix::net::if_::if_nametoindex(FAR)
        .map_err(|errno| XdpWorldError::Resource("interface index", errno.into()))?;
    xdp(program)?
        .attach_to_if_index(index, XdpMode::Driver)
        .map_err(program_error)?;
    Ok(netlink::run(async |links| links.bring_up(FAR).await)?)
}

/// The scanner's end: frames that the program sends back are taken, and the kernel knows the untagged LAN.
fn make_near_end(spec: &WorldSpec) -> Result<(), XdpWorldError> {
    netlink::run(async |links| links.bring_up(NEAR).await)?;
    // With it the interface polls for frames sent by XDP; without it or a program of its own it takes none. Only
    // where it is turned on while the interface is up does the other end learn that it may send
    // (kernel drivers/net/veth.c, `veth_xdp_xmit`, `veth_set_features`; measured with Linux 6.18).
    turn_on_receive_coalescing(NEAR)?;
    netlink::run(async |links| {
        // What is in the untagged LAN the kernel knows, too: other scanners ask it for address and route.
        add_family(&links, spec, false).await?;
        add_family(&links, spec, true).await
    })?;
    wait_running()
}

/// Waits for the carrier: until the kernel has noticed it, a moment after the second end came up, what is sent
/// is thrown away.
fn wait_running() -> Result<(), XdpWorldError> {
    for _ in 0..CARRIER_CHECKS_MAX {
        let running = |interface: &Interface| interface.name == NEAR && interface.running;
        if interfaces().iter().any(running) {
            return Ok(());
        }
        std::thread::sleep(CARRIER_CHECK_PAUSE);
    }
    Err(XdpWorldError::NoCarrier)
}

/// Time between two looks at the carrier, and how many looks: 5 s in all.
const CARRIER_CHECK_PAUSE: Duration = Duration::from_millis(1);
const CARRIER_CHECKS_MAX: u32 = 5000;

async fn add_family(links: &Links, spec: &WorldSpec, ipv6: bool) -> Result<(), NetlinkError> {
    let network = if ipv6 {
        spec.link6(None)
    } else {
        spec.link4(None)
    };
    let ends = (spec.scanner(None, ipv6), spec.gateway(None, ipv6));
    let (Some(network), (Some(own), Some(gateway))) = (network, ends) else {
        return Ok(());
    };
    if !spec.vlans.contains(None) {
        return Ok(());
    }
    links.add_address(NEAR, own, network.length()).await?;
    let any: IpAddr = if ipv6 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    };
    links.add_route(Prefix::around(any, 0), gateway).await
}
