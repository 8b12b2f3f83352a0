//! What is agreed on about workers: who has adopted whom, and who has lent whom (design.md, section 8).
//!
//! An adoption advances the generation of a worker's epoch, which nothing else does. So the record of one stays for ever, and an owner
//! that was cut off meanwhile is outranked whenever it comes back. A loan stays until its end is written.

use std::collections::{BTreeMap, VecDeque};

use super::Refusal;
use crate::wire::{
    Adoption, Json, JsonReader, JsonWriter, LentWorker, LoanId, MAX_ADOPTED_WORKERS, MAX_LOANS, MAX_QUOTE, ServerId,
    quote,
};

/// Loans whose end is remembered: those of some minutes at the rate of a busy group, and a beginning is late by seconds.
const MAX_ENDED: usize = 1024;

/// Adoptions and loans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Farms {
    /// The latest adoption of each worker.
    adopted: BTreeMap<ServerId, Adoption>,
    /// The loans whose end is not written.
    loans: BTreeMap<LoanId, LentWorker>,
    /// The loans whose end was written last, oldest first: a beginning that comes behind its end begins nothing.
    ended: VecDeque<LoanId>,
}

impl Farms {
    /// The latest adoption of a worker.
    pub(super) fn adoption(&self, worker: &ServerId) -> Option<&Adoption> {
        self.adopted.get(worker)
    }

    /// The loans, by id.
    pub(super) fn loans(&self) -> impl Iterator<Item = &LentWorker> {
        self.loans.values()
    }

    /// Why this adoption changes nothing. `is_member`: whether a master belongs to the group.
    pub(super) fn check_adopt(&self, new: &Adoption, is_member: impl Fn(&ServerId) -> bool) -> Result<(), Refusal> {
        let worker = quote(new.worker.as_str(), MAX_QUOTE);
        if !is_member(&new.owner) {
            return Err(contradicts(format!("`OWNER`: {} is no member of the group", new.owner)));
        }
        if new.owner == new.from {
            return Err(contradicts(format!("`OWNER`: {} owns the worker {worker} already", new.owner)));
        }
        match self.adopted.get(&new.worker) {
            Some(old) if old.owner != new.from => {
                Err(contradicts(format!("`FROM`: the worker {worker} belongs to {}", old.owner)))
            }
            Some(old) if old.generation + 1 != new.generation => {
                let next = old.generation + 1;
                Err(contradicts(format!("`GENERATION`: expected {next} for the worker {worker}")))
            }
            Some(_) => Ok(()),
            // Nobody else may have given it a generation: only a ledger does, and there is none of another group in this one.
            None if new.generation != 1 => {
                Err(contradicts(format!("`GENERATION`: expected 1 for the worker {worker}, which nobody has adopted")))
            }
            None if !is_member(&new.from) => {
                Err(contradicts(format!("`FROM`: {} is no member of the group, its workers stay its own", new.from)))
            }
            None if self.adopted.len() >= MAX_ADOPTED_WORKERS => {
                Err(Refusal::Full(format!("{MAX_ADOPTED_WORKERS} workers are adopted, no more are")))
            }
            None => Ok(()),
        }
    }

    /// Carries out an adoption that [`Farms::check_adopt`] allows. Loans of the former owner are over.
    pub(super) fn adopt(&mut self, new: &Adoption) {
        self.loans.retain(|_, loan| loan.worker != new.worker);
        self.adopted.insert(new.worker.clone(), new.clone());
    }

    /// Why this loan is not written.
    pub(super) fn check_lend(&self, loan: &LentWorker, is_member: impl Fn(&ServerId) -> bool) -> Result<(), Refusal> {
        let worker = quote(loan.worker.as_str(), MAX_QUOTE);
        if !is_member(&loan.owner) {
            return Err(contradicts(format!("`OWNER`: {} is no member of the group", loan.owner)));
        }
        if loan.owner == loan.borrower {
            return Err(contradicts("`BORROWER`: expected another than the owner"));
        }
        let (owner, generation) =
            self.adopted.get(&loan.worker).map_or((&loan.owner, 0), |it| (&it.owner, it.generation));
        if *owner != loan.owner || generation != loan.epoch.generation {
            return Err(contradicts(format!(
                "`EPOCH`: the worker {worker} belongs to {owner}, in generation {generation}"
            )));
        }
        match self.loans.get(&loan.loan_id) {
            // Its owner has given another order about it since, and did not hear that it was agreed on before.
            Some(known) if LentWorker { epoch: known.epoch, ..loan.clone() } == *known => Ok(()),
            Some(_) => Err(contradicts(format!("`LOAN_ID`: {} is another loan", loan.loan_id))),
            None if self.ended.contains(&loan.loan_id) => {
                Err(contradicts(format!("`LOAN_ID`: {} is over", loan.loan_id)))
            }
            None if self.loans.len() >= MAX_LOANS => {
                Err(Refusal::Full(format!("{MAX_LOANS} loans are open, no more are written")))
            }
            None => Ok(()),
        }
    }

