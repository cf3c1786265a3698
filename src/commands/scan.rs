//! `sonde scan`: arguments to a request, a request to the scanner, what it says to people.

pub(crate) mod lists;
mod progress;
pub(crate) mod values;

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use sonde_core::policy::Policy;
use sonde_core::request::{LinkKind, PortState, ScanRequest, Shard};
use sonde_scanner::MacAddr;
use sonde_scanner::checkpoint::CheckpointFile;
use sonde_scanner::output::OutputSpec;
use sonde_scanner::scan::{End, Options, Outcome, Scan, ScanError};
use sonde_scanner::sink::FileSink;
use sonde_scanner::stop::Stop;

use self::lists::TargetList;
use self::values::Rate;
use super::Refused;

/// Ended early with partial results: time limit.
const EXIT_PARTIAL: u8 = 3;
/// Ended early by Ctrl-C: partial results and a checkpoint are written.
const EXIT_INTERRUPTED: u8 = 130;
/// A loss above this is worth a sentence: three passes then miss more than one answer in a million.
const LOSS_WORTH_SAYING: f64 = 0.01;

/// Scan from here, now
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  sonde scan 192.0.2.0/24                              the LAN: hosts up, their 1000 most used ports
  sonde scan -p 22,80,443 --trunk trunk.toml 10.1.0.0/16@100 2001:db8::/120@200
  sonde scan -p - --rate max -o all.jsonl -o all.xml 10.1.0.9
  sonde scan -p U:53,161 --show open,unconfirmed -f targets.txt --exclude 10.0.0.1,@300
  sonde scan --checkpoint scan.checkpoint -o found.jsonl 10.0.0.0/8
  sonde scan --resume scan.checkpoint
  sonde scan --dry-run --seed 1 --shard 2/4 10.0.0.0/30 -p 80,443
  sonde scan --link connect 127.0.0.1                  without privileges; loopback too

Exit status: 0 done, 1 failed, 2 refused, 3 ended early with partial results, 130 interrupted.")]
pub(crate) struct Args {
    /// What to scan: 10.0.0.1, 10.0.0.0/24, 10.0.0.5-10.0.1.20, 10.0.0-3.1-254, 2001:db8::/120, a name; each
    /// with an optional @VLANS (@100, @100,200-210, @lan)
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Ports to ask: 22,80,8000-8100; T:1-1024,U:53,161; - for all; top:100 [default: top:1000]
    #[arg(short, long, value_name = "LIST", allow_hyphen_values = true)]
    ports: Option<String>,
    /// Interface to scan from [default: the one that routes to the first target]
    #[arg(short, long, value_name = "IF")]
    interface: Option<String>,
    /// How frames leave
    #[arg(long, value_name = "LINK", value_enum, default_value_t = Link::Auto)]
    link: Link,
    /// VLANs and routes, a TOML file
    #[arg(long, value_name = "FILE")]
    trunk: Option<PathBuf>,
    /// Source address on the untagged LAN [default: the interface's]
    #[arg(long, value_name = "IP")]
    source_ip: Option<IpAddr>,
    /// Source MAC address [default: the interface's]
    #[arg(long, value_name = "MAC")]
    source_mac: Option<MacAddr>,
    /// Gateway of the untagged LAN [default: the interface's]
    #[arg(long, value_name = "IP")]
    gateway: Option<IpAddr>,
    /// MAC address of that gateway [default: asked for]
    #[arg(long, value_name = "MAC")]
    gateway_mac: Option<MacAddr>,
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
    /// Packets a second: 500, 50k, 1.5M, or max for no ceiling [default: 10k]
    #[arg(long, value_name = "N", value_parser = values::rate)]
    rate: Option<Rate>,
    /// Bits a second on the wire: 100M, 1G; the lower of this and --rate holds
    #[arg(long, value_name = "N", value_parser = values::bandwidth)]
    bandwidth: Option<u64>,
    /// Frames sent to what does not answer
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    passes: u32,
    /// How hosts are found first: auto, none (every target counts as up), or arp,ndp,echo,tcp:80,443,udp:161
    #[arg(long, value_name = "LIST", default_value = "auto")]
    discovery: String,
    /// Identify what answers on open ports
    #[arg(long)]
    services: bool,
    /// Port states to report: open, closed, filtered, unconfirmed
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "open", value_parser = values::port_state)]
    show: Vec<PortState>,
    /// Same seed, same order [default: drawn, and reported]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// This scan's share of the whole, 1/4 to 4/4
    #[arg(long, value_name = "I/N", value_parser = values::shard)]
    shard: Option<Shard>,
    /// Written every second, to resume from
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Go on with the scan of this checkpoint, appending to its .jsonl outputs
    #[arg(long, value_name = "FILE", conflicts_with_all = [
        "targets", "ports", "interface", "link", "trunk", "source_ip", "source_mac", "gateway",
        "gateway_mac", "targets_file", "exclude", "exclude_file", "exclude_ports", "passes", "discovery",
        "services", "show", "seed", "shard", "dry_run",
    ])]
    resume: Option<PathBuf>,
    /// .jsonl .csv .xml (nmap's) or .pcapng (the exchange), or - for JSON lines on stdout; repeatable
    /// [default: a table for people]
    #[arg(short, long, value_name = "FILE", allow_hyphen_values = true)]
    output: Vec<String>,
    /// Print the probes in order, send nothing
    #[arg(long)]
    dry_run: bool,
    /// End early, with partial results, after this time: 90s, 5m, 1h30m
    #[arg(long, value_name = "D", value_parser = values::duration)]
    max_time: Option<Duration>,
    /// Say more about what happens
    #[arg(short, long)]
    verbose: bool,
    /// Say nothing but results and errors
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,
    /// No progress line on a terminal
    #[arg(long)]
    no_progress: bool,
}

