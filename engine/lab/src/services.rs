//! The small real services of the lab's machines, on the kernel's own sockets.
//!
//! Each machine's thread runs them all in one runtime: a listener for each (address, port), a bounded
//! number of connections a machine, a time limit and a byte limit for each connection.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sonde_core::observation::Proto;
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

mod dialogue;
mod dns;
mod ntp;
mod snmp;

pub(crate) use dns::Zone;

/// A service and its port, written `http:80`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Service {
    /// What it speaks.
    pub kind: Kind,
    /// Where, 1 to 65,535.
    pub port: u16,
}

/// What a service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// HTTP/1.1 over TCP: one page that names the machine.
    Http,
    /// An SSH server's first line over TCP.
    Ssh,
    /// SMTP over TCP: greets, answers EHLO and QUIT.
    Smtp,
    /// FTP over TCP: greets, lets nobody in.
    Ftp,
    /// Echo over TCP (RFC 862).
    Echo,
    /// DNS over UDP: `NAME.lab` of every machine, NXDOMAIN for the rest.
    Dns,
    /// NTP over UDP: this machine's clock.
    Ntp,
    /// SNMP versions 1 and 2c over UDP: the machine's name, to the community `public`.
    Snmp,
}

impl Kind {
    const ALL: [(Self, &str); 8] = [
        (Self::Http, "http"),
        (Self::Ssh, "ssh"),
        (Self::Smtp, "smtp"),
        (Self::Ftp, "ftp"),
        (Self::Echo, "echo"),
        (Self::Dns, "dns"),
        (Self::Ntp, "ntp"),
        (Self::Snmp, "snmp"),
    ];

    /// What carries it.
    pub const fn proto(self) -> Proto {
        match self {
            Self::Http | Self::Ssh | Self::Smtp | Self::Ftp | Self::Echo => Proto::Tcp,
            Self::Dns | Self::Ntp | Self::Snmp => Proto::Udp,
        }
    }

    /// As written in a lab file.
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("", |(_, name)| name)
    }
}

/// A text that names no service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no service; write one of http, ssh, smtp, ftp, echo, dns, ntp, snmp with its port, as http:80"
)]
pub struct InvalidService(String);

impl FromStr for Service {
    type Err = InvalidService;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidService(text.to_owned());
        let (name, port) = text.split_once(':').ok_or_else(invalid)?;
        let kind = Kind::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .ok_or_else(invalid)?
            .0;
        let port = port
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(invalid)?;
        Ok(Self { kind, port })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.name(), self.port)
    }
}

impl Serialize for Service {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Service {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What the services of one machine know of it.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The machine's name.
    pub(crate) name: String,
    /// Every machine's addresses.
    pub(crate) zone: Zone,
}

/// Binds every service to every address, then serves in the background of the current `LocalSet`.
/// When it returns, all of them answer.
pub(crate) async fn start(
    services: &[Service],
    addresses: &[IpAddr],
    identity: Rc<Identity>,
) -> io::Result<JoinSet<()>> {
    let limit = Rc::new(tokio::sync::Semaphore::new(dialogue::CONNECTIONS_MAX));
    let mut running = JoinSet::new();
    for service in services {
        for &address in addresses {
            let at = SocketAddr::new(address, service.port);
            let (kind, identity) = (service.kind, Rc::clone(&identity));
            match service.kind.proto() {
                Proto::Tcp => {
                    let listener = TcpListener::bind(at).await?;
                    let limit = Rc::clone(&limit);
                    running.spawn_local(dialogue::serve(listener, kind, identity, limit));
                }
                Proto::Udp => {
                    let socket = UdpSocket::bind(at).await?;
                    running.spawn_local(answer_datagrams(socket, kind, identity));
                }
            }
        }
    }
    Ok(running)
}

/// Answers each datagram by itself; what makes no sense, or can not be sent back, gets no answer.
async fn answer_datagrams(socket: UdpSocket, kind: Kind, identity: Rc<Identity>) {
    let mut request = [0; 1500];
    loop {
        let (length, from) = match socket.recv_from(&mut request).await {
            Ok(received) => received,
            // An ICMP error for an earlier answer, reported here once: the next call goes on.
            Err(error) => {
                tracing::debug!(%error, kind = kind.name(), "datagram not received");
                continue;
            }
        };
        let request = &request[..length];
        let answer = match kind {
            Kind::Dns => dns::answer(request, &identity.zone),
            Kind::Ntp => ntp::answer(request, std::time::SystemTime::now()),
            Kind::Snmp => snmp::answer(request, &identity.name),
            Kind::Http | Kind::Ssh | Kind::Smtp | Kind::Ftp | Kind::Echo => None,
        };
        if let Some(answer) = answer
            && let Err(error) = socket.send_to(&answer, from).await
        {
            tracing::debug!(%error, kind = kind.name(), "answer not sent");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_that_reads_back() {
        for (kind, name) in Kind::ALL {
            let service: Service = format!("{name}:7").parse().unwrap();
            assert_eq!(service, Service { kind, port: 7 });
            assert_eq!(service.to_string(), format!("{name}:7"));
        }
    }

    #[test]
    fn what_is_no_service_is_refused_by_name() {
        for bad in [
            "",
            "http",
            "http:",
            "http:0",
            "http:65536",
            "gopher:70",
            ":80",
        ] {
            assert_eq!(bad.parse::<Service>(), Err(InvalidService(bad.to_owned())));
        }
    }
}
