//! The agent's status from its Unix socket: one JSON document a line, both ways silent but for that.
//!
//! Nothing here blocks. A front waits on [`Client::socket`] together with its keyboard, and calls
//! [`Client::poll`] when something came or time passed.

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use sonde_protocol::local::Status;

use crate::event::Event;

/// First wait before another try to reach the agent; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A status takes a few hundred bytes. What goes on this long without an end of line is none.
const LINE_MAX: usize = 64 * 1024;

/// A client of the agent's local API that comes back by itself.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: Option<UnixStream>,
    received: Vec<u8>,
    retry_at: Duration,
    wait: Duration,
}

impl Client {
    /// A client of the socket at `path`. The socket need not be there yet.
    pub fn new(path: PathBuf) -> Client {
        Client {
            path,
            stream: None,
            received: Vec::new(),
            retry_at: Duration::ZERO,
            wait: WAIT_MIN,
        }
    }

    /// The connection to wait on, while there is one.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(AsFd::as_fd)
    }

    /// Connects if it is time to, reads what came, and says what it means. `now` is the time since
    /// the front's start.
    pub fn poll(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        if self.stream.is_none() && now >= self.retry_at {
            self.connect(now);
        }
        if self.stream.is_some() && !self.read(&mut events) {
            self.stream = None;
            self.received.clear();
            self.back_off(now);
            events.push(Event::LinkLost);
        }
        events
    }

    fn connect(&mut self, now: Duration) {
        let connected = UnixStream::connect(&self.path)
            .and_then(|stream| stream.set_nonblocking(true).map(|()| stream));
        match connected {
            Ok(stream) => self.stream = Some(stream),
            Err(_) => self.back_off(now),
        }
    }

    fn back_off(&mut self, now: Duration) {
        self.retry_at = now + self.wait;
        self.wait = (self.wait * 2).min(WAIT_MAX);
    }

    /// Reads until nothing is left; false if the connection has ended or says what is no status.
    fn read(&mut self, events: &mut Vec<Event>) -> bool {
        let mut chunk = [0; 4096];
        loop {
            let Some(stream) = &mut self.stream else {
                return false;
            };
            match stream.read(&mut chunk) {
                Ok(0) => return false,
                Ok(read) => self.received.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return false,
            }
            if !self.split_lines(events) {
                return false;
            }
        }
    }

    fn split_lines(&mut self, events: &mut Vec<Event>) -> bool {
        while let Some(end) = self.received.iter().position(|&byte| byte == b'\n') {
            let status = serde_json::from_slice::<Status>(&self.received[..end]);
            self.received.drain(..=end);
            match status {
                Ok(status) => {
                    self.wait = WAIT_MIN;
                    events.push(Event::Status(status));
                }
                Err(_) => return false,
            }
        }
        self.received.len() <= LINE_MAX
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    use sonde_protocol::local::Phase;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ready(name: &str) -> Status {
        Status {
            phase: Phase::Ready,
            name: name.into(),
            lan_address: None,
            lan_mac: None,
            errors: Vec::new(),
            scans_running: 0,
            updating: false,
        }
    }

    fn line(status: &Status) -> Vec<u8> {
        let mut line = serde_json::to_vec(status).unwrap();
        line.push(b'\n');
        line
    }

    #[test]
    fn statuses_arrive_whole_however_they_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = Client::new(path);
        assert_eq!(client.poll(Duration::ZERO), []);
        let (mut agent, _) = listener.accept().unwrap();
        let bytes = [line(&ready("one")), line(&ready("two"))].concat();
        let mut events = Vec::new();
        for byte in bytes {
            agent.write_all(&[byte]).unwrap();
            events.extend(client.poll(Duration::ZERO));
        }
        assert_eq!(
            events,
            [Event::Status(ready("one")), Event::Status(ready("two"))]
        );
    }

    #[test]
    fn comes_back_after_a_loss_with_growing_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let mut client = Client::new(path.clone());
        for _ in 0..20 {
            assert_eq!(client.poll(client.retry_at), []);
        }
        assert_eq!(client.wait, WAIT_MAX);
        let listener = UnixListener::bind(&path).unwrap();
        let at = client.retry_at;
        client.poll(at - Duration::from_millis(1));
        assert!(client.socket().is_none(), "not before its time");
        client.poll(at);
        let (mut agent, _) = listener.accept().unwrap();
        agent.write_all(&line(&ready("one"))).unwrap();
        assert_eq!(client.poll(at), [Event::Status(ready("one"))]);
        drop(agent);
        assert_eq!(client.poll(at), [Event::LinkLost]);
        assert_eq!(client.poll(at), []);
        client.poll(at + WAIT_MIN);
        assert!(client.socket().is_some());
    }

    #[test]
    fn what_is_no_status_ends_the_connection() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let mut client = Client::new(path);
        let endless = vec![b'x'; LINE_MAX + 1];
        for (round, bytes) in (1u32..).zip([&b"{}\n"[..], b"\xff\n", &endless]) {
            let now = SECOND * 10 * round;
            assert_eq!(client.poll(now), []);
            let (mut agent, _) = listener.accept().unwrap();
            agent.write_all(bytes).unwrap();
            assert_eq!(client.poll(now), [Event::LinkLost], "round {round}");
        }
    }
}
