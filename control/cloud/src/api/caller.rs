//! Who asks, and what they may: a handler that takes [`MayScan`] is reached by nobody who may not.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::secrets::{TOKEN_PREFIX, token_digest};
use crate::state::Cloud;
use crate::storage::{ApiToken, Scope, User};

/// Largest body of a person's request: the first line of a result repeats the request and has to fit into one batch.
pub(super) const BODY_MAX: usize = 512 * 1024;

/// A person whose token holds.
pub(super) struct Caller {
    /// The person.
    pub(super) user: User,
    /// Their token; its scope is what they may do.
    pub(super) token: ApiToken,
}

/// Somebody who may see everything.
pub(super) struct MayRead(pub(super) Caller);
/// Somebody who may also start and cancel scans.
pub(super) struct MayScan(pub(super) Caller);
/// Somebody who may also manage appliances and users.
pub(super) struct MayAdmin(pub(super) Caller);

/// The parts of the path; what is wrong with them is said in one sentence.
pub(super) struct At<T>(pub(super) T);

/// The query; what is wrong with it is said in one sentence.
pub(super) struct Asked<T>(pub(super) T);

/// A JSON body; what is wrong with it is said in one sentence.
pub(super) struct Sent<T>(pub(super) T);

macro_rules! may {
    ($name:ident, $scope:expr) => {
        impl FromRequestParts<Cloud> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, cloud: &Cloud) -> Result<Self, Problem> {
                caller(parts, cloud, $scope).await.map($name)
            }
        }
    };
}

may!(MayRead, Scope::Read);
may!(MayScan, Scope::Scan);
may!(MayAdmin, Scope::Admin);

async fn caller(parts: &Parts, cloud: &Cloud, needed: Scope) -> Result<Caller, Problem> {
    let token = parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "))
        .filter(|token| token.starts_with(TOKEN_PREFIX))
        .ok_or_else(|| Problem::unauthorized("the request carries no API token: log in first"))?;
    let (user, token) = cloud
        .store()
        .user_by_token(&token_digest(token), cloud.now())
        .await?
        .ok_or_else(|| {
            Problem::unauthorized("the API token does not hold or has run out: log in again")
        })?;
    if token.scope < needed {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!(
                "that takes a token of scope {}, and this one's is {}",
                needed.word(),
                token.scope.word()
            ),
        ));
    }
    Ok(Caller { user, token })
}

impl<T: DeserializeOwned + Send> FromRequestParts<Cloud> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, cloud: &Cloud) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, cloud).await;
        path.map(|Path(path)| Self(path)).map_err(|error| {
            Problem::bad(format!(
                "there is nothing at this path: {}",
                error.body_text()
            ))
        })
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Cloud> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, cloud: &Cloud) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, cloud).await;
        query.map(|Query(query)| Self(query)).map_err(|error| {
            Problem::bad(format!(
                "the query is not what it should be: {}",
                error.body_text()
            ))
        })
    }
}

impl<T: DeserializeOwned> FromRequest<Cloud> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, cloud: &Cloud) -> Result<Self, Problem> {
        let bytes = Bytes::from_request(request, cloud).await.map_err(|_| {
            Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the body was cut off or has more than {BODY_MAX} bytes"),
            )
        })?;
        serde_json::from_slice(&bytes)
            .map(Sent)
            .map_err(|error| Problem::bad(format!("the body is not what it should be: {error}")))
    }
}
