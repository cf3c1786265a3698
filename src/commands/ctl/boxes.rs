//! Activation, appliances, their settings.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use reqwest::Method;
use sonde_cloud::api::{
    ActivationView, ApplianceChange, ApplianceStatus, ApplianceView, Confirm, Lookup,
    SettingsChange,
};
use sonde_cloud::client::Client;
use sonde_protocol::device::DesiredSettings;

use super::scans::shown_time;
use super::session::client;
use super::{print, table};
use crate::commands::Refused;
use crate::commands::scan::request::read_trunk;

/// Arguments of `activate`.
#[derive(clap::Args)]
pub(super) struct Activate {
    /// The code on the box's panel; case, blanks and hyphens do not matter
    code: String,
    /// What to call the appliance [default: its serial]
    #[arg(long)]
    name: Option<String>,
    /// Do not ask whether the check number is the one on the panel
    #[arg(long)]
    yes: bool,
}

/// Arguments of `appliances`.
#[derive(clap::Args)]
pub(super) struct Appliances {
    #[command(subcommand)]
    what: Option<Change>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Change {
    /// Give one another name
    Rename {
        /// Name or id
        appliance: String,
        /// The new name
        name: String,
    },
    /// Refuse one's requests from now on
    Disable {
        /// Name or id
        appliance: String,
    },
    /// Take one's requests again
    Enable {
        /// Name or id
        appliance: String,
    },
}

/// What to do about settings.
#[derive(Subcommand)]
pub(super) enum Settings {
    /// Show what an appliance should be, as TOML
    Show {
        /// Name or id
        appliance: String,
    },
    /// Set the VLANs and routes it scans through; - for stdin
    SetTrunk {
        /// Name or id
        appliance: String,
        /// Trunk file, TOML
        file: PathBuf,
    },
}

pub(super) async fn activate(args: Activate) -> anyhow::Result<ExitCode> {
    let client = client()?;
    let at = format!("code {}", args.code);
    let lookup = Lookup {
        code: args.code.clone(),
    };
    let found: ActivationView = client
        .send(Method::POST, "/api/v1/activations/lookup", &lookup)
        .await
        .context(at.clone())?;
    eprintln!("serial        {}", found.serial);
    eprintln!("MAC address   {}", found.mac);
    eprintln!("asks from     {}", found.source);
    eprintln!("software      {}", found.software);
    eprintln!("check number  {}", found.check_number);
    if !args.yes && !is_confirmed()? {
        eprintln!("sonde: nothing was activated");
        return Ok(ExitCode::FAILURE);
    }
    let confirm = Confirm {
        code: args.code,
        name: args.name.unwrap_or(found.serial),
        check_number: found.check_number,
    };
    let view: ApplianceView = client
        .send(Method::POST, "/api/v1/activations/confirm", &confirm)
        .await
        .context(at)?;
    eprintln!(
        "sonde: the appliance '{}' belongs to this cloud now",
        view.appliance.name
    );
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn appliances(args: Appliances) -> anyhow::Result<ExitCode> {
    let client = client()?;
    let (appliance, change) = match args.what {
        None => return list(&client, args.json).await,
        Some(Change::Rename { appliance, name }) => (
            appliance,
            ApplianceChange {
                name: Some(name),
                disabled: None,
            },
        ),
        Some(Change::Disable { appliance }) => (
            appliance,
            ApplianceChange {
                name: None,
                disabled: Some(true),
            },
        ),
        Some(Change::Enable { appliance }) => (
            appliance,
            ApplianceChange {
                name: None,
                disabled: Some(false),
            },
        ),
    };
    let id = find(&client, &appliance).await?.appliance.id;
    let path = format!("/api/v1/appliances/{id}");
    let _: ApplianceView = client.send(Method::PATCH, &path, &change).await?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn settings(what: Settings) -> anyhow::Result<ExitCode> {
    let client = client()?;
    match what {
        Settings::Show { appliance } => {
            let view = find(&client, &appliance).await?.appliance;
            let path = format!("/api/v1/appliances/{}/settings", view.id);
            let settings: DesiredSettings = client.get(&path).await?;
            print(&format!(
                "# {}: generation {} wanted, {} applied\n{}",
                settings.name,
                settings.generation,
                view.box_generation,
                toml::to_string(&settings.trunk)?.trim_end()
            ))?;
        }
        Settings::SetTrunk { appliance, file } => {
            let file = if file.as_os_str() == "-" {
                "/dev/stdin".into()
            } else {
                file
            };
            let trunk = read_trunk(&file).map_err(|error| Refused(anyhow!("{error:#}")))?;
            let id = find(&client, &appliance).await?.appliance.id;
            let path = format!("/api/v1/appliances/{id}/settings");
            let settings: DesiredSettings = client
                .send(Method::PUT, &path, &SettingsChange { trunk })
                .await?;
            eprintln!(
                "sonde: generation {} is wanted of '{}'",
                settings.generation, settings.name
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The appliance of that name or id.
async fn find(client: &Client, wanted: &str) -> anyhow::Result<ApplianceView> {
    let all: Vec<ApplianceView> = client.get("/api/v1/appliances").await?;
    let names = all
        .iter()
        .map(|a| a.appliance.name.clone())
        .collect::<Vec<_>>()
        .join(", ");
    all.into_iter()
        .find(|a| a.appliance.name == wanted || a.appliance.id.to_string() == wanted)
        .ok_or_else(|| {
            if names.is_empty() {
                anyhow!("there is no appliance '{wanted}', nor any other: activate one first")
            } else {
                anyhow!("there is no appliance '{wanted}': there are {names}")
            }
        })
}

async fn list(client: &Client, json: bool) -> anyhow::Result<ExitCode> {
    let all: Vec<ApplianceView> = client.get("/api/v1/appliances").await?;
    if json {
        print(&serde_json::to_string_pretty(&all)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = all.into_iter().map(|ApplianceView { status, appliance }| {
        let status = match status {
            ApplianceStatus::Online => "online",
            ApplianceStatus::Offline => "offline",
            ApplianceStatus::Never => "never seen",
            ApplianceStatus::Disabled => "disabled",
        };
        vec![
            appliance.name,
            status.to_owned(),
            appliance
                .last_poll
                .map_or_else(|| "-".to_owned(), shown_time),
            appliance.source.to_string(),
            appliance.serial,
            appliance.software,
        ]
    });
    print(&table(
        &["NAME", "STATUS", "LAST POLL", "FROM", "SERIAL", "SOFTWARE"],
        rows,
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Asks on the terminal.
fn is_confirmed() -> anyhow::Result<bool> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!(
            "there is no terminal to ask on: compare the check number with the panel and use --yes"
        );
    }
    eprint!("Does the box's panel show this check number? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
