//! From a message to a line, in native form: compact JSON, `TASK`, `RESPONSE` and `ID` first, then a fixed order.
//!
//! No tree is built: every field is written where it belongs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::time::micros;

use super::{
    Body, ErrorAnswer, Event, Heartbeat, HelloAnswer, LoadAnswer, LoadReport, MAX_LINE_BYTES, Message, NodeEntry,
    NodesAnswer, NodesQuery, Permille, Presence, RequestId,
};

/// Appends `message` as a line in native form, newline included.
///
/// A page of `NODES` that would be longer than [`MAX_LINE_BYTES`] is cut after the last entry that fits, and says
/// `MORE`.
pub fn encode(message: &Message, out: &mut Vec<u8>) {
    let id = message.id.as_ref();
    match &message.body {
        Body::Heartbeat(heartbeat) => request("HEARTBEAT", id, out).heartbeat(heartbeat).end(),
        Body::HeartbeatAnswer(answer) => {
            let line = response("HEARTBEAT", "ALIVE", id, out);
            match &answer.presence {
                Some(presence) => line.presence(presence).end(),
                None => line.text("SERVER_ID", answer.server_id.as_str()).end(),
            }
        }
        Body::Hello => request("HELLO", id, out).end(),
        Body::HelloAnswer(answer) => response("HELLO", "OK", id, out).hello(answer).end(),
        Body::Nodes(query) => request("NODES", id, out).nodes_query(query).end(),
        Body::NodesAnswer(answer) => response("NODES", "OK", id, out).nodes(answer).end(),
        Body::Load => request("LOAD", id, out).end(),
        Body::LoadAnswer(answer) => response("LOAD", "OK", id, out).load_answer(answer).end(),
        Body::Events => request("EVENTS", id, out).end(),
        Body::EventsAnswer { seq } => response("EVENTS", "OK", id, out).number("SEQ", *seq).end(),
        Body::Event(event) => request("EVENTS", id, out).event(event).end(),
        Body::Leave { server_id } => request("LEAVE", id, out).text("SERVER_ID", server_id.as_str()).end(),
        Body::Error(error) => response(&error.task, "ERROR", id, out).error(error).end(),
    }
}

fn request<'o>(task: &str, id: Option<&RequestId>, out: &'o mut Vec<u8>) -> Object<'o> {
    Object::begin(out).text("TASK", task).id(id)
}

fn response<'o>(task: &str, response: &str, id: Option<&RequestId>, out: &'o mut Vec<u8>) -> Object<'o> {
    Object::begin(out).text("TASK", task).text("RESPONSE", response).id(id)
}

/// One JSON object that is being written. Keys are our own words and need no escapes.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    /// Where its `{` stands.
    start: usize,
}

impl<'o> Object<'o> {
    /// Writes `{`.
    pub(super) fn begin(out: &'o mut Vec<u8>) -> Object<'o> {
        let start = out.len();
        out.push(b'{');
        Object { out, start }
    }

    /// Writes `}` and the newline.
    pub(super) fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }

    fn key(&mut self, key: &str) {
        if self.out.len() > self.start + 1 {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn value(mut self, key: &str, value: &(impl Serialize + ?Sized)) -> Object<'o> {
        self.key(key);
        serde_json::to_writer(&mut *self.out, value).expect("strings and numbers always fit into memory");
        self
    }

    fn display(mut self, key: &str, value: fmt::Arguments<'_>) -> Object<'o> {
        use std::io::Write;
        self.key(key);
        self.out.write_fmt(value).expect("writing into memory cannot fail");
        self
    }

    /// A string.
    pub(super) fn text(self, key: &str, text: &str) -> Object<'o> {
        self.value(key, text)
    }

    /// A string, where it is there.
    fn maybe(self, key: &str, text: Option<&str>) -> Object<'o> {
        match text {
            Some(text) => self.text(key, text),
            None => self,
        }
    }

