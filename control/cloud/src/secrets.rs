//! Passwords and tokens: made from the system's randomness, kept as hashes only.

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use sha2::{Digest as _, Sha256};
use sonde_protocol::activation::ALPHABET;
use tokio::sync::Semaphore;

/// Starts every API token, so that people and searches for leaked secrets see what it is.
pub const TOKEN_PREFIX: &str = "sonde_";

/// Shortest password accepted, in bytes.
pub const PASSWORD_MIN: usize = 8;
/// Longest password accepted, in bytes.
pub const PASSWORD_MAX: usize = 512;

/// Hashes computed at a time: each takes 19 MiB and a core for some 20 ms (argon2id, m = 19 MiB, t = 2, p = 1).
static HASHERS: Semaphore = Semaphore::const_new(2);

/// A secret could not be made or checked. Never says anything of the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Too short or too long.
    #[error("a password has {PASSWORD_MIN} to {PASSWORD_MAX} bytes")]
    Length,
    /// The hash could not be computed or is not one.
    #[error("the password could not be hashed")]
    Hash,
}

/// The argon2id hash of a password, as a PHC string.
///
/// # Errors
/// [`SecretError`].
pub async fn hash_password(password: &str) -> Result<String, SecretError> {
    if !(PASSWORD_MIN..=PASSWORD_MAX).contains(&password.len()) {
        return Err(SecretError::Length);
    }
    let password = password.to_owned();
    on_a_hasher(move || {
        let hash: PasswordHash = Argon2::default()
            .hash_password(password.as_bytes())
            .map_err(|_| SecretError::Hash)?;
        Ok(hash.to_string())
    })
    .await
}

/// True if `password` is the one that was hashed. Without a hash (no such user) it takes the same time and is false.
///
/// # Errors
/// [`SecretError::Hash`] if the stored hash is not one.
pub async fn check_password(password: &str, hash: Option<&str>) -> Result<bool, SecretError> {
    if password.len() > PASSWORD_MAX {
        return Ok(false);
    }
    let password = password.to_owned();
    let hash = hash.map(str::to_owned);
    on_a_hasher(move || {
        let Some(hash) = hash else {
            let _: Result<PasswordHash, _> =
                Argon2::default().hash_password_with_salt(password.as_bytes(), &[0; 16]);
            return Ok(false);
        };
        let hash = PasswordHash::new(&hash).map_err(|_| SecretError::Hash)?;
        Ok(Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok())
    })
    .await
}

/// A new password for a person to type: five groups of four letters, 86 bits.
pub fn new_password() -> String {
    let random: [u8; 20] = rand::random();
    let letters: String = random
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]).to_ascii_lowercase())
        .collect();
    letters
        .as_bytes()
        .chunks(4)
        .map(String::from_utf8_lossy)
        .collect::<Vec<_>>()
        .join("-")
}

/// A new API token, 256 bits, and the digest to keep.
pub fn new_token() -> (String, [u8; 32]) {
    let random: [u8; 32] = rand::random();
    let token = format!("{TOKEN_PREFIX}{}", BASE64URL.encode(random));
    let digest = token_digest(&token);
    (token, digest)
}

/// What is kept of a token. A fast hash is enough: there is nothing to guess in 256 random bits, and looking a token
/// up by its digest tells nothing about the token by its timing.
pub fn token_digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

async fn on_a_hasher<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SecretError> + Send + 'static,
) -> Result<T, SecretError> {
    let _turn = HASHERS.acquire().await.map_err(|_| SecretError::Hash)?;
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| SecretError::Hash)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_its_own_hash_only() {
        let hash = hash_password("correct horse").await.unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert!(check_password("correct horse", Some(&hash)).await.unwrap());
        assert!(!check_password("correct horsf", Some(&hash)).await.unwrap());
        assert!(!check_password("correct horse", None).await.unwrap());
        assert!(matches!(
            check_password("x", Some("plain")).await,
            Err(SecretError::Hash)
        ));
    }

    #[tokio::test]
    async fn lengths_are_bounded() {
        assert!(matches!(
            hash_password("1234567").await,
            Err(SecretError::Length)
        ));
        assert!(matches!(
            hash_password(&"x".repeat(513)).await,
            Err(SecretError::Length)
        ));
        assert!(!check_password(&"x".repeat(1 << 20), None).await.unwrap());
    }

    #[test]
    fn new_secrets_have_their_form_and_differ() {
        let password = new_password();
        assert_eq!(password.len(), 24);
        assert!(password.split('-').all(|group| group.len() == 4));
        assert_ne!(password, new_password());
        let (token, digest) = new_token();
        assert_eq!(token.len(), TOKEN_PREFIX.len() + 43);
        assert_eq!(digest, token_digest(&token));
        assert_ne!(token, new_token().0);
    }
}
