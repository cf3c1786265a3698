//! The deep lane: the ports of hosts that are up, many hosts in turn.
//!
//! A host is asked in turns of a few ports and no faster than its own pace, goes through all its ports `passes`
//! times less what it has answered, and waits a timeout after each pass, unless all has been answered. Hosts for which the table has
//! no room wait in a queue; when that is long, the wide lane waits.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use sonde_wire::VlanId;

use super::again::Tally;
use super::event::{Event, Show};
use super::outbox::{Outbox, Rest, port_probe};
use crate::answered;
use crate::hosts::{Found, Hosts};
use crate::neighbor::Neighbors;
use crate::plan::Plan;
use crate::rtt::TIMEOUT_MIN;
use crate::schedule::Schedule;
use crate::time::Instant;

/// Ports asked of one host before the next host has its turn.
const TURN: u32 = 16;
/// Probes that may go to one host at once: what its receive ring always holds.
const BURST: u32 = 64;
/// Ports of one host passed over or reported in a turn.
const LOOKED_AT: u32 = 4096;
/// Turns in one call, when they send nothing.
const TURNS: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct Deep {
    hosts: Hosts,
    /// Each host of the table is either here or in `waiting`.
    ready: VecDeque<u32>,
    waiting: Schedule,
    queue: VecDeque<Found>,
    queue_max: usize,
    passes: u32,
    ports: u32,
    /// First answers of all hosts.
    pub(super) tally: Tally,
    /// Between two probes to one host.
    interval: Duration,
    /// Probes done by hosts that are or were in the table, and due to all that were found.
    done: u64,
    due: u64,
}

enum Turn {
    Again,
    Full,
    Until(Instant),
    Done,
}

impl Deep {
    pub(super) fn new(plan: &Plan, hosts: Hosts, queue_max: usize, host_pps: u64) -> Self {
        let capacity = hosts.capacity();
        Self {
            hosts,
            ready: VecDeque::with_capacity(capacity),
            waiting: Schedule::new(capacity),
            queue: VecDeque::new(),
            queue_max: queue_max.max(1),
            passes: plan.passes().max(1),
            ports: plan.ports().len(),
            tally: Tally::default(),
            interval: Duration::from_nanos(1_000_000_000 / host_pps.clamp(1, 1_000_000_000)),
            done: 0,
            due: 0,
        }
    }

    /// A host is up. If the table is full it waits; the queue passes its bound by what is on its way when the wide
    /// lane stops, each unit of a window once.
    pub(super) fn admit(&mut self, found: Found, now: Instant) {
        let due = u64::from(self.ports) * u64::from(self.passes);
        self.due += due;
        if self.ports == u32::from(found.answered.is_some()) {
            // Nothing is left to ask.
            self.done += due;
            return;
        }
        if self.hosts.is_full() {
            self.queue.push_back(found);
        } else if let Some(slot) = self.hosts.insert(found, now) {
            self.ready.push_back(slot);
        }
    }

    /// Whether more hosts may be looked for.
    pub(super) fn wants_hosts(&self) -> bool {
        self.queue.len() < self.queue_max
    }

    pub(super) fn is_idle(&self) -> bool {
        self.hosts.is_empty() && self.queue.is_empty()
    }

    /// The slot of a host whose ports are being asked.
    pub(super) fn find(&self, vlan: Option<VlanId>, ip: IpAddr) -> Option<u32> {
        self.hosts.find(vlan, ip)
    }

