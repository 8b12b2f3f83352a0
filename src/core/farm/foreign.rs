//! Foreign workers: the cycle of sprint 2 in all its variants, one job at a time, service `query`.
//!
//! ```text
//!   ALIVE ───────────────> QUERY, or NO_TASK at the end of the input (ACK to the family that then says TASK REQUEST)
//!   ALIVE with a job ────> the same QUERY again: it restarted, or its STATUS was lost
//!   ALIVE after a push ──> nothing: the QUERY that was pushed has answered it already
//!   3 s of silence ──────> it waits to be pushed: a QUERY comes unasked, and nothing more until it spoke
//!   STATUS, any link ────> matched by WORKER_UUID, without one by the link; ACK when it is recorded
//! ```
//!
//! A link that closes says nothing of the job: many programs take one message a connection.

use std::net::IpAddr;

use super::machine::{Farm, ending, outcome, stranger, told};
use super::worker::{Stage, Worker};
use super::{Effect, WorkerKey};
use crate::core::links::Reply;
use crate::core::{LinkId, LogLevel};
use crate::wire::{
    Address, Body, EventKind, JobOrder, Json, Message, ServerId, ServiceName, ServiceOffer, StatusAck, WorkerStatus,
    quote,
};

/// The service of QUERY.
const QUERY: &str = "query";

impl Farm {
    /// A foreign worker asks for work with ALIVE.
    pub(super) fn foreign_alive(
        &mut self,
        reply: Reply,
        host: IpAddr,
        id: ServerId,
        owner: Option<String>,
        listens: Option<Address>,
    ) {
        let Some(key) = self.stranger(reply.link, host, id, owner.clone()) else {
            return self.effect(Effect::Answer { reply, body: Body::NoTask });
        };
        let Some(worker) = self.workers.get_mut(&key) else { return };
        if let Some(foreign) = worker.foreign_mut() {
            foreign.listens = listens.or(foreign.listens.take());
        }
        if worker.owner != owner {
            // What it was as another's it is no more: it may have been used for too long.
            worker.reserved &= worker.owner.is_none() || owner.is_some();
            worker.owner = owner;
            let text = match &worker.owner {
                Some(_) => format!("worker {} serves here", worker.called()),
                None => format!("worker {} is its owner's own again", worker.id),
            };
            self.log(LogLevel::Info, text);
        }
        self.note_guest(key);
        self.asks(key, reply, false);
    }

    /// A foreign worker asks for work with TASK REQUEST.
    pub(super) fn foreign_request(&mut self, reply: Reply, host: IpAddr, id: Option<ServerId>) {
        let here = self.key_on(reply.link).and_then(|key| self.workers.get(&key)).map(|worker| worker.id.clone());
        let here = here.or_else(|| self.pushed_away_on(reply.link).cloned());
        let Some(id) = id.or(here) else {
            let text = "TASK REQUEST of a worker that does not say who it is: NO_TASK";
            self.log_often(LogLevel::Info, text, text.to_owned());
            return self.effect(Effect::Answer { reply, body: Body::NoTask });
        };
        let Some(key) = self.stranger(reply.link, host, id, None) else {
            return self.effect(Effect::Answer { reply, body: Body::NoTask });
        };
        if let Some(foreign) = self.workers.get_mut(&key).and_then(Worker::foreign_mut) {
            foreign.requests = true;
        }
        self.asks(key, reply, true);
    }

    /// The foreign worker of this id, which is reached on this link from now on. `None`: there is no room for it, or the id is a native
    /// worker's.
    pub(super) fn stranger(
        &mut self,
        link: LinkId,
        host: IpAddr,
        id: ServerId,
        owner: Option<String>,
    ) -> Option<WorkerKey> {
        let key = match self.key_of(&id) {
            Some(key) if self.workers.get(&key).is_some_and(|worker| worker.foreign().is_some()) => key,
            Some(_) => {
                let text = format!("somebody at {host} calls itself {id}, which is a native worker: NO_TASK");
                self.log_often(LogLevel::Warn, "strangers that call themselves as native workers", text);
                return None;
            }
            None => {
                let name = quote(id.short(), 8);
                let borrowed = owner.as_ref().map_or(String::new(), |o| format!("; borrowed from {}", quote(o, 64)));
                let Some(key) = self.join(id.clone(), name, owner, host, stranger(self.now)) else {
                    let text = format!("the farm is full: NO_TASK to {id} at {host}");
                    self.log_often(LogLevel::Debug, "workers that find the farm full", text);
                    return None;
                };
                let query = ServiceName::new(QUERY).expect("a valid name");
                let offer = ServiceOffer { name: query, methods: vec![ServiceName::run()], idempotent: Vec::new() };
                self.offer(key, vec![offer]);
                let detail = format!("{id} from {host}: one job at a time, for {QUERY}{borrowed}");
                self.effect(Effect::Event { kind: EventKind::WorkerJoined, worker: id, detail });
                key
            }
        };
        self.relink(key, link);
        let worker = self.workers.get_mut(&key)?;
        (worker.host, worker.seen) = (host, self.now);
        Some(key)
    }

