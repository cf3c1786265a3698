//! `sonde cloud`: serves, and looks after users on the machine that has the database.

use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sonde_cloud::clock::Clock;
use sonde_cloud::secrets::{hash_password, new_password};
use sonde_cloud::server::{self, ServeError, ServeOptions};
use sonde_cloud::storage::{Scope, Store};
use sonde_cloud::tls::TlsError;
use sonde_protocol::token::hex;
use tokio::signal::unix::{SignalKind, signal};

use super::{Refused, log};

/// Arguments of `sonde cloud`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  sonde cloud serve                                    on port 8443, with a certificate of its own
  sonde cloud serve --listen 127.0.0.1:0 --data ./cloud
  sonde cloud serve --tls-cert chain.pem --tls-key key.pem
  sonde cloud user add ann --scope scan
  sonde cloud passwd admin")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Serve boxes and people until SIGTERM or Ctrl-C
    Serve(Serve),
    /// Look after users, on the machine that has the database
    User {
        #[command(subcommand)]
        what: UserWhat,
    },
    /// Set a user's password, and end their tokens
    Passwd {
        /// The user
        name: String,
        #[command(flatten)]
        password: PasswordFrom,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Subcommand)]
enum UserWhat {
    /// Add a user
    Add {
        /// The user
        name: String,
        /// What they may do: read, scan or admin, each including the ones before
        #[arg(long, value_name = "SCOPE", default_value = "scan")]
        scope: Scope,
        #[command(flatten)]
        password: PasswordFrom,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(clap::Args)]
struct Serve {
    /// Where to listen; port 0 takes any free one [default: port 8443 on all addresses]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    #[command(flatten)]
    place: Place,
    /// Certificate chain, PEM [default: one of the cloud's own making, to be pinned]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
}

#[derive(clap::Args)]
struct Place {
    /// Folder of database and certificate [default: /var/lib/sonde-cloud, or for an ordinary user
    /// ~/.local/share/sonde-cloud]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Database, sqlite:FILE [default: cloud.db in the data folder]
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

#[derive(clap::Args)]
struct PasswordFrom {
    /// Read the password from stdin [default: a new one is made and printed]
    #[arg(long)]
    password_stdin: bool,
}

/// A port above 1024, so that no privileges are needed, and not one that something else is known for.
const PORT: u16 = 8443;

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("the runtime can't start")?;
    match args.what {
        What::Serve(args) => runtime.block_on(serve(args)),
        What::User {
            what:
                UserWhat::Add {
                    name,
                    scope,
                    password,
                    place,
                },
        } => runtime.block_on(set(&name, Some(scope), &password, &place)),
        What::Passwd {
            name,
            password,
            place,
        } => runtime.block_on(set(&name, None, &password, &place)),
    }
}

async fn serve(args: Serve) -> anyhow::Result<ExitCode> {
    log();
    raise_file_limit();
    let options = ServeOptions {
        listen: args
            .listen
            .unwrap_or_else(|| (Ipv6Addr::UNSPECIFIED, PORT).into()),
        data: args.place.data()?,
        database: args.place.database()?,
        tls_cert: args.tls_cert,
        tls_key: args.tls_key,
    };
    // Before anything is announced: who reads the announcement may end us at once.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let running = server::start(&options, Clock::system())
        .await
        .map_err(|error| match error {
            ServeError::Tls(TlsError::Half) => Refused(error.into()).into(),
            error => anyhow::Error::from(error),
        })?;
    let mut out = std::io::stdout();
    if let Some(first) = &running.first_user {
        writeln!(out, "{} password: {}", first.name, first.password)?;
    }
    writeln!(
        out,
        "certificate fingerprint: {}",
        hex(&running.identity.fingerprint)
    )?;
    writeln!(out, "listening on https://{}", running.address)?;
    out.flush()?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("ending: held polls are answered, what is under way is finished");
    running.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Adds a user of `scope`, or without one sets the password of a known one.
async fn set(
    name: &str,
    scope: Option<Scope>,
    password: &PasswordFrom,
    place: &Place,
) -> anyhow::Result<ExitCode> {
    let database = match place.database()? {
        Some(database) => database,
        None => place.data()?.join("cloud.db"),
    };
    if !database.exists() {
        bail!(
            "there is no database {}: start `sonde cloud serve` once, or name its folder with --data",
            database.display()
        );
    }
    let given = password.password_stdin.then(read_password).transpose()?;
    let password = given.clone().unwrap_or_else(new_password);
    let hash = hash_password(&password).await?;
    let store = Store::open(&database).await?;
    match scope {
        Some(scope) => {
            let now = Clock::system().now();
            store
                .add_user(name, &hash, scope, now)
                .await
                .with_context(|| format!("'{name}' can't be added"))?;
        }
        None => store
            .set_password(name, &hash)
            .await
            .with_context(|| format!("the password of '{name}' can't be set"))?,
    }
    store.close().await;
    if given.is_none() {
        writeln!(std::io::stdout(), "{name} password: {password}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn read_password() -> anyhow::Result<String> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .context("the password can't be read from stdin")?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl Place {
    fn data(&self) -> anyhow::Result<PathBuf> {
        if let Some(data) = &self.data {
            return Ok(data.clone());
        }
        if rustix::process::geteuid().is_root() {
            return Ok(PathBuf::from("/var/lib/sonde-cloud"));
        }
        let home = std::env::var_os("HOME")
            .ok_or_else(|| Refused(anyhow!("HOME is not set: name the data folder with --data")))?;
        Ok(PathBuf::from(home).join(".local/share/sonde-cloud"))
    }

    fn database(&self) -> anyhow::Result<Option<PathBuf>> {
        let Some(url) = &self.database else {
            return Ok(None);
        };
        let path = url
            .strip_prefix("sqlite://")
            .or_else(|| url.strip_prefix("sqlite:"))
            .filter(|path| !path.is_empty())
            .ok_or_else(|| {
                Refused(anyhow!(
                    "this build keeps its data in SQLite only, not in '{url}': write sqlite:FILE, or leave out --database"
                ))
            })?;
        Ok(Some(PathBuf::from(path)))
    }
}

/// Each box holds two connections, and the usual limit of 1024 files is soon reached. What can't be raised is left.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_other_than_sqlite_are_refused() {
        let at = |url: &str| {
            Place {
                data: None,
                database: Some(url.to_owned()),
            }
            .database()
        };
        assert_eq!(
            at("sqlite:/srv/x.db").unwrap(),
            Some(PathBuf::from("/srv/x.db"))
        );
        assert_eq!(at("sqlite://x.db").unwrap(), Some(PathBuf::from("x.db")));
        for bad in ["postgres://db/sonde", "sqlite:", "x.db"] {
            assert_eq!(super::super::exit_status(&at(bad).unwrap_err()), 2, "{bad}");
        }
    }
}
