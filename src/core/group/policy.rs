//! Who votes: what a leader does, one step at a time, so that the voters are the members that are there (design.md
//! section 7).
//!
//! ```text
//!   in the ledger, unknown to Raft ──────────────> learner
//!   learner, caught up, ALIVE for three timeouts ─> voter, at most five; those that let the founder found at once
//!   voter, TIMEOUT for --forget ─────────────────> removed, if the rest keeps a majority
//!   older member of the same id or place, silent ─> removed, once the newer one has caught up; a voter is replaced in one joint change
//!   removed from the ledger ─────────────────────> neither voter nor learner, then settled: it may go
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::time::{Seconds, Time};
use crate::wire::{Address, Command, MAX_VOTERS, RaftId, ServerId, VoterChange, VoterSets};

/// A member as the leader knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub(super) raft_id: RaftId,
    pub(super) server_id: ServerId,
    pub(super) address: Address,
    /// Whether it can be reached: a proven link leads to it and the registry does not call it TIMEOUT. The leader itself always.
    pub(super) reachable: bool,
    /// Whether its log is as long as what is agreed on, or nearly.
    pub(super) caught_up: bool,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Change who votes.
    Change(VoterChange),
    /// Agree on this.
    Propose(Command),
    /// Let this member lead, so that it can go on: the leader itself is to go.
    HandOver(RaftId),
}

/// Since when members are there or gone, as this leader has seen it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Policy {
    since: BTreeMap<RaftId, (bool, Time)>,
    /// Members that become voters as soon as they have caught up: they let this node found the group.
    pub(super) founders: BTreeSet<ServerId>,
}

/// The settings of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Patience {
    /// A learner that is there for so long becomes a voter.
    pub(super) promote: Duration,
    /// A member that is gone for so long is removed.
    pub(super) forget: Duration,
}

impl Policy {
    /// A new leader has seen nobody yet.
    pub(super) fn begin(&mut self) {
        self.since.clear();
    }

    /// This process did not run for `lost`: nobody was gone because of that.
    pub(super) fn excuse(&mut self, lost: Duration) {
        for (_, since) in self.since.values_mut() {
            *since = *since + lost;
        }
    }

    /// Notes who is there. Called at each look.
    pub(super) fn look(&mut self, members: &[Known], now: Time) {
        self.since.retain(|id, _| members.iter().any(|member| member.raft_id == *id));
        for member in members {
            let entry = self.since.entry(member.raft_id).or_insert((member.reachable, now));
            if entry.0 != member.reachable {
                *entry = (member.reachable, now);
            }
        }
    }

    fn is_for(&self, id: RaftId, reachable: bool, time: Duration, now: Time) -> bool {
        self.since.get(&id).is_some_and(|(is, since)| *is == reachable && *since + time <= now)
    }

    /// What is to be done next, if something is. `own` is the leader, `sets` who votes now; no change is under way.
    pub(super) fn step(
        &self,
        members: &[Known],
        sets: &VoterSets,
        own: RaftId,
        patience: Patience,
        now: Time,
    ) -> Option<Step> {
        let known: BTreeMap<RaftId, &Known> = members.iter().map(|member| (member.raft_id, member)).collect();
        self.drop_strangers(&known, sets, own)
            .or_else(|| teach(&known, sets))
            .or_else(|| self.replace(members, own))
            .or_else(|| self.promote(members, sets, patience, now))
            .or_else(|| self.forget(members, sets, own, patience, now))
    }

    /// Who is not in the ledger any more does not vote or learn any more. A newer member at its place votes instead.
    fn drop_strangers(&self, known: &BTreeMap<RaftId, &Known>, sets: &VoterSets, own: RaftId) -> Option<Step> {
        let gone = |id: &&RaftId| !known.contains_key(id);
        let remove: Vec<RaftId> = sets.voters.iter().chain(&sets.learners).filter(gone).copied().collect();
        if remove.contains(&own) {
            let heir = sets.voters.iter().find(|id| known.get(id).is_some_and(|member| member.reachable));
            return heir.map(|heir| Step::HandOver(*heir));
        }
        if remove.is_empty() {
            return None;
        }
        // One voter a change, so that a majority of the old ones is nearly one of the new ones.
        let voter = remove.iter().find(|id| sets.voters.contains(id)).copied();
        let Some(voter) = voter else {
            return Some(Step::Change(VoterChange { remove, ..VoterChange::default() }));
        };
        let ready = |id: &&RaftId| {
            known.get(id).is_some_and(|member| member.caught_up && member.reachable && self.is_heir(member, known))
        };
        let add_voters = sets.learners.iter().find(ready).into_iter().copied().collect();
        Some(Step::Change(VoterChange { add_voters, remove: vec![voter], ..VoterChange::default() }))
    }

