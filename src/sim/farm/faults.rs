//! What goes wrong in a farm, and how it becomes well again.

use std::time::Duration;

use super::machine::Process;
use super::manner::Manner;
use super::plan::Trouble;
use super::world::{Happening, World};
use crate::core::{Command, Input};
use crate::sim::network::Host;
use crate::time::Time;
use crate::wire::JobId;

impl World {
    /// Plans the first phase.
    pub(super) fn begin_trouble(&mut self) {
        match self.plan.trouble {
            Trouble::Everything => {
                self.at(Time::ZERO + self.plan.base.fault_every, Happening::Fault);
                self.at(Time::ZERO + self.plan.base.safety, Happening::Calm);
            }
            Trouble::Nothing(length) => self.at(Time::ZERO + length, Happening::Calm),
            Trouble::Cuts { times, pause, .. } => {
                for nth in 0..self.plan.slots.len() {
                    let first = self.dice.duration(pause, pause * 3);
                    self.at(Time::ZERO + first, Happening::Cut { worker: self.plan.masters + nth, left: times });
                }
            }
        }
    }

    /// Something goes wrong.
    pub(super) fn fault(&mut self) -> Result<(), String> {
        if self.calm.is_some() {
            return Ok(());
        }
        self.tally.faults += 1;
        let (timeout, now) = (self.plan.base.timeout, self.now);
        let host = self.dice.pick(self.machines.len());
        let other = self.dice.pick(self.machines.len());
        let master = self.dice.pick(self.plan.masters);
        let long = self.dice.duration(Duration::from_millis(1), timeout * 2);
        let kinds = if self.plan.lend.is_some() { 14 } else { 12 };
        match self.dice.pick(kinds) {
            0 => self.cut_between(host, other, true),
            1 => self.cut_between(host, other, false),
            2 => (0..self.machines.len()).for_each(|peer| self.cut_between(host, peer, true)),
            3 => self.heal(),
            4 | 5 => {
                let conns = self.network.conns_of(host);
                if !conns.is_empty() {
                    let conn = conns[self.dice.pick(conns.len())];
                    self.network.break_up(conn, now, &mut self.dice);
                }
            }
            6 | 7 => {
                self.crash(host)?;
                self.at(now + long, Happening::Start { host });
            }
            8 => {
                if let Process::Node { paused: paused @ None, .. } = &mut self.machines[host].process {
                    *paused = Some(now);
                    self.at(now + long, Happening::Resume { host });
                }
            }
            9 => {
                let local = self.machines[host].clock.at(now);
                if let Some(it) = self.machines[host].awake() {
                    it.give(Input::Command(Command::Stop), local);
                }
                self.settle(host)?;
            }
            10 => {
                let machine = &mut self.machines[master];
                machine.disk.ill_until = now + long;
                machine.group_disk.as_mut().into_iter().for_each(|disk| disk.ill_until = now + long);
            }
            12 => self.lose_for_long(master)?,
            13 => self.lose_majority(master)?,
            _ => {
                let slower = self.dice.duration(Duration::from_millis(1), timeout);
                let machine = &mut self.machines[master];
                machine.disk.slow = (now + long * 2, slower);
                machine.group_disk.as_mut().into_iter().for_each(|disk| disk.slow = (now + long * 2, slower));
            }
        }
        self.schedule_network();
        if self.dice.chance(50) {
            let wait = self.dice.duration(Duration::from_millis(1), timeout * 2);
            self.at(now + wait, Happening::Heal);
        }
        let mean = self.plan.base.fault_every;
        let wait = self.dice.duration(mean / 4, mean * 2);
        self.at(now + wait, Happening::Fault);
        Ok(())
    }

    /// A master dies for longer than the owner of an orphan is waited for.
    fn lose_for_long(&mut self, master: Host) -> Result<(), String> {
        let forgotten = self.plan.lend.as_ref().map_or(Duration::ZERO, |lend| lend.forget_owner);
        let down = forgotten + self.dice.duration(self.plan.base.timeout, self.plan.base.timeout * 4);
        self.crash(master)?;
        self.at(self.now + down, Happening::Start { host: master });
        Ok(())
    }

    /// Most masters of a group are gone for a while.
    fn lose_majority(&mut self, master: Host) -> Result<(), String> {
        let group = |host: Host| self.plan.groups().map(|groups| groups.of[host]);
        let all: Vec<Host> = (0..self.plan.masters).filter(|host| group(*host) == group(master)).collect();
        for host in all {
            if self.dice.chance(70) {
                self.crash(host)?;
                let down = self.dice.duration(Duration::from_millis(1), self.plan.base.timeout * 3);
                self.at(self.now + down, Happening::Start { host });
            }
        }
        Ok(())
    }

    fn cut_between(&mut self, a: Host, b: Host, both: bool) {
        self.tally.cuts += u64::from(a != b);
        self.network.cut(a, b);
        if both {
            self.network.cut(b, a);
        }
    }

    pub(super) fn heal(&mut self) {
        self.network.heal(self.now, &mut self.dice);
        self.schedule_network();
    }

    /// A machine loses its power. Clients do not: what they were told is what the laws are about.
    pub(super) fn crash(&mut self, host: Host) -> Result<(), String> {
        if host >= self.plan.first_client() || self.machines[host].is_down() {
            return Ok(());
        }
        self.tally.crashes += 1;
        self.take_down(host)
    }

