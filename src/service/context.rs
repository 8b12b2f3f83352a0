//! What a service knows about the run that it works on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::wire::{Attempt, Stream};

use super::running::{Counts, Running};

/// One run, as its service sees it. Cheap to clone and to hand to other threads.
#[derive(Clone)]
pub struct Context(pub(super) Arc<Running>);

impl Context {
    /// The job and attempt that this is. The same attempt is never run twice, the same job may be; a service whose work
    /// must not happen twice keeps the ids of jobs that it has done. `None`: a call.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.0.run.attempt.as_ref()
    }

    /// When nobody waits for the result any more.
    pub fn deadline(&self) -> Instant {
        self.0.deadline
    }

    /// How long it is until then; zero afterwards.
    pub fn remaining(&self) -> Duration {
        self.0.deadline.saturating_duration_since(Instant::now())
    }

    /// Whether nobody waits for the result any more: the run was stopped, or its time is over.
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }

    /// Waits. True when all of `time` went by; false, at once, when the run is stopped or its time is over.
    pub fn wait(&self, time: Duration) -> bool {
        self.0.wait(time)
    }

    /// Shows text to whoever watches this run, if anybody does. At most 4 MiB of a run are shown.
    pub fn print(&self, stream: Stream, text: &str) {
        self.0.print(stream, text);
    }

    /// What this executor did so far.
    pub(super) fn counts(&self) -> &Counts {
        &self.0.counts
    }
}
