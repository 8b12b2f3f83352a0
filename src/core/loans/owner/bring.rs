//! For the model check: any deadline that is armed may come at any moment.

use super::{Owner, Stage};
use crate::core::loans::desk::Desk;
use crate::core::loans::history::History;
use crate::time::Time;
use crate::wire::ServerId;

impl Owner {
    /// The group has taken too long. `false`: nobody waits for it.
    pub(in crate::core::loans) fn bring_deal(&mut self, now: Time) -> bool {
        self.deals.values_mut().for_each(|deal| deal.until = now);
        !self.deals.is_empty()
    }

    /// No show, another recall, no return.
    pub(in crate::core::loans) fn bring_stage(&mut self, desk: &Desk, worker: &ServerId, now: Time) -> bool {
        let Some(loan) = self.lent.get_mut(worker) else { return false };
        match &mut loan.stage {
            Stage::Proposed { .. } | Stage::Active => return false,
            Stage::Moving { until: due } | Stage::Recalled { again: due } | Stage::Returning { until: due } => {
                *due = now
            }
        }
        self.settle(desk, worker);
        true
    }

    /// The lease is over, with its margin.
    pub(in crate::core::loans) fn bring_lease(&mut self, desk: &Desk, worker: &ServerId, now: Time) -> bool {
        let Some(loan) = self.lent.get_mut(worker) else { return false };
        if matches!(loan.stage, Stage::Proposed { .. }) {
            return false;
        }
        loan.lease = now - desk.margin_of(loan.term);
        self.settle(desk, worker);
        true
    }

    /// What was not agreed on may be proposed again.
    pub(in crate::core::loans) fn bring_proposals(&mut self, now: Time) -> bool {
        self.propose_at.as_mut().is_some_and(|due| {
            *due = now;
            true
        })
    }

    /// Forgets what no decision rests on.
    pub(in crate::core::loans) fn forget_past(&mut self) {
        self.over = History::default();
        (self.last_asked, self.last_told) = (None, None);
        self.next_deal = if self.deals.is_empty() { 0 } else { self.next_deal };
    }
}
