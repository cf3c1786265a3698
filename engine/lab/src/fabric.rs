//! The switch at work: one thread in a namespace of its own, a packet link at every port.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use sonde_link::offload::{OffloadError, turn_off_offloads};
use sonde_link::{
    FrameBatch, FrameLink, LinkCounters, OpenError, PacketLink, PacketOptions, RxBatch, RxFrame,
};
use sonde_wire::{MacAddr, VlanId};

use crate::namespace::{Namespace, SysctlError, set_sysctl};
use crate::netlink::{self, End, NetlinkError};
use crate::switch::{Exit, Port, Switch, SwitchCounters};

/// Why the switch did not start.
#[derive(Debug, thiserror::Error)]
pub enum FabricError {
    /// No namespace, no thread, no pipe.
    #[error("no {0} to be had; the system's limits are too low for this lab")]
    Resource(&'static str, #[source] io::Error),
    /// A setting was refused.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// A link was refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// An offload stays on.
    #[error(transparent)]
    Offload(#[from] OffloadError),
    /// A port could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its thread ended without a word.
    #[error("its thread ended early; the log has its panic")]
    Died,
}

/// What the switch counts: decisions, and what was lost around them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FabricCounters {
    /// Frames that came in.
    pub received: u64,
    /// What was decided about them.
    pub switch: SwitchCounters,
    /// Frames lost before we saw them, because a port's ring was full.
    pub lost_receiving: u64,
    /// Frames lost on their way out, because a station did not take them.
    pub lost_sending: u64,
    /// Frames not passed on because they were longer than a frame of this network had half a check sum
    /// (somebody's offloads are on), or had the reserved tag 4095.
    pub unfit: u64,
}

/// What is at the other end of a port.
pub(crate) struct Wire<'a> {
    pub(crate) port: Port,
    /// Name of the interface there.
    pub(crate) far: String,
    pub(crate) mac: MacAddr,
    pub(crate) namespace: &'a Namespace,
}

/// The running switch.
pub(crate) struct Fabric {
    counters: Arc<Mutex<FabricCounters>>,
    thread: Option<std::thread::JoinHandle<()>>,
    begin: Option<mpsc::Sender<()>>,
    stop: Option<PipeWriter>,
}

