//! How many frames were not believed, by reason.

use std::collections::BTreeMap;

use sonde_wire::RxDrop;

/// A counter for each [`RxDrop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Drops([u64; RxDrop::ALL.len()]);

impl Drops {
    /// Counts one.
    #[inline]
    pub fn count(&mut self, reason: RxDrop) {
        self.0[reason.index()] += 1;
    }

    /// How many were dropped for `reason`.
    pub fn of(&self, reason: RxDrop) -> u64 {
        self.0[reason.index()]
    }

    /// How many were dropped in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons that occurred, by the name they have in reports.
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        let counted = RxDrop::ALL.iter().map(|r| (r.name(), self.of(*r)));
        let occurred = counted.filter(|(_, count)| *count > 0);
        occurred.map(|(name, n)| (name.to_owned(), n)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_reason_and_names_what_occurred() {
        let mut drops = Drops::default();
        assert_eq!(drops.by_name(), BTreeMap::new());
        for (n, reason) in RxDrop::ALL.into_iter().enumerate() {
            (0..=n).for_each(|_| drops.count(reason));
        }
        assert_eq!(drops.of(RxDrop::ALL[0]), 1);
        assert_eq!(drops.by_name().len(), RxDrop::ALL.len());
        assert_eq!(drops.by_name()["bad-cookie"], drops.of(RxDrop::BadCookie));
        let all: u64 = (1..=RxDrop::ALL.len() as u64).sum();
        assert_eq!(drops.total(), all);
    }
}
