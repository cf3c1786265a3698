//! The scan itself, without I/O and without a clock: what to send now, and what an answer means.
//!
//! ```text
//!             ┌ responder ┐
//!             │ resets    │
//!   plan ───▶ │ gateways  │──▶ outbox ──▶ Transmit        frame ──▶ judge ──▶ Reply ─┐
//!             │ deep lane │   room, pace, guard           connect link ──▶ Reply ────┤
//!             └ wide lane ┘                                                          ▼
//!                   ▲ ▲                                    answered bits, host table, Event
//!                   └─┴──────────────────────────────────────────────────────────────┘
//! ```
//!
//! # Call order
//!
//! [`Sweep::poll_transmit`], send what it says, [`Sweep::handle_transmitted`]; [`Sweep::handle_frame`] or
//! [`Sweep::handle_reply`] for whatever came; [`Sweep::poll_event`] until `None`; again until
//! [`Sweep::is_done`], waiting for frames until [`Sweep::poll_timeout`] at the longest. Every `now` is no earlier than
//! the one before.
//!
//! # What is bounded, and what happens when it is full
//!
//! | | bound | when full |
//! |---|---|---|
//! | answered bits of a window | [`SweepConfig::window_units`] | the next window waits for this one |
//! | host table | [`SweepConfig::hosts_max`], [`SweepConfig::host_bits`] | hosts wait in the queue |
//! | queue of hosts | [`SweepConfig::queue_max`] | the wide lane waits; what is on its way still finds room, each unit of a window once |
//! | outstanding probes | [`SweepConfig::outstanding`] | the oldest gives way: no round-trip time; UDP without transaction id: asked again |
//! | hosts remembered with `discovery = none` | [`SweepConfig::listed_max`] | further hosts are known by their ports alone |
//! | leaks remembered | [`SweepConfig::listed_max`] | further leaks are only counted |
//! | broadcasts waiting for their VLAN's turn | a second of one VLAN | the wide lane waits |
//! | resets, answers of ours | a few hundred | dropped and counted; the peer repeats itself |

mod again;
mod broadcast;
mod checkpoint;
mod config;
mod counters;
mod deep;
mod event;
mod fingerprints;
mod governor;
mod known;
mod late;
mod learn;
mod outbox;
mod trail;
mod wide;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sonde_wire::{Checksums, MacAddr, Packet, RxDrop, VlanId};

pub use checkpoint::ResumeError;
pub use config::SweepConfig;
pub use counters::{Counters, PASSES};
pub use event::Event;
pub use governor::GovernorReport;
pub use trail::Trail;

use crate::checkpoint::Checkpoint;
use crate::cookie::Cookies;
use crate::drops::Drops;
use crate::hosts::Hosts;
use crate::judge::{Answer, Judge, Judged, Reply, Unproven};
use crate::neighbor::Neighbors;
use crate::pacer::Pacer;
use crate::plan::{Hop, Plan};
use crate::probe::{ProbeKind, Transmit};
use crate::responder::Responder;
use crate::rtt::{Rtt, Sampling};
use crate::time::Instant;
use deep::Deep;
use event::Show;
use fingerprints::Fingerprints;
use known::Loop;
use outbox::{Outbox, Rest, Times};
use wide::Wide;

/// Resets waiting to be sent; a port whose reset is dropped accepts again, and is reset then.
const RESETS_MAX: usize = 4096;

/// How long ago at most what arrives now may have arrived for waits to be made longer by it.
const UNHEARD_MAX: Duration = Duration::from_secs(2);

/// A scan in progress. The module says how to drive it.
#[derive(Debug)]
pub struct Sweep {
    plan: Arc<Plan>,
    show: Show,
    cookies: Cookies,
    judge: Judge,
    times: Times,
    sampling: Sampling,
    unproven: Unproven,
    rtt: Rtt,
    pacer: Pacer,
    /// For a scan that is to be as fast as loses nothing.
    closed: Option<Loop>,
    neighbors: Neighbors,
    responder: Responder,
    resets: VecDeque<Reset>,
    wide: Wide,
    deep: Deep,
    events: VecDeque<Event>,
    listed: Fingerprints,
    leaks: Fingerprints,
    counters: Counters,
    drops: Drops,
    now: Instant,
    polled_at: Instant,
    /// The latest arrival that was handed over since then.
    arrived_at: Option<Instant>,
    /// Whatever arrived before has been handed over.
    heard: Instant,
    last_sent: Instant,
    /// What the last batch left to do.
    rest: Rest,
    stopping: bool,
}

