//! Neighbor discovery (RFC 4861): solicitations and advertisements of neighbors and routers.
//!
//! Every message here is sent with hop limit 255 ([`HOP_LIMIT`]), which proves to the receiver that no
//! router has forwarded it; the parser drops what comes with less.

use std::net::Ipv6Addr;

use crate::octets::{array_at, put, u32_at};
use crate::{MacAddr, RxDrop, icmpv6};

/// The hop limit of every message.
pub const HOP_LIMIT: u8 = 255;
/// Length of a neighbor message with its link-layer address option, as we send it.
pub const NEIGHBOR_LENGTH: usize = 32;
/// Offset of the target address in a neighbor message.
pub const TARGET: usize = 8;
/// Offset of the MAC address in the option of a neighbor message as we send it.
pub const OPTION_MAC: usize = 26;
/// Length of a router solicitation with its link-layer address option, as we send it.
pub const ROUTER_SOLICITATION_LENGTH: usize = 16;
/// Where a router solicitation goes: all routers on the link.
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// All nodes on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;
const PREFIX: u8 = 3;

/// The solicited-node multicast address of `ip` (RFC 4291 §2.7.1): where a solicitation for it goes.
pub const fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | a as u16,
        (b as u16) << 8 | c as u16,
    )
}

/// The Ethernet group address of an IPv6 multicast address (RFC 2464 §7).
pub const fn multicast_mac(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// The link-local address a station makes from its MAC address (RFC 4291 appendix A).
pub const fn link_local(mac: MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let a = a ^ 2;
    Ipv6Addr::from_octets([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a, b, c, 0xff, 0xfe, d, e, f])
}

/// What a neighbor advertisement says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdvertisementFlags {
    /// The sender is a router.
    pub router: bool,
    /// It answers a solicitation.
    pub solicited: bool,
    /// It replaces what is cached.
    pub overrides: bool,
}

/// Writes the solicitation for `target` with our `mac` as its source, checksum included, and returns its
/// length, [`NEIGHBOR_LENGTH`]. `src` and `dst` are those of the IPv6 header; `dst` is
/// [`solicited_node`] of `target` unless it is known where the target is.
///
/// # Panics
/// If it does not fit.
pub fn emit_neighbor_solicitation(
    packet: &mut [u8],
    (src, dst): (Ipv6Addr, Ipv6Addr),
    target: Ipv6Addr,
    mac: MacAddr,
) -> usize {
    let head = [icmpv6::NEIGHBOR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    emit_neighbor(packet, (src, dst), head, target, SOURCE_MAC, mac)
}

/// Writes the advertisement that `mac` has `target`, checksum included, and returns its length,
/// [`NEIGHBOR_LENGTH`]. `src` and `dst` are those of the IPv6 header.
///
/// # Panics
/// If it does not fit.
pub fn emit_neighbor_advertisement(
    packet: &mut [u8],
    (src, dst): (Ipv6Addr, Ipv6Addr),
    flags: AdvertisementFlags,
    target: Ipv6Addr,
    mac: MacAddr,
) -> usize {
    let bits = u8::from(flags.router) << 7
        | u8::from(flags.solicited) << 6
        | u8::from(flags.overrides) << 5;
    let head = [icmpv6::NEIGHBOR_ADVERTISEMENT, 0, 0, 0, bits, 0, 0, 0];
    emit_neighbor(packet, (src, dst), head, target, TARGET_MAC, mac)
}

/// Writes a router solicitation from `src`, our link-local address, to [`ALL_ROUTERS`], checksum included,
/// and returns its length, [`ROUTER_SOLICITATION_LENGTH`].
///
/// # Panics
/// If it does not fit.
pub fn emit_router_solicitation(packet: &mut [u8], src: Ipv6Addr, mac: MacAddr) -> usize {
    let message = &mut packet[..ROUTER_SOLICITATION_LENGTH];
    put(
        message,
        0,
        &[
            icmpv6::ROUTER_SOLICITATION,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            SOURCE_MAC,
            1,
        ],
    );
    put(message, 10, &mac.0);
    icmpv6::seal(message, src, ALL_ROUTERS);
    message.len()
}

fn emit_neighbor(
    packet: &mut [u8],
    (src, dst): (Ipv6Addr, Ipv6Addr),
    head: [u8; 8],
    target: Ipv6Addr,
    option: u8,
    mac: MacAddr,
) -> usize {
    let message = &mut packet[..NEIGHBOR_LENGTH];
    put(message, 0, &head);
    put(message, TARGET, &target.octets());
    put(message, OPTION_MAC - 2, &[option, 1]);
    put(message, OPTION_MAC, &mac.0);
    icmpv6::seal(message, src, dst);
    message.len()
}

/// A neighbor solicitation, received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborSolicitation {
    /// Who asks; unspecified in duplicate address detection.
    pub src: Ipv6Addr,
    /// Where it went.
    pub dst: Ipv6Addr,
    /// The address asked for.
    pub target: Ipv6Addr,
    /// MAC address of who asks, if it says.
    pub source_mac: Option<MacAddr>,
}

