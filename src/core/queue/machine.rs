//! The machine: inputs change jobs, and what follows is done by the parts beside it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::super::timeline::{Timeline, earlier};
use super::super::{
    JobEnd, JobNumber, JobSpec, JobWrite, LogLevel, Outcome, QueueConfig, StoredJob, StoredState, Ticket,
};
use super::disk::{Disk, Kind};
use super::holds::Holds;
use super::ids::Ids;
use super::job::{End, Job, Making, State, clipped, cost_of, names_of};
use super::lanes::{Lanes, MAX_LANES};
use super::moment::Moment;
use super::names::{Names, Pair};
use super::retention::Retention;
use super::table::Table;
use super::{Effect, Finish, Order, Submitted};
use crate::time::{Seconds, Time};
use crate::wire::{
    Attempt, Durability, ErrorAnswer, ErrorCode, EventKind, JobId, JobRef, JobStatus, JobTask, JobView, MAX_QUOTE,
    ServerId, ServiceName, Submit, quote,
};

/// Jobs whose time has come that one tick looks at. The rest follows with the next, which is due at once, so that
/// other inputs find their way between.
pub(super) const TICK_BATCH: usize = 1000;

/// How an attempt failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure<'a> {
    /// This worker said so.
    Reported(&'a ServerId),
    /// Its time is up.
    Overdue,
    /// Its worker is gone. The attempt may still be running there.
    Lost,
    /// Its worker was taken away, which is no fault of the job: it does not count.
    TakenAway,
}

/// The queue of jobs of a master.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::core) struct Queue {
    pub(super) config: QueueConfig,
    pub(super) ids: Ids,
    /// The number of the next job.
    pub(super) next: JobNumber,
    pub(super) table: Table,
    pub(super) names: Names,
    pub(super) keys: BTreeMap<Arc<str>, JobNumber>,
    pub(super) lanes: Lanes,
    /// DELAYED jobs by their time, RUNNING ones by when their time is up.
    pub(super) agenda: Timeline<(Moment, JobNumber)>,
    pub(super) retention: Retention,
    pub(super) disk: Disk,
    pub(super) holds: Holds,
    pub(super) effects: VecDeque<Effect>,
    /// Jobs that this run has forgotten: those that were OK, and those that were NOK or BURIED.
    pub(super) forgotten: (u64, u64),
    /// Nobody listens to the ends of jobs: they are not put into words.
    mute: bool,
}

impl Queue {
    /// The empty queue of a master that is started for the `boot`th time. Ids of jobs begin with the first eight
    /// characters of its id.
    pub(in crate::core) fn new(config: QueueConfig, master: &ServerId, boot: u32) -> Queue {
        Queue {
            config,
            ids: Ids::new(master, boot),
            next: JobNumber::first(boot),
            table: Table::default(),
            names: Names::default(),
            keys: BTreeMap::new(),
            lanes: Lanes::default(),
            agenda: Timeline::default(),
            retention: Retention::default(),
            disk: Disk::default(),
            holds: Holds::default(),
            effects: VecDeque::new(),
            forgotten: (0, 0),
            mute: false,
        }
    }

    /// Whether anybody listens to the ends of jobs that are OK. A sentence for each would cost more than the job's own
    /// way through the queue.
    pub(in crate::core) fn mute(&mut self, mute: bool) {
        self.mute = mute;
    }

