//! ARP for IPv4 over Ethernet (RFC 826).

use std::net::Ipv4Addr;

use crate::octets::{array_at, put, u16_at};
use crate::{MacAddr, RxDrop};

/// Length of a packet.
pub const LENGTH: usize = 28;
/// Offset of the sender's MAC address in a packet.
pub const SENDER_MAC: usize = 8;
/// Offset of the sender's IPv4 address in a packet.
pub const SENDER_IP: usize = 14;
/// Offset of the target's MAC address in a packet.
pub const TARGET_MAC: usize = 18;
/// Offset of the target's IPv4 address in a packet.
pub const TARGET_IP: usize = 24;

/// Hardware type Ethernet, protocol type IPv4, address lengths 6 and 4.
const TYPES: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// What an ARP packet does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Asks who has the target address.
    Request,
    /// Says that the sender has the sender address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// Request or reply.
    pub operation: Operation,
    /// Who sends.
    pub sender_mac: MacAddr,
    /// Its address; unspecified in a probe (RFC 5227).
    pub sender_ip: Ipv4Addr,
    /// Who is meant; zeros in a request.
    pub target_mac: MacAddr,
    /// The address asked for, or of whom the reply is for.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// The request for the MAC address of `target`.
    pub const fn request(sender_mac: MacAddr, sender_ip: Ipv4Addr, target: Ipv4Addr) -> Self {
        let target_mac = MacAddr([0; 6]);
        Self {
            operation: Operation::Request,
            sender_mac,
            sender_ip,
            target_mac,
            target_ip: target,
        }
    }

    /// Our reply to this request: `mac` has the address asked for.
    pub const fn reply(&self, mac: MacAddr) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// Writes the packet at the start of `payload` and returns its [`LENGTH`].
    ///
    /// # Panics
    /// If it does not fit.
    pub fn emit(&self, payload: &mut [u8]) -> usize {
        put(payload, 0, &TYPES);
        put(
            payload,
            6,
            &[
                0,
                if self.operation == Operation::Request {
                    1
                } else {
                    2
                },
            ],
        );
        put(payload, SENDER_MAC, &self.sender_mac.0);
        put(payload, SENDER_IP, &self.sender_ip.octets());
        put(payload, TARGET_MAC, &self.target_mac.0);
        put(payload, TARGET_IP, &self.target_ip.octets());
        LENGTH
    }

    /// Reads an Ethernet payload; padding after the packet is ignored.
    ///
    /// # Errors
    /// [`RxDrop::Truncated`]; [`RxDrop::BadArp`] for other hardware, other protocols, other operations.
    pub fn parse(payload: &[u8]) -> Result<Self, RxDrop> {
        let packet: &[u8; LENGTH] = payload.first_chunk().ok_or(RxDrop::Truncated)?;
        if packet[..6] != TYPES {
            return Err(RxDrop::BadArp);
        }
        let operation = match u16_at(packet, 6) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(RxDrop::BadArp),
        };
        Ok(Self {
            operation,
            sender_mac: MacAddr(array_at(packet, SENDER_MAC)),
            sender_ip: array_at::<4>(packet, SENDER_IP).into(),
            target_mac: MacAddr(array_at(packet, TARGET_MAC)),
            target_ip: array_at::<4>(packet, TARGET_IP).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
    const THEM: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);
    const REQUEST: [u8; LENGTH] = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 9,
    ];
    const REPLY: [u8; LENGTH] = [
        0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 9, 10, 0, 0, 9, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1,
    ];

    #[test]
    fn golden_bytes_both_ways() {
        let request = Arp::request(US, Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 9));
        for (packet, bytes) in [(request, REQUEST), (request.reply(THEM), REPLY)] {
            let mut buffer = [0xa5; LENGTH + 2];
            assert_eq!(packet.emit(&mut buffer), LENGTH);
            assert_eq!(buffer[..LENGTH], bytes);
            assert_eq!(buffer[LENGTH..], [0xa5; 2]);
            assert_eq!(Arp::parse(&buffer), Ok(packet));
        }
    }

    #[test]
    fn refuses_what_is_not_arp_for_ipv4() {
        assert_eq!(Arp::parse(&REQUEST[..27]), Err(RxDrop::Truncated));
        for (at, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16), (7, 3), (7, 0)] {
            let mut bytes = REQUEST;
            bytes[at] = value;
            assert_eq!(Arp::parse(&bytes), Err(RxDrop::BadArp));
        }
    }
}
