//! What goes wrong in a group, and how it becomes well again.

use std::time::Duration;

use super::machine::Process;
use super::world::{Happening, World};
use crate::core::{Command, GroupView, Input};
use crate::sim::network::Host;
use crate::time::Time;

/// Before a data directory is lost nothing goes wrong for so long, and eight time-outs.
const LULL: Duration = Duration::from_secs(8);

impl World {
    /// Plans the first phase.
    pub(super) fn begin_trouble(&mut self) {
        let base = &self.plan.base;
        // Long enough for a group of all to be founded, and its voters to be made.
        let first = if self.plan.early { Duration::ZERO } else { base.timeout * 5 + Duration::from_secs(5) };
        let calm =
            first + base.safety + if self.plan.loses_state { base.timeout * 16 + LULL * 2 } else { Duration::ZERO };
        self.at(Time::ZERO + first, Happening::Fault);
        self.at(Time::ZERO + calm, Happening::Calm);
    }

    /// Something goes wrong.
    pub(super) fn fault(&mut self) -> Result<(), String> {
        if self.calm.is_some() {
            return Ok(());
        }
        if self.now < self.lull {
            self.at(self.lull, Happening::Fault);
            return Ok(());
        }
        self.tally.faults += 1;
        let (timeout, now) = (self.plan.base.timeout, self.now);
        let host = self.dice.pick(self.plan.hosts());
        let other = self.dice.pick(self.plan.masters);
        let master = self.dice.pick(self.plan.masters);
        let most = if self.dice.chance(80) { timeout * 2 } else { timeout * 6 };
        let long = self.dice.duration(Duration::from_millis(1), most);
        let kinds = if self.plan.loses_state { 17 } else { 15 };
        match self.dice.pick(kinds) {
            0 => self.cut_between(master, other, true),
            1 | 2 => self.cut_between(host, other, false),
            3 => (0..self.plan.hosts()).for_each(|peer| self.cut_between(master, peer, true)),
            4 => self.heal(),
            5 | 6 => {
                let conns = self.network.conns_of(host);
                if !conns.is_empty() {
                    let conn = conns[self.dice.pick(conns.len())];
                    self.network.break_up(conn, now, &mut self.dice);
                }
            }
            7 | 8 => {
                self.crash(master)?;
                self.at(now + long, Happening::Start { host: master });
            }
            9 => {
                for master in 0..self.plan.masters {
                    if self.dice.chance(80) {
                        self.crash(master)?;
                        let down = self.dice.duration(Duration::from_millis(1), timeout);
                        self.at(now + down, Happening::Start { host: master });
                    }
                }
            }
            10 => {
                if let Process::Node { paused: paused @ false, .. } = &mut self.machines[master].process {
                    *paused = true;
                    self.at(now + long, Happening::Resume { host: master });
                }
            }
            11 => {
                let local = self.machines[master].clock.at(now);
                if let Some(it) = self.machines[master].awake() {
                    it.give(Input::Command(Command::Stop), local);
                }
                self.settle(master)?;
            }
            14.. if self.plan.loses_state => {
                // Long enough for everybody to come back, and to vote.
                self.lull = now + timeout * 8 + LULL;
                self.heal();
                self.at(self.lull, Happening::Lose { host: master, down: long });
            }
            12 => self.machines[master].disk.ill_until = now + long,
            _ => {
                let slower = self.dice.duration(Duration::from_millis(1), timeout);
                self.machines[master].disk.slow = (now + long * 2, slower);
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

    /// A machine crashes, and its data directory is gone, where its group has a majority without it: what has lost that is
    /// lost for good.
    pub(super) fn lose_state(&mut self, host: Host, down: Duration) -> Result<(), String> {
        if self.calm.is_some() || !self.can_lose(host) {
            return Ok(());
        }
        self.tally.lost += 1;
        self.crash(host)?;
        self.machines[host].disk.lose(&mut self.dice);
        self.at(self.now + down, Happening::Start { host });
        Ok(())
    }

    /// Whether the group can do without this one for good: all masters run and vote, and agree on that.
    fn can_lose(&self, host: Host) -> bool {
        let views: Vec<_> = self.machines[..self.plan.masters]
            .iter()
            .map(|machine| machine.node().and_then(|node| node.group_view()))
            .collect();
        let Some(Some(lost)) = views.get(host) else { return false };
        let sets = &lost.voters;
        let whole = sets.voters.len() == self.plan.masters && sets.voters_outgoing.is_empty();
        let alike = |view: &Option<GroupView>| {
            view.as_ref().is_some_and(|view| {
                view.group_id == lost.group_id && view.voters == *sets && sets.voters.contains(&view.raft_id)
            })
        };
        whole && sets.voters.len() >= 3 && views.iter().all(alike)
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

    /// A master loses its power. Clients do not: what they were told is what the laws are about.
    fn crash(&mut self, host: Host) -> Result<(), String> {
        if host >= self.plan.masters || self.machines[host].is_down() {
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
        let machine = &mut self.machines[host];
        machine.process = Process::Down;
        machine.disk.crash(&mut self.dice)?;
        self.check_founding(host)?;
        self.oracle.down(host, self.now);
        self.network.host_down(host, self.now, &mut self.dice);
        self.schedule_network();
        Ok(())
    }

    /// All is well from now on.
    pub(super) fn become_calm(&mut self) -> Result<(), String> {
        self.calm = Some(self.now);
        self.network.calm();
        self.heal();
        for host in 0..self.plan.hosts() {
            let machine = &mut self.machines[host];
            machine.disk.ill_until = Time::ZERO;
            machine.disk.slow = (Time::ZERO, Duration::ZERO);
            if let Process::Client(it) = &mut machine.process {
                it.calm();
            }
            self.at(self.now, Happening::Resume { host });
            self.at(self.now, Happening::Start { host });
            self.settle(host)?;
        }
        self.at(self.now + self.plan.base.interval, Happening::Look);
        Ok(())
    }
}
