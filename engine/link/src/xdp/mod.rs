//! Frames built into the network by a program in the kernel, answers judged by it (bpf/sonde.bpf.c).
//!
//! Out: user space lays the frames into memory that the program reads and has the kernel run it on as many frames of
//! its own (`BPF_PROG_TEST_RUN` with live frames, kernel net/bpf/test_run.c): the program writes each and redirects it to the
//! interface. In: the same program, attached to the interface, keeps what proves itself an answer of this scan as a record of 40
//! bytes, hands up whole what only user space can judge, and leaves the rest to the kernel.
//!
//! As the program stays attached for the link's life, a run does not have to enter it in the kernel's dispatcher; and as
//! a BPF link holds it, it is gone with the process, however that ends.

mod records;
mod rules;
mod slots;

use std::io;
use std::time::Duration;

use aya::maps::{Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{ProgramError, TestRun, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfError, EbpfLoader, VerifierLogLevel};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sonde_wire::MacAddr;

use crate::batch::{FrameBatch, RxBatch, RxMeta};
use crate::bpf::attach::{AttachError, attach};
use crate::expected::Expected;
use crate::offload::TagsInFrames;
use crate::packet::{Card, OpenError, PacketLink, PacketOptions};
use crate::tag::without_tag;
use crate::watch::Watch;
use crate::xdp_features::xdp_features;
use crate::{FrameLink, LinkCounters};
use rules::Rules;
use slots::{SLOTS, Slots};

/// The compiled program; `.ci/bpf` holds it against its source.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/sonde.bpf.o");

/// Frames that leave the program at once: a virtual interface's ring holds 256 and is emptied after each burst.
const BURST: u32 = 64;

/// Why there is no xdp link on an interface.
#[derive(Debug, thiserror::Error)]
pub enum XdpError {
    /// The interface itself.
    #[error(transparent)]
    Interface(#[from] OpenError),
    /// The program is not on it.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// Frames can't leave by redirection.
    #[error(
        "the driver of `{0}` does not say that it sends frames of programs (that takes Linux 6.3 and, on a veth, a program or GRO at its other end); use the `packet` link"
    )]
    NoTransmit(String),
    /// The kernel refused the program or a map of it.
    #[error(
        "the kernel of this machine does not take the program for `{interface}`: {attempted} failed; use the `packet` link"
    )]
    Program {
        /// The interface named.
        interface: String,
        /// What was asked of the kernel.
        attempted: &'static str,
        /// Its answer.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A link through one Ethernet interface whose driver runs programs and sends their frames.
pub struct XdpLink {
    /// Holds the program and with it the attachment; dropped, both are gone.
    object: Ebpf,
    rules: Rules,
    slots: Slots,
    hits: RingBuf<MapData>,
    frames: RingBuf<MapData>,
    counts: PerCpuArray<MapData, u64>,
    watch: Watch,
    _tags: TagsInFrames,
    /// Receives nothing: it keeps the interface promiscuous.
    _promiscuous: Option<PacketLink>,
    interface: String,
    mac: MacAddr,
    counters: LinkCounters,
    scratch: Box<[u8; RxBatch::SNAP]>,
    /// What a run's frames hold before the program writes them; only the length matters.
    blank: Box<[u8; FrameBatch::SLOT]>,
}

impl XdpLink {
    /// Loads the program and attaches it to `interface`.
    ///
    /// # Errors
    /// See [`XdpError`]; nothing is left behind.
    pub fn open(interface: &str, promiscuous: bool) -> Result<Self, XdpError> {
        let card = Card::of(interface)?;
        let options = PacketOptions {
            promiscuous,
            ..PacketOptions::default()
        };
        let promiscuous = match promiscuous {
            true => Some(PacketLink::open_deaf(interface, options)?),
            false => None,
        };
        let failed = |attempted: &'static str| {
            move |source: Box<dyn std::error::Error + Send + Sync>| match is_denied(&*source) {
                true => AttachError::NotPermitted(interface.to_owned()).into(),
                false => XdpError::Program {
                    interface: interface.to_owned(),
                    attempted,
                    source,
                },
            }
        };
        let mut object = load().map_err(|error| failed("loading its maps")(error.into()))?;
        let of_map = |error: MapError| failed("setting up its maps")(error.into());
        let rules = Rules::new(&mut object, card.index).map_err(of_map)?;
        let slots = map(&mut object, "slots").map_err(of_map)?;
        let turns = map(&mut object, "turns").map_err(of_map)?;
        let slots = mapped(&slots, &turns).map_err(|e| failed("sharing its memory")(e.into()))?;
        let hits = map(&mut object, "hits").and_then(RingBuf::try_from);
        let frames = map(&mut object, "frames").and_then(RingBuf::try_from);
        let counts = map(&mut object, "counters").and_then(PerCpuArray::try_from);
        let program = program(&mut object).map_err(|e| failed("finding it")(e.into()))?;
        program
            .load()
            .map_err(|error| failed("loading it")(error.into()))?;
        // What a card takes out of a frame, a program does not see.
        let tags = TagsInFrames::keep(interface)
            .map_err(|e| failed("keeping tags in frames")(e.into()))?;
        attach(program, card.index, interface, XdpMode::Driver)?;
        // Asked now: some drivers can once they run a program. Frames that a driver does not send vanish without a word.
        let features =
            xdp_features(card.index).map_err(|e| failed("asking the driver")(e.into()))?;
        if !features.is_some_and(|features| features.transmit) {
            return Err(XdpError::NoTransmit(interface.to_owned()));
        }
        Ok(Self {
            rules,
            slots,
            hits: hits.map_err(of_map)?,
            frames: frames.map_err(of_map)?,
            counts: counts.map_err(of_map)?,
            object,
            _tags: tags,
            watch: Watch::new(interface).map_err(|e| failed("watching it")(e.into()))?,
            _promiscuous: promiscuous,
            interface: interface.to_owned(),
            mac: card.mac,
            counters: LinkCounters::default(),
            scratch: Box::new([0; RxBatch::SNAP]),
            blank: Box::new([0; FrameBatch::SLOT]),
        })
    }

    /// Name of the interface when it was opened.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Address of the interface when it was opened.
    pub fn mac(&self) -> MacAddr {
        self.mac
    }

    /// Has the kernel run the program for `count` frames whose first has `length` bytes.
    fn run(&mut self, count: usize, length: usize) -> io::Result<()> {
        self.slots.begin(count);
        let options = TestRunOptions {
            data_in: Some(&self.blank[..length]),
            repeat: count as u32,
            attrs: TestRunAttrs::new().xdp_live_frames(BURST),
            ..TestRunOptions::new()
        };
        match program(&mut self.object)?.test_run(options) {
            Ok(_) => Ok(()),
            Err(ProgramError::SyscallError(error)) => Err(error.io_error),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn drain(&mut self, batch: &mut RxBatch) {
        while !batch.is_full_of_proven()
            && let Some(record) = self.hits.next()
        {
            if let Some(proven) = records::hit(&record) {
                batch.push_proven(proven);
            }
        }
        while !batch.is_full()
            && let Some(record) = self.frames.next()
        {
            let kept = records::frame(&record).and_then(|(bytes, wire_length)| {
                let (bytes, vlan, grown) = without_tag(bytes, None, &mut self.scratch[..])?;
                let meta = RxMeta {
                    // A driver that leaves checksums to a card that is not there doesn't tell programs so.
                    checksum_ready: false,
                    ..RxMeta::new(vlan, wire_length.saturating_add_signed(grown))
                };
                Some(batch.push(bytes, meta))
            });
            match kept {
                Some(_) => self.counters.rx_frames += 1,
                None => self.counters.rx_malformed += 1,
            }
        }
    }
}

impl FrameLink for XdpLink {
    fn expect(&mut self, expected: &Expected<'_>) -> io::Result<bool> {
        self.rules.set(expected).map_err(io::Error::other)?;
        Ok(expected.proof.is_some())
    }

    fn batch(&self) -> usize {
        SLOTS
    }

    fn transmit(&mut self, batch: &FrameBatch, from: usize) -> io::Result<usize> {
        // What is redirected to an interface that is down vanishes without a word.
        self.watch.check()?;
        let mut next = from;
        while next < batch.len() {
            let mut count = 0;
            while count < SLOTS
                && next + count < batch.len()
                && self.slots.write(count, batch.frame(next + count))
            {
                count += 1;
            }
            if count == 0 {
                self.counters.tx_refused += 1;
                next += 1;
                continue;
            }
            let run = self.run(count, batch.frame(next).len());
            let taken = self.slots.taken().min(count);
            self.counters.tx_frames += taken as u64;
            next += taken;
            match run {
                Ok(()) if taken == count => {}
                // A signal came: what is left is offered again.
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => break,
                // What was sent before is told first; the next call will fail again.
                Err(_) if next > from => break,
                Err(error) => return Err(error),
            }
        }
        Ok(next - from)
    }

    fn receive(&mut self, batch: &mut RxBatch, wait: Duration) -> io::Result<()> {
        batch.clear();
        self.drain(batch);
        if !batch.is_empty() || wait.is_zero() {
            return Ok(());
        }
        let wait = Timespec::try_from(wait).unwrap_or(Timespec {
            tv_sec: i64::MAX,
            tv_nsec: 0,
        });
        let changed = {
            let mut fds = [
                PollFd::new(&self.hits, PollFlags::IN),
                PollFd::new(&self.frames, PollFlags::IN),
                PollFd::new(&self.watch, PollFlags::IN),
            ];
            match poll(&mut fds, Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            !fds[2].revents().is_empty()
        };
        if changed {
            self.watch.check()?;
        }
        self.drain(batch);
        Ok(())
    }

    fn counters(&mut self) -> LinkCounters {
        let mut counted = |which: u32| -> u64 {
            let values = self.counts.get(&which, 0);
            values.map_or(0, |values| values.iter().sum())
        };
        // In the order of `enum counter`.
        let [hits, hits_lost, _frames, frames_lost, forged, resets] =
            [0, 1, 2, 3, 4, 5].map(&mut counted);
        LinkCounters {
            rx_frames: self.counters.rx_frames + hits,
            rx_dropped: hits_lost + frames_lost,
            rx_forged: forged,
            tx_resets: resets,
            ..self.counters
        }
    }
}

/// True if somewhere below `error` the kernel said that we may not.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    let denied = |error: &io::Error| error.raw_os_error() == Some(libc::EPERM);
    error.downcast_ref::<io::Error>().is_some_and(denied) || error.source().is_some_and(is_denied)
}

fn load() -> Result<Ebpf, EbpfError> {
    EbpfLoader::new()
        .btf(None)
        .verifier_log_level(VerifierLogLevel::DISABLE)
        .load(OBJECT)
}

fn program(object: &mut Ebpf) -> io::Result<&mut Xdp> {
    let missing = || io::Error::other("the object has no program of that name");
    let program = object.program_mut("sonde").ok_or_else(missing)?;
    program.try_into().map_err(io::Error::other)
}

/// Takes the map `name` out of `object`.
fn map(object: &mut Ebpf, name: &str) -> Result<Map, MapError> {
    object.take_map(name).ok_or_else(|| MapError::InvalidName {
        name: name.to_owned(),
    })
}

fn mapped(slots: &Map, turns: &Map) -> io::Result<Slots> {
    let (Map::Array(slots), Map::Array(turns)) = (slots, turns) else {
        return Err(io::Error::other("the object's maps are not arrays"));
    };
    Slots::new(&slots.fd(), &turns.fd())
}
