//! A flow played on a panel, seen through some glass.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Flow, Line, Machine, Stroke};
use crate::event::{Action, CLEAR, Event, Key, Press};
use crate::panel::Panel;
use crate::picture::Picture;
use crate::screen::Screen;

/// Between two keys of a person.
const KEY_TIME: Duration = Duration::from_millis(200);
/// Between two characters of a person who types.
const TYPE_TIME: Duration = Duration::from_millis(100);
/// Between two repetitions of a key that is held down.
const HELD_TIME: Duration = Duration::from_millis(50);
/// Between two characters on a line at 9600 baud.
const LINE_TIME: Duration = Duration::from_millis(1);
/// Between two ticks.
const TICK: Duration = Duration::from_millis(100);
/// How long boot messages take.
const BOOT_TIME: Duration = Duration::from_secs(6);

/// What stands between a panel and a person: the display and keys of a front, or nothing at all.
pub trait Glass {
    /// The panel shows another screen.
    fn show(&mut self, screen: &Screen);

    /// What a person sees now.
    fn picture(&mut self) -> Picture;

    /// What becomes of a key or a character.
    fn press(&mut self, pressed: Pressed) -> Vec<Event> {
        pressed.events()
    }
}

/// What a person's finger did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressed {
    /// Pressed a key and let it go.
    Key(Key),
    /// Held a key down for another moment.
    Held(Key),
    /// Pressed LEFT and RIGHT together.
    Both,
    /// Typed a character.
    Typed(char),
}

impl Pressed {
    /// The events of keys that say everything.
    pub fn events(self) -> Vec<Event> {
        let key = |key, press| Event::Key(key, press);
        match self {
            Pressed::Key(k) => vec![key(k, Press::Down), key(k, Press::Up)],
            Pressed::Held(k) => vec![key(k, Press::Held)],
            Pressed::Both => vec![
                key(Key::Left, Press::Down),
                key(Key::Right, Press::Down),
                key(Key::Left, Press::Up),
                key(Key::Right, Press::Up),
            ],
            Pressed::Typed(c) => vec![Event::Typed(c)],
        }
    }

    /// The character that stands for it on a console, if one does.
    pub fn character(self) -> Option<char> {
        match self {
            Pressed::Typed(c) => Some(c),
            Pressed::Both => Some(CLEAR),
            Pressed::Key(_) | Pressed::Held(_) => None,
        }
    }
}

/// No glass: what the panel shows.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    picture: Option<Picture>,
}

impl Glass for Sheet {
    fn show(&mut self, screen: &Screen) {
        self.picture = Some(Picture::of(screen));
    }

    fn picture(&mut self) -> Picture {
        self.picture.clone().unwrap_or_else(|| Picture {
            rows: Vec::new(),
            cursor: None,
            leds: crate::screen::Leds::default(),
            note: None,
        })
    }
}

/// What was seen and asked.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// Index of the line and what was seen there, in order.
    pub seen: Vec<(usize, Picture)>,
    /// Index of the line and what was asked by it, in order.
    pub asked: Vec<(usize, String)>,
    /// Every screen that was shown, in order.
    pub screens: Vec<Screen>,
    /// What went wrong first.
    pub trouble: Option<PlayError>,
    /// What the panel recorded.
    pub recording: String,
}

impl Played {
    /// What was seen at this line.
    pub fn picture_at(&self, line: usize) -> Option<&Picture> {
        self.seen
            .iter()
            .find(|(at, _)| *at == line)
            .map(|(_, picture)| picture)
    }

    /// What was asked by this line.
    pub fn asked_at(&self, line: usize) -> impl Iterator<Item = &str> {
        self.asked
            .iter()
            .filter(move |(at, _)| *at == line)
            .map(|(_, asked)| asked.as_str())
    }
}

/// Where a flow and a panel are not of one mind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlayError {
    /// A line of `given` or `<` says nothing.
    #[error("`{line}`: {what}")]
    Words {
        /// The line.
        line: String,
        /// What is wrong.
        what: String,
    },
    /// Another picture.
    #[error("{after}: expected\n{expected}but it shows\n{seen}")]
    Picture {
        /// The stroke before.
        after: String,
        /// What the flow says.
        expected: String,
        /// What was seen.
        seen: String,
    },
    /// Something else was asked for, or nothing, or too much.
    #[error("{after}: expected to be asked for {expected:?}, was asked for {asked:?}")]
    Asked {
        /// The stroke before.
        after: String,
        /// What the flow says.
        expected: Option<String>,
        /// What the panel asked for.
        asked: Option<String>,
    },
}

