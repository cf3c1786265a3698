//! The cloud's state: the database, and what is only in memory because it may be lost — who holds a poll, who was seen
//! when, which device tokens were used in the last minute, who asks too often.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use sonde_protocol::device::POLL_HOLD_S;
use sonde_protocol::ids::{ApplianceId, JobId};
use sonde_protocol::token::Proven;
use tokio::sync::{Notify, watch};

use crate::clock::{Clock, Moment};
use crate::limits::RateLimit;
use crate::secrets;
use crate::storage::{EnrolLimits, Presence, Scope, Store, StoreError, Timing, UserError};

/// How a cloud is to run.
#[derive(Clone, Debug)]
pub struct CloudConfig {
    /// Where the database is.
    pub database: PathBuf,
    /// SHA-256 of the certificate it shows, as far as it has one.
    pub fingerprint: Option<[u8; 32]>,
    /// Leases and waits.
    pub timing: Timing,
    /// Boxes that may wait for their activation.
    pub enrolments: EnrolLimits,
    /// Requests for a code from one address: so many at once, and one more each [`CloudConfig::enrol_every`].
    pub enrol_burst: u32,
    /// See [`CloudConfig::enrol_burst`].
    pub enrol_every: Duration,
    /// Longest a poll is held.
    pub poll_hold_max: Duration,
}

impl CloudConfig {
    /// The defaults, over a database at `database`.
    pub fn new(database: PathBuf) -> Self {
        Self {
            database,
            fingerprint: None,
            timing: Timing::default(),
            enrolments: EnrolLimits {
                pending_max: 1_000,
                pending_per_source_max: 50,
            },
            enrol_burst: 50,
            enrol_every: Duration::from_secs(2),
            poll_hold_max: Duration::from_secs(u64::from(POLL_HOLD_S)),
        }
    }
}

/// The user made at the first start, whose password is shown this once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstUser {
    /// Name.
    pub name: String,
    /// Password.
    pub password: String,
}

