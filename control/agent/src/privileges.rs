//! What the agent's process gives up before it reads a byte from outside.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

/// Why a process would rather not run.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The supervisor is gone already.
    #[error("the supervisor is gone: start `sonde appliance`")]
    Orphan,
    /// The kernel says no.
    #[error("privileges can not be given up")]
    Kernel(#[from] rustix::io::Errno),
}

/// Ends with its supervisor (process `parent`), however that ends.
///
/// # Errors
/// [`PrivilegeError`].
pub fn bind_to(parent: u32) -> Result<(), PrivilegeError> {
    set_parent_process_death_signal(Some(Signal::TERM))?;
    // It may have ended before the line above.
    let alive = getppid().map(Pid::as_raw_pid) == i32::try_from(parent).ok();
    if alive {
        Ok(())
    } else {
        Err(PrivilegeError::Orphan)
    }
}

/// Gives up every capability and the way to any new one: raw sockets, changing links and other users' files
/// are out of reach, also for root. Call it while there is one thread.
///
/// # Errors
/// [`PrivilegeError`].
pub fn give_up() -> Result<(), PrivilegeError> {
    set_no_new_privs(true)?;
    let none = CapabilitySet::empty();
    set_capabilities(
        None,
        CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        },
    )?;
    Ok(())
}
