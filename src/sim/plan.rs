//! What a seed decides before a run begins: the cluster, and how bad its world is.

use std::time::Duration;

use crate::core::rng::Rng;

/// Chance for the simulator: the generator of the core, with the draws that a simulator needs.
#[derive(Clone, Debug)]
pub(super) struct Dice(Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(Rng::new(seed))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0.next()
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.0.below(high - low + 1)
    }

    /// A duration from `low` to `high`, to the microsecond.
    pub(super) fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        let us = |duration: Duration| crate::time::micros(duration);
        Duration::from_micros(self.between(us(low), us(high).max(us(low))))
    }

    /// Yes in `percent` of the draws.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    /// One of `n`; `n` is not 0.
    pub(super) fn pick(&mut self, n: usize) -> usize {
        usize::try_from(self.0.below(n as u64)).expect("below a usize")
    }
}

/// The options of a run, drawn from its seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Native nodes, 2 to 6.
    pub natives: usize,
    /// Programs of other people (seed form or SERVER_UUID form), 0 to 2.
    pub foreigners: usize,
    /// Time between heartbeats, 100 ms to 2 s.
    pub interval: Duration,
    /// Silence that makes TIMEOUT, 2.5 to 5 intervals.
    pub timeout: Duration,
    /// Shortest way of a line.
    pub delay_min: Duration,
    /// Longest way of a line; one in a hundred takes up to ten times as long.
    pub delay_max: Duration,
    /// Percent of host pairs for which `--peer` is given.
    pub peered: u64,
    /// Mean time between two faults.
    pub fault_every: Duration,
    /// Length of the safety phase.
    pub safety: Duration,
    /// Clocks run up to this many thousandths fast or slow; 0 to 100.
    pub skew: u64,
    /// Percent of datagrams that are lost.
    pub loss: u64,
    /// Percent of datagrams that come twice.
    pub doubled: u64,
}

impl Plan {
    /// The plan of this seed.
    pub fn draw(seed: u64) -> Plan {
        let mut dice = Dice::new(seed);
        let ms = Duration::from_millis;
        let interval = dice.duration(ms(100), ms(2000));
        // Whole microseconds, as the clocks of the world count.
        let timeout = Duration::from_micros(crate::time::micros(interval) * dice.between(25, 50) / 10);
        let delay_min = dice.duration(ms(0), interval / 20);
        let delay_max = delay_min + dice.duration(ms(0), interval / 4);
        Plan {
            seed,
            natives: dice.pick(5) + 2,
            foreigners: dice.pick(3),
            interval,
            timeout,
            delay_min,
            delay_max,
            peered: [30, 60, 100][dice.pick(3)],
            fault_every: interval * u32::try_from(dice.between(1, 20)).expect("at most 20"),
            safety: interval * u32::try_from(dice.between(40, 120)).expect("at most 120"),
            skew: [0, 0, 10, 100][dice.pick(4)],
            loss: dice.between(0, 30),
            doubled: dice.between(0, 50),
        }
    }
}
