//! `sonde ctl`: a cloud's client. Data to stdout, messages to stderr.

mod boxes;
mod people;
mod results;
mod scans;
mod session;
mod simulate;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use comfy_table::{Table, presets};

/// Arguments of `sonde ctl`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  sonde ctl login https://cloud.example.org:8443 --fingerprint 5f1c...
  sonde ctl activate BCDF-GHJ-KLM --name north
  sonde ctl settings set-trunk north trunk.toml
  sonde ctl scan --appliance north -p top:100 10.1.0.0/24@100
  sonde ctl watch ID && sonde ctl results ID --format csv -o found.csv

Exit status: 0 done, 1 failed, 2 refused, 3 the scan ended early with partial results.")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Log in, and remember the cloud and the token
    Login(people::Login),
    /// End the token and forget it
    Logout,
    /// Look after users
    #[command(subcommand)]
    Users(people::Users),
    /// Look after your API tokens
    #[command(subcommand)]
    Tokens(people::Tokens),
    /// Take in the box that shows a code
    Activate(boxes::Activate),
    /// List appliances, rename them, switch them off and on
    Appliances(boxes::Appliances),
    /// What the cloud wants an appliance to be
    #[command(subcommand)]
    Settings(boxes::Settings),
    /// Ask for a scan; prints its id
    Scan(Box<scans::ScanArgs>),
    /// List scans, newest first
    Scans(scans::List),
    /// Show a scan's progress until it ends
    Watch(scans::Watch),
    /// Stop a scan; what it found is kept
    Cancel(scans::Cancel),
    /// What a scan found
    Results(results::Results),
    /// Simulated appliances: load for a cloud
    #[command(hide = true)]
    Simulate(simulate::Simulate),
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime can't start")?;
    runtime.block_on(async {
        match args.what {
            What::Login(args) => people::login(args).await,
            What::Logout => people::logout().await,
            What::Users(what) => people::users(what).await,
            What::Tokens(what) => people::tokens(what).await,
            What::Activate(args) => boxes::activate(args).await,
            What::Appliances(args) => boxes::appliances(args).await,
            What::Settings(what) => boxes::settings(what).await,
            What::Scan(args) => scans::scan(*args).await,
            What::Scans(args) => scans::list(args).await,
            What::Watch(args) => scans::watch(args).await,
            What::Cancel(args) => scans::cancel(args).await,
            What::Results(args) => results::results(args).await,
            What::Simulate(args) => simulate::simulate(args).await,
        }
    })
}

/// Prints data, a line or more.
fn print(text: &str) -> anyhow::Result<()> {
    super::print_data(|out| writeln!(out, "{text}"))
}

/// A table for people.
fn table(heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    for row in rows {
        table.add_row(row);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    lines.join("\n")
}
