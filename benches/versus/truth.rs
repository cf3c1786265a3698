//! What a tool said, held against all that is there.

use std::net::IpAddr;

/// One port of one address. VLAN 0 is the untagged LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    pub(crate) vlan: u16,
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
}

/// What really answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Closed,
    Silent,
}

/// A plan's whole truth, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    /// Every endpoint of the plan.
    pub(crate) all: u64,
    /// Those that are open.
    pub(crate) open: u64,
    /// Those that answer in any way.
    pub(crate) answering: u64,
}

impl Truth {
    /// Looks at every endpoint of the plan.
    pub(crate) fn of(
        plan: impl Iterator<Item = Endpoint>,
        state: impl Fn(&Endpoint) -> State,
    ) -> Self {
        plan.fold(Self::default(), |truth, at| {
            let state = state(&at);
            Self {
                all: truth.all + 1,
                open: truth.open + u64::from(state == State::Open),
                answering: truth.answering + u64::from(state != State::Silent),
            }
        })
    }

    /// Frames that `passes` over what has not answered take on average, when each direction loses the
    /// share `loss` of all frames.
    pub(crate) fn frames_due(&self, passes: u32, loss: f64) -> f64 {
        let unanswered = 1.0 - (1.0 - loss) * (1.0 - loss);
        let silent = (self.all - self.answering) as f64 * f64::from(passes);
        let mut share = 1.0;
        let mut answering = 0.0;
        for _ in 0..passes {
            answering += share * self.answering as f64;
            share *= unanswered;
        }
        silent + answering
    }
}

/// What a tool reported, judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Open endpoints reported, each once.
    pub(crate) found: u64,
    /// Reported endpoints that are not open, or not in the plan.
    pub(crate) wrong: u64,
    /// Reported more than once.
    pub(crate) repeated: u64,
}

impl Verdict {
    /// Judges all reports of a tool.
    pub(crate) fn of(
        mut reports: Vec<Endpoint>,
        in_plan: impl Fn(&Endpoint) -> bool,
        state: impl Fn(&Endpoint) -> State,
    ) -> Self {
        let all = reports.len();
        reports.sort_unstable();
        reports.dedup();
        let right = |at: &&Endpoint| in_plan(at) && state(at) == State::Open;
        let found = reports.iter().filter(right).count();
        Self {
            found: found as u64,
            wrong: (reports.len() - found) as u64,
            repeated: (all - reports.len()) as u64,
        }
    }

    /// Found of all that are open; 1 where there is nothing to find.
    pub(crate) fn share(&self, truth: &Truth) -> f64 {
        if truth.open == 0 {
            1.0
        } else {
            self.found as f64 / truth.open as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8, port: u16) -> Endpoint {
        Endpoint {
            vlan: 0,
            ip: IpAddr::from([10, 0, 0, last]),
            port,
        }
    }

    /// Even hosts have port 80 open and the others closed; odd ones are silent.
    fn state(at: &Endpoint) -> State {
        let IpAddr::V4(ip) = at.ip else {
            return State::Silent;
        };
        match (ip.octets()[3] % 2, at.port) {
            (1, _) => State::Silent,
            (_, 80) => State::Open,
            _ => State::Closed,
        }
    }

    #[test]
    fn everything_is_counted() {
        let plan = (0..10).flat_map(|last| [at(last, 80), at(last, 81)]);
        let truth = Truth::of(plan, state);
        let expected = Truth {
            all: 20,
            open: 5,
            answering: 10,
        };
        assert_eq!(truth, expected);
    }

    #[test]
    fn reports_are_found_wrong_or_repeated() {
        let reports = vec![at(2, 80), at(2, 80), at(3, 80), at(4, 81), at(200, 80)];
        let in_plan = |at: &Endpoint| at.ip < IpAddr::from([10, 0, 0, 10]);
        let verdict = Verdict::of(reports, in_plan, state);
        let expected = Verdict {
            found: 1,
            wrong: 3,
            repeated: 1,
        };
        assert_eq!(verdict, expected);
        let truth = Truth {
            open: 4,
            ..Truth::default()
        };
        assert_eq!(verdict.share(&truth), 0.25);
        assert_eq!(verdict.share(&Truth::default()), 1.0);
    }

    #[test]
    fn the_frames_that_loss_makes_due() {
        let truth = Truth {
            all: 300,
            open: 0,
            answering: 200,
        };
        assert_eq!(truth.frames_due(3, 0.0), 500.0);
        // Half of the round trips fail: 200 + 100 + 50 for those that answer.
        let loss = 1.0 - 0.5_f64.sqrt();
        assert!((truth.frames_due(3, loss) - 650.0).abs() < 1e-6);
    }
}
