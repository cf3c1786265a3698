//! How long an answer takes: when each probe left, and for how long it is worth waiting.
//!
//! [`Rtt`] is RFC 6298's estimator with two changes. A scan asks many networks at once, so the mean
//! of the near ones would cut off the far ones: the longest round trip seen counts for half as
//! much again. And a timer that is too short makes nothing but another question, so the floor is low.
//!
//! RFC 6298's floor of a second is for acknowledgements that are held back on purpose. Nobody holds back a SYN-ACK, a reset
//! or an echo: what comes later than the round trip was held up by a machine that had other things to do. Between two
//! passes [`Rtt::timeout`] is therefore waited, whose floor falls to [`TIMEOUT_MIN_KNOWN`] once the network is known; what comes
//! later still counts, and makes the next wait longer. After the last pass of all [`Rtt::timeout_last`] is waited, whose floor stays
//! where it also covers a station that sleeps, or a router that must first ask for an address itself: what comes after that is lost.

use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Instant;

/// What to wait for answers before one was ever seen (RFC 6298 §2.1).
pub const TIMEOUT_INITIAL: Duration = Duration::from_secs(1);
/// Shortest wait: a router that resolves an address, a station that sleeps until the next beacon.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// Shortest wait after the last pass over a window: with the shortest waits between three passes as long as those that nothing is
/// known of were ever waited for.
pub const TIMEOUT_MIN_LAST: Duration = Duration::from_millis(250);
/// Shortest wait before something is asked again, once [`SAMPLES_KNOWN`] round trips are known: several ticks of a loaded
/// machine's scheduler and a network card that collects its interrupts.
pub const TIMEOUT_MIN_KNOWN: Duration = Duration::from_millis(25);
/// Round trips after which a network is known.
pub const SAMPLES_KNOWN: u32 = 128;
/// Longest wait: more than a geostationary hop on each side. What comes later is lost to its pass.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(2);

/// Estimates the round-trip time of the whole scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rtt {
    /// How many, as far as it matters.
    #[serde(default)]
    samples: u32,
    smoothed: u64,
    variance: u64,
    longest: u64,
    seen: bool,
}

impl Rtt {
    /// Takes a round trip into account.
    pub fn sample(&mut self, rtt: Duration) {
        let rtt = nanos(rtt);
        if self.seen {
            self.variance = (3 * self.variance + self.smoothed.abs_diff(rtt)) / 4;
            self.smoothed = (7 * self.smoothed + rtt) / 8;
        } else {
            self.smoothed = rtt;
            self.variance = rtt / 2;
        }
        self.seen = true;
        self.samples = self.samples.saturating_add(1);
        self.longest = self.longest.max(rtt);
    }

    /// Takes into account an answer to a probe that had left more than once.
    ///
    /// Came it as soon after the last time as answers do, then it is the answer to that, and an earlier
    /// one was lost: nothing is learnt. Otherwise it may be to the first, and answers take longer than was thought.
    pub fn sample_ambiguous(&mut self, since_first: Duration, since_last: Duration) {
        if !self.seen || nanos(since_last) > self.longest {
            self.seen = true;
            self.longest = self.longest.max(nanos(since_first));
        }
    }

    /// The estimate read back from a checkpoint, whatever it says within reason.
    #[must_use]
    pub fn within_reason(self) -> Self {
        let sane = |n| nanos(Duration::from_nanos(n));
        Self {
            samples: self.samples,
            smoothed: sane(self.smoothed),
            variance: sane(self.variance),
            longest: sane(self.longest),
            seen: self.seen,
        }
    }

    /// How long to wait for an answer before asking again.
    pub fn timeout(&self) -> Duration {
        let known = self.samples >= SAMPLES_KNOWN;
        self.at_least(if known {
            TIMEOUT_MIN_KNOWN
        } else {
            TIMEOUT_MIN
        })
    }

    /// Whether more round trips say little more.
    pub fn is_known(&self) -> bool {
        self.samples >= SAMPLES_KNOWN
    }

    /// How long after its probe an answer may still come.
    pub fn timeout_last(&self) -> Duration {
        self.at_least(TIMEOUT_MIN_LAST)
    }

