//! A cloud in a hundred lines: the device API over HTTP on loopback, one thread a connection, cutting
//! connections at random bytes if told to.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sonde_agent::machines::backoff::Jitter;
use sonde_core::request::ScanRequest;
use sonde_protocol::device::*;
use sonde_protocol::ids::{ApplianceId, JobId, LeaseToken};
use sonde_protocol::token::{self, body_digest};

/// Everything it knows.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) enrolled: Option<String>,
    pub(crate) offer: Option<JobOffer>,
    pub(crate) accepted: bool,
    pub(crate) cancel: bool,
    /// Refuse renewals and results: the attempt belongs to somebody else.
    pub(crate) superseded: bool,
    /// Number of a record it does not take, whoever sends it with whatever others.
    pub(crate) refused: Option<u64>,
    pub(crate) records: BTreeMap<u64, Vec<u8>>,
    pub(crate) committed: Option<CommitRequest>,
    pub(crate) last_poll: Option<PollRequest>,
    tokens: HashSet<String>,
    pub(crate) cuts: u32,
}

pub(crate) struct Cloud {
    pub(crate) url: String,
    pub(crate) appliance: ApplianceId,
    state: Mutex<State>,
    changed: Condvar,
    /// Percent of connections that are cut.
    cut_percent: u64,
    dice: Mutex<Jitter>,
}

/// What happens to one request.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Answered,
    /// Closed before it was done.
    RequestLost,
    /// Done, but the answer is cut after so many bytes.
    ReplyCut(usize),
}

impl Cloud {
    pub(crate) fn start(cut_percent: u64, seed: u64) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cloud = Arc::new(Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            appliance: ApplianceId::generate(),
            state: Mutex::default(),
            changed: Condvar::new(),
            cut_percent,
            dice: Mutex::new(Jitter::new(seed)),
        });
        let ours = cloud.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (cloud, connection) = (ours.clone(), connection.unwrap());
                std::thread::spawn(move || while cloud.serve(&connection).is_some() {});
            }
        });
        cloud
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Offers a job for `request` and tells its id.
    pub(crate) fn offer(&self, request: ScanRequest, on_lost_contact: OnLostContact) -> JobId {
        let job = JobId::generate();
        let (lease, request) = (LeaseToken::generate(), Box::new(request));
        self.lock().offer = Some(JobOffer {
            job,
            attempt: 1,
            lease,
            request,
            on_lost_contact,
        });
        self.changed.notify_all();
        job
    }

    /// Waits until `done`, at most two minutes.
    pub(crate) fn wait(&self, what: &str, mut done: impl FnMut(&State) -> bool) {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), Duration::from_secs(120), |s| !done(s));
        let (state, timeout) = waited.unwrap();
        let (records, poll, accepted) = (state.records.len(), &state.last_poll, state.accepted);
        let seen = format!("{records} records, accepted {accepted}, last poll {poll:?}");
        assert!(
            !timeout.timed_out(),
            "{what}: not within two minutes, {seen}"
        );
    }

    /// Waits until `done`, at most so long.
    pub(crate) fn wait_briefly(&self, limit: Duration, mut done: impl FnMut(&State) -> bool) {
        drop(
            self.changed
                .wait_timeout_while(self.lock(), limit, |s| !done(s)),
        );
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn fate(&self) -> Fate {
        let mut dice = self.dice.lock().unwrap();
        let mut roll = |n: u64| {
            dice.between(Duration::ZERO, Duration::from_millis(n))
                .as_millis() as u64
        };
        match roll(99) {
            n if n >= self.cut_percent => Fate::Answered,
            n if n % 2 == 0 => Fate::RequestLost,
            _ => Fate::ReplyCut(roll(200) as usize),
        }
    }

    /// One request; `None` when the connection is over.
    fn serve(&self, connection: &TcpStream) -> Option<()> {
        let mut reader = BufReader::new(connection);
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next()?, words.next()?);
        let (mut length, mut authorization, mut lease) = (None, String::new(), None);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok().filter(|n| *n > 0)?;
            let Some((name, value)) = header.trim().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse::<usize>().ok(),
                "authorization" => authorization = value.to_owned(),
                LEASE_HEADER => lease = value.parse::<LeaseToken>().ok(),
                _ => {}
            }
        }
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).ok()?;
        let fate = self.fate();
        if fate == Fate::RequestLost {
            self.change(|state| state.cuts += 1);
            connection.shutdown(Shutdown::Both).ok()?;
            return None;
        }
        let body = length.map(|_| body);
        let (status, answer) = self.answer(&method, &path, &authorization, lease, body.as_deref());
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        let mut reply = head.into_bytes();
        reply.extend_from_slice(&answer);
        if let Fate::ReplyCut(at) = fate {
            self.change(|state| state.cuts += 1);
            (&mut &*connection)
                .write_all(&reply[..at.min(reply.len() - 1)])
                .ok()?;
            connection.shutdown(Shutdown::Both).ok()?;
            return None;
        }
        (&mut &*connection).write_all(&reply).ok()
    }

    fn answer(
        &self,
        method: &str,
        path: &str,
        authorization: &str,
        lease: Option<LeaseToken>,
        body: Option<&[u8]>,
    ) -> (u16, Vec<u8>) {
        let Some(token) = authorization.strip_prefix("Sonde ") else {
            // The look at a certificate carries none.
            return refuse(401, RefusalReason::Token);
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs() as i64;
        let proven = token::verify(token, now, &token::audience(method, path), body).unwrap();
        assert!(
            self.lock().tokens.insert(proven.jti),
            "a token was used twice"
        );
        let key = token::encode_key(&proven.key);
        let body = body.unwrap_or_default();
        let path = path.strip_prefix("/device/v1/").unwrap();
        let mut state = self.lock();
        if path == "enroll" {
            if method == "POST" {
                let request: EnrollRequest = serde_json::from_slice(body).unwrap();
                assert_eq!(request.public_key, key);
                state.enrolled = Some(key);
                drop(state);
                self.changed.notify_all();
                return json(&EnrollReply {
                    code: "BCDFGHJKLM".to_owned(),
                    valid_s: 1800,
                    interval_s: 1,
                });
            }
            let name = "north".to_owned();
            return json(&EnrollStatus::Active {
                appliance: self.appliance,
                name,
            });
        }
        if state.enrolled.as_ref() != Some(&key) {
            return refuse(401, RefusalReason::Unknown);
        }
        if path == "poll" {
            drop(state);
            return json(&self.poll(serde_json::from_slice(body).unwrap()));
        }
        let offer = state.offer.clone().unwrap();
        if lease != Some(offer.lease) || state.superseded {
            return refuse(409, RefusalReason::Lease);
        }
        let answer = match path.rsplit('/').next().unwrap() {
            "accept" | "renew" => {
                state.accepted = true;
                json(&LeaseReply {
                    valid_s: LEASE_S,
                    cancel: state.cancel,
                })
            }
            "commit" => commit(&mut state, serde_json::from_slice(body).unwrap()),
            results => {
                let first = results
                    .strip_prefix("results?first=")
                    .unwrap()
                    .parse()
                    .unwrap();
                store(&mut state, first, body)
            }
        };
        drop(state);
        self.changed.notify_all();
        answer
    }

    fn poll(&self, request: PollRequest) -> PollReply {
        let hold = Duration::from_secs(request.wait_s.min(1).into());
        self.change(|state| state.last_poll = Some(request));
        self.wait_briefly(hold, |state| state.offer.is_some() && !state.accepted);
        let state = self.lock();
        let jobs = state
            .offer
            .clone()
            .filter(|_| !state.accepted && state.committed.is_none());
        PollReply {
            server_time: time::OffsetDateTime::now_utc(),
            settings: None,
            jobs: jobs.into_iter().collect(),
            cancels: state
                .offer
                .iter()
                .filter(|_| state.cancel)
                .map(|offer| offer.job)
                .collect(),
        }
    }
}