/// How frames leave, as written.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Link {
    /// The best that works here
    Auto,
    /// The kernel builds the frames
    Xdp,
    /// AF_PACKET
    Packet,
    /// The kernel's own sockets: needs no privileges, may scan loopback
    Connect,
}

/// Runs `sonde scan`.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape of every subcommand"
)]
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let resumed = args.resume.as_deref().map(CheckpointFile::read).transpose();
    let resumed = resumed.map_err(refused)?;
    let request = match &resumed {
        Some(file) => resumed_request(&args, file),
        None => new_request(&args).map_err(Refused)?,
    };
    if args.dry_run {
        return dry_run(&request);
    }
    let specs = outputs(&args, resumed.as_ref())?;
    let stop = Stop::on_signals().context("signals can't be caught")?;
    let scan = Scan::prepare(&request, &Policy::default()).map_err(scan_error)?;
    if args.verbose {
        eprintln!("sonde: {}", scan.describe());
    } else if !args.quiet {
        scan.notes()
            .iter()
            .for_each(|note| eprintln!("sonde: {note}"));
    }
    let marks = resumed.as_ref().map_or(&[][..], |file| &file.outputs);
    let checkpoint = args.checkpoint.as_ref().or(args.resume.as_ref());
    let progress = progress::line(!args.quiet && !args.no_progress);
    let sink = FileSink::open(&specs, marks, scan.plan(), checkpoint.map(PathBuf::as_path))
        .map_err(refused)?
        .on_progress(progress);
    if resumed.is_some() && !args.quiet {
        warn_of_new_files(&specs, marks);
    }
    let options = Options {
        checkpoints: checkpoint.is_some(),
    };
    let request = scan.plan().request().clone();
    let outcome = scan
        .run(Box::new(sink), &stop, options)
        .map_err(scan_error)?;
    finish(&args, &specs, request, checkpoint, outcome)
}

