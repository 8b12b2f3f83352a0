//! The edge: a pure machine per link that turns bytes into messages and messages into bytes.

mod cycle;
mod edge;
mod gen2025_2;
pub(super) mod gen2026_1;
mod loans;
mod memory;
mod native;
mod opening;
mod seed;

use super::{Message, ServerId};

pub use edge::Edge;
pub use memory::DialectMemory;

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

    /// Its name in `--peer host:port,dialect=NAME`, in `HELLO` and in the store: `native`, `seed`, `2025-2` or
    /// `2026-1`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Dialect::Native => "native",
            Dialect::Seed => "seed",
            Dialect::Gen2025_2 => "2025-2",
            Dialect::Gen2026_1 => "2026-1",
        }
    }

    /// The dialect of a name.
    pub fn parse(name: &str) -> Option<Dialect> {
        Dialect::ALL.into_iter().find(|dialect| dialect.as_str() == name)
    }
}

/// What the edge asks its caller to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Hand this to the core.
    Message(Message),
    /// A malformed line deserves this error answer, which must wait for its turn (see [`Edge::set_waiting`]),
    /// or comes right behind a registration that waited for what follows it. Hand it to
    /// the core as its `Input::Refused`.
    Refused(Box<Message>),
    /// A line on a link that this node opened that answers nothing in a way that it understands. Tell the core, so
    /// that it can say so to people; nobody answers. At most [`super::MAX_QUOTE`] characters of the line, without control
    /// characters.
    Stray {
        /// The begin of it.
        line: String,
        /// What is wrong with it, where it is an answer, or no JSON object.
        wrong: Option<&'static str>,
    },
    /// A line on an accepted link that deserves no answer, because it is malformed or unknown. Tell the core as its
    /// `Input::Ignored`.
    Ignored {
        /// What is wrong with it, for people.
        why: &'static str,
        /// At most [`super::MAX_QUOTE`] characters of it, without control characters.
        line: String,
        /// It is plain that it asks for workers, so that this refusal is due to it after all. The core adds who refuses.
        refusal: Option<Box<Message>>,
    },
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
    pub fn new(server_id: &ServerId) -> Prepared {
        let mut bare_heartbeat = Vec::new();
        seed::alive(server_id, None, &mut bare_heartbeat);
        Prepared { bare_heartbeat }
    }
}
