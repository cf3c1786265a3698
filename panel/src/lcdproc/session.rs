//! One connection to LCDd as a pure machine: bytes in, commands and keys out.
//!
//! LCDproc's protocol 0.3 is lines of text (LCDproc developer's guide, "The language"). Two habits of
//! LCDd 0.5.9, both seen on the real one, decide how this talks to it:
//!
//! - it drops a line that reaches it in two pieces, so a batch of commands goes out by one write;
//! - it answers every command, but `screen_set` once for every option. So a batch ends with `noop`, whose
//!   answer is its own, and the next batch waits for it. A display slower than the panel thereby gets
//!   the newest picture, never a queue of old ones.

use crate::screen::{Cell, Geometry, Glyph, Leds, Screen};

/// No line of LCDd is longer; what goes on beyond this is no LCDd.
const LINE_MAX: usize = 8 * 1024;
/// LCDd drives displays up to 256 x 256; ours have no use for more than the largest character display.
const COLUMNS_MAX: usize = 40;
const ROWS_MAX: usize = 4;

/// How a display is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Names of the keys to ask for.
    pub keys: Vec<String>,
    /// Arrows as the display's own icons; otherwise as letters.
    pub icons: bool,
    /// Bits of LCDd's `output` that are the box's lights.
    pub outputs: Option<Outputs>,
}

/// Which bits of a display's outputs are lit for which light.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outputs {
    /// S1: a scan is in progress.
    #[serde(default)]
    pub scan: u32,
    /// S2: an update is in progress.
    #[serde(default)]
    pub update: u32,
}

/// What LCDd said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The display has this many columns and rows.
    Display(Geometry),
    /// A key of the display, by the name its driver gives it.
    Key(String),
    /// LCDd could not do something: its own words.
    Refused(String),
}

/// Why a connection is of no use.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SessionError {
    /// The other side is something else.
    #[error("{0:?} is not what LCDd answers: is another service listening there?")]
    NoLcdd(String),
    /// The display is too small for any message.
    #[error("a display of {columns}x{rows} is too small: the panel needs 16x2")]
    TooSmall {
        /// Columns.
        columns: usize,
        /// Rows.
        rows: usize,
    },
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// `hello` was not sent yet.
    New,
    /// `hello` is not answered yet.
    Greeting,
    /// Screen and widgets are to be made with the next batch.
    Connected(Geometry),
    /// They are there.
    Ready(Geometry),
}

/// One connection. Call [`Session::poll_transmit`] after every other method until it gives nothing, and write
/// each batch by a single write.
#[derive(Debug)]
pub struct Session {
    to_use: Use,
    state: State,
    received: Vec<u8>,
    /// A batch is not answered yet.
    busy: bool,
    wanted: Option<Picture>,
    shown: Picture,
}

/// What LCDd shows of a screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Picture {
    rows: Vec<String>,
    icons: Vec<(usize, usize, &'static str)>,
    cursor: Option<(usize, usize)>,
    output: Option<u32>,
}

impl Session {
    /// A connection that was just made.
    pub fn new(to_use: Use) -> Session {
        Session {
            to_use,
            state: State::New,
            received: Vec::new(),
            busy: false,
            wanted: None,
            shown: Picture::default(),
        }
    }

