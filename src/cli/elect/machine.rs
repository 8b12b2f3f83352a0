//! A candidate: what `node elect` decides. `(input, now) -> outputs`, without clock, socket or process.

use std::collections::VecDeque;
use std::time::Duration;

use super::asks::{Ask, Asks, Goal, request};
use super::limits::Limits;
use super::timetable::Timetable;
use super::{Answer, End, Exit, Input, Moment, Output, Plan};
use crate::cli::exit;
use crate::core::HeldLease;
use crate::time::Time;
use crate::wire::{Address, Body, ErrorCode, Lease, LeaseAction};

/// How long a node lets a candidate wait for the lease; then it is asked again, or another one.
const WAIT: Duration = Duration::from_secs(4);

/// How long a node has for an answer that needs no waiting for the lease, with an election in between.
const ANSWER: Duration = Duration::from_secs(6);

/// How long a node has to say that it lives, before another one is asked as well.
const SILENCE: Duration = Duration::from_secs(2);

/// How long the release of a lease is tried before the process ends all the same.
const RELEASE: Duration = Duration::from_secs(3);

/// How old what is known of the members may be.
const MEMBERS_AGE: Duration = Duration::from_secs(30);

/// Longest wait for a tick at one go: the clock of the wall may be set meanwhile.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Parts of the TTL after which a silent node is passed over, and its bounds.
const HEDGES: u32 = 15;
const HEDGE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Signals that ask for an end, with the shell's numbers: HUP, INT, QUIT, TERM.
const ENDING: [i32; 4] = [1, 2, 3, 15];

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    plan: Plan,
    asks: Asks,
    phase: Phase,
    /// Names of the holder that were used up.
    tenure: u64,
    runs: u64,
    /// It was asked to end, and with which code it does.
    ending: Option<u8>,
    /// What was said last about waiting or trouble: nothing is said twice in a row.
    said: Option<String>,
    /// What the last node said that did not help.
    trouble: Option<String>,
    learnt_at: Option<Time>,
    /// How long the node that is asked for the lease may take to say that it is held.
    wait: Duration,
    outputs: VecDeque<Output>,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// ACQUIRE is pursued.
    Waiting,
    /// Granted by an answer that was long in coming: RENEW is pursued before anything is started.
    Confirming { fence: u64 },
    /// It holds the lease.
    Holding(Held),
    /// The lease is lost, and the tree of this run is not gone yet.
    Stopping { run: u64, fence: Option<u64>, backstop_at: Option<Time> },
    /// RELEASE is pursued; then the process ends with the code.
    Releasing { until: Time, code: u8 },
    /// The process ends.
    Over,
}

/// A lease that is held.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held {
    fence: u64,
    lease: HeldLease,
    /// The number of the run, while one runs.
    run: Option<u64>,
    table: Option<Timetable>,
    /// The tick that is being run, or claimed.
    tick: Option<u64>,
}

impl Candidate {
    /// A candidate that asks these nodes, at least one. It begins with the first [`Input::Wake`].
    pub(super) fn new(plan: Plan, nodes: Vec<Address>, now: Moment) -> Candidate {
        let mut candidate = Candidate {
            plan,
            asks: Asks::new(nodes),
            phase: Phase::Waiting,
            tenure: 0,
            runs: 0,
            ending: None,
            said: None,
            trouble: None,
            learnt_at: None,
            wait: Duration::ZERO,
            outputs: VecDeque::new(),
        };
        candidate.acquire(Duration::ZERO, now.at);
        candidate
    }

    /// One event.
    pub(super) fn handle(&mut self, input: Input, now: Moment) {
        match input {
            Input::Wake => {}
            Input::Answered { ask, answer } => self.answered(ask, answer, now),
            Input::Signal { signal, delivered } => self.signalled(signal, delivered, now),
            Input::Ended { run, end } => self.ended(run, end, now),
        }
        self.pass_time(now);
    }

