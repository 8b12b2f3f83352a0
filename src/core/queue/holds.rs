//! Attempts that go on while their master is down.
//!
//! An attempt that has run for [`NOTE_AFTER`] is noted on the disk with its worker: its start cost nothing, and most
//! have ended by then. A restart finds such a job as begun and holds it back, for its worker most likely still runs it:
//!
//! ```text
//!   begun ──> held: DELAYED ──┬── its worker is back and has it: claimed, RUNNING
//!                             ├── its worker is back without it, or the time is over: QUEUED
//!                             └── its worker reports its end: it has ended
//! ```
//!
//! An attempt that was not noted yet may be made twice, as it always might.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{JobNumber, JobWrite};
use super::disk::Kind;
use super::job::{Job, Run, State};
use super::machine::Queue;
use super::moment::Moment;
use super::{Effect, LogLevel};
use crate::time::{Seconds, Time};
use crate::wire::{JobStatus, JobView, ServerId};

/// How long an attempt runs before it is noted; it is then at the latest when as much has passed again.
const NOTE_AFTER: Duration = Duration::from_millis(250);

/// Attempts that are noted at a time, so that the disk has others' writes between.
const NOTE_BATCH: usize = 1000;

/// A job that is held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Hold {
    worker: ServerId,
    /// From when on it had waited for a worker.
    since: Moment,
}

/// The jobs that are held, and when attempts are noted next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Holds {
    /// How long a job is held.
    time: Duration,
    jobs: BTreeMap<JobNumber, Hold>,
    by_worker: BTreeMap<ServerId, BTreeSet<JobNumber>>,
    /// When running attempts are looked at next. Holds only while some run.
    next_look: Time,
}

impl Holds {
    fn insert(&mut self, number: JobNumber, hold: Hold) {
        self.by_worker.entry(hold.worker.clone()).or_default().insert(number);
        self.jobs.insert(number, hold);
    }

    /// A job is not held any more: from when on it had waited, if it was.
    pub(super) fn remove(&mut self, number: JobNumber) -> Option<Moment> {
        let Hold { worker, since } = self.jobs.remove(&number)?;
        if let Some(jobs) = self.by_worker.get_mut(&worker) {
            jobs.remove(&number);
            if jobs.is_empty() {
                self.by_worker.remove(&worker);
            }
        }
        Some(since)
    }

    /// Whether a job is held.
    pub(super) fn has(&self, number: JobNumber) -> bool {
        self.jobs.contains_key(&number)
    }

    /// An attempt begins: it is to be looked at.
    pub(super) fn begins(&mut self, now: Time) {
        if self.next_look <= now {
            self.next_look = now + NOTE_AFTER;
        }
    }
}

impl Queue {
    /// How long jobs that were begun before a restart are held back. Before the first [`Queue::restore`]; else not at all.
    pub(in crate::core) fn hold_for(&mut self, time: Duration) {
        self.holds.time = time;
    }

    /// This job is restored, and `worker` had begun this attempt: it is held, as if that had been forgotten; if the attempt
    /// is made again, it has the same number.
    pub(super) fn hold(&mut self, number: JobNumber, job: &mut Job, attempt: u32, worker: &str, now: Moment) {
        job.attempt = attempt.saturating_sub(1);
        if let Some(worker) = ServerId::new(worker).filter(|_| !self.holds.time.is_zero()) {
            self.holds.insert(number, Hold { worker, since: job.since });
            job.since = now.after(self.holds.time);
        }
        job.state = if job.since > now { State::Delayed } else { State::Queued };
    }

    /// A worker is back, and has claimed what it runs: the rest of what it had begun waits no longer.
    pub(in crate::core) fn returned(&mut self, worker: &ServerId, now: Time) -> bool {
        let Some(numbers) = self.holds.by_worker.get(worker).cloned() else { return false };
        for number in numbers {
            let why = format!("worker {worker} is back without it");
            self.release(number, &why, now);
        }
        true
    }

    /// A job that is held waits for any worker from now on.
    pub(super) fn release(&mut self, number: JobNumber, why: &str, now: Time) {
        let Some(since) = self.holds.jobs.get(&number).map(|hold| hold.since) else { return };
        self.withdraw(number);
        self.table.change(number, |job| {
            // The wall clock may have been set back: nothing waits from a later time on.
            (job.state, job.since) = (State::Queued, since.min(Moment::at(now)));
        });
        self.admit(number);
        let text = format!("job {} was begun before the restart, and is done again: {why}", self.id(number));
        self.effects.push_back(Effect::Log { level: LogLevel::Info, text });
    }

    /// What is said of a job that is held.
    pub(super) fn explain_hold(&self, number: JobNumber, view: &mut JobView, now: Time) {
        let Some(hold) = self.holds.jobs.get(&number) else { return };
        let Some(job) = self.table.get(number) else { return };
        let rest = Seconds(job.since.since(Moment::at(now)));
        view.reason = Some(format!(
            "waits: its attempt {} may still run on worker {}, which has not come back since the restart; held for at \
             most {rest} s more",
            job.attempt.saturating_add(1),
            hold.worker,
        ));
    }

    /// Notes what has run for a while.
    pub(super) fn note_runs(&mut self, now: Time) {
        if self.notes_due().is_none_or(|due| due > now) {
            return;
        }
        self.holds.next_look = now + NOTE_AFTER;
        if self.disk.illness().is_some() {
            return;
        }
        let old = |job: &Job, run: &Run| !job.noted && Moment::at(now).since(run.begun) >= NOTE_AFTER;
        let running = self.table.after(None, Some(JobStatus::Running));
        let due = running.filter(|(_, job)| matches!(&job.state, State::Running(run) if old(job, run)));
        let due: Vec<JobNumber> = due.map(|(number, _)| number).take(NOTE_BATCH).collect();
        for number in due {
            let state = self.table.change_writes(number, |job| {
                job.noted = true;
                job.stored()
            });
            let Some(state) = state else { continue };
            let ticket = self.disk.send(number, Kind::Note, now);
            self.effects.push_back(Effect::Write { ticket, write: Box::new(JobWrite::State { number, state }) });
        }
    }

    /// Panics if the tables contradict each other.
    pub(super) fn check_holds(&self) {
        let Holds { jobs, by_worker, .. } = &self.holds;
        assert_eq!(jobs.len(), by_worker.values().map(BTreeSet::len).sum::<usize>());
        for (number, hold) in jobs {
            assert!(by_worker.get(&hold.worker).is_some_and(|jobs| jobs.contains(number)), "{number:?}");
            assert!(self.table.get(*number).is_some_and(|job| job.state == State::Delayed), "{number:?}");
        }
    }

    /// When [`Queue::note_runs`] has something to do.
    pub(super) fn notes_due(&self) -> Option<Time> {
        let runs = self.table.tally(JobStatus::Running).jobs > 0;
        (runs && self.is_durable()).then_some(self.holds.next_look)
    }
}
