//! The borrower's side: whom it asks, who is promised to it, and the guests that work here.
//!
//! ```text
//!   saturated ── neighbours ──> round: Ask, 5 s, the next ... ──> promises ── 10 s ──> forgotten
//!                                                                    │
//!      Active <── came ──────────────────────────────────────────────┘
//!        │ Renew at a third of the lease
//!        ├ load below release, or nothing here is for it ──> Giving (COMMAND_RELEASE, 2025/2) ──> Leaving ──> gone ── Notify
//!        ├ recalled, not renewed ──> Leaving, with grace ──> Stop
//!        └ lease over ──> Stop
//! ```
//!
//! A guest whose owner is TIMEOUT is not sent home because of the load: it serves out its lease here.
//!
//! A worker is a guest once at most. Whatever changes a guest ends with [`Borrower::settle`].

mod ask;
#[cfg(test)]
mod bring;
mod guests;
mod leave;
mod need;
mod spare;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::agenda::Agenda;
use super::desk::Desk;
use super::history::History;
use super::{MAX_LOANS, MAX_NEEDS, MAX_PROMISED, Saturation, Token};
use crate::time::Time;
use crate::wire::{LoanId, LoanState, LoanView, ServerId, Terms};

use ask::{Promise, Round, Unnamed};
use guests::{Renewing, Stage, Visit};
use leave::Giving;

/// Masters of which it is remembered that they are TIMEOUT.
const MAX_SILENT: usize = 1024;

/// Masters of which it is remembered that they speak 2025/2.
const MAX_OLDER: usize = 1024;

/// The borrower's side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Borrower {
    load: Saturation,
    /// Own workers that were recalled and are not home yet.
    recalled: u32,
    round: Option<Round>,
    promises: BTreeMap<ServerId, Promise>,
    /// Workers that were promised without a name.
    unnamed: Unnamed,
    /// No round before this.
    again: Time,
    /// Rounds in a row that came to nothing.
    fruitless: u32,
    /// Who has promised nobody since the last time that all were asked, where there are more than one round asks.
    passed: BTreeSet<ServerId>,
    /// What the last round came to, one sentence.
    outcome: String,
    guests: BTreeMap<ServerId, Visit>,
    agenda: Agenda,
    renewing: BTreeMap<Token, Renewing>,
    givings: BTreeMap<Token, Giving>,
    /// Numbers for guests whose loans have no id.
    next_guest: u64,
    /// Masters that have offered in the form of 2025/2 last, and want COMMAND_RELEASE first.
    older: BTreeSet<ServerId>,
    /// Masters that are TIMEOUT: nobody is sent home to them.
    silent: BTreeSet<ServerId>,
    over: History,
}

impl Borrower {
    pub(super) fn new(now: Time) -> Borrower {
        Borrower {
            load: Saturation::default(),
            recalled: 0,
            round: None,
            promises: BTreeMap::new(),
            unnamed: Unnamed::default(),
            again: now,
            fruitless: 0,
            passed: BTreeSet::new(),
            outcome: "nobody has been asked yet".to_owned(),
            guests: BTreeMap::new(),
            agenda: Agenda::default(),
            renewing: BTreeMap::new(),
            givings: BTreeMap::new(),
            next_guest: 0,
            older: BTreeSet::new(),
            silent: BTreeSet::new(),
            over: History::default(),
        }
    }

    /// Workers that the queue needs beside the own ones, the guests that can help, and those that are promised.
    pub(super) fn missing(&self) -> u32 {
        self.load.extra(self.load.pending).saturating_sub(self.coming(Visit::is_useful))
    }

    /// Guests that work here and are like this, and workers that are promised.
    fn coming(&self, fits: impl Fn(&Visit) -> bool) -> u32 {
        let here = self.guests.values().filter(|visit| visit.stage == Stage::Active && fits(visit)).count();
        let coming = here + self.promises.len() + self.unnamed.count() as usize;
        u32::try_from(coming).unwrap_or(u32::MAX)
    }

    /// How the queue stands. [`Borrower::comes_back`] follows.
    pub(super) fn load(&mut self, desk: &Desk, load: Saturation, now: Time) {
        if self.load.saturated && !load.saturated {
            self.fruitless = 0;
            self.passed.clear();
        }
        let others = !self.load.needs.iter().map(|need| &need.service).eq(load.needs.iter().map(|need| &need.service));
        self.load = load;
        if others {
            self.weigh_all(desk, now);
        }
    }

    /// The same, as it was told last.
    pub(super) fn queue(&self) -> &Saturation {
        &self.load
    }

    /// So many own workers were recalled and are on their way home.
    pub(super) fn comes_back(&mut self, desk: &mut Desk, recalled: u32, now: Time) {
        self.recalled = recalled;
        self.let_go_surplus(desk, now);
    }

    /// When [`Borrower::tick`] is due, or [`Borrower::wants_neighbours`] may turn true.
    pub(super) fn deadline(&self) -> Option<Time> {
        let ask = self.round.as_ref().and_then(Round::until);
        let promise = self.promises.values().map(|promise| promise.until).min();
        let unnamed = (self.unnamed.count() > 0).then_some(self.unnamed.until);
        let giving = self.givings.values().map(|giving| giving.until).min();
        let waits = self.lacks() && self.round.is_none() && self.promises.is_empty() && self.unnamed.count() == 0;
        let round = waits.then_some(self.again);
        [ask, promise, unnamed, giving, round, self.agenda.first()].into_iter().flatten().min()
    }

