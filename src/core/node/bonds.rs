//! Whom workers belong to: what a worker that comes is told, and what is done for those whose owner is gone.
//!
//! ```text
//!   an orphan registers here          its owner is TIMEOUT for --forget-owner      the ledger has it
//!   ───────────────────────> guest ─────────────────────────────────────────> ADOPT ─────────────> sent to its new owner
//!                             │ its owner is ALIVE again
//!                             └──────────────────────────> sent home
//! ```

use std::time::Duration;

use super::Node;
use crate::core::LogLevel;
use crate::core::farm::Guest;
use crate::time::{Seconds, Time};
use crate::wire::{
    Address, Adoption, Body, Epoch, EventKind, LoanAction, MAX_ADOPTED, MoveKind, NativeMove, Orphan, ServerId, Status,
    Terms, WorkerAlive, WorkerMove,
};

/// Pause after a request for adoption that was refused, before the next.
const AGAIN: Duration = Duration::from_secs(5);

/// What a master is about with the workers of others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Bonds {
    /// When it looks at its guests next.
    look: Time,
    /// The mark of its request for adoption that is not answered.
    asked: Option<u64>,
    /// Marks that were given.
    marks: u64,
}

impl Bonds {
    /// The mark of something that the group is asked.
    pub(super) fn mark(&mut self) -> u64 {
        self.marks += 1;
        self.marks
    }
}

/// How a master stands that somebody belongs to.
enum Owner {
    /// ALIVE, and where it is called.
    Alive(Address),
    /// Not ALIVE, for so long.
    Gone(Duration),
    /// Nothing is known of it here.
    Unknown,
}

impl Node {
    /// What a native worker that says ALIVE is told of whom it belongs to.
    pub(super) fn terms_for(&self, alive: &WorkerAlive) -> Option<Terms> {
        let seen = alive.native.as_ref()?.epoch.unwrap_or_default();
        let own_id = &self.identity.server_id;
        let adoption = self.group.as_ref().and_then(|group| group.adoption(&alive.worker));
        // It may have seen a later one than this node has heard of; then its own word counts.
        let (owner, epoch) = match adoption.filter(|it| it.generation >= seen.generation) {
            Some(it) => (it.owner.clone(), seen.max(Epoch { generation: it.generation, counter: 0 })),
            None => {
                let said = alive.owner.as_deref().and_then(ServerId::new);
                (said.unwrap_or_else(|| own_id.clone()), seen)
            }
        };
        let owner_address = if owner == *own_id { None } else { self.address_of(&owner) };
        Some(Terms { owner, owner_address, epoch, loan_id: None, lease: None })
    }

    /// Where a master is called, as far as this node knows.
    fn address_of(&self, master: &ServerId) -> Option<Address> {
        let known = self.registry.standing_of(master, self.now).map(|(_, _, address)| address);
        known.or_else(|| self.group.as_ref().and_then(|group| group.member_address(master)))
    }

    fn owner(&self, master: &ServerId) -> Owner {
        match self.registry.standing_of(master, self.now) {
            Some((Status::Alive, _, address)) => Owner::Alive(address),
            Some((_, silent, _)) => Owner::Gone(silent),
            None => Owner::Unknown,
        }
    }

    /// When [`Node::look_at_guests`] has something to do.
    pub(super) fn bonds_deadline(&self) -> Option<Time> {
        let waits = self.worker.is_none() && self.farm.has_guests();
        // Never in the past: that would look as if this process had not run.
        waits.then(|| self.bonds.look.max(self.now))
    }

