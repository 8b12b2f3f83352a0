//! Where a worker belongs, and where it is told to be: its owner, the highest epoch that it has seen, the loan on which it is away.
//!
//! ```text
//!   home ── REDIRECT of its owner, a higher epoch ──> moving ──> at the borrower, for a lease ──┐
//!    ^                                                  what runs is finished first            │
//!    └──────── RETURN, the lease is over, or the borrower cannot be reached ────────────────────┘
//!
//!   the owner is gone: the masters that are configured, then the failover list. There it is a guest, until one adopts it
//! ```
//!
//! A native owner is obeyed by epoch: an order that is not higher than all before is ignored (design.md, section 8). A borrower may always
//! send home whom it has; what runs is finished, or stopped after a grace. The lease is the worker's own business: it counts from when
//! it *asked*, so that it ends here before its owner counts it as ended.

use std::time::Duration;

use super::phases::{Owner, Place, Worker};
use super::{Effect, Standing};
use crate::core::LogLevel;
use crate::core::loans::longest_stay;
use crate::time::{Seconds, Time};
use crate::wire::{Address, Body, Epoch, EventKind, LoanId, MoveKind, ServerId, Terms, WorkerMove};

/// How long a worker whose lease is over goes on with what it runs: what is nearly done is not done twice for nothing.
const GRACE: Duration = Duration::from_secs(10);

/// What is seen of a worker from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BondView {
    /// The highest order that it has seen.
    pub(crate) epoch: Option<Epoch>,
    /// Its native owner, once it is known.
    pub(crate) owner: Option<ServerId>,
    /// The loan on which it is where it is.
    pub(crate) loan_id: Option<LoanId>,
    /// The master that has taken it.
    pub(crate) at: Option<Address>,
}

/// Where a worker belongs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Bond {
    /// The highest order that it has seen.
    pub(super) epoch: Option<Epoch>,
    /// Its native owner, once it is known.
    pub(super) owner: Option<ServerId>,
    /// Where it is at home.
    pub(super) home: Option<Address>,
    /// On which loan it is, or goes.
    pub(super) loan: Option<Loan>,
    /// What it was told and does once nothing runs.
    pub(super) moving: Option<Moving>,
    /// Whom it calls next, before all others.
    pub(super) next: Option<Address>,
}

/// A loan, as its worker sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Loan {
    /// `None`, of a foreign owner.
    pub(super) id: Option<LoanId>,
    /// How long each lease is.
    lease: Option<Duration>,
    /// When it is over ([`Time::FAR`]: never by itself).
    pub(super) until: Time,
    /// Until when a stranger's signs of life may make it go on.
    last: Time,
    /// Who has borrowed it.
    pub(super) at: Address,
    /// It is still to register there before it asks for work.
    pub(super) registers: bool,
}

/// A move that is due.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Moving {
    target: Address,
    loan: Option<Loan>,
    /// When what still runs is stopped.
    until: Time,
}

impl Bond {
    /// When something is due.
    pub(super) fn deadline(&self) -> Time {
        let loan = self.loan.as_ref().filter(|_| self.moving.is_none()).map_or(Time::FAR, |loan| loan.until);
        loan.min(self.moving.as_ref().map_or(Time::FAR, |moving| moving.until))
    }

    /// How long the lease still goes on; `None`: there is none that ends by itself.
    pub(super) fn rest_of_lease(&self, now: Time) -> Option<Duration> {
        self.loan.as_ref().filter(|loan| loan.until < Time::FAR).map(|loan| loan.until.since(now))
    }

    /// Whose it is, as it says at the master at `address`: nothing at home.
    pub(super) fn owner_said_at(&self, address: &Address) -> Option<String> {
        let owner = || self.owner.as_ref().map(|owner| owner.as_str().to_owned());
        match &self.home {
            Some(home) if home == address => None,
            Some(home) => owner().or_else(|| Some(home.to_string())),
            None => owner(),
        }
    }

    /// What it says of itself before it asks for work at this address, once; `None`: nothing.
    pub(super) fn registration_at(&self, address: &Address) -> Option<(Option<Address>, Option<String>)> {
        self.loan.as_ref().filter(|loan| loan.at == *address && loan.registers)?;
        Some((self.home.clone(), self.owner_said_at(address)))
    }

    /// It has registered at this address.
    pub(super) fn has_registered(&mut self) {
        if let Some(loan) = &mut self.loan {
            loan.registers = false;
        }
    }

