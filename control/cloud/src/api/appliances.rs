//! Appliances and what the cloud wants them to be.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sonde_protocol::device::DesiredSettings;
use sonde_protocol::ids::ApplianceId;
use sonde_protocol::trunk::TrunkConfig;
use sonde_protocol::written::check_trunk;
use utoipa::ToSchema;

use super::caller::{At, MayAdmin, MayRead, Sent};
use super::people::checked_name;
use super::problem::Problem;
use crate::state::Cloud;
use crate::storage::Appliance;

/// An appliance and how it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApplianceView {
    /// How it is.
    pub status: ApplianceStatus,
    /// What is known of it.
    #[serde(flatten)]
    pub appliance: Appliance,
}

/// How an appliance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApplianceStatus {
    /// It polls.
    Online,
    /// It has not polled for longer than it should.
    Offline,
    /// It has not polled yet.
    Never,
    /// A person switched it off.
    Disabled,
}

/// What to change of an appliance.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApplianceChange {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Switch it off or on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

/// What to want of an appliance.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsChange {
    /// VLANs and routes to scan through: the whole of them.
    #[schema(value_type = Object)]
    pub trunk: TrunkConfig,
}

/// Without a poll for so long a box is offline: three held polls and their jitter, or one that fell back to plain
/// polling at its slowest.
const OFFLINE_AFTER: Duration = Duration::from_secs(200);

/// All appliances.
#[utoipa::path(get, path = "/api/v1/appliances", tag = "appliances", security(("token" = [])),
    responses((status = 200, body = Vec<ApplianceView>), (status = "4XX", body = Problem)))]
pub(super) async fn appliances(
    State(cloud): State<Cloud>,
    _reader: MayRead,
) -> Result<Json<Vec<ApplianceView>>, Problem> {
    let all = cloud.store().appliances().await?;
    Ok(Json(
        all.into_iter()
            .map(|appliance| view(&cloud, appliance))
            .collect(),
    ))
}

/// One appliance.
#[utoipa::path(get, path = "/api/v1/appliances/{id}", tag = "appliances", security(("token" = [])),
    params(("id" = ApplianceId, Path)),
    responses((status = 200, body = ApplianceView), (status = "4XX", body = Problem)))]
pub(super) async fn appliance(
    State(cloud): State<Cloud>,
    _reader: MayRead,
    At(id): At<ApplianceId>,
) -> Result<Json<ApplianceView>, Problem> {
    Ok(Json(view(&cloud, cloud.store().appliance(id).await?)))
}

/// Renames an appliance, switches it off or on.
#[utoipa::path(patch, path = "/api/v1/appliances/{id}", tag = "appliances", request_body = ApplianceChange,
    security(("token" = [])), params(("id" = ApplianceId, Path)),
    responses((status = 200, body = ApplianceView), (status = "4XX", body = Problem)))]
pub(super) async fn change(
    State(cloud): State<Cloud>,
    _admin: MayAdmin,
    At(id): At<ApplianceId>,
    Sent(change): Sent<ApplianceChange>,
) -> Result<Json<ApplianceView>, Problem> {
    let name = change.name.as_deref().map(checked_name).transpose()?;
    cloud
        .store()
        .change_appliance(id, name, change.disabled)
        .await?;
    cloud.wake(id);
    Ok(Json(view(&cloud, cloud.store().appliance(id).await?)))
}

/// What the cloud wants an appliance to be.
#[utoipa::path(get, path = "/api/v1/appliances/{id}/settings", tag = "appliances", security(("token" = [])),
    params(("id" = ApplianceId, Path)),
    responses((status = 200, body = DesiredSettings), (status = "4XX", body = Problem)))]
pub(super) async fn settings(
    State(cloud): State<Cloud>,
    _reader: MayRead,
    At(id): At<ApplianceId>,
) -> Result<Json<DesiredSettings>, Problem> {
    Ok(Json(cloud.store().settings(id).await?))
}

/// Wants an appliance to be otherwise: a new generation, told to it at once.
#[utoipa::path(put, path = "/api/v1/appliances/{id}/settings", tag = "appliances",
    request_body = SettingsChange, security(("token" = [])), params(("id" = ApplianceId, Path)),
    responses((status = 200, body = DesiredSettings), (status = "4XX", body = Problem)))]
pub(super) async fn change_settings(
    State(cloud): State<Cloud>,
    _admin: MayAdmin,
    At(id): At<ApplianceId>,
    Sent(SettingsChange { trunk }): Sent<SettingsChange>,
) -> Result<Json<DesiredSettings>, Problem> {
    check_trunk(&trunk).map_err(|error| Problem::bad(format!("trunk: {error}")))?;
    let settings = cloud.store().set_trunk(id, &trunk).await?;
    cloud.wake(id);
    Ok(Json(settings))
}

/// An appliance with what was seen of it since its last entry in the database.
pub(super) fn view(cloud: &Cloud, mut appliance: Appliance) -> ApplianceView {
    if let Some(seen) = cloud.last_seen(appliance.id) {
        appliance.last_poll = Some(seen.last_poll);
        appliance.source = seen.source;
        appliance.software = seen.software;
        appliance.box_generation = seen.generation;
    }
    let status = match appliance.last_poll {
        _ if appliance.disabled => ApplianceStatus::Disabled,
        None => ApplianceStatus::Never,
        Some(at) if cloud.now().since(at) < OFFLINE_AFTER => ApplianceStatus::Online,
        Some(_) => ApplianceStatus::Offline,
    };
    ApplianceView { status, appliance }
}
