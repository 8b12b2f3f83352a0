//! The farm: the workers of a master, native ones and those of the classroom.
//!
//! ```text
//!               ┌────────────── node ──────────────┐
//!      lines    │  alive, request, status          │        native: AWAY keeps its attempts, and resumes
//!   worker ───> │ ───────────> Farm ── Ended ────> │ queue    joined ──> linked <──> away ──> lost
//!          <─── │ <─ Answer,   │ ^ <─ recorded ─── │                        └── LEAVE ──> left
//!               │    Send      │ └─── assign ───── │
//!               │              └──── pick ───────> │        foreign: one job at a time, matched by WORKER_UUID
//!               └──────────────────────────────────┘          asking ──> QUERY ──> working ──> STATUS ──> ACK
//! ```
//!
//! It knows nothing of the queue. The node asks [`Farm::changed`], then [`Farm::pick`]s a worker and [`Farm::assign`]s an
//! attempt to it; the farm tells with [`Effect::Ended`] or [`Effect::Lost`] what became of it, exactly once an attempt, unless
//! the node said [`Farm::unwanted`] before. After each input the node calls [`Farm::end_of_input`], which answers the foreign
//! workers that got nothing.
//!
//! Every [`Reply`] that is taken comes back in one [`Effect::Answer`] or [`Effect::Unanswered`].

mod attempts;
mod bonds;
mod foreign;
mod index;
mod looks;
mod machine;
mod native;
mod quarantine;
mod tables;
#[cfg(test)]
mod tests;
mod worker;

use std::time::Duration;

use super::links::Reply;
use super::order::Order;
use super::{LinkId, LogLevel, Outcome};
use crate::wire::{Address, Attempt, Body, EventKind, JobId, JobOutput, Message, ServerId, WorkerMove};

pub(super) use bonds::Guest;
pub(super) use machine::Farm;

/// Workers that one master knows at a time. Ten times what the largest classroom or office has.
pub(super) const MAX_WORKERS: usize = 20_000;

/// Foreign names without a connection and without a job that one host may leave behind. Names with a connection are
/// bounded by the connections; these would else be as many as somebody makes up.
const MAX_LEFT_BEHIND: usize = 1024;

/// Calls that one worker has at a time. They take no slot, so that something else must bound them.
const MAX_CALLS: usize = 256;

/// Workers that [`Farm::call_candidates`] tells at most: a call is not tried at more of them.
const MAX_CANDIDATES: usize = 8;

/// Silence after which a foreign worker on a kept connection is taken to wait for a pushed QUERY. Those that ask again by
/// themselves do so every second or two.
const WAITS_FOR_PUSH: Duration = Duration::from_secs(3);

/// The same of one that has done what was pushed. Not at once: some programs keep only the first line of what comes
/// together, and the ACK has just gone out.
const PAUSE_BEFORE_PUSH: Duration = Duration::from_millis(250);

/// Timeouts after which a foreign worker without connection and job is forgotten. Programs that connect once a message
/// pause longer between two of them than native heartbeats do.
const FORGET_AFTER: u32 = 10;

/// One worker for as long as it is known. Never reused: a worker that was lost and comes back has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WorkerKey(pub(super) u64);

/// How many workers there are for a service: why a job waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(super) struct Census {
    /// That offer it, in any state.
    pub(super) offering: u64,
    /// Of these, those that are there: with a connection, or foreign and not forgotten.
    pub(super) alive: u64,
    /// Of these, those that would be given an attempt now.
    pub(super) idle: u64,
    /// Of those that offer it, those in quarantine.
    pub(super) quarantined: u64,
    /// Of those that are there and in no quarantine, those that take nothing more.
    pub(super) draining: u64,
    /// Of the rest of those that are there, those that are promised to another master.
    pub(super) promised: u64,
}

/// What the farm wants done. The node carries it out in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// Answer this request.
    Answer {
        /// Which request.
        reply: Reply,
        /// With what.
        body: Body,
    },
    /// This request gets no answer: its link is gone, or what was sent unasked has answered it.
    Unanswered {
        /// Which request.
        reply: Reply,
    },
    /// Send this unasked: JOB, STOP, a pushed QUERY.
    Send {
        /// On which connection.
        link: LinkId,
        /// What.
        message: Message,
    },
    /// Call this foreign worker, and tell it where to go; [`Farm::called`] follows, or [`Effect::HangUp`].
    Call {
        /// Whom.
        worker: ServerId,
        /// Where it listens: its own host, or one that the operator has named.
        address: Address,
        /// What it is told.
        order: WorkerMove,
    },
    /// Nobody waits any more for this worker to answer its call.
    HangUp {
        /// Whose.
        worker: ServerId,
    },
    /// The link is gone on which this foreign worker was pushed its order to go: so it has gone.
    WentAway {
        /// Who.
        worker: ServerId,
    },
    /// Close this connection: its worker has a newer one, or has been silent for too long. The farm has forgotten it.
    Close {
        /// Which connection.
        link: LinkId,
    },
    /// An attempt has ended. The queue notes it; the node calls [`Farm::recorded`] when that is durable, or at once when nobody needs it.
    Ended {
        /// Which attempt.
        attempt: Attempt,
        /// Who says so.
        worker: ServerId,
        /// How.
        outcome: Outcome,
    },
    /// The worker of an attempt is gone for good. The queue puts the job back.
    Lost {
        /// Which attempt.
        attempt: Attempt,
        /// Who had it.
        worker: ServerId,
        /// One sentence.
        reason: String,
        /// It was ended because its worker was wanted elsewhere, or could be used no longer: no fault of the job.
        taken: bool,
    },
    /// A native worker is back on a new link, and was welcomed: what it has is claimed.
    Welcomed {
        /// Who.
        worker: ServerId,
    },
    /// A native worker says that it has this attempt, which the farm did not give it, or took back. The node answers [`Farm::claimed`] at once.
    Claim {
        /// Which worker.
        worker: WorkerKey,
        /// Which attempt.
        attempt: Attempt,
    },
    /// A call has ended.
    CallEnded {
        /// Which call.
        call: JobId,
        /// Who did it.
        worker: ServerId,
        /// How.
        outcome: Outcome,
    },
    /// The worker of a call is gone. It may have been done.
    CallLost {
        /// Which call.
        call: JobId,
        /// Who had it.
        worker: ServerId,
        /// One sentence.
        reason: String,
    },
    /// A job or a call has printed something. The node passes it on to who waits for it.
    Printed(JobOutput),
    /// Something happened that people want to know.
    Event {
        /// What kind.
        kind: EventKind,
        /// Which worker.
        worker: ServerId,
        /// One sentence.
        detail: String,
    },
    /// A line for the log that others can cause as often as they like.
    Often {
        /// How important.
        level: LogLevel,
        /// What such lines are, where they are only counted.
        of: &'static str,
        /// The line.
        text: String,
    },
    /// A line for the log.
    Log {
        /// How important.
        level: LogLevel,
        /// The line.
        text: String,
    },
}
