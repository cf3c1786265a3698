//! What an answer must bring back to be believed.
//!
//! A cookie is 32 bits of SipHash-1-3 over what was asked, under a key drawn for this run, xor a secret word
//! of the VLAN it was asked in. A TCP sequence number or an echo's id and sequence number carry all of it.
//! Whoever has not seen the probe guesses one in 2^32.
//!
//! # The message
//!
//! What is hashed, byte by byte; a program elsewhere that judges answers must hash the same:
//!
//! | | bytes 0.. | then | then | last two |
//! |---|---|---|---|---|
//! | IPv4, 8 bytes | address, network order | 4 | protocol | port, network order |
//! | IPv6, 20 bytes | address, network order | 6 | protocol | port, network order |
//!
//! The protocol is 6 for TCP, 17 for UDP, 1 for an echo of either family, 0 for a question for a MAC address; the last two
//! ask port 0. The key's 16 bytes are SipHash's, the cookie is the low half of the hash xor the VLAN's word.
//! The word of a VLAN is the low half of the hash of the 12 bytes `vlan`, its identifier (0: untagged) and a draw, both 32 bits in
//! network order; the draw is the lowest whose word no lower identifier has.
//!
//! The VLAN is kept out of the hash so that a cookie that is wrong where it arrived can be told apart: what
//! remains of it after the hash is taken out is the word of the VLAN the question left on, or
//! it is nobody's. One look-up says which, however many VLANs there are. A random value hits one of 4095
//! words once in a million, so a leak is a finding to look at, while an answer believed is not.

use std::fmt;
use std::net::IpAddr;

use hashbrown::HashMap;
use sonde_wire::VlanId;

/// What was asked of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Its MAC address, by ARP or neighbor discovery. Nothing in the answer carries a cookie.
    Link,
    /// An echo.
    Echo,
    /// A TCP port.
    Tcp(u16),
    /// A UDP port.
    Udp(u16),
}

impl Question {
    /// The port it asks, 0 if none.
    #[inline]
    pub fn port(self) -> u16 {
        match self {
            Self::Link | Self::Echo => 0,
            Self::Tcp(port) | Self::Udp(port) => port,
        }
    }
}

/// What a value brought back says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ours, and on the VLAN it was asked in.
    Ours,
    /// Ours, asked in this other VLAN.
    Leak(Option<VlanId>),
    /// Not ours: forged, or the answer to another scan.
    Forged,
}

/// Makes and judges the cookies of one run.
#[derive(Clone)]
pub struct Cookies {
    hasher: Hasher,
    /// By VLAN; 0 is the untagged LAN.
    words: Box<[u32; 4096]>,
    vlans: HashMap<u32, Option<VlanId>>,
}

impl Cookies {
    /// The cookies under `key`, which must be secret and drawn anew for each run. `vlans` are those we ask
    /// in: the ones a leak can come from.
    pub fn new(key: [u8; 16], vlans: impl IntoIterator<Item = Option<VlanId>>) -> Self {
        let hasher = Hasher::new(key);
        let mut words = Box::new([0; 4096]);
        let mut seen = HashMap::with_capacity(words.len());
        for (id, word) in words.iter_mut().enumerate() {
            // Two VLANs of one word could not be told apart: draw again until it is new.
            *word = (0u32..)
                .map(|draw| {
                    let mut bytes = *b"vlan\0\0\0\0";
                    bytes[4..].copy_from_slice(&(id as u32).to_be_bytes());
                    hasher.hash(
                        [u64::from_le_bytes(bytes)],
                        u64::from(draw.swap_bytes()) | 12 << 56,
                    ) as u32
                })
                .find(|word| !seen.contains_key(word))
                .expect("4096 distinct words among 2^32");
            seen.insert(*word, ());
        }
        let vlans = vlans.into_iter().map(|vlan| (words[slot(vlan)], vlan));
        let vlans = vlans.collect();
        Self {
            hasher,
            words,
            vlans,
        }
    }

    /// What each VLAN adds to a cookie, by identifier; 0 is the untagged LAN. As secret as the key: for a link that
    /// judges answers itself.
    pub fn words(&self) -> &[u32; 4096] {
        &self.words
    }

