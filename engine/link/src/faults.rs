//! A bad network in front of any link: frames lost, doubled, overtaken and spoilt on their way in.
//!
//! What happens to a frame follows from the seed and its number alone, so a seed replays a failure. Put
//! around both ends, it spoils both directions.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::batch::{FrameBatch, RxBatch, RxMeta};
use crate::{FrameLink, LinkCounters};

/// How bad the network is. The default is a perfect one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Decides which frames are hit.
    pub seed: u64,
    /// Share of frames lost, 0 to 1.
    pub loss: f64,
    /// Share of frames that arrive twice.
    pub duplication: f64,
    /// Share of frames with one bit of their bytes flipped.
    pub corruption: f64,
    /// Share of frames that are held back while others overtake them.
    pub reordering: f64,
    /// Frames that overtake one held back, at most. When no more come, nothing is held back.
    pub reordering_span: u32,
}

/// What a [`FaultyLink`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounters {
    /// Frames lost.
    pub lost: u64,
    /// Frames doubled.
    pub doubled: u64,
    /// Frames (or doubles) with a bit flipped.
    pub corrupted: u64,
    /// Frames (or doubles) held back.
    pub held: u64,
}

/// A link behind a bad network.
#[derive(Debug)]
pub struct FaultyLink<L> {
    inner: L,
    faults: Faults,
    random: SplitMix64,
    /// Frames that have come so far.
    arrivals: u64,
    /// Frames on their way, by the arrival that lets them through and their own number.
    waiting: BTreeMap<(u64, u64), (Vec<u8>, RxMeta)>,
    taken: u64,
    counted: FaultCounters,
    incoming: RxBatch,
}

impl<L: FrameLink> FaultyLink<L> {
    /// Puts a network as bad as `faults` says before `inner`.
    pub fn new(inner: L, faults: Faults) -> Self {
        Self {
            inner,
            faults,
            random: SplitMix64(faults.seed),
            arrivals: 0,
            waiting: BTreeMap::new(),
            taken: 0,
            counted: FaultCounters::default(),
            incoming: RxBatch::new(64),
        }
    }

    /// What was done to the frames so far.
    pub fn faults_done(&self) -> FaultCounters {
        self.counted
    }

    /// The link behind the network.
    pub fn inner_mut(&mut self) -> &mut L {
        &mut self.inner
    }

    /// Decides what becomes of each frame that has come in.
    fn spoil(&mut self) {
        let Self {
            faults,
            random,
            arrivals,
            waiting,
            taken,
            counted,
            incoming,
            ..
        } = self;
        for frame in incoming.iter() {
            *arrivals += 1;
            if random.hits(faults.loss) {
                counted.lost += 1;
                continue;
            }
            let double = random.hits(faults.duplication);
            counted.doubled += u64::from(double);
            for _ in 0..1 + u64::from(double) {
                let mut bytes = frame.bytes.to_vec();
                if random.hits(faults.corruption) && !bytes.is_empty() {
                    let bit = random.below(bytes.len() as u64 * 8);
                    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
                    counted.corrupted += 1;
                }
                let mut due = *arrivals;
                if faults.reordering_span > 0 && random.hits(faults.reordering) {
                    due += 1 + random.below(faults.reordering_span.into());
                    counted.held += 1;
                }
                *taken += 1;
                waiting.insert((due, *taken), (bytes, frame.meta));
            }
        }
        incoming.clear();
    }

    /// Moves to `batch` what is due; everything, once `idle`.
    fn release(&mut self, batch: &mut RxBatch, idle: bool) {
        while !batch.is_full()
            && let Some(first) = self.waiting.first_entry()
            && (idle || first.key().0 <= self.arrivals)
        {
            let (bytes, meta) = first.remove();
            batch.push(&bytes, meta);
        }
    }
}

impl<L: FrameLink> FrameLink for FaultyLink<L> {
    fn transmit(&mut self, batch: &FrameBatch, from: usize) -> io::Result<usize> {
        self.inner.transmit(batch, from)
    }

