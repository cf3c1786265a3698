//! Wrong input is answered by one sentence that names the input and the way out, and nothing is lost.

use std::fmt::Write as _;
use std::fs;

use crate::harness::{Said, in_namespace, ip, run, sonde, succeed};

/// One line on stderr, with all of `parts` in it, nothing on stdout, and this exit status.
#[track_caller]
fn refused(said: &Said, status: i32, parts: &[&str]) {
    assert_eq!(said.status, Some(status), "{said:?}");
    assert_eq!(
        said.stderr.trim_end().lines().count(),
        1,
        "one sentence: {said:?}"
    );
    assert_eq!(said.stdout, "", "{said:?}");
    assert!(said.stderr.starts_with("sonde: "), "{said:?}");
    for part in parts {
        assert!(said.stderr.contains(part), "no `{part}` in {said:?}");
    }
}

#[test]
fn a_bad_target_in_line_40000_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("targets.txt");
    let mut text = String::new();
    for line in 1..=50_000_u32 {
        match line {
            40_000 => text.push_str("10.300.0.1\n"),
            _ => writeln!(text, "10.{}.{}.1", line / 256, line % 256).unwrap(),
        }
    }
    fs::write(&file, text).unwrap();
    let said = run(sonde(["scan", "--link", "connect", "-f"]).arg(&file));
    refused(&said, 2, &["10.300.0.1", "targets.txt", "40000"]);
}

#[test]
fn a_vlan_that_can_not_be() {
    let said = run(&mut sonde(["scan", "10.0.0.0/24@4095"]));
    refused(&said, 2, &["4095", "4094"]);
}

#[test]
fn a_route_via_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trunk.toml");
    let trunk = "[[vlan]]\nid = 100\nipv4 = \"10.1.0.2/24\"\n[[route]]\nto = \"10.200.0.0/16\"\nvia = \"10.9.9.9\"\n";
    fs::write(&file, trunk).unwrap();
    let said = run(sonde(["scan", "10.1.0.0/24@100", "--dry-run", "--trunk"]).arg(&file));
    refused(&said, 2, &["10.9.9.9", "10.200.0.0/16"]);
}

#[test]
fn an_unknown_key_in_a_trunk_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trunk.toml");
    fs::write(
        &file,
        "[[vlan]]\nid = 100\nipv4 = \"10.1.0.2/24\"\ngatway = \"10.1.0.1\"\n",
    )
    .unwrap();
    let said = run(sonde(["scan", "10.1.0.0/24@100", "--dry-run", "--trunk"]).arg(&file));
    refused(&said, 2, &["trunk.toml", "gatway"]);
}

#[test]
fn an_output_that_can_not_be_written() {
    let said = run(&mut sonde([
        "scan",
        "--link",
        "connect",
        "127.0.0.1",
        "-p",
        "1",
        "-o",
        "/nowhere/at/all/found.csv",
    ]));
    refused(&said, 2, &["/nowhere/at/all/found.csv"]);
    let said = run(&mut sonde([
        "scan",
        "--link",
        "connect",
        "127.0.0.1",
        "-p",
        "1",
        "-o",
        "found.docx",
    ]));
    refused(&said, 2, &["found.docx", ".jsonl"]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is_one() {
    let folder = tempfile::tempdir().unwrap();
    let lab = folder.path().join("lab.toml");
    fs::write(&lab, succeed(&mut sonde(["lab", "show", "--toml"]))).unwrap();
    let lab = lab.to_str().unwrap();
    for arguments in [
        &["lab", "show", lab][..],
        &["lab", "show", "--toml", lab],
        &[
            "scan",
            "--dry-run",
            "--link",
            "connect",
            "127.0.0.1",
            "-p",
            "-",
        ],
    ] {
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        let said = run(sonde(arguments).stdout(closed));
        assert_eq!((said.status, &*said.stderr), (Some(0), ""), "{arguments:?}");
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let said = run(sonde(arguments).stdout(full));
        refused(&said, 1, &["stdout can't be written", "No space left"]);
    }
}

#[test]
fn an_output_that_exists_is_not_touched_by_a_refused_scan() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("found.jsonl");
    fs::write(&file, "earlier results\n").unwrap();
    let said = run(sonde([
        "scan",
        "--link",
        "connect",
        "127.0.0.1",
        "-p",
        "0-99999",
        "-o",
    ])
    .arg(&file));
    refused(&said, 2, &["99999"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "earlier results\n");
}

#[test]
fn bad_ports_and_rates() {
    refused(
        &run(&mut sonde(["scan", "10.0.0.1", "-p", "80,http"])),
        2,
        &["http"],
    );
    let said = run(&mut sonde(["scan", "10.0.0.1", "--rate", "fast"]));
    assert_eq!(said.status, Some(2), "{said:?}");
    assert!(
        said.stderr.contains("fast") && said.stderr.contains("max"),
        "{said:?}"
    );
}

#[test]
fn no_such_interface() {
    let said = run(&mut sonde([
        "scan", "10.0.0.1", "--link", "packet", "-i", "eth99",
    ]));
    refused(&said, 2, &["eth99", "lo"]);
}

#[test]
fn no_privileges() {
    in_namespace("refusals::no_privileges", || {
        ip("link add scan0 type veth peer name peer0");
        ip("addr add 10.0.0.1/24 dev scan0");
        ip("link set scan0 up");
        ip("link set peer0 up");
        let mut command = std::process::Command::new("setpriv");
        command.args(["--bounding-set=-all", "--inh-caps=-all"]);
        command.arg(crate::harness::binary());
        command.args(["scan", "10.0.0.2", "--link", "packet", "-i", "scan0"]);
        let said = run(&mut command);
        refused(&said, 1, &["scan0", "CAP_NET_RAW", "--link connect"]);
    });
}

#[test]
fn nothing_left_to_scan() {
    let said = run(&mut sonde([
        "scan",
        "--link",
        "connect",
        "192.0.2.7",
        "--exclude",
        "192.0.2.0/24",
        "--dry-run",
    ]));
    refused(&said, 2, &["exclu"]);
}

#[test]
fn a_checkpoint_that_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scan.ckpt");
    fs::write(&file, "not a checkpoint").unwrap();
    let said = run(sonde(["scan", "--resume"]).arg(&file));
    refused(&said, 2, &["scan.ckpt"]);
}

#[test]
fn a_cloud_that_is_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = sonde([
        "ctl",
        "login",
        "https://127.0.0.1:1",
        "--user",
        "admin",
        "--password-stdin",
    ]);
    command.env("SONDE_CTL_CONFIG", folder.path().join("ctl.toml"));
    let password = folder.path().join("password");
    fs::write(&password, "secret\n").unwrap();
    command.stdin(fs::File::open(&password).unwrap());
    refused(&run(&mut command), 1, &["https://127.0.0.1:1"]);
}

#[test]
fn a_certificate_that_can_not_be_pinned() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("appliance.toml");
    for (key, value) in [("fingerprint", "abc"), ("ca_file", "/nowhere/ca.pem")] {
        let text = format!("[cloud]\nurl = \"https://127.0.0.1:1\"\n{key} = \"{value}\"\n");
        fs::write(&config, text).unwrap();
        let mut command = sonde(["appliance", "--config"]);
        command
            .arg(&config)
            .arg("--state")
            .arg(folder.path().join("box"));
        refused(&run(&mut command), 2, &[key, value]);
    }
}
