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
            // An interface or a trunk by name can only mean frames.
            Err(error) if request.trunk.is_some() || request.interface.is_some() => Err(error),
            Err(error) => {
                let (link, environment) = open_connect(request, names)?;
                Ok((
                    link,
                    environment,
                    vec![format!("scanning by the connect link: {error}")],
                ))
            }
        },
    }
}

fn open_packet(
    request: &ScanRequest,
    names: HashMap<String, Vec<IpAddr>>,
) -> Result<(OpenLink, Environment), LinkError> {
    let machine = environment::of_interface(request, names)?;
    let link = PacketLink::open(&machine.interface.name, PacketOptions::default())?;
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
