//! Does what [`crate::machines::job`] decides for one attempt.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};
use sonde_core::request::{LinkKind, ScanRequest};
use sonde_core::trunk::TrunkConfig;
use sonde_protocol::device::{
    CommitRequest, JobState, LeaseReply, LeaseRequest, Outcome, RESULTS_MAX_BYTES,
};
use sonde_protocol::token::hex;
use tokio::sync::{mpsc, watch};

use crate::clock::{self, Clock};
use crate::cloud_client::{ClientError, CloudClient, Stored};
use crate::lease_keeper::{Keeper, Kept, View};
use crate::ledger::{Attempt, Ledger};
use crate::lines::Sorter;
use crate::machines::job::{Action, Job, Spooled, WorkerEnd};
use crate::machines::lease;
use crate::machines::upload;
use crate::spool::{ReadError, Reader, Spool, Stream};
use crate::worker::{self, ConcludeError, Run, Stopper, chain};

/// Compression of results: fast, and text shrinks to a tenth anyway.
const ZSTD_LEVEL: i32 = 3;
/// Between two tries at a disk that refuses.
const RETRY: Duration = Duration::from_secs(1);

/// What every job's task is given.
pub struct Context {
    /// The cloud.
    pub client: CloudClient,
    /// Leases.
    pub keeper: Keeper,
    /// Results.
    pub spool: Arc<Spool>,
    /// Attempts.
    pub ledger: Ledger,
    /// Where workers are had.
    pub worker_socket: std::path::PathBuf,
    /// VLANs and routes for requests that name none.
    pub trunk: watch::Receiver<Option<TrunkConfig>>,
    /// Interface for requests that name none.
    pub interface: Option<String>,
    /// Time.
    pub clock: Clock,
    /// Told when a job changes or ends.
    pub changed: Arc<tokio::sync::Notify>,
    /// Told when the cloud has answered.
    pub answered: Arc<tokio::sync::Notify>,
}

/// What happens to a job.
#[derive(Debug)]
pub enum Event {
    /// A person wants it stopped.
    Cancel,
    /// It can't go on.
    Fail(String),
    /// The box is about to be switched off.
    Suspend,
    /// Its lease has news.
    Lease(lease::News),
    /// Its worker has news.
    Worker(worker::News),
    /// The cloud answered.
    Accepted(Result<LeaseReply, ClientError>),
    /// The cloud answered results or a commit.
    Stored {
        /// Results sent; none with a commit.
        records: u64,
        /// What it said.
        answer: Result<Stored, Trouble>,
    },
}

/// Why an upload got no answer.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The cloud.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The disk.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Compression, or a thread.
    #[error("results can not be packed")]
    Pack(#[from] std::io::Error),
}

/// Sends a job what happens to it.
#[derive(Clone)]
pub struct Handle {
    /// Events for it.
    pub events: mpsc::UnboundedSender<Event>,
    /// What it is like.
    pub view: View,
}

/// Starts the task of an attempt: a new one (`restored` false), or one found in the ledger.
pub fn spawn(context: Arc<Context>, attempt: Attempt, restored: bool) -> Handle {
    let (events, inbox) = mpsc::unbounded_channel();
    let view = View::new(attempt.state);
    let handle = Handle { events, view };
    let ours = handle.clone();
    tokio::spawn(async move {
        let changed = context.changed.clone();
        let key = attempt.key();
        if let Err(error) = drive(&context, attempt, restored, ours.clone(), inbox).await {
            // Its ledger and spool stay: the next start of the agent takes it up again.
            tracing::error!(job = %key, error = %format!("{error:#}"), "a job is left where it is");
        }
        ours.view.set(|seen| seen.over = true);
        context.keeper.release(key);
        changed.notify_one();
    });
    handle
}

/// Why a job's task gives up.
#[derive(Debug, thiserror::Error)]
enum DriveError {
    #[error("the spool can not be opened or written: {0}")]
    Spool(std::io::Error),
    #[error("{0}")]
    Read(String),
}

