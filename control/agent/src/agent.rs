//! The agent process: activation, then polls for ever, a task for every job.

mod enrolment;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sonde_core::trunk::TrunkConfig;
use sonde_pinning::{Seen, Trust, client_config, parse_fingerprint};
use sonde_protocol::device::{
    DesiredSettings, JobState, JobStatus, PollReply, PollRequest, RefusalReason,
};
use sonde_protocol::local::{AutoIpv6, InEffect};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};

use crate::clock::{self, Clock};
use crate::cloud_client::{ClientError, SetupError};
use crate::config::{Config, ConfigError, Paths};
use crate::desk::Desk;
use crate::identity::{Identity, IdentityError};
use crate::job_task::{self, Context, Event, Handle};
use crate::lease_keeper::Keeper;
use crate::ledger::{self, Appliance, Attempt, Desired, Ledger};
use crate::local::{self, ListenError};
use crate::machines::activation::Stage;
use crate::machines::poll::{Failure, Polling};
use crate::settings::{SettingsError, SettingsStore};
use crate::spool::{self, Key, Spool};
use crate::status::{Board, Contact, Scans, phase};
use crate::store::{self, StoreError};
use crate::worker::chain;

/// Jobs a box works on at once.
const CAPACITY: usize = 2;
/// A poll follows so soon when another request is answered while polls are not.
const HURRY: Duration = Duration::from_secs(2);
/// Jobs have so long to come to rest when the agent is to end; the supervisor waits longer.
const SUSPEND_MAX: Duration = Duration::from_secs(5);
/// Share of the disk the spool may take, in percent, if nothing is configured.
const DISK_PERCENT: u64 = 20;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Another configuration file.
    pub config: Option<PathBuf>,
    /// Another state folder.
    pub state: Option<PathBuf>,
    /// Another cloud.
    pub cloud: Option<String>,
}

/// Why an agent can't start.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No cloud is named.
    #[error("no cloud is named: give one by --cloud or [cloud] url in {path}")]
    NoCloud {
        /// The configuration file.
        path: PathBuf,
    },
    /// Both ways to trust are configured.
    #[error("[cloud] has fingerprint and ca_file: keep one, they are two ways to trust")]
    TwoTrusts,
    /// The cloud's address or its certificate.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The state folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The box's own settings.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The local API.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Threads, signals, the spool.
    #[error("the agent can not {action}")]
    Io {
        /// What.
        action: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl AgentError {
    /// True if starting again would end the same until a person changes something.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Config(_) | Self::NoCloud { .. } | Self::TwoTrusts | Self::Setup(_)
        )
    }
}

/// Checks what a person wrote, before anything is started.
///
/// # Errors
/// [`AgentError`].
pub fn check(options: &Options) -> Result<(Config, String), AgentError> {
    let config = Config::load(options.config.as_deref())?;
    let url = options.cloud.clone().or_else(|| config.cloud.url.clone());
    let path = options
        .config
        .as_deref()
        .unwrap_or(Path::new(crate::config::CONFIG_PATH));
    let url = url.ok_or_else(|| AgentError::NoCloud {
        path: path.to_owned(),
    })?;
    if config.cloud.fingerprint.is_some() && config.cloud.ca_file.is_some() {
        return Err(AgentError::TwoTrusts);
    }
    check_trust(&config)?;
    Ok((config, url))
}

