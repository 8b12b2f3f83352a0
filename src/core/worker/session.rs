//! What is said on the session link: with a native master, that pushes jobs, or a foreign one, that is asked for one
//! task at a time. The first answer to ALIVE tells which it is.
//!
//! ```text
//!             ACCEPTED, silence                welcome
//!   Electing ───────────────────> Asked ───────────────────> Native: JOB, STOP ─>  <─ STATUS; ALIVE again as refresh
//!                 QUERY           │ ^ │ ACK
//!        ┌────────────────────────┤ │ └────> Requested (TASK REQUEST) ──┐ silence
//!        v              NO_TASK,  │ │   interval is over               │ NO_TASK
//!     Working          KEEPALIVE  └─────────> Resting <─────────────────┘
//!        │ done   ACK, silence: ALIVE │  ^
//!        └─────> Reported ────────────┘  │ NO_TASK      A pushed QUERY is taken in every state, and waits in Working.
//! ```
//!
//! To a foreign master, two lines are never sent without an answer or five seconds of silence between them, except
//! PONG, and 250 ms where it has pushed several tasks: several keep only the first line of what one read returned.

use std::sync::Arc;
use std::time::Duration;

use super::Effect;
use super::jobs::{Taken, Task};
use super::phases::{Line, Owner, Place, Source, Worker};
use crate::core::patience::refresh_within;
use crate::core::{LinkId, LogLevel};
use crate::time::Time;
use crate::wire::{
    Attempt, Body, ErrorAnswer, ErrorCode, EventKind, JobOrder, Json, MAX_METHODS, MAX_NAME_BYTES, MAX_QUOTE,
    MAX_SERVICES, Message, NativeWorker, Registration, RequestId, ServiceOffer, WorkerAlive, WorkerWelcome, quote,
};

/// How long an answer is waited for (course-protocol.md, section 3: every wait for an answer is 5 s).
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// Pause between STATUS and the next task, where the master has pushed that already: such masters often say no ACK, and
/// the next STATUS must not come in one read with this one.
const BETWEEN: Duration = Duration::from_millis(250);

/// Tasks that a foreign master may push beside the one that runs. More than one is rare.
const MAX_PUSHED: usize = 64;

/// Bytes that `SERVICES` may take in an ALIVE, so that the line stays below its limit beside the held attempts.
const MAX_SERVICES_BYTES: usize = 16 * 1024;

/// The same in the first ALIVE to a master of which nothing is known: many programs read 1024 bytes and take them for a
/// line. The rest is told to a native one after its welcome.
const FIRST_SERVICES_BYTES: usize = 520;

/// What a session waits for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Nothing was said yet. Never lasts.
    Fresh,
    /// The election was told; its acceptance.
    Electing { until: Time },
    /// The registration of a borrowed worker was said; whatever answers it, if anything does.
    Registering { until: Time },
    /// ALIVE was said; its answer.
    Asked { until: Time },
    /// Orders of a native master. At `refresh` it is told again what is held; `asked`: when its answer to that is late.
    Native { refresh: Time, asked: Option<Time> },
    /// TASK REQUEST was said; its answer. `first`: it was the first line on this link.
    Requested { until: Time, first: bool },
    /// There was no task; ALIVE is said again then.
    Resting { until: Time },
    /// The end of the task that runs here.
    Working,
    /// STATUS was said; its ACK.
    Reported { until: Time },
    /// The master answers heartbeats and not ALIVE: it may be one that only pushes.
    Listening,
}

impl Stage {
    /// When something is due.
    pub(super) fn deadline(&self) -> Time {
        match self {
            Stage::Fresh | Stage::Working | Stage::Listening => Time::FAR,
            Stage::Native { refresh, asked } => asked.unwrap_or(Time::FAR).min(*refresh),
            Stage::Electing { until }
            | Stage::Registering { until }
            | Stage::Asked { until }
            | Stage::Requested { until, .. }
            | Stage::Resting { until }
            | Stage::Reported { until } => *until,
        }
    }
}

/// What a foreign master can say.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    Query(Json),
    NoTask,
    Ack,
    KeepAlive,
    Refused,
}