    /// What is to be done next; drained after each event.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Wake`] is due at the latest.
    pub(super) fn deadline(&self, now: Moment) -> Option<Time> {
        let own = match &self.phase {
            Phase::Holding(held) => {
                let limits = Limits::of(&held.lease, self.plan.grace);
                let renewal = (!self.asks.pursues(Goal::Renew)).then(|| held.lease.renew_at());
                let tick = held.table.as_ref().filter(|_| held.tick.is_none()).map(|table| {
                    let wait = Duration::from_secs(table.next()).saturating_sub(now.unix);
                    now.at + wait.min(LOOK_AGAIN)
                });
                renewal.into_iter().chain(tick).chain([limits.term_at]).min()
            }
            Phase::Stopping { backstop_at, .. } => *backstop_at,
            Phase::Releasing { until, .. } => Some(*until),
            Phase::Waiting | Phase::Confirming { .. } | Phase::Over => None,
        };
        own.into_iter().chain(self.asks.deadline()).min()
    }

    /// The name under which the lease is asked for: another one after each grant, since what was asked under one name may be granted
    /// long after it was given up.
    fn holder(&self) -> String {
        format!("{}-{}", self.plan.holder, self.tenure)
    }

    fn pass_time(&mut self, now: Moment) {
        match &mut self.phase {
            Phase::Holding(held) => {
                let (fence, lease) = (held.fence, held.lease);
                if now.at >= Limits::of(&lease, self.plan.grace).term_at {
                    let why = self.trouble.take().unwrap_or_else(|| "no renewal was answered in time".to_owned());
                    self.lost(&why, false, now);
                } else {
                    if now.at >= lease.renew_at() && !self.asks.pursues(Goal::Renew) {
                        self.renew(fence, now.at);
                    }
                    self.look_at_timetable(now);
                }
            }
            Phase::Stopping { backstop_at, .. } if backstop_at.is_some_and(|at| at <= now.at) => {
                *backstop_at = None;
                self.outputs.push_back(Output::Kill);
            }
            Phase::Releasing { until, code } if *until <= now.at => {
                let code = *code;
                self.say(format!("`{}` could not be released; it is free when its time is over", self.plan.name));
                self.exit(code);
            }
            _ => {}
        }
        if self.phase != Phase::Over {
            let due = self.asks.due(now.at);
            self.outputs.extend(due.into_iter().map(Output::Ask));
        }
    }

    fn hedge(&self) -> Duration {
        (self.plan.ttl / HEDGES).clamp(HEDGE.0, HEDGE.1)
    }

    fn acquire(&mut self, wait: Duration, now: Time) {
        self.wait = wait;
        let action = LeaseAction::Acquire { holder: self.holder(), ttl: self.plan.ttl, wait };
        self.asks.pursue(Goal::Acquire, request(&self.plan.name, action), wait + SILENCE, wait + ANSWER, now);
    }

    fn renew(&mut self, fence: u64, now: Time) {
        let action = LeaseAction::Renew { holder: self.holder(), fence };
        let hedge = self.hedge();
        self.asks.pursue(Goal::Renew, request(&self.plan.name, action), hedge, hedge * 5, now);
    }

    fn release_action(&self, fence: u64) -> Body {
        request(&self.plan.name, LeaseAction::Release { holder: self.holder(), fence })
    }

    /// A tick that is due is claimed.
    fn look_at_timetable(&mut self, now: Moment) {
        let (holder, hedge) = (self.holder(), self.hedge());
        let Phase::Holding(held) = &mut self.phase else { return };
        let (Some(table), None, None) = (&mut held.table, held.tick, self.ending) else { return };
        let Some(tick) = table.due(now.unix.as_secs()) else { return };
        held.tick = Some(tick);
        let action = LeaseAction::Tick { holder, fence: held.fence, tick };
        self.asks.pursue(Goal::Tick(tick), request(&self.plan.name, action), hedge, hedge * 5, now.at);
    }

