//! What a worker holds: attempts of its owner that run or are not acknowledged, calls, and a foreign master's one task.
//!
//! ```text
//!             take                   finished                  acknowledged
//!   (nothing) ────> Running(run id) ──────────> Done(STATUS) ───────────────> (nothing)
//!                       │ stopped, dropped           │ stopped, dropped           ^
//!                       └────────────────────────────┴────────────────────────────┘
//! ```
//!
//! A run that was stopped is remembered until the executor tells its end, which nobody wants to know.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::core::{LinkId, Outcome, Run, RunId};
use crate::wire::{
    Attempt, JobOrder, Json, MAX_ID_BYTES, MAX_JSON_BYTES, ServerId, ServiceName, StatusAck, WorkerStatus,
};

/// Calls that run at a time. They take no slot; each is a thread or a process of the executor.
pub(super) const MAX_CALLS: usize = 256;

/// Bytes that the list of held attempts may take in an ALIVE, so that the line stays below its limit beside the
/// services. A thousand ids of our own form fit.
const MAX_JOBS_BYTES: usize = 40 * 1024;

/// What one held attempt takes in that list beside its id: quotes, comma, slash and ten digits.
const LISTED: usize = 14;

/// Longest `DETAIL`, in characters. Fully escaped it fits a line beside the longest result.
const MAX_DETAIL: usize = 400;

/// Time of a foreign master's task, which names none: the default of a job.
const TASK_TIMEOUT: Duration = Duration::from_secs(600);

/// Attempts that were given up for another master and are remembered, so that the old one, should it take this worker
/// back and send them again, does not have them done twice. As many as one worker can hold.
const MAX_RETIRED: usize = 1024;

/// An attempt that is held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Held {
    /// It runs.
    Running(RunId),
    /// It has ended and is not acknowledged.
    Done(Box<WorkerStatus>),
}

/// The task of a foreign master.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Task {
    /// It runs.
    Running(RunId),
    /// It has ended and is not reported, or not acknowledged.
    Done(Box<WorkerStatus>),
}

/// What an order leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Taken {
    /// Start this.
    Start(Box<Run>),
    /// Say this: it is refused, or has ended already.
    Say(Box<WorkerStatus>),
    /// It runs already.
    Known,
}

/// What the end of a run leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ended {
    /// Say this on the session link, if it stands; it is kept.
    Job(Box<WorkerStatus>),
    /// Say this on that link.
    Call(LinkId, Box<WorkerStatus>),
    /// The foreign master's task is done.
    Task,
    /// Nothing: nobody wants to know any more.
    Nothing,
}

/// A call that runs, and where its answer goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Call {
    link: LinkId,
    attempt: Attempt,
}

/// What a worker holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Jobs {
    me: ServerId,
    slots: u32,
    held: BTreeMap<Attempt, Held>,
    /// The attempts that run, by their runs.
    runs: BTreeMap<RunId, Attempt>,
    calls: BTreeMap<RunId, Call>,
    task: Option<Task>,
    /// Runs that were stopped, and whose end is not told yet.
    stopped: BTreeSet<RunId>,
    /// The attempts that were given up for another master, oldest first.
    retired: VecDeque<Attempt>,
    /// Bytes of the list of `held`.
    listed: usize,
    pub(super) next_run: u64,
}

impl Jobs {
    pub(super) fn new(me: ServerId, slots: u32) -> Jobs {
        Jobs {
            me,
            slots,
            held: BTreeMap::new(),
            runs: BTreeMap::new(),
            calls: BTreeMap::new(),
            task: None,
            stopped: BTreeSet::new(),
            retired: VecDeque::new(),
            listed: 0,
            next_run: 0,
        }
    }

