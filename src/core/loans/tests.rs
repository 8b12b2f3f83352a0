//! The laws of loans, each by a conversation, and all of them by two masters that talk over a bad network.

mod borrower;
mod fair;
mod masters;
mod need;
mod owner;
mod strangers;
mod worker;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::{
    Asked, Candidate, Effect, Guest, LoanConfig, LoanEvent, Loans, Need, Neighbour, Own, Party, Proposal, Saturation,
    Token, Unagreed,
};
use crate::core::LinkId;
use crate::core::links::Reply;
use crate::time::Time;
use crate::wire::{
    Address, Body, Epoch, LentWorker, LoanAction, LoanAnswer, LoanDone, LoanId, LoanRecord, LoanRequest,
    NativeLoanRequest, OfferTerms, OfferedWorker, RequestId, ServerId, ServiceName, WorkerMove,
};

fn id(text: &str) -> ServerId {
    ServerId::new(text).unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

fn service(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

fn at(ms: u64) -> Time {
    Time::ZERO + Duration::from_millis(ms)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn own(name: &str, port: u16) -> Own {
    let address = address(&format!("10.0.0.{}:{port}", port - 9100));
    Own { server_id: id(name), name: name.to_lowercase(), group: "g".to_owned(), address }
}

fn reply(link: u64, mark: &str) -> Reply {
    Reply { link: LinkId(link), id: RequestId::new(mark), turn: 1 }
}

pub(super) fn neighbour(name: &str, port: u16) -> Neighbour {
    let own = own(name, port);
    Neighbour {
        peer: own.server_id,
        name: own.name,
        address: own.address,
        link: Some(LinkId(1)),
        native: true,
        alive: true,
        saturated: false,
        score: u64::from(port),
        member: true,
        services: Vec::new(),
        asks_back: false,
    }
}

fn candidate(worker: &str) -> Candidate {
    Candidate {
        worker: id(worker),
        native: true,
        idle: true,
        promised: false,
        quarantined: false,
        draining: false,
        services: vec![service("query"), service("sleep")],
        slots: 2,
        generation: 0,
        address: Some(address("10.0.0.9:40000")),
    }
}

/// What a native master A asks.
fn request(needed: u32) -> LoanRequest {
    let a = own("A", 9101);
    let native = NativeLoanRequest { services: vec![service("sleep")], group: a.group };
    LoanRequest {
        master: Some(a.server_id),
        name: Some(a.name),
        address: Some(a.address.clone()),
        port: Some(a.address.port),
        load: 150,
        capacity: 100,
        needed,
        native: Some(native),
        dialect: None,
    }
}

/// The same, asked of an owner that knows A, and has these workers.
fn asked(needed: u32, workers: &[&str]) -> Asked {
    Asked {
        reply: reply(4, "r-1"),
        from: IpAddr::from([10, 0, 0, 1]),
        request: request(needed),
        known: Some(neighbour("A", 9101)),
        trusted: Vec::new(),
        candidates: workers.iter().map(|worker| candidate(worker)).collect(),
    }
}

/// So many jobs of each service wait; the own workers run all but `slepp`, which nobody runs, and `render`.
fn needs(waiting: &[(&str, u64)]) -> Vec<Need> {
    let own = |name: &str| !["render", "slepp"].contains(&name);
    let some = waiting.iter().filter(|(_, waiting)| *waiting > 0);
    some.map(|(name, waiting)| Need { service: service(name), waiting: *waiting, own: own(name) }).collect()
}

/// Half of what waits is `query`, half `sleep`.
fn saturated(pending: u64, workers: u64) -> Saturation {
    Saturation { saturated: true, released: false, workers, ..calm(pending) }
}

fn calm(pending: u64) -> Saturation {
    let needs = needs(&[("query", pending / 2), ("sleep", pending - pending / 2)]);
    let (released, hold) = (pending < 60, seconds(2));
    Saturation { saturated: false, released, pending, capacity: 100, release: 60, hold, workers: 4, needs }
}

/// A machine with what it has said.
struct Desk {
    loans: Loans,
    now: Time,
    /// Everything since the start.
    events: Vec<(LoanEvent, String)>,
    traces: Vec<(bool, &'static str, Option<RequestId>, String)>,
    decisions: Vec<String>,
}

impl Desk {
    fn new(name: &str, port: u16) -> Desk {
        Desk::with(name, port, LoanConfig::default())
    }

    fn with(name: &str, port: u16, config: LoanConfig) -> Desk {
        let loans = Loans::new(own(name, port), config, 1, 7, Time::ZERO);
        Desk { loans, now: Time::ZERO, events: Vec::new(), traces: Vec::new(), decisions: Vec::new() }
    }

    /// What is to be done, without what is only told.
    fn effects(&mut self) -> Vec<Effect> {
        self.loans.check_invariants();
        let mut rest = Vec::new();
        while let Some(effect) = self.loans.poll_effect() {
            match effect {
                Effect::Event { kind, detail, .. } => self.events.push((kind, detail)),
                Effect::Trace { out, kind, request_id, peer } => self.traces.push((out, kind, request_id, peer)),
                Effect::Decision { text, .. } => self.decisions.push(text),
                Effect::Log { .. } => {}
                effect => rest.push(effect),
            }
        }
        rest
    }

    /// Lets the time pass, with all that is due on the way.
    fn pass(&mut self, until: Time) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some(due) = self.loans.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.loans.tick(self.now);
            effects.extend(self.effects());
            let later = self.loans.deadline().is_none_or(|due| due > self.now);
            assert!(later || self.loans.wants_neighbours(self.now), "it would spin");
            if self.loans.wants_neighbours(self.now) {
                break;
            }
        }
        self.now = self.now.max(until);
        self.loans.tick(self.now);
        effects.extend(self.effects());
        effects
    }

    fn told(&self, kind: LoanEvent) -> usize {
        self.events.iter().filter(|(one, _)| *one == kind).count()
    }

    /// Agrees on all that is proposed, and gives back what else is to be done.
    fn agree(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut rest = Vec::new();
        for effect in effects {
            match effect {
                Effect::Propose { proposal, .. } => self.loans.agreed(proposal, Ok(9), self.now),
                effect => rest.push(effect),
            }
        }
        rest.extend(self.effects());
        rest
    }
}

fn answer_of(effects: &[Effect]) -> &LoanAnswer {
    let answers = effects.iter().filter_map(|effect| match effect {
        Effect::Answer { body: Body::LoanAnswer(answer), .. } => Some(&**answer),
        _ => None,
    });
    let all: Vec<&LoanAnswer> = answers.collect();
    assert_eq!(all.len(), 1, "{effects:?}");
    all[0]
}

fn refusal_of(effects: &[Effect]) -> &str {
    let LoanAnswer::Rejected { reason, .. } = answer_of(effects) else { panic!("{effects:?}") };
    reason
}

fn orders(effects: &[Effect]) -> Vec<(ServerId, WorkerMove)> {
    let orders = effects.iter().filter_map(|effect| match effect {
        Effect::Order { worker, order } => Some((worker.clone(), order.clone())),
        _ => None,
    });
    orders.collect()
}

fn proposals(effects: &[Effect]) -> Vec<(Proposal, LoanRecord)> {
    let all = effects.iter().filter_map(|effect| match effect {
        Effect::Propose { proposal, record } => Some((*proposal, record.clone())),
        _ => None,
    });
    all.collect()
}

fn actions(effects: &[Effect]) -> Vec<(Token, Party, LoanAction)> {
    let all = effects.iter().filter_map(|effect| match effect {
        Effect::Act { token, to, action, .. } => Some((*token, to.clone(), action.clone())),
        _ => None,
    });
    all.collect()
}

fn asks(effects: &[Effect]) -> Vec<(Token, ServerId, u32)> {
    let all = effects.iter().filter_map(|effect| match effect {
        Effect::Ask { token, to, request, .. } => Some((*token, to.peer.clone(), request.needed)),
        _ => None,
    });
    all.collect()
}

fn renewed(loans: &[&LoanId]) -> LoanDone {
    let renewed = loans.iter().map(|id| ((*id).clone(), seconds(30))).collect();
    LoanDone { action: "RENEW".to_owned(), index: None, renewed }
}
