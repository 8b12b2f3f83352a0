//! Random histories of the queue against what was promised: nothing accepted is lost, also not by a crash; no job has
//! two results; attempts are bounded; and when the disk and the workers behave, every job ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;

use super::super::{JobNumber, JobSpec, JobWrite, Outcome, QueueConfig, StoredJob, StoredState, Ticket};
use super::tests::job;
use super::{Effect, Finish, Queue, Submitted};
use crate::time::Time;
use crate::wire::{Attempt, Durability, EventKind, JobRef, JobStatus, Json, ServerId, Submit};

#[derive(Clone, Debug)]
enum Op {
    Submit {
        service: u8,
        priority: u8,
        delay: u64,
        attempts: u32,
        key: Option<u8>,
    },
    /// The most urgent job of the `nth` service goes to a worker.
    Start {
        nth: usize,
        worker: u8,
    },
    /// An attempt is reported: one that some worker has, or had.
    Finish {
        nth: usize,
        how: u8,
        other: bool,
    },
    TakenAway {
        nth: usize,
    },
    Lost {
        nth: usize,
    },
    Claim {
        nth: usize,
        other: bool,
    },
    Cancel {
        nth: usize,
    },
    Bury {
        nth: usize,
    },
    Kick {
        nth: usize,
    },
    /// The disk tells the fate of so many writes.
    Disk {
        writes: usize,
        well: bool,
    },
    Pass {
        ms: u64,
    },
    /// The process ends; so many writes reached the disk without a word.
    Crash {
        writes: usize,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let nth = 0..64usize;
    let key = prop::option::weighted(0.3, 0..4u8);
    prop_oneof![
        6 => (0..3u8, 0..10u8, prop_oneof![3 => Just(0), 1 => 0..5000u64], 1..4u32, key)
            .prop_map(|(service, priority, delay, attempts, key)| Op::Submit { service, priority, delay, attempts, key }),
        8 => (0..3usize, 0..3u8).prop_map(|(nth, worker)| Op::Start { nth, worker }),
        6 => (nth.clone(), 0..4u8, prop::bool::weighted(0.1))
            .prop_map(|(nth, how, other)| Op::Finish { nth, how, other }),
        2 => nth.clone().prop_map(|nth| Op::Lost { nth }),
        2 => nth.clone().prop_map(|nth| Op::TakenAway { nth }),
        2 => (nth.clone(), any::<bool>()).prop_map(|(nth, other)| Op::Claim { nth, other }),
        1 => nth.clone().prop_map(|nth| Op::Cancel { nth }),
        1 => nth.clone().prop_map(|nth| Op::Bury { nth }),
        2 => nth.prop_map(|nth| Op::Kick { nth }),
        9 => (1..9usize, prop::bool::weighted(0.8)).prop_map(|(writes, well)| Op::Disk { writes, well }),
        4 => prop_oneof![0..2000u64, 5000..30_000u64].prop_map(|ms| Op::Pass { ms }),
        1 => (0..9usize).prop_map(|writes| Op::Crash { writes }),
    ]
}

/// What was promised of a job.
#[derive(Clone, Debug, Default)]
struct Promise {
    attempts: u32,
    /// Rounds of attempts that somebody asked for.
    kicks: u32,
    /// Attempts that do not count.
    spared: u32,
    /// Attempts that were begun since the last crash.
    starts: u32,
    /// The result that this process recorded first.
    result: Option<Json>,
    /// The end that was said to be durable.
    settled: Option<(JobStatus, Option<Json>)>,
}

struct World {
    config: QueueConfig,
    queue: Queue,
    boot: u32,
    now: Time,
    last: Ticket,
    /// Written, fate unknown.
    writes: VecDeque<(Ticket, JobWrite)>,
    /// What the disk has.
    disk: BTreeMap<JobNumber, (JobSpec, StoredState)>,
    submitted: BTreeMap<JobNumber, u32>,
    promises: BTreeMap<JobNumber, Promise>,
    refused: BTreeSet<JobNumber>,
    /// Every attempt that was ever begun, and by whom.
    begun: Vec<(Attempt, ServerId)>,
    ill: bool,
    slow: bool,
    results: u32,
}

fn master() -> ServerId {
    ServerId::new("m").unwrap()
}

fn worker(n: u8) -> ServerId {
    ServerId::new(format!("W{n}")).unwrap()
}

impl World {
    fn new(durable: bool) -> World {
        let config = QueueConfig {
            durability: if durable { Durability::Fsync } else { Durability::Memory },
            job_timeout: Duration::from_secs(5),
            max_jobs: 30,
            ..QueueConfig::default()
        };
        World {
            queue: Queue::new(config.clone(), &master(), 1),
            config,
            boot: 1,
            now: Time::ZERO,
            last: Ticket(0),
            writes: VecDeque::new(),
            disk: BTreeMap::new(),
            submitted: BTreeMap::new(),
            promises: BTreeMap::new(),
            refused: BTreeSet::new(),
            begun: Vec::new(),
            ill: false,
            slow: false,
            results: 0,
        }
    }

