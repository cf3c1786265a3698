//! A worker played by a thread on the other end of the socket.

use std::os::unix::net::UnixListener;
use std::sync::mpsc;

use sonde_core::observation::Summary;
use sonde_protocol::ids::JobId;

use super::*;
use crate::spool::{Key, Spool, disk};

const HEADER: &str =
    r#"{"type":"scan","version":1,"id":"x","started":"2026-01-01T00:00:00Z","request":{"seed":7}}"#;
const CHECKPOINT: &str = r#"{"type":"checkpoint","version":1,"plan":5,"seed":7,"state":"AA=="}"#;
const PROGRESS: &str = r#"{"type":"progress","sent":5,"received":1,"fraction":0.5,"hosts_up":1,"open":1,"rate_pps":1.0}"#;

fn port(n: u16) -> String {
    format!(
        r#"{{"type":"port","vlan":null,"ip":"10.1.0.9","proto":"tcp","port":{n},"state":"open","reason":"syn-ack","time":"2026-01-01T00:00:00Z"}}"#
    )
}

fn summary(complete: bool) -> String {
    serde_json::to_string(&Observation::Summary(Summary {
        complete,
        sent: 5,
        ..Summary::default()
    }))
    .unwrap()
}

/// The header of a scan that began so many seconds ago.
fn header_of(seconds: i64) -> String {
    let began = OffsetDateTime::now_utc() - time::Duration::seconds(seconds);
    let began = began
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap();
    HEADER.replace("2026-01-01T00:00:00Z", &began)
}

struct Fixture {
    max_time_s: Option<u64>,
    dir: tempfile::TempDir,
    spool: Spool,
    key: Key,
    stopper: Stopper,
}

impl Fixture {
    fn new() -> Self {
        Self::with_budget(1 << 30)
    }

    fn with_budget(bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(&dir.path().join("spool"), bytes, || disk::best().0).unwrap();
        let key = Key {
            job: JobId::generate(),
            attempt: 1,
        };
        Self {
            max_time_s: None,
            dir,
            spool,
            key,
            stopper: Stopper::default(),
        }
    }