    fn answered(&mut self, number: u64, answer: Answer, now: Moment) {
        let Some(ask) = self.asks.answered(number) else { return };
        if ask.goal == Goal::Release && !matches!(self.phase, Phase::Releasing { .. }) {
            return;
        }
        match answer {
            Answer::Members(members) => self.asks.learn(members),
            // Who else could be asked is asked again some other time.
            Answer::Nothing(_) | Answer::Refused(..) if ask.goal == Goal::Members => {}
            Answer::Nothing(text) => {
                self.asks.trouble(&ask, now.at);
                self.in_trouble(text);
            }
            Answer::Refused(code, text) if !self.settled(&ask, &code, &text, now) => {
                self.asks.trouble(&ask, now.at);
                self.in_trouble(text);
            }
            Answer::Refused(..) => self.served(&ask.node, now),
            Answer::Lease(lease) => {
                self.served(&ask.node, now);
                self.granted(ask.goal, ask.sent, &lease, now);
            }
        }
    }

    /// The node is of use: it is asked first, and now and then who else could be.
    fn served(&mut self, node: &Address, now: Moment) {
        self.asks.prefer(node);
        self.trouble = None;
        if self.learnt_at.is_none_or(|at| now.at.since(at) >= MEMBERS_AGE) {
            self.learnt_at = Some(now.at);
            let question = self.asks.once(Goal::Members, Body::MembersQuestion, ANSWER, now.at);
            self.outputs.push_back(Output::Ask(question));
        }
    }

    fn in_trouble(&mut self, text: String) {
        if self.phase == Phase::Waiting {
            self.say_once(format!("{text}; trying on"));
        }
        self.trouble = Some(text);
    }

    /// Whether a refusal is an answer to what was asked; else another node may know better.
    fn settled(&mut self, ask: &Ask, code: &ErrorCode, text: &str, now: Moment) -> bool {
        let goal = ask.goal;
        match (goal, code) {
            (Goal::Acquire, ErrorCode::Held) if self.phase == Phase::Waiting => {
                self.say_once(format!("waiting: {text}"));
                // Who does not wait though it was asked to is asked politely.
                if !self.wait.is_zero() && now.at.since(ask.sent) < self.wait / 4 {
                    self.asks.trouble(ask, now.at);
                } else {
                    self.acquire(WAIT, now.at);
                }
            }
            (Goal::Acquire, ErrorCode::Held) => {}
            (_, ErrorCode::BadField | ErrorCode::MissingField) => {
                self.say(format!("error: {text}"));
                self.asks.settle(goal);
                match &self.phase {
                    Phase::Waiting | Phase::Releasing { .. } => self.exit(exit::FAILURE),
                    _ => self.lost(text, true, now),
                }
            }
            (Goal::Release, ErrorCode::Over) => self.released(),
            (Goal::Renew | Goal::Tick(_), ErrorCode::Over) => match &self.phase {
                Phase::Confirming { .. } => self.again(None, now),
                Phase::Holding(_) => self.lost(text, true, now),
                _ => {}
            },
            (Goal::Tick(tick), ErrorCode::Claimed) => {
                // Nobody but the holder claims. If the first answer was lost, the claim may have been agreed on all the same.
                let ours = self.asks.asked(goal) > 1;
                self.asks.settle(goal);
                if ours { self.run_tick(tick, now) } else { self.leave_tick(tick, now) }
            }
            _ => return false,
        }
        true
    }

    /// Good news about the lease.
    fn granted(&mut self, goal: Goal, sent: Time, lease: &Lease, now: Moment) {
        let ours = lease.holder.as_deref() == Some(self.holder().as_str());
        match (goal, &mut self.phase) {
            (Goal::Acquire, Phase::Waiting) if ours => {
                self.asks.settle(goal);
                let held = HeldLease::new(sent, lease.ttl);
                if now.at < held.renew_at() {
                    return self.hold(held, lease, now);
                }
                self.phase = Phase::Confirming { fence: lease.fence };
                self.renew(lease.fence, now.at);
            }
            (Goal::Renew, Phase::Confirming { fence }) if ours && lease.fence == *fence => {
                self.asks.settle(goal);
                let held = HeldLease::new(sent, lease.ttl);
                if now.at < held.renew_at() { self.hold(held, lease, now) } else { self.renew(lease.fence, now.at) }
            }
            (Goal::Renew, Phase::Holding(held)) if ours && lease.fence == held.fence => {
                held.lease.renewed(sent, lease.ttl, now.at);
                let (renewed, runs) = (held.lease, held.run.is_some());
                if now.at < renewed.renew_at() {
                    self.asks.settle(goal);
                }
                if runs {
                    self.outputs.push_back(Output::Extend(Limits::of(&renewed, self.plan.grace)));
                }
            }
            (Goal::Tick(tick), Phase::Holding(_)) if self.asks.pursues(goal) => {
                self.asks.settle(goal);
                self.run_tick(tick, now);
            }
            (Goal::Release, Phase::Releasing { .. }) => self.released(),
            _ => {}
        }
    }

