//! `sonde lab`: a network to scan, held by a process in the background.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, setsid};
use sonde_lab::{Behaviour, Lab, LabFolder, Machine, TRUNK, Topology, enter_namespaces};

use super::{Refused, print_data};

mod world;

/// Arguments of `sonde lab`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: LabCommand,
}

const EXAMPLES: &str = "Examples:
  sonde lab up                              the built-in lab: a LAN and three VLANs
  sonde lab up my-lab.toml                  one of your own; `sonde lab show --toml` is a model
  sonde lab show
  sonde lab exec -- ip link                 run a command at the trunk port
  sonde lab down
  sonde lab world -- COMMAND                run a command in front of a million simulated hosts (root)

A lab needs no other program and no privileges where ordinary users may have user namespaces.";

#[derive(clap::Subcommand)]
enum LabCommand {
    /// Build a lab; it stays up in the background
    Up {
        /// What to build (TOML); the built-in lab if not given
        file: Option<PathBuf>,
    },
    /// Take the lab down
    Down,
    /// Show networks, hosts and open ports of the lab that is up, or of the one that `up` would build
    Show {
        /// Show this lab file instead
        file: Option<PathBuf>,
        /// As a lab file
        #[arg(long)]
        toml: bool,
    },
    /// Run a command at the trunk port of the lab that is up
    #[command(after_help = "Examples:\n  sonde lab exec -- ip -br link\n  sonde lab exec -- sh")]
    Exec {
        /// The command and its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// A simulated network in the kernel that answers at line rate, and a command in front of it
    World(world::Args),
    /// Hold a lab (started by `sonde lab up`)
    #[command(hide = true)]
    Hold {
        /// What to build
        file: PathBuf,
    },
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        LabCommand::Up { file } => up(file.as_deref()),
        LabCommand::Down => down(),
        LabCommand::Show { file, toml } => show(file.as_deref(), toml),
        LabCommand::Exec { command } => exec(&command),
        LabCommand::World(args) => world::run(&args),
        LabCommand::Hold { file } => hold(&file),
    }
}

/// How long a lab may take to come up: hundreds of times what the built-in one takes.
const UP_TIME_MAX: Duration = Duration::from_secs(60);

fn up(file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let topology = read(file)?;
    let folder = LabFolder::of_user()?;
    let _lock = folder.lock()?;
    if let Some(holder) = folder.holder() {
        let built = fs::read_to_string(folder.lab_file()).unwrap_or_default();
        if file.is_some() && built != topology.to_toml() {
            bail!("another lab is up already; `sonde lab down` takes it down");
        }
        eprintln!("the lab is up already, held by process {}", holder.pid);
        describe(&Topology::parse(&built)?, Some(&folder))?;
        return Ok(ExitCode::SUCCESS);
    }
    // What a killed holder left behind, if there was one.
    folder.forget();
    folder.write(&folder.lab_file(), &topology.to_toml())?;
    folder.write(&folder.trunk_file(), &toml::to_string(&topology.trunk())?)?;
    folder.write(
        &folder.targets_file(),
        &(topology.targets().join("\n") + "\n"),
    )?;
    if let Err(error) = start_holder(&folder) {
        folder.forget();
        return Err(error);
    }
    describe(&topology, Some(&folder))?;
    Ok(ExitCode::SUCCESS)
}

fn start_holder(folder: &LabFolder) -> anyhow::Result<()> {
    let log_path = folder.log_file();
    let log = File::create(&log_path)
        .with_context(|| format!("cannot write the log {}", log_path.display()))?;
    let mut holder = Command::new(std::env::current_exe().context("cannot find this program")?)
        .args([
            OsStr::new("lab"),
            OsStr::new("hold"),
            folder.lab_file().as_os_str(),
        ])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start the process that holds the lab")?;
    match read_report(&mut holder, UP_TIME_MAX)?.as_str() {
        READY => Ok(()),
        "" => bail!(
            "the lab did not come up; {} may say why",
            log_path.display()
        ),
        reason => bail!("{}", reason.trim_end()),
    }
}

/// What the holder says before it closes its output. One that says nothing in time is killed.
fn read_report(holder: &mut Child, time_max: Duration) -> anyhow::Result<String> {
    let mut pipe = holder.stdout.take().context("the holder has no output")?;
    let (begun, mut report) = (Instant::now(), Vec::new());
    loop {
        let left = time_max.saturating_sub(begun.elapsed());
        let left = Timespec::try_from(left).context("the time limit is too long")?;
        let mut fds = [PollFd::new(&pipe, PollFlags::IN)];
        if rustix::io::retry_on_intr(|| poll(&mut fds, Some(&left)))? == 0 {
            holder
                .kill()
                .context("cannot end the process that should hold the lab")?;
            bail!(
                "the lab did not come up within {} s; try a smaller one",
                time_max.as_secs()
            );
        }
        let mut piece = [0; 4096];
        match pipe.read(&mut piece)? {
            0 => return Ok(String::from_utf8_lossy(&report).into_owned()),
            length => report.extend_from_slice(&piece[..length]),
        }
    }
}

/// What a holder says once everything in the lab answers.
const READY: &str = "ready\n";

/// The holder: its output is read by `up` until it is closed, its messages go to the log.
fn hold(file: &Path) -> anyhow::Result<ExitCode> {
    let tell = |text: &str| {
        let mut out = io::stdout();
        out.write_all(text.as_bytes()).and_then(|()| out.flush())
    };
    match begin_hold(file) {
        Ok(lab) => {
            tell(READY).context("nobody waits for the lab")?;
            rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
            watch(&lab)
        }
        Err(error) => {
            tell(&format!("{error:#}\n"))?;
            Err(error)
        }
    }
}

