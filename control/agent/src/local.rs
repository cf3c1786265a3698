//! The local API: a line of status for whoever connects, and another whenever it changes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sonde_protocol::local::Status;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// Clients served at once; the next is hung up on.
pub const CLIENTS_MAX: usize = 16;
/// A client that takes no line for so long is dropped.
const WRITE_MAX: Duration = Duration::from_secs(5);

/// Why a socket can't be listened on.
#[derive(Debug, thiserror::Error)]
#[error(
    "can not listen on {path}: name another folder with --state (a short one: socket paths end at 107 bytes)"
)]
pub struct ListenError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Listens on `path`, for this user alone, in place of what an earlier run left there.
///
/// # Errors
/// [`ListenError`].
pub fn listen(path: &Path) -> Result<std::os::unix::net::UnixListener, ListenError> {
    use std::os::unix::fs::PermissionsExt;
    let listen = || {
        if let Some(dir) = path.parent() {
            crate::store::make_dir(dir).map_err(io::Error::other)?;
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    listen().map_err(|source| ListenError {
        path: path.to_owned(),
        source,
    })
}

/// Serves the status until the future is dropped.
pub async fn serve(listener: UnixListener, status: watch::Receiver<Status>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if clients.len() < CLIENTS_MAX => {
                    clients.spawn(tell(client, status.clone()));
                }
                Ok(_hung_up) => {}
                // Out of descriptors, most likely: not at full speed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

async fn tell(client: UnixStream, mut status: watch::Receiver<Status>) {
    let (mut input, mut output) = client.into_split();
    let talk = async {
        loop {
            let mut line = serde_json::to_vec(&*status.borrow_and_update()).unwrap_or_default();
            line.push(b'\n');
            if !matches!(
                timeout(WRITE_MAX, output.write_all(&line)).await,
                Ok(Ok(()))
            ) {
                return;
            }
            if status.changed().await.is_err() {
                return;
            }
        }
    };
    // What a client says is read only to see it go.
    let gone = async {
        let mut ignored = [0; 256];
        while input.read(&mut ignored).await.is_ok_and(|n| n > 0) {}
    };
    tokio::select! { () = talk => {}, () = gone => {} }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::local::Phase;
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;
    use crate::status::Board;

    async fn line(client: &mut BufReader<UnixStream>) -> Option<Status> {
        let mut text = String::new();
        let read = client.read_line(&mut text);
        timeout(Duration::from_secs(10), read)
            .await
            .expect("a line in time")
            .ok()
            .filter(|n| *n > 0)?;
        Some(serde_json::from_str(&text).unwrap())
    }

    #[tokio::test]
    async fn every_client_sees_every_change_and_the_next_too_many_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/agent.sock");
        // Left by an earlier run.
        drop(listen(&path).unwrap());
        let listener = UnixListener::from_std(listen(&path).unwrap()).unwrap();
        let board = Board::default();
        let server = tokio::spawn(serve(listener, board.watch()));
        let mut clients = Vec::new();
        for _ in 0..CLIENTS_MAX {
            let mut client = BufReader::new(UnixStream::connect(&path).await.unwrap());
            assert_eq!(line(&mut client).await.unwrap().phase, Phase::Starting);
            clients.push(client);
        }
        let mut late = BufReader::new(UnixStream::connect(&path).await.unwrap());
        assert_eq!(line(&mut late).await, None);
        board.change(|status| status.phase = Phase::Ready);
        for client in &mut clients {
            assert_eq!(line(client).await.unwrap().phase, Phase::Ready);
        }
        server.abort();
    }

    #[tokio::test]
    async fn a_path_too_long_is_refused_by_name() {
        let path = PathBuf::from("/tmp")
            .join("x".repeat(200))
            .join("agent.sock");
        let error = listen(&path).unwrap_err();
        assert!(error.to_string().contains("--state"), "{error}");
        let _made = std::fs::remove_dir(path.parent().unwrap());
    }
}
