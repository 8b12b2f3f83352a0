//! What the masters of a group say to each other and of their group.

use crate::wire::{
    Admission, Agree, AgreeAnswer, AgreeAnswerKind, AgreeKind, Elect, ElectAnswer, ElectKind, ElectVote, Envelope,
    GroupId, GroupPresence, LedgerAnswer, LedgerEntry, MAX_LINE_BYTES, Member, MembersAction, MembersAnswer,
    MembersDone, Proof, RaftId, RequestId, ShownEntry, VoterSets,
};

use super::object::Object;
use super::{request, response};

/// Longest `WORDS` of each entry, in bytes of JSON, where they would not all fit a line.
const WORDS_ROOM: usize = 2048;
const _: () = assert!(crate::wire::ENTRIES_SHOWN * (WORDS_ROOM + 64) < MAX_LINE_BYTES - 1024);

impl<'o> Object<'o> {
    pub(super) fn group_presence(self, presence: &GroupPresence) -> Object<'o> {
        self.group_id(presence.group_id.as_ref())
            .some("TERM", presence.term)
            .maybe("LEADER", presence.leader.as_ref().map(|id| id.as_str()))
            .maybe("FOUNDER", presence.founder.as_ref().map(|id| id.as_str()))
            .some("SEES", presence.sees)
    }

    /// A whole number, and nothing where it is 0.
    fn some(self, key: &str, number: u64) -> Object<'o> {
        if number > 0 { self.number(key, number) } else { self }
    }

    pub(super) fn group_id(self, group_id: Option<&GroupId>) -> Object<'o> {
        self.maybe("GROUP_ID", group_id.map(GroupId::as_str))
    }

    fn envelope(self, envelope: &Envelope) -> Object<'o> {
        self.text("GROUP_ID", envelope.group_id.as_str())
            .number("FROM", envelope.from.0)
            .number("TO", envelope.to.0)
            .number("TERM", envelope.term)
    }

    pub(super) fn elect(self, elect: &Elect) -> Object<'o> {
        match elect.kind {
            ElectKind::Vote { pre, last_log_index, last_log_term, commit_index, commit_term, transfer } => self
                .text("KIND", vote_kind(pre))
                .envelope(&elect.envelope)
                .number("LAST_LOG_INDEX", last_log_index)
                .number("LAST_LOG_TERM", last_log_term)
                .number("COMMIT_INDEX", commit_index)
                .number("COMMIT_TERM", commit_term)
                .mark("TRANSFER", transfer),
            ElectKind::Now => self.text("KIND", "NOW").envelope(&elect.envelope),
        }
    }

    pub(super) fn elect_vote(self, vote: &ElectVote) -> Object<'o> {
        self.text("KIND", vote_kind(vote.pre))
            .envelope(&vote.envelope)
            .flag("VOTE_GRANTED", vote.granted)
            .number("COMMIT_INDEX", vote.commit_index)
            .number("COMMIT_TERM", vote.commit_term)
    }

    pub(super) fn agree(self, agree: &Agree) -> Object<'o> {
        match &agree.kind {
            AgreeKind::Append { prev_log_index, prev_log_term, entries, leader_commit } => {
                let line = self
                    .text("KIND", "APPEND")
                    .envelope(&agree.envelope)
                    .number("PREV_LOG_INDEX", *prev_log_index)
                    .number("PREV_LOG_TERM", *prev_log_term)
                    .number("LEADER_COMMIT", *leader_commit);
                line.entries(entries)
            }
            AgreeKind::Heartbeat { leader_commit, context } => self
                .text("KIND", "HEARTBEAT")
                .envelope(&agree.envelope)
                .number("LEADER_COMMIT", *leader_commit)
                .maybe("CONTEXT", context.as_deref()),
            AgreeKind::Snapshot { last_index, last_term, members, offset, data, done } => self
                .text("KIND", "SNAPSHOT")
                .envelope(&agree.envelope)
                .number("LAST_INCLUDED_INDEX", *last_index)
                .number("LAST_INCLUDED_TERM", *last_term)
                .voter_sets(members)
                .number("OFFSET", *offset)
                .flag("DONE", *done)
                .text("DATA", data),
        }
    }

    /// The entries of an append. Those that would make the line too long are left out, as if they were not sent yet: the
    /// answer says how far the receiver has come, and the leader goes on from there.
    fn entries(self, entries: &[LedgerEntry]) -> Object<'o> {
        const END: usize = "]}".len();
        let mut text = String::new();
        let write = |entry: &LedgerEntry, out: &mut Vec<u8>| {
            text.clear();
            entry.to_json(&mut text);
            out.extend_from_slice(text.as_bytes());
        };
        self.list("ENTRIES", MAX_LINE_BYTES - END, entries, write).0
    }

    fn voter_sets(self, sets: &VoterSets) -> Object<'o> {
        let line = self.raft_ids("VOTERS", &sets.voters).raft_ids("LEARNERS", &sets.learners);
        let line = line.some_raft_ids("VOTERS_OUTGOING", &sets.voters_outgoing);
        line.some_raft_ids("LEARNERS_NEXT", &sets.learners_next).mark("AUTO_LEAVE", sets.auto_leave)
    }

    fn raft_ids(self, key: &str, ids: &[RaftId]) -> Object<'o> {
        self.list(key, usize::MAX, ids, |id, out| out.extend_from_slice(id.0.to_string().as_bytes())).0
    }

    fn some_raft_ids(self, key: &str, ids: &[RaftId]) -> Object<'o> {
        if ids.is_empty() { self } else { self.raft_ids(key, ids) }
    }

    pub(super) fn agree_answer(self, answer: &AgreeAnswer) -> Object<'o> {
        match &answer.kind {
            AgreeAnswerKind::Append { success, match_index, hint, commit_index } => {
                let line = self
                    .text("KIND", "APPEND")
                    .envelope(&answer.envelope)
                    .flag("SUCCESS", *success)
                    .number("MATCH_INDEX", *match_index);
                let line = match hint {
                    Some((index, term)) => line.number("HINT_INDEX", *index).number("HINT_TERM", *term),
                    None => line,
                };
                line.number("COMMIT_INDEX", *commit_index)
            }
            AgreeAnswerKind::Heartbeat { context, commit_index } => self
                .text("KIND", "HEARTBEAT")
                .envelope(&answer.envelope)
                .maybe("CONTEXT", context.as_deref())
                .number("COMMIT_INDEX", *commit_index),
            AgreeAnswerKind::Piece { last_index, next } => self
                .text("KIND", "SNAPSHOT")
                .envelope(&answer.envelope)
                .number("LAST_INCLUDED_INDEX", *last_index)
                .number("OFFSET", *next),
        }
    }

    pub(super) fn elect_answer(self, answer: &ElectAnswer) -> Object<'o> {
        let mut line = self.text("SERVER_ID", answer.server_id.as_str()).text("GROUP", &answer.group);
        line = line.group_id(answer.group_id.as_ref());
        if let Some(raft_id) = answer.raft_id {
            line = line.number("RAFT_ID", raft_id.0);
        }
        line = line.text("STATE", answer.state.as_str()).number("TERM", answer.term);
        if let Some(leader) = &answer.leader {
            line = line
                .text("LEADER", leader.server_id.as_str())
                .number("LEADER_RAFT_ID", leader.raft_id.0)
                .text("LEADER_NAME", &leader.name)
                .address("LEADER_ADDRESS", &leader.address)
                .text("LEADER_STATUS", leader.status.as_str());
        }
        line = line.flag("QUORUM", answer.quorum).number("SPARE", answer.spare);
        line = line.members("VOTERS", &answer.voters, MAX_LINE_BYTES - LEARNERS_ROOM).members(
            "LEARNERS",
            &answer.learners,
            MAX_LINE_BYTES - REASON_ROOM,
        );
        match &answer.reason {
            Some(reason) => line.sentence("REASON", reason),
            None => line,
        }
    }

    /// Members, cut where the line would be longer than `room`: the ledger has them all.
    fn members(self, key: &str, members: &[Member], room: usize) -> Object<'o> {
        self.list(key, room, members, |member, out| Object::begin(out).member(member).close()).0
    }

    fn member(self, member: &Member) -> Object<'o> {
        self.number("RAFT_ID", member.raft_id.0)
            .text("SERVER_ID", member.server_id.as_str())
            .text("NAME", &member.name)
            .address("ADDRESS", &member.address)
            .text("STATUS", member.status.as_str())
    }

    pub(super) fn ledger_answer(self, answer: &LedgerAnswer) -> Object<'o> {
        let line = self.text("SERVER_ID", answer.server_id.as_str()).group_id(answer.group_id.as_ref());
        let line = line
            .number("TERM", answer.term)
            .number("APPLIED", answer.applied)
            .number("COMMITTED", answer.committed)
            .number("LAST", answer.last)
            .number("SNAPSHOT", answer.snapshot);
        let before = line.out.len();
        let line = line.shown_entries(&answer.entries, usize::MAX);
        if line.length() <= MAX_LINE_BYTES - END_ROOM {
            return line;
        }
        line.out.truncate(before);
        line.shown_entries(&answer.entries, WORDS_ROOM)
    }

    /// Entries in words, of each as many as fit `room` bytes.
    fn shown_entries(self, entries: &[ShownEntry], room: usize) -> Object<'o> {
        let write = |entry: &ShownEntry, out: &mut Vec<u8>| {
            let line = Object::begin(out).number("INDEX", entry.index).number("TERM", entry.term);
            line.cut_text("WORDS", &entry.words, room).close();
        };
        self.list("ENTRIES", usize::MAX, entries, write).0
    }

    pub(super) fn members_answer(self, answer: &MembersAnswer) -> Object<'o> {
        let line = self
            .text("SERVER_ID", answer.server_id.as_str())
            .text("GROUP", &answer.group)
            .text("GROUP_ID", answer.group_id.as_str())
            .number("INDEX", answer.index);
        line.page("MEMBERS", &answer.members, answer.more, |entry, (member, votes)| {
            entry.member(member).text("VOTES", votes.as_str())
        })
    }

    pub(super) fn members_action(self, action: &MembersAction) -> Object<'o> {
        let line = self.text("ACTION", action.word());
        match action {
            MembersAction::Admit(admit) => line
                .text("SERVER_ID", admit.server_id.as_str())
                .text("NAME", &admit.name)
                .address("ADDRESS", &admit.address)
                .text("GROUP", &admit.group)
                .text("STATE_ID", admit.state_id.as_str()),
            MembersAction::Remove { server_id, force } => {
                line.text("SERVER_ID", server_id.as_str()).mark("FORCE", *force)
            }
            MembersAction::Lead { server_id } => line.text("SERVER_ID", server_id.as_str()),
            MembersAction::Leave => line,
            MembersAction::Join { target } => line.address("TARGET", target),
            MembersAction::Recover { confirm } => line.text("CONFIRM", confirm.as_str()),
        }
    }

    pub(super) fn admission(self, admission: &Admission) -> Object<'o> {
        self.text("GROUP_ID", admission.group_id.as_str())
            .number("RAFT_ID", admission.raft_id.0)
            .text("GROUP_KEY", &admission.key)
            .members("MEMBERS", &admission.members, MAX_LINE_BYTES - END_ROOM)
    }

    pub(super) fn members_done(self, done: &MembersDone) -> Object<'o> {
        let line = self.text("ACTION", &done.action);
        let line = match done.index {
            Some(index) => line.number("INDEX", index),
            None => line,
        };
        line.sentence("DETAIL", &done.detail)
    }
}

