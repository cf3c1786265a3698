//! What a sweep has learnt.

use std::net::IpAddr;
use std::time::Duration;

use sonde_wire::{MacAddr, VlanId};

use crate::observation::{HostReason, PortReason, Proto};
use crate::request::PortState;

/// One thing learnt. Nothing is said twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A host is up.
    Host {
        /// Its VLAN.
        vlan: Option<VlanId>,
        /// Its address.
        ip: IpAddr,
        /// What proved it.
        reason: HostReason,
        /// Its MAC address, if it is on link.
        mac: Option<MacAddr>,
        /// Round trip, if it is known: see [`crate::rtt::Sampling`].
        rtt: Option<Duration>,
        /// Time to live or hop limit of the answer.
        ttl: Option<u8>,
    },
    /// A port's state, if the request asks for such states. The host was said to be up before.
    Port {
        /// VLAN of the host.
        vlan: Option<VlanId>,
        /// Address of the host.
        ip: IpAddr,
        /// Protocol.
        proto: Proto,
        /// Port number.
        port: u16,
        /// What is known.
        state: PortState,
        /// Why.
        reason: PortReason,
        /// Time to live or hop limit of the answer.
        ttl: Option<u8>,
        /// Round trip, if it is known: see [`crate::rtt::Sampling`].
        rtt: Option<Duration>,
    },
    /// An answer came in on another VLAN than its question left on. Once for each host and pair of VLANs.
    Leak {
        /// VLAN the question left on.
        vlan: Option<VlanId>,
        /// VLAN the answer came in on.
        seen_vlan: Option<VlanId>,
        /// Who answered.
        ip: IpAddr,
        /// MAC address the answer came from.
        mac: MacAddr,
    },
    /// A gateway was found, or is not to be found: what is behind it can't be asked.
    NextHop {
        /// Its VLAN.
        vlan: Option<VlanId>,
        /// Its address.
        ip: IpAddr,
        /// Found.
        resolved: bool,
    },
}

/// The port states that a request wants to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Show {
    open: bool,
    closed: bool,
    filtered: bool,
    unconfirmed: bool,
}

impl Show {
    pub(super) fn new(states: &[PortState]) -> Self {
        Self {
            open: states.contains(&PortState::Open),
            closed: states.contains(&PortState::Closed),
            filtered: states.contains(&PortState::Filtered),
            unconfirmed: states.contains(&PortState::Unconfirmed),
        }
    }

    pub(super) fn wants(self, state: PortState) -> bool {
        match state {
            PortState::Open => self.open,
            PortState::Closed => self.closed,
            PortState::Filtered => self.filtered,
            PortState::Unconfirmed => self.unconfirmed,
        }
    }

    /// Whether silence is to be reported.
    pub(super) fn wants_silence(self) -> bool {
        self.filtered || self.unconfirmed
    }

    /// What to say of a port that stayed silent, if anything.
    pub(super) fn silent(
        self,
        vlan: Option<VlanId>,
        ip: IpAddr,
        (proto, port): (Proto, u16),
    ) -> Option<Event> {
        let state = match proto {
            Proto::Tcp => PortState::Filtered,
            Proto::Udp => PortState::Unconfirmed,
        };
        self.wants(state).then_some(Event::Port {
            vlan,
            ip,
            proto,
            port,
            state,
            reason: PortReason::NoAnswer,
            ttl: None,
            rtt: None,
        })
    }
}