    /// A job that the store has. Before the first input, in ascending order. Jobs that ran wait again, until
    /// their worker claims them or another is free, for a while only the former; ages go on.
    pub(in crate::core) fn restore(&mut self, stored: StoredJob, now: Time) {
        let StoredJob { number, spec, state, age, state_age } = stored;
        let JobSpec { service, method, params, priority, delay, timeout, attempts, key } = spec;
        let key: Option<Arc<str>> = key.map(Arc::from);
        if self.table.get(number).is_some() {
            return;
        }
        self.next = self.next.max(JobNumber(number.0.saturating_add(1)));
        let (now, accepted) = (Moment::at(now), Moment::at(now).before(age));
        let names = names_of(&service, &method);
        let pair = self.names.take(service, method);
        let since = accepted.after(delay);
        let making =
            Making { pair, names, params, key, priority, timeout, attempts, accepted, since, state: State::Queued };
        let mut job = Job::new(making);
        job.restored = true;
        match state {
            StoredState::Open { attempt, spared } => {
                (job.attempt, job.spared) = (attempt, spared);
                job.resumable = attempt > 0;
                if attempt > 0 {
                    let until = now.before(state_age).after(job.pause(self.config.retry_pause, attempt));
                    job.since = if until > now { until } else { job.since };
                }
                job.state = if job.since > now { State::Delayed } else { State::Queued };
            }
            StoredState::Begun { attempt, spared, worker } => {
                job.spared = spared;
                self.hold(number, &mut job, attempt, &worker, now);
            }
            StoredState::Ended(end) => {
                let JobEnd { status, attempt, worker, result, reason } = *end;
                let worker = worker.and_then(ServerId::new);
                job.end(End { status, worker, result }, attempt, reason, now.before(state_age));
                job.untold = false;
            }
        }
        if let Some(key) = &job.key {
            self.keys.insert(key.clone(), number);
        }
        if !matches!(job.state, State::Ended(_)) {
            self.open_lane(pair);
        }
        self.table.insert(number, job);
        self.admit(number);
    }

    /// Somebody submits a job. An error: nothing changed.
    pub(in crate::core) fn submit(&mut self, submit: Submit, now: Time) -> Result<Submitted, ErrorAnswer> {
        if let Some(number) = submit.key.as_deref().and_then(|key| self.keys.get(key)) {
            return Ok(Submitted::Known(*number));
        }
        self.check_room(&submit)?;
        let number = self.next;
        if number.boot() != self.ids.boot() {
            let detail = "this start of the master has given all its job numbers; restart it";
            return Err(refusal(JobTask::Submit, ErrorCode::QueueFull, detail));
        }
        if !self.disk.admits(now) {
            let reason = self.disk.illness().unwrap_or_default();
            return Err(refusal(JobTask::Submit, ErrorCode::StoreFailed, unstored(reason)));
        }
        let Submit { service, method, params, priority, delay, timeout, attempts, key, .. } = submit;
        let timeout = timeout.unwrap_or(self.config.job_timeout);
        let attempts = attempts.unwrap_or(self.config.attempts);
        let durable = self.is_durable();
        if durable {
            let (service, method, params) = (service.clone(), method.clone(), params.clone());
            let key = key.as_deref().map(Box::from);
            let spec = JobSpec { service, method, params, priority, delay, timeout, attempts, key };
            let ticket = self.disk.send(number, Kind::Put, now);
            self.effects.push_back(Effect::Write { ticket, write: Box::new(JobWrite::Put { number, spec }) });
        }
        let names = names_of(&service, &method);
        let pair = self.names.take(service, method);
        let key: Option<Arc<str>> = key.map(Arc::from);
        if let Some(key) = &key {
            self.keys.insert(key.clone(), number);
        }
        self.open_lane(pair);
        let accepted = Moment::at(now);
        let since = accepted.after(delay);
        let state = if durable { State::Accepting } else { waits(since, now) };
        let mut job =
            Job::new(Making { pair, names, params, key, priority, timeout, attempts, accepted, since, state });
        job.writes = u32::from(durable);
        if !durable {
            self.file(number, &job);
            self.effects.push_back(Effect::Accepted(number));
        }
        self.table.insert(number, job);
        self.next = JobNumber(number.0 + 1);
        Ok(Submitted::New(number))
    }

    fn check_room(&self, submit: &Submit) -> Result<(), ErrorAnswer> {
        let QueueConfig { max_jobs, max_bytes, .. } = self.config;
        let full = |detail: String| Err(refusal(JobTask::Submit, ErrorCode::QueueFull, detail));
        let open = self.table.open();
        if open >= max_jobs {
            return full(format!("{open} jobs wait or run, and max-jobs is {max_jobs}"));
        }
        let key = submit.key.as_ref().map_or(0, String::len);
        let names = names_of(&submit.service, &submit.method);
        let (bytes, cost) = (self.bytes(), cost_of(names, submit.params.as_str().len(), key));
        if bytes + cost > max_bytes {
            return full(format!("jobs and results hold {bytes} bytes, this job {cost}, and max-bytes is {max_bytes}"));
        }
        if !self.lanes.has_room(None) && !self.lanes.has_room(self.names.find(&submit.service, &submit.method)) {
            return full(format!("jobs of {MAX_LANES} methods wait or run, and that is the most"));
        }
        Ok(())
    }

