//! A group and its clients, from the first to the last step of a run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::Planted;
use super::client::Client;
use super::machine::{Event, Machine, Process};
use super::oracle::Oracle;
use super::plan::GroupPlan;
use crate::core::{GroupView, Input};
use crate::sim::host::{NativeHost, Wish};
use crate::sim::network::{Arrival, Host, Network, Transit};
use crate::sim::plan::Dice;
use crate::sim::trace::Fnv;
use crate::sim::{Failure, Kind, Report, Tally};
use crate::time::Time;
use crate::wire::GroupId;

/// Time after which everything must be done once all is well, beside ten time-outs of the registry: that TCP repeats what a
/// cut held back, that calls are made again, that a removed member hears of it, that what was asked before the end is answered.
const ALL_WELL: Duration = Duration::from_secs(40);

/// Things that may happen at one time: more is somebody who always has something due.
const MOST_AT_ONCE: u64 = 100_000;

/// What happens at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Happening {
    Transit(Transit),
    Tick {
        host: Host,
    },
    Resume {
        host: Host,
    },
    Start {
        host: Host,
    },
    /// The batch of a disk is done.
    Synced {
        host: Host,
        life: u64,
    },
    Fault,
    Heal,
    /// A data directory is lost, after a lull.
    Lose {
        host: Host,
        down: Duration,
    },
    /// The first phase ends.
    Calm,
    /// Is everything well?
    Look,
}

/// A group.
pub(super) struct World {
    pub(super) plan: GroupPlan,
    planted: Planted,
    pub(super) dice: Dice,
    pub(super) network: Network,
    pub(super) machines: Vec<Machine>,
    agenda: BTreeMap<(Time, u64), Happening>,
    seq: u64,
    pub(super) now: Time,
    /// Things that happened at this very time.
    at_once: u64,
    pub(super) tally: Tally,
    /// Since when all is well.
    pub(super) calm: Option<Time>,
    pub(super) oracle: Oracle,
    /// Groups whose founding is durable somewhere: of one that a crash cut short nobody knows any more.
    founded: BTreeSet<GroupId>,
    /// Until when nothing goes wrong, in the first phase.
    pub(super) lull: Time,
    trace: Fnv,
    done: bool,
}

/// Names the seed of a run that panics.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "group world, seed {}: it panicked; replay: node simulate --world group --seeds 1 --seed {}",
                self.0, self.0
            );
        }
    }
}

impl World {
    pub(super) fn new(plan: GroupPlan, planted: Planted) -> World {
        let mut dice = Dice::new(plan.base.seed ^ 0x9709);
        World {
            network: Network::new(&plan.base),
            machines: (0..plan.hosts()).map(|host| Machine::new(host, &plan, &mut dice)).collect(),
            plan,
            planted,
            oracle: Oracle::new(planted),
            dice,
            agenda: BTreeMap::new(),
            seq: 0,
            now: Time::ZERO,
            at_once: 0,
            tally: Tally::default(),
            calm: None,
            founded: BTreeSet::new(),
            lull: Time::ZERO,
            trace: Fnv::default(),
            done: false,
        }
    }