struct Task<'a> {
    context: &'a Arc<Context>,
    attempt: Attempt,
    job: Job,
    stream: Stream,
    reader: Arc<Mutex<Reader>>,
    stopper: Stopper,
    handle: Handle,
    kept: bool,
}

async fn drive(
    context: &Arc<Context>,
    attempt: Attempt,
    restored: bool,
    handle: Handle,
    mut inbox: mpsc::UnboundedReceiver<Event>,
) -> Result<(), DriveError> {
    let key = attempt.key();
    let spool = context.spool.clone();
    let opened = blocking(move || {
        let stream = spool.stream(key)?;
        Ok((
            Sorter::from_spool(&stream).map(|sorter| sorter.has_summary()),
            stream,
        ))
    });
    let (summary, stream) = opened.await.map_err(DriveError::Spool)?;
    let summary = summary.map_err(|error| DriveError::Read(chain(&error)))?;
    let (now, seed) = (context.clock.now(), clock::seed());
    let job = if restored {
        let (ending, lost) = (attempt.ending.clone(), attempt.on_lost_contact);
        Job::restored(attempt.state, ending, lost, Spooled { summary }, now, seed)
    } else {
        Job::offered(attempt.on_lost_contact, now, seed)
    };
    let reader = Arc::new(Mutex::new(stream.reader(0)));
    let mut durable = stream.durable();
    let stopper = Stopper::default();
    let mut task = Task {
        context,
        attempt,
        job,
        stream,
        reader,
        stopper,
        handle,
        kept: false,
    };
    task.job
        .upload()
        .handle_durable(*durable.borrow_and_update());
    loop {
        while let Some(action) = task.job.poll_action(context.clock.now()) {
            task.act(action).await;
        }
        task.show();
        if task.job.is_over() {
            return Ok(());
        }
        if task.job.is_quiet() {
            let stream = task.stream.clone();
            let synced = blocking(move || stream.sync().map_err(std::io::Error::other)).await;
            return synced.map_err(DriveError::Spool);
        }
        tokio::select! {
            Some(event) = inbox.recv() => task.handle(event),
            Ok(()) = durable.changed() => {
                let durable = *durable.borrow_and_update();
                task.job.upload().handle_durable(durable);
            }
            () = context.clock.sleep_until(task.job.poll_timeout()) => {}
        }
    }
}

