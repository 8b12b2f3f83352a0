//! The queue of jobs of a master: nothing accepted is lost, no result is recorded twice, attempts are bounded, and
//! priorities starve nobody.
//!
//! A pure machine. Its inputs are methods, what it wants done are [`Effect`]s, taken by [`Queue::poll_effect`] until
//! `None` after each input, before the next one. [`Queue::deadline`] says when the next [`Queue::tick`] is due.
//!
//! ```text
//!   submit ─> New ─> Write(Put) ─ written ─> Accepted ─> DELAYED or QUEUED
//!                        └─────── failed ──> Refused, and the job was never there
//!
//!   QUEUED ── start ──> RUNNING ── finish(Ok), finish(Failed, no retry) ──> OK, NOK
//!      ^                   │ finish(Failed, retry), time is up: DELAYED, then QUEUED
//!      └───────────────────┤ lost: at once
//!        kick <── BURIED <─┘ no attempts left
//!
//!   every change after the Put:  Write(State) ─ written ─> Settled
//!                                     └──────── failed ──> written again later, until it is
//! ```
//!
//! One change of this drawing costs no write: the start of an attempt. One that has run for a while is noted, as a hint
//! for a restart; a crash may forget that another was begun.

mod disk;
mod forget;
mod holds;
mod ids;
mod job;
mod lanes;
mod laws;
mod list;
mod looks;
mod machine;
#[cfg(test)]
mod model;
mod moment;
mod names;
mod retention;
mod table;
#[cfg(test)]
mod tests;

use super::order::Order;
use super::{JobNumber, JobWrite, LogLevel, Ticket};
use crate::wire::{Attempt, ErrorAnswer, EventKind, ServerId};

pub(super) use machine::Queue;
pub(super) use names::Pair;

/// What became of a submission that was not refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Submitted {
    /// It is a new job. [`Effect::Accepted`] or [`Effect::Refused`] tells its fate; until then nothing is said of it.
    New(JobNumber),
    /// Its key is known: this job has it. Where that one is not settled, its fate is waited for.
    Known(JobNumber),
}

/// What became of a report on an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Finish {
    /// It counts. The worker is told when the job is settled: at once if [`Queue::is_settled`], else at [`Effect::Settled`].
    Recorded(JobNumber),
    /// It changes nothing: the job has ended or is unknown, or the attempt counts as failed already. The worker is
    /// told at once, so that it forgets it.
    Late,
}

/// What the queue wants done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// Make this durable, in the order of the tickets, then tell [`Queue::written`] or [`Queue::write_failed`]. Never
    /// said where durability is memory.
    Write {
        /// Its number: 1, 2, 3 ...
        ticket: Ticket,
        /// What.
        write: Box<JobWrite>,
    },
    /// A new job is accepted. The node answers who submitted it, and everybody who used its key since.
    Accepted(JobNumber),
    /// A new job is not accepted, and gone. The node answers as above.
    Refused {
        /// Which.
        number: JobNumber,
        /// Why.
        error: ErrorAnswer,
    },
    /// All that is known of this job is durable: its end, its failed attempt, that it was buried or kicked. The node
    /// answers who waits for it, and lets the farm acknowledge the report.
    Settled(JobNumber),
    /// Nobody wants this attempt any more. The farm tells the worker to stop it.
    Unwanted {
        /// Which.
        attempt: Attempt,
        /// Who makes it.
        worker: ServerId,
        /// Why: one sentence without a full stop.
        reason: String,
    },
    /// Something happened that people and programs may want to know. The node numbers and spreads it.
    Event {
        /// What kind.
        kind: EventKind,
        /// One sentence.
        detail: String,
        /// The worker that it names, so that the node can say more of it.
        worker: Option<Box<str>>,
    },
    /// A line for the log.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: String,
    },
}