    fn at_least(&self, least: Duration) -> Duration {
        if !self.seen {
            return TIMEOUT_INITIAL;
        }
        let expected = self.smoothed + 4 * self.variance;
        let timeout = Duration::from_nanos(expected.max(self.longest + self.longest / 2));
        timeout.clamp(least, TIMEOUT_MAX)
    }
}

/// Anything beyond an hour is no round trip.
fn nanos(rtt: Duration) -> u64 {
    rtt.min(Duration::from_secs(3600)).as_nanos() as u64
}

/// Which probes are timed: all, unless there are so many that their times would cost more than sending them.
///
/// The time of a probe and the look for it are two visits to a table that no cache holds. Above [`RATE_ALL`] one
/// question in [`ONE_IN`] is timed, by address and port, so that an answer that was not timed need not be looked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampling {
    counted: u64,
    since: Instant,
    few: bool,
}

/// Probes a second up to which all are timed.
pub const RATE_ALL: u64 = 100_000;
/// Of how many questions one is timed when they are too many.
pub const ONE_IN: u64 = 64;
/// Probes over which their rate is measured.
const SPAN: u64 = 2_048;

impl Sampling {
    /// `probes` more are about to leave at `now`. As long as the network is not `known`, all are timed.
    pub fn count(&mut self, now: Instant, probes: usize, known: bool) {
        self.counted += probes as u64;
        let passed = now - self.since;
        let all = Duration::from_nanos(SPAN * 1_000_000_000 / RATE_ALL);
        if self.counted >= SPAN || passed > all {
            self.few = known && self.counted >= SPAN && passed < all;
            (self.counted, self.since) = (0, now);
        }
    }

    /// Whether only some are timed.
    pub fn is_few(&self) -> bool {
        self.few
    }

    /// Whether the question for this port, 0 for none, is timed.
    #[inline]
    pub fn takes(&self, ip: IpAddr, port: u16) -> bool {
        let address = match ip {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => ip.to_bits() as u64,
        };
        let mixed = (address ^ u64::from(port) << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        !self.few || mixed >> (u64::BITS - ONE_IN.ilog2()) == 0
    }
}

/// When a probe left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The first time.
    pub first: Instant,
    /// The last time; the same if it left once.
    pub last: Instant,
}

/// The probes sent last, with their times: a table of fixed size, each probe overwriting the oldest of
/// the `WAYS` that share its place.
///
/// A probe that is no longer here has lost its round-trip time, or, if nothing else proves its answer,
/// its answer; the next pass asks again. The more ways, the fewer are lost before the table is full, and the
/// longer it takes to look.
#[derive(Clone, Debug)]
pub struct Outstanding<const WAYS: usize> {
    sets: Box<[[Entry; WAYS]]>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    sent: Sent,
}

const FREE: Entry = Entry {
    key: 0,
    sent: Sent {
        first: Instant::ZERO,
        last: Instant::ZERO,
    },
};

impl<const WAYS: usize> Outstanding<WAYS> {
    /// A table of at least `entries` probes.
    pub fn new(entries: usize) -> Self {
        let sets = entries.div_ceil(WAYS).next_power_of_two();
        Self {
            sets: vec![[FREE; WAYS]; sets].into_boxed_slice(),
        }
    }

    /// The probe that `key` names leaves. If it left before, no longer than [`TIMEOUT_MAX`] ago, the first
    /// time stays, as the answer to come may still be to that.
    #[inline]
    pub fn insert(&mut self, key: u64, now: Instant) {
        let at = self.at(key);
        let set = &mut self.sets[at];
        let (mut place, mut first) = (0, now);
        for (way, entry) in set.iter().enumerate() {
            if entry.key == key {
                place = way;
                if now <= entry.sent.first + TIMEOUT_MAX && !entry.is_free() {
                    first = entry.sent.first;
                }
                break;
            }
            if entry.sent.last < set[place].sent.last {
                place = way;
            }
        }
        set[place] = Entry {
            key,
            sent: Sent { first, last: now },
        };
    }

    /// When the probe that `key` names left.
    #[inline]
    pub fn get(&self, key: u64) -> Option<Sent> {
        let set = &self.sets[self.at(key)];
        let entry = set.iter().find(|e| e.key == key && !e.is_free())?;
        Some(entry.sent)
    }

    #[inline]
    fn at(&self, key: u64) -> usize {
        (key >> 20) as usize & (self.sets.len() - 1)
    }
}

