//! A small blocking client: lines out, lines back. For people's commands; nodes speak through the event loop.
//!
//! It connects when something is to be sent and no connection stands. What may be sent twice is decided by who knows
//! what the lines mean (`ask`): only [`Client::ask`] ever sends a line again, and it is for questions.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use serde::de::IgnoredAny;
use socket2::{SockRef, TcpKeepalive};

use crate::wire::{Address, Host};

/// Longest answer that is read. A page of the registry is far shorter; a peer that sends more is no node.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// A whole object that is followed by this much silence is an answer: some programs end theirs without a newline.
const SILENCE_ENDS_ANSWER: Duration = Duration::from_millis(200);

/// Bytes of lines that were read before the buffer is moved up.
const COMPACT_AT: usize = 64 * 1024;

/// A peer whose machine is gone is noticed after this much silence, while somebody waits for hours for a job to end.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The name of the host leads nowhere.
    #[error("the host of {0} is not known: {1}")]
    UnknownHost(Address, io::Error),
    /// The connection was refused.
    #[error("nobody listens at {0}")]
    NobodyListens(Address),
    /// No connection came about in time.
    #[error("no connection to {0} within {text}", text = seconds(*.1))]
    NoConnection(Address, Duration),
    /// The system refused, such as for a host that cannot be reached.
    #[error("cannot connect to {0}: {1}")]
    Connect(Address, io::Error),
    /// The connection stands, and nothing came in time.
    #[error("no answer from {0} within {text}", text = seconds(*.1))]
    NoAnswer(Address, Duration),
    /// The peer closed the connection instead.
    #[error("the peer at {0} closed the connection without an answer")]
    Closed(Address),
    /// The answer is longer than 1 MiB.
    #[error("the answer of {0} is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong(Address),
    /// The answer is not UTF-8.
    #[error("the answer of {0} is not UTF-8")]
    NotText(Address),
    /// The connection broke.
    #[error("connection to {0}: {1}")]
    Broken(Address, io::Error),
}

impl ClientError {
    /// Whether a connection that stood was lost, so that it is not known what became of what was sent.
    pub(super) fn is_lost(&self) -> bool {
        matches!(self, ClientError::Closed(_) | ClientError::Broken(..))
    }

    /// Whether no connection came about, so that nothing was sent.
    pub(super) fn is_unreachable(&self) -> bool {
        matches!(
            self,
            ClientError::UnknownHost(..)
                | ClientError::NobodyListens(_)
                | ClientError::NoConnection(..)
                | ClientError::Connect(..)
        )
    }
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// A peer that is asked, over one connection after another if it closes them.
pub(super) struct Client {
    address: Address,
    wait: Duration,
    abrupt: bool,
    link: Option<Link>,
}

/// An open connection, and what came on it after the last answer.
struct Link {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where in the buffer the next line begins.
    start: usize,
    answers: u64,
}

impl Client {
    /// A client that waits at most `wait` for a connection, and again for each answer. Nothing is sent yet.
    pub(super) fn new(address: Address, wait: Duration) -> Client {
        // The system takes no timeout of zero.
        Client { address, wait: wait.max(Duration::from_millis(1)), abrupt: false, link: None }
    }

    /// The same, whose connections end with a reset, also when this process is killed: a node takes what it was asked for back at once,
    /// where it would else think that an answer is still read.
    pub(super) fn abrupt(address: Address, wait: Duration) -> Client {
        Client { abrupt: true, ..Client::new(address, wait) }
    }

    /// Waits at most this long from now on.
    pub(super) fn set_wait(&mut self, wait: Duration) {
        self.wait = wait.max(Duration::from_millis(1));
    }

    /// Sends `line` (without newline) and reads one answer line.
    ///
    /// A connection on which answers have come may be closed by the peer at any time, as the seed does after each:
    /// then the line is sent again, once, on a new one. So a line may reach the peer twice; ask questions only.
    pub(super) fn ask(&mut self, line: &str) -> Result<String, ClientError> {
        let reused = self.link.as_ref().is_some_and(|link| link.answers > 0);
        match self.ask_once(line) {
            Err(ClientError::Closed(_) | ClientError::Broken(..)) if reused => self.ask_once(line),
            outcome => outcome,
        }
    }

    fn ask_once(&mut self, line: &str) -> Result<String, ClientError> {
        let outcome = self.send(line).and_then(|()| self.next_line(Some(Instant::now() + self.wait)));
        match outcome {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => {
                self.link = None;
                Err(ClientError::Closed(self.address.clone()))
            }
            Err(error) => {
                // A late answer must not be taken for that of the next line.
                self.link = None;
                Err(error)
            }
        }
    }

    /// Whom it asks.
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether answers have come on the connection that stands. The peer may have closed it since.
    pub(super) fn has_answered(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.answers > 0)
    }

    /// Gives the connection up. The next line goes over a new one.
    pub(super) fn hang_up(&mut self) {
        self.link = None;
    }

