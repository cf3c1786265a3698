//! The scanners that are compared: whether they are here, how each is asked, how its answer is read.
//!
//! All get the same interface, source address and next hop, wait one second at the end where that can be
//! chosen, and write to a file what they found in the leanest form they have.

mod masscan;
mod nmap;
mod sonde;
mod zmap;

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sonde_wire::MacAddr;

use super::truth::Endpoint;

/// A scanner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tool {
    Sonde,
    Zmap,
    Masscan,
    Nmap,
}

/// How fast a scanner is told to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Probes a second; `None` is as fast as it can.
    pub(crate) rate: Option<u64>,
    /// Sending threads, where that can be chosen.
    pub(crate) threads: u8,
}

/// What is asked of every scanner.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Task {
    /// Networks and addresses, in the notation that all understand: `10.0.0.0/12`, `2001:db8::1`.
    pub(crate) targets: Vec<String>,
    /// A file of one target a line instead, for long lists.
    pub(crate) list: Option<PathBuf>,
    /// TCP ports.
    pub(crate) ports: RangeInclusive<u16>,
    /// Options for Sonde alone that belong to the scenario, as `--passes 1`.
    pub(crate) sonde: Vec<String>,
    /// True for IPv6.
    pub(crate) six: bool,
}

/// Where the scanners stand.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    /// Their interface.
    pub(crate) interface: String,
    /// Their address on it; nobody else's, so that the kernel does not interfere.
    pub(crate) source: IpAddr,
    /// Where frames to the targets go.
    pub(crate) next_hop: MacAddr,
    /// For Sonde: the VLANs.
    pub(crate) trunk: Option<PathBuf>,
    /// For Sonde: how frames leave.
    pub(crate) link: String,
    /// For Sonde: the built command.
    pub(crate) sonde: PathBuf,
}

/// What a scanner reported.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reported {
    /// What it calls open.
    pub(crate) open: Vec<Endpoint>,
    /// What it says of itself at the end, word for word.
    pub(crate) summary: Option<String>,
}

/// A report that can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error("the report can't be read")]
    Read(#[from] io::Error),
    #[error("line {line} is not what {tool} writes: {text}")]
    Line {
        tool: Tool,
        line: usize,
        text: String,
    },
}

impl Setting {
    /// As fast as it can, with one thread.
    pub(crate) const MAX: Self = Self {
        rate: None,
        threads: 1,
    };

    /// At most so many a second, with one thread.
    pub(crate) const fn rate(rate: u64) -> Self {
        Self {
            rate: Some(rate),
            threads: 1,
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rate {
            None => write!(f, "no ceiling")?,
            Some(rate) if rate % 1000 == 0 => write!(f, "{}k/s", rate / 1000)?,
            Some(rate) => write!(f, "{rate}/s")?,
        }
        if self.threads > 1 {
            write!(f, ", {} threads", self.threads)?;
        }
        Ok(())
    }
}

impl Tool {
    pub(crate) const ALL: [Self; 4] = [Self::Sonde, Self::Zmap, Self::Masscan, Self::Nmap];

