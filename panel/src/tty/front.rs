//! A console: silent until ENTER, then the panel below the box's MAC address.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::event::{Event, Press};
use crate::fronts::Front;
use crate::screen::{Geometry, Screen};
use crate::tty::gate::{Gate, Passed};
use crate::tty::line::{Line, time_of};
use crate::vt100::{Charset, Decoder, Input, Renderer};

/// Between two looks for a device that is not there.
const REOPEN: Duration = Duration::from_secs(1);
/// A console that nobody touches becomes silent again: the next terminal plugged in begins with ENTER.
const SLEEP_AFTER: Duration = Duration::from_mins(10);
/// The panel takes more keys than this at one moment for a paste and says so.
const BURST: usize = 8;
const HELP: &str = "keys: arrows, ENTER";
/// Ctrl-L: the whole picture again.
const REPAINT: u8 = 0x0c;

/// A VT100 at a serial line. Where the line goes away, it waits and opens it again.
#[derive(Debug)]
pub struct TtyFront {
    device: PathBuf,
    line: Option<Line>,
    reopen_at: Duration,
    trouble: Option<String>,
    /// What the terminal shows; none while it is to show nothing.
    renderer: Option<Renderer>,
    screen: Option<Screen>,
    /// The screen is another one than the terminal was sent.
    stale: bool,
    decoder: Decoder,
    /// The last byte was CR: a LF now is of the same ENTER.
    after_return: bool,
    gate: Gate,
    touched: Duration,
    unsent: Vec<u8>,
    /// When the line has sent everything it was given.
    free_at: Duration,
}

impl TtyFront {
    /// A console at `device`, which need not be there yet.
    pub fn new(device: PathBuf) -> TtyFront {
        TtyFront {
            device,
            line: None,
            reopen_at: Duration::ZERO,
            trouble: None,
            renderer: None,
            screen: None,
            stale: false,
            decoder: Decoder::default(),
            after_return: false,
            gate: Gate::default(),
            touched: Duration::ZERO,
            unsent: Vec::new(),
            free_at: Duration::ZERO,
        }
    }

    fn open(&mut self, now: Duration) {
        if self.line.is_some() || now < self.reopen_at {
            return;
        }
        match Line::open(&self.device) {
            Ok(line) => {
                self.line = Some(line);
                self.trouble = None;
            }
            Err(error) => self.lose(&error, now),
        }
    }

    /// The line is gone, and with it everything that a person began there.
    fn lose(&mut self, why: &io::Error, now: Duration) {
        self.line = None;
        self.reopen_at = now + REOPEN;
        self.renderer = None;
        self.decoder = Decoder::default();
        self.after_return = false;
        self.gate = Gate::default();
        self.unsent.clear();
        let text = why.to_string();
        if self.trouble.as_ref() != Some(&text) {
            let device = self.device.display();
            eprintln!("no console at {device}: {text}; trying again until there is one");
            self.trouble = Some(text);
        }
    }

    fn read(&mut self, now: Duration) -> io::Result<Vec<u8>> {
        let read = self.line.as_mut().map_or(Ok(Vec::new()), Line::read);
        if let Err(error) = &read {
            self.lose(error, now);
        }
        read
    }

    fn handle_byte(&mut self, byte: u8, now: Duration) {
        let of_return = self.after_return && byte == b'\n';
        self.after_return = byte == b'\r';
        if of_return {
            return;
        }
        if byte == REPAINT {
            self.renderer = self.renderer.take().map(|_| renderer());
        }
        if let Some(input) = self.decoder.byte(byte) {
            self.gate.handle_input(input, now);
        }
    }

    fn pass(&mut self, passed: Passed, now: Duration, events: &mut Vec<Event>) {
        self.touched = now;
        match passed {
            _ if self.renderer.is_none() => {
                if passed == Passed::Input(Input::Key(crate::event::Key::Enter)) {
                    self.renderer = Some(renderer());
                }
            }
            // The panel knows for itself what is too fast, gives up what was being entered, and says so.
            // Blanks confirm nothing.
            Passed::Burst => events.extend(std::iter::repeat_n(Event::Typed(' '), BURST)),
            Passed::Input(Input::Typed(letter)) => events.push(Event::Typed(letter)),
            Passed::Input(Input::Key(key)) => {
                events.extend([Event::Key(key, Press::Down), Event::Key(key, Press::Up)]);
            }
            Passed::Input(Input::Interrupt) => {}
        }
    }

    /// Sends what goes. What changes while the line is busy is not queued: the newest picture follows.
    fn send(&mut self, now: Duration) {
        if self.unsent.is_empty()
            && now >= self.free_at
            && let (Some(renderer), Some(screen)) = (&mut self.renderer, &self.screen)
        {
            self.unsent = renderer.render(screen);
            self.stale = false;
        }
        if self.unsent.is_empty() {
            return;
        }
        match self
            .line
            .as_mut()
            .map_or(Ok(0), |line| line.write(&self.unsent))
        {
            Ok(sent) => {
                self.unsent.drain(..sent);
                self.free_at = self.free_at.max(now) + time_of(sent);
            }
            Err(error) => self.lose(&error, now),
        }
    }
}

impl Front for TtyFront {
    fn wait_on(&self) -> Option<BorrowedFd<'_>> {
        self.line.as_ref().map(Line::wait_on)
    }

    fn poll_timeout(&self) -> Option<Duration> {
        let waits = self.stale && self.renderer.is_some() && self.unsent.is_empty();
        let busy = waits.then_some(self.free_at);
        self.gate.poll_timeout().into_iter().chain(busy).min()
    }

    fn poll(&mut self, now: Duration, _geometry: &mut Option<Geometry>) -> Vec<Event> {
        let mut events = Vec::new();
        self.open(now);
        for byte in self.read(now).unwrap_or_default() {
            self.handle_byte(byte, now);
        }
        while let Some(passed) = self.gate.poll(now) {
            self.pass(passed, now, &mut events);
        }
        if self.renderer.is_some() && now >= self.touched + SLEEP_AFTER {
            self.renderer = None;
            self.unsent.extend_from_slice(b"\x1b[2J\x1b[H");
        }
        self.send(now);
        events
    }

    fn show(&mut self, screen: &Screen, now: Duration) {
        self.screen = Some(screen.clone());
        self.stale = true;
        self.send(now);
    }
}

fn renderer() -> Renderer {
    Renderer::new(Charset::Ascii, HELP)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::screen::Glyph;

    /// Every cell, both indicators, the cursor: what the largest step from one screen to the next takes.
    #[test]
    fn a_full_repaint_takes_less_than_a_tenth_of_a_second() {
        let full = |letter: &str| {
            let mut screen = Screen::new(Geometry::LCD_16X2);
            for row in 0..2 {
                screen.write(row, 0, &letter.repeat(16));
            }
            screen
        };
        let mut renderer = renderer();
        renderer.render(&full("a"));
        let mut next = full("b");
        next.indicate(&[Glyph::Enter, Glyph::Up]);
        next.leds.scan = true;
        let bytes = renderer.render(&next).len();
        let time = time_of(bytes);
        assert!(time < Duration::from_millis(100), "{bytes} bytes, {time:?}");
    }

    #[test]
    fn a_device_that_is_not_there_is_looked_for_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut front = TtyFront::new(folder.path().join("console"));
        assert_eq!(front.poll(Duration::ZERO, &mut None), []);
        assert!(front.trouble.is_some() && front.wait_on().is_none());
        assert_eq!(front.reopen_at, REOPEN);
    }
}
