//! Holds what `cargo bench --bench engine` measured against `baseline.toml`: slower than a target is a
//! failure, slower than this machine's baseline by more than the tolerance is said.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Baseline {
    machine: String,
    /// How much slower than the baseline is worth a word: 1.2 is a fifth.
    tolerance: f64,
    bench: BTreeMap<String, Figure>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Figure {
    /// What one operation may take, in nanoseconds, on any machine of the last ten years.
    target_ns: f64,
    /// What it took on `machine`.
    measured_ns: f64,
    /// Operations in one of criterion's iterations.
    #[serde(default = "one")]
    operations: f64,
}

fn one() -> f64 {
    1.0
}

/// The part of criterion's `estimates.json` that is read.
#[derive(Deserialize)]
struct Estimates {
    median: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
}

#[expect(
    clippy::print_stdout,
    reason = "a table for the person who asked for it"
)]
fn main() -> ExitCode {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(top.join("benches/baseline.toml")).expect("it is committed");
    let baseline: Baseline = toml::from_str(&text).expect("it has the shape above");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| top.join("target"), Into::into);
    let mut failed = false;
    println!("baseline: {}", baseline.machine);
    for (name, figure) in &baseline.bench {
        let file = target
            .join("criterion")
            .join(name)
            .join("new/estimates.json");
        let estimates = std::fs::read(&file)
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(Estimates { median }) = estimates else {
            println!("{name:16} was not measured: run `cargo bench --bench engine` first");
            failed = true;
            continue;
        };
        let took = median.point_estimate / figure.operations;
        let verdict = if took > figure.target_ns {
            failed = true;
            "slower than its target"
        } else if took > figure.measured_ns * baseline.tolerance {
            "slower than the baseline"
        } else {
            "good"
        };
        println!(
            "{name:16} {took:9.1} ns  target {:9.1}  baseline {:9.1}  {verdict}",
            figure.target_ns, figure.measured_ns
        );
    }
    if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
