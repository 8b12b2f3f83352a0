//! What is stored of jobs and of the group: the contract between the core and the store.
//!
//! A job is one [`StoredJob`] that is put once, and states that replace one another. The store keeps the last state of
//! each. It does not understand either.

use std::time::Duration;

use crate::wire::{GroupId, Json, LedgerEntry, RaftId, ServiceName, SnapshotHead};

/// The number of a job at its master: `boot` in the upper 24 bits, a count in the lower 40. Never reused, and in the
/// order of acceptance. A million jobs a second use the count up in twelve days, 32 bits would be used up in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobNumber(pub u64);

impl JobNumber {
    const COUNT_BITS: u32 = 40;

    /// The first number of this start of the master.
    pub const fn first(boot: u32) -> JobNumber {
        JobNumber((boot as u64) << JobNumber::COUNT_BITS)
    }

    /// The number of this start and count, or `None` if either is too large.
    pub const fn new(boot: u32, count: u64) -> Option<JobNumber> {
        if boot >> (64 - JobNumber::COUNT_BITS) != 0 || count >> JobNumber::COUNT_BITS != 0 {
            return None;
        }
        Some(JobNumber(JobNumber::first(boot).0 | count))
    }

    /// How often the master had been started.
    pub const fn boot(self) -> u32 {
        (self.0 >> JobNumber::COUNT_BITS) as u32
    }

    /// The count within that start.
    pub const fn count(self) -> u64 {
        self.0 & ((1 << JobNumber::COUNT_BITS) - 1)
    }
}

/// What a job is, from its acceptance to its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobSpec {
    /// Who does it.
    pub service: ServiceName,
    /// What it does.
    pub method: ServiceName,
    /// With what.
    pub params: Json,
    /// 0 to 9, higher first.
    pub priority: u8,
    /// Not before this much time after its acceptance.
    pub delay: Duration,
    /// Time of one attempt.
    pub timeout: Duration,
    /// Attempts at most.
    pub attempts: u32,
    /// Its key, if it has one.
    pub key: Option<Box<str>>,
}

/// How far a job has come, as far as a restart must know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StoredState {
    /// It waits or runs. `attempt` were begun, as far as is stored: a crash may forget the last one.
    Open {
        /// Attempts.
        attempt: u32,
    },
    /// It has ended.
    Ended(Box<JobEnd>),
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobEnd {
    /// OK, NOK, CANCELLED or BURIED.
    pub status: crate::wire::JobStatus,
    /// Attempts that were begun.
    pub attempt: u32,
    /// Who finished it.
    pub worker: Option<Box<str>>,
    /// Its result.
    pub result: Option<Json>,
    /// One sentence on why, where it is not OK.
    pub reason: Option<Box<str>>,
}

/// A change that must be durable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum JobWrite {
    /// A job is accepted.
    Put {
        /// Its number, larger than all before.
        number: JobNumber,
        /// What it is.
        spec: JobSpec,
    },
    /// It is now in this state.
    State {
        /// Its number.
        number: JobNumber,
        /// Its state.
        state: StoredState,
    },
    /// It is forgotten.
    Remove {
        /// Its number.
        number: JobNumber,
    },
}

impl JobWrite {
    /// The number of the job that it is about.
    pub const fn number(&self) -> JobNumber {
        match self {
            JobWrite::Put { number, .. } | JobWrite::State { number, .. } | JobWrite::Remove { number } => *number,
        }
    }
}

/// A job that a restart finds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredJob {
    /// Its number.
    pub number: JobNumber,
    /// What it is.
    pub spec: JobSpec,
    /// How far it had come.
    pub state: StoredState,
    /// How long ago it was accepted, by the wall clock; zero where that was set back.
    pub age: Duration,
    /// How long ago its state was stored.
    pub state_age: Duration,
}

/// What a restart finds of the group of a master.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredGroup {
    /// Made with the data directory, and as old: a uuid. Who has lost its state has another.
    pub state_id: GroupId,
    /// The group that it is a member of.
    pub membership: Option<Membership>,
    /// The latest term that it has seen.
    pub term: u64,
    /// Whom it has voted for in that term.
    pub vote: Option<RaftId>,
    /// Up to where it knew the log to be agreed on.
    pub commit: u64,
    /// The whole ledger at an index, as text that only the ledger understands.
    pub snapshot: Option<(SnapshotHead, String)>,
    /// The entries behind the snapshot, without gaps.
    pub entries: Vec<LedgerEntry>,
}

impl StoredGroup {
    /// What a new data directory holds.
    pub fn fresh(state_id: GroupId) -> StoredGroup {
        let entries = Vec::new();
        StoredGroup { state_id, membership: None, term: 0, vote: None, commit: 0, snapshot: None, entries }
    }
}

/// Which group a master is a member of.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Membership {
    /// The group.
    pub group_id: GroupId,
    /// Its number there.
    pub raft_id: RaftId,
    /// The key of the group: 64 hexadecimal digits. A secret.
    pub key: String,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Membership { group_id, raft_id, .. } = self;
        f.debug_struct("Membership").field("group_id", group_id).field("raft_id", raft_id).finish_non_exhaustive()
    }
}

/// A change of what is stored of the group. It must be durable (fsync, whatever the durability of jobs is) before it is told to be written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum GroupWrite {
    /// From now on it belongs to this group, or to none. All that was stored of the old one (term, vote, commit, snapshot, entries) is
    /// forgotten, save that `state_id` becomes this one: who leaves a group and joins one again is another member.
    Belong {
        /// The new state id.
        state_id: GroupId,
        /// The group.
        membership: Option<Membership>,
    },
    /// The hard state of Raft: what must not be forgotten before an answer is given.
    Vote {
        /// The term.
        term: u64,
        /// The vote in it.
        vote: Option<RaftId>,
        /// The index up to which the log is agreed on; older than the truth is no harm.
        commit: u64,
    },
    /// These entries follow on what is stored; what is stored from the index of the first on is replaced.
    Append(Vec<LedgerEntry>),
    /// The ledger at an index: the entries up to it go. Where the stored log does not reach it, all entries go.
    Snapshot {
        /// Of which index.
        head: SnapshotHead,
        /// The ledger.
        text: String,
    },
}
