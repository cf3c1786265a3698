//! The boxes that belong to this cloud, and what it wants them to be.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sonde_protocol::device::DesiredSettings;
use sonde_protocol::ids::ApplianceId;
use sonde_protocol::trunk::TrunkConfig;
use utoipa::ToSchema;

use super::{Store, StoreError, from_json, is_duplicate, parsed, unsigned};
use crate::clock::Moment;

/// An appliance as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Appliance {
    /// For programs.
    pub id: ApplianceId,
    /// For people; no two have the same.
    pub name: String,
    /// What is printed on it.
    pub serial: String,
    /// MAC address of its LAN interface.
    pub mac: String,
    /// Version of its software, as of its last poll.
    pub software: String,
    /// Where its last poll came from.
    #[schema(value_type = String)]
    pub source: IpAddr,
    /// Switched off by a person: its requests are refused.
    pub disabled: bool,
    /// When its code was typed.
    pub activated: Moment,
    /// By whom.
    pub activated_by: String,
    /// When it last asked for work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_poll: Option<Moment>,
    /// When it last delivered results: a box that polls but never delivers shows here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_results: Option<Moment>,
    /// Generation of the settings it should have.
    pub settings_generation: u64,
    /// Generation of the settings it has, as of its last poll.
    pub box_generation: u64,
}

/// Whose key it is, on every request of a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The appliance.
    pub id: ApplianceId,
    /// Its name.
    pub name: String,
    /// Switched off by a person.
    pub disabled: bool,
}

/// What a poll told. Kept in memory and written out once a minute: polls are many, and the database has better
/// things to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presence {
    /// When.
    pub last_poll: Moment,
    /// From where.
    pub source: IpAddr,
    /// Version of its software.
    pub software: String,
    /// Generation of the settings it has.
    pub generation: u64,
}

/// Why an appliance was not changed.
#[derive(Debug, thiserror::Error)]
pub enum ApplianceError {
    /// There is none.
    #[error("there is no such appliance")]
    Unknown,
    /// Another one has the name.
    #[error("another appliance has this name")]
    NameTaken,
    /// The database's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ApplianceError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The columns of [`Row`], in its order.
const COLUMNS: &str = "id, name, serial, mac, software, source, disabled, activated, activated_by, last_poll, \
                       last_results, generation, box_generation";

type Row = (
    String,
    String,
    String,
    String,
    String,
    String,
    bool,
    i64,
    String,
    Option<i64>,
    Option<i64>,
    i64,
    i64,
);

impl Store {
    /// The appliance that has this key.
    pub async fn appliance_by_key(&self, key: &[u8; 32]) -> Result<Option<Device>, StoreError> {
        let row: Option<(String, String, bool)> =
            sqlx::query_as("SELECT id, name, disabled FROM appliances WHERE public_key = ?")
                .bind(&key[..])
                .fetch_optional(&self.reader)
                .await?;
        row.map(|(id, name, disabled)| {
            Ok(Device {
                id: parsed(&id, "an appliance's id")?,
                name,
                disabled,
            })
        })
        .transpose()
    }

