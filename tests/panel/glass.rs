//! What a person sees on a terminal and presses there: the other end of a pseudo-terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::harness::wait_for;

pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// A condition that does not depend on the glass alone is looked at this often.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
/// A person does not press two keys within less.
const FINGERS: Duration = Duration::from_millis(150);

/// A pseudo-terminal of 24 rows and 80 columns: the person's side, and the program's.
pub(super) fn pseudo_terminal() -> (OwnedFd, File) {
    let (master, path) = pseudo_terminal_at();
    let terminal = File::options().read(true).write(true).open(path).unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&terminal, size).unwrap();
    (master, terminal)
}

/// The person's side of a pseudo-terminal, and where the program's is.
pub(super) fn pseudo_terminal_at() -> (OwnedFd, PathBuf) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    rustix::io::ioctl_fionbio(&master, true).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    (master, name.to_str().unwrap().into())
}

/// What a person sees on the terminal.
pub(super) struct Shown {
    master: File,
    pub(super) parser: vt100::Parser,
    pressed: Instant,
    /// Bytes that came.
    pub(super) bytes: usize,
}

impl Shown {
    pub(super) fn new(master: OwnedFd) -> Shown {
        Shown {
            master: File::from(master),
            parser: vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0),
            pressed: Instant::now(),
            bytes: 0,
        }
    }

    /// Presses a key, not sooner than a person would after the last.
    pub(super) fn press(&mut self, key: &[u8]) {
        let pressed = self.pressed;
        wait_for("fingers", LIMIT, || {
            (pressed.elapsed() >= FINGERS).then_some(())
        });
        self.paste(key);
    }

    /// Types a text, a character at a time.
    pub(super) fn type_text(&mut self, text: &str) {
        for byte in text.bytes() {
            self.press(&[byte]);
        }
    }

    /// Sends all of it at once.
    pub(super) fn paste(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
        self.pressed = Instant::now();
    }

    /// Looks once.
    pub(super) fn text(&mut self) -> String {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = self.master.read(&mut bytes) {
            self.parser.process(&bytes[..read]);
            self.bytes += read;
        }
        self.parser.screen().contents()
    }

    /// Looks until it is so.
    pub(super) fn wait_until(&mut self, what: &str, condition: impl Fn(&str) -> bool) {
        let deadline = Instant::now() + LIMIT;
        loop {
            let text = self.text();
            if condition(&text) {
                return;
            }
            assert!(Instant::now() < deadline, "no {what}, but:\n{text}");
            let more = PollFd::new(&self.master, PollFlags::IN);
            poll(&mut [more], Some(&LOOK)).unwrap();
        }
    }

    /// Looks until all words stand there.
    pub(super) fn wait_for(&mut self, words: &[&str]) {
        self.wait_until(&format!("{words:?}"), |text| {
            words.iter().all(|word| text.contains(word))
        });
    }
}
