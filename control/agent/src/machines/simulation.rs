//! Job and upload against a model of cloud, worker and disk that lose, repeat and die at random:
//! every job ends, and every record is in the cloud once.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use sonde_core::time::Instant;
use sonde_protocol::device::{JobState, OnLostContact, Outcome};

use super::job::{Action, Job, Spooled, WorkerEnd};
use super::lease::News;
use super::upload;
use crate::ledger::Ending;

/// What a worker finds, one number each; after every third it is at a checkpoint.
const FINDINGS: u64 = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Header,
    Finding(u64),
    Checkpoint(u64),
    Summary,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing goes wrong for a step.
    None,
    LoseRequest,
    LoseReply,
    Repeat,
    KillWorker,
    KillAgent,
    SwitchOff,
    LoseContact,
    RegainContact,
    Cancel,
}

#[derive(Default)]
struct Cloud {
    records: BTreeMap<u64, Line>,
    committed: Option<(u64, Outcome)>,
    commits: u32,
    /// Number of a record it does not take, ever.
    refused: Option<u64>,
}

impl Cloud {
    fn next(&self) -> u64 {
        self.records.len() as u64
    }

    /// Results as the protocol has it: stored once by number, never with a gap. `None`: refused as malformed.
    fn store(&mut self, first: u64, lines: &[Line]) -> Option<u64> {
        let numbers = first..first + lines.len() as u64;
        if self.refused.is_some_and(|bad| numbers.contains(&bad)) {
            return None;
        }
        if first <= self.next() {
            for (number, line) in (first..).zip(lines) {
                let old = self.records.insert(number, *line);
                assert!(
                    old.is_none_or(|old| old == *line),
                    "record {number} changed"
                );
            }
        }
        Some(self.next())
    }

    fn commit(&mut self, count: u64, outcome: Outcome) -> bool {
        if self.next() == count {
            assert!(self.committed.is_none_or(|c| c == (count, outcome)));
            self.committed = Some((count, outcome));
            self.commits += 1;
        }
        self.next() == count
    }
}

struct World {
    now: Instant,
    job: Job,
    seed: u64,
    ledger: (JobState, Option<Ending>),
    /// The spool: what is durable, and how much of it.
    lines: Vec<Line>,
    durable: usize,
    /// Where the running worker is in its findings.
    worker: Option<VecDeque<Line>>,
    pausing: bool,
    cloud: Cloud,
    on_lost: OnLostContact,
}

impl World {
    fn new(on_lost: OnLostContact, seed: u64) -> Self {
        Self {
            now: Instant::ZERO,
            job: Job::offered(on_lost, Instant::ZERO, seed),
            seed,
            ledger: (JobState::Offered, None),
            lines: Vec::new(),
            durable: 0,
            worker: None,
            pausing: false,
            cloud: Cloud::default(),
            on_lost,
        }
    }

    fn records(&self) -> Vec<Line> {
        let durable = &self.lines[..self.durable];
        durable
            .iter()
            .copied()
            .filter(|l| !matches!(l, Line::Checkpoint(_)))
            .collect()
    }

    fn step(&mut self, fault: Fault) {
        self.now += Duration::from_millis(300);
        match fault {
            Fault::KillWorker => self.end_worker(WorkerEnd::Died("killed".to_owned())),
            Fault::KillAgent => self.restart(),
            Fault::SwitchOff => self.switch_off(),
            Fault::LoseContact => self.job.handle_lease(self.now, News::Lost),
            Fault::RegainContact => self.job.handle_lease(self.now, News::Regained),
            Fault::Cancel => self.job.handle_lease(self.now, News::Cancel),
            _ => {}
        }
        self.work();
        // A handful of actions a step, so that faults fall between them.
        for _ in 0..3 {
            if let Some(action) = self.job.poll_action(self.now) {
                self.act(&action, fault);
            }
        }
    }

