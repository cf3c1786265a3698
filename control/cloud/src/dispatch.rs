//! The life of a job, as pure functions.
//!
//! ```text
//!   queued -> offered -> accepted -> running <-> paused -> draining -> committed
//!     ^                     |           |           |          |
//!     '---------------------'-----------'-----------'----------'  lease and grace ran out
//! ```
//!
//! A job that came back to the queue keeps its attempt until the next one is offered: a box that was only out
//! of reach takes up its own attempt again, and nothing is scanned twice. Once another attempt is offered, the
//! older one is superseded: its records are still stored, its word on the job's state is refused.

use sonde_protocol::device::{JobState, Outcome};

/// True if a job may go from `from` to `to`.
pub const fn may_follow(from: JobState, to: JobState) -> bool {
    use JobState::{
        Accepted, Cancelled, Committed, Draining, Expired, Failed, Offered, Paused, Queued,
        Running, Superseded,
    };
    match (from, to) {
        // Ends are ends; only an attempt is superseded, never a job.
        (Committed | Cancelled | Failed | Expired | Superseded, _) | (_, Superseded) => false,
        // A person may stop a job anywhere; a box or the cloud may fail it anywhere.
        (_, Cancelled | Failed) => true,
        (Queued | Offered, Expired) => true,
        (Queued, Offered) => true,
        // A box that was out of reach takes its attempt up again where it is.
        (Queued, Accepted | Running | Paused | Draining | Committed) => true,
        // A box that never heard our answer to its accept may be further already.
        (Offered, Accepted | Running | Paused | Draining | Committed) => true,
        (Accepted, Running | Paused | Draining | Committed) => true,
        (Running, Paused | Draining | Committed) => true,
        (Paused, Running | Draining | Committed) => true,
        (Draining, Committed) => true,
        // Lease and grace ran out.
        (Accepted | Running | Paused | Draining, Queued) => true,
        _ => false,
    }
}

/// The state of a job after its box, which holds the lease, reported `reported`: a report that can not follow
/// changes nothing, because a renewal must not fail over it.
pub const fn after_report(current: JobState, reported: JobState) -> JobState {
    let is_step = matches!(
        reported,
        JobState::Accepted | JobState::Running | JobState::Paused | JobState::Draining
    );
    if is_step && may_follow(current, reported) {
        reported
    } else {
        current
    }
}

/// The end of a job whose current attempt was committed.
pub const fn after_commit(outcome: Outcome) -> JobState {
    match outcome {
        Outcome::Finished => JobState::Committed,
        Outcome::Cancelled => JobState::Cancelled,
        Outcome::Failed => JobState::Failed,
    }
}

/// Where a job goes whose lease and grace ran out in `attempt`.
pub const fn after_lapse(cancel_asked: bool, attempt: u32, attempts_max: u32) -> JobState {
    if cancel_asked {
        JobState::Cancelled
    } else if attempt >= attempts_max {
        JobState::Failed
    } else {
        JobState::Queued
    }
}

/// The word for a state in database and JSON.
pub const fn state_word(state: JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Offered => "offered",
        JobState::Accepted => "accepted",
        JobState::Running => "running",
        JobState::Paused => "paused",
        JobState::Draining => "draining",
        JobState::Committed => "committed",
        JobState::Cancelled => "cancelled",
        JobState::Failed => "failed",
        JobState::Expired => "expired",
        JobState::Superseded => "superseded",
    }
}

/// Every state, steps first.
pub const STATES: [JobState; 11] = [
    JobState::Queued,
    JobState::Offered,
    JobState::Accepted,
    JobState::Running,
    JobState::Paused,
    JobState::Draining,
    JobState::Committed,
    JobState::Cancelled,
    JobState::Failed,
    JobState::Expired,
    JobState::Superseded,
];

/// Reads what [`state_word`] writes.
pub fn state_from_word(word: &str) -> Option<JobState> {
    STATES.into_iter().find(|state| state_word(*state) == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Row: from; column: to; in the order of [`STATES`].
    const TABLE: [&str; 11] = [
        //      q o a r p d c x f e s
        /* q */ ". 1 1 1 1 1 1 1 1 1 .",
        /* o */ ". . 1 1 1 1 1 1 1 1 .",
        /* a */ "1 . . 1 1 1 1 1 1 . .",
        /* r */ "1 . . . 1 1 1 1 1 . .",
        /* p */ "1 . . 1 . 1 1 1 1 . .",
        /* d */ "1 . . . . . 1 1 1 . .",
        /* c */ ". . . . . . . . . . .",
        /* x */ ". . . . . . . . . . .",
        /* f */ ". . . . . . . . . . .",
        /* e */ ". . . . . . . . . . .",
        /* s */ ". . . . . . . . . . .",
    ];

    #[test]
    fn transitions_are_those_of_the_table() {
        for (from, row) in STATES.into_iter().zip(TABLE) {
            for (to, cell) in STATES.into_iter().zip(row.split(' ')) {
                assert_eq!(may_follow(from, to), cell == "1", "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn nothing_leaves_an_end() {
        for from in STATES.into_iter().filter(|s| s.is_end()) {
            for to in STATES {
                assert!(!may_follow(from, to), "{from:?} -> {to:?}");
                assert_eq!(after_report(from, to), from);
            }
        }
    }

    #[test]
    fn a_report_never_ends_or_requeues_a_job() {
        for from in STATES {
            for reported in STATES {
                let state = after_report(from, reported);
                assert!(
                    state == from || (state == reported && !state.is_end()),
                    "{from:?} {reported:?}"
                );
                assert!(state == from || state != JobState::Queued);
            }
        }
    }

    #[test]
    fn words_are_read_back_and_are_those_of_the_json() {
        for state in STATES {
            assert_eq!(state_from_word(state_word(state)), Some(state));
            assert_eq!(serde_json::to_value(state).unwrap(), state_word(state));
        }
        assert_eq!(state_from_word("done"), None);
    }

    #[test]
    fn a_lapsed_job_is_stopped_given_up_or_queued() {
        assert_eq!(after_lapse(true, 1, 5), JobState::Cancelled);
        assert_eq!(after_lapse(false, 5, 5), JobState::Failed);
        assert_eq!(after_lapse(false, 4, 5), JobState::Queued);
    }
}
