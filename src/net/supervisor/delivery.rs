//! One report on its way: look up, connect, send, close, all within [`REPORT_WITHIN`].

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::wire::{Address, Host};

use super::tls::Tls;
use crate::net::limits::{LINGER, LINGER_BYTES, REPORT_WITHIN};
use crate::net::resolver::look_up;

/// Addresses of a name, or why there are none.
type Found = Result<Vec<IpAddr>, String>;

/// Brings reports to one supervisor, each on a connection of its own.
pub(super) struct Courier {
    address: Address,
    tls: Option<Tls>,
    /// A look-up that took longer than a report may: its answer is the next one's. So there is one at a time.
    looking: Option<Receiver<Found>>,
}

impl Courier {
    pub(super) fn new(address: Address, tls: Option<Tls>) -> Courier {
        Courier { address, tls, looking: None }
    }

    /// Hands over one line. `Ok`: the supervisor's system has taken it; that somebody has read it nobody says.
    pub(super) fn deliver(&mut self, line: &[u8]) -> Result<(), String> {
        self.deliver_within(line, REPORT_WITHIN)
    }

    fn deliver_within(&mut self, line: &[u8], within: Duration) -> Result<(), String> {
        let until = Instant::now() + within;
        let addresses = self.addresses(until)?;
        let stream = connect(&addresses, self.address.port, until)?;
        let mut stream = Timed { stream, until };
        match &self.tls {
            None => stream.write_all(line).map_err(|error| unsent(&error))?,
            Some(tls) => tls.send(&mut stream, &self.address.host, line)?,
        }
        stream.finish();
        Ok(())
    }

    fn addresses(&mut self, until: Instant) -> Found {
        let name = match &self.address.host {
            Host::Ip(ip) => return Ok(vec![*ip]),
            Host::Name(name) => name,
        };
        let looking = match self.looking.take() {
            Some(looking) => looking,
            None => {
                let (answer, looking) = bounded(1);
                let wanted = name.clone();
                let thread = thread::Builder::new().name("supervisor-name".into()).stack_size(256 * 1024);
                let asks = move || {
                    let _ = answer.send(look_up(&wanted));
                };
                thread.spawn(asks).map_err(|error| format!("name {name} cannot be looked up: {error}"))?;
                looking
            }
        };
        match looking.recv_timeout(left(until)) {
            Ok(found) => found,
            Err(RecvTimeoutError::Timeout) => {
                self.looking = Some(looking);
                Err(format!("name {name} is still being looked up"))
            }
            Err(RecvTimeoutError::Disconnected) => Err(format!("name {name} cannot be looked up")),
        }
    }
}

/// A connection to one of these addresses, the first that takes it. Each has its share of the time.
fn connect(addresses: &[IpAddr], port: u16, until: Instant) -> Result<TcpStream, String> {
    let mut trouble = "it has no address".to_owned();
    for (nth, ip) in addresses.iter().enumerate() {
        let rest = u32::try_from(addresses.len() - nth).unwrap_or(u32::MAX);
        let socket = SocketAddr::new(*ip, port);
        match TcpStream::connect_timeout(&socket, (left(until) / rest).max(SHORTEST)) {
            Ok(stream) => return Ok(stream),
            Err(error) => trouble = format!("{socket} cannot be connected to: {error}"),
        }
    }
    Err(trouble)
}

/// What the operating system takes for a time-out; of zero it makes none at all.
const SHORTEST: Duration = Duration::from_millis(1);

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

/// Why a report was not sent, for people.
pub(super) fn unsent(error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => "it took the connection, and not the report in time".to_owned(),
        ErrorKind::WriteZero | ErrorKind::UnexpectedEof => {
            "it closed the connection before it had the report".to_owned()
        }
        _ => format!("it did not take the report: {error}"),
    }
}

/// A connection on which everything together ends in time.
pub(super) struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Duration> {
        let left = left(self.until);
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left.max(SHORTEST)) }
    }

    /// Ends the connection so that everything sent arrives. What the other side says is thrown away, but taken: unread input would turn
    /// the end into a reset, which may overtake the report.
    fn finish(mut self) {
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        self.until = self.until.min(Instant::now() + LINGER);
        let (mut buffer, mut taken) = ([0; 4096], 0);
        while taken < LINGER_BYTES as usize {
            match self.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(count) => taken += count,
            }
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(self.left()?))?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(self.left()?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const SHORT: Duration = Duration::from_millis(300);

    fn courier(listener: &TcpListener) -> Courier {
        Courier::new(Address::of(listener.local_addr().unwrap()), None)
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn a_supervisor_that_never_reads_costs_no_more_than_the_time() {
        let listener = listener();
        let begun = Instant::now();
        // More than the buffers of both ends hold.
        let reason = courier(&listener).deliver_within(&vec![b'x'; 64 << 20], SHORT).unwrap_err();
        assert_eq!(reason, "it took the connection, and not the report in time");
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        // A report that fits into them is taken.
        assert_eq!(courier(&listener).deliver_within(b"{}\n", SHORT), Ok(()));
    }

    #[test]
    fn what_the_supervisor_says_does_not_cost_it_the_report() {
        let listener = listener();
        let mut courier = courier(&listener);
        // More than the buffers of both ends hold: some of it is still on its way when the last byte is written.
        let line = vec![b'y'; 16 << 20];
        let sender = thread::spawn({
            let line = line.clone();
            move || courier.deliver_within(&line, Duration::from_secs(20))
        });
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(&[b'!'; 10_000]).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        drop(stream);
        assert_eq!(got, line);
        assert_eq!(sender.join().unwrap(), Ok(()));
    }

    #[test]
    fn a_name_that_does_not_exist_is_told_as_such() {
        // RFC 6761: names under `invalid` never exist.
        let address = Address { host: Host::Name("nobody.invalid".to_owned()), port: 1 };
        let reason = Courier::new(address, None).deliver_within(b"{}\n", Duration::from_secs(60)).unwrap_err();
        assert!(reason.contains("nobody.invalid"), "{reason}");
    }

    #[test]
    fn a_look_up_that_takes_too_long_answers_the_next_report() {
        let listener = listener();
        let port = listener.local_addr().unwrap().port();
        let mut courier = Courier::new(Address { host: Host::Name("slow.invalid".to_owned()), port }, None);
        let (answer, looking) = bounded(1);
        courier.looking = Some(looking);
        let reason = courier.deliver_within(b"{}\n", SHORT).unwrap_err();
        assert_eq!(reason, "name slow.invalid is still being looked up");
        answer.send(Ok(vec![IpAddr::from([127, 0, 0, 1])])).unwrap();
        assert_eq!(courier.deliver_within(b"{}\n", Duration::from_secs(20)), Ok(()));
        assert!(courier.looking.is_none(), "the next one looks anew");
    }

    #[test]
    fn an_address_that_refuses_leaves_time_for_the_next_one() {
        let taken = listener();
        let port = taken.local_addr().unwrap().port();
        let addresses = [IpAddr::from([127, 0, 0, 77]), IpAddr::from([127, 0, 0, 1])];
        let stream = connect(&addresses, port, Instant::now() + Duration::from_secs(20)).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), taken.local_addr().unwrap());
        assert_eq!(connect(&[], port, Instant::now()).unwrap_err(), "it has no address");
    }
}
