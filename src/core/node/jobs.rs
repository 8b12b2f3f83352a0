//! Jobs: what clients ask, what the queue decides, and who is told of it.

use std::time::Duration;

use super::Node;
use super::waiters::{MAX_WAITERS, Until, Waiter};
use crate::core::farm::WorkerKey;
use crate::core::links::Reply;
use crate::core::queue::{self, Finish, Submitted};
use crate::core::{JobNumber, LinkId, LogLevel, Outcome, Output};
use crate::time::Time;
use crate::wire::{
    Attempt, Body, ErrorAnswer, ErrorCode, JobAnswer, JobOutput, JobRef, JobStatus, JobTask, JobsAnswer, JobsQuery,
    Json, MAX_HOPS, MAX_WAIT, Message, Redirect, ResultQuery, ServerId, ServiceName, Submit,
};

/// How long the disk may take for what a client changes before the client is told so, where it says no time of its own.
/// Longer than a disk that is merely busy needs, and shorter than clients wait for an answer.
const SETTLE_WITHIN: Duration = Duration::from_secs(10);

/// A node that is saturated for this long without help sends clients that follow to a neighbour.
const NO_HELP: Duration = Duration::from_secs(5);

impl Node {
    /// All jobs with attempts that do not count, and how many, for who checks the laws of jobs.
    pub(crate) fn all_spared(&self) -> impl Iterator<Item = (crate::wire::JobId, u32)> {
        self.queue.all_spared()
    }

    /// Attempts at a job that do not count, for who checks the laws of jobs.
    pub(crate) fn spared(&self, job: &crate::wire::JobId) -> u32 {
        self.queue.spared(job)
    }

    /// The error for who asks a worker for what masters do; `None` at a master.
    pub(super) fn not_a_master(&self, task: &str) -> Option<ErrorAnswer> {
        let worker = self.worker.as_ref()?;
        let detail = match worker.state().master {
            Some(master) => format!("this node is a worker and keeps no jobs; ask its master at {master}"),
            None => "this node is a worker and keeps no jobs; it has no master now".to_owned(),
        };
        Some(ErrorAnswer::new(task, ErrorCode::NotAMaster, detail))
    }

    pub(super) fn submit(&mut self, reply: Reply, submit: Submit, now: Time) {
        if let Some(error) = self.not_a_master("SUBMIT") {
            return self.reply_error(&reply, error);
        }
        if self.stopped {
            return self.reply_error(&reply, Self::stopping("SUBMIT"));
        }
        let long = |since: Time| since + NO_HELP <= now;
        let helpless = self.saturated_since.is_some_and(long) && self.helped.is_none_or(long);
        if submit.follow && submit.hops < MAX_HOPS && helpless {
            let better = self.registry.masters().into_iter().find(|neighbour| !neighbour.presence.load.saturated);
            if let Some(neighbour) = better {
                let reason = format!("saturated, and without help, for more than {} s", NO_HELP.as_secs());
                let (target, hops) = (neighbour.address.clone(), submit.hops + 1);
                let redirect = Redirect { task: "SUBMIT".to_owned(), target, hops, reason };
                return self.reply(&reply, Body::Redirect(Box::new(redirect)));
            }
        }
        if submit.wait.is_some() && self.waiters.is_full() {
            return self.reply_error(&reply, too_many_wait("SUBMIT"));
        }
        let (wait, output) = (submit.wait, submit.output);
        match self.queue.submit(submit, now) {
            Err(error) => self.reply_error(&reply, error),
            Ok(submitted) => {
                let (number, duplicate) = match submitted {
                    Submitted::New(number) => (number, false),
                    Submitted::Known(number) => (number, true),
                };
                self.answer_when(number, reply, JobTask::Submit, duplicate, wait, output, now);
            }
        }
    }

    /// `{"TASK":"QUERY","USER":...}` of a client is a job of service `query`.
    pub(super) fn query(&mut self, reply: Reply, user: &Json, now: Time) {
        let service = ServiceName::new("query").expect("a lawful name");
        let params = Json::trusted(format!("{{\"USER\":{user}}}"));
        self.submit(reply, Submit::new(service, ServiceName::run(), params), now);
    }

    pub(super) fn result(&mut self, reply: Reply, query: &ResultQuery, now: Time) {
        let Some(number) = self.known(&reply, JobTask::Result, &query.job) else { return };
        if query.wait.is_some() && self.waiters.is_full() {
            return self.reply_error(&reply, too_many_wait("RESULT"));
        }
        self.answer_when(number, reply, JobTask::Result, false, query.wait, query.output, now);
    }

    pub(super) fn change_job(&mut self, reply: Reply, task: JobTask, job: &JobRef, now: Time) {
        let Some(number) = self.known(&reply, task, job) else { return };
        let changed = match task {
            JobTask::Cancel => self.queue.cancel(number, now),
            JobTask::Bury => self.queue.bury(number, now),
            JobTask::Kick => self.queue.kick(number, now),
            JobTask::Submit | JobTask::Result => Ok(()),
        };
        match changed {
            Ok(()) => self.answer_when(number, reply, task, false, None, false, now),
            Err(error) => self.reply_error(&reply, error),
        }
    }

