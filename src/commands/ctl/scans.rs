//! Asking for scans, watching and stopping them.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use sonde_cloud::api::{CreateScan, ScanView};
use sonde_cloud::client::{Client, ClientError};
use sonde_cloud::clock::Moment;
use sonde_cloud::storage::Job;
use sonde_protocol::device::{JobState, OnLostContact};
use sonde_protocol::ids::JobId;

use super::session::client;
use super::{print, table};
use crate::commands::Refused;
use crate::commands::scan::request::RequestArgs;

/// Arguments of `scan`: those of `sonde scan` that do not speak of this machine.
#[derive(clap::Args)]
#[command(mut_arg("targets", |arg| arg.help("What to scan, as `sonde scan` takes it")))]
#[command(mut_arg("trunk", |arg| arg.help("VLANs and routes, a TOML file [default: the appliance's settings]")))]
#[command(after_help = "\
Examples:
  sonde ctl scan 10.1.0.0/24@100                       there is one appliance
  sonde ctl scan --appliance north -p 22,80,443 --rate 50k 10.1.0.0/16 2001:db8::/120@200
  sonde ctl watch $(sonde ctl scan -f targets.txt)")]
pub(super) struct ScanArgs {
    /// The appliance, by name or id; may be left out when there is one only
    #[arg(long, value_name = "NAME")]
    appliance: Option<String>,
    /// What to call the scan [default: its first target]
    #[arg(long)]
    name: Option<String>,
    /// When the cloud is out of reach: continue, pause or stop
    #[arg(long, value_name = "POLICY", default_value = "continue", value_parser = lost_contact)]
    on_lost_contact: OnLostContact,
    #[command(flatten)]
    request: RequestArgs,
}

/// Arguments of `scans`.
#[derive(clap::Args)]
pub(super) struct List {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Arguments of `watch`.
#[derive(clap::Args)]
pub(super) struct Watch {
    /// The scan's id
    id: String,
}

/// Arguments of `cancel`.
#[derive(clap::Args)]
pub(super) struct Cancel {
    /// The scan's id
    id: String,
}

/// Ended early: what was found is there.
const EXIT_PARTIAL: u8 = 3;
/// Time between looks at a scan.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A cloud that can not be reached for so long is given up on; it may be restarted meanwhile.
const LOOKS_FAILED_MAX: u32 = 120;

pub(super) async fn scan(args: ScanArgs) -> anyhow::Result<ExitCode> {
    let request = args.request.request().map_err(Refused)?;
    let scan = CreateScan {
        appliance: args.appliance,
        name: args.name,
        request,
        on_lost_contact: args.on_lost_contact,
    };
    let view: ScanView = client()?.send(Method::POST, "/api/v1/scans", &scan).await?;
    print(&view.job.id.to_string())?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn list(args: List) -> anyhow::Result<ExitCode> {
    let jobs: Vec<Job> = client()?
        .get(&format!("/api/v1/scans?limit={}", args.limit))
        .await?;
    if args.json {
        print(&serde_json::to_string_pretty(&jobs)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = jobs.into_iter().map(|job| {
        vec![
            job.id.to_string(),
            job.name.clone(),
            state(&job),
            job.hosts_up.to_string(),
            job.open_ports.to_string(),
            shown_time(job.created),
            job.created_by,
        ]
    });
    print(&table(
        &["ID", "NAME", "STATE", "HOSTS", "OPEN", "ASKED", "BY"],
        rows,
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn cancel(args: Cancel) -> anyhow::Result<ExitCode> {
    let path = format!("/api/v1/scans/{}/cancel", read_id(&args.id)?);
    let view: ScanView = client()?.send(Method::POST, &path, &()).await?;
    eprintln!(
        "sonde: {}",
        if view.job.state.is_end() {
            "cancelled"
        } else {
            "it is being stopped"
        }
    );
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn watch(args: Watch) -> anyhow::Result<ExitCode> {
    let id = read_id(&args.id)?;
    let client = client()?;
    let bar = std::io::stderr().is_terminal().then(progress_bar);
    let mut told = None;
    let job = loop {
        let job = look(&client, id).await?;
        match &bar {
            Some(bar) => {
                bar.set_position((job.fraction * 1000.0) as u64);
                bar.set_message(line(&job));
            }
            None if told != Some(job.state) => eprintln!("sonde: {}", line(&job)),
            None => {}
        }
        told = Some(job.state);
        if job.state.is_end() {
            break job;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
        eprintln!("sonde: {}", line(&job));
    }
    if let Some(why) = &job.error {
        eprintln!("sonde: {why}");
    }
    Ok(match job.state {
        JobState::Committed => ExitCode::SUCCESS,
        JobState::Cancelled => ExitCode::from(EXIT_PARTIAL),
        _ => ExitCode::FAILURE,
    })
}

/// Reads an id as `scan` printed it.
pub(super) fn read_id(text: &str) -> anyhow::Result<JobId> {
    text.trim().parse().map_err(|_| {
        Refused(anyhow!(
            "'{text}' is not the id of a scan: `sonde ctl scans` lists them"
        ))
        .into()
    })
}

/// A moment for people, in UTC to the second.
pub(super) fn shown_time(at: Moment) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    at.to_datetime()
        .format(format)
        .unwrap_or_else(|_| "-".to_owned())
}

/// Looks at a scan; a cloud out of reach for a while is waited for.
async fn look(client: &Client, id: JobId) -> Result<Job, ClientError> {
    let mut failed = 0;
    loop {
        match client.get::<ScanView>(&format!("/api/v1/scans/{id}")).await {
            Ok(view) => return Ok(view.job),
            Err(ClientError::Unreachable { .. } | ClientError::Cut { .. })
                if failed < LOOKS_FAILED_MAX =>
            {
                failed += 1;
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn lost_contact(text: &str) -> Result<OnLostContact, String> {
    match text {
        "continue" => Ok(OnLostContact::Continue),
        "pause" => Ok(OnLostContact::Pause),
        "stop" => Ok(OnLostContact::Stop),
        _ => Err("the policies are continue, pause and stop".to_owned()),
    }
}

fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(1000).with_style(style)
}

fn state(job: &Job) -> String {
    match job.state {
        JobState::Queued if job.attempt == 0 => "queued".to_owned(),
        JobState::Queued => "out of reach".to_owned(),
        JobState::Offered => "offered".to_owned(),
        JobState::Accepted => "accepted".to_owned(),
        JobState::Running if job.cancel_requested => "stopping".to_owned(),
        JobState::Running => format!("running, {:.0} %", job.fraction * 100.0),
        JobState::Paused => "paused".to_owned(),
        JobState::Draining => "sending results".to_owned(),
        JobState::Committed => "done".to_owned(),
        JobState::Cancelled => "cancelled".to_owned(),
        JobState::Failed => "failed".to_owned(),
        JobState::Expired => "expired".to_owned(),
        JobState::Superseded => "superseded".to_owned(),
    }
}

fn line(job: &Job) -> String {
    format!(
        "{}: {} hosts up, {} ports open",
        state(job),
        job.hosts_up,
        job.open_ports
    )
}
