//! The screen a panel rests on: boot messages, the activation code, what is wrong, or the idle screen.

use std::time::Duration;

use sonde_protocol::activation::grouped;
use sonde_protocol::local::{Phase, Status};

use crate::event::Key;
use crate::screen::{Glyph, Screen};
use crate::texts;
use crate::wrap::wrap;

/// Each boot message stays at least this long: a person reads it in that time.
const BOOT_STEP: Duration = Duration::from_millis(1200);
/// What alternates (code and check number, several errors) changes this often.
const FACE_TIME: Duration = Duration::from_secs(4);
/// A text with more rows than the display moves up by one row this often.
const ROW_TIME: Duration = Duration::from_secs(2);
/// A line wider than the display moves left by one cell this often.
const CELL_TIME: Duration = Duration::from_millis(400);
/// Blanks between the end of a moving line and its next beginning.
const LINE_GAP: usize = 3;

/// Where the box is on its way from power on to its first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Boot {
    Welcome,
    StartingUp,
    FilesystemCheck,
    ComingUp,
    Done,
}

/// The resting screen's own memory.
#[derive(Clone, Debug)]
pub(crate) struct StatusView {
    boot: Boot,
    /// When the boot message shown now came up.
    boot_since: Duration,
    /// Which of several faces is shown, and since when.
    face: usize,
    face_since: Duration,
    /// Since when the text shown has been there: moving lines start then.
    text_since: Duration,
}

impl StatusView {
    pub(crate) fn new() -> StatusView {
        let zero = Duration::ZERO;
        StatusView {
            boot: Boot::Welcome,
            boot_since: zero,
            face: 0,
            face_since: zero,
            text_since: zero,
        }
    }

    /// The agent went away: the box is as if starting, but not from power on.
    pub(crate) fn handle_link_lost(&mut self, now: Duration) {
        if self.boot == Boot::Done {
            self.enter(Boot::StartingUp, now);
        }
    }

    /// What is shown became another text: moving lines and alternating faces start anew.
    pub(crate) fn handle_change(&mut self, now: Duration) {
        self.turn_to(0, now);
    }

    /// Time passed.
    pub(crate) fn handle_tick(&mut self, status: Option<&Status>, now: Duration) {
        self.advance_boot(status, now);
        let faces = self.faces(status);
        if faces > 1 && now.saturating_sub(self.face_since) >= FACE_TIME {
            self.turn_to((self.face + 1) % faces, now);
        }
    }

    /// A key went down.
    pub(crate) fn handle_key(&mut self, key: Key, status: Option<&Status>, now: Duration) {
        let faces = self.faces(status);
        if faces < 2 {
            return;
        }
        let activation = matches!(status, Some(Status { errors, .. }) if errors.is_empty());
        match key {
            Key::Right if activation => self.turn_to((self.face + 1) % faces, now),
            Key::Down if !activation => self.turn_to((self.face + 1) % faces, now),
            Key::Up if !activation => self.turn_to((self.face + faces - 1) % faces, now),
            _ => {}
        }
    }

    /// Draws the screen for `status`.
    pub(crate) fn draw(&self, status: Option<&Status>, now: Duration, screen: &mut Screen) {
        let moved = now.saturating_sub(self.text_since);
        let text = match self.boot {
            Boot::Welcome => texts::WELCOME,
            Boot::StartingUp => texts::STARTING_UP,
            Boot::FilesystemCheck => texts::FILESYSTEM_CHECK,
            Boot::ComingUp => texts::COMING_UP,
            Boot::Done => match status {
                None => texts::STARTING_UP,
                Some(status) => return self.draw_status(status, moved, screen),
            },
        };
        draw_text(screen, text, &[], moved);
    }

    fn draw_status(&self, status: &Status, moved: Duration, screen: &mut Screen) {
        if !status.errors.is_empty() {
            let keys: &[Glyph] = if status.errors.len() > 1 {
                &[Glyph::Up, Glyph::Down]
            } else {
                &[]
            };
            let text = &status.errors[self.face % status.errors.len()];
            screen.note = texts::fault(text)
                .and_then(|fault| fault.code)
                .map(str::to_owned);
            return draw_text(screen, text, keys, moved);
        }
        match &status.phase {
            Phase::Starting => draw_text(screen, texts::COMING_UP, &[], moved),
            Phase::Contacting => draw_text(screen, texts::CONTACTING, &[], moved),
            Phase::CommunicationFailure => {
                draw_text(screen, texts::COMMUNICATION_FAILURE, &[], moved);
            }
            Phase::Activation { code, check_number } => {
                self.draw_activation(code, check_number, screen);
            }
            Phase::Ready => draw_idle(status, moved, screen),
        }
    }

