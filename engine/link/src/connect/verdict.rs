//! What the kernel's answer to a connection attempt says, and about whom: the peer, the way there, or us.

use std::net::SocketAddr;

/// What one attempt found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectResult {
    /// TCP: the handshake was completed. UDP: the port answered; its bytes are in
    /// [`ConnectOutcome::reply`](super::ConnectOutcome::reply).
    Open,
    /// TCP: reset. Either: ICMP "port unreachable".
    Refused,
    /// A router or the host itself said that it can't be reached, or the kernel has no route.
    Unreachable(Unreachable),
    /// Nothing came in time.
    TimedOut,
    /// This machine could not ask: no port, no memory, not allowed. Says nothing about the peer. The
    /// number is the kernel's (errno(3)); `std::io::Error::from_raw_os_error` has its text.
    Failed(i32),
}

/// What can't be reached, as ICMP has it (RFC 792, RFC 4443 §3.1) and the kernel retells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// No route to the network.
    Network,
    /// The host does not answer ARP or NDP, or a filter refuses for it (IPv4).
    Host,
    /// The host does not speak the protocol.
    Protocol,
    /// A filter refuses (IPv6).
    Prohibited,
}

/// What is to be done about an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Final(ConnectResult),
    /// This machine was short of something it may have again in a moment.
    Retry(i32),
}

/// Reads the error number (positive) that an attempt at `addr` ended with.
pub(super) fn of_error(errno: i32, addr: &SocketAddr) -> Verdict {
    use ConnectResult as R;
    Verdict::Final(match errno {
        // A reset while the handshake is under way comes as either.
        libc::ECONNREFUSED | libc::ECONNRESET => R::Refused,
        // Cancelled by its timer, or given up by the kernel before.
        libc::ECANCELED | libc::ETIMEDOUT => R::TimedOut,
        libc::ENETUNREACH => R::Unreachable(Unreachable::Network),
        libc::EHOSTUNREACH | libc::EHOSTDOWN => R::Unreachable(Unreachable::Host),
        libc::ENOPROTOOPT => R::Unreachable(Unreachable::Protocol),
        // From the network only with IPv6 (icmpv6_err_convert); with IPv4 it is always our own side.
        libc::EACCES if addr.is_ipv6() => R::Unreachable(Unreachable::Prohibited),
        errno if is_shortage(errno) => return Verdict::Retry(errno),
        errno => R::Failed(errno),
    })
}

/// True for what this machine lacks but may have again when other attempts have ended.
pub(super) fn is_shortage(errno: i32) -> bool {
    matches!(
        errno,
        libc::EADDRNOTAVAIL
            | libc::EADDRINUSE
            | libc::EAGAIN
            | libc::EINTR
            | libc::EMFILE
            | libc::ENFILE
            | libc::ENOBUFS
            | libc::ENOMEM
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No error number there is or may be says "refused" but the two that a peer causes.
    #[test]
    fn nothing_local_is_taken_for_an_answer() {
        for addr in ["192.0.2.1:80", "[2001:db8::1]:80"] {
            let addr: SocketAddr = addr.parse().unwrap();
            for errno in 0..=4095 {
                let refused = of_error(errno, &addr) == Verdict::Final(ConnectResult::Refused);
                let from_peer = [libc::ECONNREFUSED, libc::ECONNRESET].contains(&errno);
                assert_eq!(refused, from_peer, "{errno}");
                assert_ne!(
                    of_error(errno, &addr),
                    Verdict::Final(ConnectResult::Open),
                    "{errno}"
                );
            }
        }
    }

    #[test]
    fn shortages_are_retried_and_permissions_are_ours() {
        let addr: SocketAddr = "192.0.2.1:80".parse().unwrap();
        for errno in [libc::EMFILE, libc::EADDRNOTAVAIL, libc::EAGAIN] {
            assert_eq!(of_error(errno, &addr), Verdict::Retry(errno));
        }
        for errno in [libc::EPERM, libc::EACCES] {
            assert_eq!(
                of_error(errno, &addr),
                Verdict::Final(ConnectResult::Failed(errno))
            );
        }
        let addr: SocketAddr = "[2001:db8::1]:80".parse().unwrap();
        let prohibited = ConnectResult::Unreachable(Unreachable::Prohibited);
        assert_eq!(of_error(libc::EACCES, &addr), Verdict::Final(prohibited));
    }
}
