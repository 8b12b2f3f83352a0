//! Programs of other people, as simple as they are: they answer a heartbeat and know nothing else.

use std::collections::BTreeMap;

use super::host::Wish;
use super::network::{Arrival, Conn, Host};

/// A foreign program while it runs.
pub(super) struct ForeignHost {
    pub(super) host: Host,
    /// Its id: the seed's own program draws a new one at each start.
    pub(super) id: String,
    /// Whether it answers with SERVER_UUID (2025/2, 2026/1) or with SERVER_ID (seed).
    uuid_form: bool,
    /// Whether it closes after each answer, as the seed does.
    one_shot: bool,
    read: BTreeMap<Conn, Vec<u8>>,
    pub(super) wishes: Vec<Wish>,
}

impl ForeignHost {
    pub(super) fn new(host: Host, id: String, uuid_form: bool, one_shot: bool) -> ForeignHost {
        ForeignHost { host, id, uuid_form, one_shot, read: BTreeMap::new(), wishes: Vec::new() }
    }

    pub(super) fn arrival(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Accepted { conn, .. } => {
                self.read.insert(conn, Vec::new());
            }
            Arrival::Bytes { conn, bytes } => {
                let Some(read) = self.read.get_mut(&conn) else { return };
                read.extend(bytes);
                while let Some(end) = self.read.get(&conn).and_then(|read| read.iter().position(|byte| *byte == b'\n'))
                {
                    let Some(read) = self.read.get_mut(&conn) else { return };
                    let line: Vec<u8> = read.drain(..=end).collect();
                    self.line(conn, &line);
                }
            }
            Arrival::Closed { conn } => {
                self.read.remove(&conn);
            }
            Arrival::Connected { .. } | Arrival::Refused { .. } | Arrival::Datagram { .. } => {}
        }
    }

    fn line(&mut self, conn: Conn, line: &[u8]) {
        let heartbeat = serde_json::from_slice::<serde_json::Value>(line).is_ok_and(|line| line["TASK"] == "HEARTBEAT");
        let close = self.one_shot || !heartbeat;
        if heartbeat {
            let key = if self.uuid_form { "SERVER_UUID" } else { "SERVER_ID" };
            let answer = format!("{{\"TASK\": \"HEARTBEAT\", \"RESPONSE\": \"ALIVE\", \"{key}\": \"{}\"}}\n", self.id);
            self.wishes.push(Wish::Send { conn, bytes: answer.into_bytes() });
        }
        if close && self.read.remove(&conn).is_some() {
            self.wishes.push(Wish::Close { conn });
        }
    }
}
