//! What a batch is filled through: room, pace, the last guard, and the books.

use std::net::IpAddr;
use std::time::Duration;

use sonde_wire::MacAddr;

use super::counters::Counters;
use crate::cookie::{Cookies, Question};
use crate::judge::Unproven;
use crate::observation::Proto;
use crate::pacer::Pacer;
use crate::payload;
use crate::plan::Plan;
use crate::probe::{Probe, ProbeKind, Transmit, wire_octets};
use crate::rtt::{Outstanding, Sampling};

/// When probes of all kinds left: few ways, as it is written for each.
pub(super) type Times = Outstanding<4>;
use crate::template::frame_length;
use crate::time::Instant;

/// One batch being filled.
pub(super) struct Outbox<'a> {
    pub(super) now: Instant,
    /// How long to wait before asking again.
    pub(super) timeout: Duration,
    /// How long an answer may take.
    pub(super) timeout_last: Duration,
    /// All that arrived before is known: what was to be answered by then and was not is missing.
    pub(super) heard: Instant,
    pub(super) plan: &'a Plan,
    pub(super) counters: &'a mut Counters,
    pub(super) cookies: &'a Cookies,
    pub(super) times: &'a mut Times,
    pub(super) sampling: Sampling,
    pub(super) unproven: &'a mut Unproven,
    pub(super) pacer: &'a mut Pacer,
    pub(super) room: usize,
    pub(super) out: &'a mut Vec<Transmit>,
    /// Something had to be left for the next batch.
    pub(super) full: bool,
}

/// What the lanes have to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// More as soon as frames may go.
    Full,
    /// Nothing before this.
    Until(Instant),
    /// Nothing until something arrives.
    Over,
}

impl Rest {
    /// Whichever comes first.
    pub(super) fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Full, _) | (_, Self::Full) => Self::Full,
            (Self::Until(a), Self::Until(b)) => Self::Until(a.min(b)),
            (Self::Over, rest) | (rest, Self::Over) => rest,
        }
    }
}

impl Outbox<'_> {
    /// Sends one probe; false if it has to wait for the next batch. One that may not go anywhere counts as
    /// sent, so that nobody waits for it. One that finds a host is always timed.
    #[inline]
    pub(super) fn ask(
        &mut self,
        route: u32,
        dst: IpAddr,
        next_hop: MacAddr,
        kind: ProbeKind,
        finds_host: bool,
    ) -> bool {
        let vlan = self.plan.routes()[route as usize].vlan;
        if self.plan.excluded(vlan, dst) {
            debug_assert!(false, "a probe for {dst} in {vlan:?}, which is excluded");
            self.counters.suppressed += 1;
            return true;
        }
        let length = frame_length(kind, dst.is_ipv6(), vlan.is_some());
        if !self.take(wire_octets(length, vlan.is_some())) {
            return false;
        }
        self.counters.count_sent(kind);
        let mut cookie = 0;
        if let Some(question) = question(kind) {
            let hash = self.cookies.hash(dst, question);
            cookie = self.cookies.cookie(vlan, hash);
            let key = self.cookies.key(vlan, hash);
            if finds_host || self.sampling.takes(dst, question.port()) {
                self.times.insert(key, self.now);
            }
            if matches!(question, Question::Udp(port) if payload::is_without_id(port)) {
                self.unproven.insert(key, self.now);
            }
        }
        self.out.push(Transmit::Probe(Probe {
            route,
            dst,
            next_hop,
            kind,
            cookie,
        }));
        true
    }

    /// Sends a frame that is ready; false if it has to wait for the next batch.
    pub(super) fn send(
        &mut self,
        length: usize,
        tagged: bool,
        frame: impl FnOnce() -> Option<Box<[u8]>>,
    ) -> bool {
        if !self.take(wire_octets(length, tagged)) {
            return false;
        }
        if let Some(frame) = frame() {
            self.counters.sent_answers += 1;
            self.out.push(Transmit::Frame(frame));
        }
        true
    }

    #[inline]
    fn take(&mut self, octets: usize) -> bool {
        self.full = self.full || self.out.len() >= self.room || !self.pacer.take(octets);
        !self.full
    }
}

/// What a probe asks; a reset asks nothing.
#[inline]
fn question(kind: ProbeKind) -> Option<Question> {
    match kind {
        ProbeKind::Arp | ProbeKind::Ndp => Some(Question::Link),
        ProbeKind::Echo => Some(Question::Echo),
        ProbeKind::TcpSyn { port } => Some(Question::Tcp(port)),
        ProbeKind::Udp { port } => Some(Question::Udp(port)),
        ProbeKind::TcpRst { .. } => None,
    }
}

/// The probe that asks a port.
#[inline]
pub(super) fn port_probe((proto, port): (Proto, u16)) -> ProbeKind {
    match proto {
        Proto::Tcp => ProbeKind::TcpSyn { port },
        Proto::Udp => ProbeKind::Udp { port },
    }
}
