//! What the loop wants of the store of jobs, and what the store tells it.

use std::io;

use crate::core::{JobWrite, Ticket};
use crate::store::jobs::{JobStore, JobWriter};

pub use crate::store::jobs::StoreNote;

/// Tells the loop what became of writes, from any thread. Never blocks, and does nothing once the loop has ended.
pub type TellStored = Box<dyn Fn(StoreNote) + Send>;

/// A store of jobs that is not used yet. The loop starts it when the node begins.
pub trait JobsAtRest: Send {
    /// Starts what it needs.
    ///
    /// # Errors
    /// Where the operating system refuses a thread. The node does not start then.
    fn start(self: Box<Self>, tell: TellStored) -> io::Result<Box<dyn Jobs>>;
}

/// A store of jobs that is used. Dropping it writes what is outstanding, within bounds of its own.
pub trait Jobs: Send {
    /// Notes a write. Never blocks. Tickets come in their order, without gaps.
    fn push(&mut self, ticket: Ticket, write: Box<JobWrite>);
    /// Makes everything that was pushed durable, together. Never blocks. Called at most once a turn of the loop.
    fn flush(&mut self);
}

impl JobsAtRest for JobStore {
    fn start(self: Box<Self>, tell: TellStored) -> io::Result<Box<dyn Jobs>> {
        Ok(Box::new(JobStore::start(*self, tell)?))
    }
}

impl Jobs for JobWriter {
    fn push(&mut self, ticket: Ticket, write: Box<JobWrite>) {
        JobWriter::push(self, ticket, write);
    }

    fn flush(&mut self) {
        JobWriter::flush(self);
    }
}
