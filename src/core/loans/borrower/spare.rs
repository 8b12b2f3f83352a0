//! Which guests are needed here: those that can run something that waits, and below release those alone that the own workers cannot do without.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Borrower;
use super::guests::{Stage, Visit};
use crate::core::loans::desk::{Desk, span};
use crate::time::Time;
use crate::wire::{ServerId, ServiceName};

impl Borrower {
    /// How long a guest stays for which nothing waits: nobody goes between two jobs of a burst, nor before the switch of the load could say so.
    fn patience(&self, desk: &Desk) -> Duration {
        desk.config.match_timeout.max(self.load.hold)
    }

    /// Notes whether anything that waits is for this guest.
    pub(super) fn weigh(&mut self, desk: &Desk, worker: &ServerId, now: Time) {
        let until = now + self.patience(desk);
        let Some(visit) = self.guests.get_mut(worker) else { return };
        visit.spare = match self.load.is_for(&visit.services) {
            true => None,
            false => visit.spare.or(Some(until)),
        };
        self.settle(worker);
    }

    /// The same of all, where other services have jobs that wait than before.
    pub(super) fn weigh_all(&mut self, desk: &Desk, now: Time) {
        let all: Vec<ServerId> = self.guests.keys().cloned().collect();
        for worker in all {
            self.weigh(desk, &worker, now);
        }
    }

    /// A guest has ended a job.
    pub(in crate::core::loans) fn done(&mut self, desk: &Desk, worker: &ServerId, now: Time) {
        let until = now + self.patience(desk);
        let Some(visit) = self.guests.get_mut(worker) else { return };
        visit.done += 1;
        // Its jobs do not wait long enough to be seen, perhaps because it is here.
        if visit.spare.is_some() {
            visit.spare = Some(until);
            self.settle(worker);
        }
    }

    /// A worker says what it runs now.
    pub(in crate::core::loans) fn offers<'a>(
        &mut self,
        desk: &Desk,
        worker: &ServerId,
        services: impl Iterator<Item = &'a ServiceName> + Clone,
        now: Time,
    ) {
        let Some(visit) = self.guests.get_mut(worker) else { return };
        if !visit.services.iter().eq(services.clone()) {
            visit.services = services.cloned().collect();
            self.weigh(desk, worker, now);
        }
    }

    /// This process did not run for so long: nothing came that could have been for somebody.
    pub(super) fn excuse_spare(&mut self, lost: Duration) {
        let spare = |visit: &Visit| visit.spare.is_some();
        let all: Vec<ServerId> =
            self.guests.iter().filter(|(_, visit)| spare(visit)).map(|(worker, _)| worker.clone()).collect();
        for worker in all {
            if let Some(visit) = self.guests.get_mut(&worker) {
                visit.spare = visit.spare.map(|spare| spare + lost);
            }
            self.settle(&worker);
        }
    }

    /// Sends those of these guests home for which nothing has waited for long, whatever else waits here.
    pub(super) fn let_go_spare(&mut self, desk: &mut Desk, due: Vec<ServerId>, now: Time) {
        let patience = self.patience(desk);
        let mut going = Vec::new();
        for worker in due {
            let Some(visit) = self.guests.get(&worker) else { continue };
            if visit.stage != Stage::Active || visit.spare.is_none_or(|spare| spare > now) {
                continue;
            }
            if !self.has_to_stay(visit, now) {
                going.push(worker);
            } else if let Some(visit) = self.guests.get_mut(&worker) {
                visit.spare = Some(now + patience);
                self.settle(&worker);
            }
        }
        let why = format!("nothing has waited for it for {}: {} jobs pending", span(patience), self.load.pending);
        self.let_go(desk, going, &why, now);
    }

    /// Below release, sends guests home that the queue does not need any more, the oldest first.
    pub(super) fn let_go_surplus(&mut self, desk: &mut Desk, now: Time) {
        if !self.load.released {
            return;
        }
        let free = |visit: &Visit| visit.stage == Stage::Active && !self.has_to_stay(visit, now);
        let mut all: Vec<(Time, &ServerId, &Visit)> = self
            .guests
            .iter()
            .filter(|(_, visit)| free(visit))
            .map(|(worker, visit)| (visit.since, worker, visit))
            .collect();
        all.sort_by(|a, b| (b.0, b.1).cmp(&(a.0, a.1)));
        // Jobs that no own worker here can run keep one guest each that can, the newest.
        let mut stranded: BTreeMap<&ServiceName, u64> = self.load.stranded().collect();
        let mut kept = |visit: &Visit| {
            let service = visit.services.iter().find(|service| stranded.contains_key(service))?;
            let left = stranded.get_mut(service)?;
            *left -= 1;
            if *left == 0 {
                stranded.remove(service);
            }
            Some(())
        };
        all.retain(|(_, _, visit)| kept(visit).is_none());
        let going = all.into_iter().rev().map(|(_, worker, _)| worker.clone()).collect();
        let why = format!("{} jobs pending, below release={}", self.load.pending, self.load.release);
        self.let_go(desk, going, &why, now);
    }

    /// Whether a guest is not sent home because of the load. One on a lease whose owner is TIMEOUT serves it out here: at home it would find
    /// nobody, and come back as an orphan. One that nobody has asked for is given work first.
    fn has_to_stay(&self, visit: &Visit, now: Time) -> bool {
        let nowhere_to_go = visit.lease.is_some() && self.silent.contains(&visit.owner.peer);
        nowhere_to_go || visit.stays.is_some_and(|stays| stays > now)
    }
}
