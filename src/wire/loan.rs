//! Loans: what masters say to each other about workers, and what they tell a worker about where it belongs.
//!
//! ```text
//!   borrower A                      owner B                     worker w
//!      │ request_help                  │                           │
//!      │ ────────────────────────────> │                           │
//!      │ <── response_accepted ─────── │ command_redirect          │
//!      │                               │ ────────────────────────> │
//!      │ <──────────────────────────────────────────── WORKER ALIVE, or register_temporary_worker
//!      │ LOANS RENEW (native)          │                           │
//!      │ ────────────────────────────> │                           │
//!      │ command_release               │                           │
//!      │ ────────────────────────────────────────────────────────> │
//!      │ notify_worker_returned        │ <──────── WORKER ALIVE    │
//!      │ ────────────────────────────> │                           │
//! ```
//!
//! The forms of 2025/2 (`WORKER_REQUEST`, `REDIRECT`, `RETURN`, `COMMAND_RELEASE`) and of 2026/1 (envelopes with `type`, `request_id` and
//! `payload`) are read as the same messages. Native nodes say the envelopes of 2026/1 with fields of their own beside them. The
//! `request_id` of an envelope is the [`super::RequestId`] of its message.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use super::{Address, Dialect, ServerId, ServiceName};

/// How recent an order about a worker is: compared by generation, then by counter. `EPOCH`, as `[generation, counter]`.
///
/// The owner of a worker advances the counter with every order that it gives; only the ledger of a group advances the generation, and only by
/// an adoption. So an owner that was cut off and replaced is outranked by construction (design.md, section 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Epoch {
    /// How often the worker was adopted. At most 2^53 - 1, as all numbers of the protocol.
    pub generation: u64,
    /// Orders of its owner so far, with gaps.
    pub counter: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.generation, self.counter)
    }
}

/// The id of a loan: 1 to 64 printable ASCII characters without blanks. Native owners make it of the first eight characters of their id and
/// the counter of the epoch.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoanId(SmolStr);

impl LoanId {
    /// An id, or `None` if `text` is none.
    pub fn new(text: impl AsRef<str>) -> Option<LoanId> {
        let text = text.as_ref();
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| LoanId(text.into()))
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for LoanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for LoanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a native worker stands with the master that welcomes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// `OWNER`: `SERVER_ID` of the master that it belongs to: this one, or that which has lent it, or the one that is gone.
    pub owner: ServerId,
    /// `OWNER_ADDRESS`: where that one is to be called, where that is known.
    pub owner_address: Option<Address>,
    /// `EPOCH`: of the last order about it that this master knows.
    pub epoch: Epoch,
    /// `LOAN_ID`, where it is lent.
    pub loan_id: Option<LoanId>,
    /// `LEASE_MS`: how much longer it may work here, from when it asked. `None`: it is at home, or a guest without a lease.
    pub lease: Option<Duration>,
}

/// `request_help`, `WORKER_REQUEST`: a saturated master asks for workers. The receiver answers [`LoanAnswer`] on the same connection,
/// within five seconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoanRequest {
    /// `master_id`, `master_uuid`, `SERVER_UUID`: who asks. Not said in 2025/2.
    pub master: Option<ServerId>,
    /// `master_name`.
    pub name: Option<String>,
    /// Where it can be called, as it says: `master_address`; `master_host` and `master_port`, or `host` and `port`, `target_host` and
    /// `target_port`, `reply_address`; `REQUESTOR_INFO`. Believed only where its host is the connection's, or configured.
    pub address: Option<Address>,
    /// Its port where it says no host.
    pub port: Option<u16>,
    /// `current_load`: jobs that are pending there.
    pub load: u64,
    /// `capacity`: above how many it counts as saturated.
    pub capacity: u64,
    /// `workers_needed`, `WORKERS_NEEDED`, `needed`. Default 1, at most [`super::MAX_WORKERS_NEEDED`].
    pub needed: u32,
    /// `Some(Dialect::Gen2025_2)`: it came as `WORKER_REQUEST`, and who said so knows no envelopes: a foreign worker that is lent to it is
    /// told in that form, too; to say it so is to ask in that form, whatever the link spoke. `None`: it came as an envelope; to say it so is
    /// to ask in the form that the link has spoken, or was told to, else in an envelope.
    pub dialect: Option<Dialect>,
    /// What only native masters say.
    pub native: Option<NativeLoanRequest>,
}

