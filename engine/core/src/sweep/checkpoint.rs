//! A sweep's state as bytes, and back.
//!
//! What is kept: the window with its answered bits, the hosts whose ports are being asked with theirs, the hosts that
//! wait, and what else keeps a thing from being said twice. Places are settled ones (see [`super::trail`]), so a
//! sweep that is killed and resumed asks again what it sent in the last timeout or two before its
//! checkpoint and since, and misses no answer. Events must have been taken before the checkpoint
//! is made: it counts them as delivered.
//!
//! Numbers are little-endian; words and hosts follow their number. All of it is compressed: most bits of a window are equal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sonde_wire::{MacAddr, VlanId};

use super::Counters;
use super::again::Tally;
use super::deep::Deep;
use super::wide::{Settled, Wide};
use crate::checkpoint::Checkpoint;
use crate::hosts::Found;
use crate::plan::Plan;
use crate::rtt::Rtt;
use crate::time::Instant;

/// The version of the state written by this build.
pub(super) const VERSION: u32 = 1;
/// Fast, and good enough for runs of equal bits.
const LEVEL: i32 = 1;
/// More than any state has, bits of a window and hosts. Beyond this it is no checkpoint but a bomb.
const STATE_MAX: usize = 1 << 28;
/// Units of the largest window that is gone on with: one bit each is made room for before anything is read.
const WINDOW_MAX: u64 = 1 << 28;

/// Why a checkpoint can't be gone on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// Written by another version.
    #[error(
        "the checkpoint has form {found}, this build reads form {VERSION}; resume with the build that wrote it, \
         or start anew"
    )]
    Version {
        /// Its version.
        found: u32,
    },
    /// It belongs to another request.
    #[error(
        "the checkpoint belongs to another scan: targets, ports, discovery, passes, seed or shard differ; \
         resume with the request it was written for, or start anew"
    )]
    OtherPlan,
    /// It is not what was written.
    #[error("the checkpoint is damaged; start anew, or from an older one")]
    Damaged,
}

/// What else a checkpoint keeps.
pub(super) struct Rest {
    pub(super) numbers: Numbers,
    /// Fingerprints of hosts that were said to be up and have no bit of their own.
    pub(super) listed: Vec<u64>,
    /// Fingerprints of leaks.
    pub(super) leaks: Vec<u64>,
}

/// Kept as JSON: counters come and go.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct Numbers {
    pub(super) counters: Counters,
    /// Else a sweep that is killed often would wait as long as for its first answer each time.
    pub(super) rtt: Rtt,
    /// Else what was lost before it was killed would get no other pass.
    #[serde(default)]
    pub(super) wide: Tally,
    #[serde(default)]
    pub(super) deep: Tally,
}

pub(super) fn write(
    plan: &Plan,
    wide: &Wide,
    deep: &Deep,
    rest: &Rest,
    now: Instant,
    timeout: Duration,
) -> Checkpoint {
    let mut state = Writer(Vec::new());
    let settled = wide.settled(now, timeout);
    state.u64(settled.capacity);
    state.u64(settled.window);
    state.u32(settled.round);
    state.u64(settled.cursor);
    state.words(settled.words);
    state.u32(deep.len() as u32);
    for (found, (pass, cursor), words) in deep.settled(now, timeout) {
        state.found(found);
        state.u32(pass);
        state.u32(cursor);
        state.words(words);
    }
    state.u32(deep.queued().len() as u32);
    deep.queued().for_each(|found| state.found(found));
    state.words(&rest.listed);
    state.words(&rest.leaks);
    let numbers = serde_json::to_vec(&rest.numbers).expect("plain numbers are always JSON");
    state.u32(numbers.len() as u32);
    state.0.extend_from_slice(&numbers);
    let packed = zstd::bulk::compress(&state.0, LEVEL).expect("memory in, memory out");
    Checkpoint {
        version: VERSION,
        plan: plan.digest(),
        seed: plan.request().seed.unwrap_or_default(),
        state: STANDARD.encode(packed),
    }
}

/// How many units the window of a checkpoint has, after checking that it belongs to `plan`, with its state
/// unpacked for [`read`].
pub(super) fn open(plan: &Plan, from: &Checkpoint) -> Result<(u64, Vec<u8>), ResumeError> {
    if from.version != VERSION {
        return Err(ResumeError::Version {
            found: from.version,
        });
    }
    if from.plan != plan.digest() || Some(from.seed) != plan.request().seed {
        return Err(ResumeError::OtherPlan);
    }
    let packed = STANDARD
        .decode(&from.state)
        .map_err(|_| ResumeError::Damaged)?;
    let size = zstd::bulk::Decompressor::upper_bound(&packed).ok_or(ResumeError::Damaged)?;
    if size > STATE_MAX {
        return Err(ResumeError::Damaged);
    }
    let state = zstd::bulk::decompress(&packed, size).map_err(|_| ResumeError::Damaged)?;
    let capacity = Reader(&state).u64()?;
    if capacity == 0 || capacity > WINDOW_MAX {
        return Err(ResumeError::Damaged);
    }
    Ok((capacity, state))
}

