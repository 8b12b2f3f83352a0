//! The edge: a pure machine per link that turns bytes into messages and messages into bytes.

use std::collections::BTreeMap;

use crate::time::Time;

use super::{Address, Message, ServerId};

/// A generation's wire form, as far as heartbeats and their answers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// This project's own: SERVER_ID with NAME, ADDRESS, ROLE, GROUP and load. `native`.
    Native,
    /// The seed: bare `{"TASK":"HEARTBEAT"}`, answered with SERVER_ID. `seed`.
    Seed,
    /// 2025/2: SERVER_UUID in request and answer. `2025-2`.
    Gen2025_2,
    /// 2026/1: SERVER_UUID in request and answer, `type` envelopes for loans. `2026-1`.
    Gen2026_1,
}

impl Dialect {
    /// Every dialect, in the order of this enum.
    pub const ALL: [Dialect; 4] = [Dialect::Native, Dialect::Seed, Dialect::Gen2025_2, Dialect::Gen2026_1];

    /// The name: `native`, `seed`, `2025-2` or `2026-1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Dialect::Native => "native",
            Dialect::Seed => "seed",
            Dialect::Gen2025_2 => "2025-2",
            Dialect::Gen2026_1 => "2026-1",
        }
    }

    /// The dialect of a name.
    pub fn parse(text: &str) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == text)
    }
}

/// What the edge asks its caller to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Hand this to the core.
    Message(Message),
    /// Write out what is queued, then close the connection. Nothing more is read from it.
    Close(CloseReason),
}

/// Why the edge wants a connection closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The line is longer than the limit. An error answer is queued.
    LineTooLong,
    /// A begun line was not ended in time. An error answer is queued.
    LineTooSlow,
    /// The first bytes are HTTP, which this node does not serve yet. A 501 is queued.
    Http,
    /// The first bytes began like HTTP and then stopped.
    HeadTooSlow,
    /// The first byte is TLS, which this node does not serve yet.
    Tls,
}

/// What every edge of a node shares: the answers that are ready before they are asked for.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The answer to the bare heartbeat, newline included.
    pub bare_heartbeat: Vec<u8>,
}

impl Prepared {
    /// The prepared answers of the node with this id.
    pub fn new(_server_id: &ServerId) -> Prepared {
        todo!()
    }
}

/// The edge of one link.
pub struct Edge {}

impl Edge {
    /// The edge of a connection that was accepted: the first bytes decide what it speaks.
    pub fn inbound() -> Edge {
        todo!()
    }

    /// The edge of a connection that this node opened: it speaks lines, and its heartbeats have the form of
    /// `dialect`; `None` is not known yet: the first heartbeat has SERVER_UUID and the native extras together, which every generation understands.
    pub fn outbound(_dialect: Option<Dialect>) -> Edge {
        todo!()
    }

    /// Takes bytes from the front of `input` until a message is complete or `input` is empty. Call it again until
    /// it returns `None`. Answers that need no core are appended to `out`.
    pub fn poll(
        &mut self,
        _prepared: &Prepared,
        _input: &mut &[u8],
        _now: Time,
        _out: &mut Vec<u8>,
    ) -> Option<Decoded> {
        todo!()
    }

    /// The peer will send no more: what is left counts as a line. Call it until it returns `None`.
    pub fn finish(&mut self, _prepared: &Prepared, _now: Time, _out: &mut Vec<u8>) -> Option<Decoded> {
        todo!()
    }

    /// The time at which [`Edge::expire`] must be called, if nothing comes before.
    pub fn deadline(&self) -> Option<Time> {
        todo!()
    }

    /// Acts on a deadline that has passed; does nothing before it. Call it until it returns `None`.
    pub fn expire(&mut self, _prepared: &Prepared, _now: Time, _out: &mut Vec<u8>) -> Option<Decoded> {
        todo!()
    }

    /// Appends `message` as a line, in the form in which the link spoke last.
    pub fn render(&mut self, _message: &Message, _out: &mut Vec<u8>) {
        todo!()
    }

    /// How many bare heartbeats were answered here since the last call.
    pub fn take_heartbeats(&mut self) -> u64 {
        todo!()
    }

    /// What the other side turned out to speak, once its heartbeat or answer has shown it.
    pub fn spoken(&self) -> Option<Dialect> {
        todo!()
    }
}

/// What the peers at each address speak: told by `--peer host:port,dialect=NAME`, or found out.
#[derive(Clone, Debug, Default)]
pub struct DialectMemory {
    known: BTreeMap<Address, Dialect>,
}

impl DialectMemory {
    /// Notes what was told (`--peer`) or found out. Returns whether that is news.
    pub fn learn(&mut self, address: &Address, dialect: Dialect) -> bool {
        self.known.insert(address.clone(), dialect) != Some(dialect)
    }

    /// Notes what the operator said (`--peer host:port,dialect=NAME`).
    pub fn tell(&mut self, address: &Address, dialect: Dialect) {
        self.known.insert(address.clone(), dialect);
    }

    /// What to speak to this address, if anything is known.
    pub fn get(&self, address: &Address) -> Option<Dialect> {
        self.known.get(address).copied()
    }

    /// The peer at this address took a connection and closed it without any answer to the heartbeat, in the form
    /// that [`DialectMemory::get`] had named. The next call tries another form; what was told is never given up.
    pub fn unanswered(&mut self, _address: &Address) {
        todo!()
    }

    /// What is known, in the order of addresses, for storing.
    pub fn known(&self) -> impl Iterator<Item = (&Address, Dialect)> {
        self.known.iter().map(|(address, dialect)| (address, *dialect))
    }
}