    fn is_durable(&self) -> bool {
        self.config.durability != Durability::Memory
    }

    fn store(&mut self, write: JobWrite) {
        match write {
            JobWrite::Put { number, spec } => {
                let before = self.disk.insert(number, (spec, StoredState::Open { attempt: 0, spared: 0 }));
                assert!(before.is_none(), "{number:?} is put once");
            }
            JobWrite::State { number, state } => {
                self.disk.get_mut(&number).expect("a state follows its put").1 = state;
            }
            JobWrite::Remove { number } => panic!("{number:?} is forgotten, and nothing is old"),
        }
    }

    fn after_input(&mut self) {
        while let Some(effect) = self.queue.poll_effect() {
            match effect {
                Effect::Write { ticket, write } => {
                    assert!(self.is_durable() && ticket.0 == self.last.0 + 1);
                    self.last = ticket;
                    self.writes.push_back((ticket, *write));
                }
                Effect::Accepted(number) => {
                    assert!(!self.is_durable() || self.disk.contains_key(&number), "accepted means durable");
                    let promise = Promise { attempts: self.submitted[&number], ..Promise::default() };
                    assert!(self.promises.insert(number, promise).is_none(), "accepted once");
                }
                Effect::Refused { number, .. } => {
                    assert!(!self.disk.contains_key(&number) && !self.promises.contains_key(&number));
                    assert!(self.refused.insert(number), "refused once");
                }
                Effect::Settled(number) => self.settled(number),
                Effect::Event { kind: EventKind::StoreFailed, .. } => {
                    assert!(!std::mem::replace(&mut self.ill, true), "told once an episode");
                }
                Effect::Event { kind: EventKind::StoreSlow, .. } => {
                    assert!(!self.ill && !std::mem::replace(&mut self.slow, true), "told once an episode");
                }
                Effect::Event { kind: EventKind::StoreWell, detail, .. } => {
                    let was_slow = std::mem::take(&mut self.slow);
                    if detail == "the disk writes again" {
                        assert!(std::mem::replace(&mut self.ill, false), "it was ill");
                    } else {
                        assert!(!self.ill && was_slow, "it was slow");
                    }
                }
                Effect::Unwanted { .. } | Effect::Event { .. } | Effect::Log { .. } => {}
            }
        }
        self.check();
    }

    fn settled(&mut self, number: JobNumber) {
        assert!(self.queue.is_settled(number));
        let view = self.queue.view(number, self.now, true).expect("what is settled is here");
        if self.is_durable() {
            match &self.disk[&number].1 {
                StoredState::Ended(end) => assert_eq!((end.status, &end.result), (view.status, &view.result)),
                StoredState::Open { .. } | StoredState::Begun { .. } => assert!(!view.status.is_ended(), "{view:?}"),
            }
        }
        if view.status.is_ended() {
            self.promises.get_mut(&number).unwrap().settled = Some((view.status, view.result));
        }
    }

