//! The messages: one enum, and the parts that its variants are made of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::{
    Address, Admission, Agree, AgreeAnswer, Call, CallAnswer, Elect, ElectAnswer, ElectVote, ErrorAnswer, Event,
    GroupId, GroupPresence, Instance, JobAnswer, JobOrder, JobOutput, JobRef, JobStop, JobTask, JobsAnswer, JobsQuery,
    Lease, LeaseRequest, LeasesAnswer, LedgerAnswer, LoanAction, LoanAnswer, LoanDone, LoanId, LoanRequest,
    LoansAnswer, MAX_ID_BYTES, MAX_NAME_BYTES, MembersAction, MembersAnswer, MembersDone, Proof, Redirect,
    Registration, Release, ReleaseAnswer, ResultQuery, Returned, ServiceOffer, SettingsAnswer, SettingsQuery,
    StatusAck, Submit, WhyAnswer, WhyQuery, WorkerAlive, WorkerMove, WorkerStatus, WorkerWelcome, WorkersAnswer,
};

/// One line of the protocol, whatever the dialect it came in.
///
/// A request is answered by the variant of the same name with `Answer`, or by [`Body::Error`]. Answers come in the
/// order of the requests of a link; a request with an `ID` has it echoed.
///
/// ```text
///   asker                         node
///     │ {"TASK":"LOAD","ID":"7"}    │
///     │ ──────────────────────────> │   Message { id: Some("7"), body: Body::Load }
///     │ {"TASK":"LOAD","RESPONSE":  │
///     │  "OK","ID":"7","CPU":3.1..} │
///     │ <────────────────────────── │   Message { id: Some("7"), body: Body::LoadAnswer(..) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// The asker's mark (`ID`, at most 128 bytes), echoed by the answer. `None` where none was given.
    pub id: Option<RequestId>,
    /// What is said.
    pub body: Body,
}

impl Message {
    /// A message without an `ID`.
    pub fn plain(body: Body) -> Message {
        Message { id: None, body }
    }
}

