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
//! Beside the worlds of registries there are worlds of farms, with disks, executors and clients, a directed one of
//! cuts, worlds of groups, whose masters agree, and worlds of loans, whose masters lend workers to each other.
//!
//! The same seed gives the same run: [`Report::trace`] is a hash of everything that every node did.

mod clock;
mod cuts;
mod farm;
mod foreign;
mod group;
mod host;
mod network;
mod oracle;
mod plan;
mod trace;
mod world;

use std::fmt;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

pub use farm::Planted;
pub use group::Planted as PlantedInGroup;
pub use host::TARGET as LOG_TARGET;
pub use plan::Plan;

/// The kinds of worlds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Masters that call each other: what their registries say.
    Registry,
    /// Masters with workers and clients: what becomes of jobs.
    Farm,
    /// One master and two workers whose links are cut for less than the timeout: nothing is started twice.
    Cuts,
    /// Masters that agree: what becomes of leaders, settings and leases.
    Group,
    /// Masters that lend their workers to each other: what becomes of jobs, workers and loans.
    Loans,
}

impl Kind {
    /// Every one, in the order of this enum.
    pub const ALL: [Kind; 5] = [Kind::Registry, Kind::Farm, Kind::Cuts, Kind::Group, Kind::Loans];

    /// Its word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Registry => "registry",
            Kind::Farm => "farm",
            Kind::Cuts => "cuts",
            Kind::Group => "group",
            Kind::Loans => "loans",
        }
    }
}

/// What happened in one run, or in several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Runs that were finished, all of them without a broken law.
    pub runs: u64,
    /// Things that happened.
    pub steps: u64,
    /// Faults among them.
    pub faults: u64,
    /// Processes that crashed.
    pub crashes: u64,
    /// TIMEOUT events that were raised in worlds of registries, each of them lawful.
    pub timeouts: u64,
    /// Jobs that were accepted, each of which has ended.
    pub jobs: u64,
    /// Attempts that native workers started.
    pub attempts: u64,
    /// Batches of writes that failed.
    pub failed_writes: u64,
    /// Cuts of links, one way or both.
    pub cuts: u64,
    /// Data directories that were lost in worlds of groups.
    pub lost: u64,
    /// Leaders that were elected in worlds of groups.
    pub leaders: u64,
    /// Workers that were lent.
    pub loans: u64,
    /// Those of them that went to masters of other people, and workers of other people that were borrowed.
    pub strange: u64,
    /// Workers that were adopted.
    pub adopted: u64,
    /// Worlds in which borrowers were hungry for long enough to tell that they shared fairly.
    pub feasts: u64,
    /// Settings and leases that were agreed on.
    pub agreed: u64,
    /// The longest that a group took until it was well again after all faults, in virtual milliseconds.
    pub healed_ms: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.runs += other.runs;
        self.steps += other.steps;
        self.faults += other.faults;
        self.crashes += other.crashes;
        self.timeouts += other.timeouts;
        self.jobs += other.jobs;
        self.attempts += other.attempts;
        self.failed_writes += other.failed_writes;
        self.cuts += other.cuts;
        self.lost += other.lost;
        self.leaders += other.leaders;
        self.loans += other.loans;
        self.strange += other.strange;
        self.adopted += other.adopted;
        self.feasts += other.feasts;
        self.agreed += other.agreed;
        self.healed_ms = self.healed_ms.max(other.healed_ms);
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The kind of its world.
    pub kind: Kind,
    /// The seed of the run.
    pub seed: u64,
    /// What happened.
    pub tally: Tally,
    /// Hash of everything that every node did.
    pub trace: u64,
}

/// A law that was broken: the seed replays it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of the world.
    pub kind: Kind,
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
        let Failure { kind, seed, step, at_us, what } = self;
        let kind = kind.as_str();
        write!(f, "{kind} world, seed {seed}, step {step}, at {at_us} us: {what}; ")?;
        write!(f, "replay: node simulate --world {kind} --seeds 1 --seed {seed}")
    }
}

impl std::error::Error for Failure {}

/// Runs the world of one seed to its end.
pub fn run(kind: Kind, seed: u64) -> Result<Report, Failure> {
    match kind {
        Kind::Registry => world::World::new(Plan::draw(seed)).run(),
        Kind::Farm => farm::run(seed, Planted::Nothing),
        Kind::Cuts => cuts::run(seed, Planted::Nothing),
        Kind::Group => group::run(seed, PlantedInGroup::Nothing),
        Kind::Loans => farm::loans::run(seed, Planted::Nothing),
    }
}

/// Runs the farm of one seed, or its cuts or loans, with a fault that breaks a law: whoever sees no failure has an oracle that
/// does not bite.
pub fn run_planted(seed: u64, planted: Planted) -> Result<Report, Failure> {
    match planted {
        Planted::LongCuts => cuts::run(seed, planted),
        _ if planted.is_of_loans() => farm::loans::run(seed, planted),
        _ => farm::run(seed, planted),
    }
}

/// Runs the group of one seed with a fault that breaks a law.
pub fn run_planted_in_group(seed: u64, planted: PlantedInGroup) -> Result<Report, Failure> {
    group::run(seed, planted)
}

/// Runs the seeds `first`, `first + 1`, ..., each in every kind of world, until `seeds` are done or `within` is over
/// (between two runs, never within one). Stops at the first broken law.
pub fn run_many(kinds: &[Kind], first: u64, seeds: u64, within: Option<Duration>) -> Result<Tally, Failure> {
    let begun = Instant::now();
    let mut total = Tally::default();
    for seed in (first..).take(usize::try_from(seeds).unwrap_or(usize::MAX)) {
        for kind in kinds {
            if within.is_some_and(|within| begun.elapsed() >= within) {
                return Ok(total);
            }
            total += run(*kind, seed)?.tally;
        }
    }
    Ok(total)
}
