//! What of an engine is shown, and what always holds in one.

use raft::StateRole;

#[cfg(test)]
use super::LogTicket;
use super::convert::sets_of;
use super::engine::Engine;
use super::{LogView, MemberProgress, Standing};
use crate::wire::{LedgerEntry, RaftId};

impl Engine {
    /// What this member is.
    pub(crate) fn standing(&self) -> Standing {
        self.standing
    }

    /// Where the log stands.
    pub(crate) fn view(&self) -> LogView {
        let log = self.raw.store();
        LogView {
            applied: self.applied,
            committed: self.raw.raft.raft_log.committed,
            last: log.last(),
            snapshot: log.snapshot_parts().0.index,
            members: self.members_now(),
        }
    }

    /// Whether what it knows of votes, its own and who has one, is durable: a restart knows it too.
    pub(crate) fn is_sure(&self) -> bool {
        self.vote_ticket <= self.written
    }

    /// The last `count` entries of the log, oldest first, agreed on or not.
    pub(crate) fn entries_tail(&self, count: usize) -> Vec<LedgerEntry> {
        self.raw.store().tail(count)
    }

    /// How far each other member is, ascending. Empty unless this one leads.
    pub(crate) fn progress(&self) -> Vec<MemberProgress> {
        if self.raw.raft.state != StateRole::Leader {
            return Vec::new();
        }
        let others = self.raw.raft.prs().iter().filter(|(id, _)| **id != self.me.0);
        let mut members: Vec<MemberProgress> = others
            .map(|(id, progress)| MemberProgress {
                id: RaftId(*id),
                matched: progress.matched,
                heard: self.is_heard(RaftId(*id)),
            })
            .collect();
        members.sort_by_key(|member| member.id);
        members
    }

    #[cfg(test)]
    /// The ticket that the next engine of this node begins with.
    pub(crate) fn next_ticket(&self) -> LogTicket {
        LogTicket(self.last_ticket.0 + 1)
    }

    /// Panics if the engine contradicts itself.
    pub(crate) fn check_invariants(&self) {
        let raft = &self.raw.raft;
        let log = self.raw.store();
        log.check_invariants();
        assert_eq!(raft.raft_log.last_index(), log.last(), "what the crate appends is in the log at once");
        assert!(self.applied <= raft.raft_log.committed && raft.raft_log.committed <= log.last());
        let told = self.applied == raft.raft_log.applied || self.applied > raft.raft_log.persisted;
        assert!(told, "what is handed out is applied once it is durable");
        assert!(raft.term >= log.last_term(), "no entry is of a term to come");
        assert!(self.stash.is_empty() && self.stashed_text.is_none(), "nothing is left between two calls");
        assert!(self.waiting.iter().is_sorted_by_key(|waiting| waiting.ticket));
        assert!(self.waiting.iter().all(|it| self.written < it.ticket && it.ticket <= self.last_ticket));
        assert!(self.members.iter().is_sorted_by_key(|(since, _)| *since));
        assert_eq!(self.members_now(), sets_of(&raft.prs().conf().to_conf_state()));
        let leads = raft.state == StateRole::Leader;
        assert!(!leads || raft.prs().iter().all(|(_, progress)| progress.matched <= log.last()), "nobody has more");
        assert_eq!(self.leads, leads.then_some(raft.term));
        assert!(leads || (self.reads.is_empty() && self.sendings.is_empty()), "only leaders read and send the ledger");
    }
}
