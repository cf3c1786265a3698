//! What was told of that has no bit of its own.

use std::net::IpAddr;

use hashbrown::HashSet;
use siphasher::sip::SipHasher13;
use sonde_wire::VlanId;

/// Hosts, or a host and another VLAN, as 64 bits each. Two in 2^20 are taken for one with a chance of one in 2^25.
#[derive(Clone, Debug)]
pub(super) struct Fingerprints {
    hasher: SipHasher13,
    set: HashSet<u64>,
    max: usize,
    /// Hosts that were looked for and found lately, by the low bits of their addresses.
    recent: Box<[Option<HostKey>; RECENT]>,
}

type HostKey = (Option<VlanId>, IpAddr);

/// Two networks of 256 addresses.
const RECENT: usize = 512;

impl Fingerprints {
    /// The seed is the scan's, so that fingerprints stay the same across a resume.
    pub(super) fn new(seed: u64, max: usize) -> Self {
        Self {
            hasher: SipHasher13::new_with_keys(seed, 0x66_69_6e_67_65_72),
            set: HashSet::new(),
            max,
            recent: Box::new([None; RECENT]),
        }
    }

    /// Whether a host is there: quickly so for one that was found lately.
    #[inline]
    pub(super) fn contains_host(&mut self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        let low = match ip {
            IpAddr::V4(ip) => ip.to_bits() as usize,
            IpAddr::V6(ip) => ip.to_bits() as usize,
        };
        let low = low ^ usize::from(slot(vlan));
        if self.recent[low % RECENT] == Some((vlan, ip)) {
            return true;
        }
        let there = self.contains(vlan, ip, None);
        if there {
            self.recent[low % RECENT] = Some((vlan, ip));
        }
        there
    }

    pub(super) fn contains(&self, vlan: Option<VlanId>, ip: IpAddr, also: Option<VlanId>) -> bool {
        self.set.contains(&self.of(vlan, ip, also))
    }

    /// False if it is there already or there is no room.
    pub(super) fn insert(
        &mut self,
        vlan: Option<VlanId>,
        ip: IpAddr,
        also: Option<VlanId>,
    ) -> bool {
        self.set.len() < self.max && self.set.insert(self.of(vlan, ip, also))
    }

    pub(super) fn extend(&mut self, fingerprints: &[u64]) {
        self.set.extend(fingerprints);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> {
        self.set.iter().copied()
    }

    fn of(&self, vlan: Option<VlanId>, ip: IpAddr, also: Option<VlanId>) -> u64 {
        let mut bytes = [0; 21];
        bytes[..2].copy_from_slice(&slot(vlan).to_be_bytes());
        bytes[2..4].copy_from_slice(&slot(also).to_be_bytes());
        match ip {
            IpAddr::V4(ip) => bytes[5..9].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => {
                bytes[4] = 6;
                bytes[5..].copy_from_slice(&ip.octets());
            }
        }
        self.hasher.hash(&bytes)
    }
}

fn slot(vlan: Option<VlanId>) -> u16 {
    vlan.map_or(0, VlanId::id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_remembered_once_until_there_is_no_room() {
        let mut told = Fingerprints::new(1, 4);
        let ip = |text: &str| text.parse().unwrap();
        let different = [
            (None, ip("10.0.0.1"), None),
            (VlanId::new(1), ip("10.0.0.1"), None),
            (None, ip("10.0.0.1"), VlanId::new(1)),
            (None, ip("::ffff:10.0.0.1"), None),
        ];
        for (vlan, ip, also) in different {
            assert!(!told.contains(vlan, ip, also));
            assert!(also.is_some() || !told.contains_host(vlan, ip));
            assert!(told.insert(vlan, ip, also));
            assert!(told.contains(vlan, ip, also));
            assert!((0..2).all(|_| told.contains_host(vlan, ip)));
            assert!(!told.insert(vlan, ip, also));
        }
        assert!(!told.insert(None, ip("10.0.0.2"), None));
        let mut again = Fingerprints::new(1, 4);
        again.extend(&told.iter().collect::<Vec<_>>());
        assert!(
            different
                .iter()
                .all(|(vlan, ip, also)| again.contains(*vlan, *ip, *also))
        );
    }
}