/// What a [`Message`] says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// `HEARTBEAT`: are you alive? The receiver answers [`Body::HeartbeatAnswer`].
    Heartbeat(Heartbeat),
    /// `HEARTBEAT` / `ALIVE`: I am, and this is my id. The asker notes the time; nobody answers.
    HeartbeatAnswer(HeartbeatAnswer),
    /// `HELLO`: who are you? The receiver answers [`Body::HelloAnswer`].
    Hello,
    /// `HELLO` / `OK`: identity, version, dialects and limits of the speaker.
    HelloAnswer(Box<HelloAnswer>),
    /// `NODES`: the registry, or one node of it. The receiver answers [`Body::NodesAnswer`], or an error
    /// `NOT_FOUND` where one node was asked for and is not there.
    Nodes(Box<NodesQuery>),
    /// `NODES` / `OK`: a page of the registry.
    NodesAnswer(Box<NodesAnswer>),
    /// `LOAD`: how busy are you? The receiver answers [`Body::LoadAnswer`].
    Load,
    /// `LOAD` / `OK`: the load and the thresholds of the speaker.
    LoadAnswer(Box<LoadAnswer>),
    /// `EVENTS`: tell me what happens from now on. The receiver answers [`Body::EventsAnswer`] once, and then a
    /// [`Body::Event`] for each event until the link closes.
    Events,
    /// `EVENTS` / `OK`: the stream begins; `SEQ` of the last event before it.
    EventsAnswer {
        /// Number of the last event before the stream; 0 if there was none.
        seq: u64,
    },
    /// `EVENTS` with `EVENT`: one event of the stream. Nobody answers.
    Event(Box<Event>),
    /// `LEAVE`: the goodbye of a native peer on its own link. The receiver marks it LEFT; nobody answers.
    Leave {
        /// Who leaves. Believed only on a link whose speaker has that id.
        server_id: ServerId,
    },
    /// `SUBMIT` with `SERVICE`: do this job. The receiver answers [`Body::JobAnswer`] once the job is as durable as it
    /// makes jobs, or, with `WAIT_MS`, once it has ended; or an error, and the job is not accepted; or, to who says
    /// `FOLLOW`, [`Body::Redirect`].
    Submit(Box<Submit>),
    /// `RESULT` with a job: what became of it? The receiver answers [`Body::JobAnswer`], with `WAIT_MS` when it has
    /// ended or the time is over, and until then [`Body::JobOutput`] where `OUTPUT` was asked for.
    Result(Box<ResultQuery>),
    /// `CANCEL` with a job: do not do it. The receiver answers [`Body::JobAnswer`] with what it is then: CANCELLED, or
    /// how it had ended before.
    Cancel(JobRef),
    /// `BURY` with a job: put it aside until it is kicked. The receiver answers [`Body::JobAnswer`]; only what waits can be buried.
    Bury(JobRef),
    /// `KICK` with a job: queue a BURIED one again, with all its attempts. The receiver answers [`Body::JobAnswer`].
    Kick(JobRef),
    /// The bare form of [`JobTask`]: how is it used? The receiver answers [`Body::UsageAnswer`].
    Usage(JobTask),
    /// The answer to a bare [`JobTask`]: `USAGE`, one sentence, and `EXAMPLE`, a line to type. Nobody answers.
    UsageAnswer(JobTask),
    /// SUBMIT, RESULT, CANCEL, BURY, KICK / `OK`: one job as it stands. Nobody answers.
    JobAnswer(Box<JobAnswer>),
    /// `RESULT` with `EVENT` `OUTPUT`: what a job printed. Nobody answers.
    JobOutput(Box<JobOutput>),
    /// `JOBS`: the queue. The receiver answers [`Body::JobsAnswer`].
    Jobs(Box<JobsQuery>),
    /// `JOBS` / `OK`: the queue by status, and a page of jobs where one was asked for.
    JobsAnswer(Box<JobsAnswer>),

    /// `CALL` with `SERVICE`: do this now. The receiver answers [`Body::CallAnswer`], an error, or
    /// [`Body::Redirect`]. `RETRY` of the error says whether calling again is safe and may help.
    Call(Box<Call>),
    /// `CALL` / `OK` with `RESULT`.
    CallAnswer(Box<CallAnswer>),
    /// `CALL`, bare: who offers what? The receiver answers [`Body::CallsAnswer`].
    Calls,
    /// `CALL` / `OK` with `INSTANCES`: this node, its workers and its native peers, with what they offer.
    CallsAnswer {
        /// `SERVER_ID` of the speaker.
        server_id: ServerId,
        /// `INSTANCES`, at most [`super::INSTANCES_PAGE`].
        instances: Vec<Instance>,
    },
    /// `REDIRECT`, bare: where should a new client go? The receiver answers [`Body::Redirect`], to itself or to a better peer.
    WhereTo {
        /// `HOPS` so far. Default 0.
        hops: u32,
    },
    /// `RESPONSE` `REDIRECT`: ask there instead. The asker follows; nobody answers.
    Redirect(Box<Redirect>),

    /// `WORKERS`: the farm. The receiver answers [`Body::WorkersAnswer`].
    Workers {
        /// `AFTER`: those after this worker, for the next page.
        after: Option<ServerId>,
    },
    /// `WORKERS` / `OK`: a page of the farm.
    WorkersAnswer(Box<WorkersAnswer>),
    /// `WORKER` `ALIVE`: a worker asks for work. A master answers a native one [`Body::WorkerWelcome`], any other
    /// [`Body::Query`], [`Body::NoTask`] or, in one family, [`Body::StatusAck`].
    WorkerAlive(Box<WorkerAlive>),
    /// `WORKER` / `OK`: a native master has taken a native worker. Nobody answers.
    WorkerWelcome(Box<WorkerWelcome>),
    /// `{"TASK":"REQUEST","WORKER_UUID":...}`: in one family, what a worker says after `ACK` to get a task. Answered by
    /// [`Body::Query`] or [`Body::NoTask`].
    TaskRequest {
        /// `WORKER_UUID`, where it is said.
        worker: Option<ServerId>,
    },
    /// `{"TASK":"QUERY","USER":...}`: on the link of a worker to its master, a task; it answers
    /// [`Body::WorkerStatus`]. On any other link, a client's job of service `query`; answered by [`Body::JobAnswer`].
    Query {
        /// `USER`: any JSON value; in some programs a list.
        user: super::Json,
    },
    /// `{"TASK":"NO_TASK"}`: nothing to do now. The worker asks again later.
    NoTask,
    /// `{"TASK":"JOB",...}`: a job or a call for a native worker; it answers [`Body::WorkerStatus`].
    // Shared with the farm, which keeps it until the worker has finished.
    Job(Arc<JobOrder>),
    /// `{"TASK":"STOP",...}`: this attempt is not wanted any more. Nobody answers.
    JobStop(Box<JobStop>),
    /// `STATUS` `OK` or `NOK`: a worker has finished. A master answers [`Body::StatusAck`].
    WorkerStatus(Box<WorkerStatus>),
    /// `STATUS` `ACK`. Nobody answers.
    StatusAck(Box<StatusAck>),
    /// `{"TASK":"KEEPALIVE"}`: a master looks whether an idle worker is there. It answers [`Body::Pong`].
    KeepAlive,
    /// `{"STATUS":"PONG","WORKER_UUID":...}`. Nobody answers.
    Pong {
        /// `WORKER_UUID`, where it is said.
        worker: Option<ServerId>,
    },
    /// `{"TYPE":"ELECTION_ACK","WORKER_UUID":...,"SELECTED_MASTER":...}`: a worker has elected this master. It answers [`Body::ElectionAccepted`].
    ElectionAck {
        /// `WORKER_UUID`.
        worker: ServerId,
        /// `SELECTED_MASTER`: the name that the worker elected.
        selected: String,
    },
    /// `{"TYPE":"ELECTION_ACK","STATUS":"ACCEPTED","MASTER_NAME":...}`. Nobody answers.
    ElectionAccepted {
        /// `MASTER_NAME`.
        master: String,
    },

    /// `ELECT`, bare: who leads? The receiver answers [`Body::ElectAnswer`].
    ElectQuestion,
    /// `ELECT` / `OK`: who leads the group of the speaker, and whether it can decide. Nobody answers.
    ElectAnswer(Box<ElectAnswer>),
    /// `ELECT` with `KIND`: a question of an election, between members. The receiver answers [`Body::ElectVote`], save
    /// `NOW`, which it obeys; or an error `NOT_A_MEMBER` where the link has not proved the key.
    Elect(Box<Elect>),
    /// `ELECT` / `OK` with `VOTE_GRANTED`: one vote. The candidate counts it; nobody answers.
    ElectVote(Box<ElectVote>),
    /// `AGREE`, bare: what is agreed on? The receiver answers [`Body::LedgerAnswer`].
    LedgerQuestion,
    /// `AGREE` / `OK`: how far the ledger of the speaker is, and its last entries in words. Nobody answers.
    LedgerAnswer(Box<LedgerAnswer>),
    /// `AGREE` with `KIND`: what a leader tells a member. The receiver answers [`Body::AgreeAnswer`] once what it says is
    /// durable; or an error `NOT_A_MEMBER` where the link has not proved the key.
    Agree(Box<Agree>),
    /// `AGREE` / `OK` with `KIND`: how far a member has come. The leader notes it; nobody answers.
    AgreeAnswer(Box<AgreeAnswer>),
    /// `HELLO` with `CHALLENGE` or `PROOF`, and the answers to them: [`Proof`] says who answers which with what.
    Proof(Box<Proof>),
    /// `MEMBERS`, bare: who belongs to the group? The receiver answers [`Body::MembersAnswer`].
    MembersQuestion,
    /// `MEMBERS` / `OK`: the members. Nobody answers.
    MembersAnswer(Box<MembersAnswer>),
    /// `MEMBERS` with `ACTION`: a change of who belongs. The receiver answers `ADMIT` by [`Body::Admission`], the others by
    /// [`Body::MembersDone`], once it is agreed; or an error, and nothing has changed as far as it knows.
    Members(Box<MembersAction>),
    /// `MEMBERS` / `OK` with `GROUP_KEY`: the asker is taken in. Nobody answers.
    Admission(Box<Admission>),
    /// `MEMBERS` / `OK` with `ACTION`: it is done. Nobody answers.
    MembersDone(Box<MembersDone>),
    /// `SETTINGS`: what is agreed, or agree on this. The receiver answers [`Body::SettingsAnswer`].
    Settings(Box<SettingsQuery>),
    /// `SETTINGS` / `OK`: agreed settings. Nobody answers.
    SettingsAnswer(Box<SettingsAnswer>),
    /// `LEASE`, without `ACTION`: who holds what? The receiver answers [`Body::LeasesAnswer`].
    LeaseQuestion {
        /// `LOCAL`: answer from the receiver's own copy, which may be old, instead of asking the majority. Default false.
        local: bool,
        /// `AFTER`: the leases after the one of this name, for the next page.
        after: Option<String>,
    },
    /// `LEASE` / `OK` with `LEASES`: a page of the leases. Nobody answers.
    LeasesAnswer(Box<LeasesAnswer>),
    /// `LEASE` with `ACTION`: give me a lease, or do this with the one I hold. The receiver answers [`Body::LeaseAnswer`]
    /// once it is agreed, or an error.
    Lease(Box<LeaseRequest>),
    /// `LEASE` / `OK` with `NAME`: the lease as it stands after what was asked for. Nobody answers.
    LeaseAnswer(Box<Lease>),

    /// `request_help`, `WORKER_REQUEST`: a saturated master asks for workers. The receiver answers [`Body::LoanAnswer`] within five seconds.
    LoanRequest(Box<LoanRequest>),
    /// `response_accepted`, `response_rejected`, `AVAILABLE`, `UNAVAILABLE`. The asker expects the workers, or asks the next; nobody answers.
    LoanAnswer(Box<LoanAnswer>),
    /// `command_redirect`, `REDIRECT`, `command_release`, `RETURN`: a master tells a worker where to go. A worker that listens for
    /// its masters answers [`Body::StatusAck`]; others just go.
    Move(Box<WorkerMove>),
    /// `register_temporary_worker`: a borrowed worker has come. The edge looks whether ALIVE follows; the receiver answers
    /// [`Body::StatusAck`], [`Body::Query`] or [`Body::NoTask`].
    Register(Box<Registration>),
    /// `COMMAND_RELEASE`: a borrower of 2025/2 gives workers back. The owner answers [`Body::ReleaseAnswer`].
    Release(Box<Release>),
    /// `RELEASE_ACK`, `RELEASE_COMPLETED`. On the first the borrower sends the workers home; nobody answers.
    ReleaseAnswer(Box<ReleaseAnswer>),
    /// `notify_worker_returned`: a borrower has sent a worker home. The owner notes it, and answers a native one [`Body::StatusAck`].
    Returned(Box<Returned>),
    /// `LOANS`, bare: who has lent whom to whom? The receiver answers [`Body::LoansAnswer`].
    Loans {
        /// `AFTER`: those after this loan, for the next page.
        after: Option<LoanId>,
    },
    /// `LOANS` / `OK` with `LOANS`: a page of the loans. Nobody answers.
    LoansAnswer(Box<LoansAnswer>),
    /// `LOANS` with `ACTION`: between native masters. The receiver answers [`Body::LoanDone`], or an error.
    LoanAction(Box<LoanAction>),
    /// `LOANS` / `OK` with `ACTION`: it is done. Nobody answers.
    LoanDone(Box<LoanDone>),

    /// `WHY`: why is this as it is, or what was decided last? The receiver answers [`Body::WhyAnswer`], or an error `NOT_FOUND`.
    Why(Box<WhyQuery>),
    /// `WHY` / `OK`. Nobody answers.
    WhyAnswer(Box<WhyAnswer>),

    /// Any answer with `RESPONSE` `ERROR`. The asker acts on [`ErrorAnswer::retry`]; nobody answers.
    Error(Box<ErrorAnswer>),
}

