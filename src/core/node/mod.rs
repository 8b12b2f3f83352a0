//! The node: all machines of the core as one.

mod bonds;
mod calls;
mod errands;
mod farm;
mod flood;
mod group;
mod ignored;
mod info;
mod jobs;
mod loans;
mod needs;
mod policies;
mod report;
mod speak;
mod waiters;
mod whose;
mod why;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::calls::Calls;
use super::events::Events;
use super::farm::Farm;
use super::group::Group;
use super::links::Links;
use super::load::{Load, LoadChange};
use super::patience::lost_after;
use super::queue::Queue;
use super::registry::{Effect, Registry};
use super::report::Reports;
use super::timeline::earlier;
use super::worker::Worker;
use super::{Command, Config, ConfigError, Identity, Input, JobNumber, LinkId, LogLevel, Output, StoredJob};
use crate::time::{Seconds, Time};
use crate::wire::{
    Attempt, Body, EventKind, Heartbeat, JobTask, LoadAnswer, LoanAction, MAX_QUOTE, Message, NodeEntry, RequestId,
    ServiceOffer, SettingName, quote,
};

use flood::Floods;
use ignored::Ignored;
use waiters::Waiters;

/// An input that comes this much after the armed deadline shows that the process did not run (suspended, stopped,
/// or a machine far beyond its limits). Below it, it was merely busy. Never longer than an interval.
const PAUSE: Duration = Duration::from_millis(500);

/// A node: what it knows and what it is about to do. See the module's documentation for how to drive it.
// Not Clone, Eq or Hash: the engine of agreement is not.
#[derive(Debug)]
pub struct Node {
    config: Config,
    identity: Identity,
    registry: Registry,
    load: Load,
    links: Links,
    events: Events,
    outputs: VecDeque<Output>,
    started: Time,
    /// The latest `now` that was passed in.
    now: Time,
    /// The next time that this node looks at the clock even if nothing else is due, so that a pause of its process
    /// shows within an interval.
    pulse: Time,
    /// Up to when lost time was excused: what is overdue meanwhile is not lost time once more.
    excused: Time,
    heartbeats: u64,
    datagrams: u64,
    stopped: bool,
    /// [`Output::Stopped`] was said.
    ended: bool,

    queue: Queue,
    farm: Farm,
    calls: Calls,
    /// The machine of a worker; `None` at a master.
    worker: Option<Box<Worker>>,
    /// The group of a master; `None` where agreement is not taken part in.
    group: Option<Box<Group>>,
    waiters: Waiters,
    ignored: Ignored,
    /// What others can have told here as often as they like.
    floods: Floods,
    /// Attempts whose end is not durable yet, and that are acknowledged to their workers once it is.
    unacknowledged: BTreeMap<JobNumber, Vec<Attempt>>,
    /// What this node itself can run.
    offers: Vec<ServiceOffer>,
    /// A job may have become ready since jobs were last given out.
    give_out: bool,
    /// An input was taken, and what is done once for many of them is not done yet.
    unsettled: bool,
    /// Since when this node is saturated.
    saturated_since: Option<Time>,
    /// When a worker of another master was here last.
    helped: Option<Time>,
    /// The settings of the load that the group has agreed on: they go before this node's own options.
    agreed: BTreeMap<SettingName, u64>,
    /// What it is about with the workers of others.
    bonds: bonds::Bonds,
    /// What it lends and borrows; `None` at a worker.
    desk: Option<Box<loans::Desk>>,
    /// What was decided last.
    decisions: why::Decisions,
    /// When the supervisor hears of this node next; `None`: there is none.
    reports: Option<Reports>,
}

impl Node {
    /// A node at the time `now`. `seed` is the only source of chance: same seed, same inputs, same outputs.
    /// Fails if the settings do not fit together; nothing was begun then.
    pub fn new(config: Config, identity: Identity, seed: u64, now: Time) -> Result<Node, ConfigError> {
        Node::restored(config, identity, 1, Vec::new(), seed, now)
    }

