//! The loan of one worker, model checked: every order in which messages, losses, crashes and deadlines can come.
//!
//! A borrower A, an owner B and its worker w. What masters say to each other arrives in any order, may be lost, with or without somebody
//! hearing of it, and may come twice. Orders to the worker are what TCP makes of them: in order, lost with the session. The worker obeys higher
//! epochs only, and returns of the loan on which it is; it keeps nothing over its own crash. Time is abstract: any deadline that is armed may
//! come at any moment, so that no outcome rests on how long something takes, and clocks may differ as they like. Only leases could promise more
//! than that; the tests of `masters` look at them with clocks that agree.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use stateright::{Checker, Model, Property};

use super::{
    Asked, Candidate, Effect, Guest, LoanConfig, Loans, Need, Neighbour, Own, Proposal, Saturation, Token, Unagreed,
};
use crate::core::LinkId;
use crate::core::links::Reply;
use crate::core::rng::Rng;
use crate::time::Time;
use crate::wire::{
    Body, Epoch, LoanAction, LoanAnswer, LoanDone, LoanId, LoanRecord, LoanRequest, MoveKind, Returned, ServerId,
    ServiceName,
};

/// The only moment there is.
const NOW: Time = Time::from_micros(1_000_000_000_000);
pub(super) const A: usize = 0;
pub(super) const B: usize = 1;
/// What the worker runs, and what it does not.
const RUNS: &str = "query";
const OTHER: &str = "render";

/// How much may go wrong, and how often something may happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Left {
    /// Requests for workers.
    asks: u8,
    /// Renewals after the first.
    renewals: u8,
    /// Messages that are lost, or come twice.
    losses: u8,
    repeats: u8,
    /// Crashes of A, of B, of the worker.
    crashes: [u8; 3],
    /// Sessions of the worker that break.
    cuts: u8,
    /// Deadlines that come too early for what is under way: silence, no show, leases, graces.
    deadlines: u8,
    /// Times that B saturates itself.
    recalls: u8,
    /// Times that the queue of A turns to something that the worker does not run.
    turns: u8,
}

/// What masters say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Said {
    /// With the life of who asks: an answer is not heard by a later one.
    Ask(u64, Token),
    Renew(u64, Token, Vec<LoanId>),
    Recall(u64, Token, LoanId, Epoch),
    Returned(Option<LoanId>),
    Accepted(Token, Option<(LoanId, Epoch, bool)>),
    Done(Token, Vec<LoanId>),
    Failed(Token),
}

/// What a master tells the worker on its session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Order {
    /// Where to; `None`: it stays at home, or goes there.
    pub(super) away: bool,
    pub(super) epoch: Epoch,
    pub(super) loan_id: Option<LoanId>,
    /// A return that a borrower orders on its own.
    pub(super) ends: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    /// Where its session is.
    pub(super) at: Option<usize>,
    /// Where it goes when it has finished, or is on the way to.
    pub(super) target: Option<usize>,
    pub(super) seen: Option<Epoch>,
    /// Under which epoch it works.
    works: Epoch,
    pub(super) loan_id: Option<LoanId>,
    orders: VecDeque<Order>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    masters: [Option<Loans>; 2],
    boots: [u64; 2],
    /// What is under way, to whom, in any order.
    said: BTreeMap<(usize, Said), u8>,
    proposed: Vec<Proposal>,
    worker: Worker,
    /// Masters that have not noticed yet that a session is over.
    unnoticed: [bool; 2],
    /// B has promised the worker to somebody.
    reserved: bool,
    /// A needs workers.
    needs: bool,
    /// For what this one does not run.
    turned: bool,
    /// Who has used the worker at an epoch.
    used: BTreeMap<Epoch, usize>,
    used_twice: bool,
    followed_lower: bool,
    worked_for_a: bool,
    recalled: bool,
    left: Left,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Hear(usize, Said),
    Lose(usize, Said, bool),
    Repeat(usize, Said),
    Agree(bool),
    ReadOrder,
    Leave,
    Arrive,
    Notice(usize),
    Cut,
    Crash(usize),
    Restart(usize),
    CrashWorker,
    LeaseOver,
    Calm,
    Saturate,
    Turn,
    /// B has worked its queue down.
    Relax,
    BeginRound,
    Deadline(Due),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Due {
    Deal,
    Stage,
    OwnersLease,
    Proposals,
    Ask,
    Promise,
    Renewal,
    GuestsLease,
    Grace,
    Timeout,
    Spare,
}

