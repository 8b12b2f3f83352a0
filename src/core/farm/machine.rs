//! The farm itself: its inputs, and what native and foreign workers have in common.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use super::index::Index;
use super::quarantine::Successes;
use super::worker::{Call, Foreign, Kind, Native, Running, Stage, Worker};
use super::{Census, Effect, FORGET_AFTER, MAX_CANDIDATES, Order, WorkerKey};
use crate::core::links::Reply;
use crate::core::patience::lost_after;
use crate::core::{LinkId, LogLevel, Outcome};
use crate::time::{Seconds, Time};
use crate::wire::{
    Address, Attempt, Body, EventKind, Host, INSTANCES_PAGE, Instance, JobId, JobOrder, JobOutput, Json, Listens,
    MAX_QUOTE, Place, ServerId, ServiceName, ServiceOffer, StatusAck, Terms, WORKERS_PAGE, WorkerAlive, WorkerStatus,
    WorkerView, quote,
};

/// The workers of a master.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::core) struct Farm {
    pub(super) server_id: ServerId,
    pub(super) name: String,
    pub(super) timeout: Duration,
    pub(super) failover: Vec<Address>,
    pub(super) workers: BTreeMap<WorkerKey, Worker>,
    pub(super) by_id: BTreeMap<ServerId, WorkerKey>,
    pub(super) by_link: BTreeMap<LinkId, WorkerKey>,
    pub(super) index: Index,
    /// Links on which own foreign workers were pushed an order to go, and that still stand: who, and from where. Nobody has spoken there since.
    pub(super) pushed: BTreeMap<LinkId, (ServerId, IpAddr)>,
    /// Foreign workers that asked in this input and are not answered yet.
    pub(super) asking: BTreeSet<WorkerKey>,
    /// Who does each call.
    pub(super) calls: BTreeMap<JobId, WorkerKey>,
    /// Attempts that were told as ended and are not recorded yet, with those who wait to be acknowledged.
    pub(super) ended: BTreeMap<Attempt, Vec<Ack>>,
    /// The one that was told last, as long as it is not among those: in memory it is recorded before the next is told.
    pub(super) fresh: Option<(Attempt, Option<Ack>)>,
    /// On which links they wait.
    pub(super) ack_links: BTreeMap<LinkId, BTreeSet<Attempt>>,
    pub(super) successes: Successes,
    /// Workers that belong to others.
    pub(super) guests: BTreeSet<WorkerKey>,
    pub(super) timers: BTreeSet<(Time, WorkerKey)>,
    /// Foreign workers without link and job by host, the longest silent first.
    pub(super) left_behind: BTreeMap<IpAddr, BTreeSet<(Time, WorkerKey)>>,
    pub(super) effects: VecDeque<Effect>,
    /// Workers whose place in the tables is worked out before anybody is looked for there, once for many attempts.
    pub(super) loose: Vec<WorkerKey>,
    pub(super) next_key: u64,
    /// Counts assignments and calls.
    pub(super) given: u64,
    pub(super) changed: bool,
    /// The latest `now` that was passed in.
    pub(super) now: Time,
}

/// Who waits for an attempt to be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ack {
    pub(super) reply: Reply,
    worker: Option<ServerId>,
    /// Whether it is told the attempt.
    native: bool,
}

impl Farm {
    /// An empty farm. `timeout`: what native workers are told; they are lost after a silence of [`lost_after`] it. `failover`: what workers are told to try when this
    /// master is gone, at most 16 are told.
    pub(in crate::core) fn new(
        server_id: ServerId,
        name: String,
        timeout: Duration,
        mut failover: Vec<Address>,
    ) -> Farm {
        failover.truncate(16);
        Farm {
            server_id,
            name,
            timeout,
            failover,
            workers: BTreeMap::new(),
            by_id: BTreeMap::new(),
            by_link: BTreeMap::new(),
            index: Index::default(),
            pushed: BTreeMap::new(),
            asking: BTreeSet::new(),
            calls: BTreeMap::new(),
            ended: BTreeMap::new(),
            fresh: None,
            ack_links: BTreeMap::new(),
            successes: Successes::default(),
            guests: BTreeSet::new(),
            timers: BTreeSet::new(),
            left_behind: BTreeMap::new(),
            effects: VecDeque::new(),
            loose: Vec::new(),
            next_key: 0,
            given: 0,
            changed: false,
            now: Time::ZERO,
        }
    }

