//! What is watched in worlds of loans, beside the laws of jobs: bonds, ledgers, fairness, what programs of other people hear, and that in the end
//! all say the same and everybody is where it belongs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::Planted;
use super::agree::{Disputes, Statement, adopted, disputed};
use super::bonds::Bonds;
use super::feast::Feast;
use super::machine::Process;
use super::plan::FarmPlan;
use super::storm::Storms;
use super::world::{Happening, World};
use crate::core::{BondView, GroupView, RunId};
use crate::sim::group::oracle::Oracle as Ledgers;
use crate::sim::network::{Conn, Host};
use crate::time::Time;
use crate::wire::{Event, EventKind, GroupId, GroupRole, ServerId};

/// Between two looks at who has what in a feast.
const SAMPLE: Duration = Duration::from_secs(1);

/// What is in dispute of a loan is settled after this, beside two leases and ten time-outs: owners compare the ledger with what they know once a minute.
const SETTLED: Duration = Duration::from_secs(120);

/// Lines that nobody has asked for: each node says no more than one in this time, beside its heartbeats.
const UNASKED: Duration = Duration::from_secs(1);

/// Who watches.
pub(super) struct Watch {
    bonds: Bonds,
    ledgers: Ledgers,
    storms: Storms,
    feast: Feast,
    disputes: Disputes,
    /// Adoptions that were told, each by whoever it concerns.
    adoptions: BTreeSet<String>,
}

impl Watch {
    pub(super) fn new() -> Watch {
        Watch {
            bonds: Bonds::default(),
            ledgers: Ledgers::new(crate::sim::group::Planted::Nothing),
            storms: Storms::default(),
            feast: Feast::default(),
            disputes: Disputes::default(),
            adoptions: BTreeSet::new(),
        }
    }

    /// Leaders that there have been, and adoptions.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.ledgers.leaders(), self.adoptions.len() as u64)
    }

    /// The process of a master is gone.
    pub(super) fn down(&mut self, host: Host, now: Time) {
        self.ledgers.down(host, now);
    }
}

/// How long a loan goes on in a feast before another's turn comes.
fn turn(plan: &FarmPlan) -> Duration {
    let lease = plan.lend.as_ref().map_or(Duration::ZERO, |lend| lend.loans.lease);
    (lease * 2).max(Duration::from_secs(10))
}

impl World {
    /// A node has done something.
    pub(super) fn watch_node(&mut self, host: Host) -> Result<(), String> {
        if self.plan.lend.is_none() {
            return Ok(());
        }
        let Process::Node { it, .. } = &self.machines[host].process else { return Ok(()) };
        if let Some(bond) = it.node.bond_view() {
            return self.watch.bonds.look(host, self.machines[host].life, &bond);
        }
        let view = it.node.group_view();
        if view.is_some() {
            self.watch.ledgers.look(host, view.as_ref(), || it.node.ledger_text(), self.now)?;
        }
        Ok(())
    }

    /// A native worker starts a job of this master, if it is a job of a native one.
    pub(super) fn watch_start(&mut self, host: Host, master: Host) -> Result<(), String> {
        if self.plan.lend.is_none() {
            return Ok(());
        }
        let machine = &self.machines[host];
        let Process::Node { it, .. } = &machine.process else { return Ok(()) };
        let beside = |run: RunId| {
            let attempt = self.attempts_of.get(&(host, machine.life, run))?;
            super::world::master_of(&attempt.job_id).filter(|other| *other != master)
        };
        if let Some(other) = machine.executor.unstopped().find_map(beside) {
            return Err(format!("worker {host} starts a job of master {master}, and runs one of master {other}"));
        }
        let Some(bond) = it.node.bond_view() else { return Ok(()) };
        self.watch.bonds.starts(host, machine.life, master, &bond)
    }

    /// Something was told.
    pub(super) fn watch_event(&mut self, event: &Event) {
        self.tally.loans += u64::from(event.kind == EventKind::WorkerLent);
        let strange = match event.kind {
            EventKind::WorkerBorrowed => event.detail.starts_with("FOREIGN_"),
            EventKind::WorkerLent => event.detail.contains(" goes to stranger-"),
            _ => false,
        };
        self.tally.strange += u64::from(strange);
        if event.kind == EventKind::WorkerAdopted {
            self.watch.adoptions.insert(event.detail.clone());
        }
    }

    /// What is sent: counted, where a program of other people sends or reads it. What truly goes, under planted faults.
    pub(super) fn watch_sent(&mut self, host: Host, conn: Conn, mut bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        if self.plan.lend.is_none() {
            return Ok(bytes);
        }
        let other = self.network.peer_of(conn, host).unwrap_or(host);
        let strange = |host: Host| self.plan.is_foreign(host) || self.plan.stranger(host).is_some();
        let lost: Option<[&str; 2]> = match self.planted {
            Planted::EndsLostOnTheWay => Some(["\"ACTION\":\"RECORD\"", "\"KIND\":\"END\""]),
            Planted::ReturnsLost => Some(["\"type\":\"command_release\"", "\"OWNER\""]),
            Planted::OneIsNotHeard if host + 1 == self.plan.masters => Some(["\"type\":\"request_help\"", ""]),
            _ => None,
        };
        if let Some(words) = lost {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let kept = text.split_inclusive('\n').filter(|line| !words.iter().all(|word| line.contains(word)));
            bytes = kept.collect::<String>().into_bytes();
        }
        if strange(host) {
            self.watch.storms.says(host, &bytes);
        } else if strange(other) && host < self.plan.masters + self.plan.slots.len() {
            if self.planted == Planted::Storms {
                bytes = bytes.repeat(20);
            }
            let every = self.plan.base.interval.min(UNASKED) / 2;
            let nodes = u32::try_from(self.plan.masters + self.plan.slots.len()).unwrap_or(u32::MAX);
            self.watch.storms.hears(other, &bytes, every / nodes, self.now)?;
        }
        Ok(bytes)
    }

