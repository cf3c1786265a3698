//! Any order of calls, with any answers: no panic, no frame to who may not be asked, none above the rate, none too
//! often, nothing told twice, and an end.

#![no_main]

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use sonde_core::observation::Proto;
use sonde_core::plan::Plan;
use sonde_core::probe::{ProbeKind, Transmit};
use sonde_core::sweep::{Event, Sweep};
use sonde_core::template::Templates;
use sonde_core::time::Instant;
use sonde_fuzz::choices::Choices;
use sonde_fuzz::network::{PASSES, PORT, RATE, Sent, Vlan, config, is_target, plans, sent};
use sonde_fuzz::reply;
use sonde_wire::{Checksums, VlanId};

/// Steps in which any of the plans ends, when nothing answers any more.
const STEPS_MAX: usize = 20_000;
/// Frames whose answers may still come.
const HEARD: usize = 64;
/// In which no more than a tenth of [`RATE`] may leave.
const WINDOW: u64 = 100_000_000;

struct Drive {
    plan: Arc<Plan>,
    templates: Templates,
    sweep: Sweep,
    /// Nanoseconds.
    now: u64,
    out: Vec<Transmit>,
    heard: VecDeque<Sent>,
    /// Latest times at which frames of this run left, and how many.
    left: VecDeque<(u64, usize)>,
    asked: HashMap<(Vlan, IpAddr, ProbeKind), u32>,
    resumed: bool,
    stopped: bool,
    up: HashSet<(Vlan, IpAddr)>,
    told: HashSet<(Vlan, IpAddr, Proto, u16)>,
}

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let mut drive = Drive::new(&mut choices);
    while !choices.is_over() {
        drive.step(&mut choices);
        drive.take_events();
    }
    let mut rest = Choices::new(&[]);
    for _ in 0..STEPS_MAX {
        if drive.sweep.is_done() {
            return;
        }
        drive.transmit(64, &mut rest);
        drive.take_events();
        let due = drive.sweep.poll_timeout().map_or(0, Instant::as_nanos);
        drive.now = drive.now.max(due);
    }
    panic!("no end: {:?}", drive.sweep.counters());
});

impl Drive {
    fn new(choices: &mut Choices<'_>) -> Self {
        let plan = choices.of(plans()).clone();
        Self {
            templates: Templates::new(&plan, PORT),
            sweep: Sweep::new(plan.clone(), config(choices), Instant::ZERO),
            plan,
            now: 0,
            out: Vec::new(),
            heard: VecDeque::new(),
            left: VecDeque::new(),
            asked: HashMap::new(),
            resumed: false,
            stopped: false,
            up: HashSet::new(),
            told: HashSet::new(),
        }
    }

    fn step(&mut self, choices: &mut Choices<'_>) {
        match choices.byte() % 16 {
            0..=3 => {
                let room = choices.below(65);
                self.transmit(room, choices);
            }
            4..=7 => self.answer(choices),
            8 => {
                let (vlan, frame) = reply::question(choices);
                self.hear(vlan, frame, choices);
            }
            9 => {
                let bytes = choices.bytes(200).to_vec();
                self.hear(VlanId::new(choices.word() % 128), bytes, choices);
            }
            10 => self.now += choices.nanos(),
            11 | 12 => {
                let due = self.sweep.poll_timeout().map_or(0, Instant::as_nanos);
                self.now = self.now.max(due);
            }
            13 => self.sweep.handle_timeout(Instant::from_nanos(self.now)),
            14 => self.kill(choices),
            _ if choices.byte() % 16 == 0 => {
                self.stopped = true;
                self.sweep.stop();
            }
            _ => self.now += 1_000_000,
        }
    }