    /// Sends `line` without waiting for its answer.
    pub(super) fn send(&mut self, line: &str) -> Result<(), ClientError> {
        let mut bytes = Vec::with_capacity(line.len() + 1);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        self.send_bytes(&bytes)
    }

    /// Sends whole lines, each with its newline, over a new connection if none stands.
    pub(super) fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let wait = self.wait;
        let address = self.address.clone();
        let link = self.link()?;
        let written = link.stream.set_write_timeout(Some(wait)).and_then(|()| link.stream.write_all(bytes));
        written.map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::NoAnswer(address, wait),
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed(address),
            _ => ClientError::Broken(address, error),
        })
    }

    /// The next line that comes, `None` once the peer has closed. Without a deadline it waits for ever.
    pub(super) fn next_line(&mut self, deadline: Option<Instant>) -> Result<Option<String>, ClientError> {
        let (address, wait) = (self.address.clone(), self.wait);
        let Some(link) = &mut self.link else { return Ok(None) };
        let mut searched = 0;
        loop {
            let pending = &link.buffer[link.start..];
            if let Some(at) = memchr::memchr(b'\n', &pending[searched..]) {
                let end = searched + at;
                let line = link.take_line(end);
                // Blank lines are no answers.
                if !line.is_empty() {
                    return text(line, &address).map(Some);
                }
                searched = 0;
                continue;
            }
            searched = pending.len();
            if pending.len() > MAX_ANSWER_BYTES {
                return Err(ClientError::TooLong(address));
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Err(ClientError::NoAnswer(address, wait));
            }
            let begun = !pending.is_empty();
            let pause =
                if begun { Some(left.map_or(SILENCE_ENDS_ANSWER, |left| left.min(SILENCE_ENDS_ANSWER))) } else { left };
            match link.read(pause) {
                Ok(0) if begun => {
                    let line = link.take_line(searched);
                    return text(line, &address).map(Some);
                }
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {
                    if serde_json::from_slice::<IgnoredAny>(&link.buffer[link.start..]).is_ok() {
                        let line = link.take_line(searched);
                        return text(line, &address).map(Some);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
                Err(error) => return Err(ClientError::Broken(address, error)),
            }
        }
    }

    /// Whether a whole line has been read already, so that [`Client::next_line`] does not wait.
    pub(super) fn has_line(&self) -> bool {
        self.link.as_ref().is_some_and(|link| memchr::memchr(b'\n', &link.buffer[link.start..]).is_some())
    }

    fn link(&mut self) -> Result<&mut Link, ClientError> {
        if self.link.as_ref().is_some_and(Link::is_closed) {
            self.link = None;
        }
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let stream = connect(&self.address, self.wait)?;
                if self.abrupt {
                    // Where it is refused, the node waits for its time.
                    let _: io::Result<()> = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                }
                Link { stream, buffer: Vec::new(), start: 0, answers: 0 }
            }
        };
        Ok(self.link.insert(link))
    }
}

