//! The box's key: made here at the first start, never leaving, never printed.

use std::path::Path;

use ed25519_dalek::{SigningKey, VerifyingKey};
use rand::Rng as _;
use sonde_protocol::token::{self, Claims};

use crate::store::{self, StoreError};

/// The box's Ed25519 key. It can sign tokens and tell its public half; it has no `Debug`, no
/// `Display` and no way out.
pub struct Identity {
    key: SigningKey,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file is there, but is not 32 bytes.
    #[error(
        "{path} holds {bytes} bytes, a key has 32: restore it, or move it away and activate this box anew"
    )]
    Malformed {
        /// Which file.
        path: std::path::PathBuf,
        /// Its length.
        bytes: usize,
    },
}

impl Identity {
    /// Reads the key at `path`, making one if there is none.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn load_or_make(path: &Path) -> Result<Self, IdentityError> {
        if let Some(bytes) = store::read(path)? {
            let secret: [u8; 32] =
                bytes
                    .as_slice()
                    .try_into()
                    .map_err(|_| IdentityError::Malformed {
                        path: path.to_owned(),
                        bytes: bytes.len(),
                    })?;
            return Ok(Self {
                key: SigningKey::from_bytes(&secret),
            });
        }
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        store::write(path, &secret)?;
        Ok(Self {
            key: SigningKey::from_bytes(&secret),
        })
    }

    /// The public half.
    pub fn public(&self) -> VerifyingKey {
        self.key.verifying_key()
    }

    /// A token for one request; see [`Claims::new`].
    pub fn token(&self, audience: String, now_unix: i64, body: Option<&[u8]>) -> String {
        let mut nonce = [0; 16];
        rand::rng().fill_bytes(&mut nonce);
        token::sign(
            &self.key,
            &Claims::new(&self.public(), audience, now_unix, &nonce, body),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let made = Identity::load_or_make(&path).unwrap().public();
        let identity = Identity::load_or_make(&path).unwrap();
        assert_eq!(identity.public(), made);
        let token = identity.token(token::audience("GET", "/x"), 1000, None);
        assert_eq!(
            token::verify(&token, 1000, "sonde-cloud GET /x", None)
                .unwrap()
                .key,
            made
        );
        let again = identity.token(token::audience("GET", "/x"), 1000, None);
        assert_ne!(token, again, "each token is taken once");
    }

    #[test]
    fn half_a_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, [1; 31]).unwrap();
        let error = Identity::load_or_make(&path).err().unwrap();
        assert!(matches!(error, IdentityError::Malformed { bytes: 31, .. }));
    }
}
