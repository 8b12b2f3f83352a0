//! What is lawful: letters, changes of voters and sets of voters that would make the `raft` crate panic, or mislead it, are found here
//! before it sees them.
//!
//! Whoever speaks has proved to be a member of the group on its connection; what it says may still be damaged, forged by a
//! member gone mad, or come from a disk that was replaced.

use std::collections::BTreeSet;

use crate::wire::{
    AGREE_BYTES, Agree, AgreeAnswer, AgreeAnswerKind, AgreeKind, Elect, ElectKind, ElectVote, Envelope, GroupId,
    MAX_MEMBERS, MAX_SNAPSHOT_BYTES, MAX_VOTERS, RaftId, VoterChange, VoterSets,
};

use super::log::Log;
use super::{Letter, Refused};

/// A term that is further ahead than this was not reached by elections: with one every quarter of a second that takes three days.
pub(super) const MAX_TERM_STEP: u64 = 1_000_000;
/// No log gets this long.
pub(super) const MAX_INDEX: u64 = 1 << 60;
/// Longest context of a heartbeat, in bytes.
const MAX_CONTEXT: usize = 64;

/// What the receiver knows when it judges a letter.
pub(super) struct Sight<'a> {
    pub(super) me: RaftId,
    pub(super) group_id: &'a GroupId,
    pub(super) term: u64,
    /// 0: none is known.
    pub(super) leader: RaftId,
    pub(super) committed: u64,
    pub(super) log: &'a Log,
    /// Whether all of the log is durable.
    pub(super) persisted: bool,
    /// The question of an election that was last said: whether a pre-vote, and its term.
    pub(super) asked: Option<(bool, u64)>,
    pub(super) members: &'a VoterSets,
}

/// What to do with a lawful letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Step it.
    Take,
    /// It comes too late to mean anything.
    Drop,
}

fn unlawful<T>(text: impl Into<String>) -> Result<T, Refused> {
    Err(Refused::Unlawful(text.into()))
}

