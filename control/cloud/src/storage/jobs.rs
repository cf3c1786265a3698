//! Jobs as people see them: asked for, listed, stopped.

use serde::{Deserialize, Serialize};
use sonde_protocol::device::{JobState, OnLostContact};
use sonde_protocol::ids::{ApplianceId, JobId};
use sonde_protocol::request::ScanRequest;
use sqlx::{Sqlite, Transaction};
use utoipa::ToSchema;

use super::{Store, StoreError, from_json, parsed, unsigned};
use crate::clock::Moment;
use crate::dispatch::{state_from_word, state_word};

/// A job as people see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// For programs.
    pub id: JobId,
    /// For people.
    pub name: String,
    /// The appliance that does it.
    pub appliance: ApplianceId,
    /// When it was asked for.
    pub created: Moment,
    /// By whom.
    pub created_by: String,
    /// Where it is.
    pub state: JobState,
    /// Share done, 0 to 1.
    pub fraction: f64,
    /// The current attempt; 0 before the first.
    pub attempt: u32,
    /// A person asked to stop it.
    pub cancel_requested: bool,
    /// When a box first took it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Moment>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Moment>,
    /// Why it failed, or how the box put it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do when the cloud is out of reach.
    pub on_lost_contact: OnLostContact,
    /// Records stored, all attempts.
    pub records: u64,
    /// Hosts up, each once.
    pub hosts_up: u64,
    /// Open ports, each once.
    pub open_ports: u64,
}

/// A job to queue.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// The appliance that is to do it.
    pub appliance: ApplianceId,
    /// For people.
    pub name: String,
    /// Who asks.
    pub created_by: String,
    /// What to scan.
    pub request: ScanRequest,
    /// What to do when the cloud is out of reach.
    pub on_lost_contact: OnLostContact,
}

/// Which jobs to list, newest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct JobFilter {
    /// Of one appliance.
    pub appliance: Option<ApplianceId>,
    /// Older than this one.
    pub before: Option<JobId>,
    /// At most so many.
    pub limit: u32,
}

/// Why a job was not touched.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// No such job, or attempt, or not this box's.
    #[error("there is no such job or attempt here")]
    Unknown,
    /// The lease is not the current one, or the job has ended.
    #[error("the lease does not hold")]
    Lease,
    /// The database's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for JobError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Queues a job.
    ///
    /// # Errors
    /// [`JobError::Unknown`] if there is no such appliance.
    pub async fn queue_job(&self, job: &NewJob, now: Moment) -> Result<JobId, JobError> {
        let id = JobId::generate();
        let mut tx = self.write().await?;
        let (known,): (i64,) = sqlx::query_as("SELECT count(*) FROM appliances WHERE id = ?")
            .bind(job.appliance.to_string())
            .fetch_one(&mut *tx)
            .await?;
        if known == 0 {
            return Err(JobError::Unknown);
        }
        sqlx::query(
            "INSERT INTO jobs (id, appliance, name, created, created_by, request, on_lost_contact, state, queued) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'queued', ?4)",
        )
        .bind(id.to_string())
        .bind(job.appliance.to_string())
        .bind(&job.name)
        .bind(now.as_micros())
        .bind(&job.created_by)
        .bind(serde_json::to_string(&job.request).expect("a request is strings and numbers"))
        .bind(lost_contact_word(job.on_lost_contact))
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Asks to stop a job; one that no box has taken yet ends at once.
    ///
    /// # Errors
    /// [`JobError::Unknown`].
    pub async fn cancel_job(&self, id: JobId, now: Moment) -> Result<ApplianceId, JobError> {
        let mut tx = self.write().await?;
        let row: Option<(i64, String, String)> =
            sqlx::query_as("SELECT key, appliance, state FROM jobs WHERE id = ?")
                .bind(id.to_string())
                .fetch_optional(&mut *tx)
                .await?;
        let (key, appliance, state) = row.ok_or(JobError::Unknown)?;
        let state = read_state(&state)?;
        if matches!(state, JobState::Queued | JobState::Offered) {
            end_job(&mut tx, key, JobState::Cancelled, None, now).await?;
        } else if !state.is_end() {
            sqlx::query("UPDATE jobs SET cancel = 1 WHERE key = ?")
                .bind(key)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(parsed(&appliance, "an appliance's id")?)
    }

    /// One job.
    ///
    /// # Errors
    /// [`JobError::Unknown`].
    pub async fn job(&self, id: JobId) -> Result<Job, JobError> {
        let row = sqlx::query_as(sqlx::AssertSqlSafe(format!("{JOB} WHERE j.id = ?1")))
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        Ok(job(row.ok_or(JobError::Unknown)?)?)
    }

    /// What a job is to scan. Apart from the job, as it may be half a megabyte.
    ///
    /// # Errors
    /// [`JobError::Unknown`].
    pub async fn job_request(&self, id: JobId) -> Result<Box<ScanRequest>, JobError> {
        let row: Option<(String,)> = sqlx::query_as("SELECT request FROM jobs WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&self.reader)
            .await?;
        let (request,) = row.ok_or(JobError::Unknown)?;
        Ok(from_json(&request, "a scan request")?)
    }

    /// Jobs, newest first.
    pub async fn jobs(&self, filter: JobFilter) -> Result<Vec<Job>, StoreError> {
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "{JOB} WHERE (?1 IS NULL OR j.appliance = ?1) AND (?2 IS NULL OR j.id < ?2) \
             ORDER BY j.id DESC LIMIT ?3"
        )))
        .bind(filter.appliance.map(|a| a.to_string()))
        .bind(filter.before.map(|j| j.to_string()))
        .bind(filter.limit)
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter().map(job).collect()
    }
}

