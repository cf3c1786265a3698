//! From what was measured to what is concluded.

use super::plot::{Bar, number};
use super::run::{Cost, End};
use super::scenarios::Judge;
use super::statistics::{Pace, Spread, WINDOW};
use super::tools::{Setting, Tool};
use super::truth::{Truth, Verdict};

/// Below this share found, a scanner was too fast for itself: its time does not count.
pub(crate) const FOUND_MIN: f64 = 0.99;

/// One run of one command.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Once {
    pub(crate) cost: Cost,
    pub(crate) verdict: Verdict,
    /// Probes that came to the network's end: without those lost on the way.
    pub(crate) frames: u64,
    /// Of those.
    pub(crate) pace: Option<Pace>,
    /// Packets a second in the second half: sent to the policer, and let through.
    pub(crate) settled: Option<(f64, f64)>,
    /// When the last MAC address that was asked for was answered, in seconds since the start; how many there were.
    pub(crate) resolved: Option<(f64, u64)>,
    /// The last words of its output, when it did not end well.
    pub(crate) complaint: Option<String>,
}

/// One scanner in one scenario.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) tool: Tool,
    pub(crate) label: String,
    pub(crate) setting: Setting,
    pub(crate) probes: u64,
    pub(crate) truth: Truth,
    /// It found enough when its setting was tried: that a round finds less is then no reason not to compare.
    pub(crate) qualified: bool,
    /// None if it can't do it.
    pub(crate) runs: Vec<Once>,
    /// Why there are no runs.
    pub(crate) unable: Option<String>,
    /// Passes that it was told or has by default: frames due to what does not answer.
    pub(crate) passes: u32,
}

/// One setting, tried once.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trial {
    pub(crate) tool: Tool,
    pub(crate) setting: Setting,
    pub(crate) probes: u64,
    pub(crate) wall_s: f64,
    pub(crate) share: f64,
}

/// A conclusion.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Fact {
    pub(crate) text: String,
    /// Whether the goal is reached, where there is one.
    pub(crate) reached: Option<bool>,
    pub(crate) bar: Option<Bar>,
}

impl Row {
    /// The median of something over the runs, with the spread.
    pub(crate) fn spread(&self, of: impl Fn(&Once) -> f64) -> Option<Spread> {
        Spread::of(self.runs.iter().map(of))
    }

    pub(crate) fn wall(&self) -> Option<Spread> {
        self.spread(|once| once.cost.wall_s)
    }

    /// Frames a second while it was sending.
    pub(crate) fn pace(&self) -> Option<Spread> {
        Spread::of(self.runs.iter().filter_map(|once| Some(once.pace?.mean)))
    }

    /// The share found.
    pub(crate) fn share(&self) -> Option<Spread> {
        self.spread(|once| once.verdict.share(&self.truth))
    }

    /// The median of the whole command's time for one probe, in seconds.
    fn wall_a_probe(&self) -> Option<f64> {
        Some(self.wall()?.median / self.probes as f64)
    }

    /// The processor's time for one frame, in seconds.
    fn cpu_a_frame(&self) -> Option<f64> {
        let spread = self.spread(|once| once.cost.cpu_s() / once.frames.max(1) as f64)?;
        Some(spread.median)
    }

    /// Who it is, for a sentence.
    pub(crate) fn name(&self) -> String {
        if self.tool == Tool::Sonde {
            self.tool.to_string()
        } else {
            format!("{} at {}", self.tool, self.setting)
        }
    }
}

/// The setting to take of those tried: the fastest that finds enough (then true); where none does, the one that
/// finds most.
pub(crate) fn choose(trials: &[Trial]) -> Option<(Setting, bool)> {
    let enough = trials.iter().filter(|trial| trial.share >= FOUND_MIN);
    let fastest = enough.min_by(|a, b| a.wall_s.total_cmp(&b.wall_s));
    let most = || trials.iter().max_by(|a, b| a.share.total_cmp(&b.share));
    let enough = fastest.is_some();
    Some((fastest.or_else(most)?.setting, enough))
}

