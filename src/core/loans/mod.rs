//! Loans: a master whose queue overflows borrows workers of its neighbours, and gives them back (design.md, section 8).
//!
//! ```text
//!        as borrower A                                            as owner B
//!   load ──> wants neighbours ── Ask ─────────────────────────> asked ── decide ── Reserve, Propose
//!                    │   5 s, then the next                               │ agreed, or 1 s
//!            promised <───────────────────────── Answer accepted ─────────┤
//!                    │ 10 s, or nobody comes                              └ Order: the worker goes
//!   came ────────> active ── Renew at a third of the lease ───> renew: the lease counts anew
//!                    │                                                    │
//!   load, recalled ──┤ Release: finish, then grace, then Stop             ├ saturated ── Recall
//!   lease over ──────┘ Notify                                             ├ no show, lease over, borrower TIMEOUT
//!   gone                                                                  └ home: the loan is over at once
//! ```
//!
//! One machine, [`Loans`], of which a master is both sides. It knows neither links nor the registry nor the farm: facts are passed in, what is
//! to be done comes out as [`Effect`]s, which the node carries out in their order. What it rests on:
//!
//! - **The owner is the only writer.** Each order that an owner gives about a worker, and each return home, has an [`Epoch`] of its own: the
//!   counter is `boot << 24 | n`, where the boot number is advanced durably at each start before anything is said. So no epoch is ever given
//!   twice, without a write of its own. A return that the *borrower* orders bears the epoch of the loan that it ends, and the
//!   [`NativeMove::loan_id`](crate::wire::NativeMove): a worker obeys it from the master that it is at. The welcome at home then bears a new
//!   epoch ([`Effect::AtHome`]), so that an order of before, which is late, is outranked.
//! - **A lease is counted from the earlier end by who uses the worker, from the later end by its owner.** The borrower counts from when it
//!   *sent* the request or the renewal, the worker from when it *asked* the borrower, the owner from its *answer*, and allows for clocks that
//!   differ by a twentieth. So whoever uses the worker stops first. A worker that obeys an order counts nothing from the order: what it may do
//!   at the borrower, the borrower's welcome says.
//! - **Every loan ends**, at the owner at once, without agreement: by the return of its worker, its no-show, its lease, the death of its
//!   borrower. What the ledger holds is put right when that can be ([`Loans::in_ledger`]).
//! - **Strangers** say nothing of leases. Loans to them are renewed by their heartbeats ([`Loans::peer_alive`]) where these are heard; one of a
//!   foreign worker to a master that is never heard is open-ended, bounded by [`UNHEARD_FOR`].
//!
//! What the worker has to do for this to hold, and the model check takes it to do:
//!
//! - It obeys an order of its owner, or one that tells of its adoption, whose epoch is higher than the highest that it has seen.
//! - It obeys a [`MoveKind::Return`](crate::wire::MoveKind::Return) of a master at which it is a guest if its epoch is not lower than that, and if it
//!   names the loan on which it is there; of one at which it is an orphan, if it names none. It goes where it knows its home to be, and takes
//!   the epoch for none that it has seen: what is above the order that it obeyed, nobody but its owner has to say. It obeys nothing else.
//! - Of an order that it has read it may still end what it runs. If a higher one comes meanwhile, that one holds alone: a return that reaches it at
//!   home means that it stays.
//! - It takes the epoch of a welcome at home as one that it has seen. The welcome comes before the first job. What a borrower's says of its
//!   owner, its home and its epoch, it does not believe.
//! - It counts `LEASE_MS` of a welcome from when it asked, and goes home when that is over, or when the borrower is lost; from one that its order
//!   calls a stranger after the longest stay, whatever that one says.
//!
//! And the ledger: `LEND` of a loan after its `END`, which a late proposal can become, has no effect.
//!
//! The node calls [`Loans::tick`] at [`Loans::deadline`] at the latest, [`Loans::wants_neighbours`] after each input, and
//! [`Loans::excuse`] as the first thing after a pause of the process.

mod address;
mod agenda;
mod borrower;
mod config;
mod desk;
mod history;
mod machine;
#[cfg(test)]
mod model;
mod owner;
mod show;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Duration;

use super::links::Reply;
use super::{LinkId, LogLevel};
use crate::wire::{
    Address, Body, Epoch, LoanAction, LoanId, LoanRecord, LoanRequest, Release, ReleaseAnswer, RequestId, Returned,
    ServerId, ServiceName, WorkerMove,
};

pub(super) use address::of_borrower;
pub use config::{Lend, LoanConfig};
pub(super) use machine::{Counts, Loans};

