//! Boxes become appliances, and nothing else does.

use std::time::Duration;

use reqwest::Method;
use sonde_cloud::api::{ApplianceChange, ApplianceView};
use sonde_cloud::client::{Client, ClientError};
use sonde_cloud::simulated::{Simulated, SimulatedError};
use sonde_protocol::activation::{CODE_VALID_S, grouped};
use sonde_protocol::device::{EnrollStatus, RefusalReason};

use crate::delivery::reason;
use crate::house::House;

#[tokio::test]
async fn a_manager_sees_the_box_before_taking_it_in() {
    let house = House::new().await;
    let simulated = house.stranger();
    assert_eq!(
        reason(simulated.poll(Vec::new(), 1, 0, 0).await),
        RefusalReason::Unknown
    );
    let reply = simulated.enroll().await.unwrap();
    assert_eq!(reply.valid_s, CODE_VALID_S);
    assert_eq!(
        simulated.enroll_status().await.unwrap(),
        EnrollStatus::Pending
    );
    let seen = house
        .lookup(&grouped(&reply.code).to_lowercase())
        .await
        .unwrap();
    assert_eq!(
        (seen.serial.as_str(), seen.source.as_str()),
        ("SIM-1", "127.0.0.1")
    );
    assert_eq!(seen.mac, "02:00:5e:00:53:01");
    assert_eq!(seen.check_number, simulated.check_number(&reply.code));
    let wrong = house.confirm(&reply.code, "north", "x").await.unwrap_err();
    assert!(wrong.contains("check number"), "{wrong}");
    let appliance = house
        .confirm(&reply.code, "north", &seen.check_number)
        .await
        .unwrap()
        .appliance;
    let active = EnrollStatus::Active {
        appliance: appliance.id,
        name: "north".into(),
    };
    assert_eq!(simulated.enroll_status().await.unwrap(), active);
    assert_eq!(
        simulated.enroll().await.unwrap().interval_s,
        0,
        "an active box has nothing to wait for"
    );
    assert_eq!(simulated.enroll_status().await.unwrap(), active);
}

/// Somebody between box and cloud shows the box another certificate: the numbers differ.
#[tokio::test]
async fn a_box_that_pinned_another_certificate_shows_another_number() {
    let house = House::new().await;
    let honest = house.stranger();
    let code = honest.enroll().await.unwrap().code;
    let fooled = Simulated::new(&house.url(), Some([9; 32]), &[1; 32], "SIM-1").unwrap();
    assert_ne!(
        house.lookup(&code).await.unwrap().check_number,
        fooled.check_number(&code)
    );
}

#[tokio::test]
async fn used_expired_and_wrong_codes_are_one_sentence_each() {
    let house = House::new().await;
    let simulated = house.stranger();
    let code = simulated.enroll().await.unwrap().code;
    house
        .confirm(&code, "north", &simulated.check_number(&code))
        .await
        .unwrap();
    let used = house.lookup(&code).await.unwrap_err();
    assert!(used.contains("used already"), "{used}");
    let late = house.stranger();
    let code = late.enroll().await.unwrap().code;
    house.pass(Duration::from_secs(CODE_VALID_S)).await;
    assert_eq!(late.enroll_status().await.unwrap(), EnrollStatus::Expired);
    // Half an hour later the administrator's login still holds; the code does not.
    let expired = house.lookup(&code).await.unwrap_err();
    assert!(expired.contains("run out"), "{expired}");
    for _ in 0..10 {
        let wrong = house.lookup("BBBB-BBB-BBB").await.unwrap_err();
        assert!(wrong.contains("no box shows this code"), "{wrong}");
    }
    let locked = house.lookup("BBBB-BBB-BBB").await.unwrap_err();
    assert!(locked.contains("10 wrong codes"), "{locked}");
    let right = late.enroll().await.unwrap().code;
    assert!(
        house
            .lookup(&right)
            .await
            .unwrap_err()
            .contains("10 wrong codes"),
        "right ones neither"
    );
    house.pass(Duration::from_secs(3600)).await;
    let right = late.enroll().await.unwrap().code;
    house.lookup(&right).await.unwrap();
}

#[tokio::test]
async fn a_disabled_appliance_is_refused() {
    let house = House::new().await;
    let (simulated, id) = house.appliance("north").await;
    let path = format!("/api/v1/appliances/{id}");
    let off = ApplianceChange {
        disabled: Some(true),
        name: None,
    };
    let _: ApplianceView = house.admin.send(Method::PATCH, &path, &off).await.unwrap();
    assert_eq!(
        reason(simulated.poll(Vec::new(), 1, 0, 0).await),
        RefusalReason::Disabled
    );
    assert_eq!(
        reason(simulated.enroll_status().await),
        RefusalReason::Disabled
    );
    let on = ApplianceChange {
        disabled: Some(false),
        name: Some("east".into()),
    };
    let view: ApplianceView = house.admin.send(Method::PATCH, &path, &on).await.unwrap();
    assert_eq!(
        (
            view.appliance.name.as_str(),
            view.appliance.settings_generation
        ),
        ("east", 2)
    );
    let settings = simulated
        .poll(Vec::new(), 1, 1, 0)
        .await
        .unwrap()
        .settings
        .unwrap();
    assert_eq!((settings.generation, settings.name.as_str()), (2, "east"));
}

#[tokio::test]
async fn enrolments_are_limited() {
    let house = House::with(|config| {
        config.enrol_burst = 3;
        config.enrol_every = Duration::from_secs(60);
    })
    .await;
    // The first request is made with this machine's clock, refused, and made again: two of the three.
    let simulated = house.stranger();
    simulated.enroll().await.unwrap();
    simulated.enroll().await.unwrap();
    assert_eq!(reason(simulated.enroll().await), RefusalReason::Busy);
    house.pass(Duration::from_secs(60)).await;
    simulated.enroll().await.unwrap();
}

#[tokio::test]
async fn only_the_pinned_certificate_is_trusted() {
    let house = House::new().await;
    let ask = async |pinned| {
        let client = Client::new(&house.url(), pinned).unwrap();
        client
            .get::<serde_json::Value>("/api/v1/openapi.json")
            .await
    };
    ask(Some(house.running.identity.fingerprint)).await.unwrap();
    let wrong = ask(Some([1; 32])).await.unwrap_err();
    let seen = sonde_protocol::token::hex(&house.running.identity.fingerprint);
    assert!(
        matches!(&wrong, ClientError::Certificate { seen: s, .. } if *s == seen),
        "{wrong:?}"
    );
    let unpinned = ask(None).await.unwrap_err();
    assert!(
        matches!(unpinned, ClientError::Untrusted { .. }),
        "{unpinned:?}"
    );
    let boxes = Simulated::new(&house.url(), Some([1; 32]), &[1; 32], "SIM-1").unwrap();
    let refused = boxes.enroll().await.unwrap_err();
    assert!(
        matches!(
            refused,
            SimulatedError::Client(ClientError::Certificate { .. })
        ),
        "{refused:?}"
    );
    let (url, fingerprint) = (house.url(), house.running.identity.fingerprint);
    house.running.stop().await;
    let gone = Client::new(&url, Some(fingerprint))
        .unwrap()
        .get::<serde_json::Value>("/health")
        .await;
    assert!(
        matches!(gone, Err(ClientError::Unreachable { .. })),
        "{gone:?}"
    );
}
