//! Every transition, on a clock that is only ever told.

use super::*;

fn at(seconds: u64) -> Instant {
    Instant::ZERO + Duration::from_secs(seconds)
}

fn actions(job: &mut Job, now: Instant) -> Vec<Action> {
    std::iter::from_fn(|| job.poll_action(now)).collect()
}

fn running(on_lost_contact: OnLostContact) -> Job {
    let mut job = Job::offered(on_lost_contact, at(0), 1);
    assert_eq!(actions(&mut job, at(0)), [Action::Persist, Action::Accept]);
    job.handle_accepted(at(0), false);
    assert_eq!(actions(&mut job, at(0)), [Action::Persist, Action::Start]);
    job.handle_worker_started();
    assert_eq!(actions(&mut job, at(0)), [Action::Persist]);
    assert!(job.is_scanning());
    job
}

fn commit(job: &mut Job, now: Instant) -> JobState {
    job.handle_concluded(now, 0);
    assert_eq!(
        actions(job, now),
        [
            Action::Persist,
            Action::Upload(upload::Action::Commit { count: 0 })
        ]
    );
    assert_eq!(job.state(), JobState::Draining);
    job.upload().handle_committed();
    job.handle_uploaded();
    let state = job.state();
    assert_eq!(actions(job, now), [Action::Persist, Action::Forget]);
    assert!(job.is_over());
    state
}

#[test]
fn a_job_goes_all_the_way() {
    let mut job = running(OnLostContact::Continue);
    job.handle_worker_ended(at(9), WorkerEnd::Finished);
    assert_eq!(
        actions(&mut job, at(9)),
        [Action::Persist, Action::Conclude]
    );
    assert_eq!(commit(&mut job, at(9)), JobState::Committed);
}

#[test]
fn suspended_it_pauses_its_worker_and_begins_nothing() {
    for end in [
        WorkerEnd::Stopped,
        WorkerEnd::Died("gone".to_owned()),
        WorkerEnd::Finished,
    ] {
        let mut job = running(OnLostContact::Continue);
        job.upload().handle_durable(5);
        assert!(!job.is_quiet());
        job.suspend();
        let stop = Action::Stop { pausing: true };
        assert_eq!(actions(&mut job, at(1)), [stop]);
        assert!(!job.is_quiet(), "the worker is still there");
        let finished = end == WorkerEnd::Finished;
        job.handle_worker_ended(at(2), end);
        let written = actions(&mut job, at(99));
        assert_eq!(written, vec![Action::Persist; usize::from(finished)]);
        assert_eq!(job.state(), JobState::Running, "as the next start finds it");
        assert!(job.is_quiet() && !job.is_over());
        assert_eq!(job.poll_timeout(), None);
    }
}

#[test]
fn suspended_while_it_ends_it_keeps_its_ending() {
    let mut job = running(OnLostContact::Continue);
    job.cancel();
    job.suspend();
    let stop = Action::Stop { pausing: false };
    assert_eq!(actions(&mut job, at(1)), [Action::Persist, stop]);
    job.handle_worker_ended(at(2), WorkerEnd::Stopped);
    assert_eq!(actions(&mut job, at(2)), []);
    assert!(job.is_quiet());
}

#[test]
fn acceptance_is_repeated_until_answered() {
    let mut job = Job::offered(OnLostContact::Continue, at(0), 1);
    actions(&mut job, at(0));
    job.handle_accept_failed(at(1));
    assert_eq!(job.poll_action(at(1)), None);
    let again = job.poll_timeout().unwrap();
    assert_eq!(job.poll_action(again), Some(Action::Accept));
    job.handle_refused();
    assert_eq!(actions(&mut job, again), [Action::Persist, Action::Forget]);
    assert_eq!(job.state(), JobState::Superseded);
}

#[test]
fn cancelled_before_it_began() {
    let mut job = Job::offered(OnLostContact::Continue, at(0), 1);
    actions(&mut job, at(0));
    job.handle_accepted(at(0), true);
    assert_eq!(
        actions(&mut job, at(0)),
        [Action::Persist, Action::Conclude]
    );
    assert_eq!(commit(&mut job, at(0)), JobState::Cancelled);
}

#[test]
fn cancelled_while_scanning_is_written_down_before_the_worker_hears_of_it() {
    let mut job = running(OnLostContact::Continue);
    job.cancel();
    job.cancel();
    let stop = Action::Stop { pausing: false };
    assert_eq!(actions(&mut job, at(1)), [Action::Persist, stop]);
    job.handle_worker_ended(at(2), WorkerEnd::Died("gone".to_owned()));
    assert_eq!(actions(&mut job, at(2)), [Action::Conclude]);
    assert_eq!(commit(&mut job, at(2)), JobState::Cancelled);
}

