//! The flows over LCDproc's protocol: the commands that a session sends, carried out as LCDd does, and keys by the
//! names a display's driver gives them.

use std::collections::BTreeMap;
use std::time::Duration;

use sonde_panel::event::{Event, Key};
use sonde_panel::flow::{Flow, Glass, Line, Pressed, Stroke, play};
use sonde_panel::lcdproc::keys::{KeyMap, Keypad};
use sonde_panel::lcdproc::session::{Heard, Outputs, Session, Use};
use sonde_panel::picture::Picture;
use sonde_panel::screen::{Cell, Geometry, Glyph, Leds, Screen};

use super::flows;

/// Longer than any gesture of a keypad.
const PAUSE: Duration = Duration::from_secs(1);

/// What LCDd makes of a client's commands: words at places, icons on top of them.
#[derive(Default)]
struct Lcdd {
    strings: BTreeMap<String, (usize, usize, String)>,
    icons: BTreeMap<String, Option<(usize, usize, String)>>,
    cursor: Option<(usize, usize)>,
    output: u32,
}

impl Lcdd {
    fn carry_out(&mut self, command: &str) {
        let words = words(command);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let number = |text: &str| text.parse::<usize>().unwrap();
        match words[..] {
            [
                "hello" | "noop" | "client_set" | "screen_add" | "client_add_key",
                ..,
            ] => {}
            ["screen_set", "s", ref options @ ..] => self.set_screen(options),
            ["widget_add", "s", id, "string"] => {
                self.strings.insert(id.to_owned(), (1, 1, String::new()));
            }
            ["widget_add", "s", id, "icon"] => {
                assert!(self.icons.insert(id.to_owned(), None).is_none(), "{id}");
            }
            ["widget_set", "s", id, x, y, text] => {
                let place = (number(x), number(y), text.to_owned());
                match self.strings.get_mut(id) {
                    Some(string) => *string = place,
                    None => *self.icons.get_mut(id).unwrap() = Some(place),
                }
            }
            ["widget_del", "s", id] => assert!(self.icons.remove(id).is_some(), "{id}"),
            ["output", bits] => self.output = bits.parse().unwrap(),
            _ => panic!("LCDd knows no such command: {command}"),
        }
    }

    fn set_screen(&mut self, options: &[&str]) {
        let value = |name: &str| {
            let at = options.iter().position(|&option| option == name)?;
            Some(options[at + 1])
        };
        let place = |name: &str| value(name).map(|text| text.parse::<usize>().unwrap());
        match value("-cursor") {
            Some("off") => self.cursor = None,
            Some(_) => self.cursor = place("-cursor_x").zip(place("-cursor_y")),
            None => {}
        }
    }

    fn cell(&self, row: usize, column: usize) -> char {
        let icon = self.icons.values().flatten();
        let icon = icon
            .clone()
            .find(|(x, y, _)| (*x, *y) == (column + 1, row + 1));
        if let Some((_, _, name)) = icon {
            return match name.as_str() {
                "ARROW_UP" => Glyph::Up.unicode(),
                "ARROW_DOWN" => Glyph::Down.unicode(),
                "ARROW_LEFT" => Glyph::Left.unicode(),
                "ARROW_RIGHT" => Glyph::Right.unicode(),
                name => panic!("LCDd has no icon {name}"),
            };
        }
        let in_row = |(x, y, text): &&(usize, usize, String)| {
            *y == row + 1 && (*x..x + text.len()).contains(&(column + 1))
        };
        let string = self.strings.values().find(in_row);
        string.map_or(' ', |(x, _, text)| {
            char::from(text.as_bytes()[column + 1 - x])
        })
    }
}

/// A command's words; a quoted one may have blanks, and a backslash takes the next letter as it is.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    let mut letters = command.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => (quoted, any) = (!quoted, true),
            '\\' if quoted => word.push(letters.next().unwrap()),
            ' ' if !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            letter => {
                word.push(letter);
                any = true;
            }
        }
    }
    assert!(!quoted, "{command}");
    if any {
        words.push(word);
    }
    words
}

/// A display of five keys behind LCDd.
struct Display {
    session: Session,
    lcdd: Lcdd,
    keypad: Keypad,
    now: Duration,
    shown: Option<Screen>,
}

