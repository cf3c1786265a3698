//! One file a subcommand: arguments in, one call into a room, a message or data out.

use std::io::{self, BufWriter, ErrorKind, IsTerminal as _, StdoutLock, Write as _};

use anyhow::Context as _;
use tracing_subscriber::EnvFilter;

pub(crate) mod agent;
pub(crate) mod appliance;
pub(crate) mod cloud;
pub(crate) mod ctl;
pub(crate) mod demo;
pub(crate) mod engine_worker;
pub(crate) mod lab;
pub(crate) mod panel;
pub(crate) mod scan;

/// The arguments or the plan were refused: nothing was done, exit status 2.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Refused(#[from] pub(crate) anyhow::Error);

/// 2 when arguments or plan were refused, 1 for everything else that failed.
pub(crate) fn exit_status(error: &anyhow::Error) -> u8 {
    if error.is::<Refused>() { 2 } else { 1 }
}

/// Messages of a long-running process on stderr, in colour on a terminal only: `RUST_LOG` says which,
/// `info` without it.
pub(crate) fn log() {
    let filter = EnvFilter::try_from_default_env();
    // A second start in one process keeps the first.
    let _kept = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn")))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
}

/// What [`print_data`] buffers: dry runs print millions of lines.
const PRINT_BUFFER: usize = 64 << 10;

/// Writes data to stdout. Whoever reads may have seen enough (`| head`): a closed pipe ends it quietly.
pub(crate) fn print_data(
    write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(PRINT_BUFFER, io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(error).context("stdout can't be written")
        }
        _ => Ok(()),
    }
}
