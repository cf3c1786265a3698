//! Network namespaces: entering one at the start of a process, holding one with a thread, visiting one.
//!
//! None is bound to a path. A namespace lives as long as a thread is in it or a descriptor of it is open,
//! so all of them are gone when the process is, however it ends (namespaces(7)).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::{getegid, geteuid};

use crate::netlink::{self, NetlinkError};

/// Why the process could not get namespaces of its own.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// More than one thread: only the calling one would move.
    #[error(
        "network namespaces can only be entered before threads are started, and this process has {0}"
    )]
    Threads(usize),
    /// An ordinary user may not have a user namespace here.
    #[error(
        "this system gives ordinary users no network namespaces of their own; run as root, or allow them \
         (sysctl user.max_user_namespaces=10000, and where they exist kernel.unprivileged_userns_clone=1 and \
         kernel.apparmor_restrict_unprivileged_userns=0)"
    )]
    UserNamespaces(#[source] io::Error),
    /// The kernel refused something else.
    #[error("cannot enter a new network namespace: {attempted} failed")]
    Kernel {
        /// What was attempted.
        attempted: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The loopback interface of the new namespace stays down.
    #[error(transparent)]
    Loopback(#[from] NetlinkError),
}

/// Moves the whole process into a new network namespace, for good, with loopback up.
///
/// With privileges it takes nothing else. An ordinary user gets a user namespace around it, in which the
/// user is root; files made there belong to the user outside. Call it first thing: the process must
/// have one thread only.
///
/// # Errors
/// See [`EnterError`]. When it fails the process is where it was, except after [`EnterError::Loopback`].
pub fn enter_namespaces() -> Result<(), EnterError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(EnterError::Threads(threads));
    }
    let (user, group) = (geteuid(), getegid());
    match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => {}
        Err(Errno::EPERM) => {
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
                .map_err(|errno| EnterError::UserNamespaces(errno.into()))?;
            let map = |path, line: String| {
                let attempted = "mapping this user to root";
                let failed = |source| EnterError::Kernel { attempted, source };
                fs::write(Path::new("/proc/self").join(path), line).map_err(failed)
            };
            // Without "deny" the kernel takes no group map from an ordinary user (user_namespaces(7)).
            map("setgroups", "deny".to_owned())?;
            map("uid_map", format!("0 {user} 1"))?;
            map("gid_map", format!("0 {group} 1"))?;
        }
        Err(errno) => {
            return Err(EnterError::Kernel {
                attempted: "unshare",
                source: errno.into(),
            });
        }
    }
    Ok(netlink::run(async |links| links.bring_up("lo").await)?)
}

/// Moves the whole process into the user and network namespaces that process `pid` is in.
///
/// Call it first thing: the process must have one thread only.
///
/// # Errors
/// When the process is gone, or belongs to somebody else.
pub(crate) fn join_namespaces(pid: u32) -> io::Result<()> {
    let open = |name| File::open(format!("/proc/{pid}/ns/{name}"));
    let (user, net) = (open("user")?, open("net")?);
    // The user namespace goes first: its privileges are what lets us into the other. Ours can not be
    // entered again.
    if !same_file(&user, &File::open("/proc/self/ns/user")?)? {
        setns(&user, CloneFlags::CLONE_NEWUSER)?;
    }
    setns(&net, CloneFlags::CLONE_NEWNET)?;
    Ok(())
}

fn same_file(one: &File, other: &File) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// An open network namespace: alive for as long as this is.
#[derive(Debug)]
pub struct Namespace(File);

impl Namespace {
    /// The one that the calling thread is in.
    ///
    /// # Errors
    /// When `/proc` is not there.
    pub fn current() -> io::Result<Self> {
        File::open("/proc/thread-self/ns/net").map(Self)
    }

    /// Moves the calling thread, and no other, into a new namespace.
    ///
    /// # Errors
    /// Without the privilege to, or above the system's limit.
    pub fn unshare() -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Self::current()
    }

    /// Runs `visit` on a thread of its own in this namespace, and waits for it.
    ///
    /// # Errors
    /// When the thread can not be started or may not enter.
    ///
    /// # Panics
    /// When `visit` panics.
    pub fn visit<T: Send>(&self, visit: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let visitor = std::thread::Builder::new().name("lab-visit".into());
            let visitor = visitor.spawn_scoped(scope, || {
                setns(self, CloneFlags::CLONE_NEWNET)?;
                Ok(visit())
            })?;
            visitor
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Its descriptor, for rtnetlink.
    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A setting that could not be written.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot set {path} to {value}; /proc must be mounted, writable, and its kernel have IPv4 and IPv6"
)]
pub struct SysctlError {
    path: String,
    value: &'static str,
    #[source]
    source: io::Error,
}

/// Writes `/proc/sys/net/NAME` of the calling thread's namespace.
pub(crate) fn set_sysctl(name: &str, value: &'static str) -> Result<(), SysctlError> {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).map_err(|source| SysctlError {
        path,
        value,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_threads_is_refused() {
        // The test harness runs this on a thread beside its own main thread, or we start one.
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || stopped.recv());
        assert!(matches!(enter_namespaces(), Err(EnterError::Threads(n)) if n >= 2));
        drop(stop);
        assert!(other.join().unwrap().is_err());
    }

    #[test]
    fn the_current_namespace_is_told_apart_by_file() {
        let (one, other) = (Namespace::current().unwrap(), Namespace::current().unwrap());
        assert!(same_file(&one.0, &other.0).unwrap());
        assert!(!same_file(&one.0, &File::open("/proc/self/ns/user").unwrap()).unwrap());
    }
}
