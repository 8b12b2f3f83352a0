//! What was recorded: who said what to whom, on which connection, in its causal order.

use std::collections::BTreeMap;

use serde_json::Value;

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// On which connection of the recording.
    pub(crate) conn: u64,
    /// Who said it, or closed the connection.
    pub(crate) from: String,
    /// To whom; empty where it is the end of the connection.
    pub(crate) to: String,
    /// The exact text, newline included; empty where it is the end of the connection.
    pub(crate) raw: String,
    /// Its kind, as [`kind`] tells.
    pub(crate) kind: String,
}

/// A trimmed recording: `fixtures/NAME.ndjson`.
pub(crate) struct Recording {
    pub(crate) records: Vec<Record>,
    /// Who has opened each connection.
    pub(crate) openers: BTreeMap<u64, String>,
    /// Where each party listens, as it was recorded.
    pub(crate) addresses: BTreeMap<String, Vec<(String, u16)>>,
}

impl Recording {
    pub(crate) fn read(text: &str) -> Recording {
        let mut recording = Recording { records: Vec::new(), openers: BTreeMap::new(), addresses: BTreeMap::new() };
        for line in text.lines() {
            let entry: Value = serde_json::from_str(line).expect("a recording is JSON lines");
            let text = |key: &str| entry[key].as_str().map(str::to_owned).unwrap_or_default();
            let conn = entry["conn"].as_u64().expect("a connection has a number");
            if entry["ev"] == "close" {
                let (from, kind) = (text("by"), "end".to_owned());
                recording.records.push(Record { conn, from, to: String::new(), raw: String::new(), kind });
                continue;
            }
            let raw = text("raw");
            let said: Value = serde_json::from_str(&raw).expect("what was said is JSON");
            let kind = kind(&said);
            if let (Some(ip), Some(port)) = (said["WORKER_HOST"].as_str(), said["WORKER_PORT"].as_u64()) {
                recording.listens(&text("from"), ip, u16::try_from(port).expect("a port"));
            }
            if entry["dir"] == "c>s" {
                recording.openers.entry(conn).or_insert_with(|| text("from"));
                let address = text("dst");
                let (ip, port) = address.rsplit_once(':').expect("ip:port");
                recording.listens(&text("to"), ip, port.parse().expect("a port"));
            }
            recording.records.push(Record { conn, from: text("from"), to: text("to"), raw, kind });
        }
        recording
    }

    fn listens(&mut self, party: &str, ip: &str, port: u16) {
        let known = self.addresses.entry(party.to_owned()).or_default();
        if !known.contains(&(ip.to_owned(), port)) {
            known.push((ip.to_owned(), port));
        }
    }

    /// Leaves out what is told by `is`.
    pub(crate) fn without(mut self, is: impl Fn(usize, &Record) -> bool) -> Recording {
        let all = std::mem::take(&mut self.records).into_iter().enumerate();
        self.records = all.filter(|(at, record)| !is(*at, record)).map(|(_, record)| record).collect();
        self
    }

    /// The first line of this kind that somebody said to anybody.
    pub(crate) fn said(&self, from: &str, kind: &str) -> Option<&Record> {
        self.records.iter().find(|record| record.from == from && record.kind == kind)
    }
}

/// What a line is, in one word: the words by which its generation tells lines apart.
pub(crate) fn kind(line: &Value) -> String {
    let word = |key: &str| line[key].as_str();
    let kind = match (word("type"), word("TASK"), word("RESPONSE"), word("STATUS"), word("WORKER"), word("TYPE")) {
        (Some(kind), ..) => kind,
        (_, Some("HEARTBEAT"), Some(_), ..) => "HEARTBEAT ALIVE",
        (_, Some("QUERY"), _, Some(_), ..) => "STATUS",
        (_, _, Some(response), ..) => response,
        (_, Some(task), ..) => task,
        (_, _, _, Some("ACCEPTED"), _, Some(_)) => "ELECTION_ACK ACCEPTED",
        (_, _, _, _, _, Some(kind)) => kind,
        (_, _, _, Some(status), ..) => status,
        (_, _, _, _, Some(word), _) => word,
        _ => panic!("a line of no known kind: {line}"),
    };
    kind.to_owned()
}

/// Whether somebody is told to go elsewhere by it.
pub(crate) fn is_order(kind: &str) -> bool {
    ["REDIRECT", "RETURN", "command_redirect", "command_release"].contains(&kind)
}
