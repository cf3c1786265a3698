//! What the appliance's processes have given up by the time they listen to anybody.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::{binary, installed, run, skip, sonde, wait_for};

const PATIENCE: Duration = Duration::from_secs(60);
/// Bits of /proc/PID/status, see capabilities(7).
const SETPCAP: u64 = 1 << 8;
const NET_RAW: u64 = 1 << 13;

/// The fields of a process's status that say what it may do.
#[derive(Debug, PartialEq, Eq)]
struct Privileges {
    inheritable: u64,
    permitted: u64,
    effective: u64,
    bounding: u64,
    ambient: u64,
    no_new: bool,
}

impl Privileges {
    fn of(pid: &str) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
        };
        Self {
            inheritable: field("CapInh:"),
            permitted: field("CapPrm:"),
            effective: field("CapEff:"),
            bounding: field("CapBnd:"),
            ambient: field("CapAmb:"),
            no_new: field("NoNewPrivs:") == 1,
        }
    }

    /// What is left of these when all but `kept` is given up.
    fn less_all_but(&self, kept: u64) -> Self {
        Self {
            inheritable: 0,
            permitted: self.permitted & kept,
            effective: self.permitted & kept,
            // Whoever may.
            bounding: match self.effective & SETPCAP {
                0 => self.bounding,
                _ => 0,
            },
            ambient: 0,
            no_new: true,
        }
    }
}

/// A process that waits for its input, which is held open; killed when dropped.
struct Waiting(Child);

impl Waiting {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    #[track_caller]
    fn comes_to(&self, expected: &Privileges) {
        let pid = self.0.id().to_string();
        let what = format!("privileges {expected:x?}");
        wait_for(&what, PATIENCE, || {
            (Privileges::of(&pid) == *expected).then_some(())
        });
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn worker() -> Command {
    let parent = std::process::id().to_string();
    sonde(["engine-worker", "--parent", &parent])
}

#[test]
fn a_worker_keeps_raw_packets_alone() {
    let expected = Privileges::of("self").less_all_but(NET_RAW);
    Waiting::start(&mut worker()).comes_to(&expected);
}

#[test]
fn a_worker_keeps_raw_packets_alone_in_a_user_namespace() {
    let test = "privileges::a_worker_keeps_raw_packets_alone_in_a_user_namespace";
    if !installed(test, &["unshare"]) {
        return;
    }
    let inside = |program: &std::path::Path| {
        let mut command = Command::new("unshare");
        command.args(["-U", "-r"]).arg(program);
        command
    };
    if run(&mut inside("true".as_ref())).status != Some(0) {
        return skip(test, "this machine gives no user namespaces");
    }
    let parent = std::process::id().to_string();
    let mut command = inside(&binary());
    command.args(["engine-worker", "--parent", &parent]);
    Waiting::start(&mut command).comes_to(&Privileges {
        inheritable: 0,
        permitted: NET_RAW,
        effective: NET_RAW,
        bounding: 0,
        ambient: 0,
        no_new: true,
    });
}

#[test]
fn an_agent_keeps_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("appliance.toml");
    std::fs::write(&config, "[lan]\ninterface = \"lo\"\n").unwrap();
    let expected = Privileges::of("self").less_all_but(0);
    let parent = std::process::id().to_string();
    let mut agent = sonde(["agent", "--parent", &parent]);
    agent.args(["--cloud", "http://127.0.0.1:1"]);
    agent.arg("--state").arg(folder.path());
    agent.arg("--config").arg(&config).stderr(Stdio::null());
    Waiting::start(&mut agent).comes_to(&expected);
}

/// To the kernel the parent is the thread that started the process.
#[test]
fn a_worker_ends_with_its_parent() {
    let started = std::thread::spawn(|| {
        let waiting = Waiting::start(&mut worker());
        waiting.comes_to(&Privileges::of("self").less_all_but(NET_RAW));
        waiting
    });
    let mut orphan = started.join().unwrap();
    let status = wait_for("the worker's end", PATIENCE, || {
        orphan.0.try_wait().unwrap()
    });
    assert_eq!(status.signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn a_worker_whose_parent_is_gone_says_so() {
    let said = run(&mut sonde(["engine-worker", "--parent", "4000000"]));
    assert_eq!(said.status, Some(1), "{said:?}");
    assert!(
        said.stdout.starts_with(r#"{"type":"error""#) && said.stdout.contains("sonde appliance"),
        "{said:?}"
    );
}
