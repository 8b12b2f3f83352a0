//! A master asks for workers: the decision, the agreement of the group, the answer, and then the orders.

use std::time::Duration;

use super::decide::{Borrows, Facts, Verdict, decide, needed_services};
use super::record::Proposed;
use super::{Lent, Owner, Record, Renewal, Stage};
use crate::core::LinkId;
use crate::core::links::Reply;
use crate::core::loans::address::of_borrower;
use crate::core::loans::desk::{Desk, named_by, span, workers};
use crate::core::loans::{AGREE_WITHIN, Asked, Candidate, Effect, LoanEvent, Party, UNHEARD_FOR, longest_stay};
use crate::time::Time;
use crate::wire::{
    Body, Dialect, Epoch, LoanAnswer, LoanRecord, LoanRequest, MAX_NAME_BYTES, MoveKind, NativeMove, OfferTerms,
    OfferedWorker, ServerId, WorkerMove, quote,
};

/// The same refusal to the same master is told to people once in this time.
const QUIET: Duration = Duration::from_secs(1);

/// A request that waits for the agreement of the group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Deal {
    pub(super) reply: Reply,
    /// The borrower's name, for people.
    pub(super) name: String,
    /// Those that are promised: at least one.
    pub(super) workers: Vec<ServerId>,
    /// Where each is connected from, for the details of the offer.
    offers: Vec<OfferedWorker>,
    /// When it is answered, agreed on or not.
    pub(super) until: Time,
    /// The borrower is told the terms.
    native: bool,
}

impl Owner {
    /// A master asks for workers.
    pub(in crate::core::loans) fn asked(&mut self, desk: &mut Desk, asked: Asked, borrows: Borrows, now: Time) {
        let Asked { reply, from, request, known, trusted, mut candidates } = asked;
        let target = of_borrower(&request, from, known.as_ref(), &trusted, desk.own.address.port);
        // Who is not known is known by its address: a name that anybody can claim decides nothing.
        let known_id = known.as_ref().map(|peer| peer.peer.clone());
        // A stranger may be called otherwise than it calls itself here; its worker is told the name that it goes by.
        let stranger = known.as_ref().is_some_and(|peer| !peer.native);
        let said = request.master.clone().filter(|_| stranger).or_else(|| known_id.clone());
        let said = said.or_else(|| request.master.clone());
        let by_address = || target.as_ref().map(named_by).or_else(|| ServerId::new(from.to_canonical().to_string()));
        let Some(peer) = known_id.or_else(by_address) else { return desk.push(Effect::Unanswered { reply }) };
        let name = name_of(&request, known.as_ref().map(|peer| peer.name.as_str()), said.as_ref().unwrap_or(&peer));
        desk.heard("request_help", reply.id.as_ref(), peer.as_str());

        candidates.retain(|one| !self.lent.contains_key(&one.worker));
        let rivals = self.rivals(&peer, now);
        let own = &desk.own;
        let (room, full) = self.room(desk);
        let facts = Facts {
            config: &desk.config,
            borrower: &name,
            itself: said.as_ref() == Some(&own.server_id) || target.as_ref() == Some(&own.address),
            member: known.as_ref().is_some_and(|peer| peer.member),
            reachable: target.is_some(),
            saturated: self.saturated,
            borrows,
            has: self.lent_to(&peer),
            rivals,
            cooling: self.cooling(&peer, now),
            room,
            full,
        };
        match decide(&facts, &request, candidates) {
            Verdict::Refuse { reason, policy, why } => {
                let cooling = facts.cooling.is_some();
                if policy {
                    self.cool(desk, &peer, now);
                }
                let text = format!("{name} asked for {}: {reason}, {why}", workers(request.needed as usize));
                // Whoever asks again and again fills no log with it.
                let same = |(last, at): &(String, Time)| *last == text && now.since(*at) < QUIET;
                if !cooling && !self.last_told.as_ref().is_some_and(same) {
                    self.last_told = Some((text.clone(), now));
                    desk.event(LoanEvent::LoanRefused, None, Some(&peer), text.clone());
                }
                desk.decided_again(peer.as_str(), text.clone());
                self.last_asked = Some((text, now));
                self.reject(desk, reply, &peer, reason);
                if reason == "no_workers_available" {
                    self.hungers(desk, (&peer, &name), request.needed, needed_services(&request), now);
                }
            }
            Verdict::Lend { chosen, why } => {
                let text = format!("{name} asked for workers: {why}");
                desk.decided(peer.as_str(), text.clone());
                self.last_asked = Some((text, now));
                self.hungry.remove(&peer);
                let borrower = Party { peer, address: target };
                let renewal = match (&request.native, &known) {
                    (Some(_), Some(peer)) if peer.native => Renewal::Lease,
                    (_, Some(_)) => Renewal::Heartbeats,
                    (_, None) => Renewal::Unheard,
                };
                self.promise(
                    desk,
                    reply,
                    Terms { borrower, name, said, renewal, dialect: request.dialect },
                    chosen,
                    now,
                );
            }
        }
    }