    pub(super) fn jobs(&mut self, reply: &Reply, query: &JobsQuery, now: Time) {
        if let Some(error) = self.not_a_master("JOBS") {
            return self.reply_error(reply, error);
        }
        if let Some(after) = query.after.as_ref().filter(|after| !self.queue.is_id(after)) {
            let after = crate::wire::quote(after.as_str(), 80);
            let detail = format!("`AFTER` is `{after}`; expected the JOB_ID of a job of this master");
            return self.reply_error(reply, ErrorAnswer::new("JOBS", ErrorCode::BadField, detail));
        }
        let config = &self.config.queue;
        let (jobs, more) = if query.list {
            let (mut jobs, more) = self.queue.list(query, now);
            for job in &mut jobs {
                if let Some(why) = self.queue.number(&job.job_id).and_then(|number| self.why_queued(number)) {
                    job.reason = Some(why);
                }
            }
            (Some(jobs), more)
        } else {
            (None, false)
        };
        let answer = JobsAnswer {
            counts: self.queue.counts(),
            bytes: self.queue.bytes(),
            oldest: self.queue.oldest_queued(now),
            max_jobs: config.max_jobs,
            max_bytes: config.max_bytes,
            durability: config.durability,
            disk: self.queue.disk_trouble(now),
            jobs,
            more,
        };
        self.reply(reply, Body::JobsAnswer(Box::new(answer)));
    }

    /// The job that somebody means; answers who means none.
    fn known(&mut self, reply: &Reply, task: JobTask, job: &JobRef) -> Option<JobNumber> {
        if let Some(error) = self.not_a_master(task.as_str()) {
            self.reply_error(reply, error);
            return None;
        }
        if self.stopped {
            self.reply_error(reply, Self::stopping(task.as_str()));
            return None;
        }
        let found = self.queue.find(job);
        if found.is_none() {
            let detail = match job {
                JobRef::Id(id) => format!("there is no job `{id}` here; it may be another master's, or forgotten"),
                JobRef::Key(key) => format!("there is no job with the key `{}` here", crate::wire::quote(key, 80)),
            };
            let mut error = ErrorAnswer::new(task.as_str(), ErrorCode::NotFound, detail);
            error.retry = false;
            self.reply_error(reply, error);
        }
        found
    }

    /// Answers now if what is known of the job may be said and is what is waited for; else when it is.
    #[expect(clippy::too_many_arguments, reason = "each is a field of the waiter that is made of them")]
    fn answer_when(
        &mut self,
        number: JobNumber,
        mut reply: Reply,
        task: JobTask,
        duplicate: bool,
        wait: Option<Duration>,
        output: bool,
        now: Time,
    ) {
        let until = match wait {
            Some(wait) => Until::Ended(now + wait.min(MAX_WAIT)),
            None => Until::Settled(now + SETTLE_WITHIN),
        };
        if wait.is_some() {
            self.detach(&mut reply);
        }
        let waiter = Waiter { reply, task, duplicate, until, output };
        if self.has_come(number, &waiter) {
            return self.answer_waiter(number, &waiter, now);
        }
        if matches!(waiter.until, Until::Settled(_))
            && let Some(error) = self.unstored(number, task)
        {
            return self.reply_error(&waiter.reply, error);
        }
        self.links.touch(waiter.reply.link);
        self.waiters.add(number, waiter);
    }

    /// What is said of a job whose state the disk refuses to take: nobody knows for how long.
    fn unstored(&self, number: JobNumber, task: JobTask) -> Option<ErrorAnswer> {
        let reason = crate::wire::quote(self.queue.unstored(number)?, crate::wire::MAX_QUOTE);
        let detail = format!("the disk refuses to write what became of the job: {reason}; ask again when it is well");
        Some(ErrorAnswer::new(task.as_str(), ErrorCode::StoreFailed, detail))
    }

    /// What is said of a job about which a write is under way for so long that the disk is slow.
    fn too_slow(&self, number: JobNumber, task: JobTask, now: Time) -> ErrorAnswer {
        let (id, trouble) = (self.queue.id(number), self.queue.disk_trouble(now));
        let trouble = trouble.unwrap_or_else(|| "the disk is slow".to_owned());
        let accepted = self.queue.is_accepted(number);
        let state = match task {
            JobTask::Submit | JobTask::Result if accepted => {
                format!("what became of job {id} is not written yet; ask again")
            }
            JobTask::Submit if !self.queue.has_key(number) => format!(
                "the job may still be accepted, as {id}: ask for its RESULT; without a KEY, the same line would make another"
            ),
            JobTask::Submit | JobTask::Result => {
                format!("the job may still be accepted, as {id}; ask again with its KEY or JOB_ID")
            }
            JobTask::Cancel | JobTask::Bury | JobTask::Kick => {
                format!("what was done to job {id} is not written yet, and a crash would undo it; ask for its RESULT")
            }
        };
        let mut error = ErrorAnswer::new(task.as_str(), ErrorCode::StoreSlow, format!("{trouble}; {state}"));
        error.retry = accepted || task != JobTask::Submit || self.queue.has_key(number);
        error
    }

    /// The disk has refused something: who waits for that to be durable is told so.
    pub(super) fn release_unstored(&mut self) {
        for number in self.waiters.jobs() {
            if self.queue.unstored(number).is_none() {
                continue;
            }
            for waiter in self.waiters.take(number, |waiter| matches!(waiter.until, Until::Settled(_))) {
                if let Some(error) = self.unstored(number, waiter.task) {
                    self.reply_error(&waiter.reply, error);
                }
            }
        }
    }

    fn has_come(&self, number: JobNumber, waiter: &Waiter) -> bool {
        // What is being accepted or changed is not said before it is durable; looking at a job waits for nothing but its
        // acceptance.
        self.queue.settled_end(number).is_some_and(|ended| ended || matches!(waiter.until, Until::Settled(_)))
    }

    fn answer_waiter(&mut self, number: JobNumber, waiter: &Waiter, now: Time) {
        let Some(mut job) = self.queue.view(number, now, false) else {
            let mut error = ErrorAnswer::new(waiter.task.as_str(), ErrorCode::NotFound, "the job has been forgotten");
            error.retry = false;
            return self.reply_error(&waiter.reply, error);
        };
        let asked = waiter.task == JobTask::Result || matches!(waiter.until, Until::Ended(_));
        if job.status == JobStatus::Queued {
            // Who has just submitted it does not ask why it waits.
            job.reason = asked.then(|| self.why_queued(number)).flatten();
        }
        let answer = JobAnswer { task: waiter.task, duplicate: waiter.duplicate, job };
        self.reply(&waiter.reply, Body::JobAnswer(Box::new(answer)));
    }