    pub(super) fn run(mut self) -> Result<Report, Failure> {
        let seed = self.plan.base.seed;
        let _seed = Seed(seed);
        for host in 0..self.plan.hosts() {
            let at = self.dice.duration(Duration::ZERO, self.plan.base.interval * 2);
            self.at(Time::ZERO + at, Happening::Start { host });
        }
        self.begin_trouble();
        while !self.done
            && let Some(((now, _), happening)) = self.agenda.pop_first()
        {
            self.at_once = if now == self.now { self.at_once + 1 } else { 0 };
            self.now = now;
            self.tally.steps += 1;
            self.note(&happening);
            let happened = match self.at_once {
                MOST_AT_ONCE.. => Err(format!("time stands still: {happening:?}")),
                _ => self.happen(happening),
            };
            happened.map_err(|what| Failure {
                kind: Kind::Group,
                seed,
                step: self.tally.steps,
                at_us: self.now.as_micros(),
                what,
            })?;
        }
        self.tally.runs = 1;
        self.tally.leaders = self.oracle.leaders();
        self.tally.agreed = self.oracle.sets + self.oracle.grants;
        Ok(Report { kind: Kind::Group, seed, tally: self.tally, trace: self.trace.finish() })
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Transit(transit) => match self.network.step(transit, self.now, &mut self.dice) {
                Some((host, arrival)) => self.arrive(host, arrival)?,
                None => self.schedule_network(),
            },
            Happening::Tick { host } => {
                if self.machines[host].armed == self.now {
                    self.machines[host].armed = Time::FAR;
                    self.tick(host)?;
                }
            }
            Happening::Resume { host } => self.resume(host)?,
            Happening::Start { host } => self.start(host)?,
            Happening::Synced { host, life } => self.synced(host, life)?,
            Happening::Fault => self.fault()?,
            Happening::Heal => self.heal(),
            Happening::Lose { host, down } => self.lose_state(host, down)?,
            Happening::Calm => self.become_calm()?,
            Happening::Look => self.look()?,
        }
        Ok(())
    }

    fn arrive(&mut self, host: Host, arrival: Arrival) -> Result<(), String> {
        let now = self.now;
        match &mut self.machines[host].process {
            Process::Down => {}
            Process::Node { .. } => return self.tell(host, Event::Arrival(arrival)),
            Process::Client(it) => it.arrival(arrival, now, &mut self.dice),
        }
        self.settle(host)
    }

    fn tick(&mut self, host: Host) -> Result<(), String> {
        let (now, local) = (self.now, self.machines[host].clock.at(self.now));
        match &mut self.machines[host].process {
            Process::Node { it, paused: false, .. } => it.tick(local),
            Process::Client(it) => it.tick(now, &mut self.dice),
            _ => {}
        }
        self.settle(host)
    }

    /// A node is told something, or finds it when it goes on.
    fn tell(&mut self, host: Host, event: Event) -> Result<(), String> {
        let local = self.machines[host].clock.at(self.now);
        match (&mut self.machines[host].process, event) {
            (Process::Node { paused: true, inbox, .. }, event) => inbox.push_back(event),
            (Process::Node { it, .. }, Event::Arrival(arrival)) => it.arrival(arrival, local),
            (Process::Node { it, .. }, Event::Told(input)) => it.give(input, local),
            _ => {}
        }
        self.settle(host)
    }

    /// Grants what a process wishes, tells the oracle what it did, and looks when it has something to do next.
    pub(super) fn settle(&mut self, host: Host) -> Result<(), String> {
        let now = self.now;
        let mut news = Vec::new();
        let machine = &mut self.machines[host];
        let (wishes, due, stopped) = match &mut machine.process {
            Process::Down => {
                self.schedule_network();
                return Ok(());
            }
            Process::Node { it, paused, .. } => {
                let due = it.deadline().filter(|_| !*paused).map(|due| machine.clock.reached(due));
                it.noted.clear();
                (std::mem::take(&mut it.wishes), due, it.stopped)
            }
            Process::Client(it) => {
                news = std::mem::take(&mut it.news);
                (std::mem::take(&mut it.wishes), it.deadline(), false)
            }
        };
        let due = due.map_or(Time::FAR, |due| due.max(now));
        if machine.armed != due {
            machine.armed = due;
            if due < Time::FAR {
                self.at(due, Happening::Tick { host });
            }
        }
        self.note(&wishes);
        if let Some(node) = self.machines[host].node() {
            let view = node.group_view();
            self.oracle.look(host, view.as_ref(), || node.ledger_text(), now)?;
        }
        for news in news {
            self.oracle.heard(news, now)?;
        }
        for wish in wishes {
            self.grant(host, wish)?;
        }
        self.schedule_network();
        if stopped {
            self.leave(host)?;
        }
        Ok(())
    }

    /// Law: one group is founded.
    pub(super) fn check_founding(&mut self, host: Host) -> Result<(), String> {
        let stored = self.machines[host].disk.stored();
        if let Some(membership) = stored.membership.as_ref().filter(|_| stored.snapshot.is_some()) {
            self.founded.insert(membership.group_id.clone());
        }
        let law = self.plan.founds_once() || (self.plan.founds_once_in_peace() && self.tally.faults == 0);
        match self.founded.len() {
            0 | 1 => Ok(()),
            _ if !law => Ok(()),
            groups => Err(format!(
                "{groups} groups were founded, after {} faults; peering {:?}, all expected: {}",
                self.tally.faults, self.plan.peering, self.plan.expected
            )),
        }
    }

    fn grant(&mut self, host: Host, wish: Wish) -> Result<(), String> {
        let now = self.now;
        match wish {
            Wish::Call { link, server, within } => {
                let within = self.machines[host].clock.lasts(within);
                let conn = self.network.call(host, server, within, now, &mut self.dice);
                match &mut self.machines[host].process {
                    Process::Node { it, .. } => it.called(link, server, conn),
                    Process::Client(it) => it.called(conn),
                    Process::Down => {}
                }
            }
            Wish::Send { conn, bytes } => self.network.send(conn, host, &bytes, now, &mut self.dice),
            Wish::Close { conn } => self.network.close(conn, host, now, &mut self.dice),
            // Masters answer discovery and do not ask; nobody here does.
            Wish::Datagram { .. } => {}
            Wish::WriteGroup { ticket, write } => {
                self.machines[host].disk.take(ticket, write);
                if self.planted == Planted::DiskLies
                    && let Some(lie) = self.machines[host].disk.lie()
                {
                    self.tell(host, Event::Told(lie))?;
                }
                self.sync(host);
            }
            Wish::Write { .. } | Wish::Start(_) | Wish::StopRun { .. } => {
                return Err(format!("{host} has jobs, and nobody submitted any: {wish:?}"));
            }
        }
        Ok(())
    }

    /// Lets a disk begin its next batch.
    fn sync(&mut self, host: Host) {
        // Who says it early is late with it.
        let sync = if self.planted == Planted::DiskLies { self.plan.base.timeout } else { self.plan.sync };
        let machine = &mut self.machines[host];
        if let Some(takes) = machine.disk.begin(sync, self.now, &mut self.dice) {
            let life = machine.life;
            self.at(self.now + takes, Happening::Synced { host, life });
        }
    }

    fn synced(&mut self, host: Host, life: u64) -> Result<(), String> {
        if self.machines[host].life != life || self.machines[host].is_down() {
            return Ok(());
        }
        let (told, refused) = self.machines[host].disk.end(self.now, &mut self.dice)?;
        self.tally.failed_writes += u64::from(refused);
        self.check_founding(host)?;
        self.sync(host);
        for told in told {
            // Who lies has said so before.
            if self.planted != Planted::DiskLies {
                self.tell(host, Event::Told(told))?;
            }
        }
        Ok(())
    }

    fn start(&mut self, host: Host) -> Result<(), String> {
        if !self.machines[host].is_down() {
            return Ok(());
        }
        let now = self.now;
        self.network.host_up(host);
        let machine = &mut self.machines[host];
        machine.life += 1;
        machine.armed = Time::FAR;
        if host >= self.plan.masters {
            let client = Client::new(host, &self.plan, self.planted, now, &mut self.dice);
            machine.process = Process::Client(Box::new(client));
            return self.settle(host);
        }
        let node = machine.start(host, &self.plan, now, &mut self.dice)?;
        let it = Box::new(NativeHost::new(host, node));
        machine.process = Process::Node { it, paused: false, inbox: VecDeque::new() };
        self.tell(host, Event::Told(Input::Tick))
    }

    fn resume(&mut self, host: Host) -> Result<(), String> {
        let Process::Node { paused, inbox, .. } = &mut self.machines[host].process else { return Ok(()) };
        if !std::mem::take(paused) {
            return Ok(());
        }
        // Sockets are read before timers fire.
        for event in std::mem::take(inbox) {
            self.tell(host, event)?;
        }
        self.tick(host)
    }

    /// Whether everything is well: each group has one leader whom all its members follow, and every client was answered.
    fn look(&mut self) -> Result<(), String> {
        let mut missing = Vec::new();
        let mut groups: BTreeMap<GroupId, Vec<(Host, GroupView)>> = BTreeMap::new();
        for (host, machine) in self.machines.iter().enumerate() {
            match &machine.process {
                Process::Client(it) if !it.is_done() => missing.push(format!("client {host}: {}", it.missing())),
                Process::Node { it, .. } => match it.node.group_view() {
                    Some(view) => groups.entry(view.group_id.clone()).or_default().push((host, view)),
                    None => {
                        let local = machine.clock.at(self.now);
                        let why = it.node.group_summary(local).unwrap_or_default();
                        missing.push(format!("master {host} has no group: {why}"));
                    }
                },
                _ => {}
            }
        }
        for (group, views) in &groups {
            let (_, first) = &views[0];
            let alike = |(_, view): &(Host, GroupView)| {
                (view.leader, view.term, view.applied) == (first.leader, first.term, first.applied)
            };
            let leads = |(_, view): &(Host, GroupView)| first.leader == Some(view.raft_id);
            if !views.iter().all(alike) || !views.iter().any(leads) {
                missing.push(format!("group {} does not agree: {views:?}", group.short()));
            }
        }
        let since = self.now.since(self.calm.unwrap_or(self.now));
        let bound = ALL_WELL + self.plan.base.timeout * 10;
        match missing.is_empty() {
            true => {
                self.done = true;
                self.tally.healed_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
            }
            false if since > bound => return Err(format!("not well {since:?} after all is: {}", missing.join("; "))),
            false => self.at(self.now + self.plan.base.interval, Happening::Look),
        }
        Ok(())
    }

    pub(super) fn schedule_network(&mut self) {
        for (at, transit) in std::mem::take(&mut self.network.scheduled) {
            self.at(at, Happening::Transit(transit));
        }
    }

    pub(super) fn at(&mut self, at: Time, happening: Happening) {
        self.agenda.insert((at.max(self.now), self.seq), happening);
        self.seq += 1;
    }

    /// Takes something into the hash of the run.
    fn note(&mut self, what: &impl Hash) {
        self.trace.write_u64(self.now.as_micros());
        what.hash(&mut self.trace);
    }
}
