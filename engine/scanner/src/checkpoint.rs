//! The checkpoint file: what to run, where it is, and how long each output was then.
//!
//! It is replaced whole, so that a reader finds the old one or the new one and never half of one, and only
//! after the outputs it speaks of are on the disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sonde_core::checkpoint::Checkpoint;
use sonde_core::request::ScanRequest;

/// The version of the file written by this build.
pub const FILE_VERSION: u32 = 1;

/// What a checkpoint file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckpointFile {
    /// Form of this document; readers refuse what they do not know.
    pub version: u32,
    /// The effective request, without a checkpoint of its own.
    pub request: ScanRequest,
    /// Where it is.
    pub checkpoint: Checkpoint,
    /// Outputs that can be appended to, as they were.
    #[serde(default)]
    pub outputs: Vec<OutputMark>,
}

/// How long an output was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputMark {
    /// The output, as it was named.
    pub path: PathBuf,
    /// Octets that the checkpoint covers.
    pub length: u64,
}

/// Why a checkpoint file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// It can't be read.
    #[error("the checkpoint {} can't be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no checkpoint.
    #[error("{} is no checkpoint of a scan; `--checkpoint` writes one", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// Another build wrote it.
    #[error("the checkpoint {} has version {version}, this build reads version {FILE_VERSION}; resume with the build that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it has.
        version: u32,
    },
}

impl CheckpointFile {
    /// The file of a scan's `request` and where it is.
    pub fn new(request: ScanRequest, checkpoint: Checkpoint, outputs: Vec<OutputMark>) -> Self {
        let request = ScanRequest {
            resume: None,
            ..request
        };
        Self {
            version: FILE_VERSION,
            request,
            checkpoint,
            outputs,
        }
    }

    /// Finds out whether a file at `path` could be written, and leaves what is there as it is.
    ///
    /// # Errors
    /// When it could not.
    pub fn try_writing(path: &Path) -> io::Result<()> {
        let beside = beside(path);
        File::create(&beside)?;
        std::fs::remove_file(&beside)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// When it is not there, or no checkpoint this build knows.
    pub fn read(path: &Path) -> Result<Self, CheckpointError> {
        let owned = || path.to_path_buf();
        let text = std::fs::read(path).map_err(|source| CheckpointError::Read {
            path: owned(),
            source,
        })?;
        let file: Self = serde_json::from_slice(&text).map_err(|source| CheckpointError::Form {
            path: owned(),
            source,
        })?;
        if file.version != FILE_VERSION {
            return Err(CheckpointError::Version {
                path: owned(),
                version: file.version,
            });
        }
        Ok(file)
    }

    /// Replaces the file at `path`: written beside it, forced to the disk, renamed over it.
    ///
    /// # Errors
    /// When any of that fails; the old file is then as it was.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let beside = beside(path);
        let mut file = File::create(&beside)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Where the next file is put together: in the same folder, so that it can be renamed.
fn beside(path: &Path) -> PathBuf {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    PathBuf::from(beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> CheckpointFile {
        CheckpointFile {
            version: FILE_VERSION,
            request: ScanRequest {
                targets: vec!["10.0.0.0/24".into()],
                ..ScanRequest::default()
            },
            checkpoint: Checkpoint {
                version: 1,
                plan: u64::MAX,
                seed: 7,
                state: "c3RhdGU=".into(),
            },
            outputs: vec![OutputMark {
                path: "a.jsonl".into(),
                length: 42,
            }],
        }
    }

    #[test]
    fn it_reads_back_and_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.checkpoint");
        sample().write(&path).unwrap();
        let mut later = sample();
        later.checkpoint.state = "bGF0ZXI=".into();
        later.write(&path).unwrap();
        assert_eq!(CheckpointFile::read(&path).unwrap(), later);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert!(matches!(
            CheckpointFile::read(&path),
            Err(CheckpointError::Read { .. })
        ));
        std::fs::write(&path, "{}").unwrap();
        assert!(matches!(
            CheckpointFile::read(&path),
            Err(CheckpointError::Form { .. })
        ));
        let mut newer = sample();
        newer.version = 2;
        newer.write(&path).unwrap();
        let read = CheckpointFile::read(&path);
        assert!(matches!(
            read,
            Err(CheckpointError::Version { version: 2, .. })
        ));
    }
}
