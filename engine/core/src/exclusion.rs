//! Sets of (VLAN, address) as written: what to scan, what never to, what the policy allows.
//!
//! Targets that name the same VLANs are kept together, so `10.0.0.0/8@1-4094` is one interval and
//! one set of VLANs, not 4094 of them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use sonde_wire::VlanId;

use crate::interval::{AddressSet, Interval, IntervalSet};
use crate::target::{Hosts, Target, TargetError, TargetFault, VlanSet, octet_intervals, parse_all};
use crate::trunk::Family;

/// Texts parsed before they are merged into the set: bounds memory beside the set itself.
const CHUNK: usize = 1 << 16;
/// VLAN identifiers and, as 0, the untagged LAN.
const VLANS: usize = VlanId::MAX as usize + 1;

/// What host names stand for.
#[derive(Clone, Copy, Debug)]
pub enum Names<'a> {
    /// The addresses the driver found.
    Resolved(&'a HashMap<String, Vec<IpAddr>>),
    /// They are refused: what must hold for good is written as addresses.
    Refused,
}

/// A text in a list of targets that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct ScopeError {
    /// Its place in the list, from 0: a file's reader adds the line it came from.
    pub index: usize,
    /// What is wrong.
    pub error: TargetError,
}

/// A set of (VLAN, address).
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Addresses of texts that name no VLAN.
    anywhere: AddressSet,
    /// Addresses of texts that do, by what they name.
    groups: Vec<(VlanSet, AddressSet)>,
    /// Which groups concern a VLAN, by identifier, 0 for untagged; empty when there are no groups.
    by_vlan: Vec<Vec<u32>>,
    /// VLANs that are in it whole.
    whole: VlanSet,
}

impl Scope {
    /// Reads a list in target syntax.
    ///
    /// # Errors
    ///
    /// The first text that is no target, or a name with no address.
    pub fn parse(texts: &[String], names: Names<'_>) -> Result<Self, ScopeError> {
        let mut collected = Collected::default();
        for (nth, chunk) in texts.chunks(CHUNK).enumerate() {
            let start = nth * CHUNK;
            let targets = parse_all(chunk).map_err(|e| ScopeError {
                index: start + e.index,
                error: e.error,
            })?;
            for (offset, target) in targets.into_iter().enumerate() {
                collected.add(target, names).map_err(|fault| ScopeError {
                    index: start + offset,
                    error: TargetError {
                        text: chunk[offset].clone(),
                        fault,
                    },
                })?;
            }
        }
        Ok(collected.finish())
    }

    /// True when there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.anywhere.is_empty() && self.groups.is_empty() && self.whole.is_empty()
    }

    /// True when the address in this VLAN is in it; an address written without VLANs is in it in
    /// every VLAN.
    pub fn contains(&self, vlan: Option<VlanId>, ip: IpAddr) -> bool {
        self.anywhere.contains(ip)
            || self.groups_of(vlan).any(|group| group.contains(ip))
            || self.holds_whole(vlan)
    }

    /// True when the VLAN is in it whole.
    pub fn holds_whole(&self, vlan: Option<VlanId>) -> bool {
        self.whole.contains(vlan)
    }

    /// True when it holds some VLAN whole.
    pub fn holds_any_whole(&self) -> bool {
        !self.whole.is_empty()
    }

    /// Addresses of the texts that name no VLAN.
    pub(crate) fn anywhere(&self) -> &AddressSet {
        &self.anywhere
    }

    /// What the texts that name VLANs say, each set of VLANs once.
    pub(crate) fn groups(&self) -> &[(VlanSet, AddressSet)] {
        &self.groups
    }

    /// Addresses that the texts naming this VLAN hold, [`Scope::anywhere`] left out.
    pub(crate) fn named<P: Family>(&self, vlan: Option<VlanId>) -> Cow<'_, IntervalSet<P>> {
        union_all(self.groups_of(vlan).map(P::of))
    }

    /// Addresses that are in it in this VLAN, unless it holds the VLAN whole.
    pub(crate) fn in_vlan<P: Family>(&self, vlan: Option<VlanId>) -> Cow<'_, IntervalSet<P>> {
        let anywhere = std::iter::once(P::of(&self.anywhere));
        union_all(anywhere.chain(self.groups_of(vlan).map(P::of)))
    }

    fn groups_of(&self, vlan: Option<VlanId>) -> impl Iterator<Item = &AddressSet> {
        let indices = self.by_vlan.get(vlan.map_or(0, VlanId::id) as usize);
        indices
            .into_iter()
            .flatten()
            .map(|index| &self.groups[*index as usize].1)
    }
}

/// The union of `sets`; borrowed when only one of them holds anything.
fn union_all<'a, P: Family>(
    sets: impl Iterator<Item = &'a IntervalSet<P>>,
) -> Cow<'a, IntervalSet<P>> {
    let mut sets = sets.filter(|set| !set.is_empty());
    match (sets.next(), sets.next()) {
        (None, _) => Cow::Owned(IntervalSet::default()),
        (Some(only), None) => Cow::Borrowed(only),
        (Some(first), Some(second)) => {
            let all = [first, second].into_iter().chain(sets);
            Cow::Owned(all.flat_map(IntervalSet::intervals).copied().collect())
        }
    }
}

/// Intervals of both families, as they come.
type Unsorted = (Vec<Interval<u32>>, Vec<Interval<u128>>);

