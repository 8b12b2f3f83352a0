//! Thousands of native workers at one master, played by one thread: each has a connection, says ALIVE at its pace, and does at once
//! what it is given.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};

use super::Failure;

/// How often each says that it is there: what protocol.md asks of a worker.
const PACE: Duration = Duration::from_secs(2);

/// All of them are taken within this, or the bench ends.
const WITHIN: Duration = Duration::from_secs(60);

struct Member {
    stream: TcpStream,
    partial: Vec<u8>,
    welcomed: bool,
}

/// The workers.
pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    members: Vec<Member>,
    buffer: Box<[u8]>,
    /// Who says ALIVE next, and when.
    next: usize,
    at: Instant,
    /// Jobs that were done.
    pub(crate) done: u64,
}

impl Crowd {
    /// So many come to a master, and are welcomed.
    pub(crate) fn join(master: SocketAddr, count: usize) -> Result<Crowd, Failure> {
        let poll = Poll::new()?;
        let mut crowd = Crowd {
            poll,
            events: Events::with_capacity(1024),
            members: Vec::with_capacity(count),
            buffer: vec![0; 64 * 1024].into_boxed_slice(),
            next: 0,
            at: Instant::now(),
            done: 0,
        };
        let begun = Instant::now();
        for nth in 0..count {
            let stream = std::net::TcpStream::connect(master)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(stream);
            crowd.poll.registry().register(&mut stream, Token(nth), Interest::READABLE)?;
            crowd.members.push(Member { stream, partial: Vec::new(), welcomed: false });
            crowd.alive(nth)?;
            // Those that are there already go on saying so.
            if nth % 100 == 99 {
                crowd.run(Duration::ZERO)?;
            }
        }
        while crowd.members.iter().any(|member| !member.welcomed) {
            crowd.run(Duration::from_millis(20))?;
            if begun.elapsed() > WITHIN {
                return Err(format!("{count} workers were not taken within {WITHIN:?}").into());
            }
        }
        Ok(crowd)
    }

    /// Lives on for this long.
    pub(crate) fn run(&mut self, length: Duration) -> Result<(), Failure> {
        let end = Instant::now() + length;
        loop {
            let now = Instant::now();
            while self.at <= now && !self.members.is_empty() {
                self.alive(self.next)?;
                self.next = (self.next + 1) % self.members.len();
                self.at = (self.at + PACE / u32::try_from(self.members.len())?).max(now - PACE);
            }
            let left = end.saturating_duration_since(now);
            let until_next = self.at.saturating_duration_since(now).max(Duration::from_micros(100));
            self.take(left.min(until_next))?;
            if left.is_zero() {
                return Ok(());
            }
        }
    }

    /// Handles what comes within this time.
    fn take(&mut self, within: Duration) -> Result<(), Failure> {
        match self.poll.poll(&mut self.events, Some(within)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            other => other?,
        }
        let ready: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
        for nth in ready {
            self.read(nth)?;
        }
        Ok(())
    }

    fn alive(&mut self, nth: usize) -> Result<(), Failure> {
        let line = json!({"WORKER": "ALIVE", "WORKER_UUID": name(nth), "SLOTS": 1, "SERVICES": ["crowd"]});
        self.say(nth, &line)
    }

    fn say(&mut self, nth: usize, line: &Value) -> Result<(), Failure> {
        // A line of some hundred bytes always finds room in the buffer of a connection that is read.
        self.members[nth].stream.write_all(format!("{line}\n").as_bytes())?;
        Ok(())
    }

    fn read(&mut self, nth: usize) -> Result<(), Failure> {
        loop {
            match self.members[nth].stream.read(&mut self.buffer) {
                Ok(0) => return Err(format!("the master closed the connection of worker {nth}").into()),
                Ok(count) => {
                    self.members[nth].partial.extend_from_slice(&self.buffer[..count]);
                    self.lines(nth)?;
                    if count < self.buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn lines(&mut self, nth: usize) -> Result<(), Failure> {
        while let Some(end) = memchr::memchr(b'\n', &self.members[nth].partial) {
            let line: Vec<u8> = self.members[nth].partial.drain(..=end).collect();
            if line.starts_with(b"{\"TASK\":\"WORKER\"") {
                self.members[nth].welcomed = true;
            } else if line.starts_with(b"{\"TASK\":\"JOB\"") {
                let job: Value = serde_json::from_slice(&line)?;
                let status = json!({
                    "STATUS": "OK", "TASK": "JOB", "WORKER_UUID": name(nth), "JOB_ID": job["JOB_ID"],
                    "ATTEMPT": job["ATTEMPT"], "RESULT": 1,
                });
                self.say(nth, &status)?;
                self.done += 1;
            } else if !line.starts_with(b"{\"STATUS\":\"ACK\"") {
                return Err(format!("worker {nth} heard {}", String::from_utf8_lossy(&line)).into());
            }
        }
        Ok(())
    }
}

fn name(nth: usize) -> String {
    format!("crowd-{nth}")
}