impl Worker {
    /// A message came. `false`: it is none of a session's, or not on the session link; nothing was changed.
    pub(in crate::core) fn message(&mut self, link: LinkId, id: Option<RequestId>, body: Body, now: Time) -> bool {
        if !self.is_up(link) {
            return false;
        }
        let native = self.native_link().is_some();
        match body {
            Body::WorkerWelcome(welcome) => {
                self.heard(now);
                self.welcomed(link, *welcome, now);
            }
            Body::Job(order) => {
                self.heard(now);
                self.order(link, Arc::unwrap_or_clone(order));
            }
            Body::JobStop(stop) => {
                self.heard(now);
                if native && let Some(run) = self.jobs.stop(&stop.attempt, link) {
                    let Attempt { job_id, attempt } = stop.attempt;
                    let reason = quote(&stop.reason, MAX_QUOTE);
                    self.log(LogLevel::Info, format!("{job_id}, attempt {attempt}, is stopped: {reason}"));
                    self.effect(Effect::StopRun { run });
                }
            }
            Body::StatusAck(ack) => {
                self.heard(now);
                if native {
                    self.jobs.acknowledged(&ack);
                } else {
                    self.foreign(link, Said::Ack, now);
                }
            }
            Body::Move(order) => {
                self.heard(now);
                self.moved(*order, now);
            }
            Body::Query { user } => {
                self.heard(now);
                self.foreign(link, Said::Query(user), now);
            }
            Body::NoTask => {
                self.heard(now);
                self.foreign(link, Said::NoTask, now);
            }
            Body::KeepAlive => {
                self.heard(now);
                let pong = Body::Pong { worker: Some(self.me.clone()) };
                self.effect(Effect::Send { link, message: Message { id, body: pong } });
                self.foreign(link, Said::KeepAlive, now);
            }
            Body::ElectionAccepted { master } => {
                self.heard(now);
                if let Some(Stage::Electing { .. }) = self.stage() {
                    let text = format!("{} accepted its election", quote(&master, MAX_NAME_BYTES));
                    self.log(LogLevel::Info, text);
                    self.begin_cycle(link, now);
                }
            }
            Body::Error(error) => {
                self.heard(now);
                self.error(link, &error, now);
            }
            _ => return false,
        }
        self.tick(now);
        true
    }

    /// The link stands: the election is told, or the cycle begins.
    pub(super) fn open_session(&mut self, link: LinkId, now: Time) {
        let election =
            self.tie().and_then(|tie| tie.elected.clone().filter(|_| std::mem::take(&mut tie.tell_election)));
        let Some(selected) = election else { return self.begin_cycle(link, now) };
        self.send(link, Body::ElectionAck { worker: self.me.clone(), selected });
        self.turn(Stage::Electing { until: now + ANSWER });
    }

    /// The first line of the cycle on a link: STATUS of a task that is done, else ALIVE.
    fn begin_cycle(&mut self, link: LinkId, now: Time) {
        let here = self.is_foreign_owner();
        let Some(tie) = self.tie() else { return };
        let (ask_task, address) = (std::mem::take(&mut tie.ask_task), tie.address.clone());
        if !std::mem::replace(&mut tie.watched, true) {
            self.effect(Effect::Watch(address));
        }
        if self.register(link, now) {
            return;
        }
        match self.jobs.task() {
            Some(Task::Done(_)) if here => self.report(link, now),
            Some(Task::Running(_)) if here => self.turn(Stage::Working),
            _ if ask_task => self.request(link, true, now),
            _ => self.say_alive(link, now),
        }
    }

