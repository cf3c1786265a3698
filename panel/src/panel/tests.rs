//! Screens by a script of events on a virtual clock.

use insta::assert_snapshot;
use proptest::prelude::*;
use sonde_protocol::local::Phase;

use super::*;

fn status(phase: Phase) -> Status {
    Status {
        phase,
        name: "is_acme".into(),
        lan_address: Some("192.168.100.200".into()),
        lan_mac: Some("02:00:00:00:00:01".into()),
        errors: Vec::new(),
        scans_running: 0,
        updating: false,
    }
}

fn failing(errors: &[&str]) -> Status {
    Status {
        errors: errors.iter().map(|&e| e.to_owned()).collect(),
        ..status(Phase::Contacting)
    }
}

fn activation() -> Status {
    status(Phase::Activation {
        code: "BCDFGHJKLM".into(),
        check_number: "0042".into(),
    })
}

/// A panel and its clock.
struct Bench {
    panel: Panel,
    now: Duration,
}

impl Bench {
    fn new(geometry: Geometry) -> Bench {
        Bench {
            panel: Panel::new(geometry),
            now: Duration::ZERO,
        }
    }

    /// A panel past its boot messages, showing `status`.
    fn showing(geometry: Geometry, status: Status) -> Bench {
        let mut bench = Bench::new(geometry);
        bench.event(Event::Status(status));
        bench.wait(3000);
        bench
    }

    fn event(&mut self, event: Event) {
        self.panel.handle(event, self.now);
    }

    fn press(&mut self, key: Key) {
        self.event(Event::Key(key, Press::Down));
        self.event(Event::Key(key, Press::Up));
    }

    fn wait(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(100) {
            self.now += Duration::from_millis(100);
            self.event(Event::Tick);
        }
    }

    /// The rows between bars, so that blanks are seen.
    fn text(&self) -> String {
        let screen = self.panel.screen();
        let rows =
            (0..screen.geometry().rows).map(|row| format!("|{}|", screen.row(row, Glyph::ascii)));
        rows.collect::<Vec<_>>().join("\n")
    }

