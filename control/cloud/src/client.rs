//! A client of the cloud: HTTPS that trusts either the machine's authorities or one pinned certificate, and the user API
//! over it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use sonde_protocol::token::hex;

use crate::api::Problem;
use crate::tls::install_provider;

/// The cloud could not be asked, or said no. Each is one sentence for people.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Not an address.
    #[error("'{url}' is not the address of a cloud: write https://HOST:PORT")]
    Url {
        /// What was written.
        url: String,
    },
    /// Nobody there.
    #[error(
        "the cloud at {url} can not be reached: check the address, and that `sonde cloud serve` runs there"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: Innermost,
    },
    /// Another certificate than the one pinned.
    #[error(
        "the cloud at {url} shows the certificate {seen} and not the one pinned: if it was changed on purpose, compare \
         it with what `sonde cloud serve` printed and log in with --fingerprint again"
    )]
    Certificate {
        /// Where.
        url: String,
        /// SHA-256 of what it shows.
        seen: String,
    },
    /// A certificate nobody vouches for.
    #[error(
        "the cloud at {url} shows a certificate that no authority known here vouches for: log in with --fingerprint and \
         the SHA-256 that `sonde cloud serve` printed"
    )]
    Untrusted {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: Innermost,
    },
    /// The cloud said no; its words.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Why and what to do.
        message: String,
    },
    /// Something else answered.
    #[error("what answers at {url} is not a Sonde cloud: check the address")]
    Strange {
        /// Where.
        url: String,
    },
    /// The connection broke in the middle of an answer.
    #[error("the answer of {url} was cut off: ask again")]
    Cut {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: Innermost,
    },
    /// No client could be made.
    #[error("this machine can not make TLS connections")]
    Tls(#[source] reqwest::Error),
}

/// A request's error, told by its innermost cause: what lies around that says only that a request failed.
#[derive(Debug)]
pub struct Innermost(reqwest::Error);

impl std::fmt::Display for Innermost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut innermost: &dyn std::error::Error = &self.0;
        while let Some(cause) = innermost.source() {
            innermost = cause;
        }
        write!(f, "{innermost}")
    }
}

impl std::error::Error for Innermost {}

/// The user API of one cloud.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    token: Option<String>,
}

/// Reaching a cloud takes this long or fails.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);
/// A cloud that says nothing for so long is gone; above the longest held poll.
const SILENCE_MAX: Duration = Duration::from_secs(75);

impl Client {
    /// A client of the cloud at `url`, trusting the certificate with the SHA-256 `pinned` and no other, or without it
    /// the machine's authorities.
    ///
    /// # Errors
    /// [`ClientError::Url`], [`ClientError::Tls`].
    pub fn new(url: &str, pinned: Option<[u8; 32]>) -> Result<Self, ClientError> {
        Ok(Self {
            http: http(pinned)?,
            url: checked_url(url)?,
            token: None,
        })
    }

    /// The same, sending this API token.
    pub fn with_token(self, token: String) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }

    /// The address of the cloud, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.answer(self.ask(Method::GET, path, None::<&()>).await?)
            .await
    }

    /// Sends `body` and reads the answer.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        self.answer(self.ask(method, path, Some(body)).await?).await
    }

    /// Asks for something to be done that answers nothing.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn act(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<(), ClientError> {
        self.ask(method, path, body).await.map(drop)
    }

    /// Asks for something long: the answer is read piece by piece with [`Response::chunk`].
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn stream(&self, path: &str) -> Result<Response, ClientError> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    /// The connection broke while a stream was read.
    pub fn cut(&self, source: reqwest::Error) -> ClientError {
        cut(&self.url, source)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response, ClientError> {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| explained(&self.url, error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let problem: Problem = response.json().await.map_err(|_| ClientError::Strange {
            url: self.url.clone(),
        })?;
        Err(ClientError::Refused {
            status: status.as_u16(),
            message: problem.message,
        })
    }

    async fn answer<T: DeserializeOwned>(&self, response: Response) -> Result<T, ClientError> {
        let body = response.bytes().await.map_err(|error| self.cut(error))?;
        serde_json::from_slice(&body).map_err(|_| ClientError::Strange {
            url: self.url.clone(),
        })
    }
}

impl ClientError {
    /// True if the cloud does not know the token, or not any more.
    pub fn is_logged_out(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::UNAUTHORIZED.as_u16())
    }
}

