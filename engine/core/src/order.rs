//! The order in which units are visited: a keyed permutation of `0..n`, with no state but its key.
//!
//! It is a generalized Feistel network (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
//! CT-RSA 2002) over `a` x `2^k`, the smallest such rectangle around `n` with `2^k` near its root,
//! and cycle walking over the few values between `n` and `a * 2^k`. The right half is a power of two so that
//! splitting and joining are shifts; the rectangle exceeds `n` by less than `2^k`, so walking is
//! rare. It is no cipher: it spreads load, it hides nothing.
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
            right ^= mix(left, pair[1]) & self.right_mask;
        }
        (left << self.right_bits) | right
    }

    #[inline]
    fn backward(&self, x: u64) -> u64 {
        let (mut left, mut right) = (x >> self.right_bits, x & self.right_mask);
        for pair in self.keys[..self.rounds].chunks_exact(2).rev() {
            right ^= mix(left, pair[1]) & self.right_mask;
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

/// Keyed hash of a half: one widening multiplication, both halves of the product folded.
#[inline]
fn mix(half: u64, key: u64) -> u64 {
    let product = u128::from(half ^ key) * u128::from(key.rotate_left(32) | 1);
    (product >> 64) as u64 ^ product as u64
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
