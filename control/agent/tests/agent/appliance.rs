//! The whole appliance, ended by SIGTERM in the middle of a scan and started again: supervisor, agent and worker are
//! processes of this test program, the cloud lives in the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sonde_agent::spool::{Key, Spool, disk};
use sonde_agent::supervisor;
use sonde_core::checkpoint::Checkpoint;
use sonde_core::observation::{Observation, Summary};
use sonde_core::request::ScanRequest;
use sonde_protocol::device::OnLostContact;

use crate::cloud::Cloud;
use crate::jobs::{CLOUD, PARENT, STATE, assert_whole, bind_to_parent, options, request};
use crate::worker::{finding, json};

const PROGRAM: &str = "SONDE_TEST_PROGRAM";
const WORKER: &str = "SONDE_TEST_WORKER";
/// Open ports that the worker finds; the first one would need a minute for them.
const FINDINGS: u16 = 3000;
const PACE: Duration = Duration::from_millis(20);
/// An appliance that is asked to end has so long.
const END_MAX: Duration = Duration::from_secs(5);

/// Not a test of its own: the supervisor.
#[test]
fn appliance_process() {
    let (Ok(state), Ok(cloud), Ok(program)) = (
        std::env::var(STATE),
        std::env::var(CLOUD),
        std::env::var(PROGRAM),
    ) else {
        return;
    };
    supervisor::run(&options(Path::new(&state), cloud), Path::new(&program)).unwrap();
}

/// Not a test of its own: a worker. It writes into the state folder how much it has said, and where it began.
#[test]
fn worker_process() {
    let (Ok(_), Ok(state)) = (std::env::var(WORKER), std::env::var(STATE)) else {
        return;
    };
    bind_to_parent();
    // Both ends of its connection are this socket; stdout belongs to the test harness here.
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let peer = UnixStream::from(socket);
    let mut line = String::new();
    BufReader::new(&peer).read_line(&mut line).unwrap();
    let request: ScanRequest = serde_json::from_str(&line).unwrap();
    let from = request
        .resume
        .as_ref()
        .map_or(0, |at| at.state.parse().unwrap());
    std::fs::write(Path::new(&state).join("began"), from.to_string()).unwrap();
    let say = |line: &str| (&peer).write_all(format!("{line}\n").as_bytes()).unwrap();
    say(
        r#"{"type":"scan","version":1,"id":"x","started":"2026-01-01T00:00:00Z","request":{"seed":7}}"#,
    );
    peer.set_read_timeout(Some(PACE)).unwrap();
    let (mut n, mut cancelled) = (from, false);
    while n < FINDINGS && !cancelled {
        say(&finding(n));
        n += 1;
        // The end of the input, or the time for the next; the second worker is in a hurry.
        cancelled = from == 0 && matches!((&peer).read(&mut [0]), Ok(0));
    }
    // What a worker says at an early end: the last finding came just before the checkpoint.
    let (version, state_text) = (1, n.to_string());
    say(&json(&Observation::Checkpoint(Checkpoint {
        version,
        plan: 1,
        seed: 7,
        state: state_text,
    })));
    say(&json(&Observation::Summary(Summary {
        complete: !cancelled,
        ..Summary::default()
    })));
    std::fs::write(Path::new(&state).join("said"), n.to_string()).unwrap();
}

struct Appliance(Child);

impl Appliance {
    fn start(state: &Path, cloud: &Cloud, program: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "appliance::appliance_process", "--nocapture"]);
        command.env(STATE, state).env(CLOUD, &cloud.url);
        command.env(PROGRAM, program).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// SIGTERM; how it ended, and after how long.
    fn terminate(&mut self) -> (ExitStatus, Duration) {
        let (pid, asked) = (Pid::from_child(&self.0), Instant::now());
        kill_process(pid, Signal::TERM).unwrap();
        (self.0.wait().unwrap(), asked.elapsed())
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

/// What the supervisor starts instead of `sonde`: this test program, as the one or the other.
fn program(folder: &Path) -> PathBuf {
    let path = folder.join("program");
    let test = std::env::current_exe().unwrap();
    let text = format!(
        "#!/bin/sh\nexport {PARENT}=$3\ncase $1 in\n\
         agent) exec {test:?} --exact jobs::agent_process --nocapture >/dev/null ;;\n\
         engine-worker) {WORKER}=1 exec {test:?} --exact appliance::worker_process --nocapture >/dev/null ;;\n\
         esac\n"
    );
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn number_in(path: &Path) -> u16 {
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

#[test]
fn a_box_that_is_switched_off_in_mid_scan_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("box");
    std::fs::create_dir(&state).unwrap();
    let program = program(dir.path());
    let cloud = Cloud::start(0, 1);
    let job = cloud.offer(request(), OnLostContact::Continue);
    let mut appliance = Appliance::start(&state, &cloud, &program);
    cloud.wait("results", |state| state.records.len() >= 30);

    let (status, took) = appliance.terminate();
    assert!(status.success(), "{status}");
    assert!(took < END_MAX, "{took:?}");
    assert_eq!(cloud.lock().committed, None);
    let said = number_in(&state.join("said"));
    assert!((29..FINDINGS).contains(&said), "{said}: the worker stopped");
    {
        let spool = Spool::open(&state.join("spool"), 1 << 30, || disk::best().0).unwrap();
        let stream = spool.stream(Key { job, attempt: 1 }).unwrap();
        // The header, and everything it found.
        assert_eq!(*stream.durable().borrow(), 1 + u64::from(said));
    }

    let mut appliance = Appliance::start(&state, &cloud, &program);
    cloud.wait("the commit", |state| state.committed.is_some());
    assert_eq!(
        number_in(&state.join("began")),
        said,
        "nothing is done twice"
    );
    assert_whole(&cloud.lock(), FINDINGS);
    cloud.wait("the box reports no jobs", |state| {
        let poll = state.last_poll.as_ref();
        poll.is_some_and(|poll| poll.jobs.is_empty())
    });
    let (status, took) = appliance.terminate();
    assert!(status.success() && took < END_MAX, "{status} {took:?}");
}
