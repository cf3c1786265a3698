//! Sonde against masscan, zmap and nmap, on the same simulated networks, in turn: one command.
//!
//! ```text
//! cargo bench --bench versus                       everything, and docs/benchmarks/ anew
//! cargo bench --bench versus -- --quick            small worlds, one round, nothing written
//! cargo bench --bench versus -- --only sweep --rounds 5
//! ```
//!
//! As root: worlds are programs in the kernel. Nothing leaves the namespaces that it makes.

// Cargo builds a bench without a harness with `cfg(test)` and drops the tests: their modules are empty
// here. They run in tests/main.rs, which includes this file.
#![allow(
    dead_code,
    unused_imports,
    reason = "what only tests use looks unused where there are none"
)]

mod contest;
mod judge;
mod machine;
mod plan;
mod plot;
mod report;
mod run;
mod scenarios;
mod statistics;
mod tools;
mod truth;
mod world;

use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;

use contest::Contest;
use report::{Outcome, Setup};
use scenarios::Scenario;
use tools::Tool;

/// Sonde against masscan, zmap and nmap, on the same simulated networks, in turn
#[derive(Parser)]
#[command(name = "cargo bench --bench versus --")]
struct Args {
    /// How often everybody runs
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Only this scenario; repeatable
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Small worlds, one round, nothing is written
    #[arg(long)]
    quick: bool,
    /// How Sonde's frames leave
    #[arg(long, default_value = "auto")]
    link: String,
    /// Queues between the scanners and the network
    #[arg(long, default_value_t = 1)]
    queues: u32,
    /// Another build of Sonde
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_sonde"))]
    sonde: PathBuf,
    /// Where the report goes [default: docs/benchmarks, if all scenarios are run and not --quick]
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// What cargo tells every bench
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let outcome = if arguments.next().is_some_and(|word| word == run::MEASURE) {
        run::measure(&arguments.collect::<Vec<OsString>>())
    } else {
        compare(&Args::parse())
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("versus: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(args: &Args) -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "worlds are programs in the kernel; run it as root"
    );
    let scenarios = chosen(args)?;
    let versions = Tool::ALL.map(|tool| (tool, tool.version(&args.sonde)));
    let mut installed = Vec::new();
    for (tool, version) in &versions {
        match version {
            Some(version) => {
                eprintln!("versus: {version}");
                installed.push(*tool);
            }
            None => eprintln!(
                "versus: {tool} is not installed and is left out; tests/setup.sh installs it"
            ),
        }
    }
    let folder = tempfile::tempdir()?;
    let contest = Contest {
        rounds: if args.quick { 1 } else { args.rounds },
        link: args.link.clone(),
        sonde: args.sonde.clone(),
        queues: args.queues,
        patience: Duration::from_secs(if args.quick { 20 } else { 120 }),
        folder: folder.path().to_owned(),
        installed,
    };
    let setup = Setup {
        machine: machine::describe(),
        date: time::OffsetDateTime::now_utc().date().to_string(),
        versions: versions.to_vec(),
        rounds: contest.rounds,
        link: args.link.clone(),
    };
    let whole = args.only.is_empty() && !args.quick;
    let docs = || Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/benchmarks");
    let report = args.write.clone().or_else(|| whole.then(docs));
    let mut outcomes = Vec::new();
    for scenario in &scenarios {
        let outcome = contest
            .hold(scenario, &mut |words| eprintln!("versus: {words}"))
            .with_context(|| format!("scenario {}", scenario.name))?;
        print(&report::section(&outcome))?;
        outcomes.push(outcome);
        // What is measured stays, even if something goes wrong later.
        if let Some(folder) = &report {
            write(folder, &setup, &outcomes)?;
        }
    }
    print(&format!("{}\n", report::verdict(&outcomes)))?;
    if args.quick {
        outcomes.iter().try_for_each(smoke)?;
    }
    Ok(())
}

/// Small worlds say nothing about speed, but Sonde must get through them and see what is there.
fn smoke(outcome: &Outcome) -> anyhow::Result<()> {
    let sonde = &outcome.rows[0];
    let failed = sonde.runs.iter().find_map(|once| once.complaint.as_ref());
    if let Some(complaint) = failed {
        bail!("sonde in scenario {}: {complaint}", outcome.name);
    }
    let share = sonde.share().map_or(0.0, |share| share.min);
    ensure!(
        share > 0.0,
        "sonde found nothing in scenario {}",
        outcome.name
    );
    Ok(())
}

fn chosen(args: &Args) -> anyhow::Result<Vec<Scenario>> {
    let all = scenarios::all(args.quick);
    let names: Vec<_> = all.iter().map(|scenario| scenario.name).collect();
    for only in &args.only {
        let known = names.contains(&only.as_str());
        ensure!(
            known,
            "`{only}` is no scenario; there are {}",
            names.join(", ")
        );
    }
    let wanted = |scenario: &Scenario| {
        args.only.is_empty() || args.only.iter().any(|only| only == scenario.name)
    };
    Ok(all.into_iter().filter(wanted).collect())
}

fn write(folder: &Path, setup: &Setup, outcomes: &[Outcome]) -> anyhow::Result<()> {
    let failed = || format!("cannot write to {}", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    let report = report::markdown(setup, outcomes);
    fs::write(folder.join("versus.md"), report).with_context(failed)?;
    let machine = format!("{}; {}", setup.machine, setup.date);
    let plot = plot::svg(
        "How many times better than the best other",
        &machine,
        &report::bars(outcomes),
    );
    fs::write(folder.join("versus.svg"), plot).with_context(failed)
}

fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
