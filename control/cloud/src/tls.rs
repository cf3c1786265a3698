//! What the cloud shows to prove itself: a certificate it was given, or one of its own making that boxes and people pin
//! by its SHA-256. There is no way to run without TLS.

use std::fs;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use sonde_pinning::install_provider;

/// A certificate chain with its key, ready to serve.
#[derive(Clone, Debug)]
pub struct Identity {
    /// For the accept loop.
    pub config: Arc<ServerConfig>,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// Made by us: who connects has to pin it.
    pub self_made: bool,
}

/// The cloud has no certificate to show.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One half only.
    #[error(
        "--tls-cert and --tls-key belong together: give both, or neither for a certificate of the cloud's own"
    )]
    Half,
    /// A file could not be read or is not what it should be.
    #[error("{path} is not a readable PEM file with {what}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The certificate file holds no certificate.
    #[error("{path} holds no certificate")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not go together, or are of a kind that is not supported.
    #[error("the certificate {cert} can not be served with the key {key}")]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A file of our own could not be written.
    #[error("{path} can not be written")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A certificate of our own could not be made.
    #[error("a certificate could not be made")]
    Make(#[from] rcgen::Error),
}

impl Identity {
    /// The certificate given, or without one, the one made at the first start, kept in `data`.
    ///
    /// # Errors
    /// [`TlsError`]; half a configuration is one.
    pub fn load_or_make(
        cert: Option<&Path>,
        key: Option<&Path>,
        data: &Path,
        addresses: &[IpAddr],
    ) -> Result<Self, TlsError> {
        install_provider();
        match (cert, key) {
            (Some(cert), Some(key)) => Self::load(cert, key, false),
            (None, None) => {
                let (cert, key) = (
                    data.join("certificate.pem"),
                    data.join("certificate-key.pem"),
                );
                if !(cert.exists() && key.exists()) {
                    make(&cert, &key, addresses)?;
                }
                Self::load(&cert, &key, true)
            }
            _ => Err(TlsError::Half),
        }
    }

    fn load(cert: &Path, key: &Path, self_made: bool) -> Result<Self, TlsError> {
        let read = |path: &Path, what| {
            let path = path.to_owned();
            move |source| TlsError::Read { path, what, source }
        };
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(read(cert, "certificates"))?;
        let leaf = chain.first().ok_or_else(|| TlsError::Empty {
            path: cert.to_owned(),
        })?;
        let fingerprint = Sha256::digest(leaf).into();
        let private = PrivateKeyDer::from_pem_file(key).map_err(read(key, "a private key"))?;
        let mut config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(|source| TlsError::Unusable {
                cert: cert.to_owned(),
                key: key.to_owned(),
                source,
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            fingerprint,
            self_made,
        })
    }
}

/// Makes a P-256 certificate (every TLS library takes those) for this machine's names and `addresses`, good for ten
/// years: it is pinned, so its end would only be a day on which everything stops.
fn make(cert: &Path, key: &Path, addresses: &[IpAddr]) -> Result<(), TlsError> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(host_name());
    let mut params = CertificateParams::new(names)?;
    let loopback = [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
    ];
    for address in loopback
        .iter()
        .chain(addresses)
        .filter(|ip| !ip.is_unspecified())
    {
        let name = SanType::IpAddress(*address);
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Sonde cloud");
    let now = time::OffsetDateTime::now_utc();
    // A box whose clock is a day behind can connect and correct it.
    params.not_before = now - time::Duration::DAY;
    params.not_after = now + time::Duration::days(3652);
    let pair = KeyPair::generate()?;
    let certificate = params.self_signed(&pair)?;
    write_private(key, pair.serialize_pem().as_bytes())?;
    write_private(cert, certificate.pem().as_bytes())
}

/// Writes a file only its owner can read, whole or not at all.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    let write = || {
        let part = path.with_extension("part");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|source| TlsError::Write {
        path: path.to_owned(),
        source,
    })
}

fn host_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    let is_dns = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    (!name.is_empty() && name != "localhost" && name.chars().all(is_dns)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_certificate_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::load_or_make(None, None, dir.path(), &[]).unwrap();
        let again = Identity::load_or_make(None, None, dir.path(), &[]).unwrap();
        assert_eq!(first.fingerprint, again.fingerprint);
        assert!(first.self_made);
        let mode = fs::metadata(dir.path().join("certificate-key.pem"))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[test]
    fn half_a_configuration_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let half = Some(Path::new("x.pem"));
        for (cert, key) in [(half, None), (None, half)] {
            let refused = Identity::load_or_make(cert, key, dir.path(), &[]);
            assert!(matches!(refused, Err(TlsError::Half)));
        }
    }

    #[test]
    fn files_that_are_not_what_they_should_be_are_named() {
        let dir = tempfile::tempdir().unwrap();
        Identity::load_or_make(None, None, dir.path(), &[]).unwrap();
        let (cert, key) = (
            dir.path().join("certificate.pem"),
            dir.path().join("certificate-key.pem"),
        );
        let other = tempfile::tempdir().unwrap();
        Identity::load_or_make(None, None, other.path(), &[]).unwrap();
        let other_key = other.path().join("certificate-key.pem");
        let missing = dir.path().join("missing.pem");
        let load = |cert: &Path, key: &Path| {
            Identity::load_or_make(Some(cert), Some(key), dir.path(), &[])
        };
        assert!(
            matches!(load(&missing, &key), Err(TlsError::Read { path, .. }) if path == missing)
        );
        assert!(
            matches!(load(&cert, &missing), Err(TlsError::Read { path, .. }) if path == missing)
        );
        assert!(matches!(load(&key, &key), Err(TlsError::Empty { .. })));
        assert!(matches!(
            load(&cert, &other_key),
            Err(TlsError::Unusable { .. })
        ));
        assert!(!load(&cert, &key).unwrap().self_made);
    }
}