    /// ALIVE, to a master of which nothing is known on this link, or which is foreign.
    fn say_alive(&mut self, link: LinkId, now: Time) {
        let joined = self.tie().is_some_and(|tie| tie.joined);
        let room = match &self.owner {
            Some(Owner::Foreign(_)) if joined && self.is_foreign_owner() => None,
            Some(Owner::Native(_)) if joined => Some(MAX_SERVICES_BYTES),
            _ => Some(FIRST_SERVICES_BYTES),
        };
        let alive = self.alive(room);
        let told = if let Body::WorkerAlive(alive) = &alive {
            alive.native.as_ref().map(|one| one.services.len())
        } else {
            None
        };
        let all = self.services.len();
        if let Some(tie) = self.tie() {
            tie.abridged = told.is_some_and(|told| told < all);
            // What was said on another link is answered no more.
            tie.said = None;
        }
        self.send_alive(link, alive, now);
        let wait = if self.is_native_owner() { self.answer_due() } else { ANSWER };
        self.turn(Stage::Asked { until: now + wait });
    }

    /// A borrowed worker shows itself, where it was told to. What answers is not laid down: ACK, QUERY, NO_TASK, or nothing at all. `false`: it
    /// was not told to, or has done so.
    fn register(&mut self, link: LinkId, now: Time) -> bool {
        let Place::Tied(tie) = &self.place else { return false };
        let Some((home, owner)) = self.bond.registration_at(&tie.address) else { return false };
        let (worker, listens) = (self.me.clone(), self.listens.clone());
        // Both masters that send ACK and those that do not are understood; who is asked for it answers sooner.
        let wants_ack = owner.is_some() || listens.is_some();
        let body = Body::Register(Box::new(Registration { worker, home, owner, listens, wants_ack }));
        let id = Some(self.mark());
        self.effect(Effect::Send { link, message: Message { id, body } });
        self.turn(Stage::Registering { until: now + ANSWER });
        true
    }

