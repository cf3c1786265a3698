//! Users and their tokens.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::caller::{At, Caller, MayAdmin, MayRead, Sent};
use super::problem::Problem;
use crate::clock::Moment;
use crate::limits::source_key;
use crate::secrets::{self, SecretError};
use crate::server::source_of;
use crate::state::Cloud;
use crate::storage::{ApiToken, Scope, User};

/// Name and password.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password.
    pub password: String,
}

/// A token to go on with.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct LoggedIn {
    /// Secret; sent as `Authorization: Bearer`.
    pub token: String,
    /// Until when it holds.
    pub expires: Moment,
    /// What it allows.
    pub scope: Scope,
}

/// Who a token stands for.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Me {
    /// The user.
    pub user: User,
    /// The token in use.
    pub token: ApiToken,
}

/// A token to make.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What it is to allow; at most what the token in use does.
    pub scope: Scope,
    /// How long it is to hold, 1 to 3650 days.
    #[serde(default = "year")]
    pub valid_days: u32,
}

/// A token made. Its secret is shown this once.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
pub struct TokenMade {
    /// The token.
    #[serde(flatten)]
    pub about: ApiToken,
    /// Its secret.
    pub token: String,
}

/// A user to add.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// Name.
    pub name: String,
    /// Password.
    pub password: String,
    /// What they may do.
    pub scope: Scope,
}

/// A password to set.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPassword {
    /// Password.
    pub password: String,
}

/// A login holds for a working day.
const LOGIN_VALID: Duration = Duration::from_secs(12 * 3600);
/// Longest name of a user, a token, an appliance or a scan, in characters.
pub(super) const NAME_MAX: usize = 64;

const fn year() -> u32 {
    365
}

/// Logs in: a token for name and password.
#[utoipa::path(post, path = "/api/v1/login", tag = "people", request_body = Login, security(()),
    responses((status = 200, body = LoggedIn), (status = "4XX", body = Problem)))]
pub(super) async fn login(
    State(cloud): State<Cloud>,
    extensions: Extensions,
    Sent(login): Sent<Login>,
) -> Result<Json<LoggedIn>, Problem> {
    let now = cloud.now();
    let slow_down = |wait: Duration| {
        let seconds = wait.as_secs() + 1;
        Problem::busy(
            format!("too many logins were tried: wait {seconds} seconds"),
            wait,
        )
    };
    let source = source_of(&extensions);
    cloud
        .login_by_source()
        .allow(source_key(source), now)
        .map_err(slow_down)?;
    let name: String = login.user.chars().take(NAME_MAX).collect();
    cloud.login_by_name().allow(name, now).map_err(slow_down)?;
    let known = cloud.store().user_with_password(&login.user).await?;
    let hash = known.as_ref().map(|(_, hash)| hash.as_str());
    let right = secrets::check_password(&login.password, hash).await?;
    let Some((user, _)) = known.filter(|_| right) else {
        tracing::warn!(%source, "a login failed");
        return Err(Problem::unauthorized(
            "name or password is wrong: an administrator can set a new one with `sonde cloud passwd`",
        ));
    };
    let (token, about) = keep_token(&cloud, &user, "login", user.scope, LOGIN_VALID).await?;
    Ok(Json(LoggedIn {
        token,
        expires: about.expires,
        scope: about.scope,
    }))
}

/// Ends the token in use.
#[utoipa::path(post, path = "/api/v1/logout", tag = "people", security(("token" = [])),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn logout(
    State(cloud): State<Cloud>,
    MayRead(Caller { user, token }): MayRead,
) -> Result<StatusCode, Problem> {
    cloud.store().remove_token(user.id, token.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who the token in use stands for.
#[utoipa::path(get, path = "/api/v1/me", tag = "people", security(("token" = [])),
    responses((status = 200, body = Me), (status = "4XX", body = Problem)))]
pub(super) async fn me(MayRead(Caller { user, token }): MayRead) -> Json<Me> {
    Json(Me { user, token })
}

/// The caller's tokens.
#[utoipa::path(get, path = "/api/v1/tokens", tag = "people", security(("token" = [])),
    responses((status = 200, body = Vec<ApiToken>), (status = "4XX", body = Problem)))]
pub(super) async fn tokens(
    State(cloud): State<Cloud>,
    MayRead(Caller { user, .. }): MayRead,
) -> Result<Json<Vec<ApiToken>>, Problem> {
    Ok(Json(cloud.store().tokens(user.id, cloud.now()).await?))
}

