//! Who holds which job: offers, leases, reports, and what happens when a box goes out of reach. Where a job may go is
//! [`crate::dispatch`]'s; here it goes there.

use std::time::Duration;

use sonde_protocol::device::{
    DesiredSettings, JobOffer, JobState, JobStatus, LEASE_GRACE_S, LEASE_S,
};
use sonde_protocol::ids::{ApplianceId, JobId, LeaseToken};
use sqlx::{Sqlite, Transaction};

use super::jobs::{JobError, end_job, read_lost_contact, read_state};
use super::records::fresh_digest;
use super::{Store, StoreError, appliances, from_json, parsed};
use crate::clock::Moment;
use crate::dispatch::{after_lapse, after_report, may_follow, state_word};

/// How long things last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A lease.
    pub lease: Duration,
    /// From a lease's end until its job goes to another attempt.
    pub grace: Duration,
    /// A job waits for its box at most this long.
    pub queue: Duration,
    /// A job is given up after this many attempts.
    pub attempts_max: u32,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(LEASE_S),
            grace: Duration::from_secs(LEASE_GRACE_S),
            // As long as a box's spool is made to keep results.
            queue: Duration::from_secs(7 * 24 * 3600),
            attempts_max: 5,
        }
    }
}

/// What there is for a box.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Work {
    /// Whole settings, if the box has older ones.
    pub settings: Option<DesiredSettings>,
    /// Jobs to take.
    pub offers: Vec<JobOffer>,
    /// Jobs to stop.
    pub cancels: Vec<JobId>,
}

impl Work {
    /// True if there is nothing to say.
    pub fn is_empty(&self) -> bool {
        self.settings.is_none() && self.offers.is_empty() && self.cancels.is_empty()
    }
}

/// A write to a job by the box that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The box.
    pub appliance: ApplianceId,
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// The lease it names.
    pub lease: LeaseToken,
}

/// What dispatch needs to know of a job.
pub(super) struct JobRow {
    pub(super) key: i64,
    pub(super) id: JobId,
    pub(super) state: JobState,
    pub(super) attempt: u32,
    pub(super) cancel: bool,
    fraction: f64,
}

impl JobRow {
    /// True if `status` speaks of this job and its current attempt.
    fn is(&self, status: &JobStatus) -> bool {
        self.id == status.job && self.attempt == status.attempt
    }

    /// True if `status` tells something new.
    fn changes_by(&self, status: &JobStatus) -> bool {
        after_report(self.state, status.state) != self.state
            || (share(status.fraction) - self.fraction).abs() >= FRACTION_STEP
    }
}

/// A share as reported, made one.
fn share(fraction: f64) -> f64 {
    if fraction.is_finite() {
        fraction.clamp(0.0, 1.0)
    } else {
        0.0
    }
}

/// A share is written when it moved by this much: finer steps would only be disk traffic.
const FRACTION_STEP: f64 = 0.005;

impl Store {
    /// Notes what a box says of its jobs. Answers those it should not have: ended, or taken over by another attempt.
    pub async fn note_reports(
        &self,
        appliance: ApplianceId,
        reported: &[JobStatus],
        timing: &Timing,
        now: Moment,
    ) -> Result<Vec<JobId>, StoreError> {
        if reported.is_empty() {
            return Ok(Vec::new());
        }
        let mut tx = self.read().await?;
        let jobs = open_jobs(&mut tx, appliance).await?;
        drop(tx);
        let (known, strange): (Vec<_>, Vec<_>) = reported
            .iter()
            .partition(|status| jobs.iter().any(|job| job.is(status)));
        if known.iter().any(|status| {
            jobs.iter()
                .any(|job| job.is(status) && job.changes_by(status))
        }) {
            let mut tx = self.write().await?;
            let jobs = open_jobs(&mut tx, appliance).await?;
            for status in known {
                if let Some(job) = jobs.iter().find(|job| job.is(status)) {
                    take_report(&mut tx, job, status, timing, now).await?;
                }
            }
            tx.commit().await?;
        }
        Ok(strange
            .into_iter()
            .filter(|s| !s.state.is_end())
            .map(|s| s.job)
            .collect())
    }

