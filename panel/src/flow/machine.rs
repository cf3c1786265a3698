//! The box behind a panel in a flow: what it says, and how it answers.

use serde::de::DeserializeOwned;
use sonde_protocol::local::{Command, InEffect, Keys, Outcome, Phase, Setup, Status};
use sonde_protocol::settings::{Change, Mode, Settings};

use super::parse::key;
use crate::event::{Action, Event, Press};
use crate::screen::Geometry;

/// The agent of a flow.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The display.
    pub geometry: Geometry,
    /// Whether the panel starts with its boot messages.
    pub from_power_on: bool,
    /// Whether the agent speaks for itself, or the flow has all of its words.
    pub speaks: bool,
    status: Status,
    setup: Setup,
    managed: bool,
    refuses: Option<String>,
    deaf: bool,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            geometry: Geometry::LCD_16X2,
            from_power_on: false,
            speaks: true,
            status: Status {
                phase: Phase::Ready,
                name: "is_acme".into(),
                lan_address: Some("192.168.100.200".into()),
                lan_mac: Some("02:00:00:00:00:01".into()),
                errors: Vec::new(),
                scans_running: 0,
                updating: false,
            },
            setup: Setup {
                settings: Settings::default(),
                in_effect: InEffect {
                    lan_gateway: Some([192, 168, 100, 1].into()),
                    auto_ipv6: None,
                },
            },
            managed: true,
            refuses: None,
            deaf: false,
        }
    }
}

impl Machine {
    /// Takes the words after `given`.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn given(&mut self, words: &str) -> Result<(), String> {
        let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
        match first {
            "nothing" => self.speaks = false,
            // The start of a recording that is not that of the panel: the words of it follow.
            "begun-anew" => {}
            "power-on" => self.from_power_on = true,
            "unmanaged" => self.managed = false,
            "deaf" => self.deaf = true,
            "refuses" => self.refuses = Some(json(rest)?),
            "display" => {
                self.geometry = match rest {
                    "16x2" => Geometry::LCD_16X2,
                    "20x2" => Geometry::LCD_20X2,
                    "20x4" => Geometry::LCD_20X4,
                    _ => return Err(format!("{rest} is no display: 16x2, 20x2 or 20x4")),
                }
            }
            "ipv6-only" => {
                self.setup.settings = Settings::factory(Mode::Ipv6Only);
                self.status.lan_address = Some("2001:db8::100:5".into());
            }
            "change" => self.change(&json(rest)?)?,
            "in-effect" => self.setup.in_effect = json(rest)?,
            _ => return self.note(first, rest),
        }
        Ok(())
    }

    /// What is said before anything is pressed.
    pub fn hello(&self) -> Vec<Event> {
        if !self.speaks || self.from_power_on {
            return Vec::new();
        }
        self.back()
    }

    /// Takes the words after `<`, and says what the panel hears.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn told(&mut self, words: &str) -> Result<Vec<Event>, String> {
        let (first, rest) = words.split_once(' ').unwrap_or((words, ""));
        Ok(vec![match first {
            "lost" => Event::LinkLost,
            "back" => return Ok(self.back()),
            "keys" => Event::Keys(json::<Keys>(rest)?),
            "said-status" => Event::Status(json(rest)?),
            "said-setup" => Event::Setup(json(rest)?),
            "answered" => Event::Answered(json(rest)?),
            "tick" => Event::Tick,
            "typed" => Event::Typed(json(rest)?),
            "down" => Event::Key(key(rest)?, Press::Down),
            "up" => Event::Key(key(rest)?, Press::Up),
            "held" => Event::Key(key(rest)?, Press::Held),
            "change" => {
                self.change(&json(rest)?)?;
                Event::Setup(self.setup.clone())
            }
            _ => {
                self.note(first, rest)?;
                Event::Status(self.status.clone())
            }
        }])
    }

    /// What the panel hears after it asked for something.
    pub fn answer(&mut self, action: &Action) -> Vec<Event> {
        if !self.speaks || self.deaf {
            return Vec::new();
        }
        let outcome = match (action, &self.refuses) {
            (Action::Redraw | Action::ReleaseKeys, _) => return Vec::new(),
            (Action::TakeKeys, _) => return vec![Event::Keys(Keys::Yours)],
            (_, Some(reason)) => Outcome::Refused(reason.clone()),
            (Action::Apply(change), None) => match self.change(change) {
                Ok(()) => self.done(),
                Err(reason) => Outcome::Refused(reason),
            },
            (Action::Run(_), None) if !self.managed => Outcome::NotManaged,
            (Action::Run(Command::CancelScans), None) => self.done(),
            (Action::Run(_), None) => Outcome::Done { canceled_scans: 0 },
        };
        vec![
            Event::Status(self.status.clone()),
            Event::Setup(self.setup.clone()),
            Event::Answered(outcome),
        ]
    }

    fn back(&self) -> Vec<Event> {
        vec![
            Event::Status(self.status.clone()),
            Event::Setup(self.setup.clone()),
            Event::Keys(Keys::Free),
        ]
    }

    fn change(&mut self, change: &Change) -> Result<(), String> {
        let after = self
            .setup
            .settings
            .with(change)
            .map_err(|error| error.to_string())?;
        self.setup.settings = after.redacted();
        Ok(())
    }

    fn done(&mut self) -> Outcome {
        let canceled_scans = std::mem::take(&mut self.status.scans_running);
        if self.managed {
            Outcome::Done { canceled_scans }
        } else {
            Outcome::Stored { canceled_scans }
        }
    }

    fn note(&mut self, first: &str, rest: &str) -> Result<(), String> {
        let status = &mut self.status;
        match first {
            "starting" => status.phase = Phase::Starting,
            "contacting" => status.phase = Phase::Contacting,
            "ready" => {
                status.phase = Phase::Ready;
                status.errors.clear();
            }
            "communication-failure" => status.phase = Phase::CommunicationFailure,
            "activation" => {
                let (code, check_number) = rest.split_once(' ').unwrap_or((rest, ""));
                status.phase = Phase::Activation {
                    code: code.into(),
                    check_number: check_number.into(),
                };
            }
            "errors" => status.errors = json(rest)?,
            "name" => status.name = json(rest)?,
            "address" => status.lan_address = json(rest)?,
            "scans" => {
                status.scans_running =
                    rest.parse().map_err(|_| format!("`{rest}` is no number"))?;
            }
            "updating" => status.updating = rest != "no",
            _ => return Err(format!("`{first}` is nothing a box can be or say")),
        }
        Ok(())
    }
}

fn json<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| format!("{text}: {error}"))
}
