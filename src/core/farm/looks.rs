//! What the node asks about workers while it gives work out.

use super::WorkerKey;
use super::machine::Farm;
use super::worker::Worker;
use crate::core::LinkId;
use crate::time::Time;
use crate::wire::{Permille, ServerId, ServiceName, WorkerState, WorkersReport, quote};

impl Farm {
    /// Who a worker is.
    pub(in crate::core) fn id_of(&self, worker: WorkerKey) -> Option<&ServerId> {
        self.workers.get(&worker).map(|worker| &worker.id)
    }

    /// The worker whose work comes on this link.
    pub(in crate::core) fn worker_on(&self, link: LinkId) -> Option<&ServerId> {
        self.id_of(*self.by_link.get(&link)?)
    }

    /// Whether the farm has this worker, and it is a native one.
    pub(in crate::core) fn is_native(&self, id: &ServerId) -> bool {
        self.by_id.get(id).and_then(|key| self.workers.get(key)).is_some_and(|worker| worker.native().is_some())
    }

    /// A worker for people: its name, and whether it is local or borrowed. `None` if it is not known any more.
    pub(in crate::core) fn describe(&self, id: &str) -> Option<String> {
        let id = ServerId::new(id)?;
        let worker = self.workers.get(self.by_id.get(&id)?)?;
        Some(match &worker.owner {
            Some(owner) => format!("{}, borrowed from {}", worker.name, quote(owner, 64)),
            None => format!("{}, local", worker.name),
        })
    }

    /// The workers here that belong to others, each with its owner, as it names it.
    pub(in crate::core) fn owners(&self) -> impl Iterator<Item = (&ServerId, &str)> {
        let guests = self.guests.iter().filter_map(|key| self.workers.get(key));
        guests.filter_map(|worker| Some((&worker.id, worker.owner.as_deref()?)))
    }

    /// How the workers stand, counted by what `WORKERS` says of each. `home` and `away_from_home` are left for who knows of loans.
    pub(in crate::core) fn figures(&self, now: Time) -> WorkersReport {
        let mut figures = WorkersReport { registered: self.workers.len() as u64, ..WorkersReport::default() };
        let (mut slots, mut running) = (0, 0);
        for worker in self.workers.values() {
            let (state, _) = worker.state(self.timeout, now);
            let runs = worker.running.len() as u64;
            // One that drains says that it has no slots, and may still run something.
            let has = worker.native().map_or(1, |native| u64::from(native.slots)).max(runs);
            figures.alive += u64::from(state != WorkerState::Away);
            figures.idle += u64::from(state == WorkerState::Idle);
            figures.failed += u64::from(matches!(state, WorkerState::Away | WorkerState::Quarantined));
            if matches!(state, WorkerState::Idle | WorkerState::Busy) {
                figures.available += has - runs;
            }
            if state != WorkerState::Away {
                (slots, running) = (slots + has, running + runs);
            }
        }
        figures.utilization = Permille::of(running, slots);
        figures
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
    /// refused there, and says so, instead of holding up those behind it. Told of what was settled:
    /// [`Farm::settle_loose`] comes first.
    pub(in crate::core) fn pick(&self, service: &ServiceName, method: &ServiceName) -> Option<WorkerKey> {
        self.index.pick(service, method).or_else(|| self.index.pick_any(service, method))
    }

    /// How many attempts in a row [`Farm::pick`] gives to the worker that it has just picked for this, as long as nothing
    /// else happens: at least one.
    pub(in crate::core) fn in_a_row(&self, worker: WorkerKey, service: &ServiceName, method: &ServiceName) -> usize {
        let Some(picked) = self.workers.get(&worker) else { return 1 };
        let Some(native) = picked.native() else { return 1 };
        let room = (native.slots as usize).saturating_sub(picked.running.len());
        let row = self.index.before_next(worker, service, method);
        row.map_or(room, |row| room.min(row as usize)).max(1)
    }

    /// How many [`Farm::services_with_room`] tells.
    pub(in crate::core) fn kinds_with_room(&self) -> usize {
        self.index.with_room()
    }

    /// The services that a worker with room offers; one with several sets of methods is told once for each.
    pub(in crate::core) fn services_with_room(&self) -> impl Iterator<Item = &ServiceName> {
        self.index.services_with_room()
    }
}
