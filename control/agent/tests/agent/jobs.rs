//! Whole jobs through the agent's process, which is killed, against a cloud that cuts its connections.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sonde_agent::agent::{self, Options};
use sonde_core::request::ScanRequest;
use sonde_protocol::device::{OnLostContact, Outcome};

use crate::cloud::{Cloud, State};
use crate::worker::{Workers, finding};

pub(crate) const STATE: &str = "SONDE_TEST_AGENT_STATE";
pub(crate) const CLOUD: &str = "SONDE_TEST_AGENT_CLOUD";
/// Names the process with which a test's process ends.
pub(crate) const PARENT: &str = "SONDE_TEST_PARENT";

/// Not a test of its own: the process the others start and kill.
#[test]
fn agent_process() {
    let (Ok(state), Ok(cloud)) = (std::env::var(STATE), std::env::var(CLOUD)) else {
        return;
    };
    bind_to_parent();
    agent::run(&options(Path::new(&state), cloud)).unwrap();
}

pub(crate) fn options(state: &Path, cloud: String) -> Options {
    let config = state.join("appliance.toml");
    if !config.exists() {
        std::fs::write(&config, "[lan]\ninterface = \"lo\"\n").unwrap();
    }
    Options {
        config: Some(config),
        state: Some(state.to_owned()),
        cloud: Some(cloud),
    }
}

/// Leaves nothing behind when whoever started this process is killed.
pub(crate) fn bind_to_parent() {
    if let Ok(parent) = std::env::var(PARENT) {
        sonde_agent::privileges::bind_to(parent.parse().unwrap()).unwrap();
    }
}

/// Killed when dropped.
pub(crate) struct Agent(Child);

impl Agent {
    fn start(state: &Path, cloud: &Cloud) -> Self {
        Self::start_at(state, &cloud.url)
    }

    /// With a cloud at `url`.
    pub(crate) fn start_at(state: &Path, url: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "jobs::agent_process", "--nocapture"]);
        command.env(STATE, state).env(CLOUD, url);
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

pub(crate) struct Fixture {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) cloud: Arc<Cloud>,
    workers: Arc<Workers>,
}

impl Fixture {
    pub(crate) fn new(cut_percent: u64, findings: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cloud = Cloud::start(cut_percent, 1);
        let workers = Workers::start(&dir.path().join("run/worker.sock"), findings, cloud.clone());
        Self {
            dir,
            cloud,
            workers,
        }
    }

    pub(crate) fn agent(&self) -> Agent {
        Agent::start(self.dir.path(), &self.cloud)
    }

    /// Everything is over for the box, too.
    pub(crate) fn assert_forgotten(&self, agent: Agent) {
        self.cloud.wait("the box reports no jobs", |state| {
            state
                .last_poll
                .as_ref()
                .is_some_and(|poll| poll.jobs.is_empty())
        });
        drop(agent);
        // Nothing is left of it before the box says so.
        for folder in ["jobs", "spool"] {
            assert_eq!(
                std::fs::read_dir(self.dir.path().join(folder))
                    .unwrap()
                    .count(),
                0,
                "{folder}"
            );
        }
    }
}

pub(crate) fn request() -> ScanRequest {
    ScanRequest {
        targets: vec!["10.1.0.0/24@100".to_owned()],
        ..ScanRequest::default()
    }
}

pub(crate) fn lines(state: &State) -> Vec<String> {
    let text = |line: &Vec<u8>| {
        String::from_utf8(line.clone())
            .unwrap()
            .trim_end()
            .to_owned()
    };
    state.records.values().map(text).collect()
}

