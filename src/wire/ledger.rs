//! The entries of the ledger: what a group agrees on, one after the other. They stand on the wire (`AGREE`), on disk and in
//! snapshots in the same JSON.

use std::time::Duration;

use super::{Address, GroupId, Json, LentWorker, LoanId, RaftId, ServerId, VoterSets};

/// An entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LedgerEntry {
    /// `INDEX`: 1 or more, without gaps.
    pub index: u64,
    /// `TERM` of the leader that received it.
    pub term: u64,
    /// What. On the wire one of the fields `DO` (a [`Command`]), `CHANGE` (of voters), or neither: the empty entry with which a term begins.
    pub what: LedgerItem,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LedgerItem {
    /// Nothing: a new leader's first entry, whose commit commits those before it (section 5.4.2 of the paper).
    Empty,
    /// `DO`: a change of the ledger.
    Command(Box<Command>),
    /// `CHANGE`: a change of who votes.
    Change(VoterChange),
}

/// A change of who votes, in one joint step where it changes more than one (section 6 of the paper).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct VoterChange {
    /// `ADD_VOTERS`: also learners that become voters.
    pub add_voters: Vec<RaftId>,
    /// `ADD_LEARNERS`: also voters that become learners.
    pub add_learners: Vec<RaftId>,
    /// `REMOVE`.
    pub remove: Vec<RaftId>,
}

/// A change of the ledger. Whether it has an effect is decided when it is applied, the same everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// `FOUND`: the first entry of a group: its id, and its first member.
    Found {
        /// `GROUP_ID`.
        group_id: GroupId,
        /// `GROUP`: its name.
        group: String,
        /// The founder, number 1.
        member: NewMember,
    },
    /// `ADMIT`: this master gets the next number. The same `STATE_ID` again gets the one it has.
    Admit(NewMember),
    /// `MOVE`: this member listens elsewhere, or has another name now.
    Move {
        /// `RAFT_ID`.
        raft_id: RaftId,
        /// `NAME`.
        name: String,
        /// `ADDRESS`.
        address: Address,
    },
    /// `REMOVE`: this number belongs to nobody any more.
    Remove {
        /// `RAFT_ID`.
        raft_id: RaftId,
        /// `REASON`: one sentence.
        reason: String,
    },
    /// `SETTLE`: these were removed and neither vote nor learn any more, and most of those who vote know it. Said by a leader that has
    /// applied the change of voters: whoever has this entry durably has that change, so nobody asks for their votes again, and they may go.
    Settle {
        /// `RAFT_IDS`.
        raft_ids: Vec<RaftId>,
    },
    /// `SET`: this setting is now that, or with null nothing.
    Set {
        /// `NAME`.
        name: String,
        /// `VALUE`.
        value: Json,
    },
    /// `ACQUIRE`: a lease is granted if it is free. Whoever holds it gets it again with the same fence; its term may become
    /// longer by that, never shorter.
    Acquire {
        /// `NAME`.
        name: String,
        /// `HOLDER`.
        holder: String,
        /// `TTL_MS`.
        ttl: Duration,
    },
    /// `RELEASE`: it is free if this grant still holds.
    Release {
        /// `NAME`.
        name: String,
        /// `FENCE`.
        fence: u64,
    },
    /// `EXPIRE`: it is free, says the leader, because its holder has not renewed it.
    Expire {
        /// `NAME`.
        name: String,
        /// `FENCE`: index of the last `ACQUIRE` by which the holder was told that the lease is its own: the grant, or a repetition
        /// of it. One that comes between ends nothing: its holder was told that it goes on.
        fence: u64,
    },
    /// `TICK`: this tick is claimed if this grant holds and no such or later tick was.
    Tick {
        /// `NAME`.
        name: String,
        /// `FENCE`.
        fence: u64,
        /// `TICK`.
        tick: u64,
    },
    /// `ADOPT`: these workers have new owners, each in the next generation. What contradicts what is agreed on is left out.
    Adopt {
        /// `WORKERS`, at most [`super::MAX_ADOPTED`].
        workers: Vec<Adoption>,
    },
    /// `LEND`: a worker is lent.
    Lend(LentWorker),
    /// `END`: a loan is over, if it was not before.
    End {
        /// `LOAN_ID`.
        loan_id: LoanId,
        /// `REASON`: one sentence.
        reason: String,
    },
    /// `RECOVER`: one survivor goes on alone with a new group id.
    Recover {
        /// `GROUP_ID`: the new one.
        group_id: GroupId,
        /// `RAFT_ID`: the survivor.
        raft_id: RaftId,
    },
}

/// A worker gets another owner, because its own is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Adoption {
    /// `WORKER_UUID`.
    pub worker: ServerId,
    /// `FROM`: whose it was.
    pub from: ServerId,
    /// `OWNER`: whose it is.
    pub owner: ServerId,
    /// `GENERATION` of its epoch from now on: 1 or more, one more than before.
    pub generation: u64,
}

/// Who is taken in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NewMember {
    /// `SERVER_ID`.
    pub server_id: ServerId,
    /// `STATE_ID` of its data directory.
    pub state_id: GroupId,
    /// `NAME`.
    pub name: String,
    /// `ADDRESS`.
    pub address: Address,
}

/// What a group keeps beside its log, and a snapshot holds: the whole ledger at an index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SnapshotHead {
    /// `INDEX` of the last entry that is folded in.
    pub index: u64,
    /// `TERM` of that entry.
    pub term: u64,
    /// Who votes at that index.
    pub members: VoterSets,
}
