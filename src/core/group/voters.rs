//! The members, as they are seen: who proves itself to whom, who votes, whether a majority is there, and who has to go.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Effect;
use super::machine::Group;
use super::policy::{Patience, Step};
use super::proof::Me;
use crate::core::LogLevel;
use crate::core::election::Refused;
use crate::core::ledger::Ledger;
use crate::time::Time;
use crate::wire::{Address, Body, Command, EventKind, Message, NewMember, RaftId, RequestId, VoterSets};

/// A member that hears nothing for so long asks whether it still is one.
const DOUBT: Duration = Duration::from_secs(3);

/// A member that knows that it was removed asks this often whether it may go.
const MAY_GO: Duration = Duration::from_millis(500);

impl Group {
    pub(super) fn look_at_members(&mut self, now: Time) {
        self.heed_strangers(now);
        let Some(seat) = &mut self.seat else { return };
        // Members that the registry does not call yet are called, those that are gone are not any more.
        let missing: Vec<Address> = (seat.ledger.members())
            .filter(|(_, member)| member.server_id != self.own_id && self.view.master(&member.server_id).is_none())
            .map(|(_, member)| member.address.clone())
            .collect();
        let addresses: BTreeSet<&Address> = seat.ledger.members().map(|(_, member)| &member.address).collect();
        // Who is out of the ledger and still votes is called until it does not, wherever it listens.
        let waits = seat.voters().iter().any(|id| seat.ledger.member(*id).is_none());
        let stale: Vec<Address> = if seat.ledger.index() == 0 || waits {
            Vec::new()
        } else {
            self.watched.iter().filter(|address| !addresses.contains(address)).cloned().collect()
        };
        // A learner that was removed hears nothing any more, and says nothing that would be refused: it asks who it is.
        let heard = seat.heard.values().copied().max();
        let is_out = seat.ledger.index() > 0 && seat.ledger.member(seat.membership.raft_id).is_none();
        let silent = heard.is_none_or(|at| at + DOUBT <= now);
        if !seat.leads() && seat.doubts <= now && (is_out || silent) {
            seat.doubts = now + if is_out { MAY_GO } else { DOUBT };
            seat.proofs.doubt();
        }
        // Whoever proves itself first on a link that this node dialled is a member: all of the same group are asked.
        for sight in &self.view.masters {
            let ours = sight.presence.group_id.as_ref() == Some(&seat.membership.group_id);
            let Some(link) = sight.link.filter(|_| ours || seat.ledger.member_by_server(&sight.server_id).is_some())
            else {
                continue;
            };
            // Who was removed and has come back under another number proves itself anew, on the same link.
            if seat.proofs.party(link).is_some_and(|party| seat.was_removed(party.raft_id)) {
                seat.proofs.closed(link);
            }
            let proof = seat.proofs.challenge(
                link,
                Me { own: &seat.membership, server_id: &self.own_id, run: &self.run },
                &mut self.entropy,
                now,
            );
            if let Some(proof) = proof {
                let message = Message { id: RequestId::new("proof"), body: Body::Proof(Box::new(proof)) };
                self.effects.push_back(Effect::Send { link, message });
            }
        }
        for address in stale {
            self.watched.remove(&address);
            self.effects.push_back(Effect::Unwatch(address));
        }
        for address in missing {
            self.watch(address);
        }
        self.look_at_twins(now);
        self.tell_quorum(now);
        self.see_to_voters(now);
        self.go_if_removed(now);
    }

    /// There is another group of this name: loudly said once. A group of one node that has agreed on nothing joins it.
    fn heed_strangers(&mut self, now: Time) {
        let Some(seat) = &mut self.seat else { return };
        let own = &seat.membership.group_id;
        let other = self.view.masters.iter().find(|sight| {
            let id = sight.presence.group_id.as_ref();
            sight.alive && sight.group == self.group && id.is_some_and(|id| id != own) && id != self.given_up.as_ref()
        });
        let Some((sight, other)) = other.and_then(|sight| Some((sight, sight.presence.group_id.clone()?))) else {
            return;
        };
        let yields = sight.presence.sees > 1 || other < *own;
        if seat.is_bare() && yields {
            let why = format!("it held nothing but this node, and {} is in group {}", sight.name, other.short());
            return self.give_up(&why, now);
        }
        if seat.strangers.insert(other.clone()) && !(seat.is_bare() && sight.presence.sees <= 1) {
            let detail = format!(
                "{} at {} is in another group `{}`: {}, this one is {}; they stay apart until an operator says `node join`",
                sight.name,
                sight.address,
                self.group,
                other.short(),
                own.short()
            );
            let server_id = Some(sight.server_id.clone());
            self.event(EventKind::GroupsMeet, server_id, detail.clone());
            self.log(LogLevel::Warn, detail);
        }
    }

