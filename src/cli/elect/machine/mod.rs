//! A candidate: what `node elect` decides. `(input, now) -> outputs`, without clock, socket or process.
//!
//! ```text
//!                granted, and confirmed if that took long        the command ends
//!   Waiting ────────────────────────────────────────> Holding ──────────────────> Releasing ──> Over
//!      ^                                                 │ no renewal in time, OVER
//!      └── another name ── Stopping (until all are gone) <┘
//! ```

mod answers;
mod ends;

use std::collections::VecDeque;
use std::time::Duration;

use super::asks::{Asks, Goal, request};
use super::limits::Limits;
use super::timetable::Timetable;
use super::{Input, Moment, Output, Plan};
use crate::core::HeldLease;
use crate::time::Time;
use crate::wire::{Address, Body, LeaseAction};

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
        let (Some(table), None, None, None) = (&mut held.table, held.tick, held.run, self.ending) else { return };
        let Some(tick) = table.due(now.unix.as_secs()) else { return };
        held.tick = Some(tick);
        let action = LeaseAction::Tick { holder, fence: held.fence, tick };
        self.asks.pursue(Goal::Tick(tick), request(&self.plan.name, action), hedge, hedge * 5, now.at);
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
