//! Any status, any keys, any clock: the panel draws something, and nothing it draws moves a cursor.

#![no_main]

use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use sonde_fuzz::choices::Choices;
use sonde_panel::event::{Event, Key, Press};
use sonde_panel::panel::Panel;
use sonde_panel::screen::{Cell, Geometry, Screen};
use sonde_panel::vt100::{Charset, Renderer};
use sonde_protocol::local::{Phase, Status};

const EVENTS_MAX: usize = 32;
/// Bytes that decide the display and when events come: one, and three an event.
const TIMES: usize = 1 + 3 * EVENTS_MAX;

fuzz_target!(|bytes: &[u8]| {
    // A status as it comes, one a line.
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(status) = serde_json::from_slice::<Status>(line) {
            drive(vec![Event::Status(status)], &mut Choices::new(line));
        }
    }
    // Statuses made of the bytes, and what else happens.
    let (times, rest) = bytes.split_at(bytes.len().min(TIMES));
    let (mut times, mut choices) = (Choices::new(times), Choices::new(rest));
    let mut events = Vec::new();
    while !choices.is_over() && events.len() < EVENTS_MAX {
        events.push(event(&mut choices));
    }
    drive(events, &mut times);
});

fn event(choices: &mut Choices<'_>) -> Event {
    let keys = [Key::Enter, Key::Right, Key::Left, Key::Up, Key::Down];
    match choices.byte() % 8 {
        0..=2 => Event::Key(
            *choices.of(&keys),
            *choices.of(&[Press::Down, Press::Up, Press::Held]),
        ),
        3 => Event::Typed(char::from(choices.byte())),
        4 => Event::LinkLost,
        5 => Event::Tick,
        _ => Event::Status(status(choices)),
    }
}

fn status(choices: &mut Choices<'_>) -> Status {
    let text = |choices: &mut Choices<'_>| String::from_utf8_lossy(choices.bytes(40)).into_owned();
    let phase = match choices.byte() % 5 {
        0 => Phase::Ready,
        1 => Phase::Starting,
        2 => Phase::Contacting,
        3 => Phase::CommunicationFailure,
        _ => Phase::Activation {
            code: text(choices),
            check_number: text(choices),
        },
    };
    let status = Status {
        phase,
        name: text(choices),
        lan_address: (choices.byte() % 4 != 3).then(|| text(choices)),
        lan_mac: (choices.byte() % 4 != 3).then(|| text(choices)),
        errors: (0..choices.byte() % 4).map(|_| text(choices)).collect(),
        scans_running: choices.byte().into(),
        updating: choices.byte() % 2 == 1,
    };
    let json = serde_json::to_vec(&status).expect("a status is JSON");
    assert!(!json.contains(&b'\n'), "a status is one line");
    assert_eq!(
        serde_json::from_slice::<Status>(&json).ok().as_ref(),
        Some(&status)
    );
    status
}

fn drive(events: Vec<Event>, choices: &mut Choices<'_>) {
    let shapes = [Geometry::LCD_16X2, Geometry::LCD_20X2, Geometry::LCD_20X4];
    let mut panel = Panel::new(*choices.of(&shapes));
    let mut fronts =
        [Charset::Ascii, Charset::Unicode].map(|set| (set, Renderer::new(set, "help")));
    let mut now = Duration::ZERO;
    for event in events {
        // Past the boot messages, alternating faces and moving lines.
        let pass = [0, 100, 1200, 5000, 60_000][choices.below(5)];
        now += Duration::from_millis(pass);
        panel.handle(Event::Tick, now);
        look_at(panel.screen(), &mut fronts);
        now += Duration::from_millis(choices.word().into());
        panel.handle(event, now);
        look_at(panel.screen(), &mut fronts);
    }
    // A clock at its end, and one that goes back.
    for end in [Duration::MAX, Duration::ZERO] {
        panel.handle(Event::Tick, end);
        look_at(panel.screen(), &mut fronts);
    }
}

fn look_at(screen: &Screen, fronts: &mut [(Charset, Renderer)]) {
    let Geometry { columns, rows } = screen.geometry();
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        if let Cell::Letter(letter) = screen.cell(row, column) {
            assert!(matches!(letter, ' '..='~'), "{letter:?} at {row}, {column}");
        }
    }
    for (charset, renderer) in fronts {
        let bytes = renderer.render(screen);
        let text = String::from_utf8(bytes).expect("what is shown is UTF-8");
        shown(&text, *charset);
    }
}

/// Every escape sequence is one of ours, and all between them is printable.
fn shown(text: &str, charset: Charset) {
    let mut pieces = text.split('\x1b');
    let plain = |piece: &str| {
        let seven = charset == Charset::Unicode || piece.is_ascii();
        assert!(
            seven && !piece.contains(char::is_control),
            "{piece:?} of {text:?}"
        );
    };
    plain(pieces.next().unwrap_or_default());
    for piece in pieces {
        let sequence = piece
            .strip_prefix('[')
            .unwrap_or_else(|| panic!("ESC {piece:?}"));
        let end = sequence
            .find(|c: char| c.is_ascii_alphabetic())
            .unwrap_or(sequence.len());
        let (parameters, after) = sequence.split_at(end);
        let ours = match after.chars().next() {
            Some('H') => parameters.chars().all(|c| matches!(c, '0'..='9' | ';')),
            Some('J') => parameters == "2",
            Some('h' | 'l') => parameters == "?25",
            _ => false,
        };
        assert!(ours, "ESC {piece:?}");
        plain(&after[1..]);
    }
}
