//! Where results go: files by their ending, or stdout; opened before the first frame leaves.
//!
//! A scan that resumes appends to its `.jsonl` files. What stands there after the length the checkpoint
//! covers was learnt in the last moments before the end; it stays, and when it is learnt again it is not
//! written again. A torn last line and an early summary are cut off.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use sonde_core::observation::{Observation, Proto};
use sonde_wire::VlanId;

use crate::checkpoint::OutputMark;
use crate::report::{Format, JsonlReport, Report, TableReport};

/// An output as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputSpec {
    /// A table for people on stdout, with colours or without.
    Table {
        /// ANSI colours.
        colour: bool,
    },
    /// JSON lines on stdout.
    Stdout,
    /// A file of observations.
    File(PathBuf, Format),
    /// A capture of the exchange.
    Capture(PathBuf),
}

/// Why an output can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// Its ending names no format.
    #[error("the output `{}` names no format; end it in .jsonl, .csv, .xml or .pcapng, or use - for JSON lines on stdout", .0.display())]
    Ending(PathBuf),
    /// It can't be created or opened.
    #[error("the output {} can't be written", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what the checkpoint speaks of.
    #[error("the output {} is shorter than when its checkpoint was written; put it back, or name another to hold the rest", .0.display())]
    Shorter(PathBuf),
}

impl OutputSpec {
    /// The output that `-o TEXT` names.
    ///
    /// # Errors
    /// [`OutputError::Ending`].
    pub fn parse(text: &str) -> Result<Self, OutputError> {
        if text == "-" {
            return Ok(Self::Stdout);
        }
        let path = PathBuf::from(text);
        if path.extension().is_some_and(|ending| ending == "pcapng") {
            return Ok(Self::Capture(path));
        }
        match Format::of_path(&path) {
            Some(format) => Ok(Self::File(path, format)),
            None => Err(OutputError::Ending(path)),
        }
    }
}

/// How long those of `specs` are that can be appended to, a summary at the end not counted; of a scan that has
/// ended.
pub fn marks(specs: &[OutputSpec]) -> Vec<OutputMark> {
    let jsonl = specs.iter().filter_map(|spec| match spec {
        OutputSpec::File(path, Format::Jsonl) => Some(path),
        _ => None,
    });
    let mark = |path: &PathBuf| {
        let length = without_summary(path).ok()?;
        Some(OutputMark {
            path: path.clone(),
            length,
        })
    };
    jsonl.filter_map(mark).collect()
}

/// The reports of one scan, open.
#[derive(Default)]
pub struct Outputs {
    reports: Vec<OpenReport>,
    capture: Option<File>,
}

struct OpenReport {
    report: Box<dyn Report>,
    /// The file, to force to the disk and to measure; stdout has none.
    file: Option<(PathBuf, File)>,
    /// What a resumed file holds already, beyond its checkpoint, and was not learnt again yet.
    written: HashSet<Key>,
    /// How much of a resumed file its checkpoint covers.
    covered: u64,
    /// True when a header stands there already.
    resumed: bool,
}

/// What makes two findings the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Host(Option<VlanId>, IpAddr),
    Port(Option<VlanId>, IpAddr, Proto, u16),
    Leak(Option<VlanId>, Option<VlanId>, IpAddr),
}

impl Outputs {
    /// Opens all of `specs`. Files are made anew, but for a `.jsonl` that `marks` names: that one is appended
    /// to.
    ///
    /// # Errors
    /// At the first that can't be written.
    pub fn open(specs: &[OutputSpec], marks: &[OutputMark]) -> Result<Self, OutputError> {
        let mut outputs = Self::default();
        let mut fresh = Vec::new();
        for spec in specs {
            match spec {
                OutputSpec::Table { colour } => {
                    outputs.push(Box::new(TableReport::new(io::stdout(), *colour)), None);
                }
                OutputSpec::Stdout => {
                    outputs.push(Box::new(JsonlReport::new(io::stdout())), None);
                }
                OutputSpec::Capture(path) => {
                    let file = open_fresh(path)?;
                    fresh.push((path, duplicate(path, &file)?));
                    outputs.capture = Some(file);
                }
                OutputSpec::File(path, format) => {
                    let mark = marks.iter().find(|mark| mark.path == *path);
                    match mark.filter(|_| *format == Format::Jsonl) {
                        Some(mark) => outputs.append(mark)?,
                        None => {
                            let file = open_fresh(path)?;
                            fresh.push((path, duplicate(path, &file)?));
                            let writer = duplicate(path, &file)?;
                            outputs.push(format.report(writer), Some((path.clone(), file)));
                        }
                    }
                }
            }
        }
        // Only now: when one can't be opened, what stands in the others stays.
        for (path, file) in fresh {
            empty(&file).map_err(|source| OutputError::Open {
                path: path.clone(),
                source,
            })?;
        }
        Ok(outputs)
    }

