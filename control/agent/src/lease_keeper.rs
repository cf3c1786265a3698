//! The thread that renews leases: nothing an upload or a scan does can keep it from it.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use sonde_protocol::device::{JobState, LeaseReply, LeaseRequest, RefusalReason};
use sonde_protocol::ids::LeaseToken;
use tokio::sync::mpsc;

use crate::clock::{self, Clock};
use crate::cloud_client::{ClientError, CloudClient};
use crate::machines::lease::{Lease, News};
use crate::spool::Key;

/// What others may know of a job: shared with its task.
#[derive(Clone, Debug)]
pub struct View(Arc<Mutex<Seen>>);

/// A job at a glance.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Where it is.
    pub state: JobState,
    /// Share done.
    pub fraction: f64,
    /// Its lease has run out, the cloud out of reach.
    pub out_of_contact: bool,
    /// Nothing is left of it on this box.
    pub over: bool,
    /// All records here are in the cloud's database, and it waits for room in the spool.
    pub stuck: bool,
}

impl View {
    /// A job in `state`.
    pub fn new(state: JobState) -> Self {
        Self(Arc::new(Mutex::new(Seen {
            state,
            fraction: 0.0,
            out_of_contact: false,
            over: false,
            stuck: false,
        })))
    }

    /// Looks.
    pub fn get(&self) -> Seen {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it.
    pub fn set(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A lease to keep.
pub struct Kept {
    /// Whose.
    pub key: Key,
    /// The token.
    pub lease: LeaseToken,
    /// What to tell the cloud.
    pub view: View,
    /// Where the news goes.
    pub news: Box<dyn Fn(News) + Send>,
}

enum Command {
    Keep(Kept),
    Look(Key),
    Drop(Key),
}

/// Talks to the thread.
#[derive(Clone)]
pub struct Keeper(mpsc::UnboundedSender<Command>);

impl Keeper {
    /// Starts the thread. `client` must be one of its own: connections belong to a runtime.
    ///
    /// # Errors
    /// When there is no thread or runtime to be had.
    pub fn start(client: CloudClient, clock: Clock) -> io::Result<Self> {
        let (sender, commands) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("lease".to_owned())
            .spawn(move || runtime.block_on(keep(client, clock, commands)))?;
        Ok(Self(sender))
    }

    /// Keeps a lease from now on.
    pub fn keep(&self, kept: Kept) {
        // The thread ends only with the process.
        let _sent = self.0.send(Command::Keep(kept));
    }

    /// Something about the job has changed that the cloud may want to know.
    pub fn look(&self, key: Key) {
        let _sent = self.0.send(Command::Look(key));
    }

    /// Lets a lease run out.
    pub fn release(&self, key: Key) {
        let _sent = self.0.send(Command::Drop(key));
    }
}

async fn keep(client: CloudClient, clock: Clock, mut commands: mpsc::UnboundedReceiver<Command>) {
    let mut leases: HashMap<Key, (Kept, Lease)> = HashMap::new();
    let (answers, mut answered) =
        mpsc::unbounded_channel::<(Key, Result<LeaseReply, ClientError>)>();
    loop {
        let now = clock.now();
        for (kept, lease) in leases.values_mut() {
            let seen = kept.view.get();
            if lease.poll_action(now, seen.state, seen.fraction) {
                let (client, answers) = (client.clone(), answers.clone());
                let (key, token) = (kept.key, kept.lease);
                tokio::spawn(async move {
                    let body = LeaseRequest {
                        state: seen.state,
                        fraction: seen.fraction,
                    };
                    let _kept = answers.send((key, client.renew(key, token, &body).await));
                });
            }
            while let Some(news) = lease.poll_news() {
                (kept.news)(news);
            }
        }
        let next = leases
            .values()
            .filter_map(|(_, lease)| lease.poll_timeout())
            .min();
        tokio::select! {
            command = commands.recv() => match command {
                Some(Command::Keep(kept)) => {
                    let lease = Lease::new(clock.now(), clock::seed());
                    leases.insert(kept.key, (kept, lease));
                }
                Some(Command::Look(key)) => {
                    if let Some((kept, lease)) = leases.get_mut(&key) {
                        let seen = kept.view.get();
                        lease.handle_progress(clock.now(), seen.state, seen.fraction);
                    }
                }
                Some(Command::Drop(key)) => drop(leases.remove(&key)),
                None => return,
            },
            Some((key, answer)) = answered.recv() => {
                if let Some((kept, lease)) = leases.get_mut(&key) {
                    handle(lease, &clock, answer);
                    // What changed while the renewal was on its way.
                    let seen = kept.view.get();
                    lease.handle_progress(clock.now(), seen.state, seen.fraction);
                }
            }
            () = clock.sleep_until(next) => {}
        }
    }
}

fn handle(lease: &mut Lease, clock: &Clock, answer: Result<LeaseReply, ClientError>) {
    match answer {
        Ok(reply) => lease.handle_renewed(clock.now(), &reply),
        Err(error) if error.is_over() => lease.handle_refused(),
        Err(error) => {
            if error.reason() != Some(RefusalReason::Busy) {
                tracing::warn!(error = %crate::worker::chain(&error), "a lease was not renewed");
            }
            lease.handle_failed(clock.now());
        }
    }
}
