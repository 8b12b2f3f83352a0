//! Load: the average of what is sampled, and the two switches that hang on it (design.md section 6).
//!
//! The switches are not mixed. **Saturated** hangs on the pending jobs and asks for loans; **hot** hangs on the CPU
//! of the machine and redirects. Both have hysteresis:
//!
//! ```text
//!   pending > capacity for `hold`  ──> saturated ──  pending < release for `hold` ──> released
//!   cpu > threshold                ──> hot       ──  cpu <= threshold - 10 points ──> cool
//! ```

use std::time::Duration;

use super::{ConfigError, LoadSample};
use crate::time::Time;
use crate::wire::{LoadReport, Permille, Score};

/// How far below its threshold the CPU must fall until a hot node is cool again: 10 points.
const COOL_BELOW: u64 = 100;

/// Weight of a new sample in the average, as one part of so many. With a sample a second, three quarters of the
/// average are younger than five seconds.
const SAMPLE_WEIGHT: u64 = 4;

/// Thresholds of load (design.md section 6).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoadConfig {
    /// Pending jobs above which the node becomes saturated. Default 100, range 1 to 1,000,000,000. If unsure, the
    /// jobs that the farm finishes in the time that a user is willing to wait.
    pub capacity: u64,
    /// Pending jobs below which it stops being saturated. Default 60 % of `capacity`, range 1 to `capacity`. If
    /// unsure, the default.
    pub release: u64,
    /// How long either must last. Default 2 s, range 0 to 1 h. If unsure, the default.
    pub hold: Duration,
    /// CPU of the machine above which the node is hot; cool again ten points below. Default 70 %, 0 to 100 %, 0 =
    /// never. If unsure, the default.
    pub cpu_threshold: Permille,
}

impl Default for LoadConfig {
    fn default() -> LoadConfig {
        LoadConfig { capacity: 100, release: 60, hold: Duration::from_secs(2), cpu_threshold: Permille::new(700) }
    }
}

impl LoadConfig {
    /// Whether the thresholds are within their ranges. The error names the first that is not.
    pub fn check(&self) -> Result<(), ConfigError> {
        let range = |setting, value: String, expected: &str| {
            Err(ConfigError::Range { setting, value, expected: expected.to_owned() })
        };
        if !(1..=1_000_000_000).contains(&self.capacity) {
            return range("capacity", self.capacity.to_string(), "1 to 1000000000 jobs");
        }
        if !(1..=self.capacity).contains(&self.release) {
            let expected = format!("1 to the capacity of {} jobs", self.capacity);
            return range("release", self.release.to_string(), &expected);
        }
        if self.hold > Duration::from_secs(3600) {
            return range("hold", format!("{} s", self.hold.as_secs()), "0 to 3600 s");
        }
        Ok(())
    }
}

/// A switch that changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadChange {
    /// The pending jobs were above the capacity for the hold time. The node tells its streams.
    Saturated,
    /// The pending jobs were below release for the hold time. The node tells its streams.
    Released,
    /// The CPU is above its threshold. The node tells its streams.
    Hot,
    /// The CPU is ten points below its threshold. The node tells its streams.
    Cool,
}

/// The load of this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Load {
    config: LoadConfig,
    /// Weighted averages in millionths, so that small samples are not lost to rounding. `None` before the first.
    cpu: Option<u64>,
    memory: Option<u64>,
    pending: u64,
    running: u64,
    workers: u64,
    hot: bool,
    saturated: bool,
    /// Since when the pending jobs are on the other side of the switch. `None` while they are not.
    crossed: Option<Time>,
}

impl Load {
    pub(super) fn new(config: LoadConfig) -> Load {
        Load {
            config,
            cpu: None,
            memory: None,
            pending: 0,
            running: 0,
            workers: 0,
            hot: false,
            saturated: false,
            crossed: None,
        }
    }

    /// Takes a sample into the averages.
    pub(super) fn sample(&mut self, sample: LoadSample) -> Option<LoadChange> {
        self.cpu = Some(average(self.cpu, sample.cpu));
        self.memory = Some(average(self.memory, sample.memory));
        let (cpu, threshold) = (permille(self.cpu).get(), self.config.cpu_threshold.get());
        if !self.hot && threshold > 0 && cpu > threshold {
            self.hot = true;
            return Some(LoadChange::Hot);
        }
        if self.hot && cpu <= threshold.saturating_sub(COOL_BELOW) {
            self.hot = false;
            return Some(LoadChange::Cool);
        }
        None
    }

    /// Notes how long the queue is and who works on it. The rooms that fill the queue call this.
    pub(super) fn queue(&mut self, pending: u64, running: u64, workers: u64, now: Time) -> Option<LoadChange> {
        (self.pending, self.running, self.workers) = (pending, running, workers);
        let crosses = if self.saturated { pending < self.config.release } else { pending > self.config.capacity };
        self.crossed = if crosses { self.crossed.or(Some(now)) } else { None };
        self.tick(now)
    }

