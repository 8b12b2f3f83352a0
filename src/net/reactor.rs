//! The loop: wait, read, fire timers, write.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll};

use crate::core::{Input, Node};
use crate::time::Time;
use crate::wire::{Body, DialectMemory, Edge, ErrorAnswer, ErrorCode, Event, Message, Prepared};

use super::clock::Clock;
use super::connections::Connections;
use super::dialer::{Context, Dialer};
use super::durable::{GroupLog, Jobs};
use super::execution::Services;
use super::limits::{
    CATCH_UP_ROUNDS, CONNECTIONS, DESCRIPTORS_FOR_SERVICES, DESCRIPTORS_PER_RUN, EVENTS_PER_TURN, FIRST_REGISTRY,
    READ_BUFFER, RESERVED_DESCRIPTORS, SERVICES_DEADLINE, STOP_AFTER_GRACE, STOP_DEADLINE,
};
use super::listener::{Acceptor, Listener};
use super::lookout::Lookout;
use super::mailbox::{Mailbox, Note, Stopper};
use super::outbox::Pool;
use super::resolver::Resolver;
use super::sampler::Sampler;
use super::stopping::Stopping;
use super::supervisor::Reporter;
use super::talk::Talk;
use super::timers::{Timers, Who};
use super::tokens::{self, Source};
use super::udp::Udp;
use super::{RunError, Settings, Stop, Watcher, os};

/// A node and everything around it.
///
/// One turn is: wait for events; read the clock, once; read sockets; fire timers; write. Functions that are named
/// in terms of one connection take its slot, and a slot that is empty by then is no error: the core may have closed
/// what was about to be looked at.
pub(super) struct Reactor {
    pub(super) poll: Poll,
    pub(super) mailbox: Mailbox,
    pub(super) timers: Timers,
    clock: Clock,
    lookout: Lookout,
    /// The node was told something in this turn that others wait for.
    pub(super) works: bool,
    alarm: os::Alarm,
    /// The time of this turn.
    pub(super) now: Time,

    pub(super) node: Node,
    /// The node has left something undone, as more inputs may come.
    pub(super) unsettled: bool,
    /// When the node wants to be woken; `None` after each input, until it is asked.
    node_deadline: Option<Time>,
    /// Bare heartbeats that were answered and that the node has not heard of.
    pub(super) heartbeats: u64,
    /// What the node will hear at the end of the turn, because it happened while outputs were carried out.
    pub(super) later: Vec<Input>,
    /// What the watcher will see at the end of the turn.
    pub(super) happened: Vec<Event>,

    pub(super) connections: Connections,
    pub(super) pool: Pool,
    /// Slots of connections whose output may have what jobs printed in it.
    pub(super) printing: Vec<usize>,
    /// One of them has more output than it takes.
    pub(super) congested: bool,
    pub(super) talk: Talk,
    /// Messages that the node was told of the connection that is being read.
    pub(super) told: usize,
    /// Slots to be looked after at the end of the turn.
    pub(super) dirty: Vec<usize>,
    /// Slots whose output is held back until there is more of it, or until `held_until`.
    pub(super) held_back: Vec<usize>,
    /// When what is held back is written; of no meaning while nothing is.
    pub(super) held_until: Time,
    /// Slots to be read on in the next turn.
    pub(super) again: Vec<usize>,

    pub(super) prepared: Prepared,
    /// What is said to connections for which there is no room.
    pub(super) busy: Vec<u8>,
    /// Accepted connections that there may be.
    pub(super) room: usize,
    pub(super) acceptor: Option<Acceptor>,
    /// Others may wait to be accepted.
    pub(super) accept_more: bool,
    /// Nothing is accepted before.
    pub(super) accept_at: Time,
    pub(super) dialer: Dialer,
    pub(super) dialects: DialectMemory,
    writer: Option<crate::store::Writer>,
    pub(super) jobs: Option<Box<dyn Jobs>>,
    pub(super) group: Option<Box<dyn GroupLog>>,
    /// Writes of jobs or of the group were pushed in this turn.
    pub(super) pushed: bool,
    pub(super) services: Option<Box<dyn Services>>,
    pub(super) udp: Option<Udp>,
    pub(super) reporter: Option<Reporter>,
    /// Datagrams may wait to be received.
    pub(super) udp_more: bool,
    /// What the node was told.
    #[cfg(test)]
    pub(super) heard: Vec<Input>,
    _sampler: Sampler,
    signals: Option<os::Signals>,

