//! Scanning through the kernel's own sockets: no privileges, and the only way to scan loopback.
//!
//! The kernel builds, sends and judges here, so this link takes questions and gives outcomes instead of frames.
//! Many attempts are under way at once through io_uring (Linux 5.11 or later): connect linked with a timer.
//!
//! An open connection is reset at once (`SO_LINGER` 0), not closed in order. One packet then frees both ends.
//! An orderly close would leave the peer, often a small device with few connections to spare, waiting for its
//! service to notice, and our port unusable for a minute.
//!
//! The kernel repeats a SYN that nobody answers after one second: a timeout below that asks exactly once.

mod files;
mod ring;
mod verdict;

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};

use ring::{AttemptRing, Completion, Operation};
use verdict::Verdict;
pub use verdict::{ConnectResult, Unreachable};

/// Bytes kept of a UDP answer.
const REPLY_MAX: usize = 2048;
/// Times that an attempt is begun before a shortage of this machine is told.
const BEGINNINGS_MAX: u8 = 4;

/// How a [`ConnectLink`] is opened.
#[derive(Clone, Copy, Debug)]
pub struct ConnectOptions {
    /// Attempts under way at once; fewer if the process may not open so many files.
    pub in_flight_max: u32,
    /// How long an attempt waits for its answer.
    pub timeout: Duration,
    /// Address to ask from; without it the kernel chooses one.
    pub source: Option<IpAddr>,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            in_flight_max: 1024,
            timeout: Duration::from_millis(950),
            source: None,
        }
    }
}