    /// The same on one line, words apart by one blank.
    fn words(&self) -> String {
        self.text()
            .replace('|', " ")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[test]
fn boot_messages_come_in_their_order_and_none_is_left_out() {
    let mut bench = Bench::new(Geometry::LCD_16X2);
    let mut seen = vec![bench.words()];
    let look = |bench: &Bench, seen: &mut Vec<String>| {
        if seen.last() != Some(&bench.words()) {
            seen.push(bench.words());
        }
    };
    bench.wait(5000);
    look(&bench, &mut seen);
    bench.event(Event::Status(status(Phase::Starting)));
    for _ in 0..50 {
        bench.wait(100);
        look(&bench, &mut seen);
    }
    for phase in [Phase::Contacting, Phase::Ready] {
        bench.event(Event::Status(status(phase)));
        bench.wait(100);
        look(&bench, &mut seen);
    }
    assert_eq!(
        seen,
        [
            texts::WELCOME,
            texts::STARTING_UP,
            texts::FILESYSTEM_CHECK,
            texts::COMING_UP,
            texts::CONTACTING,
            "is_acme 192.168.100.200@",
        ]
    );
}

#[test]
fn an_agent_that_was_there_first_is_shown_after_the_welcome() {
    let mut bench = Bench::new(Geometry::LCD_16X2);
    bench.event(Event::Status(status(Phase::Ready)));
    assert_eq!(bench.words(), texts::WELCOME);
    bench.wait(3000);
    assert_snapshot!(bench.text(), @r"
    |is_acme         |
    |192.168.100.200@|
    ");
}

#[test]
fn a_lost_agent_is_said_and_its_lights_go_out() {
    let mut bench = Bench::showing(
        Geometry::LCD_16X2,
        Status {
            scans_running: 2,
            updating: true,
            ..status(Phase::Ready)
        },
    );
    assert_eq!(
        bench.panel.screen().leds,
        Leds {
            scan: true,
            update: true
        }
    );
    bench.event(Event::LinkLost);
    assert_snapshot!(bench.text(), @r"
    |Sonde is        |
    |starting up...  |
    ");
    assert_eq!(bench.panel.screen().leds, Leds::default());
    bench.event(Event::Status(status(Phase::Ready)));
    bench.wait(1500);
    assert_eq!(bench.words(), "is_acme 192.168.100.200@");
}

#[test]
fn code_and_check_number_take_turns_on_two_rows() {
    let mut bench = Bench::showing(Geometry::LCD_16X2, activation());
    assert_snapshot!(bench.text(), @r"
    |ACTIVATION CODE>|
    |BCDF-GHJ-KLM    |
    ");
    assert_eq!(
        bench.panel.screen().note.as_deref(),
        Some("check number 0042")
    );
    bench.press(Key::Right);
    assert_snapshot!(bench.text(), @r"
    |ACTIVATION CODE>|
    |Check no. 0042  |
    ");
    bench.wait(4000);
    assert_eq!(bench.words(), "ACTIVATION CODE> BCDF-GHJ-KLM");
    bench.press(Key::Down);
    assert_eq!(bench.words(), "ACTIVATION CODE> BCDF-GHJ-KLM");
}

#[test]
fn code_and_check_number_stand_together_on_four_rows() {
    let bench = Bench::showing(Geometry::LCD_20X4, activation());
    assert_snapshot!(bench.text(), @r"
    |ACTIVATION CODE     |
    |BCDF-GHJ-KLM        |
    |Check no. 0042      |
    |                    |
    ");
}

#[test]
fn idle_screens_of_other_geometries_and_addresses() {
    assert_snapshot!(Bench::showing(Geometry::LCD_20X2, status(Phase::Ready)).text(), @r"
    |is_acme             |
    |192.168.100.200    @|
    ");
    assert_snapshot!(Bench::showing(Geometry::LCD_20X4, status(Phase::Ready)).text(), @r"
    |is_acme             |
    |192.168.100.200     |
    |                    |
    |                   @|
    ");
    let mut ipv6 = status(Phase::Ready);
    ipv6.lan_address = Some("2001:db8:100::abcd:5".into());
    let mut bench = Bench::showing(Geometry::LCD_16X2, ipv6);
    assert_snapshot!(bench.text(), @r"
    |is_acme         |
    |2001:db8:100::a@|
    ");
    bench.wait(3000);
    assert_snapshot!(bench.text(), @r"
    |is_acme         |
    |:db8:100::abcd:@|
    ");
}

#[test]
fn one_error_stands_and_several_take_turns_or_follow_the_keys() {
    let mut bench = Bench::showing(
        Geometry::LCD_16X2,
        failing(&["no CARRIER on LAN interface"]),
    );
    assert_snapshot!(bench.text(), @r"
    |no CARRIER on   |
    |LAN interface   |
    ");
    assert_eq!(bench.panel.screen().note.as_deref(), Some("E10"));
    bench.event(Event::Status(failing(&[
        "LAN has no DNS servers",
        "Account expired",
    ])));
    assert_snapshot!(bench.text(), @r"
    |LAN has no DNS^v|
    |servers         |
    ");
    bench.press(Key::Up);
    assert_snapshot!(bench.text(), @r"
    |Account       ^v|
    |expired         |
    ");
    assert_eq!(bench.panel.screen().note, None);
    bench.wait(4000);
    assert_eq!(bench.words(), "LAN has no DNS^v servers");
}

#[test]
fn a_text_with_a_row_too_many_moves_up() {
    let mut bench = Bench::showing(
        Geometry::LCD_16X2,
        failing(&["LAN DNS can't resolve cloud URL"]),
    );
    bench.event(Event::Status(failing(&["WAN DNS can't resolve cloud URL"])));
    assert_snapshot!(bench.text(), @r"
    |WAN DNS can't   |
    |resolve cloud   |
    ");
    bench.wait(2000);
    assert_snapshot!(bench.text(), @r"
    |resolve cloud   |
    |URL             |
    ");
}

#[test]
fn failed_polls_are_said_until_one_is_answered() {
    let mut bench = Bench::showing(Geometry::LCD_16X2, status(Phase::CommunicationFailure));
    assert_snapshot!(bench.text(), @r"
    |COMMUNICATION   |
    |FAILURE         |
    ");
    bench.event(Event::Status(status(Phase::Ready)));
    assert_eq!(bench.words(), "is_acme 192.168.100.200@");
}

#[test]
fn a_running_scan_lights_s1_and_asks_for_a_redraw_once() {
    let mut bench = Bench::showing(Geometry::LCD_16X2, status(Phase::Ready));
    let running = Status {
        scans_running: 1,
        ..status(Phase::Ready)
    };
    assert_eq!(
        bench
            .panel
            .handle(Event::Status(running.clone()), bench.now),
        [Action::Redraw]
    );
    assert_eq!(
        bench.panel.screen().leds,
        Leds {
            scan: true,
            update: false
        }
    );
    assert_eq!(bench.panel.handle(Event::Status(running), bench.now), []);
}

#[test]
fn pasted_keys_are_refused_with_a_message_and_typed_ones_are_not() {
    let mut bench = Bench::showing(Geometry::LCD_16X2, status(Phase::Ready));
    for _ in 0..40 {
        bench.now += Duration::from_millis(33); // a key left down on a keyboard
        bench.press(Key::Down);
    }
    assert_eq!(bench.words(), "is_acme 192.168.100.200@");
    for letter in "PROXY.EXAMPLE.ORG\n".chars() {
        bench.now += Duration::from_millis(1);
        bench.event(Event::Typed(letter));
    }
    assert_snapshot!(bench.text(), @r"
    |Too fast:      *|
    |nothing changed |
    ");
    bench.press(Key::Enter);
    assert_eq!(
        bench.words(),
        "Too fast: * nothing changed",
        "still part of the paste"
    );
    bench.wait(600);
    bench.press(Key::Enter);
    assert_eq!(bench.words(), "is_acme 192.168.100.200@");
}

#[test]
fn a_notice_goes_away_by_itself() {
    let mut bench = Bench::showing(Geometry::LCD_16X2, status(Phase::Ready));
    for _ in 0..10 {
        bench.event(Event::Typed('x'));
    }
    bench.wait(4800);
    assert_eq!(bench.words(), "Too fast: * nothing changed");
    bench.wait(400);
    assert_eq!(bench.words(), "is_acme 192.168.100.200@");
}

fn any_event() -> impl Strategy<Value = Event> {
    let key = prop_oneof![
        Just(Key::Enter),
        Just(Key::Right),
        Just(Key::Left),
        Just(Key::Up),
        Just(Key::Down)
    ];
    let press = prop_oneof![Just(Press::Down), Just(Press::Up), Just(Press::Held)];
    let phase = prop_oneof![
        Just(Phase::Starting),
        Just(Phase::Contacting),
        Just(Phase::Ready),
        Just(Phase::CommunicationFailure),
        (any::<String>(), any::<String>())
            .prop_map(|(code, check_number)| Phase::Activation { code, check_number }),
    ];
    let status = (
        phase,
        any::<String>(),
        any::<Option<String>>(),
        proptest::collection::vec(any::<String>(), 0..4),
        0u32..3,
    )
        .prop_map(|(phase, name, lan_address, errors, scans_running)| Status {
            phase,
            name,
            lan_address,
            lan_mac: None,
            errors,
            scans_running,
            updating: false,
        });
    prop_oneof![
        4 => (key, press).prop_map(|(key, press)| Event::Key(key, press)),
        2 => any::<char>().prop_map(Event::Typed),
        6 => Just(Event::Tick),
        4 => status.prop_map(Event::Status),
        1 => Just(Event::LinkLost),
    ]
}

proptest! {
    /// Any events, at any times, even out of order: no panic, nothing but printable cells, and the
    /// screen changes only together with a redraw.
    #[test]
    fn any_events_leave_a_whole_screen(
        columns in 0usize..24,
        rows in 0usize..5,
        events in proptest::collection::vec((any_event(), 0u64..20_000), 0..60),
    ) {
        let geometry = Geometry { columns, rows };
        let mut panel = Panel::new(geometry);
        let mut before = panel.screen().clone();
        for (event, now) in events {
            let actions = panel.handle(event, Duration::from_millis(now));
            let screen = panel.screen();
            prop_assert_eq!(screen.geometry(), geometry);
            prop_assert_eq!(actions.contains(&Action::Redraw), *screen != before);
            for row in 0..rows {
                let text = screen.row(row, Glyph::ascii);
                prop_assert_eq!(text.len(), columns);
                prop_assert!(text.bytes().all(|b| matches!(b, b' '..=b'~')));
            }
            prop_assert!(screen.cursor().is_none_or(|(row, column)| row < rows && column < columns));
            before = screen.clone();
        }
    }
}