    interval: Duration,
    /// When the watcher sees the registry next.
    registry_at: Time,
    registry_due: bool,
    pub(super) stopping: Stopping,
    /// From the first request to stop until the loop ends at the latest.
    pub(super) stop_within: Duration,
    /// Peers and clients are still served after the first request to stop, until the node has stopped: a worker's state
    /// is asked for while it goes on with what it runs.
    pub(super) serves_to_the_end: bool,
}

impl Reactor {
    /// A node that is about to run. It listens already, answers once it runs.
    pub(super) fn new(listener: Listener, settings: Settings) -> Result<Reactor, RunError> {
        let Settings {
            mut config,
            identity,
            seed,
            dialects,
            writer,
            boot,
            stored,
            jobs,
            stored_group,
            group,
            agreement,
            loans,
            entropy,
            services,
            discovery,
            supervisor,
        } = settings;
        config.bind = listener.local_addr();
        config.supervisor = supervisor.as_ref().map(|supervisor| supervisor.address.clone());
        let interval = config.interval;
        // Two for each peer: a link of our own, and its successor while it is dialled.
        let mut reserved = RESERVED_DESCRIPTORS + 2 * config.peers.len();
        let limit = os::raise_descriptor_limit();
        if services.is_some() {
            let slots = config.worker.as_ref().map_or(0, |worker| worker.slots as usize);
            // Where there are few, connections have three quarters: who cannot be talked to needs no services.
            reserved += (DESCRIPTORS_FOR_SERVICES + DESCRIPTORS_PER_RUN * slots).min(limit / 4);
        }
        let grace = config.worker.as_ref().map(|worker| worker.grace);
        let room = limit.saturating_sub(reserved).clamp(1, CONNECTIONS);

        let mut clock = Clock::default();
        let now = clock.now();
        let prepared = Prepared::new(&identity.server_id);
        let mut node = Node::restored(config, identity, boot, stored, seed, now)?;
        if let Some(stored) = stored_group {
            node.agree(agreement, stored, entropy, seed.rotate_left(32), now).map_err(RunError::Group)?;
        }
        if let Some(loans) = loans {
            node.lend(loans, boot, seed.rotate_left(16), now).map_err(RunError::Group)?;
        }
        let mut busy = Vec::new();
        let detail = format!("this node serves {room} connections already; try again later");
        let refusal = ErrorAnswer::new("", ErrorCode::Busy, detail);
        Edge::inbound().render(&Message::plain(Body::Error(Box::new(refusal))), &mut busy);

        let poll = Poll::new()?;
        let alarm = os::Alarm::new(poll.registry(), tokens::ALARM)?;
        let mailbox = Mailbox::new(poll.registry(), tokens::WAKER)?;
        let sampler = Sampler::start(mailbox.post.clone())?;
        let dialer = Dialer::new(Resolver::new(mailbox.post.clone()));
        let udp = discovery.map(|discovery| Udp::new(discovery, listener.local_addr(), poll.registry())).transpose()?;
        let reporter = supervisor.map(|it| Reporter::start(it, mailbox.post.clone())).transpose()?;
        let acceptor = Acceptor::new(listener, poll.registry())?;
        let post = mailbox.post.clone();
        let jobs = jobs.map(|jobs| jobs.start(Box::new(move |note| post.send(Note::Stored(note))))).transpose()?;
        let post = mailbox.post.clone();
        let group = group.map(|group| group.start(Box::new(move |note| post.send(Note::Group(note))))).transpose()?;
        let services = services.map(|services| services.start(Arc::new(mailbox.post.clone()))).transpose()?;
        let mut timers = Timers::default();
        let registry_at = now + interval.min(FIRST_REGISTRY);
        timers.arm(registry_at, Who::Registry);
        Ok(Reactor {
            poll,
            mailbox,
            timers,
            clock,
            lookout: Lookout::default(),
            works: false,
            alarm,
            now,
            node,
            unsettled: false,
            node_deadline: None,
            heartbeats: 0,
            later: Vec::new(),
            happened: Vec::new(),
            connections: Connections::default(),
            pool: Pool::default(),
            printing: Vec::new(),
            congested: false,
            talk: Talk::default(),
            told: 0,
            dirty: Vec::new(),
            held_back: Vec::new(),
            held_until: now,
            again: Vec::new(),
            prepared,
            busy,
            room,
            acceptor: Some(acceptor),
            accept_more: false,
            accept_at: now,
            dialer,
            dialects,
            writer,
            jobs,
            group,
            pushed: false,
            services,
            udp,
            reporter,
            udp_more: false,
            #[cfg(test)]
            heard: Vec::new(),
            _sampler: sampler,
            signals: None,
            interval,
            registry_at,
            registry_due: false,
            stopping: Stopping::No,
            stop_within: grace.map_or(STOP_DEADLINE, |grace| grace + STOP_AFTER_GRACE),
            serves_to_the_end: grace.is_some(),
        })
    }