    fn check(&self) {
        self.queue.check_invariants();
        for number in &self.refused {
            assert!(self.queue.view(*number, self.now, false).is_none(), "refused is gone");
        }
        for (number, promise) in &self.promises {
            let view = self.queue.view(*number, self.now, true).expect("nothing accepted is lost");
            let most = promise.attempts * (1 + promise.kicks) + promise.spared;
            assert!(view.attempt <= most, "{view:?} {promise:?}");
            assert!(promise.starts <= most, "{view:?} {promise:?}");
            if let Some(result) = &promise.result {
                assert_eq!(
                    (view.status, view.result.as_ref()),
                    (JobStatus::Ok, Some(result)),
                    "the first result stays"
                );
            }
            if let Some((status, result)) = &promise.settled {
                assert_eq!((view.status, &view.result), (*status, result), "what was said stays: {promise:?}");
            }
        }
    }

    fn pick(&self, nth: usize) -> Option<JobNumber> {
        let numbers: Vec<_> = self.submitted.keys().filter(|number| !self.refused.contains(number)).collect();
        (!numbers.is_empty()).then(|| *numbers[nth % numbers.len()])
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Submit { service, priority, delay, attempts, key } => {
                let submit = Submit {
                    priority,
                    delay: Duration::from_millis(delay),
                    attempts: Some(attempts),
                    key: key.map(|key| key.to_string()),
                    ..job(["a", "b", "c"][usize::from(service)])
                };
                let reference = key.map(|key| JobRef::Key(key.to_string()));
                let known = reference.as_ref().and_then(|key| self.queue.find(key));
                match self.queue.submit(submit, self.now) {
                    Ok(Submitted::New(number)) => {
                        assert_eq!(known, None);
                        assert!(self.submitted.insert(number, attempts).is_none(), "numbers are never reused");
                    }
                    Ok(Submitted::Known(number)) => assert_eq!(known, Some(number)),
                    Err(error) => assert!(error.retry && known.is_none(), "{error:?}"),
                }
            }
            Op::Start { nth, worker: by } => {
                let waiting: Vec<_> = self.queue.waiting().map(|(_, _, number)| number).collect();
                if let Some(number) = waiting.get(nth % waiting.len().max(1)) {
                    let order = self.queue.start(*number, &worker(by), self.now).expect("it waits");
                    self.promises.get_mut(number).expect("only what is accepted begins").starts += 1;
                    self.begun.push((order.attempt, worker(by)));
                }
            }
            Op::Finish { nth, how, other } => {
                if let Some((attempt, by)) = self.attempt(nth, other) {
                    self.finish(&attempt, &by, how);
                }
            }
            Op::TakenAway { nth } => {
                if let Some((attempt, _)) = self.attempt(nth, false) {
                    let number = self.queue.number(&attempt.job_id);
                    let view = number.and_then(|number| self.queue.view(number, self.now, false));
                    let runs = view.filter(|it| it.status == JobStatus::Running && it.attempt == attempt.attempt);
                    if let Some(view) = runs {
                        self.queue.taken_away(&attempt, "wanted elsewhere", self.now);
                        let number = number.expect("it was looked at");
                        let after = self.queue.view(number, self.now, false).expect("it is not lost");
                        assert!(!after.status.is_ended(), "no fault of the job: {view:?} {after:?}");
                        if let Some(promise) = self.promises.get_mut(&number) {
                            promise.spared += 1;
                        }
                    }
                }
            }
            Op::Lost { nth } => {
                if let Some((attempt, _)) = self.attempt(nth, false) {
                    self.queue.lost(&attempt, "gone", self.now);
                }
            }
            Op::Claim { nth, other } => {
                if let Some((attempt, by)) = self.attempt(nth, other) {
                    let runs = self.queue.claim(&attempt, &by, self.now);
                    let number = self.queue.number(&attempt.job_id);
                    let view = number.and_then(|number| self.queue.view(number, self.now, false));
                    let is = view.is_some_and(|view| {
                        view.status == JobStatus::Running
                            && view.attempt == attempt.attempt
                            && view.worker.as_ref().map(ServerId::as_str) == Some(by.as_str())
                    });
                    assert_eq!(runs, is, "claimed is running there");
                }
            }
            Op::Cancel { nth } => self.operate(nth, |queue, number, now| queue.cancel(number, now).is_ok()),
            Op::Bury { nth } => self.operate(nth, |queue, number, now| queue.bury(number, now).is_ok()),
            Op::Kick { nth } => self.operate(nth, |queue, number, now| queue.kick(number, now).is_ok()),
            Op::Disk { writes, well } => self.fate(writes, well),
            Op::Pass { ms } => {
                self.now = self.now + Duration::from_millis(ms);
                self.queue.tick(self.now);
            }
            Op::Crash { writes } if self.is_durable() => self.crash(writes),
            Op::Crash { .. } => {}
        }
        self.after_input();
    }

