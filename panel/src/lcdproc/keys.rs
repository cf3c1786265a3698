//! What the keys of a display mean: their names in LCDproc, and the five keys of the box.
//!
//! LCDproc tells of keys that go down, never of keys that come up. So a key counts as down for a short
//! time after it was heard, and heard again in that time it is held. Panels with fewer than five keys
//! have gestures: twice, held, or two together.

use std::time::Duration;

use crate::event::{Event, Key, Press};

/// A key is down for so long after it was heard. Drivers that repeat do so faster (HD44780 keypads: 15 a
/// second; LCDd looks 32 times a second), and fingers slower.
const DOWN_FOR: Duration = Duration::from_millis(100);
/// Two keys heard within this time were pressed together.
const TOGETHER: Duration = Duration::from_millis(150);
/// One key heard twice within this time was pressed twice on purpose.
const TWICE: Duration = Duration::from_millis(400);
/// The first repetition of a held key comes within this time (HD44780 keypads: 500 ms).
const HELD: Duration = Duration::from_millis(700);

/// Why a key map is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum KeyMapError {
    /// One entry can not be read.
    #[error(
        "{0:?} is no key binding: write NAME=KEY, NAME*2=KEY (twice), NAME~=KEY (held) or NAME+NAME=KEY \
         (together), with enter, up, down, left, right or left+right for KEY, or nothing"
    )]
    Binding(String),
    /// A panel has a key by which nothing is done.
    #[error("no key is bound to {0}: the panel could not be worked")]
    Missing(&'static str),
    /// The same gesture twice.
    #[error("{0:?} is bound twice")]
    Twice(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Gesture {
    Once(String),
    Again(String, Duration),
    Together(String, String),
}

/// What each key of a display does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyMap {
    bindings: Vec<(Gesture, Vec<Key>)>,
}

impl KeyMap {
    /// The usual map of a panel with so many keys: 2 (Enter, Down), 4 (Enter, Up, Down, Escape), 5 or 6. None
    /// for another number.
    pub fn of_panel(keys: u8) -> Option<KeyMap> {
        let text = match keys {
            2 => "Enter=enter Enter*2=right Down=down Down*2=up Enter+Down=left",
            4 => "Enter=enter Up=up Down=down Escape=left Escape*2=right Up+Down=left+right",
            5 => "Enter=enter Up=up Down=down Left=left Right=right",
            // Escape means nothing in the panel, but would open LCDd's own menu.
            6 => "Enter=enter Up=up Down=down Left=left Right=right Escape=",
            _ => return None,
        };
        Some(KeyMap::parse(text).expect("the test reads every one of them"))
    }

    /// Bindings with blanks between them, as in `Enter=enter Escape=left Escape*2=right Up+Down=left+right`.
    ///
    /// # Errors
    /// [`KeyMapError`].
    pub fn parse(text: &str) -> Result<KeyMap, KeyMapError> {
        let mut bindings: Vec<(Gesture, Vec<Key>)> = Vec::new();
        for word in text.split_ascii_whitespace() {
            let binding = || KeyMapError::Binding(word.to_owned());
            let (gesture, keys) = word.split_once('=').ok_or_else(binding)?;
            let gesture = gesture_of(gesture).ok_or_else(binding)?;
            let keys = keys_of(keys).ok_or_else(binding)?;
            if bindings.iter().any(|(other, _)| same(other, &gesture)) {
                return Err(KeyMapError::Twice(word.to_owned()));
            }
            bindings.push((gesture, keys));
        }
        for (key, name) in [
            (Key::Enter, "enter"),
            (Key::Up, "up"),
            (Key::Down, "down"),
            (Key::Left, "left"),
            (Key::Right, "right"),
        ] {
            if !bindings.iter().any(|(_, keys)| *keys == [key]) {
                return Err(KeyMapError::Missing(name));
            }
        }
        Ok(KeyMap { bindings })
    }

    /// The names to ask LCDd for, each once.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (gesture, _) in &self.bindings {
            let (first, second) = match gesture {
                Gesture::Once(name) | Gesture::Again(name, _) => (name, None),
                Gesture::Together(first, second) => (first, Some(second)),
            };
            for name in [first].into_iter().chain(second) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        names
    }

    fn keys(&self, wanted: impl Fn(&Gesture) -> bool) -> Option<&[Key]> {
        let found = self.bindings.iter().find(|(gesture, _)| wanted(gesture));
        found.map(|(_, keys)| keys.as_slice())
    }

    fn once(&self, name: &str) -> &[Key] {
        self.keys(|gesture| matches!(gesture, Gesture::Once(n) if n == name))
            .unwrap_or_default()
    }

    fn together(&self, one: &str, other: &str) -> Option<&[Key]> {
        self.keys(|gesture| {
            matches!(gesture, Gesture::Together(a, b) if (a == one && b == other) || (a == other && b == one))
        })
    }

    fn again(&self, name: &str, within: Duration) -> Option<&[Key]> {
        self.keys(
            |gesture| matches!(gesture, Gesture::Again(n, most) if n == name && within <= *most),
        )
    }

    /// How long it is open what `name` will have meant.
    fn open_for(&self, name: &str) -> Duration {
        let windows = self.bindings.iter().map(|(gesture, _)| match gesture {
            Gesture::Again(n, within) if n == name => *within,
            Gesture::Together(a, b) if a == name || b == name => TOGETHER,
            _ => Duration::ZERO,
        });
        windows.max().unwrap_or_default()
    }
}

