//! Records arrive once, whatever the way does to them, and nothing acknowledged is lost.

use sonde_cloud::simulated::{Held, Simulated, SimulatedError, made_up};
use sonde_protocol::device::{JobOffer, JobState, Outcome, RefusalReason};
use sonde_protocol::ids::LeaseToken;

use crate::house::House;

async fn accepted(house: &House, simulated: &Simulated) -> (JobOffer, Held, Vec<String>) {
    house.scan("north").await;
    let offer = simulated
        .poll(Vec::new(), 1, 1, 0)
        .await
        .unwrap()
        .jobs
        .remove(0);
    let held = Held::from(&offer);
    simulated.accept(&held).await.unwrap();
    let lines = made_up(&offer.request, offer.job, 20);
    (offer, held, lines)
}

#[tokio::test]
async fn gaps_overlaps_and_duplicates() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let (offer, held, lines) = accepted(&house, &simulated).await;
    let gap = simulated.deliver(&held, 1, &lines[1..3]).await;
    assert!(matches!(gap, Err(SimulatedError::Rewind(0))), "{gap:?}");
    assert_eq!(simulated.deliver(&held, 0, &lines[..4]).await.unwrap(), 4);
    assert_eq!(
        simulated.deliver(&held, 0, &lines[..4]).await.unwrap(),
        4,
        "a repeated batch"
    );
    assert_eq!(
        simulated.deliver(&held, 1, &lines[1..3]).await.unwrap(),
        4,
        "a part of one"
    );
    assert_eq!(
        simulated.deliver(&held, 2, &lines[2..7]).await.unwrap(),
        7,
        "an overlap adds what is new"
    );
    let gap = simulated.deliver(&held, 9, &lines[9..]).await;
    assert!(matches!(gap, Err(SimulatedError::Rewind(7))), "{gap:?}");
    assert_eq!(
        simulated.deliver(&held, 7, &[]).await.unwrap(),
        7,
        "an empty batch"
    );
    assert_eq!(
        simulated.deliver(&held, 7, &lines[7..]).await.unwrap(),
        lines.len() as u64
    );
    let stored = house
        .lines(&format!("/api/v1/scans/{}/records", offer.job))
        .await;
    assert_eq!(stored, lines);
    simulated
        .commit(&held, &lines, Outcome::Finished)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_commit_tells_what_is_missing_and_is_granted_again() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let (offer, held, lines) = accepted(&house, &simulated).await;
    simulated.deliver(&held, 0, &lines[..5]).await.unwrap();
    let missing = simulated.commit(&held, &lines, Outcome::Finished).await;
    assert!(
        matches!(missing, Err(SimulatedError::Rewind(5))),
        "{missing:?}"
    );
    simulated.deliver(&held, 5, &lines[5..]).await.unwrap();
    simulated
        .commit(&held, &lines, Outcome::Finished)
        .await
        .unwrap();
    simulated
        .commit(&held, &lines, Outcome::Finished)
        .await
        .unwrap();
    assert_eq!(
        house.scan_view(offer.job).await.job.state,
        JobState::Committed
    );
    assert_eq!(
        simulated.deliver(&held, 0, &lines).await.unwrap(),
        lines.len() as u64
    );
    let more = simulated
        .deliver(&held, lines.len() as u64, &lines[..1])
        .await;
    assert_eq!(
        reason(more),
        RefusalReason::Malformed,
        "nothing is added to what is complete"
    );
}

#[tokio::test]
async fn differing_records_are_replaced_and_a_spool_that_never_agrees_fails() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let (offer, held, lines) = accepted(&house, &simulated).await;
    let mut damaged = lines.clone();
    damaged[3] = r#"{"type":"later-kind"}"#.to_owned();
    simulated.deliver(&held, 0, &damaged).await.unwrap();
    let differs = simulated.commit(&held, &lines, Outcome::Finished).await;
    assert!(
        matches!(differs, Err(SimulatedError::Rewind(0))),
        "{differs:?}"
    );
    let path = format!("/api/v1/scans/{}/records", offer.job);
    assert_eq!(
        house.lines(&path).await,
        damaged,
        "what was stored stays until it is replaced"
    );
    simulated.deliver(&held, 0, &lines).await.unwrap();
    assert_eq!(house.lines(&path).await, lines);
    simulated
        .commit(&held, &lines, Outcome::Finished)
        .await
        .unwrap();

    let (offer, held, lines) = accepted(&house, &simulated).await;
    simulated.deliver(&held, 0, &lines[..5]).await.unwrap();
    let mut refusals = 0;
    while simulated
        .commit(&held, &lines, Outcome::Finished)
        .await
        .is_err()
    {
        refusals += 1;
        assert!(refusals < 100, "it ends");
    }
    let view = house.scan_view(offer.job).await;
    assert_eq!((view.job.state, view.job.records), (JobState::Failed, 5));
}

#[tokio::test]
async fn a_crash_of_the_cloud_loses_nothing_acknowledged() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let (offer, held, lines) = accepted(&house, &simulated).await;
    let acknowledged = simulated.deliver(&held, 0, &lines[..9]).await.unwrap();
    let house = house.crash_and_reopen().await;
    let stored = house
        .lines(&format!("/api/v1/scans/{}/records", offer.job))
        .await;
    assert_eq!(stored, lines[..acknowledged as usize]);
    let simulated = house.same_box(1);
    assert_eq!(
        simulated.deliver(&held, 4, &lines[4..12]).await.unwrap(),
        12
    );
    let house = house.crash_and_reopen().await;
    let simulated = house.same_box(1);
    simulated.deliver(&held, 12, &lines[12..]).await.unwrap();
    simulated
        .commit(&held, &lines, Outcome::Finished)
        .await
        .unwrap();
    let house = house.crash_and_reopen().await;
    let view = house.scan_view(offer.job).await;
    assert_eq!(
        (view.job.state, view.job.hosts_up),
        (JobState::Committed, 20)
    );
    let merged = house
        .lines(&format!("/api/v1/scans/{}/results", offer.job))
        .await;
    assert_eq!(merged.len(), lines.len(), "each finding once");
}

#[tokio::test]
async fn a_lease_belongs_to_one_box_and_one_job() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let (other, _) = house.appliance("south").await;
    let (_, held, lines) = accepted(&house, &simulated).await;
    assert_eq!(
        reason(other.deliver(&held, 0, &lines).await),
        RefusalReason::NoJob
    );
    assert_eq!(reason(other.accept(&held).await), RefusalReason::NoJob);
    let guessed = Held {
        lease: LeaseToken::generate(),
        ..held.clone()
    };
    assert_eq!(
        reason(simulated.deliver(&guessed, 0, &lines).await),
        RefusalReason::Lease
    );
    assert_eq!(
        reason(simulated.renew(&guessed, JobState::Running, 0.1).await),
        RefusalReason::Lease
    );
    let none = simulated.commit(&guessed, &lines, Outcome::Finished).await;
    assert_eq!(reason(none), RefusalReason::Lease);
    let later = Held { attempt: 2, ..held };
    assert_eq!(
        reason(simulated.deliver(&later, 0, &lines).await),
        RefusalReason::NoJob
    );
}

pub(crate) fn reason<T: std::fmt::Debug>(answer: Result<T, SimulatedError>) -> RefusalReason {
    match answer {
        Err(SimulatedError::Refused(refusal)) => refusal.reason,
        other => panic!("not a refusal: {other:?}"),
    }
}
