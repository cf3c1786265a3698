//! What a scan lost and what it did about it, in one sentence.

use sonde_core::sweep::GovernorReport;

/// A share lost above this is worth a sentence.
const WORTH_SAYING: f64 = 0.01;

/// The sentence, if there is anything to say. `late` is the share of first answers that came only when asked again; without a
/// `governor` the rate was given.
pub(super) fn sentence(
    late: Option<f64>,
    governor: Option<&GovernorReport>,
    more_passes: u64,
) -> Option<String> {
    let mut parts = Vec::new();
    let slowed = governor.and_then(slowed);
    parts.extend(slowed.clone());
    let late = late.filter(|late| *late > WORTH_SAYING);
    match governor.map(|governor| governor.loss) {
        Some(loss) if loss > WORTH_SAYING => {
            parts.push(format!("{:.1} % lost whatever the rate", loss * 100.0));
        }
        Some(_) if slowed.is_some() => {} // it says why they came late
        _ => parts.extend(late.map(|late| {
            let late = late * 100.0;
            format!("{late:.1} % of the answers came only when asked again")
        })),
    }
    match more_passes {
        0 if governor.is_none() && late.is_some() => {
            parts.push("some may be missing".to_owned());
        }
        0 => {}
        1 => parts.push("what was missing was asked once more than planned".to_owned()),
        n => parts.push(format!(
            "what was missing was asked again in {n} more passes"
        )),
    }
    if governor.is_none() && late.is_some() {
        parts.push("a lower --rate loses less".to_owned());
    }
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// That the rate was lowered, and to what.
fn slowed(governor: &GovernorReport) -> Option<String> {
    if governor.lowered == 0 {
        return None;
    }
    let thinned = match governor.thinned_above {
        Some(rate) => format!("answers thinned out above {} frames/s", scaled(rate)),
        None => "answers thinned out".to_owned(),
    };
    Some(match (governor.settled_rate, governor.lowest_rate) {
        (Some(rate), _) => format!("{thinned}; slowed to {}", scaled(rate)),
        (None, Some(rate)) => format!("{thinned}; slowed to {} for a while", scaled(rate)),
        (None, None) => thinned,
    })
}

/// Three digits, more or less.
fn scaled(rate: f64) -> String {
    match rate {
        10e6.. => format!("{:.0}M", rate / 1e6),
        1e6.. => format!("{:.2}M", rate / 1e6),
        10e3.. => format!("{:.0}k", rate / 1e3),
        1e3.. => format!("{:.2}k", rate / 1e3),
        _ => format!("{rate:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_when_nothing_happened() {
        let governor = GovernorReport::default();
        assert_eq!(sentence(Some(0.0), Some(&governor), 0), None);
        assert_eq!(sentence(Some(0.001), Some(&governor), 0), None);
        assert_eq!(sentence(Some(0.001), None, 0), None);
        assert_eq!(sentence(None, None, 0), None);
    }

    #[test]
    fn what_was_seen_and_done_is_said_at_any_rate() {
        let governor = GovernorReport {
            thinned_above: Some(212_400.0),
            settled_rate: Some(205_100.0),
            lowest_rate: Some(120_000.0),
            lowered: 1,
            loss: 0.012,
            ..GovernorReport::default()
        };
        assert_eq!(
            sentence(Some(0.5), Some(&governor), 1).unwrap(),
            "answers thinned out above 212k frames/s; slowed to 205k; 1.2 % lost whatever the rate; \
             what was missing was asked once more than planned"
        );
        let passing = GovernorReport {
            settled_rate: None,
            loss: 0.0,
            ..governor
        };
        assert_eq!(
            sentence(Some(0.5), Some(&passing), 0).unwrap(),
            "answers thinned out above 212k frames/s; slowed to 120k for a while"
        );
        let free = GovernorReport::default();
        assert_eq!(
            sentence(Some(0.02), Some(&free), 2).unwrap(),
            "2.0 % of the answers came only when asked again; \
             what was missing was asked again in 2 more passes"
        );
        assert_eq!(
            sentence(Some(0.0975), None, 0).unwrap(),
            "9.8 % of the answers came only when asked again; some may be missing; \
             a lower --rate loses less"
        );
    }
}
