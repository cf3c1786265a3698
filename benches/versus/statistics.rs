//! Medians, and what a counter that was read again and again says about pace.

use std::time::Duration;

/// A window over which the highest rate is looked for.
pub(crate) const WINDOW: Duration = Duration::from_millis(100);

/// The middle of what several rounds measured, and how far they were apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of any number of values; `None` of none. An even number has the mean of the two in the middle.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            f64::midpoint(values[half - 1], values[half])
        };
        Some(Self { median, min, max })
    }
}

/// A counter's value at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    pub(crate) at: Duration,
    pub(crate) count: u64,
}

/// How a counter grew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pace {
    /// From its first step to its last.
    pub(crate) time: Duration,
    /// Steps a second, between the first reading that had moved and the last that had not ended: both ends
    /// are exact there, however coarse the readings.
    pub(crate) mean: f64,
    /// The highest mean over any [`WINDOW`] (the shortest stretch of readings at least as long).
    /// Equals the mean when it all took no longer than a window.
    pub(crate) highest: f64,
}

/// The pace of a counter; `None` if it moved less than three times: no rate can be told then.
pub(crate) fn pace(readings: &[Reading]) -> Option<Pace> {
    let (start, end) = (readings.first()?.count, readings.last()?.count);
    let first = readings.iter().position(|reading| reading.count > start)?;
    let last = readings.iter().rposition(|reading| reading.count < end)?;
    let moving = readings.get(first..=last)?;
    let mean = rate(moving.first()?, moving.last()?)?;
    let mut highest: f64 = 0.0;
    let mut to = 0;
    for from in moving {
        while to < moving.len() && moving[to].at < from.at + WINDOW {
            to += 1;
        }
        let Some(until) = moving.get(to) else { break };
        highest = highest.max(rate(from, until).unwrap_or_default());
    }
    Some(Pace {
        time: readings[last + 1].at - readings[first - 1].at,
        mean,
        highest: if highest > 0.0 { highest } else { mean },
    })
}

/// The readings of the second half of the time in which the counter moved: when what adapts has adapted.
pub(crate) fn second_half(readings: &[Reading]) -> Option<&[Reading]> {
    let (start, end) = (readings.first()?.count, readings.last()?.count);
    let first = readings.iter().position(|reading| reading.count > start)?;
    let last = readings.iter().rposition(|reading| reading.count < end)?;
    let moving = readings.get(first..=last)?;
    let middle = f64::midpoint(
        moving.first()?.at.as_secs_f64(),
        moving.last()?.at.as_secs_f64(),
    );
    let from = moving.partition_point(|reading| reading.at.as_secs_f64() < middle);
    Some(&moving[from..])
}

fn rate(from: &Reading, to: &Reading) -> Option<f64> {
    let time = to.at.checked_sub(from.at)?.as_secs_f64();
    (time > 0.0).then(|| (to.count - from.count) as f64 / time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readings(counts: impl IntoIterator<Item = u64>) -> Vec<Reading> {
        let at = |tick: u64| Duration::from_millis(10 * tick);
        let numbered = counts.into_iter().zip(0..);
        numbered
            .map(|(count, tick)| Reading {
                at: at(tick),
                count,
            })
            .collect()
    }

    #[test]
    fn the_middle_of_odd_and_even() {
        assert_eq!(Spread::of([]), None);
        let three = Spread::of([9.0, 1.0, 2.0]).unwrap();
        assert_eq!((three.min, three.median, three.max), (1.0, 2.0, 9.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 9.0]).unwrap().median, 3.0);
    }

    #[test]
    fn a_steady_counter_has_its_rate_whatever_the_ends_held() {
        // 1000 a second; the first and the last stretch are cut short and must not count.
        let steady = (0..100).map(|tick| 3 + 10 * tick);
        let counts = [0, 0].into_iter().chain(steady).chain([995, 995, 995]);
        let pace = pace(&readings(counts)).unwrap();
        assert!((pace.mean - 1000.0).abs() < 1e-6, "{pace:?}");
        assert!((pace.highest - 1000.0).abs() < 1e-6, "{pace:?}");
        assert_eq!(pace.time, Duration::from_millis(1010));
    }

    #[test]
    fn a_burst_shows_in_its_window_only() {
        let mut count = 0;
        let counts = (0..200).map(|tick| {
            count += if (50..60).contains(&tick) { 20 } else { 10 };
            count
        });
        let pace = pace(&readings(counts)).unwrap();
        assert!((pace.highest - 2000.0).abs() < 1e-6, "{pace:?}");
        assert!(pace.mean < 1060.0, "{pace:?}");
    }

    #[test]
    fn what_settles_is_judged_by_its_second_half() {
        let mut count = 0;
        let counts = (0..200).map(|tick| {
            count += if tick < 90 { 50 } else { 10 };
            count
        });
        let readings = readings(counts);
        let half = second_half(&readings).unwrap();
        let rate = rate(&half[0], half.last().unwrap()).unwrap();
        assert!((rate - 1000.0).abs() < 1e-6, "{rate}");
    }

    #[test]
    fn too_few_steps_have_no_rate() {
        assert_eq!(pace(&[]), None);
        assert_eq!(pace(&readings([5, 5, 5])), None);
        assert_eq!(pace(&readings([0, 9])), None);
        assert_eq!(pace(&readings([0, 5, 9])), None);
        assert_eq!(second_half(&readings([0, 0])), None);
    }
}
