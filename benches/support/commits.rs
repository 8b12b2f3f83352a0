//! Clients that commit in a closed loop: each has a connection and a name of its own, and one write in flight.
//!
//! To our nodes a write is the next tick of a lease that the client holds, an entry of the ledger each time. To etcd it is a PUT of the same
//! number under a key of the same name. Every answer is checked in full: ours byte by byte, etcd's by a revision that is higher than the
//! last one.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};

use super::cluster::Cluster;
use super::grpc::{self, Answer, Connection};
use super::load::{Round, histogram, text};
use super::process::exchange;
use super::{Failure, machine};

/// No answer for this long ends the bench.
const STALLED: Duration = Duration::from_secs(10);
/// The first number that is written: all are equally long.
const FIRST: u64 = 10_000_000;

/// What a client says.
enum Voice {
    Line { line_before: String, answer_before: String, partial: Vec<u8> },
    Grpc { key: String, connection: Connection, revision: u64 },
}

struct Client {
    stream: TcpStream,
    voice: Voice,
    nth: u64,
    out: Vec<u8>,
    sent: Instant,
}

/// Clients of one cluster.
pub(crate) struct Commits {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    in_flight: usize,
    done: u64,
    latency: hdrhistogram::Histogram<u64>,
}

impl Commits {
    /// So many clients, spread over these members.
    pub(crate) fn connect(cluster: &Cluster, members: &[usize], clients: usize) -> Result<Commits, Failure> {
        // Nobody has claimed ticks of these leases, or written these keys, before.
        static CLUSTERS: AtomicU32 = AtomicU32::new(0);
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let poll = Poll::new()?;
        let connected: Result<Vec<Client>, Failure> = (0..clients)
            .map(|nth| {
                let address = cluster.address(members[nth % members.len()]);
                let name = format!("bench-{number:03}-{nth:05}");
                let stream = std::net::TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let mut stream = TcpStream::from_std(stream);
                poll.registry().register(&mut stream, Token(nth), Interest::READABLE | Interest::WRITABLE)?;
                let mut out = Vec::new();
                let voice = match cluster.is_etcd() {
                    true => Voice::Grpc { key: name, connection: Connection::new(&mut out), revision: 0 },
                    false => lease(address, &name)?,
                };
                Ok(Client { stream, voice, nth: FIRST, out, sent: Instant::now() })
            })
            .collect();
        let (clients, events) = (connected?, Events::with_capacity(256));
        Ok(Commits { poll, events, clients, in_flight: 0, done: 0, latency: histogram() })
    }

    /// Runs for `warm` uncounted and `length` counted, then waits for what is in flight.
    pub(crate) fn round(&mut self, cluster: &Cluster, warm: Duration, length: Duration) -> Result<Round, Failure> {
        for index in 0..self.clients.len() {
            self.ask(index)?;
        }
        self.until(Instant::now() + warm, true)?;
        self.latency.reset();
        self.done = 0;
        let (start, own) = (Instant::now(), std::process::id());
        let before = (cluster.spent()?, machine::spent_by(own)?, machine::busy()?);
        self.until(start + length, true)?;
        let wall = start.elapsed().as_secs_f64();
        let theirs = cluster.spent()?.since(before.0);
        let ours = machine::spent_by(own)?.since(before.1);
        let all = machine::busy()?.saturating_sub(before.2);
        let (done, latency) = (self.done, self.latency.clone());
        self.until(Instant::now() + STALLED, false)?;
        if done == 0 {
            return Err("not one commit in a whole round".into());
        }
        Ok(Round {
            rate: done as f64 / wall,
            cpu_ns: theirs.cpu.as_secs_f64() * 1e9 / done as f64,
            share: (theirs.cpu + ours.cpu).as_secs_f64() / wall,
            // Three servers and a generator wait for each other's cores: what counts is what others had.
            waited: all.saturating_sub(theirs.cpu + ours.cpu).as_secs_f64() / wall,
            latency,
        })
    }