    /// The asker's mark, where there is one.
    pub(super) fn id(self, id: Option<&RequestId>) -> Object<'o> {
        self.maybe("ID", id.map(RequestId::as_str))
    }

    fn number(self, key: &str, number: u64) -> Object<'o> {
        self.value(key, &number)
    }

    fn flag(self, key: &str, flag: bool) -> Object<'o> {
        self.value(key, &flag)
    }

    fn millis(self, key: &str, duration: Duration) -> Object<'o> {
        self.number(key, u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    /// A percentage with one decimal.
    fn share(self, key: &str, share: Permille) -> Object<'o> {
        let share = share.get();
        self.display(key, format_args!("{}.{}", share / 10, share % 10))
    }

    /// A figure with one to three decimals.
    fn thousandths(self, key: &str, number: u64) -> Object<'o> {
        let (whole, rest) = (number / 1000, number % 1000);
        match rest {
            rest if rest % 100 == 0 => self.display(key, format_args!("{whole}.{}", rest / 100)),
            rest if rest % 10 == 0 => self.display(key, format_args!("{whole}.{:02}", rest / 10)),
            rest => self.display(key, format_args!("{whole}.{rest:03}")),
        }
    }

    fn heartbeat(self, heartbeat: &Heartbeat) -> Object<'o> {
        let line = self.maybe("SERVER_UUID", heartbeat.sender.as_ref().map(|id| id.as_str()));
        match &heartbeat.presence {
            Some(presence) => line.presence(presence),
            None => line,
        }
    }

    /// Who a native node is, and how busy.
    pub(super) fn presence(self, presence: &Presence) -> Object<'o> {
        self.who(presence).load(&presence.load)
    }

    fn who(self, presence: &Presence) -> Object<'o> {
        self.text("SERVER_ID", presence.server_id.as_str())
            .text("NAME", &presence.name)
            .value("ADDRESS", &Shown(&presence.address))
            .text("ROLE", presence.role.as_str())
            .text("GROUP", &presence.group)
    }

    fn load(self, load: &LoadReport) -> Object<'o> {
        self.share("CPU", load.cpu)
            .share("MEMORY", load.memory)
            .number("PENDING", load.pending)
            .number("RUNNING", load.running)
            .number("WORKERS", load.workers)
            .flag("SATURATED", load.saturated)
    }

    fn hello(self, hello: &HelloAnswer) -> Object<'o> {
        self.who(&hello.presence)
            .text("VERSION", &hello.version)
            .value("DIALECTS", &hello.dialects)
            .number("LINE_BYTES", hello.line_bytes)
            .flag("SECRET", hello.secret)
            .millis("UPTIME_MS", hello.uptime)
            .number("HEARTBEATS", hello.heartbeats)
            .millis("INTERVAL_MS", hello.interval)
            .millis("TIMEOUT_MS", hello.timeout)
            .load(&hello.presence.load)
    }

    fn nodes_query(mut self, query: &NodesQuery) -> Object<'o> {
        self = self.maybe("SERVER_ID", query.server_id.as_ref().map(|id| id.as_str()));
        if let Some(address) = &query.address {
            self = self.value("ADDRESS", &Shown(address));
        }
        self.maybe("NAME", query.name.as_deref()).maybe("AFTER", query.after.as_deref())
    }

    fn nodes(self, answer: &NodesAnswer) -> Object<'o> {
        const END: usize = r#"],"MORE":false}"#.len();
        let mut line = self.text("SERVER_ID", answer.server_id.as_str());
        line.key("NODES");
        line.out.push(b'[');
        let mut more = answer.more;
        for (nth, node) in answer.nodes.iter().enumerate() {
            let before = line.out.len();
            if nth > 0 {
                line.out.push(b',');
            }
            let entry = Object::begin(line.out).node(node);
            entry.out.push(b'}');
            // The first entry always goes: a page without any would make the asker ask for ever.
            if nth > 0 && line.out.len() - line.start + END > MAX_LINE_BYTES {
                line.out.truncate(before);
                more = true;
                break;
            }
        }
        line.out.push(b']');
        line.flag("MORE", more)
    }

    fn node(mut self, node: &NodeEntry) -> Object<'o> {
        self = self
            .text("KEY", &node.key)
            .maybe("SERVER_ID", node.server_id.as_ref().map(|id| id.as_str()))
            .maybe("NAME", node.name.as_deref())
            .value("ADDRESS", &Shown(&node.address))
            .maybe("ROLE", node.role.map(|role| role.as_str()))
            .maybe("GROUP", node.group.as_deref())
            .text("STATUS", node.status.as_str());
        if let Some(last_seen) = node.last_seen {
            self = self.millis("LAST_SEEN_MS", last_seen);
        }
        if let Some(rtt) = node.rtt {
            self = self.thousandths("RTT_MS", micros(rtt));
        }
        if let Some(load) = &node.load {
            self = self.load(load);
        }
        if let Some(score) = node.score {
            self = self.thousandths("SCORE", score.0);
        }
        self.text("LEARNT", node.learnt.as_str()).text("REASON", &node.reason)
    }

    fn load_answer(self, answer: &LoadAnswer) -> Object<'o> {
        self.text("SERVER_ID", answer.server_id.as_str())
            .load(&answer.load)
            .thousandths("SCORE", answer.score.0)
            .flag("HOT", answer.hot)
            .number("CAPACITY", answer.capacity)
            .number("RELEASE", answer.release)
            .millis("HOLD_MS", answer.hold)
            .share("CPU_THRESHOLD", answer.cpu_threshold)
    }

    fn event(mut self, event: &Event) -> Object<'o> {
        self = self
            .text("EVENT", event.kind.as_str())
            .number("SEQ", event.seq)
            .maybe("SERVER_ID", event.server_id.as_ref().map(|id| id.as_str()));
        if let Some(address) = &event.address {
            self = self.value("ADDRESS", &Shown(address));
        }
        self.text("DETAIL", &event.detail)
    }

    fn error(self, error: &ErrorAnswer) -> Object<'o> {
        self.text("ERROR", error.code.as_str()).text("DETAIL", &error.detail).flag("RETRY", error.retry)
    }
}

/// What is written as the string that people see.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