    /// Runs against `play`, which gets the request and the socket; gives the news.
    fn run(&self, play: impl FnOnce(ScanRequest, &UnixStream) + Send) -> Vec<News> {
        let socket = self.dir.path().join("worker.sock");
        let _stale = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let stream = self.spool.stream(self.key).unwrap();
        let request = ScanRequest {
            targets: vec!["10.1.0.0/24".to_owned()],
            max_time_s: self.max_time_s,
            ..ScanRequest::default()
        };
        let (sender, news) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let (peer, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&peer).read_line(&mut line).unwrap();
                play(serde_json::from_str(&line).unwrap(), &peer);
            });
            let stopper = self.stopper.clone();
            run(
                Run {
                    socket,
                    request,
                    stream,
                    stopper,
                },
                |n| sender.send(n).unwrap(),
            );
        });
        news.try_iter().collect()
    }

    fn lines(&self) -> Vec<String> {
        let stream = self.spool.stream(self.key).unwrap();
        stream.sync().unwrap();
        let batch = stream.reader(0).batch(usize::MAX).unwrap();
        String::from_utf8(batch.lines)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

fn say(peer: &UnixStream, lines: &[&str]) {
    let mut peer = peer;
    peer.write_all((lines.join("\n") + "\n").as_bytes())
        .unwrap();
}

#[test]
fn a_scan_is_spooled_line_by_line() {
    let fixture = Fixture::new();
    let news = fixture.run(|request, peer| {
        assert_eq!(request.targets, ["10.1.0.0/24"]);
        assert_eq!(request.resume, None);
        say(
            peer,
            &[
                HEADER,
                &port(1),
                CHECKPOINT,
                PROGRESS,
                &port(2),
                &summary(true),
            ],
        );
    });
    assert!(matches!(
        news.as_slice(),
        [
            News::Started,
            News::Checkpoint,
            News::Progress(_),
            News::Ended(WorkerEnd::Finished)
        ]
    ));
    let lines = fixture.lines();
    assert_eq!(
        lines[..3],
        [HEADER.to_owned(), port(1), port(2)],
        "unchanged"
    );
    assert!(lines[3].contains(r#""complete":true"#) && lines[3].contains(r#""open":2"#));
    assert_eq!(lines.len(), 4);
}

#[test]
fn one_that_dies_is_followed_by_one_that_goes_on() {
    let fixture = Fixture::new();
    let news = fixture.run(|_, peer| {
        say(peer, &[HEADER, &port(1), CHECKPOINT, &port(2)]);
        // Cut in the middle of a line.
        (&mut &*peer).write_all(&port(3).as_bytes()[..30]).unwrap();
    });
    let News::Ended(WorkerEnd::Died(why)) = news.last().unwrap() else {
        panic!("{news:?}")
    };
    assert_eq!(why, "the worker ended without a summary");
    let news = fixture.run(|request, peer| {
        assert_eq!(request.resume.unwrap().plan, 5);
        assert_eq!(request.seed, Some(7));
        say(peer, &[HEADER, &port(2), &port(3), &summary(true)]);
    });
    assert_eq!(*news.last().unwrap(), News::Ended(WorkerEnd::Finished));
    let lines = fixture.lines();
    assert_eq!(lines[..4], [HEADER.to_owned(), port(1), port(2), port(3)]);
    assert_eq!(lines.len(), 5);
    assert!(lines[4].contains(r#""open":3"#), "{}", lines[4]);
}

#[test]
fn one_that_goes_on_has_the_time_that_is_left() {
    let mut fixture = Fixture::new();
    fixture.max_time_s = Some(100);
    fixture.run(|request, peer| {
        assert_eq!(request.max_time_s, Some(100));
        say(peer, &[&header_of(40), &port(1), CHECKPOINT]);
    });
    let news = fixture.run(|request, peer| {
        let left = request.max_time_s.unwrap();
        assert!((30..=60).contains(&left), "{left} s");
        say(peer, &[HEADER, &summary(true)]);
    });
    assert_eq!(*news.last().unwrap(), News::Ended(WorkerEnd::Finished));
}

#[test]
fn without_any_time_left_the_part_is_the_result_and_no_worker_is_asked_for() {
    let fixture = Fixture::new();
    fixture.run(|_, peer| say(peer, &[&header_of(3600), &port(1), CHECKPOINT]));
    let (sender, news) = mpsc::channel();
    let run_ = Run {
        socket: fixture.dir.path().join("none.sock"),
        request: ScanRequest {
            max_time_s: Some(600),
            ..ScanRequest::default()
        },
        stream: fixture.spool.stream(fixture.key).unwrap(),
        stopper: Stopper::default(),
    };
    run(run_, |n| sender.send(n).unwrap());
    assert_eq!(news.recv().unwrap(), News::Ended(WorkerEnd::Finished));
    let lines = fixture.lines();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[2].contains(r#""complete":false"#) && lines[2].contains(r#""open":1"#),
        "{}",
        lines[2]
    );
}

#[test]
fn a_clock_set_back_takes_no_time_away() {
    let mut fixture = Fixture::new();
    fixture.max_time_s = Some(100);
    fixture.run(|_, peer| say(peer, &[&header_of(-5000), CHECKPOINT]));
    fixture.run(|request, peer| {
        assert_eq!(request.max_time_s, Some(100));
        say(peer, &[HEADER, &summary(true)]);
    });
}

#[test]
fn stopping_closes_its_input_and_keeps_the_part() {
    let fixture = Fixture::new();
    let stopper = fixture.stopper.clone();
    let news = fixture.run(move |_, peer| {
        say(peer, &[HEADER, &port(1)]);
        stopper.stop(false);
        let mut rest = Vec::new();
        assert_eq!(
            (&mut &*peer).read_to_end(&mut rest).unwrap(),
            0,
            "its input ends"
        );
        say(peer, &[&summary(false)]);
    });
    assert_eq!(*news.last().unwrap(), News::Ended(WorkerEnd::Stopped));
    assert_eq!(fixture.lines().len(), 3);
}

/// The reader of its lines waits for room that nobody makes, and is stopped.
#[test]
fn one_that_waits_for_room_in_the_spool_can_be_stopped() {
    let fixture = Fixture::with_budget(1 << 20);
    let (stopper, mut health) = (fixture.stopper.clone(), fixture.spool.health());
    let news = fixture.run(move |_, peer| {
        say(peer, &[HEADER]);
        std::thread::scope(|scope| {
            let stopped = scope.spawn(|| (&mut &*peer).read_to_end(&mut Vec::new()));
            scope.spawn(move || {
                let mut waits = std::pin::pin!(health.wait_for(|health| health.paused));
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                while waits.as_mut().poll(&mut context).is_pending() {
                    std::thread::yield_now();
                }
                stopper.stop(false);
            });
            let mut n = 0_u32;
            while !stopped.is_finished() {
                n += 1;
                say(
                    peer,
                    &[&port(1).replace("10.1.0.9", &std::net::Ipv4Addr::from(n).to_string())],
                );
            }
        });
        say(peer, &[&summary(false)]);
    });
    assert_eq!(*news.last().unwrap(), News::Ended(WorkerEnd::Stopped));
}

#[test]
fn pausing_keeps_no_summary() {
    let fixture = Fixture::new();
    fixture.stopper.stop(true);
    let news = fixture.run(|_, peer| say(peer, &[HEADER, &port(1), CHECKPOINT, &summary(false)]));
    assert_eq!(*news.last().unwrap(), News::Ended(WorkerEnd::Stopped));
    assert_eq!(fixture.lines(), [HEADER.to_owned(), port(1)]);
}

#[test]
fn a_part_that_nobody_asked_for_is_a_death() {
    let fixture = Fixture::new();
    let news = fixture.run(|_, peer| say(peer, &[HEADER, &summary(false)]));
    assert!(matches!(news.last(), Some(News::Ended(WorkerEnd::Died(_)))));
    assert_eq!(
        conclude(&fixture.spool.stream(fixture.key).unwrap()).unwrap(),
        2
    );
    assert_eq!(fixture.lines()[0], HEADER);
    assert_eq!(
        conclude(&fixture.spool.stream(fixture.key).unwrap()).unwrap(),
        2,
        "once"
    );
}

#[test]
fn a_refusal_and_a_failure_are_told_with_their_words() {
    let error = |refused| {
        format!(r#"{{"type":"error","message":"10.0.0.1 is never scanned","refused":{refused}}}"#)
    };
    let end = |line: String| {
        let fixture = Fixture::new();
        let news = fixture.run(move |_, peer| say(peer, &[&line]));
        assert_eq!(
            conclude(&fixture.spool.stream(fixture.key).unwrap()).unwrap(),
            0,
            "nothing was begun"
        );
        news.last().unwrap().clone()
    };
    let words = "10.0.0.1 is never scanned".to_owned();
    assert_eq!(
        end(error(true)),
        News::Ended(WorkerEnd::Refused(words.clone()))
    );
    assert_eq!(end(error(false)), News::Ended(WorkerEnd::Died(words)));
    assert!(matches!(
        end("nonsense".to_owned()),
        News::Ended(WorkerEnd::Died(_))
    ));
}

#[test]
fn nobody_on_the_socket_is_said_with_the_way_out() {
    let fixture = Fixture::new();
    let (sender, news) = mpsc::channel();
    let run_ = Run {
        socket: fixture.dir.path().join("none.sock"),
        request: ScanRequest::default(),
        stream: fixture.spool.stream(fixture.key).unwrap(),
        stopper: Stopper::default(),
    };
    run(run_, |n| sender.send(n).unwrap());
    let News::Ended(WorkerEnd::Died(why)) = news.recv().unwrap() else {
        panic!()
    };
    assert!(
        why.contains("none.sock") && why.contains("sonde appliance"),
        "{why}"
    );
}

#[test]
fn a_header_too_long_for_an_upload_goes_without_its_targets() {
    let fixture = Fixture::new();
    fixture.run(|_, peer| {
        let targets = vec!["\"10.100.100.100\""; 100_000].join(",");
        let header = HEADER.replace("\"seed\":7", &format!("\"seed\":7,\"targets\":[{targets}]"));
        say(peer, &[&header, &summary(true)]);
    });
    let lines = fixture.lines();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].len() < 2000 && lines[0].contains("\"seed\":7"));
}
