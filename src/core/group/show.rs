//! What people and programs are shown of the group.

use super::desk::Asker;
use super::machine::Group;
use crate::core::ledger::words;
use crate::core::links::Reply;
use crate::time::Time;
use crate::wire::{
    Body, ENTRIES_SHOWN, ElectAnswer, ErrorCode, LeasesAnswer, LedgerAnswer, Member, MembersAnswer, RaftId, Setting,
    SettingsAnswer, ShownEntry,
};

impl Group {
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
        let alive = voters.iter().filter(|member| member.status == crate::wire::Status::Alive).count();
        let quorum = seat.is_some() && missing.is_none() && !voters.is_empty();
        let reason = match (seat, &missing) {
            (None, _) => Some(format!("no group yet: {}", self.waits_for)),
            (Some(_), Some(missing)) => Some(self.no_quorum_text(missing)),
            (Some(_), None) if leader.is_none() && voters.is_empty() => Some("waits for the leader to send the ledger".to_owned()),
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
            spare: alive.saturating_sub(voters.len() / 2 + 1) as u64,
            voters,
            learners,
            reason,
        }
    }

    /// The answer to a bare AGREE.
    pub(in crate::core) fn ledger_answer(&self) -> LedgerAnswer {
        let Some(seat) = &self.seat else {
            let (server_id, entries) = (self.own_id.clone(), Vec::new());
            return LedgerAnswer { server_id, group_id: None, term: 0, applied: 0, committed: 0, last: 0, snapshot: 0, entries };
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

    /// The answer to a bare MEMBERS.
    pub(in crate::core) fn members_answer(&self) -> MembersAnswer {
        MembersAnswer {
            server_id: self.own_id.clone(),
            group: self.group.clone(),
            group_id: self.seat.as_ref().map(|seat| seat.membership.group_id.clone()),
            index: self.ledger().index(),
            members: self.members(),
        }
    }

    pub(super) fn show_settings(&mut self, asker: &Asker, local: bool) {
        let Body::Settings(query) = &asker.body else { return };
        let known: Vec<&str> = crate::wire::SettingName::ALL.iter().map(|name| name.as_str()).collect();
        if let Some(name) = query.name.as_deref().filter(|name| !known.contains(name)) {
            let detail = format!("there is no setting `{name}`; there are {}", known.join(", "));
            return self.refuse(asker, ErrorCode::NotFound, &detail);
        }
        let ledger = self.ledger();
        let shown = |name: &&str| match ledger.setting(name) {
            Some((value, index)) => Setting { name: (*name).to_owned(), value: Some(value.clone()), index },
            None => Setting { name: (*name).to_owned(), value: None, index: 0 },
        };
        let wanted = known.iter().filter(|name| query.name.as_deref().is_none_or(|asked| asked == **name));
        let answer = SettingsAnswer { index: ledger.index(), local, settings: wanted.map(shown).collect() };
        self.answer(asker.reply.clone(), Body::SettingsAnswer(Box::new(answer)));
    }

    pub(super) fn show_leases(&mut self, reply: Reply, local: bool) {
        let ledger = self.ledger();
        let answer = LeasesAnswer { index: ledger.index(), local, leases: ledger.leases().collect() };
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
