//! The wide lane: every unit of the plan, in the order of the permutation, window by window.
//!
//! Over each window it makes `passes` x `kinds` rounds, `kinds` being the most questions any unit has, and skips in each what
//! has been answered. No unit is asked again before its last question has had time to be answered: a window is
//! cut into blocks, and each remembers when something in it was last asked. A long window never waits for
//! that, a short one does.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::ops::Range;

use super::again::Tally;
use super::broadcast::Broadcasts;
use super::config::SweepConfig;
use super::event::{Event, Show};
use super::late::Late;
use super::outbox::{Outbox, Rest, port_probe};
use super::trail::Trail;
use crate::answered::Answered;
use crate::neighbor::{self, Neighbors};
use crate::plan::{DiscoveryProbe, Hop, Plan, Segment, Unit, UnitKind};
use crate::probe::ProbeKind;
use crate::time::Instant;

/// Blocks a window is cut into.
const BLOCKS: u64 = 4096;
/// Passes over what was late, at most: a gateway that comes and goes must not hold up a window for good.
const LATE_PASSES: u32 = 3;
/// Units looked at in one call without anything to send; so many take well under a millisecond.
const STEPS: usize = 4096;

const NEVER: Instant = Instant::ZERO;
const EARLIEST: Instant = Instant::from_nanos(1);

#[derive(Clone, Debug)]
pub(super) struct Wide {
    shard: Range<u64>,
    /// Units a window holds.
    capacity: u64,
    /// The order position of the window's first unit.
    window: u64,
    /// Units of this window; the last one may be short.
    length: u64,
    answered: Answered,
    /// Units of this window without an answer.
    missing: u64,
    kinds: u32,
    passes: u32,
    round: u32,
    cursor: u64,
    /// By block: when something in it was last asked, [`NEVER`] if nothing was.
    asked_at: Vec<Instant>,
    block_bits: u32,
    /// The block of the cursor, once it may be asked.
    block: Option<u64>,
    last_sent: Instant,
    broadcasts: Broadcasts,
    late: Late,
    /// Passes of this window over what was late.
    late_passes: u32,
    trail: Trail<(u32, u64)>,
    /// What this pass over the window is.
    pass: Pass,
    /// Passes of this window beyond those asked for.
    again: u32,
    /// First answers of this window.
    pub(super) tally: Tally,
    phase: Phase,
    reports_silence: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Asking.
    Rounds,
    /// Waiting for the last answers of the window.
    Waiting,
    /// Saying what stayed silent, from this unit of the window on.
    Reporting(u64),
    /// Nothing is left.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// One of those asked for.
    Due,
    /// Over what was late.
    Late,
    /// One more, because of loss.
    Again,
}

/// Where an answer belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// To this unit of the window, which had no answer yet.
    Fresh(u64),
    /// To a unit that had one, or whose window is over.
    Answered,
    /// To none that was asked.
    Unasked,
}

enum Asked {
    Full,
    Passed,
}

impl Wide {
    pub(super) fn new(
        plan: &Plan,
        neighbors: &Neighbors,
        config: &SweepConfig,
        show: Show,
        now: Instant,
    ) -> Self {
        let shard = plan.shard();
        let of_kind = |kind| {
            plan.segments()
                .iter()
                .any(move |s: &Segment| s.kind == kind)
        };
        let asked_by_discovery = |s: &Segment| {
            s.kind == UnitKind::Host && plan.routes()[s.route as usize].hop != Hop::OnLink
        };
        let kinds = match plan.segments().iter().any(asked_by_discovery) {
            true => plan.discovery().len().max(1),
            false => 1,
        };
        let capacity = config
            .window_units
            .clamp(1, (shard.end - shard.start).max(1));
        let block_bits = capacity
            .div_ceil(BLOCKS)
            .next_power_of_two()
            .trailing_zeros();
        let blocks = (capacity >> block_bits) + 1;
        let mut wide = Self {
            capacity,
            window: shard.start,
            length: 0,
            answered: Answered::new(capacity),
            missing: 0,
            kinds: kinds as u32,
            passes: plan.passes().max(1),
            round: 0,
            cursor: 0,
            asked_at: vec![NEVER; blocks as usize],
            block_bits,
            block: None,
            last_sent: now,
            broadcasts: Broadcasts::new(config.broadcast_pps),
            late: Late::new(neighbors.len()),
            late_passes: 0,
            trail: Trail::new((0, 0), now),
            pass: Pass::Due,
            again: 0,
            tally: Tally::default(),
            phase: Phase::Over,
            reports_silence: show.wants_silence() && of_kind(UnitKind::HostPort),
            shard,
        };
        wide.open_window(wide.window, now);
        wide
    }