fn id(text: &str) -> ServerId {
    ServerId::new(text).unwrap()
}

fn own(master: usize) -> Own {
    let (name, port) = [("A", 9101), ("B", 9102)][master];
    let address = format!("10.0.0.{}:{port}", master + 1).parse().unwrap();
    Own { server_id: id(name), name: name.to_lowercase(), group: "g".to_owned(), address }
}

fn neighbour(master: usize) -> Neighbour {
    let own = own(master);
    Neighbour {
        peer: own.server_id,
        name: own.name,
        address: own.address,
        link: None,
        native: true,
        alive: true,
        saturated: false,
        score: 0,
        member: true,
        services: Vec::new(),
        asks_back: false,
    }
}

fn loans(master: usize, boot: u64) -> Loans {
    let config = LoanConfig { keep: 0, cooldown: std::time::Duration::ZERO, ..LoanConfig::default() };
    Loans::new(own(master), config, boot, 0, NOW)
}

/// What the jobs of a saturated master need: what the worker runs, or something else.
fn load(saturated: bool, service: &str) -> Saturation {
    let (pending, released, hold) = (if saturated { 101 } else { 0 }, !saturated, std::time::Duration::ZERO);
    let need = || Need { service: ServiceName::new(service).unwrap(), waiting: pending, own: true };
    let needs = if saturated { vec![need()] } else { Vec::new() };
    Saturation { saturated, released, pending, capacity: 100, release: 60, hold, workers: 1, needs }
}

impl Worker {
    /// One that is at home, and has seen no order.
    pub(super) fn new() -> Worker {
        let (at, works) = (Some(B), Epoch::default());
        Worker { at, target: None, seen: None, works, loan_id: None, orders: VecDeque::new() }
    }

    /// Reads an order; whether it is obeyed.
    pub(super) fn reads(&mut self, order: &Order) -> bool {
        let obeyed = match order.ends {
            true => self.seen.is_none_or(|seen| seen <= order.epoch) && self.loan_id == order.loan_id,
            false => self.seen.is_none_or(|seen| seen < order.epoch),
        };
        if !obeyed {
            return false;
        }
        if order.ends {
            // Who has borrowed it raises no epoch.
            self.target = Some(B);
            return true;
        }
        self.seen = Some(order.epoch);
        if order.away {
            (self.loan_id, self.target) = (order.loan_id.clone(), Some(A));
        } else {
            // It stays, though it was about to go.
            (self.target, self.loan_id, self.works) = (None, None, order.epoch);
        }
        true
    }
}

impl World {
    fn new(left: Left) -> World {
        let worker = Worker::new();
        let mut world = World {
            masters: [Some(loans(A, 1)), Some(loans(B, 1))],
            boots: [1, 1],
            said: BTreeMap::new(),
            proposed: Vec::new(),
            worker,
            unnoticed: [false, false],
            reserved: false,
            needs: true,
            turned: false,
            used: BTreeMap::new(),
            used_twice: false,
            followed_lower: false,
            worked_for_a: false,
            recalled: false,
            left,
        };
        world.with(A, |loans| loans.load(load(true, RUNS), NOW));
        world
    }

    fn with(&mut self, master: usize, act: impl FnOnce(&mut Loans)) {
        let Some(loans) = &mut self.masters[master] else { return };
        act(loans);
        loans.check_invariants();
        let mut effects = Vec::new();
        while let Some(effect) = loans.poll_effect() {
            effects.push(effect);
        }
        loans.desk.rng = Rng::new(0);
        loans.owner.forget_past();
        loans.borrower.forget_past();
        for effect in effects {
            self.carry_out(master, effect);
        }
    }

    fn send(&mut self, to: usize, said: Said) {
        *self.said.entry((to, said)).or_insert(0) += 1;
    }

