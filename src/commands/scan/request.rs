//! The options that say what is asked of a scan, wherever it runs: `sonde scan` and `sonde ctl scan` take them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use sonde_core::request::{LinkKind, PortState, ScanRequest};
use sonde_core::trunk::TrunkConfig;

use super::lists::TargetList;
use super::values::{self, Rate};

/// What to scan, and how.
#[derive(clap::Args)]
pub(crate) struct RequestArgs {
    /// What to scan: 10.0.0.1, 10.0.0.0/24, 10.0.0.5-10.0.1.20, 10.0.0-3.1-254, 2001:db8::/120, a name; each
    /// with an optional @VLANS (@100, @100,200-210, @lan)
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Ports to ask: 22,80,8000-8100; T:1-1024,U:53,161; - for all; top:100 [default: top:1000]
    #[arg(short, long, value_name = "LIST", allow_hyphen_values = true)]
    ports: Option<String>,
    /// How frames leave
    #[arg(long, value_name = "LINK", value_enum, default_value_t = Link::Auto)]
    link: Link,
    /// VLANs and routes, a TOML file
    #[arg(long, value_name = "FILE")]
    trunk: Option<PathBuf>,
    /// Targets, one a line, # comments; - for stdin
    #[arg(short = 'f', long, value_name = "FILE")]
    targets_file: Vec<String>,
    /// What never to send a frame to, in target syntax; @100 is a whole VLAN; wins over targets
    #[arg(long, value_name = "LIST")]
    exclude: Vec<String>,
    /// The same from a file, one a line; - for stdin
    #[arg(long, value_name = "FILE")]
    exclude_file: Vec<String>,
    /// Ports never to ask; wins over --ports
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    exclude_ports: Option<String>,
    /// Packets a second: 500, 50k, 1.5M, or max: as fast as loses nothing [default: 10k]
    #[arg(long, value_name = "N", value_parser = values::rate)]
    rate: Option<Rate>,
    /// Bits a second on the wire: 100M, 1G; the lower of this and --rate holds
    #[arg(long, value_name = "N", value_parser = values::bandwidth)]
    bandwidth: Option<u64>,
    /// Frames sent to what does not answer; up to three more where answers are lost
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    passes: u32,
    /// How hosts are found first: auto, none (every target counts as up), or arp,ndp,echo,tcp:80,443,udp:161
    #[arg(long, value_name = "LIST", default_value = "auto")]
    discovery: String,
    /// Port states to report: open, closed, filtered, unconfirmed
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "open", value_parser = values::port_state)]
    show: Vec<PortState>,
    /// Same seed, same order [default: drawn, and reported]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End early, with partial results, after this time: 90s, 5m, 1h30m
    #[arg(long, value_name = "D", value_parser = values::duration)]
    max_time: Option<Duration>,
}

/// How frames leave, as written.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Link {
    /// The best that works here
    Auto,
    /// A program in the kernel sends and judges: millions a second; for root
    Xdp,
    /// AF_XDP sockets; for root
    Xsk,
    /// Raw packets (AF_PACKET)
    Packet,
    /// The kernel's own sockets: needs no privileges, may scan loopback
    Connect,
}

impl RequestArgs {
    /// The request that the options make; what none of them speaks of is as [`ScanRequest::default`] has it.
    ///
    /// # Errors
    ///
    /// A file that can't be read, a text that is no target, nothing to scan.
    pub(crate) fn request(&self) -> anyhow::Result<ScanRequest> {
        let files = self.targets_file.iter().chain(&self.exclude_file);
        anyhow::ensure!(
            files.filter(|file| *file == "-").count() <= 1,
            "stdin can be read once; write one of the lists to a file"
        );
        let mut targets = TargetList::default();
        self.targets.iter().for_each(|target| targets.push(target));
        for file in &self.targets_file {
            targets.push_file(file)?;
        }
        let mut exclude = TargetList::default();
        self.exclude.iter().for_each(|list| exclude.push_list(list));
        for file in &self.exclude_file {
            exclude.push_file(file)?;
        }
        let targets = targets.into_targets()?;
        anyhow::ensure!(
            !targets.is_empty(),
            "nothing to scan; name a target, as 192.0.2.0/24, or a file of them by --targets-file"
        );
        let default = ScanRequest::default();
        let request = ScanRequest {
            targets,
            exclude: exclude.into_targets()?,
            ports: self.ports.clone().unwrap_or(default.ports),
            exclude_ports: self.exclude_ports.clone(),
            link: match self.link {
                Link::Auto => LinkKind::Auto,
                Link::Xdp => LinkKind::Xdp,
                Link::Xsk => LinkKind::Xsk,
                Link::Packet => LinkKind::Packet,
                Link::Connect => LinkKind::Connect,
            },
            trunk: self.trunk.as_deref().map(read_trunk).transpose()?,
            passes: self.passes,
            discovery: self.discovery.clone(),
            show: self.show.clone(),
            seed: self.seed,
            ..ScanRequest::default()
        };
        Ok(self.limited(request))
    }