    /// The id of the loan on which it is at this address.
    pub(super) fn loan_at(&self, address: &Address) -> Option<LoanId> {
        self.loan.as_ref().filter(|loan| loan.at == *address).and_then(|loan| loan.id.clone())
    }
}

impl Worker {
    /// Why it is not where it belongs; `None`: it is there, or belongs nowhere yet.
    pub(in crate::core) fn away_from_home(&self) -> Option<String> {
        let home = self.bond.home.as_ref()?;
        match &self.place {
            Place::Tied(tie) if tie.address == *home && tie.joined => None,
            Place::Tied(tie) => Some(format!("it is with {}, and belongs to {home}", tie.address)),
            Place::Gone => None,
            Place::Nowhere { .. } | Place::Seeking => Some(format!("it is with nobody, and belongs to {home}")),
        }
    }

    /// Why it is where it is: how it stands with its master, whose it is, its loan and what is left of its lease.
    pub(in crate::core) fn why(&self, now: Time) -> String {
        let Standing { phase, master, running, reason } = self.state();
        let mut why = format!("{phase}: {reason}");
        if let Some(master) = &master {
            why.push_str(&format!("; its master is {master}, for which it runs {running}"));
        }
        match (&self.bond.owner, &self.bond.home) {
            (_, Some(home)) if master.as_ref() == Some(home) => why.push_str("; it is at home there"),
            (Some(owner), Some(home)) => why.push_str(&format!("; it belongs to {owner}, at home at {home}")),
            (Some(owner), None) => why.push_str(&format!("; it belongs to {owner}")),
            (None, Some(home)) => why.push_str(&format!("; it is at home at {home}")),
            (None, None) => {}
        }
        if let Some(loan) = &self.bond.loan {
            let id = loan.id.as_ref().map_or(String::new(), |id| format!(" {id}"));
            let rest = match self.bond.rest_of_lease(now) {
                Some(rest) => format!("{} s of its lease left", Seconds(rest)),
                None => "open-ended".to_owned(),
            };
            why.push_str(&format!("; lent to {} on loan{id}, {rest}", loan.at));
        }
        if let Some(moving) = &self.bond.moving {
            why.push_str(&format!("; about to go to {}", moving.target));
        }
        why
    }

    /// A look at where it belongs and where it is, for who checks the laws of loans.
    pub(in crate::core) fn bond_view(&self) -> BondView {
        let tie = match &self.place {
            Place::Tied(tie) => Some(tie),
            _ => None,
        };
        BondView {
            epoch: self.bond.epoch,
            owner: self.bond.owner.clone(),
            loan_id: tie.and_then(|tie| self.bond.loan_at(&tie.address)),
            at: tie.filter(|tie| tie.joined).map(|tie| tie.address.clone()),
        }
    }

    /// Whether it takes nothing new: it drains, or is about to move.
    pub(super) fn takes_nothing(&self) -> bool {
        self.draining.is_some() || self.bond.moving.is_some()
    }

    /// A native master at `address`, `server_id`, has said how this worker stands with it, in answer to what was said at `said`.
    pub(super) fn bound(&mut self, server_id: &ServerId, terms: Option<Terms>, said: Time) {
        let Some(address) = self.tie().map(|tie| tie.address.clone()) else { return };
        // One that says nothing of owners lends nothing: whoever works there is its own.
        let terms = terms.unwrap_or_else(|| Terms {
            owner: server_id.clone(),
            owner_address: None,
            epoch: self.bond.epoch.unwrap_or_default(),
            loan_id: None,
            lease: None,
        });
        if terms.epoch < self.bond.epoch.unwrap_or_default() {
            // It has not heard of the latest order yet.
            return;
        }
        self.bond.epoch = Some(terms.epoch);
        if terms.owner == *server_id {
            (self.bond.owner, self.bond.home, self.bond.loan) = (Some(terms.owner), Some(address), None);
            return;
        }
        self.bond.owner = Some(terms.owner);
        if let Some(home) = terms.owner_address {
            self.bond.home = Some(home);
        } else if self.bond.home.as_ref() == Some(&address) {
            // What was at home here belongs to somebody else by now.
            self.bond.home = None;
        }
        let until = terms.lease.map_or(Time::FAR, |lease| said + lease);
        match &mut self.bond.loan {
            Some(loan) if loan.at == address => {
                loan.until = until;
                loan.id = terms.loan_id.or(loan.id.take());
            }
            _ => {
                self.bond.loan = (terms.loan_id).map(|id| Loan {
                    id: Some(id),
                    lease: terms.lease,
                    until,
                    last: said + longest_stay(terms.lease.unwrap_or_default()),
                    at: address,
                    registers: false,
                });
            }
        }
    }

