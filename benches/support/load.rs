//! The load generator: C connections, each with D requests in flight, closed loop, every reply checked.
//!
//! A connection sends D requests at once. Whenever k replies have come, it sends k requests in one write. So never more
//! than D wait, and the server is never asked faster than it answers. It is one thread over mio, edge-triggered, and it
//! spends little: requests are laid out beforehand, and replies that are known to the byte are compared a chunk at
//! a time. The same generator drives every server, the node and Redis alike.
//!
//! Latency is counted from the write of a request to the read that completed its reply, so it holds the time that
//! requests of one batch wait for each other.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::repeated::{Due, Repeated};
use super::server::each_line;
use super::{Failure, machine};

const READ_BYTES: usize = 256 * 1024;
/// No reply for this long ends the bench: the server hangs, or lost a request.
const STALLED: Duration = Duration::from_secs(10);
/// Of replies that differ, one in this many is parsed; the others are compared with what must be the same.
const PARSED_OF: u64 = 1024;

/// What is asked, and how the reply is checked.
#[derive(Clone)]
pub(crate) struct Ask {
    /// The request, newline included.
    pub(crate) request: Vec<u8>,
    /// What is accepted.
    pub(crate) check: Check,
}

/// What is accepted as a reply.
#[derive(Clone)]
pub(crate) enum Check {
    /// Exactly these bytes, newline included.
    Exact(Vec<u8>),
    /// A line that begins and ends with these, newline included, and is as long as the first reply but for `slack`
    /// bytes. One in 1,024 is given to `parse`.
    Varying {
        /// What every reply begins with.
        prefix: Vec<u8>,
        /// Length of the first reply, without newline.
        length: usize,
        /// By how much lengths may differ.
        slack: usize,
        /// Whether a reply is right in full; if not, why.
        parse: fn(&[u8]) -> Result<(), String>,
    },
}

/// What one round has shown.
#[derive(Clone)]
pub(crate) struct Round {
    /// Requests a second.
    pub(crate) rate: f64,
    /// CPU time of the server a request, in nanoseconds.
    pub(crate) cpu_ns: f64,
    /// Share of one core that server and generator had together.
    pub(crate) share: f64,
    /// Share of the round in which server or generator could have run and had no core.
    pub(crate) waited: f64,
    /// Latency in nanoseconds.
    pub(crate) latency: Histogram<u64>,
}

impl Round {
    /// Whether something else on the machine took too much of it for the round to count. On one core the pair must
    /// have had 90 % of it. On two, neither may have waited for its core for more than 10 % of the time.
    pub(crate) fn disturbed(&self, one_core: bool) -> bool {
        if one_core { self.share < 0.9 } else { self.waited > 0.1 }
    }
}

struct Conn {
    stream: TcpStream,
    due: Due,
    /// How far into the expected line the replies have come.
    phase: usize,
    partial: Vec<u8>,
    /// When requests were sent and how many of them have no reply.
    sent: VecDeque<(Instant, usize)>,
}

/// A set of connections to one server.
pub(crate) struct Load {
    poll: Poll,
    events: Events,
    conns: Vec<Conn>,
    requests: Repeated,
    replies: Repeated,
    check: Check,
    depth: usize,
    buffer: Vec<u8>,
    in_flight: usize,
    seen: u64,
    done: u64,
    latency: Histogram<u64>,
}

impl Load {
    /// Connects. Nothing is sent yet.
    pub(crate) fn connect(to: SocketAddr, ask: &Ask, conns: usize, depth: usize) -> Result<Load, Failure> {
        let poll = Poll::new()?;
        let connected: Result<Vec<Conn>, Failure> = (0..conns)
            .map(|index| {
                let stream = std::net::TcpStream::connect(to)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let mut stream = TcpStream::from_std(stream);
                poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
                let sent = VecDeque::with_capacity(depth);
                Ok(Conn { stream, due: Due::default(), phase: 0, partial: Vec::new(), sent })
            })
            .collect();
        let expected: &[u8] = match &ask.check {
            Check::Exact(line) => line,
            Check::Varying { .. } => b"\n",
        };
        Ok(Load {
            poll,
            events: Events::with_capacity(1024),
            conns: connected?,
            requests: Repeated::new(&ask.request, depth * ask.request.len()),
            replies: Repeated::new(expected, READ_BYTES),
            check: ask.check.clone(),
            depth,
            buffer: vec![0; READ_BYTES],
            in_flight: 0,
            seen: 0,
            done: 0,
            latency: histogram(),
        })
    }

