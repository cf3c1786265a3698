//! A scan from the question to its results.

use std::collections::BTreeSet;
use std::time::Duration;

use sonde_cloud::api::{ApplianceStatus, ApplianceView, HostPage, PortPage};
use sonde_cloud::simulated::{Held, Pace, made_up};
use sonde_protocol::device::{JobState, JobStatus, Outcome};
use sonde_protocol::observation::Observation;

use crate::house::{House, PATIENCE};

const PACE: Pace = Pace {
    hosts: 100,
    batch: 37,
    wait_s: 0,
    pause: Duration::ZERO,
};

#[tokio::test]
async fn a_scan_is_asked_for_done_and_read() {
    let house = House::new().await;
    let (simulated, id) = house.appliance("north").await;
    let reply = simulated.poll(Vec::new(), 1, 0, 0).await.unwrap();
    let settings = reply.settings.expect("the first settings");
    assert_eq!((settings.generation, settings.name.as_str()), (1, "north"));
    assert!(reply.jobs.is_empty());

    let job = house.scan("north").await;
    let reply = simulated.poll(Vec::new(), 1, 1, 0).await.unwrap();
    assert_eq!(reply.settings, None);
    let [offer] = &reply.jobs[..] else {
        panic!("{reply:?}")
    };
    assert_eq!((offer.job, offer.attempt), (job, 1));
    assert_eq!(offer.request.targets, ["10.0.0.0/24"]);
    assert_eq!(
        simulated.work(offer, PACE).await.unwrap(),
        Outcome::Finished
    );

    let view = house.scan_view(job).await;
    let records = made_up(&offer.request, job, PACE.hosts);
    assert_eq!(view.job.state, JobState::Committed);
    assert_eq!(view.job.records, records.len() as u64);
    assert_eq!((view.job.hosts_up, view.job.fraction), (100, 1.0));
    assert!(view.attempts[0].complete);

    let as_came = house
        .lines(&format!("/api/v1/scans/{job}/records?limit=10000"))
        .await;
    assert_eq!(as_came, records);
    let merged = house.lines(&format!("/api/v1/scans/{job}/results")).await;
    let read = |lines: &[String]| -> Vec<Observation> {
        lines
            .iter()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    };
    let key = |o: &Observation| serde_json::to_string(o).unwrap();
    let merged = read(&merged);
    assert!(matches!(merged.first(), Some(Observation::Scan(_))));
    assert!(matches!(merged.last(), Some(Observation::Summary(s)) if s.complete));
    let as_set = |all: &[Observation]| all.iter().map(key).collect::<BTreeSet<_>>();
    assert_eq!(
        as_set(&merged),
        as_set(&read(&records)),
        "merged results say what the records say"
    );
    assert_eq!(merged.len(), records.len(), "and each thing once");

    let all: ApplianceView = house
        .admin
        .get(&format!("/api/v1/appliances/{id}"))
        .await
        .unwrap();
    assert_eq!(all.status, ApplianceStatus::Online);
    assert!(all.appliance.last_results.is_some());
    house.pass(Duration::from_secs(3600)).await;
    let all: ApplianceView = house
        .admin
        .get(&format!("/api/v1/appliances/{id}"))
        .await
        .unwrap();
    assert_eq!(all.status, ApplianceStatus::Offline);
    house.running.stop().await;
}

#[tokio::test]
async fn findings_come_in_pages_that_leave_nothing_out() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let job = house.scan("north").await;
    let offer = simulated
        .poll(Vec::new(), 1, 0, 0)
        .await
        .unwrap()
        .jobs
        .remove(0);
    simulated.work(&offer, PACE).await.unwrap();

    let mut ports = Vec::new();
    let mut after = String::new();
    loop {
        let page: PortPage = house
            .admin
            .get(&format!("/api/v1/scans/{job}/ports?limit=7{after}"))
            .await
            .unwrap();
        ports.extend(page.items);
        let Some(next) = page.next else { break };
        after = format!("&after={next}");
    }
    let view = house.scan_view(job).await;
    assert_eq!(ports.len() as u64, view.job.open_ports);
    let keys: BTreeSet<_> = ports.iter().map(|p| (p.vlan, p.ip, p.port)).collect();
    assert_eq!(keys.len(), ports.len());

    let mut hosts = 0;
    let mut after = String::new();
    loop {
        let page: HostPage = house
            .admin
            .get(&format!("/api/v1/scans/{job}/hosts?limit=9{after}"))
            .await
            .unwrap();
        hosts += page.items.len();
        let Some(next) = page.next else { break };
        after = format!("&after={next}");
    }
    assert_eq!(hosts, 100);
}