    /// Sends what may go.
    pub(super) fn step(
        &mut self,
        out: &mut Outbox<'_>,
        neighbors: &mut Neighbors,
        events: &mut VecDeque<Event>,
        show: Show,
    ) -> Rest {
        for _ in 0..STEPS {
            match self.phase {
                Phase::Over => return Rest::Over,
                Phase::Waiting => {
                    if self.begin_late(out, neighbors) {
                        continue;
                    }
                    let answered_by = self.last_sent + out.timeout_last;
                    if self.missing > 0 && answered_by > out.heard {
                        return Rest::Until(answered_by);
                    }
                    if self.begin_again(out) {
                        continue;
                    }
                    self.phase = Phase::Reporting(0);
                    if !self.reports_silence {
                        self.open_window(self.window + self.length, out.now);
                    }
                }
                Phase::Reporting(from) => self.report(from, out, neighbors, events, show),
                Phase::Rounds => {
                    if let Some(rest) = self.ask_next(out, neighbors) {
                        return rest;
                    }
                }
            }
        }
        Rest::Until(out.now)
    }

    /// Where the answer of `ip` belongs; `port` is an index into the plan's ports, for units that are ports.
    pub(super) fn place(
        &self,
        plan: &Plan,
        segment: &Segment,
        ip: IpAddr,
        port: Option<u32>,
    ) -> Place {
        let position = plan.order().position(plan.unit_index(segment, ip, port));
        if !self.shard.contains(&position) || position >= self.window + self.length {
            return Place::Unasked;
        }
        let over = matches!(self.phase, Phase::Reporting(_) | Phase::Over);
        match position.checked_sub(self.window) {
            Some(unit) if self.is_ahead_of_all(unit) => Place::Unasked,
            Some(unit) if !over && !self.answered.contains(unit) => Place::Fresh(unit),
            _ => Place::Answered,
        }
    }

    /// Whether this unit of the window was not asked yet at all.
    fn is_ahead_of_all(&self, unit: u64) -> bool {
        self.round == 0
            && self.phase == Phase::Rounds
            && self.pass == Pass::Due
            && unit >= self.cursor
    }

    /// A unit that [`Wide::place`] found behind `gateway` has its answer, which says something of loss if it `tells`.
    /// The pass it came in.
    pub(super) fn answer(&mut self, unit: u64, gateway: Option<u32>, tells: bool) -> u32 {
        let pass = self.pass_of(unit);
        let unasked = || gateway.is_some_and(|gateway| self.late.was_skipped(gateway));
        if tells && self.pass != Pass::Late && (pass == 0 || !unasked()) {
            self.tally.count(pass);
        }
        self.missing -= u64::from(self.answered.insert(unit));
        if self.missing == 0 && self.window + self.length == self.shard.end {
            self.phase = Phase::Over;
        }
        pass
    }

    fn pass_of(&self, unit: u64) -> u32 {
        if self.pass == Pass::Late {
            return self.passes - 1 + self.again;
        }
        // What this round has not reached was last asked in the one before.
        let ahead = self.round == self.rounds() || unit >= self.cursor;
        (self.round - u32::from(ahead && self.round > 0)) / self.kinds + self.again
    }

    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Questions done and due, saved ones included.
    pub(super) fn progress(&self) -> (u64, u64) {
        let rounds = u64::from(self.rounds());
        let due = (self.shard.end - self.shard.start).saturating_mul(rounds);
        if self.is_over() {
            return (due, due);
        }
        let windows = (self.window - self.shard.start).saturating_mul(rounds);
        let window = self.length.saturating_mul(rounds);
        let done = windows.saturating_add(window.saturating_sub(self.questions_left()));
        (done, due)
    }

