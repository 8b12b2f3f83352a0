//! For the model check: any deadline that is armed may come at any moment.

use super::Borrower;
use super::guests::{Stage, Visit};
use crate::core::loans::history::History;
use crate::time::Time;
use crate::wire::ServerId;

impl Borrower {
    /// A neighbour is silent.
    pub(in crate::core::loans) fn bring_ask(&mut self, now: Time) -> bool {
        self.round.as_mut().is_some_and(|round| round.bring(now))
    }

    /// Who was promised does not come.
    pub(in crate::core::loans) fn bring_promises(&mut self, now: Time) -> bool {
        self.promises.values_mut().for_each(|promise| promise.until = now);
        !self.promises.is_empty()
    }

    /// Another round may begin.
    pub(in crate::core::loans) fn bring_round(&mut self, now: Time) {
        self.again = now;
    }

    /// A renewal is due.
    pub(in crate::core::loans) fn bring_renewal(&mut self, worker: &ServerId, now: Time) -> bool {
        let due = self.guests.get_mut(worker).is_some_and(|visit| visit.bring_renewal(now));
        self.settle(worker);
        due
    }

    /// The lease, or else the grace, of a guest is over.
    pub(in crate::core::loans) fn bring_end(&mut self, worker: &ServerId, lease: bool, now: Time) -> bool {
        let Some(visit) = self.guests.get_mut(worker) else { return false };
        let due = match &mut visit.stage {
            Stage::Over => false,
            _ if lease => visit.lease.is_some_and(|_| {
                visit.lease = Some(now);
                true
            }),
            Stage::Leaving { stop: Some(stop), .. } => {
                *stop = now;
                true
            }
            _ => false,
        };
        self.settle(worker);
        due
    }

    /// Nothing has waited for a guest for long.
    pub(in crate::core::loans) fn bring_spare(&mut self, worker: &ServerId, now: Time) -> bool {
        let armed = |visit: &&mut Visit| visit.stage == Stage::Active && visit.spare.is_some() && visit.stays.is_none();
        let due = self.guests.get_mut(worker).filter(armed).map(|visit| visit.spare = Some(now)).is_some();
        self.settle(worker);
        due
    }

    /// Forgets what no decision rests on.
    pub(in crate::core::loans) fn forget_past(&mut self) {
        self.over = History::default();
        self.outcome = String::new();
        self.fruitless = 0;
        self.next_guest = 0;
    }
}