/// The asker's mark on a request: any string of at most 128 bytes.
// Marks, job ids and names are short, mostly, and are copied a dozen times on the way of a job: up to 23 bytes of them
// need no memory of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(SmolStr);

impl RequestId {
    /// A mark, or `None` if `text` is longer than 128 bytes.
    pub fn new(text: impl AsRef<str>) -> Option<RequestId> {
        let text = text.as_ref();
        (text.len() <= MAX_ID_BYTES).then(|| RequestId(text.into()))
    }

    /// The text of the mark.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a server: a uuid for native nodes, any name of 1 to 128 bytes without control or invisible characters for others.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(Arc<str>);

impl ServerId {
    /// An id, or `None` if `text` is empty, longer than 128 bytes or has control characters.
    pub fn new(text: impl Into<Arc<str>>) -> Option<ServerId> {
        let text: Arc<str> = text.into();
        let fits = !text.is_empty() && text.len() <= MAX_ID_BYTES && !is_steering(&text);
        fits.then_some(ServerId(text))
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first eight characters, as logs and the printed registry show it.
    pub fn short(&self) -> &str {
        let end = self.0.char_indices().nth(8).map_or(self.0.len(), |(at, _)| at);
        &self.0[..end]
    }

    /// What a line for people calls it: the first eight characters of a uuid, which tell it from others, and the whole of anything else.
    pub fn tag(&self) -> &str {
        let hyphen = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let fits = |(at, byte): (usize, u8)| if hyphen(at) { byte == b'-' } else { byte.is_ascii_hexdigit() };
        let is_uuid = self.0.len() == 36 && self.0.bytes().enumerate().all(fits);
        if is_uuid { self.short() } else { &self.0 }
    }
}

impl fmt::Debug for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ServerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether `text` may be a `NAME` or a `GROUP`: 1 to 64 bytes, no control characters.
pub fn is_valid_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && !is_steering(text)
}

/// Whether a text has such a character.
fn is_steering(text: &str) -> bool {
    // Of ASCII, all in one pass without a way out: what nearly every text is costs no look at each character.
    let plain = text.bytes().fold(true, |plain, byte| plain & (b' '..0x7f).contains(&byte));
    !plain && text.chars().any(steers)
}

/// Whether a character could steer a terminal or the order of what is read: control characters, and the invisible
/// ones that turn or hide text (zero width, bidirectional marks).
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// The first `most` characters of somebody's text, without those that could steer a terminal: one line for people.
pub fn quote(text: &str, most: usize) -> String {
    text.chars().filter(|c| !steers(*c)).take(most).collect()
}

/// What a node does in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Owns a farm and serves clients. `"master"` on the wire.
    Master,
    /// Works for one master at a time. `"worker"` on the wire.
    Worker,
}

