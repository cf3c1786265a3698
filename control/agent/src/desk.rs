//! What the local API is asked, and who of its clients has the keys.

use std::sync::{Arc, Mutex, PoisonError};

use sonde_protocol::local::{Ask, Command, InEffect, Keys, Outcome, Setup};
use sonde_protocol::settings::Change;
use time::OffsetDateTime;
use tokio::sync::{Notify, watch};

use crate::settings::{By, Origin, SettingsStore};
use crate::status::Board;
use crate::worker::chain;

/// Which client of the local API, counted from the agent's start.
pub type ClientId = u64;

/// Answers what clients of the local API ask.
pub struct Desk {
    board: Board,
    settings: Arc<Mutex<SettingsStore>>,
    setup: Arc<watch::Sender<Setup>>,
    keys: watch::Sender<Option<ClientId>>,
    cancel: Arc<Notify>,
    manage: bool,
}

impl Desk {
    /// A desk where nobody has the keys. `manage`: what is set is put into effect by this box itself. `cancel` is
    /// notified when the scans in progress are to end.
    pub fn new(board: Board, settings: SettingsStore, manage: bool, cancel: Arc<Notify>) -> Self {
        let setup = Setup {
            settings: settings.settings().clone().redacted(),
            in_effect: InEffect::default(),
        };
        Self {
            board,
            settings: Arc::new(Mutex::new(settings)),
            setup: Arc::new(watch::Sender::new(setup)),
            keys: watch::Sender::new(None),
            cancel,
            manage,
        }
    }

    /// How the box is.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// How the box is set up, now and whenever that changes; no secret in it.
    pub fn setup(&self) -> watch::Receiver<Setup> {
        self.setup.subscribe()
    }

    /// Who has the keys, now and whenever that changes.
    pub fn keys(&self) -> watch::Receiver<Option<ClientId>> {
        self.keys.subscribe()
    }

    /// What the network gave the box.
    pub fn observe(&self, in_effect: InEffect) {
        self.setup.send_if_modified(|setup| {
            let changed = setup.in_effect != in_effect;
            setup.in_effect = in_effect;
            changed
        });
    }

    /// Does what `client` asks; taking keys and giving them back has no answer of its own.
    pub async fn handle(&self, client: ClientId, ask: Ask) -> Option<Outcome> {
        match ask {
            Ask::Setup => Some(Outcome::Setup(self.setup.borrow().clone())),
            Ask::Apply(change) => Some(self.apply(change).await),
            Ask::Run(command) => Some(self.run(command)),
            Ask::TakeKeys => {
                self.keys.send_replace(Some(client));
                None
            }
            Ask::ReleaseKeys => {
                self.release(client);
                None
            }
        }
    }

    /// `client` has the keys no more, if it had them.
    pub fn release(&self, client: ClientId) {
        self.keys.send_if_modified(|owner| {
            let had = *owner == Some(client);
            if had {
                *owner = None;
            }
            had
        });
    }

    /// Off the runtime's thread, for it waits for the disk; and to its end, even if the client goes away.
    async fn apply(&self, change: Change) -> Outcome {
        let (settings, setup) = (self.settings.clone(), self.setup.clone());
        let (board, cancel) = (self.board.clone(), self.cancel.clone());
        let work = tokio::task::spawn_blocking(move || {
            let mut settings = settings.lock().unwrap_or_else(PoisonError::into_inner);
            let origin = Origin {
                by: By::Panel,
                at: OffsetDateTime::now_utc(),
            };
            if let Err(error) = settings.apply(&change, origin) {
                tracing::warn!(error = %chain(&error), "a change of settings is refused");
                return Outcome::Refused(error.to_string());
            }
            let shown = settings.settings().clone().redacted();
            setup.send_modify(|setup| setup.settings = shown);
            tracing::info!("settings are changed at the panel");
            let canceled_scans = cancel_scans(&board, &cancel);
            Outcome::Stored { canceled_scans }
        });
        work.await
            .unwrap_or_else(|error| Outcome::Refused(format!("the change failed: {error}")))
    }

    fn run(&self, command: Command) -> Outcome {
        match command {
            Command::CancelScans => Outcome::Done {
                canceled_scans: cancel_scans(&self.board, &self.cancel),
            },
            Command::RenewDhcp(_) | Command::Reboot | Command::Shutdown if !self.manage => {
                Outcome::NotManaged
            }
            Command::RenewDhcp(_) | Command::Reboot | Command::Shutdown => {
                Outcome::Refused("this version has nothing that could do it".to_owned())
            }
        }
    }
}

/// What `owner` means for `client`.
pub fn keys_for(client: ClientId, owner: Option<ClientId>) -> Keys {
    match owner {
        None => Keys::Free,
        Some(owner) if owner == client => Keys::Yours,
        Some(_) => Keys::Taken,
    }
}

/// How many scans are to end now.
fn cancel_scans(board: &Board, cancel: &Notify) -> u32 {
    let running = board.watch().borrow().scans_running;
    if running > 0 {
        cancel.notify_one();
    }
    running
}