/// Plays `flow` on a new panel behind `glass`, to its end.
pub fn play(flow: &Flow, glass: &mut dyn Glass) -> Played {
    let mut machine = Machine::default();
    let mut trouble = None;
    for (text, line) in &flow.lines {
        if let Line::Given(words) = line
            && let Err(what) = machine.given(words)
        {
            let line = text.clone();
            trouble.get_or_insert(PlayError::Words { line, what });
        }
    }
    let mut player = Player {
        panel: Panel::new(machine.geometry),
        machine,
        glass,
        now: Duration::ZERO,
        at: 0,
        unheard: VecDeque::new(),
        played: Played {
            trouble,
            ..Played::default()
        },
    };
    player.start();
    let mut after = "at the start".to_owned();
    for (at, (text, line)) in flow.lines.iter().enumerate() {
        player.at = at;
        match line {
            Line::Prose | Line::Given(_) => {}
            Line::Stroke(stroke) => {
                player.expect_asked(None, &after);
                after = format!("after line {} `{}`", at + 1, text.trim());
                player.stroke(stroke);
            }
            Line::Told(words) => match player.machine.told(words) {
                Ok(events) => player.events(events),
                Err(what) => player.fail(PlayError::Words {
                    line: text.clone(),
                    what,
                }),
            },
            Line::Happens(time, words) => {
                player.now += *time;
                match player.machine.told(words) {
                    Ok(events) => player.events(events),
                    Err(what) => player.fail(PlayError::Words {
                        line: text.clone(),
                        what,
                    }),
                }
            }
            Line::Asked(asked) => player.expect_asked(Some(asked), &after),
            Line::Shows(expected) => player.expect_picture(Some(expected), &after),
            Line::ShowsAnything => player.expect_picture(None, &after),
        }
    }
    player.expect_asked(None, &after);
    player.played.recording = player.panel.recording();
    player.played
}

struct Player<'g> {
    panel: Panel,
    machine: Machine,
    glass: &'g mut dyn Glass,
    now: Duration,
    at: usize,
    /// Asked for, and not yet found in the flow.
    unheard: VecDeque<String>,
    played: Played,
}

impl Player<'_> {
    fn start(&mut self) {
        self.glass.show(self.panel.screen());
        self.played.screens.push(self.panel.screen().clone());
        let hello = self.machine.hello();
        if !hello.is_empty() {
            self.events(hello);
            self.pass(BOOT_TIME);
        }
    }

    fn stroke(&mut self, stroke: &Stroke) {
        match stroke {
            Stroke::Press(key, times) => {
                for _ in 0..*times {
                    self.press(Pressed::Key(*key), KEY_TIME);
                }
            }
            Stroke::Hold(key, times) => {
                self.press(Pressed::Key(*key), KEY_TIME);
                for _ in 1..*times {
                    self.press(Pressed::Held(*key), HELD_TIME);
                }
            }
            Stroke::Both => self.press(Pressed::Both, KEY_TIME),
            Stroke::Type(text) => {
                for c in text.chars() {
                    self.press(Pressed::Typed(c), TYPE_TIME);
                }
            }
            Stroke::Paste(text) => {
                for c in text.chars() {
                    let pressed = match c {
                        '\n' => Pressed::Key(Key::Enter),
                        c => Pressed::Typed(c),
                    };
                    self.press(pressed, LINE_TIME);
                }
            }
            Stroke::Wait(time) => self.pass(*time),
        }
    }

    /// A finger does something, `before` after the last thing it did.
    fn press(&mut self, pressed: Pressed, before: Duration) {
        self.pass(before);
        let events = self.glass.press(pressed);
        self.events(events);
    }

    fn pass(&mut self, time: Duration) {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(TICK);
            self.now += step;
            left -= step;
            self.events(vec![Event::Tick]);
        }
    }

    fn events(&mut self, events: Vec<Event>) {
        let mut queue = VecDeque::from(events);
        while let Some(event) = queue.pop_front() {
            for action in self.panel.handle(event, self.now) {
                match &action {
                    Action::Redraw => {
                        self.glass.show(self.panel.screen());
                        self.played.screens.push(self.panel.screen().clone());
                    }
                    Action::Apply(_) | Action::Run(_) => {
                        let words = words(&action);
                        if self.machine.speaks {
                            self.unheard.push_back(words.clone());
                        }
                        self.played.asked.push((self.at, words));
                    }
                    Action::TakeKeys | Action::ReleaseKeys => {}
                }
                queue.extend(self.machine.answer(&action));
            }
        }
    }

    fn expect_asked(&mut self, expected: Option<&str>, after: &str) {
        let asked = self.unheard.pop_front();
        if asked.as_deref() != expected {
            self.fail(PlayError::Asked {
                after: after.to_owned(),
                expected: expected.map(str::to_owned),
                asked,
            });
        }
    }

    fn expect_picture(&mut self, expected: Option<&Picture>, after: &str) {
        let seen = self.glass.picture();
        if let Some(expected) = expected.filter(|expected| **expected != seen) {
            self.fail(PlayError::Picture {
                after: after.to_owned(),
                expected: expected.to_string(),
                seen: seen.to_string(),
            });
        }
        self.played.seen.push((self.at, seen));
    }

    fn fail(&mut self, error: PlayError) {
        self.played.trouble.get_or_insert(error);
    }
}

/// What is asked for, as a flow has it.
fn words(action: &Action) -> String {
    let json = match action {
        Action::Apply(change) => serde_json::to_string(change).map(|json| format!("apply {json}")),
        Action::Run(command) => serde_json::to_string(command).map(|json| format!("run {json}")),
        Action::Redraw | Action::TakeKeys | Action::ReleaseKeys => Ok(String::new()),
    };
    json.unwrap_or_default()
}
