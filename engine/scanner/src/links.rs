//! Which link a scan uses: the one asked for, or the best that works here, saying why not a better one.

use std::collections::HashMap;
use std::net::IpAddr;

use sonde_core::plan::Environment;
use sonde_core::request::{LinkKind, ScanRequest};
use sonde_link::connect::{ConnectLink, ConnectOpenError, ConnectOptions};
use sonde_link::{OpenError, PacketLink, PacketOptions};

use crate::environment::{self, EnvironmentError};

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// Not in this build.
    #[error("the xdp link is not in this build; use --link packet, or auto for the best there is")]
    Xdp,
    /// VLANs need frames.
    #[error("the connect link can't tag frames; leave --trunk out, or use --link packet")]
    ConnectTrunk,
    /// Raw packets need privileges.
    #[error(
        "no permission for raw packets on `{0}`; run as root, give the program CAP_NET_RAW, or use --link connect"
    )]
    NotPermitted(String),
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
            Self::Xdp | Self::ConnectTrunk => true,
            Self::Environment(error) => error.is_refusal(),
            Self::Packet(OpenError::NoSuchInterface(_) | OpenError::NotEthernet(_)) => true,
            Self::NotPermitted(_) | Self::Packet(_) | Self::Connect(_) => false,
        }
    }
}

impl LinkError {
    /// True when frames can't be had for the targets, but the kernel's own sockets may reach them. Not so when an
    /// interface or a trunk is named: those can only mean frames.
    fn leaves_connect(&self, request: &ScanRequest) -> bool {
        let frames_meant = request.trunk.is_some() || request.interface.is_some();
        !frames_meant
            && match self {
                Self::NotPermitted(_) => true,
                Self::Packet(OpenError::NotEthernet(_) | OpenError::Kernel { .. }) => true,
                Self::Environment(error) => error.leaves_connect(),
                Self::Xdp | Self::ConnectTrunk | Self::Packet(_) | Self::Connect(_) => false,
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
    /// Frames through AF_PACKET.
    Packet(Box<PacketLink>),
    /// The kernel's own sockets.
    Connect(Box<ConnectLink>),
}

impl OpenLink {
    /// Its name, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
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
    match request.link {
        LinkKind::Xdp => Err(LinkError::Xdp),
        LinkKind::Packet => {
            let (link, environment) = open_packet(request, names)?;
            Ok((link, environment, Vec::new()))
        }
        LinkKind::Connect => {
            let (link, environment) = open_connect(request, names)?;
            Ok((link, environment, Vec::new()))
        }
        LinkKind::Auto => match open_packet(request, names.clone()) {
            Ok((link, environment)) => Ok((link, environment, Vec::new())),
            Err(error) if error.leaves_connect(request) => {
                let (link, environment) = open_connect(request, names)?;
                Ok((
                    link,
                    environment,
                    vec![format!("scanning by the connect link: {error}")],
                ))
            }
            Err(error) => Err(error),
        },
    }
}

/// What the plan needs to know of the machine for the link the request asks for, nothing opened.
pub(crate) fn environment(
    request: &ScanRequest,
    names: HashMap<String, Vec<IpAddr>>,
) -> Result<Environment, LinkError> {
    match request.link {
        LinkKind::Xdp => Err(LinkError::Xdp),
        LinkKind::Packet => Ok(environment::of_interface(request, names)?.environment),
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

fn open_packet(
    request: &ScanRequest,
    names: HashMap<String, Vec<IpAddr>>,
) -> Result<(OpenLink, Environment), LinkError> {
    let machine = environment::of_interface(request, names)?;
    // Addresses of ours that the kernel does not have: a card passes frames for other VLANs, MAC addresses and
    // multicast groups than the kernel's only when asked for all.
    let own = |ip| {
        machine
            .interface
            .addresses
            .iter()
            .any(|(owned, _)| *owned == ip)
    };
    let promiscuous = request.trunk.is_some()
        || request
            .source_mac
            .is_some_and(|mac| Some(mac) != machine.interface.mac)
        || request.source_ip.is_some_and(|ip| !own(ip));
    let options = PacketOptions {
        promiscuous,
        ..PacketOptions::default()
    };
    let link = PacketLink::open(&machine.interface.name, options)?;
    Ok((OpenLink::Packet(Box::new(link)), machine.environment))
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
