//! kill -9 of worker, agent and cloud at random moments, and connections cut at random bytes, during jobs:
//! every job ends, and every open port is in the cloud's database once.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::alone;
use crate::harness::wait_for;
use crate::platform::Platform;

/// Kills of each process.
const KILLS: usize = 20;
/// A job with all its kills; it takes a few seconds without.
const JOB_MAX: Duration = Duration::from_secs(120);

/// Connections cut, and the most jobs it may take.
const CUTS: u64 = 20;
const CUT_JOBS_MAX: usize = 12;
/// After two cut polls in a row the box asks only every 30 to 180 seconds, until an answer comes whole: a job may
/// wait for that, and it may happen to it twice.
const CUT_JOB_MAX: Duration = Duration::from_secs(500);

#[test]
fn kill_9_of_worker_agent_and_cloud() {
    alone("crash::kill_9_of_worker_agent_and_cloud", || {
        let mut random = Random::of_today();
        let mut platform = Platform::up(str::to_owned);
        let mut kills = [0; 3];
        // A job can end before its kill comes: there are more jobs than kills.
        for job in 0..3 * KILLS {
            if kills == [KILLS; 3] {
                break;
            }
            let id = platform.ask_for_scan();
            wait_for("the scan to run", JOB_MAX, || {
                platform
                    .state_of(&id)
                    .filter(|state| state != "queued" && state != "offered")
            });
            let mut victims = [0, 1, 2];
            victims.rotate_left(job % 3);
            for victim in victims {
                let moment = Instant::now() + Duration::from_millis(random.below(900));
                wait_for("a random moment", JOB_MAX, || {
                    (Instant::now() >= moment).then_some(())
                });
                let killed = kills[victim] < KILLS
                    && match victim {
                        0 => platform.kill_child("engine-worker"),
                        1 => platform.kill_child("agent"),
                        _ => {
                            platform.kill_cloud();
                            true
                        }
                    };
                kills[victim] += usize::from(killed);
            }
            assert_eq!(
                platform.wait_for_end(&id, JOB_MAX),
                "committed",
                "job {job}"
            );
            check(&platform, &id);
        }
        eprintln!("killed: worker, agent, cloud {kills:?}");
        assert_eq!(kills, [KILLS; 3]);
    });
}

#[test]
fn connections_cut_at_random_bytes() {
    alone("crash::connections_cut_at_random_bytes", || {
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&cuts);
        let platform = Platform::up(|cloud| cutting_proxy(cloud.to_owned(), counted));
        // Every job is cut a few times; there is no telling how often.
        for _ in 0..CUT_JOBS_MAX {
            let id = platform.ask_for_scan();
            let state = platform.wait_for_end(&id, CUT_JOB_MAX);
            assert_eq!(state, "committed");
            check(&platform, &id);
            if cuts.load(Ordering::Relaxed) >= CUTS {
                break;
            }
        }
        let cuts = cuts.load(Ordering::Relaxed);
        eprintln!("{cuts} connections cut");
        assert!(cuts >= CUTS, "only {cuts} connections were cut");
    });
}

/// Every open port of the lab once, and none other.
#[track_caller]
fn check(platform: &Platform, id: &str) {
    let found = platform.open_ports(id);
    let once: BTreeSet<_> = found.iter().cloned().collect();
    assert_eq!(once.len(), found.len(), "a port is there twice: {found:?}");
    assert_eq!(once, platform.truth());
}

/// Passes bytes on to `cloud`, and cuts every connection both ways after a random number of them.
fn cutting_proxy(cloud: String, cuts: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut random = Random::of_today();
        for inside in listener.incoming() {
            let (Ok(inside), Ok(outside)) = (inside, TcpStream::connect(&cloud)) else {
                continue;
            };
            // Most die in the TLS handshake or in their first request; every third lives for a few requests,
            // or nothing would ever pass.
            let life = if random.below(3) == 0 { 20_000 } else { 5_000 };
            let left = Arc::new(AtomicU64::new(random.below(life)));
            for (mut from, mut to) in [
                (inside.try_clone().unwrap(), outside.try_clone().unwrap()),
                (outside, inside),
            ] {
                let (left, cuts) = (Arc::clone(&left), Arc::clone(&cuts));
                std::thread::spawn(move || {
                    let mut bytes = [0; 1024];
                    while let Ok(read) = from.read(&mut bytes) {
                        let may = left.load(Ordering::Relaxed).min(read as u64);
                        left.fetch_sub(may, Ordering::Relaxed);
                        let cut = may < read as u64;
                        if to.write_all(&bytes[..may as usize]).is_err() || read == 0 || cut {
                            cuts.fetch_add(u64::from(cut), Ordering::Relaxed);
                            break;
                        }
                    }
                    let _ = from.shutdown(Shutdown::Both);
                    let _ = to.shutdown(Shutdown::Both);
                });
            }
        }
    });
    address
}

/// Random moments; the seed is printed, and `SONDE_SEED` repeats one.
struct Random(u64);

impl Random {
    fn of_today() -> Self {
        let given = std::env::var("SONDE_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
        let seed = given.unwrap_or(now) | 1;
        eprintln!("SONDE_SEED={seed} repeats these moments");
        Self(seed)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}
