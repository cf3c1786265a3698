//! A box and its cloud on the loopback, as far as a panel has to do with them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::glass::LIMIT;
use crate::harness::{Running, serve, sonde, succeed, wait_for};

/// The agent of a box, killed and started at will.
pub(super) struct Machine {
    pub(super) folder: tempfile::TempDir,
    url: String,
    agent: Option<Running>,
    _cloud: Cloud,
}

struct Cloud {
    process: Child,
}

impl Drop for Cloud {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Machine {
    /// A box that its cloud knows by the name `lobby`.
    pub(super) fn active() -> Machine {
        let machine = Machine::with_cloud();
        let code = wait_for("a code", LIMIT, || machine.code());
        machine.activate(&code);
        machine
    }

    /// A box with a cloud that a person is logged in to, not activated yet.
    pub(super) fn with_cloud() -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let mut process = sonde(["cloud", "serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("cloud"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let _cloud = Cloud { process };
        let mut said: Vec<String> = Vec::new();
        while !said
            .last()
            .is_some_and(|line| line.starts_with("listening on "))
        {
            said.push(lines.next().expect("the cloud listens").unwrap());
        }
        let part = |what: &str| {
            let line = said.iter().find_map(|line| line.strip_prefix(what));
            line.unwrap().to_owned()
        };
        let fingerprint = part("certificate fingerprint: ");
        let mut machine = Machine {
            folder,
            url: part("listening on "),
            agent: None,
            _cloud,
        };
        let password = machine.folder.path().join("password");
        fs::write(&password, part("admin password: ")).unwrap();
        let mut login = machine.ctl();
        login.args(["login", &machine.url, "--user", "admin", "--password-stdin"]);
        login.args(["--fingerprint", &fingerprint]);
        succeed(login.stdin(fs::File::open(&password).unwrap()));
        let text = format!(
            "[cloud]\nfingerprint = \"{fingerprint}\"\n[system]\nmanage = false\n[lan]\ninterface = \"lo\"\n"
        );
        fs::write(machine.config(), text).unwrap();
        machine.start_agent();
        machine
    }

    /// The code that the agent says it shows.
    fn code(&self) -> Option<String> {
        let stream = UnixStream::connect(self.socket()).ok()?;
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        BufReader::new(stream)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| {
                let said: serde_json::Value = serde_json::from_str(&line).unwrap();
                said["status"]["phase"]["code"].as_str().map(str::to_owned)
            })
    }

    /// A person types `code` into the cloud.
    pub(super) fn activate(&self, code: &str) {
        succeed(
            self.ctl()
                .args(["activate", code, "--name", "lobby", "--yes"]),
        );
    }

    /// `sonde ctl` of the person at the cloud.
    fn ctl(&self) -> Command {
        let mut command = sonde(["ctl"]);
        command.env("SONDE_CTL_CONFIG", self.folder.path().join("ctl.toml"));
        command
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("appliance.toml")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("box")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.state().join("run/agent.sock")
    }

    pub(super) fn start_agent(&mut self) {
        let mut agent = sonde(["agent", "--cloud", &self.url, "--config"]);
        agent.arg(self.config()).arg("--state").arg(self.state());
        self.agent = Some(serve(agent.stderr(Stdio::null())));
    }

    /// kill -9.
    pub(super) fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// The VLAN in the stored settings, if there are any.
    pub(super) fn stored_vlan(&self) -> Option<u64> {
        let text = fs::read_to_string(self.state().join("network.json")).ok()?;
        let stored: serde_json::Value = serde_json::from_str(&text).unwrap();
        stored["settings"]["vlan"].as_u64()
    }

    /// `sonde panel` with these arguments.
    pub(super) fn panel(&self, arguments: &[&str]) -> Running {
        let mut panel = sonde(["panel", "--config"]);
        panel.arg(self.config()).arg("--socket").arg(self.socket());
        serve(panel.args(arguments).stderr(Stdio::null()))
    }
}

/// Text of a path that has nothing odd in it.
pub(super) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
