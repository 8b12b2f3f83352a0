//! Whom native workers belong to, and orders that send them elsewhere.
//!
//! An order is kept until the worker has shown, by the epoch that it says, that it has seen it: a link that drops takes nothing with it.

use super::Effect;
use super::machine::Farm;
use super::worker::Worker;
use crate::core::LinkId;
use crate::time::Time;
use crate::wire::{Body, Epoch, Message, ServerId, Terms, WorkerMove};

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

/// An order that its worker may not have seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ordered {
    pub(super) order: WorkerMove,
    /// It goes away by it; else only whom it belongs to has changed.
    pub(super) goes: bool,
}

impl Farm {
    /// Sends a native worker elsewhere, by an order that has an epoch. It gets nothing new from now on. `false`: there is no such worker.
    pub(in crate::core) fn send_off(&mut self, worker: &ServerId, order: WorkerMove, now: Time) -> bool {
        self.ordered(worker, Ordered { order, goes: true }, None, now)
    }

    /// Tells a native worker whom it belongs to from now on, while it stays here.
    pub(in crate::core) fn rebind(&mut self, worker: &ServerId, order: WorkerMove, terms: Terms, now: Time) -> bool {
        self.ordered(worker, Ordered { order, goes: false }, Some(terms), now)
    }

    fn ordered(&mut self, worker: &ServerId, ordered: Ordered, terms: Option<Terms>, now: Time) -> bool {
        self.advance(now);
        let own_id = self.server_id.clone();
        let Some(key) = self.by_id.get(worker).copied() else { return false };
        let Some(worker) = self.workers.get_mut(&key) else { return false };
        let link = worker.link;
        if let Some(terms) = terms {
            if terms.owner == own_id {
                self.guests.remove(&key);
            } else {
                self.guests.insert(key);
            }
            worker.bind(&own_id, Some(terms));
        }
        let Some(native) = worker.native_mut() else { return false };
        // Where a welcome is on its way it comes behind that.
        let now_due = native.welcome.is_none();
        let order = ordered.order.clone();
        native.ordered = Some(Box::new(ordered));
        if let Some(link) = link.filter(|_| now_due) {
            self.send_order(link, order);
        }
        self.settle(key);
        true
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
            let goes = worker.link.is_none() || native.ordered.as_ref().is_some_and(|ordered| ordered.goes);
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
            self.owner = (terms.owner != *own_id).then(|| terms.owner.as_str().to_owned());
        }
        if let Some(native) = self.native_mut() {
            native.terms = terms.map(Box::new);
        }
    }

    /// It says that it has seen this epoch: an order of that epoch is done with.
    pub(super) fn has_seen(&mut self, epoch: Option<Epoch>) {
        let seen = epoch.unwrap_or_default();
        if let Some(native) = self.native_mut() {
            native.ordered.take_if(|ordered| {
                let epoch = ordered.order.native.as_ref().map(|native| native.epoch);
                // One that goes is gone when it says goodbye; until then it is known to be on its way.
                !ordered.goes && epoch.is_none_or(|epoch| epoch <= seen)
            });
        }
    }
}