    /// This node stops: who waits for the end of a job hears how it stands.
    pub(super) fn release_waiters(&mut self) {
        for number in self.waiters.jobs() {
            for waiter in self.waiters.take(number, |waiter| matches!(waiter.until, Until::Ended(_))) {
                self.reply_error(&waiter.reply, Self::stopping(waiter.task.as_str()));
            }
        }
    }

    /// Answers those whose wait is over. What is not durable is not said: who is too early for the disk is told once it is
    /// done, or slow.
    pub(super) fn tick_waiters(&mut self, now: Time) {
        while let Some(number) = self.waiters.due(now) {
            let over = |waiter: &Waiter| matches!(waiter.until, Until::Ended(at) | Until::Settled(at) if at <= now);
            for mut waiter in self.waiters.take(number, over) {
                if self.queue.is_settled(number) {
                    self.answer_waiter(number, &waiter, now);
                } else if let Some(error) = self.unstored(number, waiter.task) {
                    self.reply_error(&waiter.reply, error);
                } else if let Some(at) = self.queue.slow_at().filter(|at| *at > now) {
                    waiter.until = Until::Settled(at);
                    self.waiters.add(number, waiter);
                } else {
                    let error = self.too_slow(number, waiter.task, now);
                    self.reply_error(&waiter.reply, error);
                }
            }
        }
    }

    /// Why a job waits for a worker, in one sentence. `None`: it does not.
    pub(super) fn why_queued(&self, number: JobNumber) -> Option<String> {
        let ahead = self.queue.ahead_of(number)?;
        let (_, service, method) = self.queue.pair_of(number)?;
        Some(self.why_waits(service, method, ahead))
    }

    /// Why a job of this method waits behind so many.
    fn why_waits(&self, service: &ServiceName, method: &ServiceName, ahead: usize) -> String {
        let census = self.farm.census(service, method);
        let ahead = match ahead {
            0 => "it is the next".to_owned(),
            1 => "1 job ahead of it".to_owned(),
            more => format!("{more} jobs ahead of it"),
        };
        match (census.offering, census.alive, census.idle) {
            (0, _, _) => format!("waits: no worker offers the service `{service}`"),
            (1, 0, _) => format!("waits: the only worker that offers `{service}` is not ALIVE"),
            (offering, 0, _) => format!("waits: {offering} workers offer `{service}`, none of them is ALIVE"),
            (_, 1, 0) if census.draining == 1 => {
                format!("waits: the only worker that offers `{service}` is draining")
            }
            (_, alive, 0) if census.draining == alive => {
                format!("waits: all {alive} workers that offer `{service}` are draining")
            }
            (_, 1, 0) if census.promised == 1 => {
                format!("waits: the only worker that offers `{service}` is promised to another master")
            }
            (_, alive, 0) if census.promised == alive => {
                format!("waits: all {alive} workers that offer `{service}` are promised to other masters")
            }
            (_, alive, 0) if census.quarantined >= alive => {
                format!("waits: all {alive} workers that offer `{service}` are quarantined")
            }
            (_, alive, 0) if census.quarantined + census.draining >= alive => {
                format!("waits: all {alive} workers that offer `{service}` are quarantined or draining")
            }
            (_, alive, 0) if census.quarantined + census.draining + census.promised >= alive => format!(
                "waits: all {alive} workers that offer `{service}` are quarantined, draining or promised to other masters"
            ),
            (_, 1, 0) => format!("waits: the only worker that offers `{service}` is busy; {ahead}"),
            (_, alive, 0) if census.promised > 0 => format!(
                "waits: {alive} workers offer `{service}`; those that are not quarantined, draining or promised to other masters are busy; {ahead}"
            ),
            (_, alive, 0) if census.quarantined + census.draining > 0 => format!(
                "waits: {alive} workers offer `{service}`; those that are not quarantined or draining are busy; {ahead}"
            ),
            (_, 2, 0) => format!("waits: 2 workers offer `{service}`, both busy; {ahead}"),
            (_, alive, 0) => format!("waits: {alive} workers offer `{service}`, all busy; {ahead}"),
            (..) => "waits: it is given out now".to_owned(),
        }
    }

    /// Carries out what the queue wants done.
    pub(super) fn carry_out_queue(&mut self, now: Time) {
        while let Some(effect) = self.queue.poll_effect() {
            match effect {
                queue::Effect::Write { ticket, write } => self.outputs.push_back(Output::Write { ticket, write }),
                queue::Effect::Accepted(number) => {
                    self.give_out = true;
                    self.come_far_enough(number, now);
                }
                queue::Effect::Refused { number, error } => {
                    for waiter in self.waiters.take(number, |_| true) {
                        let error = ErrorAnswer { task: waiter.task.as_str().to_owned(), ..error.clone() };
                        self.reply_error(&waiter.reply, error);
                    }
                }
                queue::Effect::Settled(number) => {
                    for attempt in self.unacknowledged.remove(&number).unwrap_or_default() {
                        self.farm.recorded(&attempt);
                    }
                    self.give_out = true;
                    self.come_far_enough(number, now);
                }
                queue::Effect::Unwanted { attempt, worker, reason } => {
                    self.farm.unwanted(&worker, &attempt, reason, now);
                    self.give_out = true;
                }
                queue::Effect::Event { kind, mut detail, worker } => {
                    if let Some(known) = worker.and_then(|worker| self.farm.describe(&worker)) {
                        detail.push_str("; ");
                        detail.push_str(&known);
                    }
                    self.event(kind, None, None, detail);
                }
                queue::Effect::Log { level, text } => self.log(level, text),
            }
        }
    }