    /// A worker asks for work. `host`: from where.
    #[cfg(test)]
    pub(in crate::core) fn alive(&mut self, reply: Reply, host: IpAddr, alive: WorkerAlive, now: Time) {
        self.alive_with(reply, host, alive, None, now);
    }

    /// The same, with what a native one is told of whom it belongs to. Where it says that it listens, it may be called.
    pub(in crate::core) fn alive_with(
        &mut self,
        reply: Reply,
        host: IpAddr,
        alive: WorkerAlive,
        terms: Option<Terms>,
        now: Time,
    ) {
        self.advance(now);
        let WorkerAlive { worker, owner, native, listens } = alive;
        match native {
            Some(native) => self.native_alive(reply, host, worker, owner, *native, terms),
            None => {
                let at = |Listens { host: at, port }| Address { host: at.unwrap_or(Host::Ip(host)), port };
                self.foreign_alive(reply, host, worker, owner, listens.map(at));
            }
        }
    }

    /// A worker has said TASK REQUEST. `host`: from where.
    pub(in crate::core) fn request(&mut self, reply: Reply, host: IpAddr, worker: Option<ServerId>, now: Time) {
        self.advance(now);
        self.foreign_request(reply, host, worker);
    }

    /// A worker has finished something.
    pub(in crate::core) fn status(&mut self, reply: Reply, mut status: WorkerStatus, now: Time) {
        self.advance(now);
        let key = match &status.worker {
            Some(id) => self.by_id.get(id).copied(),
            None => self.by_link.get(&reply.link).copied(),
        };
        if let Some(key) = key
            && let Some(worker) = self.workers.get_mut(&key)
        {
            if worker.native().is_some() && status.attempt.is_some() {
                // It is settled once for its word and its attempt.
                worker.seen = self.now;
                status.worker = Some(worker.id.clone());
            } else {
                self.note_word(key);
                if self.workers.get(&key).is_some_and(|worker| worker.foreign().is_some() && !worker.running.is_empty())
                {
                    return self.foreign_status(key, reply, status);
                }
                status.worker = self.workers.get(&key).map(|worker| worker.id.clone()).or(status.worker);
            }
        }
        match (status.worker.take(), status.attempt.take()) {
            (Some(id), Some(attempt)) => self.native_status(key, id, attempt, reply, status),
            (None, Some(attempt)) => {
                // Acknowledged, it would be forgotten by who made it; so it is not.
                let text = format!("somebody who does not say who it is has finished {}: ignored", told(&attempt));
                self.log_often(LogLevel::Warn, "STATUS of somebody who does not say who it is", text);
                self.effects.push_back(Effect::Unanswered { reply });
            }
            (id, None) => {
                let who = id.as_ref().map_or("a worker without WORKER_UUID", ServerId::as_str);
                let text = format!("{who} has finished a job, but it has none here: acknowledged and ignored");
                self.log_often(LogLevel::Info, "STATUS of workers that have no job here", text);
                let ack = StatusAck { worker: id, attempt: None };
                self.effects.push_back(Effect::Answer { reply, body: Body::StatusAck(Box::new(ack)) });
            }
        }
    }

    /// A native worker has passed on what a job of its printed.
    pub(in crate::core) fn printed(&mut self, link: LinkId, output: JobOutput, now: Time) {
        self.advance(now);
        let Some(key) = self.by_link.get(&link).copied() else { return };
        self.note_word(key);
        let attempt = Attempt { job_id: output.job_id.clone(), attempt: output.attempt };
        let its = self.workers.get(&key).is_some_and(|worker| {
            worker.running.contains_key(&attempt)
                || worker.native().is_some_and(|native| native.calls.contains(&attempt.job_id))
        });
        if its {
            self.effects.push_back(Effect::Printed(output));
        }
    }

    /// A worker has answered KEEPALIVE.
    pub(in crate::core) fn pong(&mut self, link: LinkId, worker: Option<ServerId>, now: Time) {
        self.advance(now);
        let here = self.by_link.get(&link);
        let key = worker.as_ref().map_or(here, |id| self.by_id.get(id));
        if let Some(key) = key.copied() {
            self.note_word(key);
        }
    }

    /// A native worker has given a sign of life on any link.
    pub(in crate::core) fn heard(&mut self, worker: &ServerId, now: Time) {
        self.advance(now);
        if let Some(key) = self.by_id.get(worker).copied() {
            self.note_word(key);
        }
    }