    /// The job that is meant, if it is kept.
    pub(in crate::core) fn find(&self, job: &JobRef) -> Option<JobNumber> {
        match job {
            JobRef::Id(id) => self.number(id),
            JobRef::Key(key) => self.keys.get(key.as_str()).copied(),
        }
    }

    /// The job of an id, if it is kept.
    pub(in crate::core) fn number(&self, id: &JobId) -> Option<JobNumber> {
        self.ids.place(id).filter(|number| self.table.get(*number).is_some())
    }

    /// The id of a job.
    pub(in crate::core) fn id(&self, number: JobNumber) -> JobId {
        self.ids.id(number)
    }

    /// What is said of a job; `None` if it is not kept, or not accepted yet. `long`: with service, method and age.
    #[inline]
    pub(in crate::core) fn view(&self, number: JobNumber, now: Time, long: bool) -> Option<JobView> {
        let job = self.table.get(number)?;
        let names = long.then(|| (self.names.service(job.pair), self.names.method(job.pair)));
        let mut view = job.view(self.id(number), now, names)?;
        self.explain_hold(number, &mut view, now);
        Some(view)
    }

    /// Whether no write about this job is outstanding, so that what is known of it may be said. `true` for a job that
    /// is not kept.
    pub(in crate::core) fn is_settled(&self, number: JobNumber) -> bool {
        self.table.get(number).is_none_or(Job::is_settled)
    }

    /// Somebody wants this job not to be done. One that has ended stays as it is, except a buried one. The
    /// node answers when the job is settled.
    pub(in crate::core) fn cancel(&mut self, number: JobNumber, now: Time) -> Result<(), ErrorAnswer> {
        let job = self.reach(number, JobTask::Cancel)?;
        let status = job.status();
        if status.is_some_and(JobStatus::is_ended) && status != Some(JobStatus::Buried) {
            return Ok(());
        }
        let (attempt, status) = (job.attempt, JobStatus::Cancelled);
        let why = Some("somebody cancelled it".into());
        self.end(number, End { status, worker: None, result: None }, attempt, why, Some("it is cancelled"), now);
        Ok(())
    }

    /// Somebody sets this job aside until it is kicked: QUEUED, DELAYED and NOK ones only.
    pub(in crate::core) fn bury(&mut self, number: JobNumber, now: Time) -> Result<(), ErrorAnswer> {
        let job = self.reach(number, JobTask::Bury)?;
        let (attempt, status) = (job.attempt, JobStatus::Buried);
        let (worker, result, before) = match &job.state {
            State::Queued | State::Delayed => (None, None, job.why.clone()),
            State::Ended(end) if end.status == JobStatus::Nok => {
                (end.worker.clone(), end.result.clone(), job.why.clone())
            }
            _ => return Err(wrong_state(JobTask::Bury, job, "QUEUED, DELAYED or NOK")),
        };
        let reason = match before {
            Some(before) => clipped(format!("somebody buried it; before that: {before}")),
            None => "somebody buried it".into(),
        };
        self.end(number, End { status, worker, result }, attempt, Some(reason), None, now);
        Ok(())
    }

