//! A world: machines, their network and their faults, from the first to the last step of a run.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use super::clock::Clock;
use super::foreign::ForeignHost;
use super::host::{NativeHost, Wish, address};
use super::network::{Arrival, Host, Network, Transit};
use super::oracle::Oracle;
use super::plan::{Dice, Plan};
use super::trace::Fnv;
use super::{Failure, Kind, Report, Tally};
use crate::core::{Config, Identity, Input, LoadSample, Node};
use crate::time::Time;
use crate::wire::{Address, Permille, ServerId, Status};

/// What happens at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Happening {
    Transit(Transit),
    Tick {
        host: Host,
    },
    Resume {
        host: Host,
    },
    Restart {
        host: Host,
    },
    Fault,
    Heal,
    /// The safety phase ends.
    Calm,
    /// The cluster should have converged.
    Settled,
    End,
}

enum Process {
    Down,
    Native { it: Box<NativeHost>, paused: Option<Time>, inbox: VecDeque<Arrival>, armed: Time },
    Foreign(ForeignHost),
}

struct Machine {
    process: Process,
    clock: Clock,
    peers: Vec<Host>,
    starts: u64,
    oracle: Oracle,
}

/// A world.
pub(super) struct World {
    plan: Plan,
    dice: Dice,
    network: Network,
    machines: Vec<Machine>,
    agenda: BTreeMap<(Time, u64), Happening>,
    seq: u64,
    now: Time,
    step: u64,
    faults: u64,
    crashes: u64,
    trace: Fnv,
    calm: bool,
    settled: bool,
}

impl World {
    pub(super) fn new(plan: Plan) -> World {
        let mut dice = Dice::new(plan.seed);
        let hosts = plan.natives + plan.foreigners;
        let mut machines = Vec::new();
        for host in 0..hosts {
            let native = host < plan.natives;
            let clock = Clock::draw(plan.skew, &mut dice);
            let peers: Vec<Host> =
                (0..hosts).filter(|peer| native && *peer != host && dice.chance(plan.peered)).collect();
            let tick = clock.tick();
            let oracle = Oracle::new(plan.timeout, plan.interval, tick, peers.iter().copied().collect::<BTreeSet<_>>());
            machines.push(Machine { process: Process::Down, clock, peers, starts: 0, oracle });
        }
        let network = Network::new(&plan);
        World {
            plan,
            dice,
            network,
            machines,
            agenda: BTreeMap::new(),
            seq: 0,
            now: Time::ZERO,
            step: 0,
            faults: 0,
            crashes: 0,
            trace: Fnv::default(),
            calm: false,
            settled: false,
        }
    }

    pub(super) fn run(mut self) -> Result<Report, Failure> {
        for host in 0..self.machines.len() {
            let at = self.dice.duration(Duration::ZERO, self.plan.interval * 3);
            self.at(Time::ZERO + at, Happening::Restart { host });
        }
        let calm = Time::ZERO + self.plan.safety;
        // Long enough for the longest backoff and the last repeats of TCP, on the slowest clock.
        let settled = calm + self.plan.timeout * 3 + Duration::from_secs(15);
        self.at(Time::ZERO + self.plan.fault_every, Happening::Fault);
        self.at(calm, Happening::Calm);
        self.at(settled, Happening::Settled);
        self.at(settled + self.plan.interval * 20, Happening::End);
        while let Some(((now, _), happening)) = self.agenda.pop_first() {
            self.now = now;
            self.step += 1;
            self.note(&happening);
            if happening == Happening::End {
                break;
            }
            self.happen(happening).map_err(|what| Failure {
                kind: Kind::Registry,
                seed: self.plan.seed,
                step: self.step,
                at_us: self.now.as_micros(),
                what,
            })?;
        }
        let timeouts = self.machines.iter().map(|machine| machine.oracle.timeouts).sum();
        let (seed, trace) = (self.plan.seed, self.trace.finish());
        let tally = Tally {
            runs: 1,
            steps: self.step,
            faults: self.faults,
            timeouts,
            crashes: self.crashes,
            ..Tally::default()
        };
        Ok(Report { kind: Kind::Registry, seed, tally, trace })
    }

