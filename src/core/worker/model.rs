//! The worker's machine, model checked: every order in which messages, cuts, ends of runs and deadlines can come.
//!
//! One worker with two slots; one native master with two jobs and another with one. Links are what TCP is: in order, and
//! a cut loses a suffix of what is under way in each direction; each end hears of the cut after it has read the rest.
//! Masters send again what a worker does not name, requeue what a worker that is away runs, and may stop a job. Time is
//! abstract: any deadline that is armed may come at any moment, so no outcome rests on how long something takes. What is left
//! of times, counters of failures and ids of links is made equal after each step, which makes the space finite.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use stateright::{Checker, Model, Property};

use super::masters::Masters;
use super::phases::{Line, Place, Source};
use super::session::Stage;
use super::{Effect, Worker};
use crate::core::patience::lost_after;
use crate::core::rng::Rng;
use crate::core::{LinkId, Outcome, RunId, WorkerConfig};
use crate::time::Time;
use crate::wire::{
    Address, Attempt, Body, JobId, JobOrder, JobStop, Json, ServerId, ServiceName, StatusAck, WorkerAlive,
    WorkerStatus, WorkerWelcome,
};

/// The only moment there is.
const NOW: Time = Time::from_micros(1_000_000_000_000);
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(6);
/// Later than now; when does not matter.
const LATER: Time = Time::from_micros(2_000_000_000_000);
const SLOTS: usize = 2;
/// Attempts of a job.
const ATTEMPTS: u32 = 2;

/// How much may go wrong.
struct Farm {
    /// Cuts of links.
    cuts: u8,
    /// Deadlines of the worker that make it give a master up.
    changes: u8,
    /// Jobs that masters stop.
    stops: u8,
    /// Times that the worker tells its master again what it holds.
    refreshes: u8,
    /// Times that it takes a link for dead on which an answer is still to come.
    suspicions: u8,
}