fn begin_hold(file: &Path) -> anyhow::Result<Lab> {
    // Before the user changes: inside a user namespace the folder would be looked for as root's.
    let folder = LabFolder::of_user()?;
    let topology = read(Some(file))?;
    // Fails only for the leader of a process group, whom a shell starts: then it is detached enough.
    let _session = setsid();
    enter_namespaces()?;
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(false)
        .init();
    // Some ten descriptors a machine.
    let limit = getrlimit(Resource::Nofile);
    // Kept as it is where it can not be raised; a lab too large for it says so.
    let _raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
    folder.hold()?;
    Ok(Lab::up(&topology)?)
}

/// Stays until a signal ends the process, and the lab with it.
fn watch(lab: &Lab) -> anyhow::Result<ExitCode> {
    /// Time between two looks at whether all of it still works.
    const LOOK_EVERY: Duration = Duration::from_secs(5);
    loop {
        std::thread::sleep(LOOK_EVERY);
        let broken = lab.broken();
        if !broken.is_empty() {
            bail!(
                "the lab is broken, {} ended; `sonde lab up` builds it anew",
                broken.join(", ")
            );
        }
    }
}

fn down() -> anyhow::Result<ExitCode> {
    let folder = LabFolder::of_user()?;
    let _lock = folder.lock()?;
    let holder = folder.holder();
    if let Some(holder) = holder {
        holder.end()?;
    }
    folder.forget();
    eprintln!(
        "{}",
        if holder.is_some() {
            "the lab is down"
        } else {
            "no lab is up"
        }
    );
    Ok(ExitCode::SUCCESS)
}

fn show(file: Option<&Path>, as_toml: bool) -> anyhow::Result<ExitCode> {
    let folder = LabFolder::of_user()?;
    let running = file.is_none() && folder.holder().is_some();
    let lab_file = folder.lab_file();
    let topology = read(if running { Some(&lab_file) } else { file })?;
    if as_toml {
        print_data(|out| out.write_all(topology.to_toml().as_bytes()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !running && file.is_none() {
        eprintln!("no lab is up; `sonde lab up` builds this one");
    }
    describe(&topology, running.then_some(&folder))?;
    Ok(ExitCode::SUCCESS)
}

/// Becomes the command, at the trunk port; comes back only if it can not be run.
fn exec(command: &[OsString]) -> anyhow::Result<ExitCode> {
    let holder = LabFolder::of_user()?.holder();
    holder
        .context("no lab is up; `sonde lab up` builds one")?
        .join()?;
    let (program, arguments) = command.split_first().context("no command is given")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run `{}`", program.display()))
}

fn read(file: Option<&Path>) -> anyhow::Result<Topology> {
    let Some(path) = file else {
        return Ok(Topology::builtin());
    };
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the lab file {}", path.display()))
        .map_err(Refused)?;
    let topology = Topology::parse(&text).with_context(|| format!("{}", path.display()));
    Ok(topology.map_err(Refused)?)
}

/// Prints a table of the machines and, for a lab that is up, what to do next.
fn describe(topology: &Topology, up: Option<&LabFolder>) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["network", "machine", "addresses", "open ports", ""]);
    let mut machines: Vec<Machine<'_>> = topology.machines().collect();
    let networks = &topology.description().network;
    machines.sort_by_key(|machine| {
        networks
            .iter()
            .position(|network| network.name == machine.interfaces[0].0.name)
    });
    for machine in &machines {
        table.add_row(row(machine));
    }
    print_data(|out| {
        writeln!(out, "{table}")?;
        let Some(folder) = up else {
            return Ok(());
        };
        let sonde = std::env::args()
            .next()
            .unwrap_or_else(|| "sonde".to_owned());
        let (trunk, targets) = (folder.trunk_file(), folder.targets_file());
        let (trunk, targets) = (trunk.display(), targets.display());
        writeln!(
            out,
            "\nScan it:        {sonde} lab exec -- {sonde} scan --interface {TRUNK} --trunk {trunk} -f {targets}\n\
             Look around:    {sonde} lab exec -- sh\n\
             Take it down:   {sonde} lab down"
        )
    })
}

fn row(machine: &Machine<'_>) -> [String; 5] {
    let networks = machine
        .interfaces
        .iter()
        .map(|(network, _)| match network.vlan {
            Some(vlan) => format!("{} (VLAN {vlan})", network.name),
            None if network.untagged => format!("{} (untagged)", network.name),
            None => format!("{} (routed)", network.name),
        });
    let addresses = machine
        .interfaces
        .iter()
        .flat_map(|(_, addresses)| *addresses);
    let ports = machine.services.iter().map(|service| {
        let proto = match service.kind.proto() {
            sonde_core::observation::Proto::Tcp => "tcp",
            sonde_core::observation::Proto::Udp => "udp",
        };
        format!("{}/{proto} {}", service.port, service.kind.name())
    });
    let prohibited = machine
        .prohibit
        .iter()
        .map(|prefix| format!("prohibits {prefix}"));
    let remark = match machine.behaviour {
        Behaviour::Filtered => "answers ARP and NDP only".to_owned(),
        Behaviour::Silent => "answers nothing".to_owned(),
        Behaviour::Normal if machine.forwards => ["router".to_owned()]
            .into_iter()
            .chain(prohibited)
            .collect::<Vec<_>>()
            .join("\n"),
        Behaviour::Normal => String::new(),
    };
    [
        networks.collect::<Vec<_>>().join("\n"),
        machine.name.to_owned(),
        addresses
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
        ports.collect::<Vec<_>>().join("\n"),
        remark,
    ]
}