impl Link {
    /// The next `end` bytes of the buffer, without the newline that follows or the blanks around them.
    fn take_line(&mut self, end: usize) -> Vec<u8> {
        let line = self.buffer[self.start..self.start + end].trim_ascii().to_vec();
        self.start = (self.start + end + 1).min(self.buffer.len());
        if self.start == self.buffer.len() || self.start > COMPACT_AT {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.answers += u64::from(!line.is_empty());
        line
    }

    fn read(&mut self, pause: Option<Duration>) -> io::Result<usize> {
        let pause = pause.map(|pause| pause.max(Duration::from_millis(1)));
        self.stream.set_read_timeout(pause)?;
        let mut chunk = [0; 16 * 1024];
        let count = self.stream.read(&mut chunk)?;
        self.buffer.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    /// Whether the peer has closed, as far as the system has heard by now.
    fn is_closed(&self) -> bool {
        let peeked = self
            .stream
            .set_nonblocking(true)
            .and_then(|()| self.stream.peek(&mut [0]))
            .map(|count| count == 0)
            .unwrap_or_else(|error| error.kind() != io::ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).is_err() || peeked
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn text(line: Vec<u8>, address: &Address) -> Result<String, ClientError> {
    String::from_utf8(line).map_err(|_| ClientError::NotText(address.clone()))
}

/// Connects to the first address of the host that takes the call, all within `wait`.
fn connect(address: &Address, wait: Duration) -> Result<TcpStream, ClientError> {
    let deadline = Instant::now() + wait;
    let mut failure = None;
    for socket in resolve(address, wait)? {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match TcpStream::connect_timeout(&socket, left) {
            Ok(stream) => {
                // Lines are short and answers are waited for. Where it is refused, it is only slower.
                let _: io::Result<()> = stream.set_nodelay(true);
                let probes = TcpKeepalive::new().with_time(KEEPALIVE_IDLE);
                let _: io::Result<()> = SockRef::from(&stream).set_tcp_keepalive(&probes);
                return Ok(stream);
            }
            Err(error) => failure = Some(error),
        }
    }
    Err(match failure {
        Some(error) if error.kind() == io::ErrorKind::ConnectionRefused => ClientError::NobodyListens(address.clone()),
        Some(error) if !is_timeout(&error) => ClientError::Connect(address.clone(), error),
        _ => ClientError::NoConnection(address.clone(), wait),
    })
}

/// The sockets of a host. A name is looked up on a thread: the system's resolver takes no deadline.
fn resolve(address: &Address, wait: Duration) -> Result<Vec<SocketAddr>, ClientError> {
    let Host::Name(name) = &address.host else { return Ok(address.socket().into_iter().collect()) };
    let (found, told) = bounded(1);
    let (name, port) = (name.clone(), address.port);
    let unknown = |error| ClientError::UnknownHost(address.clone(), error);
    let lookup = move || {
        let sockets = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
        // Nobody may be waiting any more.
        let _ = found.send(sockets);
    };
    std::thread::Builder::new().name("resolve".to_owned()).spawn(lookup).map_err(unknown)?;
    match told.recv_timeout(wait) {
        Ok(sockets) => sockets.map_err(unknown),
        Err(_) => Err(unknown(io::Error::new(io::ErrorKind::TimedOut, "the name server does not answer"))),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;
    use std::thread;

    /// A peer for tests: for each connection that comes, what to do with it.
    pub(crate) fn peer(mut serve: impl FnMut(BufReader<TcpStream>) + Send + 'static) -> Address {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = Address::of(listener.local_addr().unwrap());
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                serve(BufReader::new(stream));
            }
        });
        address
    }

    fn client(address: &Address) -> Client {
        Client::new(address.clone(), Duration::from_secs(20))
    }

    fn impatient(address: &Address) -> Client {
        Client::new(address.clone(), Duration::from_millis(300))
    }

    #[test]
    fn a_peer_that_closes_after_each_answer_is_called_again() {
        let address = peer(|mut stream| {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            stream.get_mut().write_all(format!("got {line}").as_bytes()).unwrap();
        });
        let mut client = client(&address);
        for n in 0..20 {
            assert_eq!(client.ask(&n.to_string()).unwrap(), format!("got {n}"));
        }
    }

    #[test]
    fn one_connection_serves_as_long_as_the_peer_keeps_it() {
        let address = peer(|stream| {
            let mut writer = stream.get_ref().try_clone().unwrap();
            for (n, _) in stream.lines().map_while(Result::ok).enumerate() {
                writer.write_all(format!("\n{n}\r\n").as_bytes()).unwrap();
            }
        });
        let mut client = client(&address);
        for n in 0..5 {
            assert_eq!(client.ask("x").unwrap(), n.to_string());
        }
    }

    #[test]
    fn answers_without_newline_count_at_the_end_and_after_a_pause() {
        let at_end = peer(|mut stream| {
            stream.read_line(&mut String::new()).unwrap();
            stream.get_mut().write_all(b"{\"A\":1}").unwrap();
        });
        assert_eq!(client(&at_end).ask("x").unwrap(), "{\"A\":1}");
        let mut held = Vec::new();
        let after_pause = peer(move |mut stream| {
            stream.read_line(&mut String::new()).unwrap();
            stream.get_mut().write_all(b"{\"A\":").unwrap();
            stream.get_mut().write_all(b"1}").unwrap();
            held.push(stream);
        });
        assert_eq!(client(&after_pause).ask("x").unwrap(), "{\"A\":1}");
    }

    #[test]
    fn each_way_to_get_no_answer_has_its_words() {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let free = Address::of(free);
        let error = client(&free).ask("x").unwrap_err().to_string();
        assert_eq!(error, format!("nobody listens at {free}"));

        let closes = peer(|mut stream| drop(stream.read_line(&mut String::new())));
        let error = client(&closes).ask("x").unwrap_err().to_string();
        assert_eq!(error, format!("the peer at {closes} closed the connection without an answer"));

        let mut held = Vec::new();
        let silent = peer(move |stream| held.push(stream));
        let error = impatient(&silent).ask("x").unwrap_err().to_string();
        assert_eq!(error, format!("no answer from {silent} within 0.3 s"));

        let mut held = Vec::new();
        let half = peer(move |mut stream| {
            stream.get_mut().write_all(b"{\"A\":").unwrap();
            held.push(stream);
        });
        assert!(matches!(impatient(&half).ask("x"), Err(ClientError::NoAnswer(..))));

        let endless = peer(|mut stream| while stream.get_mut().write_all(&[b'x'; 4096]).is_ok() {});
        assert!(matches!(client(&endless).ask("x"), Err(ClientError::TooLong(_))));

        let binary = peer(|mut stream| stream.get_mut().write_all(b"\xff\xfe\n").unwrap());
        assert!(matches!(client(&binary).ask("x"), Err(ClientError::NotText(_) | ClientError::Closed(_))));

        let nowhere: Address = "no-such-host.invalid:1".parse().unwrap();
        assert!(matches!(client(&nowhere).ask("x"), Err(ClientError::UnknownHost(..))));
    }
}