/// A job at its master.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Job {
    /// It waits; this attempt is the next.
    Queued(u32),
    /// The worker has this attempt.
    Sent(u32),
    /// A result was recorded.
    Done,
    /// It was stopped, or its attempts are used up.
    GivenUp,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Link {
    master: usize,
    /// The worker's end is open, or asked for.
    worker_end: bool,
    /// The master's end is open.
    master_end: bool,
    /// Nothing more is carried but what is under way.
    cut: bool,
    /// The master takes it as the worker's session.
    session: bool,
    up: VecDeque<Body>,
    down: VecDeque<Body>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    worker: Worker,
    masters: Vec<Vec<Job>>,
    links: Vec<Link>,
    /// What the executor runs, and for which master. What is stopped ends at once.
    runs: BTreeMap<RunId, usize>,
    started: BTreeSet<Attempt>,
    started_twice: bool,
    /// The master whose welcome the worker has read last.
    welcomed_by: Option<usize>,
    /// Something of another master ran then.
    for_two: bool,
    left: (u8, u8, u8, u8, u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Action {
    Accept(usize),
    ReadUp(usize),
    ReadDown(usize),
    Cut {
        link: usize,
        up: usize,
        down: usize,
    },
    WorkerHearsCut(usize),
    MasterHearsCut(usize),
    Finish(RunId),
    /// The worker calls again: after a drop, or after a round.
    Redial,
    Refresh,
    /// The worker takes its master for dead: no answer to the first ALIVE, or TIMEOUT.
    GiveUp,
    /// The worker takes its link for dead: no answer to a later ALIVE.
    Suspect,
    /// The master takes the worker for lost.
    Lose(usize),
    Stop {
        master: usize,
        job: usize,
    },
}

fn address(master: usize) -> Address {
    format!("10.0.0.{}:9101", master + 1).parse().unwrap()
}

fn attempt(master: usize, job: usize, attempt: u32) -> Attempt {
    Attempt { job_id: JobId::new(format!("m{master}-1-{job}")).unwrap(), attempt }
}

/// The master and the number of a job.
fn parts(attempt: &Attempt) -> (usize, usize) {
    let mut digits = attempt.job_id.as_str().chars().filter_map(|c| c.to_digit(10)).map(|digit| digit as usize);
    let (master, _, job) = (digits.next().unwrap(), digits.next(), digits.next().unwrap());
    (master, job)
}

impl World {
    fn new(farm: &Farm) -> World {
        let config = WorkerConfig { masters: vec![address(0), address(1)], slots: SLOTS as u32, grace: TIMEOUT };
        let me = ServerId::new("W").unwrap();
        let mut world = World {
            worker: Worker::new(config, me, "w".to_owned(), INTERVAL, TIMEOUT, 0, NOW),
            masters: vec![vec![Job::Queued(1); 2], vec![Job::Queued(1)]],
            links: Vec::new(),
            runs: BTreeMap::new(),
            started: BTreeSet::new(),
            started_twice: false,
            welcomed_by: None,
            for_two: false,
            left: (farm.cuts, farm.changes, farm.stops, farm.refreshes, farm.suspicions),
        };
        world.worker.tick(NOW);
        world.settle();
        world
    }

    fn worker_link(&self) -> LinkId {
        LinkId::of_worker(0)
    }

    fn session_of(&mut self, master: usize) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.master == master && link.session)
    }

    /// Carries out what the worker wants, and makes equal what does not matter.
    fn settle(&mut self) {
        self.worker.check_invariants();
        while let Some(effect) = self.worker.poll_effect() {
            match effect {
                Effect::Open { address: called, .. } => {
                    let master = (0..self.masters.len()).find(|master| address(*master) == called).unwrap();
                    assert!(self.links.iter().all(|link| !link.worker_end), "one session link at a time");
                    let (up, down) = (VecDeque::new(), VecDeque::new());
                    let ends = (true, false);
                    let link =
                        Link { master, worker_end: ends.0, master_end: ends.1, cut: false, session: false, up, down };
                    self.links.push(link);
                }
                Effect::Close { .. } => {
                    let link = self.links.iter_mut().find(|link| link.worker_end).unwrap();
                    (link.worker_end, link.cut) = (false, true);
                    link.down.clear();
                }
                Effect::Send { message, .. } => {
                    let link = self.links.iter_mut().find(|link| link.worker_end).unwrap();
                    if !link.cut {
                        link.up.push_back(message.body);
                    }
                }
                Effect::Start(run) => {
                    let attempt = run.attempt.expect("only jobs are ordered here");
                    let (master, _) = parts(&attempt);
                    self.started_twice |= !self.started.insert(attempt);
                    self.runs.insert(run.run, master);
                }
                Effect::StopRun { run } => {
                    self.runs.remove(&run).expect("only what runs is stopped, and once");
                    let outcome = Outcome::Failed { detail: String::new(), result: None, retry: true };
                    self.worker.finished(run, outcome, NOW);
                }
                Effect::Watch(_) | Effect::Unwatch(_) | Effect::Event { .. } => {}
                Effect::Decided { .. } | Effect::Log { .. } => {}
                Effect::Datagram { .. } | Effect::Drained => panic!("{effect:?}"),
            }
        }
        self.links.retain(|link| link.worker_end || link.master_end);
        self.forget_times();
    }

    fn forget_times(&mut self) {
        let worker = &mut self.worker;
        worker.rng = Rng::new(0);
        worker.next_link = 0;
        worker.explain(String::new());
        if let Source::List(Masters { rounds, .. }) = &mut worker.source {
            *rounds = 0;
        }
        let tie = match &mut worker.place {
            Place::Nowhere { due } => {
                *due = LATER;
                return;
            }
            Place::Tied(tie) => tie,
            place => panic!("{place:?}"),
        };
        (tie.contact, tie.drops, tie.unanswered, tie.said, tie.rtt) = (NOW, 0, 0, None, None);
        tie.away = tie.away.map(|_| NOW);
        match &mut tie.line {
            Line::Down { due } => *due = LATER,
            Line::Dialling { link, since } => (*link, *since) = (LinkId::of_worker(0), NOW),
            Line::Up { link, since, stage } => {
                (*link, *since) = (LinkId::of_worker(0), NOW);
                match stage {
                    Stage::Asked { until } => *until = LATER,
                    Stage::Native { refresh, asked } => (*refresh, *asked) = (LATER, asked.map(|_| LATER)),
                    stage => panic!("{stage:?}"),
                }
            }
        }
        if tie.link().is_some() {
            worker.next_link = 1;
        }
    }

    /// The deadline that makes the worker give its master up, brought to now. `false`: none is armed.
    fn bring_give_up(&mut self) -> bool {
        let Place::Tied(tie) = &mut self.worker.place else { return false };
        match &mut tie.line {
            Line::Up { stage: Stage::Asked { until }, .. } if !tie.joined => *until = NOW,
            _ if tie.joined && tie.away.is_some() => tie.away = Some(NOW - lost_after(TIMEOUT)),
            _ => return false,
        }
        true
    }

    fn may_give_up(&self) -> bool {
        let Place::Tied(tie) = &self.worker.place else { return false };
        match &tie.line {
            Line::Up { stage: Stage::Asked { .. }, .. } if !tie.joined => true,
            _ => tie.joined && tie.away.is_some() || self.may_suspect(),
        }
    }

    /// The deadline that makes the worker take its link for dead, brought to now. `false`: none is armed.
    fn bring_suspicion(&mut self) -> bool {
        let Place::Tied(tie) = &mut self.worker.place else { return false };
        match &mut tie.line {
            Line::Up { stage: Stage::Asked { until }, .. } if tie.joined => *until = NOW,
            Line::Up { stage: Stage::Native { asked: Some(late), .. }, .. } => *late = NOW,
            _ => return false,
        }
        true
    }

    fn may_suspect(&self) -> bool {
        self.clone().bring_suspicion()
    }

    fn may_redial(&self) -> bool {
        match &self.worker.place {
            Place::Nowhere { .. } => true,
            Place::Tied(tie) => matches!(tie.line, Line::Down { .. }),
            _ => false,
        }
    }

    fn may_refresh(&self) -> bool {
        let Place::Tied(tie) = &self.worker.place else { return false };
        matches!(tie.line, Line::Up { stage: Stage::Native { asked: None, .. }, .. })
    }

    fn bring_redial(&mut self) -> bool {
        match &mut self.worker.place {
            Place::Nowhere { due } => *due = NOW,
            Place::Tied(tie) => match &mut tie.line {
                Line::Down { due } => *due = NOW,
                _ => return false,
            },
            _ => return false,
        }
        true
    }

    fn bring_refresh(&mut self) -> bool {
        if let Place::Tied(tie) = &mut self.worker.place
            && let Line::Up { stage: Stage::Native { refresh, asked: None }, .. } = &mut tie.line
        {
            *refresh = NOW;
            return true;
        }
        false
    }

    /// What a master does with a line of a worker.
    fn master_reads(&mut self, at: usize) {
        let master = self.links[at].master;
        match self.links[at].up.pop_front().unwrap() {
            Body::WorkerAlive(alive) => {
                for (other, link) in self.links.iter_mut().enumerate() {
                    if link.master == master {
                        link.session = other == at;
                    }
                }
                self.welcome(at, &alive);
            }
            Body::WorkerStatus(status) => {
                let WorkerStatus { attempt: Some(named), ok, .. } = *status else { panic!("{status:?}") };
                let (owner, job) = parts(&named);
                assert_eq!(owner, master, "results go to the master that gave the job");
                let state = &mut self.masters[master][job];
                if *state == Job::Sent(named.attempt) {
                    *state = if ok { Job::Done } else { Job::next(named.attempt) };
                }
                let ack = StatusAck { worker: None, attempt: Some(named) };
                self.say(at, Body::StatusAck(Box::new(ack)));
                self.push_jobs(master);
            }
            body => panic!("{body:?}"),
        }
    }

    fn welcome(&mut self, at: usize, alive: &WorkerAlive) {
        let master = self.links[at].master;
        let named = &alive.native.as_ref().expect("a native worker says what it holds").jobs;
        let wanted = |one: &Attempt| {
            let (owner, job) = parts(one);
            owner == master && self.masters[master][job] == Job::Sent(one.attempt)
        };
        let drop = named.iter().filter(|one| !wanted(one)).cloned().collect();
        let server_id = ServerId::new(format!("M{master}")).unwrap();
        let name = format!("m{master}");
        let welcome = WorkerWelcome { server_id, name, timeout: TIMEOUT, failover: Vec::new(), drop, terms: None };
        let sent = self.masters[master].iter().enumerate().filter_map(|(job, state)| match state {
            Job::Sent(number) => Some(attempt(master, job, *number)),
            _ => None,
        });
        let missing: Vec<Attempt> = sent.filter(|one| !named.contains(one)).collect();
        self.say(at, Body::WorkerWelcome(Box::new(welcome)));
        for one in missing {
            self.say(at, order(one));
        }
        self.push_jobs(master);
    }

    fn push_jobs(&mut self, master: usize) {
        if self.session_of(master).is_none() {
            return;
        }
        for job in 0..self.masters[master].len() {
            let busy = self.masters[master].iter().filter(|state| matches!(state, Job::Sent(_))).count();
            if let (Job::Queued(number), true) = (self.masters[master][job], busy < SLOTS) {
                self.masters[master][job] = Job::Sent(number);
                let at = self.links.iter().position(|link| link.master == master && link.session).unwrap();
                self.say(at, order(attempt(master, job, number)));
            }
        }
    }

    fn say(&mut self, at: usize, body: Body) {
        if !self.links[at].cut {
            self.links[at].down.push_back(body);
        }
    }

    fn worker_reads(&mut self, at: usize) {
        let body = self.links[at].down.pop_front().unwrap();
        let welcome = matches!(body, Body::WorkerWelcome(_));
        let master = self.links[at].master;
        assert!(self.worker.message(self.worker_link(), None, body, NOW));
        self.settle();
        if welcome {
            self.welcomed_by = Some(master);
        }
        self.for_two |= self.runs.values().any(|master| Some(*master) != self.welcomed_by);
    }

    fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        for (at, link) in self.links.iter().enumerate() {
            if link.worker_end && !link.master_end && !link.cut {
                actions.push(Action::Accept(at));
            }
            if link.master_end && !link.up.is_empty() {
                actions.push(Action::ReadUp(at));
            }
            if link.worker_end && !link.down.is_empty() {
                actions.push(Action::ReadDown(at));
            }
            if link.worker_end && link.master_end && !link.cut && self.left.0 > 0 {
                for up in 0..=link.up.len() {
                    actions.extend((0..=link.down.len()).map(|down| Action::Cut { link: at, up, down }));
                }
            }
            if link.cut && link.worker_end && link.down.is_empty() {
                actions.push(Action::WorkerHearsCut(at));
            }
            if link.cut && link.master_end && link.up.is_empty() {
                actions.push(Action::MasterHearsCut(at));
            }
        }
        actions.extend(self.runs.keys().map(|run| Action::Finish(*run)));
        if self.may_redial() {
            actions.push(Action::Redial);
        }
        if self.left.3 > 0 && self.may_refresh() {
            actions.push(Action::Refresh);
        }
        if self.left.1 > 0 && self.may_give_up() {
            actions.push(Action::GiveUp);
        }
        if self.left.4 > 0 && self.may_suspect() {
            actions.push(Action::Suspect);
        }
        for (master, jobs) in self.masters.iter().enumerate() {
            let away = !self.links.iter().any(|link| link.master == master && link.session);
            for (job, state) in jobs.iter().enumerate() {
                if matches!(state, Job::Sent(_)) {
                    if away && !actions.contains(&Action::Lose(master)) {
                        actions.push(Action::Lose(master));
                    }
                    if !away && self.left.2 > 0 {
                        actions.push(Action::Stop { master, job });
                    }
                }
            }
        }
        actions
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Accept(at) => {
                self.links[at].master_end = true;
                self.worker.opened(self.worker_link(), NOW);
            }
            Action::ReadUp(at) => self.master_reads(at),
            Action::ReadDown(at) => self.worker_reads(at),
            Action::Cut { link, up, down } => {
                self.left.0 -= 1;
                let link = &mut self.links[link];
                link.cut = true;
                link.up.truncate(up);
                link.down.truncate(down);
            }
            Action::WorkerHearsCut(at) => {
                self.links[at].worker_end = false;
                self.worker.closed(self.worker_link(), "cut", NOW);
            }
            Action::MasterHearsCut(at) => {
                (self.links[at].master_end, self.links[at].session) = (false, false);
                self.links[at].down.clear();
                if self.links[at].worker_end {
                    // The worker has yet to hear of it.
                    self.links[at].cut = true;
                }
            }
            Action::Finish(run) => {
                self.runs.remove(&run);
                self.worker.finished(run, Outcome::Ok(Json::null()), NOW);
            }
            Action::Redial => {
                self.bring_redial();
                self.worker.tick(NOW);
            }
            Action::Refresh => {
                self.left.3 -= 1;
                self.bring_refresh();
                self.worker.tick(NOW);
            }
            Action::GiveUp => {
                self.left.1 -= 1;
                // Whoever is called anew does not answer either.
                if self.bring_suspicion() {
                    self.worker.tick(NOW);
                }
                self.bring_give_up();
                self.worker.tick(NOW);
            }
            Action::Suspect => {
                self.left.4 -= 1;
                self.bring_suspicion();
                self.worker.tick(NOW);
            }
            Action::Lose(master) => {
                for state in &mut self.masters[master] {
                    if let Job::Sent(number) = *state {
                        *state = Job::next(number);
                    }
                }
            }
            Action::Stop { master, job } => {
                self.left.2 -= 1;
                let Job::Sent(number) = self.masters[master][job] else { unreachable!() };
                self.masters[master][job] = Job::GivenUp;
                let at = self.links.iter().position(|link| link.master == master && link.session).unwrap();
                let stop = JobStop { attempt: attempt(master, job, number), reason: "cancelled".to_owned() };
                self.say(at, Body::JobStop(Box::new(stop)));
            }
        }
        self.settle();
    }

    /// From here on nothing goes wrong: everything is read, links are made, runs end. Whether then every result is
    /// acknowledged, nothing runs, and the master that has the worker has ended all its jobs.
    fn heals(&self) -> bool {
        let mut world = self.clone();
        world.left = (0, 0, 0, 1, 0);
        for _ in 0..200 {
            let actions = world.actions();
            let useful = |action: &&Action| !matches!(action, Action::Refresh | Action::Lose(_));
            // A master that read an old link's ALIVE last has lost sight of the new link until the next refresh.
            let Some(action) = actions.iter().find(useful).or(actions.iter().find(|one| **one == Action::Refresh))
            else {
                break;
            };
            world.act(action.clone());
        }
        let Place::Tied(tie) = &world.worker.place else { return false };
        let master = (0..world.masters.len()).find(|master| address(*master) == tie.address).unwrap();
        let ended = |state: &Job| matches!(state, Job::Done | Job::GivenUp);
        tie.joined
            && world.runs.is_empty()
            && world.worker.jobs.is_idle()
            && world.masters[master].iter().all(ended)
            && world.links.len() == 1
    }
}