    fn asks(&mut self, key: WorkerKey, reply: Reply, requested: bool) {
        // It asked before in this very input, or was not told yet: that question gets its answer first.
        self.decline(key);
        let now = self.now;
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let awaited = worker.is_awaited();
        let user = worker.running.values().find_map(|running| running.order.as_ref()).map(|order| user(&order.params));
        let Some(foreign) = worker.foreign_mut() else { return };
        match (&mut foreign.stage, user) {
            (Stage::Working { pushed }, Some(user)) if awaited => {
                let answered = pushed.take() == Some(reply.link);
                if let Some(running) =
                    worker.running.iter_mut().next().map(|(_, running)| running).filter(|_| !answered)
                {
                    running.begun = now;
                }
                let effect = if answered {
                    Effect::Unanswered { reply }
                } else {
                    Effect::Answer { reply, body: Body::Query { user } }
                };
                self.effect(effect);
            }
            // Nobody waits for what it had, and it has come to ask for more.
            _ => {
                foreign.waits = false;
                worker.running.clear();
                self.set_stage(key, Stage::Asking { reply, requested });
                self.asking.insert(key);
            }
        }
        self.settle(key);
    }

    /// Sends an attempt to a worker that has it in its table already: as the answer that it waits for, or unasked.
    pub(super) fn foreign_order(&mut self, key: WorkerKey, order: &JobOrder) {
        let user = user(&order.params);
        self.asking.remove(&key);
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let link = worker.link;
        let Some(foreign) = worker.foreign_mut() else { return };
        match std::mem::replace(&mut foreign.stage, Stage::Working { pushed: None }) {
            Stage::Asking { reply, .. } => self.effect(Effect::Answer { reply, body: Body::Query { user } }),
            _ => {
                foreign.stage = Stage::Working { pushed: link };
                if let Some(link) = link {
                    self.effect(Effect::Send { link, message: Message::plain(Body::Query { user }) });
                }
            }
        }
    }

    /// A worker that has an attempt has finished it.
    pub(super) fn foreign_status(&mut self, key: WorkerKey, reply: Reply, status: WorkerStatus) {
        self.relink(key, reply.link);
        let before = self.set_stage(key, Stage::Reported);
        if let Some(foreign) = self.workers.get_mut(&key).and_then(Worker::foreign_mut) {
            foreign.waits |= matches!(before, Some(Stage::Working { pushed: Some(_) }));
        }
        let outcome = outcome(status, r#"{"STATUS":"OK"}"#, true);
        let Some(worker) = self.workers.get_mut(&key) else { return };
        let (id, called) = (worker.id.clone(), worker.called());
        let Some((attempt, running)) = worker.running.pop_first() else { return };
        let late = if running.unwanted { ", too late" } else { "" };
        self.log(
            LogLevel::Info,
            format!("worker {called} has finished {}{late}: {}", told(&attempt), ending(&outcome)),
        );
        self.judge(key, &running, &outcome);
        self.end(attempt, id, false, outcome, reply);
        self.settle(key);
    }

    /// A worker was sent the ACK to its report.
    pub(super) fn foreign_acknowledged(&mut self, key: WorkerKey) {
        let now = self.now;
        if let Some(foreign) = self.workers.get_mut(&key).and_then(Worker::foreign_mut)
            && matches!(foreign.stage, Stage::Reported | Stage::Quiet { .. })
        {
            foreign.stage = Stage::Quiet { since: now };
        }
        self.call_to_go(key);
    }

    /// Answers a worker that asked and gets nothing.
    pub(super) fn decline(&mut self, key: WorkerKey) {
        let Some(Stage::Asking { reply, requested }) = self.stop_asking(key) else { return };
        let called = self.call_to_go(key);
        let Some(worker) = self.workers.get_mut(&key) else { return };
        if !called && let Some(ordered) = worker.ordered.take() {
            let body = Body::Move(Box::new(ordered.order));
            self.effect(Effect::Answer { reply, body });
            return self.remove(key, Some(EventKind::WorkerLeft), "it was sent to another master");
        }
        let requests = worker.foreign().is_some_and(|foreign| foreign.requests);
        let body = if requests && !requested {
            Body::StatusAck(Box::new(StatusAck { worker: Some(worker.id.clone()), attempt: None }))
        } else {
            Body::NoTask
        };
        self.effect(Effect::Answer { reply, body });
    }

    /// The link of a worker is gone, or is another's now. Its job stays.
    pub(super) fn foreign_unlinked(&mut self, key: WorkerKey, stands: bool) {
        if stands {
            self.decline(key);
        } else if let Some(Stage::Asking { reply, .. }) = self.stop_asking(key) {
            self.effect(Effect::Unanswered { reply });
        }
        if let Some(Stage::Working { pushed }) =
            self.workers.get_mut(&key).and_then(Worker::foreign_mut).map(|foreign| &mut foreign.stage)
        {
            *pushed = None;
        }
    }

    /// Takes the question of a worker away, which is quiet then.
    fn stop_asking(&mut self, key: WorkerKey) -> Option<Stage> {
        self.asking.remove(&key).then(|| self.set_stage(key, Stage::Quiet { since: self.now })).flatten()
    }

    /// Sets the stage of a foreign worker, and tells the one before.
    fn set_stage(&mut self, key: WorkerKey, stage: Stage) -> Option<Stage> {
        let foreign = self.workers.get_mut(&key).and_then(Worker::foreign_mut)?;
        Some(std::mem::replace(&mut foreign.stage, stage))
    }
}

/// The USER of a job: the member of that name, or all of PARAMS.
fn user(params: &Json) -> Json {
    match params.value() {
        serde_json::Value::Object(mut members) => {
            members.remove("USER").map_or_else(|| params.clone(), |user| Json::of(&user))
        }
        _ => params.clone(),
    }
}
