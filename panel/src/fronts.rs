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
        events.push(Event::Tick);
        let mut redraw = false;
        for action in events
            .into_iter()
            .flat_map(|event| panel.handle(event, now))
        {
            match action {
                Action::Redraw => redraw = true,
                asked => client.act(asked),
            }
        }
        if redraw {
            front.show(panel.screen(), now);
            if let Some(leds) = &mut leds {
                leds.show(panel.screen().leds);
            }
        }
    }
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
