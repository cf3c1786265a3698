//! Which certificates the agent believes, over real handshakes.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use sonde_agent::cloud_client::{ClientError, CloudClient, SetupError};
use sonde_agent::identity::Identity;
use sonde_pinning::Trust;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Server {
    url: String,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Server {
    /// Answers every request with `404`.
    async fn start(name: &str) -> Self {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                // Refused handshakes end here.
                let Ok(mut tls) = acceptor.accept(connection).await else {
                    continue;
                };
                let _request = tls.read(&mut [0; 4096]).await;
                let _sent = tls
                    .write_all(b"HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    .await;
                let _closed = tls.shutdown().await;
            }
        });
        Self {
            url,
            certificate,
            pem: made.cert.pem(),
        }
    }

    fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }
}

fn client(url: &str, trust: Trust) -> CloudClient {
    let dir = tempfile::tempdir().unwrap();
    let identity = Arc::new(Identity::load_or_make(&dir.path().join("key")).unwrap());
    CloudClient::new(url, trust, identity).unwrap()
}

#[tokio::test]
async fn the_first_certificate_is_seen_and_pinned_and_another_refused_by_both_names() {
    let server = Server::start("cloud.example.org").await;
    let first = client(&server.url, Trust::FirstSeen);
    first.look().await.unwrap();
    assert_eq!(first.fingerprint(), Some(server.fingerprint()));
    client(&server.url, Trust::Pinned(server.fingerprint()))
        .look()
        .await
        .unwrap();

    let other = client(&server.url, Trust::Pinned([7; 32]));
    let error = other.look().await.unwrap_err();
    let ClientError::Fingerprint { expected, seen, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*expected, "07".repeat(32));
    assert_eq!(*seen, sonde_protocol::token::hex(&server.fingerprint()));
    let sentence = error.to_string();
    assert!(
        sentence.contains(expected)
            && sentence.contains(seen)
            && sentence.contains("[cloud] fingerprint")
    );
}

#[tokio::test]
async fn an_authority_vouches_for_the_name_in_the_url_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let right = Server::start("127.0.0.1").await;
    std::fs::write(&path, &right.pem).unwrap();
    client(&right.url, Trust::Authorities(path.clone()))
        .look()
        .await
        .unwrap();
    let wrong_name = Server::start("cloud.example.org").await;
    std::fs::write(&path, &wrong_name.pem).unwrap();
    let error = client(&wrong_name.url, Trust::Authorities(path.clone()))
        .look()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    let error = client(&right.url, Trust::Authorities(path))
        .look()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn only_https_leaves_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Arc::new(Identity::load_or_make(&dir.path().join("key")).unwrap());
    for url in [
        "http://cloud.example.org",
        "ftp://x",
        "cloud",
        "",
        "https://",
    ] {
        let made = CloudClient::new(url, Trust::FirstSeen, identity.clone());
        assert!(matches!(made, Err(SetupError::Url { .. })), "{url}");
    }
    assert!(CloudClient::new("http://127.0.0.1:1", Trust::FirstSeen, identity).is_ok());
}

#[tokio::test]
async fn what_is_wrong_with_the_configured_trust_is_said_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let identity = Arc::new(Identity::load_or_make(&dir.path().join("key")).unwrap());
    let path = dir.path().join("ca.pem");
    let made = CloudClient::new("https://c", Trust::Authorities(path.clone()), identity);
    let Err(error @ SetupError::CaFile(_)) = made else {
        panic!("there is no {}", path.display())
    };
    let sentence = sonde_agent::worker::chain(&error);
    assert!(
        sentence.contains("[cloud] ca_file") && sentence.contains("ca.pem"),
        "{sentence}"
    );
}