    /// A node that goes on with the jobs of its last run. `boot` is how often it was started with this identity, and
    /// never repeats; `jobs` are in the order of their numbers.
    pub fn restored(
        config: Config,
        identity: Identity,
        boot: u32,
        jobs: Vec<StoredJob>,
        seed: u64,
        now: Time,
    ) -> Result<Node, ConfigError> {
        config.check()?;
        let registry = Registry::new(&config, identity.server_id.clone(), seed, now);
        let load = Load::new(config.load.clone());
        let mut queue = Queue::new(config.queue.clone(), &identity.server_id, boot);
        queue.hold_for(lost_after(config.timeout));
        for job in jobs {
            queue.restore(job, now);
        }
        let (server_id, name) = (identity.server_id.clone(), identity.name.clone());
        let farm = Farm::new(server_id.clone(), name.clone(), config.timeout, config.peers.clone());
        let worker = config.worker.clone().map(|settings| {
            Box::new(Worker::new(settings, server_id, name, config.interval, config.timeout, seed, now))
        });
        let reports = config.supervisor.is_some().then(|| Reports::new(now));
        let mut node = Node {
            config,
            identity,
            registry,
            load,
            links: Links::default(),
            events: Events::default(),
            outputs: VecDeque::new(),
            started: now,
            now,
            pulse: now,
            excused: now,
            heartbeats: 0,
            datagrams: 0,
            stopped: false,
            ended: false,
            queue,
            farm,
            calls: Calls::default(),
            worker,
            group: None,
            waiters: Waiters::default(),
            ignored: Ignored::default(),
            floods: Floods::default(),
            unacknowledged: BTreeMap::new(),
            offers: Vec::new(),
            give_out: false,
            unsettled: false,
            saturated_since: None,
            helped: None,
            agreed: BTreeMap::new(),
            bonds: bonds::Bonds::default(),
            desk: None,
            decisions: why::Decisions::default(),
            reports,
        };
        node.restore_done();
        Ok(node)
    }

    /// Takes one input. Never blocks; never panics on what came from outside. A `now` before the last one counts as
    /// the last one.
    pub fn handle(&mut self, input: Input, now: Time) {
        self.settle(now);
        self.take(input, now);
        self.unsettled = true;
        self.settle(now);
    }

    /// The same of an input after which others may come at the same moment. What can be done once for many of them, such as giving
    /// out jobs, may be left to the next [`Node::handle`] or to [`Node::settle`]: one of them must come before
    /// [`Node::deadline`] is asked. Other outputs are there at once, in the same order.
    pub fn handle_one_of_many(&mut self, input: Input, now: Time) {
        let waits = match &input {
            Input::Message { message, .. } => match &message.body {
                Body::Submit(_) => true,
                Body::WorkerStatus(status) => status.attempt.is_some(),
                _ => false,
            },
            _ => false,
        };
        if !waits {
            return self.handle(input, now);
        }
        if now != self.now {
            self.settle(now);
        }
        self.take(input, now);
        self.unsettled = true;
        self.work_off(now);
        self.tell_waits();
    }

