//! The spool as a whole: faults of the disk, cuts anywhere, limits.

use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::disk::{Disk, DiskFile, Plain};
use super::*;

fn key() -> Key {
    Key {
        job: JobId(uuid::Uuid::nil()),
        attempt: 1,
    }
}

fn open(root: &Path) -> Spool {
    Spool::open(root, 1 << 30, || disk::best().0).unwrap()
}

fn record(n: u64) -> Vec<u8> {
    format!("{{\"type\":\"port\",\"port\":{n}}}").into_bytes()
}

fn all(stream: &Stream) -> Vec<Vec<u8>> {
    let mut reader = stream.reader(0);
    let mut lines = Vec::new();
    loop {
        let batch = reader.batch(1000).unwrap();
        if batch.count == 0 {
            return lines;
        }
        assert_eq!(batch.first, lines.len() as u64);
        assert!(batch.count == 1 || batch.lines.len() <= 1000);
        lines.extend(
            batch
                .lines
                .split(|b| *b == b'\n')
                .filter(|l| !l.is_empty())
                .map(<[u8]>::to_vec),
        );
    }
}

/// Fails as told: every write or sync asks the plan once.
struct Faulty {
    plan: Arc<Mutex<Vec<Fault>>>,
    full: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Short,
    WriteError,
    SyncError,
    NoSpace,
}

struct FaultyFile {
    inner: Box<dyn DiskFile>,
    plan: Arc<Mutex<Vec<Fault>>>,
    full: Arc<AtomicBool>,
}

impl Disk for Faulty {
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inner = Plain.open(path)?;
        Ok(Box::new(FaultyFile {
            inner,
            plan: self.plan.clone(),
            full: self.full.clone(),
        }))
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&mut self, buffer: Vec<u8>, offset: u64) -> (io::Result<usize>, Vec<u8>) {
        if self.full.load(Ordering::SeqCst) {
            return (Err(io::ErrorKind::StorageFull.into()), buffer);
        }
        let mut plan = self.plan.lock().unwrap();
        match plan.last() {
            Some(Fault::Short) => {
                plan.pop();
                let half = buffer[..buffer.len().div_ceil(2)].to_vec();
                (self.inner.write_at(half, offset).0, buffer)
            }
            Some(Fault::WriteError) => {
                plan.pop();
                // Something got there before it broke.
                let _part = self
                    .inner
                    .write_at(buffer[..buffer.len() / 3].to_vec(), offset);
                (Err(io::Error::from_raw_os_error(5)), buffer)
            }
            Some(Fault::NoSpace) => {
                plan.pop();
                (Err(io::ErrorKind::StorageFull.into()), buffer)
            }
            _ => self.inner.write_at(buffer, offset),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.plan.lock().unwrap().pop() {
            Some(Fault::SyncError) => Err(io::Error::from_raw_os_error(5)),
            _ => self.inner.sync(),
        }
    }
}

#[test]
fn what_is_appended_is_read_back_in_order_and_survives_a_new_start() {
    let dir = tempfile::tempdir().unwrap();
    let expected: Vec<_> = (0..5000).map(record).collect();
    {
        let spool = open(dir.path());
        let stream = spool.stream(key()).unwrap();
        for (n, line) in expected.iter().enumerate() {
            assert_eq!(
                stream.append(Kind::Record, line, false).unwrap(),
                n as u64 + 1
            );
            if n % 100 == 99 {
                stream
                    .append(Kind::Checkpoint, format!("c{n}").as_bytes(), false)
                    .unwrap();
            }
        }
        stream.sync().unwrap();
        assert_eq!(*stream.durable().borrow(), 5000);
        assert_eq!(all(&stream), expected);
        assert_eq!(
            stream.reader(4999).batch(1 << 20).unwrap().lines,
            [&expected[4999][..], b"\n"].concat()
        );
    }
    let spool = open(dir.path());
    assert_eq!(spool.keys().unwrap(), [key()]);
    let stream = spool.stream(key()).unwrap();
    assert_eq!(all(&stream), expected);
    let (mut last, mut records) = (Vec::new(), 0);
    stream
        .reader(0)
        .visit(|kind, payload| match kind {
            Kind::Checkpoint => last = payload.to_vec(),
            Kind::Record => records += 1,
        })
        .unwrap();
    assert_eq!((last.as_slice(), records), (b"c4999".as_slice(), 5000));
    let before = spool.health().borrow().bytes;
    spool.remove(key()).unwrap();
    assert!(before > 0);
    assert_eq!(spool.health().borrow().bytes, 0);
    assert_eq!(spool.keys().unwrap(), []);
    assert!(matches!(
        stream.append(Kind::Record, b"x", false),
        Err(SpoolError::Closed(_))
    ));
}

