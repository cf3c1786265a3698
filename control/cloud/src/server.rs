//! The cloud on a socket: accepts, speaks TLS, answers, and ends in order — held polls are answered, what is under way
//! is finished, the database is closed.

use std::fs::{File, TryLockError};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Extensions, Request};
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::api;
use crate::clock::Clock;
use crate::state::{Cloud, CloudConfig, CloudError, FirstUser};
use crate::tls::{Identity, TlsError};

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Folder of database and certificate.
    pub data: PathBuf,
    /// The database, if it is not in that folder.
    pub database: Option<PathBuf>,
    /// Certificate chain, PEM.
    pub tls_cert: Option<PathBuf>,
    /// Its key, PEM.
    pub tls_key: Option<PathBuf>,
}

impl ServeOptions {
    /// Where the database is.
    pub fn database(&self) -> PathBuf {
        self.database
            .clone()
            .unwrap_or_else(|| self.data.join("cloud.db"))
    }
}

/// The cloud can not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data folder.
    #[error("the data folder {path} can not be made: name another with --data")]
    Data {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another cloud uses it.
    #[error(
        "another `sonde cloud serve` uses the data folder {path}: end it first, or name another with --data"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Database and first user.
    #[error(transparent)]
    Cloud(#[from] CloudError),
    /// The socket.
    #[error("can not listen on {listen}: name another address or port with --listen")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A cloud that serves.
pub struct Running {
    /// Where.
    pub address: SocketAddr,
    /// What it shows.
    pub identity: Identity,
    /// The user made at this, the first, start.
    pub first_user: Option<FirstUser>,
    /// Its state.
    pub cloud: Cloud,
    accepting: JoinHandle<()>,
    ticking: JoinHandle<()>,
    /// Held as long as the data folder is ours.
    _lock: File,
}

/// Connections at a time; each box holds two.
const CONNECTIONS_MAX: usize = 50_000;
/// A handshake takes this long or fails.
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// A request's head arrives in this time; an idle connection is closed after it. Above the longest poll.
const HEAD_TIME_MAX: Duration = Duration::from_secs(90);
/// How often leases are looked at.
const TICK: Duration = Duration::from_secs(1);
/// After the request to end, what is under way has this long.
const FAREWELL: Duration = Duration::from_secs(10);

/// Opens the database and serves.
///
/// # Errors
/// [`ServeError`]; nothing is left running.
pub async fn start(options: &ServeOptions, clock: Clock) -> Result<Running, ServeError> {
    start_with(options, clock, |_| {}).await
}

/// [`start`], with a chance to change the configuration first.
///
/// # Errors
/// [`ServeError`].
pub async fn start_with(
    options: &ServeOptions,
    clock: Clock,
    change: impl FnOnce(&mut CloudConfig),
) -> Result<Running, ServeError> {
    make_private_folder(&options.data).map_err(|source| ServeError::Data {
        path: options.data.clone(),
        source,
    })?;
    let lock = lock(&options.data)?;
    let identity = Identity::load_or_make(
        options.tls_cert.as_deref(),
        options.tls_key.as_deref(),
        &options.data,
        &[options.listen.ip()],
    )?;
    let listener = listen(options.listen)
        .await
        .map_err(|source| ServeError::Listen {
            listen: options.listen,
            source,
        })?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen {
        listen: options.listen,
        source,
    })?;
    let mut config = CloudConfig::new(options.database());
    config.fingerprint = Some(identity.fingerprint);
    change(&mut config);
    let (cloud, first_user) = Cloud::open(config, clock).await?;
    let accepting = tokio::spawn(accept(
        listener,
        TlsAcceptor::from(Arc::clone(&identity.config)),
        cloud.clone(),
    ));
    let ticking = tokio::spawn(tick(cloud.clone()));
    Ok(Running {
        address,
        identity,
        first_user,
        cloud,
        accepting,
        ticking,
        _lock: lock,
    })
}

impl Running {
    /// Ends in order.
    pub async fn stop(self) {
        self.cloud.stop();
        // Both end by themselves; a panic in them was logged by the runtime.
        let _ = self.accepting.await;
        let _ = self.ticking.await;
        self.cloud.close().await;
    }

    /// Ends at once, as a crash would: nothing is answered, nothing written out.
    pub fn crash(self) {
        self.accepting.abort();
        self.ticking.abort();
    }
}

/// Where the connection of a request comes from. An IPv4 address is one, also on a socket for both families.
#[derive(Clone, Copy, Debug)]
struct Source(IpAddr);

/// The source address of a request.
pub(crate) fn source_of(extensions: &Extensions) -> IpAddr {
    extensions
        .get::<Source>()
        .map_or(Ipv4Addr::UNSPECIFIED.into(), |source| source.0)
}

/// `[::]` listens for both families; on a machine without IPv6 it means 0.0.0.0.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.ip().is_unspecified() && address.is_ipv6() => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Two clouds over one folder would each hold polls the other has work for.
fn lock(data: &Path) -> Result<File, ServeError> {
    let path = data.join("lock");
    let file = File::create(&path).map_err(|source| ServeError::Data {
        path: path.clone(),
        source,
    })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServeError::InUse {
            path: data.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(ServeError::Data { path, source }),
    }
}

async fn tick(cloud: Cloud) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = cloud.stopping() => return,
        }
        if let Err(error) = cloud.tick().await {
            tracing::warn!(error = %api::chain(&error), "leases could not be looked at: trying again");
        }
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, cloud: Cloud) {
    let service = TowerToHyperService::new(api::router(cloud.clone()));
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let turn = Arc::clone(&room).acquire_owned().await;
        let (stream, from) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: connections that end make room.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            () = cloud.stopping() => break,
        };
        let (tls, service, cloud) = (tls.clone(), service.clone(), cloud.clone());
        connections.spawn(async move {
            let _turn = turn;
            serve_connection(
                stream,
                Source(from.ip().to_canonical()),
                tls,
                service,
                cloud,
            )
            .await;
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, all).await.is_err() {
        tracing::warn!("some requests were still under way and were cut off");
    }
}

async fn serve_connection(
    stream: TcpStream,
    source: Source,
    tls: TlsAcceptor,
    service: TowerToHyperService<axum::Router>,
    cloud: Cloud,
) {
    // Answers are small and waited for; a delay here can only fail on a socket that is gone.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIME_MAX, tls.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(source = %source.0, %error, "no handshake");
            return;
        }
        Err(_) => return,
    };
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(source);
        service.call(request.map(Body::new))
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(64)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = cloud.stopping() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(source = %source.0, %error, "a connection ended early");
    }
}