    /// Questions that are still to be asked in this window if nothing more is answered.
    fn questions_left(&self) -> u64 {
        let round = match self.pass {
            Pass::Due => u64::from(self.round),
            Pass::Late | Pass::Again => return 0,
        };
        // Where in the window the missing ones are is not counted. In the first round all answers lie behind; later the order,
        // which has none, has them lie anywhere.
        let missing_behind = match round {
            0 => (self.cursor + self.missing).saturating_sub(self.length),
            _ => self.missing * self.cursor / self.length.max(1),
        };
        let rounds = u64::from(self.rounds()).saturating_sub(round);
        (self.missing * rounds).saturating_sub(missing_behind)
    }

    /// Window, round, unit, and what is answered: everything before was asked, and its answers have come.
    pub(super) fn settled(&self, now: Instant, timeout: std::time::Duration) -> Settled<'_> {
        let (round, cursor) = self.trail.settled(now, timeout);
        Settled {
            capacity: self.capacity,
            window: self.window,
            round,
            cursor,
            words: &self.answered.words()[..self.length.div_ceil(64) as usize],
        }
    }

    /// Goes on where an earlier sweep of the same plan was. False if it can't have been there.
    pub(super) fn restore(&mut self, at: &Settled<'_>, now: Instant) -> bool {
        let begins = at.window >= self.shard.start && at.window <= self.shard.end;
        if !begins || at.capacity != self.capacity || at.round > self.rounds() {
            return false;
        }
        self.open_window(at.window, now);
        let words = self.length.div_ceil(64) as usize;
        if at.cursor > self.length || at.words.len() != words {
            return false;
        }
        self.answered.words_mut()[..words].copy_from_slice(at.words);
        let answered: u64 = at.words.iter().map(|w| u64::from(w.count_ones())).sum();
        let spare = words as u64 * 64 - self.length;
        let beyond = spare > 0
            && at
                .words
                .last()
                .is_some_and(|w| u64::from(w.leading_zeros()) < spare);
        if beyond {
            return false;
        }
        self.missing = self.length - answered;
        (self.round, self.cursor) = (at.round, at.cursor);
        if self.round == self.rounds() && self.phase != Phase::Over {
            self.phase = Phase::Waiting;
        }
        self.trail = Trail::new((self.round, self.cursor), now);
        true
    }

    fn rounds(&self) -> u32 {
        self.passes.saturating_mul(self.kinds)
    }

    fn open_window(&mut self, at: u64, now: Instant) {
        self.window = at;
        self.length = self.capacity.min(self.shard.end - at);
        self.missing = self.length;
        self.phase = if self.length == 0 {
            Phase::Over
        } else {
            Phase::Rounds
        };
        self.answered.clear();
        self.broadcasts.clear();
        self.asked_at.fill(NEVER);
        self.late.clear();
        self.late_passes = 0;
        (self.pass, self.again, self.tally) = (Pass::Due, 0, Tally::default());
        (self.round, self.cursor, self.block) = (0, 0, None);
        self.trail = Trail::new((0, 0), now);
    }

    /// Asks the next unit; `Some` when there is none to ask now.
    #[inline]
    fn ask_next(&mut self, out: &mut Outbox<'_>, neighbors: &mut Neighbors) -> Option<Rest> {
        if let Some(unit) = self.broadcasts.due(out.now) {
            if !self.answered.contains(unit)
                && let Asked::Full = self.ask(unit, true, out, neighbors)
            {
                return Some(Rest::Full);
            }
            self.broadcasts.pop();
            return None;
        }
        if self.broadcasts.is_full() {
            return self.broadcasts.next_at().map(Rest::Until);
        }
        self.cursor = self.answered.next_missing(self.cursor).min(self.length);
        if self.cursor == self.length {
            if let Some(turn) = self.broadcasts.next_at() {
                return Some(Rest::Until(turn));
            }
            self.end_round(out, neighbors);
            return None;
        }
        let block = self.cursor >> self.block_bits;
        if self.block != Some(block) {
            let asked_at = self.asked_at[block as usize];
            let answered_by = asked_at + out.timeout;
            if self.round + self.again > 0 && asked_at > NEVER && answered_by > out.heard {
                return Some(Rest::Until(answered_by));
            }
            self.block = Some(block);
            out.counters.passes = out.counters.passes.max(self.round / self.kinds + 1);
        }
        if let Asked::Full = self.ask(self.cursor, false, out, neighbors) {
            return Some(Rest::Full);
        }
        self.cursor += 1;
        self.follow(out);
        None
    }

    #[inline]
    fn follow(&mut self, out: &Outbox<'_>) {
        if self.pass == Pass::Late {
            return; // the last pass is made again if this one is cut off
        }
        let (round, cursor, broadcasts) = (self.round, self.cursor, &self.broadcasts);
        self.trail.follow_with(out.now, out.timeout_last, || {
            (
                round,
                broadcasts.lowest().map_or(cursor, |unit| unit.min(cursor)),
            )
        });
    }

    fn end_round(&mut self, out: &mut Outbox<'_>, neighbors: &mut Neighbors) {
        self.round += 1;
        (self.cursor, self.block) = (0, None);
        self.follow(out);
        if self.round == self.rounds() {
            self.phase = Phase::Waiting;
            if !self.late.is_empty() && self.pass == Pass::Due {
                // Their gateways have one more chance.
                self.last_sent = out.now;
                neighbors.retry(out.now);
            }
        } else {
            neighbors.retry(out.now);
        }
    }

    /// Begins a pass over what the last one could not ask and can be asked now, if there is any.
    fn begin_late(&mut self, out: &mut Outbox<'_>, neighbors: &Neighbors) -> bool {
        if self.late_passes == LATE_PASSES {
            return false;
        }
        let Some(hosts) = self.late.begin(|gateway| neighbors.is_known(gateway)) else {
            return false;
        };
        out.counters.unreachable = out.counters.unreachable.saturating_sub(hosts);
        self.late_passes += 1;
        self.pass = Pass::Late;
        (self.round, self.cursor, self.block) = ((self.passes - 1) * self.kinds, 0, None);
        self.trail = Trail::new((self.round, self.cursor), out.now);
        self.phase = Phase::Rounds;
        true
    }

    /// Begins another pass over what is missing, if loss says so.
    fn begin_again(&mut self, out: &mut Outbox<'_>) -> bool {
        if self.missing == 0 || !self.tally.wants_more(self.passes + self.again, self.again) {
            return false;
        }
        self.again += 1;
        out.counters.extra_passes += 1;
        self.pass = Pass::Again;
        (self.round, self.cursor, self.block) = ((self.passes - 1) * self.kinds, 0, None);
        self.trail = Trail::new((self.round, self.cursor), out.now);
        self.phase = Phase::Rounds;
        true
    }

    /// Asks one unit what this round asks, or finds that it asks it nothing.
    #[inline]
    fn ask(
        &mut self,
        position: u64,
        has_turn: bool,
        out: &mut Outbox<'_>,
        neighbors: &Neighbors,
    ) -> Asked {
        let plan = out.plan;
        let unit = plan.unit(plan.order().at(self.window + position));
        let segment = &plan.segments()[unit.segment as usize];
        let route = &plan.routes()[segment.route as usize];
        let (pass, kind) = (self.round / self.kinds, self.round % self.kinds);
        let (probe, kinds) = match (segment.kind, route.hop) {
            (UnitKind::Host, Hop::OnLink) => {
                if kind > 0 || self.pass == Pass::Late {
                    return Asked::Passed;
                }
                let turn = if has_turn {
                    None
                } else {
                    self.broadcasts.turn(out.now, route.vlan)
                };
                if let Some(at) = turn {
                    self.broadcasts.defer(at, position);
                    return Asked::Passed;
                }
                let (to, probe) = (neighbor::group_mac(unit.ip), neighbor::question(unit.ip));
                if !out.ask(segment.route, unit.ip, to, probe, true) {
                    if has_turn {
                        return Asked::Full;
                    }
                    // The turn is taken: keep it.
                    self.broadcasts.defer(out.now, position);
                    return Asked::Passed;
                }
                self.note_sent(position, out.now);
                return Asked::Passed;
            }
            (UnitKind::Host, _) => match plan.discovery().get(kind as usize) {
                Some(probe) => (discovery_probe(*probe), plan.discovery().len() as u32),
                None => return Asked::Passed,
            },
            (UnitKind::HostPort, _) => match unit.port {
                Some(port) if kind == 0 => (port_probe(plan.ports().at(port)), 1),
                _ => return Asked::Passed,
            },
        };
        let gateway = neighbors.gateway_of(segment.route);
        let place = u64::from(kind) * self.length + position;
        let is_due = |gateway| self.late.is_due(gateway, place);
        if self.pass == Pass::Late && !gateway.is_some_and(is_due) {
            return Asked::Passed;
        }
        let Some(next_hop) = neighbors.next_hop(segment.route, route) else {
            match gateway {
                Some(_) if self.pass == Pass::Again => {} // it counts as skipped, or was asked before
                Some(gateway) if pass + 1 == self.passes => {
                    let host = kind + 1 == kinds && stands_for_host(&unit);
                    self.late.skip(gateway, place, host);
                    out.counters.unreachable += u64::from(host);
                }
                Some(gateway) => self.late.skip_once(gateway),
                None => {}
            }
            return Asked::Passed;
        };
        let finds_host = segment.kind == UnitKind::Host;
        if !out.ask(segment.route, unit.ip, next_hop, probe, finds_host) {
            return Asked::Full;
        }
        self.note_sent(position, out.now);
        Asked::Passed
    }

    #[inline]
    fn note_sent(&mut self, position: u64, now: Instant) {
        self.asked_at[(position >> self.block_bits) as usize] = now.max(EARLIEST);
        self.last_sent = now;
    }

    /// Says that the next silent port from `from` on is silent.
    fn report(
        &mut self,
        from: u64,
        out: &Outbox<'_>,
        neighbors: &Neighbors,
        events: &mut VecDeque<Event>,
        show: Show,
    ) {
        let silent = self.answered.next_missing(from);
        if silent >= self.length {
            return self.open_window(self.window + self.length, out.now);
        }
        self.phase = Phase::Reporting(silent + 1);
        let plan = out.plan;
        let unit = plan.unit(plan.order().at(self.window + silent));
        let segment = &plan.segments()[unit.segment as usize];
        let route = &plan.routes()[segment.route as usize];
        let asked = neighbors.next_hop(segment.route, route).is_some();
        if let Some(port) = unit.port.filter(|_| asked) {
            events.extend(show.silent(route.vlan, unit.ip, plan.ports().at(port)));
        }
    }
}

/// The part of a wide lane that a checkpoint keeps.
pub(super) struct Settled<'a> {
    pub(super) capacity: u64,
    pub(super) window: u64,
    pub(super) round: u32,
    pub(super) cursor: u64,
    pub(super) words: &'a [u64],
}

/// The units of a host are counted once.
fn stands_for_host(unit: &Unit) -> bool {
    unit.port.is_none_or(|port| port == 0)
}

fn discovery_probe(probe: DiscoveryProbe) -> ProbeKind {
    match probe {
        DiscoveryProbe::Echo => ProbeKind::Echo,
        DiscoveryProbe::Tcp(port) => ProbeKind::TcpSyn { port },
        DiscoveryProbe::Udp(port) => ProbeKind::Udp { port },
    }
}