    fn happen(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Transit(transit) => match self.network.step(transit, self.now, &mut self.dice) {
                Some((host, arrival)) => self.arrive(host, arrival)?,
                None => self.schedule_network(),
            },
            Happening::Tick { host } => {
                let due = matches!(&self.machines[host].process,
                    Process::Native { paused: None, armed, .. } if *armed == self.now);
                if due {
                    let local = self.machines[host].clock.at(self.now);
                    self.native(host, |it| it.tick(local))?;
                }
            }
            Happening::Resume { host } => self.resume(host)?,
            Happening::Restart { host } => self.start(host)?,
            Happening::Fault => {
                if !self.calm {
                    self.fault()?;
                    let mean = self.plan.fault_every;
                    let wait = self.dice.duration(mean / 4, mean * 2);
                    self.at(self.now + wait, Happening::Fault);
                }
            }
            Happening::Heal => self.heal(),
            Happening::Calm => {
                self.calm = true;
                self.network.calm();
                self.heal();
                for host in 0..self.machines.len() {
                    self.resume(host)?;
                    self.start(host)?;
                }
            }
            Happening::Settled => self.check_settled()?,
            Happening::End => {}
        }
        Ok(())
    }

    fn fault(&mut self) -> Result<(), String> {
        self.faults += 1;
        let host = self.dice.pick(self.machines.len());
        let other = self.dice.pick(self.machines.len());
        let (timeout, now) = (self.plan.timeout, self.now);
        match self.dice.pick(9) {
            0 => {
                self.network.cut(host, other);
                self.network.cut(other, host);
            }
            1 => self.network.cut(host, other),
            2 => {
                // Isolate one.
                for peer in 0..self.machines.len() {
                    self.network.cut(host, peer);
                    self.network.cut(peer, host);
                }
            }
            3 => self.heal(),
            4 => {
                let conns = self.network.conns_of(host);
                if !conns.is_empty() {
                    let conn = conns[self.dice.pick(conns.len())];
                    self.network.break_up(conn, now, &mut self.dice);
                    self.schedule_network();
                }
            }
            5 => {
                self.crash(host);
                let down = self.dice.duration(Duration::from_millis(1), timeout * 2);
                self.at(now + down, Happening::Restart { host });
            }
            6 => {
                let pause = self.dice.duration(Duration::from_millis(1), timeout * 2);
                if let Process::Native { paused: paused @ None, .. } = &mut self.machines[host].process {
                    *paused = Some(now);
                    self.at(now + pause, Happening::Resume { host });
                }
            }
            7 => {
                let local = self.machines[host].clock.at(now);
                if matches!(&self.machines[host].process, Process::Native { paused: None, .. }) {
                    self.native(host, |it| it.stop(local))?;
                    // What was said at last is on its way before the sockets close.
                    for conn in self.network.conns_of(host) {
                        self.network.close(conn, host, now, &mut self.dice);
                    }
                    self.crash(host);
                    let down = self.dice.duration(Duration::from_millis(1), timeout * 2);
                    self.at(now + down, Happening::Restart { host });
                }
            }
            _ => {
                for n in 0..8_u8 {
                    self.network.datagram(host, other, &[n, 0xff, b'{'], now, &mut self.dice);
                }
                let cpu = Permille::new(self.dice.between(0, 1000));
                let local = self.machines[other].clock.at(now);
                let running = matches!(&self.machines[other].process, Process::Native { paused: None, .. });
                if running {
                    let sample = LoadSample { cpu, memory: cpu };
                    self.native(other, |it| it.give(Input::LoadSample(sample), local))?;
                }
                self.schedule_network();
            }
        }
        if self.dice.chance(50) {
            let wait = self.dice.duration(Duration::from_millis(1), timeout * 2);
            self.at(now + wait, Happening::Heal);
        }
        Ok(())
    }

    fn heal(&mut self) {
        self.network.heal(self.now, &mut self.dice);
        self.schedule_network();
    }

    fn crash(&mut self, host: Host) {
        self.crashes += u64::from(!matches!(self.machines[host].process, Process::Down));
        self.machines[host].process = Process::Down;
        self.network.host_down(host, self.now, &mut self.dice);
        self.schedule_network();
    }

    fn start(&mut self, host: Host) -> Result<(), String> {
        if !matches!(self.machines[host].process, Process::Down) {
            return Ok(());
        }
        self.network.host_up(host);
        let starts = self.machines[host].starts;
        self.machines[host].starts += 1;
        if host >= self.plan.natives {
            let (uuid_form, one_shot) = (self.dice.chance(50), self.dice.chance(50));
            // The seed's own program has no durable identity.
            let id = if uuid_form { format!("SERVER_{host}") } else { format!("seed-{host}-{starts}") };
            self.machines[host].process = Process::Foreign(ForeignHost::new(host, id, uuid_form, one_shot));
            return Ok(());
        }
        let machine = &self.machines[host];
        let config = Config {
            interval: self.plan.interval,
            timeout: self.plan.timeout,
            forget: self.plan.timeout * 4,
            peers: machine.peers.iter().map(|peer| Address::of(address(*peer))).collect(),
            bind: address(host),
            ..Config::default()
        };
        let name = format!("node-{host}");
        let server_id = ServerId::new(name.clone()).ok_or("a name that is no id")?;
        let identity = Identity { server_id, name };
        let local = machine.clock.at(self.now);
        let tick = machine.clock.tick();
        let peers = machine.peers.iter().copied().collect();
        let before = machine.oracle.timeouts;
        let mut oracle = Oracle::new(self.plan.timeout, self.plan.interval, tick, peers);
        oracle.timeouts = before;
        let node = Node::new(config, identity, self.dice.next(), local).map_err(|error| error.to_string())?;
        let it = Box::new(NativeHost::new(host, node));
        self.machines[host].oracle = oracle;
        self.machines[host].process = Process::Native { it, paused: None, inbox: VecDeque::new(), armed: Time::FAR };
        self.native(host, |it| it.give(Input::Tick, local))
    }

    fn resume(&mut self, host: Host) -> Result<(), String> {
        let Process::Native { paused, inbox, .. } = &mut self.machines[host].process else { return Ok(()) };
        let Some(since) = paused.take() else { return Ok(()) };
        let inbox = std::mem::take(inbox);
        let machine = &mut self.machines[host];
        let (local, since) = (machine.clock.at(self.now), machine.clock.at(since));
        machine.oracle.paused(local.since(since));
        // Sockets are read before timers fire.
        for arrival in inbox {
            self.native(host, |it| it.arrival(arrival, local))?;
        }
        self.native(host, |it| it.tick(local))
    }

    fn arrive(&mut self, host: Host, arrival: Arrival) -> Result<(), String> {
        let local = self.machines[host].clock.at(self.now);
        match &mut self.machines[host].process {
            Process::Down => self.schedule_network(),
            Process::Foreign(foreign) => {
                foreign.arrival(arrival);
                let (at, wishes) = (foreign.host, std::mem::take(&mut foreign.wishes));
                self.grant(at, wishes)?;
            }
            Process::Native { paused: Some(_), inbox, .. } => {
                inbox.push_back(arrival);
                self.schedule_network();
            }
            Process::Native { paused: None, .. } => self.native(host, |it| it.arrival(arrival, local))?,
        }
        Ok(())
    }

    /// Lets a native node act, grants its wishes, and checks it.
    fn native(&mut self, host: Host, act: impl FnOnce(&mut NativeHost)) -> Result<(), String> {
        let now = self.now;
        let local = self.machines[host].clock.at(now);
        let Process::Native { it, .. } = &mut self.machines[host].process else { return Ok(()) };
        act(it);
        let (wishes, noted) = (std::mem::take(&mut it.wishes), std::mem::take(&mut it.noted));
        let (registry, deadline, stopped) = (it.node.registry(local), it.deadline(), it.stopped);
        self.note(&wishes);
        self.note(&registry);
        let calm = self.settled;
        let machine = &mut self.machines[host];
        for noted in noted {
            let timeouts = machine.oracle.timeouts;
            machine.oracle.note(noted, local).map_err(|what| format!("node {host}: {what}"))?;
            if calm && machine.oracle.timeouts > timeouts {
                return Err(format!("node {host}: a TIMEOUT in a calm world"));
            }
        }
        if !stopped {
            machine.oracle.check(&registry, local).map_err(|what| format!("node {host}: {what}"))?;
        }
        let due = deadline.map_or(Time::FAR, |due| machine.clock.reached(due).max(now));
        if let Process::Native { armed, .. } = &mut machine.process
            && *armed != due
        {
            *armed = due;
            if due < Time::FAR {
                self.at(due, Happening::Tick { host });
            }
        }
        self.grant(host, wishes)
    }

    fn grant(&mut self, host: Host, wishes: Vec<Wish>) -> Result<(), String> {
        let now = self.now;
        for wish in wishes {
            match wish {
                Wish::Call { link, server, within } => {
                    let within = self.machines[host].clock.lasts(within);
                    let conn = self.network.call(host, server, within, now, &mut self.dice);
                    if let Process::Native { it, .. } = &mut self.machines[host].process {
                        it.called(link, server, conn);
                    }
                }
                Wish::Send { conn, bytes } => self.network.send(conn, host, &bytes, now, &mut self.dice),
                Wish::Close { conn } => self.network.close(conn, host, now, &mut self.dice),
                Wish::Datagram { to: Some(to), bytes } => {
                    self.network.datagram(host, to, &bytes, now, &mut self.dice);
                }
                Wish::Datagram { to: None, .. }
                | Wish::Write { .. }
                | Wish::WriteGroup { .. }
                | Wish::Start(_)
                | Wish::StopRun { .. } => {
                    return Err(format!("{host}, a master without jobs, wants {wish:?}"));
                }
            }
        }
        self.schedule_network();
        Ok(())
    }

    /// After healing everybody must be ALIVE to everybody that calls it.
    fn check_settled(&mut self) -> Result<(), String> {
        self.settled = true;
        for (host, machine) in self.machines.iter().enumerate() {
            let Process::Native { it, .. } = &machine.process else { continue };
            for entry in it.node.registry(machine.clock.at(self.now)) {
                if entry.status != Status::Alive {
                    let (address, status, reason) = (entry.address, entry.status.as_str(), entry.reason);
                    return Err(format!("node {host}: {address} is {status} long after all healed: {reason}"));
                }
            }
        }
        Ok(())
    }

    fn schedule_network(&mut self) {
        for (at, transit) in std::mem::take(&mut self.network.scheduled) {
            self.at(at, Happening::Transit(transit));
        }
    }

    fn at(&mut self, at: Time, happening: Happening) {
        self.agenda.insert((at.max(self.now), self.seq), happening);
        self.seq += 1;
    }

    /// Takes something into the hash of the run.
    fn note(&mut self, what: &impl Hash) {
        self.trace.write_u64(self.now.as_micros());
        what.hash(&mut self.trace);
    }
}
