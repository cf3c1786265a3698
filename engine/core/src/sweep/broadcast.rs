//! Broadcasts, VLAN by VLAN: every station of a segment must look at each, whatever the trunk can carry.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use sonde_wire::VlanId;

use crate::time::Instant;

/// Broadcasts a second and VLAN. A thousand take a /24 through in a quarter of a second, are 0.05 % of a gigabit
/// segment, and stay below the storm control of common switches and the interrupts a small device
/// can bear.
pub(super) const RATE: u64 = 1_000;
/// Broadcasts that may follow each other at once in one VLAN.
pub(super) const BURST: u64 = 16;
/// Units that may wait for their VLAN's turn before the wide lane waits too: a second of one VLAN.
pub(super) const DEFERRED_MAX: usize = RATE as usize;

/// The turns of every VLAN, and the units that wait for theirs.
#[derive(Clone, Debug)]
pub(super) struct Broadcasts {
    interval: Duration,
    tolerance: Duration,
    /// By VLAN, untagged first: the next turn if there were no bursts.
    next: Box<[Instant; 4096]>,
    deferred: BinaryHeap<Reverse<(Instant, u64)>>,
}

impl Broadcasts {
    pub(super) fn new(rate: u64) -> Self {
        let interval = Duration::from_nanos(1_000_000_000 / rate.clamp(1, 1_000_000_000));
        Self {
            interval,
            tolerance: interval * (BURST - 1) as u32,
            next: Box::new([Instant::ZERO; 4096]),
            deferred: BinaryHeap::with_capacity(DEFERRED_MAX),
        }
    }

    /// Takes the next turn in `vlan`: `None` if it is now, else when it is.
    #[inline]
    pub(super) fn turn(&mut self, now: Instant, vlan: Option<VlanId>) -> Option<Instant> {
        let next = &mut self.next[vlan.map_or(0, |vlan| usize::from(vlan.id()))];
        let turn = *next;
        *next = turn.max(now) + self.interval;
        let latest = now + self.tolerance;
        (turn > latest).then(|| now + turn.saturating_since(latest))
    }

    /// Remembers that `unit` has its turn at `at`. The caller sees to it that it is not full.
    pub(super) fn defer(&mut self, at: Instant, unit: u64) {
        debug_assert!(!self.is_full());
        self.deferred.push(Reverse((at, unit)));
    }

    /// A unit whose turn has come; it stays until [`Broadcasts::pop`].
    pub(super) fn due(&self, now: Instant) -> Option<u64> {
        let Reverse((at, unit)) = self.deferred.peek()?;
        (*at <= now).then_some(*unit)
    }

    pub(super) fn pop(&mut self) {
        self.deferred.pop();
    }

    pub(super) fn is_full(&self) -> bool {
        self.deferred.len() >= DEFERRED_MAX
    }

    /// When the next deferred unit has its turn.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.deferred.peek().map(|Reverse((at, _))| *at)
    }

    /// The lowest unit that waits.
    pub(super) fn lowest(&self) -> Option<u64> {
        self.deferred.iter().map(|Reverse((_, unit))| *unit).min()
    }

    pub(super) fn clear(&mut self) {
        self.deferred.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_vlan_has_its_burst_and_its_rate() {
        let mut broadcasts = Broadcasts::new(1_000);
        let start = Instant::ZERO + Duration::from_secs(1);
        for vlan in [None, VlanId::new(1), VlanId::new(4094)] {
            let turns: Vec<_> = (0..100).map(|_| broadcasts.turn(start, vlan)).collect();
            assert!(turns[..16].iter().all(Option::is_none));
            for (n, turn) in turns[16..].iter().enumerate() {
                let due = start + Duration::from_millis(n as u64 + 1);
                assert_eq!(*turn, Some(due));
            }
        }
        // A quiet time earns one burst, not more.
        let later = start + Duration::from_secs(60);
        let at_once = (0..100)
            .filter(|_| broadcasts.turn(later, None).is_none())
            .count();
        assert_eq!(at_once, 16);
    }

    #[test]
    fn deferred_units_come_in_the_order_of_their_turns() {
        let mut broadcasts = Broadcasts::new(1_000);
        let at = |ms| Instant::ZERO + Duration::from_millis(ms);
        for unit in 0..DEFERRED_MAX as u64 {
            assert!(!broadcasts.is_full());
            broadcasts.defer(at(DEFERRED_MAX as u64 - unit), unit);
        }
        assert!(broadcasts.is_full());
        assert_eq!(
            (broadcasts.due(at(0)), broadcasts.lowest()),
            (None, Some(0))
        );
        for ms in 1..=DEFERRED_MAX as u64 {
            assert_eq!(broadcasts.next_at(), Some(at(ms)));
            assert_eq!(broadcasts.due(at(ms)), Some(DEFERRED_MAX as u64 - ms));
            broadcasts.pop();
        }
        assert_eq!(broadcasts.next_at(), None);
    }
}
