//! People, their tokens, and how often they mistyped a code.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sonde_protocol::ids::UserId;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Store, StoreError, is_duplicate, parsed};
use crate::clock::Moment;

/// What somebody may do; each includes the ones before.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// See everything.
    Read,
    /// Start and cancel scans.
    Scan,
    /// Activate and set up appliances, manage users.
    Admin,
}

impl Scope {
    /// The word in database, JSON and commands.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Scan => "scan",
            Self::Admin => "admin",
        }
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Read, Self::Scan, Self::Admin]
            .into_iter()
            .find(|scope| scope.word() == text)
            .ok_or_else(|| format!("'{text}' is not a scope: read, scan or admin"))
    }
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// For programs.
    pub id: UserId,
    /// For people; no two have the same.
    pub name: String,
    /// What they may do.
    pub scope: Scope,
    /// Since when.
    pub created: Moment,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ApiToken {
    /// For programs.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// Since when.
    pub created: Moment,
    /// Until when.
    pub expires: Moment,
}

/// Why nothing was changed about a user.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// The name is taken.
    #[error("there is a user of that name already")]
    Exists,
    /// Nobody has that name.
    #[error("there is no user of that name")]
    Unknown,
    /// Nobody could manage the cloud any more.
    #[error("that is the last user who may manage this cloud")]
    LastAdmin,
    /// The database's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for UserError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

type UserRow = (String, String, String, i64);
type TokenRow = (String, String, String, i64, i64);