    /// Takes an order that came on `link`. `closed`: why nothing new is taken now, if so.
    pub(super) fn take(&mut self, order: JobOrder, link: LinkId, closed: Option<&str>) -> Taken {
        if order.call {
            return self.take_call(order, link, closed);
        }
        match self.held.get(&order.attempt) {
            Some(Held::Running(_)) => return Taken::Known,
            Some(Held::Done(status)) => return Taken::Say(status.clone()),
            None => {}
        }
        if self.retired.contains(&order.attempt) {
            let why = "this attempt was given up when another master took the worker".to_owned();
            return Taken::Say(Box::new(self.refusal(order.attempt, why)));
        }
        let bytes = order.attempt.job_id.as_str().len() + LISTED;
        let full = if self.runs.len() >= self.slots as usize {
            Some(format!("all {} slots run something", self.slots))
        } else if self.listed + bytes > MAX_JOBS_BYTES {
            Some(format!(
                "{} results are not acknowledged; expected ACK of some first",
                self.held.len() - self.runs.len()
            ))
        } else {
            None
        };
        if let Some(why) = closed.map(str::to_owned).or(full) {
            return Taken::Say(Box::new(self.refusal(order.attempt, why)));
        }
        let run = self.new_run();
        self.listed += bytes;
        self.held.insert(order.attempt.clone(), Held::Running(run));
        self.runs.insert(run, order.attempt.clone());
        Taken::Start(Box::new(Run {
            run,
            service: order.service,
            method: order.method,
            params: order.params,
            timeout: order.timeout,
            attempt: Some(order.attempt),
            output: order.output,
        }))
    }

    fn take_call(&mut self, order: JobOrder, link: LinkId, closed: Option<&str>) -> Taken {
        if self.calls.values().any(|call| call.link == link && call.attempt == order.attempt) {
            return Taken::Known;
        }
        let full = (self.calls.len() >= MAX_CALLS).then(|| format!("{MAX_CALLS} calls run here already"));
        if let Some(why) = closed.map(str::to_owned).or(full) {
            return Taken::Say(Box::new(self.refusal(order.attempt, why)));
        }
        let run = self.new_run();
        self.calls.insert(run, Call { link, attempt: order.attempt });
        Taken::Start(Box::new(Run {
            run,
            service: order.service,
            method: order.method,
            params: order.params,
            timeout: order.timeout,
            attempt: None,
            output: order.output,
        }))
    }

    /// Takes the task of a foreign master: a run of service `query`. What was held of another one is replaced.
    pub(super) fn take_task(&mut self, user: &Json) -> Run {
        let run = self.new_run();
        self.task = Some(Task::Running(run));
        Run {
            run,
            service: ServiceName::new("query").expect("a name of letters"),
            method: ServiceName::run(),
            params: Json::trusted(format!("{{\"USER\":{user}}}")),
            timeout: TASK_TIMEOUT,
            attempt: None,
            output: false,
        }
    }

    /// A run has ended.
    pub(super) fn finished(&mut self, run: RunId, outcome: Outcome) -> Ended {
        if self.stopped.remove(&run) {
            return Ended::Nothing;
        }
        if let Some(attempt) = self.runs.remove(&run) {
            let status = Box::new(self.status(Some(attempt.clone()), outcome));
            self.held.insert(attempt, Held::Done(status.clone()));
            return Ended::Job(status);
        }
        if let Some(Call { link, attempt }) = self.calls.remove(&run) {
            return Ended::Call(link, Box::new(self.status(Some(attempt), outcome)));
        }
        if self.task == Some(Task::Running(run)) {
            self.task = Some(Task::Done(Box::new(self.status(None, outcome))));
            return Ended::Task;
        }
        Ended::Nothing
    }

    /// The attempt that a run is, if it is one or a call.
    pub(super) fn attempt_of(&self, run: RunId) -> Option<&Attempt> {
        self.runs.get(&run).or_else(|| self.calls.get(&run).map(|call| &call.attempt))
    }

    /// The master has acknowledged: a result is forgotten. What runs has no result that could be meant.
    pub(super) fn acknowledged(&mut self, ack: &StatusAck) {
        let Some(attempt) = &ack.attempt else { return };
        if let Some(Held::Done(_)) = self.held.get(attempt) {
            self.forget(attempt);
        }
    }

    /// The master does not want this any more, a call of that link or an attempt: forgets it. The run to be stopped, if one is.
    #[must_use]
    pub(super) fn stop(&mut self, attempt: &Attempt, link: LinkId) -> Option<RunId> {
        let call = self.calls.iter().find(|(_, call)| call.link == link && call.attempt == *attempt);
        if let Some(run) = call.map(|(run, _)| *run) {
            self.calls.remove(&run);
            self.stopped.insert(run);
            return Some(run);
        }
        self.drop_attempt(attempt)
    }