impl Role {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Worker => "worker",
        }
    }

    /// The role of a word on the wire, in any letter case.
    pub fn parse(text: &str) -> Option<Role> {
        [Role::Master, Role::Worker].into_iter().find(|role| role.as_str().eq_ignore_ascii_case(text))
    }
}

/// A share in thousandths, 0 to 1000. On the wire it is a percentage with one decimal, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Permille(u16);

impl Permille {
    /// All of it.
    pub const MAX: Permille = Permille(1000);

    /// The share, clamped to 1000.
    pub fn new(thousandths: u64) -> Permille {
        Permille(u16::try_from(thousandths.min(1000)).unwrap_or(1000))
    }

    /// `part` of `whole`, rounded down; nothing of nothing is zero.
    pub fn of(part: u64, whole: u64) -> Permille {
        let thousandths = u128::from(part) * 1000 / u128::from(whole.max(1));
        Permille::new(u64::try_from(thousandths).unwrap_or(u64::MAX))
    }

    /// Thousandths, 0 to 1000.
    pub const fn get(self) -> u64 {
        self.0 as u64
    }
}

/// A score in thousandths: `0.7 × CPU % + 0.3 × RTT ms`, lower is better (design.md section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Score(pub u64);

impl Score {
    /// The score of a node with this load, seen over this round trip. All in integers: 0.7 × permille / 10 is
    /// 70 thousandths a permille, 0.3 a millisecond is 0.3 thousandths a microsecond.
    pub fn of(cpu: Permille, rtt: Duration) -> Score {
        let rtt_us = crate::time::micros(rtt);
        Score(cpu.get() * 70 + rtt_us.saturating_mul(3) / 10)
    }
}

