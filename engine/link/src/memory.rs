//! Two links joined by a cable in memory: what one sends, the other receives. For tests.
//!
//! The cable holds a bounded number of frames each way, so a full queue can be had at will.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::batch::{FrameBatch, RxBatch, RxMeta};
use crate::tag::{ETHERNET_HEADER, without_tag};
use crate::{FrameLink, LinkCounters};

/// One end of the cable.
#[derive(Debug)]
pub struct MemoryLink {
    incoming: Arc<Lane>,
    outgoing: Arc<Lane>,
    frames_max: usize,
    counters: LinkCounters,
    scratch: Box<[u8; RxBatch::SNAP]>,
}

/// Two ends of a cable that holds up to `frames_max` frames each way.
pub fn memory_pair(frames_max: usize) -> (MemoryLink, MemoryLink) {
    let (there, back) = (Arc::new(Lane::default()), Arc::new(Lane::default()));
    let end = |incoming: &Arc<Lane>, outgoing: &Arc<Lane>| MemoryLink {
        incoming: Arc::clone(incoming),
        outgoing: Arc::clone(outgoing),
        frames_max,
        counters: LinkCounters::default(),
        scratch: Box::new([0; RxBatch::SNAP]),
    };
    (end(&back, &there), end(&there, &back))
}

/// One way of the cable.
#[derive(Debug, Default)]
struct Lane {
    state: Mutex<LaneState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct LaneState {
    frames: VecDeque<Vec<u8>>,
    /// One of the ends is gone.
    cut: bool,
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, LaneState> {
        // Nothing in here panics halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FrameLink for MemoryLink {
    fn transmit(&mut self, batch: &FrameBatch, from: usize) -> io::Result<usize> {
        let mut lane = self.outgoing.lock();
        if lane.cut {
            return Err(io::ErrorKind::NotConnected.into());
        }
        let mut next = from;
        while next < batch.len() {
            let frame = batch.frame(next);
            if frame.len() < ETHERNET_HEADER {
                self.counters.tx_refused += 1;
            } else if lane.frames.len() < self.frames_max {
                lane.frames.push_back(frame.to_vec());
                self.counters.tx_frames += 1;
            } else {
                break;
            }
            next += 1;
        }
        self.outgoing.changed.notify_all();
        Ok(next.saturating_sub(from))
    }

    fn receive(&mut self, batch: &mut RxBatch, wait: Duration) -> io::Result<()> {
        batch.clear();
        let mut lane = self.incoming.lock();
        if !wait.is_zero() {
            let (woken, _) = self
                .incoming
                .changed
                .wait_timeout_while(lane, wait, |lane| lane.frames.is_empty() && !lane.cut)
                .unwrap_or_else(PoisonError::into_inner);
            lane = woken;
        }
        if lane.frames.is_empty() && lane.cut {
            return Err(io::ErrorKind::NotConnected.into());
        }
        while !batch.is_full()
            && let Some(frame) = lane.frames.pop_front()
        {
            match without_tag(&frame, None, &mut self.scratch[..]) {
                Some((bytes, vlan, grown)) => {
                    let wire_length = (frame.len() as u32).saturating_add_signed(grown);
                    batch.push(bytes, RxMeta::new(vlan, wire_length));
                    self.counters.rx_frames += 1;
                }
                None => self.counters.rx_malformed += 1,
            }
        }
        Ok(())
    }

    fn counters(&mut self) -> LinkCounters {
        self.counters
    }
}

/// The other end can still read what was sent; then it learns that the cable is cut.
impl Drop for MemoryLink {
    fn drop(&mut self) {
        for lane in [&self.incoming, &self.outgoing] {
            lane.lock().cut = true;
            lane.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(batch: &mut FrameBatch, mark: u8) {
        assert!(batch.push_with(|slot| {
            slot[..60].fill(mark);
            60
        }));
    }

    #[test]
    fn a_cut_cable_is_told_after_what_was_sent() {
        let (mut near, mut far) = memory_pair(4);
        let mut out = FrameBatch::new(1);
        frame(&mut out, 1);
        assert_eq!(near.transmit(&out, 0).unwrap(), 1);
        drop(near);
        let mut got = RxBatch::new(4);
        far.receive(&mut got, Duration::ZERO).unwrap();
        assert_eq!(got.len(), 1);
        let told = far.receive(&mut got, Duration::from_secs(60)).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::NotConnected);
        assert_eq!(
            far.transmit(&out, 0).unwrap_err().kind(),
            io::ErrorKind::NotConnected
        );
    }

    #[test]
    fn a_waiting_end_is_woken() {
        let (mut near, mut far) = memory_pair(4);
        std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut got = RxBatch::new(4);
                far.receive(&mut got, Duration::from_secs(60)).unwrap();
                got.len()
            });
            let mut out = FrameBatch::new(1);
            frame(&mut out, 2);
            assert_eq!(near.transmit(&out, 0).unwrap(), 1);
            assert_eq!(reader.join().unwrap(), 1);
        });
    }
}
