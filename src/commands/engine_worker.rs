//! `sonde engine-worker`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use sonde_agent::privileges;
use sonde_scanner::scan::End;
use sonde_scanner::worker;

use super::Refused;

/// Ended early with partial results: cancelled, or its time was over.
const EXIT_PARTIAL: u8 = 3;

/// One scan: request on stdin, observations on stdout (started by `sonde appliance`)
#[derive(clap::Args)]
#[command(after_help = "\
One line of JSON on stdin says what to scan; keep stdin open, its end cancels. Lines of JSON come on stdout.

Example:
  (echo '{\"targets\":[\"192.0.2.0/24\"],\"ports\":\"22,80\"}'; sleep 60) | sonde engine-worker

Exit status: 0 done, 1 failed, 2 refused, 3 ended early with partial results.")]
pub(crate) struct Args {
    /// The appliance's configuration; its `[policy]` is what no request can widen
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Process id of the supervisor, with which it ends
    #[arg(long, value_name = "PID", hide = true)]
    parent: Option<u32>,
}

/// Runs `sonde engine-worker`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape of every subcommand"
)]
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    give_up(args.parent).inspect_err(|error| worker::tell(error.as_ref(), std::io::stdout()))?;
    let input = std::io::BufReader::new(std::io::stdin());
    match worker::work(args.config.as_deref(), input, std::io::stdout) {
        Ok(End::Complete) => Ok(ExitCode::SUCCESS),
        Ok(End::TimeLimit | End::Stopped) => Ok(ExitCode::from(EXIT_PARTIAL)),
        Err(error) if error.is_refusal() => Err(Refused(error.into()).into()),
        Err(error) => Err(error.into()),
    }
}

/// Raw packets are all it needs of what it was started with.
fn give_up(parent: Option<u32>) -> anyhow::Result<()> {
    if let Some(parent) = parent {
        privileges::bind_to(parent)?;
    }
    privileges::keep_raw_packets().context("start as root or as an ordinary user, not in between")
}
