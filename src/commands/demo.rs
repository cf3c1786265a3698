//! `sonde demo`: the main job, end to end, on this machine alone.
//!
//! Everything the demo does a person could type: it builds the lab in namespaces of its own, and there
//! runs the very commands it prints. Then it holds the results in the cloud's database against the
//! lab's truth.

#![expect(clippy::print_stdout, reason = "the demo talks to a person")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use sonde_core::observation::Observation;
use sonde_core::request::PortState;
use sonde_lab::{Lab, OpenPort, TRUNK, Topology};
use sonde_protocol::activation::grouped;
use sonde_protocol::local::{Message, Phase, Status};

/// Longest wait for any one step; the whole takes seconds.
const STEP_MAX: Duration = Duration::from_secs(60);
/// What the job asks of every host: the lab's services and their neighbours, both protocols.
const PORTS: &str = "T:1-2200,T:8000-8100,T:9100,T:49152,U:53,U:123,U:161";
/// As fast as the lab's own switch, which is a process like any other, passes on without loss.
const RATE: &str = "20k";

/// Arguments of `sonde demo`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  sonde demo                      # under a minute, as root or not; touches no network of yours\n  sonde demo --data /tmp/mine     # keep cloud and appliance data there"
)]
pub(crate) struct Args {
    /// Folder for the cloud's and the appliance's data; an earlier demo's data in it is replaced
    /// [default: sonde-demo in the temporary folder]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let stage = Stage::set(args.data)?;
    // Before any thread: a process enters a user namespace alone.
    sonde_lab::enter_namespaces()?;
    let topology = Topology::builtin();
    let truth: BTreeSet<OpenPort> = topology.open_ports().into_iter().collect();

    say("A lab: VLANs, routers, hosts and services in network namespaces");
    let _lab = Lab::up(&topology)?;
    let trunk = stage.folder.join("trunk.toml");
    fs::write(&trunk, toml::to_string(&topology.trunk())?)?;

    say("A cloud");
    let cloud = stage.start_cloud()?;
    stage.log_in(&cloud)?;

    say("An appliance on the trunk port, and its activation");
    let _appliance = stage.start_appliance(&cloud)?;
    let (code, check_number) = stage.activation_code()?;
    println!(
        "  its panel shows the code {} and the check number {check_number}",
        grouped(&code)
    );
    stage.ctl(&["activate", &grouped(&code), "--name", "demo-box", "--yes"])?;
    stage.ctl(&["settings", "set-trunk", "demo-box", path_text(&trunk)?])?;

    say("A job over three VLANs, the untagged LAN and what is behind a router, IPv4 and IPv6");
    let targets = topology.targets();
    let mut scan = vec![
        "scan",
        "--appliance",
        "demo-box",
        "-p",
        PORTS,
        "--rate",
        RATE,
    ];
    scan.extend(targets.iter().map(String::as_str));
    let id = stage.ctl(&scan)?.trim().to_owned();
    stage.ctl(&["watch", &id])?;
    let found = open_ports(&stage.ctl_quietly(&["results", &id, "--format", "jsonl"])?)?;

    say("What the cloud's database holds");
    show(&found);
    let complete = verdict(&truth, &found, start.elapsed());
    stage.point_onward(&id)?;
    Ok(if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn say(text: &str) {
    if std::io::stdout().is_terminal() {
        println!("\n\x1b[1m{text}\x1b[0m");
    } else {
        println!("\n{text}");
    }
}

fn path_text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("`{}` is not UTF-8; choose another --data", path.display()))
}

/// Where the demo's processes keep their data, and how they are started.
struct Stage {
    folder: PathBuf,
    program: PathBuf,
    /// Locked while the demo runs.
    _marker: fs::File,
}

/// A process of the demo, ended with it.
struct Running {
    child: Child,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.child.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.child.wait();
    }
}

/// A cloud that listens.
struct Cloud {
    url: String,
    fingerprint: String,
    password: String,
    _process: Running,
}