    /// Throws the switch if the pending jobs have been on its other side for the hold time.
    pub(super) fn tick(&mut self, now: Time) -> Option<LoadChange> {
        if self.deadline().is_none_or(|due| now < due) {
            return None;
        }
        self.crossed = None;
        self.saturated = !self.saturated;
        Some(if self.saturated { LoadChange::Saturated } else { LoadChange::Released })
    }

    /// When [`Load::tick`] may throw the switch.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.crossed.map(|since| since + self.config.hold)
    }

    pub(super) fn report(&self) -> LoadReport {
        LoadReport {
            cpu: permille(self.cpu),
            memory: permille(self.memory),
            pending: self.pending,
            running: self.running,
            workers: self.workers,
            saturated: self.saturated,
        }
    }

    pub(super) fn config(&self) -> &LoadConfig {
        &self.config
    }

    /// Goes by other thresholds from now on. What was saturated or hot stays so until the new ones say otherwise.
    pub(super) fn configure(&mut self, config: LoadConfig) {
        self.config = config;
    }

    pub(super) fn is_hot(&self) -> bool {
        self.hot
    }

    /// The score of this node seen from itself: no round trip.
    pub(super) fn score(&self) -> Score {
        Score::of(permille(self.cpu), Duration::ZERO)
    }
}

fn average(old: Option<u64>, sample: Permille) -> u64 {
    let new = sample.get() * 1000;
    match old {
        None => new,
        Some(old) => (old * (SAMPLE_WEIGHT - 1) + new) / SAMPLE_WEIGHT,
    }
}

fn permille(average: Option<u64>) -> Permille {
    Permille::new((average.unwrap_or(0) + 500) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Time {
        Time::ZERO + Duration::from_secs(n)
    }

    fn cpu(load: &mut Load, thousandths: u64) -> Option<LoadChange> {
        load.sample(LoadSample { cpu: Permille::new(thousandths), memory: Permille::new(0) })
    }

    #[test]
    fn saturation_needs_the_hold_time_on_both_ways() {
        let mut load = Load::new(LoadConfig::default());
        assert_eq!(load.queue(101, 0, 0, second(0)), None);
        assert_eq!(load.deadline(), Some(second(2)));
        assert_eq!(load.tick(second(1)), None);
        assert_eq!(load.tick(second(2)), Some(LoadChange::Saturated));
        // Between release and capacity nothing changes, however long it lasts.
        assert_eq!(load.queue(60, 0, 0, second(9)), None);
        assert_eq!(load.tick(second(99)), None);
        assert_eq!(load.queue(59, 0, 0, second(100)), None);
        assert_eq!(load.tick(second(102)), Some(LoadChange::Released));
        assert!(!load.report().saturated);
    }

    #[test]
    fn a_short_burst_does_not_saturate() {
        let mut load = Load::new(LoadConfig::default());
        load.queue(500, 0, 0, second(0));
        load.queue(100, 0, 0, second(1));
        assert_eq!(load.deadline(), None);
        load.queue(500, 0, 0, second(2));
        assert_eq!(load.deadline(), Some(second(4)), "the hold time starts anew");
    }

    #[test]
    fn exactly_at_capacity_is_not_above_it() {
        let mut load = Load::new(LoadConfig::default());
        load.queue(100, 0, 0, second(0));
        assert_eq!(load.deadline(), None);
    }

    #[test]
    fn hot_until_ten_points_below() {
        let mut load = Load::new(LoadConfig::default());
        assert_eq!(cpu(&mut load, 700), None);
        assert_eq!(cpu(&mut load, 1000), Some(LoadChange::Hot));
        let changes: Vec<_> = (0..40).filter_map(|_| cpu(&mut load, 610)).collect();
        assert_eq!(changes, [], "61 % is not ten points below 70 %");
        let changes: Vec<_> = (0..40).filter_map(|_| cpu(&mut load, 590)).collect();
        assert_eq!(changes, [LoadChange::Cool]);
    }

    #[test]
    fn threshold_zero_is_never_hot() {
        let mut load = Load::new(LoadConfig { cpu_threshold: Permille::new(0), ..LoadConfig::default() });
        assert_eq!(cpu(&mut load, 1000), None);
        assert!(!load.is_hot());
    }

    #[test]
    fn the_average_follows_and_forgets() {
        let mut load = Load::new(LoadConfig::default());
        cpu(&mut load, 400);
        assert_eq!(load.report().cpu, Permille::new(400), "the first sample stands alone");
        cpu(&mut load, 0);
        assert_eq!(load.report().cpu, Permille::new(300));
        for _ in 0..60 {
            cpu(&mut load, 1);
        }
        assert_eq!(load.report().cpu, Permille::new(1), "small samples are not lost to rounding");
    }

    #[test]
    fn bad_thresholds_are_named() {
        let name = |config: LoadConfig| match config.check().unwrap_err() {
            ConfigError::Range { setting, .. } => setting,
        };
        assert_eq!(name(LoadConfig { capacity: 0, ..LoadConfig::default() }), "capacity");
        assert_eq!(name(LoadConfig { release: 101, ..LoadConfig::default() }), "release");
        assert_eq!(name(LoadConfig { hold: Duration::from_secs(3601), ..LoadConfig::default() }), "hold");
        assert_eq!(LoadConfig::default().check(), Ok(()));
    }
}