/// What the rows of a scenario say. Sonde's is the first.
pub(crate) fn facts(name: &str, judge: Judge, rows: &[Row]) -> Vec<Fact> {
    let Some((sonde, others)) = rows.split_first() else {
        return Vec::new();
    };
    let concluded = match judge {
        Judge::Speed { goal } => speed(name, goal, sonde, others),
        Judge::Tags => tags(sonde, others),
        Judge::Loss { share } => loss(share, sonde),
        Judge::Rate => Some(rows.iter().filter_map(rate).collect()),
        Judge::Policer { rate } => policer(rate, sonde),
        Judge::Sending => sending(sonde, others),
        Judge::Memory => Some(rows.iter().filter_map(memory).collect()),
    };
    concluded.unwrap_or_else(|| {
        let text = "nothing can be concluded: a run is missing".to_owned();
        vec![plain(text)]
    })
}

fn plain(text: String) -> Fact {
    Fact {
        text,
        reached: None,
        bar: None,
    }
}

fn against(text: String, reached: bool) -> Fact {
    Fact {
        reached: Some(reached),
        ..plain(text)
    }
}

/// The best other: the fastest a probe of those that find enough, in the rounds or when they were tried; else of
/// those that find most.
fn best(others: &[Row]) -> Option<(&Row, bool)> {
    let found = |row: &&Row| {
        let share = row.share().map(|share| share.median);
        share.is_some_and(|share| row.qualified || share >= FOUND_MIN)
    };
    let time = |row: &&Row| row.wall_a_probe().unwrap_or(f64::INFINITY);
    let fastest = others.iter().filter(found);
    let fastest = fastest.min_by(|a, b| time(a).total_cmp(&time(b)));
    if let Some(row) = fastest {
        return Some((row, true));
    }
    let share = |row: &&Row| row.share().map_or(-1.0, |share| share.median);
    let most = others.iter().filter(|row| !row.runs.is_empty());
    let most = most.max_by(|a, b| share(a).total_cmp(&share(b)))?;
    Some((most, false))
}

fn found_all(sonde: &Row) -> Option<Fact> {
    let least = sonde.share()?.min;
    let wrong: u64 = sonde.runs.iter().map(|once| once.verdict.wrong).sum();
    let text = format!(
        "found in the worst round: {} of {}, {wrong} false (goal: all, none false)",
        share_words(least),
        sonde.truth.open
    );
    Some(against(text, least >= 1.0 && wrong == 0))
}

fn speed(name: &str, goal: f64, sonde: &Row, others: &[Row]) -> Option<Vec<Fact>> {
    let mut facts = vec![found_all(sonde)?];
    let Some((other, enough)) = best(others) else {
        facts.push(plain("no other scanner ran".to_owned()));
        return Some(facts);
    };
    let ratio = other.wall_a_probe()? / sonde.wall_a_probe()?;
    let mut than = other.name();
    if other.probes != sonde.probes {
        than.push_str(&format!(
            " (on {} of {} probes, scaled)",
            other.probes, sonde.probes
        ));
    }
    if !enough && other.share()?.median == 0.0 {
        facts.push(plain("no other scanner found anything".to_owned()));
        return Some(facts);
    }
    let share = share_words(other.share()?.median);
    than.push_str(&format!(", which finds {share}"));
    if !enough {
        than.push_str(" (no other finds 99 %)");
    }
    let text = format!(
        "{}× as fast as {than}, the whole command from start to exit (goal: {goal}×)",
        number(ratio)
    );
    facts.push(Fact {
        bar: Some(Bar {
            label: label(name).to_owned(),
            ratio,
            note: format!("than {}", other.name()),
        }),
        ..against(text, ratio >= goal)
    });
    if let (Some(ours), Some(theirs)) = (sonde.cpu_a_frame(), other.cpu_a_frame()) {
        let text = format!(
            "processor time a frame: {:.2} µs, {} {:.2} µs",
            ours * 1e6,
            other.name(),
            theirs * 1e6
        );
        facts.push(plain(text));
    }
    Some(facts)
}