    /// True from the moment LCDd has said what its display is like.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Connected(_) | State::Ready(_))
    }

    /// True while LCDd owes an answer.
    pub fn is_waiting(&self) -> bool {
        self.busy || self.state == State::Greeting
    }

    /// The display is to show `screen`.
    pub fn show(&mut self, screen: &Screen) {
        self.wanted = Some(Picture::of(screen, &self.to_use));
    }

    /// Takes what came from LCDd, however it is cut.
    ///
    /// # Errors
    /// [`SessionError`]: the connection is to be closed.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Vec<Heard>, SessionError> {
        let mut heard = Vec::new();
        self.received.extend_from_slice(bytes);
        while let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.received.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            heard.extend(self.handle_line(line.trim())?);
        }
        if self.received.len() > LINE_MAX {
            return Err(SessionError::NoLcdd(start_of(&self.received)));
        }
        Ok(heard)
    }

    fn handle_line(&mut self, line: &str) -> Result<Option<Heard>, SessionError> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, &self.state) {
            ("connect", State::Greeting) => {
                let geometry =
                    display(rest).ok_or_else(|| SessionError::NoLcdd(start_of(line.as_bytes())))?;
                if geometry.columns < Geometry::LCD_16X2.columns
                    || geometry.rows < Geometry::LCD_16X2.rows
                {
                    return Err(SessionError::TooSmall {
                        columns: geometry.columns,
                        rows: geometry.rows,
                    });
                }
                self.state = State::Connected(geometry);
                Ok(Some(Heard::Display(geometry)))
            }
            (_, State::New | State::Greeting) => {
                Err(SessionError::NoLcdd(start_of(line.as_bytes())))
            }
            ("key", _) => Ok(Some(Heard::Key(rest.to_owned()))),
            ("noop", _) => {
                self.busy = false;
                Ok(None)
            }
            ("huh?", _) => Ok(Some(Heard::Refused(rest.to_owned()))),
            // `success`; `listen` and `ignore`: another client's screen may be shown in between, ours
            // is kept up to date all the same.
            _ => Ok(None),
        }
    }

    /// The next batch of commands, to be written whole; nothing while LCDd is busy or has it all.
    pub fn poll_transmit(&mut self) -> Option<String> {
        let mut batch = String::new();
        match self.state {
            State::New => {
                self.state = State::Greeting;
                return Some("hello\n".to_owned());
            }
            State::Greeting => return None,
            State::Connected(geometry) => {
                begin(&mut batch, geometry, &self.to_use.keys);
                self.state = State::Ready(geometry);
                self.shown = Picture::default();
            }
            State::Ready(_) if self.busy => return None,
            State::Ready(_) => {}
        }
        if let Some(wanted) = &self.wanted {
            wanted.change_from(&self.shown, &mut batch);
            self.shown = wanted.clone();
        }
        if batch.is_empty() {
            return None;
        }
        batch.push_str("noop\n");
        self.busy = true;
        Some(batch)
    }
}

/// Screen, rows and keys, once a connection.
fn begin(batch: &mut String, geometry: Geometry, keys: &[String]) {
    // `input` is LCDproc's priority for a client that somebody works with.
    batch.push_str("client_set -name Sonde\nscreen_add s\n");
    batch.push_str("screen_set s -name Sonde -heartbeat off -priority input -cursor off\n");
    for row in 0..geometry.rows {
        batch.push_str(&format!("widget_add s r{row} string\n"));
    }
    for key in keys {
        batch.push_str(&format!("client_add_key {}\n", quoted(key)));
    }
}

impl Picture {
    fn of(screen: &Screen, to_use: &Use) -> Picture {
        let geometry = screen.geometry();
        let mut icons = Vec::new();
        if to_use.icons {
            for (row, column) in (0..geometry.rows)
                .flat_map(|row| (0..geometry.columns).map(move |column| (row, column)))
            {
                if let Cell::Sign(glyph) = screen.cell(row, column) {
                    icons.extend(icon(glyph).map(|name| (row, column, name)));
                }
            }
        }
        Picture {
            rows: (0..geometry.rows)
                .map(|row| screen.row(row, Glyph::ascii))
                .collect(),
            icons,
            cursor: screen.cursor(),
            output: to_use.outputs.map(|outputs| output(outputs, screen.leds)),
        }
    }

