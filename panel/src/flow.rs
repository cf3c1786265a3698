//! Procedures as text: keys in, expected screens out, to be read beside a guide and played by a test.
//!
//! ```text
//! # Reboot the system               the title; a line that begins with nothing of the below is prose
//! given scans 1                     how the box is before
//! > ENTER                           a person's keys: ENTER RIGHT LEFT UP DOWN, `x3`, LEFT+RIGHT,
//! > DOWN x2                         `hold UP x9`, `type "TEXT"`, `paste "TEXT"`, `wait 5s`
//! +----------------+
//! |SYSTEM REBOOT ↵↓| S1             the display, its lights beside it; a `^` in the lower edge is the
//! |                |                cursor; what follows the edge is the console's line
//! +----------------+
//! > ENTER
//! > ENTER
//! = run "reboot"                    what the panel asks of the agent; nothing else may be asked
//! < lost                            what the agent says
//! ```
//!
//! [`play()`] answers for the agent, so a flow says only what is special. A recording
//! ([`crate::panel::Panel::recording`]) says `given nothing` and has every event of its own, each with
//! the time after the one before: `@ 200000us down ENTER`.

use std::fmt::Write as _;
use std::time::Duration;

use crate::event::Key;
use crate::picture::Picture;
pub use machine::Machine;
pub use play::{Glass, PlayError, Played, Pressed, Sheet, play};

mod machine;
mod parse;
mod play;
mod svg;

pub(crate) use parse::key_name;
pub use svg::drawing;

/// A procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Its lines, each with what it means.
    pub lines: Vec<(String, Line)>,
}

/// What a line, or a box of several, means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// For people.
    Prose,
    /// How the box is before: the words after `given`.
    Given(String),
    /// A person does this.
    Stroke(Stroke),
    /// The agent says this: the words after `<`.
    Told(String),
    /// So long after the event before, this happens: the words after `@`.
    Happens(Duration, String),
    /// The panel has asked for this: the words after `=`.
    Asked(String),
    /// The display shows this.
    Shows(Picture),
    /// The display shows anything; written out when flows are brought up to date (`[]`).
    ShowsAnything,
}

/// What a person does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// Presses a key so many times.
    Press(Key, u32),
    /// Holds a key down for so many repetitions.
    Hold(Key, u32),
    /// Presses LEFT and RIGHT together.
    Both,
    /// Types, as fast as people do.
    Type(String),
    /// Sends characters as fast as a line carries them; `\n` is ENTER.
    Paste(String),
    /// Does nothing for so long.
    Wait(Duration),
}

/// Why a flow can not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}; `panel/src/flow.rs` says what a flow is")]
pub struct FlowError {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl Flow {
    /// Reads a flow.
    ///
    /// # Errors
    /// [`FlowError`].
    pub fn parse(text: &str) -> Result<Flow, FlowError> {
        parse::flow(text)
    }

    /// The first line that begins with `#`, without it.
    pub fn title(&self) -> &str {
        self.lines
            .iter()
            .find_map(|(text, _)| text.strip_prefix('#'))
            .map_or("", str::trim)
    }

    /// The flow as it was written, its boxes and what is asked replaced by what was `played`.
    pub fn brought_up_to_date(&self, played: &Played) -> String {
        let mut out = String::new();
        for (index, (text, line)) in self.lines.iter().enumerate() {
            match line {
                Line::Asked(_) => {}
                Line::Shows(_) | Line::ShowsAnything => {
                    if let Some(picture) = played.picture_at(index) {
                        out.push_str(&picture.to_string());
                    }
                }
                _ => _ = writeln!(out, "{text}"),
            }
            for asked in played.asked_at(index) {
                _ = writeln!(out, "= {asked}");
            }
        }
        out
    }
}
