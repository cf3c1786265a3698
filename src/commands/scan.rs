//! `sonde scan`: arguments to a request, a request to the scanner, what it says to people.

mod lists;
mod losses;
mod progress;
pub(crate) mod request;
mod values;

use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use sonde_core::policy::Policy;
use sonde_core::request::{ScanRequest, Shard};
use sonde_scanner::MacAddr;
use sonde_scanner::checkpoint::CheckpointFile;
use sonde_scanner::output::OutputSpec;
use sonde_scanner::scan::{End, Options, Outcome, Scan, ScanError};
use sonde_scanner::sink::FileSink;
use sonde_scanner::stop::Stop;

use self::request::RequestArgs;
use super::{Refused, print_data};

/// Ended early with partial results: time limit.
const EXIT_PARTIAL: u8 = 3;
/// Ended early by Ctrl-C: partial results and a checkpoint are written.
const EXIT_INTERRUPTED: u8 = 130;

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
    #[command(flatten)]
    request: RequestArgs,
    /// Interface to scan from [default: the one that routes to the first target]
    #[arg(short, long, value_name = "IF")]
    interface: Option<String>,
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
    /// Identify what answers on open ports
    #[arg(long)]
    services: bool,
    /// This scan's share of the whole, 1/4 to 4/4
    #[arg(long, value_name = "I/N", value_parser = values::shard)]
    shard: Option<Shard>,
    /// Written more than once a second, to resume from
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
    }
    if !args.quiet {
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
    Ok(ScanRequest {
        interface: args.interface.clone(),
        source_ip: args.source_ip,
        source_mac: args.source_mac,
        gateway: args.gateway,
        gateway_mac: args.gateway_mac,
        services: args.services,
        shard: args.shard.unwrap_or_default(),
        ..args.request.request()?
    })
}

/// The request of the checkpoint; how fast and how long may change, what and in which order may not.
fn resumed_request(args: &Args, file: &CheckpointFile) -> ScanRequest {
    args.request.limited(ScanRequest {
        resume: Some(file.checkpoint.clone()),
        ..file.request.clone()
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
    print_data(|out| {
        let mut probes = sonde_core::dryrun::DryRun::new(&plan);
        probes.try_for_each(|probe| writeln!(out, "{probe}"))
    })?;
    Ok(ExitCode::SUCCESS)
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
    let (late, more_passes) = (outcome.loss, outcome.extra_passes);
    if let Some(sentence) = losses::sentence(late, outcome.governor.as_ref(), more_passes) {
        eprintln!("sonde: {sentence}");
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
