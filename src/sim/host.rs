//! A native machine of the world: a real node behind real edges, and a shell around them as `net` is one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::network::{Arrival, Conn, Host};
use crate::core::{Command, GroupWrite, Input, JobWrite, LinkId, LogTicket, Node, Output, Run, RunId, Ticket};
use crate::time::Time;
use crate::wire::{
    Address, Attempt, Body, Decoded, DialectMemory, Edge, Event, Message, Prepared, decode_datagram, encode_datagram,
};

/// The port that every machine of the world listens on.
pub(super) const PORT: u16 = 9101;

/// The address of a machine.
pub(super) fn address(host: Host) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, u8::try_from(host).expect("a handful of hosts")], PORT))
}

/// The machine at an address.
pub(super) fn host_at(address: &Address) -> Host {
    match address.socket() {
        Some(SocketAddr::V4(v4)) => usize::from(v4.ip().octets()[3]),
        _ => unreachable!("the world has only the addresses that `address` makes"),
    }
}

/// What a host wants of the world.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wish {
    /// Call a host; the outcome is told under this link.
    Call { link: LinkId, server: Host, within: Duration },
    /// Send bytes.
    Send { conn: Conn, bytes: Vec<u8> },
    /// Close a connection.
    Close { conn: Conn },
    /// Send a datagram; `None`: to everybody who listens for discovery.
    Datagram { to: Option<Host>, bytes: Vec<u8> },
    /// Make this durable.
    Write { ticket: Ticket, write: Box<JobWrite> },
    /// Make this durable of the group.
    WriteGroup { ticket: LogTicket, write: GroupWrite },
    /// Run this.
    Start(Box<Run>),
    /// Stop this run.
    StopRun { run: RunId },
}

/// What the oracle is told of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    /// A heartbeat was sent on a connection to this machine.
    Asked { link: LinkId, server: Host },
    /// An answer was given to the core on a connection to this machine.
    Answered { link: LinkId, server: Host, id: String },
    /// A goodbye of this id was given to the core.
    Goodbye { id: String },
    /// A link is gone: an answer on it counts for nothing any more.
    Gone { link: LinkId },
    /// An attempt was sent to this machine.
    Ordered { attempt: Attempt, worker: Host },
    /// The core told an event.
    Event(Event),
}

struct Wire {
    conn: Conn,
    edge: Edge,
    /// Whom it leads to, where this host called.
    server: Option<Host>,
    from: Host,
    told: bool,
    /// So many answers are waited for that nothing more is read; what came since lies here.
    full: bool,
    held: Vec<u8>,
}

impl Wire {
    fn new(conn: Conn, edge: Edge, server: Option<Host>, from: Host) -> Wire {
        Wire { conn, edge, server, from, told: server.is_some(), full: false, held: Vec::new() }
    }
}

/// A native machine while its process runs.
pub(super) struct NativeHost {
    pub(super) host: Host,
    pub(super) node: Node,
    prepared: Prepared,
    wires: BTreeMap<LinkId, Wire>,
    by_conn: BTreeMap<Conn, LinkId>,
    calls: BTreeMap<Conn, (LinkId, Host)>,
    next_accepted: u64,
    dialects: DialectMemory,
    pub(super) wishes: Vec<Wish>,
    pub(super) noted: Vec<Noted>,
    pub(super) stopped: bool,
}

/// What is shown of a run with `node simulate --log`.
pub const TARGET: &str = "simulate";

impl NativeHost {
    pub(super) fn new(host: Host, node: Node) -> NativeHost {
        let prepared = Prepared::new(&node.identity().server_id);
        NativeHost {
            host,
            node,
            prepared,
            wires: BTreeMap::new(),
            by_conn: BTreeMap::new(),
            calls: BTreeMap::new(),
            next_accepted: 0,
            dialects: DialectMemory::default(),
            wishes: Vec::new(),
            noted: Vec::new(),
            stopped: false,
        }
    }

    /// The world made the connection that was wished for.
    pub(super) fn called(&mut self, link: LinkId, server: Host, conn: Conn) {
        self.calls.insert(conn, (link, server));
    }

    /// When this machine has something to do by itself.
    pub(super) fn deadline(&self) -> Option<Time> {
        let edges = self.wires.values().filter_map(|wire| wire.edge.deadline());
        edges.chain(self.node.deadline()).min()
    }

