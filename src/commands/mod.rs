//! One file a subcommand: arguments in, one call into a room, a message or data out.

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