/// How busy a node is. Said in heartbeats, `LOAD` and `NODES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct LoadReport {
    /// `CPU`: of the whole machine, weighted average over some seconds.
    pub cpu: Permille,
    /// `MEMORY`: used share of the whole machine's memory.
    pub memory: Permille,
    /// `PENDING`: jobs that wait.
    pub pending: u64,
    /// `RUNNING`: jobs that run.
    pub running: u64,
    /// `WORKERS`: workers that serve this node now.
    pub workers: u64,
    /// `SATURATED`: pending jobs were above the capacity for the hold time, and have not been below release since.
    pub saturated: bool,
}

/// Who a native node is, as it says in heartbeats.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Presence {
    /// `SERVER_ID`: the durable identity.
    pub server_id: ServerId,
    /// `NAME`: for people, 1 to 64 bytes.
    pub name: String,
    /// `ADDRESS`: where it listens, as far as it knows. The receiver checks it against the connection.
    pub address: Address,
    /// `ROLE`.
    pub role: Role,
    /// `GROUP`: the group of masters it belongs to, 1 to 64 bytes.
    pub group: String,
    /// `GROUP_ID`, `TERM`, `LEADER`, `FOUNDER`, `SEES`: how it stands in that group. Each is left out where empty or 0.
    pub group_presence: GroupPresence,
    /// `CPU`, `MEMORY`, `PENDING`, `RUNNING`, `WORKERS`, `SATURATED`.
    pub load: LoadReport,
    /// `SERVICES`: what it and its workers offer, at most 256. Left out where empty.
    pub services: Vec<ServiceOffer>,
}

