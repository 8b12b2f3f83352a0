//! A farm, from the first to the last step of a run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::Planted;
use super::client::{Client, News};
use super::executor::Made;
use super::foreign::Foreign;
use super::machine::{Event, Machine, Process, machines};
use super::oracle::Oracle;
use super::plan::{FarmPlan, Trouble};
use super::stranger::Stranger;
use super::watch::Watch;
use crate::core::{Input, JobNumber, Run, RunId, StoredState, lost_after};
use crate::sim::host::{NativeHost, Noted, Wish};
use crate::sim::network::{Arrival, Host, Network, Transit};
use crate::sim::plan::Dice;
use crate::sim::trace::Fnv;
use crate::sim::{Failure, Kind, Report, Tally};
use crate::time::Time;
use crate::wire::{Attempt, JobId};

/// Virtual time after which every job must have ended once all is well: longer than the longest quarantine, than all
/// backoffs, and than all attempts of all jobs one after the other on one slot.
const ALL_ENDED: Duration = Duration::from_secs(3600);

/// Serials of foreign workers: each has so many of its own for each start.
const SERIALS: u64 = 1 << 20;

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
    /// The same of the disk for a ledger.
    SyncedGroup {
        host: Host,
        life: u64,
    },
    /// A run ends.
    Ran {
        host: Host,
        life: u64,
        run: RunId,
    },
    Fault,
    Heal,
    /// The link of this worker to the master is cut.
    Cut {
        worker: Host,
        left: u64,
    },
    /// It is whole again.
    Mend {
        worker: Host,
        length: Duration,
        left: u64,
    },
    /// Who has how many workers?
    Sample,
    /// The first phase ends.
    Calm,
    /// Has everything ended?
    Look,
}

/// A farm.
pub(super) struct World {
    kind: Kind,
    pub(super) plan: FarmPlan,
    pub(super) planted: Planted,
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
    next_serial: u64,
    /// The attempts that workers started, by worker, its life and the run.
    pub(super) attempts_of: BTreeMap<(Host, u64, RunId), Attempt>,
    pub(super) watch: Watch,
    /// Machines that are not started any more.
    pub(super) gone: BTreeSet<Host>,
    trace: Fnv,
    done: bool,
}

impl World {
    pub(super) fn new(kind: Kind, plan: FarmPlan, planted: Planted) -> World {
        let mut dice = Dice::new(plan.base.seed);
        let machines = machines(&plan, &mut dice);
        let oracle = Oracle::new(matches!(plan.trouble, Trouble::Cuts { .. }));
        World {
            kind,
            network: Network::new(&plan.base),
            plan,
            planted,
            dice,
            machines,
            agenda: BTreeMap::new(),
            seq: 0,
            now: Time::ZERO,
            at_once: 0,
            tally: Tally::default(),
            calm: None,
            oracle,
            next_serial: 0,
            attempts_of: BTreeMap::new(),
            watch: Watch::new(),
            gone: BTreeSet::new(),
            trace: Fnv::default(),
            done: false,
        }
    }

