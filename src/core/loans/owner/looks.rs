//! What others are shown of the owner's side.

use std::time::Duration;

use super::{Lent, Owner, Record, Renewal, Stage};
use crate::core::loans::desk::Desk;
use crate::core::loans::{MAX_DEALS, MAX_LOANS};
use crate::time::Time;
use crate::wire::{LoanId, LoanState, LoanView, ServerId};

impl Owner {
    /// Own workers that are promised, on their way, or elsewhere.
    pub(in crate::core::loans) fn count(&self) -> usize {
        self.lent.len()
    }

    /// All loans for people, in any order.
    pub(in crate::core::loans) fn views(&self, now: Time) -> Vec<LoanView> {
        let live = self.lent.iter().map(|(worker, loan)| loan.view(worker, now));
        live.chain(self.over.views().cloned()).collect()
    }

    /// The loan of a worker, or its last one, and how long that has been over.
    pub(in crate::core::loans) fn view_of(&self, worker: &ServerId, now: Time) -> Option<(LoanView, Option<Duration>)> {
        let live = self.lent.get(worker).map(|loan| (loan.view(worker, now), None));
        live.or_else(|| self.over.of(worker, now).map(|(view, ago)| (view, Some(ago))))
    }

    /// The same of a loan by its id.
    pub(in crate::core::loans) fn view_by_id(&self, id: &LoanId, now: Time) -> Option<(LoanView, Option<Duration>)> {
        let live = self.by_id.get(id).and_then(|worker| self.view_of(worker, now));
        live.or_else(|| self.over.by_id(id, now).map(|(view, ago)| (view, Some(ago))))
    }

    /// Whether this worker is promised, on its way, or elsewhere.
    pub(in crate::core::loans) fn has(&self, worker: &ServerId) -> bool {
        self.lent.contains_key(worker)
    }

    /// Whether it is, and is a native one: only what a native worker says is a sign of it then.
    pub(in crate::core::loans) fn has_native(&self, worker: &ServerId) -> bool {
        self.lent.get(worker).is_some_and(|loan| loan.native)
    }

    /// The workers that are promised, on their way, or elsewhere, each with its borrower.
    pub(in crate::core::loans) fn borrowers(&self) -> impl Iterator<Item = (&ServerId, &ServerId)> {
        self.lent.iter().map(|(worker, loan)| (worker, &loan.borrower.peer))
    }

    /// Loans that can still be begun, and what is full where there is none.
    pub(in crate::core::loans) fn room(&self, desk: &Desk) -> (usize, &'static str) {
        let orders = usize::try_from(desk.orders_left() / 2).unwrap_or(usize::MAX);
        let loans = MAX_LOANS.saturating_sub(self.lent.len());
        match (self.deals.len() < MAX_DEALS, loans, orders) {
            (_, _, 0) => (0, "no further order can be given here before the next start"),
            (_, 0, _) => (0, "as many workers are lent here as can be"),
            (false, _, _) => (0, "too many requests wait here for the agreement of the group"),
            (true, loans, orders) => (loans.min(orders), ""),
        }
    }

    pub(in crate::core::loans) fn is_saturated(&self) -> bool {
        self.saturated
    }

    /// What the last request came to, and how long ago.
    pub(in crate::core::loans) fn last_asked(&self, now: Time) -> Option<(&str, Duration)> {
        self.last_asked.as_ref().map(|(text, at)| (text.as_str(), now.since(*at)))
    }

    /// Borrowers that get nothing for a while, with how much longer.
    pub(in crate::core::loans) fn all_cooling(&self, now: Time) -> impl Iterator<Item = (&ServerId, Duration)> {
        let waits = self.cooling.iter().filter(move |(_, until)| **until > now);
        waits.map(move |(who, until)| (who, until.since(now)))
    }
}

impl Lent {
    fn state(&self) -> LoanState {
        match self.stage {
            Stage::Proposed { .. } => LoanState::Proposed,
            Stage::Moving { .. } => LoanState::Moving,
            Stage::Active => LoanState::Active,
            Stage::Recalled { .. } => LoanState::Recalled,
            Stage::Returning { .. } => LoanState::Returning,
        }
    }

    pub(super) fn view(&self, worker: &ServerId, now: Time) -> LoanView {
        let peer = self.borrower.peer.to_string();
        LoanView {
            loan_id: self.loan_id.clone(),
            worker: worker.clone(),
            out: true,
            peer,
            status: self.state(),
            epoch: Some(self.epoch),
            lease: (self.renewal != Renewal::Unheard).then(|| self.lease.since(now)),
            agreed: self.record == Record::Agreed,
            age: now.since(self.since),
            done: 0,
            reason: self.reason.clone(),
        }
    }
}
