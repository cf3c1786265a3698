//! Boxes that ask to belong to this cloud, until a manager types the code they show.

use std::net::IpAddr;
use std::time::Duration;

use sonde_protocol::activation::{ALPHABET, CODE_LENGTH, CODE_VALID_S};
use sonde_protocol::ids::ApplianceId;

use super::{Store, StoreError, is_duplicate, parsed};
use crate::clock::Moment;

/// What a box says of itself when it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Its Ed25519 public key.
    pub public_key: [u8; 32],
    /// What is printed on it.
    pub serial: String,
    /// MAC address of its LAN interface.
    pub mac: String,
    /// Version of its software.
    pub software: String,
    /// It trusts the cloud by a pinned certificate.
    pub pinned: bool,
    /// Where its request came from.
    pub source: IpAddr,
}

/// How many boxes may wait for a person at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnrolLimits {
    /// In all.
    pub pending_max: u32,
    /// From one address.
    pub pending_per_source_max: u32,
}

/// The code to show, or that there is nothing to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolOutcome {
    /// The code.
    pub code: String,
    /// For how long.
    pub valid: Duration,
}

/// Why a box got no code.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Too many boxes wait already.
    #[error(
        "too many boxes wait for their activation: type their codes, or wait until they run out"
    )]
    Busy,
    /// The database's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for EnrolError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A box that waits for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingBox {
    /// What it said of itself.
    pub enrolment: Enrolment,
    /// When its code ends.
    pub expires: Moment,
}

/// Why a code activates nothing.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// No box shows it.
    #[error("no box shows this code")]
    Unknown,
    /// It did its work.
    #[error("this code was used")]
    Used,
    /// It ran out.
    #[error("this code has run out")]
    Expired,
    /// Another appliance has the name.
    #[error("another appliance has this name")]
    NameTaken,
    /// The database's own.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ActivateError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Used and expired codes are remembered this long, to tell a person what became of theirs.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// A code with less time left is made anew: nobody could type it in time.
const WORTH_SHOWING: Duration = Duration::from_secs(5 * 60);

type PendingRow = (
    Vec<u8>,
    String,
    String,
    String,
    bool,
    String,
    i64,
    Option<i64>,
);

