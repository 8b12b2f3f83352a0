//! The candidate against scripts, and several of them against a model of the ledger, a network that loses, and guards.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::asks::Question;
use super::limits::{Limits, default_grace};
use super::machine::Candidate;
use super::{Answer, End, Exit, Input, Missed, Moment, Output, Plan};
use crate::time::Time;
use crate::wire::{Address, Body, ErrorCode, Lease, LeaseAction};

const TTL: Duration = Duration::from_secs(10);

fn at(ms: u64) -> Moment {
    Moment { at: Time::from_micros(ms * 1000), unix: Duration::from_secs(1_000_000) + Duration::from_millis(ms) }
}

fn plan(holder: &str, every: Option<u64>) -> Plan {
    Plan {
        name: "job".to_owned(),
        ttl: TTL,
        grace: default_grace(TTL),
        holder: holder.to_owned(),
        every: every.map(|every| (every, Missed::Run)),
    }
}

/// A candidate at one node, and what it did.
struct Bench {
    candidate: Candidate,
    questions: Vec<Question>,
    others: Vec<Output>,
}

impl Bench {
    fn new(every: Option<u64>, nodes: &[&str]) -> Bench {
        let nodes = nodes.iter().map(|node| node.parse().unwrap()).collect();
        let candidate = Candidate::new(plan("me", every), nodes, at(0));
        let mut bench = Bench { candidate, questions: Vec::new(), others: Vec::new() };
        bench.tell(Input::Wake, 0);
        bench
    }

    fn tell(&mut self, input: Input, ms: u64) {
        self.candidate.handle(input, at(ms));
        while let Some(output) = self.candidate.poll_output() {
            match output {
                Output::Ask(question) => self.questions.push(question),
                other => self.others.push(other),
            }
        }
    }

    /// What was asked about the lease since the last call, and the numbers.
    fn asked(&mut self) -> Vec<(u64, LeaseAction)> {
        let questions = std::mem::take(&mut self.questions).into_iter();
        questions
            .filter_map(|question| match question.body {
                Body::Lease(request) => Some((question.ask, request.action)),
                _ => None,
            })
            .collect()
    }

    fn asked_one(&mut self) -> (u64, LeaseAction) {
        let mut asked = self.asked();
        assert_eq!(asked.len(), 1, "{asked:?}");
        asked.remove(0)
    }

    fn answer(&mut self, ask: u64, answer: Answer, ms: u64) {
        self.tell(Input::Answered { ask, answer }, ms);
    }

    fn others(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.others).into_iter().filter(|it| !matches!(it, Output::Say(_))).collect()
    }

    fn said(&self) -> Vec<&str> {
        self.others
            .iter()
            .filter_map(|it| if let Output::Say(text) = it { Some(text.as_str()) } else { None })
            .collect()
    }

    /// Held from 0 on, with fence 7, the command being run.
    fn running() -> Bench {
        let mut bench = Bench::new(None, &["a:1"]);
        let (ask, _) = bench.asked_one();
        bench.answer(ask, lease("me-0", 7, 0), 1);
        assert!(matches!(bench.others()[..], [Output::Start { run: 1, fence: 7, tick: None, .. }]));
        bench
    }

    fn deadline(&self, ms: u64) -> u64 {
        self.candidate.deadline(at(ms)).map_or(u64::MAX, |at| at.as_micros().div_ceil(1000))
    }
}

fn lease(holder: &str, fence: u64, tick: u64) -> Answer {
    Answer::Lease(Lease { name: "job".to_owned(), holder: Some(holder.to_owned()), fence, ttl: TTL, tick })
}

fn refused(code: ErrorCode) -> Answer {
    Answer::Refused(code, "why".to_owned())
}

fn nothing() -> Answer {
    Answer::Nothing("nobody listens".to_owned())
}

#[test]
fn who_waits_says_once_for_whom_and_waits_at_the_node() {
    let mut bench = Bench::new(None, &["a:1"]);
    let (ask, action) = bench.asked_one();
    assert_eq!(action, LeaseAction::Acquire { holder: "me-0".to_owned(), ttl: TTL, wait: Duration::ZERO });
    bench.answer(ask, refused(ErrorCode::Held), 5);
    for round in 0..3 {
        let (ask, action) = bench.asked_one();
        assert!(matches!(action, LeaseAction::Acquire { ref holder, wait, .. } if holder == "me-0" && !wait.is_zero()));
        bench.answer(ask, refused(ErrorCode::Held), 4000 * (round + 1));
    }
    assert_eq!(bench.said(), ["waiting: why"]);
    // One that does not wait at all is not asked in a circle.
    let (ask, _) = bench.asked_one();
    bench.answer(ask, refused(ErrorCode::Held), 12_001);
    assert_eq!(bench.asked(), []);
    assert!(bench.deadline(12_001) >= 12_400);
    bench.tell(Input::Signal { signal: 2, delivered: false }, 12_002);
    assert_eq!(bench.others(), [Output::Exit(130)]);
}