    /// Begins to look at who has what.
    pub(super) fn begin_feast(&mut self) {
        if self.plan.lend.as_ref().is_some_and(|lend| lend.feast) {
            self.at(Time::ZERO, Happening::Sample);
        }
    }

    /// Looks at who has what.
    pub(super) fn sample(&mut self) -> Result<(), String> {
        let turn = turn(&self.plan);
        if self.calm.is_some() {
            self.tally.feasts += u64::from(self.watch.feast.is_told(turn));
            return self.watch.feast.check(turn);
        }
        let borrower = |host: Host| {
            let Process::Node { it, .. } = &self.machines[host].process else { return (host, false, 0) };
            (host, it.node.load().load.saturated, it.node.loan_counts().1)
        };
        let all: Vec<(Host, bool, u64)> = (1..self.plan.masters).map(borrower).collect();
        self.watch.feast.sample(self.now, &all, turn);
        self.at(self.now + SAMPLE, Happening::Sample);
        Ok(())
    }

    /// What is not as it is to be yet, of loans, bonds and ledgers, once all is well.
    pub(super) fn unsettled(&mut self) -> Result<Vec<String>, String> {
        let Some(lend) = &self.plan.lend else { return Ok(Vec::new()) };
        // A worker that was started anew elsewhere stays lent to a stranger until it could have stayed there no longer.
        let strange = if self.plan.strangers.is_empty() { Duration::ZERO } else { SETTLED * 6 };
        let most = lend.loans.lease * 2 + self.plan.base.timeout * 10 + SETTLED + strange;
        let mut missing = Vec::new();
        let (mut masters, mut workers) = (Vec::new(), Vec::new());
        let mut views: BTreeMap<GroupId, Vec<GroupView>> = BTreeMap::new();
        for (host, machine) in self.machines.iter().enumerate() {
            match &machine.process {
                Process::Node { it, .. } if host < self.plan.masters => {
                    let (lent, borrowed) = it.node.loan_counts();
                    if lent + borrowed > 0 {
                        missing.push(format!("master {host} has {lent} workers lent, {borrowed} borrowed"));
                    }
                    let spoken_for: Vec<&ServerId> = it.node.spoken_for().collect();
                    if lent == 0 && !spoken_for.is_empty() {
                        missing.push(format!("master {host} gives nothing to {spoken_for:?}, and lends none of them"));
                    }
                    let text = it.node.ledger_text();
                    let ledger: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
                    let open = ledger.as_ref().and_then(|ledger| ledger["LOANS"].as_array()).map_or(0, Vec::len);
                    if open > 0 {
                        missing.push(format!("the ledger of master {host} has {open} open loans"));
                    }
                    match it.node.group_view() {
                        Some(view) => views.entry(view.group_id.clone()).or_default().push(view),
                        None if lend.groups.is_some() => missing.push(format!("master {host} has no group")),
                        None => {}
                    }
                    masters.push(Statement { host, loans: it.node.loan_views(machine.clock.at(self.now)), ledger });
                }
                Process::Node { it, .. } => {
                    if let Some(why) = it.node.away_from_home() {
                        missing.push(format!("worker {host} is not at home: {why}"));
                    }
                    workers.extend(it.node.bond_view().map(|bond| (host, bond)));
                }
                _ => {}
            }
        }
        missing
            .extend(views.values().filter(|views| !are_alike(views)).map(|views| format!("no agreement: {views:?}")));
        missing.extend(workers.iter().filter_map(|(host, bond)| not_adopted(*host, bond, &masters)));
        self.watch.disputes.look(self.now, disputed(&masters, &workers), most)?;
        if !self.watch.disputes.is_empty() {
            missing.push(self.watch.disputes.first());
        }
        Ok(missing)
    }
}

/// Whether the members of a group have one leader, and as much of the ledger.
fn are_alike(views: &[GroupView]) -> bool {
    let Some(first) = views.first() else { return true };
    let same = |view: &GroupView| (view.leader, view.term, view.applied) == (first.leader, first.term, first.applied);
    views.iter().all(same) && views.iter().any(|view| view.role == GroupRole::Leader)
}

/// Law: a worker that the ledger of its owner's group says to be adopted belongs to who has adopted it.
fn not_adopted(worker: Host, bond: &BondView, masters: &[Statement]) -> Option<String> {
    let owner = bond.owner.as_ref()?;
    let of_owner = masters.iter().find(|one| format!("master-{}", one.host) == owner.as_str())?;
    let lawful = adopted(of_owner.ledger.as_ref()?, worker)?;
    (lawful != owner.as_str()).then(|| format!("worker {worker} belongs to {owner}, and was adopted by {lawful}"))
}
