//! What scans found: merged, as one stream that reads like the file `sonde scan` writes, or in pages; and the records
//! of an attempt as they came.

#![expect(
    unused_qualifications,
    reason = "utoipa's macro writes the parameter types out in full"
)]

use std::net::IpAddr;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde::{Deserialize, Serialize};
use sonde_protocol::ids::JobId;
use sonde_protocol::observation::{
    HostReason, HostState, OBSERVATION_VERSION, Observation, PortReason, Proto, ScanHeader, Summary,
};
use sonde_protocol::request::PortState;
use utoipa::{IntoParams, ToSchema};

use super::caller::{Asked, At, MayRead};
use super::problem::Problem;
use crate::clock::Moment;
use crate::state::Cloud;
use crate::storage::{HostFinding, LeakFinding, PortFinding, PortKey, Store, StoreError};

/// A page of hosts.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct HostPage {
    /// By VLAN and address.
    pub items: Vec<HostFinding>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A page of ports.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct PortPage {
    /// By VLAN, address, protocol and number.
    pub items: Vec<PortFinding>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Which page.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct Page {
    /// `next` of the page before.
    after: Option<String>,
    /// At most so many, 1 to 10000; 1000 if absent.
    limit: Option<u32>,
}

/// Which records.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub(super) struct RecordRange {
    /// The attempt; the current one if absent.
    attempt: Option<u32>,
    /// Sequence number of the first.
    from: u64,
    /// At most so many, 1 to 10000; 1000 if absent.
    limit: Option<u32>,
}

/// Rows read at a time.
const PAGE: u32 = 1_000;
const PAGE_MAX: u32 = 10_000;
const JSON_LINES: &str = "application/x-ndjson";

/// What a scan found, all attempts merged: JSON lines from `scan` to `summary`, every host and port once.
#[utoipa::path(get, path = "/api/v1/scans/{id}/results", tag = "results", params(("id" = JobId, Path)),
    security(("token" = [])),
    responses((status = 200, body = String, content_type = "application/x-ndjson"),
        (status = "4XX", body = Problem)))]
pub(super) async fn results(
    State(cloud): State<Cloud>,
    _reader: MayRead,
    At(id): At<JobId>,
) -> Result<Response, Problem> {
    // Whether there is such a scan is told by a status, before the first byte.
    let head = head(cloud.store(), id).await?;
    let lines = stream::try_unfold(Step::Head(head), move |step| {
        let store = cloud.store().clone();
        async move { step.run(&store, id).await }
    });
    Ok((
        [(header::CONTENT_TYPE, JSON_LINES)],
        Body::from_stream(lines),
    )
        .into_response())
}

/// The records of one attempt as they came.
#[utoipa::path(get, path = "/api/v1/scans/{id}/records", tag = "results",
    params(("id" = JobId, Path), RecordRange), security(("token" = [])),
    responses((status = 200, body = String, content_type = "application/x-ndjson"),
        (status = "4XX", body = Problem)))]
pub(super) async fn records(
    State(cloud): State<Cloud>,
    _reader: MayRead,
    At(id): At<JobId>,
    Asked(range): Asked<RecordRange>,
) -> Result<Response, Problem> {
    let job = cloud.store().job(id).await?;
    let attempt = range.attempt.unwrap_or(job.attempt);
    let limit = range.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let mut lines = cloud
        .store()
        .records(id, attempt, range.from, limit)
        .await?
        .join("\n");
    if !lines.is_empty() {
        lines.push('\n');
    }
    Ok(([(header::CONTENT_TYPE, JSON_LINES)], lines).into_response())
}

/// Hosts a scan found.
#[utoipa::path(get, path = "/api/v1/scans/{id}/hosts", tag = "results", params(("id" = JobId, Path), Page),
    security(("token" = [])), responses((status = 200, body = HostPage), (status = "4XX", body = Problem)))]
pub(super) async fn hosts(
    State(cloud): State<Cloud>,
    _reader: MayRead,
    At(id): At<JobId>,
    Asked(page): Asked<Page>,
) -> Result<Json<HostPage>, Problem> {
    let after = page.after.as_deref().map(read_cursor).transpose()?;
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let after = after.map(|key| (key.vlan, key.ip));
    cloud.store().job(id).await?;
    let items = cloud.store().hosts(id, after, limit).await?;
    let full = items.len() == limit as usize;
    let next = items
        .last()
        .filter(|_| full)
        .map(|h| format!("{}/{}", h.vlan.unwrap_or(0), h.ip));
    Ok(Json(HostPage { items, next }))
}