    /// A mark for what strangers want marked: a uuid v4.
    fn mark(&mut self) -> RequestId {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.rng.next().to_be_bytes());
        bytes[8..].copy_from_slice(&self.rng.next().to_be_bytes());
        RequestId::new(uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()).expect("36 characters")
    }

    /// It has registered, and asks for work on a new connection: many masters take one message each, and some answer a registration with nothing.
    fn registered(&mut self, link: LinkId, now: Time) {
        self.bond.has_registered();
        self.effect(Effect::Close { link });
        self.set_due(now);
    }

    /// TASK REQUEST. `first`: the first line on this link.
    fn request(&mut self, link: LinkId, first: bool, now: Time) {
        self.send(link, Body::TaskRequest { worker: Some(self.me.clone()) });
        self.turn(Stage::Requested { until: now + ANSWER, first });
    }

    /// STATUS of the task that is done.
    fn report(&mut self, link: LinkId, now: Time) {
        let Some(Task::Done(status)) = self.jobs.task() else { return };
        let status = status.clone();
        self.send(link, Body::WorkerStatus(status));
        let more = self.tie().is_some_and(|tie| !tie.pushed.is_empty());
        self.turn(Stage::Reported { until: now + if more { BETWEEN } else { ANSWER } });
    }

    /// Tells a native master again what is held and offered.
    pub(super) fn refresh(&mut self, now: Time) {
        let Some(link) = self.native_link() else { return };
        let alive = self.alive(Some(MAX_SERVICES_BYTES));
        if let Some(tie) = self.tie() {
            tie.abridged = false;
        }
        self.send_alive(link, alive, now);
        let late = match self.stage() {
            Some(Stage::Native { asked: Some(late), .. }) => *late,
            _ => now + self.answer_due(),
        };
        self.turn(Stage::Native { refresh: self.next_refresh(now), asked: Some(late) });
    }

    /// When a native master is told again, at the latest: often enough, too, to hear of each renewal of a lease before it is over.
    fn next_refresh(&self, now: Time) -> Time {
        now + refresh_within(self.patience, self.bond.rest_of_lease(now))
    }

    /// ALIVE to a native master has an ID: its answer does not wait for those of results that are being recorded.
    fn send_alive(&mut self, link: LinkId, body: Body, now: Time) {
        let id = if self.is_native_owner() { RequestId::new("alive") } else { None };
        if let Some(tie) = self.tie() {
            tie.said.get_or_insert(now);
        }
        self.effect(Effect::Send { link, message: Message { id, body } });
    }

    /// How long the native owner has to answer.
    fn answer_due(&mut self) -> Duration {
        self.tie().map_or(ANSWER, |tie| tie.patience())
    }

    /// ALIVE, with what natives say if there is `room` for services, in bytes.
    fn alive(&self, room: Option<usize>) -> Body {
        let here = if let Place::Tied(tie) = &self.place { Some(&tie.address) } else { None };
        let native = room.map(|room| {
            Box::new(NativeWorker {
                name: self.name.clone(),
                slots: if self.takes_nothing() { 0 } else { self.slots },
                services: fitting(&self.services, room),
                jobs: self.jobs.attempts(),
                epoch: self.bond.epoch,
                loan_id: here.and_then(|here| self.bond.loan_at(here)),
            })
        });
        let owner = here.and_then(|here| self.bond.owner_said_at(here));
        let listens = self.listens.clone().filter(|_| !matches!(self.owner, Some(Owner::Native(_)))).map(Into::into);
        Body::WorkerAlive(Box::new(WorkerAlive { worker: self.me.clone(), owner, listens, native }))
    }

    /// Does what is due of the session.
    pub(super) fn session_tick(&mut self, now: Time) {
        let Some((link, stage)) = self.session() else { return };
        match stage {
            Stage::Fresh | Stage::Working | Stage::Listening => {}
            Stage::Electing { .. } => self.begin_cycle(link, now),
            Stage::Registering { .. } => self.registered(link, now),
            Stage::Asked { .. } if self.may_only_push() => {
                self.join_foreign();
                self.turn(Stage::Listening);
            }
            Stage::Asked { .. } if self.is_native_owner() => self.suspect(now),
            Stage::Asked { .. } => self.give_up("did not answer ALIVE within 5 s", now),
            Stage::Native { asked: Some(late), .. } if late <= now => self.suspect(now),
            Stage::Native { .. } => self.refresh(now),
            Stage::Requested { .. } => self.rest(now),
            Stage::Resting { .. } => self.say_alive(link, now),
            Stage::Reported { .. } => self.go_on(false, link, now),
        }
    }

    /// The link of a master that had taken this worker is gone.
    pub(super) fn session_closed(&mut self, stage: Stage, reason: &str, now: Time) {
        match stage {
            Stage::Resting { until } => self.set_due(until),
            // Nothing is to be said before the task is done.
            Stage::Working => self.set_due(Time::FAR),
            // Many close instead of ACK. A STATUS that is said twice is counted twice by them, so it is not.
            Stage::Reported { .. } => {
                self.jobs.task_reported();
                self.set_due(now);
            }
            Stage::Requested { first: true, .. } => self.set_due(now + self.interval),
            Stage::Requested { first: false, .. } => {
                self.set_due(now);
                if let Some(tie) = self.tie() {
                    tie.ask_task = true;
                }
            }
            Stage::Fresh
            | Stage::Electing { .. }
            | Stage::Registering { .. }
            | Stage::Asked { .. }
            | Stage::Native { .. }
            | Stage::Listening => {
                self.redial_later(now, now);
                self.explain(format!("the link to its master dropped: {reason}"));
            }
        }
    }

    /// The task of a foreign master is done: it is reported, on a new link where the old one is gone.
    pub(super) fn task_done(&mut self, now: Time) {
        if !self.is_foreign_owner() {
            return;
        }
        if let Some((link, Stage::Working)) = self.session() {
            self.report(link, now);
        } else if self.tie().is_some_and(|tie| tie.joined && tie.away.is_none() && tie.link().is_none()) {
            self.set_due(now);
        }
    }

    /// A native master has taken this worker, or confirms it.
    fn welcomed(&mut self, link: LinkId, welcome: WorkerWelcome, now: Time) {
        let known = self.native_link().is_some();
        let name = quote(&welcome.name, MAX_NAME_BYTES);
        let said = self.tie().and_then(|tie| tie.said).unwrap_or(now);
        self.bond.has_registered();
        // A borrower does not say where to go when the owner is gone.
        let lent = self.tie().map(|tie| tie.address.clone()).is_some_and(|address| self.bond.is_lent_to(&address));
        let failover = Some(&welcome.failover[..]).filter(|_| !lent);
        self.join(Owner::Native(welcome.server_id.clone()), Some(&name), failover);
        let was_to_go = self.bond.moving.is_some();
        self.bound(&welcome.server_id, welcome.terms.map(|terms| *terms), said);
        self.patience = welcome.timeout;
        if let Some(tie) = self.tie() {
            tie.answered(now);
        }
        for attempt in &welcome.drop {
            if let Some(run) = self.jobs.drop_attempt(attempt) {
                self.effect(Effect::StopRun { run });
            }
        }
        let next = self.next_refresh(now);
        let refresh = match self.stage() {
            // The lease may be shorter than when it was asked.
            Some(Stage::Native { refresh, .. }) => next.min(*refresh),
            _ => next,
        };
        self.turn(Stage::Native { refresh, asked: None });
        if known && was_to_go && self.bond.moving.is_none() {
            // It has told that it takes nothing new.
            self.refresh(now);
        }
        if !known {
            // What was said on links that are gone may be lost.
            for status in self.jobs.results() {
                self.send(link, Body::WorkerStatus(Box::new(status)));
            }
            if self.tie().is_some_and(|tie| std::mem::take(&mut tie.abridged)) {
                self.refresh(now);
            }
        }
    }

    fn order(&mut self, link: LinkId, order: JobOrder) {
        let Attempt { job_id, attempt } = order.attempt.clone();
        if self.native_link().is_none() {
            let text = format!("{job_id}, attempt {attempt}, came before the welcome and is not taken");
            return self.log(LogLevel::Warn, text);
        }
        let closed = match (self.draining, &self.bond.moving) {
            (Some(_), _) => Some("the worker drains"),
            (None, Some(_)) => Some("the worker is about to go to another master"),
            (None, None) => None,
        };
        match self.jobs.take(order, link, closed) {
            Taken::Start(run) => self.effect(Effect::Start(run)),
            Taken::Say(status) => self.send(link, Body::WorkerStatus(status)),
            Taken::Known => self.log(LogLevel::Debug, format!("{job_id}, attempt {attempt}, runs already")),
        }
    }

    /// A foreign master said something.
    fn foreign(&mut self, link: LinkId, said: Said, now: Time) {
        let Some((_, stage)) = self.session() else { return };
        if let Stage::Native { .. } = stage {
            if let Said::Query(_) | Said::NoTask = said {
                self.log(LogLevel::Debug, "a native master said QUERY or NO_TASK; it is ignored".to_owned());
            }
            return;
        }
        let stage = match (stage, &said) {
            (Stage::Registering { .. }, Said::Ack | Said::Refused) => return self.registered(link, now),
            // A pushing master keeps its connection: it answers the registration in a moment.
            (Stage::Registering { .. }, Said::KeepAlive) => return,
            // As if it had asked for work.
            (Stage::Registering { until }, Said::Query(_) | Said::NoTask) => {
                self.bond.has_registered();
                let asked = Stage::Asked { until };
                self.turn(asked.clone());
                asked
            }
            (stage, _) => stage,
        };
        if let Stage::Electing { .. } = stage {
            match said {
                Said::Query(_) => {}
                // Still no answer to the election.
                Said::KeepAlive => return,
                // Whatever it was, it was the answer.
                Said::NoTask | Said::Ack | Said::Refused => return self.begin_cycle(link, now),
            }
        }
        self.join_foreign();
        // Links that end after one answer each are how many masters speak: no failures, and nothing to slow down for.
        if let (Said::Query(_) | Said::NoTask | Said::Ack, Some(tie)) = (&said, self.tie()) {
            tie.drops = 0;
        }
        match (stage, said) {
            (_, Said::Query(_)) if self.takes_nothing() => {
                self.log(LogLevel::Info, "QUERY is ignored: this worker drains, or is about to go".to_owned());
            }
            (_, Said::Query(user)) if matches!(self.jobs.task(), Some(Task::Running(_))) => {
                self.put_behind(user);
                self.turn(Stage::Working);
            }
            (Stage::Reported { .. }, Said::Query(user)) => {
                self.put_behind(user);
                self.reported();
            }
            (_, Said::Query(user)) => {
                if let Some(Task::Done(_)) = self.jobs.task() {
                    return self.report(link, now);
                }
                self.put_behind(user);
                self.reported();
            }
            (Stage::Reported { .. }, Said::Ack | Said::Refused) => self.go_on(false, link, now),
            (Stage::Reported { .. }, Said::NoTask) => self.go_on(true, link, now),
            (Stage::Asked { .. }, Said::Ack) => self.request(link, false, now),
            (Stage::Asked { .. } | Stage::Requested { .. } | Stage::Listening, Said::NoTask | Said::KeepAlive) => {
                self.rest(now);
            }
            (Stage::Requested { .. }, Said::Refused) => self.rest(now),
            // Late or unasked for.
            _ => {}
        }
    }

    /// The master answered with an error.
    fn error(&mut self, link: LinkId, error: &ErrorAnswer, now: Time) {
        let (code, detail) = (quote(error.code.as_str(), 40), quote(&error.detail, MAX_QUOTE));
        match self.session() {
            Some((_, Stage::Asked { .. })) => {
                let joined = self.tie().is_some_and(|tie| tie.joined);
                if joined && error.retry {
                    self.effect(Effect::Close { link });
                    self.redial_later(now, now);
                    self.explain(format!("its master answered ALIVE with {code}: {detail}"));
                } else {
                    self.give_up(&format!("answered ALIVE with {code}: {detail}"), now);
                }
            }
            Some((_, Stage::Native { .. })) if error.code == ErrorCode::NotAMaster => {
                self.give_up(&format!("is a master no longer: {detail}"), now);
            }
            _ => {
                self.log(LogLevel::Warn, format!("the master answered with {code}: {detail}"));
                self.foreign(link, Said::Refused, now);
            }
        }
    }

    /// Keeps a task that was pushed until those before it are done.
    fn put_behind(&mut self, user: Json) {
        let Some(tie) = self.tie() else { return };
        if tie.pushed.len() < MAX_PUSHED {
            tie.pushed.push_back(user);
        } else {
            self.log(LogLevel::Warn, format!("QUERY is ignored: {MAX_PUSHED} tasks wait already"));
        }
    }

    /// The task is reported, if there was one: the next that was pushed meanwhile begins. `false`: there is none.
    fn reported(&mut self) -> bool {
        self.jobs.task_reported();
        let closed = self.takes_nothing();
        let Some(user) = self.tie().filter(|_| !closed).and_then(|tie| tie.pushed.pop_front()) else { return false };
        let run = self.jobs.take_task(&user);
        self.effect(Effect::Start(Box::new(run)));
        self.turn(Stage::Working);
        true
    }

    /// After a report: the next task that was pushed, or ALIVE, after a pause if the master has said that there is none.
    fn go_on(&mut self, rests: bool, link: LinkId, now: Time) {
        match (self.reported(), rests) {
            (true, _) => {}
            (false, true) => self.rest(now),
            (false, false) => self.ask_again(link, now),
        }
    }

    /// The next ALIVE after a task: at once. While draining there is none.
    fn ask_again(&mut self, link: LinkId, now: Time) {
        if !self.takes_nothing() {
            self.say_alive(link, now);
        }
    }

    fn rest(&mut self, now: Time) {
        let until = now + self.rng.shortened(self.interval);
        self.turn(Stage::Resting { until });
    }

    /// Whether a master that did not answer ALIVE may be one that only pushes: it answers heartbeats, and has given a
    /// task before or is the only one there is.
    fn may_only_push(&mut self) -> bool {
        let single = matches!(&self.source, Source::List(masters) if masters.is_single());
        let (foreign, native) = (self.is_foreign_owner(), matches!(self.owner, Some(Owner::Native(_))));
        self.tie().is_some_and(|tie| tie.beats == Some(true) && ((tie.joined && foreign) || (single && !native)))
    }

    fn join_foreign(&mut self) {
        if let Some(address) = self.tie().map(|tie| tie.address.clone()) {
            let elected = self.tie().and_then(|tie| tie.elected.as_ref()).map(|name| quote(name, MAX_NAME_BYTES));
            self.join(Owner::Foreign(address), elected.as_deref(), None);
        }
    }

    /// The master has taken this worker. If another one owns what runs, that is stopped: never the work of two.
    fn join(&mut self, owner: Owner, name: Option<&str>, failover: Option<&[crate::wire::Address]>) {
        if self.owner.as_ref() != Some(&owner) {
            let running = self.jobs.running();
            if running > 0 {
                let text = format!("stops the {running} that it runs for its former master, which has them done again");
                self.log(LogLevel::Warn, text);
            }
            self.stop_all();
            self.owner = Some(owner.clone());
            if let Some(tie) = self.tie() {
                tie.pushed.clear();
            }
        }
        let Some(tie) = self.tie() else { return };
        tie.away = None;
        let (news, address) = (!std::mem::replace(&mut tie.joined, true), tie.address.clone());
        if let Source::List(masters) = &mut self.source
            && !self.bond.is_lent_to_stranger(&address)
        {
            masters.joined(&address, failover);
        }
        if news {
            let (server_id, form) = match owner {
                Owner::Native(id) => (Some(id), "native"),
                Owner::Foreign(_) => (None, "foreign"),
            };
            let name = name.map(|name| format!("{name}, ")).unwrap_or_default();
            let detail = format!("works for {name}a {form} master at {address}");
            self.explain(format!("it {detail}"));
            self.effect(Effect::Event { kind: EventKind::WorkerJoined, server_id, address: Some(address), detail });
        }
    }

    fn heard(&mut self, now: Time) {
        let Some(tie) = self.tie() else { return };
        tie.contact = now;
        if let Line::Up { stage: Stage::Native { asked, .. }, .. } = &mut tie.line {
            *asked = None;
        }
    }

    /// Whether the master of the tie, by its address, is the foreign owner of what is held.
    fn is_foreign_owner(&self) -> bool {
        let Place::Tied(tie) = &self.place else { return false };
        matches!(&self.owner, Some(Owner::Foreign(address)) if *address == tie.address)
    }

    /// The session link, if a native master speaks on it.
    pub(super) fn native_link(&self) -> Option<LinkId> {
        match &self.place {
            Place::Tied(tie) => match tie.line {
                Line::Up { link, stage: Stage::Native { .. }, .. } => Some(link),
                _ => None,
            },
            _ => None,
        }
    }

    fn is_up(&self, link: LinkId) -> bool {
        matches!(&self.place, Place::Tied(tie) if matches!(tie.line, Line::Up { link: one, .. } if one == link))
    }

    fn session(&self) -> Option<(LinkId, Stage)> {
        match &self.place {
            Place::Tied(tie) => match &tie.line {
                Line::Up { link, stage, .. } => Some((*link, stage.clone())),
                _ => None,
            },
            _ => None,
        }
    }

    fn stage(&self) -> Option<&Stage> {
        match &self.place {
            Place::Tied(tie) => match &tie.line {
                Line::Up { stage, .. } => Some(stage),
                _ => None,
            },
            _ => None,
        }
    }

    fn turn(&mut self, next: Stage) {
        if let Some(Line::Up { stage, .. }) = self.tie().map(|tie| &mut tie.line) {
            *stage = next;
        }
    }
}

/// The services that a line has room for.
fn fitting(services: &[ServiceOffer], mut room: usize) -> Vec<ServiceOffer> {
    let bytes = |offer: &ServiceOffer| {
        let names = offer.methods.iter().chain(&offer.idempotent).map(|name| name.as_str().len() + 3);
        offer.name.as_str().len() + 48 + names.sum::<usize>()
    };
    let fits = |offer: &&ServiceOffer| match room.checked_sub(bytes(offer)) {
        Some(rest) if offer.methods.len() <= MAX_METHODS => {
            room = rest;
            true
        }
        _ => false,
    };
    services.iter().filter(fits).take(MAX_SERVICES).cloned().collect()
}
