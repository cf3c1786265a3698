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
    /// What LCDd refused, told once.
    refused: Vec<String>,
}

/// So many different refusals are told; LCDd knows fewer.
const REFUSALS_MAX: usize = 16;

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
            refused: Vec::new(),
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

    fn tell_refusal(&mut self, why: String) {
        if self.refused.len() < REFUSALS_MAX && !self.refused.contains(&why) {
            eprintln!("the display at {}: {why}", self.options.server);
            self.refused.push(why);
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
                        Heard::Refused(why) => self.tell_refusal(why),
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;
    use crate::event::{Key, Press};

    const LIMIT: Duration = Duration::from_secs(20);
    const CONNECT: &str =
        "connect LCDproc 0.5.9 protocol 0.3 lcd wid 20 hgt 4 cellwid 5 cellhgt 8\n";

    fn front(listener: &TcpListener) -> LcdprocFront {
        LcdprocFront::new(Options {
            server: listener.local_addr().unwrap().to_string(),
            keys: KeyMap::of_panel(5).unwrap(),
            icons: true,
            outputs: None,
        })
    }

    /// Polls until `done`; all events and the last geometry told.
    fn drive(
        front: &mut LcdprocFront,
        started: Instant,
        mut done: impl FnMut(&LcdprocFront, &[Event], Option<Geometry>) -> bool,
    ) -> Vec<Event> {
        let (mut events, mut geometry) = (Vec::new(), None);
        while !done(front, &events, geometry) {
            assert!(started.elapsed() < LIMIT, "{front:?}");
            events.extend(front.poll(started.elapsed(), &mut geometry));
            std::thread::yield_now();
        }
        events
    }

    /// Takes commands up to the next `noop`.
    fn batch(lcdd: &mut BufReader<TcpStream>) -> String {
        let mut text = String::new();
        while !text.ends_with("noop\n") {
            assert!(lcdd.read_line(&mut text).unwrap() > 0, "{text:?}");
        }
        text
    }

    #[test]
    fn a_display_that_comes_back_is_set_up_anew_with_the_screen_shown_last() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut front, started) = (front(&listener), Instant::now());
        let mut screen = Screen::new(Geometry::LCD_20X4);
        screen.write(0, 0, "VLAN 0-4094");
        front.show(&screen, Duration::ZERO);
        for round in 0..2 {
            drive(&mut front, started, |front, _, _| {
                matches!(front.link, Link::Up { .. })
            });
            let (stream, _) = listener.accept().unwrap();
            let mut lcdd = BufReader::new(stream);
            drive(
                &mut front,
                started,
                |front, _, _| matches!(&front.link, Link::Up { session, .. } if session.is_waiting()),
            );
            let mut hello = String::new();
            lcdd.read_line(&mut hello).unwrap();
            assert_eq!(hello, "hello\n");
            lcdd.get_mut().write_all(CONNECT.as_bytes()).unwrap();
            drive(&mut front, started, |_, _, geometry| {
                geometry == Some(Geometry::LCD_20X4)
            });
            let text = batch(&mut lcdd);
            assert!(text.contains("screen_add s\n"), "round {round}: {text}");
            assert!(text.contains("\"VLAN 0-4094         \""), "{text}");
            lcdd.get_mut()
                .write_all(b"noop complete\nkey Enter\n")
                .unwrap();
            let events = drive(&mut front, started, |_, events, _| events.len() == 2);
            let enter = |press| Event::Key(Key::Enter, press);
            assert_eq!(events, [enter(Press::Down), enter(Press::Up)]);
            drop(lcdd);
            drive(&mut front, started, |front, _, _| {
                matches!(front.link, Link::Down)
            });
        }
    }

    #[test]
    fn what_is_no_lcdd_is_left_alone_for_longer_and_longer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut front, started) = (front(&listener), Instant::now());
        for wait in [WAIT_MIN, WAIT_MIN * 2] {
            assert_eq!(front.wait, wait);
            drive(&mut front, started, |front, _, _| {
                matches!(front.link, Link::Up { .. })
            });
            let (mut other, _) = listener.accept().unwrap();
            other.write_all(b"220 mail.example.org\r\n").unwrap();
            drive(&mut front, started, |front, _, _| {
                matches!(front.link, Link::Down)
            });
        }
        assert!(front.trouble.unwrap().contains("220 mail.example.org"));
    }
}
