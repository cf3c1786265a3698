//! What lasts: the agent was asked, the machine starts anew or ends.

use std::time::Duration;

use crate::draw::draw_text;
use crate::screen::Screen;
use crate::texts;
use crate::view::Step;

/// An agent that lives answers in less than a second.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A machine that starts anew or ends does so in less time.
const END_MAX: Duration = Duration::from_secs(60);
/// After the agent has ended the machine has this long to write what it holds.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// Something that lasts. Keys do nothing meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Busy {
    /// The agent was asked.
    Waiting { since: Duration },
    /// The machine starts anew.
    Rebooting { since: Duration },
    /// The machine ends; `ended`: since when the agent is gone.
    ShuttingDown {
        since: Duration,
        ended: Option<Duration>,
    },
}

impl Busy {
    /// Time passed.
    pub(crate) fn handle_tick(&mut self, now: Duration) -> Step {
        let (since, max, text) = match self {
            Busy::Waiting { since } => (*since, ANSWER_MAX, texts::NO_ANSWER),
            Busy::Rebooting { since } | Busy::ShuttingDown { since, ended: None } => {
                (*since, END_MAX, texts::STILL_RUNNING)
            }
            Busy::ShuttingDown { ended: Some(_), .. } => return Step::Stay,
        };
        if now.saturating_sub(since) >= max {
            Step::Say(text)
        } else {
            Step::Stay
        }
    }

    pub(crate) fn draw(&self, now: Duration, screen: &mut Screen) {
        let text = match self {
            Busy::Waiting { .. } => texts::PLEASE_WAIT,
            Busy::Rebooting { .. } => texts::REBOOTING,
            Busy::ShuttingDown { ended, .. } => match ended {
                Some(ended) if now.saturating_sub(*ended) >= SETTLE_TIME => texts::SAFE_TO_UNPLUG,
                _ => texts::SHUTTING_DOWN,
            },
        };
        draw_text(screen, text, &[], Duration::ZERO);
    }
}
