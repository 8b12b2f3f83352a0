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
        /// Those of them that do not count, since their workers were taken away.
        spared: u8,
    },
    /// A worker has run it for a while, and most likely still does.
    Begun {
        /// Attempts, this one among them: 1 or more.
        attempt: u32,
        /// Those before it that do not count.
        spared: u8,
        /// Who runs it.
        worker: Box<str>,
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
    /// Up to where it knew the log to be agreed on; not below the snapshot. A crash between two writes may leave it behind the last
    /// entry: the smaller of the two is true.
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

    /// The index of the last entry, or of the snapshot where none is behind it; 0: there is neither.
    pub fn last(&self) -> u64 {
        self.entries.last().map_or(self.snapshot_index(), |entry| entry.index)
    }

    /// The index of the snapshot; 0: there is none.
    pub fn snapshot_index(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, |(head, _)| head.index)
    }

    /// What is stored after this write.
    ///
    /// # Errors
    /// The write contradicts what is stored, and no engine that keeps the rules makes it. Nothing is changed.
    pub fn apply(&mut self, write: GroupWrite) -> Result<(), &'static str> {
        match write {
            GroupWrite::Belong { state_id, membership } => {
                *self = StoredGroup { membership, ..StoredGroup::fresh(state_id) };
            }
            GroupWrite::Begin(stored) => *self = *stored,
            GroupWrite::Vote { term, vote, commit } => {
                if term < self.term {
                    return Err("the term goes back");
                }
                if term == self.term && self.vote.is_some() && vote != self.vote {
                    return Err("a vote is changed within its term");
                }
                (self.term, self.vote, self.commit) = (term, vote, commit.max(self.snapshot_index()));
            }
            GroupWrite::Append(entries) => {
                let Some(first) = entries.first().map(|entry| entry.index) else { return Ok(()) };
                if entries.iter().zip(first..).any(|(entry, index)| entry.index != index) {
                    return Err("there is a gap between the entries");
                }
                let begin = self.snapshot_index();
                if first <= begin {
                    return Err("the entries stand before the snapshot");
                }
                if first > self.last() + 1 {
                    return Err("there is a gap before the entries");
                }
                self.entries.truncate((first - begin - 1) as usize);
                self.entries.extend(entries);
            }
            GroupWrite::Snapshot { head, text } => {
                let begin = self.snapshot.as_ref().map_or((0, 0), |(head, _)| (head.index, head.term));
                if head.index < begin.0 || head.index == 0 {
                    return Err("the snapshot goes back");
                }
                // Section 7 of the paper: only what continues this very snapshot is kept.
                let known = self.entries.iter().find(|entry| entry.index == head.index).map(|entry| entry.term);
                let known = known.or((begin.0 == head.index).then_some(begin.1));
                if known == Some(head.term) {
                    self.entries.retain(|entry| entry.index > head.index);
                } else {
                    self.entries.clear();
                }
                self.commit = self.commit.max(head.index);
                self.snapshot = Some((head, text));
            }
        }
        Ok(())
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
    /// From now on this is what is stored, whole or not at all: a group begins with its first member, or anew with its last. All that was
    /// stored before is forgotten.
    Begin(Box<StoredGroup>),
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
    /// The ledger at an index: the entries up to it go. Where the stored log does not have an entry of that index and term, all
    /// entries go. What is known to be agreed on reaches at least this far.
    Snapshot {
        /// Of which index.
        head: SnapshotHead,
        /// The ledger.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{LedgerItem, VoterSets};

    fn group() -> StoredGroup {
        StoredGroup::fresh(GroupId::new("3fa9c1d2").unwrap())
    }

    fn append(entries: &[(u64, u64)]) -> GroupWrite {
        let entry = |(index, term): &(u64, u64)| LedgerEntry { index: *index, term: *term, what: LedgerItem::Empty };
        GroupWrite::Append(entries.iter().map(entry).collect())
    }

    fn snapshot(index: u64, term: u64) -> GroupWrite {
        let head = SnapshotHead { index, term, members: VoterSets::default() };
        GroupWrite::Snapshot { head, text: format!("ledger at {index}") }
    }

    fn vote(term: u64, vote: Option<u64>, commit: u64) -> GroupWrite {
        GroupWrite::Vote { term, vote: vote.map(RaftId), commit }
    }

    fn terms(group: &StoredGroup) -> Vec<(u64, u64)> {
        group.entries.iter().map(|entry| (entry.index, entry.term)).collect()
    }

    #[test]
    fn entries_replace_what_is_stored_from_the_first_on_and_leave_no_gap() {
        let mut group = group();
        group.apply(append(&[(1, 1), (2, 1), (3, 1)])).unwrap();
        group.apply(append(&[(2, 2)])).unwrap();
        assert_eq!(terms(&group), [(1, 1), (2, 2)]);
        let before = group.clone();
        assert_eq!(group.apply(append(&[(4, 2)])), Err("there is a gap before the entries"));
        assert_eq!(group.apply(append(&[(3, 2), (5, 2)])), Err("there is a gap between the entries"));
        assert_eq!(group.apply(append(&[(0, 2)])), Err("the entries stand before the snapshot"));
        group.apply(append(&[])).unwrap();
        assert_eq!(group, before);
    }

    #[test]
    fn a_snapshot_keeps_what_continues_it_and_nothing_else() {
        let log = append(&[(1, 1), (2, 1), (3, 2)]);
        for (index, term, kept) in [(2, 1, vec![(3, 2)]), (2, 2, vec![]), (3, 2, vec![]), (9, 2, vec![])] {
            let mut group = group();
            group.apply(log.clone()).unwrap();
            group.apply(snapshot(index, term)).unwrap();
            assert_eq!((terms(&group), group.commit, group.snapshot_index()), (kept, index, index));
            group.apply(snapshot(index, term)).unwrap();
            assert_eq!(group.apply(snapshot(index - 1, term)), Err("the snapshot goes back"));
            assert_eq!(group.apply(append(&[(index, 9)])), Err("the entries stand before the snapshot"));
            let next = group.last() + 1;
            group.apply(append(&[(next, 9)])).unwrap();
            assert_eq!(group.last(), next);
        }
        assert_eq!(group().apply(snapshot(0, 0)), Err("the snapshot goes back"));
    }

    #[test]
    fn there_is_one_vote_a_term() {
        let mut group = group();
        group.apply(vote(3, None, 0)).unwrap();
        group.apply(vote(3, Some(2), 0)).unwrap();
        group.apply(vote(3, Some(2), 7)).unwrap();
        let before = group.clone();
        assert_eq!(group.apply(vote(3, Some(1), 7)), Err("a vote is changed within its term"));
        assert_eq!(group.apply(vote(3, None, 7)), Err("a vote is changed within its term"));
        assert_eq!(group.apply(vote(2, Some(2), 7)), Err("the term goes back"));
        assert_eq!(group, before);
        group.apply(vote(4, Some(1), 6)).unwrap();
        assert_eq!((group.term, group.vote, group.commit), (4, Some(RaftId(1)), 6));
    }

    #[test]
    fn who_belongs_elsewhere_has_forgotten_everything() {
        let mut stored = group();
        for write in [append(&[(1, 1)]), snapshot(1, 1), vote(3, Some(2), 1)] {
            stored.apply(write).unwrap();
        }
        let state_id = GroupId::new("00000000").unwrap();
        let membership = Membership { group_id: group().state_id, raft_id: RaftId(4), key: "secret".to_owned() };
        stored.apply(GroupWrite::Belong { state_id: state_id.clone(), membership: Some(membership.clone()) }).unwrap();
        assert_eq!(stored, StoredGroup { membership: Some(membership), ..StoredGroup::fresh(state_id) });
        assert!(!format!("{stored:?}").contains("secret"), "a key is not shown");
        let mut other = group();
        for write in [append(&[(1, 1), (2, 1)]), vote(9, Some(2), 1), GroupWrite::Begin(Box::new(stored.clone()))] {
            other.apply(write).unwrap();
        }
        assert_eq!(other, stored, "what begins is all there is");
    }
}
