//! `[panel]` of `appliance.toml`: what the box's display and lights are.

use std::path::Path;

use serde::Deserialize;
use sonde_protocol::config_file;
pub use sonde_protocol::config_file::{CONFIG_PATH, ConfigError};

use crate::lcdproc::keys::{KeyMap, KeyMapError};
use crate::lcdproc::session::Outputs;
use crate::leds::LedNames;

/// Keys of a display of which nothing is said.
const KEYS: u8 = 5;

/// What is said about the panel.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PanelConfig {
    /// Keys of an LCDproc display: how many, or what each does.
    pub keys: Keys,
    /// Arrows as the display's icons; otherwise as letters.
    pub icons: bool,
    /// Bits of LCDproc's `output` that are lights.
    pub outputs: Option<Outputs>,
    /// Lights of the kernel's LED class.
    pub leds: LedNames,
}

impl Default for PanelConfig {
    fn default() -> PanelConfig {
        PanelConfig {
            keys: Keys::Count(KEYS),
            icons: true,
            outputs: None,
            leds: LedNames::default(),
        }
    }
}

/// The keys of an LCDproc display.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Keys {
    /// So many, with the usual meaning ([`KeyMap::of_panel`]).
    Count(u8),
    /// With these meanings ([`KeyMap::parse`]).
    Map(String),
}

impl Keys {
    /// What a person wrote: a number, or bindings.
    pub fn written(text: &str) -> Keys {
        match text.trim().parse() {
            Ok(count) => Keys::Count(count),
            Err(_) => Keys::Map(text.to_owned()),
        }
    }

    /// The map.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn map(&self) -> Result<KeyMap, KeysError> {
        match self {
            Keys::Count(count) => KeyMap::of_panel(*count).ok_or(KeysError::Count(*count)),
            Keys::Map(text) => Ok(KeyMap::parse(text)?),
        }
    }
}

/// Why keys are refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeysError {
    /// No usual panel has so many.
    #[error(
        "no usual panel has {0} keys: give 2, 4, 5 or 6, or say what each key does, as in \"Enter=enter Escape=left\""
    )]
    Count(u8),
    /// A binding.
    #[error(transparent)]
    Map(#[from] KeyMapError),
}

/// The part of the file that is the panel's; the rest is the agent's.
#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    panel: PanelConfig,
}

impl PanelConfig {
    /// Reads `path`. `None` reads [`CONFIG_PATH`], where no file means that nothing is configured.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: Option<&Path>) -> Result<PanelConfig, ConfigError> {
        config_file::load(path).map(|file: File| file.panel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<PanelConfig, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        PanelConfig::load(Some(file.path()))
    }

    #[test]
    fn every_key_is_read_and_the_agents_are_not_ours() {
        let config = load(
            "[cloud]\nurl = \"https://c\"\n[panel]\nkeys = \"A=enter\"\nicons = false\n\
             outputs = { scan = 1, update = 2 }\nleds = { scan = \"box::scan\" }\n",
        )
        .unwrap();
        assert_eq!(config.keys, Keys::Map("A=enter".into()));
        assert!(!config.icons);
        assert_eq!(config.outputs, Some(Outputs { scan: 1, update: 2 }));
        assert_eq!(config.leds.scan.as_deref(), Some("box::scan"));
        assert_eq!(load("").unwrap(), PanelConfig::default());
        assert_eq!(load("[panel]\nkeys = 4\n").unwrap().keys, Keys::Count(4));
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let error = load("[panel]\nkey = 4\n").unwrap_err();
        assert!(matches!(error, ConfigError::Content { .. }), "{error}");
        let error = PanelConfig::load(Some(Path::new("/nowhere/a.toml"))).unwrap_err();
        assert!(matches!(error, ConfigError::Io { .. }), "{error}");
    }

    #[test]
    fn keys_are_a_number_or_bindings() {
        assert!(PanelConfig::default().keys.map().is_ok());
        assert_eq!(Keys::written("3").map(), Err(KeysError::Count(3)));
        assert!(matches!(Keys::written("A").map(), Err(KeysError::Map(_))));
    }
}
