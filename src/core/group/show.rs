//! What people and programs are shown of the group.

use super::desk::Asker;
use super::machine::Group;
use super::{GroupStanding, GroupView};
use crate::core::ledger::words;
use crate::core::links::Reply;
use crate::time::Time;
use crate::wire::{
    Body, ENTRIES_SHOWN, ElectAnswer, ErrorAnswer, ErrorCode, LEASES_PAGE, Lease, LeasesAnswer, LedgerAnswer, Member,
    MembersAnswer, RaftId, SettingName, SettingsAnswer, ShownEntry, Votes,
};

impl Group {
    /// This seat as it looks from outside; `None`: there is none.
    pub(in crate::core) fn view_of_seat(&self) -> Option<GroupView> {
        let seat = self.seat.as_ref()?;
        Some(GroupView {
            group_id: seat.membership.group_id.clone(),
            raft_id: seat.membership.raft_id,
            term: seat.standing.term,
            role: seat.standing.role,
            leader: seat.standing.leader,
            applied: seat.ledger.index(),
            voters: seat.engine.view().members,
        })
    }

    /// What this node is in its group.
    pub(in crate::core) fn standing(&self) -> GroupStanding {
        GroupStanding { role: self.role(), term: self.seat.as_ref().map_or(0, |seat| seat.standing.term) }
    }

    /// Makes snapshots more often, so that short runs meet them.
    pub(in crate::core) fn snapshot_every(&mut self, entries: u64) {
        self.snapshot_every = entries.max(1);
    }

    /// The text of the ledger; `None`: there is no seat.
    pub(in crate::core) fn ledger_text(&self) -> Option<String> {
        self.seat.as_ref().map(|seat| seat.ledger.text())
    }

    /// The members, and whether they vote, in the order of their numbers.
    pub(super) fn members(&self) -> Vec<(Member, bool)> {
        let Some(seat) = &self.seat else { return Vec::new() };
        let voters = seat.voters();
        let shown = |(raft_id, member): (RaftId, &crate::wire::NewMember)| {
            let status = seat.status(raft_id, &self.view, &self.own_id);
            let (server_id, name) = (member.server_id.clone(), member.name.clone());
            let member = Member { raft_id, server_id, name, address: member.address.clone(), status };
            (member, voters.contains(&raft_id))
        };
        seat.ledger.members().map(shown).collect()
    }

    /// The answer to a bare ELECT.
    pub(in crate::core) fn elect_answer(&self, now: Time) -> ElectAnswer {
        let seat = self.seat.as_ref();
        let missing = self.missing(now);
        let (voters, learners): (Vec<_>, Vec<_>) = self.members().into_iter().partition(|(_, votes)| *votes);
        let unvote = |members: Vec<(Member, bool)>| members.into_iter().map(|(member, _)| member).collect::<Vec<_>>();
        let (voters, learners) = (unvote(voters), unvote(learners));
        let leader = seat.and_then(|seat| seat.standing.leader);
        // In the middle of a change the voters before it and those after it must both be a majority.
        let sets = seat.map(|seat| seat.engine.view().members).unwrap_or_default();
        let is_alive = |id: &&RaftId| {
            voters.iter().any(|member| member.raft_id == **id && member.status == crate::wire::Status::Alive)
        };
        let spare = |set: &Vec<RaftId>| set.iter().filter(is_alive).count().saturating_sub(set.len() / 2 + 1) as u64;
        let sets = [&sets.voters, &sets.voters_outgoing].into_iter().filter(|set| !set.is_empty());
        let spare = sets.map(spare).min().unwrap_or(0);
        let quorum = seat.is_some_and(|seat| seat.twin_until.is_none()) && missing.is_none() && !voters.is_empty();
        let reason = match (seat, &missing) {
            (None, _) => Some(format!("no group yet: {}", self.waits_for)),
            (Some(seat), _) if seat.twin_until.is_some() => Some(self.twin_text()),
            (Some(_), Some(missing)) => Some(self.no_quorum_text(missing)),
            (Some(_), None) if leader.is_none() && voters.is_empty() => {
                Some("waits for the leader to send the ledger".to_owned())
            }
            (Some(_), None) if leader.is_none() => Some("an election is under way".to_owned()),
            (Some(_), None) => None,
        };
        ElectAnswer {
            server_id: self.own_id.clone(),
            group: self.group.clone(),
            group_id: seat.map(|seat| seat.membership.group_id.clone()),
            raft_id: seat.map(|seat| seat.membership.raft_id),
            state: self.role(),
            term: seat.map_or(0, |seat| seat.standing.term),
            leader: leader.and_then(|leader| voters.iter().chain(&learners).find(|it| it.raft_id == leader)).cloned(),
            quorum,
            spare,
            voters,
            learners,
            reason,
        }
    }