    fn carry_out(&mut self, master: usize, effect: Effect) {
        let (other, life) = (1 - master, self.boots[master]);
        match effect {
            Effect::Ask { token, .. } => self.send(other, Said::Ask(life, token)),
            Effect::Act { token, action, .. } => match action {
                LoanAction::Renew { loans } => self.send(other, Said::Renew(life, token, loans)),
                LoanAction::Recall { loan_id, epoch, .. } => {
                    self.recalled = true;
                    self.send(other, Said::Recall(life, token, loan_id, epoch));
                }
                action => panic!("{action:?}"),
            },
            Effect::Notify { returned, .. } => self.send(other, Said::Returned(returned.loan_id)),
            Effect::Answer { reply, body } => {
                let token = Token(reply.turn);
                let said = match body {
                    Body::LoanAnswer(answer) => match *answer {
                        LoanAnswer::Accepted { mut workers, .. } => {
                            let terms = workers.remove(0).terms.unwrap();
                            Said::Accepted(token, Some((terms.loan_id, terms.epoch, terms.agreed)))
                        }
                        LoanAnswer::Rejected { .. } => Said::Accepted(token, None),
                    },
                    Body::LoanDone(done) => Said::Done(token, done.renewed.into_iter().map(|(id, _)| id).collect()),
                    body => panic!("{body:?}"),
                };
                // An answer belongs to the life that asked.
                if reply.link == LinkId(self.boots[other] * 2) {
                    self.send(other, said);
                }
            }
            Effect::Propose { proposal, record: LoanRecord::Lend(_) } => self.proposed.push(proposal),
            Effect::Propose { proposal, record: LoanRecord::End { .. } } => {
                self.with(master, |loans| loans.agreed(proposal, Ok(1), NOW));
            }
            Effect::Reserve { .. } => self.reserved = true,
            Effect::Free { .. } => self.reserved = false,
            Effect::Order { order, .. } => self.tell(B, MoveKind::Redirect, order.native.unwrap()),
            Effect::Release { order, .. } => self.tell(A, MoveKind::Return, order.native.unwrap()),
            Effect::TakeBack { epoch, .. } => {
                self.reserved = false;
                if self.worker.at == Some(B) {
                    self.worker.orders.push_back(Order { away: false, epoch, loan_id: None, ends: false });
                }
            }
            Effect::AtHome { epoch, .. } => {
                // The welcome is what the worker reads first.
                if self.worker.at == Some(B) && self.worker.seen.is_none_or(|seen| seen < epoch) {
                    (self.worker.seen, self.worker.works, self.worker.target) = (Some(epoch), epoch, None);
                }
            }
            Effect::GiveBack { .. } | Effect::Completed { .. } => panic!("{effect:?}"),
            Effect::Drop { .. } | Effect::Stop { .. } | Effect::Lease { .. } | Effect::Unanswered { .. } => {}
            Effect::Event { .. } | Effect::Trace { .. } | Effect::Decision { .. } | Effect::Log { .. } => {}
        }
    }

    fn tell(&mut self, from: usize, kind: MoveKind, native: crate::wire::NativeMove) {
        let (away, ends) = (kind == MoveKind::Redirect, from == A);
        if self.worker.at == Some(from) {
            self.worker.orders.push_back(Order { away, epoch: native.epoch, loan_id: native.loan_id, ends });
        }
    }

    /// Who uses the worker now, and who thinks so.
    fn look(&mut self) {
        if let Some(at) = self.worker.at {
            let before = *self.used.entry(self.worker.works).or_insert(at);
            self.used_twice |= before != at;
            self.worked_for_a |= at == A;
        }
        if let Some(loans) = &self.masters[A] {
            for view in loans.borrower.views(NOW) {
                if view.status == crate::wire::LoanState::Active
                    && let Some(epoch) = view.epoch
                {
                    let before = *self.used.entry(epoch).or_insert(A);
                    self.used_twice |= before != A;
                }
            }
        }
    }

