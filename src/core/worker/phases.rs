//! The phases of a worker: finding a master, being tied to it while links come and go, draining.
//!
//! A tie begins when a master is chosen and ends when it is given up, however many links it takes. Before the master has
//! taken the worker, the first failure ends it. Afterwards links may drop: the same master is called again, at once and
//! then at a fixed pace (a foreign one with backoff), until it is TIMEOUT.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::bond::Bond;
use super::discovery::{Discovery, Step};
use super::jobs::{Ended, Jobs, Task};
use super::masters::{Masters, Next, ROUND_FIRST, backoff};
use super::session::Stage;
use super::{Effect, Phase, Standing};
use crate::core::patience::{AGAIN, ANSWER, DIAL, lost_after};
use crate::core::rng::Rng;
use crate::core::{LinkId, LogLevel, Outcome, RunId, WorkerConfig};
use crate::time::{Seconds, Time};
use crate::wire::{
    Address, Body, Datagram, EventKind, JobOutput, Json, MAX_NAME_BYTES, MAX_QUOTE, Message, ServerId, ServiceOffer,
    Stream, quote,
};

/// How long one attempt to connect may take at most. A SYN is repeated after 1 s and 3 s.
const DIAL_WITHIN: Duration = Duration::from_secs(5);

/// A link that stood this long and then drops is followed by another at once. One that drops sooner, again and again,
/// is not, so that two programs that disagree do not spin.
const STEADY: Duration = Duration::from_secs(1);

/// Names of masters that a log line lists.
const MAX_LISTED: usize = 20;

/// Whose work is held.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Owner {
    /// A native master, wherever it is.
    Native(ServerId),
    /// Whoever is at this address.
    Foreign(Address),
}

/// Where masters come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Source {
    /// `--master`, and the failover list.
    List(Masters),
    /// None was configured.
    Discovery(Discovery),
}

/// Where the worker stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// With no master; the next is called then.
    Nowhere { due: Time },
    /// It looks for masters.
    Seeking,
    /// It has chosen one.
    Tied(Box<Tie>),
    /// It has drained.
    Gone,
}

/// A master that was chosen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Tie {
    pub(super) address: Address,
    /// The name under which it was elected.
    pub(super) elected: Option<String>,
    /// The election is still to be told.
    pub(super) tell_election: bool,
    pub(super) line: Line,
    /// Whether it has taken this worker, and so is its owner.
    pub(super) joined: bool,
    /// A link that closes before it has taken the worker is no failure yet: it was the election's.
    pub(super) spare: bool,
    /// The task is to be asked for on the next link: the master closed after it had noted ALIVE.
    pub(super) ask_task: bool,
    /// Users of the tasks that a foreign master has pushed on this link beside the one that runs, in their order.
    pub(super) pushed: VecDeque<Json>,
    /// ALIVE did not name all services, to keep its line short.
    pub(super) abridged: bool,
    /// When it last said something on a session link.
    pub(super) contact: Time,
    /// Since when a session is wanted and not had.
    pub(super) away: Option<Time>,
    /// Links that dropped in a row.
    pub(super) drops: u32,
    /// Links in a row on which its native master has answered nothing.
    pub(super) unanswered: u32,
    /// When the sign of life was said that is not answered yet.
    pub(super) said: Option<Time>,
    /// How long the last answer to one took; grows to at most the double with each.
    pub(super) rtt: Option<Duration>,
    /// Whether it is heartbeaten.
    pub(super) watched: bool,
    /// What its heartbeats say: `None` before the first answer.
    pub(super) beats: Option<bool>,
}

/// The link of a tie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Line {
    /// None; it is called then ([`Time::FAR`]: when the task is done).
    Down { due: Time },
    /// One was asked for, then.
    Dialling { link: LinkId, since: Time },
    /// It stands.
    Up { link: LinkId, since: Time, stage: Stage },
}