    /// A worker has said goodbye.
    pub(in crate::core) fn left(&mut self, worker: &ServerId, now: Time) {
        self.advance(now);
        if let Some(key) = self.by_id.get(worker).copied() {
            self.remove(key, Some(EventKind::WorkerLeft), "it left");
        }
    }

    /// A connection is gone.
    pub(in crate::core) fn closed(&mut self, link: LinkId, now: Time) {
        self.advance(now);
        self.give_back(link);
        if let Some((worker, _)) = self.pushed.remove(&link) {
            self.effect(Effect::WentAway { worker });
        }
        if let Some(key) = self.by_link.get(&link).copied() {
            self.unlink(key, false);
            self.settle(key);
        }
    }

    /// This process did not run for `lost`: that is nobody's silence.
    pub(in crate::core) fn excuse(&mut self, lost: Duration, now: Time) {
        self.advance(now);
        let keys: Vec<WorkerKey> = self.workers.keys().copied().collect();
        for key in keys {
            if let Some(worker) = self.workers.get_mut(&key) {
                worker.seen = (worker.seen + lost).min(now);
                if let Some(Foreign { stage: Stage::Quiet { since }, .. }) = worker.foreign_mut() {
                    *since = (*since + lost).min(now);
                }
            }
            self.settle(key);
        }
    }

    /// Does what is due.
    pub(in crate::core) fn tick(&mut self, now: Time) {
        self.advance(now);
        self.settle_loose();
        while let Some((due, key)) = self.timers.first().copied().filter(|(due, _)| *due <= self.now) {
            self.timers.remove(&(due, key));
            let Some(worker) = self.workers.get_mut(&key) else { continue };
            worker.filed.due = None;
            worker.conduct.lift(self.now);
            self.call_unanswered(key);
            if self.push_order(key) {
                continue;
            }
            let Some(worker) = self.workers.get_mut(&key) else { continue };
            let silent = self.now.since(worker.seen);
            let reason = format!("no word for {} s", Seconds(silent));
            if worker.native().is_some() && silent >= lost_after(self.timeout) {
                if let Some(link) = worker.link {
                    self.close(link);
                }
                self.remove(key, Some(EventKind::WorkerLost), &reason);
            } else if worker.is_left_behind() && silent >= self.timeout * FORGET_AFTER {
                self.remove(key, Some(EventKind::WorkerLost), &reason);
            } else {
                self.settle(key);
            }
        }
    }

    /// When [`Farm::tick`] has something to do.
    pub(in crate::core) fn deadline(&self) -> Option<Time> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// The input is worked off: whoever asked for work and got none is told so.
    pub(in crate::core) fn end_of_input(&mut self, now: Time) {
        self.advance(now);
        self.settle_loose();
        while let Some(key) = self.asking.first().copied() {
            self.decline(key);
            self.settle(key);
        }
    }

    /// Gives an attempt to a worker that was picked since the last input.
    pub(in crate::core) fn assign(&mut self, worker: WorkerKey, order: Order, now: Time) {
        self.advance(now);
        self.given += 1;
        let given = self.given;
        let Some(picked) = self.workers.get_mut(&worker) else {
            debug_assert!(false, "a worker that is gone was not picked");
            return;
        };
        if !picked.has_room(now) || picked.running.contains_key(&order.attempt) {
            let (attempt, worker) = (order.attempt, picked.id.clone());
            let reason = "it had no room for it".to_owned();
            self.effects.push_back(Effect::Lost { attempt, worker, reason, taken: false });
            return;
        }
        picked.given = given;
        let Order { attempt, service, method, params, timeout, output } = order;
        let order = Arc::new(JobOrder { attempt, call: false, service, method, params, timeout, output });
        let running = Running { order: Some(order.clone()), begun: now, unwanted: false };
        picked.running.insert(order.attempt.clone(), running);
        match picked.kind {
            Kind::Native(_) => {
                self.native_order(worker, order);
                self.settle_later(worker);
            }
            Kind::Foreign(_) => {
                self.foreign_order(worker, &order);
                self.settle(worker);
            }
        }
    }

