//! How a membership begins and ends: found, asked for, given up, recovered.

use std::time::Duration;

use super::Effect;
use super::founding::{Search, Verdict};
use super::machine::Group;
use crate::core::election;
use crate::core::ledger::Ledger;
use crate::core::{GroupWrite, LinkId, LogLevel, Membership, StoredGroup};
use crate::time::Time;
use crate::wire::{
    Address, Admission, Admit, Body, Command, ErrorAnswer, ErrorCode, EventKind, GroupId, LedgerEntry, LedgerItem,
    MembersAction, Message, NewMember, RaftId, RequestId, ServerId, SettingName,
};

/// Who asks to be taken in, and gets no answer, asks again after this.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// The mark of the request to be taken in.
const ADMIT_ID: &str = "admit";

impl Group {
    pub(super) fn search(&mut self, now: Time) {
        if self.stays_out {
            self.waits_for = "it has left its group; `node join` takes it into one".to_owned();
            return;
        }
        match self.search.verdict(&self.view, self.given_up.as_ref(), now) {
            Verdict::Wait(why) => {
                if why != self.waits_for {
                    self.log(LogLevel::Info, format!("no group yet: {why}"));
                }
                self.waits_for = why;
            }
            Verdict::Found { with } => self.found(with, now),
            Verdict::Join { group_id, link, others } => {
                if self.asked.is_some_and(|(asked, again)| asked == link && again > now) {
                    return;
                }
                if !others.is_empty() && self.asked.is_none() {
                    let text = format!(
                        "there are {} groups named `{}`; this node joins {}, which most are in",
                        others.len() + 1,
                        self.group,
                        group_id.short()
                    );
                    self.log(LogLevel::Warn, text);
                }
                self.waits_for = format!("asks group {} to be taken in", group_id.short());
                self.asked = Some((link, now + ASK_AGAIN));
                let admit = Admit {
                    server_id: self.own_id.clone(),
                    name: self.name.clone(),
                    address: self.address.clone(),
                    group: self.group.clone(),
                    state_id: self.state_id.clone(),
                };
                let body = Body::Members(Box::new(MembersAction::Admit(Box::new(admit))));
                let message = Message { id: RequestId::new(ADMIT_ID), body };
                self.effects.push_back(Effect::Send { link, message });
            }
        }
    }

    fn new_member(&self) -> NewMember {
        NewMember {
            server_id: self.own_id.clone(),
            state_id: self.state_id.clone(),
            name: self.name.clone(),
            address: self.address.clone(),
        }
    }

    /// Founds a group with this node as its only voter.
    fn found(&mut self, with: Vec<ServerId>, now: Time) {
        let Some(group_id) = GroupId::new(self.entropy.uuid()) else { return };
        let command =
            Command::Found { group_id: group_id.clone(), group: self.group.clone(), member: self.new_member() };
        let mut ledger = Ledger::default();
        let what = LedgerItem::Command(Box::new(command));
        ledger.apply(&LedgerEntry { index: 1, term: 1, what });
        let membership = Membership { group_id: group_id.clone(), raft_id: RaftId(1), key: self.entropy.key() };
        self.begin(membership, &ledger, 1, now);
        if let Some(seat) = &mut self.seat {
            seat.policy.founders = with.into_iter().collect();
        }
        let detail = format!("group {} `{}` is founded by this node", group_id.short(), self.group);
        self.event(EventKind::GroupJoined, None, detail);
    }

    /// Begins a group whose only voter is this node, with this ledger.
    fn begin(&mut self, membership: Membership, ledger: &Ledger, term: u64, now: Time) {
        let at = (ledger.index(), term);
        let stored = election::founding(self.state_id.clone(), membership, at, ledger.text());
        // One write: half a group would have a member that knows neither its voters nor what they have agreed on.
        self.write(GroupWrite::Begin(Box::new(stored.clone())));
        self.seated(stored, now);
    }

    pub(super) fn seated(&mut self, stored: StoredGroup, now: Time) {
        self.asked = None;
        if let Err(why) = self.sit(stored, now) {
            // What this node itself has just made up does not contradict itself; if it does, people must know.
            self.log(LogLevel::Warn, format!("this node cannot take its seat: {why}"));
        }
        self.look_soon(now);
    }