/// How long an owner waits for its group to agree on a loan. Then it lends by its own authority.
const AGREE_WITHIN: Duration = Duration::from_secs(1);

/// Pause before what the group did not agree on is proposed again.
const PROPOSE_AGAIN: Duration = Duration::from_secs(5);

/// Records that are proposed at a time.
const MAX_PROPOSED: usize = 64;

/// Ends of loans that wait to be recorded. Those beyond are found again by [`Loans::in_ledger`].
const MAX_UNRECORDED: usize = 4096;

/// Requests for workers that wait for the agreement of the group. Each holds a reserved worker, too.
const MAX_DEALS: usize = 256;

/// Borrowers that are cooling down. One that is pushed out may borrow again a little early.
const MAX_COOLING: usize = 1024;

/// `COMMAND_RELEASE`s whose completion is to be told. Those beyond are not told: the borrower's own view serves.
const MAX_RELEASES: usize = 256;

/// Workers lent out and borrowed at a time: as many as a farm has.
const MAX_LOANS: usize = super::farm::MAX_WORKERS;

/// Loans that are over and are still shown.
const MAX_SHOWN_ENDED: usize = 64;

/// Neighbours that are asked in one round. Where there are more, those that were not asked come first in the next one.
const MAX_ROUND: usize = 16;

/// Workers that are promised to this master at a time, by all.
const MAX_PROMISED: usize = 256;

/// Services with jobs that wait of which the machine is told, and which a request for workers names: those with the most jobs.
pub(super) const MAX_NEEDS: usize = 256;

/// The one service of programs of the classroom, workers and masters.
pub(super) const FOREIGN_SERVICE: &str = "query";

/// A loan to a stranger whose heartbeats are not heard ends after this: nothing else would end it, if its worker never comes home.
pub(super) const UNHEARD_FOR: Duration = Duration::from_secs(3600);

/// How long a native worker stays at a stranger at most, whatever that one lives: it says nothing of leases, may have forgotten whose worker it
/// has, and nobody says when the worker is gone. The owner lends again to who still asks.
const STRANGER_STAY: Duration = Duration::from_secs(600);

/// The longest stay of a native worker at a stranger, where leases are this long.
pub(super) fn longest_stay(lease: Duration) -> Duration {
    lease.max(STRANGER_STAY)
}

/// What this master is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Own {
    /// Its id.
    pub(super) server_id: ServerId,
    /// Its name.
    pub(super) name: String,
    /// The name of its group.
    pub(super) group: String,
    /// Where it tells others to call it.
    pub(super) address: Address,
}

/// A request to another master that is under way. Never reused. The node answers each exactly once, unless it was told [`Effect::Drop`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Token(pub(super) u64);

/// A proposal to the group that is under way. Never reused. The node answers each once by [`Loans::agreed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Proposal(pub(super) u64);

/// Why the group has not agreed on a proposal, one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Unagreed {
    /// It never will: there is no group, or nobody was asked.
    Never(String),
    /// It may yet: the leader is gone, or has not answered.
    Unknown(String),
}

/// The jobs of a service that wait for a worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Need {
    /// Which service.
    pub(super) service: ServiceName,
    /// How many: 1 or more.
    pub(super) waiting: u64,
    /// An own worker that is here and takes jobs offers it. If none does, guests that do are kept for them.
    pub(super) own: bool,
}

/// How the queue of this master stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Saturation {
    /// The switch of the load: above the capacity for the hold time, and not below release since.
    pub(super) saturated: bool,
    /// The switch is off, and the pending jobs are below release: nobody is borrowed any longer than needed.
    pub(super) released: bool,
    /// Pending jobs.
    pub(super) pending: u64,
    /// Above how many it saturates.
    pub(super) capacity: u64,
    /// Below how many that ends.
    pub(super) release: u64,
    /// How long either must last.
    pub(super) hold: Duration,
    /// Own workers that are here and well.
    pub(super) workers: u64,
    /// The pending jobs by service: each once, in the order of names, at most [`MAX_NEEDS`]. Empty where nobody is borrowed, nor to be.
    pub(super) needs: Vec<Need>,
}

impl Saturation {
    /// Whether another one differs in the jobs that wait alone: how many, and of what.
    pub(super) fn is_but_for_jobs(&self, other: &Saturation) -> bool {
        let turns = |one: &Saturation| (one.saturated, one.released, one.capacity, one.release, one.hold, one.workers);
        turns(self) == turns(other)
    }
}