/// Ends a job and its current attempt.
pub(super) async fn end_job(
    tx: &mut Transaction<'static, Sqlite>,
    key: i64,
    state: JobState,
    error: Option<&str>,
    now: Moment,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE jobs SET state = ?2, ended = ?3, error = ?4, \
         fraction = CASE WHEN ?2 = 'committed' THEN 1 ELSE fraction END WHERE key = ?1",
    )
    .bind(key)
    .bind(state_word(state))
    .bind(now.as_micros())
    .bind(error)
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "UPDATE attempts SET state = ?2 WHERE job = ?1 \
         AND attempt = (SELECT attempt FROM jobs WHERE key = ?1)",
    )
    .bind(key)
    .bind(state_word(state))
    .execute(&mut **tx)
    .await?;
    count_findings(tx, key).await
}

/// Notes what the findings of a job that has ended come to.
pub(super) async fn count_findings(
    tx: &mut Transaction<'static, Sqlite>,
    key: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE jobs SET hosts_up = (SELECT count(*) FROM hosts WHERE job = ?1), \
         open_ports = (SELECT count(*) FROM ports WHERE job = ?1 AND state = 'open') \
         WHERE key = ?1 AND ended IS NOT NULL",
    )
    .bind(key)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

pub(super) fn read_state(word: &str) -> Result<JobState, StoreError> {
    state_from_word(word).ok_or(StoreError::Unreadable {
        what: "a job's state",
    })
}

const fn lost_contact_word(policy: OnLostContact) -> &'static str {
    match policy {
        OnLostContact::Continue => "continue",
        OnLostContact::Pause => "pause",
        OnLostContact::Stop => "stop",
    }
}

pub(super) fn read_lost_contact(word: &str) -> Result<OnLostContact, StoreError> {
    [
        OnLostContact::Continue,
        OnLostContact::Pause,
        OnLostContact::Stop,
    ]
    .into_iter()
    .find(|policy| lost_contact_word(*policy) == word)
    .ok_or(StoreError::Unreadable {
        what: "a job's policy on lost contact",
    })
}

/// Selects [`Row`].
const JOB: &str = "SELECT j.id, j.name, j.appliance, j.created, j.created_by, j.state, j.fraction, j.attempt, \
     j.cancel, j.started, j.ended, j.error, j.on_lost_contact, \
     (SELECT coalesce(sum(next), 0) FROM attempts WHERE job = j.key), \
     coalesce(hosts_up, (SELECT count(*) FROM hosts WHERE job = j.key)), \
     coalesce(open_ports, (SELECT count(*) FROM ports WHERE job = j.key AND state = 'open')) FROM jobs j";

type Row = (
    String,
    String,
    String,
    i64,
    String,
    String,
    f64,
    u32,
    bool,
    Option<i64>,
    Option<i64>,
    Option<String>,
    String,
    i64,
    i64,
    i64,
);

fn job(row: Row) -> Result<Job, StoreError> {
    let (id, name, appliance, created, created_by, state, fraction, attempt, cancel, ..) = row;
    Ok(Job {
        id: parsed(&id, "a job's id")?,
        name,
        appliance: parsed(&appliance, "an appliance's id")?,
        created: Moment::from_micros(created),
        created_by,
        state: read_state(&state)?,
        fraction,
        attempt,
        cancel_requested: cancel,
        started: row.9.map(Moment::from_micros),
        ended: row.10.map(Moment::from_micros),
        error: row.11,
        on_lost_contact: read_lost_contact(&row.12)?,
        records: unsigned(row.13, "a count of records")?,
        hosts_up: unsigned(row.14, "a count of hosts")?,
        open_ports: unsigned(row.15, "a count of ports")?,
    })
}
