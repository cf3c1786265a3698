//! Logging in, users, tokens.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use reqwest::Method;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use sonde_cloud::api::{self, LoggedIn, NewPassword, NewToken, NewUser, TokenMade};
use sonde_cloud::client::Client;
use sonde_cloud::secrets::new_password;
use sonde_cloud::storage::{ApiToken, Scope, User};

use super::session::{Session, client, read_fingerprint};
use super::{print, table};

/// Arguments of `login`.
#[derive(clap::Args)]
pub(super) struct Login {
    /// The cloud, https://HOST:PORT
    url: String,
    /// Your name
    #[arg(long, default_value = "admin")]
    user: String,
    /// Read the password from stdin [default: asked for]
    #[arg(long)]
    password_stdin: bool,
    /// SHA-256 of the cloud's certificate, as `sonde cloud serve` printed it; no other will be trusted [default: the
    /// machine's authorities vouch for it]
    #[arg(long, value_name = "SHA256")]
    fingerprint: Option<String>,
}

/// What to do about users.
#[derive(Subcommand)]
pub(super) enum Users {
    /// List them
    List,
    /// Add one
    Add {
        /// Name
        name: String,
        /// What they may do: read, scan or admin, each including the ones before
        #[arg(long, value_name = "SCOPE", default_value = "scan")]
        scope: Scope,
        /// Read the password from stdin [default: a new one is made and printed]
        #[arg(long)]
        password_stdin: bool,
    },
    /// Remove one
    Remove {
        /// Name
        name: String,
    },
    /// Set a password, and end their tokens
    Passwd {
        /// Name
        name: String,
        /// Read the password from stdin [default: a new one is made and printed]
        #[arg(long)]
        password_stdin: bool,
    },
}

/// What to do about tokens.
#[derive(Subcommand)]
pub(super) enum Tokens {
    /// List them
    List,
    /// Make one for a program; it is printed this once
    Make {
        /// What it is for
        name: String,
        /// What it is to allow: read, scan or admin
        #[arg(long, value_name = "SCOPE", default_value = "read")]
        scope: Scope,
        /// How long it is to hold
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        valid_days: u32,
    },
    /// End one
    End {
        /// Its id
        id: String,
    },
}

pub(super) async fn login(args: Login) -> anyhow::Result<ExitCode> {
    let pinned = args
        .fingerprint
        .as_deref()
        .map(read_fingerprint)
        .transpose()?;
    let client = Client::new(&args.url, pinned)?;
    let password = if args.password_stdin {
        password_from_stdin()?
    } else {
        ask_password(&format!("Password of {} at {}: ", args.user, client.url()))?
    };
    let login = api::Login {
        user: args.user,
        password,
    };
    let logged_in: LoggedIn = client.send(Method::POST, "/api/v1/login", &login).await?;
    let session = Session {
        url: client.url().to_owned(),
        fingerprint: args.fingerprint,
        token: logged_in.token,
    };
    session.write()?;
    eprintln!(
        "sonde: logged in as {} with scope {}",
        login.user,
        logged_in.scope.word()
    );
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn logout() -> anyhow::Result<ExitCode> {
    let ended = client()?
        .act(Method::POST, "/api/v1/logout", None::<&()>)
        .await;
    Session::forget()?;
    match ended {
        Err(error) if !error.is_logged_out() => {
            Err(error).context("the token is forgotten here but holds until it runs out")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

pub(super) async fn users(what: Users) -> anyhow::Result<ExitCode> {
    let client = client()?;
    match what {
        Users::List => {
            let users: Vec<User> = client.get("/api/v1/users").await?;
            let rows = users
                .into_iter()
                .map(|user| vec![user.name, user.scope.word().to_owned()]);
            print(&table(&["NAME", "SCOPE"], rows))?;
        }
        Users::Add {
            name,
            scope,
            password_stdin,
        } => {
            let (password, made) = chosen_password(password_stdin)?;
            let new = NewUser {
                name,
                password,
                scope,
            };
            let user: User = client.send(Method::POST, "/api/v1/users", &new).await?;
            if made {
                print(&format!("{} password: {}", user.name, new.password))?;
            }
        }
        Users::Remove { name } => {
            let path = format!("/api/v1/users/{}", in_path(&name));
            client.act(Method::DELETE, &path, None::<&()>).await?;
        }
        Users::Passwd {
            name,
            password_stdin,
        } => {
            let (password, made) = chosen_password(password_stdin)?;
            let path = format!("/api/v1/users/{}/password", in_path(&name));
            let new = NewPassword { password };
            client.act(Method::PUT, &path, Some(&new)).await?;
            if made {
                print(&format!("{name} password: {}", new.password))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn tokens(what: Tokens) -> anyhow::Result<ExitCode> {
    let client = client()?;
    match what {
        Tokens::List => {
            let tokens: Vec<ApiToken> = client.get("/api/v1/tokens").await?;
            let rows = tokens.into_iter().map(|token| {
                vec![
                    token.id.to_string(),
                    token.name,
                    token.scope.word().to_owned(),
                    super::scans::shown_time(token.expires),
                ]
            });
            print(&table(&["ID", "NAME", "SCOPE", "HOLDS UNTIL"], rows))?;
        }
        Tokens::Make {
            name,
            scope,
            valid_days,
        } => {
            let new = NewToken {
                name,
                scope,
                valid_days,
            };
            let made: TokenMade = client.send(Method::POST, "/api/v1/tokens", &new).await?;
            print(&made.token)?;
        }
        Tokens::End { id } => {
            let path = format!("/api/v1/tokens/{}", in_path(&id));
            client.act(Method::DELETE, &path, None::<&()>).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A name as one part of a path.
fn in_path(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a string can not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// The password from stdin, or a new one, which is to be shown.
fn chosen_password(from_stdin: bool) -> anyhow::Result<(String, bool)> {
    if from_stdin {
        Ok((password_from_stdin()?, false))
    } else {
        Ok((new_password(), true))
    }
}

fn password_from_stdin() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("the password can't be read from stdin")?;
    let password = line.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("there is no password on stdin");
    }
    Ok(password.to_owned())
}

/// Asks on the terminal, without showing what is typed.
fn ask_password(question: &str) -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if !stdin.is_terminal() {
        bail!("there is no terminal to ask for the password: use --password-stdin");
    }
    eprint!("{question}");
    std::io::stderr().flush()?;
    let shown = tcgetattr(&stdin).context("the terminal can't be set")?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden).context("the terminal can't be set")?;
    let password = password_from_stdin();
    tcsetattr(&stdin, OptionalActions::Flush, &shown).context("the terminal can't be set back")?;
    eprintln!();
    password
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stays_one_part_of_a_path() {
        assert_eq!(in_path("ann"), "ann");
        assert_eq!(in_path("a/b?c é"), "a%2Fb%3Fc%20%C3%A9");
    }
}
