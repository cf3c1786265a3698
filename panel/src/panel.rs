//! The panel as one state machine: events in, a screen and actions out.
//!
//! Views stand on a stack. The lowest is the resting screen and never leaves; what a person opens, or
//! what has to be said, stands on it until it is done. Keys go to the topmost view alone.

use std::collections::VecDeque;
use std::time::Duration;

use sonde_protocol::local::Status;

use crate::event::{Action, Event, Key, Press};
use crate::screen::{Geometry, Glyph, Leds, Screen};
use crate::status::{StatusView, draw_text};
use crate::texts;

/// More than [`BURST`] keys or characters within this time did not come from a person's fingers: a
/// person who types fast, or leaves a key of the keyboard down, makes thirty a second.
const BURST_TIME: Duration = Duration::from_millis(100);
const BURST: usize = 6;
/// A burst ends when nothing came for this long; until then everything is dropped.
const QUIET_TIME: Duration = Duration::from_millis(500);
/// A notice goes away by itself after this time.
const NOTICE_TIME: Duration = Duration::from_secs(5);

/// What stands on the resting screen.
#[derive(Clone, Debug)]
enum View {
    /// A sentence that goes away by ENTER, or by itself.
    Notice { text: &'static str, since: Duration },
}

/// What a view wants done with itself after a key.
enum After {
    Stay,
    Close,
}

/// A panel. Feed it every event with the time since its start; show [`Panel::screen`] whenever
/// it says so.
#[derive(Clone, Debug)]
pub struct Panel {
    status: Option<Status>,
    resting: StatusView,
    stack: Vec<View>,
    recent_input: VecDeque<Duration>,
    refusing: bool,
    screen: Screen,
}

impl Panel {
    /// A panel at power on, for a display of this geometry.
    pub fn new(geometry: Geometry) -> Panel {
        let mut panel = Panel {
            status: None,
            resting: StatusView::new(),
            stack: Vec::new(),
            recent_input: VecDeque::with_capacity(BURST),
            refusing: false,
            screen: Screen::new(geometry),
        };
        panel.screen = panel.draw(Duration::ZERO);
        panel
    }

    /// What the display shows now.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Takes one event. `now` is the time since the panel's start.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        match event {
            Event::Key(key, press) => {
                if press == Press::Down && self.admit(now) {
                    self.handle_key(key, now);
                }
            }
            // No screen has a field yet; typing still counts as input that may come too fast.
            Event::Typed(_) => _ = self.admit(now),
            Event::Tick => {}
            Event::Status(status) => {
                let changed = self
                    .status
                    .as_ref()
                    .is_none_or(|old| shown(old) != shown(&status));
                self.status = Some(status);
                if changed {
                    self.resting.handle_change(now);
                }
            }
            // No screen shows these yet.
            Event::Setup(_) | Event::Keys(_) | Event::Answered(_) => {}
            Event::LinkLost => {
                self.status = None;
                self.resting.handle_link_lost(now);
            }
        }
        self.handle_time(now);
        let screen = self.draw(now);
        if screen == self.screen {
            return Vec::new();
        }
        self.screen = screen;
        vec![Action::Redraw]
    }

    fn handle_key(&mut self, key: Key, now: Duration) {
        let after = match self.stack.last_mut() {
            Some(view) => view.handle_key(key),
            None => {
                self.resting.handle_key(key, self.status.as_ref(), now);
                After::Stay
            }
        };
        match after {
            After::Stay => {}
            After::Close => _ = self.stack.pop(),
        }
    }

    fn handle_time(&mut self, now: Duration) {
        let quiet = self
            .recent_input
            .back()
            .is_none_or(|last| now.saturating_sub(*last) >= QUIET_TIME);
        self.refusing &= !quiet;
        let refusing = self.refusing;
        self.stack.retain(|View::Notice { since, .. }| {
            refusing || now.saturating_sub(*since) < NOTICE_TIME
        });
        self.resting.handle_tick(self.status.as_ref(), now);
    }

    /// Whether input at `now` may have come from a person. When it did not, whatever was being
    /// entered is given up: half a pasted setting is worse than none.
    fn admit(&mut self, now: Duration) -> bool {
        if self.recent_input.len() == BURST {
            self.recent_input.pop_front();
        }
        self.recent_input.push_back(now);
        let burst = self.recent_input.len() == BURST
            && self
                .recent_input
                .front()
                .is_some_and(|first| now.saturating_sub(*first) < BURST_TIME);
        if burst && !self.refusing {
            self.refusing = true;
            self.stack.clear();
            self.stack.push(View::Notice {
                text: texts::TYPED_TOO_FAST,
                since: now,
            });
        }
        !self.refusing
    }

    fn draw(&self, now: Duration) -> Screen {
        let mut screen = Screen::new(self.screen.geometry());
        if let Some(status) = &self.status {
            screen.leds = Leds {
                scan: status.scans_running > 0,
                update: status.updating,
            };
            screen.mac = status.lan_mac.clone();
        }
        match self.stack.last() {
            Some(View::Notice { text, since }) => {
                draw_text(
                    &mut screen,
                    text,
                    &[Glyph::Enter],
                    now.saturating_sub(*since),
                );
            }
            None => self.resting.draw(self.status.as_ref(), now, &mut screen),
        }
        screen
    }
}

impl View {
    fn handle_key(&mut self, key: Key) -> After {
        match self {
            View::Notice { .. } if key == Key::Enter => After::Close,
            View::Notice { .. } => After::Stay,
        }
    }
}

/// The part of a status that decides which text the resting screen shows.
fn shown(status: &Status) -> impl PartialEq + '_ {
    (
        &status.phase,
        &status.name,
        &status.lan_address,
        &status.errors,
    )
}

#[cfg(test)]
mod tests;
