//! The log against a disk that crashes, loses power and fails at every point.

mod bench;
mod faults;
mod store;

use super::log::{Log, Sizes};
use super::recover::{self, Scan};
use crate::core::{GroupWrite, Membership, StoredGroup};
use crate::store::StateError;
use crate::store::log::machine::SimDisk;
use crate::wire::{Command, GroupId, Json, LedgerEntry, LedgerItem, RaftId, ServerId, SnapshotHead, VoterSets};

/// Small enough that a short history is compacted often.
const SMALL: Sizes = Sizes { fill: 200, compact: 1_500, round: 1 << 20 };

/// In the tests' key, and nowhere else.
const SECRET: &str = "5ec2e7";

fn master() -> ServerId {
    ServerId::new("3fa9c1d2-0000-4000-8000-000000000000").unwrap()
}

fn id(number: u64) -> GroupId {
    GroupId::new(format!("{number:08x}-0000")).unwrap()
}

fn belong(number: u64) -> GroupWrite {
    let key = SECRET.repeat(10);
    let membership = Some(Membership { group_id: id(number), raft_id: RaftId(number), key });
    GroupWrite::Belong { state_id: id(1_000 + number), membership }
}

fn leave(number: u64) -> GroupWrite {
    GroupWrite::Belong { state_id: id(2_000 + number), membership: None }
}

/// A group that begins with the ledger at an index, as a founder's or after the last resort.
fn begin(number: u64, index: u64, term: u64) -> GroupWrite {
    let GroupWrite::Belong { state_id, membership } = belong(number) else { unreachable!() };
    let GroupWrite::Snapshot { head, text } = snapshot(index, term) else { unreachable!() };
    let (commit, snapshot) = (index, Some((head, text)));
    GroupWrite::Begin(Box::new(StoredGroup { membership, term, commit, snapshot, ..StoredGroup::fresh(state_id) }))
}

fn vote(term: u64, vote: u64, commit: u64) -> GroupWrite {
    GroupWrite::Vote { term, vote: (vote > 0).then_some(RaftId(vote)), commit }
}

fn entry(index: u64, term: u64) -> LedgerEntry {
    let value = Json::new(format!("{{\"n\":{index}}}")).unwrap();
    let what = match index % 3 {
        0 => LedgerItem::Empty,
        _ => LedgerItem::Command(Box::new(Command::Set { name: format!("#{index} 0 \n\"é"), value })),
    };
    LedgerEntry { index, term, what }
}

fn append(from: u64, to: u64, term: u64) -> GroupWrite {
    GroupWrite::Append((from..=to).map(|index| entry(index, term)).collect())
}

fn snapshot(index: u64, term: u64) -> GroupWrite {
    let members = VoterSets { voters: vec![RaftId(1), RaftId(2)], ..VoterSets::default() };
    GroupWrite::Snapshot { head: SnapshotHead { index, term, members }, text: format!("{{\"at\":{index}}}\n#") }
}

/// A member that follows, is overruled, takes snapshots, leaves, is a member of another group, and begins one.
fn script() -> Vec<Vec<GroupWrite>> {
    let mut batches = vec![vec![belong(1), vote(1, 0, 0)], vec![vote(1, 2, 0)], vec![append(1, 3, 1), vote(1, 2, 2)]];
    for term in 2..8 {
        let next = (term - 1) * 3;
        batches.push(vec![vote(term, term % 3, next - 1)]);
        batches.push(vec![append(next, next + 3, term), vote(term, term % 3, next)]);
        if term % 2 == 0 {
            batches.push(vec![snapshot(next, term)]);
        }
    }
    batches.push(vec![snapshot(90, 7), append(91, 92, 8)]);
    batches.push(vec![leave(1)]);
    batches.push(vec![belong(2), append(1, 2, 1)]);
    batches.push(vec![append(3, 3, 1), append(2, 2, 2), vote(2, 1, 1)]);
    batches.push(vec![append(3, 4, 2), begin(3, 4, 7)]);
    batches.push(vec![append(5, 6, 7), vote(8, 3, 5)]);
    batches
}

fn scan(disk: &SimDisk) -> Result<Scan, StateError> {
    recover::scan(&mut disk.clone(), &master(), id(0))
}

fn open(disk: &SimDisk) -> Result<(Log<SimDisk>, StoredGroup), StateError> {
    let scan = scan(disk)?;
    let log = recover::resume(disk.clone(), &scan, &master(), SMALL)?;
    Ok((log, scan.group))
}

/// What became of a history: what a restart may find, from the last that was told to be written on.
#[derive(Clone, Debug)]
struct Outcome(Vec<StoredGroup>);

impl Outcome {
    fn new(found: StoredGroup) -> Outcome {
        Outcome(vec![found])
    }

    fn last(&self) -> &StoredGroup {
        &self.0[self.0.len() - 1]
    }
}

/// Stores a history, with compaction after each batch; what fails is tried again with the batch after it, as the thread does.
fn run(log: &mut Log<SimDisk>, script: &[Vec<GroupWrite>], outcome: &mut Outcome) {
    for batch in script {
        if log.disk.has_crashed() {
            return;
        }
        let mut state = outcome.last().clone();
        for write in batch {
            log.take(write.clone()).unwrap();
            state.apply(write.clone()).unwrap();
        }
        outcome.0.push(state);
        assert_eq!(log.state(), outcome.last());
        if log.store().is_ok() {
            outcome.0.drain(..outcome.0.len() - 1);
            let _: Result<(), String> = log.compact();
        }
    }
}
