//! What no order of keys may do: a million of them, at any times, with an agent that comes and goes.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use sonde_panel::event::{Action, Event, Key, Press};
use sonde_panel::flow::Machine;
use sonde_panel::panel::Panel;
use sonde_panel::picture::Picture;
use sonde_panel::screen::{Geometry, Glyph};
use sonde_panel::texts;
use sonde_protocol::settings::{Change, Mode};

const EVENTS: u32 = 1_000_000;
/// So often somebody looks for the way out.
const EXIT_EVERY: u32 = 500;
/// A person who knows where to go gets there in fewer keys: the longest field has 253 characters.
const EXIT_KEYS_MAX: u32 = 700;

/// Numbers that look random and are the same in every run (xorshift64*, Vigna 2016).
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

/// A panel, its agent, and the time.
#[derive(Clone)]
struct World {
    panel: Panel,
    machine: Machine,
    now: Duration,
}

/// What may be seen of many worlds.
#[derive(Default)]
struct Seen {
    words: BTreeSet<String>,
    changes: BTreeSet<&'static str>,
}

impl World {
    fn new(geometry: Geometry, mode: Mode) -> World {
        let mut machine = Machine::default();
        if mode == Mode::Ipv6Only {
            machine.given("ipv6-only").unwrap();
        }
        World {
            panel: Panel::new(geometry),
            machine,
            now: Duration::ZERO,
        }
    }

    fn words(&self) -> String {
        Picture::of(self.panel.screen()).words()
    }

    fn told(&mut self, words: &str, seen: &mut Seen) {
        for event in self.machine.told(words).unwrap() {
            self.event(event, seen);
        }
    }

    /// One event, everything that follows from it, and what must hold then.
    fn event(&mut self, event: Event, seen: &mut Seen) {
        let mut queue = std::collections::VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            let before = self.words();
            for action in self.panel.handle(event.clone(), self.now) {
                match &action {
                    Action::Apply(change) => {
                        assert_eq!(event, Event::Key(Key::Enter, Press::Down), "{change:?}");
                        assert_eq!(change.check(), Ok(()), "not whole");
                        assert!(
                            confirms(&before, change),
                            "{before:?} does not ask for {change:?}"
                        );
                        seen.changes.insert(kind(change));
                    }
                    Action::Run(_) => assert_eq!(event, Event::Key(Key::Enter, Press::Down)),
                    Action::Redraw | Action::TakeKeys | Action::ReleaseKeys => {}
                }
                queue.extend(self.machine.answer(&action));
            }
            self.check();
        }
    }

    fn check(&self) {
        let screen = self.panel.screen();
        let Geometry { columns, rows } = screen.geometry();
        for row in 0..rows {
            let text = screen.row(row, Glyph::ascii);
            assert_eq!(text.len(), columns);
            assert!(text.bytes().all(|b| matches!(b, b' '..=b'~')), "{text}");
        }
        let cursor = screen.cursor();
        assert!(cursor.is_none_or(|(row, column)| row < rows && column < columns));
    }

    fn press(&mut self, key: Key, seen: &mut Seen) {
        self.event(Event::Key(key, Press::Down), seen);
        self.event(Event::Key(key, Press::Up), seen);
    }

    /// What a person does who wants `EXIT THIS MENU`, wherever this is. None of it confirms anything.
    fn find_exit(mut self, seen: &mut Seen) {
        let changed = seen.changes.clone();
        // Whatever was said, or pasted, is over; the agent is there.
        self.now += Duration::from_secs(70);
        self.event(Event::Tick, seen);
        for words in ["back", "ready"] {
            self.told(words, seen);
        }
        let mut path = Vec::new();
        let mut stuck = false;
        for _ in 0..EXIT_KEYS_MAX {
            self.now += Duration::from_millis(1300);
            self.event(Event::Tick, seen);
            let before = self.panel.screen().clone();
            let words = self.words();
            if words == texts::EXIT_THIS_MENU {
                assert_eq!(seen.changes, changed);
                return;
            }
            let key = way_out(&words, stuck);
            self.press(key, seen);
            stuck = key == Key::Left && *self.panel.screen() == before;
            path.push((words, key));
        }
        panic!("no way out: {:?}", &path[path.len() - 12..]);
    }
}

/// Which key leads on to `EXIT THIS MENU`.
fn way_out(words: &str, stuck: bool) -> Key {
    let question = |text: &str| texts::QUESTIONS.contains(&text) || text.starts_with("REALLY SET ");
    let is_field = |text: &str| texts::TITLES.iter().any(|title| text.starts_with(title));
    match words {
        // A list of two inside of a procedure: by way of one of its questions.
        texts::ENABLE_DHCP_WAN | texts::ENABLE_STATIC_WAN | texts::CHANGE_STATIC_WAN => Key::Enter,
        texts::RENEW_DHCP_WAN => Key::Up,
        words if texts::ENTRIES.contains(&words) => Key::Down,
        words if question(words) || words == texts::UP_AGAIN => Key::Up,
        words if words.starts_with(texts::DONE_EDITING) => Key::Up,
        words if words.starts_with(texts::INSERT_CHARACTER) => Key::Down,
        words if words.starts_with(texts::DELETE_PREVIOUS) => Key::Down,
        words if words.contains("PORT LINK") => Key::Up,
        // While characters are inserted LEFT leads nowhere in the end, and ENTER ends that.
        words if is_field(words) && !stuck => Key::Left,
        _ => Key::Enter,
    }
}

