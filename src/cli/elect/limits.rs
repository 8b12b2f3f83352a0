//! The arithmetic of stopping: until when a command may run under a lease.
//!
//! ```text
//!   sent        + 1/3          + 65 %     + 75 %     + 77.5 %    + 80 %        + 100 %
//!    ├────────────┼───────────────┼──────────┼──────────┼───────────┼──────────────┤
//!    │ renewal    renews          TERM       KILL       KILL by     all are        may be granted
//!    └ is sent                    by the guard          node elect  gone           elsewhere
//! ```
//!
//! The shares are those of a TTL with the default grace, a tenth of it, between TERM and KILL. All is counted from the moment a
//! renewal was *sent* ([`HeldLease`]), by a clock that counts suspension. The guard kills; where it is hung itself, `node elect`
//! kills the guard and all below it, half-way between that and the end.

use std::time::Duration;

use crate::core::HeldLease;
use crate::time::Time;

/// Parts of the TTL that are the longest grace: TERM comes after half of it at the earliest, so that renewals have time.
const LONGEST_GRACE: u32 = 4;

/// Parts of the TTL that are the grace where none is told.
const DEFAULT_GRACE: u32 = 10;

/// When a command is told to end, and when it is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Limits {
    /// TERM for its whole tree, if no renewal has been answered until then.
    pub(super) term_at: Time,
    /// KILL for what is left of it.
    pub(super) kill_at: Time,
    /// KILL by `node elect` itself, for the guard and all below it.
    pub(super) backstop_at: Time,
}

impl Limits {
    /// The limits of a lease, with `grace` between TERM and KILL: at most [`longest_grace`] of its TTL.
    pub(super) fn of(lease: &HeldLease, grace: Duration) -> Limits {
        let gone_by = lease.stop_at();
        let fifth = lease.ends_at().since(gone_by);
        let kill_at = gone_by - fifth / 4;
        Limits { term_at: kill_at - grace, kill_at, backstop_at: gone_by - fifth / 8 }
    }
}

/// The longest grace that fits a TTL.
pub(super) fn longest_grace(ttl: Duration) -> Duration {
    ttl / LONGEST_GRACE
}

/// The grace where none is told.
pub(super) fn default_grace(ttl: Duration) -> Duration {
    ttl / DEFAULT_GRACE
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::LEASE_TTL;
    use proptest::prelude::*;

    #[test]
    fn the_shares_are_those_of_the_picture() {
        let ttl = Duration::from_secs(10);
        let at = |ms: u64| Time::from_micros((5_000 + ms) * 1000);
        let lease = HeldLease::new(at(0), ttl);
        let limits = Limits::of(&lease, default_grace(ttl));
        assert_eq!((limits.term_at, limits.kill_at, limits.backstop_at), (at(6500), at(7500), at(7750)));
        assert_eq!(lease.stop_at(), at(8000));
    }

    proptest! {
        /// The order of the picture, for every lawful TTL and grace, and the time that each step has.
        #[test]
        fn a_tree_is_gone_before_the_lease_can_be_granted_elsewhere(
            sent in 0..u64::MAX / 4,
            ttl_us in LEASE_TTL.0.as_micros() as u64..=LEASE_TTL.1.as_micros() as u64,
            share in 0.0..=1.0,
        ) {
            let ttl = Duration::from_micros(ttl_us);
            let lease = HeldLease::new(Time::from_micros(sent), ttl);
            for grace in [longest_grace(ttl).mul_f64(share), default_grace(ttl)] {
                // Whole microseconds, as the clock and the options have.
                let grace = Duration::from_micros(grace.as_micros() as u64);
                prop_assert!(grace <= longest_grace(ttl));
                let limits = Limits::of(&lease, grace);
                // A renewal that is sent in time has a seventh of the TTL until TERM at the very least.
                prop_assert!(limits.term_at.since(lease.renew_at()) >= ttl / 7);
                prop_assert_eq!(limits.kill_at.since(limits.term_at), grace);
                prop_assert!(limits.term_at <= limits.kill_at);
                // 25 ms and more for each step of killing.
                let step = Duration::from_millis(25);
                prop_assert!(limits.backstop_at.since(limits.kill_at) >= ttl / 41 && ttl / 40 >= step);
                prop_assert!(lease.stop_at().since(limits.backstop_at) >= ttl / 41);
                prop_assert!(lease.stop_at() < lease.ends_at());
            }
        }
    }
}
