//! Which link a scan uses: the one asked for, or the best that works here, saying why not a better one.

use std::collections::HashMap;
use std::net::IpAddr;

use sonde_core::plan::Environment;
use sonde_core::request::{LinkKind, ScanRequest};
use sonde_link::connect::{ConnectLink, ConnectOpenError, ConnectOptions};
use sonde_link::{
    AttachError, OpenError, PacketLink, PacketOptions, XdpError, XdpLink, XskError, XskLink,
    XskOptions,
};

use crate::environment::{self, EnvironmentError, Machine};

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// VLANs need frames.
    #[error("the connect link can't tag frames; leave --trunk out, or use --link packet")]
    ConnectTrunk,
    /// Raw packets need privileges.
    #[error(
        "no permission for raw packets on `{0}`; run as root, give the program CAP_NET_RAW, or use --link connect"
    )]
    NotPermitted(String),
    /// A program in the kernel.
    #[error(transparent)]
    Xdp(XdpError),
    /// AF_XDP.
    #[error(transparent)]
    Xsk(XskError),
    /// AF_PACKET.
    #[error(transparent)]
    Packet(OpenError),
    /// The kernel's sockets.
    #[error(transparent)]
    Connect(#[from] ConnectOpenError),
    /// The machine lacks what frames need.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
}

impl LinkError {
    /// True when asking again would end the same.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::ConnectTrunk => true,
            Self::Environment(error) => error.is_refusal(),
            Self::Packet(OpenError::NoSuchInterface(_) | OpenError::NotEthernet(_)) => true,
            Self::NotPermitted(_)
            | Self::Xdp(_)
            | Self::Xsk(_)
            | Self::Packet(_)
            | Self::Connect(_) => false,
        }
    }

    /// Why not this link, as an aside: without the way out, which is taken already.
    fn as_note(&self) -> String {
        let text = self.to_string();
        let reason = text.split(';').next().unwrap_or_default();
        match self {
            Self::Xdp(_) => format!("not by the xdp link: {reason}"),
            Self::Xsk(_) => format!("not by AF_XDP: {reason}"),
            _ => reason.to_owned(),
        }
    }

    /// True when the process may not bring programs into the kernel.
    fn is_denial(&self) -> bool {
        matches!(
            self,
            Self::Xdp(XdpError::Attach(AttachError::NotPermitted(_)))
        )
    }

    /// True when frames can't be had for the targets, but the kernel's own sockets may reach them. Not so when an
    /// interface or a trunk is named: those can only mean frames.
    fn leaves_connect(&self, request: &ScanRequest) -> bool {
        let frames_meant = request.trunk.is_some() || request.interface.is_some();
        !frames_meant
            && match self {
                Self::NotPermitted(_) => true,
                Self::Packet(OpenError::NotEthernet(_) | OpenError::Kernel { .. }) => true,
                Self::Environment(error) => error.leaves_connect(),
                Self::ConnectTrunk
                | Self::Xdp(_)
                | Self::Xsk(_)
                | Self::Packet(_)
                | Self::Connect(_) => false,
            }
    }
}

impl From<XdpError> for LinkError {
    fn from(error: XdpError) -> Self {
        match error {
            XdpError::Interface(error) => error.into(),
            error => Self::Xdp(error),
        }
    }
}

impl From<XskError> for LinkError {
    fn from(error: XskError) -> Self {
        match error {
            XskError::Interface(error) => error.into(),
            error => Self::Xsk(error),
        }
    }
}

impl From<OpenError> for LinkError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotPermitted(interface) => Self::NotPermitted(interface),
            error => Self::Packet(error),
        }
    }
}

/// A link, open.
pub(crate) enum OpenLink {
    /// Frames by a program in the kernel.
    Xdp(Box<XdpLink>),
    /// Frames through AF_XDP.
    Xsk(Box<XskLink>),
    /// Frames through AF_PACKET.
    Packet(Box<PacketLink>),
    /// The kernel's own sockets.
    Connect(Box<ConnectLink>),
}

impl OpenLink {
    /// Its name, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Xdp(link) => format!("xdp link on {}", link.interface()),
            Self::Xsk(link) => format!("xsk link on {} ({})", link.interface(), link.describe()),
            Self::Packet(link) => format!("packet link on {}", link.interface()),
            Self::Connect(_) => "connect link".to_owned(),
        }
    }
}

