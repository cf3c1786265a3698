//! `sonde appliance`: starts the others, restarts what dies, hands out workers. It reads nothing that comes
//! from outside: a connection on the worker socket goes to a worker unread.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::fs::FlockOperation;
use tokio::net::{UnixListener, UnixStream};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::agent::{self, AgentError, Options};
use crate::clock::{self, Clock};
use crate::config::{CONFIG_PATH, Paths};
use crate::local::{self, ListenError};
use crate::machines::backoff::Backoff;
use crate::store::{self, StoreError};

/// Workers at once; a connection beyond is closed.
pub const WORKERS_MAX: usize = 8;
/// Children that were asked to end have so long.
const END_MAX: Duration = Duration::from_secs(10);
/// An agent that lived for so long is restarted at once,
const STABLE: Duration = Duration::from_secs(10);
/// one that dies at once again and again after at most so long.
const RESTART_MAX: Duration = Duration::from_secs(5);

/// Why there is no appliance.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// What a person wrote.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// The state folder.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A second one.
    #[error("another appliance runs on {path}: end it, or name another folder with --state")]
    Locked {
        /// The state folder.
        path: PathBuf,
    },
    /// The worker socket.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Processes, signals.
    #[error("the appliance can not {action}")]
    Io {
        /// What.
        action: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl SuperviseError {
    /// True for what a person wrote.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Agent(error) if error.is_refusal())
    }
}

/// Runs until SIGTERM or SIGINT, or until the agent says that it can't be configured so. `program` is `sonde`,
/// which it starts as agent and as workers.
///
/// # Errors
/// [`SuperviseError`] when it can't start.
pub fn run(options: &Options, program: &Path) -> Result<(), SuperviseError> {
    agent::check(options)?;
    let paths = Paths::new(options.state.as_deref());
    store::make_dir(&paths.state)?;
    let _lock = lock(&paths)?;
    let listener = local::listen(&paths.worker_socket())?;
    let io = |action| move |source| SuperviseError::Io { action, source };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(io("start a runtime"))?.block_on(async {
        let listener = UnixListener::from_std(listener).map_err(io("listen"))?;
        supervise(options, program, listener).await
    })
}

/// Held for as long as the file is open, and so until this process ends, however it ends.
fn lock(paths: &Paths) -> Result<File, SuperviseError> {
    let path = paths.lock();
    let io = |source| StoreError::Io {
        action: "create",
        path: path.clone(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(io)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        SuperviseError::Locked {
            path: paths.state.clone(),
        }
    })?;
    Ok(file)
}

