//! Where the process that holds a lab in the background is remembered, and whether it still runs.
//!
//! A folder of the user's own keeps the holder's process id with its start time, so that a process which got
//! the same id later is never taken for it, and the files of the lab it holds. A holder that was killed
//! leaves only this behind, and the next look sees through it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::namespace::join_namespaces;

/// How long a holder may take to end by itself; then it is killed.
const END_TIME_MAX: Duration = Duration::from_secs(5);

/// Something about the folder or the holder did not work.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// The folder is somebody else's, or no folder.
    #[error("{0} is not a folder of yours alone; remove it, or set XDG_RUNTIME_DIR to one that is")]
    Folder(PathBuf),
    /// A file or folder refused.
    #[error("cannot {attempted} {path}")]
    File {
        /// What was attempted.
        attempted: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The holder's namespaces can not be entered.
    #[error("cannot enter the lab of process {pid}; it belongs to another user or has just ended")]
    Join {
        /// The holder.
        pid: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The holder can not be ended.
    #[error("cannot end process {pid}, which holds the lab")]
    End {
        /// The holder.
        pid: u32,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The user's folder for the lab in the background.
#[derive(Debug, Clone)]
pub struct LabFolder(PathBuf);

/// A process, told apart from all others that ever had its id since the machine started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Its id.
    pub pid: u32,
    /// Its start, in clock ticks since the machine started (proc_pid_stat(5), field 22).
    pub start_ticks: u64,
}

impl LabFolder {
    /// `$XDG_RUNTIME_DIR/sonde-lab`, or `/tmp/sonde-lab-UID`; made if it is not there.
    ///
    /// # Errors
    /// When it can not be made, or others could write there.
    pub fn of_user() -> Result<Self, HolderError> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty());
        Self::at(match runtime {
            Some(path) => Path::new(&path).join("sonde-lab"),
            None => format!("/tmp/sonde-lab-{}", getuid().as_raw()).into(),
        })
    }

    /// The folder at `path`; made if it is not there.
    ///
    /// # Errors
    /// As [`LabFolder::of_user`].
    pub fn at(path: PathBuf) -> Result<Self, HolderError> {
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(HolderError::File {
                    attempted: "make",
                    path,
                    source,
                });
            }
        }
        // Not followed: a link left here by somebody else is not ours.
        let found = fs::symlink_metadata(&path);
        let ours = found.is_ok_and(|found| {
            found.is_dir() && found.uid() == getuid().as_raw() && found.mode() & 0o077 == 0
        });
        if ours {
            Ok(Self(path))
        } else {
            Err(HolderError::Folder(path))
        }
    }

    /// The trunk file of the lab that is up.
    pub fn trunk_file(&self) -> PathBuf {
        self.0.join("trunk.toml")
    }

    /// The lab file of the lab that is up, whole.
    pub fn lab_file(&self) -> PathBuf {
        self.0.join("lab.toml")
    }

    /// The targets of a scan of the whole lab, one a line.
    pub fn targets_file(&self) -> PathBuf {
        self.0.join("targets.txt")
    }

    /// What the holder has to say.
    pub fn log_file(&self) -> PathBuf {
        self.0.join("holder.log")
    }

    /// Keeps other commands from changing the lab until the file is dropped; waits for them.
    ///
    /// # Errors
    /// When the lock file can not be opened.
    pub fn lock(&self) -> Result<File, HolderError> {
        let path = self.0.join("lock");
        let failed = |source| HolderError::File {
            attempted: "lock",
            path: path.clone(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path);
        let file = file.map_err(failed)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(|e| failed(e.into()))?;
        Ok(file)
    }

    /// Writes a file of this folder, whole or not at all.
    ///
    /// # Errors
    /// When it can not be written.
    pub fn write(&self, path: &Path, text: &str) -> Result<(), HolderError> {
        let failed = |source| HolderError::File {
            attempted: "write",
            path: path.into(),
            source,
        };
        let new = path.with_extension("new");
        fs::write(&new, text).map_err(failed)?;
        fs::rename(&new, path).map_err(failed)
    }

    /// Remembers the calling process as the holder.
    ///
    /// # Errors
    /// When the file can not be written.
    pub fn hold(&self) -> Result<(), HolderError> {
        let pid = std::process::id();
        let start_ticks = start_ticks(pid).unwrap_or_default();
        let holder = Holder { pid, start_ticks };
        let text = serde_json::to_string(&holder).unwrap_or_default();
        self.write(&self.holder_file(), &text)
    }

    /// The holder, if one is remembered and still runs.
    pub fn holder(&self) -> Option<Holder> {
        let text = fs::read_to_string(self.holder_file()).ok()?;
        let holder: Holder = serde_json::from_str(&text).ok()?;
        holder.is_running().then_some(holder)
    }

    /// Forgets the holder and the files of its lab; the log stays.
    pub fn forget(&self) {
        for path in [
            self.holder_file(),
            self.trunk_file(),
            self.targets_file(),
            self.lab_file(),
        ] {
            // What is not there is forgotten already.
            let _removed = fs::remove_file(path);
        }
    }

    fn holder_file(&self) -> PathBuf {
        self.0.join("holder.json")
    }
}

