//! The panel as one state machine: events in, a screen and actions out.
//!
//! Views stand on a stack. The lowest is the resting screen and never leaves; what a person opens, or
//! what has to be said, stands on it until it is done. Keys go to the topmost view alone. Nothing
//! leaves as [`Action::Apply`] or [`Action::Run`] but by the ENTER that confirms it.

use std::time::Duration;

use sonde_protocol::local::{Command, Keys, Outcome, Setup, Status};
use sonde_protocol::settings::{Change, Settings};

use crate::busy::Busy;
use crate::event::{Action, Event, Key, Press};
use crate::field::Input;
use crate::menu::{List, Menu};
use crate::notice::{Notice, Then};
use crate::recorder::Recorder;
use crate::screen::{Geometry, Glyph, Leds, Screen};
use crate::status::StatusView;
use crate::texts;
use crate::view::{Ask, Context, Step, View};
use typist::{Admission, Typist};

mod typist;

/// Without a key for this long the panel goes back to the resting screen and forgets what was not
/// confirmed.
const IDLE_TIME: Duration = Duration::from_secs(300);
/// LEFT and RIGHT are together if the second goes down this soon after the first, which is still down.
const CHORD_TIME: Duration = Duration::from_millis(500);

/// A panel. Feed it every event with the time since its start; show [`Panel::screen`] whenever
/// it says so.
#[derive(Clone, Debug)]
pub struct Panel {
    status: Option<Status>,
    setup: Option<Setup>,
    keys: Keys,
    resting: StatusView,
    stack: Vec<View>,
    typist: Typist,
    /// Which of LEFT and RIGHT is down, and since when.
    down: Option<(Key, Duration)>,
    last_input: Duration,
    /// What the agent was asked and has not answered.
    pending: Option<Ask>,
    /// What was asked when the agent went away, and the settings before it.
    unsure: Option<(Change, Settings)>,
    recorder: Recorder,
    screen: Screen,
}

impl Panel {
    /// A panel at power on, for a display of this geometry.
    pub fn new(geometry: Geometry) -> Panel {
        let mut panel = Panel {
            status: None,
            setup: None,
            keys: Keys::Free,
            resting: StatusView::new(),
            stack: Vec::new(),
            typist: Typist::default(),
            down: None,
            last_input: Duration::ZERO,
            pending: None,
            unsure: None,
            recorder: Recorder::default(),
            screen: Screen::new(geometry),
        };
        panel.screen = panel.draw(Duration::ZERO);
        panel
    }

    /// What the display shows now.
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// What happened lately, as a flow that ends with the screen shown now ([`crate::flow`]). What was
    /// entered as a password is not in it.
    pub fn recording(&self) -> String {
        let secret = self.stack.last().is_some_and(View::is_secret);
        self.recorder.flow(&self.screen, secret)
    }