/// Puts everything where it was.
pub(super) fn read(
    plan: &Plan,
    state: &[u8],
    wide: &mut Wide,
    deep: &mut Deep,
    now: Instant,
) -> Result<Rest, ResumeError> {
    let mut state = Reader(state);
    let (capacity, window) = (state.u64()?, state.u64()?);
    let (round, cursor) = (state.u32()?, state.u64()?);
    let words = state.words()?;
    let settled = Settled {
        capacity,
        window,
        round,
        cursor,
        words: &words,
    };
    if !wide.restore(&settled, now) {
        return Err(ResumeError::Damaged);
    }
    let port_words = plan.ports().len().div_ceil(64) as usize;
    for _ in 0..state.u32()? {
        let found = state.found(plan)?;
        let place = (state.u32()?, state.u32()?);
        let words = state.words()?;
        if words.len() != port_words || !deep.restore(found, place, &words, now) {
            return Err(ResumeError::Damaged);
        }
    }
    for _ in 0..state.u32()? {
        deep.admit(state.found(plan)?, now);
    }
    let (listed, leaks) = (state.words()?, state.words()?);
    let length = state.u32()? as usize;
    let numbers = serde_json::from_slice(state.take(length)?);
    let numbers: Numbers = numbers.map_err(|_| ResumeError::Damaged)?;
    Ok(Rest {
        numbers: Numbers {
            rtt: numbers.rtt.within_reason(),
            counters: numbers.counters.within_reason(),
            wide: numbers.wide.within_reason(),
            deep: numbers.deep.within_reason(),
        },
        listed,
        leaks,
    })
}

/// How many hosts of a checkpoint's state need a place in the table.
pub(super) fn hosts_in(state: &[u8], ports: u32) -> Result<usize, ResumeError> {
    let mut state = Reader(state);
    state.take(8 + 8 + 4 + 8)?;
    let words = state.u32()? as usize;
    state.take(words * 8)?;
    let hosts = state.u32()? as usize;
    // VLAN, family and IPv4 address, pass and port, number of words, words: memory is made for no more
    // hosts than there can be bytes of.
    let shortest = 4 + 1 + 4 + 4 + 4 + 4 + 8 * ports.div_ceil(64) as usize;
    if hosts > state.0.len() / shortest {
        return Err(ResumeError::Damaged);
    }
    Ok(hosts)
}

struct Writer(Vec<u8>);

impl Writer {
    fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn words(&mut self, words: &[u64]) {
        self.u32(words.len() as u32);
        words.iter().for_each(|word| self.u64(*word));
    }

    fn found(&mut self, found: &Found) {
        self.u32(found.vlan.map_or(0, |vlan| vlan.id().into()));
        match found.ip {
            IpAddr::V4(ip) => {
                self.0.push(4);
                self.0.extend_from_slice(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.0.push(6);
                self.0.extend_from_slice(&ip.octets());
            }
        }
        self.0.push(found.mac.is_some().into());
        self.0.extend_from_slice(&found.mac.unwrap_or_default().0);
        self.u32(found.answered.unwrap_or(u32::MAX));
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], ResumeError> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(ResumeError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ResumeError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ResumeError::Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, ResumeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ResumeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn words(&mut self) -> Result<Vec<u64>, ResumeError> {
        let length = self.u32()? as usize;
        let bytes = self.take(length * 8)?;
        let (words, _) = bytes.as_chunks::<8>();
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    /// A host of the plan; its route is the plan's.
    fn found(&mut self, plan: &Plan) -> Result<Found, ResumeError> {
        let vlan = match self.u32()? {
            0 => None,
            id => {
                let id = u16::try_from(id).ok().and_then(VlanId::new);
                Some(id.ok_or(ResumeError::Damaged)?)
            }
        };
        let ip: IpAddr = match self.array::<1>()? {
            [4] => Ipv4Addr::from(self.array::<4>()?).into(),
            [6] => Ipv6Addr::from(self.array::<16>()?).into(),
            _ => return Err(ResumeError::Damaged),
        };
        let [has_mac] = self.array()?;
        let mac = MacAddr(self.array()?);
        let answered = self.u32()?;
        let answered = (answered != u32::MAX).then_some(answered);
        let segment = plan.segment_of(vlan, ip).ok_or(ResumeError::Damaged)?;
        if answered.is_some_and(|port| port >= plan.ports().len()) {
            return Err(ResumeError::Damaged);
        }
        Ok(Found {
            vlan,
            ip,
            route: segment.route,
            mac: (has_mac == 1).then_some(mac),
            answered,
        })
    }
}
