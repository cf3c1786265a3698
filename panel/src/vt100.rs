//! A screen as the bytes that bring a VT100 from what it shows to what it should show, and a VT100's
//! keys as events.
//!
//! Only sequences of the VT100 itself are used (ANSI X3.64 as in the VT100 User Guide, chapter 3):
//! cursor position, erase display, and DECTCEM of its successors to hide the cursor where no field
//! has one. At 9600 baud a whole picture takes a third of a second: that is why only differences go out.

use crate::event::{BACKSPACE, CLEAR, Key};
use crate::screen::{Glyph, Leds, Screen, printable};

/// Which signs the terminal knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// Frames and arrows as Unicode has them, in UTF-8.
    Unicode,
    /// Seven bits.
    Ascii,
}

/// Rows above the display: its MAC address and the frame.
pub const TOP: usize = 2;
/// Columns left of the display: the frame.
pub const LEFT: usize = 2;

/// What the terminal shows, and how to make it show something else.
#[derive(Debug)]
pub struct Renderer {
    charset: Charset,
    help: &'static str,
    shown: Option<Picture>,
}

#[derive(Debug, PartialEq, Eq)]
struct Picture {
    lines: Vec<Vec<char>>,
    cursor: Option<(usize, usize)>,
}

impl Renderer {
    /// A renderer for a terminal that shows anything at all. `help` stands below the display.
    pub fn new(charset: Charset, help: &'static str) -> Renderer {
        Renderer {
            charset,
            help,
            shown: None,
        }
    }

    /// The bytes that change the terminal from the last screen rendered to this one.
    pub fn render(&mut self, screen: &Screen) -> Vec<u8> {
        let picture = self.picture(screen);
        let mut out = String::new();
        if self.shown.as_ref() == Some(&picture) {
            return Vec::new();
        }
        let had_cursor = self.shown.as_ref().map(|shown| shown.cursor.is_some());
        if picture.cursor.is_none() && had_cursor != Some(false) {
            out.push_str("\x1b[?25l");
        }
        if self.shown.is_none() {
            out.push_str("\x1b[2J");
        }
        let blank = Vec::new();
        for (row, line) in picture.lines.iter().enumerate() {
            let old = self
                .shown
                .as_ref()
                .map_or(&blank, |shown| &shown.lines[row]);
            write_differences(&mut out, row, old, line);
        }
        if let Some((row, column)) = picture.cursor {
            out.push_str(&position(row, column));
            if had_cursor != Some(true) {
                out.push_str("\x1b[?25h");
            }
        }
        self.shown = Some(picture);
        out.into_bytes()
    }

    /// The bytes that leave the picture on the terminal and give the cursor back below it.
    pub fn leave(&self) -> Vec<u8> {
        let below = self.shown.as_ref().map_or(0, |shown| shown.lines.len());
        format!("{}\x1b[?25h\r\n", position(below, 0)).into_bytes()
    }

    /// Lines of the same number and length for every screen of one geometry.
    fn picture(&self, screen: &Screen) -> Picture {
        let columns = screen.geometry().columns;
        let sign: fn(Glyph) -> char = match self.charset {
            Charset::Unicode => Glyph::unicode,
            Charset::Ascii => Glyph::ascii,
        };
        let [top_left, top_right, bottom_left, bottom_right, across, side] = match self.charset {
            Charset::Unicode => ['┌', '┐', '└', '┘', '─', '│'],
            Charset::Ascii => ['+', '+', '+', '+', '-', '|'],
        };
        let edge = |left: char, right: char| {
            let line: String = std::iter::repeat_n(across, columns + 2).collect();
            format!("{left}{line}{right}")
        };
        let mut texts = vec![
            format!("MAC {}", beside(screen.mac.as_deref().or(Some("unknown")))),
            edge(top_left, top_right),
        ];
        for row in 0..screen.geometry().rows {
            let led = self.led(row, screen.leds);
            texts.push(format!("{side} {} {side}  {led}", screen.row(row, sign)));
        }
        texts.push(edge(bottom_left, bottom_right));
        texts.push(beside(screen.note.as_deref()));
        texts.push(self.help.to_owned());
        let width = columns + 40;
        let lines = texts.iter().map(|text| line(text, width)).collect();
        let cursor = screen
            .cursor()
            .map(|(row, column)| (TOP + row, LEFT + column));
        Picture { lines, cursor }
    }

    fn led(&self, row: usize, leds: Leds) -> String {
        let (name, lit) = match row {
            0 => ("S1 scan", leds.scan),
            1 => ("S2 update", leds.update),
            _ => return String::new(),
        };
        let light = match (self.charset, lit) {
            (Charset::Unicode, true) => '●',
            (Charset::Unicode, false) => '○',
            (Charset::Ascii, true) => '#',
            (Charset::Ascii, false) => '.',
        };
        format!("{light} {name}")
    }
}

