//! Sets of numbers as sorted, merged intervals: memory follows what was written, not how much it
//! covers. Ports, VLANs, IPv4 and IPv6 addresses are all kept so.

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an interval can be made of: an unsigned integer.
pub trait Point: Copy + Ord + Hash + Debug + Send + Sync + 'static {
    /// The lowest value.
    const ZERO: Self;
    /// The highest value.
    const MAX: Self;
    /// One more, or `None` at the highest value.
    fn next(self) -> Option<Self>;
    /// One less, or `None` at zero.
    fn prev(self) -> Option<Self>;
    /// The value.
    fn to_u128(self) -> u128;
}

macro_rules! point {
    ($($t:ty),*) => {$(
        impl Point for $t {
            const ZERO: Self = 0;
            const MAX: Self = <$t>::MAX;
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
            fn prev(self) -> Option<Self> {
                self.checked_sub(1)
            }
            fn to_u128(self) -> u128 {
                self.into()
            }
        }
    )*};
}
point!(u16, u32, u128);

/// A number that is an address of one family: `u32` is IPv4, `u128` is IPv6, both in host order.
pub trait Address: Point {
    /// Length of an address.
    const BITS: u8;
    /// The address.
    fn ip(self) -> IpAddr;
    /// All addresses that share the first `len` bits with this one; `len` is at most
    /// [`Address::BITS`].
    fn prefix(self, len: u8) -> Interval<Self>;
}

impl Address for u32 {
    const BITS: u8 = 32;

    fn ip(self) -> IpAddr {
        Ipv4Addr::from_bits(self).into()
    }

    fn prefix(self, len: u8) -> Interval<Self> {
        let below = Self::MAX.checked_shr(len.into()).unwrap_or(0);
        Interval {
            first: self & !below,
            last: self | below,
        }
    }
}

impl Address for u128 {
    const BITS: u8 = 128;

    fn ip(self) -> IpAddr {
        Ipv6Addr::from_bits(self).into()
    }

    fn prefix(self, len: u8) -> Interval<Self> {
        let below = Self::MAX.checked_shr(len.into()).unwrap_or(0);
        Interval {
            first: self & !below,
            last: self | below,
        }
    }
}

/// All numbers from `first` to `last`, both included; `first` is not above `last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval<P> {
    /// Lowest.
    pub first: P,
    /// Highest.
    pub last: P,
}

impl<P: Point> Interval<P> {
    /// One number.
    pub fn one(point: P) -> Self {
        Self {
            first: point,
            last: point,
        }
    }

    /// True when `point` is in it.
    pub fn contains(&self, point: P) -> bool {
        self.first <= point && point <= self.last
    }

    /// How many numbers it holds; all of `u128` counts one short.
    pub fn count(&self) -> u128 {
        (self.last.to_u128() - self.first.to_u128()).saturating_add(1)
    }

    /// What it shares with `other`.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(Self { first, last })
    }
}

/// A set of numbers: intervals ascending, with a gap of at least one number between neighbors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntervalSet<P> {
    intervals: Vec<Interval<P>>,
}

impl<P> Default for IntervalSet<P> {
    fn default() -> Self {
        Self {
            intervals: Vec::new(),
        }
    }
}

impl<P: Point> FromIterator<Interval<P>> for IntervalSet<P> {
    fn from_iter<I: IntoIterator<Item = Interval<P>>>(intervals: I) -> Self {
        Self::new(intervals.into_iter().collect())
    }
}

impl<P: Point> IntervalSet<P> {
    /// The union of `intervals`, which may come in any order, overlap and repeat.
    pub fn new(mut intervals: Vec<Interval<P>>) -> Self {
        if !intervals.is_sorted() {
            intervals.sort_unstable();
        }
        intervals.dedup_by(|next, kept| {
            // `kept` starts no later than `next`; they merge when they overlap or touch.
            let merges = kept.last.next().is_none_or(|after| next.first <= after);
            if merges {
                kept.last = kept.last.max(next.last);
            }
            merges
        });
        intervals.shrink_to_fit();
        Self { intervals }
    }

    /// The intervals, ascending.
    pub fn intervals(&self) -> &[Interval<P>] {
        &self.intervals
    }

    /// True when it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// How many numbers it holds; all of `u128` counts one short.
    pub fn count(&self) -> u128 {
        self.intervals
            .iter()
            .fold(0, |sum: u128, i| sum.saturating_add(i.count()))
    }

    /// True when `point` is in it; a binary search.
    pub fn contains(&self, point: P) -> bool {
        let at = self.intervals.partition_point(|i| i.last < point);
        self.intervals.get(at).is_some_and(|i| i.first <= point)
    }

