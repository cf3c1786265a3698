//! Why the cloud did not do what a person asked, in one sentence with the way out.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::chain;
use crate::storage::{ActivateError, ApplianceError, JobError, StoreError, UserError};

/// A refusal. Its status says whose turn it is: 4xx the asker's, 5xx the operator's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// For people.
    pub message: String,
    #[serde(skip)]
    status: u16,
    #[serde(skip)]
    wait: Option<Duration>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            status: status.as_u16(),
            wait: None,
        }
    }

    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, message)
    }

    pub(super) fn busy(message: impl Into<String>, wait: Duration) -> Self {
        Self {
            wait: Some(wait),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, message)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let wait = self.wait;
        let mut response = (status, Json(self)).into_response();
        if let Some(wait) = wait {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, (wait.as_secs() + 1).into());
        }
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %chain(&error), "the database could not answer");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "the cloud could not reach its database: its log says why",
        )
    }
}

impl From<JobError> for Problem {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Unknown => {
                Self::not_found("there is no such scan: `sonde ctl scans` lists them")
            }
            JobError::Lease => Self::conflict("another attempt holds the scan"),
            JobError::Store(error) => error.into(),
        }
    }
}

impl From<ApplianceError> for Problem {
    fn from(error: ApplianceError) -> Self {
        match error {
            ApplianceError::Unknown => {
                Self::not_found("there is no such appliance: `sonde ctl appliances` lists them")
            }
            ApplianceError::NameTaken => {
                Self::conflict("another appliance has this name: choose a different one")
            }
            ApplianceError::Store(error) => error.into(),
        }
    }
}

impl From<UserError> for Problem {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Exists => {
                Self::conflict("there is a user of that name already: choose another")
            }
            UserError::Unknown => Self::not_found("there is no user of that name"),
            UserError::LastAdmin => {
                Self::conflict("that is the last user with scope admin: make another one first")
            }
            UserError::Store(error) => error.into(),
        }
    }
}

impl From<ActivateError> for Problem {
    fn from(error: ActivateError) -> Self {
        match error {
            ActivateError::Unknown => {
                Self::not_found("no box shows this code: read it from the box's panel again")
            }
            ActivateError::Used => Self::new(
                StatusCode::GONE,
                "this code was used already: `sonde ctl appliances` shows for what",
            ),
            ActivateError::Expired => Self::new(
                StatusCode::GONE,
                "this code has run out: the box's panel shows a new one",
            ),
            ActivateError::NameTaken => {
                Self::conflict("another appliance has this name: choose a different one")
            }
            ActivateError::Store(error) => error.into(),
        }
    }
}