    /// What there is for a box that reported `reported` and has room for `capacity` more jobs. A job is offered by this,
    /// and offered again, same attempt and lease, until the box reports it: an answer may get lost.
    pub async fn work(
        &self,
        appliance: ApplianceId,
        reported: &[JobStatus],
        capacity: u32,
        settings_generation: u64,
        timing: &Timing,
        now: Moment,
    ) -> Result<Work, StoreError> {
        let to_offer = |job: &&JobRow| {
            matches!(job.state, JobState::Queued | JobState::Offered)
                && !reported.iter().any(|status| job.is(status))
        };
        // Most polls find nothing: they never wait for the writer.
        let mut tx = self.read().await?;
        let settings = appliances::settings(&mut tx, appliance).await?;
        let jobs = open_jobs(&mut tx, appliance).await?;
        drop(tx);
        let mut work = Work {
            settings: settings.filter(|wanted| wanted.generation > settings_generation),
            cancels: jobs
                .iter()
                .filter(|job| job.cancel)
                .map(|job| job.id)
                .collect(),
            offers: Vec::new(),
        };
        if capacity > 0 && jobs.iter().any(|job| to_offer(&job)) {
            let mut tx = self.write().await?;
            let jobs = open_jobs(&mut tx, appliance).await?;
            for job in jobs.iter().filter(to_offer).take(capacity as usize) {
                work.offers.push(offer(&mut tx, job, timing, now).await?);
            }
            tx.commit().await?;
        }
        Ok(work)
    }

    /// Takes or keeps a job: sets its lease to run anew and notes what the box says of it. True in the answer: a person
    /// asked to stop it. A box that lost its lease but whose job nobody else was offered gets it back.
    ///
    /// # Errors
    /// [`JobError::Unknown`], [`JobError::Lease`].
    pub async fn hold(
        &self,
        leased: Leased,
        state: JobState,
        fraction: f64,
        timing: &Timing,
        now: Moment,
    ) -> Result<bool, JobError> {
        let mut tx = self.write().await?;
        let (job, _) = current_attempt(&mut tx, leased).await?;
        let status = JobStatus {
            job: job.id,
            attempt: job.attempt,
            state,
            fraction,
        };
        take_report(&mut tx, &job, &status, timing, now).await?;
        sqlx::query("UPDATE attempts SET lease_until = ? WHERE job = ? AND attempt = ?")
            .bind(now.plus(timing.lease).as_micros())
            .bind(job.key)
            .bind(job.attempt)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(job.cancel)
    }

    /// Lets leases and waits run out. Answers the appliances that have a job to take because of it.
    pub async fn lapse(
        &self,
        timing: &Timing,
        now: Moment,
    ) -> Result<Vec<ApplianceId>, StoreError> {
        let lost_before = now.minus(timing.grace).as_micros();
        let queued_before = now.minus(timing.queue).as_micros();
        const LOST: &str = "SELECT j.key, j.appliance, j.attempt, j.cancel FROM jobs j JOIN attempts a \
             ON a.job = j.key AND a.attempt = j.attempt WHERE j.ended IS NULL \
             AND j.state IN ('accepted', 'running', 'paused', 'draining') AND a.lease_until <= ?";
        const UNCLAIMED: &str = "SELECT key FROM jobs WHERE ended IS NULL \
             AND state IN ('queued', 'offered') AND queued <= ?";
        let lost = sqlx::query(LOST)
            .bind(lost_before)
            .fetch_optional(&self.reader)
            .await?;
        let unclaimed = sqlx::query(UNCLAIMED)
            .bind(queued_before)
            .fetch_optional(&self.reader)
            .await?;
        if lost.is_none() && unclaimed.is_none() {
            return Ok(Vec::new());
        }
        let mut tx = self.write().await?;
        let unclaimed: Vec<(i64,)> = sqlx::query_as(UNCLAIMED)
            .bind(queued_before)
            .fetch_all(&mut *tx)
            .await?;
        for (key,) in unclaimed {
            let why = "its appliance did not take it in time";
            end_job(&mut tx, key, JobState::Expired, Some(why), now).await?;
        }
        let lost: Vec<(i64, String, u32, bool)> = sqlx::query_as(LOST)
            .bind(lost_before)
            .fetch_all(&mut *tx)
            .await?;
        let mut wake = Vec::new();
        for (key, appliance, attempt, cancel) in lost {
            match after_lapse(cancel, attempt, timing.attempts_max) {
                JobState::Queued => {
                    sqlx::query("UPDATE jobs SET state = 'queued', queued = ? WHERE key = ?")
                        .bind(now.as_micros())
                        .bind(key)
                        .execute(&mut *tx)
                        .await?;
                    wake.push(parsed(&appliance, "an appliance's id")?);
                }
                end => {
                    let why = "its appliance went out of reach and did not come back in time";
                    end_job(&mut tx, key, end, Some(why), now).await?;
                }
            }
        }
        tx.commit().await?;
        Ok(wake)
    }
}

/// The job and its current attempt's key, if `leased` names both rightly and the job has not ended.
pub(super) async fn current_attempt(
    tx: &mut Transaction<'static, Sqlite>,
    leased: Leased,
) -> Result<(JobRow, i64), JobError> {
    let row: Option<(i64, String, u32, bool, f64, i64, String)> = sqlx::query_as(
        "SELECT j.key, j.state, j.attempt, j.cancel, j.fraction, a.key, a.lease FROM jobs j \
         JOIN attempts a ON a.job = j.key WHERE j.id = ? AND j.appliance = ? AND a.attempt = ?",
    )
    .bind(leased.job.to_string())
    .bind(leased.appliance.to_string())
    .bind(leased.attempt)
    .fetch_optional(&mut **tx)
    .await?;
    let (key, state, attempt, cancel, fraction, attempt_key, lease) =
        row.ok_or(JobError::Unknown)?;
    let state = read_state(&state)?;
    if lease != leased.lease.to_string() || attempt != leased.attempt || state.is_end() {
        return Err(JobError::Lease);
    }
    Ok((
        JobRow {
            key,
            id: leased.job,
            state,
            attempt,
            cancel,
            fraction,
        },
        attempt_key,
    ))
}

