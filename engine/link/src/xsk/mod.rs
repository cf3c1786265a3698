//! Frames through AF_XDP sockets: memory shared with the kernel both ways, before its stack.
//!
//! ```text
//!   transmit -> chunk, transmit ring of queue 0 -> driver
//!   driver -> program --(TCP, UDP to the scan's port)--> receive ring of its queue -> receive
//!                     --(ARP, ICMP)--> a copy in a ring buffer -> receive
//!                     --(all but the first)--> the kernel, as ever
//! ```
//!
//! The program (bpf/redirect.bpf.c) is held by a file descriptor of ours: however the process ends, the interface is as it
//! was. Where a driver can, the card itself reads and writes our memory (zero-copy); else the kernel copies. Every receive
//! queue has a socket, as a card spreads what arrives over all of them; the first one sends.

mod open;
mod program;
mod queue;
mod rings;
mod socket;
mod umem;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sonde_wire::MacAddr;

use crate::batch::{FrameBatch, RxBatch, RxMeta};
use crate::bpf::attach::unoccupied;
use crate::expected::Expected;
use crate::ifreq::Interrogator;
use crate::netlink::receive_queues;
use crate::offload::TagsInFrames;
use crate::packet::{Card, PacketLink, PacketOptions};
use crate::tag::{ETHERNET_HEADER, without_tag};
use crate::watch::Watch;
use crate::{FrameLink, LinkCounters};
use open::{QUEUES_MAX, open_queues, wakers};
use program::Redirect;
use queue::{Queue, alive};

pub use open::{XskError, XskOptions};

/// A link through one Ethernet interface by AF_XDP.
///
/// It hands up only what a scan needs: frames of TCP and UDP to the scan's port, which the kernel then does not see,
/// and copies of ARP and ICMP; nothing before [`FrameLink::expect`] has said the port. It belongs to the network
/// namespace of the thread that opened it and may move to other threads. An interface that goes down is told as an
/// error; once it is up again the link goes on.
pub struct XskLink {
    /// First to go: no frame is redirected any more.
    redirect: Redirect,
    queues: Vec<Queue>,
    /// Queue that is emptied first next time, so that none starves.
    turn: usize,
    /// All that wakes a reader: the queues, the copies, the interface.
    wakers: OwnedFd,
    watch: Watch,
    /// Receives nothing: it keeps the interface promiscuous.
    _promiscuous: Option<PacketLink>,
    interface: String,
    mac: MacAddr,
    /// Restores what the card did with tags.
    _tags: TagsInFrames,
    mtu: usize,
    counters: LinkCounters,
    scratch: Box<[u8; RxBatch::SNAP]>,
}

impl XskLink {
    /// Opens `interface`: a socket for every receive queue, then the program.
    ///
    /// # Errors
    /// See [`XskError`]; nothing is left behind.
    pub fn open(interface: &str, options: XskOptions) -> Result<Self, XskError> {
        let at = |attempted| move |source| XskError::of(interface, attempted, source);
        let Card { index, mac } = Card::of(interface)?;
        // Said first: whoever runs a program there may have bound the queues, too, and "busy" names nobody.
        unoccupied(index, interface)?;
        let mtu = Interrogator::new()
            .and_then(|ask| ask.mtu(interface))
            .map_err(at("reading its MTU"))?;
        let count = receive_queues(index)
            .map_err(at("counting its queues"))?
            .clamp(1, QUEUES_MAX);
        // Before anything that an ordinary user may do, so that he is told what he may not.
        let mut redirect = Redirect::load(interface, count)?;
        let promiscuous = match options.promiscuous {
            true => {
                let options = PacketOptions {
                    promiscuous: true,
                    ..PacketOptions::default()
                };
                Some(PacketLink::open_deaf(interface, options)?)
            }
            false => None,
        };
        let watch = Watch::new(interface).map_err(at("asking for news of it"))?;
        let tags = TagsInFrames::keep(interface).map_err(|source| XskError::TagsStripped {
            interface: interface.to_owned(),
            source,
        })?;
        let queues =
            open_queues(index, count, options.ring_frames).map_err(at("binding to its queues"))?;
        redirect.attach(index, interface, &queues, options.native)?;
        let wakers = wakers(&queues, &redirect, &watch).map_err(at("preparing to wait"))?;
        Ok(Self {
            redirect,
            queues,
            turn: 0,
            wakers,
            watch,
            _promiscuous: promiscuous,
            interface: interface.to_owned(),
            mac,
            _tags: tags,
            mtu: mtu as usize,
            counters: LinkCounters::default(),
            scratch: Box::new([0; RxBatch::SNAP]),
        })
    }

    /// Name of the interface when it was opened.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Address of the interface when it was opened.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// How it works here, for people: who runs the program, and who copies.
    pub fn describe(&self) -> String {
        let program = if self.redirect.is_native() {
            "program in the driver"
        } else {
            "program before the stack"
        };
        let queues = self.queues.len();
        let zero_copy = self.queues.iter().filter(|queue| queue.is_zero_copy());
        match zero_copy.count() {
            0 => format!("{program}, copying, queues: {queues}"),
            all if all == queues => format!("{program}, zero-copy, queues: {queues}"),
            some => format!("{program}, zero-copy on {some} of {queues} queues"),
        }
    }

