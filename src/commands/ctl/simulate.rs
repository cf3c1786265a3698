//! Load for a cloud: simulated appliances that are activated, get scans and do them, all at once.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use reqwest::Method;
use sonde_cloud::api::{ApplianceView, Confirm, CreateScan, ScanView};
use sonde_cloud::simulated::{Pace, Simulated, SimulatedError, made_up};
use sonde_protocol::device::{EnrollReply, RefusalReason};
use sonde_protocol::ids::JobId;
use sonde_protocol::request::ScanRequest;
use tokio::task::JoinSet;

use super::print;
use super::session::Session;

/// Arguments of `simulate`.
#[derive(clap::Args)]
pub(super) struct Simulate {
    /// Appliances
    #[arg(long, default_value_t = 10)]
    count: u32,
    /// Scans for each
    #[arg(long, default_value_t = 1)]
    jobs: u32,
    /// Hosts found by each scan
    #[arg(long, default_value_t = 1_000)]
    hosts: u32,
    /// Records in a batch
    #[arg(long, default_value_t = 2_000)]
    batch: usize,
    /// Milliseconds between batches
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
}

pub(super) async fn simulate(args: Simulate) -> anyhow::Result<ExitCode> {
    let session = Arc::new(Session::read()?);
    let pace = Pace {
        hosts: args.hosts,
        batch: args.batch,
        pause: Duration::from_millis(args.pause_ms),
        ..Pace::default()
    };
    let start = Instant::now();
    let mut boxes = JoinSet::new();
    for _ in 0..args.count {
        let session = Arc::clone(&session);
        boxes.spawn(async move { one(&session, pace, args.jobs).await });
    }
    while let Some(ended) = boxes.join_next().await {
        ended.context("a simulated appliance panicked")??;
    }
    let jobs = u64::from(args.count) * u64::from(args.jobs);
    let records =
        jobs * made_up(&ScanRequest::default(), JobId::generate(), args.hosts).len() as u64;
    let seconds = start.elapsed().as_secs_f64();
    print(&format!(
        "{} appliances, {jobs} scans, {records} records in {seconds:.2} s: {:.0} records/s",
        args.count,
        records as f64 / seconds
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// One box from its key to the end of its scans.
async fn one(session: &Session, pace: Pace, jobs: u32) -> anyhow::Result<()> {
    let client = session.client()?;
    let name = format!("simulated-{}", JobId::generate());
    let secret = secret();
    let simulated = Simulated::new(&session.url, session.pinned()?, &secret, &name)?;
    let code = code(&simulated).await?.code;
    let confirm = Confirm {
        check_number: simulated.check_number(&code),
        code,
        name,
    };
    let view: ApplianceView = client
        .send(Method::POST, "/api/v1/activations/confirm", &confirm)
        .await?;
    for _ in 0..jobs {
        let scan = CreateScan {
            appliance: Some(view.appliance.name.clone()),
            name: None,
            request: ScanRequest {
                targets: vec!["10.0.0.0/8".to_owned()],
                ..ScanRequest::default()
            },
            on_lost_contact: Default::default(),
        };
        let _: ScanView = client.send(Method::POST, "/api/v1/scans", &scan).await?;
    }
    simulated.run(pace, jobs as usize).await?;
    Ok(())
}

/// Asks for a code until the cloud's limit lets it through.
async fn code(simulated: &Simulated) -> Result<EnrollReply, SimulatedError> {
    loop {
        match simulated.enroll().await {
            Err(SimulatedError::Refused(refusal)) if refusal.reason == RefusalReason::Busy => {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            other => return other,
        }
    }
}

/// 32 random bytes: two random UUIDs have 244 of their 256 bits.
fn secret() -> [u8; 32] {
    let halves = [
        uuid::Uuid::new_v4().into_bytes(),
        uuid::Uuid::new_v4().into_bytes(),
    ];
    std::array::from_fn(|i| halves[i / 16][i % 16])
}
