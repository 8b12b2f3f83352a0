//! What nodes say of themselves and of their peers.

use crate::time::micros;
use crate::wire::{
    ErrorAnswer, Event, Heartbeat, HelloAnswer, LoadAnswer, LoadReport, NodeEntry, NodesAnswer, NodesQuery, Presence,
};

use super::object::Object;

impl<'o> Object<'o> {
    pub(super) fn heartbeat(self, heartbeat: &Heartbeat) -> Object<'o> {
        let line = self.maybe("SERVER_UUID", heartbeat.sender.as_ref().map(|id| id.as_str()));
        match &heartbeat.presence {
            Some(presence) => line.presence(presence),
            None => line,
        }
    }

    /// Who a native node is, and how busy.
    pub(in crate::wire) fn presence(self, presence: &Presence) -> Object<'o> {
        self.who(presence).load(&presence.load).offers(&presence.services)
    }

    fn who(self, presence: &Presence) -> Object<'o> {
        self.text("SERVER_ID", presence.server_id.as_str())
            .text("NAME", &presence.name)
            .address("ADDRESS", &presence.address)
            .text("ROLE", presence.role.as_str())
            .text("GROUP", &presence.group)
            .group_presence(&presence.group_presence)
    }

    fn load(self, load: &LoadReport) -> Object<'o> {
        self.share("CPU", load.cpu)
            .share("MEMORY", load.memory)
            .number("PENDING", load.pending)
            .number("RUNNING", load.running)
            .number("WORKERS", load.workers)
            .flag("SATURATED", load.saturated)
    }

    pub(super) fn hello(self, hello: &HelloAnswer) -> Object<'o> {
        let mut line = self
            .who(&hello.presence)
            .text("VERSION", &hello.version)
            .texts("DIALECTS", hello.dialects.iter().map(String::as_str))
            .number("LINE_BYTES", hello.line_bytes)
            .flag("SECRET", hello.secret)
            .millis("UPTIME_MS", hello.uptime)
            .number("HEARTBEATS", hello.heartbeats)
            .millis("INTERVAL_MS", hello.interval)
            .millis("TIMEOUT_MS", hello.timeout);
        if let Some(supervisor) = &hello.supervisor {
            line = line.address("SUPERVISOR", supervisor);
        }
        if let Some(reached) = hello.supervisor_reached {
            line = line.flag("SUPERVISOR_REACHED", reached);
        }
        line.load(&hello.presence.load).offers(&hello.presence.services)
    }

    pub(super) fn nodes_query(mut self, query: &NodesQuery) -> Object<'o> {
        self = self.maybe("SERVER_ID", query.server_id.as_ref().map(|id| id.as_str()));
        if let Some(address) = &query.address {
            self = self.address("ADDRESS", address);
        }
        self.maybe("NAME", query.name.as_deref()).maybe("AFTER", query.after.as_deref())
    }

    pub(super) fn nodes(self, answer: &NodesAnswer) -> Object<'o> {
        let line = self.text("SERVER_ID", answer.server_id.as_str());
        line.page("NODES", &answer.nodes, answer.more, |entry, node| entry.node(node))
    }

    fn node(mut self, node: &NodeEntry) -> Object<'o> {
        self = self
            .text("KEY", &node.key)
            .maybe("SERVER_ID", node.server_id.as_ref().map(|id| id.as_str()))
            .maybe("NAME", node.name.as_deref())
            .address("ADDRESS", &node.address)
            .maybe("ROLE", node.role.map(|role| role.as_str()))
            .maybe("GROUP", node.group.as_deref())
            .group_id(node.group_id.as_ref())
            .mark("LEADS", node.leads)
            .text("STATUS", node.status.as_str())
            .maybe_millis("LAST_SEEN_MS", node.last_seen);
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

    pub(super) fn load_answer(self, answer: &LoadAnswer) -> Object<'o> {
        self.text("SERVER_ID", answer.server_id.as_str())
            .load(&answer.load)
            .thousandths("SCORE", answer.score.0)
            .flag("HOT", answer.hot)
            .number("CAPACITY", answer.capacity)
            .number("RELEASE", answer.release)
            .millis("HOLD_MS", answer.hold)
            .share("CPU_THRESHOLD", answer.cpu_threshold)
    }

    pub(super) fn event(mut self, event: &Event) -> Object<'o> {
        self = self
            .text("EVENT", event.kind.as_str())
            .number("SEQ", event.seq)
            .maybe("SERVER_ID", event.server_id.as_ref().map(|id| id.as_str()));
        if let Some(address) = &event.address {
            self = self.address("ADDRESS", address);
        }
        self.text("DETAIL", &event.detail)
    }

    pub(super) fn error(self, error: &ErrorAnswer) -> Object<'o> {
        self.text("ERROR", error.code.as_str()).sentence("DETAIL", &error.detail).flag("RETRY", error.retry)
    }
}