/// A heartbeat request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Heartbeat {
    /// Who asks, where a foreign asker said so (`SERVER_UUID`). Shown in logs only: nothing is learnt from it.
    pub sender: Option<ServerId>,
    /// Who asks, where it is a native node. Only then are extras sent back.
    pub presence: Option<Box<Presence>>,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeartbeatAnswer {
    /// `SERVER_ID` or `SERVER_UUID` of who answers.
    pub server_id: ServerId,
    /// Who answers, between native nodes.
    pub presence: Option<Box<Presence>>,
}

/// The answer to `HELLO`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HelloAnswer {
    /// Who this is, and how busy.
    pub presence: Presence,
    /// `VERSION` of the program, such as `0.1.0`.
    pub version: String,
    /// `DIALECTS` that it understands.
    pub dialects: Vec<String>,
    /// `LINE_BYTES`: the longest line that it reads, in bytes without the newline.
    pub line_bytes: u64,
    /// `SECRET`: whether it asks for one.
    pub secret: bool,
    /// `UPTIME_MS`: milliseconds since it started.
    pub uptime: Duration,
    /// `HEARTBEATS`: heartbeats answered since it started, of every dialect.
    pub heartbeats: u64,
    /// `INTERVAL_MS`: milliseconds between its heartbeats.
    pub interval: Duration,
    /// `TIMEOUT_MS`: milliseconds of silence after which it calls a peer TIMEOUT.
    pub timeout: Duration,
    /// `SUPERVISOR`: who gets its reports. Left out where nobody does.
    pub supervisor: Option<Address>,
    /// `SUPERVISOR_REACHED`: whether the last report was handed over. Left out while nothing is known.
    pub supervisor_reached: Option<bool>,
}

/// What `NODES` asks for. All `None` is the whole registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct NodesQuery {
    /// `SERVER_ID`: only this node.
    pub server_id: Option<ServerId>,
    /// `ADDRESS`: only the node at this address.
    pub address: Option<Address>,
    /// `NAME`: only nodes of this name.
    pub name: Option<String>,
    /// `AFTER`: the entries after the one with this `KEY`, for the next page.
    pub after: Option<String>,
}

/// A page of the registry: at most [`super::NODES_PAGE`] entries, in the order of their keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodesAnswer {
    /// `SERVER_ID` of the node whose registry this is.
    pub server_id: ServerId,
    /// `NODES`: the entries.
    pub nodes: Vec<NodeEntry>,
    /// `MORE`: whether there are entries after the last one; ask again with `AFTER` its `KEY`.
    pub more: bool,
}

/// Whether a peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// It has never answered.
    Unknown,
    /// Its last answer is younger than the timeout.
    Alive,
    /// It has not answered for the timeout.
    Timeout,
    /// It said goodbye, and has not answered since.
    Left,
}

impl Status {
    /// The word on the wire: `UNKNOWN`, `ALIVE`, `TIMEOUT` or `LEFT`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Unknown => "UNKNOWN",
            Status::Alive => "ALIVE",
            Status::Timeout => "TIMEOUT",
            Status::Left => "LEFT",
        }
    }

    /// The status of a word on the wire.
    pub fn parse(text: &str) -> Option<Status> {
        [Status::Unknown, Status::Alive, Status::Timeout, Status::Left]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

/// How a peer became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Learnt {
    /// By `--peer`. Never forgotten.
    Configured,
    /// By its own heartbeat. Forgotten some time after it is gone.
    Heartbeat,
}