#[test]
fn segments_follow_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let line = vec![b'x'; 500_000];
    let spool = open(dir.path());
    let stream = spool.stream(key()).unwrap();
    for _ in 0..80 {
        stream.append(Kind::Record, &line, false).unwrap();
    }
    stream.sync().unwrap();
    let files = std::fs::read_dir(dir.path().join(key().to_string()))
        .unwrap()
        .count();
    assert!(files >= 2, "{files} segments");
    let mut reader = stream.reader(0);
    let mut count = 0;
    loop {
        let batch = reader.batch(1 << 20).unwrap();
        if batch.count == 0 {
            break;
        }
        assert_eq!(batch.lines.len() as u64, batch.count * 500_001);
        count += batch.count;
    }
    assert_eq!(count, 80);
    reader.seek(40);
    assert_eq!(reader.batch(1).unwrap().first, 40);
    drop(spool);
    let again = open(dir.path());
    assert_eq!(again.stream(key()).unwrap().next(), 80);
}

#[test]
fn a_line_longer_than_an_upload_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let stream = spool.stream(key()).unwrap();
    let long = vec![b'x'; entry::PAYLOAD_MAX_BYTES + 1];
    assert!(matches!(
        stream.append(Kind::Record, &long, false),
        Err(SpoolError::TooLong { .. })
    ));
    assert_eq!(stream.next(), 0);
}

#[test]
fn a_full_disk_is_said_and_waited_for_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(true));
    let theirs = full.clone();
    let disk = move || -> Box<dyn Disk> {
        Box::new(Faulty {
            plan: Arc::default(),
            full: theirs,
        })
    };
    let spool = Spool::open(dir.path(), 1 << 30, disk).unwrap();
    let stream = spool.stream(key()).unwrap();
    for n in 0..10 {
        stream.append(Kind::Record, &record(n), false).unwrap();
    }
    let mut health = spool.health();
    let waiter = std::thread::spawn({
        let stream = stream.clone();
        move || stream.sync()
    });
    block_on(health.wait_for(|health| health.error.is_some())).unwrap();
    assert_eq!(*stream.durable().borrow(), 0);
    full.store(false, Ordering::SeqCst);
    waiter.join().unwrap().unwrap();
    assert_eq!(health.borrow().error, None);
    assert_eq!(all(&stream), (0..10).map(record).collect::<Vec<_>>());
}

#[test]
fn at_its_limit_producers_wait_and_ending_ones_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), 2000, || disk::best().0).unwrap();
    let stream = spool.stream(key()).unwrap();
    let other = Key {
        attempt: 2,
        ..key()
    };
    spool
        .stream(other)
        .unwrap()
        .append(Kind::Record, &[b'x'; 1700], false)
        .unwrap();
    spool.stream(other).unwrap().sync().unwrap();
    let mut health = spool.health();
    let waiter = std::thread::spawn({
        let stream = stream.clone();
        move || stream.append(Kind::Record, b"scan", false)
    });
    block_on(health.wait_for(|health| health.paused)).unwrap();
    assert_eq!(stream.append(Kind::Record, b"summary", true).unwrap(), 1);
    spool.remove(other).unwrap();
    assert_eq!(waiter.join().unwrap().unwrap(), 2);
    block_on(health.wait_for(|health| !health.paused)).unwrap();
}