    /// The hash of a question, the same in every VLAN: for [`Cookies::cookie`], [`Cookies::key`].
    #[inline]
    pub fn hash(&self, ip: IpAddr, question: Question) -> u64 {
        let port = question.port();
        let protocol = match question {
            Question::Link => 0,
            Question::Echo => 1,
            Question::Tcp(_) => 6,
            Question::Udp(_) => 17,
        };
        // The last four bytes, least significant first.
        let rest = |family: u8| {
            let [high, low] = port.to_be_bytes();
            u64::from(u32::from_le_bytes([family, protocol, high, low]))
        };
        match ip {
            IpAddr::V4(ip) => {
                let address = u64::from(u32::from_le_bytes(ip.octets()));
                self.hasher.hash([address | rest(4) << 32], 8 << 56)
            }
            IpAddr::V6(ip) => {
                let both = u128::from_le_bytes(ip.octets());
                let words = [both as u64, (both >> 64) as u64];
                self.hasher.hash(words, rest(6) | 20 << 56)
            }
        }
    }

    /// The cookie of the question of this hash, asked in `vlan`.
    #[inline]
    pub fn cookie(&self, vlan: Option<VlanId>, hash: u64) -> u32 {
        hash as u32 ^ self.words[slot(vlan)]
    }

    /// 64 bits that name question and VLAN, for tables.
    #[inline]
    pub fn key(&self, vlan: Option<VlanId>, hash: u64) -> u64 {
        hash ^ u64::from(self.words[slot(vlan)]).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Whether `value`, come back on `vlan_seen`, answers the question of this hash.
    #[inline]
    pub fn judge(&self, vlan_seen: Option<VlanId>, hash: u64, value: u32) -> Verdict {
        let word = value ^ hash as u32;
        if word == self.words[slot(vlan_seen)] {
            return Verdict::Ours;
        }
        match self.vlans.get(&word) {
            Some(vlan) => Verdict::Leak(*vlan),
            None => Verdict::Forged,
        }
    }
}

impl fmt::Debug for Cookies {
    /// Without the key and what is drawn from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookies").finish_non_exhaustive()
    }
}

/// SipHash-1-3 (Aumasson and Bernstein, "SipHash: a fast short-input PRF", INDOCRYPT 2012) of messages whose length is
/// known where they are made: whole words, no bytes to count.
#[derive(Clone)]
struct Hasher {
    /// The state before the first word.
    start: [u64; 4],
}

impl Hasher {
    fn new(key: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(key);
        let (low, high) = (key as u64, (key >> 64) as u64);
        Self {
            start: [
                low ^ 0x736f_6d65_7073_6575,
                high ^ 0x646f_7261_6e64_6f6d,
                low ^ 0x6c79_6765_6e65_7261,
                high ^ 0x7465_6462_7974_6573,
            ],
        }
    }

    /// Of `words` and `last`, each eight bytes of the message, the first one lowest: `last` holds what is left and, in its
    /// highest byte, the message's length.
    #[inline]
    fn hash<const WORDS: usize>(&self, words: [u64; WORDS], last: u64) -> u64 {
        let mut state = self.start;
        for word in words {
            state = sip_take(state, word);
        }
        state = sip_take(state, last);
        state[2] ^= 0xff;
        state = sip_round(sip_round(sip_round(state)));
        state[0] ^ state[1] ^ state[2] ^ state[3]
    }
}

#[inline(always)]
fn sip_take([a, b, c, d]: [u64; 4], word: u64) -> [u64; 4] {
    let [a, b, c, d] = sip_round([a, b, c, d ^ word]);
    [a ^ word, b, c, d]
}

#[inline(always)]
fn sip_round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    c = c.wrapping_add(d);
    b = b.rotate_left(13) ^ a;
    d = d.rotate_left(16) ^ c;
    a = a.rotate_left(32).wrapping_add(d);
    c = c.wrapping_add(b);
    d = d.rotate_left(21) ^ a;
    b = b.rotate_left(17) ^ c;
    [a, b, c.rotate_left(32), d]
}

