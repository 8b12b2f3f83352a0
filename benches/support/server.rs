//! The yardstick servers: what mio can do on this machine when nobody thinks.
//!
//! One thread, one shared read buffer, edge-triggered, one read and one write a wake-up (a short read has drained the
//! socket), TCP_NODELAY, a backlog of 4096. What differs is what happens between the read and the write:
//!
//! - [`Kind::Fixed`] counts bytes: a heartbeat for every 21 of them. The limit.
//! - [`Kind::Split`] finds the end of each line.
//! - [`Kind::Typed`] decodes each line into a borrowed struct with serde_json and encodes a struct as the answer.

use std::borrow::Cow;
use std::hint::black_box;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use memchr::memchr;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use serde::{Deserialize, Serialize};
use slab::Slab;
use socket2::{Domain, Socket, Type};

use super::repeated::{Due, Repeated};

/// The bare heartbeat, newline included.
pub(crate) const HEARTBEAT: &[u8] = b"{\"TASK\":\"HEARTBEAT\"}\n";
/// The bare question for load, newline included.
pub(crate) const LOAD: &[u8] = b"{\"TASK\":\"LOAD\"}\n";
const SERVER_ID: &str = "2f1e0c7a-4b7d-4a53-9c0e-5d1f6a7b8c9d";
const LISTENER: Token = Token(usize::MAX);
const READ_BYTES: usize = 64 * 1024;

/// What a yardstick server does with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Counts bytes.
    Fixed,
    /// Finds the ends of lines.
    Split,
    /// serde_json in and out.
    Typed,
}

impl Kind {
    /// Name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::Fixed => "limit",
            Kind::Split => "split",
            Kind::Typed => "typed",
        }
    }

    /// The hidden option that makes a bench this server.
    pub(crate) const fn option(self) -> &'static str {
        match self {
            Kind::Fixed => "--serve-fixed",
            Kind::Split => "--serve-split",
            Kind::Typed => "--serve-typed",
        }
    }
}

/// The answer of the yardsticks to [`HEARTBEAT`], newline included.
fn heartbeat_answer() -> Vec<u8> {
    format!("{{\"TASK\":\"HEARTBEAT\",\"RESPONSE\":\"ALIVE\",\"SERVER_ID\":\"{SERVER_ID}\"}}\n").into_bytes()
}

struct Conn {
    stream: TcpStream,
    /// Bytes of a heartbeat whose rest has not come (fixed).
    rest: usize,
    due: Due,
    /// Bytes of a line whose rest has not come (split, typed).
    partial: Vec<u8>,
    /// Answers that the socket did not take (typed).
    unsent: Vec<u8>,
}

struct Server {
    kind: Kind,
    answer: Repeated,
    buffer: Vec<u8>,
    out: Vec<u8>,
}

/// Serves on 127.0.0.1 until killed, or until the bench that started it is gone.
pub(crate) fn serve(kind: Kind, port: u16) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(4096)?;
    let mut listener = TcpListener::from_std(socket.into());

    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut conns: Slab<Conn> = Slab::new();
    let mut server = Server {
        kind,
        answer: Repeated::new(&heartbeat_answer(), 1 << 20),
        buffer: vec![0; READ_BYTES],
        out: Vec::with_capacity(READ_BYTES),
    };
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, &poll, &mut conns)?;
                continue;
            }
            let key = event.token().0;
            let Some(conn) = conns.get_mut(key) else { continue };
            if !server.turn(conn, event.is_read_closed()).unwrap_or(false) {
                conns.remove(key);
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, conns: &mut Slab<Conn>) -> io::Result<()> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error),
        };
        stream.set_nodelay(true)?;
        let entry = conns.vacant_entry();
        poll.registry().register(&mut stream, Token(entry.key()), Interest::READABLE | Interest::WRITABLE)?;
        entry.insert(Conn { stream, rest: 0, due: Due::default(), partial: Vec::new(), unsent: Vec::new() });
    }
}