#[test]
fn a_refusal_fails_at_once_with_its_reason() {
    let mut job = running(OnLostContact::Continue);
    job.handle_worker_ended(at(1), WorkerEnd::Refused("never_scan".to_owned()));
    assert_eq!(job.ending().unwrap().error.as_deref(), Some("never_scan"));
    assert_eq!(
        actions(&mut job, at(1)),
        [Action::Persist, Action::Conclude]
    );
    assert_eq!(commit(&mut job, at(1)), JobState::Failed);
}

#[test]
fn deaths_are_survived_if_it_gets_on_in_between() {
    let mut job = running(OnLostContact::Continue);
    let mut now = at(1);
    let mut die = |job: &mut Job| {
        job.handle_worker_ended(now, WorkerEnd::Died("the worker died".to_owned()));
        now = job.poll_timeout().unwrap_or(now);
        actions(job, now)
    };
    for n in 0..100 {
        assert_eq!(die(&mut job), [Action::Start], "death {n}");
        job.handle_checkpoint();
    }
    for _ in 1..DEATHS_MAX {
        assert_eq!(die(&mut job), [Action::Start]);
    }
    assert_eq!(die(&mut job), [Action::Persist, Action::Conclude]);
    assert_eq!(job.ending().unwrap().outcome, Outcome::Failed);
    assert!(
        job.ending()
            .unwrap()
            .error
            .as_ref()
            .unwrap()
            .starts_with("the worker died")
    );
}

#[test]
fn lost_contact_goes_on_pauses_or_stops() {
    let mut job = running(OnLostContact::Continue);
    job.handle_lease(at(1), News::Lost);
    assert_eq!(actions(&mut job, at(1)), []);
    assert!(job.is_out_of_contact());

    let mut job = running(OnLostContact::Stop);
    job.handle_lease(at(1), News::Lost);
    assert_eq!(
        actions(&mut job, at(1)),
        [Action::Persist, Action::Stop { pausing: false }]
    );
    assert_eq!(job.ending().unwrap().outcome, Outcome::Cancelled);

    let mut job = running(OnLostContact::Pause);
    job.handle_lease(at(1), News::Lost);
    assert_eq!(actions(&mut job, at(1)), [Action::Stop { pausing: true }]);
    job.handle_worker_ended(at(2), WorkerEnd::Stopped);
    assert_eq!(actions(&mut job, at(2)), [Action::Persist]);
    assert_eq!((job.state(), job.poll_timeout()), (JobState::Paused, None));
    job.handle_lease(at(3), News::Regained);
    assert_eq!(actions(&mut job, at(3)), [Action::Start]);
    job.handle_worker_started();
    assert_eq!(job.state(), JobState::Running);
}

#[test]
fn contact_back_before_the_worker_has_paused() {
    let mut job = running(OnLostContact::Pause);
    job.handle_lease(at(1), News::Lost);
    actions(&mut job, at(1));
    job.handle_lease(at(2), News::Regained);
    job.handle_worker_ended(at(3), WorkerEnd::Stopped);
    assert_eq!(actions(&mut job, at(3)), [Action::Persist, Action::Start]);
}

#[test]
fn cancelled_while_pausing() {
    let mut job = running(OnLostContact::Pause);
    job.handle_lease(at(1), News::Lost);
    actions(&mut job, at(1));
    job.cancel();
    assert_eq!(
        actions(&mut job, at(1)),
        [Action::Persist, Action::Stop { pausing: false }]
    );
    job.handle_worker_ended(at(2), WorkerEnd::Stopped);
    assert_eq!(actions(&mut job, at(2)), [Action::Conclude]);
}

#[test]
fn superseded_while_scanning_ends_the_worker_first() {
    let mut job = running(OnLostContact::Continue);
    job.handle_lease(at(1), News::Superseded);
    assert_eq!(
        actions(&mut job, at(1)),
        [Action::Persist, Action::Stop { pausing: false }]
    );
    job.handle_worker_ended(at(2), WorkerEnd::Finished);
    assert_eq!(actions(&mut job, at(2)), [Action::Forget]);
}

#[test]
fn a_restart_takes_up_every_state() {
    let restored = |state, ending: Option<Outcome>, summary| {
        let ending = ending.map(|outcome| Ending {
            outcome,
            error: None,
        });
        let spooled = Spooled { summary };
        let mut job = Job::restored(state, ending, OnLostContact::Continue, spooled, at(0), 1);
        actions(&mut job, at(0))
    };
    let cancelled = Some(Outcome::Cancelled);
    assert_eq!(restored(JobState::Offered, None, false), [Action::Accept]);
    for state in [JobState::Accepted, JobState::Running, JobState::Paused] {
        assert_eq!(restored(state, None, false), [Action::Start]);
        assert_eq!(restored(state, cancelled, false), [Action::Conclude]);
        assert_eq!(
            restored(state, None, true),
            [Action::Persist, Action::Conclude]
        );
    }
    assert_eq!(
        restored(JobState::Draining, cancelled, true),
        [Action::Conclude]
    );
    for state in [JobState::Committed, JobState::Superseded] {
        assert_eq!(restored(state, None, false), [Action::Forget]);
    }
}
