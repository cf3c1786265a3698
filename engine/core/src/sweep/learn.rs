//! What an answer means: which question it is to, whether it is the first, and what it tells.

use std::net::IpAddr;
use std::time::Duration;

use sonde_wire::{MacAddr, RxDrop};

use super::known::Responder;
use super::wide::Place;
use super::{Event, Sweep};
use crate::hosts::Found;
use crate::judge::{Answer, Reply};
use crate::neighbor::Known;
use crate::observation::{HostReason, PortReason, Proto};
use crate::plan::{DiscoveryProbe, Hop, Plan, Segment, UnitKind};
use crate::probe::ProbeKind;
use crate::request::PortState;
use crate::time::Instant;

impl Sweep {
    /// Somebody says where it is; true if it is a gateway.
    pub(super) fn handle_gateway(&mut self, now: Instant, reply: &Reply) -> bool {
        let (vlan, ip) = (reply.vlan, reply.ip);
        let known = reply
            .mac
            .and_then(|mac| self.neighbors.handle(now, vlan, ip, mac));
        if known == Some(Known::Found) {
            self.time(now, reply, true);
            self.events.push_back(Event::NextHop {
                vlan,
                ip,
                resolved: true,
            });
        }
        known.is_some()
    }

    /// Finds what was asked, notes the answer and says what it means.
    pub(super) fn learn(&mut self, now: Instant, reply: Reply) -> Result<(), RxDrop> {
        let plan = &*self.plan;
        let segment = plan
            .segment_of(reply.vlan, reply.ip)
            .ok_or(RxDrop::Unasked)?;
        let asked = port_answer(reply.answer);
        let port = asked.and_then(|(proto, port, ..)| plan.ports().index(proto, port));
        if let Some(slot) = self.deep.find(reply.vlan, reply.ip) {
            let port = port.ok_or(RxDrop::Duplicate)?;
            let pass = self
                .deep
                .answer(slot, port, now, tells_of_loss(reply.answer));
            let pass = pass.ok_or(RxDrop::Duplicate)?;
            let rtt = self.believe(now, &reply, pass, false);
            self.tell_port(&reply, rtt);
            return Ok(());
        }
        if segment.kind == UnitKind::HostPort {
            let port = port.ok_or(RxDrop::Unasked)?;
            let unit = self.fresh(segment, reply.ip, Some(port))?;
            let gateway = self.neighbors.gateway_of(segment.route);
            let pass = self.wide.answer(unit, gateway, tells_of_loss(reply.answer));
            let rtt = self.believe(now, &reply, pass, false);
            if let Some(reason) = proves_up(&reply) {
                self.list_host(&reply, reason, rtt);
            }
            self.tell_port(&reply, rtt);
            return Ok(());
        }
        let unit = self.fresh(segment, reply.ip, None)?;
        let route = segment.route;
        let on_link = plan.routes()[route as usize].hop == Hop::OnLink;
        if !is_discovery(plan, reply.answer, on_link) {
            return Err(RxDrop::Unasked);
        }
        let Some(reason) = proves_up(&reply) else {
            return Ok(()); // somebody says that this question can't reach it; another may
        };
        let found = Found {
            vlan: reply.vlan,
            ip: reply.ip,
            route,
            mac: reply.mac.filter(|_| on_link),
            answered: port,
        };
        self.deep.admit(found, now);
        let gateway = self.neighbors.gateway_of(route);
        let pass = self.wide.answer(unit, gateway, tells_of_loss(reply.answer));
        let rtt = self.believe(now, &reply, pass, true);
        self.tell_host(&reply, reason, found.mac, rtt);
        if port.is_some() {
            self.tell_port(&reply, rtt);
        }
        Ok(())
    }

    fn fresh(&self, segment: &Segment, ip: IpAddr, port: Option<u32>) -> Result<u64, RxDrop> {
        match self.wide.place(&self.plan, segment, ip, port) {
            Place::Fresh(unit) => Ok(unit),
            Place::Answered => Err(RxDrop::Duplicate),
            Place::Unasked => Err(RxDrop::Unasked),
        }
    }

    /// Counts a first answer and learns from its time; `found_host` if its question was to find one.
    #[inline]
    fn believe(
        &mut self,
        now: Instant,
        reply: &Reply,
        pass: u32,
        found_host: bool,
    ) -> Option<Duration> {
        self.counters.received += 1;
        self.counters.count_answered(pass);
        self.remember(reply);
        self.time(now, reply, found_host)
    }

    /// Keeps who answered for the closed loop, if there is one that wants more. Not those whose answers routers and
    /// hosts hold to a rate of their own.
    #[inline]
    fn remember(&mut self, reply: &Reply) {
        let Some(closed) = &mut self.closed else {
            return;
        };
        if !closed.wants() {
            return;
        }
        let kind = match reply.answer {
            Answer::Link => crate::neighbor::question(reply.ip),
            Answer::Echo => ProbeKind::Echo,
            Answer::TcpOpen(port) | Answer::TcpClosed(port) => ProbeKind::TcpSyn { port },
            Answer::UdpReply(port) => ProbeKind::Udp { port },
            Answer::UdpClosed(_) | Answer::Filtered(..) => return, // see tells_of_loss
        };
        let Some(segment) = self.plan.segment_of(reply.vlan, reply.ip) else {
            return;
        };
        let on_link = self.plan.routes()[segment.route as usize].hop == Hop::OnLink;
        if on_link && reply.answer != Answer::Link {
            return; // where it is was told by another answer
        }
        let hash = self.cookies.hash(reply.ip, reply.answer.question());
        closed.offer(Responder {
            key: self.cookies.key(reply.vlan, hash),
            route: segment.route,
            ip: reply.ip,
            mac: reply.mac.filter(|_| on_link),
            kind,
        });
    }

