//! Frames through an AF_PACKET socket (packet(7)): out by `sendmmsg`, in through a ring shared with the kernel.
//!
//! The kernel's own traffic is untouched: it sees every frame it would see without us, and we see none of
//! those that leave this interface, neither ours nor the kernel's. Linux 4.20 or later.

mod ring;
mod send;
mod socket;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Protocol, Socket, Type};
use sonde_wire::MacAddr;

use crate::batch::{FrameBatch, RxBatch, RxMeta};
use crate::ifreq::Interrogator;
use crate::tag::without_tag;
use crate::{FrameLink, LinkCounters};
use ring::{RingFrame, RxRing};
use send::Refusal;

/// How a [`PacketLink`] is opened.
#[derive(Clone, Copy, Debug)]
pub struct PacketOptions {
    /// Receive what is addressed to others, too: a switch needs it, and some cards filter by VLAN until
    /// asked. The kernel takes it back when the link is closed, however the process ends.
    pub promiscuous: bool,
    /// Frames the receive ring holds while we are busy; about 2.2 KB each.
    pub ring_frames: u32,
    /// Go past the kernel's queueing discipline: faster, and our own pacer decides anyway.
    pub qdisc_bypass: bool,
}

impl Default for PacketOptions {
    fn default() -> Self {
        // 8192 frames: 30 ms of answers at the rate a busy segment gives them, 18 MB.
        Self {
            promiscuous: false,
            ring_frames: 8192,
            qdisc_bypass: true,
        }
    }
}

/// Why there is no link on an interface.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No such interface in this network namespace.
    #[error("no interface `{0}` here; `ip link` shows those there are")]
    NoSuchInterface(String),
    /// The interface is administratively down.
    #[error("interface `{0}` is down; `ip link set {0} up` brings it up")]
    Down(String),
    /// Its frames have no Ethernet header (a tunnel, say).
    #[error(
        "interface `{0}` does not carry Ethernet frames; use the `connect` link to scan through it"
    )]
    NotEthernet(String),
    /// Raw packets need a capability that the process does not have.
    #[error(
        "no permission for raw packets on `{0}`; run as root, give the program CAP_NET_RAW, or use the `connect` link"
    )]
    NotPermitted(String),
    /// The kernel refused something else.
    #[error(
        "can't open `{interface}` for raw packets: {attempted} failed; try a smaller receive ring or the `connect` link"
    )]
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

/// An Ethernet interface that is up.
pub(crate) struct Card {
    /// The kernel's number of it.
    pub(crate) index: u32,
    pub(crate) mac: MacAddr,
}

impl Card {
    /// Looks `interface` up.
    pub(crate) fn of(interface: &str) -> Result<Self, OpenError> {
        let at = |attempted| move |source| failure(interface, attempted, source);
        let ask = Interrogator::new().map_err(at("making a socket"))?;
        let index = ask.index(interface).map_err(at("looking it up"))?;
        let address = ask
            .hardware_address(interface)
            .map_err(at("reading its address"))?;
        if !address.is_ethernet() {
            return Err(OpenError::NotEthernet(interface.to_owned()));
        }
        if !ask.is_up(interface).map_err(at("reading its flags"))? {
            return Err(OpenError::Down(interface.to_owned()));
        }
        let mac = address.mac;
        Ok(Self { index, mac })
    }
}

/// A link through one Ethernet interface.
///
/// It belongs to the network namespace of the thread that opened it and may move to other threads. An interface
/// that goes down is told as an error; once it is up again the link goes on.
pub struct PacketLink {
    ring: RxRing,
    interface: String,
    index: u32,
    mac: MacAddr,
    counters: LinkCounters,
    /// Where a frame is put together whose tag lies in its way.
    scratch: Box<[u8; RxBatch::SNAP]>,
}

impl PacketLink {
    /// Opens `interface` for raw frames.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing is left behind.
    pub fn open(interface: &str, options: PacketOptions) -> Result<Self, OpenError> {
        Self::open_for(interface, options, libc::ETH_P_ALL as u16)
    }

    /// Opens `interface` to keep it promiscuous, or to know when it goes down; nothing is received.
    ///
    /// # Errors
    /// As [`PacketLink::open`].
    pub(crate) fn open_deaf(interface: &str, options: PacketOptions) -> Result<Self, OpenError> {
        // One block is the least that a ring can have.
        let options = PacketOptions {
            ring_frames: 1,
            ..options
        };
        Self::open_for(interface, options, 0)
    }

