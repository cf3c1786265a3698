//! What the box says to the cloud, under `/device/v1/`. All bodies are JSON unless said otherwise.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `POST enroll` | [`EnrollRequest`] | [`EnrollReply`] |
//! | `GET enroll` | | [`EnrollStatus`] |
//! | `POST poll` | [`PollRequest`] | [`PollReply`], held up to [`PollRequest::wait_s`] |
//! | `POST jobs/{job}/{attempt}/accept` | [`LeaseRequest`] | [`LeaseReply`] |
//! | `POST jobs/{job}/{attempt}/renew` | [`LeaseRequest`] | [`LeaseReply`] |
//! | `POST jobs/{job}/{attempt}/results?first={seq}` | zstd of JSON lines | 200 [`ResultsReply`]; 416 [`ResultsReply`]: rewind to `next` |
//! | `PUT jobs/{job}/{attempt}/commit` | [`CommitRequest`] | 200 done; 202 not yet, ask again; 412 [`ResultsReply`]: send again from `next` |
//!
//! Every request carries `Authorization: Sonde <token>` ([`crate::token`]), made for its method, path with query
//! and body and good for one request: whoever asks again signs again. Writes to a job also carry the lease in the [`LEASE_HEADER`] header. A refusal is [`Refusal`] with a 4xx status. A 401 tells the
//! server's time, so that a box with a wrong clock can correct for it and ask again.

use serde::{Deserialize, Serialize};
use sonde_core::request::ScanRequest;
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::ids::{ApplianceId, JobId, LeaseToken};

/// Header naming the lease a write belongs to.
pub const LEASE_HEADER: &str = "sonde-lease";
/// Longest a poll is held.
pub const POLL_HOLD_S: u32 = 50;
/// A lease runs this long.
pub const LEASE_S: u64 = 600;
/// A lease is renewed this often.
pub const LEASE_RENEW_S: u64 = 60;
/// Time after a lease's end before its job is given to another attempt.
pub const LEASE_GRACE_S: u64 = 300;
/// Largest results body before compression, in bytes.
pub const RESULTS_MAX_BYTES: usize = 1 << 20;

/// A box asks for an activation code. Its token is signed by the key it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrollRequest {
    /// Ed25519 public key as [`crate::token::encode_key`] writes it.
    pub public_key: String,
    /// What is printed on the box, or the host's name.
    pub serial: String,
    /// MAC address of its LAN interface.
    pub mac: String,
    /// Version of its software.
    pub software: String,
    /// SHA-256 of the cloud's certificate in hex, if the box pinned it instead of trusting an authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
}

/// The code to show. A key that is active here already gets a code that nobody needs and an interval of 0: its
/// [`EnrollStatus`] says so at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrollReply {
    /// Ten letters, see [`crate::activation`].
    pub code: String,
    /// Seconds the code is good for.
    pub valid_s: u64,
    /// Seconds between questions for [`EnrollStatus`].
    pub interval_s: u64,
}

/// Where an enrolment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum EnrollStatus {
    /// Nobody typed the code yet.
    Pending,
    /// The box belongs to this cloud now.
    Active {
        /// What the cloud calls it.
        appliance: ApplianceId,
        /// What people call it; shown on the panel.
        name: String,
    },
    /// The code ran out: enrol again.
    Expired,
}

/// The box reports and asks for work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PollRequest {
    /// Seconds to hold the request when there is nothing to say; at most [`POLL_HOLD_S`].
    pub wait_s: u32,
    /// Version of its software.
    pub software: String,
    /// Generation of the settings it has.
    pub settings_generation: u64,
    /// Jobs it could take now.
    pub capacity: u32,
    /// Jobs it has.
    pub jobs: Vec<JobStatus>,
}

/// A job as the box sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobStatus {
    /// The job.
    pub job: JobId,
    /// The attempt.
    pub attempt: u32,
    /// Where it is.
    pub state: JobState,
    /// Share done, 0 to 1.
    pub fraction: f64,
}

