//! zmap: one port, IPv4, no tags.

use std::net::Ipv4Addr;

use super::super::truth::Endpoint;
use super::{Reported, Setting, Site, Task, range, words};

/// What zmap reads as "no ceiling": far beyond what it can send.
const RATE_MAX: u64 = 100_000_000;

/// The report's name goes behind.
pub(super) fn arguments(
    task: &Task,
    site: &Site,
    setting: Setting,
) -> Result<Vec<String>, &'static str> {
    if task.six {
        return Err("has no IPv6");
    }
    if site.trunk.is_some() {
        return Err("can't tag");
    }
    if task.ports.start() != task.ports.end() {
        return Err("asks one port a run");
    }
    // No blocklist: Debian's refuses the private networks. One second of waiting instead of eight.
    let mut arguments = words(&format!(
        "-q -v 0 --disable-syslog -b /dev/null -i {} -S {} -G {} -p {} -r {} -T {} -c 1",
        site.interface,
        site.source,
        site.next_hop,
        range(&task.ports),
        setting.rate.unwrap_or(RATE_MAX),
        setting.threads
    ));
    arguments.extend(task.targets.iter().cloned());
    if let Some(list) = &task.list {
        arguments.extend(["-w".to_owned(), list.to_string_lossy().into_owned()]);
    }
    arguments.push("-o".to_owned());
    Ok(arguments)
}

pub(super) fn read_line(line: &str, port: u16, reported: &mut Reported) -> Option<()> {
    if line != "saddr" {
        let ip: Ipv4Addr = line.parse().ok()?;
        reported.open.push(Endpoint {
            vlan: 0,
            ip: ip.into(),
            port,
        });
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
        let setting = Setting {
            threads: 2,
            ..Setting::rate(350_000)
        };
        let task = task(&["10.0.0.0/12"], 80..=80);
        let said = arguments(&task, &site(), setting).unwrap().join(" ");
        let expected = "-q -v 0 --disable-syslog -b /dev/null -i near0 -S 192.0.2.2 -G 02:00:00:00:00:01 -p 80 \
                        -r 350000 -T 2 -c 1 10.0.0.0/12 -o";
        assert_eq!(said, expected);
    }

    #[test]
    fn what_it_can_not_do_is_said() {
        let one = task(&["10.0.0.0/24"], 80..=80);
        let tagged = Site {
            trunk: Some("t".into()),
            ..site()
        };
        assert_eq!(arguments(&one, &tagged, Setting::MAX), Err("can't tag"));
        let six = Task {
            six: true,
            ..one.clone()
        };
        assert_eq!(arguments(&six, &site(), Setting::MAX), Err("has no IPv6"));
        let all = Task {
            ports: 0..=65_535,
            ..one
        };
        assert_eq!(
            arguments(&all, &site(), Setting::MAX),
            Err("asks one port a run")
        );
    }

    #[test]
    fn addresses_are_read_with_and_without_their_heading() {
        for text in ["10.0.0.1\n10.0.0.2\n", "saddr\n10.0.0.1\n10.0.0.2\n"] {
            let reported = parse(Tool::Zmap, text, 80).unwrap();
            assert_eq!(reported.open, [at("10.0.0.1", 80), at("10.0.0.2", 80)]);
        }
    }
}
