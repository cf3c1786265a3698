//! `sonde panel --tty` on a pseudo-terminal: a VT100 at the box's serial port.

use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::termios::{ControlModes, InputModes, LocalModes, speed, tcgetattr};

use super::glass::{LIMIT, Shown, pseudo_terminal_at};
use super::machine::{Machine, text};
use crate::harness::{Running, wait_for};

const ENTER: &[u8] = b"\r";
const DOWN: &[u8] = b"\x1b[B";

/// A serial port whose cable can be pulled.
struct Port {
    path: PathBuf,
}

impl Port {
    fn new(folder: &Path) -> Port {
        Port {
            path: folder.join("console"),
        }
    }

    /// Plugs a terminal in.
    fn plug(&self) -> Shown {
        let (master, device) = pseudo_terminal_at();
        let _unplugged = std::fs::remove_file(&self.path);
        symlink(device, &self.path).unwrap();
        self.wait_until_set_up(&master);
        Shown::new(master)
    }

    /// The panel has opened it: 9600 8N2, raw, no flow control.
    fn wait_until_set_up(&self, master: &OwnedFd) {
        wait_for("a line set up", LIMIT, || {
            let modes = tcgetattr(master).unwrap();
            let eight_two = ControlModes::CS8 | ControlModes::CSTOPB;
            let set = modes.control_modes.contains(eight_two)
                && !modes
                    .control_modes
                    .intersects(ControlModes::PARENB | ControlModes::CRTSCTS)
                && !modes
                    .input_modes
                    .intersects(InputModes::IXON | InputModes::IXOFF)
                && !modes
                    .local_modes
                    .intersects(LocalModes::ICANON | LocalModes::ECHO)
                && modes.output_speed() == speed::B9600;
            set.then_some(())
        });
    }
}

fn console(machine: &Machine) -> (Port, Running) {
    let port = Port::new(machine.folder.path());
    let panel = machine.panel(&["--tty", text(&port.path)]);
    (port, panel)
}

/// Wakes the console and waits until the menu can be opened.
fn wake(shown: &mut Shown) {
    shown.press(ENTER);
    shown.wait_for(&["MAC 00:00:00:00:00:00", "lobby", "127.0.0.1"]);
}

fn open_vlan(shown: &mut Shown) {
    shown.press(ENTER);
    shown.wait_for(&["SETUP NETWORK"]);
    shown.press(ENTER);
    shown.wait_for(&["RENEW DHCP"]);
    shown.press(DOWN);
    shown.wait_for(&["VLAN ON"]);
    shown.press(ENTER);
    shown.wait_for(&["VLAN 0-4094"]);
}

#[test]
fn a_console_is_silent_until_enter_and_refuses_a_pasted_file() {
    let machine = Machine::active();
    let (port, _panel) = console(&machine);
    let mut shown = port.plug();
    shown.type_text("x1 ");
    assert_eq!((shown.text().as_str(), shown.bytes), ("", 0));
    wake(&mut shown);
    // A keystroke file that would set a VLAN and be through before anybody could read a word.
    shown.paste(b"\r\r\x1b[B\r0042\r\r\r");
    shown.wait_for(&["Too fast:", "nothing changed"]);
    shown.wait_for(&["lobby"]);
    assert_eq!(machine.stored_vlan(), None);
    // By fingers it goes.
    open_vlan(&mut shown);
    shown.type_text("0042");
    shown.wait_for(&["0042"]);
    assert_eq!(machine.stored_vlan(), None, "not confirmed yet");
    shown.press(ENTER);
    shown.wait_for(&["STORED"]);
    assert_eq!(machine.stored_vlan(), Some(42));
}

#[test]
fn a_cable_pulled_is_waited_for_and_a_terminal_plugged_in_begins_with_enter() {
    let machine = Machine::active();
    let (port, mut panel) = console(&machine);
    let mut shown = port.plug();
    wake(&mut shown);
    drop(shown);
    let mut shown = port.plug();
    assert_eq!(shown.text(), "");
    wake(&mut shown);
    assert!(panel.runs());
}

#[test]
fn an_agent_killed_is_said_and_only_what_was_confirmed_is_stored() {
    let mut machine = Machine::active();
    let (port, _panel) = console(&machine);
    let mut shown = port.plug();
    wake(&mut shown);
    open_vlan(&mut shown);
    shown.type_text("0042");
    shown.press(ENTER);
    shown.wait_for(&["STORED"]);
    shown.press(ENTER);
    shown.wait_for(&["lobby"]);
    open_vlan(&mut shown);
    shown.type_text("0077");
    shown.wait_for(&["0077"]);
    machine.kill_agent();
    shown.wait_for(&["Sonde is", "starting up..."]);
    machine.start_agent();
    shown.wait_for(&["lobby"]);
    assert_eq!(machine.stored_vlan(), Some(42));
    open_vlan(&mut shown);
    shown.wait_for(&["0042"]);
}
