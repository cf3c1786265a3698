//! What happened lately, as a flow that can be played again.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use sonde_protocol::local::Setup;

use crate::event::{Event, Press};
use crate::flow::key_name;
use crate::picture::Picture;
use crate::screen::{Geometry, Screen};

/// Most events kept. A procedure takes a few hundred.
const EVENTS_MAX: usize = 4096;
/// With more than these, the next time the panel rests the recording begins anew.
const EVENTS_ENOUGH: usize = EVENTS_MAX / 2;
/// What is recorded for each character of a password.
const SECRET: char = 'x';

/// The last events, from a moment on when the panel rested.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    events: VecDeque<(Duration, Event)>,
    /// What the agent said last, before these.
    status: Option<Event>,
    setup: Option<Event>,
    /// When the recording begins, and until when it goes.
    from: Duration,
    until: Duration,
    /// It did not begin at power on.
    begun_anew: bool,
    /// Something was left out at the end.
    full: bool,
}

impl Recorder {
    /// Something happened. Of what is `secret` only that it happened is kept.
    pub(crate) fn record(&mut self, event: &Event, now: Duration, secret: bool) {
        self.until = now;
        if self.full || *event == Event::Tick {
            return;
        }
        let event = match event {
            Event::Typed(_) if secret => Event::Typed(SECRET),
            Event::Setup(setup) => Event::Setup(Setup {
                settings: setup.settings.clone().redacted(),
                ..setup.clone()
            }),
            Event::Key(key, _) if secret && matches!(key_name(*key), "UP" | "DOWN") => Event::Tick,
            event => event.clone(),
        };
        self.push(now, event);
    }

    /// A tick changed the screen.
    pub(crate) fn record_tick(&mut self, now: Duration) {
        self.push(now, Event::Tick);
    }

    /// The panel rests: nothing of what was done before matters any more.
    pub(crate) fn rest(&mut self, now: Duration) {
        if self.events.len() < EVENTS_ENOUGH {
            return;
        }
        for (_, event) in self.events.drain(..) {
            match event {
                Event::Status(_) => self.status = Some(event),
                Event::Setup(_) => self.setup = Some(event),
                Event::LinkLost => (self.status, self.setup) = (None, None),
                _ => {}
            }
        }
        self.from = now;
        self.begun_anew = true;
        self.full = false;
    }

    /// The recording, and what `screen` shows at its end unless that is `secret`.
    pub(crate) fn flow(&self, screen: &Screen, secret: bool) -> String {
        let mut out = String::from("# Recorded\ngiven nothing\n");
        let Geometry { columns, rows } = screen.geometry();
        _ = writeln!(out, "given display {columns}x{rows}");
        let mut then = self.from;
        if self.begun_anew {
            out.push_str("given begun-anew\n");
            for event in self.status.iter().chain(&self.setup) {
                line(&mut out, Duration::ZERO, event);
            }
            // Past the messages of the start.
            for _ in 0..8 {
                line(&mut out, Duration::from_secs(2), &Event::Tick);
            }
        }
        for (at, event) in &self.events {
            line(&mut out, at.saturating_sub(then), event);
            then = *at;
        }
        if self.full {
            out.push_str("There was more than is kept.\n");
        } else {
            line(&mut out, self.until.saturating_sub(then), &Event::Tick);
            if secret {
                out.push_str("[]\n");
            } else {
                out.push_str(&Picture::of(screen).to_string());
            }
        }
        out
    }

    fn push(&mut self, now: Duration, event: Event) {
        if self.events.len() < EVENTS_MAX {
            self.events.push_back((now, event));
        } else {
            self.full = true;
        }
    }
}

fn line(out: &mut String, after: Duration, event: &Event) {
    let words = match event {
        Event::Key(key, press) => {
            let press = match press {
                Press::Down => "down",
                Press::Up => "up",
                Press::Held => "held",
            };
            format!("{press} {}", key_name(*key))
        }
        Event::Typed(c) => format!("typed {}", json(c)),
        Event::Tick => "tick".to_owned(),
        Event::Status(status) => format!("said-status {}", json(status)),
        Event::Setup(setup) => format!("said-setup {}", json(setup)),
        Event::Keys(keys) => format!("keys {}", json(keys)),
        Event::Answered(outcome) => format!("answered {}", json(outcome)),
        Event::LinkLost => "lost".to_owned(),
    };
    _ = writeln!(out, "@ {}us {words}", after.as_micros());
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Key;

    #[test]
    fn it_is_bounded_and_begins_anew_when_the_panel_rests() {
        let mut recorder = Recorder::default();
        let key = Event::Key(Key::Down, Press::Down);
        for ms in 0..10_000 {
            recorder.record(&key, Duration::from_millis(ms), false);
        }
        assert_eq!(recorder.events.len(), EVENTS_MAX);
        let screen = Screen::new(Geometry::LCD_16X2);
        assert!(recorder.flow(&screen, false).ends_with("than is kept.\n"));
        recorder.rest(Duration::from_secs(10));
        recorder.record(&key, Duration::from_secs(11), false);
        let flow = recorder.flow(&screen, false);
        assert!(flow.contains("@ 1000000us down DOWN\n"), "{flow}");
    }

    #[test]
    fn of_a_password_only_the_length_is_kept() {
        let mut recorder = Recorder::default();
        recorder.record(&Event::Typed('p'), Duration::ZERO, true);
        recorder.record(&Event::Key(Key::Up, Press::Down), Duration::ZERO, true);
        let kept: Vec<&Event> = recorder.events.iter().map(|(_, event)| event).collect();
        assert_eq!(kept, [&Event::Typed(SECRET), &Event::Tick]);
    }
}
