//! Requests: what the leader does itself, what is handed on to it, and what nobody can do now.
//!
//! Any member takes any request. The leader does it; another hands it on over its link to the leader and passes the answer back. A
//! request that a member has handed on is not handed on again: it goes back, and the first member asks the next leader.

use std::time::Duration;

use super::desk::{Asker, MAX_WAITING, PATIENCE, Wanted, is_handed_on};
use super::machine::Group;
use crate::core::LinkId;
use crate::core::election::Refused;
use crate::core::ledger::Refusal;
use crate::core::links::Reply;
use crate::time::{Seconds, Time};
use crate::wire::{
    Body, Command, ErrorAnswer, ErrorCode, GroupRole, LeaseAction, MAX_LEASE_WAIT, MembersAction, MembersDone,
    NewMember, RequestId, ServerId,
};

/// The task of a request, for its error answers.
pub(super) fn task(body: &Body) -> &'static str {
    match body {
        Body::Members(_) | Body::MembersQuestion => "MEMBERS",
        Body::Settings(_) => "SETTINGS",
        Body::Lease(_) | Body::LeaseQuestion { .. } => "LEASE",
        Body::LoanAction(_) => "LOANS",
        Body::ElectQuestion => "ELECT",
        _ => "AGREE",
    }
}

impl Group {
    /// A client, or a member for one of its clients, wants something of the group.
    pub(in crate::core) fn asked(&mut self, link: LinkId, reply: Reply, body: Body, now: Time) {
        // What a member asks for itself, such as to be taken in once more, is handed on as anybody's.
        let handed_on = reply.id.as_ref().is_some_and(is_handed_on);
        let by_member = handed_on && self.seat.as_ref().is_some_and(|seat| seat.proofs.party(link).is_some());
        let wait = match &body {
            Body::Lease(request) => match &request.action {
                LeaseAction::Acquire { wait, .. } => (*wait).min(MAX_LEASE_WAIT),
                _ => Duration::ZERO,
            },
            _ => Duration::ZERO,
        };
        let asker = Asker { reply, body, until: now + PATIENCE + wait, by_member, may_be_done: false };
        if matches!(asker.body, Body::LoanAction(_)) && !by_member && link != LinkId::OWN {
            let detail = "only members that have proved the key of the group on this connection may ask for this";
            return self.refuse(&asker, ErrorCode::NotAMember, detail);
        }
        if self.desk.len() >= MAX_WAITING {
            let detail = format!("{MAX_WAITING} requests wait for the group; try again later");
            return self.refuse(&asker, ErrorCode::Busy, &detail);
        }
        self.dispatch(asker, now);
        self.carry_out(now);
    }

    /// Does a request, hands it on, holds it, or refuses it.
    pub(super) fn dispatch(&mut self, asker: Asker, now: Time) {
        match &asker.body {
            Body::Settings(query) if query.local && query.value.is_none() => return self.show_settings(&asker, true),
            Body::LeaseQuestion { local: true, after } => {
                let after = after.clone();
                return self.show_leases(asker.reply, after.as_deref(), true);
            }
            Body::Members(action) if is_here(action) => return self.do_here(asker, now),
            _ => {}
        }
        let Some(seat) = &self.seat else {
            let detail = format!("this node has no group yet: {}", self.waits_for);
            return self.refuse(&asker, ErrorCode::NoGroup, &detail);
        };
        if seat.twin_until.is_some() {
            return self.refuse(&asker, ErrorCode::NoLeader, &self.twin_text());
        }
        if let Some(missing) = self.missing(now) {
            let detail = self.no_quorum_text(&missing);
            return self.refuse(&asker, ErrorCode::NoQuorum, &detail);
        }
        if seat.leads() {
            return self.lead(asker, false, now);
        }
        let link = seat.standing.leader.and_then(|leader| seat.proofs.link_to(leader, true));
        match link {
            _ if asker.by_member => self.refuse(&asker, ErrorCode::NoLeader, "this member does not lead"),
            None => self.desk.hold(asker),
            Some(link) => {
                let body = asker.body.clone();
                let id = self.desk.hand_on(link, asker);
                let message = crate::wire::Message { id, body };
                self.send(link, message);
            }
        }
    }

