//! `sonde lab world`: a simulated network in the kernel, and a command in front of it.

use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser as _;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use sonde_core::observation::Proto;
use sonde_lab::world::{NEAR, Preset, WorldSpec, XdpWorld};

use crate::commands::{Refused, print_data};

/// Arguments of `sonde lab world`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A world that comes with Sonde
    #[arg(long, default_value = "sweep", conflicts_with = "spec", value_parser = presets())]
    preset: Preset,
    /// A world of your own (TOML); `--print` writes a model
    #[arg(long, value_name = "FILE")]
    spec: Option<PathBuf>,
    /// Queues in each direction: how many CPUs send, answer and receive side by side
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    queues: u32,
    /// Write the trunk file for `sonde scan --trunk` here
    #[arg(long, value_name = "FILE")]
    trunk_file: Option<PathBuf>,
    /// Write the targets for `sonde scan -f` here, one a line
    #[arg(long, value_name = "FILE")]
    targets_file: Option<PathBuf>,
    /// Write the world as a world file to stdout, and start nothing
    #[arg(long)]
    print: bool,
    /// What to run in front of the world; without it the world stays until Ctrl-C
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "Examples:
  sonde lab world                                                 a million hosts, until Ctrl-C
  sonde lab world -- sonde scan -p 80 --discovery none 10.64.0.0/12
  sonde lab world --preset slash24 -- masscan --rate 100000 -p1-65535 10.64.0.0/24
  sonde lab world -- zmap -G 02:00:00:00:00:01 -b /dev/null -p 80 10.64.0.0/12
  sonde lab world --preset trunk --print > my-world.toml
  sonde lab world --spec my-world.toml --trunk-file t.toml -- sonde scan --trunk t.toml -p 80 172.16.1.0/24

The command sees one interface, world0, with an address and a default route in the untagged LAN. The world is a
program in the kernel: it needs root. Nothing of it outlives this process.";

fn presets() -> impl clap::builder::TypedValueParser<Value = Preset> {
    PossibleValuesParser::new(Preset::ALL.map(Preset::name)).map(|name| {
        let found = Preset::ALL.into_iter().find(|preset| preset.name() == name);
        found.expect("possible values are names of presets")
    })
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let spec = match &args.spec {
        Some(path) => read(path)?,
        None => args.preset.spec(),
    };
    if args.print {
        print_data(|out| out.write_all(spec.to_toml().as_bytes()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &args.trunk_file {
        write(path, &toml::to_string(&spec.trunk())?)?;
    }
    if let Some(path) = &args.targets_file {
        write(path, &(spec.targets().join("\n") + "\n"))?;
    }
    let world = XdpWorld::start_with_queues(&spec, args.queues)?;
    describe(&spec);
    let code = match args.command.split_first() {
        Some((program, arguments)) => run_in_front(&world, program, arguments)?,
        None => wait(&world)?,
    };
    eprintln!("world: {}", world.counters()?);
    Ok(code)
}

fn read(path: &Path) -> anyhow::Result<WorldSpec> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the world file {}", path.display()))
        .map_err(Refused)?;
    let spec = WorldSpec::parse(&text).with_context(|| format!("{}", path.display()));
    Ok(spec.map_err(Refused)?)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Runs the command in the near namespace. Ctrl-C is the command's; this process stays to tell what was counted.
fn run_in_front(
    world: &XdpWorld,
    program: &OsString,
    arguments: &[OsString],
) -> anyhow::Result<ExitCode> {
    signal_hook::flag::register(SIGINT, Arc::new(AtomicBool::new(false)))?;
    let spawned = world.visit(|| Command::new(program).args(arguments).spawn())?;
    let mut child = spawned.with_context(|| format!("cannot run `{}`", program.display()))?;
    Ok(exit_code(child.wait()?))
}

/// As a shell tells it: 128 more than the signal, for a command that a signal ended.
fn exit_code(status: ExitStatus) -> ExitCode {
    let signal = || status.signal().map_or(1, |signal| 128 + signal);
    ExitCode::from(u8::try_from(status.code().unwrap_or_else(signal)).unwrap_or(1))
}

fn wait(world: &XdpWorld) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let descriptor = world.near().as_fd().as_raw_fd();
    eprintln!(
        "Run something in front of it:  nsenter --net=/proc/{}/fd/{descriptor} ip -br address\n\
         Take it down:                  Ctrl-C",
        std::process::id()
    );
    signals.forever().next();
    Ok(ExitCode::SUCCESS)
}

/// What there is to find, on stderr: stdout is the command's.
fn describe(spec: &WorldSpec) {
    /// Above this many questions a count would keep people waiting.
    const COUNTED_MAX: u64 = 1 << 28;
    let listed = spec.ports(Proto::Tcp);
    let shares = spec.description().open > 0.0 || spec.description().answers_all > 0.0;
    let ports: Vec<u16> = if shares {
        (1..=u16::MAX).collect()
    } else {
        listed
    };
    let asked = match (&ports[..], shares) {
        (_, true) => "all ports but 0".to_owned(),
        ([], _) => "no port".to_owned(),
        (ports, _) => {
            let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
            format!("port {}", ports.join(","))
        }
    };
    let targets = spec.targets();
    let (shown, more) = (targets.iter().take(4), targets.len().saturating_sub(4));
    let shown: Vec<&str> = shown.map(String::as_str).collect();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let hosts = spec.truth(&[]);
    let open = if hosts.up * ports.len() as u64 <= COUNTED_MAX {
        format!("{} open", spec.truth(&ports).open)
    } else {
        "too many to count which are open".to_owned()
    };
    eprintln!(
        "world: behind {NEAR}, {}{more}: {} addresses, {} up; TCP {asked}: {open}",
        shown.join(" "),
        hosts.hosts,
        hosts.up,
    );
    let lan = spec.vlans().next() == Some(None);
    if let (Some(gateway), Some(mac)) = (spec.gateway(None, false), spec.gateway_mac(None, false))
        && lan
    {
        eprintln!("world: gateway {gateway} at {mac}");
    }
}