    fn hear(&mut self, to: usize, said: Said) {
        let reply = |life: u64, token: Token| Reply { link: LinkId(life * 2), id: None, turn: token.0 };
        let from = own(1 - to).server_id;
        match said {
            Said::Ask(life, token) => {
                let here = self.worker.at == Some(B) && self.worker.target.is_none() && !self.reserved;
                let candidate = Candidate {
                    worker: id("w"),
                    native: true,
                    idle: true,
                    promised: false,
                    quarantined: false,
                    draining: false,
                    services: vec![ServiceName::new(RUNS).unwrap()],
                    slots: 1,
                    generation: 0,
                    address: None,
                };
                let request = LoanRequest {
                    master: Some(id("A")),
                    name: None,
                    address: Some(own(A).address),
                    port: None,
                    load: 101,
                    capacity: 100,
                    needed: 1,
                    native: Some(crate::wire::NativeLoanRequest { services: Vec::new(), group: "g".to_owned() }),
                    dialect: None,
                };
                let candidates = if here { vec![candidate] } else { Vec::new() };
                let known = Some(neighbour(A));
                let from = IpAddr::from([10, 0, 0, 1]);
                let asked = Asked { reply: reply(life, token), from, request, known, trusted: Vec::new(), candidates };
                self.with(to, |loans| loans.asked(asked, NOW));
            }
            Said::Renew(life, token, ids) => {
                self.with(to, |loans| loans.renew(reply(life, token), &from, true, ids, NOW));
            }
            Said::Recall(life, token, loan_id, epoch) => {
                let grace = std::time::Duration::from_secs(10);
                let action = LoanAction::Recall { loan_id, worker: id("w"), epoch, grace };
                self.with(to, |loans| loans.recalled(reply(life, token), &from, action, NOW));
            }
            Said::Returned(loan_id) => {
                let returned = Returned { worker: id("w"), loan_id };
                let host = IpAddr::from([10, 0, 0, 1]);
                self.with(to, |loans| loans.returned(Some(&from), host, returned, None, NOW));
            }
            Said::Accepted(token, terms) => {
                let lease = std::time::Duration::from_secs(30);
                let answer = match terms {
                    None => LoanAnswer::Rejected { master: None, reason: "refused".to_owned() },
                    Some((loan_id, epoch, agreed)) => LoanAnswer::Accepted {
                        master: None,
                        offered: 1,
                        workers: vec![crate::wire::OfferedWorker {
                            worker: id("w"),
                            address: None,
                            terms: Some(crate::wire::OfferTerms { loan_id, epoch, lease, agreed }),
                        }],
                        dialect: None,
                    },
                };
                self.with(to, |loans| loans.answered(token, answer, NOW));
            }
            Said::Done(token, ids) => {
                let renewed = ids.into_iter().map(|id| (id, std::time::Duration::from_secs(30))).collect();
                let done = LoanDone { action: "RENEW".to_owned(), index: None, renewed };
                self.with(to, |loans| loans.done_by(token, done, NOW));
            }
            Said::Failed(token) => self.with(to, |loans| loans.failed(token, "lost", NOW)),
        }
    }

    fn take(&mut self, to: usize, said: &Said) {
        let count = self.said.get_mut(&(to, said.clone())).unwrap();
        *count -= 1;
        if *count == 0 {
            self.said.remove(&(to, said.clone()));
        }
    }

    /// The worker's session ends; its master notices some time.
    fn unplug(&mut self) {
        self.worker.orders.clear();
        if let Some(at) = self.worker.at.take() {
            self.unnoticed[at] = true;
        }
    }

    fn arrive(&mut self) {
        let to = self.worker.target.take().unwrap();
        if self.masters[to].is_none() {
            // Nobody is there: home, or once more.
            self.worker.target = Some(B);
            return;
        }
        self.worker.at = Some(to);
        self.worker.works = self.worker.seen.unwrap_or_default();
        // It is back before its master has noticed that it was away.
        self.unnoticed[to] = false;
        if to == B {
            self.worker.loan_id = None;
            self.reserved = false;
            let seen = self.worker.seen;
            self.with(B, |loans| loans.home(&id("w"), seen, 0, NOW));
        } else {
            let home = own(B);
            let guest = Guest {
                worker: id("w"),
                owner: Some(home.server_id),
                lender: None,
                home: Some(home.address),
                loan_id: self.worker.loan_id.clone(),
                epoch: self.worker.seen,
                native: true,
                services: vec![ServiceName::new(RUNS).unwrap()],
            };
            self.with(A, |loans| loans.came(guest, NOW));
        }
    }

    fn read_order(&mut self) {
        let order = self.worker.orders.pop_front().unwrap();
        let seen = self.worker.seen;
        if self.worker.reads(&order) {
            self.followed_lower |= seen.is_some_and(|seen| order.epoch < seen);
        }
    }

