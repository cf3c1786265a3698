//! One queue of the interface: a socket, its rings and its memory.
#![allow(unsafe_code)] // the bytes of chunks, whose owner only this file knows.

use std::io;
use std::os::fd::AsFd;

use super::rings::{Consumer, Producer};
use super::socket::XskSocket;
use super::umem::{CHUNK, Umem};
use crate::batch::FrameBatch;

/// Calls without any frame taken after which a transmit ring counts as full.
const STALLS_MAX: u32 = 2;

/// A socket bound to a queue.
///
/// Drop order is field order: the rings' mappings and the socket go before the memory that frames lie in.
pub(super) struct Queue {
    received: Consumer<libc::xdp_desc>,
    fill: Producer<u64>,
    sending: Option<Sending>,
    socket: XskSocket,
    zero_copy: bool,
    umem: Umem,
}

/// What only a queue that sends has.
struct Sending {
    ring: Producer<libc::xdp_desc>,
    completed: Consumer<u64>,
    /// Chunks that are ours. As many as the ring has entries, less those on their way.
    free: Vec<u64>,
}

/// What became of the frames offered to [`Queue::transmit`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Transmitted {
    /// Put on the ring.
    pub(super) taken: u64,
    /// Of the wrong length, never put on the ring.
    pub(super) refused: u64,
    /// Put on the ring, then dropped by the driver.
    pub(super) dropped: u64,
}

impl Queue {
    /// Binds to `queue` of the interface numbered `index`, with a receive ring of `rx_frames` entries and, unless
    /// that is 0, a transmit ring of `tx_frames`; both powers of two.
    pub(super) fn open(index: u32, queue: u32, rx_frames: u32, tx_frames: u32) -> io::Result<Self> {
        let umem = Umem::new(rx_frames + tx_frames)?;
        let socket = XskSocket::new()?;
        socket.register(&umem.registration())?;
        // The kernel wants both rings of the memory, whatever is done with it.
        let completions = tx_frames.max(1);
        socket.make_ring(libc::XDP_UMEM_FILL_RING, rx_frames)?;
        socket.make_ring(libc::XDP_UMEM_COMPLETION_RING, completions)?;
        socket.make_ring(libc::XDP_RX_RING, rx_frames)?;
        if tx_frames > 0 {
            socket.make_ring(libc::XDP_TX_RING, tx_frames)?;
            // What is under way is counted against the socket's buffer, by some 800 bytes a frame.
            let bytes = tx_frames as usize * 1024;
            let _ = rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, bytes);
        }
        let at = socket.offsets()?;
        let fd = socket.as_fd();
        let fill_at = libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t;
        let mut fill = Producer::map(fd, fill_at, &at.fr, rx_frames)?;
        let received = Consumer::map(fd, libc::XDP_PGOFF_RX_RING, &at.rx, rx_frames)?;
        let sending = if tx_frames > 0 {
            let completed_at = libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t;
            let of_transmit = rx_frames..rx_frames + tx_frames;
            Some(Sending {
                ring: Producer::map(fd, libc::XDP_PGOFF_TX_RING, &at.tx, tx_frames)?,
                completed: Consumer::map(fd, completed_at, &at.cr, completions)?,
                free: of_transmit.map(address_of).collect(),
            })
        } else {
            None
        };
        for chunk in 0..rx_frames {
            fill.push(address_of(chunk));
        }
        fill.submit();
        socket.bind(index, queue)?;
        let zero_copy = socket.is_zero_copy()?;
        Ok(Self {
            received,
            fill,
            sending,
            socket,
            zero_copy,
            umem,
        })
    }

    pub(super) fn socket(&self) -> &XskSocket {
        &self.socket
    }

    /// True when the card reads and writes our memory itself.
    pub(super) fn is_zero_copy(&self) -> bool {
        self.zero_copy
    }

    /// Shows what has arrived, oldest first, to `look` until that returns false for one; that one is gone, too.
    pub(super) fn drain(&mut self, mut look: impl FnMut(&[u8]) -> bool) {
        let mut more = true;
        while more && let Some(frame) = self.received.pop() {
            // SAFETY: the kernel handed this frame over by the receive ring, so its chunk is ours until it is
            // back on the fill ring, which is the next statement; the slice does not outlive this one.
            if let Some(bytes) = unsafe { self.umem.bytes(frame.addr, frame.len) } {
                more = look(bytes);
            }
            // There is always room: the ring has an entry for each of the chunks that go round.
            self.fill.push(frame.addr - frame.addr % CHUNK as u64);
        }
        self.received.release();
        self.fill.submit();
        if self.fill.needs_wakeup() {
            // A driver that starved looks again; should this fail, so does the next poll or transmit, and says why.
            let _ = self.socket.kick_receive();
        }
    }

    /// Sends the frames of `batch` from `from` on, none longer than `length_max` less its tag says; returns how many
    /// were dealt with, and how.
    ///
    /// # Errors
    /// When the interface is down or gone and nothing was put on the ring.
    pub(super) fn transmit(
        &mut self,
        batch: &FrameBatch,
        from: usize,
        fits: impl Fn(&[u8]) -> bool,
    ) -> io::Result<(usize, Transmitted)> {
        let mut done = Transmitted::default();
        let mut next = from;
        let Some(sending) = &mut self.sending else {
            return Ok((0, done));
        };
        // What waits on the ring would leave once the interface is up again, after the caller has offered it a second
        // time: a dead interface is told before anything is put there.
        alive(&self.socket)?;
        loop {
            sending.reap();
            let begun = next;
            while next < batch.len() {
                let frame = batch.frame(next);
                if !fits(frame) {
                    done.refused += 1;
                } else if sending.push(&mut self.umem, frame) {
                    done.taken += 1;
                } else {
                    break;
                }
                next += 1;
            }
            sending.ring.submit();
            match sending.flush(&self.socket, self.zero_copy) {
                Ok(dropped) => done.dropped += dropped,
                // It is on the ring: told by the next call.
                Err(_) => break,
            }
            if next == batch.len() || next == begun {
                break;
            }
        }
        Ok((next - from, done))
    }
}