impl Store {
    /// Adds a user. `password` is the hash, never the password.
    ///
    /// # Errors
    /// [`UserError::Exists`].
    pub async fn add_user(
        &self,
        name: &str,
        password: &str,
        scope: Scope,
        now: Moment,
    ) -> Result<User, UserError> {
        let user = User {
            id: UserId::generate(),
            name: name.to_owned(),
            scope,
            created: now,
        };
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO users (id, name, password, scope, created) VALUES (?, ?, ?, ?, ?)",
        )
        .bind(user.id.to_string())
        .bind(name)
        .bind(password)
        .bind(scope.word())
        .bind(now.as_micros())
        .execute(&mut *tx)
        .await
        .map_err(|e| {
            if is_duplicate(&e) {
                UserError::Exists
            } else {
                e.into()
            }
        })?;
        tx.commit().await?;
        Ok(user)
    }

    /// Everybody, by name.
    pub async fn users(&self) -> Result<Vec<User>, StoreError> {
        let rows: Vec<UserRow> =
            sqlx::query_as("SELECT id, name, scope, created FROM users ORDER BY name")
                .fetch_all(&self.reader)
                .await?;
        rows.into_iter().map(user).collect()
    }

    /// The user of that name and the hash of their password.
    pub async fn user_with_password(
        &self,
        name: &str,
    ) -> Result<Option<(User, String)>, StoreError> {
        let row: Option<(String, String, String, i64, String)> =
            sqlx::query_as("SELECT id, name, scope, created, password FROM users WHERE name = ?")
                .bind(name)
                .fetch_optional(&self.reader)
                .await?;
        row.map(|(id, name, scope, created, hash)| Ok((user((id, name, scope, created))?, hash)))
            .transpose()
    }

    /// Sets a password by its hash and ends all tokens made by the old one.
    ///
    /// # Errors
    /// [`UserError::Unknown`].
    pub async fn set_password(&self, name: &str, password: &str) -> Result<(), UserError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("UPDATE users SET password = ? WHERE name = ?")
            .bind(password)
            .bind(name)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Err(UserError::Unknown);
        }
        sqlx::query("DELETE FROM tokens WHERE user = (SELECT id FROM users WHERE name = ?)")
            .bind(name)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Removes a user and their tokens.
    ///
    /// # Errors
    /// [`UserError::Unknown`], [`UserError::LastAdmin`].
    pub async fn remove_user(&self, name: &str) -> Result<(), UserError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM users WHERE name = ?")
            .bind(name)
            .execute(&mut *tx)
            .await?;
        if done.rows_affected() == 0 {
            return Err(UserError::Unknown);
        }
        let (admins,): (i64,) = sqlx::query_as("SELECT count(*) FROM users WHERE scope = 'admin'")
            .fetch_one(&mut *tx)
            .await?;
        if admins == 0 {
            return Err(UserError::LastAdmin);
        }
        tx.commit().await?;
        Ok(())
    }

    /// Keeps a new token of `user` by its digest; forgets tokens that ran out.
    pub async fn add_token(
        &self,
        user: UserId,
        token: &ApiToken,
        digest: &[u8; 32],
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM tokens WHERE expires <= ?")
            .bind(token.created.as_micros())
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO tokens (id, user, name, digest, scope, created, expires) \
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(token.id.to_string())
        .bind(user.to_string())
        .bind(&token.name)
        .bind(&digest[..])
        .bind(token.scope.word())
        .bind(token.created.as_micros())
        .bind(token.expires.as_micros())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// The user whose token has this digest, and the token, if it holds at `now`. The user's own scope bounds it.
    pub async fn user_by_token(
        &self,
        digest: &[u8; 32],
        now: Moment,
    ) -> Result<Option<(User, ApiToken)>, StoreError> {
        let mut tx = self.read().await?;
        let token: Option<(String, String, String, String, i64, i64)> = sqlx::query_as(
            "SELECT user, id, name, scope, created, expires FROM tokens WHERE digest = ? AND expires > ?",
        )
        .bind(&digest[..])
        .bind(now.as_micros())
        .fetch_optional(&mut *tx)
        .await?;
        let Some((owner, id, name, scope, created, expires)) = token else {
            return Ok(None);
        };
        let owner: UserRow =
            sqlx::query_as("SELECT id, name, scope, created FROM users WHERE id = ?")
                .bind(owner)
                .fetch_one(&mut *tx)
                .await?;
        let owner = user(owner)?;
        let mut token = api_token((id, name, scope, created, expires))?;
        token.scope = token.scope.min(owner.scope);
        Ok(Some((owner, token)))
    }

    /// The tokens of `user` that hold at `now`.
    pub async fn tokens(&self, user: UserId, now: Moment) -> Result<Vec<ApiToken>, StoreError> {
        let rows: Vec<TokenRow> = sqlx::query_as(
            "SELECT id, name, scope, created, expires FROM tokens WHERE user = ? AND expires > ? ORDER BY id",
        )
        .bind(user.to_string())
        .bind(now.as_micros())
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter().map(api_token).collect()
    }

    /// Ends a token of `user`; false if they have none of that id.
    pub async fn remove_token(&self, user: UserId, token: Uuid) -> Result<bool, StoreError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM tokens WHERE id = ? AND user = ?")
            .bind(token.to_string())
            .bind(user.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() > 0)
    }

    /// How many wrong codes `user` typed in the last `window`.
    pub async fn code_failures(
        &self,
        user: UserId,
        window: Duration,
        now: Moment,
    ) -> Result<u32, StoreError> {
        let (count,): (i64,) =
            sqlx::query_as("SELECT count(*) FROM code_failures WHERE user = ? AND at > ?")
                .bind(user.to_string())
                .bind(now.minus(window).as_micros())
                .fetch_one(&self.reader)
                .await?;
        super::unsigned(count, "a count of wrong codes")
    }

    /// Notes that `user` typed a wrong code; forgets those older than `window`.
    pub async fn note_code_failure(
        &self,
        user: UserId,
        window: Duration,
        now: Moment,
    ) -> Result<(), StoreError> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM code_failures WHERE at <= ?")
            .bind(now.minus(window).as_micros())
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO code_failures (user, at) VALUES (?, ?)")
            .bind(user.to_string())
            .bind(now.as_micros())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }
}

fn user((id, name, scope, created): UserRow) -> Result<User, StoreError> {
    Ok(User {
        id: parsed(&id, "a user's id")?,
        name,
        scope: parsed(&scope, "a user's scope")?,
        created: Moment::from_micros(created),
    })
}

fn api_token((id, name, scope, created, expires): TokenRow) -> Result<ApiToken, StoreError> {
    Ok(ApiToken {
        id: parsed(&id, "a token's id")?,
        name,
        scope: parsed(&scope, "a token's scope")?,
        created: Moment::from_micros(created),
        expires: Moment::from_micros(expires),
    })
}
