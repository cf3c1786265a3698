//! The ring to the kernel (io_uring(7)): attempts in, their ends out.
//!
//! An attempt is two entries: what to wait for, linked to a timer that cancels it. Both end with a completion.
#![allow(unsafe_code)] // What a ring's entries point to is beyond the compiler's sight, as are two socket options.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use io_uring::{IoUring, opcode, squeue, types};
use socket2::{SockAddr, Socket};

/// What an attempt waits for.
pub(super) enum Operation {
    /// The handshake with this address.
    Connect(Box<SockAddr>),
    /// A datagram, or an error, at a connected socket.
    Readable,
}

impl Operation {
    pub(super) fn connect(addr: SocketAddr) -> Self {
        Self::Connect(Box::new(addr.into()))
    }
}

/// The end of one of an attempt's two entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Completion {
    /// The operation of `slot` ended: zero or more, or a negative error number.
    Operation { slot: u32, result: i32 },
    /// The timer of `slot` is gone, whether it ran out or not.
    Timer { slot: u32 },
}

/// Attempts by slot number, each with the memory that its entries point to.
pub(super) struct AttemptRing {
    ring: IoUring,
    /// By slot. Boxed, so that an address given to the kernel stays where it is when others come and go.
    operations: Vec<Option<Operation>>,
    timeout: Box<types::Timespec>,
}

/// Attempts handed to the kernel in one call. The kernel makes them one after the other, so the first waits
/// for all the others: more of them blur the times. Closed ports of loopback: 1 a call 0.20 M/s with a median
/// time of 3 µs, 8 a call 0.22 M/s and 22 µs, 64 a call 0.21 M/s and 178 µs.
const ATTEMPTS_PER_CALL: usize = 8;

impl AttemptRing {
    /// A ring for attempts in slots below `slots`, each cancelled after `timeout`.
    pub(super) fn new(slots: u32, timeout: Duration) -> io::Result<Self> {
        let entries = 2 * ATTEMPTS_PER_CALL as u32;
        let completions = slots.saturating_mul(2).max(entries);
        let build = |cooperative: bool| {
            let mut builder = IoUring::builder();
            builder.setup_cqsize(completions).setup_clamp();
            if cooperative {
                builder.setup_coop_taskrun();
            }
            builder.build(entries)
        };
        // Linux 5.19 on: completions do not interrupt us, we fetch them anyway.
        let ring = match build(true) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => build(false),
            built => built,
        }?;
        let can = ring.params();
        if !(can.is_feature_submit_stable() && can.is_feature_ext_arg() && can.is_feature_nodrop())
        {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let timeout = Box::new(types::Timespec::from(timeout));
        let operations = (0..slots).map(|_| None).collect();
        Ok(Self {
            ring,
            operations,
            timeout,
        })
    }

    /// True when one more attempt can be queued.
    pub(super) fn has_room(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.capacity() - queue.len() >= 2
    }

    /// Queues an attempt in `slot`, whose last one has ended; it begins with the next [`Self::enter`].
    ///
    /// # Panics
    /// Without [`Self::has_room`].
    pub(super) fn push(&mut self, slot: u32, socket: &Socket, operation: Operation) {
        let place = &mut self.operations[slot as usize];
        debug_assert!(
            place.is_none(),
            "a slot's last attempt has ended before the next begins"
        );
        let fd = types::Fd(socket.as_raw_fd());
        let entry = match place.insert(operation) {
            Operation::Connect(address) => {
                opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build()
            }
            Operation::Readable => opcode::PollAdd::new(fd, libc::POLLIN as u32).build(),
        };
        let entry = entry
            .user_data(u64::from(slot) << 1)
            .flags(squeue::Flags::IO_LINK);
        let timer = opcode::LinkTimeout::new(&raw const *self.timeout)
            .build()
            .user_data(u64::from(slot) << 1 | 1);
        // SAFETY: the entries point to the address in `operations[slot]` and to `timeout`, both boxed in `self`
        // and neither changed nor dropped before `forget` (address) or at all (timeout). The kernel reads them
        // no later than it takes the entries from the queue (IORING_FEAT_SUBMIT_STABLE, demanded in `new`),
        // which it does inside calls through `self` only, and writes nothing. On drop, `ring` may go before or
        // after them: entries still queued are never read again. The fd may be closed meanwhile without harm
        // to memory; the caller keeps it open so that the number is not another file's.
        let pushed = unsafe { self.ring.submission().push_multiple(&[entry, timer]) };
        pushed.expect("the caller asked whether there is room");
    }

    /// Gives back what the attempt in `slot` pointed to, after both its completions.
    pub(super) fn forget(&mut self, slot: u32) {
        self.operations[slot as usize] = None;
    }

    /// Hands queued attempts to the kernel and, if `wait` is given, waits so long for a completion.
    pub(super) fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let entered = match wait {
            None => self.ring.submit(),
            Some(wait) => {
                let until = types::Timespec::from(wait);
                self.ring
                    .submitter()
                    .submit_with_args(1, &types::SubmitArgs::new().timespec(&until))
            }
        };
        match entered {
            Ok(_) => Ok(()),
            // Time is up, a signal, or completions to be fetched first: all of it is for the caller to go on.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The next completion, if there is one.
    pub(super) fn completion(&mut self) -> Option<Completion> {
        let entry = self.ring.completion().next()?;
        let slot = (entry.user_data() >> 1) as u32;
        Some(match entry.user_data() & 1 {
            0 => Completion::Operation {
                slot,
                result: entry.result(),
            },
            _ => Completion::Timer { slot },
        })
    }
}

/// Round-trip time of the handshake as the kernel measured it; `None` if it did not.
pub(super) fn handshake_rtt(socket: &Socket) -> Option<Duration> {
    // SAFETY: `tcp_info` is a C struct of integers: all zero bytes are a value of it.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes, the size of `info`, and the length it wrote into
    // `length`; both live through the call. The fd is open: `socket` owns it.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut length,
        )
    };
    let measured = result == 0 && info.tcpi_rtt > 0;
    measured.then(|| Duration::from_micros(info.tcpi_rtt.into()))
}

/// Binds `socket` to an address but to no port: the port is chosen at connect(2), where the same one can serve
/// many peers; chosen here, each attempt would use one up.
pub(super) fn bind_without_port(socket: &Socket, source: SocketAddr) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the kernel reads the four bytes of `on`, which lives through the call. The fd is open: `socket`
    // owns it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind(&source.into())
}