    /// Does what [`Node::handle_one_of_many`] has left undone. Its outputs are there then.
    pub fn settle(&mut self, now: Time) {
        if !self.unsettled {
            return;
        }
        let now = now.max(self.now);
        self.look_for_group(now);
        self.carry_out(now);
        self.report_if_due(now);
        self.unsettled = false;
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    fn take(&mut self, input: Input, now: Time) {
        let now = now.max(self.now);
        self.notice_pause(now);
        self.now = now;
        if self.pulse <= now {
            self.pulse = now + self.config.interval;
        }
        if self.farm.has_guest() {
            self.helped = Some(now);
        }
        self.queue.mute(!self.config.tell_ends && !self.events.is_heard());
        match input {
            Input::LinkOpened { link, local, remote } => {
                self.links.opened(link, local, remote);
                let errand = self.is_errand(link);
                let callable = self.callable_on(link);
                match &mut self.worker {
                    Some(worker) if worker.is_session(link) => {
                        worker.listens_at(callable);
                        worker.opened(link, now);
                    }
                    _ if errand => self.errand_opened(link),
                    _ if link.is_outbound() => self.registry.opened(link, now),
                    _ => {}
                }
            }
            Input::LinkRefused { link, reason } if self.is_errand(link) => self.errands_closed(link, &reason, now),
            Input::LinkRefused { link, reason } => match &mut self.worker {
                Some(worker) if worker.is_session(link) => worker.refused(link, &reason, now),
                _ => self.registry.refused(link, reason, now),
            },
            Input::LinkClosed { link, reason } => {
                self.forget_link(link, &reason, now);
                match &mut self.worker {
                    Some(worker) if worker.is_session(link) => worker.closed(link, &reason, now),
                    _ => self.registry.closed(link, reason, now),
                }
            }
            Input::Message { link, message } => self.message(link, message, now),
            Input::Refused { link, message } => self.answer(link, message.id, message.body),
            Input::Stray { link, line, wrong: Some(why) } if self.is_errand(link) => {
                self.errand_failed(link, &format!("its answer cannot be read: {why}: `{line}`"), now);
            }
            Input::Stray { link, line, .. } => self.registry.stray(link, &line),
            Input::Ignored { link, why, line, refusal } => self.ignore(link, why, &line, refusal, now),
            Input::HeartbeatsAnswered { count } => self.heartbeats = self.heartbeats.saturating_add(count),
            Input::Datagram { from, datagram } => self.datagram(from, datagram, now),
            Input::LoadSample(sample) => {
                let change = self.load.sample(sample);
                self.load_changed(change);
            }
            Input::Written { through } => self.queue.written(through, now),
            Input::WriteFailed { from, through, reason } => {
                self.queue.write_failed(from, through, &reason, now);
                self.release_unstored();
            }
            // Nothing here waits for what is stored of a group.
            told @ (Input::Finished { .. } | Input::Printed { .. } | Input::Offers(_)) => self.run_told(told, now),
            Input::GroupWritten { through } => {
                if let Some(group) = &mut self.group {
                    group.written(through, now);
                }
            }
            Input::GroupTrouble { reason } => {
                if let Some(group) = &mut self.group {
                    group.troubled(reason);
                }
            }
            Input::Reported(outcome) => self.reported(outcome),
            Input::Command(Command::Stop) => self.stop(now),
            Input::Tick => self.tick(now),
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle(Input::Tick)` at the latest. `None`: nothing is due by itself.
    pub fn deadline(&self) -> Option<Time> {
        debug_assert!(!self.unsettled, "what is left undone may be due");
        if self.ended {
            return None;
        }
        // Nobody who calls nobody can misjudge a silence: no pulse then. Who has stopped and only waits for the disk calls
        // nobody and loses nobody any more: what is due there stays undone, and would be due for ever.
        let calls = self.registry.deadline().map(|due| due.min(self.pulse));
        let farm = earlier(self.farm.deadline(), self.bonds_deadline());
        let farm = earlier(farm, self.reports.as_ref().map(Reports::deadline));
        let others = earlier(earlier(calls, farm), self.loans_deadline()).filter(|_| !self.stopped);
        let jobs = earlier(self.queue.deadline(), earlier(self.waiters.deadline(), self.calls.deadline()));
        let worker = self.worker.as_ref().and_then(|worker| worker.deadline());
        let group = self.group.as_ref().and_then(|group| group.deadline()).filter(|_| !self.stopped);
        let told = earlier(self.load.deadline(), self.floods.deadline());
        earlier(earlier(others, jobs), earlier(earlier(told, worker), group))
    }

    /// The registry as `NODES` would tell it, in the order of keys.
    pub fn registry(&self, now: Time) -> Vec<NodeEntry> {
        self.registry.view(now)
    }

    /// The load as `LOAD` would tell it.
    pub fn load(&self) -> LoadAnswer {
        let config = self.load.config();
        LoadAnswer {
            server_id: self.identity.server_id.clone(),
            load: self.load.report(),
            score: self.load.score(),
            hot: self.load.is_hot(),
            capacity: config.capacity,
            release: config.release,
            hold: config.hold,
            cpu_threshold: config.cpu_threshold,
        }
    }

    /// Who this node is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The settings that it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Panics if the node contradicts itself. Called after each input in debug builds.
    pub fn check_invariants(&self) {
        self.registry.check_invariants();
        self.links.check_invariants();
        self.queue.check_invariants();
        self.farm.check_invariants();
        self.calls.check_invariants();
        self.waiters.check_invariants();
        if let Some(worker) = &self.worker {
            worker.check_invariants();
        }
        if let Some(desk) = &self.desk {
            desk.loans.check_invariants();
        }
        if let Some(group) = &self.group {
            group.check_invariants();
        }
        assert!(self.events.streams().all(|link| self.links.get(link).is_some()), "streams run on links that stand");
        assert!(self.started <= self.now);
    }

    /// A deadline that was missed by far means that this process did not run; the time is not the peers' fault.
    fn notice_pause(&mut self, now: Time) {
        // Seen with the first input of this time: a turn of the shell has hundreds.
        if now == self.now {
            return;
        }
        let Some(due) = self.deadline() else { return };
        let lost = now.since(due.max(self.excused));
        if lost > PAUSE.min(self.config.interval) {
            self.excused = now;
            self.registry.excuse(lost, now);
            self.farm.excuse(lost, now);
            if let Some(desk) = &mut self.desk {
                desk.loans.excuse(lost, now);
            }
            self.queue.excuse(lost);
            if let Some(group) = &mut self.group {
                group.excuse(lost);
            }
            let text = format!("this process did not run for {} s; nobody's silence is counted over it", Seconds(lost));
            self.log(LogLevel::Info, text);
        }
    }

    fn tick(&mut self, now: Time) {
        let change = self.load.tick(now);
        self.load_changed(change);
        self.queue.tick(now);
        self.calls.tick(now);
        self.tick_waiters(now);
        self.tell_floods(now);
        if let Some(worker) = &mut self.worker {
            worker.tick(now);
        }
        if !self.stopped {
            self.registry.tick(now);
            self.farm.tick(now);
            self.look_at_guests(now);
            self.tick_loans(now);
            if let Some(group) = &mut self.group {
                group.tick(now);
            }
        }
        // What was delayed may be ready.
        self.give_out = true;
    }

    fn message(&mut self, link: LinkId, message: Message, now: Time) {
        let Message { id, body } = message;
        if self.is_session(link) && !matches!(body, Body::Heartbeat(_)) {
            return self.master_says(link, id, body, now);
        }
        if link.is_outbound() && self.errand_answered(link, id.as_ref(), &body, now) {
            return;
        }
        if link.is_outbound() && self.group_answered(link, id.as_ref(), &body, now) {
            return;
        }
        match body {
            Body::Heartbeat(heartbeat) => {
                self.borrower_may_live(link, &heartbeat, now);
                self.heartbeat(link, id, heartbeat, now);
            }
            Body::HeartbeatAnswer(answer) => {
                let sequence = id.as_ref().map(RequestId::as_str);
                if let Some(desk) = &mut self.desk {
                    desk.loans.peer_alive(&answer.server_id, now);
                }
                self.registry.answered(link, sequence, answer, now);
                self.group_may_see(now);
            }
            Body::Leave { server_id } => self.leave(link, id, &server_id, now),
            Body::Error(error) if self.registry.peer_of_link(link) => {
                if id.as_ref().is_some_and(|id| super::calls::CallKey::of_id(id.as_str()).is_some()) {
                    return self.call_answered(id.as_ref(), Body::Error(error), now);
                }
                // What a peer says of its troubles stands in logs and on screens: one short line, whatever it was.
                let (code, detail) = (quote(error.code.as_str(), 40), quote(&error.detail, MAX_QUOTE));
                let reason = format!("it answered the heartbeat with {code}: {detail}");
                self.registry.rejected(link, reason, now);
            }
            Body::CallAnswer(_) | Body::Redirect(_) if link.is_outbound() => {
                self.call_answered(id.as_ref(), body, now);
            }
            Body::Hello | Body::Nodes(_) | Body::Load | Body::Events if self.stopped => {
                let error = Self::stopping(task(&body));
                self.answer(link, id, Body::Error(Box::new(error)));
            }
            Body::Hello => {
                let hello = self.hello(link, now);
                self.answer(link, id, Body::HelloAnswer(Box::new(hello)));
            }
            Body::Nodes(query) => {
                let answer = self.nodes(&query, now);
                self.answer(link, id, answer);
            }
            Body::Load => self.answer(link, id, Body::LoadAnswer(Box::new(self.load()))),
            Body::Events => self.subscribe(link, id),
            Body::Usage(task) => self.answer(link, id, Body::UsageAnswer(task)),
            Body::Elect(_)
            | Body::ElectVote(_)
            | Body::Agree(_)
            | Body::AgreeAnswer(_)
            | Body::Proof(_)
            | Body::ElectQuestion
            | Body::LedgerQuestion
            | Body::MembersQuestion
            | Body::Members(_)
            | Body::Settings(_)
            | Body::LeaseQuestion { .. }
            | Body::Lease(_) => self.group_says(link, id, body, now),
            Body::LoanAction(ref action) if matches!(**action, LoanAction::Record(_) | LoanAction::Adopt { .. }) => {
                self.group_says(link, id, body, now);
            }
            Body::JobOutput(_) | Body::Pong { .. } => self.told_by_worker(link, body, now),
            Body::LoanAnswer(_) | Body::LoanDone(_) if link.is_outbound() => {
                self.late_answer(link, id.as_ref(), &body, now)
            }
            // Nobody but a master that this node asks for work orders anything here.
            Body::Query { .. } if link.is_outbound() => {}
            request => self.request(link, id, request, now),
        }
    }

    /// Somebody heartbeats this master: a borrower that is not called from here shows by that alone that it lives.
    fn borrower_may_live(&mut self, link: LinkId, heartbeat: &Heartbeat, now: Time) {
        if link.is_outbound() || self.stopped {
            return;
        }
        let speaker = heartbeat.presence.as_ref().map(|presence| &presence.server_id).or(heartbeat.sender.as_ref());
        let from = self.links.get(link).map(|link| link.remote.ip());
        if let (Some(desk), Some(speaker), Some(from)) = (&mut self.desk, speaker, from) {
            desk.loans.borrower_heard(speaker, from, now);
        }
    }

    /// What is answered in its turn, now or later.
    fn request(&mut self, link: LinkId, id: Option<RequestId>, body: Body, now: Time) {
        let reply = match &body {
            Body::Submit(_)
            | Body::Result(_)
            | Body::Cancel(_)
            | Body::Bury(_)
            | Body::Kick(_)
            | Body::Jobs(_)
            | Body::Call(_)
            | Body::Calls
            | Body::WhereTo { .. }
            | Body::Workers { .. }
            | Body::Query { .. }
            | Body::WorkerAlive(_)
            | Body::TaskRequest { .. }
            | Body::WorkerStatus(_)
            | Body::ElectionAck { .. }
            | Body::LoanRequest(_)
            | Body::Register(_)
            | Body::Release(_)
            | Body::Returned(_)
            | Body::Loans { .. }
            | Body::LoanAction(_)
            | Body::Move(_)
            | Body::Why(_) => self.links.take(link, id),
            Body::ReleaseAnswer(answer) => return self.release_told(link, id.as_ref(), answer, now),
            // Answers to nothing that this node asked, and orders from who has nothing to order.
            _ => return,
        };
        match body {
            Body::Submit(submit) => self.submit(reply, *submit, now),
            Body::Result(query) => self.result(reply, &query, now),
            Body::Cancel(job) => self.change_job(reply, JobTask::Cancel, &job, now),
            Body::Bury(job) => self.change_job(reply, JobTask::Bury, &job, now),
            Body::Kick(job) => self.change_job(reply, JobTask::Kick, &job, now),
            Body::Jobs(query) => self.jobs(&reply, &query, now),
            Body::Call(call) => self.call(reply, *call, now),
            Body::Calls => self.list_instances(&reply),
            Body::WhereTo { hops } => self.where_to(&reply, hops),
            Body::Workers { after } => self.workers(&reply, after.as_ref(), now),
            Body::Query { user } => self.query(reply, &user, now),
            Body::Why(query) => self.why(&reply, &query, now),
            Body::LoanRequest(_) | Body::Release(_) | Body::Returned(_) | Body::Loans { .. } | Body::LoanAction(_) => {
                self.loan_request(reply, body, now)
            }
            Body::Move(order) => self.called_to_go(&reply, *order, now),
            cycle => self.worker_says(reply, cycle, now),
        }
    }

    /// The operator, or a signal, wants this node to stop.
    fn stop(&mut self, now: Time) {
        match &mut self.worker {
            Some(worker) => worker.drain(now),
            None => self.stop_now(),
        }
    }

    /// Says goodbye. What was accepted is made durable before the end.
    fn stop_now(&mut self) {
        if self.stopped {
            return;
        }
        self.event(EventKind::Stopping, None, None, "this node stops".to_owned());
        let links: Vec<LinkId> = self.registry.native_links().chain(self.links.native()).collect();
        for link in links {
            let body = Body::Leave { server_id: self.identity.server_id.clone() };
            self.outputs.push_back(Output::Send { link, message: Message::plain(body) });
        }
        self.stopped = true;
        self.release_waiters();
    }

    /// Says that this node has stopped, once nothing is under way to the disk.
    fn end(&mut self) {
        if self.stopped && !self.ended && !self.queue.is_writing() {
            self.ended = true;
            self.outputs.push_back(Output::Stopped);
        }
    }

    fn load_changed(&mut self, change: Option<LoadChange>) {
        let Some(change) = change else { return };
        let (load, config) = (self.load(), self.load.config());
        let pending = load.load.pending;
        let (kind, detail) = match change {
            LoadChange::Saturated => (
                EventKind::Saturated,
                format!("{pending} pending, above the capacity of {} for {} s", config.capacity, Seconds(config.hold)),
            ),
            LoadChange::Released => (
                EventKind::Released,
                format!("{pending} pending, below the release of {} for {} s", config.release, Seconds(config.hold)),
            ),
            LoadChange::Hot => (EventKind::Hot, format!("CPU above {} %", config.cpu_threshold.get() / 10)),
            LoadChange::Cool => {
                (EventKind::Cool, format!("CPU ten points below {} %", config.cpu_threshold.get() / 10))
            }
        };
        match kind {
            EventKind::Saturated => self.saturated_since = Some(self.now),
            EventKind::Released => self.saturated_since = None,
            _ => {}
        }
        self.event(kind, None, None, detail);
    }

    /// Carries out what the machines want done, until none wants anything and every job is given out that can be.
    fn carry_out(&mut self, now: Time) {
        loop {
            self.work_off(now);
            self.dispatch(now);
            self.farm.end_of_input(now);
            if !self.farm.has_effects() && !self.queue.has_effects() && !self.registry.has_effects() {
                break;
            }
        }
        let (pending, running, workers) = (self.queue.pending(), self.queue.running(), self.farm.workers());
        let change = self.load.queue(pending, running, workers, now);
        self.load_changed(change);
        self.tell_loans_load(now);
        self.offer_neighbours(now);
        if self.carry_out_loans(now) {
            self.work_off(now);
        }
        self.end();
        self.tell_waits();
    }

    /// Carries out what the machines want done, until none wants anything.
    fn work_off(&mut self, now: Time) {
        loop {
            self.carry_out_registry(now);
            self.carry_out_queue(now);
            let any = self.carry_out_farm(now)
                | self.carry_out_calls(now)
                | self.carry_out_worker(now)
                | self.carry_out_group(now)
                | self.carry_out_loans(now);
            if !any {
                break;
            }
        }
    }

    /// Carries out what the registry wants done.
    fn carry_out_registry(&mut self, now: Time) {
        while let Some(effect) = self.registry.poll_effect() {
            match effect {
                Effect::Open { link, address, within } => {
                    self.outputs.push_back(Output::Open { link, address, within });
                }
                Effect::Ask { link, sequence } => {
                    let presence = Some(Box::new(self.presence(link)));
                    let sender = Some(self.identity.server_id.clone());
                    let body = Body::Heartbeat(Heartbeat { sender, presence });
                    let message = Message { id: RequestId::new(sequence.to_string()), body };
                    self.outputs.push_back(Output::Send { link, message });
                }
                Effect::Close { link } => {
                    self.forget_link(link, "closed here", now);
                    self.outputs.push_back(Output::Close { link });
                }
                Effect::Event { kind, server_id, address, detail } => {
                    self.master_news(kind, &address, now);
                    if let (EventKind::PeerTimeout | EventKind::PeerLeft, Some(peer), Some(desk)) =
                        (kind, &server_id, &mut self.desk)
                    {
                        desk.loans.peer_timeout(peer, now);
                    }
                    self.event(kind, server_id, Some(address), detail);
                }
                Effect::Log { level, text } => self.log(level, text),
            }
        }
    }

    fn forget_link(&mut self, link: LinkId, reason: &str, now: Time) {
        let waited_on = self.links.closed(link);
        self.errands_closed(link, reason, now);
        if let Some(worker) = self.farm.native_on(link).cloned()
            && self.farm.is_borrowed(&worker) == Some(false)
            && let Some(desk) = &mut self.desk
        {
            desk.loans.left(&worker, now);
        }
        if let Some(group) = &mut self.group {
            group.closed(link, now);
        }
        self.events.unsubscribe(link);
        self.farm.closed(link, now);
        self.calls.link_gone(link, waited_on, reason, now);
        if waited_on {
            self.waiters.link_gone(link);
        }
    }
}

/// The task of a request, for the error that answers it.
fn task(body: &Body) -> &'static str {
    match body {
        Body::Hello => "HELLO",
        Body::Nodes(_) => "NODES",
        Body::Load => "LOAD",
        Body::Events => "EVENTS",
        _ => "",
    }
}
