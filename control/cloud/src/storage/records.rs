//! Records as they came, in order, each once; and the commit that ends an attempt.
//!
//! What makes it once: an attempt's `next` and its records change in one transaction, so a batch that overlaps what is
//! stored adds only what is new, and one that leaves a gap adds nothing. A SHA-256 runs along, so a commit compares two
//! digests instead of reading everything again.

use serde::{Deserialize, Serialize};
use sha2::digest::common::hazmat::SerializableState as _;
use sha2::{Digest as _, Sha256};
use sonde_protocol::device::{CommitRequest, JobState};
use sonde_protocol::ids::{JobId, LeaseToken};
use sonde_protocol::observation::Observation;
use sonde_protocol::token::hex;
use sqlx::{Sqlite, Transaction};
use utoipa::ToSchema;

use super::jobs::{count_findings, end_job, read_state};
use super::leases::current_attempt;
use super::{JobError, Leased, Store, StoreError, findings, unsigned};
use crate::clock::Moment;
use crate::dispatch::{after_commit, may_follow};

/// Records in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Sequence number of the first.
    pub first: u64,
    /// The records.
    pub lines: Vec<RecordLine>,
}

/// One record: its text, and what it means if this version knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordLine {
    /// JSON without the line feed.
    pub text: String,
    /// What it says; `None` for a kind of a later version, which is stored and left alone.
    pub observation: Option<Observation>,
}

/// Why records were not stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No such job or attempt, or another box's.
    #[error("there is no such job or attempt here")]
    Unknown,
    /// The lease is not that attempt's.
    #[error("the lease is not this attempt's")]
    Lease,
    /// Records before `first` are missing.
    #[error("record {next} is the next expected")]
    Gap {
        /// Sequence number expected.
        next: u64,
    },
    /// The attempt is complete already.
    #[error("the attempt was committed with {count} records")]
    Closed {
        /// How many it has.
        count: u64,
    },
    /// The database's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for AppendError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Why an attempt was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// No such job or attempt, or its lease does not hold.
    #[error(transparent)]
    Job(#[from] JobError),
    /// Records are missing, or differ from those that were counted: send again from `next`.
    #[error("record {next} is the next expected")]
    Incomplete {
        /// Sequence number expected.
        next: u64,
    },
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Job(error.into())
    }
}

impl From<sqlx::Error> for CommitError {
    fn from(error: sqlx::Error) -> Self {
        Self::Job(error.into())
    }
}

/// One attempt at a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Counts from 1.
    pub attempt: u32,
    /// Where it is.
    pub state: JobState,
    /// Records stored.
    pub records: u64,
    /// Its records are complete and match the digest the box gave.
    pub complete: bool,
}

/// Keys of job and attempt, next sequence number, running digest, lease, digest committed.
type AttemptRow = (i64, i64, i64, Vec<u8>, String, Option<String>);

/// A commit refused so often can not come right: the box's spool is damaged. The job fails, its records stay.
const REFUSALS_MAX: u32 = 20;

