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

mod program;
mod queue;
mod rings;
mod socket;
mod umem;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use sonde_wire::MacAddr;

use crate::batch::{FrameBatch, RxBatch, RxMeta};
use crate::bpf::attach::{AttachError, unoccupied};
use crate::expected::Expected;
use crate::ifreq::Interrogator;
use crate::netlink::receive_queues;
use crate::offload::{OffloadError, TagsInFrames};
use crate::packet::{Card, OpenError, PacketLink, PacketOptions};
use crate::tag::{ETHERNET_HEADER, without_tag};
use crate::watch::Watch;
use crate::{FrameLink, LinkCounters};
use program::Redirect;
use queue::{Queue, alive};

/// How an [`XskLink`] is opened.
#[derive(Clone, Copy, Debug)]
pub struct XskOptions {
    /// Receive what is addressed to others, too; see [`PacketOptions::promiscuous`].
    pub promiscuous: bool,
    /// Frames that each queue's receive ring holds while we are busy, rounded up to a power of two; 2 KiB each.
    pub ring_frames: u32,
    /// Try the program in the driver first; false: only before the kernel's stack, which every driver has.
    pub native: bool,
}

impl Default for XskOptions {
    fn default() -> Self {
        // 4096 frames: 8 MiB a queue.
        Self {
            promiscuous: false,
            ring_frames: 4096,
            native: true,
        }
    }
}

/// Frames on their way out at most.
const TX_FRAMES: u32 = 1024;
/// A queue that was bound a moment ago is busy until the kernel has cleaned up, which it does later.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
/// Queues given a socket at most.
const QUEUES_MAX: u32 = 256;

/// Why there is no AF_XDP link on an interface.
#[derive(Debug, thiserror::Error)]
pub enum XskError {
    /// The interface itself.
    #[error(transparent)]
    Interface(#[from] OpenError),
    /// The program is not on it.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Its card takes the 802.1Q tag out of frames, where no program sees it.
    #[error(
        "`{interface}` takes VLAN tags out of frames and can't be kept from it; use the `packet` link"
    )]
    TagsStripped {
        /// The interface named.
        interface: String,
        /// What the kernel said.
        #[source]
        source: OffloadError,
    },
    /// The kernel refused something else.
    #[error("can't open `{interface}` by AF_XDP: {attempted} failed; use the `packet` link")]
    Kernel {
        /// The interface named.
        interface: String,
        /// What was asked of the kernel.
        attempted: &'static str,
        /// Its answer.
        #[source]
        source: io::Error,
    },
}

impl XskError {
    fn of(interface: &str, attempted: &'static str, source: io::Error) -> Self {
        let interface = interface.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => AttachError::NotPermitted(interface).into(),
            _ => Self::Kernel {
                interface,
                attempted,
                source,
            },
        }
    }
}

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
        let tags = TagsInFrames::keep(interface).map_err(|source| XskError::TagsStripped {
            interface: interface.to_owned(),
            source,
        })?;
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
        let count = receive_queues(index).map_err(at("counting its queues"))?;
        let frames = options.ring_frames.clamp(1, 1 << 20).next_power_of_two();
        let queues = open_queues(index, count, frames).map_err(at("binding to its queues"))?;
        let redirect = Redirect::attach(index, interface, &queues, options.native)?;
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

/// A socket for each of at most `count` queues; the first one sends, too.
fn open_queues(index: u32, count: u32, frames: u32) -> io::Result<Vec<Queue>> {
    let mut queues = Vec::new();
    for queue in 0..count.clamp(1, QUEUES_MAX) {
        let tx_frames = if queue == 0 { TX_FRAMES } else { 0 };
        let begun = Instant::now();
        loop {
            match Queue::open(index, queue, frames, tx_frames) {
                Ok(opened) => {
                    queues.push(opened);
                    break;
                }
                // An interface may have fewer queues in use than it was made with.
                Err(error) if queue > 0 && error.raw_os_error() == Some(libc::EINVAL) => {
                    return Ok(queues);
                }
                Err(error)
                    if error.raw_os_error() == Some(libc::EBUSY)
                        && begun.elapsed() < BUSY_PATIENCE =>
                {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(queues)
}

fn wakers(queues: &[Queue], redirect: &Redirect, watch: &Watch) -> io::Result<OwnedFd> {
    let wakers = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let nothing = epoll::EventData::new_u64(0);
    for queue in queues {
        epoll::add(&wakers, queue.socket(), nothing, epoll::EventFlags::IN)?;
    }
    epoll::add(
        &wakers,
        redirect.copies_fd(),
        nothing,
        epoll::EventFlags::IN,
    )?;
    epoll::add(&wakers, watch, nothing, epoll::EventFlags::IN)?;
    Ok(wakers)
}

#[cfg(test)]
mod tests {
    use super::*;

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
