//! The box's own settings on disk, each with who set it and when.
//!
//! One file, replaced as a whole: after a crash at any point it has all of a change or nothing of it. It is
//! readable by its owner alone, for it holds the proxy's password as it was entered: nothing on this box is
//! sealed against its own root.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sonde_protocol::settings::{Change, ChangeError, Port, Settings};
use time::OffsetDateTime;

use crate::store::{self, StoreError};

/// Version of the file; another is refused.
const VERSION: u32 = 1;

/// Who set something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// Nobody: it is as it was delivered.
    Factory,
    /// A person at the box.
    Panel,
    /// The cloud.
    Cloud,
}

/// Who set something, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// Who.
    pub by: By,
    /// When, by the box's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// Why settings can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another version wrote it.
    #[error(
        "{path} has version {version}, this program writes {VERSION}: move it away to start with factory settings"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
}

/// Why a change was not made. Nothing is changed then, on disk or here.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It can't be made at all.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// It can't be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    settings: Settings,
    /// By field of the settings; one that is not here is the factory's.
    origins: BTreeMap<String, Origin>,
}

/// The settings and their file.
#[derive(Debug)]
pub struct SettingsStore {
    path: PathBuf,
    stored: Stored,
}

impl SettingsStore {
    /// Reads `path`; without a file the settings are the factory's.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn open(path: &Path) -> Result<Self, SettingsError> {
        let stored: Option<Stored> = store::read_json(path)?;
        let stored = stored.unwrap_or_else(|| Stored {
            version: VERSION,
            settings: Settings::default(),
            origins: BTreeMap::new(),
        });
        if stored.version != VERSION {
            return Err(SettingsError::Version {
                path: path.to_owned(),
                version: stored.version,
            });
        }
        Ok(Self {
            path: path.to_owned(),
            stored,
        })
    }

    /// The settings, secrets included.
    pub fn settings(&self) -> &Settings {
        &self.stored.settings
    }

    /// Who set `field` of the settings; `None` for the factory.
    pub fn origin(&self, field: &str) -> Option<Origin> {
        self.stored.origins.get(field).copied()
    }

    /// Makes a change, whole or not at all. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub fn apply(&mut self, change: &Change, origin: Origin) -> Result<(), ApplyError> {
        let mut next = self.stored.clone();
        next.settings = self.stored.settings.with(change)?;
        match field(change) {
            Some(field) => _ = next.origins.insert(field.to_owned(), origin),
            None => {
                // All of it is the factory's again, but which factory was chosen by somebody.
                next.origins.clear();
                next.origins.insert("mode".to_owned(), origin);
            }
        }
        store::write_json(&self.path, &next)?;
        self.stored = next;
        Ok(())
    }
}

