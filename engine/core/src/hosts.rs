//! The hosts whose ports are being asked: a table of fixed size, one bit a port.
//!
//! Each host goes through its ports in an order of its own: from a place that its address
//! decides, in equal strides that visit every port once. Neighbors are not asked the same port at the same time, and
//! the next port costs an addition.

use std::net::IpAddr;

use hashbrown::HashMap;
use sonde_wire::{MacAddr, VlanId};

use crate::answered;
use crate::time::Instant;

/// A host that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its VLAN.
    pub vlan: Option<VlanId>,
    /// Its address.
    pub ip: IpAddr,
    /// Index of its route.
    pub route: u32,
    /// Where its frames go; `None`: to the route's gateway.
    pub mac: Option<MacAddr>,
    /// A port (an index into the plan's) that its discovery has answered already.
    pub answered: Option<u32>,
}

/// A host in the table.
#[derive(Clone, Debug)]
pub struct Host {
    /// Who it is.
    pub found: Found,
    /// Which pass over its ports it is in, from 0.
    pub pass: u32,
    /// Passes beyond those asked for.
    pub again: u32,
    /// How many ports this pass has been past.
    pub cursor: u32,
    /// The port at the cursor.
    pub port: u32,
    /// Ports without an answer.
    pub missing: u32,
    /// When the last probe left.
    pub last_sent: Instant,
    /// When it may be asked next without being asked too fast.
    pub paced_at: Instant,
    /// Where everything before has been waited for.
    pub trail: crate::sweep::Trail<(u32, u32)>,
}

/// The table.
#[derive(Clone, Debug)]
pub struct Hosts {
    slots: Vec<Option<Host>>,
    free: Vec<u32>,
    by_address: HashMap<Key, u32>,
    bits: Vec<u64>,
    words: usize,
    strides: Strides,
}

impl Hosts {
    /// A table for hosts with `ports` ports each: `hosts` of them, or as many as `bits` bits allow, but at least one.
    pub fn new(ports: u32, hosts: usize, bits: u64) -> Self {
        let words = ports.div_ceil(64) as usize;
        let fit = bits / 64 / words.max(1) as u64;
        let capacity = (hosts as u64).min(fit).max(1) as usize;
        Self {
            slots: vec![None; capacity],
            free: (0..capacity as u32).rev().collect(),
            by_address: HashMap::with_capacity(capacity),
            bits: vec![0; capacity * words],
            words,
            strides: Strides::new(ports),
        }
    }

    /// How many hosts fit.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// How many hosts are in it.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// True without hosts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True when no more fits.
    pub fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Adds a host at the beginning of its first pass and returns its slot. `None` when the table is full, or holds
    /// it already.
    pub fn insert(&mut self, found: Found, now: Instant) -> Option<u32> {
        let key = Key::new(found.vlan, found.ip);
        if self.by_address.contains_key(&key) {
            return None;
        }
        let slot = self.free.pop()?;
        self.by_address.insert(key, slot);
        self.bits_mut(slot).fill(0);
        let mut missing = self.strides.ports;
        if let Some(port) = found.answered {
            answered::insert(self.bits_mut(slot), port.into());
            missing -= 1;
        }
        self.slots[slot as usize] = Some(Host {
            found,
            pass: 0,
            cursor: 0,
            port: self.strides.at(found.ip, 0),
            missing,
            last_sent: now,
            paced_at: now,
            again: 0,
            trail: crate::sweep::Trail::new((0, 0), now),
        });
        Some(slot)
    }

    /// Takes a host out.
    pub fn remove(&mut self, slot: u32) {
        if let Some(host) = self.slots[slot as usize].take() {
            self.by_address
                .remove(&Key::new(host.found.vlan, host.found.ip));
            self.free.push(slot);
        }
    }

    /// The slot of a host.
    #[inline]
    pub fn find(&self, vlan: Option<VlanId>, ip: IpAddr) -> Option<u32> {
        self.by_address.get(&Key::new(vlan, ip)).copied()
    }

    /// The host in an occupied slot, and the bits of its ports.
    ///
    /// # Panics
    /// If the slot is free.
    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> (&mut Host, &mut [u64], &Strides) {
        let at = slot as usize * self.words;
        let host = self.slots[slot as usize].as_mut();
        (
            host.expect("slots are handed out by insert and find only"),
            &mut self.bits[at..at + self.words],
            &self.strides,
        )
    }

    /// All hosts with the bits of their ports.
    pub fn iter(&self) -> impl Iterator<Item = (&Host, &[u64])> {
        let hosts = self.slots.iter().enumerate();
        hosts.filter_map(|(slot, host)| Some((host.as_ref()?, self.bits(slot as u32))))
    }