/// Whether a screen asks for this change.
fn confirms(words: &str, change: &Change) -> bool {
    match change {
        Change::LanDhcp => words == texts::REALLY_DHCP_LAN,
        Change::LanStatic(_) => words == texts::REALLY_STATIC_LAN,
        Change::LanIpv6Auto(_) => words == texts::REALLY_AUTO_IPV6,
        Change::LanIpv6Static(_) => words == texts::REALLY_STATIC_IPV6,
        Change::Vlan(vlan) => {
            let tag = format!("VLAN 0-4094 {:04}", vlan.map_or(0, |vlan| vlan.id()));
            words.starts_with(&tag)
        }
        Change::WanOff => words == texts::REALLY_DISABLE_WAN,
        Change::WanDhcp => words == texts::REALLY_DHCP_WAN,
        Change::WanStatic(_) => words == texts::REALLY_STATIC_WAN,
        Change::Proxy(_) => words == texts::REALLY_ENABLE_PROXY,
        Change::ProxyOff => words == texts::REALLY_DISABLE_PROXY,
        Change::Link { port, link } => texts::LINKS
            .iter()
            .any(|(value, name)| value == link && words == texts::really_link(*port, name)),
        Change::Reset(mode) => {
            let other = match mode {
                Mode::Ipv6Only => texts::RESET_TO_IPV6_ONLY,
                Mode::Ipv4Ipv6 => texts::RESET_TO_IPV4_IPV6,
            };
            words == texts::REALLY_RESET || words == other
        }
    }
}

fn kind(change: &Change) -> &'static str {
    match change {
        Change::LanDhcp => "lan-dhcp",
        Change::LanStatic(_) => "lan-static",
        Change::LanIpv6Auto(_) => "lan-ipv6-auto",
        Change::LanIpv6Static(_) => "lan-ipv6-static",
        Change::Vlan(_) => "vlan",
        Change::WanOff => "wan-off",
        Change::WanDhcp => "wan-dhcp",
        Change::WanStatic(_) => "wan-static",
        Change::Proxy(_) => "proxy",
        Change::ProxyOff => "proxy-off",
        Change::Link { .. } => "link",
        Change::Reset(_) => "reset",
    }
}

/// Keys mostly, at the pace of a person mostly.
fn throw(dice: &mut Dice, world: &mut World, seen: &mut Seen) {
    let pause = match dice.below(2000) {
        0 => 400_000,
        1..=20 => 6_000,
        21..=40 => 1,
        _ => 60 + dice.below(150),
    };
    world.now += Duration::from_millis(pause);
    let key = [
        Key::Enter,
        Key::Enter,
        Key::Down,
        Key::Down,
        Key::Right,
        Key::Left,
        Key::Up,
    ][usize::try_from(dice.below(7)).unwrap()];
    match dice.below(1000) {
        0..600 => world.press(key, seen),
        600..610 => world.event(Event::Key(key, Press::Down), seen),
        610..620 => world.event(Event::Key(key, Press::Held), seen),
        620..850 => {
            let digit = char::from(b'0' + u8::try_from(dice.below(3)).unwrap());
            world.event(Event::Typed(digit), seen);
        }
        850..900 => {
            let any = char::from_u32(u32::try_from(dice.below(0x180)).unwrap());
            world.event(Event::Typed(any.unwrap()), seen);
        }
        900..960 => {
            for c in "2001:db8::5".chars() {
                world.now += Duration::from_millis(60);
                world.event(Event::Typed(c), seen);
            }
        }
        960..996 => world.event(Event::Tick, seen),
        996 => world.told(
            ["lost", "communication-failure"][usize::try_from(dice.below(2)).unwrap()],
            seen,
        ),
        997 => world.told(
            ["keys \"taken\"", "keys \"free\""][usize::try_from(dice.below(2)).unwrap()],
            seen,
        ),
        998 => world.told(
            "errors [\"LAN has no DNS servers\",\"Account expired\"]",
            seen,
        ),
        _ => world.told("back", seen),
    }
}

#[test]
fn a_million_keys_break_nothing_and_change_nothing_unasked() {
    let geometries = [Geometry::LCD_16X2, Geometry::LCD_20X2, Geometry::LCD_20X4];
    let mut seen = Seen::default();
    let worlds = geometries.len() * 2;
    let each = EVENTS / u32::try_from(worlds).unwrap() + 1;
    let started = Instant::now();
    for (index, geometry) in geometries.iter().cycle().take(worlds).enumerate() {
        let mode = if index < geometries.len() {
            Mode::Ipv4Ipv6
        } else {
            Mode::Ipv6Only
        };
        let mut world = World::new(*geometry, mode);
        let mut dice = Dice(0x5eed + u64::try_from(index).unwrap());
        world.told("back", &mut seen);
        for at in 0..each {
            throw(&mut dice, &mut world, &mut seen);
            if at % EXIT_EVERY == 0 {
                world.clone().find_exit(&mut seen);
                let words = world.words();
                seen.words.insert(words);
            }
        }
    }
    println!(
        "{EVENTS} inputs in {:?}, {:?}",
        started.elapsed(),
        seen.changes
    );
    // Nothing was proven by keys that never came anywhere.
    assert!(
        seen.words.len() > 100,
        "{} different screens",
        seen.words.len()
    );
    assert_eq!(seen.changes.len(), 12, "{:?}", seen.changes);
}