    pub(super) fn tick(&mut self, desk: &mut Desk, now: Time) {
        self.tick_round(desk, now);
        self.tick_givings(desk, now);
        let due = self.agenda.due(now);
        for worker in &due {
            self.due(desk, worker, now);
        }
        self.let_go_spare(desk, due, now);
        self.let_go_surplus(desk, now);
    }

    /// This process did not run for so long. What the others had to say meanwhile is waited for; leases go on.
    pub(super) fn excuse(&mut self, desk: &mut Desk, lost: Duration, now: Time) {
        if let Some(round) = &mut self.round {
            round.excuse(lost);
        }
        self.promises.values_mut().for_each(|promise| promise.until = promise.until + lost);
        self.givings.values_mut().for_each(|giving| giving.until = giving.until + lost);
        self.unnamed.until = self.unnamed.until + lost;
        self.excuse_spare(lost);
        let lapsed = |visit: &Visit| visit.lease.is_some_and(|lease| lease <= now) && visit.stage != Stage::Over;
        let all: Vec<ServerId> =
            self.guests.iter().filter(|(_, visit)| lapsed(visit)).map(|(worker, _)| worker.clone()).collect();
        for worker in all {
            self.due(desk, &worker, now);
        }
    }

    /// What the farm tells a guest of its stay.
    pub(super) fn terms(&self, worker: &ServerId, now: Time) -> Option<Terms> {
        let visit = self.guests.get(worker)?;
        Some(Terms {
            owner: visit.owner.peer.clone(),
            owner_address: visit.home.clone(),
            epoch: visit.epoch.unwrap_or_default(),
            loan_id: visit.loan_id.clone(),
            lease: visit.lease.map(|lease| lease.since(now)),
        })
    }

    /// Workers of others on which this master rests: it does not lend while it does.
    pub(super) fn borrows(&self) -> usize {
        let here = self.guests.values().filter(|visit| visit.stage == Stage::Active && visit.invited).count();
        here + self.promises.len() + self.unnamed.count() as usize
    }

    /// Of these, those that are promised and have not come.
    pub(super) fn awaits(&self) -> usize {
        self.promises.len() + self.unnamed.count() as usize
    }

    /// Guests.
    pub(super) fn count(&self) -> usize {
        self.guests.len()
    }

    /// The guests, each with its owner.
    pub(super) fn owners(&self) -> impl Iterator<Item = (&ServerId, &ServerId)> {
        self.guests.iter().map(|(worker, visit)| (worker, &visit.owner.peer))
    }

    /// Works out when something is to be done about a guest next.
    fn settle(&mut self, worker: &ServerId) {
        let due = self.guests.get(worker).and_then(Visit::due);
        self.agenda.set(worker, due);
    }

    /// All loans for people, in any order.
    pub(super) fn views(&self, now: Time) -> Vec<LoanView> {
        let guests = self.guests.iter().map(|(worker, visit)| visit.view(worker, now));
        let promised = self.promises.iter().filter_map(|(worker, promise)| promise.view(worker, now));
        guests.chain(promised).chain(self.over.views().cloned()).collect()
    }

    /// The stay of a guest, or its last one, and how long that has been over.
    pub(super) fn view_of(&self, worker: &ServerId, now: Time) -> Option<(LoanView, Option<Duration>)> {
        let live = self.guests.get(worker).map(|visit| (visit.view(worker, now), None));
        let promised = || self.promises.get(worker)?.view(worker, now).map(|view| (view, None));
        live.or_else(promised).or_else(|| self.over.of(worker, now).map(|(view, ago)| (view, Some(ago))))
    }

    /// The same of a loan by its id.
    pub(super) fn view_by_id(&self, id: &LoanId, now: Time) -> Option<(LoanView, Option<Duration>)> {
        let live = self.views(now).into_iter().find(|view| view.loan_id == *id && view.status != LoanState::Ended);
        let live = live.map(|view| (view, None));
        live.or_else(|| self.over.by_id(id, now).map(|(view, ago)| (view, Some(ago))))
    }

    /// Panics if the tables contradict each other.
    pub(super) fn check_invariants(&self) {
        self.agenda.check_invariants();
        self.over.check_invariants();
        assert!(self.guests.len() <= MAX_LOANS && self.promises.len() <= MAX_PROMISED);
        for (worker, visit) in &self.guests {
            assert_eq!(self.agenda.of(worker), visit.due(), "{worker}: {visit:?}");
            let waits = self.promises.get(worker).is_some_and(|one| one.loan_id() == visit.loan_id.as_ref());
            assert!(!waits || visit.stage != Stage::Active, "who has come is not waited for");
            assert!(
                visit.lease.is_none() || visit.due().is_some() || visit.stage == Stage::Over,
                "it would be used for ever"
            );
            if let Stage::Giving { token } = visit.stage {
                assert!(self.givings[&token].workers.contains(worker), "it would never leave");
            }
        }
        for giving in self.givings.values() {
            assert!(!giving.workers.is_empty());
        }
        assert!(self.silent.len() <= MAX_SILENT && self.older.len() <= MAX_OLDER);
        for (token, renewing) in &self.renewing {
            let waits = |(_, worker): &(LoanId, ServerId)| {
                self.guests.get(worker).is_some_and(|visit| visit.renewing == Some(*token))
            };
            assert!(renewing.loans.iter().any(waits), "nobody waits for it, and it is never forgotten: {renewing:?}");
        }
        let needs = &self.load.needs;
        assert!(needs.len() <= MAX_NEEDS && needs.is_sorted_by(|a, b| a.service.as_str() < b.service.as_str()));
        let is_for = |visit: &Visit| self.load.is_for(&visit.services);
        assert!(self.guests.values().all(|visit| visit.is_useful() == is_for(visit)), "who is of no use is not noted");
    }
}
