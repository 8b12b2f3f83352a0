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

mod calls;
mod election;
mod events;
mod farm;
mod group;
mod heartbeat;
mod ledger;
mod links;
mod load;
mod loans;
mod node;
mod order;
mod pages;
mod patience;
mod peer;
mod queue;
mod record;
mod registry;
mod report;
pub(crate) mod rng;
#[cfg(test)]
mod tests;
mod timeline;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use crate::wire::{
    Address, Attempt, Datagram, Durability, Event, Json, MAX_ATTEMPTS, MAX_SLOTS, MasterReport, Message, Permille,
    Role, ServerId, ServiceName, ServiceOffer, Stream, is_valid_name,
};

pub use election::LogTicket;
pub(crate) use group::GroupView;
pub use group::{AgreementConfig, GroupStanding};
pub use ledger::HeldLease;
pub(crate) use links::MAX_WAITING;
pub use load::LoadConfig;
pub use loans::{Lend, LoanConfig};
pub use node::Node;
pub(crate) use patience::lost_after;
pub use record::{GroupWrite, JobEnd, JobNumber, JobSpec, JobWrite, Membership, StoredGroup, StoredJob, StoredState};
pub(crate) use worker::BondView;

/// One connection, for as long as it lasts. Never reused: an event of a connection that is gone meets no other.
///
/// Ids of connections that the shell accepted are even, of those that the core asked for odd; the two never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    /// The `nth` link that the registry asks for.
    const fn of_registry(nth: u64) -> LinkId {
        LinkId(nth * 4 + 1)
    }

    /// The `nth` link that a worker asks for, to its master.
    const fn of_worker(nth: u64) -> LinkId {
        LinkId(nth * 4 + 3)
    }

    /// No connection: this node itself, where it asks what others may ask on theirs. Ids of connections count up from 0 and never come here.
    const OWN: LinkId = LinkId(u64::MAX - 1);

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
    /// What is known beforehand of masters of other people, by the address at which they are called. Default none. If unsure, none: what is
    /// left out is found out.
    pub hints: BTreeMap<Address, PeerHint>,
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
    /// The queue of jobs of a master.
    pub queue: QueueConfig,
    /// Whether [`Output::Event`] tells of each job that ends OK, and not only of those that do not. `EVENTS` streams hear of
    /// all. Default true. If unsure, true, unless nobody reads them.
    pub tell_ends: bool,
    /// What a worker does. There if and only if `role` is worker.
    pub worker: Option<WorkerConfig>,
    /// `--forget-owner`: how long the owner of an orphan must have been gone before another master of the group adopts it. Default 60 s, above
    /// `timeout`, at most 48 h. If unsure, longer than a restart of a master takes.
    pub forget_owner: Duration,
    /// `--supervisor`: who gets a report of this master every ten seconds. Default none, and none at a worker. If unsure, `None`.
    pub supervisor: Option<Address>,
}

/// What is known beforehand of a master of other people (course-protocol.md, section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerHint {
    /// It speaks 2025/2: it wants `COMMAND_RELEASE` before its workers go home, and they know no envelopes. Default false. If unsure, false: its
    /// offers show it.
    pub older: bool,
    /// The port on which it serves workers, where that is not the one on which masters call it. Default none, range 1 to 65535. If unsure, none.
    pub workers: Option<u16>,
}

/// The queue of jobs of a master.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueConfig {
    /// When a job counts as accepted. Default fsync. If unsure, the default.
    pub durability: Durability,
    /// Jobs that may wait or run. Default 1,000,000, range 1 to 100,000,000. If unsure, the default.
    pub max_jobs: u64,
    /// Bytes that all jobs and kept results may hold, by the reckoning of `JOBS`. Default 1 GiB, range 64 KiB to
    /// 1 TiB. If unsure, a quarter of the memory.
    pub max_bytes: u64,
    /// Attempts of a job that says none. Default 3, range 1 to 100.
    pub attempts: u32,
    /// Time of one attempt of a job that says none. Default 10 min, range 1 ms to 24 h.
    pub job_timeout: Duration,
    /// Pause after the first failed attempt; doubled after each, at most 5 min. Default 1 s, range 0 to 5 min.
    pub retry_pause: Duration,
    /// Ended jobs whose results are kept at most. Default 100,000, range 0 to 100,000,000. The oldest go first.
    pub keep_results: u64,
    /// How long they are kept at most. Default 24 h, range 1 s to 365 days. Buried jobs are kept ten times as long.
    pub keep_for: Duration,
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig {
            durability: Durability::Fsync,
            max_jobs: 1_000_000,
            max_bytes: 1 << 30,
            attempts: 3,
            job_timeout: Duration::from_secs(600),
            retry_pause: Duration::from_secs(1),
            keep_results: 100_000,
            keep_for: Duration::from_secs(24 * 3600),
        }
    }
}