/// What the options ask for.
fn new_request(args: &Args) -> anyhow::Result<ScanRequest> {
    let files = args.targets_file.iter().chain(&args.exclude_file);
    anyhow::ensure!(
        files.filter(|file| *file == "-").count() <= 1,
        "stdin can be read once; write one of the lists to a file"
    );
    let mut targets = TargetList::default();
    args.targets.iter().for_each(|target| targets.push(target));
    for file in &args.targets_file {
        targets.push_file(file)?;
    }
    let mut exclude = TargetList::default();
    args.exclude.iter().for_each(|list| exclude.push_list(list));
    for file in &args.exclude_file {
        exclude.push_file(file)?;
    }
    let targets = targets.into_targets()?;
    anyhow::ensure!(
        !targets.is_empty(),
        "nothing to scan; name a target, as 192.0.2.0/24, or a file of them by --targets-file"
    );
    let default = ScanRequest::default();
    Ok(ScanRequest {
        targets,
        exclude: exclude.into_targets()?,
        ports: args.ports.clone().unwrap_or(default.ports),
        exclude_ports: args.exclude_ports.clone(),
        interface: args.interface.clone(),
        link: match args.link {
            Link::Auto => LinkKind::Auto,
            Link::Xdp => LinkKind::Xdp,
            Link::Packet => LinkKind::Packet,
            Link::Connect => LinkKind::Connect,
        },
        trunk: args.trunk.as_deref().map(read_trunk).transpose()?,
        source_ip: args.source_ip,
        source_mac: args.source_mac,
        gateway: args.gateway,
        gateway_mac: args.gateway_mac,
        rate_pps: args.rate.map_or(default.rate_pps, pps),
        bandwidth_bps: args.bandwidth,
        passes: args.passes,
        discovery: args.discovery.clone(),
        services: args.services,
        show: args.show.clone(),
        seed: args.seed,
        shard: args.shard.unwrap_or_default(),
        max_time_s: args.max_time.map(|time| time.as_secs()),
        ..ScanRequest::default()
    })
}

/// The request of the checkpoint; how fast and how long may change, what and in which order may not.
fn resumed_request(args: &Args, file: &CheckpointFile) -> ScanRequest {
    let mut request = file.request.clone();
    request.resume = Some(file.checkpoint.clone());
    request.rate_pps = args.rate.map_or(request.rate_pps, pps);
    request.bandwidth_bps = args.bandwidth.or(request.bandwidth_bps);
    request.max_time_s = args.max_time.map(|time| time.as_secs());
    request
}

pub(crate) fn pps(rate: Rate) -> Option<u64> {
    match rate {
        Rate::Pps(pps) => Some(pps),
        Rate::Max => None,
    }
}

pub(crate) fn read_trunk(path: &Path) -> anyhow::Result<sonde_core::trunk::TrunkConfig> {
    let shown = path.display();
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the trunk file {shown} can't be read"))?;
    toml::from_str(&text).map_err(|error| {
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        anyhow!(
            "{shown}, line {line}: {}",
            error.message().replace('\n', ", ")
        )
    })
}

fn outputs(args: &Args, resumed: Option<&CheckpointFile>) -> anyhow::Result<Vec<OutputSpec>> {
    let mut specs = Vec::new();
    for text in &args.output {
        let spec = OutputSpec::parse(text).map_err(refused)?;
        anyhow::ensure!(
            !specs.contains(&spec),
            Refused(anyhow!("the output {text} is named twice; name it once"))
        );
        specs.push(spec);
    }
    if specs.is_empty() {
        let marks = resumed.into_iter().flat_map(|file| &file.outputs);
        for mark in marks {
            specs.push(OutputSpec::parse(&mark.path.to_string_lossy()).map_err(refused)?);
        }
    }
    if specs.is_empty() {
        specs.push(OutputSpec::Table {
            colour: std::io::stdout().is_terminal(),
        });
    }
    Ok(specs)
}