impl Store {
    /// Stores the records of `batch` that are not there yet, merges what they say into the job's findings, and answers
    /// the next sequence number expected. Records of an attempt that lost its lease are stored under it all the same.
    ///
    /// # Errors
    /// [`AppendError`]; nothing was stored.
    pub async fn append_records(
        &self,
        leased: Leased,
        batch: &Batch,
        now: Moment,
    ) -> Result<u64, AppendError> {
        let mut tx = self.write().await?;
        let row: Option<AttemptRow> = sqlx::query_as(
            "SELECT j.key, a.key, a.next, a.digest, a.lease, a.committed FROM jobs j \
             JOIN attempts a ON a.job = j.key WHERE j.id = ? AND j.appliance = ? AND a.attempt = ?",
        )
        .bind(leased.job.to_string())
        .bind(leased.appliance.to_string())
        .bind(leased.attempt)
        .fetch_optional(&mut *tx)
        .await?;
        let (job, attempt, next, digest, lease, committed) = row.ok_or(AppendError::Unknown)?;
        let next: u64 = unsigned(next, "a sequence number")?;
        if lease != leased.lease.to_string() {
            return Err(AppendError::Lease);
        }
        if batch.first > next {
            return Err(AppendError::Gap { next });
        }
        let known = usize::try_from(next - batch.first).unwrap_or(usize::MAX);
        let new = batch.lines.get(known..).unwrap_or_default();
        if new.is_empty() {
            return Ok(next);
        }
        if committed.is_some() {
            return Err(AppendError::Closed { count: next });
        }
        let after = next + new.len() as u64;
        insert_lines(&mut tx, attempt, next, new).await?;
        findings::merge(&mut tx, job, new).await?;
        count_findings(&mut tx, job).await?;
        sqlx::query("UPDATE attempts SET next = ?2, digest = ?3 WHERE key = ?1")
            .bind(attempt)
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(digest_with(&digest, new)?)
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE appliances SET last_results = ? WHERE id = ?")
            .bind(now.as_micros())
            .bind(leased.appliance.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(after)
    }

    /// Ends the current attempt and its job, if count and digest are those of the records stored. Asked again, it is
    /// granted again.
    ///
    /// When the digests differ although the counts agree, the attempt's records are to be sent again from 0 and each
    /// replaces the one stored; until it comes, the stored one stays. After many refusals the job fails.
    ///
    /// # Errors
    /// [`CommitError`].
    pub async fn commit(
        &self,
        leased: Leased,
        commit: &CommitRequest,
        now: Moment,
    ) -> Result<(), CommitError> {
        let mut tx = self.write().await?;
        if was_committed(&mut tx, leased, commit).await? {
            return Ok(());
        }
        let (job, attempt) = current_attempt(&mut tx, leased).await?;
        let (next, state, refusals): (i64, Vec<u8>, u32) =
            sqlx::query_as("SELECT next, digest, refusals FROM attempts WHERE key = ?")
                .bind(attempt)
                .fetch_one(&mut *tx)
                .await?;
        let next: u64 = unsigned(next, "a sequence number")?;
        let digest = hex(&read_digest(&state)?.finalize());
        if next == commit.count && digest == commit.digest {
            let end = after_commit(commit.outcome);
            if !may_follow(job.state, end) {
                return Err(JobError::Lease.into());
            }
            close_attempt(&mut tx, attempt, next, &digest).await?;
            end_job(&mut tx, job.key, end, commit.error.as_deref(), now).await?;
            tx.commit().await?;
            return Ok(());
        }
        if refusals + 1 >= REFUSALS_MAX {
            close_attempt(&mut tx, attempt, next, &commit.digest).await?;
            let why = "its results arrived damaged: count and digest differ from what the appliance wrote";
            end_job(&mut tx, job.key, JobState::Failed, Some(why), now).await?;
            tx.commit().await?;
            return Ok(());
        }
        let resume = if next < commit.count { next } else { 0 };
        sqlx::query(
            "UPDATE attempts SET refusals = refusals + 1, next = ?2, digest = ?3 WHERE key = ?1",
        )
        .bind(attempt)
        .bind(i64::try_from(resume).unwrap_or(i64::MAX))
        .bind(if resume == 0 { fresh_digest() } else { state })
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Err(CommitError::Incomplete { next: resume })
    }

    /// The attempts at a job, first to last.
    pub async fn attempts(&self, job: JobId) -> Result<Vec<Attempt>, StoreError> {
        let rows: Vec<(u32, String, i64, bool)> = sqlx::query_as(
            "SELECT a.attempt, a.state, a.next, a.committed IS NOT NULL FROM attempts a \
             JOIN jobs j ON j.key = a.job WHERE j.id = ? ORDER BY a.attempt",
        )
        .bind(job.to_string())
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter()
            .map(|(attempt, state, records, complete)| {
                let records = unsigned(records, "a count of records")?;
                Ok(Attempt {
                    attempt,
                    state: read_state(&state)?,
                    records,
                    complete,
                })
            })
            .collect()
    }

    /// At most `limit` records of an attempt from `from` on, in order.
    pub async fn records(
        &self,
        job: JobId,
        attempt: u32,
        from: u64,
        limit: u32,
    ) -> Result<Vec<String>, StoreError> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT line FROM records WHERE attempt = (SELECT a.key FROM attempts a \
             JOIN jobs j ON j.key = a.job WHERE j.id = ? AND a.attempt = ?) AND seq >= ? ORDER BY seq LIMIT ?",
        )
        .bind(job.to_string())
        .bind(attempt)
        .bind(i64::try_from(from).unwrap_or(i64::MAX))
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        Ok(rows.into_iter().map(|(line,)| line).collect())
    }
}

