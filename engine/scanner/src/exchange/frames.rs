//! Frames over a link: probes through templates into the link's batch, frames from its ring to the sweep.

use std::io;
use std::time::Duration;

use sonde_core::judge::{Answer, Reply};
use sonde_core::plan::Plan;
use sonde_core::probe::Transmit;
use sonde_core::sweep::Sweep;
use sonde_core::template::Templates;
use sonde_core::time::Instant;
use sonde_link::{
    Expected, ExpectedSource, FrameBatch, FrameLink, LinkCounters, Proof, Proven, ProvenAnswer,
    RxBatch,
};
use sonde_wire::Checksums;

use super::{Exchange, Next};
use crate::clock::Clock;
use crate::report::pcapng::{self, Direction};

/// Frames taken from the link at once.
const RX_BATCH: usize = 2048;

/// An [`Exchange`] over a link that carries frames.
pub(crate) struct FrameExchange<L> {
    link: L,
    templates: Templates,
    /// What the sweep gave, then the frames of it.
    wanted: Vec<Transmit>,
    batch: FrameBatch,
    /// Frames offered to the link at once: the clock is read and limits are checked this often.
    batch_max: usize,
    /// Frames of the batch that the link has taken.
    taken: usize,
    received: RxBatch,
    /// Blocks of a capture, when one is wanted.
    capture: Option<Vec<u8>>,
    none: Vec<u8>,
}

impl<L: FrameLink> FrameExchange<L> {
    /// An exchange of the plan's frames over `link`; a capture begins with the interface's name.
    pub(crate) fn new(link: L, plan: &Plan, source_port: u16, capture: Option<&str>) -> Self {
        let capture = capture.map(|interface| {
            let mut blocks = Vec::new();
            pcapng::begin(&mut blocks, interface);
            blocks
        });
        let batch_max = link.batch();
        Self {
            link,
            templates: Templates::new(plan, source_port),
            wanted: Vec::with_capacity(batch_max),
            batch: FrameBatch::new(batch_max),
            batch_max,
            taken: 0,
            received: RxBatch::new(RX_BATCH),
            capture,
            none: Vec::new(),
        }
    }

    /// Tells the link what answers look like. It judges them itself if it can, but not in a scan that is captured:
    /// there every answer is wanted whole.
    pub(crate) fn expect(
        &mut self,
        plan: &Plan,
        sweep: &Sweep,
        (source_port, key): (u16, [u8; 16]),
    ) -> io::Result<()> {
        let sources: Vec<_> = plan
            .sources()
            .iter()
            .map(|source| ExpectedSource {
                vlan: source.vlan,
                ip: source.ip,
                kernel_owned: source.kernel_owned,
            })
            .collect();
        let request = plan.request();
        let proof = Proof {
            key,
            words: sweep.cookies().words(),
            // What the link resets is not paced: only where nothing is.
            resets: request.rate_pps.is_none() && request.bandwidth_bps.is_none(),
        };
        self.link.expect(&Expected {
            port: source_port,
            sources: &sources,
            proof: self.capture.is_none().then_some(proof),
        })?;
        Ok(())
    }

    fn fill(&mut self, now: Instant, sweep: &mut Sweep) {
        self.batch.clear();
        self.taken = 0;
        self.wanted.clear();
        sweep.poll_transmit(now, self.batch_max, &mut self.wanted);
        for transmit in &self.wanted {
            let fits = match transmit {
                Transmit::Probe(probe) => self
                    .batch
                    .push_with(|frame| self.templates.fill(probe, frame)),
                Transmit::Frame(bytes) => self.batch.push_with(|frame| {
                    frame[..bytes.len()].copy_from_slice(bytes);
                    bytes.len()
                }),
            };
            debug_assert!(fits, "the sweep gave more than there is room for");
        }
    }
}

impl<L: FrameLink> Exchange for FrameExchange<L> {
    fn transmit(&mut self, clock: &Clock, sweep: &mut Sweep) -> io::Result<Next> {
        if self.taken == self.batch.len() {
            self.fill(clock.now(), sweep);
        }
        if self.batch.is_empty() {
            return Ok(Next::Idle);
        }
        let from = self.taken;
        let before = clock.now();
        let taken = self.link.transmit(&self.batch, from)?;
        // Read after the link took them: the pacer counts from when the last of them can have left.
        let now = clock.now();
        sweep.handle_transmitted(now, taken);
        self.taken += taken;
        if let Some(blocks) = &mut self.capture {
            for index in from..self.taken {
                let frame = self.batch.frame(index);
                // Before an answer to it can have arrived.
                let time = clock.unix_nanos(before);
                pcapng::frame(
                    blocks,
                    time,
                    Direction::Out,
                    None,
                    frame,
                    frame.len() as u32,
                );
            }
        }
        Ok(match self.taken {
            taken if taken < self.batch.len() => Next::Full,
            taken if taken == self.batch_max => Next::More,
            _ => Next::Idle,
        })
    }

    fn receive(&mut self, clock: &Clock, sweep: &mut Sweep, wait: Duration) -> io::Result<()> {
        self.received.clear();
        self.link.receive(&mut self.received, wait)?;
        let now = clock.now();
        for proven in self.received.proven() {
            let (reply, reset) = reply(proven);
            sweep.handle_proven(now, reply, reset);
        }
        for frame in self.received.iter() {
            let age = u64::try_from(frame.meta.age.as_nanos()).unwrap_or(u64::MAX);
            let arrived = Instant::from_nanos(now.as_nanos().saturating_sub(age));
            let checksums = if frame.meta.checksum_ready {
                Checksums::Verify
            } else {
                Checksums::Trust
            };
            sweep.handle_frame_with(arrived, frame.meta.vlan, frame.bytes, checksums);
            if let Some(blocks) = &mut self.capture {
                let time = clock.unix_nanos(arrived);
                let length = frame.meta.wire_length;
                pcapng::frame(
                    blocks,
                    time,
                    Direction::In,
                    frame.meta.vlan,
                    frame.bytes,
                    length,
                );
            }
        }
        Ok(())
    }

    fn counters(&mut self) -> LinkCounters {
        self.link.counters()
    }

    fn captured(&mut self) -> &mut Vec<u8> {
        self.capture.as_mut().unwrap_or(&mut self.none)
    }
}

/// An answer that the link has judged, and by what to reset it if that is still to be done.
fn reply(proven: &Proven) -> (Reply, Option<u32>) {
    let (answer, reset) = match proven.answer {
        ProvenAnswer::TcpOpen { port, reset } => (Answer::TcpOpen(port), reset),
        ProvenAnswer::TcpClosed { port } => (Answer::TcpClosed(port), None),
        ProvenAnswer::Echo => (Answer::Echo, None),
    };
    let reply = Reply {
        vlan: proven.vlan,
        ip: proven.ip,
        answer,
        mac: Some(proven.mac),
        ttl: Some(proven.ttl),
        rtt: None,
    };
    (reply, reset)
}