impl Store {
    /// A code for a box. Asked again, it is the same code while that is worth showing, unless the box now says other
    /// things of itself. `random` makes the new code.
    ///
    /// # Errors
    /// [`EnrolError::Busy`] when too many wait.
    pub async fn enrol(
        &self,
        enrolment: &Enrolment,
        limits: EnrolLimits,
        random: &[u8; CODE_LENGTH],
        now: Moment,
    ) -> Result<EnrolOutcome, EnrolError> {
        let mut tx = self.write().await?;
        sqlx::query("DELETE FROM enrolments WHERE expires <= ?")
            .bind(now.minus(REMEMBERED).as_micros())
            .execute(&mut *tx)
            .await?;
        let known: Option<(String, String, String, bool, i64, Option<i64>)> = sqlx::query_as(
            "SELECT code, serial, mac, pinned, expires, used FROM enrolments WHERE public_key = ?",
        )
        .bind(&enrolment.public_key[..])
        .fetch_optional(&mut *tx)
        .await?;
        if let Some((code, serial, mac, pinned, expires, None)) = known {
            let left = Moment::from_micros(expires).since(now);
            let same =
                (&serial, &mac, pinned) == (&enrolment.serial, &enrolment.mac, enrolment.pinned);
            if same && left >= WORTH_SHOWING {
                return Ok(EnrolOutcome { code, valid: left });
            }
        }
        let (all, from_source): (i64, i64) = sqlx::query_as(
            "SELECT count(*), coalesce(sum(source = ?1), 0) FROM enrolments \
             WHERE expires > ?2 AND used IS NULL AND public_key <> ?3",
        )
        .bind(enrolment.source.to_string())
        .bind(now.as_micros())
        .bind(&enrolment.public_key[..])
        .fetch_one(&mut *tx)
        .await?;
        if all >= i64::from(limits.pending_max)
            || from_source >= i64::from(limits.pending_per_source_max)
        {
            return Err(EnrolError::Busy);
        }
        let valid = Duration::from_secs(CODE_VALID_S);
        let code = code_from(random);
        sqlx::query(
            "INSERT OR REPLACE INTO enrolments \
             (public_key, code, serial, mac, software, pinned, source, expires) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&enrolment.public_key[..])
        .bind(&code)
        .bind(&enrolment.serial)
        .bind(&enrolment.mac)
        .bind(&enrolment.software)
        .bind(enrolment.pinned)
        .bind(enrolment.source.to_string())
        .bind(now.plus(valid).as_micros())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(EnrolOutcome { code, valid })
    }

    /// True if this key waits for a person now.
    pub async fn is_pending(&self, key: &[u8; 32], now: Moment) -> Result<bool, StoreError> {
        let (count,): (i64,) = sqlx::query_as(
            "SELECT count(*) FROM enrolments WHERE public_key = ? AND expires > ? AND used IS NULL",
        )
        .bind(&key[..])
        .bind(now.as_micros())
        .fetch_one(&self.reader)
        .await?;
        Ok(count > 0)
    }

    /// The box that shows `code` (normalized).
    ///
    /// # Errors
    /// [`ActivateError::Unknown`], [`ActivateError::Used`], [`ActivateError::Expired`].
    pub async fn pending_box(&self, code: &str, now: Moment) -> Result<PendingBox, ActivateError> {
        let mut tx = self.read().await?;
        pending(&mut tx, code, now).await
    }

    /// Makes the box that shows `code` an appliance of this cloud, and the code used.
    ///
    /// # Errors
    /// As [`Store::pending_box`], and [`ActivateError::NameTaken`].
    pub async fn activate(
        &self,
        code: &str,
        name: &str,
        by: &str,
        now: Moment,
    ) -> Result<ApplianceId, ActivateError> {
        let mut tx = self.write().await?;
        let PendingBox { enrolment, .. } = pending(&mut tx, code, now).await?;
        let appliance = ApplianceId::generate();
        sqlx::query(
            "INSERT INTO appliances \
             (id, public_key, name, serial, mac, software, source, activated, activated_by) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(appliance.to_string())
        .bind(&enrolment.public_key[..])
        .bind(name)
        .bind(&enrolment.serial)
        .bind(&enrolment.mac)
        .bind(&enrolment.software)
        .bind(enrolment.source.to_string())
        .bind(now.as_micros())
        .bind(by)
        .execute(&mut *tx)
        .await
        .map_err(|e| {
            if is_duplicate(&e) {
                ActivateError::NameTaken
            } else {
                e.into()
            }
        })?;
        sqlx::query("UPDATE enrolments SET used = ? WHERE code = ?")
            .bind(now.as_micros())
            .bind(code)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(appliance)
    }
}

async fn pending(
    tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>,
    code: &str,
    now: Moment,
) -> Result<PendingBox, ActivateError> {
    let row: Option<PendingRow> = sqlx::query_as(
        "SELECT public_key, serial, mac, software, pinned, source, expires, used \
         FROM enrolments WHERE code = ?",
    )
    .bind(code)
    .fetch_optional(&mut **tx)
    .await?;
    let (key, serial, mac, software, pinned, source, expires, used) =
        row.ok_or(ActivateError::Unknown)?;
    if used.is_some() {
        return Err(ActivateError::Used);
    }
    let expires = Moment::from_micros(expires);
    if expires <= now {
        return Err(ActivateError::Expired);
    }
    let public_key = key.try_into().map_err(|_| StoreError::Unreadable {
        what: "a public key",
    })?;
    let source = parsed(&source, "a source address")?;
    Ok(PendingBox {
        enrolment: Enrolment {
            public_key,
            serial,
            mac,
            software,
            pinned,
            source,
        },
        expires,
    })
}

/// Letters of a code from random bytes. 256 is not a multiple of 20: the first 16 letters come up 13 times in 256
/// and the last four 12 times, which costs less than 0.01 bit a letter.
pub(crate) fn code_from(random: &[u8; CODE_LENGTH]) -> String {
    random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: EnrolLimits = EnrolLimits {
        pending_max: 3,
        pending_per_source_max: 2,
    };
    const START: Moment = Moment::from_micros(1_800_000_000_000_000);

    fn a_box(n: u8, source: &str) -> Enrolment {
        Enrolment {
            public_key: [n; 32],
            serial: format!("S{n}"),
            mac: "02:00:00:00:00:01".into(),
            software: "0.1.0".into(),
            pinned: true,
            source: source.parse().unwrap(),
        }
    }

    async fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cloud.db")).await.unwrap();
        (dir, store)
    }

    #[test]
    fn every_random_byte_makes_a_letter() {
        for byte in 0..=255 {
            let code = code_from(&[byte; CODE_LENGTH]);
            assert_eq!(code.len(), CODE_LENGTH);
            assert!(code.bytes().all(|letter| ALPHABET.contains(&letter)));
        }
    }

    #[tokio::test]
    async fn asked_again_a_box_shows_the_same_code_until_it_is_nearly_over() {
        let (_dir, store) = store().await;
        let one = a_box(1, "192.0.2.1");
        let first = store.enrol(&one, LIMITS, &[0; 10], START).await.unwrap();
        let later = START.plus(Duration::from_secs(60));
        let again = store.enrol(&one, LIMITS, &[1; 10], later).await.unwrap();
        assert_eq!(again.code, first.code);
        assert_eq!(again.valid, Duration::from_secs(CODE_VALID_S - 60));
        let late = START.plus(Duration::from_secs(CODE_VALID_S - 60));
        assert_ne!(
            store
                .enrol(&one, LIMITS, &[1; 10], late)
                .await
                .unwrap()
                .code,
            first.code
        );
    }

    #[tokio::test]
    async fn the_number_of_waiting_boxes_is_bounded() {
        let (_dir, store) = store().await;
        for (n, source) in [(1, "192.0.2.1"), (2, "192.0.2.1")] {
            store
                .enrol(&a_box(n, source), LIMITS, &[n; 10], START)
                .await
                .unwrap();
        }
        let busy = store
            .enrol(&a_box(3, "192.0.2.1"), LIMITS, &[3; 10], START)
            .await;
        assert!(
            matches!(busy, Err(EnrolError::Busy)),
            "two from one address are enough"
        );
        store
            .enrol(&a_box(4, "192.0.2.2"), LIMITS, &[4; 10], START)
            .await
            .unwrap();
        let busy = store
            .enrol(&a_box(5, "192.0.2.3"), LIMITS, &[5; 10], START)
            .await;
        assert!(
            matches!(busy, Err(EnrolError::Busy)),
            "three in all are enough"
        );
        let later = START.plus(Duration::from_secs(CODE_VALID_S));
        store
            .enrol(&a_box(5, "192.0.2.3"), LIMITS, &[5; 10], later)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_code_works_once_and_in_time() {
        let (_dir, store) = store().await;
        let one = store
            .enrol(&a_box(1, "192.0.2.1"), LIMITS, &[1; 10], START)
            .await
            .unwrap()
            .code;
        let two = store
            .enrol(&a_box(2, "192.0.2.2"), LIMITS, &[2; 10], START)
            .await
            .unwrap()
            .code;
        store.activate(&one, "north", "ann", START).await.unwrap();
        let used = store.activate(&one, "south", "ann", START).await;
        assert!(matches!(used, Err(ActivateError::Used)));
        let taken = store.activate(&two, "north", "ann", START).await;
        assert!(matches!(taken, Err(ActivateError::NameTaken)));
        let unknown = store.activate("BBBBBBBBBZ", "x", "ann", START).await;
        assert!(matches!(unknown, Err(ActivateError::Unknown)));
        let late = START.plus(Duration::from_secs(CODE_VALID_S));
        let expired = store.activate(&two, "south", "ann", late).await;
        assert!(matches!(expired, Err(ActivateError::Expired)));
    }
}