/// A neighbor advertisement, received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighborAdvertisement {
    /// Who sent it.
    pub src: Ipv6Addr,
    /// Where it went.
    pub dst: Ipv6Addr,
    /// What it says of itself.
    pub flags: AdvertisementFlags,
    /// The address it is about.
    pub target: Ipv6Addr,
    /// MAC address of the target, if it says.
    pub target_mac: Option<MacAddr>,
}

/// A router advertisement, received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterAdvertisement<'a> {
    /// The router's link-local address.
    pub src: Ipv6Addr,
    /// Seconds for which it is a default router; 0: it is none.
    pub lifetime_s: u16,
    /// Its MAC address, if it says.
    pub source_mac: Option<MacAddr>,
    options: &'a [u8],
}

/// A prefix a router advertises (RFC 4861 §4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvertisedPrefix {
    /// Network address; bits after the prefix are as sent.
    pub prefix: Ipv6Addr,
    /// Length of the prefix in bits, at most 128.
    pub length: u8,
    /// Addresses of the prefix are on this link.
    pub on_link: bool,
    /// Stations may make themselves an address of the prefix.
    pub autonomous: bool,
    /// Seconds for which it holds; all ones: for ever.
    pub valid_s: u32,
}

impl<'a> RouterAdvertisement<'a> {
    /// The prefixes it advertises, in its order.
    pub fn prefixes(&self) -> impl Iterator<Item = AdvertisedPrefix> + 'a {
        Options(self.options)
            .map_while(Result::ok)
            .filter_map(|(kind, option)| {
                let option: &[u8; 32] = option.first_chunk()?;
                (kind == PREFIX && option[2] <= 128).then(|| AdvertisedPrefix {
                    prefix: array_at::<16>(option, 16).into(),
                    length: option[2],
                    on_link: option[3] & 0x80 != 0,
                    autonomous: option[3] & 0x40 != 0,
                    valid_s: u32_at(option, 4),
                })
            })
    }
}

/// Reads a neighbor solicitation (RFC 4861 §7.1.1).
pub(crate) fn parse_solicitation(
    message: &[u8],
    src: Ipv6Addr,
    dst: Ipv6Addr,
) -> Result<NeighborSolicitation, RxDrop> {
    let (target, options) = target(message)?;
    let source_mac = link_address(options, SOURCE_MAC)?;
    if src.is_unspecified() && source_mac.is_some() {
        return Err(RxDrop::BadNdisc);
    }
    Ok(NeighborSolicitation {
        src,
        dst,
        target,
        source_mac,
    })
}

/// Reads a neighbor advertisement (RFC 4861 §7.1.2).
pub(crate) fn parse_advertisement(
    message: &[u8],
    src: Ipv6Addr,
    dst: Ipv6Addr,
) -> Result<NeighborAdvertisement, RxDrop> {
    let (target, options) = target(message)?;
    let flags = AdvertisementFlags {
        router: message[4] & 0x80 != 0,
        solicited: message[4] & 0x40 != 0,
        overrides: message[4] & 0x20 != 0,
    };
    if dst.is_multicast() && flags.solicited {
        return Err(RxDrop::BadNdisc);
    }
    Ok(NeighborAdvertisement {
        src,
        dst,
        flags,
        target,
        target_mac: link_address(options, TARGET_MAC)?,
    })
}

/// Reads a router advertisement (RFC 4861 §6.1.2).
pub(crate) fn parse_router(
    message: &[u8],
    src: Ipv6Addr,
) -> Result<RouterAdvertisement<'_>, RxDrop> {
    let (head, options) = message.split_first_chunk::<16>().ok_or(RxDrop::Truncated)?;
    if !src.is_unicast_link_local() {
        return Err(RxDrop::BadNdisc);
    }
    let lifetime_s = u16::from_be_bytes([head[6], head[7]]);
    let source_mac = link_address(options, SOURCE_MAC)?;
    Ok(RouterAdvertisement {
        src,
        lifetime_s,
        source_mac,
        options,
    })
}

fn target(message: &[u8]) -> Result<(Ipv6Addr, &[u8]), RxDrop> {
    let (head, options) = message.split_first_chunk::<24>().ok_or(RxDrop::Truncated)?;
    let target = Ipv6Addr::from(array_at::<16>(head, TARGET));
    if target.is_multicast() {
        return Err(RxDrop::BadNdisc);
    }
    Ok((target, options))
}

/// The MAC address in the first option of `kind`; every option must be well formed.
fn link_address(options: &[u8], kind: u8) -> Result<Option<MacAddr>, RxDrop> {
    let mut found = None;
    for option in Options(options) {
        let (this, bytes) = option?;
        if this == kind && found.is_none() {
            found = Some(MacAddr(array_at(bytes, 2)));
        }
    }
    Ok(found)
}

