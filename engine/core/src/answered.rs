//! One bit a probe: whether it has been answered.

/// A set of the numbers below a length fixed when it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    words: Vec<u64>,
    length: u64,
}

impl Answered {
    /// The empty set of numbers below `length`.
    pub fn new(length: u64) -> Self {
        Self {
            words: vec![0; length.div_ceil(64) as usize],
            length,
        }
    }

    /// How many numbers it can hold: each is below this.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether `number`, which must be below the length, is in the set.
    #[inline]
    pub fn contains(&self, number: u64) -> bool {
        contains(&self.words, number)
    }

    /// Adds `number`, which must be below the length; false if it was there already.
    #[inline]
    pub fn insert(&mut self, number: u64) -> bool {
        insert(&mut self.words, number)
    }

    /// The lowest number from `from` on that is not in the set; the length if there is none.
    #[inline]
    pub fn next_missing(&self, from: u64) -> u64 {
        next_missing(&self.words, from).min(self.length)
    }

    /// Empties it; the memory stays.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// Its words, lowest number in the lowest bit of the first.
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Its words, to be filled from a checkpoint.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }
}

/// Whether bit `number` of `words` is set.
#[inline]
pub(crate) fn contains(words: &[u64], number: u64) -> bool {
    words[(number / 64) as usize] >> (number % 64) & 1 == 1
}

/// Sets bit `number` of `words`; false if it was set already.
#[inline]
pub(crate) fn insert(words: &mut [u64], number: u64) -> bool {
    let word = &mut words[(number / 64) as usize];
    let bit = 1 << (number % 64);
    let new = *word & bit == 0;
    *word |= bit;
    new
}

/// The lowest clear bit of `words` from `from` on; the number of bits if there is none.
#[inline]
pub(crate) fn next_missing(words: &[u64], from: u64) -> u64 {
    let mut at = (from / 64) as usize;
    let mut below = (1 << (from % 64)) - 1;
    while at < words.len() {
        let missing = !(words[at] | below);
        if missing != 0 {
            return at as u64 * 64 + u64::from(missing.trailing_zeros());
        }
        below = 0;
        at += 1;
    }
    words.len() as u64 * 64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_set_misses_nothing() {
        for length in [0, 1, 63, 64, 65, 128] {
            let mut set = Answered::new(length);
            assert!((0..length).all(|n| set.next_missing(n) == n));
            assert!((0..length).all(|n| set.insert(n)));
            assert!((0..=length).all(|n| set.next_missing(n) == length));
            set.clear();
            assert!((0..length).all(|n| !set.contains(n)));
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_tree(numbers in proptest::collection::vec(0..300u64, 0..300)) {
            let (mut set, mut tree) = (Answered::new(300), BTreeSet::new());
            for n in numbers {
                prop_assert_eq!(set.insert(n), tree.insert(n));
            }
            for n in 0..300 {
                prop_assert_eq!(set.contains(n), tree.contains(&n));
                let next = (n..300).find(|n| !tree.contains(n)).unwrap_or(300);
                prop_assert_eq!(set.next_missing(n), next);
            }
        }
    }
}
