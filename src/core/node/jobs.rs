//! Jobs: what clients ask, what the queue decides, and who is told of it.

use std::time::Duration;

use super::Node;
use super::waiters::{MAX_WAITERS, Until, Waiter};
use crate::core::farm::WorkerKey;
use crate::core::links::Reply;
use crate::core::queue::{self, Finish, Submitted};
use crate::core::{JobNumber, LinkId, LogLevel, Outcome, Output, farm};
use crate::time::Time;
use crate::wire::{
    Attempt, Body, ErrorAnswer, ErrorCode, JobAnswer, JobOutput, JobRef, JobTask, JobsAnswer, JobsQuery, Json,
    MAX_HOPS, MAX_WAIT, Message, Redirect, ResultQuery, ServerId, ServiceName, Submit,
};

/// A node that is saturated for this long without help sends clients that follow to a neighbour.
const NO_HELP: Duration = Duration::from_secs(5);

impl Node {
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
        let helpless = self.saturated_since.is_some_and(|since| since + NO_HELP <= now);
        if submit.follow && submit.hops < MAX_HOPS && helpless {
            let better = self.registry.masters().into_iter().find(|neighbour| !neighbour.presence.load.saturated);
            if let Some(neighbour) = better {
                let reason = format!("saturated for more than {} s", NO_HELP.as_secs());
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
        let submit = Submit {
            service: ServiceName::new("query").expect("a lawful name"),
            method: ServiceName::run(),
            params: Json::trusted(format!("{{\"USER\":{user}}}")),
            priority: crate::wire::DEFAULT_PRIORITY,
            delay: Duration::ZERO,
            timeout: None,
            attempts: None,
            key: None,
            wait: None,
            output: false,
            follow: false,
            hops: 0,
        };
        self.submit(reply, submit, now);
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
        let config = &self.config.queue;
        let (jobs, more) = if query.list {
            let (mut jobs, more) = self.queue.list(query, now);
            for job in &mut jobs {
                if let (crate::wire::JobStatus::Queued, Some(service)) = (job.status, &job.service) {
                    job.reason = Some(self.why_queued(service));
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
            None => Until::Settled,
        };
        if wait.is_some() {
            self.detach(&mut reply);
        }
        let waiter = Waiter { reply, task, duplicate, until, output };
        if self.has_come(number, &waiter) {
            return self.answer_waiter(number, &waiter, now);
        }
        self.links.touch(waiter.reply.link);
        self.waiters.add(number, waiter);
    }

    fn has_come(&self, number: JobNumber, waiter: &Waiter) -> bool {
        match waiter.until {
            // What is being accepted or changed is not said before it is durable; looking at a job waits for nothing
            // but its acceptance.
            Until::Settled => self.queue.is_settled(number),
            Until::Ended(_) => self.queue.is_settled(number) && self.queue.is_ended(number),
        }
    }

    fn answer_waiter(&mut self, number: JobNumber, waiter: &Waiter, now: Time) {
        let Some(mut job) = self.queue.view(number, now, false) else {
            let mut error = ErrorAnswer::new(waiter.task.as_str(), ErrorCode::NotFound, "the job has been forgotten");
            error.retry = false;
            return self.reply_error(&waiter.reply, error);
        };
        let asked = waiter.task == JobTask::Result || matches!(waiter.until, Until::Ended(_));
        if job.status == crate::wire::JobStatus::Queued && asked {
            job.reason = self.queue.service_of(number).cloned().map(|service| self.why_queued(&service));
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

    /// Answers those whose wait is over. What is not durable yet is not said even then: a job that is being accepted, or
    /// an end that a crash could still undo. They wait on until it is.
    pub(super) fn tick_waiters(&mut self, now: Time) {
        while let Some(number) = self.waiters.due(now) {
            let over = |waiter: &Waiter| matches!(waiter.until, Until::Ended(at) if at <= now);
            for waiter in self.waiters.take(number, over) {
                if self.queue.is_settled(number) {
                    self.answer_waiter(number, &waiter, now);
                } else {
                    self.waiters.add(number, Waiter { until: Until::Settled, ..waiter });
                }
            }
        }
    }

    /// Why a job of this service waits, in one sentence.
    fn why_queued(&self, service: &ServiceName) -> String {
        let census = self.farm.census(service);
        let ahead = self.queue.ready_of(service);
        match (census.offering, census.alive, census.idle) {
            (0, _, _) => format!("waits: no worker offers the service `{service}`"),
            (offering, 0, _) => format!("waits: {offering} workers offer `{service}`, none of them is ALIVE"),
            (_, alive, 0) if census.quarantined >= alive => {
                format!("waits: all {alive} workers that offer `{service}` are quarantined")
            }
            (_, 1, 0) => format!("waits: the only worker that offers `{service}` is busy; {ahead} jobs wait for it"),
            (_, alive, 0) => {
                format!("waits: {alive} workers offer `{service}`, all busy; {ahead} jobs wait for them")
            }
            (_, _, _) => "waits: it is given out now".to_owned(),
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
                queue::Effect::Event { kind, detail } => self.event(kind, None, None, detail),
                queue::Effect::Log { level, text } => self.log(level, text),
            }
        }
    }

    fn come_far_enough(&mut self, number: JobNumber, now: Time) {
        if self.waiters.of(number).next().is_none() {
            return;
        }
        let settled = self.queue.is_settled(number);
        let ended = settled && self.queue.is_ended(number);
        let ready = |waiter: &Waiter| match waiter.until {
            Until::Settled => settled,
            Until::Ended(_) => ended,
        };
        for waiter in self.waiters.take(number, ready) {
            self.answer_waiter(number, &waiter, now);
        }
    }

    /// A worker has finished an attempt.
    pub(super) fn attempt_ended(&mut self, attempt: Attempt, worker: &ServerId, outcome: Outcome, now: Time) {
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
        while let Some((number, worker)) = self.next_assignment() {
            let Some(id) = self.farm.id_of(worker) else { break };
            let Some(order) = self.queue.start(number, id, now) else { break };
            let queue::Order { attempt, service, method, params, timeout, output: _ } = order;
            let output = self.waiters.of(number).any(|waiter| waiter.output);
            let order = farm::Order { attempt, service, method, params, timeout, output };
            self.farm.assign(worker, order, now);
        }
    }

    fn next_assignment(&self) -> Option<(JobNumber, WorkerKey)> {
        self.queue.waiting().find_map(|(service, number)| {
            let worker = self.farm.pick_for(service, self.queue.method_of(number)?)?;
            Some((number, worker))
        })
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
    use std::net::SocketAddr;

    use super::*;
    use crate::core::{Config, Identity, Input, Ticket};
    use crate::wire::JobStatus;

    const LINK: LinkId = LinkId(2);

    /// Gives an input, and tells what is answered and the last write.
    fn give(node: &mut Node, input: Input, now: Time) -> (Vec<Body>, Option<Ticket>) {
        node.handle(input, now);
        let (mut said, mut written) = (Vec::new(), None);
        while let Some(output) = node.poll_output() {
            match output {
                Output::Send { link: LINK, message } => said.push(message.body),
                Output::Write { ticket, .. } => written = Some(ticket),
                _ => {}
            }
        }
        (said, written)
    }

    #[test]
    fn a_wait_that_is_over_before_the_disk_has_spoken_is_answered_when_it_has() {
        let server_id = ServerId::new("master-0").unwrap();
        let identity = Identity { server_id, name: "me".to_owned() };
        let mut node = Node::new(Config::default(), identity, 1, Time::ZERO).unwrap();
        let ms = |n: u64| Time::from_micros(n * 1000);
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        give(&mut node, Input::LinkOpened { link: LINK, local: at, remote: at }, ms(0));
        let say = |body| Input::Message { link: LINK, message: Message::plain(body) };
        let submit = Submit {
            service: ServiceName::new("work").unwrap(),
            method: ServiceName::run(),
            params: Json::null(),
            priority: 4,
            delay: Duration::ZERO,
            timeout: None,
            attempts: None,
            key: Some("k".to_owned()),
            wait: Some(Duration::from_millis(5)),
            output: false,
            follow: false,
            hops: 0,
        };
        let (said, written) = give(&mut node, say(Body::Submit(Box::new(submit))), ms(0));
        assert_eq!((said, written), (vec![], Some(Ticket(1))));
        assert_eq!(give(&mut node, Input::Tick, ms(6)).0, [], "it is being accepted: nothing may be said of it");
        let (said, _) = give(&mut node, Input::Written { through: Ticket(1) }, ms(7));
        let [Body::JobAnswer(answer)] = said.as_slice() else { panic!("{said:?}") };
        assert_eq!(answer.job.status, JobStatus::Queued);

        let job = JobRef::Key("k".to_owned());
        let wait = Some(Duration::from_millis(5));
        let query = ResultQuery { job: job.clone(), wait, output: false };
        assert_eq!(give(&mut node, say(Body::Result(Box::new(query))), ms(8)).0, []);
        let (said, written) = give(&mut node, say(Body::Cancel(job)), ms(9));
        assert_eq!((said, written), (vec![], Some(Ticket(2))));
        assert_eq!(give(&mut node, Input::Tick, ms(14)).0, [], "a crash could still undo its end");
        let (said, _) = give(&mut node, Input::Written { through: Ticket(2) }, ms(15));
        let cancelled = |body: &Body| matches!(body, Body::JobAnswer(a) if a.job.status == JobStatus::Cancelled);
        assert!(said.len() == 2 && said.iter().all(cancelled), "{said:?}");
    }

    #[test]
    fn who_has_stopped_and_waits_for_the_disk_has_nothing_else_due() {
        let identity = Identity { server_id: ServerId::new("master-0").unwrap(), name: "me".to_owned() };
        let config = Config { peers: vec!["10.0.0.2:9101".parse().unwrap()], ..Config::default() };
        let mut node = Node::new(config, identity, 1, Time::ZERO).unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], 1));
        give(&mut node, Input::LinkOpened { link: LINK, local: at, remote: at }, Time::ZERO);
        let user = Json::string("x");
        let query = Input::Message { link: LINK, message: Message::plain(Body::Query { user }) };
        assert_eq!(give(&mut node, query, Time::ZERO), (vec![], Some(Ticket(1))));
        give(&mut node, Input::Command(crate::core::Command::Stop), Time::ZERO);
        let later = Time::ZERO + Duration::from_secs(100);
        give(&mut node, Input::Tick, later);
        assert!(node.deadline().is_none_or(|due| due > later), "it would be ticked for ever");
        node.handle(Input::Written { through: Ticket(1) }, later);
        assert!(std::iter::from_fn(|| node.poll_output()).any(|output| output == Output::Stopped));
    }
}