/// The cloud could not start.
#[derive(Debug, thiserror::Error)]
pub enum CloudError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The first user.
    #[error("the first user could not be made")]
    FirstUser(#[source] UserError),
    /// Their password.
    #[error(transparent)]
    Secret(#[from] secrets::SecretError),
}

/// A handle on the running cloud; all clones are the same one.
#[derive(Clone)]
pub struct Cloud(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    config: CloudConfig,
    polls: DashMap<ApplianceId, Arc<Notify>>,
    presence: DashMap<ApplianceId, Seen>,
    presence_written: AtomicI64,
    cancels_told: DashMap<JobId, Moment>,
    used_tokens: DashMap<([u8; 32], String), i64>,
    enrol_limit: RateLimit<IpAddr>,
    login_by_source: RateLimit<IpAddr>,
    login_by_name: RateLimit<String>,
    stopping: watch::Sender<bool>,
}

struct Seen {
    presence: Presence,
    written: bool,
}

/// Device tokens remembered at a time: two minutes of 8,000 requests a second. Beyond that, new ones are refused
/// until the minute is over.
const USED_TOKENS_MAX: usize = 1_000_000;

/// A box is told to stop a scan this often until it has.
pub(crate) const CANCEL_EVERY: Duration = Duration::from_secs(10);

/// How often it is written out who was seen: 10,000 boxes polling would otherwise be 200 writes a second.
const PRESENCE_EVERY: Duration = Duration::from_secs(60);

impl Cloud {
    /// Opens the database and, if nobody may use it yet, makes the user `admin`.
    ///
    /// # Errors
    /// [`CloudError`].
    pub async fn open(
        config: CloudConfig,
        clock: Clock,
    ) -> Result<(Self, Option<FirstUser>), CloudError> {
        let store = Store::open(&config.database).await?;
        let first = first_user(&store, clock.now()).await?;
        let inner = Inner {
            polls: DashMap::new(),
            presence: DashMap::new(),
            presence_written: AtomicI64::new(clock.now().as_micros()),
            cancels_told: DashMap::new(),
            used_tokens: DashMap::new(),
            enrol_limit: RateLimit::new(config.enrol_burst, config.enrol_every),
            login_by_source: RateLimit::new(20, Duration::from_secs(6)),
            login_by_name: RateLimit::new(10, Duration::from_secs(30)),
            stopping: watch::Sender::new(false),
            store,
            clock,
            config,
        };
        Ok((Self(Arc::new(inner)), first))
    }

    /// The database.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// How it runs.
    pub fn config(&self) -> &CloudConfig {
        &self.0.config
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.0.clock.now()
    }

    /// Lets leases and waits run out, wakes the boxes that have work by it, writes out who was seen. To be called every
    /// few seconds.
    ///
    /// # Errors
    /// The database's own; the next call tries again.
    pub async fn tick(&self) -> Result<(), StoreError> {
        let now = self.now();
        for appliance in self.0.store.lapse(&self.0.config.timing, now).await? {
            self.wake(appliance);
        }
        self.0
            .cancels_told
            .retain(|_, told| now.since(*told) < CANCEL_EVERY);
        self.0.used_tokens.retain(|_, ends| *ends >= now.unix_s());
        let written = Moment::from_micros(self.0.presence_written.load(Ordering::Relaxed));
        if now.since(written) >= PRESENCE_EVERY {
            self.0
                .presence_written
                .store(now.as_micros(), Ordering::Relaxed);
            self.write_presence().await?;
        }
        Ok(())
    }

    /// Answers held polls, so that their connections can end.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Ends once [`Cloud::stop`] was called.
    pub async fn stopping(&self) {
        let mut stopping = self.0.stopping.subscribe();
        // The sender lives in `self`, so this can not fail.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    /// Writes out what is only in memory and closes the database.
    pub async fn close(&self) {
        if let Err(error) = self.write_presence().await {
            tracing::warn!(%error, "who was seen last could not be written");
        }
        self.0.store.close().await;
    }

    /// There is something for this box: answers its held poll.
    pub(crate) fn wake(&self, appliance: ApplianceId) {
        self.poll_of(appliance).notify_waiters();
    }

    /// What wakes this box's held polls.
    pub(crate) fn poll_of(&self, appliance: ApplianceId) -> Arc<Notify> {
        Arc::clone(&self.0.polls.entry(appliance).or_default())
    }

    /// A box was seen.
    pub(crate) fn saw(&self, appliance: ApplianceId, presence: Presence) {
        self.0.presence.insert(
            appliance,
            Seen {
                presence,
                written: false,
            },
        );
    }

    /// When and how a box was last seen, if since the start.
    pub(crate) fn last_seen(&self, appliance: ApplianceId) -> Option<Presence> {
        self.0
            .presence
            .get(&appliance)
            .map(|seen| seen.presence.clone())
    }

    /// True if a box was not told just now to stop this job; it counts as told by this.
    pub(crate) fn may_tell_cancel(&self, job: JobId) -> bool {
        let now = self.now();
        match self.0.cancels_told.entry(job) {
            Entry::Occupied(told) if now.since(*told.get()) < CANCEL_EVERY => false,
            Entry::Occupied(mut told) => {
                told.insert(now);
                true
            }
            Entry::Vacant(place) => {
                place.insert(now);
                true
            }
        }
    }

    /// True the first time a token is used, false for a replay.
    pub(crate) fn use_token(&self, token: &Proven) -> bool {
        if self.0.used_tokens.len() >= USED_TOKENS_MAX {
            return false;
        }
        let ends = token.exp + sonde_protocol::token::CLOCK_SKEW_S;
        match self
            .0
            .used_tokens
            .entry((token.key.to_bytes(), token.jti.clone()))
        {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(ends);
                true
            }
        }
    }

    pub(crate) fn enrol_limit(&self) -> &RateLimit<IpAddr> {
        &self.0.enrol_limit
    }

    pub(crate) fn login_by_source(&self) -> &RateLimit<IpAddr> {
        &self.0.login_by_source
    }

    pub(crate) fn login_by_name(&self) -> &RateLimit<String> {
        &self.0.login_by_name
    }

    async fn write_presence(&self) -> Result<(), StoreError> {
        let seen: Vec<(ApplianceId, Presence)> = self
            .0
            .presence
            .iter_mut()
            .filter(|seen| !seen.written)
            .map(|mut seen| {
                seen.written = true;
                (*seen.key(), seen.presence.clone())
            })
            .collect();
        self.0.store.note_presence(&seen).await
    }
}

async fn first_user(store: &Store, now: Moment) -> Result<Option<FirstUser>, CloudError> {
    if !store.users().await?.is_empty() {
        return Ok(None);
    }
    let first = FirstUser {
        name: "admin".to_owned(),
        password: secrets::new_password(),
    };
    let hash = secrets::hash_password(&first.password).await?;
    store
        .add_user(&first.name, &hash, Scope::Admin, now)
        .await
        .map_err(CloudError::FirstUser)?;
    Ok(Some(first))
}
