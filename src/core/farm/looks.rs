//! What the node asks about workers while it gives work out.

use super::machine::Farm;
use super::worker::Worker;
use super::{Effect, WorkerKey};
use crate::core::LinkId;
use crate::wire::{ServerId, ServiceName};

impl Farm {
    /// Who a worker is.
    pub(in crate::core) fn id_of(&self, worker: WorkerKey) -> Option<&ServerId> {
        self.workers.get(&worker).map(|worker| &worker.id)
    }

    /// The worker whose work comes on this link.
    pub(in crate::core) fn worker_on(&self, link: LinkId) -> Option<&ServerId> {
        self.id_of(*self.by_link.get(&link)?)
    }

    /// Whether this worker says that a method may be done twice.
    pub(in crate::core) fn is_idempotent(
        &self,
        worker: WorkerKey,
        service: &ServiceName,
        method: &ServiceName,
    ) -> bool {
        let offers = self.workers.get(&worker).map(|worker: &Worker| worker.services.as_slice()).unwrap_or_default();
        offers.iter().any(|offer| offer.name == *service && offer.idempotent.contains(method))
    }

    /// The best worker for an attempt at this. A method that nobody has goes to anybody who offers the service: it is
    /// refused there, and says so, instead of holding up those behind it.
    pub(in crate::core) fn pick_for(&self, service: &ServiceName, method: &ServiceName) -> Option<WorkerKey> {
        self.index.pick(service, method).or_else(|| self.index.pick_any(service, method))
    }

    /// Whether something is to be done.
    pub(in crate::core) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }
}

/// The effects are taken one at a time: none is as large as many others.
const _: () = assert!(size_of::<Effect>() <= 160);