/// Why there is no such link.
#[derive(Debug, thiserror::Error)]
pub enum ConnectOpenError {
    /// No io_uring: too old, or forbidden.
    #[error(
        "the kernel gives no io_uring (Linux 5.11 or later, allowed by kernel.io_uring_disabled and by the container's seccomp profile); allow it or use the `packet` link"
    )]
    Ring(#[source] io::Error),
    /// Not even one socket may be opened.
    #[error("the process may not open enough files; raise `ulimit -n`")]
    Files(#[source] io::Error),
    /// The source address is not one of this machine.
    #[error("can't send from {address}; `ip address` shows the addresses of this machine")]
    Source {
        /// The address asked for.
        address: IpAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The end of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectOutcome {
    /// As given to `submit`.
    pub token: u64,
    /// As given to `submit`.
    pub addr: SocketAddr,
    /// What was found out.
    pub result: ConnectResult,
    /// Time to the answer. Of an open TCP port as the kernel measured it; else from asking to hearing of
    /// it, which is a little long.
    pub rtt: Duration,
    /// First bytes of a UDP port's answer, at most 2048; empty otherwise.
    pub reply: Vec<u8>,
}

/// Many connection attempts at once.
///
/// Order of calls: `submit` until it says no, then `poll`; again. An attempt begins at the latest with
/// the next `poll`, and each ends in exactly one outcome. Dropping the link ends them all without.
pub struct ConnectLink {
    ring: AttemptRing,
    attempts: Box<[Attempt]>,
    free: Vec<u32>,
    /// Queued, not yet handed to the kernel.
    queued: Vec<u32>,
    /// To be begun again.
    again: Vec<u32>,
    /// Outcomes to be told with the next `poll`.
    done: Vec<ConnectOutcome>,
    source: Option<IpAddr>,
}

/// What a slot is used for.
struct Attempt {
    token: u64,
    addr: SocketAddr,
    socket: Option<Socket>,
    udp: bool,
    begun: Instant,
    beginnings: u8,
    /// Completions to come.
    pending: u8,
    /// Of the operation, with the time since `begun`.
    ended: Option<(i32, Duration)>,
}

impl ConnectLink {
    /// Opens the link.
    ///
    /// # Errors
    /// See [`ConnectOpenError`].
    pub fn open(options: ConnectOptions) -> Result<Self, ConnectOpenError> {
        if let Some(address) = options.source {
            UdpSocket::bind((address, 0))
                .map_err(|source| ConnectOpenError::Source { address, source })?;
        }
        let wanted = options.in_flight_max.clamp(1, 1 << 20);
        let room = files::room_for_sockets(wanted).map_err(ConnectOpenError::Files)?;
        if room == 0 {
            return Err(ConnectOpenError::Files(io::Error::from_raw_os_error(
                libc::EMFILE,
            )));
        }
        let ring = AttemptRing::new(room, options.timeout).map_err(ConnectOpenError::Ring)?;
        let now = Instant::now();
        let unused = || Attempt {
            token: 0,
            addr: SocketAddr::from(([0; 4], 0)),
            socket: None,
            udp: false,
            begun: now,
            beginnings: 0,
            pending: 0,
            ended: None,
        };
        Ok(Self {
            ring,
            attempts: (0..room).map(|_| unused()).collect(),
            free: (0..room).rev().collect(),
            queued: Vec::new(),
            again: Vec::new(),
            done: Vec::new(),
            source: options.source,
        })
    }

    /// Attempts that can be under way at once.
    pub fn capacity(&self) -> usize {
        self.attempts.len()
    }

    /// Attempts under way.
    pub fn in_flight(&self) -> usize {
        self.attempts.len() - self.free.len()
    }

    /// Asks for a TCP connection to `addr`. False when it can't be taken now: `poll` first.
    pub fn submit(&mut self, token: u64, addr: SocketAddr) -> bool {
        self.take_up(token, addr, false, |link| {
            Ok((link.tcp_socket(addr)?, Operation::connect(addr)))
        })
    }

    /// Sends `payload` to the UDP port `addr` and waits for what comes back from there. False when
    /// it can't be taken now: `poll` first.
    pub fn submit_udp(&mut self, token: u64, addr: SocketAddr, payload: &[u8]) -> bool {
        self.take_up(token, addr, true, |link| {
            let socket = link.udp_socket(addr)?;
            socket.send(payload)?;
            Ok((socket, Operation::Readable))
        })
    }

    /// Adds to `out` the outcomes there are, waiting up to `wait` for the first, even if none is due.
    ///
    /// # Errors
    /// When the ring to the kernel fails: no outcome is lost, but no more will come.
    pub fn poll(&mut self, wait: Duration, out: &mut Vec<ConnectOutcome>) -> io::Result<()> {
        let until = Instant::now().checked_add(wait);
        let had = out.len();
        loop {
            self.begin_again();
            out.append(&mut self.done);
            self.stamp_queued();
            let left = match until {
                _ if out.len() > had => None,
                Some(until) => Some(until.saturating_duration_since(Instant::now())),
                None => Some(wait),
            };
            self.ring.enter(left)?;
            self.reap();
            out.append(&mut self.done);
            if out.len() > had || left.is_none_or(|left| left.is_zero()) {
                return Ok(());
            }
        }
    }

    /// Takes a slot and begins an attempt in it.
    fn take_up(
        &mut self,
        token: u64,
        addr: SocketAddr,
        udp: bool,
        begin: impl FnOnce(&Self) -> io::Result<(Socket, Operation)>,
    ) -> bool {
        if self.done.len() >= self.attempts.len() || !self.make_room() {
            return false;
        }
        let Some(slot) = self.free.pop() else {
            return false;
        };
        let begun = begin(self);
        if let Err(error) = &begun
            && verdict::is_shortage(errno_of(error))
            && self.free.len() + 1 < self.attempts.len()
        {
            // Attempts under way will give back what is missing.
            self.free.push(slot);
            return false;
        }
        self.attempts[slot as usize] = Attempt {
            token,
            addr,
            socket: None,
            udp,
            begun: Instant::now(),
            beginnings: 1,
            pending: 0,
            ended: None,
        };
        match begun {
            Ok((socket, operation)) => self.queue(slot, socket, operation),
            Err(error) => self.fail(slot, errno_of(&error)),
        }
        true
    }

    /// Begins once more what this machine was short of something for.
    fn begin_again(&mut self) {
        for slot in std::mem::take(&mut self.again) {
            if !self.make_room() {
                self.again.push(slot);
                continue;
            }
            let attempt = &mut self.attempts[slot as usize];
            attempt.beginnings += 1;
            let (addr, kept) = (attempt.addr, attempt.socket.take());
            let begun = match kept {
                // UDP: the question is sent, only its answer is still to come.
                Some(socket) => Ok((socket, Operation::Readable)),
                None => self
                    .tcp_socket(addr)
                    .map(|socket| (socket, Operation::connect(addr))),
            };
            match begun {
                Ok((socket, operation)) => self.queue(slot, socket, operation),
                Err(error) => self.fail(slot, errno_of(&error)),
            }
        }
    }

    /// Sees to it that one more attempt can be queued; false while the kernel takes none.
    fn make_room(&mut self) -> bool {
        if !self.ring.has_room() {
            self.stamp_queued();
            // A failure shows again, and is told, at the next poll.
            let _ = self.ring.enter(None);
            // Fetched now, so that an answer is not taken for as late as the last question of many.
            self.reap();
        }
        self.ring.has_room()
    }

    fn queue(&mut self, slot: u32, socket: Socket, operation: Operation) {
        self.ring.push(slot, &socket, operation);
        let attempt = &mut self.attempts[slot as usize];
        attempt.socket = Some(socket);
        attempt.pending = 2;
        attempt.ended = None;
        self.queued.push(slot);
    }

    /// All that is queued begins now.
    fn stamp_queued(&mut self) {
        let now = Instant::now();
        for slot in self.queued.drain(..) {
            self.attempts[slot as usize].begun = now;
        }
    }

    /// Fetches completions; an attempt ends with its second.
    fn reap(&mut self) {
        let now = Instant::now();
        while let Some(completion) = self.ring.completion() {
            let slot = match completion {
                Completion::Timer { slot } => slot,
                Completion::Operation { slot, result } => {
                    let attempt = &mut self.attempts[slot as usize];
                    let took = now.saturating_duration_since(attempt.begun);
                    attempt.ended = Some((result, took));
                    slot
                }
            };
            let attempt = &mut self.attempts[slot as usize];
            attempt.pending -= 1;
            if attempt.pending == 0 {
                self.ring.forget(slot);
                self.finish(slot);
            }
        }
    }

    /// Judges an attempt that has ended, and tells it or plans to begin it again.
    fn finish(&mut self, slot: u32) {
        let attempt = &mut self.attempts[slot as usize];
        let (result, mut rtt) = attempt
            .ended
            .take()
            .expect("the operation's completion is one of the two");
        let mut reply = Vec::new();
        let verdict = match &attempt.socket {
            _ if result < 0 => verdict::of_error(-result, &attempt.addr),
            Some(socket) if attempt.udp => match receive(socket, &mut reply) {
                Ok(()) => Verdict::Final(ConnectResult::Open),
                Err(error) => verdict::of_error(errno_of(&error), &attempt.addr),
            },
            // The kernel chose for us the very port we asked for, and we answered ourselves.
            Some(socket) if is_own_port(socket, attempt.addr) => Verdict::Retry(libc::EADDRINUSE),
            Some(socket) => {
                rtt = ring::handshake_rtt(socket).unwrap_or(rtt);
                Verdict::Final(ConnectResult::Open)
            }
            None => Verdict::Final(ConnectResult::Failed(libc::EBADF)),
        };
        let result = match verdict {
            Verdict::Retry(_) if attempt.beginnings < BEGINNINGS_MAX => {
                if !attempt.udp {
                    attempt.socket = None;
                }
                self.again.push(slot);
                return;
            }
            Verdict::Retry(errno) => ConnectResult::Failed(errno),
            Verdict::Final(result) => result,
        };
        attempt.socket = None;
        self.done.push(ConnectOutcome {
            token: attempt.token,
            addr: attempt.addr,
            result,
            rtt,
            reply,
        });
        self.free.push(slot);
    }

    /// Ends an attempt that could not begin.
    fn fail(&mut self, slot: u32, errno: i32) {
        let attempt = &self.attempts[slot as usize];
        let result = match verdict::of_error(errno, &attempt.addr) {
            Verdict::Final(result) => result,
            Verdict::Retry(errno) => ConnectResult::Failed(errno),
        };
        self.done.push(ConnectOutcome {
            token: attempt.token,
            addr: attempt.addr,
            result,
            rtt: Duration::ZERO,
            reply: Vec::new(),
        });
        self.free.push(slot);
    }

    fn tcp_socket(&self, addr: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_linger(Some(Duration::ZERO))?;
        self.bind_to_source(&socket, addr)?;
        Ok(socket)
    }

    fn udp_socket(&self, addr: SocketAddr) -> io::Result<Socket> {
        let kind = Type::DGRAM.nonblocking();
        let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::UDP))?;
        self.bind_to_source(&socket, addr)?;
        socket.connect(&addr.into())?;
        Ok(socket)
    }

    /// An address of the other family than the source's is out of this link's reach.
    fn bind_to_source(&self, socket: &Socket, addr: SocketAddr) -> io::Result<()> {
        match self.source {
            Some(source) if source.is_ipv4() == addr.is_ipv4() => {
                ring::bind_without_port(socket, SocketAddr::new(source, 0))
            }
            Some(_) => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
            None => Ok(()),
        }
    }
}

fn receive(mut socket: &Socket, reply: &mut Vec<u8>) -> io::Result<()> {
    let mut buffer = [0; REPLY_MAX];
    let length = socket.read(&mut buffer)?;
    reply.extend_from_slice(&buffer[..length]);
    Ok(())
}

fn is_own_port(socket: &Socket, addr: SocketAddr) -> bool {
    let local = socket.local_addr().ok().and_then(|local| local.as_socket());
    local.is_some_and(|local| local.port() == addr.port() && local.ip() == addr.ip())
}

fn errno_of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EINVAL)
}