    /// Somebody wants a BURIED job to be tried again: with what is left of its attempts, or with another round of
    /// them if they are used up.
    pub(in crate::core) fn kick(&mut self, number: JobNumber, now: Time) -> Result<(), ErrorAnswer> {
        let job = self.reach(number, JobTask::Kick)?;
        if job.status() != Some(JobStatus::Buried) {
            return Err(wrong_state(JobTask::Kick, job, "BURIED"));
        }
        let full = |detail: String| Err(refusal(JobTask::Kick, ErrorCode::QueueFull, detail));
        if self.table.open() >= self.config.max_jobs {
            return full(format!("max-jobs, {} jobs, wait or run", self.config.max_jobs));
        }
        if !self.lanes.has_room(Some(job.pair)) {
            return full(format!("jobs of {MAX_LANES} methods wait or run, and that is the most"));
        }
        let pair = job.pair;
        self.withdraw(number);
        self.open_lane(pair);
        self.table.change(number, |job| {
            (job.state, job.since, job.untold, job.resumable) = (State::Queued, Moment::at(now), false, false);
            job.why = None;
        });
        self.admit(number);
        self.save(number, now);
        Ok(())
    }

    /// A job that somebody names, if anything can be done with it now.
    fn reach(&self, number: JobNumber, task: JobTask) -> Result<&Job, ErrorAnswer> {
        let Some(job) = self.table.get(number) else {
            return Err(refusal(task, ErrorCode::NotFound, "this job is not kept here"));
        };
        if job.state == State::Accepting {
            let error = refusal(task, ErrorCode::WrongState, "the job is being accepted; ask again when it is");
            return Err(ErrorAnswer { retry: true, ..error });
        }
        Ok(job)
    }

    /// For each method with jobs that wait its most urgent one, the most urgent of all first: its service, its method and
    /// its number.
    pub(in crate::core) fn waiting(&self) -> impl Iterator<Item = (&ServiceName, &ServiceName, JobNumber)> {
        self.lanes.heads().map(|(pair, number)| (self.names.service(pair), self.names.method(pair), number))
    }

    /// The next attempt at this job is `worker`'s. `None` if it does not wait.
    pub(in crate::core) fn start(&mut self, number: JobNumber, worker: &ServerId, now: Time) -> Option<Order> {
        let job = self.table.get(number).filter(|job| job.state == State::Queued)?;
        self.lanes.remove(job.pair, job.priority, job.since, number);
        let (due, pair, attempt, params, timeout) = self.table.change(number, |job| {
            let due = job.run(job.attempt.saturating_add(1), worker, Moment::at(now));
            (due, job.pair, job.attempt, job.params(), job.timeout())
        })?;
        self.agenda.insert((due, number));
        self.holds.begins(now);
        let job_id = self.id(number);
        self.ids.speak(number, job_id.clone());
        let (service, method) = (self.names.service(pair).clone(), self.names.method(pair).clone());
        Some(Order { attempt: Attempt { job_id, attempt }, service, method, params, timeout, output: false })
    }

    /// A worker says that it runs this attempt: after a cut, or after a restart of this node. `true`: it goes on, and
    /// is the attempt that runs. `false`: nobody wants it.
    pub(in crate::core) fn claim(&mut self, attempt: &Attempt, worker: &ServerId, now: Time) -> bool {
        let Some(number) = self.number(&attempt.job_id) else { return false };
        let Some(job) = self.table.get(number) else { return false };
        match &job.state {
            State::Running(run) => run.worker == *worker && job.attempt == attempt.attempt,
            State::Queued | State::Delayed if job.may_resume(attempt.attempt) => {
                self.withdraw(number);
                let due = self.table.change(number, |job| job.run(attempt.attempt, worker, Moment::at(now)));
                due.map(|due| self.agenda.insert((due, number)));
                self.holds.begins(now);
                true
            }
            _ => false,
        }
    }