/// Makes a token for a program.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "people", request_body = NewToken,
    security(("token" = [])),
    responses((status = 200, body = TokenMade), (status = "4XX", body = Problem)))]
pub(super) async fn make_token(
    State(cloud): State<Cloud>,
    MayRead(Caller { user, token }): MayRead,
    Sent(new): Sent<NewToken>,
) -> Result<Json<TokenMade>, Problem> {
    let name = checked_name(&new.name)?;
    if new.scope > token.scope {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            format!(
                "a token of scope {} can not make one of scope {}",
                token.scope.word(),
                new.scope.word()
            ),
        ));
    }
    if !(1..=3650).contains(&new.valid_days) {
        return Err(Problem::bad("a token holds for 1 to 3650 days"));
    }
    let valid = Duration::from_secs(u64::from(new.valid_days) * 24 * 3600);
    let (token, about) = keep_token(&cloud, &user, name, new.scope, valid).await?;
    Ok(Json(TokenMade { about, token }))
}

/// Ends one of the caller's tokens.
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "people", security(("token" = [])),
    params(("id" = Uuid, Path)), responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn end_token(
    State(cloud): State<Cloud>,
    MayRead(Caller { user, .. }): MayRead,
    At(id): At<Uuid>,
) -> Result<StatusCode, Problem> {
    if cloud.store().remove_token(user.id, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found(
            "you have no token of that id: `sonde ctl tokens` lists them",
        ))
    }
}

/// Everybody.
#[utoipa::path(get, path = "/api/v1/users", tag = "people", security(("token" = [])),
    responses((status = 200, body = Vec<User>), (status = "4XX", body = Problem)))]
pub(super) async fn users(
    State(cloud): State<Cloud>,
    _admin: MayAdmin,
) -> Result<Json<Vec<User>>, Problem> {
    Ok(Json(cloud.store().users().await?))
}

/// Adds a user.
#[utoipa::path(post, path = "/api/v1/users", tag = "people", request_body = NewUser,
    security(("token" = [])), responses((status = 200, body = User), (status = "4XX", body = Problem)))]
pub(super) async fn add_user(
    State(cloud): State<Cloud>,
    _admin: MayAdmin,
    Sent(new): Sent<NewUser>,
) -> Result<Json<User>, Problem> {
    let name = checked_name(&new.name)?;
    let hash = secrets::hash_password(&new.password).await?;
    Ok(Json(
        cloud
            .store()
            .add_user(name, &hash, new.scope, cloud.now())
            .await?,
    ))
}

/// Removes a user.
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "people", security(("token" = [])),
    params(("name" = String, Path)), responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn remove_user(
    State(cloud): State<Cloud>,
    _admin: MayAdmin,
    At(name): At<String>,
) -> Result<StatusCode, Problem> {
    cloud.store().remove_user(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sets a user's password, and ends their tokens.
#[utoipa::path(put, path = "/api/v1/users/{name}/password", tag = "people", request_body = NewPassword,
    security(("token" = [])), params(("name" = String, Path)),
    responses((status = 204), (status = "4XX", body = Problem)))]
pub(super) async fn set_password(
    State(cloud): State<Cloud>,
    _admin: MayAdmin,
    At(name): At<String>,
    Sent(new): Sent<NewPassword>,
) -> Result<StatusCode, Problem> {
    let hash = secrets::hash_password(&new.password).await?;
    cloud.store().set_password(&name, &hash).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A name fit to be shown: no control characters, not empty, not endless.
pub(super) fn checked_name(name: &str) -> Result<&str, Problem> {
    let name = name.trim();
    let length = name.chars().count();
    if length == 0 || length > NAME_MAX || name.chars().any(char::is_control) {
        return Err(Problem::bad(format!(
            "a name has 1 to {NAME_MAX} printable characters"
        )));
    }
    Ok(name)
}

async fn keep_token(
    cloud: &Cloud,
    user: &User,
    name: &str,
    scope: Scope,
    valid: Duration,
) -> Result<(String, ApiToken), Problem> {
    let (secret, digest) = secrets::new_token();
    let now = cloud.now();
    let about = ApiToken {
        id: Uuid::now_v7(),
        name: name.to_owned(),
        scope,
        created: now,
        expires: now.plus(valid),
    };
    cloud.store().add_token(user.id, &about, &digest).await?;
    Ok((secret, about))
}

impl From<SecretError> for Problem {
    fn from(error: SecretError) -> Self {
        match error {
            SecretError::Length => Self::bad(error.to_string()),
            SecretError::Hash => {
                tracing::error!(%error, "a password could not be checked");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the password could not be checked",
                )
            }
        }
    }
}