fn store(state: &mut State, first: u64, body: &[u8]) -> (u16, Vec<u8>) {
    let lines = zstd::decode_all(body).unwrap();
    assert!(lines.len() <= RESULTS_MAX_BYTES);
    let next = state.records.len() as u64;
    if first > next {
        return (416, serde_json::to_vec(&ResultsReply { next }).unwrap());
    }
    let numbered = || (first..).zip(lines.split_inclusive(|b| *b == b'\n'));
    if numbered().any(|(number, _)| state.refused == Some(number)) {
        return refuse(400, RefusalReason::Malformed);
    }
    for (number, line) in numbered() {
        let old = state.records.insert(number, line.to_vec());
        assert!(
            old.is_none_or(|old| old == line),
            "record {number} came again as another"
        );
    }
    json(&ResultsReply {
        next: state.records.len() as u64,
    })
}

fn commit(state: &mut State, request: CommitRequest) -> (u16, Vec<u8>) {
    let all: Vec<u8> = state.records.values().flatten().copied().collect();
    let next = state.records.len() as u64;
    if next != request.count {
        return (412, serde_json::to_vec(&ResultsReply { next }).unwrap());
    }
    assert_eq!(request.digest, body_digest(&all));
    assert!(
        state.committed.as_ref().is_none_or(|old| *old == request),
        "two commits differ"
    );
    state.committed = Some(request);
    (200, b"{}".to_vec())
}

fn json(value: &impl serde::Serialize) -> (u16, Vec<u8>) {
    (200, serde_json::to_vec(value).unwrap())
}

fn refuse(status: u16, reason: RefusalReason) -> (u16, Vec<u8>) {
    let refusal = Refusal {
        reason,
        message: "no".to_owned(),
        server_time: None,
    };
    (status, serde_json::to_vec(&refusal).unwrap())
}