#[tokio::test]
async fn a_held_poll_is_answered_when_there_is_work_or_the_cloud_ends() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let ask = async {
        let held = simulated.poll(Vec::new(), 1, 1, 50);
        let job = async {
            // The poll is on its way: it was seen before the job is there.
            seen(&house).await;
            house.scan("north").await
        };
        tokio::join!(held, job)
    };
    let (reply, job) = tokio::time::timeout(PATIENCE, ask)
        .await
        .expect("well before 50 seconds");
    let offers = reply.unwrap().jobs;
    assert_eq!(offers[0].job, job);
    simulated.work(&offers[0], PACE).await.unwrap();

    let before = house.clock.clock().now();
    house.pass(Duration::from_secs(1)).await;
    let held = tokio::spawn(async move { simulated.poll(Vec::new(), 1, 1, 50).await });
    let stop = async {
        loop {
            let all: Vec<ApplianceView> = house.admin.get("/api/v1/appliances").await.unwrap();
            if all[0].appliance.last_poll > Some(before) {
                break;
            }
        }
        house.running.stop().await;
        held.await.unwrap()
    };
    let reply = tokio::time::timeout(PATIENCE, stop)
        .await
        .expect("the farewell is short");
    assert!(reply.unwrap().jobs.is_empty());
}

/// A poll held with no room is answered when room came: the box asks anew and the next job does not wait 50 seconds.
#[tokio::test]
async fn a_commit_answers_the_held_poll_of_a_full_box() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    house.scan("north").await;
    let next = house.scan("north").await;
    let offer = simulated
        .poll(Vec::new(), 1, 1, 0)
        .await
        .unwrap()
        .jobs
        .remove(0);
    let before = house.clock.clock().now();
    house.pass(Duration::from_secs(1)).await;
    let full = async {
        let status = JobStatus {
            job: offer.job,
            attempt: 1,
            state: JobState::Accepted,
            fraction: 0.0,
        };
        simulated.poll(vec![status], 0, 1, 50).await
    };
    let work = async {
        loop {
            let all: Vec<ApplianceView> = house.admin.get("/api/v1/appliances").await.unwrap();
            if all[0].appliance.last_poll > Some(before) {
                break;
            }
        }
        simulated.work(&offer, PACE).await
    };
    let both = async { tokio::join!(full, work) };
    let (reply, outcome) = tokio::time::timeout(PATIENCE, both)
        .await
        .expect("well before 50 seconds");
    assert_eq!(outcome.unwrap(), Outcome::Finished);
    assert!(reply.unwrap().jobs.is_empty());
    let offers = simulated.poll(Vec::new(), 1, 1, 0).await.unwrap().jobs;
    assert_eq!(offers[0].job, next);
}

async fn seen(house: &House) {
    loop {
        let all: Vec<ApplianceView> = house.admin.get("/api/v1/appliances").await.unwrap();
        if all[0].status == ApplianceStatus::Online {
            return;
        }
    }
}

#[tokio::test]
async fn a_cancelled_scan_keeps_what_it_found() {
    let house = House::new().await;
    let (simulated, _) = house.appliance("north").await;
    let cancel = async |job| {
        let path = format!("/api/v1/scans/{job}/cancel");
        house
            .admin
            .send::<serde_json::Value>(reqwest::Method::POST, &path, &())
            .await
            .unwrap()
    };
    let waiting = house.scan("north").await;
    cancel(waiting).await;
    assert_eq!(
        house.scan_view(waiting).await.job.state,
        JobState::Cancelled
    );
    assert!(
        simulated
            .poll(Vec::new(), 1, 1, 0)
            .await
            .unwrap()
            .jobs
            .is_empty()
    );

    let job = house.scan("north").await;
    let offer = simulated
        .poll(Vec::new(), 1, 1, 0)
        .await
        .unwrap()
        .jobs
        .remove(0);
    let held = Held::from(&offer);
    assert!(!simulated.accept(&held).await.unwrap().cancel);
    let lines = made_up(&offer.request, job, 10);
    assert_eq!(simulated.deliver(&held, 0, &lines[..5]).await.unwrap(), 5);
    cancel(job).await;
    assert!(
        simulated
            .renew(&held, JobState::Running, 0.5)
            .await
            .unwrap()
            .cancel
    );
    let status = JobStatus {
        job,
        attempt: 1,
        state: JobState::Running,
        fraction: 0.5,
    };
    let reply = simulated.poll(vec![status], 0, 1, 50).await.unwrap();
    assert_eq!(
        reply.cancels,
        [job],
        "a cancel does not wait for the poll to run out"
    );
    simulated
        .commit(&held, &lines[..5], Outcome::Cancelled)
        .await
        .unwrap();
    let view = house.scan_view(job).await;
    assert_eq!((view.job.state, view.job.records), (JobState::Cancelled, 5));
}

#[tokio::test]
async fn a_job_never_taken_ends() {
    let queue = Duration::from_secs(3600);
    let house = House::with(|config| config.timing.queue = queue).await;
    let (simulated, _) = house.appliance("north").await;
    let job = house.scan("north").await;
    house.pass(queue).await;
    assert_eq!(house.scan_view(job).await.job.state, JobState::Expired);
    assert!(
        simulated
            .poll(Vec::new(), 1, 1, 0)
            .await
            .unwrap()
            .jobs
            .is_empty()
    );
}