    fn attempt(&self, nth: usize, other: bool) -> Option<(Attempt, ServerId)> {
        let (attempt, by) = self.begun.iter().rev().nth(nth % self.begun.len().max(1))?.clone();
        Some((attempt, if other { worker(9) } else { by }))
    }

    fn finish(&mut self, attempt: &Attempt, by: &ServerId, how: u8) {
        self.results += 1;
        let result = Json::new(self.results.to_string()).unwrap();
        let outcome = match how {
            0 | 1 => Outcome::Ok(result.clone()),
            how => Outcome::Failed { detail: "x".to_owned(), result: None, retry: how == 2 },
        };
        let number = self.queue.number(&attempt.job_id);
        let view = number.and_then(|number| self.queue.view(number, self.now, false));
        // A crash may forget a kick that was never said to be done: attempts of its round then cannot have been begun.
        let forgotten = number.zip(view.as_ref()).is_some_and(|(number, view)| {
            let round = self.submitted.get(&number).copied().unwrap_or(1).max(1);
            number.boot() < self.boot && attempt.attempt > view.attempt.max(1).div_ceil(round) * round
        });
        let open = view.is_some_and(|view| !view.status.is_ended());
        let finish = self.queue.finish(attempt, by, outcome, self.now);
        match finish {
            Finish::Recorded(number) => {
                assert!(open, "what has ended takes no report");
                if how <= 1 {
                    let promise = self.promises.get_mut(&number).expect("it was accepted");
                    assert_eq!(promise.result.replace(result), None, "no second result");
                }
            }
            Finish::Late if how != 2 => assert!(!open || forgotten, "the first result of any attempt wins"),
            Finish::Late => {}
        }
    }

    /// Somebody cancels, buries or kicks a job; if that is done, what was said before holds no longer.
    fn operate(&mut self, nth: usize, act: impl FnOnce(&mut Queue, JobNumber, Time) -> bool) {
        let Some(number) = self.pick(nth) else { return };
        let before = self.queue.view(number, self.now, false).map(|view| view.status);
        if !act(&mut self.queue, number, self.now) {
            return;
        }
        let after = self.queue.view(number, self.now, false).map(|view| view.status);
        let promise = self.promises.get_mut(&number).expect("only what is accepted can be changed");
        if before != after {
            assert!(!matches!(before, Some(JobStatus::Ok | JobStatus::Cancelled)), "{before:?} is final");
            promise.settled = None;
            promise.kicks += u32::from(before == Some(JobStatus::Buried) && after == Some(JobStatus::Queued));
        }
    }

    fn fate(&mut self, writes: usize, well: bool) {
        let batch: Vec<_> = self.writes.drain(..writes.min(self.writes.len())).collect();
        let (Some((from, _)), Some((through, _))) = (batch.first().cloned(), batch.last().cloned()) else { return };
        if well {
            batch.into_iter().for_each(|(_, write)| self.store(write));
            self.queue.written(through, self.now);
        } else {
            self.queue.write_failed(from, through, "full", self.now);
        }
    }

