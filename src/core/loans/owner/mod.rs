//! The owner's side: own workers that are lent to others.
//!
//! ```text
//!   Proposed ── agreed, or 1 s ──> Moving ── RENEW, or it has left ──> Active ──> Recalled, Returning
//!      │ asker gone, saturated       │ match time-out: TakeBack           │ lease, TIMEOUT      │
//!      └────────────────────────────>┴──────────── over <────────────────┴── home <───────────┘
//! ```
//!
//! A worker has at most one loan at a time. Whatever changes one ends with [`Owner::settle`].

mod asked;
#[cfg(test)]
mod bring;
mod decide;
mod fair;
mod life;
mod looks;
mod recall;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::agenda::Agenda;
use super::desk::{Desk, span};
use super::history::History;
use super::{Effect, LoanEvent, MAX_COOLING, MAX_LOANS, MAX_UNRECORDED, Party, Proposal, Token, longest_stay};
use crate::core::LinkId;
use crate::core::loans::agenda::take_out;
use crate::time::Time;
use crate::wire::{Dialect, Epoch, LentWorker, LoanId, RequestId, ServerId, ServiceName};

use asked::Deal;
use fair::Hungry;
use life::Giving;
use record::Proposed;

pub(in crate::core::loans) use decide::{Borrows, obstacle, well};

/// Heartbeats of strangers come every ten seconds or so: a loan that they renew goes on at least this long after each.
const HEARD_WITHIN: Duration = Duration::from_secs(30);

/// An own worker that is promised, on its way, or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lent {
    loan_id: LoanId,
    /// Whether the worker knows epochs and leases.
    native: bool,
    /// What it can run.
    services: Vec<ServiceName>,
    /// Who the borrower is, as it says.
    said: Option<ServerId>,
    borrower: Party,
    /// The borrower's name, for people.
    name: String,
    /// In which form it has asked: a foreign worker is told in that one.
    dialect: Option<Dialect>,
    /// Of the order by which it goes.
    ordered: Epoch,
    /// Of the last order about the worker: the same, or that by which it is recalled.
    epoch: Epoch,
    since: Time,
    stage: Stage,
    /// Until when the borrower may use the worker, as counted here. There is a margin beyond.
    lease: Time,
    /// How long the lease was when it was given: the margin is a part of that.
    term: Duration,
    renewal: Renewal,
    /// The worker has not left yet.
    here: bool,
    record: Record,
    /// The group may know of it, though it never said so.
    unsure: bool,
    /// It is of an earlier start, and known from the ledger alone.
    remembered: bool,
    /// One sentence on why it is in its stage.
    reason: String,
}

/// How a loan stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// It is to be agreed on, and the borrower has no answer yet.
    Proposed { deal: u64 },
    /// The worker is told. It must be seen at the borrower by then.
    Moving { until: Time },
    /// It works there.
    Active,
    /// It is wanted back; the borrower is told again then.
    Recalled { again: Time },
    /// The borrower says that it has let it go. It must be here by then.
    Returning { until: Time },
}

/// What makes a loan go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Renewal {
    /// RENEW of a native borrower.
    Lease,
    /// The heartbeats of a stranger.
    Heartbeats,
    /// Nothing that is heard: open-ended.
    Unheard,
}

/// Whether the group knows of a loan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Record {
    /// It is asked.
    Asked,
    /// It has agreed.
    Agreed,
    /// It has not, and is asked again.
    Due,
}

/// The last order about an own worker that was lent since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Standing {
    epoch: Epoch,
    /// It was that to stay, or be, at home.
    home: bool,
}

