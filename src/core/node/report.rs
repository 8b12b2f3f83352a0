//! What a master reports to the supervisor: the figures that `LOAD`, `WORKERS`, `LOANS`, `JOBS` and `NODES` would tell at that moment.

use std::collections::BTreeMap;

use super::Node;
use crate::core::Output;
use crate::core::report::{REPORT_EVERY, ReportNews};
use crate::time::{Seconds, Time};
use crate::wire::{
    BorrowedWorker, EventKind, MasterReport, NeighbourReport, Permille, Role, ServerId, Status, TasksReport,
    ThresholdsReport, WorkersReport, quote,
};

/// A threshold that is never reached.
const NEVER: Permille = Permille::MAX;

/// Letters of the reason why a report was not handed over. What is wrong with a certificate takes some room.
const REASON: usize = 300;

impl Node {
    /// Reports, if it is time. Called once everything else of an input is carried out, so that the figures are those of afterwards.
    pub(super) fn report_if_due(&mut self, now: Time) {
        let Some(reports) = self.reports.as_mut().filter(|_| !self.stopped) else { return };
        if reports.take(now) {
            let report = Box::new(self.report(now));
            self.outputs.push_back(Output::Report(report));
        }
    }

    /// A report was handed over, or not.
    pub(super) fn reported(&mut self, outcome: Result<(), String>) {
        let Some(reports) = &mut self.reports else { return };
        let address = self.config.supervisor.clone();
        match reports.told(outcome) {
            None => {}
            Some(ReportNews::Reached) => {
                let detail = format!("reports reach the supervisor, one every {} s", Seconds(REPORT_EVERY));
                self.event(EventKind::SupervisorReached, None, address, detail);
            }
            Some(ReportNews::Unreachable(reason)) => {
                let (reason, every) = (quote(&reason, REASON), Seconds(REPORT_EVERY));
                let detail = format!("reports do not reach the supervisor: {reason}; tried again every {every} s");
                self.event(EventKind::SupervisorUnreachable, None, address, detail);
            }
        }
    }

    /// What the supervisor is told of this master now.
    fn report(&self, now: Time) -> MasterReport {
        let (load, config) = (self.load.report(), self.load.config());
        let (completed, failed) = self.queue.ended();
        let oldest = self.queue.oldest_queued(now).unwrap_or_default();
        MasterReport {
            server_id: self.identity.server_id.clone(),
            cpu: load.cpu,
            workers: self.workers_report(now),
            tasks: TasksReport { pending: load.pending, running: load.running, completed, failed, oldest },
            thresholds: ThresholdsReport {
                max_tasks: config.capacity,
                release_tasks: config.release,
                warn_cpu: if config.cpu_threshold.get() == 0 { NEVER } else { config.cpu_threshold },
                warn_memory: NEVER,
            },
            neighbours: self.neighbours_report(now),
        }
    }

    fn workers_report(&self, now: Time) -> WorkersReport {
        let lent = self.desk.iter().flat_map(|desk| desk.loans.lent());
        let lent = lent.map(|(_, borrower)| BorrowedWorker { out: true, peer: borrower.to_string() });
        let guests = self.guests_here().into_values();
        let guests = guests.map(|owner| BorrowedWorker { out: false, peer: owner.to_owned() });
        let away_from_home = lent.chain(guests).collect();
        WorkersReport { home: self.worker_counts().local, away_from_home, ..self.farm.figures(now) }
    }

    fn neighbours_report(&self, now: Time) -> Vec<NeighbourReport> {
        // What a stranger is it does not say; nobody configures a worker as a peer.
        let masters = self.registry.view(now).into_iter().filter(|entry| entry.role != Some(Role::Worker));
        let neighbours = masters.map(|entry| NeighbourReport {
            server: entry.key,
            available: entry.status == Status::Alive,
            silent: entry.last_seen,
        });
        neighbours.collect()
    }