impl Display {
    fn new() -> Display {
        let keys = KeyMap::of_panel(5).unwrap();
        let session = Session::new(Use {
            keys: keys.names(),
            icons: true,
            outputs: Some(Outputs { scan: 1, update: 2 }),
        });
        Display {
            session,
            lcdd: Lcdd::default(),
            keypad: Keypad::new(keys),
            now: PAUSE,
            shown: None,
        }
    }

    /// LCDd carries out what there is and says so, until there is no more.
    fn carry_out(&mut self, geometry: Geometry) {
        while let Some(batch) = self.session.poll_transmit() {
            let answer = match batch.as_str() {
                "hello\n" => format!(
                    "connect LCDproc 0.5.9 protocol 0.3 lcd wid {} hgt {} cellwid 5 cellhgt 8\n",
                    geometry.columns, geometry.rows
                ),
                _ => "noop complete\n".to_owned(),
            };
            batch
                .lines()
                .for_each(|command| self.lcdd.carry_out(command));
            self.session.handle_bytes(answer.as_bytes()).unwrap();
        }
    }

    /// What becomes of keys that the driver tells of, and of some time without any.
    fn keys(&mut self, names: &[&str]) -> Vec<Event> {
        let mut events = Vec::new();
        for name in names {
            let heard = self
                .session
                .handle_bytes(format!("key {name}\n").as_bytes());
            for heard in heard.unwrap() {
                match heard {
                    Heard::Key(name) => events.extend(self.keypad.handle_key(&name, self.now)),
                    other => panic!("{other:?}"),
                }
            }
            self.now += Duration::from_millis(20);
        }
        self.now += PAUSE;
        events.extend(self.keypad.handle_time(self.now));
        events
    }
}

impl Glass for Display {
    fn show(&mut self, screen: &Screen) {
        self.session.show(screen);
        self.carry_out(screen.geometry());
        self.shown = Some(screen.clone());
    }

    fn picture(&mut self) -> Picture {
        let shown = self.shown.as_ref().unwrap();
        let Geometry { columns, rows } = shown.geometry();
        // ENTER and the cloud have no icon in LCDproc: their letters stand for them.
        let cell = |row: usize, column: usize| match (
            self.lcdd.cell(row, column),
            shown.cell(row, column),
        ) {
            (letter, Cell::Sign(glyph)) if letter == glyph.ascii() => glyph.unicode(),
            (letter, _) => letter,
        };
        Picture {
            rows: (0..rows)
                .map(|row| (0..columns).map(|column| cell(row, column)).collect())
                .collect(),
            cursor: self.lcdd.cursor.map(|(x, _)| x - 1),
            leds: Leds {
                scan: self.lcdd.output & 1 != 0,
                update: self.lcdd.output & 2 != 0,
            },
            // What a console says below, a display has no place for.
            note: shown.note.clone(),
        }
    }

    fn press(&mut self, pressed: Pressed) -> Vec<Event> {
        let name = |key| match key {
            Key::Enter => "Enter",
            Key::Up => "Up",
            Key::Down => "Down",
            Key::Left => "Left",
            Key::Right => "Right",
        };
        match pressed {
            Pressed::Key(key) => self.keys(&[name(key)]),
            Pressed::Both => self.keys(&["Left", "Right"]),
            // That a key is held, LCDproc does not say: lcdproc/keys.rs has how it is noticed.
            Pressed::Held(_) => pressed.events(),
            Pressed::Typed(c) => panic!("a display has no key for {c:?}"),
        }
    }
}

/// All but those with a keyboard in them.
#[test]
fn every_flow_of_keys_is_the_same_on_a_display() {
    let typed = |flow: &Flow| {
        let of_keyboard =
            |line: &Line| matches!(line, Line::Stroke(Stroke::Type(_) | Stroke::Paste(_)));
        flow.lines.iter().any(|(_, line)| of_keyboard(line))
    };
    let flows: Vec<_> = flows()
        .into_iter()
        .filter(|(_, flow)| !typed(flow))
        .collect();
    println!("{} flows on a display", flows.len());
    assert!(flows.len() > 20, "{}", flows.len());
    for (name, flow) in flows {
        let seen = play(&flow, &mut Display::new());
        let trouble = seen.trouble.map(|error| error.to_string());
        assert_eq!(trouble, None, "{name}.flow");
    }
}