/// What a native master says beside a `request_help`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NativeLoanRequest {
    /// `SERVICES`: what its pending jobs need, at most 256 names.
    pub services: Vec<ServiceName>,
    /// `GROUP`: the name of its group.
    pub group: String,
}

/// What a [`LoanRequest`] comes to. Nobody answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoanAnswer {
    /// `response_accepted`, `AVAILABLE`: these workers come. Fewer may arrive, and none is waited for.
    Accepted {
        /// `SERVER_UUID`, `master_id`: who answers, where it is said.
        master: Option<ServerId>,
        /// `workers_offered`.
        offered: u32,
        /// `worker_details`, `WORKERS_UUID`, at most [`super::MAX_WORKERS_NEEDED`].
        workers: Vec<OfferedWorker>,
        /// `Some(Dialect::Gen2025_2)`: it came as `AVAILABLE`: such an owner wants a [`Release`] before its workers go home, and knows no
        /// [`Returned`]. `None`: it came as an envelope. To say it, `None` will do: an answer has the form of the request.
        dialect: Option<Dialect>,
    },
    /// `response_rejected`, `UNAVAILABLE`: none comes. Asking again helps later.
    Rejected {
        /// `SERVER_UUID`, `master_id`: who answers, where it is said.
        master: Option<ServerId>,
        /// `reason`: `high_load`, `no_workers_available`, `refused`, or a sentence.
        reason: String,
    },
}

/// A worker that is offered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OfferedWorker {
    /// `id`, `worker_uuid`.
    pub worker: ServerId,
    /// `address`, where it is said; nothing rests on it.
    pub address: Option<Address>,
    /// The terms, between native masters.
    pub terms: Option<OfferTerms>,
}

/// The terms of a loan between native masters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OfferTerms {
    /// `LOAN_ID`.
    pub loan_id: LoanId,
    /// `EPOCH` of the order by which the worker is lent.
    pub epoch: Epoch,
    /// `LEASE_MS`, from this answer.
    pub lease: Duration,
    /// `AGREED`: the ledger of the owner's group holds it. Without a majority the owner lends by its own authority, and says false.
    pub agreed: bool,
}

/// A worker is told to work elsewhere. It obeys if the epoch is higher than the highest that it has seen, or, of a foreign master, if it is
/// that master's; nobody answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkerMove {
    /// Why: which form it takes.
    pub kind: MoveKind,
    /// `new_master_address`, `SERVER_REDIRECT`; `original_master_address`, `SERVER_RETURN`: where to. `None`, of a return: home.
    pub target: Option<Address>,
    /// `new_master_id`, `original_master_id`, and `SERVER_ID` beside them: who is there, where it is known.
    pub target_id: Option<ServerId>,
    /// `new_master_name`.
    pub target_name: Option<String>,
    /// In which form it is said to a foreign worker: `Some(Dialect::Gen2025_2)`, as `REDIRECT` or `RETURN`; any other, as an envelope. `None`:
    /// as its link has spoken of loans before, else as an envelope. To choose is up to who orders, since ALIVE is alike in all of them; what
    /// came as `REDIRECT` or `RETURN` says so.
    pub dialect: Option<Dialect>,
    /// The worker shows itself there by a [`Registration`] before it asks for work: so it is done among programs of 2026/1. An envelope of a
    /// foreign master means it, `REGISTER` of a native one says it; nobody who sends a worker home does.
    pub registers: bool,
    /// What only native masters say.
    pub native: Option<NativeMove>,
}

/// Why a worker moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MoveKind {
    /// `command_redirect`, `REDIRECT`: its owner lends it, or it has another owner now.
    Redirect,
    /// `command_release`, `RETURN`: the loan is over, it goes home.
    Return,
}

