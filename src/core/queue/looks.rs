//! What the node asks about jobs while it decides whom to tell what.

use super::machine::Queue;
use crate::core::JobNumber;
use crate::wire::{JobStatus, ServiceName};

impl Queue {
    /// Whether a job is OK, NOK, CANCELLED or BURIED; also if it is unknown.
    pub(in crate::core) fn is_ended(&self, number: JobNumber) -> bool {
        self.table.get(number).is_none_or(|job| job.status().is_some_and(JobStatus::is_ended))
    }

    /// Who does a job.
    pub(in crate::core) fn service_of(&self, number: JobNumber) -> Option<&ServiceName> {
        self.table.get(number).map(|job| &*job.service)
    }

    /// How many jobs of a service wait for a worker.
    pub(in crate::core) fn ready_of(&self, service: &ServiceName) -> usize {
        self.lanes.ready_of(service)
    }

    /// How many services have jobs that wait for a worker.
    pub(in crate::core) fn waiting_services(&self) -> usize {
        self.lanes.waiting_services()
    }

    /// The most urgent job of a service that waits, and how urgent it is: the smaller, the more.
    pub(in crate::core) fn head_of(&self, service: &ServiceName) -> Option<(impl Ord + Copy + use<>, JobNumber)> {
        let urgency = self.lanes.head_of(service)?;
        Some((urgency, urgency.1))
    }

    /// Why the state of a job is not durable and will not be before the disk is well; `None` if it is or may soon be.
    pub(in crate::core) fn unstored(&self, number: JobNumber) -> Option<&str> {
        self.table.get(number).filter(|job| job.owed).and_then(|_| self.disk.illness())
    }

    /// Whether something is under way to the disk.
    pub(in crate::core) fn is_writing(&self) -> bool {
        self.disk.in_flight() > 0
    }

    /// Whether something is to be done.
    pub(in crate::core) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }
}