/// `text` as exactly `width` characters.
fn line(text: &str, width: usize) -> Vec<char> {
    text.chars()
        .chain(std::iter::repeat(' '))
        .take(width)
        .collect()
}

/// What came from outside and goes beside the cells, with nothing in it that could move a cursor.
fn beside(text: Option<&str>) -> String {
    text.map(|text| printable(text).collect())
        .unwrap_or_default()
}

fn position(row: usize, column: usize) -> String {
    format!("\x1b[{};{}H", row + 1, column + 1)
}

/// Runs of cells that differ. Two runs with less between them than a cursor position takes are one.
fn write_differences(out: &mut String, row: usize, old: &[char], new: &[char]) {
    const POSITION_LENGTH: usize = 7;
    let differs = |at: usize| new[at] != old.get(at).copied().unwrap_or(' ');
    let mut at = 0;
    while at < new.len() {
        if !differs(at) {
            at += 1;
            continue;
        }
        let mut end = at + 1;
        while let Some(next) = (end..new.len().min(end + POSITION_LENGTH))
            .rev()
            .find(|&next| differs(next))
        {
            end = next + 1;
        }
        out.push_str(&position(row, at));
        out.extend(&new[at..end]);
        at = end;
    }
}

/// What a person did at the terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// One of the panel's keys.
    Key(Key),
    /// A printable character, [`BACKSPACE`] or [`CLEAR`].
    Typed(char),
    /// Ctrl-C.
    Interrupt,
}

/// Bytes from a terminal into input, however they are cut.
#[derive(Debug, Default)]
pub struct Decoder {
    state: DecoderState,
}

#[derive(Debug, Default)]
enum DecoderState {
    #[default]
    Plain,
    /// After ESC.
    Escape,
    /// After ESC `[` or ESC `O`: parameters, then one final byte.
    Sequence,
}

