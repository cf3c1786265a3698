//! A manager types the code a box shows: first to see whose it is, then to take the box in.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sonde_protocol::activation::{check_number, normalized};
use utoipa::ToSchema;

use super::appliances::{ApplianceView, view};
use super::caller::{MayAdmin, Sent};
use super::people::checked_name;
use super::problem::Problem;
use crate::clock::Moment;
use crate::state::Cloud;
use crate::storage::{ActivateError, User};

/// A code to look up.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Lookup {
    /// As typed: case, blanks and hyphens do not matter.
    pub code: String,
}

/// The box that shows a code. What it says of itself is not proven: compare the check number with the one on its panel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ActivationView {
    /// What is printed on it.
    pub serial: String,
    /// MAC address of its LAN interface.
    pub mac: String,
    /// Version of its software.
    pub software: String,
    /// Where its request came from.
    pub source: String,
    /// Four digits that its panel must show too.
    pub check_number: String,
    /// It trusts this cloud by a pinned certificate; the check number covers it.
    pub pinned: bool,
    /// When its code ends.
    pub expires: Moment,
}

/// A code to activate.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// As typed.
    pub code: String,
    /// What to call the appliance; no two have the same name.
    pub name: String,
    /// The check number that was compared with the one on the panel.
    pub check_number: String,
}

/// So many wrong codes an hour are typing errors; more are guesses.
const WRONG_CODES_MAX: u32 = 10;
const WRONG_CODES_WINDOW: Duration = Duration::from_secs(3600);

/// Shows the box behind a code.
#[utoipa::path(post, path = "/api/v1/activations/lookup", tag = "activations", request_body = Lookup,
    security(("token" = [])),
    responses((status = 200, body = ActivationView), (status = "4XX", body = Problem)))]
pub(super) async fn lookup(
    State(cloud): State<Cloud>,
    MayAdmin(caller): MayAdmin,
    Sent(Lookup { code }): Sent<Lookup>,
) -> Result<Json<ActivationView>, Problem> {
    find(&cloud, &caller.user, &code).await.map(Json)
}

/// Takes the box behind a code in.
#[utoipa::path(post, path = "/api/v1/activations/confirm", tag = "activations", request_body = Confirm,
    security(("token" = [])),
    responses((status = 200, body = ApplianceView), (status = "4XX", body = Problem)))]
pub(super) async fn confirm(
    State(cloud): State<Cloud>,
    MayAdmin(caller): MayAdmin,
    Sent(Confirm {
        code,
        name,
        check_number,
    }): Sent<Confirm>,
) -> Result<Json<ApplianceView>, Problem> {
    let name = checked_name(&name)?;
    let found = find(&cloud, &caller.user, &code).await?;
    if found.check_number != check_number {
        return Err(Problem::conflict(
            "the check number is not this box's: compare it with the panel again, and if they differ, \
             somebody is between the box and this cloud",
        ));
    }
    let code = normalized(&code);
    let id = cloud
        .store()
        .activate(&code, name, &caller.user.name, cloud.now())
        .await?;
    tracing::info!(appliance = %id, serial = %found.serial, by = %caller.user.name, "activated");
    Ok(Json(view(&cloud, cloud.store().appliance(id).await?)))
}

async fn find(cloud: &Cloud, user: &User, typed: &str) -> Result<ActivationView, Problem> {
    let (store, now) = (cloud.store(), cloud.now());
    if store
        .code_failures(user.id, WRONG_CODES_WINDOW, now)
        .await?
        >= WRONG_CODES_MAX
    {
        return Err(Problem::busy(
            format!(
                "{WRONG_CODES_MAX} wrong codes were typed in an hour: wait, and read the panel again"
            ),
            WRONG_CODES_WINDOW,
        ));
    }
    let code = normalized(typed);
    let found = match store.pending_box(&code, now).await {
        Ok(found) => found,
        Err(error) => {
            if matches!(error, ActivateError::Unknown) {
                store
                    .note_code_failure(user.id, WRONG_CODES_WINDOW, now)
                    .await?;
                tracing::warn!(user = %user.name, "a wrong activation code was typed");
            }
            return Err(error.into());
        }
    };
    // Computed from our own certificate, whatever the box says it saw: if it saw another, the numbers differ.
    let pinned = cloud
        .config()
        .fingerprint
        .as_ref()
        .filter(|_| found.enrolment.pinned);
    Ok(ActivationView {
        check_number: check_number(&found.enrolment.public_key, &code, pinned),
        serial: found.enrolment.serial,
        mac: found.enrolment.mac,
        software: found.enrolment.software,
        source: found.enrolment.source.to_string(),
        pinned: found.enrolment.pinned,
        expires: found.expires,
    })
}