/// What a bar is called.
fn label(name: &str) -> &str {
    match name {
        "sweep" => "a million hosts, one port",
        "slash24" => "one /24, all ports",
        "host" => "one host, all ports",
        "ipv6" => "a list of IPv6 hosts",
        other => other,
    }
}

fn tags(tagged: &Row, others: &[Row]) -> Option<Vec<Fact>> {
    let untagged = others.first()?;
    let mut facts = vec![found_all(tagged)?];
    let ratio = untagged.wall_a_probe()? / tagged.wall_a_probe()?;
    let text = format!("{:.1} % of the untagged speed (goal: 95 %)", ratio * 100.0);
    facts.push(against(text, ratio >= 0.95));
    let resolved = tagged.runs.iter().filter_map(|once| once.resolved);
    let count = resolved.clone().map(|(_, count)| count).min();
    if let (Some(time), Some(count)) = (Spread::of(resolved.map(|(at, _)| at)), count) {
        let text = format!(
            "{count} gateways resolved {:.2} s after the command's start (goal: all, under 1 s)",
            time.median
        );
        facts.push(against(text, time.median < 1.0));
    }
    for other in &others[1..] {
        let Some(wall) = other.wall() else { continue };
        let vlans = (tagged.probes / other.probes.max(1)) as f64;
        let ratio = wall.median * vlans / tagged.wall()?.median;
        let text = format!(
            "{}: {:.2} s for one VLAN without its tag; for all, one after the other, {}× as long as Sonde",
            other.name(),
            wall.median,
            number(ratio)
        );
        facts.push(plain(text));
    }
    Some(facts)
}

fn loss(share: f64, sonde: &Row) -> Option<Vec<Fact>> {
    let found = sonde.share()?.min;
    let text = format!(
        "found in the worst round: {} (goal: 99.99 %)",
        share_words(found)
    );
    let arrived = sonde.spread(|once| once.frames as f64)?.median;
    let frames = arrived / (1.0 - share);
    let due = sonde.truth.frames_due(sonde.passes, share);
    let asked = sonde.truth.all as f64;
    let extra = format!(
        "frames a probe: {:.4}; due with {} passes: {:.4} (goal: within 1 % of that)",
        frames / asked,
        sonde.passes,
        due / asked
    );
    Some(vec![
        against(text, found >= 0.9999),
        against(extra, (frames / due - 1.0).abs() <= 0.01),
    ])
}

fn rate(row: &Row) -> Option<Fact> {
    let asked = row.setting.rate? as f64;
    let mean = row.pace()?.median;
    let highest = row.runs.iter().filter_map(|once| Some(once.pace?.highest));
    let highest = Spread::of(highest)?.max;
    let text = format!(
        "{} asked for {asked}/s: {mean:.1}/s on average ({:+.2} %), at most {:.2} % of it in 100 ms",
        row.tool,
        (mean / asked - 1.0) * 100.0,
        highest / asked * 100.0
    );
    // Both ends of a window may hold a frame.
    let ceiling = asked * 1.005 + 1.0 / WINDOW.as_secs_f64();
    let kept = (mean / asked - 1.0).abs() <= 0.005 && highest <= ceiling;
    Some(if row.tool == Tool::Sonde {
        against(text, kept)
    } else {
        plain(text)
    })
}

