//! What happens to a panel, and what it wants done about it.

use sonde_protocol::local::{Command, Keys, Outcome, Setup, Status};
use sonde_protocol::settings::Change;

/// The five keys of the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// Confirms and moves on.
    Enter,
    /// Moves the cursor, or to the next of several faces of one screen.
    Right,
    /// Moves the cursor back.
    Left,
    /// Raises a value, moves up a list.
    Up,
    /// Lowers a value, moves down a list.
    Down,
}

/// What a key did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Press {
    /// It went down.
    Down,
    /// It came up again. LEFT and RIGHT are together when one goes down before the other came up.
    Up,
    /// It is still down: one event a repetition.
    Held,
}

/// Typed on a console, takes back the character before the cursor.
pub const BACKSPACE: char = '\u{8}';
/// Typed on a console (Ctrl-U), what LEFT and RIGHT together are on the box.
pub const CLEAR: char = '\u{15}';

/// Everything that can happen to a panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key of the box, or what stands for it on a keyboard.
    Key(Key, Press),
    /// A character typed on the console's keyboard; [`BACKSPACE`] and [`CLEAR`] among them.
    Typed(char),
    /// Time passed. Ten a second are enough for everything that moves.
    Tick,
    /// The agent says how the box is.
    Status(Status),
    /// The agent says how the box is set up.
    Setup(Setup),
    /// The agent says who has the keys.
    Keys(Keys),
    /// The agent answers the last [`Action::Apply`] or [`Action::Run`].
    Answered(Outcome),
    /// The agent can not be heard any more.
    LinkLost,
}

/// What a front is to do after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The screen is another one than before the event: show it.
    Redraw,
    /// Ask the agent for this change. The next [`Event::Answered`] is its outcome; nothing else is
    /// asked until then.
    Apply(Change),
    /// Ask the agent to do this, in the same way.
    Run(Command),
    /// Tell the agent that a person works the menus here.
    TakeKeys,
    /// Tell the agent that the person is done.
    ReleaseKeys,
}