    /// Its command's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sonde => "sonde",
            Self::Zmap => "zmap",
            Self::Masscan => "masscan",
            Self::Nmap => "nmap",
        }
    }

    /// What it says its version is; `None` if it is not installed.
    pub(crate) fn version(self, sonde: &Path) -> Option<String> {
        let program = self.program(sonde)?;
        let said = Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&said.stdout);
        let first = text.lines().find(|line| !line.trim().is_empty())?;
        // What follows the number is where it can be had from.
        let words = first.split('(').next().unwrap_or(first);
        Some(words.trim().to_owned())
    }

    /// The command that does `task`, and the file it reports to.
    ///
    /// # Errors
    /// What it can't do, in words for the report.
    pub(crate) fn command(
        self,
        task: &Task,
        site: &Site,
        setting: Setting,
        folder: &Path,
    ) -> Result<(Vec<OsString>, PathBuf), &'static str> {
        let program = self.program(&site.sonde).ok_or("not installed")?;
        let (arguments, report) = match self {
            Self::Sonde => (sonde::arguments(task, site, setting), "sonde.jsonl"),
            Self::Zmap => (zmap::arguments(task, site, setting)?, "zmap.csv"),
            Self::Masscan => (masscan::arguments(task, site, setting)?, "masscan.list"),
            Self::Nmap => (nmap::arguments(task, site, setting)?, "nmap.gnmap"),
        };
        let report = folder.join(report);
        let mut words = vec![program.into_os_string()];
        words.extend(arguments.into_iter().map(OsString::from));
        words.push(report.clone().into_os_string());
        Ok((words, report))
    }

    /// Reads what it reported.
    ///
    /// # Errors
    /// When the file is not what the tool writes.
    pub(crate) fn read(self, report: &Path, task: &Task) -> Result<Reported, ReportError> {
        self.parse(BufReader::new(File::open(report)?), *task.ports.start())
    }

    /// `port` is the one that was asked, for tools that don't repeat it.
    fn parse(self, report: impl BufRead, port: u16) -> Result<Reported, ReportError> {
        let mut reported = Reported::default();
        for (at, line) in report.lines().enumerate() {
            let line = line?;
            let read = match self {
                Self::Sonde => sonde::read_line(&line, &mut reported),
                Self::Zmap => zmap::read_line(&line, port, &mut reported),
                Self::Masscan => masscan::read_line(&line, &mut reported),
                Self::Nmap => nmap::read_line(&line, &mut reported),
            };
            read.ok_or_else(|| ReportError::Line {
                tool: self,
                line: at + 1,
                text: line.chars().take(120).collect(),
            })?;
        }
        Ok(reported)
    }

    fn program(self, sonde: &Path) -> Option<PathBuf> {
        if self == Self::Sonde {
            return Some(sonde.to_owned());
        }
        let folders = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&folders)
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .map(|folder| folder.join(self.name()))
            .find(|program| program.is_file())
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `80`, or `0-65535`.
fn range(ports: &RangeInclusive<u16>) -> String {
    if ports.start() == ports.end() {
        ports.start().to_string()
    } else {
        format!("{}-{}", ports.start(), ports.end())
    }
}

/// Words separated by blanks.
fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn task(targets: &[&str], ports: RangeInclusive<u16>) -> Task {
        Task {
            targets: targets.iter().map(|&target| target.to_owned()).collect(),
            list: None,
            ports,
            sonde: Vec::new(),
            six: false,
        }
    }

    pub(super) fn site() -> Site {
        Site {
            interface: "near0".to_owned(),
            source: IpAddr::from([192, 0, 2, 2]),
            next_hop: MacAddr([2, 0, 0, 0, 0, 1]),
            trunk: None,
            link: "auto".to_owned(),
            sonde: "/bin/sonde".into(),
        }
    }

    pub(super) fn parse(tool: Tool, text: &str, port: u16) -> Result<Reported, ReportError> {
        tool.parse(text.as_bytes(), port)
    }

    pub(super) fn at(ip: &str, port: u16) -> Endpoint {
        Endpoint {
            vlan: 0,
            ip: ip.parse().unwrap(),
            port,
        }
    }

    #[test]
    fn settings_read_as_said() {
        assert_eq!(Setting::MAX.to_string(), "no ceiling");
        assert_eq!(Setting::rate(260_000).to_string(), "260k/s");
        let two = Setting {
            rate: Some(1500),
            threads: 2,
        };
        assert_eq!(two.to_string(), "1500/s, 2 threads");
    }

    #[test]
    fn the_report_is_the_last_word_of_the_command() {
        let task = task(&["10.0.0.0/24"], 80..=80);
        let (words, report) = Tool::Sonde
            .command(&task, &site(), Setting::MAX, Path::new("/tmp/x"))
            .unwrap();
        assert_eq!(words.first().unwrap(), "/bin/sonde");
        assert_eq!(words.last().unwrap(), report.as_os_str());
        assert_eq!(report, Path::new("/tmp/x/sonde.jsonl"));
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for tool in Tool::ALL {
            let error = parse(tool, "what is this?\n", 80).unwrap_err();
            assert!(
                matches!(&error, ReportError::Line { line: 1, tool: of, .. } if *of == tool),
                "{error}"
            );
        }
    }
}
