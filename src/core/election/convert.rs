//! Between our messages and those of the `raft` crate.
//!
//! An entry has no bytes there: index and term say which of ours it is (two entries of one index and term are the same, by
//! the Log Matching property). The crate sees only how long it is, by bytes of a constant, and what a change of voters is, because it looks at it.

use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, Message, MessageType, Snapshot,
};

use crate::wire::{
    Agree, AgreeAnswer, AgreeAnswerKind, AgreeKind, Command, Elect, ElectKind, ElectVote, Envelope, LedgerEntry,
    LedgerItem, NewMember, RaftId, SnapshotHead, VoterChange, VoterSets,
};

use super::Letter;

/// What stands for the bytes of entries.
static WEIGHT: [u8; 64 << 10] = [0; 64 << 10];

/// How a candidate says that the leader itself has asked it to stand.
const TRANSFER: &[u8] = b"CampaignTransfer";

/// The entry as the crate sees it.
pub(super) fn entry_of(entry: &LedgerEntry) -> Entry {
    let mut seen = Entry { index: entry.index, term: entry.term, ..Entry::default() };
    match &entry.what {
        LedgerItem::Empty => {}
        LedgerItem::Command(_) => seen.data = weight_of(&entry.what).into(),
        LedgerItem::Change(change) => {
            seen.set_entry_type(EntryType::EntryConfChangeV2);
            seen.data = conf_change_of(change).write_to_bytes().expect("a message in memory is written").into();
        }
    }
    seen
}

/// As many bytes as the item has on the wire, about. At least one: an entry without is the empty one.
pub(super) fn weight_of(item: &LedgerItem) -> &'static [u8] {
    &WEIGHT[..weight(item).min(WEIGHT.len())]
}

/// About how many bytes an entry with this item has on the wire: its texts, and room for the rest. Looked at for every entry that is read, so
/// nothing is written out.
pub(super) fn weight(item: &LedgerItem) -> usize {
    /// Names of fields and numbers.
    const REST: usize = 100;
    let texts = match item {
        LedgerItem::Empty => 0,
        LedgerItem::Change(change) => 8 * (change.add_voters.len() + change.add_learners.len() + change.remove.len()),
        LedgerItem::Command(command) => match &**command {
            Command::Found { group_id, group, member } => {
                group_id.as_str().len() + group.len() + weight_of_member(member)
            }
            Command::Admit(member) => weight_of_member(member),
            Command::Move { name, .. } => name.len() + ADDRESS,
            Command::Remove { reason, .. } => reason.len(),
            Command::Settle { raft_ids } => 20 * raft_ids.len(),
            Command::Set { name, value } => name.len() + value.as_str().len(),
            Command::Acquire { name, holder, .. } => name.len() + holder.len(),
            Command::Release { name, .. } | Command::Expire { name, .. } | Command::Tick { name, .. } => name.len(),
            Command::Adopt { workers } => workers
                .iter()
                .map(|it| 80 + it.worker.as_str().len() + it.from.as_str().len() + it.owner.as_str().len())
                .sum(),
            Command::Lend(loan) => {
                let ids = [&loan.worker, &loan.owner, &loan.borrower];
                140 + ids.iter().map(|id| id.as_str().len()).sum::<usize>()
            }
            Command::End { reason, .. } => 64 + reason.len(),
            Command::Recover { group_id, .. } => group_id.as_str().len(),
        },
    };
    REST + texts
}

/// About as long as an address is.
const ADDRESS: usize = 64;

fn weight_of_member(member: &NewMember) -> usize {
    member.server_id.as_str().len() + member.state_id.as_str().len() + member.name.len() + ADDRESS
}

/// What an entry is that the crate has made itself: the empty one, or the one that ends a joint change. `None`: it is one of ours.
pub(super) fn made_by_the_crate(entry: &Entry) -> Option<LedgerItem> {
    match entry.get_entry_type() {
        _ if !entry.data.is_empty() => None,
        EntryType::EntryNormal => Some(LedgerItem::Empty),
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => Some(LedgerItem::Change(VoterChange::default())),
    }
}

