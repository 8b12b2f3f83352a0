//! What the group is to know of loans: their beginnings, before the borrower is answered where that is possible, and their ends, after the fact.
//!
//! Nothing waits for it longer than [`AGREE_WITHIN`]. What was not agreed on is proposed again: beginnings while the loan goes on, ends until
//! the group knows. A beginning of which the group may know, though it did not say so, has its end recorded, too.
//!
//! After a start the ledger is all that tells of the loans of before. None of them is renewed; until its worker is home, or could have been used no
//! longer, each is shown as on its way.

use super::{Lent, Owner, Record, Renewal, Stage};
use crate::core::loans::desk::Desk;
use crate::core::loans::{
    Effect, LoanEvent, MAX_LOANS, MAX_PROPOSED, MAX_UNRECORDED, PROPOSE_AGAIN, Party, Proposal, Unagreed,
};
use crate::time::Time;
use crate::wire::{LentWorker, LoanId, LoanRecord, ServerId};

#[cfg(doc)]
use crate::core::loans::AGREE_WITHIN;

/// What a proposal is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Proposed {
    /// A loan begins.
    Lend {
        worker: ServerId,
        loan_id: LoanId,
        /// The group may know of it from an earlier proposal.
        unsure: bool,
    },
    /// It is over.
    End { loan_id: LoanId, reason: String },
}

impl Owner {
    /// What has become of a proposal.
    pub(in crate::core::loans) fn agreed(
        &mut self,
        desk: &mut Desk,
        proposal: Proposal,
        outcome: Result<u64, Unagreed>,
        now: Time,
    ) {
        match self.proposed.remove(&proposal) {
            None => {}
            Some(Proposed::End { .. }) if outcome.is_ok() => {}
            Some(Proposed::End { loan_id, reason }) => self.end_due(loan_id, reason, now),
            Some(Proposed::Lend { worker, loan_id, unsure }) => {
                let unsure = unsure || matches!(outcome, Err(Unagreed::Unknown(_)));
                let Some(loan) = self.lent.get_mut(&worker).filter(|loan| loan.loan_id == loan_id) else {
                    if outcome.is_ok() || unsure {
                        let reason = "it was over before it was agreed on".to_owned();
                        self.record_end(desk, loan_id, reason);
                    }
                    return;
                };
                match outcome {
                    Ok(_) => loan.record = Record::Agreed,
                    Err(Unagreed::Never(reason) | Unagreed::Unknown(reason)) => {
                        (loan.record, loan.unsure) = (Record::Due, unsure);
                        self.lends_due.insert(worker.clone());
                        self.propose_at.get_or_insert(now + PROPOSE_AGAIN);
                        desk.decided(worker.as_str(), format!("loan {loan_id} is not agreed on: {reason}"));
                    }
                }
                if let Some(Stage::Proposed { deal }) = self.lent.get(&worker).map(|loan| &loan.stage) {
                    let deal = *deal;
                    self.deal_moves(desk, deal, now);
                }
            }
        }
    }

    /// Asks the group to note the end of a loan.
    pub(super) fn record_end(&mut self, desk: &mut Desk, loan_id: LoanId, reason: String) {
        let proposal = desk.proposal();
        let record = LoanRecord::End { loan_id: loan_id.clone(), reason: reason.clone() };
        desk.push(Effect::Propose { proposal, record });
        self.proposed.insert(proposal, Proposed::End { loan_id, reason });
    }

    fn end_due(&mut self, loan_id: LoanId, reason: String, now: Time) {
        if self.ends_due.len() >= MAX_UNRECORDED {
            // Those that are dropped stand in the ledger, and are found there.
            self.ends_due.pop_first();
        }
        self.ends_due.insert(loan_id, reason);
        self.propose_at.get_or_insert(now + PROPOSE_AGAIN);
    }

