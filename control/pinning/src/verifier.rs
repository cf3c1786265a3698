//! Believes one certificate, or the first it sees.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// The certificate last shown, by its SHA-256. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Seen(Arc<Mutex<Option<[u8; 32]>>>);

impl Seen {
    /// The SHA-256 of the last certificate a server showed to a client that pins, or is about to.
    pub fn last(&self) -> Option<[u8; 32]> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, fingerprint: [u8; 32]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint);
    }
}

/// Another certificate than the pinned one was shown; inside the TLS error, [`PinMismatch::of`] finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate is not the one pinned")]
pub struct PinMismatch {
    /// SHA-256 of the one shown.
    pub seen: [u8; 32],
}

impl PinMismatch {
    /// The mismatch that made a handshake fail, if one did.
    pub fn of(error: &rustls::Error) -> Option<Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                other.0.downcast_ref().copied()
            }
            _ => None,
        }
    }
}

/// Takes the pinned certificate alone, or any without a pin. The handshake's signature is verified either way:
/// whoever shows a certificate must hold its key.
#[derive(Debug)]
pub(crate) struct PinVerifier {
    /// SHA-256 of the one to believe.
    pub(crate) pin: Option<[u8; 32]>,
    /// Told of every certificate shown.
    pub(crate) seen: Seen,
    /// What signatures are verified with.
    pub(crate) algorithms: WebPkiSupportedAlgorithms,
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
        let seen = Sha256::digest(end_entity).into();
        self.seen.set(seen);
        if self.pin.is_some_and(|pin| pin != seen) {
            let mismatch = OtherError(Arc::new(PinMismatch { seen }));
            return Err(CertificateError::Other(mismatch).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &[u8] = b"any bytes: what is in a certificate is not looked at";

    fn show(pin: Option<[u8; 32]>) -> (Result<ServerCertVerified, rustls::Error>, Seen) {
        let verifier = PinVerifier {
            pin,
            seen: Seen::default(),
            algorithms: rustls::crypto::ring::default_provider().signature_verification_algorithms,
        };
        let name = ServerName::try_from("cloud.example.org").unwrap();
        let now = UnixTime::since_unix_epoch(std::time::Duration::ZERO);
        let outcome = verifier.verify_server_cert(&SHOWN.into(), &[], &name, &[], now);
        (outcome, verifier.seen)
    }

    #[test]
    fn without_a_pin_any_certificate_is_believed_and_seen() {
        let (outcome, seen) = show(None);
        assert!(outcome.is_ok());
        assert_eq!(seen.last(), Some(Sha256::digest(SHOWN).into()));
    }

    #[test]
    fn with_a_pin_that_certificate_alone_is_believed() {
        let shown: [u8; 32] = Sha256::digest(SHOWN).into();
        assert!(show(Some(shown)).0.is_ok());
        // One bit off, wherever it is.
        for bit in 0..256 {
            let mut pin = shown;
            pin[bit / 8] ^= 1 << (bit % 8);
            let (outcome, seen) = show(Some(pin));
            let mismatch = PinMismatch::of(&outcome.unwrap_err());
            assert_eq!(mismatch, Some(PinMismatch { seen: shown }));
            assert_eq!(seen.last(), Some(shown));
        }
    }

    #[test]
    fn other_failures_are_no_mismatch() {
        for error in [
            rustls::Error::InvalidCertificate(CertificateError::Expired),
            rustls::Error::DecryptError,
        ] {
            assert_eq!(PinMismatch::of(&error), None);
        }
    }
}