    /// The worker says a line; every second one, the disk syncs.
    fn work(&mut self) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        let Some(line) = worker.pop_front() else {
            return;
        };
        let known = self.lines.contains(&line) && !matches!(line, Line::Checkpoint(_));
        if line == Line::Summary {
            self.lines.push(line);
            self.durable = self.lines.len();
            self.end_worker(WorkerEnd::Finished);
        } else {
            if !known {
                self.lines.push(line);
            }
            if (self.now.as_nanos() / 300_000_000).is_multiple_of(2) {
                self.durable = self.lines.len();
                if matches!(line, Line::Checkpoint(_)) {
                    self.job.handle_checkpoint();
                }
                let records = self.records().len() as u64;
                self.job.upload().handle_durable(records);
            }
        }
    }

    fn end_worker(&mut self, end: WorkerEnd) {
        if self.worker.take().is_some() {
            self.durable = self.lines.len();
            self.job.handle_worker_ended(self.now, end);
        }
    }

    fn act(&mut self, action: &Action, fault: Fault) {
        match action {
            Action::Persist => self.ledger = (self.job.state(), self.job.ending().cloned()),
            Action::Accept => match fault {
                Fault::LoseRequest | Fault::LoseReply => self.job.handle_accept_failed(self.now),
                _ => self.job.handle_accepted(self.now, false),
            },
            Action::Start => {
                let from = self.lines.iter().rev().find_map(|line| match line {
                    Line::Checkpoint(n) => Some(*n),
                    _ => None,
                });
                let mut lines = VecDeque::from([Line::Header]);
                for n in from.unwrap_or(0)..FINDINGS {
                    lines.push_back(Line::Finding(n));
                    if n % 3 == 2 {
                        lines.push_back(Line::Checkpoint(n + 1));
                    }
                }
                lines.push_back(Line::Summary);
                self.worker = Some(lines);
                self.job.handle_worker_started();
            }
            Action::Stop { pausing } => {
                self.pausing = *pausing;
                if !pausing {
                    self.lines.push(Line::Summary);
                }
                self.end_worker(WorkerEnd::Stopped);
            }
            Action::Conclude => {
                if self.lines.contains(&Line::Header) && !self.lines.contains(&Line::Summary) {
                    self.lines.push(Line::Summary);
                }
                self.durable = self.lines.len();
                let count = self.records().len() as u64;
                self.job.handle_concluded(self.now, count);
            }
            Action::Upload(action) => self.upload(*action, fault),
            Action::Forget => {
                assert!(
                    self.cloud.committed.is_some(),
                    "forgotten before the cloud has it"
                );
            }
        }
    }

    fn upload(&mut self, action: upload::Action, fault: Fault) {
        let times = match fault {
            Fault::LoseRequest => 0,
            Fault::Repeat => 2,
            _ => 1,
        };
        let answered = !matches!(fault, Fault::LoseRequest | Fault::LoseReply);
        match action {
            upload::Action::Send { first, most } => {
                let records = self.records();
                let from = usize::try_from(first).unwrap();
                let most = usize::try_from(most).unwrap_or(4).min(4);
                let batch = &records[from..records.len().min(from + most)];
                let stored: Vec<_> = (0..times).map(|_| self.cloud.store(first, batch)).collect();
                let upload = self.job.upload();
                upload.handle_durable(records.len() as u64);
                match stored.last() {
                    Some(Some(next)) if answered => upload.handle_next(self.now, *next),
                    Some(None) if answered => {
                        upload.handle_malformed(self.now, batch.len() as u64, "no such thing");
                    }
                    _ => upload.handle_failed(self.now),
                }
            }
            upload::Action::Commit { count } => {
                let outcome = self.job.ending().unwrap().outcome;
                for _ in 0..times {
                    assert!(self.cloud.commit(count, outcome));
                }
                if answered {
                    self.job.upload().handle_committed();
                } else {
                    self.job.upload().handle_failed(self.now);
                }
            }
        }
        self.job.handle_uploaded();
    }

    /// The agent is asked to end, and started again.
    fn switch_off(&mut self) {
        self.job.suspend();
        while let Some(action) = self.job.poll_action(self.now) {
            assert!(matches!(action, Action::Persist | Action::Stop { .. }));
            self.act(&action, Fault::None);
        }
        assert!(self.job.is_quiet() || self.job.is_over());
        let lines = self.lines.len();
        self.restart();
        assert!(
            self.lines.len() == lines || self.job.is_over(),
            "all it found is kept"
        );
    }

    /// The agent dies: what was not durable is gone, and so is the worker.
    fn restart(&mut self) {
        if self.job.is_over() {
            return;
        }
        self.worker = None;
        self.lines.truncate(self.durable);
        let summary = self.lines.contains(&Line::Summary);
        self.seed = self.seed.wrapping_add(1);
        let (state, ending) = self.ledger.clone();
        let spooled = Spooled { summary };
        self.job = Job::restored(state, ending, self.on_lost, spooled, self.now, self.seed);
        let records = self.records().len() as u64;
        self.job.upload().handle_durable(records);
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        12 => Just(Fault::None),
        3 => Just(Fault::LoseRequest),
        3 => Just(Fault::LoseReply),
        3 => Just(Fault::Repeat),
        2 => Just(Fault::KillWorker),
        2 => Just(Fault::KillAgent),
        2 => Just(Fault::SwitchOff),
        1 => Just(Fault::LoseContact),
        1 => Just(Fault::RegainContact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_job_ends_and_every_record_is_stored_once(
        faults in prop::collection::vec(fault(), 0..150),
        cancel_at in prop::option::weighted(0.2, 0usize..100),
        on_lost in prop::sample::select(vec![
            OnLostContact::Continue, OnLostContact::Pause, OnLostContact::Stop]),
        refused in prop::option::weighted(0.3, 0..FINDINGS + 2),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(on_lost, seed);
        world.cloud.refused = refused;
        for (step, fault) in faults.into_iter().enumerate() {
            world.step(if cancel_at == Some(step) { Fault::Cancel } else { fault });
        }
        world.step(Fault::RegainContact);
        let mut steps = 0;
        while !world.job.is_over() {
            world.step(Fault::None);
            steps += 1;
            prop_assert!(steps < 5000, "stuck in {:?}", world.job.state());
        }
        let (count, outcome) = world.cloud.committed.unwrap();
        let stored: Vec<Line> = world.cloud.records.values().copied().collect();
        prop_assert_eq!(count, stored.len() as u64);
        for n in 0..FINDINGS {
            let times = stored.iter().filter(|line| **line == Line::Finding(n)).count();
            prop_assert!(times <= 1, "finding {} stored {} times", n, times);
            prop_assert!(times == 1 || outcome != Outcome::Finished, "finding {} lost", n);
        }
        let records = world.records();
        if let Some(bad) = refused.filter(|bad| *bad < records.len() as u64) {
            prop_assert_eq!(outcome, Outcome::Failed);
            let why = world.ledger.1.and_then(|ending| ending.error).unwrap_or_default();
            prop_assert!(why.contains(&format!("result {bad} ")), "{}", why);
            prop_assert_eq!(stored, &records[..usize::try_from(bad).unwrap()], "all before it");
        } else if !stored.is_empty() {
            prop_assert_eq!(stored[0], Line::Header);
            prop_assert_eq!(stored.last(), Some(&Line::Summary));
            prop_assert_eq!(stored.iter().filter(|line| **line == Line::Summary).count(), 1);
        }
    }
}
