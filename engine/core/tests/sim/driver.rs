//! Drives a sweep through a network on a clock that jumps from event to event.

use std::collections::BTreeSet;
use std::sync::Arc;

use sonde_core::checkpoint::Checkpoint;
use sonde_core::observation::Proto;
use sonde_core::plan::Plan;
use sonde_core::probe::Transmit;
use sonde_core::request::PortState;
use sonde_core::sweep::{Event, Sweep, SweepConfig};
use sonde_core::template::{FRAME_MAX, Templates};
use sonde_core::time::Instant;

use crate::network::{Key, Network};
use crate::world::Open;

pub(crate) const PORT: u16 = 54_321;

pub(crate) fn config(key: u8) -> SweepConfig {
    SweepConfig {
        key: [key; 16],
        source_port: PORT,
        ..SweepConfig::default()
    }
}

/// A scan on its virtual clock.
pub(crate) struct Driver {
    pub(crate) sweep: Sweep,
    templates: Templates,
    /// Nanoseconds.
    pub(crate) now: u64,
    pub(crate) events: Vec<Event>,
    out: Vec<Transmit>,
    /// Longest time between being due and coming, in nanoseconds.
    pub(crate) late: u64,
}

impl Driver {
    pub(crate) fn new(plan: &Arc<Plan>, config: SweepConfig) -> Self {
        let sweep = Sweep::new(plan.clone(), config, Instant::ZERO);
        Self::with(sweep, plan, 0)
    }

    pub(crate) fn resume(
        plan: &Arc<Plan>,
        config: SweepConfig,
        from: &Checkpoint,
        now: u64,
    ) -> Self {
        let sweep = Sweep::resume(plan.clone(), config, from, Instant::from_nanos(now));
        Self::with(sweep.unwrap(), plan, now)
    }

    fn with(sweep: Sweep, plan: &Plan, now: u64) -> Self {
        Self {
            sweep,
            templates: Templates::new(plan, PORT),
            now,
            events: Vec::new(),
            out: Vec::new(),
            late: 0,
        }
    }

    /// Runs to the end, which must come within an hour of the virtual clock.
    pub(crate) fn run(&mut self, network: &mut Network) {
        let end = self.now + 3_600_000_000_000;
        self.run_until(network, end);
        assert!(
            self.sweep.is_done(),
            "not done after an hour: {:?}",
            self.sweep.counters()
        );
    }

    /// Runs to the end or until `end`.
    pub(crate) fn run_until(&mut self, network: &mut Network, end: u64) {
        while !self.sweep.is_done() && self.now < end {
            self.step(network);
        }
    }

    pub(crate) fn step(&mut self, network: &mut Network) {
        self.sweep
            .poll_transmit(Instant::from_nanos(self.now), 64, &mut self.out);
        let mut frame = [0; FRAME_MAX];
        for transmit in &self.out {
            self.now += 50;
            match transmit {
                Transmit::Probe(probe) => {
                    let length = self.templates.fill(probe, &mut frame);
                    network.transmit(self.now, &frame[..length]);
                }
                Transmit::Frame(bytes) => network.transmit(self.now, bytes),
            }
        }
        self.now += 200;
        self.sweep
            .handle_transmitted(Instant::from_nanos(self.now), self.out.len());
        while let Some(arrival) = network.arrival(self.now) {
            self.sweep
                .handle_frame(Instant::from_nanos(self.now), arrival.vlan, &arrival.bytes);
        }
        while let Some(event) = self.sweep.poll_event() {
            self.events.push(event);
        }
        let due = self.sweep.poll_timeout().map(Instant::as_nanos);
        if let Some(next) = due.into_iter().chain(network.next_at()).min() {
            self.now = self.now.max(next) + network.random.below(self.late);
        }
    }

    /// Hosts said to be up; none twice.
    pub(crate) fn hosts_up(&self) -> BTreeSet<Key> {
        let mut hosts = BTreeSet::new();
        for event in &self.events {
            if let Event::Host { vlan, ip, .. } = event {
                assert!(hosts.insert((*vlan, *ip)), "{ip} in {vlan:?} twice");
            }
        }
        hosts
    }

    /// Ports said to be open; none twice.
    pub(crate) fn open(&self) -> BTreeSet<Open> {
        self.ports()
            .into_iter()
            .filter(|(_, state)| *state == PortState::Open)
            .map(|(p, _)| p)
            .collect()
    }

    /// Ports with their states; none twice.
    pub(crate) fn ports(
        &self,
    ) -> Vec<(
        (crate::network::Vlan, std::net::IpAddr, Proto, u16),
        PortState,
    )> {
        let mut seen = BTreeSet::new();
        let mut ports = Vec::new();
        for event in &self.events {
            if let Event::Port {
                vlan,
                ip,
                proto,
                port,
                state,
                ..
            } = *event
            {
                assert!(
                    seen.insert((vlan, ip, proto, port)),
                    "{ip} port {port} in {vlan:?} twice"
                );
                ports.push(((vlan, ip, proto, port), state));
            }
        }
        ports
    }
}

/// Most frames in any 100 ms of `capture`.
pub(crate) fn most_in_a_window(capture: &[u64]) -> u64 {
    most_in(capture, 100_000_000)
}

/// Most frames in any `nanos` of `capture`.
pub(crate) fn most_in(capture: &[u64], nanos: u64) -> u64 {
    let mut first = 0;
    let mut most = 0;
    for (at, time) in capture.iter().enumerate() {
        while capture[first] + nanos <= *time {
            first += 1;
        }
        most = most.max(at - first + 1);
    }
    most as u64
}

/// Asserts that two sets are the same, and prints what differs.
pub(crate) fn assert_same<T: Ord + std::fmt::Debug>(found: &BTreeSet<T>, truth: &BTreeSet<T>) {
    let missed: Vec<_> = truth.difference(found).take(5).collect();
    let invented: Vec<_> = found.difference(truth).take(5).collect();
    assert!(
        missed.is_empty() && invented.is_empty(),
        "{} of {}: missed {missed:?}, invented {invented:?}",
        found.len(),
        truth.len(),
    );
}
