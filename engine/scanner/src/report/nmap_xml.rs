//! The form of nmap's `-oX`, as far as python-libnmap and Metasploit's importer read it.
//!
//! Ports are grouped by host in that form, so the document is written at the end. One address in two VLANs is
//! two `<host>` elements; the VLAN is the output of a host script `vlan`.

use std::io::{self, BufWriter, Write};
use std::net::IpAddr;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};
use sonde_core::observation::{Observation, PortObservation, Proto, ScanHeader};
use sonde_core::ports::Ports;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::Report;
use super::csv::text;
use super::grouped::{Grouped, Host};

/// The version of nmap's document type written here.
const OUTPUT_VERSION: &str = "1.05";

/// As C's `asctime` without the line's end; what nmap writes for people.
const PEOPLE_TIME: &[FormatItem<'_>] = format_description!(
    "[weekday repr:short] [month repr:short] [day padding:space] [hour]:[minute]:[second] [year]"
);

/// Writes the document at the end of the scan.
pub struct NmapXmlReport<W: Write> {
    out: Writer<BufWriter<W>>,
    result: Grouped,
}

impl<W: Write> NmapXmlReport<W> {
    /// A report that writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self {
            out: Writer::new_with_indent(BufWriter::new(writer), b' ', 2),
            result: Grouped::default(),
        }
    }
}

impl<W: Write + Send> Report for NmapXmlReport<W> {
    fn observation(&mut self, observation: &Observation) -> io::Result<()> {
        self.result.add(observation);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        let result = std::mem::take(&mut self.result);
        self.out
            .write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
        self.out
            .write_event(Event::DocType(BytesText::new("nmaprun")))?;
        let started = result
            .header
            .as_ref()
            .map_or(OffsetDateTime::UNIX_EPOCH, |h| h.started);
        let arguments = result.header.as_ref().map(arguments).unwrap_or_default();
        self.out
            .create_element("nmaprun")
            .with_attribute(("scanner", "sonde"))
            .with_attribute(("args", arguments.as_str()))
            .with_attribute(("start", seconds(started).as_str()))
            .with_attribute(("startstr", people_time(started).as_str()))
            .with_attribute(("version", env!("CARGO_PKG_VERSION")))
            .with_attribute(("xmloutputversion", OUTPUT_VERSION))
            .write_inner_content(|out| write_run(out, &result, started))?;
        self.out.get_mut().write_all(b"\n")?;
        self.out.get_mut().flush()
    }
}

fn write_run<W: Write>(
    out: &mut Writer<W>,
    result: &Grouped,
    started: OffsetDateTime,
) -> io::Result<()> {
    if let Some(header) = &result.header {
        for (proto, kind) in [(Proto::Tcp, "syn"), (Proto::Udp, "udp")] {
            let ports = ports_asked(header, proto);
            if ports.is_empty() {
                continue;
            }
            out.create_element("scaninfo")
                .with_attribute(("type", kind))
                .with_attribute(("protocol", text(&proto).as_str()))
                .with_attribute(("numservices", ports.len().to_string().as_str()))
                .with_attribute(("services", ranges(&ports).as_str()))
                .write_empty()?;
        }
    }
    let mut ended = started;
    for ((vlan, ip), host) in &result.hosts {
        ended = ended.max(last_seen(host).unwrap_or(ended));
        let vlan = vlan.map(|vlan| vlan.to_string());
        write_host(out, vlan.as_deref(), *ip, host, started)?;
    }
    let summary = result.summary.clone().unwrap_or_default();
    if summary.duration_ms > 0 {
        ended = started + std::time::Duration::from_millis(summary.duration_ms);
    }
    let elapsed = format!("{:.2}", (ended - started).as_seconds_f64());
    let up = result.hosts.len().to_string();
    out.create_element("runstats").write_inner_content(|out| {
        let sentence = format!(
            "Sonde done at {}; {up} hosts up, {} open ports, scanned in {elapsed} seconds",
            people_time(ended),
            summary.open
        );
        out.create_element("finished")
            .with_attribute(("time", seconds(ended).as_str()))
            .with_attribute(("timestr", people_time(ended).as_str()))
            .with_attribute(("elapsed", elapsed.as_str()))
            .with_attribute(("summary", sentence.as_str()))
            .with_attribute(("exit", if summary.complete { "success" } else { "error" }))
            .write_empty()?;
        // What is down is never listed, so every host counted here is up.
        out.create_element("hosts")
            .with_attribute(("up", up.as_str()))
            .with_attribute(("down", "0"))
            .with_attribute(("total", up.as_str()))
            .write_empty()?;
        Ok(())
    })?;
    Ok(())
}

