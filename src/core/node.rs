//! The node: all machines of the core as one.

use std::collections::VecDeque;
use std::time::Duration;

use super::events::Events;
use super::links::Links;
use super::load::{Load, LoadChange};
use super::registry::{Effect, Registry};
use super::{Command, Config, ConfigError, Identity, Input, LinkId, LogLevel, Output};
use crate::time::{Seconds, Time};
use crate::wire::{
    Address, Body, Dialect, ErrorAnswer, ErrorCode, EventKind, Heartbeat, HeartbeatAnswer, HelloAnswer, LoadAnswer,
    MAX_LINE_BYTES, MAX_QUOTE, Message, NODES_PAGE, NodeEntry, NodesAnswer, NodesQuery, Presence, RequestId, ServerId,
    quote,
};

/// An input that comes this much after the armed deadline shows that the process did not run (suspended, stopped,
/// or a machine far beyond its limits). Below it, it was merely busy. Never longer than an interval.
const PAUSE: Duration = Duration::from_millis(500);

/// A node: what it knows and what it is about to do. See the module's documentation for how to drive it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
}

impl Node {
    /// A node at the time `now`. `seed` is the only source of chance: same seed, same inputs, same outputs.
    /// Fails if the settings do not fit together; nothing was begun then.
    pub fn new(config: Config, identity: Identity, seed: u64, now: Time) -> Result<Node, ConfigError> {
        config.check()?;
        let registry = Registry::new(&config, identity.server_id.clone(), seed, now);
        let load = Load::new(config.load.clone());
        Ok(Node {
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
        })
    }

    /// Takes one input. Never blocks; never panics on what came from outside. A `now` before the last one counts as
    /// the last one.
    pub fn handle(&mut self, input: Input, now: Time) {
        let now = now.max(self.now);
        self.notice_pause(now);
        self.now = now;
        if self.pulse <= now {
            self.pulse = now + self.config.interval;
        }
        match input {
            Input::LinkOpened { link, local, remote } => {
                self.links.opened(link, local, remote);
                if link.is_outbound() {
                    self.registry.opened(link, now);
                }
            }
            Input::LinkRefused { link, reason } => self.registry.refused(link, reason, now),
            Input::LinkClosed { link, reason } => {
                self.forget_link(link);
                self.registry.closed(link, reason, now);
            }
            Input::Message { link, message } => self.message(link, message, now),
            Input::Stray { link, line } => self.registry.stray(link, &line),
            Input::HeartbeatsAnswered { count } => self.heartbeats = self.heartbeats.saturating_add(count),
            Input::Datagram { .. } => self.datagrams = self.datagrams.saturating_add(1),
            Input::LoadSample(sample) => {
                let change = self.load.sample(sample);
                self.load_changed(change);
            }
            Input::Refused { link, message } => self.answer(link, message.id, message.body),
            Input::Written { .. }
            | Input::WriteFailed { .. }
            | Input::Finished { .. }
            | Input::Printed { .. }
            | Input::Offers(_) => {}
            Input::Command(Command::Stop) => self.stop(),
            Input::Tick => {
                let change = self.load.tick(now);
                self.load_changed(change);
                if !self.stopped {
                    self.registry.tick(now);
                }
            }
        }
        self.carry_out();
        if cfg!(debug_assertions) {
            self.check_invariants();
        }
    }

    /// The next thing to do, until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle(Input::Tick)` at the latest. `None`: nothing is due by itself.
    pub fn deadline(&self) -> Option<Time> {
        if self.stopped {
            return None;
        }
        // Nobody who calls nobody can misjudge a silence: no pulse then.
        let calls = self.registry.deadline().map(|due| due.min(self.pulse));
        [calls, self.load.deadline()].into_iter().flatten().min()
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
        assert!(self.events.streams().all(|link| self.links.get(link).is_some()), "streams run on links that stand");
        assert!(self.started <= self.now);
    }