async fn supervise(
    options: &Options,
    program: &Path,
    listener: UnixListener,
) -> Result<(), SuperviseError> {
    let io = |action| move |source| SuperviseError::Io { action, source };
    let mut term = signal(SignalKind::terminate()).map_err(io("listen to signals"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(io("listen to signals"))?;
    let clock = Clock::start();
    let mut backoff = Backoff::new(Duration::from_millis(100), RESTART_MAX, clock::seed());
    let mut agent = start_agent(program, options).map_err(io("start the agent"))?;
    let mut started = std::time::Instant::now();
    let mut workers: HashMap<u32, Child> = HashMap::new();
    let mut restart_at = None;
    let mut reap = tokio::time::interval(Duration::from_millis(200));
    loop {
        tokio::select! {
            _ = term.recv() => break,
            _ = int.recv() => break,
            status = agent.wait(), if restart_at.is_none() => {
                if started.elapsed() >= STABLE {
                    backoff.reset();
                }
                let wait = backoff.fail();
                tracing::warn!(?status, ?wait, "the agent ended: it is started again");
                restart_at = Some(clock.after(wait));
            }
            () = clock.sleep_until(restart_at), if restart_at.is_some() => {
                match start_agent(program, options) {
                    Ok(child) => (agent, restart_at) = (child, None),
                    Err(error) => {
                        tracing::error!(%error, "the agent can not be started");
                        restart_at = Some(clock.after(backoff.fail()));
                    }
                }
                started = std::time::Instant::now();
            }
            accepted = listener.accept() => match accepted {
                Ok((connection, _)) if workers.len() < WORKERS_MAX => {
                    match start_worker(program, options, connection) {
                        Ok(child) => {
                            if let Some(pid) = child.id() {
                                workers.insert(pid, child);
                            }
                        }
                        Err(error) => tracing::error!(%error, "a worker can not be started"),
                    }
                }
                Ok(_) => tracing::warn!("{WORKERS_MAX} workers run: a request for another is turned away"),
                Err(error) => {
                    tracing::error!(%error, "the worker socket fails");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            _ = reap.tick() => workers.retain(|pid, child| match child.try_wait() {
                Ok(None) => true,
                ended => {
                    tracing::debug!(pid, ?ended, "a worker ended");
                    false
                }
            }),
        }
    }
    end(agent, workers.into_values().collect()).await;
    Ok(())
}

fn start_agent(program: &Path, options: &Options) -> std::io::Result<Child> {
    let mut command = Command::new(program);
    command
        .arg("agent")
        .arg("--parent")
        .arg(std::process::id().to_string());
    for (name, value) in [("--config", &options.config), ("--state", &options.state)] {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    if let Some(cloud) = &options.cloud {
        command.arg("--cloud").arg(cloud);
    }
    command.stdin(Stdio::null()).kill_on_drop(true).spawn()
}

/// The connection is the worker's input and output; nothing of it is read here.
fn start_worker(
    program: &Path,
    options: &Options,
    connection: UnixStream,
) -> std::io::Result<Child> {
    let connection = connection.into_std()?;
    connection.set_nonblocking(false)?;
    let input = OwnedFd::from(connection.try_clone()?);
    let mut command = Command::new(program);
    command
        .arg("engine-worker")
        .arg("--parent")
        .arg(std::process::id().to_string());
    let default = Path::new(CONFIG_PATH);
    if let Some(config) = options
        .config
        .as_deref()
        .or_else(|| default.exists().then_some(default))
    {
        command.arg("--config").arg(config);
    }
    command
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(OwnedFd::from(connection)));
    command.kill_on_drop(true).spawn()
}

/// The agent first: with it go the connections, and workers end by themselves.
async fn end(mut agent: Child, mut workers: Vec<Child>) {
    terminate(&agent);
    if timeout(END_MAX, agent.wait()).await.is_err() {
        let _gone = agent.kill().await;
    }
    workers.iter().for_each(terminate);
    for worker in &mut workers {
        if timeout(END_MAX, worker.wait()).await.is_err() {
            let _gone = worker.kill().await;
        }
    }
}

/// SIGTERM to a child that has not been waited for: its id is still its own.
fn terminate(child: &Child) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_has_one_supervisor() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(Some(dir.path()));
        let first = lock(&paths).unwrap();
        let error = lock(&paths).unwrap_err();
        assert!(matches!(error, SuperviseError::Locked { .. }));
        assert!(error.to_string().contains("--state"), "{error}");
        drop(first);
        lock(&paths).unwrap();
    }

    #[test]
    fn what_a_person_wrote_is_refused_before_anything_starts() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("appliance.toml");
        let run_with = |text: &str| {
            std::fs::write(&config, text).unwrap();
            let state = Some(dir.path().join("state"));
            let options = Options {
                config: Some(config.clone()),
                state,
                cloud: None,
            };
            run(&options, Path::new("/nonexistent")).unwrap_err()
        };
        let none = run_with("");
        assert!(
            none.is_refusal() && none.to_string().contains("--cloud"),
            "{none}"
        );
        let unknown = run_with("[cloud]\nurll = \"https://c\"\n");
        assert!(
            unknown.is_refusal() && unknown.to_string().contains("appliance.toml"),
            "{unknown}"
        );
        let both = run_with("[cloud]\nurl = \"https://c\"\nfingerprint = \"a\"\nca_file = \"b\"\n");
        assert!(both.is_refusal(), "{both}");
        assert!(!dir.path().join("state").exists());
    }
}