/// Ports a scan found.
#[utoipa::path(get, path = "/api/v1/scans/{id}/ports", tag = "results", params(("id" = JobId, Path), Page),
    security(("token" = [])), responses((status = 200, body = PortPage), (status = "4XX", body = Problem)))]
pub(super) async fn ports(
    State(cloud): State<Cloud>,
    _reader: MayRead,
    At(id): At<JobId>,
    Asked(page): Asked<Page>,
) -> Result<Json<PortPage>, Problem> {
    let after = page.after.as_deref().map(read_cursor).transpose()?;
    let limit = page.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    cloud.store().job(id).await?;
    let items = cloud.store().ports(id, after.as_ref(), limit).await?;
    let full = items.len() == limit as usize;
    let next = items.last().filter(|_| full).map(|p| {
        let key = port_key(p);
        format!("{}/{}/{}/{}", key.vlan, key.ip, key.proto, key.port)
    });
    Ok(Json(PortPage { items, next }))
}

/// Answers that crossed from one VLAN into another.
#[utoipa::path(get, path = "/api/v1/scans/{id}/leaks", tag = "results", params(("id" = JobId, Path)),
    security(("token" = [])),
    responses((status = 200, body = Vec<LeakFinding>), (status = "4XX", body = Problem)))]
pub(super) async fn leaks(
    State(cloud): State<Cloud>,
    _reader: MayRead,
    At(id): At<JobId>,
) -> Result<Json<Vec<LeakFinding>>, Problem> {
    cloud.store().job(id).await?;
    Ok(Json(cloud.store().leaks(id).await?))
}

/// A line of the merged results; the form of [`Observation`], without its need for the engine's own types.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line<'a> {
    Host {
        vlan: Option<u16>,
        ip: IpAddr,
        state: HostState,
        reason: HostReason,
        #[serde(skip_serializing_if = "Option::is_none")]
        mac: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        vendor: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rtt_us: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl: Option<u8>,
        time: Moment,
    },
    Port {
        vlan: Option<u16>,
        ip: IpAddr,
        proto: Proto,
        port: u16,
        state: PortState,
        reason: PortReason,
        #[serde(skip_serializing_if = "Option::is_none")]
        ttl: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rtt_us: Option<u64>,
        time: Moment,
    },
    Leak {
        vlan: Option<u16>,
        seen_vlan: Option<u16>,
        ip: IpAddr,
        mac: &'a str,
        time: Moment,
    },
}

/// Where the stream of results is.
enum Step {
    Head(Head),
    Hosts(Option<(u16, IpAddr)>, String),
    Ports(Option<PortKey>, String),
    Leaks(String),
    Summary(String),
    End,
}

/// First and last line.
struct Head {
    scan: String,
    summary: String,
}

impl Step {
    /// The next chunk, and where to go on.
    async fn run(self, store: &Store, id: JobId) -> Result<Option<(Bytes, Self)>, StoreError> {
        let mut chunk = String::new();
        let next = match self {
            Self::Head(Head { scan, summary }) => {
                chunk = scan + "\n";
                Self::Hosts(None, summary)
            }
            Self::Hosts(after, summary) => {
                let hosts = store.hosts(id, after, PAGE).await?;
                hosts
                    .iter()
                    .for_each(|host| push(&mut chunk, &host_line(host)));
                match hosts.last().filter(|_| hosts.len() == PAGE as usize) {
                    Some(last) => Self::Hosts(Some((last.vlan.unwrap_or(0), last.ip)), summary),
                    None => Self::Ports(None, summary),
                }
            }
            Self::Ports(after, summary) => {
                let ports = store.ports(id, after.as_ref(), PAGE).await?;
                ports
                    .iter()
                    .for_each(|port| push(&mut chunk, &port_line(port)));
                match ports.last().filter(|_| ports.len() == PAGE as usize) {
                    Some(last) => Self::Ports(Some(port_key(last)), summary),
                    None => Self::Leaks(summary),
                }
            }
            Self::Leaks(summary) => {
                let leaks = store.leaks(id).await?;
                leaks
                    .iter()
                    .for_each(|leak| push(&mut chunk, &leak_line(leak)));
                Self::Summary(summary)
            }
            Self::Summary(summary) => {
                chunk = summary + "\n";
                Self::End
            }
            Self::End => return Ok(None),
        };
        Ok(Some((Bytes::from(chunk), next)))
    }
}