    pub(super) fn run(mut self) -> Result<Report, Failure> {
        for host in 0..self.machines.len() {
            let at = self.dice.duration(Duration::ZERO, self.plan.base.interval * 3);
            self.at(Time::ZERO + at, Happening::Start { host });
        }
        self.begin_trouble();
        self.begin_feast();
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
                kind: self.kind,
                seed: self.plan.base.seed,
                step: self.tally.steps,
                at_us: self.now.as_micros(),
                what,
            })?;
        }
        self.tally.runs = 1;
        self.tally.jobs = self.oracle.accepted().len() as u64;
        self.tally.attempts = self.oracle.attempts();
        (self.tally.leaders, self.tally.adopted) = self.watch.counts();
        let (seed, trace) = (self.plan.base.seed, self.trace.finish());
        Ok(Report { kind: self.kind, seed, tally: self.tally, trace })
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
            Happening::SyncedGroup { host, life } => self.synced_group(host, life)?,
            Happening::Sample => self.sample()?,
            Happening::Ran { host, life, run } => self.ran(host, life, run)?,
            Happening::Fault => self.fault()?,
            Happening::Heal => self.heal(),
            Happening::Cut { worker, left } => self.cut(worker, left),
            Happening::Mend { worker, length, left } => self.mend(worker, length, left),
            Happening::Calm => self.become_calm()?,
            Happening::Look => self.look()?,
        }
        Ok(())
    }

    fn arrive(&mut self, host: Host, arrival: Arrival) -> Result<(), String> {
        let now = self.now;
        match &mut self.machines[host].process {
            Process::Down => {}
            Process::Node { .. } => self.tell(host, Event::Arrival(arrival))?,
            Process::Foreign(it) => it.arrival(arrival, now, &mut self.dice),
            Process::Stranger(it) => it.arrival(arrival, now, &mut self.dice),
            Process::Client(it) => it.arrival(arrival, now, &mut self.dice),
        }
        self.settle(host)
    }

    fn tick(&mut self, host: Host) -> Result<(), String> {
        let now = self.now;
        match &mut self.machines[host].process {
            Process::Down => {}
            Process::Node { .. } => {
                let local = self.machines[host].clock.at(now);
                if let Some(it) = self.machines[host].awake() {
                    it.tick(local);
                }
            }
            Process::Foreign(it) => it.tick(now),
            Process::Stranger(it) => it.tick(now, &mut self.dice),
            Process::Client(it) => it.tick(now, &mut self.dice),
        }
        self.settle(host)
    }

    /// A node is told something, or finds it when it goes on.
    pub(super) fn tell(&mut self, host: Host, event: Event) -> Result<(), String> {
        let local = self.machines[host].clock.at(self.now);
        match (&mut self.machines[host].process, event) {
            (Process::Node { paused: Some(_), inbox, .. }, event) => inbox.push_back(event),
            (Process::Node { it, .. }, Event::Arrival(arrival)) => {
                let calls = matches!(arrival, Arrival::Connected { .. }) && self.plan.worker(host).is_some();
                it.arrival(arrival, local);
                if calls && self.planted == Planted::WorkerForgets {
                    self.forget_runs(host)?;
                }
            }
            (Process::Node { it, .. }, Event::Told(input)) => it.give(input, local),
            _ => {}
        }
        self.settle(host)
    }

    /// Grants what a process wishes, tells the oracle what it did, and looks when it has something to do next.
    pub(super) fn settle(&mut self, host: Host) -> Result<(), String> {
        let mut made = Vec::new();
        let mut news = Vec::new();
        let machine = &mut self.machines[host];
        let (wishes, noted, due, stopped) = match &mut machine.process {
            Process::Down => {
                self.schedule_network();
                return Ok(());
            }
            Process::Node { it, paused, .. } => {
                let due = it.deadline().filter(|_| paused.is_none()).map(|due| machine.clock.reached(due));
                (std::mem::take(&mut it.wishes), std::mem::take(&mut it.noted), due, it.stopped)
            }
            Process::Foreign(it) => {
                made = std::mem::take(&mut it.made);
                (std::mem::take(&mut it.wishes), Vec::new(), it.deadline(), false)
            }
            Process::Stranger(it) => (std::mem::take(&mut it.wishes), Vec::new(), it.deadline(), false),
            Process::Client(it) => {
                news = std::mem::take(&mut it.news);
                (std::mem::take(&mut it.wishes), Vec::new(), it.deadline(), false)
            }
        };
        let due = due.map_or(Time::FAR, |due| due.max(self.now));
        if machine.armed != due {
            machine.armed = due;
            if due < Time::FAR {
                self.at(due, Happening::Tick { host });
            }
        }
        self.note(&wishes);
        made.into_iter().for_each(|made| self.oracle.made(made, true));
        for news in news {
            if let News::Told { id, .. } = &news
                && let Some(job) = JobId::new(id.clone())
                && let Some(master) = master_of(&job).filter(|master| *master < self.plan.masters)
                && let Process::Node { it, .. } = &self.machines[master].process
            {
                self.oracle.spared(id, it.node.spared(&job));
            }
            self.oracle.heard(news)?;
        }
        self.watch_node(host)?;
        for noted in noted {
            if let Noted::Event(event) = &noted {
                self.watch_event(event);
            }
            if let Noted::Ordered { attempt, worker } = noted {
                let machine = &self.machines[host];
                let durable = number_of(&attempt.job_id).is_some_and(|number| machine.disk.has(number));
                let spared = match &machine.process {
                    Process::Node { it, .. } => it.node.spared(&attempt.job_id),
                    _ => 0,
                };
                self.oracle.ordered(attempt, worker, machine.life, durable, spared)?;
            }
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

    fn grant(&mut self, host: Host, wish: Wish) -> Result<(), String> {
        let now = self.now;
        match wish {
            Wish::Call { link, server, within } => {
                let within = self.machines[host].clock.lasts(within);
                let conn = self.network.call(host, server, within, now, &mut self.dice);
                match &mut self.machines[host].process {
                    Process::Node { it, .. } => it.called(link, server, conn),
                    Process::Foreign(it) => it.called(conn),
                    Process::Stranger(it) => it.called(link, conn),
                    Process::Client(it) => it.called(conn),
                    Process::Down => {}
                }
            }
            Wish::Send { conn, bytes } => {
                let bytes = self.watch_sent(host, conn, bytes)?;
                self.network.send(conn, host, &bytes, now, &mut self.dice);
            }
            Wish::Close { conn } => self.network.close(conn, host, now, &mut self.dice),
            Wish::Datagram { to, bytes } => {
                let all = 0..self.plan.masters;
                for to in
                    all.filter(|one| to.is_none_or(|to| to == *one)).chain(to.filter(|to| *to >= self.plan.masters))
                {
                    self.network.datagram(host, to, &bytes, now, &mut self.dice);
                }
            }
            Wish::Write { ticket, write } => {
                self.machines[host].disk.take(ticket, *write);
                if self.planted == Planted::DiskLies
                    && let Some(lie) = self.machines[host].disk.lie()
                {
                    self.tell(host, Event::Told(lie))?;
                }
                self.sync(host);
            }
            Wish::WriteGroup { ticket, write } => {
                let Some(disk) = &mut self.machines[host].group_disk else {
                    return Err(format!("{host} wants to store write {} of a group", ticket.0));
                };
                disk.take(ticket, write);
                let lie = (self.planted == Planted::GroupDiskLies).then(|| disk.lie()).flatten();
                if let Some(lie) = lie {
                    self.tell(host, Event::Told(lie))?;
                }
                self.sync_group(host);
            }
            Wish::Start(run) => self.start_run(host, &run)?,
            Wish::StopRun { run } => {
                let life = self.machines[host].life;
                if let Some(attempt) = self.attempts_of.get(&(host, life, run)) {
                    self.oracle.dropped(attempt, host);
                }
                if let Some(takes) = self.machines[host].executor.stop(run, &mut self.dice) {
                    self.at(now + takes, Happening::Ran { host, life, run });
                }
            }
        }
        Ok(())
    }

    fn start_run(&mut self, host: Host, run: &Run) -> Result<(), String> {
        let Some(nth) = self.plan.worker(host) else { return Err(format!("{host}, a master, is to run {run:?}")) };
        let key = run.params.value()["USER"].as_str().unwrap_or_default().to_owned();
        let life = self.machines[host].life;
        if let Some(attempt) = &run.attempt {
            let master = master_of(&attempt.job_id).filter(|master| *master < self.plan.masters);
            let master = master.ok_or_else(|| format!("{attempt:?} is no master's"))?;
            self.watch_start(host, master)?;
            let machines = &self.machines;
            let lives = |worker: Host| if machines[worker].is_down() { u64::MAX } else { machines[worker].life };
            self.oracle.takes(attempt, host, self.now, lives)?;
            self.oracle.started(attempt, &key, host, life, self.machines[master].life)?;
            self.attempts_of.insert((host, life, run.run), attempt.clone());
        }
        let made = Made { serial: self.next_serial, key };
        self.next_serial += 1;
        let takes = self.machines[host].executor.start(run, made, &self.plan, &mut self.dice);
        self.at(self.now + takes, Happening::Ran { host, life, run: run.run });
        self.oracle.runs(host, self.machines[host].executor.busy(), self.plan.slots[nth])
    }

    fn ran(&mut self, host: Host, life: u64, run: RunId) -> Result<(), String> {
        if self.machines[host].life != life {
            return Ok(());
        }
        let Some((outcome, mut made)) = self.machines[host].executor.end(run) else { return Ok(()) };
        if self.planted == Planted::MadeUpResults && self.dice.chance(10) {
            made.serial = u64::MAX;
        }
        self.oracle.made(made, false);
        self.tell(host, Event::Told(Input::Finished { run, outcome }))
    }

    /// Lets a disk begin its next batch.
    fn sync(&mut self, host: Host) {
        let machine = &mut self.machines[host];
        if let Some(takes) = machine.disk.begin(self.plan.sync, self.now, &mut self.dice) {
            let life = machine.life;
            self.at(self.now + takes, Happening::Synced { host, life });
        }
    }

    fn synced(&mut self, host: Host, life: u64) -> Result<(), String> {
        if self.machines[host].life != life || self.machines[host].is_down() {
            return Ok(());
        }
        let told = self.machines[host].disk.end(self.now, &mut self.dice)?;
        self.tally.failed_writes += u64::from(matches!(told, Some(Input::WriteFailed { .. })));
        self.sync(host);
        // Who lies has said so before.
        match told.filter(|_| self.planted != Planted::DiskLies) {
            Some(told) => self.tell(host, Event::Told(told)),
            None => Ok(()),
        }
    }

    /// The same of the disk for a ledger.
    fn sync_group(&mut self, host: Host) {
        let Some(groups) = self.plan.groups() else { return };
        // Who says it early is late with it.
        let sync = if self.planted == Planted::GroupDiskLies { self.plan.base.timeout } else { groups.sync };
        let machine = &mut self.machines[host];
        let takes = machine.group_disk.as_mut().and_then(|disk| disk.begin(sync, self.now, &mut self.dice));
        if let Some(takes) = takes {
            let life = machine.life;
            self.at(self.now + takes, Happening::SyncedGroup { host, life });
        }
    }

    fn synced_group(&mut self, host: Host, life: u64) -> Result<(), String> {
        let machine = &mut self.machines[host];
        let Some(disk) = machine.group_disk.as_mut().filter(|_| machine.life == life) else { return Ok(()) };
        if matches!(machine.process, Process::Down) {
            return Ok(());
        }
        let (told, refused) = disk.end(self.now, &mut self.dice)?;
        self.tally.failed_writes += u64::from(refused);
        self.sync_group(host);
        // Who lies has said so before.
        if self.planted != Planted::GroupDiskLies {
            told.into_iter().try_for_each(|told| self.tell(host, Event::Told(told)))?;
        }
        Ok(())
    }

    pub(super) fn start(&mut self, host: Host) -> Result<(), String> {
        let early = self.plan.is_relief(host) && self.calm.is_none();
        if !self.machines[host].is_down() || early || self.gone.contains(&host) {
            return Ok(());
        }
        let now = self.now;
        self.network.host_up(host);
        let machine = &mut self.machines[host];
        machine.life += 1;
        machine.armed = Time::FAR;
        if host >= self.plan.first_client() {
            let client = Client::new(host, &self.plan, now, &mut self.dice);
            machine.process = Process::Client(Box::new(client));
            return self.settle(host);
        }
        if let Some(manner) = self.plan.stranger(host).cloned() {
            let calm = self.calm.is_some();
            let stranger = Stranger::new(host, &self.plan, manner, calm, now, &mut self.dice);
            machine.process = Process::Stranger(Box::new(stranger));
            return self.settle(host);
        }
        if self.plan.is_foreign(host) {
            let serials = (host as u64 * SERIALS + machine.life) * SERIALS;
            let mut foreign = Foreign::new(host, &self.plan, serials, now, &mut self.dice);
            if self.calm.is_some() {
                foreign.calm();
            }
            machine.process = Process::Foreign(Box::new(foreign));
            return self.settle(host);
        }
        machine.disk.loses_ends = self.planted == Planted::EndsLost;
        self.note_holds(host);
        self.place_node(host)
    }

    /// Tells the oracle what a master that starts holds for its workers.
    fn note_holds(&mut self, host: Host) {
        if self.plan.masters > 1 || self.plan.meddle || self.plan.worker(host).is_some() {
            return;
        }
        let hold = self.machines[host].clock.lasts(lost_after(self.plan.base.timeout));
        let until = self.now + hold.saturating_sub(Duration::from_millis(1));
        for job in self.machines[host].disk.stored(self.now) {
            let StoredState::Begun { attempt, worker, .. } = job.state else { continue };
            let Some(worker) = worker.strip_prefix("worker-").and_then(|host| host.parse().ok()) else { continue };
            let id = format!("master-{host}-{}-{}", job.number.boot(), job.number.count());
            let Some(job_id) = JobId::new(id) else { continue };
            self.oracle.held(Attempt { job_id, attempt }, worker, until);
        }
    }

    /// Puts a new node on a machine.
    fn place_node(&mut self, host: Host) -> Result<(), String> {
        let now = self.now;
        let machine = &mut self.machines[host];
        let node = machine.node(host, &self.plan, self.planted, now, &mut self.dice)?;
        let it = Box::new(NativeHost::new(host, node));
        machine.process = Process::Node { it, paused: None, inbox: VecDeque::new() };
        let first = if self.plan.worker(host).is_some() { Machine::offers() } else { Input::Tick };
        self.tell(host, Event::Told(first))
    }

    /// A planted fault: the node of a worker knows nothing any more, and what it ran runs on.
    fn forget_runs(&mut self, host: Host) -> Result<(), String> {
        if self.machines[host].executor.busy() == 0 {
            return Ok(());
        }
        self.network.host_down(host, self.now, &mut self.dice);
        self.network.host_up(host);
        self.place_node(host)
    }

    fn resume(&mut self, host: Host) -> Result<(), String> {
        let Process::Node { paused, inbox, .. } = &mut self.machines[host].process else { return Ok(()) };
        if paused.take().is_none() {
            return Ok(());
        }
        // Sockets are read before timers fire.
        for event in std::mem::take(inbox) {
            self.tell(host, event)?;
        }
        self.tick(host)
    }

    /// Whether everything has come to its end, after all is well.
    fn look(&mut self) -> Result<(), String> {
        let mut missing = Vec::new();
        for (host, machine) in self.machines.iter().enumerate() {
            match &machine.process {
                Process::Client(it) if !it.is_done() => missing.push(format!("client {host} waits: {}", it.missing())),
                Process::Node { it, .. } if host < self.plan.masters => {
                    let load = it.node.load().load;
                    if load.pending + load.running > 0 || !machine.disk.is_idle() {
                        missing.push(format!(
                            "master {host} has {} jobs that wait, {} that run",
                            load.pending, load.running
                        ));
                    }
                }
                _ => {}
            }
        }
        missing.extend(self.unsettled()?);
        let since = self.now.since(self.calm.unwrap_or(self.now));
        match missing.is_empty() {
            true => self.done = true,
            false if since > ALL_ENDED => {
                return Err(format!("not ended {since:?} after all is well: {}", missing.join("; ")));
            }
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

/// The number of a job of this id: `master-0-<boot>-<count>`.
fn number_of(id: &JobId) -> Option<JobNumber> {
    let mut parts = id.as_str().rsplit('-');
    let (count, boot) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    JobNumber::new(boot, count)
}

/// The master of a job of this id.
pub(super) fn master_of(id: &JobId) -> Option<Host> {
    id.as_str().strip_prefix("master-")?.split('-').next()?.parse().ok()
}