    /// Nobody waits for this attempt any more: forgets it. The run to be stopped, if it runs.
    #[must_use]
    pub(super) fn drop_attempt(&mut self, attempt: &Attempt) -> Option<RunId> {
        let held = self.forget(attempt)?;
        let Held::Running(run) = held else { return None };
        self.runs.remove(&run);
        self.stopped.insert(run);
        Some(run)
    }

    /// Another master has taken this worker: forgets everything that is not a call. The runs to be stopped.
    #[must_use]
    pub(super) fn abandon(&mut self) -> Vec<RunId> {
        let attempts: Vec<Attempt> = self.held.keys().cloned().collect();
        let mut runs: Vec<RunId> = attempts.iter().filter_map(|attempt| self.drop_attempt(attempt)).collect();
        self.retired.extend(attempts);
        self.retired.drain(..self.retired.len().saturating_sub(MAX_RETIRED));
        if let Some(Task::Running(run)) = self.task.take() {
            self.stopped.insert(run);
            runs.push(run);
        }
        runs
    }

    /// A link is gone: nobody waits for its calls. The runs to be stopped.
    #[must_use]
    pub(super) fn link_gone(&mut self, link: LinkId) -> Vec<RunId> {
        let runs: Vec<RunId> = self.calls.iter().filter(|(_, call)| call.link == link).map(|(run, _)| *run).collect();
        for run in &runs {
            self.calls.remove(run);
            self.stopped.insert(*run);
        }
        runs
    }

    /// Every attempt that is held, for ALIVE.
    pub(super) fn attempts(&self) -> Vec<Attempt> {
        self.held.keys().cloned().collect()
    }

    /// Every result that is not acknowledged.
    pub(super) fn results(&self) -> Vec<WorkerStatus> {
        let done = |held: &Held| if let Held::Done(status) = held { Some((**status).clone()) } else { None };
        self.held.values().filter_map(done).collect()
    }

    /// The foreign master's task.
    pub(super) fn task(&self) -> Option<&Task> {
        self.task.as_ref()
    }

    /// The foreign master's task is reported as well as it can be.
    pub(super) fn task_reported(&mut self) {
        if let Some(Task::Done(_)) = self.task {
            self.task = None;
        }
    }

    /// The STATUS of a task that is given up unfinished.
    pub(super) fn task_given_up(&self, why: &str) -> WorkerStatus {
        let outcome = Outcome::Failed { detail: why.to_owned(), result: None, retry: true };
        self.status(None, outcome)
    }

    /// What runs and was not told to stop: attempts, calls and the task.
    pub(super) fn running(&self) -> usize {
        self.runs.len() + self.calls.len() + usize::from(matches!(self.task, Some(Task::Running(_))))
    }

    /// Whether nothing runs and every result is acknowledged.
    pub(super) fn is_idle(&self) -> bool {
        self.held.is_empty() && self.calls.is_empty() && self.task.is_none()
    }

    /// Whether attempts of a native owner are held.
    pub(super) fn holds_attempts(&self) -> bool {
        !self.held.is_empty()
    }

    /// Panics if the tables contradict each other.
    pub(super) fn check_invariants(&self) {
        assert!(self.runs.len() <= self.slots as usize, "never more attempts run than there are slots");
        assert!(self.calls.len() <= MAX_CALLS);
        let running = self.held.values().filter(|held| matches!(held, Held::Running(_))).count();
        assert_eq!(running, self.runs.len());
        for (run, attempt) in &self.runs {
            assert_eq!(self.held.get(attempt), Some(&Held::Running(*run)));
        }
        let task = if let Some(Task::Running(run)) = &self.task { Some(run) } else { None };
        let live = self.runs.keys().chain(self.calls.keys()).chain(task);
        assert!(live.clone().all(|run| run.0 < self.next_run * 2 && run.0 % 2 == 0), "runs of a worker are even");
        assert!(live.clone().all(|run| !self.stopped.contains(run)), "what was stopped is not waited for");
        let listed: usize = self.held.keys().map(|attempt| attempt.job_id.as_str().len() + LISTED).sum();
        assert_eq!(listed, self.listed);
        assert!(self.retired.len() <= MAX_RETIRED);
        assert!(self.held.keys().all(|attempt| !self.retired.contains(attempt)));
        assert!(listed <= MAX_JOBS_BYTES + MAX_ID_BYTES);
    }