/// The field of [`Settings`] that a change sets; `None` for all of them.
fn field(change: &Change) -> Option<&'static str> {
    Some(match change {
        Change::LanDhcp | Change::LanStatic(_) => "lan",
        Change::LanIpv6Auto(_) | Change::LanIpv6Static(_) => "lan_ipv6",
        Change::Vlan(_) => "vlan",
        Change::WanOff | Change::WanDhcp | Change::WanStatic(_) => "wan",
        Change::Proxy(_) | Change::ProxyOff => "proxy",
        Change::Link { port, .. } => match port {
            Port::Lan => "lan_link",
            Port::Wan => "wan_link",
        },
        Change::Reset(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use sonde_protocol::settings::{
        Ipv4, LanIpv6Auto, LanIpv6Static, LanStatic, Link, Mode, NewPassword, ProxyChange, Secret,
        VlanId,
    };
    use time::macros::datetime;

    use super::*;

    const ORIGIN: Origin = Origin {
        by: By::Panel,
        at: datetime!(2026-01-02 03:04:05 UTC),
    };

    fn ipv4() -> Ipv4 {
        Ipv4 {
            address: [10, 0, 0, 5].into(),
            prefix_len: 24,
            gateway: [10, 0, 0, 1].into(),
            dns: vec![[10, 0, 0, 2].into()],
        }
    }

    fn proxy(host: &str, password: &str) -> Change {
        Change::Proxy(ProxyChange {
            host: host.into(),
            port: 3128.try_into().unwrap(),
            user: None,
            password: NewPassword::Set(Secret::new(password.into())),
        })
    }

    fn every_change() -> Vec<Change> {
        let hand = LanIpv6Static {
            address: "2001:db8::5".parse().unwrap(),
            prefix_len: 64,
            gateway: "2001:db8::1".parse().unwrap(),
            dns: vec!["2001:db8::2".parse().unwrap()],
        };
        let lan = LanStatic {
            ipv4: ipv4(),
            wins: vec![],
            domain: None,
        };
        let auto = LanIpv6Auto {
            dns: hand.dns.clone(),
            ..LanIpv6Auto::default()
        };
        let link = |port, link| Change::Link { port, link };
        vec![
            Change::LanStatic(lan),
            Change::LanDhcp,
            Change::LanIpv6Static(hand),
            Change::LanIpv6Auto(auto),
            Change::Vlan(VlanId::new(7)),
            Change::WanStatic(ipv4()),
            Change::WanDhcp,
            Change::WanOff,
            proxy("P.EXAMPLE", "secret"),
            Change::ProxyOff,
            link(Port::Lan, Link::Full100),
            link(Port::Wan, Link::Half10),
        ]
    }

    #[test]
    fn every_change_names_the_one_field_that_it_sets() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SettingsStore::open(&dir.path().join("network.json")).unwrap();
        for change in every_change() {
            let before = serde_json::to_value(store.settings()).unwrap();
            store.apply(&change, ORIGIN).unwrap();
            let after = serde_json::to_value(store.settings()).unwrap();
            let set = field(&change).unwrap();
            let fields = [
                "mode", "lan", "lan_ipv6", "vlan", "wan", "proxy", "lan_link", "wan_link",
            ];
            assert!(fields.contains(&set));
            for field in fields {
                assert_eq!(
                    before[field] != after[field],
                    field == set,
                    "{field} by {change:?}"
                );
            }
            assert_eq!(store.origin(set), Some(ORIGIN));
        }
        store.apply(&Change::Reset(Mode::Ipv6Only), ORIGIN).unwrap();
        assert_eq!(*store.settings(), Settings::factory(Mode::Ipv6Only));
        assert_eq!(
            (store.origin("lan"), store.origin("mode")),
            (None, Some(ORIGIN))
        );
    }

    #[test]
    fn what_was_stored_reads_back_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.json");
        let mut store = SettingsStore::open(&path).unwrap();
        assert_eq!(*store.settings(), Settings::default());
        assert!(!path.exists(), "nothing was set, nothing is written");
        store.apply(&proxy("P.EXAMPLE", "secret"), ORIGIN).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = SettingsStore::open(&path).unwrap();
        assert_eq!(again.settings(), store.settings());
        assert_eq!(again.origin("proxy"), Some(ORIGIN));
        assert!(!format!("{again:?}").contains("secret"));
    }

    #[test]
    fn what_can_not_be_made_or_stored_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.json");
        let mut store = SettingsStore::open(&path).unwrap();
        store.apply(&Change::Vlan(VlanId::new(7)), ORIGIN).unwrap();
        let (before, bytes) = (store.settings().clone(), std::fs::read(&path).unwrap());
        let error = store.apply(&proxy("", "x"), ORIGIN).unwrap_err();
        assert!(matches!(error, ApplyError::Change(_)), "{error}");
        // A folder where the new file is to be written: as good as a full disk, also for root.
        std::fs::create_dir(dir.path().join("network.json.new")).unwrap();
        let error = store.apply(&Change::Vlan(None), ORIGIN).unwrap_err();
        assert!(matches!(error, ApplyError::Store(_)), "{error}");
        assert_eq!(*store.settings(), before);
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[test]
    fn another_version_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("network.json");
        let mut store = SettingsStore::open(&path).unwrap();
        store.apply(&Change::LanDhcp, ORIGIN).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"version\":1", "\"version\":2")).unwrap();
        let error = SettingsStore::open(&path).unwrap_err();
        assert!(
            matches!(error, SettingsError::Version { version: 2, .. }),
            "{error}"
        );
    }
}