impl Job {
    /// After an attempt that came to nothing.
    fn next(attempt: u32) -> Job {
        if attempt < ATTEMPTS { Job::Queued(attempt + 1) } else { Job::GivenUp }
    }
}

fn order(attempt: Attempt) -> Body {
    let (service, method) = (ServiceName::new("sleep").unwrap(), ServiceName::run());
    let (params, timeout) = (Json::null(), TIMEOUT);
    Body::Job(JobOrder { attempt, call: false, service, method, params, timeout, output: false }.into())
}

impl Model for Farm {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend(world.actions());
    }

    fn next_state(&self, world: &World, action: Action) -> Option<World> {
        let mut next = world.clone();
        next.act(action);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Farm>> {
        vec![
            Property::always("no attempt is started twice", |_, world: &World| !world.started_twice),
            Property::always("never more than the slots run", |_, world: &World| world.runs.len() <= SLOTS),
            Property::always("never the work of two masters", |_, world: &World| !world.for_two),
            Property::always("every result is acknowledged, or its attempt was given up", |_, world: &World| {
                world.heals()
            }),
            Property::sometimes("all jobs of one master are done", |_, world: &World| {
                world.masters.iter().any(|jobs| jobs.iter().all(|state| *state == Job::Done))
            }),
            Property::sometimes("a job runs while its link is gone", |farm: &Farm, world: &World| {
                farm.cuts == 0
                    || (!world.runs.is_empty() && !world.links.iter().any(|link| link.worker_end && link.master_end))
            }),
            Property::sometimes("a second attempt is begun", |farm: &Farm, world: &World| {
                farm.cuts == 0 || world.started.iter().any(|attempt| attempt.attempt == 2)
            }),
            Property::sometimes(
                "another master takes the worker after it began a job",
                |farm: &Farm, world: &World| {
                    farm.changes == 0 || (world.welcomed_by == Some(1) && !world.started.is_empty())
                },
            ),
        ]
    }
}

/// Checks the whole space, and tells its size.
fn check(farm: Farm) {
    let checker = farm.checker().spawn_bfs().join();
    println!(
        "{} states, {} with repetitions, depth {}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
}

#[test]
fn laws_hold_under_two_cuts() {
    check(Farm { cuts: 2, changes: 0, stops: 0, refreshes: 0, suspicions: 0 });
}

#[test]
fn laws_hold_under_a_cut_and_a_change_of_the_master() {
    check(Farm { cuts: 1, changes: 1, stops: 0, refreshes: 0, suspicions: 0 });
}

#[test]
fn laws_hold_when_the_first_master_takes_the_worker_back() {
    check(Farm { cuts: 0, changes: 2, stops: 0, refreshes: 2, suspicions: 0 });
}

#[test]
fn laws_hold_under_a_cut_a_change_a_refresh_and_a_stop() {
    check(Farm { cuts: 1, changes: 1, stops: 1, refreshes: 1, suspicions: 0 });
}

#[test]
fn laws_hold_when_the_worker_leaves_links_that_stand() {
    check(Farm { cuts: 1, changes: 0, stops: 0, refreshes: 1, suspicions: 2 });
}
