//! The local API's socket: messages for whoever connects, and answers for whoever asks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sonde_protocol::local::{Answer, Message, Request, Setup, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::OwnedWriteHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::desk::{ClientId, Desk, keys_for};

/// Clients served at once; the next is hung up on.
pub const CLIENTS_MAX: usize = 16;
/// A client that takes no line for so long is dropped.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// A request takes a few hundred bytes. What goes on this long without an end of line is none.
const LINE_MAX: usize = 16 * 1024;

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

/// Serves the local API until the future is dropped.
pub async fn serve(listener: UnixListener, desk: Arc<Desk>) {
    let mut clients = JoinSet::new();
    let mut id: ClientId = 0;
    loop {
        tokio::select! {
            Some(_ended) = clients.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if clients.len() < CLIENTS_MAX => {
                    id += 1;
                    let client = Client::new(id, desk.clone());
                    clients.spawn(client.serve(stream));
                }
                Ok(_hung_up) => {}
                // Out of descriptors, most likely: not at full speed.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
}

/// One client, as long as it is there.
struct Client {
    id: ClientId,
    desk: Arc<Desk>,
    status: watch::Receiver<Status>,
    setup: watch::Receiver<Setup>,
    keys: watch::Receiver<Option<ClientId>>,
}

/// The client is gone, or takes nothing, or talks nonsense.
struct Gone;

impl Client {
    fn new(id: ClientId, desk: Arc<Desk>) -> Self {
        let mut client = Self {
            id,
            status: desk.board().watch(),
            setup: desk.setup(),
            keys: desk.keys(),
            desk,
        };
        client.status.mark_changed();
        client.setup.mark_changed();
        client.keys.mark_changed();
        client
    }

    async fn serve(mut self, stream: UnixStream) {
        let (mut input, mut output) = stream.into_split();
        let (mut received, mut chunk) = (Vec::new(), [0; 4096]);
        while self.tell(&mut output).await.is_ok() {
            tokio::select! {
                Ok(()) = self.status.changed() => self.status.mark_changed(),
                Ok(()) = self.setup.changed() => self.setup.mark_changed(),
                Ok(()) = self.keys.changed() => self.keys.mark_changed(),
                read = input.read(&mut chunk) => {
                    let Ok(read @ 1..) = read else { return };
                    received.extend_from_slice(&chunk[..read]);
                    if self.take(&mut received, &mut output).await.is_err() {
                        return;
                    }
                }
                // The agent ends.
                else => return,
            }
        }
    }

    /// Answers the lines that are whole. What is said is never logged: it may hold a password.
    async fn take(
        &mut self,
        received: &mut Vec<u8>,
        output: &mut OwnedWriteHalf,
    ) -> Result<(), Gone> {
        while let Some(end) = received.iter().position(|&byte| byte == b'\n') {
            let request = serde_json::from_slice(&received[..end]);
            received.drain(..=end);
            let Ok(Request { id, ask }) = request else {
                tracing::warn!("a client of the local API says what is no request: hung up on");
                return Err(Gone);
            };
            let outcome = self.desk.handle(self.id, ask).await;
            // Before the answer, so that whoever reads it knows already what it has changed.
            self.tell(output).await?;
            if let Some(outcome) = outcome {
                say(output, &Message::Answer(Answer { id, outcome })).await?;
            }
        }
        if received.len() > LINE_MAX {
            return Err(Gone);
        }
        Ok(())
    }

    /// Says what has changed.
    async fn tell(&mut self, output: &mut OwnedWriteHalf) -> Result<(), Gone> {
        if self.status.has_changed().unwrap_or(false) {
            let status = self.status.borrow_and_update().clone();
            say(output, &Message::Status(status)).await?;
        }
        if self.setup.has_changed().unwrap_or(false) {
            let setup = self.setup.borrow_and_update().clone();
            say(output, &Message::Setup(setup)).await?;
        }
        if self.keys.has_changed().unwrap_or(false) {
            let owner = *self.keys.borrow_and_update();
            say(output, &Message::Keys(keys_for(self.id, owner))).await?;
        }
        Ok(())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.desk.release(self.id);
    }
}

async fn say(output: &mut OwnedWriteHalf, message: &Message) -> Result<(), Gone> {
    let mut line = serde_json::to_vec(message).map_err(|_| Gone)?;
    line.push(b'\n');
    match timeout(WRITE_MAX, output.write_all(&line)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(Gone),
    }
}

#[cfg(test)]
mod tests {
    use sonde_protocol::local::{Ask, Command, Keys, Outcome, Phase};
    use sonde_protocol::settings::{Change, NewPassword, ProxyChange, Secret, VlanId};
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::sync::Notify;

    use super::*;
    use crate::settings::SettingsStore;
    use crate::status::Board;

    struct Served {
        dir: tempfile::TempDir,
        board: Board,
        cancel: Arc<Notify>,
        server: tokio::task::JoinHandle<()>,
    }

    impl Served {
        fn start() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("run/agent.sock");
            // Left by an earlier run.
            drop(listen(&path).unwrap());
            let listener = UnixListener::from_std(listen(&path).unwrap()).unwrap();
            let (board, cancel) = (Board::default(), Arc::new(Notify::new()));
            let settings = SettingsStore::open(&dir.path().join("network.json")).unwrap();
            let desk = Arc::new(Desk::new(board.clone(), settings, false, cancel.clone()));
            let server = tokio::spawn(serve(listener, desk));
            Self {
                dir,
                board,
                cancel,
                server,
            }
        }

        async fn connect(&self) -> BufReader<UnixStream> {
            let path = self.dir.path().join("run/agent.sock");
            BufReader::new(UnixStream::connect(&path).await.unwrap())
        }
    }

    impl Drop for Served {
        fn drop(&mut self) {
            self.server.abort();
        }
    }

    async fn line(client: &mut BufReader<UnixStream>) -> Option<Message> {
        let mut text = String::new();
        let read = client.read_line(&mut text);
        timeout(Duration::from_secs(10), read)
            .await
            .expect("a line in time")
            .ok()
            .filter(|n| *n > 0)?;
        Some(serde_json::from_str(&text).unwrap())
    }

    /// Status, setup and keys, as a new client hears them.
    async fn greeted(client: &mut BufReader<UnixStream>) -> (Status, Setup, Keys) {
        let three = (line(client).await, line(client).await, line(client).await);
        match three {
            (Some(Message::Status(a)), Some(Message::Setup(b)), Some(Message::Keys(c))) => {
                (a, b, c)
            }
            other => panic!("{other:?}"),
        }
    }

    async fn ask(client: &mut BufReader<UnixStream>, id: u64, ask: Ask) {
        let mut line = serde_json::to_vec(&Request { id, ask }).unwrap();
        line.push(b'\n');
        client.write_all(&line).await.unwrap();
    }

    #[tokio::test]
    async fn every_client_sees_every_change_and_the_next_too_many_none() {
        let served = Served::start();
        let mut clients = Vec::new();
        for _ in 0..CLIENTS_MAX {
            let mut client = served.connect().await;
            let (status, setup, keys) = greeted(&mut client).await;
            assert_eq!(status.phase, Phase::Starting);
            assert_eq!((setup, keys), (Setup::default(), Keys::Free));
            clients.push(client);
        }
        let mut late = served.connect().await;
        assert_eq!(line(&mut late).await, None);
        served.board.change(|status| status.phase = Phase::Ready);
        for client in &mut clients {
            let said = line(client).await;
            assert!(matches!(&said, Some(Message::Status(s)) if s.phase == Phase::Ready));
        }
    }

    #[tokio::test]
    async fn a_change_is_stored_told_to_all_ends_scans_and_hides_the_password() {
        let served = Served::start();
        served.board.change(|status| status.scans_running = 2);
        let (mut one, mut other) = (served.connect().await, served.connect().await);
        greeted(&mut one).await;
        greeted(&mut other).await;
        let change = Change::Proxy(ProxyChange {
            host: "P.EXAMPLE".into(),
            port: 3128.try_into().unwrap(),
            user: None,
            password: NewPassword::Set(Secret::new("s3cret".into())),
        });
        ask(&mut one, 5, Ask::Apply(change)).await;
        for client in [&mut one, &mut other] {
            let Some(Message::Setup(setup)) = line(client).await else {
                panic!("no setup")
            };
            let proxy = setup.settings.proxy.unwrap();
            assert_eq!(proxy.host, "P.EXAMPLE");
            assert_eq!(proxy.password.unwrap().reveal(), "");
        }
        let outcome = Outcome::Stored { canceled_scans: 2 };
        let answer = Message::Answer(Answer { id: 5, outcome });
        assert_eq!(line(&mut one).await, Some(answer));
        timeout(Duration::from_secs(10), served.cancel.notified())
            .await
            .expect("scans are cancelled");
        let text = std::fs::read_to_string(served.dir.path().join("network.json")).unwrap();
        assert!(
            text.contains("s3cret") && text.contains("\"by\":\"panel\""),
            "{text}"
        );
    }

    #[tokio::test]
    async fn what_this_box_does_not_do_is_said_and_a_wrong_change_changes_nothing() {
        let served = Served::start();
        let mut client = served.connect().await;
        greeted(&mut client).await;
        let outcome = async |client: &mut BufReader<UnixStream>, wanted: Ask| {
            ask(client, 9, wanted).await;
            match line(client).await {
                Some(Message::Answer(Answer { id: 9, outcome })) => outcome,
                other => panic!("{other:?}"),
            }
        };
        for command in [Command::Reboot, Command::Shutdown] {
            let said = outcome(&mut client, Ask::Run(command)).await;
            assert_eq!(said, Outcome::NotManaged);
        }
        let none = Outcome::Done { canceled_scans: 0 };
        assert_eq!(
            outcome(&mut client, Ask::Run(Command::CancelScans)).await,
            none
        );
        let wrong = Change::Proxy(ProxyChange {
            host: "not a host".into(),
            port: 1.try_into().unwrap(),
            user: None,
            password: NewPassword::Keep,
        });
        let said = outcome(&mut client, Ask::Apply(wrong)).await;
        assert!(matches!(said, Outcome::Refused(_)), "{said:?}");
        assert!(!served.dir.path().join("network.json").exists());
        let setup = outcome(&mut client, Ask::Setup).await;
        assert_eq!(setup, Outcome::Setup(Setup::default()));
    }

    #[tokio::test]
    async fn keys_go_to_whoever_takes_them_and_come_back_from_whoever_goes() {
        let served = Served::start();
        let (mut one, mut other) = (served.connect().await, served.connect().await);
        greeted(&mut one).await;
        greeted(&mut other).await;
        let heard = async |client: &mut BufReader<UnixStream>| match line(client).await {
            Some(Message::Keys(keys)) => keys,
            said => panic!("{said:?}"),
        };
        ask(&mut one, 1, Ask::TakeKeys).await;
        assert_eq!(heard(&mut one).await, Keys::Yours);
        assert_eq!(heard(&mut other).await, Keys::Taken);
        ask(&mut other, 1, Ask::TakeKeys).await;
        assert_eq!(heard(&mut one).await, Keys::Taken);
        assert_eq!(heard(&mut other).await, Keys::Yours);
        // What one gives back is not its own any more.
        ask(&mut one, 2, Ask::ReleaseKeys).await;
        ask(&mut one, 3, Ask::Setup).await;
        assert!(matches!(line(&mut one).await, Some(Message::Answer(_))));
        drop(other);
        assert_eq!(heard(&mut one).await, Keys::Free);
    }

    #[tokio::test]
    async fn nonsense_is_hung_up_on_and_harms_nobody_else() {
        let served = Served::start();
        let mut good = served.connect().await;
        greeted(&mut good).await;
        let endless = vec![b'x'; LINE_MAX + 1];
        for wrong in [&b"{}\n"[..], b"\xff\n", &endless] {
            let mut client = served.connect().await;
            greeted(&mut client).await;
            client.write_all(wrong).await.unwrap();
            assert_eq!(line(&mut client).await, None);
        }
        // A request in pieces is one.
        for byte in serde_json::to_vec(&Request {
            id: 1,
            ask: Ask::Setup,
        })
        .unwrap()
        {
            good.write_all(&[byte]).await.unwrap();
        }
        good.write_all(b"\n").await.unwrap();
        assert!(matches!(line(&mut good).await, Some(Message::Answer(_))));
    }

    #[test]
    fn a_settings_change_of_the_smallest_kind_is_a_short_line() {
        let ask = Ask::Apply(Change::Vlan(VlanId::new(4094)));
        let line = serde_json::to_string(&Request { id: 1, ask }).unwrap();
        assert_eq!(line, r#"{"id":1,"ask":{"apply":{"vlan":4094}}}"#);
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