/// The owner's side.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Owner {
    lent: BTreeMap<ServerId, Lent>,
    by_id: BTreeMap<LoanId, ServerId>,
    by_borrower: BTreeMap<ServerId, BTreeSet<ServerId>>,
    agenda: Agenda,
    /// What was said last about workers that were lent since the start.
    standing: BTreeMap<ServerId, Standing>,
    deals: BTreeMap<u64, Deal>,
    next_deal: u64,
    /// Recalls that wait for an answer.
    recalls: BTreeMap<Token, (ServerId, RequestId)>,
    cooling: BTreeMap<ServerId, Time>,
    /// Borrowers that wait for a free worker.
    hungry: BTreeMap<ServerId, Hungry>,
    /// COMMAND_RELEASEs whose workers are not all home.
    givings: BTreeMap<LinkId, Giving>,
    proposed: BTreeMap<Proposal, Proposed>,
    /// Loans that go on and that the group has yet to agree on.
    lends_due: BTreeSet<ServerId>,
    /// Ends that the group has yet to hear of, with their reasons.
    ends_due: BTreeMap<LoanId, String>,
    /// When what is due is proposed. `None`: nothing is due.
    propose_at: Option<Time>,
    over: History,
    saturated: bool,
    /// What the last request came to, and when.
    last_asked: Option<(String, Time)>,
    /// The last refusal that people were told of, and when.
    last_told: Option<(String, Time)>,
}

