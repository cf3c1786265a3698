//! Longest prefix, worked out once: nested prefixes become disjoint pieces, each with what holds
//! there.

use crate::interval::{Address, Interval};

/// A prefix and what it says; where prefixes nest, the inner one holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<P, V> {
    /// The addresses of the prefix. Two prefixes are nested, equal or disjoint, never half over
    /// each other.
    pub(crate) interval: Interval<P>,
    /// Of two entries for the same prefix the higher rank holds.
    pub(crate) rank: u8,
    /// What it says.
    pub(crate) value: V,
}

/// Addresses that are all treated alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<P, V> {
    /// Which addresses.
    pub(crate) interval: Interval<P>,
    /// What holds for them.
    pub(crate) value: V,
    /// Another value with the same claim to them: the longest prefix alone does not decide.
    pub(crate) rival: Option<V>,
}

/// Disjoint pieces, ascending: for each address the value of the longest prefix that holds it.
pub(crate) fn flatten<P: Address, V: Copy + PartialEq>(
    mut entries: Vec<Entry<P, V>>,
) -> Vec<Piece<P, V>> {
    // Outer before inner, and of equals the holder first.
    entries.sort_by(|a, b| {
        let (x, y) = (&a.interval, &b.interval);
        x.first
            .cmp(&y.first)
            .then(y.last.cmp(&x.last))
            .then(b.rank.cmp(&a.rank))
    });
    let mut pieces: Vec<Piece<P, V>> = Vec::with_capacity(2 * entries.len() + 1);
    let mut open: Vec<Piece<P, V>> = Vec::new();
    // The lowest address that no piece covers yet; `None` past the highest.
    let mut cursor = None;
    for group in entries.chunk_by(|a, b| a.interval == b.interval) {
        let (interval, value) = (group[0].interval, group[0].value);
        let rival = group
            .iter()
            .find(|e| e.rank == group[0].rank && e.value != value);
        while let Some(outer) = open
            .last()
            .filter(|outer| outer.interval.last < interval.first)
        {
            cursor = close(outer, cursor, outer.interval.last, &mut pieces);
            open.pop();
        }
        if let (Some(outer), Some(before)) = (open.last(), interval.first.prev()) {
            close(outer, cursor, before, &mut pieces);
        }
        cursor = Some(interval.first);
        open.push(Piece {
            interval,
            value,
            rival: rival.map(|e| e.value),
        });
    }
    while let Some(outer) = open.pop() {
        cursor = close(&outer, cursor, outer.interval.last, &mut pieces);
    }
    pieces
}

/// The piece that holds `point`.
pub(crate) fn find<P: Address, V>(pieces: &[Piece<P, V>], point: P) -> Option<&Piece<P, V>> {
    let at = pieces.partition_point(|piece| piece.interval.last < point);
    pieces
        .get(at)
        .filter(|piece| piece.interval.contains(point))
}

/// Gives `open` the addresses from `cursor` to `last`, if there are any left; returns what follows.
fn close<P: Address, V: Copy>(
    open: &Piece<P, V>,
    cursor: Option<P>,
    last: P,
    pieces: &mut Vec<Piece<P, V>>,
) -> Option<P> {
    let first = cursor?;
    if first > last {
        return cursor;
    }
    pieces.push(Piece {
        interval: Interval { first, last },
        ..*open
    });
    last.next()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(base: u32, len: u8, rank: u8, value: u32) -> Entry<u32, u32> {
        Entry {
            interval: base.prefix(len),
            rank,
            value,
        }
    }

    #[test]
    fn the_inner_prefix_holds_and_the_outer_one_around_it() {
        let pieces = flatten(vec![
            entry(0x0a01_0000, 16, 0, 2),
            entry(0x0a00_0000, 8, 0, 1),
        ]);
        let shape: Vec<_> = pieces.iter().map(|p| (p.interval.first, p.value)).collect();
        assert_eq!(
            shape,
            [(0x0a00_0000, 1), (0x0a01_0000, 2), (0x0a02_0000, 1)]
        );
    }

    #[test]
    fn equal_claims_are_rivals_unless_ranked() {
        let tied = flatten(vec![entry(0, 0, 1, 7), entry(0, 0, 1, 8)]);
        assert_eq!((tied.len(), tied[0].rival.is_some()), (1, true));
        let ranked = flatten(vec![entry(0, 0, 1, 7), entry(0, 0, 2, 8)]);
        assert_eq!((ranked[0].value, ranked[0].rival), (8, None));
    }

    proptest! {
        #[test]
        fn every_address_gets_the_longest_prefix(
            written in prop::collection::vec((any::<u32>(), 0_u8..=32, 0_u8..3), 0..40),
            probes in prop::collection::vec(any::<u32>(), 20),
        ) {
            // Few bits that vary, so that prefixes nest.
            let entries: Vec<_> = written.iter().enumerate()
                .map(|(i, (base, len, rank))| entry(base & 0xf00f_000f, *len, *rank, i as u32))
                .collect();
            let pieces = flatten(entries.clone());
            prop_assert!(pieces.windows(2).all(|w| w[0].interval.last < w[1].interval.first));
            let edges = entries.iter().flat_map(|e| [e.interval.first, e.interval.last]);
            for point in edges.chain(probes).chain([0, u32::MAX]) {
                let best = entries.iter()
                    .filter(|e| e.interval.contains(point))
                    .max_by_key(|e| (std::cmp::Reverse(e.interval.count()), e.rank));
                let found = find(&pieces, point);
                prop_assert_eq!(found.is_some(), best.is_some());
                if let (Some(found), Some(best)) = (found, best) {
                    let held = entries[found.value as usize];
                    prop_assert_eq!((held.interval, held.rank), (best.interval, best.rank));
                }
            }
        }
    }
}
