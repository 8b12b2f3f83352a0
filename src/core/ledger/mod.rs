//! The ledger: what a group has agreed on. A pure function of the entries that were applied, in their order.
//!
//! ```text
//!   Effect::Apply ──> Ledger::apply ──> Applied (what it came to, for who asked)
//!   Effect::Install ─> Ledger::restored
//!   Ledger::text ──> GroupWrite::Snapshot
//! ```
//!
//! Time is not in it: a lease ends by an entry. When its leader says that entry is decided by [`LeaseClock`], and until when its
//! holder may rely on it by [`HeldLease`].

mod clock;
mod farms;
mod holder;
mod leases;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod words;

pub(crate) use clock::LeaseClock;
#[cfg(test)]
pub(crate) use clock::NotRenewed;
pub use holder::HeldLease;
pub(crate) use state::Ledger;
pub(crate) use words::words;

use crate::wire::{Adoption, Lease, RaftId};

/// What an entry came to when it was applied. The same at every member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Applied {
    /// It changed the ledger, or had nothing to change.
    Done,
    /// This member has this number. Who asked for it is told.
    Admitted(RaftId),
    /// These members are gone. If this node is among them it leaves the group.
    Removed(Vec<RaftId>),
    /// Some that were removed may go now.
    Settled,
    /// The lease is the holder's, newly or still.
    Granted(Lease),
    /// The lease is free now. Whoever waits for it asks again.
    Freed {
        /// Its name.
        name: String,
        /// The grant that ended.
        fence: u64,
    },
    /// These workers have new owners. Masters that know one of them act on it.
    Adopted(Vec<Adoption>),
    /// A setting has changed. Every node goes by it from now on.
    Changed {
        /// Its name.
        name: String,
    },
    /// Nothing was changed. The asker is told why.
    Refused(Refusal),
}

/// Why an entry changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Refusal {
    /// Somebody else holds the lease: the asker waits.
    Held(Lease),
    /// That grant is over: the asker stops what it protects.
    Over {
        /// The lease as it is now; `None`: there is none of that name.
        lease: Option<Lease>,
    },
    /// This tick or a later one was claimed: the asker skips it.
    Claimed {
        /// The last one that was claimed.
        tick: u64,
    },
    /// There are as many of them as there may be. One sentence.
    Full(String),
    /// It contradicts what is in the ledger. One sentence.
    Contradicts(String),
}
