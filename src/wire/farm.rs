//! What workers and masters say to each other: the cycle of sprint 2, its native extras, discovery (sprint 2.1), and
//! the listing of a farm.
//!
//! ```text
//!   worker                                       master, foreign or native
//!     │ WORKER ALIVE (+ SLOTS, SERVICES, JOBS)      │
//!     │ ──────────────────────────────────────────> │
//!     │ <── QUERY, NO_TASK, ACK ─────────────────── │  a foreign master, or to a foreign worker: one task at a time
//!     │ <── WORKER OK (welcome), then JOB, JOB ──── │  between native nodes: pushed, up to SLOTS at a time
//!     │ STATUS OK | NOK (+ JOB_ID, RESULT)          │
//!     │ ──────────────────────────────────────────> │
//!     │ <── STATUS ACK ──────────────────────────── │
//! ```

use std::time::Duration;

use super::{Address, Epoch, Host, JobId, Json, LoanId, ServerId, ServiceName, ServiceOffer, Terms};

/// One attempt at a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Attempt {
    /// `JOB_ID`.
    pub job_id: JobId,
    /// `ATTEMPT`: 1 for the first.
    pub attempt: u32,
}

/// `{"WORKER":"ALIVE","WORKER_UUID":...}`: a worker asks for work.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerAlive {
    /// `WORKER_UUID`: who asks. Any name, as for servers.
    pub worker: ServerId,
    /// `SERVER_UUID`: the owner of a borrowed worker, as it names it: a name, a uuid, an IP or `ip:port`.
    pub owner: Option<String>,
    /// Where it listens for its masters: one family of foreign workers is told where to go by a call there, and not as the answer to this.
    pub listens: Option<Listens>,
    /// What only native workers say.
    pub native: Option<Box<NativeWorker>>,
}

/// `WORKER_HOST` and `WORKER_PORT`, `worker_host` and `worker_port`, or `port`: where a foreign worker listens, as it says. Believed only where
/// its host is the connection's, or configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Listens {
    /// Its host; `None`: that of the connection.
    pub host: Option<Host>,
    /// Its port, not 0.
    pub port: u16,
}

impl From<Address> for Listens {
    fn from(address: Address) -> Listens {
        Listens { host: Some(address.host), port: address.port }
    }
}

/// What a native worker says of itself with `WORKER` `ALIVE`. There when `SLOTS` is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NativeWorker {
    /// `NAME`, for people. Default: the first eight characters of `WORKER_UUID`.
    pub name: String,
    /// `SLOTS`: jobs that it runs at a time, 0 to 1024. 0: it drains, no new ones.
    pub slots: u32,
    /// `SERVICES` that it offers, at most 256.
    pub services: Vec<ServiceOffer>,
    /// `JOBS`: attempts that it has, running or done and not acknowledged yet, as `"<JOB_ID>/<ATTEMPT>"`. This is what a resumption rests on:
    /// the master sends again what is missing here, and takes back nothing that stands here.
    pub jobs: Vec<Attempt>,
    /// `EPOCH`: the highest order that it has seen; `None`: none yet.
    pub epoch: Option<Epoch>,
    /// `LOAN_ID`: on which loan it is here.
    pub loan_id: Option<LoanId>,
}

/// `{"TASK":"WORKER","RESPONSE":"OK",...}`: a native master has taken a native worker, or confirms it. Jobs come from
/// now on without being asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerWelcome {
    /// `SERVER_ID` of the master.
    pub server_id: ServerId,
    /// `NAME` of the master.
    pub name: String,
    /// `TIMEOUT_MS`: silence after which the worker counts as lost, and its jobs are queued again.
    pub timeout: Duration,
    /// `FAILOVER`: other masters to try when this one is gone, at most 16.
    pub failover: Vec<Address>,
    /// `DROP`: attempts among the worker's `JOBS` that nobody waits for any more; it stops them and forgets them.
    pub drop: Vec<Attempt>,
    /// `OWNER` and what goes with it. `None`, of masters that lend nothing.
    pub terms: Option<Box<Terms>>,
}

/// `{"TASK":"JOB",...}`: a master gives a job, or a call, to a native worker. Answered by [`WorkerStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobOrder {
    /// `JOB_ID` and `ATTEMPT`. A call has an id of its own form, `call-<number>`, and attempt 1.
    pub attempt: Attempt,
    /// `CALL`: this is a call. It takes no slot, and is not resumed: when the link is gone, nobody waits for it.
    pub call: bool,
    /// `SERVICE`.
    pub service: ServiceName,
    /// `METHOD`.
    pub method: ServiceName,
    /// `PARAMS`.
    pub params: Json,
    /// `TIMEOUT_MS`: how long it may take from its arrival.
    pub timeout: Duration,
    /// `OUTPUT`: somebody wants to see what it prints.
    pub output: bool,
}