    /// The host in `slot` has answered `port`, an index into the plan's, which says something of loss if it `tells`. The
    /// pass it came in, if it is the first answer. With its last one the host leaves.
    pub(super) fn answer(
        &mut self,
        slot: u32,
        port: u32,
        now: Instant,
        tells: bool,
    ) -> Option<u32> {
        let passes = self.passes;
        let (host, bits, _) = self.hosts.get_mut(slot);
        // Past its passes its silent ports are being reported: too late.
        if host.pass >= passes && host.cursor > 0 || !answered::insert(bits, port.into()) {
            return None;
        }
        host.missing -= 1;
        // Before a pass begins, answers are to the one before.
        let pass = host.pass - u32::from(host.cursor == 0 && host.pass > 0) + host.again;
        if tells {
            self.tally.count_recent(pass);
        }
        // One that has its turn still to come leaves then.
        if host.missing == 0 && self.waiting.remove(slot) {
            self.count_saved(slot);
            self.replace(slot, now);
        }
        Some(pass)
    }

    pub(super) fn progress(&self) -> (u64, u64) {
        (self.done, self.due)
    }

    /// Sends what may go.
    pub(super) fn step(
        &mut self,
        out: &mut Outbox<'_>,
        neighbors: &Neighbors,
        events: &mut VecDeque<Event>,
        show: Show,
    ) -> Rest {
        while let Some((at, slot)) = self.waiting.first()
            && at <= out.now
        {
            let (host, ..) = self.hosts.get_mut(slot);
            let waits_for_answers = host.cursor == 0 && host.pass > 0;
            if waits_for_answers && at > out.heard {
                break;
            }
            self.waiting.remove(slot);
            self.ready.push_back(slot);
        }
        let mut idle_turns = 0;
        while let Some(slot) = self.ready.pop_front() {
            let before = out.out.len();
            match self.turn(slot, out, neighbors, events, show) {
                Turn::Again => self.ready.push_back(slot),
                Turn::Full => {
                    self.ready.push_front(slot);
                    return Rest::Full;
                }
                Turn::Until(at) => self.waiting.set(slot, at),
                Turn::Done => self.replace(slot, out.now),
            }
            idle_turns += usize::from(out.out.len() == before);
            if idle_turns > TURNS {
                return Rest::Until(out.now);
            }
        }
        self.waiting
            .first()
            .map_or(Rest::Over, |(at, _)| Rest::Until(at))
    }

    /// All hosts for a checkpoint: with the pass and port before which everything is settled, and their bits.
    pub(super) fn settled(
        &self,
        now: Instant,
        timeout: Duration,
    ) -> impl Iterator<Item = (&Found, (u32, u32), &[u64])> {
        self.hosts
            .iter()
            .map(move |(host, bits)| (&host.found, host.trail.settled(now, timeout), bits))
    }

    /// Hosts that wait for the table.
    pub(super) fn queued(&self) -> impl ExactSizeIterator<Item = &Found> {
        self.queue.iter()
    }

    /// How many hosts are in the table.
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Puts a host back where a checkpoint had it. False if it can't have been there.
    pub(super) fn restore(
        &mut self,
        found: Found,
        (pass, cursor): (u32, u32),
        words: &[u64],
        now: Instant,
    ) -> bool {
        let spare = (words.len() as u32 * 64).saturating_sub(self.ports);
        let beyond = spare > 0 && words.last().is_some_and(|w| w.leading_zeros() < spare);
        if pass > self.passes || cursor > self.ports || self.ports == 0 || beyond {
            return false;
        }
        let Some(slot) = self.hosts.insert(found, now) else {
            return false;
        };
        let (host, bits, strides) = self.hosts.get_mut(slot);
        bits.copy_from_slice(words);
        host.missing = self.ports - words.iter().map(|w| w.count_ones()).sum::<u32>();
        (host.pass, host.cursor) = (pass, cursor);
        host.port = strides.at(found.ip, cursor);
        host.trail = super::Trail::new((pass, cursor), now);
        if pass == self.passes {
            host.cursor = 0;
        }
        self.due += u64::from(self.ports) * u64::from(self.passes);
        self.done += u64::from(self.ports) * u64::from(pass) + u64::from(cursor);
        self.ready.push_back(slot);
        true
    }