    fn come_far_enough(&mut self, number: JobNumber, now: Time) {
        let Some(ended) = self.queue.settled_end(number) else { return };
        let ready = |waiter: &Waiter| ended || matches!(waiter.until, Until::Settled(_));
        let mut told = false;
        for waiter in self.waiters.take(number, ready) {
            self.answer_waiter(number, &waiter, now);
            told = true;
        }
        if told && ended {
            self.queue.told(number);
        }
    }

    /// A worker has finished an attempt.
    pub(super) fn attempt_ended(&mut self, attempt: Attempt, worker: &ServerId, outcome: Outcome, now: Time) {
        if let Some(desk) = &mut self.desk {
            desk.loans.done(worker, now);
        }
        match self.queue.finish(&attempt, worker, outcome, now) {
            Finish::Late => self.farm.recorded(&attempt),
            Finish::Recorded(number) if self.queue.is_settled(number) => self.farm.recorded(&attempt),
            Finish::Recorded(number) => self.unacknowledged.entry(number).or_default().push(attempt),
        }
        self.give_out = true;
    }

    /// Gives jobs to idle workers, the most urgent first.
    pub(super) fn dispatch(&mut self, now: Time) {
        if !(std::mem::take(&mut self.give_out) | self.farm.changed()) || self.stopped {
            return;
        }
        // A row: what is next is of the same kind as before, and the same worker is still the best for it. Then nobody is
        // looked for.
        let mut row: Option<(queue::Pair, WorkerKey, usize)> = None;
        loop {
            let again = row.as_mut().filter(|(.., left)| *left > 0).and_then(|(pair, worker, left)| {
                let (_, number) = self.queue.most_urgent().filter(|(first, _)| first == pair)?;
                *left -= 1;
                Some((number, *worker))
            });
            let (number, worker) = match again {
                Some(found) => found,
                None => {
                    self.farm.settle_loose();
                    let Some((number, worker)) = self.next_assignment() else { break };
                    row = self
                        .queue
                        .pair_of(number)
                        .map(|(pair, service, method)| (pair, worker, self.farm.in_a_row(worker, service, method) - 1));
                    (number, worker)
                }
            };
            let Some(id) = self.farm.id_of(worker) else { break };
            let Some(mut order) = self.queue.start(number, id, now) else { break };
            order.output = self.waiters.watch(number);
            self.farm.assign(worker, order, now);
        }
    }

    /// The most urgent job for which a worker has room, and that worker. Looks at the services that wait or at those
    /// that workers have room for, whichever are fewer: thousands may wait for workers that never come.
    fn next_assignment(&self) -> Option<(JobNumber, WorkerKey)> {
        if self.queue.waiting_lanes() <= self.farm.kinds_with_room() {
            self.next_by_waiting()
        } else {
            self.next_by_room()
        }
    }

    fn next_by_waiting(&self) -> Option<(JobNumber, WorkerKey)> {
        self.queue.waiting().find_map(|(service, method, number)| self.assignment(service, method, number))
    }

    fn next_by_room(&self) -> Option<(JobNumber, WorkerKey)> {
        let heads = self.farm.services_with_room().flat_map(|service| {
            let heads = self.queue.heads_of(service);
            heads
                .filter_map(move |(method, urgency, number)| Some((urgency, self.assignment(service, method, number)?)))
        });
        heads.min_by_key(|(urgency, _)| *urgency).map(|(_, found)| found)
    }

    fn assignment(
        &self,
        service: &ServiceName,
        method: &ServiceName,
        number: JobNumber,
    ) -> Option<(JobNumber, WorkerKey)> {
        Some((number, self.farm.pick(service, method)?))
    }

    /// A job has printed something: those who watch it see it.
    pub(super) fn printed(&mut self, output: &JobOutput) {
        let Some(number) = self.queue.number(&output.job_id) else { return };
        let watchers: Vec<(LinkId, _)> = (self.waiters.of(number))
            .filter(|waiter| waiter.output)
            .map(|waiter| (waiter.reply.link, waiter.reply.id.clone()))
            .collect();
        for (link, id) in watchers {
            self.send(link, Message { id, body: Body::JobOutput(Box::new(output.clone())) });
        }
    }

    /// Jobs that were stored, before the first input.
    pub(super) fn restore_done(&mut self) {
        let counts = self.queue.counts();
        let open = counts.queued + counts.delayed;
        let kept = counts.ok + counts.nok + counts.cancelled + counts.buried;
        if open + kept > 0 {
            let text = format!("{open} accepted jobs wait from before the restart, {kept} that ended are kept");
            self.log(LogLevel::Info, text);
        }
        self.give_out = true;
    }
}

