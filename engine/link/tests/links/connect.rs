//! The `connect` link against real sockets on loopback and in namespaces.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, setrlimit};
use sonde_link::{ConnectLink, ConnectOptions, ConnectOutcome, ConnectResult, Unreachable};

use crate::namespace::{in_namespace, in_own_process, ip, silent_neighbour};

/// No test waits longer for an outcome; reached, it is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

fn link(options: ConnectOptions) -> ConnectLink {
    ConnectLink::open(options).expect("the kernel has io_uring wherever the tests run")
}

/// Asks all of `addrs` and returns the outcomes by token, the index of the address.
fn ask(link: &mut ConnectLink, addrs: &[SocketAddr]) -> HashMap<u64, ConnectOutcome> {
    let begun = Instant::now();
    let mut asked = 0;
    let mut batch = Vec::new();
    let mut outcomes = HashMap::new();
    while outcomes.len() < addrs.len() {
        while asked < addrs.len() && link.submit(asked as u64, addrs[asked]) {
            asked += 1;
        }
        link.poll(Duration::from_millis(100), &mut batch)
            .expect("the ring works");
        for outcome in batch.drain(..) {
            assert_eq!(outcome.addr, addrs[outcome.token as usize]);
            assert_eq!(
                outcomes.insert(outcome.token, outcome),
                None,
                "one outcome an attempt"
            );
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "{} of {} outcomes",
            outcomes.len(),
            addrs.len()
        );
    }
    assert_eq!(link.in_flight(), 0);
    outcomes
}

fn ask_one(link: &mut ConnectLink, addr: SocketAddr) -> ConnectOutcome {
    ask(link, &[addr]).remove(&0).expect("one was asked")
}

fn ask_udp(link: &mut ConnectLink, addr: SocketAddr, payload: &[u8]) -> ConnectOutcome {
    assert!(link.submit_udp(7, addr, payload));
    let begun = Instant::now();
    let mut out = Vec::new();
    while out.is_empty() {
        link.poll(Duration::from_millis(100), &mut out)
            .expect("the ring works");
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!((out.len(), out[0].token), (1, 7));
    out.remove(0)
}

#[test]
fn open_and_refused_on_loopback_in_both_families() {
    in_namespace(
        "connect::open_and_refused_on_loopback_in_both_families",
        || {
            let mut link = link(ConnectOptions::default());
            for host in ["127.0.0.1", "::1"] {
                let host: IpAddr = host.parse().unwrap();
                let listener = TcpListener::bind((host, 0)).unwrap();
                let open = listener.local_addr().unwrap();
                let outcome = ask_one(&mut link, open);
                assert_eq!(outcome.result, ConnectResult::Open);
                assert!(outcome.rtt > Duration::ZERO && outcome.rtt < PATIENCE);
                // It was reset, not closed in order: the service learns at once.
                let (mut served, _) = listener.accept().unwrap();
                let read = std::io::Read::read(&mut served, &mut [0]);
                assert_eq!(
                    read.unwrap_err().kind(),
                    std::io::ErrorKind::ConnectionReset
                );
                drop((served, listener));
                assert_eq!(ask_one(&mut link, open).result, ConnectResult::Refused);
            }
        },
    );
}

/// The kernel picks source ports among these; when it picks the one asked for, the socket meets itself.
#[test]
fn every_port_of_loopback_is_told_right() {
    in_namespace("connect::every_port_of_loopback_is_told_right", || {
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let listeners: Vec<_> = (0..64)
            .map(|_| TcpListener::bind((host, 0)).unwrap())
            .collect();
        let mut open: Vec<u16> = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap().port())
            .collect();
        open.sort_unstable();
        let addrs: Vec<SocketAddr> = (1..=u16::MAX).map(|port| (host, port).into()).collect();
        let mut link = link(ConnectOptions::default());
        let outcomes = ask(&mut link, &addrs);
        let mut found: Vec<u16> = Vec::new();
        for outcome in outcomes.values() {
            match outcome.result {
                ConnectResult::Open => found.push(outcome.addr.port()),
                ConnectResult::Refused => {}
                other => panic!("{}: {other:?}", outcome.addr),
            }
        }
        found.sort_unstable();
        assert_eq!(found, open);
    });
}

#[test]
fn silence_times_out_and_a_missing_route_is_unreachable() {
    in_namespace(
        "connect::silence_times_out_and_a_missing_route_is_unreachable",
        || {
            let timeout = Duration::from_millis(60);
            let mut link = link(ConnectOptions {
                timeout,
                ..ConnectOptions::default()
            });
            let nowhere: SocketAddr = "192.0.2.1:80".parse().unwrap();
            let outcome = ask_one(&mut link, nowhere);
            assert_eq!(
                outcome.result,
                ConnectResult::Unreachable(Unreachable::Network)
            );

            silent_neighbour();
            let begun = Instant::now();
            let outcome = ask_one(&mut link, nowhere);
            assert_eq!(outcome.result, ConnectResult::TimedOut);
            assert!(outcome.rtt >= timeout && begun.elapsed() < PATIENCE);
            assert_eq!(
                ask_udp(&mut link, nowhere, b"?").result,
                ConnectResult::TimedOut
            );

            ip("route add unreachable 198.51.100.0/24");
            let outcome = ask_one(&mut link, "198.51.100.1:80".parse().unwrap());
            assert_eq!(
                outcome.result,
                ConnectResult::Unreachable(Unreachable::Host)
            );
            // Our own side's refusal is no answer of the peer.
            ip("route add prohibit 203.0.113.0/24");
            let outcome = ask_one(&mut link, "203.0.113.1:80".parse().unwrap());
            assert_eq!(
                outcome.result,
                ConnectResult::Failed(nix::Error::EACCES as i32)
            );
        },
    );
}