/// Room at the end of a line for what closes it.
const END_ROOM: usize = 8;

/// Room at the end of a line for a sentence.
const REASON_ROOM: usize = 1024;

/// Room after the voters for one learner, which always goes and is below 1 KiB, and what follows.
const LEARNERS_ROOM: usize = 1024 + REASON_ROOM;

const fn vote_kind(pre: bool) -> &'static str {
    if pre { "PRE_VOTE" } else { "VOTE" }
}

/// A step of the proof between two members: a HELLO or an answer to one.
pub(super) fn proof(proof: &Proof, id: Option<&RequestId>, out: &mut Vec<u8>) {
    match proof {
        Proof::Challenge { group_id, raft_id, server_id, run, challenge } => request("HELLO", id, out)
            .text("SERVER_ID", server_id.as_str())
            .text("GROUP_ID", group_id.as_str())
            .number("RAFT_ID", raft_id.0)
            .text("RUN", run)
            .text("CHALLENGE", challenge),
        Proof::Counter { group_id, raft_id, server_id, run, challenge, proof, refuses } => {
            let line = response("HELLO", "OK", id, out)
                .text("SERVER_ID", server_id.as_str())
                .text("GROUP_ID", group_id.as_str())
                .number("RAFT_ID", raft_id.0)
                .text("RUN", run)
                .text("CHALLENGE", challenge)
                .text("PROOF", proof);
            match refuses {
                Some(refuses) => line.text("REFUSES", refuses.as_str()),
                None => line,
            }
        }
        Proof::Response { proof } => request("HELLO", id, out).text("PROOF", proof),
        Proof::Proved => response("HELLO", "OK", id, out).flag("PROVED", true),
    }
    .end();
}