#[inline]
fn slot(vlan: Option<VlanId>) -> usize {
    vlan.map_or(0, |vlan| usize::from(vlan.id()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    use super::*;

    fn vlan(id: u16) -> Option<VlanId> {
        VlanId::new(id)
    }

    fn cookies() -> Cookies {
        Cookies::new([7; 16], (0..=4094).map(vlan))
    }

    #[test]
    fn every_vlan_has_a_word_of_its_own() {
        let cookies = cookies();
        let distinct: hashbrown::HashSet<_> = cookies.words.iter().collect();
        assert_eq!(distinct.len(), 4096);
        assert_eq!(cookies.vlans.len(), 4095);
    }

    #[test]
    fn questions_and_families_have_hashes_of_their_own() {
        let cookies = cookies();
        let four: IpAddr = "10.0.0.1".parse().unwrap();
        let six: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
        let hashes: hashbrown::HashSet<_> = [
            (four, Question::Link),
            (four, Question::Echo),
            (four, Question::Tcp(53)),
            (four, Question::Udp(53)),
            (four, Question::Udp(54)),
            (six, Question::Tcp(53)),
            (six, Question::Udp(53)),
        ]
        .into_iter()
        .map(|(ip, question)| cookies.hash(ip, question))
        .collect();
        assert_eq!(hashes.len(), 7);
    }

    #[test]
    fn the_bytes_of_the_message_never_change() {
        // Written down: the kernel's programs hash the same bytes under the same key.
        let key = std::array::from_fn(|n| n as u8);
        let cookies = Cookies::new(key, [None, vlan(100)]);
        let reference = SipHasher13::new_with_key(&key);
        let six = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x09\x06";
        let mut found = Vec::new();
        for (ip, message, question) in [
            (
                "10.1.0.9",
                &b"\x0a\x01\x00\x09\x04\x06\x01\xbb"[..],
                Question::Tcp(443),
            ),
            (
                "10.1.0.9",
                b"\x0a\x01\x00\x09\x04\x11\x00\x35",
                Question::Udp(53),
            ),
            (
                "10.1.0.9",
                b"\x0a\x01\x00\x09\x04\x01\x00\x00",
                Question::Echo,
            ),
            (
                "10.1.0.9",
                b"\x0a\x01\x00\x09\x04\x00\x00\x00",
                Question::Link,
            ),
            (
                "2001:db8::9",
                &[&six[..], b"\x06\x01\xbb"].concat(),
                Question::Tcp(443),
            ),
            (
                "2001:db8::9",
                &[&six[..], b"\x01\x00\x00"].concat(),
                Question::Echo,
            ),
        ] {
            let hash = cookies.hash(ip.parse().unwrap(), question);
            assert_eq!(hash, reference.hash(message), "{ip} {question:?}");
            found.push(cookies.cookie(vlan(100), hash));
        }
        let word = reference.hash(b"vlan\0\0\0\x64\0\0\0\0") as u32;
        assert_eq!(cookies.words[100], word);
        let written = [
            655_150_750,
            3_357_173_245,
            805_279_097,
            2_439_445_148,
            398_618_437,
            780_135_494,
        ];
        assert_eq!(found, written);
    }

    #[test]
    fn another_key_forges() {
        let (ours, theirs) = (cookies(), Cookies::new([8; 16], [None]));
        let ip = "10.0.0.1".parse().unwrap();
        let value = theirs.cookie(None, theirs.hash(ip, Question::Tcp(80)));
        let hash = ours.hash(ip, Question::Tcp(80));
        assert_eq!(ours.judge(None, hash, value), Verdict::Forged);
    }

    proptest! {
        #[test]
        fn it_is_siphash(key: [u8; 16], message: [u8; 20]) {
            let (ours, theirs) = (Hasher::new(key), SipHasher13::new_with_key(&key));
            let word = |at: usize| u64::from_le_bytes(message[at..at + 8].try_into().unwrap());
            prop_assert_eq!(ours.hash([], 0), theirs.hash(&[]));
            prop_assert_eq!(ours.hash([word(0)], 8 << 56), theirs.hash(&message[..8]));
            let last = word(12) >> 32 | 20 << 56;
            prop_assert_eq!(ours.hash([word(0), word(8)], last), theirs.hash(&message));
        }

        #[test]
        fn a_cookie_is_ours_where_it_was_asked_and_a_leak_elsewhere(
            ip: IpAddr, port: u16, asked in 0..=4094u16, seen in 0..=4094u16, noise: u32,
        ) {
            let cookies = cookies();
            let hash = cookies.hash(ip, Question::Tcp(port));
            let cookie = cookies.cookie(vlan(asked), hash);
            let expected = if asked == seen { Verdict::Ours } else { Verdict::Leak(vlan(asked)) };
            prop_assert_eq!(cookies.judge(vlan(seen), hash, cookie), expected);
            let other = cookies.judge(vlan(asked), hash, cookie ^ noise);
            prop_assert_eq!(other == Verdict::Ours, noise == 0);
        }

        #[test]
        fn a_vlan_that_is_not_ours_leaks_nothing(ip: IpAddr, asked in 10..=4094u16) {
            let few = Cookies::new([7; 16], (0..10).map(vlan));
            let hash = few.hash(ip, Question::Echo);
            let value = few.cookie(vlan(asked), hash);
            prop_assert_eq!(few.judge(None, hash, value), Verdict::Forged);
        }
    }
}