    /// `request`, as fast and as long as the options say; what they do not say stays, but for the time, which
    /// ends with the run it was given for.
    pub(crate) fn limited(&self, request: ScanRequest) -> ScanRequest {
        ScanRequest {
            rate_pps: match self.rate {
                Some(Rate::Pps(pps)) => Some(pps),
                Some(Rate::Max) => None,
                None => request.rate_pps,
            },
            bandwidth_bps: self.bandwidth.or(request.bandwidth_bps),
            max_time_s: self.max_time.map(|time| time.as_secs()),
            ..request
        }
    }
}

/// Reads a trunk file.
///
/// # Errors
///
/// The file that can't be read, or the line in it that is wrong.
pub(crate) fn read_trunk(path: &Path) -> anyhow::Result<TrunkConfig> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the trunk file {shown} can't be read"))?;
    TrunkConfig::from_toml(&text).map_err(|error| anyhow!("{shown}, {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        request: RequestArgs,
    }

    fn args(written: &str) -> RequestArgs {
        let words = ["sonde"].into_iter().chain(written.split_whitespace());
        Command::try_parse_from(words).unwrap().request
    }

    #[test]
    fn what_no_option_says_is_as_the_default_has_it() {
        let expected = ScanRequest {
            targets: vec!["10.0.0.1".to_owned()],
            ..ScanRequest::default()
        };
        assert_eq!(args("10.0.0.1").request().unwrap(), expected);
    }

    #[test]
    fn every_option_is_in_the_request() {
        let folder = tempfile::tempdir().unwrap();
        let (trunk, targets, never) = (
            folder.path().join("trunk.toml"),
            folder.path().join("targets"),
            folder.path().join("never"),
        );
        let toml = "vlan = [{ id = 100, ipv4 = \"10.1.0.2/24\" }]";
        std::fs::write(&trunk, toml).unwrap();
        std::fs::write(&targets, "10.0.0.2 # two").unwrap();
        std::fs::write(&never, "@300").unwrap();
        let written = format!(
            "10.0.0.1 -p 22 --link packet --trunk {} -f {} --exclude 10.0.0.9,@200 --exclude-file {} \
             --exclude-ports 23 --rate max --bandwidth 1M --passes 2 --discovery none --show open,closed --seed 7 \
             --max-time 5m",
            trunk.display(),
            targets.display(),
            never.display()
        );
        let expected = ScanRequest {
            targets: ["10.0.0.1", "10.0.0.2"].map(str::to_owned).into(),
            ports: "22".to_owned(),
            link: LinkKind::Packet,
            trunk: Some(TrunkConfig::from_toml(toml).unwrap()),
            exclude: ["10.0.0.9", "@200", "@300"].map(str::to_owned).into(),
            exclude_ports: Some("23".to_owned()),
            rate_pps: None,
            bandwidth_bps: Some(1_000_000),
            passes: 2,
            discovery: "none".to_owned(),
            show: vec![PortState::Open, PortState::Closed],
            seed: Some(7),
            max_time_s: Some(300),
            ..ScanRequest::default()
        };
        assert_eq!(args(&written).request().unwrap(), expected);
    }

    #[test]
    fn a_run_that_goes_on_keeps_what_it_is_not_told_otherwise() {
        let before = ScanRequest {
            rate_pps: Some(5),
            bandwidth_bps: Some(6),
            max_time_s: Some(7),
            ..ScanRequest::default()
        };
        let kept = args("").limited(before.clone());
        let expected = ScanRequest {
            max_time_s: None,
            ..before.clone()
        };
        assert_eq!(kept, expected, "the time given was for the run before");
        let told = args("--rate max --bandwidth 9 --max-time 8").limited(before);
        assert_eq!(
            (told.rate_pps, told.bandwidth_bps, told.max_time_s),
            (None, Some(9), Some(8))
        );
    }

    #[test]
    fn stdin_is_read_once_and_nothing_is_no_target() {
        let error = args("-f - --exclude-file -").request().unwrap_err();
        assert!(error.to_string().contains("stdin"), "{error}");
        let error = args("--seed 1").request().unwrap_err();
        assert!(error.to_string().contains("--targets-file"), "{error}");
    }
}
