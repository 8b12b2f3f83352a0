//! Connections of the parties that the test plays: read without waiting, one line a `recv`, as programs of the classroom read.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::support::wait::DEADLINE;

/// One connection between our node and somebody who is played.
pub(crate) struct Wire {
    stream: TcpStream,
    /// Who is played at this end.
    pub(crate) party: String,
    open: bool,
}

impl Wire {
    /// Calls our node.
    pub(crate) fn dial(party: &str, port: u16) -> Wire {
        let stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), DEADLINE);
        Wire::on(party, stream.unwrap_or_else(|error| panic!("{party} calls port {port}: {error}")))
    }

    /// A call of our node, if there is one.
    pub(crate) fn accept(party: &str, listener: &TcpListener) -> Option<Wire> {
        match listener.accept() {
            Ok((stream, _)) => Some(Wire::on(party, stream)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => None,
            Err(error) => panic!("{party}: accepting: {error}"),
        }
    }

    fn on(party: &str, stream: TcpStream) -> Wire {
        stream.set_nodelay(true).expect("a stream takes this option");
        stream.set_nonblocking(true).expect("a stream can be made not to block");
        Wire { stream, party: party.to_owned(), open: true }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open
    }

    /// Says a line. `false`: the other end is gone.
    pub(crate) fn say(&mut self, line: &str) -> bool {
        self.stream.set_nonblocking(false).expect("a stream can be made to block");
        self.stream.set_write_timeout(Some(Duration::from_secs(2))).expect("a timeout above zero is accepted");
        let said = self.stream.write_all(line.as_bytes()).is_ok();
        self.stream.set_nonblocking(true).expect("a stream can be made not to block");
        said
    }

    /// What one `recv` brings, if anything came. Panics where a program of the classroom would lose what stands behind the first line.
    pub(crate) fn hear(&mut self) -> Option<Value> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => self.open = false,
            Ok(count) => {
                let text = String::from_utf8_lossy(&chunk[..count]).into_owned();
                let Some((line, rest)) = text.split_once('\n') else { panic!("{}: no whole line: {text}", self.party) };
                assert_eq!(rest, "", "{}: behind `{line}` came what it loses", self.party);
                let value = serde_json::from_str(line);
                return Some(value.unwrap_or_else(|error| panic!("{}: `{line}`: {error}", self.party)));
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.open = false,
        }
        None
    }

    pub(crate) fn close(&mut self) {
        self.open = false;
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}
