//! Worlds of loans: masters that saturate soon, and lend their workers to each other.
//!
//! All faults of a farm happen, and all its laws hold. Masters stand alone, or in one group or two, whose ledgers hold the loans and say
//! who adopts whom; owners die for longer than they are waited for. Masters and workers of other people lend and borrow beside them. When all
//! is well and every job has ended, no loan goes on, every native worker that lives is where it belongs, and all say the same.
//!
//! A part of the worlds is a *feast*: an owner without jobs, and borrowers that have too many, for long. Nothing goes wrong there, and the
//! owner's workers are shared fairly.

use std::collections::BTreeMap;
use std::time::Duration;

use super::manner::Manner;
use super::plan::{FarmPlan, Trouble};
use super::{Planted, run_plan};
use crate::core::{AgreementConfig, LoadConfig, LoanConfig};
use crate::sim::network::Host;
use crate::sim::plan::{Dice, Plan};
use crate::sim::{Failure, Kind, Report};
use crate::wire::Permille;

/// How long the borrowers of a feast are hungry, together with the time in which they become so.
const FEAST: Duration = Duration::from_secs(600);

/// Of a hundred worlds.
const FEASTS: u64 = 3;

/// How the masters of a world lend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct LoanPlan {
    /// When they are saturated.
    pub(super) load: LoadConfig,
    /// By which policies they lend.
    pub(super) loans: LoanConfig,
    /// Masters that agree; `None`: every one stands alone.
    pub(super) groups: Option<Groups>,
    /// How long an owner is waited for.
    pub(super) forget_owner: Duration,
    /// Native workers are started anew once all is well, each at its first home.
    pub(super) anew: bool,
    /// Master 0 has workers and no jobs, the others have jobs.
    pub(super) feast: bool,
}

/// Groups of masters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Groups {
    /// The group of each master.
    pub(super) of: Vec<usize>,
    /// Heartbeat of leaders and election time-out.
    pace: (Duration, Duration),
    /// Longest time that a disk takes for a batch while it is well.
    pub(super) sync: Duration,
    /// Entries behind a snapshot at which the next one is made.
    pub(super) snapshot_every: u64,
}

impl Groups {
    /// The settings of agreement of a master.
    pub(super) fn agreement(&self, host: Host) -> AgreementConfig {
        let size = self.of.iter().filter(|group| **group == self.of[host]).count();
        let expect = Some(u32::try_from(size).expect("at most 4"));
        AgreementConfig { expect, heartbeat: self.pace.0, election: self.pace.1 }
    }
}

/// Runs the loans of one seed to their end.
pub(in crate::sim) fn run(seed: u64, planted: Planted) -> Result<Report, Failure> {
    let mut dice = Dice::new(seed ^ 0x10a9_10a9_10a9_10a9);
    let feast = match planted {
        Planted::Nothing => dice.chance(FEASTS),
        other => other == Planted::OneIsNotHeard,
    };
    let plan = if feast { draw_feast(seed, &mut dice) } else { draw(seed, planted, &mut dice) };
    run_plan(Kind::Loans, plan, planted)
}

/// A world in which everything goes wrong.
fn draw(seed: u64, planted: Planted, dice: &mut Dice) -> FarmPlan {
    let ms = Duration::from_millis;
    let mut plan = FarmPlan::draw(seed);
    plan.base.fault_every = dice.duration(ms(700), ms(6000));
    let grouped = dice.chance(50) || planted == Planted::GroupDiskLies || planted == Planted::EndsLostOnTheWay;
    let of: Vec<usize> = match dice.pick(3) {
        0 => vec![0; 2 + dice.pick(3)],
        1 => (0..2).flat_map(|group| vec![group; 1 + dice.pick(3)]).collect(),
        _ => vec![0; 3],
    };
    let masters = if grouped { of.len() } else { 2 + dice.pick(3) };
    let groups = grouped.then(|| draw_groups(of, &mut plan.base, dice));
    let workers = masters + dice.pick(2 * masters);
    let capacity = 1 + dice.pick(6) as u64;
    let load = draw_load(capacity, dice);
    let loans = LoanConfig {
        keep: dice.pick(2) as u32,
        cap: [None, Some(1), Some(3)][dice.pick(3)],
        cooldown: dice.duration(ms(0), ms(6000)),
        lease: dice.duration(ms(1000), ms(30_000)),
        grace: dice.duration(ms(0), ms(10_000)),
        ..LoanConfig::default()
    };
    let count = [0, 0, 1, 1, 2][dice.pick(5)];
    let strangers: Vec<Manner> = (0..count).map(|_| Manner::draw(dice)).collect();
    // A worker of each master that nobody has ever lent or adopted, so that no job waits for ever where all is well.
    let slots = (0..workers).map(|_| 1 + u32::try_from(dice.pick(2)).expect("small")).chain(vec![1; masters]).collect();
    let forget_owner = plan.base.timeout + dice.duration(ms(1), ms(15_000));
    let anew = dice.chance(40);
    let own = plan.foreigners;
    let mut plan = FarmPlan {
        masters,
        slots,
        // Who discovers its master anew at each start has no home to be seen at.
        discovering: 0,
        foreigners: own + strangers.len() * (1 + dice.pick(2)),
        jobs: 4 + dice.pick(40),
        // The jobs of all clients at one master: it saturates, and the others do not.
        crowded: dice.chance(70),
        lend: Some(LoanPlan { load, loans, groups, forget_owner, anew, feast: false }),
        reliefs: masters,
        strangers,
        ..plan
    };
    let first = plan.masters + plan.slots.len() + own;
    let foreign = first..plan.first_stranger();
    plan.homes = foreign.map(|host| (host, plan.first_stranger() + host % plan.strangers.len().max(1))).collect();
    plan
}

