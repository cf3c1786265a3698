//! The services over TCP: a greeting, a few answers, an end.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::{Identity, Kind};

/// Connections one machine serves at a time; one more is accepted and closed at once.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// How long a connection may last, whatever it does.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(10);

/// Bytes read from a connection before it is closed.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;

/// How long to wait after a failed accept, which means that the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(
    listener: TcpListener,
    kind: Kind,
    identity: Rc<Identity>,
    limit: Rc<Semaphore>,
) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, kind = kind.name(), "connection not accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (identity, limit) = (Rc::clone(&identity), Rc::clone(&limit));
        tokio::task::spawn_local(async move {
            let Ok(_permit) = limit.try_acquire() else {
                return;
            };
            // A peer that goes away, or takes too long, is everyday life of a server.
            let _ended = timeout(CONNECTION_TIME_MAX, talk(stream, kind, &identity.name)).await;
        });
    }
}

async fn talk(mut stream: TcpStream, kind: Kind, name: &str) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut read = read.take(REQUEST_BYTES_MAX);
    match kind {
        Kind::Echo => {
            tokio::io::copy(&mut read, &mut write).await?;
        }
        Kind::Http => {
            let mut lines = BufReader::new(read).lines();
            while lines
                .next_line()
                .await?
                .is_some_and(|line| !line.is_empty())
            {}
            write.write_all(page(name).as_bytes()).await?;
        }
        Kind::Ssh => {
            write.write_all(b"SSH-2.0-SondeLab_1.0\r\n").await?;
            // The client's line; there is no key exchange to go on with.
            BufReader::new(read).lines().next_line().await?;
        }
        Kind::Smtp | Kind::Ftp => {
            let answer = if kind == Kind::Smtp {
                answer_smtp
            } else {
                answer_ftp
            };
            let greeting = if kind == Kind::Smtp { "ESMTP" } else { "FTP" };
            let greeting = format!("220 {name}.lab {greeting} SondeLab\r\n");
            write.write_all(greeting.as_bytes()).await?;
            let mut lines = BufReader::new(read).lines();
            while let Some(line) = lines.next_line().await? {
                let verb = line
                    .split(' ')
                    .next()
                    .unwrap_or_default()
                    .to_ascii_uppercase();
                write.write_all(answer(&verb, name).as_bytes()).await?;
                if verb == "QUIT" {
                    break;
                }
            }
        }
        Kind::Dns | Kind::Ntp | Kind::Snmp => {}
    }
    write.shutdown().await
}

fn page(name: &str) -> String {
    let body = format!("<!doctype html><title>{name}</title><h1>{name}</h1>\n");
    format!(
        "HTTP/1.1 200 OK\r\nServer: SondeLab/1.0\r\nContent-Type: text/html\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn answer_smtp(verb: &str, name: &str) -> String {
    match verb {
        "EHLO" => format!("250-{name}.lab\r\n250 8BITMIME\r\n"),
        "HELO" => format!("250 {name}.lab\r\n"),
        "QUIT" => "221 Bye\r\n".into(),
        _ => "502 Not here\r\n".into(),
    }
}

fn answer_ftp(verb: &str, _name: &str) -> String {
    match verb {
        "USER" => "331 Password?\r\n".into(),
        "PASS" => "530 Nobody may log in\r\n".into(),
        "QUIT" => "221 Bye\r\n".into(),
        _ => "502 Not here\r\n".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// What one service on loopback answers to `request`, until it closes.
    fn exchange(kind: Kind, request: &[u8]) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let identity = Identity {
                name: "box".into(),
                zone: super::super::Zone::default(),
            };
            let limit = Rc::new(Semaphore::new(1));
            tokio::task::spawn_local(serve(listener, kind, Rc::new(identity), limit));
            let request = request.to_vec();
            let client = tokio::task::spawn_blocking(move || {
                let mut stream = std::net::TcpStream::connect(at).unwrap();
                stream
                    .set_read_timeout(Some(Duration::from_secs(10)))
                    .unwrap();
                stream.write_all(&request).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                answer
            });
            client.await.unwrap()
        })
    }

    #[test]
    fn each_service_speaks_its_protocol() {
        let page = exchange(Kind::Http, b"GET / HTTP/1.0\r\n\r\n");
        assert!(
            page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("<h1>box</h1>"),
            "{page}"
        );
        assert_eq!(
            exchange(Kind::Ssh, b"SSH-2.0-x\r\n"),
            "SSH-2.0-SondeLab_1.0\r\n"
        );
        assert_eq!(
            exchange(Kind::Smtp, b"ehlo me\r\nquit\r\n"),
            "220 box.lab ESMTP SondeLab\r\n250-box.lab\r\n250 8BITMIME\r\n221 Bye\r\n"
        );
        assert_eq!(
            exchange(Kind::Ftp, b"USER me\r\nPASS x\r\nLIST\r\n"),
            "220 box.lab FTP SondeLab\r\n331 Password?\r\n530 Nobody may log in\r\n502 Not here\r\n"
        );
        assert_eq!(exchange(Kind::Echo, b"as it is\0"), "as it is\0");
    }
}