    /// Sends home whose owner is back, and asks the group to adopt whose owner is gone for good.
    pub(super) fn look_at_guests(&mut self, now: Time) {
        if self.worker.is_some() || now < self.bonds.look || !self.farm.has_guests() {
            return;
        }
        self.bonds.look = now + self.config.interval;
        let guests: Vec<Guest> =
            self.farm.guests().filter(|guest| !guest.goes && guest.terms.loan_id.is_none()).collect();
        let mut orphans = Vec::new();
        for Guest { worker, terms, .. } in guests {
            match self.owner(&terms.owner) {
                Owner::Alive(address) => self.send_to_owner(&worker, &terms, address, now),
                Owner::Gone(silent) if silent >= self.config.forget_owner => {
                    if self.group.as_ref().is_some_and(|group| group.has_member(&terms.owner)) {
                        let (owner, generation) = (terms.owner.clone(), terms.epoch.generation);
                        orphans.push(Orphan { worker, owner, generation });
                    }
                }
                Owner::Gone(_) | Owner::Unknown => {}
            }
        }
        if orphans.is_empty() || self.bonds.asked.is_some() {
            return;
        }
        orphans.truncate(MAX_ADOPTED);
        let first = orphans[0].clone();
        let text = format!(
            "{} workers here have lost their owner for {} s, the first is {} of {}: the group is asked who adopts them",
            orphans.len(),
            Seconds(self.config.forget_owner),
            first.worker,
            first.owner
        );
        self.log(LogLevel::Info, text);
        let mark = self.bonds.mark();
        self.bonds.asked = Some(mark);
        let master = self.identity.server_id.clone();
        if let Some(group) = &mut self.group {
            group.ask(mark, LoanAction::Adopt { master, workers: orphans }, now);
        }
    }

    /// The group has answered what this node itself asked.
    pub(super) fn group_answered_itself(&mut self, mark: u64, body: &Body, now: Time) {
        if self.proposal_answered(mark, body, now) || self.bonds.asked != Some(mark) {
            return;
        }
        self.bonds.asked = None;
        if let Body::Error(error) = body {
            self.bonds.look = self.bonds.look.max(now + AGAIN);
            let (code, detail) = (error.code.as_str(), &error.detail);
            self.log(LogLevel::Info, format!("nobody adopts the orphans here yet: {code}: {detail}"));
        }
    }

    /// These workers have new owners, says the ledger.
    pub(super) fn adopted(&mut self, adoptions: Vec<Adoption>, now: Time) {
        let own_id = self.identity.server_id.clone();
        for adoption in adoptions {
            let Adoption { worker, from, owner, generation } = adoption;
            let here = self.farm.is_native(&worker);
            if owner != own_id && from != own_id && !here {
                continue;
            }
            let detail = format!("worker {worker} of {from} belongs to {owner} now, generation {generation}");
            self.decisions.note(worker.as_str().to_owned(), detail.clone(), now);
            self.event(EventKind::WorkerAdopted, Some(worker.clone()), None, detail);
            if let Some(desk) = self.desk.as_mut().filter(|_| from == own_id) {
                desk.loans.disowned(&worker, now);
            }
            if !here {
                continue;
            }
            let epoch = Epoch { generation, counter: 0 };
            let terms = Terms { owner: owner.clone(), owner_address: None, epoch, loan_id: None, lease: None };
            if owner == own_id {
                let order = self.order(MoveKind::Redirect, None, &terms);
                self.farm.rebind(&worker, order, terms, now);
            } else if let Some(address) = self.address_of(&owner) {
                self.send_to_owner(&worker, &terms, address, now);
            }
        }
    }

    /// Sends a worker to whom it belongs.
    fn send_to_owner(&mut self, worker: &ServerId, terms: &Terms, address: Address, now: Time) {
        let new = self.farm.terms_of(worker).is_none_or(|known| known.epoch < terms.epoch);
        // An owner that is back gets its own; one that is new says so by the epoch of its adoption.
        let kind = if new { MoveKind::Redirect } else { MoveKind::Return };
        let order = self.order(kind, Some(address), terms);
        let text = format!("worker {worker} is sent to {}, whom it belongs to", terms.owner);
        self.log(LogLevel::Info, text);
        self.farm.send_off(worker, order, now);
    }

    pub(super) fn order(&self, kind: MoveKind, target: Option<Address>, terms: &Terms) -> WorkerMove {
        let (loan_id, lease, stay, grace) = (None, None, None, None);
        let native = NativeMove { owner: terms.owner.clone(), epoch: terms.epoch, loan_id, lease, stay, grace };
        WorkerMove {
            kind,
            target,
            target_id: Some(terms.owner.clone()),
            target_name: None,
            native: Some(native),
            dialect: None,
            registers: false,
        }
    }
}