#[derive(Clone, Copy, Debug)]
struct Reset {
    route: u32,
    dst: IpAddr,
    mac: MacAddr,
    port: u16,
    seq: u32,
}

impl Sweep {
    /// A scan of `plan` that begins at `now`.
    ///
    /// # Panics
    /// If the configuration's key is all zeros: everybody could forge answers.
    pub fn new(plan: Arc<Plan>, config: SweepConfig, now: Instant) -> Self {
        let hosts = Hosts::new(plan.ports().len(), config.hosts_max, config.host_bits);
        Self::with_hosts(plan, &config, hosts, now)
    }

    /// Goes on with the scan of `plan` that `from` was made in.
    ///
    /// # Errors
    /// If `from` is of another version, of another plan, or damaged.
    ///
    /// # Panics
    /// As [`Sweep::new`].
    pub fn resume(
        plan: Arc<Plan>,
        mut config: SweepConfig,
        from: &Checkpoint,
        now: Instant,
    ) -> Result<Self, ResumeError> {
        let (window_units, state) = checkpoint::open(&plan, from)?;
        config.window_units = window_units;
        let ports = plan.ports().len();
        let hosts = checkpoint::hosts_in(&state, ports)?;
        let bits = hosts as u64 * u64::from(ports.div_ceil(64)) * 64;
        let (hosts, bits) = (hosts.max(config.hosts_max), bits.max(config.host_bits));
        let mut sweep = Self::with_hosts(plan, &config, Hosts::new(ports, hosts, bits), now);
        let (wide, deep) = (&mut sweep.wide, &mut sweep.deep);
        let rest = checkpoint::read(&sweep.plan, &state, wide, deep, now)?;
        sweep.counters = rest.numbers.counters;
        sweep.rtt = rest.numbers.rtt;
        (sweep.wide.tally, sweep.deep.tally) = (rest.numbers.wide, rest.numbers.deep);
        sweep.listed.extend(&rest.listed);
        sweep.leaks.extend(&rest.leaks);
        Ok(sweep)
    }

    fn with_hosts(plan: Arc<Plan>, config: &SweepConfig, hosts: Hosts, now: Instant) -> Self {
        assert_ne!(config.key, [0; 16], "a sweep needs a key drawn for it");
        let request = plan.request();
        let show = Show::new(&request.show);
        let seed = request.seed.unwrap_or_default();
        let mut counters = Counters::default();
        let neighbors = Neighbors::new(plan.routes(), now);
        let wide = Wide::new(&plan, &neighbors, config, show, now);
        counters.probes_due = wide.progress().1;
        Self {
            show,
            cookies: Cookies::new(config.key, plan.vlans()),
            judge: Judge::new(plan.sources(), config.source_port),
            times: Times::new(config.outstanding),
            sampling: Sampling::default(),
            unproven: Unproven::new(config.outstanding),
            rtt: Rtt::default(),
            pacer: Pacer::new(request.rate_pps, request.bandwidth_bps),
            closed: (config.closed_loop && plan.loses_nothing()).then(|| Loop::new(seed, now)),
            neighbors,
            responder: Responder::default(),
            resets: VecDeque::with_capacity(RESETS_MAX),
            wide,
            deep: Deep::new(&plan, hosts, config.queue_max, config.host_pps),
            events: VecDeque::with_capacity(1024),
            listed: Fingerprints::new(seed, config.listed_max),
            leaks: Fingerprints::new(seed, config.listed_max),
            counters,
            drops: Drops::default(),
            now,
            polled_at: now,
            arrived_at: None,
            heard: now,
            last_sent: now,
            rest: Rest::Until(now),
            stopping: false,
            plan,
        }
    }

