//! When each of a fixed number of things is due, each at most once: a binary heap in which every thing knows its place.

use crate::time::Instant;

/// Not in the heap.
const NOWHERE: u32 = u32::MAX;

/// Moments by index. Setting, moving and removing take the logarithm of how many there are; nothing is allocated once
/// it is made.
#[derive(Clone, Debug, Default)]
pub struct Schedule {
    heap: Vec<(Instant, u32)>,
    /// By index: its place in `heap`.
    places: Vec<u32>,
}

impl Schedule {
    /// An empty schedule for the indices below `capacity`.
    pub fn new(capacity: usize) -> Self {
        Self {
            heap: Vec::with_capacity(capacity),
            places: vec![NOWHERE; capacity],
        }
    }

    /// `index`, which must be below the capacity, is due at `at`, whenever it was due before.
    pub fn set(&mut self, index: u32, at: Instant) {
        let mut place = self.places[index as usize] as usize;
        if place == NOWHERE as usize {
            place = self.heap.len();
            self.heap.push((at, index));
            self.places[index as usize] = place as u32;
        }
        self.heap[place].0 = at;
        self.settle(place);
    }

    /// `index` is not due any more. False if it was not.
    pub fn remove(&mut self, index: u32) -> bool {
        let place = std::mem::replace(&mut self.places[index as usize], NOWHERE);
        if place == NOWHERE {
            return false;
        }
        self.heap.swap_remove(place as usize);
        if let Some((_, moved)) = self.heap.get(place as usize) {
            self.places[*moved as usize] = place;
            self.settle(place as usize);
        }
        true
    }

    /// What is due first, and when.
    #[inline]
    pub fn first(&self) -> Option<(Instant, u32)> {
        self.heap.first().copied()
    }

    /// Moves what is at `place` to where it belongs.
    fn settle(&mut self, mut place: usize) {
        while place > 0 && self.heap[place] < self.heap[(place - 1) / 2] {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        loop {
            let children = 2 * place + 1..(2 * place + 3).min(self.heap.len());
            match children.min_by_key(|child| self.heap[*child]) {
                Some(child) if self.heap[child] < self.heap[place] => {
                    self.swap(place, child);
                    place = child;
                }
                _ => return,
            }
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.heap.swap(a, b);
        for place in [a, b] {
            self.places[self.heap[place].1 as usize] = place as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_a_tree(steps in prop::collection::vec((0..20u32, prop::option::of(0..50u64)), 0..300)) {
            let (mut schedule, mut tree) = (Schedule::new(20), BTreeMap::new());
            for (index, at) in steps {
                match at.map(Instant::from_nanos) {
                    Some(at) => {
                        schedule.set(index, at);
                        tree.insert(index, at);
                    }
                    None => prop_assert_eq!(schedule.remove(index), tree.remove(&index).is_some()),
                }
                let first = tree.iter().map(|(index, at)| (*at, *index)).min();
                prop_assert_eq!(schedule.first(), first);
            }
        }
    }
}