    fn bring(&mut self, due: Due) -> bool {
        let worker = id("w");
        let [a, b] = &mut self.masters;
        match due {
            Due::Deal => b.as_mut().is_some_and(|loans| loans.owner.bring_deal(NOW)),
            Due::Stage => b.as_mut().is_some_and(|loans| loans.owner.bring_stage(&loans.desk, &worker, NOW)),
            Due::OwnersLease => b.as_mut().is_some_and(|loans| loans.owner.bring_lease(&loans.desk, &worker, NOW)),
            Due::Proposals => b.as_mut().is_some_and(|loans| loans.owner.bring_proposals(NOW)),
            Due::Ask => a.as_mut().is_some_and(|loans| loans.borrower.bring_ask(NOW)),
            Due::Promise => a.as_mut().is_some_and(|loans| loans.borrower.bring_promises(NOW)),
            Due::Renewal => a.as_mut().is_some_and(|loans| loans.borrower.bring_renewal(&worker, NOW)),
            Due::GuestsLease => a.as_mut().is_some_and(|loans| loans.borrower.bring_end(&worker, true, NOW)),
            Due::Grace => a.as_mut().is_some_and(|loans| loans.borrower.bring_end(&worker, false, NOW)),
            Due::Timeout => b.as_ref().is_some_and(|loans| loans.owner.has(&worker)),
            Due::Spare => a.as_mut().is_some_and(|loans| loans.borrower.bring_spare(&worker, NOW)),
        }
    }

    fn may_begin(&self) -> bool {
        let Some(loans) = &self.masters[A] else { return false };
        let mut loans = loans.clone();
        loans.borrower.bring_round(NOW);
        self.masters[B].is_some() && loans.wants_neighbours(NOW)
    }

