//! A serial line as a console uses it: 9600 baud, eight bits, no parity, two stop bits, no flow control.
//!
//! By termios alone (rustix, which the panel has anyway): a serial-port crate would add names of ports and
//! control lines, and a console needs neither.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::termios::{
    ControlModes, InputModes, OptionalActions, QueueSelector, isatty, speed, tcflush, tcgetattr,
    tcsetattr,
};

/// Bits a second.
const BAUD: u32 = speed::B9600;
/// Start bit, eight data bits, two stop bits.
const BITS_PER_BYTE: u32 = 11;

/// An open line. Nothing here waits.
#[derive(Debug)]
pub struct Line {
    device: File,
}

impl Line {
    /// Opens `device` and sets it up.
    ///
    /// # Errors
    /// The operating system's, and [`ErrorKind::InvalidInput`] for what is no terminal device.
    pub fn open(device: &Path) -> io::Result<Line> {
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let device = File::options()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open(device)?;
        if !isatty(&device) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "it is no terminal device",
            ));
        }
        let mut modes = tcgetattr(&device)?;
        modes.make_raw();
        modes.control_modes -= ControlModes::CSIZE | ControlModes::PARENB | ControlModes::CRTSCTS;
        modes.control_modes |=
            ControlModes::CS8 | ControlModes::CSTOPB | ControlModes::CLOCAL | ControlModes::CREAD;
        modes.input_modes -= InputModes::IXON | InputModes::IXOFF | InputModes::IXANY;
        modes.set_speed(BAUD)?;
        tcsetattr(&device, OptionalActions::Now, &modes)?;
        // What was typed before is no key for a panel that nobody saw.
        tcflush(&device, QueueSelector::IFlush)?;
        Ok(Line { device })
    }

    /// What to wait on for input.
    pub fn wait_on(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// The line is gone: hung up, unplugged.
    pub fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 256];
        match self.device.read(&mut bytes) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => Ok(bytes[..read].to_vec()),
            Err(error) if is_passing(&error) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Writes as much as goes, and says how much.
    ///
    /// # Errors
    /// As [`Line::read`].
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.device.write(bytes) {
            Err(error) if is_passing(&error) => Ok(0),
            written => written,
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// How long `bytes` bytes are on their way.
pub fn time_of(bytes: usize) -> Duration {
    let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
    Duration::from_secs(1) / BAUD * BITS_PER_BYTE.saturating_mul(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_hundred_and_seventy_two_bytes_take_a_second() {
        let second = time_of(872).as_millis();
        assert!((990..1000).contains(&second), "{second} ms");
    }

    #[test]
    fn a_file_is_no_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Line::open(file.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = Line::open(Path::new("/nowhere")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
