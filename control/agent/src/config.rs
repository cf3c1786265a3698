//! `appliance.toml`, and where the box keeps its files.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use sonde_core::policy::Policy;
use sonde_protocol::config_file;
pub use sonde_protocol::config_file::{CONFIG_PATH, ConfigError};

/// What the person who stands at the box decides. The cloud can't change any of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which cloud, and how it is known to be the right one.
    pub cloud: CloudConfig,
    /// What no job may do. The engine worker reads and enforces it; the agent only refuses a file
    /// that does not parse.
    pub policy: Policy,
    /// What of the host may be changed.
    pub system: SystemConfig,
    /// The scanning side.
    pub lan: LanConfig,
    /// Results on disk.
    pub spool: SpoolConfig,
    /// The box's display and console. The panel reads and refuses it; the agent has no use for it.
    pub panel: toml::Table,
}

/// `[cloud]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloudConfig {
    /// `https://cloud.example.org:8443`.
    pub url: Option<String>,
    /// SHA-256 of its certificate in hex, colons allowed: exactly this one is trusted.
    pub fingerprint: Option<String>,
    /// PEM file of the authorities that may vouch for it.
    pub ca_file: Option<PathBuf>,
}

/// `[system]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SystemConfig {
    /// True on a dedicated box: network settings are ours. False: nothing of the host is changed.
    pub manage: bool,
}

/// `[lan]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LanConfig {
    /// Interface to scan from; absent: the one with the default route.
    pub interface: Option<String>,
}

/// `[spool]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SpoolConfig {
    /// MiB the spool may hold; absent: a fifth of the disk.
    pub budget_mib: Option<u64>,
}

impl Config {
    /// Reads `path`. `None` reads [`CONFIG_PATH`], where no file means that nothing is configured.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        config_file::load(path)
    }
}

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// What outlives a boot.
    pub state: PathBuf,
    /// Sockets.
    pub run: PathBuf,
}

impl Paths {
    /// Below `state` if one is given, else where the system keeps such things.
    pub fn new(state: Option<&Path>) -> Self {
        match state {
            Some(state) => Self {
                state: state.to_owned(),
                run: state.join("run"),
            },
            None => Self {
                state: "/var/lib/sonde".into(),
                run: "/run/sonde".into(),
            },
        }
    }

    /// The key.
    pub fn key(&self) -> PathBuf {
        self.state.join("key")
    }

    /// Who the cloud says this box is.
    pub fn appliance(&self) -> PathBuf {
        self.state.join("appliance.json")
    }

    /// What the cloud wants this box to be.
    pub fn settings(&self) -> PathBuf {
        self.state.join("settings.json")
    }

    /// What the box's own settings are.
    pub fn network(&self) -> PathBuf {
        self.state.join("network.json")
    }

    /// One file an attempt.
    pub fn jobs(&self) -> PathBuf {
        self.state.join("jobs")
    }

    /// Results.
    pub fn spool(&self) -> PathBuf {
        self.state.join("spool")
    }

    /// Held by the one supervisor of this state folder.
    pub fn lock(&self) -> PathBuf {
        self.state.join("lock")
    }

    /// Connect to get an engine worker.
    pub fn worker_socket(&self) -> PathBuf {
        self.run.join("worker.sock")
    }

    /// The local API.
    pub fn agent_socket(&self) -> PathBuf {
        self.run.join("agent.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("appliance.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(Some(&path))
    }

    #[test]
    fn every_key_is_read() {
        let config = load(
            "[cloud]\nurl = \"https://c\"\nfingerprint = \"ab\"\nca_file = \"/ca\"\n\
             [policy]\nnever_scan = [\"10.0.0.1\"]\nrate_ceiling_pps = 5\nallowed_networks = []\n\
             [system]\nmanage = true\n[lan]\ninterface = \"eth0\"\n[spool]\nbudget_mib = 7\n\
             [panel]\nkeys = 4\n",
        )
        .unwrap();
        assert_eq!(config.cloud.url.as_deref(), Some("https://c"));
        assert_eq!(config.cloud.ca_file.as_deref(), Some(Path::new("/ca")));
        assert!(config.system.manage);
        assert_eq!(config.lan.interface.as_deref(), Some("eth0"));
        assert_eq!(config.spool.budget_mib, Some(7));
    }

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        for text in ["[cloud]\nurll = 1\n", "[clowd]\n", "[policy]\nnever = []\n"] {
            let error = load(text).unwrap_err();
            let ConfigError::Content { source, .. } = &error else {
                panic!("{error}")
            };
            assert!(source.to_string().contains("unknown field"), "{source}");
            assert!(error.to_string().contains("appliance.toml"));
        }
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let error = Config::load(Some(Path::new("/nowhere/a.toml"))).unwrap_err();
        assert!(matches!(error, ConfigError::Io { .. }));
    }

    #[test]
    fn a_state_folder_holds_everything() {
        let paths = Paths::new(Some(Path::new("/s")));
        assert_eq!(paths.agent_socket(), Path::new("/s/run/agent.sock"));
        assert_eq!(
            Paths::new(None).agent_socket(),
            Path::new("/run/sonde/agent.sock")
        );
    }
}