/// The digest over no records yet.
pub(super) fn fresh_digest() -> Vec<u8> {
    Sha256::new().serialize().to_vec()
}

fn read_digest(state: &[u8]) -> Result<Sha256, StoreError> {
    const WHAT: StoreError = StoreError::Unreadable {
        what: "a running digest",
    };
    let state = state.try_into().map_err(|_| WHAT)?;
    Sha256::deserialize(state).map_err(|_| WHAT)
}

fn digest_with(state: &[u8], lines: &[RecordLine]) -> Result<Vec<u8>, StoreError> {
    let mut digest = read_digest(state)?;
    for line in lines {
        digest.update(line.text.as_bytes());
        digest.update(b"\n");
    }
    Ok(digest.serialize().to_vec())
}

/// One statement for the whole batch: the lines travel as one JSON list.
async fn insert_lines(
    tx: &mut Transaction<'static, Sqlite>,
    attempt: i64,
    first: u64,
    lines: &[RecordLine],
) -> Result<(), StoreError> {
    let texts: Vec<&str> = lines.iter().map(|line| line.text.as_str()).collect();
    sqlx::query(
        "INSERT INTO records (attempt, seq, line) SELECT ?1, ?2 + key, value FROM json_each(?3) WHERE true \
         ON CONFLICT (attempt, seq) DO UPDATE SET line = excluded.line",
    )
    .bind(attempt)
    .bind(i64::try_from(first).unwrap_or(i64::MAX))
    .bind(serde_json::to_string(&texts).expect("a list of strings is JSON"))
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// True if this very commit was granted before: the answer was lost on its way.
async fn was_committed(
    tx: &mut Transaction<'static, Sqlite>,
    leased: Leased,
    commit: &CommitRequest,
) -> Result<bool, StoreError> {
    let row: Option<(String, Option<String>)> = sqlx::query_as(
        "SELECT a.lease, a.committed FROM attempts a JOIN jobs j ON j.key = a.job \
         WHERE j.id = ? AND j.appliance = ? AND a.attempt = ?",
    )
    .bind(leased.job.to_string())
    .bind(leased.appliance.to_string())
    .bind(leased.attempt)
    .fetch_optional(&mut **tx)
    .await?;
    Ok(row.is_some_and(|(lease, committed)| {
        let lease: Result<LeaseToken, _> = lease.parse();
        lease.is_ok_and(|lease| lease == leased.lease)
            && committed.is_some_and(|digest| digest == commit.digest)
    }))
}

/// Marks an attempt's records complete; what a longer earlier delivery left beyond them goes.
async fn close_attempt(
    tx: &mut Transaction<'static, Sqlite>,
    attempt: i64,
    count: u64,
    digest: &str,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE attempts SET committed = ? WHERE key = ?")
        .bind(digest)
        .bind(attempt)
        .execute(&mut **tx)
        .await?;
    sqlx::query("DELETE FROM records WHERE attempt = ? AND seq >= ?")
        .bind(attempt)
        .bind(i64::try_from(count).unwrap_or(i64::MAX))
        .execute(&mut **tx)
        .await?;
    Ok(())
}
