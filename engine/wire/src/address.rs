//! The two link-layer names everything else is keyed by: a MAC address and a VLAN.
//!
//! IEEE 802.1Q-2022 §9.6 gives the tag; identifiers 0 (priority only) and 4095 (reserved) name no
//! VLAN, so [`VlanId`] can not hold them. "Untagged" is `None` of an `Option<VlanId>`, everywhere.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An EUI-48 address, in transmission order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    /// `ff:ff:ff:ff:ff:ff`: every station on the segment.
    pub const BROADCAST: Self = Self([0xff; 6]);

    /// True for group addresses (broadcast and multicast): the low bit of the first octet.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no MAC address; write six hexadecimal pairs, as 02:00:5e:10:00:01")]
pub struct InvalidMacAddr(String);

impl FromStr for MacAddr {
    type Err = InvalidMacAddr;

    /// Six hexadecimal pairs between `:` or `-`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidMacAddr(text.to_owned());
        let mut octets = [0; 6];
        let mut parts = text.split([':', '-']);
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or_else(invalid)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
        }
        if parts.next().is_some() {
            return Err(invalid());
        }
        Ok(Self(octets))
    }
}

impl Serialize for MacAddr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MacAddr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A VLAN that frames can belong to: 1 to 4094 by construction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(NonZeroU16);

/// A number that names no VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is no VLAN; the identifiers are 1 to 4094")]
pub struct InvalidVlanId(pub u32);

impl VlanId {
    /// The highest identifier a VLAN can have.
    pub const MAX: u16 = 4094;

    /// The VLAN of this number, or `None` for 0 and anything above [`VlanId::MAX`].
    pub const fn new(id: u16) -> Option<Self> {
        if id > Self::MAX {
            return None;
        }
        match NonZeroU16::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The number, 1 to 4094.
    pub const fn id(self) -> u16 {
        self.0.get()
    }
}

impl TryFrom<u16> for VlanId {
    type Error = InvalidVlanId;

    fn try_from(id: u16) -> Result<Self, Self::Error> {
        Self::new(id).ok_or(InvalidVlanId(id.into()))
    }
}

impl From<VlanId> for u16 {
    fn from(vlan: VlanId) -> Self {
        vlan.id()
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlan_ids_are_1_to_4094() {
        assert_eq!(VlanId::new(0), None);
        assert_eq!(VlanId::new(4095), None);
        assert_eq!(VlanId::new(1).map(VlanId::id), Some(1));
        assert_eq!(VlanId::try_from(4095), Err(InvalidVlanId(4095)));
        // The niche keeps "untagged or a VLAN" in two bytes, which every probe carries.
        assert_eq!(size_of::<Option<VlanId>>(), 2);
    }

    #[test]
    fn mac_addresses_round_trip_and_refuse_nonsense() {
        let mac: MacAddr = "02:00:5e:10:00:01".parse().unwrap();
        assert_eq!(mac.to_string(), "02:00:5e:10:00:01");
        for bad in [
            "",
            "02:00:5e:10:00",
            "02:00:5e:10:00:01:02",
            "2:0:5e:10:0:1",
            "zz:00:00:00:00:00",
        ] {
            assert!(matches!(bad.parse::<MacAddr>(), Err(InvalidMacAddr(t)) if t == bad));
        }
    }
}