    /// The answer to a bare AGREE.
    pub(in crate::core) fn ledger_answer(&self) -> LedgerAnswer {
        let Some(seat) = &self.seat else {
            let (server_id, entries) = (self.own_id.clone(), Vec::new());
            return LedgerAnswer {
                server_id,
                group_id: None,
                term: 0,
                applied: 0,
                committed: 0,
                last: 0,
                snapshot: 0,
                entries,
            };
        };
        let log = seat.engine.view();
        let shown = |entry: crate::wire::LedgerEntry| {
            let words = words(&entry, &seat.ledger);
            ShownEntry { index: entry.index, term: entry.term, words }
        };
        LedgerAnswer {
            server_id: self.own_id.clone(),
            group_id: Some(seat.membership.group_id.clone()),
            term: seat.standing.term,
            applied: log.applied,
            committed: log.committed,
            last: log.last,
            snapshot: log.snapshot,
            entries: seat.engine.entries_tail(ENTRIES_SHOWN).into_iter().map(shown).collect(),
        }
    }

    /// The answer to a bare MEMBERS; `None` while there is no group.
    pub(in crate::core) fn members_answer(&self) -> Option<MembersAnswer> {
        let seat = self.seat.as_ref()?;
        let word = |votes: bool| if votes { Votes::Voter } else { Votes::Learner };
        Some(MembersAnswer {
            server_id: self.own_id.clone(),
            group: self.group.clone(),
            group_id: seat.membership.group_id.clone(),
            index: seat.ledger.index(),
            members: self.members().into_iter().map(|(member, votes)| (member, word(votes))).collect(),
            more: false,
        })
    }

    /// Why there is no group.
    pub(in crate::core) fn no_group(&self) -> ErrorAnswer {
        let detail = format!("this node has no group yet: {}", self.waits_for);
        ErrorAnswer::new("MEMBERS", ErrorCode::NoGroup, detail)
    }

    pub(super) fn show_settings(&mut self, asker: &Asker, local: bool) {
        let Body::Settings(query) = &asker.body else { return };
        let wanted = match query.name.as_deref().map(|name| (name, SettingName::parse(name))) {
            None => None,
            Some((_, Some(name))) => Some(name),
            Some((name, None)) => {
                let detail = format!("there is no setting `{name}`; there are {}", SettingName::known());
                return self.refuse(asker, ErrorCode::NotFound, &detail);
            }
        };
        let ledger = self.ledger();
        let names = SettingName::ALL.into_iter().filter(|name| wanted.is_none_or(|wanted| wanted == *name));
        let settings = names.map(|name| ledger.setting(name)).collect();
        let answer = SettingsAnswer { index: ledger.index(), local, settings };
        self.answer(asker.reply.clone(), Body::SettingsAnswer(Box::new(answer)));
    }

    pub(super) fn show_leases(&mut self, reply: Reply, after: Option<&str>, local: bool) {
        let ledger = self.ledger();
        let behind = |lease: &Lease| after.is_none_or(|after| lease.name.as_str() > after);
        let mut leases: Vec<Lease> = ledger.leases().filter(behind).take(LEASES_PAGE + 1).collect();
        let more = leases.len() > LEASES_PAGE;
        leases.truncate(LEASES_PAGE);
        let answer = LeasesAnswer { index: ledger.index(), local, leases, more };
        self.answer(reply, Body::LeasesAnswer(Box::new(answer)));
    }

    /// The group in a few words, for `node status` and the printed registry.
    pub(in crate::core) fn summary(&self, now: Time) -> String {
        let answer = self.elect_answer(now);
        match (&answer.leader, &answer.reason) {
            (_, Some(reason)) => reason.clone(),
            (Some(leader), None) => format!("{} leads at term {}; {} spare", leader.name, answer.term, answer.spare),
            (None, None) => format!("nobody leads; peers are waited for {}", self.timeout_text()),
        }
    }
}