fn gesture_of(text: &str) -> Option<Gesture> {
    let name = |text: &str| {
        let good = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
        good.then(|| text.to_owned())
    };
    if let Some((one, other)) = text.split_once('+') {
        return (one != other).then_some(Gesture::Together(name(one)?, name(other)?));
    }
    if let Some(text) = text.strip_suffix("*2") {
        return Some(Gesture::Again(name(text)?, TWICE));
    }
    if let Some(text) = text.strip_suffix('~') {
        return Some(Gesture::Again(name(text)?, HELD));
    }
    name(text).map(Gesture::Once)
}

fn keys_of(text: &str) -> Option<Vec<Key>> {
    match text {
        "" => Some(Vec::new()),
        "enter" => Some(vec![Key::Enter]),
        "up" => Some(vec![Key::Up]),
        "down" => Some(vec![Key::Down]),
        "left" => Some(vec![Key::Left]),
        "right" => Some(vec![Key::Right]),
        "left+right" => Some(vec![Key::Left, Key::Right]),
        _ => None,
    }
}

/// Twice and held are told apart by nothing but time, so a key has one of them.
fn same(one: &Gesture, other: &Gesture) -> bool {
    match (one, other) {
        (Gesture::Once(a), Gesture::Once(b)) | (Gesture::Again(a, _), Gesture::Again(b, _)) => {
            a == b
        }
        (Gesture::Together(a, b), Gesture::Together(c, d)) => {
            (a == c && b == d) || (a == d && b == c)
        }
        _ => false,
    }
}

/// The keys of one display: names with their times in, the box's keys out.
#[derive(Clone, Debug)]
pub struct Keypad {
    map: KeyMap,
    /// A key whose meaning is open, and since when.
    open: Option<(String, Duration)>,
    /// Keys that are down: by which name, and when it was last heard.
    down: Option<(String, Vec<Key>, Duration)>,
}

impl Keypad {
    /// A keypad with nothing pressed.
    pub fn new(map: KeyMap) -> Keypad {
        Keypad {
            map,
            open: None,
            down: None,
        }
    }

    /// LCDd told of key `name`.
    pub fn handle_key(&mut self, name: &str, now: Duration) -> Vec<Event> {
        let mut events = self.handle_time(now);
        if let Some((first, since)) = self.open.take() {
            let within = now.saturating_sub(since);
            let keys = if first == name {
                self.map.again(name, within)
            } else if within <= TOGETHER {
                self.map.together(&first, name)
            } else {
                None
            };
            if let Some(keys) = keys.map(<[Key]>::to_vec) {
                self.press(name, keys, now, &mut events);
                return events;
            }
            let keys = self.map.once(&first).to_vec();
            self.press(&first, keys, since, &mut events);
        }
        match &mut self.down {
            // A cursor that moves on does no harm: quick fingers are no held key there.
            Some((down, keys, _))
                if down == name && matches!(keys[..], [Key::Left | Key::Right]) =>
            {
                let keys = keys.clone();
                self.press(name, keys, now, &mut events);
            }
            Some((down, keys, heard)) if down == name => {
                *heard = now;
                events.extend(keys.iter().map(|&key| Event::Key(key, Press::Held)));
            }
            _ if self.map.open_for(name).is_zero() => {
                let keys = self.map.once(name).to_vec();
                self.press(name, keys, now, &mut events);
            }
            _ => self.open = Some((name.to_owned(), now)),
        }
        events
    }

