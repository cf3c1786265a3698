//! Drives a sweep without frames: a function says who answers, after a constant time. For scans of millions.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sonde_core::judge::{Answer, Reply};
use sonde_core::plan::Plan;
use sonde_core::probe::{Probe, Transmit};
use sonde_core::sweep::{Event, Sweep, SweepConfig};
use sonde_core::time::Instant;
use sonde_wire::MacAddr;

/// Where everybody on link is, at first.
pub(crate) const THERE: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

pub(crate) struct Direct {
    pub(crate) sweep: Sweep,
    plan: Arc<Plan>,
    /// Nanoseconds.
    pub(crate) now: u64,
    /// What a frame takes to leave.
    pub(crate) frame: u64,
    /// The round trip of every answer.
    pub(crate) round_trip: u64,
    pub(crate) batch: usize,
    /// Where everybody on link is.
    pub(crate) mac: MacAddr,
    pub(crate) sent: u64,
    /// When the last answer came.
    pub(crate) answered_at: u64,
    pub(crate) events: Vec<Event>,
    on_its_way: VecDeque<(u64, Reply)>,
    out: Vec<Transmit>,
}

impl Direct {
    pub(crate) fn new(plan: &Arc<Plan>, config: SweepConfig) -> Self {
        Self {
            sweep: Sweep::new(plan.clone(), config, Instant::ZERO),
            plan: plan.clone(),
            now: 0,
            frame: 200,
            round_trip: 100_000,
            batch: 256,
            mac: THERE,
            sent: 0,
            answered_at: 0,
            events: Vec::new(),
            on_its_way: VecDeque::new(),
            out: Vec::new(),
        }
    }

    /// Runs to the end, which must come within an hour of the virtual clock. `answer` is told of each probe and when it left.
    pub(crate) fn run(&mut self, mut answer: impl FnMut(u64, &Probe) -> Option<Answer>) {
        while !self.sweep.is_done() {
            self.step(&mut answer);
            assert!(self.now < 3_600_000_000_000, "{:?}", self.sweep.counters());
        }
    }

    pub(crate) fn step(&mut self, answer: &mut impl FnMut(u64, &Probe) -> Option<Answer>) {
        let at = Instant::from_nanos(self.now);
        self.sweep.poll_transmit(at, self.batch, &mut self.out);
        self.now += 500;
        for transmit in &self.out {
            let Transmit::Probe(probe) = transmit else {
                panic!("nobody asks for us")
            };
            self.now += self.frame;
            self.sent += 1;
            if let Some(answer) = answer(self.now, probe) {
                let reply = Reply {
                    vlan: self.plan.routes()[probe.route as usize].vlan,
                    ip: probe.dst,
                    answer,
                    mac: Some(self.mac),
                    ttl: None,
                    rtt: None,
                };
                self.on_its_way
                    .push_back((self.now + self.round_trip, reply));
            }
        }
        let now = Instant::from_nanos(self.now);
        self.sweep.handle_transmitted(now, self.out.len());
        while let Some((at, reply)) = self.on_its_way.front().copied()
            && at <= self.now
        {
            self.on_its_way.pop_front();
            self.sweep.handle_reply(now, reply);
            self.answered_at = self.now;
        }
        self.events
            .extend(std::iter::from_fn(|| self.sweep.poll_event()));
        if self.sweep.is_done() {
            return;
        }
        let due = self.sweep.poll_timeout().map(Instant::as_nanos);
        let arrives = self.on_its_way.front().map(|(at, _)| *at);
        if let Some(next) = due.into_iter().chain(arrives).min() {
            self.now = self.now.max(next);
        }
    }

    /// An untagged answer comes now.
    pub(crate) fn reply(&mut self, ip: IpAddr, answer: Answer) {
        let reply = Reply {
            vlan: None,
            ip,
            answer,
            mac: Some(THERE),
            ttl: None,
            rtt: None,
        };
        self.sweep
            .handle_reply(Instant::from_nanos(self.now), reply);
    }

    /// How long the scan went on after the last answer.
    pub(crate) fn idle(&self) -> Duration {
        Duration::from_nanos(self.now - self.answered_at)
    }
}
