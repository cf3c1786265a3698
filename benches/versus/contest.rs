//! Runs the entries of a scenario: first what has to be tried, then round after round, everybody in turn.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::judge::{self, Once, Row, Trial};
use super::plan::Plan;
use super::report::Outcome;
use super::run::{Limits, run};
use super::scenarios::{Choice, Entry, Judge, Kind, Scenario};
use super::statistics::{Reading, pace, second_half};
use super::tools::{Setting, Site, Task, Tool};
use super::truth::{Truth, Verdict};
use super::world::{Counts, World, state};

/// More targets than this go into a file.
const ARGUMENTS_MAX: usize = 64;
/// Of address space: more than any of them needs, less than would hurt the machine.
const MEMORY_MAX: u64 = 16 << 30;
/// Nobody is waited for longer than the contest's patience and what this rate would take.
const PATIENCE_RATE: u64 = 20_000;
/// A counter that took longer to read is read again, so often at most.
const READING_MAX: Duration = Duration::from_micros(300);
const READINGS_MAX: u32 = 3;
/// Passes that Sonde makes unless told.
const PASSES: u32 = 3;

/// What is the same for all runs.
pub(crate) struct Contest {
    pub(crate) rounds: u32,
    pub(crate) link: String,
    pub(crate) sonde: PathBuf,
    pub(crate) queues: u32,
    /// What a command may take that has next to nothing to do.
    pub(crate) patience: Duration,
    /// For reports, logs and lists.
    pub(crate) folder: PathBuf,
    /// The scanners that are here.
    pub(crate) installed: Vec<Tool>,
}