fn write_host<W: Write>(
    out: &mut Writer<W>,
    vlan: Option<&str>,
    ip: IpAddr,
    host: &Host,
    started: OffsetDateTime,
) -> io::Result<()> {
    let found = host.host.as_ref();
    let first = host.ports.values().next();
    let seen = last_seen(host).unwrap_or(started);
    let reason = found
        .map(|h| text(&h.reason))
        .or(first.map(|p| text(&p.reason)))
        .unwrap_or_default();
    let ttl = found
        .and_then(|h| h.ttl)
        .or(first.and_then(|p| p.ttl))
        .unwrap_or(0)
        .to_string();
    out.create_element("host")
        .with_attribute(("starttime", seconds(started).as_str()))
        .with_attribute(("endtime", seconds(seen).as_str()))
        .write_inner_content(|out| {
            out.create_element("status")
                .with_attribute(("state", "up"))
                .with_attribute(("reason", nmap_reason(&reason)))
                .with_attribute(("reason_ttl", ttl.as_str()))
                .write_empty()?;
            out.create_element("address")
                .with_attribute(("addr", ip.to_string().as_str()))
                .with_attribute(("addrtype", if ip.is_ipv4() { "ipv4" } else { "ipv6" }))
                .write_empty()?;
            if let Some(mac) = found.and_then(|h| h.mac) {
                // Upper case, as nmap writes it.
                let mac = mac.to_string().to_uppercase();
                let vendor = found.and_then(|h| h.vendor.as_deref());
                let mut address = out
                    .create_element("address")
                    .with_attribute(("addr", mac.as_str()))
                    .with_attribute(("addrtype", "mac"));
                if let Some(vendor) = vendor {
                    address = address.with_attribute(("vendor", vendor));
                }
                address.write_empty()?;
            }
            out.create_element("hostnames")
                .write_inner_content(|_| Ok(()))?;
            out.create_element("ports").write_inner_content(|out| {
                host.ports
                    .values()
                    .try_for_each(|port| write_port(out, port))
            })?;
            if let Some(vlan) = vlan {
                out.create_element("hostscript")
                    .write_inner_content(|out| {
                        out.create_element("script")
                            .with_attribute(("id", "vlan"))
                            .with_attribute(("output", vlan))
                            .write_empty()?;
                        Ok(())
                    })?;
            }
            if let Some(rtt) = found.and_then(|h| h.rtt_us) {
                let rtt = rtt.to_string();
                out.create_element("times")
                    .with_attribute(("srtt", rtt.as_str()))
                    .with_attribute(("rttvar", "0"))
                    .with_attribute(("to", rtt.as_str()))
                    .write_empty()?;
            }
            Ok(())
        })?;
    Ok(())
}

fn write_port<W: Write>(out: &mut Writer<W>, port: &PortObservation) -> io::Result<()> {
    // nmap's word for UDP silence; readers know no other.
    let state = match text(&port.state) {
        state if state == "unconfirmed" => "open|filtered".to_owned(),
        state => state,
    };
    out.create_element("port")
        .with_attribute(("protocol", text(&port.proto).as_str()))
        .with_attribute(("portid", port.port.to_string().as_str()))
        .write_inner_content(|out| {
            out.create_element("state")
                .with_attribute(("state", state.as_str()))
                .with_attribute(("reason", nmap_reason(&text(&port.reason))))
                .with_attribute(("reason_ttl", port.ttl.unwrap_or(0).to_string().as_str()))
                .write_empty()?;
            Ok(())
        })?;
    Ok(())
}

