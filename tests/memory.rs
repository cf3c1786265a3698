//! Memory follows what was written, never the number of addresses.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::harness::sonde;

/// The most a scan of anything may take, program included.
const MOST_KB: u64 = 32 * 1024;
/// Lines of the dry run that are read before it is measured: the plan is made, the order walked.
const LINES: usize = 20_000;

#[test]
fn every_port_of_the_internet_takes_no_more_memory_than_a_network() {
    let network = peak_kb("10.1.0.0/16", "80,443");
    let internet = peak_kb("0.0.0.0/0", "-");
    eprintln!("peak memory: 2^17 probes {network} kB, 2^48 probes {internet} kB");
    assert!(internet < MOST_KB, "{internet} kB");
    // The list of 65,536 ports is 128 KiB; allow the allocator's rounding and the pages it touches.
    assert!(
        internet < network + 1024,
        "{network} kB for a network, {internet} kB for all of it"
    );
}

/// Highest resident size, in kB, of a dry run after [`LINES`] lines (`VmHWM`, proc_pid_status(5)).
fn peak_kb(target: &str, ports: &str) -> u64 {
    let mut child = sonde([
        "scan",
        "--dry-run",
        "--link",
        "connect",
        "--discovery",
        "none",
    ])
    .args(["--seed", "1", "-p", ports, target])
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .take(LINES);
    let read = lines.map_while(Result::ok).count();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
    let _ = child.kill();
    let end = child.wait().unwrap();
    assert_eq!(read, LINES, "the dry run of {target} ended early: {end}");
    let status = status.unwrap();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("Linux says it");
    peak.trim().trim_end_matches(" kB").parse().unwrap()
}
