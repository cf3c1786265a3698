//! kill -9 of the cloud at random moments, while boxes poll, deliver and commit.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use sonde_cloud::api::{ApplianceView, Confirm, CreateScan, LoggedIn, Login, ScanView};
use sonde_cloud::client::Client;
use sonde_cloud::clock::Clock;
use sonde_cloud::server::{ServeOptions, start};
use sonde_cloud::simulated::{Pace, Simulated};
use sonde_protocol::device::JobState;
use sonde_protocol::ids::JobId;
use sonde_protocol::request::ScanRequest;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// Set in the process that is to be killed: the folder to serve, and the address.
const FOLDER: &str = "SONDE_TEST_CLOUD_FOLDER";
const ADDRESS: &str = "SONDE_TEST_CLOUD_ADDRESS";

const KILLS: u32 = 20;
const BOXES: u8 = 2;
const JOBS_EACH: usize = 3;
/// Long enough for the kills to fall into the work, not behind it.
const PACE: Pace = Pace {
    hosts: 600,
    batch: 20,
    wait_s: 50,
    pause: Duration::from_millis(2),
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cloud_killed_at_random_moments_loses_and_doubles_nothing() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return serve(PathBuf::from(folder)).await;
    }
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut cloud = Killable::start(dir.path(), address).await;
    let url = format!("https://{address}");
    let client = Client::new(&url, Some(cloud.fingerprint)).unwrap();
    let login = Login {
        user: "admin".into(),
        password: cloud.password.clone().unwrap(),
    };
    let token: LoggedIn = client
        .send(Method::POST, "/api/v1/login", &login)
        .await
        .unwrap();
    let admin = client.with_token(token.token);

    let mut jobs = Vec::new();
    let mut boxes = tokio::task::JoinSet::new();
    for n in 1..=BOXES {
        let name = format!("box-{n}");
        let simulated = Simulated::new(&url, Some(cloud.fingerprint), &[n; 32], &name).unwrap();
        let code = simulated.enroll().await.unwrap().code;
        let confirm = Confirm {
            check_number: simulated.check_number(&code),
            code,
            name: name.clone(),
        };
        let path = "/api/v1/activations/confirm";
        let _: ApplianceView = admin.send(Method::POST, path, &confirm).await.unwrap();
        for _ in 0..JOBS_EACH {
            jobs.push(ask(&admin, &name).await);
        }
        let simulated = Arc::new(simulated);
        boxes.spawn(async move { simulated.run(PACE, JOBS_EACH).await });
    }

    let mut kills = 0;
    while kills < KILLS {
        let moment = Duration::from_millis(rand::random_range(1..150));
        if let Ok(ended) = tokio::time::timeout(moment, boxes.join_next()).await {
            let Some(ended) = ended else { break };
            ended.unwrap().unwrap();
            continue;
        }
        cloud.kill().await;
        kills += 1;
        cloud = Killable::start(dir.path(), address).await;
    }
    while let Some(ended) = boxes.join_next().await {
        ended.unwrap().unwrap();
    }
    assert_eq!(
        kills, KILLS,
        "the work was done before it could be killed: make more of it"
    );

    for job in jobs {
        let view: ScanView = admin.get(&format!("/api/v1/scans/{job}")).await.unwrap();
        assert_eq!(view.job.state, JobState::Committed);
        let path = format!("/api/v1/scans/{job}/results");
        let text = admin.stream(&path).await.unwrap().text().await.unwrap();
        let lines: HashSet<&str> = text.lines().collect();
        assert_eq!(lines.len(), text.lines().count(), "each thing once");
        let expected = sonde_cloud::simulated::made_up(&view.request, job, PACE.hosts);
        assert_eq!(lines.len(), expected.len(), "and everything");
        assert_eq!(view.job.records, expected.len() as u64);
    }
    cloud.kill().await;
}

/// What the process to be killed does: serves for ever.
async fn serve(data: PathBuf) {
    let address = std::env::var(ADDRESS).unwrap();
    let options = ServeOptions {
        listen: address.parse().unwrap(),
        data,
        database: None,
        tls_cert: None,
        tls_key: None,
    };
    let running = start(&options, Clock::system()).await.unwrap();
    let fingerprint = sonde_protocol::token::hex(&running.identity.fingerprint);
    let password = running
        .first_user
        .as_ref()
        .map_or("-", |first| &first.password);
    // The line begins anew: the test harness has written something already.
    println!("\nready {fingerprint} {password}");
    std::future::pending::<()>().await;
}

async fn ask(admin: &Client, appliance: &str) -> JobId {
    let scan = CreateScan {
        appliance: Some(appliance.to_owned()),
        name: None,
        request: ScanRequest {
            targets: vec!["10.0.0.0/24".into()],
            ..ScanRequest::default()
        },
        on_lost_contact: Default::default(),
    };
    let view: ScanView = admin
        .send(Method::POST, "/api/v1/scans", &scan)
        .await
        .unwrap();
    view.job.id
}

/// A cloud in a process of its own.
struct Killable {
    process: Child,
    fingerprint: [u8; 32],
    password: Option<String>,
}

impl Killable {
    async fn start(data: &Path, address: SocketAddr) -> Self {
        let name = "crash::a_cloud_killed_at_random_moments_loses_and_doubles_nothing";
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .env(FOLDER, data)
            .env(ADDRESS, address.to_string())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = async {
            loop {
                let line = lines
                    .next_line()
                    .await
                    .unwrap()
                    .expect("the cloud comes up");
                if let Some(ready) = line.strip_prefix("ready ") {
                    break ready.to_owned();
                }
            }
        };
        let ready = tokio::time::timeout(crate::house::PATIENCE, ready)
            .await
            .unwrap();
        let (fingerprint, password) = ready.split_once(' ').unwrap();
        let bytes: Vec<u8> = (0..32)
            .map(|i| u8::from_str_radix(&fingerprint[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        Self {
            process,
            fingerprint: bytes.try_into().unwrap(),
            password: (password != "-").then(|| password.to_owned()),
        }
    }

    /// SIGKILL, and wait until it is gone.
    async fn kill(mut self) {
        self.process.kill().await.unwrap();
    }
}

/// A loopback address that stays free while the cloud is down: an address of our own, and a port below those that
/// connections are made from (a connection to itself would take it).
fn free_address() -> SocketAddr {
    loop {
        let ip = [127, 77, rand::random(), rand::random_range(1..255)];
        let address = SocketAddr::from((ip, rand::random_range(20_000..30_000)));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
