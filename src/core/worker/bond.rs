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
//!
//! Who may say what, by where the worker is:
//!
//! | at | obeyed | believed of a welcome |
//! |---|---|---|
//! | home, or it belongs nowhere yet | each order that is higher than all before | whose it is, where that one is, the epoch |
//! | a borrower | RETURN that names the loan, not lower than the order that it obeyed: it goes where it knows its home to be | how much longer it may stay, within what its owner allowed |
//! | a master that has taken it as an orphan | RETURN without a loan; REDIRECT of a higher generation: it was adopted | a new owner of a higher generation; its owner itself, at another address |
//!
//! So nobody but its owner raises the counter of its epoch, and nobody but its owner, or the word of a ledger that reaches it at no borrower's,
//! says whose it is. One that is adopted while it is lent hears of it where it is at home, or as an orphan, when its lease is over.

use std::time::Duration;

use super::phases::{Owner, Place, Worker};
use super::{Effect, Standing};
use crate::core::LogLevel;
use crate::core::loans::longest_stay;
use crate::time::{Seconds, Time};
use crate::wire::{Address, Body, Epoch, EventKind, LoanId, MoveKind, NativeMove, ServerId, Terms, WorkerMove};

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
    /// How long each lease is. `None`, of a foreign owner: it ends by no lease.
    lease: Option<Duration>,
    /// When it is over ([`Time::FAR`]: never by itself).
    pub(super) until: Time,
    /// Until when a stranger may make it go on, by its signs of life or by what it says.
    last: Time,
    /// The borrower is a stranger to its native owner, whatever it speaks to this worker.
    stranger: bool,
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

    /// Whether it was lent to the master at this address, and is not at home there.
    pub(super) fn is_lent_to(&self, address: &Address) -> bool {
        self.loan.as_ref().is_some_and(|loan| loan.at == *address) && self.home.as_ref() != Some(address)
    }

    /// Whether that master is a stranger to its owner: one that it calls only because it was told to.
    pub(super) fn is_lent_to_stranger(&self, address: &Address) -> bool {
        self.is_lent_to(address) && self.loan.as_ref().is_some_and(|loan| loan.stranger)
    }

    /// Whether the master at `address`, `master` where it is native, is the one that it belongs to, or may become it.
    fn is_home(&self, address: &Address, master: Option<&ServerId>) -> bool {
        match &self.home {
            Some(home) => home == address,
            None => self.owner.is_none() || self.owner.as_ref() == master,
        }
    }

    /// What a borrower says of the stay, in answer to what was said at `said`. A lease that its owner gave goes on by it, for no longer at a time
    /// than the longest stay; at a stranger it ends then, whatever that one says.
    fn goes_on(&mut self, terms: &Terms, said: Time) {
        let Some(loan) = &mut self.loan else { return };
        let Some(lease) = loan.lease.filter(|_| terms.loan_id.is_none() || terms.loan_id == loan.id) else { return };
        loan.until = match terms.lease {
            Some(rest) if terms.loan_id.is_some() => said + rest.min(longest_stay(lease)),
            // It says nothing of leases: a sign of life.
            _ if loan.stranger => said + lease,
            _ => return,
        };
        if loan.stranger {
            loan.until = loan.until.min(loan.last);
        }
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
        let seen = self.bond.epoch.unwrap_or_default();
        if terms.epoch < seen {
            // It has not heard of the latest order yet.
            return;
        }
        if self.bond.is_lent_to(&address) {
            return self.bond.goes_on(&terms, said);
        }
        let itself = terms.owner == *server_id;
        let is_home =
            self.bond.is_home(&address, Some(server_id)) || (itself && self.bond.owner == Some(terms.owner.clone()));
        let adopted = terms.epoch.generation > seen.generation;
        if !is_home && !adopted && self.bond.owner.is_some() {
            // An orphan's host knows no more of its owner than it does itself.
            return;
        }
        if is_home || adopted || self.bond.owner.is_none() {
            self.bond.epoch = Some(terms.epoch);
        }
        if itself {
            // The order by which it was about to go, once it has ended what it runs, is void: a higher one was given since.
            if is_home && terms.epoch > seen && self.bond.moving.take().is_some() {
                let text = format!("it stays with the master here: its order to go is void by epoch {}", terms.epoch);
                self.log(LogLevel::Info, text.clone());
                self.effect(Effect::Decided { text });
            }
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
        let Some(native) = order.native.clone() else {
            let is_home = self.bond.home.as_ref().is_none_or(|home| *home == here);
            return self.moved_by_stranger(&here, is_home, order, now);
        };
        let master = if let Some(Owner::Native(master)) = &self.owner { Some(master) } else { None };
        let is_home = self.bond.is_home(&here, master);
        let seen = self.bond.epoch.unwrap_or_default();
        let until = native.grace.map_or(Time::FAR, |grace| now + grace);
        if native.epoch < seen {
            let text = format!("an order with epoch {} is ignored: epoch {seen} was seen", native.epoch);
            return self.disobeys(text);
        }
        if order.kind == MoveKind::Return && !is_home {
            return self.let_go(&here, order.target, &native, until, now);
        }
        if native.epoch == seen {
            // Said again.
            return;
        }
        // Elsewhere than at home only an adoption moves it, and not one of which a borrower tells.
        let adopted = native.loan_id.is_none() && native.epoch.generation > seen.generation;
        if !is_home && (!adopted || self.bond.is_lent_to(&here)) {
            let text = format!(
                "REDIRECT of the master at {here}, epoch {}, is ignored: this worker is not its own, and it tells of no adoption",
                native.epoch
            );
            return self.disobeys(text);
        }
        self.bond.epoch = Some(native.epoch);
        self.bond.owner = Some(native.owner.clone());
        let stays = match order.kind {
            MoveKind::Return => order.target.as_ref().is_none_or(|target| *target == here),
            MoveKind::Redirect => {
                matches!(&self.owner, Some(Owner::Native(id)) if order.target_id.as_ref() == Some(id))
            }
        };
        if stays {
            // Where it is already: only whom it belongs to has changed, or it was about to go and stays.
            (self.bond.home, self.bond.loan, self.bond.moving) = (Some(here), None, None);
            let text = format!("it belongs to the master here now, epoch {}", native.epoch);
            self.log(LogLevel::Info, text.clone());
            self.effect(Effect::Decided { text });
            return self.refresh(now);
        }
        let Some(target) = order.target else { return };
        if order.kind == MoveKind::Return {
            self.bond.home = Some(target.clone());
            return self.begin_move(target, None, until, "it is sent home", now);
        }
        let loan = native.loan_id.map(|id| {
            let lease = native.lease.unwrap_or_default();
            let last = now + native.stay.unwrap_or_else(|| longest_stay(lease));
            let stranger = native.stay.is_some() || order.registers;
            let until = native.lease.map_or(last, |lease| now + lease);
            let (lease, at, registers) = (native.lease, target.clone(), order.registers);
            Loan { id: Some(id), lease, until, last, stranger, at, registers }
        });
        let (home, why) = match &loan {
            Some(_) => (here, "it is lent"),
            None => (target.clone(), "it has another owner"),
        };
        self.bond.home = Some(home);
        self.begin_move(target, loan, until, why, now);
    }

    /// A native master that this worker does not belong to lets it go, by an order that is not lower than any that it has seen. Its epoch is not
    /// taken for one that was seen: of a recall, which the owner has given, the borrower only tells, and the welcome at home outranks it.
    fn let_go(&mut self, here: &Address, target: Option<Address>, native: &NativeMove, until: Time, now: Time) {
        let loan = self.bond.loan_at(here);
        if native.loan_id != loan {
            let named = |loan: &Option<LoanId>| loan.as_ref().map_or("no loan".to_owned(), |id| format!("loan {id}"));
            let (told, is) = (named(&native.loan_id), named(&loan));
            let text =
                format!("RETURN of the master at {here} is ignored: it names {told}, and this worker is there on {is}");
            return self.disobeys(text);
        }
        if let Some(moving) = &mut self.bond.moving {
            // Said again. It may have become more urgent.
            moving.until = moving.until.min(until);
            return;
        }
        // Who has found an orphan knows where its owner is now. Of a worker that was lent its borrower knows that from hearsay.
        let home = match self.bond.is_lent_to(here) {
            true => self.bond.home.clone().or(target),
            false => target.or(self.bond.home.clone()),
        };
        let Some(home) = home else {
            return self.disobeys("it is sent home, but nobody says where that is".to_owned());
        };
        self.bond.home = Some(home.clone());
        self.begin_move(home, None, until, "it is sent home", now);
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
                let (until, last, stranger, at) = (Time::FAR, Time::FAR, false, target.clone());
                let loan = Loan { id: None, lease, until, last, stranger, at, registers };
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
