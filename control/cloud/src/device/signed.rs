//! Who asks: the token of a request is believed before its body is read, and the body before it is parsed.

use std::net::IpAddr;
use std::time::Duration;

use axum::Json;
use axum::body::{Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sonde_protocol::device::{RESULTS_MAX_BYTES, Refusal, RefusalReason};
use sonde_protocol::token::{self, Opened, SCHEME};

use crate::server::source_of;
use crate::state::Cloud;
use crate::storage::{Device, StoreError};

/// A request signed by some key.
pub(super) struct Signed {
    /// The key.
    pub(super) key: [u8; 32],
    /// Where it came from.
    pub(super) source: IpAddr,
    /// Its body, empty if it has none.
    pub(super) body: Bytes,
}

/// A request by an appliance of this cloud that is not switched off.
pub(super) struct Known {
    /// The appliance.
    pub(super) device: Device,
    /// Where it came from.
    pub(super) source: IpAddr,
    /// Its headers.
    pub(super) headers: HeaderMap,
    /// Its body, empty if it has none.
    pub(super) body: Bytes,
}

/// A refusal on its way out.
#[derive(Debug)]
pub(super) struct Refused {
    reason: RefusalReason,
    message: String,
    server_time: Option<i64>,
    wait: Option<Duration>,
}

/// Largest body of boxes that are not known yet.
const STRANGER_BODY_MAX: usize = 16 * 1024;
/// Largest body of an appliance: a batch that does not compress at all.
const BODY_MAX: usize = RESULTS_MAX_BYTES + 64 * 1024;
/// A body arrives in this time or not at all.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

impl Refused {
    pub(super) fn new(reason: RefusalReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            server_time: None,
            wait: None,
        }
    }

    pub(super) fn busy(message: impl Into<String>, wait: Duration) -> Self {
        Self {
            wait: Some(wait),
            ..Self::new(RefusalReason::Busy, message)
        }
    }

    fn token(cloud: &Cloud, message: impl Into<String>) -> Self {
        Self {
            server_time: Some(cloud.now().unix_s()),
            ..Self::new(RefusalReason::Token, message)
        }
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        tracing::error!(error = %crate::api::chain(&error), "the database could not answer a box");
        Self::busy(
            "the cloud could not reach its database: ask again",
            Duration::from_secs(10),
        )
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match self.reason {
            RefusalReason::Token => StatusCode::UNAUTHORIZED,
            RefusalReason::Unknown | RefusalReason::Disabled => StatusCode::FORBIDDEN,
            RefusalReason::NoJob => StatusCode::NOT_FOUND,
            RefusalReason::Lease => StatusCode::CONFLICT,
            RefusalReason::Malformed => StatusCode::BAD_REQUEST,
            RefusalReason::Busy => StatusCode::TOO_MANY_REQUESTS,
        };
        let refusal = Refusal {
            reason: self.reason,
            message: self.message,
            server_time: self.server_time,
        };
        let mut response = (status, Json(refusal)).into_response();
        if let Some(wait) = self.wait {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl FromRequest<Cloud> for Signed {
    type Rejection = Refused;

    async fn from_request(request: Request, cloud: &Cloud) -> Result<Self, Refused> {
        let opened = open(cloud, &request)?;
        let source = source_of(request.extensions());
        let key = opened.key().to_bytes();
        let (_, body) = read(cloud, opened, request, STRANGER_BODY_MAX).await?;
        Ok(Self { key, source, body })
    }
}

impl FromRequest<Cloud> for Known {
    type Rejection = Refused;

    async fn from_request(request: Request, cloud: &Cloud) -> Result<Self, Refused> {
        let opened = open(cloud, &request)?;
        let device = cloud
            .store()
            .appliance_by_key(opened.key().as_bytes())
            .await?
            .ok_or_else(|| {
                Refused::new(
                    RefusalReason::Unknown,
                    "this cloud does not know the box: activate it",
                )
            })?;
        if device.disabled {
            return Err(Refused::new(
                RefusalReason::Disabled,
                "the appliance was switched off in the cloud",
            ));
        }
        let source = source_of(request.extensions());
        let (headers, body) = read(cloud, opened, request, BODY_MAX).await?;
        Ok(Self {
            device,
            source,
            headers,
            body,
        })
    }
}

/// The request's token, right but for the body.
fn open(cloud: &Cloud, request: &Request) -> Result<Opened, Refused> {
    let token = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix(SCHEME)?.strip_prefix(' '))
        .ok_or_else(|| Refused::token(cloud, "the request carries no device token"))?;
    let path = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let audience = token::audience(request.method().as_str(), path);
    token::open(token, cloud.now().unix_s(), &audience)
        .map_err(|error| Refused::token(cloud, error.to_string()))
}

/// The body, if it is the one that was signed and the token is new.
async fn read(
    cloud: &Cloud,
    opened: Opened,
    request: Request,
    bytes_max: usize,
) -> Result<(HeaderMap, Bytes), Refused> {
    let has_body = matches!(*request.method(), Method::POST | Method::PUT);
    let (parts, body) = request.into_parts();
    let body = if has_body {
        tokio::time::timeout(BODY_TIME_MAX, to_bytes(body, bytes_max))
            .await
            .map_err(|_| {
                Refused::new(RefusalReason::Malformed, "the body took too long to arrive")
            })?
            .map_err(|_| {
                Refused::new(
                    RefusalReason::Malformed,
                    format!("the body was cut off or has more than {bytes_max} bytes"),
                )
            })?
    } else {
        Bytes::new()
    };
    let proven = opened
        .with_body(has_body.then_some(&body[..]))
        .map_err(|error| Refused::token(cloud, error.to_string()))?;
    if !cloud.use_token(&proven) {
        return Err(Refused::token(
            cloud,
            "the token was used before: sign each request anew",
        ));
    }
    Ok((parts.headers, body))
}

/// Parses a JSON body.
pub(super) fn json<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body).map_err(|error| {
        Refused::new(
            RefusalReason::Malformed,
            format!("the body is not what it should be: {error}"),
        )
    })
}
