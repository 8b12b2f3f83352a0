//! The holder's side of a named lease: how long it may do what the lease protects.
//!
//! ```text
//!   sent        + 1/3           + 80 %        + 100 %
//!    ├────────────┼───────────────┼──────────────┤
//!    │ renewal    renews          stops          must have stopped
//!    └ is sent; its answer may come at any time
//! ```
//!
//! It counts from before the leader heard of it, and the leader from after: so the lease ends here before it can be
//! granted elsewhere, as long as the two clocks run within a fifth of one another.

use std::time::Duration;

use crate::time::Time;

/// A lease that this process holds, by its own clock, which must count suspension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeldLease {
    sent: Time,
    ttl: Duration,
}

impl HeldLease {
    /// The lease that was granted by the answer to what was sent at `sent`. `ttl` is that of the answer. Read the clock
    /// before the request is written.
    pub const fn new(sent: Time, ttl: Duration) -> HeldLease {
        HeldLease { sent, ttl }
    }

    /// A renewal was answered that had been sent at `sent`. Answers may come in any order. One that comes when the lease has
    /// lapsed changes nothing: whoever has stopped asks anew.
    pub fn renewed(&mut self, sent: Time, ttl: Duration, now: Time) {
        if !self.is_lapsed(now) && sent > self.sent {
            *self = HeldLease { sent, ttl };
        }
    }

    /// When to send the next renewal.
    pub fn renew_at(&self) -> Time {
        self.sent + self.ttl / 3
    }

    /// When what the lease protects must be told to stop: after 80 % of its term.
    pub fn stop_at(&self) -> Time {
        // Divided first: no term overflows.
        self.sent + self.ttl / 5 * 4
    }

    /// When it must have stopped, by force if need be.
    pub fn ends_at(&self) -> Time {
        self.sent + self.ttl
    }

    /// Whether it may not be relied on any more. True after a suspension that it could not outlive, since the clock has jumped.
    pub fn is_lapsed(&self, now: Time) -> bool {
        now >= self.stop_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_micros(ms * 1000)
    }

    #[test]
    fn a_lease_counts_from_when_it_was_asked_for() {
        let lease = HeldLease::new(at(1000), Duration::from_secs(9));
        assert_eq!((lease.renew_at(), lease.stop_at(), lease.ends_at()), (at(4000), at(8200), at(10_000)));
        assert!(!lease.is_lapsed(at(8199)));
        assert!(lease.is_lapsed(at(8200)));
        assert!(lease.is_lapsed(Time::FAR), "after a suspension");
        assert!(HeldLease::new(at(1), Duration::MAX).stop_at() > at(u64::MAX / 2000), "no term overflows");
    }

    #[test]
    fn a_renewal_counts_from_when_it_was_sent_and_only_while_the_lease_holds() {
        let ttl = Duration::from_secs(10);
        let mut lease = HeldLease::new(at(0), ttl);
        lease.renewed(at(3000), ttl, at(7000));
        assert_eq!(lease.stop_at(), at(11_000));
        lease.renewed(at(2000), ttl, at(7500));
        assert_eq!(lease.stop_at(), at(11_000), "an answer that was overtaken");
        lease.renewed(at(10_000), ttl, at(11_000));
        assert!(lease.is_lapsed(at(11_000)), "an answer that comes too late");
    }
}
