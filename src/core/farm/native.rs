//! Native workers: pushed up to their slots, and resumable.
//!
//! ```text
//!   ALIVE on a new link, JOBS [a, b, c]       a runs here as well      both go on
//!                                             b is not known           Claim: kept, or DROP in the welcome
//!                                             c ended, not recorded    neither: its STATUS comes again, then ACK
//!                                             d runs here, not there   lost on the way: the same attempt is sent again
//! ```
//!
//! On a link that stands nothing gets lost: what is missing in JOBS there is still on its way.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::machine::{Farm, ending, native, outcome, told};
use super::worker::{Running, Welcome};
use super::{Effect, MAX_CALLS, MAX_WORKERS, WorkerKey};
use crate::core::LogLevel;
use crate::core::links::Reply;
use crate::wire::{
    Attempt, Body, ErrorAnswer, ErrorCode, EventKind, JobOrder, JobStop, Message, NativeWorker, ServerId, StatusAck,
    Terms, WorkerStatus, WorkerWelcome, quote,
};

impl Farm {
    /// A native worker comes, refreshes what it said, or resumes.
    pub(super) fn native_alive(
        &mut self,
        reply: Reply,
        host: IpAddr,
        id: ServerId,
        owner: Option<String>,
        said: NativeWorker,
        terms: Option<Terms>,
    ) {
        let NativeWorker { name, slots, services, jobs, epoch, loan_id } = said;
        let mut known = self.key_of(&id);
        if let Some(key) = known.filter(|key| self.workers.get(key).is_some_and(|worker| worker.foreign().is_some())) {
            self.remove(key, None, "it came back as a native worker");
            known = None;
        }
        let current = known.and_then(|key| self.workers.get(&key)?.link);
        if current.is_some_and(|current| reply.link < current) {
            // Said before the worker dialled anew, and late: links are numbered in the order in which they were accepted.
            let link = reply.link;
            self.effect(Effect::Unanswered { reply });
            return self.close(link);
        }
        let joined = known.is_none();
        let Some(key) = known.or_else(|| self.join(id.clone(), name.clone(), owner.clone(), host, native(slots)))
        else {
            let detail = format!("this master has {MAX_WORKERS} workers, and takes no more");
            let error = ErrorAnswer::new("WORKER", ErrorCode::Busy, detail);
            return self.effect(Effect::Answer { reply, body: Body::Error(Box::new(error)) });
        };
        let old = self.workers.get(&key).and_then(|worker| worker.link).filter(|link| *link != reply.link);
        if let Some(old) = old {
            self.close(old);
        }
        let resumes = self.key_on(reply.link) != Some(key);
        self.relink(key, reply.link);
        self.offer(key, services);
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let was_guest = worker.owner.is_some();
        (worker.name, worker.owner, worker.host, worker.seen) = (name, owner, host, self.now);
        worker.has_seen(epoch, loan_id.as_ref(), terms.as_ref().map(|terms| terms.epoch));
        self.set_terms(key, terms);
        let Some(worker) = self.workers.get_mut(&key) else { return };
        // A guest that could be used no longer is an own one now.
        worker.reserved &= !was_guest || worker.owner.is_some();
        let jobs: BTreeSet<Attempt> = jobs.into_iter().collect();
        let unknown = |attempt: &&Attempt| {
            // What has ended is acknowledged once it is recorded; dropped before, it could be nowhere after a crash.
            let fresh = self.fresh.as_ref().is_some_and(|(fresh, _)| fresh == *attempt);
            !worker.running.contains_key(attempt) && !self.ended.contains_key(*attempt) && !fresh
        };
        let claims: BTreeSet<Attempt> = jobs.iter().filter(unknown).cloned().collect();
        let brought = jobs.len();
        let Some(native) = worker.native_mut() else { return };
        native.slots = slots;
        let before = native.welcome.take();
        let resumes = resumes || before.as_ref().is_some_and(|before| before.resumed.is_some());
        let resumed = resumes.then_some(jobs);
        native.welcome = Some(Welcome { reply, resumed, claims: claims.clone(), drop: Vec::new() });
        if joined {
            let borrowed = worker.owner.as_ref().map_or(String::new(), |o| format!("; borrowed from {}", quote(o, 64)));
            let names: Vec<&str> = worker.services.iter().take(8).map(|offer| offer.name.as_str()).collect();
            let names = if worker.services.len() > 8 { names.join(", ") + ", ..." } else { names.join(", ") };
            let detail =
                format!("{} from {host}: {slots} slots for {names}; brings {brought} jobs{borrowed}", worker.name);
            self.effect(Effect::Event { kind: EventKind::WorkerJoined, worker: id, detail });
        } else if resumes {
            let text = format!("worker {} resumes; it has {brought} jobs", worker.called());
            self.log(LogLevel::Info, text);
        }
        if let Some(before) = before {
            self.effect(Effect::Unanswered { reply: before.reply });
        }
        for attempt in claims {
            self.effect(Effect::Claim { worker: key, attempt });
        }
        self.welcome(key);
        self.settle(key);
    }

    /// The answer to [`Effect::Claim`]: whether the worker shall go on with this attempt.
    pub(in crate::core) fn claimed(&mut self, worker: WorkerKey, attempt: &Attempt, kept: bool) {
        let now = self.now;
        let Some(claimant) = self.workers.get_mut(&worker) else { return };
        let Some(welcome) = claimant.native_mut().and_then(|native| native.welcome.as_mut()) else { return };
        if !welcome.claims.remove(attempt) {
            return;
        }
        if kept {
            claimant.running.insert(attempt.clone(), Running { order: None, begun: now, unwanted: false });
        } else {
            welcome.drop.push(attempt.clone());
        }
        self.welcome(worker);
        self.settle(worker);
    }

