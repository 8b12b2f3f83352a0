//! CALL and REDIRECT: who could do it, and how they are asked.

use super::Node;
use crate::core::calls::{CallKey, Candidate, Effect, Place};
use crate::core::links::Reply;
use crate::core::{LinkId, Outcome, Output, Run};
use crate::time::Time;
use crate::wire::{
    Attempt, Body, Call, CallAnswer, ErrorAnswer, ErrorCode, INSTANCES_PAGE, Instance, JobOrder, MAX_HOPS,
    MAX_SERVICES, Message, Place as Where, Redirect, RequestId, ServiceName, ServiceOffer,
};

/// How much lower the score of a peer must be, in thousandths, for a hot node to send its clients there: below it, the
/// way there costs more than is won.
const REALLY_BETTER: u64 = 10_000;

impl Node {
    pub(super) fn call(&mut self, reply: Reply, call: Call, now: Time) {
        if self.stopped {
            return self.reply_error(&reply, Self::stopping("CALL"));
        }
        if let Some(redirect) = self.redirect_call(&call) {
            return self.reply(&reply, Body::Redirect(Box::new(redirect)));
        }
        let candidates = self.candidates(&call);
        let (service, method) = (call.service.clone(), call.method.clone());
        let known = self.known_services();
        let missing = || {
            let methods: Vec<&ServiceOffer> = known.iter().filter(|offer| offer.name == service).collect();
            match methods.first() {
                Some(_) => format!("nobody who is ALIVE offers the method `{method}` of `{service}`; see a bare CALL"),
                None => format!("no node and no worker that is ALIVE offers the service `{service}`; see a bare CALL"),
            }
        };
        self.links.touch(reply.link);
        self.calls.begin(reply, call, candidates, missing, now);
    }

    /// Where a hot node sends this call instead of doing it.
    fn redirect_call(&self, call: &Call) -> Option<Redirect> {
        if !self.load.is_hot() || call.hops >= MAX_HOPS {
            return None;
        }
        let own = self.load.score();
        let better = self.registry.masters().into_iter().find(|neighbour| {
            neighbour.score.0 + REALLY_BETTER <= own.0 && offers(&neighbour.presence.services, call).is_some()
        })?;
        let reason = format!("CPU above {} % here", self.load.config().cpu_threshold.get() / 10);
        Some(Redirect { task: "CALL".to_owned(), target: better.address.clone(), hops: call.hops + 1, reason })
    }

    /// Where a new client should go now.
    pub(super) fn where_to(&mut self, reply: &Reply, hops: u32) {
        let load = self.load.report();
        let own = self.load.score();
        let busy = self.load.is_hot() || load.saturated;
        let better = (busy && hops < MAX_HOPS)
            .then(|| self.registry.masters().into_iter().find(|n| !n.presence.load.saturated && n.score < own))
            .flatten();
        let redirect = match better {
            Some(neighbour) => Redirect {
                task: "REDIRECT".to_owned(),
                target: neighbour.address.clone(),
                hops: hops + 1,
                reason: format!("{} is less busy", neighbour.presence.name),
            },
            None => {
                let reason = if busy { "no neighbour is less busy" } else { "this node is not busy" };
                let target = self.address_on(reply.link);
                Redirect { task: "REDIRECT".to_owned(), target, hops, reason: reason.to_owned() }
            }
        };
        self.reply(reply, Body::Redirect(Box::new(redirect)));
    }

    /// Those who could do a call: here first, then this node's workers, then its peers by score.
    fn candidates(&self, call: &Call) -> Vec<Candidate> {
        let mut found = Vec::new();
        if let Some(idempotent) = offers(&self.offers, call) {
            let server_id = self.identity.server_id.clone();
            found.push(Candidate { server_id, at: Place::Here, idempotent });
        }
        for (worker, server_id) in self.farm.call_candidates(&call.service, &call.method) {
            let idempotent = self.farm.is_idempotent(worker, &call.service, &call.method);
            found.push(Candidate { server_id, at: Place::Worker(worker), idempotent });
        }
        if call.hops < MAX_HOPS {
            for neighbour in self.registry.masters() {
                if let Some(idempotent) = offers(&neighbour.presence.services, call) {
                    let server_id = neighbour.presence.server_id.clone();
                    found.push(Candidate { server_id, at: Place::Peer(neighbour.link), idempotent });
                }
            }
        }
        found
    }

