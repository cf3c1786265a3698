//! The one boundary behind which the database lives.
//!
//! [`Store`] has a method for each thing the cloud does (enrol, activate, accept, append records, commit, …),
//! named for it and taking and giving the cloud's own types; no SQL and nothing of SQLite is visible above. Each
//! method that changes something is one transaction: it happened, durably, or it did not.
//!
//! SQLite runs with a write-ahead log that is synced at every commit, one connection that writes and a few that
//! read. PostgreSQL takes the same methods; see `docs/decisions/0004-cloud-storage.md`.

mod appliances;
mod enrolment;
mod findings;
mod jobs;
mod leases;
mod records;
mod schema;
mod users;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Sqlite, Transaction};

pub use appliances::{Appliance, ApplianceError, Device, Presence};
pub(crate) use enrolment::code_from;
pub use enrolment::{ActivateError, EnrolError, EnrolLimits, EnrolOutcome, Enrolment, PendingBox};
pub use findings::{HostFinding, LeakFinding, PortFinding, PortKey};
pub use jobs::{Job, JobError, JobFilter, NewJob};
pub use leases::{Leased, Timing, Work};
pub use records::{AppendError, Attempt, Batch, CommitError, RecordLine};
pub use users::{ApiToken, Scope, User, UserError};

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    writer: SqlitePool,
    reader: SqlitePool,
}

/// The database could not do it. Nothing of the transaction happened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database's own error.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The schema could not be brought up to date.
    #[error("the database {path} can not be brought to this version's form")]
    Migrate {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// The file could not be opened.
    #[error("the database {path} can not be opened")]
    Open {
        /// Where it is.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// Something in it is not what this version writes.
    #[error("the database holds {what} that this version can not read")]
    Unreadable {
        /// What it should have been.
        what: &'static str,
    },
}

impl Store {
    /// Opens the database at `path`, makes it if it is not there, brings its form up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`] and [`StoreError::Migrate`], naming the path.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open {
            path: path.to_owned(),
            source,
        };
        make_private(path).map_err(|error| open(error.into()))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(Duration::from_secs(5))
            .foreign_keys(true);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options.clone())
            .await
            .map_err(open)?;
        schema::bring_up_to_date(&writer)
            .await
            .map_err(|source| StoreError::Migrate {
                path: path.to_owned(),
                source,
            })?;
        let reader = SqlitePoolOptions::new()
            .max_connections(READERS_MAX)
            .connect_with(options.pragma("query_only", "ON"))
            .await
            .map_err(open)?;
        Ok(Self { writer, reader })
    }

    /// Waits for what is under way and closes the database, its log folded in.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// A transaction that holds the right to write from its start, so that what it reads stays true.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.writer.begin_with("BEGIN IMMEDIATE").await?)
    }

    /// A transaction over one state of the database.
    async fn read(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        Ok(self.reader.begin().await?)
    }
}

/// The database is its owner's alone, whatever its folder allows; SQLite gives its log the same permissions.
fn make_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// Connections that read. Each is a thread of its own; reads are short.
const READERS_MAX: u32 = 8;

/// Turns stored text into what it means.
fn parsed<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Unreadable { what })
}

/// Turns stored JSON into what it means.
fn from_json<T: serde::de::DeserializeOwned>(
    text: &str,
    what: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable { what })
}

/// Turns a stored count into an unsigned number.
fn unsigned<T: TryFrom<i64>>(number: i64, what: &'static str) -> Result<T, StoreError> {
    T::try_from(number).map_err(|_| StoreError::Unreadable { what })
}

/// True if `error` says that a row with the same key is there already.
fn is_duplicate(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|e| e.is_unique_violation())
}