impl Fabric {
    /// Makes every wire and opens every port. The far ends are still down, and nothing is forwarded
    /// before [`Fabric::begin`]: what stations say until then waits at their ports.
    pub(crate) fn start(wires: &[Wire<'_>]) -> Result<Self, FabricError> {
        let resource = |what| move |source| FabricError::Resource(what, source);
        let (stopped, stop) = io::pipe().map_err(resource("pipe"))?;
        let counters = Arc::new(Mutex::new(FabricCounters::default()));
        let shared = Arc::clone(&counters);
        let (tell, told) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        let ports: Vec<Port> = wires.iter().map(|wire| wire.port.clone()).collect();
        // Links are made by a first, scoped thread that may borrow the wires; the second inherits its
        // namespace and stays.
        let thread = std::thread::scope(|scope| {
            let maker = std::thread::Builder::new().name("lab-wires".into());
            let maker = maker.spawn_scoped(scope, || {
                make(wires)?;
                let thread = std::thread::Builder::new().name("lab-switch".into());
                let body = move || {
                    let links = (0..ports.len()).map(open).collect::<Result<Vec<_>, _>>();
                    match links {
                        Ok(links) => {
                            let _heard = tell.send(Ok(()));
                            // Given up before it began, it still takes the trunk away.
                            let _begun = begun.recv();
                            Forwarding::new(Switch::new(ports), links, shared).run(&stopped);
                        }
                        Err(error) => drop(tell.send(Err(error))),
                    }
                };
                thread.spawn(body).map_err(resource("thread"))
            });
            let maker = maker.map_err(resource("thread"))?;
            maker.join().unwrap_or(Err(FabricError::Died))
        })?;
        let fabric = Self {
            counters,
            thread: Some(thread),
            begin: Some(begin),
            stop: Some(stop),
        };
        told.recv().unwrap_or(Err(FabricError::Died))?;
        Ok(fabric)
    }

    /// Starts to forward; to be called once every station is up.
    pub(crate) fn begin(&mut self) {
        if let Some(begin) = self.begin.take() {
            // If the thread is gone, `is_alive` says so.
            let _heard = begin.send(());
        }
    }

    pub(crate) fn counters(&self) -> FabricCounters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True as long as the thread runs.
    pub(crate) fn is_alive(&self) -> bool {
        self.thread
            .as_ref()
            .is_some_and(|thread| !thread.is_finished())
    }
}

impl Drop for Fabric {
    fn drop(&mut self) {
        self.stop.take();
        self.begin.take();
        if let Some(thread) = self.thread.take() {
            // A panic there was reported where it happened.
            let _ended = thread.join();
        }
    }
}

/// The trunk is port 0.
fn near_name(port: usize) -> String {
    format!("port{port}")
}

/// Makes the namespace and every wire; the near ends are up.
fn make(wires: &[Wire<'_>]) -> Result<(), FabricError> {
    Namespace::unshare().map_err(|e| FabricError::Resource("namespace", e))?;
    // The switch's own kernel has nothing to say on any network.
    set_sysctl("ipv6/conf/default/disable_ipv6", "1")?;
    netlink::run(async |links| {
        for (port, wire) in wires.iter().enumerate() {
            let near = near_name(port);
            let near = End {
                name: &near,
                mac: None,
                namespace: None,
            };
            let (name, mac) = (wire.far.as_str(), Some(wire.mac));
            links
                .add_veth(
                    near,
                    End {
                        name,
                        mac,
                        namespace: Some(wire.namespace),
                    },
                )
                .await?;
        }
        Ok(())
    })?;
    for port in 0..wires.len() {
        turn_off_offloads(&near_name(port))?;
    }
    netlink::run(async |links| {
        for port in 0..wires.len() {
            links.bring_up(&near_name(port)).await?;
        }
        Ok(())
    })?;
    Ok(())
}

fn open(port: usize) -> Result<PacketLink, FabricError> {
    // Of what stations send, a burst; of what a scanner sends at the trunk, 100 ms at 80,000 a second.
    let ring_frames = if port == 0 { 8192 } else { 1024 };
    let options = PacketOptions {
        promiscuous: true,
        ring_frames,
        ..PacketOptions::default()
    };
    Ok(PacketLink::open(&near_name(port), options)?)
}

/// Octets of the largest frame on these wires: MTU 1500, header, tag.
const FRAME_MAX: usize = 1518;

/// Octets of the two addresses, behind which a tag goes.
const ADDRESSES: usize = 12;

/// Frames taken in, and given out, at a time.
const BATCH: usize = 256;

/// How often a frame is offered again to a station whose queue is full.
const OFFERS: usize = 64;

struct Forwarding {
    switch: Switch,
    links: Vec<PacketLink>,
    /// What each link had counted when it was last received from.
    seen: Vec<LinkCounters>,
    out: Vec<FrameBatch>,
    exits: Vec<Exit>,
    counts: FabricCounters,
    shared: Arc<Mutex<FabricCounters>>,
}

impl Forwarding {
    fn new(switch: Switch, links: Vec<PacketLink>, shared: Arc<Mutex<FabricCounters>>) -> Self {
        let out = links
            .iter()
            .map(|_| FrameBatch::with_slot(BATCH, FRAME_MAX))
            .collect();
        let seen = vec![LinkCounters::default(); links.len()];
        let (exits, counts) = (Vec::new(), FabricCounters::default());
        Self {
            switch,
            links,
            seen,
            out,
            exits,
            counts,
            shared,
        }
    }

    /// Forwards until the writing end of `stop` is closed, then takes the trunk away.
    fn run(mut self, stop: &PipeReader) {
        let mut batch = RxBatch::new(BATCH);
        while let Some(ready) = self.wait(stop) {
            for port in ready {
                self.forward_from(port, &mut batch);
            }
            self.flush_all();
            self.publish();
        }
        drop(self);
        // The other wires go with their namespaces, soon; this one ends in somebody else's.
        let deleted = netlink::run(async |links| links.delete(&near_name(0)).await);
        if let Err(error) = deleted {
            tracing::debug!(%error, "trunk not deleted");
        }
    }

    /// The ports with frames, or `None` to stop.
    fn wait(&self, stop: &PipeReader) -> Option<Vec<usize>> {
        let mut fds: Vec<PollFd<'_>> = self
            .links
            .iter()
            .map(|link| PollFd::from_borrowed_fd(link.as_fd(), PollFlags::IN))
            .collect();
        fds.push(PollFd::new(stop, PollFlags::empty()));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                tracing::error!(%error, "the switch cannot wait for frames and ends");
                return None;
            }
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let (stop, ports) = fds.split_last()?;
        if ready(stop) {
            return None;
        }
        Some(
            ports
                .iter()
                .enumerate()
                .filter(|(_, fd)| ready(fd))
                .map(|(port, _)| port)
                .collect(),
        )
    }

    /// Takes in one batch of a port: no port can keep the others waiting.
    fn forward_from(&mut self, port: usize, batch: &mut RxBatch) {
        if let Err(error) = self.links[port].receive(batch, Duration::ZERO) {
            tracing::debug!(%error, port, "nothing received");
            return;
        }
        for frame in batch.iter() {
            self.forward(port, &frame);
        }
        self.seen[port] = self.links[port].counters();
    }

    fn forward(&mut self, port: usize, frame: &RxFrame<'_>) {
        self.counts.received += 1;
        let whole = frame.meta.wire_length as usize == frame.bytes.len();
        if !whole || !frame.meta.checksum_ready || frame.bytes.len() > FRAME_MAX - 4 {
            self.counts.unfit += 1;
            return;
        }
        let mut exits = std::mem::take(&mut self.exits);
        // Why a frame goes nowhere is counted by the switch.
        let _decided = self
            .switch
            .forward(port, frame.meta.vlan, frame.bytes, &mut exits);
        for exit in &exits {
            if self.out[exit.port].is_full() {
                self.flush(exit.port);
            }
            self.out[exit.port].push_with(|slot| write(slot, frame.bytes, exit.tag));
        }
        self.exits = exits;
    }

    fn flush_all(&mut self) {
        for port in 0..self.links.len() {
            self.flush(port);
        }
    }

    /// Sends what waits for a port; what a station does not take in `OFFERS` offers is lost and counted.
    fn flush(&mut self, port: usize) {
        let (link, out) = (&mut self.links[port], &mut self.out[port]);
        let (mut sent, mut offers) = (0, 0);
        while sent < out.len() && offers < OFFERS {
            match link.transmit(out, sent) {
                Ok(0) => {
                    offers += 1;
                    std::thread::yield_now();
                }
                Ok(taken) => sent += taken,
                Err(error) => {
                    tracing::debug!(%error, port, "frames not sent");
                    break;
                }
            }
        }
        self.counts.lost_sending += (out.len() - sent) as u64;
        out.clear();
    }

    fn publish(&self) {
        let sum = |count: fn(&LinkCounters) -> u64| self.seen.iter().map(count).sum::<u64>();
        let counts = FabricCounters {
            switch: self.switch.counters(),
            lost_receiving: sum(|seen| seen.rx_dropped),
            lost_sending: self.counts.lost_sending + sum(|seen| seen.tx_refused),
            unfit: self.counts.unfit + sum(|seen| seen.rx_malformed),
            ..self.counts
        };
        *self.shared.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }
}

/// Writes a frame with its tag, if it has one, behind the addresses; returns the length.
fn write(slot: &mut [u8], frame: &[u8], tag: Option<VlanId>) -> usize {
    let Some(tag) = tag else {
        slot[..frame.len()].copy_from_slice(frame);
        return frame.len();
    };
    let (addresses, rest) = frame.split_at(ADDRESSES);
    slot[..ADDRESSES].copy_from_slice(addresses);
    slot[ADDRESSES..ADDRESSES + 2].copy_from_slice(&[0x81, 0x00]);
    slot[ADDRESSES + 2..ADDRESSES + 4].copy_from_slice(&tag.id().to_be_bytes());
    slot[ADDRESSES + 4..ADDRESSES + 4 + rest.len()].copy_from_slice(rest);
    frame.len() + 4
}
