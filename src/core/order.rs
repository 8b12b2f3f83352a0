//! What the queue gives out and the farm passes on.

use std::time::Duration;

use crate::wire::{Attempt, Json, ServiceName};

/// An attempt that a worker shall make.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Order {
    /// Which attempt at which job.
    pub(super) attempt: Attempt,
    /// Which service.
    pub(super) service: ServiceName,
    /// Which method of it.
    pub(super) method: ServiceName,
    /// With what. A foreign worker is sent its member `USER` as USER, or all of it where there is none.
    pub(super) params: Json,
    /// How long it may take from its arrival.
    pub(super) timeout: Duration,
    /// Whether somebody wants to see what it prints. The queue says `false`; the node knows who listens.
    pub(super) output: bool,
}