    /// From now on signals ask the node to stop instead of ending the process.
    pub(super) fn watch_signals(&mut self) -> io::Result<()> {
        let stopper = self.stopper();
        self.signals = Some(os::Signals::watch(self.poll.registry(), tokens::SIGNALS, stopper)?);
        Ok(())
    }

    /// A handle that asks the node to stop.
    pub(super) fn stopper(&self) -> Stopper {
        self.mailbox.post.stopper()
    }

    /// Runs until the node has stopped, and ends what runs on other threads.
    pub(super) fn run(mut self, watcher: &mut dyn Watcher) -> Result<Stop, RunError> {
        let ended = self.turns(watcher);
        let Reactor { mailbox, services, jobs, group, writer, .. } = self;
        // First of all: from here on nobody waits for the loop to take something.
        drop(mailbox);
        if let Some(services) = services {
            let grace = if matches!(ended, Ok(Stop::Graceful)) { SERVICES_DEADLINE } else { Duration::ZERO };
            services.finish(grace);
        }
        drop((group, jobs, writer));
        ended
    }

    /// Turn after turn, until the node has stopped.
    fn turns(&mut self, watcher: &mut dyn Watcher) -> Result<Stop, RunError> {
        let mut events = Events::with_capacity(EVENTS_PER_TURN);
        let mut buffer = vec![0; READ_BUFFER];
        loop {
            if let Some(stop) = self.turn(watcher, &mut events, &mut buffer)? {
                return Ok(stop);
            }
        }
    }

    /// One turn. Returns how the node has stopped, once it has.
    pub(super) fn turn(
        &mut self,
        watcher: &mut dyn Watcher,
        events: &mut Events,
        buffer: &mut [u8],
    ) -> Result<Option<Stop>, RunError> {
        let timeout = self.timeout();
        self.take_events(events, timeout, buffer)?;
        self.read_on(buffer);
        self.read_mailbox();
        if self.something_due() {
            self.catch_up(events, buffer)?;
            self.read_mailbox();
            self.fire_timers();
            if self.node_deadline() <= self.now {
                self.tell(Input::Tick);
            }
        }
        if self.held_until <= self.now {
            self.hurry();
        }
        self.settle_all();
        self.flush_stores();
        self.look_at_printing();
        self.show(watcher);
        Ok(self.ended(buffer))
    }

    /// How long this turn may wait. `None` is until an event, of which the alarm is one.
    fn timeout(&mut self) -> Option<Duration> {
        if !self.again.is_empty() || !self.dirty.is_empty() || !self.later.is_empty() {
            return Some(Duration::ZERO);
        }
        let talks = self.talk.is_waiting() && !self.congested;
        if talks || self.accept_more || self.udp_more || !self.mailbox.may_sleep() {
            return Some(Duration::ZERO);
        }
        let next = self.node_deadline().min(self.timers.next().unwrap_or(Time::FAR));
        let timeout = self.alarm.arm(next, self.now);
        if self.held_back.is_empty() {
            return timeout;
        }
        // Nobody waits for it, so it need not be exact, and the alarm is not armed for it.
        let held = self.held_until.since(self.now);
        Some(timeout.map_or(held, |timeout| timeout.min(held)))
    }

    /// Whether a timer or the node is due.
    fn something_due(&mut self) -> bool {
        self.timers.next().is_some_and(|at| at <= self.now) || self.node_deadline() <= self.now
    }

    /// When the node wants to be woken. Asked once after its inputs, not before each wait.
    fn node_deadline(&mut self) -> Time {
        self.settle_node();
        let node = &self.node;
        *self.node_deadline.get_or_insert_with(|| node.deadline().unwrap_or(Time::FAR))
    }

    /// The node has heard something: its deadline may be another.
    pub(super) fn node_changed(&mut self) {
        self.node_deadline = None;
    }