    /// The leader has answered what was handed on to it.
    pub(in crate::core) fn answered(&mut self, link: LinkId, id: &RequestId, body: Body, now: Time) {
        let Some(asker) = self.desk.answered(link, id) else { return };
        match &body {
            // It leads no more: nothing was done, and the next leader is asked.
            Body::Error(error) if error.code == ErrorCode::NoLeader && now < asker.until => {
                // Who leads now may have become known before this answer came: then nothing else would set it going again.
                let leader = self.seat.as_ref().and_then(|seat| seat.proofs.link_to(seat.standing.leader?, true));
                if leader.is_some_and(|leader| leader != link) {
                    self.dispatch(asker, now);
                } else {
                    self.desk.hold(asker);
                }
            }
            Body::Error(error) if asker.may_be_done => self.refuse(&asker, error.code.clone(), &error.detail),
            Body::Error(error) => {
                self.leaves_not(&asker, &error.code);
                let error = ErrorAnswer { task: task(&asker.body).to_owned(), ..(**error).clone() };
                self.answer(asker.reply, Body::Error(Box::new(error)));
            }
            _ => self.answer(asker.reply, body),
        }
        self.retry_held(now);
        self.carry_out(now);
    }

    /// Those that are held are tried again if there is a leader to ask.
    fn retry_held(&mut self, now: Time) {
        let Some(seat) = &self.seat else { return };
        // A leader that has just said that it does not lead is not asked again until something has changed.
        if seat.leads() {
            for asker in self.desk.take_held() {
                self.dispatch(asker, now);
            }
        }
    }

    /// The link to the leader is gone: what can be asked again is.
    pub(super) fn lost_leader(&mut self, asker: Asker, now: Time) {
        if may_be_repeated(&asker.body) && now < asker.until {
            let may_be_done = asker.may_be_done || is_change(&asker.body);
            return self.desk.hold(Asker { may_be_done, ..asker });
        }
        let detail = "the leader is gone; the request may have been done: look before it is repeated";
        self.refuse(&asker, ErrorCode::Lost, detail);
    }

    /// This node leads: does it. `confirmed`: its ledger holds all that was agreed on when it was asked.
    ///
    /// Only then it refuses anybody by what it knows: another may lead unawares to it, or it may not yet have applied what was agreed on before it
    /// led, and who is told OVER stops what it rightly does.
    pub(super) fn lead(&mut self, asker: Asker, confirmed: bool, now: Time) {
        let Some(seat) = &mut self.seat else { return };
        let command = match &asker.body {
            Body::Settings(query) => match (&query.name, &query.value) {
                (Some(name), Some(value)) => Command::Set { name: name.clone(), value: value.clone() },
                _ => return self.read(asker, now),
            },
            Body::LeaseQuestion { .. } => return self.read(asker, now),
            Body::Lease(request) => {
                let name = request.name.clone();
                match &request.action {
                    LeaseAction::Acquire { holder, ttl, .. } => {
                        Command::Acquire { name, holder: holder.clone(), ttl: *ttl }
                    }
                    LeaseAction::Renew { .. } => return self.read(asker, now),
                    LeaseAction::Release { holder, fence } | LeaseAction::Tick { holder, fence, .. }
                        if seat.ledger.lease(&name).is_none_or(|it| it.holder.as_ref() != Some(holder)) =>
                    {
                        if !confirmed {
                            return self.read(asker, now);
                        }
                        let detail = format!("`{holder}` does not hold the lease `{name}`, and fence {fence} is over");
                        return self.refuse(&asker, ErrorCode::Over, &detail);
                    }
                    LeaseAction::Release { fence, .. } => Command::Release { name, fence: *fence },
                    LeaseAction::Tick { fence, tick, .. } => Command::Tick { name, fence: *fence, tick: *tick },
                }
            }
            Body::Members(action) => match &**action {
                MembersAction::Admit(admit) if admit.group != self.group => {
                    let detail = format!("GROUP is `{}`; this group is `{}`", admit.group, self.group);
                    return self.refuse(&asker, ErrorCode::BadField, &detail);
                }
                MembersAction::Admit(admit) => Command::Admit(NewMember {
                    server_id: admit.server_id.clone(),
                    state_id: admit.state_id.clone(),
                    name: admit.name.clone(),
                    address: admit.address.clone(),
                }),
                MembersAction::Remove { server_id, force } => match self.removal(server_id, *force) {
                    Ok(command) => command,
                    Err((code, detail)) => return self.refuse(&asker, code, &detail),
                },
                MembersAction::Lead { server_id } => return self.transfer(asker.clone(), &server_id.clone(), now),
                MembersAction::Leave | MembersAction::Join { .. } | MembersAction::Recover { .. } => return,
            },
            Body::LoanAction(action) => match self.loan_command(action) {
                Ok(command) => command,
                Err((code, detail)) => return self.refuse(&asker, code, &detail),
            },
            _ => return,
        };
        // It is judged as it is applied: else the same command, said again, is another one.
        let command = command.rounded();
        let Some(seat) = &mut self.seat else { return };
        // What may be in the log already is judged by the log, in its order.
        if !asker.may_be_done
            && let Err(refusal) = seat.ledger.check(&command)
        {
            return if confirmed { self.refused_or_waits(asker, &refusal, now) } else { self.read(asker, now) };
        }
        let removes = matches!(command, Command::Remove { .. });
        match seat.engine.propose(command, now) {
            Ok((index, term)) => {
                if removes {
                    seat.pending = Some(index);
                }
                self.desk.propose(index, term, asker);
            }
            Err(Refused::NotLeader) => self.desk.hold(asker),
            Err(Refused::NotNow(why)) => self.refuse(&asker, ErrorCode::Busy, why),
            Err(Refused::Unlawful(why)) => self.refuse(&asker, ErrorCode::BadField, &why),
        }
    }

