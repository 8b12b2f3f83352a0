//! What a seed decides before a group begins.

use std::time::Duration;

use crate::core::AgreementConfig;
use crate::sim::network::Host;
use crate::sim::plan::{Dice, Plan};

/// Whom a master calls before it has learnt of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peering {
    /// All others.
    All,
    /// The first one; that one nobody.
    First,
    /// The next one; the last one nobody.
    Next,
}

/// The options of a group, drawn from its seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupPlan {
    /// The network, the heartbeats of registries, how often faults come and for how long.
    pub(super) base: Plan,
    /// Masters, 1 to 5.
    pub(super) masters: usize,
    /// Clients, 1 to 4. Each is a holder of leases, too.
    pub(super) clients: usize,
    pub(super) peering: Peering,
    /// Whether all masters are expected; else any may found.
    pub(super) expected: bool,
    /// Faults begin at once, so that founding meets cuts.
    pub(super) early: bool,
    /// Whether data directories are lost.
    pub(super) loses_state: bool,
    /// Whether clients remove members.
    pub(super) removes: bool,
    /// Heartbeat of leaders and election time-out.
    pub(super) pace: (Duration, Duration),
    /// Longest time that a disk takes for a batch while it is well.
    pub(super) sync: Duration,
    /// Entries behind a snapshot at which the next one is made.
    pub(super) snapshot_every: u64,
    /// Names of leases: fewer than clients, so that they are waited for.
    pub(super) leases: usize,
    /// The longest term of a lease that is asked for.
    pub(super) ttl: Duration,
    /// The longest pause of a client between an answer and its next request.
    pub(super) think: Duration,
}

impl GroupPlan {
    /// The plan of this seed.
    pub(super) fn draw(seed: u64) -> GroupPlan {
        let mut dice = Dice::new(seed ^ 0x6709_6709_6709_6709);
        let ms = Duration::from_millis;
        let interval = dice.duration(ms(100), ms(600));
        let timeout = Duration::from_micros(crate::time::micros(interval) * dice.between(25, 50) / 10);
        let election = dice.duration(ms(100), ms(500));
        let delay_min = dice.duration(ms(0), election / 50);
        let base = Plan {
            interval,
            timeout,
            delay_min,
            delay_max: delay_min + dice.duration(ms(0), election / 10),
            fault_every: dice.duration(ms(400), ms(4000)),
            safety: dice.duration(ms(10_000), ms(30_000)),
            ..Plan::draw(seed)
        };
        let masters = [1, 2, 3, 3, 3, 4, 5, 5][dice.pick(8)];
        let peering = [Peering::All, Peering::All, Peering::First, Peering::Next][dice.pick(4)];
        let loses_state = masters >= 3 && dice.chance(40);
        GroupPlan {
            masters,
            clients: 1 + dice.pick(4),
            peering,
            // Who does not call all others does not see them while there is no group.
            expected: peering == Peering::All && dice.chance(40),
            early: dice.chance(50),
            loses_state,
            // By force members may be removed until those that are left have no majority: not where some are lost for good.
            removes: !loses_state && dice.chance(50),
            pace: (election / u32::try_from(dice.between(4, 8)).expect("small"), election),
            sync: dice.duration(ms(0), election / 8),
            snapshot_every: [4, 20, 4096][dice.pick(3)],
            leases: 1 + dice.pick(2),
            ttl: dice.duration(ms(1000), ms(5000)),
            think: dice.duration(ms(1), ms(600)),
            base,
        }
    }

    /// Machines: masters, then clients.
    pub(super) fn hosts(&self) -> usize {
        self.masters + self.clients
    }

    /// Whom this master is told to call.
    pub(super) fn peers(&self, host: Host) -> Vec<Host> {
        match self.peering {
            Peering::All => (0..self.masters).filter(|other| *other != host).collect(),
            Peering::First => (0..1).filter(|other| *other != host).collect(),
            Peering::Next => (host + 1..self.masters).take(1).collect(),
        }
    }

    /// The settings of agreement.
    pub(super) fn agreement(&self) -> AgreementConfig {
        let expect = self.expected.then(|| u32::try_from(self.masters).expect("at most 5"));
        AgreementConfig { expect, heartbeat: self.pace.0, election: self.pace.1 }
    }

    /// Law: one group is founded, whatever happens.
    pub(super) fn founds_once(&self) -> bool {
        self.expected
    }

    /// Law: one group is founded, as long as nothing goes wrong. In a row of masters the last one, which calls nobody, founds at
    /// once, and others may not see it; who was removed begins anew; and who starts late must be called again before it is given up.
    pub(super) fn founds_once_in_peace(&self) -> bool {
        let row = self.peering == Peering::Next && self.masters > 2;
        self.expected || !(row || self.removes || self.base.timeout < Duration::from_millis(1500))
    }
}
