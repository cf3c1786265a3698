//! Every flow, over the core, over what a console is sent and over what LCDd is told; what is written from them; and what no
//! order of keys may do.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "clippy.toml allows both in tests, and sees no test in what tests call"
)]

use std::path::{Path, PathBuf};

use sonde_panel::flow::Flow;

mod console;
mod coverage;
mod display;
mod play;
mod random;
mod two;

/// Set, files are written instead of compared.
const UPDATE: &str = "SONDE_UPDATE";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("flows")
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/panel")
}

/// Every flow by its name, in the order of the names.
fn flows() -> Vec<(String, Flow)> {
    let mut flows: Vec<(String, Flow)> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "flow")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let flow = Flow::parse(&std::fs::read_to_string(&path).unwrap());
            (
                name.clone(),
                flow.unwrap_or_else(|error| panic!("{name}.flow: {error}")),
            )
        })
        .collect();
    flows.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(
        flows.len() > 30,
        "the flows are not where they were: {}",
        flows.len()
    );
    flows
}

/// Holds `text` against the file at `path`, or writes it there.
fn compare(path: &Path, text: &str) -> Result<(), String> {
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(path, text).unwrap();
        return Ok(());
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    if there == text {
        return Ok(());
    }
    Err(format!(
        "{} is not up to date: run `{UPDATE}=1 cargo test -p sonde-panel --test flows` and look at what changed",
        path.display()
    ))
}
