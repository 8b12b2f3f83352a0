//! Job brokers as they are spoken to: submit a job, have one worker do it, get its result. Pure: bytes in, bytes out.
//!
//! Each broker has a few connections (`LANES`): the client's, the worker's, and for beanstalkd one more, because a
//! connection that reserves does nothing else meanwhile. The generator moves bytes; a [`Broker`] understands them.

use std::net::SocketAddr;

use super::Failure;

/// Payload of a job and of its result, in bytes.
pub(crate) const PAYLOAD: usize = 64;
/// The payload: every result is compared with it.
const BYTES: [u8; PAYLOAD] = *b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The connection of the client.
pub(crate) const CLIENT: usize = 0;
/// The connection of the worker.
pub(crate) const WORKER: usize = 1;
/// The connection on which a client of beanstalkd waits for results.
const RESULTS: usize = 2;

/// What is to be written, a buffer a connection.
pub(crate) type Out = [Vec<u8>; 3];

/// One broker's language.
pub(crate) trait Broker {
    /// Connections that it wants, 2 or 3.
    fn lanes(&self) -> usize {
        2
    }
    /// What is said before the first job.
    fn hello(&mut self, out: &mut Out);
    /// Whether everything that was said before the first job is answered.
    fn is_ready(&self) -> bool;
    /// Submits a job.
    fn submit(&mut self, out: &mut Out);
    /// Takes the front of what came on a connection. Returns how many bytes were understood and how many jobs came
    /// back with the right result.
    fn take(&mut self, lane: usize, bytes: &[u8], out: &mut Out) -> Result<(usize, usize), Failure>;
}

/// The broker of this name.
pub(crate) fn of(name: &str) -> Box<dyn Broker> {
    match name {
        "nats" => Box::new(Nats::default()),
        "gearmand" => Box::new(Gearman::default()),
        "beanstalkd" => Box::new(Beanstalk::default()),
        _ => Box::new(Node::default()),
    }
}

/// What a broker is asked to find out whether it runs, on a connection of its own.
pub(crate) fn knock(name: &str, address: SocketAddr) -> Result<Vec<u8>, Failure> {
    let question: &[u8] = match name {
        "nats" => b"PING\r\n",
        "gearmand" => b"version\n",
        "beanstalkd" => b"list-tubes-watched\r\n",
        _ => b"{\"TASK\":\"HEARTBEAT\"}\n",
    };
    super::process::exchange(address, question)
}

/// The node: SUBMIT with WAIT_MS; a worker with many slots.
#[derive(Default)]
struct Node {
    count: u64,
    welcomed: bool,
}

impl Broker for Node {
    fn hello(&mut self, out: &mut Out) {
        out[WORKER].extend_from_slice(
            b"{\"WORKER\":\"ALIVE\",\"WORKER_UUID\":\"bench-worker\",\"SLOTS\":1024,\"SERVICES\":[\"bench\"]}\n",
        );
    }

    fn is_ready(&self) -> bool {
        self.welcomed
    }

    fn submit(&mut self, out: &mut Out) {
        let out = &mut out[CLIENT];
        self.count += 1;
        out.extend_from_slice(b"{\"TASK\":\"SUBMIT\",\"ID\":\"");
        out.extend_from_slice(self.count.to_string().as_bytes());
        out.extend_from_slice(b"\",\"SERVICE\":\"bench\",\"WAIT_MS\":60000,\"PARAMS\":\"");
        out.extend_from_slice(&BYTES);
        out.extend_from_slice(b"\"}\n");
    }

    fn take(&mut self, lane: usize, bytes: &[u8], out: &mut Out) -> Result<(usize, usize), Failure> {
        let (mut taken, mut done) = (0, 0);
        while let Some(end) = memchr::memchr(b'\n', &bytes[taken..]) {
            let line = &bytes[taken..taken + end];
            taken += end + 1;
            if lane == CLIENT {
                answered(line).ok_or_else(|| wrong("node", line))?;
                done += 1;
            } else if line.starts_with(b"{\"TASK\":\"JOB\"") {
                let (id, attempt) = ordered(line).ok_or_else(|| wrong("node", line))?;
                let out = &mut out[WORKER];
                out.extend_from_slice(
                    b"{\"STATUS\":\"OK\",\"TASK\":\"JOB\",\"WORKER_UUID\":\"bench-worker\",\"JOB_ID\":\"",
                );
                out.extend_from_slice(id);
                out.extend_from_slice(b"\",\"ATTEMPT\":");
                out.extend_from_slice(attempt);
                out.extend_from_slice(b",\"RESULT\":\"");
                out.extend_from_slice(&BYTES);
                out.extend_from_slice(b"\"}\n");
            } else if line.starts_with(b"{\"TASK\":\"WORKER\"") {
                self.welcomed = true;
            } else if !line.starts_with(b"{\"STATUS\":\"ACK\"") {
                return Err(wrong("node", line));
            }
        }
        Ok((taken, done))
    }
}