/// nmap's words for our reasons, where they differ.
fn nmap_reason(ours: &str) -> &str {
    match ours {
        "rst" => "reset",
        "udp-reply" => "udp-response",
        "port-unreachable" => "port-unreach",
        "prohibited" => "admin-prohibited",
        "no-answer" => "no-response",
        same => same,
    }
}

fn last_seen(host: &Host) -> Option<OffsetDateTime> {
    let ports = host.ports.values().map(|port| port.time);
    ports.chain(host.host.as_ref().map(|h| h.time)).max()
}

/// The command line that would ask the same.
fn arguments(header: &ScanHeader) -> String {
    format!(
        "sonde scan -p {} {}",
        header.request.ports,
        header.request.targets.join(" ")
    )
}

fn ports_asked(header: &ScanHeader, proto: Proto) -> Vec<u16> {
    let parsed = |text: &str| text.parse::<Ports>().unwrap_or_default();
    let excluded = header
        .request
        .exclude_ports
        .as_deref()
        .map(parsed)
        .unwrap_or_default();
    let ports = parsed(&header.request.ports).subtract(&excluded);
    ports
        .iter()
        .filter(|(of, _)| *of == proto)
        .map(|(_, port)| port)
        .collect()
}

/// Ascending ports as `22,80,8000-8100`.
fn ranges(ports: &[u16]) -> String {
    let mut text = String::new();
    for run in ports.chunk_by(|a, b| a.checked_add(1) == Some(*b)) {
        if !text.is_empty() {
            text.push(',');
        }
        match run {
            [one] => text.push_str(&one.to_string()),
            [first, .., last] => text.push_str(&format!("{first}-{last}")),
            [] => {}
        }
    }
    text
}

fn seconds(time: OffsetDateTime) -> String {
    time.unix_timestamp().to_string()
}

fn people_time(time: OffsetDateTime) -> String {
    time.format(PEOPLE_TIME).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Format, samples};
    use super::*;

    #[test]
    fn one_host_element_a_vlan_and_address_with_its_ports_inside() {
        let text = samples::converted(Format::NmapXml);
        assert_eq!(text.matches("<host ").count(), 3);
        assert_eq!(text.matches("addr=\"10.1.0.9\"").count(), 2);
        for vlan in ["100", "200"] {
            assert!(text.contains(&format!("<script id=\"vlan\" output=\"{vlan}\"/>")));
        }
        let of_100 = text.split("<host ").nth(2).unwrap();
        for port in ["22", "80", "53"] {
            assert!(of_100.contains(&format!("portid=\"{port}\"")));
        }
        assert!(text.contains("services=\"22,80\""));
        assert!(text.contains("numservices=\"1\" services=\"53\""));
        assert!(text.contains("&lt;odd&gt;"));
        assert!(text.contains("startstr=\"Mon Sep 21 14:13:20 2026\""));
        assert!(text.contains("exit=\"success\""));
    }

    #[test]
    fn the_document_is_well_formed_even_of_an_empty_stream() {
        let mut empty = Vec::new();
        super::super::convert(&b""[..], Format::NmapXml, &mut empty).unwrap();
        for text in [
            samples::converted(Format::NmapXml),
            String::from_utf8(empty).unwrap(),
        ] {
            let mut reader = quick_xml::Reader::from_str(&text);
            let mut depth = 0;
            loop {
                match reader.read_event().unwrap() {
                    Event::Start(_) => depth += 1,
                    Event::End(_) => depth -= 1,
                    Event::Eof => break,
                    _ => {}
                }
            }
            assert_eq!(depth, 0);
            assert!(text.contains("</nmaprun>"));
        }
    }

    #[test]
    fn ranges_join_what_is_next_to_each_other() {
        assert_eq!(ranges(&[22, 80, 81, 82, 65_535]), "22,80-82,65535");
        assert_eq!(ranges(&[]), "");
    }
}