impl QueueConfig {
    /// Whether the settings are within their ranges. The error names the first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |setting, value: String, expected: &str| {
            Err(ConfigError::Range { setting, value, expected: expected.to_owned() })
        };
        let within = |value: Duration, low: Duration, high: Duration| low <= value && value <= high;
        if !(1..=100_000_000).contains(&self.max_jobs) {
            return range("max-jobs", self.max_jobs.to_string(), "1 to 100000000 jobs");
        }
        if !(64 << 10..=1 << 40).contains(&self.max_bytes) {
            return range("max-bytes", self.max_bytes.to_string(), "65536 to 1099511627776 bytes");
        }
        if !(1..=MAX_ATTEMPTS).contains(&self.attempts) {
            return range("attempts", self.attempts.to_string(), "1 to 100");
        }
        if !within(self.job_timeout, Duration::from_millis(1), Duration::from_secs(24 * 3600)) {
            return range("job-timeout", format!("{:?}", self.job_timeout), "1 ms to 24 h");
        }
        if self.retry_pause > Duration::from_secs(300) {
            return range("retry-pause", format!("{:?}", self.retry_pause), "0 to 5 min");
        }
        if self.keep_results > 100_000_000 {
            return range("keep-results", self.keep_results.to_string(), "0 to 100000000 jobs");
        }
        if !within(self.keep_for, Duration::from_secs(1), Duration::from_secs(365 * 24 * 3600)) {
            return range("keep-for", format!("{:?}", self.keep_for), "1 s to 365 days");
        }
        Ok(())
    }
}

/// What a worker does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerConfig {
    /// The masters to work for: the first that answers, in this order. Empty: one is discovered.
    pub masters: Vec<Address>,
    /// Jobs that run at a time. Default 1 a core, range 1 to 1024.
    pub slots: u32,
    /// How long a worker that is told to stop goes on with what it runs. Default 30 s, range 0 to 24 h.
    pub grace: Duration,
}

impl WorkerConfig {
    /// Whether the settings are within their ranges. The error names the first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        if !(1..=MAX_SLOTS).contains(&self.slots) {
            let (value, expected) = (self.slots.to_string(), "1 to 1024".to_owned());
            return Err(ConfigError::Range { setting: "slots", value, expected });
        }
        if self.grace > Duration::from_secs(24 * 3600) {
            let (value, expected) = (format!("{:?}", self.grace), "0 to 24 h".to_owned());
            return Err(ConfigError::Range { setting: "grace", value, expected });
        }
        Ok(())
    }
}