/// The first and last record of the newest attempt that has any; made up from what is known where they are missing,
/// so that the whole always reads like a result.
async fn head(store: &Store, id: JobId) -> Result<Head, Problem> {
    let job = store.job(id).await?;
    let request = store.job_request(id).await?;
    let attempts = store.attempts(id).await?;
    let (mut scan, mut summary) = (None, None);
    if let Some(newest) = attempts.iter().rev().find(|attempt| attempt.records > 0) {
        let line = |from| store.records(id, newest.attempt, from, 1);
        scan = line(0)
            .await?
            .pop()
            .filter(|text| is(text, |o| matches!(o, Observation::Scan(_))));
        let last = line(newest.records - 1).await?.pop();
        summary = last.filter(|text| is(text, |o| matches!(o, Observation::Summary(_))));
    }
    let made_up = |observation: &Observation| {
        serde_json::to_string(observation).expect("an observation is strings and numbers")
    };
    Ok(Head {
        scan: scan.unwrap_or_else(|| {
            made_up(&Observation::Scan(ScanHeader {
                version: OBSERVATION_VERSION,
                id: id.to_string(),
                started: job.started.unwrap_or(job.created).to_datetime(),
                request,
            }))
        }),
        summary: summary.unwrap_or_else(|| {
            made_up(&Observation::Summary(Summary {
                hosts_up: job.hosts_up,
                open: job.open_ports,
                ..Summary::default()
            }))
        }),
    })
}

fn is(text: &str, wanted: impl Fn(&Observation) -> bool) -> bool {
    serde_json::from_str(text).is_ok_and(|observation| wanted(&observation))
}

fn push(chunk: &mut String, line: &Line<'_>) {
    chunk.push_str(&serde_json::to_string(line).expect("a finding is strings and numbers"));
    chunk.push('\n');
}

fn host_line(host: &HostFinding) -> Line<'_> {
    Line::Host {
        vlan: host.vlan,
        ip: host.ip,
        state: HostState::Up,
        reason: host.reason,
        mac: host.mac.as_deref(),
        vendor: host.vendor.as_deref(),
        rtt_us: host.rtt_us,
        ttl: host.ttl,
        time: host.first,
    }
}

fn port_line(port: &PortFinding) -> Line<'static> {
    Line::Port {
        vlan: port.vlan,
        ip: port.ip,
        proto: port.proto,
        port: port.port,
        state: port.state,
        reason: port.reason,
        ttl: port.ttl,
        rtt_us: port.rtt_us,
        time: port.first,
    }
}

fn leak_line(leak: &LeakFinding) -> Line<'_> {
    Line::Leak {
        vlan: leak.vlan,
        seen_vlan: leak.seen_vlan,
        ip: leak.ip,
        mac: &leak.mac,
        time: leak.first,
    }
}

const fn port_key(port: &PortFinding) -> PortKey {
    PortKey {
        vlan: match port.vlan {
            Some(vlan) => vlan,
            None => 0,
        },
        ip: port.ip,
        proto: proto_word(port.proto),
        port: port.port,
    }
}

const fn proto_word(proto: Proto) -> &'static str {
    match proto {
        Proto::Tcp => "tcp",
        Proto::Udp => "udp",
    }
}

/// Reads `100/10.1.0.9` and `100/10.1.0.9/tcp/80`.
fn read_cursor(text: &str) -> Result<PortKey, Problem> {
    let read = || {
        let mut parts = text.split('/');
        let vlan = parts.next()?.parse().ok()?;
        let ip = parts.next()?.parse().ok()?;
        let proto = match parts.next() {
            None => "",
            Some("tcp") => "tcp",
            Some("udp") => "udp",
            Some(_) => return None,
        };
        let port = parts.next().map_or(Some(0), |port| port.parse().ok())?;
        parts.next().is_none().then_some(PortKey {
            vlan,
            ip,
            proto,
            port,
        })
    };
    read().ok_or_else(|| Problem::bad(format!("'{text}' is not where a page ends: use its `next`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_and_nothing_else() {
        let ip = "2001:db8::1".parse().unwrap();
        let whole = PortKey {
            vlan: 100,
            ip,
            proto: "udp",
            port: 53,
        };
        assert_eq!(read_cursor("100/2001:db8::1/udp/53").unwrap(), whole);
        let host = PortKey {
            vlan: 100,
            ip,
            proto: "",
            port: 0,
        };
        assert_eq!(read_cursor("100/2001:db8::1").unwrap(), host);
        for bad in [
            "",
            "100",
            "x/10.0.0.1",
            "1/10.0.0.1/icmp/1",
            "1/10.0.0.1/tcp/99999",
            "1/10.0.0.1/tcp/1/2",
        ] {
            assert!(read_cursor(bad).is_err(), "{bad}");
        }
    }
}