    fn forget(&mut self, attempt: &Attempt) -> Option<Held> {
        let held = self.held.remove(attempt)?;
        self.listed -= attempt.job_id.as_str().len() + LISTED;
        Some(held)
    }

    fn new_run(&mut self) -> RunId {
        let run = RunId(self.next_run * 2);
        self.next_run += 1;
        run
    }

    fn refusal(&self, attempt: Attempt, detail: String) -> WorkerStatus {
        let worker = Some(self.me.clone());
        WorkerStatus { worker, attempt: Some(attempt), ok: false, result: None, detail: Some(detail), retry: true }
    }

    /// The STATUS of an outcome. A result that fits no line is a failure that would come again.
    fn status(&self, attempt: Option<Attempt>, outcome: Outcome) -> WorkerStatus {
        let too_long = |json: &Json| json.as_str().len() > MAX_JSON_BYTES;
        let (ok, result, detail, retry) = match outcome {
            Outcome::Ok(result) if too_long(&result) => {
                let bytes = result.as_str().len();
                (false, None, Some(format!("the result has {bytes} bytes; expected at most {MAX_JSON_BYTES}")), false)
            }
            Outcome::Ok(result) => (true, Some(result), None, false),
            Outcome::Failed { detail, result, retry } => {
                let detail = detail.chars().take(MAX_DETAIL).collect();
                (false, result.filter(|json| !too_long(json)), Some(detail), retry)
            }
        };
        WorkerStatus { worker: Some(self.me.clone()), attempt, ok, result, detail, retry }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::JobId;

    const LINK: LinkId = LinkId(3);

    fn attempt(job: u32, attempt: u32) -> Attempt {
        Attempt { job_id: JobId::new(format!("3fa9c1d2-1-{job}")).unwrap(), attempt }
    }

    fn order(attempt: Attempt, call: bool) -> JobOrder {
        let service = ServiceName::new("sleep").unwrap();
        let (method, params, timeout) = (ServiceName::run(), Json::null(), Duration::from_secs(1));
        JobOrder { attempt, call, service, method, params, timeout, output: false }
    }

    fn jobs(slots: u32) -> Jobs {
        Jobs::new(ServerId::new("W").unwrap(), slots)
    }

    fn run_of(taken: Taken) -> RunId {
        let Taken::Start(run) = taken else { panic!("{taken:?}") };
        run.run
    }

    #[test]
    fn an_attempt_that_is_held_is_not_started_again() {
        let mut jobs = jobs(2);
        let run = run_of(jobs.take(order(attempt(1, 1), false), LINK, None));
        assert_eq!(jobs.take(order(attempt(1, 1), false), LINK, None), Taken::Known);
        let Ended::Job(status) = jobs.finished(run, Outcome::Ok(Json::null())) else { panic!() };
        assert!(status.ok);
        assert_eq!(jobs.take(order(attempt(1, 1), false), LINK, None), Taken::Say(status));
        jobs.acknowledged(&StatusAck { worker: None, attempt: Some(attempt(1, 1)) });
        assert!(jobs.is_idle());
        jobs.check_invariants();
    }

    #[test]
    fn more_than_the_slots_is_refused_and_a_call_takes_none() {
        let mut jobs = jobs(1);
        run_of(jobs.take(order(attempt(1, 1), false), LINK, None));
        let Taken::Say(status) = jobs.take(order(attempt(2, 1), false), LINK, None) else { panic!() };
        assert!(!status.ok && status.retry && status.attempt == Some(attempt(2, 1)), "{status:?}");
        for n in 0..MAX_CALLS as u32 {
            run_of(jobs.take(order(attempt(n, 1), true), LINK, None));
        }
        assert!(matches!(jobs.take(order(attempt(9999, 1), true), LINK, None), Taken::Say(status) if status.retry));
        assert_eq!(jobs.link_gone(LinkId(7)), []);
        assert_eq!(jobs.link_gone(LINK).len(), MAX_CALLS);
        assert_eq!(jobs.running(), 1, "the attempt outlives the link");
        jobs.check_invariants();
    }

    #[test]
    fn an_ack_of_what_runs_forgets_nothing() {
        let mut jobs = jobs(1);
        run_of(jobs.take(order(attempt(1, 1), false), LINK, None));
        jobs.acknowledged(&StatusAck { worker: None, attempt: Some(attempt(1, 1)) });
        jobs.acknowledged(&StatusAck::default());
        assert_eq!(jobs.attempts(), [attempt(1, 1)]);
    }

    #[test]
    fn unacknowledged_results_end_somewhere() {
        let mut jobs = jobs(2);
        let mut taken = 0;
        for n in 0..100_000 {
            match jobs.take(order(attempt(n, 1), false), LINK, None) {
                Taken::Start(run) => jobs.finished(run.run, Outcome::Ok(Json::null())),
                Taken::Say(status) if status.retry => break,
                other => panic!("{other:?}"),
            };
            taken += 1;
        }
        assert!((1000..3000).contains(&taken), "{taken}");
        jobs.check_invariants();
    }

    #[test]
    fn what_fits_no_line_is_a_failure_that_would_come_again() {
        let mut jobs = jobs(1);
        let run = run_of(jobs.take(order(attempt(1, 1), false), LINK, None));
        let long = Json::string(&"x".repeat(MAX_JSON_BYTES));
        let Ended::Job(status) = jobs.finished(run, Outcome::Ok(long)) else { panic!() };
        assert!(!status.ok && !status.retry && status.result.is_none());
        assert!(status.detail.unwrap().contains("61442 bytes"));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Take(u32, bool),
        Finish(usize),
        Ack(u32),
        Stop(u32),
        Gone,
        Abandon,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            4 => (0..6u32, any::<bool>()).prop_map(|(n, call)| Op::Take(n, call)),
            4 => (0..8usize).prop_map(Op::Finish),
            2 => (0..6u32).prop_map(Op::Ack),
            2 => (0..6u32).prop_map(Op::Stop),
            1 => Just(Op::Gone),
            1 => Just(Op::Abandon),
        ]
    }