impl Default for Config {
    /// The defaults of the command line, on 127.0.0.1:9101 without peers.
    fn default() -> Config {
        Config {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(6),
            peers: Vec::new(),
            hints: BTreeMap::new(),
            bind: SocketAddr::from(([127, 0, 0, 1], 9101)),
            advertise: None,
            role: Role::Master,
            group: "default".to_owned(),
            forget: Duration::from_secs(600),
            load: LoadConfig::default(),
            queue: QueueConfig::default(),
            tell_ends: true,
            worker: None,
            forget_owner: Duration::from_secs(60),
            supervisor: None,
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
        if self.role == Role::Master && (self.forget_owner <= self.timeout || self.forget_owner > hours(48)) {
            let expected = format!("more than the timeout of {:?}, and at most 48 h", self.timeout);
            return range("forget-owner", format!("{:?}", self.forget_owner), &expected);
        }
        if !is_valid_name(&self.group) {
            return range("group", format!("{:?}", self.group), "1 to 64 bytes without control characters");
        }
        if (self.role == Role::Worker) != self.worker.is_some() {
            return range("role", format!("{:?}", self.role), "worker where it has the settings of one, else master");
        }
        if let Some(supervisor) = self.supervisor.as_ref().filter(|_| self.role == Role::Worker) {
            return range("supervisor", supervisor.to_string(), "none at a worker: its master reports of it");
        }
        self.worker.as_ref().map_or(Ok(()), WorkerConfig::check)?;
        self.queue.check()?;
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
        /// What is wrong with it, where it is an answer, or nothing at all.
        wrong: Option<&'static str>,
    },
    /// The other side of an accepted link said something that deserves no answer. The core shows some of it to people.
    Ignored {
        /// On which connection.
        link: LinkId,
        /// What is wrong with it.
        why: &'static str,
        /// The begin of the line, for people.
        line: String,
        /// It is a request for workers, and deserves this refusal, to which the core adds who refuses.
        refusal: Option<Box<Message>>,
    },
    /// Bare heartbeats were answered at the edge. The core counts them.
    HeartbeatsAnswered {
        /// How many.
        count: u64,
    },
    /// A line of an accepted link was malformed, and its error answer must wait for its turn, because other answers
    /// of the link are waited for (see [`Output::Waits`]). The core sends it in its turn.
    Refused {
        /// On which connection.
        link: LinkId,
        /// The error answer.
        message: Message,
    },
    /// A datagram came that says something.
    Datagram {
        /// Who sent it, or claims to.
        from: SocketAddr,
        /// What.
        datagram: Datagram,
    },
    /// Every write with this ticket or a smaller one that was not told to have failed is now as durable as asked for.
    Written {
        /// The last of them.
        through: Ticket,
    },
    /// The writes from `from` to `through` failed, together: nothing of them is stored. The core refuses the jobs that were to be
    /// accepted with them, and writes the rest again later.
    WriteFailed {
        /// The first of them.
        from: Ticket,
        /// The last of them.
        through: Ticket,
        /// Why, for people.
        reason: String,
    },
    /// Every [`Output::WriteGroup`] with this ticket or a smaller one is durable.
    GroupWritten {
        /// The last of them.
        through: LogTicket,
    },
    /// The disk refuses what is to be stored of the group. It is tried again and again, and nothing is told to be written meanwhile:
    /// this node neither votes nor acknowledges. Told once an episode, and once more when it is over.
    GroupTrouble {
        /// Why, for people; `None`: it is well again.
        reason: Option<String>,
    },
    /// What runs here has ended: by itself, by its time-out, or because it was told to stop. Told once for each [`Output::Start`].
    Finished {
        /// Which run.
        run: RunId,
        /// How.
        outcome: Outcome,
    },
    /// What runs here has printed something. Told only of runs that asked for it.
    Printed {
        /// Which run.
        run: RunId,
        /// Where.
        stream: Stream,
        /// What, at most [`crate::wire::MAX_OUTPUT_BYTES`].
        data: String,
    },
    /// What this node itself can run is now this. Told at the start and on each change.
    Offers(Vec<ServiceOffer>),
    /// The machine was measured.
    LoadSample(LoadSample),
    /// What became of an [`Output::Report`]: it was handed over, or why not, for people. The core tells of changes, and reports again when it
    /// is time. A report that a newer one has replaced before it was sent is not told of.
    Reported(Result<(), String>),
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
    /// Stop: say goodbye to the peers, then [`Output::Stopped`]. A worker first goes on with what it runs, at most for
    /// [`WorkerConfig::grace`]; told again, it ends at once.
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
    /// Whether answers of this link are waited for. While they are, the edge hands everything on instead of answering
    /// by itself, so that answers keep their order. Never said of the links that this node opened.
    Waits {
        /// Which connection.
        link: LinkId,
        /// Whether. A half-closed connection is kept while they are.
        waits: bool,
        /// So many are that nothing more is to be read from it until this is `false` again.
        full: bool,
    },
    /// Make this durable, in the order of the tickets, then tell [`Input::Written`] or [`Input::WriteFailed`]. Never said where
    /// [`QueueConfig::durability`] is memory.
    Write {
        /// Its number: 1, 2, 3 ...
        ticket: Ticket,
        /// What.
        write: Box<JobWrite>,
    },
    /// Make this durable, in the order of the tickets, then tell [`Input::GroupWritten`]. It never fails, but may take as long as the
    /// disk is ill, see [`Input::GroupTrouble`].
    WriteGroup {
        /// Its number: 1, 2, 3 ...
        ticket: LogTicket,
        /// What.
        write: GroupWrite,
    },
    /// Run this here, then tell [`Input::Finished`].
    Start(Box<Run>),
    /// Stop this run: ask it, and after two seconds make it. [`Input::Finished`] still comes.
    StopRun {
        /// Which run.
        run: RunId,
    },
    /// Send a datagram.
    Datagram {
        /// To this address; `None`: to everybody who listens for discovery (broadcast, multicast and this machine).
        to: Option<SocketAddr>,
        /// What.
        datagram: Datagram,
    },
    /// Report this to the supervisor, with what was measured of the machine, then tell [`Input::Reported`]. Nothing waits for it: a report that
    /// is still to be sent when the next one comes is dropped.
    Report(Box<MasterReport>),
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

/// The number of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// One run of a service on this node. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub u64);

/// What is to be run on this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Run {
    /// Its id.
    pub run: RunId,
    /// Which service.
    pub service: ServiceName,
    /// Which method of it.
    pub method: ServiceName,
    /// With what.
    pub params: Json,
    /// After this time it is stopped, and counts as failed.
    pub timeout: Duration,
    /// The job and attempt that it is, so that the work can be made idempotent. `None`: a call.
    pub attempt: Option<Attempt>,
    /// Whether [`Input::Printed`] is wanted.
    pub output: bool,
}

/// How a run, or an attempt, ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// With a result.
    Ok(Json),
    /// Without, or with one that says what went wrong.
    Failed {
        /// One sentence; of a crash, the reason and the end of stderr.
        detail: String,
        /// What it has to say beside that.
        result: Option<Json>,
        /// Whether another attempt may succeed.
        retry: bool,
    },
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