    /// The end of this attempt is durable, or nobody needs it: who reported it may forget it.
    pub(in crate::core) fn recorded(&mut self, attempt: &Attempt) {
        if let Some((_, ack)) = self.fresh.take_if(|(fresh, _)| fresh == attempt) {
            return ack.into_iter().for_each(|ack| self.acknowledge(attempt, ack));
        }
        for ack in self.ended.remove(attempt).unwrap_or_default() {
            if let Some(attempts) = self.ack_links.get_mut(&ack.reply.link) {
                attempts.remove(attempt);
                if attempts.is_empty() {
                    self.ack_links.remove(&ack.reply.link);
                }
            }
            self.acknowledge(attempt, ack);
        }
    }

    fn acknowledge(&mut self, attempt: &Attempt, ack: Ack) {
        let Ack { reply, worker, native } = ack;
        let key = worker.as_ref().filter(|_| !native).and_then(|id| self.by_id.get(id)).copied();
        let ack = StatusAck { worker, attempt: native.then(|| attempt.clone()) };
        self.effects.push_back(Effect::Answer { reply, body: Body::StatusAck(Box::new(ack)) });
        if let Some(key) = key {
            self.foreign_acknowledged(key);
            self.settle(key);
        }
    }

    /// Nobody waits for this attempt any more: it was cancelled, is overdue, or another one was first.
    pub(in crate::core) fn unwanted(&mut self, worker: &ServerId, attempt: &Attempt, reason: String, now: Time) {
        self.advance(now);
        let Some(key) = self.by_id.get(worker).copied() else { return };
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let Some(running) = worker.running.get_mut(attempt).filter(|running| !running.unwanted) else { return };
        if matches!(worker.kind, Kind::Foreign(_)) {
            running.unwanted = true;
            worker.failed += 1;
        } else {
            worker.running.remove(attempt);
            worker.failed += 1;
            self.native_stop(key, attempt.clone(), reason);
        }
        self.settle(key);
    }

    /// Native workers with a link that offer this, the one with the fewest calls first.
    pub(in crate::core) fn call_candidates(
        &self,
        service: &ServiceName,
        method: &ServiceName,
    ) -> Vec<(WorkerKey, ServerId)> {
        let keys = self.index.callable(service, method, MAX_CANDIDATES);
        keys.into_iter().filter_map(|key| Some((key, self.workers.get(&key)?.id.clone()))).collect()
    }

    /// Gives a call to a worker. `false`: it is gone or has too many, and nothing was done.
    pub(in crate::core) fn call(&mut self, worker: WorkerKey, call: JobOrder, now: Time) -> bool {
        self.advance(now);
        let given = self.native_call(worker, call);
        self.settle(worker);
        given
    }

    /// Nobody waits for this call any more.
    pub(in crate::core) fn call_stop(&mut self, call: &JobId) {
        let Some(key) = self.calls.remove(call) else { return };
        if let Some(native) = self.workers.get_mut(&key).and_then(Worker::native_mut) {
            native.calls.remove(call);
        }
        let attempt = Attempt { job_id: call.clone(), attempt: 1 };
        self.native_stop(key, attempt, "nobody waits for this call any more".to_owned());
        self.settle(key);
    }

    /// What can be called at native workers with a link, merged by name, at most [`crate::wire::MAX_SERVICES`].
    pub(in crate::core) fn offers(&self) -> Vec<ServiceOffer> {
        self.index.offers()
    }

    /// The native workers with a link, in the order of their ids, at most [`INSTANCES_PAGE`].
    pub(in crate::core) fn instances(&self) -> Vec<Instance> {
        let linked = self.by_id.values().filter_map(|key| self.workers.get(key)).filter(|w| w.filed.standing.linked);
        linked
            .take(INSTANCES_PAGE)
            .map(|worker| Instance {
                server_id: worker.id.clone(),
                name: worker.name.clone(),
                place: Place::Worker,
                services: worker.services.clone(),
            })
            .collect()
    }

