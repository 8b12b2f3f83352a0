//! Whom native workers belong to, and orders that send them elsewhere.
//!
//! An order is kept until the worker has shown, by the epoch that it says, that it has seen it: a link that drops takes nothing with it.

use std::net::IpAddr;
use std::time::Duration;

use super::machine::Farm;
use super::worker::{Call, Stage, Worker};
use super::{Effect, WorkerKey};
use crate::core::{LinkId, LogLevel};
use crate::time::Time;
use crate::wire::{
    Attempt, Body, Epoch, EventKind, LoanId, Message, MoveKind, ServerId, ServiceOffer, Terms, WorkerMove,
};

/// How long a foreign worker that is called may take to stand, to answer, and to end what it does meanwhile.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// A native worker that belongs to another master.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core) struct Guest {
    /// Who it is.
    pub(in crate::core) worker: ServerId,
    /// How it stands here.
    pub(in crate::core) terms: Terms,
    /// It is told to go already, or is not there.
    pub(in crate::core) goes: bool,
}

/// A worker of this master that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::core) struct Own<'a> {
    /// Who it is.
    pub(in crate::core) worker: &'a ServerId,
    /// Whether it knows epochs.
    pub(in crate::core) native: bool,
    /// It runs nothing, and is not spoken for.
    pub(in crate::core) idle: bool,
    /// It is spoken for.
    pub(in crate::core) promised: bool,
    /// It is in quarantine.
    pub(in crate::core) quarantined: bool,
    /// It takes nothing new.
    pub(in crate::core) draining: bool,
    /// What it offers.
    pub(in crate::core) services: &'a [ServiceOffer],
    /// Jobs that it runs at a time.
    pub(in crate::core) slots: u32,
    /// From where it spoke last.
    pub(in crate::core) host: IpAddr,
    /// Its connection, where one stands.
    pub(in crate::core) link: Option<LinkId>,
    /// How often it was adopted, as it said.
    pub(in crate::core) generation: u64,
}

/// An order that its worker may not have seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ordered {
    pub(super) order: WorkerMove,
    /// It goes away by it; else only whom it belongs to has changed.
    pub(super) goes: bool,
}

impl Farm {
    /// Sends a worker elsewhere, a native one by an order that has an epoch. It gets nothing new from now on. `false`: there is no such worker.
    pub(in crate::core) fn send_off(&mut self, worker: &ServerId, order: WorkerMove, now: Time) -> bool {
        self.ordered(worker, Ordered { order, goes: true }, None, now)
    }

    /// Tells a native worker whom it belongs to from now on, while it stays here.
    pub(in crate::core) fn rebind(&mut self, worker: &ServerId, order: WorkerMove, terms: Terms, now: Time) -> bool {
        self.ordered(worker, Ordered { order, goes: false }, Some(terms), now)
    }

    fn ordered(&mut self, worker: &ServerId, ordered: Ordered, terms: Option<Terms>, now: Time) -> bool {
        self.advance(now);
        let Some(key) = self.by_id.get(worker).copied() else { return false };
        if let Some(terms) = terms {
            self.set_terms(key, Some(terms));
        }
        let Some(worker) = self.workers.get_mut(&key) else { return false };
        // Where a welcome is on its way it comes behind that. A foreign one is told when it asks, or waits to be pushed.
        let due = worker.native().is_some_and(|native| native.welcome.is_none());
        let (link, order) = (worker.link.filter(|_| due), ordered.order.clone());
        worker.ordered = Some(Box::new(ordered));
        if let Some(link) = link {
            self.send_order(link, order);
        }
        if let Some(foreign) = self.workers.get_mut(&key).and_then(Worker::foreign_mut) {
            foreign.call = Call::None;
        }
        // One that has waited to be pushed for long enough is told now: nothing else is due of it.
        if !self.call_to_go(key) && self.push_order(key) {
            return true;
        }
        self.settle(key);
        true
    }

    /// Calls a foreign worker that listens, and does nothing else just now, to tell it where to go: such a worker expects no order as the
    /// answer to ALIVE. `true`: it is being called, and is told nothing of that otherwise.
    pub(super) fn call_to_go(&mut self, key: WorkerKey) -> bool {
        let until = self.now + ANSWERS_WITHIN;
        let Some(worker) = self.workers.get_mut(&key) else { return false };
        let order = worker.ordered.as_ref().map(|ordered| ordered.order.clone());
        let (id, idle) = (worker.id.clone(), worker.running.is_empty());
        let (Some(foreign), Some(order)) = (worker.foreign_mut(), order) else { return false };
        match (foreign.call, foreign.listens.clone()) {
            (Call::UnderWay { .. }, _) => true,
            (Call::None, Some(address)) if idle && !matches!(foreign.stage, Stage::Reported) => {
                foreign.call = Call::UnderWay { until };
                self.effect(Effect::Call { worker: id, address, order });
                true
            }
            _ => false,
        }
    }

