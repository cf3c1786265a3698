//! `sonde panel --lcdproc` on a real LCDd, whose curses driver shows the display on a pseudo-terminal and takes
//! its keys from there.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use super::glass::{LIMIT, Shown, pseudo_terminal, pseudo_terminal_at};
use super::machine::{Machine, text};
use crate::harness::{Running, installed, wait_for};

const ENTER: &[u8] = b"\r";
const UP: &[u8] = b"\x1bOA";
const DOWN: &[u8] = b"\x1bOB";
const RIGHT: &[u8] = b"\x1bOC";

/// A display of 16x2 and the LCDd that drives it.
struct Display {
    lcdd: Running,
    glass: Shown,
}

/// Starts LCDd on `port` of the loopback.
fn lcdd(folder: &Path, port: u16) -> Display {
    let config = folder.join("LCDd.conf");
    let drivers = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib",
    ]
    .map(|folder| format!("{folder}/lcdproc/"));
    let drivers = drivers.iter().find(|folder| Path::new(folder).exists());
    fs::write(
        &config,
        format!(
            "[server]\nDriverPath={}\nDriver=curses\nBind=127.0.0.1\nPort={port}\nUser=root\n\
             Foreground=yes\nReportLevel=0\nReportToSyslog=no\nServerScreen=blank\nHello=\"\"\nGoodBye=\"\"\n\
             [curses]\nSize=16x2\nUseACS=no\nDrawBorder=no\nTopLeftX=1\nTopLeftY=1\n",
            drivers.expect("the drivers of LCDd"),
        ),
    )
    .unwrap();
    let (master, terminal) = pseudo_terminal();
    let mut command = Command::new("LCDd");
    command
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("TERM", "vt100")
        .arg("-f")
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::from(terminal.try_clone().unwrap()))
        .stderr(Stdio::null());
    let child = command.stdin(Stdio::from(terminal)).spawn().unwrap();
    Display {
        lcdd: Running::from(child),
        glass: Shown::new(master),
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// From activation to a VLAN stored by the display's own keys; LCDd is killed in the middle of the field.
#[test]
fn a_real_lcdd_shows_the_box_and_its_keys_set_it_up() {
    const TEST: &str = "panel::lcdproc::a_real_lcdd_shows_the_box_and_its_keys_set_it_up";
    if !installed(TEST, &["LCDd"]) {
        return;
    }
    let machine = Machine::with_cloud();
    let port = free_port();
    let mut display = display_of(&machine, port);
    let _panel = machine.panel(&["--lcdproc", &format!("127.0.0.1:{port}")]);
    let glass = &mut display.glass;
    glass.wait_for(&["ACTIVATION CODE"]);
    let code = wait_for("a code", LIMIT, || code_in(&glass.text()));
    machine.activate(&code);
    glass.wait_for(&["lobby", "127.0.0.1"]);

    glass.press(ENTER);
    glass.wait_for(&["SETUP NETWORK"]);
    glass.press(ENTER);
    glass.wait_for(&["RENEW DHCP ON"]);
    glass.press(DOWN);
    glass.wait_for(&["ENABLE VLAN ON"]);
    glass.press(ENTER);
    glass.wait_for(&["VLAN 0-4094", "000"]);
    glass.press(RIGHT);
    glass.press(UP);
    glass.wait_for(&["0100"]);

    drop(display);
    let mut display = display_of(&machine, port);
    let glass = &mut display.glass;
    glass.wait_for(&["VLAN 0-4094", "0100"]);
    glass.press(RIGHT);
    glass.press(RIGHT);
    glass.press(DOWN);
    glass.wait_for(&["0109"]);
    assert_eq!(machine.stored_vlan(), None);
    glass.press(ENTER);
    glass.wait_for(&["STORED"]);
    assert_eq!(machine.stored_vlan(), Some(109));
    glass.press(ENTER);
    glass.wait_for(&["lobby", "127.0.0.1"]);
    assert!(display.lcdd.runs());
}

fn display_of(machine: &Machine, port: u16) -> Display {
    lcdd(machine.folder.path(), port)
}

/// `BCDF-GHJ-KLM` in what is shown, as it is typed into the cloud.
fn code_in(shown: &str) -> Option<String> {
    let mut words = shown.split_whitespace();
    let code = words.find(|word| word.len() == 12 && word.matches('-').count() == 2)?;
    Some(code.to_owned())
}

/// A display and a console of one process: who opens the menu has it, the other may take it.
#[test]
fn of_two_fronts_one_has_the_keys_and_the_other_can_take_them() {
    const TEST: &str = "panel::lcdproc::of_two_fronts_one_has_the_keys_and_the_other_can_take_them";
    if !installed(TEST, &["LCDd"]) {
        return;
    }
    let machine = Machine::active();
    let port = free_port();
    let mut display = display_of(&machine, port);
    let (master, device) = pseudo_terminal_at();
    let mut console = Shown::new(master);
    let server = format!("127.0.0.1:{port}");
    let _panel = machine.panel(&["--lcdproc", &server, "--tty", text(&device)]);
    display.glass.wait_for(&["lobby"]);
    display.glass.press(ENTER);
    display.glass.wait_for(&["SETUP NETWORK"]);
    console.press(ENTER);
    console.wait_for(&["IN USE"]);
    console.press(ENTER);
    console.wait_for(&["TAKE OVER?"]);
    console.press(ENTER);
    console.wait_for(&["SETUP NETWORK"]);
    display.glass.wait_for(&["IN USE"]);
}
