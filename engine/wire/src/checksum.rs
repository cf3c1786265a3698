//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A [`Sum`] adds 16-bit words into 64 bits and folds once at the end, as often as it takes: a single
//! fold is wrong about three times in 100,000. The same value serves as a template's base: summed once
//! over what never changes, it is `Copy`, and each frame adds what does.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A ones' complement sum in progress, of big-endian 16-bit words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds octets, taken as big-endian words; an odd last octet is padded with zero, so only the last
    /// slice of a message may have an odd length.
    #[must_use]
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // 32-bit words into 64 bits: 2^32 of them fit before anything is lost, and 2^16 = 1 in ones'
        // complement, so their halves need no parting before the fold.
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum = self.0;
        for word in words {
            sum += u64::from(u32::from_be_bytes(*word));
        }
        sum += match *rest {
            [] => 0,
            [a] => u64::from(u16::from_be_bytes([a, 0])),
            [a, b] => u64::from(u16::from_be_bytes([a, b])),
            [a, b, c, ..] => u64::from(u32::from_be_bytes([a, b, c, 0])),
        };
        Self(sum)
    }

    /// Adds one word.
    #[must_use]
    #[inline]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds two words, the upper half first.
    #[must_use]
    #[inline]
    pub const fn double(self, words: u32) -> Self {
        Self(self.0 + words as u64)
    }

    /// Adds an IPv6 address, or any sixteen octets on an even offset.
    #[must_use]
    #[inline]
    pub fn address6(self, ip: Ipv6Addr) -> Self {
        self.bytes(&ip.octets())
    }

    /// Adds the IPv4 pseudo header (RFC 9293 §3.1); `length` is of the transport header and payload.
    #[must_use]
    #[inline]
    pub fn pseudo4(self, src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, length: u16) -> Self {
        self.double(src.to_bits())
            .double(dst.to_bits())
            .word(protocol.into())
            .word(length)
    }

    /// Adds the IPv6 pseudo header (RFC 8200 §8.1); `length` is of the upper-layer header and payload.
    #[must_use]
    #[inline]
    pub fn pseudo6(self, src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, length: u32) -> Self {
        self.address6(src)
            .address6(dst)
            .word(protocol.into())
            .double(length)
    }

    /// The checksum to write: folded and complemented. Zero over a message that holds its own right
    /// checksum.
    #[must_use]
    #[inline]
    pub const fn finish(self) -> u16 {
        let mut sum = (self.0 >> 32) + (self.0 & 0xffff_ffff);
        sum = (sum >> 32) + (sum & 0xffff_ffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        sum = (sum >> 16) + (sum & 0xffff);
        !(sum as u16)
    }

    /// As [`Sum::finish`] for UDP, where zero would mean "no checksum" and is sent as all ones
    /// (RFC 768).
    #[must_use]
    #[inline]
    pub const fn finish_udp(self) -> u16 {
        match self.finish() {
            0 => 0xffff,
            sum => sum,
        }
    }
}

impl std::ops::Add for Sum {
    type Output = Self;

    /// The sum of both: of a message's parts, each of an even length but the last.
    #[inline]
    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

/// The checksum of a message in which the word `old` became `new` (RFC 1624 equation 3).
#[must_use]
#[inline]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::ZERO.word(!checksum).word(!old).word(new).finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 1071 §4.1 as written there: word by word, carry folded until none is left.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum: u32 = 0;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            while sum >> 16 != 0 {
                sum = (sum & 0xffff) + (sum >> 16);
            }
        }
        !(sum as u16)
    }

    #[test]
    fn the_example_of_rfc_1071() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::ZERO.bytes(&bytes).finish(), !0xddf2);
    }

    #[test]
    fn the_example_of_rfc_1624() {
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }

    #[test]
    fn carries_fold_to_the_end() {
        // The worst sums of every length up to a frame's: one fold too few shows here.
        let ones = [0xff; 2048];
        for length in 0..ones.len() {
            assert_eq!(
                Sum::ZERO.bytes(&ones[..length]).finish(),
                naive(&ones[..length])
            );
        }
        assert_eq!(Sum(u64::MAX).finish(), 0);
        assert_eq!(Sum(0xffff_ffff_0001_0000).finish(), !1);
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_sum(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Sum::ZERO.bytes(&bytes).finish(), naive(&bytes));
        }

        #[test]
        fn parts_sum_to_the_whole(
            head in proptest::collection::vec(any::<u8>(), 0..40),
            tail in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let head = &head[..head.len() & !1];
            let whole = [head, &tail].concat();
            prop_assert_eq!(Sum::ZERO.bytes(head).bytes(&tail).finish(), naive(&whole));
        }

        #[test]
        fn an_update_is_a_new_sum(
            mut words in proptest::collection::vec(any::<u16>(), 2..30), at in any::<usize>(), new: u16,
        ) {
            // A message of zeros alone has two right checksums; headers are never that.
            words[0] |= 1;
            let at = 1 + at % (words.len() - 1);
            let bytes = |w: &[u16]| w.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<_>>();
            let before = naive(&bytes(&words));
            let old = std::mem::replace(&mut words[at], new);
            prop_assert_eq!(update(before, old, new), naive(&bytes(&words)));
        }

        #[test]
        fn pseudo_headers_are_their_octets(src: [u8; 16], dst: [u8; 16], protocol: u8, length: u16) {
            let mut six = [src, dst].concat();
            six.extend([0, 0]);
            six.extend(length.to_be_bytes());
            six.extend([0, 0, 0, protocol]);
            let sum = Sum::ZERO.pseudo6(src.into(), dst.into(), protocol, length.into());
            prop_assert_eq!(sum.finish(), naive(&six));

            let four = |a: [u8; 16]| Ipv4Addr::new(a[0], a[1], a[2], a[3]);
            let mut bytes = [four(src).octets(), four(dst).octets()].concat();
            bytes.extend([0, protocol]);
            bytes.extend(length.to_be_bytes());
            let sum = Sum::ZERO.pseudo4(four(src), four(dst), protocol, length);
            prop_assert_eq!(sum.finish(), naive(&bytes));
        }
    }
}