    /// The commands that make a display that shows `old` show this.
    fn change_from(&self, old: &Picture, batch: &mut String) {
        for (row, text) in self.rows.iter().enumerate() {
            if old.rows.get(row) != Some(text) {
                let text = quoted(text);
                batch.push_str(&format!("widget_set s r{row} 1 {} {text}\n", row + 1));
            }
        }
        // An icon is named by its cell, so it changes in place.
        for &(row, column, name) in &self.icons {
            let there = |icon: &&(usize, usize, &str)| (icon.0, icon.1) == (row, column);
            let before = old.icons.iter().find(there);
            if before.is_none() {
                batch.push_str(&format!("widget_add s i{row}x{column} icon\n"));
            }
            if before.is_none_or(|before| before.2 != name) {
                let (x, y) = (column + 1, row + 1);
                batch.push_str(&format!("widget_set s i{row}x{column} {x} {y} {name}\n"));
            }
        }
        for &(row, column, _) in &old.icons {
            if !self
                .icons
                .iter()
                .any(|icon| (icon.0, icon.1) == (row, column))
            {
                batch.push_str(&format!("widget_del s i{row}x{column}\n"));
            }
        }
        if self.cursor != old.cursor {
            batch.push_str(&match self.cursor {
                None => "screen_set s -cursor off\n".to_owned(),
                Some((row, column)) => format!(
                    "screen_set s -cursor under -cursor_x {} -cursor_y {}\n",
                    column + 1,
                    row + 1
                ),
            });
        }
        if let Some(output) = self.output.filter(|_| self.output != old.output) {
            batch.push_str(&format!("output {output}\n"));
        }
    }
}

/// LCDproc's name of a sign. It has no sign for ENTER or a cloud: these stay letters.
fn icon(glyph: Glyph) -> Option<&'static str> {
    match glyph {
        Glyph::Up => Some("ARROW_UP"),
        Glyph::Down => Some("ARROW_DOWN"),
        Glyph::Left => Some("ARROW_LEFT"),
        Glyph::Right => Some("ARROW_RIGHT"),
        _ => None,
    }
}

fn output(outputs: Outputs, leds: Leds) -> u32 {
    let lit = |on: bool, bits: u32| if on { bits } else { 0 };
    lit(leds.scan, outputs.scan) | lit(leds.update, outputs.update)
}

/// `text` as one word of a command.
fn quoted(text: &str) -> String {
    let mut word = String::with_capacity(text.len() + 2);
    word.push('"');
    for letter in text.chars() {
        if matches!(letter, '"' | '\\') {
            word.push('\\');
        }
        word.push(letter);
    }
    word.push('"');
    word
}