    /// Reserves workers, and asks the group.
    fn promise(&mut self, desk: &mut Desk, reply: Reply, terms: Terms, chosen: Vec<Candidate>, now: Time) {
        let deal = self.next_deal;
        self.next_deal += 1;
        let native = terms.renewal == Renewal::Lease;
        let (mut workers, mut offers) = (Vec::new(), Vec::new());
        for Candidate { worker, native, services, generation, address, .. } in chosen {
            let Some(counter) = desk.counter() else { break };
            let epoch = Epoch { generation, counter };
            let Terms { borrower, name, said, renewal, dialect } = terms.clone();
            let loan = Lent {
                loan_id: desk.loan_id(counter),
                native,
                services,
                said,
                borrower,
                name,
                dialect,
                ordered: epoch,
                epoch,
                since: now,
                stage: Stage::Proposed { deal },
                lease: now + desk.config.lease,
                term: desk.config.lease,
                renewal,
                here: true,
                record: Record::Asked,
                unsure: false,
                remembered: false,
                reason: "the group is asked to agree".to_owned(),
            };
            desk.push(Effect::Reserve { worker: worker.clone() });
            let entry = loan.entry(&worker, &desk.own.server_id, desk.config.lease);
            let proposal = desk.proposal();
            desk.push(Effect::Propose { proposal, record: LoanRecord::Lend(entry) });
            let asked = Proposed::Lend { worker: worker.clone(), loan_id: loan.loan_id.clone(), unsure: false };
            self.proposed.insert(proposal, asked);
            self.begin(&worker, loan);
            offers.push(OfferedWorker { worker: worker.clone(), address, terms: None });
            workers.push(worker);
        }
        if workers.is_empty() {
            return self.reject(desk, reply, &terms.borrower.peer, "refused");
        }
        let until = now + AGREE_WITHIN;
        self.deals.insert(deal, Deal { reply, name: terms.name, workers, offers, until, native });
    }

    /// The group has said something about a loan of this deal: when it has about all, the borrower is answered.
    pub(super) fn deal_moves(&mut self, desk: &mut Desk, deal: u64, now: Time) {
        let Some(entry) = self.deals.get(&deal) else { return };
        let open = |worker| self.lent.get(worker).is_some_and(|loan| loan.record == Record::Asked);
        if !entry.workers.iter().any(open) {
            self.conclude(desk, deal, now);
        }
    }

    /// Answers the borrower, and only then gives the orders.
    pub(super) fn conclude(&mut self, desk: &mut Desk, deal: u64, now: Time) {
        let Some(Deal { reply, name, workers: promised, mut offers, native, .. }) = self.deals.remove(&deal) else {
            return;
        };
        let (lease, until) = (desk.config.lease, now + desk.config.match_timeout);
        let mut orders = Vec::new();
        let mut borrower = None;
        for worker in &promised {
            let Some(loan) = self.lent.get_mut(worker) else { continue };
            // It has registered anew meanwhile, and was told a higher epoch.
            let outranked = self.standing.get(worker).is_some_and(|standing| standing.epoch >= loan.epoch);
            if let Some(epoch) = outranked.then(|| desk.epoch(loan.epoch.generation)).flatten() {
                (loan.ordered, loan.epoch) = (epoch, epoch);
            }
            (loan.stage, loan.since) = (Stage::Moving { until }, now);
            loan.goes_on(desk, now);
            loan.reason = format!("it is to show itself at {name}");
            let terms = OfferTerms {
                loan_id: loan.loan_id.clone(),
                epoch: loan.epoch,
                lease,
                agreed: loan.record == Record::Agreed,
            };
            if let Some(offer) = offers.iter_mut().find(|offer| offer.worker == *worker && native) {
                offer.terms = Some(terms);
            }
            orders.push((worker.clone(), loan.order(desk, lease)));
            borrower = Some(loan.borrower.peer.clone());
            let epoch = loan.epoch;
            self.note(worker, epoch, false);
            self.settle(desk, worker);
        }
        let Some(borrower) = borrower else { return };
        let master = Some(desk.own.server_id.clone());
        let offered = u32::try_from(offers.len()).unwrap_or(u32::MAX);
        desk.said("response_accepted", reply.id.as_ref(), borrower.as_str());
        let answer = LoanAnswer::Accepted { master, offered, workers: offers, dialect: None };
        desk.push(Effect::Answer { reply, body: Body::LoanAnswer(Box::new(answer)) });
        let detail = format!("{} lent to {name}", workers(promised.len()));
        desk.event(LoanEvent::LoanAccepted, None, Some(&borrower), detail);
        for (worker, order) in orders {
            let loan = &self.lent[&worker];
            let agreed = if loan.record == Record::Agreed { "agreed" } else { "by its owner's own authority" };
            let (id, lease) = (&loan.loan_id, span(lease));
            let detail = format!("{worker} goes to {name} on loan {id}, epoch {}, lease {lease}, {agreed}", loan.epoch);
            desk.event(LoanEvent::WorkerLent, Some(&worker), Some(&borrower), detail);
            desk.push(Effect::Order { worker, order });
        }
    }