/// NATS: request and reply over two subjects. Nothing is stored, nothing is acknowledged.
#[derive(Default)]
struct Nats {
    pongs: usize,
}

impl Broker for Nats {
    fn hello(&mut self, out: &mut Out) {
        let connect = b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n";
        out[CLIENT].extend_from_slice(connect);
        out[CLIENT].extend_from_slice(b"SUB inbox 1\r\nPING\r\n");
        out[WORKER].extend_from_slice(connect);
        out[WORKER].extend_from_slice(b"SUB work 1\r\nPING\r\n");
    }

    fn is_ready(&self) -> bool {
        self.pongs >= 2
    }

    fn submit(&mut self, out: &mut Out) {
        let out = &mut out[CLIENT];
        out.extend_from_slice(b"PUB work inbox 64\r\n");
        out.extend_from_slice(&BYTES);
        out.extend_from_slice(b"\r\n");
    }

    fn take(&mut self, lane: usize, bytes: &[u8], out: &mut Out) -> Result<(usize, usize), Failure> {
        let (mut taken, mut done) = (0, 0);
        while let Some(end) = memchr::memchr(b'\n', &bytes[taken..]) {
            let (line, after) = (&bytes[taken..taken + end], taken + end + 1);
            if line.starts_with(b"MSG ") {
                if bytes.len() < after + PAYLOAD + 2 {
                    break;
                }
                if bytes[after..after + PAYLOAD] != BYTES {
                    return Err(wrong("nats", &bytes[taken..]));
                }
                taken = after + PAYLOAD + 2;
                if lane == CLIENT {
                    done += 1;
                } else {
                    out[WORKER].extend_from_slice(b"PUB inbox 64\r\n");
                    out[WORKER].extend_from_slice(&BYTES);
                    out[WORKER].extend_from_slice(b"\r\n");
                }
                continue;
            }
            taken = after;
            match line.trim_ascii() {
                b"PONG" => self.pongs += 1,
                b"PING" => out[lane].extend_from_slice(b"PONG\r\n"),
                info if info.starts_with(b"INFO") => {}
                other => return Err(wrong("nats", other)),
            }
        }
        Ok((taken, done))
    }
}

/// gearmand: a foreground job; the worker grabs one at a time, as its workers do.
#[derive(Default)]
struct Gearman {
    can_do: bool,
}

impl Gearman {
    fn packet(out: &mut Vec<u8>, kind: u32, body: &[&[u8]]) {
        out.extend_from_slice(b"\0REQ");
        out.extend_from_slice(&kind.to_be_bytes());
        let length: usize = body.iter().map(|part| part.len()).sum();
        out.extend_from_slice(&u32::try_from(length).expect("short").to_be_bytes());
        body.iter().for_each(|part| out.extend_from_slice(part));
    }
}

impl Broker for Gearman {
    fn hello(&mut self, out: &mut Out) {
        Self::packet(&mut out[WORKER], 1, &[b"bench"]);
        Self::packet(&mut out[WORKER], 9, &[]);
    }

    fn is_ready(&self) -> bool {
        self.can_do
    }

    fn submit(&mut self, out: &mut Out) {
        Self::packet(&mut out[CLIENT], 7, &[b"bench\0\0", &BYTES]);
    }

    fn take(&mut self, lane: usize, bytes: &[u8], out: &mut Out) -> Result<(usize, usize), Failure> {
        let (mut taken, mut done) = (0, 0);
        while bytes.len() >= taken + 12 {
            let number = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
            let (kind, length) = (number(taken + 4), number(taken + 8) as usize);
            if bytes.len() < taken + 12 + length {
                break;
            }
            let body = &bytes[taken + 12..taken + 12 + length];
            taken += 12 + length;
            match (lane, kind) {
                // JOB_CREATED.
                (CLIENT, 8) => {}
                // WORK_COMPLETE.
                (CLIENT, 13) if body.ends_with(&BYTES) => done += 1,
                // NO_JOB: sleep until one comes.
                (WORKER, 10) => {
                    self.can_do = true;
                    Self::packet(&mut out[WORKER], 4, &[]);
                }
                // NOOP.
                (WORKER, 6) => Self::packet(&mut out[WORKER], 9, &[]),
                // JOB_ASSIGN.
                (WORKER, 11) if body.ends_with(&BYTES) => {
                    let handle = body.split(|byte| *byte == 0).next().unwrap_or_default();
                    Self::packet(&mut out[WORKER], 13, &[handle, b"\0", &BYTES]);
                    Self::packet(&mut out[WORKER], 9, &[]);
                }
                _ => return Err(wrong("gearmand", body)),
            }
        }
        Ok((taken, done))
    }
}