/// Opens the link the request asks for; with it what the plan needs to know of the machine, and what a
/// person should know of the choice.
pub(crate) fn open(
    request: &ScanRequest,
    names: HashMap<String, Vec<IpAddr>>,
) -> Result<(OpenLink, Environment, Vec<String>), LinkError> {
    let (frames, mut notes): (&[OpenFrames], _) = match request.link {
        LinkKind::Xdp => (&[open_xdp], Vec::new()),
        LinkKind::Xsk => (&[open_xsk], Vec::new()),
        LinkKind::Packet => (&[open_packet], Vec::new()),
        LinkKind::Connect => (&[], Vec::new()),
        LinkKind::Auto => (&[open_xdp, open_xsk, open_packet], Vec::new()),
    };
    let Some((last, better)) = frames.split_last() else {
        let (link, environment) = open_connect(request, names)?;
        return Ok((link, environment, notes));
    };
    let opened = environment::of_interface(request, names.clone())
        .map_err(LinkError::from)
        .and_then(|machine| {
            let port = Port::of(request, &machine);
            let mut link = None;
            for open in better {
                match open(&port) {
                    Ok(better) => {
                        link = Some(better);
                        break;
                    }
                    Err(error) => {
                        notes.push(error.as_note());
                        // What is not allowed to the one is not to the other.
                        if error.is_denial() {
                            break;
                        }
                    }
                }
            }
            let link = link.map_or_else(|| last(&port), Ok)?;
            if !notes.is_empty() {
                notes = vec![format!(
                    "scanning by the {}; {}",
                    link.describe(),
                    notes.join("; ")
                )];
            }
            Ok((link, machine.environment))
        });
    match opened {
        Ok((link, environment)) => Ok((link, environment, notes)),
        Err(error) if request.link == LinkKind::Auto && error.leaves_connect(request) => {
            let (link, environment) = open_connect(request, names)?;
            let note = format!("scanning by the connect link: {error}");
            Ok((link, environment, vec![note]))
        }
        Err(error) => Err(error),
    }
}

/// What the plan needs to know of the machine for the link the request asks for, nothing opened.
pub(crate) fn environment(
    request: &ScanRequest,
    names: HashMap<String, Vec<IpAddr>>,
) -> Result<Environment, LinkError> {
    match request.link {
        LinkKind::Xdp | LinkKind::Xsk | LinkKind::Packet => {
            Ok(environment::of_interface(request, names)?.environment)
        }
        LinkKind::Connect if request.trunk.is_some() => Err(LinkError::ConnectTrunk),
        LinkKind::Connect => Ok(environment::of_kernel(names)),
        LinkKind::Auto => match environment::of_interface(request, names.clone()) {
            Ok(machine) => Ok(machine.environment),
            Err(error) => match LinkError::from(error) {
                error if error.leaves_connect(request) => Ok(environment::of_kernel(names)),
                error => Err(error),
            },
        },
    }
}

/// An interface, as a link for frames opens it.
struct Port {
    interface: String,
    promiscuous: bool,
}

/// Opens a link for frames.
type OpenFrames = fn(&Port) -> Result<OpenLink, LinkError>;

impl Port {
    fn of(request: &ScanRequest, machine: &Machine) -> Self {
        // Addresses of ours that the kernel does not have: a card passes frames for other VLANs, MAC addresses and
        // multicast groups than the kernel's only when asked for all.
        let own = |ip| {
            let mut addresses = machine.interface.addresses.iter();
            addresses.any(|(owned, _)| *owned == ip)
        };
        let mac = request.source_mac;
        Self {
            interface: machine.interface.name.clone(),
            promiscuous: request.trunk.is_some()
                || mac.is_some_and(|mac| Some(mac) != machine.interface.mac)
                || request.source_ip.is_some_and(|ip| !own(ip)),
        }
    }
}

fn open_xdp(port: &Port) -> Result<OpenLink, LinkError> {
    let link = XdpLink::open(&port.interface, port.promiscuous)?;
    Ok(OpenLink::Xdp(Box::new(link)))
}

fn open_xsk(port: &Port) -> Result<OpenLink, LinkError> {
    let options = XskOptions {
        promiscuous: port.promiscuous,
        ..XskOptions::default()
    };
    // In the driver, or else before the stack: slower, but on every card.
    let link = XskLink::open(&port.interface, options).or_else(|error| match error {
        XskError::Attach(AttachError::Unsupported { .. }) => {
            let native = false;
            XskLink::open(&port.interface, XskOptions { native, ..options })
        }
        error => Err(error),
    })?;
    Ok(OpenLink::Xsk(Box::new(link)))
}

fn open_packet(port: &Port) -> Result<OpenLink, LinkError> {
    let options = PacketOptions {
        promiscuous: port.promiscuous,
        ..PacketOptions::default()
    };
    let link = PacketLink::open(&port.interface, options)?;
    Ok(OpenLink::Packet(Box::new(link)))
}

fn open_connect(
    request: &ScanRequest,
    names: HashMap<String, Vec<IpAddr>>,
) -> Result<(OpenLink, Environment), LinkError> {
    if request.trunk.is_some() {
        return Err(LinkError::ConnectTrunk);
    }
    let options = ConnectOptions {
        source: request.source_ip,
        ..ConnectOptions::default()
    };
    let link = Box::new(ConnectLink::open(options)?);
    Ok((OpenLink::Connect(link), environment::of_kernel(names)))
}
