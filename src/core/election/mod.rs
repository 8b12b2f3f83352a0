//! The engine of agreement: Raft, by the `raft` crate, behind our own messages, storage and chance.
//!
//! The crate decides; this module keeps it from harm and makes it deterministic: every message is checked before it is
//! stepped (a commit beyond the log, gaps between entries, absurd terms and unknown senders would panic it), its
//! randomised election timeout is set from our own seed, its storage is ours, and what must be durable before it is said waits for
//! [`Engine::written`].
//!
//! ```text
//!   node ── step, propose, change, read, tick ──> Engine (RawNode + Log)
//!        <── Effect: Send, Write, Apply, Install, Read, Role ──
//! ```
//!
//! One engine is one membership: it begins with a [`crate::core::StoredGroup`] that has one, and ends when the node leaves the group.

mod check;
mod clock;
mod convert;
mod engine;
mod log;
mod looks;
mod outbox;
mod pieces;
mod reads;
mod snapshots;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::core::{GroupWrite, Membership, StoredGroup};
use crate::wire::{
    Agree, AgreeAnswer, Elect, ElectVote, Envelope, GroupId, GroupRole, LedgerEntry, RaftId, SnapshotHead, VoterSets,
};

pub(crate) use engine::Engine;

/// What the only voter of a group is stored as before its engine begins: `text` is the ledger at `index`, which is the last of `term`. A
/// founder begins at index 1 of term 1, so that whoever joins gets a snapshot first: without one it would not know who votes. A joiner
/// begins with its membership and nothing else.
pub(crate) fn founding(
    state_id: GroupId,
    membership: Membership,
    (index, term): (u64, u64),
    text: String,
) -> StoredGroup {
    let members = VoterSets { voters: vec![membership.raft_id], ..VoterSets::default() };
    let snapshot = Some((SnapshotHead { index, term, members }, text));
    StoredGroup { membership: Some(membership), term, commit: index, snapshot, ..StoredGroup::fresh(state_id) }
}

/// How fast an engine beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Pace {
    /// Time between two heartbeats of a leader; one tick. Default 50 ms.
    pub(crate) heartbeat: Duration,
    /// Silence of the leader after which a member stands, at least; drawn anew each time between this and twice this. Default 250 ms: a leader
    /// lost to next commit stays below 0.6 s.
    pub(crate) election: Duration,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { heartbeat: Duration::from_millis(50), election: Duration::from_millis(250) }
    }
}

/// A message between two members.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Letter {
    /// A question of an election.
    Elect(Elect),
    /// A vote.
    Vote(ElectVote),
    /// What a leader tells.
    Agree(Agree),
    /// What a member answers it.
    Answer(AgreeAnswer),
}

impl Letter {
    /// Who says it to whom.
    pub(crate) fn envelope(&self) -> &Envelope {
        match self {
            Letter::Elect(elect) => &elect.envelope,
            Letter::Vote(vote) => &vote.envelope,
            Letter::Agree(agree) => &agree.envelope,
            Letter::Answer(answer) => &answer.envelope,
        }
    }
}

/// The number of a write of an engine: 1, 2, 3 ... across all engines of a node's run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogTicket(pub u64);

/// What an engine wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Effect {
    /// Send it to this member. It may get lost; the engine sends again what matters.
    Send {
        /// To whom.
        to: RaftId,
        /// What.
        letter: Letter,
    },
    /// Make it durable, in the order of the tickets, then call [`Engine::written`].
    Write {
        /// Its number.
        ticket: LogTicket,
        /// What.
        write: GroupWrite,
    },
    /// This entry is agreed on: apply it to the ledger. Each index once, ascending; changes of voters too, for their words.
    Apply(LedgerEntry),
    /// The ledger is this now: a leader has sent a snapshot. It replaces all that was applied.
    Install {
        /// Of which index.
        head: SnapshotHead,
        /// The ledger.
        text: String,
    },
    /// What [`Engine::read`] was asked: the leader still leads, and the ledger is applied up to `index` or beyond.
    Read {
        /// The mark that was given.
        mark: u64,
        /// At least this is applied.
        index: u64,
    },
    /// Reads with these marks will not be answered: leadership was lost. Whoever waits is told so.
    ReadLost {
        /// The mark that was given.
        mark: u64,
    },
    /// What this member is has changed.
    Role(Standing),
}

/// What a member is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Standing {
    /// Its role.
    pub(crate) role: GroupRole,
    /// The term.
    pub(crate) term: u64,
    /// Who leads in it, as far as is known.
    pub(crate) leader: Option<RaftId>,
}

/// Where the log stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LogView {
    /// Index of the last entry handed out by [`Effect::Apply`] or [`Effect::Install`].
    pub(crate) applied: u64,
    /// Index of the last entry that is known to be agreed on.
    pub(crate) committed: u64,
    /// Index of the last entry.
    pub(crate) last: u64,
    /// Index of the snapshot.
    pub(crate) snapshot: u64,
    /// Who votes now.
    pub(crate) members: VoterSets,
}

/// How far another member is, as its leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MemberProgress {
    /// Which.
    pub(crate) id: RaftId,
    /// The last index that is the same as the leader's, and durable there. It has caught up where that is near [`LogView::last`].
    pub(crate) matched: u64,
    /// Whether it was heard within two election timeouts.
    pub(crate) heard: bool,
}

/// Why an engine did not take something. Its state is as before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// This member does not lead; ask the leader.
    #[error("this node does not lead")]
    NotLeader,
    /// It leads and cannot take it now (a change of voters or a transfer is under way, too much is outstanding). Ask again.
    #[error("{0}")]
    NotNow(&'static str),
    /// The message contradicts the protocol: it was dropped. The text names the field.
    #[error("{0}")]
    Unlawful(String),
}