    /// The removal of a member, or why it cannot be.
    fn removal(&self, server_id: &ServerId, force: bool) -> Result<Command, (ErrorCode, String)> {
        let Some(seat) = &self.seat else { return Err((ErrorCode::NoGroup, "there is no group".to_owned())) };
        // A server that lost its state has several numbers for a while: the one that is silent goes first.
        let numbers: Vec<_> = seat
            .ledger
            .members()
            .filter(|(_, it)| it.server_id == *server_id || it.name == server_id.as_str())
            .collect();
        let alive = |id| seat.status(id, &self.view, &self.own_id) == crate::wire::Status::Alive;
        let Some((raft_id, member)) = numbers.iter().find(|(id, _)| !alive(*id)).or(numbers.first()) else {
            return Err((
                ErrorCode::NotFound,
                format!("no member has the id or the name `{server_id}`; MEMBERS lists them"),
            ));
        };
        if alive(*raft_id) && !force {
            let detail = format!("member `{}` is ALIVE; it leaves by `node leave`, or with FORCE true", member.name);
            return Err((ErrorCode::WrongState, detail));
        }
        if seat.ledger.members().count() == 1 {
            return Err((
                ErrorCode::WrongState,
                "the only member cannot be removed; --fresh discards its state".to_owned(),
            ));
        }
        // What goes on already may make this one the last that votes.
        if seat.pending.is_some_and(|index| index > seat.ledger.index()) {
            return Err((ErrorCode::Busy, "another change of members is under way; ask again".to_owned()));
        }
        let voters = seat.voters();
        let others = voters.iter().filter(|id| *id != raft_id && seat.ledger.member(**id).is_some());
        if voters.contains(raft_id) && others.count() == 0 {
            let detail = format!(
                "`{}` is the only one that votes; others vote once they have caught up and were ALIVE for {} s",
                member.name,
                Seconds(self.timeout * 3)
            );
            return Err((ErrorCode::WrongState, detail));
        }
        Ok(Command::Remove { raft_id: *raft_id, reason: "an operator has removed it".to_owned() })
    }

    /// Hands the leadership over; answered once the other leads.
    fn transfer(&mut self, asker: Asker, server_id: &ServerId, now: Time) {
        let Some(seat) = &mut self.seat else { return };
        let wanted = seat.ledger.members().find(|(_, it)| it.server_id == *server_id || it.name == server_id.as_str());
        let Some((raft_id, name)) = wanted.map(|(raft_id, member)| (raft_id, member.name.clone())) else {
            let detail = format!("no member has the id or the name `{server_id}`; MEMBERS lists them");
            return self.refuse(&asker, ErrorCode::NotFound, &detail);
        };
        if raft_id == seat.membership.raft_id {
            return self.members_done(asker.reply, "LEAD", None, format!("`{name}` leads already"));
        }
        if !seat.voters().contains(&raft_id) {
            let detail = format!("`{name}` has no vote yet; it gets one when it has been ALIVE for three timeouts");
            return self.refuse(&asker, ErrorCode::WrongState, &detail);
        }
        match seat.engine.transfer(raft_id, now) {
            Ok(()) => self.desk.hold_transfer(asker, raft_id),
            Err(refused) => self.refuse(&asker, ErrorCode::Busy, &refused.to_string()),
        }
    }

