//! A circuit breaker for each instance: who failed several times in a row is asked last for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::time::Time;
use crate::wire::ServerId;

/// Failures in a row that open it.
const FAILURES: u32 = 3;

/// How long it stays open. Then one call tries again: a failure opens it anew.
const OPEN_FOR: Duration = Duration::from_secs(5);

/// Instances that are remembered at most; without a failure there is nothing to remember.
const MAX_REMEMBERED: usize = 4096;

/// The breakers of those that failed of late.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Breakers {
    failures: BTreeMap<ServerId, (u32, Time)>,
}

impl Breakers {
    /// Whether this one may be asked as any other.
    pub(super) fn is_closed(&self, who: &ServerId, now: Time) -> bool {
        self.failures.get(who).is_none_or(|(count, last)| *count < FAILURES || *last + OPEN_FOR <= now)
    }

    /// It failed.
    pub(super) fn ill(&mut self, who: &ServerId, now: Time) {
        if let Some((count, last)) = self.failures.get_mut(who) {
            (*count, *last) = (count.saturating_add(1), now);
        } else if self.failures.len() < MAX_REMEMBERED {
            self.failures.insert(who.clone(), (1, now));
        }
    }

    /// It did what it was asked.
    pub(super) fn well(&mut self, who: &ServerId) {
        if !self.failures.is_empty() {
            self.failures.remove(who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_failures_in_a_row_open_it_for_five_seconds() {
        let (mut breakers, who) = (Breakers::default(), ServerId::new("w").unwrap());
        let at = |ms: u64| Time::ZERO + Duration::from_millis(ms);
        breakers.ill(&who, at(0));
        breakers.ill(&who, at(1));
        assert!(breakers.is_closed(&who, at(1)));
        breakers.well(&who);
        for ms in 2..5 {
            breakers.ill(&who, at(ms));
        }
        assert!(!breakers.is_closed(&who, at(5003)));
        assert!(breakers.is_closed(&who, at(5004)), "one may try again");
        breakers.ill(&who, at(5004));
        assert!(!breakers.is_closed(&who, at(5005)), "and a failure opens it anew");
    }
}
