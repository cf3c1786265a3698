//! `sonde panel`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use sonde_panel::screen::Geometry;
use sonde_panel::terminal;
use sonde_panel::vt100::Charset;

use super::Refused;

/// Arguments of `sonde panel`.
#[derive(clap::Args)]
#[command(
    after_help = "Example: the panel of an appliance started with `sonde appliance --state /tmp/box`\n  \
    sonde panel --this-terminal --socket /tmp/box/run/agent.sock"
)]
pub(crate) struct Args {
    /// Show the panel here; arrows and ENTER are its keys
    #[arg(long, conflicts_with_all = ["lcdproc", "tty"])]
    this_terminal: bool,
    /// Show the panel on the display of an LCDproc server
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "tty")]
    lcdproc: Option<String>,
    /// Show the panel on the VT100 at this serial line
    #[arg(long, value_name = "DEV")]
    tty: Option<PathBuf>,
    /// The agent's local API
    #[arg(long, value_name = "SOCKET", default_value = "/run/sonde/agent.sock")]
    socket: PathBuf,
    /// Columns and rows of the display
    #[arg(long, value_name = "COLUMNSxROWS", default_value = "16x2", value_parser = geometry)]
    geometry: Geometry,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(server) = &args.lcdproc {
        return refuse(&format!(
            "`--lcdproc {server}`: LCDproc displays are not in this build"
        ));
    }
    if let Some(device) = &args.tty {
        return refuse(&format!(
            "`--tty {}`: serial consoles are not in this build",
            device.display()
        ));
    }
    if !args.this_terminal {
        return refuse("the panel needs a display");
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
        signal_hook::consts::SIGINT,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("signals can not be caught")?;
    }
    terminal::show(args.socket, args.geometry, charset(), &stop)?;
    Ok(ExitCode::SUCCESS)
}

fn refuse(what: &str) -> anyhow::Result<ExitCode> {
    Err(Refused(anyhow::anyhow!(
        "{what}; use `--this-terminal` to see the panel here"
    ))
    .into())
}

/// `16x2` and its like. The largest character displays have 40 columns and 4 rows.
fn geometry(text: &str) -> Result<Geometry, String> {
    let sides = text
        .split_once('x')
        .and_then(|(c, r)| Some((c.parse().ok()?, r.parse().ok()?)));
    match sides {
        Some((columns @ 16..=40, rows @ 2..=4)) => Ok(Geometry { columns, rows }),
        _ => Err(
            "a display has 16 to 40 columns and 2 to 4 rows, like 16x2, 20x2 or 20x4".to_owned(),
        ),
    }
}

/// As the environment says: the first of these variables that is set decides (POSIX.1-2017, §8.2).
fn charset() -> Charset {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
    match set {
        Some(locale)
            if locale
                .to_ascii_lowercase()
                .replace('-', "")
                .contains("utf8") =>
        {
            Charset::Unicode
        }
        _ => Charset::Ascii,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries_are_those_of_character_displays() {
        assert_eq!(geometry("16x2"), Ok(Geometry::LCD_16X2));
        assert_eq!(geometry("20x4"), Ok(Geometry::LCD_20X4));
        for wrong in ["", "16", "15x2", "16x5", "16x", "x2", "16x2x2", "-16x2"] {
            assert!(geometry(wrong).is_err(), "{wrong}");
        }
    }
}
