//! What the loop wants of the stores of jobs and of the group, and what the stores tell it.

use std::io;

use crate::core::{GroupWrite, JobWrite, LogTicket, Ticket};
use crate::store::group::{GroupStore, GroupWriter};
use crate::store::jobs::{JobStore, JobWriter};

pub use crate::store::group::GroupNote;
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

/// Tells the loop what became of writes of the group, from any thread. Never blocks, and does nothing once the loop has ended.
pub type TellGroup = Box<dyn Fn(GroupNote) + Send>;

/// A store of the group that is not used yet. The loop starts it when the node begins.
pub trait GroupAtRest: Send {
    /// Starts what it needs.
    ///
    /// # Errors
    /// Where the operating system refuses a thread. The node does not start then.
    fn start(self: Box<Self>, tell: TellGroup) -> io::Result<Box<dyn GroupLog>>;
}

/// A store of the group that is used. Dropping it writes what is outstanding, within bounds of its own.
pub trait GroupLog: Send {
    /// Notes a write. Never blocks. Tickets ascend.
    fn push(&mut self, ticket: LogTicket, write: GroupWrite);
    /// Makes everything that was pushed durable, together. Never blocks. Called at most once a turn of the loop.
    fn flush(&mut self);
}

impl GroupAtRest for GroupStore {
    fn start(self: Box<Self>, tell: TellGroup) -> io::Result<Box<dyn GroupLog>> {
        Ok(Box::new(GroupStore::start(*self, tell)?))
    }
}

impl GroupLog for GroupWriter {
    fn push(&mut self, ticket: LogTicket, write: GroupWrite) {
        GroupWriter::push(self, ticket, write);
    }

    fn flush(&mut self) {
        GroupWriter::flush(self);
    }
}