    /// A host has answered everything: what was still due is done.
    fn count_saved(&mut self, slot: u32) {
        let (host, ..) = self.hosts.get_mut(slot);
        if host.again > 0 {
            return;
        }
        let left = u64::from(self.passes.saturating_sub(host.pass)) * u64::from(self.ports);
        self.done += left.saturating_sub(u64::from(host.cursor));
    }

    fn replace(&mut self, slot: u32, now: Instant) {
        self.hosts.remove(slot);
        while !self.hosts.is_full()
            && let Some(found) = self.queue.pop_front()
        {
            if let Some(slot) = self.hosts.insert(found, now) {
                self.ready.push_back(slot);
            }
        }
    }

    /// One host's turn.
    #[inline]
    fn turn(
        &mut self,
        slot: u32,
        out: &mut Outbox<'_>,
        neighbors: &Neighbors,
        events: &mut VecDeque<Event>,
        show: Show,
    ) -> Turn {
        let (host, bits, strides) = self.hosts.get_mut(slot);
        let Found {
            ip,
            route,
            vlan,
            mac,
            ..
        } = host.found;
        let next_hop =
            mac.or_else(|| neighbors.next_hop(route, &out.plan.routes()[route as usize]));
        let ports = out.plan.ports();
        if host.missing == 0 {
            self.count_saved(slot);
            return Turn::Done;
        }
        let asked = self.passes + host.again;
        if host.pass >= self.passes
            && host.cursor == 0
            && next_hop.is_some()
            && self.tally.wants_more_of_each(asked, host.again)
        {
            host.again += 1;
            host.pass = self.passes - 1;
            host.port = strides.at(ip, 0);
            out.counters.extra_passes += 1;
        }
        if host.pass >= self.passes {
            if !show.wants_silence() || next_hop.is_none() {
                return Turn::Done;
            }
            let end = self.ports.min(host.cursor + LOOKED_AT);
            let silent = (host.cursor..end).filter(|p| !answered::contains(bits, u64::from(*p)));
            events.extend(silent.filter_map(|p| show.silent(vlan, ip, ports.at(p))));
            host.cursor = end;
            return if end == self.ports {
                Turn::Done
            } else {
                Turn::Again
            };
        }
        out.counters.passes = out.counters.passes.max(host.pass + 1);
        let tolerance = self.interval * BURST;
        let (mut sent, begun) = (0, host.cursor);
        // A gateway that has gone takes the rest of the pass with it.
        let end = if next_hop.is_some() {
            self.ports
        } else {
            host.cursor
        };
        let mut turn = Turn::Again;
        while host.cursor < end && host.cursor - begun < LOOKED_AT {
            if !answered::contains(bits, host.port.into()) {
                if sent == TURN {
                    break;
                }
                if host.paced_at > out.now + tolerance {
                    let early = host.paced_at.saturating_since(out.now + tolerance / 2);
                    turn = Turn::Until(out.now + early);
                    break;
                }
                let probe = port_probe(ports.at(host.port));
                if !out.ask(route, ip, next_hop.unwrap_or_default(), probe, false) {
                    turn = Turn::Full;
                    break;
                }
                host.paced_at = host.paced_at.max(out.now) + self.interval;
                host.last_sent = out.now;
                sent += 1;
            }
            host.cursor += 1;
            host.port = strides.next(host.port);
        }
        if host.again == 0 {
            self.done += u64::from(host.cursor - begun);
        }
        if host.cursor >= end && matches!(turn, Turn::Again) {
            if host.again == 0 {
                self.done += u64::from(self.ports - host.cursor);
            }
            host.pass += 1;
            host.cursor = 0;
            host.port = strides.at(ip, 0);
            let last_sent = if next_hop.is_some() {
                host.last_sent
            } else {
                out.now
            };
            let timeout = match host.pass < self.passes {
                true => out.timeout,
                // That it takes longer was known when it was found.
                false => out.timeout.max(TIMEOUT_MIN),
            };
            turn = Turn::Until(last_sent + timeout);
        }
        host.trail
            .follow(out.now, out.timeout_last, (host.pass, host.cursor));
        turn
    }
}
