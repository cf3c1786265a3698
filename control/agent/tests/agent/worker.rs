//! Engine workers that find what they are told to, at the pace at which the cloud stores it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use sonde_core::checkpoint::Checkpoint;
use sonde_core::observation::{Observation, Summary};
use sonde_core::request::ScanRequest;

use crate::cloud::Cloud;

/// Findings between two checkpoints.
const STRIDE: u16 = 5;

pub(crate) struct Workers {
    /// How many were asked for.
    pub(crate) started: AtomicU32,
    /// The next line is the last of the one that runs.
    pub(crate) kill: AtomicBool,
    findings: u16,
    cloud: Arc<Cloud>,
}

impl Workers {
    /// Serves workers on `socket` that find `findings` open ports.
    pub(crate) fn start(socket: &Path, findings: u16, cloud: Arc<Cloud>) -> Arc<Self> {
        std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(socket).unwrap();
        let (started, kill) = (AtomicU32::new(0), AtomicBool::new(false));
        let workers = Arc::new(Self {
            started,
            kill,
            findings,
            cloud,
        });
        let ours = workers.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (workers, connection) = (ours.clone(), connection.unwrap());
                std::thread::spawn(move || workers.work(&connection));
            }
        });
        workers
    }

    /// One scan; `None` when it was cut off.
    fn work(&self, peer: &UnixStream) -> Option<()> {
        self.started.fetch_add(1, Ordering::SeqCst);
        let mut line = String::new();
        BufReader::new(peer).read_line(&mut line).ok()?;
        let request: ScanRequest = serde_json::from_str(&line).unwrap();
        let cancelled = Arc::new(AtomicBool::new(false));
        let (input, flag) = (peer.try_clone().unwrap(), cancelled.clone());
        std::thread::spawn(move || {
            let _end = (&input).read_to_end(&mut Vec::new());
            flag.store(true, Ordering::SeqCst);
        });
        self.say(peer, r#"{"type":"scan","version":1,"id":"x","started":"2026-01-01T00:00:00Z","request":{"seed":7}}"#)?;
        let from = request.resume.map_or(0, |at| at.state.parse().unwrap());
        for n in from..self.findings {
            if cancelled.load(Ordering::SeqCst) {
                break;
            }
            self.say(peer, &finding(n))?;
            if n % STRIDE == STRIDE - 1 {
                let state = (n + 1).to_string();
                let at = Checkpoint {
                    version: 1,
                    plan: 1,
                    seed: 7,
                    state,
                };
                self.say(peer, &json(&Observation::Checkpoint(at)))?;
                // Not much ahead of what is stored, so that whoever dies dies in the middle.
                let stored = u64::from(n.saturating_sub(4 * STRIDE));
                self.cloud.wait_briefly(Duration::from_secs(2), |state| {
                    state.records.len() as u64 >= stored
                });
            }
        }
        let complete = !cancelled.load(Ordering::SeqCst);
        self.say(
            peer,
            &json(&Observation::Summary(Summary {
                complete,
                ..Summary::default()
            })),
        )
    }

    fn say(&self, mut peer: &UnixStream, line: &str) -> Option<()> {
        if self.kill.swap(false, Ordering::SeqCst) {
            peer.write_all(&line.as_bytes()[..line.len() / 2]).ok()?;
            peer.shutdown(std::net::Shutdown::Both).ok()?;
            return None;
        }
        peer.write_all(format!("{line}\n").as_bytes()).ok()
    }
}

/// The line of finding `n`.
pub(crate) fn finding(n: u16) -> String {
    format!(
        r#"{{"type":"port","vlan":100,"ip":"10.1.0.9","proto":"tcp","port":{n},"state":"open","reason":"syn-ack","time":"2026-01-01T00:00:00Z"}}"#
    )
}

pub(crate) fn json(observation: &Observation) -> String {
    serde_json::to_string(observation).unwrap()
}
