//! What the end-to-end tests share: the built command, temporary folders, namespaces of their own, and
//! the honest skip.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Set in the child that runs a test's body inside its own namespaces, to the test's name.
const INSIDE: &str = "SONDE_TEST_INSIDE";

/// The built `sonde`; `$SONDE_BINARY` names a copy where the build folder is out of reach.
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("SONDE_BINARY")
        .map_or_else(|| env!("CARGO_BIN_EXE_sonde").into(), PathBuf::from)
}

/// `sonde` with these arguments, nothing on stdin.
pub(crate) fn sonde<A: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// What a finished command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs `command` to its end and returns what it said.
pub(crate) fn run(command: &mut Command) -> Said {
    let output = command.output();
    output
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"))
        .into()
}

/// Runs `command`, which must end with status 0, and returns its stdout.
pub(crate) fn succeed(command: &mut Command) -> String {
    let said = run(command);
    assert_eq!(
        said.status,
        Some(0),
        "{command:?}: {}{}",
        said.stdout,
        said.stderr
    );
    said.stdout
}

/// A program that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_none())
    }
}

impl From<Child> for Running {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts `command` with nothing on stdin and lets it run.
pub(crate) fn serve(command: &mut Command) -> Running {
    let child = command.stdin(Stdio::null()).spawn();
    Running(child.unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
}

/// Says that a test could not run here, and why; past the test harness's capture, so that a person and
/// `.ci/run` see it.
pub(crate) fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

/// True when all programs are installed; otherwise skips the test by name.
pub(crate) fn installed(test: &str, programs: &[&str]) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<_> = std::env::split_paths(&folders)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .collect();
    for program in programs {
        if !folders.iter().any(|folder| folder.join(program).exists()) {
            skip(
                test,
                &format!("{program} is not installed; tests/setup.sh installs it"),
            );
            return false;
        }
    }
    true
}

/// Runs `body` as the only test of a child process inside namespaces of its own (network, processes,
/// mounts with an empty `/run`), where it may do as it likes: root there, whoever runs the tests. `test`
/// is the test's full path (`module::name`). The child is the first of its process namespace: when it
/// or this process ends, however it ends, everything started inside is gone, and the namespaces with it.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce()) {
    in_namespace_as(test, &["-r"], body);
}

/// As [`in_namespace`], but an ordinary user is what `user`, options of unshare(1), make of them inside.
pub(crate) fn in_namespace_as(test: &str, user: &[&str], body: impl FnOnce()) {
    if std::env::var(INSIDE).is_ok_and(|inside| inside == test) {
        succeed(Command::new("mount").args(["-t", "tmpfs", "tmpfs", "/run"]));
        ip("link set lo up");
        return body();
    }
    if !installed(test, &["setpriv", "unshare", "ip"]) {
        return;
    }
    let root = rustix::process::geteuid().is_root();
    let unshare = || {
        let mut command = Command::new("setpriv");
        command.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "-n",
            "-m",
            "-p",
            "--mount-proc",
        ]);
        if !root {
            command.arg("-U").args(user);
        }
        command.args(["--kill-child=SIGKILL", "--fork"]);
        command
    };
    let allowed = unshare().arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        return skip(
            test,
            "this machine gives no network namespaces to this user",
        );
    }
    let this = std::env::current_exe().expect("a test knows its executable");
    let said = run(unshare()
        .arg(this)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, test));
    eprint!("{}{}", said.stdout, said.stderr);
    assert_eq!(said.status, Some(0), "{test} failed inside its namespace");
    // A name that names no test would pass by running nothing.
    assert!(said.stdout.contains("1 passed"), "{test} names no test");
    for line in said
        .stderr
        .lines()
        .filter(|line| line.starts_with("SKIPPED "))
    {
        let _ = writeln!(std::io::stderr(), "{line}");
    }
}

/// `ip` of iproute2 with blank-separated arguments, which must succeed.
pub(crate) fn ip(arguments: &str) {
    succeed(Command::new("ip").args(arguments.split_whitespace()));
}

/// Waits until `condition` gives something, at most `limit`.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            start.elapsed() < limit,
            "{what} did not happen within {limit:?}"
        );
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// The JSON lines of a file or of stdout, those that are whole.
pub(crate) fn json_lines(text: &str) -> Vec<serde_json::Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}
