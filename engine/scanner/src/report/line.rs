//! One observation as one JSON line, as `serde_json` would write it: the two kinds that come by the million are put
//! together by hand, in a tenth of the time.

use std::io::{self, Write};
use std::net::IpAddr;

use sonde_core::observation::{
    HostObservation, HostReason, HostState, Observation, PortObservation, PortReason, Proto,
};
use sonde_core::request::PortState;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Writes lines. What many lines have in common is kept ready: the place up to the address, states with their
/// reasons, and the end with its time, as a burst of answers has but one.
#[derive(Debug)]
pub(crate) struct LineWriter {
    line: Vec<u8>,
    time: OffsetDateTime,
    /// From the comma before the time to the newline.
    end: Vec<u8>,
}

impl Default for LineWriter {
    fn default() -> Self {
        Self {
            line: Vec::with_capacity(256),
            time: OffsetDateTime::UNIX_EPOCH,
            end: b",\"time\":\"1970-01-01T00:00:00Z\"}\n".to_vec(),
        }
    }
}

impl LineWriter {
    /// Writes `observation` and its newline.
    pub(crate) fn write(
        &mut self,
        out: &mut impl Write,
        observation: &Observation,
    ) -> io::Result<()> {
        self.line.clear();
        match observation {
            Observation::Host(host) if host.vendor.is_none() => self.host(host)?,
            Observation::Port(port) => self.port(port)?,
            other => {
                serde_json::to_writer(&mut self.line, other)?;
                self.line.push(b'\n');
            }
        }
        out.write_all(&self.line)
    }

    fn host(&mut self, host: &HostObservation) -> io::Result<()> {
        match host.vlan {
            None => self
                .line
                .extend(b"{\"type\":\"host\",\"vlan\":null,\"ip\":\""),
            Some(vlan) => {
                self.line.extend(b"{\"type\":\"host\",\"vlan\":");
                self.digits(vlan.id());
                self.line.extend(b",\"ip\":\"");
            }
        }
        self.address(host.ip)?;
        let HostState::Up = host.state;
        self.line.extend(b"\",\"state\":\"up\",\"reason\":\"");
        self.line.extend(reason_of_host(host.reason).as_bytes());
        self.line.push(b'"');
        if let Some(mac) = host.mac {
            write!(self.line, ",\"mac\":\"{mac}\"")?;
        }
        self.rtt(host.rtt_us);
        self.ttl(host.ttl);
        self.end(host.time)
    }

    fn port(&mut self, port: &PortObservation) -> io::Result<()> {
        match port.vlan {
            None => self
                .line
                .extend(b"{\"type\":\"port\",\"vlan\":null,\"ip\":\""),
            Some(vlan) => {
                self.line.extend(b"{\"type\":\"port\",\"vlan\":");
                self.digits(vlan.id());
                self.line.extend(b",\"ip\":\"");
            }
        }
        self.address(port.ip)?;
        match port.proto {
            Proto::Tcp => self.line.extend(b"\",\"proto\":\"tcp\",\"port\":"),
            Proto::Udp => self.line.extend(b"\",\"proto\":\"udp\",\"port\":"),
        }
        self.digits(port.port);
        match (port.state, port.reason) {
            (PortState::Open, PortReason::SynAck) => {
                self.line
                    .extend(b",\"state\":\"open\",\"reason\":\"syn-ack\"");
            }
            (state, reason) => {
                self.line.extend(b",\"state\":\"");
                self.line.extend(state_of(state).as_bytes());
                self.line.extend(b"\",\"reason\":\"");
                self.line.extend(reason_of(reason).as_bytes());
                self.line.push(b'"');
            }
        }
        self.ttl(port.ttl);
        self.rtt(port.rtt_us);
        self.end(port.time)
    }

    fn address(&mut self, ip: IpAddr) -> io::Result<()> {
        match ip {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                self.digits(a);
                for octet in [b, c, d] {
                    self.line.push(b'.');
                    self.digits(octet);
                }
                Ok(())
            }
            IpAddr::V6(ip) => write!(self.line, "{ip}"),
        }
    }

    fn rtt(&mut self, micros: Option<u64>) {
        if let Some(micros) = micros {
            self.line.extend(b",\"rtt_us\":");
            self.digits(micros);
        }
    }

    fn ttl(&mut self, ttl: Option<u8>) {
        if let Some(ttl) = ttl {
            self.line.extend(b",\"ttl\":");
            self.digits(ttl);
        }
    }

    #[inline]
    fn digits(&mut self, number: impl itoa::Integer) {
        self.line
            .extend(itoa::Buffer::new().format(number).as_bytes());
    }

    fn end(&mut self, time: OffsetDateTime) -> io::Result<()> {
        if time != self.time {
            self.end.clear();
            self.end.extend(b",\"time\":\"");
            let text = time.format(&Rfc3339).map_err(io::Error::other)?;
            self.end.extend(text.as_bytes());
            self.end.extend(b"\"}\n");
            self.time = time;
        }
        self.line.extend(&self.end);
        Ok(())
    }
}

