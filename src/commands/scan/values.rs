//! Values of options: rates, bandwidths, durations, shards, port states.

use std::time::Duration;

use sonde_core::request::{PortState, Shard};

/// A ceiling, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rate {
    /// Packets a second.
    Pps(u64),
    /// As fast as loses nothing.
    Max,
}

/// `N`, `Nk`, `NM`, or `max`.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    if text == "max" {
        return Ok(Rate::Max);
    }
    scaled(text)
        .map(Rate::Pps)
        .ok_or_else(|| "write packets a second, as 500, 50k or 1.5M, or max".to_owned())
}

/// `N`, `Nk`, `NM`, `NG`.
pub(crate) fn bandwidth(text: &str) -> Result<u64, String> {
    scaled(text).ok_or_else(|| "write bits a second, as 500k, 100M or 1G".to_owned())
}

/// `90`, `90s`, `5m`, `1h30m`: whole seconds, at least one.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let way_out = || "write a duration, as 90s, 5m or 1h30m".to_owned();
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| way_out())?;
        let (unit, after) = match rest[digits..].chars().next() {
            None | Some('s') => (1, 1),
            Some('m') => (60, 1),
            Some('h') => (3600, 1),
            Some('d') => (86_400, 1),
            Some(_) => return Err(way_out()),
        };
        let more = number
            .checked_mul(unit)
            .and_then(|more| seconds.checked_add(more));
        seconds = more.ok_or_else(way_out)?;
        rest = rest.get(digits + after..).unwrap_or_default();
    }
    if seconds == 0 {
        Err(way_out())
    } else {
        Ok(Duration::from_secs(seconds))
    }
}

/// `I/N` with I from 1 to N.
pub(crate) fn shard(text: &str) -> Result<Shard, String> {
    let parts = text.split_once('/').and_then(|(index, count)| {
        let shard = Shard {
            index: index.parse().ok()?,
            count: count.parse().ok()?,
        };
        (shard.index >= 1 && shard.index <= shard.count).then_some(shard)
    });
    parts.ok_or_else(|| "write the share and how many there are, as 1/4 to 4/4".to_owned())
}

/// A port state by its name.
pub(crate) fn port_state(text: &str) -> Result<PortState, String> {
    match text {
        "open" => Ok(PortState::Open),
        "closed" => Ok(PortState::Closed),
        "filtered" => Ok(PortState::Filtered),
        "unconfirmed" => Ok(PortState::Unconfirmed),
        _ => Err("the states are open, closed, filtered and unconfirmed".to_owned()),
    }
}

/// A positive number with an optional decimal multiplier.
fn scaled(text: &str) -> Option<u64> {
    let (number, factor) = match text.char_indices().last()? {
        (at, 'k' | 'K') => (&text[..at], 1e3),
        (at, 'M') => (&text[..at], 1e6),
        (at, 'G') => (&text[..at], 1e9),
        _ => (text, 1.0),
    };
    if !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return None;
    }
    let value = number.parse::<f64>().ok()? * factor;
    (1.0..1e15).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_bandwidths() {
        assert_eq!(rate("500"), Ok(Rate::Pps(500)));
        assert_eq!(rate("50k"), Ok(Rate::Pps(50_000)));
        assert_eq!(rate("1.5M"), Ok(Rate::Pps(1_500_000)));
        assert_eq!(rate("max"), Ok(Rate::Max));
        assert_eq!(bandwidth("1G"), Ok(1_000_000_000));
        for bad in [
            "",
            "0",
            "-5",
            "fast",
            "1e3",
            "k",
            "5kk",
            "inf",
            "9999999999G",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
            assert!(bandwidth(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        for bad in [
            "",
            "0",
            "0s",
            "m",
            "5x",
            "-1",
            "5 m",
            "99999999999999999999",
            "5é",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shards() {
        assert_eq!(shard("2/4"), Ok(Shard { index: 2, count: 4 }));
        for bad in ["", "0/4", "5/4", "1", "a/b", "1/0"] {
            assert!(shard(bad).is_err(), "{bad}");
        }
    }
}
