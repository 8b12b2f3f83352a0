//! The laws of the farm, each by a conversation, and all of them under random inputs.

mod calls;
mod classroom;
mod native;
mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{Effect, Farm, Order, WorkerKey};
use crate::core::links::Reply;
use crate::core::{LinkId, Outcome};
use crate::time::Time;
use crate::wire::{
    Attempt, Body, EventKind, JobId, JobOrder, Json, Message, NativeWorker, ServerId, ServiceName, ServiceOffer,
    WorkerAlive, WorkerState, WorkerStatus, WorkerView, WorkerWelcome,
};

const TIMEOUT: Duration = Duration::from_secs(6);

fn id(text: &str) -> ServerId {
    ServerId::new(text).unwrap()
}

fn service(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn offer(text: &str) -> ServiceOffer {
    ServiceOffer { name: service(text), methods: Vec::new(), idempotent: Vec::new() }
}

fn attempt(job: &str, attempt: u32) -> Attempt {
    Attempt { job_id: JobId::new(job).unwrap(), attempt }
}

fn order(job: &str, of: &str, params: &str) -> Order {
    Order {
        attempt: attempt(job, 1),
        service: service(of),
        method: ServiceName::run(),
        params: Json::new(params).unwrap(),
        timeout: Duration::from_secs(60),
        output: false,
    }
}

fn query(user: &str) -> Body {
    Body::Query { user: Json::new(user).unwrap() }
}

/// A farm with the node around it: keeps the books of replies, and works off the effects.
struct World {
    farm: Farm,
    now: Time,
    turn: u64,
    /// Replies that the farm has and has not given back.
    held: BTreeSet<Reply>,
}

impl World {
    fn new() -> World {
        let farm = Farm::new(id("master"), "m".to_owned(), TIMEOUT, Vec::new());
        World { farm, now: Time::ZERO, turn: 0, held: BTreeSet::new() }
    }

    fn reply(&mut self, link: u64) -> Reply {
        self.turn += 1;
        let reply = Reply { link: LinkId(link), id: None, turn: self.turn };
        self.held.insert(reply.clone());
        reply
    }

    /// The effects so far, without events and lines of the log.
    fn effects(&mut self) -> Vec<Effect> {
        let all = self.all_effects();
        all.into_iter()
            .filter(|effect| !matches!(effect, Effect::Event { .. } | Effect::Log { .. } | Effect::Often { .. }))
            .collect()
    }

    fn all_effects(&mut self) -> Vec<Effect> {
        self.farm.check_invariants();
        let effects: Vec<Effect> = std::iter::from_fn(|| self.farm.poll_effect()).collect();
        for effect in &effects {
            if let Effect::Answer { reply, .. } | Effect::Unanswered { reply } = effect {
                assert!(self.held.remove(reply), "given back twice, or never taken: {effect:?}");
            }
        }
        effects
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.farm.tick(self.now);
        assert!(self.farm.deadline().is_none_or(|due| due > self.now), "what is due was done");
    }

    fn alive_from(&mut self, host: IpAddr, link: u64, worker: &str, owner: Option<&str>) {
        let reply = self.reply(link);
        let alive = WorkerAlive { worker: id(worker), owner: owner.map(str::to_owned), listens: None, native: None };
        self.farm.alive(reply, host, alive, self.now);
    }

    /// A foreign ALIVE whose input is worked off without anything for it.
    fn alive(&mut self, link: u64, worker: &str) -> Vec<Effect> {
        self.alive_from(here(), link, worker, None);
        self.end()
    }

    fn end(&mut self) -> Vec<Effect> {
        self.farm.end_of_input(self.now);
        self.effects()
    }

    fn request(&mut self, link: u64, worker: Option<&str>) {
        let reply = self.reply(link);
        self.farm.request(reply, here(), worker.map(id), self.now);
    }

    fn native(&mut self, link: u64, worker: &str, slots: u32, services: &[&str], jobs: &[Attempt]) -> Vec<Effect> {
        let reply = self.reply(link);
        let services = services.iter().map(|text| offer(text)).collect();
        let said = NativeWorker {
            name: format!("{worker}!"),
            slots,
            services,
            jobs: jobs.to_vec(),
            epoch: None,
            loan_id: None,
        };
        let alive = WorkerAlive { worker: id(worker), owner: None, listens: None, native: Some(Box::new(said)) };
        self.farm.alive(reply, here(), alive, self.now);
        self.effects()
    }

    fn status(&mut self, link: u64, worker: Option<&str>, attempt: Option<Attempt>, ok: bool) -> Vec<Effect> {
        let reply = self.reply(link);
        let status = WorkerStatus { worker: worker.map(id), attempt, ok, result: None, detail: None, retry: true };
        self.farm.status(reply, status, self.now);
        self.effects()
    }

    /// What the node does in the loop of dispatch: picks a worker for this order and gives it.
    fn give(&mut self, order: Order) -> Option<WorkerKey> {
        self.farm.settle_loose();
        let worker = self.farm.pick(&order.service, &order.method)?;
        self.farm.assign(worker, order, self.now);
        Some(worker)
    }

    fn recorded(&mut self, job: &str) -> Vec<Effect> {
        self.farm.recorded(&attempt(job, 1));
        self.effects()
    }

    fn closed(&mut self, link: u64) -> Vec<Effect> {
        self.farm.closed(LinkId(link), self.now);
        self.effects()
    }

    fn view(&self, worker: &str) -> WorkerView {
        let (views, _) = self.farm.view(None, self.now);
        views.into_iter().find(|view| view.worker == id(worker)).expect("it is known")
    }
}

fn here() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// What was answered or sent, in order; `None` for a reply that was given back unanswered.
fn said(effects: &[Effect]) -> Vec<Option<&Body>> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Answer { body, .. } => Some(Some(body)),
            Effect::Send { message, .. } => Some(Some(&message.body)),
            Effect::Unanswered { .. } => Some(None),
            _ => None,
        })
        .collect()
}

fn ended(effects: &[Effect]) -> Vec<(&Attempt, &str, &Outcome)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Ended { attempt, worker, outcome } => Some((attempt, worker.as_str(), outcome)),
            _ => None,
        })
        .collect()
}

fn lost(effects: &[Effect]) -> Vec<&Attempt> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Lost { attempt, .. } => Some(attempt),
            _ => None,
        })
        .collect()
}

fn is_ack(body: Option<&Body>) -> bool {
    matches!(body, Some(Body::StatusAck(_)))
}
