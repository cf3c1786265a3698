//! `sonde agent`: started by `sonde appliance`.

use std::process::ExitCode;

use anyhow::Context as _;
use sonde_agent::{agent, privileges};

use super::appliance::Place;
use super::{Refused, log};

/// Arguments of `sonde agent`.
#[derive(clap::Args)]
#[command(after_help = "\
Started by `sonde appliance`, which gives it workers and starts it again when it dies.

Example:
  sonde agent --state ./box --cloud https://cloud.example.org:8443")]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
    /// Process id of the supervisor, with which it ends
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(parent) = args.parent {
        privileges::bind_to(parent)?;
    }
    privileges::give_up().context("start as root or as an ordinary user, not in between")?;
    log();
    match agent::run(&args.place.into()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is_refusal() => Err(Refused(error.into()).into()),
        Err(error) => Err(error.into()),
    }
}
