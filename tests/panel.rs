//! `sonde panel --this-terminal` on a terminal: what it shows, and the terminal as it was afterwards.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use sonde_protocol::local::{Phase, Status};

use crate::harness::{run, sonde, wait_for};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn shows_the_agents_status_follows_keys_and_leaves_the_terminal_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("agent.sock");
    let agent = UnixListener::bind(&socket).unwrap();
    let (master, terminal) = pseudo_terminal();
    let cooked = LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG;
    let mut panel = sonde(["panel", "--this-terminal", "--socket"])
        .arg(&socket)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::from(terminal.try_clone().unwrap()))
        .stdout(Stdio::from(terminal.try_clone().unwrap()))
        .spawn()
        .unwrap();
    let (mut agent, _) = agent.accept().unwrap();
    say(&mut agent, &activation());

    let mut shown = Shown::new(&master);
    shown.wait_until("the code", |text| text.contains("│ BCDF-GHJ-KLM     │"));
    shown.wait_until("the light of a scan", |text| text.contains("● S1 scan"));
    assert!(!tcgetattr(&terminal).unwrap().local_modes.intersects(cooked));
    shown.press(b"\x1b[C");
    shown.wait_until("the check number", |text| {
        text.contains("│ Check no. 0042   │")
    });
    drop(agent);
    shown.wait_until("the loss of the agent", |text| {
        text.contains("│ starting up...   │") && text.contains("○ S1 scan")
    });
    shown.press(b"q");
    assert!(wait_for("the panel's end", LIMIT, || panel.try_wait().unwrap()).success());
    assert!(tcgetattr(&terminal).unwrap().local_modes.contains(cooked));
    shown.wait_until("the cursor", |_| true);
    assert!(!shown.parser.screen().hide_cursor());
}

#[test]
fn what_can_not_be_shown_is_refused_by_one_sentence() {
    for (arguments, status, part) in [
        (
            &["panel", "--this-terminal"][..],
            1,
            "standard input is not a terminal",
        ),
        (&["panel"], 2, "--this-terminal"),
        (
            &["panel", "--lcdproc", "localhost:13666"],
            2,
            "LCDproc displays are not in this build",
        ),
        (
            &["panel", "--tty", "/dev/ttyS0"],
            2,
            "serial consoles are not in this build",
        ),
    ] {
        let said = run(&mut sonde(arguments));
        assert_eq!(said.status, Some(status), "{said:?}");
        assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
        assert!(said.stderr.contains(part), "{said:?}");
        assert_eq!(said.stdout, "");
    }
}

fn activation() -> Status {
    Status {
        phase: Phase::Activation {
            code: "BCDFGHJKLM".into(),
            check_number: "0042".into(),
        },
        name: "is_acme".into(),
        lan_address: None,
        lan_mac: None,
        errors: Vec::new(),
        scans_running: 1,
        updating: false,
    }
}

fn say(agent: &mut impl Write, status: &Status) {
    let mut line = serde_json::to_vec(status).unwrap();
    line.push(b'\n');
    agent.write_all(&line).unwrap();
}

/// A pseudo-terminal of 24 rows and 80 columns: the person's side, and the program's.
fn pseudo_terminal() -> (OwnedFd, File) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::io::ioctl_fionbio(&master, true).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let terminal = File::options()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    (master, terminal)
}

/// What a person sees on the terminal.
struct Shown {
    master: File,
    parser: vt100::Parser,
}

impl Shown {
    fn new(master: &impl AsFd) -> Shown {
        let master = File::from(master.as_fd().try_clone_to_owned().unwrap());
        Shown {
            master,
            parser: vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0),
        }
    }

    fn press(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }

    fn wait_until(&mut self, what: &str, condition: impl Fn(&str) -> bool) {
        wait_for(what, LIMIT, || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = self.master.read(&mut bytes) {
                self.parser.process(&bytes[..read]);
            }
            condition(&self.parser.screen().contents()).then_some(())
        });
    }
}