    /// How the call to a worker came out: it has acknowledged the order, or not, for a reason. Then it is told when it asks for work.
    pub(in crate::core) fn called(&mut self, worker: &ServerId, answer: Result<(), &str>, now: Time) {
        self.advance(now);
        let Some(key) = self.by_id.get(worker).copied() else { return };
        let Some(foreign) = self.workers.get_mut(&key).and_then(Worker::foreign_mut) else { return };
        if !matches!(foreign.call, Call::UnderWay { .. }) {
            return;
        }
        match answer {
            Ok(()) => self.remove(key, Some(EventKind::WorkerLeft), "it was sent to another master"),
            Err(why) => {
                foreign.call = Call::Failed;
                let text =
                    format!("worker {worker} was called to be told where to go, and is told at its next ALIVE: {why}");
                self.log(LogLevel::Info, text);
                self.settle(key);
            }
        }
    }

    /// Gives up a call that is late.
    pub(super) fn call_unanswered(&mut self, key: WorkerKey) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let id = worker.id.clone();
        let late = worker.foreign().is_some_and(|it| matches!(it.call, Call::UnderWay { until } if until <= now));
        if late {
            self.effect(Effect::HangUp { worker: id.clone() });
            self.called(&id, Err("it did not answer"), now);
        }
    }

    /// How a native worker stands here from now on: what its welcome says.
    pub(super) fn set_terms(&mut self, key: WorkerKey, terms: Option<Terms>) {
        let own_id = self.server_id.clone();
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.bind(&own_id, terms);
        }
        self.note_guest(key);
    }

    /// Whose a worker is may have changed.
    pub(super) fn note_guest(&mut self, key: WorkerKey) {
        if self.workers.get(&key).is_some_and(|worker| worker.owner.is_some()) {
            self.guests.insert(key);
        } else {
            self.guests.remove(&key);
        }
    }

    /// What the welcome of a native worker says from now on.
    pub(in crate::core) fn set_terms_of(&mut self, worker: &ServerId, terms: Terms) {
        if let Some(key) = self.by_id.get(worker).copied() {
            self.set_terms(key, Some(terms));
        }
    }

    /// A worker is spoken for, or is not any more. It gets nothing new meanwhile.
    pub(in crate::core) fn reserve(&mut self, worker: &ServerId, reserved: bool, now: Time) {
        self.advance(now);
        let Some(key) = self.by_id.get(worker).copied() else { return };
        if let Some(worker) = self.workers.get_mut(&key) {
            worker.reserved = reserved;
            self.settle(key);
        }
    }

    /// An order is void: whoever is here stays. One that was pushed it, and has not gone, is of the farm again.
    pub(in crate::core) fn keep(&mut self, worker: &ServerId, now: Time) {
        self.advance(now);
        let Some(key) = self.by_id.get(worker).copied() else { return self.stays_after_push(worker) };
        if let Some(worker) = self.workers.get_mut(&key) {
            (worker.ordered, worker.reserved) = (None, false);
            let id = worker.id.clone();
            if let Some(foreign) = worker.foreign_mut()
                && let Call::UnderWay { .. } = std::mem::replace(&mut foreign.call, Call::None)
            {
                self.effect(Effect::HangUp { worker: id });
            }
            self.settle(key);
        }
    }

    /// Whether a foreign worker was pushed an order to go on a link that still stands, and has said nothing since.
    pub(in crate::core) fn is_pushed_away(&self, worker: &ServerId) -> bool {
        self.pushed.values().any(|(pushed, _)| pushed == worker)
    }

    /// Who was pushed an order to go on this link, which still stands, and has said nothing since.
    pub(in crate::core) fn pushed_away_on(&self, link: LinkId) -> Option<&ServerId> {
        self.pushed.get(&link).map(|(worker, _)| worker)
    }

    /// It has not heeded the order that it was pushed, and waits where it waited before.
    fn stays_after_push(&mut self, worker: &ServerId) {
        let link = self.pushed.iter().find(|(_, (pushed, _))| pushed == worker).map(|(link, _)| *link);
        let Some((link, host)) = link.and_then(|link| Some((link, self.pushed.get(&link)?.1))) else { return };
        self.pushed.remove(&link);
        if !self.by_link.contains_key(&link)
            && let Some(key) = self.stranger(link, host, worker.clone(), None)
        {
            self.settle(key);
        }
    }

    /// A guest is not used any more: what it has goes back to the queue, and it gets nothing.
    pub(in crate::core) fn cut_off(&mut self, worker: &ServerId, reason: &str, now: Time) {
        self.advance(now);
        let Some(key) = self.by_id.get(worker).copied() else { return };
        let Some(worker) = self.workers.get_mut(&key) else { return };
        worker.reserved = true;
        let id = worker.id.clone();
        let native = worker.native().is_some();
        let waited = worker.running.iter_mut().filter(|(_, running)| !running.unwanted);
        let attempts: Vec<Attempt> = waited.map(|(attempt, _)| attempt.clone()).collect();
        for attempt in attempts {
            if let Some(worker) = self.workers.get_mut(&key) {
                match native {
                    true => drop(worker.running.remove(&attempt)),
                    false => worker.running.iter_mut().for_each(|(_, running)| running.unwanted = true),
                }
            }
            if native {
                self.native_stop(key, attempt.clone(), reason.to_owned());
            }
            let reason = format!("worker {id}: {reason}");
            self.effect(Effect::Lost { attempt, worker: id.clone(), reason, taken: true });
        }
        self.settle(key);
    }

    /// Tells a foreign worker that waits to be pushed where to go. `true`: it is gone.
    pub(super) fn push_order(&mut self, key: WorkerKey) -> bool {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&key) else { return false };
        let waits = worker.foreign().and_then(|foreign| foreign.pushable()).is_some_and(|from| from <= now);
        let called = worker.foreign().is_some_and(|foreign| matches!(foreign.call, Call::UnderWay { .. }));
        let Some(link) = worker.link.filter(|_| waits && !called) else { return false };
        let Some(ordered) = worker.ordered.take() else { return false };
        if worker.owner.is_none() {
            self.pushed.insert(link, (worker.id.clone(), worker.host));
        }
        self.send_order(link, ordered.order);
        self.remove(key, Some(EventKind::WorkerLeft), "it was sent to another master");
        true
    }

    /// The workers here that belong to this master.
    pub(in crate::core) fn own(&self) -> impl Iterator<Item = Own<'_>> {
        let own = self.workers.values().filter(|worker| worker.owner.is_none());
        own.map(|worker| {
            let quiet =
                worker.running.is_empty() && worker.foreign().is_none_or(|it| !matches!(it.stage, Stage::Reported));
            Own {
                worker: &worker.id,
                native: worker.native().is_some(),
                idle: quiet
                    && !worker.reserved
                    && !worker.goes()
                    && (worker.link.is_some() || worker.foreign().is_some()),
                promised: worker.reserved,
                quarantined: worker.conduct.quarantine().is_some(),
                draining: worker.goes() || worker.native().is_some_and(|native| native.slots == 0),
                services: &worker.services,
                slots: worker.native().map_or(1, |native| native.slots),
                host: worker.host,
                link: worker.link,
                generation: worker.native().and_then(|it| it.terms.as_ref()).map_or(0, |it| it.epoch.generation),
            }
        })
    }

    /// Own workers that get nothing new because they are promised to another master, or on their way there.
    pub(in crate::core) fn spoken_for(&self) -> impl Iterator<Item = &ServerId> {
        self.workers.values().filter(|worker| worker.owner.is_none() && worker.reserved).map(|worker| &worker.id)
    }

    /// The id of the worker of this id, or else of this name.
    pub(in crate::core) fn named(&self, name: &ServerId) -> Option<ServerId> {
        if self.by_id.contains_key(name) {
            return Some(name.clone());
        }
        self.workers.values().find(|worker| worker.name == name.as_str()).map(|worker| worker.id.clone())
    }

    /// How a worker stands here, and why. `None`: it is not here.
    pub(in crate::core) fn reason_of(&self, worker: &ServerId, now: Time) -> Option<String> {
        let worker = self.by_id.get(worker).and_then(|key| self.workers.get(key))?;
        let view = worker.view(self.timeout, now);
        Some(format!("{}: {}", view.status.as_str(), view.reason))
    }

    /// Workers here that are this master's own, and those of others.
    pub(in crate::core) fn whose(&self) -> (u64, u64) {
        let borrowed = self.guests.len() as u64;
        (self.workers.len() as u64 - borrowed, borrowed)
    }

    /// Whether any worker of another is here, native or foreign.
    pub(in crate::core) fn has_guest(&self) -> bool {
        !self.guests.is_empty()
    }

    /// Whether a worker here belongs to another; `None`: it is not here.
    pub(in crate::core) fn is_borrowed(&self, worker: &ServerId) -> Option<bool> {
        let worker = self.by_id.get(worker).and_then(|key| self.workers.get(key))?;
        Some(worker.owner.is_some())
    }

    /// Whether a foreign worker has said something on another link since then.
    pub(in crate::core) fn spoke_elsewhere(&self, worker: &ServerId, link: LinkId, since: Time) -> bool {
        let worker = self.by_id.get(worker).and_then(|key| self.workers.get(key));
        worker.is_some_and(|it| it.foreign().is_some() && it.link != Some(link) && it.seen > since)
    }

    /// On which link a worker is reached.
    pub(in crate::core) fn link_of(&self, worker: &ServerId) -> Option<LinkId> {
        self.by_id.get(worker).and_then(|key| self.workers.get(key))?.link
    }

    /// The native worker that is reached on this link.
    pub(in crate::core) fn native_on(&self, link: LinkId) -> Option<&ServerId> {
        let worker = self.by_link.get(&link).and_then(|key| self.workers.get(key))?;
        worker.native().map(|_| &worker.id)
    }

    pub(super) fn send_order(&mut self, link: LinkId, order: WorkerMove) {
        self.effect(Effect::Send { link, message: Message::plain(Body::Move(Box::new(order))) });
    }

    /// Whether any native worker here belongs to another master.
    pub(in crate::core) fn has_guests(&self) -> bool {
        !self.guests.is_empty()
    }

    /// The native workers here that belong to others, in the order in which they came.
    pub(in crate::core) fn guests(&self) -> impl Iterator<Item = Guest> + '_ {
        self.guests.iter().filter_map(|key| {
            let worker = self.workers.get(key)?;
            let native = worker.native()?;
            let terms = native.terms.as_deref().filter(|terms| terms.owner != self.server_id)?;
            let goes = worker.link.is_none() || worker.goes();
            Some(Guest { worker: worker.id.clone(), terms: terms.clone(), goes })
        })
    }

    /// How a worker stands here; `None`: it is foreign, or not known.
    pub(in crate::core) fn terms_of(&self, worker: &ServerId) -> Option<&Terms> {
        let worker = self.by_id.get(worker).and_then(|key| self.workers.get(key))?;
        worker.native()?.terms.as_deref()
    }
}

