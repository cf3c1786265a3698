//! The packet an ICMP error is about, as far as the error quotes it.
//!
//! RFC 792 promises the IP header and eight octets more, and that is all some routers send; RFC 4443 §3.1
//! promises what fits. What is quoted is our own probe as it reached the reporter: time to live and checksums
//! may have changed on the way, and nothing in it is proven by a checksum.

use std::net::IpAddr;

use etherparse::LaxIpSlice;

use crate::octets::{u16_at, u32_at};
use crate::{RxDrop, icmpv4, icmpv6, ipv4, ipv6, tcp, udp};

/// A quoted packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quoted<'a> {
    /// Source: us, if it is about a probe.
    pub src: IpAddr,
    /// Destination: who was asked.
    pub dst: IpAddr,
    /// What followed the IP header.
    pub transport: QuotedTransport<'a>,
}

/// The beginning of a quoted transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotedTransport<'a> {
    /// TCP.
    Tcp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
        /// Sequence number.
        seq: u32,
    },
    /// UDP.
    Udp {
        /// Source port.
        src_port: u16,
        /// Destination port.
        dst_port: u16,
        /// As much of the payload as is quoted.
        payload: &'a [u8],
    },
    /// An echo request.
    Echo {
        /// Identifier.
        id: u16,
        /// Sequence number.
        seq: u16,
    },
}

impl<'a> Quoted<'a> {
    /// Reads what follows the eight octets of an ICMP error's header.
    ///
    /// # Errors
    /// [`RxDrop::BadQuote`] when it is no IP packet, a later fragment of one, cut before the eighth octet of
    /// the transport header, or of a protocol we do not send.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RxDrop> {
        let (ip, _) = LaxIpSlice::from_slice(bytes).map_err(|_| RxDrop::BadQuote)?;
        let payload = ip.payload();
        let fragment_offset = match &ip {
            LaxIpSlice::Ipv4(packet) => packet.header().fragments_offset().value(),
            LaxIpSlice::Ipv6(_) => 0, // we send none, and a fragmented probe of ours can't be quoted
        };
        let head: &[u8; 8] = payload.payload.first_chunk().ok_or(RxDrop::BadQuote)?;
        if fragment_offset != 0 || (payload.fragmented && ip.ipv6().is_some()) {
            return Err(RxDrop::BadQuote);
        }
        let transport = match (payload.ip_number.0, head[0]) {
            (ipv4::TCP, _) => QuotedTransport::Tcp {
                src_port: u16_at(head, tcp::SRC_PORT),
                dst_port: u16_at(head, tcp::DST_PORT),
                seq: u32_at(head, tcp::SEQ),
            },
            (ipv4::UDP, _) => QuotedTransport::Udp {
                src_port: u16_at(head, udp::SRC_PORT),
                dst_port: u16_at(head, udp::DST_PORT),
                payload: &payload.payload[udp::HEADER..],
            },
            (ipv4::ICMP, icmpv4::ECHO_REQUEST) | (ipv6::ICMPV6, icmpv6::ECHO_REQUEST) => {
                QuotedTransport::Echo {
                    id: u16_at(head, icmpv4::ECHO_ID),
                    seq: u16_at(head, icmpv4::ECHO_SEQ),
                }
            }
            _ => return Err(RxDrop::BadQuote),
        };
        Ok(Self {
            src: ip.source_addr(),
            dst: ip.destination_addr(),
            transport,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::checksum::Sum;
    use crate::tcp::Segment;

    const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const THEM: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 9);

    fn syn() -> [u8; 40] {
        let mut packet = [0; 40];
        ipv4::Ipv4::new(US, THEM, ipv4::TCP, 20).emit(&mut packet);
        let segment = Segment {
            src_port: 40_000,
            dst_port: 80,
            seq: 0xdead_beef,
            ack: 0,
            flags: tcp::SYN,
            window: 0,
            options: &[],
        };
        segment.emit(&mut packet[20..], Sum::ZERO);
        packet
    }

    #[test]
    fn eight_octets_after_the_header_are_enough_and_seven_are_not() {
        let packet = syn();
        let transport = QuotedTransport::Tcp {
            src_port: 40_000,
            dst_port: 80,
            seq: 0xdead_beef,
        };
        let expected = Quoted {
            src: US.into(),
            dst: THEM.into(),
            transport,
        };
        assert_eq!(Quoted::parse(&packet[..28]), Ok(expected));
        assert_eq!(Quoted::parse(&packet), Ok(expected));
        for length in 0..28 {
            assert_eq!(Quoted::parse(&packet[..length]), Err(RxDrop::BadQuote));
        }
    }

    #[test]
    fn later_fragments_and_other_protocols_are_no_probe_of_ours() {
        let mut fragment = syn();
        fragment[7] = 1;
        assert_eq!(Quoted::parse(&fragment), Err(RxDrop::BadQuote));
        let mut gre = syn();
        gre[9] = 47;
        assert_eq!(Quoted::parse(&gre), Err(RxDrop::BadQuote));
    }

    #[test]
    fn echo_over_ipv6() {
        let ends = (Ipv6Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
        let mut packet = [0; 48];
        ipv6::Ipv6::new(ends.0, ends.1, ipv6::ICMPV6, 8).emit(&mut packet);
        icmpv6::emit_echo(&mut packet[40..], ends, icmpv6::ECHO_REQUEST, 7, 9, &[]);
        let read = Quoted::parse(&packet).unwrap();
        assert_eq!(read.transport, QuotedTransport::Echo { id: 7, seq: 9 });
        packet[40] = icmpv6::ECHO_REPLY;
        assert_eq!(Quoted::parse(&packet), Err(RxDrop::BadQuote));
    }
}
