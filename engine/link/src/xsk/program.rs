//! The program that says which frames are the scan's (bpf/redirect.bpf.c), its maps, and its attachment.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use aya::maps::{Array, Map, MapData, MapError, RingBuf, XskMap};
use aya::programs::{ProgramError, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};

use super::XskError;
use super::queue::Queue;
use crate::bpf::attach::{AttachError, attach};

/// The compiled program.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/redirect.bpf.o");

/// Length on the wire and bytes kept, before the bytes of a copied frame.
const COPY_HEADER: usize = 8;

/// The program and its maps.
pub(super) struct Redirect {
    copies: RingBuf<MapData>,
    port: Array<MapData, u16>,
    lost: Array<MapData, u64>,
    sockets: XskMap<MapData>,
    native: bool,
    /// Holds the program and with it the attachment; dropped, both are gone.
    object: Ebpf,
}

impl Redirect {
    /// Brings the program, for an interface of `queues` receive queues, into the kernel.
    pub(super) fn load(interface: &str, queues: u32) -> Result<Self, XskError> {
        let failed = |attempted| move |source| XskError::of(interface, attempted, source);
        let mut object = EbpfLoader::new()
            .btf(None)
            .verifier_log_level(VerifierLogLevel::DISABLE)
            .map_max_entries("sockets", queues)
            .load(OBJECT)
            .map_err(of_load)
            .map_err(failed("making maps for its program"))?;
        let found = "finding the maps of its program";
        let copies = map(&mut object, "copies").map_err(failed(found))?;
        let port = map(&mut object, "port").map_err(failed(found))?;
        let lost = map(&mut object, "lost").map_err(failed(found))?;
        let sockets = map(&mut object, "sockets").map_err(failed(found))?;
        program(&mut object)
            .and_then(Xdp::load)
            .map_err(of_program)
            .map_err(failed("loading its program"))?;
        Ok(Self {
            copies,
            port,
            lost,
            sockets,
            native: false,
            object,
        })
    }

    /// Gives it the sockets of `queues` and puts it on the interface numbered `index`: in its driver where `native` says
    /// so and that can, else before the kernel's stack.
    pub(super) fn attach(
        &mut self,
        index: u32,
        interface: &str,
        queues: &[Queue],
        native: bool,
    ) -> Result<(), XskError> {
        let failed = |attempted| move |source| XskError::of(interface, attempted, source);
        for (queue, opened) in (0..).zip(queues) {
            self.sockets
                .set(queue, opened.socket().as_fd().as_raw_fd(), 0)
                .map_err(of_map)
                .map_err(failed("giving its program a socket"))?;
        }
        let program = program(&mut self.object)
            .map_err(of_program)
            .map_err(failed("finding its program"))?;
        self.native = native && attach_native(program, index, interface)?;
        if !self.native {
            attach(program, index, interface, XdpMode::Skb)?;
        }
        Ok(())
    }

    /// True when the driver runs it, false when the kernel does so before its stack.
    pub(super) fn is_native(&self) -> bool {
        self.native
    }

    /// Says the scan's port; 0: nothing is the scan's.
    pub(super) fn set_port(&mut self, port: u16) -> io::Result<()> {
        self.port.set(0, port.to_be(), 0).map_err(of_map)
    }

    /// Shows copied frames, with their length on the wire, oldest first, to `look` until that returns false for one;
    /// that one is gone, too.
    pub(super) fn drain(&mut self, mut look: impl FnMut(&[u8], u32) -> bool) {
        let mut more = true;
        while more && let Some(record) = self.copies.next() {
            if let Some((bytes, length)) = copied(&record) {
                more = look(bytes, length);
            }
        }
    }

    /// Copies that found no room.
    pub(super) fn lost(&self) -> u64 {
        self.lost.get(&0, 0).unwrap_or_default()
    }

    /// Readable when there are copies.
    pub(super) fn copies_fd(&self) -> BorrowedFd<'_> {
        self.copies.as_fd()
    }
}

/// False when the driver can't; then the kernel still may.
fn attach_native(program: &mut Xdp, index: u32, interface: &str) -> Result<bool, AttachError> {
    match attach(program, index, interface, XdpMode::Driver) {
        Ok(_) => Ok(true),
        // Drivers say no in many ways: no such mode, an MTU too large, no queue left.
        Err(AttachError::Unsupported { .. } | AttachError::Kernel { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The bytes of a copied frame and its length on the wire.
fn copied(record: &[u8]) -> Option<(&[u8], u32)> {
    let (header, bytes) = record.split_first_chunk::<COPY_HEADER>()?;
    let [a, b, c, d, e, f, g, h] = *header;
    let kept = u32::from_ne_bytes([e, f, g, h]) as usize;
    Some((bytes.get(..kept)?, u32::from_ne_bytes([a, b, c, d])))
}

fn program(object: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    object
        .program_mut("sonde_redirect")
        .ok_or(ProgramError::NotLoaded)?
        .try_into()
}

fn map<T: TryFrom<Map, Error = MapError>>(object: &mut Ebpf, name: &str) -> io::Result<T> {
    let map = object.take_map(name).ok_or(io::ErrorKind::NotFound)?;
    T::try_from(map).map_err(of_map)
}

fn of_map(error: MapError) -> io::Error {
    match error {
        MapError::SyscallError(error) => error.io_error,
        MapError::CreateError { io_error, .. } => io_error,
        other => io::Error::other(other),
    }
}

fn of_program(error: ProgramError) -> io::Error {
    match error {
        ProgramError::LoadError { io_error, .. } => io_error,
        ProgramError::SyscallError(error) => error.io_error,
        other => io::Error::other(other),
    }
}

fn of_load(error: EbpfError) -> io::Error {
    match error {
        EbpfError::MapError(error) => of_map(error),
        other => io::Error::other(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_read_as_the_program_lays_it_out() {
        let mut record = [0; 128];
        record[..4].copy_from_slice(&60_u32.to_ne_bytes());
        record[4..8].copy_from_slice(&60_u32.to_ne_bytes());
        record[8..68].fill(7);
        assert_eq!(copied(&record), Some((&[7; 60][..], 60)));
        record[4..8].copy_from_slice(&121_u32.to_ne_bytes());
        assert_eq!((copied(&record), copied(&record[..7])), (None, None));
    }
}
