//! What a process gives up before it reads a byte from outside.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, remove_capability_from_bounding_set,
    set_capabilities, set_no_new_privs,
};

/// Why a process would rather not run.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// The supervisor is gone already.
    #[error("the supervisor is gone: start `sonde appliance`")]
    Orphan,
    /// The kernel says no.
    #[error("privileges can not be given up")]
    Kernel(#[from] Errno),
}

/// Ends by SIGTERM with its supervisor (process `parent`), however that ends.
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
    keep(CapabilitySet::empty())
}

/// As [`give_up`], but raw packets stay, if the process may send them at all. They are enough for the packet link:
/// the kernel asks for no more to make an interface promiscuous, and a send buffer beyond the system's limit
/// (`SO_SNDBUFFORCE`, CAP_NET_ADMIN) only saves calls.
///
/// # Errors
/// [`PrivilegeError`].
pub fn keep_raw_packets() -> Result<(), PrivilegeError> {
    keep(CapabilitySet::NET_RAW)
}

/// Keeps of `wanted` what there is, and nothing else.
fn keep(wanted: CapabilitySet) -> Result<(), PrivilegeError> {
    set_no_new_privs(true)?;
    clear_bounding_set()?;
    let kept = capabilities(None)?.permitted.intersection(wanted);
    // Nothing is inheritable: that empties the ambient set, too (capabilities(7)).
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: CapabilitySet::empty(),
        },
    )?;
    Ok(())
}

/// Root's programs would gain what is in the bounding set. Whoever may not clear it (CAP_SETPCAP) gains
/// nothing by it either, since there are no new privileges.
fn clear_bounding_set() -> Result<(), PrivilegeError> {
    for number in 0..u64::BITS {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << number)) {
            Ok(()) => {}
            // Not allowed, or past the last this kernel knows.
            Err(Errno::PERM | Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
