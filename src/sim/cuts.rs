//! The world of cuts: one master, two workers, jobs that outlast the timeout, and nothing but short cuts.
//!
//! Law: a cut that is shorter than the timeout starts nothing twice, and costs no attempt, whatever the interval and the
//! timeout are, and even if connections break or die silently in it. Half of the cuts are as long as that.

use std::collections::BTreeMap;
use std::time::Duration;

use super::farm::{self, FarmPlan, Planted, Trouble};
use super::plan::{Dice, Plan};
use super::{Failure, Kind, Report};

/// Cuts of each of the two links in one run.
const TIMES: u64 = 25;

/// Runs the cuts of one seed.
pub(super) fn run(seed: u64, planted: Planted) -> Result<Report, Failure> {
    let mut dice = Dice::new(seed ^ 0xc075_c075_c075_c075);
    let ms = Duration::from_millis;
    // The defaults, settings about them, and now and then a timeout that is shorter than any answer may take.
    let (timeout, interval) = match dice.pick(4) {
        0 => (ms(6000), ms(2000)),
        1 => (dice.duration(ms(200), ms(3000)), ms(100)),
        _ => {
            let timeout = dice.duration(ms(3000), ms(20_000));
            (timeout, timeout * u32::try_from(dice.between(5, 95)).expect("small") / 100)
        }
    };
    let delay_min = dice.duration(ms(0), ms(25));
    let delay_max = delay_min + dice.duration(ms(0), ms(100));
    let base = Plan { interval, timeout, delay_min, delay_max, skew: 0, loss: 0, doubled: 0, ..Plan::draw(seed) };
    let longest = match planted {
        Planted::LongCuts => timeout * 2 + ms(5000),
        _ => timeout - Duration::from_micros(1),
    };
    // Long enough that whoever noticed the last cut late has resumed.
    let pause = timeout + interval + ms(3000);
    let slots = vec![1 + u32::try_from(dice.pick(2)).expect("small"), 1 + u32::try_from(dice.pick(2)).expect("small")];
    let lanes = slots.iter().sum::<u32>();
    // Enough jobs that some run all the time: a cut and a pause take about two timeouts and some seconds, a job as long.
    let jobs = usize::try_from(lanes).expect("small") * usize::try_from(TIMES).expect("small");
    let plan = FarmPlan {
        masters: 1,
        slots,
        discovering: 0,
        foreigners: 0,
        clients: 1,
        jobs,
        meddle: false,
        run_least: timeout / 2,
        run_most: timeout * 3 + ms(6000),
        failing: 0,
        job_timeout: timeout * 100 + ms(100_000),
        retry_pause: Duration::ZERO,
        grace: timeout,
        sync: ms(10),
        trouble: Trouble::Cuts { times: TIMES, longest, pause },
        crowded: false,
        lend: None,
        reliefs: 0,
        strangers: Vec::new(),
        homes: BTreeMap::new(),
        base,
    };
    farm::run_plan(Kind::Cuts, plan, planted)
}