#[test]
fn an_attempt_more_than_fit_is_not_taken_and_none_is_lost() {
    in_namespace(
        "connect::an_attempt_more_than_fit_is_not_taken_and_none_is_lost",
        || {
            silent_neighbour();
            let timeout = Duration::from_millis(60);
            let mut link = link(ConnectOptions {
                in_flight_max: 100,
                timeout,
                source: None,
            });
            assert_eq!(link.capacity(), 100);
            let silent: SocketAddr = "192.0.2.1:80".parse().unwrap();
            let taken = (0..200).filter(|&token| link.submit(token, silent)).count();
            assert_eq!((taken, link.in_flight()), (100, 100));
            let mut addrs = vec![silent; 100];
            addrs.push("127.0.0.1:9".parse().unwrap());
            let mut out = Vec::new();
            let begun = Instant::now();
            while out.len() < 100 {
                link.poll(Duration::from_millis(100), &mut out).unwrap();
                assert!(begun.elapsed() < PATIENCE);
            }
            assert!(
                out.iter()
                    .all(|outcome| outcome.result == ConnectResult::TimedOut)
            );
            // And again, with the slots that were used before.
            assert_eq!(ask(&mut link, &addrs)[&100].result, ConnectResult::Refused);
        },
    );
}

#[test]
fn udp_answers_and_refusals() {
    in_namespace("connect::udp_answers_and_refusals", || {
        let mut link = link(ConnectOptions::default());
        for host in ["127.0.0.1", "::1"] {
            let host: IpAddr = host.parse().unwrap();
            let service = UdpSocket::bind((host, 0)).unwrap();
            let addr = service.local_addr().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut question = [0; 16];
                    let (length, peer) = service.recv_from(&mut question).unwrap();
                    assert_eq!(&question[..length], b"who");
                    service.send_to(b"me", peer).unwrap();
                });
                let outcome = ask_udp(&mut link, addr, b"who");
                assert_eq!(
                    (outcome.result, &outcome.reply[..]),
                    (ConnectResult::Open, &b"me"[..])
                );
            });
            drop(service);
            assert_eq!(
                ask_udp(&mut link, addr, b"who").result,
                ConnectResult::Refused
            );
        }
    });
}

#[test]
fn the_source_address_is_used_and_a_foreign_one_is_refused() {
    in_namespace(
        "connect::the_source_address_is_used_and_a_foreign_one_is_refused",
        || {
            let source: IpAddr = "127.0.0.9".parse().unwrap();
            let mut link = link(ConnectOptions {
                source: Some(source),
                ..ConnectOptions::default()
            });
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let outcome = ask_one(&mut link, listener.local_addr().unwrap());
            assert_eq!(outcome.result, ConnectResult::Open);
            assert_eq!(listener.accept().unwrap().1.ip(), source);
            // The other family can't be asked from there; nothing is said about the peer.
            let outcome = ask_one(&mut link, "[::1]:80".parse().unwrap());
            assert_eq!(
                outcome.result,
                ConnectResult::Failed(nix::Error::EAFNOSUPPORT as i32)
            );
            let foreign = ConnectOptions {
                source: "192.0.2.77".parse().ok(),
                ..Default::default()
            };
            let message = ConnectLink::open(foreign)
                .err()
                .expect("not ours")
                .to_string();
            assert!(message.contains("192.0.2.77"), "{message}");
        },
    );
}

/// One port to ask from, and it is taken: a shortage of ours, never "closed" and never "open".
#[test]
fn a_lack_of_local_ports_is_ours() {
    in_namespace("connect::a_lack_of_local_ports_is_ours", || {
        let listener = TcpListener::bind("127.0.0.1:9").unwrap();
        let addr = listener.local_addr().unwrap();
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40000").unwrap();
        let taken = std::net::TcpStream::connect(addr).unwrap();
        assert_eq!(taken.local_addr().unwrap().port(), 40000);
        let mut link = link(ConnectOptions::default());
        let short = ConnectResult::Failed(nix::Error::EADDRNOTAVAIL as i32);
        assert_eq!(ask_one(&mut link, addr).result, short);
        // A port that nobody has is asked from the same one: it is free towards other peers.
        let outcome = ask_one(&mut link, "127.0.0.1:10".parse().unwrap());
        assert_eq!(outcome.result, ConnectResult::Refused);
        // The only port there is to ask from is the one asked: the socket would meet itself.
        let outcome = ask_one(&mut link, "127.0.0.1:40000".parse().unwrap());
        assert!(
            matches!(outcome.result, ConnectResult::Failed(_)),
            "{outcome:?}"
        );
    });
}

/// More attempts than files: they wait for each other, and each is told right.
#[test]
fn a_lack_of_files_slows_down_and_loses_nothing() {
    in_own_process(
        "connect::a_lack_of_files_slows_down_and_loses_nothing",
        || {
            setrlimit(Resource::RLIMIT_NOFILE, 100, 200).unwrap();
            let mut link = link(ConnectOptions {
                in_flight_max: 5000,
                ..Default::default()
            });
            assert!(
                (100..200).contains(&link.capacity()),
                "raised as far as allowed, and bounded by it"
            );
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let open = listener.local_addr().unwrap();
            // Take the files that the link counts on.
            let mut taken: Vec<_> = std::iter::from_fn(|| listener.try_clone().ok()).collect();
            let outcome = ask_one(&mut link, open);
            assert_eq!(
                outcome.result,
                ConnectResult::Failed(nix::Error::EMFILE as i32)
            );
            taken.truncate(taken.len() - 3);
            let outcomes = ask(&mut link, &[open; 50]);
            assert!(
                outcomes
                    .values()
                    .all(|outcome| outcome.result == ConnectResult::Open)
            );
        },
    );
}
