//! `appliance.toml`: one file for what the person at the box decides; agent and panel read their parts of it alike.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Where the file is unless `--config` names another.
pub const CONFIG_PATH: &str = "/etc/sonde/appliance.toml";

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file named by `--config` can't be read.
    #[error("can not read {path}: name another with --config")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, or a key or value this version does not know.
    #[error("{path} is refused: correct the line or take it out")]
    Content {
        /// Which file.
        path: PathBuf,
        /// Line, key and what is known instead.
        #[source]
        source: Box<toml::de::Error>,
    },
}

/// Reads `path`. `None` reads [`CONFIG_PATH`], where no file means that nothing is configured.
///
/// # Errors
/// [`ConfigError`].
pub fn load<T: DeserializeOwned + Default>(path: Option<&Path>) -> Result<T, ConfigError> {
    let file = path.unwrap_or(Path::new(CONFIG_PATH));
    let text = match std::fs::read_to_string(file) {
        Err(error) if path.is_none() && error.kind() == ErrorKind::NotFound => {
            return Ok(T::default());
        }
        text => text.map_err(|source| ConfigError::Io {
            path: file.to_owned(),
            source,
        })?,
    };
    toml::from_str(&text).map_err(|source| ConfigError::Content {
        path: file.to_owned(),
        source: Box::new(source),
    })
}