fn policer(rate: u64, sonde: &Row) -> Option<Vec<Fact>> {
    let found = sonde.share()?.min;
    let text = format!(
        "found in the worst round: {} (goal: 99.9 %)",
        share_words(found)
    );
    let sent = Spread::of(sonde.runs.iter().filter_map(|once| Some(once.settled?.0)))?.median;
    let through = Spread::of(sonde.runs.iter().filter_map(|once| Some(once.settled?.1)))?.median;
    let ratio = sent / rate as f64;
    let settled = format!(
        "settled at {:.1} % of what the policer lets through: {sent:.0}/s sent, {through:.0}/s let through, in the \
         second half (goal: within 10 %)",
        ratio * 100.0
    );
    Some(vec![
        against(text, found >= 0.999),
        against(settled, (ratio - 1.0).abs() <= 0.1),
    ])
}

fn sending(sonde: &Row, others: &[Row]) -> Option<Vec<Fact>> {
    let ours = sonde.pace()?.median;
    let mut facts = vec![plain(format!("{ours:.0} frames a second"))];
    let pace = |row: &&Row| row.pace().map_or(0.0, |pace| pace.median);
    let fastest = others.iter().max_by(|a, b| pace(a).total_cmp(&pace(b)));
    if let Some(other) = fastest.filter(|row| pace(row) > 0.0) {
        let ratio = ours / pace(&other);
        let text = format!("{}× {} (goal: 8×)", number(ratio), other.name());
        facts.push(Fact {
            bar: Some(Bar {
                label: "sending alone, one thread".to_owned(),
                ratio,
                note: format!("than {}", other.tool),
            }),
            ..against(text, ratio >= 8.0)
        });
    }
    let cpu = |row: &&Row| row.cpu_a_frame().unwrap_or(f64::INFINITY);
    let least = others.iter().min_by(|a, b| cpu(a).total_cmp(&cpu(b)));
    if let Some(other) = least.filter(|row| row.cpu_a_frame().is_some()) {
        let (ours, theirs) = (sonde.cpu_a_frame()?, other.cpu_a_frame()?);
        let text = format!(
            "processor time a frame: {:.2} µs, 1/{} of the {:.2} µs of {} (goal: 1/6)",
            ours * 1e6,
            number(theirs / ours),
            theirs * 1e6,
            other.tool
        );
        facts.push(Fact {
            bar: Some(Bar {
                label: "processor time a probe".to_owned(),
                ratio: theirs / ours,
                note: format!("less than {}", other.tool),
            }),
            ..against(text, theirs / ours >= 6.0)
        });
    }
    Some(facts)
}

fn memory(row: &Row) -> Option<Fact> {
    let peak = row.spread(|once| once.cost.peak_bytes as f64)?.max / MIB;
    // With it, one bit a probe.
    let map = if row.passes > 1 {
        row.probes as f64 / 8.0 / MIB
    } else {
        0.0
    };
    let allowed = 64.0 + map;
    let text = format!(
        "{}: {peak:.1} MiB at most (goal: {allowed:.0} MiB)",
        row.label
    );
    Some(against(text, peak <= allowed))
}

const MIB: f64 = 1024.0 * 1024.0;

/// A share in percent, never rounded up to the whole.
pub(crate) fn share_words(share: f64) -> String {
    if share >= 1.0 {
        "100.00 %".to_owned()
    } else {
        format!("{:.3} %", (share * 100_000.0).floor() / 1000.0)
    }
}