    /// Welcomes a worker whose claims are all answered, and sends again what was lost on the way.
    fn welcome(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let (id, link) = (worker.id.clone(), worker.link);
        let Some(native) = worker.native_mut() else { return };
        let Some(welcome) = native.welcome.take_if(|welcome| welcome.claims.is_empty()) else { return };
        let mut lost = Vec::new();
        let mut again = Vec::new();
        let resumes = welcome.resumed.is_some();
        let terms = native.terms.clone();
        let ordered = worker.unseen_order();
        if let Some(jobs) = welcome.resumed {
            for (attempt, running) in worker.running.iter_mut().filter(|(attempt, _)| !jobs.contains(attempt)) {
                match &running.order {
                    Some(order) => {
                        running.begun = self.now;
                        again.push(order.clone());
                    }
                    // It brought it along, and does not have it any more: nobody here could send it again.
                    None => lost.push(attempt.clone()),
                }
            }
        }
        for attempt in &lost {
            worker.running.remove(attempt);
        }
        let body = Body::WorkerWelcome(Box::new(WorkerWelcome {
            server_id: self.server_id.clone(),
            name: self.name.clone(),
            timeout: self.timeout,
            failover: self.failover.clone(),
            drop: welcome.drop,
            terms,
        }));
        self.effect(Effect::Answer { reply: welcome.reply, body });
        if resumes {
            self.effect(Effect::Welcomed { worker: id.clone() });
        }
        if let (Some(link), Some(order)) = (link, ordered) {
            self.send_order(link, order);
        }
        for order in again {
            if let Some(link) = link {
                self.effect(Effect::Send { link, message: Message::plain(Body::Job(order)) });
            }
        }
        for attempt in lost {
            let reason = format!("worker {id} does not have it any more");
            self.effect(Effect::Lost { attempt, worker: id.clone(), reason, taken: false });
        }
    }

    /// Sends an attempt to a worker that has it in its table already.
    pub(super) fn native_order(&mut self, key: WorkerKey, order: Arc<JobOrder>) {
        if let Some(link) = self.workers.get(&key).and_then(|worker| worker.link) {
            self.effect(Effect::Send { link, message: Message::plain(Body::Job(order)) });
        }
    }

    /// Tells a worker to stop an attempt or a call. One that is away learns it when it resumes.
    pub(super) fn native_stop(&mut self, key: WorkerKey, attempt: Attempt, reason: String) {
        if let Some(link) = self.workers.get(&key).and_then(|worker| worker.link) {
            let body = Body::JobStop(Box::new(JobStop { attempt, reason }));
            self.effect(Effect::Send { link, message: Message::plain(body) });
        }
    }

    /// Who names its attempt has finished it. It may be known here or not, and so may the attempt.
    pub(super) fn native_status(
        &mut self,
        key: Option<WorkerKey>,
        id: ServerId,
        attempt: Attempt,
        reply: Reply,
        status: WorkerStatus,
    ) {
        let retry = status.retry;
        let outcome = outcome(status, "null", retry);
        let Some(worker) = key.and_then(|key| self.workers.get_mut(&key)) else {
            return self.end(attempt, id, true, outcome, reply);
        };
        let key = worker.key;
        if worker.native_mut().is_some_and(|native| native.calls.remove(&attempt.job_id)) {
            self.calls.remove(&attempt.job_id);
            let ack = StatusAck { worker: Some(id.clone()), attempt: Some(attempt.clone()) };
            self.effect(Effect::CallEnded { call: attempt.job_id, worker: id, outcome });
            self.effect(Effect::Answer { reply, body: Body::StatusAck(Box::new(ack)) });
            return self.settle(key);
        }
        if let Some(running) = worker.running.remove(&attempt) {
            // Who is not at home here stands in the log with what it did; of the others the end of the job tells.
            if worker.owner.is_some() {
                let text = format!("worker {} has finished {}: {}", worker.called(), told(&attempt), ending(&outcome));
                self.log(LogLevel::Info, text);
            }
            self.judge(key, &running, &outcome);
        }
        self.end(attempt, id, true, outcome, reply);
        self.settle_later(key);
    }

    /// Gives a call to a worker, if it has room for one.
    pub(super) fn native_call(&mut self, key: WorkerKey, call: JobOrder) -> bool {
        self.given += 1;
        let given = self.given;
        let Some(worker) = self.workers.get_mut(&key) else { return false };
        let Some(link) = worker.link else { return false };
        let Some(native) = worker.native_mut().filter(|native| native.calls.len() < MAX_CALLS) else { return false };
        if self.calls.contains_key(&call.attempt.job_id) {
            return false;
        }
        native.called = given;
        native.calls.insert(call.attempt.job_id.clone());
        self.calls.insert(call.attempt.job_id.clone(), key);
        self.effect(Effect::Send { link, message: Message::plain(Body::Job(Arc::new(call))) });
        true
    }

    /// The link of a worker is gone: its attempts stay, its calls do not, and nobody waits for a welcome.
    pub(super) fn native_unlinked(&mut self, key: WorkerKey) {
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let id = worker.id.clone();
        let Some(native) = worker.native_mut() else { return };
        let (calls, welcome) = (std::mem::take(&mut native.calls), native.welcome.take());
        if let Some(welcome) = welcome {
            self.effect(Effect::Unanswered { reply: welcome.reply });
        }
        for call in calls {
            self.calls.remove(&call);
            let reason = format!("the link to worker {id} is gone");
            self.effect(Effect::CallLost { call, worker: id.clone(), reason });
        }
    }
}