pub(crate) fn assert_whole(state: &State, findings: u16) {
    let lines = lines(state);
    assert!(lines[0].starts_with(r#"{"type":"scan""#));
    let found: Vec<String> = (0..findings).map(finding).collect();
    assert_eq!(lines[1..=usize::from(findings)], found);
    let summary = &lines[usize::from(findings) + 1];
    assert!(summary.contains(r#""complete":true"#), "{summary}");
    assert!(
        summary.contains(&format!(r#""open":{findings},"#)),
        "{summary}"
    );
    assert_eq!(lines.len(), usize::from(findings) + 2);
    assert_eq!(state.committed.as_ref().unwrap().outcome, Outcome::Finished);
}

#[test]
fn a_job_is_done_from_activation_to_commit() {
    let fixture = Fixture::new(0, 200);
    fixture.cloud.offer(request(), OnLostContact::Continue);
    let agent = fixture.agent();
    fixture
        .cloud
        .wait("the commit", |state| state.committed.is_some());
    assert_whole(&fixture.cloud.lock(), 200);
    assert_eq!(fixture.workers.started.load(Ordering::SeqCst), 1);
    fixture.assert_forgotten(agent);
}

/// kill -9 of agent and worker in the middle of a job, and a third of all connections cut at random bytes: every
/// record is in the cloud once.
#[test]
fn kills_and_cuts_lose_and_double_nothing() {
    let fixture = Fixture::new(30, 300);
    fixture.cloud.offer(request(), OnLostContact::Continue);
    let mut agent = fixture.agent();
    for step in 1..=8 {
        let stored = step * 30;
        fixture
            .cloud
            .wait("results", |state| state.records.len() >= stored);
        if step % 2 == 0 {
            fixture.workers.kill.store(true, Ordering::SeqCst);
        } else {
            agent.kill();
            agent = fixture.agent();
        }
    }
    fixture
        .cloud
        .wait("the commit", |state| state.committed.is_some());
    assert_whole(&fixture.cloud.lock(), 300);
    assert!(
        fixture.workers.started.load(Ordering::SeqCst) > 1,
        "somebody was killed"
    );
    assert!(fixture.cloud.lock().cuts > 3, "connections were cut");
    fixture.assert_forgotten(agent);
}

#[test]
fn a_cancelled_job_keeps_its_part() {
    let fixture = Fixture::new(0, 10_000);
    fixture.cloud.offer(request(), OnLostContact::Continue);
    let agent = fixture.agent();
    fixture
        .cloud
        .wait("results", |state| state.records.len() >= 30);
    fixture.cloud.change(|state| state.cancel = true);
    fixture
        .cloud
        .wait("the commit", |state| state.committed.is_some());
    {
        let state = fixture.cloud.lock();
        assert_eq!(
            state.committed.as_ref().unwrap().outcome,
            Outcome::Cancelled
        );
        let lines = lines(&state);
        assert!(lines.last().unwrap().contains(r#""complete":false"#));
        assert!(lines.len() < 5000);
    }
    fixture.assert_forgotten(agent);
}

/// The cloud does not take one record, ever: the job ends, its scan with it, and what comes before is kept.
#[test]
fn a_record_that_is_refused_for_ever_fails_the_job() {
    let fixture = Fixture::new(0, 60_000);
    fixture.cloud.change(|state| state.refused = Some(57));
    fixture.cloud.offer(request(), OnLostContact::Continue);
    let agent = fixture.agent();
    fixture
        .cloud
        .wait("the commit", |state| state.committed.is_some());
    {
        let state = fixture.cloud.lock();
        assert_eq!(state.records.len(), 57, "all before it");
        let commit = state.committed.as_ref().unwrap();
        assert_eq!((commit.outcome, commit.count), (Outcome::Failed, 57));
        let why = commit.error.as_ref().unwrap();
        assert!(why.contains("result 57 is refused"), "{why}");
    }
    fixture.assert_forgotten(agent);
}

#[test]
fn a_superseded_job_is_dropped() {
    let fixture = Fixture::new(0, 10_000);
    fixture.cloud.offer(request(), OnLostContact::Continue);
    let agent = fixture.agent();
    fixture
        .cloud
        .wait("results", |state| state.records.len() >= 30);
    fixture.cloud.change(|state| state.superseded = true);
    fixture.cloud.wait("the box lets go", |state| {
        state
            .last_poll
            .as_ref()
            .is_some_and(|poll| poll.jobs.is_empty())
    });
    assert_eq!(fixture.cloud.lock().committed, None);
    fixture.assert_forgotten(agent);
}

/// What the panel sees, from the agent's own socket.
#[test]
fn the_panel_is_told_when_the_cloud_is_gone() {
    use std::io::{BufRead, BufReader};
    let dir = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "jobs::agent_process", "--nocapture"]);
    command
        .env(STATE, dir.path())
        .env(CLOUD, format!("http://{nobody}"));
    let _agent = Agent(command.stdout(Stdio::null()).spawn().unwrap());
    let socket = dir.path().join("run/agent.sock");
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let client = loop {
        match std::os::unix::net::UnixStream::connect(&socket) {
            Ok(client) => break client,
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    };
    client
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let failed = BufReader::new(client).lines().find(|line| {
        let line = line.as_ref().unwrap();
        line.contains("communication-failure") && line.contains("can not reach the cloud")
    });
    assert!(failed.is_some());
}
