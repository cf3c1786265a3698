//! Sentences that go away by ENTER, or by themselves.

use std::collections::VecDeque;
use std::time::Duration;

use crate::draw::draw_text;
use crate::screen::{Glyph, Screen};
use crate::texts;
use crate::view::Step;

/// A notice goes away by itself after this time.
const NOTICE_TIME: Duration = Duration::from_secs(5);

/// One sentence or several, one after the other.
#[derive(Clone, Debug)]
pub(crate) struct Notice {
    texts: VecDeque<String>,
    since: Duration,
    then: Then,
}

/// What follows the last sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// The view below.
    Close,
    /// The menu.
    Quit,
    /// The resting screen.
    Rest,
}

impl Notice {
    pub(crate) fn new(
        texts: impl IntoIterator<Item = String>,
        then: Then,
        now: Duration,
    ) -> Notice {
        Notice {
            texts: texts.into_iter().collect(),
            since: now,
            then,
        }
    }

    /// Why a field is not taken; the field is below.
    pub(crate) fn complaint(text: &str, now: Duration) -> Notice {
        Notice::new([text.to_owned()], Then::Close, now)
    }

    /// Whether it says that input came too fast.
    pub(crate) fn is_refusal(&self) -> bool {
        self.texts
            .front()
            .is_some_and(|text| text == texts::TYPED_TOO_FAST)
    }

    /// The person has read it.
    pub(crate) fn next(&mut self, now: Duration) -> Step {
        self.texts.pop_front();
        self.since = now;
        match self.then {
            _ if !self.texts.is_empty() => Step::Stay,
            Then::Close => Step::Close,
            Then::Quit => Step::Quit,
            Then::Rest => Step::Rest,
        }
    }

    /// Time passed.
    pub(crate) fn handle_tick(&mut self, now: Duration) -> Step {
        if now.saturating_sub(self.since) >= NOTICE_TIME {
            self.next(now)
        } else {
            Step::Stay
        }
    }

    pub(crate) fn draw(&self, now: Duration, screen: &mut Screen) {
        if let Some(text) = self.texts.front() {
            draw_text(
                screen,
                text,
                &[Glyph::Enter],
                now.saturating_sub(self.since),
            );
        }
    }
}