    /// Writes a loan that [`Farms::check_lend`] allows. An older one of the same worker is over by it.
    pub(super) fn lend(&mut self, loan: &LentWorker) {
        let known = self.loans.get(&loan.loan_id).map_or(loan.epoch, |known| known.epoch.max(loan.epoch));
        self.loans.retain(|_, other| other.worker != loan.worker);
        self.loans.insert(loan.loan_id.clone(), LentWorker { epoch: known, ..loan.clone() });
    }

    /// Writes the end of a loan, known or not: its beginning may be on its way.
    pub(super) fn end(&mut self, loan_id: &LoanId) {
        self.loans.remove(loan_id);
        if self.ended.contains(loan_id) {
            return;
        }
        self.ended.push_back(loan_id.clone());
        if self.ended.len() > MAX_ENDED {
            self.ended.pop_front();
        }
    }

    /// Loans of masters that are gone are over.
    pub(super) fn drop_loans_of_others(&mut self, is_member: impl Fn(&ServerId) -> bool) {
        self.loans.retain(|_, loan| is_member(&loan.owner));
    }

    /// Writes all lists.
    pub(super) fn write<'o>(&self, object: JsonWriter<'o>) -> JsonWriter<'o> {
        let object = object.list("ADOPTED", self.adopted.values(), |adoption, out| {
            out.push('\n');
            adoption.to_json(out);
        });
        let object = object.list("LOANS", self.loans.values(), |loan, out| {
            out.push('\n');
            loan.to_json(out);
        });
        object.list("ENDED", &self.ended, |loan_id, out| out.push_str(Json::string(loan_id.as_str()).as_str()))
    }

    /// What was written. The error names the field.
    pub(super) fn read(object: &JsonReader<'_>) -> Result<Farms, String> {
        let mut farms = Farms::default();
        for text in object.list("ADOPTED")? {
            let adoption = Adoption::from_json(text).map_err(|error| format!("`ADOPTED`: {error}"))?;
            if farms.adopted.insert(adoption.worker.clone(), adoption).is_some() {
                return Err("`ADOPTED`: expected each `WORKER_UUID` once".to_owned());
            }
        }
        for text in object.list("LOANS")? {
            let loan = LentWorker::from_json(text).map_err(|error| format!("`LOANS`: {error}"))?;
            if farms.loans.insert(loan.loan_id.clone(), loan).is_some() {
                return Err("`LOANS`: expected each `LOAN_ID` once".to_owned());
            }
        }
        for text in object.list("ENDED")? {
            let loan_id = serde_json::from_str::<String>(text).ok().and_then(LoanId::new);
            farms.ended.push_back(loan_id.ok_or("`ENDED`: expected the ids of loans")?);
        }
        Ok(farms)
    }

    /// What always holds. The error is one sentence.
    pub(super) fn check_invariants(&self) -> Result<(), String> {
        if self.adopted.len() > MAX_ADOPTED_WORKERS || self.loans.len() > MAX_LOANS {
            return Err(format!("`ADOPTED`, `LOANS`: expected at most {MAX_ADOPTED_WORKERS} and {MAX_LOANS}"));
        }
        if self.ended.len() > MAX_ENDED {
            return Err(format!("`ENDED`: expected at most {MAX_ENDED}"));
        }
        if let Some(loan_id) = self.ended.iter().find(|loan_id| self.loans.contains_key(*loan_id)) {
            return Err(format!("`ENDED`: `{loan_id}`: expected a loan that does not go on"));
        }
        if self.adopted.values().any(|it| it.generation == 0 || it.owner == it.from) {
            return Err("`ADOPTED`: expected a `GENERATION` of 1 or more, and another `OWNER` than `FROM`".to_owned());
        }
        let mut workers = std::collections::BTreeSet::new();
        for loan in self.loans.values() {
            let (owner, generation) =
                self.adopted.get(&loan.worker).map_or((&loan.owner, 0), |it| (&it.owner, it.generation));
            if *owner != loan.owner || generation != loan.epoch.generation || loan.owner == loan.borrower {
                return Err(format!("`LOANS`: `{}`: expected a loan by the owner of its worker", loan.loan_id));
            }
            if !workers.insert(&loan.worker) {
                return Err(format!("`LOANS`: `{}`: expected each worker to be lent once", loan.loan_id));
            }
        }
        Ok(())
    }
}

fn contradicts(sentence: impl Into<String>) -> Refusal {
    Refusal::Contradicts(sentence.into())
}