    /// Nothing comes of a deal. `answer`: what the borrower is told, if anybody is there to be told.
    pub(super) fn cancel(&mut self, desk: &mut Desk, deal: u64, answer: Option<&'static str>, why: &str, now: Time) {
        let Some(Deal { reply, workers, .. }) = self.deals.remove(&deal) else { return };
        let borrower = workers.first().and_then(|worker| self.lent.get(worker)).map(|loan| loan.borrower.peer.clone());
        for worker in workers {
            desk.push(Effect::Free { worker: worker.clone() });
            self.end(desk, &worker, LoanEvent::LoanEnded, why, now);
        }
        match (answer, borrower) {
            (Some(reason), Some(borrower)) => self.reject(desk, reply, &borrower, reason),
            _ => desk.push(Effect::Unanswered { reply }),
        }
    }

    /// A worker that is promised is not here any more.
    pub(super) fn withdraw(&mut self, desk: &mut Desk, deal: u64, worker: &ServerId, now: Time) {
        let Some(entry) = self.deals.get_mut(&deal) else { return };
        if entry.workers.len() == 1 {
            return self.cancel(
                desk,
                deal,
                Some("no_workers_available"),
                "the worker has left before it was told",
                now,
            );
        }
        // It may be back before anybody misses it.
        desk.push(Effect::Free { worker: worker.clone() });
        entry.workers.retain(|one| one != worker);
        entry.offers.retain(|offer| offer.worker != *worker);
        self.end(desk, worker, LoanEvent::LoanEnded, "it has left before it was told", now);
        self.deal_moves(desk, deal, now);
    }

    /// A link is gone: who asked there gets no worker, since it would not know of it.
    pub(in crate::core::loans) fn link_closed(&mut self, desk: &mut Desk, link: LinkId, now: Time) {
        if self.givings.get(&link).is_some_and(|giving| !giving.outlives_its_link()) {
            self.givings.remove(&link);
        }
        let of_link = |(deal, entry): (&u64, &Deal)| (entry.reply.link == link).then_some(*deal);
        let gone: Vec<u64> = self.deals.iter().filter_map(of_link).collect();
        for deal in gone {
            self.cancel(desk, deal, None, "the borrower has hung up before it was answered", now);
        }
    }

    fn reject(&self, desk: &mut Desk, reply: Reply, borrower: &ServerId, reason: &'static str) {
        desk.said("response_rejected", reply.id.as_ref(), borrower.as_str());
        let answer = LoanAnswer::Rejected { master: Some(desk.own.server_id.clone()), reason: reason.to_owned() };
        desk.push(Effect::Answer { reply, body: Body::LoanAnswer(Box::new(answer)) });
    }
}

/// With whom a loan is begun.
#[derive(Clone, Debug)]
struct Terms {
    borrower: Party,
    name: String,
    said: Option<ServerId>,
    renewal: Renewal,
    dialect: Option<Dialect>,
}

impl Renewal {
    /// How long a loan goes on after it was heard of.
    pub(super) fn term(self, desk: &Desk) -> Duration {
        match self {
            Renewal::Lease => desk.config.lease,
            Renewal::Heartbeats => desk.config.lease.max(super::HEARD_WITHIN),
            Renewal::Unheard => desk.config.lease.max(UNHEARD_FOR),
        }
    }
}

impl Lent {
    /// The order to go to the borrower.
    pub(super) fn order(&self, desk: &Desk, lease: Duration) -> WorkerMove {
        let native = self.native.then(|| NativeMove {
            owner: desk.own.server_id.clone(),
            epoch: self.ordered,
            loan_id: Some(self.loan_id.clone()),
            lease: Some(lease),
            stay: (self.renewal != Renewal::Lease).then(|| longest_stay(desk.config.lease)),
            grace: None,
        });
        WorkerMove {
            kind: MoveKind::Redirect,
            target: self.borrower.address.clone(),
            target_id: self.said.clone(),
            target_name: Some(self.name.clone()),
            native,
            dialect: self.dialect,
            // A native borrower knows who comes; one of 2025/2 learns it by the first ALIVE.
            registers: self.renewal != Renewal::Lease && self.dialect != Some(Dialect::Gen2025_2),
        }
    }
}

/// What a borrower is called in sentences.
fn name_of(request: &LoanRequest, known: Option<&str>, peer: &ServerId) -> String {
    let name = known.or(request.name.as_deref()).filter(|name| !name.trim().is_empty());
    quote(name.unwrap_or(peer.as_str()), MAX_NAME_BYTES)
}
