//! A box asks to belong to this cloud, and asks whether it does.

use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest as _, Request, State};
use sonde_protocol::device::{EnrollReply, EnrollRequest, EnrollStatus, Refusal, RefusalReason};
use sonde_protocol::token::decode_key;

use super::signed::{Refused, Signed, json};
use crate::limits::source_key;
use crate::server::source_of;
use crate::state::Cloud;
use crate::storage::{EnrolError, Enrolment};

/// Seconds between a box's questions whether its code was typed.
const STATUS_EVERY_S: u64 = 5;
/// Longest text a box says of itself.
const TEXT_MAX: usize = 128;

/// Asks for an activation code.
#[utoipa::path(post, path = "/device/v1/enroll", tag = "device", operation_id = "device_enroll",
    request_body = EnrollRequest, security(("device" = [])),
    responses((status = 200, body = EnrollReply), (status = "4XX", body = Refusal)))]
pub(super) async fn enroll(
    State(cloud): State<Cloud>,
    request: Request,
) -> Result<Json<EnrollReply>, Refused> {
    // Before anything is computed: this is the one door a stranger may knock at.
    cloud
        .enrol_limit()
        .allow(source_key(source_of(request.extensions())), cloud.now())
        .map_err(|wait| Refused::busy("too many boxes ask for a code from this address", wait))?;
    let Signed { key, source, body } = Signed::from_request(request, &cloud).await?;
    let request: EnrollRequest = json(&body)?;
    let named = decode_key(&request.public_key).map(|named| named.to_bytes());
    if named != Ok(key) {
        return Err(Refused::new(
            RefusalReason::Malformed,
            "the token was not signed by the key that is to be enrolled",
        ));
    }
    let enrolment = Enrolment {
        public_key: key,
        serial: printable(request.serial, "serial")?,
        mac: printable(request.mac, "mac")?,
        software: printable(request.software, "software")?,
        pinned: request.pinned.is_some(),
        source,
    };
    let random = rand::random();
    if cloud.store().appliance_by_key(&key).await?.is_some() {
        let code = crate::storage::code_from(&random);
        return Ok(Json(EnrollReply {
            code,
            valid_s: 0,
            interval_s: 0,
        }));
    }
    let outcome = cloud
        .store()
        .enrol(&enrolment, cloud.config().enrolments, &random, cloud.now())
        .await
        .map_err(|error| match error {
            EnrolError::Busy => Refused::busy(error.to_string(), Duration::from_secs(60)),
            EnrolError::Store(error) => error.into(),
        })?;
    tracing::info!(serial = %enrolment.serial, %source, "a box asks to be activated");
    Ok(Json(EnrollReply {
        code: outcome.code,
        valid_s: outcome.valid.as_secs(),
        interval_s: STATUS_EVERY_S,
    }))
}

/// Asks whether somebody typed the code.
#[utoipa::path(get, path = "/device/v1/enroll", tag = "device", operation_id = "device_enroll_status",
    security(("device" = [])),
    responses((status = 200, body = EnrollStatus), (status = "4XX", body = Refusal)))]
pub(super) async fn enroll_status(
    State(cloud): State<Cloud>,
    request: Signed,
) -> Result<Json<EnrollStatus>, Refused> {
    if let Some(device) = cloud.store().appliance_by_key(&request.key).await? {
        if device.disabled {
            let message = "the appliance was switched off in the cloud";
            return Err(Refused::new(RefusalReason::Disabled, message));
        }
        return Ok(Json(EnrollStatus::Active {
            appliance: device.id,
            name: device.name,
        }));
    }
    let pending = cloud.store().is_pending(&request.key, cloud.now()).await?;
    Ok(Json(if pending {
        EnrollStatus::Pending
    } else {
        EnrollStatus::Expired
    }))
}

/// What a stranger says is shown to a manager's terminal: short, and without control characters.
fn printable(text: String, what: &str) -> Result<String, Refused> {
    if text.len() > TEXT_MAX || text.chars().any(char::is_control) {
        return Err(Refused::new(
            RefusalReason::Malformed,
            format!("{what} has more than {TEXT_MAX} bytes or control characters"),
        ));
    }
    Ok(text)
}
