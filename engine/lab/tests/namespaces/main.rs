//! The lab on the real kernel, as root and as an ordinary user.
//!
//! Entering namespaces takes a process with one thread, which the usual test harness does not leave us. So
//! this binary is its own harness: `main` starts itself anew for each case and each kind of user, and only the
//! new process, still single-threaded, enters namespaces of its own and runs the case there.

#![allow(
    clippy::unwrap_used,
    reason = "a test binary; clippy knows only those of the usual harness"
)]
#![allow(clippy::print_stdout, reason = "the harness reports there")]

mod trunk_side;
mod wire;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use sonde_core::observation::Proto;
use sonde_lab::{Behaviour, Lab, LabError, Machine, TRUNK, Topology, enter_namespaces};

const CASES: [(&str, fn()); 9] = [
    (
        "hosts_answer_in_their_vlan_and_no_other",
        trunk_side::hosts_answer_in_their_vlan_and_no_other,
    ),
    (
        "the_two_hosts_of_one_address_are_told_apart",
        trunk_side::the_two_hosts_of_one_address_are_told_apart,
    ),
    (
        "the_switch_loses_no_frame",
        trunk_side::the_switch_loses_no_frame,
    ),
    (
        "no_frame_is_lost_silently",
        trunk_side::no_frame_is_lost_silently,
    ),
    (
        "every_open_port_accepts_and_no_other",
        every_open_port_accepts_and_no_other,
    ),
    ("large_answers_pass_whole", large_answers_pass_whole),
    ("routers_forward_and_prohibit", routers_forward_and_prohibit),
    ("a_lab_goes_down_and_up_again", a_lab_goes_down_and_up_again),
    (
        "a_killed_process_leaves_nothing",
        a_killed_process_leaves_nothing,
    ),
];

/// A user without privileges on every Linux system: `nobody`.
const NOBODY: u32 = 65_534;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--inside", case] => inside(case),
        ["--hold"] => hold(),
        _ => outside(&args),
    }
}

/// The harness: every case whose name has one of the words given, as every user that we can be.
fn outside(args: &[String]) -> ExitCode {
    let words: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let cases = CASES.iter().filter(|(name, _)| {
        words.is_empty() || words.iter().any(|word| name.contains(word.as_str()))
    });
    if args.iter().any(|arg| arg == "--list") {
        cases.for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    // Where an ordinary user may run it: the build folder may be below somebody's home.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("namespaces");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let root = rustix::process::geteuid().is_root();
    let users: &[Option<u32>] = if root { &[None, Some(NOBODY)] } else { &[None] };
    let mut failed = 0;
    for (name, _) in cases {
        for &user in users {
            let who = if root && user.is_none() {
                "root"
            } else {
                "ordinary user"
            };
            let status = run_inside(&program, name, user);
            println!(
                "test {name} as {who} ... {}",
                if status { "ok" } else { "FAILED" }
            );
            failed += usize::from(!status);
        }
    }
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run_inside(program: &Path, case: &str, user: Option<u32>) -> bool {
    let mut command = Command::new(program);
    command.args(["--inside", case]).stdin(Stdio::null());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    command.status().unwrap().success()
}

fn inside(case: &str) -> ExitCode {
    if let Err(error) = enter_namespaces() {
        eprintln!("SKIPPED {case}: {error}");
        return ExitCode::SUCCESS;
    }
    let found = CASES.iter().find(|(name, _)| *name == case);
    found.unwrap().1();
    ExitCode::SUCCESS
}

/// A lab in the namespace we were started in, until we are killed.
fn hold() -> ExitCode {
    let lab = Lab::up(&Topology::builtin()).unwrap();
    println!("ready");
    std::io::stdout().flush().unwrap();
    // Until the other end is closed, which is never before the kill.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    drop(lab);
    ExitCode::SUCCESS
}

/// The builtin lab; says how long it took.
pub(crate) fn up() -> (Topology, Lab) {
    let topology = Topology::builtin();
    let begun = Instant::now();
    let lab = Lab::up(&topology).unwrap();
    eprintln!(
        "lab of {} machines up in {:?}",
        topology.machines().count(),
        begun.elapsed()
    );
    (topology, lab)
}

/// Waits for a condition, up to ten seconds.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(
            begun.elapsed() < Duration::from_secs(10),
            "waited in vain for {what}"
        );
        std::thread::yield_now();
    }
}

/// A machine from where `address` of `machine` can be asked: a neighbour, or else the machine itself.
fn asker<'a>(topology: &'a Topology, machine: &Machine<'_>, address: IpAddr) -> Machine<'a> {
    let (network, _) = machine
        .interfaces
        .iter()
        .find(|(_, addresses)| addresses.contains(&address))
        .unwrap();
    let itself = topology.machines().find(|other| other.name == machine.name);
    let neighbour = topology.machines().find(|other| {
        let same_family = |(near, addresses): &(&sonde_lab::Network, &[IpAddr])| {
            near.name == network.name && addresses.iter().any(|a| a.is_ipv4() == address.is_ipv4())
        };
        let normal = other.behaviour == Behaviour::Normal;
        normal && other.name != machine.name && other.interfaces.iter().any(same_family)
    });
    neighbour.or(itself).unwrap()
}