/// HTTPS that trusts the certificate with the SHA-256 `pinned` and no other, or without it the machine's authorities.
///
/// # Errors
/// [`ClientError::Tls`].
pub fn http(pinned: Option<[u8; 32]>) -> Result<reqwest::Client, ClientError> {
    install_provider();
    let mut builder = reqwest::Client::builder()
        .https_only(true)
        .connect_timeout(CONNECT_TIME_MAX)
        .read_timeout(SILENCE_MAX)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(fingerprint) = pinned {
        builder = builder.tls_backend_preconfigured(pinning_config(fingerprint));
    }
    builder.build().map_err(ClientError::Tls)
}

/// Says what went wrong with a request in words for people.
pub(crate) fn explained(url: &str, error: reqwest::Error) -> ClientError {
    let url = url.to_owned();
    match tls_error(&error) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(other))) => {
            match other.0.downcast_ref::<NotPinned>() {
                Some(NotPinned { seen }) => ClientError::Certificate {
                    url,
                    seen: seen.clone(),
                },
                None => ClientError::Untrusted {
                    url,
                    source: Innermost(error),
                },
            }
        }
        Some(rustls::Error::InvalidCertificate(_)) => ClientError::Untrusted {
            url,
            source: Innermost(error),
        },
        _ => ClientError::Unreachable {
            url,
            source: Innermost(error),
        },
    }
}

/// Says that an answer broke off.
pub(crate) fn cut(url: &str, source: reqwest::Error) -> ClientError {
    ClientError::Cut {
        url: url.to_owned(),
        source: Innermost(source),
    }
}

/// The TLS error somewhere among the causes of `error`; I/O errors hide theirs from `source`.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = match error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
        {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    None
}

fn checked_url(url: &str) -> Result<String, ClientError> {
    let wrong = || ClientError::Url {
        url: url.to_owned(),
    };
    let parsed: reqwest::Url = url.parse().map_err(|_| wrong())?;
    let is_cloud = parsed.scheme() == "https"
        && parsed.has_host()
        && parsed.path() == "/"
        && parsed.query().is_none()
        && parsed.username().is_empty();
    if is_cloud {
        Ok(url.trim_end_matches('/').to_owned())
    } else {
        Err(wrong())
    }
}

/// Trusts the one certificate that has the SHA-256 `fingerprint`.
fn pinning_config(fingerprint: [u8; 32]) -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has a cipher suite for each version of TLS it comes with")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pinned {
            fingerprint,
            algorithms,
        }))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// Takes exactly one certificate, whatever names and dates are in it: that it is this one says more than they do. The
/// handshake still proves that who shows it holds its key.
#[derive(Debug)]
struct Pinned {
    fingerprint: [u8; 32],
    algorithms: WebPkiSupportedAlgorithms,
}

/// Another certificate came.
#[derive(Debug, thiserror::Error)]
#[error("the certificate {seen} is not the one pinned")]
struct NotPinned {
    seen: String,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let seen: [u8; 32] = Sha256::digest(end_entity).into();
        if seen == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        let error = OtherError(Arc::new(NotPinned { seen: hex(&seen) }));
        Err(rustls::Error::InvalidCertificate(CertificateError::Other(
            error,
        )))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_clouds_are_told_from_others() {
        assert_eq!(
            checked_url("https://cloud.example.org:8443/").unwrap(),
            "https://cloud.example.org:8443"
        );
        assert_eq!(
            checked_url("https://[::1]:8443").unwrap(),
            "https://[::1]:8443"
        );
        for bad in [
            "cloud.example.org",
            "http://cloud.example.org",
            "https://c/api",
            "https://u@c",
            "https://c?x",
            "",
        ] {
            assert!(
                matches!(checked_url(bad), Err(ClientError::Url { .. })),
                "{bad}"
            );
        }
    }
}
