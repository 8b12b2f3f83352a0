//! Guests: they come, their leases are renewed, they are gone.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Borrower;
use super::ask::Promise;
use crate::core::loans::desk::{Desk, named_by, span, workers};
use crate::core::loans::{Effect, Guest, LoanEvent, MAX_LOANS, Neighbour, Party, Token};
use crate::time::Time;
use crate::wire::{
    Address, Epoch, LoanAction, LoanDone, LoanId, LoanState, LoanView, MAX_NAME_BYTES, MAX_WORKERS_NEEDED, RequestId,
    Returned, ServerId, ServiceName, quote,
};

/// Why a guest is here.
pub(super) const WORKS_HERE: &str = "it works here";

/// A worker of another master that is here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Visit {
    pub(super) owner: Party,
    /// The owner's name, for people.
    pub(super) name: String,
    /// Where it is at home.
    pub(super) home: Option<Address>,
    /// On which loan, where its owner is native.
    pub(super) loan_id: Option<LoanId>,
    /// The same, or a number of our own, for people.
    pub(super) shown: LoanId,
    /// The highest order that is known about it.
    pub(super) epoch: Option<Epoch>,
    pub(super) native: bool,
    /// The owner wants COMMAND_RELEASE first.
    pub(super) asks_back: bool,
    /// It was promised, or has a loan of a native owner.
    pub(super) invited: bool,
    pub(super) since: Time,
    /// Until when it is not sent home because of the load: who was not asked for is given work first.
    pub(super) stays: Option<Time>,
    /// What it runs.
    pub(super) services: Vec<ServiceName>,
    /// Nothing that waits is for it. If that stays so until then, it is sent home.
    pub(super) spare: Option<Time>,
    /// Until when it may be used. `None`: open-ended.
    pub(super) lease: Option<Time>,
    /// Its owner has said so.
    granted: bool,
    /// How long a lease of its owner is.
    term: Duration,
    /// When its owner is asked for more.
    renew: Option<Time>,
    /// The request by which it is.
    pub(super) renewing: Option<Token>,
    agreed: bool,
    pub(super) stage: Stage,
    pub(super) done: u64,
    pub(super) reason: String,
}

/// How a guest stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// It works here.
    Active,
    /// Its owner is told by COMMAND_RELEASE that it comes.
    Giving { token: Token },
    /// It is told to go home. `renews`: until it has gone, its lease goes on. `stop`: until when it may go on with what it runs.
    Leaving { renews: bool, stop: Option<Time> },
    /// It may not be used any more, wherever it is.
    Over,
}

/// A renewal that waits for its answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Renewing {
    owner: ServerId,
    request_id: RequestId,
    pub(super) loans: Vec<(LoanId, ServerId)>,
    /// The leases that it brings are counted from here.
    sent: Time,
}

impl Visit {
    pub(super) fn due(&self) -> Option<Time> {
        let times = match self.stage {
            Stage::Active => [self.lease, self.renew, self.stays, self.spare],
            Stage::Giving { .. } => [self.lease, None, None, None],
            Stage::Leaving { renews: true, stop } => [self.lease, self.renew, stop, None],
            Stage::Leaving { renews: false, stop } => [self.lease, stop, None, None],
            Stage::Over => [None; 4],
        };
        times.into_iter().flatten().min()
    }

    /// Something that waits is for it.
    pub(super) fn is_useful(&self) -> bool {
        self.spare.is_none()
    }

    #[cfg(test)]
    pub(super) fn bring_renewal(&mut self, now: Time) -> bool {
        self.renew = self.renew.filter(|_| self.renews()).map(|_| now);
        self.renew.is_some()
    }

    fn renews(&self) -> bool {
        self.loan_id.is_some() && matches!(self.stage, Stage::Active | Stage::Leaving { renews: true, .. })
    }

    pub(super) fn view(&self, worker: &ServerId, now: Time) -> LoanView {
        let status = match self.stage {
            Stage::Active => LoanState::Active,
            Stage::Leaving { renews: false, .. } => LoanState::Recalled,
            Stage::Giving { .. } | Stage::Leaving { .. } | Stage::Over => LoanState::Returning,
        };
        LoanView {
            loan_id: self.shown.clone(),
            worker: worker.clone(),
            out: false,
            peer: self.owner.peer.to_string(),
            status,
            epoch: self.epoch,
            lease: self.lease.map(|lease| lease.since(now)),
            agreed: self.agreed,
            age: now.since(self.since),
            done: self.done,
            reason: self.reason.clone(),
        }
    }
}

