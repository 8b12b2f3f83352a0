//! Loans that are over: the latest of them, for people.

use std::collections::VecDeque;
use std::time::Duration;

use super::MAX_SHOWN_ENDED;
use crate::time::Time;
use crate::wire::{LoanId, LoanState, LoanView, ServerId};

/// The latest loans that are over, oldest first, with when that was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct History(VecDeque<(LoanView, Time)>);

impl History {
    /// A loan is over. `view`: as it was.
    pub(super) fn add(&mut self, mut view: LoanView, reason: &str, now: Time) {
        (view.status, view.lease) = (LoanState::Ended, None);
        reason.clone_into(&mut view.reason);
        self.0.push_back((view, now));
        if self.0.len() > MAX_SHOWN_ENDED {
            self.0.pop_front();
        }
    }

    pub(super) fn views(&self) -> impl Iterator<Item = &LoanView> {
        self.0.iter().map(|(view, _)| view)
    }

    /// The last loan of a worker, and how long it has been over.
    pub(super) fn of(&self, worker: &ServerId, now: Time) -> Option<(LoanView, Duration)> {
        self.latest(|view| view.worker == *worker, now)
    }

    /// A loan by its id.
    pub(super) fn by_id(&self, id: &LoanId, now: Time) -> Option<(LoanView, Duration)> {
        self.latest(|view| view.loan_id == *id, now)
    }

    fn latest(&self, fits: impl Fn(&LoanView) -> bool, now: Time) -> Option<(LoanView, Duration)> {
        let found = self.0.iter().rev().find(|(view, _)| fits(view));
        found.map(|(view, since)| (view.clone(), now.since(*since)))
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.0.len() <= MAX_SHOWN_ENDED);
        assert!(self.0.iter().all(|(view, _)| view.status == LoanState::Ended));
    }
}