/// A change of voters, joint where it changes more than one. The empty one ends a joint change.
pub(super) fn conf_change_of(change: &VoterChange) -> ConfChangeV2 {
    let mut conf_change = ConfChangeV2::default();
    let kinds = [
        (&change.remove, ConfChangeType::RemoveNode),
        (&change.add_voters, ConfChangeType::AddNode),
        (&change.add_learners, ConfChangeType::AddLearnerNode),
    ];
    for (ids, kind) in kinds {
        for id in ids {
            let mut single = ConfChangeSingle { node_id: id.0, ..ConfChangeSingle::default() };
            single.set_change_type(kind);
            conf_change.mut_changes().push(single);
        }
    }
    conf_change
}

/// Who votes, as the crate has it.
pub(super) fn conf_state_of(sets: &VoterSets) -> ConfState {
    let numbers = |ids: &[RaftId]| ids.iter().map(|id| id.0).collect::<Vec<u64>>();
    ConfState {
        voters: numbers(&sets.voters),
        learners: numbers(&sets.learners),
        voters_outgoing: numbers(&sets.voters_outgoing),
        learners_next: numbers(&sets.learners_next),
        auto_leave: sets.auto_leave,
        ..ConfState::default()
    }
}

/// Who votes, as we have it: ascending, whatever the order was.
pub(super) fn sets_of(state: &ConfState) -> VoterSets {
    let ascending = |numbers: &[u64]| {
        let mut ids: Vec<RaftId> = numbers.iter().map(|id| RaftId(*id)).collect();
        ids.sort_unstable();
        ids
    };
    VoterSets {
        voters: ascending(&state.voters),
        learners: ascending(&state.learners),
        voters_outgoing: ascending(&state.voters_outgoing),
        learners_next: ascending(&state.learners_next),
        auto_leave: state.auto_leave,
    }
}

/// A snapshot without its text.
pub(super) fn snapshot_of(head: &SnapshotHead) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = head.index;
    metadata.term = head.term;
    metadata.set_conf_state(conf_state_of(&head.members));
    snapshot
}

/// What of a snapshot stands beside its text.
pub(super) fn head_of(snapshot: &Snapshot) -> SnapshotHead {
    let metadata = snapshot.get_metadata();
    SnapshotHead { index: metadata.index, term: metadata.term, members: sets_of(metadata.get_conf_state()) }
}

/// A message of the crate as a letter. `find` gives our entry of an index and a term. `None`: it is not for the wire (a snapshot, which goes
/// in pieces, or what only the crate's own forwarding uses), or names an entry that is not there any more.
pub(super) fn letter_of(
    message: &Message,
    envelope: Envelope,
    find: impl Fn(u64, u64) -> Option<LedgerEntry>,
) -> Option<Letter> {
    let context = || (!message.context.is_empty()).then(|| String::from_utf8_lossy(&message.context).into_owned());
    let vote = |pre: bool| ElectKind::Vote {
        pre,
        last_log_index: message.index,
        last_log_term: message.log_term,
        commit_index: message.commit,
        commit_term: message.commit_term,
        transfer: message.context == TRANSFER,
    };
    let kind = match message.get_msg_type() {
        MessageType::MsgRequestPreVote => return Some(Letter::Elect(Elect { envelope, kind: vote(true) })),
        MessageType::MsgRequestVote => return Some(Letter::Elect(Elect { envelope, kind: vote(false) })),
        MessageType::MsgTimeoutNow => return Some(Letter::Elect(Elect { envelope, kind: ElectKind::Now })),
        kind @ (MessageType::MsgRequestPreVoteResponse | MessageType::MsgRequestVoteResponse) => {
            return Some(Letter::Vote(ElectVote {
                envelope,
                pre: kind == MessageType::MsgRequestPreVoteResponse,
                granted: !message.reject,
                commit_index: message.commit,
                commit_term: message.commit_term,
            }));
        }
        MessageType::MsgAppendResponse => {
            let hint = message.reject.then_some((message.reject_hint, message.log_term));
            let (success, match_index, commit_index) = (!message.reject, message.index, message.commit);
            let kind = AgreeAnswerKind::Append { success, match_index, hint, commit_index };
            return Some(Letter::Answer(AgreeAnswer { envelope, kind }));
        }
        MessageType::MsgHeartbeatResponse => {
            let kind = AgreeAnswerKind::Heartbeat { context: context(), commit_index: message.commit };
            return Some(Letter::Answer(AgreeAnswer { envelope, kind }));
        }
        MessageType::MsgAppend => AgreeKind::Append {
            prev_log_index: message.index,
            prev_log_term: message.log_term,
            entries: message.entries.iter().map(|entry| find(entry.index, entry.term)).collect::<Option<_>>()?,
            leader_commit: message.commit,
        },
        MessageType::MsgHeartbeat => AgreeKind::Heartbeat { leader_commit: message.commit, context: context() },
        _ => return None,
    };
    Some(Letter::Agree(Agree { envelope, kind }))
}

