//! What a node decides: pure state machines that know no socket, clock, thread or random source.
//!
//! # How to drive a node
//!
//! [`Node`] is the composition of all machines. The rule is: one [`Node::handle`], then [`Node::poll_output`] until
//! it returns `None`, then the next `handle`. [`Node::deadline`] says when the next [`Input::Tick`] is due at the
//! latest; earlier ticks do no harm. `now` never goes backwards.
//!
//! ```text
//!   loop {
//!       wait for an event, at most until node.deadline()
//!       node.handle(input, now)
//!       while let Some(output) = node.poll_output() { carry it out }
//!   }
//! ```
//!
//! Same inputs, same outputs, byte for byte. Sockets are read before [`Input::Tick`] is given, so that an answer
//! that lies in a buffer counts before the deadline that it meets.

mod events;
mod heartbeat;
mod links;
mod load;
mod node;
mod peer;
mod registry;
pub(crate) mod rng;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::time::Duration;

use crate::wire::{Address, Event, Message, Permille, Role, ServerId, is_valid_name};

pub use load::LoadConfig;
pub use node::Node;

/// One connection, for as long as it lasts. Never reused: an event of a connection that is gone meets no other.
///
/// Ids of connections that the shell accepted are even, of those that the core asked for odd; the two never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    /// Whether this node opened the connection.
    pub const fn is_outbound(self) -> bool {
        self.0 % 2 == 1
    }
}

/// Who this node is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The durable id, a uuid v4.
    pub server_id: ServerId,
    /// `--name`: for people, 1 to 64 bytes. Default: the first eight characters of the id.
    pub name: String,
}

/// The settings of a node. [`Config::check`] tells whether they fit together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Time between two heartbeats to one peer. Default 2 s, range 10 ms to 1 h, below `timeout`. If unsure, a third
    /// of the timeout.
    pub interval: Duration,
    /// Silence after which a peer is TIMEOUT, counted from its last answer. Default 6 s, above `interval`, at most
    /// 24 h. If unsure, three intervals.
    pub timeout: Duration,
    /// The peers to call, for ever. May be empty, may name this node itself (which is noticed and left out).
    pub peers: Vec<Address>,
    /// Where the listener is bound. Wildcards are fine.
    pub bind: SocketAddr,
    /// What others are told to call, instead of the bound address. If unsure, `None`.
    pub advertise: Option<Address>,
    /// What this node does. Default master.
    pub role: Role,
    /// The group of masters that it belongs to, 1 to 64 bytes. Default `default`.
    pub group: String,
    /// Time after which a peer that was learnt, not configured, and is TIMEOUT, LEFT or UNKNOWN is forgotten.
    /// Default 10 min, above `timeout`. If unsure, the default.
    pub forget: Duration,
    /// Thresholds of load.
    pub load: LoadConfig,
}

impl Default for Config {
    /// The defaults of the command line, on 127.0.0.1:9101 without peers.
    fn default() -> Config {
        Config {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(6),
            peers: Vec::new(),
            bind: SocketAddr::from(([127, 0, 0, 1], 9101)),
            advertise: None,
            role: Role::Master,
            group: "default".to_owned(),
            forget: Duration::from_secs(600),
            load: LoadConfig::default(),
        }
    }
}

impl Config {
    /// Whether the settings are within their ranges and fit together. The error names the first that does not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |setting, value: String, expected: &str| {
            Err(ConfigError::Range { setting, value, expected: expected.to_owned() })
        };
        let hours = |n: u64| Duration::from_secs(n * 3600);
        if self.interval < Duration::from_millis(10) || self.interval > hours(1) {
            return range("interval", format!("{:?}", self.interval), "10 ms to 1 h");
        }
        if self.timeout <= self.interval || self.timeout > hours(24) {
            let expected = format!("more than the interval of {:?}, and at most 24 h", self.interval);
            return range("timeout", format!("{:?}", self.timeout), &expected);
        }
        if self.forget <= self.timeout {
            let expected = format!("more than the timeout of {:?}", self.timeout);
            return range("forget", format!("{:?}", self.forget), &expected);
        }
        if !is_valid_name(&self.group) {
            return range("group", format!("{:?}", self.group), "1 to 64 bytes without control characters");
        }
        self.load.check()
    }
}

/// Why settings do not fit together. Nothing was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A setting is outside its range.
    #[error("{setting} is {value}; expected {expected}")]
    Range {
        /// Name of the setting, as on the command line without dashes.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        expected: String,
    },
}

/// What happens to a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// A connection exists. For one that the core asked for: the core speaks next. For an accepted one: told at the
    /// latest before its first message; the other side speaks next.
    LinkOpened {
        /// Which connection.
        link: LinkId,
        /// This end.
        local: SocketAddr,
        /// The other end.
        remote: SocketAddr,
    },
    /// A connection that the core asked for could not be made (refused, unreachable, name unknown, too slow). The
    /// core tries again later.
    LinkRefused {
        /// Which connection.
        link: LinkId,
        /// Why, for people.
        reason: String,
    },
    /// A connection that was opened is gone. Not told of one that the core closed. The core opens another where it needs one.
    LinkClosed {
        /// Which connection.
        link: LinkId,
        /// Why, for people.
        reason: String,
    },
    /// The other side said something.
    Message {
        /// On which connection.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// The other side of a link that this node opened said something that is no answer. The core shows it to people.
    Stray {
        /// On which connection.
        link: LinkId,
        /// The begin of the line, for people.
        line: String,
    },
    /// Bare heartbeats were answered at the edge. The core counts them.
    HeartbeatsAnswered {
        /// How many.
        count: u64,
    },
    /// A datagram came. No room of this house listens to datagrams yet: they are counted.
    Datagram {
        /// Who sent it, or claims to.
        from: SocketAddr,
        /// Its payload.
        bytes: Vec<u8>,
    },
    /// The machine was measured.
    LoadSample(LoadSample),
    /// The queue of jobs changed. Told by whoever keeps the queue; a node without one has empty queues.
    Queue {
        /// Jobs that wait.
        pending: u64,
        /// Jobs that run.
        running: u64,
        /// Workers that serve this node.
        workers: u64,
    },
    /// The operator said something.
    Command(Command),
    /// The deadline may have come.
    Tick,
}

/// One measurement of the machine, not averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LoadSample {
    /// CPU of the whole machine since the last sample.
    pub cpu: Permille,
    /// Memory of the whole machine that is in use.
    pub memory: Permille,
}

/// What the operator of a node can say to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Stop: say goodbye to the peers, then [`Output::Stopped`].
    Stop,
}

/// What a node wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Open a connection, then tell [`Input::LinkOpened`] or [`Input::LinkRefused`] with this id. The shell gives
    /// up after `within`.
    Open {
        /// The id that the connection shall have.
        link: LinkId,
        /// Whom to call.
        address: Address,
        /// How long an attempt may take.
        within: Duration,
    },
    /// Send this. A link that is gone swallows it.
    Send {
        /// On which connection.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Close this connection once what was sent before is written. The core has forgotten it: nothing is told of it
    /// any more.
    Close {
        /// Which connection.
        link: LinkId,
    },
    /// Something happened that people and programs may want to know. The shell shows it; the core itself sends it
    /// to the links that asked for `EVENTS`.
    Event(Event),
    /// A line for the log.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// The node has stopped: goodbyes are sent. The shell writes out what is queued and ends.
    Stopped,
}

/// How important a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// Somebody should act.
    Warn,
    /// Somebody may want to know.
    Info,
    /// Somebody who looks for a fault wants to know.
    Debug,
}
