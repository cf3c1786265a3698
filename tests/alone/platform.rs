//! Lab, cloud and appliance under one roof, as a person would start them, to be killed at will.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sonde_lab::{Lab, TRUNK, Topology};

use crate::harness::{json_lines, run, sonde, succeed, wait_for};

/// A port as results name it: VLAN, address, protocol, number.
pub(crate) type Port = (Option<u64>, IpAddr, String, u64);

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Platform {
    folder: tempfile::TempDir,
    topology: Topology,
    cloud: Cloud,
    appliance: Child,
    code: String,
    _lab: Lab,
}

/// The cloud's process; it keeps its address over restarts.
struct Cloud {
    process: Child,
    address: String,
    fingerprint: String,
}

impl Platform {
    /// Everything up, the appliance active. It reaches the cloud at what `front` makes of the cloud's address.
    pub(crate) fn up(front: impl FnOnce(&str) -> String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let topology = Topology::builtin();
        let lab = Lab::up(&topology).unwrap();
        let (cloud, password) = Cloud::first_start(folder.path());
        let password_file = folder.path().join("password");
        fs::write(&password_file, password).unwrap();
        let url = format!("https://{}", cloud.address);
        let mut login = Self::ctl_in(folder.path());
        login.args([
            "login",
            &url,
            "--user",
            "admin",
            "--password-stdin",
            "--fingerprint",
        ]);
        login
            .arg(&cloud.fingerprint)
            .stdin(fs::File::open(&password_file).unwrap());
        succeed(&mut login);

        let config = folder.path().join("appliance.toml");
        let text = format!(
            "[cloud]\nurl = \"https://{}\"\nfingerprint = \"{}\"\n[system]\nmanage = false\n[lan]\ninterface = \"{TRUNK}\"\n",
            front(&cloud.address),
            cloud.fingerprint
        );
        fs::write(&config, text).unwrap();
        let appliance = start_appliance(folder.path());
        let mut platform = Self {
            folder,
            topology,
            cloud,
            appliance,
            code: String::new(),
            _lab: lab,
        };
        platform.code = platform.activation_code();
        succeed(
            platform
                .ctl()
                .args(["activate", &platform.code, "--name", "box", "--yes"]),
        );
        let trunk = platform.folder.path().join("trunk.toml");
        fs::write(&trunk, toml::to_string(&platform.topology.trunk()).unwrap()).unwrap();
        succeed(
            platform
                .ctl()
                .args(["settings", "set-trunk", "box"])
                .arg(&trunk),
        );
        platform
    }

    fn ctl_in(folder: &Path) -> Command {
        let mut command = sonde(["ctl"]);
        command.env("SONDE_CTL_CONFIG", folder.join("ctl.toml"));
        command
    }

    pub(crate) fn ctl(&self) -> Command {
        Self::ctl_in(self.folder.path())
    }