impl Server {
    /// Reads, answers, writes. Returns whether the connection lives on.
    fn turn(&mut self, conn: &mut Conn, read_closed: bool) -> io::Result<bool> {
        loop {
            if !self.flush(conn)? {
                return Ok(true);
            }
            let n = match conn.stream.read(&mut self.buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            match self.kind {
                Kind::Fixed => {
                    conn.rest += n;
                    conn.due.add(conn.rest / HEARTBEAT.len(), &self.answer);
                    conn.rest %= HEARTBEAT.len();
                }
                Kind::Split => {
                    let lines = each_line(&self.buffer[..n], &mut conn.partial, |line| {
                        black_box(line);
                    });
                    conn.due.add(lines, &self.answer);
                }
                Kind::Typed => {
                    self.out.clear();
                    let out = &mut self.out;
                    each_line(&self.buffer[..n], &mut conn.partial, |line| answer_typed(line, out));
                }
            }
            let written = self.flush(conn)?;
            // A peer that has closed sends no second event: read on, to its end.
            if !written || (n < self.buffer.len() && !read_closed) {
                return Ok(true);
            }
        }
    }

    /// Writes what is due. Returns whether all of it went out.
    fn flush(&mut self, conn: &mut Conn) -> io::Result<bool> {
        if self.kind != Kind::Typed {
            return conn.due.flush(&self.answer, &mut conn.stream);
        }
        if !conn.unsent.is_empty() {
            let sent = write_some(&mut conn.stream, &conn.unsent)?;
            conn.unsent.drain(..sent);
            return Ok(conn.unsent.is_empty());
        }
        let sent = write_some(&mut conn.stream, &self.out)?;
        conn.unsent.extend_from_slice(&self.out[sent..]);
        self.out.clear();
        Ok(conn.unsent.is_empty())
    }
}

fn write_some(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => sent += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}

/// Calls `visit` for each line that `chunk` ends, without its newline, and keeps the rest. Returns how many.
pub(crate) fn each_line(mut chunk: &[u8], partial: &mut Vec<u8>, mut visit: impl FnMut(&[u8])) -> usize {
    let mut lines = 0;
    while let Some(end) = memchr(b'\n', chunk) {
        if partial.is_empty() {
            visit(&chunk[..end]);
        } else {
            partial.extend_from_slice(&chunk[..end]);
            visit(partial);
            partial.clear();
        }
        lines += 1;
        chunk = &chunk[end + 1..];
    }
    partial.extend_from_slice(chunk);
    lines
}

/// A question, borrowed from the line.
#[derive(Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) struct Question<'a> {
    #[serde(borrow)]
    pub(crate) task: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) id: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct AliveAnswer<'a> {
    task: &'a str,
    response: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    server_id: &'a str,
}

/// Field for field what the node says to LOAD.
#[derive(Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct LoadAnswer<'a> {
    task: &'a str,
    response: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    server_id: &'a str,
    cpu: f64,
    memory: f64,
    pending: u64,
    running: u64,
    workers: u64,
    saturated: bool,
    score: f64,
    hot: bool,
    capacity: u64,
    release: u64,
    hold_ms: u64,
    cpu_threshold: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "UPPERCASE")]
struct ErrorAnswer<'a> {
    task: &'a str,
    response: &'a str,
    error: &'a str,
    detail: &'a str,
    retry: bool,
}

/// Appends the answer to one line, newline included.
fn answer_typed(line: &[u8], out: &mut Vec<u8>) {
    let written = match serde_json::from_slice::<Question<'_>>(line) {
        Ok(question) if question.task == "LOAD" => serde_json::to_writer(
            &mut *out,
            &LoadAnswer {
                task: "LOAD",
                response: "OK",
                id: &question.id,
                server_id: SERVER_ID,
                cpu: black_box(31.5),
                memory: black_box(42.7),
                pending: black_box(0),
                running: black_box(0),
                workers: black_box(0),
                saturated: black_box(false),
                score: black_box(22.05),
                hot: black_box(false),
                capacity: black_box(100),
                release: black_box(60),
                hold_ms: black_box(2000),
                cpu_threshold: black_box(70.0),
            },
        ),
        Ok(question) if question.task == "HEARTBEAT" => serde_json::to_writer(
            &mut *out,
            &AliveAnswer { task: "HEARTBEAT", response: "ALIVE", id: &question.id, server_id: SERVER_ID },
        ),
        Ok(question) => serde_json::to_writer(&mut *out, &error(&question.task, "UNKNOWN_TASK")),
        Err(_) => serde_json::to_writer(&mut *out, &error("", "MALFORMED")),
    };
    written.expect("writing to memory does not fail, and every key is a string");
    out.push(b'\n');
}

fn error<'a>(task: &'a str, error: &'a str) -> ErrorAnswer<'a> {
    ErrorAnswer { task, response: "ERROR", error, detail: "this yardstick knows HEARTBEAT and LOAD", retry: false }
}