impl Borrower {
    /// A worker that is not ours has registered.
    pub(in crate::core::loans) fn came(&mut self, desk: &mut Desk, guest: Guest, now: Time) {
        let worker = guest.worker.clone();
        // A foreign worker does not say on which loan it is here.
        let silent = !guest.native && guest.loan_id.is_none();
        let fits = |loan_id: Option<&LoanId>| silent || loan_id == guest.loan_id.as_ref();
        let awaited = self.promises.get(&worker).is_some_and(|promise| fits(promise.loan_id()));
        if let Some(visit) = self.guests.get_mut(&worker)
            && fits(visit.loan_id.as_ref())
            && !awaited
        {
            // Its link was cut, and what was under way on it is lost.
            visit.epoch = visit.epoch.max(guest.epoch);
            self.offers(desk, &worker, guest.services.iter(), now);
            let visit = &self.guests[&worker];
            let rest = visit.lease.map(|lease| lease.since(now));
            desk.push(Effect::Lease { worker: worker.clone(), rest });
            match visit.stage {
                Stage::Active | Stage::Giving { .. } => {}
                Stage::Leaving { .. } | Stage::Over => self.say_go(desk, &worker, now),
            }
            return;
        }
        if self.guests.contains_key(&worker) {
            self.forget(desk, &worker, LoanEvent::WorkerReturned, "it is here on another loan now", now);
        }
        if self.guests.len() >= MAX_LOANS {
            return;
        }
        let promise = if awaited { self.promises.remove(&worker) } else { None };
        let of_promise = promise.as_ref().and_then(Promise::loan_id).filter(|_| silent).cloned();
        let loan_id = guest.loan_id.clone().or(of_promise);
        let promise = promise.or_else(|| self.unnamed_for(&guest, now));
        // Who promised it knows best where it is at home, then whoever it names and this node calls.
        let promised = promise.as_ref().and_then(|promise| promise.owner.address.clone());
        let called = || guest.lender.as_ref().and_then(|lender| lender.address.clone());
        let home = guest.home.clone().or(promised).or_else(called);
        let said = guest.owner.clone().or_else(|| guest.home.as_ref().map(named_by));
        let stranger = || Party { peer: said.unwrap_or_else(|| worker.clone()), address: None };
        let owner = guest.lender.clone().unwrap_or_else(stranger);
        let asks_back = self.older.contains(&owner.peer);
        let name = quote(owner.peer.as_str(), MAX_NAME_BYTES);
        let shown = loan_id.clone().unwrap_or_else(|| {
            self.next_guest += 1;
            LoanId::new(format!("guest-{}", self.next_guest)).expect("short and without blanks")
        });
        // Its owner has granted it something; how much, the first renewal will tell. Until that is answered, it may be used: its owner cannot
        // grant it to another before it is home.
        let provisional = loan_id.as_ref().map(|_| now + desk.config.answer);
        let visit = Visit {
            owner,
            name,
            home,
            loan_id,
            shown,
            epoch: guest.epoch,
            native: guest.native,
            asks_back,
            invited: false,
            since: now,
            stays: Some(now + desk.config.match_timeout),
            services: guest.services,
            spare: None,
            lease: provisional,
            granted: false,
            term: desk.config.lease,
            renew: provisional.map(|_| now),
            renewing: None,
            agreed: false,
            stage: Stage::Active,
            done: 0,
            reason: WORKS_HERE.to_owned(),
        };
        self.guests.insert(worker.clone(), visit);
        self.weigh(desk, &worker, now);
        if let Some(promise) = promise {
            self.invite(&worker, promise);
        }
        let visit = &self.guests[&worker];
        let rest = visit.lease.map(|lease| lease.since(now));
        let lease = rest.map_or("without a lease".to_owned(), |rest| format!("lease {}", span(rest)));
        let epoch = visit.epoch.map_or(String::new(), |epoch| format!(", epoch {epoch}"));
        let (name, id, peer) = (visit.name.clone(), visit.shown.clone(), visit.owner.peer.clone());
        let here = workers(self.guests.len());
        let detail = format!("{worker} of {name} works here on loan {id}{epoch}, {lease}; {here} of others here");
        desk.decided(worker.as_str(), detail.clone());
        desk.event(LoanEvent::WorkerBorrowed, Some(&worker), Some(&peer), detail);
        desk.push(Effect::Lease { worker: worker.clone(), rest });
        self.settle(&worker);
        // The first renewal tells the owner that it has arrived.
        self.due(desk, &worker, now);
        self.let_go_surplus(desk, now);
    }

    /// What was promised without a name is promised to this guest, if it may come from who promised it: it names that one, or nobody that is known.
    fn unnamed_for(&mut self, guest: &Guest, now: Time) -> Option<Promise> {
        if guest.loan_id.is_some() {
            return None;
        }
        let is_its = |lender: &Neighbour| guest.lender.as_ref().is_none_or(|named| named.peer == lender.peer);
        let until = self.unnamed.until;
        let lender = self.unnamed.take(is_its)?;
        let (owner, name, asks_back) = (lender.party(), lender.name, lender.asks_back);
        Some(Promise { owner, name, asks_back, terms: None, since: now, until })
    }

