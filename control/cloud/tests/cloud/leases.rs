//! Boxes that go out of reach, and what becomes of their jobs.

use std::time::Duration;

use sonde_cloud::simulated::{Held, Simulated, made_up};
use sonde_protocol::device::{
    JobOffer, JobState, JobStatus, LEASE_GRACE_S, LEASE_S, Outcome, RefusalReason,
};

use crate::delivery::reason;
use crate::house::House;

const LOST: Duration = Duration::from_secs(LEASE_S + LEASE_GRACE_S);

async fn offered(simulated: &Simulated) -> Option<JobOffer> {
    simulated
        .poll(Vec::new(), 1, 1, 0)
        .await
        .unwrap()
        .jobs
        .pop()
}

#[tokio::test]
async fn an_offer_is_repeated_until_it_is_taken() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let job = house.scan("north").await;
    let first = offered(&simulated).await.unwrap();
    let again = offered(&simulated).await.unwrap();
    assert_eq!(
        first, again,
        "the answer may have been lost: same attempt, same lease"
    );
    let status = JobStatus {
        job,
        attempt: 1,
        state: JobState::Accepted,
        fraction: 0.0,
    };
    let reply = simulated.poll(vec![status], 1, 1, 0).await.unwrap();
    assert!(reply.jobs.is_empty(), "it has it");
    let full = simulated.poll(Vec::new(), 0, 1, 0).await.unwrap();
    assert!(
        full.jobs.is_empty(),
        "nothing is offered to a box without room"
    );
}

#[tokio::test]
async fn a_box_that_comes_back_takes_up_its_own_attempt() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let job = house.scan("north").await;
    let offer = offered(&simulated).await.unwrap();
    let held = Held::from(&offer);
    simulated.accept(&held).await.unwrap();
    house
        .pass(Duration::from_secs(LEASE_S + LEASE_GRACE_S - 1))
        .await;
    assert_eq!(
        house.scan_view(job).await.job.state,
        JobState::Accepted,
        "the grace is not over"
    );
    house.pass(Duration::from_secs(1)).await;
    assert_eq!(house.scan_view(job).await.job.state, JobState::Queued);

    let status = JobStatus {
        job,
        attempt: 1,
        state: JobState::Running,
        fraction: 0.7,
    };
    let reply = simulated.poll(vec![status], 1, 1, 0).await.unwrap();
    assert!(
        reply.jobs.is_empty() && reply.cancels.is_empty(),
        "nothing is scanned twice"
    );
    let view = house.scan_view(job).await.job;
    assert_eq!(
        (view.state, view.attempt, view.fraction),
        (JobState::Running, 1, 0.7)
    );

    house.pass(LOST).await;
    assert_eq!(house.scan_view(job).await.job.state, JobState::Queued);
    simulated
        .renew(&held, JobState::Draining, 1.0)
        .await
        .unwrap();
    assert_eq!(house.scan_view(job).await.job.state, JobState::Draining);
    house.pass(LOST).await;
    let lines = made_up(&offer.request, job, 5);
    simulated.deliver(&held, 0, &lines).await.unwrap();
    simulated
        .commit(&held, &lines, Outcome::Finished)
        .await
        .unwrap();
    assert_eq!(house.scan_view(job).await.job.state, JobState::Committed);
}

#[tokio::test]
async fn two_attempts_report_and_every_finding_is_there_once() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let job = house.scan("north").await;
    let offer = offered(&simulated).await.unwrap();
    let first = Held::from(&offer);
    simulated.accept(&first).await.unwrap();
    let lines = made_up(&offer.request, job, 30);
    simulated.deliver(&first, 0, &lines[..20]).await.unwrap();
    house.pass(LOST).await;

    // It says nothing of the job: its disk was replaced.
    let offer = offered(&simulated).await.unwrap();
    assert_eq!((offer.job, offer.attempt), (job, 2));
    let second = Held::from(&offer);
    simulated.accept(&second).await.unwrap();
    assert_eq!(
        reason(simulated.renew(&first, JobState::Running, 0.9).await),
        RefusalReason::Lease
    );
    assert_eq!(reason(simulated.accept(&first).await), RefusalReason::Lease);
    simulated.deliver(&second, 0, &lines).await.unwrap();
    let late = simulated.deliver(&first, 20, &lines[20..]).await.unwrap();
    assert_eq!(
        late,
        lines.len() as u64,
        "an older attempt's results are kept"
    );
    let refused = simulated.commit(&first, &lines, Outcome::Failed).await;
    assert_eq!(
        reason(refused),
        RefusalReason::Lease,
        "its word on the state is not"
    );
    assert_eq!(house.scan_view(job).await.job.state, JobState::Accepted);
    simulated
        .commit(&second, &lines, Outcome::Finished)
        .await
        .unwrap();

    let view = house.scan_view(job).await;
    assert_eq!(view.job.state, JobState::Committed);
    assert_eq!(view.job.records, 2 * lines.len() as u64);
    let states: Vec<JobState> = view.attempts.iter().map(|a| a.state).collect();
    assert_eq!(states, [JobState::Superseded, JobState::Committed]);
    let merged = house.lines(&format!("/api/v1/scans/{job}/results")).await;
    assert_eq!(merged.len(), lines.len(), "every host and port once");
    let ports: sonde_cloud::api::PortPage = house
        .admin
        .get(&format!("/api/v1/scans/{job}/ports?limit=10000"))
        .await
        .unwrap();
    assert!(ports.items.iter().all(|port| port.sightings == 2));
    let older = house
        .lines(&format!("/api/v1/scans/{job}/records?attempt=1"))
        .await;
    assert_eq!(older, lines);
}

#[tokio::test]
async fn a_job_is_given_up_after_its_attempts() {
    let house = House::with(|config| config.timing.attempts_max = 2).await;
    let (simulated, _) = house.appliance("north").await;
    let job = house.scan("north").await;
    for attempt in 1..=2 {
        let offer = offered(&simulated).await.unwrap();
        assert_eq!(offer.attempt, attempt);
        simulated.accept(&Held::from(&offer)).await.unwrap();
        house.pass(LOST).await;
    }
    let view = house.scan_view(job).await.job;
    assert_eq!(view.state, JobState::Failed);
    assert!(view.error.unwrap().contains("out of reach"));
    let status = JobStatus {
        job,
        attempt: 2,
        state: JobState::Running,
        fraction: 0.1,
    };
    let reply = simulated.poll(vec![status], 1, 1, 0).await.unwrap();
    assert_eq!(
        reply.cancels,
        [job],
        "a box that still scans for it is told to stop"
    );
}

#[tokio::test]
async fn a_lost_job_that_was_cancelled_is_not_tried_again() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let job = house.scan("north").await;
    let offer = offered(&simulated).await.unwrap();
    simulated.accept(&Held::from(&offer)).await.unwrap();
    let path = format!("/api/v1/scans/{job}/cancel");
    let _: serde_json::Value = house
        .admin
        .send(reqwest::Method::POST, &path, &())
        .await
        .unwrap();
    house.pass(LOST).await;
    assert_eq!(house.scan_view(job).await.job.state, JobState::Cancelled);
}