    /// A worker reports how an attempt ended. The first result of any attempt wins, also of one that was given up.
    pub(in crate::core) fn finish(
        &mut self,
        attempt: &Attempt,
        worker: &ServerId,
        outcome: Outcome,
        now: Time,
    ) -> Finish {
        let nth = attempt.attempt;
        let Some(number) = self.number(&attempt.job_id) else { return Finish::Late };
        let Some(job) = self.table.get(number) else { return Finish::Late };
        if matches!(job.state, State::Accepting | State::Ended(_)) || !job.may_have_begun(nth) {
            return Finish::Late;
        }
        let (status, result, reason) = match outcome {
            Outcome::Ok(result) => (JobStatus::Ok, Some(result), None),
            Outcome::Failed { detail, result, retry: false } => (JobStatus::Nok, result, Some(clipped(detail))),
            Outcome::Failed { detail, .. } => {
                let counts = match &job.state {
                    State::Running(_) => job.is_run_by(nth, worker),
                    // A restart has forgotten that it was begun.
                    _ => nth > job.attempt,
                };
                if !counts {
                    return Finish::Late;
                }
                self.fail(number, nth, Failure::Reported(worker), detail, now);
                return Finish::Recorded(number);
            }
        };
        let end = End { status, worker: Some(worker.clone()), result };
        let unwanted = (!job.is_run_by(nth, worker)).then_some("another attempt has finished the job");
        let begun = job.attempt.max(nth);
        self.ids.speak(number, attempt.job_id.clone());
        self.end(number, end, begun, reason, unwanted, now);
        Finish::Recorded(number)
    }

    /// The worker of this attempt is gone: the job waits again at once, or is buried if that was its last attempt.
    /// Ignored unless that attempt runs.
    pub(in crate::core) fn lost(&mut self, attempt: &Attempt, reason: &str, now: Time) {
        self.is_gone(attempt, Failure::Lost, reason, now);
    }

    /// An attempt was ended because its worker was wanted elsewhere, or could be used no longer. It does not count, and the job waits again.
    pub(in crate::core) fn taken_away(&mut self, attempt: &Attempt, reason: &str, now: Time) {
        self.is_gone(attempt, Failure::TakenAway, reason, now);
    }

    /// Attempts at a job that do not count.
    pub(in crate::core) fn spared(&self, job: &JobId) -> u32 {
        let number = self.number(job);
        number.and_then(|number| self.table.get(number)).map_or(0, |job| job.spared.into())
    }

    /// All jobs with attempts that do not count, and how many.
    pub(in crate::core) fn all_spared(&self) -> impl Iterator<Item = (JobId, u32)> {
        let spared = self.table.after(None, None).filter(|(_, job)| job.spared > 0);
        spared.map(|(number, job)| (self.id(number), job.spared.into()))
    }

    fn is_gone(&mut self, attempt: &Attempt, failure: Failure<'_>, reason: &str, now: Time) {
        let Some(number) = self.number(&attempt.job_id) else { return };
        let runs = |job: &Job| matches!(job.state, State::Running(_)) && job.attempt == attempt.attempt;
        if self.table.get(number).is_some_and(runs) {
            self.fail(number, attempt.attempt, failure, reason.to_owned(), now);
        }
    }

    /// All writes through this ticket that were not told to have failed are durable.
    pub(in crate::core) fn written(&mut self, through: Ticket, now: Time) {
        let mut any = false;
        while let Some(flight) = self.disk.landed(through) {
            any = true;
            match flight.kind {
                Kind::Put => {
                    self.table.change_writes(flight.number, |job| job.writes = 0);
                    self.accept(flight.number, now);
                }
                Kind::State => {
                    self.table.change_writes(flight.number, |job| job.writes = job.writes.saturating_sub(1));
                    self.settle(flight.number);
                }
                Kind::Remove | Kind::Note => {}
            }
        }
        if any && self.disk.heals(through) {
            self.event(EventKind::StoreWell, "the disk writes again".to_owned());
        } else if let Some(took) = self.disk.quickens(now) {
            self.event(EventKind::StoreWell, format!("the disk keeps up again; it was slow for {} s", Seconds(took)));
        }
        self.flush(now);
    }