    /// Says the scan's source port: what comes for it over TCP or UDP is handed up here and nowhere else. Until then
    /// everything is the kernel's.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn set_source_port(&mut self, port: u16) -> io::Result<()> {
        self.redirect.set_port(port)
    }

    /// Moves what has arrived into `batch`, as far as there is room.
    fn drain(&mut self, batch: &mut RxBatch) {
        let Self {
            redirect,
            queues,
            counters,
            scratch,
            ..
        } = self;
        let mut keep = |batch: &mut RxBatch, frame: &[u8], wire_length: u32| {
            match without_tag(frame, None, &mut scratch[..]) {
                Some((bytes, vlan, grown)) => {
                    let meta = RxMeta {
                        // Whoever leaves checksums to a card that is not there does not tell programs so.
                        checksum_ready: false,
                        ..RxMeta::new(vlan, wire_length.saturating_add_signed(grown))
                    };
                    batch.push(bytes, meta);
                    counters.rx_frames += 1;
                }
                None => counters.rx_malformed += 1,
            }
            !batch.is_full()
        };
        // Few, and others wait for their answers: neighbors first.
        if !batch.is_full() {
            redirect.drain(|frame, length| keep(batch, frame, length));
        }
        let count = queues.len();
        for step in 0..count {
            if batch.is_full() {
                break;
            }
            let queue = &mut queues[(self.turn + step) % count];
            queue.drain(|frame| keep(batch, frame, frame.len() as u32));
        }
        self.turn = (self.turn + 1) % count;
    }
}

/// Readable when frames have arrived or the interface is gone: one thread can wait for many links.
impl AsFd for XskLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wakers.as_fd()
    }
}

impl FrameLink for XskLink {
    /// Takes the port; judging is left to the caller.
    fn expect(&mut self, expected: &Expected<'_>) -> io::Result<bool> {
        self.set_source_port(expected.port)?;
        Ok(false)
    }

    fn transmit(&mut self, batch: &FrameBatch, from: usize) -> io::Result<usize> {
        let mtu = self.mtu;
        let fits =
            |frame: &[u8]| frame.len() >= ETHERNET_HEADER && frame.len() <= longest(frame, mtu);
        let (dealt_with, done) = self.queues[0].transmit(batch, from, fits)?;
        // Dropped ones may have been taken by an earlier call.
        self.counters.tx_frames =
            (self.counters.tx_frames + done.taken).saturating_sub(done.dropped);
        self.counters.tx_refused += done.refused + done.dropped;
        Ok(dealt_with)
    }

    fn receive(&mut self, batch: &mut RxBatch, wait: Duration) -> io::Result<()> {
        batch.clear();
        self.drain(batch);
        let begun = Instant::now();
        let mut left = wait;
        // Asked even when there is no time to wait: this is how we learn that the interface is gone.
        while batch.is_empty() {
            let timeout = Timespec::try_from(left).unwrap_or(Timespec {
                tv_sec: i64::MAX,
                tv_nsec: 0,
            });
            match poll(
                &mut [PollFd::new(&self.wakers, PollFlags::IN)],
                Some(&timeout),
            ) {
                Ok(0) | Err(rustix::io::Errno::INTR) => break,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            self.drain(batch);
            if batch.is_empty() {
                // Then it was news of an interface, maybe of ours. Sockets of one that is gone stay readable, so that
                // is told every time and nobody spins.
                self.watch.look()?;
                alive(self.queues[0].socket())?;
            }
            left = wait.saturating_sub(begun.elapsed());
        }
        Ok(())
    }

    fn counters(&mut self) -> LinkCounters {
        let statistics = self.queues.iter().map(|queue| queue.socket().statistics());
        let dropped = statistics
            .flatten()
            .map(|counted| counted.rx_dropped + counted.rx_ring_full)
            .sum::<u64>();
        LinkCounters {
            rx_dropped: dropped + self.redirect.lost(),
            ..self.counters
        }
    }
}

/// As many bytes as a frame like this one may have: the MTU counts neither header nor tag.
fn longest(frame: &[u8], mtu: usize) -> usize {
    let tagged = matches!(frame.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
    (mtu + ETHERNET_HEADER + if tagged { 4 } else { 0 }).min(umem::CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::OpenError;

    #[test]
    fn the_mtu_counts_neither_header_nor_tag() {
        let mut frame = [0; 60];
        assert_eq!(longest(&frame, 1500), 1514);
        frame[12..14].copy_from_slice(&[0x81, 0]);
        assert_eq!(longest(&frame, 1500), 1518);
        assert_eq!(longest(&frame, 9000), umem::CHUNK);
        assert_eq!(longest(&frame[..12], 1500), 1514);
    }

    #[test]
    fn no_such_interface_is_told_by_name() {
        let refused = XskLink::open("none-of-these", XskOptions::default());
        assert!(matches!(
            refused,
            Err(XskError::Interface(OpenError::NoSuchInterface(name))) if name == "none-of-these"
        ));
    }
}