    /// A guest that is here was promised on these terms.
    pub(super) fn invite(&mut self, worker: &ServerId, promise: Promise) {
        let Some(visit) = self.guests.get_mut(worker) else { return };
        visit.invited = true;
        visit.stays = None;
        (visit.owner, visit.name, visit.asks_back) = (promise.owner, promise.name, promise.asks_back);
        visit.home = visit.home.take().or_else(|| visit.owner.address.clone());
        if visit.loan_id.is_none()
            && !visit.native
            && let Some(terms) = &promise.terms
        {
            (visit.loan_id, visit.shown) = (Some(terms.loan_id.clone()), terms.loan_id.clone());
            visit.renew = Some(visit.since);
        }
        if let Some(terms) = promise.terms.filter(|terms| visit.loan_id.as_ref() == Some(&terms.loan_id)) {
            // What a renewal has told since is later.
            visit.lease = visit.lease.filter(|_| visit.granted).max(Some(terms.lease));
            visit.granted = true;
            visit.epoch = visit.epoch.max(Some(terms.epoch));
            (visit.term, visit.agreed) = (terms.term, terms.agreed);
        }
        self.settle(worker);
    }

    /// Something of a guest is due.
    pub(super) fn due(&mut self, desk: &mut Desk, worker: &ServerId, now: Time) {
        let Some(visit) = self.guests.get_mut(worker) else { return };
        visit.stays = visit.stays.filter(|stays| *stays > now);
        let stop = match visit.stage {
            Stage::Leaving { stop, .. } => stop,
            _ => None,
        };
        let passed = |time: Option<Time>| time.is_some_and(|time| time <= now);
        if visit.stage != Stage::Over && (passed(visit.lease) || passed(stop)) {
            let why = if passed(visit.lease) { "its lease is over" } else { "its grace is over" };
            self.stop(desk, worker, why, now);
        } else if visit.renews() && passed(visit.renew) {
            let owner = visit.owner.clone();
            self.renew(desk, &owner, now);
        }
        self.settle(worker);
    }

    /// Asks an owner to renew the loans of all its workers that are here, but for those that it is being asked for and may answer yet: as many
    /// requests at a time as it takes, each with loans of its own.
    fn renew(&mut self, desk: &mut Desk, owner: &Party, now: Time) {
        let of_owner = |visit: &Visit| visit.owner.peer == owner.peer && visit.renews();
        let due = |visit: &Visit| visit.renew.is_none_or(|renew| renew <= now);
        // What was not answered in time is asked anew, all of it.
        let late: BTreeSet<Token> =
            self.guests.values().filter(|visit| of_owner(visit) && due(visit)).filter_map(|it| it.renewing).collect();
        let asks = |visit: &Visit| visit.renewing.is_none_or(|token| late.contains(&token));
        let mut all: Vec<(Option<Time>, ServerId)> = self
            .guests
            .iter()
            .filter(|(_, visit)| of_owner(visit) && asks(visit))
            .map(|(worker, visit)| (visit.renew, worker.clone()))
            .collect();
        all.sort();
        for token in late {
            if self.renewing.remove(&token).is_some() {
                desk.push(Effect::Drop { token });
            }
        }
        for some in all.chunks(MAX_WORKERS_NEEDED as usize) {
            self.say_renew(desk, owner, some.iter().map(|(_, worker)| worker), now);
        }
    }

