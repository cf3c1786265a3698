//! Memory follows what was written, never the number of addresses.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::harness::{in_namespace, ip, sonde, wait_for};

/// The most a plan of anything may take, and a scan with its window and rings: all of the program included,
/// which is large when it is built for debugging.
const MOST_KB: u64 = 32 * 1024;
const SCAN_MOST_KB: u64 = 96 * 1024;
/// How much two runs of the same may differ: which pages of the program's file the kernel maps around those
/// asked for varies from run to run by a MiB and more.
const NOISE_KB: u64 = 4 * 1024;
/// Lines of the dry run that are read before it is measured: the plan is made, the order walked.
const LINES: usize = 20_000;

#[test]
fn every_port_of_the_internet_takes_no_more_memory_than_a_network() {
    let network = peak_kb("10.1.0.0/16", "80,443");
    let internet = peak_kb("0.0.0.0/0", "-");
    eprintln!("peak memory: 2^17 probes {network} kB, 2^48 probes {internet} kB");
    assert!(internet < MOST_KB, "{internet} kB");
    assert!(
        internet < network + NOISE_KB,
        "{network} kB for a network, {internet} kB for all of it"
    );
}

/// A scan keeps one bit a probe of a window of bounded size, and rings of frames: sixteen times as many
/// addresses take nothing more.
#[test]
fn a_scan_of_the_internet_takes_no_more_memory_than_one_of_a_sixteenth() {
    let test = "memory::a_scan_of_the_internet_takes_no_more_memory_than_one_of_a_sixteenth";
    in_namespace(test, || {
        ip("link add s0 type veth peer name p0");
        ip("addr add 10.77.0.1/24 dev s0");
        ip("link set s0 up");
        ip("link set p0 up");
        let sixteenth = peak_of_scan_kb("16.0.0.0/4");
        let internet = peak_of_scan_kb("0.0.0.0/0");
        eprintln!("peak memory: 2^44 probes {sixteenth} kB, 2^48 probes {internet} kB");
        assert!(internet < SCAN_MOST_KB, "{internet} kB");
        assert!(
            internet < sixteenth + NOISE_KB,
            "{sixteenth} kB for a sixteenth, {internet} kB for all"
        );
    });
}

/// Highest resident size, in kB, of two seconds of a scan through a gateway that never answers.
fn peak_of_scan_kb(target: &str) -> u64 {
    let mut child = sonde([
        "scan",
        "-i",
        "s0",
        "--link",
        "packet",
        "--discovery",
        "none",
        "-q",
    ])
    .args([
        "--gateway",
        "10.77.0.254",
        "--gateway-mac",
        "02:00:00:00:00:09",
    ])
    .args([
        "--rate",
        "20k",
        "--max-time",
        "2s",
        "-o",
        "-",
        "-p",
        "-",
        target,
    ])
    .stdout(Stdio::null())
    .spawn()
    .unwrap();
    let mut peak = 0;
    let end = wait_for("the scan's end", Duration::from_secs(30), || {
        peak = high_water_kb(&child).unwrap_or(0).max(peak);
        child.try_wait().unwrap()
    });
    assert_eq!(end.code(), Some(3), "the time limit ends it");
    peak
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
    let peak = high_water_kb(&child);
    let _ = child.kill();
    let end = child.wait().unwrap();
    assert_eq!(read, LINES, "the dry run of {target} ended early: {end}");
    peak.expect("it has run until now")
}

/// `VmHWM` of proc_pid_status(5): the highest resident size so far, in kB; none of what has ended.
fn high_water_kb(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().trim_end_matches(" kB").parse().ok()
}