/// How a command ended, when that was not as it should.
pub(crate) fn bad_end(end: End, cut_short: bool) -> Option<String> {
    match end {
        End::Status(0) => None,
        End::Status(3) | End::TimedOut if cut_short => None,
        End::Status(status) => Some(format!("ended with status {status}")),
        End::Signal(signal) => Some(format!("ended by signal {signal}")),
        End::TimedOut => Some("was ended: its time was up".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn once(wall_s: f64, found: u64) -> Once {
        let cost = Cost {
            wall_s,
            user_s: wall_s / 2.0,
            system_s: 0.0,
            softirq_s: 0.0,
            peak_bytes: 10 << 20,
            end: End::Status(0),
        };
        let verdict = Verdict {
            found,
            ..Verdict::default()
        };
        let pace = Pace {
            time: Duration::from_secs(1),
            mean: 1000.0 / wall_s,
            highest: 1000.0 / wall_s,
        };
        Once {
            cost,
            verdict,
            frames: 1000,
            pace: Some(pace),
            settled: Some((1000.0 / wall_s, 900.0 / wall_s)),
            resolved: Some((0.5, 4094)),
            complaint: None,
        }
    }

    fn row(tool: Tool, probes: u64, runs: &[(f64, u64)]) -> Row {
        Row {
            tool,
            label: String::new(),
            setting: Setting::MAX,
            probes,
            truth: Truth {
                all: probes,
                open: probes,
                answering: probes,
            },
            runs: runs
                .iter()
                .map(|&(wall, found)| once(wall, found))
                .collect(),
            qualified: false,
            unable: None,
            passes: 3,
        }
    }

    fn trial(rate: u64, wall_s: f64, share: f64) -> Trial {
        Trial {
            tool: Tool::Zmap,
            setting: Setting::rate(rate),
            probes: 1000,
            wall_s,
            share,
        }
    }

    #[test]
    fn the_fastest_that_finds_enough_is_taken() {
        let trials = [trial(1, 9.0, 1.0), trial(2, 5.0, 0.995), trial(3, 2.0, 0.5)];
        assert_eq!(choose(&trials), Some((Setting::rate(2), true)));
        let none = [trial(1, 9.0, 0.9), trial(2, 5.0, 0.95), trial(3, 2.0, 0.5)];
        assert_eq!(choose(&none), Some((Setting::rate(2), false)));
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn the_ratio_is_to_the_best_other_that_finds_enough() {
        let sonde = row(Tool::Sonde, 1000, &[(1.0, 1000), (1.2, 1000), (0.9, 1000)]);
        let fast = row(Tool::Masscan, 1000, &[(2.0, 500)]);
        let good = row(Tool::Zmap, 1000, &[(10.0, 999), (9.0, 999), (30.0, 999)]);
        let part = row(Tool::Nmap, 100, &[(1.5, 100)]);
        let judge = Judge::Speed { goal: 8.0 };
        let facts = facts("sweep", judge, &[sonde, fast, good, part]);
        assert_eq!(facts[0].reached, Some(true), "{}", facts[0].text);
        assert_eq!(facts[1].reached, Some(true), "{}", facts[1].text);
        let bar = facts[1].bar.as_ref().unwrap();
        assert!((bar.ratio - 10.0).abs() < 1e-9, "{bar:?}");
        assert!(bar.note.contains("zmap"));
    }

    #[test]
    fn who_found_enough_when_tried_is_compared_though_a_round_finds_less() {
        let sonde = row(Tool::Sonde, 1000, &[(1.0, 1000)]);
        let tried = Row {
            qualified: true,
            ..row(Tool::Zmap, 1000, &[(4.0, 970)])
        };
        let slow = row(Tool::Nmap, 100, &[(5.0, 100)]);
        let facts = facts("sweep", Judge::Speed { goal: 8.0 }, &[sonde, tried, slow]);
        let bar = facts[1].bar.as_ref().unwrap();
        assert!((bar.ratio - 4.0).abs() < 1e-9, "{bar:?}");
        assert!(
            facts[1].text.contains("finds 97.000 %"),
            "{}",
            facts[1].text
        );
    }

    #[test]
    fn one_missed_in_one_round_is_not_all() {
        let sonde = row(Tool::Sonde, 1_000_000, &[(1.0, 1_000_000), (1.0, 999_999)]);
        let facts = facts("sweep", Judge::Speed { goal: 8.0 }, &[sonde]);
        assert_eq!(facts[0].reached, Some(false));
        assert!(facts[0].text.contains("99.999 %"), "{}", facts[0].text);
        assert!(facts[1].text.contains("no other"), "{}", facts[1].text);
    }

    #[test]
    fn tags_losses_rates_and_policers_are_judged() {
        let tagged = row(Tool::Sonde, 1000, &[(1.0, 1000)]);
        let untagged = row(Tool::Sonde, 1000, &[(0.97, 1000)]);
        let one = row(Tool::Zmap, 10, &[(2.0, 10)]);
        let rows = [tagged.clone(), untagged, one];
        let reached = |facts: &[Fact]| facts.iter().map(|fact| fact.reached).collect::<Vec<_>>();
        let facts_of_tags = facts("trunk", Judge::Tags, &rows);
        let yes = Some(true);
        assert_eq!(reached(&facts_of_tags), [yes, yes, yes, None]);
        assert!(facts_of_tags[3].text.contains("200×"), "{facts_of_tags:?}");

        // 1000 frames where 1000 are due without losses, but 1107 with.
        let rows = [tagged];
        assert_eq!(
            reached(&facts("loss", Judge::Loss { share: 0.0 }, &rows)),
            [yes, yes]
        );
        let lossy = facts("loss", Judge::Loss { share: 0.05 }, &rows);
        assert_eq!(reached(&lossy), [yes, Some(false)]);

        let asked = |rate| Row {
            setting: Setting::rate(rate),
            ..rows[0].clone()
        };
        for (rate, kept) in [(1000, true), (990, false), (1010, false)] {
            let facts = facts("rate", Judge::Rate, &[asked(rate)]);
            assert_eq!(reached(&facts), [Some(kept)], "{rate}");
        }

        for (rate, settled) in [(1050, true), (800, false), (1200, false)] {
            let facts = facts("policed", Judge::Policer { rate }, &rows);
            assert_eq!(reached(&facts), [yes, Some(settled)], "{rate}");
        }
    }

    #[test]
    fn sending_and_memory_are_judged() {
        let sonde = row(Tool::Sonde, 1000, &[(1.0, 0)]);
        let other = row(Tool::Zmap, 1000, &[(8.5, 0)]);
        let facts_of_sending = facts("sending", Judge::Sending, &[sonde.clone(), other]);
        let reached: Vec<_> = facts_of_sending.iter().map(|fact| fact.reached).collect();
        assert_eq!(
            reached,
            [None, Some(true), Some(true)],
            "{facts_of_sending:?}"
        );
        let light = facts("memory", Judge::Memory, std::slice::from_ref(&sonde));
        assert_eq!(light[0].reached, Some(true));
        let mut heavy = sonde;
        heavy.passes = 1;
        heavy.runs[0].cost.peak_bytes = 65 << 20;
        assert_eq!(
            facts("memory", Judge::Memory, &[heavy])[0].reached,
            Some(false)
        );
    }

    #[test]
    fn nothing_is_concluded_from_runs_that_are_missing() {
        for judge in [
            Judge::Speed { goal: 8.0 },
            Judge::Tags,
            Judge::Loss { share: 0.1 },
            Judge::Policer { rate: 5 },
            Judge::Sending,
        ] {
            let facts = facts("x", judge, &[row(Tool::Sonde, 10, &[])]);
            assert!(facts[0].text.contains("missing"), "{judge:?}: {facts:?}");
        }
    }

    #[test]
    fn a_share_is_never_rounded_up_to_the_whole() {
        assert_eq!(share_words(1.0), "100.00 %");
        assert_eq!(share_words(0.999_999_9), "99.999 %");
        assert_eq!(share_words(0.5), "50.000 %");
    }

    #[test]
    fn ends_are_told_apart() {
        assert_eq!(bad_end(End::Status(0), false), None);
        assert_eq!(bad_end(End::Status(3), true), None);
        assert_eq!(bad_end(End::TimedOut, true), None);
        for end in [End::Status(3), End::Signal(9), End::TimedOut] {
            assert!(bad_end(end, false).is_some());
        }
    }
}