impl Sight<'_> {
    /// Whether the letter may be stepped.
    pub(super) fn judge(&self, letter: &Letter) -> Result<Verdict, Refused> {
        self.judge_envelope(letter.envelope())?;
        match letter {
            Letter::Elect(elect) => self.judge_elect(elect),
            Letter::Vote(vote) => self.judge_vote(vote),
            Letter::Agree(agree) => self.judge_agree(agree),
            Letter::Answer(answer) => self.judge_answer(answer),
        }
    }

    fn judge_envelope(&self, envelope: &Envelope) -> Result<(), Refused> {
        if envelope.group_id != *self.group_id {
            return unlawful("GROUP_ID is of another group");
        }
        if envelope.to != self.me {
            return unlawful(format!("TO is {}; expected {}", envelope.to, self.me));
        }
        if envelope.from == self.me || envelope.from.0 == 0 {
            return unlawful(format!("FROM is {}; expected another member", envelope.from));
        }
        let most = self.term.saturating_add(MAX_TERM_STEP);
        if envelope.term == 0 || envelope.term > most {
            return unlawful(format!("TERM is {}; expected 1 to {most}", envelope.term));
        }
        Ok(())
    }

    fn judge_elect(&self, elect: &Elect) -> Result<Verdict, Refused> {
        let term = elect.envelope.term;
        match elect.kind {
            ElectKind::Vote { last_log_index, last_log_term, commit_index, commit_term, .. } => {
                if last_log_index > MAX_INDEX || last_log_term >= term {
                    return unlawful("LAST_LOG_INDEX or LAST_LOG_TERM is beyond what TERM allows");
                }
                if (last_log_index == 0) != (last_log_term == 0) {
                    return unlawful("LAST_LOG_TERM is 0 if and only if LAST_LOG_INDEX is");
                }
                if commit_index > last_log_index || commit_term > last_log_term {
                    return unlawful("COMMIT_INDEX or COMMIT_TERM is beyond the candidate's log");
                }
                Ok(Verdict::Take)
            }
            // A leader asks only whom it knows to have its whole log, durably. What comes from another time is void.
            ElectKind::Now if term == self.term && self.leader == elect.envelope.from && self.persisted => {
                Ok(Verdict::Take)
            }
            ElectKind::Now => Ok(Verdict::Drop),
        }
    }

    fn judge_vote(&self, vote: &ElectVote) -> Result<Verdict, Refused> {
        if vote.commit_index > MAX_INDEX || vote.commit_term > vote.envelope.term {
            return unlawful("COMMIT_INDEX or COMMIT_TERM is beyond what TERM allows");
        }
        let from = vote.envelope.from;
        if !self.members.voters.contains(&from) && !self.members.voters_outgoing.contains(&from) {
            return unlawful(format!("FROM is {from}, which does not vote"));
        }
        // A refusal may bring a newer term, whatever was asked.
        if !vote.granted && vote.envelope.term > self.term {
            return Ok(Verdict::Take);
        }
        match self.asked == Some((vote.pre, vote.envelope.term)) || (!vote.granted && self.asked.is_some()) {
            true => Ok(Verdict::Take),
            false => Ok(Verdict::Drop),
        }
    }

    fn judge_agree(&self, agree: &Agree) -> Result<Verdict, Refused> {
        let Envelope { from, term, .. } = agree.envelope;
        if term == self.term && self.leader.0 != 0 && self.leader != from {
            return unlawful(format!("FROM is {from}, but {} leads in TERM {term}", self.leader));
        }
        match &agree.kind {
            AgreeKind::Append { prev_log_index, prev_log_term, entries, leader_commit } => {
                let (prev_index, prev_term) = (*prev_log_index, *prev_log_term);
                if prev_index > MAX_INDEX || prev_term > term || (prev_index == 0) != (prev_term == 0) {
                    return unlawful("PREV_LOG_INDEX or PREV_LOG_TERM is beyond what TERM allows");
                }
                let mut before = (prev_index, prev_term);
                for entry in entries {
                    if entry.index != before.0 + 1 {
                        return unlawful(format!("INDEX of an entry is {}; expected {}", entry.index, before.0 + 1));
                    }
                    if entry.term < before.1.max(1) || entry.term > term {
                        return unlawful(format!("TERM of entry {} is out of order", entry.index));
                    }
                    before = (entry.index, entry.term);
                }
                if *leader_commit > MAX_INDEX {
                    return unlawful("LEADER_COMMIT is larger than any log");
                }
                if term >= self.term && prev_index >= self.committed {
                    let agreed = self.log.term_at(self.committed).unwrap_or_default();
                    if prev_term < agreed || (prev_index == self.committed && prev_term != agreed) {
                        return unlawful("PREV_LOG_TERM contradicts what was agreed on");
                    }
                }
                Ok(Verdict::Take)
            }
            AgreeKind::Heartbeat { leader_commit, context } => {
                if term >= self.term && *leader_commit > self.log.last() {
                    let last = self.log.last();
                    return unlawful(format!("LEADER_COMMIT is {leader_commit}, but the log here ends at {last}"));
                }
                self.judge_context(context.as_deref())
            }
            AgreeKind::Snapshot { last_index, last_term, members, offset, data, done } => {
                if term < self.term {
                    return Ok(Verdict::Drop);
                }
                if *last_index == 0 || *last_index > MAX_INDEX || *last_term == 0 || *last_term > term {
                    return unlawful("LAST_INCLUDED_INDEX or LAST_INCLUDED_TERM is beyond what TERM allows");
                }
                if let Some(why) = unlawful_sets(members) {
                    return unlawful(why);
                }
                let end = usize::try_from(*offset).ok().and_then(|offset| offset.checked_add(data.len()));
                if data.len() > AGREE_BYTES || end.is_none_or(|end| end > MAX_SNAPSHOT_BYTES) {
                    return unlawful("OFFSET and DATA are beyond the longest snapshot");
                }
                if data.is_empty() && !done {
                    return unlawful("DATA is empty before the end");
                }
                if *last_index <= self.committed && self.log.term_at(*last_index).is_some_and(|mine| mine != *last_term)
                {
                    return unlawful("LAST_INCLUDED_TERM contradicts what was agreed on");
                }
                Ok(Verdict::Take)
            }
        }
    }

    fn judge_answer(&self, answer: &AgreeAnswer) -> Result<Verdict, Refused> {
        let term = answer.envelope.term;
        if term > self.term {
            return match &answer.kind {
                AgreeAnswerKind::Piece { .. } => Ok(Verdict::Drop),
                AgreeAnswerKind::Append { .. } => Ok(Verdict::Take),
                AgreeAnswerKind::Heartbeat { context, .. } => self.judge_context(context.as_deref()),
            };
        }
        if term < self.term || self.leader != self.me {
            return Ok(Verdict::Drop);
        }
        let last = self.log.last();
        match &answer.kind {
            AgreeAnswerKind::Append { success, match_index, hint, commit_index } => {
                if *match_index > last || *commit_index > last {
                    return unlawful(format!(
                        "MATCH_INDEX or COMMIT_INDEX is beyond the leader's log, which ends at {last}"
                    ));
                }
                if *success != hint.is_none() {
                    return unlawful("HINT_INDEX and HINT_TERM stand in refusals");
                }
                if hint.is_some_and(|(index, hinted)| index > *match_index || hinted > term) {
                    return unlawful("HINT_INDEX or HINT_TERM is beyond what was refused");
                }
                Ok(Verdict::Take)
            }
            AgreeAnswerKind::Heartbeat { context, commit_index } => {
                if *commit_index > last {
                    return unlawful(format!("COMMIT_INDEX is beyond the leader's log, which ends at {last}"));
                }
                self.judge_context(context.as_deref())
            }
            AgreeAnswerKind::Piece { .. } => Ok(Verdict::Take),
        }
    }

    fn judge_context(&self, context: Option<&str>) -> Result<Verdict, Refused> {
        match context.is_some_and(|context| context.len() > MAX_CONTEXT) {
            true => unlawful(format!("CONTEXT is longer than {MAX_CONTEXT} bytes")),
            false => Ok(Verdict::Take),
        }
    }
}