    proptest! {
        #[test]
        fn every_run_that_is_started_ends_once_and_the_tables_agree(ops in prop::collection::vec(op(), 0..200)) {
            let mut jobs = jobs(3);
            let mut live: Vec<(RunId, bool)> = Vec::new();
            for op in ops {
                let stopped = match op {
                    Op::Take(n, call) => {
                        if let Taken::Start(run) = jobs.take(order(attempt(n, 1), call), LINK, None) {
                            live.push((run.run, false));
                        }
                        Vec::new()
                    }
                    Op::Finish(nth) if nth < live.len() => {
                        let (run, stopped) = live.remove(nth);
                        let ended = jobs.finished(run, Outcome::Ok(Json::null()));
                        prop_assert_eq!(ended == Ended::Nothing, stopped, "only what was stopped is swallowed");
                        prop_assert_eq!(jobs.finished(run, Outcome::Ok(Json::null())), Ended::Nothing);
                        Vec::new()
                    }
                    Op::Finish(_) => Vec::new(),
                    Op::Ack(n) => {
                        jobs.acknowledged(&StatusAck { worker: None, attempt: Some(attempt(n, 1)) });
                        Vec::new()
                    }
                    Op::Stop(n) => jobs.stop(&attempt(n, 1), LINK).into_iter().collect(),
                    Op::Gone => jobs.link_gone(LINK),
                    Op::Abandon => jobs.abandon(),
                };
                for run in stopped {
                    let entry = live.iter_mut().find(|(one, _)| *one == run);
                    prop_assert_eq!(entry.map(|entry| std::mem::replace(&mut entry.1, true)), Some(false));
                }
                prop_assert_eq!(jobs.running(), live.iter().filter(|(_, stopped)| !stopped).count());
                jobs.check_invariants();
            }
        }
    }
}