impl Sending {
    /// Takes back the chunks of frames that have left.
    fn reap(&mut self) {
        while let Some(address) = self.completed.pop() {
            self.free.push(address);
        }
        self.completed.release();
    }

    /// Puts a frame on the ring; false when there is no chunk for it.
    fn push(&mut self, umem: &mut Umem, frame: &[u8]) -> bool {
        let Some(address) = self.free.pop() else {
            return false;
        };
        // SAFETY: `free` holds only chunks that were never given to the kernel or came back by the completion ring,
        // each once; this one has just been taken out. The slice does not outlive this statement.
        let slot = unsafe { umem.chunk(address) };
        if let Some(slot) = slot.and_then(|chunk| chunk.get_mut(..frame.len())) {
            slot.copy_from_slice(frame);
        }
        // There are no more chunks than entries, so there is an entry.
        self.ring.push(libc::xdp_desc {
            addr: address,
            len: frame.len() as u32,
            options: 0,
        })
    }

    /// Has the kernel take what is on the ring, as far as it does now. Returns how many frames its driver dropped.
    fn flush(&mut self, socket: &XskSocket, zero_copy: bool) -> io::Result<u64> {
        let (mut dropped, mut stalls) = (0, 0);
        let mut pending = self.ring.pending();
        while pending > 0 && self.ring.needs_wakeup() && stalls < STALLS_MAX {
            match socket.kick_transmit().map_err(|error| error.raw_os_error()) {
                Ok(()) | Err(Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR)) => {}
                // When it copies, this says that the frame it took last went nowhere (NET_XMIT_DROP).
                Err(Some(libc::EBUSY)) => dropped += u64::from(!zero_copy),
                Err(code) => return Err(io::Error::from_raw_os_error(code.unwrap_or(libc::EIO))),
            }
            self.reap();
            let left = self.ring.pending();
            stalls = if left == pending { stalls + 1 } else { 0 };
            pending = left;
        }
        Ok(dropped)
    }
}

/// Tells whether a queue's interface is up.
pub(super) fn alive(socket: &XskSocket) -> io::Result<()> {
    match socket.kick_transmit() {
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV)
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

fn address_of(chunk: u32) -> u64 {
    u64::from(chunk) * CHUNK as u64
}