    /// The writes of this range failed, together. New jobs among them are refused; the rest is written again later.
    pub(in crate::core) fn write_failed(&mut self, from: Ticket, through: Ticket, reason: &str, now: Time) {
        let (failed, begins) = self.disk.failed(from, through, reason, now);
        if begins {
            let reason = quote(reason, MAX_QUOTE);
            let detail = format!("the disk refuses to write: {reason}; new jobs are refused until it is well");
            self.event(EventKind::StoreFailed, detail);
        }
        for flight in failed {
            match flight.kind {
                Kind::Put => {
                    let error = refusal(JobTask::Submit, ErrorCode::StoreFailed, unstored(reason));
                    if let Some(job) = self.drop_job(flight.number) {
                        self.close_lane(job.pair);
                        self.names.give_back(job.pair);
                    }
                    self.effects.push_back(Effect::Refused { number: flight.number, error });
                }
                Kind::State => {
                    let kept = self.table.change_writes(flight.number, |job| {
                        job.writes = job.writes.saturating_sub(1);
                        job.owed = true;
                    });
                    if kept.is_some() {
                        self.disk.owe(flight.number, Kind::State);
                    }
                }
                Kind::Remove => self.disk.owe(flight.number, Kind::Remove),
                Kind::Note => {}
            }
        }
    }

    /// Does what is due: see [`Queue::deadline`].
    pub(in crate::core) fn tick(&mut self, now: Time) {
        for _ in 0..TICK_BATCH {
            let Some((due, number)) = self.agenda.first().copied().filter(|(due, _)| *due <= Moment::at(now)) else {
                break;
            };
            let Some(job) = self.table.get(number) else { break };
            let (nth, timeout) = (job.attempt, job.timeout());
            match &job.state {
                State::Running(run) => {
                    let reason = format!("no answer within {} s", Seconds(timeout));
                    let (attempt, worker) = (Attempt { job_id: self.id(number), attempt: nth }, run.worker.clone());
                    self.effects.push_back(Effect::Unwanted { attempt, worker, reason: reason.clone() });
                    self.fail(number, nth, Failure::Overdue, reason, now);
                }
                _ if self.holds.has(number) => {
                    self.release(number, "its worker has not come back in time", now);
                }
                _ => {
                    self.agenda.remove(&(due, number));
                    self.table.change(number, |job| job.state = State::Queued);
                    self.admit(number);
                }
            }
        }
        self.forget_old(now);
        self.flush(now);
        self.note_runs(now);
        if self.disk.slows(now)
            && let Some(detail) = self.disk_trouble(now)
        {
            self.event(EventKind::StoreSlow, detail);
        }
    }

    /// This process did not run for so long: the disk could not tell that it has written.
    pub(in crate::core) fn excuse(&mut self, lost: Duration) {
        self.disk.excuse(lost);
    }

    /// When [`Queue::tick`] has something to do. Earlier ticks do no harm.
    pub(in crate::core) fn deadline(&self) -> Option<Time> {
        let agenda = self.agenda.first().map(|(due, _)| due.time());
        let retention = self.retention.deadline(&self.config, self.kept_bytes());
        earlier(earlier(agenda, retention), earlier(self.disk.deadline(), self.notes_due()))
    }

    /// The next effect. Call until `None` after each input.
    pub(in crate::core) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn is_durable(&self) -> bool {
        self.config.durability != Durability::Memory
    }

    pub(super) fn kept_bytes(&self) -> u64 {
        let bytes = |status| self.table.tally(status).bytes;
        bytes(JobStatus::Ok) + bytes(JobStatus::Nok) + bytes(JobStatus::Cancelled) + bytes(JobStatus::Buried)
    }

    /// A new job is durable: it waits.
    fn accept(&mut self, number: JobNumber, now: Time) {
        let accepted = self.table.change(number, |job| job.state = waits(job.since, now));
        if accepted.is_some() {
            self.admit(number);
            self.effects.push_back(Effect::Accepted(number));
        }
    }

    /// Puts a job that does not run into the index of its state.
    pub(super) fn admit(&mut self, number: JobNumber) {
        if let Some(job) = self.table.get(number) {
            enter(&mut self.lanes, &mut self.agenda, &mut self.retention, number, job);
        }
    }

    /// The same of a job that is not in the table yet.
    fn file(&mut self, number: JobNumber, job: &Job) {
        enter(&mut self.lanes, &mut self.agenda, &mut self.retention, number, job);
    }

