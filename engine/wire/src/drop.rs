//! Why a received frame is not believed: each reason a counter.

/// A reason to drop a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RxDrop {
    /// Shorter than its headers say.
    Truncated,
    /// Neither ARP nor IP.
    UnknownEtherType,
    /// A second 802.1Q or 802.1ad tag inside the first.
    NestedTag,
    /// ARP for other hardware or protocols, or neither request nor reply.
    BadArp,
    /// An IP header that contradicts itself, or malformed extension headers.
    BadIpHeader,
    /// A piece of a packet other than the first: it names no port.
    Fragment,
    /// IP, but none of TCP, UDP, ICMP.
    UnknownProtocol,
    /// A TCP header that contradicts itself.
    BadTcpHeader,
    /// A UDP length that contradicts the packet's.
    BadUdpLength,
    /// A wrong checksum: IPv4 header, TCP, UDP, ICMP or ICMPv6.
    BadChecksum,
    /// An ICMP message of no use to a scan.
    UnknownIcmp,
    /// An ICMP error that does not quote enough of what it is about.
    BadQuote,
    /// A neighbor discovery message that breaks the rules of RFC 4861.
    BadNdisc,
    /// Sent to an address that is not ours.
    NotForUs,
    /// No right cookie: forged, or the answer to another scan.
    BadCookie,
    /// From an address or port that was never asked.
    Unasked,
    /// The same answer once more.
    Duplicate,
}

impl RxDrop {
    /// Every reason, in order.
    pub const ALL: [Self; 17] = [
        Self::Truncated,
        Self::UnknownEtherType,
        Self::NestedTag,
        Self::BadArp,
        Self::BadIpHeader,
        Self::Fragment,
        Self::UnknownProtocol,
        Self::BadTcpHeader,
        Self::BadUdpLength,
        Self::BadChecksum,
        Self::UnknownIcmp,
        Self::BadQuote,
        Self::BadNdisc,
        Self::NotForUs,
        Self::BadCookie,
        Self::Unasked,
        Self::Duplicate,
    ];

    /// Position in [`RxDrop::ALL`], for arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in reports, in kebab case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Truncated => "truncated",
            Self::UnknownEtherType => "unknown-ethertype",
            Self::NestedTag => "nested-tag",
            Self::BadArp => "bad-arp",
            Self::BadIpHeader => "bad-ip-header",
            Self::Fragment => "fragment",
            Self::UnknownProtocol => "unknown-protocol",
            Self::BadTcpHeader => "bad-tcp-header",
            Self::BadUdpLength => "bad-udp-length",
            Self::BadChecksum => "bad-checksum",
            Self::UnknownIcmp => "unknown-icmp",
            Self::BadQuote => "bad-quote",
            Self::BadNdisc => "bad-ndisc",
            Self::NotForUs => "not-for-us",
            Self::BadCookie => "bad-cookie",
            Self::Unasked => "unasked",
            Self::Duplicate => "duplicate",
        }
    }

    /// True for the reasons of [`crate::frame::parse`]; the others are the judge's.
    pub const fn is_of_parser(self) -> bool {
        (self as usize) < Self::NotForUs as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn all_is_in_order_and_names_are_distinct() {
        let names: HashSet<_> = RxDrop::ALL.iter().map(|r| r.name()).collect();
        assert_eq!(names.len(), RxDrop::ALL.len());
        for (index, reason) in RxDrop::ALL.iter().enumerate() {
            assert_eq!(reason.index(), index);
            assert!(
                reason
                    .name()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-')
            );
        }
    }
}
