//! How an AF_XDP link is opened: its options, its queues, what wakes its reader, and what can go wrong.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll;

use super::program::Redirect;
use super::queue::Queue;
use crate::bpf::attach::AttachError;
use crate::offload::OffloadError;
use crate::packet::OpenError;
use crate::watch::Watch;

/// How an [`XskLink`](crate::XskLink) is opened.
#[derive(Clone, Copy, Debug)]
pub struct XskOptions {
    /// Receive what is addressed to others, too; see [`PacketOptions`](crate::PacketOptions).
    pub promiscuous: bool,
    /// Frames that the receive rings hold together while we are busy, 2 KiB each. Every queue gets the same share, rounded
    /// up to a power of two, at least 64.
    pub ring_frames: u32,
    /// Try the program in the driver first; false: only before the kernel's stack, which every driver has.
    pub native: bool,
}

impl Default for XskOptions {
    fn default() -> Self {
        // As many as the packet link's: 16 MiB.
        Self {
            promiscuous: false,
            ring_frames: 8192,
            native: true,
        }
    }
}

/// Frames on their way out at most.
const TX_FRAMES: u32 = 1024;
/// Frames in a queue's receive ring: what a driver handles in one go, and 2 GiB of memory.
const QUEUE_FRAMES_MIN: u32 = 64;
const QUEUE_FRAMES_MAX: u32 = 1 << 20;
/// A queue that was bound a moment ago is busy until the kernel has cleaned up, which it does later.
const BUSY_PATIENCE: Duration = Duration::from_secs(2);
/// Queues given a socket at most.
pub(super) const QUEUES_MAX: u32 = 256;

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
    pub(super) fn of(interface: &str, attempted: &'static str, source: io::Error) -> Self {
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

/// A socket for each of at most `count` queues, with `ring_frames` shared out among them; the first one sends, too.
pub(super) fn open_queues(index: u32, count: u32, ring_frames: u32) -> io::Result<Vec<Queue>> {
    let share = ring_frames.div_ceil(count);
    let frames = share
        .clamp(QUEUE_FRAMES_MIN, QUEUE_FRAMES_MAX)
        .next_power_of_two();
    let mut queues = Vec::new();
    for queue in 0..count {
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

pub(super) fn wakers(queues: &[Queue], redirect: &Redirect, watch: &Watch) -> io::Result<OwnedFd> {
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
