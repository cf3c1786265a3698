//! `sonde engine-worker`.

use std::path::PathBuf;
use std::process::ExitCode;

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
    /// The appliance's configuration; its [policy] is what no request can widen
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs `sonde engine-worker`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape of every subcommand"
)]
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let input = std::io::BufReader::new(std::io::stdin());
    match worker::work(args.config.as_deref(), input, std::io::stdout) {
        Ok(End::Complete) => Ok(ExitCode::SUCCESS),
        Ok(End::TimeLimit | End::Stopped) => Ok(ExitCode::from(EXIT_PARTIAL)),
        Err(error) if error.is_refusal() => Err(Refused(error.into()).into()),
        Err(error) => Err(error.into()),
    }
}