fn state_of(state: PortState) -> &'static str {
    match state {
        PortState::Open => "open",
        PortState::Closed => "closed",
        PortState::Filtered => "filtered",
        PortState::Unconfirmed => "unconfirmed",
    }
}

fn reason_of(reason: PortReason) -> &'static str {
    match reason {
        PortReason::SynAck => "syn-ack",
        PortReason::Rst => "rst",
        PortReason::UdpReply => "udp-reply",
        PortReason::PortUnreachable => "port-unreachable",
        PortReason::Prohibited => "prohibited",
        PortReason::NoAnswer => "no-answer",
    }
}

fn reason_of_host(reason: HostReason) -> &'static str {
    match reason {
        HostReason::ArpReply => "arp-reply",
        HostReason::NdpAdvertisement => "ndp-advertisement",
        HostReason::EchoReply => "echo-reply",
        HostReason::SynAck => "syn-ack",
        HostReason::Rst => "rst",
        HostReason::UdpReply => "udp-reply",
        HostReason::PortUnreachable => "port-unreachable",
    }
}

#[cfg(test)]
mod tests {
    use sonde_wire::{MacAddr, VlanId};
    use time::Duration;

    use super::super::samples;
    use super::*;

    /// Every line is byte for byte what serde makes of it, one writer for all.
    fn assert_as_serde(observations: impl IntoIterator<Item = Observation>) {
        let mut writer = LineWriter::default();
        for observation in observations {
            let mut written = Vec::new();
            writer.write(&mut written, &observation).unwrap();
            let expected = serde_json::to_string(&observation).unwrap() + "\n";
            assert_eq!(String::from_utf8(written).unwrap(), expected);
        }
    }

    #[test]
    fn every_kind_is_written_as_serde_does() {
        assert_as_serde(samples::result());
    }

    #[test]
    fn every_reason_state_and_field_is_written_as_serde_does() {
        let places = [
            (None, "10.0.0.9".parse().unwrap()),
            (VlanId::new(4094), "255.255.255.255".parse().unwrap()),
            (VlanId::new(7), "2001:db8::1:0:0:9".parse().unwrap()),
            (None, "::ffff:1.2.3.4".parse().unwrap()),
        ];
        let times = [0, 1, 999_999_999, 86_400_000_000_123]
            .map(|nanos| OffsetDateTime::UNIX_EPOCH + Duration::nanoseconds(nanos));
        let mut all = Vec::new();
        for (vlan, ip) in places {
            for (time, known) in times.into_iter().flat_map(|t| [(t, true), (t, false)]) {
                let port = PortObservation {
                    vlan,
                    ip,
                    proto: Proto::Tcp,
                    port: 0,
                    state: PortState::Open,
                    reason: PortReason::SynAck,
                    ttl: known.then_some(255),
                    rtt_us: known.then_some(u64::MAX),
                    time,
                };
                let host = HostObservation {
                    vlan,
                    ip,
                    state: HostState::Up,
                    reason: HostReason::Rst,
                    mac: known.then_some(MacAddr([2, 0, 0, 0xfe, 0, 1])),
                    vendor: None,
                    rtt_us: known.then_some(1),
                    ttl: known.then_some(0),
                    time,
                };
                all.push(Observation::Port(PortObservation {
                    proto: Proto::Udp,
                    port: u16::MAX,
                    ..port.clone()
                }));
                for state in [
                    PortState::Open,
                    PortState::Closed,
                    PortState::Filtered,
                    PortState::Unconfirmed,
                ] {
                    let port = port.clone();
                    all.push(Observation::Port(PortObservation { state, ..port }));
                }
                for reason in [
                    PortReason::SynAck,
                    PortReason::Rst,
                    PortReason::UdpReply,
                    PortReason::PortUnreachable,
                    PortReason::Prohibited,
                    PortReason::NoAnswer,
                ] {
                    let port = port.clone();
                    all.push(Observation::Port(PortObservation { reason, ..port }));
                }
                for reason in [
                    HostReason::ArpReply,
                    HostReason::NdpAdvertisement,
                    HostReason::EchoReply,
                    HostReason::SynAck,
                    HostReason::Rst,
                    HostReason::UdpReply,
                    HostReason::PortUnreachable,
                ] {
                    let host = host.clone();
                    all.push(Observation::Host(HostObservation { reason, ..host }));
                }
                all.push(Observation::Host(HostObservation {
                    vendor: Some("a \"quoted\" name".to_owned()),
                    ..host
                }));
            }
        }
        assert_as_serde(all);
    }
}
