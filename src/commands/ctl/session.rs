//! What `login` remembers: which cloud, how to know it, and the token. One file, readable by its owner only.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde::{Deserialize, Serialize};
use sonde_cloud::client::{Client, parse_fingerprint};

/// The file names itself in this variable; otherwise it is `~/.config/sonde/ctl.toml`.
const VARIABLE: &str = "SONDE_CTL_CONFIG";

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    /// The cloud's address.
    pub(super) url: String,
    /// SHA-256 of its certificate in hex, if it is pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fingerprint: Option<String>,
    /// The API token.
    pub(super) token: String,
}

impl Session {
    /// What the last login left.
    pub(super) fn read() -> anyhow::Result<Self> {
        let path = path()?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                bail!("you are not logged in to a cloud: `sonde ctl login https://HOST:PORT`")
            }
            Err(error) => {
                return Err(error).with_context(|| format!("{} can't be read", path.display()));
            }
        };
        toml::from_str(&text).map_err(|_| {
            anyhow!(
                "{} is not what `sonde ctl login` writes: log in again",
                path.display()
            )
        })
    }

    /// Remembers it, whole or not at all.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let path = path()?;
        write_private(&path, &toml::to_string(self)?)
            .with_context(|| format!("{} can't be written", path.display()))
    }

    /// Forgets it.
    pub(super) fn forget() -> anyhow::Result<()> {
        let path = path()?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} can't be removed", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// SHA-256 of the pinned certificate.
    pub(super) fn pinned(&self) -> anyhow::Result<Option<[u8; 32]>> {
        self.fingerprint
            .as_deref()
            .map(read_fingerprint)
            .transpose()
    }

    /// A client with the token.
    pub(super) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.url, self.pinned()?)?.with_token(self.token.clone()))
    }
}

/// A client of the cloud logged in to.
pub(super) fn client() -> anyhow::Result<Client> {
    Session::read()?.client()
}

/// Reads what `--fingerprint` or the session's file says.
pub(super) fn read_fingerprint(text: &str) -> anyhow::Result<[u8; 32]> {
    parse_fingerprint(text).context("give the fingerprint that `sonde cloud serve` printed")
}

fn path() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os(VARIABLE) {
        return Ok(path.into());
    }
    let home = std::env::var_os("HOME")
        .with_context(|| format!("HOME is not set: name the file of `sonde ctl` in {VARIABLE}"))?;
    Ok(PathBuf::from(home).join(".config/sonde/ctl.toml"))
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
    }
    let part = path.with_extension("part");
    // A part left by somebody else may have other permissions.
    let _ = fs::remove_file(&part);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn the_file_is_its_owners_alone_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/ctl.toml");
        let session = Session {
            url: "https://c:8443".into(),
            fingerprint: None,
            token: "sonde_x".into(),
        };
        for _ in 0..2 {
            write_private(&path, &toml::to_string(&session).unwrap()).unwrap();
        }
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(toml::from_str::<Session>(&text).unwrap(), session);
    }
}
