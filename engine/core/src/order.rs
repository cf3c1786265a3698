//! The order in which units are visited: a keyed permutation of `0..n`, with no state but its key.
//!
//! It is a generalized Feistel network (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
//! CT-RSA 2002) over `a` x `2^k`, the smallest such rectangle around `n` with `2^k` near its root,
//! and cycle walking over the few values between `n` and `a * 2^k`. The right half is a power of
//! two so that splitting and joining are shifts; the rectangle exceeds `n` by less than `2^k`, so
//! walking is rare. It is no cipher: it spreads load, it hides nothing.
//!
//! `docs/decisions/0001-order-and-units.md` says why this and not a cyclic group.

/// Rounds for domains large enough that four mix well.
const ROUNDS: usize = 4;
/// Rounds of any domain: small ones need more to mix, and cost nothing as they are soon walked.
const ROUNDS_SMALL: usize = 8;
/// Below this many values a domain is small.
const SMALL: u64 = 1 << 16;

/// Keyed permutation of `0..n`, invertible, no state: the same `n` and seed give the same order on
/// every machine and in every version of this crate that keeps [`crate::request::REQUEST_VERSION`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    n: u64,
    /// Values of the left half.
    left: u64,
    /// Bits of the right half.
    right_bits: u32,
    right_mask: u64,
    rounds: usize,
    keys: [u64; ROUNDS_SMALL],
}

impl Order {
    /// The permutation of `0..n` that `seed` names; `n` may be anything up to `u64::MAX`.
    pub fn new(n: u64, seed: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        let right_bits = bits / 2;
        let right_mask = (1 << right_bits) - 1;
        let mut state = seed;
        Self {
            n,
            left: (n >> right_bits) + u64::from(n & right_mask != 0),
            right_bits,
            right_mask,
            rounds: if n < SMALL { ROUNDS_SMALL } else { ROUNDS },
            keys: std::array::from_fn(|_| split_mix(&mut state)),
        }
    }

    /// How many values it permutes.
    pub fn len(&self) -> u64 {
        self.n
    }

    /// True when there is nothing to permute.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// The value at `position`, which must be below [`Order::len`].
    #[inline]
    pub fn at(&self, position: u64) -> u64 {
        debug_assert!(position < self.n, "position {position} of {}", self.n);
        let mut value = self.forward(position);
        while value >= self.n {
            value = self.forward(value);
        }
        value
    }

    /// The position of `value`, which must be below [`Order::len`]: the inverse of [`Order::at`].
    #[inline]
    pub fn position(&self, value: u64) -> u64 {
        debug_assert!(value < self.n, "value {value} of {}", self.n);
        let mut position = self.backward(value);
        while position >= self.n {
            position = self.backward(position);
        }
        position
    }

    #[inline]
    fn forward(&self, x: u64) -> u64 {
        let (mut left, mut right) = (x >> self.right_bits, x & self.right_mask);
        for pair in self.keys[..self.rounds].chunks_exact(2) {
            left += below(mix(right, pair[0]), self.left);
            if left >= self.left {
                left -= self.left;
            }
            right ^= (mix(left, pair[1]) >> 32) & self.right_mask;
        }
        (left << self.right_bits) | right
    }

    #[inline]
    fn backward(&self, x: u64) -> u64 {
        let (mut left, mut right) = (x >> self.right_bits, x & self.right_mask);
        for pair in self.keys[..self.rounds].chunks_exact(2).rev() {
            right ^= (mix(left, pair[1]) >> 32) & self.right_mask;
            let step = below(mix(right, pair[0]), self.left);
            left = if left >= step {
                left - step
            } else {
                left + self.left - step
            };
        }
        (left << self.right_bits) | right
    }
}

/// Keyed hash of a half. Halves are small numbers next to each other: one multiplication alone
/// would map them to steps of equal length, so what it makes of them is folded and multiplied
/// again. The high bits are the good ones.
#[inline]
fn mix(half: u64, key: u64) -> u64 {
    let spread = (half ^ key).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (spread ^ (spread >> 32)).wrapping_mul(0xc4ce_b9fe_1a85_ec53)
}