    /// Fills `out`, emptied first, with what may go at `now`: at most `room`, never more than the pace allows.
    /// Returns how much that is.
    pub fn poll_transmit(&mut self, now: Instant, room: usize, out: &mut Vec<Transmit>) -> usize {
        out.clear();
        self.now = now;
        self.listened(now);
        let sent = self.counters.sent();
        if let Some(closed) = &mut self.closed
            && closed.poll(now, self.heard, &self.rtt)
        {
            self.pacer.govern(closed.limit());
        }
        self.pacer.ask(now);
        let mut outbox = Outbox {
            now,
            timeout: self.rtt.timeout(),
            timeout_last: self.rtt.timeout_last(),
            heard: self.heard,
            plan: &self.plan,
            counters: &mut self.counters,
            cookies: &self.cookies,
            times: &mut self.times,
            sampling: self.sampling,
            unproven: &mut self.unproven,
            pacer: &mut self.pacer,
            room,
            out,
            full: false,
        };
        let mut asked_again = 0;
        if let Some(closed) = &mut self.closed
            && !self.stopping
        {
            closed.ask(sent, &mut outbox, &self.neighbors);
            asked_again = outbox.out.len();
        }
        answer(&mut outbox, &mut self.responder, &mut self.resets);
        self.rest = if outbox.full {
            Rest::Full
        } else if self.stopping {
            Rest::Over
        } else {
            let events = &mut self.events;
            ask_gateways(&mut outbox, &mut self.neighbors, events);
            let deep = self
                .deep
                .step(&mut outbox, &self.neighbors, events, self.show);
            let mut wide = Rest::Over;
            if self.neighbors.settled(now) && self.deep.wants_hosts() {
                wide = self
                    .wide
                    .step(&mut outbox, &mut self.neighbors, events, self.show);
            }
            let gateways = self.neighbors.next_at(now).map_or(Rest::Over, Rest::Until);
            match outbox.full {
                true => Rest::Full,
                false => deep.sooner(wide).sooner(gateways),
            }
        };
        self.count_progress();
        self.sampling.count(now, out.len(), self.rtt.is_known());
        if let Some(closed) = &mut self.closed {
            closed.scatter(asked_again, out);
        }
        if !out.is_empty() {
            self.last_sent = now;
        }
        out.len()
    }

    /// The link took `frames` more of what [`Sweep::poll_transmit`] said; `now` is read after.
    pub fn handle_transmitted(&mut self, now: Instant, frames: usize) {
        self.now = self.now.max(now);
        self.pacer.sent(now, frames);
        if let Some(closed) = &mut self.closed {
            closed.sent(now, frames);
        }
    }

    /// A frame has arrived on `vlan`: its bytes without tag and check sum, all checksums in place.
    pub fn handle_frame(&mut self, now: Instant, vlan: Option<VlanId>, bytes: &[u8]) {
        self.handle_frame_with(now, vlan, bytes, Checksums::Verify);
    }

    /// As [`Sweep::handle_frame`], for frames whose checksums the kernel may have left out.
    pub fn handle_frame_with(
        &mut self,
        now: Instant,
        vlan: Option<VlanId>,
        bytes: &[u8],
        checksums: Checksums,
    ) {
        self.arrived_at = self.arrived_at.max(Some(now));
        match sonde_wire::parse(bytes, checksums) {
            Ok(packet) => self.handle_packet(now, vlan, &packet),
            Err(reason) => self.drops.count(reason),
        }
    }

    /// An answer, proven: what [`Sweep::handle_frame`] ends in, and what the `connect` link gives.
    pub fn handle_reply(&mut self, now: Instant, reply: Reply) {
        self.now = self.now.max(now);
        self.arrived_at = self.arrived_at.max(Some(now));
        let of_gateway = reply.answer == Answer::Link && self.handle_gateway(now, &reply);
        match self.learn(now, reply) {
            // A gateway is asked for its own sake too, before or without its being a target.
            Err(RxDrop::Unasked) if of_gateway => {}
            Err(RxDrop::Duplicate) if self.handle_known(now, &reply) => {}
            Err(reason) => self.drops.count(reason),
            Ok(()) => {}
        }
        self.rest = self.rest.sooner(Rest::Until(now));
        if self.wide.is_over() && self.deep.is_idle() {
            self.count_progress(); // it was the last one
        }
    }