    /// Proposes what the group did not agree on before.
    pub(super) fn propose_due(&mut self, desk: &mut Desk, now: Time) {
        if self.propose_at.is_none_or(|due| due > now) {
            return;
        }
        for _ in self.proposed.len()..MAX_PROPOSED {
            if let Some((loan_id, reason)) = self.ends_due.pop_first() {
                self.record_end(desk, loan_id, reason);
            } else if let Some(worker) = self.lends_due.pop_first() {
                let Some(loan) = self.lent.get_mut(&worker) else { continue };
                loan.record = Record::Asked;
                let proposal = desk.proposal();
                let entry = loan.entry(&worker, &desk.own.server_id, desk.config.lease);
                let (loan_id, unsure) = (loan.loan_id.clone(), loan.unsure);
                desk.push(Effect::Propose { proposal, record: LoanRecord::Lend(entry) });
                self.proposed.insert(proposal, Proposed::Lend { worker, loan_id, unsure });
            } else {
                break;
            }
        }
        let due = !self.lends_due.is_empty() || !self.ends_due.is_empty();
        self.propose_at = due.then(|| now + PROPOSE_AGAIN);
    }

    /// These loans of this owner stand in the ledger. `here`: whether an own worker is at home.
    pub(in crate::core::loans) fn in_ledger(
        &mut self,
        desk: &mut Desk,
        loans: &[LentWorker],
        here: impl Fn(&ServerId) -> bool,
        now: Time,
    ) {
        let open = |id: &LoanId| loans.iter().any(|loan| loan.loan_id == *id);
        let over = |loan: &Lent| loan.remembered && !open(&loan.loan_id);
        let over: Vec<ServerId> = self.lent.iter().filter(|(_, loan)| over(loan)).map(|(who, _)| who.clone()).collect();
        for worker in over {
            self.end(desk, &worker, LoanEvent::LoanEnded, "it is over, as the ledger says", now);
        }
        for loan in loans {
            let id = &loan.loan_id;
            let told = |one: &Proposed| matches!(one, Proposed::End { loan_id, .. } if loan_id == id);
            let known = self.by_id.contains_key(id) || self.ends_due.contains_key(id);
            if known || self.proposed.values().any(told) {
                continue;
            }
            let elsewhere = !self.lent.contains_key(&loan.worker) && !here(&loan.worker);
            if elsewhere && desk.is_of_before(loan.epoch.counter) && self.lent.len() < MAX_LOANS {
                self.remember(desk, loan, now);
                continue;
            }
            let reason = "its owner does not know it: it has been started anew since".to_owned();
            if self.proposed.len() < MAX_PROPOSED {
                self.record_end(desk, id.clone(), reason);
            } else {
                self.end_due(id.clone(), reason, now);
            }
        }
    }

    /// A loan of an earlier start, whose worker has not come home: it is not renewed, and so it is on its way.
    fn remember(&mut self, desk: &mut Desk, loan: &LentWorker, now: Time) {
        let name = loan.borrower.to_string();
        let reason =
            "this master was started anew, and counts from then: it is not renewed, and is on its way home".to_owned();
        desk.decided(loan.worker.as_str(), format!("loan {} to {name} stands in the ledger: {reason}", loan.loan_id));
        let lent = Lent {
            loan_id: loan.loan_id.clone(),
            // Nobody has written it. Whatever it is, its return is a return.
            native: false,
            services: Vec::new(),
            said: Some(loan.borrower.clone()),
            borrower: Party { peer: loan.borrower.clone(), address: None },
            name,
            dialect: None,
            ordered: loan.epoch,
            epoch: loan.epoch,
            since: now,
            stage: Stage::Returning { until: now + loan.lease + desk.margin() },
            lease: now + loan.lease,
            renewal: Renewal::Lease,
            here: false,
            record: Record::Agreed,
            unsure: false,
            remembered: true,
            reason,
        };
        self.note(&loan.worker, loan.epoch, false);
        self.begin(&loan.worker, lent);
        self.settle(desk, &loan.worker);
    }
}