    fn receive(&mut self, batch: &mut RxBatch, wait: Duration) -> io::Result<()> {
        batch.clear();
        self.release(batch, false);
        if !batch.is_empty() {
            return Ok(());
        }
        // Frames held back wait for others, not for time.
        let mut wait = if self.waiting.is_empty() {
            wait
        } else {
            Duration::ZERO
        };
        loop {
            let came = self.inner.receive(&mut self.incoming, wait);
            let idle = self.incoming.is_empty();
            self.spoil();
            self.release(batch, idle);
            // A link that is gone still owes what it had handed over.
            if !batch.is_empty() {
                return Ok(());
            }
            if idle {
                return came;
            }
            // All that came was lost or held back, but more may be there.
            wait = Duration::ZERO;
        }
    }

    fn counters(&mut self) -> LinkCounters {
        self.inner.counters()
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seedable, and good enough to decide who is lost.
#[derive(Clone, Copy, Debug)]
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// True in `share` of all cases.
    fn hits(&mut self, share: f64) -> bool {
        ((self.next() >> 11) as f64) < share * (1_u64 << 53) as f64
    }

    /// Evenly 0 to `bound` - 1.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::memory_pair;

    const FRAMES: u32 = 10_000;

    /// Sends numbered frames through a network that bad; returns the numbers that came, and the counts.
    fn through(faults: Faults) -> (Vec<u32>, FaultCounters) {
        let (mut near, far) = memory_pair(FRAMES as usize);
        let mut far = FaultyLink::new(far, faults);
        let mut out = FrameBatch::new(FRAMES as usize);
        for number in 0..FRAMES {
            out.push_with(|slot| {
                slot[..60].fill(0);
                slot[20..24].copy_from_slice(&number.to_be_bytes());
                60
            });
        }
        assert_eq!(near.transmit(&out, 0).unwrap(), FRAMES as usize);
        let mut got = RxBatch::new(100);
        let mut numbers = Vec::new();
        loop {
            far.receive(&mut got, Duration::ZERO).unwrap();
            if got.is_empty() && far.waiting.is_empty() {
                return (numbers, far.faults_done());
            }
            let number = |frame: &[u8]| u32::from_be_bytes(frame[20..24].try_into().unwrap());
            numbers.extend(got.iter().map(|frame| number(frame.bytes)));
        }
    }

    fn share(count: u64) -> f64 {
        count as f64 / f64::from(FRAMES)
    }

    #[test]
    fn a_perfect_network_changes_nothing() {
        let (numbers, done) = through(Faults::default());
        assert_eq!(numbers, (0..FRAMES).collect::<Vec<_>>());
        assert_eq!(done, FaultCounters::default());
    }

    #[test]
    fn loss_and_doubles_are_as_many_as_asked_and_counted() {
        let (numbers, done) = through(Faults {
            seed: 1,
            loss: 0.2,
            duplication: 0.1,
            ..Faults::default()
        });
        assert!((share(done.lost) - 0.2).abs() < 0.02, "{done:?}");
        assert!((share(done.doubled) - 0.08).abs() < 0.02, "{done:?}");
        assert_eq!(
            numbers.len() as u64,
            u64::from(FRAMES) - done.lost + done.doubled
        );
    }

    #[test]
    fn reordering_loses_nothing_and_stays_within_its_span() {
        let faults = Faults {
            seed: 2,
            reordering: 0.3,
            reordering_span: 8,
            ..Faults::default()
        };
        let (mut numbers, done) = through(faults);
        assert!((share(done.held) - 0.3).abs() < 0.02, "{done:?}");
        assert_ne!(numbers, (0..FRAMES).collect::<Vec<_>>());
        for (place, &number) in numbers.iter().enumerate() {
            assert!(
                (place as i64 - i64::from(number)).abs() <= 8,
                "{number} came at {place}"
            );
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..FRAMES).collect::<Vec<_>>());
    }

    #[test]
    fn a_seed_replays_and_another_differs() {
        let faults = Faults {
            seed: 3,
            loss: 0.1,
            duplication: 0.1,
            corruption: 0.1,
            reordering: 0.1,
            reordering_span: 4,
        };
        assert_eq!(through(faults), through(faults));
        assert_ne!(through(faults).0, through(Faults { seed: 4, ..faults }).0);
    }

    #[test]
    fn everything_lost_is_everything_lost() {
        let (numbers, done) = through(Faults {
            loss: 1.0,
            ..Faults::default()
        });
        assert_eq!((numbers.len(), done.lost), (0, FRAMES.into()));
    }
}