    /// Runs for `warm` uncounted and `length` counted, then waits for what is in flight.
    pub(crate) fn round(&mut self, server: u32, warm: Duration, length: Duration) -> Result<Round, Failure> {
        let begin = Instant::now();
        for index in 0..self.conns.len() {
            self.send(index, self.depth, begin)?;
        }
        self.until(begin + warm, true)?;
        self.latency.reset();
        self.done = 0;
        let (start, own) = (Instant::now(), std::process::id());
        let before = [machine::spent_by(server)?, machine::spent_by(own)?];
        self.until(start + length, true)?;
        let wall = start.elapsed().as_secs_f64();
        let theirs = machine::spent_by(server)?.since(before[0]);
        let ours = machine::spent_by(own)?.since(before[1]);
        let (done, latency) = (self.done, self.latency.clone());
        self.until(Instant::now() + STALLED, false)?;
        if done == 0 {
            return Err("not one reply in a whole round".into());
        }
        Ok(Round {
            rate: done as f64 / wall,
            cpu_ns: theirs.cpu.as_secs_f64() * 1e9 / done as f64,
            share: (theirs.cpu + ours.cpu).as_secs_f64() / wall,
            waited: theirs.waited.max(ours.waited).as_secs_f64() / wall,
            latency,
        })
    }

    /// Takes replies until `end`, or until none is in flight. `refill` sends a request for each.
    fn until(&mut self, end: Instant, refill: bool) -> Result<(), Failure> {
        let mut last = Instant::now();
        while last < end && self.in_flight > 0 {
            // Moved out while it is read, so that the connections can be written.
            let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            match self.poll.poll(&mut events, Some(STALLED)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    self.events = events;
                    continue;
                }
                other => other?,
            }
            if events.is_empty() {
                return Err(format!("{} requests without a reply for {STALLED:?}", self.in_flight).into());
            }
            for event in &events {
                last = self.turn(event.token().0, refill)?;
            }
            self.events = events;
        }
        Ok(())
    }

    /// Reads one connection, checks, and sends as many requests as replies came. Returns the time.
    fn turn(&mut self, index: usize, refill: bool) -> Result<Instant, Failure> {
        let conn = &mut self.conns[index];
        conn.due.flush(&self.requests, &mut conn.stream)?;
        let mut replies = 0;
        loop {
            let n = match conn.stream.read(&mut self.buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let chunk = &self.buffer[..n];
            replies += match &self.check {
                Check::Exact(_) => {
                    let Some((lines, phase)) = self.replies.compare(conn.phase, chunk) else {
                        return Err(format!("a wrong reply, within: {}", text(chunk)).into());
                    };
                    conn.phase = phase;
                    lines
                }
                check @ Check::Varying { .. } => {
                    let (seen, mut wrong) = (&mut self.seen, Ok(()));
                    let lines = each_line(chunk, &mut conn.partial, |line| {
                        *seen += 1;
                        if let Err(why) = check.reply(line, *seen % PARSED_OF == 0) {
                            wrong = Err(why);
                        }
                    });
                    wrong?;
                    lines
                }
            };
            if n < self.buffer.len() {
                break;
            }
        }
        let now = Instant::now();
        if replies == 0 {
            return Ok(now);
        }
        self.done += replies as u64;
        self.in_flight = self.in_flight.checked_sub(replies).ok_or("more replies than requests")?;
        let mut left = replies;
        while left > 0 {
            let Some((at, count)) = conn.sent.front_mut() else { return Err("more replies than requests".into()) };
            let taken = left.min(*count);
            let nanos = u64::try_from((now - *at).as_nanos()).unwrap_or(u64::MAX);
            self.latency.saturating_record_n(nanos, taken as u64);
            *count -= taken;
            left -= taken;
            if *count == 0 {
                conn.sent.pop_front();
            }
        }
        if refill {
            self.send(index, replies, now)?;
        }
        Ok(now)
    }

    fn send(&mut self, index: usize, requests: usize, now: Instant) -> Result<(), Failure> {
        let conn = &mut self.conns[index];
        conn.sent.push_back((now, requests));
        conn.due.add(requests, &self.requests);
        conn.due.flush(&self.requests, &mut conn.stream)?;
        self.in_flight += requests;
        Ok(())
    }
}

impl Ask {
    /// Length of the (first) reply, newline included.
    pub(crate) fn reply_bytes(&self) -> usize {
        match &self.check {
            Check::Exact(line) => line.len(),
            Check::Varying { length, .. } => length + 1,
        }
    }
}

impl Check {
    /// Whether `line`, without its newline, is right; if not, why. `parse`: in full.
    pub(crate) fn reply(&self, line: &[u8], full: bool) -> Result<(), String> {
        match self {
            Check::Exact(expected) => match expected.strip_suffix(b"\n") == Some(line) {
                true => Ok(()),
                false => Err(format!("a wrong reply: {}", text(line))),
            },
            Check::Varying { prefix, length, slack, parse } => {
                if !line.starts_with(prefix) || !line.ends_with(b"}") || line.len().abs_diff(*length) > *slack {
                    return Err(format!("a wrong reply: {}", text(line)));
                }
                if full { parse(line) } else { Ok(()) }
            }
        }
    }
}

/// An empty histogram of nanoseconds, 3 significant digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("bounds and digits are within what the crate allows")
}

/// The first 200 bytes, for people.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}
