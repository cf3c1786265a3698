//! The cloud's device API ([`sonde_protocol::device`]) over HTTPS: one method a request, a fresh token
//! each, the clock corrected by what the cloud says.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::{Method, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sonde_pinning::{FingerprintError, PinningError, Seen, Trust, client_config};
use sonde_protocol::device::{
    CommitRequest, EnrollReply, EnrollRequest, EnrollStatus, LEASE_HEADER, LeaseReply,
    LeaseRequest, PollReply, PollRequest, Refusal, RefusalReason, ResultsReply,
};
use sonde_protocol::ids::LeaseToken;
use sonde_protocol::token::{self, SCHEME, hex};

use crate::identity::Identity;
use crate::machines::poll::PATIENCE;
use crate::spool::Key;

/// To connect, and for answers that nobody holds.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Why the cloud did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error(
        "can not reach the cloud at {url}: check the network, or name another by --cloud or [cloud] url"
    )]
    Unreachable {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The connection stood and broke, or the answer never came.
    #[error("the connection to the cloud at {url} broke")]
    Cut {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Another certificate than the pinned one.
    #[error(
        "the cloud at {url} shows a certificate with fingerprint {seen}, but {expected} is pinned: if it was \
         replaced on purpose, put the new one into [cloud] fingerprint"
    )]
    Fingerprint {
        /// Where.
        url: String,
        /// What was pinned.
        expected: String,
        /// What came.
        seen: String,
    },
    /// The cloud says no.
    #[error("the cloud refuses {path}: {message} (HTTP {status})")]
    Refused {
        /// Which request.
        path: String,
        /// HTTP status.
        status: u16,
        /// For programs, if the answer was the cloud's own.
        reason: Option<RefusalReason>,
        /// For people.
        message: String,
    },
    /// An answer that is not what the protocol says.
    #[error("the cloud's answer to {path} is not understood: are both of the same version?")]
    Answer {
        /// Which request.
        path: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// Why the cloud said no, if it did.
    pub fn reason(&self) -> Option<RefusalReason> {
        match self {
            Self::Refused { reason, .. } => *reason,
            _ => None,
        }
    }

    /// The attempt is not ours any more.
    pub fn is_over(&self) -> bool {
        matches!(
            self.reason(),
            Some(RefusalReason::Lease | RefusalReason::NoJob)
        )
    }

    /// The same request will be refused for ever: what it carries can't be taken. Statuses without a reason come
    /// from something between here and the cloud, and only those that speak of the body count.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused {
                reason: None,
                status,
                ..
            } => matches!(status, 400 | 413 | 415 | 422),
            _ => self.reason() == Some(RefusalReason::Malformed),
        }
    }
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// No URL, or not an https one.
    #[error("{url:?} is not the https URL of a cloud: give one by --cloud or [cloud] url")]
    Url {
        /// What was given.
        url: String,
    },
    /// `[cloud] ca_file` can't be used.
    #[error("correct [cloud] ca_file")]
    CaFile(#[source] PinningError),
    /// `[cloud] fingerprint` is none.
    #[error("correct [cloud] fingerprint")]
    Fingerprint(#[source] FingerprintError),
    /// No TLS.
    #[error(transparent)]
    Tls(PinningError),
    /// No HTTP.
    #[error("no HTTP client can be made")]
    Http(#[source] reqwest::Error),
}

/// The answer to results and commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Committed.
    Done,
    /// Ask again later.
    NotYet,
    /// Everything before this number is stored: go on there.
    Next(u64),
}

/// A client of one cloud. Clones share connections and clock.
#[derive(Clone)]
pub struct CloudClient {
    http: reqwest::Client,
    base: Url,
    identity: Arc<Identity>,
    /// Seconds the cloud's clock is ahead of ours.
    offset: Arc<AtomicI64>,
    trust: Trust,
    seen: Seen,
}

struct Answer {
    status: StatusCode,
    body: Vec<u8>,
}

impl CloudClient {
    /// A client of the cloud at `url`. `http` is allowed to this machine itself alone.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(url: &str, trust: Trust, identity: Arc<Identity>) -> Result<Self, SetupError> {
        let wrong = || SetupError::Url {
            url: url.to_owned(),
        };
        let mut base = Url::parse(url).map_err(|_| wrong())?;
        let local = matches!(base.host_str(), Some("127.0.0.1" | "[::1]" | "localhost"));
        if base.host_str().is_none()
            || !(base.scheme() == "https" || base.scheme() == "http" && local)
        {
            return Err(wrong());
        }
        base.set_path("/");
        let seen = Seen::default();
        let tls = client_config(&trust, &seen).map_err(|error| match error {
            PinningError::Authorities { .. } => SetupError::CaFile(error),
            error => SetupError::Tls(error),
        })?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .connect_timeout(ANSWER_MAX)
            .user_agent(concat!("sonde/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(SetupError::Http)?;
        let offset = Arc::default();
        Ok(Self {
            http,
            base,
            identity,
            offset,
            trust,
            seen,
        })
    }

    /// SHA-256 of the certificate the cloud last showed.
    pub fn fingerprint(&self) -> Option<[u8; 32]> {
        self.seen.last()
    }

    /// Connects, to see the certificate; what the cloud answers does not matter.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn look(&self) -> Result<(), ClientError> {
        let url = self.url("enroll");
        let request = self.http.get(url.clone()).timeout(ANSWER_MAX).send();
        request
            .await
            .map(drop)
            .map_err(|source| self.failed(&url, source))
    }

    /// `POST enroll`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn enroll(&self, body: &EnrollRequest) -> Result<EnrollReply, ClientError> {
        self.json(Method::POST, "enroll", Some(body), None, ANSWER_MAX)
            .await
    }

    /// `GET enroll`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn enroll_status(&self) -> Result<EnrollStatus, ClientError> {
        self.json(Method::GET, "enroll", None::<&()>, None, ANSWER_MAX)
            .await
    }

    /// `POST poll`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn poll(&self, body: &PollRequest) -> Result<PollReply, ClientError> {
        let patience = Duration::from_secs(body.wait_s.into()) + PATIENCE;
        self.json(Method::POST, "poll", Some(body), None, patience)
            .await
    }

    /// `POST jobs/../accept`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn accept(
        &self,
        key: Key,
        lease: LeaseToken,
        body: &LeaseRequest,
    ) -> Result<LeaseReply, ClientError> {
        let path = format!("jobs/{}/{}/accept", key.job, key.attempt);
        self.json(Method::POST, &path, Some(body), Some(lease), ANSWER_MAX)
            .await
    }

    /// `POST jobs/../renew`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn renew(
        &self,
        key: Key,
        lease: LeaseToken,
        body: &LeaseRequest,
    ) -> Result<LeaseReply, ClientError> {
        let path = format!("jobs/{}/{}/renew", key.job, key.attempt);
        self.json(Method::POST, &path, Some(body), Some(lease), ANSWER_MAX)
            .await
    }

    /// `POST jobs/../results`: `body` is zstd of JSON lines, the first of which has number `first`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn results(
        &self,
        key: Key,
        lease: LeaseToken,
        first: u64,
        body: Vec<u8>,
    ) -> Result<Stored, ClientError> {
        let path = format!("jobs/{}/{}/results?first={first}", key.job, key.attempt);
        let answer = self
            .call(Method::POST, &path, Some(body), Some(lease), ANSWER_MAX)
            .await?;
        match answer.status {
            StatusCode::OK | StatusCode::RANGE_NOT_SATISFIABLE => {
                parse::<ResultsReply>(&path, &answer.body).map(|reply| Stored::Next(reply.next))
            }
            _ => Err(refusal(&path, &answer)),
        }
    }

    /// `PUT jobs/../commit`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn commit(
        &self,
        key: Key,
        lease: LeaseToken,
        body: &CommitRequest,
    ) -> Result<Stored, ClientError> {
        let path = format!("jobs/{}/{}/commit", key.job, key.attempt);
        let body = serde_json::to_vec(body).map_err(|source| ClientError::Answer {
            path: path.clone(),
            source,
        })?;
        let answer = self
            .call(Method::PUT, &path, Some(body), Some(lease), ANSWER_MAX)
            .await?;
        match answer.status {
            StatusCode::OK => Ok(Stored::Done),
            StatusCode::ACCEPTED => Ok(Stored::NotYet),
            StatusCode::PRECONDITION_FAILED => {
                parse::<ResultsReply>(&path, &answer.body).map(|reply| Stored::Next(reply.next))
            }
            _ => Err(refusal(&path, &answer)),
        }
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
        lease: Option<LeaseToken>,
        patience: Duration,
    ) -> Result<T, ClientError> {
        let body = body.map(serde_json::to_vec).transpose();
        let body = body.map_err(|source| ClientError::Answer {
            path: path.to_owned(),
            source,
        })?;
        let answer = self.call(method, path, body, lease, patience).await?;
        if answer.status != StatusCode::OK {
            return Err(refusal(path, &answer));
        }
        parse(path, &answer.body)
    }

    /// One request; a second time if the cloud says that our clock is wrong.
    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
        lease: Option<LeaseToken>,
        patience: Duration,
    ) -> Result<Answer, ClientError> {
        let first = self
            .send(&method, path, body.clone(), lease, patience)
            .await?;
        if first.status == StatusCode::UNAUTHORIZED
            && let Ok(Refusal {
                reason: RefusalReason::Token,
                server_time: Some(theirs),
                ..
            }) = serde_json::from_slice(&first.body)
        {
            self.offset
                .store(theirs.saturating_sub(clock()), Ordering::Relaxed);
            return self.send(&method, path, body, lease, patience).await;
        }
        Ok(first)
    }

    async fn send(
        &self,
        method: &Method,
        path: &str,
        body: Option<Vec<u8>>,
        lease: Option<LeaseToken>,
        patience: Duration,
    ) -> Result<Answer, ClientError> {
        let url = self.url(path);
        let target = url
            .query()
            .map_or_else(|| url.path().to_owned(), |q| format!("{}?{q}", url.path()));
        let now = clock().saturating_add(self.offset.load(Ordering::Relaxed));
        let token = self.identity.token(
            token::audience(method.as_str(), &target),
            now,
            body.as_deref(),
        );
        let mut request = self
            .http
            .request(method.clone(), url.clone())
            .header(reqwest::header::AUTHORIZATION, format!("{SCHEME} {token}"))
            .timeout(patience);
        if let Some(lease) = lease {
            request = request.header(LEASE_HEADER, lease.to_string());
        }
        if let Some(body) = body {
            let kind = if path.contains("/results") {
                "application/zstd"
            } else {
                "application/json"
            };
            request = request
                .header(reqwest::header::CONTENT_TYPE, kind)
                .body(body);
        }
        let answer = async {
            let response = request.send().await?;
            let status = response.status();
            Ok(Answer {
                status,
                body: response.bytes().await?.to_vec(),
            })
        };
        answer.await.map_err(|source| self.failed(&url, source))
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(p, q)| (p, Some(q)));
        url.set_path(&format!("/device/v1/{path}"));
        url.set_query(query);
        url
    }

    fn failed(&self, url: &Url, source: reqwest::Error) -> ClientError {
        if let (Trust::Pinned(pin), Some(seen)) = (&self.trust, self.seen.last())
            && *pin != seen
        {
            return ClientError::Fingerprint {
                url: url.to_string(),
                expected: hex(pin),
                seen: hex(&seen),
            };
        }
        if source.is_connect() {
            ClientError::Unreachable {
                url: url.to_string(),
                source,
            }
        } else {
            ClientError::Cut {
                url: url.to_string(),
                source,
            }
        }
    }
}

fn refusal(path: &str, answer: &Answer) -> ClientError {
    let refusal: Option<Refusal> = serde_json::from_slice(&answer.body).ok();
    ClientError::Refused {
        path: path.to_owned(),
        status: answer.status.as_u16(),
        reason: refusal.as_ref().map(|refusal| refusal.reason),
        message: refusal.map_or_else(|| "no reason given".to_owned(), |refusal| refusal.message),
    }
}

fn parse<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|source| ClientError::Answer {
        path: path.to_owned(),
        source,
    })
}

/// Seconds since 1970, by this box's clock.
fn clock() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
