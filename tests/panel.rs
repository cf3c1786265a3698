//! `sonde panel` as a person has it before them: in a terminal, on a real LCDd, on a serial line.

mod console;
mod glass;
mod lcdproc;
mod machine;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use rustix::termios::{LocalModes, tcgetattr};
use sonde_protocol::local::{Keys, Message, Phase, Setup, Status};

use crate::harness::{run, sonde, wait_for};
use glass::{LIMIT, Shown, pseudo_terminal};

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
    for message in [
        Message::Status(activation()),
        Message::Setup(Setup::default()),
        Message::Keys(Keys::Free),
    ] {
        say(&mut agent, &message);
    }

    let mut shown = Shown::new(master);
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
            &["panel", "--lcdproc", "--keys", "3"],
            2,
            "no usual panel has 3 keys",
        ),
        (
            &["panel", "--lcdproc", "--keys", "Enter=enter Up=up"],
            2,
            "no key is bound to down",
        ),
        (
            &["panel", "--tty", "/dev/ttyS0", "--config", "/nowhere.toml"],
            2,
            "can not read /nowhere.toml",
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

fn say(agent: &mut impl Write, message: &Message) {
    let mut line = serde_json::to_vec(message).unwrap();
    line.push(b'\n');
    agent.write_all(&line).unwrap();
}
