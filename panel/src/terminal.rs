//! The panel in the terminal of the person who started it.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

use crate::client::Client;
use crate::event::{Event, Press};
use crate::fronts::step;
use crate::panel::Panel;
use crate::screen::Geometry;
use crate::vt100::{Charset, Decoder, Input, Renderer};

/// Ten ticks a second: what moves on a display moves slower.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
const HELP: &str = "keys: arrows, ENTER; q or Ctrl-C leaves";

/// Why the panel can not be shown here.
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// Input or output goes somewhere else.
    #[error(
        "{0} is not a terminal, so the panel can not be shown here; start `sonde panel --this-terminal` \
         in a terminal without redirecting it"
    )]
    NotATerminal(&'static str),
    /// The terminal's settings can not be read or changed.
    #[error("the terminal can not be set to give single keys")]
    Settings(#[source] rustix::io::Errno),
    /// Reading keys or writing the picture failed.
    #[error("the terminal went away")]
    Lost(#[source] io::Error),
}

/// Shows the panel of the agent that listens on `socket` until a person leaves by `q` or Ctrl-C, or
/// `stop` becomes true. The terminal is as it was afterwards, the last picture still on it.
///
/// # Errors
/// When standard input or output is no terminal, or the terminal goes away.
pub fn show(
    socket: PathBuf,
    geometry: Geometry,
    charset: Charset,
    stop: &AtomicBool,
) -> Result<(), TerminalError> {
    for (name, is_terminal) in [
        ("standard input", io::stdin().is_terminal()),
        ("standard output", io::stdout().is_terminal()),
    ] {
        if !is_terminal {
            return Err(TerminalError::NotATerminal(name));
        }
    }
    let _raw = RawMode::enter()?;
    let mut renderer = Renderer::new(charset, HELP);
    let outcome = run(&mut Client::new(socket), geometry, &mut renderer, stop);
    write(&renderer.leave()).and(outcome)
}

fn run(
    client: &mut Client,
    geometry: Geometry,
    renderer: &mut Renderer,
    stop: &AtomicBool,
) -> Result<(), TerminalError> {
    let started = Instant::now();
    let mut panel = Panel::new(geometry);
    let mut decoder = Decoder::default();
    write(&renderer.render(panel.screen()))?;
    while !stop.load(Ordering::Relaxed) {
        let keys = wait(client)?;
        let now = started.elapsed();
        let mut events = client.poll(now);
        for input in keys.into_iter().filter_map(|byte| decoder.byte(byte)) {
            match input {
                Input::Interrupt => return Ok(()),
                // In a field it is a letter like any other.
                Input::Typed('q') if panel.screen().cursor().is_none() => return Ok(()),
                Input::Typed(letter) => events.push(Event::Typed(letter)),
                Input::Key(key) => {
                    events.extend([Event::Key(key, Press::Down), Event::Key(key, Press::Up)]);
                }
            }
        }
        if step(&mut panel, client, events, now) {
            write(&renderer.render(panel.screen()))?;
        }
    }
    Ok(())
}

/// Waits for a key, for the agent or for the next tick, and returns the keys' bytes.
fn wait(client: &Client) -> Result<Vec<u8>, TerminalError> {
    let stdin = io::stdin();
    let mut fds = vec![PollFd::new(&stdin, PollFlags::IN)];
    fds.extend(
        client
            .socket()
            .map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::IN)),
    );
    match poll(&mut fds, Some(&TICK)) {
        Ok(_) => {}
        Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
        Err(error) => return Err(TerminalError::Lost(error.into())),
    }
    if fds[0].revents().is_empty() {
        return Ok(Vec::new());
    }
    let mut bytes = [0; 256];
    match rustix::io::read(stdin.as_fd(), &mut bytes) {
        Ok(0) => Err(TerminalError::Lost(io::ErrorKind::UnexpectedEof.into())),
        Ok(read) => Ok(bytes[..read].to_vec()),
        Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
        Err(error) => Err(TerminalError::Lost(error.into())),
    }
}

fn write(bytes: &[u8]) -> Result<(), TerminalError> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(TerminalError::Lost)
}

/// The terminal gives single keys, unechoed, while this lives; afterwards it is as before.
struct RawMode {
    before: Termios,
}

impl RawMode {
    fn enter() -> Result<RawMode, TerminalError> {
        let before = tcgetattr(io::stdin()).map_err(TerminalError::Settings)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).map_err(TerminalError::Settings)?;
        Ok(RawMode { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that went away.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}