    /// The master at `address` has given a sign of life: a stranger's renews the lease, since it says nothing of leases itself.
    pub(super) fn renewed_by_life(&mut self, address: &Address, now: Time) {
        let stranger = matches!(&self.owner, Some(Owner::Foreign(at)) if at == address);
        if let Some(loan) = self.bond.loan.as_mut().filter(|loan| stranger && loan.at == *address)
            && let Some(lease) = loan.lease
        {
            loan.until = (now + lease).min(loan.last);
        }
    }

    /// The master of the session tells where to go.
    pub(super) fn moved(&mut self, order: WorkerMove, now: Time) {
        let Place::Tied(tie) = &self.place else { return };
        let here = tie.address.clone();
        let is_home = self.bond.home.as_ref().is_none_or(|home| *home == here);
        let Some(native) = order.native else { return self.moved_by_stranger(&here, is_home, order, now) };
        let seen = self.bond.epoch.unwrap_or_default();
        let its_loan = native.loan_id.is_some() && native.loan_id == self.bond.loan_at(&here);
        // Who has it may always let it go; a higher epoch is the owner's own word.
        let let_go = order.kind == MoveKind::Return && !is_home && (its_loan || native.loan_id.is_none());
        if native.epoch == seen && (self.bond.moving.is_some() || !let_go) {
            // Said again.
            return;
        }
        if native.epoch < seen {
            let text = format!("an order with epoch {} is ignored: epoch {seen} was seen", native.epoch);
            return self.disobeys(text);
        }
        self.bond.epoch = Some(native.epoch);
        self.bond.owner = Some(native.owner.clone());
        let until = native.grace.map_or(Time::FAR, |grace| now + grace);
        match order.kind {
            MoveKind::Return => {
                let home = order.target.or(self.bond.home.clone());
                self.bond.home = home.clone();
                match home {
                    Some(home) => self.begin_move(home, None, until, "it is sent home", now),
                    None => self.disobeys("it is sent home, but nobody says where that is".to_owned()),
                }
            }
            MoveKind::Redirect => {
                if matches!(&self.owner, Some(Owner::Native(id)) if order.target_id.as_ref() == Some(id)) {
                    // Where it is already: only whom it belongs to has changed.
                    (self.bond.home, self.bond.loan, self.bond.moving) = (Some(here), None, None);
                    let text = format!("it belongs to the master here now, epoch {}", native.epoch);
                    self.log(LogLevel::Info, text.clone());
                    self.effect(Effect::Decided { text });
                    return self.refresh(now);
                }
                let Some(target) = order.target else { return };
                let loan = native.loan_id.map(|id| {
                    let until = native.lease.map_or(Time::FAR, |lease| now + lease);
                    Loan {
                        id: Some(id),
                        lease: native.lease,
                        until,
                        last: now + longest_stay(native.lease.unwrap_or_default()),
                        at: target.clone(),
                        registers: order.registers,
                    }
                });
                match &loan {
                    Some(_) if is_home => self.bond.home = Some(here),
                    Some(_) => {}
                    // Another owner.
                    None => self.bond.home = Some(target.clone()),
                }
                let why = if loan.is_some() { "it is lent" } else { "it has another owner" };
                self.begin_move(target, loan, until, why, now);
            }
        }
    }

    /// A foreign master calls this worker to tell it where to go, instead of waiting until it asks. `false`: it is not the master that has it.
    pub(in crate::core) fn called(&mut self, order: WorkerMove, now: Time) -> bool {
        let Place::Tied(tie) = &self.place else { return false };
        // Native masters give their orders on the session link, with an epoch.
        if order.native.is_some() || !tie.joined || matches!(self.owner, Some(Owner::Native(_))) {
            return false;
        }
        self.moved(order, now);
        self.tick(now);
        true
    }

