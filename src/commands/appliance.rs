//! `sonde appliance`: the box.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use sonde_agent::agent::Options;
use sonde_agent::supervisor;

use super::{Refused, log};

/// Arguments of `sonde appliance`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  sonde appliance --cloud https://cloud.example.org:8443
  sonde appliance --state ./box --cloud https://127.0.0.1:8443     as an ordinary user
  sonde panel --this-terminal                                      shows the activation code

Exit status: 0 ended by SIGTERM or Ctrl-C, 1 failed, 2 configuration refused.")]
pub(crate) struct Args {
    #[command(flatten)]
    place: Place,
}

/// Where a box is and belongs; the same for `sonde appliance` and `sonde agent`.
#[derive(clap::Args)]
pub(crate) struct Place {
    /// Configuration [default: /etc/sonde/appliance.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of key, settings, results and sockets [default: /var/lib/sonde, sockets in /run/sonde]
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The cloud [default: `[cloud] url` in the configuration]
    #[arg(long, value_name = "URL")]
    cloud: Option<String>,
}

impl From<Place> for Options {
    fn from(place: Place) -> Self {
        Self {
            config: place.config,
            state: place.state,
            cloud: place.cloud,
        }
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    log();
    let program = std::env::current_exe().context("the program does not find itself")?;
    match supervisor::run(&args.place.into(), &program) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.is_refusal() => Err(Refused(error.into()).into()),
        Err(error) => Err(error.into()),
    }
}
