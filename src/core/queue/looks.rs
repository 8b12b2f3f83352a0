//! What the node asks about jobs while it decides whom to tell what.

use std::time::Duration;

use super::job::{Job, State};
use super::machine::Queue;
use super::moment::Moment;
use super::names::Pair;
use crate::core::JobNumber;
use crate::time::{Seconds, Time};
use crate::wire::{EventKind, JobCounts, JobId, JobStatus, MAX_QUOTE, ServiceName, quote};

impl Queue {
    /// `None`: what is known of a job may not be said, as [`Queue::is_settled`] tells. Else whether it is OK, NOK,
    /// CANCELLED or BURIED; also if it is unknown.
    pub(in crate::core) fn settled_end(&self, number: JobNumber) -> Option<bool> {
        let Some(job) = self.table.get(number) else { return Some(true) };
        job.is_settled().then(|| job.status().is_some_and(JobStatus::is_ended))
    }

    /// How many jobs of its service are given out before this one, if nothing changes. `None`: it does not wait for a worker.
    pub(in crate::core) fn ahead_of(&self, number: JobNumber) -> Option<usize> {
        let job = self.table.get(number).filter(|job| matches!(job.state, State::Queued))?;
        Some(self.lanes.ahead_of(self.names.service(job.pair), job.priority, job.since, number))
    }

    /// The services with jobs that wait for a worker, and how many of each.
    pub(in crate::core) fn waiting_services(&self) -> Vec<(ServiceName, u64)> {
        self.lanes.waiting_services()
    }

    /// The most urgent job that waits, and the pair of its service and its method.
    pub(in crate::core) fn most_urgent(&self) -> Option<(Pair, JobNumber)> {
        self.lanes.heads().next()
    }

    /// The pair of a job, with its service and its method.
    pub(in crate::core) fn pair_of(&self, number: JobNumber) -> Option<(Pair, &ServiceName, &ServiceName)> {
        let pair = self.table.get(number)?.pair;
        Some((pair, self.names.service(pair), self.names.method(pair)))
    }

    /// How many methods of services have jobs that wait for a worker.
    pub(in crate::core) fn waiting_lanes(&self) -> usize {
        self.lanes.waiting()
    }

    /// For each method of a service with jobs that wait its most urgent one, and how urgent it is: the smaller, the more.
    pub(in crate::core) fn heads_of(
        &self,
        service: &ServiceName,
    ) -> impl Iterator<Item = (&ServiceName, impl Ord + Copy + use<>, JobNumber)> {
        self.lanes.heads_of(service).map(|(method, urgency)| (method, urgency, urgency.1))
    }

    /// How many jobs there are of each status.
    pub(in crate::core) fn counts(&self) -> JobCounts {
        let count = |status| self.table.tally(status).jobs;
        JobCounts {
            delayed: count(JobStatus::Delayed),
            queued: count(JobStatus::Queued),
            running: count(JobStatus::Running),
            ok: count(JobStatus::Ok),
            nok: count(JobStatus::Nok),
            cancelled: count(JobStatus::Cancelled),
            buried: count(JobStatus::Buried),
        }
    }

    /// Jobs that are OK, and those that are NOK or BURIED, with those that this run has forgotten since.
    pub(in crate::core) fn ended(&self) -> (u64, u64) {
        let JobCounts { ok, nok, buried, .. } = self.counts();
        (ok + self.forgotten.0, nok + buried + self.forgotten.1)
    }

    /// Jobs that wait for a worker. Those that wait for their time are not among them: no worker would help.
    pub(in crate::core) fn pending(&self) -> u64 {
        self.table.tally(JobStatus::Queued).jobs
    }

    /// Jobs that run.
    pub(in crate::core) fn running(&self) -> u64 {
        self.table.tally(JobStatus::Running).jobs
    }

    /// How long the QUEUED job that has waited longest has waited, since it could have been started.
    pub(in crate::core) fn oldest_queued(&self, now: Time) -> Option<Duration> {
        self.lanes.oldest().map(|since| Moment::at(now).since(since))
    }

    /// Bytes of all jobs and kept results: for each job 200, and the lengths of its service, method, `PARAMS`, `KEY`,
    /// `RESULT`, reason and the name of the worker that finished it.
    pub(in crate::core) fn bytes(&self) -> u64 {
        self.table.bytes()
    }

    /// Why the state of a job is not durable and will not be before the disk is well; `None` if it is or may soon be.
    pub(in crate::core) fn unstored(&self, number: JobNumber) -> Option<&str> {
        self.table.get(number).filter(|job| job.owed).and_then(|_| self.disk.illness())
    }

    /// Whether this is the id of a job of this master, kept or not.
    pub(in crate::core) fn is_id(&self, id: &JobId) -> bool {
        self.ids.place(id).is_some()
    }

    /// Whether a job is accepted; also if it is unknown.
    pub(in crate::core) fn is_accepted(&self, number: JobNumber) -> bool {
        self.table.get(number).is_none_or(|job| job.state != State::Accepting)
    }

    /// Whether a job has a key by which it is known again.
    pub(in crate::core) fn has_key(&self, number: JobNumber) -> bool {
        self.table.get(number).is_some_and(|job| job.key.is_some())
    }

    /// When the disk counts as slow, if it does not write before; `None` if nothing is under way to it.
    pub(in crate::core) fn slow_at(&self) -> Option<Time> {
        self.disk.slow_at()
    }

    /// What is wrong with the disk, in one sentence; `None` if it is well.
    pub(in crate::core) fn disk_trouble(&self, now: Time) -> Option<String> {
        if let Some(reason) = self.disk.illness() {
            return Some(format!("the disk refuses to write: {}", quote(reason, MAX_QUOTE)));
        }
        let age = self.disk.slow_for(now)?;
        Some(format!("the disk is slow: its oldest write has been under way for {} s", Seconds(age)))
    }

    /// Whether something is under way to the disk.
    pub(in crate::core) fn is_writing(&self) -> bool {
        self.disk.in_flight() > 0
    }

    /// Whether something is to be done.
    pub(in crate::core) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// What has become of a job, for people.
    pub(super) fn obituary(&self, number: JobNumber, job: &Job) -> (EventKind, String) {
        let (id, task) = (self.id(number), self.names.task(job.pair));
        let State::Ended(end) = &job.state else {
            return (EventKind::JobEnded, format!("job {id} ({task}) goes on"));
        };
        let mut detail = format!("job {id} ({task}) is {}", end.status.as_str());
        if let Some(worker) = &end.worker {
            detail.push_str(" by worker ");
            detail.push_str(worker.as_str());
            detail.push_str(", attempt ");
            detail.push_str(&job.attempt.to_string());
        }
        if let Some(reason) = &job.why {
            detail.push_str(": ");
            detail.push_str(&quote(reason, MAX_QUOTE));
        }
        let buried = end.status == JobStatus::Buried;
        (if buried { EventKind::JobBuried } else { EventKind::JobEnded }, detail)
    }
}
