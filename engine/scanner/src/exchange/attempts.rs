//! Attempts by the kernel's own sockets: it builds, routes and judges, so probes go in and replies come out.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sonde_core::judge::{Answer, Reply};
use sonde_core::observation::Proto;
use sonde_core::payload;
use sonde_core::probe::{Probe, ProbeKind, Transmit};
use sonde_core::sweep::Sweep;
use sonde_link::LinkCounters;
use sonde_link::connect::{ConnectLink, ConnectOutcome, ConnectResult, Unreachable};

use super::{Exchange, Next};
use crate::clock::Clock;

/// Probes taken from the sweep at once.
const BATCH: usize = 256;
/// Token of a TCP attempt; the address says the rest.
const TCP: u64 = 0;
/// Token of a UDP attempt.
const UDP: u64 = 1;

/// An [`Exchange`] over the `connect` link.
pub(crate) struct AttemptExchange {
    link: ConnectLink,
    wanted: Vec<Transmit>,
    /// How many of `wanted` the link has taken.
    taken: usize,
    outcomes: Vec<ConnectOutcome>,
    none: Vec<u8>,
}

impl AttemptExchange {
    /// An exchange over `link`.
    pub(crate) fn new(link: ConnectLink) -> Self {
        Self {
            link,
            wanted: Vec::with_capacity(BATCH),
            taken: 0,
            outcomes: Vec::with_capacity(BATCH),
            none: Vec::new(),
        }
    }

    /// Begins an attempt. False when the link is full.
    fn submit(&mut self, probe: &Probe) -> bool {
        match probe.kind {
            ProbeKind::TcpSyn { port } => self.link.submit(TCP, SocketAddr::new(probe.dst, port)),
            ProbeKind::Udp { port } => {
                let bytes = payload::at(payload::index(port)).bytes;
                self.link
                    .submit_udp(UDP, SocketAddr::new(probe.dst, port), bytes)
            }
            // The kernel asks by ARP and NDP itself, resets what it does not want, and lends no echo.
            ProbeKind::Arp | ProbeKind::Ndp | ProbeKind::Echo | ProbeKind::TcpRst { .. } => true,
        }
    }
}

impl Exchange for AttemptExchange {
    fn transmit(&mut self, clock: &Clock, sweep: &mut Sweep) -> io::Result<Next> {
        if self.taken == self.wanted.len() {
            self.wanted.clear();
            self.taken = 0;
            sweep.poll_transmit(clock.now(), BATCH, &mut self.wanted);
        }
        let from = self.taken;
        while let Some(transmit) = self.wanted.get(self.taken) {
            let taken = match *transmit {
                Transmit::Probe(probe) => self.submit(&probe),
                // Nobody asks us anything here.
                Transmit::Frame(_) => true,
            };
            if !taken {
                break;
            }
            self.taken += 1;
        }
        sweep.handle_transmitted(clock.now(), self.taken - from);
        Ok(match self.taken {
            taken if taken < self.wanted.len() => Next::Full,
            BATCH => Next::More,
            _ => Next::Idle,
        })
    }

    fn receive(&mut self, clock: &Clock, sweep: &mut Sweep, wait: Duration) -> io::Result<()> {
        self.outcomes.clear();
        self.link.poll(wait, &mut self.outcomes)?;
        let now = clock.now();
        for reply in self.outcomes.iter().filter_map(reply) {
            sweep.handle_reply(now, reply);
        }
        Ok(())
    }

    fn counters(&mut self) -> LinkCounters {
        // The kernel counts no frames per socket.
        LinkCounters::default()
    }

    fn captured(&mut self) -> &mut Vec<u8> {
        &mut self.none
    }
}

/// What an outcome says of the host; `None` for silence, and for what went wrong on this machine.
fn reply(outcome: &ConnectOutcome) -> Option<Reply> {
    let port = outcome.addr.port();
    let proto = if outcome.token == UDP {
        Proto::Udp
    } else {
        Proto::Tcp
    };
    let answer = match (&outcome.result, proto) {
        (ConnectResult::Open, Proto::Tcp) => Answer::TcpOpen(port),
        (ConnectResult::Open, Proto::Udp) => Answer::UdpReply(port),
        (ConnectResult::Refused, Proto::Tcp) => Answer::TcpClosed(port),
        (ConnectResult::Refused, Proto::Udp) => Answer::UdpClosed(port),
        // The kernel gave up asking for the host's MAC address: silence, as it is on every other link.
        (ConnectResult::Unreachable(Unreachable::Host), _) => return None,
        (ConnectResult::Unreachable(_), _) => Answer::Filtered(proto, port),
        (ConnectResult::TimedOut | ConnectResult::Failed(_), _) => return None,
    };
    Some(Reply {
        vlan: None,
        ip: outcome.addr.ip(),
        answer,
        mac: None,
        ttl: None,
        rtt: Some(outcome.rtt),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(token: u64, result: ConnectResult) -> ConnectOutcome {
        let addr = "192.0.2.9:80".parse().unwrap();
        ConnectOutcome {
            token,
            addr,
            result,
            rtt: Duration::from_millis(1),
            reply: Vec::new(),
        }
    }

    #[test]
    fn only_what_came_from_the_network_is_an_answer() {
        let table = [
            (TCP, ConnectResult::Open, Some(Answer::TcpOpen(80))),
            (TCP, ConnectResult::Refused, Some(Answer::TcpClosed(80))),
            (TCP, ConnectResult::TimedOut, None),
            (TCP, ConnectResult::Failed(99), None),
            (TCP, ConnectResult::Unreachable(Unreachable::Host), None),
            (
                TCP,
                ConnectResult::Unreachable(Unreachable::Prohibited),
                Some(Answer::Filtered(Proto::Tcp, 80)),
            ),
            (UDP, ConnectResult::Open, Some(Answer::UdpReply(80))),
            (UDP, ConnectResult::Refused, Some(Answer::UdpClosed(80))),
        ];
        for (token, result, expected) in table {
            let found = reply(&outcome(token, result)).map(|reply| reply.answer);
            assert_eq!(found, expected, "{token} {result:?}");
        }
    }
}