    /// Tells when the majority is lost, and when it is there again.
    fn tell_quorum(&mut self, now: Time) {
        let missing = self.missing(now);
        let Some(seat) = &mut self.seat else { return };
        let was = std::mem::replace(&mut seat.was_without, missing.is_some());
        match missing {
            Some(missing) if !was => {
                let text = self.no_quorum_text(&missing);
                self.event(EventKind::QuorumLost, None, text);
                for asker in self.desk.take_held() {
                    self.dispatch(asker, now);
                }
            }
            None if was => self.event(EventKind::QuorumBack, None, "a majority is there again".to_owned()),
            _ => {}
        }
    }

    /// The missing voters, if there is no majority.
    pub(super) fn missing(&self, now: Time) -> Option<Vec<RaftId>> {
        // Two election time-outs are the longest that a sound majority is silent.
        let patience = (self.settings.election * 4).max(Duration::from_millis(500));
        self.seat.as_ref()?.missing(patience, now)
    }

    /// As leader: one step towards the voters that there should be.
    fn see_to_voters(&mut self, now: Time) {
        let (timeout, forget) = (self.timeout, self.forget);
        let Some(seat) = &mut self.seat else { return };
        let known = seat.known(&self.view);
        seat.policy.look(&known, now);
        let (sets, own) = (seat.engine.view().members, seat.membership.raft_id);
        let joint = !sets.voters_outgoing.is_empty();
        if !seat.leads() || joint || seat.pending.is_some_and(|index| index > seat.ledger.index()) {
            return;
        }
        seat.pending = None;
        let moved = || {
            let place = |raft_id, member: &NewMember| {
                let (name, address) = if raft_id == own {
                    (self.name.clone(), self.address.clone())
                } else {
                    let sight = self.view.master(&member.server_id).filter(|sight| sight.alive)?;
                    (sight.name.clone(), sight.address.clone())
                };
                let same = member.name == name && member.address == address;
                (!same && !address.is_wildcard()).then_some(Command::Move { raft_id, name, address })
            };
            seat.ledger.members().find_map(|(raft_id, member)| place(raft_id, member))
        };
        let patience = Patience { promote: timeout * 3, forget };
        let step = seat
            .policy
            .step(&known, &sets, own, patience, now)
            .or_else(|| settle(&seat.ledger, &sets))
            .or_else(|| moved().map(Step::Propose));
        let taken = match step {
            None => return,
            Some(Step::Change(change)) => seat.engine.change(change, now),
            Some(Step::Propose(command)) => seat.engine.propose(command, now),
            Some(Step::HandOver(heir)) => {
                // Refused only where a transfer is under way already.
                let _ = seat.engine.transfer(heir, now);
                return;
            }
        };
        match taken {
            Ok((index, _)) => seat.pending = Some(index),
            Err(Refused::NotLeader | Refused::NotNow(_)) => {}
            Err(Refused::Unlawful(why)) => self.log(LogLevel::Warn, format!("a change of voters was refused: {why}")),
        }
    }

    /// Who was removed goes once nobody counts on its vote any more: its own ledger may say so, or a member that refuses it. Until then it
    /// votes: those who do not know of the change yet cannot decide without it.
    fn go_if_removed(&mut self, now: Time) {
        let Some(seat) = &self.seat else { return };
        if seat.was_removed(seat.membership.raft_id) {
            self.give_up("the group has removed this node", now);
        } else if seat.refused {
            self.give_up("members say that the group has removed this node", now);
        }
    }
}

/// Who was removed, and neither votes nor learns any more, may go once most of those who vote know it.
fn settle(ledger: &Ledger, sets: &VoterSets) -> Option<Step> {
    let known = |id: &RaftId| sets.voters.contains(id) || sets.learners.contains(id) || sets.learners_next.contains(id);
    let raft_ids: Vec<RaftId> = ledger.leaving().filter(|id| !known(id)).collect();
    (!raft_ids.is_empty()).then_some(Step::Propose(Command::Settle { raft_ids }))
}
