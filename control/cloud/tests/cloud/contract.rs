//! The API is what its document says, and every door is locked.

use std::path::Path;

use reqwest::{Method, StatusCode};
use sonde_cloud::api::document;
use sonde_cloud::client::ClientError;
use utoipa::openapi::path::Operation;

use crate::house::House;

/// Doors without a lock: (method, path). This list only shrinks.
const OPEN: &[(&str, &str)] = &[("POST", "/api/v1/login")];

/// What a token of scope read may do beyond reading: end itself, and look after its own kind.
const FOR_READERS: &[(&str, &str)] = &[
    ("POST", "/api/v1/logout"),
    ("POST", "/api/v1/tokens"),
    ("DELETE", "/api/v1/tokens/{id}"),
];

/// Everything in the document, with a path that fits.
fn doors() -> Vec<(Method, String, String)> {
    let document = document();
    let mut doors = Vec::new();
    for (path, item) in &document.paths.paths {
        let operations: [(Method, &Option<Operation>); 5] = [
            (Method::GET, &item.get),
            (Method::POST, &item.post),
            (Method::PUT, &item.put),
            (Method::DELETE, &item.delete),
            (Method::PATCH, &item.patch),
        ];
        for (method, operation) in operations {
            if operation.is_some() {
                let mut real = path.replace("{name}", "somebody").replace("{attempt}", "1");
                for id in ["{id}", "{job}"] {
                    real = real.replace(id, "0190a0a0-0000-7000-8000-000000000000");
                }
                if path.ends_with("/results") && method == Method::POST {
                    real.push_str("?first=0");
                }
                assert!(!real.contains('{'), "{real}: say what to put there");
                doors.push((method, path.clone(), real));
            }
        }
    }
    assert!(doors.len() > 25, "the document is whole");
    doors
}

fn listed(list: &[(&str, &str)], method: &Method, path: &str) -> bool {
    list.iter()
        .any(|(m, p)| *m == method.as_str() && *p == path)
}

#[tokio::test]
async fn without_a_token_nothing_is_answered() {
    let house = House::new().await;
    let http = sonde_cloud::client::http(Some(house.running.identity.fingerprint)).unwrap();
    let forged = format!("Bearer sonde_{}", "A".repeat(43));
    for (method, path, real) in doors() {
        if listed(OPEN, &method, &path) {
            continue;
        }
        for authorization in [
            None,
            Some("Bearer x"),
            Some(forged.as_str()),
            Some("Sonde a.b.c"),
        ] {
            let mut request = http
                .request(method.clone(), format!("{}{real}", house.url()))
                .body("{}");
            if let Some(authorization) = authorization {
                request = request.header("authorization", authorization);
            }
            let status = request.send().await.unwrap().status();
            assert_eq!(
                status,
                StatusCode::UNAUTHORIZED,
                "{method} {path} with {authorization:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_reader_changes_nothing() {
    let house = House::new().await;
    let new = sonde_cloud::api::NewToken {
        name: "reader".into(),
        scope: sonde_cloud::storage::Scope::Read,
        valid_days: 1,
    };
    let made: sonde_cloud::api::TokenMade = house
        .admin
        .send(Method::POST, "/api/v1/tokens", &new)
        .await
        .unwrap();
    let http = sonde_cloud::client::http(Some(house.running.identity.fingerprint)).unwrap();
    for (method, path, real) in doors() {
        if method == Method::GET
            || !path.starts_with("/api/")
            || listed(OPEN, &method, &path)
            || listed(FOR_READERS, &method, &path)
        {
            continue;
        }
        let request = http
            .request(method.clone(), format!("{}{real}", house.url()))
            .bearer_auth(&made.token)
            .body("{}");
        let status = request.send().await.unwrap().status();
        assert_eq!(status, StatusCode::FORBIDDEN, "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_in_a_sentence() {
    let house = House::new().await;
    for (path, word) in [
        ("/api/v1/scans/nonsense", "path"),
        ("/api/v1/scans?limit=many", "query"),
        (
            "/api/v1/scans/0190a0a0-0000-7000-8000-000000000000",
            "no such scan",
        ),
        ("/api/v1/elsewhere", "nothing here"),
    ] {
        let error = house
            .admin
            .get::<serde_json::Value>(path)
            .await
            .unwrap_err();
        assert!(
            matches!(error, ClientError::Refused { .. }),
            "{path}: {error:?}"
        );
        assert!(error.to_string().contains(word), "{path}: {error}");
    }
}

/// `SONDE_UPDATE=1 cargo test -p sonde-cloud openapi` writes the document after a change of the API.
#[test]
fn the_openapi_document_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = document().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("SONDE_UPDATE").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "docs/openapi.json is old: run this test once with SONDE_UPDATE=1"
    );
}
