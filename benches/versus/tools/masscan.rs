//! masscan: any ports, IPv4 and IPv6, no tags.

use super::super::truth::Endpoint;
use super::{Reported, Setting, Site, Task, range, words};

/// What masscan's own page names for "as fast as possible".
const RATE_MAX: u64 = 100_000_000;

/// The report's name goes behind.
pub(super) fn arguments(
    task: &Task,
    site: &Site,
    setting: Setting,
) -> Result<Vec<String>, &'static str> {
    if site.trunk.is_some() {
        return Err("can't tag");
    }
    if setting.threads > 1 {
        return Err("has one sending thread an interface");
    }
    let mut arguments = words(&format!(
        "-e {} --source-ip {} --router-mac {} -p{} --rate {} --wait 1",
        site.interface,
        site.source,
        site.next_hop.to_string().replace(':', "-"),
        range(&task.ports),
        setting.rate.unwrap_or(RATE_MAX)
    ));
    arguments.extend(task.targets.iter().cloned());
    if let Some(list) = &task.list {
        arguments.extend(["-iL".to_owned(), list.to_string_lossy().into_owned()]);
    }
    arguments.push("-oL".to_owned());
    Ok(arguments)
}

/// `open tcp 80 10.0.0.1 1764028800`, and comments.
pub(super) fn read_line(line: &str, reported: &mut Reported) -> Option<()> {
    if line.is_empty() || line.starts_with('#') {
        return Some(());
    }
    let mut words = line.split_ascii_whitespace();
    let (state, protocol) = (words.next()?, words.next()?);
    let (port, ip) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    if (state, protocol) == ("open", "tcp") {
        reported.open.push(Endpoint { vlan: 0, ip, port });
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
        let task = task(&["10.0.0.0/24"], 0..=65_535);
        let said = arguments(&task, &site(), Setting::rate(100))
            .unwrap()
            .join(" ");
        let expected = "-e near0 --source-ip 192.0.2.2 --router-mac 02-00-00-00-00-01 -p0-65535 --rate 100 \
                        --wait 1 10.0.0.0/24 -oL";
        assert_eq!(said, expected);
    }

    #[test]
    fn what_is_open_is_read() {
        let text = "#masscan\nopen tcp 80 10.0.0.1 1764028800\nclosed tcp 81 10.0.0.1 1764028800\n\
                    open tcp 443 2001:db8::1 1764028801\n# end\n";
        let reported = parse(Tool::Masscan, text, 0).unwrap();
        assert_eq!(reported.open, [at("10.0.0.1", 80), at("2001:db8::1", 443)]);
    }
}
