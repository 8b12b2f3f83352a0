//! What a seed decides before a farm begins.

use std::collections::BTreeMap;
use std::time::Duration;

use super::loans::{Groups, LoanPlan};
use super::manner::Manner;
use crate::sim::network::Host;
use crate::sim::plan::{Dice, Plan};

/// Shortest safety phase: backoffs and time-outs of seconds are to be met in it.
const SAFETY_LEAST: Duration = Duration::from_secs(30);

/// Faults that come faster than this leave no time in which anything works.
const FAULTS_LEAST: Duration = Duration::from_millis(700);

/// What goes wrong in the first phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Trouble {
    /// Everything, every now and then.
    Everything,
    /// Only links between the master and its workers are cut: so often each, for at most so long, and so long after
    /// the last one.
    Cuts {
        /// Cuts of each link.
        times: u64,
        /// The longest.
        longest: Duration,
        /// Time between the end of one and the begin of the next.
        pause: Duration,
    },
    /// Nothing, for so long.
    Nothing(Duration),
}

/// The options of a farm, drawn from its seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct FarmPlan {
    /// The network, the heartbeats, how often faults come and for how long.
    pub(in crate::sim) base: Plan,
    /// Masters, 1 to 2.
    pub(in crate::sim) masters: usize,
    /// The slots of each native worker, 1 to 4; there are 1 to 5.
    pub(in crate::sim) slots: Vec<u32>,
    /// Workers that are told no master, and discover one. In percent.
    pub(in crate::sim) discovering: u64,
    /// Workers of other people, 0 to 2.
    pub(in crate::sim) foreigners: usize,
    /// Clients, 1 to 3.
    pub(in crate::sim) clients: usize,
    /// Jobs of each client.
    pub(in crate::sim) jobs: usize,
    /// Whether clients cancel, bury and kick.
    pub(in crate::sim) meddle: bool,
    /// Shortest time of an attempt.
    pub(in crate::sim) run_least: Duration,
    /// Longest time of an attempt.
    pub(in crate::sim) run_most: Duration,
    /// Attempts that fail, in percent.
    pub(in crate::sim) failing: u64,
    /// What jobs say as TIMEOUT_MS.
    pub(in crate::sim) job_timeout: Duration,
    /// Pause after the first failed attempt.
    pub(in crate::sim) retry_pause: Duration,
    /// How long a worker that is told to stop goes on.
    pub(in crate::sim) grace: Duration,
    /// Longest time that a disk takes for a batch while it is well.
    pub(in crate::sim) sync: Duration,
    /// What goes wrong.
    pub(in crate::sim) trouble: Trouble,
    /// Whether all clients go to the first master.
    pub(in crate::sim) crowded: bool,
    /// How the masters lend workers to each other; `None`: they do not.
    pub(in crate::sim) lend: Option<LoanPlan>,
    /// The last of the native workers, which are started only once all is well: so many.
    pub(in crate::sim) reliefs: usize,
    /// Masters of other people, and how each is.
    pub(in crate::sim) strangers: Vec<Manner>,
    /// Machines that belong to another master than the next one.
    pub(in crate::sim) homes: BTreeMap<Host, Host>,
}

impl FarmPlan {
    /// The plan of this seed.
    pub(in crate::sim) fn draw(seed: u64) -> FarmPlan {
        let mut base = Plan::draw(seed);
        let mut dice = Dice::new(seed ^ 0xfa12_4a12_fa12_4a12);
        let ms = Duration::from_millis;
        base.safety = base.safety.clamp(SAFETY_LEAST, SAFETY_LEAST * 4);
        base.fault_every = base.fault_every.max(FAULTS_LEAST);
        let masters = 1 + dice.pick(2);
        let workers = (1 + dice.pick(5)).max(masters);
        let run_most = dice.duration(ms(5), base.timeout * 3);
        FarmPlan {
            masters,
            slots: (0..workers).map(|_| 1 + u32::try_from(dice.pick(4)).expect("small")).collect(),
            discovering: [0, 0, 30][dice.pick(3)],
            foreigners: dice.pick(3),
            clients: 1 + dice.pick(3),
            jobs: 1 + dice.pick(12),
            meddle: dice.chance(60),
            run_least: Duration::ZERO,
            run_most,
            failing: [0, 20, 60][dice.pick(3)],
            job_timeout: dice.duration(run_most / 2, run_most * 4).max(ms(10)),
            retry_pause: dice.duration(ms(0), ms(1000)),
            grace: dice.duration(ms(0), base.timeout * 2),
            sync: dice.duration(ms(0), ms(50)),
            trouble: Trouble::Everything,
            crowded: false,
            lend: None,
            reliefs: 0,
            strangers: Vec::new(),
            homes: BTreeMap::new(),
            base,
        }
    }

    /// Machines: masters, then native workers, foreign ones, masters of other people, and clients.
    pub(in crate::sim) fn hosts(&self) -> usize {
        self.first_client() + self.clients
    }

    /// Whether this machine is a native worker that is started only once all is well.
    pub(super) fn is_relief(&self, host: Host) -> bool {
        self.worker(host).is_some_and(|nth| nth >= self.slots.len() - self.reliefs)
    }

    /// The first master of other people.
    pub(super) fn first_stranger(&self) -> Host {
        self.masters + self.slots.len() + self.foreigners
    }

    /// How the master of other people on this machine is, if one is.
    pub(super) fn stranger(&self, host: Host) -> Option<&Manner> {
        self.strangers.get(host.checked_sub(self.first_stranger())?)
    }

    /// The masters of other people.
    pub(super) fn all_strangers(&self) -> std::ops::Range<Host> {
        self.first_stranger()..self.first_client()
    }

    /// The groups of masters that agree.
    pub(super) fn groups(&self) -> Option<&Groups> {
        self.lend.as_ref()?.groups.as_ref()
    }

    /// Whether this machine is a native worker; and if so, which.
    pub(super) fn worker(&self, host: Host) -> Option<usize> {
        host.checked_sub(self.masters).filter(|nth| *nth < self.slots.len())
    }

    /// Whether this machine is a foreign worker.
    pub(super) fn is_foreign(&self, host: Host) -> bool {
        let first = self.masters + self.slots.len();
        (first..first + self.foreigners).contains(&host)
    }

    /// The first client.
    pub(super) fn first_client(&self) -> Host {
        self.first_stranger() + self.strangers.len()
    }

    /// The master that a machine belongs to.
    pub(super) fn home(&self, host: Host) -> Host {
        if let Some(home) = self.homes.get(&host) {
            return *home;
        }
        if self.crowded && host >= self.first_client() {
            return 0;
        }
        host % self.masters
    }
}
