//! Guests go home: because they are not needed any more, because their owner wants them, or because their lease is over.

use std::collections::BTreeSet;
use std::time::Duration;

use super::guests::{Stage, Visit, WORKS_HERE};
use super::{Borrower, MAX_SILENT};
use crate::core::LogLevel;
use crate::core::links::Reply;
use crate::core::loans::desk::{Desk, span, workers};
use crate::core::loans::{Effect, LoanEvent, Party, Token};
use crate::time::Time;
use crate::wire::{
    Body, Dialect, Epoch, ErrorAnswer, ErrorCode, LoanAction, LoanDone, LoanId, MAX_WORKERS_NEEDED, MoveKind,
    NativeMove, Release, ReleaseAnswer, ServerId, WorkerMove,
};

/// A `COMMAND_RELEASE` that waits for its answer. Its guests go when it comes, or without it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Giving {
    pub(super) workers: BTreeSet<ServerId>,
    pub(super) until: Time,
}

impl Borrower {
    /// Sends these guests home: they are not needed any more.
    pub(super) fn let_go(&mut self, desk: &mut Desk, all: Vec<ServerId>, why: &str, now: Time) {
        if all.is_empty() {
            return;
        }
        self.again = self.again.max(now + desk.config.cooldown);
        let (asking, going): (Vec<ServerId>, Vec<ServerId>) =
            all.into_iter().partition(|worker| self.guests[worker].asks_back);
        for worker in going {
            self.send_home(desk, &worker, true, None, why, now);
        }
        let mut owners: Vec<Party> = asking.iter().map(|worker| self.guests[worker].owner.clone()).collect();
        owners.sort();
        owners.dedup();
        for owner in owners {
            let of_owner: Vec<ServerId> =
                asking.iter().filter(|worker| self.guests[*worker].owner == owner).cloned().collect();
            for some in of_owner.chunks(MAX_WORKERS_NEEDED as usize) {
                self.give_back(desk, &owner, some, why, now);
            }
        }
    }

    /// This master is TIMEOUT.
    pub(in crate::core::loans) fn peer_timeout(&mut self, peer: &ServerId) {
        if self.silent.len() < MAX_SILENT {
            self.silent.insert(peer.clone());
        }
        self.say_of_guests(peer, "its owner does not answer: it works here until its lease is over");
    }

    /// This master was heard.
    pub(in crate::core::loans) fn peer_alive(&mut self, desk: &mut Desk, peer: &ServerId, now: Time) {
        if self.silent.remove(peer) {
            self.say_of_guests(peer, WORKS_HERE);
            self.let_go_surplus(desk, now);
        }
    }

    fn say_of_guests(&mut self, owner: &ServerId, why: &str) {
        let of_owner = |visit: &&mut Visit| visit.stage == Stage::Active && visit.owner.peer == *owner;
        self.guests.values_mut().filter(of_owner).for_each(|visit| why.clone_into(&mut visit.reason));
    }

    /// Asks an owner of 2025/2 first.
    fn give_back(&mut self, desk: &mut Desk, owner: &Party, workers: &[ServerId], why: &str, now: Time) {
        let token = desk.token();
        for worker in workers {
            if let Some(visit) = self.guests.get_mut(worker) {
                (visit.stage, visit.reason) = (Stage::Giving { token }, why.to_owned());
                self.settle(worker);
            }
        }
        let release = Release { master: Some(desk.own.server_id.clone()), workers: workers.to_vec() };
        desk.said("command_release", None, owner.peer.as_str());
        desk.push(Effect::GiveBack { token, to: owner.clone(), release });
        let workers = workers.iter().cloned().collect();
        self.givings.insert(token, Giving { workers, until: now + desk.config.answer });
    }

    /// The owner has answered, or will not: they go.
    fn given(&mut self, desk: &mut Desk, token: Token, now: Time) -> bool {
        let Some(Giving { workers, .. }) = self.givings.remove(&token) else { return false };
        for worker in workers {
            let why = self.guests.get(&worker).map_or(String::new(), |visit| visit.reason.clone());
            self.send_home(desk, &worker, true, None, &why, now);
        }
        true
    }

    /// The owner of 2025/2 says that its workers may come, or that they have.
    pub(in crate::core::loans) fn release_answered(
        &mut self,
        desk: &mut Desk,
        token: Token,
        answer: ReleaseAnswer,
        now: Time,
    ) {
        let from = answer.master.as_ref().map_or("the owner", ServerId::as_str);
        desk.heard(if answer.completed { "release_completed" } else { "release_ack" }, None, from);
        self.given(desk, token, now);
    }

    pub(super) fn give_failed(&mut self, desk: &mut Desk, token: Token, reason: &str, now: Time) -> bool {
        if let Some(giving) = self.givings.get(&token) {
            let count = workers(giving.workers.len());
            desk.log(LogLevel::Warn, format!("command_release: {count} given back without an answer: {reason}"));
        }
        self.given(desk, token, now)
    }

    pub(super) fn tick_givings(&mut self, desk: &mut Desk, now: Time) {
        let late = |giving: &Giving| giving.until <= now;
        let late: Vec<Token> = self.givings.iter().filter(|(_, one)| late(one)).map(|(token, _)| *token).collect();
        for token in late {
            desk.push(Effect::Drop { token });
            self.given(desk, token, now);
        }
    }

    /// A guest that was to be given back is gone before.
    pub(super) fn not_given(&mut self, desk: &mut Desk, token: Token, worker: &ServerId) {
        let Some(giving) = self.givings.get_mut(&token) else { return };
        giving.workers.remove(worker);
        if giving.workers.is_empty() {
            self.givings.remove(&token);
            desk.push(Effect::Drop { token });
        }
    }

