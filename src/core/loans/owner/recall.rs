//! The owner outranks the guest: when it saturates itself, it wants its workers back. So it does for another borrower whose turn it is.

use std::collections::BTreeSet;

use super::{Owner, Renewal, Stage};
use crate::core::loans::agenda::take_out;
use crate::core::loans::desk::{Desk, span};
use crate::core::loans::{Effect, LoanEvent, Saturation, Token};
use crate::time::Time;
use crate::wire::{LoanAction, ServerId, ServiceName};

impl Owner {
    /// How the queue stands. `missing`: workers that are needed beside those that are here. Tells how many come back.
    pub(in crate::core::loans) fn load(&mut self, desk: &mut Desk, load: &Saturation, missing: u32, now: Time) -> u32 {
        self.saturated = load.saturated;
        if load.saturated {
            let deals: Vec<u64> = self.deals.keys().copied().collect();
            for deal in deals {
                let why = "this master has become saturated itself before the borrower was answered";
                self.cancel(desk, deal, Some("high_load"), why, now);
            }
            let useful = self.oldest_first(load);
            let services: BTreeSet<&ServiceName> = useful.iter().flat_map(|one| &self.lent[one].services).collect();
            let services: Vec<ServiceName> = services.into_iter().cloned().collect();
            let mut wanted = missing.min(load.extra_for(&services)).saturating_sub(self.awaited());
            for worker in useful {
                if wanted == 0 {
                    break;
                }
                let (pending, capacity) = (load.pending, load.capacity);
                let why = format!("its owner is saturated itself: {pending} jobs pending, capacity={capacity}");
                wanted -= u32::from(self.want_back(desk, &worker, &why, now));
            }
        }
        self.awaited()
    }

    /// Workers that were recalled and are not home.
    pub(super) fn awaited(&self) -> u32 {
        let recalled = self.lent.values().filter(|loan| matches!(loan.stage, Stage::Recalled { .. })).count();
        u32::try_from(recalled).unwrap_or(u32::MAX)
    }

    /// Loans that can be ended by this master's word, of workers that can run something that waits here.
    fn oldest_first(&self, load: &Saturation) -> Vec<ServerId> {
        let lives = |stage: &Stage| matches!(stage, Stage::Moving { .. } | Stage::Active);
        let all = self.lent.iter().filter(|(_, loan)| lives(&loan.stage) && load.is_for(&loan.services));
        // A stranger is told nothing of recalls, except that its worker may not have gone yet.
        let mut all: Vec<_> = all.filter(|(_, loan)| loan.renewal == Renewal::Lease || loan.here).collect();
        all.sort_by_key(|(_, loan)| loan.since);
        all.into_iter().map(|(worker, _)| worker.clone()).collect()
    }

    /// Wants one worker back. Whether it is, or will be, here.
    pub(super) fn want_back(&mut self, desk: &mut Desk, worker: &ServerId, why: &str, now: Time) -> bool {
        let Some(loan) = self.lent.get(worker) else { return false };
        if loan.here {
            self.take_back(desk, worker, why, now);
            return true;
        }
        let Some(epoch) = desk.epoch(loan.epoch.generation) else { return false };
        let loan = self.lent.get_mut(worker).expect("it was there a moment ago");
        (loan.epoch, loan.stage, loan.reason) = (epoch, Stage::Recalled { again: now }, why.to_owned());
        let (name, borrower) = (loan.name.clone(), loan.borrower.peer.clone());
        let detail = format!("{worker} is recalled from {name}: {why}; grace {}", span(desk.config.grace));
        desk.decided(worker.as_str(), detail.clone());
        desk.event(LoanEvent::WorkerRecalled, Some(worker), Some(&borrower), detail);
        self.note(worker, epoch, false);
        self.say_recall(desk, worker, now);
        self.settle(desk, worker);
        true
    }

    /// Tells the borrower, once more.
    pub(super) fn say_recall(&mut self, desk: &mut Desk, worker: &ServerId, now: Time) {
        for (token, _) in take_out(&mut self.recalls, |_, (of, _)| of == worker) {
            desk.push(Effect::Drop { token });
        }
        let (token, request_id) = (desk.token(), desk.request_id());
        let Some(loan) = self.lent.get_mut(worker) else { return };
        loan.stage = Stage::Recalled { again: now + desk.config.answer };
        let (to, grace) = (loan.borrower.clone(), desk.config.grace);
        let action =
            LoanAction::Recall { loan_id: loan.loan_id.clone(), worker: worker.clone(), epoch: loan.epoch, grace };
        self.recalls.insert(token, (worker.clone(), request_id.clone()));
        desk.said("loans_recall", Some(&request_id), to.peer.as_str());
        desk.push(Effect::Act { token, to, request_id, action });
    }

    /// A recall has reached the borrower. `false`: the token is of something else.
    pub(in crate::core::loans) fn recall_done(&mut self, desk: &mut Desk, token: Token) -> bool {
        let Some((worker, request_id)) = self.recalls.remove(&token) else { return false };
        let Some(loan) = self.lent.get_mut(&worker) else { return true };
        desk.heard("loans_recalled", Some(&request_id), loan.borrower.peer.as_str());
        // It is not said again, unless the worker takes longer than its grace and a little.
        if let Stage::Recalled { again } = &mut loan.stage {
            *again = *again + desk.config.grace;
        }
        loan.reason = format!("{} sends it home", loan.name);
        self.settle(desk, &worker);
        true
    }

    /// A recall has not. It is tried again. `false`: the token is of something else.
    pub(in crate::core::loans) fn recall_failed(&mut self, desk: &mut Desk, token: Token, reason: &str) -> bool {
        let Some((worker, _)) = self.recalls.remove(&token) else { return false };
        if let Some(loan) = self.lent.get(&worker) {
            let text = format!("{} could not be told that {worker} is recalled: {reason}", loan.name);
            desk.log(crate::core::LogLevel::Warn, text);
        }
        true
    }
}