impl Owner {
    /// When [`Owner::tick`] is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        let deals = self.deals.values().map(|deal| deal.until).min();
        let givings = self.givings.values().filter_map(Giving::due).min();
        [self.agenda.first(), deals, givings, self.propose_at].into_iter().flatten().min()
    }

    pub(super) fn tick(&mut self, desk: &mut Desk, now: Time) {
        let late: Vec<u64> = self.deals.iter().filter(|(_, deal)| deal.until <= now).map(|(deal, _)| *deal).collect();
        for deal in late {
            self.conclude(desk, deal, now);
        }
        for worker in self.agenda.due(now) {
            self.due(desk, &worker, now);
        }
        self.tick_givings(desk, now);
        self.propose_due(desk, now);
    }

    /// This process did not run for so long. What came meanwhile lies in a buffer: nothing is over before it was read.
    pub(super) fn excuse(&mut self, desk: &Desk, lost: Duration) {
        let longer = |time: &mut Time| *time = *time + lost;
        self.deals.values_mut().for_each(|deal| longer(&mut deal.until));
        self.propose_at.as_mut().into_iter().for_each(longer);
        self.excuse_hungry(lost);
        for (worker, loan) in &mut self.lent {
            longer(&mut loan.lease);
            match &mut loan.stage {
                Stage::Proposed { .. } | Stage::Active => {}
                Stage::Moving { until: due } | Stage::Recalled { again: due } | Stage::Returning { until: due } => {
                    longer(due);
                }
            }
            self.agenda.set(worker, loan.due(desk));
        }
    }

    /// How much longer this master gets nothing.
    fn cooling(&self, borrower: &ServerId, now: Time) -> Option<Duration> {
        let until = *self.cooling.get(borrower)?;
        (until > now).then(|| until.since(now))
    }

    fn cool(&mut self, desk: &Desk, borrower: &ServerId, now: Time) {
        if desk.config.cooldown.is_zero() {
            return;
        }
        if self.cooling.len() >= MAX_COOLING && !self.cooling.contains_key(borrower) {
            self.cooling.retain(|_, until| *until > now);
        }
        if self.cooling.len() >= MAX_COOLING
            && let Some(first) = self.cooling.iter().min_by_key(|(_, until)| **until).map(|(who, _)| who.clone())
        {
            self.cooling.remove(&first);
        }
        self.cooling.insert(borrower.clone(), now + desk.config.cooldown);
    }

    /// Begins a loan.
    fn begin(&mut self, worker: &ServerId, loan: Lent) {
        self.by_id.insert(loan.loan_id.clone(), worker.clone());
        self.by_borrower.entry(loan.borrower.peer.clone()).or_default().insert(worker.clone());
        self.lent.insert(worker.clone(), loan);
    }

    /// Ends a loan: at once, whatever others think of it. `kind`: what people are told.
    fn end(&mut self, desk: &mut Desk, worker: &ServerId, kind: LoanEvent, reason: &str, now: Time) {
        let Some(loan) = self.lent.remove(worker) else { return };
        self.by_id.remove(&loan.loan_id);
        let borrower = &loan.borrower.peer;
        if let Some(workers) = self.by_borrower.get_mut(borrower) {
            workers.remove(worker);
            if workers.is_empty() {
                self.by_borrower.remove(borrower);
            }
        }
        self.agenda.set(worker, None);
        self.lends_due.remove(worker);
        for (token, _) in take_out(&mut self.recalls, |_, (of, _)| of == worker) {
            desk.push(Effect::Drop { token });
        }
        // What was never said to anybody is nothing that a borrower has to cool down from.
        if !matches!(loan.stage, Stage::Proposed { .. }) {
            self.cool(desk, borrower, now);
        }
        if loan.record == Record::Agreed || loan.unsure {
            self.record_end(desk, loan.loan_id.clone(), reason.to_owned());
        }
        let age = now.since(loan.since);
        let detail = format!("{}: loan {} to {}: {reason}, after {}", worker, loan.loan_id, loan.name, span(age));
        desk.decided(worker.as_str(), format!("the loan {} to {} is over: {reason}", loan.loan_id, loan.name));
        desk.event(kind, Some(worker), Some(borrower), detail);
        self.over.add(loan.view(worker, now), reason, now);
        self.given_back(worker, kind == LoanEvent::WorkerReturned, now);
    }

    /// Works out when something is to be done about a loan next.
    fn settle(&mut self, desk: &Desk, worker: &ServerId) {
        let due = self.lent.get(worker).and_then(|loan| loan.due(desk));
        self.agenda.set(worker, due);
    }

    /// Something of a loan is due.
    fn due(&mut self, desk: &mut Desk, worker: &ServerId, now: Time) {
        let Some(loan) = self.lent.get(worker) else { return };
        let over = loan.lease + desk.margin_of(loan.term) <= now;
        match loan.stage {
            Stage::Proposed { .. } => {}
            Stage::Moving { until } if over || until <= now => {
                let limit = span(desk.config.match_timeout);
                let reason = format!("it was not seen at {} within {limit}", loan.name);
                self.take_back(desk, worker, &reason, now);
            }
            Stage::Returning { until } if over || until <= now => {
                let reason = match loan.remembered {
                    true => "this master was started anew since, and it has not come home in time".to_owned(),
                    false => format!("{}, and it has not come home", loan.reason),
                };
                self.end(desk, worker, LoanEvent::LoanEnded, &reason, now);
            }
            Stage::Active | Stage::Recalled { .. } if over => {
                let reason = match loan.renewal {
                    Renewal::Lease => format!("its lease ran out without a renewal by {}", loan.name),
                    Renewal::Heartbeats if loan.native && loan.since + longest_stay(desk.config.lease) <= now => {
                        format!("it is not back from {}, where it stays no longer than that", loan.name)
                    }
                    Renewal::Heartbeats => format!("{} was not heard any more", loan.name),
                    Renewal::Unheard => format!("{} was never heard of again", loan.name),
                };
                self.end(desk, worker, LoanEvent::LoanEnded, &reason, now);
            }
            Stage::Recalled { again } if again <= now => self.say_recall(desk, worker, now),
            _ => {}
        }
        self.settle(desk, worker);
    }

    /// The order about a worker is void, by one that is higher: it stays, or is at home when it comes.
    fn take_back(&mut self, desk: &mut Desk, worker: &ServerId, reason: &str, now: Time) {
        let Some(loan) = self.lent.get(worker) else { return };
        let (generation, here) = (loan.epoch.generation, loan.here);
        // Without a higher epoch the order stands: then only the worker's own return ends it.
        if let Some(epoch) = desk.epoch(generation) {
            self.note(worker, epoch, true);
            desk.push(Effect::TakeBack { worker: worker.clone(), epoch, reason: reason.to_owned() });
        }
        let kind = if here { LoanEvent::WorkerReturned } else { LoanEvent::LoanEnded };
        self.end(desk, worker, kind, reason, now);
    }

    /// Remembers what was said last about a worker.
    fn note(&mut self, worker: &ServerId, epoch: Epoch, home: bool) {
        if self.standing.len() >= MAX_LOANS && !self.standing.contains_key(worker) {
            // Whoever is at home will be told a new epoch when it comes again.
            let settled = self.standing.iter().find(|(_, standing)| standing.home).map(|(who, _)| who.clone());
            if let Some(settled) = settled.or_else(|| self.standing.keys().next().cloned()) {
                self.standing.remove(&settled);
            }
        }
        self.standing.insert(worker.clone(), Standing { epoch, home });
    }

    /// Panics if the tables contradict each other.
    pub(super) fn check_invariants(&self) {
        self.agenda.check_invariants();
        assert!(self.lent.len() <= MAX_LOANS);
        assert_eq!(self.by_id.len(), self.lent.len());
        assert_eq!(self.by_borrower.values().map(BTreeSet::len).sum::<usize>(), self.lent.len());
        for (worker, loan) in &self.lent {
            assert_eq!(self.by_id.get(&loan.loan_id), Some(worker));
            assert!(self.by_borrower[&loan.borrower.peer].contains(worker));
            match loan.stage {
                Stage::Proposed { deal } => {
                    assert!(self.deals[&deal].workers.contains(worker), "it would never be answered");
                    assert_eq!(self.agenda.of(worker), None);
                }
                _ => {
                    assert!(self.agenda.of(worker).is_some(), "it would never end: {loan:?}");
                    assert!(self.standing.get(worker).is_some_and(|standing| standing.epoch == loan.epoch));
                    assert!(!self.standing[worker].home);
                }
            }
            assert_eq!(self.lends_due.contains(worker), loan.record == Record::Due);
        }
        for (deal, entry) in &self.deals {
            let of_it = |worker| matches!(self.lent.get(worker), Some(Lent { stage: Stage::Proposed { deal: at }, .. }) if at == deal);
            assert!(!entry.workers.is_empty() && entry.workers.iter().all(of_it));
        }
        assert!(self.recalls.values().all(|(worker, _)| self.lent.contains_key(worker)));
        assert!(self.givings.values().all(|giving| !giving.is_over()));
        assert!(self.givings.values().flat_map(|giving| &giving.waits).all(|worker| self.lent.contains_key(worker)));
        assert!(self.cooling.len() <= MAX_COOLING && self.standing.len() <= MAX_LOANS);
        assert!(self.ends_due.len() <= MAX_UNRECORDED);
        self.check_hungry();
        self.over.check_invariants();
        let due = !self.lends_due.is_empty() || !self.ends_due.is_empty();
        assert!(!due || self.propose_at.is_some(), "what is due is proposed some time");
    }
}

impl Lent {
    /// When something is to be done about it.
    fn due(&self, desk: &Desk) -> Option<Time> {
        let over = self.lease + desk.margin_of(self.term);
        match self.stage {
            Stage::Proposed { .. } => None,
            Stage::Active => Some(over),
            Stage::Moving { until } | Stage::Returning { until } => Some(until.min(over)),
            Stage::Recalled { again } => Some(again.min(over)),
        }
    }

    /// What the ledger is to hold.
    fn entry(&self, worker: &ServerId, owner: &ServerId, lease: Duration) -> LentWorker {
        LentWorker {
            loan_id: self.loan_id.clone(),
            worker: worker.clone(),
            owner: owner.clone(),
            borrower: self.borrower.peer.clone(),
            epoch: self.epoch,
            lease,
        }
    }
}