    /// Takes one event. `now` is the time since the panel's start.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        let secret = self.stack.last().is_some_and(View::is_secret);
        self.recorder.record(&event, now, secret);
        let tick = event == Event::Tick;
        self.handle_time(now);
        match event {
            Event::Key(key, press) => self.handle_key(key, press, now, &mut actions),
            Event::Typed(crate::event::CLEAR) => self.handle_input(Input::Clear, now, &mut actions),
            Event::Typed(c) => self.handle_input(Input::Typed(c), now, &mut actions),
            Event::Tick => {}
            Event::Status(status) => self.handle_status(status, now),
            Event::Setup(setup) => self.handle_setup(setup, now),
            Event::Keys(keys) => self.handle_keys(keys),
            Event::Answered(outcome) => self.handle_answer(outcome, now),
            Event::LinkLost => self.handle_link_lost(now),
        }
        self.handle_time(now);
        if self.stack.is_empty() {
            self.recorder.rest(now);
            if self.keys == Keys::Yours {
                self.keys = Keys::Free;
                actions.push(Action::ReleaseKeys);
            }
        }
        let screen = self.draw(now);
        if screen != self.screen {
            self.screen = screen;
            actions.push(Action::Redraw);
            if tick {
                self.recorder.record_tick(now);
            }
        }
        actions
    }

    fn handle_key(&mut self, key: Key, press: Press, now: Duration, actions: &mut Vec<Action>) {
        match press {
            Press::Up => {
                if self.down.is_some_and(|(down, _)| down == key) {
                    self.down = None;
                }
            }
            Press::Held => {
                let repeats = self.stack.last().is_some_and(View::repeats);
                if repeats && matches!(key, Key::Up | Key::Down) {
                    self.last_input = now;
                    self.deliver(Input::Repeat(key), false, now, actions);
                }
            }
            Press::Down => {
                let input = self.chord(key, now).unwrap_or(Input::Key(key));
                self.handle_input(input, now, actions);
            }
        }
    }

    /// LEFT and RIGHT together. The first of them may have opened the way out of the field.
    fn chord(&mut self, key: Key, now: Duration) -> Option<Input> {
        let other = match key {
            Key::Left => Key::Right,
            Key::Right => Key::Left,
            _ => return None,
        };
        let both = self
            .down
            .is_some_and(|(down, since)| down == other && now.saturating_sub(since) <= CHORD_TIME);
        self.down = Some((key, now));
        if !both {
            return None;
        }
        if matches!(self.stack.last(), Some(View::Prompt(prompt)) if prompt.is_leave()) {
            self.stack.pop();
        }
        Some(Input::Clear)
    }

    fn handle_input(&mut self, input: Input, now: Duration, actions: &mut Vec<Action>) {
        self.last_input = now;
        match self.typist.handle_input(now) {
            Admission::Taken { deliberate } => self.deliver(input, deliberate, now, actions),
            Admission::FirstRefused => self.refuse(now),
            Admission::Refused => {}
        }
    }

    /// Whatever was being entered is given up: half a pasted setting is worse than none.
    fn refuse(&mut self, now: Duration) {
        self.typist.refuse();
        if !matches!(self.stack.last(), Some(View::Busy(_))) {
            self.say(texts::TYPED_TOO_FAST, now);
        }
    }

    fn deliver(
        &mut self,
        input: Input,
        deliberate: bool,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let blank = Setup::default();
        let context = Context {
            setup: self.setup.as_ref().unwrap_or(&blank),
            now,
            columns: self.screen.geometry().columns,
        };
        let step = match self.stack.last_mut() {
            Some(view) => view.handle_input(input, &context),
            None => self.handle_resting(input, now),
        };
        match step {
            Step::Ask(_) if !deliberate => self.refuse(now),
            Step::Ask(ask) => self.ask(ask, now, actions),
            Step::TakeKeys => {
                self.keys = Keys::Yours;
                self.stack = vec![View::Menu(Menu::new(List::Main))];
                actions.push(Action::TakeKeys);
            }
            step => self.take(step, now),
        }
    }

    fn handle_resting(&mut self, input: Input, now: Duration) -> Step {
        let Input::Key(key) = input else {
            return Step::Stay;
        };
        if !self.has_menu() {
            self.resting.handle_key(key, self.status.as_ref(), now);
            return Step::Stay;
        }
        match key {
            Key::Enter if self.keys == Keys::Taken => Step::Open(View::TakeOver),
            _ if self.keys == Keys::Taken => Step::Stay,
            Key::Enter => Step::TakeKeys,
            _ if self.resting.handle_key(key, self.status.as_ref(), now) => Step::Stay,
            Key::Down => Step::TakeKeys,
            _ => Step::Stay,
        }
    }

    /// Whether a person can do anything here: there is an agent, and it says what is set.
    fn has_menu(&self) -> bool {
        self.status.is_some() && self.setup.is_some() && self.resting.is_up()
    }

    fn take(&mut self, step: Step, now: Duration) {
        match step {
            Step::Stay | Step::Ask(_) | Step::TakeKeys => {}
            Step::Open(view) => self.stack.push(view),
            Step::Close => _ = self.stack.pop(),
            Step::Quit => self.quit(),
            Step::Rest => self.stack.clear(),
            Step::Say(text) => self.say(text, now),
        }
    }

    /// Back to the menu the procedure began in.
    fn quit(&mut self) {
        while let Some(view) = self.stack.last() {
            if matches!(view, View::Menu(menu) if menu.is_home()) {
                return;
            }
            self.stack.pop();
        }
    }

    /// Nothing but this sentence, and then the resting screen.
    fn say(&mut self, text: &str, now: Duration) {
        self.stack = vec![View::Notice(Notice::new(
            [text.to_owned()],
            Then::Rest,
            now,
        ))];
    }

    fn ask(&mut self, ask: Ask, now: Duration, actions: &mut Vec<Action>) {
        if self.pending.is_some() {
            return self.say(texts::NO_ANSWER, now);
        }
        actions.push(match ask.clone() {
            Ask::Apply(change) => Action::Apply(change),
            Ask::Run(command) => Action::Run(command),
        });
        self.pending = Some(ask);
        self.stack.push(View::Busy(Busy::Waiting { since: now }));
    }

    fn handle_answer(&mut self, outcome: Outcome, now: Duration) {
        let Some(ask) = self.pending.take() else {
            return;
        };
        // The person may have gone, or lost the keys, meanwhile.
        if !matches!(self.stack.last(), Some(View::Busy(Busy::Waiting { .. }))) {
            return;
        }
        self.stack.pop();
        let canceled = match outcome {
            Outcome::Done { canceled_scans } | Outcome::Stored { canceled_scans } => canceled_scans,
            _ => 0,
        };
        let mut sentences: Vec<String> = Vec::new();
        if canceled > 0 {
            sentences.push(texts::CANCELING.to_owned());
        }
        let mut then = Then::Rest;
        match (&ask, outcome) {
            (Ask::Run(Command::Reboot), Outcome::Done { .. }) => {
                return self.stack.push(View::Busy(Busy::Rebooting { since: now }));
            }
            (Ask::Run(Command::Shutdown), Outcome::Done { .. }) => {
                let busy = Busy::ShuttingDown {
                    since: now,
                    ended: None,
                };
                return self.stack.push(View::Busy(busy));
            }
            (Ask::Run(_), Outcome::Done { .. }) => sentences.push(texts::RENEWING.to_owned()),
            (Ask::Apply(Change::Proxy(_)), Outcome::Done { .. }) => {
                sentences.push(texts::ENABLING_PROXY.to_owned());
            }
            (Ask::Apply(_), Outcome::Done { .. }) => sentences.push(texts::SAVED.to_owned()),
            (_, Outcome::Stored { .. }) => sentences.push(texts::STORED.to_owned()),
            (_, Outcome::NotManaged) => {
                sentences.push(texts::NOT_MANAGED.to_owned());
                then = Then::Quit;
            }
            (_, Outcome::Refused(reason)) => {
                sentences.push(reason);
                then = Then::Close;
            }
            (_, Outcome::Setup(_)) => return self.quit(),
        }
        if then == Then::Rest && matches!(ask, Ask::Apply(Change::Link { .. })) {
            // The guide goes on to the other port.
            self.stack.pop();
            then = Then::Close;
        }
        self.stack
            .push(View::Notice(Notice::new(sentences, then, now)));
    }

    fn handle_status(&mut self, status: Status, now: Duration) {
        let changed = self
            .status
            .as_ref()
            .is_none_or(|old| shown(old) != shown(&status));
        if self.status.is_none() && matches!(self.stack.last(), Some(View::Busy(_))) {
            // The machine was ending, and is back.
            self.stack.clear();
        }
        self.status = Some(status);
        if changed {
            self.resting.handle_change(now);
        }
    }

    fn handle_setup(&mut self, setup: Setup, now: Duration) {
        if let Some((change, before)) = self.unsure.take() {
            let stored = before
                .with(&change)
                .is_ok_and(|after| after.redacted() == setup.settings);
            self.say(
                if stored {
                    texts::SAVED
                } else {
                    texts::NOT_SAVED
                },
                now,
            );
        }
        self.setup = Some(setup);
    }

    fn handle_keys(&mut self, keys: Keys) {
        let opened_here = keys == Keys::Free && self.keys == Keys::Yours && !self.stack.is_empty();
        if opened_here {
            // Said before the agent heard that the menu was opened here.
            return;
        }
        if keys == Keys::Taken && !matches!(self.stack.last(), Some(View::Busy(_))) {
            self.stack.clear();
        }
        self.keys = keys;
    }

    fn handle_link_lost(&mut self, now: Duration) {
        self.status = None;
        let setup = self.setup.take();
        self.keys = Keys::Free;
        if let (Some(Ask::Apply(change)), Some(setup)) = (self.pending.take(), setup) {
            self.unsure = Some((change, setup.settings));
        }
        match self.stack.last_mut() {
            Some(View::Busy(Busy::ShuttingDown { ended, .. })) => *ended = ended.or(Some(now)),
            Some(View::Busy(Busy::Rebooting { .. })) => {
                self.stack.clear();
                self.resting = StatusView::starting(now);
            }
            _ => {
                self.stack.clear();
                self.resting.handle_link_lost(now);
            }
        }
    }

    fn handle_time(&mut self, now: Duration) {
        let refusing = self.typist.handle_tick(now);
        let step = match self.stack.last_mut() {
            Some(View::Notice(notice)) if refusing && notice.is_refusal() => Step::Stay,
            Some(view) => view.handle_tick(now),
            None => Step::Stay,
        };
        self.take(step, now);
        let busy = matches!(self.stack.last(), Some(View::Busy(_)));
        if !busy && now.saturating_sub(self.last_input) >= IDLE_TIME {
            self.stack.clear();
        }
        self.resting.handle_tick(self.status.as_ref(), now);
    }

    fn draw(&self, now: Duration) -> Screen {
        let mut screen = Screen::new(self.screen.geometry());
        if let Some(status) = &self.status {
            screen.leds = Leds {
                scan: status.scans_running > 0,
                update: status.updating,
            };
            screen.mac = status.lan_mac.clone();
        }
        let blank = Setup::default();
        let context = Context {
            setup: self.setup.as_ref().unwrap_or(&blank),
            now,
            columns: screen.geometry().columns,
        };
        match self.stack.last() {
            Some(view) => view.draw(&context, &mut screen),
            None if self.keys == Keys::Taken && self.has_menu() => {
                crate::draw::draw_text(&mut screen, texts::IN_USE, &[Glyph::Enter], Duration::ZERO);
            }
            None => {
                let status = self.status.as_ref();
                self.resting.draw(status, now, self.has_menu(), &mut screen);
            }
        }
        screen
    }
}

/// The part of a status that decides which text the resting screen shows.
fn shown(status: &Status) -> impl PartialEq + '_ {
    (
        &status.phase,
        &status.name,
        &status.lan_address,
        &status.errors,
    )
}

#[cfg(test)]
mod tests;
