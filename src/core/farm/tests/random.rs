//! Random inputs: replies come back exactly once, attempts end exactly once, slots hold.

use proptest::prelude::*;

use super::*;

/// What happens. Workers, links and jobs are few, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    Alive { link: u64, worker: usize, owner: bool },
    Native { link: u64, worker: usize, slots: u32, jobs: Vec<usize>, keep: bool },
    Request { link: u64, worker: Option<usize> },
    Status { link: u64, worker: Option<usize>, job: Option<usize>, ok: bool },
    Closed { link: u64 },
    Left { worker: usize },
    Heard { worker: usize },
    Unwanted { job: usize },
    Recorded { job: usize },
    Call { worker: usize },
    CallStop { call: usize },
    Excuse,
    Wait { ms: u64 },
}

const WORKERS: [&str; 5] = ["a", "b", "c", "d", "e"];

fn step() -> impl Strategy<Value = Step> {
    let (link, worker, job) = (|| (0..6_u64).prop_map(|n| n * 2), || 0..WORKERS.len(), || 0..40_usize);
    prop_oneof![
        4 => (link(), worker(), any::<bool>()).prop_map(|(link, worker, owner)| Step::Alive { link, worker, owner }),
        4 => (link(), worker(), 0..4_u32, prop::collection::vec(job(), 0..4), any::<bool>())
            .prop_map(|(link, worker, slots, jobs, keep)| Step::Native { link, worker, slots, jobs, keep }),
        1 => (link(), prop::option::of(worker())).prop_map(|(link, worker)| Step::Request { link, worker }),
        6 => (link(), prop::option::of(worker()), prop::option::of(job()), any::<bool>())
            .prop_map(|(link, worker, job, ok)| Step::Status { link, worker, job, ok }),
        2 => link().prop_map(|link| Step::Closed { link }),
        1 => worker().prop_map(|worker| Step::Left { worker }),
        1 => worker().prop_map(|worker| Step::Heard { worker }),
        2 => job().prop_map(|job| Step::Unwanted { job }),
        4 => job().prop_map(|job| Step::Recorded { job }),
        1 => worker().prop_map(|worker| Step::Call { worker }),
        1 => (0..10_usize).prop_map(|call| Step::CallStop { call }),
        1 => Just(Step::Excuse),
        3 => (0..9000_u64).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// The node's books.
struct Books {
    world: World,
    /// Who has each attempt, as far as the node knows.
    has: BTreeMap<Attempt, ServerId>,
    /// Somebody else than who has it said that it ended: its worker need not end it any more, but may.
    settled: BTreeSet<Attempt>,
    /// Told as ended and not recorded.
    ended: BTreeSet<Attempt>,
    calls: BTreeSet<JobId>,
    next: usize,
    slots: BTreeMap<WorkerKey, u32>,
}

fn named(n: usize) -> Attempt {
    attempt(&format!("j{n}"), 1)
}

impl Books {
    fn new() -> Books {
        let (has, settled, ended, calls, slots) = Default::default();
        Books { world: World::new(), has, settled, ended, calls, next: 0, slots }
    }

    fn take(&mut self, step: Step) {
        let now = self.world.now;
        let mut keep = false;
        match step {
            Step::Alive { link, worker, owner } => {
                self.world.alive_from(here(), link, WORKERS[worker], owner.then_some("owner"));
            }
            Step::Native { link, worker, slots, jobs, keep: wanted } => {
                keep = wanted;
                let reply = self.world.reply(link);
                let jobs = jobs.into_iter().map(named).collect();
                let said = NativeWorker {
                    name: "n".to_owned(),
                    slots,
                    services: vec![offer("query")],
                    jobs,
                    epoch: None,
                    loan_id: None,
                };
                let alive = WorkerAlive {
                    worker: id(WORKERS[worker]),
                    owner: None,
                    listens: None,
                    native: Some(Box::new(said)),
                };
                self.world.farm.alive(reply, here(), alive, now);
                if let Some(key) = self.world.farm.key_of(&id(WORKERS[worker])) {
                    // What comes late on an older link changes nothing.
                    if self.world.farm.workers[&key].link == Some(LinkId(link)) {
                        self.slots.insert(key, slots);
                    }
                }
            }
            Step::Request { link, worker } => self.world.request(link, worker.map(|worker| WORKERS[worker])),
            Step::Status { link, worker, job, ok } => {
                let reply = self.world.reply(link);
                let status = WorkerStatus {
                    worker: worker.map(|worker| id(WORKERS[worker])),
                    attempt: job.map(named),
                    ok,
                    result: None,
                    detail: None,
                    retry: true,
                };
                self.world.farm.status(reply, status, now);
            }
            Step::Closed { link } => {
                self.world.farm.closed(LinkId(link), now);
                self.work_off(false);
                assert!(self.world.held.iter().all(|reply| reply.link != LinkId(link)), "a dead link's reply is kept");
            }
            Step::Left { worker } => self.world.farm.left(&id(WORKERS[worker]), now),
            Step::Heard { worker } => self.world.farm.heard(&id(WORKERS[worker]), now),
            Step::Unwanted { job } => {
                if let Some(worker) = self.has.remove(&named(job)) {
                    self.world.farm.unwanted(&worker, &named(job), "overdue".to_owned(), now);
                }
            }
            Step::Recorded { job } => {
                self.world.farm.recorded(&named(job));
                self.ended.remove(&named(job));
            }
            Step::Call { worker } => {
                if let Some(key) = self.world.farm.key_of(&id(WORKERS[worker])) {
                    let order = order(&format!("call-{}", self.next), "query", "1");
                    let Order { attempt, service, method, params, timeout, output } = order;
                    let call = JobOrder { attempt, call: true, service, method, params, timeout, output };
                    let name = call.attempt.job_id.clone();
                    if self.world.farm.call(key, call, now) {
                        self.calls.insert(name);
                    }
                    self.next += 1;
                }
            }
            Step::CallStop { call } => {
                let call = JobId::new(format!("call-{call}")).unwrap();
                self.calls.remove(&call);
                self.world.farm.call_stop(&call);
            }
            Step::Excuse => self.world.farm.excuse(Duration::from_secs(5), now),
            Step::Wait { ms } => self.world.wait(Duration::from_millis(ms)),
        }
        self.work_off(keep);
        if self.world.farm.changed() {
            self.dispatch();
        }
        self.world.farm.end_of_input(self.world.now);
        self.work_off(false);
    }

    /// Gives what there is until nobody has room, but not everything at once.
    fn dispatch(&mut self) {
        for _ in 0..2 {
            let order = order(&format!("j{}", self.next), "query", r#"{"USER":1}"#);
            let attempt = order.attempt.clone();
            let Some(key) = self.world.give(order) else { break };
            self.next += 1;
            let worker = &self.world.farm.workers[&key];
            let most = if worker.native().is_some() { self.slots[&key] as usize } else { 1 };
            assert!(worker.running.len() <= most, "more than its slots: {worker:?}");
            self.has.insert(attempt, worker.id.clone());
        }
        self.work_off(false);
    }

    fn work_off(&mut self, keep: bool) {
        loop {
            let effects = self.world.all_effects();
            if effects.is_empty() {
                break;
            }
            for effect in effects {
                match effect {
                    Effect::Ended { attempt, worker, .. } => {
                        assert!(!self.ended.contains(&attempt), "told twice before it is recorded: {attempt:?}");
                        match self.has.remove(&attempt) {
                            // Nobody waits for it: the queue says so at once.
                            None => self.world.farm.recorded(&attempt),
                            Some(had) => {
                                if had != worker {
                                    self.settled.insert(attempt.clone());
                                }
                                self.ended.insert(attempt);
                            }
                        }
                    }
                    Effect::Lost { attempt, worker, .. } => {
                        let had = self.has.remove(&attempt);
                        let out = had == Some(worker) || (had.is_none() && self.settled.remove(&attempt));
                        assert!(out, "lost, but was not out: {attempt:?}");
                    }
                    Effect::Claim { worker, attempt } => {
                        // Attempts that are still to be begun nobody can have.
                        let kept = keep
                            && (0..self.next).any(|n| named(n) == attempt)
                            && !self.has.contains_key(&attempt)
                            && !self.ended.contains(&attempt)
                            && !self.settled.contains(&attempt);
                        if kept {
                            self.has.insert(attempt.clone(), self.world.farm.workers[&worker].id.clone());
                        }
                        self.world.farm.claimed(worker, &attempt, kept);
                    }
                    Effect::CallEnded { call, .. } | Effect::CallLost { call, .. } => {
                        assert!(self.calls.remove(&call), "ended twice: {call:?}");
                    }
                    _ => {}
                }
            }
        }
    }

    /// Everybody leaves, everything is recorded: nothing may be left over.
    fn wind_up(mut self) {
        for link in 0..6 {
            self.world.farm.closed(LinkId(link * 2), self.world.now);
        }
        for worker in WORKERS {
            self.world.farm.left(&id(worker), self.world.now);
        }
        self.work_off(false);
        assert!(self.world.held.is_empty(), "never given back: {:?}", self.world.held);
        assert!(self.has.is_empty(), "never ended: {:?}", self.has);
        assert!(self.calls.is_empty(), "never ended: {:?}", self.calls);
        assert_eq!((self.world.farm.workers(), self.world.farm.deadline()), (0, None));
        assert_eq!(self.world.farm.census(&service("query"), &ServiceName::run()), Default::default());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(debug_assertions) { 1500 } else { 5000 }))]
    #[test]
    fn replies_and_attempts_come_back_exactly_once(steps in prop::collection::vec(step(), 1..80)) {
        let mut books = Books::new();
        for step in steps {
            books.take(step);
        }
        books.wind_up();
    }
}