impl Entry {
    /// One in 2^64 probes has key 0, and no place of its own.
    #[inline]
    fn is_free(&self) -> bool {
        self.key == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn waits_long_until_it_knows_better_and_never_too_short() {
        let mut rtt = Rtt::default();
        let timeouts = |rtt: &Rtt| (rtt.timeout(), rtt.timeout_last());
        assert_eq!(timeouts(&rtt), (TIMEOUT_INITIAL, TIMEOUT_INITIAL));
        for n in 0..1000 {
            rtt.sample(Duration::from_micros(200));
            let least = match n + 1 < SAMPLES_KNOWN {
                true => TIMEOUT_MIN,
                false => TIMEOUT_MIN_KNOWN,
            };
            assert_eq!(timeouts(&rtt), (least, TIMEOUT_MIN_LAST));
        }
        // One far network among near ones is waited for, though the mean has forgotten it.
        rtt.sample(300 * MS);
        for _ in 0..1000 {
            rtt.sample(Duration::from_micros(200));
        }
        assert_eq!(rtt.timeout(), 450 * MS);
        rtt.sample(Duration::from_secs(100_000));
        assert_eq!(rtt.timeout(), TIMEOUT_MAX);
    }

    #[test]
    fn loss_is_told_from_distance() {
        let mut near = Rtt::default();
        for _ in 0..100 {
            near.sample(MS);
        }
        assert_eq!(near.timeout(), TIMEOUT_MIN);
        // Lost once, then answered as fast as ever: however often, nothing changes.
        for _ in 0..100 {
            near.sample_ambiguous(101 * MS, MS);
        }
        assert_eq!(near.timeout(), TIMEOUT_MIN);
        // A far host's answer to the first question comes in the middle of the second wait.
        near.sample_ambiguous(160 * MS, 60 * MS);
        assert_eq!(near.timeout(), 240 * MS);
        let mut first = Rtt::default();
        first.sample_ambiguous(1200 * MS, 200 * MS);
        assert_eq!(first.timeout(), 1800 * MS);
    }

    #[test]
    fn one_question_in_64_is_timed_while_they_are_many() {
        let timed = |sampling: &Sampling| {
            let ports = (0..=u16::MAX).filter(|p| sampling.takes([10, 0, 0, 1].into(), *p));
            let hosts = (0..=u16::MAX).filter(|n| {
                let [a, b] = n.to_be_bytes();
                sampling.takes([10, 1, a, b].into(), 80)
            });
            (ports.count(), hosts.count())
        };
        let mut sampling = Sampling::default();
        let mut now = Instant::ZERO;
        for (rate, batch, few) in [
            (99_000, 64, false),
            (102_000, 64, true),
            (5_000_000, 1024, true),
            (90_000, 64, false),
            (1_000_000, 1, true),
            (10, 1, false),
        ] {
            for _ in 0..3 * SPAN {
                sampling.count(now, batch, true);
                now += Duration::from_nanos(batch as u64 * 1_000_000_000 / rate);
            }
            assert_eq!(sampling.is_few(), few, "{rate}");
            let (ports, hosts) = timed(&sampling);
            let due = if few { 900..1150 } else { 65_536..65_537 };
            assert!(
                due.contains(&ports) && due.contains(&hosts),
                "{ports} {hosts}"
            );
        }
    }

    #[test]
    fn remembers_the_first_time_and_the_last() {
        let mut table = Outstanding::<4>::new(1024);
        let at = |ms: u32| Instant::ZERO + ms * MS;
        assert_eq!((table.get(42), table.get(0)), (None, None));
        for (now, first) in [(5, 5), (900, 5), (2005, 5), (2006, 2006)] {
            table.insert(42, at(now));
            let sent = Sent {
                first: at(first),
                last: at(now),
            };
            assert_eq!(table.get(42), Some(sent));
        }
    }

    #[test]
    fn the_oldest_of_a_full_place_gives_way() {
        let mut table = Outstanding::<4>::new(4);
        let at = |ms: u32| Instant::ZERO + ms * MS;
        for n in 1..=5 {
            table.insert(n, at(n as u32));
        }
        assert_eq!(table.get(1), None);
        assert!((2..=5).all(|n| table.get(n).is_some()));
    }
}
