//! How many sockets the process may have open.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Left for whatever else the process opens while a scan runs.
const RESERVE: u64 = 32;

/// Raises the soft limit of open files as far as `wanted` sockets need and the hard limit allows, and
/// returns how many sockets there is room for now, at most `wanted`.
pub(super) fn room_for_sockets(wanted: u32) -> io::Result<u32> {
    let open = std::fs::read_dir("/proc/self/fd")?.count() as u64;
    let limit = getrlimit(Resource::Nofile);
    let needed = open + RESERVE + u64::from(wanted);
    let mut current = limit.current.unwrap_or(u64::MAX);
    if current < needed {
        let raised = needed.min(limit.maximum.unwrap_or(u64::MAX)).max(current);
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(raised),
                maximum: limit.maximum,
            },
        )?;
        current = raised;
    }
    let room = current.saturating_sub(open + RESERVE);
    Ok(wanted.min(u32::try_from(room).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_never_more_than_wanted_nor_than_the_limit() {
        assert_eq!(room_for_sockets(1).unwrap(), 1);
        let room = room_for_sockets(u32::MAX).unwrap();
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(room > 0 && u64::from(room) < limit);
    }
}