    /// Code and check number do not fit one row of 16 with words beside them, and a bare number
    /// would be typed as part of the code. So they take turns, and RIGHT turns at once; with a third
    /// row both are shown, and a console shows the number below the display as well.
    fn draw_activation(&self, code: &str, check_number: &str, screen: &mut Screen) {
        let check = format!("Check no. {check_number}");
        screen.write(0, 0, texts::ACTIVATION_CODE);
        if screen.geometry().rows > 2 {
            screen.write(1, 0, &grouped(code));
            screen.write(2, 0, &check);
        } else {
            screen.write(1, 0, &if self.face == 0 { grouped(code) } else { check });
            screen.indicate(&[Glyph::Right]);
        }
        screen.note = Some(format!("check number {check_number}"));
    }

    fn faces(&self, status: Option<&Status>) -> usize {
        match status {
            Some(status) if self.boot == Boot::Done => match &status.phase {
                _ if !status.errors.is_empty() => status.errors.len(),
                Phase::Activation { .. } => 2,
                _ => 1,
            },
            _ => 1,
        }
    }

    fn turn_to(&mut self, face: usize, now: Duration) {
        self.face = face;
        self.face_since = now;
        self.text_since = now;
    }

    fn enter(&mut self, boot: Boot, now: Duration) {
        self.boot = boot;
        self.boot_since = now;
        self.turn_to(0, now);
    }

    fn advance_boot(&mut self, status: Option<&Status>, now: Duration) {
        if self.boot == Boot::Done || now.saturating_sub(self.boot_since) < BOOT_STEP {
            return;
        }
        let starting = status.map(|status| status.phase == Phase::Starting);
        match (self.boot, starting) {
            (Boot::Welcome, _) => self.enter(Boot::StartingUp, now),
            (Boot::StartingUp, Some(true)) => self.enter(Boot::FilesystemCheck, now),
            (Boot::FilesystemCheck, _) => self.enter(Boot::ComingUp, now),
            (Boot::StartingUp | Boot::ComingUp, Some(false)) => self.enter(Boot::Done, now),
            _ => {}
        }
    }
}

/// The name on the first row, the address on the second, the cloud's sign in the last cell.
fn draw_idle(status: &Status, moved: Duration, screen: &mut Screen) {
    let columns = screen.geometry().columns;
    screen.write(0, 0, &moving_line(&status.name, columns, moved));
    let address = status.lan_address.as_deref().unwrap_or("");
    let room = if screen.geometry().rows > 2 {
        columns
    } else {
        columns.saturating_sub(1)
    };
    screen.write(1, 0, &moving_line(address, room, moved));
    screen.indicate_cloud();
}

/// A text wrapped at words; what has more rows than the display moves up row by row.
pub(crate) fn draw_text(screen: &mut Screen, text: &str, keys: &[Glyph], moved: Duration) {
    let geometry = screen.geometry();
    let lines = wrap(
        text,
        geometry.columns.saturating_sub(keys.len()),
        geometry.columns,
    );
    let positions = lines.len().saturating_sub(geometry.rows) + 1;
    let skipped = steps(moved, ROW_TIME) % positions;
    for (row, line) in lines.iter().skip(skipped).take(geometry.rows).enumerate() {
        screen.write(row, 0, line);
    }
    screen.indicate(keys);
}

/// The part of `text` that a window of `width` cells shows: all of it, or a part moving left in a ring.
fn moving_line(text: &str, width: usize, moved: Duration) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= width {
        return text.to_owned();
    }
    let ring: Vec<char> = letters
        .into_iter()
        .chain(std::iter::repeat_n(' ', LINE_GAP))
        .collect();
    let first = steps(moved.saturating_sub(ROW_TIME), CELL_TIME) % ring.len();
    ring.iter().cycle().skip(first).take(width).collect()
}

fn steps(passed: Duration, step: Duration) -> usize {
    usize::try_from(passed.as_millis() / step.as_millis()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_fits_stands_still_and_a_longer_one_moves_in_a_ring() {
        let at = |ms| moving_line("2001:db8::100:5", 12, Duration::from_millis(ms));
        assert_eq!(
            moving_line("10.0.0.5", 12, Duration::from_secs(9)),
            "10.0.0.5"
        );
        assert_eq!(at(0), "2001:db8::10");
        assert_eq!(at(2000), "2001:db8::10");
        assert_eq!(at(2400), "001:db8::100");
        assert_eq!(at(2000 + 400 * 14), "5   2001:db8");
        assert_eq!(at(2000 + 400 * 18), "2001:db8::10");
    }
}
