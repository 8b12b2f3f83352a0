//! The simulator: whole clusters of cores on a virtual network, clock and machines, all from one seed.
//!
//! The nodes are the real ones: [`crate::core::Node`] behind [`crate::wire::Edge`], fed with bytes. What is made up is
//! the world around them: connections that are what TCP is (in order, delayed, cut one way or both, broken with the
//! loss of a suffix), datagrams that are lost, doubled and reordered, machines that crash, start again, are paused and
//! whose clocks run at different rates. A run has two phases:
//!
//! 1. **Safety**: faults happen. After every step an oracle compares each registry with what it ought to be.
//! 2. **Liveness**: everything heals. Soon every node must be ALIVE to every other, and then nobody may become TIMEOUT.
//!
//! The same seed gives the same run: [`Report::trace`] is a hash of everything that every node did.

mod foreign;
mod host;
mod network;
mod oracle;
mod plan;
mod world;

use std::fmt;
use std::time::{Duration, Instant};

pub use plan::Plan;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The seed of the run.
    pub seed: u64,
    /// Things that happened.
    pub steps: u64,
    /// Faults among them.
    pub faults: u64,
    /// TIMEOUT events that were raised, each of them lawful.
    pub timeouts: u64,
    /// Hash of everything that every node did.
    pub trace: u64,
}

/// A law that was broken: the seed replays it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The seed of the run.
    pub seed: u64,
    /// The step at which it showed.
    pub step: u64,
    /// Virtual microseconds since the start.
    pub at_us: u64,
    /// Which law, and how.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, step, at_us, what } = self;
        write!(f, "seed {seed}, step {step}, at {at_us} us: {what}; replay: node simulate --seeds 1 --seed {seed}")
    }
}

impl std::error::Error for Failure {}

/// Runs the world of one seed to its end.
pub fn run(seed: u64) -> Result<Report, Failure> {
    world::World::new(Plan::draw(seed)).run()
}

/// What a series of runs came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Runs that were finished, all of them without a broken law.
    pub seeds: u64,
    /// Their steps.
    pub steps: u64,
    /// Their faults.
    pub faults: u64,
    /// Their TIMEOUT events.
    pub timeouts: u64,
}

/// Runs the seeds `first`, `first + 1`, ... until `seeds` are done or `within` is over (between two runs, never
/// within one). Stops at the first broken law.
pub fn run_many(first: u64, seeds: u64, within: Option<Duration>) -> Result<Summary, Failure> {
    let begun = Instant::now();
    let mut summary = Summary::default();
    for seed in (first..).take(usize::try_from(seeds).unwrap_or(usize::MAX)) {
        if within.is_some_and(|within| begun.elapsed() >= within) {
            break;
        }
        let report = run(seed)?;
        summary.seeds += 1;
        summary.steps += report.steps;
        summary.faults += report.faults;
        summary.timeouts += report.timeouts;
    }
    Ok(summary)
}
