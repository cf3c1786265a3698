//! Texts: cells that start as spaces, each scrolled or typed by itself, shown in a window that moves.

use super::edit::{Edit, Turn};
use super::ring::Letters;
use super::{Complaint, Input, Reply, Shown};
use crate::event::{BACKSPACE, Key};
use crate::texts;

/// Stands for each character of a stored password, which is never shown.
const MASK: &str = "********";

/// A text being entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TextField {
    letters: Letters,
    ring: Vec<char>,
    cells: Vec<char>,
    cursor: usize,
    /// Where in the ring the cell under the cursor is; a space alone would not say which one.
    ring_at: Option<usize>,
    touched: bool,
    /// What the field starts with is a stored secret, kept unless something is entered.
    kept: bool,
    /// The guide's way out of some fields: UP before anything else.
    up_quits: bool,
    edit: Option<Edit>,
}

impl TextField {
    /// A field of `max` cells that starts with `start`.
    pub(crate) fn new(letters: Letters, max: usize, start: &str) -> TextField {
        let mut cells: Vec<char> = start.chars().filter_map(|c| letters.typed(c)).collect();
        cells.resize(max, ' ');
        TextField {
            letters,
            ring: letters.ring(),
            cells,
            cursor: 0,
            ring_at: None,
            touched: false,
            kept: false,
            up_quits: false,
            edit: None,
        }
    }

    /// A password's field; `stored`: there is one that stays unless another is entered.
    pub(crate) fn password(max: usize, stored: bool) -> TextField {
        TextField {
            kept: stored,
            ..TextField::new(Letters::Password, max, "")
        }
    }

    /// The same field; UP quits as long as nothing else was pressed.
    pub(crate) fn up_quits(self) -> TextField {
        TextField {
            up_quits: true,
            ..self
        }
    }

    /// Whether a stored secret is to stay.
    pub(crate) fn is_kept(&self) -> bool {
        self.kept
    }

    /// Whether what is entered here is nobody else's business.
    pub(crate) fn is_secret(&self) -> bool {
        self.letters == Letters::Password
    }

    /// Whether held UP and DOWN go on scrolling.
    pub(crate) fn repeats(&self) -> bool {
        matches!(self.letters, Letters::User | Letters::Password)
    }

