//! What all records of a job come to: each host, each port and each leak once, with its first and last sighting.
//!
//! The key is what the finding is about, so a record repeated by a worker that was killed, or the same port seen by
//! two attempts, adds a sighting and nothing else. A port proven open by one of them is open.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sonde_protocol::ids::JobId;
use sonde_protocol::observation::{HostReason, Observation, PortReason, Proto};
use sonde_protocol::request::PortState;
use sqlx::{Sqlite, Transaction};
use utoipa::ToSchema;

use super::{RecordLine, Store, StoreError, unsigned};
use crate::clock::Moment;

/// A host that is up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostFinding {
    /// VLAN; null on the untagged LAN.
    pub vlan: Option<u16>,
    /// Address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// What proved it.
    #[schema(value_type = String)]
    pub reason: HostReason,
    /// MAC address, for hosts on link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    /// Who made its network interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Round trip in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// Time to live or hop limit of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// First seen.
    pub first: Moment,
    /// Last seen.
    pub last: Moment,
    /// Records that say so.
    pub sightings: u64,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PortFinding {
    /// VLAN; null on the untagged LAN.
    pub vlan: Option<u16>,
    /// Address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// `tcp` or `udp`.
    #[schema(value_type = String)]
    pub proto: Proto,
    /// Number.
    pub port: u16,
    /// What is known; proven open once is open.
    #[schema(value_type = String)]
    pub state: PortState,
    /// Why.
    #[schema(value_type = String)]
    pub reason: PortReason,
    /// Round trip in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
    /// Time to live or hop limit of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// First seen.
    pub first: Moment,
    /// Last seen.
    pub last: Moment,
    /// Records that say so.
    pub sightings: u64,
}

/// An answer that crossed from one VLAN into another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeakFinding {
    /// VLAN the question left on; null for the untagged LAN.
    pub vlan: Option<u16>,
    /// VLAN the answer came in on.
    pub seen_vlan: Option<u16>,
    /// Address that answered.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// MAC address the answer came from.
    pub mac: String,
    /// First seen.
    pub first: Moment,
    /// Last seen.
    pub last: Moment,
    /// Records that say so.
    pub sightings: u64,
}

/// Where a page of ports ended: the key of its last one. Hosts leave `proto` and `port` empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortKey {
    /// VLAN, 0 for the untagged LAN.
    pub vlan: u16,
    /// Address.
    pub ip: IpAddr,
    /// `tcp` or `udp`.
    pub proto: &'static str,
    /// Number.
    pub port: u16,
}

/// Merges what `lines` say into the findings of a job: one statement a kind for the whole batch.
pub(super) async fn merge(
    tx: &mut Transaction<'static, Sqlite>,
    job: i64,
    lines: &[RecordLine],
) -> Result<(), StoreError> {
    let mut hosts = Vec::new();
    let mut ports = Vec::new();
    let mut leaks = Vec::new();
    for observation in lines.iter().filter_map(|line| line.observation.as_ref()) {
        match observation {
            Observation::Host(h) => hosts.push(serde_json::json!([
                vlan_column(h.vlan.map(|v| v.id())),
                hex_key(h.ip),
                h.reason,
                h.mac,
                h.vendor,
                h.rtt_us,
                h.ttl,
                Moment::from(h.time).as_micros(),
            ])),
            Observation::Port(p) => ports.push(serde_json::json!([
                vlan_column(p.vlan.map(|v| v.id())),
                hex_key(p.ip),
                p.proto,
                p.port,
                p.state,
                p.reason,
                p.rtt_us,
                p.ttl,
                Moment::from(p.time).as_micros(),
            ])),
            Observation::Leak(l) => leaks.push(serde_json::json!([
                vlan_column(l.vlan.map(|v| v.id())),
                vlan_column(l.seen_vlan.map(|v| v.id())),
                hex_key(l.ip),
                l.mac,
                Moment::from(l.time).as_micros(),
            ])),
            // The rest tells of the scan, not of the network.
            _ => {}
        }
    }
    for (sql, rows) in [
        (MERGE_HOSTS, hosts),
        (MERGE_PORTS, ports),
        (MERGE_LEAKS, leaks),
    ] {
        if !rows.is_empty() {
            let rows = serde_json::Value::from(rows).to_string();
            sqlx::query(sql)
                .bind(job)
                .bind(rows)
                .execute(&mut **tx)
                .await?;
        }
    }
    Ok(())
}

