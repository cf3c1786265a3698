//! nmap: everything, at its own pace.

use std::net::IpAddr;

use super::super::truth::Endpoint;
use super::{Reported, Setting, Site, Task, range, words};

/// More than it reaches: it then never slows down by itself.
const MIN_RATE: u64 = 100_000;

/// The report's name goes behind.
pub(super) fn arguments(
    task: &Task,
    site: &Site,
    setting: Setting,
) -> Result<Vec<String>, &'static str> {
    if site.trunk.is_some() {
        return Err("can't tag");
    }
    let mut arguments = words(&format!(
        "-n -Pn -sS --disable-arp-ping --send-eth -e {} -p {} --min-rate {}",
        site.interface,
        range(&task.ports),
        setting.rate.unwrap_or(MIN_RATE)
    ));
    if task.six {
        arguments.push("-6".to_owned());
    }
    arguments.extend(task.targets.iter().cloned());
    if let Some(list) = &task.list {
        arguments.extend(["-iL".to_owned(), list.to_string_lossy().into_owned()]);
    }
    arguments.push("-oG".to_owned());
    Ok(arguments)
}

/// `Host: 10.0.0.1 ()  Ports: 22/open/tcp//ssh///, 80/open/tcp//http///  Ignored State: closed (9)`,
/// with tabs between the fields.
pub(super) fn read_line(line: &str, reported: &mut Reported) -> Option<()> {
    if line.is_empty() || line.starts_with('#') {
        return Some(());
    }
    let mut fields = line.split('\t');
    let host = fields.next()?.strip_prefix("Host: ")?;
    let ip: IpAddr = host.split(' ').next()?.parse().ok()?;
    let Some(ports) = fields.find_map(|field| field.strip_prefix("Ports: ")) else {
        return Some(());
    };
    for entry in ports.split(", ") {
        let mut parts = entry.trim().split('/');
        let (port, state, protocol) = (parts.next()?, parts.next()?, parts.next()?);
        let port = port.parse().ok()?;
        if (state, protocol) == ("open", "tcp") {
            reported.open.push(Endpoint { vlan: 0, ip, port });
        }
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
        let six = Task {
            six: true,
            list: Some("/tmp/list".into()),
            ..task(&[], 1..=9)
        };
        let said = arguments(&six, &site(), Setting::MAX).unwrap().join(" ");
        let expected = "-n -Pn -sS --disable-arp-ping --send-eth -e near0 -p 1-9 --min-rate 100000 -6 \
                        -iL /tmp/list -oG";
        assert_eq!(said, expected);
    }

    #[test]
    fn what_is_open_is_read() {
        let text = "# Nmap 7.93 scan initiated\n\
            Host: 10.0.0.1 ()\tStatus: Up\n\
            Host: 10.0.0.1 ()\tPorts: 22/open/tcp//ssh///, 80/closed/tcp//http///, 443/open/tcp//https///\t\
            Ignored State: closed (65532)\n\
            Host: 2001:db8::1 ()\tPorts: 80/open/tcp//http///\n\
            # Nmap done at\n";
        let reported = parse(Tool::Nmap, text, 0).unwrap();
        let expected = [
            at("10.0.0.1", 22),
            at("10.0.0.1", 443),
            at("2001:db8::1", 80),
        ];
        assert_eq!(reported.open, expected);
    }
}
