//! A seat in a group: the engine, the ledger it feeds, and the links that lead to the other members.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::founding::View;
use super::policy::{Known, Policy};
use super::proof::Proofs;
use super::twins::Twins;
use crate::core::Membership;
use crate::core::election::{Engine, Standing};
use crate::core::ledger::{LeaseClock, Ledger};
use crate::time::Time;
use crate::wire::{GroupRole, RaftId, ServerId, Status, VoterSets};

/// Entries behind a snapshot at which the next one is made. A restart replays at most so many, and a few more.
pub(super) const SNAPSHOT_EVERY: u64 = 4096;

/// A learner whose log is so much shorter than what is agreed on counts as caught up: it is there before anybody notices.
const NEARLY: u64 = 64;

/// A seat.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) membership: Membership,
    pub(super) engine: Engine,
    pub(super) ledger: Ledger,
    pub(super) clock: LeaseClock,
    pub(super) policy: Policy,
    pub(super) proofs: Proofs,
    /// Ids of others that are at two addresses at once.
    pub(super) twins: Twins,
    /// Members say that this node's own id is at two addresses; until when that counts.
    pub(super) twin_until: Option<Time>,
    pub(super) standing: Standing,
    /// When each member said something last, on a link that it has proved.
    pub(super) heard: BTreeMap<RaftId, Time>,
    /// Since when nobody leads, as far as is known.
    pub(super) leaderless: Option<Time>,
    /// Index of the change of voters, or of the removal, that this leader waits for before the next step.
    pub(super) pending: Option<u64>,
    /// A member has refused this one because its ledger says that it is gone for good. That is agreed on, whoever says it.
    pub(super) refused: bool,
    /// Whether a majority was missing when it was looked at last.
    pub(super) was_without: bool,
    /// When a member that hears nothing asks again whether it still is one.
    pub(super) doubts: Time,
    /// Groups of the same name and another id that people were told of.
    pub(super) strangers: BTreeSet<crate::wire::GroupId>,
}

impl Seat {
    pub(super) fn new(membership: Membership, engine: Engine, ledger: Ledger, now: Time) -> Seat {
        let standing = engine.standing();
        Seat {
            membership,
            engine,
            ledger,
            clock: LeaseClock::default(),
            policy: Policy::default(),
            proofs: Proofs::new(),
            twins: Twins::default(),
            twin_until: None,
            standing,
            heard: BTreeMap::new(),
            leaderless: Some(now),
            pending: None,
            refused: false,
            was_without: false,
            doubts: now,
            strangers: BTreeSet::new(),
        }
    }

    /// Whether this number belonged to somebody, and belongs to nobody any more. Who was removed and is not settled is heard until it
    /// is: its vote may be needed for that.
    pub(super) fn was_removed(&self, raft_id: RaftId) -> bool {
        self.ledger.is_past(raft_id) && !self.voters().contains(&raft_id) && self.engine.is_sure()
    }

    pub(super) fn leads(&self) -> bool {
        self.standing.role == GroupRole::Leader
    }

    /// Who votes now, ascending; in the middle of a joint change both sets.
    pub(super) fn voters(&self) -> Vec<RaftId> {
        let VoterSets { voters, voters_outgoing, .. } = self.engine.view().members;
        let all: BTreeSet<RaftId> = voters.into_iter().chain(voters_outgoing).collect();
        all.into_iter().collect()
    }

    /// Voters that have not been heard of for `silence`, this node never among them.
    pub(super) fn silent(&self, silence: Duration, now: Time) -> Vec<RaftId> {
        let own = self.membership.raft_id;
        let heard = |id: &RaftId| self.heard.get(id).is_some_and(|at| *at + silence > now);
        self.voters().into_iter().filter(|id| *id != own && !heard(id)).collect()
    }

    /// The voters that are missing for a majority, if it is missing: nobody leads, and too few are heard.
    pub(super) fn missing(&self, patience: Duration, now: Time) -> Option<Vec<RaftId>> {
        let since = self.leaderless?;
        if self.standing.leader.is_some() || since + patience > now {
            return None;
        }
        let silent = self.silent(patience, now);
        // In the middle of a change the voters before it and those after it must both have a majority (section 6 of the paper).
        let VoterSets { voters, voters_outgoing, .. } = self.engine.view().members;
        let lacks = |set: &Vec<RaftId>| {
            let there = set.iter().filter(|id| !silent.contains(id)).count();
            there * 2 <= set.len() && !set.is_empty()
        };
        (lacks(&voters) || lacks(&voters_outgoing)).then_some(silent)
    }

    /// The members as the leader's policy wants to know them.
    pub(super) fn known(&self, view: &View) -> Vec<Known> {
        let (progress, log, own) = (self.engine.progress(), self.engine.view(), self.membership.raft_id);
        let member = |(raft_id, member): (RaftId, &crate::wire::NewMember)| {
            let is_own = raft_id == own;
            let linked = self.proofs.link_to(raft_id, true).is_some();
            let progress = progress.iter().find(|progress| progress.id == raft_id);
            let alive = view.master(&member.server_id).is_some_and(|sight| sight.alive)
                && !self.twins.is_doubled(&member.server_id);
            Known {
                raft_id,
                server_id: member.server_id.clone(),
                address: member.address.clone(),
                reachable: is_own || (linked && alive),
                caught_up: is_own || progress.is_some_and(|it| it.matched + NEARLY > log.committed && it.heard),
            }
        };
        self.ledger.members().map(member).collect()
    }

    /// Whether a member is there, as it is shown.
    pub(super) fn status(&self, raft_id: RaftId, view: &View, own: &ServerId) -> Status {
        let Some(member) = self.ledger.member(raft_id) else { return Status::Unknown };
        if raft_id == self.membership.raft_id || member.server_id == *own {
            return if raft_id == self.membership.raft_id { Status::Alive } else { Status::Timeout };
        }
        match view.master(&member.server_id) {
            Some(sight) if sight.alive && self.proofs.link_to(raft_id, true).is_some() => Status::Alive,
            Some(_) => Status::Timeout,
            None => Status::Unknown,
        }
    }

    /// Whether the group is this node alone and has agreed on nothing that anybody would miss.
    pub(super) fn is_bare(&self) -> bool {
        // A joiner has such a ledger too, until it has got more of it: the founder alone may say so.
        let founder = self.membership.raft_id == RaftId(1);
        // What stands in its log and is not applied yet, right after a restart, may be that it has taken somebody in.
        let knows_all = self.engine.view().last == self.ledger.index();
        founder
            && knows_all
            && self.ledger.next_raft_id() == RaftId(2)
            && self.ledger.settings().all(|setting| setting.value.is_none())
            && self.ledger.leases().next().is_none()
    }
}
