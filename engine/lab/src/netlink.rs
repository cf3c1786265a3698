//! Links, addresses and routes of the calling thread's network namespace, by rtnetlink(7).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute};
use rtnetlink::packet_route::route::RouteType;
use rtnetlink::{Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use sonde_wire::MacAddr;

use crate::namespace::Namespace;
use crate::prefix::Prefix;

/// Something rtnetlink was asked for and refused.
#[derive(Debug, thiserror::Error)]
#[error("the kernel does not {asked}")]
pub struct NetlinkError {
    /// What was asked, as `bring up eth0`.
    pub asked: String,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

/// One end of a veth pair.
pub(crate) struct End<'a> {
    pub(crate) name: &'a str,
    pub(crate) mac: Option<MacAddr>,
    /// Where it goes; `None`: the namespace of the caller.
    pub(crate) namespace: Option<&'a Namespace>,
}

/// A connection to the kernel.
#[derive(Clone)]
pub(crate) struct Links(Handle);

/// Runs `work` with a connection in the calling thread's namespace, on a runtime made for it.
pub(crate) fn run<T>(
    work: impl AsyncFnOnce(Links) -> Result<T, NetlinkError>,
) -> Result<T, NetlinkError> {
    let failed = |source| NetlinkError {
        asked: "open rtnetlink".into(),
        source,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    runtime.block_on(async { work(Links::connect().map_err(failed)?).await })
}

impl Links {
    /// Connects; the connection is driven by a task of the current runtime.
    pub(crate) fn connect() -> io::Result<Self> {
        let (connection, handle, _messages) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        Ok(Self(handle))
    }

    /// Makes a veth pair.
    pub(crate) async fn add_veth(&self, near: End<'_>, far: End<'_>) -> Result<(), NetlinkError> {
        let asked = || format!("make a veth pair from {} to {}", near.name, far.name);
        let peer = end(LinkMessageBuilder::<LinkUnspec>::default(), &far).build();
        let pair = end(
            LinkMessageBuilder::<LinkVeth>::new(near.name, far.name),
            &near,
        )
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        self.0
            .link()
            .add(pair.build())
            .execute()
            .await
            .map_err(refused(asked))
    }

    /// Makes a veth pair with `queues` queues in each direction at each end.
    pub(crate) async fn add_veth_with_queues(
        &self,
        near: End<'_>,
        far: End<'_>,
        queues: u32,
    ) -> Result<(), NetlinkError> {
        let asked = || {
            let (near, far) = (near.name, far.name);
            format!("make a veth pair of {queues} queues from {near} to {far}")
        };
        let both = || {
            [
                LinkAttribute::NumTxQueues(queues),
                LinkAttribute::NumRxQueues(queues),
            ]
        };
        let mut peer = end(LinkMessageBuilder::<LinkUnspec>::default(), &far).build();
        peer.attributes.extend(both());
        let mut pair = end(
            LinkMessageBuilder::<LinkVeth>::new(near.name, far.name),
            &near,
        )
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .build();
        pair.attributes.extend(both());
        let added = self.0.link().add(pair).execute().await;
        added.map_err(refused(asked))
    }

    /// Sets a link up.
    pub(crate) async fn bring_up(&self, name: &str) -> Result<(), NetlinkError> {
        let link = LinkUnspec::new_with_name(name).up().build();
        self.0
            .link()
            .change(link)
            .execute()
            .await
            .map_err(refused(|| format!("bring up {name}")))
    }

    /// Deletes a link, and with it the other end of its pair.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), NetlinkError> {
        let link = LinkUnspec::new_with_name(name).build();
        let deleted = self.0.link().del_with_message(link).execute().await;
        deleted.map_err(refused(|| format!("delete {name}")))
    }

    /// Gives a link an address; with a prefix shorter than the whole address, its network is reached by it.
    pub(crate) async fn add_address(
        &self,
        link: &str,
        address: IpAddr,
        prefix_length: u8,
    ) -> Result<(), NetlinkError> {
        let asked = || format!("give {address}/{prefix_length} to {link}");
        let index = nix::net::if_::if_nametoindex(link).map_err(|errno| NetlinkError {
            asked: asked(),
            source: errno.into(),
        })?;
        let mut request = self.0.address().add(index, address, prefix_length);
        // It answers at once, without the second of waiting for a twin (RFC 4862 §5.4).
        request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        request.execute().await.map_err(refused(asked))
    }

    /// Routes a network through a neighbour.
    pub(crate) async fn add_route(&self, to: Prefix, via: IpAddr) -> Result<(), NetlinkError> {
        self.route(to, Some(via)).await
    }

    /// Answers whatever is for a network with "administratively prohibited".
    pub(crate) async fn add_prohibit(&self, to: Prefix) -> Result<(), NetlinkError> {
        self.route(to, None).await
    }

    async fn route(&self, to: Prefix, via: Option<IpAddr>) -> Result<(), NetlinkError> {
        let message = match (to.first(), via) {
            (IpAddr::V4(first), via) => {
                let route = RouteMessageBuilder::<Ipv4Addr>::new();
                let route = route.destination_prefix(first, to.length());
                match via {
                    Some(IpAddr::V4(via)) => route.gateway(via).build(),
                    _ => route.kind(RouteType::Prohibit).build(),
                }
            }
            (IpAddr::V6(first), via) => {
                let route = RouteMessageBuilder::<Ipv6Addr>::new();
                let route = route.destination_prefix(first, to.length());
                match via {
                    Some(IpAddr::V6(via)) => route.gateway(via).build(),
                    _ => route.kind(RouteType::Prohibit).build(),
                }
            }
        };
        let asked = || match via {
            Some(via) => format!("route {to} through {via}"),
            None => format!("prohibit {to}"),
        };
        self.0
            .route()
            .add(message)
            .execute()
            .await
            .map_err(refused(asked))
    }
}

fn end<T>(link: LinkMessageBuilder<T>, end: &End<'_>) -> LinkMessageBuilder<T>
where
    T: Default,
{
    let link = link.name(end.name);
    let link = match end.mac {
        Some(mac) => link.address(mac.0.to_vec()),
        None => link,
    };
    match end.namespace {
        Some(namespace) => link.setns_by_fd(namespace.raw()),
        None => link,
    }
}

fn refused(asked: impl FnOnce() -> String) -> impl FnOnce(rtnetlink::Error) -> NetlinkError {
    |error| {
        let source = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other),
        };
        NetlinkError {
            asked: asked(),
            source,
        }
    }
}
