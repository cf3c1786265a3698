//! The form of the database, as numbered steps: each is applied once, in order, in a transaction of its own, and
//! never edited afterwards (its digest is checked).

use std::borrow::Cow;

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqlitePool;

const STEPS: &[(i64, &str, &str)] =
    &[(1, "house", include_str!("../../migrations/0001_house.sql"))];

/// Applies the steps that are missing.
pub(super) async fn bring_up_to_date(database: &SqlitePool) -> Result<(), MigrateError> {
    let steps = STEPS
        .iter()
        .map(|&(version, name, sql)| {
            Migration::new(
                version,
                Cow::Borrowed(name),
                MigrationType::Simple,
                sql.into_sql_str(),
                false,
            )
        })
        .collect();
    Migrator::with_migrations(steps).run(database).await
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::{Store, StoreError};

    #[tokio::test]
    async fn a_database_is_made_from_nothing_and_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.db");
        for _ in 0..2 {
            let store = Store::open(&path).await.unwrap();
            let (mode,): (String,) = sqlx::query_as("PRAGMA journal_mode")
                .fetch_one(&store.writer)
                .await
                .unwrap();
            assert_eq!(mode, "wal");
            let (synchronous,): (i64,) = sqlx::query_as("PRAGMA synchronous")
                .fetch_one(&store.writer)
                .await
                .unwrap();
            assert_eq!(synchronous, 2, "every commit is synced");
            for file in std::fs::read_dir(dir.path()).unwrap() {
                let file = file.unwrap();
                let mode = file.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{:?} is its owner's alone", file.path());
            }
            store.close().await;
        }
    }

    #[tokio::test]
    async fn readers_can_not_write() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.db")).await.unwrap();
        assert!(
            sqlx::query("DELETE FROM users")
                .execute(&store.reader)
                .await
                .is_err()
        );
    }

    #[tokio::test]
    async fn a_database_of_a_later_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cloud.db");
        let store = Store::open(&path).await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', 1, x'00', 0)",
        )
        .execute(&store.writer)
        .await
        .unwrap();
        store.close().await;
        assert!(matches!(
            Store::open(&path).await,
            Err(StoreError::Migrate { .. })
        ));
    }
}