#[test]
fn closing_frees_whoever_waits() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::open(dir.path(), 0, || disk::best().0).unwrap();
    let stream = spool.stream(key()).unwrap();
    let waiter = std::thread::spawn({
        let stream = stream.clone();
        move || stream.append(Kind::Record, b"scan", false)
    });
    block_on(spool.health().wait_for(|health| health.paused)).unwrap();
    stream.close();
    assert!(matches!(waiter.join().unwrap(), Err(SpoolError::Closed(_))));
}

#[test]
fn a_byte_lost_in_the_middle_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let stream = spool.stream(key()).unwrap();
    for n in 0..10 {
        stream.append(Kind::Record, &record(n), false).unwrap();
    }
    stream.sync().unwrap();
    let path = dir.path().join(key().to_string()).join("000000.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[200] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let error = stream.reader(0).batch(1 << 20).unwrap_err();
    assert!(
        matches!(error, ReadError::Damaged { sequence: 4, .. }),
        "{error}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Nothing acknowledged is lost by any sequence of short writes, errors and full disks, and what
    /// is read back is what was appended, byte for byte.
    #[test]
    fn a_disk_that_fails_loses_nothing(
        faults in prop::collection::vec(
            prop::sample::select(vec![Fault::None, Fault::None, Fault::Short, Fault::Short]), 0..6),
        last in prop::sample::select(vec![
            Fault::None, Fault::WriteError, Fault::SyncError, Fault::NoSpace]),
        syncs in prop::collection::vec(1usize..30, 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut plan = faults;
        plan.push(last);
        let plan = Arc::new(Mutex::new(plan));
        let disk = move || -> Box<dyn Disk> { Box::new(Faulty { plan, full: Arc::default() }) };
        let spool = Spool::open(dir.path(), 1 << 30, disk).unwrap();
        let stream = spool.stream(key()).unwrap();
        let mut expected = Vec::new();
        for records in syncs {
            for _ in 0..records {
                let line = record(expected.len() as u64);
                stream.append(Kind::Record, &line, false).unwrap();
                expected.push(line);
            }
            stream.sync().unwrap();
            prop_assert_eq!(*stream.durable().borrow(), expected.len() as u64);
            prop_assert_eq!(&all(&stream), &expected);
        }
        drop(spool);
        prop_assert_eq!(&all(&open(dir.path()).stream(key()).unwrap()), &expected);
    }

    /// A file cut at any byte: recovery keeps the longest whole prefix, and appending goes on there.
    #[test]
    fn a_cut_anywhere_recovers_a_prefix(records in 1u64..40, cut in any::<prop::sample::Index>()) {
        let dir = tempfile::tempdir().unwrap();
        {
            let spool = open(dir.path());
            let stream = spool.stream(key()).unwrap();
            for n in 0..records {
                stream.append(Kind::Record, &record(n), false).unwrap();
                stream.append(Kind::Checkpoint, b"c", false).unwrap();
            }
            stream.sync().unwrap();
        }
        let path = dir.path().join(key().to_string()).join("000000.seg");
        let bytes = std::fs::read(&path).unwrap();
        let cut = cut.index(bytes.len() + 1);
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let whole = entry::entries(&bytes[..cut], 0).filter(|e| e.kind == Kind::Record).count() as u64;
        let spool = open(dir.path());
        let stream = spool.stream(key()).unwrap();
        prop_assert_eq!(stream.next(), whole);
        stream.append(Kind::Record, b"more", false).unwrap();
        stream.sync().unwrap();
        let mut expected: Vec<_> = (0..whole).map(record).collect();
        expected.push(b"more".to_vec());
        prop_assert_eq!(Sha256::digest(all(&stream).concat()), Sha256::digest(expected.concat()));
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(30), future).await })
        .expect("within 30 s")
}