    /// One request for these, at most [`MAX_WORKERS_NEEDED`].
    fn say_renew<'a>(
        &mut self,
        desk: &mut Desk,
        owner: &Party,
        workers: impl Iterator<Item = &'a ServerId>,
        now: Time,
    ) {
        let token = desk.token();
        let mut loans = Vec::new();
        for worker in workers {
            let visit = self.guests.get_mut(worker).expect("it was there a moment ago");
            visit.renewing = Some(token);
            visit.renew = Some(now + desk.config.answer.min(visit.term / 3));
            loans.extend(visit.loan_id.clone().map(|id| (id, worker.clone())));
            self.settle(worker);
        }
        let request_id = desk.request_id();
        let action = LoanAction::Renew { loans: loans.iter().map(|(id, _)| id.clone()).collect() };
        desk.said("loans_renew", Some(&request_id), owner.peer.as_str());
        desk.push(Effect::Act { token, to: owner.clone(), request_id: request_id.clone(), action });
        self.renewing.insert(token, Renewing { owner: owner.peer.clone(), request_id, loans, sent: now });
    }

    /// An owner has answered a renewal.
    pub(in crate::core::loans) fn renewed(&mut self, desk: &mut Desk, token: Token, done: LoanDone, now: Time) {
        let Some(Renewing { owner, request_id, loans, sent }) = self.renewing.remove(&token) else { return };
        desk.heard("loans_renewed", Some(&request_id), owner.as_str());
        self.peer_alive(desk, &owner, now);
        for (id, worker) in loans {
            let Some(visit) = self.guests.get_mut(&worker).filter(|visit| visit.loan_id.as_ref() == Some(&id)) else {
                continue;
            };
            if visit.renewing == Some(token) {
                visit.renewing = None;
            }
            if !visit.renews() {
                continue;
            }
            let Some((_, lease)) = done.renewed.iter().find(|(one, _)| *one == id) else {
                let why = format!("{} does not renew its loan", visit.name);
                let grace = desk.config.grace;
                self.send_home(desk, &worker, false, Some(grace), &why, now);
                continue;
            };
            visit.term = *lease;
            (visit.lease, visit.granted) = (Some(sent + *lease), true);
            (visit.invited, visit.stays) = (true, None);
            visit.renew = Some((sent + *lease / 3).max(now + *lease / 12));
            let rest = (sent + *lease).since(now);
            desk.push(Effect::Lease { worker: worker.clone(), rest: Some(rest) });
            self.settle(&worker);
        }
    }

    /// A request came to nothing.
    pub(in crate::core::loans) fn failed(&mut self, desk: &mut Desk, token: Token, reason: &str, now: Time) {
        if self.ask_failed(desk, token, reason, now) || self.give_failed(desk, token, reason, now) {
            return;
        }
        let Some(Renewing { loans, .. }) = self.renewing.remove(&token) else { return };
        for (_, worker) in loans {
            if let Some(visit) = self.guests.get_mut(&worker).filter(|visit| visit.renewing == Some(token)) {
                visit.renewing = None;
                visit.renew = Some(now + visit.term / 10);
                self.settle(&worker);
            }
        }
    }

    /// A guest is gone.
    pub(in crate::core::loans) fn gone(&mut self, desk: &mut Desk, worker: &ServerId, now: Time) {
        let Some(visit) = self.guests.get(worker) else { return };
        let (owner, loan_id, asked_back) = (visit.owner.clone(), visit.loan_id.clone(), visit.asks_back);
        let unasked = visit.stage == Stage::Active;
        let unheard = self.silent.contains(&owner.peer);
        match unasked {
            true => self.forget(desk, worker, LoanEvent::LoanEnded, "its link is gone", now),
            false => self.forget(desk, worker, LoanEvent::WorkerReturned, "it has gone home", now),
        }
        // Where it is now, nobody knows; that it is not here, a native owner is to know. To a stranger it would mean that it was sent home.
        if unasked && (loan_id.is_none() || unheard) {
            return;
        }
        if asked_back {
            // It was told by COMMAND_RELEASE, and knows no other word for it.
            return;
        }
        // The node logs it once it is said: nobody may know where the owner is called.
        // Strangers expect a uuid; between native masters the loan is mark enough.
        let request_id = match &loan_id {
            Some(loan_id) => RequestId::new(loan_id.as_str()),
            None => Some(desk.request_id()),
        };
        let returned = Returned { worker: worker.clone(), loan_id };
        desk.push(Effect::Notify { to: owner, request_id, returned });
    }

    /// A stay is over.
    fn forget(&mut self, desk: &mut Desk, worker: &ServerId, kind: LoanEvent, reason: &str, now: Time) {
        let Some(visit) = self.guests.remove(worker) else { return };
        self.agenda.set(worker, None);
        if let Some(token) = visit.renewing {
            self.not_renewed(desk, token);
        }
        if let Stage::Giving { token } = visit.stage {
            self.not_given(desk, token, worker);
        }
        let stay = span(now.since(visit.since));
        let (name, id, done) = (&visit.name, &visit.shown, visit.done);
        let detail = format!("{worker} of {name}, loan {id}: {reason}, after {stay} and {done} jobs here");
        desk.decided(worker.as_str(), detail.clone());
        desk.event(kind, Some(worker), Some(&visit.owner.peer), detail);
        self.over.add(visit.view(worker, now), reason, now);
    }

    /// A guest is gone that this request was to renew: after the last of them nobody waits for it.
    fn not_renewed(&mut self, desk: &mut Desk, token: Token) {
        let Some(renewing) = self.renewing.get(&token) else { return };
        let waits = |worker| self.guests.get(worker).is_some_and(|visit: &Visit| visit.renewing == Some(token));
        if !renewing.loans.iter().any(|(_, worker)| waits(worker)) {
            self.renewing.remove(&token);
            desk.push(Effect::Drop { token });
        }
    }
}