    /// The same of a foreign master, which knows no epochs: its own workers it may send anywhere, others only home.
    fn moved_by_stranger(&mut self, here: &Address, is_home: bool, order: WorkerMove, now: Time) {
        match (order.kind, order.target) {
            (MoveKind::Redirect, Some(target)) if is_home && target != *here => {
                self.bond.home = Some(here.clone());
                let (lease, registers) = (None, order.registers);
                let loan = Loan { id: None, lease, until: Time::FAR, last: Time::FAR, at: target.clone(), registers };
                self.begin_move(target, Some(loan), Time::FAR, "its master lends it", now);
            }
            (MoveKind::Return, target) if !is_home => {
                if let Some(home) = self.bond.home.clone().or(target) {
                    self.begin_move(home, None, Time::FAR, "it is sent home", now);
                }
            }
            (MoveKind::Redirect, _) => {
                let text =
                    format!("REDIRECT of the master at {here} is ignored: this worker is not its own, or is there");
                self.disobeys(text);
            }
            (MoveKind::Return, _) => {
                self.disobeys(format!("RETURN of the master at {here} is ignored: it is at home there"));
            }
        }
    }

    /// An order that is not obeyed: people are told why, and whoever asks WHY later.
    fn disobeys(&mut self, text: String) {
        self.log(LogLevel::Warn, text.clone());
        self.effect(Effect::Decided { text });
    }

    /// Finishes what runs, takes nothing new, and then goes.
    fn begin_move(&mut self, target: Address, loan: Option<Loan>, until: Time, why: &str, now: Time) {
        let running = self.jobs.running();
        let rest = if running > 0 { format!(", once the {running} that it runs are done") } else { String::new() };
        self.log(LogLevel::Info, format!("goes to {target}{rest}: {why}"));
        let text = format!("it goes to {target}{rest}: {why}");
        self.explain(text.clone());
        self.effect(Effect::Decided { text });
        self.bond.moving = Some(Moving { target, loan, until });
        if !self.jobs.is_idle() {
            self.refresh(now);
        }
    }

    /// Does what is due of leases and moves. Returns whether anything was.
    pub(super) fn tick_bond(&mut self, now: Time) -> bool {
        if self.draining.is_some() {
            return false;
        }
        if let Some(moving) = &self.bond.moving {
            if self.jobs.is_idle() || moving.until <= now {
                self.go(now);
                return true;
            }
            return false;
        }
        let Some(loan) = self.bond.loan.as_ref().filter(|loan| loan.until <= now) else { return false };
        let lease = Seconds(loan.lease.unwrap_or_default());
        let at_borrower = matches!(&self.place, Place::Tied(tie) if tie.address == loan.at);
        let Some(home) = self.bond.home.clone() else {
            self.bond.loan = None;
            return true;
        };
        if at_borrower {
            let why = format!("its lease of {lease} s is over and was not renewed");
            if let Some(loan) = &mut self.bond.loan {
                loan.until = Time::FAR;
            }
            self.begin_move(home, None, now + GRACE, &why, now);
        } else {
            let text = format!(
                "it calls {home}, where it is at home: its lease of {lease} s was over before {} took it",
                loan.at
            );
            (self.bond.loan, self.bond.next) = (None, Some(home));
            self.effect(Effect::Decided { text });
        }
        true
    }

    /// Leaves the master that it is with, and calls the one that it was told to go to.
    fn go(&mut self, now: Time) {
        let Some(Moving { target, loan, .. }) = self.bond.moving.take() else { return };
        self.bond.loan = loan;
        if let Place::Tied(tie) = std::mem::replace(&mut self.place, Place::Nowhere { due: now }) {
            if tie.joined
                && let super::phases::Line::Up { link, stage: super::session::Stage::Native { .. }, .. } = &tie.line
            {
                self.send(*link, Body::Leave { server_id: self.me.clone() });
            }
            self.untie(*tie, EventKind::WorkerLeft, format!("goes to {target}"));
        }
        self.stop_all();
        self.choose(target, None, now);
    }

    /// A master was given up: where the way leads next. The borrower's end is the end of the loan, and a move that waited is not waited for.
    pub(super) fn lost_master(&mut self, address: &Address) {
        if let Some(moving) = self.bond.moving.take() {
            (self.bond.loan, self.bond.next) = (moving.loan, Some(moving.target));
            return;
        }
        let away = self.bond.home.as_ref().is_some_and(|home| home != address);
        if away && self.bond.loan.take().is_some() {
            self.bond.next = self.bond.home.clone();
            self.effect(Effect::Decided { text: format!("it goes home: its borrower at {address} is lost") });
        }
    }
}
