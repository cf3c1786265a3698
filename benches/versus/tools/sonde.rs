//! Sonde: its defaults, at the rate that is asked for.

use std::net::IpAddr;

use serde::Deserialize;

use super::super::truth::Endpoint;
use super::{Reported, Setting, Site, Task, range, words};

/// The report's name goes behind.
pub(super) fn arguments(task: &Task, site: &Site, setting: Setting) -> Vec<String> {
    let rate = setting
        .rate
        .map_or("max".to_owned(), |rate| rate.to_string());
    let mut arguments = words(&format!(
        "scan -q -i {} --link {} --rate {rate} -p {} --discovery none",
        site.interface,
        site.link,
        range(&task.ports)
    ));
    match &site.trunk {
        Some(trunk) => {
            arguments.extend(["--trunk".to_owned(), trunk.to_string_lossy().into_owned()]);
        }
        None => arguments.extend(words(&format!(
            "--source-ip {} --gateway-mac {}",
            site.source, site.next_hop
        ))),
    }
    arguments.extend(task.sonde.iter().cloned());
    arguments.extend(task.targets.iter().cloned());
    if let Some(list) = &task.list {
        arguments.extend(["-f".to_owned(), list.to_string_lossy().into_owned()]);
    }
    arguments.push("-o".to_owned());
    arguments
}

/// The part of a JSON line that is judged.
#[derive(Deserialize)]
struct Line<'a> {
    r#type: &'a str,
    #[serde(default)]
    vlan: Option<u16>,
    ip: Option<IpAddr>,
    port: Option<u16>,
    state: Option<&'a str>,
}

pub(super) fn read_line(line: &str, reported: &mut Reported) -> Option<()> {
    let read: Line<'_> = serde_json::from_str(line).ok()?;
    match read.r#type {
        "port" if read.state == Some("open") => reported.open.push(Endpoint {
            vlan: read.vlan.unwrap_or_default(),
            ip: read.ip?,
            port: read.port?,
        }),
        "summary" => reported.summary = Some(line.to_owned()),
        _ => {}
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::Tool;
    use super::super::tests::{at, parse, site, task};
    use super::*;

    #[test]
    fn the_command() {
        let said = arguments(&task(&["10.0.0.0/12"], 80..=80), &site(), Setting::MAX).join(" ");
        let expected = "scan -q -i near0 --link auto --rate max -p 80 --discovery none --source-ip 192.0.2.2 \
                        --gateway-mac 02:00:00:00:00:01 10.0.0.0/12 -o";
        assert_eq!(said, expected);
    }

    #[test]
    fn open_ports_and_the_summary_are_read() {
        let report = r#"{"type":"scan","version":1,"id":"1","started":"2026-11-25T00:02:23Z","request":{"version":1}}
{"type":"host","vlan":null,"ip":"10.0.0.1","state":"up","reason":"rst","time":"2026-11-25T00:02:23Z"}
{"type":"port","vlan":null,"ip":"10.0.0.1","proto":"tcp","port":80,"state":"open","reason":"syn-ack","time":"2026-11-25T00:02:23Z"}
{"type":"port","vlan":100,"ip":"2001:db8::1","proto":"tcp","port":443,"state":"open","reason":"syn-ack","time":"2026-11-25T00:02:23Z"}
{"type":"port","vlan":100,"ip":"2001:db8::1","proto":"tcp","port":444,"state":"closed","reason":"rst","time":"2026-11-25T00:02:23Z"}
{"type":"summary","complete":true,"sent":101}
"#;
        let reported = parse(Tool::Sonde, report, 80).unwrap();
        let tagged = Endpoint {
            vlan: 100,
            ..at("2001:db8::1", 443)
        };
        assert_eq!(reported.open, [at("10.0.0.1", 80), tagged]);
        assert!(reported.summary.unwrap().contains("\"sent\":101"));
    }
}