/// Whether the certificates a person named can be used at all: otherwise every try would fail alike.
fn check_trust(config: &Config) -> Result<(), SetupError> {
    if let Some(text) = &config.cloud.fingerprint {
        parse_fingerprint(text).map_err(SetupError::Fingerprint)?;
    }
    if let Some(path) = &config.cloud.ca_file {
        let trust = Trust::Authorities(path.clone());
        client_config(&trust, &Seen::default()).map_err(SetupError::CaFile)?;
    }
    Ok(())
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// [`AgentError`] when it can't start.
pub fn run(options: &Options) -> Result<(), AgentError> {
    let (config, url) = check(options)?;
    let io = |action| move |source| AgentError::Io { action, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(io("start a runtime"))?;
    let outcome = runtime.block_on(async {
        let mut term = signal(SignalKind::terminate()).map_err(io("listen to signals"))?;
        let mut int = signal(SignalKind::interrupt()).map_err(io("listen to signals"))?;
        let mut agent = Agent::open(options, config, url)?;
        tokio::select! {
            outcome = agent.work() => return outcome,
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        agent.suspend().await;
        Ok(())
    });
    // Threads that wait for the disk or a worker do not keep it: everything acknowledged is durable.
    runtime.shutdown_background();
    outcome
}

struct Agent {
    config: Config,
    url: String,
    paths: Paths,
    identity: Arc<Identity>,
    clock: Clock,
    board: Board,
    desk: Arc<Desk>,
    /// A person at the box has changed something: scans in progress are to end.
    cancel: Arc<Notify>,
    ledger: Ledger,
    spool: Arc<Spool>,
    changed: Arc<Notify>,
    settings: Option<DesiredSettings>,
    trunk: watch::Sender<Option<TrunkConfig>>,
    contact: Contact,
    stage: Stage,
    trouble: Option<String>,
    jobs: HashMap<Key, Handle>,
}

impl Agent {
    fn open(options: &Options, config: Config, url: String) -> Result<Self, AgentError> {
        let io = |action| move |source| AgentError::Io { action, source };
        let paths = Paths::new(options.state.as_deref());
        store::make_dir(&paths.state)?;
        let identity = Arc::new(Identity::load_or_make(&paths.key())?);
        let board = Board::default();
        let cancel = Arc::new(Notify::new());
        let network = SettingsStore::open(&paths.network())?;
        let manage = config.system.manage;
        let desk = Arc::new(Desk::new(board.clone(), network, manage, cancel.clone()));
        let listener = local::listen(&paths.agent_socket())?;
        let listener = tokio::net::UnixListener::from_std(listener).map_err(io("listen"))?;
        tokio::spawn(local::serve(listener, desk.clone()));
        let spool = open_spool(&paths.spool(), &config).map_err(io("open the spool"))?;
        let settings: Option<DesiredSettings> = store::read_json(&paths.settings())?;
        let trunk = watch::Sender::new(settings.as_ref().map(|settings| settings.trunk.clone()));
        Ok(Self {
            ledger: Ledger::open(&paths.jobs())?,
            spool: Arc::new(spool),
            config,
            url,
            paths,
            identity,
            clock: Clock::start(),
            board,
            desk,
            cancel,
            changed: Arc::new(Notify::new()),
            settings,
            trunk,
            contact: Contact::Unknown,
            stage: Stage::Enrolling,
            trouble: None,
            jobs: HashMap::new(),
        })
    }

    /// For ever: activation if needed, then work until the cloud does not know the box any more.
    async fn work(&mut self) -> Result<(), AgentError> {
        let mut known: Option<Appliance> = store::read_json(&self.paths.appliance())?;
        // Another cloud than the one that knows this box: enrol there.
        known = known.filter(|appliance| appliance.url == self.url);
        loop {
            let appliance = match known.take() {
                Some(appliance) => appliance,
                None => self.activate().await?,
            };
            self.stage = Stage::Active {
                appliance: appliance.id,
                name: appliance.name.clone(),
            };
            self.serve(&appliance).await?;
            tracing::warn!("the cloud does not know this box any more: a new activation is needed");
            store::remove(&self.paths.appliance())?;
        }
    }

    /// Polls and works until the cloud does not know the box.
    async fn serve(&mut self, appliance: &Appliance) -> Result<(), AgentError> {
        let io = |action| move |source| AgentError::Io { action, source };
        let trust = match self.trust(appliance.pinned.as_deref())? {
            Trust::FirstSeen if self.url.starts_with("https") => {
                tracing::warn!(
                    "no certificate was pinned at activation: the first one seen is believed"
                );
                Trust::FirstSeen
            }
            trust => trust,
        };
        let client = self.client(trust.clone())?;
        let keeper =
            Keeper::start(self.client(trust)?, self.clock).map_err(io("start a thread"))?;
        let context = Arc::new(Context {
            client: client.clone(),
            keeper,
            spool: self.spool.clone(),
            ledger: self.ledger.clone(),
            worker_socket: self.paths.worker_socket(),
            trunk: self.trunk.subscribe(),
            interface: self.config.lan.interface.clone(),
            clock: self.clock,
            changed: self.changed.clone(),
            answered: Arc::new(Notify::new()),
        });
        self.take_up(&context)?;
        self.contact = Contact::Unknown;
        let mut polling = Polling::new(self.clock.now(), clock::seed());
        let (answers, mut answered) = mpsc::unbounded_channel();
        let mut health = self.spool.health();
        loop {
            self.jobs.retain(|_, job| !job.view.get().over);
            self.relieve();
            self.show();
            if health.borrow().ended {
                let source =
                    std::io::Error::other("its writer is gone, the reason is in the log above");
                return Err(AgentError::Io {
                    action: "write the spool",
                    source,
                });
            }
            if let Some(wait_s) = polling.poll_action(self.clock.now()) {
                let (client, answers, request) =
                    (client.clone(), answers.clone(), self.report(wait_s));
                tokio::spawn(async move {
                    let _kept = answers.send(client.poll(&request).await);
                });
            }
            let (changed, cancel) = (self.changed.clone(), self.cancel.clone());
            tokio::select! {
                Some(answer) = answered.recv() => {
                    self.heard(Result::as_ref(&answer).err());
                    let now = self.clock.now();
                    match answer {
                        Ok(reply) => {
                            polling.handle_answer(now);
                            self.take(&context, reply);
                        }
                        Err(error) if error.reason() == Some(RefusalReason::Unknown) => {
                            self.jobs.clear();
                            return Ok(());
                        }
                        Err(error @ ClientError::Cut { .. }) => {
                            tracing::warn!(error = %chain(&error), "a poll was cut");
                            polling.handle_failure(now, Failure::Cut);
                        }
                        Err(error) => {
                            tracing::warn!(error = %chain(&error), "a poll failed");
                            polling.handle_failure(now, Failure::Unreachable);
                        }
                    }
                }
                () = changed.notified() => {}
                () = cancel.notified() => self.cancel_scans(),
                // Results get through: whatever cut the polls is over.
                () = context.answered.notified(), if self.contact == Contact::Failed => {
                    polling.hurry(self.clock.after(HURRY));
                }
                Ok(()) = health.changed() => {}
                () = self.clock.sleep_until(polling.poll_timeout()) => {}
            }
        }
    }

    /// Workers pause, and what they found is on the disk. One that takes too long is left behind: the next start
    /// goes on from its last checkpoint.
    async fn suspend(&mut self) {
        for job in self.jobs.values() {
            let _over = job.events.send(Event::Suspend);
        }
        let (jobs, changed) = (&self.jobs, &self.changed);
        let quiet = async {
            while jobs.values().any(|job| !job.view.get().over) {
                changed.notified().await;
            }
        };
        if tokio::time::timeout(SUSPEND_MAX, quiet).await.is_err() {
            tracing::warn!("a scan does not pause in time: it goes on from its last checkpoint");
        }
    }

    /// Goes on with what an earlier run of the agent left.
    fn take_up(&mut self, context: &Arc<Context>) -> Result<(), AgentError> {
        for attempt in self.ledger.attempts()? {
            let key = attempt.key();
            tracing::info!(job = %key, state = ?attempt.state, "taken up again");
            self.jobs
                .insert(key, job_task::spawn(context.clone(), attempt, true));
        }
        let orphans = self.spool.keys().unwrap_or_default();
        for key in orphans
            .into_iter()
            .filter(|key| !self.jobs.contains_key(key))
        {
            tracing::warn!(job = %key, "the spool holds results of a job that is not in the ledger: left alone");
        }
        Ok(())
    }

    /// A person at the box ends what is scanned; what was found is uploaded.
    fn cancel_scans(&self) {
        for (key, job) in &self.jobs {
            if is_scanning(job.view.get().state) {
                tracing::warn!(job = %key, "cancelled at the box");
                let _over = job.events.send(Event::Cancel);
            }
        }
    }

    fn report(&self, wait_s: u32) -> PollRequest {
        let jobs = self.jobs.iter().map(|(key, job)| {
            let seen = job.view.get();
            JobStatus {
                job: key.job,
                attempt: key.attempt,
                state: seen.state,
                fraction: seen.fraction,
            }
        });
        PollRequest {
            wait_s,
            software: env!("CARGO_PKG_VERSION").to_owned(),
            settings_generation: self
                .settings
                .as_ref()
                .map_or(0, |settings| settings.generation),
            capacity: u32::try_from(CAPACITY.saturating_sub(self.jobs.len())).unwrap_or(0),
            jobs: jobs.collect(),
        }
    }

    /// Does what a poll brought.
    fn take(&mut self, context: &Arc<Context>, reply: PollReply) {
        if let Some(settings) = reply.settings {
            self.apply(settings);
        }
        for offer in reply.jobs {
            let attempt = Attempt::offered(offer);
            let key = attempt.key();
            if self.jobs.contains_key(&key) {
                continue;
            }
            for (_, old) in self
                .jobs
                .iter()
                .filter(|(k, _)| k.job == key.job && k.attempt < key.attempt)
            {
                let _over = old
                    .events
                    .send(Event::Lease(crate::machines::lease::News::Superseded));
            }
            tracing::info!(job = %key, "offered");
            self.jobs
                .insert(key, job_task::spawn(context.clone(), attempt, false));
        }
        for job in reply.cancels {
            for (_, handle) in self.jobs.iter().filter(|(key, _)| key.job == job) {
                let _over = handle.events.send(Event::Cancel);
            }
        }
    }

    fn apply(&mut self, settings: DesiredSettings) {
        match ledger::judge(self.settings.as_ref(), &settings) {
            Desired::Same => {}
            Desired::Refuse => {
                tracing::error!(
                    generation = settings.generation,
                    "the cloud sends settings that contradict earlier ones: refused"
                );
            }
            Desired::Apply => {
                if let Err(error) = store::write_json(&self.paths.settings(), &settings) {
                    tracing::error!(error = %chain(&error), "settings can not be kept: asked for again at the next poll");
                    return;
                }
                self.trunk.send_replace(Some(settings.trunk.clone()));
                self.settings = Some(settings);
            }
        }
    }

    /// A spool at its limit that nothing will empty: all is uploaded, and what is uploaded is kept until its
    /// commit. One scan ends with what it has, so that the others can go on.
    fn relieve(&self) {
        let health = self.spool.health().borrow().clone();
        let stuck = self.jobs.values().all(|job| job.view.get().stuck);
        if !health.paused || !stuck || self.jobs.is_empty() {
            return;
        }
        let Some(job) = self.jobs.values().next() else {
            return;
        };
        let budget = health.budget >> 20;
        let why = format!(
            "the results do not fit into the box's {budget} MiB for results: split the scan, or raise [spool] budget_mib"
        );
        let _over = job.events.send(Event::Fail(why));
    }

    /// Remembers whether the cloud answered, and what was wrong.
    fn heard(&mut self, error: Option<&ClientError>) {
        self.contact = if error.is_some() {
            Contact::Failed
        } else {
            Contact::Answered
        };
        let text = error.map(|error| chain(error));
        if let Some(text) = text
            .as_ref()
            .filter(|text| self.trouble.as_ref() != Some(text))
        {
            tracing::warn!(error = %text, "no answer from the cloud");
        }
        self.trouble = text;
    }

    fn show(&self) {
        let mut scans = Scans::default();
        for job in self.jobs.values() {
            let seen = job.view.get();
            let scanning = is_scanning(seen.state);
            scans.running += u32::from(scanning);
            scans.out_of_contact += u32::from(scanning && seen.out_of_contact);
        }
        let lan = sonde_netd::lan::observe(self.config.lan.interface.as_deref());
        self.desk
            .observe(lan.as_ref().map(in_effect).unwrap_or_default());
        let health = self.spool.health().borrow().clone();
        let mut errors = Vec::new();
        if lan.as_ref().is_some_and(|lan| !lan.carrier) {
            errors.push("no CARRIER on LAN interface".to_owned());
        }
        errors.extend(
            health
                .error
                .map(|error| format!("results can not be written: {error}")),
        );
        if health.paused {
            errors.push("scans wait: the disk space for results is used up".to_owned());
        }
        let shown = phase(&self.stage, self.contact, scans);
        if self.contact == Contact::Failed {
            errors.extend(self.trouble.clone());
        }
        let name = match (&self.settings, &self.stage) {
            (Some(settings), Stage::Active { .. }) => settings.name.clone(),
            (None, Stage::Active { name, .. }) => name.clone(),
            _ => String::new(),
        };
        self.board.change(|status| {
            status.phase = shown;
            status.name = name;
            status.lan_address = lan
                .as_ref()
                .and_then(|lan| lan.address)
                .map(|address| address.to_string());
            status.lan_mac = lan.and_then(|lan| lan.mac);
            status.errors = errors;
            status.scans_running = scans.running;
        });
    }
}

fn is_scanning(state: JobState) -> bool {
    !state.is_end() && state != JobState::Draining
}

fn in_effect(lan: &sonde_netd::lan::Lan) -> InEffect {
    InEffect {
        lan_gateway: lan.gateway.map(Into::into),
        auto_ipv6: lan.ipv6.map(|(address, prefix_len)| AutoIpv6 {
            address,
            prefix_len,
            gateway: lan.ipv6_gateway,
        }),
    }
}

fn open_spool(path: &Path, config: &Config) -> std::io::Result<Spool> {
    std::fs::create_dir_all(path)?;
    let disk = rustix::fs::statvfs(path)?;
    let fifth = disk.f_blocks.saturating_mul(disk.f_frsize) / 100 * DISK_PERCENT;
    let budget = config.spool.budget_mib.map_or(fifth, |mib| mib << 20);
    Spool::open(path, budget, || {
        let (disk, why_not) = spool::disk::best();
        if let Some(error) = why_not {
            tracing::info!(%error, "no io_uring here: the spool is written by plain system calls");
        }
        disk
    })
}