    fn actions(&self) -> Vec<Action> {
        let (left, worker) = (&self.left, &self.worker);
        let mut actions = Vec::new();
        for (to, said) in self.said.keys() {
            actions.push(Action::Hear(*to, said.clone()));
            if left.losses > 0 {
                actions.push(Action::Lose(*to, said.clone(), false));
                if !matches!(said, Said::Returned(_) | Said::Failed(_)) {
                    actions.push(Action::Lose(*to, said.clone(), true));
                }
            }
            if left.repeats > 0 {
                actions.push(Action::Repeat(*to, said.clone()));
            }
        }
        if !self.proposed.is_empty() {
            actions.push(Action::Agree(true));
            if left.losses > 0 {
                actions.push(Action::Agree(false));
            }
        }
        if worker.at.is_some() && !worker.orders.is_empty() {
            actions.push(Action::ReadOrder);
        }
        if worker.at.is_some() && worker.target.is_some() {
            actions.push(Action::Leave);
        }
        if worker.at.is_none() && worker.target.is_some_and(|to| to == A || self.masters[B].is_some()) {
            actions.push(Action::Arrive);
        }
        actions.extend((0..2).filter(|master| self.unnoticed[*master]).map(Action::Notice));
        if left.cuts > 0 && worker.at.is_some() {
            actions.push(Action::Cut);
        }
        if left.crashes[2] > 0 {
            actions.push(Action::CrashWorker);
        }
        for master in 0..2 {
            if self.masters[master].is_none() {
                actions.push(Action::Restart(master));
            } else if left.crashes[master] > 0 {
                actions.push(Action::Crash(master));
            }
        }
        if worker.at == Some(A) && worker.target.is_none() && left.deadlines > 0 {
            actions.push(Action::LeaseOver);
        }
        if self.needs {
            actions.push(Action::Calm);
        }
        if self.needs && left.turns > 0 && self.masters[A].is_some() {
            actions.push(Action::Turn);
        }
        let of_b = self.masters[B].as_ref();
        if of_b.is_some_and(|loans| loans.owner.is_saturated()) {
            actions.push(Action::Relax);
        } else if left.recalls > 0 && of_b.is_some() {
            actions.push(Action::Saturate);
        }
        if left.asks > 0 && self.may_begin() {
            actions.push(Action::BeginRound);
        }
        let mut dues = vec![Due::Proposals];
        if left.deadlines > 0 {
            dues.extend([
                Due::Deal,
                Due::Stage,
                Due::OwnersLease,
                Due::Ask,
                Due::Promise,
                Due::GuestsLease,
                Due::Grace,
            ]);
            dues.extend([Due::Timeout, Due::Spare]);
        }
        if left.renewals > 0 {
            dues.push(Due::Renewal);
        }
        actions.extend(dues.into_iter().filter(|due| self.clone().bring(*due)).map(Action::Deadline));
        actions
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Hear(to, said) => {
                self.take(to, &said);
                self.hear(to, said);
            }
            Action::Lose(to, said, told) => {
                self.left.losses -= 1;
                self.take(to, &said);
                // Whoever asked hears that the link broke, or waits.
                let asker = match &said {
                    Said::Ask(life, token) | Said::Renew(life, token, _) | Said::Recall(life, token, ..) => {
                        Some((1 - to, *token)).filter(|(asker, _)| self.boots[*asker] == *life)
                    }
                    Said::Accepted(token, _) | Said::Done(token, _) => Some((to, *token)),
                    Said::Returned(_) | Said::Failed(_) => None,
                };
                if let Some((asker, token)) = asker.filter(|_| told) {
                    self.send(asker, Said::Failed(token));
                }
            }
            Action::Repeat(to, said) => {
                self.left.repeats -= 1;
                self.send(to, said);
            }
            Action::Agree(yes) => {
                self.left.losses -= u8::from(!yes);
                let proposal = self.proposed.remove(0);
                let outcome = if yes { Ok(1) } else { Err(Unagreed::Unknown("cut".to_owned())) };
                self.with(B, |loans| loans.agreed(proposal, outcome, NOW));
            }
            Action::ReadOrder => self.read_order(),
            Action::Leave => self.unplug(),
            Action::Arrive => self.arrive(),
            Action::Notice(master) => {
                self.unnoticed[master] = false;
                let worker = id("w");
                self.with(master, |loans| match master {
                    B => loans.left(&worker, NOW),
                    _ => loans.gone(&worker, NOW),
                });
            }
            Action::Cut => {
                self.left.cuts -= 1;
                let at = self.worker.at;
                // What it was about to do it does when it is back; or, if it was to leave, it leaves.
                self.unplug();
                self.worker.target = self.worker.target.or(at);
            }
            Action::CrashWorker => {
                self.left.crashes[2] -= 1;
                self.unplug();
                (self.worker.seen, self.worker.loan_id, self.worker.target) = (None, None, Some(B));
            }
            Action::Crash(master) => {
                self.left.crashes[master] -= 1;
                self.masters[master] = None;
                self.boots[master] += 1;
                self.unnoticed[master] = false;
                self.said.retain(|(to, _), _| *to != master);
                if master == B {
                    (self.reserved, self.proposed) = (false, Vec::new());
                }
                if self.worker.at == Some(master) {
                    self.worker.at = None;
                    self.worker.orders.clear();
                    // It waits for its master for a while, or goes home.
                    self.worker.target = self.worker.target.or(Some(master));
                }
            }
            Action::Restart(master) => {
                self.masters[master] = Some(loans(master, self.boots[master]));
                let saturated = master == A && self.needs;
                let service = if self.turned { OTHER } else { RUNS };
                self.with(master, |loans| loans.load(load(saturated, service), NOW));
            }
            Action::LeaseOver => {
                self.left.deadlines -= 1;
                self.worker.target = Some(B);
            }
            Action::Calm => {
                self.needs = false;
                self.with(A, |loans| loans.load(load(false, RUNS), NOW));
            }
            Action::Saturate => {
                self.left.recalls -= 1;
                self.with(B, |loans| loans.load(load(true, RUNS), NOW));
            }
            Action::Relax => self.with(B, |loans| loans.load(load(false, RUNS), NOW)),
            Action::Turn => {
                self.left.turns -= 1;
                self.turned = true;
                self.with(A, |loans| loans.load(load(true, OTHER), NOW));
            }
            Action::BeginRound => {
                self.left.asks -= 1;
                let other = vec![neighbour(B)];
                self.with(A, |loans| {
                    loans.borrower.bring_round(NOW);
                    loans.neighbours(other, NOW);
                });
            }
            Action::Deadline(due) => {
                match due {
                    Due::Proposals => {}
                    Due::Renewal => self.left.renewals -= 1,
                    _ => self.left.deadlines -= 1,
                }
                self.bring(due);
                let master = match due {
                    Due::Deal | Due::Stage | Due::OwnersLease | Due::Proposals | Due::Timeout => B,
                    _ => A,
                };
                self.with(master, |loans| match due {
                    Due::Timeout => loans.peer_timeout(&id("A"), NOW),
                    _ => loans.tick(NOW),
                });
            }
        }
        self.look();
    }

    /// From here on nothing goes wrong: everything is read, nobody needs anybody, and what is waited for in vain is given up. Whether then no
    /// loan is left at either, and the worker is at home, by itself.
    fn heals(&self) -> bool {
        let mut world = self.clone();
        let quiet = Left { deadlines: 1, ..Left::default() };
        for _ in 0..200 {
            world.left = quiet;
            let actions = world.actions();
            let early = |action: &&Action| {
                matches!(action, Action::Deadline(due) if *due != Due::Proposals) || **action == Action::LeaseOver
            };
            let Some(action) = actions.iter().find(|action| !early(action)).or(actions.first()) else { break };
            world.act(action.clone());
        }
        let at_peace = |loans: &Option<Loans>| loans.as_ref().is_some_and(|loans| loans.counts() == (0, 0));
        world.masters.iter().all(at_peace)
            && world.worker.at == Some(B)
            && world.worker.target.is_none()
            && !world.used_twice
            && !world.reserved
    }
}

