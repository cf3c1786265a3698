//! One observation as one JSON line, as `serde_json` would write it: the two kinds that come by the million are put
//! together by hand, in a tenth of the time.

use std::io::{self, Write};
use std::net::IpAddr;

use sonde_core::observation::{
    HostObservation, HostReason, HostState, Observation, PortObservation, PortReason, Proto,
};
use sonde_core::request::PortState;
use sonde_wire::VlanId;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Writes lines; remembers the last time it wrote, as a burst of answers has but one.
#[derive(Debug)]
pub(crate) struct LineWriter {
    line: Vec<u8>,
    time: OffsetDateTime,
    time_text: String,
}

impl Default for LineWriter {
    fn default() -> Self {
        Self {
            line: Vec::with_capacity(256),
            time: OffsetDateTime::UNIX_EPOCH,
            time_text: "1970-01-01T00:00:00Z".to_owned(),
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
            other => serde_json::to_writer(&mut self.line, other)?,
        }
        self.line.push(b'\n');
        out.write_all(&self.line)
    }

    fn host(&mut self, host: &HostObservation) -> io::Result<()> {
        self.line.extend(b"{\"type\":\"host\"");
        self.place(host.vlan, host.ip)?;
        self.text("state", state_of_host(host.state));
        self.text("reason", reason_of_host(host.reason));
        if let Some(mac) = host.mac {
            write!(self.line, ",\"mac\":\"{mac}\"")?;
        }
        if let Some(rtt) = host.rtt_us {
            self.number("rtt_us", rtt);
        }
        if let Some(ttl) = host.ttl {
            self.number("ttl", ttl.into());
        }
        self.end(host.time)
    }

    fn port(&mut self, port: &PortObservation) -> io::Result<()> {
        self.line.extend(b"{\"type\":\"port\"");
        self.place(port.vlan, port.ip)?;
        self.text("proto", name_of(port.proto));
        self.number("port", port.port.into());
        self.text("state", state_of(port.state));
        self.text("reason", reason_of(port.reason));
        if let Some(ttl) = port.ttl {
            self.number("ttl", ttl.into());
        }
        if let Some(rtt) = port.rtt_us {
            self.number("rtt_us", rtt);
        }
        self.end(port.time)
    }

    fn place(&mut self, vlan: Option<VlanId>, ip: IpAddr) -> io::Result<()> {
        match vlan {
            Some(vlan) => self.number("vlan", vlan.id().into()),
            None => self.line.extend(b",\"vlan\":null"),
        }
        self.line.extend(b",\"ip\":\"");
        match ip {
            IpAddr::V4(ip) => {
                let mut digits = itoa::Buffer::new();
                for (index, octet) in ip.octets().into_iter().enumerate() {
                    if index > 0 {
                        self.line.push(b'.');
                    }
                    self.line.extend(digits.format(octet).as_bytes());
                }
            }
            IpAddr::V6(ip) => write!(self.line, "{ip}")?,
        }
        self.line.push(b'"');
        Ok(())
    }

    fn key(&mut self, key: &str) {
        self.line.extend(b",\"");
        self.line.extend(key.as_bytes());
        self.line.extend(b"\":");
    }

    fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        let mut digits = itoa::Buffer::new();
        self.line.extend(digits.format(value).as_bytes());
    }

    /// `value` needs no escaping.
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.line.push(b'"');
        self.line.extend(value.as_bytes());
        self.line.push(b'"');
    }

    fn end(&mut self, time: OffsetDateTime) -> io::Result<()> {
        if time != self.time {
            self.time_text = time.format(&Rfc3339).map_err(io::Error::other)?;
            self.time = time;
        }
        self.line.extend(b",\"time\":\"");
        self.line.extend(self.time_text.as_bytes());
        self.line.extend(b"\"}");
        Ok(())
    }
}

fn name_of(proto: Proto) -> &'static str {
    match proto {
        Proto::Tcp => "tcp",
        Proto::Udp => "udp",
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

fn state_of_host(state: HostState) -> &'static str {
    match state {
        HostState::Up => "up",
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
    use sonde_wire::MacAddr;
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
