//! What can stand on the resting screen, and what a view wants done with itself.

use std::time::Duration;

use sonde_protocol::local::{Command, Setup};
use sonde_protocol::settings::Change;

use crate::busy::Busy;
use crate::draw::draw_text;
use crate::event::Key;
use crate::field::Input;
use crate::form::Form;
use crate::menu::Menu;
use crate::notice::Notice;
use crate::port_link::PortLink;
use crate::prompt::Prompt;
use crate::screen::{Glyph, Screen};
use crate::texts;

/// What a view may look at.
pub(crate) struct Context<'a> {
    pub(crate) setup: &'a Setup,
    pub(crate) now: Duration,
    pub(crate) columns: usize,
}

/// What stands on the resting screen.
#[derive(Clone, Debug)]
pub(crate) enum View {
    Menu(Menu),
    Prompt(Prompt),
    /// After the first of two UPs that quit.
    UpAgain,
    Form(Form),
    PortLink(PortLink),
    Notice(Notice),
    Busy(Busy),
    /// Takes the keys from another front.
    TakeOver,
}

/// What a view wants done.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Stay,
    /// The view is done.
    Close,
    /// Another view on top.
    Open(View),
    /// Back to the menu the procedure began in.
    Quit,
    /// Back to the resting screen.
    Rest,
    /// This sentence, then the resting screen.
    Say(&'static str),
    /// A person confirmed this.
    Ask(Ask),
    /// A person wants the keys.
    TakeKeys,
}

/// What was confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Apply(Change),
    Run(Command),
}

impl View {
    pub(crate) fn handle_input(&mut self, input: Input, context: &Context<'_>) -> Step {
        match self {
            View::Menu(menu) => menu.handle_input(input, context),
            View::Prompt(prompt) => prompt.handle_input(input, context),
            View::Form(form) => form.handle_input(input, context),
            View::PortLink(link) => link.handle_input(input, context),
            View::Notice(notice) if input == Input::Key(Key::Enter) => notice.next(context.now),
            View::UpAgain if input == Input::Key(Key::Up) => Step::Quit,
            View::UpAgain => Step::Close,
            View::TakeOver if input == Input::Key(Key::Enter) => Step::TakeKeys,
            View::TakeOver if matches!(input, Input::Key(_)) => Step::Close,
            View::Notice(_) | View::Busy(_) | View::TakeOver => Step::Stay,
        }
    }

    /// Time passed.
    pub(crate) fn handle_tick(&mut self, now: Duration) -> Step {
        match self {
            View::Notice(notice) => notice.handle_tick(now),
            View::Busy(busy) => busy.handle_tick(now),
            _ => Step::Stay,
        }
    }

    /// Whether held UP and DOWN act like pressed ones.
    pub(crate) fn repeats(&self) -> bool {
        matches!(self, View::Form(form) if form.repeats())
    }

    /// Whether what is entered here is nobody else's business.
    pub(crate) fn is_secret(&self) -> bool {
        matches!(self, View::Form(form) if form.is_secret())
    }

    pub(crate) fn draw(&self, context: &Context<'_>, screen: &mut Screen) {
        let still = |screen: &mut Screen, text, keys: &[Glyph]| {
            draw_text(screen, text, keys, Duration::ZERO);
        };
        match self {
            View::Menu(menu) => menu.draw(context, screen),
            View::Prompt(prompt) => prompt.draw(screen),
            View::Form(form) => form.draw(screen),
            View::PortLink(link) => link.draw(screen),
            View::Notice(notice) => notice.draw(context.now, screen),
            View::Busy(busy) => busy.draw(context.now, screen),
            View::UpAgain => still(screen, texts::UP_AGAIN, &[Glyph::Enter, Glyph::Up]),
            View::TakeOver => still(screen, texts::TAKE_OVER, &[Glyph::Enter, Glyph::Up]),
        }
    }
}
