//! A display behind LCDd: connects, comes back, shows screens, tells keys.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use crate::event::Event;
use crate::fronts::Front;
use crate::lcdproc::keys::{KeyMap, Keypad};
use crate::lcdproc::session::{Heard, Outputs, Session, SessionError, Use};
use crate::screen::{Geometry, Screen};

/// First wait before another try to reach LCDd; it doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(5);
/// One address is tried for so long.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// LCDd answers within a frame (an eighth of a second). One that owes an answer for so long is stuck.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// How a display is worked.
#[derive(Clone, Debug)]
pub struct Options {
    /// HOST:PORT of LCDd.
    pub server: String,
    /// What its keys do.
    pub keys: KeyMap,
    /// Arrows as the display's icons.
    pub icons: bool,
    /// Its outputs as lights.
    pub outputs: Option<Outputs>,
}

/// Why there is no connection. Told once, not at every try.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("it owes an answer for {} s", ANSWER_MAX.as_secs())]
    Stuck,
}

/// A display behind LCDd.
#[derive(Debug)]
pub struct LcdprocFront {
    options: Options,
    link: Link,
    keypad: Keypad,
    retry_at: Duration,
    wait: Duration,
    /// The screen a new connection begins with.
    screen: Option<Screen>,
    trouble: Option<String>,
}

#[derive(Debug)]
enum Link {
    Down,
    Connecting(Receiver<std::io::Result<TcpStream>>),
    Up {
        stream: TcpStream,
        session: Box<Session>,
        /// When LCDd last said something or owed nothing.
        answered: Duration,
    },
}

impl LcdprocFront {
    /// A front that will connect by itself.
    pub fn new(options: Options) -> LcdprocFront {
        LcdprocFront {
            keypad: Keypad::new(options.keys.clone()),
            options,
            link: Link::Down,
            retry_at: Duration::ZERO,
            wait: WAIT_MIN,
            screen: None,
            trouble: None,
        }
    }

    fn connect(&mut self, now: Duration) {
        match &self.link {
            Link::Down if now >= self.retry_at => {
                let (tell, told) = sync_channel(1);
                let server = self.options.server.clone();
                // Names may take long to resolve, and the other front is not to wait for that.
                let thread = std::thread::Builder::new().name("lcdproc".to_owned());
                let started = thread.spawn(move || _ = tell.send(reach(&server)));
                match started {
                    Ok(_thread) => self.link = Link::Connecting(told),
                    Err(error) => self.lose(&error.into(), now),
                }
            }
            Link::Connecting(told) => match told.try_recv() {
                Ok(Ok(stream)) => self.greet(stream, now),
                Ok(Err(error)) => self.lose(&error.into(), now),
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => {
                    self.lose(&std::io::Error::other("its thread ended").into(), now);
                }
            },
            _ => {}
        }
    }

    fn greet(&mut self, stream: TcpStream, now: Duration) {
        let mut session = Session::new(Use {
            keys: self.options.keys.names(),
            icons: self.options.icons,
            outputs: self.options.outputs,
        });
        if let Some(screen) = &self.screen {
            session.show(screen);
        }
        self.link = Link::Up {
            stream,
            session: Box::new(session),
            answered: now,
        };
    }

    fn lose(&mut self, why: &Lost, now: Duration) {
        self.link = Link::Down;
        self.retry_at = now + self.wait;
        self.wait = (self.wait * 2).min(WAIT_MAX);
        let text = why.to_string();
        if self.trouble.as_ref() != Some(&text) {
            let server = &self.options.server;
            eprintln!("no display at {server}: {text}; trying again until there is one");
            self.trouble = Some(text);
        }
    }

    fn read(&mut self, now: Duration) -> Result<Vec<Heard>, Lost> {
        let mut heard = Vec::new();
        let Link::Up {
            stream,
            session,
            answered,
        } = &mut self.link
        else {
            return Ok(heard);
        };
        let mut chunk = [0; 4096];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(read) => {
                    heard.extend(session.handle_bytes(&chunk[..read])?);
                    *answered = now;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(heard),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn write(&mut self, now: Duration) -> Result<(), Lost> {
        let Link::Up {
            stream,
            session,
            answered,
        } = &mut self.link
        else {
            return Ok(());
        };
        while let Some(batch) = session.poll_transmit() {
            // LCDd loses a line that comes in two pieces: what can not go whole is another connection's.
            if stream.write(batch.as_bytes())? < batch.len() {
                return Err(Lost::Stuck);
            }
            *answered = now;
        }
        if session.is_waiting() && now >= *answered + ANSWER_MAX {
            return Err(Lost::Stuck);
        }
        Ok(())
    }
}

impl Front for LcdprocFront {
    fn wait_on(&self) -> Option<BorrowedFd<'_>> {
        match &self.link {
            Link::Up { stream, .. } => Some(stream.as_fd()),
            _ => None,
        }
    }

    fn poll_timeout(&self) -> Option<Duration> {
        self.keypad.poll_timeout()
    }

    fn poll(&mut self, now: Duration, geometry: &mut Option<Geometry>) -> Vec<Event> {
        self.connect(now);
        let mut events = self.keypad.handle_time(now);
        let heard = self.read(now);
        match heard.and_then(|heard| self.write(now).map(|()| heard)) {
            Ok(heard) => {
                for heard in heard {
                    match heard {
                        Heard::Display(display) => {
                            *geometry = Some(display);
                            self.wait = WAIT_MIN;
                            self.trouble = None;
                        }
                        Heard::Key(name) => events.extend(self.keypad.handle_key(&name, now)),
                        Heard::Refused(why) => {
                            eprintln!("the display at {}: {why}", self.options.server);
                        }
                    }
                }
            }
            Err(why) => self.lose(&why, now),
        }
        events
    }

    fn show(&mut self, screen: &Screen, now: Duration) {
        self.screen = Some(screen.clone());
        if let Link::Up { session, .. } = &mut self.link {
            session.show(screen);
        }
        if let Err(why) = self.write(now) {
            self.lose(&why, now);
        }
    }
}

fn reach(server: &str) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::from(ErrorKind::NotFound);
    for address in server.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_MAX) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}
