//! Worlds of farms: masters with disks, workers with executors, programs of other people, and clients.
//!
//! ```text
//!   client ── SUBMIT, RESULT, CANCEL, BURY, KICK ──> master ── JOB, STOP ──> worker ── start, stop ──> executor
//!     │ what it was told                               │ writes                │ attempts that it starts   │ results
//!     └──────────────────────> oracle <────────────────┴───────────────────────┴────────────────────────────┘
//! ```
//!
//! The masters and the native workers are real nodes. Disks lose what was not synced when their master crashes, keep a
//! part of what was under way, refuse whole batches, and are slow; executors take their time, fail, and die with their
//! worker. In the first phase everything breaks; in the second everything is well, and every job must end.

mod agree;
mod bonds;
mod client;
mod disk;
mod executor;
mod faults;
mod feast;
mod foreign;
mod ledger;
mod line;
pub(super) mod loans;
mod machine;
mod manner;
mod oracle;
mod plan;
mod storm;
mod stranger;
mod watch;
mod world;

pub(super) use plan::{FarmPlan, Trouble};

use super::{Failure, Kind, Report};

/// Runs the farm of one seed to its end.
pub(super) fn run(seed: u64, planted: Planted) -> Result<Report, Failure> {
    run_plan(Kind::Farm, FarmPlan::draw(seed), planted)
}

/// Runs a farm that was planned by somebody else.
pub(super) fn run_plan(kind: Kind, plan: FarmPlan, planted: Planted) -> Result<Report, Failure> {
    world::World::new(kind, plan, planted).run()
}

/// A fault of the world that breaks a law, so that it can be seen that the oracle bites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// None: no law is broken.
    Nothing,
    /// Disks say that what they were given is written before it is.
    DiskLies,
    /// Workers forget what they run when they open a connection to a master, and go on with it.
    WorkerForgets,
    /// Executors now and then give a result that they never worked out.
    MadeUpResults,
    /// Workers believe to have more slots than they have.
    TooManySlots,
    /// Disks lose the end of jobs that they have written.
    EndsLost,
    /// Cuts that are said to be harmless last longer than a master waits for its workers.
    LongCuts,
    /// In worlds of loans: masters that are started anew give the epochs of their first start again.
    OldBoots,
    /// In worlds of loans: disks say that what they were given of the ledger is written long before it is.
    GroupDiskLies,
    /// In worlds of loans: the ends of loans that the leader is told never reach it.
    EndsLostOnTheWay,
    /// In worlds of loans: what is said to programs of other people is said twenty times.
    Storms,
    /// In worlds of loans: leases last an hour, and no native worker hears that it is to go home.
    ReturnsLost,
    /// In feasts: the requests of one of the borrowers are lost.
    OneIsNotHeard,
}

impl Planted {
    /// Whether it is planted in worlds of loans.
    pub(super) const fn is_of_loans(self) -> bool {
        use Planted::{EndsLostOnTheWay, GroupDiskLies, OldBoots, OneIsNotHeard, ReturnsLost, Storms};
        matches!(self, OldBoots | GroupDiskLies | EndsLostOnTheWay | Storms | ReturnsLost | OneIsNotHeard)
    }
}