    fn until(&mut self, end: Instant, refill: bool) -> Result<(), Failure> {
        let mut last = Instant::now();
        while last < end && self.in_flight > 0 {
            let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            match self.poll.poll(&mut events, Some(STALLED)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    self.events = events;
                    continue;
                }
                other => other?,
            }
            if events.is_empty() {
                return Err(format!("{} writes without an answer for {STALLED:?}", self.in_flight).into());
            }
            for event in &events {
                let index = event.token().0;
                let answered = self.clients[index].turn()?;
                last = Instant::now();
                if answered {
                    let nanos = u64::try_from((last - self.clients[index].sent).as_nanos()).unwrap_or(u64::MAX);
                    self.latency.saturating_record(nanos);
                    self.done += 1;
                    self.in_flight -= 1;
                    if refill {
                        self.ask(index)?;
                    }
                }
            }
            self.events = events;
        }
        if last >= end && !refill {
            return Err(format!("{} writes are still without an answer", self.in_flight).into());
        }
        Ok(())
    }

    fn ask(&mut self, index: usize) -> Result<(), Failure> {
        self.clients[index].ask()?;
        self.in_flight += 1;
        Ok(())
    }
}

impl Client {
    fn ask(&mut self) -> Result<(), Failure> {
        self.nth += 1;
        let nth = self.nth;
        match &mut self.voice {
            Voice::Line { line_before, .. } => writeln!(self.out, "{line_before}{nth}}}")?,
            Voice::Grpc { key, connection, .. } => {
                let message = grpc::put_request(key, &nth.to_string());
                connection.call("/etcdserverpb.KV/Put", &message, &mut self.out)?;
            }
        }
        self.sent = Instant::now();
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(count) => drop(self.out.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads what has come. Returns whether the write is answered.
    fn turn(&mut self) -> Result<bool, Failure> {
        let mut buffer = [0; 16 * 1024];
        let mut answered = false;
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            answered |= self.hear(&buffer[..count])?;
            if count < buffer.len() {
                break;
            }
        }
        self.flush()?;
        Ok(answered)
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        match &mut self.voice {
            Voice::Line { answer_before, partial, .. } => {
                partial.extend_from_slice(bytes);
                if partial.last() != Some(&b'\n') {
                    return Ok(false);
                }
                if *partial != format!("{answer_before}{}}}\n", self.nth).into_bytes() {
                    return Err(format!("a wrong answer: {}", text(partial)).into());
                }
                partial.clear();
                Ok(true)
            }
            Voice::Grpc { connection, revision, .. } => {
                let mut answers = Vec::new();
                connection.hear(bytes, &mut self.out, &mut answers)?;
                let Some(Answer { message, .. }) = answers.pop() else { return Ok(false) };
                let message = message.ok_or("etcd has refused a PUT")?;
                let now = grpc::header(&message).and_then(|header| grpc::number(header, 3)).ok_or("no revision")?;
                if now <= *revision {
                    return Err(format!("the revision was {revision}, and is {now} after a PUT").into());
                }
                *revision = now;
                Ok(true)
            }
        }
    }
}

/// Acquires the lease of this name for an hour.
fn lease(address: SocketAddr, name: &str) -> Result<Voice, Failure> {
    let ask = json!({"TASK": "LEASE", "ACTION": "ACQUIRE", "NAME": name, "HOLDER": name, "TTL_MS": 3_600_000});
    let lease: Value = serde_json::from_slice(&exchange(address, format!("{ask}\n").as_bytes())?)?;
    if lease["RESPONSE"] != "OK" {
        return Err(format!("no lease: {lease}").into());
    }
    let fence = &lease["FENCE"];
    Ok(Voice::Line {
        line_before: format!(
            "{{\"TASK\":\"LEASE\",\"ACTION\":\"TICK\",\"NAME\":\"{name}\",\"HOLDER\":\"{name}\",\"FENCE\":{fence},\"TICK\":"
        ),
        answer_before: format!(
            "{{\"TASK\":\"LEASE\",\"RESPONSE\":\"OK\",\"NAME\":\"{name}\",\"HOLDER\":\"{name}\",\"FENCE\":{fence},\
             \"TTL_MS\":3600000,\"TICK\":"
        ),
        partial: Vec::new(),
    })
}