    /// The code that the appliance was activated by.
    pub(crate) fn code(&self) -> &str {
        &self.code
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.cloud.address)
    }

    pub(crate) fn fingerprint(&self) -> String {
        self.cloud.fingerprint.clone()
    }

    pub(crate) fn password_file(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    pub(crate) fn appliance_pid(&self) -> u32 {
        self.appliance.id()
    }

    /// Every open port of the lab.
    pub(crate) fn truth(&self) -> BTreeSet<Port> {
        let ports = self.topology.open_ports().into_iter();
        ports
            .map(|(vlan, ip, proto, port)| {
                let vlan = vlan.map(|vlan| u64::from(vlan.id()));
                (
                    vlan,
                    ip,
                    format!("{proto:?}").to_lowercase(),
                    u64::from(port),
                )
            })
            .collect()
    }

    /// Asks for a scan of the whole lab that takes a few seconds; its id.
    pub(crate) fn ask_for_scan(&self) -> String {
        let mut scan = self.ctl();
        scan.args(["scan", "--appliance", "box", "--rate", "8k", "-p"]);
        scan.arg("T:20-200,T:500-600,T:2121,T:8000-8100,T:9100,T:49152,U:53,U:123,U:161");
        scan.args(self.topology.targets());
        succeed(&mut scan).trim().to_owned()
    }

    /// The scan's state, if the cloud is there to say.
    pub(crate) fn state_of(&self, id: &str) -> Option<String> {
        let said = run(self.ctl().args(["scans", "--json"]));
        let scans: serde_json::Value = serde_json::from_str(&said.stdout).ok()?;
        let scan = scans.as_array()?.iter().find(|scan| scan["id"] == id)?;
        scan["state"].as_str().map(str::to_owned)
    }

    /// Waits until the scan has ended and returns its state.
    pub(crate) fn wait_for_end(&self, id: &str, limit: Duration) -> String {
        wait_for("the end of the scan", limit, || {
            let ends = ["committed", "cancelled", "failed", "expired"];
            self.state_of(id)
                .filter(|state| ends.contains(&state.as_str()))
        })
    }

    /// The open ports in the cloud's database, each as often as it is there.
    pub(crate) fn open_ports(&self, id: &str) -> Vec<Port> {
        let results = json_lines(&succeed(
            self.ctl().args(["results", id, "--format", "jsonl"]),
        ));
        results
            .iter()
            .filter(|line| line["type"] == "port" && line["state"] == "open")
            .map(|line| {
                let proto = line["proto"].as_str().unwrap().to_owned();
                let ip = line["ip"].as_str().unwrap().parse().unwrap();
                (
                    line["vlan"].as_u64(),
                    ip,
                    proto,
                    line["port"].as_u64().unwrap(),
                )
            })
            .collect()
    }

    /// kill -9 of the cloud, and a new start on the same data.
    pub(crate) fn kill_cloud(&mut self) {
        self.cloud.process.kill().unwrap();
        self.cloud.process.wait().unwrap();
        self.cloud.process = Cloud::start(self.folder.path(), &self.cloud.address).0;
    }

    /// kill -9 of the appliance's child that runs `sonde` with this subcommand; false if there is none.
    pub(crate) fn kill_child(&self, subcommand: &str) -> bool {
        let parent = self.appliance.id();
        let Some(child) = children_of(parent).find(|pid| runs(*pid, subcommand)) else {
            return false;
        };
        kill_process(Pid::from_raw(child.cast_signed()).unwrap(), Signal::KILL).is_ok()
    }

    /// SIGTERM to the appliance; how it ended. [`Self::start_again`] has another on the same data.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.appliance), Signal::TERM).unwrap();
        self.appliance.wait().unwrap()
    }

    pub(crate) fn start_again(&mut self) {
        self.appliance = start_appliance(self.folder.path());
    }

    fn activation_code(&self) -> String {
        let socket = self.folder.path().join("box/run/agent.sock");
        wait_for("an activation code", PATIENCE, || {
            let stream = UnixStream::connect(&socket).ok()?;
            stream
                .set_read_timeout(Some(Duration::from_secs(1)))
                .unwrap();
            let lines = BufReader::new(stream).lines().map_while(Result::ok);
            lines
                .map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap())
                .find_map(|said| said["status"]["phase"]["code"].as_str().map(str::to_owned))
        })
    }

    /// What the appliance and the cloud have logged, for a test that failed.
    pub(crate) fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(60)..].join("\n")
        };
        format!(
            "--- appliance\n{}\n--- cloud\n{}",
            tail("appliance.log"),
            tail("cloud.log")
        )
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for process in [&mut self.appliance, &mut self.cloud.process] {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Cloud {
    fn first_start(folder: &Path) -> (Self, String) {
        let (process, lines) = Self::start(folder, "127.0.0.1:0");
        let said = |what: &str| {
            let line = lines.iter().find_map(|line| line.strip_prefix(what));
            line.unwrap_or_else(|| panic!("no `{what}` in {lines:?}"))
                .to_owned()
        };
        let cloud = Self {
            process,
            address: said("listening on https://"),
            fingerprint: said("certificate fingerprint: "),
        };
        (cloud, said("admin password: "))
    }

    /// Returns when it listens, with what it said.
    fn start(folder: &Path, listen: &str) -> (Child, Vec<String>) {
        let mut command = sonde(["cloud", "serve", "--listen", listen, "--data"]);
        command
            .arg(folder.join("cloud"))
            .stdout(Stdio::piped())
            .stderr(append(folder, "cloud.log"));
        let mut process = command.spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut lines: Vec<String> = Vec::new();
        while !lines
            .last()
            .is_some_and(|line| line.starts_with("listening on "))
        {
            let mut line = String::new();
            if stdout.read_line(&mut line).unwrap() == 0 {
                let status = process.wait().unwrap();
                panic!("the cloud does not listen, it ends with {status}: {lines:?}");
            }
            lines.push(line.trim_end().to_owned());
        }
        (process, lines)
    }
}

fn start_appliance(folder: &Path) -> Child {
    let mut command = sonde(["appliance", "--config"]);
    command
        .arg(folder.join("appliance.toml"))
        .arg("--state")
        .arg(folder.join("box"));
    command
        .stdout(Stdio::null())
        .stderr(append(folder, "appliance.log"));
    command.spawn().unwrap()
}

fn append(folder: &Path, name: &str) -> fs::File {
    let path: PathBuf = folder.join(name);
    fs::File::options()
        .create(true)
        .append(true)
        .open(path)
        .unwrap()
}

/// A process and whatever it has started.
pub(crate) fn descendants_of(parent: u32) -> Vec<u32> {
    let mut found = vec![parent];
    for child in children_of(parent) {
        found.extend(descendants_of(child));
    }
    found
}

/// The children of a process, by /proc.
fn children_of(parent: u32) -> impl Iterator<Item = u32> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(move |entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // proc_pid_stat(5): after the name in parentheses, the state and the parent.
            let (_, after) = stat.rsplit_once(") ")?;
            let (state, ppid) = (after.split(' ').next()?, after.split(' ').nth(1)?);
            (ppid.parse() == Ok(parent) && state != "Z").then_some(pid)
        })
}

fn runs(pid: u32, subcommand: &str) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0).nth(1) == Some(subcommand.as_bytes())
}
