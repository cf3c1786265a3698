//! Scans: ask for one, watch it, stop it.

#![expect(
    unused_qualifications,
    reason = "utoipa's macro writes the parameter types out in full"
)]

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sonde_protocol::device::OnLostContact;
use sonde_protocol::ids::{ApplianceId, JobId};
use sonde_protocol::request::ScanRequest;
use sonde_protocol::written::check_request;
use utoipa::{IntoParams, ToSchema};

use super::caller::{Asked, At, MayRead, MayScan, Sent};
use super::people::checked_name;
use super::problem::Problem;
use crate::state::Cloud;
use crate::storage::{Appliance, Attempt, Job, JobFilter, NewJob};

/// A scan to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateScan {
    /// The appliance that is to do it, by name or id; may be absent when there is one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appliance: Option<String>,
    /// What to call it; absent: its first target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What to scan: the request of `sonde scan`, unknown keys refused. Without a trunk, the appliance's own.
    #[schema(value_type = Object)]
    pub request: ScanRequest,
    /// What to do when the cloud is out of reach.
    #[serde(default)]
    pub on_lost_contact: OnLostContact,
}

/// A scan and its attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScanView {
    /// The scan.
    #[serde(flatten)]
    pub job: Job,
    /// What to scan.
    #[schema(value_type = Object)]
    pub request: Box<ScanRequest>,
    /// Its attempts, first to last.
    pub attempts: Vec<Attempt>,
}

/// Which scans to list.
#[derive(Clone, Debug, Default, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ScanList {
    /// Of one appliance.
    pub appliance: Option<ApplianceId>,
    /// Older than this one.
    pub before: Option<JobId>,
    /// At most so many, 1 to 1000; 50 if absent.
    pub limit: Option<u32>,
}

/// Asks for a scan.
#[utoipa::path(post, path = "/api/v1/scans", tag = "scans", request_body = CreateScan,
    security(("token" = [])), responses((status = 201, body = ScanView), (status = "4XX", body = Problem)))]
pub(super) async fn create(
    State(cloud): State<Cloud>,
    MayScan(caller): MayScan,
    Sent(scan): Sent<CreateScan>,
) -> Result<(StatusCode, Json<ScanView>), Problem> {
    check(&scan.request)?;
    let appliance = pick(
        &cloud.store().appliances().await?,
        scan.appliance.as_deref(),
    )?;
    let name = match &scan.name {
        Some(name) => checked_name(name)?.to_owned(),
        None => scan.request.targets[0]
            .chars()
            .take(super::people::NAME_MAX)
            .collect(),
    };
    let job = NewJob {
        appliance,
        name,
        created_by: caller.user.name,
        request: scan.request,
        on_lost_contact: scan.on_lost_contact,
    };
    let id = cloud.store().queue_job(&job, cloud.now()).await?;
    cloud.wake(appliance);
    tracing::info!(job = %id, %appliance, by = %job.created_by, "a scan was asked for");
    Ok((StatusCode::CREATED, Json(scan_view(&cloud, id).await?)))
}

/// Scans, newest first.
#[utoipa::path(get, path = "/api/v1/scans", tag = "scans", params(ScanList), security(("token" = [])),
    responses((status = 200, body = Vec<Job>), (status = "4XX", body = Problem)))]
pub(super) async fn scans(
    State(cloud): State<Cloud>,
    _reader: MayRead,
    Asked(list): Asked<ScanList>,
) -> Result<Json<Vec<Job>>, Problem> {
    let filter = JobFilter {
        appliance: list.appliance,
        before: list.before,
        limit: list.limit.unwrap_or(50).clamp(1, 1000),
    };
    Ok(Json(cloud.store().jobs(filter).await?))
}

/// One scan.
#[utoipa::path(get, path = "/api/v1/scans/{id}", tag = "scans", params(("id" = JobId, Path)),
    security(("token" = [])), responses((status = 200, body = ScanView), (status = "4XX", body = Problem)))]
pub(super) async fn scan(
    State(cloud): State<Cloud>,
    _reader: MayRead,
    At(id): At<JobId>,
) -> Result<Json<ScanView>, Problem> {
    scan_view(&cloud, id).await.map(Json)
}

/// Stops a scan; what it found so far is kept.
#[utoipa::path(post, path = "/api/v1/scans/{id}/cancel", tag = "scans", params(("id" = JobId, Path)),
    security(("token" = [])), responses((status = 200, body = ScanView), (status = "4XX", body = Problem)))]
pub(super) async fn cancel(
    State(cloud): State<Cloud>,
    MayScan(caller): MayScan,
    At(id): At<JobId>,
) -> Result<Json<ScanView>, Problem> {
    let appliance = cloud.store().cancel_job(id, cloud.now()).await?;
    cloud.wake(appliance);
    tracing::info!(job = %id, by = %caller.user.name, "a scan is to be stopped");
    scan_view(&cloud, id).await.map(Json)
}

async fn scan_view(cloud: &Cloud, id: JobId) -> Result<ScanView, Problem> {
    let job = cloud.store().job(id).await?;
    let request = cloud.store().job_request(id).await?;
    let attempts = cloud.store().attempts(id).await?;
    Ok(ScanView {
        job,
        request,
        attempts,
    })
}

/// Refuses what no appliance could do, in the planner's words. Whether the targets make sense on its networks only
/// the appliance knows.
fn check(request: &ScanRequest) -> Result<(), Problem> {
    if request.resume.is_some() {
        return Err(Problem::bad(
            "a scan asked of the cloud starts anew: leave out resume",
        ));
    }
    check_request(request).map_err(|error| Problem::bad(error.to_string()))
}

/// The appliance of that name or id, or the only one.
fn pick(all: &[Appliance], wanted: Option<&str>) -> Result<ApplianceId, Problem> {
    let names = || {
        all.iter()
            .map(|a| a.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let found = match (wanted, all) {
        (_, []) => {
            return Err(Problem::conflict(
                "there is no appliance yet: activate one first",
            ));
        }
        (None, [only]) => only,
        (None, _) => {
            return Err(Problem::bad(format!(
                "say which appliance is to scan: {}",
                names()
            )));
        }
        (Some(wanted), _) => all
            .iter()
            .find(|a| a.name == wanted || a.id.to_string() == wanted)
            .ok_or_else(|| {
                Problem::not_found(format!("there is no appliance '{wanted}': {}", names()))
            })?,
    };
    if found.disabled {
        return Err(Problem::conflict(format!(
            "the appliance '{}' is switched off: switch it on or choose another",
            found.name
        )));
    }
    Ok(found.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        for bad in [
            r#"{"request":{"targets":["10.0.0.1"]},"colour":1}"#,
            r#"{"request":{"targets":["10.0.0.1"],"colour":1}}"#,
            r#"{"request":{"targets":["10.0.0.1"],"trunk":{"colour":1}}}"#,
        ] {
            let error = serde_json::from_str::<CreateScan>(bad)
                .unwrap_err()
                .to_string();
            assert!(error.contains("colour"), "{error}");
        }
    }
}