    fn hold(&mut self, held: HeldLease, lease: &Lease, now: Moment) {
        if self.said.take().is_some() {
            self.say(format!("holds `{}` with fence {}", self.plan.name, lease.fence));
        }
        let unix = now.unix.as_secs();
        let table = self.plan.every.map(|(every, missed)| Timetable::new(every, missed, lease.tick, unix));
        if let (Some(table), Some((every, _))) = (&table, self.plan.every)
            && table.ahead(unix) > every
        {
            let ahead = table.ahead(unix);
            self.say(format!("the last tick was claimed by a clock that is {ahead} s ahead of this one; waiting for it"));
        }
        let is_table = table.is_some();
        self.phase = Phase::Holding(Held { fence: lease.fence, lease: held, run: None, table, tick: None });
        if !is_table {
            self.start(None, now);
        }
    }

    fn run_tick(&mut self, tick: u64, now: Moment) {
        let Phase::Holding(held) = &mut self.phase else { return };
        if let Some(table) = &mut held.table {
            table.claimed(tick, now.unix.as_secs());
        }
        self.start(Some(tick), now);
    }

    /// A tick that somebody else has claimed.
    fn leave_tick(&mut self, tick: u64, now: Moment) {
        let Phase::Holding(held) = &mut self.phase else { return };
        held.tick = None;
        if let Some(table) = &mut held.table {
            table.claimed(tick, now.unix.as_secs());
        }
        self.say(format!("tick {tick} was claimed by another; it is not run"));
    }

    fn start(&mut self, tick: Option<u64>, now: Moment) {
        let holder = self.holder();
        let Phase::Holding(held) = &mut self.phase else { return };
        let limits = Limits::of(&held.lease, self.plan.grace);
        if now.at >= limits.term_at {
            // What is left is no time to run in: the lease counts as lost in a moment.
            return;
        }
        self.runs += 1;
        held.run = Some(self.runs);
        let (run, fence) = (self.runs, held.fence);
        self.outputs.push_back(Output::Start { run, fence, holder, tick, limits });
    }

    /// The lease is not to be relied on any more. `at_once`: it may be somebody else's already.
    fn lost(&mut self, why: &str, at_once: bool, now: Moment) {
        let Phase::Holding(held) = &self.phase else { return };
        let (fence, run, limits) = (held.fence, held.run, Limits::of(&held.lease, self.plan.grace));
        let name = &self.plan.name;
        let text = match run {
            Some(_) => format!("lost `{name}` (fence {fence}): {why}; the command is stopped"),
            None => format!("lost `{name}` (fence {fence}): {why}"),
        };
        self.say(text);
        let Some(run) = run else { return self.again(Some(fence), now) };
        let kill_at = if at_once { now.at } else { limits.kill_at };
        self.asks.next_tenure();
        self.outputs.push_back(Output::Stop { kill_at });
        let backstop_at = if at_once { now.at + limits.backstop_at.since(limits.kill_at) } else { limits.backstop_at };
        // What is lost for certain needs no release.
        let fence = (!at_once).then_some(fence);
        self.phase = Phase::Stopping { run, fence, backstop_at: Some(backstop_at) };
    }

    /// Nothing runs any more, and the lease is given up: a candidate again, under another name. `fence`: the grant, where it may still be in force.
    fn again(&mut self, fence: Option<u64>, now: Moment) {
        if let (Some(fence), Some(code)) = (fence, self.ending) {
            return self.release(fence, code, now);
        }
        // Best effort: if it does not come through, the lease expires.
        let release = fence.map(|fence| self.release_action(fence));
        self.asks.next_tenure();
        if let Some(body) = release {
            let question = self.asks.once(Goal::Release, body, ANSWER, now.at);
            self.outputs.push_back(Output::Ask(question));
        }
        self.tenure += 1;
        if let Some(code) = self.ending {
            return self.exit(code);
        }
        self.phase = Phase::Waiting;
        self.acquire(Duration::ZERO, now.at);
    }