const MERGE_HOSTS: &str = "INSERT INTO hosts (job, vlan, ip, reason, mac, vendor, rtt_us, ttl, first, last) \
     SELECT ?1, value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
     value ->> 6, value ->> 7, value ->> 7 FROM json_each(?2) WHERE true \
     ON CONFLICT (job, vlan, ip) DO UPDATE SET first = min(first, excluded.first), \
     last = max(last, excluded.last), sightings = sightings + 1, mac = coalesce(mac, excluded.mac), \
     vendor = coalesce(vendor, excluded.vendor)";

const MERGE_PORTS: &str = "INSERT INTO ports (job, vlan, ip, proto, port, state, reason, rtt_us, ttl, first, last) \
     SELECT ?1, value ->> 0, unhex(value ->> 1), value ->> 2, value ->> 3, value ->> 4, value ->> 5, \
     value ->> 6, value ->> 7, value ->> 8, value ->> 8 FROM json_each(?2) WHERE true \
     ON CONFLICT (job, vlan, ip, proto, port) DO UPDATE SET first = min(first, excluded.first), \
     last = max(last, excluded.last), sightings = sightings + 1, \
     reason = CASE WHEN state = 'open' THEN reason ELSE excluded.reason END, \
     rtt_us = CASE WHEN state = 'open' THEN rtt_us ELSE excluded.rtt_us END, \
     ttl = CASE WHEN state = 'open' THEN ttl ELSE excluded.ttl END, \
     state = CASE WHEN state = 'open' THEN state ELSE excluded.state END";

const MERGE_LEAKS: &str = "INSERT INTO leaks (job, vlan, seen_vlan, ip, mac, first, last) \
     SELECT ?1, value ->> 0, value ->> 1, unhex(value ->> 2), value ->> 3, value ->> 4, value ->> 4 \
     FROM json_each(?2) WHERE true \
     ON CONFLICT (job, vlan, seen_vlan, ip, mac) DO UPDATE SET first = min(first, excluded.first), \
     last = max(last, excluded.last), sightings = sightings + 1";

type HostRow = (
    i64,
    Vec<u8>,
    String,
    Option<String>,
    Option<String>,
    Option<i64>,
    Option<i64>,
    i64,
    i64,
    i64,
);
type PortRow = (
    i64,
    Vec<u8>,
    String,
    i64,
    String,
    String,
    Option<i64>,
    Option<i64>,
    i64,
    i64,
    i64,
);

type LeakRow = (i64, i64, Vec<u8>, String, i64, i64, i64);

impl Store {
    /// At most `limit` hosts of a job after `after`, by VLAN and address.
    pub async fn hosts(
        &self,
        job: JobId,
        after: Option<(u16, IpAddr)>,
        limit: u32,
    ) -> Result<Vec<HostFinding>, StoreError> {
        let rows: Vec<HostRow> = sqlx::query_as(
            "SELECT vlan, ip, reason, mac, vendor, rtt_us, ttl, first, last, sightings FROM hosts \
             WHERE job = (SELECT key FROM jobs WHERE id = ?) AND (vlan, ip) > (?, ?) \
             ORDER BY vlan, ip LIMIT ?",
        )
        .bind(job.to_string())
        .bind(after.map_or(-1, |(vlan, _)| i64::from(vlan)))
        .bind(after.map_or(Vec::new(), |(_, ip)| ip_key(ip)))
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter()
            .map(
                |(vlan, ip, reason, mac, vendor, rtt_us, ttl, first, last, sightings)| {
                    Ok(HostFinding {
                        vlan: vlan_of(vlan)?,
                        ip: read_ip(&ip)?,
                        reason: word(&reason, "a reason")?,
                        mac,
                        vendor,
                        rtt_us: optional(rtt_us, "a round-trip time")?,
                        ttl: optional(ttl, "a time to live")?,
                        first: Moment::from_micros(first),
                        last: Moment::from_micros(last),
                        sightings: unsigned(sightings, "a count")?,
                    })
                },
            )
            .collect()
    }

