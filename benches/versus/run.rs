//! Runs one command within limits and says what it cost, from its start to its exit.
//!
//! Between this process and the command stands a small one of our own, started as `versus measure`: it has
//! no other child, so what the kernel says of its children (getrusage(2)) is what that command and whatever it
//! started took. It ends the command when time is up, or when this process is gone.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, pidfd_open, pidfd_send_signal, setrlimit,
};
use serde::{Deserialize, Serialize};

/// The first argument that makes this program the one in between.
pub(crate) const MEASURE: &str = "measure";

/// How often `during` is called.
const TICK: Duration = Duration::from_millis(10);

/// What a command may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    /// Of address space, in bytes.
    pub(crate) memory: u64,
}

/// What a command took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// From its start to its exit, in seconds.
    pub(crate) wall_s: f64,
    /// In user space, in seconds, with everything it started and waited for.
    pub(crate) user_s: f64,
    /// In the kernel: including what the kernel received, in this process's time, for anybody.
    pub(crate) system_s: f64,
    /// Of the kernel's own threads that receive when processes are too busy, in seconds.
    #[serde(default)]
    pub(crate) softirq_s: f64,
    /// The most memory that one of its processes held. Never below what the process in between
    /// has, some 3 MiB.
    pub(crate) peak_bytes: u64,
    /// How it ended.
    pub(crate) end: End,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum End {
    Status(i32),
    Signal(i32),
    TimedOut,
}

impl Cost {
    /// In user space and in the kernel, with what the kernel's threads did meanwhile.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s + self.softirq_s
    }
}

/// Runs `words` with its output going to `log`; calls `during` again and again with the time of the start, and once
/// after the end.
///
/// # Errors
/// When it can't be started or measured.
pub(crate) fn run(
    words: &[OsString],
    limits: Limits,
    log: &Path,
    mut during: impl FnMut(Instant),
) -> anyhow::Result<Cost> {
    let softirq_before = softirq_time();
    let mut between = Command::new(std::env::current_exe()?)
        .arg(MEASURE)
        .arg(limits.time.as_millis().to_string())
        .arg(limits.memory.to_string())
        .arg(log)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the process that measures")?;
    // Held until the end: when it closes, the command is ended.
    let _alive = between.stdin.take();
    let mut said = between.stdout.take().context("it has an output")?;
    let started = Instant::now();
    let mut tick = Duration::ZERO;
    loop {
        during(started);
        tick = (tick + TICK).max(started.elapsed());
        if readable(&said, tick.saturating_sub(started.elapsed()))? {
            break;
        }
    }
    let mut text = String::new();
    said.read_to_string(&mut text)?;
    during(started);
    let status = between.wait()?;
    ensure!(status.success(), "the process that measures failed");
    let cost: Cost = serde_json::from_str(&text).context("what it measured can't be read")?;
    Ok(Cost {
        softirq_s: (softirq_time() - softirq_before).max(0.0),
        ..cost
    })
}

/// The process in between: `arguments` are the milliseconds and bytes allowed, the log, and the command.
///
/// # Errors
/// When it can't start or watch the command.
pub(crate) fn measure(arguments: &[OsString]) -> anyhow::Result<()> {
    let [time, memory, log, program, rest @ ..] = arguments else {
        bail!("{MEASURE} is started by this program itself");
    };
    let number = |word: &OsString| -> anyhow::Result<u64> {
        Ok(word.to_str().context("a number is text")?.parse()?)
    };
    let time = Duration::from_millis(number(time)?);
    let memory = Some(number(memory)?);
    let limit = Rlimit {
        current: memory,
        maximum: memory,
    };
    setrlimit(Resource::As, limit)?;
    let log = File::create(log).context("cannot write the log")?;
    let started = Instant::now();
    let mut child = Command::new(program)
        .args(rest)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let in_time = wait(&child, started + time)?;
    if !in_time {
        child.kill()?;
    }
    let status = child.wait()?;
    let wall = started.elapsed();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cost = Cost {
        wall_s: wall.as_secs_f64(),
        user_s: seconds(usage.user_time()),
        system_s: seconds(usage.system_time()),
        softirq_s: 0.0,
        // The kernel says kibibytes.
        peak_bytes: usage.max_rss().cast_unsigned() * 1024,
        end: match (in_time, status.code()) {
            (false, _) => End::TimedOut,
            (true, Some(code)) => End::Status(code),
            (true, None) => End::Signal(status.signal().unwrap_or_default()),
        },
    };
    io::stdout().write_all(serde_json::to_string(&cost)?.as_bytes())?;
    Ok(())
}

/// True when the command has ended; false when time is up, or the one who asked is gone. The command is asked to
/// end first, and killed by the caller if that takes long.
fn wait(child: &Child, until: Instant) -> anyhow::Result<bool> {
    let pid = Pid::from_raw(child.id().cast_signed()).context("a process has an id")?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let stdin = io::stdin();
    let left = Timespec::try_from(until.saturating_duration_since(Instant::now()))?;
    let mut fds = [
        PollFd::new(&process, PollFlags::IN),
        PollFd::new(&stdin, PollFlags::IN),
    ];
    rustix::io::retry_on_intr(|| poll(&mut fds, Some(&left)))?;
    if !fds[0].revents().is_empty() {
        return Ok(true);
    }
    // A scanner takes back what it attached when it is asked to end.
    pidfd_send_signal(&process, Signal::TERM)?;
    readable(&process, Duration::from_secs(2))?;
    Ok(false)
}

fn readable(fd: &impl AsFd, wait: Duration) -> anyhow::Result<bool> {
    let wait = Timespec::try_from(wait)?;
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    Ok(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&wait)))? > 0)
}

fn seconds(time: TimeVal) -> f64 {
    time.num_microseconds() as f64 / 1e6
}

/// What the kernel's receiving threads took since the machine started, in seconds.
fn softirq_time() -> f64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::read_to_string(process.path().join("stat")).ok())
        .filter(|stat| stat.contains("(ksoftirqd/") || stat.contains("(napi/"))
        .filter_map(|stat| cpu_ticks(&stat))
        .map(|ticks| ticks as f64 / TICKS_A_SECOND)
        .sum()
}

/// USER_HZ: 100 on every architecture that Linux is built for here (time(7)).
const TICKS_A_SECOND: f64 = 100.0;

/// Fields 14 and 15 of proc_pid_stat(5).
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_past_any_name() {
        let stat = "15 (ksoftirqd/0) S 2 0 0 0 -1 69238848 0 0 0 0 7 1234 0 0 20 0";
        assert_eq!(cpu_ticks(stat), Some(1241));
        assert_eq!(cpu_ticks("15 (a"), None);
    }

    #[test]
    fn a_cost_survives_the_way_between_the_processes() {
        let cost = Cost {
            wall_s: 1.5,
            user_s: 0.25,
            system_s: 0.5,
            softirq_s: 0.0,
            peak_bytes: 4 << 20,
            end: End::TimedOut,
        };
        let text = serde_json::to_string(&cost).unwrap();
        assert_eq!(serde_json::from_str::<Cost>(&text).unwrap(), cost);
        assert_eq!(cost.cpu_s(), 0.75);
    }
}