fn warn_of_new_files(specs: &[OutputSpec], marks: &[sonde_scanner::checkpoint::OutputMark]) {
    for spec in specs {
        if let OutputSpec::File(path, _) | OutputSpec::Capture(path) = spec
            && !marks.iter().any(|mark| mark.path == *path)
        {
            eprintln!(
                "sonde: {} holds only what is found from here on",
                path.display()
            );
        }
    }
}

/// Prints every probe of the plan, in order.
fn dry_run(request: &ScanRequest) -> anyhow::Result<ExitCode> {
    let plan = Scan::plan_only(request, &Policy::default()).map_err(scan_error)?;
    let mut out = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let print =
        sonde_core::dryrun::DryRun::new(&plan).try_for_each(|probe| writeln!(out, "{probe}"));
    match print.and_then(|()| out.flush()) {
        // Whoever read has seen enough: `| head`.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error).context("the probes can't be printed"),
        Ok(()) => Ok(ExitCode::SUCCESS),
    }
}

/// Says how it ended and, when early, how to go on.
fn finish(
    args: &Args,
    specs: &[OutputSpec],
    request: ScanRequest,
    checkpoint: Option<&PathBuf>,
    outcome: Outcome,
) -> anyhow::Result<ExitCode> {
    let table = specs
        .iter()
        .any(|spec| matches!(spec, OutputSpec::Table { .. }));
    if !args.quiet && !table {
        let summary = &outcome.summary;
        eprintln!(
            "sonde: {} up, {} open; {} in {:.1} s",
            counted(summary.hosts_up, "host"),
            counted(summary.open, "port"),
            counted(summary.sent, "frame"),
            summary.duration_ms as f64 / 1000.0
        );
    }
    if !args.quiet {
        warn_of_losses(&outcome, table);
    }
    // Whoever interrupts a scan had not planned to: a checkpoint then comes unasked.
    let unasked = || format!("sonde-{}.checkpoint", outcome.id).into();
    let path = match outcome.end {
        End::Complete => None,
        End::TimeLimit => checkpoint.cloned(),
        End::Stopped => Some(checkpoint.cloned().unwrap_or_else(unasked)),
    };
    if let (Some(path), Some(state)) = (path, outcome.checkpoint) {
        let outputs = sonde_scanner::output::marks(specs);
        let file = CheckpointFile::new(request, state, outputs);
        file.write(&path)
            .with_context(|| format!("the checkpoint {} can't be written", path.display()))?;
        if !args.quiet {
            let path = path.display();
            eprintln!("sonde: ended early; go on by: sonde scan --resume {path}");
        }
    }
    Ok(match outcome.end {
        End::Complete => ExitCode::SUCCESS,
        End::TimeLimit => ExitCode::from(EXIT_PARTIAL),
        End::Stopped => ExitCode::from(EXIT_INTERRUPTED),
    })
}

/// What a person should know before believing that there is no more.
fn warn_of_losses(outcome: &Outcome, table: bool) {
    let (link, summary) = (&outcome.link, &outcome.summary);
    if link.rx_dropped > 0 {
        let lost = counted(link.rx_dropped, "received frame");
        eprintln!(
            "sonde: {lost} lost because this machine could not keep up; a lower --rate loses less"
        );
    }
    if let Some(loss) = outcome.loss.filter(|loss| *loss > LOSS_WORTH_SAYING) {
        eprintln!(
            "sonde: {:.1} % of the answers came only when asked again: some may be missing; \
             a lower --rate loses less",
            loss * 100.0
        );
    }
    if link.tx_refused > 0 {
        let refused = counted(link.tx_refused, "frame");
        eprintln!("sonde: {refused} not sent: the kernel refused them");
    }
    if summary.unreachable > 0 && !table {
        let hosts = counted(summary.unreachable, "host");
        eprintln!("sonde: {hosts} not asked: the gateway did not answer");
    }
}

fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn scan_error(error: ScanError) -> anyhow::Error {
    if error.is_refusal() {
        refused(error)
    } else {
        error.into()
    }
}

fn refused(error: impl Into<anyhow::Error>) -> anyhow::Error {
    Refused(error.into()).into()
}