    /// Takes a job out of the index of its state. The caller gives it another state.
    pub(super) fn withdraw(&mut self, number: JobNumber) {
        let Some(job) = self.table.get(number) else { return };
        match &job.state {
            State::Queued => self.lanes.remove(job.pair, job.priority, job.since, number),
            State::Delayed => {
                self.agenda.remove(&(job.since, number));
                self.holds.remove(number);
            }
            State::Running(run) => _ = self.agenda.remove(&(run.due, number)),
            State::Ended(end) => self.retention.remove(end.status == JobStatus::Buried, job.since, number),
            State::Accepting => {}
        }
    }

    fn open_lane(&mut self, pair: Pair) {
        self.lanes.open(pair, self.names.service(pair), self.names.method(pair));
    }

    fn close_lane(&mut self, pair: Pair) {
        self.lanes.close(pair, self.names.service(pair), self.names.method(pair));
    }

    /// A job ends after so many attempts; `why` where it is not OK. `unwanted`: why the attempt that runs, if one does, is
    /// to be stopped; `None` if its worker knows.
    fn end(
        &mut self,
        number: JobNumber,
        end: End,
        attempt: u32,
        why: Option<Box<str>>,
        unwanted: Option<&str>,
        now: Time,
    ) {
        self.withdraw(number);
        if let Some(reason) = unwanted
            && let Some((attempt, worker)) = self.table.get(number).and_then(Job::running)
        {
            let (attempt, worker) = (Attempt { job_id: self.id(number), attempt }, worker.clone());
            self.effects.push_back(Effect::Unwanted { attempt, worker, reason: reason.to_owned() });
        }
        let buried = end.status == JobStatus::Buried;
        let change = |job: &mut Job| {
            let was_open = !matches!(job.state, State::Ended(_));
            job.end(end, attempt, why, Moment::at(now));
            (was_open, job.pair)
        };
        let Some((was_open, pair)) = self.table.change(number, change) else { return };
        if was_open {
            self.close_lane(pair);
        }
        self.retention.insert(buried, Moment::at(now), number);
        self.save(number, now);
    }

    /// Attempt `nth` failed: again, after a pause or at once, or buried.
    fn fail(&mut self, number: JobNumber, nth: u32, failure: Failure<'_>, why: String, now: Time) {
        let Some(job) = self.table.get(number) else { return };
        let taken = failure == Failure::TakenAway;
        let (limit, last) = (job.limit(), nth >= job.limit() && !taken);
        let worker: Option<ServerId> = match (&job.state, failure) {
            (State::Running(run), _) => Some(run.worker.clone()),
            (_, Failure::Reported(worker)) => Some(worker.clone()),
            _ => None,
        };
        let lost = failure == Failure::Lost;
        let pause = if lost || taken { Duration::ZERO } else { job.pause(self.config.retry_pause, nth) };
        let next = match (last, taken) {
            (true, _) => "it was the last".to_owned(),
            (_, true) => "it does not count".to_owned(),
            _ => format!("again in {} s", Seconds(pause)),
        };
        let text = format!(
            "attempt {nth} of {limit} at job {} ({}) failed on worker {}: {}; {next}",
            self.id(number),
            self.names.task(job.pair),
            worker.as_ref().map_or("unknown", ServerId::as_str),
            quote(&why, MAX_QUOTE),
        );
        self.effects.push_back(Effect::Log { level: LogLevel::Info, text });
        if last {
            let counted = job.counted(nth);
            let attempts = if counted == 1 { "1 attempt".to_owned() } else { format!("{counted} attempts") };
            let reason = Some(clipped(format!("{attempts} failed; the last: {why}")));
            let end = End { status: JobStatus::Buried, worker, result: None };
            return self.end(number, end, nth, reason, None, now);
        }
        self.withdraw(number);
        self.table.change(number, |job| {
            job.attempt = nth;
            if taken {
                job.spare(nth);
            }
            job.why = Some(clipped(why));
            job.resumable = lost;
            job.state = State::Queued;
            if !lost && !taken {
                job.since = Moment::at(now).after(pause);
            }
            if !pause.is_zero() {
                job.state = State::Delayed;
            }
        });
        self.admit(number);
        self.save(number, now);
    }