    fn open_for(interface: &str, options: PacketOptions, protocol: u16) -> Result<Self, OpenError> {
        let card = Card::of(interface)?;
        let at = |attempted| move |source| failure(interface, attempted, source);
        // Protocol 0: nothing is received before everything is set and the socket is bound.
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0)))
            .map_err(at("making a packet socket"))?;
        socket::set_option(&socket, libc::PACKET_IGNORE_OUTGOING, &1_i32)
            .map_err(at("leaving out outgoing frames"))?;
        if options.qdisc_bypass {
            socket::set_option(&socket, libc::PACKET_QDISC_BYPASS, &1_i32)
                .map_err(at("going past the queueing discipline"))?;
        }
        // Some 1,300 small frames on their way into a card's queue.
        socket::enlarge_send_buffer(&socket, 1024 * 1024);
        let ring = RxRing::new(socket, options.ring_frames).map_err(at("making a receive ring"))?;
        socket::bind(ring.socket(), card.index, protocol).map_err(at("binding to it"))?;
        if options.promiscuous {
            socket::join_promiscuous(ring.socket(), card.index)
                .map_err(at("asking for all frames"))?;
        }
        Ok(Self {
            ring,
            interface: interface.to_owned(),
            index: card.index,
            mac: card.mac,
            counters: LinkCounters::default(),
            scratch: Box::new([0; RxBatch::SNAP]),
        })
    }

    /// Name of the interface when it was opened.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// The kernel's number of the interface.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Address of the interface when it was opened.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Moves what has arrived into `batch`, as far as there is room.
    fn drain(&mut self, batch: &mut RxBatch) {
        let Self {
            ring,
            counters,
            scratch,
            ..
        } = self;
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        while !batch.is_full() {
            let Some(kept) = ring.take(|frame| keep(batch, &frame, now, &mut scratch[..])) else {
                break;
            };
            if kept {
                counters.rx_frames += 1;
            } else {
                counters.rx_malformed += 1;
            }
        }
    }
}

/// Readable when frames have arrived: one thread can wait for many links.
impl AsFd for PacketLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.socket().as_fd()
    }
}

impl FrameLink for PacketLink {
    fn transmit(&mut self, batch: &FrameBatch, from: usize) -> io::Result<usize> {
        let mut next = from;
        while next < batch.len() {
            match send::send(self.ring.socket(), batch, next) {
                Ok(taken) => {
                    self.counters.tx_frames += taken as u64;
                    next += taken;
                }
                Err(error) => match Refusal::of(&error) {
                    Refusal::Full => break,
                    Refusal::Interrupted => {}
                    Refusal::Frame => {
                        self.counters.tx_refused += 1;
                        next += 1;
                    }
                    // What was sent before is told first; the next call will fail again.
                    Refusal::Interface if next > from => break,
                    Refusal::Interface => return Err(error),
                },
            }
        }
        Ok(next.saturating_sub(from))
    }

    fn receive(&mut self, batch: &mut RxBatch, wait: Duration) -> io::Result<()> {
        batch.clear();
        self.drain(batch);
        if !batch.is_empty() {
            return Ok(());
        }
        // Asked even when there is no time to wait: this is how we learn that the interface is gone.
        let wait = Timespec::try_from(wait).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        });
        let mut fds = [PollFd::new(self.ring.socket(), PollFlags::IN)];
        match poll(&mut fds, Some(&wait)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
            Ok(_) => {}
            Err(error) => return Err(error.into()),
        }
        if fds[0].revents().contains(PollFlags::ERR)
            && let Some(error) = self.ring.socket().take_error()?
        {
            return Err(error);
        }
        self.drain(batch);
        Ok(())
    }

    fn counters(&mut self) -> LinkCounters {
        // The kernel forgets its count when asked; a failure leaves it for the next time.
        if let Ok(drops) = socket::take_drops(self.ring.socket()) {
            self.counters.rx_dropped += u64::from(drops.0);
        }
        self.counters
    }
}

/// Puts a frame of the ring into `batch`, its tag beside it; false if it is malformed.
fn keep(batch: &mut RxBatch, frame: &RingFrame<'_>, now: Duration, scratch: &mut [u8]) -> bool {
    let Some((bytes, vlan, grown)) = without_tag(frame.bytes, frame.tag, scratch) else {
        return false;
    };
    let meta = RxMeta {
        vlan,
        wire_length: frame.wire_length.saturating_add_signed(grown),
        checksum_ready: frame.checksum_ready,
        age: age_of(frame.received, now),
    };
    batch.push(bytes, meta)
}

/// Time from `received` to `now`, both of CLOCK_REALTIME; zero when the clock was set in between.
fn age_of(received: Duration, now: Duration) -> Duration {
    /// No frame waits longer in a ring that is emptied all the time; a step of the clock may look like it.
    const AGE_MAX: Duration = Duration::from_secs(10);
    match now.checked_sub(received) {
        Some(age) if age <= AGE_MAX => age,
        _ => Duration::ZERO,
    }
}

fn failure(interface: &str, attempted: &'static str, source: io::Error) -> OpenError {
    let interface = interface.to_owned();
    match source.raw_os_error() {
        Some(libc::ENODEV | libc::ENXIO) => OpenError::NoSuchInterface(interface),
        Some(libc::EPERM | libc::EACCES) => OpenError::NotPermitted(interface),
        Some(libc::ENETDOWN) => OpenError::Down(interface),
        _ => OpenError::Kernel {
            interface,
            attempted,
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_frame_survives_a_clock_that_jumps() {
        let at = Duration::from_millis;
        assert_eq!(age_of(at(1000), at(1003)), at(3));
        assert_eq!(age_of(at(1000), at(999)), Duration::ZERO);
        assert_eq!(age_of(at(1000), at(3_600_000)), Duration::ZERO);
    }

    #[test]
    fn no_such_interface_is_told_by_name() {
        let refused = PacketLink::open("none-of-these", PacketOptions::default());
        assert!(
            matches!(refused, Err(OpenError::NoSuchInterface(name)) if name == "none-of-these")
        );
    }
}