/// An owner and two or three hungry borrowers.
fn draw_feast(seed: u64, dice: &mut Dice) -> FarmPlan {
    let ms = Duration::from_millis;
    let mut plan = FarmPlan::draw(seed);
    let interval = dice.duration(ms(400), ms(1000));
    plan.base = Plan {
        interval,
        timeout: interval * 4,
        delay_min: ms(0),
        delay_max: dice.duration(ms(1), ms(20)),
        skew: 0,
        ..plan.base
    };
    let borrowers = 2 + dice.pick(2);
    let shared = 1 + dice.pick(6);
    let masters = 1 + borrowers;
    let groups = dice.chance(50).then(|| draw_groups(vec![0; masters], &mut plan.base, dice));
    let load = LoadConfig { hold: ms(500), ..draw_load(3, dice) };
    let lease = dice.duration(ms(1000), ms(5000));
    let grace = dice.duration(ms(0), ms(10_000));
    let loans = LoanConfig {
        keep: 0,
        cap: None,
        cooldown: dice.duration(ms(0), ms(3000)),
        lease,
        grace,
        ..LoanConfig::default()
    };
    let clients = borrowers * 3;
    let workers = shared + borrowers;
    let forget_owner = plan.base.timeout * 2;
    let mut homes: BTreeMap<Host, Host> = (0..shared).map(|nth| (masters + nth, 0)).collect();
    homes.extend((0..borrowers).map(|nth| (masters + shared + nth, 1 + nth)));
    let first_client = masters + workers + masters;
    homes.extend((0..clients).map(|nth| (first_client + nth, 1 + nth % borrowers)));
    FarmPlan {
        masters,
        slots: vec![1; workers + masters],
        discovering: 0,
        foreigners: 0,
        clients,
        jobs: 70,
        meddle: false,
        run_least: ms(4000),
        run_most: ms(8000),
        failing: 0,
        job_timeout: ms(60_000),
        trouble: Trouble::Nothing(FEAST),
        lend: Some(LoanPlan { load, loans, groups, forget_owner, anew: false, feast: true }),
        reliefs: masters,
        homes,
        ..plan
    }
}

fn draw_load(capacity: u64, dice: &mut Dice) -> LoadConfig {
    LoadConfig {
        capacity,
        release: 1 + dice.pick(usize::try_from(capacity).expect("small")) as u64,
        hold: dice.duration(Duration::ZERO, Duration::from_millis(2000)),
        cpu_threshold: Permille::new(0),
    }
}

/// Groups whose elections fit the network, which is made quick enough for that.
fn draw_groups(of: Vec<usize>, base: &mut Plan, dice: &mut Dice) -> Groups {
    let ms = Duration::from_millis;
    let election = dice.duration(ms(200), ms(800));
    base.delay_min = base.delay_min.min(dice.duration(ms(0), election / 50));
    base.delay_max = base.delay_min + dice.duration(ms(0), election / 10);
    Groups {
        of,
        pace: (election / u32::try_from(dice.between(4, 8)).expect("small"), election),
        sync: dice.duration(ms(0), election / 8),
        snapshot_every: [4, 20, 4096][dice.pick(3)],
    }
}