    /// Time passed.
    pub fn handle_time(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        if let Some((name, since)) = &self.open
            && now >= *since + self.map.open_for(name)
        {
            let name = name.clone();
            self.open = None;
            let keys = self.map.once(&name).to_vec();
            self.press(&name, keys, now, &mut events);
            // It went down long ago.
            self.release(&mut events);
        }
        if self
            .down
            .as_ref()
            .is_some_and(|down| now >= down.2 + DOWN_FOR)
        {
            self.release(&mut events);
        }
        events
    }

    /// When [`Keypad::handle_time`] has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let open = self.open.as_ref();
        let open = open.map(|(name, since)| *since + self.map.open_for(name));
        let down = self.down.as_ref().map(|down| down.2 + DOWN_FOR);
        open.into_iter().chain(down).min()
    }

    fn press(&mut self, name: &str, keys: Vec<Key>, now: Duration, events: &mut Vec<Event>) {
        // Two keys of which each means itself may be down together: the box has such chords.
        let chord =
            matches!(&self.down, Some((other, down, _)) if other != name && pair(down, &keys));
        if !chord {
            self.release(events);
        }
        events.extend(keys.iter().map(|&key| Event::Key(key, Press::Down)));
        let mut all = if chord {
            self.down.take().map_or(Vec::new(), |down| down.1)
        } else {
            Vec::new()
        };
        all.extend(keys);
        if !all.is_empty() {
            self.down = Some((name.to_owned(), all, now));
        }
    }

    fn release(&mut self, events: &mut Vec<Event>) {
        if let Some((_, keys, _)) = self.down.take() {
            events.extend(keys.into_iter().map(|key| Event::Key(key, Press::Up)));
        }
    }
}