/// What a native master says beside an order to move.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NativeMove {
    /// `OWNER`: whom the worker belongs to from now on.
    pub owner: ServerId,
    /// `EPOCH` of this order.
    pub epoch: Epoch,
    /// `LOAN_ID`: the loan that begins, or ends.
    pub loan_id: Option<LoanId>,
    /// `LEASE_MS`: how long the worker may stay there, from now.
    pub lease: Option<Duration>,
    /// `STAY_MS`: the borrower is a stranger, with whom it stays no longer than this from now, whatever that one says. `None`: it is native.
    pub stay: Option<Duration>,
    /// `GRACE_MS`: how long it may go on with what it runs. `None`: until that is done.
    pub grace: Option<Duration>,
}

/// `register_temporary_worker`: a borrowed worker has come. What the receiver answers is not laid down; see course-protocol.md, section 3.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Registration {
    /// `worker_id`, `worker_uuid`.
    pub worker: ServerId,
    /// `original_master_address`: where it is at home.
    pub home: Option<Address>,
    /// `original_master_id`: who its owner is.
    pub owner: Option<String>,
    /// `worker_address`: where it listens itself, for masters that dial.
    pub listens: Option<Address>,
    /// Whether it waits for an `ACK`: it says `worker_address` or `original_master_id`.
    pub wants_ack: bool,
}

/// `COMMAND_RELEASE`: a borrower (2025/2) gives workers back; the owner answers [`ReleaseAnswer`], and only then the borrower sends them home.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Release {
    /// `SERVER_UUID`: who gives them back.
    pub master: Option<ServerId>,
    /// `WORKERS_UUID`.
    pub workers: Vec<ServerId>,
}

/// `RELEASE_ACK`, `RELEASE_COMPLETED`. Nobody answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReleaseAnswer {
    /// `SERVER_UUID`: who says so.
    pub master: Option<ServerId>,
    /// `WORKERS_UUID`.
    pub workers: Vec<ServerId>,
    /// They are home (`RELEASE_COMPLETED`); else they may come.
    pub completed: bool,
}

/// `notify_worker_returned`: a borrower has sent a worker home. Answered by `ACK` where it has a mark, or the asker is native, by nothing otherwise;
/// the worker's own return is the proof.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Returned {
    /// `worker_id`, `worker_uuid`.
    pub worker: ServerId,
    /// `LOAN_ID`, between native masters.
    pub loan_id: Option<LoanId>,
}

/// `LOANS` with `ACTION`, between native masters. Answered by [`LoanDone`], or an error.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoanAction {
    /// `RENEW`: a borrower asks the owner for another lease. What is not among the renewed is over: its worker goes home.
    Renew {
        /// `LOANS`: at most [`super::MAX_WORKERS_NEEDED`] ids.
        loans: Vec<LoanId>,
    },
    /// `RECALL`: the owner wants a worker back; the borrower passes the order on.
    Recall {
        /// `LOAN_ID`.
        loan_id: LoanId,
        /// `WORKER_UUID`.
        worker: ServerId,
        /// `EPOCH` of the order.
        epoch: Epoch,
        /// `GRACE_MS`: how long it may go on with what it runs.
        grace: Duration,
    },
    /// `RECORD`: a member asks its leader to write this into the ledger.
    Record(LoanRecord),
    /// `ADOPT`: the master at which orphans have registered asks its leader to give them an owner. The leader chooses whom.
    Adopt {
        /// `SERVER_ID`: who asks.
        master: ServerId,
        /// `WORKERS`, as objects with `WORKER_UUID`, `OWNER` and `GENERATION`, at most [`super::MAX_ADOPTED`].
        workers: Vec<Orphan>,
    },
}

/// A worker whose owner is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Orphan {
    /// `WORKER_UUID`.
    pub worker: ServerId,
    /// `OWNER`: who it belongs to.
    pub owner: ServerId,
    /// `GENERATION` that it has seen.
    pub generation: u64,
}