    fn push(&mut self, report: Box<dyn Report>, file: Option<(PathBuf, File)>) {
        self.reports.push(OpenReport {
            report,
            file,
            written: HashSet::new(),
            covered: 0,
            resumed: false,
        });
    }

    fn append(&mut self, mark: &OutputMark) -> Result<(), OutputError> {
        let path = &mark.path;
        let open = |source| OutputError::Open {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(open)?;
        if file.metadata().map_err(open)?.len() < mark.length {
            return Err(OutputError::Shorter(path.clone()));
        }
        let (end, written) = read_tail(&mut file, mark.length).map_err(open)?;
        file.set_len(end).map_err(open)?;
        file.seek(SeekFrom::Start(end)).map_err(open)?;
        let writer = duplicate(path, &file)?;
        self.push(Format::Jsonl.report(writer), Some((path.clone(), file)));
        if let Some(pushed) = self.reports.last_mut() {
            pushed.written = written;
            pushed.covered = mark.length;
            pushed.resumed = true;
        }
        Ok(())
    }

    /// Gives one line of the result to every report.
    ///
    /// # Errors
    /// When one can't be written.
    pub fn observation(&mut self, observation: &Observation) -> io::Result<()> {
        for open in &mut self.reports {
            let again = match Key::of(observation) {
                Some(key) => !open.written.is_empty() && open.written.remove(&key),
                None => open.resumed && matches!(observation, Observation::Scan(_)),
            };
            if !again {
                open.report.observation(observation)?;
            }
        }
        Ok(())
    }

    /// True when frames are wanted.
    pub fn captures(&self) -> bool {
        self.capture.is_some()
    }

    /// Appends blocks of the capture.
    ///
    /// # Errors
    /// When they can't be written.
    pub fn capture(&mut self, blocks: &[u8]) -> io::Result<()> {
        self.capture
            .as_mut()
            .map_or(Ok(()), |file| file.write_all(blocks))
    }

    /// Hands everything to the operating system.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.reports
            .iter_mut()
            .try_for_each(|open| open.report.flush())
    }

    /// Forces the files that can be appended to onto the disk and says how long they are.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn sync(&mut self) -> io::Result<Vec<OutputMark>> {
        self.flush()?;
        let mut marks = Vec::new();
        for open in &self.reports {
            let Some((path, file)) = open.file.as_ref() else {
                continue;
            };
            if Format::of_path(path) == Some(Format::Jsonl) {
                file.sync_data()?;
                // What was written before the last end and not learnt again yet is not in the checkpoint: the next
                // resume has to know it, too.
                let length = match open.written.is_empty() {
                    true => file.metadata()?.len(),
                    false => open.covered,
                };
                let path = path.clone();
                marks.push(OutputMark { path, length });
            }
        }
        Ok(marks)
    }

    /// Ends every file, and forces it onto the disk if `durably`.
    ///
    /// # Errors
    /// When one can't be written.
    pub fn finish(&mut self, durably: bool) -> io::Result<()> {
        for open in &mut self.reports {
            open.report.finish()?;
            // Pipes and devices can't be forced, and need not be.
            if let Some((_, file)) = &open.file
                && durably
                && file.metadata()?.is_file()
            {
                file.sync_all()?;
            }
        }
        Ok(())
    }
}

impl Key {
    fn of(observation: &Observation) -> Option<Self> {
        match observation {
            Observation::Host(host) => Some(Self::Host(host.vlan, host.ip)),
            Observation::Port(port) => Some(Self::Port(port.vlan, port.ip, port.proto, port.port)),
            Observation::Leak(leak) => Some(Self::Leak(leak.vlan, leak.seen_vlan, leak.ip)),
            _ => None,
        }
    }
}

/// Longest summary line looked for: all drop reasons with their counts take a tenth of it.
const SUMMARY_MAX: u64 = 16 << 10;

/// Octets of a file before a summary in its last line.
fn without_summary(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(SUMMARY_MAX);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail)?;
    let body = tail.strip_suffix(b"\n").unwrap_or(&tail);
    let start = body
        .iter()
        .rposition(|&b| b == b'\n')
        .map_or(0, |at| at + 1);
    match serde_json::from_slice(&body[start..]) {
        Ok(Observation::Summary(_)) => Ok(from + start as u64),
        _ => Ok(length),
    }
}

/// Opens a file to be made anew, and leaves what stands in it for now.
fn open_fresh(path: &Path) -> Result<File, OutputError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).open(path);
    file.map_err(|source| OutputError::Open {
        path: path.to_path_buf(),
        source,
    })
}

/// Empties a file; pipes and devices hold nothing.
fn empty(file: &File) -> io::Result<()> {
    let now = file.metadata()?;
    // A file that is empty already stays untouched: ext4 takes cutting it for replacing a file by another and, when
    // it is closed, waits for the disk (ext4_truncate, EXT4_STATE_DA_ALLOC_CLOSE).
    match now.is_file() && now.len() > 0 {
        true => file.set_len(0),
        false => Ok(()),
    }
}

