//! Insert/delete mode: what DOWN opens in the fields that have it.

use super::Input;
use crate::event::Key;
use crate::texts;

/// What insert/delete mode offers now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// ENTER deletes the character before the cursor.
    Delete,
    /// ENTER begins to insert.
    Insert,
    /// ENTER confirms the field, UP goes on editing.
    Done,
    /// Characters go in front of the one under the cursor.
    Inserting {
        /// One that is being scrolled is in already.
        scrolled: bool,
    },
}

/// What the field is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    To(Edit),
    Delete,
    Done,
    Leave,
    Move,
    Type,
}

impl Edit {
    /// The first offer; there is nothing to delete before the first character.
    pub(crate) fn start(cursor: usize) -> Edit {
        if cursor == 0 {
            Edit::Insert
        } else {
            Edit::Delete
        }
    }

    /// What the display says; while characters are inserted it is the field's own title.
    pub(crate) fn text(self) -> Option<&'static str> {
        match self {
            Edit::Delete => Some(texts::DELETE_PREVIOUS),
            Edit::Insert => Some(texts::INSERT_CHARACTER),
            Edit::Done => Some(texts::DONE_EDITING),
            Edit::Inserting { .. } => None,
        }
    }

    pub(crate) fn handle_input(self, input: Input, cursor: usize) -> Turn {
        match (self, input) {
            (Edit::Inserting { .. }, Input::Key(Key::Enter)) => Turn::To(Edit::Insert),
            (Edit::Inserting { .. }, _) => Turn::Type,
            (_, Input::Key(Key::Left | Key::Right)) => Turn::Move,
            (Edit::Delete, Input::Key(Key::Enter)) => Turn::Delete,
            (Edit::Delete, Input::Key(Key::Down)) => Turn::To(Edit::Insert),
            (Edit::Insert, Input::Key(Key::Enter)) => Turn::To(Edit::Inserting { scrolled: false }),
            (Edit::Insert, Input::Key(Key::Down)) => Turn::To(Edit::Done),
            (Edit::Insert, Input::Key(Key::Up)) if cursor > 0 => Turn::To(Edit::Delete),
            (Edit::Done, Input::Key(Key::Enter)) => Turn::Done,
            (Edit::Done, Input::Key(Key::Down)) => Turn::To(Edit::start(cursor)),
            (_, Input::Key(Key::Up)) => Turn::Leave,
            _ => Turn::To(self),
        }
    }
}
