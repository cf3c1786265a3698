//! What went over an interface, by tcpdump and etherparse: neither shares a line with Sonde.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sonde_link::packet::{PacketLink, PacketOptions};
use sonde_link::{FrameBatch, FrameLink as _};

use crate::harness::wait_for;

/// A capture in progress of what an interface receives.
pub(crate) struct Capture {
    tcpdump: Child,
    stderr: BufReader<ChildStderr>,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

/// A captured frame.
pub(crate) struct Captured {
    /// Nanoseconds since 1970, by the kernel, on arrival.
    pub(crate) time_ns: u64,
    /// From the destination address on, tag in place.
    pub(crate) bytes: Vec<u8>,
}

impl Capture {
    /// Starts to capture; returns when the capture runs.
    pub(crate) fn start(interface: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("capture.pcap");
        let mut command = Command::new("tcpdump");
        if rustix::process::geteuid().is_root() {
            // It would become another user and lose the folder.
            command.args(["-Z", "root"]);
        }
        // -B: KiB the kernel may hold.
        let mut tcpdump = command
            .args([
                "-i", interface, "-Q", "in", "-s", "256", "-B", "262144", "-n", "-U",
            ])
            .args(["--time-stamp-precision=nano", "-w"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump is installed");
        let mut stderr = BufReader::new(tcpdump.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening on") {
            line.clear();
            let read = stderr.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "tcpdump ended without listening");
        }
        Self {
            tcpdump,
            stderr,
            file,
            _folder: folder,
        }
    }

    /// Ends the capture and returns all frames in order of arrival; none may have been missed.
    ///
    /// Interrupted, tcpdump forgets what the kernel still holds for it. So a last frame is sent from
    /// `far_end`, and the capture ends when that has been written.
    pub(crate) fn stop(mut self, far_end: &str) -> Vec<Captured> {
        let mut link = PacketLink::open(far_end, PacketOptions::default()).unwrap();
        let mut last = FrameBatch::new(1);
        last.push_with(|frame| {
            frame[..LAST.len()].copy_from_slice(&LAST);
            LAST.len()
        });
        assert_eq!(link.transmit(&last, 0).unwrap(), 1);
        let mut frames = wait_for(
            "the last frame in the capture",
            Duration::from_secs(30),
            || {
                let frames = read_pcap(&std::fs::read(&self.file).unwrap());
                frames
                    .last()
                    .is_some_and(|frame| frame.bytes == LAST)
                    .then_some(frames)
            },
        );
        frames.pop();
        kill_process(Pid::from_child(&self.tcpdump), Signal::INT).unwrap();
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        self.tcpdump.wait().unwrap();
        assert!(said.contains("\n0 packets dropped by kernel"), "{said}");
        frames
    }
}

/// A broadcast of an EtherType for experiments (IEEE 802, table 4), which nobody answers.
const LAST: [u8; 60] = {
    let mut frame = [0xff; 60];
    frame[12] = 0x88;
    frame[13] = 0xb5;
    frame
};

/// Reads a little-endian nanosecond pcap file (as tcpdump writes it on x86 and ARM).
fn read_pcap(file: &[u8]) -> Vec<Captured> {
    assert_eq!(
        file[..4],
        0xa1b2_3c4d_u32.to_le_bytes(),
        "a nanosecond pcap file"
    );
    let mut rest = &file[24..];
    let mut frames = Vec::new();
    // The last record may still be on its way into the file.
    while rest.len() >= 16 {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let (seconds, nanos, length) = (word(0), word(4), word(8) as usize);
        let Some(bytes) = rest.get(16..16 + length) else {
            break;
        };
        let bytes = bytes.to_vec();
        let time_ns = u64::from(seconds) * 1_000_000_000 + u64::from(nanos);
        frames.push(Captured { time_ns, bytes });
        rest = &rest[16 + length..];
    }
    frames
}