    /// The workers after this one, in the order of their ids, at most [`WORKERS_PAGE`], and whether there are more.
    pub(in crate::core) fn view(&self, after: Option<&ServerId>, now: Time) -> (Vec<WorkerView>, bool) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.by_id.range::<ServerId, _>((from, Bound::Unbounded));
        let page = rest.by_ref().take(WORKERS_PAGE);
        let views = page.filter_map(|(_, key)| Some(self.workers.get(key)?.view(self.timeout, now))).collect();
        (views, rest.next().is_some())
    }

    /// How many workers there are for a job of this.
    pub(in crate::core) fn census(&self, service: &ServiceName, method: &ServiceName) -> Census {
        self.index.census(service, method)
    }

    /// Workers with a link, or away and not lost.
    pub(in crate::core) fn workers(&self) -> u64 {
        self.workers.len() as u64
    }

    /// Whether some worker may have got room since this was asked last.
    pub(in crate::core) fn changed(&mut self) -> bool {
        self.settle_loose();
        std::mem::take(&mut self.changed)
    }

    /// Whether there is something to do.
    pub(in crate::core) fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// The next thing to do, until `None`.
    pub(in crate::core) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn advance(&mut self, now: Time) {
        self.now = self.now.max(now);
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn log(&mut self, level: LogLevel, text: String) {
        self.effects.push_back(Effect::Log { level, text });
    }

    /// The same of what others can cause as often as they like. `of`: what such lines are.
    pub(super) fn log_often(&mut self, level: LogLevel, of: &'static str, text: String) {
        self.effects.push_back(Effect::Often { level, of, text });
    }

    /// An attempt has ended, as `worker` says. It is told once, however often and by whomever it is said until it is recorded.
    pub(super) fn end(&mut self, attempt: Attempt, worker: ServerId, native: bool, outcome: Outcome, reply: Reply) {
        if let Some((before, ack)) = self.fresh.take() {
            self.await_record(before, ack);
        }
        let ack = Ack { reply, worker: Some(worker.clone()), native };
        if self.ended.contains_key(&attempt) {
            return self.await_record(attempt, Some(ack));
        }
        self.fresh = Some((attempt.clone(), Some(ack)));
        self.effects.push_back(Effect::Ended { attempt, worker, outcome });
    }

    /// An attempt that was told as ended is not recorded yet.
    fn await_record(&mut self, attempt: Attempt, ack: Option<Ack>) {
        if let Some(ack) = &ack {
            self.ack_links.entry(ack.reply.link).or_default().insert(attempt.clone());
        }
        self.ended.entry(attempt).or_default().extend(ack);
    }

    /// Counts how an attempt of a worker ended, and puts it into quarantine where that is due.
    pub(super) fn judge(&mut self, key: WorkerKey, running: &Running, outcome: &Outcome) {
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let service = running.order.as_ref().map(|order| &order.service);
        match outcome {
            Outcome::Ok(_) => {
                worker.done += u64::from(!running.unwanted);
                if let Some(service) = service {
                    worker.conduct.succeeded(service);
                    self.successes.note(service, key, now);
                }
            }
            Outcome::Failed { retry, .. } => {
                worker.failed += u64::from(!running.unwanted);
                let Some(service) = service.filter(|_| *retry) else { return };
                let proved = self.successes.by_another(service, key, now);
                let begun = worker.conduct.failed(service, now.since(running.begun), proved, now);
                let Some(quarantine) = begun else { return };
                let (detail, worker) = (quarantine.reason.clone(), worker.id.clone());
                self.effects.push_back(Effect::Event { kind: EventKind::WorkerQuarantined, worker, detail });
            }
        }
    }
}

/// The outcome that a status tells. `nothing`: the result of an OK without one.
pub(super) fn outcome(status: WorkerStatus, nothing: &str, retry: bool) -> Outcome {
    if status.ok {
        return Outcome::Ok(status.result.unwrap_or_else(|| Json::trusted(nothing)));
    }
    let detail = status.detail.unwrap_or_else(|| "the worker answered NOK".to_owned());
    Outcome::Failed { detail, result: status.result, retry }
}

/// An attempt, as people read it.
pub(super) fn told(attempt: &Attempt) -> String {
    format!("job {}, attempt {}", attempt.job_id, attempt.attempt)
}

/// What a worker says of a failure, for a line of the log.
pub(super) fn ending(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Ok(_) => "OK".to_owned(),
        Outcome::Failed { detail, .. } => format!("NOK, {}", quote(detail, MAX_QUOTE)),
    }
}

/// A foreign worker that has not been answered anything yet.
pub(super) fn stranger(now: Time) -> Kind {
    let stage = Stage::Quiet { since: now };
    Kind::Foreign(Foreign { stage, requests: false, waits: false, listens: None, call: Call::None })
}

/// A native worker that has nothing yet.
pub(super) fn native(slots: u32) -> Kind {
    Kind::Native(Native { slots, calls: BTreeSet::new(), called: 0, welcome: None, terms: None })
}
