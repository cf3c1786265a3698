//! From whom to believe to a TLS configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::verifier::{PinVerifier, Seen};

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Certificates that the authorities in this PEM file vouch for, under the name in the URL.
    Authorities(PathBuf),
    /// Exactly the certificate with this SHA-256.
    Pinned([u8; 32]),
    /// Whatever certificate comes; it is looked at, to be pinned.
    FirstSeen,
}

/// Why no TLS can be set up.
#[derive(Debug, thiserror::Error)]
pub enum PinningError {
    /// The file of authorities can't be used.
    #[error("{path} holds no PEM certificates of authorities")]
    Authorities {
        /// Which file.
        path: PathBuf,
    },
    /// rustls says no.
    #[error("TLS can not be set up")]
    Rustls(#[from] rustls::Error),
}

/// TLS for a client that believes `trust`, and tells `seen` what it was shown ([`Trust::Authorities`] apart: there
/// is nothing to pin). It offers no application protocol; who wants HTTP/2 adds it.
///
/// # Errors
/// [`PinningError`].
pub fn client_config(trust: &Trust, seen: &Seen) -> Result<ClientConfig, PinningError> {
    install_provider();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let pin = match trust {
        Trust::Authorities(path) => {
            return Ok(builder
                .with_root_certificates(authorities(path)?)
                .with_no_client_auth());
        }
        Trust::Pinned(pin) => Some(*pin),
        Trust::FirstSeen => None,
    };
    let verifier = PinVerifier {
        pin,
        seen: seen.clone(),
        algorithms,
    };
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth())
}

/// Makes ring the process's one source of TLS cryptography; harmless when called again.
pub fn install_provider() {
    // An error says that a provider is installed already: ring is the only one in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn authorities(path: &Path) -> Result<RootCertStore, PinningError> {
    let none = || PinningError::Authorities {
        path: path.to_owned(),
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|_| none())? {
        roots
            .add(certificate.map_err(|_| none())?)
            .map_err(|_| none())?;
    }
    if roots.is_empty() {
        Err(none())
    } else {
        Ok(roots)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_authorities_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let refused = || {
            let outcome = client_config(&Trust::Authorities(path.clone()), &Seen::default());
            matches!(outcome, Err(PinningError::Authorities { path: named }) if named == path)
        };
        assert!(refused(), "there is no file");
        for text in [
            "",
            "nothing",
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(refused(), "{text}");
        }
    }
}
