//! What a display shows: cells, a cursor, the LEDs, and the lines only a console has room for.

/// Columns and rows of a display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Cells in a row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
}

impl Geometry {
    /// The box's own display.
    pub const LCD_16X2: Geometry = Geometry {
        columns: 16,
        rows: 2,
    };
    /// A wider two-line module.
    pub const LCD_20X2: Geometry = Geometry {
        columns: 20,
        rows: 2,
    };
    /// A four-line module.
    pub const LCD_20X4: Geometry = Geometry {
        columns: 20,
        rows: 4,
    };
}

/// A sign that is no letter: a CGRAM glyph on an LCD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glyph {
    /// ENTER acts on this screen.
    Enter,
    /// RIGHT acts on this screen.
    Right,
    /// LEFT acts on this screen.
    Left,
    /// UP acts on this screen.
    Up,
    /// DOWN acts on this screen.
    Down,
    /// The box belongs to a cloud, which answers.
    Cloud,
}

impl Glyph {
    /// For displays that know Unicode.
    pub fn unicode(self) -> char {
        match self {
            Glyph::Enter => '↵',
            Glyph::Right => '→',
            Glyph::Left => '←',
            Glyph::Up => '↑',
            Glyph::Down => '↓',
            Glyph::Cloud => '☁',
        }
    }

    /// For a VT100.
    pub fn ascii(self) -> char {
        match self {
            Glyph::Enter => '*',
            Glyph::Right => '>',
            Glyph::Left => '<',
            Glyph::Up => '^',
            Glyph::Down => 'v',
            Glyph::Cloud => '@',
        }
    }
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// A printable ASCII character.
    Letter(char),
    /// A sign.
    Sign(Glyph),
}

/// The box's lights. S3 is not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leds {
    /// S1: a scan is in progress.
    pub scan: bool,
    /// S2: a software update is in progress.
    pub update: bool,
}

/// One picture of a display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Screen {
    geometry: Geometry,
    cells: Vec<Cell>,
    cursor: Option<(usize, usize)>,
    /// The lights beside the display.
    pub leds: Leds,
    /// MAC address of the LAN interface: a console shows it above the display.
    pub mac: Option<String>,
    /// What belongs to this screen and has no room on it: a console shows it below the display.
    pub note: Option<String>,
}

/// Most indicators a screen may show.
pub const INDICATORS_MAX: usize = 2;

impl Screen {
    /// An empty display.
    pub fn new(geometry: Geometry) -> Screen {
        Screen {
            geometry,
            cells: vec![Cell::Letter(' '); geometry.columns * geometry.rows],
            cursor: None,
            leds: Leds::default(),
            mac: None,
            note: None,
        }
    }

    /// Columns and rows.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The cell at `row`, `column`, both from 0.
    ///
    /// # Panics
    /// Beyond the geometry.
    pub fn cell(&self, row: usize, column: usize) -> Cell {
        assert!(
            column < self.geometry.columns,
            "column {column} is beyond the display"
        );
        self.cells[row * self.geometry.columns + column]
    }

    /// Row and column, from 0, of the cursor; fields have one.
    pub fn cursor(&self) -> Option<(usize, usize)> {
        self.cursor
    }

    /// Row `row` as text, its signs by `sign`.
    pub fn row(&self, row: usize, sign: fn(Glyph) -> char) -> String {
        (0..self.geometry.columns)
            .map(|column| match self.cell(row, column) {
                Cell::Letter(letter) => letter,
                Cell::Sign(glyph) => sign(glyph),
            })
            .collect()
    }

    /// Writes `text` from `column` on. What does not fit is cut; what is no printable ASCII becomes `?`.
    pub(crate) fn write(&mut self, row: usize, column: usize, text: &str) {
        for (at, letter) in (column..self.geometry.columns).zip(printable(text)) {
            self.put(row, at, Cell::Letter(letter));
        }
    }

    /// Says in the top right corner which keys act here, the first [`INDICATORS_MAX`] of them.
    pub(crate) fn indicate(&mut self, keys: &[Glyph]) {
        let shown = &keys[..keys.len().min(INDICATORS_MAX)];
        let first = self.geometry.columns.saturating_sub(shown.len());
        for (column, glyph) in (first..).zip(shown) {
            self.put(0, column, Cell::Sign(*glyph));
        }
    }

    /// Says in the lower right cell that the cloud answers.
    pub(crate) fn indicate_cloud(&mut self) {
        let (row, column) = (
            self.geometry.rows.saturating_sub(1),
            self.geometry.columns.saturating_sub(1),
        );
        self.put(row, column, Cell::Sign(Glyph::Cloud));
    }

    /// Puts the cursor there, if that is on the display.
    pub(crate) fn set_cursor(&mut self, row: usize, column: usize) {
        let inside = row < self.geometry.rows && column < self.geometry.columns;
        self.cursor = inside.then_some((row, column));
    }

    fn put(&mut self, row: usize, column: usize, cell: Cell) {
        if row < self.geometry.rows && column < self.geometry.columns {
            self.cells[row * self.geometry.columns + column] = cell;
        }
    }
}

/// `text` as characters that take one cell on any display: what is no printable ASCII becomes `?`.
pub(crate) fn printable(text: &str) -> impl Iterator<Item = char> {
    text.chars()
        .map(|c| if matches!(c, ' '..='~') { c } else { '?' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_beyond_the_cells() {
        let mut screen = Screen::new(Geometry::LCD_16X2);
        screen.write(0, 10, "ABCDEFGHIJ");
        screen.write(5, 0, "lost");
        assert_eq!(screen.row(0, Glyph::ascii), "          ABCDEF");
        assert_eq!(screen.row(1, Glyph::ascii), " ".repeat(16));
    }

    #[test]
    fn what_could_move_a_cursor_is_shown_as_a_question_mark() {
        let mut screen = Screen::new(Geometry::LCD_16X2);
        screen.write(0, 0, "\x1b[2Jä\u{202e}\n\u{7f}ok");
        assert_eq!(screen.row(0, Glyph::ascii), "?[2J????ok      ");
    }

    #[test]
    fn indicators_stand_in_the_top_right_corner_two_at_most() {
        let mut screen = Screen::new(Geometry::LCD_20X4);
        screen.indicate(&[Glyph::Enter, Glyph::Up, Glyph::Down]);
        screen.indicate_cloud();
        assert_eq!(screen.row(0, Glyph::ascii), format!("{}*^", " ".repeat(18)));
        assert_eq!(
            screen.row(3, Glyph::unicode),
            format!("{}☁", " ".repeat(19))
        );
    }
}
