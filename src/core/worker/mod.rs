//! A worker's side: it finds a master, keeps one session with it, runs what it is given and reports until that is
//! acknowledged.
//!
//! ```text
//!                    ┌── configured: in their order, then the failover list ──┐
//!   nowhere ────────>│                                                        ├──> tied to one master ──> gone
//!      ^             └── none configured: discovery, the smallest name ───────┘       │        drained
//!      └─── refused, silent, or TIMEOUT: FALLBACK to the next, with a pause ───────────┘
//!
//!   tied:   down ──> dialling ──> up: ELECTION_ACK? ──> ALIVE ──┬── welcome: native, jobs are pushed
//!            ^ a link that merely dropped: the same master      └── QUERY, NO_TASK, ACK: foreign, one task at a time
//!            └───────── at once, then with backoff, until it is TIMEOUT
//! ```
//!
//! What runs belongs to the master that gave it, the **owner**. It outlives links, and is stopped when another master
//! takes this worker: a worker never works for two. Heartbeats are not the worker's: it says by [`Effect::Watch`]
//! whom the node shall heartbeat, and is told how that goes.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::{LinkId, LogLevel, Run, RunId};
use crate::wire::{Address, Datagram, EventKind, Message, ServerId};

mod bond;
mod discovery;
mod jobs;
mod masters;
#[cfg(test)]
mod model;
mod phases;
mod session;
#[cfg(test)]
mod tests;

pub(crate) use bond::BondView;
pub(super) use phases::Worker;

/// What the worker wants done. The node carries it out or hands it on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// Open a connection, then tell `opened` or `refused`.
    Open {
        /// The id that it shall have, of [`LinkId::of_worker`].
        link: LinkId,
        /// Whom to call.
        address: Address,
        /// How long the attempt may take.
        within: Duration,
    },
    /// Close this connection once what was sent before is written. Nothing is told of it any more.
    Close {
        /// Which.
        link: LinkId,
    },
    /// Send this on the session link.
    Send {
        /// Which.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Run this, then tell `finished`. Its id is even.
    Start(Box<Run>),
    /// Stop this run. `finished` still comes, and is swallowed.
    StopRun {
        /// Which.
        run: RunId,
    },
    /// Send a datagram; `None`: to everybody who listens for discovery.
    Datagram {
        /// To whom.
        to: Option<SocketAddr>,
        /// What.
        datagram: Datagram,
    },
    /// Heartbeat this master, and tell `master_alive` and `master_timeout`. One at a time is watched.
    Watch(Address),
    /// Heartbeat it no longer.
    Unwatch(Address),
    /// Tell everybody. `server_id` and `address` are those of the master.
    Event {
        /// What kind.
        kind: EventKind,
        /// The master, where its id is known.
        server_id: Option<ServerId>,
        /// Where the master is.
        address: Option<Address>,
        /// One sentence.
        detail: String,
    },
    /// Keep this decision about this worker for who asks WHY.
    Decided {
        /// One sentence.
        text: String,
    },
    /// Log it.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// This worker has drained: nothing of it runs, its goodbye is said, nothing is due any more. The node stops.
    Drained,
}

/// How a worker stands, for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Standing {
    /// What it is about.
    pub(super) phase: Phase,
    /// The master that it is with or calls.
    pub(super) master: Option<Address>,
    /// Jobs, calls and tasks that it runs.
    pub(super) running: usize,
    /// One sentence on how it came to this.
    pub(super) reason: String,
}

/// What a worker is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Phase {
    /// It collects answers to its discovery, or pauses before the next one.
    Discovering,
    /// No master could be had; it pauses before it tries all again.
    Pausing,
    /// It calls a master, or waits for the answer to its first ALIVE.
    Connecting,
    /// A master has taken it.
    Serving,
    /// The link to its master is gone; it calls it again, until the master is TIMEOUT.
    Away,
    /// It takes nothing new and finishes what it has.
    Draining,
    /// It has drained.
    Gone,
}

impl Phase {
    /// The word for people.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Phase::Discovering => "discovering",
            Phase::Pausing => "pausing",
            Phase::Connecting => "connecting",
            Phase::Serving => "serving",
            Phase::Away => "away",
            Phase::Draining => "draining",
            Phase::Gone => "gone",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