    /// Tells a guest to go home. `renews`: its lease goes on while it ends what it runs. `grace`: how long it may; `None`: as long as its
    /// lease goes on.
    pub(super) fn send_home(
        &mut self,
        desk: &mut Desk,
        worker: &ServerId,
        renews: bool,
        grace: Option<Duration>,
        why: &str,
        now: Time,
    ) {
        let Some(visit) = self.guests.get_mut(worker) else { return };
        if let Stage::Giving { token } = visit.stage {
            self.not_given(desk, token, worker);
        }
        let Some(visit) = self.guests.get_mut(worker) else { return };
        visit.stage = Stage::Leaving { renews, stop: grace.map(|grace| now + grace) };
        why.clone_into(&mut visit.reason);
        desk.decided(worker.as_str(), format!("it is sent home to {}: {why}", visit.name));
        self.settle(worker);
        self.say_go(desk, worker, now);
    }

    /// Gives the order to go, once more.
    pub(super) fn say_go(&mut self, desk: &mut Desk, worker: &ServerId, now: Time) {
        let Some(visit) = self.guests.get(worker) else { return };
        let grace = match visit.stage {
            Stage::Leaving { stop, .. } => stop.map(|stop| stop.since(now)),
            Stage::Over => Some(Duration::ZERO),
            Stage::Active | Stage::Giving { .. } => return,
        };
        let native = visit.epoch.filter(|_| visit.native).map(|epoch| NativeMove {
            owner: visit.owner.peer.clone(),
            epoch,
            loan_id: visit.loan_id.clone(),
            lease: None,
            stay: None,
            grace,
        });
        let order = WorkerMove {
            kind: MoveKind::Return,
            target: visit.home.clone().or_else(|| visit.owner.address.clone()),
            target_id: Some(visit.owner.peer.clone()),
            target_name: None,
            native,
            dialect: visit.asks_back.then_some(Dialect::Gen2025_2),
            registers: false,
        };
        desk.said("command_release", None, worker.as_str());
        desk.push(Effect::Release { worker: worker.clone(), order });
    }

    /// A guest may not be used any more.
    pub(super) fn stop(&mut self, desk: &mut Desk, worker: &ServerId, why: &str, now: Time) {
        let Some(visit) = self.guests.get_mut(worker) else { return };
        let told = matches!(visit.stage, Stage::Leaving { .. });
        if let Stage::Giving { token } = visit.stage {
            self.not_given(desk, token, worker);
        }
        let Some(visit) = self.guests.get_mut(worker) else { return };
        visit.stage = Stage::Over;
        let reason = format!("{why}, and it may not be used any more");
        visit.reason.clone_from(&reason);
        let peer = visit.owner.peer.clone();
        desk.decided(worker.as_str(), reason.clone());
        desk.event(LoanEvent::LoanEnded, Some(worker), Some(&peer), format!("{worker}: {reason}"));
        desk.push(Effect::Stop { worker: worker.clone(), reason });
        self.settle(worker);
        if !told {
            self.say_go(desk, worker, now);
        }
    }

    /// `LOANS` `RECALL`: an owner wants a worker back.
    pub(in crate::core::loans) fn recalled(
        &mut self,
        desk: &mut Desk,
        reply: Reply,
        from: &ServerId,
        action: LoanAction,
        now: Time,
    ) {
        desk.heard("loans_recall", reply.id.as_ref(), from.as_str());
        let LoanAction::Recall { loan_id, worker, epoch, grace } = action else {
            let error = ErrorAnswer::new("LOANS", ErrorCode::BadField, "`ACTION` is something else; expected RECALL");
            return desk.push(Effect::Answer { reply, body: Body::Error(Box::new(error)) });
        };
        self.recall(desk, from, (loan_id, worker), epoch, grace, now);
        // Whoever is not here needs no order: the owner is told the same.
        desk.said("loans_recalled", reply.id.as_ref(), from.as_str());
        let done = LoanDone { action: "RECALL".to_owned(), index: None, renewed: Vec::new() };
        desk.push(Effect::Answer { reply, body: Body::LoanDone(Box::new(done)) });
    }

    fn recall(
        &mut self,
        desk: &mut Desk,
        from: &ServerId,
        (loan_id, worker): (LoanId, ServerId),
        epoch: Epoch,
        grace: Duration,
        now: Time,
    ) {
        let of_loan = |terms: &super::ask::Promised| terms.loan_id == loan_id;
        let promised = self.promises.get(&worker);
        if promised.is_some_and(|one| one.owner.peer == *from && one.terms.as_ref().is_some_and(of_loan)) {
            self.promises.remove(&worker);
        }
        let Some(visit) = self.guests.get_mut(&worker) else { return };
        let known = visit.owner.peer == *from && visit.loan_id.as_ref() == Some(&loan_id);
        if !known || visit.epoch.is_some_and(|seen| seen >= epoch) {
            return;
        }
        visit.epoch = Some(epoch);
        let detail = format!("{worker} is recalled by {}, grace {}", visit.name, span(grace));
        desk.event(LoanEvent::WorkerRecalled, Some(&worker), Some(from), detail);
        if visit.stage == Stage::Over {
            return self.say_go(desk, &worker, now);
        }
        let why = format!("{} wants it back", visit.name);
        self.send_home(desk, &worker, false, Some(grace), &why, now);
    }
}