impl Worker {
    /// It stands so with the master `own_id` from now on.
    pub(super) fn bind(&mut self, own_id: &ServerId, terms: Option<Terms>) {
        if let Some(terms) = &terms {
            // A guest that could be used no longer is an own one now.
            self.reserved &= self.owner.is_none() || terms.owner != *own_id;
            self.owner = (terms.owner != *own_id).then(|| terms.owner.as_str().to_owned());
        }
        if let Some(native) = self.native_mut() {
            native.terms = terms.map(Box::new);
        }
    }

    /// It says that it has seen this epoch and is here on this loan, and its welcome bears `welcome`: an order is done with that it would not obey any
    /// more.
    pub(super) fn has_seen(&mut self, epoch: Option<Epoch>, loan: Option<&LoanId>, welcome: Option<Epoch>) {
        let seen = epoch.unwrap_or_default();
        let done = self.ordered.take_if(|ordered| {
            let order = &ordered.order;
            let Some(epoch) = order.native.as_ref().map(|native| native.epoch) else { return !ordered.goes };
            if !ordered.goes {
                return epoch <= seen;
            }
            // One that goes is gone when it says goodbye; until then it is known to be on its way. Who has seen a higher one has been elsewhere since;
            // and who knows nothing of the order takes it for one that it has seen, once the welcome bears its epoch.
            let outranked =
                order.kind == MoveKind::Redirect && seen < epoch && welcome.is_some_and(|told| epoch <= told);
            let loan_over =
                order.native.as_ref().is_some_and(|native| native.loan_id.is_some() && native.loan_id.as_ref() != loan);
            epoch < seen || outranked || (order.kind == MoveKind::Return && loan_over)
        });
        // It may have been cut off on the loan that is over.
        self.reserved &= done.is_none_or(|done| !done.goes);
    }
}