    fn ended(&mut self, run: u64, end: End, now: Moment) {
        match &mut self.phase {
            Phase::Stopping { run: stopping, fence, .. } if *stopping == run => {
                let fence = *fence;
                self.again(fence, now);
            }
            Phase::Holding(held) if held.run == Some(run) => {
                held.run = None;
                let (fence, tick) = (held.fence, held.tick.take());
                if let (Some(table), Some(tick)) = (&mut held.table, tick) {
                    table.claimed(tick, now.unix.as_secs());
                }
                self.ended_while_holding(fence, tick, end, now);
            }
            _ => {}
        }
    }

    fn ended_while_holding(&mut self, fence: u64, tick: Option<u64>, end: End, now: Moment) {
        let name = self.plan.name.clone();
        let what = tick.map_or_else(|| "the command".to_owned(), |tick| format!("tick {tick}"));
        match (end, tick) {
            (End::Stopped, _) => {
                self.say(format!("lost `{name}` (fence {fence}): no renewal was answered in time; {what} was stopped"));
                self.again(Some(fence), now);
            }
            (End::Itself(how), Some(_)) => {
                if how != Exit::Code(0) {
                    self.say(format!("{what}: {how}"));
                }
                self.end_if_asked(fence, now);
            }
            (End::Itself(how), None) => self.release(fence, how.code(), now),
            (End::GuardLost, Some(_)) => {
                self.say(format!("{what}: its guard process was lost, and it was stopped"));
                self.end_if_asked(fence, now);
            }
            (End::GuardLost, None) => {
                self.say("the guard process was lost, and the command was stopped".to_owned());
                self.again(Some(fence), now);
            }
            (End::NotStarted(why), _) => {
                self.say(format!("error: {what} could not be started: {why}"));
                self.release(fence, exit::FAILURE, now);
            }
        }
    }

    fn end_if_asked(&mut self, fence: u64, now: Moment) {
        if let Some(code) = self.ending {
            self.release(fence, code, now);
        }
    }

    fn signalled(&mut self, signal: i32, delivered: bool, now: Moment) {
        let code = ENDING.contains(&signal).then(|| Exit::Signal(signal).code());
        let (fence, runs) = match &self.phase {
            Phase::Holding(held) => (Some(held.fence), held.run.is_some()),
            Phase::Confirming { fence } => (Some(*fence), false),
            Phase::Stopping { .. } => (None, true),
            _ => (None, false),
        };
        if runs {
            // Whether and when the command ends is its own affair.
            self.ending = self.ending.or(code);
            if !delivered {
                self.outputs.push_back(Output::Pass(signal));
            }
            return;
        }
        let Some(code) = code else { return };
        match (&self.phase, fence) {
            // The second one does not wait for the release.
            (Phase::Releasing { code, .. }, _) => self.exit(*code),
            (_, Some(fence)) => self.release(fence, code, now),
            (_, None) => self.exit(code),
        }
    }

    fn release(&mut self, fence: u64, code: u8, now: Moment) {
        let (body, hedge) = (self.release_action(fence), self.hedge());
        self.asks.next_tenure();
        self.asks.pursue(Goal::Release, body, hedge * 5, ANSWER, now.at);
        self.phase = Phase::Releasing { until: now.at + RELEASE, code };
    }

    fn released(&mut self) {
        if let Phase::Releasing { code, .. } = self.phase {
            self.exit(code);
        }
    }

    fn exit(&mut self, code: u8) {
        self.phase = Phase::Over;
        self.asks.next_tenure();
        self.outputs.push_back(Output::Exit(code));
    }

    fn say(&mut self, text: String) {
        self.outputs.push_back(Output::Say(text));
    }

    fn say_once(&mut self, text: String) {
        if self.said.as_ref() != Some(&text) {
            self.said = Some(text.clone());
            self.say(text);
        }
    }
}
