//! What the box must still know after a power cut: who it is, and every attempt it has not ended.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sonde_core::request::ScanRequest;
use sonde_protocol::device::{DesiredSettings, JobOffer, JobState, OnLostContact, Outcome};
use sonde_protocol::ids::{ApplianceId, JobId, LeaseToken};

use crate::spool::Key;
use crate::store::{self, StoreError};

/// Who the cloud says this box is; there is none before activation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Appliance {
    /// Its cloud.
    pub url: String,
    /// What the cloud calls it.
    pub id: ApplianceId,
    /// What people call it.
    pub name: String,
    /// SHA-256 in hex of the certificate seen at enrolment, when no authority was given to vouch for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
}

/// One attempt at a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// Which job.
    pub job: JobId,
    /// Which attempt at it.
    pub attempt: u32,
    /// Fences it.
    pub lease: LeaseToken,
    /// What to scan.
    pub request: Box<ScanRequest>,
    /// What to do when the cloud is out of reach.
    pub on_lost_contact: OnLostContact,
    /// Where it is. `Offered`, `Accepted`, `Running`, `Paused`, `Draining`, or an end.
    pub state: JobState,
    /// How the scan ends; set before the worker is told to stop, so that a crash in between does not
    /// start it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

/// How a scan ended, or is about to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ending {
    /// How.
    pub outcome: Outcome,
    /// Why, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Attempt {
    /// A job as offered.
    pub fn offered(offer: JobOffer) -> Self {
        Self {
            job: offer.job,
            attempt: offer.attempt,
            lease: offer.lease,
            request: offer.request,
            on_lost_contact: offer.on_lost_contact,
            state: JobState::Offered,
            ending: None,
        }
    }

    /// Names its stream in the spool.
    pub fn key(&self) -> Key {
        Key {
            job: self.job,
            attempt: self.attempt,
        }
    }
}

/// All attempts that have not ended, one file each.
#[derive(Clone, Debug)]
pub struct Ledger {
    dir: PathBuf,
}

impl Ledger {
    /// Opens the ledger in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        store::make_dir(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
        })
    }

    /// Every attempt in it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn attempts(&self) -> Result<Vec<Attempt>, StoreError> {
        let io = |source| StoreError::Io {
            action: "read",
            path: self.dir.clone(),
            source,
        };
        let mut attempts = Vec::new();
        for entry in std::fs::read_dir(&self.dir).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "json")
            {
                attempts.extend(store::read_json::<Attempt>(&path)?);
            }
        }
        attempts.sort_by_key(Attempt::key);
        Ok(attempts)
    }

    /// Writes an attempt down.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(&self, attempt: &Attempt) -> Result<(), StoreError> {
        store::write_json(&self.path(attempt.key()), attempt)
    }

    /// Forgets an attempt.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(&self, key: Key) -> Result<(), StoreError> {
        store::remove(&self.path(key))
    }

    fn path(&self, key: Key) -> PathBuf {
        self.dir.join(format!("{key}.json"))
    }
}

/// What to do with settings from the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desired {
    /// Newer: take them.
    Apply,
    /// What the box has.
    Same,
    /// Older, or of the same generation with other content: somebody is confused.
    Refuse,
}

/// Judges settings from the cloud against those the box has.
pub fn judge(have: Option<&DesiredSettings>, got: &DesiredSettings) -> Desired {
    match have {
        None => Desired::Apply,
        Some(have) if got.generation > have.generation => Desired::Apply,
        Some(have) if got == have => Desired::Same,
        Some(_) => Desired::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer() -> JobOffer {
        JobOffer {
            job: JobId::generate(),
            attempt: 1,
            lease: LeaseToken::generate(),
            request: Box::default(),
            on_lost_contact: OnLostContact::Pause,
        }
    }

    #[test]
    fn attempts_come_back_as_they_went() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("jobs")).unwrap();
        let mut one = Attempt::offered(offer());
        let two = Attempt::offered(offer());
        ledger.put(&one).unwrap();
        ledger.put(&two).unwrap();
        one.state = JobState::Draining;
        one.ending = Some(Ending {
            outcome: Outcome::Failed,
            error: Some("why".to_owned()),
        });
        ledger.put(&one).unwrap();
        let mut expected = vec![one.clone(), two];
        expected.sort_by_key(Attempt::key);
        assert_eq!(ledger.attempts().unwrap(), expected);
        ledger.remove(one.key()).unwrap();
        assert_eq!(ledger.attempts().unwrap().len(), 1);
    }

    #[test]
    fn settings_are_judged_by_generation() {
        let at = |generation, name: &str| DesiredSettings {
            generation,
            name: name.to_owned(),
            trunk: Default::default(),
        };
        assert_eq!(judge(None, &at(1, "a")), Desired::Apply);
        assert_eq!(judge(Some(&at(1, "a")), &at(2, "a")), Desired::Apply);
        assert_eq!(judge(Some(&at(2, "a")), &at(2, "a")), Desired::Same);
        assert_eq!(judge(Some(&at(2, "a")), &at(2, "b")), Desired::Refuse);
        assert_eq!(judge(Some(&at(2, "a")), &at(1, "a")), Desired::Refuse);
    }
}