impl Holder {
    /// True if this very process still runs.
    pub fn is_running(self) -> bool {
        start_ticks(self.pid) == Some(self.start_ticks)
    }

    /// Moves the whole calling process into the holder's user and network namespaces: to the trunk port.
    ///
    /// Call it first thing: the process must have one thread only.
    ///
    /// # Errors
    /// When the holder is gone, or belongs to somebody else.
    pub fn join(self) -> Result<(), HolderError> {
        let failed = |source| HolderError::Join {
            pid: self.pid,
            source,
        };
        join_namespaces(self.pid).map_err(failed)?;
        // Otherwise the namespaces may be those of another process that got the id.
        if self.is_running() {
            Ok(())
        } else {
            Err(failed(io::ErrorKind::NotFound.into()))
        }
    }

    /// Ends it and waits until it is gone; first by asking, after a while by force. A process that only
    /// has its id is left alone.
    ///
    /// # Errors
    /// When it belongs to somebody else.
    pub fn end(self) -> Result<(), HolderError> {
        let failed = |source: io::Error| HolderError::End {
            pid: self.pid,
            source,
        };
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        // From here on the id can not be given to another process behind our back.
        let process = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(process) => process,
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(errno) => return Err(failed(errno.into())),
        };
        if !self.is_running() {
            return Ok(());
        }
        for signal in [Signal::TERM, Signal::KILL] {
            match pidfd_send_signal(&process, signal) {
                Ok(()) => {}
                Err(rustix::io::Errno::SRCH) => return Ok(()),
                Err(errno) => return Err(failed(errno.into())),
            }
            if wait_gone(&process).map_err(failed)? {
                return Ok(());
            }
        }
        Err(failed(io::ErrorKind::TimedOut.into()))
    }
}

/// True once the process is gone, false if it takes too long.
fn wait_gone(process: &OwnedFd) -> io::Result<bool> {
    let time = Timespec {
        tv_sec: END_TIME_MAX.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(process, PollFlags::IN)];
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&time)))?;
    Ok(!fds[0].revents().is_empty())
}

/// When process `pid` started; `None` if there is none, or it has ended and only waits to be collected.
fn start_ticks(pid: u32) -> Option<u64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Fields 3 and 22 of proc_pid_stat(5). The name, field 2, is in parentheses and may hold anything.
fn parse_stat(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::*;

    fn folder() -> (tempfile::TempDir, LabFolder) {
        let outer = tempfile::tempdir().unwrap();
        let folder = LabFolder::at(outer.path().join("lab")).unwrap();
        (outer, folder)
    }

    #[test]
    fn the_start_time_is_read_past_any_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(&format!("9 (a) b) {rest}")), Some(4711));
        assert_eq!(
            parse_stat(&format!("9 (a) {}", rest.replace('S', "Z"))),
            None
        );
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn a_holder_is_known_by_its_start_too() {
        let (_outer, folder) = folder();
        assert_eq!(folder.holder(), None);
        folder.hold().unwrap();
        let holder = folder.holder().unwrap();
        assert_eq!(holder.pid, std::process::id());
        let later = Holder {
            start_ticks: holder.start_ticks + 1,
            ..holder
        };
        assert!(!later.is_running());
        // Not this process: it would be ended.
        later.end().unwrap();
        folder.forget();
        assert_eq!(folder.holder(), None);
    }

    #[test]
    fn ending_a_holder_waits_for_its_end() {
        let mut child = Command::new("sleep")
            .arg("1000")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let holder = Holder {
            pid: child.id(),
            start_ticks: start_ticks(child.id()).unwrap(),
        };
        holder.end().unwrap();
        // Ended, though nobody has collected it yet.
        assert!(!holder.is_running());
        child.wait().unwrap();
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("open");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(matches!(LabFolder::at(path.clone()), Err(HolderError::Folder(p)) if p == path));
        let link = outer.path().join("link");
        std::os::unix::fs::symlink(outer.path(), &link).unwrap();
        assert!(matches!(LabFolder::at(link), Err(HolderError::Folder(_))));
    }

    #[test]
    fn the_lock_keeps_others_out() {
        let (_outer, folder) = folder();
        let lock = folder.lock().unwrap();
        let other = File::open(folder.0.join("lock")).unwrap();
        let attempt = || rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive);
        assert_eq!(attempt(), Err(rustix::io::Errno::WOULDBLOCK));
        drop(lock);
        attempt().unwrap();
    }
}
