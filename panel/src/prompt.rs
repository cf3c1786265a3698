//! Questions: ENTER does it, UP does not; DOWN shows the next of several.

use std::time::Duration;

use crate::draw::draw_text;
use crate::event::Key;
use crate::field::Input;
use crate::form::{Form, Kind};
use crate::menu::Place;
use crate::screen::{Glyph, Screen};
use crate::texts;
use crate::view::{Ask, Context, Step, View};

/// A question and how often UP is pressed to get out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    text: &'static str,
    twice: bool,
}

impl Question {
    pub(crate) const fn once(text: &'static str) -> Question {
        Question { text, twice: false }
    }

    pub(crate) const fn twice(text: &'static str) -> Question {
        Question { text, twice: true }
    }
}

/// One or several questions, one of them shown.
#[derive(Clone, Debug)]
pub(crate) struct Prompt {
    choices: Vec<Choice>,
    at: usize,
    up: Up,
}

#[derive(Clone, Debug)]
struct Choice {
    text: String,
    then: Then,
}

/// What ENTER does.
#[derive(Clone, Debug)]
enum Then {
    Ask(Ask),
    Fill(Kind),
    Go(Place),
    Quit,
}

/// What UP does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Up {
    Quit,
    /// After a second one.
    QuitTwice,
    /// Back to the view below.
    Close,
}

impl Prompt {
    /// Asks before `ask`.
    pub(crate) fn question(question: Question, ask: Ask) -> Prompt {
        Prompt::one(question, Then::Ask(ask))
    }

    /// Leads to a form.
    pub(crate) fn opening(question: Question, kind: Kind) -> Prompt {
        Prompt::one(question, Then::Fill(kind))
    }

    /// Several things to ask for.
    pub(crate) fn list(
        asks: Vec<(&'static str, Ask)>,
        places: Vec<(&'static str, Place)>,
    ) -> Prompt {
        let asks = asks.into_iter().map(|(text, ask)| (text, Then::Ask(ask)));
        let places = places
            .into_iter()
            .map(|(text, place)| (text, Then::Go(place)));
        Prompt {
            choices: asks
                .chain(places)
                .map(|(text, then)| Choice {
                    text: text.to_owned(),
                    then,
                })
                .collect(),
            at: 0,
            up: Up::Quit,
        }
    }

    /// Asks before `ask`; UP goes back to the view below.
    pub(crate) fn back(text: String, ask: Ask) -> Prompt {
        Prompt {
            choices: vec![Choice {
                text,
                then: Then::Ask(ask),
            }],
            at: 0,
            up: Up::Close,
        }
    }

    /// The way out of a field.
    pub(crate) fn leave() -> Prompt {
        Prompt {
            choices: vec![Choice {
                text: texts::LEAVE.to_owned(),
                then: Then::Quit,
            }],
            at: 0,
            up: Up::Close,
        }
    }

    /// Whether this is the way out of a field.
    pub(crate) fn is_leave(&self) -> bool {
        matches!(
            self.choices[..],
            [Choice {
                then: Then::Quit,
                ..
            }]
        )
    }

    fn one(question: Question, then: Then) -> Prompt {
        Prompt {
            choices: vec![Choice {
                text: question.text.to_owned(),
                then,
            }],
            at: 0,
            up: if question.twice {
                Up::QuitTwice
            } else {
                Up::Quit
            },
        }
    }

    pub(crate) fn handle_input(&mut self, input: Input, context: &Context<'_>) -> Step {
        match input {
            Input::Key(Key::Enter) => match self.choices.get(self.at).map(|choice| &choice.then) {
                Some(Then::Ask(ask)) => Step::Ask(ask.clone()),
                Some(Then::Fill(kind)) => Step::Open(View::Form(Form::new(*kind, context))),
                Some(Then::Go(place)) => place.enter(context),
                Some(Then::Quit) | None => Step::Quit,
            },
            Input::Key(Key::Up) => match self.up {
                Up::Quit => Step::Quit,
                Up::QuitTwice => Step::Open(View::UpAgain),
                Up::Close => Step::Close,
            },
            Input::Key(Key::Down) if self.choices.len() > 1 => {
                self.at = (self.at + 1) % self.choices.len();
                Step::Stay
            }
            // Nothing was lost by coming here: any other arrow goes back to the field.
            Input::Key(_) if self.is_leave() => Step::Close,
            _ => Step::Stay,
        }
    }

    pub(crate) fn draw(&self, screen: &mut Screen) {
        let keys = if self.choices.len() > 1 {
            [Glyph::Enter, Glyph::Down]
        } else {
            [Glyph::Enter, Glyph::Up]
        };
        if let Some(choice) = self.choices.get(self.at) {
            draw_text(screen, &choice.text, &keys, Duration::ZERO);
        }
    }
}