impl Task<'_> {
    fn show(&self) {
        let (state, away) = (self.job.state(), self.job.is_out_of_contact());
        let before = self.handle.view.get();
        self.handle.view.set(|seen| {
            seen.state = state;
            seen.out_of_contact = away;
        });
        if before.state != state || before.out_of_contact != away {
            self.context.changed.notify_one();
            self.context.keeper.look(self.stream.key());
        }
    }

    fn handle(&mut self, event: Event) {
        let now = self.context.clock.now();
        if matches!(
            event,
            Event::Accepted(Ok(_)) | Event::Stored { answer: Ok(_), .. }
        ) {
            self.context.answered.notify_one();
        }
        match event {
            Event::Cancel => self.job.cancel(),
            Event::Fail(why) => self.job.fail(why),
            Event::Suspend => self.job.suspend(),
            Event::Lease(news) => self.job.handle_lease(now, news),
            Event::Worker(worker::News::Started) => self.job.handle_worker_started(),
            Event::Worker(worker::News::Checkpoint) => self.job.handle_checkpoint(),
            Event::Worker(worker::News::Progress(progress)) => {
                self.handle
                    .view
                    .set(|seen| seen.fraction = progress.fraction);
                self.context.keeper.look(self.stream.key());
            }
            Event::Worker(worker::News::Ended(end)) => {
                if let WorkerEnd::Died(why) | WorkerEnd::Refused(why) = &end {
                    tracing::warn!(job = %self.stream.key(), %why, "an engine worker ended early");
                }
                self.job.handle_worker_ended(now, end);
            }
            Event::Accepted(Ok(reply)) => self.job.handle_accepted(now, reply.cancel),
            Event::Accepted(Err(error)) if error.is_over() => self.job.handle_refused(),
            Event::Accepted(Err(error)) => {
                tracing::warn!(job = %self.stream.key(), error = %chain(&error), "a job was not accepted yet");
                self.job.handle_accept_failed(now);
            }
            Event::Stored { records, answer } => self.handle_stored(records, answer),
        }
    }

    fn handle_stored(&mut self, records: u64, answer: Result<Stored, Trouble>) {
        let now = self.context.clock.now();
        let durable = *self.stream.durable().borrow();
        let upload = self.job.upload();
        upload.handle_durable(durable);
        match answer {
            Ok(Stored::Done) => upload.handle_committed(),
            Ok(Stored::NotYet) => upload.handle_not_yet(now),
            Ok(Stored::Next(next)) => upload.handle_next(now, next),
            Err(Trouble::Client(error)) if error.is_over() => upload.handle_refused(),
            Err(Trouble::Client(error)) if error.is_final() => {
                tracing::warn!(job = %self.stream.key(), records, error = %chain(&error), "results are refused");
                upload.handle_malformed(now, records, &chain(&error));
            }
            Err(Trouble::Read(error @ ReadError::Damaged { .. })) => {
                tracing::error!(job = %self.stream.key(), error = %chain(&error), "given up: another attempt has to do it");
                upload.handle_damaged();
            }
            Err(error) => {
                tracing::warn!(job = %self.stream.key(), error = %chain(&error), "results wait on disk");
                upload.handle_failed(now);
            }
        }
        let stuck = upload.acked() == durable;
        self.handle.view.set(|seen| seen.stuck = stuck);
        self.job.handle_uploaded();
        if self.job.state() == JobState::Superseded {
            tracing::warn!(job = %self.stream.key(), "the cloud has given this job to another attempt");
        }
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Persist => self.persist().await,
            Action::Accept => {
                let (client, key, lease) = (
                    self.context.client.clone(),
                    self.attempt.key(),
                    self.attempt.lease,
                );
                let events = self.handle.events.clone();
                tokio::spawn(async move {
                    let body = LeaseRequest {
                        state: JobState::Accepted,
                        fraction: 0.0,
                    };
                    let _told =
                        events.send(Event::Accepted(client.accept(key, lease, &body).await));
                });
            }
            Action::Start => self.start(),
            Action::Stop { pausing } => self.stopper.stop(pausing),
            Action::Conclude => self.conclude().await,
            Action::Upload(upload::Action::Send { first, most }) => self.send(first, most),
            Action::Upload(upload::Action::Commit { count }) => self.commit(count),
            Action::Forget => self.forget().await,
        }
        self.keep_lease();
    }

    /// Leases are kept from acceptance to the end.
    fn keep_lease(&mut self) {
        let wanted = self.job.state() != JobState::Offered && !self.job.state().is_end();
        if wanted && !self.kept {
            let events = self.handle.events.clone();
            self.context.keeper.keep(Kept {
                key: self.attempt.key(),
                lease: self.attempt.lease,
                view: self.handle.view.clone(),
                news: Box::new(move |news| {
                    let _told = events.send(Event::Lease(news));
                }),
            });
            self.kept = true;
        }
    }

    /// Nothing goes on before it is written down: a full disk is waited for.
    async fn persist(&mut self) {
        self.attempt.state = self.job.state();
        self.attempt.ending = self.job.ending().cloned();
        while let Err(error) = self.context.ledger.put(&self.attempt) {
            tracing::error!(error = %chain(&error), "the ledger can not be written; trying again");
            tokio::time::sleep(RETRY).await;
        }
    }

    fn start(&mut self) {
        self.stopper = Stopper::default();
        let mut request: ScanRequest = (*self.attempt.request).clone();
        // The connect link can't tag: a request for it means what the kernel reaches.
        if request.trunk.is_none() && request.link != LinkKind::Connect {
            let trunk = self.context.trunk.borrow();
            request.trunk = trunk
                .clone()
                .filter(|trunk| *trunk != TrunkConfig::default());
        }
        if request.interface.is_none() {
            request.interface.clone_from(&self.context.interface);
        }
        let run = Run {
            socket: self.context.worker_socket.clone(),
            request,
            stream: self.stream.clone(),
            stopper: self.stopper.clone(),
        };
        let events = self.handle.events.clone();
        let tell = move |news| {
            let _told = events.send(Event::Worker(news));
        };
        let thread = std::thread::Builder::new().name("worker".to_owned());
        if let Err(error) = thread.spawn(move || worker::run(run, tell)) {
            let end = WorkerEnd::Died(format!("no thread for a worker: {error}"));
            self.job.handle_worker_ended(self.context.clock.now(), end);
        }
    }

    async fn conclude(&mut self) {
        loop {
            let stream = self.stream.clone();
            let error = match blocking(move || Ok(worker::conclude(&stream))).await {
                Ok(Ok(count)) => return self.job.handle_concluded(self.context.clock.now(), count),
                Ok(Err(error @ ConcludeError::Read(ReadError::Damaged { .. }))) => {
                    tracing::error!(job = %self.stream.key(), error = %chain(&error), "given up");
                    return self.job.handle_damaged();
                }
                Ok(Err(error)) => chain(&error),
                Err(error) => error.to_string(),
            };
            tracing::error!(job = %self.stream.key(), %error, "the spool is not complete yet");
            tokio::time::sleep(RETRY).await;
        }
    }

    fn send(&mut self, first: u64, most: u64) {
        let reader = self.reader.clone();
        let (client, key, lease) = (
            self.context.client.clone(),
            self.attempt.key(),
            self.attempt.lease,
        );
        let events = self.handle.events.clone();
        tokio::spawn(async move {
            let packed =
                blocking(move || {
                    let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
                    reader.seek(first);
                    let batch = reader.batch_of(most, RESULTS_MAX_BYTES);
                    Ok(batch
                        .map(|batch| (batch.count, zstd::bulk::compress(&batch.lines, ZSTD_LEVEL))))
                });
            let mut records = 0;
            let answer = async {
                let (count, body) = packed.await??;
                records = count;
                Ok(client.results(key, lease, first, body?).await?)
            };
            let answer = answer.await;
            let _told = events.send(Event::Stored { records, answer });
        });
    }

    fn commit(&mut self, count: u64) {
        let (client, key, lease) = (
            self.context.client.clone(),
            self.attempt.key(),
            self.attempt.lease,
        );
        let (events, stream) = (self.handle.events.clone(), self.stream.clone());
        let ending = self.job.ending().cloned();
        tokio::spawn(async move {
            let answer = async {
                let digest = blocking(move || Ok(digest(&stream, count))).await??;
                let outcome = ending
                    .as_ref()
                    .map_or(Outcome::Finished, |ending| ending.outcome);
                let error = ending.and_then(|ending| ending.error);
                Ok(client
                    .commit(
                        key,
                        lease,
                        &CommitRequest {
                            count,
                            digest,
                            outcome,
                            error,
                        },
                    )
                    .await?)
            };
            let (records, answer) = (0, answer.await);
            let _told = events.send(Event::Stored { records, answer });
        });
    }

    /// Spool first: an entry in the ledger without a spool is taken up as one that has ended, a spool
    /// without an entry by nobody.
    async fn forget(&mut self) {
        let (spool, ledger, key) = (
            self.context.spool.clone(),
            self.context.ledger.clone(),
            self.attempt.key(),
        );
        self.stream.close();
        let forgotten = blocking(move || {
            spool.remove(key)?;
            ledger.remove(key).map_err(std::io::Error::other)
        });
        if let Err(error) = forgotten.await {
            tracing::error!(job = %key, %error, "a job that is over can not be deleted; the next start tries again");
        }
    }
}

/// SHA-256 of the first `count` records, each followed by a line feed.
fn digest(stream: &Stream, count: u64) -> Result<String, ReadError> {
    let (mut reader, mut hash, mut left) = (stream.reader(0), Sha256::new(), count);
    loop {
        let batch = reader.batch_of(left, RESULTS_MAX_BYTES)?;
        if batch.count == 0 {
            return Ok(hex(&hash.finalize()));
        }
        hash.update(&batch.lines);
        left -= batch.count;
    }
}

/// Off the runtime's thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(std::io::Error::other)?
}