    pub(super) fn tick(&mut self, now: Time) {
        let due: Vec<LinkId> = (self.wires.iter())
            .filter(|(_, wire)| wire.edge.deadline().is_some_and(|due| due <= now))
            .map(|(link, _)| *link)
            .collect();
        for link in due {
            self.with_edge(link, now, |edge, prepared, out| edge.expire(prepared, now, out));
        }
        self.settle(now);
        if self.node.deadline().is_some_and(|due| due <= now) {
            self.give(Input::Tick, now);
        }
    }

    pub(super) fn stop(&mut self, now: Time) {
        self.give(Input::Command(Command::Stop), now);
    }

    pub(super) fn give(&mut self, input: Input, now: Time) {
        self.node.handle(input, now);
        while let Some(output) = self.node.poll_output() {
            self.carry_out(output, now);
        }
    }

    /// The same of a message, after which others may lie in what has arrived.
    fn give_one_of_many(&mut self, input: Input, now: Time) {
        self.node.handle_one_of_many(input, now);
        while let Some(output) = self.node.poll_output() {
            self.carry_out(output, now);
        }
    }

    /// What has arrived is read.
    fn settle(&mut self, now: Time) {
        self.node.settle(now);
        while let Some(output) = self.node.poll_output() {
            self.carry_out(output, now);
        }
    }

    /// Reads what was left unread, where answers have made room.
    fn read_on(&mut self, now: Time) {
        let ready = |(_, wire): &(&LinkId, &Wire)| !wire.full && !wire.held.is_empty();
        while let Some(link) = self.wires.iter().find(ready).map(|(link, _)| *link) {
            self.read(link, &[], now);
        }
    }