    /// An answer that a link has proven. `reset` is the sequence number to reset an accepted connection by, if the
    /// link has not done so.
    pub fn handle_proven(&mut self, now: Instant, reply: Reply, reset: Option<u32>) {
        if let (Answer::TcpOpen(port), Some(seq), Some(mac)) = (reply.answer, reset, reply.mac) {
            self.reset(&reply, port, seq, mac);
        }
        if let (Answer::TcpOpen(_), None, Some(closed)) = (reply.answer, reset, &mut self.closed) {
            // Its reset takes room on the path like any frame.
            closed.sent_by_link();
            self.pacer.sent_by_link();
        }
        self.handle_reply(now, reply);
    }

    /// The cookies of this run, for a link that judges answers itself.
    pub fn cookies(&self) -> &Cookies {
        &self.cookies
    }

    /// Does what is due at `now`. [`Sweep::poll_transmit`] does it too.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.rest = self.rest.sooner(Rest::Until(now));
    }

    /// When [`Sweep::poll_transmit`] is to be called if nothing arrives before; `None` when done.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.is_done() {
            return None;
        }
        Some(match self.rest {
            Rest::Full => self.pacer.ready_at(self.now),
            Rest::Until(at) => at,
            Rest::Over => self.last_sent + self.rtt.timeout_last(),
        })
    }

    /// The next thing learnt.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Sends no more probes. [`Sweep::is_done`] once the answers on their way have had time to come.
    pub fn stop(&mut self) {
        self.stopping = true;
        self.rest = Rest::Until(self.now);
    }

    /// True when nothing is left to send, to wait for, or to take by [`Sweep::poll_event`].
    pub fn is_done(&self) -> bool {
        let asked = if self.stopping {
            self.now >= self.last_sent + self.rtt.timeout_last()
        } else {
            self.wide.is_over() && self.deep.is_idle()
        };
        asked && self.events.is_empty() && self.resets.is_empty()
    }

    /// Where the scan is. To be made when [`Sweep::poll_event`] has said `None`: what it has told is not told again.
    pub fn checkpoint(&self) -> Checkpoint {
        let rest = checkpoint::Rest {
            numbers: checkpoint::Numbers {
                counters: self.counters,
                rtt: self.rtt,
                wide: self.wide.tally,
                deep: self.deep.tally,
            },
            listed: self.listed.iter().collect(),
            leaks: self.leaks.iter().collect(),
        };
        let timeout = self.rtt.timeout_last();
        checkpoint::write(&self.plan, &self.wide, &self.deep, &rest, self.now, timeout)
    }

    /// What was counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What was not believed.
    pub fn drops(&self) -> &Drops {
        &self.drops
    }

    /// What the closed loop saw and did; `None` without one: see [`SweepConfig::closed_loop`].
    pub fn governor(&self) -> Option<GovernorReport> {
        self.closed.as_ref().map(Loop::report)
    }

    /// How long answers are waited for, as far as is known now.
    pub fn answer_timeout(&self) -> Duration {
        self.rtt.timeout_last()
    }

    /// Works out up to when everything that arrived is known: a driver that was kept from listening, or has much to
    /// listen to, must not take what it has not read yet for silence.
    fn listened(&mut self, now: Instant) {
        let heard = self.arrived_at.take().unwrap_or(self.polled_at);
        let least = now.as_nanos().saturating_sub(UNHEARD_MAX.as_nanos() as u64);
        self.heard = self.heard.max(heard).max(Instant::from_nanos(least));
        self.polled_at = now;
    }

    fn count_progress(&mut self) {
        let ((wide, wide_due), (deep, deep_due)) = (self.wide.progress(), self.deep.progress());
        self.counters.probes_done = wide.saturating_add(deep);
        self.counters.probes_due = wide_due.saturating_add(deep_due);
    }

    fn handle_packet(&mut self, now: Instant, vlan: Option<VlanId>, packet: &Packet<'_>) {
        let judged = self
            .judge
            .judge(&self.cookies, &self.unproven, vlan, packet);
        match judged {
            Judged::Reply(reply, reset) => {
                if let (Answer::TcpOpen(port), Some(seq)) = (reply.answer, reset) {
                    self.reset(&reply, port, seq, packet.eth_src);
                }
                self.handle_reply(now, reply);
            }
            Judged::Leak { vlan: asked, ip } => {
                self.counters.leaks += 1;
                if self.leaks.insert(asked, ip, vlan) {
                    self.events.push_back(Event::Leak {
                        vlan: asked,
                        seen_vlan: vlan,
                        ip,
                        mac: packet.eth_src,
                    });
                }
            }
            Judged::Arp(source, request) => {
                if !source.kernel_owned && self.may_answer(vlan, request.sender_ip.into()) {
                    self.responder.handle_arp(&source, &request);
                    self.rest = self.rest.sooner(Rest::Until(now));
                }
            }
            Judged::Solicitation(source, solicitation) => {
                if !source.kernel_owned && self.may_answer(vlan, solicitation.src.into()) {
                    self.responder
                        .handle_solicitation(&source, packet.eth_src, &solicitation);
                    self.rest = self.rest.sooner(Rest::Until(now));
                }
            }
            Judged::Echo(source, echo) => {
                if !source.kernel_owned && self.may_answer(vlan, echo.ip.src) {
                    self.responder.handle_echo(&source, packet.eth_src, &echo);
                    self.rest = self.rest.sooner(Rest::Until(now));
                }
            }
            Judged::Drop(reason) => self.drops.count(reason),
        }
    }

    /// The last guard, for our answers: who is excluded gets none.
    fn may_answer(&mut self, vlan: Option<VlanId>, asker: IpAddr) -> bool {
        let excluded = self.plan.excluded(vlan, asker);
        self.counters.suppressed += u64::from(excluded);
        !excluded
    }

    /// A port has accepted a connection nobody wants. The kernel resets those from its own addresses.
    fn reset(&mut self, reply: &Reply, port: u16, seq: u32, mac: MacAddr) {
        let Some(segment) = self.plan.segment_of(reply.vlan, reply.ip) else {
            return;
        };
        let route = &self.plan.routes()[segment.route as usize];
        if route.kernel_owned || route.hop == Hop::Kernel {
            return;
        }
        if self.resets.len() == RESETS_MAX {
            self.counters.resets_dropped += 1;
            return;
        }
        let (route, dst) = (segment.route, reply.ip);
        self.resets.push_back(Reset {
            route,
            dst,
            mac,
            port,
            seq,
        });
    }
}

/// Sends what others wait for: our answers and resets.
fn answer(out: &mut Outbox<'_>, responder: &mut Responder, resets: &mut VecDeque<Reset>) {
    while let Some(frame) = responder.peek() {
        let tagged = frame[12..14] == sonde_wire::vlan::TPID.to_be_bytes();
        let length = frame.len();
        if !out.send(length, tagged, || responder.pop()) {
            return;
        }
    }
    while let Some(reset) = resets.front() {
        let kind = ProbeKind::TcpRst {
            port: reset.port,
            seq: reset.seq,
        };
        if !out.ask(reset.route, reset.dst, reset.mac, kind, false) {
            return;
        }
        resets.pop_front();
    }
}

fn ask_gateways(out: &mut Outbox<'_>, neighbors: &mut Neighbors, events: &mut VecDeque<Event>) {
    let mut gone = |vlan, ip| {
        events.push_back(Event::NextHop {
            vlan,
            ip,
            resolved: false,
        });
    };
    while let Some(ask) = neighbors.poll(out.now, &mut gone) {
        if !out.ask(
            ask.route,
            ask.ip,
            ask.to,
            crate::neighbor::question(ask.ip),
            true,
        ) {
            return;
        }
        neighbors.asked(out.now);
    }
}
