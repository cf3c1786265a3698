//! How the box knows that it talks to its own cloud.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// Whom to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Certificates these authorities vouch for, under the name in the URL.
    Authorities(PathBuf),
    /// Exactly the certificate with this SHA-256.
    Pinned([u8; 32]),
    /// Whatever certificate comes; it is looked at, to be pinned.
    FirstSeen,
}

/// Why no TLS can be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// `[cloud] ca_file` can't be used.
    #[error("{path} holds no PEM certificates of authorities: correct [cloud] ca_file")]
    Authorities {
        /// Which file.
        path: PathBuf,
    },
    /// `[cloud] fingerprint` is not 64 hex digits.
    #[error("{text} is not a SHA-256 fingerprint (64 hex digits): correct [cloud] fingerprint")]
    Fingerprint {
        /// What was given.
        text: String,
    },
    /// rustls says no.
    #[error("TLS can not be set up")]
    Rustls(#[from] rustls::Error),
}

/// The certificate last seen, by its SHA-256.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Option<[u8; 32]>>>);

impl Seen {
    /// The SHA-256 of the last certificate a server showed.
    pub fn last(&self) -> Option<[u8; 32]> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, fingerprint: [u8; 32]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
    }
}

/// Reads a fingerprint as people write it: hex, upper or lower case, colons and blanks allowed.
///
/// # Errors
/// [`TlsError::Fingerprint`].
pub fn parse_fingerprint(text: &str) -> Result<[u8; 32], TlsError> {
    let wrong = || TlsError::Fingerprint {
        text: text.to_owned(),
    };
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !matches!(c, ':' | ' '))
        .map(|c| c.to_digit(16).map(|digit| digit as u8))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let bytes: Vec<u8> = digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[pair.len() - 1])
        .collect();
    if digits.len() == 64 {
        bytes.try_into().map_err(|_| wrong())
    } else {
        Err(wrong())
    }
}

/// TLS for a client that believes `trust`, and remembers what it saw.
///
/// # Errors
/// [`TlsError`].
pub fn config(trust: &Trust, seen: &Seen) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    // Who asks the process for its provider gets this one; a second time changes nothing.
    let _already = CryptoProvider::install_default((*provider).clone());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let pin = match trust {
        Trust::Authorities(path) => {
            return Ok(builder
                .with_root_certificates(authorities(path)?)
                .with_no_client_auth());
        }
        Trust::Pinned(pin) => Some(*pin),
        Trust::FirstSeen => None,
    };
    let verifier = Arc::new(PinVerifier {
        pin,
        seen: seen.clone(),
        provider,
    });
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let none = || TlsError::Authorities {
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

/// Believes one certificate, or the first it sees. The handshake's signature is verified either way:
/// whoever shows the certificate must hold its key.
#[derive(Debug)]
struct PinVerifier {
    pin: Option<[u8; 32]>,
    seen: Seen,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let fingerprint = Sha256::digest(end_entity).into();
        self.seen.set(fingerprint);
        if self.pin.is_some_and(|pin| pin != fingerprint) {
            return Err(rustls::CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_read_as_people_write_them() {
        let plain = "00ff".repeat(16);
        let colons = plain
            .as_bytes()
            .chunks(2)
            .map(|c| std::str::from_utf8(c).unwrap())
            .collect::<Vec<_>>();
        let expected = parse_fingerprint(&plain).unwrap();
        assert_eq!(expected[..2], [0, 0xff]);
        assert_eq!(
            parse_fingerprint(&colons.join(":").to_uppercase()).unwrap(),
            expected
        );
        for bad in [
            "",
            "00",
            &plain[1..],
            &format!("{plain}0"),
            &plain.replace('f', "g"),
        ] {
            assert!(
                matches!(parse_fingerprint(bad), Err(TlsError::Fingerprint { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_file_without_authorities_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        for text in [
            "",
            "nothing",
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
        ] {
            std::fs::write(&path, text).unwrap();
            let outcome = config(&Trust::Authorities(path.clone()), &Seen::default());
            assert!(
                matches!(outcome, Err(TlsError::Authorities { .. })),
                "{text}"
            );
        }
    }
}