    /// Whether a learner is the latest of its server: the one that a removed voter has become.
    fn is_heir(&self, member: &Known, known: &BTreeMap<RaftId, &Known>) -> bool {
        let newer = known.values().any(|other| other.raft_id > member.raft_id && same_place(other, member));
        !newer
    }

    /// A member whose server, or whose place, has a newer number has lost its state.
    fn replace(&self, members: &[Known], own: RaftId) -> Option<Step> {
        let lost = members.iter().filter(|old| old.raft_id != own && !old.reachable);
        let replaced = lost.filter_map(|old| {
            let newer = members
                .iter()
                .find(|new| new.raft_id > old.raft_id && same_place(new, old) && new.caught_up && new.reachable)?;
            Some((old, newer))
        });
        let (old, newer) = replaced.min_by_key(|(old, _)| old.raft_id)?;
        let reason = format!("member {} is at its place, with new state", newer.raft_id);
        Some(Step::Propose(Command::Remove { raft_id: old.raft_id, reason }))
    }

    /// Learners that are ready become voters, as many as there is room for, together.
    fn promote(&self, members: &[Known], sets: &VoterSets, patience: Patience, now: Time) -> Option<Step> {
        let room = MAX_VOTERS.saturating_sub(sets.voters.len());
        let ready = |member: &&Known| {
            let proved =
                self.founders.contains(&member.server_id) || self.is_for(member.raft_id, true, patience.promote, now);
            sets.learners.contains(&member.raft_id) && member.reachable && member.caught_up && proved
        };
        let add_voters: Vec<RaftId> = members.iter().filter(ready).map(|member| member.raft_id).take(room).collect();
        (!add_voters.is_empty()).then(|| Step::Change(VoterChange { add_voters, ..VoterChange::default() }))
    }

    /// Who is gone for long is removed, if a majority of the voters that are left is there.
    fn forget(&self, members: &[Known], sets: &VoterSets, own: RaftId, patience: Patience, now: Time) -> Option<Step> {
        let gone = |member: &&Known| member.raft_id != own && self.is_for(member.raft_id, false, patience.forget, now);
        let member = members.iter().find(gone)?;
        let left: Vec<&RaftId> = sets.voters.iter().filter(|id| **id != member.raft_id).collect();
        let there = members.iter().filter(|other| other.reachable && left.contains(&&other.raft_id)).count();
        if there * 2 <= left.len() {
            return None;
        }
        let reason = format!("it was gone for {} s", Seconds(patience.forget));
        Some(Step::Propose(Command::Remove { raft_id: member.raft_id, reason }))
    }
}

/// Members that Raft does not know yet learn.
fn teach(known: &BTreeMap<RaftId, &Known>, sets: &VoterSets) -> Option<Step> {
    let taught =
        |id: &RaftId| sets.voters.contains(id) || sets.learners.contains(id) || sets.learners_next.contains(id);
    let add_learners: Vec<RaftId> = known.keys().filter(|id| !taught(id)).copied().collect();
    (!add_learners.is_empty()).then(|| Step::Change(VoterChange { add_learners, ..VoterChange::default() }))
}