    fn bits(&self, slot: u32) -> &[u64] {
        let at = slot as usize * self.words;
        &self.bits[at..at + self.words]
    }

    fn bits_mut(&mut self, slot: u32) -> &mut [u64] {
        let at = slot as usize * self.words;
        &mut self.bits[at..at + self.words]
    }
}

/// A host's VLAN and address as plain numbers, which are hashed and compared faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    address: u128,
    place: u32,
}

impl Key {
    #[inline]
    fn new(vlan: Option<VlanId>, ip: IpAddr) -> Self {
        let vlan = u32::from(vlan.map_or(0, VlanId::id));
        match ip {
            IpAddr::V4(ip) => Self {
                address: ip.to_bits().into(),
                place: vlan,
            },
            IpAddr::V6(ip) => Self {
                address: ip.to_bits(),
                place: vlan | 1 << 16,
            },
        }
    }
}

/// The order of a host's ports.
#[derive(Clone, Copy, Debug)]
pub struct Strides {
    ports: u32,
    stride: u32,
}

impl Strides {
    /// Strides over `ports` ports: about the golden section, so that neighbors in the list are far apart in time.
    pub fn new(ports: u32) -> Self {
        let golden = (f64::from(ports) * 0.618_033_988_75) as u32;
        let stride = (golden.max(1)..).find(|s| gcd(*s, ports) == 1).unwrap_or(1);
        Self { ports, stride }
    }

    /// The port at `cursor` of the host `ip`.
    pub fn at(&self, ip: IpAddr, cursor: u32) -> u32 {
        if self.ports == 0 {
            return 0;
        }
        let low = match ip {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits() as u64,
        };
        let start = low.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let steps = u64::from(cursor) * u64::from(self.stride);
        ((start + steps) % u64::from(self.ports)) as u32
    }

    /// The port after `port`.
    #[inline]
    pub fn next(&self, port: u32) -> u32 {
        let next = u64::from(port) + u64::from(self.stride);
        let ports = u64::from(self.ports);
        (if next >= ports { next - ports } else { next }) as u32
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(n: u32) -> Found {
        Found {
            vlan: VlanId::new(n as u16 % 3),
            ip: IpAddr::V4(n.into()),
            route: 0,
            mac: None,
            answered: None,
        }
    }

    #[test]
    fn strides_visit_every_port_once_from_a_start_of_each_host() {
        for ports in [1, 2, 3, 10, 1000, 65_535, 131_070] {
            let strides = Strides::new(ports);
            for ip in ["10.0.0.1", "2001:db8::7"].map(|ip| ip.parse().unwrap()) {
                let mut seen = answered::Answered::new(ports.into());
                let mut port = strides.at(ip, 0);
                for cursor in 0..ports {
                    assert_eq!(port, strides.at(ip, cursor));
                    assert!(seen.insert(port.into()), "{ports} ports");
                    port = strides.next(port);
                }
                assert_eq!(port, strides.at(ip, 0));
            }
        }
    }

    #[test]
    fn a_full_table_takes_nobody_and_a_freed_slot_is_clean() {
        let mut hosts = Hosts::new(100, 1000, 128 * 4);
        assert_eq!(hosts.capacity(), 4);
        let slots: Vec<_> = (0..4)
            .map(|n| hosts.insert(found(n), Instant::ZERO).unwrap())
            .collect();
        assert_eq!(hosts.insert(found(4), Instant::ZERO), None);
        assert_eq!(hosts.find(found(2).vlan, found(2).ip), Some(slots[2]));
        assert_eq!(hosts.find(found(3).vlan, found(2).ip), None);
        let (_, bits, _) = hosts.get_mut(slots[2]);
        bits.fill(u64::MAX);
        hosts.remove(slots[2]);
        assert_eq!(
            (hosts.len(), hosts.find(found(2).vlan, found(2).ip)),
            (3, None)
        );
        let again = Found {
            answered: Some(99),
            ..found(5)
        };
        let slot = hosts.insert(again, Instant::ZERO).unwrap();
        assert_eq!(hosts.insert(again, Instant::ZERO), None);
        let (host, bits, _) = hosts.get_mut(slot);
        assert_eq!((host.missing, bits), (99, &mut [0, 1 << 35][..]));
    }

    #[test]
    fn one_host_always_fits() {
        assert_eq!(Hosts::new(131_070, 1000, 1).capacity(), 1);
        assert_eq!(Hosts::new(0, 1000, 1 << 20).capacity(), 1000);
    }
}
