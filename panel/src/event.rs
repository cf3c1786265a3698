//! What happens to a panel, and what it wants done about it.

use sonde_protocol::local::Status;

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
    /// It came up again.
    Up,
    /// It is still down: one event a repetition.
    Held,
}

/// Everything that can happen to a panel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key of the box, or what stands for it on a keyboard.
    Key(Key, Press),
    /// A character typed on the console's keyboard.
    Typed(char),
    /// Time passed. Ten a second are enough for everything that moves.
    Tick,
    /// The agent says how the box is.
    Status(Status),
    /// The agent can not be heard any more.
    LinkLost,
}

/// What a front is to do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The screen is another one than before the event: show it.
    Redraw,
}
