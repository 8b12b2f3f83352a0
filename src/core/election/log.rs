//! The log that the engine reads: the last snapshot and the entries behind it, in memory. What of it is durable the engine
//! knows; this does not.

use std::collections::VecDeque;
use std::sync::Arc;

use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::wire::{LedgerEntry, SnapshotHead};

use super::convert::{conf_state_of, entry_of};

/// Entries that stay in memory though a snapshot holds them: a follower that is behind by fewer gets them instead of the
/// whole ledger.
pub(super) const KEPT: u64 = 512;

/// A replicated log. Entries are without gaps; the first follows on `base`.
#[derive(Clone, Debug)]
pub(super) struct Log {
    /// Index and term of what stands before the first entry.
    base: (u64, u64),
    entries: VecDeque<LedgerEntry>,
    /// The snapshot: at `base` or above it. Index 0: there is none.
    head: SnapshotHead,
    text: Arc<str>,
    /// What is told to the crate when it starts.
    start: HardState,
}

impl Log {
    /// A log that begins with `head`, whose entries follow on it.
    pub(super) fn new(head: SnapshotHead, text: &str, entries: Vec<LedgerEntry>, start: HardState) -> Log {
        Log { base: (head.index, head.term), entries: entries.into(), head, text: text.into(), start }
    }

    /// Index of the last entry, or of what stands before the first.
    pub(super) fn last(&self) -> u64 {
        self.base.0 + self.entries.len() as u64
    }

    /// Term of the last entry.
    pub(super) fn last_term(&self) -> u64 {
        self.entries.back().map_or(self.base.1, |entry| entry.term)
    }

    /// The snapshot: its head and the ledger's text.
    pub(super) fn snapshot_parts(&self) -> (&SnapshotHead, &Arc<str>) {
        (&self.head, &self.text)
    }

    /// The term at an index, or `None` outside of what is known.
    pub(super) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// The entry at an index.
    pub(super) fn get(&self, index: u64) -> Option<&LedgerEntry> {
        let place = index.checked_sub(self.base.0 + 1)?;
        self.entries.get(usize::try_from(place).ok()?)
    }

    /// The last `count` entries, oldest first.
    pub(super) fn tail(&self, count: usize) -> Vec<LedgerEntry> {
        let skipped = self.entries.len().saturating_sub(count);
        self.entries.iter().skip(skipped).cloned().collect()
    }

    /// Entries that follow on what is there; what is there from the index of the first on is replaced.
    pub(super) fn append(&mut self, entries: Vec<LedgerEntry>) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.0 && first.index <= self.last() + 1, "entries follow on the log");
        let kept = usize::try_from(first.index - self.base.0 - 1).expect("a place in memory");
        self.entries.truncate(kept);
        self.entries.extend(entries);
    }

    /// A leader's snapshot takes the place of everything.
    pub(super) fn install(&mut self, head: SnapshotHead, text: &str) {
        self.base = (head.index, head.term);
        self.entries.clear();
        self.text = text.into();
        self.head = head;
    }

    /// An own snapshot at an index of the log. Entries stay for slow followers, at most [`KEPT`] of those that it holds.
    pub(super) fn compact(&mut self, head: SnapshotHead, text: &str) {
        let until = head.index.saturating_sub(KEPT);
        while self.base.0 < until {
            let Some(entry) = self.entries.pop_front() else { break };
            self.base = (entry.index, entry.term);
        }
        self.text = text.into();
        self.head = head;
    }

    /// Whether the log is in itself consistent.
    pub(super) fn check_invariants(&self) {
        assert!(self.head.index >= self.base.0 && self.head.index <= self.last(), "the snapshot is of the log");
        assert_eq!(self.term_at(self.head.index), Some(self.head.term), "the snapshot has the term of its entry");
        let mut before = self.base;
        for entry in &self.entries {
            assert_eq!(entry.index, before.0 + 1, "entries are without gaps");
            assert!(entry.term >= before.1, "terms do not fall");
            before = (entry.index, entry.term);
        }
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.start.clone(), conf_state_of(&self.head.members)))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.0 {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last() + 1 {
            return Err(StorageError::Unavailable.into());
        }
        let place = |index: u64| usize::try_from(index - self.base.0 - 1).expect("a place in memory");
        let mut entries: Vec<Entry> = self.entries.range(place(low)..place(high)).map(entry_of).collect();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        let error = if index < self.base.0 { StorageError::Compacted } else { StorageError::Unavailable };
        self.term_at(index).ok_or_else(|| error.into())
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// The head alone: the text stays here, and goes to its receiver in pieces.
    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        if self.head.index == 0 || self.head.index < request_index {
            return Err(StorageError::SnapshotTemporarilyUnavailable.into());
        }
        Ok(super::convert::snapshot_of(&self.head))
    }
}