#[test]
fn a_grant_that_was_long_in_coming_is_renewed_before_anything_is_started() {
    let mut bench = Bench::new(None, &["a:1"]);
    let (ask, _) = bench.asked_one();
    bench.answer(ask, lease("me-0", 7, 0), 9000);
    let (ask, action) = bench.asked_one();
    assert_eq!((action, bench.others()), (LeaseAction::Renew { holder: "me-0".to_owned(), fence: 7 }, vec![]));
    bench.answer(ask, lease("me-0", 7, 0), 9100);
    let [Output::Start { limits, .. }] = bench.others()[..] else { panic!("it is not started") };
    assert_eq!(limits.kill_at, at(9000 + 7500).at, "from when the renewal was sent");
}

#[test]
fn renewals_go_to_one_node_after_another_under_the_same_holder_and_fence() {
    let mut bench = Bench::new(None, &["a:1", "b:2"]);
    let (ask, _) = bench.asked_one();
    bench.answer(ask, lease("me-0", 7, 0), 1);
    bench.others();
    bench.tell(Input::Wake, 3334);
    let (first, _) = bench.asked_one();
    bench.answer(first, nothing(), 3340);
    let (second, action) = bench.asked_one();
    assert_eq!(action, LeaseAction::Renew { holder: "me-0".to_owned(), fence: 7 });
    bench.answer(second, refused(ErrorCode::NoLeader), 3350);
    assert_eq!(bench.asked(), [], "a pause after a round");
    bench.tell(Input::Wake, bench.deadline(3350));
    let (third, _) = bench.asked_one();
    bench.answer(third, lease("me-0", 7, 0), 4500);
    let [Output::Extend(limits)] = bench.others()[..] else { panic!("it is not extended") };
    assert!(limits.kill_at > at(3350 + 7500).at && limits.kill_at <= at(4500 + 7500).at);
    assert!(bench.said().is_empty(), "{:?}", bench.said());
}

#[test]
fn when_nobody_answers_the_command_is_stopped_killed_and_asked_for_anew_under_another_name() {
    let mut bench = Bench::running();
    let mut now = 1;
    let stopped = loop {
        now = bench.deadline(now).max(now);
        bench.tell(Input::Wake, now);
        for (ask, _) in bench.asked() {
            bench.answer(ask, refused(ErrorCode::NoQuorum), now);
        }
        if let [Output::Stop { kill_at }] = bench.others()[..] {
            break kill_at;
        }
    };
    assert_eq!((now, stopped), (6500, at(7500).at));
    assert_eq!(bench.deadline(now), 7750);
    bench.tell(Input::Wake, 7750);
    assert_eq!(bench.others(), [Output::Kill]);
    bench.tell(Input::Ended { run: 1, end: End::Stopped }, 7760);
    let asked: Vec<LeaseAction> = bench.asked().into_iter().map(|(_, action)| action).collect();
    assert_eq!(asked[0], LeaseAction::Release { holder: "me-0".to_owned(), fence: 7 });
    assert!(matches!(&asked[1], LeaseAction::Acquire { holder, .. } if holder == "me-1"), "{asked:?}");
}

#[test]
fn a_grant_that_is_over_is_killed_at_once() {
    let mut bench = Bench::running();
    bench.tell(Input::Wake, 3334);
    let (ask, _) = bench.asked_one();
    bench.answer(ask, refused(ErrorCode::Over), 3400);
    assert_eq!(bench.others(), [Output::Stop { kill_at: at(3400).at }]);
    // A late answer to another renewal changes nothing.
    bench.answer(ask, lease("me-0", 7, 0), 3401);
    bench.tell(Input::Ended { run: 1, end: End::Stopped }, 3410);
    assert!(matches!(&bench.asked()[..], [(_, LeaseAction::Acquire { holder, .. })] if holder == "me-1"));
}

