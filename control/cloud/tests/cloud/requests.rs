//! What no appliance could do is refused when it is asked for, in the planner's own words.

use reqwest::Method;
use serde_json::{Value, json};
use sonde_cloud::client::ClientError;
use sonde_cloud::storage::Job;
use sonde_protocol::device::DesiredSettings;
use sonde_protocol::request::ScanRequest;
use sonde_protocol::written::{check_request, check_trunk};

use crate::house::House;

/// The sentence of a 400.
#[track_caller]
fn refused(outcome: Result<Value, ClientError>) -> String {
    match outcome {
        Err(ClientError::Refused {
            status: 400,
            message,
        }) => message,
        other => panic!("not refused as a bad request: {other:?}"),
    }
}

#[tokio::test]
async fn a_scan_nobody_could_do_is_refused_and_not_queued() {
    let house = House::new().await;
    house.appliance("north").await;
    let ask = async |change: &Value| {
        let mut request = json!({"targets": ["10.1.0.0/24@100"]});
        let change = change.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(change);
        let scan = json!({"request": request});
        let outcome = house.admin.send(Method::POST, "/api/v1/scans", &scan).await;
        (request, outcome)
    };
    for (change, named) in [
        (json!({"targets": []}), "no targets"),
        (json!({"targets": [" "]}), "` ` is no target"),
        (json!({"targets": ["10.0.0.0/33"]}), "10.0.0.0/33"),
        (json!({"targets": ["10.0.0.0/24@4095"]}), "4095"),
        (json!({"targets": ["@100"]}), "`@100` names VLANs"),
        (json!({"exclude": ["10.0.0.9-10.0.0.1"]}), "exclude: "),
        (json!({"ports": "22,99999"}), "`99999` is no port"),
        (json!({"exclude_ports": "X:1"}), "exclude_ports: "),
        (
            json!({"ports": "22", "exclude_ports": "-"}),
            "no port is left",
        ),
        (json!({"discovery": "ping"}), "discovery `ping`"),
        (json!({"version": 2}), "version 2"),
        (json!({"passes": 0}), "passes is 0"),
        (json!({"rate_pps": 0}), "rate_pps is 0"),
        (json!({"shard": {"index": 2, "count": 1}}), "shard 2 of 1"),
        (json!({"trunk": {"vlan": [{"id": 100}]}}), "trunk: VLAN 100"),
        (
            json!({"link": "connect", "trunk": {"vlan": [{"id": 100, "ipv4": "10.1.0.2/24"}]}}),
            "connect link",
        ),
    ] {
        let (request, outcome) = ask(&change).await;
        let message = refused(outcome);
        let request: ScanRequest = serde_json::from_value(request).unwrap();
        assert_eq!(message, check_request(&request).unwrap_err().to_string());
        assert!(message.contains(named), "{change}: {message}");
    }
    let jobs: Vec<Job> = house.admin.get("/api/v1/scans").await.unwrap();
    assert_eq!(jobs, [], "nothing refused is kept");
    // What the box may know better is left to it: names, and networks of its interface.
    for change in [
        json!({"targets": ["web.example.org", "192.0.2.0/24"]}),
        json!({"trunk": {"route": [{"to": "10.200.0.0/16", "via": "192.0.2.7"}]}}),
    ] {
        ask(&change).await.1.unwrap();
    }
}

#[tokio::test]
async fn a_trunk_that_can_not_be_is_refused_and_the_old_one_stays() {
    let house = House::new().await;
    let (_, id) = house.appliance("north").await;
    let path = format!("/api/v1/appliances/{id}/settings");
    let put = async |trunk: &Value| {
        let change = json!({"trunk": trunk});
        house.admin.send::<Value>(Method::PUT, &path, &change).await
    };
    let good = json!({
        "vlan": [{"id": 100, "ipv4": "10.1.0.2/24", "gateway": "10.1.0.1"}],
        "route": [{"to": "10.200.0.0/16", "via": "10.1.0.7"}, {"to": "10.201.0.0/16", "via": "192.0.2.7"}],
    });
    put(&good).await.unwrap();
    let before: DesiredSettings = house.admin.get(&path).await.unwrap();
    let vlan = json!({"id": 100, "ipv4": "10.1.0.2/24"});
    for (trunk, named) in [
        (json!({"vlan": [vlan, vlan]}), "VLAN 100 is written twice"),
        (json!({"vlan": [{"id": 7}]}), "VLAN 7 has no address"),
        (
            json!({"vlan": [{"id": 7, "ipv4": "10.1.0.0/24"}]}),
            "`10.1.0.0/24`",
        ),
        (json!({"vlan": [{"id": 7, "ipv6": "auto"}]}), "auto"),
        (
            json!({"vlan": [{"id": 7, "ipv4": "10.1.0.2/24", "gateway": "10.2.0.1"}]}),
            "10.2.0.1",
        ),
        (
            json!({"route": [{"to": "10.200/16", "via": "10.1.0.1"}]}),
            "`10.200/16` is no prefix",
        ),
        (
            json!({"lan": {"ipv4": "192.0.2.2/24"}, "route": [{"to": "10.0.0.0/8", "via": "10.9.9.9"}]}),
            "no network above holds 10.9.9.9",
        ),
    ] {
        let message = refused(put(&trunk).await);
        let config = serde_json::from_value(trunk.clone()).unwrap();
        let planner = check_trunk(&config).unwrap_err();
        assert_eq!(message, format!("trunk: {planner}"));
        assert!(message.contains(named), "{trunk}: {message}");
    }
    let after: DesiredSettings = house.admin.get(&path).await.unwrap();
    assert_eq!(after, before);
}
