//! A simulated appliance: real keys, the real device protocol, made-up networks. The cloud is developed and loaded
//! against it.
//!
//! What it finds follows from the job alone, so two attempts at a job find the same, as two looks at one network do.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use axum::body::Bytes;
use ed25519_dalek::SigningKey;
use reqwest::{Method, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use sonde_protocol::activation::check_number;
use sonde_protocol::device::{
    CommitRequest, EnrollReply, EnrollRequest, EnrollStatus, JobOffer, JobState, JobStatus,
    LEASE_HEADER, LeaseReply, LeaseRequest, Outcome, POLL_HOLD_S, PollReply, PollRequest, Refusal,
    RefusalReason, ResultsReply,
};
use sonde_protocol::ids::{JobId, LeaseToken};
use sonde_protocol::observation::{OBSERVATION_VERSION, Observation, ScanHeader, Summary};
use sonde_protocol::request::ScanRequest;
use sonde_protocol::token::{self, Claims, SCHEME, encode_key, hex};
use time::OffsetDateTime;

use crate::client::{self, ClientError};

/// One simulated box.
pub struct Simulated {
    http: reqwest::Client,
    url: String,
    pinned: Option<[u8; 32]>,
    key: SigningKey,
    serial: String,
    /// What to add to this machine's clock to get the cloud's, in seconds.
    clock_offset: Mutex<i64>,
}

/// The cloud said no, or could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum SimulatedError {
    /// It could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It said no.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// It expects other records: the batch left a gap, or the commit did not match.
    #[error("record {0} is the next expected")]
    Rewind(u64),
    /// It answered what the protocol does not have.
    #[error("the cloud answered {0}, which the protocol does not have")]
    Strange(StatusCode),
}

/// A job a simulated box holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Its lease.
    pub lease: LeaseToken,
}

impl From<&JobOffer> for Held {
    fn from(offer: &JobOffer) -> Self {
        Self {
            job: offer.job,
            attempt: offer.attempt,
            lease: offer.lease,
        }
    }
}

/// How a simulated box works.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Hosts it makes up for a job.
    pub hosts: u32,
    /// Records in a batch.
    pub batch: usize,
    /// How long a poll may be held.
    pub wait_s: u32,
    /// Time between batches.
    pub pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            hosts: 200,
            batch: 500,
            wait_s: POLL_HOLD_S,
            pause: Duration::ZERO,
        }
    }
}

/// A cloud out of reach is asked again so often, so long apart: a minute in all.
const TRIES_MAX: u32 = 240;
const RETRY_AFTER: Duration = Duration::from_millis(250);