/// Columns and rows from `LCDproc 0.5.9 protocol 0.3 lcd wid 16 hgt 2 cellwid 5 cellhgt 8`.
fn display(words: &str) -> Option<Geometry> {
    let words: Vec<&str> = words.split_ascii_whitespace().collect();
    let number = |name: &str| -> Option<usize> {
        let at = words.iter().position(|&word| word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    if words.first() != Some(&"LCDproc") {
        return None;
    }
    Some(Geometry {
        columns: number("wid")?.min(COLUMNS_MAX),
        rows: number("hgt")?.min(ROWS_MAX),
    })
}

fn start_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONNECT: &[u8] =
        b"connect LCDproc 0.5.9 protocol 0.3 lcd wid 16 hgt 2 cellwid 5 cellhgt 8\n";

    fn to_use() -> Use {
        Use {
            keys: vec!["Enter".into(), "Up".into()],
            icons: true,
            outputs: Some(Outputs { scan: 1, update: 4 }),
        }
    }

    fn connected() -> Session {
        let mut session = Session::new(to_use());
        assert_eq!(session.poll_transmit().as_deref(), Some("hello\n"));
        assert_eq!(session.poll_transmit(), None);
        let heard = session.handle_bytes(CONNECT).unwrap();
        assert_eq!(heard, [Heard::Display(Geometry::LCD_16X2)]);
        session
    }

    fn screen(rows: [&str; 2], keys: &[Glyph]) -> Screen {
        let mut screen = Screen::new(Geometry::LCD_16X2);
        screen.write(0, 0, rows[0]);
        screen.write(1, 0, rows[1]);
        screen.indicate(keys);
        screen
    }

    #[test]
    fn a_new_connection_gets_screen_keys_and_picture_in_one_batch() {
        let mut session = connected();
        session.show(&screen(
            ["REALLY REBOOT", r#"a"\~"#],
            &[Glyph::Enter, Glyph::Up],
        ));
        insta::assert_snapshot!(session.poll_transmit().unwrap(), @r#"
        client_set -name Sonde
        screen_add s
        screen_set s -name Sonde -heartbeat off -priority input -cursor off
        widget_add s r0 string
        widget_add s r1 string
        client_add_key "Enter"
        client_add_key "Up"
        widget_set s r0 1 1 "REALLY REBOOT *^"
        widget_set s r1 1 2 "a\"\\~            "
        widget_add s i0x15 icon
        widget_set s i0x15 16 1 ARROW_UP
        output 0
        noop
        "#);
    }

    #[test]
    fn differences_alone_follow_and_only_when_the_last_are_done() {
        let mut session = connected();
        session.show(&screen(["one", ""], &[Glyph::Up]));
        session.poll_transmit().unwrap();
        session.show(&screen(["two", ""], &[Glyph::Up]));
        let mut last = screen(["three", ""], &[Glyph::Down]);
        last.leds.scan = true;
        session.show(&last);
        assert_eq!(
            session.poll_transmit(),
            None,
            "the first batch is not answered"
        );
        assert_eq!(
            session
                .handle_bytes(b"success\nlisten s\nnoop comp")
                .unwrap(),
            []
        );
        assert_eq!(session.poll_transmit(), None);
        assert_eq!(session.handle_bytes(b"lete\n").unwrap(), []);
        insta::assert_snapshot!(session.poll_transmit().unwrap(), @r#"
        widget_set s r0 1 1 "three          v"
        widget_set s i0x15 16 1 ARROW_DOWN
        output 1
        noop
        "#);
        session.handle_bytes(b"noop complete\n").unwrap();
        session.show(&last);
        assert_eq!(session.poll_transmit(), None);
        session.show(&screen(["three", ""], &[]));
        insta::assert_snapshot!(session.poll_transmit().unwrap(), @r#"
        widget_set s r0 1 1 "three           "
        widget_del s i0x15
        output 0
        noop
        "#);
    }

    #[test]
    fn keys_and_refusals_are_told() {
        let mut session = connected();
        let heard = session.handle_bytes(b"key Enter\nhuh? Could not reserve key\nignore s\n");
        assert_eq!(
            heard.unwrap(),
            [
                Heard::Key("Enter".into()),
                Heard::Refused("Could not reserve key".into())
            ]
        );
    }

    #[test]
    fn what_is_no_lcdd_or_no_display_is_refused() {
        for (bytes, small) in [
            (&b"HTTP/1.1 400 Bad Request\r\n"[..], false),
            (b"connect LCDproc 0.5.9 protocol 0.3 lcd\n", false),
            (b"connect LCDproc x lcd wid 12 hgt 2\n", true),
            (&[b'x'; LINE_MAX + 1], false),
        ] {
            let mut session = Session::new(to_use());
            session.poll_transmit();
            let error = session.handle_bytes(bytes).unwrap_err();
            assert_eq!(
                matches!(error, SessionError::TooSmall { .. }),
                small,
                "{error}"
            );
        }
    }

    /// What LCDd makes of a quoted word: a backslash takes the next letter as it is.
    fn unquoted(word: &str) -> Option<String> {
        let inside = word.strip_prefix('"')?.strip_suffix('"')?;
        let (mut text, mut letters) = (String::new(), inside.chars());
        while let Some(letter) = letters.next() {
            text.push(if letter == '\\' {
                letters.next()?
            } else {
                letter
            });
        }
        Some(text)
    }

    proptest! {
        #[test]
        fn any_cells_are_one_word(text in "[ -~]{0,40}") {
            prop_assert_eq!(unquoted(&quoted(&text)), Some(text));
        }

        #[test]
        fn any_bytes_are_heard_without_a_panic(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
        ) {
            let mut session = connected();
            for piece in pieces {
                let _heard = session.handle_bytes(&piece);
                session.poll_transmit();
            }
        }
    }
}
