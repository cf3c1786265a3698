//! How often somebody may ask: a token bucket for each source, in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Moment;

/// So many requests at once, and then one every `every`, for each key.
#[derive(Debug)]
pub struct RateLimit<K> {
    burst: u32,
    every: Duration,
    buckets: Mutex<HashMap<K, Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// When it is full again: each request moves it on by `every`.
    full_at: Moment,
}

/// Keys remembered at a time. When all are in use, new ones are refused until one has recovered.
const KEYS_MAX: usize = 65_536;

impl<K: Eq + Hash> RateLimit<K> {
    /// `burst` at once, at least 1, and one more every `every`.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self {
            burst: burst.max(1),
            every,
            buckets: Mutex::new(HashMap::new()),
        }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The time to wait, if there were too many.
    pub fn allow(&self, key: K, now: Moment) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= KEYS_MAX && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| bucket.full_at > now);
            if buckets.len() >= KEYS_MAX {
                return Err(self.every);
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket { full_at: now });
        let full_at = bucket.full_at.max(now).plus(self.every);
        let ahead = full_at.since(now);
        let room = self.every.saturating_mul(self.burst);
        if ahead > room {
            return Err(ahead - room);
        }
        bucket.full_at = full_at;
        Ok(())
    }
}

/// Whom a source address stands for: an IPv6 host has a whole /64 to ask from.
pub fn source_key(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_micros(1_800_000_000_000_000);

    #[test]
    fn a_burst_passes_and_then_one_at_a_time() {
        let limit = RateLimit::new(3, Duration::from_secs(10));
        for _ in 0..3 {
            assert_eq!(limit.allow("a", START), Ok(()));
        }
        assert_eq!(limit.allow("a", START), Err(Duration::from_secs(10)));
        assert_eq!(limit.allow("b", START), Ok(()), "others are not held up");
        let later = START.plus(Duration::from_secs(10));
        assert_eq!(limit.allow("a", later), Ok(()));
        assert!(limit.allow("a", later).is_err());
    }

    #[test]
    fn memory_is_bounded_and_recovered_keys_make_room() {
        let limit = RateLimit::new(1, Duration::from_secs(10));
        for key in 0..KEYS_MAX {
            assert_eq!(limit.allow(key, START), Ok(()));
        }
        assert!(limit.allow(KEYS_MAX, START).is_err());
        assert_eq!(
            limit.allow(KEYS_MAX, START.plus(Duration::from_secs(11))),
            Ok(())
        );
    }

    #[test]
    fn a_64_is_one_source() {
        let key = |text: &str| source_key(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