impl Stage {
    /// The folder must be ours alone: it holds a password and keys.
    fn set(data: Option<PathBuf>) -> anyhow::Result<Self> {
        let uid = rustix::process::geteuid().as_raw();
        let folder = data.unwrap_or_else(|| std::env::temp_dir().join(format!("sonde-demo-{uid}")));
        let cannot = || {
            format!(
                "cannot use `{}`; name another folder with --data",
                folder.display()
            )
        };
        let marker = folder.join("made-by-sonde-demo");
        let is_new = fs::read_dir(&folder).map_or(true, |mut entries| entries.next().is_none());
        ensure!(
            is_new || marker.exists(),
            "`{}` holds something that is not a demo's; name an empty or new folder with --data",
            folder.display()
        );
        let mut builder = fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .recursive(true)
            .create(&folder)
            .with_context(cannot)?;
        let lock = fs::File::options()
            .create(true)
            .append(true)
            .open(&marker)
            .with_context(cannot)?;
        ensure!(
            lock.try_lock().is_ok(),
            "another demo runs in `{}`; wait for it, or name another folder with --data",
            folder.display()
        );
        for earlier in fs::read_dir(&folder).with_context(cannot)? {
            let path = earlier?.path();
            if path == marker {
                continue;
            }
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.with_context(cannot)?;
        }
        let folder = folder.canonicalize()?;
        let program = std::env::current_exe().context("a process knows its program")?;
        Ok(Self {
            folder,
            program,
            _marker: lock,
        })
    }

    fn cloud_data(&self) -> PathBuf {
        self.folder.join("cloud")
    }

    fn box_state(&self) -> PathBuf {
        self.folder.join("box")
    }

    fn log(&self, name: &str) -> anyhow::Result<fs::File> {
        let file = self.folder.join(name);
        fs::File::create(&file).with_context(|| format!("cannot write `{}`", file.display()))
    }

    /// `sonde` with these arguments, printed as a person would type it.
    fn command(&self, arguments: &[&str]) -> Command {
        let quoted: Vec<_> = arguments
            .iter()
            .map(|a| {
                if a.contains(' ') {
                    format!("'{a}'")
                } else {
                    (*a).to_owned()
                }
            })
            .collect();
        println!("  $ sonde {}", quoted.join(" "));
        self.command_quietly(arguments)
    }

    fn command_quietly(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .env("SONDE_CTL_CONFIG", self.folder.join("ctl.toml"));
        command.stdin(Stdio::null());
        command
    }