/// beanstalkd: one tube for jobs, one for results.
#[derive(Default)]
struct Beanstalk {
    ready: usize,
}

impl Beanstalk {
    fn put(out: &mut Vec<u8>) {
        out.extend_from_slice(b"put 0 0 60 64\r\n");
        out.extend_from_slice(&BYTES);
        out.extend_from_slice(b"\r\n");
    }
}

impl Broker for Beanstalk {
    fn lanes(&self) -> usize {
        3
    }

    fn hello(&mut self, out: &mut Out) {
        out[CLIENT].extend_from_slice(b"use work\r\n");
        out[WORKER].extend_from_slice(b"watch work\r\nuse result\r\nreserve\r\n");
        out[RESULTS].extend_from_slice(b"watch result\r\nreserve\r\n");
    }

    fn is_ready(&self) -> bool {
        self.ready >= 4
    }

    fn submit(&mut self, out: &mut Out) {
        Self::put(&mut out[CLIENT]);
    }

    fn take(&mut self, lane: usize, bytes: &[u8], out: &mut Out) -> Result<(usize, usize), Failure> {
        let (mut taken, mut done) = (0, 0);
        while let Some(end) = memchr::memchr(b'\n', &bytes[taken..]) {
            let (line, after) = (&bytes[taken..taken + end], taken + end + 1);
            if let Some(rest) = line.strip_prefix(b"RESERVED ") {
                if bytes.len() < after + PAYLOAD + 2 {
                    break;
                }
                if bytes[after..after + PAYLOAD] != BYTES {
                    return Err(wrong("beanstalkd", &bytes[taken..]));
                }
                taken = after + PAYLOAD + 2;
                let id = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
                if lane == WORKER {
                    Self::put(&mut out[WORKER]);
                } else {
                    done += 1;
                }
                out[lane].extend_from_slice(b"delete ");
                out[lane].extend_from_slice(id);
                out[lane].extend_from_slice(b"\r\nreserve\r\n");
                continue;
            }
            taken = after;
            match line.trim_ascii() {
                b"DELETED" => {}
                inserted if inserted.starts_with(b"INSERTED") => {}
                known if known.starts_with(b"USING") || known.starts_with(b"WATCHING") => self.ready += 1,
                other => return Err(wrong("beanstalkd", other)),
            }
        }
        Ok((taken, done))
    }
}

// The node writes its fields in a fixed order, so that its lines are read from one to the next, as those of NATS are: searching
// them for each field took the generator twice as long as everything else together.

/// Whether this answer is the right one: that its job is OK, with the payload as its result.
fn answered(line: &[u8]) -> Option<()> {
    let rest = line.strip_prefix(b"{\"TASK\":\"SUBMIT\",\"RESPONSE\":\"OK\",\"ID\":\"")?;
    let (_, rest) = until(rest, b'"')?;
    let (_, rest) = until(rest.strip_prefix(b",\"JOB_ID\":\"")?, b'"')?;
    let (_, rest) = until(rest.strip_prefix(b",\"STATUS\":\"OK\",\"ATTEMPT\":")?, b',')?;
    let (_, rest) = until(rest.strip_prefix(b"\"WORKER_UUID\":\"")?, b'"')?;
    let rest = rest.strip_prefix(b",\"RESULT\":\"")?.strip_prefix(&BYTES)?;
    (rest == b"\"}").then_some(())
}

/// The job and the attempt of an order with the payload.
fn ordered(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (id, rest) = until(line.strip_prefix(b"{\"TASK\":\"JOB\",\"JOB_ID\":\"")?, b'"')?;
    let (attempt, rest) = until(rest.strip_prefix(b",\"ATTEMPT\":")?, b',')?;
    let rest = rest.strip_prefix(b"\"SERVICE\":\"bench\",\"METHOD\":\"run\",\"PARAMS\":\"")?.strip_prefix(&BYTES)?;
    rest.starts_with(b"\"").then_some((id, attempt))
}

/// What comes before this byte, and behind it.
fn until(text: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let length = memchr::memchr(end, text)?;
    Some((&text[..length], &text[length + 1..]))
}

fn wrong(name: &str, bytes: &[u8]) -> Failure {
    format!("{name}: unexpected: {}", super::load::text(bytes)).into()
}
