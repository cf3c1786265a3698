//! Known responders, asked again during the scan: what the closed loop measures by.
//!
//! A bounded sample, each in the place its key says, so that an answer finds it without a search. One question in
//! [`ONE_IN`] goes to one of them, somewhere in its batch; their answers are duplicates, which the scan never tells.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use sonde_wire::MacAddr;

use super::governor::{Governor, GovernorReport, OF_NONE};
use super::outbox::Outbox;
use crate::neighbor::Neighbors;
use crate::probe::{ProbeKind, Transmit};
use crate::rtt::Rtt;
use crate::time::Instant;

/// Responders that are known.
const KNOWN: usize = 512;
/// Of so many frames one asks a known responder.
const ONE_IN: u64 = 100;
/// Of so many first answers one takes the place of an older.
const RENEWED: u32 = 64;
/// Questions that may follow each other in one batch.
const TOGETHER: u64 = 8;
/// Silent so often in a row while others answer, a responder is gone.
const GONE: u8 = 4;
/// The shortest wait for an answer: a few ticks of a loaded machine's scheduler.
const WAIT_MIN: Duration = Duration::from_millis(25);
/// Between two polls, longer than this is a stall: what was asked before says nothing of the path.
const STALL: Duration = Duration::from_millis(10);
/// The longest.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Who answered which question.
#[derive(Clone, Copy, Debug)]
pub(super) struct Responder {
    /// Names the question.
    pub(super) key: u64,
    pub(super) route: u32,
    pub(super) ip: IpAddr,
    /// Where it is, if it is on link.
    pub(super) mac: Option<MacAddr>,
    pub(super) kind: ProbeKind,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    responder: Responder,
    asked_at: Instant,
    epoch: u32,
    state: Asked,
    /// In the queue of those asked.
    queued: bool,
    silent: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Answered,
    Waiting,
    GivenUp,
}

/// The closed loop: the sample and the law.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    governor: Governor,
    slots: Box<[Option<Slot>; KNOWN]>,
    /// In the order asked; each slot once at most.
    queue: VecDeque<u16>,
    next: usize,
    filled: usize,
    offered: u32,
    longest: Duration,
    asked: u64,
    polled_at: Instant,
    /// Frames that others sent for us since the last batch.
    others: usize,
    random: u64,
}

impl Loop {
    pub(super) fn new(seed: u64, now: Instant) -> Self {
        Self {
            governor: Governor::new(now),
            slots: Box::new([None; KNOWN]),
            queue: VecDeque::with_capacity(KNOWN),
            next: 0,
            filled: 0,
            offered: 0,
            longest: Duration::ZERO,
            asked: 0,
            polled_at: now,
            others: 0,
            random: seed | 1,
        }
    }

    /// Whether the next first answer is worth offering.
    #[inline]
    pub(super) fn wants(&mut self) -> bool {
        self.offered = self.offered.wrapping_add(1);
        self.filled < KNOWN || self.offered.is_multiple_of(RENEWED)
    }

    /// Somebody has answered its first question. It is kept if its place is free, or held by one that is gone or old.
    pub(super) fn offer(&mut self, responder: Responder) {
        let turn = self.offered.is_multiple_of(RENEWED);
        let slot = &mut self.slots[place(responder.key)];
        if slot.is_some_and(|slot| slot.queued || (slot.silent < GONE && !turn)) {
            return;
        }
        self.filled += usize::from(slot.is_none());
        *slot = Some(Slot {
            responder,
            asked_at: Instant::ZERO,
            epoch: 0,
            state: Asked::Answered,
            queued: false,
            silent: 0,
        });
    }

    /// An answer that is no first one. Whether it is one of these; the limit has changed if the second is true.
    pub(super) fn handle(&mut self, now: Instant, key: u64) -> (bool, bool) {
        let Some(slot) = self.slots[place(key)].as_mut() else {
            return (false, false);
        };
        if slot.responder.key != key || slot.state == Asked::Answered {
            return (false, false);
        }
        let round_trip = now.saturating_since(slot.asked_at);
        self.longest = self.longest.max(round_trip).min(WAIT_MAX);
        slot.silent = 0;
        let state = std::mem::replace(&mut slot.state, Asked::Answered);
        if state == Asked::Waiting {
            return (true, false);
        }
        (true, self.governor.answered_late(slot.epoch))
    }

