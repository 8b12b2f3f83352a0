//! Worlds of loans: masters that saturate soon, and lend their workers to each other.
//!
//! All faults of a farm happen, and all its laws hold. When all is well and every job has ended, no loan goes on and every native
//! worker that lives is where it belongs.

use std::time::Duration;

use super::plan::FarmPlan;
use super::{Planted, run_plan};
use crate::core::{LoadConfig, LoanConfig};
use crate::sim::plan::Dice;
use crate::sim::{Failure, Kind, Report};
use crate::wire::Permille;

/// How the masters of a world lend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sim) struct LoanPlan {
    /// When they are saturated.
    pub(super) load: LoadConfig,
    /// By which policies they lend.
    pub(super) loans: LoanConfig,
}

/// Runs the loans of one seed to their end.
pub(in crate::sim) fn run(seed: u64, planted: Planted) -> Result<Report, Failure> {
    let mut dice = Dice::new(seed ^ 0x10a9_10a9_10a9_10a9);
    let ms = Duration::from_millis;
    let plan = FarmPlan::draw(seed);
    let masters = 2 + dice.pick(3);
    let workers = masters + dice.pick(2 * masters);
    let capacity = 1 + dice.pick(6) as u64;
    let load = LoadConfig {
        capacity,
        release: 1 + dice.pick(capacity as usize) as u64,
        hold: dice.duration(ms(0), ms(2000)),
        cpu_threshold: Permille::new(0),
    };
    let loans = LoanConfig {
        keep: dice.pick(2) as u32,
        cap: [None, Some(1), Some(3)][dice.pick(3)],
        cooldown: dice.duration(ms(0), ms(6000)),
        lease: dice.duration(ms(1000), ms(30_000)),
        grace: dice.duration(ms(0), ms(10_000)),
        ..LoanConfig::default()
    };
    let plan = FarmPlan {
        masters,
        slots: (0..workers).map(|_| 1 + u32::try_from(dice.pick(2)).expect("small")).collect(),
        // Who discovers its master anew at each start has no home to be seen at.
        discovering: 0,
        jobs: 4 + dice.pick(20),
        // The jobs of all clients at one master: it saturates, and the others do not.
        crowded: dice.chance(70),
        lend: Some(LoanPlan { load, loans }),
        ..plan
    };
    run_plan(Kind::Loans, plan, planted)
}
