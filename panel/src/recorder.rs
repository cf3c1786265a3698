//! What happened lately, as a flow that can be played again.

use std::collections::VecDeque;
use std::time::Duration;

use crate::event::Event;
use crate::screen::Screen;

/// Most events kept.
const EVENTS_MAX: usize = 4096;

/// The last events.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder {
    events: VecDeque<(Duration, Event)>,
}

impl Recorder {
    pub(crate) fn record(&mut self, event: &Event, now: Duration, _secret: bool) {
        if *event == Event::Tick {
            return;
        }
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        self.events.push_back((now, event.clone()));
    }

    pub(crate) fn rest(&mut self, _now: Duration) {}

    pub(crate) fn flow(&self, _screen: &Screen) -> String {
        String::new()
    }
}