/// `{"TASK":"STOP",...}`: a master does not want this attempt any more. The worker stops it and forgets it; nobody answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobStop {
    /// `JOB_ID` and `ATTEMPT`.
    pub attempt: Attempt,
    /// `REASON`: one sentence.
    pub reason: String,
}

/// `{"STATUS":"OK"|"NOK","TASK":...,"WORKER_UUID":...}`: a worker has finished. Answered by [`StatusAck`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerStatus {
    /// `WORKER_UUID`. Foreign workers that leave it out are known by their link.
    pub worker: Option<ServerId>,
    /// `JOB_ID` and `ATTEMPT`, from native workers. A foreign worker has one job, and this is it.
    pub attempt: Option<Attempt>,
    /// `STATUS`: `OK` or `NOK`.
    pub ok: bool,
    /// `RESULT`. From foreign workers: what it says beside the known fields (such as `CPF`, `SALDO`), as an object.
    pub result: Option<Json>,
    /// `DETAIL`, with `NOK`: one sentence.
    pub detail: Option<String>,
    /// `RETRY`, with `NOK`: whether another attempt may succeed. Default true.
    pub retry: bool,
}

/// `{"STATUS":"ACK"}`: the master has noted a status (or, in one family, an ALIVE). Nobody answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct StatusAck {
    /// `WORKER_UUID`, where it is said.
    pub worker: Option<ServerId>,
    /// `JOB_ID` and `ATTEMPT`, to native workers: the result is as durable as the master makes it; forget it.
    pub attempt: Option<Attempt>,
}

/// One worker of a farm, as `WORKERS` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerView {
    /// `WORKER_UUID`.
    pub worker: ServerId,
    /// `NAME`.
    pub name: String,
    /// `STATUS`.
    pub status: WorkerState,
    /// `NATIVE`: whether it speaks the native form.
    pub native: bool,
    /// `OWNER`, of a borrowed worker, as it names it.
    pub owner: Option<String>,
    /// `SLOTS`.
    pub slots: u32,
    /// `RUNNING`: attempts that it has.
    pub running: u32,
    /// `DONE`: attempts that ended OK since it is known.
    pub done: u64,
    /// `FAILED`: attempts that ended NOK, late or never since it is known.
    pub failed: u64,
    /// `SERVICES`, by name.
    pub services: Vec<ServiceName>,
    /// `LAST_SEEN_MS`.
    pub last_seen: Duration,
    /// `REASON`: one sentence on why it has this status.
    pub reason: String,
}

/// How a worker stands with its master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkerState {
    /// It has room for work. `IDLE` where it runs nothing.
    Idle,
    /// It runs something. `BUSY`.
    Busy,
    /// It takes no new work. `DRAINING`.
    Draining,
    /// It failed fast while others succeeded, and gets no work for a while. `QUARANTINED`.
    Quarantined,
    /// Its link is gone; it may resume until it counts as lost. `AWAY`.
    Away,
}

impl WorkerState {
    /// Every one, in the order of this enum.
    pub const ALL: [WorkerState; 5] =
        [WorkerState::Idle, WorkerState::Busy, WorkerState::Draining, WorkerState::Quarantined, WorkerState::Away];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            WorkerState::Idle => "IDLE",
            WorkerState::Busy => "BUSY",
            WorkerState::Draining => "DRAINING",
            WorkerState::Quarantined => "QUARANTINED",
            WorkerState::Away => "AWAY",
        }
    }

    /// The state of a word on the wire.
    pub fn parse(text: &str) -> Option<WorkerState> {
        WorkerState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// The answer to `WORKERS`: at most [`super::WORKERS_PAGE`], in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkersAnswer {
    /// `SERVER_ID` of the master.
    pub server_id: ServerId,
    /// `WORKERS`.
    pub workers: Vec<WorkerView>,
    /// `MORE`: ask again with `AFTER` the last `WORKER_UUID`.
    pub more: bool,
}

/// What is said by UDP (sprint 2.1): one JSON object a datagram.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Datagram {
    /// `{"TYPE":"DISCOVERY","WORKER_UUID":...}`: a worker looks for masters. Each answers [`Datagram::Reply`].
    Discovery {
        /// `WORKER_UUID`.
        worker: ServerId,
    },
    /// `{"TYPE":"DISCOVERY_REPLY",...}`: a master is here. The worker collects them for three seconds.
    Reply(MasterOffer),
    /// `{"TASK":"FIND_MASTER",...}` of one family. Answered by [`Datagram::Found`].
    Find,
    /// `{"TASK":"MASTER_FOUND","MASTER_IP":...,"MASTER_PORT":...}`.
    Found(MasterOffer),
}

/// A master that answers discovery.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MasterOffer {
    /// `MASTER_NAME`. The smallest in the order of its bytes is elected.
    pub name: String,
    /// `MASTER_IP` and `MASTER_PORT`.
    pub address: Address,
}