#[test]
fn the_end_of_the_command_releases_and_its_code_passes() {
    for (end, code) in [(Exit::Code(3), 3), (Exit::Signal(9), 137)] {
        let mut bench = Bench::running();
        bench.tell(Input::Signal { signal: 10, delivered: false }, 10);
        bench.tell(Input::Signal { signal: 15, delivered: true }, 11);
        assert_eq!(bench.others(), [Output::Pass(10)], "what the terminal has delivered is not passed on");
        bench.tell(Input::Ended { run: 1, end: End::Itself(end) }, 20);
        let (ask, action) = bench.asked_one();
        assert_eq!(action, LeaseAction::Release { holder: "me-0".to_owned(), fence: 7 });
        assert_eq!(bench.others(), []);
        bench.answer(ask, refused(ErrorCode::Over), 30);
        assert_eq!(bench.others(), [Output::Exit(code)]);
    }
    // Where it cannot be released, it ends all the same.
    let mut bench = Bench::running();
    bench.tell(Input::Ended { run: 1, end: End::Itself(Exit::Code(0)) }, 20);
    let mut now = 20;
    while bench.others.is_empty() {
        for (ask, _) in bench.asked() {
            bench.answer(ask, nothing(), now);
        }
        now = bench.deadline(now).max(now);
        bench.tell(Input::Wake, now);
    }
    assert!((3000..3100).contains(&now), "{now}");
    assert_eq!(bench.others(), [Output::Exit(0)]);
}

#[test]
fn who_was_asked_to_end_does_not_wait_again() {
    let mut bench = Bench::running();
    bench.tell(Input::Signal { signal: 15, delivered: false }, 10);
    assert_eq!(bench.others(), [Output::Pass(15)]);
    bench.tell(Input::Ended { run: 1, end: End::GuardLost }, 20);
    let (ask, action) = bench.asked_one();
    assert!(matches!(action, LeaseAction::Release { .. }));
    bench.answer(ask, lease("me-0", 7, 0), 30);
    assert_eq!(bench.others(), [Output::Exit(143)]);
}

#[test]
fn a_tick_is_claimed_before_it_is_run_and_a_claim_whose_answer_was_lost_is_ours() {
    let mut bench = Bench::new(Some(5), &["a:1"]);
    let (ask, _) = bench.asked_one();
    bench.answer(ask, lease("me-0", 7, 0), 1);
    bench.tell(Input::Wake, 4999);
    assert!(matches!(bench.asked_one().1, LeaseAction::Renew { .. }), "no tick yet");
    bench.tell(Input::Wake, 5000);
    let tick = 1_000_005;
    let claims = |bench: &mut Bench| -> Vec<u64> {
        let asked = bench.asked();
        asked.iter().filter(|(_, it)| matches!(it, LeaseAction::Tick { tick: 1_000_005, .. })).map(|it| it.0).collect()
    };
    let [first] = claims(&mut bench)[..] else { panic!("it is not claimed") };
    assert_eq!(bench.others(), [], "not before it is claimed");
    bench.answer(first, nothing(), 5010);
    bench.tell(Input::Wake, bench.deadline(5010));
    let second = std::iter::from_fn(|| {
        let found = claims(&mut bench).first().copied();
        bench.tell(Input::Wake, bench.deadline(5510));
        Some(found)
    });
    let second = second.take(20).flatten().next().expect("it is asked again");
    bench.answer(second, refused(ErrorCode::Claimed), 5600);
    assert!(matches!(bench.others()[..], [Output::Start { tick: Some(it), .. }] if it == tick));
    bench.tell(Input::Ended { run: 1, end: End::Itself(Exit::Code(1)) }, 5700);
    assert!(bench.said().iter().any(|text| text.contains("exit code 1")), "{:?}", bench.said());
    bench.tell(Input::Wake, 6000);
    assert!(bench.others().is_empty() && claims(&mut bench).is_empty(), "it is not run again");
}

#[test]
fn of_two_answers_about_a_tick_the_second_changes_nothing() {
    let mut bench = Bench::new(Some(5), &["a:1", "b:2"]);
    let (ask, _) = bench.asked_one();
    bench.answer(ask, lease("me-0", 7, 0), 1);
    for now in [5000, 5667] {
        bench.tell(Input::Wake, now);
    }
    let asked = bench.asked();
    let claims: Vec<u64> =
        asked.iter().filter(|(_, it)| matches!(it, LeaseAction::Tick { .. })).map(|(ask, _)| *ask).collect();
    let [first, second] = claims[..] else { panic!("both nodes are asked: {asked:?}") };
    bench.answer(first, lease("me-0", 7, 1_000_005), 5700);
    assert!(matches!(bench.others()[..], [Output::Start { run: 1, .. }]));
    bench.answer(second, refused(ErrorCode::Claimed), 5710);
    bench.tell(Input::Wake, 6000);
    assert!(bench.others().is_empty() && bench.said().is_empty());
    bench.tell(Input::Ended { run: 1, end: End::Itself(Exit::Code(4)) }, 6100);
    assert_eq!(bench.said(), ["tick 1000005: exit code 4"], "and the timetable goes on");
}