    fn crash(&mut self, writes: usize) {
        for _ in 0..writes {
            // What failed is not there, so what comes after it in the order of tickets must do without it.
            let Some((_, write)) = self.writes.pop_front() else { break };
            self.store(write);
        }
        self.writes.clear();
        self.boot += 1;
        self.now = Time::ZERO;
        self.last = Ticket(0);
        (self.ill, self.slow) = (false, false);
        self.queue = Queue::new(self.config.clone(), &master(), self.boot);
        for (number, (spec, state)) in &self.disk {
            let (spec, state, age) = (spec.clone(), state.clone(), Duration::from_secs(3600));
            self.queue.restore(StoredJob { number: *number, spec, state, age, state_age: age }, self.now);
            // Its Put may have been durable without a word; then it is accepted all the same.
            let attempts = self.submitted[number];
            let promise = self.promises.entry(*number).or_insert(Promise { attempts, ..Promise::default() });
            (promise.starts, promise.result) = (0, None);
        }
        self.submitted.retain(|number, _| self.disk.contains_key(number));
        for (number, promise) in &mut self.promises {
            let stored = &self.disk.get(number).expect("nothing accepted is lost by a crash").1;
            match stored {
                StoredState::Ended(end) if end.status == JobStatus::Ok => promise.result = end.result.clone(),
                _ => {}
            }
        }
    }

    /// From now on the disk writes and the workers work: every job ends.
    fn heal(&mut self) {
        for _ in 0..10_000 {
            while !self.writes.is_empty() {
                self.fate(usize::MAX, true);
                self.after_input();
            }
            let waiting: Vec<_> = self.queue.waiting().map(|(_, _, number)| number).collect();
            for number in waiting {
                let order = self.queue.start(number, &worker(0), self.now).expect("it waits");
                self.promises.get_mut(&number).unwrap().starts += 1;
                self.begun.push((order.attempt.clone(), worker(0)));
                self.finish(&order.attempt, &worker(0), 0);
                self.after_input();
            }
            let counts = self.queue.counts();
            let open = counts.delayed + counts.queued + counts.running;
            if open == 0 && self.writes.is_empty() && self.promises.keys().all(|job| self.queue.is_settled(*job)) {
                return self.check_end();
            }
            if self.writes.is_empty() && self.queue.pending() == 0 {
                let due = self.queue.deadline().expect("what is open or owed has a deadline");
                self.now = self.now.max(due);
                self.queue.tick(self.now);
                self.after_input();
            }
        }
        panic!("jobs do not end: {:?}", self.queue.counts());
    }

    fn check_end(&self) {
        for (number, promise) in &self.promises {
            let (status, result) = promise.settled.as_ref().or(self.stored_end(*number).as_ref()).unwrap().clone();
            let view = self.queue.view(*number, self.now, false).unwrap();
            assert_eq!((view.status, view.result), (status, result));
        }
        assert!(self.queue.check_room_for_all(), "nothing is left of open jobs");
    }

    fn stored_end(&self, number: JobNumber) -> Option<(JobStatus, Option<Json>)> {
        match &self.disk.get(&number)?.1 {
            StoredState::Ended(end) => Some((end.status, end.result.clone())),
            StoredState::Open { .. } | StoredState::Begun { .. } => None,
        }
    }
}

impl Queue {
    /// Whether no job is open, by the counts of the parts.
    fn check_room_for_all(&self) -> bool {
        self.table.open() == 0 && self.pending() == 0 && self.running() == 0
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn nothing_accepted_is_lost_and_every_job_ends_once(
        durable in prop::bool::weighted(0.8),
        ops in prop::collection::vec(op(), 1..150),
    ) {
        let mut world = World::new(durable);
        for op in ops {
            world.step(op);
        }
        world.heal();
    }
}