fn too_many_wait(task: &str) -> ErrorAnswer {
    let detail = format!("{MAX_WAITERS} clients wait for jobs; ask without WAIT_MS, or try again later");
    ErrorAnswer::new(task, ErrorCode::Busy, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{Config, Identity, Input, QueueConfig};
    use crate::wire::{Durability, JobStatus, NativeWorker, ServiceOffer, WorkerAlive};
    use proptest::prelude::*;

    fn node(durability: Durability) -> Node {
        let config = Config { queue: QueueConfig { durability, ..QueueConfig::default() }, ..Config::default() };
        let identity = Identity { server_id: ServerId::new("master").unwrap(), name: "m".to_owned() };
        let mut node = Node::new(config, identity, 1, Time::ZERO).unwrap();
        for link in [0, 2, 4, 6, 8] {
            let at = std::net::SocketAddr::from(([127, 0, 0, 1], 9101));
            node.handle(Input::LinkOpened { link: LinkId(link), local: at, remote: at }, Time::ZERO);
        }
        node
    }

    fn job(service: &str, method: &str) -> Submit {
        Submit::new(ServiceName::new(service).unwrap(), ServiceName::new(method).unwrap(), Json::null())
    }

    fn says(node: &mut Node, link: u64, body: Body, now: Time) -> Vec<Body> {
        node.handle(Input::Message { link: LinkId(link), message: Message::plain(body) }, now);
        said(node, link)
    }

    fn said(node: &mut Node, link: u64) -> Vec<Body> {
        let outputs = std::iter::from_fn(|| node.poll_output());
        let lines = outputs.filter_map(|output| match output {
            Output::Send { link: to, message } if to == LinkId(link) => Some(message.body),
            _ => None,
        });
        lines.collect()
    }

    #[test]
    fn a_wait_that_is_over_before_the_job_is_durable_is_answered_once_it_is() {
        let mut node = node(Durability::Fsync);
        for wait in [0, 5] {
            let submit = Submit { wait: Some(Duration::from_millis(wait)), ..job("sleep", "run") };
            let begun = node.now;
            assert_eq!(says(&mut node, 0, Body::Submit(Box::new(submit)), begun), []);
            let later = begun + Duration::from_millis(10);
            node.handle(Input::Tick, later);
            assert_eq!(said(&mut node, 0), [], "nothing is known of it that may be said");
            let through = crate::core::Ticket(1 + wait / 5);
            node.handle(Input::Written { through }, later);
            let answers = said(&mut node, 0);
            let [Body::JobAnswer(answer)] = answers.as_slice() else { panic!("{answers:?}") };
            assert_eq!(answer.job.status, JobStatus::Queued);
        }
    }

    /// Time passes, with a tick at each deadline. What was said, when, and on which link.
    fn pass(node: &mut Node, until: u64) -> Vec<(u64, u64, Body)> {
        let until = Time::ZERO + Duration::from_millis(until);
        let mut told = Vec::new();
        while let Some(due) = node.deadline().filter(|due| *due <= until) {
            node.handle(Input::Tick, due);
            while let Some(output) = node.poll_output() {
                if let Output::Send { link, message } = output {
                    told.push((node.now.as_micros() / 1000, link.0, message.body));
                }
            }
        }
        node.handle(Input::Tick, until);
        told
    }

    fn slow(body: &Body) -> (&str, bool) {
        match body {
            Body::Error(error) if error.code == ErrorCode::StoreSlow => (&error.detail, error.retry),
            other => panic!("{other:?}"),
        }
    }

    const SLOW: &str = "the disk is slow: its oldest write has been under way for";

    #[test]
    fn who_waits_for_a_slow_disk_is_told_so_and_never_that_a_job_is_accepted() {
        let mut node = node(Durability::Fsync);
        let submit = |key: Option<&str>, wait| {
            let wait = Some(Duration::from_millis(wait)).filter(|wait| !wait.is_zero());
            Body::Submit(Box::new(Submit { key: key.map(str::to_owned), wait, ..job("sleep", "run") }))
        };
        assert_eq!(says(&mut node, 0, submit(Some("k"), 300), Time::ZERO), []);
        assert_eq!(says(&mut node, 2, submit(None, 1500), Time::ZERO), []);
        assert_eq!(says(&mut node, 4, submit(Some("k"), 0), Time::ZERO), []);
        let told = pass(&mut node, 10_500);
        let [(1000, 0, first), (1500, 2, second), (10_000, 4, third)] = told.as_slice() else { panic!("{told:?}") };
        let maybe = "the job may still be accepted, as master-1-";
        assert_eq!(slow(first), (format!("{SLOW} 1.0 s; {maybe}0; ask again with its KEY or JOB_ID").as_str(), true));
        let (detail, retry) = slow(second);
        assert!(detail.starts_with(&format!("{SLOW} 1.5 s; {maybe}1: ")), "{detail}");
        assert!(!retry, "the same line would make another job");
        assert_eq!(slow(third), (format!("{SLOW} 10.0 s; {maybe}0; ask again with its KEY or JOB_ID").as_str(), true));

        let query = ResultQuery { job: JobRef::Key("k".to_owned()), wait: Some(Duration::ZERO), output: false };
        let now = node.now;
        assert_eq!(says(&mut node, 6, Body::Result(Box::new(query)), now), []);
        let told = pass(&mut node, 10_600);
        assert!(
            matches!(told.as_slice(), [(10_500, 6, body)] if slow(body).1),
            "who asks now hears it at once: {told:?}"
        );
        let now = node.now;
        assert_eq!(says(&mut node, 8, submit(Some("k"), 0), now), []);
        node.handle(Input::Written { through: crate::core::Ticket(2) }, now);
        let answers = said(&mut node, 8);
        assert!(matches!(answers.as_slice(), [Body::JobAnswer(answer)] if answer.duplicate), "{answers:?}");
    }

    #[test]
    fn a_change_that_a_slow_disk_does_not_take_is_no_answer_and_says_that_it_may_not_last() {
        let mut node = node(Durability::Fsync);
        says(&mut node, 0, Body::Submit(Box::new(job("sleep", "run"))), Time::ZERO);
        node.handle(Input::Written { through: crate::core::Ticket(1) }, Time::ZERO);
        let answers = said(&mut node, 0);
        let [Body::JobAnswer(answer)] = answers.as_slice() else { panic!("{answers:?}") };
        let it = || JobRef::Id(answer.job.job_id.clone());
        assert_eq!(says(&mut node, 2, Body::Bury(it()), Time::ZERO), []);
        assert_eq!(pass(&mut node, 4000), []);
        let now = node.now;
        assert_eq!(says(&mut node, 4, Body::Cancel(it()), now), []);
        let told = pass(&mut node, 14_000);
        let [(10_000, 2, buried), (14_000, 4, cancelled)] = told.as_slice() else { panic!("{told:?}") };
        for body in [buried, cancelled] {
            assert!(slow(body).0.contains("a crash would undo it") && slow(body).1, "{body:?}");
        }
        let answers = {
            let now = node.now;
            says(&mut node, 6, Body::Jobs(Box::default()), now)
        };
        let [Body::JobsAnswer(jobs)] = answers.as_slice() else { panic!("{answers:?}") };
        assert_eq!(jobs.disk, Some(format!("{SLOW} 14.0 s")));
    }

    #[test]
    fn a_disk_that_writes_one_after_another_is_not_slow_for_who_waits_long() {
        let mut node = node(Durability::Fsync);
        for nth in 0..30u64 {
            let (link, now) = (2 * (nth % 5), Time::ZERO + Duration::from_millis(nth * 500));
            assert_eq!(says(&mut node, link, Body::Submit(Box::new(job("sleep", "run"))), now), []);
            assert_eq!(pass(&mut node, nth * 500 + 400), []);
            let now = node.now;
            node.handle(Input::Written { through: crate::core::Ticket(nth + 1) }, now);
            assert!(matches!(said(&mut node, link).as_slice(), [Body::JobAnswer(_)]));
        }
    }

    #[test]
    fn the_next_page_of_jobs_begins_after_a_job_of_this_master() {
        let mut node = node(Durability::Memory);
        says(&mut node, 0, Body::Submit(Box::new(job("sleep", "run"))), Time::ZERO);
        let page = |after: &str| {
            let after = crate::wire::JobId::new(after);
            Body::Jobs(Box::new(JobsQuery { list: true, after, ..JobsQuery::default() }))
        };
        for wrong in ["3", "nonsense", "another-1-0", "master-1-", "master-01-0"] {
            let answers = says(&mut node, 2, page(wrong), Time::ZERO);
            let [Body::Error(error)] = answers.as_slice() else { panic!("{wrong}: {answers:?}") };
            let detail = format!("`AFTER` is `{wrong}`; expected the JOB_ID of a job of this master");
            assert_eq!((error.code.clone(), error.detail.as_str()), (ErrorCode::BadField, detail.as_str()));
        }
        for lawful in ["master-1-0", "master-1-7", "master-9-3"] {
            let answers = says(&mut node, 2, page(lawful), Time::ZERO);
            assert!(matches!(answers.as_slice(), [Body::JobsAnswer(_)]), "{lawful}: {answers:?}");
        }
    }

    #[test]
    fn why_a_job_waits_knows_who_is_draining() {
        let mut node = node(Durability::Memory);
        let comes = |node: &mut Node, nth: u64, slots: u32| {
            let (name, methods) = (ServiceName::new("x").unwrap(), vec![ServiceName::run()]);
            let services = vec![ServiceOffer { name, methods, idempotent: Vec::new() }];
            let native =
                NativeWorker { name: "w".to_owned(), slots, services, jobs: Vec::new(), epoch: None, loan_id: None };
            let worker = ServerId::new(format!("w{nth}")).unwrap();
            let alive = WorkerAlive { worker, owner: None, listens: None, native: Some(Box::new(native)) };
            says(node, 2 + 2 * nth, Body::WorkerAlive(Box::new(alive)), Time::ZERO);
        };
        let why = |node: &Node| node.why_waits(&ServiceName::new("x").unwrap(), &ServiceName::run(), 0);
        assert_eq!(why(&node), "waits: no worker offers the service `x`");
        comes(&mut node, 0, 0);
        assert_eq!(why(&node), "waits: the only worker that offers `x` is draining");
        comes(&mut node, 1, 0);
        assert_eq!(why(&node), "waits: all 2 workers that offer `x` are draining");
        comes(&mut node, 0, 1);
        says(&mut node, 0, Body::Submit(Box::new(job("x", "run"))), Time::ZERO);
        let mixed = "waits: 2 workers offer `x`; those that are not quarantined or draining are busy; it is the next";
        assert_eq!(why(&node), mixed);
    }

    #[test]
    fn who_waits_for_what_the_disk_refuses_is_told_so() {
        let mut node = node(Durability::Fsync);
        let failed = |bodies: Vec<Body>| match bodies.as_slice() {
            [Body::Error(error)] => {
                assert_eq!((error.code.clone(), error.retry), (ErrorCode::StoreFailed, true));
                assert!(error.detail.contains("no space"), "{}", error.detail);
            }
            other => panic!("{other:?}"),
        };
        let known = || JobRef::Key("k".to_owned());
        let query = |wait| ResultQuery { job: known(), wait, output: false };
        let submit = Submit { key: Some("k".to_owned()), ..job("sleep", "run") };
        says(&mut node, 0, Body::Submit(Box::new(submit)), Time::ZERO);
        node.handle(Input::Written { through: crate::core::Ticket(1) }, Time::ZERO);
        assert_eq!(said(&mut node, 0).len(), 1);
        assert_eq!(says(&mut node, 2, Body::Cancel(known()), Time::ZERO), []);
        let wait = Some(Duration::from_millis(5));
        assert_eq!(says(&mut node, 4, Body::Result(Box::new(query(wait))), Time::ZERO), []);
        let (from, through) = (crate::core::Ticket(2), crate::core::Ticket(2));
        node.handle(Input::WriteFailed { from, through, reason: "no space".to_owned() }, Time::ZERO);
        failed(said(&mut node, 2));
        failed(says(&mut node, 6, Body::Result(Box::new(query(None))), Time::ZERO));
        node.handle(Input::Tick, Time::from_micros(5000));
        failed(said(&mut node, 4));
    }

    proptest! {
        #[test]
        fn the_next_job_is_the_same_looked_for_from_either_side(
            steps in prop::collection::vec((0..4usize, 0..3usize, any::<bool>(), 0..10u8), 1..60),
        ) {
            let mut node = node(Durability::Memory);
            for (step, (service, method, worker, priority)) in steps.into_iter().enumerate() {
                let (name, method) = (["a", "b", "c", "d"][service], ["x", "y", "run"][method]);
                let now = Time::from_micros(step as u64);
                // Nothing is given out meanwhile, so that there is a choice at each step.
                node.stopped = true;
                if worker {
                    let offer = ServiceOffer {
                        name: ServiceName::new(name).unwrap(),
                        methods: vec![ServiceName::new(method).unwrap()],
                        idempotent: Vec::new(),
                    };
                    let native = NativeWorker {
                        name: "w".to_owned(),
                        slots: u32::from(priority % 3),
                        services: vec![offer],
                        jobs: Vec::new(), epoch: None, loan_id: None };
                    let id = ServerId::new(format!("w{service}")).unwrap();
                    let alive = WorkerAlive { worker: id, owner: None, listens: None, native: Some(Box::new(native)) };
                    says(&mut node, 2 + 2 * service as u64, Body::WorkerAlive(Box::new(alive)), now);
                } else {
                    let _ = node.queue.submit(Submit { priority, ..job(name, method) }, now);
                    node.handle(Input::Tick, now);
                }
                prop_assert_eq!(node.next_by_waiting(), node.next_by_room());
                if let Some((number, worker)) = node.next_assignment().filter(|_| step % 3 == 0) {
                    let id = node.farm.id_of(worker).unwrap().clone();
                    let order = node.queue.start(number, &id, now).unwrap();
                    node.farm.assign(worker, order, now);
                    prop_assert_eq!(node.next_by_waiting(), node.next_by_room());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn everybody_is_answered_whether_inputs_come_one_by_one_or_many_at_a_time(
            steps in prop::collection::vec((0..5u64, any::<bool>()), 1..80),
        ) {
            let mut node = node(Durability::Memory);
            let mut orders: [Vec<Attempt>; 2] = Default::default();
            let (mut submitted, mut reported, mut answers, mut acks) = (0, 0, 0, 0);
            let offer = || ServiceOffer { name: ServiceName::new("x").unwrap(), methods: Vec::new(), idempotent: Vec::new() };
            for nth in 0..2 {
                let native = NativeWorker { name: "w".to_owned(), slots: 3, services: vec![offer()], jobs: Vec::new(), epoch: None, loan_id: None };
                let worker = ServerId::new(format!("w{nth}")).unwrap();
                let alive = WorkerAlive { worker, owner: None, listens: None, native: Some(Box::new(native)) };
                says(&mut node, 2 + 2 * nth, Body::WorkerAlive(Box::new(alive)), Time::ZERO);
            }
            let last = steps.len();
            // Behind the last step, whatever still runs is reported until nothing does.
            let rest = (0..).map(|nth: u64| (3 + nth % 2, !nth.is_multiple_of(3)));
            for (at, (step, many)) in steps.into_iter().chain(rest).enumerate() {
                if at > last && orders.iter().all(Vec::is_empty) {
                    node.settle(node.now);
                    take_all(&mut node, &mut orders, &mut answers, &mut acks);
                    if orders.iter().all(Vec::is_empty) {
                        break;
                    }
                }
                let (link, body) = match step {
                    0..=2 => {
                        submitted += 1;
                        (0, Body::Submit(Box::new(Submit { wait: Some(MAX_WAIT), ..job("x", "run") })))
                    }
                    _ => {
                        let nth = step - 3;
                        let Some(attempt) = orders[nth as usize].pop() else { continue };
                        reported += 1;
                        let status = crate::wire::WorkerStatus {
                            worker: ServerId::new(format!("w{nth}")),
                            ok: true,
                            result: None,
                            detail: None,
                            retry: true,
                            attempt: Some(attempt),
                        };
                        (2 + 2 * nth, Body::WorkerStatus(Box::new(status)))
                    }
                };
                let input = Input::Message { link: LinkId(link), message: Message::plain(body) };
                let now = Time::from_micros(at as u64 / 3);
                match many {
                    true => node.handle_one_of_many(input, now),
                    false => node.handle(input, now),
                }
                take_all(&mut node, &mut orders, &mut answers, &mut acks);
                prop_assert_eq!(acks, reported, "who reports waits for nobody");
                prop_assert!(many || node.queue.pending() == 0 || orders.iter().all(|orders| orders.len() == 3));
            }
            prop_assert_eq!((answers, reported), (submitted, submitted));
            prop_assert_eq!((node.queue.pending(), node.queue.running()), (0, 0));
        }
    }

    fn take_all(node: &mut Node, orders: &mut [Vec<Attempt>; 2], answers: &mut usize, acks: &mut usize) {
        while let Some(output) = node.poll_output() {
            let Output::Send { link, message } = output else { continue };
            match message.body {
                Body::Job(order) => orders[link.0 as usize / 2 - 1].push(order.attempt.clone()),
                Body::JobAnswer(_) => *answers += 1,
                Body::StatusAck(_) => *acks += 1,
                _ => {}
            }
        }
    }

    #[test]
    fn who_has_stopped_and_waits_for_the_disk_has_nothing_else_due() {
        let identity = Identity { server_id: ServerId::new("master-0").unwrap(), name: "me".to_owned() };
        let config = Config { peers: vec!["10.0.0.2:9101".parse().unwrap()], ..Config::default() };
        let mut node = Node::new(config, identity, 1, Time::ZERO).unwrap();
        let (at, link) = (std::net::SocketAddr::from(([127, 0, 0, 1], 1)), LinkId(2));
        node.handle(Input::LinkOpened { link, local: at, remote: at }, Time::ZERO);
        let user = Json::string("x");
        node.handle(Input::Message { link, message: Message::plain(Body::Query { user }) }, Time::ZERO);
        let through = crate::core::Ticket(1);
        let wrote = |output: Output| matches!(output, Output::Write { ticket, .. } if ticket == through);
        assert!(std::iter::from_fn(|| node.poll_output()).any(wrote));
        node.handle(Input::Command(crate::core::Command::Stop), Time::ZERO);
        let later = Time::ZERO + Duration::from_secs(100);
        node.handle(Input::Tick, later);
        assert!(node.deadline().is_none_or(|due| due > later), "it would be ticked for ever");
        node.handle(Input::Written { through }, later);
        assert!(std::iter::from_fn(|| node.poll_output()).any(|output| output == Output::Stopped));
    }

    #[test]
    fn who_follows_is_sent_on_only_after_five_seconds_without_a_guest() {
        let peer = "10.0.0.2:9102";
        let load = crate::core::LoadConfig { capacity: 1, release: 1, hold: Duration::ZERO, ..Default::default() };
        let config = Config {
            peers: vec![peer.parse().unwrap()],
            queue: QueueConfig { durability: Durability::Memory, ..QueueConfig::default() },
            timeout: Duration::from_secs(50),
            load,
            ..Config::default()
        };
        let identity = Identity { server_id: ServerId::new("master").unwrap(), name: "m".to_owned() };
        let mut node = Node::new(config, identity, 1, Time::ZERO).unwrap();
        node.handle(Input::Tick, Time::ZERO);
        let opened = std::iter::from_fn(|| node.poll_output()).find_map(|output| match output {
            Output::Open { link, .. } => Some(link),
            _ => None,
        });
        let (beat, near) = (opened.unwrap(), std::net::SocketAddr::from(([127, 0, 0, 1], 9101)));
        node.handle(Input::LinkOpened { link: beat, local: near, remote: peer.parse().unwrap() }, Time::ZERO);
        let presence = crate::wire::Presence {
            server_id: ServerId::new("B").unwrap(),
            name: "b".to_owned(),
            address: peer.parse().unwrap(),
            role: crate::wire::Role::Master,
            group: "g".to_owned(),
            group_presence: Default::default(),
            load: Default::default(),
            services: Vec::new(),
        };
        let (server_id, presence) = (presence.server_id.clone(), Some(Box::new(presence)));
        let answer = Body::HeartbeatAnswer(crate::wire::HeartbeatAnswer { server_id, presence });
        says(&mut node, beat.0, answer, Time::ZERO);
        for link in [2, 4] {
            node.handle(Input::LinkOpened { link: LinkId(link), local: near, remote: near }, Time::ZERO);
        }
        (0..2).for_each(|_| drop(says(&mut node, 2, Body::Submit(Box::new(job("nobody", "run"))), Time::ZERO)));
        assert!(node.saturated_since.is_some());
        let sent_on = |node: &mut Node, at: u64| {
            pass(node, at);
            let submit = Submit { follow: true, ..job("nobody", "run") };
            let told = says(node, 2, Body::Submit(Box::new(submit)), Time::ZERO + Duration::from_millis(at));
            matches!(told.as_slice(), [Body::Redirect(_)])
        };
        assert!(!sent_on(&mut node, 4_900));
        assert!(sent_on(&mut node, 5_100));
        // A worker of another master comes, and goes again.
        let native = NativeWorker {
            name: "w".to_owned(),
            slots: 1,
            services: Vec::new(),
            epoch: None,
            loan_id: None,
            jobs: Vec::new(),
        };
        let worker = ServerId::new("w").unwrap();
        let (owner, native) = (Some("C".to_owned()), Some(Box::new(native)));
        let alive = WorkerAlive { worker: worker.clone(), owner, listens: None, native };
        let moment = |ms: u64| Time::ZERO + Duration::from_millis(ms);
        says(&mut node, 4, Body::WorkerAlive(Box::new(alive)), moment(5_200));
        assert_eq!(node.farm.whose(), (0, 1));
        assert!(!sent_on(&mut node, 6_000));
        assert!(!sent_on(&mut node, 15_000), "as long as it is here");
        says(&mut node, 4, Body::Leave { server_id: worker }, moment(15_100));
        assert_eq!(node.farm.whose(), (0, 0));
        assert!(!sent_on(&mut node, 20_000));
        assert!(sent_on(&mut node, 20_200), "without help for five seconds");
    }

    #[test]
    fn workers_that_are_promised_are_not_called_busy() {
        let mut node = node(Durability::Memory);
        let why = |node: &Node| node.why_waits(&ServiceName::new("sleep").unwrap(), &ServiceName::run(), 0);
        let comes = |node: &mut Node, link: u64, worker: &str| {
            let offer =
                ServiceOffer { name: ServiceName::new("sleep").unwrap(), methods: Vec::new(), idempotent: Vec::new() };
            let (name, services, jobs) = (worker.to_owned(), vec![offer], Vec::new());
            let native = NativeWorker { name, slots: 1, services, epoch: None, loan_id: None, jobs };
            let (worker, native) = (ServerId::new(worker).unwrap(), Some(Box::new(native)));
            let alive = WorkerAlive { worker, owner: None, listens: None, native };
            says(node, link, Body::WorkerAlive(Box::new(alive)), Time::ZERO);
        };
        comes(&mut node, 2, "w1");
        let reserve =
            |node: &mut Node, worker: &str| node.farm.reserve(&ServerId::new(worker).unwrap(), true, Time::ZERO);
        reserve(&mut node, "w1");
        assert_eq!(why(&node), "waits: the only worker that offers `sleep` is promised to another master");
        comes(&mut node, 4, "w2");
        reserve(&mut node, "w2");
        assert_eq!(why(&node), "waits: all 2 workers that offer `sleep` are promised to other masters");
        comes(&mut node, 6, "w3");
        says(&mut node, 0, Body::Submit(Box::new(job("sleep", "run"))), Time::ZERO);
        let some = "waits: 3 workers offer `sleep`; those that are not quarantined, draining or promised to other masters are busy; it is the next";
        assert_eq!(why(&node), some);
        node.farm.keep(&ServerId::new("w1").unwrap(), Time::ZERO);
        assert_eq!(why(&node), "waits: it is given out now");
        node.farm.check_invariants();
    }
}