    /// A node that was told to stop has done so: what it said at last is on its way before its sockets close.
    pub(super) fn leave(&mut self, host: Host) -> Result<(), String> {
        for conn in self.network.conns_of(host) {
            self.network.close(conn, host, self.now, &mut self.dice);
        }
        self.take_down(host)?;
        let down = self.dice.duration(Duration::from_millis(1), self.plan.base.timeout * 2);
        self.at(self.now + down, Happening::Start { host });
        Ok(())
    }

    fn take_down(&mut self, host: Host) -> Result<(), String> {
        if let Process::Node { it, .. } = &self.machines[host].process {
            let spared: Vec<(JobId, u32)> = it.node.all_spared().collect();
            spared.into_iter().for_each(|(job, count)| self.oracle.spared(job.as_str(), count));
        }
        let machine = &mut self.machines[host];
        machine.process = Process::Down;
        machine.executor.crash();
        machine.disk.crash(self.now, &mut self.dice)?;
        if let Some(disk) = &mut machine.group_disk {
            disk.crash(&mut self.dice)?;
            self.watch.down(host, self.now);
        }
        self.network.host_down(host, self.now, &mut self.dice);
        self.schedule_network();
        Ok(())
    }

    /// All is well from now on.
    pub(super) fn become_calm(&mut self) -> Result<(), String> {
        self.calm = Some(self.now);
        self.network.calm();
        self.heal();
        for host in 0..self.machines.len() {
            let machine = &mut self.machines[host];
            machine.disk.ill_until = Time::ZERO;
            machine.disk.slow = (Time::ZERO, Duration::ZERO);
            if let Some(disk) = &mut machine.group_disk {
                (disk.ill_until, disk.slow) = (Time::ZERO, (Time::ZERO, Duration::ZERO));
            }
            match &mut machine.process {
                Process::Client(it) => it.calm(),
                Process::Foreign(it) => it.calm(),
                Process::Stranger(it) => it.calm(self.now),
                _ => {}
            }
        }
        self.end_keepers()?;
        let anew = self.plan.masters > 1 && self.plan.lend.as_ref().is_none_or(|lend| lend.anew);
        for host in 0..self.machines.len() {
            if anew && self.plan.worker(host).is_some() {
                // Workers stay with the master that took them, so that somebody must send them home.
                self.machines[host].masters = vec![self.plan.home(host)];
                self.crash(host)?;
            }
            self.at(self.now, Happening::Resume { host });
            self.at(self.now, Happening::Start { host });
            self.settle(host)?;
        }
        self.at(self.now + self.plan.base.interval, Happening::Look);
        Ok(())
    }

    /// Who never gives back what it has borrowed ends, for good: nothing else ends those loans.
    fn end_keepers(&mut self) -> Result<(), String> {
        for host in self.plan.all_strangers() {
            if self.plan.stranger(host).is_some_and(Manner::keeps) {
                self.gone.insert(host);
                self.crash(host)?;
            }
        }
        Ok(())
    }

    /// Cuts the link of a worker to the master, for less than may matter. Connections break or die silently in it, or
    /// just when it is over.
    pub(super) fn cut(&mut self, worker: Host, left: u64) {
        let Trouble::Cuts { longest, .. } = self.plan.trouble else { return };
        self.tally.faults += 1;
        self.tally.cuts += 1;
        match self.dice.pick(3) {
            0 => self.network.cut(worker, 0),
            1 => self.network.cut(0, worker),
            _ => {
                self.network.cut(worker, 0);
                self.network.cut(0, worker);
            }
        }
        // Half of them just as long as is harmless, for that is where it would show.
        let least = if self.dice.chance(50) { longest * 19 / 20 } else { Duration::from_millis(1) };
        let length = self.dice.duration(least, longest);
        self.break_some(worker);
        self.at(self.now + length, Happening::Mend { worker, length, left: left - 1 });
    }

    /// The link is whole again; the next cut comes when both ends have had time to notice.
    pub(super) fn mend(&mut self, worker: Host, length: Duration, left: u64) {
        let Trouble::Cuts { pause, .. } = self.plan.trouble else { return };
        self.network.mend(worker, 0, length, self.now, &mut self.dice);
        self.network.mend(0, worker, length, self.now, &mut self.dice);
        self.break_some(worker);
        let next = self.dice.duration(pause, pause * 3 / 2);
        if left > 0 {
            self.at(self.now + next, Happening::Cut { worker, left });
        } else if self.tally.cuts == self.planned_cuts() {
            self.at(self.now + next, Happening::Calm);
        }
    }

    fn planned_cuts(&self) -> u64 {
        let Trouble::Cuts { times, .. } = self.plan.trouble else { return 0 };
        times * self.plan.slots.len() as u64
    }

    /// Now and then connections of the link break, with the loss of what was under way last, or die silently. In a cut an
    /// end does not learn of a break before it sends.
    fn break_some(&mut self, worker: Host) {
        for conn in self.network.conns_between(worker, 0) {
            match self.dice.pick(8) {
                0 => self.network.break_up(conn, self.now, &mut self.dice),
                1 => self.network.mute(conn),
                _ => {}
            }
        }
        self.schedule_network();
    }
}