/// Another master, as it is known here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Neighbour {
    /// Who.
    pub(super) peer: ServerId,
    /// Its name.
    pub(super) name: String,
    /// Where this node calls it.
    pub(super) address: Address,
    /// The native link to it, where one stands.
    pub(super) link: Option<LinkId>,
    /// It says and understands `LOANS` with `ACTION`: leases, renewals, recalls.
    pub(super) native: bool,
    /// Its status is ALIVE.
    pub(super) alive: bool,
    /// It said that it is saturated itself.
    pub(super) saturated: bool,
    /// Its score, lower is better, in thousandths.
    pub(super) score: u64,
    /// It is a member of the same group: the ids are equal, not only the names.
    pub(super) member: bool,
    /// What its workers can run, where that is known. Empty: not known. Of a stranger it is not asked: [`FOREIGN_SERVICE`].
    pub(super) services: Vec<ServiceName>,
    /// It wants to be asked by `COMMAND_RELEASE` before its workers go home (2025/2).
    pub(super) asks_back: bool,
}

/// An own worker that is here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Candidate {
    /// Who.
    pub(super) worker: ServerId,
    /// Whether it knows epochs and leases.
    pub(super) native: bool,
    /// It runs nothing, and is not spoken for.
    pub(super) idle: bool,
    /// It is spoken for: it gets nothing new to do.
    pub(super) promised: bool,
    /// It is in quarantine.
    pub(super) quarantined: bool,
    /// It takes no new jobs.
    pub(super) draining: bool,
    /// What it runs.
    pub(super) services: Vec<ServiceName>,
    /// Jobs that it runs at a time.
    pub(super) slots: u32,
    /// How often it was adopted, as the ledger says.
    pub(super) generation: u64,
    /// Where it is connected from, for the details of an offer.
    pub(super) address: Option<Address>,
}

/// A worker of another master that has registered here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Guest {
    /// Who.
    pub(super) worker: ServerId,
    /// Whose, as it says.
    pub(super) owner: Option<ServerId>,
    /// The peer that is meant by that, and where this node calls it; `None`: it is none, or nobody knows which.
    pub(super) lender: Option<Party>,
    /// Where it is at home, as it says.
    pub(super) home: Option<Address>,
    /// On which loan; only native workers of native owners say so.
    pub(super) loan_id: Option<LoanId>,
    /// The highest epoch that it has seen.
    pub(super) epoch: Option<Epoch>,
    /// Whether it is a native worker.
    pub(super) native: bool,
    /// What it runs.
    pub(super) services: Vec<ServiceName>,
}

/// A request for workers that has come, with what is known about it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Asked {
    /// The right to answer it; its `id` is the `request_id`.
    pub(super) reply: Reply,
    /// From which address it came.
    pub(super) from: IpAddr,
    /// What it says.
    pub(super) request: LoanRequest,
    /// The peer that asks: who speaks on the link, or whom `master_id` names, if that one is called at, or heard from, the address of the link. A
    /// native master that is not known here is lent to as a stranger is: nobody could say whose renewals to believe.
    pub(super) known: Option<Neighbour>,
    /// Addresses of configured peers and of members: what a payload says of its own host counts only if it is the connection's, or one of these.
    pub(super) trusted: Vec<Address>,
    /// All own workers that are here.
    pub(super) candidates: Vec<Candidate>,
}

/// A master that something is said to. The node uses the native link to this id, and else dials the address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Party {
    /// Who.
    pub(super) peer: ServerId,
    /// Where it is called, as far as known. Only of members, configured peers, and where a request came from.
    pub(super) address: Option<Address>,
}

/// Something that people want to know. The node maps it to a kind of event of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum LoanEvent {
    /// A neighbour is asked for workers.
    LoanAsked,
    /// It offers some; or this master does.
    LoanAccepted,
    /// It refuses, or is silent; or this master refuses.
    LoanRefused,
    /// An own worker is on its way to a borrower.
    WorkerLent,
    /// A worker of another master works here.
    WorkerBorrowed,
    /// An own worker is at home again; or one of another master was let go.
    WorkerReturned,
    /// A loan is over, though its worker has not been seen to come home.
    LoanEnded,
    /// An owner wants a worker back.
    WorkerRecalled,
}