impl Model for Left {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(*self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(world.actions());
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.act(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Left>> {
        vec![
            Property::always("never used by two masters at one epoch", |_, world: &World| !world.used_twice),
            Property::always("never a lower epoch is followed", |_, world: &World| !world.followed_lower),
            // Whatever is under way is heard on the way to a state in which nothing is: it is enough to look at those.
            Property::always("every loan ends, and the worker comes home", |_, world: &World| {
                !world.said.is_empty() || !world.worker.orders.is_empty() || world.heals()
            }),
            Property::sometimes("it works for the borrower", |_, world: &World| world.worked_for_a),
            Property::sometimes("it is home again after it did", |_, world: &World| {
                world.worked_for_a && world.worker.at == Some(B) && world.worker.target.is_none()
            }),
            Property::sometimes("it is sent home while the borrower is saturated", |left: &Left, world: &World| {
                left.turns == 0 || (world.needs && world.worker.at == Some(B) && world.worked_for_a)
            }),
            Property::sometimes("it is recalled", |left: &Left, world: &World| left.recalls == 0 || world.recalled),
            Property::sometimes("it works for the borrower while the owner is down", |left: &Left, world: &World| {
                left.crashes[B] == 0 || (world.masters[B].is_none() && world.worker.at == Some(A))
            }),
        ]
    }
}

/// Checks the whole space, and tells its size.
fn check(left: Left) {
    let checker = left.checker().spawn_bfs().join();
    println!(
        "{} states, {} with repetitions, depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

#[test]
fn laws_hold_when_nothing_is_lost() {
    check(Left { asks: 1, renewals: 1, recalls: 1, ..Left::default() });
}

#[test]
fn laws_hold_under_a_loss_and_an_early_deadline() {
    check(Left { asks: 1, losses: 1, deadlines: 1, ..Left::default() });
}

#[test]
fn laws_hold_under_a_repeat_and_an_early_deadline() {
    check(Left { asks: 1, repeats: 1, deadlines: 1, ..Left::default() });
}

#[test]
fn laws_hold_when_each_crashes_once() {
    check(Left { asks: 1, crashes: [1, 1, 1], ..Left::default() });
}

#[test]
fn laws_hold_under_a_recall_and_an_early_deadline() {
    check(Left { asks: 1, recalls: 1, deadlines: 1, ..Left::default() });
}

#[test]
fn laws_hold_under_a_recall_and_a_cut() {
    check(Left { asks: 1, recalls: 1, cuts: 1, ..Left::default() });
}

#[test]
fn laws_hold_when_the_queue_turns_to_what_the_worker_does_not_run() {
    check(Left { asks: 2, turns: 1, deadlines: 1, ..Left::default() });
}

#[test]
#[ignore = "2,000,000 states take a minute and a half: run it when the loans change"]
fn laws_hold_when_each_crashes_once_and_messages_are_lost_and_repeated() {
    check(Left { asks: 1, losses: 1, repeats: 1, crashes: [1, 1, 1], ..Left::default() });
}

#[test]
#[ignore = "270,000 states take half a minute: run it when the loans change"]
fn laws_hold_under_two_requests_a_recall_and_an_early_deadline() {
    check(Left { asks: 2, recalls: 1, deadlines: 1, ..Left::default() });
}