/// A job's life. The first six are steps, the rest are ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// Waiting for a box.
    Queued,
    /// Offered to a box.
    Offered,
    /// Taken by a box.
    Accepted,
    /// Scanning.
    Running,
    /// Stopped for a while.
    Paused,
    /// Scanned; results on their way.
    Draining,
    /// Done, results complete.
    Committed,
    /// Stopped by a person; partial results kept.
    Cancelled,
    /// Could not be done.
    Failed,
    /// Nobody did it in time.
    Expired,
    /// Another attempt took its place.
    Superseded,
}

impl JobState {
    /// True for states a job never leaves.
    pub const fn is_end(self) -> bool {
        matches!(
            self,
            Self::Committed | Self::Cancelled | Self::Failed | Self::Expired | Self::Superseded
        )
    }
}

/// What the cloud has for the box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PollReply {
    /// The cloud's time.
    #[serde(with = "time::serde::rfc3339")]
    #[schema(value_type = String, format = DateTime)]
    pub server_time: OffsetDateTime,
    /// Whole desired settings, if newer than the box's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<DesiredSettings>,
    /// Jobs to take.
    pub jobs: Vec<JobOffer>,
    /// Jobs to stop.
    pub cancels: Vec<JobId>,
}

/// The whole of what the cloud wants a box to be. Newer generation: apply. Same: nothing to do. Same
/// generation with other content, or older: refuse.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DesiredSettings {
    /// Counts changes.
    pub generation: u64,
    /// Name shown on the panel.
    pub name: String,
    /// VLANs and routes to scan through.
    #[schema(value_type = Object)]
    pub trunk: sonde_core::trunk::TrunkConfig,
}

/// A job offered to a box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct JobOffer {
    /// The job.
    pub job: JobId,
    /// The attempt, from 1.
    pub attempt: u32,
    /// Fences this attempt.
    pub lease: LeaseToken,
    /// What to scan.
    #[schema(value_type = Object)]
    pub request: Box<ScanRequest>,
    /// What to do when the cloud is out of reach.
    pub on_lost_contact: OnLostContact,
}

/// What a scan does when the cloud is out of reach for longer than its lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnLostContact {
    /// Goes on; results wait on disk.
    #[default]
    Continue,
    /// Pauses until the cloud is back.
    Pause,
    /// Stops; partial results are uploaded when the cloud is back.
    Stop,
}

/// Takes or keeps a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LeaseRequest {
    /// Where the job is.
    pub state: JobState,
    /// Share done, 0 to 1.
    pub fraction: f64,
}

/// The state of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseReply {
    /// Seconds it is good for from now.
    pub valid_s: u64,
    /// True: stop and commit what there is.
    pub cancel: bool,
}

/// How far an attempt's records have been stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ResultsReply {
    /// Sequence number of the next record expected: all before are in the database. Starts at 0.
    pub next: u64,
}

/// Ends an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommitRequest {
    /// Number of records.
    pub count: u64,
    /// SHA-256 in hex over all records in order, each followed by a line feed.
    pub digest: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, if it failed: text for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Everything due was done.
    Finished,
    /// Stopped on request; partial results.
    Cancelled,
    /// Could not go on; partial results.
    Failed,
}

/// Why the cloud said no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// For programs.
    pub reason: RefusalReason,
    /// For people.
    pub message: String,
    /// The cloud's time in seconds since 1970, with `token` refusals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_time: Option<i64>,
}

/// Why the cloud said no, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalReason {
    /// The token is malformed, expired or of another audience: correct the clock, ask again.
    Token,
    /// The key is not known here: enrol.
    Unknown,
    /// The appliance is known and was switched off by a person.
    Disabled,
    /// No such job or attempt for this box.
    NoJob,
    /// The lease is not the current one.
    Lease,
    /// The body is not what it should be.
    Malformed,
    /// Too much at once: wait.
    Busy,
}
