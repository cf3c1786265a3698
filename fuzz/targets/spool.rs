//! Any bytes as an attempt's segments: what can be believed is read back, all else is cut off, and the stream goes on.

#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use sonde_agent::spool::entry::{self, Entry, Kind};
use sonde_agent::spool::{Key, Spool, Stream, disk};
use sonde_fuzz::choices::Choices;
use sonde_protocol::ids::JobId;

const SEGMENTS_MAX: u8 = 4;
const ENTRIES_MAX: u8 = 8;
const BUDGET: u64 = 1 << 30;

/// In memory: the disk is not under test.
static ROOT: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/sonde-fuzz-spool-{}", std::process::id())));

type Entries = Vec<(Kind, Vec<u8>)>;

fuzz_target!(|bytes: &[u8]| {
    let mut choices = Choices::new(bytes);
    let key = Key {
        job: JobId(uuid()),
        attempt: choices.byte().into(),
    };
    let dir = ROOT.join(key.to_string());
    fs::create_dir_all(&dir).expect("memory holds a folder");
    let segments = segments(&mut choices);
    for (index, segment) in segments.iter().enumerate() {
        fs::write(dir.join(format!("{index:06}.seg")), segment).expect("memory holds a file");
    }
    let mut believed = believed(&segments);

    let spool = open(&ROOT);
    let stream = spool.stream(key).expect("memory gives back");
    check(&stream, &believed, &mut choices);
    for _ in 0..choices.byte() % 4 {
        let (kind, payload) = entry(&mut choices);
        let next = stream.append(kind, &payload, false).expect("there is room");
        believed.push((kind, payload));
        assert_eq!(next, records(&believed));
    }
    stream.sync().expect("the writer writes");
    check(&stream, &believed, &mut choices);
    drop((stream, spool));

    let spool = open(&ROOT);
    assert_eq!(spool.keys().expect("memory gives back"), [key]);
    check(
        &spool.stream(key).expect("memory gives back"),
        &believed,
        &mut choices,
    );
    spool.remove(key).expect("memory forgets");
    assert_eq!(spool.health().borrow().bytes, 0);
    drop(spool);
    fs::remove_dir(&*ROOT).expect("nothing is left");
});

fn open(root: &Path) -> Spool {
    Spool::open(root, BUDGET, || Box::new(disk::Plain)).expect("memory holds a spool")
}

fn uuid() -> uuid::Uuid {
    uuid::Uuid::nil()
}

fn entry(choices: &mut Choices<'_>) -> (Kind, Vec<u8>) {
    let kind = *choices.of(&[Kind::Record, Kind::Checkpoint]);
    (kind, choices.bytes(40).to_vec())
}

/// Segments that a spool may have written, and what a disk may have made of them.
fn segments(choices: &mut Choices<'_>) -> Vec<Vec<u8>> {
    let mut sequence = 0;
    let segments = 0..choices.byte() % (SEGMENTS_MAX + 1);
    segments
        .map(|_| {
            let mut bytes = Vec::new();
            for _ in 0..choices.byte() % (ENTRIES_MAX + 1) {
                let (kind, payload) = entry(choices);
                let astray = u64::from(choices.byte() == 255);
                let entry = Entry {
                    kind,
                    sequence: sequence + astray,
                    payload: &payload,
                };
                sequence = entry.next_sequence();
                entry::encode(&mut bytes, entry);
            }
            match choices.byte() {
                0..=199 => {}
                200..=227 => choices.bend(&mut bytes, 2),
                _ => bytes.extend_from_slice(choices.bytes(100)),
            }
            bytes
        })
        .collect()
}

/// The longest prefix of entries in which each proves itself and follows the one before.
fn believed(segments: &[Vec<u8>]) -> Entries {
    let mut believed = Entries::new();
    for segment in segments {
        let mut whole = 0;
        for entry in entry::entries(segment, records(&believed)) {
            whole += entry.encoded_len();
            believed.push((entry.kind, entry.payload.to_vec()));
        }
        if whole < segment.len() {
            break;
        }
    }
    believed
}

fn records(entries: &Entries) -> u64 {
    entries
        .iter()
        .filter(|(kind, _)| *kind == Kind::Record)
        .count() as u64
}

/// What the stream has, read in batches and visited.
fn check(stream: &Stream, believed: &Entries, choices: &mut Choices<'_>) {
    let count = records(believed);
    assert_eq!((stream.next(), *stream.durable().borrow()), (count, count));
    let mut visited = Entries::new();
    let visit = stream
        .reader(0)
        .visit(|kind, payload| visited.push((kind, payload.to_vec())));
    visit.expect("what is durable is read");
    assert_eq!(&visited, believed);

    let first = choices.below(count as usize + 1) as u64;
    let (mut reader, mut next, mut lines) = (stream.reader(first), first, Vec::new());
    loop {
        let most = choices.below(300);
        let batch = reader.batch(most).expect("what is durable is read");
        assert_eq!(batch.first, next);
        assert!(batch.count <= 1 || batch.lines.len() <= most);
        if batch.count == 0 {
            break;
        }
        next += batch.count;
        lines.extend_from_slice(&batch.lines);
    }
    assert_eq!(next, count);
    let payloads = believed
        .iter()
        .filter(|(kind, _)| *kind == Kind::Record)
        .map(|(_, p)| p);
    let wanted = payloads
        .skip(first as usize)
        .flat_map(|p| [p, &b"\n"[..]].concat());
    assert!(lines.iter().copied().eq(wanted));
}