/// What is written into the ledger about a loan.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoanRecord {
    /// `LEND`: it begins.
    Lend(LentWorker),
    /// `END`: it is over.
    End {
        /// `LOAN_ID`.
        loan_id: LoanId,
        /// `REASON`: one sentence.
        reason: String,
    },
}

/// A loan, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LentWorker {
    /// `LOAN_ID`.
    pub loan_id: LoanId,
    /// `WORKER_UUID`.
    pub worker: ServerId,
    /// `OWNER`.
    pub owner: ServerId,
    /// `BORROWER`.
    pub borrower: ServerId,
    /// `EPOCH` of the order.
    pub epoch: Epoch,
    /// `LEASE_MS`.
    pub lease: Duration,
}

/// `LOANS` / `OK` after an [`LoanAction`]. Nobody answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoanDone {
    /// `ACTION`: the word of what was asked for: `RENEW`, `RECALL`, `RECORD` or `ADOPT`.
    pub action: String,
    /// `INDEX` of the entry in the ledger, where there is one.
    pub index: Option<u64>,
    /// `RENEWED`: of a renewal, the loans that go on, each with its `LEASE_MS` from this answer.
    pub renewed: Vec<(LoanId, Duration)>,
}

/// The answer to `LOANS`: at most [`super::LOANS_PAGE`], in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoansAnswer {
    /// `SERVER_ID` of the speaker.
    pub server_id: ServerId,
    /// `LOCAL`: its own workers that are here.
    pub local: u64,
    /// `LENT`: its own workers that are elsewhere.
    pub lent: u64,
    /// `BORROWED`: workers of others that are here.
    pub borrowed: u64,
    /// `ASKED`: whom it waits for to answer, one sentence; or why it does not ask.
    pub asks: String,
    /// `LOANS`.
    pub loans: Vec<LoanView>,
    /// `MORE`: ask again with `AFTER` the last `LOAN_ID`.
    pub more: bool,
}

/// One loan, as `LOANS` lists it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoanView {
    /// `LOAN_ID`.
    pub loan_id: LoanId,
    /// `WORKER_UUID`.
    pub worker: ServerId,
    /// `DIRECTION`: `OUT` of this master, or `IN`.
    pub out: bool,
    /// `PEER`: the other master: its id, or as it names itself.
    pub peer: String,
    /// `STATUS`.
    pub status: LoanState,
    /// `EPOCH`; `None`: of a stranger.
    pub epoch: Option<Epoch>,
    /// `LEASE_MS` that is left; `None`: it is open-ended.
    pub lease: Option<Duration>,
    /// `AGREED`: the ledger holds it.
    pub agreed: bool,
    /// `AGE_MS`.
    pub age: Duration,
    /// `DONE`: jobs that the worker has ended there; of a loan `OUT`, 0.
    pub done: u64,
    /// `REASON`: one sentence.
    pub reason: String,
}

/// How a loan stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LoanState {
    /// It is to be written into the ledger. `PROPOSED`.
    Proposed,
    /// The worker is told, and has not shown itself at the borrower. `MOVING`.
    Moving,
    /// It works for the borrower. `ACTIVE`.
    Active,
    /// It is wanted back. `RECALLED`.
    Recalled,
    /// The borrower has let it go, and it is not home yet. `RETURNING`.
    Returning,
    /// It is over. `ENDED`.
    Ended,
}

impl LoanState {
    /// Every one, in the order of this enum.
    pub const ALL: [LoanState; 6] = [
        LoanState::Proposed,
        LoanState::Moving,
        LoanState::Active,
        LoanState::Recalled,
        LoanState::Returning,
        LoanState::Ended,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            LoanState::Proposed => "PROPOSED",
            LoanState::Moving => "MOVING",
            LoanState::Active => "ACTIVE",
            LoanState::Recalled => "RECALLED",
            LoanState::Returning => "RETURNING",
            LoanState::Ended => "ENDED",
        }
    }

    /// The state of a word on the wire.
    pub fn parse(text: &str) -> Option<LoanState> {
        LoanState::ALL.into_iter().find(|state| state.as_str() == text)
    }
}