/// What is to be done. The node carries it out in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// Ask this master for workers; [`Loans::answered`] or [`Loans::failed`] follows, or [`Effect::Drop`].
    Ask {
        /// Its number.
        token: Token,
        /// Whom.
        to: Party,
        /// The native link to it, where one stands.
        link: Option<LinkId>,
        /// The mark of the request, a uuid.
        request_id: RequestId,
        /// What.
        request: LoanRequest,
    },
    /// Say this to an owner or a borrower: RENEW, RECALL; [`Loans::done_by`] or [`Loans::failed`] follows, or [`Effect::Drop`].
    Act {
        /// Its number.
        token: Token,
        /// Whom.
        to: Party,
        /// The mark of the request, a uuid.
        request_id: RequestId,
        /// What.
        action: LoanAction,
    },
    /// Say `COMMAND_RELEASE` to an owner; [`Loans::release_answered`] or [`Loans::failed`] follows, or [`Effect::Drop`].
    GiveBack {
        /// Its number.
        token: Token,
        /// Whom.
        to: Party,
        /// What.
        release: Release,
    },
    /// Nobody waits for the answer to this any more. A connection that was made for it is closed.
    Drop {
        /// Its number.
        token: Token,
    },
    /// Say `notify_worker_returned`. No answer is waited for.
    Notify {
        /// Whom.
        to: Party,
        /// Its mark: a uuid, which strangers want to see; between native masters the id of the loan.
        request_id: Option<RequestId>,
        /// What.
        returned: Returned,
    },
    /// Answer a request.
    Answer {
        /// Which.
        reply: Reply,
        /// With what.
        body: Body,
    },
    /// A request gets no answer: its link is gone.
    Unanswered {
        /// Which.
        reply: Reply,
    },
    /// Say `RELEASE_COMPLETED` on this link, or where that is gone, to the peer of this name, if it is one. Each worker of a `COMMAND_RELEASE` is in one of these.
    Completed {
        /// On which connection.
        link: LinkId,
        /// Who has given the workers back, as it says.
        to: Option<ServerId>,
        /// What.
        answer: ReleaseAnswer,
    },
    /// The group shall agree on this; [`Loans::agreed`] follows. Without a group, at once with an error.
    Propose {
        /// Its number.
        proposal: Proposal,
        /// What.
        record: LoanRecord,
    },
    /// This own worker is spoken for: give it nothing more.
    Reserve {
        /// Which.
        worker: ServerId,
    },
    /// It is not, after all.
    Free {
        /// Which.
        worker: ServerId,
    },
    /// Tell this own worker to go and work elsewhere. The farm does so now, or at its next ALIVE.
    Order {
        /// Which.
        worker: ServerId,
        /// What it is told.
        order: WorkerMove,
    },
    /// The order is void. If the worker is here still, it is told by a [`MoveKind::Redirect`](crate::wire::MoveKind) without a target, to this
    /// master, of this epoch: one that has read the order and still ends what it runs stays. If it is not here, nothing is done.
    TakeBack {
        /// Which.
        worker: ServerId,
        /// Higher than that of the order.
        epoch: Epoch,
        /// One sentence.
        reason: String,
    },
    /// An own worker is at home: its welcome bears this epoch. An [`Effect::Order`] may follow at once.
    AtHome {
        /// Which.
        worker: ServerId,
        /// Higher than all before.
        epoch: Epoch,
    },
    /// Give this guest nothing more, and send it home with this order when it has done what it runs, or when the order's grace is over.
    Release {
        /// Which.
        worker: ServerId,
        /// What it is told.
        order: WorkerMove,
    },
    /// This guest may not be used any more: what it runs goes back to the queue, now. Whether it is still here does not matter.
    Stop {
        /// Which.
        worker: ServerId,
        /// One sentence.
        reason: String,
    },
    /// The lease of this guest is this now; see [`Loans::terms`].
    Lease {
        /// Which.
        worker: ServerId,
        /// How much longer it may be used; `None`: open-ended.
        rest: Option<Duration>,
    },
    /// Tell everybody.
    Event {
        /// What happened.
        kind: LoanEvent,
        /// To which worker, where it is one.
        worker: Option<ServerId>,
        /// With which master.
        peer: Option<ServerId>,
        /// One sentence.
        detail: String,
    },
    /// A message between masters, for the log that the course asks for.
    Trace {
        /// Said by this master, or to it.
        out: bool,
        /// Its type, as in 2026/1.
        kind: &'static str,
        /// Its mark, where it has one.
        request_id: Option<RequestId>,
        /// With whom.
        peer: String,
    },
    /// A decision, with what it was based on: for the list that WHY shows.
    Decision {
        /// About a worker, a peer, or a loan.
        about: String,
        /// One sentence.
        text: String,
        /// One that can come again and again: it takes the place of the last one about the same, where that is of this kind, too.
        folds: bool,
    },
    /// A line for the log.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: String,
    },
}