/// The worker's side. See the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::core) struct Worker {
    pub(super) me: ServerId,
    pub(super) name: String,
    pub(super) slots: u32,
    grace: Duration,
    pub(super) interval: Duration,
    timeout: Duration,
    /// Silence after which the native master counts this worker as lost, as it said.
    pub(super) patience: Duration,
    pub(super) services: Vec<ServiceOffer>,
    pub(super) jobs: Jobs,
    pub(super) owner: Option<Owner>,
    /// Whom it belongs to, which may be another.
    pub(super) bond: Bond,
    pub(super) source: Source,
    pub(super) place: Place,
    /// Where masters may call it, as far as it knows.
    pub(super) listens: Option<Address>,
    /// It drains, at most until then.
    pub(super) draining: Option<Time>,
    reason: String,
    pub(super) rng: Rng,
    pub(super) next_link: u64,
    effects: VecDeque<Effect>,
}

impl Worker {
    /// A worker that is to find its master at once. `name` is for people; `interval` and `timeout` are those of
    /// heartbeats; `seed` is the only source of chance.
    pub(in crate::core) fn new(
        config: WorkerConfig,
        server_id: ServerId,
        name: String,
        interval: Duration,
        timeout: Duration,
        seed: u64,
        now: Time,
    ) -> Worker {
        let source = match config.masters.as_slice() {
            [] => Source::Discovery(Discovery::new()),
            all => Source::List(Masters::new(all)),
        };
        Worker {
            jobs: Jobs::new(server_id.clone(), config.slots),
            me: server_id,
            name,
            slots: config.slots,
            grace: config.grace,
            interval,
            timeout,
            patience: timeout,
            services: Vec::new(),
            owner: None,
            bond: Bond::default(),
            source,
            place: Place::Nowhere { due: now },
            listens: None,
            draining: None,
            reason: "it has just started".to_owned(),
            rng: Rng::new(seed),
            next_link: 0,
            effects: VecDeque::new(),
        }
    }

