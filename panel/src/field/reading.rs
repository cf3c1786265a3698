//! A value that can be read and not changed: LEFT and RIGHT move a long one.

use super::{Input, Shown};
use crate::event::Key;

/// A value to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    text: String,
    first: usize,
    /// How far a window over it can move.
    last: usize,
}

impl Reading {
    /// `text` behind a window of `columns` cells.
    pub(crate) fn new(text: String, columns: usize) -> Reading {
        Reading {
            first: 0,
            last: text.len().saturating_sub(columns),
            text,
        }
    }

    /// Takes a key; false if LEFT had nowhere to go.
    pub(crate) fn handle_input(&mut self, input: Input) -> bool {
        match input {
            Input::Key(Key::Left) if self.first == 0 => return false,
            Input::Key(Key::Left) => self.first -= 1,
            Input::Key(Key::Right) => self.first = (self.first + 1).min(self.last),
            _ => {}
        }
        true
    }

    pub(crate) fn shown(&self) -> Shown {
        Shown {
            text: self.text.chars().skip(self.first).collect(),
            cursor: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn right_shows_the_end_and_left_the_beginning_again() {
        let mut reading = Reading::new("2001:db8:1:2:3:4:5:6".into(), 16);
        assert_eq!(reading.shown().text, "2001:db8:1:2:3:4:5:6");
        for _ in 0..9 {
            assert!(reading.handle_input(Input::Key(Key::Right)));
        }
        assert_eq!(reading.shown().text, ":db8:1:2:3:4:5:6");
        for _ in 0..4 {
            assert!(reading.handle_input(Input::Key(Key::Left)));
        }
        assert!(!reading.handle_input(Input::Key(Key::Left)));
    }
}
