//! What a front is, and the loop that ties one to a panel and to the agent.
//!
//! Each front has a panel and a connection of its own, so a display and a console show what fits each of them.
//! Who may work the menus is decided by the agent, which knows them all.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::client::Client;
use crate::event::{Action, Event};
use crate::leds::KernelLeds;
use crate::panel::Panel;
use crate::screen::{Geometry, Screen};

/// Ten ticks a second: what moves on a display moves slower.
const TICK: Duration = Duration::from_millis(100);

/// A display with keys. Nothing in it waits; it comes back by itself when it was gone.
pub trait Front {
    /// What to wait on for its keys, while it is there.
    fn wait_on(&self) -> Option<BorrowedFd<'_>>;

    /// When it wants to be polled without anything having come.
    fn poll_timeout(&self) -> Option<Duration>;

    /// What a person did. `now` is the time since the front's start; a display that was not there before says
    /// its `geometry`.
    fn poll(&mut self, now: Duration, geometry: &mut Option<Geometry>) -> Vec<Event>;

    /// Shows `screen`, now or as soon as it can.
    fn show(&mut self, screen: &Screen, now: Duration);
}

/// Shows the panel of the agent that listens on `socket` on `front` until `stop` becomes true. `geometry` is
/// the panel's until the front says another.
pub fn run(
    front: &mut dyn Front,
    socket: &Path,
    geometry: Geometry,
    mut leds: Option<KernelLeds>,
    stop: &AtomicBool,
) {
    let started = Instant::now();
    let mut client = Client::new(socket.to_owned());
    let mut panel = Panel::new(geometry);
    front.show(panel.screen(), started.elapsed());
    while !stop.load(Ordering::Relaxed) {
        wait(&client, front, started.elapsed());
        let now = started.elapsed();
        let mut display = None;
        let mut events = front.poll(now, &mut display);
        if let Some(display) = display.filter(|display| *display != panel.screen().geometry()) {
            // Another display than before: a panel that fits it, told everything anew.
            panel = Panel::new(display);
            client = Client::new(socket.to_owned());
            front.show(panel.screen(), now);
        }
        events.extend(client.poll(now));
        if step(&mut panel, &mut client, events, now) {
            front.show(panel.screen(), now);
            if let Some(leds) = &mut leds {
                leds.show(panel.screen().leds);
            }
        }
    }
}

/// Gives the panel what happened, and a tick, and asks the agent for what it wants; true if it shows another screen.
pub(crate) fn step(
    panel: &mut Panel,
    client: &mut Client,
    events: Vec<Event>,
    now: Duration,
) -> bool {
    let mut redraw = false;
    for event in events.into_iter().chain([Event::Tick]) {
        for action in panel.handle(event, now) {
            match action {
                Action::Redraw => redraw = true,
                asked => client.act(asked),
            }
        }
    }
    redraw
}

/// Waits for the agent, for a key, or for the next thing that is due.
fn wait(client: &Client, front: &dyn Front, now: Duration) {
    let due = front.poll_timeout();
    let wait = due.map_or(TICK, |due| due.saturating_sub(now).min(TICK));
    // A due time is met, not just missed: the kernel's clock and ours are read at different moments.
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(wait.subsec_nanos()),
    };
    let fds = client.socket().into_iter().chain(front.wait_on());
    let mut fds: Vec<PollFd<'_>> = fds
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    // Interrupted or not: whatever came is looked at by everybody.
    let _ready = poll(&mut fds, Some(&timeout));
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use sonde_protocol::local::{Keys, Message, Phase, Setup, Status};

    use super::*;
    use crate::event::{Key, Press};
    use crate::screen::Glyph;

    const LIMIT: Duration = Duration::from_secs(20);

    /// A display at the other end of a socket: a byte in is DOWN, ENTER for a line feed; rows come out as a line.
    struct Wire(UnixStream);

    impl Front for Wire {
        fn wait_on(&self) -> Option<BorrowedFd<'_>> {
            Some(self.0.as_fd())
        }

        fn poll_timeout(&self) -> Option<Duration> {
            None
        }

        fn poll(&mut self, _now: Duration, _geometry: &mut Option<Geometry>) -> Vec<Event> {
            let mut byte = [0];
            let Ok(1) = self.0.read(&mut byte) else {
                return Vec::new();
            };
            let key = if byte == *b"\n" {
                Key::Enter
            } else {
                Key::Down
            };
            vec![Event::Key(key, Press::Down), Event::Key(key, Press::Up)]
        }

        fn show(&mut self, screen: &Screen, _now: Duration) {
            let rows = [screen.row(0, Glyph::ascii), screen.row(1, Glyph::ascii)];
            writeln!(self.0, "{}", rows.concat()).unwrap();
        }
    }

    /// The front's thread ends with the test, however that ends.
    struct StopAtEnd<'a>(&'a AtomicBool);

    impl Drop for StopAtEnd<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    struct Glass(UnixStream, String);

    impl Glass {
        fn wait_for(&mut self, words: &str) {
            let started = Instant::now();
            while !self
                .1
                .rsplit('\n')
                .nth(1)
                .is_some_and(|line| line.contains(words))
            {
                assert!(started.elapsed() < LIMIT, "no {words}: {}", self.1);
                let mut bytes = [0; 256];
                let read = self.0.read(&mut bytes).unwrap();
                self.1
                    .push_str(std::str::from_utf8(&bytes[..read]).unwrap());
            }
        }
    }

    #[test]
    fn a_key_is_seen_within_twenty_milliseconds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let agent = UnixListener::bind(&path).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        ours.set_read_timeout(Some(LIMIT)).unwrap();
        let (mut glass, stop) = (Glass(ours, String::new()), AtomicBool::new(false));
        let mut front = Wire(theirs);
        std::thread::scope(|scope| {
            let _stop = StopAtEnd(&stop);
            scope.spawn(|| run(&mut front, &path, Geometry::LCD_16X2, None, &stop));
            let (mut agent, _) = agent.accept().unwrap();
            let status = Status {
                phase: Phase::Ready,
                name: "lobby".into(),
                lan_address: None,
                lan_mac: None,
                errors: Vec::new(),
                scans_running: 0,
                updating: false,
            };
            for message in [
                Message::Status(status),
                Message::Setup(Setup::default()),
                Message::Keys(Keys::Free),
            ] {
                let line = serde_json::to_string(&message).unwrap();
                writeln!(agent, "{line}").unwrap();
            }
            glass.wait_for("lobby");
            let mut times = Vec::new();
            let screens = ["NETWORK", "SHUTDOWN", "REBOOT", "EXIT", "NETWORK"];
            for (at, words) in screens.into_iter().enumerate() {
                let pressed = Instant::now();
                glass
                    .0
                    .write_all(if at == 0 { b"\n" } else { b"v" })
                    .unwrap();
                glass.wait_for(words);
                times.push(pressed.elapsed());
            }
            // The middle one: what a busy machine does to one of them is no fault of the panel's.
            times.sort_unstable();
            assert!(times[2] < Duration::from_millis(20), "{times:?}");
        });
    }
}