    /// What is done by the node itself, whoever leads.
    fn do_here(&mut self, asker: Asker, now: Time) {
        let Body::Members(action) = &asker.body else { return };
        match &**action {
            MembersAction::Leave => {
                let Some(seat) = &self.seat else {
                    let detail = format!("this node has no group to leave: {}", self.waits_for);
                    return self.refuse(&asker, ErrorCode::NoGroup, &detail);
                };
                if seat.ledger.members().count() <= 1 {
                    let detail = "this node is the only member; --fresh discards its state";
                    return self.refuse(&asker, ErrorCode::WrongState, detail);
                }
                // The group is told first, so that nobody waits for this node; it goes when it hears that it is removed.
                self.leaving = true;
                let body = MembersAction::Remove { server_id: self.own_id.clone(), force: true };
                self.dispatch(Asker { body: Body::Members(Box::new(body)), ..asker }, now);
            }
            MembersAction::Join { target } => {
                let target = target.clone();
                self.join(&target, now);
                let detail = format!("this node has left its group and asks the one at {target}");
                self.members_done(asker.reply, "JOIN", None, detail);
            }
            MembersAction::Recover { confirm } => {
                let Some(seat) = &self.seat else {
                    return self.refuse(&asker, ErrorCode::NoGroup, "this node has no group to recover");
                };
                if seat.membership.group_id != *confirm {
                    let detail = format!("CONFIRM must be the GROUP_ID that is given up: {}", seat.membership.group_id);
                    return self.refuse(&asker, ErrorCode::BadField, &detail);
                }
                if self.missing(now).is_none() {
                    let detail = "a majority is there, or was a moment ago: nothing is to be recovered";
                    return self.refuse(&asker, ErrorCode::WrongState, detail);
                }
                let index = self.ledger().index();
                if let Some(group_id) = self.recover(now) {
                    let detail = format!("this node goes on alone as group {group_id} from index {index}");
                    self.members_done(asker.reply, "RECOVER", Some(index), detail);
                }
            }
            _ => {}
        }
    }

    /// Asks the majority whether this node still leads; answered by [`Group::confirmed`].
    fn read(&mut self, asker: Asker, now: Time) {
        let mark = self.desk.read(asker);
        let Some(seat) = &mut self.seat else { return };
        if let Err(refused) = seat.engine.read(mark, now)
            && let Some(asker) = self.desk.confirmed(mark)
        {
            match refused {
                Refused::NotLeader => self.desk.hold(asker),
                other => self.refuse(&asker, ErrorCode::Busy, &other.to_string()),
            }
        }
    }

    /// The leases whose time is over end.
    pub(super) fn expire_leases(&mut self, now: Time) {
        let Some(seat) = &mut self.seat else { return };
        for command in seat.clock.due(now) {
            let Command::Expire { name, fence } = &command else { continue };
            let (name, fence) = (name.clone(), *fence);
            if seat.engine.propose(command, now).is_err() {
                seat.clock.unproposed(&name, fence, now);
            }
        }
    }

    /// A lease is free: who has waited longest asks again.
    pub(super) fn next_for_lease(&mut self, name: &str, now: Time) {
        if let Some(asker) = self.desk.next_for_lease(name) {
            self.dispatch(asker, now);
        }
    }