impl Learnt {
    /// The word on the wire: `configured` or `heartbeat`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Learnt::Configured => "configured",
            Learnt::Heartbeat => "heartbeat",
        }
    }

    /// The source of a word on the wire.
    pub fn parse(text: &str) -> Option<Learnt> {
        [Learnt::Configured, Learnt::Heartbeat].into_iter().find(|learnt| learnt.as_str() == text)
    }
}

/// One entry of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeEntry {
    /// `KEY`: the id of the server, or its address while that is not known. Unique in a registry.
    pub key: String,
    /// `SERVER_ID`, once it has answered.
    pub server_id: Option<ServerId>,
    /// `NAME`, for native peers.
    pub name: Option<String>,
    /// `ADDRESS`: where this node reaches it.
    pub address: Address,
    /// `ROLE`, for native peers.
    pub role: Option<Role>,
    /// `GROUP`, for native peers.
    pub group: Option<String>,
    /// `GROUP_ID`, for native masters that are members of a group.
    pub group_id: Option<GroupId>,
    /// `LEADS`: it says that it leads its group. Left out where false.
    pub leads: bool,
    /// `STATUS`.
    pub status: Status,
    /// `LAST_SEEN_MS`: milliseconds since its last answer. `None` if it never answered.
    pub last_seen: Option<Duration>,
    /// `RTT_MS`: smoothed round trip of its heartbeats (RFC 6298, section 2). `None` if it never answered.
    pub rtt: Option<Duration>,
    /// Its last known load, for native peers.
    pub load: Option<LoadReport>,
    /// `SCORE`: 0.7 × CPU % + 0.3 × RTT ms. `None` without load.
    pub score: Option<Score>,
    /// `LEARNT`: how it became known.
    pub learnt: Learnt,
    /// `REASON`: one sentence on why it has this status; for a peer that cannot be reached, the last error.
    pub reason: String,
}

/// The answer to `LOAD`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoadAnswer {
    /// `SERVER_ID` of the speaker.
    pub server_id: ServerId,
    /// The load itself.
    pub load: LoadReport,
    /// `SCORE` of the speaker seen from itself: 0.7 × CPU %.
    pub score: Score,
    /// `HOT`: CPU above the threshold (it would redirect).
    pub hot: bool,
    /// `CAPACITY`: pending jobs above which it becomes saturated.
    pub capacity: u64,
    /// `RELEASE`: pending jobs below which it stops being saturated.
    pub release: u64,
    /// `HOLD_MS`: how long either must last, milliseconds.
    pub hold: Duration,
    /// `CPU_THRESHOLD` in percent; 0 means never hot.
    pub cpu_threshold: Permille,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_on_the_wire_read_back() {
        for status in [Status::Unknown, Status::Alive, Status::Timeout, Status::Left] {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Role::parse("MASTER"), Some(Role::Master));
        assert_eq!(Role::parse("queen"), None);
    }

    #[test]
    fn score_is_seven_tenths_cpu_and_three_tenths_round_trip() {
        // 50 % CPU and 10 ms: 35 + 3 = 38.
        assert_eq!(Score::of(Permille::new(500), Duration::from_millis(10)), Score(38_000));
        assert_eq!(Score::of(Permille::new(0), Duration::ZERO), Score(0));
    }

    #[test]
    fn short_ids_cut_at_characters_not_bytes() {
        assert_eq!(ServerId::new("çççççççççç").unwrap().short(), "çççççççç");
        assert_eq!(ServerId::new("S1").unwrap().short(), "S1");
        let tag = |text: &str| ServerId::new(text).unwrap().tag().to_owned();
        assert_eq!(tag("2f1e9b3c-77aa-4c11-9d7e-0123456789ab"), "2f1e9b3c");
        for whole in ["127.0.0.1:9102", "classroom-master", "2f1e9b3c-77aa-4c11-9d7e-0123456789ax", "çççççççççç"]
        {
            assert_eq!(tag(whole), whole, "nothing else of it tells it from others");
        }
        assert_eq!(ServerId::new(""), None);
        assert_eq!(ServerId::new("a\nb"), None);
        assert!(!is_valid_name("\u{202e}evil"), "what turns text around is no name");
        assert!(is_valid_name("joão ç 李"));
        assert_eq!(quote("a\x1b[2J\u{200b}b\r\nc", 5), "a[2Jb");
    }
}