impl Simulated {
    /// A box with the key `secret`, at the cloud `url`, which it trusts by the certificate `pinned`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn new(
        url: &str,
        pinned: Option<[u8; 32]>,
        secret: &[u8; 32],
        serial: &str,
    ) -> Result<Self, ClientError> {
        Ok(Self {
            http: client::http(pinned)?,
            url: url.trim_end_matches('/').to_owned(),
            pinned,
            key: SigningKey::from_bytes(secret),
            serial: serial.to_owned(),
            clock_offset: Mutex::new(0),
        })
    }

    /// Asks for a code.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub async fn enroll(&self) -> Result<EnrollReply, SimulatedError> {
        let request = EnrollRequest {
            public_key: encode_key(&self.key.verifying_key()),
            serial: self.serial.clone(),
            mac: "02:00:5e:00:53:01".to_owned(),
            software: software(),
            pinned: self.pinned.map(|pinned| hex(&pinned)),
        };
        self.ask(Method::POST, "enroll", None, Some(json(&request)))
            .await
    }

    /// The check number on its panel, with this code.
    pub fn check_number(&self, code: &str) -> String {
        check_number(
            self.key.verifying_key().as_bytes(),
            code,
            self.pinned.as_ref(),
        )
    }

    /// Asks whether somebody typed the code.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub async fn enroll_status(&self) -> Result<EnrollStatus, SimulatedError> {
        self.ask(Method::GET, "enroll", None, None).await
    }

    /// Reports `jobs` and asks for at most `capacity` more.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub async fn poll(
        &self,
        jobs: Vec<JobStatus>,
        capacity: u32,
        settings_generation: u64,
        wait_s: u32,
    ) -> Result<PollReply, SimulatedError> {
        let request = PollRequest {
            wait_s,
            software: software(),
            settings_generation,
            capacity,
            jobs,
        };
        self.ask(Method::POST, "poll", None, Some(json(&request)))
            .await
    }

    /// Takes a job.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub async fn accept(&self, held: &Held) -> Result<LeaseReply, SimulatedError> {
        let request = LeaseRequest {
            state: JobState::Accepted,
            fraction: 0.0,
        };
        self.ask(
            Method::POST,
            &path(held, "accept"),
            Some(held.lease),
            Some(json(&request)),
        )
        .await
    }

    /// Keeps a job.
    ///
    /// # Errors
    /// [`SimulatedError`].
    pub async fn renew(
        &self,
        held: &Held,
        state: JobState,
        fraction: f64,
    ) -> Result<LeaseReply, SimulatedError> {
        let request = LeaseRequest { state, fraction };
        self.ask(
            Method::POST,
            &path(held, "renew"),
            Some(held.lease),
            Some(json(&request)),
        )
        .await
    }

    /// Delivers records; answers the next sequence number expected.
    ///
    /// # Errors
    /// [`SimulatedError::Rewind`] when the batch leaves a gap.
    pub async fn deliver(
        &self,
        held: &Held,
        first: u64,
        lines: &[String],
    ) -> Result<u64, SimulatedError> {
        let body = zstd::bulk::compress(joined(lines).as_bytes(), 3)
            .expect("compressing into memory has nothing to fail at");
        let path = format!("{}?first={first}", path(held, "results"));
        let reply: ResultsReply = self
            .ask(Method::POST, &path, Some(held.lease), Some(body))
            .await?;
        Ok(reply.next)
    }

    /// Ends an attempt whose records are `lines`.
    ///
    /// # Errors
    /// [`SimulatedError::Rewind`] when records are missing.
    pub async fn commit(
        &self,
        held: &Held,
        lines: &[String],
        outcome: Outcome,
    ) -> Result<(), SimulatedError> {
        let commit = CommitRequest {
            count: lines.len() as u64,
            digest: hex(&Sha256::digest(joined(lines))),
            outcome,
            error: None,
        };
        let path = path(held, "commit");
        self.request(Method::PUT, &path, Some(held.lease), Some(json(&commit)))
            .await
            .map(drop)
    }

    /// Does a job from its acceptance to its commit. What the cloud does not answer is asked again for a while: asked
    /// twice, it is done once.
    ///
    /// # Errors
    /// [`SimulatedError`]; a rewind is followed, not an error.
    pub async fn work(&self, offer: &JobOffer, pace: Pace) -> Result<Outcome, SimulatedError> {
        let held = Held::from(offer);
        let mut cancel = self.accept(&held).await?.cancel;
        let mut lines = made_up(&offer.request, offer.job, pace.hosts);
        let mut next = 0;
        loop {
            while next < lines.len() && !cancel {
                let end = lines.len().min(next + pace.batch.max(1));
                let batch = &lines[next..end];
                next = rewound(self.deliver(&held, next as u64, batch).await)?;
                tokio::time::sleep(pace.pause).await;
                let done = next as f64 / lines.len() as f64;
                cancel = self.renew(&held, JobState::Running, done).await?.cancel;
            }
            let outcome = if cancel {
                Outcome::Cancelled
            } else {
                Outcome::Finished
            };
            lines.truncate(next);
            match self.commit(&held, &lines, outcome).await {
                Err(SimulatedError::Rewind(expected)) => next = rewound(Ok(expected))?,
                ended => break ended.map(|()| outcome),
            }
        }
    }

    /// Polls and works until `jobs` jobs are done.
    ///
    /// # Errors
    /// [`SimulatedError`] when the cloud refuses; what can not be reached is tried again.
    pub async fn run(&self, pace: Pace, jobs: usize) -> Result<(), SimulatedError> {
        let mut generation = 0;
        let mut done = 0;
        while done < jobs {
            let reply = match self.poll(Vec::new(), 1, generation, pace.wait_s).await {
                Ok(reply) => reply,
                Err(SimulatedError::Client(error)) => {
                    tracing::warn!(%error, serial = %self.serial, "trying again");
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(settings) = reply.settings {
                generation = settings.generation;
            }
            for offer in &reply.jobs {
                let outcome = self.work(offer, pace).await?;
                tracing::info!(serial = %self.serial, job = %offer.job, ?outcome, "done");
                done += 1;
            }
        }
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        lease: Option<LeaseToken>,
        body: Option<Vec<u8>>,
    ) -> Result<T, SimulatedError> {
        let (status, answer) = self.request(method, path, lease, body).await?;
        serde_json::from_slice(&answer).map_err(|_| SimulatedError::Strange(status))
    }

    /// Asks; with a wrong clock again with the cloud's, and while the cloud can not be reached again for a minute: it may
    /// be starting anew.
    async fn request(
        &self,
        method: Method,
        path: &str,
        lease: Option<LeaseToken>,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), SimulatedError> {
        let mut tries = 0;
        let mut is_clock_set = false;
        loop {
            match self
                .request_once(method.clone(), path, lease, body.clone())
                .await
            {
                Err(SimulatedError::Refused(Refusal {
                    reason: RefusalReason::Token,
                    server_time: Some(server_time),
                    ..
                })) if !is_clock_set => {
                    is_clock_set = true;
                    self.set_offset(server_time - OffsetDateTime::now_utc().unix_timestamp());
                }
                Err(SimulatedError::Client(
                    ClientError::Unreachable { .. } | ClientError::Cut { .. },
                )) if tries < TRIES_MAX => {
                    tries += 1;
                    tokio::time::sleep(RETRY_AFTER).await;
                }
                answer => return answer,
            }
        }
    }

    async fn request_once(
        &self,
        method: Method,
        path: &str,
        lease: Option<LeaseToken>,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Bytes), SimulatedError> {
        let path = format!("/device/v1/{path}");
        let claims = Claims::new(
            &self.key.verifying_key(),
            token::audience(method.as_str(), &path),
            OffsetDateTime::now_utc().unix_timestamp() + self.offset(),
            &rand::random(),
            body.as_deref(),
        );
        let token = token::sign(&self.key, &claims);
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .header("authorization", format!("{SCHEME} {token}"));
        if let Some(lease) = lease {
            request = request.header(LEASE_HEADER, lease.to_string());
        }
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request
            .send()
            .await
            .map_err(|error| client::explained(&self.url, error))?;
        let status = response.status();
        let answer = response
            .bytes()
            .await
            .map_err(|error| client::cut(&self.url, error))?;
        match status {
            _ if status.is_success() => Ok((status, answer)),
            StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::PRECONDITION_FAILED => {
                let reply: ResultsReply =
                    serde_json::from_slice(&answer).map_err(|_| SimulatedError::Strange(status))?;
                Err(SimulatedError::Rewind(reply.next))
            }
            _ => {
                let refusal =
                    serde_json::from_slice(&answer).map_err(|_| SimulatedError::Strange(status))?;
                Err(SimulatedError::Refused(refusal))
            }
        }
    }

    fn offset(&self) -> i64 {
        *self
            .clock_offset
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn set_offset(&self, offset: i64) {
        *self
            .clock_offset
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = offset;
    }
}

/// The sequence number to go on from.
fn rewound(answer: Result<u64, SimulatedError>) -> Result<usize, SimulatedError> {
    match answer {
        Ok(next) | Err(SimulatedError::Rewind(next)) => {
            Ok(usize::try_from(next).unwrap_or(usize::MAX))
        }
        Err(error) => Err(error),
    }
}

/// The records of a made-up scan: the header, `hosts` hosts over the untagged LAN and the VLANs of the request's trunk
/// (or VLANs 100 and 200), IPv4 and IPv6, one to three open ports each, and the summary. Follows from `job` alone.
pub fn made_up(request: &ScanRequest, job: JobId, hosts: u32) -> Vec<String> {
    let started = time::macros::datetime!(2027-01-15 08:00:00 UTC);
    let time = "2027-01-15T08:00:01Z";
    let mut vlans = vec!["null".to_owned()];
    match &request.trunk {
        Some(trunk) => vlans.extend(trunk.vlan.iter().map(|vlan| vlan.id.to_string())),
        None => vlans.extend(["100".to_owned(), "200".to_owned()]),
    }
    let header = Observation::Scan(ScanHeader {
        version: OBSERVATION_VERSION,
        id: job.to_string(),
        started,
        request: Box::new(request.clone()),
    });
    let mut lines = vec![serialized(&header)];
    let mut open = 0;
    for n in 0..hosts {
        let vlan = &vlans[n as usize % vlans.len()];
        let ip = if n % 8 == 7 {
            format!("2001:db8::{:x}", n + 1)
        } else {
            format!("10.{}.{}.{}", n >> 16 & 0xff, n >> 8 & 0xff, n & 0xff)
        };
        lines.push(format!(
            r#"{{"type":"host","vlan":{vlan},"ip":"{ip}","state":"up","reason":"arp-reply","mac":"02:00:00:{:02x}:{:02x}:{:02x}","rtt_us":{},"ttl":64,"time":"{time}"}}"#,
            n >> 16 & 0xff,
            n >> 8 & 0xff,
            n & 0xff,
            200 + n % 100,
        ));
        for port in [22, 80, 443].into_iter().take(1 + n as usize % 3) {
            open += 1;
            lines.push(format!(
                r#"{{"type":"port","vlan":{vlan},"ip":"{ip}","proto":"tcp","port":{port},"state":"open","reason":"syn-ack","ttl":64,"rtt_us":{},"time":"{time}"}}"#,
                210 + n % 100,
            ));
        }
    }
    let summary = Observation::Summary(Summary {
        complete: true,
        sent: u64::from(hosts) * 6,
        received: u64::from(hosts) + open,
        hosts_up: hosts.into(),
        open,
        passes: 1,
        duration_ms: 1_000,
        ..Summary::default()
    });
    lines.push(serialized(&summary));
    lines
}

fn serialized(observation: &Observation) -> String {
    serde_json::to_string(observation).expect("an observation is strings and numbers")
}

/// Each line with its feed: what travels, and what is digested.
fn joined(lines: &[String]) -> String {
    lines
        .iter()
        .flat_map(|line| [line.as_str(), "\n"])
        .collect()
}

fn json(body: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(body).expect("a request is strings and numbers")
}

fn path(held: &Held, what: &str) -> String {
    format!("jobs/{}/{}/{what}", held.job, held.attempt)
}

fn software() -> String {
    concat!("simulated ", env!("CARGO_PKG_VERSION")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_records_are_records_and_the_same_each_time() {
        let job = JobId::generate();
        let lines = made_up(&ScanRequest::default(), job, 100);
        assert_eq!(lines, made_up(&ScanRequest::default(), job, 100));
        let read: Vec<Observation> = lines
            .iter()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let hosts = read
            .iter()
            .filter(|o| matches!(o, Observation::Host(_)))
            .count();
        let ports = read
            .iter()
            .filter(|o| matches!(o, Observation::Port(_)))
            .count() as u64;
        assert_eq!(hosts, 100);
        let Some(Observation::Summary(summary)) = read.last() else {
            panic!("no summary")
        };
        assert_eq!(summary.open, ports);
    }
}