    /// Sends what there is to send, in two parts, between which time passes.
    fn transmit(&mut self, room: usize, choices: &mut Choices<'_>) {
        let asked_at = self.now;
        let count = self
            .sweep
            .poll_transmit(Instant::from_nanos(self.now), room, &mut self.out);
        assert!(count == self.out.len() && count <= room);
        let window = self
            .left
            .iter()
            .filter(|(left, _)| left + WINDOW > asked_at);
        let most = window.map(|(_, frames)| frames).sum::<usize>() + count;
        assert!(most <= RATE as usize / 10, "{most} frames in 100 ms");
        for transmit in &self.out {
            let sent = sent(&self.templates, transmit);
            if let Transmit::Probe(probe) = transmit {
                count_asked(
                    &mut self.asked,
                    &self.plan,
                    sent.vlan,
                    probe.dst,
                    probe.kind,
                );
                let stopped = self.stopped && !matches!(probe.kind, ProbeKind::TcpRst { .. });
                assert!(!stopped, "sent after the stop: {probe:?}");
            }
            if self.heard.len() == HEARD {
                self.heard.pop_front();
            }
            self.heard.push_back(sent);
        }
        if !self.resumed {
            let often = self.asked.iter().find(|(_, times)| **times > 2 * (PASSES + 3));
            assert_eq!(often, None);
        }
        let first = choices.below(count + 1);
        for frames in [first, count - first] {
            self.now += choices.nanos() >> 8;
            self.sweep
                .handle_transmitted(Instant::from_nanos(self.now), frames);
            self.left.push_back((self.now, frames));
        }
    }

    /// A host answers what it was asked, more or less.
    fn answer(&mut self, choices: &mut Choices<'_>) {
        if self.heard.is_empty() {
            return;
        }
        let at = choices.below(self.heard.len());
        let sent = &self.heard[at];
        let mut frame = reply::to(sent, choices);
        let vlan = match choices.byte() {
            0..240 => sent.vlan,
            other => VlanId::new([0, 100, 101, 102][usize::from(other % 4)]),
        };
        if choices.byte() % 4 == 3 {
            choices.bend(&mut frame, 3);
        }
        self.hear(vlan, frame, choices);
    }

    /// A frame arrives, perhaps stamped long ago.
    fn hear(&mut self, vlan: Vlan, frame: Vec<u8>, choices: &mut Choices<'_>) {
        let (checksums, ago) = match choices.byte() {
            0..=7 => (Checksums::Verify, 0),
            8..=15 => (Checksums::Trust, choices.nanos()),
            _ => (Checksums::Trust, 0),
        };
        let now = Instant::from_nanos(self.now.saturating_sub(ago));
        self.sweep.handle_frame_with(now, vlan, &frame, checksums);
    }

    /// The scan is killed right after a checkpoint and gone on with.
    fn kill(&mut self, choices: &mut Choices<'_>) {
        let checkpoint = self.sweep.checkpoint();
        let now = Instant::from_nanos(self.now);
        let resumed = Sweep::resume(self.plan.clone(), config(choices), &checkpoint, now);
        self.sweep = resumed.expect("a sweep reads its own checkpoint");
        self.resumed = true;
        self.stopped = false;
        self.left.clear();
    }

    fn take_events(&mut self) {
        while let Some(event) = self.sweep.poll_event() {
            match event {
                Event::Host { vlan, ip, .. } => {
                    assert!(is_target(vlan, ip), "not part of the scan: {event:?}");
                    assert!(self.up.insert((vlan, ip)), "said twice: {event:?}");
                }
                Event::Port {
                    vlan,
                    ip,
                    proto,
                    port,
                    ..
                } => {
                    assert!(is_target(vlan, ip), "not part of the scan: {event:?}");
                    let new = self.told.insert((vlan, ip, proto, port));
                    assert!(new, "said twice: {event:?}");
                }
                Event::Leak {
                    vlan, seen_vlan, ..
                } => assert_ne!(vlan, seen_vlan),
                Event::NextHop { .. } => {}
            }
        }
    }
}

/// Counts a probe that is bounded by the passes. A port that finds hosts may be asked again as a port.
fn count_asked(
    asked: &mut HashMap<(Vlan, IpAddr, ProbeKind), u32>,
    plan: &Plan,
    vlan: Vlan,
    ip: IpAddr,
    kind: ProbeKind,
) {
    let twice = kind == ProbeKind::TcpSyn { port: 80 } && !plan.discovery().is_empty();
    if is_target(vlan, ip) && !matches!(kind, ProbeKind::TcpRst { .. }) {
        *asked.entry((vlan, ip, kind)).or_default() += if twice { 1 } else { 2 };
    }
}