/// Why these sets are none of a group, or `None` if they are.
pub(super) fn unlawful_sets(sets: &VoterSets) -> Option<String> {
    let fields = [
        ("VOTERS", &sets.voters),
        ("LEARNERS", &sets.learners),
        ("VOTERS_OUTGOING", &sets.voters_outgoing),
        ("LEARNERS_NEXT", &sets.learners_next),
    ];
    for (name, ids) in fields {
        if ids.iter().any(|id| id.0 == 0) || !ids.is_sorted_by(|one, next| one < next) {
            return Some(format!("{name} are not ascending numbers from 1 on"));
        }
        if ids.len() > MAX_MEMBERS {
            return Some(format!("{name} are more than {MAX_MEMBERS}"));
        }
    }
    let has = |ids: &[RaftId], id: &RaftId| ids.binary_search(id).is_ok();
    if sets.voters.is_empty() {
        return Some("VOTERS is empty".to_owned());
    }
    if sets.learners.iter().any(|id| has(&sets.voters, id) || has(&sets.voters_outgoing, id)) {
        return Some("LEARNERS vote".to_owned());
    }
    if sets.learners_next.iter().any(|id| !has(&sets.voters_outgoing, id) || has(&sets.voters, id)) {
        return Some("LEARNERS_NEXT are not among VOTERS_OUTGOING alone".to_owned());
    }
    (sets.auto_leave && sets.voters_outgoing.is_empty()).then(|| "AUTO_LEAVE without VOTERS_OUTGOING".to_owned())
}

/// Whether the leader `me` may propose this change of these sets.
pub(super) fn judge_change(change: &VoterChange, sets: &VoterSets, me: RaftId) -> Result<(), Refused> {
    let VoterChange { add_voters, add_learners, remove } = change;
    if !sets.voters_outgoing.is_empty() {
        return Err(Refused::NotNow("a change of voters is under way"));
    }
    let mut named = BTreeSet::new();
    for id in add_voters.iter().chain(add_learners).chain(remove) {
        if id.0 == 0 || !named.insert(*id) {
            return unlawful(format!("the change names {id} twice, or nobody"));
        }
    }
    if named.is_empty() {
        return unlawful("the change changes nothing");
    }
    if add_learners.contains(&me) || remove.contains(&me) {
        return Err(Refused::NotNow("who leads hands over first"));
    }
    let (votes, learns) = (|id: &RaftId| sets.voters.contains(id), |id: &RaftId| sets.learners.contains(id));
    if let Some(id) = add_voters.iter().find(|id| votes(id)) {
        return unlawful(format!("{id} votes already"));
    }
    if let Some(id) = add_learners.iter().find(|id| learns(id)) {
        return unlawful(format!("{id} learns already"));
    }
    if let Some(id) = remove.iter().find(|id| !votes(id) && !learns(id)) {
        return unlawful(format!("{id} is no member"));
    }
    let voters = sets.voters.iter().filter(|id| !named.contains(id)).count() + add_voters.len();
    let learners = sets.learners.iter().filter(|id| !named.contains(id)).count() + add_learners.len();
    if voters > MAX_VOTERS && voters > sets.voters.len() {
        return unlawful(format!("more than {MAX_VOTERS} voters"));
    }
    if voters + learners > MAX_MEMBERS && voters + learners > sets.voters.len() + sets.learners.len() {
        return unlawful(format!("more than {MAX_MEMBERS} members"));
    }
    Ok(())
}