    fn start_cloud(&self) -> anyhow::Result<Cloud> {
        let data = self.cloud_data();
        let log = self.folder.join("cloud.log");
        let mut command = self.command(&[
            "cloud",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--data",
            path_text(&data)?,
        ]);
        command
            .stderr(self.log("cloud.log")?)
            .stdout(Stdio::piped());
        let mut child = command.spawn().context("the cloud does not start")?;
        let stdout = child
            .stdout
            .take()
            .context("the cloud's stdout is a pipe")?;
        let process = Running { child };
        let (mut url, mut fingerprint, mut password) = (None, None, None);
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if let Some(value) = line.strip_prefix("admin password: ") {
                password = Some(value.to_owned());
            } else if let Some(value) = line.strip_prefix("certificate fingerprint: ") {
                fingerprint = Some(value.to_owned());
            } else if let Some(value) = line.strip_prefix("listening on ") {
                url = Some(value.to_owned());
                break;
            }
        }
        let (Some(url), Some(fingerprint), Some(password)) = (url, fingerprint, password) else {
            bail!("the cloud did not come up; its log is {}", log.display());
        };
        println!("  {url}, certificate {fingerprint}");
        Ok(Cloud {
            url,
            fingerprint,
            password,
            _process: process,
        })
    }

    fn log_in(&self, cloud: &Cloud) -> anyhow::Result<()> {
        let mut command = self.command(&[
            "ctl",
            "login",
            &cloud.url,
            "--user",
            "admin",
            "--password-stdin",
            "--fingerprint",
            &cloud.fingerprint,
        ]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let mut stdin = child.stdin.take().context("the login's stdin is a pipe")?;
        writeln!(stdin, "{}", cloud.password)?;
        drop(stdin);
        ensure!(child.wait()?.success(), "the login failed");
        Ok(())
    }

    fn start_appliance(&self, cloud: &Cloud) -> anyhow::Result<Running> {
        let config = self.folder.join("appliance.toml");
        let text = format!(
            "[cloud]\nurl = \"{}\"\nfingerprint = \"{}\"\n\n[system]\nmanage = false\n\n[lan]\ninterface = \"{TRUNK}\"\n",
            cloud.url, cloud.fingerprint
        );
        fs::write(&config, text)?;
        let state = self.box_state();
        let mut command = self.command(&[
            "appliance",
            "--config",
            path_text(&config)?,
            "--state",
            path_text(&state)?,
        ]);
        command
            .stdout(Stdio::null())
            .stderr(self.log("appliance.log")?);
        let child = command.spawn().context("the appliance does not start")?;
        Ok(Running { child })
    }

    /// Reads the local API, as a panel does, until there is a code to show.
    fn activation_code(&self) -> anyhow::Result<(String, String)> {
        let socket = self.box_state().join("run/agent.sock");
        let start = Instant::now();
        while start.elapsed() < STEP_MAX {
            if let Ok(stream) = UnixStream::connect(&socket) {
                stream.set_read_timeout(Some(STEP_MAX))?;
                for line in BufReader::new(stream).lines() {
                    let Ok(line) = line else { break };
                    let said = serde_json::from_str(&line).context("the agent's status")?;
                    if let Message::Status(Status {
                        phase: Phase::Activation { code, check_number },
                        ..
                    }) = said
                    {
                        return Ok((code, check_number));
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        bail!(
            "the appliance asked for no activation code; its log is {}",
            self.folder.join("appliance.log").display()
        )
    }

    /// Runs `sonde ctl`, shows what it says, and returns that.
    fn ctl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let arguments = [&["ctl"], arguments].concat();
        let said = Self::finish(&mut self.command(&arguments))?;
        for line in said.lines() {
            println!("  {line}");
        }
        Ok(said)
    }

    fn ctl_quietly(&self, arguments: &[&str]) -> anyhow::Result<String> {
        Self::finish(&mut self.command_quietly(&[&["ctl"], arguments].concat()))
    }

    fn finish(command: &mut Command) -> anyhow::Result<String> {
        let output = command.stderr(Stdio::inherit()).output()?;
        ensure!(
            output.status.success(),
            "that failed ({}); the logs are beside the data",
            output.status
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    fn point_onward(&self, id: &str) -> anyhow::Result<()> {
        let data = self.cloud_data();
        let sonde = self.program.display();
        say("To look further");
        println!(
            "  {sonde} cloud serve --listen 127.0.0.1:8443 --data {}",
            path_text(&data)?
        );
        println!(
            "      the same cloud with these results; `sonde ctl login` with the password of user admin set by"
        );
        println!("  {sonde} cloud passwd admin --data {}", path_text(&data)?);
        println!("      and then `sonde ctl scans`, `sonde ctl results {id} --format xml`");
        println!(
            "  {sonde} lab up        the same lab, to stay; `sonde lab show` lists it, and it says how to scan it by hand"
        );
        println!(
            "  logs, trunk file and the appliance's state are in {}",
            self.folder.display()
        );
        Ok(())
    }
}

/// The open ports in a job's results; a port that is there twice is an error.
fn open_ports(lines: &str) -> anyhow::Result<BTreeSet<OpenPort>> {
    let mut found = BTreeSet::new();
    for line in lines.lines() {
        if let Observation::Port(port) =
            serde_json::from_str(line).with_context(|| format!("a result line: {line}"))?
            && port.state == PortState::Open
        {
            let new = found.insert((port.vlan, port.ip, port.proto, port.port));
            ensure!(new, "the results hold a port twice: {line}");
        }
    }
    Ok(found)
}

/// One table, grouped by VLAN.
fn show(found: &BTreeSet<OpenPort>) {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["VLAN", "host", "open ports"]);
    let mut rows: Vec<(String, String, Vec<String>)> = Vec::new();
    for (vlan, ip, proto, port) in found {
        let vlan = vlan.map_or_else(|| "untagged".to_owned(), |vlan| vlan.to_string());
        let port = format!("{port}/{}", format!("{proto:?}").to_lowercase());
        match rows.last_mut() {
            Some(last) if last.0 == vlan && last.1 == ip.to_string() => last.2.push(port),
            _ => rows.push((vlan, ip.to_string(), vec![port])),
        }
    }
    for (vlan, ip, ports) in rows {
        table.add_row([vlan, ip, ports.join(" ")]);
    }
    println!("{table}");
}

/// Says whether exactly the truth was found.
fn verdict(truth: &BTreeSet<OpenPort>, found: &BTreeSet<OpenPort>, took: Duration) -> bool {
    for missed in truth.difference(found) {
        println!("missed: {missed:?}");
    }
    for wrong in found.difference(truth) {
        println!("not in the lab: {wrong:?}");
    }
    let complete = truth == found;
    if complete {
        println!(
            "all {} open ports of the lab, each in its own VLAN, and none other; {:.1} s",
            truth.len(),
            took.as_secs_f64()
        );
    }
    complete
}
