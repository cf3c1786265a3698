//! The report, as Markdown: tables of medians, what follows from them, and how it was measured.

use std::fmt::Write as _;

use super::judge::{Fact, Row, Trial, share_words};
use super::plot::{Bar, number};
use super::statistics::Spread;
use super::tools::Tool;

/// A scenario with its results.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
    pub(crate) trials: Vec<Trial>,
    pub(crate) facts: Vec<Fact>,
}

/// Where and how it was measured.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Processor, cores, kernel.
    pub(crate) machine: String,
    /// RFC 3339 date.
    pub(crate) date: String,
    /// What each scanner calls its version; `None` if it is not installed.
    pub(crate) versions: Vec<(Tool, Option<String>)>,
    pub(crate) rounds: u32,
    /// How Sonde's frames left.
    pub(crate) link: String,
}

/// The whole report.
pub(crate) fn markdown(setup: &Setup, outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "# Sonde and the others\n\nWritten by `cargo bench --bench versus`; what is here was measured, not chosen.\n\n\
         ![How many times better Sonde is](versus.svg)\n\n",
    );
    // A `String` takes whatever is written.
    let _ = writeln!(text, "- machine: {}", setup.machine);
    let _ = writeln!(text, "- date: {}", setup.date);
    let versions = setup.versions.iter().map(|(tool, version)| match version {
        Some(version) => version.clone(),
        None => format!("{tool}: not installed"),
    });
    let _ = writeln!(
        text,
        "- scanners: {}",
        versions.collect::<Vec<_>>().join("; ")
    );
    let _ = writeln!(
        text,
        "- rounds: {}, the scanners in turn; medians, with the lowest and the highest in parentheses",
        setup.rounds
    );
    let _ = writeln!(text, "- Sonde's link: `--link {}`\n", setup.link);
    text.push_str(METHOD);
    for outcome in outcomes {
        text.push('\n');
        text.push_str(&section(outcome));
    }
    text
}

const METHOD: &str = "\
Every run gets a new network: a veth pair whose far end answers from the kernel (XDP) as a stated function says, so that \
the whole truth is known and every report is checked against it. Wall time is that of the whole command, from its start to \
its exit; zmap and masscan wait one second at the end, Sonde has its defaults. Frames are the probes that the network \
counted; frames a second are over the time in which they came. Processor \
time is what the command and whatever it started took, in user space and in the kernel, and what the kernel's receiving threads took \
meanwhile; the network answers in the time of whoever sends to it, so each scanner also pays for its answers. Memory \
is the highest resident set of one process. zmap's and masscan's rates were tried beforehand: the \
fastest that finds at least 99 % is taken.
";

/// One scenario.
pub(crate) fn section(outcome: &Outcome) -> String {
    let mut text = format!("## {}: {}\n\n", outcome.name, outcome.title);
    text.push_str(
        "| scanner | setting | probes | frames/s | wall time s | found | false | processor s | memory MiB |\n\
         |---|---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in &outcome.rows {
        let _ = writeln!(text, "{}", line(row));
    }
    text.push('\n');
    for fact in &outcome.facts {
        let mark = match fact.reached {
            Some(true) => "reached: ",
            Some(false) => "**not reached**: ",
            None => "",
        };
        let _ = writeln!(text, "- {mark}{}", fact.text);
    }
    for row in &outcome.rows {
        let complaints = row.runs.iter().filter_map(|once| once.complaint.as_ref());
        for complaint in complaints {
            let _ = writeln!(text, "- {} {complaint}", row.tool);
        }
    }
    if !outcome.trials.is_empty() {
        text.push_str("\nTried beforehand, once each:\n\n| scanner | setting | probes | wall time s | found |\n|---|---|--:|--:|--:|\n");
        for trial in &outcome.trials {
            let Trial {
                tool,
                setting,
                probes,
                wall_s,
                share,
            } = trial;
            let share = share_words(*share);
            let _ = writeln!(
                text,
                "| {tool} | {setting} | {probes} | {wall_s:.2} | {share} |"
            );
        }
    }
    text
}

fn line(row: &Row) -> String {
    let name = if row.label.is_empty() {
        row.tool.to_string()
    } else {
        format!("{}, {}", row.tool, row.label)
    };
    if let Some(why) = &row.unable {
        return format!("| {name} | {why} | | | | | | | |");
    }
    let words = |spread: Option<Spread>, write: fn(f64) -> String| match spread {
        None => "?".to_owned(),
        Some(Spread { median, min, max }) if min == max => write(median),
        Some(Spread { median, min, max }) => {
            format!("{} ({}–{})", write(median), write(min), write(max))
        }
    };
    let found = if row.truth.open == 0 {
        "nothing to find".to_owned()
    } else {
        words(row.share(), share_words)
    };
    let wrong = row.spread(|once| once.verdict.wrong as f64);
    format!(
        "| {name} | {} | {} | {} | {} | {found} | {} | {} | {} |",
        row.setting,
        row.probes,
        words(row.pace(), |pace| format!("{pace:.0}")),
        words(row.wall(), |wall| format!("{wall:.2}")),
        words(wrong, |wrong| format!("{wrong:.0}")),
        words(row.spread(|once| once.cost.cpu_s()), |cpu| format!(
            "{cpu:.2}"
        )),
        words(
            row.spread(|once| once.cost.peak_bytes as f64 / (1024.0 * 1024.0)),
            |peak| format!("{peak:.1}")
        ),
    )
}

