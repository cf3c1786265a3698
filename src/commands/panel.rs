//! `sonde panel`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use sonde_panel::config::{Keys, PanelConfig};
use sonde_panel::fronts;
use sonde_panel::lcdproc::front::{LcdprocFront, Options};
use sonde_panel::leds::{KernelLeds, LEDS_PATH};
use sonde_panel::screen::Geometry;
use sonde_panel::terminal;
use sonde_panel::tty::front::TtyFront;
use sonde_panel::vt100::Charset;

use super::Refused;

/// Arguments of `sonde panel`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples: the panel of an appliance started with `sonde appliance --state /tmp/box`, here, \
    and a box's display and console at once\n  \
    sonde panel --this-terminal --socket /tmp/box/run/agent.sock\n  \
    sonde panel --lcdproc --tty /dev/ttyS0"
)]
pub(crate) struct Args {
    /// Show the panel here; arrows and ENTER are its keys
    #[arg(long, conflicts_with_all = ["lcdproc", "tty"])]
    this_terminal: bool,
    /// Show the panel on the display of an LCDproc server
    #[arg(
        long,
        value_name = "HOST:PORT",
        num_args = 0..=1,
        default_missing_value = "127.0.0.1:13666"
    )]
    lcdproc: Option<String>,
    /// Show the panel on the VT100 at this serial line, 9600 8N2, when ENTER is pressed there
    #[arg(long, value_name = "DEV")]
    tty: Option<PathBuf>,
    /// Keys of the LCDproc display: 2, 4, 5 or 6, or what each does, as in "Enter=enter Escape=left
    /// Escape*2=right Up+Down=left+right" (instead of `keys` in `[panel]`)
    #[arg(long, value_name = "KEYS", requires = "lcdproc")]
    keys: Option<String>,
    /// Use this configuration file instead of /etc/sonde/appliance.toml, of which the panel reads `[panel]`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The agent's local API
    #[arg(long, value_name = "SOCKET", default_value = "/run/sonde/agent.sock")]
    socket: PathBuf,
    /// Columns and rows of the display; one of LCDproc says its own
    #[arg(long, value_name = "COLUMNSxROWS", default_value = "16x2", value_parser = geometry)]
    geometry: Geometry,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [
        signal_hook::consts::SIGTERM,
        signal_hook::consts::SIGHUP,
        signal_hook::consts::SIGINT,
    ] {
        signal_hook::flag::register(signal, Arc::clone(&stop))
            .context("signals can not be caught")?;
    }
    if args.this_terminal {
        terminal::show(args.socket, args.geometry, charset(), &stop)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.lcdproc.is_none() && args.tty.is_none() {
        return Err(Refused(anyhow::anyhow!(
            "the panel needs a display; give `--lcdproc`, `--tty DEV` or both, or use `--this-terminal` to see the \
             panel here"
        ))
        .into());
    }
    let config =
        PanelConfig::load(args.config.as_deref()).map_err(|error| Refused(error.into()))?;
    show_at_box(args, config, &stop)?;
    Ok(ExitCode::SUCCESS)
}

/// A display, a console, or both, until `stop`.
fn show_at_box(args: Args, config: PanelConfig, stop: &AtomicBool) -> anyhow::Result<()> {
    let keys = args.keys.as_deref().map_or(config.keys, Keys::written);
    let keys = keys.map().map_err(|error| Refused(error.into()))?;
    let mut leds = Some(KernelLeds::new(Path::new(LEDS_PATH), &config.leds));
    let mut shown: Vec<Box<dyn fronts::Front + Send>> = Vec::new();
    if let Some(server) = args.lcdproc {
        shown.push(Box::new(LcdprocFront::new(Options {
            server,
            keys,
            icons: config.icons,
            outputs: config.outputs,
        })));
    }
    if let Some(device) = args.tty {
        shown.push(Box::new(TtyFront::new(device)));
    }
    let (socket, geometry) = (args.socket.as_path(), args.geometry);
    std::thread::scope(|scope| {
        for mut front in shown {
            let leds = leds.take();
            let work = move || {
                let _end = StopAtEnd(stop);
                fronts::run(front.as_mut(), socket, geometry, leds, stop);
            };
            std::thread::Builder::new()
                .name("front".to_owned())
                .spawn_scoped(scope, work)
                .context("no thread for a display")?;
        }
        Ok(())
    })
}

/// A front that ends by a fault takes the other with it: whoever started the panel starts both anew.
struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
