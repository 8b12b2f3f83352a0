//! The machines of a farm: what each is, and how a process is started on it.

use std::collections::VecDeque;
use std::time::Duration;

use super::Planted;
use super::client::Client;
use super::disk::Disk;
use super::executor::Executor;
use super::foreign::Foreign;
use super::plan::FarmPlan;
use super::stranger::Stranger;
use crate::core::{Config, Identity, Input, LoanConfig, Node, QueueConfig, WorkerConfig};
use crate::sim::clock::Clock;
use crate::sim::group::disk::Disk as GroupDisk;
use crate::sim::host::{NativeHost, address};
use crate::sim::network::{Arrival, Host};
use crate::sim::plan::Dice;
use crate::time::Time;
use crate::wire::{Address, Role, ServerId, ServiceName, ServiceOffer};

/// The longest lease that there is, under a planted fault.
const LONGEST: Duration = Duration::from_secs(3600);

/// What happens to a node.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The network brings something.
    Arrival(Arrival),
    /// Its disk or its executor tells something.
    Told(Input),
}

/// What runs on a machine.
pub(super) enum Process {
    Down,
    Node { it: Box<NativeHost>, paused: Option<Time>, inbox: VecDeque<Event> },
    Foreign(Box<Foreign>),
    Stranger(Box<Stranger>),
    Client(Box<Client>),
}

/// A machine.
pub(super) struct Machine {
    pub(super) process: Process,
    pub(super) clock: Clock,
    /// How often a process was started on it.
    pub(super) life: u64,
    /// When it is to be looked at again.
    pub(super) armed: Time,
    pub(super) disk: Disk,
    /// The disk for the ledger, of a master that has a group.
    pub(super) group_disk: Option<GroupDisk>,
    pub(super) executor: Executor,
    /// The masters that a worker is told; none: it discovers one.
    pub(super) masters: Vec<Host>,
}

impl Machine {
    /// A machine without power.
    pub(super) fn new(host: Host, plan: &FarmPlan, dice: &mut Dice) -> Machine {
        let mut masters = vec![plan.home(host)];
        if plan.worker(host).is_some() {
            if dice.chance(plan.discovering) {
                masters.clear();
            } else if dice.chance(50) && !plan.is_relief(host) {
                masters.extend((0..plan.masters).filter(|master| *master != plan.home(host)));
            }
        }
        let node = host < plan.masters + plan.slots.len();
        Machine {
            process: Process::Down,
            clock: Clock::draw(if node { plan.base.skew } else { 0 }, dice),
            life: 0,
            armed: Time::FAR,
            disk: Disk::default(),
            group_disk: plan.groups().filter(|_| host < plan.masters).map(|_| GroupDisk::new(dice)),
            executor: Executor::default(),
            masters,
        }
    }

    /// The node of this machine, if it runs and is not paused.
    pub(super) fn awake(&mut self) -> Option<&mut NativeHost> {
        match &mut self.process {
            Process::Node { it, paused: None, .. } => Some(it),
            _ => None,
        }
    }

    /// Whether its process takes part: it runs and is not paused.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.process, Process::Down)
    }

    /// A node for this machine, restored from its disk.
    pub(super) fn node(
        &self,
        host: Host,
        plan: &FarmPlan,
        planted: Planted,
        now: Time,
        dice: &mut Dice,
    ) -> Result<Node, String> {
        let extra = u32::from(planted == Planted::TooManySlots);
        let seed = dice.next();
        let worker = plan.worker(host);
        let at = |host: &Host| Address::of(address(*host));
        let masters: Vec<Address> = self.masters.iter().map(at).collect();
        let others = (0..plan.masters).chain(plan.all_strangers()).filter(|other| *other != host);
        let config = Config {
            interval: plan.base.interval,
            timeout: plan.base.timeout,
            forget: plan.base.timeout * 4,
            bind: address(host),
            peers: if worker.is_none() { others.map(|other| at(&other)).collect() } else { Vec::new() },
            role: if worker.is_some() { Role::Worker } else { Role::Master },
            queue: QueueConfig { retry_pause: plan.retry_pause, ..QueueConfig::default() },
            worker: worker.map(|nth| WorkerConfig { masters, slots: plan.slots[nth] + extra, grace: plan.grace }),
            ..Config::default()
        };
        let name = if worker.is_some() { format!("worker-{host}") } else { format!("master-{host}") };
        let server_id = ServerId::new(name.clone()).ok_or("a name that is no id")?;
        let boot = u32::try_from(self.life).map_err(|error| error.to_string())?;
        let stored = self.disk.stored(now);
        let local = self.clock.at(now);
        let identity = Identity { server_id, name };
        let lend = plan.lend.as_ref().filter(|_| worker.is_none());
        let config = lend.map_or(config.clone(), |lend| Config {
            load: lend.load.clone(),
            forget_owner: lend.forget_owner,
            group: lend.groups.as_ref().map_or(config.group.clone(), |groups| format!("group-{}", groups.of[host])),
            ..config
        });
        let mut node =
            Node::restored(config, identity, boot, stored, seed, local).map_err(|error| error.to_string())?;
        if let Some(lend) = lend {
            // A planted fault: the epochs of a new start are those of the first.
            let boot = if planted == Planted::OldBoots { 1 } else { boot };
            // Another one: what was drawn is not what holds.
            let lease = if planted == Planted::ReturnsLost { LONGEST } else { lend.loans.lease };
            node.lend(LoanConfig { lease, ..lend.loans.clone() }, boot, seed, local)?;
            if let (Some(groups), Some(disk)) = (&lend.groups, &self.group_disk) {
                let mut entropy = [0; 32];
                entropy.chunks_mut(8).for_each(|chunk| chunk.copy_from_slice(&dice.next().to_be_bytes()));
                node.agree(groups.agreement(host), disk.stored().clone(), entropy, dice.next(), local)
                    .map_err(|why| format!("master {host} cannot go on with what is stored: {why}"))?;
                node.snapshot_every(groups.snapshot_every);
            }
        }
        Ok(node)
    }

    /// What a worker can run.
    pub(super) fn offers() -> Input {
        let offer = |name| ServiceOffer {
            name: ServiceName::new(name).expect("a name of letters"),
            methods: vec![ServiceName::run()],
            idempotent: Vec::new(),
        };
        Input::Offers(vec![offer("query"), offer("work")])
    }
}

/// The machines of a plan.
pub(super) fn machines(plan: &FarmPlan, dice: &mut Dice) -> Vec<Machine> {
    (0..plan.hosts()).map(|host| Machine::new(host, plan, dice)).collect()
}
