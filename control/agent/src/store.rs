//! Small files that are there whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a file of the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system says so.
    #[error(
        "can not {action} {path}: give this user the state folder, or name another with --state"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what this program writes.
    #[error("{path} is not what this version writes: restore it, or move it away to start anew")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// Replaces `path` by `bytes`, readable by its owner alone: after a crash it has the old content or
/// the new.
///
/// # Errors
/// [`StoreError::Io`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| StoreError::Io {
            action,
            path,
            source,
        }
    };
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    // What a crash left may belong to another mode: begin with a file of our own.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(io("replace", &new)(error));
        }
        _ => {}
    }
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new);
    let mut file = opened.map_err(io("create", &new))?;
    file.write_all(bytes).map_err(io("write", &new))?;
    file.sync_all().map_err(io("write", &new))?;
    std::fs::rename(&new, path).map_err(io("replace", path))?;
    sync_parent(path).map_err(io("replace", path))
}

/// Replaces `path` by `value` as JSON.
///
/// # Errors
/// [`StoreError::Io`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(value).map_err(|source| StoreError::Content {
        path: path.to_owned(),
        source,
    })?;
    write(path, &bytes)
}

/// Reads `path`; `None` if there is no such file.
///
/// # Errors
/// [`StoreError`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StoreError> {
    let Some(bytes) = read(path)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|source| StoreError::Content {
            path: path.to_owned(),
            source,
        })
}

/// Reads `path`; `None` if there is no such file.
///
/// # Errors
/// [`StoreError::Io`].
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(StoreError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        }),
    }
}

/// Deletes `path`, durably; nothing there is not an error.
///
/// # Errors
/// [`StoreError::Io`].
pub fn remove(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io {
        action: "delete",
        path: path.to_owned(),
        source,
    };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.and_then(|()| sync_parent(path)).map_err(io),
    }
}

/// Makes a folder only its owner can enter, and its parents.
///
/// # Errors
/// [`StoreError::Io`].
pub fn make_dir(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let io = |source| StoreError::Io {
        action: "create",
        path: path.to_owned(),
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).map_err(io)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        assert!(read_json::<Vec<u8>>(&path).unwrap().is_none());
        write_json(&path, &vec![1u8]).unwrap();
        // What a crash in the middle of the next write leaves is overwritten.
        std::fs::write(dir.path().join("a.json.new"), "half").unwrap();
        write_json(&path, &vec![2u8, 3]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), Some(vec![2, 3]));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(read(&path).unwrap().is_none());
    }

    #[test]
    fn what_is_not_ours_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        std::fs::write(&path, "{").unwrap();
        let error = read_json::<Vec<u8>>(&path).unwrap_err();
        assert!(matches!(error, StoreError::Content { .. }));
        assert!(error.to_string().contains("a.json"));
        let nowhere = write(Path::new("/nowhere/at/all"), b"").unwrap_err();
        assert!(matches!(
            nowhere,
            StoreError::Io {
                action: "create",
                ..
            }
        ));
    }
}
