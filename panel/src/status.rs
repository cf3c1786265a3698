//! The screen a panel rests on: boot messages, the activation code, what is wrong, or the idle screen.

use std::time::Duration;

use sonde_protocol::activation::grouped;
use sonde_protocol::local::{Phase, Status};

use crate::draw::{draw_text, moving_line};
use crate::event::Key;
use crate::screen::{Glyph, Screen};
use crate::{faults, texts};

/// Each boot message stays at least this long: a person reads it in that time.
const BOOT_STEP: Duration = Duration::from_millis(1200);
/// What alternates (code and check number, several errors) changes this often.
const FACE_TIME: Duration = Duration::from_secs(4);

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
        StatusView::starting(Duration::ZERO)
    }

    /// At power on, at `now`.
    pub(crate) fn starting(now: Duration) -> StatusView {
        StatusView {
            boot: Boot::Welcome,
            boot_since: now,
            face: 0,
            face_since: now,
            text_since: now,
        }
    }

    /// Whether the boot messages are over.
    pub(crate) fn is_up(&self) -> bool {
        self.boot == Boot::Done
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

    /// A key went down; whether it turned to another face.
    pub(crate) fn handle_key(&mut self, key: Key, status: Option<&Status>, now: Duration) -> bool {
        let faces = self.faces(status);
        if faces < 2 {
            return false;
        }
        let activation = matches!(status, Some(Status { errors, .. }) if errors.is_empty());
        match key {
            Key::Right if activation => self.turn_to((self.face + 1) % faces, now),
            Key::Down if !activation => self.turn_to((self.face + 1) % faces, now),
            Key::Up if !activation => self.turn_to((self.face + faces - 1) % faces, now),
            _ => return false,
        }
        true
    }

    /// Draws the screen for `status`. `menu`: ENTER opens one.
    pub(crate) fn draw(
        &self,
        status: Option<&Status>,
        now: Duration,
        menu: bool,
        screen: &mut Screen,
    ) {
        let moved = now.saturating_sub(self.text_since);
        let text = match self.boot {
            Boot::Welcome => texts::WELCOME,
            Boot::StartingUp => texts::STARTING_UP,
            Boot::FilesystemCheck => texts::FILESYSTEM_CHECK,
            Boot::ComingUp => texts::COMING_UP,
            Boot::Done => match status {
                None => texts::STARTING_UP,
                Some(status) => return self.draw_status(status, moved, menu, screen),
            },
        };
        draw_text(screen, text, &[], moved);
    }

    fn draw_status(&self, status: &Status, moved: Duration, menu: bool, screen: &mut Screen) {
        let enter: &[Glyph] = if menu { &[Glyph::Enter] } else { &[] };
        if !status.errors.is_empty() {
            let keys: &[Glyph] = match (status.errors.len() > 1, menu) {
                (true, true) => &[Glyph::Enter, Glyph::Down],
                (true, false) => &[Glyph::Up, Glyph::Down],
                (false, _) => enter,
            };
            let text = &status.errors[self.face % status.errors.len()];
            screen.note = faults::fault(text)
                .and_then(|fault| fault.code)
                .map(str::to_owned);
            return draw_text(screen, text, keys, moved);
        }
        match &status.phase {
            Phase::Starting => draw_text(screen, texts::COMING_UP, enter, moved),
            Phase::Contacting => draw_text(screen, texts::CONTACTING, enter, moved),
            Phase::CommunicationFailure => {
                draw_text(screen, texts::COMMUNICATION_FAILURE, enter, moved);
            }
            Phase::Activation { code, check_number } => {
                self.draw_activation(code, check_number, enter, screen);
            }
            Phase::Ready => draw_idle(status, moved, enter, screen),
        }
    }

    /// Code and check number do not fit one row of 16 with words beside them, and a bare number
    /// would be typed as part of the code. So they take turns, and RIGHT turns at once; with a third
    /// row both are shown, and a console shows the number below the display as well.
    fn draw_activation(
        &self,
        code: &str,
        check_number: &str,
        enter: &[Glyph],
        screen: &mut Screen,
    ) {
        let check = format!("Check no. {check_number}");
        screen.write(0, 0, texts::ACTIVATION_CODE);
        if screen.geometry().rows > 2 {
            screen.write(1, 0, &grouped(code));
            screen.write(2, 0, &check);
        } else {
            screen.write(1, 0, &if self.face == 0 { grouped(code) } else { check });
        }
        let mut keys = enter.to_vec();
        if screen.geometry().rows <= 2 {
            keys.push(Glyph::Right);
        }
        let room = screen
            .geometry()
            .columns
            .saturating_sub(texts::ACTIVATION_CODE.len());
        screen.indicate(&keys[..keys.len().min(room)]);
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
fn draw_idle(status: &Status, moved: Duration, enter: &[Glyph], screen: &mut Screen) {
    let columns = screen.geometry().columns;
    let beside = columns.saturating_sub(enter.len());
    screen.write(0, 0, &moving_line(&status.name, beside, moved));
    screen.indicate(enter);
    let address = status.lan_address.as_deref().unwrap_or("");
    let room = if screen.geometry().rows > 2 {
        columns
    } else {
        columns.saturating_sub(1)
    };
    screen.write(1, 0, &moving_line(address, room, moved));
    screen.indicate_cloud();
}
