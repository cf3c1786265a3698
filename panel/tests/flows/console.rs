//! The flows over what a console is sent: bytes out into a terminal, bytes in from its keys.

use sonde_panel::event::{BACKSPACE, CLEAR, Event, Key, Press};
use sonde_panel::flow::{Glass, Pressed, Sheet, play};
use sonde_panel::picture::Picture;
use sonde_panel::screen::{Geometry, Leds, Screen};
use sonde_panel::vt100::{Charset, Decoder, Input, LEFT, Renderer, TOP};

use super::flows;

/// A character takes a start bit, eight of data and two stop bits.
const BYTES_IN_100_MS: usize = 9600 / 11 / 10;

/// A terminal that shows what it was sent, and sends what its keys send.
struct Terminal {
    renderer: Renderer,
    parser: vt100::Parser,
    decoder: Decoder,
    geometry: Geometry,
}

impl Terminal {
    fn new() -> Terminal {
        Terminal {
            renderer: Renderer::new(Charset::Unicode, ""),
            parser: vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 0),
            decoder: Decoder::default(),
            geometry: Geometry::LCD_16X2,
        }
    }

    fn line(&self, row: usize, column: usize, width: usize) -> String {
        let cell = |column: usize| {
            let (row, column) = (u16::try_from(row).unwrap(), u16::try_from(column).unwrap());
            let cell = self.parser.screen().cell(row, column).unwrap();
            if cell.has_contents() {
                cell.contents().to_owned()
            } else {
                " ".to_owned()
            }
        };
        (column..column + width).map(cell).collect()
    }
}

impl Glass for Terminal {
    fn show(&mut self, screen: &Screen) {
        self.geometry = screen.geometry();
        self.parser.process(&self.renderer.render(screen));
    }

    fn picture(&mut self) -> Picture {
        let Geometry { columns, rows } = self.geometry;
        let light = |row: usize| self.line(TOP + row, LEFT + columns + 2, 4).contains('●');
        let note = self.line(TOP + rows + 1, 0, 40).trim_end().to_owned();
        let (_, cursor) = self.parser.screen().cursor_position();
        let hidden = self.parser.screen().hide_cursor();
        Picture {
            rows: (0..rows)
                .map(|row| self.line(TOP + row, LEFT, columns))
                .collect(),
            cursor: (!hidden).then(|| usize::from(cursor) - LEFT),
            leds: Leds {
                scan: light(0),
                update: light(1),
            },
            note: (!note.is_empty()).then_some(note),
        }
    }

    fn press(&mut self, pressed: Pressed) -> Vec<Event> {
        let bytes = match pressed {
            Pressed::Key(key) | Pressed::Held(key) => match key {
                Key::Enter => "\r".to_owned(),
                Key::Up => "\x1b[A".to_owned(),
                Key::Down => "\x1bOB".to_owned(),
                Key::Right => "\x1b[C".to_owned(),
                Key::Left => "\x1bOD".to_owned(),
            },
            Pressed::Both | Pressed::Typed(_) => pressed.character().into_iter().collect(),
        };
        let inputs = bytes.bytes().filter_map(|byte| self.decoder.byte(byte));
        inputs
            .flat_map(|input| match input {
                Input::Key(key) => vec![Event::Key(key, Press::Down), Event::Key(key, Press::Up)],
                Input::Typed(c) => vec![Event::Typed(c)],
                Input::Interrupt => Vec::new(),
            })
            .collect()
    }
}

#[test]
fn every_flow_is_the_same_on_a_console() {
    for (name, flow) in flows() {
        let seen = play(&flow, &mut Terminal::new());
        assert_eq!(
            seen.trouble.map(|error| error.to_string()),
            None,
            "{name}.flow"
        );
    }
}

#[test]
fn backspace_and_both_arrows_are_one_byte_each() {
    let mut decoder = Decoder::default();
    assert_eq!(decoder.byte(0x7f), Some(Input::Typed(BACKSPACE)));
    assert_eq!(decoder.byte(0x08), Some(Input::Typed(BACKSPACE)));
    assert_eq!(decoder.byte(0x15), Some(Input::Typed(CLEAR)));
}

/// From any screen of any flow to any other, once the agent was heard and the MAC address is there.
#[test]
fn a_repaint_takes_less_than_100_ms_at_9600_baud() {
    let mut screens: Vec<Screen> = Vec::new();
    for (_, flow) in flows() {
        for screen in play(&flow, &mut Sheet::default()).screens {
            let of_the_box = screen.geometry() == Geometry::LCD_16X2 && screen.mac.is_some();
            if of_the_box && !screens.contains(&screen) {
                screens.push(screen);
            }
        }
    }
    assert!(screens.len() > 300, "{}", screens.len());
    let mut largest = (0, None);
    for from in &screens {
        for to in &screens {
            let mut renderer = Renderer::new(Charset::Ascii, "");
            renderer.render(from);
            let bytes = renderer.render(to).len();
            if bytes > largest.0 {
                largest = (bytes, Some((from, to)));
            }
        }
    }
    let (bytes, pair) = largest;
    println!("largest repaint: {bytes} bytes");
    assert!(bytes <= BYTES_IN_100_MS, "{bytes} bytes: {pair:?}");
}

/// Frame, MAC address and lights are sent once, when a console wakes.
#[test]
fn the_first_picture_takes_less_than_300_ms_at_9600_baud() {
    let flows = flows();
    let (_, flow) = flows.iter().find(|(name, _)| name == "activation").unwrap();
    let first = play(flow, &mut Sheet::default()).screens;
    let bytes = |screen| {
        Renderer::new(Charset::Ascii, "keys: arrows, ENTER")
            .render(screen)
            .len()
    };
    let most = first.iter().map(bytes).max().unwrap();
    println!("largest first picture: {most} bytes");
    assert!(most <= 3 * BYTES_IN_100_MS, "{most} bytes");
}
