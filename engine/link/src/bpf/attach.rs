//! Attaching an XDP program so that it ends with this process, and saying whose is there already.

use std::io;

use aya::programs::xdp::XdpLinkId;
use aya::programs::{ProgramError, Xdp, XdpError, XdpMode, loaded_programs};
use aya::util::KernelVersion;

use crate::netlink::{attribute, attribute_u32, interface_attributes};

/// Why a program is not on an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Programs need capabilities that the process does not have.
    #[error(
        "no permission to put a program on `{0}`; run as root, give the program CAP_BPF and CAP_NET_ADMIN, or use the `packet` link"
    )]
    NotPermitted(String),
    /// Somebody else's program is there; it stays.
    #[error(
        "`{interface}` already runs program {id} ({name}); stop what put it there, or use the `packet` link"
    )]
    Occupied {
        /// The interface named.
        interface: String,
        /// The kernel's number of the program there; `bpftool prog show id` tells more.
        id: u32,
        /// Its name in the kernel, at most 15 bytes.
        name: String,
    },
    /// Kernel or driver can't do this.
    #[error("`{interface}` can't run a program: {reason}; use the `packet` link")]
    Unsupported {
        /// The interface named.
        interface: String,
        /// What is missing.
        reason: &'static str,
    },
    /// The kernel refused something else.
    #[error("can't put a program on `{interface}`; use the `packet` link")]
    Kernel {
        /// The interface named.
        interface: String,
        /// Its answer.
        #[source]
        source: io::Error,
    },
}

/// The first kernel where an attachment is held by a file descriptor. Without it aya would fall back to one
/// that stays when the process is killed: the interface would go on feeding a program nobody listens to.
const FIRST_WITH_LINKS: KernelVersion = KernelVersion::new(5, 9, 0);

/// Attaches a loaded `program` to the interface numbered `ifindex` in the calling thread's network namespace;
/// `interface` names it in errors. The kernel takes it off when `program` is dropped, however the process ends.
///
/// # Errors
/// See [`AttachError`]; nothing is left behind, and what was there stays.
pub(crate) fn attach(
    program: &mut Xdp,
    ifindex: u32,
    interface: &str,
    mode: XdpMode,
) -> Result<XdpLinkId, AttachError> {
    if !KernelVersion::current().is_ok_and(|version| version >= FIRST_WITH_LINKS) {
        return Err(AttachError::Unsupported {
            interface: interface.to_owned(),
            reason: "that takes Linux 5.9 or later",
        });
    }
    program
        .attach_to_if_index(ifindex, mode)
        .map_err(|error| refusal(error, ifindex, interface))
}

/// Refuses an interface that runs a program already, before anything is done to it.
///
/// # Errors
/// [`AttachError::Occupied`], or the kernel's answer to the question.
pub(crate) fn unoccupied(ifindex: u32, interface: &str) -> Result<(), AttachError> {
    let interface = interface.to_owned();
    match program_on(ifindex) {
        Ok(None) => Ok(()),
        Ok(Some(id)) => Err(AttachError::Occupied {
            interface,
            id,
            name: name_of(id),
        }),
        Err(source) => Err(AttachError::Kernel { interface, source }),
    }
}

/// The kernel's number of the program that the interface runs, in whatever mode; `None` without one.
///
/// # Errors
/// `ENODEV` without such an interface.
pub(crate) fn program_on(ifindex: u32) -> io::Result<Option<u32>> {
    /// Of `include/uapi/linux/if_link.h`, each with the number of the program: the only one, or one of several
    /// by mode (native, generic, in the card).
    const IDS: [u16; 4] = [4, 5, 6, 7];
    let attributes = interface_attributes(ifindex)?;
    let xdp = attribute(&attributes, libc::IFLA_XDP).unwrap_or_default();
    Ok(IDS
        .into_iter()
        .filter_map(|kind| attribute_u32(xdp, kind))
        .find(|&id| id != 0))
}

fn refusal(error: ProgramError, ifindex: u32, interface: &str) -> AttachError {
    let interface = interface.to_owned();
    let source = match error {
        ProgramError::SyscallError(error) => error.io_error,
        ProgramError::XdpError(XdpError::NetlinkError(error)) => match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::other(error),
        },
        other => io::Error::other(other),
    };
    match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => AttachError::NotPermitted(interface),
        Some(libc::EOPNOTSUPP) => AttachError::Unsupported {
            interface,
            reason: "its driver has no such mode",
        },
        // EEXIST: there is one in another mode.
        Some(libc::EBUSY | libc::EEXIST) => match unoccupied(ifindex, &interface) {
            Err(occupied) => occupied,
            // On a device above this one, or gone in the meantime.
            Ok(()) => AttachError::Kernel { interface, source },
        },
        _ => AttachError::Kernel { interface, source },
    }
}

/// What the kernel calls program `id`.
fn name_of(id: u32) -> String {
    let name = loaded_programs()
        .flatten()
        .find(|program| program.id() == id)
        .map(|program| String::from_utf8_lossy(program.name()).into_owned());
    match name {
        Some(name) if !name.is_empty() => name,
        _ => "without a name".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_runs_no_program_and_a_missing_interface_is_told() {
        let index = crate::ifreq::Interrogator::new()
            .and_then(|ask| ask.index("lo"))
            .unwrap();
        assert_eq!(program_on(index).unwrap(), None);
        let missing = program_on(i32::MAX as u32).unwrap_err();
        assert_eq!(missing.raw_os_error(), Some(libc::ENODEV));
    }

    #[test]
    fn refusals_are_told_apart() {
        let of = |code| {
            let io_error = io::Error::from_raw_os_error(code);
            let call = "bpf_link_create";
            // Loopback, which has no program: an occupied one is tried in tests/conformance.
            refusal(
                ProgramError::SyscallError(aya::sys::SyscallError { call, io_error }),
                1,
                "eth0",
            )
        };
        assert!(matches!(of(libc::EPERM), AttachError::NotPermitted(_)));
        assert!(matches!(
            of(libc::EOPNOTSUPP),
            AttachError::Unsupported { .. }
        ));
        assert!(matches!(of(libc::EBUSY), AttachError::Kernel { .. }));
        assert!(matches!(of(libc::EINVAL), AttachError::Kernel { .. }));
        for code in [libc::EPERM, libc::EOPNOTSUPP, libc::EINVAL] {
            assert!(of(code).to_string().contains("`eth0`"));
        }
    }
}