    /// The next thing to do, until `None`.
    pub(in crate::core) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Worker::tick`] has something to do. `None`: nothing is due by itself.
    pub(in crate::core) fn deadline(&self) -> Option<Time> {
        let due = match &self.place {
            Place::Gone => return None,
            Place::Nowhere { due } => *due,
            Place::Seeking => match &self.source {
                Source::Discovery(discovery) => discovery.deadline(),
                Source::List(_) => Time::FAR,
            },
            Place::Tied(tie) => {
                let line = match &tie.line {
                    Line::Down { due } => *due,
                    Line::Dialling { .. } => Time::FAR,
                    Line::Up { stage, .. } => stage.deadline(),
                };
                line.min(self.timeout_due(tie))
            }
        };
        Some(due.min(self.draining.unwrap_or_else(|| self.bond.deadline()))).filter(|due| *due < Time::FAR)
    }

    /// Does what is due.
    pub(in crate::core) fn tick(&mut self, now: Time) {
        if let Some(until) = self.draining {
            if self.jobs.is_idle() {
                return self.leave("nothing runs, and every result is acknowledged");
            }
            if until <= now {
                return self.leave("the time to finish is over");
            }
        }
        self.tick_bond(now);
        while self.deadline().is_some_and(|due| due <= now) {
            if self.tick_bond(now) {
                continue;
            }
            match &self.place {
                Place::Gone => return,
                Place::Nowhere { .. } => self.call_next(now),
                Place::Seeking => self.seek(now),
                Place::Tied(tie) => {
                    if self.timeout_due(tie) <= now {
                        let silent = now.since(tie.away.unwrap_or(tie.contact));
                        self.give_up(&format!("is TIMEOUT: no contact for {} s", Seconds(silent)), now);
                    } else if let Line::Down { .. } = tie.line {
                        self.dial(now);
                    } else {
                        self.session_tick(now);
                    }
                }
            }
        }
    }

    /// Masters may call this worker there from now on; `None`: nowhere. Told before the links on which that is said are opened.
    pub(in crate::core) fn listens_at(&mut self, address: Option<Address>) {
        self.listens = address;
    }

    /// The master that it is with, and the session link to it, where one stands.
    pub(in crate::core) fn master(&self) -> Option<(&Address, Option<LinkId>)> {
        match &self.place {
            Place::Tied(tie) => Some((&tie.address, tie.link())),
            _ => None,
        }
    }

    /// A session link stands.
    pub(in crate::core) fn opened(&mut self, link: LinkId, now: Time) {
        if let Some(tie) = self.tie_of(link) {
            tie.line = Line::Up { link, since: now, stage: Stage::Fresh };
            self.open_session(link, now);
            self.tick(now);
        }
    }

    /// A session link could not be made.
    pub(in crate::core) fn refused(&mut self, link: LinkId, reason: &str, now: Time) {
        let Some(tie) = self.tie_of(link) else { return };
        let line = std::mem::replace(&mut tie.line, Line::Down { due: Time::FAR });
        let joined = tie.joined;
        let reason = quote(reason, MAX_QUOTE);
        if joined {
            let since = if let Line::Dialling { since, .. } = line { since } else { now };
            self.redial_later(since, now);
            self.reason = format!("its master cannot be reached: {reason}");
        } else {
            self.give_up(&format!("cannot be reached: {reason}"), now);
        }
        self.tick(now);
    }

    /// A session link is gone.
    pub(in crate::core) fn closed(&mut self, link: LinkId, reason: &str, now: Time) {
        let steady = |since: Time| now.since(since) >= STEADY;
        let Some(tie) = self.tie_of(link) else { return };
        let line = std::mem::replace(&mut tie.line, Line::Down { due: Time::FAR });
        // As lines that a link took with it: its master gives them to somebody else.
        tie.pushed.clear();
        if let Line::Up { since, stage, .. } = line {
            if steady(since) {
                tie.drops = 0;
            }
            let (joined, spare) = (tie.joined, std::mem::take(&mut tie.spare));
            self.hang_up_calls(link);
            let reason = quote(reason, MAX_QUOTE);
            if let Stage::Registering { .. } = stage {
                // Many close instead of an answer.
                self.bond.has_registered();
                self.set_due(now);
            } else if joined {
                self.session_closed(stage, &reason, now);
            } else if spare {
                self.set_due(now);
            } else {
                self.give_up(&format!("closed the link before it answered: {reason}"), now);
            }
        }
        self.tick(now);
    }

    /// Whether this is the session link, standing or asked for.
    pub(in crate::core) fn is_session(&self, link: LinkId) -> bool {
        match &self.place {
            Place::Tied(tie) => tie.link() == Some(link),
            _ => false,
        }
    }

    /// A datagram came. Only answers to a discovery that is on count.
    pub(in crate::core) fn datagram(&mut self, from: SocketAddr, datagram: Datagram, now: Time) {
        self.tick(now);
        if let (Place::Seeking, Source::Discovery(discovery), Datagram::Reply(offer)) =
            (&self.place, &mut self.source, datagram)
        {
            discovery.reply(offer, from);
        }
    }

    /// A run has ended.
    pub(in crate::core) fn finished(&mut self, run: RunId, outcome: Outcome, now: Time) {
        match self.jobs.finished(run, outcome) {
            Ended::Job(status) => {
                if let Some(link) = self.native_link() {
                    self.send(link, Body::WorkerStatus(status));
                }
            }
            Ended::Call(link, status) => self.send(link, Body::WorkerStatus(status)),
            Ended::Task => self.task_done(now),
            Ended::Nothing => {}
        }
        self.tick(now);
    }

    /// A run has printed something. Best effort: without a session it is lost.
    pub(in crate::core) fn printed(&mut self, run: RunId, stream: Stream, data: String, _now: Time) {
        let (Some(link), Some(attempt)) = (self.native_link(), self.jobs.attempt_of(run)) else { return };
        let output = JobOutput { job_id: attempt.job_id.clone(), attempt: attempt.attempt, stream, data };
        self.send(link, Body::JobOutput(Box::new(output)));
    }

    /// What can be run here is now this. A native master is told at once.
    pub(in crate::core) fn offers(&mut self, services: Vec<ServiceOffer>, now: Time) {
        if self.services != services {
            self.services = services;
            if let Some(tie) = self.tie() {
                // Where ALIVE was said and the welcome is on its way, it is told after that.
                tie.abridged = true;
            }
            self.refresh(now);
        }
    }

    /// The master at this address has answered a heartbeat.
    pub(in crate::core) fn master_alive(&mut self, address: &Address, now: Time) {
        if let Some(tie) = self.tie().filter(|tie| tie.address == *address && tie.watched) {
            tie.beats = Some(true);
        }
        self.renewed_by_life(address, now);
        self.tick(now);
    }

    /// The master at this address has not answered heartbeats for the timeout.
    pub(in crate::core) fn master_timeout(&mut self, address: &Address, now: Time) {
        let native = matches!(self.owner, Some(Owner::Native(_)));
        if let Some(tie) = self.tie().filter(|tie| tie.address == *address && tie.watched) {
            // A foreign master may answer no heartbeats where it serves workers: silence says nothing then.
            if native || tie.beats.is_some() {
                tie.beats = Some(false);
            }
        }
        self.tick(now);
    }

    /// Takes nothing new, goes on with what runs for at most the grace, then [`Effect::Drained`]. A second time: nothing.
    pub(in crate::core) fn drain(&mut self, now: Time) {
        if self.draining.is_none() && self.place != Place::Gone {
            self.draining = Some(now + self.grace);
            self.reason = "it was told to stop".to_owned();
            if !self.jobs.is_idle() {
                let (running, within) = (self.jobs.running(), Seconds(self.grace));
                self.log(LogLevel::Info, format!("draining: {running} still run; they have {within} s"));
                self.refresh(now);
            }
        } else if self.place != Place::Gone {
            // Told again: nothing is waited for any more.
            self.draining = Some(now);
        }
        self.tick(now);
    }

    /// How it stands, for people.
    pub(in crate::core) fn state(&self) -> Standing {
        let (phase, master) = match &self.place {
            Place::Gone => (Phase::Gone, None),
            Place::Seeking => (Phase::Discovering, None),
            Place::Nowhere { .. } => (Phase::Pausing, None),
            Place::Tied(tie) => {
                let up = matches!(tie.line, Line::Up { .. });
                let phase = match (tie.joined, up || tie.away.is_none()) {
                    (true, true) => Phase::Serving,
                    (true, false) => Phase::Away,
                    (false, _) => Phase::Connecting,
                };
                (phase, Some(tie.address.clone()))
            }
        };
        let draining = self.draining.is_some() && phase != Phase::Gone;
        let phase = if draining { Phase::Draining } else { phase };
        Standing { phase, master, running: self.jobs.running(), reason: self.reason.clone() }
    }

    /// Panics if the worker contradicts itself.
    pub(in crate::core) fn check_invariants(&self) {
        self.jobs.check_invariants();
        if self.jobs.holds_attempts() {
            assert!(matches!(self.owner, Some(Owner::Native(_))), "attempts are a native master's");
            assert!(self.jobs.task().is_none(), "never the work of two masters");
        }
        if self.jobs.task().is_some() {
            assert!(matches!(self.owner, Some(Owner::Foreign(_))), "a task is a foreign master's");
        }
        match &self.place {
            Place::Gone => assert!(self.jobs.is_idle()),
            Place::Seeking => assert!(matches!(self.source, Source::Discovery(_))),
            Place::Nowhere { .. } => {}
            Place::Tied(tie) => {
                if let Line::Up { stage, .. } = &tie.line {
                    assert!(*stage != Stage::Fresh, "on a link that stands, something was said");
                    assert!(tie.joined || !matches!(stage, Stage::Native { .. }));
                }
                assert!(!tie.joined || self.owner.is_some());
                assert!(tie.link().is_none_or(|link| link.0 % 4 == 3 && link.0 < self.next_link * 4));
            }
        }
    }

    pub(super) fn tie(&mut self) -> Option<&mut Tie> {
        match &mut self.place {
            Place::Tied(tie) => Some(tie),
            _ => None,
        }
    }

    fn tie_of(&mut self, link: LinkId) -> Option<&mut Tie> {
        self.tie().filter(|tie| tie.link() == Some(link))
    }

    /// When the master of the tie is TIMEOUT. Before it has taken the worker, other limits hold.
    fn timeout_due(&self, tie: &Tie) -> Time {
        match (tie.away, &tie.line) {
            _ if !tie.joined => Time::FAR,
            (Some(away), _) => away + self.stays(),
            (None, Line::Up { .. } | Line::Down { .. }) if tie.beats == Some(false) => tie.contact + self.stays(),
            _ => Time::FAR,
        }
    }

    /// How long a master may be silent before this worker turns to another. Who holds its jobs stays at least as long
    /// as it lets them be resumed: another master would have them stopped, and this one would have them done again.
    fn stays(&self) -> Duration {
        let holds = self.jobs.holds_attempts() && matches!(self.owner, Some(Owner::Native(_)));
        if holds { lost_after(self.timeout.max(self.patience)) } else { self.timeout }
    }

    /// Whether the master of the tie is the native one that owns what is held: the link to it is kept alive, and made
    /// anew soon (see [`crate::core::patience`]).
    pub(super) fn is_native_owner(&self) -> bool {
        matches!((&self.place, &self.owner), (Place::Tied(tie), Some(Owner::Native(_))) if tie.joined)
    }

    /// Calls the next master, or looks for one.
    fn call_next(&mut self, now: Time) {
        if let Some(address) = self.bond.next.take() {
            return self.choose(address, None, now);
        }
        match &mut self.source {
            Source::Discovery(discovery) => {
                discovery.begin(now);
                self.place = Place::Seeking;
            }
            Source::List(masters) => match masters.next(&mut self.rng) {
                Next::Call(address) => self.choose(address, None, now),
                Next::Pause(pause) => {
                    let text = format!("no master can be had; all are tried again in {} s", Seconds(pause));
                    self.log(LogLevel::Info, text);
                    self.place = Place::Nowhere { due: now + pause };
                }
            },
        }
    }

    fn seek(&mut self, now: Time) {
        let Source::Discovery(discovery) = &mut self.source else { return };
        match discovery.tick(now, &mut self.rng) {
            None => {}
            Some(Step::Ask { first }) => {
                if first {
                    self.log(LogLevel::Info, "DISCOVERY: looking for masters for 3 s".to_owned());
                    self.reason = "it looks for a master".to_owned();
                }
                let datagram = Datagram::Discovery { worker: self.me.clone() };
                self.effects.push_back(Effect::Datagram { to: None, datagram });
            }
            Some(Step::Nobody { pause }) => {
                let text = format!("NO_MASTER_FOUND: nobody answered; discovery again in {} s", Seconds(pause));
                self.log(LogLevel::Warn, text);
                self.reason = "no master answered its discovery".to_owned();
            }
            Some(Step::Elected { name, address, all }) => {
                let more = if all.len() > MAX_LISTED { ", ..." } else { "" };
                let listed: Vec<String> = all.iter().take(MAX_LISTED).map(|name| quote(name, MAX_NAME_BYTES)).collect();
                let (listed, shown) = (listed.join(", "), quote(&name, MAX_NAME_BYTES));
                let answered = all.len();
                let text = format!("ELECTION: {answered} answered: {listed}{more}; elected {shown} at {address}");
                self.log(LogLevel::Info, text);
                self.choose(address, Some(name), now);
            }
        }
    }

    pub(super) fn choose(&mut self, address: Address, elected: Option<String>, now: Time) {
        let shown = elected.as_ref().map(|name| format!("{} at ", quote(name, MAX_NAME_BYTES))).unwrap_or_default();
        self.log(LogLevel::Info, format!("CONNECTING to {shown}{address}"));
        self.reason = format!("it calls {address}");
        let tell_election = elected.is_some();
        self.place = Place::Tied(Box::new(Tie {
            address,
            elected,
            tell_election,
            line: Line::Down { due: now },
            joined: false,
            spare: tell_election,
            ask_task: false,
            pushed: VecDeque::new(),
            abridged: false,
            contact: now,
            away: None,
            drops: 0,
            unanswered: 0,
            said: None,
            rtt: None,
            watched: false,
            beats: None,
        }));
        self.dial(now);
    }

    fn dial(&mut self, now: Time) {
        let link = LinkId::of_worker(self.next_link);
        let owner = self.is_native_owner();
        let within = DIAL_WITHIN.min(self.timeout);
        let Some(tie) = self.tie() else { return };
        let within = if owner { tie.usual().max(DIAL) } else { within };
        tie.away.get_or_insert(now);
        tie.line = Line::Dialling { link, since: now };
        let address = tie.address.clone();
        self.next_link += 1;
        self.effects.push_back(Effect::Open { link, address, within });
    }

    /// The link dropped, or could not be made since it was asked for at `since`: the same master again, at once after
    /// the first time. A native owner soon, however often: it waits for what is held no longer than it says.
    pub(super) fn redial_later(&mut self, since: Time, now: Time) {
        let owner = self.is_native_owner();
        let Place::Tied(tie) = &mut self.place else { return };
        let refused = tie.away.is_some();
        tie.away.get_or_insert(now);
        let due = match tie.drops {
            0 if !refused => now,
            drops if owner => {
                let pause = AGAIN.saturating_mul(1 << drops.saturating_sub(1).min(2)).min(DIAL);
                (since + pause).max(now + self.rng.shortened(AGAIN))
            }
            drops => now + backoff(ROUND_FIRST, drops.saturating_sub(1), &mut self.rng),
        };
        tie.drops = tie.drops.saturating_add(1);
        tie.line = Line::Down { due };
    }

    /// The native owner has not answered a sign of life in time: the link is taken for dead, and made anew.
    pub(super) fn suspect(&mut self, now: Time) {
        let Some(tie) = self.tie() else { return };
        let Line::Up { link, since, .. } = tie.line else { return };
        if now.since(since) >= STEADY {
            tie.drops = 0;
        }
        let waited = Seconds(now.since(tie.said.take().unwrap_or(now)));
        tie.unanswered = tie.unanswered.saturating_add(1);
        tie.line = Line::Down { due: Time::FAR };
        let first = tie.away.is_none();
        self.hang_up_calls(link);
        self.effects.push_back(Effect::Close { link });
        self.redial_later(now, now);
        if let Some(tie) = self.tie().filter(|_| first) {
            // It was away before that showed.
            tie.away = Some(tie.contact);
        }
        self.log(LogLevel::Info, format!("its master has not answered ALIVE for {waited} s: it is called anew"));
        self.reason = format!("its master has not answered ALIVE for {waited} s");
    }

    /// The link is down as it should be: the next one is due then.
    pub(super) fn set_due(&mut self, due: Time) {
        if let Some(tie) = self.tie() {
            (tie.line, tie.away) = (Line::Down { due }, None);
        }
    }

    /// Gives the master up and turns to the next. `why` goes on from the address of the master. What runs goes on.
    pub(super) fn give_up(&mut self, why: &str, now: Time) {
        let Place::Tied(tie) = std::mem::replace(&mut self.place, Place::Nowhere { due: now }) else { return };
        self.log(LogLevel::Warn, format!("FALLBACK: master {} {why}", tie.address));
        self.reason = format!("master {} {why}", tie.address);
        self.lost_master(&tie.address);
        if let (Source::Discovery(discovery), Some(name), false) = (&mut self.source, &tie.elected, tie.joined) {
            discovery.shun(name.clone());
        }
        self.untie(*tie, EventKind::WorkerLost, why.to_owned());
    }

    /// Lets go of a master: its link, its calls, its heartbeats.
    pub(super) fn untie(&mut self, tie: Tie, kind: EventKind, detail: String) {
        if let Some(link) = tie.link() {
            self.hang_up_calls(link);
            self.effects.push_back(Effect::Close { link });
        }
        if tie.watched {
            self.effects.push_back(Effect::Unwatch(tie.address.clone()));
        }
        if tie.joined {
            let server_id = if let Some(Owner::Native(id)) = &self.owner { Some(id.clone()) } else { None };
            self.effects.push_back(Effect::Event { kind, server_id, address: Some(tie.address), detail });
        }
    }

    fn hang_up_calls(&mut self, link: LinkId) {
        for run in self.jobs.link_gone(link) {
            self.effects.push_back(Effect::StopRun { run });
        }
    }

    /// The end of draining: what still runs is stopped, the goodbye is said.
    fn leave(&mut self, why: &str) {
        let place = std::mem::replace(&mut self.place, Place::Gone);
        let tie = if let Place::Tied(tie) = place { Some(*tie) } else { None };
        if let Some(Line::Up { link, stage, .. }) = tie.as_ref().map(|tie| tie.line.clone()) {
            if matches!(stage, Stage::Native { .. }) {
                self.send(link, Body::Leave { server_id: self.me.clone() });
            } else if matches!((&stage, self.jobs.task()), (Stage::Working, Some(Task::Running(_)))) {
                let status = self.jobs.task_given_up("the worker stops");
                self.send(link, Body::WorkerStatus(Box::new(status)));
            }
        }
        if let Some(tie) = tie {
            self.untie(tie, EventKind::WorkerLeft, "this worker stops".to_owned());
        }
        self.stop_all();
        self.log(LogLevel::Info, format!("drained: {why}"));
        self.reason = format!("it has drained: {why}");
        self.effects.push_back(Effect::Drained);
    }

    /// Stops and forgets everything that its owner gave.
    pub(super) fn stop_all(&mut self) {
        for run in self.jobs.abandon() {
            self.effects.push_back(Effect::StopRun { run });
        }
    }

    pub(super) fn send(&mut self, link: LinkId, body: Body) {
        self.effects.push_back(Effect::Send { link, message: Message::plain(body) });
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn log(&mut self, level: LogLevel, text: String) {
        self.effects.push_back(Effect::Log { level, text });
    }

    pub(super) fn explain(&mut self, reason: String) {
        self.reason = reason;
    }
}

impl Tie {
    /// Its link, standing or asked for.
    pub(super) fn link(&self) -> Option<LinkId> {
        match self.line {
            Line::Down { .. } => None,
            Line::Dialling { link, .. } | Line::Up { link, .. } => Some(link),
        }
    }

    /// How long the answer to a sign of life is waited for: [`ANSWER`], longer where answers take long, and doubled with
    /// each link that brought none, so that a master that is merely slow is not buried under links. [`super::session::ANSWER`]
    /// at most.
    pub(super) fn patience(&self) -> Duration {
        self.usual().saturating_mul(1 << self.unanswered.min(8)).min(super::session::ANSWER)
    }

    /// The same of a single link, however many have brought nothing.
    fn usual(&self) -> Duration {
        self.rtt.map_or(ANSWER, |rtt| (rtt * 4).clamp(ANSWER, super::session::ANSWER))
    }

    /// A sign of life was answered.
    pub(super) fn answered(&mut self, now: Time) {
        self.unanswered = 0;
        if let Some(said) = self.said.take() {
            let rtt = now.since(said);
            self.rtt = Some(self.rtt.map_or(rtt, |before| rtt.min((before * 2).max(ANSWER / 4))));
        }
    }
}
