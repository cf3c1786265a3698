//! The agent's local API from its Unix socket: what it says as events, what a panel wants as requests.
//!
//! Nothing here blocks. A front waits on [`Client::socket`] together with its keyboard, and calls
//! [`Client::poll`] when something came or time passed.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use sonde_protocol::local::{Ask, Message, Outcome, Request};

use crate::event::{Action, Event};

/// First wait before another try to reach the agent; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// A message takes a few hundred bytes. What goes on this long without an end of line is none.
const LINE_MAX: usize = 64 * 1024;
/// A request takes a few hundred bytes, and the agent takes them at once. One that lets so much lie is stuck.
const UNSENT_MAX: usize = 64 * 1024;
/// What a person reads who asks for something while the agent can not be heard.
const NOBODY_THERE: &str = "not reachable: nothing changed";

/// A client of the agent's local API that comes back by itself.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: Option<UnixStream>,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// Of the last request.
    id: u64,
    /// The request whose answer the panel waits for.
    awaited: Option<u64>,
    /// A request was made while nobody could hear it.
    unheard: bool,
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
            unsent: Vec::new(),
            id: 0,
            awaited: None,
            unheard: false,
            retry_at: Duration::ZERO,
            wait: WAIT_MIN,
        }
    }

    /// The connection to wait on, while there is one.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.stream.as_ref().map(AsFd::as_fd)
    }

    /// Connects if it is time to, sends and reads what can be without waiting, and says what came.
    /// `now` is the time since the front's start.
    pub fn poll(&mut self, now: Duration) -> Vec<Event> {
        let mut events = Vec::new();
        if std::mem::take(&mut self.unheard) {
            events.push(Event::Answered(Outcome::Refused(NOBODY_THERE.to_owned())));
        }
        if self.stream.is_none() && now >= self.retry_at {
            self.connect(now);
        }
        if self.stream.is_some() && !(self.read(&mut events) && self.send()) {
            self.stream = None;
            self.received.clear();
            self.unsent.clear();
            self.awaited = None;
            self.back_off(now);
            events.push(Event::LinkLost);
        }
        events
    }

    /// Does what a panel wants of the agent; a redraw is the front's. Without an agent, a change or command
    /// is refused at the next [`Client::poll`]: it is not kept for later, when nobody may want it any more.
    pub fn act(&mut self, action: Action) {
        let ask = match action {
            Action::Redraw => return,
            Action::Apply(change) => Ask::Apply(change),
            Action::Run(command) => Ask::Run(command),
            Action::TakeKeys => Ask::TakeKeys,
            Action::ReleaseKeys => Ask::ReleaseKeys,
        };
        let is_awaited = matches!(ask, Ask::Apply(_) | Ask::Run(_));
        if self.stream.is_none() {
            self.unheard |= is_awaited;
            return;
        }
        self.id += 1;
        let request = Request { id: self.id, ask };
        // Only maps with other keys than strings can not be written, and a request has none.
        self.unsent
            .extend(serde_json::to_vec(&request).unwrap_or_default());
        self.unsent.push(b'\n');
        if is_awaited {
            self.awaited = Some(self.id);
        }
        // What fails shows at the next poll.
        self.send();
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

    /// Sends what goes without waiting; false if the connection has ended or takes nothing.
    fn send(&mut self) -> bool {
        while !self.unsent.is_empty() {
            let Some(stream) = &mut self.stream else {
                return false;
            };
            match stream.write(&self.unsent) {
                Ok(sent) => _ = self.unsent.drain(..sent),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return self.unsent.len() <= UNSENT_MAX;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// Reads until nothing is left; false if the connection has ended or says what is no message.
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
            let message = serde_json::from_slice(&self.received[..end]);
            self.received.drain(..=end);
            let Ok(message) = message else {
                return false;
            };
            self.wait = WAIT_MIN;
            events.extend(self.event(message));
        }
        self.received.len() <= LINE_MAX
    }

    fn event(&mut self, message: Message) -> Option<Event> {
        match message {
            Message::Status(status) => Some(Event::Status(status)),
            Message::Setup(setup) => Some(Event::Setup(setup)),
            Message::Keys(keys) => Some(Event::Keys(keys)),
            Message::Answer(answer) if self.awaited == Some(answer.id) => {
                self.awaited = None;
                Some(Event::Answered(answer.outcome))
            }
            // Of keys taken or given back: what came of it is in the message about the keys.
            Message::Answer(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;

    use sonde_protocol::local::{Answer, Command, Keys, Phase, Status};

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
        said(&Message::Status(status.clone()))
    }

    fn said(message: &Message) -> Vec<u8> {
        let mut line = serde_json::to_vec(message).unwrap();
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
    fn a_request_is_answered_once_and_none_is_kept_for_later() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.sock");
        let mut client = Client::new(path.clone());
        client.act(Action::Run(Command::Reboot));
        client.act(Action::TakeKeys);
        let refused = Event::Answered(Outcome::Refused(NOBODY_THERE.to_owned()));
        assert_eq!(client.poll(Duration::ZERO), [refused]);
        let listener = UnixListener::bind(&path).unwrap();
        assert_eq!(client.poll(client.retry_at), []);
        let (mut agent, _) = listener.accept().unwrap();
        client.act(Action::TakeKeys);
        client.act(Action::Run(Command::Reboot));
        let mut lines = BufReader::new(agent.try_clone().unwrap()).lines();
        for (id, ask) in [(1, Ask::TakeKeys), (2, Ask::Run(Command::Reboot))] {
            let line = lines.next().unwrap().unwrap();
            let request: Request = serde_json::from_str(&line).unwrap();
            assert_eq!(request, Request { id, ask });
        }
        let outcome = Outcome::NotManaged;
        let answer = |id| {
            let outcome = outcome.clone();
            said(&Message::Answer(Answer { id, outcome }))
        };
        agent.write_all(&answer(1)).unwrap();
        agent.write_all(&said(&Message::Keys(Keys::Yours))).unwrap();
        agent.write_all(&answer(2)).unwrap();
        agent.write_all(&answer(2)).unwrap();
        assert_eq!(
            client.poll(client.retry_at),
            [Event::Keys(Keys::Yours), Event::Answered(outcome.clone())]
        );
    }

    #[test]
    fn what_is_no_message_ends_the_connection() {
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
