//! A cloud to test: its folder, its clock, and an administrator's client.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use sonde_cloud::api::{
    ActivationView, ApplianceView, Confirm, CreateScan, LoggedIn, Login, Lookup, ScanView,
};
use sonde_cloud::client::Client;
use sonde_cloud::clock::{ManualClock, Moment};
use sonde_cloud::server::{Running, ServeOptions, start_with};
use sonde_cloud::simulated::Simulated;
use sonde_cloud::{CloudConfig, FirstUser};
use sonde_protocol::ids::{ApplianceId, JobId};
use sonde_protocol::request::ScanRequest;

/// Nothing in these tests takes so long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) clock: ManualClock,
    pub(crate) running: Running,
    pub(crate) admin: Client,
    pub(crate) first: FirstUser,
    next_box: std::cell::Cell<u8>,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut CloudConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Far from this machine's clock: whoever does not ask the cloud for the time is refused.
        let clock = ManualClock::new(Moment::from_micros(1_900_000_000_000_000));
        let running = serve(dir.path(), &clock, change).await;
        let first = running
            .first_user
            .clone()
            .expect("the first start makes a user");
        let admin = log_in(&running, &first).await;
        Self {
            dir,
            clock,
            running,
            admin,
            first,
            next_box: 1.into(),
        }
    }

    /// The same folder served again, after a crash of what served it before.
    pub(crate) async fn crash_and_reopen(self) -> Self {
        let Self {
            dir,
            clock,
            running,
            first,
            next_box,
            ..
        } = self;
        running.crash();
        let running = serve(dir.path(), &clock, |_| {}).await;
        assert_eq!(running.first_user, None);
        let admin = log_in(&running, &first).await;
        Self {
            dir,
            clock,
            running,
            admin,
            first,
            next_box,
        }
    }

    pub(crate) fn url(&self) -> String {
        url(&self.running)
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&self.url(), Some(self.running.identity.fingerprint)).unwrap()
    }

    /// Time passes, and the cloud looks at its leases.
    pub(crate) async fn pass(&self, by: Duration) {
        self.clock.advance(by);
        self.running.cloud.tick().await.unwrap();
    }

    /// A box with a key of its own, not enrolled.
    pub(crate) fn stranger(&self) -> Simulated {
        let n = self.next_box.get();
        self.next_box.set(n + 1);
        self.same_box(n)
    }

    /// The `n`th box, as it talks to the cloud now.
    pub(crate) fn same_box(&self, n: u8) -> Simulated {
        let pinned = Some(self.running.identity.fingerprint);
        Simulated::new(&self.url(), pinned, &[n; 32], &format!("SIM-{n}")).unwrap()
    }

    pub(crate) async fn lookup(&self, code: &str) -> Result<ActivationView, String> {
        let lookup = Lookup {
            code: code.to_owned(),
        };
        let path = "/api/v1/activations/lookup";
        self.admin
            .send(Method::POST, path, &lookup)
            .await
            .map_err(|e| e.to_string())
    }

    pub(crate) async fn confirm(
        &self,
        code: &str,
        name: &str,
        check: &str,
    ) -> Result<ApplianceView, String> {
        let confirm = Confirm {
            code: code.to_owned(),
            name: name.to_owned(),
            check_number: check.to_owned(),
        };
        let path = "/api/v1/activations/confirm";
        self.admin
            .send(Method::POST, path, &confirm)
            .await
            .map_err(|e| e.to_string())
    }

    /// A box that belongs to the cloud.
    pub(crate) async fn appliance(&self, name: &str) -> (Simulated, ApplianceId) {
        let simulated = self.stranger();
        let code = simulated.enroll().await.unwrap().code;
        let check = simulated.check_number(&code);
        let view = self.confirm(&code, name, &check).await.unwrap();
        (simulated, view.appliance.id)
    }

    pub(crate) async fn scan(&self, name: &str) -> JobId {
        let scan = CreateScan {
            appliance: Some(name.to_owned()),
            name: None,
            request: ScanRequest {
                targets: vec!["10.0.0.0/24".into()],
                ..ScanRequest::default()
            },
            on_lost_contact: Default::default(),
        };
        let view: ScanView = self
            .admin
            .send(Method::POST, "/api/v1/scans", &scan)
            .await
            .unwrap();
        view.job.id
    }

    pub(crate) async fn scan_view(&self, id: JobId) -> ScanView {
        self.admin
            .get(&format!("/api/v1/scans/{id}"))
            .await
            .unwrap()
    }

    /// Lines of an answer that is JSON lines.
    pub(crate) async fn lines(&self, path: &str) -> Vec<String> {
        let text = self.admin.stream(path).await.unwrap().text().await.unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

async fn serve(
    data: &std::path::Path,
    clock: &ManualClock,
    change: impl FnOnce(&mut CloudConfig),
) -> Running {
    let options = ServeOptions {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data: data.to_owned(),
        database: None,
        tls_cert: None,
        tls_key: None,
    };
    start_with(&options, clock.clock(), change).await.unwrap()
}

async fn log_in(running: &Running, user: &FirstUser) -> Client {
    let client = Client::new(&url(running), Some(running.identity.fingerprint)).unwrap();
    let login = Login {
        user: user.name.clone(),
        password: user.password.clone(),
    };
    let token: LoggedIn = client
        .send(Method::POST, "/api/v1/login", &login)
        .await
        .unwrap();
    client.with_token(token.token)
}

fn url(running: &Running) -> String {
    format!("https://{}", running.address)
}
