//! Worlds of groups: masters that agree, each with a disk for its ledger, and clients that are holders of leases too.
//!
//! ```text
//!   client ── SETTINGS, LEASE, MEMBERS ──> master <── ELECT, AGREE ──> master
//!     │ what it was told                     │ writes, tickets ──> disk
//!     └──────────────> oracle <──────────────┘ role, term, ledger
//! ```
//!
//! The masters are real nodes. Disks lose what was not synced when their master crashes, keep a part of what was under
//! way, refuse for a while, and are slow; data directories are lost. In the first phase everything breaks; in the
//! second everything is well, and every group must have one leader that all its members follow, and take a set and a
//! read at each of them.

mod client;
pub(super) mod disk;
mod faults;
mod machine;
pub(super) mod oracle;
mod plan;
mod world;

use super::{Failure, Report};

/// Runs the group of one seed to its end.
pub(super) fn run(seed: u64, planted: Planted) -> Result<Report, Failure> {
    world::World::new(plan::GroupPlan::draw(seed), planted).run()
}

/// A fault of the world that breaks a law, so that it can be seen that the oracle bites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// None: no law is broken.
    Nothing,
    /// Disks say that what they were given is written long before it is.
    DiskLies,
    /// Reads are answered from what a member has, without a word of the majority.
    LocalReads,
    /// Holders count their leases from the answer and use them up to the last moment.
    LateHolders,
}