fn same_place(one: &Known, other: &Known) -> bool {
    one.server_id == other.server_id || one.address == other.address
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { promote: Duration::from_secs(18), forget: Duration::from_secs(600) };
    const OWN: RaftId = RaftId(1);

    fn known(nth: u64) -> Known {
        Known {
            raft_id: RaftId(nth),
            server_id: ServerId::new(format!("server-{nth}")).unwrap(),
            address: format!("10.0.0.{nth}:9101").parse().unwrap(),
            reachable: true,
            caught_up: true,
        }
    }

    fn sets(voters: &[u64], learners: &[u64]) -> VoterSets {
        let ids = |ids: &[u64]| ids.iter().map(|id| RaftId(*id)).collect();
        VoterSets { voters: ids(voters), learners: ids(learners), ..VoterSets::default() }
    }

    fn step_at(policy: &Policy, members: &[Known], sets: &VoterSets, secs: u64) -> Option<Step> {
        policy.step(members, sets, OWN, PATIENCE, Time::ZERO + Duration::from_secs(secs))
    }

    fn change(add_voters: &[u64], add_learners: &[u64], remove: &[u64]) -> Option<Step> {
        let ids = |ids: &[u64]| ids.iter().map(|id| RaftId(*id)).collect();
        let (add_voters, add_learners, remove) = (ids(add_voters), ids(add_learners), ids(remove));
        Some(Step::Change(VoterChange { add_voters, add_learners, remove }))
    }

    #[test]
    fn who_is_admitted_learns_first_and_votes_after_three_timeouts() {
        let mut policy = Policy::default();
        let members = [known(1), known(2)];
        policy.look(&members, Time::ZERO);
        assert_eq!(step_at(&policy, &members, &sets(&[1], &[]), 0), change(&[], &[2], &[]));
        assert_eq!(step_at(&policy, &members, &sets(&[1], &[2]), 17), None);
        assert_eq!(step_at(&policy, &members, &sets(&[1], &[2]), 18), change(&[2], &[], &[]));
        let behind = [known(1), Known { caught_up: false, ..known(2) }];
        assert_eq!(step_at(&policy, &behind, &sets(&[1], &[2]), 18), None);
        let away = [known(1), Known { reachable: false, ..known(2) }];
        policy.look(&away, Time::ZERO + Duration::from_secs(17));
        policy.look(&members, Time::ZERO + Duration::from_secs(18));
        assert_eq!(step_at(&policy, &members, &sets(&[1], &[2]), 19), None, "it begins again");
    }

    #[test]
    fn who_let_the_founder_found_votes_at_once_and_all_together() {
        let founders = [known(2).server_id, known(3).server_id].into();
        let mut policy = Policy { founders, ..Policy::default() };
        let members = [known(1), known(2), known(3)];
        policy.look(&members, Time::ZERO);
        assert_eq!(step_at(&policy, &members, &sets(&[1], &[2, 3]), 0), change(&[2, 3], &[], &[]));
    }

    #[test]
    fn five_vote_and_the_others_learn() {
        let mut policy = Policy::default();
        let members: Vec<Known> = (1..=7).map(known).collect();
        policy.look(&members, Time::ZERO);
        assert_eq!(step_at(&policy, &members, &sets(&[1, 2, 3, 4], &[5, 6, 7]), 18), change(&[5], &[], &[]));
        assert_eq!(step_at(&policy, &members, &sets(&[1, 2, 3, 4, 5], &[6, 7]), 18), None);
    }

    #[test]
    fn who_is_gone_for_long_is_removed_if_a_majority_is_left() {
        let mut policy = Policy::default();
        let members = [known(1), known(2), Known { reachable: false, ..known(3) }];
        policy.look(&members, Time::ZERO);
        assert_eq!(step_at(&policy, &members, &sets(&[1, 2, 3], &[]), 599), None);
        let removed = step_at(&policy, &members, &sets(&[1, 2, 3], &[]), 600);
        assert!(matches!(removed, Some(Step::Propose(Command::Remove { raft_id: RaftId(3), .. }))), "{removed:?}");
        let two_gone = [known(1), Known { reachable: false, ..known(2) }, Known { reachable: false, ..known(3) }];
        policy.look(&two_gone, Time::ZERO);
        assert_eq!(step_at(&policy, &two_gone, &sets(&[1, 2, 3], &[]), 1200), None, "one of two left is no majority");
    }

    #[test]
    fn time_in_which_this_process_did_not_run_makes_nobody_gone() {
        let mut policy = Policy::default();
        let members = [known(1), known(2), Known { reachable: false, ..known(3) }];
        policy.look(&members, Time::ZERO);
        policy.excuse(Duration::from_secs(1000));
        assert_eq!(step_at(&policy, &members, &sets(&[1, 2, 3], &[]), 1001), None);
    }

    #[test]
    fn a_voter_that_lost_its_state_is_replaced_in_one_joint_change() {
        let mut policy = Policy::default();
        let reborn = Known { raft_id: RaftId(4), ..known(3) };
        let members = [known(1), known(2), Known { reachable: false, ..known(3) }, reborn.clone()];
        policy.look(&members, Time::ZERO);
        let now = sets(&[1, 2, 3], &[4]);
        let Some(Step::Propose(Command::Remove { raft_id, .. })) = step_at(&policy, &members, &now, 1) else {
            panic!()
        };
        assert_eq!(raft_id, RaftId(3));
        let members = [known(1), known(2), reborn];
        assert_eq!(step_at(&policy, &members, &now, 1), change(&[4], &[], &[3]));
    }

    #[test]
    fn a_leader_that_was_removed_hands_over_first() {
        let policy = Policy::default();
        let members = [known(2), known(3)];
        assert_eq!(step_at(&policy, &members, &sets(&[1, 2, 3], &[]), 0), Some(Step::HandOver(RaftId(2))));
    }
}
