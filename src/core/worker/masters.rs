//! Whom to call next: the configured masters in their order, then those that the last native master named.

use std::time::Duration;

use crate::core::rng::Rng;
use crate::wire::Address;

/// Pause after the first round in which no master could be had. Doubles with each further one.
pub(super) const ROUND_FIRST: Duration = Duration::from_millis(500);

/// Longest pause of any backoff: a master that is back is found within half a minute.
const BACKOFF_MOST: Duration = Duration::from_secs(30);

/// Masters that are kept of a failover list: as many as one may have.
const MAX_FAILOVER: usize = 16;

/// The pause after the `failures` + 1st failure in a row: `first`, doubled each time, at most half a minute, and
/// shortened at random by up to a tenth, so that a farm does not come back all at once.
pub(super) fn backoff(first: Duration, failures: u32, rng: &mut Rng) -> Duration {
    rng.shortened(first.saturating_mul(1 << failures.min(16)).min(BACKOFF_MOST))
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Next {
    /// Call this one.
    Call(Address),
    /// All were called: pause this long, then ask again.
    Pause(Duration),
}

/// The masters that may be called. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Masters {
    configured: Vec<Address>,
    failover: Vec<Address>,
    /// Place in the list (configured, then failover) of the one to be called next.
    next: usize,
    /// Whole rounds in which none could be had, since one could.
    pub(super) rounds: u32,
}

impl Masters {
    /// The configured ones, at least one; each counts once.
    pub(super) fn new(all: &[Address]) -> Masters {
        let mut configured: Vec<Address> = Vec::new();
        for address in all {
            if !configured.contains(address) {
                configured.push(address.clone());
            }
        }
        Masters { configured, failover: Vec::new(), next: 0, rounds: 0 }
    }

    /// Whether there is just one to call.
    pub(super) fn is_single(&self) -> bool {
        self.configured.len() + self.failover.len() == 1
    }

    /// The next one of this round; after the last one a pause, and then the first again.
    pub(super) fn next(&mut self, rng: &mut Rng) -> Next {
        let Some(address) = self.configured.iter().chain(&self.failover).nth(self.next) else {
            self.next = 0;
            let pause = backoff(ROUND_FIRST, self.rounds, rng);
            self.rounds = self.rounds.saturating_add(1);
            return Next::Pause(pause);
        };
        self.next += 1;
        Next::Call(address.clone())
    }

    /// The master at `address` has taken this worker; a native one told its failover list. When it is gone, the round
    /// goes on behind it.
    pub(super) fn joined(&mut self, address: &Address, failover: Option<&[Address]>) {
        self.rounds = 0;
        if let Some(list) = failover {
            self.failover.clear();
            for address in list.iter().take(MAX_FAILOVER) {
                if !self.configured.contains(address) && !self.failover.contains(address) && !address.is_wildcard() {
                    self.failover.push(address.clone());
                }
            }
        }
        // It does not name itself, and may have been found by a loan alone: else it would be forgotten when it sends this worker home.
        if !self.configured.contains(address) && !self.failover.contains(address) {
            self.failover.truncate(MAX_FAILOVER - 1);
            self.failover.insert(0, address.clone());
        }
        let place = self.configured.iter().chain(&self.failover).position(|one| one == address);
        self.next = place.map_or(self.configured.len(), |place| place + 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Address {
        format!("10.0.0.1:{port}").parse().unwrap()
    }

    fn calls(masters: &mut Masters, rng: &mut Rng) -> Vec<u16> {
        std::iter::from_fn(|| match masters.next(rng) {
            Next::Call(address) => Some(address.port),
            Next::Pause(_) => None,
        })
        .collect()
    }

    #[test]
    fn a_round_is_the_configured_ones_in_order_and_then_the_failover_list() {
        let (mut masters, mut rng) = (Masters::new(&[at(2), at(1), at(2)]), Rng::new(1));
        assert_eq!(calls(&mut masters, &mut rng), [2, 1]);
        masters.joined(&at(2), Some(&[at(1), at(7), at(8), at(7), "0.0.0.0:9".parse().unwrap()]));
        assert_eq!(calls(&mut masters, &mut rng), [1, 7, 8], "behind the one that was lost, each once");
        assert_eq!(calls(&mut masters, &mut rng), [2, 1, 7, 8], "then from the first");
        masters.joined(&at(7), Some(&[at(9)]));
        assert_eq!(calls(&mut masters, &mut rng), [9], "a master that is in no list any more: the failover list");
    }

    #[test]
    fn pauses_double_from_half_a_second_to_half_a_minute_and_start_anew_after_a_success() {
        let (mut masters, mut rng) = (Masters::new(&[at(1)]), Rng::new(1));
        let mut pauses = Vec::new();
        while pauses.len() < 10 {
            if let Next::Pause(pause) = masters.next(&mut rng) {
                pauses.push(pause);
            }
        }
        for (nth, pause) in pauses.iter().enumerate() {
            let full = (ROUND_FIRST * (1 << nth)).min(BACKOFF_MOST);
            assert!(*pause <= full && *pause >= full * 9 / 10, "{nth}: {pause:?}");
        }
        masters.joined(&at(1), None);
        assert!(matches!(masters.next(&mut rng), Next::Pause(pause) if pause <= ROUND_FIRST));
    }
}