    /// Gives the edge of a link what came, behind what was left unread.
    fn read(&mut self, link: LinkId, bytes: &[u8], now: Time) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        wire.held.extend_from_slice(bytes);
        if wire.full {
            return;
        }
        let held = std::mem::take(&mut wire.held);
        let mut input = held.as_slice();
        self.with_edge(link, now, |edge, prepared, out| edge.poll(prepared, &mut input, now, out));
    }

    pub(super) fn arrival(&mut self, arrival: Arrival, now: Time) {
        match arrival {
            Arrival::Connected { conn } => {
                let Some((link, server)) = self.calls.remove(&conn) else { return };
                let edge = Edge::outbound(self.dialects.get(&Address::of(address(server))));
                self.wires.insert(link, Wire::new(conn, edge, Some(server), server));
                self.by_conn.insert(conn, link);
                let (local, remote) = (address(self.host), address(server));
                self.give(Input::LinkOpened { link, local, remote }, now);
            }
            Arrival::Refused { conn, reason } => {
                if let Some((link, _)) = self.calls.remove(&conn) {
                    self.give(Input::LinkRefused { link, reason: reason.to_owned() }, now);
                }
            }
            Arrival::Accepted { conn, from } => {
                let link = LinkId(self.next_accepted * 2);
                self.next_accepted += 1;
                self.wires.insert(link, Wire::new(conn, Edge::inbound(), None, from));
                self.by_conn.insert(conn, link);
            }
            Arrival::Bytes { conn, bytes } => {
                let Some(&link) = self.by_conn.get(&conn) else { return };
                self.read(link, &bytes, now);
            }
            Arrival::Closed { conn } => {
                let Some(&link) = self.by_conn.get(&conn) else { return };
                self.with_edge(link, now, |edge, prepared, out| edge.finish(prepared, now, out));
                if let Some(wire) = self.drop_wire(link) {
                    self.wishes.push(Wish::Close { conn });
                    if wire.told {
                        self.give(Input::LinkClosed { link, reason: "closed by the peer".to_owned() }, now);
                    }
                }
            }
            Arrival::Datagram { from, bytes } => {
                let from = address(from);
                if let Ok(datagram) = decode_datagram(&bytes, from) {
                    self.give(Input::Datagram { from, datagram }, now);
                }
            }
        }
        self.read_on(now);
        self.settle(now);
    }

    /// Calls an edge until it has nothing more to say, and gives the core what it decodes.
    fn with_edge(
        &mut self,
        link: LinkId,
        now: Time,
        mut act: impl FnMut(&mut Edge, &Prepared, &mut Vec<u8>) -> Option<Decoded>,
    ) {
        loop {
            let Some(wire) = self.wires.get_mut(&link) else { return };
            let mut out = Vec::new();
            let decoded = act(&mut wire.edge, &self.prepared, &mut out);
            let count = wire.edge.take_heartbeats();
            let conn = wire.conn;
            if !out.is_empty() {
                self.wishes.push(Wish::Send { conn, bytes: out });
            }
            if count > 0 {
                self.give(Input::HeartbeatsAnswered { count }, now);
            }
            match decoded {
                None => break,
                Some(Decoded::Message(message)) => self.message(link, message, now),
                Some(Decoded::Refused(message)) => self.give(Input::Refused { link, message: *message }, now),
                Some(Decoded::Stray { line, wrong }) => self.give(Input::Stray { link, line, wrong }, now),
                // Whom the core knows of it may log it; it changes nothing.
                Some(Decoded::Ignored { why, line, refusal }) => {
                    self.give(Input::Ignored { link, why, line, refusal }, now);
                }
                Some(Decoded::Close(_)) => {
                    let told = self.drop_wire(link).is_some_and(|wire| wire.told);
                    self.wishes.push(Wish::Close { conn });
                    if told {
                        self.give(Input::LinkClosed { link, reason: "closed by the edge".to_owned() }, now);
                    }
                }
            }
        }
        if let Some(wire) = self.wires.get(&link)
            && let (Some(server), Some(dialect)) = (wire.server, wire.edge.spoken())
        {
            self.dialects.learn(&Address::of(address(server)), dialect);
        }
    }

    fn message(&mut self, link: LinkId, message: Message, now: Time) {
        let Some(wire) = self.wires.get_mut(&link) else { return };
        let (server, from) = (wire.server, wire.from);
        if !std::mem::replace(&mut wire.told, true) {
            let (local, remote) = (address(self.host), SocketAddr::new(address(from).ip(), 40_000));
            self.give(Input::LinkOpened { link, local, remote }, now);
        }
        match (&message.body, server) {
            (Body::HeartbeatAnswer(answer), Some(server)) => {
                let id = answer.server_id.as_str().to_owned();
                self.noted.push(Noted::Answered { link, server, id });
            }
            (Body::Leave { server_id }, _) => self.noted.push(Noted::Goodbye { id: server_id.as_str().to_owned() }),
            _ => {}
        }
        self.give_one_of_many(Input::Message { link, message }, now);
    }

    fn carry_out(&mut self, output: Output, now: Time) {
        match output {
            Output::Open { link, address, within } => {
                self.wishes.push(Wish::Call { link, server: host_at(&address), within });
            }
            Output::Send { link, message } => {
                let Some(wire) = self.wires.get_mut(&link) else { return };
                if let (Body::Heartbeat(_), Some(server)) = (&message.body, wire.server) {
                    self.noted.push(Noted::Asked { link, server });
                }
                if let Body::Job(order) = &message.body {
                    self.noted.push(Noted::Ordered { attempt: order.attempt.clone(), worker: wire.from });
                }
                let mut bytes = Vec::new();
                wire.edge.render(&message, &mut bytes);
                self.wishes.push(Wish::Send { conn: wire.conn, bytes });
            }
            Output::Close { link } => {
                if let Some(wire) = self.drop_wire(link) {
                    self.wishes.push(Wish::Close { conn: wire.conn });
                }
                let pending: Vec<Conn> = self.calls.iter().filter(|(_, (l, _))| *l == link).map(|(c, _)| *c).collect();
                for conn in pending {
                    self.calls.remove(&conn);
                    self.wishes.push(Wish::Close { conn });
                }
            }
            Output::Event(event) => {
                log::debug!(target: TARGET, "{now:?} host {}: {}: {}", self.host, event.kind.as_str(), event.detail);
                self.noted.push(Noted::Event(event));
            }
            Output::Log { text, .. } => log::debug!(target: TARGET, "{now:?} host {}: {text}", self.host),
            Output::Waits { link, waits, full } => {
                if let Some(wire) = self.wires.get_mut(&link) {
                    wire.edge.set_waiting(waits);
                    wire.full = full;
                }
            }
            Output::Write { ticket, write } => self.wishes.push(Wish::Write { ticket, write }),
            Output::WriteGroup { ticket, write } => self.wishes.push(Wish::WriteGroup { ticket, write }),
            Output::Start(run) => self.wishes.push(Wish::Start(run)),
            Output::StopRun { run } => self.wishes.push(Wish::StopRun { run }),
            Output::Datagram { to, datagram } => {
                let mut bytes = Vec::new();
                encode_datagram(&datagram, &mut bytes);
                let to = to.map(|to| host_at(&Address::of(to)));
                self.wishes.push(Wish::Datagram { to, bytes });
            }
            // Nobody supervises simulated nodes.
            Output::Report(_) => {}
            Output::Stopped => self.stopped = true,
        }
    }

    fn drop_wire(&mut self, link: LinkId) -> Option<Wire> {
        let wire = self.wires.remove(&link)?;
        self.by_conn.remove(&wire.conn);
        self.noted.push(Noted::Gone { link });
        Some(wire)
    }
}