/// Jobs of an appliance that have not ended, oldest first.
async fn open_jobs(
    tx: &mut Transaction<'static, Sqlite>,
    appliance: ApplianceId,
) -> Result<Vec<JobRow>, StoreError> {
    let rows: Vec<(i64, String, String, u32, bool, f64)> = sqlx::query_as(
        "SELECT key, id, state, attempt, cancel, fraction FROM jobs \
         WHERE appliance = ? AND ended IS NULL ORDER BY key",
    )
    .bind(appliance.to_string())
    .fetch_all(&mut **tx)
    .await?;
    rows.into_iter()
        .map(|(key, id, state, attempt, cancel, fraction)| {
            let id = parsed(&id, "a job's id")?;
            Ok(JobRow {
                key,
                id,
                state: read_state(&state)?,
                attempt,
                cancel,
                fraction,
            })
        })
        .collect()
}

/// Notes what a box says of a job it holds. One that had gone back to the queue, or whose
/// accept never came, is the box's with a new lease.
async fn take_report(
    tx: &mut Transaction<'static, Sqlite>,
    job: &JobRow,
    status: &JobStatus,
    timing: &Timing,
    now: Moment,
) -> Result<(), StoreError> {
    let state = after_report(job.state, status.state);
    let fraction = if status.fraction.is_finite() {
        status.fraction.clamp(0.0, 1.0)
    } else {
        0.0
    };
    if state == job.state && (fraction - job.fraction).abs() < FRACTION_STEP {
        return Ok(());
    }
    sqlx::query(
        "UPDATE jobs SET state = ?2, fraction = ?3, started = coalesce(started, ?4) WHERE key = ?1",
    )
    .bind(job.key)
    .bind(state_word(state))
    .bind(share(status.fraction))
    .bind(now.as_micros())
    .execute(&mut **tx)
    .await?;
    let taken_up = matches!(job.state, JobState::Queued | JobState::Offered) && state != job.state;
    sqlx::query(
        "UPDATE attempts SET state = ?3, lease_until = CASE WHEN ?4 THEN ?5 ELSE lease_until END \
         WHERE job = ?1 AND attempt = ?2",
    )
    .bind(job.key)
    .bind(job.attempt)
    .bind(state_word(state))
    .bind(taken_up)
    .bind(now.plus(timing.lease).as_micros())
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Offers a job: a queued one as a new attempt, an offered one as it was.
async fn offer(
    tx: &mut Transaction<'static, Sqlite>,
    job: &JobRow,
    timing: &Timing,
    now: Moment,
) -> Result<JobOffer, StoreError> {
    let attempt = if job.state == JobState::Queued {
        job.attempt + 1
    } else {
        job.attempt
    };
    if job.state == JobState::Queued {
        debug_assert!(
            may_follow(job.state, JobState::Offered),
            "a queued job is offered"
        );
        sqlx::query("UPDATE attempts SET state = 'superseded' WHERE job = ?")
            .bind(job.key)
            .execute(&mut **tx)
            .await?;
        sqlx::query(
            "INSERT INTO attempts (job, attempt, lease, lease_until, state, digest) \
             VALUES (?, ?, ?, ?, 'offered', ?)",
        )
        .bind(job.key)
        .bind(attempt)
        .bind(LeaseToken::generate().to_string())
        .bind(now.plus(timing.lease).as_micros())
        .bind(fresh_digest())
        .execute(&mut **tx)
        .await?;
        sqlx::query("UPDATE jobs SET state = 'offered', attempt = ?2, fraction = 0 WHERE key = ?1")
            .bind(job.key)
            .bind(attempt)
            .execute(&mut **tx)
            .await?;
    }
    let (lease, request, on_lost_contact): (String, String, String) = sqlx::query_as(
        "SELECT a.lease, j.request, j.on_lost_contact FROM jobs j JOIN attempts a ON a.job = j.key \
         WHERE j.key = ? AND a.attempt = ?",
    )
    .bind(job.key)
    .bind(attempt)
    .fetch_one(&mut **tx)
    .await?;
    Ok(JobOffer {
        job: job.id,
        attempt,
        lease: parsed(&lease, "a lease")?,
        request: from_json(&request, "a scan request")?,
        on_lost_contact: read_lost_contact(&on_lost_contact)?,
    })
}