    /// A deadline that was missed by far means that this process did not run; the time is not the peers' fault.
    fn notice_pause(&mut self, now: Time) {
        let Some(due) = self.deadline() else { return };
        let lost = now.since(due.max(self.excused));
        if lost > PAUSE.min(self.config.interval) {
            self.excused = now;
            self.registry.excuse(lost, now);
            let text = format!("this process did not run for {} s; nobody's silence is counted over it", Seconds(lost));
            self.log(LogLevel::Info, text);
        }
    }

    fn message(&mut self, link: LinkId, message: Message, now: Time) {
        let Message { id, body } = message;
        match body {
            Body::Heartbeat(heartbeat) => self.heartbeat(link, id, heartbeat, now),
            Body::HeartbeatAnswer(answer) => {
                let sequence = id.as_ref().map(RequestId::as_str);
                self.registry.answered(link, sequence, answer, now);
            }
            Body::Leave { server_id } => self.leave(link, id, &server_id, now),
            Body::Error(error) if self.registry.peer_of_link(link) => {
                // What a peer says of its troubles stands in logs and on screens: one short line, whatever it was.
                let (code, detail) = (quote(error.code.as_str(), 40), quote(&error.detail, MAX_QUOTE));
                let reason = format!("it answered the heartbeat with {code}: {detail}");
                self.registry.rejected(link, reason, now);
            }
            Body::Hello | Body::Nodes(_) | Body::Load | Body::Events if self.stopped => {
                let error = ErrorAnswer::new(task(&body), ErrorCode::Stopping, "this node stops; ask another");
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
            // Answers to nothing that this node asked.
            Body::HelloAnswer(_)
            | Body::NodesAnswer(_)
            | Body::LoadAnswer(_)
            | Body::EventsAnswer { .. }
            | Body::Event(_)
            | Body::Error(_) => {}
            _ => {}
        }
    }

    fn heartbeat(&mut self, link: LinkId, id: Option<RequestId>, heartbeat: Heartbeat, now: Time) {
        self.heartbeats = self.heartbeats.saturating_add(1);
        let native = heartbeat.presence.is_some();
        let presence = native.then(|| Box::new(self.presence(link)));
        let answer = HeartbeatAnswer { server_id: self.identity.server_id.clone(), presence };
        self.answer(link, id, Body::HeartbeatAnswer(answer));
        let Some(presence) = heartbeat.presence else { return };
        let Some(remote) = self.links.get(link).map(|link| link.remote) else { return };
        if !link.is_outbound() && !self.stopped {
            self.links.speaks(link, presence.server_id.clone());
            self.registry.heard(&presence, remote, now);
        }
    }

    fn leave(&mut self, link: LinkId, id: Option<RequestId>, server_id: &ServerId, now: Time) {
        let speaker = self.links.get(link).and_then(|link| link.speaker.as_ref());
        if speaker == Some(server_id) || self.registry.peer_of(link) == Some(server_id) {
            return self.registry.left(server_id, now);
        }
        let detail = "LEAVE is believed only on a link on which SERVER_ID has said native heartbeats";
        let error = ErrorAnswer::new("LEAVE", ErrorCode::NotNative, detail);
        self.answer(link, id, Body::Error(Box::new(error)));
    }

    fn hello(&self, link: LinkId, now: Time) -> HelloAnswer {
        HelloAnswer {
            presence: self.presence(link),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            dialects: Dialect::ALL.iter().map(|dialect| dialect.as_str().to_owned()).collect(),
            line_bytes: MAX_LINE_BYTES as u64,
            secret: false,
            uptime: now.since(self.started),
            heartbeats: self.heartbeats,
            interval: self.config.interval,
            timeout: self.config.timeout,
        }
    }

    fn nodes(&self, query: &NodesQuery, now: Time) -> Body {
        let asked = |entry: &NodeEntry| {
            query.server_id.as_ref().is_none_or(|id| entry.server_id.as_ref() == Some(id))
                && query.address.as_ref().is_none_or(|address| entry.address == *address)
                && query.name.as_ref().is_none_or(|name| entry.name.as_ref() == Some(name))
        };
        let after = |entry: &NodeEntry| query.after.as_ref().is_none_or(|after| entry.key > *after);
        let all = self.registry.view(now);
        let mut nodes: Vec<NodeEntry> = all.into_iter().filter(|entry| asked(entry) && after(entry)).collect();
        let one = query.server_id.is_some() || query.address.is_some() || query.name.is_some();
        if one && nodes.is_empty() && query.after.is_none() {
            let detail = "no such node in the registry; NODES without fields lists all";
            return Body::Error(Box::new(ErrorAnswer::new("NODES", ErrorCode::NotFound, detail)));
        }
        let more = nodes.len() > NODES_PAGE;
        nodes.truncate(NODES_PAGE);
        Body::NodesAnswer(Box::new(NodesAnswer { server_id: self.identity.server_id.clone(), nodes, more }))
    }

    fn subscribe(&mut self, link: LinkId, id: Option<RequestId>) {
        let known = self.links.get(link).is_some();
        let body = if known && self.events.subscribe(link) {
            Body::EventsAnswer { seq: self.events.seq() }
        } else {
            let detail = "too many streams of events run; try again later";
            Body::Error(Box::new(ErrorAnswer::new("EVENTS", ErrorCode::Busy, detail)))
        };
        self.answer(link, id, body);
    }

    /// Who this node is, as it says on `link`.
    fn presence(&self, link: LinkId) -> Presence {
        Presence {
            server_id: self.identity.server_id.clone(),
            name: self.identity.name.clone(),
            address: self.address_on(link),
            role: self.config.role,
            group: self.config.group.clone(),
            load: self.load.report(),
            services: Vec::new(),
        }
    }

    /// Where others are told to call: as advertised, else as bound, else (bound to a wildcard) this end of the link.
    fn address_on(&self, link: LinkId) -> Address {
        if let Some(advertise) = &self.config.advertise {
            return advertise.clone();
        }
        let bound = Address::of(self.config.bind);
        match self.links.get(link) {
            Some(link) if bound.is_wildcard() => Address { port: bound.port, ..Address::of(link.local) },
            _ => bound,
        }
    }

    fn stop(&mut self) {
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
        self.outputs.push_back(Output::Stopped);
    }

    fn load_changed(&mut self, change: Option<LoadChange>) {
        let Some(change) = change else { return };
        let (load, config) = (self.load(), &self.config.load);
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
        self.event(kind, None, None, detail);
    }

    /// Carries out what the registry wants done.
    fn carry_out(&mut self) {
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
                    self.forget_link(link);
                    self.outputs.push_back(Output::Close { link });
                }
                Effect::Event { kind, server_id, address, detail } => {
                    self.event(kind, server_id, Some(address), detail);
                }
                Effect::Log { level, text } => self.log(level, text),
            }
        }
    }

    fn event(&mut self, kind: EventKind, server_id: Option<ServerId>, address: Option<Address>, detail: String) {
        let event = self.events.number(kind, server_id, address, detail);
        for link in self.events.streams() {
            let body = Body::Event(Box::new(event.clone()));
            self.outputs.push_back(Output::Send { link, message: Message::plain(body) });
        }
        self.outputs.push_back(Output::Event(event));
    }

    fn answer(&mut self, link: LinkId, id: Option<RequestId>, body: Body) {
        self.outputs.push_back(Output::Send { link, message: Message { id, body } });
    }

    fn forget_link(&mut self, link: LinkId) {
        self.links.closed(link);
        self.events.unsubscribe(link);
    }

    fn log(&mut self, level: LogLevel, text: String) {
        self.outputs.push_back(Output::Log { level, text });
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
