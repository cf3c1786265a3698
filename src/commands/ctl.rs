//! `sonde ctl`.

use std::process::ExitCode;

/// Arguments of `sonde ctl`.
#[derive(clap::Args)]
pub(crate) struct Args {}

#[expect(clippy::needless_pass_by_value, clippy::unnecessary_wraps, reason = "the shape of every subcommand")]
pub(crate) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    Ok(ExitCode::FAILURE)
}
