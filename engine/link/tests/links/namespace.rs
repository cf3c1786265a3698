//! Network namespaces of a test's own.
//!
//! A namespace belongs to the thread that made it and is gone with it. As an ordinary user that takes a user
//! namespace first, which only a process with one thread can enter: the test then runs once more, in a child
//! that `unshare` has put there.

use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};

/// Set in the child: no third try.
const INSIDE: &str = "SONDE_LINK_TEST_INSIDE";

/// Runs `body` in a fresh network namespace with loopback up; `test` is the path of the calling test.
/// Says so and returns if the machine can't.
pub(crate) fn in_namespace(test: &str, body: impl FnOnce() + Send) {
    if Command::new("ip")
        .arg("-V")
        .stdout(Stdio::null())
        .status()
        .is_err()
    {
        eprintln!("SKIPPED {test}: no `ip` command (package iproute2)");
        return;
    }
    let entered = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            ip("link set lo up");
            body();
            Ok::<(), nix::Error>(())
        });
        match thread.join() {
            Ok(entered) => entered,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
    match entered {
        Ok(()) => {}
        Err(nix::Error::EPERM) if std::env::var_os(INSIDE).is_none() => {
            as_root_of_a_user_namespace(test)
        }
        Err(error) => eprintln!("SKIPPED {test}: no network namespace ({error})"),
    }
}

/// Runs `body` in a process where no other test runs, for what a process has only one of.
pub(crate) fn in_own_process(test: &str, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let this = std::env::current_exe().expect("a test knows its executable");
    run_again(test, Command::new(this));
}

/// `ip` with these words, in the calling thread's namespace.
pub(crate) fn ip(words: &str) {
    let output = Command::new("ip")
        .args(words.split(' '))
        .output()
        .expect("`ip` was there before");
    assert!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What `ip` says to these words.
pub(crate) fn ip_says(words: &str) -> String {
    let output = Command::new("ip")
        .args(words.split(' '))
        .output()
        .expect("`ip` was there before");
    assert!(
        output.status.success(),
        "ip {words}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("`ip` speaks ASCII")
}

/// A pair of interfaces `near` and `far`, up and silent: without addresses the kernel says nothing of its own.
pub(crate) fn veth_pair() {
    ip("link add near type veth peer name far");
    for end in ["near", "far"] {
        ip(&format!("link set {end} addrgenmode none"));
        ip(&format!("link set {end} up"));
    }
}

/// 192.0.2.1, a neighbour by name only, asked from 192.0.2.2: what is sent to it vanishes.
pub(crate) fn silent_neighbour() {
    veth_pair();
    ip("addr add 192.0.2.2/24 dev near");
    ip("neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev near");
}

fn as_root_of_a_user_namespace(test: &str) {
    let can = Command::new("unshare")
        .args(["-Urn", "true"])
        .stderr(Stdio::null())
        .status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED {test}: no user namespaces for ordinary users, or no `unshare`");
        return;
    }
    let this = std::env::current_exe().expect("a test knows its executable");
    let mut command = Command::new("unshare");
    command.args(["-Urn", "--"]).arg(this);
    run_again(test, command);
}

/// Runs `test` by `command`, which takes what the test executable takes.
fn run_again(test: &str, mut command: Command) {
    let output = command
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .expect("the command ran just now");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    // Repeated so that a skip inside is a skip outside.
    eprint!("{complained}");
    assert!(
        output.status.success(),
        "{test} failed in its process:\n{said}{complained}"
    );
    assert!(
        said.contains("1 passed"),
        "`{test}` is not the path of the test:\n{said}"
    );
}
