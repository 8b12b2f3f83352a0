//! The world of cuts: one master, two workers, jobs that outlast the timeout, and nothing but short cuts.
//!
//! Law: a cut that is shorter than the timeout starts nothing twice, and costs no attempt. How much shorter it must
//! be follows from what else a word of the worker needs to reach the master in time (see [`longest`]).

use std::time::Duration;

use super::farm::{self, FarmPlan, Planted, Trouble};
use super::network::REPEAT_WITHIN;
use super::plan::{Dice, Plan};
use super::{Failure, Kind, Report};

/// Cuts of each of the two links in one run.
const TIMES: u64 = 25;

/// A call that fell into the cut is repeated with the next SYN, at most so long after it healed.
const SYN_GAP: Duration = Duration::from_secs(2);

/// A call that was given up in the cut is followed by another after a backoff, of which at most two fit.
const BACKOFF: Duration = Duration::from_secs(1);

/// The longest cut that is harmless for sure: the timeout, less the interval since the last heartbeat before the cut, the
/// interval to the next one after an answer that was held up, the ways (an unusual one takes ten times as long), and what
/// TCP needs after the end of the cut: until what was held is repeated, or until a new connection stands.
fn longest(plan: &Plan) -> Duration {
    let tcp = REPEAT_WITHIN.max(SYN_GAP + BACKOFF);
    plan.timeout.saturating_sub(plan.interval * 2 + plan.delay_max * 40 + tcp)
}

/// Runs the cuts of one seed.
pub(super) fn run(seed: u64) -> Result<Report, Failure> {
    let mut dice = Dice::new(seed ^ 0xc075_c075_c075_c075);
    let ms = Duration::from_millis;
    let timeout = dice.duration(ms(7000), ms(15_000));
    let interval = timeout / u32::try_from(dice.between(6, 10)).expect("small");
    let delay_min = dice.duration(ms(0), ms(10));
    let delay_max = delay_min + dice.duration(ms(0), ms(10));
    let base = Plan { interval, timeout, delay_min, delay_max, skew: 0, loss: 0, doubled: 0, ..Plan::draw(seed) };
    let longest = longest(&base);
    let pause = timeout + interval;
    let slots = vec![1 + u32::try_from(dice.pick(2)).expect("small"), 1 + u32::try_from(dice.pick(2)).expect("small")];
    let lanes = slots.iter().sum::<u32>();
    // Enough jobs that some run all the time: a cut and a pause take about two timeouts, a job one and three quarters.
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
        run_most: timeout * 3,
        failing: 0,
        job_timeout: timeout * 100,
        retry_pause: Duration::ZERO,
        grace: timeout,
        sync: ms(10),
        trouble: Trouble::Cuts { times: TIMES, longest, pause },
        base,
    };
    farm::run_plan(Kind::Cuts, plan, Planted::Nothing)
}
