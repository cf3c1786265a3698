//! A client of the cloud: HTTPS that trusts either the machine's authorities or one pinned certificate, and the user API
//! over it.

use std::error::Error as _;
use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sonde_pinning::{PinMismatch, PinningError, Seen, Trust, client_config, install_provider};
use sonde_protocol::token::hex;

use crate::api::Problem;

pub use sonde_pinning::{FingerprintError, parse_fingerprint};

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
    /// No TLS could be set up.
    #[error("this machine can not make TLS connections")]
    Tls(#[source] PinningError),
    /// No HTTP client could be made.
    #[error("this machine can not make HTTPS connections")]
    Http(#[source] reqwest::Error),
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
    /// [`ClientError::Url`], [`ClientError::Tls`], [`ClientError::Http`].
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
/// [`ClientError::Tls`], [`ClientError::Http`].
pub fn http(pinned: Option<[u8; 32]>) -> Result<reqwest::Client, ClientError> {
    install_provider();
    let mut builder = reqwest::Client::builder()
        .https_only(true)
        .connect_timeout(CONNECT_TIME_MAX)
        .read_timeout(SILENCE_MAX)
        .redirect(reqwest::redirect::Policy::none());
    if let Some(fingerprint) = pinned {
        let mut config = client_config(&Trust::Pinned(fingerprint), &Seen::default())
            .map_err(ClientError::Tls)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        builder = builder.tls_backend_preconfigured(config);
    }
    builder.build().map_err(ClientError::Http)
}

/// Says what went wrong with a request in words for people.
pub(crate) fn explained(url: &str, error: reqwest::Error) -> ClientError {
    let url = url.to_owned();
    let tls = tls_error(&error);
    if let Some(PinMismatch { seen }) = tls.and_then(PinMismatch::of) {
        let seen = hex(&seen);
        return ClientError::Certificate { url, seen };
    }
    let untrusted = matches!(tls, Some(rustls::Error::InvalidCertificate(_)));
    let source = Innermost(error);
    if untrusted {
        ClientError::Untrusted { url, source }
    } else {
        ClientError::Unreachable { url, source }
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