    /// At most `limit` ports of a job after `after`, by VLAN, address, protocol and number.
    pub async fn ports(
        &self,
        job: JobId,
        after: Option<&PortKey>,
        limit: u32,
    ) -> Result<Vec<PortFinding>, StoreError> {
        let rows: Vec<PortRow> = sqlx::query_as(
            "SELECT vlan, ip, proto, port, state, reason, rtt_us, ttl, first, last, sightings FROM ports \
             WHERE job = (SELECT key FROM jobs WHERE id = ?) AND (vlan, ip, proto, port) > (?, ?, ?, ?) \
             ORDER BY vlan, ip, proto, port LIMIT ?",
        )
        .bind(job.to_string())
        .bind(after.map_or(-1, |key| i64::from(key.vlan)))
        .bind(after.map_or(Vec::new(), |key| ip_key(key.ip)))
        .bind(after.map_or("", |key| key.proto))
        .bind(after.map_or(0, |key| i64::from(key.port)))
        .bind(limit)
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter()
            .map(
                |(vlan, ip, proto, port, state, reason, rtt_us, ttl, first, last, sightings)| {
                    Ok(PortFinding {
                        vlan: vlan_of(vlan)?,
                        ip: read_ip(&ip)?,
                        proto: word(&proto, "a protocol")?,
                        port: unsigned(port, "a port")?,
                        state: word(&state, "a port's state")?,
                        reason: word(&reason, "a reason")?,
                        rtt_us: optional(rtt_us, "a round-trip time")?,
                        ttl: optional(ttl, "a time to live")?,
                        first: Moment::from_micros(first),
                        last: Moment::from_micros(last),
                        sightings: unsigned(sightings, "a count")?,
                    })
                },
            )
            .collect()
    }

    /// The leaks of a job, at most 10,000: a network that leaks more has one cause.
    pub async fn leaks(&self, job: JobId) -> Result<Vec<LeakFinding>, StoreError> {
        let rows: Vec<LeakRow> = sqlx::query_as(
            "SELECT vlan, seen_vlan, ip, mac, first, last, sightings FROM leaks \
             WHERE job = (SELECT key FROM jobs WHERE id = ?) ORDER BY vlan, seen_vlan, ip, mac LIMIT ?",
        )
        .bind(job.to_string())
        .bind(LEAKS_MAX)
        .fetch_all(&self.reader)
        .await?;
        rows.into_iter()
            .map(|(vlan, seen_vlan, ip, mac, first, last, sightings)| {
                Ok(LeakFinding {
                    vlan: vlan_of(vlan)?,
                    seen_vlan: vlan_of(seen_vlan)?,
                    ip: read_ip(&ip)?,
                    mac,
                    first: Moment::from_micros(first),
                    last: Moment::from_micros(last),
                    sightings: unsigned(sightings, "a count")?,
                })
            })
            .collect()
    }
}

/// Leaks shown of a job: a network that leaks more has one cause, not thousands.
const LEAKS_MAX: u32 = 10_000;

fn vlan_column(vlan: Option<u16>) -> u16 {
    vlan.unwrap_or(0)
}

fn vlan_of(column: i64) -> Result<Option<u16>, StoreError> {
    let vlan: u16 = unsigned(column, "a VLAN")?;
    Ok((vlan != 0).then_some(vlan))
}

/// Family and address: sorts IPv4 before IPv6, each by number.
fn ip_key(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => [&[4][..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[6][..], &ip.octets()].concat(),
    }
}

fn hex_key(ip: IpAddr) -> String {
    sonde_protocol::token::hex(&ip_key(ip))
}

fn read_ip(key: &[u8]) -> Result<IpAddr, StoreError> {
    const WHAT: StoreError = StoreError::Unreadable { what: "an address" };
    match key {
        [4, rest @ ..] => <[u8; 4]>::try_from(rest)
            .map(IpAddr::from)
            .map_err(|_| WHAT),
        [6, rest @ ..] => <[u8; 16]>::try_from(rest)
            .map(IpAddr::from)
            .map_err(|_| WHAT),
        _ => Err(WHAT),
    }
}

/// Reads a word of one of the observation's enums.
fn word<T: serde::de::DeserializeOwned>(text: &str, what: &'static str) -> Result<T, StoreError> {
    use serde::de::IntoDeserializer as _;
    let words: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        text.into_deserializer();
    T::deserialize(words).map_err(|_| StoreError::Unreadable { what })
}

fn optional<T: TryFrom<i64>>(
    number: Option<i64>,
    what: &'static str,
) -> Result<Option<T>, StoreError> {
    number.map(|n| unsigned(n, what)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_keys_are_read_back_and_sort_as_people_expect() {
        let addresses = [
            "9.255.0.1",
            "10.0.0.2",
            "10.0.0.10",
            "::1",
            "2001:db8::2",
            "2001:db8::10",
        ];
        let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut keys: Vec<Vec<u8>> = addresses.iter().map(|ip| ip_key(*ip)).collect();
        keys.sort();
        let read: Vec<IpAddr> = keys.iter().map(|key| read_ip(key).unwrap()).collect();
        assert_eq!(read, addresses);
        assert!(read_ip(&[4, 1, 2]).is_err());
        assert!(read_ip(&[]).is_err());
    }
}