    /// Waits, reads the clock, and handles what the operating system tells. Returns how many events there were.
    fn take_events(
        &mut self,
        events: &mut Events,
        timeout: Option<Duration>,
        buffer: &mut [u8],
    ) -> Result<usize, RunError> {
        // What the edges answer by themselves is not looked out for: it comes in larger numbers when it is left to come.
        let works = std::mem::take(&mut self.works) && timeout != Some(Duration::ZERO);
        let begun = if works { self.clock.now() } else { self.now };
        if !(works && self.look_out(events, begun)?) {
            self.wait(events, timeout)?;
        }
        self.mailbox.wakes_up();
        self.now = self.clock.now();
        if works {
            self.lookout.waited(self.now.since(begun));
        }
        let mut count = 0;
        for event in &*events {
            count += 1;
            match tokens::source(event.token()) {
                Source::Connection(slot) => self.ready(slot, event, buffer),
                Source::Dial(key) => {
                    let mut context =
                        Context { registry: self.poll.registry(), timers: &mut self.timers, now: self.now };
                    let dialled = self.dialer.ready(key, &mut context);
                    self.dialled(dialled);
                }
                Source::Listener => self.accept_more = true,
                Source::Alarm => self.alarm.rang(),
                Source::Discovery => self.udp_more = true,
                // What the mailbox holds is read in every turn.
                Source::Waker => {}
                Source::Signals => {
                    if let Some(may_force) = self.signals.as_mut().and_then(os::Signals::pending) {
                        self.stop(may_force);
                    }
                }
            }
        }
        if self.accept_more {
            self.accept();
        }
        if self.udp_more {
            self.receive_datagrams();
        }
        Ok(count)
    }

    fn wait(&mut self, events: &mut Events, timeout: Option<Duration>) -> Result<(), RunError> {
        match self.poll.poll(events, timeout) {
            Ok(()) => Ok(()),
            // A signal; its own event comes next.
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Looks for events for a moment instead of sleeping, if that is likely to help. Returns whether there are any. The alarm
    /// is one of them.
    fn look_out(&mut self, events: &mut Events, begun: Time) -> Result<bool, RunError> {
        let until = begun + self.lookout.time();
        if until == begun {
            return Ok(false);
        }
        loop {
            self.wait(events, Some(Duration::ZERO))?;
            if !events.is_empty() {
                return Ok(true);
            }
            if self.clock.now() >= until {
                self.lookout.in_vain();
                return Ok(false);
            }
            std::thread::yield_now();
        }
    }

    /// Reads every socket that has something, before timers fire: the process may have been stopped for a minute,
    /// and answers that came in time lie in buffers.
    fn catch_up(&mut self, events: &mut Events, buffer: &mut [u8]) -> Result<(), RunError> {
        for _ in 0..CATCH_UP_ROUNDS {
            if self.take_events(events, Some(Duration::ZERO), buffer)? < EVENTS_PER_TURN {
                break;
            }
        }
        Ok(())
    }

    /// Wakes everyone whose time has come.
    pub(super) fn fire_timers(&mut self) {
        while let Some(who) = self.timers.expire(self.now) {
            match who {
                Who::Connection(slot) => self.expired(slot as usize),
                Who::Dial(key) => {
                    let mut context =
                        Context { registry: self.poll.registry(), timers: &mut self.timers, now: self.now };
                    let dialled = self.dialer.expired(key as usize, &mut context);
                    self.dialled(dialled);
                }
                Who::Acceptor => self.accept(),
                Who::Registry => {
                    self.registry_due = true;
                    // After a suspension the missed ones are left out.
                    self.registry_at = (self.registry_at + self.interval).max(self.now + Duration::from_micros(1));
                    self.timers.arm(self.registry_at, Who::Registry);
                }
                // `ended` looks at the time itself.
                Who::Stop => {}
            }
        }
    }

    /// Shows the watcher what this turn brought.
    fn show(&mut self, watcher: &mut dyn Watcher) {
        for event in self.happened.drain(..) {
            watcher.event(&event);
        }
        if self.registry_due {
            self.registry_due = false;
            self.tell_heartbeats();
            let (load, group, nodes) = (self.node.load(), self.node.group_standing(), self.node.registry(self.now));
            watcher.registry(self.node.identity(), &load, group, &nodes);
        }
    }

    /// News of what a peer speaks are stored.
    pub(super) fn store_dialects(&self) {
        if let Some(writer) = &self.writer {
            writer.save_dialects(&self.dialects);
        }
    }
}