    /// Every number of it, ascending.
    pub fn points(&self) -> impl Iterator<Item = P> {
        self.intervals.iter().flat_map(|interval| {
            std::iter::successors(Some(interval.first), |p| p.next())
                .take_while(|p| *p <= interval.last)
        })
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        if self.is_empty() {
            return other.clone();
        }
        if other.is_empty() {
            return self.clone();
        }
        Self::new([self.intervals.as_slice(), other.intervals.as_slice()].concat())
    }

    /// What is in `self` and not in `other`. Skips over what `other` holds between the intervals of
    /// `self` by binary search.
    #[must_use]
    pub fn subtract(&self, other: &Self) -> Self {
        let mut kept = Vec::with_capacity(self.intervals.len());
        let mut cuts = other.intervals.as_slice();
        for interval in &self.intervals {
            if cuts.first().is_some_and(|cut| cut.last < interval.first) {
                cuts = &cuts[cuts.partition_point(|cut| cut.last < interval.first)..];
            }
            let mut rest = Some(interval.first);
            for cut in cuts.iter().take_while(|cut| cut.first <= interval.last) {
                let Some(first) = rest else { break };
                if let Some(last) = cut.first.prev().filter(|last| first <= *last) {
                    kept.push(Interval { first, last });
                }
                rest = cut.last.next();
            }
            if let Some(first) = rest.filter(|first| *first <= interval.last) {
                kept.push(Interval {
                    first,
                    last: interval.last,
                });
            }
        }
        Self { intervals: kept }
    }
}

/// Addresses of both families.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct AddressSet {
    /// IPv4.
    pub v4: IntervalSet<u32>,
    /// IPv6.
    pub v6: IntervalSet<u128>,
}

impl AddressSet {
    /// True when it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// True when `ip` is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.contains(ip.to_bits()),
            IpAddr::V6(ip) => self.v6.contains(ip.to_bits()),
        }
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self {
            v4: self.v4.union(&other.v4),
            v6: self.v6.union(&other.v6),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(intervals: &[(u16, u16)]) -> IntervalSet<u16> {
        intervals
            .iter()
            .map(|&(first, last)| Interval { first, last })
            .collect()
    }

    #[test]
    fn overlapping_and_touching_intervals_merge() {
        assert_eq!(
            set(&[(5, 9), (1, 4), (8, 12), (20, 20)]),
            set(&[(1, 12), (20, 20)])
        );
        assert_eq!(set(&[(0, u16::MAX), (3, 4)]).intervals().len(), 1);
        assert_eq!(set(&[(1, 2), (4, 5)]).intervals().len(), 2);
    }

    #[test]
    fn subtraction_keeps_both_ends_of_the_number_line() {
        let all = set(&[(0, u16::MAX)]);
        assert_eq!(all.subtract(&set(&[(0, 0)])), set(&[(1, u16::MAX)]));
        assert_eq!(
            all.subtract(&set(&[(u16::MAX, u16::MAX)])),
            set(&[(0, u16::MAX - 1)])
        );
        assert_eq!(all.subtract(&all), set(&[]));
        assert_eq!(
            all.subtract(&set(&[(10, 20), (30, 40)])),
            set(&[(0, 9), (21, 29), (41, u16::MAX)])
        );
    }

    #[test]
    fn everything_is_one_interval_and_is_counted() {
        let v4: IntervalSet<u32> = [Interval {
            first: 0,
            last: u32::MAX,
        }]
        .into_iter()
        .collect();
        assert_eq!((v4.intervals().len(), v4.count()), (1, 1 << 32));
        let v6: IntervalSet<u128> = [Interval {
            first: 0,
            last: u128::MAX,
        }]
        .into_iter()
        .collect();
        assert_eq!(v6.count(), u128::MAX);
    }

    fn any_set() -> impl Strategy<Value = IntervalSet<u16>> {
        // A small domain, shifted to either end, so that intervals meet and touch the ends.
        let pair = (0_u16..60, 0_u16..12).prop_map(|(first, more)| (first, first + more));
        (prop::collection::vec(pair, 0..12), any::<bool>()).prop_map(|(pairs, top)| {
            let shift = if top { u16::MAX - 71 } else { 0 };
            pairs
                .into_iter()
                .map(|(a, b)| Interval {
                    first: a + shift,
                    last: b + shift,
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn union_and_subtract_agree_with_the_definition(a in any_set(), b in any_set()) {
            let (union, less) = (a.union(&b), a.subtract(&b));
            for p in (0..=80).chain(u16::MAX - 80..=u16::MAX) {
                prop_assert_eq!(union.contains(p), a.contains(p) || b.contains(p));
                prop_assert_eq!(less.contains(p), a.contains(p) && !b.contains(p));
            }
            for s in [&union, &less] {
                prop_assert!(s.intervals().windows(2).all(|w| w[0].last + 1 < w[1].first));
                prop_assert!(s.intervals().iter().all(|i| i.first <= i.last));
                prop_assert_eq!(s.points().count() as u128, s.count());
            }
        }
    }
}
