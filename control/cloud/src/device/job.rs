//! A box takes a job, keeps it, delivers its results and commits them.

#![expect(
    unused_qualifications,
    reason = "utoipa's macro writes the parameter types out in full"
)]

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use sonde_protocol::device::{
    CommitRequest, LEASE_HEADER, LeaseReply, LeaseRequest, Refusal, RefusalReason, ResultsReply,
};
use sonde_protocol::ids::{JobId, LeaseToken};
use utoipa::IntoParams;

use super::batch;
use super::signed::{Known, Refused, json};
use crate::state::Cloud;
use crate::storage::{AppendError, CommitError, JobError, Leased};

/// Where a batch begins.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct From {
    /// Sequence number of its first record.
    first: u64,
}

/// Longest reason for a failure that is kept, in characters.
const ERROR_MAX: usize = 1_000;

/// Takes a job that was offered.
#[utoipa::path(post, path = "/device/v1/jobs/{job}/{attempt}/accept", tag = "device",
    operation_id = "device_accept", request_body = LeaseRequest, security(("device" = [])),
    params(("job" = JobId, Path), ("attempt" = u32, Path), ("sonde-lease" = LeaseToken, Header)),
    responses((status = 200, body = LeaseReply), (status = "4XX", body = Refusal)))]
pub(super) async fn accept(
    state: State<Cloud>,
    job: Path<(JobId, u32)>,
    request: Known,
) -> Result<Json<LeaseReply>, Refused> {
    hold(state, job, request).await
}

/// Keeps a job: its lease runs anew.
#[utoipa::path(post, path = "/device/v1/jobs/{job}/{attempt}/renew", tag = "device",
    operation_id = "device_renew", request_body = LeaseRequest, security(("device" = [])),
    params(("job" = JobId, Path), ("attempt" = u32, Path), ("sonde-lease" = LeaseToken, Header)),
    responses((status = 200, body = LeaseReply), (status = "4XX", body = Refusal)))]
pub(super) async fn renew(
    state: State<Cloud>,
    job: Path<(JobId, u32)>,
    request: Known,
) -> Result<Json<LeaseReply>, Refused> {
    hold(state, job, request).await
}

async fn hold(
    State(cloud): State<Cloud>,
    Path((job, attempt)): Path<(JobId, u32)>,
    request: Known,
) -> Result<Json<LeaseReply>, Refused> {
    let leased = leased(&request, job, attempt)?;
    let LeaseRequest { state, fraction } = json(&request.body)?;
    let timing = &cloud.config().timing;
    let cancel = cloud
        .store()
        .hold(leased, state, fraction, timing, cloud.now())
        .await?;
    Ok(Json(LeaseReply {
        valid_s: timing.lease.as_secs(),
        cancel,
    }))
}

/// Delivers records in order: zstd of JSON lines. 416: records before `first` are missing, send again from `next`.
#[utoipa::path(post, path = "/device/v1/jobs/{job}/{attempt}/results", tag = "device",
    operation_id = "device_results", security(("device" = [])),
    request_body(content = Vec<u8>, content_type = "application/zstd"),
    params(("job" = JobId, Path), ("attempt" = u32, Path), From, ("sonde-lease" = LeaseToken, Header)),
    responses((status = 200, body = ResultsReply), (status = 416, body = ResultsReply),
        (status = "4XX", body = Refusal)))]
pub(super) async fn results(
    State(cloud): State<Cloud>,
    Path((job, attempt)): Path<(JobId, u32)>,
    Query(From { first }): Query<From>,
    request: Known,
) -> Result<Response, Refused> {
    let leased = leased(&request, job, attempt)?;
    let body = request.body;
    // Decompressing and parsing a megabyte takes milliseconds: not on a thread that answers polls.
    let batch = tokio::task::spawn_blocking(move || batch::decode(&body, first))
        .await
        .map_err(|_| Refused::new(RefusalReason::Malformed, "the batch could not be read"))?
        .map_err(|error| Refused::new(RefusalReason::Malformed, error.to_string()))?;
    match cloud
        .store()
        .append_records(leased, &batch, cloud.now())
        .await
    {
        Ok(next) => Ok(Json(ResultsReply { next }).into_response()),
        Err(AppendError::Gap { next }) => Ok((
            StatusCode::RANGE_NOT_SATISFIABLE,
            Json(ResultsReply { next }),
        )
            .into_response()),
        Err(AppendError::Unknown) => Err(JobError::Unknown.into()),
        Err(AppendError::Lease) => Err(JobError::Lease.into()),
        Err(error @ AppendError::Closed { .. }) => {
            Err(Refused::new(RefusalReason::Malformed, error.to_string()))
        }
        Err(AppendError::Store(error)) => Err(error.into()),
    }
}

/// Ends an attempt. 412: records are missing or differ, send again from `next` and commit again.
#[utoipa::path(put, path = "/device/v1/jobs/{job}/{attempt}/commit", tag = "device",
    operation_id = "device_commit", request_body = CommitRequest, security(("device" = [])),
    params(("job" = JobId, Path), ("attempt" = u32, Path), ("sonde-lease" = LeaseToken, Header)),
    responses((status = 200, description = "done"), (status = 202, description = "not yet, ask again"),
        (status = 412, body = ResultsReply), (status = "4XX", body = Refusal)))]
pub(super) async fn commit(
    State(cloud): State<Cloud>,
    Path((job, attempt)): Path<(JobId, u32)>,
    request: Known,
) -> Result<Response, Refused> {
    let leased = leased(&request, job, attempt)?;
    let mut commit: CommitRequest = json(&request.body)?;
    commit.error = commit
        .error
        .map(|why| why.chars().take(ERROR_MAX).collect());
    match cloud.store().commit(leased, &commit, cloud.now()).await {
        Ok(()) => {
            tracing::info!(%job, attempt, records = commit.count, outcome = ?commit.outcome, "committed");
            // Its slot is free: there may be another job for it.
            cloud.wake(request.device.id);
            Ok(StatusCode::OK.into_response())
        }
        Err(CommitError::Incomplete { next }) => {
            Ok((StatusCode::PRECONDITION_FAILED, Json(ResultsReply { next })).into_response())
        }
        Err(CommitError::Job(error)) => Err(error.into()),
    }
}

fn leased(request: &Known, job: JobId, attempt: u32) -> Result<Leased, Refused> {
    let lease: LeaseToken = request
        .headers
        .get(LEASE_HEADER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .ok_or_else(|| {
            let message = format!("the request does not name its lease in {LEASE_HEADER}");
            Refused::new(RefusalReason::Lease, message)
        })?;
    Ok(Leased {
        appliance: request.device.id,
        job,
        attempt,
        lease,
    })
}

impl std::convert::From<JobError> for Refused {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Unknown => Self::new(RefusalReason::NoJob, error.to_string()),
            JobError::Lease => Self::new(RefusalReason::Lease, error.to_string()),
            JobError::Store(error) => error.into(),
        }
    }
}