    /// The state of a job must be durable.
    fn save(&mut self, number: JobNumber, now: Time) {
        if !self.is_durable() {
            return self.settle(number);
        }
        if self.disk.illness().is_some() {
            self.table.change_writes(number, |job| job.owed = true);
            return self.disk.owe(number, Kind::State);
        }
        self.send_state(number, now);
    }

    fn send_state(&mut self, number: JobNumber, now: Time) {
        let state = self.table.change_writes(number, |job| {
            job.owed = false;
            job.writes += 1;
            job.stored()
        });
        if let Some(state) = state {
            let ticket = self.disk.send(number, Kind::State, now);
            self.effects.push_back(Effect::Write { ticket, write: Box::new(JobWrite::State { number, state }) });
        }
    }

    pub(super) fn send_remove(&mut self, number: JobNumber, now: Time) {
        let ticket = self.disk.send(number, Kind::Remove, now);
        self.effects.push_back(Effect::Write { ticket, write: Box::new(JobWrite::Remove { number }) });
    }

    /// Writes what is owed, as far as the disk may have it.
    fn flush(&mut self, now: Time) {
        for (number, kind) in self.disk.due(now) {
            match kind {
                Kind::State => self.send_state(number, now),
                _ => self.send_remove(number, now),
            }
        }
    }

    /// Tells that a job is settled, if it is, and what has become of it.
    fn settle(&mut self, number: JobNumber) {
        let mute = self.mute;
        let told = self.table.change_writes(number, |job| {
            job.is_settled().then(|| {
                let unheard = mute && job.status() == Some(JobStatus::Ok);
                std::mem::take(&mut job.untold) && !unheard
            })
        });
        let Some(tells) = told.flatten() else { return };
        if let Some(job) = self.table.get(number).filter(|_| tells) {
            let (kind, detail) = self.obituary(number, job);
            let worker = match &job.state {
                State::Ended(end) => end.worker.as_ref().map(|worker| worker.as_str().into()),
                _ => None,
            };
            self.effects.push_back(Effect::Event { kind, detail, worker });
        }
        self.effects.push_back(Effect::Settled(number));
    }

    fn event(&mut self, kind: EventKind, detail: String) {
        self.effects.push_back(Effect::Event { kind, detail, worker: None });
    }

    /// Takes a job out of the table and the keys. It is in no other index; the caller gives back its names.
    pub(super) fn drop_job(&mut self, number: JobNumber) -> Option<Box<Job>> {
        let job = self.table.remove(number)?;
        match job.status() {
            Some(JobStatus::Ok) => self.forgotten.0 += 1,
            Some(JobStatus::Nok | JobStatus::Buried) => self.forgotten.1 += 1,
            _ => {}
        }
        if let Some(key) = &job.key
            && self.keys.get(key) == Some(&number)
        {
            self.keys.remove(key);
        }
        Some(job)
    }
}

/// The state of a job that is accepted.
fn waits(since: Moment, now: Time) -> State {
    if since > Moment::at(now) { State::Delayed } else { State::Queued }
}

/// Enters a job that does not run into the index of its state.
fn enter(
    lanes: &mut Lanes,
    agenda: &mut Timeline<(Moment, JobNumber)>,
    retention: &mut Retention,
    number: JobNumber,
    job: &Job,
) {
    match &job.state {
        State::Queued => lanes.insert(job.pair, job.priority, job.since, number),
        State::Delayed => _ = agenda.insert((job.since, number)),
        State::Ended(end) => retention.insert(end.status == JobStatus::Buried, job.since, number),
        State::Accepting | State::Running(_) => {}
    }
}

fn refusal(task: JobTask, code: ErrorCode, detail: impl Into<String>) -> ErrorAnswer {
    ErrorAnswer::new(task.as_str(), code, detail)
}

fn unstored(reason: &str) -> String {
    format!("the disk refuses to write: {}; nothing was accepted", quote(reason, MAX_QUOTE))
}

fn wrong_state(task: JobTask, job: &Job, expected: &str) -> ErrorAnswer {
    let status = job.status().map_or("being accepted", JobStatus::as_str);
    refusal(task, ErrorCode::WrongState, format!("the job is {status}; expected {expected}"))
}