fn duplicate(path: &Path, file: &File) -> Result<File, OutputError> {
    file.try_clone().map_err(|source| OutputError::Open {
        path: path.to_path_buf(),
        source,
    })
}

/// Reads whole lines from `from` on: where findings end, and which they are.
fn read_tail(file: &mut File, from: u64) -> io::Result<(u64, HashSet<Key>)> {
    file.seek(SeekFrom::Start(from))?;
    let mut reader = BufReader::new(file.take(u64::MAX));
    let mut keys = HashSet::new();
    let mut end = from;
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)?;
        let Ok(observation) = serde_json::from_slice::<Observation>(&line) else {
            return Ok((end, keys));
        };
        if line.last() != Some(&b'\n') || matches!(observation, Observation::Summary(_)) {
            return Ok((end, keys));
        }
        keys.extend(Key::of(&observation));
        end += length as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples;

    #[test]
    fn endings_name_outputs() {
        assert_eq!(OutputSpec::parse("-").unwrap(), OutputSpec::Stdout);
        assert_eq!(
            OutputSpec::parse("a.pcapng").unwrap(),
            OutputSpec::Capture("a.pcapng".into())
        );
        let csv = OutputSpec::File("a.csv".into(), Format::Csv);
        assert_eq!(OutputSpec::parse("a.csv").unwrap(), csv);
        assert!(matches!(
            OutputSpec::parse("a.doc"),
            Err(OutputError::Ending(_))
        ));
    }

    #[test]
    fn an_unwritable_output_is_named() {
        let spec = OutputSpec::parse("/nowhere/at/all.csv").unwrap();
        let error = Outputs::open(&[spec], &[]).err().unwrap();
        assert!(matches!(error, OutputError::Open { path, .. } if path.ends_with("all.csv")));
    }

    #[test]
    fn what_stands_in_a_file_stays_when_another_can_not_be_opened() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "earlier").unwrap();
        let good = OutputSpec::parse(path.to_str().unwrap()).unwrap();
        let bad = OutputSpec::parse("/nowhere/at/all.csv").unwrap();
        assert!(Outputs::open(&[good.clone(), bad], &[]).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "earlier");
        Outputs::open(&[good], &[]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn a_resumed_file_holds_each_finding_once_whatever_the_end_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let spec = [OutputSpec::File(path.clone(), Format::Jsonl)];
        let all = samples::result();
        let (first, covered) = (&all[..6], 3);

        let mut outputs = Outputs::open(&spec, &[]).unwrap();
        for observation in &first[..covered] {
            outputs.observation(observation).unwrap();
        }
        let marks = outputs.sync().unwrap();
        for observation in &first[covered..] {
            outputs.observation(observation).unwrap();
        }
        outputs.finish(true).unwrap();
        drop(outputs);
        let whole = std::fs::read(&path).unwrap();

        let summary = serde_json::to_string(all.last().unwrap()).unwrap();
        let ends = [
            String::new(),
            "{\"type\":\"po".to_owned(),
            format!("{summary}\n"),
        ];
        for end in ends {
            std::fs::write(&path, [&whole[..], end.as_bytes()].concat()).unwrap();
            let mut outputs = Outputs::open(&spec, &marks).unwrap();
            // The header comes again, then what the checkpoint did not cover, then the rest.
            outputs.observation(&all[0]).unwrap();
            for observation in &all[covered..] {
                outputs.observation(observation).unwrap();
            }
            outputs.finish(true).unwrap();
            let text = std::fs::read_to_string(&path).unwrap();
            let read: Vec<Observation> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            let mut expected = all.clone();
            expected.retain(|o| !matches!(o, Observation::Progress(_)));
            assert_eq!(read, expected, "after {end:?}");
        }
    }

    #[test]
    fn a_summary_at_the_end_is_not_covered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let spec = [OutputSpec::File(path.clone(), Format::Jsonl)];
        let mut outputs = Outputs::open(&spec, &[]).unwrap();
        let (summary, findings) = samples::result()
            .split_last()
            .map(|(s, f)| (s.clone(), f.to_vec()))
            .unwrap();
        findings
            .iter()
            .for_each(|finding| outputs.observation(finding).unwrap());
        outputs.finish(true).unwrap();
        let before = std::fs::metadata(&path).unwrap().len();
        assert_eq!(marks(&spec)[0].length, before);
        outputs.observation(&summary).unwrap();
        outputs.finish(true).unwrap();
        assert_eq!(marks(&spec)[0].length, before);
    }

    #[test]
    fn a_file_shorter_than_its_checkpoint_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        std::fs::write(&path, "{}").unwrap();
        let spec = [OutputSpec::File(path.clone(), Format::Jsonl)];
        let marks = [OutputMark {
            path: path.clone(),
            length: 3,
        }];
        let error = Outputs::open(&spec, &marks).err().unwrap();
        assert!(matches!(error, OutputError::Shorter(of) if of == path));
    }
}