    /// What insert/delete mode offers, while it is on.
    pub(crate) fn offered(&self) -> Option<&'static str> {
        self.edit.and_then(Edit::text)
    }

    pub(crate) fn handle_input(&mut self, input: Input) -> Reply {
        let untouched = !std::mem::replace(&mut self.touched, true);
        if untouched && self.up_quits && input == Input::Key(Key::Up) {
            return Reply::Quit;
        }
        if let Some(edit) = self.edit {
            match edit.handle_input(input, self.cursor) {
                Turn::To(edit) => self.edit = Some(edit),
                Turn::Delete => self.delete_previous(),
                Turn::Done => {
                    self.edit = None;
                    return Reply::Enter;
                }
                Turn::Leave => self.edit = None,
                Turn::Move => {
                    self.move_cursor(input);
                    if edit == Edit::Delete {
                        // Before the first character there is nothing to delete.
                        self.edit = Some(Edit::start(self.cursor));
                    }
                }
                Turn::Type => self.insert(input),
            }
            return Reply::Stay;
        }
        match input {
            Input::Key(Key::Enter) => return Reply::Enter,
            Input::Key(Key::Left) if self.cursor == 0 => return Reply::Leave,
            Input::Key(Key::Left | Key::Right) => self.move_cursor(input),
            Input::Key(Key::Down) if self.edits() => self.edit = Some(Edit::start(self.cursor)),
            Input::Key(Key::Up) | Input::Repeat(Key::Up) => self.scroll(true),
            Input::Key(Key::Down) | Input::Repeat(Key::Down) => self.scroll(false),
            Input::Repeat(_) => {}
            Input::Clear if self.letters == Letters::Domain => {
                self.cells.fill(' ');
                self.go_to(0);
            }
            Input::Clear => {}
            Input::Typed(BACKSPACE) => self.take_back(),
            Input::Typed(c) => self.type_over(c),
        }
        Reply::Stay
    }

    /// The entry without the spaces around it. One inside is complained about with the cursor on it.
    pub(crate) fn value(&mut self) -> Result<String, Complaint> {
        let text: String = self.cells.iter().collect();
        let entry = text.trim();
        let start = text.len() - text.trim_start().len();
        if let Some(space) = entry.find(' ') {
            self.go_to(start + space);
            return Err(texts::SPACE_INSIDE);
        }
        Ok(entry.to_owned())
    }

    pub(crate) fn shown(&self) -> Shown {
        let text = if self.kept {
            MASK.to_owned()
        } else {
            self.cells.iter().collect()
        };
        Shown {
            text,
            cursor: Some(self.cursor),
        }
    }

    fn edits(&self) -> bool {
        matches!(
            self.letters,
            Letters::Host | Letters::HostIpv6 | Letters::Domain
        )
    }

    fn go_to(&mut self, cursor: usize) {
        self.cursor = cursor.min(self.cells.len().saturating_sub(1));
        self.ring_at = None;
    }

    fn move_cursor(&mut self, input: Input) {
        match input {
            Input::Key(Key::Left) => self.go_to(self.cursor.saturating_sub(1)),
            _ => self.go_to(self.cursor + 1),
        }
    }

    /// Something else is entered in place of a stored secret.
    fn begin(&mut self) {
        if std::mem::take(&mut self.kept) {
            self.go_to(0);
        }
    }

    fn scroll(&mut self, up: bool) {
        self.begin();
        let Some(cell) = self.cells.get_mut(self.cursor) else {
            return;
        };
        let length = self.ring.len();
        // A typed character that the ring has not goes on from its start.
        let at = self
            .ring_at
            .or_else(|| self.ring.iter().position(|c| c == cell))
            .unwrap_or(0);
        let next = if up { at + 1 } else { at + length - 1 } % length;
        *cell = self.ring[next];
        self.ring_at = Some(next);
    }

    fn type_over(&mut self, c: char) {
        if let Some(c) = self.letters.typed(c) {
            self.begin();
            self.cells[self.cursor] = c;
            self.go_to(self.cursor + 1);
        }
    }

    /// Blanks the cell before the cursor; in the last cell, which the cursor can not pass, that one first.
    fn take_back(&mut self) {
        self.begin();
        let last = self.cells.len() - 1;
        if self.cursor < last || self.cells[last] == ' ' {
            self.go_to(self.cursor.saturating_sub(1));
        }
        self.cells[self.cursor] = ' ';
    }

    fn delete_previous(&mut self) {
        if self.cursor > 0 {
            self.cells.remove(self.cursor - 1);
            self.cells.push(' ');
            self.go_to(self.cursor - 1);
        }
        if self.cursor == 0 {
            self.edit = Some(Edit::start(0));
        }
    }

    /// While characters are inserted: one that is scrolled stands under the cursor until another key.
    fn insert(&mut self, input: Input) {
        let scrolled = self.edit == Some(Edit::Inserting { scrolled: true });
        match input {
            Input::Key(Key::Up | Key::Down) if scrolled || self.make_room() => {
                self.scroll(input == Input::Key(Key::Up));
                self.edit = Some(Edit::Inserting { scrolled: true });
            }
            Input::Typed(c) if c != BACKSPACE => {
                let Some(c) = self.letters.typed(c) else {
                    return;
                };
                if scrolled || self.make_room() {
                    self.cells[self.cursor] = c;
                    self.go_to(self.cursor + 1);
                    self.edit = Some(Edit::Inserting { scrolled: false });
                }
            }
            Input::Key(Key::Left | Key::Right) => {
                self.move_cursor(input);
                self.edit = Some(Edit::Inserting { scrolled: false });
            }
            _ => {}
        }
    }

    /// A blank under the cursor, if the last cell is free.
    fn make_room(&mut self) -> bool {
        if self.cells.last() != Some(&' ') {
            return false;
        }
        self.cells.pop();
        self.cells.insert(self.cursor, ' ');
        self.ring_at = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(field: &mut TextField, keys: &[Key]) -> Reply {
        let mut reply = Reply::Stay;
        for key in keys {
            reply = field.handle_input(Input::Key(*key));
        }
        reply
    }

    fn typed(field: &mut TextField, text: &str) {
        for c in text.chars() {
            field.handle_input(Input::Typed(c));
        }
    }

    fn text(field: &TextField) -> String {
        field.shown().text.trim_end().to_owned()
    }

    #[test]
    fn scrolling_starts_at_a_space_and_knows_both_spaces_apart() {
        let mut field = TextField::new(Letters::User, 32, "");
        press(&mut field, &[Key::Down]);
        assert_eq!(text(&field), "Z");
        press(&mut field, &[Key::Up, Key::Up]);
        assert_eq!(text(&field), "a");
        press(&mut field, &[Key::Up; 26]);
        assert_eq!(text(&field), "", "the space after z");
        press(&mut field, &[Key::Up]);
        assert_eq!(text(&field), "0");
        press(&mut field, &[Key::Down, Key::Down]);
        assert_eq!(text(&field), "z");
    }

    #[test]
    fn spaces_around_are_dropped_and_one_inside_is_refused_where_it_is() {
        let mut field = TextField::new(Letters::User, 32, "");
        typed(&mut field, "  ab ");
        assert_eq!(field.value(), Ok("ab".into()));
        typed(&mut field, "c");
        assert_eq!(field.value(), Err(texts::SPACE_INSIDE));
        assert_eq!(field.shown().cursor, Some(4));
        assert_eq!(text(&field), "  ab c");
    }

    #[test]
    fn down_opens_insert_and_delete() {
        let mut field = TextField::new(Letters::Host, 64, "PROY.EXAMPLE");
        press(&mut field, &[Key::Down]);
        assert_eq!(
            field.offered(),
            Some(texts::INSERT_CHARACTER),
            "nothing before the first"
        );
        press(
            &mut field,
            &[Key::Right, Key::Right, Key::Right, Key::Enter],
        );
        typed(&mut field, "x");
        assert_eq!(text(&field), "PROXY.EXAMPLE");
        press(&mut field, &[Key::Enter, Key::Up]);
        assert_eq!(field.offered(), Some(texts::DELETE_PREVIOUS));
        press(&mut field, &[Key::Enter, Key::Enter]);
        assert_eq!(text(&field), "PRY.EXAMPLE");
        press(&mut field, &[Key::Down, Key::Down]);
        assert_eq!(field.offered(), Some(texts::DONE_EDITING));
        press(&mut field, &[Key::Up]);
        assert_eq!(field.offered(), None);
        press(&mut field, &[Key::Down, Key::Down, Key::Down]);
        assert_eq!(press(&mut field, &[Key::Enter]), Reply::Enter);
    }

    #[test]
    fn an_inserted_character_can_be_scrolled() {
        let mut field = TextField::new(Letters::Domain, 4, "ABC");
        press(&mut field, &[Key::Right, Key::Down, Key::Down, Key::Enter]);
        press(&mut field, &[Key::Up, Key::Up]);
        assert_eq!(text(&field), "A1BC");
        press(&mut field, &[Key::Right, Key::Up]);
        assert_eq!(text(&field), "A1BC", "there is no room for a fifth");
    }

    #[test]
    fn both_arrows_clear_the_domain_name_alone() {
        for (letters, left) in [(Letters::Domain, ""), (Letters::Host, "ABC")] {
            let mut field = TextField::new(letters, 32, "ABC");
            field.handle_input(Input::Clear);
            assert_eq!(text(&field), left);
        }
    }

    #[test]
    fn a_stored_password_is_kept_or_replaced_but_not_shown() {
        let mut field = TextField::password(16, true);
        press(&mut field, &[Key::Right, Key::Right]);
        assert_eq!((text(&field).as_str(), field.is_kept()), (MASK, true));
        typed(&mut field, "a:b");
        assert_eq!((text(&field).as_str(), field.is_kept()), ("a:b", false));
        typed(&mut field, "\u{8}");
        assert_eq!(text(&field), "a:");
    }

    #[test]
    fn up_quits_only_before_anything_else() {
        let mut field = TextField::new(Letters::Ipv6, 39, "").up_quits();
        assert_eq!(press(&mut field.clone(), &[Key::Up]), Reply::Quit);
        assert_eq!(press(&mut field, &[Key::Down, Key::Up]), Reply::Stay);
    }

    #[test]
    fn the_last_cell_is_taken_back_like_any_other() {
        let mut field = TextField::new(Letters::Domain, 3, "");
        typed(&mut field, "ABC");
        typed(&mut field, "\u{8}");
        assert_eq!(text(&field), "AB");
        typed(&mut field, "\u{8}");
        assert_eq!(text(&field), "A");
    }
}
