//! The machines of a world of groups: what each is, and how a process is started on it.

use std::collections::VecDeque;

use super::client::Client;
use super::disk::Disk;
use super::plan::GroupPlan;
use crate::core::{Config, Identity, Input, Node};
use crate::sim::clock::Clock;
use crate::sim::host::{NativeHost, address};
use crate::sim::network::{Arrival, Host};
use crate::sim::plan::Dice;
use crate::time::Time;
use crate::wire::{Address, ServerId};

/// What happens to a node.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The network brings something.
    Arrival(Arrival),
    /// Its disk tells something.
    Told(Input),
}

/// What runs on a machine.
pub(super) enum Process {
    Down,
    Node { it: Box<NativeHost>, paused: bool, inbox: VecDeque<Event> },
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
}

impl Machine {
    /// A machine without power. Clients have true clocks.
    pub(super) fn new(host: Host, plan: &GroupPlan, dice: &mut Dice) -> Machine {
        let skew = if host < plan.masters { plan.base.skew } else { 0 };
        Machine {
            process: Process::Down,
            clock: Clock::draw(skew, dice),
            life: 0,
            armed: Time::FAR,
            disk: Disk::new(dice),
        }
    }

    /// The node of this machine, if it runs.
    pub(super) fn node(&self) -> Option<&Node> {
        match &self.process {
            Process::Node { it, .. } => Some(&it.node),
            _ => None,
        }
    }

    /// The node of this machine, if it runs and is not paused.
    pub(super) fn awake(&mut self) -> Option<&mut NativeHost> {
        match &mut self.process {
            Process::Node { it, paused: false, .. } => Some(it),
            _ => None,
        }
    }

    pub(super) fn is_down(&self) -> bool {
        matches!(self.process, Process::Down)
    }

    /// A node for this machine, restored from its disk.
    pub(super) fn start(&self, host: Host, plan: &GroupPlan, now: Time, dice: &mut Dice) -> Result<Node, String> {
        let config = Config {
            interval: plan.base.interval,
            timeout: plan.base.timeout,
            forget: plan.base.timeout * 4,
            bind: address(host),
            peers: plan.peers(host).into_iter().map(|peer| Address::of(address(peer))).collect(),
            ..Config::default()
        };
        let name = format!("master-{host}");
        let server_id = ServerId::new(name.clone()).ok_or("a name that is no id")?;
        let boot = u32::try_from(self.life).map_err(|error| error.to_string())?;
        let local = self.clock.at(now);
        let identity = Identity { server_id, name };
        let mut node = Node::restored(config, identity, boot, Vec::new(), dice.next(), local)
            .map_err(|error| error.to_string())?;
        let mut entropy = [0; 32];
        for chunk in entropy.chunks_mut(8) {
            chunk.copy_from_slice(&dice.next().to_be_bytes());
        }
        node.agree(plan.agreement(), self.disk.stored().clone(), entropy, dice.next(), local)
            .map_err(|why| format!("master {host} cannot go on with what is stored: {why}"))?;
        node.snapshot_every(plan.snapshot_every);
        Ok(node)
    }
}