    /// True if an answer that is not a first one is to a question of the closed loop's.
    pub(super) fn handle_known(&mut self, now: Instant, reply: &Reply) -> bool {
        let Some(closed) = &mut self.closed else {
            return false;
        };
        let hash = self.cookies.hash(reply.ip, reply.answer.question());
        let (known, changed) = closed.handle(now, self.cookies.key(reply.vlan, hash));
        if changed {
            self.pacer.govern(closed.limit());
        }
        known
    }

    /// The round trip of an answer, if its question was timed and it is known which probe it is to.
    #[inline]
    fn time(&mut self, now: Instant, reply: &Reply, found_host: bool) -> Option<Duration> {
        if let Some(rtt) = reply.rtt {
            self.rtt.sample(rtt);
            return Some(rtt);
        }
        let question = reply.answer.question();
        if !found_host && !self.sampling.takes(reply.ip, question.port()) {
            return None;
        }
        let hash = self.cookies.hash(reply.ip, question);
        let sent = self.times.get(self.cookies.key(reply.vlan, hash))?;
        let rtt = now - sent.first;
        if sent.first == sent.last {
            self.rtt.sample(rtt);
            return Some(rtt);
        }
        self.rtt.sample_ambiguous(rtt, now - sent.last);
        None
    }

    /// Says that a host whose units are its ports is up, the first time.
    fn list_host(&mut self, reply: &Reply, reason: HostReason, rtt: Option<Duration>) {
        // With one port asked, a first answer is its host's first.
        let one_port = self.plan.ports().len() == 1;
        if one_port {
            return self.tell_host(reply, reason, None, rtt);
        }
        if self.listed.contains_host(reply.vlan, reply.ip) {
            return;
        }
        if self.listed.insert(reply.vlan, reply.ip, None) {
            self.tell_host(reply, reason, None, rtt);
        } else {
            self.counters.hosts_unlisted += 1;
        }
    }

    fn tell_host(
        &mut self,
        reply: &Reply,
        reason: HostReason,
        mac: Option<MacAddr>,
        rtt: Option<Duration>,
    ) {
        self.counters.hosts_up += 1;
        self.events.push_back(Event::Host {
            vlan: reply.vlan,
            ip: reply.ip,
            reason,
            mac,
            rtt,
            ttl: reply.ttl,
        });
    }

    fn tell_port(&mut self, reply: &Reply, rtt: Option<Duration>) {
        let Some((proto, port, state, reason)) = port_answer(reply.answer) else {
            return;
        };
        self.counters.open += u64::from(state == PortState::Open);
        if self.show.wants(state) {
            self.events.push_back(Event::Port {
                vlan: reply.vlan,
                ip: reply.ip,
                proto,
                port,
                state,
                reason,
                ttl: reply.ttl,
                rtt,
            });
        }
    }
}

/// Whether it says something of loss that an answer comes late. Routers and hosts hold those that don't to a rate of
/// their own.
fn tells_of_loss(answer: Answer) -> bool {
    !matches!(answer, Answer::UdpClosed(_) | Answer::Filtered(..))
}

/// What an answer says of a port.
fn port_answer(answer: Answer) -> Option<(Proto, u16, PortState, PortReason)> {
    Some(match answer {
        Answer::Link | Answer::Echo => return None,
        Answer::TcpOpen(port) => (Proto::Tcp, port, PortState::Open, PortReason::SynAck),
        Answer::TcpClosed(port) => (Proto::Tcp, port, PortState::Closed, PortReason::Rst),
        Answer::UdpReply(port) => (Proto::Udp, port, PortState::Open, PortReason::UdpReply),
        Answer::UdpClosed(port) => (
            Proto::Udp,
            port,
            PortState::Closed,
            PortReason::PortUnreachable,
        ),
        Answer::Filtered(proto, port) => (proto, port, PortState::Filtered, PortReason::Prohibited),
    })
}

/// Why an answer proves its host up, if it does.
fn proves_up(reply: &Reply) -> Option<HostReason> {
    match reply.answer {
        Answer::Link if reply.ip.is_ipv4() => Some(HostReason::ArpReply),
        Answer::Link => Some(HostReason::NdpAdvertisement),
        Answer::Echo => Some(HostReason::EchoReply),
        Answer::TcpOpen(_) => Some(HostReason::SynAck),
        Answer::TcpClosed(_) => Some(HostReason::Rst),
        Answer::UdpReply(_) => Some(HostReason::UdpReply),
        Answer::UdpClosed(_) => Some(HostReason::PortUnreachable),
        Answer::Filtered(..) => None,
    }
}

/// Whether this is an answer to a question that finds hosts.
fn is_discovery(plan: &Plan, answer: Answer, on_link: bool) -> bool {
    let probe = match answer {
        Answer::Link => return on_link,
        Answer::Echo => DiscoveryProbe::Echo,
        Answer::TcpOpen(port) | Answer::TcpClosed(port) | Answer::Filtered(Proto::Tcp, port) => {
            DiscoveryProbe::Tcp(port)
        }
        Answer::UdpReply(port) | Answer::UdpClosed(port) | Answer::Filtered(Proto::Udp, port) => {
            DiscoveryProbe::Udp(port)
        }
    };
    !on_link && plan.discovery().contains(&probe)
}
