//! What the Ethernet ports are held to: RIGHT and LEFT through the values, DOWN to the other port.

use sonde_protocol::settings::{Change, Link, Port, Settings, Wan};

use crate::event::Key;
use crate::field::Input;
use crate::prompt::Prompt;
use crate::screen::{Glyph, Screen};
use crate::texts::{self, LINKS};
use crate::view::{Ask, Context, Step, View};

/// The link of one port being chosen.
#[derive(Clone, Debug)]
pub(crate) struct PortLink {
    port: Port,
    /// In [`LINKS`].
    at: usize,
}

impl PortLink {
    /// The LAN port with what it is held to.
    pub(crate) fn new(settings: &Settings) -> PortLink {
        PortLink {
            port: Port::Lan,
            at: position(settings.lan_link),
        }
    }

    pub(crate) fn handle_input(&mut self, input: Input, context: &Context<'_>) -> Step {
        let settings = &context.setup.settings;
        match input {
            Input::Key(Key::Right) => self.at = (self.at + 1) % LINKS.len(),
            Input::Key(Key::Left) => self.at = (self.at + LINKS.len() - 1) % LINKS.len(),
            Input::Key(Key::Up) => return Step::Open(View::UpAgain),
            Input::Key(Key::Down) if settings.wan != Wan::Off || self.port == Port::Wan => {
                (self.port, self.at) = match self.port {
                    Port::Lan => (Port::Wan, position(settings.wan_link)),
                    Port::Wan => (Port::Lan, position(settings.lan_link)),
                };
            }
            Input::Key(Key::Enter) => {
                let (link, value) = LINKS[self.at];
                let change = Change::Link {
                    port: self.port,
                    link,
                };
                let question = texts::really_link(self.port, value);
                return Step::Open(View::Prompt(Prompt::back(question, Ask::Apply(change))));
            }
            _ => {}
        }
        Step::Stay
    }

    pub(crate) fn draw(&self, screen: &mut Screen) {
        let title = match self.port {
            Port::Lan => "LAN PORT LINK",
            Port::Wan => "WAN PORT LINK",
        };
        screen.write(0, 0, title);
        screen.write(1, 0, LINKS[self.at].1);
        screen.indicate(&[Glyph::Enter, Glyph::Right]);
    }
}

fn position(link: Link) -> usize {
    LINKS
        .iter()
        .position(|(value, _)| *value == link)
        .unwrap_or(0)
}