impl Contest {
    /// Runs a scenario to its end. `say` hears what happens.
    ///
    /// # Errors
    /// When a world does not start or a command can't be measured. That a command fails is a result.
    pub(crate) fn hold(
        &self,
        scenario: &Scenario,
        say: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Outcome> {
        let mut rows = Vec::new();
        let mut trials = Vec::new();
        for entry in &scenario.entries {
            rows.push(self.row(entry, scenario.judge, &mut trials, say)?);
        }
        for round in 1..=self.rounds {
            for (entry, row) in scenario.entries.iter().zip(&mut rows) {
                if row.unable.is_some() {
                    continue;
                }
                let once = self.once(entry, &entry.plan, row.setting)?;
                say(&format!(
                    "{} round {round}: {} {}: {:.2} s, {} found",
                    scenario.name,
                    row.name(),
                    row.label,
                    once.cost.wall_s,
                    once.verdict.found
                ));
                row.runs.push(once);
            }
        }
        Ok(Outcome {
            name: scenario.name.to_owned(),
            title: scenario.title.clone(),
            facts: judge::facts(scenario.name, scenario.judge, &rows),
            rows,
            trials,
        })
    }

    /// The row of an entry, without runs: whether it can, its setting, the truth.
    fn row(
        &self,
        entry: &Entry,
        judge: Judge,
        trials: &mut Vec<Trial>,
        say: &mut dyn FnMut(&str),
    ) -> anyhow::Result<Row> {
        let unable = if self.installed.contains(&entry.tool) {
            self.refusal(entry)?
        } else {
            Some("not installed".to_owned())
        };
        // Where nothing answers there is nothing to look at; a plan of 2^32 would take a while.
        let truth = if judge == Judge::Memory || entry.world == Kind::Dark {
            Truth {
                all: entry.plan.probes(),
                ..Truth::default()
            }
        } else {
            Truth::of(entry.plan.endpoints(), state(entry.world)?)
        };
        let (setting, qualified) = match &entry.choice {
            Choice::Fixed(setting) => (*setting, false),
            Choice::Tried(settings, _) if unable.is_some() => (settings[0], false),
            Choice::Tried(settings, part) => {
                let plan = part.as_ref().unwrap_or(&entry.plan);
                self.try_all(entry, plan, settings, trials, say)?
            }
        };
        Ok(Row {
            tool: entry.tool,
            label: entry.label.clone(),
            setting,
            probes: entry.plan.probes(),
            truth,
            qualified,
            runs: Vec::new(),
            unable,
            passes: passes(entry),
        })
    }

    /// Why a tool can't do its task; `None` if it can.
    fn refusal(&self, entry: &Entry) -> anyhow::Result<Option<String>> {
        let task = self.task(entry, &entry.plan)?;
        let site = self.site(entry, &World::start(entry.world, self.queues)?)?;
        let command = entry.tool.command(&task, &site, Setting::MAX, &self.folder);
        Ok(command.err().map(str::to_owned))
    }

    /// The setting to take, and whether it found enough.
    fn try_all(
        &self,
        entry: &Entry,
        plan: &Plan,
        settings: &[Setting],
        trials: &mut Vec<Trial>,
        say: &mut dyn FnMut(&str),
    ) -> anyhow::Result<(Setting, bool)> {
        let truth = Truth::of(plan.endpoints(), state(entry.world)?);
        let first = trials.len();
        for &setting in settings {
            let once = self.once(entry, plan, setting)?;
            let trial = Trial {
                tool: entry.tool,
                setting,
                probes: plan.probes(),
                wall_s: once.cost.wall_s,
                share: once.verdict.share(&truth),
            };
            say(&format!(
                "tried {} at {setting}: {:.2} s, {}",
                entry.tool,
                trial.wall_s,
                judge::share_words(trial.share)
            ));
            trials.push(trial);
        }
        let chosen = judge::choose(&trials[first..]);
        chosen.context("there is always a setting to try")
    }

    /// One run in a world of its own.
    fn once(&self, entry: &Entry, plan: &Plan, setting: Setting) -> anyhow::Result<Once> {
        let task = self.task(entry, plan)?;
        let world = World::start(entry.world, self.queues)?;
        let site = self.site(entry, &world)?;
        let (words, report) = entry
            .tool
            .command(&task, &site, setting, &self.folder)
            .map_err(anyhow::Error::msg)?;
        // A report of an earlier run must not be taken for this one's.
        let _ = fs::remove_file(&report);
        let log = self.folder.join("log");
        let slowest = Duration::from_secs(plan.probes().min(1 << 26) / PATIENCE_RATE);
        let limits = Limits {
            time: self.patience + slowest,
            memory: MEMORY_MAX,
        };
        let mut counted: Vec<(Duration, Counts)> = Vec::new();
        let cost = world.visit(|| {
            run(&words, limits, &log, |started| {
                counted.push(read(&world, started));
            })
        })??;
        drop(world);
        let complaint = judge::bad_end(cost.end, entry.cut_short)
            .map(|how| format!("{how}: {}", last_words(&log)));
        let verdict = match entry.tool.read(&report, &task) {
            Ok(reported) => Verdict::of(reported.open, |at| plan.contains(at), state(entry.world)?),
            // What failed may have left no report.
            Err(_) if complaint.is_some() || entry.cut_short => Verdict::default(),
            Err(error) => return Err(error).context(shown(&words)),
        };
        Ok(Once {
            cost,
            verdict,
            frames: grown(&counted, |counts| counts.frames),
            pace: pace(&readings(&counted, |counts| counts.frames)),
            settled: through_policer(&counted),
            resolved: resolved(&counted),
            complaint,
        })
    }

    fn task(&self, entry: &Entry, plan: &Plan) -> anyhow::Result<Task> {
        let mut targets = plan.targets();
        let mut list = None;
        if targets.len() > ARGUMENTS_MAX {
            let path = self.folder.join("targets");
            fs::write(&path, targets.join("\n") + "\n")?;
            list = Some(path);
            targets.clear();
        }
        Ok(Task {
            targets,
            list,
            ports: plan.ports.clone(),
            sonde: entry.sonde.iter().map(|&word| word.to_owned()).collect(),
            six: plan.is_six(),
        })
    }

    fn site(&self, entry: &Entry, world: &World) -> anyhow::Result<Site> {
        let six = entry.plan.is_six();
        Ok(Site {
            interface: world.interface().to_owned(),
            source: world.source(six),
            next_hop: world.next_hop(six),
            trunk: world.trunk_file(&self.folder)?,
            link: self.link.clone(),
            sonde: self.sonde.clone(),
        })
    }
}

/// What a world counted, and when. On a busy machine time may pass between the two: then it is read again.
fn read(world: &World, started: Instant) -> (Duration, Counts) {
    let mut attempts = 0;
    loop {
        let before = started.elapsed();
        let counts = world.counts();
        let took = started.elapsed() - before;
        attempts += 1;
        if took < READING_MAX || attempts == READINGS_MAX {
            return (before + took / 2, counts);
        }
    }
}

/// Passes over what does not answer.
fn passes(entry: &Entry) -> u32 {
    let mut words = entry.sonde.iter();
    match entry.tool {
        Tool::Sonde if words.any(|&word| word == "--passes") => words
            .next()
            .and_then(|word| word.parse().ok())
            .unwrap_or(PASSES),
        Tool::Sonde => PASSES,
        _ => 1,
    }
}

fn readings(counted: &[(Duration, Counts)], of: impl Fn(&Counts) -> u64) -> Vec<Reading> {
    let reading = |(at, counts): &(Duration, Counts)| Reading {
        at: *at,
        count: of(counts),
    };
    counted.iter().map(reading).collect()
}

fn grown(counted: &[(Duration, Counts)], of: impl Fn(&Counts) -> u64) -> u64 {
    match (counted.first(), counted.last()) {
        (Some((_, first)), Some((_, last))) => of(last) - of(first),
        _ => 0,
    }
}

/// Rates of the second half of the sending: what came to the policer, and what it let through.
fn through_policer(counted: &[(Duration, Counts)]) -> Option<(f64, f64)> {
    let frames = readings(counted, |counts| counts.offered);
    let half = second_half(&frames)?;
    let (from, to) = (half.first()?.at, half.last()?.at);
    let in_half = |(at, _): &&(Duration, Counts)| (from..=to).contains(at);
    let in_half: Vec<_> = counted.iter().filter(in_half).copied().collect();
    let seconds = (to - from).as_secs_f64();
    (seconds > 0.0).then_some(())?;
    Some((
        grown(&in_half, |counts| counts.offered) as f64 / seconds,
        grown(&in_half, |counts| counts.let_through) as f64 / seconds,
    ))
}

/// When the number of MAC addresses told first reached what it is at the end.
fn resolved(counted: &[(Duration, Counts)]) -> Option<(f64, u64)> {
    let all = counted.last()?.1.resolved;
    let (at, _) = counted.iter().find(|(_, counts)| counts.resolved == all)?;
    (all > 0).then_some((at.as_secs_f64(), all))
}

fn last_words(log: &std::path::Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("it said nothing")
        .chars()
        .take(300)
        .collect()
}

fn shown(words: &[OsString]) -> String {
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::scenarios;
    use super::*;

    fn counted(values: &[(u64, u64, u64)]) -> Vec<(Duration, Counts)> {
        let counts = |&(frames, let_through, resolved): &(u64, u64, u64)| Counts {
            frames,
            offered: frames,
            let_through,
            resolved,
        };
        let at = |tick: u64| Duration::from_millis(10 * tick);
        (0_u64..).map(at).zip(values.iter().map(counts)).collect()
    }

    #[test]
    fn what_the_policer_let_through_is_of_the_same_time() {
        let values: Vec<_> = (0..100).map(|tick| (tick * 20, tick * 10, 0)).collect();
        let (sent, through) = through_policer(&counted(&values)).unwrap();
        assert!((sent - 2000.0).abs() < 1e-6 && (through - 1000.0).abs() < 1e-6);
        assert_eq!(through_policer(&counted(&[(0, 0, 0); 9])), None);
    }

    #[test]
    fn resolving_ends_with_the_last_answer() {
        let values = [(0, 0, 0), (0, 0, 3), (5, 5, 4), (9, 9, 4)];
        assert_eq!(resolved(&counted(&values)), Some((0.02, 4)));
        assert_eq!(resolved(&counted(&values[..1])), None);
    }

    #[test]
    fn passes_are_those_told() {
        for scenario in scenarios::all(false) {
            for entry in &scenario.entries {
                let one = entry.tool != Tool::Sonde || entry.sonde.contains(&"--passes");
                assert_eq!(
                    passes(entry),
                    if one { 1 } else { PASSES },
                    "{}",
                    scenario.name
                );
            }
        }
    }
}