impl Decoder {
    /// Takes one byte. Keys no panel has, and bytes beyond ASCII, are nothing.
    pub fn byte(&mut self, byte: u8) -> Option<Input> {
        match (&self.state, byte) {
            (_, 0x03) => {
                self.state = DecoderState::Plain;
                Some(Input::Interrupt)
            }
            (_, 0x1b) => {
                self.state = DecoderState::Escape;
                None
            }
            (DecoderState::Escape, b'[' | b'O') => {
                self.state = DecoderState::Sequence;
                None
            }
            (DecoderState::Sequence, 0x20..=0x3f) => None,
            (DecoderState::Sequence, last) => {
                self.state = DecoderState::Plain;
                match last {
                    b'A' => Some(Input::Key(Key::Up)),
                    b'B' => Some(Input::Key(Key::Down)),
                    b'C' => Some(Input::Key(Key::Right)),
                    b'D' => Some(Input::Key(Key::Left)),
                    b'M' => Some(Input::Key(Key::Enter)),
                    _ => None,
                }
            }
            (DecoderState::Escape | DecoderState::Plain, _) => {
                self.state = DecoderState::Plain;
                match byte {
                    b'\r' | b'\n' => Some(Input::Key(Key::Enter)),
                    // Backspace, and DEL: what terminals send for the same key.
                    0x08 | 0x7f => Some(Input::Typed(BACKSPACE)),
                    0x15 => Some(Input::Typed(CLEAR)),
                    b' '..=b'~' => Some(Input::Typed(char::from(byte))),
                    _ => None,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::screen::Geometry;

    fn decode(bytes: &[u8]) -> Vec<Input> {
        let mut decoder = Decoder::default();
        bytes
            .iter()
            .filter_map(|&byte| decoder.byte(byte))
            .collect()
    }

    #[test]
    fn keys_of_both_cursor_modes_and_characters_are_told_apart() {
        use Input::{Interrupt, Key as K, Typed};
        assert_eq!(
            decode(b"\x1b[A\x1bOB\x1b[C\x1b[D\r\x1bOMq"),
            [
                K(Key::Up),
                K(Key::Down),
                K(Key::Right),
                K(Key::Left),
                K(Key::Enter),
                K(Key::Enter),
                Typed('q')
            ]
        );
        assert_eq!(decode(b"\x1b[1;5A\x1b[15~x"), [K(Key::Up), Typed('x')]);
        assert_eq!(decode(b"\x1b\x03"), [Interrupt]);
        assert_eq!(
            decode(b"\x08\x7f\x15"),
            [Typed(BACKSPACE), Typed(BACKSPACE), Typed(CLEAR)]
        );
        assert_eq!(decode("ä\x1b\x1b[A".as_bytes()), [K(Key::Up)]);
    }

    #[test]
    fn nothing_from_outside_leaves_seven_bits() {
        let mut screen = Screen::new(Geometry::LCD_16X2);
        screen.mac = Some("\u{e9}\u{202e}\x1b[2J".to_owned());
        screen.note = Some("check number \u{ff11}".to_owned());
        let bytes = Renderer::new(Charset::Ascii, "help").render(&screen);
        assert!(bytes.is_ascii());
        let text = String::from_utf8(bytes).unwrap();
        assert!(
            text.contains("MAC ???[2J") && text.contains("check number ?"),
            "{text:?}"
        );
    }

    #[test]
    fn the_first_picture_is_whole() {
        let mut screen = Screen::new(Geometry::LCD_16X2);
        screen.write(0, 0, "ACTIVATION CODE");
        screen.write(1, 0, "BCDF-GHJ-KLM");
        screen.indicate(&[Glyph::Right]);
        screen.leds.scan = true;
        screen.mac = Some("02:00:00:00:00:01".into());
        screen.note = Some("check number 0042".into());
        let mut terminal = terminal_24x80();
        terminal.process(&Renderer::new(Charset::Unicode, "q leaves").render(&screen));
        insta::assert_snapshot!(terminal.screen().contents(), @r"
        MAC 02:00:00:00:00:01
        ┌──────────────────┐
        │ ACTIVATION CODE→ │  ● S1 scan
        │ BCDF-GHJ-KLM     │  ○ S2 update
        └──────────────────┘
        check number 0042
        q leaves
        ");
        let mut terminal = terminal_24x80();
        terminal.process(&Renderer::new(Charset::Ascii, "q leaves").render(&screen));
        insta::assert_snapshot!(terminal.screen().contents(), @r"
        MAC 02:00:00:00:00:01
        +------------------+
        | ACTIVATION CODE> |  # S1 scan
        | BCDF-GHJ-KLM     |  . S2 update
        +------------------+
        check number 0042
        q leaves
        ");
    }

    #[test]
    fn the_same_screen_again_is_no_byte_and_one_cell_is_a_few() {
        let mut screen = Screen::new(Geometry::LCD_16X2);
        let mut renderer = Renderer::new(Charset::Ascii, "");
        renderer.render(&screen);
        assert_eq!(renderer.render(&screen), b"");
        screen.write(1, 4, "x");
        assert_eq!(renderer.render(&screen), b"\x1b[4;7Hx");
    }

    fn terminal_24x80() -> vt100::Parser {
        vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0)
    }

    fn any_screen() -> impl Strategy<Value = Screen> {
        let texts = proptest::collection::vec(("\\PC{0,24}", 0usize..4, 0usize..20), 0..5);
        let signs = proptest::collection::vec(
            prop_oneof![Just(Glyph::Enter), Just(Glyph::Up), Just(Glyph::Left)],
            0..3,
        );
        let note = proptest::option::of("[ -~]{0,30}");
        (texts, signs, any::<[bool; 3]>(), note).prop_map(
            |(texts, signs, [scan, update, cloud], note)| {
                let mut screen = Screen::new(Geometry::LCD_20X4);
                for (text, row, column) in texts {
                    screen.write(row, column, &text);
                }
                screen.indicate(&signs);
                if cloud {
                    screen.indicate_cloud();
                }
                screen.leds = Leds { scan, update };
                screen.note = note;
                screen
            },
        )
    }

    proptest! {
        /// A terminal that gets nothing but differences shows what one shows that gets it all at
        /// once, and its cells are the screen's.
        #[test]
        fn differences_add_up_to_the_screen(screens in proptest::collection::vec(any_screen(), 1..6)) {
            let mut terminal = terminal_24x80();
            let mut renderer = Renderer::new(Charset::Unicode, "help");
            for screen in &screens {
                terminal.process(&renderer.render(screen));
                let mut fresh = terminal_24x80();
                fresh.process(&Renderer::new(Charset::Unicode, "help").render(screen));
                let lines = |terminal: &vt100::Parser| -> Vec<String> {
                    // A blank written and a cell never written look the same.
                    terminal.screen().rows(0, 80).map(|row| row.trim_end().to_owned()).collect()
                };
                prop_assert_eq!(lines(&terminal), lines(&fresh));
                for row in 0..4 {
                    let shown: String = (0..20)
                        .map(|column| {
                            let at = (u16::try_from(TOP + row).unwrap(), u16::try_from(LEFT + column).unwrap());
                            let cell = terminal.screen().cell(at.0, at.1).unwrap();
                            if cell.has_contents() { cell.contents().to_owned() } else { " ".to_owned() }
                        })
                        .collect();
                    prop_assert_eq!(shown, screen.row(row, Glyph::unicode));
                }
                prop_assert!(terminal.screen().hide_cursor());
            }
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            decode(&bytes);
        }
    }
}
