//! What an answer must bring back to be believed.
//!
//! A cookie is 32 bits of SipHash-1-3 over what was asked, under a key drawn for this run, xor a secret word
//! of the VLAN it was asked in. A TCP sequence number or an echo's id and sequence number carry all of it.
//! Whoever has not seen the probe guesses one in 2^32.
//!
//! The VLAN is kept out of the hash so that a cookie that is wrong where it arrived can be told apart: what
//! remains of it after the hash is taken out is the word of the VLAN the question left on, or
//! it is nobody's. One look-up says which, however many VLANs there are. A random value hits one of 4095
//! words once in a million, so a leak is a finding to look at, while an answer believed is not.

use std::fmt;
use std::net::IpAddr;

use hashbrown::HashMap;
use siphasher::sip::SipHasher13;
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
    hasher: SipHasher13,
    /// By VLAN; 0 is the untagged LAN.
    words: Box<[u32; 4096]>,
    vlans: HashMap<u32, Option<VlanId>>,
}

impl Cookies {
    /// The cookies under `key`, which must be secret and drawn anew for each run. `vlans` are those we ask
    /// in: the ones a leak can come from.
    pub fn new(key: [u8; 16], vlans: impl IntoIterator<Item = Option<VlanId>>) -> Self {
        let hasher = SipHasher13::new_with_key(&key);
        let mut words = Box::new([0; 4096]);
        let mut seen = HashMap::with_capacity(words.len());
        for (id, word) in words.iter_mut().enumerate() {
            // Two VLANs of one word could not be told apart: draw again until it is new.
            *word = (0u32..)
                .map(|draw| {
                    let mut bytes = *b"vlan\0\0\0\0\0\0\0\0";
                    bytes[4..8].copy_from_slice(&(id as u32).to_be_bytes());
                    bytes[8..].copy_from_slice(&draw.to_be_bytes());
                    hasher.hash(&bytes) as u32
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

    /// The hash of a question, the same in every VLAN: for [`Cookies::cookie`], [`Cookies::key`].
    #[inline]
    pub fn hash(&self, ip: IpAddr, question: Question) -> u64 {
        let (protocol, port) = match question {
            Question::Link => (0, 0),
            Question::Echo => (1, 0),
            Question::Tcp(port) => (6, port),
            Question::Udp(port) => (17, port),
        };
        let [high, low] = port.to_be_bytes();
        match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                self.hasher.hash(&[a, b, c, d, 4, protocol, high, low])
            }
            IpAddr::V6(ip) => {
                let mut bytes = [0; 20];
                bytes[..16].copy_from_slice(&ip.octets());
                bytes[16..].copy_from_slice(&[6, protocol, high, low]);
                self.hasher.hash(&bytes)
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

#[inline]
fn slot(vlan: Option<VlanId>) -> usize {
    vlan.map_or(0, |vlan| usize::from(vlan.id()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    fn another_key_forges() {
        let (ours, theirs) = (cookies(), Cookies::new([8; 16], [None]));
        let ip = "10.0.0.1".parse().unwrap();
        let value = theirs.cookie(None, theirs.hash(ip, Question::Tcp(80)));
        let hash = ours.hash(ip, Question::Tcp(80));
        assert_eq!(ours.judge(None, hash, value), Verdict::Forged);
    }

    proptest! {
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
