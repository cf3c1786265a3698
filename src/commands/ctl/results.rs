//! What a scan found, in the forms `sonde scan` writes.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal as _, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use sonde_scanner::report::{ConvertError, Format, convert};
use tokio::sync::mpsc;

use super::scans::read_id;
use super::session::client;

/// Arguments of `results`.
#[derive(clap::Args)]
pub(super) struct Results {
    /// The scan's id
    id: String,
    /// The form [default: as the ending of --output says, else a table on a terminal and jsonl elsewhere]
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<Form>,
    /// Where to write it [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Form {
    /// JSON lines, as the cloud has them
    Jsonl,
    /// Comma-separated values
    Csv,
    /// nmap's XML
    Xml,
    /// For people
    Table,
}

/// Chunks on their way from the network to the writer.
const CHUNKS_UNDER_WAY: usize = 4;

pub(super) async fn results(args: Results) -> anyhow::Result<ExitCode> {
    let id = read_id(&args.id)?;
    let format = format(&args);
    let client = client()?;
    let mut response = client
        .stream(&format!("/api/v1/scans/{id}/results"))
        .await?;
    let (chunks, received) = mpsc::channel(CHUNKS_UNDER_WAY);
    let output = args.output.clone();
    let writing = tokio::task::spawn_blocking(move || {
        let reader = BufReader::new(Chunks {
            received,
            current: io::Cursor::default(),
        });
        match output {
            Some(path) => write_file(reader, format, &path),
            None => write_stdout(reader, format),
        }
    });
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => Ok(chunk.to_vec()),
            Ok(None) => break,
            Err(error) => Err(client.cut(error)),
        };
        let is_cut = chunk.is_err();
        // Nobody receives when writing failed; that error is told below.
        if chunks.send(chunk.map_err(io::Error::other)).await.is_err() || is_cut {
            break;
        }
    }
    drop(chunks);
    writing.await.context("the results can't be written")??;
    Ok(ExitCode::SUCCESS)
}

fn format(args: &Results) -> Format {
    match args.format {
        Some(Form::Jsonl) => Format::Jsonl,
        Some(Form::Csv) => Format::Csv,
        Some(Form::Xml) => Format::NmapXml,
        Some(Form::Table) => Format::Table,
        None => match &args.output {
            Some(path) => Format::of_path(path).unwrap_or(Format::Jsonl),
            None if io::stdout().is_terminal() => Format::Table,
            None => Format::Jsonl,
        },
    }
}

/// Into a file: whole, or not there.
fn write_file(reader: impl io::BufRead, format: Format, path: &Path) -> anyhow::Result<()> {
    let cannot = || format!("{} can't be written", path.display());
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let file = File::create(&part).with_context(cannot)?;
    let mut writer = BufWriter::new(file);
    let converted = convert(reader, format, &mut writer)
        .map_err(anyhow::Error::from)
        .and_then(|()| writer.flush().with_context(cannot))
        .and_then(|()| std::fs::rename(&part, path).with_context(cannot));
    if converted.is_err() {
        // What is left of it helps nobody.
        let _ = std::fs::remove_file(&part);
    }
    converted
}

fn write_stdout(reader: impl io::BufRead, format: Format) -> anyhow::Result<()> {
    let mut writer = BufWriter::new(Stdout { is_closed: false });
    let converted = convert(reader, format, &mut writer)
        .and_then(|()| writer.flush().map_err(ConvertError::Write));
    // Whoever read has seen enough: `| head`.
    if writer.get_ref().is_closed {
        Ok(())
    } else {
        Ok(converted?)
    }
}

/// Stdout, and whether its reader has gone: reports wrap that error in their own.
struct Stdout {
    is_closed: bool,
}

impl Stdout {
    fn note<T>(&mut self, written: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &written {
            self.is_closed |= error.kind() == io::ErrorKind::BrokenPipe;
        }
        written
    }
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = io::stdout().write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = io::stdout().flush();
        self.note(flushed)
    }
}

/// The chunks as one stream of bytes.
struct Chunks {
    received: mpsc::Receiver<io::Result<Vec<u8>>>,
    current: io::Cursor<Vec<u8>>,
}

impl Read for Chunks {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.current.read(into)?;
            if read > 0 || into.is_empty() {
                return Ok(read);
            }
            match self.received.blocking_recv() {
                Some(chunk) => self.current = io::Cursor::new(chunk?),
                None => return Ok(0),
            }
        }
    }
}