/// A letter as a message of the crate. `None` for pieces of a snapshot and their answers, which it does not know.
pub(super) fn message_of(letter: &Letter) -> Option<Message> {
    let envelope = letter.envelope();
    let mut message = Message { from: envelope.from.0, to: envelope.to.0, term: envelope.term, ..Message::default() };
    match letter {
        Letter::Elect(Elect { kind: ElectKind::Now, .. }) => message.set_msg_type(MessageType::MsgTimeoutNow),
        Letter::Elect(Elect {
            kind: ElectKind::Vote { pre, last_log_index, last_log_term, commit_index, commit_term, transfer },
            ..
        }) => {
            message.set_msg_type(match pre {
                true => MessageType::MsgRequestPreVote,
                false => MessageType::MsgRequestVote,
            });
            (message.index, message.log_term) = (*last_log_index, *last_log_term);
            (message.commit, message.commit_term) = (*commit_index, *commit_term);
            if *transfer {
                message.context = TRANSFER.into();
            }
        }
        Letter::Vote(vote) => {
            message.set_msg_type(match vote.pre {
                true => MessageType::MsgRequestPreVoteResponse,
                false => MessageType::MsgRequestVoteResponse,
            });
            message.reject = !vote.granted;
            (message.commit, message.commit_term) = (vote.commit_index, vote.commit_term);
        }
        Letter::Agree(agree) => match &agree.kind {
            AgreeKind::Append { prev_log_index, prev_log_term, entries, leader_commit } => {
                message.set_msg_type(MessageType::MsgAppend);
                (message.index, message.log_term) = (*prev_log_index, *prev_log_term);
                message.commit = *leader_commit;
                message.set_entries(entries.iter().map(entry_of).collect::<Vec<Entry>>().into());
            }
            AgreeKind::Heartbeat { leader_commit, context } => {
                message.set_msg_type(MessageType::MsgHeartbeat);
                message.commit = *leader_commit;
                message.context = context.clone().unwrap_or_default().into_bytes().into();
            }
            AgreeKind::Snapshot { .. } => return None,
        },
        Letter::Answer(answer) => match &answer.kind {
            AgreeAnswerKind::Append { success, match_index, hint, commit_index } => {
                message.set_msg_type(MessageType::MsgAppendResponse);
                message.reject = !success;
                (message.index, message.commit) = (*match_index, *commit_index);
                (message.reject_hint, message.log_term) = hint.unwrap_or_default();
            }
            AgreeAnswerKind::Heartbeat { context, commit_index } => {
                message.set_msg_type(MessageType::MsgHeartbeatResponse);
                message.commit = *commit_index;
                message.context = context.clone().unwrap_or_default().into_bytes().into();
            }
            AgreeAnswerKind::Piece { .. } => return None,
        },
    }
    Some(message)
}

/// A whole snapshot of this leader, for the crate.
pub(super) fn snapshot_message(from: RaftId, to: RaftId, term: u64, head: &SnapshotHead) -> Message {
    let mut message = Message { from: from.0, to: to.0, term, ..Message::default() };
    message.set_msg_type(MessageType::MsgSnapshot);
    message.set_snapshot(snapshot_of(head));
    message
}