/// Options as (type, whole option), each a multiple of eight octets long (RFC 4861 §4.6).
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u8, &'a [u8]), RxDrop>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let length = self.0.get(1).map_or(0, |&units| usize::from(units) * 8);
        if length == 0 || length > self.0.len() {
            self.0 = &[];
            return Some(Err(RxDrop::BadNdisc));
        }
        let (option, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(Ok((option[0], option)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Sum;

    const US: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn ip(text: &str) -> Ipv6Addr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_made_of_addresses() {
        assert_eq!(
            solicited_node(ip("2001:db8::12:3456")),
            ip("ff02::1:ff12:3456")
        );
        let mac = multicast_mac(ip("ff02::1:ff12:3456"));
        assert_eq!(mac, MacAddr([0x33, 0x33, 0xff, 0x12, 0x34, 0x56]));
        assert_eq!(link_local(US), ip("fe80::ff:fe00:1"));
    }

    #[test]
    fn solicitation_golden_bytes() {
        let (src, target) = (ip("2001:db8::1"), ip("2001:db8::9"));
        let dst = solicited_node(target);
        let mut packet = [0xa5; 34];
        let length = emit_neighbor_solicitation(&mut packet, (src, dst), target, US);
        assert_eq!(length, NEIGHBOR_LENGTH);
        let sum = Sum::ZERO.pseudo6(src, dst, 58, 32).bytes(&packet[..32]);
        assert_eq!(sum.finish(), 0);
        packet[2..4].fill(0);
        let golden = [
            135, 0, 0, 0, 0, 0, 0, 0, // type to reserved
            0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, // target
            1, 1, 2, 0, 0, 0, 0, 1, 0xa5, 0xa5,
        ];
        assert_eq!(packet, golden);
        let read = parse_solicitation(&packet[..32], src, dst).unwrap();
        assert_eq!(
            read,
            NeighborSolicitation {
                src,
                dst,
                target,
                source_mac: Some(US)
            }
        );
    }

    #[test]
    fn advertisement_both_ways() {
        let (src, dst) = (ip("2001:db8::9"), ip("2001:db8::1"));
        let flags = AdvertisementFlags {
            router: false,
            solicited: true,
            overrides: true,
        };
        let mut packet = [0xa5; 32];
        emit_neighbor_advertisement(&mut packet, (src, dst), flags, src, US);
        assert_eq!(packet[..2], [136, 0]);
        assert_eq!(packet[4..8], [0x60, 0, 0, 0]);
        assert_eq!(packet[24..], [2, 1, 2, 0, 0, 0, 0, 1]);
        let read = parse_advertisement(&packet, src, dst).unwrap();
        let expected = NeighborAdvertisement {
            src,
            dst,
            flags,
            target: src,
            target_mac: Some(US),
        };
        assert_eq!(read, expected);
        // RFC 4861 §7.1.2: what went to a group answers nobody.
        assert_eq!(
            parse_advertisement(&packet, src, ALL_NODES),
            Err(RxDrop::BadNdisc)
        );
    }

    #[test]
    fn router_messages() {
        let mut packet = [0xa5; 18];
        let length = emit_router_solicitation(&mut packet, link_local(US), US);
        assert_eq!(length, ROUTER_SOLICITATION_LENGTH);
        assert_eq!(packet[8..], [1, 1, 2, 0, 0, 0, 0, 1, 0xa5, 0xa5]);

        let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([1, 1, 2, 0, 0, 0, 0, 1]);
        message.extend([3, 4, 64, 0xc0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        message.extend(ip("2001:db8:5::").octets());
        let read = parse_router(&message, ip("fe80::1")).unwrap();
        assert_eq!((read.lifetime_s, read.source_mac), (1800, Some(US)));
        let prefix = ip("2001:db8:5::");
        let (on_link, autonomous, valid_s) = (true, true, 0x1_0000);
        let expected = AdvertisedPrefix {
            prefix,
            length: 64,
            on_link,
            autonomous,
            valid_s,
        };
        assert_eq!(read.prefixes().collect::<Vec<_>>(), [expected]);
        assert_eq!(
            parse_router(&message, ip("2001:db8::1")),
            Err(RxDrop::BadNdisc)
        );
    }

    #[test]
    fn malformed_options_are_refused() {
        let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
        message.extend(ip("2001:db8::9").octets());
        let end = (ip("2001:db8::1"), ip("2001:db8::2"));
        assert!(parse_solicitation(&message, end.0, end.1).is_ok());
        for option in [
            &[1, 0, 0, 0, 0, 0, 0, 0][..],
            &[1, 2, 0, 0, 0, 0, 0, 0],
            &[1],
        ] {
            let bytes = [&message, option].concat();
            assert_eq!(
                parse_solicitation(&bytes, end.0, end.1),
                Err(RxDrop::BadNdisc)
            );
        }
        message[8] = 0xff;
        assert_eq!(
            parse_solicitation(&message, end.0, end.1),
            Err(RxDrop::BadNdisc)
        );
    }
}
