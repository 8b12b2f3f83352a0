//! A client that speaks lines.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::wait::DEADLINE;

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its newline.
    Text(String),
    /// The node closed the connection; nothing is left.
    Closed,
    /// Nothing came in the given time.
    Nothing,
}

/// A connection to a node.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects to a port of this machine.
    pub(crate) fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(DEADLINE))?;
        Ok(Client { stream, unread: Vec::new() })
    }

    /// Writes these bytes and nothing else.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Writes `text` and a newline.
    pub(crate) fn send_line(&mut self, text: &str) {
        self.send(format!("{text}\n").as_bytes()).unwrap_or_else(|error| panic!("sending `{text}`: {error}"));
    }

    /// Tells the node that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        // A node that has closed already needs no telling.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next line, waiting at most `within`.
    pub(crate) fn line_within(&mut self, within: Duration) -> Line {
        let started = Instant::now();
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.drain(..=end).collect::<Vec<u8>>();
                return Line::Text(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let left = within.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Line::Nothing;
            }
            self.stream.set_read_timeout(Some(left)).expect("a timeout above zero is accepted");
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return self.rest(),
                Ok(count) => self.unread.extend_from_slice(&chunk[..count]),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A reset is a way of closing too.
                Err(_) => return self.rest(),
            }
        }
    }

    /// Bytes after the last newline are a line too; after them comes the end.
    fn rest(&mut self) -> Line {
        if self.unread.is_empty() {
            return Line::Closed;
        }
        Line::Text(String::from_utf8_lossy(&std::mem::take(&mut self.unread)).into_owned())
    }

    /// The next line. Panics if none comes.
    pub(crate) fn line(&mut self) -> String {
        match self.line_within(DEADLINE) {
            Line::Text(text) => text,
            other => panic!("expected a line, got {other:?}"),
        }
    }

    /// The next line, as JSON. Panics if none comes or if it is not JSON.
    pub(crate) fn json(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("expected JSON, got `{line}`: {error}"))
    }

    /// Sends a line and returns the next line that comes, as JSON.
    pub(crate) fn ask(&mut self, request: &str) -> Value {
        self.send_line(request);
        self.json()
    }

    /// Reads until the node closes the connection and returns all lines until then. Panics if it does not close.
    pub(crate) fn until_closed(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.line_within(DEADLINE) {
                Line::Text(text) => lines.push(text),
                Line::Closed => return lines,
                Line::Nothing => panic!("expected the node to close the connection; it stays open after {lines:?}"),
            }
        }
    }
}