    /// A bare CALL: who offers what.
    pub(super) fn list_instances(&mut self, reply: &Reply) {
        let here = Instance {
            server_id: self.identity.server_id.clone(),
            name: self.identity.name.clone(),
            place: Where::Here,
            services: self.offers.clone(),
        };
        let peers = self.registry.masters().into_iter().map(|neighbour| Instance {
            server_id: neighbour.presence.server_id.clone(),
            name: neighbour.presence.name.clone(),
            place: Where::Peer,
            services: neighbour.presence.services.clone(),
        });
        let mut instances: Vec<Instance> = std::iter::once(here).chain(self.farm.instances()).chain(peers).collect();
        instances.truncate(INSTANCES_PAGE);
        let server_id = self.identity.server_id.clone();
        self.reply(reply, Body::CallsAnswer { server_id, instances });
    }

    /// What this node and its workers offer, as its heartbeats say.
    pub(super) fn known_services(&self) -> Vec<ServiceOffer> {
        let mut known = self.offers.clone();
        for offer in self.farm.offers() {
            if !known.iter().any(|own| own.name == offer.name) {
                known.push(offer);
            }
        }
        // Every node has it, and serves it itself.
        known.retain(|offer| offer.name.as_str() != "system");
        known.truncate(MAX_SERVICES);
        known
    }

    /// A peer answered a call that was passed on to it.
    pub(super) fn call_answered(&mut self, id: Option<&RequestId>, body: Body, now: Time) {
        let Some(call) = id.and_then(|id| CallKey::of_id(id.as_str())) else { return };
        match body {
            Body::CallAnswer(answer) => {
                self.calls.ended(call, Some(answer.served_by), Outcome::Ok(answer.result), now);
            }
            Body::Redirect(redirect) => {
                let detail = format!("it sends calls to {}", redirect.target);
                self.calls.refused(call, ErrorAnswer::new("CALL", ErrorCode::Busy, detail), now);
            }
            Body::Error(error) => match error.code {
                ErrorCode::Failed => {
                    let (detail, retry) = (error.detail, error.retry);
                    self.calls.ended(call, None, Outcome::Failed { detail, result: None, retry }, now);
                }
                ErrorCode::TimedOut | ErrorCode::Lost => self.calls.lost(call, &error.detail, now),
                _ => self.calls.refused(call, *error, now),
            },
            _ => {}
        }
    }

    /// Carries out what the calls want done. Returns whether there was anything.
    pub(super) fn carry_out_calls(&mut self, now: Time) -> bool {
        let effects = self.calls.take_effects();
        let any = !effects.is_empty();
        for effect in effects {
            match effect {
                Effect::Try { call, at, request } => self.try_call(call, &at, request, now),
                Effect::Stop { call, at } => match at {
                    Place::Here => self.outputs.push_back(Output::StopRun { run: call.run() }),
                    Place::Worker(_) => self.farm.call_stop(&call.job_id()),
                    // A peer has the same deadline.
                    Place::Peer(_) => {}
                },
                Effect::Done { reply, result, served_by } => {
                    self.reply(&reply, Body::CallAnswer(Box::new(CallAnswer { result, served_by })));
                }
                Effect::Failed { reply, error } => self.reply_error(&reply, error),
            }
        }
        any
    }

    fn try_call(&mut self, call: CallKey, at: &Place, request: Call, now: Time) {
        let Call { service, method, params, timeout, hops } = request;
        match *at {
            Place::Here => {
                let run = call.run();
                let run = Run { run, service, method, params, timeout, attempt: None, output: false };
                self.outputs.push_back(Output::Start(Box::new(run)));
            }
            Place::Worker(worker) => {
                let attempt = Attempt { job_id: call.job_id(), attempt: 1 };
                let order = JobOrder { attempt, call: true, service, method, params, timeout, output: false };
                if !self.farm.call(worker, order, now) {
                    self.calls.refused(call, self.no_call_here(), now);
                }
            }
            Place::Peer(link) => self.ask_peer(link, call, Call { service, method, params, timeout, hops: hops + 1 }),
        }
    }

    fn ask_peer(&mut self, link: LinkId, call: CallKey, request: Call) {
        let message = Message { id: RequestId::new(call.id()), body: Body::Call(Box::new(request)) };
        self.send(link, message);
    }
}

/// Whether somebody with these services does this call; and if so, whether it may be done twice.
fn offers(services: &[ServiceOffer], call: &Call) -> Option<bool> {
    let (service, method): (&ServiceName, &ServiceName) = (&call.service, &call.method);
    let offer = services.iter().find(|offer| offer.name == *service && offer.has(method))?;
    Some(offer.idempotent.contains(method))
}