#[test]
fn a_tick_that_another_has_claimed_is_left() {
    let mut bench = Bench::new(Some(5), &["a:1"]);
    let (ask, _) = bench.asked_one();
    bench.answer(ask, lease("me-0", 7, 0), 1);
    bench.tell(Input::Wake, 5000);
    let (ask, _) = bench.asked().into_iter().find(|(_, it)| matches!(it, LeaseAction::Tick { .. })).unwrap();
    bench.answer(ask, refused(ErrorCode::Claimed), 5010);
    assert_eq!(bench.others(), []);
    bench.tell(Input::Signal { signal: 15, delivered: false }, 5020);
    let (ask, action) = bench.asked().pop().unwrap();
    assert!(matches!(action, LeaseAction::Release { .. }));
    bench.answer(ask, lease("me-0", 7, 1_000_005), 5030);
    assert_eq!(bench.others(), [Output::Exit(143)]);
}

/// What may happen to the two of a round: the network of each loses everything or nothing, the command ends, the guard dies, the machine
/// stands still for a while.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Cut(usize, bool),
    Ends(usize),
    GuardDies(usize),
    Pause(usize, u64),
    Time(u64),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        2 => (0..3usize, any::<bool>()).prop_map(|(who, cut)| Fate::Cut(who, cut)),
        1 => (0..3usize).prop_map(Fate::Ends),
        1 => (0..3usize).prop_map(Fate::GuardDies),
        1 => (0..3usize, 0..30_000u64).prop_map(|(who, pause)| Fate::Pause(who, pause)),
        5 => (0..8_000u64).prop_map(Fate::Time),
    ]
}

/// One candidate of the model, with its guard.
struct Actor {
    candidate: Candidate,
    /// Number, fence, and until when the guard lets it run.
    runs: Option<(u64, u64, Limits)>,
    cut: bool,
    /// It does nothing before that.
    paused: u64,
    over: bool,
}

/// Three candidates and a ledger that counts a lease from when it answers.
struct Model {
    now: u64,
    actors: Vec<Actor>,
    lease: Option<(String, u64, u64)>,
    fences: u64,
    /// What is on its way: when it is there, to whom, what.
    mail: BTreeMap<(u64, u64), (usize, Input)>,
    letters: u64,
    delay: u64,
    starts: Vec<u64>,
}

impl Model {
    fn new(delay: u64) -> Model {
        let nodes: Vec<Address> = vec!["a:1".parse().unwrap(), "b:2".parse().unwrap()];
        let actor = |nth: usize| Actor {
            candidate: Candidate::new(plan(&format!("c{nth}"), None), nodes.clone(), at(0)),
            runs: None,
            cut: false,
            paused: 0,
            over: false,
        };
        let actors = (0..3).map(actor).collect();
        let mail = BTreeMap::new();
        Model { now: 0, actors, lease: None, fences: 0, mail, letters: 0, delay, starts: Vec::new() }
    }

    fn post(&mut self, who: usize, input: Input, delay: u64) {
        self.letters += 1;
        self.mail.insert((self.now + delay, self.letters), (who, input));
    }

    fn tell(&mut self, who: usize, input: Input) {
        if self.actors[who].over {
            return;
        }
        self.actors[who].candidate.handle(input, at(self.now));
        while let Some(output) = self.actors[who].candidate.poll_output() {
            match output {
                Output::Ask(question) => self.asked(who, &question),
                Output::Start { run, fence, limits, .. } => {
                    let running = self.actors.iter().filter(|actor| actor.runs.is_some()).count();
                    assert_eq!(running, 0, "two run at {}", self.now);
                    assert!(self.starts.last().is_none_or(|last| *last < fence), "fences do not grow");
                    self.starts.push(fence);
                    self.actors[who].runs = Some((run, fence, limits));
                }
                Output::Extend(limits) => {
                    if let Some(runs) = &mut self.actors[who].runs {
                        runs.2 = limits;
                    }
                }
                Output::Stop { kill_at } => {
                    if let Some(runs) = &mut self.actors[who].runs {
                        runs.2.kill_at = runs.2.kill_at.min(kill_at);
                    }
                }
                Output::Kill => self.end(who, End::Stopped),
                Output::Exit(_) => self.actors[who].over = true,
                Output::Pass(_) | Output::Say(_) => {}
            }
        }
    }

    fn end(&mut self, who: usize, end: End) {
        if let Some((run, ..)) = self.actors[who].runs.take() {
            self.post(who, Input::Ended { run, end }, 0);
        }
    }

