//! A simulated network at the far end of a veth pair.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use sonde_lab::world::{World, answer};
use sonde_link::packet::{PacketLink, PacketOptions};
use sonde_link::{FrameBatch, FrameLink as _, RxBatch};

use crate::harness::ip;

/// A world at the far end of `trunk0`, answering until it is dropped.
pub(crate) struct Peer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Makes `trunk0` and answers at its other end, `world0`.
    pub(crate) fn start(world: impl World + Send + 'static) -> Self {
        ip("link add trunk0 type veth peer name world0");
        for end in ["trunk0", "world0"] {
            fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1").unwrap();
            ip(&format!("link set {end} up"));
        }
        let options = PacketOptions {
            promiscuous: true,
            ring_frames: 65_536,
            ..Default::default()
        };
        let mut link = PacketLink::open("world0", options).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut questions, mut answers) = (RxBatch::new(256), FrameBatch::new(256));
            while !stopped.load(Ordering::Relaxed) {
                link.receive(&mut questions, Duration::from_millis(20))
                    .unwrap();
                answers.clear();
                for question in questions.iter() {
                    let mut frame = [0; FrameBatch::SLOT];
                    let length = answer(&world, question.meta.vlan, question.bytes, &mut frame);
                    if length > 0 {
                        answers.push_with(|slot| {
                            slot[..length].copy_from_slice(&frame[..length]);
                            length
                        });
                    }
                }
                let mut sent = 0;
                while sent < answers.len() {
                    sent += link.transmit(&answers, sent).unwrap();
                }
            }
            assert_eq!(link.counters().rx_dropped, 0, "the world missed questions");
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            assert!(std::thread::panicking(), "the world failed");
        }
    }
}

/// Frames that left `trunk0` and never reached `world0`: a busy machine's kernel drops them when nobody fetches
/// them in time, and a capture without them proves nothing.
pub(crate) fn lost_on_the_way() -> u64 {
    let text = fs::read_to_string("/proc/net/dev").unwrap();
    let counters = text
        .lines()
        .find_map(|line| line.trim().strip_prefix("trunk0:"))
        .unwrap();
    // netdev(5): eight counters of what was received, then those of what was sent; the fourth is drops.
    counters
        .split_whitespace()
        .nth(11)
        .unwrap()
        .parse()
        .unwrap()
}