    /// All appliances, by name.
    pub async fn appliances(&self) -> Result<Vec<Appliance>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM appliances ORDER BY name"
        )))
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter().map(appliance).collect()
    }

    /// One appliance.
    ///
    /// # Errors
    /// [`ApplianceError::Unknown`].
    pub async fn appliance(&self, id: ApplianceId) -> Result<Appliance, ApplianceError> {
        let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
            "SELECT {COLUMNS} FROM appliances WHERE id = ?"
        )))
        .bind(id.to_string())
        .fetch_optional(&self.reader)
        .await?;
        Ok(appliance(row.ok_or(ApplianceError::Unknown)?)?)
    }

    /// Renames an appliance, switches it off or on. A new name is a new generation of its settings.
    ///
    /// # Errors
    /// [`ApplianceError::Unknown`], [`ApplianceError::NameTaken`].
    pub async fn change_appliance(
        &self,
        id: ApplianceId,
        name: Option<&str>,
        disabled: Option<bool>,
    ) -> Result<(), ApplianceError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "UPDATE appliances SET generation = generation + (?2 IS NOT NULL AND ?2 <> name), \
             name = coalesce(?2, name), disabled = coalesce(?3, disabled) WHERE id = ?1",
        )
        .bind(id.to_string())
        .bind(name)
        .bind(disabled)
        .execute(&mut *tx)
        .await
        .map_err(|e| {
            if is_duplicate(&e) {
                ApplianceError::NameTaken
            } else {
                e.into()
            }
        })?;
        if done.rows_affected() == 0 {
            return Err(ApplianceError::Unknown);
        }
        tx.commit().await?;
        Ok(())
    }

    /// What the cloud wants the appliance to be.
    ///
    /// # Errors
    /// [`ApplianceError::Unknown`].
    pub async fn settings(&self, id: ApplianceId) -> Result<DesiredSettings, ApplianceError> {
        let mut tx = self.read().await?;
        settings(&mut tx, id).await?.ok_or(ApplianceError::Unknown)
    }

    /// Wants another trunk: a new generation, unless it is the one wanted already.
    ///
    /// # Errors
    /// [`ApplianceError::Unknown`].
    pub async fn set_trunk(
        &self,
        id: ApplianceId,
        trunk: &TrunkConfig,
    ) -> Result<DesiredSettings, ApplianceError> {
        let mut tx = self.write().await?;
        let current = settings(&mut tx, id)
            .await?
            .ok_or(ApplianceError::Unknown)?;
        if current.trunk == *trunk {
            return Ok(current);
        }
        sqlx::query("UPDATE appliances SET trunk = ?, generation = generation + 1 WHERE id = ?")
            .bind(serde_json::to_string(trunk).expect("a trunk is strings and numbers"))
            .bind(id.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(DesiredSettings {
            generation: current.generation + 1,
            trunk: trunk.clone(),
            name: current.name,
        })
    }

    /// Writes out what polls told. A box with newer settings than the cloud knows — the database is from a backup —
    /// moves the cloud's generation past its own, so that it takes the cloud's settings again.
    pub async fn note_presence(&self, seen: &[(ApplianceId, Presence)]) -> Result<(), StoreError> {
        if seen.is_empty() {
            return Ok(());
        }
        let mut tx = self.write().await?;
        for (id, presence) in seen {
            let generation = i64::try_from(presence.generation).unwrap_or(i64::MAX - 1);
            sqlx::query(
                "UPDATE appliances SET last_poll = ?2, source = ?3, software = ?4, box_generation = ?5, \
                 generation = CASE WHEN ?5 > generation THEN ?5 + 1 ELSE generation END WHERE id = ?1",
            )
            .bind(id.to_string())
            .bind(presence.last_poll.as_micros())
            .bind(presence.source.to_string())
            .bind(&presence.software)
            .bind(generation)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }
}

/// The settings wanted of an appliance, in a transaction under way.
pub(super) async fn settings(
    tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    id: ApplianceId,
) -> Result<Option<DesiredSettings>, StoreError> {
    let row: Option<(i64, String, String)> =
        sqlx::query_as("SELECT generation, name, trunk FROM appliances WHERE id = ?")
            .bind(id.to_string())
            .fetch_optional(&mut **tx)
            .await?;
    row.map(|(generation, name, trunk)| {
        Ok(DesiredSettings {
            generation: unsigned(generation, "a generation")?,
            name,
            trunk: from_json(&trunk, "a trunk")?,
        })
    })
    .transpose()
}

fn appliance(row: Row) -> Result<Appliance, StoreError> {
    let (id, name, serial, mac, software, source, disabled, activated, activated_by, ..) = row;
    Ok(Appliance {
        id: parsed(&id, "an appliance's id")?,
        name,
        serial,
        mac,
        software,
        source: parsed(&source, "a source address")?,
        disabled,
        activated: Moment::from_micros(activated),
        activated_by,
        last_poll: row.9.map(Moment::from_micros),
        last_results: row.10.map(Moment::from_micros),
        settings_generation: unsigned(row.11, "a generation")?,
        box_generation: unsigned(row.12, "a generation")?,
    })
}