    /// A group has taken this node in.
    pub(in crate::core) fn admitted(&mut self, link: LinkId, id: Option<&RequestId>, admission: Admission, now: Time) {
        let expected = id.is_some_and(|id| id.as_str() == ADMIT_ID);
        if self.seat.is_some() || !expected || self.asked.is_none_or(|(asked, _)| asked != link) {
            return;
        }
        let Admission { group_id, raft_id, key, members } = admission;
        let membership = Membership { group_id: group_id.clone(), raft_id, key };
        let mut stored = StoredGroup::fresh(self.state_id.clone());
        stored.membership = Some(membership.clone());
        self.write(GroupWrite::Belong { state_id: self.state_id.clone(), membership: Some(membership) });
        self.seated(stored, now);
        for member in members {
            self.watch(member.address);
        }
        let detail = format!("group {} `{}` has taken this node in as member {raft_id}", group_id.short(), self.group);
        self.event(EventKind::GroupJoined, None, detail);
        self.carry_out(now);
    }

    /// The request to be taken in was refused; it is said again at its time.
    pub(in crate::core) fn not_admitted(&mut self, id: Option<&RequestId>, error: &ErrorAnswer) -> bool {
        let ours = id.is_some_and(|id| id.as_str() == ADMIT_ID);
        if ours && self.seat.is_none() {
            self.waits_for =
                format!("asked to be taken in and was refused: {}", crate::wire::quote(&error.detail, 200));
        }
        ours
    }

    /// Gives up the seat. This node searches again, save for the group that it has left.
    pub(super) fn give_up(&mut self, why: &str, now: Time) {
        let Some(seat) = self.seat.take() else { return };
        self.writing.clear();
        let group_id = seat.membership.group_id.clone();
        if std::mem::take(&mut self.leaving) {
            self.stays_out = true;
        }
        if let Some(state_id) = GroupId::new(self.entropy.uuid()) {
            self.state_id = state_id;
        }
        self.write(GroupWrite::Belong { state_id: self.state_id.clone(), membership: None });
        self.search = Search::new(self.own_id.clone(), self.group.clone(), self.settings.expect, self.timeout, now);
        for address in std::mem::take(&mut self.watched) {
            self.effects.push_back(Effect::Unwatch(address));
        }
        for name in SettingName::ALL {
            self.effects.push_back(Effect::Setting { name, value: None });
        }
        for asker in self.desk.drain() {
            self.refuse(&asker, ErrorCode::NoGroup, "this node has just left its group");
        }
        self.event(EventKind::GroupLeft, None, format!("group {} `{}` is left: {why}", group_id.short(), self.group));
        self.waits_for = why.to_owned();
        self.look_soon(now);
    }

    /// The operator wants this node in the group of that master: nothing is given up there.
    pub(super) fn join(&mut self, target: &Address, now: Time) {
        // Whatever it has left before, this is the operator's latest word.
        self.given_up = self.seat.as_ref().map(|seat| seat.membership.group_id.clone());
        self.give_up("the operator wants this node in another group", now);
        self.stays_out = false;
        self.watch(target.clone());
    }

    /// Goes on alone with the ledger that is here, under a new id: the last resort.
    pub(super) fn recover(&mut self, now: Time) -> Option<GroupId> {
        let seat = self.seat.take()?;
        self.writing.clear();
        let group_id = GroupId::new(self.entropy.uuid())?;
        let (mut ledger, term) = (seat.ledger, seat.standing.term + 1);
        let command = Command::Recover { group_id: group_id.clone(), raft_id: seat.membership.raft_id };
        let what = LedgerItem::Command(Box::new(command));
        ledger.apply(&LedgerEntry { index: ledger.index() + 1, term, what });
        let raft_id = seat.membership.raft_id;
        let membership = Membership { group_id: group_id.clone(), raft_id, key: self.entropy.key() };
        self.begin(membership, &ledger, term, now);
        self.event(EventKind::GroupJoined, None, format!("group {} is recovered by this node alone", group_id.short()));
        Some(group_id)
    }
}