    fn asked(&mut self, who: usize, question: &Question) {
        let ask = question.ask;
        let Body::Lease(request) = &question.body else {
            return self.post(who, Input::Answered { ask, answer: Answer::Members(Vec::new()) }, self.delay);
        };
        // Half of the delay on the way there: what is cut is lost, in either direction.
        let answer = if self.actors[who].cut { nothing() } else { self.ledger(&request.action) };
        self.post(who, Input::Answered { ask, answer }, self.delay);
    }

    fn ledger(&mut self, action: &LeaseAction) -> Answer {
        let ends = self.now + TTL.as_millis() as u64;
        self.lease.take_if(|(_, _, ends)| *ends <= self.now);
        let held = |holder: &String, fence: u64, lease: &Option<(String, u64, u64)>| {
            lease.as_ref().is_some_and(|it| it.0 == *holder && it.1 == fence)
        };
        match action {
            LeaseAction::Acquire { holder, .. } => match &mut self.lease {
                Some(it) if it.0 != *holder => return refused(ErrorCode::Held),
                Some(it) => it.2 = ends,
                None => {
                    self.fences += 1;
                    self.lease = Some((holder.clone(), self.fences, ends));
                }
            },
            LeaseAction::Renew { holder, fence } if held(holder, *fence, &self.lease) => {
                if let Some(it) = &mut self.lease {
                    it.2 = ends;
                }
            }
            LeaseAction::Release { holder, fence } if held(holder, *fence, &self.lease) => {
                self.lease = None;
                return lease(holder, *fence, 0);
            }
            _ => return refused(ErrorCode::Over),
        }
        self.lease.as_ref().map_or_else(nothing, |it| lease(&it.0, it.1, 0))
    }

    /// Everything that happens until then, in its order. Guards go by the clock, whatever their candidates do.
    fn run_until(&mut self, until: u64) {
        loop {
            let mail = self.mail.keys().next().map(|(due, _)| *due);
            let guards = self.actors.iter().filter_map(|it| it.runs.map(|runs| runs.2.kill_at.as_micros() / 1000));
            let candidates = self.actors.iter().filter(|it| !it.over).filter_map(|it| {
                Some((it.candidate.deadline(at(self.now))?.as_micros().div_ceil(1000)).max(it.paused))
            });
            let next = guards.chain(candidates).chain(mail).min().unwrap_or(u64::MAX).max(self.now);
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            for who in 0..self.actors.len() {
                if self.actors[who].runs.is_some_and(|runs| runs.2.kill_at <= at(self.now).at) {
                    self.end(who, End::Stopped);
                }
            }
            let due: Vec<(u64, u64)> = self.mail.range(..=(self.now, u64::MAX)).map(|(key, _)| *key).collect();
            for key in due {
                let Some((who, input)) = self.mail.remove(&key) else { continue };
                let paused = self.actors[who].paused;
                if paused > self.now {
                    self.letters += 1;
                    self.mail.insert((paused, self.letters), (who, input));
                } else {
                    self.tell(who, input);
                }
            }
            for who in 0..self.actors.len() {
                let actor = &self.actors[who];
                if actor.paused <= self.now
                    && actor.candidate.deadline(at(self.now)).is_some_and(|due| due <= at(self.now).at)
                {
                    self.tell(who, Input::Wake);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// Whatever is cut, slow, paused, killed or ends: never do two commands run at one time, fences grow, and once all is well again somebody
    /// runs.
    #[test]
    fn one_command_at_a_time(delay in prop_oneof![0..400u64, 0..9_000u64], fates in proptest::collection::vec(fate(), 0..30)) {
        let mut model = Model::new(delay);
        for fate in fates {
            match fate {
                Fate::Cut(who, cut) => model.actors[who].cut = cut,
                Fate::Ends(who) if model.actors.iter().filter(|it| !it.over).count() > 1 => {
                    model.end(who, End::Itself(Exit::Code(0)));
                }
                Fate::Ends(_) => {}
                Fate::GuardDies(who) => model.end(who, End::GuardLost),
                Fate::Pause(who, pause) => model.actors[who].paused = model.now + pause,
                Fate::Time(ms) => model.run_until(model.now + ms),
            }
        }
        model.actors.iter_mut().for_each(|actor| actor.cut = false);
        model.delay = model.delay.min(400);
        model.run_until(model.now + 90_000);
        let alive = model.actors.iter().filter(|it| !it.over).count();
        prop_assert!(alive == 0 || model.actors.iter().any(|it| it.runs.is_some()), "nobody runs");
    }
}
