//! What the machine of loans is told of the queue and of the farm: how many jobs wait, of which services, and who runs them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Node;
use crate::core::loans::{MAX_NEEDS, Need, Saturation};
use crate::time::Time;
use crate::wire::ServiceName;

/// How often it is told of pending jobs, where nothing else has changed.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// What it was told last.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Told {
    load: Saturation,
    at: Time,
    /// Somebody was borrowed then.
    borrowing: bool,
    /// Something may have changed since.
    stale: bool,
}

impl Told {
    pub(super) fn new(now: Time) -> Told {
        Told { load: Saturation::default(), at: now, borrowing: false, stale: false }
    }

    /// When it is told what has changed since.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.stale.then(|| self.at + TELL_EVERY)
    }
}

impl Node {
    /// The queue or the farm may have changed. Every job changes how many wait; all loans are looked at only when something turns on it, or now
    /// and then.
    pub(super) fn tell_loans_load(&mut self, now: Time) {
        let load = self.saturation(Vec::new());
        let Some(desk) = &mut self.desk else { return };
        let borrowing = desk.loans.is_borrowing();
        let turned = borrowing != desk.told.borrowing || !load.is_but_for_jobs(&desk.told.load);
        if !turned && now.since(desk.told.at) < TELL_EVERY {
            desk.told.stale |= load.saturated || borrowing || load.pending != desk.told.load.pending;
            return;
        }
        self.tell_loans_load_now(now);
    }

    /// The same, however little has changed.
    pub(super) fn tell_loans_load_now(&mut self, now: Time) {
        let Some(borrowing) = self.desk.as_ref().map(|desk| desk.loans.is_borrowing()) else { return };
        // What waits is looked at where it decides who is asked, or who goes home.
        let counts = borrowing || self.load.report().saturated;
        let load = self.saturation(if counts { self.needs() } else { Vec::new() });
        let Some(desk) = &mut self.desk else { return };
        let told = Told { load: load.clone(), at: now, borrowing, stale: false };
        let before = std::mem::replace(&mut desk.told, told);
        if before.load != load {
            desk.loans.load(load, now);
        }
    }

    fn saturation(&self, needs: Vec<Need>) -> Saturation {
        let (report, config) = (self.load.report(), self.load.config());
        Saturation {
            saturated: report.saturated,
            released: !report.saturated && report.pending < config.release,
            pending: report.pending,
            capacity: config.capacity,
            release: config.release,
            hold: config.hold,
            workers: self.farm.whose().0,
            needs,
        }
    }

