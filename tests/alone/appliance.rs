//! The appliance as the network and its people see it.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::time::{Duration, Instant};

use crate::alone;
use crate::harness::{run, wait_for};
use crate::platform::{Platform, descendants_of};

#[test]
fn no_port_is_open_on_the_appliance() {
    alone("appliance::no_port_is_open_on_the_appliance", || {
        let platform = Platform::up(str::to_owned);
        let id = platform.ask_for_scan();
        let mut most = 0;
        // Looked at as often as possible while everything runs: supervisor, agent, worker.
        wait_for("the end of the scan", Duration::from_secs(120), || {
            let processes = descendants_of(platform.appliance_pid());
            most = most.max(processes.len());
            let owned: HashSet<u64> = processes.iter().flat_map(|pid| sockets_of(*pid)).collect();
            for (table, listening) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")]
            {
                for (inode, local) in sockets_in(table, listening) {
                    assert!(
                        !owned.contains(&inode),
                        "the appliance listens on {table} {local}"
                    );
                }
            }
            platform.state_of(&id).filter(|state| state == "committed")
        });
        assert!(most >= 3, "only {most} processes were looked at");
    });
}

#[test]
fn switched_off_in_mid_scan_it_goes_on_when_switched_on() {
    alone(
        "appliance::switched_off_in_mid_scan_it_goes_on_when_switched_on",
        || {
            let mut platform = Platform::up(str::to_owned);
            let id = platform.ask_for_scan();
            wait_for("the scan to run", Duration::from_secs(60), || {
                platform.state_of(&id).filter(|state| state == "running")
            });
            let family = descendants_of(platform.appliance_pid());
            assert!(family.len() >= 3, "supervisor, agent, worker: {family:?}");
            let asked = Instant::now();
            let status = platform.terminate();
            let took = asked.elapsed();
            assert!(status.success(), "{status}");
            assert!(took < Duration::from_secs(8), "{took:?}");
            let alive = |pid: &u32| fs::exists(format!("/proc/{pid}")).unwrap();
            assert!(!family.iter().any(alive), "somebody is left of {family:?}");
            platform.start_again();
            let limit = Duration::from_secs(60);
            assert_eq!(platform.wait_for_end(&id, limit), "committed");
            let found = platform.open_ports(&id);
            let once: BTreeSet<_> = found.iter().cloned().collect();
            assert_eq!(once.len(), found.len(), "a port is there twice: {found:?}");
            assert_eq!(once, platform.truth());
            let logs = platform.logs();
            assert!(!logs.contains("does not pause in time"), "{logs}");
            eprintln!("switched off within {took:?}");
        },
    );
}

#[test]
fn wrong_codes_and_certificates_are_one_sentence() {
    alone(
        "appliance::wrong_codes_and_certificates_are_one_sentence",
        || {
            let platform = Platform::up(str::to_owned);
            let sentence = |arguments: &[&str], parts: &[&str]| {
                let said = run(platform.ctl().args(arguments));
                assert_eq!(said.status, Some(1), "{said:?}");
                assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
                for part in parts {
                    assert!(said.stderr.contains(part), "no `{part}` in {said:?}");
                }
            };
            sentence(
                &["activate", platform.code(), "--yes"],
                &[platform.code(), "used"],
            );
            sentence(&["activate", "BCDF-GHJ-KLM", "--yes"], &["BCDF-GHJ-KLM"]);
            let url = platform.url();
            let wrong = "0".repeat(64);
            let login = [
                "login",
                &url,
                "--user",
                "admin",
                "--password-stdin",
                "--fingerprint",
                &wrong,
            ];
            let password = platform.password_file();
            let said = run(platform
                .ctl()
                .args(login)
                .stdin(fs::File::open(password).unwrap()));
            assert_eq!(
                (said.status, said.stderr.lines().count()),
                (Some(1), 1),
                "{said:?}"
            );
            assert!(
                said.stderr.contains(&url) && said.stderr.contains(&platform.fingerprint()),
                "{said:?}"
            );
            // And the first login still holds: nothing was lost.
            assert_eq!(run(platform.ctl().args(["scans"])).status, Some(0));
        },
    );
}

/// The inodes of a process's sockets.
fn sockets_of(pid: u32) -> Vec<u64> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
            inode.parse().ok()
        })
        .collect()
}

/// Inode and local address of the sockets in a table of /proc/net that are in this state, not connected to
/// anybody.
fn sockets_in(table: &str, state: &str) -> Vec<(u64, String)> {
    let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap();
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            let inode = fields.get(9)?.parse().ok()?;
            (fields[3] == state).then(|| (inode, fields[1].to_owned()))
        })
        .collect()
}