    /// So many frames have left by `now`.
    pub(super) fn sent(&mut self, now: Instant, frames: usize) {
        let others = std::mem::take(&mut self.others);
        self.governor.sent(now, frames + others);
    }

    /// The link has sent one frame by itself, to the same path.
    #[inline]
    pub(super) fn sent_by_link(&mut self) {
        self.others += 1;
    }

    /// Gives up what was not answered in time, and decides. True if that changes the limit. Everything that arrived before
    /// `heard` is known.
    pub(super) fn poll(&mut self, now: Instant, heard: Instant, rtt: &Rtt) -> bool {
        if now.saturating_since(self.polled_at) > STALL {
            for at in &self.queue {
                if let Some(slot) = self.slots[usize::from(*at)].as_mut() {
                    slot.epoch = OF_NONE;
                }
            }
        }
        self.polled_at = now;
        let own = (self.longest + self.longest / 2).clamp(WAIT_MIN, WAIT_MAX);
        let wait = match rtt.is_known() {
            true => rtt.timeout().max(own),
            false => own,
        };
        while let Some(at) = self.queue.front().copied()
            && let Some(slot) = self.slots[usize::from(at)].as_mut()
            && slot.asked_at + wait <= heard
        {
            self.queue.pop_front();
            slot.queued = false;
            // Only now, whether it came or not: answers are quick and silence is slow, and what was asked together
            // counts together.
            self.governor
                .answered(slot.epoch, slot.state == Asked::Answered);
            if slot.state == Asked::Waiting {
                slot.state = Asked::GivenUp;
                slot.silent = slot.silent.saturating_add(1);
            }
        }
        self.governor.decide()
    }

    /// Asks as many again as are due after `sent` frames in all.
    pub(super) fn ask(&mut self, sent: u64, out: &mut Outbox<'_>, neighbors: &Neighbors) {
        let due = sent / ONE_IN;
        self.asked = self.asked.max(due.saturating_sub(TOGETHER)).min(due);
        while self.asked < due && self.filled > 0 {
            let Some(at) = self.free_slot() else {
                self.asked = due;
                return;
            };
            let Some(slot) = self.slots[at].as_mut() else {
                return; // a free slot is one that is held
            };
            let Responder {
                route, ip, kind, ..
            } = slot.responder;
            let hop = &out.plan.routes()[route as usize];
            let Some(to) = slot
                .responder
                .mac
                .or_else(|| neighbors.next_hop(route, hop))
            else {
                self.asked += 1;
                continue;
            };
            if !out.ask(route, ip, to, kind, false) {
                return;
            }
            self.asked += 1;
            (slot.asked_at, slot.epoch) = (out.now, self.governor.epoch());
            (slot.state, slot.queued) = (Asked::Waiting, true);
            self.queue.push_back(at as u16);
        }
    }

    /// Puts the first `ours` of a batch at places that have nothing to do with when the batch begins: what drops
    /// frames drops the last ones of a burst.
    pub(super) fn scatter(&mut self, ours: usize, out: &mut [Transmit]) {
        for at in 0..ours {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            let to = (u128::from(self.random) * out.len() as u128) >> 64;
            out.swap(at, to as usize);
        }
    }

    pub(super) fn limit(&self) -> Option<u64> {
        self.governor.limit()
    }

    pub(super) fn report(&self) -> GovernorReport {
        self.governor.report()
    }

    /// The next slot whose responder may be asked; a few are looked at.
    fn free_slot(&mut self) -> Option<usize> {
        for _ in 0..64 {
            self.next = (self.next + 1) % KNOWN;
            if self.slots[self.next].is_some_and(|slot| !slot.queued) {
                return Some(self.next);
            }
        }
        None
    }
}

fn place(key: u64) -> usize {
    (key >> 20) as usize % KNOWN
}
