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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::core::{Config, Identity, Input, LoadConfig, LoadSample, Outcome, QueueConfig};
    use crate::wire::{
        Durability, GroupPresence, HeartbeatAnswer, Json, LoadReport, Permille, Presence, Role, ServerId, Submit,
    };

    fn id(text: &str) -> ServerId {
        ServerId::new(text).unwrap()
    }

    fn name(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn call(service: &str, hops: u32) -> Body {
        let (service, method) = (name(service), ServiceName::run());
        Body::Call(Box::new(Call { service, method, params: Json::null(), timeout: Duration::from_secs(1), hops }))
    }

    const CLIENT: LinkId = LinkId(2);

    /// A master with one ALIVE peer that offers `far`, and what it wants done since.
    struct Pair {
        node: Node,
        peer: LinkId,
        now: Time,
    }

    impl Pair {
        fn new(peer_cpu: u64) -> Pair {
            let config = Config {
                peers: vec!["10.0.0.2:9101".parse().unwrap()],
                queue: QueueConfig { durability: Durability::Memory, ..QueueConfig::default() },
                load: LoadConfig { capacity: 1, release: 1, hold: Duration::ZERO, ..LoadConfig::default() },
                ..Config::default()
            };
            let identity = Identity { server_id: id("me"), name: "me".to_owned() };
            let mut node = Node::new(config, identity, 1, at(0)).unwrap();
            let (local, remote) = (SocketAddr::from(([10, 0, 0, 1], 9101)), SocketAddr::from(([10, 0, 0, 2], 9101)));
            node.handle(Input::Tick, at(0));
            let opened = |output| match output {
                Output::Open { link, .. } => Some(link),
                _ => None,
            };
            let peer = std::iter::from_fn(|| node.poll_output()).find_map(opened).expect("it calls its peer");
            node.handle(Input::LinkOpened { link: peer, local, remote }, at(0));
            let asked = |output| match output {
                Output::Send { message, .. } => message.id,
                _ => None,
            };
            let sequence = std::iter::from_fn(|| node.poll_output()).find_map(asked).expect("it asks its peer");
            let offer = |text| ServiceOffer { name: name(text), methods: Vec::new(), idempotent: Vec::new() };
            let presence = Presence {
                server_id: id("peer"),
                name: "peer".to_owned(),
                address: "10.0.0.2:9101".parse().unwrap(),
                role: Role::Master,
                group: "default".to_owned(),
                group_presence: GroupPresence::default(),
                load: LoadReport { cpu: Permille::new(peer_cpu), ..LoadReport::default() },
                services: vec![offer("far"), offer("both")],
            };
            let answer = HeartbeatAnswer { server_id: id("peer"), presence: Some(Box::new(presence)) };
            let message = Message { id: Some(sequence), body: Body::HeartbeatAnswer(answer) };
            node.handle(Input::Message { link: peer, message }, at(1));
            node.handle(Input::LinkOpened { link: CLIENT, local, remote }, at(1));
            node.handle(Input::Offers(vec![offer("both"), offer("system")]), at(1));
            while node.poll_output().is_some() {}
            Pair { node, peer, now: at(1) }
        }

        fn hot(mut self) -> Pair {
            for _ in 0..20 {
                let sample = LoadSample { cpu: Permille::new(950), memory: Permille::new(0) };
                self.node.handle(Input::LoadSample(sample), self.now);
            }
            assert!(self.node.load().hot);
            while self.node.poll_output().is_some() {}
            self
        }

        fn give(&mut self, link: LinkId, message: Message) -> Vec<Output> {
            self.node.handle(Input::Message { link, message }, self.now);
            let waits =
                |output: &Output| !matches!(output, Output::Waits { .. } | Output::Event(_) | Output::Log { .. });
            std::iter::from_fn(|| self.node.poll_output()).filter(waits).collect()
        }

        fn ask(&mut self, body: Body) -> Vec<Output> {
            // With an ID, no answer waits for another.
            self.give(CLIENT, Message { id: RequestId::new("q"), body })
        }
    }

    fn answer(outputs: &[Output]) -> &Body {
        match outputs {
            [Output::Send { link: CLIENT, message }] => &message.body,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_goes_to_this_node_first_and_else_to_a_peer_that_offers_it() {
        let mut pair = Pair::new(0);
        assert!(matches!(pair.ask(call("both", 0)).as_slice(), [Output::Start(run)] if run.service == name("both")));
        let peer = pair.peer;
        let outputs = pair.ask(call("far", 0));
        let [Output::Send { link, message }] = outputs.as_slice() else { panic!("{outputs:?}") };
        let Body::Call(passed_on) = &message.body else { panic!("{message:?}") };
        assert_eq!((*link, passed_on.hops), (peer, 1));
        let result = Body::CallAnswer(Box::new(CallAnswer { result: Json::string("x"), served_by: id("w") }));
        let outputs = pair.give(peer, Message { id: message.id.clone(), body: result });
        let Body::CallAnswer(answered) = answer(&outputs) else { panic!("{outputs:?}") };
        assert_eq!((answered.result.as_str(), &answered.served_by), ("\"x\"", &id("w")));
    }

    #[test]
    fn at_three_hops_a_call_goes_no_further() {
        let mut pair = Pair::new(0);
        let outputs = pair.ask(call("far", MAX_HOPS));
        assert!(matches!(answer(&outputs), Body::Error(error) if error.code == ErrorCode::NoService), "{outputs:?}");
        let mut hot = Pair::new(0).hot();
        assert!(matches!(hot.ask(call("both", MAX_HOPS)).as_slice(), [Output::Start(_)]), "it serves");
    }

    #[test]
    fn a_hot_node_redirects_calls_to_a_peer_that_is_really_better() {
        let mut pair = Pair::new(100).hot();
        let outputs = pair.ask(call("both", 1));
        let Body::Redirect(redirect) = answer(&outputs) else { panic!("{outputs:?}") };
        assert_eq!(
            (redirect.task.as_str(), redirect.target.to_string().as_str(), redirect.hops),
            ("CALL", "10.0.0.2:9101", 2)
        );
        let mut alike = Pair::new(900).hot();
        assert!(matches!(alike.ask(call("both", 0)).as_slice(), [Output::Start(_)]), "a little better is not enough");
        let mut other = Pair::new(100).hot();
        assert!(matches!(other.ask(call("system", 0)).as_slice(), [Output::Start(_)]), "the peer does not offer it");
    }

    #[test]
    fn a_bare_redirect_names_this_node_until_a_peer_is_better() {
        let ask = |pair: &mut Pair| match answer(&pair.ask(Body::WhereTo { hops: 0 })) {
            Body::Redirect(redirect) => (redirect.target.to_string(), redirect.hops),
            other => panic!("{other:?}"),
        };
        assert_eq!(ask(&mut Pair::new(100)), ("127.0.0.1:9101".to_owned(), 0));
        assert_eq!(ask(&mut Pair::new(100).hot()), ("10.0.0.2:9101".to_owned(), 1));
    }

    #[test]
    fn submit_is_redirected_only_for_who_follows_after_five_seconds_of_saturation() {
        let submit = |follow| {
            let body = Submit { follow, ..Submit::new(name("nobody"), ServiceName::run(), Json::null()) };
            Body::Submit(Box::new(body))
        };
        let mut pair = Pair::new(100);
        for _ in 0..3 {
            assert!(matches!(answer(&pair.ask(submit(true))), Body::JobAnswer(_)), "it is not saturated yet");
        }
        pair.node.handle(Input::Tick, pair.now);
        assert!(pair.node.load().load.saturated);
        while pair.node.poll_output().is_some() {}
        pair.now = at(5000);
        assert!(matches!(answer(&pair.ask(submit(true))), Body::JobAnswer(_)), "not for five seconds yet");
        pair.now = at(5002);
        assert!(matches!(answer(&pair.ask(submit(false))), Body::JobAnswer(_)), "it does not follow");
        let outputs = pair.ask(submit(true));
        assert!(matches!(answer(&outputs), Body::Redirect(redirect) if redirect.hops == 1), "{outputs:?}");
    }

    #[test]
    fn a_call_that_a_peer_refuses_is_answered_with_its_words_and_one_whose_link_breaks_is_lost() {
        let mut pair = Pair::new(0);
        let peer = pair.peer;
        let asked = |outputs: Vec<Output>| match outputs.as_slice() {
            [Output::Send { message, .. }] => message.id.clone(),
            other => panic!("{other:?}"),
        };
        let id = asked(pair.ask(call("far", 0)));
        let busy = Body::Error(Box::new(ErrorAnswer::new("CALL", ErrorCode::Busy, "full")));
        let outputs = pair.give(peer, Message { id, body: busy });
        assert!(matches!(answer(&outputs), Body::Error(error) if error.code == ErrorCode::Busy && error.retry));
        asked(pair.ask(call("far", 0)));
        pair.node.handle(Input::LinkClosed { link: peer, reason: "cut".to_owned() }, pair.now);
        let outputs: Vec<Output> = std::iter::from_fn(|| pair.node.poll_output())
            .filter(|output| matches!(output, Output::Send { link: CLIENT, .. }))
            .collect();
        assert!(matches!(answer(&outputs), Body::Error(error) if error.code == ErrorCode::Lost && !error.retry));
    }

    #[test]
    fn a_run_that_fails_here_is_an_error_of_the_service() {
        let mut pair = Pair::new(0);
        let outputs = pair.ask(call("both", 0));
        let [Output::Start(run)] = outputs.as_slice() else { panic!("{outputs:?}") };
        let outcome = Outcome::Failed { detail: "no".to_owned(), result: None, retry: false };
        pair.node.handle(Input::Finished { run: run.run, outcome }, pair.now);
        let outputs: Vec<Output> = std::iter::from_fn(|| pair.node.poll_output())
            .filter(|output| matches!(output, Output::Send { .. }))
            .collect();
        assert!(
            matches!(answer(&outputs), Body::Error(error) if error.code == ErrorCode::Failed && error.detail == "no")
        );
    }
}
