//! The local API of the agent's process: a change ends the scan and keeps its part; kill -9 at any point
//! leaves all of a change or nothing of it.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use sonde_agent::settings::SettingsStore;
use sonde_protocol::device::{OnLostContact, Outcome};
use sonde_protocol::local::{self, Answer, Ask, Message, Request};
use sonde_protocol::settings::{Change, Ipv4, Lan, LanStatic, VlanId};

use crate::jobs::{Agent, Fixture, lines, request};

const LIMIT: Duration = Duration::from_secs(60);

/// A client of the local API.
struct Client {
    lines: BufReader<UnixStream>,
    id: u64,
}

impl Client {
    /// Waits for the agent.
    fn connect(state: &Path) -> Self {
        let socket = state.join("run/agent.sock");
        let deadline = Instant::now() + LIMIT;
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::yield_now();
        };
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self {
            lines: BufReader::new(stream),
            id: 0,
        }
    }

    /// `None` when the agent is gone.
    fn hear(&mut self) -> Option<Message> {
        let mut line = String::new();
        let read = self.lines.read_line(&mut line).ok()?;
        (read > 0).then(|| serde_json::from_str(&line).ok())?
    }

    /// Asks, without waiting.
    fn ask(&mut self, ask: Ask) {
        self.id += 1;
        let mut line = serde_json::to_vec(&Request { id: self.id, ask }).unwrap();
        line.push(b'\n');
        // Where the agent was killed there is nobody to take it.
        let _gone = self.lines.get_mut().write_all(&line);
    }

    /// What becomes of what was asked last; `None` when the agent is gone.
    fn outcome(&mut self) -> Option<local::Outcome> {
        loop {
            match self.hear()? {
                Message::Answer(Answer { id, outcome }) if id == self.id => return Some(outcome),
                _ => {}
            }
        }
    }
}

#[test]
fn a_confirmed_change_ends_the_scan_and_its_part_is_uploaded() {
    let fixture = Fixture::new(0, 10_000);
    fixture.cloud.offer(request(), OnLostContact::Continue);
    let agent = fixture.agent();
    fixture
        .cloud
        .wait("results", |state| state.records.len() >= 30);
    let mut client = Client::connect(fixture.dir.path());
    loop {
        match client.hear() {
            Some(Message::Status(status)) if status.scans_running == 1 => break,
            said => assert!(said.is_some()),
        }
    }
    client.ask(Ask::Apply(Change::Vlan(VlanId::new(7))));
    let stored = local::Outcome::Stored { canceled_scans: 1 };
    assert_eq!(client.outcome(), Some(stored));
    fixture
        .cloud
        .wait("the commit", |state| state.committed.is_some());
    {
        let state = fixture.cloud.lock();
        let commit = state.committed.as_ref().unwrap();
        assert_eq!(commit.outcome, Outcome::Cancelled);
        let lines = lines(&state);
        assert!(lines.last().unwrap().contains(r#""complete":false"#));
        assert!((30..5000).contains(&lines.len()), "{}", lines.len());
    }
    fixture.assert_forgotten(agent);
}

/// A LAN whose address, gateway and name server all say which change it was.
fn numbered(change: u8) -> LanStatic {
    LanStatic {
        ipv4: Ipv4 {
            address: [10, 0, change, 5].into(),
            prefix_len: 24,
            gateway: [10, 0, change, 1].into(),
            dns: vec![[10, 0, change, 2].into()],
        },
        wins: Vec::new(),
        domain: None,
    }
}

#[test]
fn kills_at_any_point_leave_all_of_a_change_or_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let (mut sent, mut answered) = (0, 0);
    for round in 0..12 {
        let mut agent = Agent::start_at(dir.path(), &url);
        let mut client = Client::connect(dir.path());
        // Some are answered, one more is on its way when the agent is killed.
        for _ in 0..=round % 3 {
            sent += 1;
            client.ask(Ask::Apply(Change::LanStatic(numbered(sent))));
            let stored = local::Outcome::Stored { canceled_scans: 0 };
            assert_eq!(client.outcome(), Some(stored));
            answered = sent;
        }
        sent += 1;
        client.ask(Ask::Apply(Change::LanStatic(numbered(sent))));
        // Later and later in the middle of it.
        let until = Instant::now() + Duration::from_micros(100) * round;
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        agent.kill();
        if client.outcome().is_some() {
            answered = sent;
        }
        let store = SettingsStore::open(&dir.path().join("network.json")).unwrap();
        let Lan::Static(lan) = &store.settings().lan else {
            panic!("nothing of {answered} changes is stored")
        };
        let stored = lan.ipv4.address.octets()[2];
        assert_eq!(*lan, numbered(stored), "all of one change");
        assert!(
            (answered..=sent).contains(&stored),
            "{answered} <= {stored} <= {sent}"
        );
    }
}
