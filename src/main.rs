//! The command `sonde`.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// An open network scanner: by hand, or as an appliance run from a cloud of your own.
#[derive(Parser)]
#[command(
    name = "sonde",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  sonde demo                                   see all of it, on this machine alone\n  \
        sonde scan 192.0.2.0/24                      the usual ports of a network\n  \
        sonde lab up                                 a network to try it on"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Scan from here, now
    Scan(Box<commands::scan::Args>),
    /// Run the appliance: supervises agent, panel and engine workers
    Appliance(commands::appliance::Args),
    /// Show the panel
    Panel(commands::panel::Args),
    /// The part of the appliance that talks to the cloud (started by `sonde appliance`)
    Agent(commands::agent::Args),
    /// One scan: request on stdin, observations on stdout (started by `sonde appliance`)
    EngineWorker(commands::engine_worker::Args),
    /// The cloud: enrolment, dispatch, results, users
    Cloud(commands::cloud::Args),
    /// Talk to a cloud
    Ctl(commands::ctl::Args),
    /// A network to scan, in namespaces on this machine
    Lab(commands::lab::Args),
    /// All of it at once: lab, cloud, appliance, a job across VLANs, its results
    Demo(commands::demo::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Scan(args) => commands::scan::run(*args),
        Command::Appliance(args) => commands::appliance::run(args),
        Command::Panel(args) => commands::panel::run(args),
        Command::Agent(args) => commands::agent::run(args),
        Command::EngineWorker(args) => commands::engine_worker::run(args),
        Command::Cloud(args) => commands::cloud::run(args),
        Command::Ctl(args) => commands::ctl::run(args),
        Command::Lab(args) => commands::lab::run(args),
        Command::Demo(args) => commands::demo::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("sonde: {error:#}");
        ExitCode::from(commands::exit_status(&error))
    })
}
