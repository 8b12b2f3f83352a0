//! The generator for brokers: one client and one worker, D jobs in flight, closed loop, every result checked.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::broker::{Broker, Out};
use super::load::{Round, histogram};
use super::{Failure, machine};

/// Nothing for this long ends the bench: the broker hangs, or lost a job.
const STALLED: Duration = Duration::from_secs(10);

struct Lane {
    stream: TcpStream,
    partial: Vec<u8>,
    written: usize,
}

/// A client and a worker at one broker.
pub(crate) struct Relay {
    poll: Poll,
    lanes: Vec<Lane>,
    broker: Box<dyn Broker>,
    /// What is read into: made once, since clearing it for each read would cost more than a job.
    buffer: Box<[u8]>,
    events: Events,
    out: Out,
    sent: VecDeque<Instant>,
    depth: usize,
    done: u64,
    latency: Histogram<u64>,
}

impl Relay {
    /// Connects both, and waits until the broker knows its worker.
    pub(crate) fn connect(to: SocketAddr, broker: Box<dyn Broker>, depth: usize) -> Result<Relay, Failure> {
        let poll = Poll::new()?;
        let mut lanes = Vec::new();
        for index in 0..broker.lanes() {
            let stream = std::net::TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            lanes.push(Lane { stream, partial: Vec::new(), written: 0 });
        }
        let (out, sent) = (Out::default(), VecDeque::new());
        let (buffer, events) = (vec![0; 64 * 1024].into_boxed_slice(), Events::with_capacity(8));
        let mut relay = Relay { poll, lanes, broker, buffer, events, out, sent, depth, done: 0, latency: histogram() };
        relay.broker.hello(&mut relay.out);
        relay.flush()?;
        let begin = Instant::now();
        while !relay.broker.is_ready() {
            relay.turn(false)?;
            if begin.elapsed() > STALLED {
                return Err("the broker did not take its worker".into());
            }
        }
        Ok(relay)
    }

    /// Runs for `warm` uncounted and `length` counted, then waits for what is in flight.
    pub(crate) fn round(&mut self, server: u32, warm: Duration, length: Duration) -> Result<Round, Failure> {
        for _ in 0..self.depth {
            self.submit();
        }
        self.flush()?;
        self.until(Instant::now() + warm)?;
        self.latency.reset();
        self.done = 0;
        let (start, own) = (Instant::now(), std::process::id());
        let before = [machine::spent_by(server)?, machine::spent_by(own)?];
        self.until(start + length)?;
        let wall = start.elapsed().as_secs_f64();
        let theirs = machine::spent_by(server)?.since(before[0]);
        let ours = machine::spent_by(own)?.since(before[1]);
        let (done, latency) = (self.done, self.latency.clone());
        while !self.sent.is_empty() {
            self.turn(false)?;
        }
        if done == 0 {
            return Err("not one job in a whole round".into());
        }
        Ok(Round {
            rate: done as f64 / wall,
            cpu_ns: theirs.cpu.as_secs_f64() * 1e9 / done as f64,
            share: (theirs.cpu + ours.cpu).as_secs_f64() / wall,
            waited: theirs.waited.max(ours.waited).as_secs_f64() / wall,
            latency,
        })
    }

    fn until(&mut self, end: Instant) -> Result<(), Failure> {
        while Instant::now() < end {
            self.turn(true)?;
        }
        Ok(())
    }

    fn submit(&mut self) {
        self.sent.push_back(Instant::now());
        self.broker.submit(&mut self.out);
    }

    /// Waits for something and deals with it. `refill`: a job for each that is done.
    fn turn(&mut self, refill: bool) -> Result<(), Failure> {
        match self.poll.poll(&mut self.events, Some(STALLED)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        if self.events.is_empty() {
            return Err(format!("{} jobs without a result for {STALLED:?}", self.sent.len()).into());
        }
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for index in ready {
            let done = self.read(index)?;
            let now = Instant::now();
            for _ in 0..done {
                let sent = self.sent.pop_front().ok_or("more results than jobs")?;
                self.latency.saturating_record(u64::try_from((now - sent).as_nanos()).unwrap_or(u64::MAX));
                self.done += 1;
                if refill {
                    self.submit();
                }
            }
        }
        self.flush()
    }

    fn read(&mut self, index: usize) -> Result<usize, Failure> {
        let mut done = 0;
        loop {
            let lane = &mut self.lanes[index];
            let count = match lane.stream.read(&mut self.buffer) {
                Ok(0) => return Err("the broker closed a connection".into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(done),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            lane.partial.extend_from_slice(&self.buffer[..count]);
            let (taken, more) = self.broker.take(index, &lane.partial, &mut self.out)?;
            lane.partial.drain(..taken);
            done += more;
            if count < self.buffer.len() {
                return Ok(done);
            }
        }
    }

    fn flush(&mut self) -> Result<(), Failure> {
        for (lane, out) in self.lanes.iter_mut().zip(&mut self.out) {
            while lane.written < out.len() {
                match lane.stream.write(&out[lane.written..]) {
                    Ok(count) => lane.written += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if lane.written == out.len() {
                out.clear();
                lane.written = 0;
            }
        }
        Ok(())
    }
}
