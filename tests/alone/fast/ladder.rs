//! Which link a scan gets where the better ones do not work, and what it says about that.

use std::fs;
use std::time::Duration;

use sonde_lab::world::{WorldDescription, WorldSpec};

use super::{Front, check, for_root, found, network4, sweep};
use crate::harness::{run, serve, sonde, wait_for};
use crate::peer::Peer;

#[test]
fn an_interface_with_a_program_is_left_to_its_owner() {
    let test = "fast::ladder::an_interface_with_a_program_is_left_to_its_owner";
    for_root(test, || {
        let front = Front::start(sweep());
        let slowly = front.file("slowly.jsonl");
        let mut owner = front.scan("xdp", &slowly, &front.spec.targets());
        owner.args(["-p", "80", "--discovery", "none", "--rate", "100"]);
        let mut owner = front.visit(|| serve(&mut owner));
        let program = wait_for("a program", Duration::from_secs(30), || front.program());
        let prog = &program["prog"];
        let id = prog["id"].as_u64().unwrap();
        let told = [
            "`world0`".to_owned(),
            format!("program {id} "),
            prog["name"].as_str().unwrap().to_owned(),
        ];
        let targets = ["10.64.0.0/24".to_owned()];

        for link in ["xdp", "xsk"] {
            let output = front.file("refused.jsonl");
            let mut scan = front.scan(link, &output, &targets);
            let said = front.run(scan.args(["-p", "80"]));
            assert_eq!(said.status, Some(1), "{link}: {}", said.stderr);
            for told in &told {
                assert!(said.stderr.contains(told), "{told}: {}", said.stderr);
            }
            assert!(!output.exists(), "{link} has begun a report");
        }

        let output = front.file("auto.jsonl");
        let mut scan = front.scan("auto", &output, &targets);
        let said = front.run(scan.args(["-p", "80"]));
        assert_eq!(said.status, Some(0), "{}", said.stderr);
        for link in ["xdp link", "AF_XDP"] {
            let note = note(&said.stderr, link);
            for told in &told {
                assert!(note.contains(told), "{told}: {note}");
            }
        }
        let mut truth = front.truth_behind(&[80]);
        truth.retain(|(_, ip, _)| ip.to_string().starts_with("10.64.0."));
        check(&found(&output), &truth);

        let mut scan = front.scan("auto", &output, &targets);
        let said = front.run(scan.args(["-p", "80", "-v"]));
        assert!(
            said.stderr.contains("packet link on world0"),
            "{}",
            said.stderr
        );
        assert!(owner.runs());
        assert_eq!(
            front
                .program()
                .map(|program| program["prog"]["id"].as_u64()),
            Some(Some(id)),
            "the owner's program is still there"
        );
    });
}

/// A veth end takes frames of programs only where the kernel polls it for them.
#[test]
fn a_far_end_that_takes_no_frames_of_programs() {
    let test = "fast::ladder::a_far_end_that_takes_no_frames_of_programs";
    for_root(test, || {
        let spec = WorldSpec::new(WorldDescription {
            vlans: "7".to_owned(),
            behind4: vec![network4("10.64.0.0/24", false)],
            ..sweep()
        })
        .unwrap();
        let truth = spec.truth(&[80]).open;
        let folder = tempfile::tempdir().unwrap();
        let trunk = folder.path().join("trunk.toml");
        fs::write(&trunk, toml::to_string(&spec.trunk()).unwrap()).unwrap();
        let _peer = Peer::start(spec);
        let scan = |link: &str| {
            let output = folder.path().join(format!("{link}.jsonl"));
            let mut scan = sonde(["scan", "-i", "trunk0", "-p", "80", "-v", "--link", link]);
            scan.args(["10.64.0.0/24@7", "--max-time", "2m", "--trunk"]);
            scan.arg(&trunk).arg("-o").arg(&output);
            (run(&mut scan), output)
        };

        let (said, output) = scan("xdp");
        assert_eq!(said.status, Some(1), "{}", said.stderr);
        assert!(said.stderr.contains("trunk0"), "{}", said.stderr);
        assert!(!output.exists());
        // What to do about it is for who asked for this link.
        let why = said.stderr.trim_start_matches("sonde: ").split(';').next();
        let why = why.unwrap().to_owned();

        let (said, output) = scan("auto");
        eprint!("{}", said.stderr);
        assert_eq!(said.status, Some(0), "{}", said.stderr);
        assert!(said.stderr.contains(&why), "{why}: {}", said.stderr);
        assert!(
            said.stderr.contains("xsk link on trunk0"),
            "{}",
            said.stderr
        );
        assert_eq!(found(&output).len() as u64, truth);
    });
}

/// Why not by that link.
#[track_caller]
fn note<'a>(stderr: &'a str, link: &str) -> &'a str {
    let (_, note) = stderr
        .split_once(&format!("not by the {link}: "))
        .or_else(|| stderr.split_once(&format!("not by {link}: ")))
        .unwrap_or_else(|| panic!("nothing about {link}: {stderr}"));
    note.split(['\n', ';']).next().unwrap()
}