    /// The workers of others that are here, each with its owner. One that has registered and has not asked for work yet is none of the
    /// farm's; one that has lost its owner is on no loan.
    fn guests_here(&self) -> BTreeMap<&ServerId, &str> {
        let coming = self.desk.iter().flat_map(|desk| desk.loans.guests());
        let coming = coming.filter(|(worker, _)| self.farm.is_borrowed(worker).is_none());
        self.farm.owners().chain(coming.map(|(worker, owner)| (worker, owner.as_str()))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::core::{
        Command, Config, Identity, Input, LinkId, LoadConfig, LoadSample, LoanConfig, QueueConfig, WorkerConfig,
    };
    use crate::wire::{
        Attempt, Body, Durability, Event, HeartbeatAnswer, JobsAnswer, LoanState, LoansAnswer, Message, NodesQuery,
        WorkerState, WorkerView, decode,
    };

    fn at(ms: u64) -> Time {
        Time::ZERO + Duration::from_millis(ms)
    }

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// A master with a supervisor, and what it wants done.
    struct World {
        node: Node,
        now: Time,
        reports: Vec<(Time, MasterReport)>,
        events: Vec<Event>,
        opened: Vec<LinkId>,
        /// What was sent, and where to.
        sent: Vec<(LinkId, Message)>,
    }

    impl World {
        fn new(peers: &[&str]) -> World {
            let config = Config {
                supervisor: Some("lab:8000".parse().unwrap()),
                peers: peers.iter().map(|peer| peer.parse().unwrap()).collect(),
                // Nobody is lost while the story goes on.
                timeout: Duration::from_secs(60),
                forget_owner: Duration::from_secs(120),
                queue: QueueConfig { durability: Durability::Memory, attempts: 1, ..QueueConfig::default() },
                load: LoadConfig { capacity: 50, release: 20, ..LoadConfig::default() },
                ..Config::default()
            };
            let identity = Identity { server_id: ServerId::new("alpha").unwrap(), name: "a".to_owned() };
            let mut node = Node::new(config, identity, 7, at(0)).unwrap();
            node.lend(LoanConfig { keep: 0, ..LoanConfig::default() }, 1, 3, at(0)).unwrap();
            let mut world = World {
                node,
                now: at(0),
                reports: Vec::new(),
                events: Vec::new(),
                opened: Vec::new(),
                sent: Vec::new(),
            };
            world.give(Input::Tick);
            world
        }

        fn give(&mut self, input: Input) {
            self.node.handle(input, self.now);
            while let Some(output) = self.node.poll_output() {
                match output {
                    Output::Report(report) => self.reports.push((self.now, *report)),
                    Output::Event(event) => self.events.push(event),
                    Output::Open { link, .. } => self.opened.push(link),
                    Output::Send { link, message } => self.sent.push((link, message)),
                    _ => {}
                }
            }
        }

        fn until(&mut self, ms: u64) {
            while let Some(due) = self.node.deadline().filter(|due| *due <= at(ms)) {
                self.now = due;
                self.give(Input::Tick);
            }
            self.now = at(ms);
        }

        fn opens(&mut self, link: LinkId, remote: &str) {
            self.give(Input::LinkOpened { link, local: socket("10.0.0.1:9101"), remote: socket(remote) });
        }

        fn says(&mut self, link: LinkId, line: &str) {
            let message = decode(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error:?}"));
            self.give(Input::Message { link, message });
        }

        /// The answer to a bare question, asked on a link of its own.
        fn ask(&mut self, line: &str) -> Body {
            let link = LinkId(1000);
            self.opens(link, "127.0.0.1:40000");
            self.sent.clear();
            self.says(link, line);
            let answer = self.sent.pop().unwrap_or_else(|| panic!("no answer to {line}"));
            self.give(Input::LinkClosed { link, reason: "done".to_owned() });
            assert_eq!(answer.0, link);
            answer.1.body
        }

        fn workers(&mut self) -> Vec<WorkerView> {
            match self.ask(r#"{"TASK":"WORKERS"}"#) {
                Body::WorkersAnswer(answer) => answer.workers,
                other => panic!("{other:?}"),
            }
        }

        fn loans(&mut self) -> LoansAnswer {
            match self.ask(r#"{"TASK":"LOANS"}"#) {
                Body::LoansAnswer(answer) => *answer,
                other => panic!("{other:?}"),
            }
        }

        fn jobs(&mut self) -> JobsAnswer {
            match self.ask(r#"{"TASK":"JOBS"}"#) {
                Body::JobsAnswer(answer) => *answer,
                other => panic!("{other:?}"),
            }
        }

        /// The attempts that were ordered on a link, in order.
        fn ordered(&self, link: LinkId) -> Vec<Attempt> {
            let orders = self.sent.iter().filter(|(to, _)| *to == link);
            let attempt = |(_, message): &(LinkId, Message)| match &message.body {
                Body::Job(order) => Some(order.attempt.clone()),
                _ => None,
            };
            orders.filter_map(attempt).collect()
        }
    }

    fn native(id: &str, slots: u32, service: &str) -> String {
        format!(
            r#"{{"WORKER":"ALIVE","WORKER_UUID":"{id}","NAME":"{id}","SLOTS":{slots},"SERVICES":["{service}"],"JOBS":[]}}"#
        )
    }

    fn submit(service: &str) -> String {
        format!(r#"{{"TASK":"SUBMIT","SERVICE":"{service}"}}"#)
    }

    /// Three own workers, one of them busy with two jobs of three slots, one lent, one gone silent; a guest; jobs that wait; two peers.
    fn story() -> World {
        let mut world = World::new(&["10.0.0.2:9101", "10.0.0.3:9101"]);
        let (a1, a2, a3, guest, client, beta) = (LinkId(2), LinkId(4), LinkId(6), LinkId(8), LinkId(10), LinkId(12));
        for (link, remote) in [(a1, 1), (a2, 2), (a3, 3), (guest, 4), (client, 5)] {
            world.opens(link, &format!("127.0.0.1:5000{remote}"));
        }
        let sample = LoadSample { cpu: Permille::new(300), memory: Permille::new(500) };
        world.give(Input::LoadSample(sample));
        // The first peer answers, as a stranger does; the second never does.
        let peer = world.opened[0];
        world.opens(peer, "10.0.0.2:9101");
        let answer = HeartbeatAnswer { server_id: ServerId::new("beta").unwrap(), presence: None };
        world.give(Input::Message { link: peer, message: Message::plain(Body::HeartbeatAnswer(answer)) });
        world.until(1000);
        world.says(a1, &native("a1", 3, "x"));
        world.says(a2, &native("a2", 2, "query"));
        world.says(a3, &native("a3", 4, "y"));
        world.says(guest, r#"{"WORKER":"ALIVE","WORKER_UUID":"g1","SERVER_UUID":"gamma"}"#);
        for _ in 0..4 {
            world.says(client, &submit("x"));
        }
        let attempts = world.ordered(a1);
        assert_eq!(attempts.len(), 3, "as many as it has slots");
        for (attempt, end) in attempts.iter().zip([r#""STATUS":"OK""#, r#""STATUS":"NOK","RETRY":false"#]) {
            let (job, number) = (&attempt.job_id, attempt.attempt);
            world
                .says(a1, &format!(r#"{{{end},"TASK":"JOB","WORKER_UUID":"a1","JOB_ID":"{job}","ATTEMPT":{number}}}"#));
        }
        world.until(4000);
        for _ in 0..5 {
            world.says(client, &submit("nobody"));
        }
        world.give(Input::LinkClosed { link: a3, reason: "cut".to_owned() });
        world.opens(beta, "10.0.0.2:60000");
        let request = r#"{"type":"request_help","request_id":"1","payload":{"master_id":"beta","current_load":150,"capacity":100,"workers_needed":1,"master_address":"10.0.0.2:9101"}}"#;
        world.says(beta, request);
        world.until(10_000);
        world
    }

    #[test]
    fn the_figures_are_those_of_the_farm() {
        let mut world = story();
        let times: Vec<Time> = world.reports.iter().map(|(when, _)| *when).collect();
        assert_eq!(times, [at(0), at(10_000)]);
        let (_, empty) = &world.reports[0];
        assert_eq!((empty.workers.clone(), empty.tasks), (WorkersReport::default(), TasksReport::default()));
        let (_, report) = world.reports.pop().unwrap();
        let away = |out, peer: &str| BorrowedWorker { out, peer: peer.to_owned() };
        let workers = WorkersReport {
            registered: 4,
            // Two run; a1 has three slots, a2, which is about to go, two, and the guest one. a3 is silent.
            utilization: Permille::of(2, 6),
            alive: 3,
            idle: 1,
            failed: 1,
            home: 2,
            available: 2,
            away_from_home: vec![away(true, "beta"), away(false, "gamma")],
        };
        assert_eq!(report.workers, workers);
        let oldest = Duration::from_millis(6000);
        assert_eq!(report.tasks, TasksReport { pending: 5, running: 2, completed: 1, failed: 1, oldest });
        let thresholds = ThresholdsReport {
            max_tasks: 50,
            release_tasks: 20,
            warn_cpu: Permille::new(700),
            warn_memory: Permille::MAX,
        };
        assert_eq!((report.thresholds, report.cpu), (thresholds, Permille::new(300)));
        let [unknown, known] = report.neighbours.as_slice() else { panic!("{report:?}") };
        assert_eq!(unknown, &NeighbourReport { server: "10.0.0.3:9101".to_owned(), available: false, silent: None });
        assert_eq!((known.server.as_str(), known.available), ("beta", true));
        assert!(known.silent.is_some());
    }

    #[test]
    fn the_figures_are_those_that_others_are_answered() {
        let mut world = story();
        let (_, report) = world.reports.pop().unwrap();
        let load = world.node.load().load;
        let tasks = report.tasks;
        assert_eq!((tasks.pending, tasks.running, report.cpu), (load.pending, load.running, load.cpu));
        let workers = world.workers();
        let count = |wanted: &[WorkerState]| workers.iter().filter(|it| wanted.contains(&it.status)).count() as u64;
        assert_eq!((report.workers.registered, load.workers), (workers.len() as u64, workers.len() as u64));
        assert_eq!(report.workers.idle, count(&[WorkerState::Idle]));
        assert_eq!(report.workers.alive, workers.len() as u64 - count(&[WorkerState::Away]));
        assert_eq!(report.workers.failed, count(&[WorkerState::Away, WorkerState::Quarantined]));
        let there = workers.iter().filter(|it| it.status != WorkerState::Away);
        let used = there.fold((0, 0), |(running, slots), it| (running + it.running, slots + it.slots.max(it.running)));
        assert_eq!(report.workers.utilization, Permille::of(u64::from(used.0), u64::from(used.1)));
        let loans = world.loans();
        let ways = |out| report.workers.away_from_home.iter().filter(|one| one.out == out).count() as u64;
        assert_eq!((ways(true), ways(false), report.workers.home), (loans.lent, loans.borrowed, loans.local));
        let live = loans.loans.iter().filter(|loan| loan.status != LoanState::Ended);
        let mut listed: Vec<BorrowedWorker> =
            live.map(|loan| BorrowedWorker { out: loan.out, peer: loan.peer.clone() }).collect();
        listed.sort_by_key(|one| !one.out);
        assert_eq!(report.workers.away_from_home, listed);
        let jobs = world.jobs();
        assert_eq!((tasks.completed, tasks.failed), (jobs.counts.ok, jobs.counts.nok + jobs.counts.buried));
        assert_eq!(Some(tasks.oldest), jobs.oldest);
        let Body::NodesAnswer(nodes) = world.node.nodes(&NodesQuery::default(), world.now) else { panic!() };
        let nodes: Vec<NeighbourReport> = nodes
            .nodes
            .into_iter()
            .map(|it| NeighbourReport { server: it.key, available: it.status == Status::Alive, silent: it.last_seen })
            .collect();
        assert_eq!(report.neighbours, nodes);
    }

    #[test]
    fn ends_are_counted_also_when_their_results_are_forgotten() {
        let mut world = World::new(&[]);
        world.node.queue = crate::core::queue::Queue::new(
            QueueConfig { durability: Durability::Memory, keep_results: 0, attempts: 1, ..QueueConfig::default() },
            &ServerId::new("alpha").unwrap(),
            1,
        );
        let (worker, client) = (LinkId(2), LinkId(4));
        world.opens(worker, "127.0.0.1:50001");
        world.opens(client, "127.0.0.1:50002");
        world.says(worker, &native("w", 5, "x"));
        (0..5).for_each(|_| world.says(client, &submit("x")));
        for (nth, attempt) in world.ordered(worker).into_iter().enumerate() {
            let end = if nth < 3 { r#""STATUS":"OK""# } else { r#""STATUS":"NOK","RETRY":false"# };
            let (job, number) = (attempt.job_id, attempt.attempt);
            let line = format!(r#"{{{end},"TASK":"JOB","WORKER_UUID":"w","JOB_ID":"{job}","ATTEMPT":{number}}}"#);
            world.says(worker, &line);
        }
        world.until(10_000);
        assert_eq!(world.jobs().counts.ok, 0, "nothing is kept of those that were OK");
        let (_, report) = world.reports.pop().unwrap();
        assert_eq!((report.tasks.completed, report.tasks.failed), (3, 2));
    }

    #[test]
    fn people_hear_when_the_supervisor_is_lost_and_reached_again_and_not_every_time() {
        let mut world = World::new(&[]);
        let failed = || Input::Reported(Err("connection refused".to_owned()));
        for input in [Input::Reported(Ok(())), Input::Reported(Ok(())), failed(), failed(), failed()] {
            world.give(input);
        }
        world.give(Input::Reported(Ok(())));
        let kinds: Vec<EventKind> = world.events.iter().map(|event| event.kind).collect();
        let (reached, lost) = (EventKind::SupervisorReached, EventKind::SupervisorUnreachable);
        assert_eq!(kinds, [reached, lost, reached]);
        let event = &world.events[1];
        assert_eq!(event.address, Some("lab:8000".parse().unwrap()));
        let told = "reports do not reach the supervisor: connection refused; tried again every 10.0 s";
        assert_eq!(event.detail, told);
    }

    #[test]
    fn a_node_that_stops_reports_no_more_and_one_without_a_supervisor_never() {
        let mut world = World::new(&[]);
        world.give(Input::Command(Command::Stop));
        world.until(60_000);
        assert_eq!(world.reports.len(), 1, "the one of the start");
        let identity = Identity { server_id: ServerId::new("alpha").unwrap(), name: "a".to_owned() };
        let mut node = Node::new(Config::default(), identity, 7, at(0)).unwrap();
        node.handle(Input::Tick, at(0));
        node.handle(Input::Reported(Err("nobody asked".to_owned())), at(0));
        node.handle(Input::Tick, at(60_000));
        let outputs: Vec<Output> = std::iter::from_fn(|| node.poll_output()).collect();
        assert!(!outputs.iter().any(|output| matches!(output, Output::Report(_) | Output::Event(_))), "{outputs:?}");
    }

    #[test]
    fn a_worker_has_no_supervisor() {
        let worker = Some(WorkerConfig { masters: Vec::new(), slots: 1, grace: Duration::ZERO });
        let supervisor = Some("lab:8000".parse().unwrap());
        let config = Config { role: Role::Worker, worker, supervisor, ..Config::default() };
        let error = config.check().unwrap_err().to_string();
        assert_eq!(error, "supervisor is lab:8000; expected none at a worker: its master reports of it");
    }

    #[test]
    fn a_cpu_threshold_of_never_is_one_that_is_not_reached() {
        let identity = Identity { server_id: ServerId::new("alpha").unwrap(), name: "a".to_owned() };
        let load = LoadConfig { cpu_threshold: Permille::new(0), ..LoadConfig::default() };
        let config = Config { load, ..Config::default() };
        let node = Node::new(config, identity, 7, at(0)).unwrap();
        assert_eq!(node.report(at(0)).thresholds.warn_cpu, Permille::MAX);
    }
}