/// The bars of all scenarios, and a line under them.
pub(crate) fn bars(outcomes: &[Outcome]) -> Vec<Bar> {
    let facts = outcomes.iter().flat_map(|outcome| &outcome.facts);
    facts.filter_map(|fact| fact.bar.clone()).collect()
}

/// One line for whoever only wants to know how it went.
pub(crate) fn verdict(outcomes: &[Outcome]) -> String {
    let goals = outcomes.iter().flat_map(|outcome| &outcome.facts);
    let goals: Vec<bool> = goals.filter_map(|fact| fact.reached).collect();
    let reached = goals.iter().filter(|reached| **reached).count();
    let bars = bars(outcomes);
    let most = bars.iter().map(|bar| bar.ratio).fold(0.0, f64::max);
    let least = bars
        .iter()
        .map(|bar| bar.ratio)
        .fold(f64::INFINITY, f64::min);
    let mut text = format!("{reached} of {} goals reached", goals.len());
    if !bars.is_empty() {
        let _ = write!(
            text,
            "; {} to {} times the best other",
            number(least),
            number(most)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::judge::Once;
    use super::super::run::{Cost, End};
    use super::super::tools::Setting;
    use super::super::truth::{Truth, Verdict};
    use super::*;

    fn outcome() -> Outcome {
        let cost = Cost {
            wall_s: 1.25,
            user_s: 0.5,
            system_s: 0.25,
            softirq_s: 0.25,
            peak_bytes: 8 << 20,
            end: End::Status(0),
        };
        let once = Once {
            cost,
            verdict: Verdict {
                found: 99,
                wrong: 1,
                repeated: 0,
            },
            frames: 100,
            pace: None,
            settled: None,
            resolved: None,
            complaint: Some("ended with status 1: no such device".to_owned()),
        };
        let slow = Once {
            cost: Cost {
                wall_s: 2.0,
                ..cost
            },
            complaint: None,
            ..once
        };
        let row = Row {
            tool: Tool::Sonde,
            label: "tagged".to_owned(),
            setting: Setting::rate(200_000),
            probes: 100,
            truth: Truth {
                all: 100,
                open: 100,
                answering: 100,
            },
            runs: vec![once, slow],
            qualified: false,
            unable: None,
            passes: 3,
        };
        let unable = Row {
            tool: Tool::Zmap,
            label: String::new(),
            runs: Vec::new(),
            unable: Some("can't tag".to_owned()),
            ..row
        };
        let fact = |text: &str, reached, ratio: Option<f64>| Fact {
            text: text.to_owned(),
            reached,
            bar: ratio.map(|ratio| Bar {
                label: text.to_owned(),
                ratio,
                note: String::new(),
            }),
        };
        Outcome {
            name: "sweep".to_owned(),
            title: "hosts".to_owned(),
            rows: vec![row, unable],
            trials: vec![Trial {
                tool: Tool::Zmap,
                setting: Setting::MAX,
                probes: 100,
                wall_s: 3.0,
                share: 0.5,
            }],
            facts: vec![
                fact("fast", Some(true), Some(12.0)),
                fact("small", Some(false), Some(3.0)),
                fact("so", None, None),
            ],
        }
    }

    #[test]
    fn a_section_says_everything_that_was_measured() {
        let text = section(&outcome());
        for expected in [
            "| sonde, tagged | 200k/s | 100 | ? | 1.62 (1.25–2.00) | 99.000 % | 1 | 1.00 | 8.0 |",
            "| zmap | can't tag | | | | | | | |",
            "- reached: fast\n- **not reached**: small\n- so\n- sonde ended with status 1: no such device\n",
            "| zmap | no ceiling | 100 | 3.00 | 50.000 % |",
        ] {
            assert!(text.contains(expected), "{expected}\nis not in\n{text}");
        }
    }

    #[test]
    fn the_report_names_machine_and_versions_and_the_verdict_counts() {
        let setup = Setup {
            machine: "a box".to_owned(),
            date: "2026-11-25".to_owned(),
            versions: vec![
                (Tool::Sonde, Some("sonde 0.1.0".to_owned())),
                (Tool::Nmap, None),
            ],
            rounds: 3,
            link: "auto".to_owned(),
        };
        let text = markdown(&setup, &[outcome()]);
        assert!(text.contains("- machine: a box\n- date: 2026-11-25\n"));
        assert!(text.contains("sonde 0.1.0; nmap: not installed"), "{text}");
        let expected = "1 of 2 goals reached; 3.00 to 12.0 times the best other";
        assert_eq!(verdict(&[outcome()]), expected);
        assert_eq!(bars(&[outcome()]).len(), 2);
    }
}