/// Each machine's services answer on each of its addresses; a port without a service refuses.
fn every_open_port_accepts_and_no_other() {
    let (topology, lab) = up();
    for machine in topology
        .machines()
        .filter(|machine| machine.behaviour == Behaviour::Normal)
    {
        for &address in machine
            .interfaces
            .iter()
            .flat_map(|(_, addresses)| *addresses)
        {
            let from = asker(&topology, &machine, address).name;
            for service in machine.services {
                let at = SocketAddr::new(address, service.port);
                let answered = lab.visit(from, || match service.kind.proto() {
                    Proto::Tcp => TcpStream::connect_timeout(&at, Duration::from_secs(5)).map(drop),
                    Proto::Udp => ask_udp(service.kind, at).map(drop),
                });
                answered
                    .unwrap()
                    .unwrap_or_else(|e| panic!("{} {at} from {from}: {e}", machine.name));
            }
            let closed = SocketAddr::new(address, 9);
            let refused = lab
                .visit(from, || {
                    TcpStream::connect_timeout(&closed, Duration::from_secs(5))
                })
                .unwrap()
                .unwrap_err();
            assert_eq!(
                refused.kind(),
                std::io::ErrorKind::ConnectionRefused,
                "{closed}"
            );
        }
    }
    // Open in VLAN 300 only, though VLAN 100 has a host of that address.
    let other = "10.1.0.9:8080".parse().unwrap();
    let refused = lab.visit("mail", || {
        TcpStream::connect_timeout(&other, Duration::from_secs(5))
    });
    assert_eq!(
        refused.unwrap().unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
    assert_eq!(lab.broken(), Vec::<&str>::new());
}

fn ask_udp(kind: sonde_lab::Kind, at: SocketAddr) -> std::io::Result<Vec<u8>> {
    let any: SocketAddr = if at.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }
        .parse()
        .unwrap();
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.connect(at)?;
    socket.send(wire::question(kind))?;
    let mut answer = vec![0; 1500];
    let length = socket.recv(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

/// Segments of full size cross the switch: no check sum is left half done, nothing is above the MTU.
fn large_answers_pass_whole() {
    const BYTES: usize = 60_000;
    let (_, lab) = up();
    let sent: Vec<u8> = (0..BYTES).map(|i| (i % 251) as u8).collect();
    let received = lab.visit("shut", || {
        let mut stream = TcpStream::connect("10.2.0.20:49152").unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut reader = stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut received = vec![0; BYTES];
                reader.read_exact(&mut received).map(|()| received)
            });
            stream.write_all(&sent).unwrap();
            reader.join().unwrap().unwrap()
        })
    });
    assert!(
        received.unwrap() == sent,
        "what came back is not what was sent"
    );
    let counters = lab.counters();
    assert_eq!(
        (
            counters.unfit,
            counters.lost_receiving,
            counters.lost_sending
        ),
        (0, 0, 0)
    );
}

fn routers_forward_and_prohibit() {
    let (_, lab) = up();
    let connect = |at: &str| {
        let at: SocketAddr = at.parse().unwrap();
        lab.visit("desk", || {
            TcpStream::connect_timeout(&at, Duration::from_secs(5))
        })
        .unwrap()
    };
    connect("10.200.0.20:80").unwrap();
    connect("[2001:db8:2000::20]:80").unwrap();
    // As the kernel tells code 13 of RFC 1812 and code 1 of RFC 4443 to programs.
    assert_eq!(
        connect("10.201.0.1:80").unwrap_err().kind(),
        std::io::ErrorKind::HostUnreachable
    );
    assert_eq!(
        connect("[2001:db8:2001::1]:80").unwrap_err().kind(),
        std::io::ErrorKind::PermissionDenied
    );
    assert!(
        matches!(lab.visit("nobody", || ()), Err(LabError::NoMachine(name)) if name == "nobody")
    );
}

fn trunk_exists() -> bool {
    Path::new("/sys/class/net").join(TRUNK).exists()
        || std::fs::read_to_string("/proc/net/dev")
            .unwrap()
            .contains(TRUNK)
}

fn a_lab_goes_down_and_up_again() {
    let (topology, lab) = up();
    assert!(trunk_exists());
    assert!(matches!(Lab::up(&topology), Err(LabError::TrunkExists)));
    drop(lab);
    assert!(!trunk_exists(), "{TRUNK} is there after the lab went down");
    let again = Lab::up(&topology).unwrap();
    assert_eq!(again.broken(), Vec::<&str>::new());
    assert!(trunk_exists());
}

/// SIGKILL gives no chance to clean up. The trunk's interface here is one end of a pair whose other end is
/// in the switch's namespace: it goes when that namespace goes, and not before.
fn a_killed_process_leaves_nothing() {
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .arg("--hold")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    let namespaces = namespaces_of(holder.id());
    assert!(
        namespaces.len() > Topology::builtin().machines().count(),
        "{namespaces:?}"
    );
    assert!(trunk_exists());
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_for("the trunk to go", || !trunk_exists());
    let left: Vec<_> = all_namespaces()
        .filter(|ns| namespaces.contains(ns))
        .collect();
    assert_eq!(
        left,
        namespaces_of(std::process::id()),
        "namespaces left by the killed process"
    );
    let (_, lab) = up();
    assert_eq!(lab.broken(), Vec::<&str>::new());
}

/// The network namespaces of a process's threads, each once.
fn namespaces_of(pid: u32) -> Vec<std::path::PathBuf> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let mut namespaces: Vec<_> = tasks
        .filter_map(|task| std::fs::read_link(task.path().join("ns/net")).ok())
        .collect();
    namespaces.sort();
    namespaces.dedup();
    namespaces
}

/// Those of every process we may look at, each once.
fn all_namespaces() -> impl Iterator<Item = std::path::PathBuf> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<_> = pids.flat_map(namespaces_of).collect();
    all.sort();
    all.dedup();
    all.into_iter()
}