/// `hash` scaled to `0..bound` without a division (Lemire, "Fast Random Integer Generation in an
/// Interval", 2019).
#[inline]
fn below(hash: u64, bound: u64) -> u64 {
    ((u128::from(hash) * u128::from(bound)) >> 64) as u64
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): makes round keys of a seed, whatever its bits.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Chi-square of counts that should all be the same, less its expectation, in standard
    /// deviations.
    fn excess(counts: &[u64]) -> f64 {
        let mean = counts.iter().sum::<u64>() as f64 / counts.len() as f64;
        let chi: f64 = counts
            .iter()
            .map(|c| (*c as f64 - mean).powi(2) / mean)
            .sum();
        let freedom = counts.len() as f64 - 1.0;
        (chi - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn every_small_domain_is_permuted_whole() {
        let sizes = (0..=600).chain([1023, 1024, 1025, 4095, 65_535, 65_536, 65_537, 100_003]);
        for n in sizes {
            for seed in [0, 1, u64::MAX] {
                let order = Order::new(n, seed);
                let mut seen = vec![false; n as usize];
                for position in 0..n {
                    let value = order.at(position);
                    assert!(
                        !std::mem::replace(&mut seen[value as usize], true),
                        "{n} {value}"
                    );
                    assert_eq!(order.position(value), position, "{n}");
                }
            }
        }
    }

    #[test]
    fn the_rectangle_hardly_exceeds_the_domain() {
        let sizes = (1..5000).chain((12..64).flat_map(|b| [(1 << b) - 1, 1 << b, (1 << b) + 1]));
        for n in sizes.chain([u64::MAX - 1, u64::MAX]) {
            let order = Order::new(n, 0);
            let cells = u128::from(order.left) << order.right_bits;
            assert!(cells >= n.into());
            let walked = cells - u128::from(n);
            assert!(walked <= order.right_mask.into(), "{n}: {walked}");
            assert!(
                u128::from(order.right_mask).pow(2) <= 2 * u128::from(n),
                "{n}"
            );
        }
    }

    #[test]
    fn the_order_of_a_seed_never_changes() {
        // Written down: a checkpoint of an older build goes on in this order.
        let order = Order::new(1_000_003, 42);
        let first: Vec<u64> = (0..6).map(|position| order.at(position)).collect();
        assert_eq!(first, [658_136, 790_442, 886_379, 762_166, 451_170, 57_573]);
    }

    #[test]
    fn neighbors_in_the_order_are_far_apart_in_the_plan() {
        // 4094 VLANs of a /24 each, in plan order: any run of positions must be spread over them
        // evenly.
        const HOSTS: u64 = 254;
        const VLANS: u64 = 4094;
        for seed in 0..4 {
            let order = Order::new(HOSTS * VLANS, seed);
            for start in [0, 123_456, HOSTS * VLANS - 8 * VLANS] {
                let mut vlans = vec![0_u64; VLANS as usize];
                let mut hosts = vec![0_u64; HOSTS as usize];
                for position in start..start + 8 * VLANS {
                    let value = order.at(position);
                    vlans[(value / HOSTS) as usize] += 1;
                    hosts[(value % HOSTS) as usize] += 1;
                }
                let (vlans_off, hosts_off) = (excess(&vlans), excess(&hosts));
                assert!(
                    vlans_off.abs() < 6.0 && hosts_off.abs() < 6.0,
                    "{vlans_off} {hosts_off}"
                );
                // 8 on average; Poisson makes 40 less likely than one in 10^14.
                assert!(vlans.iter().all(|count| *count < 40));
            }
        }
    }

    #[test]
    fn steps_of_the_order_take_every_length() {
        for n in [1 << 12, 1_000_003, (1 << 40) + 7, u64::MAX] {
            for seed in 0..4 {
                let order = Order::new(n, seed);
                let samples = n.min(200_000);
                let (mut steps, mut sixteenths) = (vec![0_u64; 64], vec![0_u64; 16]);
                let part =
                    |value: u64, parts: u128| (u128::from(value) * parts / u128::from(n)) as usize;
                for position in 0..samples - 1 {
                    let (a, b) = (order.at(position), order.at(position + 1));
                    let step = if b >= a { b - a } else { n - (a - b) };
                    steps[part(step, 64)] += 1;
                    sixteenths[part(a, 16)] += 1;
                }
                assert!(
                    excess(&steps) < 6.0,
                    "steps of {n}, seed {seed}: {}",
                    excess(&steps)
                );
                // A whole small domain is more even than chance; only too uneven is wrong.
                assert!(
                    excess(&sixteenths) < 6.0,
                    "{n}, seed {seed}: {}",
                    excess(&sixteenths)
                );
            }
        }
    }

    #[test]
    fn seeds_give_orders_of_their_own() {
        let n = 1_000_003;
        for (a, b) in [(0, 1), (1, 2), (7, 1 << 63 | 7)] {
            let (a, b) = (Order::new(n, a), Order::new(n, b));
            let same = (0..10_000)
                .filter(|position| a.at(*position) == b.at(*position))
                .count();
            assert!(same < 5, "{same}");
        }
    }

    proptest! {
        #[test]
        fn position_is_the_inverse_of_at(n in 1..=u64::MAX, seed: u64, at: u64) {
            let order = Order::new(n, seed);
            let value = order.at(at % n);
            prop_assert!(value < n);
            prop_assert_eq!(order.position(value), at % n);
            prop_assert_eq!(order.at(order.position(at % n)), at % n);
        }
    }
}
