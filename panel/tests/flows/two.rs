//! Two fronts of one box: one has the keys, the other says so and can take over.

use std::time::Duration;

use sonde_panel::event::{Action, Event, Key, Press};
use sonde_panel::flow::Machine;
use sonde_panel::panel::Panel;
use sonde_panel::picture::Picture;
use sonde_panel::screen::Geometry;
use sonde_panel::texts;
use sonde_protocol::local::Keys;

/// A display, a console, and an agent that decides who has the keys.
struct Pair {
    panels: [Panel; 2],
    machine: Machine,
    holder: Option<usize>,
    now: Duration,
}

impl Pair {
    fn new() -> Pair {
        let mut pair = Pair {
            panels: [
                Panel::new(Geometry::LCD_16X2),
                Panel::new(Geometry::LCD_20X4),
            ],
            machine: Machine::default(),
            holder: None,
            now: Duration::ZERO,
        };
        for event in pair.machine.told("back").unwrap() {
            pair.everybody(&event);
        }
        pair.pass(50);
        pair
    }

    fn everybody(&mut self, event: &Event) {
        for panel in 0..self.panels.len() {
            self.event(panel, event.clone());
        }
    }

    fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now += Duration::from_millis(100);
            self.everybody(&Event::Tick);
        }
    }

    fn press(&mut self, panel: usize, key: Key) {
        self.pass(3);
        self.event(panel, Event::Key(key, Press::Down));
        self.event(panel, Event::Key(key, Press::Up));
    }

    fn event(&mut self, panel: usize, event: Event) {
        for action in self.panels[panel].handle(event, self.now) {
            match action {
                Action::TakeKeys => self.give(Some(panel)),
                Action::ReleaseKeys if self.holder == Some(panel) => self.give(None),
                Action::Redraw | Action::ReleaseKeys => {}
                action => panic!("{action:?} was never confirmed"),
            }
        }
    }

    fn give(&mut self, holder: Option<usize>) {
        self.holder = holder;
        for panel in 0..self.panels.len() {
            let keys = match holder {
                None => Keys::Free,
                Some(holder) if holder == panel => Keys::Yours,
                Some(_) => Keys::Taken,
            };
            self.event(panel, Event::Keys(keys));
        }
    }

    fn words(&self) -> [String; 2] {
        [0, 1].map(|panel| Picture::of(self.panels[panel].screen()).words())
    }
}

const IDLE: &str = "is_acme 192.168.100.200";

#[test]
fn one_has_the_keys_and_the_other_can_take_them() {
    let mut pair = Pair::new();
    assert_eq!(pair.words(), [IDLE, IDLE]);
    pair.press(0, Key::Enter);
    assert_eq!(pair.words(), [texts::SETUP_NETWORK, texts::IN_USE]);
    pair.press(1, Key::Down);
    assert_eq!(pair.words(), [texts::SETUP_NETWORK, texts::IN_USE]);
    pair.press(0, Key::Enter);
    pair.press(0, Key::Down);
    pair.press(0, Key::Enter);
    pair.press(0, Key::Up);
    assert_eq!(pair.words(), ["VLAN 0-4094 1000", texts::IN_USE]);
    pair.press(1, Key::Enter);
    assert_eq!(pair.words()[1], texts::TAKE_OVER);
    pair.press(1, Key::Enter);
    assert_eq!(pair.words(), [texts::IN_USE, texts::SETUP_NETWORK]);
    // Who is done gives the keys back.
    pair.press(1, Key::Up);
    pair.press(1, Key::Enter);
    assert_eq!(pair.words(), [IDLE, IDLE]);
    assert_eq!(pair.holder, None);
}

#[test]
fn who_goes_away_with_the_keys_loses_them_in_the_end() {
    let mut pair = Pair::new();
    pair.press(1, Key::Enter);
    pair.pass(2990);
    assert_eq!(pair.words(), [texts::IN_USE, texts::SETUP_NETWORK]);
    pair.pass(11);
    assert_eq!(pair.words(), [IDLE, IDLE]);
    assert_eq!(pair.holder, None);
}