/// LEFT and RIGHT are the only two that mean something together.
fn pair(down: &[Key], keys: &[Key]) -> bool {
    matches!(
        (down, keys),
        ([Key::Left], [Key::Right]) | ([Key::Right], [Key::Left])
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use Key::{Down, Enter, Left, Right, Up};

    /// Keys that went down, with H before those held, after names heard at these milliseconds.
    fn played(keys: u8, heard: &[(&str, u64)]) -> String {
        let mut keypad = Keypad::new(KeyMap::of_panel(keys).unwrap());
        let mut events = Vec::new();
        for &(name, at) in heard {
            let at = Duration::from_millis(at);
            while let Some(due) = keypad.poll_timeout().filter(|due| *due <= at) {
                events.extend(keypad.handle_time(due));
            }
            events.extend(keypad.handle_key(name, at));
        }
        while let Some(due) = keypad.poll_timeout() {
            events.extend(keypad.handle_time(due));
        }
        assert!(balanced(&events), "{events:?}");
        let words = events.iter().filter_map(|event| match event {
            Event::Key(key, Press::Down) => Some(format!("{key:?}")),
            Event::Key(key, Press::Held) => Some(format!("H{key:?}")),
            _ => None,
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Every key that went down came up, and none twice.
    fn balanced(events: &[Event]) -> bool {
        let mut down = Vec::new();
        for event in events {
            match *event {
                Event::Key(key, Press::Down) if !down.contains(&key) => down.push(key),
                Event::Key(key, Press::Held) if down.contains(&key) => {}
                Event::Key(key, Press::Up) if down.contains(&key) => down.retain(|d| *d != key),
                _ => return false,
            }
        }
        down.is_empty()
    }

    #[test]
    fn five_keys_are_themselves_at_once() {
        let mut keypad = Keypad::new(KeyMap::of_panel(5).unwrap());
        for (name, key) in [
            ("Enter", Enter),
            ("Up", Up),
            ("Down", Down),
            ("Left", Left),
            ("Right", Right),
        ] {
            let now = keypad.poll_timeout().unwrap_or_default();
            keypad.handle_time(now);
            assert_eq!(keypad.handle_key(name, now), [Event::Key(key, Press::Down)]);
        }
        assert_eq!(played(6, &[("Escape", 0), ("Up", 10)]), "Up");
    }

    #[test]
    fn a_key_that_repeats_is_held_and_fingers_are_not() {
        assert_eq!(
            played(5, &[("Up", 0), ("Up", 66), ("Up", 132)]),
            "Up HUp HUp"
        );
        assert_eq!(
            played(5, &[("Up", 0), ("Up", 125), ("Up", 250)]),
            "Up Up Up"
        );
        assert_eq!(played(5, &[("Right", 0), ("Right", 60)]), "Right Right");
    }

    #[test]
    fn left_and_right_are_down_together() {
        let mut keypad = Keypad::new(KeyMap::of_panel(5).unwrap());
        let now = Duration::from_millis;
        assert_eq!(
            keypad.handle_key("Left", now(0)),
            [Event::Key(Left, Press::Down)]
        );
        assert_eq!(
            keypad.handle_key("Right", now(60)),
            [Event::Key(Right, Press::Down)]
        );
        assert_eq!(
            keypad.handle_time(now(160)),
            [Event::Key(Left, Press::Up), Event::Key(Right, Press::Up)]
        );
        assert_eq!(played(5, &[("Up", 0), ("Down", 60)]), "Up Down");
    }

    #[test]
    fn four_keys_reach_everything() {
        assert_eq!(played(4, &[("Escape", 0)]), "Left");
        assert_eq!(played(4, &[("Escape", 0), ("Escape", 300)]), "Right");
        assert_eq!(played(4, &[("Escape", 0), ("Escape", 500)]), "Left Left");
        assert_eq!(played(4, &[("Up", 0), ("Down", 100)]), "Left Right");
        assert_eq!(played(4, &[("Up", 0), ("Down", 200)]), "Up Down");
        assert_eq!(played(4, &[("Up", 0), ("Enter", 50)]), "Up Enter");
        let held = [("Up", 0), ("Up", 500), ("Up", 566), ("Up", 632)];
        assert_eq!(played(4, &held), "Up Up HUp HUp");
    }

    #[test]
    fn two_keys_reach_the_five() {
        assert_eq!(
            played(2, &[("Down", 0), ("Down", 1000), ("Down", 1300)]),
            "Down Up"
        );
        assert_eq!(
            played(2, &[("Enter", 0), ("Enter", 1000), ("Enter", 1300)]),
            "Enter Right"
        );
        assert_eq!(played(2, &[("Down", 0), ("Enter", 100)]), "Left");
    }

    #[test]
    fn a_key_held_can_be_another() {
        let map = KeyMap::parse("A=enter A~=right B=up C=down D=left").unwrap();
        let mut keypad = Keypad::new(map);
        let now = Duration::from_millis;
        assert_eq!(keypad.handle_key("A", now(0)), []);
        assert_eq!(
            keypad.handle_key("A", now(500)),
            [Event::Key(Right, Press::Down)]
        );
        assert_eq!(
            keypad.handle_key("A", now(566)),
            [Event::Key(Right, Press::Up), Event::Key(Right, Press::Down)]
        );
    }

    #[test]
    fn maps_are_refused_by_the_word_that_is_wrong() {
        let five = "Enter=enter Up=up Down=down Left=left";
        assert_eq!(KeyMap::parse(five), Err(KeyMapError::Missing("right")));
        for wrong in [
            "Right",
            "Right=write",
            "=right",
            "A+=right",
            "A+A=right",
            "A B",
        ] {
            let error = KeyMap::parse(&format!("{five} {wrong}")).unwrap_err();
            assert!(matches!(error, KeyMapError::Binding(_)), "{wrong}: {error}");
        }
        let error = KeyMap::parse(&format!("{five} X=right X*2=up X~=down")).unwrap_err();
        assert_eq!(error, KeyMapError::Twice("X~=down".into()));
        for keys in [2, 4, 5, 6] {
            assert!(KeyMap::of_panel(keys).unwrap().names().len() == usize::from(keys));
        }
        assert_eq!(KeyMap::of_panel(3), None);
    }

    proptest! {
        /// Whatever is heard, every key that goes down comes up.
        #[test]
        fn nothing_stays_down(
            panel in prop_oneof![Just(2u8), Just(4), Just(5), Just(6)],
            heard in proptest::collection::vec((0usize..6, 0u64..500), 0..40),
        ) {
            let names = ["Enter", "Up", "Down", "Left", "Right", "Escape"];
            let mut at = 0;
            let heard: Vec<(&str, u64)> = heard
                .into_iter()
                .map(|(name, wait)| { at += wait; (names[name], at) })
                .collect();
            played(panel, &heard);
        }
    }
}