/// Targets on their way into a [`Scope`].
#[derive(Default)]
struct Collected {
    groups: HashMap<Option<VlanSet>, Unsorted>,
    whole: VlanSet,
}

impl Collected {
    fn add(&mut self, target: Target, names: Names<'_>) -> Result<(), TargetFault> {
        let (v4, v6) = match (&target.hosts, &target.vlans) {
            (Hosts::All, vlans) => {
                self.whole = self.whole.union(&vlans.clone().unwrap_or_default());
                return Ok(());
            }
            _ => self.groups.entry(target.vlans).or_default(),
        };
        match target.hosts {
            Hosts::V4(interval) => v4.push(interval),
            Hosts::V6(interval) => v6.push(interval),
            Hosts::Octets(octets) => v4.extend(octet_intervals(octets)),
            Hosts::All => {}
            Hosts::Name(name) => match names {
                Names::Refused => return Err(TargetFault::NameNotAllowed),
                Names::Resolved(known) => {
                    let addresses = known.get(&name).map(Vec::as_slice).unwrap_or_default();
                    if addresses.is_empty() {
                        return Err(TargetFault::NameUnknown);
                    }
                    for address in addresses {
                        match address {
                            IpAddr::V4(ip) => v4.push(Interval::one(ip.to_bits())),
                            IpAddr::V6(ip) => v6.push(Interval::one(ip.to_bits())),
                        }
                    }
                }
            },
        }
        Ok(())
    }

    fn finish(mut self) -> Scope {
        let set = |(v4, v6): Unsorted| AddressSet {
            v4: IntervalSet::new(v4),
            v6: IntervalSet::new(v6),
        };
        let anywhere = self.groups.remove(&None).map(set).unwrap_or_default();
        let mut groups: Vec<_> = self
            .groups
            .into_iter()
            .filter_map(|(vlans, intervals)| Some((vlans?, set(intervals))))
            .collect();
        groups.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let mut by_vlan = vec![Vec::new(); if groups.is_empty() { 0 } else { VLANS }];
        for (index, (vlans, _)) in groups.iter().enumerate() {
            for vlan in vlans.iter() {
                by_vlan[vlan.map_or(0, VlanId::id) as usize].push(index as u32);
            }
        }
        Scope {
            anywhere,
            groups,
            by_vlan,
            whole: self.whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(texts: &[&str]) -> Scope {
        let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
        let names = HashMap::from([(
            "web.example.org".to_owned(),
            vec!["10.0.0.80".parse().unwrap()],
        )]);
        Scope::parse(&texts, Names::Resolved(&names)).unwrap()
    }

    fn has(scope: &Scope, vlan: u16, ip: &str) -> bool {
        scope.contains(VlanId::new(vlan), ip.parse().unwrap())
    }

    #[test]
    fn without_vlans_a_rule_holds_everywhere_and_with_them_only_there() {
        let rules = scope(&[
            "10.0.0.0/24",
            "10.1.0.0/24@100",
            "2001:db8::/64@lan,7",
            "@300",
            "web.example.org",
        ]);
        assert!(has(&rules, 0, "10.0.0.1") && has(&rules, 4094, "10.0.0.80"));
        assert!(has(&rules, 100, "10.1.0.9") && !has(&rules, 101, "10.1.0.9"));
        assert!(has(&rules, 0, "2001:db8::5") && has(&rules, 7, "2001:db8::5"));
        assert!(!has(&rules, 8, "2001:db8::5"));
        assert!(
            has(&rules, 300, "8.8.8.8") && has(&rules, 300, "::1") && !has(&rules, 301, "8.8.8.8")
        );
        assert!(rules.holds_whole(VlanId::new(300)) && !rules.holds_whole(None));
        assert_eq!(rules.in_vlan::<u32>(VlanId::new(100)).intervals().len(), 2);
        assert_eq!(rules.named::<u32>(VlanId::new(100)).intervals().len(), 1);
    }

    #[test]
    fn the_same_vlans_written_often_are_one_group() {
        let many: Vec<String> = (0..1000)
            .map(|i| format!("10.{}.{}.0/25@1-4094", i / 256, i % 256))
            .collect();
        let rules = Scope::parse(&many, Names::Refused).unwrap();
        assert_eq!(rules.groups().len(), 1);
        assert_eq!(rules.groups()[0].1.v4.intervals().len(), 1000);
    }

    #[test]
    fn names_are_resolved_or_refused() {
        let unknown = vec!["10.0.0.1".to_owned(), "db.example.org".to_owned()];
        let error = Scope::parse(&unknown, Names::Resolved(&HashMap::new())).unwrap_err();
        assert_eq!(
            (error.index, error.error.fault),
            (1, TargetFault::NameUnknown)
        );
        let error = Scope::parse(&unknown, Names::Refused).unwrap_err();
        assert_eq!(error.error.fault, TargetFault::NameNotAllowed);
    }

    #[test]
    fn the_place_of_a_wrong_text_counts_across_chunks() {
        let mut texts = vec!["10.0.0.1".to_owned(); CHUNK + 5];
        texts[CHUNK + 3] = "10.0.0.0/99".to_owned();
        assert_eq!(
            Scope::parse(&texts, Names::Refused).unwrap_err().index,
            CHUNK + 3
        );
    }
}