    /// Those whose time is over are told what they waited for.
    pub(super) fn answer_overdue(&mut self, now: Time) {
        for (asker, wanted) in self.desk.overdue(now) {
            let disk = self.disk_trouble(now).map(|trouble| format!("; {trouble}")).unwrap_or_default();
            let silent = self.seat.as_ref().map(|seat| seat.silent(PATIENCE, now)).unwrap_or_default();
            let silent: Vec<String> = silent.iter().map(|id| self.called(*id)).collect();
            let who = if silent.is_empty() { String::new() } else { format!("; silent: {}", silent.join(", ")) };
            let (code, detail) = match wanted {
                Wanted::Leader => {
                    (ErrorCode::NoLeader, format!("no leader was elected in time, nothing was done{who}{disk}"))
                }
                Wanted::Confirmation => {
                    (ErrorCode::NoLeader, format!("no majority confirmed in time that this node leads{who}{disk}"))
                }
                Wanted::Agreement => {
                    let detail = format!("no majority agreed in time; it may still be agreed on{who}{disk}");
                    (ErrorCode::TimedOut, detail)
                }
                Wanted::Answer => {
                    (ErrorCode::TimedOut, "the leader did not answer in time; it may have been done".to_owned())
                }
                Wanted::Lease => {
                    let Body::Lease(request) = &asker.body else { continue };
                    let name = request.name.clone();
                    // One that is free stays while it has a tick to remember.
                    match self.ledger().lease(&name).filter(|lease| lease.holder.is_some()) {
                        Some(lease) => {
                            let refusal = Refusal::Held(lease);
                            self.refused(asker, &refusal);
                        }
                        None => self.refuse(&asker, ErrorCode::Busy, "the lease has just become free; ask again"),
                    }
                    continue;
                }
            };
            self.refuse(&asker, code, &detail);
        }
    }

    pub(super) fn members_done(&mut self, reply: Reply, action: &str, index: Option<u64>, detail: String) {
        let done = MembersDone { action: action.to_owned(), index, detail };
        self.answer(reply, Body::MembersDone(Box::new(done)));
    }

    pub(super) fn refuse(&mut self, asker: &Asker, code: ErrorCode, detail: &str) {
        self.leaves_not(asker, &code);
        let says_undone =
            matches!(code, ErrorCode::NoQuorum | ErrorCode::NoLeader | ErrorCode::NoGroup | ErrorCode::Busy);
        let error = if asker.may_be_done && says_undone {
            let detail = format!("the leader that was asked is gone, and it may have been done; now {detail}");
            ErrorAnswer::new(task(&asker.body), ErrorCode::Lost, &detail)
        } else {
            ErrorAnswer::new(task(&asker.body), code, detail)
        };
        self.answer(asker.reply.clone(), Body::Error(Box::new(error)));
    }

    /// Who was told to leave and could not does not mean to leave when it is removed one day for another reason.
    fn leaves_not(&mut self, asker: &Asker, code: &ErrorCode) {
        let Body::Members(action) = &asker.body else { return };
        let leaves = matches!(&**action, MembersAction::Remove { server_id, .. } if *server_id == self.own_id);
        if leaves && !asker.may_be_done && !matches!(code, ErrorCode::TimedOut | ErrorCode::Lost) {
            self.leaving = false;
        }
    }

    /// What this member is now.
    pub(in crate::core) fn role(&self) -> GroupRole {
        self.seat.as_ref().map_or(GroupRole::None, |seat| seat.standing.role)
    }
}

/// Whether an action is done by the node that is asked, and not by the leader.
fn is_here(action: &MembersAction) -> bool {
    matches!(action, MembersAction::Leave | MembersAction::Join { .. } | MembersAction::Recover { .. })
}

/// Whether a request changes the ledger, where it is done.
fn is_change(body: &Body) -> bool {
    match body {
        Body::Lease(request) => !matches!(request.action, LeaseAction::Renew { .. }),
        Body::Settings(query) => query.value.is_some(),
        Body::Members(_) | Body::LoanAction(_) => true,
        _ => false,
    }
}

/// Whether a request that may have been done can be done again without harm.
fn may_be_repeated(body: &Body) -> bool {
    match body {
        // Who claims a tick twice is told that it is claimed, and would skip it though it is its own.
        Body::Lease(request) => !matches!(request.action, LeaseAction::Tick { .. }),
        // What somebody else has set meanwhile would be set back.
        Body::Settings(query) => query.value.is_none(),
        // Who was removed may have come back.
        Body::Members(action) => !matches!(**action, MembersAction::Remove { .. }),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Json, SettingsQuery};

    #[test]
    fn what_would_undo_the_work_of_others_is_not_done_twice() {
        let settings =
            |value| Body::Settings(Box::new(SettingsQuery { name: Some("capacity".to_owned()), value, local: false }));
        assert!(may_be_repeated(&settings(None)));
        assert!(!may_be_repeated(&settings(Json::new("7"))));
        let server_id = ServerId::new("server-1").unwrap();
        let remove = MembersAction::Remove { server_id: server_id.clone(), force: false };
        assert!(!may_be_repeated(&Body::Members(Box::new(remove))));
        assert!(may_be_repeated(&Body::Members(Box::new(MembersAction::Lead { server_id }))));
    }
}