    /// The jobs that wait, by service, in the order of names: those services with the most.
    fn needs(&self) -> Vec<Need> {
        let mut waiting = self.queue.waiting_services();
        if waiting.len() > MAX_NEEDS {
            waiting.sort_by(|(one, few), (other, many)| many.cmp(few).then_with(|| one.cmp(other)));
            waiting.truncate(MAX_NEEDS);
            waiting.sort();
        }
        let mut stranded: BTreeSet<&ServiceName> = waiting.iter().map(|(service, _)| service).collect();
        for worker in self.farm.own().filter(|worker| !worker.draining) {
            // As a rule the first few workers offer all of it.
            if stranded.is_empty() {
                break;
            }
            worker.services.iter().for_each(|offer| _ = stranded.remove(&offer.name));
        }
        let own: Vec<bool> = waiting.iter().map(|(service, _)| !stranded.contains(service)).collect();
        let all = waiting.into_iter().zip(own);
        all.map(|((service, waiting), own)| Need { service, waiting, own }).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::core::loans::{Effect, LoanConfig, Neighbour};
    use crate::core::{Config, Durability, Identity, Input, LinkId, LoadConfig, Output, QueueConfig};
    use crate::wire::{
        Body, Epoch, Json, LoanAnswer, LoanId, Message, MoveKind, NativeWorker, OfferTerms, OfferedWorker, ServerId,
        ServiceOffer, Submit, WhyQuery, WorkerAlive,
    };

    fn id(text: &str) -> ServerId {
        ServerId::new(text).unwrap()
    }

    fn service(text: &str) -> ServiceName {
        ServiceName::new(text).unwrap()
    }

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    /// A master A, saturated above two jobs for this long.
    fn master(hold: u64) -> Node {
        let load = LoadConfig { capacity: 2, release: 1, hold: Duration::from_millis(hold), ..LoadConfig::default() };
        let queue = QueueConfig { durability: Durability::Memory, ..QueueConfig::default() };
        let identity = Identity { server_id: id("A"), name: "a".to_owned() };
        let mut node = Node::new(Config { load, queue, ..Config::default() }, identity, 1, Time::ZERO).unwrap();
        node.lend(LoanConfig { keep: 0, ..LoanConfig::default() }, 1, 1, Time::ZERO).unwrap();
        let here = SocketAddr::from(([127, 0, 0, 1], 9101));
        for link in [2, 4] {
            node.handle(Input::LinkOpened { link: LinkId(link), local: here, remote: here }, Time::ZERO);
        }
        node
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

    fn submit(node: &mut Node, name: &str, now: Time) {
        let submit = Submit::new(service(name), ServiceName::run(), Json::null());
        says(node, 4, Body::Submit(Box::new(submit)), now);
    }

    /// A native worker says ALIVE on link 2.
    fn alive(node: &mut Node, services: &[&str], loan: Option<&LoanId>, now: Time) -> Vec<Body> {
        let offer = |name: &&str| ServiceOffer {
            name: service(name),
            methods: vec![ServiceName::run()],
            idempotent: Vec::new(),
        };
        let native = NativeWorker {
            name: "w".to_owned(),
            slots: 1,
            services: services.iter().map(offer).collect(),
            epoch: loan.map(|_| Epoch { generation: 0, counter: 7 }),
            loan_id: loan.cloned(),
            jobs: Vec::new(),
        };
        let owner = loan.map(|_| "B".to_owned());
        let alive = WorkerAlive { worker: id("w"), owner, listens: None, native: Some(Box::new(native)) };
        says(node, 2, Body::WorkerAlive(Box::new(alive)), now)
    }

    #[test]
    fn what_waits_is_told_by_service_with_who_runs_it_and_bounded() {
        let mut node = master(0);
        for nth in 0..300 {
            submit(&mut node, &format!("s{nth:03}"), Time::ZERO);
        }
        (0..2).for_each(|_| submit(&mut node, "s299", Time::ZERO));
        alive(&mut node, &["query"], None, Time::ZERO);
        let needs = node.needs();
        assert_eq!(needs.len(), MAX_NEEDS);
        assert!(needs.is_sorted_by(|a, b| a.service < b.service));
        assert_eq!(
            (needs[255].service.as_str(), needs[255].waiting),
            ("s299", 3),
            "the one with the most is among them"
        );
        assert!(needs.iter().all(|need| !need.own));
        // What an own worker offers is its job; it runs one, and the other waits.
        let mut node = master(0);
        ["query", "query", "slepp"].into_iter().for_each(|name| submit(&mut node, name, Time::ZERO));
        alive(&mut node, &["query", "sleep"], None, Time::ZERO);
        let told = |name: &str, own| Need { service: service(name), waiting: 1, own };
        assert_eq!(node.needs(), [told("query", true), told("slepp", false)]);
    }

    #[test]
    fn what_has_changed_within_a_moment_is_told_after_it_though_nothing_else_happens() {
        let mut node = master(2000);
        submit(&mut node, "query", at(1_000));
        submit(&mut node, "query", at(1_010));
        let pending = |node: &Node| node.desk.as_ref().unwrap().told.load.pending;
        assert_eq!((pending(&node), node.load.report().pending), (1, 2));
        let due = node.deadline().unwrap();
        assert_eq!(due, at(1_100));
        node.handle(Input::Tick, due);
        assert_eq!(pending(&node), 2);
        assert!(node.deadline().is_none_or(|due| due > at(1_100)), "it would spin");
    }

    #[test]
    fn one_sentence_of_why_has_the_figures_of_one_moment() {
        let mut node = master(2000);
        for nth in 0..5 {
            submit(&mut node, "query", at(1_000 + nth));
        }
        let answers = says(&mut node, 4, Body::Why(Box::new(WhyQuery::Peer("A".to_owned()))), at(1_010));
        let [Body::WhyAnswer(answer)] = answers.as_slice() else { panic!("{answers:?}") };
        let why = answer.why.as_deref().unwrap();
        let expected = "not saturated: 5 jobs pending, capacity=2, release=1; for workers it asks nobody yet: 5 jobs pending are above \
                        capacity=2; it counts as saturated when that has lasted 2.0 s";
        assert!(why.ends_with(expected), "{why}");
        submit(&mut node, "query", at(1_011));
        let answers = says(&mut node, 4, Body::Loans { after: None }, at(1_012));
        let [Body::LoansAnswer(answer)] = answers.as_slice() else { panic!("{answers:?}") };
        assert!(answer.asks.contains("6 jobs pending"), "{}", answer.asks);
    }

    /// A is promised the worker `w` of B on this loan, at the very beginning.
    fn promised(node: &mut Node, loan: &LoanId) {
        let loans = &mut node.desk.as_mut().unwrap().loans;
        let needs = vec![Need { service: service("query"), waiting: 3, own: true }];
        let saturated = Saturation { saturated: true, pending: 3, capacity: 2, needs, ..Saturation::default() };
        loans.load(saturated, Time::ZERO);
        let known = Neighbour {
            peer: id("B"),
            name: "b".into(),
            address: "127.0.0.1:9102".parse().unwrap(),
            link: None,
            native: true,
            alive: true,
            saturated: false,
            score: 1,
            member: false,
            services: Vec::new(),
            asks_back: false,
        };
        loans.neighbours(vec![known], Time::ZERO);
        let token = std::iter::from_fn(|| loans.poll_effect()).find_map(|effect| match effect {
            Effect::Ask { token, .. } => Some(token),
            _ => None,
        });
        let epoch = Epoch { generation: 0, counter: 7 };
        let terms = OfferTerms { loan_id: loan.clone(), epoch, lease: Duration::from_secs(30), agreed: true };
        let workers = vec![OfferedWorker { worker: id("w"), address: None, terms: Some(terms) }];
        let answer = LoanAnswer::Accepted { master: Some(id("B")), offered: 1, workers, dialect: None };
        loans.answered(token.unwrap(), answer, Time::ZERO);
    }

    /// When the guest that offers these services, each from that time on, is told to go home by a master that is saturated by `slepp` alone; in ms, at
    /// most 25 s.
    fn goes_home(offers: &[(u64, &str)]) -> Option<u64> {
        let (mut node, loan) = (master(0), LoanId::new("B-1").unwrap());
        promised(&mut node, &loan);
        ["slepp"; 5].into_iter().for_each(|name| submit(&mut node, name, Time::ZERO));
        let mut goes_by = |now: u64| {
            let mut told = Vec::new();
            while let Some(due) = node.deadline().filter(|due| *due <= at(now)) {
                node.handle(Input::Tick, due);
                told.extend(said(&mut node, 2));
            }
            let offered = offers.iter().rev().find(|(from, _)| *from <= now).unwrap().1;
            told.extend(alive(&mut node, &[offered], Some(&loan), at(now)));
            assert!(node.load.report().saturated);
            told.iter().any(|body| matches!(body, Body::Move(order) if order.kind == MoveKind::Return))
        };
        (0..50).map(|half| half * 500).find(|now| goes_by(*now))
    }

    #[test]
    fn a_guest_stays_at_a_saturated_master_as_long_as_it_offers_something_that_waits() {
        assert_eq!(goes_home(&[(0, "query")]), Some(10_000));
        assert_eq!(goes_home(&[(0, "query"), (5_000, "slepp")]), None);
        assert_eq!(goes_home(&[(0, "slepp"), (5_000, "query")]), Some(15_000));
    }
}
